//! Keys that went without anybody asking for it: their time had passed, or they had to make room.
//!
//! A process that tells clients of such keys has them gathered here, while anybody wants to be told; it takes them after each operation.
//! Nothing is gathered under a lock of the segment. What a process that dies had gathered is lost; those who listen learn from the
//! count of recoveries that something may be.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering, fence},
};

use super::{keys::client_db, segment::Segment};

/// Bytes of keys that are gathered at most.
const MAX_BYTES: usize = 4 << 20;

/// A key that went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// Its database.
    pub db: u8,
    /// The key.
    pub key: Vec<u8>,
    /// It had to make room; otherwise its time had passed.
    pub evicted: bool,
}

/// The keys that went, as far as there was room for them.
#[derive(Debug, Default)]
pub struct Gone {
    /// In the order in which they went.
    pub keys: Vec<Departed>,
    /// There were more.
    pub lost: bool,
    bytes: usize,
}

/// What one process has gathered.
#[derive(Default)]
pub(crate) struct Departures {
    wanted: AtomicBool,
    any: AtomicBool,
    gone: Mutex<Gone>,
}

impl Segment {
    /// Has this process gather keys that go. It must take them now and then.
    pub fn gather_departures(&self) {
        self.departures().wanted.store(true, Ordering::Relaxed);
    }

    /// The keys that went since this was last asked; `None` if there are none. One load then.
    #[must_use]
    pub fn take_departures(&self) -> Option<Gone> {
        let departures = self.departures();
        if !departures.any.load(Ordering::Relaxed) {
            return None;
        }
        departures.any.store(false, Ordering::Relaxed);
        departures.gone.try_lock().ok().map(|mut gone| std::mem::take(&mut *gone))
    }

    /// Notes that a key of this database of the records went, if that is of interest to anybody. The caller holds no lock of the segment, but its
    /// flag is up, or it has the gate: the database is told by the number that it has for clients.
    pub(crate) fn depart(&self, records_db: u8, key: Vec<u8>, evicted: bool) {
        let (departures, interest) = (self.departures(), self.interest());
        let listens = |word: &AtomicU64| word.load(Ordering::Relaxed) != 0;
        let audiences = [&interest.event_classes, &interest.tracking, &interest.broadcast, &interest.watchers];
        if !departures.wanted.load(Ordering::Relaxed) {
            return;
        }
        // SeqCst: pairs with the fence of those who join an audience: they read that the key is gone, or are seen here.
        fence(Ordering::SeqCst);
        if !audiences.into_iter().any(listens) {
            return;
        }
        departures.any.store(true, Ordering::Relaxed);
        let db = client_db(self, records_db);
        // Only threads of a library contend for it, and what they lose is told of as lost.
        if let Ok(mut gone) = departures.gone.try_lock() {
            gone.bytes += key.len() + size_of::<Departed>();
            if gone.bytes <= MAX_BYTES {
                gone.keys.push(Departed { db, key, evicted });
            } else {
                gone.lost = true;
            }
        }
    }
}
