//! The objects as everybody believes them to be: a register, a counter, a row, several rows. Plain sequential code that
//! knows nothing of the store.

use super::{
    calls::{CounterOp, RegisterOp, Ret, RowOp, RowValue, RowsOp, RowsValue},
    checker::Model,
};

/// One value that is there or not. With [`RegisterOp::Swap`] and its like it is the compare-and-set register.
#[derive(Debug)]
pub(crate) struct Register;

impl Model for Register {
    type State = Option<i64>;
    type Op = RegisterOp;
    type Ret = Ret;

    fn step(&state: &Self::State, op: &Self::Op) -> (Self::State, Ret) {
        let set_if = |condition: bool, value| (if condition { Some(value) } else { state }, Ret::Flag(condition));
        match *op {
            RegisterOp::Get => (state, Ret::Value(state)),
            RegisterOp::Set(value) => (Some(value), Ret::Done),
            RegisterOp::Delete => (None, Ret::Flag(state.is_some())),
            RegisterOp::Take => (None, Ret::Value(state)),
            RegisterOp::Insert(value) => set_if(state.is_none(), value),
            RegisterOp::Replace(value) => set_if(state.is_some(), value),
            RegisterOp::Exchange(value) => (Some(value), Ret::Value(state)),
            RegisterOp::Swap { expected, new } => set_if(state == Some(expected), new),
        }
    }

    fn is_read(op: &Self::Op) -> bool {
        matches!(op, RegisterOp::Get)
    }
}

/// A number that can be stepped. A missing one counts as 0 and is made by what writes to it.
#[derive(Debug)]
pub(crate) struct Counter;

impl Model for Counter {
    type State = Option<i64>;
    type Op = CounterOp;
    type Ret = Ret;

    fn step(&state: &Self::State, op: &Self::Op) -> (Self::State, Ret) {
        match *op {
            CounterOp::Get => (state, Ret::Value(state)),
            CounterOp::Set(value) => (Some(value), Ret::Done),
            CounterOp::Add(by) => {
                let sum = state.unwrap_or(0) + by;
                (Some(sum), Ret::Value(Some(sum)))
            }
            CounterOp::Swap { expected, new } if state.unwrap_or(0) == expected => (Some(new), Ret::Flag(true)),
            CounterOp::Swap { .. } => (state, Ret::Flag(false)),
            CounterOp::Delete => (None, Ret::Flag(state.is_some())),
        }
    }

    fn is_read(op: &Self::Op) -> bool {
        matches!(op, CounterOp::Get)
    }
}

/// A row of three columns, all of which are read at one instant.
#[derive(Debug)]
pub(crate) struct Row;

/// The row with some of its columns changed; a missing row has zeros.
fn with(row: Option<RowValue>, cells: &[Option<i64>; 3]) -> RowValue {
    let mut new = row.unwrap_or_default();
    new.iter_mut().zip(cells).for_each(|(column, cell)| *column = cell.unwrap_or(*column));
    new
}

impl Model for Row {
    type State = Option<RowValue>;
    type Op = RowOp;
    type Ret = Ret;

    fn step(&state: &Self::State, op: &Self::Op) -> (Self::State, Ret) {
        match op {
            RowOp::Get => (state, Ret::Row(state)),
            RowOp::Set(cells) => (Some(with(state, cells)), Ret::Done),
            &RowOp::Add { column, by } => {
                let mut new = state.unwrap_or_default();
                new[column] += by;
                (Some(new), Ret::Value(Some(new[column])))
            }
            RowOp::Delete => (None, Ret::Flag(state.is_some())),
            RowOp::Take => (None, Ret::Row(state)),
            RowOp::Swap { expected, new } if state.is_some_and(|row| row[0] == *expected) => {
                (Some(with(state, new)), Ret::Flag(true))
            }
            RowOp::Swap { .. } => (state, Ret::Flag(false)),
        }
    }

    fn is_read(op: &Self::Op) -> bool {
        matches!(op, RowOp::Get)
    }
}

/// A handful of numbers under different keys, several of which are read and written in one step.
#[derive(Debug)]
pub(crate) struct Rows;

impl Model for Rows {
    type State = RowsValue;
    type Op = RowsOp;
    type Ret = Ret;

    fn step(state: &Self::State, op: &Self::Op) -> (Self::State, Ret) {
        let mut new = *state;
        let ret = match *op {
            RowsOp::Get(key) => Ret::Value(state[key]),
            RowsOp::GetAll => Ret::Rows(*state),
            RowsOp::Set(key, value) => {
                new[key] = Some(value);
                Ret::Done
            }
            RowsOp::SetTwo(pairs) => {
                pairs.iter().for_each(|&(key, value)| new[key] = Some(value));
                Ret::Done
            }
            RowsOp::Add(key, by) => {
                new[key] = Some(state[key].unwrap_or(0) + by);
                Ret::Value(new[key])
            }
            RowsOp::Delete(key) => Ret::Flag(new[key].take().is_some()),
            RowsOp::Rename { from, to } => {
                let found = new[from].take();
                new[to] = found.or(new[to]);
                Ret::Flag(found.is_some())
            }
            RowsOp::Transfer { from, to, by } => {
                new[from] = Some(state[from].unwrap_or(0) - by);
                new[to] = Some(state[to].unwrap_or(0) + by);
                Ret::Rows(std::array::from_fn(|part| new[part].filter(|_| part == from || part == to)))
            }
            RowsOp::Swap { part, expected, new: value } => {
                let swaps = state[part] == Some(expected);
                new[part] = if swaps { Some(value) } else { state[part] };
                Ret::Flag(swaps)
            }
        };
        (new, ret)
    }

    fn is_read(op: &Self::Op) -> bool {
        matches!(op, RowsOp::Get(_) | RowsOp::GetAll)
    }
}
