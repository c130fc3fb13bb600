//! The handles that callers hold: [`Store`], [`Table`], [`Counter`], [`Keyspace`].
//!
//! They check arguments against the schema and the limits, so that no backend has to, and turn names into column
//! indexes. Handles are cheap to clone, usable from any thread and, where the backend shares memory, after a fork.

use std::{ops::Deref, sync::Arc};

use super::{
    Backend, Bus, Cell, Column, Condition, Departures, Error, Expiry, Interest, KvBackend, Made, MemoryLimit,
    MemoryUse, Result, Row, RowPage, Schema, Statistics, TableBackend, TableInfo, TableSpec, Ttl, Value, ValueRef,
    limits::{DEFAULT_KEY_BYTES, MAX_BATCH_ROWS, MAX_COUNTER_NAME_BYTES},
};

/// A store on some backend.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl Store {
    /// A store on this backend.
    #[must_use]
    pub fn on(backend: Arc<dyn Backend>) -> Self {
        Self { backend }
    }

    /// Makes a table with keys of up to 64 bytes, or finds the one that is there with the same schema.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], [`Error::TableExists`], [`Error::TablesFull`], [`Error::OutOfMemory`], [`Error::Busy`].
    pub fn make(&self, name: &str, rows: u64, columns: &[Column]) -> Result<Table> {
        let spec = TableSpec { rows, key_bytes: DEFAULT_KEY_BYTES as u16, columns: columns.to_vec() };
        Ok(self.make_spec(name, spec)?.0)
    }

    /// Makes a table, or finds the one that is there with the same schema; says which.
    ///
    /// # Errors
    ///
    /// As [`Store::make`].
    pub fn make_spec(&self, name: &str, spec: TableSpec) -> Result<(Table, Made)> {
        Schema::new(name, spec.clone())?;
        let (backend, made) = self.backend.make(name, spec)?;
        Ok((Table { backend }, made))
    }

    /// A table that the program keeps for itself: its name starts with `~`, and no client can reach or list it.
    ///
    /// # Errors
    ///
    /// As [`Store::make`].
    pub fn hidden(&self, name: &str, spec: TableSpec) -> Result<Table> {
        Schema::hidden(name, spec.clone())?;
        Ok(Table { backend: self.backend.make(name, spec)?.0 })
    }

    /// The table of this name.
    ///
    /// # Errors
    ///
    /// [`Error::TableNotFound`].
    pub fn table(&self, name: &str) -> Result<Table> {
        if Schema::is_hidden(name) {
            return Err(Error::TableNotFound(name.to_owned()));
        }
        Ok(Table { backend: self.backend.table(name)? })
    }

    /// Every table, by name.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn tables(&self) -> Result<Vec<TableInfo>> {
        self.backend.tables()
    }

    /// Drops a table; false if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn drop_table(&self, name: &str) -> Result<bool> {
        if Schema::is_hidden(name) {
            return Ok(false);
        }
        self.backend.drop_table(name)
    }

    /// A handle on the counter of this name, which need not exist yet.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyKey`], [`Error::KeyTooLong`].
    pub fn counter(&self, name: impl AsRef<[u8]>) -> Result<Counter> {
        let name = name.as_ref();
        match name.len() {
            0 => Err(Error::EmptyKey),
            len if len > MAX_COUNTER_NAME_BYTES => Err(Error::KeyTooLong { len, max: MAX_COUNTER_NAME_BYTES }),
            _ => Ok(Counter { backend: Arc::clone(&self.backend), name: name.into() }),
        }
    }

    /// Every counter and its value, by name.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn counters(&self) -> Result<Vec<(Vec<u8>, i64)>> {
        self.backend.counters()
    }

    /// The key-value space.
    #[must_use]
    pub fn kv(&self) -> Keyspace<'_> {
        Keyspace(self.backend.kv())
    }

    /// Messages between the workers.
    #[must_use]
    pub fn bus(&self) -> &dyn Bus {
        self.backend.bus()
    }

    /// Runs `body` as one atomic step: nobody else reads or writes meanwhile, in any process, and what this thread has done inside through
    /// handles of this store happens altogether, or, if `body` refuses or panics or the process dies, not at all. Everybody waits
    /// for its end, so it should be short.
    ///
    /// Inside of another such step it is a part of that: if it refuses, only what it has done itself is undone, and if the whole does, so is this.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`], and [`Error::InTransaction`] inside such a step on another segment, before `body` has run, and those of `body`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use store_master::{Segment, SegmentOptions, Store};
    /// # let store = Store::open(Segment::create(SegmentOptions::new().memory(16 << 20))?)?;
    /// let moved = store.atomically(|| {
    ///     store.kv().incr(0, b"from", -5)?;
    ///     store.kv().incr(0, b"to", 5)
    /// });
    /// assert_eq!(moved, Ok(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn atomically<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let (mut body, mut result) = (Some(body), None);
        self.backend.transact(&mut || {
            let outcome = body.take().map(|body| body());
            let commits = matches!(outcome, Some(Ok(_)));
            result = outcome;
            commits
        })?;
        result.unwrap_or(Err(Error::Busy))
    }

    /// A number that nobody has to trust, to choose one of many by.
    #[must_use]
    pub(crate) fn random(&self) -> u64 {
        self.backend.random()
    }

    /// Counts of what the workers did.
    #[must_use]
    pub fn statistics(&self) -> &dyn Statistics {
        self.backend.statistics()
    }

    /// Who wants to be told of what.
    #[must_use]
    pub fn interest(&self) -> Interest<'_> {
        self.backend.interest()
    }

    /// The hash of a key by which interest in it is noted.
    #[must_use]
    pub fn interest_hash(&self, key: &[u8]) -> u64 {
        self.backend.interest_hash(key)
    }

    /// Has this process gather the keys that go without being asked to: expired and evicted ones, while anybody is interested. It
    /// must take them now and then.
    pub fn gather_departures(&self) {
        self.backend.gather_departures();
    }

    /// The keys that went since this was last asked; `None` if there are none.
    #[must_use]
    pub fn take_departures(&self) -> Option<Departures> {
        self.backend.take_departures()
    }

    /// Frees a share of what has expired; returns how many rows and keys.
    pub fn sweep(&self) -> usize {
        self.backend.sweep()
    }

    /// Says how much memory may be in use, and what goes when it is more. It holds for every process.
    pub fn set_memory_limit(&self, limit: MemoryLimit) {
        self.backend.set_memory_limit(limit);
    }

    /// Evicts until no more memory is in use than may be. Writes of the library need not be preceded by it: they evict
    /// when there is no room at all.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if more is in use and nothing may go, [`Error::Busy`].
    pub fn make_room(&self) -> Result<()> {
        self.backend.make_room()
    }

    /// What memory is used for.
    #[must_use]
    pub fn memory_use(&self) -> MemoryUse {
        self.backend.memory_use()
    }

    /// Says whether reads by this process count as use of their keys, as they do at first.
    pub fn count_use(&self, wanted: bool) {
        self.backend.count_use(wanted);
    }

    /// Bytes of the segment, and how many of them are set aside for something.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        self.backend.memory()
    }
}

/// The key-value space of a store: the operations of [`KvBackend`].
#[derive(Clone, Copy)]
pub struct Keyspace<'a>(&'a dyn KvBackend);

impl<'a> Deref for Keyspace<'a> {
    type Target = dyn KvBackend + 'a;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

/// A counter of a store: a 64-bit signed integer with a name. It is made by the first write.
#[derive(Clone)]
pub struct Counter {
    backend: Arc<dyn Backend>,
    name: Arc<[u8]>,
}

impl Counter {
    /// Adds `by`; returns the new value.
    ///
    /// # Errors
    ///
    /// [`Error::Overflow`], [`Error::CountersFull`], [`Error::Busy`].
    pub fn add(&self, by: i64) -> Result<i64> {
        self.backend.counter_add(&self.name, by, None)?.ok_or(Error::Overflow)
    }

    /// Adds 1; returns the new value.
    ///
    /// # Errors
    ///
    /// As [`Counter::add`].
    pub fn increment(&self) -> Result<i64> {
        self.add(1)
    }

    /// Takes 1 away; returns the new value.
    ///
    /// # Errors
    ///
    /// As [`Counter::add`].
    pub fn decrement(&self) -> Result<i64> {
        self.add(-1)
    }

    /// Adds `by` unless the result would lie beyond `bound` (above it for `by >= 0`, below it otherwise); `None` then.
    ///
    /// # Errors
    ///
    /// As [`Counter::add`].
    pub fn add_bounded(&self, by: i64, bound: i64) -> Result<Option<i64>> {
        self.backend.counter_add(&self.name, by, Some(bound))
    }

    /// The value; `None` if the counter was never written.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn get(&self) -> Result<Option<i64>> {
        self.backend.counter_get(&self.name)
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// [`Error::CountersFull`], [`Error::Busy`].
    pub fn set(&self, value: i64) -> Result<()> {
        self.backend.counter_set(&self.name, value)
    }

    /// Sets the value to 0.
    ///
    /// # Errors
    ///
    /// As [`Counter::set`].
    pub fn reset(&self) -> Result<()> {
        self.set(0)
    }

    /// Sets the value to `new` if it is `expected`; returns whether it did, and the value afterwards.
    /// A missing counter counts as 0.
    ///
    /// # Errors
    ///
    /// As [`Counter::set`].
    pub fn compare_and_set(&self, expected: i64, new: i64) -> Result<(bool, i64)> {
        self.backend.counter_cas(&self.name, expected, new)
    }

    /// Deletes the counter; false if there was none.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn delete(&self) -> Result<bool> {
        self.backend.counter_delete(&self.name)
    }
}

/// A table of a store.
#[derive(Clone)]
pub struct Table {
    backend: Arc<dyn TableBackend>,
}

impl Table {
    /// Name, capacity, key size and columns.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        self.backend.schema()
    }

    /// How full it is and what it occupies.
    ///
    /// # Errors
    ///
    /// [`Error::TableNotFound`] once it was dropped, here and in every other operation.
    pub fn info(&self) -> Result<TableInfo> {
        self.backend.info()
    }

    /// An empty row to read into.
    #[must_use]
    pub fn row(&self) -> Row {
        Row::new(Arc::clone(self.schema()))
    }

    /// The row, all columns of one instant.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`], [`Error::EmptyKey`], [`Error::Busy`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Row>> {
        let mut row = self.row();
        Ok(self.read(key.as_ref(), &mut row)?.then_some(row))
    }

    /// Reads the row into `row`, which must be of this table; false: there is none. Allocates nothing.
    ///
    /// # Errors
    ///
    /// As [`Table::get`].
    pub fn read(&self, key: &[u8], row: &mut Row) -> Result<bool> {
        self.schema().check_key(key)?;
        self.backend.get(key, row)
    }

    /// Writes columns by name; a new row has zeros and empty strings elsewhere, an old one keeps them.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownColumn`], [`Error::WrongType`], [`Error::ValueTooLong`], [`Error::KeyTooLong`], [`Error::TableFull`], [`Error::Busy`].
    pub fn set(&self, key: impl AsRef<[u8]>, cells: &[(&str, Value)]) -> Result<()> {
        let cells = self.cells(cells)?;
        self.write(key.as_ref(), &cells, Expiry::Keep, Condition::Always).map(drop)
    }

    /// As [`Table::set`], only if the row is absent; false otherwise.
    ///
    /// # Errors
    ///
    /// As [`Table::set`].
    pub fn add(&self, key: impl AsRef<[u8]>, cells: &[(&str, Value)]) -> Result<bool> {
        let cells = self.cells(cells)?;
        self.write(key.as_ref(), &cells, Expiry::Keep, Condition::IfAbsent)
    }

    /// As [`Table::set`], only if the row is present; false otherwise.
    ///
    /// # Errors
    ///
    /// As [`Table::set`].
    pub fn update(&self, key: impl AsRef<[u8]>, cells: &[(&str, Value)]) -> Result<bool> {
        let cells = self.cells(cells)?;
        self.write(key.as_ref(), &cells, Expiry::Keep, Condition::IfPresent)
    }

    /// Writes columns by index, with expiry and condition; false if the condition refused it.
    ///
    /// # Errors
    ///
    /// As [`Table::set`].
    pub fn write(&self, key: &[u8], cells: &[Cell<'_>], expiry: Expiry, condition: Condition) -> Result<bool> {
        self.schema().check_key(key)?;
        self.check(cells)?;
        self.backend.set(key, cells, expiry, condition)
    }

    /// Adds to a number column by name and returns its new value; a missing row is made.
    ///
    /// # Errors
    ///
    /// As [`Table::set`], and [`Error::Overflow`].
    pub fn incr(&self, key: impl AsRef<[u8]>, column: &str, by: i64) -> Result<i64> {
        let index = self.schema().column(column)?;
        match self.add_cell(key.as_ref(), index, ValueRef::Int(by))? {
            Value::Int(n) => Ok(n),
            _ => Err(self.schema().wrong_type(index)),
        }
    }

    /// Adds to a number column by index and returns its new value; a missing row is made.
    ///
    /// # Errors
    ///
    /// As [`Table::incr`].
    pub fn add_cell(&self, key: &[u8], column: usize, by: ValueRef<'_>) -> Result<Value> {
        self.schema().check_key(key)?;
        self.schema().check(column, by)?;
        if matches!(by, ValueRef::Bytes(_)) {
            return Err(self.schema().wrong_type(column));
        }
        self.backend.add(key, column, by)
    }

    /// Writes `set` if every cell of `expect` equals the row's, in one step; `None` if there is no row.
    ///
    /// # Errors
    ///
    /// As [`Table::set`].
    pub fn cas(&self, key: &[u8], expect: &[Cell<'_>], set: &[Cell<'_>]) -> Result<Option<bool>> {
        self.schema().check_key(key)?;
        self.check(expect)?;
        self.check(set)?;
        self.backend.cas(key, expect, set)
    }

    /// Takes `by` from an `int` column by index, and deletes the row if all its `int` columns are 0 then, in one step; false if there
    /// was none. So several users of a row, each with a column of its own, count themselves in by [`Table::add_cell`] and out by this.
    ///
    /// # Errors
    ///
    /// As [`Table::get`], and [`Error::WrongType`] of a column that is no `int`.
    pub fn release(&self, key: impl AsRef<[u8]>, column: usize, by: i64) -> Result<bool> {
        self.schema().check_key(key.as_ref())?;
        self.schema().check(column, ValueRef::Int(by))?;
        self.backend.release(key.as_ref(), column, by)
    }

    /// Deletes the row; false if there was none.
    ///
    /// # Errors
    ///
    /// As [`Table::get`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.schema().check_key(key.as_ref())?;
        self.backend.delete(key.as_ref(), None)
    }

    /// Reads and deletes the row in one step.
    ///
    /// # Errors
    ///
    /// As [`Table::get`].
    pub fn getdel(&self, key: impl AsRef<[u8]>) -> Result<Option<Row>> {
        self.schema().check_key(key.as_ref())?;
        let mut row = self.row();
        Ok(self.backend.delete(key.as_ref(), Some(&mut row))?.then_some(row))
    }

    /// Several rows as of one instant, in the order of the keys.
    ///
    /// # Errors
    ///
    /// As [`Table::get`], and [`Error::TooLarge`] above 64 keys.
    pub fn mget(&self, keys: &[&[u8]]) -> Result<Vec<Option<Row>>> {
        batch_fits(keys.len())?;
        keys.iter().try_for_each(|key| self.schema().check_key(key))?;
        self.backend.mget(keys)
    }

    /// Writes several rows in one atomic step. Of equal keys the later cells win.
    ///
    /// # Errors
    ///
    /// As [`Table::set`], and [`Error::TooLarge`] above 64 rows.
    pub fn mset(&self, rows: &[(&[u8], Vec<Cell<'_>>)]) -> Result<()> {
        batch_fits(rows.len())?;
        for (key, cells) in rows {
            self.schema().check_key(key)?;
            self.check(cells)?;
        }
        self.backend.mset(rows)
    }

    /// When the row expires.
    ///
    /// # Errors
    ///
    /// As [`Table::get`].
    pub fn ttl(&self, key: &[u8]) -> Result<Ttl> {
        self.schema().check_key(key)?;
        self.backend.ttl(key)
    }

    /// Changes when the row expires (`Expiry::Never`: persist); false if there is no row, or nothing to persist.
    ///
    /// # Errors
    ///
    /// As [`Table::get`].
    pub fn expire(&self, key: &[u8], expiry: Expiry) -> Result<bool> {
        self.schema().check_key(key)?;
        self.backend.expire(key, expiry)
    }

    /// Rows in use, expired ones that were not freed yet included. O(1).
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn count(&self) -> Result<u64> {
        self.backend.count()
    }

    /// One page of an iteration: about `count` rows from `cursor` on (0: from the start). Every row that is
    /// present from the first page to the last is returned exactly once.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn scan(&self, cursor: u64, count: usize) -> Result<RowPage> {
        self.backend.scan(cursor, count.max(1))
    }

    /// Deletes every row.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`].
    pub fn clear(&self) -> Result<()> {
        self.backend.clear()
    }

    fn cells<'a>(&self, cells: &'a [(&str, Value)]) -> Result<Vec<Cell<'a>>> {
        cells.iter().map(|(name, value)| Ok((self.schema().column(name)?, value.as_ref()))).collect()
    }

    fn check(&self, cells: &[Cell<'_>]) -> Result<()> {
        cells.iter().try_for_each(|&(column, value)| self.schema().check(column, value))
    }
}

fn batch_fits(rows: usize) -> Result<()> {
    if rows > MAX_BATCH_ROWS {
        return Err(Error::TooLarge { what: "rows in one batch", len: rows, max: MAX_BATCH_ROWS });
    }
    Ok(())
}
