//! Hashes of the in-memory store: maps in the map of keys.

use std::collections::BTreeMap;

use super::keyspace::{MemoryKeyspace, Open, Stored};
use crate::store::{
    DecideField, Error, FieldPage, FieldUpdate, HashBackend, PACKED_BYTES, PACKED_FIELDS, Pair, Result,
};

impl Open<'_> {
    /// The fields of a hash; none if there is no such key.
    fn fields(&self, key: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        match self.get().get(key).map(|entry| &entry.value) {
            None => Ok(BTreeMap::new()),
            Some(Stored::Hash(fields)) => Ok(fields.clone()),
            Some(_) => Err(Error::WrongKind),
        }
    }
}

impl HashBackend for MemoryKeyspace {
    fn field(&self, db: u8, key: &[u8], field: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.open(db, &[key])?.fields(key)?.remove(field))
    }

    fn field_len(&self, db: u8, key: &[u8], field: &[u8]) -> Result<Option<usize>> {
        Ok(self.field(db, key, field)?.map(|value| value.len()))
    }

    fn fields(&self, db: u8, key: &[u8], fields: &[&[u8]], max: usize) -> Result<Option<Vec<Option<Vec<u8>>>>> {
        let held = self.open(db, &[key])?.fields(key)?;
        let bytes: usize = fields.iter().filter_map(|&field| held.get(field)).map(Vec::len).sum();
        Ok((bytes <= max).then(|| fields.iter().map(|&field| held.get(field).cloned()).collect()))
    }

    fn field_count(&self, db: u8, key: &[u8]) -> Result<u64> {
        Ok(self.open(db, &[key])?.fields(key)?.len() as u64)
    }

    fn pairs(&self, db: u8, key: &[u8], max: usize) -> Result<Option<Vec<Pair>>> {
        let held = self.open(db, &[key])?.fields(key)?;
        let bytes: usize = held.iter().map(|(field, value)| field.len() + value.len()).sum();
        Ok((bytes <= max).then(|| held.into_iter().collect()))
    }

    /// A cursor is the number of fields that were returned, which is enough for one who does not write meanwhile.
    fn scan_fields(&self, db: u8, key: &[u8], cursor: u64, count: usize) -> Result<FieldPage> {
        let held = self.open(db, &[key])?.fields(key)?;
        let next = cursor.saturating_add(count as u64);
        let cursor_after = if next < held.len() as u64 { next } else { 0 };
        let pairs = held.into_iter().skip(cursor as usize).take(count).collect();
        Ok(FieldPage { cursor: cursor_after, pairs })
    }

    fn choose_fields(
        &self,
        db: u8,
        key: &[u8],
        with_values: bool,
        max: usize,
        choose: &mut dyn FnMut(u64) -> Vec<u64>,
    ) -> Result<Option<Vec<Pair>>> {
        let mut held: Vec<Pair> = self.open(db, &[key])?.fields(key)?.into_iter().collect();
        if held.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if !with_values {
            held.iter_mut().for_each(|(_, value)| value.clear());
        }
        let places = choose(held.len() as u64);
        let chosen: Vec<&Pair> = places.iter().filter_map(|&place| held.get(place as usize)).collect();
        let bytes: usize = chosen.iter().map(|(field, value)| field.len() + value.len()).sum();
        Ok((bytes <= max).then(|| chosen.into_iter().cloned().collect()))
    }

    fn change_fields<'v>(
        &self,
        db: u8,
        key: &[u8],
        fields: &[&[u8]],
        with_values: bool,
        decide: &mut DecideField<'_, 'v>,
    ) -> Result<()> {
        let mut open = self.open(db, &[key])?;
        let before = open.fields(key)?;
        let mut after = before.clone();
        for (number, &field) in fields.iter().enumerate() {
            let shown = after.get(field).map(|value| if with_values { value.as_slice() } else { &[] });
            match decide(number, shown)? {
                FieldUpdate::Leave => {}
                FieldUpdate::Set(value) => drop(after.insert(field.to_vec(), value.into_owned())),
                FieldUpdate::Remove => drop(after.remove(field)),
            }
        }
        if after.is_empty() {
            open.get_mut().remove(key);
        } else if after != before {
            self.need_room(&mut open, &[key])?;
            open.get_mut().entry(key, || Stored::Hash(BTreeMap::new())).value = Stored::Hash(after);
        }
        Ok(())
    }

    fn is_packed(&self, db: u8, key: &[u8]) -> Result<bool> {
        let held = self.open(db, &[key])?.fields(key)?;
        let is_short =
            |(field, value): (&Vec<u8>, &Vec<u8>)| field.len() <= PACKED_BYTES && value.len() <= PACKED_BYTES;
        Ok((1..=PACKED_FIELDS).contains(&held.len()) && held.iter().all(is_short))
    }
}
