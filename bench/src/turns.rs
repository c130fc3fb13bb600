//! Two things measured in turns, so that whatever else the machine does hits both.
//!
//! A round gives each side one share of about [`SHARE`]; who goes first changes from round to round. What counts is the median of the
//! rounds' ratios, not the ratio of medians: the two halves of a round lie close together in time.

use std::time::{Duration, Instant};

/// Time of one side's turn.
const SHARE: Duration = Duration::from_millis(15);

/// One thing measured beside another.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// Medians, in the unit that was measured.
    pub(crate) ours: f64,
    /// As `ours`.
    pub(crate) theirs: f64,
    /// The median of the rounds' ratios of ours to theirs.
    pub(crate) ratio: f64,
    /// The first and the third quartile of those ratios.
    pub(crate) spread: (f64, f64),
    /// How many rounds there were.
    pub(crate) rounds: usize,
}

impl Pair {
    /// Sums up what each round found of ours and of theirs.
    pub(crate) fn of(rounds: &[(f64, f64)]) -> Self {
        let column = |pick: fn(&(f64, f64)) -> f64| {
            let mut column: Vec<f64> = rounds.iter().map(pick).collect();
            column.sort_by(f64::total_cmp);
            column
        };
        let ratios = column(|(ours, theirs)| ours / theirs);
        Self {
            ours: quantile(&column(|round| round.0), 0.5),
            theirs: quantile(&column(|round| round.1), 0.5),
            ratio: quantile(&ratios, 0.5),
            spread: (quantile(&ratios, 0.25), quantile(&ratios, 0.75)),
            rounds: rounds.len(),
        }
    }
}

/// A quantile of sorted numbers, between two of them if it must be.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len().max(1) - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * at.fract(),
        _ => f64::NAN,
    }
}

/// Nanoseconds of one call of each: `ours(n)` and `theirs(n)` do their work `n` times.
pub(crate) fn nanoseconds(rounds: usize, mut ours: impl FnMut(u64), mut theirs: impl FnMut(u64)) -> Pair {
    let (our_share, their_share) = (calls_in_a_share(&mut ours), calls_in_a_share(&mut theirs));
    in_turns(rounds, || timed(&mut ours, our_share), || timed(&mut theirs, their_share))
}

/// What each of both finds in its turns.
pub(crate) fn in_turns(rounds: usize, mut ours: impl FnMut() -> f64, mut theirs: impl FnMut() -> f64) -> Pair {
    let round = |number: usize| {
        if number.is_multiple_of(2) {
            let ours = ours();
            (ours, theirs())
        } else {
            let theirs = theirs();
            (ours(), theirs)
        }
    };
    Pair::of(&(0..rounds).map(round).collect::<Vec<_>>())
}

fn timed(work: &mut impl FnMut(u64), calls: u64) -> f64 {
    let start = Instant::now();
    work(calls);
    start.elapsed().as_nanos() as f64 / calls as f64
}

/// How many calls fill a share; doing them warms the caches up.
fn calls_in_a_share(work: &mut impl FnMut(u64)) -> u64 {
    let mut calls = 16;
    loop {
        let start = Instant::now();
        work(calls);
        let taken = start.elapsed();
        if taken >= SHARE / 4 {
            return (calls as f64 * SHARE.as_secs_f64() / taken.as_secs_f64()) as u64;
        }
        calls *= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_the_median_of_the_rounds() {
        let pair = Pair::of(&[(1.0, 2.0), (3.0, 3.0), (9.0, 3.0)]);
        assert_eq!((pair.ours, pair.theirs, pair.ratio, pair.spread), (3.0, 3.0, 1.0, (0.75, 2.0)));
    }

    #[test]
    fn work_is_done_as_often_as_it_is_counted() {
        let mut done = 0;
        let pair = nanoseconds(
            5,
            |n| (0..n).for_each(|_| done = std::hint::black_box(done + 1)),
            |n| std::thread::sleep(Duration::from_nanos(n)),
        );
        assert!(done > 0 && pair.rounds == 5 && pair.ratio > 0.0);
    }

    #[test]
    fn who_goes_first_changes() {
        let order = std::cell::RefCell::new(String::new());
        let turn = |who| {
            order.borrow_mut().push(who);
            1.0
        };
        in_turns(3, || turn('o'), || turn('t'));
        assert_eq!(order.take(), "ottoot");
    }
}
