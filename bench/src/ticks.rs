//! Where an axis has its ticks: round numbers that enclose what is shown. There are always two at least.

/// From 0 to `high` or a little more, in steps of 1, 2 or 5 times a power of ten.
pub(crate) fn linear(high: f64) -> Vec<f64> {
    let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
    let step = steps().into_iter().find(|step| high / step <= 6.0).unwrap_or(high);
    let count = (high / step - 1e-9).ceil() as u32;
    // The product is rounded: 3 times 0.1 is not 0.3.
    (0..=count.max(1)).map(|n| (f64::from(n) * step * 1e9).round() / 1e9).collect()
}

/// 1, 2 and 5 times powers of ten from below `low` to above `high`, or the powers alone where those are many.
pub(crate) fn decades(low: f64, high: f64) -> Vec<f64> {
    let (low, high) = positive(low, high);
    let all = steps();
    let first = all.iter().rposition(|&step| step <= low).unwrap_or(0);
    let last = all.iter().position(|&step| step >= high).unwrap_or(all.len() - 1);
    let found = &all[first..=last.max(first + 1)];
    if found.len() <= 8 {
        return found.to_vec();
    }
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    (first..=last).map(|n| 10_f64.powi(n)).collect()
}

/// Powers of two from below `low` to above `high`.
pub(crate) fn doublings(low: f64, high: f64) -> Vec<f64> {
    let (low, high) = positive(low, high);
    let (first, last) = (low.log2().floor() as i32, high.log2().ceil() as i32);
    (first..=last.max(first + 1)).map(|n| 2_f64.powi(n)).collect()
}

/// A range of which a logarithm can be taken.
fn positive(low: f64, high: f64) -> (f64, f64) {
    if low.is_finite() && low > 0.0 && high >= low { (low, high) } else { (1.0, 2.0) }
}

/// 1, 2 and 5 times every power of ten that an axis can need.
fn steps() -> Vec<f64> {
    let power = |n: i32| if n < 0 { 1.0 / 10_f64.powi(-n) } else { 10_f64.powi(n) };
    (-6..=12).flat_map(|n| [1.0, 2.0, 5.0].map(|m| m * power(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_enclose_what_is_shown() {
        assert_eq!(linear(5.3), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(linear(0.31), [0.0, 0.1, 0.2, 0.3, 0.4]);
        assert_eq!(linear(120.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0, 120.0]);
        assert_eq!(decades(30.0, 700.0), [20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(decades(30.0, 70_000.0), [10.0, 100.0, 1000.0, 10_000.0, 100_000.0]);
        assert_eq!(doublings(1.0, 16.0), [1.0, 2.0, 4.0, 8.0, 16.0]);
    }

    #[test]
    fn there_are_ticks_for_nothing_at_all() {
        for ticks in
            [linear(0.0), linear(f64::NAN), decades(f64::INFINITY, 0.0), decades(5.0, 5.0), doublings(0.0, 0.0)]
        {
            assert!(ticks.len() >= 2 && ticks.is_sorted() && ticks.iter().all(|tick| tick.is_finite()), "{ticks:?}");
        }
    }
}
