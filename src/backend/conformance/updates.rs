//! Changes of keys by a function of what they hold.

use super::common::{FAR, FAR_MS, PAST, put, put_until, ttl, value};
use crate::{
    Error, Store,
    store::{Condition, Current, Expiry, Target, Ttl, Update, limits::MAX_BATCH_ROWS, string_of},
};

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

fn target(key: &str) -> Target<'_> {
    Target { db: 0, key: key.as_bytes(), with_value: true }
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
    let both = [target("a"), target("b")];
    assert_eq!(store.kv().update_many(&both, &mut |_| Err(Error::NotAFloat)), Err(Error::NotAFloat));
    assert_eq!((value(store, "a"), store.kv().len(0)), (bytes("1"), Ok(1)));
}

pub(crate) fn several_keys_are_updated_in_one_step(store: &Store) {
    let kv = store.kv();
    put_until(store, "a", "1", FAR);
    put(store, "gone", vec![b'g'; 3000]);
    let other = Target { db: 3, ..target("a") };
    let unseen = Target { with_value: false, ..target("stays") };
    put(store, "stays", "s");
    kv.update_many(&[target("a"), other, target("gone"), unseen, target("none")], &mut |shown| {
        let texts: Vec<_> = shown.iter().map(|current| current.map(|current| current.value.len())).collect();
        assert_eq!(texts, [Some(1), None, Some(3000), Some(0), None]);
        let copy = shown[0].unwrap().value.to_vec();
        Ok(vec![
            Update::Set(b"2"[..].into(), Expiry::Never),
            Update::Set(copy.into(), FAR),
            Update::Delete,
            Update::Leave,
            Update::Delete,
        ])
    })
    .unwrap();
    let mut copied = Vec::new();
    assert_eq!((kv.get(3, b"a", &mut copied), copied, kv.ttl(3, b"a")), (Ok(true), b"1".to_vec(), Ok(Ttl::At(FAR_MS))));
    assert_eq!((value(store, "a"), ttl(store, "a")), (bytes("2"), Ttl::Never));
    assert_eq!((value(store, "gone"), value(store, "stays")), (None, bytes("s")));
    assert_eq!((kv.len(0), kv.expiring(0), kv.len(3), kv.expiring(3)), (Ok(2), Ok(0), Ok(1), Ok(1)));
}

pub(crate) fn an_update_of_too_many_keys_is_refused(store: &Store) {
    let names: Vec<String> = (0..=MAX_BATCH_ROWS).map(|i| i.to_string()).collect();
    let targets: Vec<_> = names.iter().map(|name| target(name)).collect();
    let all = |targets: &[Target<'_>]| {
        store.kv().update_many(targets, &mut |shown| Ok(vec![Update::Set(b"v"[..].into(), Expiry::Never); shown.len()]))
    };
    let refused = Error::TooLarge { what: "keys in one step", len: MAX_BATCH_ROWS + 1, max: MAX_BATCH_ROWS };
    assert_eq!((all(&targets), store.kv().len(0)), (Err(refused), Ok(0)));
    assert_eq!((all(&targets[1..]), store.kv().len(0)), (Ok(()), Ok(MAX_BATCH_ROWS as u64)));
    let long = vec![b'l'; 65_536];
    let long = Target { key: &long, ..target("a") };
    assert!(matches!(all(&[target("a"), long]), Err(Error::KeyTooLong { .. })));
    assert!(all(&[Target { db: 16, ..target("a") }]).is_err());
}

pub(crate) fn a_full_space_refuses_updates_that_need_room(store: &Store) {
    let mut filled = 0;
    while store.kv().set(0, format!("f{filled}").as_bytes(), b"v", Default::default()).is_ok() {
        filled += 1;
    }
    assert_eq!(store.kv().update(0, b"new", &mut double), Err(Error::OutOfMemory));
    let set = |_: &[Option<Current<'_>>]| Ok(vec![Update::Set(b"2"[..].into(), Expiry::Never); 2]);
    assert_eq!(store.kv().update_many(&[target("f0"), target("new")], &mut { set }), Err(Error::OutOfMemory));
    assert_eq!(value(store, "f0"), bytes("v"));
    assert_eq!(store.kv().update_many(&[target("f0"), target("f1")], &mut { set }), Ok(()));
    assert_eq!((value(store, "f0"), store.kv().len(0)), (bytes("2"), Ok(filled)));
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
