//! Random operations on keys.

use proptest::{collection::vec, prelude::*};

use super::{
    Answer, hashes,
    values::{Filler, condition, expiry, expiry_at, filler, float, integer},
};
use crate::{
    Error, Store,
    store::{Current, ExpireRule, Expiry, KvType, Pair, SetOptions, Ttl, Update},
};

/// A value: filler, or something that may be a number.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Filler(Filler),
    Number(String),
}

impl Text {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Filler(filler) => filler.bytes(),
            Self::Number(text) => text.clone().into_bytes(),
        }
    }
}

pub(super) fn text() -> impl Strategy<Value = Text> {
    let near = |len: usize| (len - 2)..(len + 3);
    let len = prop_oneof![
        4 => 0..10_usize,
        4 => near(24),
        4 => near(32),
        4 => near(64),
        4 => 0..3000_usize,
        1 => near(4096),
        1 => near(65_536),
    ];
    prop_oneof![
        4 => filler(len).prop_map(Text::Filler),
        2 => integer().prop_map(|n| Text::Number(n.to_string())),
        1 => float().prop_map(|x| Text::Number(x.to_string())),
        1 => proptest::sample::select(vec!["", "01", "+1", " 1", "1e3", "-0", "0.1", "9223372036854775808"])
            .prop_map(|text| Text::Number(text.to_owned())),
    ]
}

/// Keys, of which the last is too long.
pub(super) fn key(number: usize) -> Vec<u8> {
    match number {
        0 => vec![],
        1 => b"\0".to_vec(),
        2 => b"\xff\0k".to_vec(),
        3 => vec![b'k'; 24],
        4 => vec![b'k'; 25],
        5 => vec![b'k'; 3000],
        6 => vec![b'k'; 65_535],
        7 => vec![b'k'; 65_536],
        _ => format!("key {number}").into_bytes(),
    }
}

#[derive(Debug, Clone)]
pub(super) enum KeyOp {
    Kind(usize),
    Get(usize),
    GetMany(Vec<usize>),
    Strlen(usize),
    Set(usize, Text, SetOptions),
    SetMany(Vec<(usize, Text)>, bool),
    Take(usize),
    GetAndExpire(usize, Expiry),
    Append(usize, Text, usize),
    Incr(usize, i64),
    IncrFloat(usize, f64),
    Delete(usize),
    Exists(usize),
    Ttl(usize),
    Expire(usize, Expiry, ExpireRule),
    Rename(usize, usize, bool),
    MoveTo(usize, u8),
    Swap(u8, u8),
    Update(usize, Text, Expiry),
    Derive(usize, usize, Text, Expiry),
    Touch(usize),
    SetUsage(usize, Option<u64>, Option<u32>),
    /// Whether anything is known of the use of the key, and of its bytes: what, is the backend's own affair.
    IsKnown(usize),
    Random,
    Scan(usize),
    Len,
    Expiring,
}

pub(super) fn op() -> impl Strategy<Value = KeyOp> {
    let key = || 0..14_usize;
    prop_oneof![
        1 => key().prop_map(KeyOp::Kind),
        4 => key().prop_map(KeyOp::Get),
        2 => vec(key(), 0..6).prop_map(KeyOp::GetMany),
        1 => key().prop_map(KeyOp::Strlen),
        10 => (key(), text(), options()).prop_map(|(key, text, options)| KeyOp::Set(key, text, options)),
        3 => (vec((key(), text()), 0..5), any::<bool>()).prop_map(|(pairs, absent)| KeyOp::SetMany(pairs, absent)),
        2 => key().prop_map(KeyOp::Take),
        3 => (key(), expiry()).prop_map(|(key, expiry)| KeyOp::GetAndExpire(key, expiry)),
        5 => (key(), text(), prop_oneof![3 => Just(100_000_usize), 1 => 0..100_usize])
            .prop_map(|(key, tail, max)| KeyOp::Append(key, tail, max)),
        6 => (key(), integer()).prop_map(|(key, by)| KeyOp::Incr(key, by)),
        4 => (key(), float()).prop_map(|(key, by)| KeyOp::IncrFloat(key, by)),
        3 => key().prop_map(KeyOp::Delete),
        1 => key().prop_map(KeyOp::Exists),
        2 => key().prop_map(KeyOp::Ttl),
        4 => (key(), prop_oneof![expiry_at(), Just(Expiry::Never)], rule())
            .prop_map(|(key, expiry, rule)| KeyOp::Expire(key, expiry, rule)),
        4 => (key(), key(), any::<bool>()).prop_map(|(from, to, absent)| KeyOp::Rename(from, to, absent)),
        2 => (key(), 0..3_u8).prop_map(|(number, to)| KeyOp::MoveTo(number, to)),
        1 => (0..3_u8, 0..17_u8).prop_map(|(one, other)| KeyOp::Swap(one, other)),
        4 => (key(), text(), expiry()).prop_map(|(number, text, expiry)| KeyOp::Update(number, text, expiry)),
        4 => (0..7_usize, 7..14_usize, text(), expiry())
            .prop_map(|(one, other, text, expiry)| KeyOp::Derive(one, other, text, expiry)),
        1 => key().prop_map(KeyOp::Touch),
        1 => (key(), any::<Option<u64>>(), any::<Option<u32>>())
            .prop_map(|(key, idle, frequency)| KeyOp::SetUsage(key, idle, frequency)),
        1 => key().prop_map(KeyOp::IsKnown),
        1 => Just(KeyOp::Random),
        2 => (0..5_usize).prop_map(KeyOp::Scan),
        1 => Just(KeyOp::Len),
        1 => Just(KeyOp::Expiring),
    ]
}

fn options() -> impl Strategy<Value = SetOptions> {
    (expiry(), condition(), any::<bool>()).prop_map(|(expiry, condition, get)| SetOptions { expiry, condition, get })
}

fn rule() -> impl Strategy<Value = ExpireRule> {
    use ExpireRule::{Always, IfEarlier, IfLater, IfNone, IfSome, IfSomeAndEarlier, IfSomeAndLater};
    proptest::sample::select(vec![Always, IfNone, IfSome, IfLater, IfEarlier, IfSomeAndLater, IfSomeAndEarlier])
}

impl KeyOp {
    pub(super) fn apply(&self, store: &Store, db: u8) -> Answer {
        let kv = store.kv();
        match self {
            Self::Kind(number) => kv.kind(db, &key(*number)).into(),
            Self::Get(number) => get(store, db, &key(*number)).into(),
            Self::GetMany(numbers) => {
                let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
                kv.mget(db, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>()).into()
            }
            Self::Strlen(number) => kv.strlen(db, &key(*number)).into(),
            Self::Set(number, text, options) => kv.set(db, &key(*number), &text.bytes(), *options).into(),
            Self::SetMany(pairs, if_absent) => {
                let pairs: Vec<_> = pairs.iter().map(|(number, text)| (key(*number), text.bytes())).collect();
                let pairs: Vec<_> = pairs.iter().map(|(key, text)| (key.as_slice(), text.as_slice())).collect();
                kv.mset(db, &pairs, *if_absent).into()
            }
            Self::Take(number) => kv.getdel(db, &key(*number)).into(),
            Self::GetAndExpire(number, expiry) => kv.getex(db, &key(*number), *expiry).into(),
            Self::Append(number, tail, max) => kv.append(db, &key(*number), &tail.bytes(), *max).into(),
            Self::Incr(number, by) => kv.incr(db, &key(*number), *by).into(),
            Self::IncrFloat(number, by) => kv.incr_float(db, &key(*number), (*by).into()).into(),
            Self::Delete(number) => kv.delete(db, &key(*number)).into(),
            Self::Exists(number) => kv.exists(db, &key(*number)).into(),
            Self::Ttl(number) => kv.ttl(db, &key(*number)).into(),
            Self::Expire(number, expiry, rule) => kv.expire(db, &key(*number), *expiry, *rule).into(),
            Self::Rename(from, to, if_absent) => kv.rename(db, &key(*from), &key(*to), *if_absent).into(),
            Self::MoveTo(number, to) => kv.move_to(db, &key(*number), *to).into(),
            Self::Swap(one, other) => kv.swap(*one, *other).into(),
            Self::Update(number, text, expiry) => {
                kv.update(db, &key(*number), &mut |current| Ok(made_of(current, &text.bytes(), *expiry))).into()
            }
            Self::Derive(one, other, text, expiry) => {
                let (one, other) = (key(*one), key(*other));
                kv.derive(&[(db, &one), (db, &other)], (db, &other), &mut |shown, target| {
                    let there = shown[1].is_some() && target.is_some();
                    Ok(if there { made_of(shown[0], &text.bytes(), *expiry) } else { made_of(shown[1], &[], *expiry) })
                })
                .into()
            }
            Self::Touch(number) => kv.touch(db, &key(*number)).into(),
            Self::SetUsage(number, idle, frequency) => kv.set_usage(db, &key(*number), *idle, *frequency).into(),
            Self::IsKnown(number) => is_known(store, db, &key(*number)).into(),
            Self::Random => random(store, db).into(),
            Self::Scan(count) => scan(store, db, *count).into(),
            Self::Len => kv.len(db).into(),
            Self::Expiring => kv.expiring(db).into(),
        }
    }
}

fn is_known(store: &Store, db: u8, key: &[u8]) -> Result<bool, Error> {
    let (usage, bytes) = (store.kv().usage(db, key)?, store.kv().bytes(db, key)?);
    assert_eq!(usage.is_some(), bytes.is_some(), "{usage:?}, {bytes:?}");
    Ok(usage.is_some())
}

/// Some function of what a key holds that sets, deletes and leaves.
fn made_of(current: Option<Current<'_>>, text: &[u8], expiry: Expiry) -> Update<'static> {
    let value = [current.map_or(&b"none"[..], |current| current.value), text].concat();
    match value.len() % 5 {
        0 => Update::Delete,
        1 => Update::Leave,
        _ => Update::Set(value[..value.len().min(80_000)].to_vec().into(), expiry),
    }
}

fn get(store: &Store, db: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    let mut out = Vec::new();
    Ok(store.kv().get(db, key, &mut out)?.then_some(out))
}

/// Whether there is a random key; it must be one that exists.
fn random(store: &Store, db: u8) -> Result<bool, Error> {
    let key = store.kv().random_key(db)?;
    if let Some(key) = &key {
        assert_eq!(store.kv().exists(db, key), Ok(true), "a random key that is not there");
    }
    Ok(key.is_some())
}

/// All keys, each once.
fn scan(store: &Store, db: u8, count: usize) -> Result<Vec<Vec<u8>>, Error> {
    let (mut keys, mut cursor) = (Vec::new(), 0);
    loop {
        let page = store.kv().scan(db, cursor, count)?;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor == 0 {
            keys.sort();
            keys.dedup();
            return Ok(keys);
        }
    }
}

/// What a key holds.
#[derive(Debug, PartialEq)]
enum Held {
    String(Option<Vec<u8>>),
    Hash(Vec<Pair>),
}

fn held(store: &Store, db: u8, key: &[u8]) -> Held {
    match store.kv().kind(db, key).unwrap() {
        Some(KvType::Hash) => Held::Hash(hashes::contents(store, db, key)),
        _ => Held::String(get(store, db, key).unwrap()),
    }
}

/// The keys of a database with their values and expiries, and its counts.
#[derive(Debug, PartialEq)]
pub(super) struct Contents {
    keys: Vec<(Vec<u8>, Held, Ttl)>,
    len: u64,
    expiring: u64,
}

pub(super) fn contents(store: &Store, db: u8) -> Contents {
    let kv = store.kv();
    let keys = scan(store, db, 3).unwrap().into_iter();
    let keys = keys.map(|key| (key.clone(), held(store, db, &key), kv.ttl(db, &key).unwrap())).collect();
    Contents { keys, len: kv.len(db).unwrap(), expiring: kv.expiring(db).unwrap() }
}
