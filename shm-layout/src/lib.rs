//! Where each byte of a store-master segment is, and what it means.
//!
//! This crate owns sizes, offsets and constants; it does no I/O, waits for nothing and owns no mapping. Every struct
//! here is made of atomics and zeroed reserves only, so that any bytes are a valid value, all zeros are the valid
//! empty state, and two processes that look at one struct race on atomics and on nothing else. `docs/segment.md` draws the map.
#![no_std]

pub mod bus;
mod check;
pub mod directory;
pub mod eviction;
pub mod fields;
pub mod header;
pub mod heap;
pub mod index;
pub mod interest;
pub mod keys;
pub mod limits;
pub mod row;
pub mod slot;
pub mod stats;
pub mod table;
pub mod tally;

/// Identifies a table, the counters or the key-value space: all three are rows under an index.
pub type SpaceId = u32;

/// The space of the counters; table spaces are numbered by their place in the directory.
pub const COUNTERS_SPACE: SpaceId = directory::ENTRIES as u32;
/// The key-value space.
pub const KEYS_SPACE: SpaceId = COUNTERS_SPACE + 1;

/// Rounds `bytes` up to a multiple of `to`, a power of two.
#[must_use]
pub const fn round_up(bytes: u64, to: u64) -> u64 {
    (bytes + to - 1) & !(to - 1)
}
