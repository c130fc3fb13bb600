//! Several operations as one step, and whether a key was touched meanwhile.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use super::common::{columns, users_of};
use crate::{
    Error, Store, row,
    store::{Expiry, SetOptions, Version},
};

fn set(store: &Store, key: &[u8], value: &[u8]) {
    store.kv().set(0, key, value, SetOptions::default()).unwrap();
}

fn get(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    store.kv().get(0, key, &mut value).unwrap().then_some(value)
}

pub(crate) fn a_transaction_sees_what_it_does(store: &Store) {
    let table = users_of(store, 4);
    set(store, b"a", b"1");
    let seen = store.atomically(|| {
        set(store, b"a", b"2");
        set(store, b"b", &[b'b'; 5000]);
        table.set("x", &row! { score: 7 })?;
        store.counter("c")?.add(3)?;
        Ok((get(store, b"a"), get(store, b"b").map(|value| value.len()), table.get("x")?.as_ref().map(columns)))
    });
    assert_eq!(seen, Ok((Some(b"2".to_vec()), Some(5000), Some((vec![], 7, 0.0)))));
    assert_eq!((get(store, b"a"), store.counter("c").unwrap().get()), (Some(b"2".to_vec()), Ok(Some(3))));
}

pub(crate) fn a_refused_transaction_leaves_nothing(store: &Store) {
    let (table, counter) = (users_of(store, 4), store.counter("c").unwrap());
    table.set("x", &row! { score: 1 }).unwrap();
    table.set("y", &row! { score: 2 }).unwrap();
    counter.set(5).unwrap();
    set(store, b"a", b"1");
    set(store, b"large", &[b'l'; 70_000]);
    let kept = store.memory();
    let refused = store.atomically(|| -> crate::store::Result<()> {
        set(store, b"a", b"2");
        set(store, b"large", b"small");
        set(store, b"new", &[b'n'; 5000]);
        store.kv().delete(0, b"a")?;
        store.kv().flush(Some(0))?;
        set(store, b"a", b"3");
        table.set("x", &row! { score: 9, name: "changed" })?;
        table.delete("y")?;
        table.set("z", &row! { score: 9 })?;
        table.clear()?;
        table.set("x", &row! { score: 10 })?;
        counter.add(1)?;
        store.counter("made")?.add(1)?;
        counter.delete()?;
        Err(Error::Overflow)
    });
    assert_eq!(refused, Err(Error::Overflow));
    assert_eq!(
        (get(store, b"a"), get(store, b"large"), get(store, b"new")),
        (Some(b"1".to_vec()), Some(vec![b'l'; 70_000]), None)
    );
    assert_eq!((table.count(), store.kv().len(0)), (Ok(2), Ok(2)));
    assert_eq!(table.get("x").unwrap().as_ref().map(columns), Some((vec![], 1, 0.0)));
    assert_eq!(table.get("y").unwrap().as_ref().map(columns), Some((vec![], 2, 0.0)));
    assert_eq!((counter.get(), store.counter("made").unwrap().get()), (Ok(Some(5)), Ok(None)));
    assert_eq!(store.memory().0, kept.0);
}

pub(crate) fn a_panic_leaves_nothing_of_a_transaction(store: &Store) {
    set(store, b"a", b"1");
    let panicked = thread::scope(|scope| {
        let panics = scope.spawn(|| {
            store.atomically(|| -> crate::store::Result<()> {
                set(store, b"a", b"2");
                panic!("the panic that the test is about");
            })
        });
        panics.join().is_err()
    });
    assert!(panicked);
    assert_eq!(get(store, b"a"), Some(b"1".to_vec()));
    set(store, b"a", b"3");
}

pub(crate) fn tables_are_not_made_or_dropped_inside(store: &Store) {
    users_of(store, 4);
    let inside = store.atomically(|| {
        let made = store.make("other", 4, &[crate::Column::int("n")]).map(drop);
        Ok((made, store.drop_table("users")))
    });
    let refused = || Error::InTransaction;
    assert_eq!(inside, Ok((Err(refused()), Err(refused()))));
}

pub(crate) fn a_refused_part_leaves_nothing_of_itself(store: &Store) {
    let (table, counter) = (users_of(store, 4), store.counter("c").unwrap());
    table.set("x", &row! { score: 1 }).unwrap();
    set(store, b"a", &[b'a'; 5000]);
    let part = || -> crate::store::Result<()> {
        set(store, b"a", b"2");
        set(store, b"new", &[b'n'; 70_000]);
        store.kv().delete(0, b"b")?;
        table.set("x", &row! { score: 9, name: "changed" })?;
        table.set("y", &row! { score: 9 })?;
        counter.add(5)?;
        store.kv().swap(0, 1)?;
        Err(Error::Overflow)
    };
    let whole = |end: crate::store::Result<()>| {
        store.atomically(|| {
            assert_eq!(store.atomically(part), Err(Error::Overflow), "before anything was done");
            set(store, b"b", &[b'b'; 5000]);
            counter.add(1)?;
            assert_eq!(store.atomically(part), Err(Error::Overflow));
            assert_eq!(get(store, b"b"), Some(vec![b'b'; 5000]));
            store.atomically(|| table.set("z", &row! { score: 3 }))?;
            end
        })
    };
    assert_eq!(whole(Err(Error::Overflow)), Err(Error::Overflow));
    assert_eq!((get(store, b"a"), get(store, b"b"), table.count()), (Some(vec![b'a'; 5000]), None, Ok(1)));
    assert_eq!(whole(Ok(())), Ok(()));
    assert_eq!((get(store, b"a"), get(store, b"b")), (Some(vec![b'a'; 5000]), Some(vec![b'b'; 5000])));
    assert_eq!((get(store, b"new"), store.kv().len(0), counter.get()), (None, Ok(2), Ok(Some(1))));
    assert_eq!(table.get("x").unwrap().as_ref().map(columns), Some((vec![], 1, 0.0)));
    assert_eq!((table.get("y").unwrap().is_some(), table.get("z").unwrap().is_some()), (false, true));
}

pub(crate) fn nobody_sees_half_of_a_transaction(store: &Store) {
    store.kv().incr(0, b"a", 1000).unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let moved = store.atomically(|| {
                        store.kv().incr(0, b"a", -1)?;
                        store.kv().incr(0, b"b", 1)
                    });
                    moved.unwrap();
                }
                over.store(true, Ordering::Relaxed);
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let values = store.kv().mget(0, &[b"a", b"b"]).unwrap();
                let number = |value: &Option<Vec<u8>>| {
                    value.as_ref().map_or(0, |value| String::from_utf8_lossy(value).parse::<i64>().unwrap())
                };
                assert_eq!(values.iter().map(number).sum::<i64>(), 1000);
            }
        });
    });
    assert_eq!((get(store, b"a"), get(store, b"b")), (Some(b"800".to_vec()), Some(b"200".to_vec())));
}

fn version(store: &Store, key: &[u8]) -> Version {
    store.kv().version(0, key).unwrap()
}

fn is_untouched(store: &Store, key: &[u8], since: Version) -> bool {
    store.kv().is_untouched(0, key, since).unwrap()
}

type Write = fn(&Store);

pub(crate) fn every_write_touches_its_key(store: &Store) {
    let writes: [(&str, Write); 7] = [
        ("another value", |store| set(store, b"k", b"other")),
        ("the same value", |store| set(store, b"k", b"1")),
        ("a sum", |store| assert_eq!(store.kv().incr(0, b"k", 1), Ok(2))),
        ("a deletion", |store| assert!(store.kv().delete(0, b"k").unwrap())),
        ("a flush", |store| store.kv().flush(None).unwrap()),
        ("a renaming", |store| assert!(store.kv().rename(0, b"k", b"other", false).unwrap())),
        ("an expiry", |store| {
            assert!(store.kv().expire(0, b"k", Expiry::At(u64::MAX / 2), Default::default()).unwrap())
        }),
    ];
    for (name, write) in writes {
        set(store, b"k", b"1");
        let since = version(store, b"k");
        get(store, b"k");
        set(store, b"beside", b"1");
        assert!(is_untouched(store, b"k", since), "before {name}");
        write(store);
        assert!(!is_untouched(store, b"k", since), "after {name}");
        set(store, b"k", b"1");
        assert!(!is_untouched(store, b"k", since), "after {name} and the old value again");
    }
}

pub(crate) fn a_key_that_comes_and_goes_was_touched(store: &Store) {
    let since = version(store, b"k");
    assert!(is_untouched(store, b"k", since));
    store.kv().flush(None).unwrap();
    assert!(is_untouched(store, b"k", since), "a flush does not touch what is not there");
    set(store, b"k", b"1");
    assert!(!is_untouched(store, b"k", since));
    store.kv().delete(0, b"k").unwrap();
    assert!(!is_untouched(store, b"k", since));
}

pub(crate) fn time_touches_a_key_that_was_live(store: &Store) {
    let in_a_moment = crate::sys::clock::now_ms() + 20;
    let options = SetOptions { expiry: Expiry::At(in_a_moment), ..SetOptions::default() };
    store.kv().set(0, b"k", b"1", options).unwrap();
    let live = version(store, b"k");
    while get(store, b"k").is_some() {
        thread::sleep(Duration::from_millis(2));
    }
    assert!(!is_untouched(store, b"k", live));
    let stale = version(store, b"k");
    assert!(is_untouched(store, b"k", stale));
    store.sweep();
    assert!(is_untouched(store, b"k", stale), "what had expired is freed");
    set(store, b"k", b"1");
    assert!(!is_untouched(store, b"k", stale));
}
