//! Changes of one key, and the room for them.
//!
//! A change looks at the record without a lock, decides, prepares what the new value needs (blocks of the heap, filled while nobody
//! can see them), locks the record, and goes through only if the record's sequence is still the one that it looked
//! at; otherwise it starts over. After [`DEFEATS`] such defeats it locks first and looks then.

use std::{sync::atomic::Ordering, time::Duration};

use shm_layout::{
    KEYS_SPACE,
    keys::{VALUE_WORD, WORDS, flag},
    row::{self, EXPIRE_WORD},
    slot::{Held, action},
};

use super::{
    super::{
        arena,
        crash::point,
        evict, gate, heap,
        journal::{Intent, RowChange},
        locks::{Writer, patiently},
        protocol::sequence,
        rows::{self, FreeRow, Room, claim_free, is_past},
        segment::Refusal,
        space::Key,
        transaction, usage,
    },
    Change, Keys, Record,
    record::{Encoded, Seen, Tally, replaced_block},
};
use crate::sys::clock;

/// Lost races after which a change locks before it looks.
pub(super) const DEFEATS: u32 = 4;

/// How an attempt ended.
pub(super) enum Step {
    Done,
    Again,
    NoRoom,
}

impl Keys {
    /// Adds to a value that is kept as an integer, in place; `None` if the key is absent or kept in another way, an inner `None` if
    /// the result would overflow.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn add_int(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        by: i64,
    ) -> Result<Option<Option<i64>>, Refusal> {
        patiently(&self.segment, patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            let Some(seen) = self.lock_key(&mut writer, self.key(db, key))? else {
                return Ok(None);
            };
            if seen.flags() & flag::ENCODING != flag::INT || is_past(seen.expire_at(), now_ms) {
                return Ok(None);
            }
            let sum = (seen.words[VALUE_WORD] as i64).checked_add(by);
            usage::touch(&self.segment, &self.space, seen.row, now_ms);
            if let (Some(sum), Some(record)) = (sum, self.space.row(&self.segment, seen.row)) {
                rows::store_word(&writer, &self.space, &record, VALUE_WORD, sum as u64)?;
            }
            Ok(Some(sum))
        })
    }

    /// Changes a key in one atomic step. The change may be asked several times. With `with_value` it is shown the value.
    ///
    /// # Errors
    ///
    /// [`Refusal::OutOfMemory`], [`Refusal::Busy`].
    pub fn change<'v>(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        with_value: bool,
        change: &mut dyn FnMut(Option<Record<'_>>) -> Change<'v>,
    ) -> Result<(), Refusal> {
        let mut value = Vec::new();
        let mut defeats = 0;
        self.with_room(patience, now_ms, &mut |writer| {
            value.clear();
            let value = with_value.then_some(&mut value);
            let held = writer.held();
            let key = self.key(db, key);
            let step = self.try_change(writer, now_ms, key, value, defeats >= DEFEATS, change);
            writer.unlock_to(held);
            defeats += u32::from(matches!(step, Ok(Step::Again)));
            step
        })
    }

    /// Makes attempts, and room where there is none.
    pub(super) fn with_room<'a>(
        &'a self,
        patience: Option<Duration>,
        now_ms: u64,
        attempt: &mut dyn FnMut(&mut Writer<'a>) -> Result<Step, Refusal>,
    ) -> Result<(), Refusal> {
        for round in 0.. {
            let outcome = patiently(&self.segment, patience, || {
                let mut writer = Writer::enter(&self.segment)?;
                loop {
                    match attempt(&mut writer)? {
                        Step::Again => writer.again()?,
                        step => return Ok(step),
                    }
                }
            });
            match outcome {
                Ok(Step::NoRoom) => self.make_room(patience, now_ms, round, true)?,
                Err(Refusal::OutOfMemory) => self.make_room(patience, now_ms, round, false)?,
                outcome => return outcome.map(|_| ()),
            }
        }
        Ok(())
    }

    /// Frees what has expired, and free records that nobody knows of if `records` are what is missing, then gives empty
    /// heap pages back to the arena.
    ///
    /// That is a long way round, and who is out of memory tends to ask again: as long as nothing was freed since it led to
    /// nothing, and for a moment at least, the answer stays the same.
    pub(super) fn make_room(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        round: u32,
        records: bool,
    ) -> Result<(), Refusal> {
        // In a transaction it would be no use: what goes gives its blocks back with the commit.
        if !transaction::is_own(&self.segment) && evict::can_evict(&self.segment, now_ms) {
            return self.make_room_by_evicting(patience, now_ms, round, records);
        }
        let exhausted = self.segment.exhausted();
        let freed = rows::freed(&self.segment);
        if round == 0 && exhausted.is_still(freed, now_ms) {
            return Err(Refusal::OutOfMemory);
        }
        if round >= 2 {
            exhausted.note(freed, now_ms);
            return Err(Refusal::OutOfMemory);
        }
        let mut room = Room::None;
        if records || rows::can_expire(&self.segment, &self.space) {
            let look = || rows::make_room(&mut Writer::enter(&self.segment)?, &self.space, 1, now_ms, &|| Ok(()));
            room = patiently(&self.segment, patience, look)?;
        }
        let pages = gate::behind(&self.segment, patience, |_| Ok(arena::reclaim(&self.segment)))?;
        if room == Room::None && pages == 0 && round > 0 {
            exhausted.note(freed, now_ms);
            return Err(Refusal::OutOfMemory);
        }
        Ok(())
    }

    fn try_change<'a, 'v>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        key: Key<'_>,
        mut value: Option<&mut Vec<u8>>,
        lock_first: bool,
        change: &mut dyn FnMut(Option<Record<'_>>) -> Change<'v>,
    ) -> Result<Step, Refusal> {
        // A locked record that cannot be read is damaged: its value counts as absent, and can be replaced.
        let mut sound = true;
        let looked = if lock_first {
            let seen = self.lock_key(writer, key)?;
            let read = |seen: Seen| value.as_deref_mut().is_none_or(|out| seen.read_value(&self.segment, out));
            sound = seen.is_none_or(read);
            Some(seen)
        } else {
            self.look(key, value.as_deref_mut())
        };
        let Some(seen) = looked else {
            return Ok(Step::Again);
        };
        let value = value.map_or(&[][..], |value| &value[..]);
        let live = seen.filter(|seen| sound && !is_past(seen.expire_at(), now_ms));
        let wanted = change(live.map(|seen| Record { kind: seen.kind(), value, expire_at: seen.expire_at() }));
        match (seen, wanted) {
            (None, Change::Set(value, expire_at)) => self.insert(writer, key, &value, expire_at),
            (None, _) | (_, Change::Leave) => Ok(Step::Done),
            (Some(_), Change::Expire(_) | Change::Remove) if live.is_none() => Ok(Step::Done),
            (Some(seen), wanted) => self.update(writer, key, &seen, &wanted, !lock_first),
        }
    }

    /// Locks a record that was seen; false if it has changed since.
    pub(super) fn lock_seen<'a>(&'a self, writer: &mut Writer<'a>, seen: &Seen) -> Result<bool, Refusal> {
        let Some(header) = self.header(seen.row) else {
            return Ok(false);
        };
        writer.lock(Held::Row(KEYS_SPACE, seen.row), &header.lock)?;
        point("row-locked");
        Ok(header.sequence.load(Ordering::Acquire) == seen.sequence)
    }

    fn update<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        key: Key<'_>,
        seen: &Seen,
        wanted: &Change<'_>,
        lock: bool,
    ) -> Result<Step, Refusal> {
        let encoded = match wanted {
            Change::Set(value, expire_at) => Some(self.encode(writer, key, value, *expire_at, Some(seen))?),
            Change::Expire(expire_at) => {
                let mut words = seen.words;
                words[EXPIRE_WORD] = *expire_at;
                Some(Encoded { flags: seen.flags(), words })
            }
            Change::Leave | Change::Remove => None,
        };
        if lock && !self.lock_seen(writer, seen)? {
            return Ok(Step::Again);
        }
        let mut intent = Intent::new();
        match encoded {
            None => {
                let mut tally = Tally::of(writer.slot(), key.db);
                self.list_gone(writer, &mut intent, key, seen, &mut tally);
            }
            Some(encoded) => {
                if self.update_word(writer, seen, &encoded, matches!(wanted, Change::Set(..)))? {
                    return Ok(Step::Done);
                }
                let mut tally = Tally::of(writer.slot(), key.db);
                self.list_replacement(writer, &mut intent, key, seen, &encoded, &mut tally);
            }
        }
        intent.carry_out(writer, &self.space)?;
        Ok(Step::Done)
    }

    /// Updates a locked record whose flags stay and of which one word changes; false if it is not such.
    fn update_word(&self, writer: &Writer<'_>, seen: &Seen, encoded: &Encoded, set: bool) -> Result<bool, Refusal> {
        let expiry_counts = (seen.expire_at() == 0) != (encoded.words[EXPIRE_WORD] == 0);
        usage::touch(&self.segment, &self.space, seen.row, clock::now_ms());
        if seen.flags() != encoded.flags || expiry_counts || replaced_block(seen, encoded).is_some() {
            return Ok(false);
        }
        let mut changed = (EXPIRE_WORD..WORDS).filter(|&i| seen.words[i] != encoded.words[i]);
        match (changed.next(), changed.next()) {
            (None, _) => {
                // Who watches the key wants to know of every write, the same value as before included.
                if let Some(header) = self.header(seen.row).filter(|_| set) {
                    sequence::raise(&header.sequence, seen.sequence);
                }
                Ok(true)
            }
            (Some(word), None) => {
                rows::note_expiry(&self.segment, &self.space, encoded.words[EXPIRE_WORD]);
                if let Some(record) = self.space.row(&self.segment, seen.row) {
                    rows::store_word(writer, &self.space, &record, word, encoded.words[word])?;
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    pub(super) fn list_update(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        seen: &Seen,
        encoded: &Encoded,
        tally: &mut Tally,
    ) {
        rows::note_expiry(&self.segment, &self.space, encoded.words[EXPIRE_WORD]);
        let expiring = i64::from(encoded.words[EXPIRE_WORD] != 0) - i64::from(seen.expire_at() != 0);
        let change = RowChange {
            action: action::UPDATE,
            row: seen.row,
            meta: row::meta(key.bytes.len(), encoded.flags),
            sequence: seen.sequence,
            hash: key.hash,
            cells: tally.after(0, expiring),
        };
        intent.push(&self.segment, writer.slot(), KEYS_SPACE, &change, EXPIRE_WORD, &encoded.words[EXPIRE_WORD..]);
    }

    pub(super) fn list_insert(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        free: &FreeRow,
        encoded: &Encoded,
        tally: &mut Tally,
    ) {
        rows::note_expiry(&self.segment, &self.space, encoded.words[EXPIRE_WORD]);
        rows::fill(&self.segment, &self.space, free, &encoded.words);
        evict::admit(&self.segment, &self.space, free.row, key.hash, clock::now_ms());
        let change = RowChange {
            action: action::INSERT,
            row: free.row,
            meta: row::meta(key.bytes.len(), encoded.flags),
            sequence: free.sequence,
            hash: key.hash,
            cells: tally.after(1, i64::from(encoded.words[EXPIRE_WORD] != 0)),
        };
        intent.push(&self.segment, writer.slot(), KEYS_SPACE, &change, 0, &[]);
    }

    /// Lists that a record is replaced by another, and what it held goes.
    pub(super) fn list_replacement(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        before: &Seen,
        encoded: &Encoded,
        tally: &mut Tally,
    ) {
        self.list_update(writer, intent, key, before, encoded, tally);
        if let Some((block, form)) = replaced_block(before, encoded) {
            heap::list_old(writer.slot(), block, form);
        }
    }

    /// Lists that a key gets a new record, in the place of `before` or in a free one; false if there is none.
    pub(super) fn put<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        intent: &mut Intent,
        key: Key<'_>,
        before: Option<&Seen>,
        encoded: &Encoded,
        tally: &mut Tally,
    ) -> bool {
        if let Some(before) = before {
            self.list_replacement(writer, intent, key, before, encoded, tally);
            return true;
        }
        let free = self.claim(writer);
        if let Some(free) = &free {
            self.list_insert(writer, intent, key, free, encoded, tally);
        }
        free.is_some()
    }

    /// Lists that a record goes, with all its blocks.
    pub(super) fn list_gone(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        seen: &Seen,
        tally: &mut Tally,
    ) {
        let blocks = seen.value_block().into_iter().chain(seen.key_block());
        blocks.for_each(|(block, form)| heap::list_old(writer.slot(), block, form));
        self.list_removal(writer, intent, key, seen, tally);
    }

    /// Lists that a record goes; its blocks are the caller's affair.
    pub(super) fn list_removal(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        seen: &Seen,
        tally: &mut Tally,
    ) {
        let change = RowChange {
            action: action::DELETE,
            row: seen.row,
            meta: seen.meta,
            sequence: seen.sequence,
            hash: key.hash,
            cells: tally.after(-1, -i64::from(seen.expire_at() != 0)),
        };
        intent.push(&self.segment, writer.slot(), KEYS_SPACE, &change, 0, &[]);
    }

    fn insert<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        key: Key<'_>,
        value: &[u8],
        expire_at: u64,
    ) -> Result<Step, Refusal> {
        let encoded = self.encode(writer, key, value, expire_at, None)?;
        self.insert_encoded(writer, key, &encoded)
    }

    /// Makes a key that is absent, unless it is not any more.
    pub(super) fn insert_encoded<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        key: Key<'_>,
        encoded: &Encoded,
    ) -> Result<Step, Refusal> {
        let home = self.space.home(key.hash);
        writer.lock(Held::Group(KEYS_SPACE, home), &self.space.group(&self.segment, home).lock)?;
        point("group-locked");
        if self.space.find(&self.segment, key).is_some() {
            return Ok(Step::Again);
        }
        let Some(free) = self.claim(writer) else {
            return Ok(Step::NoRoom);
        };
        let mut intent = Intent::new();
        let mut tally = Tally::of(writer.slot(), key.db);
        self.list_insert(writer, &mut intent, key, &free, encoded, &mut tally);
        intent.carry_out(writer, &self.space)?;
        Ok(Step::Done)
    }

    /// Claims a free record, from a new page if need be.
    pub(super) fn claim<'a>(&'a self, writer: &mut Writer<'a>) -> Option<FreeRow> {
        let cursor = self.segment.keys_cursor();
        if let Some(free) = claim_free(writer, &self.space, cursor) {
            return Some(free);
        }
        arena::add_records(writer, &self.space).then(|| claim_free(writer, &self.space, cursor)).flatten()
    }
}
