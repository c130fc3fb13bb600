//! Random operations on counters. There are more names than counters fit.

use proptest::prelude::*;

use super::{Answer, values::integer};
use crate::Store;

#[derive(Debug, Clone)]
pub(super) enum CounterOp {
    Get,
    Add(i64),
    AddBounded(i64, i64),
    Set(i64),
    Swap(i64, i64),
    Delete,
    /// Writes all counters of a smaller number, until they no longer fit.
    Fill,
}

pub(super) fn op() -> impl Strategy<Value = CounterOp> {
    prop_oneof![
        2 => Just(CounterOp::Get),
        4 => integer().prop_map(CounterOp::Add),
        4 => (integer(), integer()).prop_map(|(by, bound)| CounterOp::AddBounded(by, bound)),
        2 => integer().prop_map(CounterOp::Set),
        3 => (-2..3_i64, -2..3_i64).prop_map(|(expected, new)| CounterOp::Swap(expected, new)),
        3 => Just(CounterOp::Delete),
        1 => Just(CounterOp::Fill),
    ]
}

impl CounterOp {
    pub(super) fn apply(&self, store: &Store, number: u64) -> Answer {
        let named = |number: u64| store.counter(format!("counter {number}")).unwrap();
        let counter = named(number);
        match *self {
            Self::Get => counter.get().into(),
            Self::Add(by) => counter.add(by).into(),
            Self::AddBounded(by, bound) => counter.add_bounded(by, bound).into(),
            Self::Set(value) => counter.set(value).into(),
            Self::Swap(expected, new) => counter.compare_and_set(expected, new).into(),
            Self::Delete => counter.delete().into(),
            Self::Fill => (0..number).try_for_each(|i| named(i).set(1)).into(),
        }
    }
}
