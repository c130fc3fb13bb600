//! Messages between workers that are threads of this process.

use std::{collections::VecDeque, sync::Mutex};

use super::lock;
use crate::store::{Bus, Received, Targets};

/// Messages that a ring keeps.
const KEPT: usize = 1024;
/// Bytes of the longest message.
const LONGEST: usize = 32 * 1024;

pub(super) struct MemoryBus {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rings: Vec<Ring>,
    told: Vec<bool>,
    patterns_version: u64,
}

/// The last messages; the first of them has number `forgotten`.
#[derive(Default)]
struct Ring {
    forgotten: u64,
    messages: VecDeque<(Targets, Vec<u8>)>,
}

impl Ring {
    fn end(&self) -> u64 {
        self.forgotten + self.messages.len() as u64
    }
}

impl MemoryBus {
    pub(super) fn new(workers: usize) -> Self {
        let rings = (0..workers).map(|_| Ring::default()).collect();
        Self { state: Mutex::new(State { rings, told: vec![false; workers], patterns_version: 0 }) }
    }
}

impl Bus for MemoryBus {
    fn workers(&self) -> usize {
        lock(&self.state).rings.len()
    }

    fn longest(&self) -> usize {
        LONGEST
    }

    fn send(&self, from: usize, to: Targets, message: &[u8]) -> u64 {
        let ring = &mut lock(&self.state).rings[from];
        if ring.messages.len() == KEPT {
            ring.messages.pop_front();
            ring.forgotten += 1;
        }
        ring.messages.push_back((to, message.to_vec()));
        ring.end() / (KEPT as u64 / 4)
    }

    fn end(&self, ring: usize) -> u64 {
        lock(&self.state).rings[ring].end()
    }

    fn receive(&self, ring: usize, cursor: &mut u64, message: &mut Vec<u8>) -> Received {
        let ring = &lock(&self.state).rings[ring];
        let Some(place) = cursor.checked_sub(ring.forgotten) else {
            *cursor = ring.end();
            return Received::Lost;
        };
        let Some((targets, bytes)) = ring.messages.get(place as usize) else { return Received::Nothing };
        message.clone_from(bytes);
        *cursor += 1;
        Received::Message(*targets)
    }

    fn tell(&self, worker: usize, wake: &mut dyn FnMut()) {
        let knew = std::mem::replace(&mut lock(&self.state).told[worker], true);
        if !knew {
            wake();
        }
    }

    fn is_told(&self, worker: usize) -> bool {
        lock(&self.state).told[worker]
    }

    fn listen(&self, worker: usize) {
        lock(&self.state).told[worker] = false;
    }

    fn patterns_version(&self) -> u64 {
        lock(&self.state).patterns_version
    }

    fn patterns_changed(&self) {
        lock(&self.state).patterns_version += 1;
    }
}
