//! The users that all workers share: their rules as text, in a hidden table.
//!
//! A text takes as many rows as it needs, one after the other: the first says how many they are. All of them are written in one step, and
//! read in one; rows that an earlier, longer text has left behind are not looked at. A user that was never changed has no row:
//! `default` is what the settings say.

use std::collections::BTreeMap;

use crate::store::{Cell, Column, Error, Result, Row, Store, Table, TableSpec, ValueRef};

/// Bytes of a user's name.
pub(super) const NAME_BYTES: usize = 120;
/// Bytes of the rules in one row.
const PART_BYTES: usize = 1024;
/// Rows of the longest text.
const MAX_PARTS: usize = 48;
/// Bytes of a user's rules, as ACL LIST shows them.
pub(super) const RULES_BYTES: usize = PART_BYTES * MAX_PARTS;
/// Bytes of the segment for each row of the table.
const SEGMENT_BYTES_PER_ROW: u64 = 128 * 1024;
const MIN_ROWS: u64 = 64;
const MAX_ROWS: u64 = 4096;
/// Rows that one step of reading reads.
const PAGE_ROWS: usize = 256;

const TEXT: usize = 0;
const PARTS: usize = 1;
/// Another number for each time that a user of this name is made.
const MADE: usize = 2;

/// A user as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) rules: Vec<u8>,
    pub(super) made: i64,
}

/// The table of users.
pub(super) struct Roll {
    table: Table,
}

impl Roll {
    /// Makes the table, or finds it.
    pub(super) fn open(store: &Store) -> Result<Self> {
        let rows = (store.memory().0 / SEGMENT_BYTES_PER_ROW).clamp(MIN_ROWS, MAX_ROWS);
        let columns = vec![Column::string("rules", PART_BYTES as u16), Column::int("parts"), Column::int("made")];
        let key_bytes = NAME_BYTES as u16 + 2;
        Ok(Self { table: store.hidden("~users", TableSpec { rows, key_bytes, columns })? })
    }

    /// Forgets all users.
    pub(super) fn clear(&self) -> Result<()> {
        self.table.clear()
    }

    /// Everybody, by name.
    pub(super) fn read(&self) -> Result<BTreeMap<String, Record>> {
        let (mut users, mut cursor) = (BTreeMap::new(), 0);
        loop {
            let page = self.table.scan(cursor, PAGE_ROWS)?;
            for (key, row) in &page.rows {
                let [name @ .., 0, 0] = key.as_slice() else { continue };
                let Ok(name) = std::str::from_utf8(name) else { continue };
                let whole =
                    if parts(row) == 1 { Some(record(std::slice::from_ref(row))) } else { self.read_one(name)? };
                users.extend(whole.map(|record| (name.to_owned(), record)));
            }
            cursor = page.cursor;
            if cursor == 0 {
                return Ok(users);
            }
        }
    }

    /// One user, as of one instant.
    pub(super) fn read_one(&self, name: &str) -> Result<Option<Record>> {
        let Some(first) = self.table.get(key(name, 0))? else { return Ok(None) };
        let mut wanted = parts(&first);
        loop {
            let keys: Vec<Vec<u8>> = (0..wanted).map(|part| key(name, part)).collect();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let rows: Vec<Row> = self.table.mget(&keys)?.into_iter().flatten().collect();
            match rows.first().map(parts) {
                None => return Ok(None),
                Some(parts) if parts == wanted && rows.len() == wanted => {
                    return Ok(Some(record(&rows)));
                }
                // Somebody has just changed it.
                Some(parts) if parts != wanted => wanted = parts,
                Some(_) => return Ok(None),
            }
        }
    }

    /// Writes one user down, whose rules are not too long.
    pub(super) fn write(&self, name: &str, record: &Record) -> Result<()> {
        let rules = record.rules.as_slice();
        let chunks: Vec<&[u8]> = if rules.is_empty() { vec![rules] } else { rules.chunks(PART_BYTES).collect() };
        let keys: Vec<Vec<u8>> = (0..chunks.len()).map(|part| key(name, part)).collect();
        let count = ValueRef::Int(chunks.len() as i64);
        let cells = |chunk| -> Vec<Cell<'_>> {
            vec![(TEXT, ValueRef::Bytes(chunk)), (PARTS, count), (MADE, ValueRef::Int(record.made))]
        };
        let rows: Vec<(&[u8], Vec<Cell<'_>>)> =
            keys.iter().zip(&chunks).map(|(key, chunk)| (key.as_slice(), cells(chunk))).collect();
        self.table.mset(&rows)?;
        self.remove_parts(name, chunks.len())
    }

    /// Removes a user; false if there is none.
    pub(super) fn remove(&self, name: &str) -> Result<bool> {
        let removed = self.table.delete(key(name, 0))?;
        self.remove_parts(name, 1)?;
        Ok(removed)
    }

    /// Removes what is behind the first rows.
    fn remove_parts(&self, name: &str, first: usize) -> Result<()> {
        for part in first..MAX_PARTS {
            if !self.table.delete(key(name, part))? {
                break;
            }
        }
        Ok(())
    }
}

/// A name has no zeros, so no key is that of another user.
fn key(name: &str, part: usize) -> Vec<u8> {
    [name.as_bytes(), &[0, part as u8]].concat()
}

fn record(rows: &[Row]) -> Record {
    let made = rows.first().map_or(0, |row| if let ValueRef::Int(made) = row.get(MADE) { made } else { 0 });
    Record { rules: rows.iter().flat_map(text).copied().collect(), made }
}

fn text(row: &Row) -> &[u8] {
    match row.get(TEXT) {
        ValueRef::Bytes(text) => text,
        _ => &[],
    }
}

fn parts(row: &Row) -> usize {
    match row.get(PARTS) {
        ValueRef::Int(parts) => usize::try_from(parts).unwrap_or(1).clamp(1, MAX_PARTS),
        _ => 1,
    }
}

/// The error for rules that are too long.
pub(super) fn too_long(len: usize) -> Error {
    Error::TooLarge { what: "bytes of a user's rules", len, max: RULES_BYTES }
}
