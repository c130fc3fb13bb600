//! Two processes that do the same at the same time, each on a core.

use super::{
    keys::{Order, Spread},
    maps::{Ours, fill},
    mutex::Locked,
    operations::{Operation, get, incr, set},
    parts::{Extent, ROWS},
};
use crate::{
    companion::Companion,
    report::Section,
    turns::{Pair, nanoseconds},
};

/// Reads, writes and increments while another process does the same.
pub(super) fn two_processes(extent: Extent) -> Section {
    let mut section = Section::new(
        "Rows, two processes",
        "ns",
        "As above, while a second process does the same on the other core: reads of the same rows, or writes of other rows.",
    );
    let mut ours = Ours::new(ROWS);
    let mut theirs = Locked::new(ROWS);
    fill(&mut ours, ROWS);
    fill(&mut theirs, ROWS);

    type Orders = (fn() -> Order, fn() -> Order);
    let same: Orders = (|| Order::new(Spread::Uniform, ROWS, 1), || Order::new(Spread::Uniform, ROWS, 3));
    let hot: Orders = (|| Order::new(Spread::Hot, ROWS, 1), || Order::new(Spread::Hot, ROWS, 1));
    let halves: Orders = (|| Order::part(ROWS, 0, 2, 1), || Order::part(ROWS, 1, 2, 3));
    type Case = (&'static str, Operation<Ours>, Operation<Locked>, Orders, f64, Option<f64>);
    let cases: [Case; 4] = [
        ("reads", get, get, same, 1.0 / 3.0, Some(1.05)),
        ("writes to different rows", set, set, halves, 1.0 / 3.0, Some(1.2)),
        ("reads of one hot row", get, get, hot, 1.0 / 3.0, None),
        ("increments of one hot row", incr, incr, hot, f64::INFINITY, None),
    ];
    for (what, mine, other, (near, far), target, alone_target) in cases {
        let (mut a, mut b, mut c, mut d) = (near(), near(), far(), far());
        let our_friend = Companion::new(1, |n| mine(&mut ours, &mut c, n));
        let their_friend = Companion::new(1, |n| other(&mut theirs, &mut d, n));
        let pair = nanoseconds(
            extent.rounds,
            |n| our_friend.beside(|| mine(&mut ours, &mut a, n)),
            |n| their_friend.beside(|| other(&mut theirs, &mut b, n)),
        );
        section.add(what, "raw_sync mutex", pair, Some(target).filter(|target| target.is_finite()));
        let mut order = near();
        let mut alone = |n| mine(&mut ours, &mut order, n);
        let mut rounds = Vec::new();
        for _ in 0..extent.rounds {
            rounds.push((our_friend.beside(|| once(&mut alone)), once(&mut alone)));
        }
        section.add(format!("{what}, time of one"), "ours, one process", Pair::of(&rounds), alone_target);
    }
    section
}

/// Nanoseconds of one call, over enough of them.
fn once(work: &mut impl FnMut(u64)) -> f64 {
    const CALLS: u64 = 100_000;
    let start = std::time::Instant::now();
    work(CALLS);
    start.elapsed().as_nanos() as f64 / CALLS as f64
}
