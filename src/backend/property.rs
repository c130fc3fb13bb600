//! Two stores that are told the same must answer the same: random operations on both, every answer and in the end
//! everything they hold compared.
//!
//! Sizes are tiny and names few, so that tables fill up, names collide and handles outlive their tables. Expiries lie
//! in the far future or in the past, so that no answer depends on when it was asked for. What the contract leaves open
//! (the order of a scan, cursors, which key is the random one, bytes in use) is not compared.

mod counters;
mod keyspace;
mod tables;
mod values;

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::{
    Error, Row, Store, Table, Value,
    store::{KvType, Made, SetOutcome, Ttl, limits::DATABASES},
};
use counters::CounterOp;
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
    /// Empties one database, or all.
    Flush(Option<u8>),
    /// Frees what has expired.
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => tables::table_op().prop_map(Op::Table),
        24 => (any::<usize>(), tables::row_op()).prop_map(|(handle, op)| Op::Row(handle, op)),
        8 => (0..40_u64, counters::op()).prop_map(|(counter, op)| Op::Counter(counter, op)),
        24 => (database(), keyspace::op()).prop_map(|(db, op)| Op::Key(db, op)),
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
}

impl World {
    fn new(store: Store) -> Self {
        Self { store, handles: Vec::new() }
    }

    fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Table(op) => op.apply(&self.store, &mut self.handles),
            Op::Row(_, _) if self.handles.is_empty() => Answer::Nothing,
            Op::Row(handle, op) => op.apply(&self.handles[handle % self.handles.len()]),
            Op::Counter(counter, op) => op.apply(&self.store, *counter),
            Op::Key(db, op) => op.apply(&self.store, *db),
            Op::Flush(db) => self.store.kv().flush(*db).into(),
            Op::Sweep => {
                self.store.sweep();
                Answer::Nothing
            }
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
    Set(SetOutcome),
}
