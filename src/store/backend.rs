//! What a medium must be able to do to carry the store.
//!
//! Every operation is atomic. An operation that cannot get what it waits for within the backend's patience answers
//! [`Error::Busy`](super::Error::Busy) and has changed nothing; the caller may try again.
//! Arguments have been checked against the schema by [`super::api`]; absence is a value, not an error.

use std::sync::Arc;

use super::{
    Bus, Cell, Condition, Decide, Departures, Derive, ExpireRule, Expiry, HashBackend, Interest, KeyUsage, KvType,
    LongDouble, MemoryLimit, MemoryUse, Result, Row, RowPage, ScanPage, Schema, SetOptions, SetOutcome, Statistics,
    TableSpec, Ttl, ValueRef, Version,
};

/// What `make` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// The table is new.
    New,
    /// It was there already, with the same schema.
    Same,
}

/// What a table is and how full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableInfo {
    /// Name, capacity, key size and columns.
    pub schema: Arc<Schema>,
    /// Rows in use, expired ones that were not freed yet included.
    pub count: u64,
    /// Bytes of the segment that the table occupies.
    pub bytes: u64,
}

/// A store: tables, counters, one key-value space, statistics.
pub trait Backend: Send + Sync {
    /// Makes a table, or finds the one that is there with the same schema. A name that starts with `~` is hidden.
    fn make(&self, name: &str, spec: TableSpec) -> Result<(Arc<dyn TableBackend>, Made)>;
    /// The table of this name.
    fn table(&self, name: &str) -> Result<Arc<dyn TableBackend>>;
    /// Every table that is not hidden, by name.
    fn tables(&self) -> Result<Vec<TableInfo>>;
    /// Drops a table; false if there is none. Handles of it answer `TableNotFound` from now on.
    fn drop_table(&self, name: &str) -> Result<bool>;

    /// The value of a counter.
    fn counter_get(&self, name: &[u8]) -> Result<Option<i64>>;
    /// Adds `by`, makes the counter at 0 if it is missing, returns the new value.
    /// With a bound, `None` if the new value would lie beyond it (above for `by >= 0`, below otherwise).
    fn counter_add(&self, name: &[u8], by: i64, bound: Option<i64>) -> Result<Option<i64>>;
    /// Sets the value, makes the counter if it is missing.
    fn counter_set(&self, name: &[u8], value: i64) -> Result<()>;
    /// Sets the value to `new` if it is `expected`; returns whether it did, and the value afterwards.
    /// A missing counter counts as 0 and is made only if the swap takes place.
    fn counter_cas(&self, name: &[u8], expected: i64, new: i64) -> Result<(bool, i64)>;
    /// Deletes a counter; false if there is none.
    fn counter_delete(&self, name: &[u8]) -> Result<bool>;
    /// Every counter and its value, by name.
    fn counters(&self) -> Result<Vec<(Vec<u8>, i64)>>;

    /// The key-value space.
    fn kv(&self) -> &dyn KvBackend;
    /// Messages between the workers.
    fn bus(&self) -> &dyn Bus;
    /// Counts of what the workers did.
    fn statistics(&self) -> &dyn Statistics;
    /// A number that nobody has to trust.
    fn random(&self) -> u64;
    /// Who wants to be told of what.
    fn interest(&self) -> Interest<'_>;
    /// The hash of a key by which interest in it is noted; the same in all processes.
    fn interest_hash(&self, key: &[u8]) -> u64;

    /// Has this process gather keys that go without being asked to, while anybody is interested.
    fn gather_departures(&self);
    /// The keys that went since this was last asked; `None` if there are none.
    fn take_departures(&self) -> Option<Departures>;

    /// Runs `body`, once, and lets nobody else read or write meanwhile. If it answers false, or does not return, what this thread has done
    /// inside is undone; a death in the middle undoes it as well. Inside of another one it is a part of that, undone by itself or with it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`](super::Error::Busy), and [`Error::InTransaction`](super::Error::InTransaction) inside one of another segment; `body` has
    /// not run then.
    fn transact(&self, body: &mut dyn FnMut() -> bool) -> Result<()>;

    /// Frees a share of what has expired; called by every worker's tick. Returns how many were freed.
    fn sweep(&self) -> usize;
    /// Says how much memory may be in use, and what goes when it is more.
    fn set_memory_limit(&self, limit: MemoryLimit);
    /// Evicts until no more is in use than may be; before a write that may need memory. Next to nothing while much is left.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`](super::Error::OutOfMemory) if more is in use and nothing may go.
    fn make_room(&self) -> Result<()>;
    /// What memory is used for.
    fn memory_use(&self) -> MemoryUse;
    /// Says whether reads by this process count as use of their keys, as they do at first.
    fn count_use(&self, wanted: bool);
    /// Bytes of the segment, and how many of them are set aside for something.
    fn memory(&self) -> (u64, u64);
}

/// One table. Times are milliseconds of the Unix clock.
pub trait TableBackend: Send + Sync {
    /// Name, capacity, key size and columns.
    fn schema(&self) -> &Arc<Schema>;
    /// How full it is and what it occupies.
    fn info(&self) -> Result<TableInfo>;
    /// Reads all columns into `row`; false: there is no such row.
    fn get(&self, key: &[u8], row: &mut Row) -> Result<bool>;
    /// Reads several rows as of one instant.
    fn mget(&self, keys: &[&[u8]]) -> Result<Vec<Option<Row>>>;
    /// Writes columns; a new row has zeros elsewhere. False if the condition refused it.
    fn set(&self, key: &[u8], cells: &[Cell<'_>], expiry: Expiry, condition: Condition) -> Result<bool>;
    /// Writes several rows in one atomic step (at most `MAX_BATCH_ROWS`). Expiries stay. Equal keys: the later cells win.
    fn mset(&self, rows: &[(&[u8], Vec<Cell<'_>>)]) -> Result<()>;
    /// Adds to a number column; a missing row is made. Returns the new value.
    fn add(&self, key: &[u8], column: usize, by: ValueRef<'_>) -> Result<super::Value>;
    /// Writes `set` if every cell of `expect` equals the row's; `None` if there is no row.
    fn cas(&self, key: &[u8], expect: &[Cell<'_>], set: &[Cell<'_>]) -> Result<Option<bool>>;
    /// Takes `by` from an `int` column, and deletes the row if all its `int` columns are 0 then; false if there is no row.
    fn release(&self, key: &[u8], column: usize, by: i64) -> Result<bool>;
    /// Deletes a row; with `row`, reads it first. False: there was none.
    fn delete(&self, key: &[u8], row: Option<&mut Row>) -> Result<bool>;
    /// When the row expires.
    fn ttl(&self, key: &[u8]) -> Result<Ttl>;
    /// Changes when the row expires; false if there is no row, or `Never` and it had no expiry.
    fn expire(&self, key: &[u8], expiry: Expiry) -> Result<bool>;
    /// Rows in use. O(1).
    fn count(&self) -> Result<u64>;
    /// The next rows, about `count` of them, from `cursor` on (0: from the start).
    fn scan(&self, cursor: u64, count: usize) -> Result<RowPage>;
    /// Deletes every row.
    fn clear(&self) -> Result<()>;
}

/// The key-value space: 16 databases of byte-string keys. Times are milliseconds of the Unix clock.
pub trait KvBackend: HashBackend {
    /// Says that these keys will be asked for next: what is far away may be brought near. Nothing else comes of it.
    fn fetch_ahead(&self, _db: u8, _keys: &[&[u8]]) {}

    /// The type of a key's value.
    fn kind(&self, db: u8, key: &[u8]) -> Result<Option<KvType>>;
    /// Appends the value to `out`; false: there is none.
    fn get(&self, db: u8, key: &[u8], out: &mut Vec<u8>) -> Result<bool>;
    /// Several values as of one instant.
    fn mget(&self, db: u8, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>>;
    /// Bytes of the value; 0 if there is none.
    fn strlen(&self, db: u8, key: &[u8]) -> Result<u64>;
    /// Writes a value.
    fn set(&self, db: u8, key: &[u8], value: &[u8], options: SetOptions) -> Result<SetOutcome>;
    /// Writes several values in one atomic step, expiries taken away; with `if_absent`, all or none, and none if a key is present.
    fn mset(&self, db: u8, pairs: &[(&[u8], &[u8])], if_absent: bool) -> Result<bool>;
    /// As `mset`, with a condition that all keys must meet (whether each is present), and with an expiry for all.
    fn mset_if(&self, db: u8, pairs: &[(&[u8], &[u8])], expiry: Expiry, condition: Condition) -> Result<bool>;
    /// Makes of a key what `decide` says, in one atomic step. `decide` may be asked several times; the last answer counts.
    ///
    /// # Errors
    ///
    /// Those of `decide`.
    fn update<'v>(&self, db: u8, key: &[u8], decide: &mut Decide<'_, 'v>) -> Result<()>;
    /// Makes of the key `to` what `decide` says by what the `sources` hold, fewer than `MAX_BATCH_ROWS` keys of which `to` may be one, in one
    /// atomic step. `decide` may be asked several times; the last answer counts.
    ///
    /// # Errors
    ///
    /// Those of `decide`, and [`Error::TooLarge`](super::Error::TooLarge).
    fn derive(&self, sources: &[(u8, &[u8])], to: (u8, &[u8]), decide: &mut Derive<'_>) -> Result<()>;
    /// Reads and deletes.
    fn getdel(&self, db: u8, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Reads and changes the expiry.
    fn getex(&self, db: u8, key: &[u8], expiry: Expiry) -> Result<Option<Vec<u8>>>;
    /// Appends to the value, or makes it; returns its new length. `max` bounds that length.
    fn append(&self, db: u8, key: &[u8], tail: &[u8], max: usize) -> Result<u64>;
    /// Adds to an integer, 0 if missing; returns the new value.
    fn incr(&self, db: u8, key: &[u8], by: i64) -> Result<i64>;
    /// Adds to a float, 0 if missing; returns the new value as it is stored.
    fn incr_float(&self, db: u8, key: &[u8], by: LongDouble) -> Result<Vec<u8>>;
    /// Deletes; false: there was no such key.
    fn delete(&self, db: u8, key: &[u8]) -> Result<bool>;
    /// Frees a key whose time has passed at once; false if there is none, if it lives, or if somebody else is at it.
    fn free_expired(&self, db: u8, key: &[u8]) -> Result<bool>;
    /// Whether there is such a key.
    fn exists(&self, db: u8, key: &[u8]) -> Result<bool>;
    /// When the key expires.
    fn ttl(&self, db: u8, key: &[u8]) -> Result<Ttl>;
    /// Changes when the key expires (`Expiry::Never`: persist); false if nothing was changed.
    fn expire(&self, db: u8, key: &[u8], expiry: Expiry, rule: ExpireRule) -> Result<bool>;
    /// Renames, with value and expiry; the target is overwritten unless `if_absent`. False: `if_absent` and there is a target.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchKey`](super::Error::NoSuchKey) if `from` is absent.
    fn rename(&self, db: u8, from: &[u8], to: &[u8], if_absent: bool) -> Result<bool>;
    /// Moves a key to another database, with value and expiry; false if it is absent, or if there is such a key already.
    fn move_to(&self, db: u8, key: &[u8], to: u8) -> Result<bool>;
    /// Swaps two databases, with all that is in them, in one step.
    fn swap(&self, one: u8, other: u8) -> Result<()>;
    /// Some key, every one about equally likely.
    fn random_key(&self, db: u8) -> Result<Option<Vec<u8>>>;
    /// The next keys, about `count` of them, from `cursor` on (0: from the start). A key that is present
    /// from the first page to the last is returned.
    fn scan(&self, db: u8, cursor: u64, count: usize) -> Result<ScanPage>;
    /// Keys of a database, expired ones that were not freed yet included.
    fn len(&self, db: u8) -> Result<u64>;
    /// Keys of a database that have an expiry.
    fn expiring(&self, db: u8) -> Result<u64>;
    /// What is known of the use of a key.
    fn usage(&self, db: u8, key: &[u8]) -> Result<Option<KeyUsage>>;
    /// Notes that a key was used; false: there is none.
    fn touch(&self, db: u8, key: &[u8]) -> Result<bool>;
    /// Says for how long a key has not been used, or how often it is; false: there is none.
    fn set_usage(&self, db: u8, key: &[u8], idle_seconds: Option<u64>, frequency: Option<u32>) -> Result<bool>;
    /// Bytes of memory that a key and its value take.
    fn bytes(&self, db: u8, key: &[u8]) -> Result<Option<u64>>;
    /// Deletes every key of one database, or of all.
    fn flush(&self, db: Option<u8>) -> Result<()>;
    /// What the key is now, to be compared later.
    fn version(&self, db: u8, key: &[u8]) -> Result<Version>;
    /// False if the key was written or deleted since it had this version, or if it was there and its time has passed. It may be false of
    /// an absent key that nobody touched.
    fn is_untouched(&self, db: u8, key: &[u8], since: Version) -> Result<bool>;
}
