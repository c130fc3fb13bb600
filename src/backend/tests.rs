//! Which backends the conformance suite runs against, and which pairs of them must agree: the one place to add a backend.

use std::sync::Arc;

use super::{
    Limits, MemoryStore,
    conformance::{COUNTERS, MAX_KEYS, MEMORY_BYTES, WORKERS},
};
use crate::Store;

fn memory_store() -> Store {
    let limits = Limits { counters: COUNTERS, max_keys: MAX_KEYS, workers: WORKERS, memory: MEMORY_BYTES };
    Store::on(Arc::new(MemoryStore::new(limits)))
}

mod memory {
    super::super::conformance::suite!(super::super::memory_store);
}
