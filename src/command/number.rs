//! Numbers as clients write and read them.

pub(crate) use crate::store::number::{parse_float, parse_int};

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
pub(crate) fn float_text(x: f64, buffer: &mut zmij::Buffer) -> &str {
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
