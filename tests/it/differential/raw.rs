//! Replies as the bytes that they are.

use std::io::{self, BufRead, Read};

/// Reads one reply, whatever it is, and returns its bytes.
pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    take(reader, &mut out)?;
    Ok(out)
}

fn take(reader: &mut impl BufRead, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    reader.read_until(b'\n', out)?;
    if !out.ends_with(b"\r\n") {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed inside a reply"));
    }
    let kind = out[start];
    let count = std::str::from_utf8(&out[start + 1..out.len() - 2]).ok().and_then(|text| text.parse::<i64>().ok());
    match (kind, count) {
        (b'$' | b'=', Some(len @ 0..)) => {
            let end = out.len() + len as usize + 2;
            reader.take(len as u64 + 2).read_to_end(out)?;
            if out.len() < end { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        }
        (b'*' | b'~' | b'>', Some(items)) => (0..items).try_for_each(|_| take(reader, out)),
        (b'%', Some(pairs)) => (0..2 * pairs).try_for_each(|_| take(reader, out)),
        _ => Ok(()),
    }
}

/// The items of an array or set, each as its bytes; `None` for anything else.
pub(super) fn items(reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = reply;
    let mut head = Vec::new();
    rest.read_until(b'\n', &mut head).ok()?;
    let (kind, count) = head.split_first()?;
    let count: usize = std::str::from_utf8(count).ok()?.trim_end().parse().ok()?;
    matches!(kind, b'*' | b'~').then(|| (0..count).map(|_| read(&mut rest).ok()).collect())?
}

/// The pairs of a map, each as its bytes; `None` for anything else.
pub(super) fn pairs(reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = reply.strip_prefix(b"%")?;
    let mut head = Vec::new();
    rest.read_until(b'\n', &mut head).ok()?;
    let count: usize = std::str::from_utf8(&head).ok()?.trim_end().parse().ok()?;
    (0..count).map(|_| Some([read(&mut rest).ok()?, read(&mut rest).ok()?].concat())).collect()
}

/// The integer that a reply is.
pub(super) fn integer(reply: &[u8]) -> Option<i64> {
    std::str::from_utf8(reply.strip_prefix(b":")?).ok()?.trim_end().parse().ok()
}
