//! The product's files, and what they take from their parent.

#[path = "../../src/shm/protocol/gate.rs"]
pub(crate) mod gate;
#[path = "../../src/shm/protocol/lock.rs"]
pub(crate) mod lock;
#[path = "../../src/shm/protocol/place.rs"]
pub(crate) mod place;
#[path = "../../src/shm/protocol/ring.rs"]
pub(crate) mod ring;
#[path = "../../src/shm/protocol/sequence.rs"]
pub(crate) mod sequence;

pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use shm_layout::index::PLACES;

/// `shm_layout::index::Group`, of other atomics.
pub(crate) struct Group {
    pub(crate) tags: [AtomicU64; 2],
    pub(crate) rows: [AtomicU32; PLACES],
    pub(crate) counts: AtomicU32,
}

/// Here the writer has the barrier that the closer's `membarrier` gives it.
pub(crate) fn compiler_fence(order: Ordering) {
    fence(order);
}
