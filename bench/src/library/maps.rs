//! The maps that are measured, ours and its rivals, behind one trait: keys of 16 bytes, rows of 64 of which the first eight are a number.
//!
//! All rivals own their keys as bytes and hash them with the function that our segments use, which is faster than the ones they
//! come with: nobody is slow for the sake of a hash.

use std::{
    hash::BuildHasherDefault,
    hint::black_box,
    sync::{
        RwLock,
        atomic::{AtomicI64, Ordering},
    },
};

use store_master::{
    Column, Row, Segment, SegmentOptions, Store, Table,
    store::{Condition, Expiry, TableSpec, Value, ValueRef},
};

use super::keys::{Key, key};

/// Bytes of a row.
pub(crate) const ROW: usize = 64;
/// A row, copied out.
pub(crate) type Copied = [u8; ROW];

type Hasher = BuildHasherDefault<rapidhash::fast::RapidHasher<'static>>;

/// What every map can do. Each method is one operation of the benches.
pub(crate) trait Map {
    /// Copies a row out, to where it stays until the next call; whether there is one.
    fn get(&mut self, key: &Key) -> bool;
    /// What was copied last.
    #[cfg(test)]
    fn copied(&self) -> Copied;
    /// Writes a whole row, which may be new.
    fn set(&mut self, key: &Key, row: &Copied);
    /// Adds 1 to the number of a row that is there.
    fn incr(&mut self, key: &Key) -> i64;
    /// Sets the number of a row that is there, if it is `expected`; whether it was.
    fn cas(&mut self, key: &Key, expected: i64, new: i64) -> bool;
    /// Deletes a row.
    fn remove(&mut self, key: &Key) -> bool;
}

/// A row whose number is `n`, with other bytes that depend on it.
#[inline(always)]
pub(crate) fn row(n: u64) -> Copied {
    let mut row = [n as u8 | 1; ROW];
    row[..8].copy_from_slice(&n.to_le_bytes());
    row
}

/// Fills a map.
pub(crate) fn fill(map: &mut impl Map, rows: u32) {
    (0..rows).for_each(|i| map.set(&key(i), &row(u64::from(i))));
}

/// Our table, through its handle.
#[derive(Clone)]
pub(crate) struct Ours {
    /// The table.
    pub(crate) table: Table,
    row: Row,
}

/// Columns of 8 and 2 + 54 bytes.
pub(crate) fn columns() -> Vec<Column> {
    vec![Column::int("n"), Column::string("rest", 54)]
}

impl Ours {
    /// A table of `rows` rows in a segment of its own.
    pub(crate) fn new(rows: u32) -> Self {
        let memory = 256 * u64::from(rows) + (64 << 20);
        let options = SegmentOptions::new().memory(memory).max_keys(1000);
        let store = Store::open(Segment::create(options).expect("there is memory")).expect("a process that may write");
        let spec = TableSpec { rows: u64::from(rows), key_bytes: 16, columns: columns() };
        let table = store.make_spec("bench", spec).expect("the table fits").0;
        Self { row: table.row(), table }
    }
}

impl Map for Ours {
    #[inline]
    fn get(&mut self, key: &Key) -> bool {
        self.table.read(key, &mut self.row).expect("the table is there")
    }

    #[cfg(test)]
    fn copied(&self) -> Copied {
        let mut out = [0; ROW];
        if let (ValueRef::Int(n), ValueRef::Bytes(rest)) = (self.row.get(0), self.row.get(1)) {
            out[..8].copy_from_slice(&n.to_le_bytes());
            out[8..8 + rest.len()].copy_from_slice(rest);
        }
        out
    }

    #[inline]
    fn set(&mut self, key: &Key, row: &Copied) {
        let (n, rest) = row.split_first_chunk::<8>().expect("a row has 64 bytes");
        let cells = [(0, ValueRef::Int(i64::from_le_bytes(*n))), (1, ValueRef::Bytes(&rest[..54]))];
        self.table.write(key, &cells, Expiry::Keep, Condition::Always).expect("there is room");
    }

    #[inline]
    fn incr(&mut self, key: &Key) -> i64 {
        match self.table.add_cell(key, 0, ValueRef::Int(1)) {
            Ok(Value::Int(n)) => n,
            other => panic!("incr: {other:?}"),
        }
    }

    #[inline]
    fn cas(&mut self, key: &Key, expected: i64, new: i64) -> bool {
        let outcome = self.table.cas(key, &[(0, ValueRef::Int(expected))], &[(0, ValueRef::Int(new))]);
        outcome.expect("the table is there") == Some(true)
    }

    #[inline]
    fn remove(&mut self, key: &Key) -> bool {
        self.table.delete(key).expect("the table is there")
    }
}

/// Where rows are copied to.
pub(crate) struct Buffer(pub(crate) Copied);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; ROW])
    }
}

/// A row of the maps that live in one process.
pub(crate) struct Cells {
    n: AtomicI64,
    rest: [u8; ROW - 8],
}

impl Cells {
    fn new(row: &Copied) -> Self {
        let (n, rest) = row.split_first_chunk::<8>().expect("a row has 64 bytes");
        Self { n: AtomicI64::new(i64::from_le_bytes(*n)), rest: *rest.first_chunk().expect("the rest of a row") }
    }

    fn copy(&self, Buffer(out): &mut Buffer) {
        out[..8].copy_from_slice(&self.n.load(Ordering::Relaxed).to_le_bytes());
        out[8..].copy_from_slice(&self.rest);
        black_box(out);
    }

    fn incr(&self) -> i64 {
        self.n.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn cas(&self, expected: i64, new: i64) -> bool {
        self.n.compare_exchange(expected, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// `hashbrown` under the standard library's lock for many readers or one writer.
#[derive(Default)]
pub(crate) struct Hashbrown {
    map: RwLock<hashbrown::HashMap<Box<[u8]>, Cells, Hasher>>,
    out: Buffer,
}

impl Map for Hashbrown {
    fn get(&mut self, key: &Key) -> bool {
        self.map.read().expect("no panic").get(&key[..]).map(|row| row.copy(&mut self.out)).is_some()
    }

    #[cfg(test)]
    fn copied(&self) -> Copied {
        self.out.0
    }

    fn set(&mut self, key: &Key, row: &Copied) {
        let mut map = self.map.write().expect("no panic");
        match map.get_mut(&key[..]) {
            Some(old) => *old = Cells::new(row),
            None => drop(map.insert(Box::from(&key[..]), Cells::new(row))),
        }
    }

    fn incr(&mut self, key: &Key) -> i64 {
        self.map.read().expect("no panic").get(&key[..]).map_or(0, Cells::incr)
    }

    fn cas(&mut self, key: &Key, expected: i64, new: i64) -> bool {
        self.map.read().expect("no panic").get(&key[..]).is_some_and(|row| row.cas(expected, new))
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.map.write().expect("no panic").remove(&key[..]).is_some()
    }
}

/// DashMap: a map in parts, each under a lock of its own.
#[derive(Default)]
pub(crate) struct DashMap {
    map: dashmap::DashMap<Box<[u8]>, Cells, Hasher>,
    out: Buffer,
}

impl Map for DashMap {
    fn get(&mut self, key: &Key) -> bool {
        self.map.get(&key[..]).map(|row| row.copy(&mut self.out)).is_some()
    }

    #[cfg(test)]
    fn copied(&self) -> Copied {
        self.out.0
    }

    fn set(&mut self, key: &Key, row: &Copied) {
        match self.map.get_mut(&key[..]) {
            Some(mut old) => *old = Cells::new(row),
            None => drop(self.map.insert(Box::from(&key[..]), Cells::new(row))),
        }
    }

    fn incr(&mut self, key: &Key) -> i64 {
        self.map.get(&key[..]).map_or(0, |row| row.incr())
    }

    fn cas(&mut self, key: &Key, expected: i64, new: i64) -> bool {
        self.map.get(&key[..]).is_some_and(|row| row.cas(expected, new))
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.map.remove(&key[..]).is_some()
    }
}

/// papaya: reads without a lock, rows replaced as a whole.
#[derive(Default)]
pub(crate) struct Papaya {
    map: papaya::HashMap<Box<[u8]>, Cells, Hasher>,
    out: Buffer,
}

impl Map for Papaya {
    fn get(&mut self, key: &Key) -> bool {
        self.map.pin().get(&key[..]).map(|row| row.copy(&mut self.out)).is_some()
    }

    #[cfg(test)]
    fn copied(&self) -> Copied {
        self.out.0
    }

    fn set(&mut self, key: &Key, row: &Copied) {
        self.map.pin().insert(Box::from(&key[..]), Cells::new(row));
    }

    fn incr(&mut self, key: &Key) -> i64 {
        self.map.pin().get(&key[..]).map_or(0, Cells::incr)
    }

    fn cas(&mut self, key: &Key, expected: i64, new: i64) -> bool {
        self.map.pin().get(&key[..]).is_some_and(|row| row.cas(expected, new))
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.map.pin().remove(&key[..]).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::{lmdb::Lmdb, mutex::Locked};

    fn behaves(mut map: impl Map) {
        fill(&mut map, 100);
        assert!(map.get(&key(7)));
        assert_eq!(map.copied()[..62], row(7)[..62]);
        assert!(!map.get(&key(100)));
        assert_eq!(map.incr(&key(7)), 8);
        assert!(!map.cas(&key(7), 7, 9) && map.cas(&key(7), 8, 9));
        assert_eq!(map.incr(&key(7)), 10);
        map.set(&key(7), &row(70));
        assert!(map.get(&key(7)));
        assert_eq!(map.copied()[..62], row(70)[..62]);
        assert!(map.remove(&key(7)) && !map.get(&key(7)));
        map.set(&key(7), &row(7));
        assert!(map.get(&key(7)));
    }

    #[test]
    fn all_maps_do_the_same() {
        behaves(Ours::new(100));
        behaves(Hashbrown::default());
        behaves(DashMap::default());
        behaves(Papaya::default());
        behaves(Locked::new(100));
        behaves(Lmdb::new(100));
    }
}
