//! From method and path to what is asked for.
//!
//! The path is split while it is still percent-encoded, so that `%2F` may stand in a key; then each name is
//! decoded on its own. A key may be written `~b64:<base64url>`; a literal `~` at its start is written `~~`.

use std::borrow::Cow;

use super::{
    base64,
    error::{Refusal, bad, refusal},
};

/// The methods that some route knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Put,
    Post,
    Delete,
    Options,
    Other,
}

impl Method {
    /// The method of this name; a HEAD is a GET whose body is not sent.
    pub(super) fn parse(name: &str) -> Self {
        match name {
            "GET" | "HEAD" => Self::Get,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// A key or name, decoded.
pub(super) type Key<'a> = Cow<'a, [u8]>;

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Tables,
    Table(Cow<'a, str>),
    Rows(Cow<'a, str>),
    Count(Cow<'a, str>),
    Mget(Cow<'a, str>),
    Mset(Cow<'a, str>),
    Row(Cow<'a, str>, Key<'a>),
    RowStep(Cow<'a, str>, Key<'a>, Direction),
    RowCas(Cow<'a, str>, Key<'a>),
    RowGetdel(Cow<'a, str>, Key<'a>),
    RowExpire(Cow<'a, str>, Key<'a>),
    RowPersist(Cow<'a, str>, Key<'a>),
    RowTtl(Cow<'a, str>, Key<'a>),
    Counters,
    Counter(Key<'a>),
    CounterStep(Key<'a>, Direction),
    CounterReset(Key<'a>),
    CounterCas(Key<'a>),
    Value(Key<'a>),
    ValueStep(Key<'a>, Direction),
    Channel(Key<'a>),
    Events(Key<'a>),
    Stats,
    Health,
    Ready,
    Metrics,
    Watch,
}

/// Which way a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// Segments of the longest path there is.
const MAX_SEGMENTS: usize = 5;

impl<'a> Route<'a> {
    /// The route of a path.
    pub(super) fn parse(path: &'a str) -> Result<Self, Refusal> {
        let mut segments = [""; MAX_SEGMENTS];
        let mut count = 0;
        for segment in path.strip_prefix('/').ok_or_else(nowhere)?.split('/') {
            *segments.get_mut(count).ok_or_else(nowhere)? = segment;
            count += 1;
        }
        match segments[..count] {
            ["tables"] => Ok(Self::Tables),
            ["tables", t] => Ok(Self::Table(name(t)?)),
            ["tables", t, "rows"] => Ok(Self::Rows(name(t)?)),
            ["tables", t, "count"] => Ok(Self::Count(name(t)?)),
            ["tables", t, "mget"] => Ok(Self::Mget(name(t)?)),
            ["tables", t, "mset"] => Ok(Self::Mset(name(t)?)),
            ["tables", t, "rows", k] => Ok(Self::Row(name(t)?, key(k)?)),
            ["tables", t, "rows", k, action] => Self::row_action(name(t)?, key(k)?, action),
            ["counters"] => Ok(Self::Counters),
            ["counters", c] => Ok(Self::Counter(key(c)?)),
            ["counters", c, action] => Self::counter_action(key(c)?, action),
            ["kv", k] => Ok(Self::Value(key(k)?)),
            ["kv", k, action] => Ok(Self::ValueStep(key(k)?, direction(action).ok_or_else(nowhere)?)),
            ["channels", c] => Ok(Self::Channel(key(c)?)),
            ["channels", c, "events"] => Ok(Self::Events(key(c)?)),
            ["stats"] => Ok(Self::Stats),
            ["healthz"] => Ok(Self::Health),
            ["readyz"] => Ok(Self::Ready),
            ["metrics"] => Ok(Self::Metrics),
            ["watch"] => Ok(Self::Watch),
            _ => Err(nowhere()),
        }
    }

    fn row_action(table: Cow<'a, str>, key: Key<'a>, action: &str) -> Result<Self, Refusal> {
        match action {
            "cas" => Ok(Self::RowCas(table, key)),
            "getdel" => Ok(Self::RowGetdel(table, key)),
            "expire" => Ok(Self::RowExpire(table, key)),
            "persist" => Ok(Self::RowPersist(table, key)),
            "ttl" => Ok(Self::RowTtl(table, key)),
            step => Ok(Self::RowStep(table, key, direction(step).ok_or_else(nowhere)?)),
        }
    }

    fn counter_action(counter: Key<'a>, action: &str) -> Result<Self, Refusal> {
        match action {
            "cas" => Ok(Self::CounterCas(counter)),
            "reset" => Ok(Self::CounterReset(counter)),
            step => Ok(Self::CounterStep(counter, direction(step).ok_or_else(nowhere)?)),
        }
    }

    /// The methods of this route.
    pub(super) fn methods(&self) -> &'static [Method] {
        use Method::{Delete, Get, Post, Put};
        match self {
            Self::Tables => &[Get, Post],
            Self::Table(_) | Self::Rows(_) => &[Get, Delete],
            Self::Row(..) | Self::Counter(_) | Self::Value(_) => &[Get, Put, Delete],
            Self::Count(_)
            | Self::RowTtl(..)
            | Self::Counters
            | Self::Events(_)
            | Self::Stats
            | Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::Watch => &[Get],
            _ => &[Post],
        }
    }

    /// The parameters that this route knows with this method, besides `ints`.
    pub(super) fn parameters(&self, method: Method) -> &'static [&'static str] {
        match (self, method) {
            (Self::Row(..), Method::Put) => &["ttl", "if"],
            (Self::Row(..), Method::Get) => &["field"],
            (Self::Rows(_), Method::Get) => &["cursor", "count"],
            (Self::Value(_), Method::Put) => &["ttl"],
            (Self::Events(_), _) => &["pattern"],
            (Self::Watch, Method::Get) => &["prefix"],
            _ => &[],
        }
    }

    /// Whether the route is open without a password.
    pub(super) fn is_probe(&self) -> bool {
        matches!(self, Self::Health | Self::Ready)
    }

    /// Whether the route tells how the server is.
    pub(super) fn is_of_operators(&self) -> bool {
        self.is_probe() || matches!(self, Self::Stats | Self::Metrics)
    }
}

/// The `Allow` header of a route.
pub(super) fn allow(methods: &[Method]) -> String {
    let names = methods.iter().map(|method| match method {
        Method::Get => "GET, HEAD",
        Method::Put => "PUT",
        Method::Post => "POST",
        Method::Delete => "DELETE",
        Method::Options | Method::Other => "OPTIONS",
    });
    names.collect::<Vec<_>>().join(", ")
}

fn direction(action: &str) -> Option<Direction> {
    match action {
        "incr" => Some(Direction::Up),
        "decr" => Some(Direction::Down),
        _ => None,
    }
}

fn nowhere() -> Refusal {
    refusal(404, "not_found", "there is nothing at this path")
}

/// A table's name. What is not UTF-8 cannot be one; it is told so as a name that no table has.
fn name(segment: &str) -> Result<Cow<'_, str>, Refusal> {
    match percent_decode(segment)? {
        Cow::Borrowed(_) => Ok(Cow::Borrowed(segment)),
        Cow::Owned(bytes) => Ok(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

fn key(segment: &str) -> Result<Key<'_>, Refusal> {
    let decoded = percent_decode(segment)?;
    if decoded.first() != Some(&b'~') {
        return Ok(decoded);
    }
    match (&decoded[1..], decoded.strip_prefix(b"~b64:")) {
        ([b'~', ..], _) => Ok(Cow::Owned(decoded[1..].to_vec())),
        (_, Some(text)) => base64::decode(text).map(Cow::Owned).ok_or_else(|| bad("what follows ~b64: is not base64")),
        _ => Err(bad("a key that starts with ~ is written ~~..., or ~b64:<base64url>")),
    }
}

/// The bytes behind percent-encoded text; borrowed where nothing is encoded.
pub(super) fn percent_decode(text: &str) -> Result<Cow<'_, [u8]>, Refusal> {
    let bytes = text.as_bytes();
    if memchr::memchr(b'%', bytes).is_none() {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let (digits, tail) = tail.split_at_checked(2).ok_or_else(broken)?;
            out.push(hex(digits[0])? << 4 | hex(digits[1])?);
            rest = tail;
        } else {
            out.push(byte);
        }
    }
    Ok(Cow::Owned(out))
}

fn hex(digit: u8) -> Result<u8, Refusal> {
    char::from(digit).to_digit(16).map(|value| value as u8).ok_or_else(broken)
}

fn broken() -> Refusal {
    bad("a % in path and query is followed by two hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(segment: &str) -> Result<Vec<u8>, u16> {
        key(segment).map(Cow::into_owned).map_err(|refusal| refusal.status)
    }

    #[test]
    fn keys_are_decoded_once_and_after_splitting() {
        assert_eq!(key_of("a%2Fb"), Ok(b"a/b".to_vec()));
        assert_eq!(key_of("a+b%2525"), Ok(b"a+b%25".to_vec()));
        assert_eq!(key_of("%ff%00"), Ok(vec![255, 0]));
        assert_eq!(key_of("."), Ok(b".".to_vec()));
        assert_eq!(key_of(""), Ok(vec![]));
        for broken in ["%", "%1", "%zz", "a%-1", "%+1"] {
            assert_eq!(key_of(broken), Err(400), "{broken}");
        }
    }

    #[test]
    fn tilde_forms() {
        assert_eq!(key_of("~b64:_w"), Ok(vec![255]));
        assert_eq!(key_of("~b64:Li4="), Ok(b"..".to_vec()));
        assert_eq!(key_of("~b64:"), Ok(vec![]));
        assert_eq!(key_of("%7Eb64:_w"), Ok(vec![255]));
        assert_eq!(key_of("~~b64:_w"), Ok(b"~b64:_w".to_vec()));
        assert_eq!(key_of("~~"), Ok(b"~".to_vec()));
        assert_eq!(key_of("a~"), Ok(b"a~".to_vec()));
        for broken in ["~", "~x", "~b64:!", "~b64:A"] {
            assert_eq!(key_of(broken), Err(400), "{broken}");
        }
    }

    #[test]
    fn an_empty_key_is_never_the_whole_table() {
        assert_eq!(Route::parse("/tables/t/rows/").ok(), Some(Route::Row("t".into(), Cow::Borrowed(b""))));
        assert_eq!(Route::parse("/tables/t/rows").ok(), Some(Route::Rows("t".into())));
    }

    #[test]
    fn unknown_paths_are_refused() {
        for path in ["", "/", "x", "*", "/x", "//", "/tables/t/x", "/tables/t/rows/k/x", "/tables/t/rows/k/incr/x"] {
            assert_eq!(Route::parse(path).expect_err(path).status, 404, "{path}");
        }
        for path in ["/counters/c/x", "/kv", "/kv/k/x", "/stats/x", "/tables/t/rows/k/incr/"] {
            assert_eq!(Route::parse(path).expect_err(path).status, 404, "{path}");
        }
    }
}
