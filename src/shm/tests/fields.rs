//! Trees of fields against a plain map: whatever was done to them, they hold the same, nothing leaks, and a check finds nothing.

use std::collections::BTreeMap;

use super::*;
use crate::shm::{FieldChange, Looked};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn field(number: u64) -> Vec<u8> {
    // A few are so long that they do not fit into a leaf, one in a hundred not even into a block.
    match number % 100 {
        0 => format!("{number:040000}").into_bytes(),
        1..4 => format!("{number:01000}").into_bytes(),
        _ => number.to_string().into_bytes(),
    }
}

fn change(keys: &Keys, model: &mut Model, changes: &[(Vec<u8>, Option<Vec<u8>>)]) {
    let fields: Vec<&[u8]> = changes.iter().map(|(field, _)| &field[..]).collect();
    keys.change_fields(None, NOW, 0, b"hash", &fields, false, &mut |at, _| match &changes[at].1 {
        Some(value) => FieldChange::Set(Cow::Borrowed(value)),
        None => FieldChange::Remove,
    })
    .expect("there is room");
    for (field, value) in changes {
        match value {
            Some(value) => drop(model.insert(field.clone(), value.clone())),
            None => drop(model.remove(field)),
        }
    }
}

fn compare(segment: &Segment, keys: &Keys, model: &Model) {
    let mut found = Model::new();
    let mut last = 0;
    let looked = keys.read_fields(None, NOW, 0, b"hash", &mut |fields| {
        assert_eq!(fields.len(), model.len() as u64);
        for (field, value) in model {
            let mut read = Vec::new();
            assert_eq!(fields.get(field, Some(&mut read))?, Some(value.len()));
            assert!(read == *value, "the value of a field of {} bytes", field.len());
        }
        assert_eq!(fields.get(b"no such field", None)?, None);
        for index in [0, fields.len() / 2, fields.len() - 1] {
            let (mut field, mut value) = (Vec::new(), Vec::new());
            assert!(fields.nth(index, &mut field, Some(&mut value))?);
            assert!(model[&field] == value);
        }
        assert!(!fields.nth(fields.len(), &mut Vec::new(), None)?);
        fields.each_from(0, &mut |hash, field, value| {
            assert!(hash >= last);
            last = hash;
            found.insert(field.to_vec(), value.to_vec()).is_none()
        })
    });
    let expected = if model.is_empty() { Looked::Absent } else { Looked::Fields };
    assert_eq!(looked, Ok(expected));
    assert!(found == *model);
    let checked = segment.verify(None, &mut |_, _| {}).unwrap();
    assert!(checked.is_sound(), "{:?}", checked.findings);
}

#[test]
fn a_tree_holds_what_a_map_holds() {
    let segment = segment(64);
    let keys = Keys::new(&segment);
    let (mut numbers, mut model) = (Numbers(7), Model::new());
    set(&keys, b"other", &[b'o'; 100]);
    let blocks = used_blocks(&segment);
    for round in 0..400 {
        // It grows, and shrinks to nothing again.
        let removes = if round < 250 { 2 } else { 8 };
        let changes: BTreeMap<Vec<u8>, Option<Vec<u8>>> = (0..=numbers.below(40))
            .map(|_| {
                let value = vec![b'v'; [3, 30, 300, 3000][numbers.below(4) as usize]];
                (field(numbers.below(1500)), (numbers.below(10) >= removes).then_some(value))
            })
            .collect();
        change(&keys, &mut model, &changes.into_iter().collect::<Vec<_>>());
        if round % 40 == 0 {
            compare(&segment, &keys, &model);
        }
    }
    let all: Vec<_> = model.keys().map(|field| (field.clone(), None)).collect();
    change(&keys, &mut model, &all);
    compare(&segment, &keys, &model);
    assert_eq!(used_blocks(&segment), blocks);
}

/// One command may bring more fields than a journal has places for blocks, and a key goes with all of them.
#[test]
fn very_many_fields_come_and_go_at_once() {
    let segment = segment(64);
    let keys = Keys::new(&segment);
    let blocks = used_blocks(&segment);
    let mut model = Model::new();
    let all: Vec<_> = (0..20_000_u64).map(|n| (n.to_be_bytes().to_vec(), Some(n.to_string().into_bytes()))).collect();
    change(&keys, &mut model, &all);
    compare(&segment, &keys, &model);
    let some: Vec<_> = all.iter().step_by(2).map(|(field, _)| (field.clone(), None)).collect();
    change(&keys, &mut model, &some);
    compare(&segment, &keys, &model);
    keys.change(None, NOW, 0, b"hash", false, &mut |_| Change::Remove).unwrap();
    compare(&segment, &keys, &Model::new());
    assert_eq!(used_blocks(&segment), blocks);
}

/// Somebody who sees the order of the fields, by a scan, could thin out one half of a tree and fill the other again and again. When an only child took
/// the place of the node above it, the first half came to lie deeper with each round, in the end too deep to be found.
#[test]
fn nobody_can_drive_the_depth_up() {
    let segment = segment(64);
    let keys = Keys::new(&segment);
    let mut model = Model::new();
    let mut by_hash: Vec<(u64, Vec<u8>)> = (0..20_000_u64)
        .map(|n| (crate::shm::fields::hash_of(&segment, &n.to_be_bytes()), n.to_be_bytes().to_vec()))
        .collect();
    by_hash.sort();
    let (low, high) = by_hash.split_at(1000);
    let set = |fields: &[(u64, Vec<u8>)]| {
        fields.iter().map(|(_, field)| (field.clone(), Some(b"v".to_vec()))).collect::<Vec<_>>()
    };
    change(&keys, &mut model, &set(low));
    for _ in 0..20 {
        change(&keys, &mut model, &set(high));
        let gone: Vec<_> = high[1..].iter().map(|(_, field)| (field.clone(), None)).collect();
        change(&keys, &mut model, &gone);
    }
    compare(&segment, &keys, &model);
}

/// What has expired is replaced as a whole.
#[test]
fn an_expired_hash_begins_anew() {
    let segment = segment(64);
    let keys = Keys::new(&segment);
    let mut model = Model::new();
    let fields: Vec<_> = (0..200_u64).map(|n| (field(n), Some(vec![b'v'; 100]))).collect();
    change(&keys, &mut model, &fields);
    keys.change(None, NOW, 0, b"hash", false, &mut |_| Change::Expire(10)).unwrap();
    let later = 20;
    let one = |_: usize, value: Option<&[u8]>| {
        assert_eq!(value, None);
        FieldChange::Set(Cow::Borrowed(&b"new"[..]))
    };
    let looked = keys.change_fields(None, later, 0, b"hash", &[b"1"], true, &mut { one });
    assert_eq!(looked, Ok(Looked::Absent));
    compare(&segment, &keys, &Model::from([(b"1".to_vec(), b"new".to_vec())]));
}

/// A decision was asked for on what an overtaken change had read, from blocks that were freed and used again by then: a field that is always there was
/// shown as absent, or with bytes of something else.
#[test]
fn nothing_is_decided_about_what_never_was() {
    let segment = segment(64);
    let keys = Keys::new(&segment);
    let names: Vec<Vec<u8>> = (0..60_u64).map(field).skip(4).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let set_all = |key: &[u8], value: &[u8]| {
        let all = &mut |_: usize, _: Option<&[u8]>| FieldChange::Set(value.into());
        Keys::new(&segment).change_fields(None, NOW, 0, key, &names, false, all).unwrap();
    };
    set_all(b"hash", &[b'o'; 30]);
    let (mut asked, mut shown) = (0, Vec::new());
    let mut decide = |_: usize, value: Option<&[u8]>| {
        asked += 1;
        if asked == 1 {
            // Another writer overtakes this one, and a third one takes the blocks that have become free.
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    set_all(b"hash", &[b'n'; 30]);
                    (0..3_u8).for_each(|i| set_all(&[i], &[b'x'; 30]));
                });
            });
        } else {
            shown.push(value.map(<[u8]>::to_vec));
        }
        FieldChange::Leave
    };
    let looked = keys.change_fields(None, NOW, 0, b"hash", &names, true, &mut decide);
    assert_eq!(looked, Ok(Looked::Fields));
    assert!(shown.iter().all(|value| *value == Some(vec![b'n'; 30])), "{shown:?}");
    assert_eq!(shown.len(), names.len());
}
