//! Errors as clients see them: the one place where a store error becomes a status and a code.

use std::borrow::Cow;

use super::{json, response::Response};
use crate::store::Error;

/// Why a request gets no answer of its own.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store is waiting for a stopped process: ask again later.
    Wait,
    /// The request is refused.
    Refused(Refusal),
}

/// A refusal: status, code for programs, message for people.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: &'static str,
    pub(super) message: Cow<'static, str>,
}

impl Refusal {
    /// The error body `{"error":{"code":...,"message":...}}`.
    pub(super) fn response(&self) -> Response {
        let mut out = Vec::with_capacity(64 + self.message.len());
        out.extend_from_slice(b"{\"error\":{\"code\":");
        json::push_text(&mut out, self.code);
        out.extend_from_slice(b",\"message\":");
        json::push_text(&mut out, &self.message);
        out.extend_from_slice(b"}}");
        Response::json(self.status, out)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match status_and_code(&error) {
            None => Self::Wait,
            Some((status, code)) => Self::Refused(refusal(status, code, error.to_string())),
        }
    }
}

/// Status and code of a store error; `None` for [`Error::Busy`], which is not an answer yet.
fn status_and_code(error: &Error) -> Option<(u16, &'static str)> {
    Some(match error {
        Error::Busy => return None,
        Error::TableNotFound(_) => (404, "table_not_found"),
        Error::NoSuchKey => (404, "key_not_found"),
        Error::TableExists(_) => (409, "table_exists"),
        Error::TooLarge { .. } => (413, "too_large"),
        Error::UnknownColumn { .. } => (422, "unknown_column"),
        Error::WrongType { .. } | Error::WrongKind | Error::NotAnInteger | Error::NotAFloat => (422, "wrong_type"),
        Error::ValueTooLong { .. } => (422, "value_too_long"),
        Error::KeyTooLong { .. } => (422, "key_too_long"),
        Error::Overflow => (422, "overflow"),
        Error::TableFull { .. } => (507, "table_full"),
        Error::TablesFull => (507, "tables_full"),
        Error::CountersFull => (507, "counters_full"),
        Error::OutOfMemory => (507, "out_of_memory"),
        Error::EmptyKey | Error::Invalid(_) | Error::InTransaction => (400, "bad_request"),
    })
}

/// A refusal of any kind.
pub(super) fn refusal(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { status, code, message: message.into() }
}

/// 400: the request itself is malformed.
pub(super) fn bad(message: impl Into<Cow<'static, str>>) -> Refusal {
    refusal(400, "bad_request", message)
}

/// 422: a value is of the wrong type.
pub(super) fn wrong_type(message: impl Into<Cow<'static, str>>) -> Refusal {
    refusal(422, "wrong_type", message)
}

/// 404 for a row that is not there.
pub(super) fn no_row() -> Refusal {
    refusal(404, "row_not_found", "no row with this key")
}

/// The answer to an error of the store; one that asks to wait is for the caller to deal with.
#[must_use]
pub fn refused(error: Error) -> Response {
    match Failure::from(error) {
        Failure::Wait => busy(),
        Failure::Refused(refusal) => refusal.response(),
    }
}

/// 413: the body is longer than this route takes.
#[must_use]
pub fn too_large(limit_bytes: usize) -> Response {
    let message = format!("the body is larger than the {limit_bytes} bytes that this request may have");
    refusal(413, "too_large", message).response()
}

/// 503: the wait for a stopped process took longer than `--lock-wait`.
#[must_use]
pub fn busy() -> Response {
    refusal(503, "busy", Error::Busy.to_string()).response().with("retry-after", "1")
}

/// 503: there are more clients than `--max-clients`.
#[must_use]
pub fn crowded() -> Response {
    refusal(503, "max_clients", "the number of clients has reached --max-clients; close one or raise the limit")
        .response()
        .with("retry-after", "1")
}

/// 400: a message whose framing or headers contradict themselves.
#[must_use]
pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Response {
    bad(message).response()
}

/// The refusal of bytes that could not be read as a request, by the status that says why.
#[must_use]
pub fn malformed(status: u16) -> Response {
    match status {
        414 => refusal(414, "uri_too_long", "the path is too long").response(),
        431 => refusal(431, "headers_too_large", "the headers are too long or too many").response(),
        _ => bad_request("this is not a valid HTTP request"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_the_only_error_that_waits() {
        assert!(matches!(Failure::from(Error::Busy), Failure::Wait));
        assert!(matches!(Failure::from(Error::Overflow), Failure::Refused(Refusal { status: 422, .. })));
    }

    #[test]
    fn the_body_is_json_whatever_the_message() {
        let body = bad("a \"quoted\" \n name").response();
        let parsed: serde_json::Value = serde_json::from_slice(body.bytes()).expect("valid JSON");
        assert_eq!(parsed["error"]["message"], "a \"quoted\" \n name");
        assert_eq!(parsed["error"]["code"], "bad_request");
    }
}
