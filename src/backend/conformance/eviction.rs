//! The use of keys, the memory that they take, and what goes when it is more than may be.

use super::common::{FAR, PAST, put, put_until, soon_ms, value, wait_past};
use crate::{
    Error, Store,
    store::{Expiry, FieldUpdate, MemoryLimit, Policy},
};

/// Seconds of idle time that no case lasts.
const LONG: u64 = 10_000;
/// Keys that are evicted among.
const KEYS: u64 = 100;
/// Bytes of each of them.
const LEN: usize = 1000;

fn idle(store: &Store, key: &str) -> u64 {
    store.kv().usage(0, key.as_bytes()).unwrap().expect("the key is there").idle_seconds
}

fn frequency(store: &Store, key: &str) -> u32 {
    store.kv().usage(0, key.as_bytes()).unwrap().expect("the key is there").frequency
}

fn limit(store: &Store, bytes: u64, policy: Policy) {
    store.set_memory_limit(MemoryLimit { bytes, policy, lfu_decay_minutes: 0, ..MemoryLimit::default() });
}

fn name(i: u64) -> String {
    format!("key {i}")
}

/// Makes [`KEYS`] keys, every other of which expires; the bytes in use before.
fn fill(store: &Store) -> u64 {
    let before = store.memory_use().used();
    for i in 0..KEYS {
        put_until(store, &name(i), vec![b'v'; LEN], if i % 2 == 0 { Expiry::Never } else { FAR });
    }
    before
}

fn left(store: &Store, from: u64) -> usize {
    (from..KEYS).step_by(2).filter(|&i| value(store, name(i)).is_some()).count()
}

pub(crate) fn a_missing_key_has_no_usage_and_no_bytes(store: &Store) {
    let kv = store.kv();
    assert_eq!((kv.usage(0, b"k"), kv.bytes(0, b"k")), (Ok(None), Ok(None)));
    assert_eq!((kv.touch(0, b"k"), kv.set_usage(0, b"k", Some(1), Some(1))), (Ok(false), Ok(false)));
    let soon = soon_ms();
    put_until(store, "k", "v", Expiry::At(soon));
    wait_past(soon);
    assert_eq!((kv.usage(0, b"k"), kv.bytes(0, b"k"), kv.touch(0, b"k")), (Ok(None), Ok(None), Ok(false)));
    put_until(store, "gone", "v", PAST);
    assert_eq!(kv.set_usage(0, b"gone", None, None), Ok(false));
}

pub(crate) fn usage_of_what_cannot_be_a_key_is_refused(store: &Store) {
    let (kv, long) = (store.kv(), vec![b'k'; 65_536]);
    assert!(matches!(kv.usage(0, &long), Err(Error::KeyTooLong { .. })));
    assert!(matches!(kv.bytes(0, &long), Err(Error::KeyTooLong { .. })));
    assert!(matches!(kv.touch(0, &long), Err(Error::KeyTooLong { .. })));
    assert!(matches!(kv.set_usage(0, &long, None, None), Err(Error::KeyTooLong { .. })));
    assert!(matches!((kv.usage(16, b"k"), kv.bytes(16, b"k")), (Err(Error::Invalid(_)), Err(Error::Invalid(_)))));
    assert!(matches!((kv.touch(16, b"k"), kv.set_usage(16, b"k", None, None)), (Err(_), Err(_))));
}

pub(crate) fn idle_time_is_what_was_set_until_the_key_is_used(store: &Store) {
    let kv = store.kv();
    put(store, "k", "v");
    assert!(idle(store, "k") < LONG);
    let uses: [(&str, &dyn Fn()); 3] = [
        ("get", &|| drop(value(store, "k"))),
        ("mget", &|| drop(kv.mget(0, &[b"k"]).unwrap())),
        ("touch", &|| assert_eq!(kv.touch(0, b"k"), Ok(true))),
    ];
    for (name, use_it) in uses {
        assert_eq!(kv.set_usage(0, b"k", Some(LONG), None), Ok(true));
        assert_eq!((kv.exists(0, b"k"), kv.bytes(0, b"k").map(|bytes| bytes.is_some())), (Ok(true), Ok(true)));
        assert!((LONG..2 * LONG).contains(&idle(store, "k")), "before {name}");
        use_it();
        assert!(idle(store, "k") < LONG, "after {name}");
    }
}

pub(crate) fn reads_that_are_not_to_count_are_no_use(store: &Store) {
    put(store, "k", "v");
    store.count_use(false);
    assert_eq!(store.kv().set_usage(0, b"k", Some(LONG), None), Ok(true));
    assert_eq!((value(store, "k").is_some(), store.kv().touch(0, b"k")), (true, Ok(true)));
    assert!(idle(store, "k") >= LONG);
    store.count_use(true);
    assert!(value(store, "k").is_some() && idle(store, "k") < LONG);
}

pub(crate) fn a_frequency_is_what_was_set_and_goes_up(store: &Store) {
    limit(store, 0, Policy::AllKeysLfu);
    put(store, "k", "v");
    assert_eq!(store.kv().set_usage(0, b"k", None, Some(200)), Ok(true));
    assert_eq!((frequency(store, "k"), idle(store, "k") < LONG), (200, true));
    assert_eq!(store.kv().set_usage(0, b"k", None, Some(0)), Ok(true));
    (0..3).for_each(|_| drop(value(store, "k")));
    assert!((1..200).contains(&frequency(store, "k")));
}

pub(crate) fn a_key_that_comes_back_is_new(store: &Store) {
    put(store, "k", "v");
    assert_eq!(store.kv().set_usage(0, b"k", Some(LONG), None), Ok(true));
    assert_eq!(store.kv().delete(0, b"k"), Ok(true));
    put(store, "k", "v");
    assert!(idle(store, "k") < LONG);
}

pub(crate) fn bytes_follow_the_length_of_the_value(store: &Store) {
    let bytes = |key: &str| store.kv().bytes(0, key.as_bytes()).unwrap();
    let mut last = 0;
    for len in [0, 100, 1000, 30_000, 100_000] {
        put(store, "k", vec![b'v'; len]);
        let now = bytes("k").expect("the key is there");
        assert!(now >= len as u64 && now > last, "{now} bytes of {len}");
        last = now;
    }
    let set = &mut |_: usize, _: Option<&[u8]>| Ok(FieldUpdate::Set(vec![b'v'; 5000].into()));
    store.kv().change_fields(0, b"h", &[b"one", b"other"], false, set).unwrap();
    assert!(bytes("h").expect("the hash is there") >= 10_000);
    assert_eq!((store.kv().delete(0, b"k"), bytes("k")), (Ok(true), None));
}

pub(crate) fn memory_in_use_returns_to_what_it_was(store: &Store) {
    let before = store.memory_use();
    fill(store);
    let full = store.memory_use();
    assert!(full.keys >= before.keys + KEYS * LEN as u64 && full.used() > before.used());
    assert!(full.used() <= full.total && full.evicted == before.evicted);
    store.kv().flush(None).unwrap();
    assert_eq!(store.memory_use().keys, before.keys);
}

pub(crate) fn keys_go_until_no_more_is_in_use_than_may_be(store: &Store) {
    for policy in Policy::ALL.into_iter().filter(|&policy| policy != Policy::NoEviction) {
        store.kv().flush(None).unwrap();
        let (before, evicted) = (fill(store), store.memory_use().evicted);
        let most = before + 70 * LEN as u64;
        limit(store, most, policy);
        // One call evicts for a short time only.
        while store.memory_use().used() > most {
            assert_eq!(store.make_room(), Ok(()), "{policy:?}");
        }
        assert_eq!(store.make_room(), Ok(()), "{policy:?}");
        let (stay, go) = (left(store, 0), left(store, 1));
        assert!(stay + go < KEYS as usize && stay + go > 20, "{policy:?}: {stay} and {go}");
        assert!(!policy.is_volatile() || stay as u64 == KEYS / 2, "{policy:?}: {stay} and {go}");
        assert_eq!(store.memory_use().evicted - evicted, KEYS - (stay + go) as u64, "{policy:?}");
        assert_eq!(store.kv().len(0), Ok((stay + go) as u64), "{policy:?}");
        limit(store, 0, policy);
    }
}

pub(crate) fn where_nothing_may_go_there_is_no_room(store: &Store) {
    fill(store);
    for (policy, gone) in [(Policy::NoEviction, 0), (Policy::VolatileTtl, KEYS / 2)] {
        limit(store, 1, policy);
        while store.make_room().is_ok() {}
        assert_eq!(store.make_room(), Err(Error::OutOfMemory), "{policy:?}");
        assert_eq!(store.kv().len(0), Ok(KEYS - gone), "{policy:?}");
    }
    limit(store, 0, Policy::NoEviction);
    assert_eq!(store.make_room(), Ok(()));
}
