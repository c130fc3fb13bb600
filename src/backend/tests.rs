//! Which backends the conformance suite runs against, and which pairs of them must agree: the one place to add a backend.

use std::sync::Arc;

use super::{
    Limits, MemoryStore, SharedStore,
    conformance::{COUNTERS, MAX_KEYS, MEMORY_BYTES, WORKERS},
    property::{agree, agree_for_long, agree_over_deaths, now_ms},
};
use crate::{
    Store,
    shm::{Segment, SegmentOptions},
};

const LIMITS: Limits = Limits { counters: COUNTERS, max_keys: MAX_KEYS, workers: WORKERS, memory: MEMORY_BYTES };

fn memory_store() -> Store {
    Store::on(Arc::new(MemoryStore::new(LIMITS)))
}

fn shared_store() -> Store {
    let options = SegmentOptions::new().memory(MEMORY_BYTES).workers(WORKERS).counters(COUNTERS).max_keys(MAX_KEYS);
    let segment = Segment::create(options).expect("a small segment can be made");
    Store::on(Arc::new(SharedStore::open(segment, None)))
}

mod memory {
    super::super::conformance::suite!(super::super::memory_store);
}

mod shared {
    super::super::conformance::suite!(super::super::shared_store);
}

#[test]
fn the_shared_store_agrees_with_the_oracle() {
    agree(shared_store, memory_store);
}

#[test]
fn the_shared_store_agrees_with_the_oracle_for_long() {
    agree_for_long(shared_store, || Store::on(Arc::new(MemoryStore::with_clock(LIMITS, now_ms))));
}

#[test]
fn the_shared_store_agrees_with_the_oracle_over_deaths() {
    agree_over_deaths(
        || {
            let options = SegmentOptions::new().memory(8 << 20).counters(COUNTERS).max_keys(MAX_KEYS);
            let segment = Segment::create(options).expect("a small segment can be made");
            (segment.clone(), Store::on(Arc::new(SharedStore::open(segment, None))))
        },
        || Store::on(Arc::new(MemoryStore::with_clock(LIMITS, now_ms))),
    );
}

#[test]
fn the_memory_store_agrees_with_itself() {
    agree(memory_store, memory_store);
}

/// A comparison that finds nothing is worth something only if it would have found it.
#[test]
#[should_panic(expected = "CountersFull")]
fn stores_of_which_one_has_a_counter_less_do_not_agree() {
    let smaller = Limits { counters: COUNTERS - 1, ..LIMITS };
    agree(memory_store, || Store::on(Arc::new(MemoryStore::new(smaller))));
}
