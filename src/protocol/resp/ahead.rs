//! Many requests at once: the arguments of those that wait in a buffer, and the keys that they will ask for.
//!
//! Most requests are whole, short and arrays of bulk strings. They are read here in one go, which is quicker than one by one with a
//! parser that can stop at each byte, and shows what comes next in time to have it brought near. Whatever is not so plain ends the look, and is the
//! parser's to read; about what is read here, both are of one mind.

use std::ops::Range;

use super::parse::short_number;

/// Longer keys are not worth the time.
const LONGEST_KEY: usize = 256;
/// Requests that are looked at together.
const REQUESTS: usize = 16;
/// A request with more arguments is not plain.
const ARGS: i64 = 64;

/// A request that was read.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    /// Its bytes.
    len: usize,
    /// Its arguments, among all that were read.
    args: (usize, usize),
}

/// The requests at the front of a buffer, as far as they are plain.
#[derive(Debug, Default)]
pub struct Ahead {
    requests: [Read; REQUESTS],
    count: usize,
    next: usize,
    /// Of all requests, each argument as a range of its request.
    args: Vec<Range<usize>>,
}

impl Ahead {
    /// Forgets what is left.
    pub fn clear(&mut self) {
        (self.count, self.next) = (0, 0);
        self.args.clear();
    }

    /// Whether every request was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next == self.count
    }

    /// Reads the requests at the front of `buf` whose arguments have at most `longest` bytes.
    pub fn look(&mut self, buf: &[u8], longest: usize) {
        self.clear();
        let mut at = 0;
        while self.count < REQUESTS {
            let begun = self.args.len();
            let Some(len) = read(&buf[at..], longest, &mut self.args) else {
                self.args.truncate(begun);
                return;
            };
            self.requests[self.count] = Read { len, args: (begun, self.args.len()) };
            self.count += 1;
            at += len;
        }
    }

    /// Takes the next request: how many bytes it has.
    #[must_use]
    pub fn take(&mut self) -> Option<usize> {
        let read = self.requests[..self.count].get(self.next)?;
        self.next += 1;
        Some(read.len)
    }

    /// The arguments of the request that was taken last, as ranges of its bytes.
    #[must_use]
    pub fn args(&self) -> &[Range<usize>] {
        let taken = self.next.checked_sub(1).map_or((0, 0), |last| self.requests[last].args);
        &self.args[taken.0..taken.1]
    }

    /// Hands one argument of each request in `buf` to `with`, if there are several: the one whose number `place` says for the
    /// request's name; 0: none.
    pub fn with_keys<'a>(&self, buf: &'a [u8], place: impl Fn(&[u8]) -> usize, with: impl FnOnce(&[&'a [u8]])) {
        let mut keys: [&[u8]; REQUESTS] = [&[]; REQUESTS];
        let (mut found, mut at) = (0, 0);
        for request in &self.requests[..self.count] {
            let (args, bytes) = (&self.args[request.args.0..request.args.1], &buf[at..]);
            let place = args.first().map_or(0, |name| place(&bytes[name.clone()]));
            if let Some(key) = args.get(place).filter(|key| place > 0 && key.len() <= LONGEST_KEY) {
                keys[found] = &bytes[key.clone()];
                found += 1;
            }
            at += request.len;
        }
        if found > 1 {
            with(&keys[..found]);
        }
    }
}

/// Reads the request at the front; its length, if it is whole and plain.
#[inline]
fn read(buf: &[u8], longest: usize, args: &mut Vec<Range<usize>>) -> Option<usize> {
    let (count, mut at) = marked(buf, b'*')?;
    if count > ARGS {
        return None;
    }
    for _ in 0..count {
        let (len, head) = marked(buf.get(at..)?, b'$')?;
        let (start, len) = (at + head, len as usize);
        at = start + len + 2;
        if at > buf.len() || len > longest {
            return None;
        }
        args.push(start..start + len);
    }
    Some(at)
}

#[inline(always)]
fn marked(buf: &[u8], mark: u8) -> Option<(i64, usize)> {
    let (&first, rest) = buf.split_first()?;
    let (number, len) = short_number(rest).filter(|_| first == mark)?;
    Some((number, len + 1))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Parser, RequestLimits},
        *,
    };

    /// What was read of a buffer, request by request, and its keys.
    fn all(buf: &[u8]) -> (Vec<Vec<&[u8]>>, Vec<&[u8]>) {
        let mut ahead = Ahead::default();
        ahead.look(buf, 100);
        let mut keys = Vec::new();
        let place = |name: &[u8]| if name == b"OBJECT" { 2 } else { usize::from(name != b"TIME") };
        ahead.with_keys(buf, place, |found| keys.extend_from_slice(found));
        let (mut requests, mut at) = (Vec::new(), 0);
        while let Some(len) = ahead.take() {
            requests.push(ahead.args().iter().map(|range| &buf[at..][range.clone()]).collect());
            at += len;
        }
        assert!(ahead.is_empty());
        (requests, keys)
    }

    #[test]
    fn whole_requests_are_read_and_the_rest_is_left() {
        let buf = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$2\r\nbc\r\n$0\r\n\r\n*3\r\n$6\r\nOBJECT\r\n$1\r\nx\r\n$1\r\nd\r\n*2\r\n$4\r\nTIME\r\n$1\r\nx\r\n*2\r\n$3\r\nGET\r\n$5\r\nab";
        let (requests, keys) = all(buf);
        let plain =
            [vec!["GET", "a"], vec!["PING"], vec!["SET", "bc", ""], vec!["OBJECT", "x", "d"], vec!["TIME", "x"]];
        assert_eq!(requests, plain.map(|request| request.into_iter().map(str::as_bytes).collect::<Vec<_>>()));
        assert_eq!(keys, [b"a", &b"bc"[..], b"d"]);
    }

    #[test]
    fn what_is_not_plain_is_not_read() {
        let long = [&b"*1\r\n$101\r\n"[..], &[b'x'; 101], b"\r\n"].concat();
        let many = [&b"*65\r\n"[..], &b"$1\r\na\r\n".repeat(65)].concat();
        let odd: [&[u8]; 10] = [
            b"PING\r\n",
            b"*-1\r\n",
            b"*2\r\n$-1\r\n",
            b"*1\r\n$999999\r\n",
            b"*",
            b"*1\r",
            b"*1\r\n+a\r\n",
            b"*01\r\n$1\r\na\r\n",
            &long,
            &many,
        ];
        for odd in odd {
            assert_eq!(all(odd).0, Vec::<Vec<&[u8]>>::new(), "{odd:?}");
        }
    }

    proptest::proptest! {
        /// What is read here is what the parser reads.
        #[test]
        fn it_reads_as_the_parser_does(
            words in proptest::collection::vec(proptest::sample::select(vec!["*1\r\n", "*2\r\n", "*0\r\n", "$1\r\n", "$3\r\n", "a\r\n", "abc\r\n", "$0\r\n", "\r\n", "GET a\r\n", "*", "$", "0"]), 0..12),
        ) {
            let mut buf = words.concat().into_bytes();
            let unread = buf.clone();
            let (read, _) = all(&unread);
            let (mut parser, mut ranges, mut at) = (Parser::new(RequestLimits::for_values_of(100)), Vec::new(), 0);
            for request in read {
                let parsed = parser.next(&mut buf[at..], &mut ranges);
                let len = parsed.expect("what is read is right").expect("what is read is whole");
                let args: Vec<&[u8]> = ranges.iter().map(|range| &buf[at..][range.clone()]).collect();
                proptest::prop_assert_eq!(args, request);
                at += len;
            }
        }
    }
}
