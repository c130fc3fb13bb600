//! Server-sent events: a published message as a browser's `EventSource` reads it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Kind;

    #[test]
    fn an_event_is_one_line_of_data_whatever_is_published() {
        let text = |heard, payload| String::from_utf8(event(heard, b"news", payload)).expect("UTF-8");
        let plain = text(Heard::Channel(Kind::Channel), b"a\n\n\"b\"");
        assert_eq!(plain, "event: message\ndata: {\"channel\":\"news\",\"data\":\"a\\n\\n\\\"b\\\"\"}\n\n");
        let matched = text(Heard::Pattern(b"n*"), b"\xff");
        assert_eq!(
            matched,
            "event: message\ndata: {\"channel\":\"news\",\"pattern\":\"n*\",\"data\":{\"base64\":\"_w\"}}\n\n"
        );
    }
}
