//! Hashes: keys with fields.

use std::{collections::BTreeMap, fmt::Debug};

use super::common::{FAR, FAR_MS, put, soon_ms, ttl, value, wait_past};
use crate::{
    Error, Store,
    store::{ExpireRule, Expiry, FieldPage, FieldUpdate, KvType, Pair, Ttl},
};

/// Fields of a hash that is not a small one.
const MANY: u64 = 2000;
/// Lengths around which a backend is likely to change how it keeps a field or its value.
const LENGTHS: [usize; 16] = [0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 1000, 4095, 4097, 65_536, 200_000];

fn bytes(text: &str) -> Option<Vec<u8>> {
    Some(text.as_bytes().to_vec())
}

/// Sets fields in one change.
fn set(store: &Store, key: &str, pairs: &[(&[u8], &[u8])]) {
    let fields: Vec<&[u8]> = pairs.iter().map(|&(field, _)| field).collect();
    let all = &mut |number: usize, _: Option<&[u8]>| Ok(FieldUpdate::Set(pairs[number].1.into()));
    store.kv().change_fields(0, key.as_bytes(), &fields, false, all).unwrap();
}

/// Removes fields in one change.
fn remove(store: &Store, key: &str, fields: &[&[u8]]) {
    store.kv().change_fields(0, key.as_bytes(), fields, false, &mut |_, _| Ok(FieldUpdate::Remove)).unwrap();
}

/// A hash `h` with the fields `a` and `b`.
fn small(store: &Store) {
    set(store, "h", &[(b"a", b"1"), (b"b", b"22")]);
}

/// A hash `h` with the fields `0..MANY`.
fn many(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let made: BTreeMap<_, _> = (0..MANY).map(|n| (n.to_string().into_bytes(), vec![b'v'; n as usize % 90])).collect();
    set(store, "h", &made.iter().map(|(field, value)| (&field[..], &value[..])).collect::<Vec<_>>());
    made
}

fn field(store: &Store, key: &str, field: &str) -> Option<Vec<u8>> {
    store.kv().field(0, key.as_bytes(), field.as_bytes()).unwrap()
}

/// All fields and values.
fn all(store: &Store, key: &str) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let pairs = store.kv().pairs(0, key.as_bytes(), usize::MAX).unwrap().unwrap();
    let count = pairs.len();
    let map: BTreeMap<_, _> = pairs.into_iter().collect();
    assert_eq!((map.len(), store.kv().field_count(0, key.as_bytes())), (count, Ok(count as u64)));
    map
}

/// All pages of a scan.
fn scan(store: &Store, key: &str, count: usize) -> Vec<Pair> {
    let (mut pairs, mut cursor) = (Vec::new(), 0);
    loop {
        let page = store.kv().scan_fields(0, key.as_bytes(), cursor, count).unwrap();
        pairs.extend(page.pairs);
        cursor = page.cursor;
        if cursor == 0 {
            return pairs;
        }
        assert!(pairs.len() < 10 * MANY as usize, "a scan without end");
    }
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    pairs.into_iter().map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

pub(crate) fn an_absent_hash_has_no_fields(store: &Store) {
    let kv = store.kv();
    assert_eq!((kv.field(0, b"h", b"a"), kv.field_len(0, b"h", b"a")), (Ok(None), Ok(None)));
    assert_eq!((kv.fields(0, b"h", &[b"a", b"b"], 0), kv.field_count(0, b"h")), (Ok(Some(vec![None, None])), Ok(0)));
    assert_eq!((kv.pairs(0, b"h", 0), kv.is_packed(0, b"h")), (Ok(Some(vec![])), Ok(false)));
    assert_eq!(kv.scan_fields(0, b"h", 0, 10), Ok(FieldPage { cursor: 0, pairs: vec![] }));
    assert_eq!(kv.choose_fields(0, b"h", true, 0, &mut |count| (0..count).collect()), Ok(Some(vec![])));
    let mut shown = Vec::new();
    let note = &mut |number: usize, value: Option<&[u8]>| {
        shown.push((number, value.is_some()));
        Ok(if number == 0 { FieldUpdate::Leave } else { FieldUpdate::Remove })
    };
    assert_eq!(kv.change_fields(0, b"h", &[b"a", b"b"], true, note), Ok(()));
    shown.sort_unstable();
    shown.dedup();
    assert_eq!((shown, kv.exists(0, b"h"), kv.len(0)), (vec![(0, false), (1, false)], Ok(false), Ok(0)));
}

pub(crate) fn fields_come_change_and_go(store: &Store) {
    small(store);
    let kv = store.kv();
    assert_eq!((kv.kind(0, b"h"), kv.len(0)), (Ok(Some(KvType::Hash)), Ok(1)));
    assert_eq!(
        (field(store, "h", "a"), field(store, "h", "b"), field(store, "h", "c")),
        (bytes("1"), bytes("22"), None)
    );
    assert_eq!((kv.field_len(0, b"h", b"b"), kv.field_len(0, b"h", b"c")), (Ok(Some(2)), Ok(None)));
    let named = |max| kv.fields(0, b"h", &[b"b", b"c", b"a", b"b"], max);
    assert_eq!(named(5), Ok(Some(vec![bytes("22"), None, bytes("1"), bytes("22")])));
    assert_eq!((named(4), named(0)), (Ok(None), Ok(None)), "a value counts as often as it is named");
    assert_eq!((all(store, "h"), kv.is_packed(0, b"h")), (map([("a", "1"), ("b", "22")]), Ok(true)));
    set(store, "h", &[(b"b", b"new"), (b"c", b"")]);
    remove(store, "h", &[b"a", b"none"]);
    assert_eq!(all(store, "h"), map([("b", "new"), ("c", "")]));
    remove(store, "h", &[b"b"]);
    assert_eq!(kv.exists(0, b"h"), Ok(true));
    remove(store, "h", &[b"c"]);
    assert_eq!((kv.exists(0, b"h"), kv.kind(0, b"h"), kv.len(0)), (Ok(false), Ok(None), Ok(0)));
}

pub(crate) fn what_is_no_hash_is_the_wrong_kind(store: &Store) {
    fn wrong<T: PartialEq + Debug>(result: Result<T, Error>) {
        assert_eq!(result, Err(Error::WrongKind));
    }
    put(store, "s", "text");
    small(store);
    let kv = store.kv();
    wrong(kv.field(0, b"s", b"a"));
    wrong(kv.field_len(0, b"s", b"a"));
    wrong(kv.fields(0, b"s", &[b"a"], 100));
    wrong(kv.field_count(0, b"s"));
    wrong(kv.pairs(0, b"s", 100));
    wrong(kv.scan_fields(0, b"s", 0, 10));
    wrong(kv.choose_fields(0, b"s", true, 100, &mut |_| vec![0]));
    wrong(kv.change_fields(0, b"s", &[b"a"], false, &mut |_, _| Ok(FieldUpdate::Set(b"1"[..].into()))));
    wrong(kv.is_packed(0, b"s"));
    wrong(kv.get(0, b"h", &mut Vec::new()));
    wrong(kv.strlen(0, b"h"));
    wrong(kv.append(0, b"h", b"x", 100));
    wrong(kv.incr(0, b"h", 1));
    wrong(kv.incr_float(0, b"h", 1.0.into()));
    wrong(kv.getdel(0, b"h"));
    wrong(kv.getex(0, b"h", FAR));
    assert_eq!(kv.mget(0, &[b"h", b"s"]), Ok(vec![None, bytes("text")]));
    assert_eq!((all(store, "h"), value(store, "s")), (map([("a", "1"), ("b", "22")]), bytes("text")));
    assert_eq!((ttl(store, "h"), ttl(store, "s")), (Ttl::Never, Ttl::Never));
}

pub(crate) fn a_field_named_twice_is_changed_twice(store: &Store) {
    set(store, "h", &[(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]);
    assert_eq!(all(store, "h"), map([("a", "3"), ("b", "2")]));
    let mut shown = BTreeMap::new();
    let twice = &mut |number: usize, value: Option<&[u8]>| {
        shown.insert(number, value.map(<[u8]>::to_vec));
        Ok(match number {
            0 | 3 => FieldUpdate::Remove,
            4 => FieldUpdate::Leave,
            _ => FieldUpdate::Set([value.unwrap_or(b"none"), b"+"].concat().into()),
        })
    };
    store.kv().change_fields(0, b"h", &[b"a", b"b", b"a", b"b", b"a"], true, twice).unwrap();
    let expected = [(0, bytes("3")), (1, bytes("2")), (2, None), (3, bytes("2+")), (4, bytes("none+"))];
    assert_eq!((shown, all(store, "h")), (expected.into(), map([("a", "none+")])));
}

pub(crate) fn a_change_that_is_refused_changes_no_field(store: &Store) {
    small(store);
    for refused in 0..3 {
        let refuse = &mut |number: usize, _: Option<&[u8]>| {
            if number == refused { Err(Error::Overflow) } else { Ok(FieldUpdate::Set(b"changed"[..].into())) }
        };
        let fields: [&[u8]; 3] = [b"a", b"new", b"b"];
        assert_eq!(store.kv().change_fields(0, b"h", &fields, true, refuse), Err(Error::Overflow));
        assert_eq!(store.kv().change_fields(0, b"none", &fields, true, refuse), Err(Error::Overflow));
    }
    assert_eq!((all(store, "h"), store.kv().len(0)), (map([("a", "1"), ("b", "22")]), Ok(1)));
}

pub(crate) fn a_change_is_shown_values_if_it_wants_them(store: &Store) {
    set(store, "h", &[(b"long", &[b'l'; 70_000]), (b"short", b"s")]);
    for (with_values, long, short) in [(true, 70_000, 1), (false, 0, 0)] {
        let mut shown = BTreeMap::new();
        let note = &mut |number: usize, value: Option<&[u8]>| {
            shown.insert(number, value.map(<[u8]>::len));
            Ok(FieldUpdate::Leave)
        };
        store.kv().change_fields(0, b"h", &[b"short", b"none", b"long"], with_values, note).unwrap();
        assert_eq!(shown, [(0, Some(short)), (1, None), (2, Some(long))].into());
    }
}

pub(crate) fn a_hash_keeps_its_expiry_and_expires_as_a_whole(store: &Store) {
    small(store);
    assert_eq!(store.kv().expire(0, b"h", FAR, ExpireRule::Always), Ok(true));
    set(store, "h", &[(b"c", b"3")]);
    remove(store, "h", &[b"a"]);
    assert_eq!((ttl(store, "h"), all(store, "h").len()), (Ttl::At(FAR_MS), 2));
    remove(store, "h", &[b"b", b"c"]);
    small(store);
    assert_eq!(ttl(store, "h"), Ttl::Never);
    let soon = soon_ms();
    assert_eq!(store.kv().expire(0, b"h", Expiry::At(soon), ExpireRule::Always), Ok(true));
    wait_past(soon);
    assert_eq!((field(store, "h", "a"), all(store, "h").len()), (None, 0));
    assert_eq!((store.kv().exists(0, b"h"), store.kv().is_packed(0, b"h")), (Ok(false), Ok(false)));
    set(store, "h", &[(b"new", b"n")]);
    assert_eq!((all(store, "h"), ttl(store, "h")), (map([("new", "n")]), Ttl::Never));
}

pub(crate) fn a_hash_goes_where_its_key_goes(store: &Store) {
    let kv = store.kv();
    let made = many(store);
    put(store, "s", "text");
    kv.rename(0, b"h", b"s", false).unwrap();
    assert!(all(store, "s") == made && all(store, "h").is_empty());
    assert_eq!(kv.move_to(0, b"s", 3), Ok(true));
    assert_eq!((kv.field_count(0, b"s"), kv.field_count(3, b"s")), (Ok(0), Ok(MANY)));
    kv.swap(0, 3).unwrap();
    assert!(all(store, "s") == made);
    put(store, "s", "text again");
    assert_eq!((value(store, "s"), kv.kind(0, b"s")), (bytes("text again"), Ok(Some(KvType::String))));
    small(store);
    assert_eq!((kv.delete(0, b"h"), all(store, "h").len()), (Ok(true), 0));
    small(store);
    kv.flush(None).unwrap();
    assert_eq!((all(store, "h").len(), kv.len(0)), (0, Ok(0)));
}

pub(crate) fn fields_and_values_of_every_length_come_back(store: &Store) {
    let mut made = BTreeMap::new();
    for len in LENGTHS {
        let field: Vec<u8> = (0..len).map(|i| (i * 31 + len) as u8).collect();
        let value = [&field[..], b"value"].concat();
        set(store, "h", &[(&field, &value)]);
        made.insert(field, value);
    }
    assert!(all(store, "h") == made);
    for (field, value) in &made {
        assert!(store.kv().field(0, b"h", field).unwrap().as_ref() == Some(value), "{}", field.len());
        assert_eq!(store.kv().field_len(0, b"h", field), Ok(Some(value.len())));
    }
    for from in LENGTHS {
        for to in LENGTHS {
            set(store, "g", &[(b"f", &vec![b'f'; from])]);
            set(store, "g", &[(b"f", &vec![b't'; to])]);
            assert!(field(store, "g", "f") == Some(vec![b't'; to]), "{from} -> {to}");
        }
    }
}

pub(crate) fn fields_are_binary_and_kept_apart(store: &Store) {
    let fields: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"a", b"a\0", b"A", b"\xff\xfe\r\n"];
    for (number, field) in fields.iter().enumerate() {
        set(store, "h", &[(field, &[number as u8])]);
    }
    for (number, field) in fields.iter().enumerate() {
        assert_eq!(store.kv().field(0, b"h", field), Ok(Some(vec![number as u8])));
    }
    assert_eq!(all(store, "h").len(), fields.len());
}

pub(crate) fn a_large_hash_comes_and_goes(store: &Store) {
    let mut made = many(store);
    assert!(all(store, "h") == made);
    assert_eq!(store.kv().is_packed(0, b"h"), Ok(false));
    let fields: Vec<&[u8]> = made.keys().map(Vec::as_slice).collect();
    let values: Vec<_> = made.values().cloned().map(Some).collect();
    assert!(store.kv().fields(0, b"h", &fields, usize::MAX) == Ok(Some(values)));
    let gone: Vec<Vec<u8>> = made.keys().step_by(3).cloned().collect();
    remove(store, "h", &gone.iter().map(Vec::as_slice).collect::<Vec<_>>());
    gone.iter().for_each(|field| drop(made.remove(field)));
    assert!(all(store, "h") == made);
    for field in made.keys() {
        remove(store, "h", &[field]);
    }
    assert_eq!((all(store, "h").len(), store.kv().len(0)), (0, Ok(0)));
}

pub(crate) fn a_hash_is_small_up_to_a_bound(store: &Store) {
    let packed = || store.kv().is_packed(0, b"h").unwrap();
    for n in 0..512 {
        set(store, "h", &[(n.to_string().as_bytes(), &[b'v'; 64])]);
    }
    assert!(packed());
    set(store, "h", &[(b"0", &[b'v'; 65])]);
    assert!(!packed());
    set(store, "h", &[(b"0", b"")]);
    assert!(packed());
    set(store, "h", &[(b"one more", b"")]);
    assert!(!packed());
}

pub(crate) fn pairs_are_bounded(store: &Store) {
    small(store);
    let kv = store.kv();
    assert_eq!(kv.pairs(0, b"h", 5).unwrap().unwrap().len(), 2);
    assert_eq!((kv.pairs(0, b"h", 4), kv.pairs(0, b"h", 0)), (Ok(None), Ok(None)));
}

pub(crate) fn a_scan_returns_every_field_once(store: &Store) {
    let made = many(store);
    small(store);
    for count in [1, 10, 700, 10_000] {
        let pairs = scan(store, "h", count);
        let seen: BTreeMap<_, _> = pairs.iter().cloned().collect();
        assert_eq!((pairs.len(), seen.len()), (made.len() + 2, made.len() + 2), "count {count}");
        assert!(made.iter().all(|(field, value)| seen.get(field) == Some(value)));
    }
    let _ = store.kv().scan_fields(0, b"h", u64::MAX, 10).unwrap();
    assert_eq!(scan(store, "none", 10), []);
}

pub(crate) fn chosen_fields_are_those_of_their_places(store: &Store) {
    let made = many(store);
    let kv = store.kv();
    let choose =
        |choose: &mut dyn FnMut(u64) -> Vec<u64>| kv.choose_fields(0, b"h", true, usize::MAX, choose).unwrap().unwrap();
    let chosen = choose(&mut |count| (0..count).collect());
    assert!(chosen.iter().cloned().collect::<BTreeMap<_, _>>() == made && chosen.len() == made.len());
    let some = choose(&mut |count| vec![count - 1, 7, 7, 0]);
    let expected: Vec<_> = [MANY as usize - 1, 7, 7, 0].iter().map(|&place| chosen[place].clone()).collect();
    assert!(some == expected);
    assert_eq!(choose(&mut |count| vec![count, u64::MAX]), []);
    assert_eq!(choose(&mut |_| vec![]), []);
    let names: Vec<_> = [7, 7].iter().map(|&place: &usize| (chosen[place].0.clone(), Vec::new())).collect();
    let bytes = 2 * chosen[7].0.len();
    let only_names = |max| kv.choose_fields(0, b"h", false, max, &mut |_| vec![7, 7]);
    assert_eq!((only_names(bytes), only_names(bytes - 1)), (Ok(Some(names)), Ok(None)));
    let with_values = bytes + 2 * chosen[7].1.len();
    assert_eq!(kv.choose_fields(0, b"h", true, with_values - 1, &mut |_| vec![7, 7]), Ok(None));
}

pub(crate) fn hashes_give_their_memory_back(store: &Store) {
    // Many times what fits at once.
    for round in 0..40_u8 {
        let value = vec![round; 20_000];
        let fields: Vec<Vec<u8>> = (0..200_u64).map(|n| n.to_string().into_bytes()).collect();
        let pairs: Vec<(&[u8], &[u8])> = fields.iter().map(|field| (&field[..], &value[..])).collect();
        set(store, "h", &pairs);
        assert!(field(store, "h", "199").as_ref() == Some(&value));
        match round % 3 {
            0 => assert_eq!(store.kv().delete(0, b"h"), Ok(true)),
            1 => remove(store, "h", &fields.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            _ => {}
        }
    }
}
