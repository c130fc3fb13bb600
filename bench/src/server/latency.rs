//! Latency at several rates: clients that do not wait for a slow server before they ask again.

use std::time::Duration;

use super::{
    parts::Extent,
    requests::{batches, get},
    side::Two,
};
use crate::{
    plot::{Axis, Line, Plot, Scale},
    report::Section,
    turns::Pair,
};

/// Rates, as parts of what redis-server takes.
const RATES: [f64; 6] = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9];
/// The rate for which something is promised.
const PROMISED_RATE: f64 = 0.5;
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
/// Time of one side's turn at one rate.
const SHARE: Duration = Duration::from_millis(700);

/// GET at several rates, beside redis-server.
pub(super) fn against_load(extent: Extent) -> Section {
    let mut section = Section::new(
        "Latency at given rates",
        "µs",
        "GET over 50 connections, sent when it is due whether or not earlier ones were answered, at several parts of the rate that redis-server takes at most from a load that waits for its answers; microseconds from when a request was due to its whole answer.",
    );
    let mut two = Two::against_redis(50);
    let gets = batches(get, 1, 1, &[]);
    let most = two.theirs.load.closed(&gets, Duration::from_secs(1)) as f64;
    let mut points = Vec::new();
    for part in RATES {
        let found = at_rate(&mut two, &gets, most * part, extent.rounds.div_ceil(2));
        for ((name, _), pair) in QUANTILES.into_iter().zip(&found) {
            let promised = (name == "p99.9" && part == PROMISED_RATE).then_some(1.0);
            let what = format!("{:.0} %, {:.0}/s, {name}", part * 100.0, most * part);
            section.add(what, "redis-server", pair.clone(), promised);
        }
        points.push((most * part / 1000.0, found));
    }
    section.plots.push(plot(&points));
    section
}

/// What both take at a rate: one pair for each quantile.
fn at_rate(two: &mut Two, gets: &std::rc::Rc<super::load::Batches>, rate: f64, rounds: usize) -> Vec<Pair> {
    let mut found = vec![Vec::new(); QUANTILES.len()];
    for round in 0..rounds {
        let mine = |two: &mut Two| two.ours.load.open(gets, rate, SHARE);
        let other = |two: &mut Two| two.theirs.load.open(gets, rate, SHARE);
        let (ours, theirs) = if round % 2 == 0 {
            let ours = mine(two);
            (ours, other(two))
        } else {
            let theirs = other(two);
            (mine(two), theirs)
        };
        for (found, (_, q)) in found.iter_mut().zip(QUANTILES) {
            let at = |took: &hdrhistogram::Histogram<u64>| took.value_at_quantile(q) as f64 / 1000.0;
            found.push((at(&ours), at(&theirs)));
        }
    }
    found.iter().map(|rounds| Pair::of(rounds)).collect()
}

fn plot(points: &[(f64, Vec<Pair>)]) -> Plot {
    let mut lines = Vec::new();
    type Side = (&'static str, fn(&Pair) -> f64);
    let sides: [Side; 2] = [("store-master", |pair| pair.ours), ("redis-server", |pair| pair.theirs)];
    for (hue, (side, of)) in sides.into_iter().enumerate() {
        for (stroke, (quantile, _)) in QUANTILES.into_iter().enumerate() {
            let points = points.iter().map(|(rate, pairs)| (*rate, of(&pairs[stroke]))).collect();
            lines.push(Line { name: format!("{side}, {quantile}"), hue, stroke, points });
        }
    }
    Plot {
        file: "latency.svg",
        title: "Latency of GET against load".to_owned(),
        x: Axis { label: "thousand requests per second".to_owned(), scale: Scale::Linear },
        y: Axis { label: "microseconds".to_owned(), scale: Scale::Log },
        lines,
    }
}
