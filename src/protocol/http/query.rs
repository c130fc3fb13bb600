//! The query string: a handful of parameters, each known to the route and given once, but for `prefix`.

use std::borrow::Cow;

use super::{
    error::{Refusal, bad},
    json::{Ints, seconds_to_ms},
    route::percent_decode,
};
use crate::store::Condition;

/// Rows on a page when the request does not say.
const DEFAULT_PAGE_ROWS: usize = 100;
/// Rows on a page at most; more are a further page.
const MAX_PAGE_ROWS: usize = 1000;

/// Prefixes of keys that one request can name.
const MAX_PREFIXES: usize = 64;

/// The parameters of a request, checked.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    /// `ints=string`.
    pub(super) ints: Ints,
    /// `ttl`, in milliseconds, at least 1.
    pub(super) ttl_ms: Option<u64>,
    /// `if=absent` or `if=present`.
    pub(super) condition: Condition,
    /// `field`.
    pub(super) field: Option<Cow<'a, str>>,
    /// `pattern=1`.
    pub(super) is_pattern: bool,
    /// `cursor`.
    pub(super) cursor: u64,
    /// `prefix`, each of them.
    pub(super) prefixes: Vec<Vec<u8>>,
    count: Option<usize>,
}

impl<'a> Query<'a> {
    /// Parses the part behind `?`. `ints` is known everywhere, the others where the route says so.
    pub(super) fn parse(text: &'a str, known: &[&str]) -> Result<Self, Refusal> {
        let mut query = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&name) && name != "prefix" {
                return Err(bad(format!("parameter '{name}' appears twice")));
            }
            if name != "ints" && !known.contains(&name) {
                return Err(bad(format!("unknown parameter '{name}'")));
            }
            seen.push(name);
            match name {
                "prefix" => query.add_prefix(value)?,
                _ => query.set(name, decoded(value)?)?,
            }
        }
        Ok(query)
    }

    /// Rows on a page.
    pub(super) fn page_rows(&self) -> usize {
        self.count.unwrap_or(DEFAULT_PAGE_ROWS).min(MAX_PAGE_ROWS)
    }

    fn add_prefix(&mut self, value: &str) -> Result<(), Refusal> {
        if self.prefixes.len() == MAX_PREFIXES {
            return Err(bad(format!("parameter 'prefix' can be given {MAX_PREFIXES} times")));
        }
        self.prefixes.push(percent_decode(value)?.into_owned());
        Ok(())
    }

    fn set(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), Refusal> {
        match (name, value.as_ref()) {
            ("ints", "string") => self.ints = Ints::Text,
            ("ints", "number") => self.ints = Ints::Number,
            ("ints", _) => return Err(bad("parameter 'ints' must be 'string' or 'number'")),
            ("if", "absent") => self.condition = Condition::IfAbsent,
            ("if", "present") => self.condition = Condition::IfPresent,
            ("if", _) => return Err(bad("parameter 'if' must be 'absent' or 'present'")),
            ("ttl", text) => {
                let ms = text.parse().ok().and_then(seconds_to_ms).filter(|&ms| ms > 0);
                self.ttl_ms = Some(ms.ok_or_else(|| bad("parameter 'ttl' must be a number of seconds above 0"))?);
            }
            ("pattern", "1") => self.is_pattern = true,
            ("pattern", "0") => {}
            ("pattern", _) => return Err(bad("parameter 'pattern' must be 1 or 0")),
            ("cursor", "") => {}
            ("cursor", text) => {
                self.cursor = text.parse().map_err(|_| bad("parameter 'cursor' is not one that a page returned"))?;
            }
            ("count", text) => {
                let count = text.parse().ok().filter(|&count| count > 0);
                self.count = Some(count.ok_or_else(|| bad("parameter 'count' must be a whole number above 0"))?);
            }
            _ => self.field = Some(value),
        }
        Ok(())
    }
}

fn decoded(value: &str) -> Result<Cow<'_, str>, Refusal> {
    match percent_decode(value)? {
        Cow::Borrowed(_) => Ok(Cow::Borrowed(value)),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| bad("the query string is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["ttl", "if", "field", "cursor", "count", "pattern"];

    #[test]
    fn every_parameter_is_read() {
        let query = Query::parse("ttl=0.5&if=absent&field=a%62c&cursor=7&count=3&ints=string", ALL).expect("valid");
        assert_eq!((query.ttl_ms, query.condition, query.cursor), (Some(500), Condition::IfAbsent, 7));
        assert_eq!((query.field.as_deref(), query.page_rows(), query.ints), (Some("abc"), 3, Ints::Text));
        let query = Query::parse("cursor=&", ALL).expect("an empty cursor is the first page");
        assert_eq!((query.cursor, query.page_rows()), (0, DEFAULT_PAGE_ROWS));
        assert_eq!(Query::parse("count=999999999", ALL).expect("valid").page_rows(), MAX_PAGE_ROWS);
    }

    #[test]
    fn prefixes_may_be_repeated_and_of_any_bytes() {
        let query = Query::parse("prefix=a%3A&prefix=%ff&prefix=", &["prefix"]).expect("valid");
        assert_eq!(query.prefixes, [&b"a:"[..], b"\xff", b""]);
        let many = "prefix=x&".repeat(MAX_PREFIXES + 1);
        assert_eq!(Query::parse(&many, &["prefix"]).expect_err("too many").status, 400);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "ttl=0",
            "ttl=-1",
            "ttl=x",
            "ttl=nan",
            "ttl=inf",
            "ttl=1e300",
            "ttl",
            "if=maybe",
            "cursor=x",
            "cursor=-1",
            "count=0",
            "count=-1",
            "ints=hex",
            "field=%f",
            "field=%ff",
            "pattern",
            "pattern=2",
            "tll=5",
            "ttl=5&ttl=5",
        ] {
            assert_eq!(Query::parse(text, ALL).expect_err(text).status, 400, "{text}");
        }
        assert!(Query::parse("ttl=5", &["field"]).is_err());
    }
}
