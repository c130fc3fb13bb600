//! Numbers as text, and sums that refuse to overflow: the rules that every backend shares.
//!
//! The key-value space keeps numbers as text, so what counts as a number is part of the contract. An integer
//! has one spelling only (what `i64` prints), a float any that a C library reads; floats are added as [`LongDouble`].

use super::{Error, LongDouble, Result, Value, ValueRef};

/// So many decimal digits fit an `i64`, whatever they are.
const SURE_DIGITS: usize = 18;

/// The longest text of a float that is looked at, in bytes.
const MAX_FLOAT_BYTES: usize = 5 * 1024;

/// The integer that this text is; `None` for anything but its one spelling: no `+`, no leading zeros, no spaces, no `-0`.
#[inline]
pub(crate) fn parse_int(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    if digits.len() <= SURE_DIGITS {
        let number = digits.iter().fold(0, |number, digit| 10 * number + i64::from(digit - b'0'));
        return Some(if digits.len() == text.len() { number } else { -number });
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The float that this text is: decimal, with or without exponent, or an infinity. `None` for NaN, for what an `f64` cannot
/// hold and for everything else.
pub(crate) fn parse_float(text: &[u8]) -> Option<f64> {
    if text.len() >= MAX_FLOAT_BYTES {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let too_large = number.is_infinite() && text.iter().any(u8::is_ascii_digit);
    (!number.is_nan() && !too_large).then_some(number)
}

/// The sum of an integer as text (or nothing, which is 0) and `by`.
///
/// # Errors
///
/// [`Error::NotAnInteger`], [`Error::Overflow`].
pub(crate) fn add_int(current: Option<&[u8]>, by: i64) -> Result<i64> {
    let current = current.map_or(Some(0), parse_int).ok_or(Error::NotAnInteger)?;
    current.checked_add(by).ok_or(Error::Overflow)
}

/// The sum of a float as text (or nothing, which is 0) and `by`, as text.
///
/// # Errors
///
/// [`Error::NotAFloat`], [`Error::Overflow`] if the sum is not finite.
pub(crate) fn add_float(current: Option<&[u8]>, by: impl Into<LongDouble>) -> Result<Vec<u8>> {
    let current = current.map_or(Some(LongDouble::ZERO), LongDouble::parse).ok_or(Error::NotAFloat)?;
    let sum = current.checked_add(by.into()).ok_or(Error::Overflow)?;
    Ok(sum.text().into_bytes())
}

/// The sum of two numbers of one type; `None` if it does not fit an `i64`, is not finite, or if they are no such pair.
pub(crate) fn checked_add(current: ValueRef<'_>, by: ValueRef<'_>) -> Option<Value> {
    match (current, by) {
        (ValueRef::Int(a), ValueRef::Int(b)) => a.checked_add(b).map(Value::Int),
        (ValueRef::Float(a), ValueRef::Float(b)) => Some(a + b).filter(|sum| sum.is_finite()).map(Value::Float),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_one_spelling() {
        for n in [0, 1, -1, 10, 42, -907, i64::MAX, i64::MIN] {
            assert_eq!(parse_int(n.to_string().as_bytes()), Some(n));
        }
        let others: [&[u8]; 18] = [
            b"",
            b"-",
            b"+1",
            b"01",
            b"-01",
            b"-0",
            b"00",
            b" 1",
            b"1 ",
            b"1.0",
            b"1e3",
            b"0x10",
            b"--1",
            b"1_000",
            b"\xff",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"1\0",
        ];
        for text in others {
            assert_eq!(parse_int(text), None, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn floats_are_read_as_a_c_library_reads_decimals() {
        for (text, number) in
            [("0", 0.0), ("1.5", 1.5), ("+1.5", 1.5), ("5.0e3", 5000.0), ("-.5", -0.5), ("2.", 2.0), ("1E-2", 0.01)]
        {
            assert_eq!(parse_float(text.as_bytes()), Some(number), "{text}");
        }
        assert_eq!(parse_float(b"-inf"), Some(f64::NEG_INFINITY));
        for text in ["", " 1", "1 ", "nan", "NaN", "-nan", "abc", "1e400", "-1e400", "1,5", "1.5x", "."] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_float(&[b'1'; MAX_FLOAT_BYTES]), None);
    }

    #[test]
    fn sums_of_floats_read_as_a_person_adds() {
        for (current, by, text) in [
            ("10.5", 0.1, "10.6"),
            ("5.0e3", 2.0e2, "5200"),
            ("5.0e3", 0.0, "5000"),
            ("3.0", 1.1, "4.1"),
            ("0.1", 0.2, "0.3"),
            ("1", -0.9, "0.1"),
            ("0.3", -0.3, "0"),
            ("10.50", -5.0, "5.5"),
            ("1e20", 1.0, "100000000000000000000"),
            ("-0.001", 0.0005, "-0.0005"),
        ] {
            assert_eq!(add_float(Some(current.as_bytes()), by).unwrap(), text.as_bytes(), "{current} + {by}");
        }
        assert_eq!(add_float(None, 1.5).unwrap(), b"1.5");
    }

    #[test]
    fn sums_refuse_to_overflow() {
        assert_eq!(add_int(Some(b"9223372036854775807"), 1), Err(Error::Overflow));
        assert_eq!(add_int(Some(b"-9223372036854775808"), -1), Err(Error::Overflow));
        assert_eq!(add_int(None, i64::MIN), Ok(i64::MIN));
        assert_eq!(add_int(Some(b"ten"), 1), Err(Error::NotAnInteger));
        let most = LongDouble::parse(b"1e4932").unwrap();
        assert_eq!(add_float(Some(b"1e4932"), most), Err(Error::Overflow));
        assert_eq!(add_float(Some(b"inf"), 1.0), Err(Error::Overflow));
        assert_eq!(add_float(Some(b"1"), f64::NAN), Err(Error::Overflow));
        assert_eq!(add_float(Some(b"ten"), 1.0), Err(Error::NotAFloat));
        assert_eq!(checked_add(ValueRef::Int(i64::MAX), ValueRef::Int(1)), None);
        assert_eq!(checked_add(ValueRef::Float(f64::MAX), ValueRef::Float(f64::MAX)), None);
        assert_eq!(checked_add(ValueRef::Int(2), ValueRef::Int(-3)), Some(Value::Int(-1)));
        assert_eq!(checked_add(ValueRef::Float(0.5), ValueRef::Float(0.25)), Some(Value::Float(0.75)));
        assert_eq!(checked_add(ValueRef::Int(2), ValueRef::Float(1.0)), None);
        assert_eq!(checked_add(ValueRef::Bytes(b"1"), ValueRef::Int(1)), None);
    }
}
