//! JSON: bodies into checked members, values into text.
//!
//! Reading goes through `serde_json`, into a small tree that a plain map could not be: integers stay exact, a
//! member that stands twice is an error, and the number of nodes is bounded, so that a body of a few
//! megabytes of brackets cannot take a hundred times its size in memory. Whoever reads an object takes out the
//! members it knows and calls [`Object::finish`], which refuses what is left.
//!
//! Writing is by hand, straight into the body.

use std::{borrow::Cow, cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{
    base64,
    error::{Refusal, bad, wrong_type},
};
use crate::store::{ColumnType, Error, Row, Schema, Value, ValueRef};

/// Values and names in one body: 64 rows of 256 columns, each value wrapped as base64, are half of it.
const MAX_NODES: usize = 65_536;

/// Largest magnitude up to which every integer is its own float.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// How integers are written, and whether they may also be read from strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ints {
    /// JSON numbers.
    #[default]
    Number,
    /// Strings of digits, for clients whose numbers are floats.
    Text,
}

/// A JSON value as it was sent.
#[derive(Debug)]
pub(super) enum Json<'a> {
    Null,
    Bool,
    Int(i64),
    /// A number with a fraction or an exponent, or an integer beyond 64 bits.
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// The members of an object, in order, each name once.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

/// Parses a body that must be one object.
pub(super) fn object(body: &[u8]) -> Result<Object<'_>, Refusal> {
    let budget = Cell::new(MAX_NODES);
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let tree = Tree(&budget).deserialize(&mut deserializer).and_then(|json| deserializer.end().map(|()| json));
    match tree {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(bad("the body must be a JSON object")),
        Err(error) => Err(bad(format!("the body is not acceptable JSON: {error}"))),
    }
}

impl<'a> Object<'a> {
    /// Takes the member out.
    pub(super) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let at = self.0.iter().position(|(member, _)| member == name)?;
        Some(self.0.remove(at).1)
    }

    /// Takes a member out that must be there.
    pub(super) fn need(&mut self, name: &str) -> Result<Json<'a>, Refusal> {
        self.take(name).ok_or_else(|| bad(format!("member '{name}' is missing")))
    }

    /// Refuses whatever was not taken.
    pub(super) fn finish(&self) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(bad(format!("unknown member '{name}'"))),
        }
    }

    /// All members.
    pub(super) fn members(self) -> Vec<(Cow<'a, str>, Json<'a>)> {
        self.0
    }

    fn duplicate(&self) -> Option<&str> {
        let mut names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
    }
}

impl<'a> Json<'a> {
    /// An object.
    pub(super) fn object(self, name: &str) -> Result<Object<'a>, Refusal> {
        match self {
            Self::Object(object) => Ok(object),
            _ => Err(bad(format!("member '{name}' must be an object"))),
        }
    }

    /// A list.
    pub(super) fn list(self, name: &str) -> Result<Vec<Json<'a>>, Refusal> {
        match self {
            Self::List(list) => Ok(list),
            _ => Err(bad(format!("member '{name}' must be a list"))),
        }
    }

    /// A string.
    pub(super) fn text(self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        match self {
            Self::Text(text) => Ok(text),
            _ => Err(bad(format!("member '{name}' must be a string"))),
        }
    }

    /// A size or count.
    pub(super) fn size(&self, name: &str) -> Result<u64, Refusal> {
        let size = self.integer(Ints::Number).and_then(|n| u64::try_from(n).ok());
        size.ok_or_else(|| bad(format!("member '{name}' must be a whole number, not negative")))
    }

    /// A number of seconds, in milliseconds.
    pub(super) fn seconds(&self, name: &str) -> Result<u64, Refusal> {
        let seconds = match self {
            Self::Int(n) => *n as f64,
            Self::Float(x) => *x,
            _ => return Err(bad(format!("member '{name}' must be a number of seconds"))),
        };
        seconds_to_ms(seconds).ok_or_else(|| bad(format!("member '{name}' must be a number of seconds, not negative")))
    }

    /// The value of a counter or a step.
    pub(super) fn whole(&self, name: &str, ints: Ints) -> Result<i64, Refusal> {
        self.integer(ints).ok_or_else(|| wrong_type(format!("member '{name}' must be an integer of 64 bits")))
    }

    /// Bytes: a string, or `{"base64":"..."}`.
    pub(super) fn bytes(self) -> Result<Option<Cow<'a, [u8]>>, Refusal> {
        match self {
            Self::Text(Cow::Borrowed(text)) => Ok(Some(Cow::Borrowed(text.as_bytes()))),
            Self::Text(Cow::Owned(text)) => Ok(Some(Cow::Owned(text.into_bytes()))),
            Self::Object(mut object) => {
                let text = object.need("base64")?.text("base64")?;
                object.finish()?;
                let bytes = base64::decode(text.as_bytes()).ok_or_else(|| bad("member 'base64' is not base64"))?;
                Ok(Some(Cow::Owned(bytes)))
            }
            _ => Ok(None),
        }
    }

    /// A row key: a string, or `{"base64":"..."}`.
    pub(super) fn key(self) -> Result<Cow<'a, [u8]>, Refusal> {
        self.bytes()?.ok_or_else(|| bad("a key must be a string or {\"base64\":\"...\"}"))
    }

    /// The value for column `index` of the schema.
    pub(super) fn cell(self, schema: &Schema, index: usize, ints: Ints) -> Result<Given<'a>, super::error::Failure> {
        let given = match (schema.columns()[index].kind, self) {
            (ColumnType::Int, json) => json.integer(ints).map(Given::Int),
            (ColumnType::Float, Self::Int(n)) => Some(Given::Float(n as f64)),
            (ColumnType::Float, Self::Float(x)) => Some(Given::Float(x)),
            (ColumnType::Float, _) => None,
            (ColumnType::String(_), json) => json.bytes()?.map(Given::Bytes),
        };
        given.ok_or_else(|| schema.wrong_type(index).into())
    }

    /// An integer without loss: 1.0 is 1, 1.5 is none, and neither is a float too large to be exact.
    fn integer(&self, ints: Ints) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Float(x) if x.trunc() == *x && x.abs() <= EXACT => Some(*x as i64),
            Self::Text(digits) if ints == Ints::Text => digits.parse().ok(),
            _ => None,
        }
    }
}

/// Seconds in milliseconds, if they are a time that can be added to a clock.
pub(super) fn seconds_to_ms(seconds: f64) -> Option<u64> {
    let ms = (seconds * 1000.0).ceil();
    (seconds >= 0.0 && ms <= EXACT).then_some(ms as u64)
}

/// A value for a column, as it was sent.
#[derive(Debug)]
pub(super) enum Given<'a> {
    Int(i64),
    Float(f64),
    Bytes(Cow<'a, [u8]>),
}

impl Given<'_> {
    /// The same value as the store takes it.
    pub(super) fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Int(n) => ValueRef::Int(*n),
            Self::Float(x) => ValueRef::Float(*x),
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
        }
    }

    /// The same step in the other direction.
    pub(super) fn negated(self) -> Result<Self, Error> {
        Ok(match self {
            Self::Int(n) => Self::Int(n.checked_neg().ok_or(Error::Overflow)?),
            Self::Float(x) => Self::Float(-x),
            bytes => bytes,
        })
    }
}

/// Reads one value, taking each node from the budget.
struct Tree<'b>(&'b Cell<usize>);

impl<'a> DeserializeSeed<'a> for Tree<'_> {
    type Value = Json<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Json<'a>, D::Error> {
        let left = self.0.get().checked_sub(1).ok_or_else(|| D::Error::custom("too many values"))?;
        self.0.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Tree<'_> {
    type Value = Json<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'a>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Json<'a>, E> {
        Ok(Json::Bool)
    }

    fn visit_i64<E>(self, n: i64) -> Result<Json<'a>, E> {
        Ok(Json::Int(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Json<'a>, E> {
        Ok(i64::try_from(n).map_or(Json::Float(n as f64), Json::Int))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Json<'a>, E> {
        Ok(Json::Float(x))
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Json<'a>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'a>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Json<'a>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Tree(self.0))? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut members: A) -> Result<Json<'a>, A::Error> {
        let mut object = Object::default();
        while let Some(name) = members.next_key_seed(Name)? {
            object.0.push((name, members.next_value_seed(Tree(self.0))?));
        }
        match object.duplicate() {
            Some(name) => Err(A::Error::custom(format!("member '{name}' appears twice"))),
            None => Ok(Json::Object(object)),
        }
    }
}

/// Reads a member's name, borrowed where it has no escapes.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Cow<'a, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Appends a string, quoted and escaped.
pub(super) fn push_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends bytes: a string if they are UTF-8, `{"base64":"..."}` otherwise.
pub(super) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => push_text(out, text),
        Err(_) => {
            out.extend_from_slice(b"{\"base64\":\"");
            base64::encode(bytes, out);
            out.extend_from_slice(b"\"}");
        }
    }
}

/// Appends an integer.
pub(super) fn push_int(out: &mut Vec<u8>, n: i64, ints: Ints) {
    let quote: &[u8] = if ints == Ints::Text { b"\"" } else { b"" };
    out.extend_from_slice(quote);
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    out.extend_from_slice(quote);
}

/// Appends a count, which is always a number.
pub(super) fn push_count(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Appends a column's value.
pub(super) fn push_value(out: &mut Vec<u8>, value: ValueRef<'_>, ints: Ints) {
    match value {
        ValueRef::Int(n) => push_int(out, n, ints),
        ValueRef::Float(x) if x.is_finite() => out.extend_from_slice(zmij::Buffer::new().format_finite(x).as_bytes()),
        ValueRef::Float(_) => out.extend_from_slice(b"null"),
        ValueRef::Bytes(bytes) => push_bytes(out, bytes),
    }
}

/// Appends a row as an object.
pub(super) fn push_row(out: &mut Vec<u8>, row: &Row, ints: Ints) {
    let mut members = Members::open(out);
    for (name, value) in row.iter() {
        push_value(members.name(name), value, ints);
    }
    members.close();
}

/// `{"value":...}`.
pub(super) fn value_body(value: &Value, ints: Ints) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    out.extend_from_slice(b"{\"value\":");
    push_value(&mut out, value.as_ref(), ints);
    out.push(b'}');
    out
}

/// An object that is being written.
pub(super) struct Members<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Members<'o> {
    /// Writes the opening brace.
    pub(super) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    /// Writes the next member's name; its value is to be appended to what this returns.
    pub(super) fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        push_text(self.out, name);
        self.out.push(b':');
        self.out
    }

    /// Writes the closing brace.
    pub(super) fn close(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Column, TableSpec};

    fn text(text: &str) -> String {
        let mut out = Vec::new();
        push_text(&mut out, text);
        String::from_utf8(out).expect("UTF-8 stays UTF-8")
    }

    #[test]
    fn strings_are_escaped_as_a_json_reader_expects() {
        let all: String = (0..=0x250).filter_map(char::from_u32).chain("\u{2028}\u{1f600}".chars()).collect();
        let back: String = serde_json::from_str(&text(&all)).expect("valid JSON");
        assert_eq!(back, all);
        assert_eq!(text("a\"\\\n\u{1}"), r#""a\"\\\n\u0001""#);
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_at_any_depth() {
        for body in [r#"{"a":1,"a":1}"#, r#"{"x":{"a":1,"b":2,"a":3}}"#, r#"{"x":[{"\u0061":1,"a":1}]}"#] {
            assert!(object(body.as_bytes()).expect_err(body).message.contains("'a' appears twice"), "{body}");
        }
    }

    #[test]
    fn what_is_not_one_object_is_refused() {
        for body in ["", "{", "[]", "1", "{} {}", "{\"a\":01}", "{\"a\":NaN}", "{\"a\":1e999}", "\u{feff}{}"] {
            assert_eq!(object(body.as_bytes()).expect_err(body).status, 400, "{body}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
        assert!(object(" {} \n".as_bytes()).is_ok());
    }

    #[test]
    fn the_number_of_values_and_the_depth_are_bounded() {
        let wide = format!("{{\"a\":[{}0]}}", "0,".repeat(MAX_NODES));
        assert!(object(wide.as_bytes()).expect_err("too wide").message.contains("too many values"));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
        assert!(object(deep.as_bytes()).is_err());
    }

    #[test]
    fn integers_are_exact_or_refused() {
        let int = |body: &str, ints| object(body.as_bytes()).expect(body).need("n").expect(body).whole("n", ints).ok();
        for (body, n) in [
            (r#"{"n":9223372036854775807}"#, Some(i64::MAX)),
            (r#"{"n":-9223372036854775808}"#, Some(i64::MIN)),
            (r#"{"n":9223372036854775808}"#, None),
            (r#"{"n":18446744073709551616}"#, None),
            (r#"{"n":-9223372036854775809}"#, None),
            (r#"{"n":1.0}"#, Some(1)),
            (r#"{"n":1e3}"#, Some(1000)),
            (r#"{"n":-0}"#, Some(0)),
            (r#"{"n":1.5}"#, None),
            (r#"{"n":1e18}"#, None),
            (r#"{"n":"7"}"#, None),
            (r#"{"n":true}"#, None),
            (r#"{"n":null}"#, None),
        ] {
            assert_eq!(int(body, Ints::Number), n, "{body}");
        }
        assert_eq!(int(r#"{"n":"-9007199254740993"}"#, Ints::Text), Some(-9_007_199_254_740_993));
        assert_eq!(int(r#"{"n":"7.0"}"#, Ints::Text), None);
    }

    #[test]
    fn floats_come_back_bit_for_bit() {
        for x in [0.1, 1.0, -0.0, 5e-324, f64::MAX, 1e21, 123_456.789_012_345_67, 2.0f64.powi(70)] {
            let body = format!("{{\"n\":{}}}", {
                let mut out = Vec::new();
                push_value(&mut out, ValueRef::Float(x), Ints::Number);
                String::from_utf8(out).expect("ASCII")
            });
            match object(body.as_bytes()).expect("valid").need("n").expect("there") {
                Json::Float(back) => assert_eq!(back.to_bits(), x.to_bits(), "{body}"),
                other => panic!("{body} is {other:?}"),
            }
        }
    }

    #[test]
    fn cells_follow_the_type_of_their_column() {
        let columns = vec![Column::int("i"), Column::float("f"), Column::string("s", 8)];
        let schema = Schema::new("t", TableSpec { rows: 1, key_bytes: 8, columns }).expect("valid");
        let cell = |index, body: &str| {
            let member = object(body.as_bytes()).expect(body).need("v").expect(body);
            member.cell(&schema, index, Ints::Number).map(|given| given.as_ref().to_value())
        };
        assert_eq!(cell(0, r#"{"v":1.0}"#).expect("int"), Value::Int(1));
        assert_eq!(cell(1, r#"{"v":1}"#).expect("float"), Value::Float(1.0));
        assert_eq!(cell(2, r#"{"v":{"base64":"/w=="}}"#).expect("bytes"), Value::Bytes(vec![255]));
        assert_eq!(cell(2, r#"{"v":"\u00e9"}"#).expect("text"), Value::from("é"));
        for (index, body) in [(0, r#"{"v":"1"}"#), (0, r#"{"v":1.5}"#), (1, r#"{"v":"1"}"#), (2, r#"{"v":1}"#)] {
            assert!(
                matches!(cell(index, body), Err(super::super::error::Failure::Refused(r)) if r.code == "wrong_type")
            );
        }
        assert!(cell(2, r#"{"v":{"base64":"/w==","x":1}}"#).is_err());
        assert!(cell(2, r#"{"v":{"base64":"!"}}"#).is_err());
    }

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds_to_ms(0.5), Some(500));
        assert_eq!(seconds_to_ms(0.0001), Some(1));
        assert_eq!(seconds_to_ms(-1.0), None);
        assert_eq!(seconds_to_ms(f64::NAN), None);
        assert_eq!(seconds_to_ms(f64::INFINITY), None);
    }
}
