//! The statistics of the in-memory store.

use std::sync::{Mutex, atomic::AtomicU64};

use super::lock;
use crate::store::{
    Stat, Statistics,
    tally::{self, Tally},
};

type Cells = [u64; Stat::ALL.len()];

pub(super) struct MemoryStatistics {
    state: Mutex<State>,
    tallies: Vec<Vec<AtomicU64>>,
}

struct State {
    workers: Vec<Cells>,
    library: Cells,
    selected: Option<usize>,
}

impl State {
    fn own(&mut self, stat: Stat) -> &mut u64 {
        let cells = self.selected.and_then(|index| self.workers.get_mut(index)).unwrap_or(&mut self.library);
        &mut cells[stat as usize]
    }
}

impl MemoryStatistics {
    pub(super) fn new(workers: usize) -> Self {
        let tally = |_| (0..tally::WORDS).map(|_| AtomicU64::new(0)).collect();
        let tallies = (0..workers).map(tally).collect();
        let workers = vec![[0; Stat::ALL.len()]; workers];
        Self { tallies, state: Mutex::new(State { workers, library: [0; Stat::ALL.len()], selected: None }) }
    }
}

impl Statistics for MemoryStatistics {
    fn workers(&self) -> usize {
        lock(&self.state).workers.len()
    }

    fn add(&self, stat: Stat, by: u64) {
        let mut state = lock(&self.state);
        let cell = state.own(stat);
        *cell = cell.wrapping_add(by);
    }

    fn sub(&self, stat: Stat, by: u64) {
        let mut state = lock(&self.state);
        let cell = state.own(stat);
        *cell = cell.saturating_sub(by);
    }

    fn set(&self, stat: Stat, value: u64) {
        *lock(&self.state).own(stat) = value;
    }

    fn worker(&self, index: usize, stat: Stat) -> u64 {
        lock(&self.state).workers.get(index).map_or(0, |cells| cells[stat as usize])
    }

    fn sum(&self, stat: Stat) -> u64 {
        let state = lock(&self.state);
        let library = if stat.is_total() { state.library[stat as usize] } else { 0 };
        state.workers.iter().map(|cells| cells[stat as usize]).fold(library, u64::wrapping_add)
    }

    fn select(&self, worker: Option<usize>) {
        lock(&self.state).selected = worker;
    }

    fn reset(&self, stat: Stat) {
        let mut state = lock(&self.state);
        state.workers.iter_mut().for_each(|cells| cells[stat as usize] = 0);
        state.library[stat as usize] = 0;
    }

    fn tally(&self, worker: usize) -> Tally<'_> {
        Tally::new(&self.tallies[worker])
    }

    fn recoveries(&self) -> u64 {
        0
    }
}
