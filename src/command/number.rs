//! Numbers as clients write and read them.

/// The integer that `text` is: decimal digits, perhaps a minus, no leading zeros, nothing else.
#[must_use]
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: i64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        // Counted downwards, because the smallest integer has no positive twin.
        value = value.checked_mul(10)?.checked_sub(i64::from(digit - b'0'))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// The float that `text` is; infinities included, NaN not.
#[must_use]
pub fn parse_float(text: &[u8]) -> Option<f64> {
    let x: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!x.is_nan()).then_some(x)
}

/// The integer that `text` is, written as an integer or as a float without a fraction (`1.0`).
#[must_use]
pub(crate) fn parse_integral(text: &[u8]) -> Option<i64> {
    /// Up to here every integer is a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    parse_int(text).or_else(|| {
        let x = parse_float(text)?;
        (x.fract() == 0.0 && x.abs() <= EXACT).then_some(x as i64)
    })
}

/// The shortest text that reads back as `x`; without `.0`.
#[must_use]
pub fn float_text(x: f64, buffer: &mut zmij::Buffer) -> &str {
    if x == 0.0 {
        return if x.is_sign_negative() { "-0" } else { "0" };
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" };
    }
    let text: &str = buffer.format(x);
    text.strip_suffix(".0").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_strict() {
        for (text, value) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN), ("10", 10)]
        {
            assert_eq!(parse_int(text.as_bytes()), Some(value), "{text}");
        }
        for text in ["", "-", "-0", "+1", "01", " 1", "1 ", "1.0", "9223372036854775808", "-9223372036854775809", "1x"]
        {
            assert_eq!(parse_int(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn integral_floats_are_integers() {
        assert_eq!(parse_integral(b"1.0"), Some(1));
        assert_eq!(parse_integral(b"-3e2"), Some(-300));
        assert_eq!(parse_integral(b"1.5"), None);
        assert_eq!(parse_integral(b"inf"), None);
        assert_eq!(parse_integral(b"nan"), None);
        assert_eq!(parse_integral(b"1e300"), None);
    }

    #[test]
    fn floats_are_short() {
        let text = |x| float_text(x, &mut zmij::Buffer::new()).to_owned();
        assert_eq!(text(1.0), "1");
        assert_eq!(text(0.1 + 0.2), "0.30000000000000004");
        assert_eq!(text(-0.0), "-0");
        assert_eq!(text(1e300), "1e+300");
        assert_eq!(text(3.25), "3.25");
    }
}
