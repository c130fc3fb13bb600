//! Several threads at once: nothing is lost, torn or counted twice. And the statistics, which many write.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

use super::common::{columns, key, put, users_of, value};
use crate::{
    Error, Store, row,
    store::{Condition, SetOptions, Stat, ValueRef},
};

const THREADS: u64 = 4;
const ROUNDS: u64 = 300;

/// Runs `work` in several threads, each with its number.
fn together(work: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        (0..THREADS).for_each(|i| {
            drop(scope.spawn({
                let work = &work;
                move || work(i)
            }))
        })
    });
}

pub(crate) fn no_sum_is_lost(store: &Store) {
    let (table, counter) = (users_of(store, 8), store.counter("c").unwrap());
    together(|_| {
        for _ in 0..ROUNDS {
            table.incr("a", "score", 1).unwrap();
            table.add_cell(b"a", 2, ValueRef::Float(0.5)).unwrap();
            counter.add(3).unwrap();
            store.kv().incr(0, b"n", 2).unwrap();
        }
    });
    let sum = (THREADS * ROUNDS) as i64;
    assert_eq!(table.get("a").unwrap().as_ref().map(columns), Some((vec![], sum, sum as f64 / 2.0)));
    assert_eq!((counter.get(), store.kv().incr(0, b"n", 0)), (Ok(Some(3 * sum)), Ok(2 * sum)));
}

pub(crate) fn a_bound_holds_for_all_together(store: &Store) {
    let (counter, taken) = (store.counter("c").unwrap(), AtomicU64::new(0));
    together(|_| {
        for _ in 0..ROUNDS {
            if counter.add_bounded(1, ROUNDS as i64).unwrap().is_some() {
                taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert_eq!((taken.into_inner(), counter.get()), (ROUNDS, Ok(Some(ROUNDS as i64))));
}

pub(crate) fn of_those_who_add_a_row_one_wins(store: &Store) {
    let (table, wins) = (users_of(store, ROUNDS), AtomicU64::new(0));
    together(|me| {
        for i in 0..ROUNDS {
            let won = table.add(key(i), &row! { score: me as i64 }).unwrap();
            wins.fetch_add(u64::from(won), Ordering::Relaxed);
        }
    });
    assert_eq!((wins.into_inner(), table.count()), (ROUNDS, Ok(ROUNDS)));
}

pub(crate) fn of_those_who_swap_one_wins(store: &Store) {
    let (table, wins) = (users_of(store, 8), AtomicU64::new(0));
    table.set("a", &[]).unwrap();
    together(|_| {
        for i in 0..ROUNDS as i64 {
            let cell = |n| [(1, ValueRef::Int(n))];
            let won = table.cas(b"a", &cell(i), &cell(i + 1)).unwrap() == Some(true);
            wins.fetch_add(u64::from(won), Ordering::Relaxed);
        }
    });
    let reached = columns(&table.get("a").unwrap().unwrap()).1;
    assert_eq!(wins.into_inner(), reached as u64);
}

pub(crate) fn capacity_is_exact_for_all_together(store: &Store) {
    let (table, fitted) = (users_of(store, 100), AtomicU64::new(0));
    together(|me| {
        for i in 0..60 {
            match table.set(key(1000 * me + i), &row! { score: 1 }) {
                Ok(()) => drop(fitted.fetch_add(1, Ordering::Relaxed)),
                Err(error) => assert_eq!(error, Error::TableFull { table: "users".to_owned(), rows: 100 }),
            }
        }
    });
    assert_eq!((fitted.into_inner(), table.count()), (100, Ok(100)));
}

/// Each thread holds at most its share of a table, so none may ever be refused.
pub(crate) fn a_table_is_never_full_before_its_time(store: &Store) {
    let table = users_of(store, THREADS * 3);
    together(|me| {
        for i in 0..ROUNDS {
            table.set(key(1_000_000 * me + i), &[]).unwrap();
            if i >= 2 {
                assert_eq!(table.delete(key(1_000_000 * me + i - 2)), Ok(true));
            }
        }
    });
    assert_eq!(table.count(), Ok(THREADS * 2));
}

/// Tells the readers to stop, also when the writer fails: they would read for ever.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets one thread write round after round while the others read.
fn write_and_read(write: impl Fn(u64) + Sync, read: impl Fn() + Sync) {
    let done = AtomicBool::new(false);
    together(|me| {
        if me == 0 {
            let _done = Done(&done);
            (0..ROUNDS * 3).for_each(&write);
        }
        while !done.load(Ordering::Relaxed) {
            read();
        }
    });
}

pub(crate) fn a_row_is_never_torn(store: &Store) {
    let table = users_of(store, 8);
    let name = |i: u64| vec![b'a' + (i % 26) as u8; (i % 17) as usize];
    let write = |i: u64| table.set("a", &row! { name: name(i), score: i as i64, ratio: i as f64 }).unwrap();
    write(0);
    write_and_read(write, || {
        let (text, score, ratio) = columns(&table.get("a").unwrap().unwrap());
        assert_eq!((text, ratio), (name(score as u64), score as f64));
    });
}

pub(crate) fn a_row_that_comes_and_goes_is_whole_or_absent(store: &Store) {
    let table = users_of(store, 2);
    let write = |i: u64| {
        let key = if i.is_multiple_of(2) { "a" } else { "b" };
        table.set(key, &row! { name: key, score: i as i64, ratio: i as f64 }).unwrap();
        assert_eq!(table.delete(key), Ok(true));
    };
    write_and_read(write, || {
        for key in ["a", "b"] {
            if let Some((name, score, ratio)) = table.get(key).unwrap().as_ref().map(columns) {
                assert_eq!((name.as_slice(), score as f64), (key.as_bytes(), ratio));
            }
        }
    });
}

pub(crate) fn a_batch_is_seen_whole_or_not_at_all(store: &Store) {
    let table = users_of(store, 8);
    let write = |i: u64| {
        let cells = || vec![(1, ValueRef::Int(i as i64))];
        table.mset(&[(b"a", cells()), (b"b", cells()), (b"c", cells())]).unwrap();
    };
    write(0);
    write_and_read(write, || {
        let rows = table.mget(&[b"c", b"a", b"b"]).unwrap();
        let scores: Vec<_> = rows.iter().map(|row| columns(row.as_ref().unwrap()).1).collect();
        assert!(scores.iter().all(|&score| score == scores[0]), "{scores:?}");
    });
}

pub(crate) fn a_value_is_never_torn(store: &Store) {
    let text = |i: u64| vec![i as u8; (i % 9) as usize * 37];
    let write = |i: u64| put(store, "k", text(i));
    write(0);
    write_and_read(write, || {
        let read = value(store, "k").unwrap();
        assert!(read.len().is_multiple_of(37) && read.iter().all(|&byte| byte == read[0]));
    });
}

pub(crate) fn several_keys_change_as_one(store: &Store) {
    let write = |i: u64| {
        let text = vec![i as u8; (i % 100) as usize];
        assert_eq!(store.kv().mset(0, &[(b"a", &text), (b"b", &text)], false), Ok(true));
    };
    write(0);
    write_and_read(write, || {
        let values = store.kv().mget(0, &[b"a", b"b"]).unwrap();
        assert_eq!(values[0], values[1]);
    });
}

pub(crate) fn a_renamed_key_is_in_one_place(store: &Store) {
    put(store, "a", "1");
    let write = |i: u64| {
        let (from, to) = if i.is_multiple_of(2) { (b"a", b"b") } else { (b"b", b"a") };
        assert_eq!(store.kv().rename(0, from, to, true), Ok(true));
    };
    write_and_read(write, || {
        let values = store.kv().mget(0, &[b"a", b"b"]).unwrap();
        assert_eq!(values.iter().flatten().count(), 1);
    });
}

pub(crate) fn a_key_is_taken_by_one(store: &Store) {
    let wins = AtomicU64::new(0);
    let absent = SetOptions { condition: Condition::IfAbsent, ..SetOptions::default() };
    together(|_| {
        for i in 0..ROUNDS {
            let won = store.kv().set(0, &key(i), b"me", absent).unwrap().written;
            wins.fetch_add(u64::from(won), Ordering::Relaxed);
        }
    });
    assert_eq!(wins.into_inner(), ROUNDS);
}

pub(crate) fn statistics_are_kept_for_each_worker(store: &Store) {
    let statistics = store.statistics();
    assert_eq!(statistics.workers(), super::WORKERS);
    statistics.add(Stat::Commands, 1);
    statistics.select(Some(1));
    together(|_| (0..ROUNDS).for_each(|_| statistics.add(Stat::Commands, 2)));
    statistics.set(Stat::Clients, 7);
    statistics.sub(Stat::Clients, 3);
    statistics.select(Some(0));
    statistics.set(Stat::Clients, 1);
    statistics.select(None);
    let commands = THREADS * ROUNDS * 2;
    assert_eq!((statistics.worker(1, Stat::Commands), statistics.worker(0, Stat::Commands)), (commands, 0));
    assert_eq!((statistics.worker(1, Stat::Clients), statistics.worker(0, Stat::Clients)), (4, 1));
    assert_eq!((statistics.sum(Stat::Commands), statistics.sum(Stat::Clients)), (commands + 1, 5));
    assert_eq!(statistics.recoveries(), 0);
}
