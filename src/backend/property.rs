//! Two stores that are told the same must answer the same: random operations on both, every answer and in the end
//! everything they hold compared.
//!
//! Sizes are tiny and names few, so that tables fill up, names collide and handles outlive their tables. Expiries lie
//! around the year 2096 or in the past, so that no answer depends on when it was asked for, unless the sequence moves the clock itself,
//! which then stands there. What the contract leaves open (the order of a scan, cursors, which key is the random one, bytes in use) is not
//! compared.
//!
//! Besides the many short sequences there are long ones, in which time passes, and such in which the thread that works on the segment dies
//! again and again at some named point: then everything must be as before the operation or as after it.
//! `PROPERTY_SECONDS` says for how long those go on (2 seconds each if it is not set).

mod counters;
mod hashes;
mod keyspace;
mod tables;
mod values;

use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use crate::{
    Error, Row, Store, Table, Value,
    shm::{Segment, tests::deaths},
    store::{KvType, Made, Pair, Schema, SetOutcome, Ttl, limits::DATABASES},
    sys::clock,
};
use counters::CounterOp;
use hashes::HashOp;
use keyspace::KeyOp;
use tables::{RowOp, TableOp};

/// Operations of one run at most.
const OPERATIONS: usize = 120;

/// Checks that stores of both makers cannot be told apart. `PROPTEST_CASES` says how many runs are made.
///
/// # Panics
///
/// With the shortest sequence of operations that was found, if they can.
pub(super) fn agree(left: impl Fn() -> Store, right: impl Fn() -> Store) {
    let config = Config { failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&vec(op(), 1..OPERATIONS), |ops| {
        let (mut left, mut right) = (World::new(left()), World::new(right()));
        for (step, op) in ops.iter().enumerate() {
            prop_assert_eq!(left.apply(op), right.apply(op), "step {}: {:?}", step, op);
        }
        prop_assert_eq!(left.everything(), right.everything(), "what they hold in the end");
        Ok(())
    });
    if let Err(difference) = checked {
        panic!("{difference}");
    }
}

/// Shares in which a sweep goes through everything.
const SHARES: usize = 16;
/// Operations of a long sequence.
const LONG: usize = 3000;
/// Operations of a sequence with deaths.
const MORTAL: usize = 400;
/// When time begins to pass: just before the expiries of `values::expiry_at`.
const DAWN_MS: u64 = 3_999_999_999_995;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(DAWN_MS) };
}

/// The clock of the sequences in which time passes; for the store that can be given one.
pub(super) fn now_ms() -> u64 {
    NOW_MS.get()
}

/// Sets the clock of this thread, for both stores.
fn set_clock(ms: u64) {
    NOW_MS.set(ms);
    clock::set::to(Some(ms));
}

/// Runs sequences of `operations` until the time that `PROPERTY_SECONDS` allows is over, at least two.
fn for_a_while(operations: usize, mut run: impl FnMut(&[Op])) {
    let seconds = std::env::var("PROPERTY_SECONDS").ok().map_or(2, |text| text.parse().expect("a number of seconds"));
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let seed: [u8; 32] = std::array::from_fn(|i| (std::process::id() >> (8 * (i % 4))) as u8);
    eprintln!("the seed of these sequences: {}", std::process::id());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    let (mut sequences, mut total) = (0, 0);
    while sequences < 2 || start.elapsed() < limit {
        let ops = vec(moving_op(), operations / 2..operations).new_tree(&mut runner).expect("there are operations");
        let ops = ops.current();
        set_clock(DAWN_MS);
        run(&ops);
        (sequences, total) = (sequences + 1, total + ops.len());
    }
    clock::set::to(None);
    eprintln!("{sequences} sequences, {total} operations in {:?}", start.elapsed());
}

/// As [`agree`], over long sequences in which time passes. The stores go by [`now_ms`] and by `sys::clock`.
///
/// # Panics
///
/// With the step at which they differ.
pub(super) fn agree_for_long(left: impl Fn() -> Store, right: impl Fn() -> Store) {
    for_a_while(LONG, |ops| {
        let (mut left, mut right) = (World::new(left()), World::new(right()));
        for (step, op) in ops.iter().enumerate() {
            assert_eq!(left.apply(op), right.apply(op), "step {step}: {op:?}");
        }
        assert_eq!(left.everything(), right.everything(), "what they hold in the end");
    });
}

/// Lets the thread that works on the segment die at one point or another of every third operation. What is there then is what
/// the oracle has before that operation, or after it; and the whole segment is sound.
///
/// # Panics
///
/// With the step after which it is not.
pub(super) fn agree_over_deaths(shared: impl Fn() -> (Segment, Store), oracle: impl Fn() -> Store) {
    let (mut deaths, mut old) = (0, 0);
    for_a_while(MORTAL, |ops| {
        let (segment, store) = shared();
        let (mut left, mut right) = (World::new(store), World::new(oracle()));
        for (step, op) in ops.iter().enumerate() {
            let before = (step % 3 == 0 && op.is_atomic() && right.shows(op)).then(|| right.everything());
            let answer = right.apply(op);
            let Some(before) = before else {
                assert_eq!(left.apply(op), answer, "step {step}: {op:?}");
                continue;
            };
            let mut given = None;
            let (at, now) = (step / 3 % 16, now_ms());
            let survived = deaths::dies_at(&segment, at, |_| {
                set_clock(now);
                given = Some(left.apply(op));
            });
            if survived {
                assert_eq!(given, Some(answer), "step {step}: {op:?}");
                continue;
            }
            deaths += 1;
            segment.recover();
            deaths::assert_sound(&segment, "after a death");
            if left.everything() != right.everything() {
                assert!(left.everything() == before, "step {step}, dead at point {at}: neither old nor new: {op:?}");
                old += 1;
                assert_eq!(left.apply(op), answer, "step {step}, done again: {op:?}");
            } else if let Op::Table(op) = op {
                // The handle that the dead one got.
                op.find(&left.store, &mut left.handles, right.handles.len());
            }
        }
        assert_eq!(left.everything(), right.everything(), "what they hold in the end");
    });
    eprintln!("{deaths} deaths, {old} of them before the operation had happened");
    assert!(deaths > 20 && old > 0 && old < deaths, "{deaths} deaths, {old} of them left the old state");
}

/// One thing that is done to both stores.
#[derive(Debug, Clone)]
enum Op {
    /// Makes, finds, lists or drops tables.
    Table(TableOp),
    /// Something with one of the table handles got so far.
    Row(usize, RowOp),
    /// Something with the counter of this number.
    Counter(u64, CounterOp),
    /// Something with a database.
    Key(u8, KeyOp),
    /// Something with a hash of a database.
    Hash(u8, HashOp),
    /// Empties one database, or all.
    Flush(Option<u8>),
    /// Frees what has expired.
    Sweep,
    /// Lets so many milliseconds pass, and frees what has expired by then.
    Wait(u64),
}

impl Op {
    /// Whether it is one operation of the store, which a death must leave undone or done. The sweep changes nothing that can be seen.
    fn is_atomic(&self) -> bool {
        let several = matches!(self, Self::Row(_, RowOp::ScanAndDelete(_)) | Self::Counter(_, CounterOp::Fill));
        !several && !matches!(self, Self::Wait(_) | Self::Sweep)
    }
}

/// Operations between which time passes.
fn moving_op() -> impl Strategy<Value = Op> {
    prop_oneof![40 => op(), 1 => (0..3_u64).prop_map(Op::Wait)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => tables::table_op().prop_map(Op::Table),
        24 => (any::<usize>(), tables::row_op()).prop_map(|(handle, op)| Op::Row(handle, op)),
        8 => (0..40_u64, counters::op()).prop_map(|(counter, op)| Op::Counter(counter, op)),
        24 => (database(), keyspace::op()).prop_map(|(db, op)| Op::Key(db, op)),
        12 => (database(), hashes::op()).prop_map(|(db, op)| Op::Hash(db, op)),
        1 => proptest::option::weighted(0.8, database()).prop_map(Op::Flush),
        1 => Just(Op::Sweep),
    ]
}

/// Mostly the first database, at times another, seldom one that does not exist.
fn database() -> impl Strategy<Value = u8> {
    prop_oneof![12 => Just(0_u8), 6 => 1..16_u8, 1 => 16..=255_u8]
}

/// A store and the table handles that were got from it.
struct World {
    store: Store,
    handles: Vec<Table>,
    now_ms: u64,
}

impl World {
    fn new(store: Store) -> Self {
        Self { store, handles: Vec::new(), now_ms: now_ms() }
    }

    fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Table(op) => op.apply(&self.store, &mut self.handles),
            Op::Row(_, _) if self.handles.is_empty() => Answer::Nothing,
            Op::Row(handle, op) => op.apply(&self.handles[handle % self.handles.len()]),
            Op::Counter(counter, op) => op.apply(&self.store, *counter),
            Op::Key(db, op) => op.apply(&self.store, *db),
            Op::Hash(db, op) => op.apply(&self.store, *db),
            Op::Flush(db) => self.store.kv().flush(*db).into(),
            Op::Sweep => {
                self.store.sweep();
                Answer::Nothing
            }
            Op::Wait(ms) => {
                self.now_ms += ms;
                set_clock(self.now_ms);
                // Counts include what has expired and was not freed yet: a round of all shares frees it.
                for _ in 0..SHARES {
                    self.store.sweep();
                }
                Answer::Nothing
            }
        }
    }

    /// Whether what the operation does shows in [`World::everything`]: what it does to hidden tables does not.
    fn shows(&self, op: &Op) -> bool {
        let hidden = |table: &Table| Schema::is_hidden(table.schema().table());
        match op {
            Op::Row(handle, _) if !self.handles.is_empty() => !hidden(&self.handles[handle % self.handles.len()]),
            _ => true,
        }
    }

    /// Everything that can be read from the store.
    fn everything(&self) -> Everything {
        Everything {
            tables: tables::contents(&self.store),
            counters: self.store.counters().unwrap(),
            databases: (0..DATABASES as u8).map(|db| keyspace::contents(&self.store, db)).collect(),
        }
    }
}

/// What a store holds.
#[derive(Debug, PartialEq)]
struct Everything {
    tables: Vec<tables::Contents>,
    counters: Vec<(Vec<u8>, i64)>,
    databases: Vec<keyspace::Contents>,
}

/// Declares what an operation can answer, and how an answer is made of a result.
macro_rules! answers {
    ($($variant:ident($type:ty),)*) => {
        /// What an operation answered.
        #[derive(Debug, PartialEq)]
        enum Answer {
            /// Nothing that could be compared.
            Nothing,
            $($variant(Result<$type, Error>),)*
        }

        $(impl From<Result<$type, Error>> for Answer {
            fn from(result: Result<$type, Error>) -> Self {
                Self::$variant(result)
            }
        })*
    };
}

answers! {
    Done(()),
    Yes(bool),
    Number(u64),
    Sum(i64),
    Bound(Option<i64>),
    Swapped((bool, i64)),
    Tables(Vec<(String, u64)>),
    Made(Made),
    Column(Value),
    Row(Option<Row>),
    Rows(Vec<Option<Row>>),
    Page(Vec<(Vec<u8>, Row)>),
    Cas(Option<bool>),
    Expiry(Ttl),
    Kind(Option<KvType>),
    Text(Vec<u8>),
    Value(Option<Vec<u8>>),
    Values(Vec<Option<Vec<u8>>>),
    Keys(Vec<Vec<u8>>),
    Pairs(Option<Vec<Pair>>),
    Set(SetOutcome),
}
