//! Messages between workers, in the segment.

use super::SharedStore;
use crate::{
    shm::Taken,
    store::{Bus, Received, Targets},
};

impl Bus for SharedStore {
    fn workers(&self) -> usize {
        self.bus.workers()
    }

    fn longest(&self) -> usize {
        self.bus.longest()
    }

    fn send(&self, from: usize, to: Targets, message: &[u8]) -> u64 {
        self.bus.send(from, &to.words(), message)
    }

    fn end(&self, ring: usize) -> u64 {
        self.bus.end(ring)
    }

    fn receive(&self, ring: usize, cursor: &mut u64, message: &mut Vec<u8>) -> Received {
        match self.bus.take(ring, cursor, message) {
            Taken::Nothing => Received::Nothing,
            Taken::Message(words) => Received::Message(Targets::from_words(words)),
            Taken::Lost => Received::Lost,
        }
    }

    fn tell(&self, worker: usize, wake: &mut dyn FnMut()) {
        self.bus.tell(worker, wake);
    }

    fn is_told(&self, worker: usize) -> bool {
        self.bus.is_told(worker)
    }

    fn listen(&self, worker: usize) {
        self.bus.listen(worker);
    }

    fn patterns_version(&self) -> u64 {
        self.bus.patterns_version()
    }

    fn patterns_changed(&self) {
        self.bus.patterns_changed();
    }
}
