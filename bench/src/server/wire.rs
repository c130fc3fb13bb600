//! What goes over the wire: requests, and the replies to them counted.

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

/// An HTTP request without a body.
pub(crate) fn http(method: &str, path: &str) -> Vec<u8> {
    let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{length}\r\n").into_bytes()
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

/// The length of the HTTP response that `bytes` begins with, whose body has a `Content-Length` or is empty.
pub(crate) fn http_response(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let body = bytes[..head].split(|&byte| byte == b'\n').find_map(content_length).unwrap_or(0);
    Some(head + body).filter(|&end| end <= bytes.len())
}

/// The length of the body, if this line of a head says it.
fn content_length(line: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = line.split_at_checked(NAME.len())?;
    if !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    std::str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Whether a reply says that the request was refused, in any of the protocols.
pub(crate) fn is_refusal(reply: &[u8]) -> bool {
    match reply.strip_prefix(b"HTTP/1.1 ") {
        Some(status) => status.first() != Some(&b'2'),
        None => [&b"-"[..], b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"].iter().any(|start| reply.starts_with(start)),
    }
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

    #[test]
    fn responses_end_where_their_length_says() {
        let response = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1";
        assert_eq!(http_response(response), Some(response.len() - 8));
        assert_eq!(http_response(&response[..46]), None, "the body is not there yet");
        assert_eq!(http_response(&response[..30]), None, "nor is the head");
        let without = b"HTTP/1.1 204 No Content\r\ndate: today\r\n\r\n";
        assert_eq!(http_response(without), Some(without.len()));
    }

    #[test]
    fn requests_end_with_an_empty_line() {
        assert_eq!(http("GET", "/a"), b"GET /a HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert!(http("POST", "/a").ends_with(b"\r\ncontent-length: 0\r\n\r\n"));
    }

    #[test]
    fn refusals_are_known_in_every_protocol() {
        let refusals: [&[u8]; 4] = [b"-ERR no\r\n", b"HTTP/1.1 404 Not Found\r\n", b"ERROR\r\n", b"SERVER_ERROR x\r\n"];
        assert!(refusals.into_iter().all(is_refusal));
        let others: [&[u8]; 4] = [b"+OK\r\n", b":-1\r\n", b"HTTP/1.1 200 OK\r\n", b"END\r\n"];
        assert!(!others.into_iter().any(is_refusal));
    }
}
