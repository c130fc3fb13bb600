//! Replies to bytes.

use crate::{
    command::{Proto, Reply},
    store::{Row, ValueRef},
};

/// Appends `reply` to `out` as the client of protocol version `proto` reads it.
pub fn encode(reply: &Reply, proto: Proto, out: &mut Vec<u8>) {
    let resp3 = proto == Proto::Resp3;
    match reply {
        Reply::Nothing => {}
        Reply::Status(text) => line(out, b'+', text.as_bytes()),
        Reply::Line(text) => line(out, b'+', text.as_bytes()),
        Reply::Error(text) => error(out, text),
        Reply::Int(n) => number(out, b':', *n),
        Reply::Double(x) => double(*x, resp3, out),
        Reply::Bool(yes) if resp3 => line(out, b'#', if *yes { b"t" } else { b"f" }),
        Reply::Bool(yes) => number(out, b':', i64::from(*yes)),
        Reply::Null => null(resp3, out),
        Reply::NullArray if !resp3 => out.extend_from_slice(b"*-1\r\n"),
        Reply::NullArray => null(resp3, out),
        Reply::Bulk(bytes) => bulk(bytes, out),
        Reply::Text(text) => bulk(text.as_bytes(), out),
        Reply::Verbatim(text) if resp3 => verbatim(text, out),
        Reply::Verbatim(text) => bulk(text.as_bytes(), out),
        Reply::Array(items) => sequence(items, b'*', proto, out),
        Reply::Set(items) => sequence(items, if resp3 { b'~' } else { b'*' }, proto, out),
        Reply::Push(items) => sequence(items, if resp3 { b'>' } else { b'*' }, proto, out),
        Reply::Several(replies) => replies.iter().for_each(|reply| encode(reply, proto, out)),
        Reply::Map(pairs) => {
            map_head(pairs.len(), resp3, out);
            for (key, value) in pairs {
                encode(key, proto, out);
                encode(value, proto, out);
            }
        }
        Reply::Row(row) => encode_row(row, resp3, out),
    }
}

/// Writes a message that answers no request, of these strings.
pub fn encode_message(parts: &[&[u8]], proto: Proto, out: &mut Vec<u8>) {
    number(out, if proto == Proto::Resp3 { b'>' } else { b'*' }, parts.len() as i64);
    parts.iter().for_each(|part| bulk(part, out));
}

/// A row is a map from its column names to their values.
fn encode_row(row: &Row, resp3: bool, out: &mut Vec<u8>) {
    map_head(row.schema().columns().len(), resp3, out);
    for (name, value) in row.iter() {
        bulk(name.as_bytes(), out);
        match value {
            ValueRef::Int(n) => number(out, b':', n),
            ValueRef::Float(x) => double(x, resp3, out),
            ValueRef::Bytes(bytes) => bulk(bytes, out),
        }
    }
}

fn line(out: &mut Vec<u8>, mark: u8, text: &[u8]) {
    out.push(mark);
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

/// An error is one line, so line ends in it (it may quote the client) become spaces.
fn error(out: &mut Vec<u8>, text: &str) {
    out.push(b'-');
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

fn number(out: &mut Vec<u8>, mark: u8, n: i64) {
    line(out, mark, itoa::Buffer::new().format(n).as_bytes());
}

fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 24);
    number(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn verbatim(text: &str, out: &mut Vec<u8>) {
    out.reserve(text.len() + 28);
    number(out, b'=', text.len() as i64 + 4);
    out.extend_from_slice(b"txt:");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn double(x: f64, resp3: bool, out: &mut Vec<u8>) {
    let mut buffer = zmij::Buffer::new();
    let text = crate::command::float_text(x, &mut buffer);
    if resp3 {
        line(out, b',', text.as_bytes());
    } else {
        bulk(text.as_bytes(), out);
    }
}

fn null(resp3: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

fn map_head(len: usize, resp3: bool, out: &mut Vec<u8>) {
    if resp3 {
        number(out, b'%', len as i64);
    } else {
        number(out, b'*', 2 * len as i64);
    }
}

fn sequence(items: &[Reply], mark: u8, proto: Proto, out: &mut Vec<u8>) {
    number(out, mark, items.len() as i64);
    for item in items {
        encode(item, proto, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(reply: &Reply) -> (String, String) {
        let text = |proto| {
            let mut out = Vec::new();
            encode(reply, proto, &mut out);
            String::from_utf8(out).unwrap()
        };
        (text(Proto::Resp2), text(Proto::Resp3))
    }

    #[test]
    fn each_protocol_has_its_forms() {
        let one = || vec![Reply::Int(1)];
        for (reply, resp2, resp3) in [
            (Reply::Nothing, "", ""),
            (Reply::OK, "+OK\r\n", "+OK\r\n"),
            (Reply::error("ERR a\r\nb"), "-ERR a  b\r\n", "-ERR a  b\r\n"),
            (Reply::Int(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (Reply::Double(1.5), "$3\r\n1.5\r\n", ",1.5\r\n"),
            (Reply::Double(-3.0), "$2\r\n-3\r\n", ",-3\r\n"),
            (Reply::Bool(true), ":1\r\n", "#t\r\n"),
            (Reply::Bool(false), ":0\r\n", "#f\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::NullArray, "*-1\r\n", "_\r\n"),
            (Reply::Bulk(b"a\r\nb".to_vec()), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
            (Reply::Text(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::Verbatim("hi".to_owned()), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (Reply::Array(one()), "*1\r\n:1\r\n", "*1\r\n:1\r\n"),
            (Reply::Set(one()), "*1\r\n:1\r\n", "~1\r\n:1\r\n"),
            (Reply::Push(one()), "*1\r\n:1\r\n", ">1\r\n:1\r\n"),
            (Reply::Several(vec![Reply::OK, Reply::Push(one())]), "+OK\r\n*1\r\n:1\r\n", "+OK\r\n>1\r\n:1\r\n"),
            (Reply::Map(vec![(Reply::Int(1), Reply::Null)]), "*2\r\n:1\r\n$-1\r\n", "%1\r\n:1\r\n_\r\n"),
        ] {
            assert_eq!(both(&reply), (resp2.to_owned(), resp3.to_owned()), "{reply:?}");
        }
    }
}
