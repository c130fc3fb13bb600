//! What the cases share: a table to work on, times, waiting.

use std::{
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    Column, Row, Store, Table, Value,
    store::{Cell, Condition, Expiry, SetOptions, Ttl, ValueRef},
};

/// An expiry that has passed.
pub(crate) const PAST: Expiry = Expiry::At(1);
/// An expiry that no test lives to see, in milliseconds since the epoch.
pub(crate) const FAR_MS: u64 = 4_000_000_000_000;
/// The same as an expiry.
pub(crate) const FAR: Expiry = Expiry::At(FAR_MS);

/// Column indexes of [`users`].
pub(crate) const NAME: usize = 0;
pub(crate) const SCORE: usize = 1;
pub(crate) const RATIO: usize = 2;

/// A table of 8 rows: `name string(16), score int, ratio float`.
pub(crate) fn users(store: &Store) -> Table {
    users_of(store, 8)
}

/// The same with room for `rows`.
pub(crate) fn users_of(store: &Store, rows: u64) -> Table {
    store.make("users", rows, &user_columns()).unwrap()
}

pub(crate) fn user_columns() -> [Column; 3] {
    [Column::string("name", 16), Column::int("score"), Column::float("ratio")]
}

/// The columns of a row of [`users`]; `None`: there is none.
pub(crate) fn user(table: &Table, key: impl AsRef<[u8]>) -> Option<(Vec<u8>, i64, f64)> {
    table.get(key).unwrap().map(|row| columns(&row))
}

/// The columns of a row of [`users`].
pub(crate) fn columns(row: &Row) -> (Vec<u8>, i64, f64) {
    match (row.get(NAME), row.get(SCORE), row.get(RATIO)) {
        (ValueRef::Bytes(name), ValueRef::Int(score), ValueRef::Float(ratio)) => (name.to_vec(), score, ratio),
        other => panic!("a row of another type: {other:?}"),
    }
}

/// What [`user`] gives for these columns.
pub(crate) fn is(name: &str, score: i64, ratio: f64) -> Option<(Vec<u8>, i64, f64)> {
    Some((name.as_bytes().to_vec(), score, ratio))
}

/// A cell of the score column.
pub(crate) fn score(n: i64) -> Cell<'static> {
    (SCORE, ValueRef::Int(n))
}

/// Writes a score with an expiry.
pub(crate) fn set_until(table: &Table, key: &str, n: i64, expiry: Expiry) {
    assert!(table.write(key.as_bytes(), &[score(n)], expiry, Condition::Always).unwrap());
}

/// The `i`-th of many keys.
pub(crate) fn key(i: u64) -> Vec<u8> {
    format!("key:{i}").into_bytes()
}

/// Fills a table with the keys `0..rows`, each with its number as score.
pub(crate) fn fill(table: &Table, rows: u64) {
    for i in 0..rows {
        table.set(key(i), &[("score", Value::Int(i as i64))]).unwrap();
    }
}

/// Writes a key.
pub(crate) fn put(store: &Store, key: &str, value: impl AsRef<[u8]>) {
    put_until(store, key, value, Expiry::Never);
}

/// Writes a key with an expiry.
pub(crate) fn put_until(store: &Store, key: &str, value: impl AsRef<[u8]>, expiry: Expiry) {
    let options = SetOptions { expiry, ..SetOptions::default() };
    assert!(store.kv().set(0, key.as_bytes(), value.as_ref(), options).unwrap().written);
}

/// The value of a key.
pub(crate) fn value(store: &Store, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    store.kv().get(0, key.as_ref(), &mut out).unwrap().then_some(out)
}

/// The expiry of a key.
pub(crate) fn ttl(store: &Store, key: &str) -> Ttl {
    store.kv().ttl(0, key.as_bytes()).unwrap()
}

/// A time a few milliseconds ahead.
pub(crate) fn soon_ms() -> u64 {
    now_ms() + 15
}

/// Waits until `at_ms` has passed.
pub(crate) fn wait_past(at_ms: u64) {
    while now_ms() <= at_ms {
        sleep(Duration::from_millis(1));
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
