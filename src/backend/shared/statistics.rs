//! Statistics in the segment.

use std::sync::atomic::Ordering;

use super::SharedStore;
use crate::store::{
    Stat, Statistics,
    tally::{self, Tally},
};

const _: () = assert!(tally::WORDS <= shm_layout::tally::WORDS);
const _: () = assert!(Stat::ALL.len() <= shm_layout::stats::CELLS);

impl Statistics for SharedStore {
    fn workers(&self) -> usize {
        self.statistics.workers()
    }

    fn add(&self, stat: Stat, by: u64) {
        self.statistics.own(stat as usize).fetch_add(by, Ordering::Relaxed);
    }

    fn sub(&self, stat: Stat, by: u64) {
        self.statistics.own(stat as usize).fetch_sub(by, Ordering::Relaxed);
    }

    fn set(&self, stat: Stat, value: u64) {
        self.statistics.own(stat as usize).store(value, Ordering::Relaxed);
    }

    fn worker(&self, index: usize, stat: Stat) -> u64 {
        self.statistics.worker(index, stat as usize)
    }

    fn sum(&self, stat: Stat) -> u64 {
        self.statistics.sum(stat as usize, stat.is_total())
    }

    fn select(&self, worker: Option<usize>) {
        self.statistics.select(worker);
    }

    fn reset(&self, stat: Stat) {
        self.statistics.reset(stat as usize);
    }

    fn tally(&self, worker: usize) -> Tally<'_> {
        Tally::new(self.segment.tally(worker))
    }

    fn recoveries(&self) -> u64 {
        self.segment.recoveries()
    }
}
