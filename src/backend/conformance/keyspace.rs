//! The key-value space.

use std::collections::BTreeSet;

use super::{
    MAX_KEYS,
    common::{Dice, FAR, FAR_MS, PAST, fill, is, key, put, put_until, soon_ms, ttl, user, users, value, wait_past},
};
use crate::{
    Error, Store,
    store::{
        Audience, Condition, Departed, Departures, ExpireRule, Expiry, KvType, LongDouble, SetOptions, SetOutcome, Ttl,
        limits::DATABASES,
    },
};

/// Lengths around which a backend is likely to change how it keeps a value.
const LENGTHS: [usize; 31] = [
    0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000, 4095, 4096,
    4097, 65_535, 65_536, 65_537, 300_000,
];

/// A value of this length, different for each length and at each place.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + len) as u8).collect()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn set(store: &Store, key: &str, value: &str, options: SetOptions) -> SetOutcome {
    store.kv().set(0, key.as_bytes(), value.as_bytes(), options).unwrap()
}

fn outcome(written: bool, previous: Option<&str>) -> SetOutcome {
    SetOutcome { written, previous: previous.and_then(bytes) }
}

// Values and keys.

pub(crate) fn a_missing_key_is_a_miss(store: &Store) {
    let kv = store.kv();
    assert_eq!((kv.kind(0, b"k"), kv.exists(0, b"k"), kv.strlen(0, b"k")), (Ok(None), Ok(false), Ok(0)));
    assert_eq!((kv.getdel(0, b"k"), kv.getex(0, b"k", FAR), kv.delete(0, b"k")), (Ok(None), Ok(None), Ok(false)));
    assert_eq!((value(store, "k"), kv.mget(0, &[b"k", b"k"])), (None, Ok(vec![None, None])));
    assert_eq!(kv.ttl(0, b"k"), Ok(Ttl::Missing));
    for expiry in [FAR, PAST, Expiry::Never] {
        assert_eq!(kv.expire(0, b"k", expiry, ExpireRule::Always), Ok(false));
    }
    assert_eq!(kv.rename(0, b"k", b"l", false), Err(Error::NoSuchKey));
    assert_eq!(kv.rename(0, b"k", b"k", true), Err(Error::NoSuchKey));
    assert_eq!((kv.random_key(0), kv.len(0), kv.expiring(0)), (Ok(None), Ok(0), Ok(0)));
}

pub(crate) fn values_of_every_length_come_back(store: &Store) {
    for len in LENGTHS {
        put(store, &format!("k{len}"), pattern(len));
    }
    for len in LENGTHS {
        let key = format!("k{len}");
        assert!(value(store, &key) == Some(pattern(len)), "{len}");
        assert_eq!(store.kv().strlen(0, key.as_bytes()), Ok(len as u64));
        assert_eq!(store.kv().kind(0, key.as_bytes()), Ok(Some(KvType::String)));
    }
}

pub(crate) fn a_value_can_change_to_every_length(store: &Store) {
    put(store, "neighbour", "untouched");
    for from in LENGTHS {
        for to in LENGTHS {
            put(store, "k", pattern(from));
            put(store, "k", pattern(to));
            assert!(value(store, "k") == Some(pattern(to)), "{from} -> {to}");
        }
    }
    assert_eq!((value(store, "neighbour"), store.kv().len(0)), (bytes("untouched"), Ok(2)));
}

pub(crate) fn get_appends_to_what_is_there(store: &Store) {
    put(store, "a", "one");
    let mut out = b"> ".to_vec();
    assert_eq!(store.kv().get(0, b"a", &mut out), Ok(true));
    assert_eq!(store.kv().get(0, b"none", &mut out), Ok(false));
    assert_eq!(store.kv().get(0, b"a", &mut out), Ok(true));
    assert_eq!(out, b"> oneone");
}

pub(crate) fn keys_are_binary_and_may_be_empty(store: &Store) {
    let keys: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"A", b"\xff\xfe", b"a b\r\n"];
    for (i, key) in keys.iter().enumerate() {
        store.kv().set(0, key, &pattern(i + 1), SetOptions::default()).unwrap();
    }
    assert_eq!(store.kv().len(0), Ok(8));
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(value(store, key), Some(pattern(i + 1)));
    }
}

pub(crate) fn keys_of_every_length_are_kept_apart(store: &Store) {
    let lengths: Vec<usize> = LENGTHS.into_iter().filter(|&len| len <= 65_535).collect();
    for &len in &lengths {
        store.kv().set(0, &vec![b'k'; len], &pattern(len % 50), SetOptions::default()).unwrap();
    }
    for &len in &lengths {
        assert_eq!(value(store, vec![b'k'; len]), Some(pattern(len % 50)), "{len}");
    }
    for &len in &lengths {
        assert_eq!(store.kv().delete(0, &vec![b'k'; len]), Ok(true), "{len}");
    }
    assert_eq!(store.kv().len(0), Ok(0));
}

pub(crate) fn a_key_that_is_too_long_is_refused(store: &Store) {
    let (kv, long) = (store.kv(), vec![b'k'; 65_536]);
    let refused = Error::KeyTooLong { len: 65_536, max: 65_535 };
    put(store, "a", "1");
    assert_eq!(kv.set(0, &long, b"v", SetOptions::default()), Err(refused.clone()));
    assert_eq!(kv.mset(0, &[(b"a", b"2"), (&long, b"v")], false), Err(refused.clone()));
    assert_eq!(kv.incr(0, &long, 1), Err(refused.clone()));
    assert_eq!(kv.append(0, &long, b"v", 100), Err(refused.clone()));
    assert_eq!(kv.rename(0, b"a", &long, false), Err(refused));
    assert_eq!((value(store, "a"), kv.len(0)), (bytes("1"), Ok(1)));
}

pub(crate) fn databases_are_apart(store: &Store) {
    let kv = store.kv();
    for db in 0..DATABASES as u8 {
        kv.set(db, b"k", &[db], SetOptions::default()).unwrap();
        kv.set(db, &[db], b"own", SetOptions::default()).unwrap();
    }
    for db in 0..DATABASES as u8 {
        assert_eq!((kv.mget(db, &[b"k"]), kv.len(db)), (Ok(vec![Some(vec![db])]), Ok(2)));
        assert_eq!((kv.exists(db, &[db]), kv.exists(db, &[db ^ 1])), (Ok(true), Ok(false)));
    }
    assert_eq!((kv.delete(3, b"k"), kv.exists(3, b"k"), kv.exists(4, b"k")), (Ok(true), Ok(false), Ok(true)));
    assert_eq!(kv.scan(3, 0, 100).unwrap().keys, [[3]]);
}

pub(crate) fn a_database_that_is_not_there_is_refused(store: &Store) {
    for db in [DATABASES as u8, 200, 255] {
        assert!(matches!(store.kv().set(db, b"k", b"v", SetOptions::default()), Err(Error::Invalid(_))));
        assert!(matches!(store.kv().exists(db, b"k"), Err(Error::Invalid(_))));
        assert!(matches!(store.kv().len(db), Err(Error::Invalid(_))));
        assert!(matches!(store.kv().flush(Some(db)), Err(Error::Invalid(_))));
    }
}

// Set.

pub(crate) fn set_obeys_its_condition(store: &Store) {
    let when = |condition| SetOptions { condition, ..SetOptions::default() };
    assert_eq!(set(store, "k", "1", when(Condition::IfPresent)), outcome(false, None));
    assert_eq!((value(store, "k"), store.kv().len(0)), (None, Ok(0)));
    assert_eq!(set(store, "k", "2", when(Condition::IfAbsent)), outcome(true, None));
    assert_eq!(set(store, "k", "3", when(Condition::IfAbsent)), outcome(false, None));
    assert_eq!(value(store, "k"), bytes("2"));
    assert_eq!(set(store, "k", "4", when(Condition::IfPresent)), outcome(true, None));
    assert_eq!(value(store, "k"), bytes("4"));
}

pub(crate) fn set_gives_the_value_before_if_asked(store: &Store) {
    let get = |condition| SetOptions { condition, get: true, ..SetOptions::default() };
    assert_eq!(set(store, "k", "1", get(Condition::Always)), outcome(true, None));
    assert_eq!(set(store, "k", "2", get(Condition::Always)), outcome(true, Some("1")));
    assert_eq!(set(store, "k", "3", get(Condition::IfAbsent)), outcome(false, Some("2")));
    assert_eq!(set(store, "k", "4", get(Condition::IfPresent)), outcome(true, Some("2")));
    assert_eq!(set(store, "l", "5", get(Condition::IfPresent)), outcome(false, None));
    assert_eq!(set(store, "l", "6", get(Condition::IfAbsent)), outcome(true, None));
    let past = SetOptions { expiry: PAST, get: true, ..SetOptions::default() };
    assert_eq!((set(store, "k", "7", past), value(store, "k")), (outcome(true, Some("4")), None));
}

pub(crate) fn set_keeps_sets_or_takes_the_expiry(store: &Store) {
    put_until(store, "k", "1", FAR);
    assert_eq!(ttl(store, "k"), Ttl::At(FAR_MS));
    put_until(store, "k", "2", Expiry::Keep);
    assert_eq!((ttl(store, "k"), value(store, "k")), (Ttl::At(FAR_MS), bytes("2")));
    put(store, "k", "3");
    assert_eq!(ttl(store, "k"), Ttl::Never);
    put_until(store, "l", "1", Expiry::Keep);
    assert_eq!(ttl(store, "l"), Ttl::Never);
    put_until(store, "k", "4", FAR);
    let refused = SetOptions { condition: Condition::IfAbsent, ..SetOptions::default() };
    assert_eq!((set(store, "k", "5", refused), ttl(store, "k")), (outcome(false, None), Ttl::At(FAR_MS)));
}

pub(crate) fn a_set_that_has_passed_deletes(store: &Store) {
    put(store, "k", "1");
    put_until(store, "k", "2", PAST);
    put_until(store, "new", "2", Expiry::At(0));
    assert_eq!((value(store, "k"), value(store, "new"), ttl(store, "k")), (None, None, Ttl::Missing));
    assert_eq!(store.kv().len(0), Ok(0));
}

// Several keys.

pub(crate) fn mget_follows_its_keys(store: &Store) {
    put(store, "a", "1");
    put(store, "b", "");
    let values = store.kv().mget(0, &[b"b", b"none", b"a", b"b"]);
    assert_eq!(values, Ok(vec![bytes(""), None, bytes("1"), bytes("")]));
    assert_eq!(store.kv().mget(0, &[]), Ok(vec![]));
}

pub(crate) fn mset_writes_all_and_takes_expiries(store: &Store) {
    put_until(store, "a", "1", FAR);
    let pairs: [(&[u8], &[u8]); 4] = [(b"a", b"2"), (b"b", b"3"), (b"", b""), (b"b", b"4")];
    assert_eq!(store.kv().mset(0, &pairs, false), Ok(true));
    assert_eq!((value(store, "a"), ttl(store, "a")), (bytes("2"), Ttl::Never));
    assert_eq!((value(store, "b"), value(store, ""), store.kv().len(0)), (bytes("4"), bytes(""), Ok(3)));
    assert_eq!(store.kv().mset(0, &[], false), Ok(true));
}

pub(crate) fn mset_if_absent_is_all_or_nothing(store: &Store) {
    put_until(store, "a", "1", FAR);
    assert_eq!(store.kv().mset(0, &[(b"n", b"2"), (b"a", b"2")], true), Ok(false));
    assert_eq!((value(store, "n"), value(store, "a"), ttl(store, "a")), (None, bytes("1"), Ttl::At(FAR_MS)));
    assert_eq!(store.kv().mset(0, &[(b"n", b"2"), (b"m", b"3"), (b"n", b"4")], true), Ok(true));
    assert_eq!((value(store, "n"), value(store, "m"), store.kv().len(0)), (bytes("4"), bytes("3"), Ok(3)));
}

pub(crate) fn a_batch_may_be_larger_than_one_of_rows(store: &Store) {
    let keys: Vec<_> = (0..200).map(key).collect();
    let pairs: Vec<_> = keys.iter().map(|key| (key.as_slice(), key.as_slice())).collect();
    assert_eq!(store.kv().mset(0, &pairs, true), Ok(true));
    let keys: Vec<_> = keys.iter().map(Vec::as_slice).collect();
    let values = store.kv().mget(0, &keys).unwrap();
    assert!(values.iter().zip(&keys).all(|(value, key)| value.as_deref() == Some(*key)));
}

// Reading and changing.

pub(crate) fn getdel_gives_the_value_back_once(store: &Store) {
    put_until(store, "k", "1", FAR);
    assert_eq!((store.kv().getdel(0, b"k"), store.kv().getdel(0, b"k")), (Ok(bytes("1")), Ok(None)));
    put(store, "k", "2");
    assert_eq!(ttl(store, "k"), Ttl::Never);
}

pub(crate) fn getex_changes_the_expiry_alone(store: &Store) {
    put(store, "k", "1");
    let getex = |expiry| store.kv().getex(0, b"k", expiry).unwrap();
    for (expiry, after) in [
        (Expiry::Keep, Ttl::Never),
        (FAR, Ttl::At(FAR_MS)),
        (Expiry::Keep, Ttl::At(FAR_MS)),
        (Expiry::Never, Ttl::Never),
        (Expiry::Never, Ttl::Never),
        (PAST, Ttl::Missing),
    ] {
        assert_eq!((getex(expiry), ttl(store, "k")), (bytes("1"), after), "{expiry:?}");
    }
    assert_eq!(getex(FAR), None);
}

pub(crate) fn append_makes_and_extends(store: &Store) {
    let append = |tail: &str| store.kv().append(0, b"k", tail.as_bytes(), 1000).unwrap();
    assert_eq!((append("ab"), append(""), append("cd")), (2, 2, 4));
    assert_eq!((value(store, "k"), ttl(store, "k")), (bytes("abcd"), Ttl::Never));
    assert_eq!((store.kv().append(0, b"empty", b"", 10), value(store, "empty")), (Ok(0), bytes("")));
    put_until(store, "until", "1", FAR);
    assert_eq!((store.kv().append(0, b"until", b"2", 10), ttl(store, "until")), (Ok(2), Ttl::At(FAR_MS)));
}

pub(crate) fn append_grows_through_every_length(store: &Store) {
    let (whole, mut have) = (pattern(70_000), 0);
    for step in [1, 1, 5, 1, 1, 14, 1, 1, 7, 1, 30, 1, 60, 100, 1, 800, 3000, 1, 60_000, 1, 1000] {
        let tail = &whole[have..have + step];
        have += step;
        assert_eq!(store.kv().append(0, b"k", tail, usize::MAX), Ok(have as u64));
        assert!(value(store, "k").as_deref() == Some(&whole[..have]), "{have}");
    }
}

pub(crate) fn append_beyond_its_bound_changes_nothing(store: &Store) {
    let append = |key: &[u8], tail: &[u8]| store.kv().append(0, key, tail, 5);
    assert_eq!((append(b"k", b"abc"), append(b"k", b"de")), (Ok(3), Ok(5)));
    assert_eq!(append(b"k", b"f"), Err(Error::TooLarge { what: "value", len: 6, max: 5 }));
    assert_eq!(append(b"k", b""), Ok(5));
    assert_eq!(append(b"new", b"abcdef"), Err(Error::TooLarge { what: "value", len: 6, max: 5 }));
    assert_eq!((value(store, "k"), value(store, "new")), (bytes("abcde"), None));
}

// Numbers.

pub(crate) fn incr_counts_in_text(store: &Store) {
    let incr = |by| store.kv().incr(0, b"n", by);
    assert_eq!((incr(1), incr(41), incr(-50), incr(0)), (Ok(1), Ok(42), Ok(-8), Ok(-8)));
    assert_eq!(value(store, "n"), bytes("-8"));
    put_until(store, "n", i64::MIN.to_string(), FAR);
    assert_eq!((incr(i64::MAX), value(store, "n"), ttl(store, "n")), (Ok(-1), bytes("-1"), Ttl::At(FAR_MS)));
    assert_eq!(store.kv().incr(0, b"zero", 0), Ok(0));
    assert_eq!((value(store, "zero"), store.kv().append(0, b"zero", b"0", 9)), (bytes("0"), Ok(2)));
    assert_eq!(store.kv().incr(0, b"zero", 1), Err(Error::NotAnInteger));
}

pub(crate) fn incr_refuses_what_is_no_integer(store: &Store) {
    for text in
        ["", "a", " 1", "1 ", "+1", "01", "-0", "1.0", "1e2", "0x1", "9223372036854775808", "-9223372036854775809"]
    {
        put_until(store, "n", text, FAR);
        assert_eq!(store.kv().incr(0, b"n", 1), Err(Error::NotAnInteger), "{text:?}");
        assert_eq!((value(store, "n"), ttl(store, "n")), (bytes(text), Ttl::At(FAR_MS)));
    }
}

pub(crate) fn incr_that_would_overflow_changes_nothing(store: &Store) {
    for (edge, by) in [(i64::MAX, 1), (i64::MIN, -1), (-1, i64::MIN), (1, i64::MAX)] {
        put(store, "n", edge.to_string());
        assert_eq!(store.kv().incr(0, b"n", by), Err(Error::Overflow));
        assert_eq!(value(store, "n"), bytes(&edge.to_string()));
    }
    assert_eq!(store.kv().incr(0, b"low", i64::MIN), Ok(i64::MIN));
}

pub(crate) fn incr_float_writes_plain_decimals(store: &Store) {
    for (before, by, after) in [
        ("10.5", 0.1, "10.6"),
        ("5.0e3", 2.0e2, "5200"),
        ("5.0e3", 0.0, "5000"),
        ("3.0", 1.1, "4.1"),
        ("0.1", 0.2, "0.3"),
        ("1", -1.0, "0"),
        ("-1.5", 0.25, "-1.25"),
        ("7", 1e20, "100000000000000000007"),
    ] {
        put_until(store, "x", before, FAR);
        let sum = store.kv().incr_float(0, b"x", by.into()).unwrap();
        assert_eq!(value(store, "x").as_ref(), Some(&sum));
        // Beyond 2^53 the digits behind the sixteenth are the backend's own.
        let (sum, after) = (String::from_utf8(sum).unwrap(), after);
        assert_eq!(
            (sum.len(), &sum[..sum.len().min(16)]),
            (after.len(), &after[..after.len().min(16)]),
            "{before} + {by}"
        );
        assert_eq!(ttl(store, "x"), Ttl::At(FAR_MS));
    }
    assert_eq!(store.kv().incr_float(0, b"new", 1.5.into()), Ok(b"1.5".to_vec()));
    assert_eq!((value(store, "new"), ttl(store, "new")), (bytes("1.5"), Ttl::Never));
}

pub(crate) fn incr_float_refuses_what_is_no_float(store: &Store) {
    for text in ["", "a", " 1", "1 ", "nan", "1.5x", "1,5"] {
        put(store, "x", text);
        assert_eq!(store.kv().incr_float(0, b"x", 1.0.into()), Err(Error::NotAFloat), "{text:?}");
        assert_eq!(value(store, "x"), bytes(text));
    }
    put(store, "x", "1e4932");
    assert_eq!(store.kv().incr_float(0, b"x", LongDouble::parse(b"9e4931").unwrap()), Err(Error::Overflow));
    for by in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert_eq!(store.kv().incr_float(0, b"x", by.into()), Err(Error::Overflow));
        assert_eq!(store.kv().incr_float(0, b"new", f64::NAN.into()), Err(Error::Overflow));
    }
    assert_eq!((value(store, "x"), value(store, "new")), (bytes("1e4932"), None));
}

pub(crate) fn delete_and_exists_tell_the_truth(store: &Store) {
    let kv = store.kv();
    put(store, "a", "");
    assert_eq!((kv.exists(0, b"a"), kv.delete(0, b"a"), kv.exists(0, b"a")), (Ok(true), Ok(true), Ok(false)));
    assert_eq!((kv.delete(0, b"a"), kv.len(0)), (Ok(false), Ok(0)));
}

// Expiry.

pub(crate) fn expire_obeys_its_rule(store: &Store) {
    use ExpireRule::{Always, IfEarlier, IfLater, IfNone, IfSome, IfSomeAndEarlier, IfSomeAndLater};
    let earlier_or_later: [(Expiry, u64, &[ExpireRule]); 4] = [
        (Expiry::Never, FAR_MS, &[Always, IfNone, IfEarlier]),
        (FAR, FAR_MS + 1, &[Always, IfSome, IfLater, IfSomeAndLater]),
        (FAR, FAR_MS, &[Always, IfSome]),
        (FAR, FAR_MS - 1, &[Always, IfSome, IfEarlier, IfSomeAndEarlier]),
    ];
    for (before, new_ms, allowed) in earlier_or_later {
        for rule in [Always, IfNone, IfSome, IfLater, IfEarlier, IfSomeAndLater, IfSomeAndEarlier] {
            put_until(store, "k", "v", before);
            let was = ttl(store, "k");
            let changes = allowed.contains(&rule);
            assert_eq!(store.kv().expire(0, b"k", Expiry::At(new_ms), rule), Ok(changes), "{was:?} {new_ms} {rule:?}");
            assert_eq!(ttl(store, "k"), if changes { Ttl::At(new_ms) } else { was });
            assert_eq!(value(store, "k"), bytes("v"));
        }
    }
}

pub(crate) fn persist_needs_an_expiry(store: &Store) {
    let persist = || store.kv().expire(0, b"k", Expiry::Never, ExpireRule::Always);
    put_until(store, "k", "v", FAR);
    assert_eq!((persist(), ttl(store, "k"), persist()), (Ok(true), Ttl::Never, Ok(false)));
    assert_eq!(value(store, "k"), bytes("v"));
}

pub(crate) fn an_expire_that_has_passed_deletes_if_its_rule_allows(store: &Store) {
    let expire = |rule| store.kv().expire(0, b"k", PAST, rule);
    put_until(store, "k", "v", FAR);
    assert_eq!(
        (expire(ExpireRule::IfLater), expire(ExpireRule::IfNone), value(store, "k")),
        (Ok(false), Ok(false), bytes("v"))
    );
    assert_eq!((expire(ExpireRule::IfEarlier), value(store, "k")), (Ok(true), None));
    put(store, "k", "v");
    assert_eq!((expire(ExpireRule::Always), value(store, "k"), store.kv().len(0)), (Ok(true), None, Ok(0)));
}

/// Makes the keys `a` to `h`, which have just expired, and `fresh`, which has not.
fn expired(store: &Store) {
    put(store, "fresh", "1");
    let at_ms = soon_ms();
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        put_until(store, key, "5", Expiry::At(at_ms));
    }
    wait_past(at_ms);
}

pub(crate) fn an_expired_key_is_a_miss_to_every_reader(store: &Store) {
    expired(store);
    let kv = store.kv();
    assert_eq!(kv.scan(0, 0, 1000).unwrap().keys, [b"fresh"]);
    assert!((0..50).all(|_| kv.random_key(0) == Ok(bytes("fresh"))));
    assert_eq!((value(store, "a"), ttl(store, "b"), kv.strlen(0, b"c")), (None, Ttl::Missing, Ok(0)));
    assert_eq!((kv.kind(0, b"d"), kv.exists(0, b"e"), kv.getdel(0, b"f")), (Ok(None), Ok(false), Ok(None)));
    assert_eq!((kv.getex(0, b"g", FAR), kv.delete(0, b"h")), (Ok(None), Ok(false)));
    assert_eq!(kv.mget(0, &[b"a", b"fresh"]), Ok(vec![None, bytes("1")]));
}

pub(crate) fn an_expired_key_stays_gone(store: &Store) {
    expired(store);
    let kv = store.kv();
    assert_eq!(kv.expire(0, b"a", FAR, ExpireRule::Always), Ok(false));
    assert_eq!(kv.expire(0, b"b", Expiry::Never, ExpireRule::Always), Ok(false));
    assert_eq!(kv.getex(0, b"c", Expiry::Never), Ok(None));
    assert_eq!(kv.rename(0, b"d", b"x", false), Err(Error::NoSuchKey));
    let present = SetOptions { condition: Condition::IfPresent, get: true, ..SetOptions::default() };
    assert_eq!(set(store, "e", "1", present), outcome(false, None));
    assert_eq!(kv.mget(0, &[b"a", b"b", b"c", b"d", b"e", b"x"]), Ok(vec![None; 6]));
}

pub(crate) fn a_write_to_an_expired_key_makes_a_new_one(store: &Store) {
    expired(store);
    let kv = store.kv();
    assert_eq!((kv.incr(0, b"a", 1), ttl(store, "a")), (Ok(1), Ttl::Never));
    assert_eq!((kv.incr_float(0, b"b", 0.5.into()), ttl(store, "b")), (Ok(b"0.5".to_vec()), Ttl::Never));
    assert_eq!((kv.append(0, b"c", b"x", 9), ttl(store, "c")), (Ok(1), Ttl::Never));
    let absent = SetOptions { condition: Condition::IfAbsent, get: true, expiry: Expiry::Keep };
    assert_eq!((set(store, "d", "1", absent), ttl(store, "d")), (outcome(true, None), Ttl::Never));
    assert_eq!(kv.mset(0, &[(b"e", b"1"), (b"f", b"2")], true), Ok(true));
    assert_eq!(
        (kv.rename(0, b"fresh", b"g", true), value(store, "g"), ttl(store, "g")),
        (Ok(true), bytes("1"), Ttl::Never)
    );
}

pub(crate) fn keys_that_go_are_told_of_while_somebody_listens(store: &Store) {
    let gone = |db, key: &str| Departed { db, key: key.as_bytes().to_vec(), evicted: false };
    store.gather_departures();
    assert_eq!(store.take_departures(), None);
    store.interest().join(Audience::Watchers, 0);
    put(store, "lives", "1");
    let (at_ms, options) = (soon_ms(), |at_ms| SetOptions { expiry: Expiry::At(at_ms), ..SetOptions::default() });
    store.kv().set(3, b"asked for", b"1", options(at_ms)).unwrap();
    store.kv().set(0, b"swept", b"1", options(at_ms)).unwrap();
    wait_past(at_ms);
    assert_eq!(
        (store.kv().free_expired(3, b"asked for"), store.kv().free_expired(3, b"asked for")),
        (Ok(true), Ok(false))
    );
    assert_eq!((store.kv().free_expired(0, b"lives"), store.kv().free_expired(0, b"none")), (Ok(false), Ok(false)));
    assert_eq!(store.take_departures(), Some(Departures { keys: vec![gone(3, "asked for")], lost: false }));
    assert_eq!((store.take_departures(), store.kv().exists(3, b"asked for")), (None, Ok(false)));
    // They are told of in the database that they were in last.
    store.kv().swap(0, 5).unwrap();
    for _ in 0..1000 {
        store.sweep();
    }
    assert_eq!(store.take_departures(), Some(Departures { keys: vec![gone(5, "swept")], lost: false }));
    store.kv().swap(0, 5).unwrap();
    assert_eq!(value(store, "lives"), Some(b"1".to_vec()));
}

pub(crate) fn the_sweep_frees_expired_keys(store: &Store) {
    expired(store);
    let freed: usize = (0..1000).map(|_| store.sweep()).sum();
    // Fewer if the machine was so slow that some expired before they were written.
    assert!(freed <= 8, "{freed}");
    assert_eq!((store.kv().len(0), store.kv().expiring(0), value(store, "fresh")), (Ok(1), Ok(0), bytes("1")));
}

// Renaming.

pub(crate) fn rename_moves_value_and_expiry(store: &Store) {
    let rename = |from: &str, to: &str| store.kv().rename(0, from.as_bytes(), to.as_bytes(), false);
    put_until(store, "a", "1", FAR);
    assert_eq!((rename("a", "b"), value(store, "a"), ttl(store, "a")), (Ok(true), None, Ttl::Missing));
    assert_eq!((value(store, "b"), ttl(store, "b")), (bytes("1"), Ttl::At(FAR_MS)));
    put(store, "c", pattern(5000));
    assert_eq!((rename("c", "b"), ttl(store, "b"), store.kv().len(0)), (Ok(true), Ttl::Never, Ok(1)));
    assert!(value(store, "b") == Some(pattern(5000)));
    put_until(store, "d", "4", FAR);
    assert_eq!((rename("b", "d"), ttl(store, "d"), store.kv().expiring(0)), (Ok(true), Ttl::Never, Ok(0)));
}

pub(crate) fn rename_if_absent_spares_the_target(store: &Store) {
    let rename = |from: &str, to: &str| store.kv().rename(0, from.as_bytes(), to.as_bytes(), true);
    put(store, "a", "1");
    put_until(store, "b", "2", FAR);
    assert_eq!((rename("a", "b"), value(store, "a"), value(store, "b")), (Ok(false), bytes("1"), bytes("2")));
    assert_eq!((rename("b", "c"), value(store, "c"), ttl(store, "c")), (Ok(true), bytes("2"), Ttl::At(FAR_MS)));
    assert_eq!((rename("b", "d"), rename("none", "a")), (Err(Error::NoSuchKey), Err(Error::NoSuchKey)));
}

pub(crate) fn rename_onto_itself_changes_nothing(store: &Store) {
    put_until(store, "a", "1", FAR);
    assert_eq!(store.kv().rename(0, b"a", b"a", false), Ok(true));
    assert_eq!(store.kv().rename(0, b"a", b"a", true), Ok(false));
    assert_eq!((value(store, "a"), ttl(store, "a"), store.kv().len(0)), (bytes("1"), Ttl::At(FAR_MS), Ok(1)));
}

pub(crate) fn rename_works_between_long_and_short_keys(store: &Store) {
    let (long, longest) = (vec![b'l'; 3000], vec![b'x'; 65_535]);
    put(store, "a", "1");
    for (from, to) in [(&b"a"[..], &long[..]), (&long, &longest), (&longest, b""), (b"", b"a")] {
        assert_eq!(store.kv().rename(0, from, to, false), Ok(true));
        assert_eq!((value(store, from), value(store, to), store.kv().len(0)), (None, bytes("1"), Ok(1)));
    }
}

// The whole space.

pub(crate) fn random_key_finds_every_key(store: &Store) {
    put(store, "a", "1");
    assert_eq!(store.kv().random_key(0), Ok(bytes("a")));
    ["b", "c", "d"].iter().for_each(|key| put(store, key, "1"));
    let seen: BTreeSet<_> = (0..400).map(|_| store.kv().random_key(0).unwrap().unwrap()).collect();
    assert!(seen.iter().eq([b"a", b"b", b"c", b"d"]), "{seen:?}");
    assert_eq!(store.kv().random_key(1), Ok(None));
}

pub(crate) fn len_and_expiring_follow_every_change(store: &Store) {
    let kv = store.kv();
    let sizes = || (kv.len(0).unwrap(), kv.expiring(0).unwrap());
    put(store, "a", "1");
    put_until(store, "b", "1", FAR);
    assert_eq!(sizes(), (2, 1));
    put_until(store, "a", "1", FAR);
    assert_eq!(sizes(), (2, 2));
    put(store, "b", "1");
    assert_eq!(sizes(), (2, 1));
    put_until(store, "a", "1", Expiry::Keep);
    assert_eq!(sizes(), (2, 1));
    kv.expire(0, b"b", FAR, ExpireRule::Always).unwrap();
    kv.expire(0, b"b", FAR, ExpireRule::Always).unwrap();
    assert_eq!(sizes(), (2, 2));
    kv.rename(0, b"b", b"a", false).unwrap();
    assert_eq!(sizes(), (1, 1));
    kv.getex(0, b"a", Expiry::Never).unwrap();
    assert_eq!(sizes(), (1, 0));
    kv.getex(0, b"a", FAR).unwrap();
    kv.incr(0, b"a", 1).unwrap();
    assert_eq!(sizes(), (1, 1));
    kv.mset(0, &[(b"a", b"1"), (b"c", b"1")], false).unwrap();
    assert_eq!(sizes(), (2, 0));
    put_until(store, "a", "1", FAR);
    put_until(store, "c", "1", FAR);
    kv.delete(0, b"a").unwrap();
    kv.getdel(0, b"c").unwrap();
    assert_eq!(sizes(), (0, 0));
    put_until(store, "a", "1", FAR);
    kv.getex(0, b"a", PAST).unwrap();
    assert_eq!((sizes(), kv.len(1), kv.expiring(1)), ((0, 0), Ok(0), Ok(0)));
}

pub(crate) fn flush_empties_one_database_or_all(store: &Store) {
    let kv = store.kv();
    for db in [0, 1, 15] {
        for i in 0..20 {
            let options = SetOptions { expiry: if i % 2 == 0 { FAR } else { Expiry::Never }, ..SetOptions::default() };
            kv.set(db, &key(i), &pattern(100), options).unwrap();
        }
    }
    kv.flush(Some(1)).unwrap();
    assert_eq!([0, 1, 15].map(|db| kv.len(db).unwrap()), [20, 0, 20]);
    assert_eq!([0, 1, 15].map(|db| kv.expiring(db).unwrap()), [10, 0, 10]);
    assert_eq!((kv.exists(1, &key(0)), kv.exists(0, &key(0))), (Ok(false), Ok(true)));
    kv.flush(None).unwrap();
    assert_eq!([0, 1, 15].map(|db| kv.len(db).unwrap()), [0; 3]);
    put(store, "key:0", "again");
    assert_eq!((value(store, "key:0"), ttl(store, "key:0")), (bytes("again"), Ttl::Never));
}

pub(crate) fn flush_concerns_this_space_alone(store: &Store) {
    let table = users(store);
    fill(&table, 2);
    store.counter("c").unwrap().increment().unwrap();
    put(store, "k", "v");
    store.kv().flush(None).unwrap();
    assert_eq!((user(&table, key(1)), store.counter("c").unwrap().get()), (is("", 1, 0.0), Ok(Some(1))));
}

// Capacity.

/// Fills database 0 with `key:0`, `key:1`, ... until nothing more fits; returns how many did.
fn fill_all(store: &Store) -> u64 {
    for i in 0..MAX_KEYS * 16 {
        match store.kv().set(0, &key(i), b"1", SetOptions::default()) {
            Ok(_) => {}
            Err(Error::OutOfMemory) => return i,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the key-value space never fills up");
}

pub(crate) fn at_least_so_many_keys_fit(store: &Store) {
    let fit = fill_all(store);
    assert!(fit >= MAX_KEYS, "{fit}");
    assert_eq!(store.kv().len(0), Ok(fit));
    assert!((0..fit).all(|i| value(store, key(i)) == bytes("1")));
}

pub(crate) fn a_full_space_refuses_only_new_keys(store: &Store) {
    let (fit, kv) = (fill_all(store), store.kv());
    assert_eq!(kv.incr(0, b"new", 1), Err(Error::OutOfMemory));
    assert_eq!(kv.incr_float(0, b"new", 1.0.into()), Err(Error::OutOfMemory));
    assert_eq!(kv.append(0, b"new", b"1", 9), Err(Error::OutOfMemory));
    assert_eq!(kv.set(5, b"new", b"1", SetOptions::default()), Err(Error::OutOfMemory));
    assert_eq!(kv.mset(0, &[(b"key:0", b"2"), (b"new", b"2")], false), Err(Error::OutOfMemory));
    assert_eq!((value(store, "new"), value(store, "key:0"), kv.len(0), kv.len(5)), (None, bytes("1"), Ok(fit), Ok(0)));

    assert_eq!((kv.incr(0, b"key:0", 1), kv.append(0, b"key:1", b"1", 9)), (Ok(2), Ok(2)));
    assert_eq!(kv.rename(0, b"key:0", b"key:1", false), Ok(true));
    assert_eq!((kv.incr(0, b"new", 1), value(store, "key:1")), (Ok(1), bytes("2")));
    assert_eq!(kv.incr(0, b"newer", 1), Err(Error::OutOfMemory));
    kv.flush(None).unwrap();
    assert_eq!(fill_all(store), fit);
}

pub(crate) fn keys_come_and_go_without_end(store: &Store) {
    let (fit, mut dice) = (fill_all(store), Dice::new());
    let mut present: Vec<u64> = (0..fit).collect();
    for new in fit..fit + 3000 {
        let place = dice.roll(fit) as usize;
        assert_eq!(store.kv().delete(0, &key(present[place])), Ok(true));
        store.kv().set(0, &key(new), &pattern(dice.roll(100) as usize), SetOptions::default()).unwrap();
        present[place] = new;
    }
    assert_eq!(store.kv().len(0), Ok(fit));
    assert!(present.iter().all(|&i| store.kv().exists(0, &key(i)) == Ok(true)));
}

pub(crate) fn expired_keys_make_room(store: &Store) {
    let at_ms = soon_ms();
    let options = SetOptions { expiry: Expiry::At(at_ms), ..SetOptions::default() };
    (0..MAX_KEYS).for_each(|i| drop(store.kv().set(3, &key(i), b"1", options).unwrap()));
    wait_past(at_ms);
    assert!(fill_all(store) >= MAX_KEYS);
}

pub(crate) fn values_give_their_memory_back(store: &Store) {
    let (len, value_of) = (200_000, |i: u64| vec![i as u8; 200_000]);
    // Together many times what the store has: overwritten, deleted, renamed over, flushed.
    for i in 0..super::MEMORY_BYTES * 8 / len {
        put(store, "a", value_of(i));
        put(store, "b", value_of(i + 1));
        match i % 4 {
            0 => drop(store.kv().delete(0, b"a")),
            1 => drop(store.kv().rename(0, b"a", b"b", false)),
            2 => store.kv().flush(Some(0)).unwrap(),
            _ => put_until(store, "b", "", PAST),
        }
    }
    put(store, "a", value_of(7));
    assert!(value(store, "a") == Some(value_of(7)));
}
