//! A map from keys to values, of which each entry has an expiry and a number.
//!
//! The number is what a cursor counts: an entry keeps it for as long as it exists, so a scan that goes up the numbers
//! meets every entry that stays exactly once. Numbers of removed entries are used again, smallest first, so that they
//! stay small and a scan ends even while others insert.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::{Expiry, Ttl};

/// A value with its key and expiry.
#[derive(Clone)]
pub(super) struct Entry<T> {
    pub(super) key: Vec<u8>,
    pub(super) value: T,
    pub(super) expires_at: Option<u64>,
}

/// The map.
#[derive(Clone)]
pub(super) struct Entries<T> {
    numbers: BTreeMap<Vec<u8>, u64>,
    entries: BTreeMap<u64, Entry<T>>,
    /// Numbers from 1 up to the number of entries ever held at once that no entry has.
    free: BTreeSet<u64>,
    /// How often each key was written or deleted, whether it is there or not.
    touched: BTreeMap<Vec<u8>, u64>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { numbers: BTreeMap::new(), entries: BTreeMap::new(), free: BTreeSet::new(), touched: BTreeMap::new() }
    }
}

impl<T> Entries<T> {
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Entry<T>> {
        self.entries.get(self.numbers.get(key)?)
    }

    /// How often a key was touched.
    pub(super) fn touches(&self, key: &[u8]) -> u64 {
        self.touched.get(key).copied().unwrap_or(0)
    }

    fn touch(&mut self, key: &[u8]) {
        *self.touched.entry(key.to_vec()).or_insert(0) += 1;
    }

    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry<T>> {
        self.touch(key);
        self.entries.get_mut(self.numbers.get(key)?)
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.numbers.contains_key(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry<T>> {
        self.entries.values()
    }

    pub(super) fn ttl(&self, key: &[u8]) -> Ttl {
        self.get(key).map_or(Ttl::Missing, |entry| Ttl::present(entry.expires_at))
    }

    /// The entry of `key`; if there is none, a new one that never expires.
    pub(super) fn entry(&mut self, key: &[u8], new: impl FnOnce() -> T) -> &mut Entry<T> {
        self.touch(key);
        let number = match self.numbers.get(key) {
            Some(&number) => number,
            None => self.free.pop_first().unwrap_or(self.len() + 1),
        };
        self.numbers.insert(key.to_vec(), number);
        self.entries.entry(number).or_insert_with(|| Entry { key: key.to_vec(), value: new(), expires_at: None })
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Entry<T>> {
        self.touch(key);
        self.take(key)
    }

    fn take(&mut self, key: &[u8]) -> Option<Entry<T>> {
        let number = self.numbers.remove(key)?;
        self.free.insert(number);
        self.entries.remove(&number)
    }

    pub(super) fn clear(&mut self) {
        let keys: Vec<_> = self.numbers.keys().cloned().collect();
        keys.iter().for_each(|key| drop(self.remove(key)));
    }

    /// Removes `key` if it has expired; returns how many that were.
    pub(super) fn free_expired(&mut self, key: &[u8], now_ms: u64) -> usize {
        let expired = self.get(key).is_some_and(|entry| Expiry::has_passed(entry.expires_at, now_ms));
        usize::from(expired && self.take(key).is_some())
    }

    /// Removes everything that has expired; returns how many that were.
    pub(super) fn free_all_expired(&mut self, now_ms: u64) -> usize {
        let expired = self.iter().filter(|entry| Expiry::has_passed(entry.expires_at, now_ms));
        let keys: Vec<_> = expired.map(|entry| entry.key.clone()).collect();
        keys.iter().for_each(|key| drop(self.take(key)));
        keys.len()
    }

    /// Up to `count` entries that have not expired, from `cursor` on, and the cursor behind them (0: that was all).
    pub(super) fn page(&self, cursor: u64, count: usize, now_ms: u64) -> (u64, Vec<&Entry<T>>) {
        let mut page = Vec::new();
        for (&number, entry) in self.entries.range(cursor..) {
            if page.len() >= count {
                return (number, page);
            }
            if !Expiry::has_passed(entry.expires_at, now_ms) {
                page.push(entry);
            }
        }
        (0, page)
    }
}
