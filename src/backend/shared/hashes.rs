//! Hashes in the segment: trees of fields.

use std::collections::HashMap;

use super::{SharedStore, refused};
use crate::{
    shm::{FieldChange, Fields, Looked, Torn},
    store::{
        DecideField, Error, FieldPage, FieldUpdate, HashBackend, PACKED_BYTES, PACKED_FIELDS, Pair, Result, kv::check,
    },
    sys::clock,
};

/// Bytes of fields and values after which a page ends, however many were asked for.
const PAGE_BYTES: usize = 1 << 20;

impl SharedStore {
    /// Looks at a hash; whether there is one.
    fn look(&self, db: u8, key: &[u8], read: &mut dyn FnMut(Fields<'_>) -> Result<(), Torn>) -> Result<bool> {
        check(db, key)?;
        let looked = self.keys.read_fields(self.patience, clock::now_ms(), db, key, read).map_err(refused)?;
        found(looked)
    }
}

fn found(looked: Looked) -> Result<bool> {
    match looked {
        Looked::Absent => Ok(false),
        Looked::Fields => Ok(true),
        Looked::WrongKind => Err(Error::WrongKind),
    }
}

impl HashBackend for SharedStore {
    fn field(&self, db: u8, key: &[u8], field: &[u8]) -> Result<Option<Vec<u8>>> {
        let (mut value, mut there) = (Vec::new(), false);
        let is_hash = self.look(db, key, &mut |hash| {
            value.clear();
            there = hash.get(field, Some(&mut value))?.is_some();
            Ok(())
        })?;
        Ok((is_hash && there).then_some(value))
    }

    fn field_len(&self, db: u8, key: &[u8], field: &[u8]) -> Result<Option<usize>> {
        let mut len = None;
        let is_hash = self.look(db, key, &mut |hash| {
            len = hash.get(field, None)?;
            Ok(())
        })?;
        Ok(len.filter(|_| is_hash))
    }

    fn fields(&self, db: u8, key: &[u8], fields: &[&[u8]], max: usize) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        let (mut values, mut bytes) = (Vec::new(), 0);
        let is_hash = self.look(db, key, &mut |hash| {
            values.clear();
            bytes = 0;
            for field in fields {
                let mut value = Vec::new();
                let there = hash.get(field, Some(&mut value))?.is_some();
                bytes += value.len();
                if bytes > max {
                    break;
                }
                values.push(there.then_some(value));
            }
            Ok(())
        })?;
        match is_hash {
            false => Ok(Some(vec![None; fields.len()])),
            true => Ok((bytes <= max).then_some(values)),
        }
    }

    fn field_count(&self, db: u8, key: &[u8]) -> Result<u64> {
        let mut count = 0;
        let is_hash = self.look(db, key, &mut |hash| {
            count = hash.len();
            Ok(())
        })?;
        Ok(if is_hash { count } else { 0 })
    }

    fn pairs(&self, db: u8, key: &[u8], max: usize) -> Result<Option<Vec<Pair>>> {
        let (mut pairs, mut bytes) = (Vec::new(), 0);
        let is_hash = self.look(db, key, &mut |hash| {
            pairs.clear();
            bytes = 0;
            hash.each_from(0, &mut |_, field, value| {
                bytes += field.len() + value.len();
                if bytes <= max {
                    pairs.push((field.to_vec(), value.to_vec()));
                }
                bytes <= max
            })
        })?;
        match is_hash {
            false => Ok(Some(Vec::new())),
            true => Ok((bytes <= max).then_some(pairs)),
        }
    }

    fn scan_fields(&self, db: u8, key: &[u8], cursor: u64, count: usize) -> Result<FieldPage> {
        let mut page = FieldPage { cursor: 0, pairs: Vec::new() };
        let is_hash = self.look(db, key, &mut |hash| {
            (page.cursor, page.pairs) = (0, Vec::new());
            let packed = cursor == 0 && hash.is_small(PACKED_FIELDS as u64, PACKED_BYTES)?;
            let (mut last, mut bytes) = (cursor, 0);
            hash.each_from(cursor, &mut |hash, field, value| {
                // A page ends between two hashes, because a cursor is a hash.
                if !packed && (page.pairs.len() >= count || bytes >= PAGE_BYTES) && hash != last {
                    page.cursor = hash;
                    return false;
                }
                last = hash;
                bytes += field.len() + value.len();
                page.pairs.push((field.to_vec(), value.to_vec()));
                true
            })
        })?;
        Ok(if is_hash { page } else { FieldPage { cursor: 0, pairs: Vec::new() } })
    }

    fn choose_fields(
        &self,
        db: u8,
        key: &[u8],
        with_values: bool,
        max: usize,
        choose: &mut dyn FnMut(u64) -> Vec<u64>,
    ) -> Result<Option<Vec<Pair>>> {
        let (mut pairs, mut bytes) = (Vec::new(), 0);
        let is_hash = self.look(db, key, &mut |hash| {
            pairs.clear();
            bytes = 0;
            for place in choose(hash.len()) {
                let (mut field, mut value) = (Vec::new(), Vec::new());
                let there = hash.nth(place, &mut field, with_values.then_some(&mut value))?;
                bytes += field.len() + value.len();
                if bytes > max {
                    break;
                }
                pairs.extend(there.then_some((field, value)));
            }
            Ok(())
        })?;
        match is_hash {
            false => Ok(Some(Vec::new())),
            true => Ok((bytes <= max).then_some(pairs)),
        }
    }

    fn change_fields<'v>(
        &self,
        db: u8,
        key: &[u8],
        fields: &[&[u8]],
        with_values: bool,
        decide: &mut DecideField<'_, 'v>,
    ) -> Result<()> {
        check(db, key)?;
        let mut refusal = Ok(());
        let mut change = |distinct: &[&[u8]], numbers: Option<&[Vec<usize>]>| {
            self.keys.change_fields(self.patience, clock::now_ms(), db, key, distinct, with_values, &mut |at, value| {
                change_by(numbers.map_or(&[0], |numbers| &numbers[at][..]), value, decide, &mut refusal)
            })
        };
        let looked = if let [_] = fields {
            change(fields, None)
        } else {
            let (distinct, numbers) = grouped(fields);
            change(&distinct, Some(&numbers))
        };
        found(looked.map_err(refused)?)?;
        refusal
    }

    fn is_packed(&self, db: u8, key: &[u8]) -> Result<bool> {
        let mut packed = false;
        self.look(db, key, &mut |hash| {
            packed = hash.is_small(PACKED_FIELDS as u64, PACKED_BYTES)?;
            Ok(())
        })?;
        Ok(packed)
    }
}

/// Each field once, and under which numbers it was named.
fn grouped<'f>(fields: &[&'f [u8]]) -> (Vec<&'f [u8]>, Vec<Vec<usize>>) {
    let mut places = HashMap::with_capacity(fields.len());
    let (mut distinct, mut numbers) = (Vec::with_capacity(fields.len()), Vec::with_capacity(fields.len()));
    for (number, &field) in fields.iter().enumerate() {
        let place = *places.entry(field).or_insert(distinct.len());
        if place == distinct.len() {
            distinct.push(field);
            numbers.push(Vec::with_capacity(1));
        }
        numbers[place].push(number);
    }
    (distinct, numbers)
}

/// What one field becomes, after all that was asked for it under its numbers.
fn change_by<'v>(
    numbers: &[usize],
    value: Option<&[u8]>,
    decide: &mut DecideField<'_, 'v>,
    refusal: &mut Result<()>,
) -> FieldChange<'v> {
    // The first refusal ends an attempt, so whatever comes after one belongs to the next attempt.
    *refusal = Ok(());
    let mut change = FieldChange::Leave;
    for &number in numbers {
        let now = match &change {
            FieldChange::Leave => value,
            FieldChange::Set(value) => Some(&value[..]),
            FieldChange::Remove | FieldChange::Refuse => None,
        };
        let decided = decide(number, now);
        match decided {
            Ok(FieldUpdate::Leave) => {}
            Ok(FieldUpdate::Set(value)) => change = FieldChange::Set(value),
            Ok(FieldUpdate::Remove) => change = FieldChange::Remove,
            Err(error) => {
                *refusal = Err(error);
                return FieldChange::Refuse;
            }
        }
    }
    change
}
