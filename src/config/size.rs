//! Sizes as people write them.

/// Units and the power of two that each stands for. Like everything about memory here they are binary.
const UNITS: [(&str, u32); 13] = [
    ("", 0),
    ("b", 0),
    ("k", 10),
    ("kb", 10),
    ("kib", 10),
    ("m", 20),
    ("mb", 20),
    ("mib", 20),
    ("g", 30),
    ("gb", 30),
    ("gib", 30),
    ("t", 40),
    ("tb", 40),
];

/// Reads `64mb`, `2gb` or `1048576` as bytes: a whole number and a unit of either case; 1 kb is 1024 bytes.
///
/// # Errors
///
/// What is wrong with the text, and what would be right.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("'{text}' is not a size; write bytes or a number with kb, mb or gb, such as 64mb, 2gb or 1048576");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let (_, shift) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("'{text}' is larger than any machine's memory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary_and_of_either_case() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64mb", 64 << 20),
            ("64MB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("2gb", 2 << 30),
            ("16k", 16 << 10),
            ("7b", 7),
            ("1tb", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "mb", "-1", "+1", "1.5gb", "64xb", "64mbb", " 64mb", "0x10", "99999999999999999999", "1m b"] {
            assert!(parse_size(text).unwrap_err().contains("64mb"), "{text}");
        }
        assert!(parse_size("99999999gb").is_ok());
        assert!(parse_size("18446744073709551615kb").unwrap_err().contains("larger"));
    }
}
