//! Iterating over rows and keys, at rest and while others write.

use std::collections::BTreeMap;

use super::common::{Dice, columns, fill, key, put, users_of};
use crate::{Store, Table, row};

/// Scans a table to its end and calls `between` after each page; returns how often each key was seen.
fn scan_rows(table: &Table, count: usize, mut between: impl FnMut(&[Vec<u8>])) -> BTreeMap<Vec<u8>, u32> {
    let (mut seen, mut cursor) = (BTreeMap::new(), 0);
    for _ in 0..100_000 {
        let page = table.scan(cursor, count).unwrap();
        let keys: Vec<_> = page.rows.into_iter().map(|(key, _)| key).collect();
        keys.iter().for_each(|key| *seen.entry(key.clone()).or_default() += 1);
        between(&keys);
        cursor = page.cursor;
        if cursor == 0 {
            return seen;
        }
    }
    panic!("the scan does not end");
}

/// Scans database 0 to its end and calls `between` after each page; returns how often each key was seen.
fn scan_keys(store: &Store, count: usize, mut between: impl FnMut(&[Vec<u8>])) -> BTreeMap<Vec<u8>, u32> {
    let (mut seen, mut cursor) = (BTreeMap::new(), 0);
    for _ in 0..100_000 {
        let page = store.kv().scan(0, cursor, count).unwrap();
        page.keys.iter().for_each(|key| *seen.entry(key.clone()).or_default() += 1);
        between(&page.keys);
        cursor = page.cursor;
        if cursor == 0 {
            return seen;
        }
    }
    panic!("the scan does not end");
}

fn once_each(keys: impl Iterator<Item = u64>) -> BTreeMap<Vec<u8>, u32> {
    keys.map(|i| (key(i), 1)).collect()
}

pub(crate) fn a_scan_of_nothing_ends_at_once(store: &Store) {
    let table = users_of(store, 8);
    assert_eq!(scan_rows(&table, 1, |_| ()), BTreeMap::new());
    assert_eq!(scan_keys(store, 1, |_| ()), BTreeMap::new());
}

pub(crate) fn a_scan_returns_every_row_once(store: &Store) {
    let table = users_of(store, 150);
    fill(&table, 100);
    for count in [0, 1, 3, 10, 99, 100, 101, 1_000_000, usize::MAX] {
        assert_eq!(scan_rows(&table, count, |_| ()), once_each(0..100), "{count}");
    }
}

pub(crate) fn a_scan_returns_whole_rows(store: &Store) {
    let table = users_of(store, 8);
    table.set("a", &row! { name: "ann", score: 1, ratio: 0.5 }).unwrap();
    let page = table.scan(0, 10).unwrap();
    let (key, row) = &page.rows[0];
    assert_eq!((key.as_slice(), columns(row)), (&b"a"[..], (b"ann".to_vec(), 1, 0.5)));
}

pub(crate) fn a_scan_of_a_holey_table_is_complete(store: &Store) {
    let table = users_of(store, 300);
    fill(&table, 300);
    (0..300).filter(|i| i % 7 != 0).for_each(|i| drop(table.delete(key(i))));
    assert_eq!(scan_rows(&table, 5, |_| ()), once_each((0..300).step_by(7)));
}

pub(crate) fn deleting_what_a_scan_returned_is_safe(store: &Store) {
    let table = users_of(store, 200);
    fill(&table, 200);
    let seen = scan_rows(&table, 7, |keys| keys.iter().for_each(|key| assert_eq!(table.delete(key), Ok(true))));
    assert_eq!((seen, table.count()), (once_each(0..200), Ok(0)));
}

pub(crate) fn rows_that_stay_are_returned_once_while_others_come_and_go(store: &Store) {
    let (table, mut dice) = (users_of(store, 200), Dice::new());
    fill(&table, 150);
    let mut next = 1000;
    let seen = scan_rows(&table, 4, |_| {
        for _ in 0..10 {
            // Odd rows stay; the even ones and the new ones come and go, and all are written to.
            drop(table.delete(key(2 * dice.roll(75))));
            drop(table.delete(key(1000 + dice.roll(500))));
            drop(table.incr(key(next), "score", 1));
            table.incr(key(2 * dice.roll(75) + 1), "score", 1).unwrap();
            next += 1;
        }
    });
    for i in (1..150).step_by(2) {
        assert_eq!(seen.get(&key(i)), Some(&1), "{i}");
    }
}

pub(crate) fn a_cursor_from_nowhere_does_no_harm(store: &Store) {
    let table = users_of(store, 8);
    fill(&table, 8);
    put(store, "a", "1");
    for cursor in [1, 2, 7, 8, 9, 1 << 16, 1 << 31, 1 << 32, (1 << 32) - 1, 1 << 63, u64::MAX] {
        let page = table.scan(cursor, 100).unwrap();
        assert!(page.rows.len() <= 8);
        assert!(store.kv().scan(0, cursor, 100).unwrap().keys.len() <= 1);
    }
}

pub(crate) fn a_scan_returns_every_key(store: &Store) {
    (0..200).for_each(|i| put(store, &format!("key:{i}"), "v"));
    store.kv().set(1, b"other", b"v", Default::default()).unwrap();
    for count in [0, 1, 10, 200, 1_000_000, usize::MAX] {
        assert!(scan_keys(store, count, |_| ()).keys().eq(once_each(0..200).keys()), "{count}");
    }
}

pub(crate) fn deleting_keys_that_a_scan_returned_is_safe(store: &Store) {
    (0..200).for_each(|i| put(store, &format!("key:{i}"), "v"));
    let seen = scan_keys(store, 7, |keys| keys.iter().for_each(|key| drop(store.kv().delete(0, key))));
    assert!(seen.keys().eq(once_each(0..200).keys()));
    assert_eq!(store.kv().len(0), Ok(0));
}

pub(crate) fn keys_that_stay_are_returned_while_others_come_and_go(store: &Store) {
    let mut dice = Dice::new();
    (0..150).for_each(|i| put(store, &format!("key:{i}"), "v"));
    let mut next = 1000;
    let seen = scan_keys(store, 4, |_| {
        for _ in 0..10 {
            drop(store.kv().delete(0, &key(2 * dice.roll(75))));
            drop(store.kv().delete(0, &key(1000 + dice.roll(500))));
            drop(store.kv().incr(0, &key(next), 1));
            put(store, &format!("key:{}", 2 * dice.roll(75) + 1), vec![b'x'; dice.roll(200) as usize]);
            next += 1;
        }
    });
    assert!((1..150).step_by(2).all(|i| seen.contains_key(&key(i))));
}
