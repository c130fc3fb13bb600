//! Counters.

use super::{
    COUNTERS,
    common::{key, users},
};
use crate::{Error, Store};

fn value(store: &Store, name: &str) -> Option<i64> {
    store.counter(name).unwrap().get().unwrap()
}

/// Makes as many counters as fit.
fn fill_all(store: &Store) {
    for i in 0..COUNTERS {
        assert_eq!(store.counter(key(i)).unwrap().add(i as i64), Ok(i as i64));
    }
}

pub(crate) fn a_counter_is_made_by_its_first_write(store: &Store) {
    let [added, zero, set, reset, swapped] =
        ["added", "zero", "set", "reset", "swapped"].map(|n| store.counter(n).unwrap());
    assert_eq!((added.get(), store.counters()), (Ok(None), Ok(vec![])));
    assert_eq!((added.increment(), added.get()), (Ok(1), Ok(Some(1))));
    assert_eq!((zero.add(0), zero.get()), (Ok(0), Ok(Some(0))));
    assert_eq!((set.set(-3), set.get()), (Ok(()), Ok(Some(-3))));
    assert_eq!((reset.reset(), reset.get()), (Ok(()), Ok(Some(0))));
    assert_eq!((swapped.compare_and_set(0, 0), swapped.get()), (Ok((true, 0)), Ok(Some(0))));
    assert_eq!(store.counters().unwrap().len(), 5);
}

pub(crate) fn a_counter_counts(store: &Store) {
    let counter = store.counter("c").unwrap();
    assert_eq!((counter.increment(), counter.increment(), counter.decrement()), (Ok(1), Ok(2), Ok(1)));
    assert_eq!((counter.add(-10), counter.add(100)), (Ok(-9), Ok(91)));
    counter.set(5).unwrap();
    assert_eq!((counter.add(1), value(store, "c")), (Ok(6), Some(6)));
    counter.reset().unwrap();
    assert_eq!(value(store, "c"), Some(0));
}

pub(crate) fn a_counter_that_would_overflow_stays(store: &Store) {
    let counter = store.counter("c").unwrap();
    for (edge, by) in [(i64::MAX, 1), (i64::MIN, -1), (1, i64::MAX), (-1, i64::MIN)] {
        counter.set(edge).unwrap();
        assert_eq!((counter.add(by), counter.get()), (Err(Error::Overflow), Ok(Some(edge))));
    }
    counter.set(i64::MAX - 1).unwrap();
    assert_eq!((counter.increment(), counter.increment()), (Ok(i64::MAX), Err(Error::Overflow)));
    counter.set(i64::MIN + 1).unwrap();
    assert_eq!((counter.decrement(), counter.decrement()), (Ok(i64::MIN), Err(Error::Overflow)));
    assert_eq!(counter.add(i64::MAX), Ok(-1));
    assert_eq!(store.counter("low").unwrap().add(i64::MIN), Ok(i64::MIN));
}

pub(crate) fn a_bound_is_reached_and_not_passed(store: &Store) {
    let counter = store.counter("c").unwrap();
    assert_eq!((counter.add_bounded(3, 5), counter.add_bounded(2, 5)), (Ok(Some(3)), Ok(Some(5))));
    assert_eq!((counter.add_bounded(1, 5), counter.get()), (Ok(None), Ok(Some(5))));
    assert_eq!((counter.add_bounded(-4, 0), counter.add_bounded(-2, 0)), (Ok(Some(1)), Ok(None)));
    assert_eq!((counter.add_bounded(-1, 0), counter.add_bounded(-1, 0)), (Ok(Some(0)), Ok(None)));
    assert_eq!((counter.add_bounded(-7, -7), counter.add_bounded(3, -4)), (Ok(Some(-7)), Ok(Some(-4))));
    assert_eq!((counter.add_bounded(0, -4), counter.add_bounded(0, -5)), (Ok(Some(-4)), Ok(None)));
    assert_eq!(counter.get(), Ok(Some(-4)));
}

pub(crate) fn a_sum_beyond_64_bits_is_beyond_every_bound(store: &Store) {
    let counter = store.counter("c").unwrap();
    counter.set(i64::MAX - 1).unwrap();
    assert_eq!((counter.add_bounded(1, i64::MAX), counter.add_bounded(1, i64::MAX)), (Ok(Some(i64::MAX)), Ok(None)));
    counter.set(i64::MIN).unwrap();
    assert_eq!((counter.add_bounded(-1, i64::MIN), counter.get()), (Ok(None), Ok(Some(i64::MIN))));
}

pub(crate) fn a_bound_that_refuses_makes_no_counter(store: &Store) {
    let counter = store.counter("c").unwrap();
    assert_eq!((counter.add_bounded(6, 5), counter.add_bounded(-1, 0)), (Ok(None), Ok(None)));
    assert_eq!((counter.get(), store.counters()), (Ok(None), Ok(vec![])));
    assert_eq!((counter.add_bounded(0, 0), counter.get()), (Ok(Some(0)), Ok(Some(0))));
}

pub(crate) fn a_swap_needs_the_expected_value(store: &Store) {
    let counter = store.counter("c").unwrap();
    assert_eq!((counter.compare_and_set(1, 5), counter.get()), (Ok((false, 0)), Ok(None)));
    assert_eq!(counter.compare_and_set(0, 5), Ok((true, 5)));
    assert_eq!(counter.compare_and_set(0, 6), Ok((false, 5)));
    assert_eq!(counter.compare_and_set(5, i64::MIN), Ok((true, i64::MIN)));
    assert_eq!(counter.get(), Ok(Some(i64::MIN)));
}

pub(crate) fn a_deleted_counter_starts_over(store: &Store) {
    let (counter, other) = (store.counter("c").unwrap(), store.counter("d").unwrap());
    assert_eq!(counter.delete(), Ok(false));
    counter.add(7).unwrap();
    other.add(9).unwrap();
    assert_eq!((counter.delete(), counter.delete(), counter.get()), (Ok(true), Ok(false), Ok(None)));
    assert_eq!((counter.increment(), other.get()), (Ok(1), Ok(Some(9))));
}

pub(crate) fn an_old_handle_never_counts_into_another_counter(store: &Store) {
    let old = store.counter("old").unwrap();
    old.add(1).unwrap();
    old.delete().unwrap();
    fill_all(store);
    assert_eq!((old.get(), old.increment()), (Ok(None), Err(Error::CountersFull)));
    assert!((0..COUNTERS).all(|i| store.counter(key(i)).unwrap().get() == Ok(Some(i as i64))));
}

pub(crate) fn counter_names_have_1_to_255_bytes(store: &Store) {
    assert_eq!(store.counter("").err(), Some(Error::EmptyKey));
    assert_eq!(store.counter([b'c'; 256]).err(), Some(Error::KeyTooLong { len: 256, max: 255 }));
    let names: [&[u8]; 6] = [&[b'c'; 255], &[b'c'; 254], b"\0", b"\0\0", b"a b/\xff", b"~c"];
    for (i, name) in names.iter().enumerate() {
        store.counter(name).unwrap().set(i as i64).unwrap();
    }
    for (i, name) in names.iter().enumerate() {
        assert_eq!(store.counter(name).unwrap().get(), Ok(Some(i as i64)));
    }
}

pub(crate) fn counters_are_listed_by_name(store: &Store) {
    for (name, n) in [("b", 2), ("a", 1), ("B", 3), ("aa", 4)] {
        store.counter(name).unwrap().set(n).unwrap();
    }
    store.counter("a").unwrap().delete().unwrap();
    let expected = [("B", 3), ("aa", 4), ("b", 2)].map(|(name, n)| (name.as_bytes().to_vec(), n));
    assert_eq!(store.counters().unwrap(), expected);
}

pub(crate) fn exactly_so_many_counters_fit(store: &Store) {
    fill_all(store);
    let more = store.counter("more").unwrap();
    assert_eq!(more.increment(), Err(Error::CountersFull));
    assert_eq!(more.set(1), Err(Error::CountersFull));
    assert_eq!(more.add_bounded(1, 5), Err(Error::CountersFull));
    assert_eq!(more.compare_and_set(0, 1), Err(Error::CountersFull));
    assert_eq!((more.compare_and_set(1, 2), more.get(), more.delete()), (Ok((false, 0)), Ok(None), Ok(false)));
    assert_eq!(store.counter(key(3)).unwrap().increment(), Ok(4));
    assert_eq!(store.counters().unwrap().len() as u64, COUNTERS);

    assert_eq!(store.counter(key(0)).unwrap().delete(), Ok(true));
    assert_eq!((more.increment(), more.get()), (Ok(1), Ok(Some(1))));
    assert_eq!(store.counter(key(0)).unwrap().increment(), Err(Error::CountersFull));
}

pub(crate) fn counters_come_and_go_without_end(store: &Store) {
    fill_all(store);
    for i in COUNTERS..COUNTERS * 20 {
        assert_eq!(store.counter(key(i - COUNTERS)).unwrap().delete(), Ok(true));
        assert_eq!(store.counter(key(i)).unwrap().add(i as i64), Ok(i as i64));
    }
    let sum: i64 = store.counters().unwrap().iter().map(|(_, n)| n).sum();
    assert_eq!(sum, (COUNTERS * 19..COUNTERS * 20).sum::<u64>() as i64);
}

pub(crate) fn counters_share_no_names_with_tables_and_keys(store: &Store) {
    users(store);
    store.kv().incr(0, b"users", 5).unwrap();
    assert_eq!((value(store, "users"), store.counter("users").unwrap().increment()), (None, Ok(1)));
    assert_eq!((store.drop_table("users"), store.kv().incr(0, b"users", 1)), (Ok(true), Ok(6)));
    store.kv().flush(None).unwrap();
    assert_eq!(value(store, "users"), Some(1));
}
