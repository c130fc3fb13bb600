//! Why a command was not carried out, and what the client is told.

use std::borrow::Cow;

use super::Reply;
use crate::store::Error;

/// What a handler answers.
pub(crate) type Answer<T = Reply> = Result<T, Refusal>;

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The store said so.
    Store(Error),
    /// The request is wrong: the text of the error reply.
    Text(Cow<'static, str>),
    /// CLIENT PAUSE holds it back; it will be repeated.
    Paused,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<&'static str> for Refusal {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// A refusal with this text.
pub(crate) fn refuse<T>(text: impl Into<Cow<'static, str>>) -> Answer<T> {
    Err(Refusal::Text(text.into()))
}

/// A refusal of a request that has too many arguments, or too few, for the command of this name.
pub(crate) fn wrong_arity<T>(name: &str) -> Answer<T> {
    refuse(format!("ERR wrong number of arguments for '{name}' command"))
}

pub(crate) const SYNTAX: &str = "ERR syntax error";
pub(crate) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(crate) const NOT_A_FLOAT: &str = "ERR value is not a valid float";
pub(crate) const VALUE_TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

impl Refusal {
    /// The error reply; a request that met [`Error::Busy`] or a pause is repeated and gets none here.
    pub(crate) fn text(self) -> Cow<'static, str> {
        match self {
            Self::Text(text) => text,
            Self::Store(error) => store_text(&error),
            Self::Paused => "ERR the server is paused".into(),
        }
    }

    /// The first word of the error reply.
    pub(crate) fn prefix(&self) -> &str {
        let text = match self {
            Self::Text(text) => text.as_ref(),
            Self::Store(error) => prefix_of(error),
            Self::Paused => "ERR",
        };
        text.split(' ').next().unwrap_or_default()
    }

    /// Replaces the text for an overflow by that of the command at hand.
    pub(crate) fn overflow(self, text: &'static str) -> Self {
        match self {
            Self::Store(Error::Overflow) => text.into(),
            other => other,
        }
    }
}

/// The text for an error of the store: the standard one where Redis has the same error, else a prefix and the error's own words.
fn store_text(error: &Error) -> Cow<'static, str> {
    match error {
        Error::TooLarge { what: "value", .. } => VALUE_TOO_LONG.into(),
        _ => format!("{} {error}", prefix_of(error)).into(),
    }
}

/// The prefix of the text for an error of the store.
fn prefix_of(error: &Error) -> &'static str {
    match error {
        Error::TableNotFound(_) => "NOTABLE",
        Error::TableExists(_) => "TABLEEXISTS",
        Error::UnknownColumn { .. } => "NOCOLUMN",
        Error::WrongType { .. } | Error::WrongKind => "WRONGTYPE",
        Error::ValueTooLong { .. } | Error::KeyTooLong { .. } => "TOOLONG",
        Error::TableFull { .. } => "TABLEFULL",
        Error::CountersFull | Error::TablesFull | Error::OutOfMemory => "OOM",
        Error::Overflow => "OVERFLOW",
        Error::Busy => "BUSY",
        _ => "ERR",
    }
}
