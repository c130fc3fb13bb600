//! Values in the format of Redis's dump files, as DUMP and RESTORE exchange them: a type, the value, the version of the format,
//! and a checksum over all of it.
//!
//! What is read comes from a client: no length is believed, and nothing is allocated for what was only announced.

use crate::store::Pair;

/// The version that is written: what Redis 7.0 and everything since can read.
const VERSION: u16 = 10;
/// The newest versions that are read: those of Redis 8 and of Valkey 9. The types below are the same in all.
const MAX_VERSION: u16 = 13;
const VALKEY_VERSION: u16 = 80;

/// The type of a string.
const STRING: u8 = 0;
/// The type of a hash, field by field.
const HASH: u8 = 4;
/// The type of a hash in one piece.
const HASH_LISTPACK: u8 = 16;

/// Encodings behind a length byte that begins with two ones.
const INT8: u8 = 0;
const INT16: u8 = 1;
const INT32: u8 = 2;
const LZF: u8 = 3;

/// Bytes behind the value: version and checksum.
const FOOTER_BYTES: usize = 10;
/// Bytes of the longest text of an integer that is written as one.
const MAX_INT_BYTES: usize = 11;

/// Why a dump was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The version is newer than what is known here, or the checksum does not fit.
    Footer,
    /// The value is nonsense, or of a type that is not kept here.
    Contents,
}

/// A value that was dumped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// A string.
    String(Vec<u8>),
    /// A hash, which has a field at least.
    Hash(Vec<Pair>),
}

/// The dump of a hash.
pub(crate) fn dump_hash(pairs: &[Pair]) -> Vec<u8> {
    let mut out = vec![HASH];
    write_len(pairs.len(), &mut out);
    for (field, value) in pairs {
        write_string(field, &mut out);
        write_string(value, &mut out);
    }
    finish(out)
}

/// The dump of a string.
pub(crate) fn dump_string(value: &[u8]) -> Vec<u8> {
    let mut out = vec![STRING];
    write_string(value, &mut out);
    finish(out)
}

/// Puts version and checksum behind a value.
fn finish(mut out: Vec<u8>) -> Vec<u8> {
    out.extend_from_slice(&VERSION.to_le_bytes());
    let sum = checksum(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

fn write_len(len: usize, out: &mut Vec<u8>) {
    match len {
        0..=0x3f => out.push(len as u8),
        0x40..=0x3fff => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        _ => match u32::try_from(len) {
            Ok(len) => {
                out.push(0x80);
                out.extend_from_slice(&len.to_be_bytes());
            }
            Err(_) => {
                out.push(0x81);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        },
    }
}

fn write_string(value: &[u8], out: &mut Vec<u8>) {
    let int = crate::store::number::parse_int(value).filter(|_| value.len() <= MAX_INT_BYTES);
    let int = int.and_then(|int| i32::try_from(int).ok());
    match int {
        Some(int) if i8::try_from(int).is_ok() => out.extend_from_slice(&[0xc0 | INT8, int as u8]),
        Some(int) if i16::try_from(int).is_ok() => {
            out.push(0xc0 | INT16);
            out.extend_from_slice(&(int as i16).to_le_bytes());
        }
        Some(int) => {
            out.push(0xc0 | INT32);
            out.extend_from_slice(&int.to_le_bytes());
        }
        None => {
            write_len(value.len(), out);
            out.extend_from_slice(value);
        }
    }
}

/// The value of a dump, of `max` bytes at most.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read(dump: &[u8], max: usize) -> Result<Value, Wrong> {
    let footer = dump.len().checked_sub(FOOTER_BYTES).map(|at| &dump[at..]).ok_or(Wrong::Footer)?;
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let sum = checksum(&dump[..dump.len() - 8]).to_le_bytes();
    if !(version <= MAX_VERSION || version == VALKEY_VERSION) || sum != footer[2..] {
        return Err(Wrong::Footer);
    }
    // A value that ends early is read on into the footer, as everybody does.
    let mut reader = Reader { rest: dump, max };
    let value = match reader.byte() {
        Some(STRING) => reader.string().map(Value::String),
        Some(HASH) => reader.hash().map(Value::Hash),
        Some(HASH_LISTPACK) => reader.packed_hash().map(Value::Hash),
        _ => None,
    };
    value.ok_or(Wrong::Contents)
}

/// The bytes that were not read yet.
struct Reader<'a> {
    rest: &'a [u8],
    max: usize,
}

/// What stands where a length may stand.
enum Length {
    Bytes(usize),
    Encoded(u8),
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn length(&mut self) -> Option<Length> {
        let first = self.byte()?;
        let low = usize::from(first & 0x3f);
        let len = match (first >> 6, first) {
            (0, _) => low,
            (1, _) => low << 8 | usize::from(self.byte()?),
            (2, 0x80) => u32::from_be_bytes(self.array()?) as usize,
            (2, 0x81) => usize::try_from(u64::from_be_bytes(self.array()?)).ok()?,
            (3, _) => return Some(Length::Encoded(first & 0x3f)),
            _ => return None,
        };
        Some(Length::Bytes(len))
    }

    fn plain_length(&mut self) -> Option<usize> {
        match self.length()? {
            Length::Bytes(len) => Some(len),
            Length::Encoded(_) => None,
        }
    }

    fn string(&mut self) -> Option<Vec<u8>> {
        let int = match self.length()? {
            Length::Bytes(len) if len > self.max => return None,
            Length::Bytes(len) => return self.bytes(len).map(<[u8]>::to_vec),
            Length::Encoded(INT8) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(INT16) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(INT32) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(LZF) => {
                let (packed, len) = (self.plain_length()?, self.plain_length()?);
                return unpack(self.bytes(packed)?, len).filter(|value| value.len() <= self.max);
            }
            Length::Encoded(_) => return None,
        };
        Some(itoa::Buffer::new().format(int).as_bytes().to_vec())
    }
}

impl Reader<'_> {
    fn hash(&mut self) -> Option<Vec<Pair>> {
        let count = self.plain_length()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.string()?, self.string()?));
        }
        (!pairs.is_empty()).then_some(pairs)
    }

    fn packed_hash(&mut self) -> Option<Vec<Pair>> {
        /// Bytes in front of the first item: the length of all, and the number of items.
        const HEAD_BYTES: usize = 6;
        let list = self.string()?;
        let mut items = Reader { rest: list.get(HEAD_BYTES..)?, max: self.max };
        let mut pairs = Vec::new();
        while let Some(field) = items.packed_item()? {
            pairs.push((field, items.packed_item()??));
        }
        (!pairs.is_empty()).then_some(pairs)
    }

    /// The next item of a list in one piece; an inner `None` at its end.
    fn packed_item(&mut self) -> Option<Option<Vec<u8>>> {
        let before = self.rest.len();
        let first = self.byte()?;
        let low = usize::from(first);
        // Integers of less than a byte's multiple are moved up to keep their sign.
        let int = match first {
            0xff => return Some(None),
            0x00..=0x7f => Some(i64::from(first)),
            0xc0..=0xdf => Some(i64::from((((low & 0x1f) << 8 | usize::from(self.byte()?)) << 3) as u16 as i16 >> 3)),
            0xf1 => Some(i64::from(i16::from_le_bytes(self.array()?))),
            0xf2 => {
                let [a, b, c] = self.array()?;
                Some(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))
            }
            0xf3 => Some(i64::from(i32::from_le_bytes(self.array()?))),
            0xf4 => Some(i64::from_le_bytes(self.array()?)),
            _ => None,
        };
        let item = match (int, first) {
            (Some(int), _) => itoa::Buffer::new().format(int).as_bytes().to_vec(),
            (_, 0x80..=0xbf) => self.bytes(low & 0x3f)?.to_vec(),
            (_, 0xe0..=0xef) => {
                let len = (low & 0x0f) << 8 | usize::from(self.byte()?);
                self.bytes(len)?.to_vec()
            }
            (_, 0xf0) => {
                let len = u32::from_le_bytes(self.array()?) as usize;
                self.bytes(len)?.to_vec()
            }
            _ => return None,
        };
        // Behind each item stands its length, for those who read backwards: 7 bits to a byte.
        let len = before - self.rest.len();
        let back = (usize::BITS - len.leading_zeros()).div_ceil(7);
        self.bytes(back as usize)?;
        Some(Some(item))
    }
}

/// The most bytes that one byte of LZF can stand for: 264 from 3.
const MAX_EXPANSION: usize = 88;

/// Unpacks LZF: runs of literal bytes, and references to what was unpacked already. `None` unless `len` bytes come out.
fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > packed.len().saturating_mul(MAX_EXPANSION) {
        return None;
    }
    let mut reader = Reader { rest: packed, max: len };
    let mut out: Vec<u8> = Vec::with_capacity(len);
    while let Some(control) = reader.byte() {
        if control < 32 {
            out.extend_from_slice(reader.bytes(usize::from(control) + 1)?);
        } else {
            let mut run = usize::from(control >> 5);
            if run == 7 {
                run += usize::from(reader.byte()?);
            }
            let back = (usize::from(control & 0x1f) << 8 | usize::from(reader.byte()?)) + 1;
            let from = out.len().checked_sub(back)?;
            // A reference may reach into what it writes itself.
            (from..from + run + 2).for_each(|at| out.push(out[at]));
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// The polynomial of the checksum, its bits in reverse order.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

static SUMS: [u64; 256] = {
    let mut sums = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        sums[byte] = sum;
        byte += 1;
    }
    sums
};

/// CRC-64 of Jones.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| SUMS[usize::from(sum as u8 ^ byte)] ^ sum >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn an_integer_is_dumped_as_redis_dumps_it() {
        assert_eq!(dump_string(b"100"), b"\x00\xc0\x64\x0a\x00\x87\x29\x95\x31\x60\x0e\x8d\xb3");
    }

    #[test]
    fn strings_come_back() {
        let texts: [&[u8]; 12] = [
            b"",
            b"0",
            b"-1",
            b"127",
            b"128",
            b"-32769",
            b"2147483647",
            b"2147483648",
            b"01",
            b"text",
            &[b'x'; 64],
            &[b'y'; 70_000],
        ];
        for text in texts {
            assert_eq!(read(&dump_string(text), MAX), Ok(Value::String(text.to_vec())), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn packed_strings_are_read() {
        // 'a' once, and 40 times more from one byte back.
        let dump = finish(vec![STRING, 0xc0 | LZF, 5, 41, 0, b'a', 0xe0, 31, 0]);
        assert_eq!(read(&dump, MAX), Ok(Value::String(vec![b'a'; 41])));
        for nonsense in [
            vec![STRING, 0xc0 | LZF, 5, 42, 0, b'a', 0xe0, 31, 0],
            vec![STRING, 0xc0 | LZF, 5, 41, 0, b'a', 0xe0, 31, 1],
            vec![STRING, 0xc0 | LZF, 1, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0],
            vec![STRING, 50, b'a'],
            vec![STRING, 0xc4],
            vec![200, 0],
        ] {
            assert_eq!(read(&finish(nonsense.clone()), MAX), Err(Wrong::Contents), "{nonsense:?}");
        }
    }

    #[test]
    fn hashes_come_back() {
        let pairs = vec![(b"f".to_vec(), b"12".to_vec()), (Vec::new(), vec![b'v'; 300])];
        assert_eq!(read(&dump_hash(&pairs), MAX), Ok(Value::Hash(pairs)));
        assert_eq!(read(&finish(vec![HASH, 0]), MAX), Err(Wrong::Contents));
        assert_eq!(read(&finish(vec![HASH, 2, 1, b'f', 1, b'v']), MAX), Err(Wrong::Contents));
    }

    #[test]
    fn hashes_in_one_piece_are_read() {
        let items = [
            &b"\x05\x01"[..],
            b"\xdf\xff\x02",
            b"\x81a\x02",
            b"\xf1\x00\x80\x03",
            b"\x82bc\x03",
            b"\xf2\x00\x00\x80\x04",
        ];
        let list = [b"\x20\0\0\0\x06\0", &items.concat()[..], b"\xff"].concat();
        let mut dump = vec![HASH_LISTPACK];
        write_string(&list, &mut dump);
        let text = |text: &str| text.as_bytes().to_vec();
        let pairs = vec![(text("5"), text("-1")), (text("a"), text("-32768")), (text("bc"), text("-8388608"))];
        assert_eq!(read(&finish(dump.clone()), MAX), Ok(Value::Hash(pairs)));
        let short = [vec![HASH_LISTPACK, 8], b"\x08\0\0\0\x01\0\x05\x01".to_vec()].concat();
        assert_eq!(read(&finish(short), MAX), Err(Wrong::Contents));
    }

    #[test]
    fn a_changed_dump_is_refused() {
        let dump = dump_string(b"a text");
        for at in 0..dump.len() {
            let mut changed = dump.clone();
            changed[at] ^= 0x10;
            assert_eq!(read(&changed, MAX), Err(Wrong::Footer), "{at}");
            assert_eq!(read(&dump[..at], MAX), Err(Wrong::Footer), "{at}");
        }
        assert_eq!(read(&dump_string(b"too long"), 7), Err(Wrong::Contents));
    }
}
