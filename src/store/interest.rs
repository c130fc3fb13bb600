//! Interest: shared words in which workers tell each other who wants to be told of what.
//!
//! A client that listens is noted by its worker before its request is answered; a writer looks for such notes after its write. Both
//! put a full fence between their store and their load, so that one of the two sees the other: a client that caches a
//! key reads the new value, or its worker is told that the key has changed. Nothing here decides anything about data.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::Targets;

/// What clients listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Changes of keys that they have read.
    Tracking,
    /// Changes of all keys with some prefix.
    Broadcast,
    /// Every command.
    Monitors,
    /// Events of keys, over HTTP.
    Watchers,
}

impl Audience {
    const ALL: [Self; 4] = [Self::Tracking, Self::Broadcast, Self::Monitors, Self::Watchers];
}

/// Who wants to be told of a change of some key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listeners {
    /// Classes of key events that are published.
    pub classes: u32,
    /// Workers with a client that may cache this very key.
    pub cached: u64,
    /// Workers with a client that follows a prefix.
    pub broadcast: u64,
    /// Workers with an HTTP client that watches keys.
    pub watched: u64,
}

impl Listeners {
    /// Whether anybody at all wants to be told.
    #[must_use]
    pub fn is_any(self) -> bool {
        self != Self::default()
    }
}

/// A key that went without being asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// Its database.
    pub db: u8,
    /// The key.
    pub key: Vec<u8>,
    /// It had to make room; otherwise its time had passed.
    pub evicted: bool,
}

/// Keys that went without being asked to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Departures {
    /// In the order in which they went.
    pub keys: Vec<Departed>,
    /// There were more than are told of.
    pub lost: bool,
}

/// The shared words of a store.
#[derive(Clone, Copy)]
pub struct Interest<'a> {
    /// Goes up whenever a setting was changed.
    pub settings_version: &'a AtomicU64,
    /// The classes of key events that are published.
    pub event_classes: &'a AtomicU64,
    /// For each [`Audience`], in the order of its variants, the workers that have such clients.
    pub audiences: [&'a AtomicU64; 4],
    /// For the hash of a key, modulo their number, the workers with a client that caches such a key.
    pub buckets: &'a [AtomicU64],
}

impl<'a> Interest<'a> {
    fn bucket(&self, hash: u64) -> &'a AtomicU64 {
        &self.buckets[self.bucket_of(hash)]
    }

    fn mask(&self, audience: Audience) -> &'a AtomicU64 {
        self.audiences[audience as usize]
    }

    /// Everybody's bits and settings away. For a master before it has workers.
    pub fn clear(&self) {
        self.event_classes.store(0, Ordering::Relaxed);
        self.audiences.iter().for_each(|mask| mask.store(0, Ordering::Relaxed));
        self.buckets.iter().for_each(|mask| mask.store(0, Ordering::Relaxed));
    }

    /// Takes away what an earlier process of this worker noted.
    pub fn forget(&self, worker: usize) {
        Audience::ALL.into_iter().for_each(|audience| self.leave(audience, worker));
        self.buckets.iter().for_each(|mask| withdraw(mask, worker));
    }

    /// Notes that this worker has clients that listen. Every change after this is told of.
    pub fn join(&self, audience: Audience, worker: usize) {
        note(self.mask(audience), worker);
        // SeqCst: pairs with the fence in `listeners`.
        fence(Ordering::SeqCst);
    }

    /// Notes that this worker has no such clients any more.
    pub fn leave(&self, audience: Audience, worker: usize) {
        withdraw(self.mask(audience), worker);
    }

    /// The workers that have such clients, as bits; all workers from the 64th on have one together.
    #[must_use]
    pub fn audience(&self, audience: Audience) -> u64 {
        self.mask(audience).load(Ordering::Relaxed)
    }

    /// Notes that a client of this worker caches keys with this hash. What the worker reads afterwards is the new value, or
    /// the writer sees the note.
    pub fn cache(&self, hash: u64, worker: usize) {
        note(self.bucket(hash), worker);
        // SeqCst: pairs with the fence in `listeners`.
        fence(Ordering::SeqCst);
    }

    /// Notes that no client of this worker caches a key of this bucket.
    pub fn uncache(&self, hash: u64, worker: usize) {
        withdraw(self.bucket(hash), worker);
    }

    /// Number of the bucket in which this hash falls.
    #[must_use]
    pub fn bucket_of(&self, hash: u64) -> usize {
        hash as usize % self.buckets.len()
    }

    /// Who wants to be told of what was just changed; `hash` is asked for the key's hash if it matters. A fence and a load if nobody does.
    #[must_use]
    pub fn listeners(&self, hash: impl FnOnce() -> u64) -> Listeners {
        // SeqCst: pairs with the fence in `cache`: the write before it, or the note, is seen by the other side.
        fence(Ordering::SeqCst);
        let tracked = self.audience(Audience::Tracking) != 0;
        Listeners {
            classes: self.event_classes(),
            cached: if tracked { self.bucket(hash()).load(Ordering::Relaxed) } else { 0 },
            broadcast: self.audience(Audience::Broadcast),
            watched: self.audience(Audience::Watchers),
        }
    }

    /// Whether anybody may want to be told of changes of keys.
    #[must_use]
    #[inline]
    pub fn is_listened_to(&self) -> bool {
        let audiences = [Audience::Tracking, Audience::Broadcast, Audience::Watchers];
        self.event_classes() != 0 || audiences.into_iter().any(|audience| self.audience(audience) != 0)
    }

    /// The classes of key events that are published.
    #[must_use]
    pub fn event_classes(&self) -> u32 {
        self.event_classes.load(Ordering::Relaxed) as u32
    }

    /// Chooses the classes of key events that are published, at once for all workers.
    pub fn set_event_classes(&self, classes: u32) {
        self.event_classes.store(u64::from(classes), Ordering::SeqCst);
    }

    /// A number that changes when a setting was changed.
    #[must_use]
    pub fn settings_version(&self) -> u64 {
        // Acquire: whoever sees the new number finds the new settings.
        self.settings_version.load(Ordering::Acquire)
    }

    /// Makes all workers look at the settings again.
    pub fn note_settings(&self) {
        // Release: pairs with the load in `settings_version`.
        self.settings_version.fetch_add(1, Ordering::Release);
    }
}

/// Bits of workers that have one for themselves.
const OWN_BITS: usize = 63;

/// The workers that a mask of so many workers stands for.
#[must_use]
pub fn workers_of(mask: u64, workers: usize) -> Targets {
    let mut targets = Targets::NONE;
    (0..workers).filter(|&worker| mask & bit(worker) != 0).for_each(|worker| targets.insert(worker));
    targets
}

fn bit(worker: usize) -> u64 {
    1 << worker.min(OWN_BITS)
}

fn note(word: &AtomicU64, worker: usize) {
    if word.load(Ordering::Relaxed) & bit(worker) == 0 {
        word.fetch_or(bit(worker), Ordering::SeqCst);
    }
}

/// Takes a worker's bit away, unless it is one that others use too: that one stays.
fn withdraw(word: &AtomicU64, worker: usize) {
    if worker < OWN_BITS && word.load(Ordering::Relaxed) & bit(worker) != 0 {
        word.fetch_and(!bit(worker), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..70).map(|_| AtomicU64::new(0)).collect()
    }

    fn interest(words: &[AtomicU64]) -> Interest<'_> {
        let [settings_version, event_classes, a, b, c, d, buckets @ ..] = words else { unreachable!() };
        Interest { settings_version, event_classes, audiences: [a, b, c, d], buckets }
    }

    #[test]
    fn nobody_is_told_until_somebody_listens() {
        let words = words();
        let interest = interest(&words);
        assert!(!interest.is_listened_to() && !interest.listeners(|| panic!("nobody caches")).is_any());
        interest.join(Audience::Tracking, 1);
        assert!(interest.is_listened_to() && !interest.listeners(|| 5).is_any());
        interest.cache(5, 1);
        assert_eq!((interest.listeners(|| 5).cached, interest.listeners(|| 6).cached), (0b10, 0));
        interest.uncache(5, 1);
        assert!(!interest.listeners(|| 5).is_any());
    }

    #[test]
    fn a_new_process_of_a_worker_takes_its_own_notes_away_alone() {
        let words = words();
        let interest = interest(&words);
        for worker in [0, 1, 63, 200] {
            interest.join(Audience::Monitors, worker);
            interest.cache(9, worker);
        }
        assert_eq!(interest.audience(Audience::Monitors), 0b11 | 1 << 63);
        interest.forget(1);
        interest.forget(200);
        assert_eq!(interest.audience(Audience::Monitors), 0b01 | 1 << 63);
        interest.clear();
        assert_eq!(interest.audience(Audience::Monitors), 0);
    }

    #[test]
    fn a_mask_stands_for_workers() {
        assert_eq!(workers_of(0b101, 4).iter().collect::<Vec<_>>(), [0, 2]);
        assert_eq!(workers_of(1 << 63, 65).iter().collect::<Vec<_>>(), [63, 64]);
        assert!(workers_of(u64::MAX, 0).is_empty());
    }

    #[test]
    fn settings_reach_every_view_of_the_board() {
        let words = words();
        let before = interest(&words).settings_version();
        interest(&words).set_event_classes(7);
        interest(&words).note_settings();
        assert_eq!((interest(&words).event_classes(), interest(&words).settings_version()), (7, before + 1));
    }
}
