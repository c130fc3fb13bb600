//! A store in the memory of one process, of obvious code: the oracle that every other backend is compared with.
//!
//! Each table, the counters and the key-value space are plain maps behind one lock each, so an operation is atomic because
//! nothing else runs. Nothing here is fast, shared between processes or safe from a crash, and nothing may ever become
//! clever: when this and another backend disagree, a reader must see at a glance that this one is right.
//!
//! Whoever touches a key that has expired frees it first; from there on, expired is absent.

mod bus;
mod entries;
mod eviction;
mod hashes;
mod keyspace;
mod statistics;
mod table;
mod turn;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::store::{
    Backend, Bus, Departed, Departures, Error, Interest, KvBackend, Made, MemoryLimit, MemoryUse, Result, Row, Schema,
    Statistics, TableBackend, TableInfo, TableSpec,
    limits::{DATABASES, MAX_SYSTEM_TABLES, MAX_TABLES},
};
use bus::MemoryBus;
use entries::Entries;
use keyspace::{MemoryKeyspace, Stored};
use statistics::MemoryStatistics;
use table::MemoryTable;
use turn::Turn;

/// Words of the interest, the buckets included.
const INTEREST_WORDS: usize = 64;

/// Milliseconds since the Unix epoch.
pub type Clock = fn() -> u64;

/// How much a [`MemoryStore`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Counters that fit.
    pub counters: u64,
    /// Keys that fit in all databases of the key-value space together.
    pub max_keys: u64,
    /// Sets of statistics.
    pub workers: usize,
    /// Bytes that the tables may be promised together. Values of the key-value space are not bounded by it.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { counters: 4096, max_keys: 4 << 20, workers: 1, memory: 256 << 20 }
    }
}

/// What all parts of a store look at.
struct Common {
    clock: Clock,
    statistics: MemoryStatistics,
    /// Keys that were freed by the sweep or on their own; `None`: they are not gathered.
    departures: Mutex<Option<Vec<Departed>>>,
    turn: Turn,
}

impl Common {
    fn depart(&self, db: u8, key: &[u8], evicted: bool) {
        if let Some(departures) = &mut *lock(&self.departures) {
            departures.push(Departed { db, key: key.to_vec(), evicted });
        }
    }
}

/// A store in the memory of this process.
pub struct MemoryStore {
    limits: Limits,
    common: Arc<Common>,
    tables: Mutex<BTreeMap<String, Arc<MemoryTable>>>,
    counters: Mutex<BTreeMap<Vec<u8>, i64>>,
    keyspace: MemoryKeyspace,
    interest: Vec<AtomicU64>,
    bus: MemoryBus,
}

impl MemoryStore {
    /// An empty store by the clock of the system.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::with_clock(limits, system_clock)
    }

    /// An empty store by a clock that a test can set.
    #[must_use]
    pub fn with_clock(limits: Limits, clock: Clock) -> Self {
        let common = Arc::new(Common {
            clock,
            statistics: MemoryStatistics::new(limits.workers),
            departures: Mutex::default(),
            turn: Turn::default(),
        });
        Self {
            limits,
            keyspace: MemoryKeyspace::new(limits.max_keys, Arc::clone(&common)),
            bus: MemoryBus::new(limits.workers),
            common,
            tables: Mutex::default(),
            counters: Mutex::default(),
            interest: (0..INTEREST_WORDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Sets a counter; the only place where one is made.
    fn put_counter(&self, counters: &mut BTreeMap<Vec<u8>, i64>, name: &[u8], value: i64) -> Result<()> {
        if !counters.contains_key(name) && counters.len() as u64 >= self.limits.counters {
            return Err(Error::CountersFull);
        }
        counters.insert(name.to_vec(), value);
        Ok(())
    }
}

/// All contents at one instant.
struct Saved {
    tables: Vec<(Arc<MemoryTable>, Entries<Row>)>,
    counters: BTreeMap<Vec<u8>, i64>,
    databases: [Entries<Stored>; DATABASES],
}

/// Puts contents back when it is dropped, if there are any.
struct PutBack<'a> {
    store: &'a MemoryStore,
    saved: Option<Saved>,
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        if let Some(saved) = self.saved.take() {
            saved.tables.into_iter().for_each(|(table, rows)| table.put_back(rows));
            *self.store.common.turn.lock(&self.store.counters) = saved.counters;
            self.store.keyspace.put_back(saved.databases);
        }
    }
}

impl MemoryStore {
    fn saved(&self) -> Saved {
        let tables = self.common.turn.lock(&self.tables);
        Saved {
            tables: tables.values().map(|table| (Arc::clone(table), table.saved())).collect(),
            counters: self.common.turn.lock(&self.counters).clone(),
            databases: self.keyspace.saved(),
        }
    }
}

impl Backend for MemoryStore {
    fn make(&self, name: &str, spec: TableSpec) -> Result<(Arc<dyn TableBackend>, Made)> {
        let hidden = Schema::is_hidden(name);
        let schema = if hidden { Schema::hidden(name, spec)? } else { Schema::new(name, spec)? };
        self.common.turn.check_outside()?;
        let mut tables = self.common.turn.lock(&self.tables);
        if let Some(table) = tables.get(name) {
            if **table.schema() != schema {
                return Err(Error::TableExists(name.to_owned()));
            }
            return Ok((Arc::clone(table) as Arc<dyn TableBackend>, Made::Same));
        }
        let places = if hidden { MAX_SYSTEM_TABLES } else { MAX_TABLES };
        if tables.keys().filter(|name| Schema::is_hidden(name) == hidden).count() >= places {
            return Err(Error::TablesFull);
        }
        let table = Arc::new(MemoryTable::new(schema, Arc::clone(&self.common)));
        if table_bytes(&tables) + table.bytes() > self.limits.memory {
            return Err(Error::OutOfMemory);
        }
        tables.insert(name.to_owned(), Arc::clone(&table));
        Ok((table, Made::New))
    }

    fn table(&self, name: &str) -> Result<Arc<dyn TableBackend>> {
        match self.common.turn.lock(&self.tables).get(name) {
            Some(table) => Ok(Arc::clone(table) as Arc<dyn TableBackend>),
            None => Err(Error::TableNotFound(name.to_owned())),
        }
    }

    fn tables(&self) -> Result<Vec<TableInfo>> {
        let tables = self.common.turn.lock(&self.tables);
        tables.iter().filter(|(name, _)| !Schema::is_hidden(name)).map(|(_, table)| table.info()).collect()
    }

    fn drop_table(&self, name: &str) -> Result<bool> {
        self.common.turn.check_outside()?;
        let mut tables = self.common.turn.lock(&self.tables);
        let table = tables.remove(name);
        table.iter().for_each(|table| table.close());
        Ok(table.is_some())
    }

    fn counter_get(&self, name: &[u8]) -> Result<Option<i64>> {
        Ok(self.common.turn.lock(&self.counters).get(name).copied())
    }

    fn counter_add(&self, name: &[u8], by: i64, bound: Option<i64>) -> Result<Option<i64>> {
        let mut counters = self.common.turn.lock(&self.counters);
        let sum = counters.get(name).copied().unwrap_or(0).checked_add(by);
        let within = match (sum, bound) {
            (None, None) => return Err(Error::Overflow),
            // A sum beyond 64 bits lies beyond every bound.
            (None, Some(_)) => return Ok(None),
            (Some(_), None) => true,
            (Some(sum), Some(bound)) => {
                if by >= 0 {
                    sum <= bound
                } else {
                    sum >= bound
                }
            }
        };
        if !within {
            return Ok(None);
        }
        sum.map(|sum| self.put_counter(&mut counters, name, sum).map(|()| sum)).transpose()
    }

    fn counter_set(&self, name: &[u8], value: i64) -> Result<()> {
        self.put_counter(&mut self.common.turn.lock(&self.counters), name, value)
    }

    fn counter_cas(&self, name: &[u8], expected: i64, new: i64) -> Result<(bool, i64)> {
        let mut counters = self.common.turn.lock(&self.counters);
        let current = counters.get(name).copied().unwrap_or(0);
        if current != expected {
            return Ok((false, current));
        }
        self.put_counter(&mut counters, name, new)?;
        Ok((true, new))
    }

    fn counter_delete(&self, name: &[u8]) -> Result<bool> {
        Ok(self.common.turn.lock(&self.counters).remove(name).is_some())
    }

    fn counters(&self) -> Result<Vec<(Vec<u8>, i64)>> {
        Ok(self.common.turn.lock(&self.counters).iter().map(|(name, value)| (name.clone(), *value)).collect())
    }

    fn kv(&self) -> &dyn KvBackend {
        &self.keyspace
    }

    fn bus(&self) -> &dyn Bus {
        &self.bus
    }

    fn random(&self) -> u64 {
        crate::sys::random::quick()
    }

    fn statistics(&self) -> &dyn Statistics {
        &self.common.statistics
    }

    fn interest(&self) -> Interest<'_> {
        let [settings_version, event_classes, tracking, broadcast, monitors, watchers, buckets @ ..] = &*self.interest
        else {
            unreachable!("it is longer")
        };
        Interest { settings_version, event_classes, audiences: [tracking, broadcast, monitors, watchers], buckets }
    }

    fn interest_hash(&self, key: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish()
    }

    fn gather_departures(&self) {
        lock(&self.common.departures).get_or_insert_default();
    }

    fn take_departures(&self) -> Option<Departures> {
        let keys = std::mem::take(lock(&self.common.departures).as_mut()?);
        (!keys.is_empty()).then_some(Departures { keys, lost: false })
    }

    fn transact(&self, body: &mut dyn FnMut() -> bool) -> Result<()> {
        let _alone = self.common.turn.alone();
        let mut undo = PutBack { store: self, saved: Some(self.saved()) };
        if body() {
            undo.saved = None;
        }
        Ok(())
    }

    fn sweep(&self) -> usize {
        let rows: usize = self.common.turn.lock(&self.tables).values().map(|table| table.sweep()).sum();
        rows + self.keyspace.sweep()
    }

    fn set_memory_limit(&self, limit: MemoryLimit) {
        self.keyspace.uses.set_limit(limit);
    }

    fn make_room(&self) -> Result<()> {
        self.keyspace.come_below_limit()
    }

    fn memory_use(&self) -> MemoryUse {
        let (tables, keys) = (table_bytes(&lock(&self.tables)), self.keyspace.bytes());
        let evicted = self.keyspace.uses.evicted();
        MemoryUse { total: self.limits.memory, fixed: 0, tables, keys, set_aside: tables + keys, evicted }
    }

    fn count_use(&self, wanted: bool) {
        self.keyspace.uses.ignore(!wanted);
    }

    fn memory(&self) -> (u64, u64) {
        (self.limits.memory, table_bytes(&self.common.turn.lock(&self.tables)) + self.keyspace.bytes())
    }
}

fn table_bytes(tables: &BTreeMap<String, Arc<MemoryTable>>) -> u64 {
    tables.values().map(|table| table.bytes()).sum()
}

/// Takes a lock. A panic under it has left a map whole, so what it guards is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn system_clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{
        Store, row,
        store::{Condition, Expiry, SetOptions, Stat, Ttl},
    };

    thread_local! { static NOW_MS: Cell<u64> = const { Cell::new(1000) } }

    fn store_at_1000() -> Store {
        NOW_MS.set(1000);
        Store::on(Arc::new(MemoryStore::with_clock(Limits::default(), || NOW_MS.get())))
    }

    #[test]
    fn a_row_lives_up_to_the_millisecond_of_its_expiry() {
        let store = store_at_1000();
        let table = store.make("t", 2, &[crate::Column::int("n")]).unwrap();
        table.write(b"a", &[], Expiry::At(1500), Condition::Always).unwrap();
        NOW_MS.set(1499);
        assert_eq!((table.ttl(b"a"), table.update("a", &row! { n: 1 })), (Ok(Ttl::At(1500)), Ok(true)));
        NOW_MS.set(1500);
        assert_eq!((table.count(), table.get("a"), table.count()), (Ok(1), Ok(None), Ok(0)));
    }

    #[test]
    fn a_key_lives_up_to_the_millisecond_of_its_expiry() {
        let (store, options) = (store_at_1000(), SetOptions { expiry: Expiry::At(1500), ..SetOptions::default() });
        store.kv().set(0, b"a", b"1", options).unwrap();
        NOW_MS.set(1499);
        assert_eq!(store.kv().incr(0, b"a", 1), Ok(2));
        NOW_MS.set(1500);
        assert_eq!((store.kv().incr(0, b"a", 1), store.kv().ttl(0, b"a")), (Ok(1), Ok(Ttl::Never)));
    }

    #[test]
    fn expired_rows_and_keys_count_until_they_are_freed() {
        let (store, options) = (store_at_1000(), SetOptions { expiry: Expiry::At(1500), ..SetOptions::default() });
        let table = store.make("t", 2, &[crate::Column::int("n")]).unwrap();
        table.write(b"a", &[], Expiry::At(1500), Condition::Always).unwrap();
        store.kv().set(7, b"a", b"1", options).unwrap();
        NOW_MS.set(2000);
        assert_eq!((table.count(), store.kv().len(7), store.kv().expiring(7)), (Ok(1), Ok(1), Ok(1)));
        assert_eq!((store.sweep(), store.sweep()), (2, 0));
        assert_eq!((table.count(), store.kv().len(7), store.statistics().sum(Stat::Expired)), (Ok(0), Ok(0), 2));
    }

    #[test]
    fn memory_counts_tables_and_values() {
        let store = store_at_1000();
        assert_eq!(store.memory(), (256 << 20, 0));
        store.kv().set(0, b"key", b"value", SetOptions::default()).unwrap();
        let table = store.make("t", 2, &[crate::Column::int("n")]).unwrap();
        assert_eq!(store.memory().1, 8 + table.info().unwrap().bytes);
    }
}
