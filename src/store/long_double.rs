//! The type in which INCRBYFLOAT and its kin add: the 80-bit float of x86, with 64 bits of precision, as Redis has it there.
//!
//! Sums come out as Redis's to the last digit on every machine. Text is read as the C library reads it, and written with 17 decimals at
//! most, without an exponent.

use rustc_apfloat::{Float, Round, ieee::X87DoubleExtended};

/// The longest text that is looked at, in bytes.
const MAX_TEXT_BYTES: usize = 5 * 1024;
/// Decimals that are written at most.
const MAX_DECIMALS: usize = 17;
/// Bits behind the highest one.
const FRACTION_BITS: i32 = 63;
/// What the exponent is stored with.
const BIAS: i32 = 16_383;

/// An 80-bit float that is not NaN.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct LongDouble(X87DoubleExtended);

impl From<f64> for LongDouble {
    /// The decimal number that `number` is written as, rather than the binary one next to it: 0.1 is a tenth. NaN is an infinity,
    /// and refused as such.
    fn from(number: f64) -> Self {
        Self::parse(number.to_string().as_bytes()).unwrap_or(Self(X87DoubleExtended::INFINITY))
    }
}

impl LongDouble {
    /// Zero.
    pub(crate) const ZERO: Self = Self(X87DoubleExtended::ZERO);

    /// The number that this text is: decimal or hexadecimal, or an infinity. `None` for NaN, for what is too large or, but for zero
    /// itself, too small, and for everything else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() >= MAX_TEXT_BYTES {
            return None;
        }
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            [b'+', digits @ ..] => (false, digits),
            digits => (false, digits),
        };
        let signed = |number: X87DoubleExtended| Some(Self(if negative { -number } else { number }));
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return signed(X87DoubleExtended::INFINITY);
        }
        let digits = std::str::from_utf8(digits).ok()?;
        let (text, zero) = match digits.get(..2).filter(|head| head.eq_ignore_ascii_case("0x")) {
            Some(_) => hexadecimal(digits)?,
            None => decimal(digits)?,
        };
        let number = X87DoubleExtended::from_str_r(&text, Round::NearestTiesToEven).ok()?.value;
        let held = number.is_finite() && (zero || !number.is_zero());
        if held { signed(number) } else { None }
    }

    /// Whether it is no infinity.
    #[must_use]
    pub fn is_finite(self) -> bool {
        self.0.is_finite()
    }

    /// The sum; `None` if it is not finite.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        let sum = (self.0 + other.0).value;
        sum.is_finite().then_some(Self(sum))
    }

    /// The number as text, rounded to 17 decimals.
    #[must_use]
    pub fn text(self) -> String {
        let bits = self.0.to_bits();
        let (fraction, exponent) = (bits as u64, (bits >> 64) as i32 & 0x7fff);
        // The number is `fraction` times 2 to the power of `power`.
        let power = exponent.max(1) - BIAS - FRACTION_BITS;
        let text = if power >= 0 { whole_text(fraction, power as u32) } else { decimal_text(fraction, -power as u32) };
        if self.0.is_negative() && text != "0" { format!("-{text}") } else { text }
    }
}

/// Decimal digits as the library reads them, and whether they are all zeros; `None` unless it is a number.
fn decimal(text: &str) -> Option<(String, bool)> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (digits, zero) = mantissa_of(mantissa, |byte| byte.is_ascii_digit())?;
    Some((format!("{digits}e{exponent}"), zero))
}

/// As [`decimal`], of hexadecimal digits behind `0x`.
fn hexadecimal(text: &str) -> Option<(String, bool)> {
    let text = &text[2..];
    let (mantissa, exponent) = match text.find(['p', 'P']) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (digits, zero) = mantissa_of(mantissa, |byte| byte.is_ascii_hexdigit())?;
    Some((format!("0x{digits}p{exponent}"), zero))
}

/// Digits with one point at most, and at least one of them.
fn mantissa_of(text: &str, is_digit: fn(u8) -> bool) -> Option<(&str, bool)> {
    let point = text.bytes().filter(|&byte| byte == b'.').count();
    let digits = text.bytes().filter(|&byte| is_digit(byte)).count();
    let sound = point <= 1 && digits >= 1 && point + digits == text.len();
    sound.then(|| (text, text.bytes().all(|byte| matches!(byte, b'0' | b'.'))))
}

/// An exponent; beyond what any number has it makes no difference.
fn exponent(text: &str) -> Option<i32> {
    const FAR: i32 = 100_000;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.trim_start_matches('0').get(..6).map_or_else(|| digits.parse().unwrap_or(FAR), |_| FAR);
    Some(if text.starts_with('-') { -size.min(FAR) } else { size.min(FAR) })
}

/// `fraction / 2^power`, rounded to 17 decimals.
fn decimal_text(fraction: u64, power: u32) -> String {
    const UNIT: u128 = 10_u128.pow(MAX_DECIMALS as u32);
    // 64 bits and the 57 of the unit: they fit. What is shifted out beyond that is less than half of the last decimal.
    let product = u128::from(fraction) * UNIT;
    let scaled = if power < 128 { product >> power } else { 0 };
    let rest = if power < 128 { product & ((1 << power) - 1) } else { 0 };
    let half = if (1..=128).contains(&power) { 1_u128 << (power - 1) } else { u128::MAX };
    let up = rest > half || (rest == half && scaled % 2 == 1);
    let scaled = scaled + u128::from(up);
    let (whole, decimals) = (scaled / UNIT, scaled % UNIT);
    let text = format!("{whole}.{decimals:0MAX_DECIMALS$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `fraction * 2^power` in full.
fn whole_text(fraction: u64, power: u32) -> String {
    const LIMB: u64 = 1_000_000_000;
    let mut limbs = vec![fraction % LIMB, fraction / LIMB % LIMB, fraction / LIMB / LIMB];
    let mut left = power;
    while left > 0 {
        let shift = left.min(32);
        let mut carry = 0;
        for limb in &mut limbs {
            let product = (*limb << shift) + carry;
            (*limb, carry) = (product % LIMB, product / LIMB);
        }
        while carry > 0 {
            limbs.push(carry % LIMB);
            carry /= LIMB;
        }
        left -= shift;
    }
    let text: String = limbs.iter().rev().map(|limb| format!("{limb:09}")).collect();
    let text = text.trim_start_matches('0');
    if text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(text: &str) -> Option<String> {
        LongDouble::parse(text.as_bytes()).map(LongDouble::text)
    }

    #[test]
    fn text_is_read_as_the_c_library_reads_it() {
        for (text, number) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("+1.5", "1.5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("1e3", "1000"),
            ("5.0E+3", "5000"),
            ("-1E-2", "-0.01"),
            ("0x10", "16"),
            ("-0x1.8p-2", "-0.375"),
            ("0e99999999999", "0"),
            ("1e-17", "0.00000000000000001"),
            ("1e-18", "0"),
        ] {
            assert_eq!(text_of(text).as_deref(), Some(number), "{text}");
        }
        for text in [
            "",
            ".",
            "e5",
            "1e",
            "1e+",
            "--1",
            "1 ",
            " 1",
            "1_0",
            "1,5",
            "0x",
            "0x.",
            "0x1p",
            "nan",
            "-NaN",
            "infinit",
            "1e4933",
            "1e-5000",
            "1e99999999999",
            "1.5.5",
            "\u{661}",
        ] {
            assert_eq!(text_of(text), None, "{text}");
        }
        assert!(!LongDouble::parse(b"-Infinity").unwrap().is_finite());
        assert_eq!(LongDouble::parse(&[b'1'; MAX_TEXT_BYTES]), None);
    }

    #[test]
    fn text_has_17_decimals_of_64_bits() {
        for (number, text) in [
            ("0.1", "0.1"),
            ("3.14159265358979323846", "3.14159265358979324"),
            ("522114.55", "522114.55000000000001137"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551617", "18446744073709551616"),
            ("1e20", "100000000000000000000"),
            ("1e30", "1000000000000000000024696061952"),
            ("0.000000000000000006", "0.00000000000000001"),
        ] {
            assert_eq!(text_of(number).as_deref(), Some(text), "{number}");
        }
        assert_eq!(text_of("1e4932").unwrap().len(), 4933);
    }

    #[test]
    fn sums_are_of_decimal_numbers() {
        let sum = |a: f64, b: f64| LongDouble::from(a).checked_add(b.into()).unwrap().text();
        assert_eq!(sum(0.1, 0.2), "0.3");
        assert_eq!(sum(10.5, 0.1), "10.6");
        assert_eq!(sum(1.0, -0.9), "0.1");
        assert_eq!(sum(1e308, 1e308).len(), 309);
        let most = LongDouble::parse(b"1e4932").unwrap();
        assert_eq!(most.checked_add(most), None);
        assert_eq!(LongDouble::from(f64::NAN).checked_add(most), None);
    }
}
