//! A table of the in-memory store.

use std::sync::{Arc, Mutex};

use super::{Common, entries::Entries, turn::Locked};
use crate::store::{
    Cell, Condition, Error, Expiry, Result, Row, RowPage, Schema, Stat, Statistics, TableBackend, TableInfo, Ttl,
    Value, ValueRef, number,
};

pub(super) struct MemoryTable {
    schema: Arc<Schema>,
    common: Arc<Common>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    dropped: bool,
    rows: Entries<Row>,
}

/// The rows, locked, and the one time by which an operation judges them.
struct Open<'a> {
    state: Locked<'a, State>,
    now_ms: u64,
}

impl MemoryTable {
    pub(super) fn new(schema: Schema, common: Arc<Common>) -> Self {
        Self { schema: Arc::new(schema), common, state: Mutex::default() }
    }

    /// Turns every handle of this table away from now on.
    pub(super) fn close(&self) {
        *self.common.turn.lock(&self.state) = State { dropped: true, rows: Entries::default() };
    }

    /// About what a table of this capacity takes of a segment.
    pub(super) fn bytes(&self) -> u64 {
        let row = usize::from(self.schema.spec().key_bytes) + self.schema.image_bytes();
        4096 + self.schema.spec().rows * (row.next_multiple_of(8) as u64 + 32)
    }

    /// The rows, to be put back.
    pub(super) fn saved(&self) -> Entries<Row> {
        self.common.turn.lock(&self.state).rows.clone()
    }

    pub(super) fn put_back(&self, rows: Entries<Row>) {
        self.common.turn.lock(&self.state).rows = rows;
    }

    pub(super) fn sweep(&self) -> usize {
        self.freed(self.common.turn.lock(&self.state).rows.free_all_expired((self.common.clock)()))
    }

    fn freed(&self, rows: usize) -> usize {
        self.common.statistics.add(Stat::Expired, rows as u64);
        rows
    }

    /// Opens the table; afterwards these keys are there only if they have not expired.
    fn open(&self, keys: &[&[u8]]) -> Result<Open<'_>> {
        let mut open = Open { state: self.common.turn.lock(&self.state), now_ms: (self.common.clock)() };
        if open.state.dropped {
            return Err(Error::TableNotFound(self.schema.table().to_owned()));
        }
        self.freed(keys.iter().map(|key| open.state.rows.free_expired(key, open.now_ms)).sum());
        Ok(open)
    }

    /// Refuses unless so many new rows fit once the expired ones are gone.
    fn need_room(&self, open: &mut Open<'_>, new_rows: usize) -> Result<()> {
        let capacity = self.schema.spec().rows;
        let fits = |rows: &Entries<Row>| rows.len() + new_rows as u64 <= capacity;
        if !fits(&open.state.rows) {
            self.freed(open.state.rows.free_all_expired(open.now_ms));
        }
        if !fits(&open.state.rows) {
            return Err(Error::TableFull { table: self.schema.table().to_owned(), rows: capacity });
        }
        Ok(())
    }

    fn new_row(&self) -> Row {
        Row::new(Arc::clone(&self.schema))
    }
}

impl TableBackend for MemoryTable {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn info(&self) -> Result<TableInfo> {
        Ok(TableInfo { schema: Arc::clone(&self.schema), count: self.count()?, bytes: self.bytes() })
    }

    fn get(&self, key: &[u8], row: &mut Row) -> Result<bool> {
        let open = self.open(&[key])?;
        let found = open.state.rows.get(key);
        found.iter().for_each(|entry| row.clone_from(&entry.value));
        Ok(found.is_some())
    }

    fn mget(&self, keys: &[&[u8]]) -> Result<Vec<Option<Row>>> {
        let open = self.open(keys)?;
        Ok(keys.iter().map(|key| open.state.rows.get(key).map(|entry| entry.value.clone())).collect())
    }

    fn set(&self, key: &[u8], cells: &[Cell<'_>], expiry: Expiry, condition: Condition) -> Result<bool> {
        let mut open = self.open(&[key])?;
        let present = open.state.rows.contains(key);
        if !condition.allows(present) {
            return Ok(false);
        }
        if Expiry::has_passed(expiry.after(None), open.now_ms) {
            open.state.rows.remove(key);
            return Ok(true);
        }
        if !present {
            self.need_room(&mut open, 1)?;
        }
        let entry = open.state.rows.entry(key, || self.new_row());
        write(&mut entry.value, cells);
        entry.expires_at = expiry.after(entry.expires_at);
        Ok(true)
    }

    fn mset(&self, rows: &[(&[u8], Vec<Cell<'_>>)]) -> Result<()> {
        let keys: Vec<&[u8]> = rows.iter().map(|(key, _)| *key).collect();
        let mut open = self.open(&keys)?;
        let mut new: Vec<_> = keys.into_iter().filter(|key| !open.state.rows.contains(key)).collect();
        new.sort_unstable();
        new.dedup();
        self.need_room(&mut open, new.len())?;
        for (key, cells) in rows {
            write(&mut open.state.rows.entry(key, || self.new_row()).value, cells);
        }
        Ok(())
    }

    fn add(&self, key: &[u8], column: usize, by: ValueRef<'_>) -> Result<Value> {
        let mut open = self.open(&[key])?;
        if !open.state.rows.contains(key) {
            self.need_room(&mut open, 1)?;
        }
        let current = open.state.rows.get(key).map_or_else(|| self.new_row(), |entry| entry.value.clone());
        let sum = number::checked_add(current.get(column), by).ok_or(Error::Overflow)?;
        open.state.rows.entry(key, || self.new_row()).value.set(column, sum.as_ref());
        Ok(sum)
    }

    fn cas(&self, key: &[u8], expect: &[Cell<'_>], set: &[Cell<'_>]) -> Result<Option<bool>> {
        let mut open = self.open(&[key])?;
        let Some(entry) = open.state.rows.get_mut(key) else {
            return Ok(None);
        };
        let equal = expect.iter().all(|&(column, value)| entry.value.get(column) == value);
        if equal {
            write(&mut entry.value, set);
        }
        Ok(Some(equal))
    }

    fn release(&self, key: &[u8], column: usize, by: i64) -> Result<bool> {
        let mut open = self.open(&[key])?;
        let Some(entry) = open.state.rows.get_mut(key) else {
            return Ok(false);
        };
        let ValueRef::Int(held) = entry.value.get(column) else { return Ok(true) };
        entry.value.set(column, ValueRef::Int(held.wrapping_sub(by)));
        if entry.value.iter().all(|(_, value)| !matches!(value, ValueRef::Int(n) if n != 0)) {
            open.state.rows.remove(key);
        }
        Ok(true)
    }

    fn delete(&self, key: &[u8], row: Option<&mut Row>) -> Result<bool> {
        let removed = self.open(&[key])?.state.rows.remove(key);
        if let (Some(entry), Some(row)) = (&removed, row) {
            row.clone_from(&entry.value);
        }
        Ok(removed.is_some())
    }

    fn ttl(&self, key: &[u8]) -> Result<Ttl> {
        Ok(self.open(&[key])?.state.rows.ttl(key))
    }

    fn expire(&self, key: &[u8], expiry: Expiry) -> Result<bool> {
        let mut open = self.open(&[key])?;
        let Some(entry) = open.state.rows.get_mut(key) else {
            return Ok(false);
        };
        let nothing_to_persist = expiry == Expiry::Never && entry.expires_at.is_none();
        entry.expires_at = expiry.after(entry.expires_at);
        open.state.rows.free_expired(key, open.now_ms);
        Ok(!nothing_to_persist)
    }

    fn count(&self) -> Result<u64> {
        Ok(self.open(&[])?.state.rows.len())
    }

    fn scan(&self, cursor: u64, count: usize) -> Result<RowPage> {
        let open = self.open(&[])?;
        let (cursor, page) = open.state.rows.page(cursor, count, open.now_ms);
        Ok(RowPage { cursor, rows: page.into_iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect() })
    }

    fn clear(&self) -> Result<()> {
        self.open(&[])?.state.rows.clear();
        Ok(())
    }
}

fn write(row: &mut Row, cells: &[Cell<'_>]) {
    cells.iter().for_each(|&(column, value)| row.set(column, value));
}
