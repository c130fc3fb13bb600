//! Random operations on hashes, under the same keys as those of [`super::keyspace`].

use proptest::{collection::vec, prelude::*};

use super::{
    Answer,
    keyspace::{Text, key, text},
};
use crate::{
    Error, Store,
    store::{FieldUpdate, Pair},
};

/// Fields, of which some do not fit into a node.
fn field(number: usize) -> Vec<u8> {
    match number {
        0 => vec![],
        1 => b"\0".to_vec(),
        2 => vec![b'f'; 64],
        3 => vec![b'f'; 448],
        4 => vec![b'f'; 5000],
        5 => vec![b'f'; 40_000],
        _ => format!("field {number}").into_bytes(),
    }
}

/// What a change does with one field.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Leave,
    Set(Text),
    Append(Text),
    Remove,
    RemoveIfLong,
    Refuse,
}

#[derive(Debug, Clone)]
pub(super) enum HashOp {
    Field(usize, usize),
    FieldLen(usize, usize),
    Fields(usize, Vec<usize>),
    Count(usize),
    Pairs(usize, usize),
    Scan(usize, usize),
    Choose(usize),
    Change(usize, Vec<(usize, Change)>),
    SetRange(usize, usize, usize),
    RemoveRange(usize, usize, usize),
}

pub(super) fn op() -> impl Strategy<Value = HashOp> {
    // Most of them meet in a few hashes.
    let key = || prop_oneof![3 => 8..11_usize, 1 => 0..14_usize];
    let field = || prop_oneof![2 => 0..12_usize, 1 => 0..200_usize];
    prop_oneof![
        3 => (key(), field()).prop_map(|(key, field)| HashOp::Field(key, field)),
        1 => (key(), field()).prop_map(|(key, field)| HashOp::FieldLen(key, field)),
        2 => (key(), vec(field(), 0..6)).prop_map(|(key, fields)| HashOp::Fields(key, fields)),
        1 => key().prop_map(HashOp::Count),
        1 => (key(), prop_oneof![Just(usize::MAX), 0..300_usize]).prop_map(|(key, max)| HashOp::Pairs(key, max)),
        1 => (key(), 1..20_usize).prop_map(|(key, count)| HashOp::Scan(key, count)),
        1 => key().prop_map(HashOp::Choose),
        12 => (key(), vec((field(), change()), 1..6)).prop_map(|(key, changes)| HashOp::Change(key, changes)),
        2 => (key(), 6..200_usize, 0..150_usize).prop_map(|(key, from, count)| HashOp::SetRange(key, from, count)),
        3 => (key(), 0..150_usize, 0..200_usize).prop_map(|(key, from, count)| HashOp::RemoveRange(key, from, count)),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => Just(Change::Leave),
        6 => text().prop_map(Change::Set),
        2 => text().prop_map(Change::Append),
        3 => Just(Change::Remove),
        1 => Just(Change::RemoveIfLong),
        1 => proptest::bool::weighted(0.2).prop_map(|refuse| if refuse { Change::Refuse } else { Change::Leave }),
    ]
}

impl Change {
    fn decide(&self, value: Option<&[u8]>) -> Result<FieldUpdate<'static>, Error> {
        Ok(match self {
            Self::Leave => FieldUpdate::Leave,
            Self::Set(text) => FieldUpdate::Set(text.bytes().into()),
            Self::Append(text) => FieldUpdate::Set([value.unwrap_or(b"none"), &text.bytes()].concat().into()),
            Self::RemoveIfLong if value.is_none_or(|value| value.len() < 20) => FieldUpdate::Leave,
            Self::Remove | Self::RemoveIfLong => FieldUpdate::Remove,
            Self::Refuse => return Err(Error::Overflow),
        })
    }
}

impl HashOp {
    pub(super) fn apply(&self, store: &Store, db: u8) -> Answer {
        let kv = store.kv();
        match self {
            Self::Field(number, at) => kv.field(db, &key(*number), &field(*at)).into(),
            Self::FieldLen(number, at) => {
                kv.field_len(db, &key(*number), &field(*at)).map(|len| len.map(|len| len as i64)).into()
            }
            Self::Fields(number, at) => {
                let fields: Vec<_> = at.iter().map(|at| field(*at)).collect();
                let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
                kv.fields(db, &key(*number), &fields, usize::MAX).map(Option::unwrap_or_default).into()
            }
            Self::Count(number) => kv.field_count(db, &key(*number)).into(),
            Self::Pairs(number, max) => kv.pairs(db, &key(*number), *max).map(|pairs| pairs.map(sorted)).into(),
            Self::Scan(number, count) => scan(store, db, &key(*number), *count).map(Some).into(),
            Self::Choose(number) => {
                let all = &mut |count| (0..=count).collect();
                let chosen = kv.choose_fields(db, &key(*number), true, usize::MAX, all);
                chosen.map(|chosen| chosen.map(sorted)).into()
            }
            Self::Change(number, changes) => {
                let fields: Vec<_> = changes.iter().map(|(at, _)| field(*at)).collect();
                let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
                let decide = &mut |at: usize, value: Option<&[u8]>| changes[at].1.decide(value);
                kv.change_fields(db, &key(*number), &fields, true, decide).into()
            }
            Self::SetRange(number, from, count) => {
                let set = |field: &[u8]| FieldUpdate::Set([field, b"'s"].concat().into());
                change_range(store, db, *number, *from, *count, set).into()
            }
            Self::RemoveRange(number, from, count) => {
                change_range(store, db, *number, *from, *count, |_| FieldUpdate::Remove).into()
            }
        }
    }
}

fn change_range(
    store: &Store,
    db: u8,
    number: usize,
    from: usize,
    count: usize,
    change: impl Fn(&[u8]) -> FieldUpdate<'static>,
) -> Result<(), Error> {
    let fields: Vec<_> = (from..from + count).map(field).collect();
    let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
    store.kv().change_fields(db, &key(number), &fields, false, &mut |at, _| Ok(change(fields[at])))
}

fn sorted(mut pairs: Vec<Pair>) -> Vec<Pair> {
    pairs.sort_unstable();
    pairs
}

/// All fields with their values, each as often as it was returned.
fn scan(store: &Store, db: u8, key: &[u8], count: usize) -> Result<Vec<Pair>, Error> {
    let (mut pairs, mut cursor) = (Vec::new(), 0);
    loop {
        let page = store.kv().scan_fields(db, key, cursor, count)?;
        pairs.extend(page.pairs);
        cursor = page.cursor;
        if cursor == 0 {
            return Ok(sorted(pairs));
        }
    }
}

/// The fields of a key, which is a hash, with their values.
pub(super) fn contents(store: &Store, db: u8, key: &[u8]) -> Vec<Pair> {
    let pairs = sorted(store.kv().pairs(db, key, usize::MAX).unwrap().unwrap());
    assert_eq!(store.kv().field_count(db, key), Ok(pairs.len() as u64), "the count of fields");
    pairs
}
