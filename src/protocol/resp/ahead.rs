//! A look at the requests that wait in a buffer: which keys they will ask for.
//!
//! Only what is most usual is understood, and only so far as to find the first argument of each; whatever else comes ends the look.
//! The parser decides what the bytes mean, later; here a wrong guess costs a little time and nothing else.

use super::parse::short_number;

/// Longer keys are not worth the time.
const LONGEST_KEY: i64 = 256;
/// Requests that are looked at together.
const LOOKED_AT: usize = 16;

/// The first arguments of the requests at the front of a buffer.
pub struct Ahead<'a> {
    keys: [&'a [u8]; LOOKED_AT],
    len: usize,
    bytes: usize,
}

impl<'a> Ahead<'a> {
    /// Looks at the requests at the front of `buf`.
    #[must_use]
    pub fn look(buf: &'a [u8]) -> Self {
        let mut ahead = Self { keys: [&[]; LOOKED_AT], len: 0, bytes: 0 };
        for _ in 0..LOOKED_AT {
            let Some((key, bytes)) = request(&buf[ahead.bytes..]) else { break };
            if let Some(key) = key {
                ahead.keys[ahead.len] = key;
                ahead.len += 1;
            }
            ahead.bytes += bytes;
        }
        ahead
    }

    /// The first argument of each request that has one.
    #[must_use]
    pub fn keys(&self) -> &[&'a [u8]] {
        &self.keys[..self.len]
    }

    /// How many bytes the requests are that were looked at.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The first argument of the request at the front, and the request's length.
fn request(buf: &[u8]) -> Option<(Option<&[u8]>, usize)> {
    let (args, mut at) = marked(buf, b'*')?;
    let mut key = None;
    for arg in 0..args {
        let (len, head) = marked(buf.get(at..)?, b'$')?;
        let start = at + head;
        at = start + len as usize + 2;
        let text = buf.get(start..at)?;
        if arg == 1 && len <= LONGEST_KEY {
            key = Some(&text[..text.len() - 2]);
        }
    }
    Some((key, at))
}

fn marked(buf: &[u8], mark: u8) -> Option<(i64, usize)> {
    let (&first, rest) = buf.split_first()?;
    let (number, len) = short_number(rest).filter(|_| first == mark)?;
    Some((number, len + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_arguments_of_whole_requests_are_found() {
        let buf = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$2\r\nbc\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$5\r\nab";
        let ahead = Ahead::look(buf);
        assert_eq!((ahead.keys(), ahead.bytes()), (&[&b"a"[..], b"bc"][..], 20 + 14 + 27));
    }

    #[test]
    fn what_is_not_usual_ends_the_look() {
        for odd in [
            &b"PING\r\n"[..],
            b"*-1\r\n",
            b"*2\r\n$-1\r\n",
            b"*2\r\n$999999\r\n",
            b"*",
            b"*1\r",
            b"*2\r\n+a\r\n",
            b"*99999\r\n$1\r\na\r\n",
        ] {
            assert_eq!(Ahead::look(odd).bytes(), 0, "{odd:?}");
        }
    }
}
