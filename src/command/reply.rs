//! What a command answers, before it is written in some protocol.

use std::borrow::Cow;

use crate::store::Row;

/// The version of the protocol that a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proto {
    /// RESP2.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

impl Proto {
    /// 2 or 3.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// An answer. The replies of the hot commands cost at most the allocation of their value.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// No bytes at all: the request was empty, or the connection is closed without a word.
    Nothing,
    /// A short text such as `OK`.
    Status(&'static str),
    /// As [`Reply::Status`], of a text that is made up for the occasion; without line ends.
    Line(String),
    /// An error: its prefix in capitals, a space, a sentence.
    Error(Cow<'static, str>),
    /// An integer.
    Int(i64),
    /// A finite float.
    Double(f64),
    /// True or false.
    Bool(bool),
    /// Nothing is there.
    Null,
    /// Nothing is there where a list was asked for.
    NullArray,
    /// Bytes.
    Bulk(Vec<u8>),
    /// Bytes that the program knows beforehand.
    Text(&'static str),
    /// Text for people.
    Verbatim(String),
    /// A list.
    Array(Vec<Reply>),
    /// A list without order.
    Set(Vec<Reply>),
    /// Pairs, in order.
    Map(Vec<(Reply, Reply)>),
    /// Several answers to one request.
    Several(Vec<Reply>),
    /// A message that answers no request.
    Push(Vec<Reply>),
    /// A table's row: a map from its column names to their values.
    Row(Row),
}

impl Reply {
    /// `OK`.
    pub const OK: Self = Self::Status("OK");

    /// 1 or 0.
    #[must_use]
    pub fn flag(yes: bool) -> Self {
        Self::Int(i64::from(yes))
    }

    /// About the bytes that it takes on the wire.
    pub(crate) fn size(&self) -> usize {
        const HEAD: usize = 16;
        let all = |items: &[Self]| items.iter().map(Self::size).sum::<usize>();
        HEAD + match self {
            Self::Error(text) => text.len(),
            Self::Bulk(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
            Self::Verbatim(text) => text.len(),
            Self::Array(items) | Self::Set(items) | Self::Several(items) | Self::Push(items) => all(items),
            Self::Map(pairs) => pairs.iter().map(|(key, value)| key.size() + value.size()).sum(),
            Self::Row(row) => row.schema().image_bytes(),
            _ => 0,
        }
    }

    /// Bytes, or null.
    #[must_use]
    pub fn bulk_or_null(bytes: Option<Vec<u8>>) -> Self {
        bytes.map_or(Self::Null, Self::Bulk)
    }

    /// The reply if it consists of messages, which are sent even to a client that wants no replies; else nothing.
    pub(crate) fn if_push(self) -> Self {
        match self {
            Self::Push(_) => self,
            Self::Several(replies) => Self::Several(replies.into_iter().map(Self::if_push).collect()),
            _ => Self::Nothing,
        }
    }

    /// An error.
    pub fn error(text: impl Into<Cow<'static, str>>) -> Self {
        Self::Error(text.into())
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }
}

impl From<i64> for Reply {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}
