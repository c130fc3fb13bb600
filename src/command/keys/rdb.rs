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
    /// The value, or a part of it, is larger than it may be.
    TooLarge,
}

type Read<T> = Result<T, Wrong>;

/// How large a value may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a string, a field, or the value of a field.
    pub(crate) string: usize,
    /// Bytes of memory that all of it may take while it is read, however short its dump.
    pub(crate) total: usize,
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

/// The value of a dump, within `limits`.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn read(dump: &[u8], limits: Limits) -> Read<Value> {
    let footer = dump.len().checked_sub(FOOTER_BYTES).map(|at| &dump[at..]).ok_or(Wrong::Footer)?;
    let version = u16::from_le_bytes([footer[0], footer[1]]);
    let sum = checksum(&dump[..dump.len() - 8]).to_le_bytes();
    if !(version <= MAX_VERSION || version == VALKEY_VERSION) || sum != footer[2..] {
        return Err(Wrong::Footer);
    }
    // A value that ends early is read on into the footer, as everybody does.
    let mut reader = Reader { rest: dump, limits };
    match reader.byte()? {
        STRING => reader.string().map(Value::String),
        HASH => reader.hash().map(Value::Hash),
        HASH_LISTPACK => reader.packed_hash().map(Value::Hash),
        _ => Err(Wrong::Contents),
    }
}

/// The bytes that were not read yet, and what may still be made of them.
struct Reader<'a> {
    rest: &'a [u8],
    limits: Limits,
}

/// What stands where a length may stand.
enum Length {
    Bytes(usize),
    Encoded(u8),
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Read<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or(Wrong::Contents)?;
        self.rest = rest;
        Ok(byte)
    }

    fn bytes(&mut self, len: usize) -> Read<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Wrong::Contents)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| Wrong::Contents)
    }

    fn length(&mut self) -> Read<Length> {
        let first = self.byte()?;
        let low = usize::from(first & 0x3f);
        let len = match (first >> 6, first) {
            (0, _) => low,
            (1, _) => low << 8 | usize::from(self.byte()?),
            (2, 0x80) => u32::from_be_bytes(self.array()?) as usize,
            (2, 0x81) => usize::try_from(u64::from_be_bytes(self.array()?)).map_err(|_| Wrong::Contents)?,
            (3, _) => return Ok(Length::Encoded(first & 0x3f)),
            _ => return Err(Wrong::Contents),
        };
        Ok(Length::Bytes(len))
    }

    fn plain_length(&mut self) -> Read<usize> {
        match self.length()? {
            Length::Bytes(len) => Ok(len),
            Length::Encoded(_) => Err(Wrong::Contents),
        }
    }

    /// Takes what a string of `len` bytes needs from what all may need, before it is made.
    fn charge(&mut self, len: usize) -> Read<()> {
        let left = self.limits.total.checked_sub(len.saturating_add(size_of::<Vec<u8>>()));
        self.limits.total = left.filter(|_| len <= self.limits.string).ok_or(Wrong::TooLarge)?;
        Ok(())
    }

    /// The next `len` bytes as a string.
    fn plain(&mut self, len: usize) -> Read<Vec<u8>> {
        let bytes = self.bytes(len)?;
        self.charge(len)?;
        Ok(bytes.to_vec())
    }

    fn integer(&mut self, int: i64) -> Read<Vec<u8>> {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(int).as_bytes();
        self.charge(text.len())?;
        Ok(text.to_vec())
    }

    fn string(&mut self) -> Read<Vec<u8>> {
        let int = match self.length()? {
            Length::Bytes(len) => return self.plain(len),
            Length::Encoded(INT8) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Encoded(INT16) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Encoded(INT32) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Encoded(LZF) => {
                let (packed, len) = (self.plain_length()?, self.plain_length()?);
                let packed = self.bytes(packed)?;
                if len > packed.len().saturating_mul(MAX_EXPANSION) {
                    return Err(Wrong::Contents);
                }
                self.charge(len)?;
                return unpack(packed, len).ok_or(Wrong::Contents);
            }
            Length::Encoded(_) => return Err(Wrong::Contents),
        };
        self.integer(int)
    }

    fn hash(&mut self) -> Read<Vec<Pair>> {
        let count = self.plain_length()?;
        let mut pairs = Vec::new();
        for _ in 0..count {
            pairs.push((self.string()?, self.string()?));
        }
        some(pairs)
    }

    fn packed_hash(&mut self) -> Read<Vec<Pair>> {
        /// What the number of items says if there are more than it can.
        const MANY: u16 = u16::MAX;
        let list = self.string()?;
        let mut items = Reader { rest: &list, limits: self.limits };
        let (bytes, count) = (u32::from_le_bytes(items.array()?), u16::from_le_bytes(items.array()?));
        let mut pairs = Vec::new();
        while let Some(field) = items.packed_item()? {
            pairs.push((field, items.packed_item()?.ok_or(Wrong::Contents)?));
        }
        if bytes as usize != list.len() || (count != MANY && usize::from(count) != 2 * pairs.len()) {
            return Err(Wrong::Contents);
        }
        some(pairs)
    }

    /// The next item of a list in one piece; `None` at its end.
    fn packed_item(&mut self) -> Read<Option<Vec<u8>>> {
        let before = self.rest.len();
        let first = self.byte()?;
        let low = usize::from(first);
        // Integers of less than a byte's multiple are moved up to keep their sign.
        let item = match first {
            0xff => return Ok(None),
            0x00..=0x7f => self.integer(i64::from(first))?,
            0x80..=0xbf => self.plain(low & 0x3f)?,
            0xc0..=0xdf => {
                let int = ((low & 0x1f) << 8 | usize::from(self.byte()?)) << 3;
                self.integer(i64::from(int as u16 as i16 >> 3))?
            }
            0xe0..=0xef => {
                let len = (low & 0x0f) << 8 | usize::from(self.byte()?);
                self.plain(len)?
            }
            0xf0 => {
                let len = u32::from_le_bytes(self.array()?) as usize;
                self.plain(len)?
            }
            0xf1 => {
                let int = i16::from_le_bytes(self.array()?);
                self.integer(int.into())?
            }
            0xf2 => {
                let [a, b, c] = self.array()?;
                self.integer(i64::from(i32::from_le_bytes([0, a, b, c]) >> 8))?
            }
            0xf3 => {
                let int = i32::from_le_bytes(self.array()?);
                self.integer(int.into())?
            }
            0xf4 => {
                let int = i64::from_le_bytes(self.array()?);
                self.integer(int)?
            }
            _ => return Err(Wrong::Contents),
        };
        self.bytes(back_bytes(before - self.rest.len()))?;
        Ok(Some(item))
    }
}

/// A hash has a field at least.
fn some(pairs: Vec<Pair>) -> Read<Vec<Pair>> {
    if pairs.is_empty() { Err(Wrong::Contents) } else { Ok(pairs) }
}

/// Bytes behind an item of `len` bytes that say its length to those who read backwards: 7 bits to a byte. Redis takes a byte
/// more than it need for the greatest lengths of two, three and four bytes, so whoever reads must too.
fn back_bytes(len: usize) -> usize {
    match len {
        0..=0x7f => 1,
        0x80..0x3fff => 2,
        0x3fff..0x1f_ffff => 3,
        0x1f_ffff..0xfff_ffff => 4,
        _ => 5,
    }
}

/// The most bytes that one byte of LZF can stand for: 264 from 3.
const MAX_EXPANSION: usize = 88;

/// Unpacks LZF: runs of literal bytes, and references to what was unpacked already. `None` unless `len` bytes come out.
fn unpack(packed: &[u8], len: usize) -> Option<Vec<u8>> {
    let mut packed = packed.iter();
    let mut out: Vec<u8> = Vec::with_capacity(len);
    while let Some(&control) = packed.next() {
        if control < 32 {
            let (run, rest) = packed.as_slice().split_at_checked(usize::from(control) + 1)?;
            out.extend_from_slice(run);
            packed = rest.iter();
        } else {
            let mut run = usize::from(control >> 5);
            if run == 7 {
                run += usize::from(*packed.next()?);
            }
            let back = (usize::from(control & 0x1f) << 8 | usize::from(*packed.next()?)) + 1;
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

    const MAX: Limits = Limits { string: 1 << 20, total: 1 << 22 };

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
        let list = [b"\x1c\0\0\0\x06\0", &items.concat()[..], b"\xff"].concat();
        let mut dump = vec![HASH_LISTPACK];
        write_string(&list, &mut dump);
        let text = |text: &str| text.as_bytes().to_vec();
        let pairs = vec![(text("5"), text("-1")), (text("a"), text("-32768")), (text("bc"), text("-8388608"))];
        assert_eq!(read(&finish(dump.clone()), MAX), Ok(Value::Hash(pairs)));
        for (at, what) in [(2, "bytes"), (6, "items")] {
            let mut changed = dump.clone();
            changed[at] += 2;
            assert_eq!(read(&finish(changed), MAX), Err(Wrong::Contents), "another number of {what}");
        }
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
    }

    // Redis's number of bytes behind an item is not the least for three lengths; a field behind such an item was lost.
    #[test]
    fn items_of_all_lengths_are_read() {
        for len in [10, 126, 127, 16377, 16378, 16379, 2_097_145, 2_097_146, 2_097_147] {
            let head: Vec<u8> = match len {
                0..0x40 => vec![0x80 | len as u8],
                0x40..0x1000 => vec![0xe0 | (len >> 8) as u8, len as u8],
                _ => [&[0xf0][..], &(len as u32).to_le_bytes()].concat(),
            };
            let back = match head.len() + len {
                0..=127 => 1,
                128..16383 => 2,
                16383..2_097_151 => 3,
                _ => 4,
            };
            let items = [b"\x81f\x02", &head[..], &vec![b'v'; len], &vec![0; back], b"\x81g\x02\x02\x01\xff"].concat();
            let list = [&(items.len() as u32 + 6).to_le_bytes()[..], &[4, 0], &items].concat();
            let mut dump = vec![HASH_LISTPACK];
            write_string(&list, &mut dump);
            let limits = Limits { string: 4 << 20, total: 16 << 20 };
            let pairs = vec![(b"f".to_vec(), vec![b'v'; len]), (b"g".to_vec(), b"2".to_vec())];
            assert!(read(&finish(dump), limits) == Ok(Value::Hash(pairs)), "{len}");
        }
    }

    #[test]
    fn a_dump_takes_no_more_memory_than_it_may() {
        let limits = Limits { string: 7, total: 1000 };
        assert_eq!(read(&dump_string(b"too long"), limits), Err(Wrong::TooLarge));
        assert!(read(&dump_string(b"a text"), limits).is_ok());
        let fields = |count: u8| (0..count).map(|n| (vec![b'f', n], vec![b'v'; 7])).collect::<Vec<_>>();
        assert!(read(&dump_hash(&fields(10)), limits).is_ok());
        assert_eq!(read(&dump_hash(&fields(20)), limits), Err(Wrong::TooLarge), "however short each of them");
        // 300 bytes from eight, over and over.
        let packed = [0xc0 | LZF, 8, 0x41, 0x2c, 0, b'a', 0xe0, 255, 0, 0xe0, 26, 0];
        let packed = &packed[..];
        let dump = finish([&[HASH, 2, 1, b'a'], packed, &[1, b'b'], packed].concat());
        let of = |total| read(&dump, Limits { string: 1000, total });
        assert_eq!(of(500), Err(Wrong::TooLarge));
        assert!(of(1000).is_ok());
    }
}
