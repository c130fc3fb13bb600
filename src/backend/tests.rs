//! Which backends the conformance suite runs against, and which pairs of them must agree: the one place to add a backend.

use std::sync::Arc;

use super::{
    Limits, MemoryStore,
    conformance::{COUNTERS, MAX_KEYS, MEMORY_BYTES, WORKERS},
    property::agree,
};
use crate::Store;

const LIMITS: Limits = Limits { counters: COUNTERS, max_keys: MAX_KEYS, workers: WORKERS, memory: MEMORY_BYTES };

fn memory_store() -> Store {
    Store::on(Arc::new(MemoryStore::new(LIMITS)))
}

mod memory {
    super::super::conformance::suite!(super::super::memory_store);
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
