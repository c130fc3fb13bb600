//! The store on a shared segment.
//!
//! Here the data model meets the rows: schemas are encoded and decoded, cells are put into a row's words and taken out, and what
//! the segment refuses becomes an error of the store.

mod bus;
mod eviction;
mod hashes;
mod keyspace;
mod schema;
mod statistics;
mod table;

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use crate::{
    shm::{self, Counted, Counters, Keys, Refusal, Segment, SegmentError, StatCells, Tables, Transaction},
    store::{
        Backend, Bus, Departed, Departures, Error, Interest, KvBackend, Made, MemoryLimit, MemoryUse, Result, Schema,
        Stat, Statistics, Store, TableBackend, TableInfo, TableSpec,
    },
    sys::{clock, random},
};

use table::SharedTable;

/// A store on a segment. All processes that have the segment mapped see the same data.
pub struct SharedStore {
    segment: Segment,
    patience: Option<Duration>,
    counters: Counters,
    keys: Keys,
    statistics: StatCells,
    bus: shm::Bus,
    /// Tables that were found by name. An entry whose table was dropped is looked up again.
    tables: RwLock<HashMap<String, Arc<SharedTable>>>,
}

impl SharedStore {
    /// A store on `segment`. With a `patience`, operations answer `Busy` when they have waited that long for what
    /// somebody else holds; without, they wait until they get it.
    #[must_use]
    pub fn open(segment: Segment, patience: Option<Duration>) -> Self {
        Self {
            counters: Counters::new(&segment),
            keys: Keys::new(&segment),
            statistics: StatCells::new(&segment),
            bus: shm::Bus::new(&segment),
            tables: RwLock::default(),
            segment,
            patience,
        }
    }

    fn remember(&self, table: Tables) -> Result<Arc<SharedTable>> {
        let table = Arc::new(SharedTable::new(table, self.patience)?);
        // Not while others are at it: a fork might have taken them away for ever. The table is found again next time.
        if let Ok(mut tables) = self.tables.try_write() {
            tables.retain(|_, known| known.is_current());
            tables.insert(table.schema().table().to_owned(), Arc::clone(&table));
        }
        Ok(table)
    }
}

impl Store {
    /// A store on a segment. Operations wait for what others hold, for as long as it takes: a killed holder is recovered at
    /// once, a stopped one is waited for.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Unsupported`] where this process may not do what writers have to.
    pub fn open(segment: Segment) -> Result<Self, SegmentError> {
        segment.admit_process()?;
        Ok(Self::on(Arc::new(SharedStore::open(segment, None))))
    }

    /// As [`Store::open`], but operations answer [`Error::Busy`] when they have waited for `patience`, and have changed nothing then.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn open_timeout(segment: Segment, patience: Duration) -> Result<Self, SegmentError> {
        segment.admit_process()?;
        Ok(Self::on(Arc::new(SharedStore::open(segment, Some(patience)))))
    }
}

/// The error for a refusal that says nothing about a table.
fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Full | Refusal::OutOfMemory => Error::OutOfMemory,
        Refusal::NoTable => Error::TablesFull,
        Refusal::InTransaction => Error::InTransaction,
        _ => Error::Busy,
    }
}

fn counters_refused(refusal: Refusal) -> Error {
    if refusal == Refusal::Full { Error::CountersFull } else { refused(refusal) }
}

impl Backend for SharedStore {
    fn make(&self, name: &str, spec: TableSpec) -> Result<(Arc<dyn TableBackend>, Made)> {
        let schema = if Schema::is_hidden(name) { Schema::hidden(name, spec)? } else { Schema::new(name, spec)? };
        let made = Tables::make(&self.segment, self.patience, &schema::raw(&schema));
        let (table, new) = made.map_err(|refusal| match refusal {
            Refusal::Exists => Error::TableExists(name.to_owned()),
            other => refused(other),
        })?;
        Ok((self.remember(table)?, if new { Made::New } else { Made::Same }))
    }

    fn table(&self, name: &str) -> Result<Arc<dyn TableBackend>> {
        if let Ok(tables) = self.tables.try_read()
            && let Some(table) = tables.get(name).filter(|table| table.is_current())
        {
            return Ok(Arc::clone(table) as Arc<dyn TableBackend>);
        }
        let found = Tables::find(&self.segment, self.patience, name).map_err(|refusal| match refusal {
            Refusal::Gone => Error::TableNotFound(name.to_owned()),
            other => refused(other),
        })?;
        Ok(self.remember(found)?)
    }

    fn tables(&self) -> Result<Vec<TableInfo>> {
        let listed = Tables::list(&self.segment, self.patience).map_err(refused)?;
        let shown = listed.into_iter().filter(|table| !Schema::is_hidden(&table.spec().name));
        let mut infos: Vec<TableInfo> = shown
            .filter_map(|table| SharedTable::new(table, self.patience).and_then(|table| table.info()).ok())
            .collect();
        infos.sort_by(|a, b| a.schema.table().cmp(b.schema.table()));
        Ok(infos)
    }

    fn drop_table(&self, name: &str) -> Result<bool> {
        Tables::drop_named(&self.segment, self.patience, name).map_err(refused)
    }

    fn counter_get(&self, name: &[u8]) -> Result<Option<i64>> {
        self.counters.get(self.patience, name).map_err(refused)
    }

    fn counter_add(&self, name: &[u8], by: i64, bound: Option<i64>) -> Result<Option<i64>> {
        match self.counters.add(self.patience, name, by, bound).map_err(counters_refused)? {
            Counted::Value(value) => Ok(Some(value)),
            Counted::Kept(_) => Ok(None),
            Counted::Overflow => Err(Error::Overflow),
        }
    }

    fn counter_set(&self, name: &[u8], value: i64) -> Result<()> {
        self.counters.set(self.patience, name, value).map_err(counters_refused)
    }

    fn counter_cas(&self, name: &[u8], expected: i64, new: i64) -> Result<(bool, i64)> {
        match self.counters.swap(self.patience, name, expected, new).map_err(counters_refused)? {
            Counted::Value(value) => Ok((true, value)),
            Counted::Kept(value) => Ok((false, value)),
            Counted::Overflow => Err(Error::Overflow),
        }
    }

    fn counter_delete(&self, name: &[u8]) -> Result<bool> {
        self.counters.delete(self.patience, name).map_err(refused)
    }

    fn counters(&self) -> Result<Vec<(Vec<u8>, i64)>> {
        let mut counters = self.counters.list(self.patience).map_err(refused)?;
        counters.sort_unstable();
        Ok(counters)
    }

    fn kv(&self) -> &dyn KvBackend {
        self
    }

    fn bus(&self) -> &dyn Bus {
        self
    }

    fn random(&self) -> u64 {
        random::quick()
    }

    fn statistics(&self) -> &dyn Statistics {
        self
    }

    fn interest(&self) -> Interest<'_> {
        let words = self.segment.interest();
        Interest {
            settings_version: &words.settings_version,
            event_classes: &words.event_classes,
            audiences: [&words.tracking, &words.broadcast, &words.monitors, &words.watchers],
            buckets: &words.buckets,
        }
    }

    fn interest_hash(&self, key: &[u8]) -> u64 {
        self.segment.hash(key, 0)
    }

    fn gather_departures(&self) {
        self.segment.gather_departures();
    }

    fn take_departures(&self) -> Option<Departures> {
        self.segment.take_departures().map(|gone| Departures {
            keys: gone
                .keys
                .into_iter()
                .map(|shm::Departed { db, key, evicted }| Departed { db, key, evicted })
                .collect(),
            lost: gone.lost,
        })
    }

    fn transact(&self, body: &mut dyn FnMut() -> bool) -> Result<()> {
        let transaction = Transaction::begin(&self.segment, self.patience).map_err(refused)?;
        if body() {
            transaction.commit();
        }
        Ok(())
    }

    fn sweep(&self) -> usize {
        let freed = self.segment.sweep(clock::now_ms());
        if freed > 0 {
            self.add(Stat::Expired, freed as u64);
        }
        freed
    }

    fn set_memory_limit(&self, limit: MemoryLimit) {
        self.set_limit(limit);
    }

    fn make_room(&self) -> Result<()> {
        self.come_below_limit()
    }

    fn memory_use(&self) -> MemoryUse {
        self.uses_of_memory()
    }

    fn count_use(&self, wanted: bool) {
        self.segment.note_use(wanted);
    }

    fn memory(&self) -> (u64, u64) {
        self.segment.memory()
    }
}
