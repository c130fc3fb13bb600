//! Eviction in the in-memory store: of obvious code, and by no policy but whether anything may go.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::lock;
use crate::store::{KeyUsage, MemoryLimit};

/// When a key was used, in milliseconds of the Unix clock, and how often.
#[derive(Clone, Copy)]
struct Used {
    at_ms: u64,
    frequency: u32,
}

#[derive(Default)]
pub(super) struct Uses {
    limit: Mutex<MemoryLimit>,
    used: Mutex<BTreeMap<(u8, Vec<u8>), Used>>,
    ignored: AtomicBool,
    evicted: AtomicU64,
}

impl Uses {
    pub(super) fn limit(&self) -> MemoryLimit {
        *lock(&self.limit)
    }

    pub(super) fn set_limit(&self, limit: MemoryLimit) {
        *lock(&self.limit) = limit;
    }

    pub(super) fn ignore(&self, ignored: bool) {
        self.ignored.store(ignored, Ordering::Relaxed);
    }

    pub(super) fn touch(&self, db: u8, key: &[u8], now_ms: u64) {
        if !self.ignored.load(Ordering::Relaxed) {
            let frequency = self.get(db, key, now_ms).frequency.saturating_add(1).min(255);
            lock(&self.used).insert((db, key.to_vec()), Used { at_ms: now_ms, frequency });
        }
    }

    pub(super) fn set(&self, db: u8, key: &[u8], now_ms: u64, idle_seconds: Option<u64>, frequency: Option<u32>) {
        let at_ms = now_ms.saturating_sub(idle_seconds.unwrap_or(0).saturating_mul(1000));
        let frequency = frequency.unwrap_or_else(|| self.get(db, key, now_ms).frequency);
        lock(&self.used).insert((db, key.to_vec()), Used { at_ms, frequency });
    }

    /// A key is gone: if it comes back, it is new.
    pub(super) fn forget(&self, db: u8, key: &[u8]) {
        lock(&self.used).remove(&(db, key.to_vec()));
    }

    /// A key that nobody said anything of was used just now.
    pub(super) fn get(&self, db: u8, key: &[u8], now_ms: u64) -> KeyUsage {
        let used = lock(&self.used).get(&(db, key.to_vec())).copied().unwrap_or(Used { at_ms: now_ms, frequency: 0 });
        KeyUsage { frequency: used.frequency, idle_seconds: now_ms.saturating_sub(used.at_ms) / 1000 }
    }

    pub(super) fn count_eviction(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}
