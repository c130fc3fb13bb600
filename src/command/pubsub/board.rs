//! How many have subscribed to what, at which worker: hidden tables that every worker reads and each changes in a column of its own.
//!
//! A row stands for a channel or a pattern that somebody has subscribed to. So one lookup tells a publisher how many hear it and which workers
//! must be told. The patterns are a table of their own, which each worker keeps a copy of for as long as the
//! bus says that none was added or taken away.
//!
//! When a worker dies, its columns are emptied by the next process of its index.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use super::super::{bus::Kind, glob};
use crate::store::{Column, Error, Result, Row, Store, Table, TableSpec, Targets, ValueRef, limits::MAX_CHANNEL_BYTES};

/// The share of the segment that channels take, and the patterns' share of that.
const MEMORY_SHARE: u64 = 64;
const PATTERN_SHARE: u64 = 16;
/// Rows of the smallest and of the largest table.
const MIN_ROWS: u64 = 64;
const MAX_ROWS: u64 = 65_536;
/// Bytes that a row takes beside its key and its columns.
const ROW_BYTES: u64 = 32;
/// Rows that one step of a listing reads.
const PAGE_ROWS: usize = 512;

/// Who hears a message: how many, and at which workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reach {
    pub(crate) count: i64,
    pub(crate) workers: Targets,
}

impl Reach {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.workers.extend(other.workers);
    }
}

/// What a name is in the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// A channel of this kind.
    Channel(Kind),
    /// A pattern.
    Pattern,
}

impl Topic {
    fn mark(self) -> u8 {
        match self {
            Self::Channel(Kind::Channel) => b'c',
            Self::Channel(Kind::Shard) => b's',
            Self::Pattern => b'p',
        }
    }

    /// The key of a name's row.
    fn key(self, name: &[u8]) -> Vec<u8> {
        [&[self.mark()], name].concat()
    }
}

/// The patterns that somebody has subscribed to, as of a version.
#[derive(Default)]
struct Patterns {
    version: Option<u64>,
    known: Vec<(Vec<u8>, Reach)>,
}

/// Where a transaction began: how much was owed, and the version of the patterns.
pub(super) struct Mark {
    owed: usize,
    patterns: u64,
}

/// The counts, as one worker holds them.
pub(super) struct Board {
    store: Store,
    channels: Table,
    patterns: Table,
    worker: usize,
    copy: RefCell<Patterns>,
    /// A row to read into.
    row: RefCell<Row>,
    /// What could not be counted out yet.
    owed: RefCell<VecDeque<(Topic, Vec<u8>)>>,
    /// The version could not be raised in step with the patterns.
    is_stale: Cell<bool>,
}

fn spec(store: &Store, share: u64) -> TableSpec {
    let workers = store.bus().workers();
    let key_bytes = 1 + MAX_CHANNEL_BYTES as u64;
    let rows = store.memory().0 / MEMORY_SHARE / share / (key_bytes + 8 * workers as u64 + ROW_BYTES);
    let columns = (0..workers).map(|worker| Column::int(&format!("w{worker}"))).collect();
    TableSpec { rows: rows.clamp(MIN_ROWS, MAX_ROWS), key_bytes: key_bytes as u16, columns }
}

impl Board {
    /// Makes the tables, or finds them.
    pub(super) fn tables(store: &Store) -> Result<(Table, Table)> {
        Ok((store.hidden("~channels", spec(store, 1))?, store.hidden("~patterns", spec(store, PATTERN_SHARE))?))
    }

    pub(super) fn open(store: &Store, worker: usize) -> Result<Self> {
        let (channels, patterns) = Self::tables(store)?;
        let board = Self {
            store: store.clone(),
            row: RefCell::new(channels.row()),
            channels,
            patterns,
            worker,
            copy: RefCell::default(),
            owed: RefCell::default(),
            is_stale: Cell::new(false),
        };
        board.purge(&board.channels)?;
        board.purge(&board.patterns)?;
        store.bus().patterns_changed();
        Ok(board)
    }

    /// Counts out what an earlier process of this worker had counted in.
    fn purge(&self, table: &Table) -> Result<()> {
        let mut left = Vec::new();
        each_row(table, |key, row| {
            if let ValueRef::Int(count @ 1..) = row.get(self.worker) {
                left.push((key.to_vec(), count));
            }
        })?;
        left.iter().try_for_each(|(key, count)| table.release(key, self.worker, *count).map(drop))
    }

    fn table(&self, topic: Topic) -> &Table {
        if topic == Topic::Pattern { &self.patterns } else { &self.channels }
    }

    /// Counts a subscriber of this worker in.
    pub(super) fn count_in(&self, topic: Topic, name: &[u8]) -> Result<()> {
        self.table(topic).add_cell(&topic.key(name), self.worker, ValueRef::Int(1))?;
        self.note(topic);
        Ok(())
    }

    /// Counts a subscriber of this worker out; later, if a stopped process holds the row.
    pub(super) fn count_out(&self, topic: Topic, name: &[u8]) {
        if self.try_count_out(topic, name).is_err() {
            self.owed.borrow_mut().push_back((topic, name.to_vec()));
        }
    }

    fn try_count_out(&self, topic: Topic, name: &[u8]) -> Result<()> {
        self.table(topic).release(topic.key(name), self.worker, 1)?;
        self.note(topic);
        Ok(())
    }

    fn note(&self, topic: Topic) {
        if topic == Topic::Pattern {
            self.store.bus().patterns_changed();
        }
    }

    /// A transaction begins.
    pub(super) fn mark(&self) -> Mark {
        Mark { owed: self.owed.borrow().len(), patterns: self.store.bus().patterns_version() }
    }

    /// The store has undone all counting since then: what could not be counted out is not owed, and copies of the patterns are out of date.
    pub(super) fn revert(&self, mark: Mark) {
        self.owed.borrow_mut().truncate(mark.owed);
        if self.store.bus().patterns_version() != mark.patterns {
            self.store.bus().patterns_changed();
        }
    }

    /// Counts out what could not be before, up to the first that still cannot, which goes last: a tick waits once at most, and what one stopped
    /// process holds keeps back nothing else. Called by the worker's tick.
    pub(super) fn tick(&self) {
        let mut owed = self.owed.borrow_mut();
        while let Some((topic, name)) = owed.pop_front() {
            if self.try_count_out(topic, &name).is_err() {
                owed.push_back((topic, name));
                return;
            }
        }
    }

    /// Who hears what is published under a name.
    ///
    /// A stopped process that holds the row does not hold a publisher up: every worker is told then, and those are counted that can be.
    pub(super) fn reach(&self, kind: Kind, channel: &[u8]) -> Reach {
        let mut reach = self.direct(kind, channel);
        if kind == Kind::Channel {
            self.refresh_patterns();
            for (pattern, hearers) in &self.copy.borrow().known {
                if glob::matches(pattern, channel) {
                    reach.add(hearers);
                }
            }
            if self.is_stale.get() {
                reach.workers = self.everybody();
            }
        }
        reach
    }

    /// Those who have subscribed to a channel by its name.
    pub(super) fn direct(&self, kind: Kind, channel: &[u8]) -> Reach {
        if channel.len() > MAX_CHANNEL_BYTES {
            return Reach::default();
        }
        let mut row = self.row.borrow_mut();
        match self.channels.read(&Topic::Channel(kind).key(channel), &mut row) {
            Ok(true) => reach_of(&row),
            Ok(false) => Reach::default(),
            Err(_) => Reach { count: 0, workers: self.everybody() },
        }
    }

    fn everybody(&self) -> Targets {
        Targets::all(self.store.bus().workers())
    }

    /// Reads the patterns again if they have changed.
    fn refresh_patterns(&self) {
        let version = self.store.bus().patterns_version();
        let mut copy = self.copy.borrow_mut();
        if copy.version == Some(version) {
            return;
        }
        let mut known = Vec::new();
        let read = each_row(&self.patterns, |key, row| known.push((key[1..].to_vec(), reach_of(row))));
        self.is_stale.set(read.is_err());
        if read.is_ok() {
            *copy = Patterns { version: Some(version), known };
        }
    }

    /// The patterns that somebody has subscribed to.
    pub(super) fn pattern_count(&self) -> usize {
        self.refresh_patterns();
        self.copy.borrow().known.len()
    }

    /// The channels that somebody has subscribed to.
    pub(super) fn channels(&self, kind: Kind) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        each_row(&self.channels, |key, _| {
            if key[0] == Topic::Channel(kind).mark() {
                names.push(key[1..].to_vec());
            }
        })?;
        Ok(names)
    }
}

fn reach_of(row: &Row) -> Reach {
    let mut reach = Reach::default();
    for worker in 0..row.schema().columns().len() {
        if let ValueRef::Int(count @ 1..) = row.get(worker) {
            reach.count += count;
            reach.workers.insert(worker);
        }
    }
    reach
}

fn each_row(table: &Table, mut with: impl FnMut(&[u8], &Row)) -> Result<(), Error> {
    let mut cursor = 0;
    loop {
        let page = table.scan(cursor, PAGE_ROWS)?;
        page.rows.iter().for_each(|(key, row)| with(key, row));
        cursor = page.cursor;
        if cursor == 0 {
            return Ok(());
        }
    }
}
