//! What is done to maps: each operation over and over, on keys in some order.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use store_master::{Segment, SegmentOptions, Store};

use super::{
    keys::{Order, Spread},
    maps::{Map, Ours, fill, row},
    parts::{Extent, ROWS},
};
use crate::turns::{Pair, nanoseconds};

/// `n` times, on the keys that an order says.
pub(super) type Operation<M> = fn(&mut M, &mut Order, u64);

/// Reads of whole rows.
pub(super) fn get<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        black_box(map.get(&order.next_key()));
    }
}

/// Rows that differ from those written before them, so that nobody can save the write.
pub(super) fn set<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        let key = order.next_key();
        map.set(&key, &row(tick()));
    }
}

/// Increments of rows.
pub(super) fn incr<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        black_box(map.incr(&order.next_key()));
    }
}

/// Every second one fails: what was expected is what the last one wrote, if that was this row.
pub(super) fn cas<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        let key = order.next_key();
        let seen = map.incr(&key);
        black_box(map.cas(&key, seen, seen + 1));
    }
}

/// A deletion and an insertion.
pub(super) fn remove_and_insert<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        let key = order.next_key();
        map.remove(&key);
        map.set(&key, &row(tick()));
    }
}

/// One write in twenty reads and writes.
pub(super) fn mixed<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for i in 0..n {
        let key = order.next_key();
        if i % 20 == 0 {
            map.set(&key, &row(tick()));
        } else {
            black_box(map.get(&key));
        }
    }
}

/// A number that no call had before.
#[inline(always)]
fn tick() -> u64 {
    static TICKS: AtomicU64 = AtomicU64::new(1);
    let now = TICKS.load(Ordering::Relaxed);
    TICKS.store(now + 1, Ordering::Relaxed);
    now.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The same of two maps, in turns.
pub(super) fn compare<A: Map, B: Map>(
    extent: Extent,
    (ours, theirs): (&mut A, &mut B),
    operations: (Operation<A>, Operation<B>),
    order: impl Fn() -> Order,
) -> Pair {
    let (mut our_order, mut their_order) = (order(), order());
    nanoseconds(extent.rounds, |n| operations.0(ours, &mut our_order, n), |n| operations.1(theirs, &mut their_order, n))
}

/// The names of the operations that [`repeat`] knows.
pub(crate) const OPERATIONS: [&str; 6] = ["get", "set", "incr", "cas", "remove-insert", "counter"];

/// Does one operation over and over.
pub(crate) fn repeat(operation: &str, times: u64, hot: bool) {
    let mut map = Ours::new(ROWS);
    fill(&mut map, ROWS);
    let mut order = Order::new(if hot { Spread::Hot } else { Spread::Uniform }, ROWS, 1);
    let work: Operation<Ours> = match operation {
        "get" => get,
        "set" => set,
        "incr" => incr,
        "cas" => cas,
        "remove-insert" => remove_and_insert,
        _ => {
            let counter = store().counter("hits").expect("a good name");
            return (0..times).for_each(|_| drop(black_box(counter.increment())));
        }
    };
    work(&mut map, &mut order, times);
}

/// A store without tables.
pub(super) fn store() -> Store {
    let options = SegmentOptions::new().memory(64 << 20);
    Store::open(Segment::create(options).expect("there is memory")).expect("a process that may write")
}
