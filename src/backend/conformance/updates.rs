//! Changes of keys by a function of what they hold.

use super::common::{FAR, FAR_MS, PAST, put, put_until, ttl, value};
use crate::{
    Error, Store,
    store::{Condition, Current, Expiry, Ttl, Update, limits::MAX_BATCH_ROWS, string_of},
};

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

/// Doubles the value of a key.
fn double(current: Option<Current<'_>>) -> Result<Update<'static>, Error> {
    Ok(Update::Set(string_of(current)?.unwrap_or(b"new").repeat(2).into(), Expiry::Keep))
}

pub(crate) fn an_update_is_shown_the_value_and_the_expiry(store: &Store) {
    let look = |key: &str| {
        let mut shown = None;
        let mut note = |current: Option<Current<'_>>| {
            shown = Some(current.map(|current| (current.value.to_vec(), current.expires_at)));
            Ok(Update::Leave)
        };
        store.kv().update(0, key.as_bytes(), &mut note).unwrap();
        shown.unwrap()
    };
    put_until(store, "a", "1", FAR);
    put(store, "b", vec![b'x'; 70_000]);
    assert_eq!((look("a"), look("none")), (Some((b"1".to_vec(), Some(FAR_MS))), None));
    assert_eq!(look("b"), Some((vec![b'x'; 70_000], None)));
    assert_eq!((value(store, "a"), value(store, "none")), (bytes("1"), None));
}

pub(crate) fn an_update_sets_deletes_or_leaves(store: &Store) {
    let kv = store.kv();
    put_until(store, "a", "1", FAR);
    kv.update(0, b"a", &mut double).unwrap();
    kv.update(0, b"b", &mut double).unwrap();
    assert_eq!((value(store, "a"), ttl(store, "a")), (bytes("11"), Ttl::At(FAR_MS)));
    assert_eq!((value(store, "b"), ttl(store, "b")), (bytes("newnew"), Ttl::Never));
    kv.update(0, b"b", &mut |_| Ok(Update::Set(b"v"[..].into(), FAR))).unwrap();
    assert_eq!((value(store, "b"), ttl(store, "b")), (bytes("v"), Ttl::At(FAR_MS)));
    kv.update(0, b"b", &mut |_| Ok(Update::Set(b"v"[..].into(), PAST))).unwrap();
    kv.update(0, b"a", &mut |_| Ok(Update::Delete)).unwrap();
    kv.update(0, b"none", &mut |_| Ok(Update::Delete)).unwrap();
    assert_eq!((kv.len(0), kv.expiring(0)), (Ok(0), Ok(0)));
}

pub(crate) fn a_refused_update_changes_nothing(store: &Store) {
    put(store, "a", "1");
    assert_eq!(store.kv().update(0, b"a", &mut |_| Err(Error::Overflow)), Err(Error::Overflow));
    let refused = store.kv().derive(&[(0, b"a")], (0, b"b"), &mut |_, _| Err(Error::NotAFloat));
    assert_eq!(refused, Err(Error::NotAFloat));
    assert_eq!((value(store, "a"), store.kv().len(0)), (bytes("1"), Ok(1)));
}

pub(crate) fn a_key_is_derived_from_others(store: &Store) {
    let kv = store.kv();
    put_until(store, "a", "1", FAR);
    put(store, "b", vec![b'b'; 70_000]);
    put_until(store, "to", "before", FAR);
    kv.update(3, b"a", &mut |_| Ok(Update::Set(b"three"[..].into(), Expiry::Never))).unwrap();
    let sources: [(u8, &[u8]); 4] = [(0, b"a"), (0, b"none"), (3, b"a"), (0, b"b")];
    let derive = |to: (u8, &[u8]), update: &dyn Fn(Vec<u8>) -> Update<'static>| {
        let mut before = None;
        kv.derive(&sources, to, &mut |shown, target| {
            before = Some(target.map(|target| target.expires_at));
            let lens: Vec<_> = shown.iter().map(|source| source.map(|source| source.value.len())).collect();
            assert_eq!(lens, [Some(1), None, Some(5), Some(70_000)]);
            assert_eq!(shown[0].unwrap().expires_at, Some(FAR_MS));
            Ok(update(shown.iter().flatten().flat_map(|source| source.value).copied().collect()))
        })
        .unwrap();
        before.unwrap()
    };
    let sum = [&b"1three"[..], &[b'b'; 70_000]].concat();
    assert_eq!(derive((0, b"to"), &|value| Update::Set(value.into(), Expiry::Never)), Some(Some(FAR_MS)));
    assert!(value(store, "to") == Some(sum.clone()) && ttl(store, "to") == Ttl::Never);
    assert_eq!(derive((0, b"to"), &|_| Update::Leave), Some(None));
    assert_eq!(
        (derive((7, b"new"), &|value| Update::Set(value.into(), FAR)), kv.ttl(7, b"new")),
        (None, Ok(Ttl::At(FAR_MS)))
    );
    assert_eq!((kv.strlen(7, b"new"), kv.strlen(0, b"to")), (Ok(70_006), Ok(70_006)));
    assert_eq!((derive((0, b"to"), &|_| Update::Delete), value(store, "to")), (Some(None), None));
    assert_eq!(derive((0, b"to"), &|_| Update::Delete), None);
    assert_eq!((kv.len(0), kv.expiring(0), kv.len(7), kv.expiring(7)), (Ok(2), Ok(1), Ok(1), Ok(1)));
}

pub(crate) fn a_key_is_derived_from_itself(store: &Store) {
    let kv = store.kv();
    put_until(store, "a", "1", FAR);
    for expected in ["11", "1111"] {
        kv.derive(&[(0, b"a"), (0, b"a")], (0, b"a"), &mut |shown, _| {
            let both: Vec<u8> = shown.iter().flatten().flat_map(|source| source.value).copied().collect();
            Ok(Update::Set(both.into(), Expiry::Keep))
        })
        .unwrap();
        assert_eq!((value(store, "a"), ttl(store, "a"), kv.len(0)), (bytes(expected), Ttl::At(FAR_MS), Ok(1)));
    }
    kv.derive(&[(0, b"none")], (0, b"none"), &mut |_, _| Ok(Update::Set(b"new"[..].into(), Expiry::Keep))).unwrap();
    assert_eq!((value(store, "none"), kv.len(0)), (bytes("new"), Ok(2)));
}

pub(crate) fn a_derivation_from_too_many_keys_is_refused(store: &Store) {
    let names: Vec<String> = (0..MAX_BATCH_ROWS).map(|i| i.to_string()).collect();
    let sources: Vec<(u8, &[u8])> = names.iter().map(|name| (0, name.as_bytes())).collect();
    let derive = |sources: &[(u8, &[u8])], to: (u8, &[u8])| {
        store.kv().derive(sources, to, &mut |_, _| Ok(Update::Set(b"v"[..].into(), Expiry::Never)))
    };
    let refused = Error::TooLarge { what: "keys in one step", len: MAX_BATCH_ROWS + 1, max: MAX_BATCH_ROWS };
    assert_eq!((derive(&sources, (0, b"to")), store.kv().len(0)), (Err(refused), Ok(0)));
    assert_eq!((derive(&sources[1..], (0, b"to")), store.kv().len(0)), (Ok(()), Ok(1)));
    let long = vec![b'l'; 65_536];
    assert!(matches!(derive(&[(0, &long)], (0, b"to")), Err(Error::KeyTooLong { .. })));
    assert!(matches!(derive(&[], (0, &long)), Err(Error::KeyTooLong { .. })));
    assert!(derive(&[(16, b"a")], (0, b"to")).is_err() && derive(&[], (16, b"to")).is_err());
}

pub(crate) fn a_full_space_refuses_updates_that_need_room(store: &Store) {
    let mut filled = 0;
    while store.kv().set(0, format!("f{filled}").as_bytes(), b"v", Default::default()).is_ok() {
        filled += 1;
    }
    assert_eq!(store.kv().update(0, b"new", &mut double), Err(Error::OutOfMemory));
    let set = |to: &[u8]| store.kv().derive(&[], (0, to), &mut |_, _| Ok(Update::Set(b"2"[..].into(), Expiry::Never)));
    assert_eq!((set(b"new"), value(store, "f0")), (Err(Error::OutOfMemory), bytes("v")));
    assert_eq!((set(b"f0"), value(store, "f0"), store.kv().len(0)), (Ok(()), bytes("2"), Ok(filled)));
}

pub(crate) fn many_are_set_under_a_condition_with_an_expiry(store: &Store) {
    let kv = store.kv();
    put_until(store, "a", "1", FAR);
    let pairs: [(&[u8], &[u8]); 2] = [(b"a", b"2"), (b"b", b"3")];
    assert_eq!(kv.mset_if(0, &pairs, FAR, Condition::IfAbsent), Ok(false));
    assert_eq!(kv.mset_if(0, &pairs, FAR, Condition::IfPresent), Ok(false));
    assert_eq!((value(store, "a"), value(store, "b")), (bytes("1"), None));
    assert_eq!(kv.mset_if(0, &pairs, Expiry::Keep, Condition::Always), Ok(true));
    assert_eq!((ttl(store, "a"), ttl(store, "b")), (Ttl::At(FAR_MS), Ttl::Never));
    assert_eq!(kv.mset_if(0, &pairs, FAR, Condition::IfPresent), Ok(true));
    assert_eq!((ttl(store, "b"), kv.expiring(0)), (Ttl::At(FAR_MS), Ok(2)));
    let names: Vec<Vec<u8>> = (0..200_u64).map(super::common::key).collect();
    let many: Vec<(&[u8], &[u8])> = names.iter().map(|name| (name.as_slice(), &b"v"[..])).collect();
    assert_eq!(kv.mset_if(0, &many, FAR, Condition::IfAbsent), Ok(true));
    assert_eq!(kv.mset_if(0, &many, Expiry::Keep, Condition::IfAbsent), Ok(false));
    assert_eq!(kv.mset_if(0, &many, Expiry::Keep, Condition::IfPresent), Ok(true));
    assert_eq!((kv.len(0), kv.expiring(0)), (Ok(202), Ok(202)));
}

pub(crate) fn a_key_moves_to_another_database(store: &Store) {
    let kv = store.kv();
    put_until(store, "a", vec![b'x'; 5000], FAR);
    assert_eq!(
        (kv.move_to(0, b"a", 5), kv.move_to(0, b"a", 5), kv.move_to(0, b"none", 5)),
        (Ok(true), Ok(false), Ok(false))
    );
    let mut moved = Vec::new();
    assert_eq!((kv.get(5, b"a", &mut moved), moved.len(), kv.ttl(5, b"a")), (Ok(true), 5000, Ok(Ttl::At(FAR_MS))));
    assert_eq!((kv.len(0), kv.expiring(0), kv.len(5), kv.expiring(5)), (Ok(0), Ok(0), Ok(1), Ok(1)));
    put(store, "a", "other");
    assert_eq!((kv.move_to(0, b"a", 5), kv.move_to(5, b"a", 0)), (Ok(false), Ok(false)));
    assert!(kv.move_to(0, b"a", 16).is_err());
    assert_eq!(value(store, "a"), bytes("other"));
}

pub(crate) fn databases_swap_with_all_that_is_in_them(store: &Store) {
    let kv = store.kv();
    let of = |db: u8| {
        let mut value = Vec::new();
        kv.get(db, b"a", &mut value).unwrap().then_some(value)
    };
    put_until(store, "a", "zero", FAR);
    put(store, "b", "zero");
    kv.update(15, b"a", &mut |_| Ok(Update::Set(b"fifteen"[..].into(), Expiry::Never))).unwrap();
    kv.swap(0, 15).unwrap();
    assert_eq!((of(0), of(15), kv.ttl(15, b"a")), (Some(b"fifteen".to_vec()), bytes("zero"), Ok(Ttl::At(FAR_MS))));
    assert_eq!((kv.len(0), kv.len(15), kv.expiring(0), kv.expiring(15)), (Ok(1), Ok(2), Ok(0), Ok(1)));
    kv.swap(15, 7).unwrap();
    kv.swap(7, 7).unwrap();
    assert_eq!((of(7), of(15), kv.scan(7, 0, 100).unwrap().keys.len()), (bytes("zero"), None, 2));
    assert_eq!((kv.mget(7, &[b"a", b"b"]), kv.random_key(15)), (Ok(vec![bytes("zero"), bytes("zero")]), Ok(None)));
    kv.flush(Some(7)).unwrap();
    assert_eq!((kv.len(7), kv.len(0), of(0)), (Ok(0), Ok(1), Some(b"fifteen".to_vec())));
    put(store, "a", "new");
    kv.swap(0, 1).unwrap();
    assert_eq!((of(1), of(0)), (bytes("new"), None));
    assert!(kv.swap(0, 16).is_err() && kv.swap(16, 0).is_err());
    kv.flush(None).unwrap();
    assert_eq!((of(1), kv.len(1)), (None, Ok(0)));
}
