//! The key-value space: records of one cache line, small keys and values inside, larger ones in the heap.
//!
//! A change looks at the record without a lock, decides, prepares what the new value needs (blocks of the heap, filled while nobody
//! can see them), locks the record, and goes through only if the record's sequence is still the one that it looked
//! at; otherwise it starts over. After [`OPTIMISM`] such defeats it locks first and looks then.
//!
//! A record's old blocks are freed after the commit, and a reader believes what it copied from a block only if the record's
//! sequence has not changed since: a block that was freed and used again in between is never believed.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering, fence},
    time::Duration,
};

use shm_layout::{
    KEYS_SPACE,
    heap::{BlockRef, CHUNK_BYTES},
    keys::{KEY_WORD, LEN_WORD, PAYLOAD, SHORT_KEY, VALUE_WORD, WORDS, flag},
    limits::{DATABASES, MAX_BATCH_ROWS},
    row::{self, EXPIRE_WORD},
    slot::{self, Held, NO_CELL, Slot, action, lock, op},
};

use super::{
    arena,
    crash::point,
    gate::{self, Gate},
    heap::{self, Ledger},
    journal::{self, CHUNK_ENTRIES, Intent, RowChange},
    locks::{self, Attempt, Writer, patiently},
    rows::{self, FreeRow, Room, claim_free, is_past, rests_at},
    segment::{Refusal, Segment},
    space::{Key, Space},
};

/// Failed validations after which a reader or a change takes the record's lock.
const OPTIMISM: u32 = 64;
/// Lost races after which a change locks before it looks.
const DEFEATS: u32 = 4;
/// Records that one page of a scan looks at, per key asked for.
const SCAN_EFFORT: u64 = 16;

/// The key-value space of a segment. All operations take the patience of the caller: the longest wait, `None` for ever.
#[derive(Clone)]
pub struct Keys {
    segment: Segment,
    space: Space,
}

/// A key's value and expiry at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The value; empty if the change did not ask for it.
    pub value: &'a [u8],
    /// When it expires, in milliseconds since the epoch; 0: never.
    pub expire_at: u64,
}

/// What a reader learns of a key besides its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Bytes of the value.
    pub len: usize,
    /// When it expires, in milliseconds since the epoch; 0: never.
    pub expire_at: u64,
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// It stays as it is.
    Leave,
    /// It gets this value and expiry (0: never).
    Set(Cow<'a, [u8]>, u64),
    /// It keeps its value and gets this expiry (0: never).
    Expire(u64),
    /// It is deleted.
    Remove,
}

/// A record as it was at one instant.
#[derive(Clone, Copy)]
struct Seen {
    row: u32,
    sequence: u64,
    meta: u32,
    words: [u64; WORDS],
}

impl Seen {
    fn flags(&self) -> u16 {
        row::flags(self.meta)
    }

    fn expire_at(&self) -> u64 {
        self.words[EXPIRE_WORD]
    }

    /// Bytes of the value.
    fn len(&self) -> usize {
        match self.flags() & flag::ENCODING {
            flag::INT => itoa::Buffer::new().format(self.words[VALUE_WORD] as i64).len(),
            _ => self.words[LEN_WORD] as usize,
        }
    }

    /// Appends the value to `out`; false if the record is nonsense, as a racing reader may find.
    fn read_value(&self, segment: &Segment, out: &mut Vec<u8>) -> bool {
        let len = self.words[LEN_WORD] as usize;
        let block = BlockRef(self.words[VALUE_WORD]);
        match self.flags() & flag::ENCODING {
            flag::INT => {
                out.extend_from_slice(itoa::Buffer::new().format(self.words[VALUE_WORD] as i64).as_bytes());
                true
            }
            flag::BLOCK => heap::read(segment, block, len, out),
            flag::TREE => heap::read_tree(segment, block, len, out),
            _ => {
                let payload: &[u8] = bytemuck::cast_slice(&self.words[KEY_WORD..]);
                let start = if self.flags() & flag::OUTER_KEY == 0 { row::key_len(self.meta) } else { 8 };
                let value = payload.get(start..start + len);
                value.map(|value| out.extend_from_slice(value)).is_some()
            }
        }
    }

    /// The value's block, and whether it is a tree.
    fn value_block(&self) -> Option<(BlockRef, bool)> {
        value_block(self.meta, self.words[VALUE_WORD])
    }

    /// The key's block, and whether it is a tree.
    fn key_block(&self) -> Option<(BlockRef, bool)> {
        key_block(self.meta, self.words[KEY_WORD])
    }
}

fn value_block(meta: u32, word: u64) -> Option<(BlockRef, bool)> {
    match row::flags(meta) & flag::ENCODING {
        flag::BLOCK => Some((BlockRef(word), false)),
        flag::TREE => Some((BlockRef(word), true)),
        _ => None,
    }
}

fn key_block(meta: u32, word: u64) -> Option<(BlockRef, bool)> {
    let outer = row::flags(meta) & flag::OUTER_KEY != 0;
    outer.then(|| (BlockRef(word), row::key_len(meta) > CHUNK_BYTES))
}

/// The blocks of a record with this meta word, word 4 and word 7, and whether each is a tree.
pub(crate) fn blocks_of(meta: u32, key_word: u64, value_word: u64) -> impl Iterator<Item = (BlockRef, bool)> {
    value_block(meta, value_word).into_iter().chain(key_block(meta, key_word))
}

/// Lists every block of a record as one that goes with it.
pub(crate) fn list_old_blocks(slot: &Slot, meta: u32, words: &[AtomicU64]) {
    let word = |at: usize| words[at].load(Ordering::Relaxed);
    blocks_of(meta, word(KEY_WORD), word(VALUE_WORD)).for_each(|(block, tree)| heap::list_old(slot, block, tree));
}

/// Appends a record's key to `out`; false if the record is nonsense, as a racing reader may find.
pub(crate) fn read_key(segment: &Segment, meta: u32, words: &[AtomicU64], out: &mut Vec<u8>) -> bool {
    let len = row::key_len(meta);
    match key_block(meta, words[KEY_WORD].load(Ordering::Relaxed)) {
        Some((tree, true)) => heap::read_tree(segment, tree, len, out),
        Some((block, false)) => heap::read(segment, block, len, out),
        None if len <= SHORT_KEY => {
            let start = out.len();
            words[KEY_WORD..]
                .iter()
                .for_each(|word| out.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()));
            out.truncate(start + len);
            true
        }
        None => false,
    }
}

/// The slot's counts of a database, as they will be after each of the rows of an operation.
struct Tally {
    cells: [u32; 2],
    counts: [i64; 2],
}

impl Tally {
    fn of(slot: &Slot, db: u8) -> Self {
        let cells = [slot::key_cell(db), slot::expiring_cell(db)];
        Self {
            cells: cells.map(|cell| cell as u32),
            counts: cells.map(|cell| slot.counts[cell].load(Ordering::Relaxed)),
        }
    }

    /// After `keys` more keys and `expiring` more that expire.
    fn after(&mut self, keys: i64, expiring: i64) -> [(u32, i64); 2] {
        self.counts[0] += keys;
        self.counts[1] += expiring;
        let cell = |i: usize, changed: i64| (if changed == 0 { NO_CELL } else { self.cells[i] }, self.counts[i]);
        [cell(0, keys), cell(1, expiring)]
    }
}

/// The count cells once a key is gone.
pub(crate) fn cells_without(slot: &Slot, db: u8, expiring: bool) -> [(u32, i64); 2] {
    Tally::of(slot, db).after(-1, -i64::from(expiring))
}

/// A record that is to be written: its words from 2 on, and its flags.
struct Encoded {
    flags: u16,
    words: [u64; WORDS],
}

/// The integer whose decimal text this is, to the letter.
fn canonical_int(value: &[u8]) -> Option<i64> {
    let plausible = (1..=20).contains(&value.len()) && value.iter().skip(1).all(u8::is_ascii_digit);
    let number: i64 = plausible.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()?;
    (itoa::Buffer::new().format(number).as_bytes() == value).then_some(number)
}

enum Step {
    Done,
    Again,
    NoRoom,
}

impl Keys {
    /// The key-value space of `segment`.
    #[must_use]
    pub fn new(segment: &Segment) -> Self {
        Self { segment: segment.clone(), space: segment.keys_space() }
    }

    fn key<'a>(&self, db: u8, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, db, hash: self.segment.hash(bytes, db) }
    }

    fn header(&self, row: u32) -> Option<&row::Header> {
        self.space.header(&self.segment, row)
    }

    fn sequence(&self, row: u32) -> u64 {
        self.header(row).map_or(0, |header| header.sequence.load(Ordering::Relaxed))
    }

    /// Copies a record's words. They are of one instant if its sequence is the same before and after.
    fn snapshot(&self, row: u32, sequence: u64) -> Option<Seen> {
        let (header, words) = (self.header(row)?, self.space.words(&self.segment, row)?);
        let mut seen = Seen { row, sequence, meta: header.meta.load(Ordering::Relaxed), words: [0; WORDS] };
        for (to, from) in seen.words[EXPIRE_WORD..].iter_mut().zip(&words[EXPIRE_WORD..]) {
            *to = from.load(Ordering::Relaxed);
        }
        Some(seen)
    }

    /// Looks at a key once, with its value if `out` is given; `None` if it did not hold still.
    #[inline]
    fn look(&self, key: Key<'_>, out: Option<&mut Vec<u8>>) -> Option<Option<Seen>> {
        let Some(found) = self.space.find(&self.segment, key) else {
            return Some(None);
        };
        if !row::is_live(found.sequence) {
            return None;
        }
        let seen = self.snapshot(found.row, found.sequence)?;
        let sound = out.is_none_or(|out| seen.read_value(&self.segment, out));
        // Acquire: everything was copied before the sequence is looked at again.
        fence(Ordering::Acquire);
        (sound && self.sequence(found.row) == found.sequence).then_some(Some(seen))
    }

    /// Reads a key; its value is appended to `out`, if that is given.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    #[inline]
    pub fn read(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        mut out: Option<&mut Vec<u8>>,
    ) -> Result<Option<Value>, Refusal> {
        let key = self.key(db, key);
        let start = out.as_ref().map_or(0, |out| out.len());
        let mut attempt = Attempt::default();
        for _ in 0..OPTIMISM {
            let Ok(gate) = gate::sequence(&self.segment, &mut attempt) else {
                break;
            };
            let looked = self.look(key, out.as_deref_mut());
            fence(Ordering::Acquire);
            if let Some(seen) = looked
                && gate::unchanged(&self.segment, gate)
            {
                let live = seen.filter(|seen| !is_past(seen.expire_at(), now_ms));
                if live.is_none() {
                    cut(&mut out, start);
                }
                return Ok(live.map(|seen| Value { len: seen.len(), expire_at: seen.expire_at() }));
            }
            cut(&mut out, start);
            std::hint::spin_loop();
        }
        self.read_locked(patience, now_ms, key, out, start)
    }

    #[cold]
    fn read_locked(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        key: Key<'_>,
        mut out: Option<&mut Vec<u8>>,
        start: usize,
    ) -> Result<Option<Value>, Refusal> {
        patiently(patience, || {
            cut(&mut out, start);
            let mut writer = Writer::enter(&self.segment)?;
            let Some(seen) = self.lock_key(&mut writer, key)? else {
                return Ok(None);
            };
            if is_past(seen.expire_at(), now_ms) {
                return Ok(None);
            }
            let sound = out.as_deref_mut().is_none_or(|out| seen.read_value(&self.segment, out));
            assert!(sound, "a locked record names blocks of the arena");
            Ok(Some(Value { len: seen.len(), expire_at: seen.expire_at() }))
        })
    }

    /// Finds a key and locks its record; `None` if there is none.
    fn lock_key<'a>(&'a self, writer: &mut Writer<'a>, key: Key<'_>) -> Result<Option<Seen>, Refusal> {
        loop {
            let Some(found) = self.space.find(&self.segment, key) else {
                return Ok(None);
            };
            if let Some(header) = self.header(found.row) {
                writer.lock(Held::Row(KEYS_SPACE, found.row), &header.lock)?;
                point("row-locked");
                let sequence = header.sequence.load(Ordering::Acquire);
                if row::is_live(sequence) && self.space.has_key(&self.segment, found.row, key) {
                    return Ok(self.snapshot(found.row, sequence));
                }
            }
            writer.again()?;
        }
    }

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
        let key = self.key(db, key);
        patiently(patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            let Some(seen) = self.lock_key(&mut writer, key)? else {
                return Ok(None);
            };
            if seen.flags() & flag::ENCODING != flag::INT || is_past(seen.expire_at(), now_ms) {
                return Ok(None);
            }
            let sum = (seen.words[VALUE_WORD] as i64).checked_add(by);
            if let Some(sum) = sum {
                self.store_word(&seen, VALUE_WORD, sum as u64);
            }
            Ok(Some(sum))
        })
    }

    /// Stores one word of a locked record.
    fn store_word(&self, seen: &Seen, word: usize, value: u64) {
        if let (Some(words), Some(header)) = (self.space.words(&self.segment, seen.row), self.header(seen.row)) {
            // Release: a reader that sees the word also sees every earlier change of the sequence.
            words[word].store(value, Ordering::Release);
            point("word-stored");
            header.sequence.store(seen.sequence + 2, Ordering::Release);
        }
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
        let key = self.key(db, key);
        let mut value = Vec::new();
        let mut defeats = 0;
        self.with_room(patience, now_ms, &mut |writer| {
            value.clear();
            let value = with_value.then_some(&mut value);
            let held = writer.held();
            let step = self.try_change(writer, now_ms, key, value, defeats >= DEFEATS, change);
            writer.unlock_to(held);
            defeats += u32::from(matches!(step, Ok(Step::Again)));
            step
        })
    }

    /// Makes attempts, and room where there is none.
    fn with_room<'a>(
        &'a self,
        patience: Option<Duration>,
        now_ms: u64,
        attempt: &mut dyn FnMut(&mut Writer<'a>) -> Result<Step, Refusal>,
    ) -> Result<(), Refusal> {
        for round in 0.. {
            let outcome = patiently(patience, || {
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
    fn make_room(&self, patience: Option<Duration>, now_ms: u64, round: u32, records: bool) -> Result<(), Refusal> {
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
            room = patiently(patience, look)?;
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
        let looked = if lock_first {
            let seen = self.lock_key(writer, key)?;
            let sound =
                seen.is_none_or(|seen| value.as_deref_mut().is_none_or(|out| seen.read_value(&self.segment, out)));
            sound.then_some(seen)
        } else {
            self.look(key, value.as_deref_mut())
        };
        let Some(seen) = looked else {
            return Ok(Step::Again);
        };
        let value = value.map_or(&[][..], |value| &value[..]);
        let live = seen.filter(|seen| !is_past(seen.expire_at(), now_ms));
        let wanted = change(live.map(|seen| Record { value, expire_at: seen.expire_at() }));
        match (seen, wanted) {
            (None, Change::Set(value, expire_at)) => self.insert(writer, key, &value, expire_at),
            (None, _) | (_, Change::Leave) => Ok(Step::Done),
            (Some(_), Change::Expire(_) | Change::Remove) if live.is_none() => Ok(Step::Done),
            (Some(seen), wanted) => self.update(writer, key, &seen, &wanted, !lock_first),
        }
    }

    /// Locks a record that was seen; false if it has changed since.
    fn lock_seen<'a>(&'a self, writer: &mut Writer<'a>, seen: &Seen) -> Result<bool, Refusal> {
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
            None => rows::list_delete(writer, &self.space, seen.row, &mut intent, 0),
            Some(encoded) => {
                if self.update_word(seen, &encoded) {
                    return Ok(Step::Done);
                }
                let mut tally = Tally::of(writer.slot(), key.db);
                self.list_update(writer, &mut intent, key, seen, &encoded, &mut tally);
                if let Some((block, tree)) = replaced_block(seen, &encoded) {
                    heap::list_old(writer.slot(), block, tree);
                }
            }
        }
        intent.carry_out(writer, &self.space);
        Ok(Step::Done)
    }

    /// Updates a locked record whose flags stay and of which one word changes; false if it is not such.
    fn update_word(&self, seen: &Seen, encoded: &Encoded) -> bool {
        let expiry_counts = (seen.expire_at() == 0) != (encoded.words[EXPIRE_WORD] == 0);
        if seen.flags() != encoded.flags || expiry_counts || replaced_block(seen, encoded).is_some() {
            return false;
        }
        let mut changed = (EXPIRE_WORD..WORDS).filter(|&i| seen.words[i] != encoded.words[i]);
        match (changed.next(), changed.next()) {
            (None, _) => true,
            (Some(word), None) => {
                self.note_expiry(encoded.words[EXPIRE_WORD]);
                self.store_word(seen, word, encoded.words[word]);
                true
            }
            _ => false,
        }
    }

    fn list_update(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        seen: &Seen,
        encoded: &Encoded,
        tally: &mut Tally,
    ) {
        self.note_expiry(encoded.words[EXPIRE_WORD]);
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

    fn list_insert(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        free: &FreeRow,
        encoded: &Encoded,
        tally: &mut Tally,
    ) {
        self.note_expiry(encoded.words[EXPIRE_WORD]);
        if let Some(words) = self.space.words(&self.segment, free.row) {
            // The record is locked and not live: nobody believes what they read there. Release: who sees a word stored from
            // here on also sees the last tenant's end.
            fence(Ordering::Release);
            for (word, &value) in words[EXPIRE_WORD..].iter().zip(&encoded.words[EXPIRE_WORD..]) {
                word.store(value, Ordering::Relaxed);
            }
        }
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

    /// Remembers that keys can expire, before the first of them does.
    fn note_expiry(&self, expire_at: u64) {
        let expires = &self.segment.header().keys_expire;
        if expire_at != 0 && expires.load(Ordering::Relaxed) == 0 {
            expires.store(1, Ordering::Release);
        }
    }

    fn insert<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        key: Key<'_>,
        value: &[u8],
        expire_at: u64,
    ) -> Result<Step, Refusal> {
        let encoded = self.encode(writer, key, value, expire_at, None)?;
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
        self.list_insert(writer, &mut intent, key, &free, &encoded, &mut tally);
        intent.carry_out(writer, &self.space);
        Ok(Step::Done)
    }

    /// Claims a free record, from a new page if need be.
    fn claim<'a>(&'a self, writer: &mut Writer<'a>) -> Option<FreeRow> {
        let cursor = self.segment.keys_cursor();
        if let Some(free) = claim_free(writer, &self.space, cursor) {
            return Some(free);
        }
        arena::add_records(writer, &self.space).then(|| claim_free(writer, &self.space, cursor)).flatten()
    }

    /// Lays a record out, and takes and fills the blocks that it needs. What `seen` has already is kept: an outer key.
    fn encode(
        &self,
        writer: &Writer<'_>,
        key: Key<'_>,
        value: &[u8],
        expire_at: u64,
        seen: Option<&Seen>,
    ) -> Result<Encoded, Refusal> {
        let mut encoded = Encoded { flags: u16::from(key.db), words: [0; WORDS] };
        encoded.words[EXPIRE_WORD] = expire_at;
        // This depends on the key alone: whoever looks a key up compares it while its value may be changing.
        let inner_key = key.bytes.len() <= SHORT_KEY;
        let mut value_at = 0;
        if inner_key {
            put(&mut encoded.words, 0, key.bytes);
            value_at = key.bytes.len();
        } else {
            encoded.flags |= flag::OUTER_KEY;
            let known = seen.and_then(Seen::key_block);
            encoded.words[KEY_WORD] = match known {
                Some((block, _)) => block.0,
                None => self.take_filled(writer, key.bytes)?.0.0,
            };
            value_at += 8;
        }
        if let Some(int) = canonical_int(value) {
            encoded.flags |= flag::INT;
            encoded.words[VALUE_WORD] = int as u64;
        } else if value_at + value.len() <= PAYLOAD {
            encoded.words[LEN_WORD] = value.len() as u64;
            put(&mut encoded.words, value_at, value);
        } else {
            let (block, tree) = self.take_filled(writer, value)?;
            encoded.flags |= if tree { flag::TREE } else { flag::BLOCK };
            encoded.words[LEN_WORD] = value.len() as u64;
            encoded.words[VALUE_WORD] = block.0;
        }
        Ok(encoded)
    }

    fn take_filled(&self, writer: &Writer<'_>, bytes: &[u8]) -> Result<(BlockRef, bool), Refusal> {
        let tree = bytes.len() > CHUNK_BYTES;
        let block = if tree {
            let block = heap::take_tree(writer, bytes.len()).ok_or(Refusal::OutOfMemory)?;
            heap::write_tree(&self.segment, block, bytes);
            block
        } else {
            let block = heap::take(writer, bytes.len()).ok_or(Refusal::OutOfMemory)?;
            heap::write(&self.segment, block, bytes);
            block
        };
        Ok((block, tree))
    }

    /// Sets several keys in one atomic step, without expiry. The keys differ. With `if_absent`, none if one is present;
    /// whether it set them.
    ///
    /// # Errors
    ///
    /// As [`Keys::change`].
    pub fn set_many(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        pairs: &[(&[u8], &[u8])],
        if_absent: bool,
    ) -> Result<bool, Refusal> {
        let keys: Vec<Key<'_>> = pairs.iter().map(|(key, _)| self.key(db, key)).collect();
        let mut written = false;
        if pairs.len() > MAX_BATCH_ROWS {
            for round in 0.. {
                let set = |gate: &mut Gate<'_>| self.set_behind_gate(gate, now_ms, db, &keys, pairs, if_absent);
                let outcome = gate::behind(&self.segment, patience, set);
                match outcome {
                    Err(Refusal::OutOfMemory) => self.make_room(patience, now_ms, round, true)?,
                    outcome => return outcome,
                }
            }
        }
        self.with_room(patience, now_ms, &mut |writer| {
            let held = writer.held();
            let step = self.try_set_many(writer, now_ms, db, &keys, pairs, if_absent, &mut written);
            writer.unlock_to(held);
            step
        })?;
        Ok(written)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    fn try_set_many<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        db: u8,
        keys: &[Key<'_>],
        pairs: &[(&[u8], &[u8])],
        if_absent: bool,
        written: &mut bool,
    ) -> Result<Step, Refusal> {
        *written = false;
        let Some(found) = self.lock_all(writer, keys)? else {
            return Ok(Step::Again);
        };
        if if_absent && found.iter().flatten().any(|seen| !is_past(seen.expire_at(), now_ms)) {
            return Ok(Step::Done);
        }
        let mut encoded = Vec::with_capacity(keys.len());
        for ((key, pair), seen) in keys.iter().zip(pairs).zip(&found) {
            encoded.push(self.encode(writer, *key, pair.1, 0, seen.as_ref())?);
        }
        let Some(claimed) = self.claim_many(writer, found.iter().filter(|seen| seen.is_none()).count()) else {
            return Ok(Step::NoRoom);
        };
        let mut intent = Intent::new();
        let mut tally = Tally::of(writer.slot(), db);
        let mut unused = claimed.iter();
        for ((key, encoded), seen) in keys.iter().zip(&encoded).zip(&found) {
            match seen {
                Some(seen) => {
                    self.list_update(writer, &mut intent, *key, seen, encoded, &mut tally);
                    if let Some((block, tree)) = replaced_block(seen, encoded) {
                        heap::list_old(writer.slot(), block, tree);
                    }
                }
                None => {
                    let free = unused.next().expect("a record was claimed for every absent key");
                    self.list_insert(writer, &mut intent, *key, free, encoded, &mut tally);
                }
            }
        }
        intent.carry_out(writer, &self.space);
        *written = true;
        Ok(Step::Done)
    }

    fn claim_many<'a>(&'a self, writer: &mut Writer<'a>, count: usize) -> Option<Vec<FreeRow>> {
        let mut claimed = Vec::with_capacity(count);
        while claimed.len() < count {
            match self.claim(writer) {
                Some(free) => claimed.push(free),
                None => {
                    // These records stay free: their hints come back before their locks go.
                    claimed.iter().for_each(|free| self.space.set_hint(&self.segment, free.row));
                    return None;
                }
            }
        }
        Some(claimed)
    }

    /// Locks the home groups and the records of all keys, in order; `None` if a record changed hands meanwhile.
    fn lock_all<'a>(&'a self, writer: &mut Writer<'a>, keys: &[Key<'_>]) -> Result<Option<Vec<Option<Seen>>>, Refusal> {
        let (segment, space) = (&self.segment, &self.space);
        let mut homes: Vec<u32> = keys.iter().map(|key| space.home(key.hash)).collect();
        homes.sort_unstable();
        homes.dedup();
        for home in homes {
            writer.lock(Held::Group(KEYS_SPACE, home), &space.group(segment, home).lock)?;
        }
        point("group-locked");
        let found: Vec<Option<u32>> = keys.iter().map(|key| space.find(segment, *key).map(|found| found.row)).collect();
        let mut rows: Vec<u32> = found.iter().flatten().copied().collect();
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            let Some(header) = self.header(row) else {
                return Ok(None);
            };
            writer.lock(Held::Row(KEYS_SPACE, row), &header.lock)?;
        }
        point("row-locked");
        let mut seen = Vec::with_capacity(keys.len());
        for (row, key) in found.iter().zip(keys) {
            let Some(row) = *row else {
                seen.push(None);
                continue;
            };
            let sequence = self.sequence(row);
            if !row::is_live(sequence) || !space.has_key(segment, row, *key) {
                return Ok(None);
            }
            seen.push(self.snapshot(row, sequence));
        }
        Ok(Some(seen))
    }

    /// Sets more keys than an operation can lock.
    fn set_behind_gate(
        &self,
        gate: &mut Gate<'_>,
        now_ms: u64,
        db: u8,
        keys: &[Key<'_>],
        pairs: &[(&[u8], &[u8])],
        if_absent: bool,
    ) -> Result<bool, Refusal> {
        let writer = gate.writer();
        let outcome = self.list_behind_gate(writer, now_ms, db, keys, pairs, if_absent);
        match outcome? {
            Some(intent) => {
                intent.carry_out(writer, &self.space);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn list_behind_gate(
        &self,
        writer: &Writer<'_>,
        now_ms: u64,
        db: u8,
        keys: &[Key<'_>],
        pairs: &[(&[u8], &[u8])],
        if_absent: bool,
    ) -> Result<Option<Intent>, Refusal> {
        let see = |key: &Key<'_>| {
            let found = self.space.find(&self.segment, *key)?;
            self.snapshot(found.row, found.sequence)
        };
        if if_absent && keys.iter().filter_map(see).any(|seen| !is_past(seen.expire_at(), now_ms)) {
            return Ok(None);
        }
        let slot = writer.slot();
        let chunks = keys.len().div_ceil(CHUNK_ENTRIES);
        let tree = heap::take_tree(writer, chunks * CHUNK_BYTES).ok_or(Refusal::OutOfMemory)?;
        heap::list_old(slot, tree, true);
        let mut intent = Intent::in_chunks(tree);
        let mut tally = Tally::of(slot, db);
        let (mut new, mut old) = (None::<Ledger>, None::<Ledger>);
        for (key, pair) in keys.iter().zip(pairs) {
            let seen = see(key);
            // What a ledger of new blocks lists stays in use after the commit; only the list itself goes.
            let new = ledger_with_room(writer, &mut new, |ledger| heap::list_old(slot, ledger.block(), false))?;
            let listed = slot.journal.new_len.load(Ordering::Relaxed);
            let encoded = self.encode(writer, *key, pair.1, 0, seen.as_ref());
            while slot.journal.new_len.load(Ordering::Relaxed) > listed {
                new.adopt_last(writer);
            }
            let encoded = encoded?;
            match seen {
                Some(seen) => {
                    self.list_update(writer, &mut intent, *key, &seen, &encoded, &mut tally);
                    let ledger = ledger_with_room(writer, &mut old, |ledger| heap::list_old_ledger(slot, ledger))?;
                    if let Some((block, tree)) = replaced_block(&seen, &encoded) {
                        ledger.list(&self.segment, block, tree);
                    }
                }
                None => {
                    let free = self.claim_alone(writer).ok_or(Refusal::OutOfMemory)?;
                    self.list_insert(writer, &mut intent, *key, &free, &encoded, &mut tally);
                }
            }
        }
        Ok(Some(intent))
    }

    /// Claims a free record behind the gate, where a lock is not needed. Should this process die before it commits, the
    /// record has lost its hint, and a pass over the records finds it.
    fn claim_alone(&self, writer: &Writer<'_>) -> Option<FreeRow> {
        let (segment, space) = (&self.segment, &self.space);
        let (words, cursor) = (space.hint_words(), segment.keys_cursor());
        let take = || {
            let start = cursor.load(Ordering::Relaxed) % words;
            let hints = |index: u32| space.hint_word(segment, index).load(Ordering::Relaxed);
            let index = (start..words).chain(0..start).find(|&index| hints(index) != 0)?;
            cursor.store(index, Ordering::Relaxed);
            Some(64 * index + hints(index).trailing_zeros())
        };
        loop {
            let row = take().or_else(|| arena::add_records(writer, space).then(take).flatten())?;
            space.take_hint(segment, row);
            let sequence = self.sequence(row);
            if !row::is_live(sequence) && self.header(row).is_some() {
                return Some(FreeRow { row, sequence });
            }
        }
    }

    /// Renames a key; the target's value goes, unless `if_absent`. `None` if there is no such key, `false` if there was a target.
    ///
    /// # Errors
    ///
    /// As [`Keys::change`].
    pub fn rename(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        from: &[u8],
        to: &[u8],
        if_absent: bool,
    ) -> Result<Option<bool>, Refusal> {
        let keys = [self.key(db, from), self.key(db, to)];
        let mut outcome = None;
        self.with_room(patience, now_ms, &mut |writer| {
            let held = writer.held();
            let step = self.try_rename(writer, now_ms, &keys, if_absent, &mut outcome);
            writer.unlock_to(held);
            step
        })?;
        Ok(outcome)
    }

    fn try_rename<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>; 2],
        if_absent: bool,
        outcome: &mut Option<bool>,
    ) -> Result<Step, Refusal> {
        *outcome = None;
        let Some(found) = self.lock_all(writer, keys)? else {
            return Ok(Step::Again);
        };
        let live = |seen: Option<Seen>| seen.filter(|seen| !is_past(seen.expire_at(), now_ms));
        let Some(from) = live(found[0]) else {
            return Ok(Step::Done);
        };
        let same = keys[0].bytes == keys[1].bytes;
        if same || (if_absent && live(found[1]).is_some()) {
            *outcome = Some(!if_absent);
            return Ok(Step::Done);
        }
        let (to, slot) = (found[1], writer.slot());
        let encoded = self.encode_moved(writer, keys[1], &from, to.as_ref())?;
        let mut intent = Intent::new();
        let mut tally = Tally::of(slot, keys[0].db);
        match to {
            Some(to) => {
                self.list_update(writer, &mut intent, keys[1], &to, &encoded, &mut tally);
                if let Some((block, tree)) = replaced_block(&to, &encoded) {
                    heap::list_old(slot, block, tree);
                }
            }
            None => {
                let Some(free) = self.claim(writer) else {
                    return Ok(Step::NoRoom);
                };
                self.list_insert(writer, &mut intent, keys[1], &free, &encoded, &mut tally);
            }
        }
        let moved = encoded.flags & flag::ENCODING == from.flags() & flag::ENCODING;
        let stays = from.value_block().filter(|_| !moved);
        stays.into_iter().chain(from.key_block()).for_each(|(block, tree)| heap::list_old(slot, block, tree));
        let change = RowChange {
            action: action::DELETE,
            row: from.row,
            meta: from.meta,
            sequence: from.sequence,
            hash: keys[0].hash,
            cells: tally.after(-1, -i64::from(from.expire_at() != 0)),
        };
        intent.push(&self.segment, slot, KEYS_SPACE, &change, 0, &[]);
        intent.carry_out(writer, &self.space);
        *outcome = Some(true);
        Ok(Step::Done)
    }

    /// Lays a record out that takes over the value of `from`: its block, if it has one.
    fn encode_moved(
        &self,
        writer: &Writer<'_>,
        key: Key<'_>,
        from: &Seen,
        to: Option<&Seen>,
    ) -> Result<Encoded, Refusal> {
        let Some((block, tree)) = from.value_block() else {
            let mut value = Vec::new();
            from.read_value(&self.segment, &mut value);
            return self.encode(writer, key, &value, from.expire_at(), to);
        };
        // As for an integer: the value is one word.
        let mut encoded = self.encode(writer, key, b"0", from.expire_at(), to)?;
        encoded.flags = (encoded.flags & !flag::ENCODING) | if tree { flag::TREE } else { flag::BLOCK };
        encoded.words[LEN_WORD] = from.words[LEN_WORD];
        encoded.words[VALUE_WORD] = block.0;
        Ok(encoded)
    }

    /// Several values as of one instant.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn read_many(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, Refusal> {
        let keys: Vec<Key<'_>> = keys.iter().map(|key| self.key(db, key)).collect();
        for _ in 0..OPTIMISM {
            if let Some(values) = self.try_read_many(now_ms, &keys) {
                return Ok(values);
            }
            std::hint::spin_loop();
        }
        if keys.len() > MAX_BATCH_ROWS {
            return gate::behind(&self.segment, patience, |_| {
                keys.iter().map(|key| self.value_alone(now_ms, *key)).collect()
            });
        }
        patiently(patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            loop {
                if let Some(found) = self.lock_all(&mut writer, &keys)? {
                    let live = |seen: &Seen| !is_past(seen.expire_at(), now_ms);
                    return Ok(found.iter().map(|seen| seen.filter(live).map(|seen| self.value_of(&seen))).collect());
                }
                writer.again()?;
            }
        })
    }

    fn value_of(&self, seen: &Seen) -> Vec<u8> {
        let mut value = Vec::new();
        seen.read_value(&self.segment, &mut value);
        value
    }

    fn value_alone(&self, now_ms: u64, key: Key<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        let found = self.space.find(&self.segment, key);
        let seen = found.and_then(|found| self.snapshot(found.row, found.sequence));
        Ok(seen.filter(|seen| !is_past(seen.expire_at(), now_ms)).map(|seen| self.value_of(&seen)))
    }

    fn try_read_many(&self, now_ms: u64, keys: &[Key<'_>]) -> Option<Vec<Option<Vec<u8>>>> {
        let gate = gate::sequence(&self.segment, &mut Attempt::default()).ok()?;
        let mut values = Vec::with_capacity(keys.len());
        let mut witnesses = Vec::with_capacity(keys.len());
        for key in keys {
            let home = self.space.home(key.hash);
            let group = self.space.group(&self.segment, home);
            let insertions = group.counts.load(Ordering::Acquire);
            let mut value = Vec::new();
            match self.look(*key, Some(&mut value))? {
                Some(seen) => {
                    values.push((!is_past(seen.expire_at(), now_ms)).then_some(value));
                    witnesses.push((true, seen.row, seen.sequence));
                }
                None if group.lock.load(Ordering::Acquire) & lock::OWNER != 0 => return None,
                None => {
                    values.push(None);
                    witnesses.push((false, home, u64::from(insertions)));
                }
            }
        }
        // Acquire: every value was read before any sequence is looked at again.
        fence(Ordering::Acquire);
        let still = witnesses.into_iter().all(|(present, number, expected)| {
            if present {
                return self.header(number).is_some_and(|header| rests_at(header, expected));
            }
            let group = self.space.group(&self.segment, number);
            group.lock.load(Ordering::Acquire) & lock::OWNER == 0
                && u64::from(group.counts.load(Ordering::Acquire)) == expected
        });
        (still && gate::unchanged(&self.segment, gate)).then_some(values)
    }

    /// Records that exist so far, in use or not.
    fn records(&self) -> u64 {
        let pages = self.segment.header().record_pages.load(Ordering::Acquire);
        (pages * u64::from(shm_layout::keys::PAGE_RECORDS)).min(u64::from(self.space.rows))
    }

    /// Reads the key of a record if it is live, in `db` and not expired.
    fn key_at(&self, now_ms: u64, db: u8, row: u32, key: &mut Vec<u8>) -> Result<bool, Refusal> {
        let mut attempt = Attempt::default();
        loop {
            let gate = gate::sequence(&self.segment, &mut attempt)?;
            key.clear();
            let (Some(header), Some(words)) = (self.header(row), self.space.words(&self.segment, row)) else {
                return Ok(false);
            };
            let sequence = header.sequence.load(Ordering::Acquire);
            let live = row::is_live(sequence);
            let owner = header.lock.load(Ordering::Acquire) & lock::OWNER;
            let meta = header.meta.load(Ordering::Relaxed);
            let past = is_past(header.expire_at.load(Ordering::Relaxed), now_ms);
            let sound = live && read_key(&self.segment, meta, words, key);
            fence(Ordering::Acquire);
            let steady = header.sequence.load(Ordering::Relaxed) == sequence && gate::unchanged(&self.segment, gate);
            if steady && (sound || (!live && owner == 0)) {
                return Ok(live && !past && row::flags(meta) & flag::DB == u16::from(db));
            }
            locks::wait_for_owner(&self.segment, &header.lock, &mut attempt)?;
        }
    }

    /// The next keys of `db`, about `count` of them, from `cursor` on; where to go on, 0 at the end. A key that is
    /// present throughout is told of.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn scan(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        cursor: u64,
        count: usize,
        out: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Refusal> {
        let end = self.records();
        let effort = (count as u64).saturating_mul(SCAN_EFFORT).max(1024);
        let last = cursor.saturating_add(effort).min(end);
        let (mut told, mut row) = (0, cursor);
        let mut key = Vec::new();
        while row < last && told < count {
            if patiently(patience, || self.key_at(now_ms, db, row as u32, &mut key))? {
                out(&key);
                told += 1;
            }
            row += 1;
        }
        Ok(if row >= end { 0 } else { row })
    }

    /// Some key of `db`: `random` gives numbers to choose by.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn random(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let records = self.records();
        let mut key = Vec::new();
        if records == 0 {
            return Ok(None);
        }
        for _ in 0..128 {
            let row = (random() % records) as u32;
            if patiently(patience, || self.key_at(now_ms, db, row, &mut key))? {
                return Ok(Some(key));
            }
        }
        // So few keys that chance does not hit one: the next from some place on.
        let start = random() % records;
        for row in (start..records).chain(0..start) {
            if patiently(patience, || self.key_at(now_ms, db, row as u32, &mut key))? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Keys of a database.
    #[must_use]
    pub fn len(&self, db: u8) -> u64 {
        self.segment.sum_cell(slot::key_cell(db))
    }

    /// Keys of a database that have an expiry.
    #[must_use]
    pub fn expiring(&self, db: u8) -> u64 {
        self.segment.sum_cell(slot::expiring_cell(db))
    }

    /// Whether a database has no keys.
    #[must_use]
    pub fn is_empty(&self, db: u8) -> bool {
        self.len(db) == 0
    }

    /// Deletes every key of one database, or of all.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn flush(&self, patience: Option<Duration>, db: Option<u8>) -> Result<(), Refusal> {
        gate::behind(&self.segment, patience, |gate| {
            let db = db.map_or(DATABASES as u64, u64::from);
            journal::carry_out_gated(gate.writer(), op::FLUSH, [db, 0]);
            Ok(())
        })
    }

    /// Frees expired keys among the next `records` of the sweep; how many.
    pub(crate) fn sweep(segment: &Segment, records: u64, now_ms: u64) -> usize {
        let keys = Self::new(segment);
        let all = keys.records();
        if segment.header().keys_expire.load(Ordering::Relaxed) == 0 || all == 0 {
            return 0;
        }
        let Ok(mut writer) = Writer::enter(segment) else {
            return 0;
        };
        let start = segment.header().keys_sweep.fetch_add(records, Ordering::Relaxed);
        (0..records.min(all))
            .map(|i| (start.wrapping_add(i) % all) as u32)
            .filter(|&row| {
                let past = keys.header(row).is_some_and(|header| {
                    row::is_live(header.sequence.load(Ordering::Acquire))
                        && is_past(header.expire_at.load(Ordering::Relaxed), now_ms)
                });
                past && rows::free_expired(&mut writer, &keys.space, row, now_ms)
            })
            .count()
    }
}

/// The block of a record's value, if a new layout of the record does not keep it. The key's block stays with the record.
fn replaced_block(seen: &Seen, encoded: &Encoded) -> Option<(BlockRef, bool)> {
    // An integer may have the very bits of a block's name.
    let names_block = matches!(encoded.flags & flag::ENCODING, flag::BLOCK | flag::TREE);
    seen.value_block().filter(|block| !names_block || encoded.words[VALUE_WORD] != block.0.0)
}

/// The ledger, or the next one once it is full; `taken` is told of each one.
fn ledger_with_room<'l>(
    writer: &Writer<'_>,
    ledger: &'l mut Option<Ledger>,
    taken: impl FnOnce(&Ledger),
) -> Result<&'l Ledger, Refusal> {
    if ledger.as_ref().is_none_or(|ledger| !ledger.has_room(writer.segment())) {
        let next = Ledger::take(writer).ok_or(Refusal::OutOfMemory)?;
        taken(&next);
        *ledger = Some(next);
    }
    ledger.as_ref().ok_or(Refusal::OutOfMemory)
}

/// Puts bytes into the payload of a record's words.
fn put(words: &mut [u64; WORDS], at: usize, bytes: &[u8]) {
    bytemuck::cast_slice_mut::<u64, u8>(&mut words[KEY_WORD..])[at..at + bytes.len()].copy_from_slice(bytes);
}

fn cut(out: &mut Option<&mut Vec<u8>>, len: usize) {
    if let Some(out) = out {
        out.truncate(len);
    }
}

/// Carries a flush out. Behind the gate; doing it twice is doing it once.
pub(crate) fn finish_flush(segment: &Segment, db: u8) {
    let keys = Keys::new(segment);
    let all = usize::from(db) >= DATABASES;
    if all {
        keys.space.clear_index(segment);
    }
    for row in 0..keys.records() as u32 {
        keys.flush_record(row, db, all);
    }
    for db in (0..DATABASES as u8).filter(|&other| all || other == db) {
        segment.zero_cell(slot::key_cell(db));
        segment.zero_cell(slot::expiring_cell(db));
    }
    segment.all_slots().for_each(|slot| {
        slot.freed_rows.fetch_add(1, Ordering::AcqRel);
    });
}

impl Keys {
    fn flush_record(&self, row: u32, db: u8, all: bool) {
        let (Some(header), Some(words)) = (self.header(row), self.space.words(&self.segment, row)) else {
            return;
        };
        let (sequence, meta) = (header.sequence.load(Ordering::Relaxed), header.meta.load(Ordering::Relaxed));
        if !row::is_live(sequence) || !(all || row::flags(meta) & flag::DB == u16::from(db)) {
            return;
        }
        if !all {
            let mut key = Vec::new();
            read_key(&self.segment, meta, words, &mut key);
            let hash = self.segment.hash(&key, (row::flags(meta) & flag::DB) as u8);
            self.space.unpublish(&self.segment, hash, row, false);
        }
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        // The statistics of freed blocks are kept by some slot or other.
        let slot = self.segment.slot(1);
        for (block, tree) in blocks_of(meta, word(KEY_WORD), word(VALUE_WORD)) {
            heap::free(&self.segment, slot, block, tree, None);
        }
        header.sequence.store(sequence | 1, Ordering::Release);
        self.space.set_hint(&self.segment, row);
    }
}
