//! Base64, for keys and values that are not UTF-8: written in the standard alphabet with padding, read in the standard
//! or the URL alphabet, padded or not.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends the encoded bytes, padded.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.chunks(3) {
        let group = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for digit in 0..4 {
            let six = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit > chunk.len() { b'=' } else { ALPHABET[six as usize] });
        }
    }
}

/// The bytes behind the text, or `None` if it is not base64.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digits = unpadded(text)?;
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let bits = chunk.iter().try_fold(0, |bits, &digit| Some(bits << 6 | u32::from(value(digit)?)))?;
        let bytes = (bits << (6 * (4 - chunk.len()))).to_be_bytes();
        match chunk.len() {
            1 => return None,
            len => out.extend_from_slice(&bytes[1..len]),
        }
    }
    Some(out)
}

/// The text without its padding, which must be whole if it is there.
fn unpadded(text: &[u8]) -> Option<&[u8]> {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    (digits.len() == text.len() || text.len().is_multiple_of(4)).then_some(digits)
}

fn value(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        encode(bytes, &mut out);
        String::from_utf8(out).expect("base64 is ASCII")
    }

    #[test]
    fn encodes_every_remainder() {
        assert_eq!(
            ["", "AA==", "AAE=", "AAEC", "+/+//w=="].map(str::to_owned),
            [text(&[]), text(&[0]), text(&[0, 1]), text(&[0, 1, 2]), text(&[0xfb, 0xff, 0xbf, 0xff])]
        );
    }

    #[test]
    fn decodes_both_alphabets_and_either_padding() {
        for given in ["+/+//w==", "-_-__w==", "-_-__w"] {
            assert_eq!(decode(given.as_bytes()), Some(vec![0xfb, 0xff, 0xbf, 0xff]), "{given}");
        }
        assert_eq!(decode(b""), Some(vec![]));
    }

    #[test]
    fn refuses_what_is_not_base64() {
        for given in ["A", "AAAAA", "AA=", "A===", "AA=A", "A A=", "=", "===="] {
            assert_eq!(decode(given.as_bytes()), None, "{given}");
        }
    }

    #[test]
    fn every_byte_comes_back() {
        for len in 0..70 {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 37 + len) as u8).collect();
            assert_eq!(decode(text(&bytes).as_bytes()), Some(bytes));
        }
    }
}
