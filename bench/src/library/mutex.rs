//! What others build in shared memory: a table in a `shared_memory` segment under one `raw_sync` mutex.
//!
//! Open addressing with linear probing at half load, rows in place, the hash that our segments use. A process that dies
//! with the mutex takes the table with it; this is the bound on speed, not a rival in safety.
#![allow(unsafe_code)]

use std::hash::{BuildHasher, BuildHasherDefault};

use raw_sync::locks::{LockImpl, LockInit, Mutex};
use shared_memory::{Shmem, ShmemConf};

use super::{
    keys::Key,
    maps::{Buffer, Copied, Map, ROW},
};

const FREE: u64 = 0;
const USED: u64 = 1;
const TOMBSTONE: u64 = 2;

#[repr(C)]
struct Entry {
    /// [`FREE`], [`USED`] or [`TOMBSTONE`].
    used: u64,
    key: Key,
    row: Copied,
}

/// The table. Processes that are forked after it was made share it.
pub(crate) struct Locked {
    lock: Box<dyn LockImpl>,
    entries: *mut Entry,
    mask: usize,
    out: Buffer,
    _memory: Shmem,
}

impl Locked {
    /// A table for `rows` rows.
    pub(crate) fn new(rows: u32) -> Self {
        let places = (2 * rows as usize).next_power_of_two();
        let bytes = 4096 + places * size_of::<Entry>();
        let memory = ShmemConf::new().size(bytes).create().expect("a segment");
        let base = memory.as_ptr();
        // SAFETY: the first page of the segment is for the lock, which is much smaller.
        let entries = unsafe { base.add(4096) };
        // SAFETY: nobody else knows the segment.
        let (lock, _) = unsafe { Mutex::new(base, entries) }.expect("a fresh lock");
        Self { lock, entries: entries.cast(), mask: places - 1, out: Buffer::default(), _memory: memory }
    }

    /// The place that a key has or had, or the free one where it would stand. The caller holds the lock.
    #[inline(always)]
    fn place(&self, key: &Key) -> *mut Entry {
        let hasher = BuildHasherDefault::<rapidhash::fast::RapidHasher<'static>>::new();
        let mut at = hasher.hash_one(&key[..]) as usize & self.mask;
        loop {
            // SAFETY: the mask keeps the place within the segment.
            let entry = unsafe { self.entries.add(at) };
            // SAFETY: the lock is held, so nobody writes.
            let found = unsafe { &*entry };
            if found.used == FREE || found.key == *key {
                return entry;
            }
            at = (at + 1) & self.mask;
        }
    }

    #[inline(always)]
    fn locked<T>(&self, key: &Key, body: impl FnOnce(&mut Entry) -> T) -> T {
        let _guard = self.lock.lock().expect("its owner lives");
        // SAFETY: the lock is held, and the place lies in the segment.
        body(unsafe { &mut *self.place(key) })
    }
}

impl Map for Locked {
    #[inline]
    fn get(&mut self, key: &Key) -> bool {
        let mut out = [0; ROW];
        let found = self.locked(key, |entry| {
            out = entry.row;
            entry.used == USED
        });
        self.out.0 = out;
        std::hint::black_box(&self.out.0);
        found
    }

    #[cfg(test)]
    fn copied(&self) -> Copied {
        self.out.0
    }

    #[inline]
    fn set(&mut self, key: &Key, row: &Copied) {
        self.locked(key, |entry| (entry.used, entry.key, entry.row) = (USED, *key, *row));
    }

    #[inline]
    fn incr(&mut self, key: &Key) -> i64 {
        self.locked(key, |entry| {
            let (n, _) = entry.row.split_first_chunk_mut::<8>().expect("a row has 64 bytes");
            *n = (i64::from_le_bytes(*n) + 1).to_le_bytes();
            i64::from_le_bytes(*n)
        })
    }

    fn cas(&mut self, key: &Key, expected: i64, new: i64) -> bool {
        self.locked(key, |entry| {
            let (n, _) = entry.row.split_first_chunk_mut::<8>().expect("a row has 64 bytes");
            let equal = i64::from_le_bytes(*n) == expected;
            if equal {
                *n = new.to_le_bytes();
            }
            equal
        })
    }

    /// Leaves a tombstone, where the key finds its place again.
    fn remove(&mut self, key: &Key) -> bool {
        self.locked(key, |entry| {
            let was = entry.used == USED;
            if was {
                entry.used = TOMBSTONE;
            }
            was
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::{keys::key, maps::row};

    /// Tombstones were not used again, so that in the end no place was free and a search did not end.
    #[test]
    fn deleted_rows_do_not_fill_the_table() {
        let mut table = Locked::new(10);
        for n in 0..1000 {
            let key = key(n % 10);
            table.remove(&key);
            table.set(&key, &row(u64::from(n)));
        }
        assert!(!table.get(&key(10)) && table.get(&key(9)));
        assert!(table.remove(&key(9)) && !table.remove(&key(9)) && !table.get(&key(9)));
    }
}
