//! What a segment is asked to be, and the geometry that follows from it.

use shm_layout::{
    header::{Geometry, Request},
    heap,
};

use super::error::SegmentError;

/// Counters that a segment has if nobody says otherwise.
const DEFAULT_COUNTERS: u64 = 4096;
/// Bytes of the segment for each key that it has room for if nobody says otherwise.
const BYTES_PER_KEY: u64 = 64;

/// What a segment is asked to be.
#[derive(Debug, Clone)]
pub struct SegmentOptions {
    memory: u64,
    workers: usize,
    counters: u64,
    max_keys: u64,
    pub(super) name: Option<String>,
    pub(super) mode: u32,
    pub(super) fresh: bool,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SegmentOptions {
    /// 256 MiB, anonymous, for one worker.
    #[must_use]
    pub fn new() -> Self {
        Self {
            memory: 256 << 20,
            workers: 1,
            counters: DEFAULT_COUNTERS,
            max_keys: 0,
            name: None,
            mode: 0o600,
            fresh: false,
        }
    }

    /// Bytes of the whole segment.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Workers of the master, 1 to 256.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many counters there can be.
    #[must_use]
    pub fn counters(mut self, counters: u64) -> Self {
        self.counters = counters;
        self
    }

    /// How many keys the key-value space can hold; 0: one for every 64 bytes of memory.
    #[must_use]
    pub fn max_keys(mut self, keys: u64) -> Self {
        self.max_keys = keys;
        self
    }

    /// Backs the segment with `/dev/shm/NAME`.
    #[must_use]
    pub fn name(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    /// Permissions of a named segment.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Throws away what a named segment holds, whatever it is, unless it is in use.
    #[must_use]
    pub fn fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }

    pub(super) fn geometry(&self) -> Result<Geometry, SegmentError> {
        let max = heap::MAX_SEGMENT_BYTES;
        if self.memory > max {
            return Err(SegmentError::TooLarge { memory: self.memory, max });
        }
        self.geometry_with(self.memory).map_err(|mut needed| {
            // What is needed grows a little with the memory itself: up to the figure with which it fits.
            while let Err(more) = self.geometry_with(needed) {
                needed = more.max(needed + heap::PAGE_BYTES);
            }
            SegmentError::TooSmall { memory: self.memory, needed }
        })
    }

    fn geometry_with(&self, memory: u64) -> Result<Geometry, u64> {
        let bound = |number: u64| number.clamp(1, u64::from(u32::MAX) - 1);
        let keys = if self.max_keys == 0 { memory / BYTES_PER_KEY } else { self.max_keys };
        Geometry::new(Request {
            memory,
            workers: self.workers.clamp(1, shm_layout::limits::MAX_WORKERS) as u32,
            counters: bound(self.counters),
            max_keys: bound(keys),
        })
    }
}
