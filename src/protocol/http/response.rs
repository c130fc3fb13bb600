//! What goes back: status, content type, body and a few headers.

use std::borrow::Cow;

/// A body and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The media type.
    pub content_type: &'static str,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// An answer, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body; none with 204.
    pub body: Option<Body>,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
}

impl Response {
    /// 204.
    pub(super) fn no_content() -> Self {
        Self { status: 204, body: None, headers: Vec::new() }
    }

    /// A JSON answer.
    pub(super) fn json(status: u16, bytes: Vec<u8>) -> Self {
        Self::of(status, "application/json", bytes)
    }

    /// An answer of any type.
    pub(super) fn of(status: u16, content_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { status, body: Some(Body { content_type, bytes }), headers: Vec::new() }
    }

    /// The same answer with one more header.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes of the body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.body.as_ref().map_or(&[], |body| &body.bytes)
    }
}
