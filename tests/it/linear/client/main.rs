//! A library process of a history: attaches to a named segment and works as a client until there are no more tickets.
//! Usage: `linear-client SEGMENT BOARD LOG BURST TICK_US`.

#[expect(dead_code, reason = "answers are read in the tests")]
#[path = "../calls.rs"]
mod calls;
#[expect(dead_code, reason = "the library neither refuses nor loses a call")]
#[path = "../client.rs"]
mod client;
#[expect(dead_code, reason = "logs are read in the tests")]
#[path = "../log.rs"]
mod log;

use std::{cell::Cell, error::Error, path::Path, process::ExitCode};

use nix::sys::{prctl::set_pdeathsig, signal::Signal};
use store_master::{
    Counter, Result, Row, Segment, Store, Table,
    store::{Condition, Expiry, FieldUpdate, SetOptions, ValueRef},
};

use calls::{
    Call, CounterOp, KEY_TEXT, Kind, Object, Op, ROW_TEXT, RegisterOp, Ret, RowOp, RowValue, RowsOp, Way, decimal,
    number, text,
};
use client::{Caller, Outcome, Pace, work};
use log::{Board, Log};

/// The database of the keys.
const DB: u8 = 0;

/// The store as the calls see it.
struct Library {
    store: Store,
    cells: Table,
    rows: Table,
    accounts: Table,
}

impl Caller for Library {
    const WAY: Way = Way::Library;

    fn call(&mut self, call: &Call) -> Outcome {
        let object = &call.object;
        let answer = match (&call.op, object.kind) {
            (Op::Register(op), Kind::Key) => self.key(op, &object.key(0)),
            (Op::Register(op), Kind::Field) => self.field(op, object),
            (Op::Register(op), _) => self.cell(op, &object.key(0)),
            (Op::Counter(op), Kind::Tally) => self.store.counter(object.key(0)).and_then(|tally| count(op, &tally)),
            (Op::Counter(op), Kind::FieldNumber) => self.field_number(op, object),
            (Op::Counter(op), _) => self.number(op, object.key(0).as_bytes()),
            (Op::Row(op), _) => self.row(op, &object.key(0)),
            (Op::Rows(op), Kind::Accounts) => self.accounts(op, object),
            (Op::Rows(op), _) => self.pairs(op, object),
        };
        Outcome::Answer(answer.unwrap_or_else(|error| panic!("{call:?}: {error}")))
    }
}

impl Library {
    fn open(segment: &str) -> Result<Self, Box<dyn Error>> {
        let store = Store::open(Segment::attach(segment)?)?;
        let (cells, rows, accounts) = (store.table("cells")?, store.table("rows")?, store.table("accounts")?);
        Ok(Self { store, cells, rows, accounts })
    }

    fn key(&self, op: &RegisterOp, key: &str) -> Result<Ret> {
        let (kv, key) = (self.store.kv(), key.as_bytes());
        let value = |bytes: Option<Vec<u8>>| Ret::Value(bytes.map(|bytes| number(&bytes, KEY_TEXT)));
        let set = |value: i64, options: SetOptions| kv.set(DB, key, text(value, KEY_TEXT).as_bytes(), options);
        let set_if =
            |value, condition| Ok(Ret::Flag(set(value, SetOptions { condition, ..SetOptions::default() })?.written));
        match *op {
            RegisterOp::Get => {
                let mut bytes = Vec::new();
                let found = kv.get(DB, key, &mut bytes)?;
                Ok(value(found.then_some(bytes)))
            }
            RegisterOp::Set(new) => set(new, SetOptions::default()).map(|_| Ret::Done),
            RegisterOp::Delete => kv.delete(DB, key).map(Ret::Flag),
            RegisterOp::Take => kv.getdel(DB, key).map(value),
            RegisterOp::Insert(new) => set_if(new, Condition::IfAbsent),
            RegisterOp::Replace(new) => set_if(new, Condition::IfPresent),
            RegisterOp::Exchange(new) => {
                set(new, SetOptions { get: true, ..SetOptions::default() }).map(|outcome| value(outcome.previous))
            }
            RegisterOp::Swap { .. } => unreachable!("a key has no compare-and-set"),
        }
    }

    /// Changes a field, or leaves it; whether it was there before.
    fn change(&self, object: &Object, change: impl Fn(Option<&[u8]>) -> FieldUpdate<'static>) -> Result<bool> {
        let (hash, field, mut was_there) = (object.hash(), object.key(0), false);
        let decide = &mut |_: usize, value: Option<&[u8]>| {
            was_there = value.is_some();
            Ok(change(value))
        };
        self.store.kv().change_fields(DB, hash.as_bytes(), &[field.as_bytes()], true, decide)?;
        Ok(was_there)
    }

    fn field(&self, op: &RegisterOp, object: &Object) -> Result<Ret> {
        let set = |value: i64| FieldUpdate::Set(text(value, KEY_TEXT).into_bytes().into());
        match *op {
            RegisterOp::Get => {
                let value = self.store.kv().field(DB, object.hash().as_bytes(), object.key(0).as_bytes())?;
                Ok(Ret::Value(value.map(|bytes| number(&bytes, KEY_TEXT))))
            }
            RegisterOp::Set(new) => self.change(object, |_| set(new)).map(|_| Ret::Done),
            RegisterOp::Delete => self.change(object, |_| FieldUpdate::Remove).map(Ret::Flag),
            RegisterOp::Insert(new) => self
                .change(object, |value| if value.is_some() { FieldUpdate::Leave } else { set(new) })
                .map(|was_there| Ret::Flag(!was_there)),
            _ => unreachable!("a field has no {op:?}"),
        }
    }

    fn field_number(&self, op: &CounterOp, object: &Object) -> Result<Ret> {
        let set = |value: i64| FieldUpdate::Set(value.to_string().into_bytes().into());
        match *op {
            CounterOp::Get => {
                let value = self.store.kv().field(DB, object.hash().as_bytes(), object.key(0).as_bytes())?;
                Ok(Ret::Value(value.map(|bytes| decimal(&bytes))))
            }
            CounterOp::Set(new) => self.change(object, |_| set(new)).map(|_| Ret::Done),
            CounterOp::Add(by) => {
                let sum = Cell::new(0);
                self.change(object, |value| {
                    sum.set(value.map_or(0, decimal) + by);
                    set(sum.get())
                })?;
                Ok(Ret::Value(Some(sum.get())))
            }
            CounterOp::Delete => self.change(object, |_| FieldUpdate::Remove).map(Ret::Flag),
            CounterOp::Swap { .. } => unreachable!("a field has no compare-and-set"),
        }
    }

    fn cell(&self, op: &RegisterOp, key: &str) -> Result<Ret> {
        let table = &self.cells;
        let set =
            |value: i64, condition| table.write(key.as_bytes(), &[(0, ValueRef::Int(value))], Expiry::Keep, condition);
        match *op {
            RegisterOp::Get => Ok(Ret::Value(table.get(key)?.map(|row| int(&row, 0)))),
            RegisterOp::Set(value) => set(value, Condition::Always).map(|_| Ret::Done),
            RegisterOp::Delete => table.delete(key).map(Ret::Flag),
            RegisterOp::Take => Ok(Ret::Value(table.getdel(key)?.map(|row| int(&row, 0)))),
            RegisterOp::Insert(value) => set(value, Condition::IfAbsent).map(Ret::Flag),
            RegisterOp::Replace(value) => set(value, Condition::IfPresent).map(Ret::Flag),
            RegisterOp::Swap { expected, new } => {
                let (expect, new) = ([(0, ValueRef::Int(expected))], [(0, ValueRef::Int(new))]);
                Ok(Ret::Flag(table.cas(key.as_bytes(), &expect, &new)? == Some(true)))
            }
            RegisterOp::Exchange(_) => unreachable!("a row has no exchange"),
        }
    }

    fn number(&self, op: &CounterOp, key: &[u8]) -> Result<Ret> {
        let kv = self.store.kv();
        match *op {
            CounterOp::Get => {
                let mut bytes = Vec::new();
                Ok(Ret::Value(kv.get(DB, key, &mut bytes)?.then(|| decimal(&bytes))))
            }
            CounterOp::Set(value) => {
                kv.set(DB, key, value.to_string().as_bytes(), SetOptions::default()).map(|_| Ret::Done)
            }
            CounterOp::Add(by) => kv.incr(DB, key, by).map(|sum| Ret::Value(Some(sum))),
            CounterOp::Delete => kv.delete(DB, key).map(Ret::Flag),
            CounterOp::Swap { .. } => unreachable!("a key has no compare-and-set"),
        }
    }

    fn row(&self, op: &RowOp, key: &str) -> Result<Ret> {
        let (table, bytes) = (&self.rows, key.as_bytes());
        match op {
            RowOp::Get => Ok(Ret::Row(table.get(key)?.map(|row| row_value(&row)))),
            RowOp::Set(cells) => {
                with_cells(cells, |cells| table.write(bytes, cells, Expiry::Keep, Condition::Always)).map(|_| Ret::Done)
            }
            &RowOp::Add { column, by } => table.incr(key, ["a", "b"][column], by).map(|sum| Ret::Value(Some(sum))),
            RowOp::Delete => table.delete(key).map(Ret::Flag),
            RowOp::Take => Ok(Ret::Row(table.getdel(key)?.map(|row| row_value(&row)))),
            RowOp::Swap { expected, new } => {
                let expect = [(0, ValueRef::Int(*expected))];
                with_cells(new, |cells| table.cas(bytes, &expect, cells)).map(|done| Ret::Flag(done == Some(true)))
            }
        }
    }

    fn accounts(&self, op: &RowsOp, object: &Object) -> Result<Ret> {
        let table = &self.accounts;
        let cell = |value: i64| vec![(0, ValueRef::Int(value))];
        match *op {
            RowsOp::Get(part) => Ok(Ret::Value(table.get(object.key(part))?.map(|row| int(&row, 0)))),
            RowsOp::GetAll => {
                let keys: [String; 4] = std::array::from_fn(|part| object.key(part));
                let rows = table.mget(&keys.each_ref().map(String::as_bytes))?;
                Ok(Ret::Rows(std::array::from_fn(|part| rows[part].as_ref().map(|row| int(row, 0)))))
            }
            RowsOp::Set(part, value) => {
                let key = object.key(part);
                table.write(key.as_bytes(), &cell(value), Expiry::Keep, Condition::Always).map(|_| Ret::Done)
            }
            RowsOp::SetTwo([one, other]) => {
                let (first, second) = (object.key(one.0), object.key(other.0));
                let rows = [(first.as_bytes(), cell(one.1)), (second.as_bytes(), cell(other.1))];
                table.mset(&rows).map(|()| Ret::Done)
            }
            RowsOp::Add(part, by) => table.incr(object.key(part), "n", by).map(|sum| Ret::Value(Some(sum))),
            RowsOp::Delete(part) => table.delete(object.key(part)).map(Ret::Flag),
            RowsOp::Transfer { from, to, by } => {
                self.transfer(from, to, |part, sign| table.incr(object.key(part), "n", sign * by))
            }
            RowsOp::Rename { .. } | RowsOp::Swap { .. } => unreachable!("rows have neither"),
        }
    }

    /// Adds to two of several rows in one transaction.
    fn transfer(&self, from: usize, to: usize, add: impl Fn(usize, i64) -> Result<i64>) -> Result<Ret> {
        let [less, more] = self.store.atomically(|| Ok([add(from, -1)?, add(to, 1)?]))?;
        let value = |part: usize| if part == from { Some(less) } else { Some(more).filter(|_| part == to) };
        Ok(Ret::Rows(std::array::from_fn(value)))
    }

    fn pairs(&self, op: &RowsOp, object: &Object) -> Result<Ret> {
        let kv = self.store.kv();
        match *op {
            RowsOp::Get(part) => self.number(&CounterOp::Get, object.key(part).as_bytes()),
            RowsOp::Set(part, value) => self.number(&CounterOp::Set(value), object.key(part).as_bytes()),
            RowsOp::Add(part, by) => self.number(&CounterOp::Add(by), object.key(part).as_bytes()),
            RowsOp::Delete(part) => self.number(&CounterOp::Delete, object.key(part).as_bytes()),
            RowsOp::GetAll => {
                let keys: [String; 4] = std::array::from_fn(|part| object.key(part));
                let values = kv.mget(DB, &keys.each_ref().map(String::as_bytes))?;
                Ok(Ret::Rows(std::array::from_fn(|part| values[part].as_deref().map(decimal))))
            }
            RowsOp::SetTwo(pairs) => {
                let [one, other] = pairs.map(|(part, value)| (object.key(part), value.to_string()));
                let pairs = [(one.0.as_bytes(), one.1.as_bytes()), (other.0.as_bytes(), other.1.as_bytes())];
                kv.mset(DB, &pairs, false).map(|_| Ret::Done)
            }
            RowsOp::Transfer { from, to, by } => {
                self.transfer(from, to, |part, sign| kv.incr(DB, object.key(part).as_bytes(), sign * by))
            }
            RowsOp::Swap { part, expected, new } => self.store.atomically(|| {
                let key = object.key(part);
                let swaps = self.number(&CounterOp::Get, key.as_bytes())? == Ret::Value(Some(expected));
                if swaps {
                    self.number(&CounterOp::Set(new), key.as_bytes())?;
                }
                Ok(Ret::Flag(swaps))
            }),
            RowsOp::Rename { from, to } => {
                match kv.rename(DB, object.key(from).as_bytes(), object.key(to).as_bytes(), false) {
                    Err(store_master::Error::NoSuchKey) => Ok(Ret::Flag(false)),
                    done => done.map(Ret::Flag),
                }
            }
        }
    }
}

fn count(op: &CounterOp, tally: &Counter) -> Result<Ret> {
    match *op {
        CounterOp::Get => tally.get().map(Ret::Value),
        CounterOp::Set(value) => tally.set(value).map(|()| Ret::Done),
        CounterOp::Add(by) => tally.add(by).map(|sum| Ret::Value(Some(sum))),
        CounterOp::Swap { expected, new } => Ok(Ret::Flag(tally.compare_and_set(expected, new)?.0)),
        CounterOp::Delete => tally.delete().map(Ret::Flag),
    }
}

fn int(row: &Row, column: usize) -> i64 {
    match row.get(column) {
        ValueRef::Int(value) => value,
        other => panic!("column {column} holds {other:?}"),
    }
}

fn row_value(row: &Row) -> RowValue {
    match row.get(2) {
        ValueRef::Bytes(bytes) => [int(row, 0), int(row, 1), number(bytes, ROW_TEXT)],
        other => panic!("column s holds {other:?}"),
    }
}

/// Calls `body` with the cells that are given.
fn with_cells<T>(cells: &[Option<i64>; 3], body: impl FnOnce(&[(usize, ValueRef<'_>)]) -> T) -> T {
    let string = text(cells[2].unwrap_or(0), ROW_TEXT);
    let value = |column, value| if column == 2 { ValueRef::Bytes(string.as_bytes()) } else { ValueRef::Int(value) };
    let given = cells.iter().enumerate().filter_map(|(column, cell)| Some((column, value(column, (*cell)?))));
    body(&given.collect::<Vec<_>>())
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [segment, board, log, burst, tick_us] = arguments else {
        return Err("usage: linear-client SEGMENT BOARD LOG BURST TICK_US".into());
    };
    // Whoever watches over this process ends it; dies the watcher, it ends by itself.
    set_pdeathsig(Signal::SIGKILL)?;
    let board = Board::open(Path::new(board))?;
    let mut log = Log::open(Path::new(log))?;
    let pace = Pace { burst: burst.parse()?, tick_us: tick_us.parse()? };
    work(&mut Library::open(segment)?, &board, &mut log, pace);
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
