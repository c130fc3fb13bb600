//! What belongs to one place alone: four accounts, a counter, a visitor's row, two keys, a number, and a
//! field of a hash that all places share. Nobody else writes them, so the
//! book knows what they are to the last byte, and whoever takes the place after a death settles what its predecessor left.

use store_master::{
    Counter, Error, Segment, Store, Table,
    store::{Condition, Expiry, FieldUpdate, SetOptions, ValueRef},
};

use super::book::{Book, Model, Word};
use crate::random::Random;

pub(super) const ACCOUNTS: usize = 4;
pub(super) const START: u64 = 1000;
/// What is not there.
const ABSENT: u64 = u64::MAX;

// Where the parts of a model stand; the accounts come first.
const COUNTER: usize = 4;
const VISITOR: usize = 5;
const HITS: usize = 6;
const KEYS: [usize; 2] = [7, 8];
const NUMBER: usize = 9;
const FIELD: usize = 10;

/// The model of a place that has its accounts and nothing else.
pub(super) const FIRST: Model = [START, START, START, START, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT];

/// Bytes of values; the first stands for the decimal digits of an integer.
const LENS: [usize; 9] = [0, 3, 20, 28, 100, 700, 5_000, 33_000, 70_000];
const TAIL: &[u8] = b"and a tail of thirty-one bytes.";
const MOST_TAILS: u64 = 20;
/// The hash in which every place has a field.
const FIELDS: &[u8] = b"fields of all places";

/// An operation; the model after it says the rest.
enum Operation {
    Transfer(Vec<usize>),
    Count(i64),
    Forget,
    Visit,
    Leave,
    Hit,
    Set(usize),
    Remove(usize),
    Append(usize),
    Rename(usize),
    Both,
    Number(i64),
    Add(i64),
    Drop,
    /// Several as one transaction, each with the model after it.
    Together(Vec<(Operation, Model)>),
}

/// What the store holds for a place.
#[derive(PartialEq, Debug)]
struct Holdings {
    accounts: Vec<Option<(i64, i64, Vec<u8>)>>,
    counter: Option<i64>,
    visitor: Option<(i64, i64, Vec<u8>)>,
    keys: [Option<Vec<u8>>; 2],
    number: Option<Vec<u8>>,
    field: Option<Vec<u8>>,
}

/// One place's property.
pub(super) struct Own<'a> {
    book: Book<'a>,
    segment: &'a Segment,
    store: &'a Store,
    accounts: Table,
    visitors: Table,
    counter: Counter,
    names: Vec<Vec<u8>>,
    visitor: Vec<u8>,
    keys: [Vec<u8>; 2],
    number: Vec<u8>,
    field: Vec<u8>,
}

fn digits(version: u64, len: usize) -> Vec<u8> {
    format!("{version:020}").into_bytes().into_iter().cycle().take(len).collect()
}

/// The value that a word of the model stands for: a version, and how many tails were appended.
fn value(word: u64) -> Option<Vec<u8>> {
    let (version, tails) = (word >> 8, word & 255);
    let len = LENS[version as usize % LENS.len()];
    let mut bytes = if len == 0 { version.to_string().into_bytes() } else { digits(version, len) };
    (0..tails).for_each(|_| bytes.extend_from_slice(TAIL));
    (word != ABSENT).then_some(bytes)
}

/// The names of a place's accounts.
pub(super) fn account_names(place: usize) -> Vec<Vec<u8>> {
    (0..ACCOUNTS).map(|i| format!("place {place} account {i}").into_bytes()).collect()
}

fn account(balance: u64) -> (i64, i64, Vec<u8>) {
    (balance as i64, balance as i64, digits(balance, 40))
}

impl<'a> Own<'a> {
    pub(super) fn new(segment: &'a Segment, store: &'a Store, book: Book<'a>, place: usize) -> Self {
        Self {
            book,
            segment,
            store,
            accounts: store.table("own").expect("it was made"),
            visitors: store.table("visitors").expect("it was made"),
            counter: store.counter(format!("counter {place}")).expect("the name is short"),
            names: account_names(place),
            visitor: format!("visitor {place}").into_bytes(),
            // One that lies in its record, one that does not.
            keys: [
                format!("key {place}").into_bytes(),
                format!("a key with a long name, of place {place}").into_bytes(),
            ],
            number: format!("number {place}").into_bytes(),
            field: format!("field {place}").into_bytes(),
        }
    }

    /// Makes what a place has at first.
    pub(super) fn found(&self) {
        self.book.begin(&FIRST);
        self.write_accounts(&FIRST, &(0..ACCOUNTS).collect::<Vec<_>>()).expect("there is room");
    }

    /// Compares the store with the book; an operation in whose middle the last holder died has happened or has not.
    ///
    /// # Panics
    ///
    /// If the store holds anything else.
    pub(super) fn settle(&self) {
        // What the last holder had decided and not begun to carry out shows only once its slot is recovered: until
        // then reads of a single row see the old one.
        self.segment.recover();
        let held = self.look();
        let (current, planned) = (self.book.current(), self.book.planned());
        if held == holdings(&current) {
            if planned.is_some() {
                self.book.forget();
                self.book.raise(Word::Old);
            }
        } else if planned.is_some_and(|planned| held == holdings(&planned)) {
            self.book.acknowledge();
            self.book.raise(Word::New);
        } else {
            panic!("the store holds {held:?}\nthe book says {current:?}, or {planned:?}");
        }
    }

    fn look(&self) -> Holdings {
        let triple = |row: store_master::Row| {
            let (ValueRef::Int(a), ValueRef::Int(b), ValueRef::Bytes(text)) = (row.get(0), row.get(1), row.get(2))
            else {
                panic!("a row of another table: {row:?}");
            };
            (a, b, text.to_vec())
        };
        let key = |name: &[u8]| {
            let mut value = Vec::new();
            self.store.kv().get(0, name, &mut value).expect("nobody stops").then_some(value)
        };
        let names: Vec<&[u8]> = self.names.iter().map(Vec::as_slice).collect();
        Holdings {
            accounts: self
                .accounts
                .mget(&names)
                .expect("nobody stops")
                .into_iter()
                .map(|row| row.map(triple))
                .collect(),
            counter: self.counter.get().expect("nobody stops"),
            visitor: self.visitors.get(&self.visitor).expect("nobody stops").map(triple),
            keys: [key(&self.keys[0]), key(&self.keys[1])],
            number: key(&self.number),
            field: self.store.kv().field(0, FIELDS, &self.field).expect("nobody stops"),
        }
    }

    /// Carries a random operation out and acknowledges it.
    pub(super) fn step(&self, random: &Random) {
        let mut next = self.book.current();
        let Some(operation) = choose_some(random, &mut next) else {
            return;
        };
        self.book.plan(&next);
        self.act(&operation, &next).expect("there is room");
        self.book.acknowledge();
    }

    fn act(&self, operation: &Operation, next: &Model) -> Result<(), Error> {
        let kv = self.store.kv();
        let key = |which: usize| (self.keys[which].as_slice(), value(next[KEYS[which]]).unwrap_or_default());
        match operation {
            Operation::Transfer(rows) => self.write_accounts(next, rows)?,
            Operation::Count(by) => assert_eq!(self.counter.add(*by)?, next[COUNTER] as i64),
            Operation::Forget => assert!(self.counter.delete()?),
            Operation::Visit => self.visit(next)?,
            Operation::Leave => assert!(self.visitors.delete(&self.visitor)?),
            Operation::Hit => assert_eq!(self.visitors.incr(&self.visitor, "b", 1)?, next[HITS] as i64),
            Operation::Set(which) => {
                let (name, value) = key(*which);
                assert!(kv.set(0, name, &value, SetOptions::default())?.written);
            }
            Operation::Remove(which) => assert!(kv.delete(0, &self.keys[*which])?),
            Operation::Append(which) => {
                let (name, value) = key(*which);
                assert_eq!(kv.append(0, name, TAIL, 1 << 20)?, value.len() as u64);
            }
            Operation::Rename(from) => assert!(kv.rename(0, &self.keys[*from], &self.keys[1 - *from], false)?),
            Operation::Both => {
                let ((a, value_a), (b, value_b)) = (key(0), key(1));
                assert!(kv.mset(0, &[(a, &value_a), (b, &value_b)], false)?);
            }
            Operation::Number(by) => assert_eq!(kv.incr(0, &self.number, *by)?, next[NUMBER] as i64),
            Operation::Add(by) => {
                let sum = |value: Option<&[u8]>| {
                    value.map_or(0, |value| std::str::from_utf8(value).map_or(0, |text| text.parse().unwrap_or(0))) + by
                };
                self.change(&mut |value| FieldUpdate::Set(sum(value).to_string().into_bytes().into()))?;
            }
            Operation::Drop => self.change(&mut |_| FieldUpdate::Remove)?,
            Operation::Together(steps) => {
                self.store.atomically(|| steps.iter().try_for_each(|(step, after)| self.act(step, after)))?;
            }
        }
        Ok(())
    }

    fn write_accounts(&self, model: &Model, which: &[usize]) -> Result<(), Error> {
        let images: Vec<_> = which.iter().map(|&i| (&self.names[i], account(model[i]))).collect();
        let rows: Vec<_> = images
            .iter()
            .map(|(name, (a, b, text))| {
                (name.as_slice(), vec![(0, ValueRef::Int(*a)), (1, ValueRef::Int(*b)), (2, ValueRef::Bytes(text))])
            })
            .collect();
        self.accounts.mset(&rows)
    }

    fn change(&self, change: &mut dyn FnMut(Option<&[u8]>) -> FieldUpdate<'static>) -> Result<(), Error> {
        self.store.kv().change_fields(0, FIELDS, &[&self.field], true, &mut |_, value| Ok(change(value)))
    }

    fn visit(&self, next: &Model) -> Result<(), Error> {
        let text = digits(next[VISITOR], 30);
        let cells = [
            (0, ValueRef::Int(next[VISITOR] as i64)),
            (1, ValueRef::Int(next[HITS] as i64)),
            (2, ValueRef::Bytes(&text)),
        ];
        assert!(self.visitors.write(&self.visitor, &cells, Expiry::Keep, Condition::Always)?);
        Ok(())
    }
}

/// What the store holds if this model is true.
fn holdings(model: &Model) -> Holdings {
    let there = |word: u64| (word != ABSENT).then_some(word);
    Holdings {
        accounts: model[..ACCOUNTS].iter().map(|&balance| Some(account(balance))).collect(),
        counter: there(model[COUNTER]).map(|n| n as i64),
        visitor: there(model[VISITOR]).map(|n| (n as i64, model[HITS] as i64, digits(n, 30))),
        keys: KEYS.map(|at| value(model[at])),
        number: there(model[NUMBER]).map(|n| (n as i64).to_string().into_bytes()),
        field: there(model[FIELD]).map(|n| (n as i64).to_string().into_bytes()),
    }
}

/// A random operation, or several as one.
fn choose_some(random: &Random, next: &mut Model) -> Option<Operation> {
    if !random.one_in(6) {
        return choose(random, next);
    }
    let steps = (0..2 + random.below(4)).filter_map(|_| Some((choose(random, next)?, *next))).collect();
    Some(Operation::Together(steps))
}

/// A random operation, and in `next` what it makes of the model; `None` if there is nothing to do it with.
fn choose(random: &Random, next: &mut Model) -> Option<Operation> {
    let version = random.below(1 << 40);
    let which = random.below(2) as usize;
    let there = |word: u64| (word != ABSENT).then_some(word);
    Some(match random.below(24) {
        0..4 => transfer(random, next),
        4..7 => {
            let by = random.below(100) as i64;
            next[COUNTER] = (there(next[COUNTER]).unwrap_or(0) as i64 + by) as u64;
            Operation::Count(by)
        }
        7 => {
            // Behind the gate, so not too often.
            there(next[COUNTER]).filter(|_| random.one_in(20))?;
            next[COUNTER] = ABSENT;
            Operation::Forget
        }
        8 => {
            (next[VISITOR], next[HITS]) = (version, version % 100);
            Operation::Visit
        }
        9 => {
            there(next[VISITOR])?;
            (next[VISITOR], next[HITS]) = (ABSENT, ABSENT);
            Operation::Leave
        }
        10..12 => {
            there(next[VISITOR])?;
            next[HITS] += 1;
            Operation::Hit
        }
        12..14 => {
            next[KEYS[which]] = version << 8;
            Operation::Set(which)
        }
        14 => {
            there(next[KEYS[which]])?;
            next[KEYS[which]] = ABSENT;
            Operation::Remove(which)
        }
        15 => {
            there(next[KEYS[which]]).filter(|word| word & 255 < MOST_TAILS)?;
            next[KEYS[which]] += 1;
            Operation::Append(which)
        }
        16 => {
            there(next[KEYS[which]])?;
            next[KEYS[1 - which]] = std::mem::replace(&mut next[KEYS[which]], ABSENT);
            Operation::Rename(which)
        }
        17 => {
            KEYS.into_iter().zip([version, version / 7]).for_each(|(at, version)| next[at] = version << 8);
            Operation::Both
        }
        18..21 => {
            let by = 1 + random.below(1 << 30) as i64;
            next[FIELD] = (there(next[FIELD]).unwrap_or(0) as i64 + by) as u64;
            Operation::Add(by)
        }
        21 => {
            there(next[FIELD])?;
            next[FIELD] = ABSENT;
            Operation::Drop
        }
        _ => {
            let by = random.below(1 << 30) as i64;
            next[NUMBER] = (there(next[NUMBER]).unwrap_or(0) as i64 + by) as u64;
            Operation::Number(by)
        }
    })
}

/// Moves an amount through some of the accounts.
fn transfer(random: &Random, next: &mut Model) -> Operation {
    let amount = 1 + random.below(50);
    let first = random.below(ACCOUNTS as u64) as usize;
    let others = 1 + random.below(ACCOUNTS as u64 - 1) as usize;
    let rows: Vec<usize> = (0..=others).map(|i| (first + i) % ACCOUNTS).collect();
    next[first] = next[first].wrapping_sub(amount * others as u64);
    rows[1..].iter().for_each(|&i| next[i] = next[i].wrapping_add(amount));
    Operation::Transfer(rows)
}
