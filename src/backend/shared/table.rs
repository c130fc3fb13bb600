//! A table in the segment: cells into words, words into rows.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{refused, schema};
use crate::{
    shm::{CLOCK_UNREAD, Refusal, RowWords, Tables, Verdict},
    store::{
        Cell, ColumnType, Condition, Error, Expiry, Result, Row, RowPage, Schema, TableBackend, TableInfo, Ttl, Value,
        ValueRef, number,
    },
    sys::clock,
};

/// The word of a row that holds its expiry; 0: never.
const EXPIRE: usize = shm_layout::row::EXPIRE_WORD;
/// Bytes of a row before its numbers.
const HEAD: usize = shm_layout::row::HEADER_BYTES as usize;
/// The word of a row at which its numbers begin.
const NUMBERS: usize = shm_layout::row::BODY_WORD;

/// A table in the segment.
pub(super) struct SharedTable {
    rows: Tables,
    schema: Arc<Schema>,
    patience: Option<Duration>,
    /// Where each column lies in a row, and its type.
    places: Box<[(usize, ColumnType)]>,
    /// Bytes of the number columns: the first part of a row's image.
    fixed: usize,
    /// Where the second part, the strings, starts in a row.
    strings_at: usize,
}

impl SharedTable {
    pub(super) fn new(rows: Tables, patience: Option<Duration>) -> Result<Self> {
        let schema = schema::read(rows.spec())?;
        let fixed = rows.spec().fixed_bytes as usize;
        let strings_at = rows.key_at() + rows.spec().key_bytes as usize;
        let place = |index| {
            let at = schema.offset(index);
            if at < fixed { HEAD + at } else { strings_at + at - fixed }
        };
        let kinds = schema.columns().iter().map(|column| column.kind);
        let places = kinds.enumerate().map(|(index, kind)| (place(index), kind)).collect();
        Ok(Self { rows, schema: Arc::new(schema), patience, places, fixed, strings_at })
    }

    pub(super) fn is_current(&self) -> bool {
        self.rows.is_current()
    }

    fn refused(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Full => Error::TableFull { table: self.schema.table().to_owned(), rows: self.schema.spec().rows },
            Refusal::Gone => Error::TableNotFound(self.schema.table().to_owned()),
            other => refused(other),
        }
    }

    fn value<'a>(&self, words: &'a [u64], index: usize) -> ValueRef<'a> {
        let bytes: &[u8] = bytemuck::cast_slice(words);
        let (at, kind) = self.places[index];
        match kind {
            ColumnType::Int => ValueRef::Int(words[at / 8] as i64),
            ColumnType::Float => ValueRef::Float(f64::from_bits(words[at / 8])),
            ColumnType::String(size) => {
                let len = u16::from_ne_bytes([bytes[at], bytes[at + 1]]).min(size);
                ValueRef::Bytes(&bytes[at + 2..at + 2 + usize::from(len)])
            }
        }
    }

    fn put(&self, words: &mut [u64], (index, value): Cell<'_>) {
        let (at, kind) = self.places[index];
        match (value, kind) {
            (ValueRef::Int(n), _) => words[at / 8] = n as u64,
            (ValueRef::Float(x), _) => words[at / 8] = x.to_bits(),
            (ValueRef::Bytes(value), ColumnType::String(size)) => {
                let column = &mut bytemuck::cast_slice_mut::<u64, u8>(words)[at..at + 2 + usize::from(size)];
                column[..2].copy_from_slice(&(value.len() as u16).to_ne_bytes());
                column[2..2 + value.len()].copy_from_slice(value);
                let rest = &mut column[2 + value.len()..];
                // A call for nothing costs as much as one for a little.
                if !rest.is_empty() {
                    rest.fill(0);
                }
            }
            (ValueRef::Bytes(_), _) => debug_assert!(false, "cells were checked against the schema"),
        }
    }

    /// Takes the columns out of a row's words.
    fn fill(&self, words: &[u64], row: &mut Row) {
        let from: &[u8] = bytemuck::cast_slice(words);
        let strings = self.schema.image_bytes() - self.fixed;
        let image: &mut [u8] = bytemuck::cast_slice_mut(row.words_mut());
        image[..self.fixed].copy_from_slice(&from[HEAD..HEAD + self.fixed]);
        image[self.fixed..self.fixed + strings].copy_from_slice(&from[self.strings_at..self.strings_at + strings]);
    }

    fn row_of(&self, words: &[u64]) -> Row {
        let mut row = Row::new(Arc::clone(&self.schema));
        self.fill(words, &mut row);
        row
    }

    /// Takes the columns out of a row in the segment.
    #[inline]
    fn copy(&self, from: &[AtomicU64], row: &mut Row) {
        let numbers = self.fixed / 8;
        let strings = self.schema.image_bytes() - self.fixed;
        let (to_numbers, to_strings) = row.words_mut().split_at_mut(numbers);
        for (to, from) in to_numbers.iter_mut().zip(&from[NUMBERS..]) {
            *to = from.load(Ordering::Relaxed);
        }
        let from = from[self.strings_at / 8..].iter();
        // Behind a key whose length is no multiple of 8, each word lies in two of the row's.
        let shift = 8 * (self.strings_at % 8) as u32;
        if shift == 0 {
            for (to, from) in to_strings.iter_mut().zip(from) {
                *to = from.load(Ordering::Relaxed);
            }
        } else {
            let mut from = from.map(|word| word.load(Ordering::Relaxed));
            let mut low = from.next().unwrap_or(0);
            for to in to_strings.iter_mut() {
                let high = from.next().unwrap_or(0);
                *to = low >> shift | high << (64 - shift);
                low = high;
            }
        }
        if let (Some(last), rest @ 1..) = (to_strings.last_mut(), strings % 8) {
            *last &= u64::MAX >> (64 - 8 * rest);
        }
    }

    fn read(&self, key: &[u8], copy: impl FnMut(&[AtomicU64])) -> Result<bool> {
        self.rows.read_by(self.patience, CLOCK_UNREAD, key, copy).map_err(|refusal| self.refused(refusal))
    }

    /// Changes a number of a row in place; false if there is no row, or if the column holds no number.
    fn modify_number(
        &self,
        key: &[u8],
        index: usize,
        mut change: impl FnMut(ValueRef<'_>) -> Option<u64>,
    ) -> Result<bool> {
        let (at, kind) = self.places[index];
        let is_float = match kind {
            ColumnType::Int => false,
            ColumnType::Float => true,
            ColumnType::String(_) => return Ok(false),
        };
        let modified = self.rows.modify_word(self.patience, key, at / 8, |word| {
            change(if is_float { ValueRef::Float(f64::from_bits(word)) } else { ValueRef::Int(word as i64) })
        });
        modified.map_err(|refusal| self.refused(refusal))
    }

    fn modify(&self, key: &[u8], now_ms: u64, change: &mut dyn FnMut(RowWords<'_>) -> Verdict) -> Result<()> {
        self.rows.modify(self.patience, now_ms, key, change).map_err(|refusal| self.refused(refusal))
    }
}

/// Gives a row that is written its expiry; a time that has passed is the row's end.
fn expire(row: &mut RowWords<'_>, expiry: Expiry, now_ms: u64) -> Verdict {
    match expiry {
        Expiry::Keep => return Verdict::Write,
        Expiry::Never => row.words[EXPIRE] = 0,
        Expiry::At(at_ms) if at_ms > now_ms => row.words[EXPIRE] = at_ms,
        Expiry::At(_) => return if row.present { Verdict::Remove } else { Verdict::Leave },
    }
    Verdict::Write
}

/// How a number is kept in a word.
fn bits(value: ValueRef<'_>) -> Option<u64> {
    match value {
        ValueRef::Int(n) => Some(n as u64),
        ValueRef::Float(x) => Some(x.to_bits()),
        ValueRef::Bytes(_) => None,
    }
}

fn ttl(expire_at: u64) -> Ttl {
    match expire_at {
        0 => Ttl::Never,
        at_ms => Ttl::At(at_ms),
    }
}

impl TableBackend for SharedTable {
    fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn info(&self) -> Result<TableInfo> {
        Ok(TableInfo { schema: Arc::clone(&self.schema), count: self.count()?, bytes: self.rows.bytes() })
    }

    fn get(&self, key: &[u8], row: &mut Row) -> Result<bool> {
        self.read(key, |words| self.copy(words, row))
    }

    fn mget(&self, keys: &[&[u8]]) -> Result<Vec<Option<Row>>> {
        let mut found = vec![None; keys.len()];
        let mut take = |i: usize, row: RowWords<'_>| found[i] = row.present.then(|| self.row_of(row.words));
        let read = self.rows.read_many(self.patience, clock::now_ms(), keys, &mut take);
        read.map_err(|refusal| self.refused(refusal))?;
        Ok(found)
    }

    fn set(&self, key: &[u8], cells: &[Cell<'_>], expiry: Expiry, condition: Condition) -> Result<bool> {
        let now_ms = if let Expiry::At(_) = expiry { clock::now_ms() } else { CLOCK_UNREAD };
        let mut written = false;
        self.modify(key, now_ms, &mut |mut row| {
            written = condition.allows(row.present);
            if !written {
                return Verdict::Leave;
            }
            cells.iter().for_each(|&cell| self.put(row.words, cell));
            expire(&mut row, expiry, now_ms)
        })?;
        Ok(written)
    }

    fn mset(&self, rows: &[(&[u8], Vec<Cell<'_>>)]) -> Result<()> {
        let mut places = HashMap::with_capacity(rows.len());
        let mut keys: Vec<&[u8]> = Vec::with_capacity(rows.len());
        let mut merged: Vec<Vec<Cell<'_>>> = Vec::with_capacity(rows.len());
        for (key, cells) in rows {
            let place = *places.entry(*key).or_insert_with(|| {
                keys.push(*key);
                merged.push(Vec::new());
                keys.len() - 1
            });
            merged[place].extend_from_slice(cells);
        }
        let mut write = |i: usize, row: RowWords<'_>| {
            merged[i].iter().for_each(|&cell| self.put(row.words, cell));
            Verdict::Write
        };
        let done = self.rows.modify_many(self.patience, clock::now_ms(), &keys, &mut write);
        done.map_err(|refusal| self.refused(refusal))
    }

    fn add(&self, key: &[u8], column: usize, by: ValueRef<'_>) -> Result<Value> {
        let mut sum = None;
        let in_place = self.modify_number(key, column, |value| {
            sum = number::checked_add(value, by);
            sum.as_ref().and_then(|sum| bits(sum.as_ref()))
        })?;
        if in_place {
            return sum.ok_or(Error::Overflow);
        }
        self.modify(key, CLOCK_UNREAD, &mut |row| {
            sum = number::checked_add(self.value(row.words, column), by);
            match &sum {
                Some(sum) => {
                    self.put(row.words, (column, sum.as_ref()));
                    Verdict::Write
                }
                None => Verdict::Leave,
            }
        })?;
        sum.ok_or(Error::Overflow)
    }

    fn cas(&self, key: &[u8], expect: &[Cell<'_>], set: &[Cell<'_>]) -> Result<Option<bool>> {
        let mut outcome = None;
        if let (&[(index, expected)], &[(same, new)]) = (expect, set)
            && index == same
            && let Some(new) = bits(new)
        {
            let in_place = self.modify_number(key, index, |value| {
                outcome = Some(value == expected);
                (value == expected).then_some(new)
            })?;
            return Ok(outcome.filter(|_| in_place));
        }
        self.modify(key, CLOCK_UNREAD, &mut |row| {
            outcome = row.present.then(|| expect.iter().all(|&(i, value)| self.value(row.words, i) == value));
            if outcome != Some(true) {
                return Verdict::Leave;
            }
            set.iter().for_each(|&cell| self.put(row.words, cell));
            Verdict::Write
        })?;
        Ok(outcome)
    }

    fn release(&self, key: &[u8], column: usize, by: i64) -> Result<bool> {
        let mut present = false;
        self.modify(key, CLOCK_UNREAD, &mut |row| {
            present = row.present;
            if !present {
                return Verdict::Leave;
            }
            let ValueRef::Int(held) = self.value(row.words, column) else { return Verdict::Leave };
            self.put(row.words, (column, ValueRef::Int(held.wrapping_sub(by))));
            let columns = 0..self.schema.columns().len();
            let is_used = |index| matches!(self.value(row.words, index), ValueRef::Int(n) if n != 0);
            if columns.into_iter().any(is_used) { Verdict::Write } else { Verdict::Remove }
        })?;
        Ok(present)
    }

    fn delete(&self, key: &[u8], mut out: Option<&mut Row>) -> Result<bool> {
        let mut present = false;
        self.modify(key, CLOCK_UNREAD, &mut |row| {
            present = row.present;
            if let Some(out) = out.as_deref_mut().filter(|_| present) {
                self.fill(row.words, out);
            }
            Verdict::Remove
        })?;
        Ok(present)
    }

    fn ttl(&self, key: &[u8]) -> Result<Ttl> {
        let mut expire_at = 0;
        let present = self.read(key, |words| expire_at = words[EXPIRE].load(Ordering::Relaxed))?;
        Ok(if present { ttl(expire_at) } else { Ttl::Missing })
    }

    fn expire(&self, key: &[u8], expiry: Expiry) -> Result<bool> {
        let now_ms = clock::now_ms();
        let mut changed = false;
        self.modify(key, now_ms, &mut |mut row| {
            changed = row.present && !(expiry == Expiry::Never && row.words[EXPIRE] == 0);
            if changed { expire(&mut row, expiry, now_ms) } else { Verdict::Leave }
        })?;
        Ok(changed)
    }

    fn count(&self) -> Result<u64> {
        self.rows.count(self.patience).map_err(|refusal| self.refused(refusal))
    }

    fn scan(&self, cursor: u64, count: usize) -> Result<RowPage> {
        let mut rows = Vec::new();
        let mut take = |key: &[u8], words: &[u64]| rows.push((key.to_vec(), self.row_of(words)));
        let next = self.rows.scan(self.patience, clock::now_ms(), cursor, count, &mut take);
        let cursor = next.map_err(|refusal| self.refused(refusal))?;
        Ok(RowPage { cursor, rows })
    }

    fn clear(&self) -> Result<()> {
        self.rows.clear(self.patience).map_err(|refusal| self.refused(refusal))
    }
}
