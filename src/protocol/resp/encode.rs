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
        Reply::Error(text) => error(out, text),
        Reply::Int(n) => number(out, b':', *n),
        Reply::Double(x) => double(*x, resp3, out),
        Reply::Bool(yes) if resp3 => line(out, b'#', if *yes { b"t" } else { b"f" }),
        Reply::Bool(yes) => number(out, b':', i64::from(*yes)),
        Reply::Null => null(resp3, out),
        Reply::Bulk(bytes) => bulk(bytes, out),
        Reply::Text(text) => bulk(text.as_bytes(), out),
        Reply::Verbatim(text) if resp3 => verbatim(text, out),
        Reply::Verbatim(text) => bulk(text.as_bytes(), out),
        Reply::Array(items) => sequence(items, b'*', proto, out),
        Reply::Set(items) => sequence(items, if resp3 { b'~' } else { b'*' }, proto, out),
        Reply::Push(items) => sequence(items, if resp3 { b'>' } else { b'*' }, proto, out),
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
