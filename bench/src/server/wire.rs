//! What goes over the wire: requests as arrays of bulk strings, and replies counted.

/// A command with its arguments.
pub(crate) fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A line of words as a command.
pub(crate) fn words(line: &str) -> Vec<u8> {
    command(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
}

/// The length of the reply that `bytes` begins with; `None` if it is not there as a whole.
pub(crate) fn reply(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    let number = || std::str::from_utf8(&bytes[1..end - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => match number()? {
            -1 => Some(end),
            len => Some(end + len as usize + 2).filter(|&end| end <= bytes.len()),
        },
        b'*' | b'%' | b'>' | b'~' => {
            let parts = number()?.max(0) * if bytes[0] == b'%' { 2 } else { 1 };
            (0..parts).try_fold(end, |at, _| Some(at + reply(&bytes[at..])?))
        }
        _ => Some(end),
    }
}

/// The length of memcached's answer that `bytes` begins with: a line, or values up to `END`.
pub(crate) fn memcached_reply(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    if !bytes.starts_with(b"VALUE ") {
        return Some(end);
    }
    let line = std::str::from_utf8(&bytes[..end - 2]).ok()?;
    let len: usize = line.rsplit(' ').next()?.parse().ok()?;
    let next = end + len + 2;
    Some(next + memcached_reply(bytes.get(next..)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_whole() {
        assert_eq!(reply(b"+OK\r\n+"), Some(5));
        assert_eq!(reply(b"$3\r\nabc\r\n"), Some(9));
        assert_eq!(reply(b"$3\r\nabc"), None);
        assert_eq!(reply(b"$-1\r\n"), Some(5));
        assert_eq!(reply(b"*2\r\n:1\r\n*1\r\n$0\r\n\r\n"), Some(18));
        assert_eq!(memcached_reply(b"VALUE a 0 3\r\nabc\r\nEND\r\nVALUE"), Some(23));
        assert_eq!(memcached_reply(b"STORED\r\n"), Some(8));
    }
}
