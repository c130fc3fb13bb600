//! Server-sent events: a published message, or what happened to a key, as a browser's `EventSource` reads it.
//!
//! The data of an event is one line of JSON, so that any channel and any payload come through:
//! `{"channel":"news","data":"hello"}`, with `"pattern"` where the client listens to one. Bytes that are no UTF-8 stand as
//! `{"base64":"..."}`, as in rows.

use super::json::{self, Members};
use crate::command::Heard;

/// A comment: it keeps a connection alive and means nothing.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// What a client wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening<'a> {
    /// The channel, or the pattern.
    pub name: &'a [u8],
    /// Whether it is a pattern.
    pub is_pattern: bool,
}

/// The event of a message.
#[must_use]
pub fn event(heard: Heard<'_>, channel: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(channel.len() + payload.len() + 64);
    out.extend_from_slice(b"event: message\ndata: ");
    let mut members = Members::open(&mut out);
    json::push_bytes(members.name("channel"), channel);
    if let Heard::Pattern(pattern) = heard {
        json::push_bytes(members.name("pattern"), pattern);
    }
    json::push_bytes(members.name("data"), payload);
    members.close();
    out.extend_from_slice(b"\n\n");
    out
}

/// An event of a key.
#[must_use]
pub fn key_event(event: &str, db: u8, key: &[u8]) -> Vec<u8> {
    written(event, |members| {
        json::push_text(members.name("event"), event);
        json::push_count(members.name("db"), u64::from(db));
        json::push_bytes(members.name("key"), key);
    })
}

/// A database, or all of them, was flushed.
#[must_use]
pub fn flush_event(db: Option<u8>) -> Vec<u8> {
    written("flush", |members| match db {
        Some(db) => json::push_count(members.name("db"), u64::from(db)),
        None => members.name("db").extend_from_slice(b"null"),
    })
}

/// Something may have been missed, as everything has when a client begins to watch: what it knows of keys may be old.
#[must_use]
pub fn reset_event() -> Vec<u8> {
    written("reset", |_| {})
}

fn written(name: &str, data: impl FnOnce(&mut Members<'_>)) -> Vec<u8> {
    let mut out = format!("event: {name}\ndata: ").into_bytes();
    let mut members = Members::open(&mut out);
    data(&mut members);
    members.close();
    out.extend_from_slice(b"\n\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Kind;

    #[test]
    fn events_of_keys_are_one_line_of_data() {
        let text = |event| String::from_utf8(event).expect("events are text");
        let expected = "event: set\ndata: {\"event\":\"set\",\"db\":3,\"key\":\"a\\n\\\"b\"}\n\n";
        assert_eq!(text(key_event("set", 3, b"a\n\"b")), expected);
        let expected = "event: del\ndata: {\"event\":\"del\",\"db\":0,\"key\":{\"base64\":\"/w==\"}}\n\n";
        assert_eq!(text(key_event("del", 0, b"\xff")), expected);
        assert_eq!(text(flush_event(None)), "event: flush\ndata: {\"db\":null}\n\n");
        assert_eq!(text(flush_event(Some(7))), "event: flush\ndata: {\"db\":7}\n\n");
        assert_eq!(text(reset_event()), "event: reset\ndata: {}\n\n");
    }

    #[test]
    fn an_event_is_one_line_of_data_whatever_is_published() {
        let text = |heard, payload| String::from_utf8(event(heard, b"news", payload)).expect("UTF-8");
        let plain = text(Heard::Channel(Kind::Channel), b"a\n\n\"b\"");
        assert_eq!(plain, "event: message\ndata: {\"channel\":\"news\",\"data\":\"a\\n\\n\\\"b\\\"\"}\n\n");
        let matched = text(Heard::Pattern(b"n*"), b"\xff");
        assert_eq!(
            matched,
            "event: message\ndata: {\"channel\":\"news\",\"pattern\":\"n*\",\"data\":{\"base64\":\"/w==\"}}\n\n"
        );
    }
}
