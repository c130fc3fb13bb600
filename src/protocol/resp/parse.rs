//! Bytes to requests.
//!
//! A client sends a request in one of two forms: an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\na\r\n`), or an
//! *inline* line of words as a person types it, with single and double quotes. The parser looks at the bytes that
//! have arrived so far and answers either with the arguments of one whole request, as ranges of those bytes, or
//! that more bytes are needed.
//!
//! * **It copies nothing.** Arguments are ranges of the caller's buffer. The one exception are escapes such as `\n`
//!   in a quoted inline word: the word is decoded in place, where it only ever becomes shorter.
//! * **It resumes.** It remembers how far it looked, so a 16 MB value that arrives in 4 KB pieces costs one step a
//!   piece, not one pass over all that came before. The caller keeps the unfinished request at the front of its buffer.
//! * **It is bounded.** Every length is checked before it is believed, and nothing is allocated for bytes that have
//!   only been announced. A client that has not given the password gets tighter bounds.
//!
//! A request's outcome does not depend on how its bytes were cut into pieces; a property test holds the parser to it.

use std::{fmt, ops::Range};

use crate::command::Reply;

/// Arguments that a client may send before it has given the password.
const UNAUTHENTICATED_ARGS: i64 = 10;
/// Bytes of an argument that a client may send before it has given the password.
const UNAUTHENTICATED_BULK_BYTES: i64 = 16 * 1024;
/// Bytes that an argument may have beyond the largest value.
const BULK_SLACK_BYTES: usize = 64 * 1024;
/// Argument places that are reserved at once; more are added as the arguments arrive.
const RESERVED_ARGS: usize = 64;

/// How large a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Arguments of an array.
    pub args: usize,
    /// Bytes of one argument of an array.
    pub bulk_bytes: usize,
    /// Bytes of an inline request, or of a length line.
    pub line_bytes: usize,
    /// Bytes of a whole request.
    pub request_bytes: usize,
}

impl RequestLimits {
    /// The limits that let values of `max_value` bytes pass, and a batch of 64 of them up to a gigabyte.
    #[must_use]
    pub fn for_values_of(max_value: usize) -> Self {
        let bulk_bytes = max_value.saturating_add(BULK_SLACK_BYTES);
        Self {
            args: 1024 * 1024,
            bulk_bytes,
            line_bytes: 64 * 1024,
            request_bytes: bulk_bytes.saturating_mul(64).min(1 << 30).max(bulk_bytes.saturating_mul(2)),
        }
    }
}

/// Input that is no request; the connection is told so and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The number of arguments is no number, or too large.
    MultibulkLength,
    /// The length of an argument is no number, negative, or too large.
    BulkLength,
    /// An argument starts with this byte instead of `$`.
    ExpectedBulk(u8),
    /// An inline request has no end within the limit.
    InlineTooBig,
    /// The line with the number of arguments has no end within the limit.
    MultibulkCountTooBig,
    /// The line with the length of an argument has no end within the limit.
    BulkCountTooBig,
    /// A quote of an inline request is not closed, or is followed by something other than a space.
    UnbalancedQuotes,
    /// Too many arguments before the password was given.
    UnauthenticatedMultibulk,
    /// Too long an argument before the password was given.
    UnauthenticatedBulk,
    /// All arguments together are too long.
    RequestTooBig,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            Self::MultibulkLength => f.write_str("invalid multibulk length"),
            Self::BulkLength => f.write_str("invalid bulk length"),
            Self::ExpectedBulk(byte) if byte.is_ascii_graphic() => {
                write!(f, "expected '$', got '{}'", char::from(*byte))
            }
            Self::ExpectedBulk(_) => f.write_str("expected '$', got ' '"),
            Self::InlineTooBig => f.write_str("too big inline request"),
            Self::MultibulkCountTooBig => f.write_str("too big mbulk count string"),
            Self::BulkCountTooBig => f.write_str("too big bulk count string"),
            Self::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            Self::UnauthenticatedMultibulk => f.write_str("unauthenticated multibulk length"),
            Self::UnauthenticatedBulk => f.write_str("unauthenticated bulk length"),
            Self::RequestTooBig => f.write_str("too big request"),
        }
    }
}

impl std::error::Error for ProtocolError {}

impl ProtocolError {
    /// What the client is told before the connection is closed.
    #[must_use]
    pub fn reply(&self) -> Reply {
        Reply::Error(format!("ERR {self}").into())
    }
}

/// Where in a request the parser stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Before its first byte.
    Start,
    /// Before the length line of an argument, with so many arguments to come.
    Length { left: usize },
    /// Before the bytes of an argument.
    Bulk { left: usize, len: usize },
}

/// The state of one connection's input.
#[derive(Debug)]
pub struct Parser {
    limits: RequestLimits,
    authenticated: bool,
    step: Step,
    /// Bytes of the unfinished request that are done with.
    at: usize,
    /// Bytes of the unfinished line that hold no line end.
    scanned: usize,
    /// Arguments of the unfinished request.
    partial: Vec<Range<usize>>,
}

impl Parser {
    /// A parser at the start of a connection, for a client that needs no password.
    #[must_use]
    pub fn new(limits: RequestLimits) -> Self {
        Self { limits, authenticated: true, step: Step::Start, at: 0, scanned: 0, partial: Vec::new() }
    }

    /// Says whether the client has given the password, if one is needed. It holds from the next length line on.
    pub fn set_authenticated(&mut self, authenticated: bool) {
        self.authenticated = authenticated;
    }

    /// Whether the next byte is the first of a request.
    #[must_use]
    pub fn is_at_start(&self) -> bool {
        self.step == Step::Start && self.scanned == 0
    }

    /// Takes the request at the front of `buf`.
    ///
    /// Returns the number of bytes that it occupies, with its arguments in `args` as ranges of `buf`; or `None` if it has
    /// not arrived whole, in which case the next call must see the same bytes again and more behind them. A
    /// request without arguments (an empty line, `*0`) is to be skipped without an answer. A request must not be
    /// parsed again once it was returned: escapes are decoded in place.
    ///
    /// Cost: proportional to the bytes that are new since the last call.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`]; the connection cannot be used any more.
    pub fn next(&mut self, buf: &mut [u8], args: &mut Vec<Range<usize>>) -> Result<Option<usize>, ProtocolError> {
        args.clear();
        if !self.partial.is_empty() {
            std::mem::swap(args, &mut self.partial);
        }
        let found = match self.step {
            Step::Start if buf.first().is_some_and(|&byte| byte != b'*') => self.inline(buf, args)?,
            _ => self.array(buf, args)?,
        };
        match found {
            Some(_) => self.forget(),
            None => self.partial = std::mem::take(args),
        }
        Ok(found)
    }

    /// Back to the start of a request.
    fn forget(&mut self) {
        self.step = Step::Start;
        self.at = 0;
        self.scanned = 0;
        self.partial = Vec::new();
    }

    fn array(&mut self, buf: &[u8], args: &mut Vec<Range<usize>>) -> Result<Option<usize>, ProtocolError> {
        loop {
            match self.step {
                Step::Start => {
                    let Some(count) = self.count(buf)? else { return Ok(None) };
                    args.reserve(count.min(RESERVED_ARGS));
                    self.step = Step::Length { left: count };
                }
                Step::Length { left: 0 } => return Ok(Some(self.at)),
                Step::Length { left } => {
                    let Some(len) = self.length(buf)? else { return Ok(None) };
                    self.step = Step::Bulk { left, len };
                }
                Step::Bulk { left, len } => {
                    if buf.len().saturating_sub(self.at) < len + 2 {
                        return Ok(None);
                    }
                    args.push(self.at..self.at + len);
                    self.at += len + 2;
                    self.step = Step::Length { left: left - 1 };
                }
            }
        }
    }

    /// The number of arguments, from the line at the front; a negative one is none.
    fn count(&mut self, buf: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(number) = self.number(buf, ProtocolError::MultibulkCountTooBig)? else { return Ok(None) };
        let count = number.ok_or(ProtocolError::MultibulkLength)?;
        if count > self.limits.args as i64 {
            return Err(ProtocolError::MultibulkLength);
        }
        if count > UNAUTHENTICATED_ARGS && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedMultibulk);
        }
        Ok(Some(usize::try_from(count).unwrap_or(0)))
    }

    /// The length of an argument, from the line at hand.
    fn length(&mut self, buf: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match buf.get(self.at) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&byte) => return Err(ProtocolError::ExpectedBulk(byte)),
        }
        let Some(number) = self.number(buf, ProtocolError::BulkCountTooBig)? else { return Ok(None) };
        let len = number.and_then(|n| usize::try_from(n).ok()).ok_or(ProtocolError::BulkLength)?;
        if len > self.limits.bulk_bytes {
            return Err(ProtocolError::BulkLength);
        }
        if len as i64 > UNAUTHENTICATED_BULK_BYTES && !self.authenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        if self.at + len > self.limits.request_bytes {
            return Err(ProtocolError::RequestTooBig);
        }
        Ok(Some(len))
    }

    /// Takes the line at hand, a mark and a number; the inner option is empty if it is no number.
    ///
    /// As in Redis the line ends at the first `\r`, and the byte behind it is taken without a look.
    fn number(&mut self, buf: &[u8], too_big: ProtocolError) -> Result<Option<Option<i64>>, ProtocolError> {
        if let Some((number, len)) = short_number(buf.get(self.at + 1..).unwrap_or_default()) {
            self.at += 1 + len;
            self.scanned = 0;
            return Ok(Some(Some(number)));
        }
        let Some(end) = self.line_end(buf, b'\r', too_big)? else { return Ok(None) };
        if end + 2 > buf.len() {
            return Ok(None);
        }
        let number = crate::command::parse_int(&buf[self.at + 1..end]);
        self.at = end + 2;
        self.scanned = 0;
        Ok(Some(number))
    }

    /// Where the line at hand has its `mark`; `None` if that has not arrived.
    fn line_end(&mut self, buf: &[u8], mark: u8, too_big: ProtocolError) -> Result<Option<usize>, ProtocolError> {
        let seen = (self.at + self.scanned).min(buf.len());
        let limit = buf.len().min(self.at + self.limits.line_bytes + 1);
        if let Some(found) = memchr::memchr(mark, &buf[seen.min(limit)..limit]) {
            return Ok(Some(seen + found));
        }
        if buf.len().saturating_sub(self.at) > self.limits.line_bytes {
            return Err(too_big);
        }
        self.scanned = buf.len().saturating_sub(self.at);
        Ok(None)
    }

    fn inline(&mut self, buf: &mut [u8], args: &mut Vec<Range<usize>>) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = self.line_end(buf, b'\n', ProtocolError::InlineTooBig)? else { return Ok(None) };
        split_words(&mut buf[..end], args)?;
        Ok(Some(end + 1))
    }
}

/// Digits of a number that is read at a glance.
const SHORT_DIGITS: usize = 5;

/// The number at the front and the length of its line, if it is short and the line is there as a whole: what nearly every line is.
#[inline(always)]
pub(super) fn short_number(text: &[u8]) -> Option<(i64, usize)> {
    let mut number = 0;
    for (at, &byte) in text.iter().take(SHORT_DIGITS + 1).enumerate() {
        match byte {
            b'0'..=b'9' => number = 10 * number + i64::from(byte - b'0'),
            // Neither an empty one, nor one that begins with a zero and goes on, nor one without the byte behind it.
            b'\r' if at > 0 && (at == 1 || text[0] != b'0') && text.len() > at + 1 => return Some((number, at + 2)),
            _ => return None,
        }
    }
    None
}

/// A quoted stretch of an inline word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Splits an inline request into words and decodes quotes and escapes in place. The line ends at a zero byte.
fn split_words(line: &mut [u8], args: &mut Vec<Range<usize>>) -> Result<(), ProtocolError> {
    let end = memchr::memchr(0, line).unwrap_or(line.len());
    let line = &mut line[..end];
    let mut read = 0;
    loop {
        while line.get(read).is_some_and(|&byte| is_space(byte)) {
            read += 1;
        }
        if read == line.len() {
            return Ok(());
        }
        let (word, behind) = decode_word(line, read)?;
        args.push(word);
        read = behind;
    }
}

/// Decodes the word that starts at `start`; returns where it lies now, and where it ended.
fn decode_word(line: &mut [u8], start: usize) -> Result<(Range<usize>, usize), ProtocolError> {
    let mut quote = Quote::None;
    let (mut read, mut write) = (start, start);
    while let Some(&byte) = line.get(read) {
        let (decoded, taken) = match (quote, byte) {
            (Quote::None, b' ' | b'\n' | b'\r' | b'\t') => return Ok((start..write, read)),
            (Quote::None, b'"') => {
                quote = Quote::Double;
                (None, 1)
            }
            (Quote::None, b'\'') => {
                quote = Quote::Single;
                (None, 1)
            }
            (Quote::Double, b'"') | (Quote::Single, b'\'') => {
                return match line.get(read + 1) {
                    Some(&next) if !is_space(next) => Err(ProtocolError::UnbalancedQuotes),
                    _ => Ok((start..write, read + 1)),
                };
            }
            (Quote::Double, b'\\') => unescape(&line[read..]),
            (Quote::Single, b'\\') if line.get(read + 1) == Some(&b'\'') => (Some(b'\''), 2),
            _ => (Some(byte), 1),
        };
        if let Some(decoded) = decoded {
            line[write] = decoded;
            write += 1;
        }
        read += taken;
    }
    match quote {
        Quote::None => Ok((start..write, read)),
        _ => Err(ProtocolError::UnbalancedQuotes),
    }
}

/// The byte that an escape in double quotes stands for, and the escape's length. `text` starts with the backslash.
fn unescape(text: &[u8]) -> (Option<u8>, usize) {
    match text {
        [_, b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            (Some(hex(*high) << 4 | hex(*low)), 4)
        }
        [_, b'n', ..] => (Some(b'\n'), 2),
        [_, b'r', ..] => (Some(b'\r'), 2),
        [_, b't', ..] => (Some(b'\t'), 2),
        [_, b'b', ..] => (Some(0x08), 2),
        [_, b'a', ..] => (Some(0x07), 2),
        [_, other, ..] => (Some(*other), 2),
        _ => (Some(b'\\'), 1),
    }
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or(0) as u8
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

#[cfg(test)]
mod tests;
