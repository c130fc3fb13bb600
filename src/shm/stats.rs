//! Statistics: cells of the worker index, so that they outlive a worker and go on in its replacement.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use shm_layout::stats::{CELLS, SET_BYTES};

use super::segment::Segment;

/// The statistics of a segment, and which set this process writes.
pub struct StatCells {
    segment: Segment,
    /// 0: the set that library processes share.
    own: AtomicU32,
}

impl StatCells {
    /// The statistics of `segment`; the process writes the set that library processes share.
    #[must_use]
    pub fn new(segment: &Segment) -> Self {
        Self { segment: segment.clone(), own: AtomicU32::new(0) }
    }

    /// Chooses the set that this process writes.
    pub fn select(&self, worker: Option<usize>) {
        let set = worker.filter(|&index| index < self.workers()).map_or(0, |index| index as u32 + 1);
        self.own.store(set, Ordering::Relaxed);
    }

    /// Workers, that is, sets besides the shared one.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.segment.workers()
    }

    fn cell(&self, set: usize, cell: usize) -> &AtomicU64 {
        assert!(cell < CELLS && set <= self.workers());
        let at = self.segment.geometry().stats_at + set as u64 * SET_BYTES + 8 * cell as u64;
        self.segment.mem().word(at)
    }

    /// A cell of the process's own set.
    #[must_use]
    pub fn own(&self, cell: usize) -> &AtomicU64 {
        self.cell(self.own.load(Ordering::Relaxed) as usize, cell)
    }

    /// Sets a cell of every set back to 0.
    pub fn reset(&self, cell: usize) {
        (0..=self.workers()).for_each(|set| self.cell(set, cell).store(0, Ordering::Relaxed));
    }

    /// A cell of worker `index`; 0 if there is no such worker.
    #[must_use]
    pub fn worker(&self, index: usize, cell: usize) -> u64 {
        if index < self.workers() { self.cell(index + 1, cell).load(Ordering::Relaxed) } else { 0 }
    }

    /// The sum over all workers, and with `shared` over library processes too.
    #[must_use]
    pub fn sum(&self, cell: usize, shared: bool) -> u64 {
        (usize::from(!shared)..=self.workers())
            .map(|set| self.cell(set, cell).load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }
}
