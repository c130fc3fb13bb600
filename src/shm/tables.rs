//! The rows of tables: reading them without a lock, changing them under one.
//!
//! A change is a function of the row: it is given the row's words (or zeros, if there is no such row) and says what becomes of
//! them. It runs under the row's lock, may run several times, and must neither fail nor wait: whatever can be refused is
//! checked before, or remembered by the function and answered with [`Verdict::Leave`].
//!
//! An expired row counts as absent. It is overwritten in place, index and count as they were.

use std::{
    sync::atomic::{AtomicU32, Ordering, fence},
    time::Duration,
};

use shm_layout::{
    heap::{BlockRef, MAX_CONTENTS},
    row::{self, BODY_WORD, EXPIRE_WORD},
    slot::{self, Held, IMAGE_WORDS, action, lock},
};

use super::{
    arena,
    crash::point,
    directory::{self, RawSpec, TableListing},
    gate::{self, Gate},
    heap,
    journal::{self, Intent, RowChange},
    locks::{Attempt, Writer, patiently},
    rows::{self, Room, claim_free, is_past},
    segment::{Refusal, Segment},
    space::{Key, Space},
};

/// Failed validations after which a reader takes the row's lock.
const OPTIMISM: u32 = 64;
/// Rows that one page of a scan looks at, per row asked for, before it returns what it has.
const SCAN_EFFORT: u64 = 64;

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Leave,
    /// It becomes what the words say; an absent one is made.
    Write,
    /// It is deleted.
    Remove,
}

/// A row in the hands of a change, or of a reader.
pub struct RowWords<'a> {
    /// Whether there was such a row.
    pub present: bool,
    /// The row: word 2 is its expiry, the body begins at word 3. Words 0 and 1 mean nothing here.
    pub words: &'a mut [u64],
}

/// A table of a segment. All operations take the patience of the caller: the longest wait, `None` for ever.
pub struct Tables {
    segment: Segment,
    listing: TableListing,
    space: Space,
    /// Where there was a free row.
    cursor: AtomicU32,
}

enum Step {
    Done,
    Again,
    /// So many free rows were needed.
    NoRoom(u64),
}

impl Tables {
    /// Makes a table, or finds the one of this name, shape and schema; whether it is new.
    ///
    /// # Errors
    ///
    /// [`Refusal::Exists`], [`Refusal::NoTable`], [`Refusal::OutOfMemory`], [`Refusal::Busy`].
    pub fn make(segment: &Segment, patience: Option<Duration>, spec: &RawSpec) -> Result<(Self, bool), Refusal> {
        let (listing, new) = directory::make(segment, patience, spec)?;
        Ok((Self::listed(segment, listing)?, new))
    }

    /// The table of this name.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`] if there is none, [`Refusal::Busy`].
    pub fn find(segment: &Segment, patience: Option<Duration>, name: &str) -> Result<Self, Refusal> {
        Self::listed(segment, directory::find(segment, patience, name)?)
    }

    /// Every table, hidden ones too.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn list(segment: &Segment, patience: Option<Duration>) -> Result<Vec<Self>, Refusal> {
        let listings = directory::list(segment, patience)?;
        Ok(listings.into_iter().filter_map(|listing| Self::listed(segment, listing).ok()).collect())
    }

    /// Drops the table of this name; false if there is none.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn drop_named(segment: &Segment, patience: Option<Duration>, name: &str) -> Result<bool, Refusal> {
        directory::drop_table(segment, patience, name)
    }

    fn listed(segment: &Segment, listing: TableListing) -> Result<Self, Refusal> {
        let space = directory::space(segment, listing.index as usize).ok_or(Refusal::Gone)?;
        let start = std::process::id().wrapping_mul(0x9e37_79b1) % space.hint_words();
        Ok(Self { segment: segment.clone(), listing, space, cursor: AtomicU32::new(start) })
    }

    /// What the table was asked to be.
    #[must_use]
    pub fn spec(&self) -> &RawSpec {
        &self.listing.spec
    }

    /// Bytes of its region.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        Segment::region_bytes(self.listing.spec.shape())
    }

    /// Words of a row.
    #[must_use]
    pub fn row_words(&self) -> usize {
        self.space.row_words()
    }

    /// Bytes from the start of a row to its key.
    #[must_use]
    pub fn key_at(&self) -> usize {
        self.space.key_at as usize
    }

    /// Whether the table was not dropped.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let entry = self.segment.entry(self.listing.index as usize);
        // Acquire: with the generation, what was done before it changed is seen.
        entry.generation.load(Ordering::Acquire) == self.listing.generation
    }

    fn check_current(&self) -> Result<(), Refusal> {
        if self.is_current() { Ok(()) } else { Err(Refusal::Gone) }
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, db: 0, hash: self.segment.hash(bytes, 0) }
    }

    /// Rows in use.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`].
    pub fn count(&self) -> Result<u64, Refusal> {
        let count = self.space.count(&self.segment);
        self.check_current()?;
        Ok(count)
    }

    /// Copies the row into `out` (words from 2 on); false if there is none.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    #[inline]
    pub fn read(&self, patience: Option<Duration>, now_ms: u64, key: &[u8], out: &mut [u64]) -> Result<bool, Refusal> {
        let key = self.key(key);
        let mut attempt = Attempt::default();
        for _ in 0..OPTIMISM {
            let Ok(gate) = gate::sequence(&self.segment, &mut attempt) else {
                break;
            };
            let found = self.space.find(&self.segment, key);
            let live = found.filter(|found| row::is_live(found.sequence));
            if let Some(live) = live {
                self.copy(live.row, out);
            }
            // Acquire: everything copied was read before the sequences are looked at again.
            fence(Ordering::Acquire);
            let steady = match live {
                Some(live) => self.sequence(live.row) == live.sequence,
                None => found.is_none(),
            };
            if steady && gate::unchanged(&self.segment, gate) {
                self.check_current()?;
                return Ok(found.is_some() && !is_past(out[EXPIRE_WORD], now_ms));
            }
            std::hint::spin_loop();
        }
        self.read_locked(patience, now_ms, key.bytes, out)
    }

    /// Reads as a writer does, once the row does not hold still.
    #[cold]
    fn read_locked(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        key: &[u8],
        out: &mut [u64],
    ) -> Result<bool, Refusal> {
        let mut present = false;
        self.modify(patience, now_ms, key, &mut |row| {
            present = row.present;
            out.copy_from_slice(row.words);
            Verdict::Leave
        })?;
        Ok(present)
    }

    fn sequence(&self, row: u32) -> u64 {
        self.space.header(&self.segment, row).map_or(0, |header| header.sequence.load(Ordering::Relaxed))
    }

    #[inline]
    fn copy(&self, row: u32, out: &mut [u64]) {
        if let Some(words) = self.space.words(&self.segment, row) {
            for (to, from) in out[EXPIRE_WORD..].iter_mut().zip(&words[EXPIRE_WORD..]) {
                *to = from.load(Ordering::Relaxed);
            }
        }
    }

    /// Changes a row in one atomic step.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`], [`Refusal::OutOfMemory`] (rows of more than 4 KiB), [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn modify(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        key: &[u8],
        change: &mut dyn FnMut(RowWords<'_>) -> Verdict,
    ) -> Result<(), Refusal> {
        let key = self.key(key);
        with_scratch(self.row_words(), |scratch| {
            self.with_room(patience, now_ms, |writer| self.try_modify(writer, now_ms, key, change, scratch))
        })
    }

    /// Makes attempts, and room where there is none.
    fn with_room<'a>(
        &'a self,
        patience: Option<Duration>,
        now_ms: u64,
        mut attempt: impl FnMut(&mut Writer<'a>) -> Result<Step, Refusal>,
    ) -> Result<(), Refusal> {
        let mut undecided = 0;
        let mut reclaimed = false;
        loop {
            let outcome = patiently(patience, || {
                let mut writer = Writer::enter(&self.segment)?;
                loop {
                    match attempt(&mut writer)? {
                        Step::Again => writer.again()?,
                        step => return Ok(step),
                    }
                }
            });
            let needed = match outcome {
                Ok(Step::NoRoom(needed)) => needed,
                Err(Refusal::OutOfMemory) if !reclaimed => {
                    patiently(patience, || Gate::close(&self.segment).map(|_gate| arena::reclaim(&self.segment)))?;
                    reclaimed = true;
                    continue;
                }
                outcome => return outcome.map(|_| ()),
            };
            if undecided == 3 {
                return patiently(patience, || self.modify_alone(now_ms, &mut attempt));
            }
            match patiently(patience, || {
                rows::make_room(&mut Writer::enter(&self.segment)?, &self.space, needed, now_ms)
            })? {
                Room::Some => {}
                Room::None => {
                    self.check_current()?;
                    return Err(Refusal::Full);
                }
                Room::Undecided => undecided += 1,
            }
        }
    }

    /// Behind the gate, where "full" is certain.
    fn modify_alone<'a>(
        &'a self,
        now_ms: u64,
        attempt: &mut dyn FnMut(&mut Writer<'a>) -> Result<Step, Refusal>,
    ) -> Result<(), Refusal> {
        let mut gate = Gate::close(&self.segment)?;
        self.check_current()?;
        let writer = gate.writer();
        let held = writer.held();
        for row in 0..self.space.rows {
            let expired = self.space.header(&self.segment, row).is_some_and(|header| {
                row::is_live(header.sequence.load(Ordering::Relaxed))
                    && is_past(header.expire_at.load(Ordering::Relaxed), now_ms)
            });
            if expired {
                rows::free_expired(writer, &self.space, row, now_ms);
            } else if self.sequence(row) % 2 == 1 || self.sequence(row) == 0 {
                self.space.set_hint(&self.segment, row);
            }
        }
        let step = attempt(writer);
        writer.unlock_to(held);
        match step? {
            Step::Done => Ok(()),
            Step::Again => Err(Refusal::Busy),
            Step::NoRoom(_) => Err(Refusal::Full),
        }
    }

    fn try_modify<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        key: Key<'_>,
        change: &mut dyn FnMut(RowWords<'_>) -> Verdict,
        scratch: &mut [u64],
    ) -> Result<Step, Refusal> {
        self.check_current()?;
        let held = writer.held();
        let spare = self.take_spare(writer)?;
        let Some(found) = self.space.find(&self.segment, key) else {
            let step = self.try_insert(writer, key, change, scratch);
            writer.unlock_to(held);
            heap::give_back_new(&self.segment, writer.slot(), writer.number());
            return step;
        };
        let Some(header) = self.space.header(&self.segment, found.row) else {
            return Ok(Step::Again);
        };
        writer.lock(Held::Row(self.space.id, found.row), &header.lock)?;
        point("row-locked");
        let sequence = header.sequence.load(Ordering::Acquire);
        if !row::is_live(sequence) || !self.space.has_key(&self.segment, found.row, key) {
            writer.unlock_to(held);
            return Ok(Step::Again);
        }
        self.change_row(writer, now_ms, key, found.row, change, scratch, spare);
        writer.unlock_to(held);
        heap::give_back_new(&self.segment, writer.slot(), writer.number());
        Ok(Step::Done)
    }

    /// A block for what the slot's image area may not hold: taken before the lock, because taking can fail.
    fn take_spare(&self, writer: &Writer<'_>) -> Result<Option<BlockRef>, Refusal> {
        let words = (self.row_words() - EXPIRE_WORD).saturating_sub(IMAGE_WORDS);
        if words == 0 {
            return Ok(None);
        }
        match heap::take(writer, 8 * words) {
            Some(block) => Ok(Some(block)),
            None => {
                heap::give_back_new(&self.segment, writer.slot(), writer.number());
                Err(Refusal::OutOfMemory)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    fn change_row(
        &self,
        writer: &Writer<'_>,
        now_ms: u64,
        key: Key<'_>,
        row: u32,
        change: &mut dyn FnMut(RowWords<'_>) -> Verdict,
        scratch: &mut [u64],
        spare: Option<BlockRef>,
    ) {
        let present = self.load(row, key, now_ms, scratch);
        match change(RowWords { present, words: scratch }) {
            Verdict::Leave => {}
            Verdict::Remove if !present => {}
            Verdict::Remove => {
                let mut intent = Intent::new();
                rows::list_delete(writer, &self.space, row, &mut intent, 0);
                intent.carry_out(writer, &self.space);
            }
            Verdict::Write => self.store(writer, key, row, scratch, spare),
        }
    }

    /// Loads a locked row, or zeros and its key if it has expired; whether it is there.
    fn load(&self, row: u32, key: Key<'_>, now_ms: u64, scratch: &mut [u64]) -> bool {
        self.copy(row, scratch);
        let present = !is_past(scratch[EXPIRE_WORD], now_ms);
        if !present {
            self.fresh(key, scratch);
        }
        present
    }

    /// A new row: zeros and the key.
    fn fresh(&self, key: Key<'_>, scratch: &mut [u64]) {
        scratch.fill(0);
        let at = self.key_at();
        bytemuck::cast_slice_mut::<u64, u8>(scratch)[at..at + key.bytes.len()].copy_from_slice(key.bytes);
    }

    fn store(&self, writer: &Writer<'_>, key: Key<'_>, row: u32, scratch: &[u64], spare: Option<BlockRef>) {
        let (Some(words), Some(header)) = (self.space.words(&self.segment, row), self.space.header(&self.segment, row))
        else {
            return;
        };
        self.note_expiry(scratch[EXPIRE_WORD]);
        let differs = |&i: &usize| words[i].load(Ordering::Relaxed) != scratch[i];
        let Some(first) = (EXPIRE_WORD..scratch.len()).find(differs) else {
            return;
        };
        let last = (first..scratch.len()).rev().find(differs).unwrap_or(first);
        let sequence = header.sequence.load(Ordering::Relaxed);
        if first == last {
            // Release: a reader that sees the word also sees every earlier change of the sequence.
            words[first].store(scratch[first], Ordering::Release);
            point("word-stored");
            header.sequence.store(sequence + 2, Ordering::Release);
            return;
        }
        let change = RowChange {
            action: action::UPDATE,
            row,
            meta: header.meta.load(Ordering::Relaxed),
            sequence,
            hash: key.hash,
            cells: RowChange::NO_COUNTS,
        };
        let mut intent = Intent::new();
        self.list_image(writer, &mut intent, &change, first, &scratch[first..=last], &mut spare.into_iter());
        intent.carry_out(writer, &self.space);
    }

    /// Adds an image to an intent, in as many pieces as it needs: what the slot has room for, then the spare blocks.
    fn list_image(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        change: &RowChange,
        mut first: usize,
        mut image: &[u64],
        spare: &mut dyn Iterator<Item = BlockRef>,
    ) {
        let (segment, slot) = (&self.segment, writer.slot());
        let here = image.len().min(intent.room(slot));
        if here > 0 {
            intent.push(segment, slot, self.space.id, change, first, &image[..here]);
            (first, image) = (first + here, &image[here..]);
        }
        while !image.is_empty() {
            let block = spare.next().expect("there are as many spare blocks as the largest images need");
            heap::list_old(slot, block, false);
            let here = image.len().min(MAX_CONTENTS / 8);
            intent.push_at(segment, slot, self.space.id, change, first, &image[..here], heap::contents_at(block));
            (first, image) = (first + here, &image[here..]);
        }
    }

    /// Remembers that rows of this table can expire, before the first of them does.
    fn note_expiry(&self, expire_at: u64) {
        let expires = &self.segment.entry(self.listing.index as usize).expires;
        if expire_at != 0 && expires.load(Ordering::Relaxed) == 0 {
            expires.store(1, Ordering::Release);
        }
    }

    fn try_insert<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        key: Key<'_>,
        change: &mut dyn FnMut(RowWords<'_>) -> Verdict,
        scratch: &mut [u64],
    ) -> Result<Step, Refusal> {
        self.fresh(key, scratch);
        if change(RowWords { present: false, words: scratch }) != Verdict::Write {
            return Ok(Step::Done);
        }
        let home = self.space.home(key.hash);
        writer.lock(Held::Group(self.space.id, home), &self.space.group(&self.segment, home).lock)?;
        point("group-locked");
        if self.space.find(&self.segment, key).is_some() {
            return Ok(Step::Again);
        }
        let Some(free) = claim_free(writer, &self.space, &self.cursor) else {
            return Ok(Step::NoRoom(1));
        };
        let mut intent = Intent::new();
        self.list_insert(writer, &mut intent, key, &free, scratch, 0);
        intent.carry_out(writer, &self.space);
        Ok(Step::Done)
    }

    /// Fills a free row and adds its publication to an intent that makes `earlier` rows already.
    fn list_insert(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        free: &rows::FreeRow,
        scratch: &[u64],
        earlier: i64,
    ) {
        self.note_expiry(scratch[EXPIRE_WORD]);
        if let Some(words) = self.space.words(&self.segment, free.row) {
            // The row is locked and not live: nobody believes what they read there.
            for (word, &value) in words[EXPIRE_WORD..].iter().zip(&scratch[EXPIRE_WORD..]) {
                word.store(value, Ordering::Relaxed);
            }
        }
        let slot = writer.slot();
        let cell = slot::row_cell(self.space.id);
        let counted = slot.counts[cell].load(Ordering::Relaxed);
        let change = RowChange {
            action: action::INSERT,
            row: free.row,
            meta: row::meta(key.bytes.len(), 0),
            sequence: free.sequence,
            hash: key.hash,
            cells: [(cell as u32, counted + 1 + earlier), RowChange::NO_COUNTS[1]],
        };
        intent.push(&self.segment, slot, self.space.id, &change, 0, &[]);
    }

    /// Changes several rows in one atomic step. The keys differ, and there are at most 64 of them. The change is told
    /// which key it is at; every row is left or written, none removed.
    ///
    /// # Errors
    ///
    /// As [`Tables::modify`].
    pub fn modify_many(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        keys: &[&[u8]],
        change: &mut dyn FnMut(usize, RowWords<'_>) -> Verdict,
    ) -> Result<(), Refusal> {
        let keys: Vec<Key<'_>> = keys.iter().map(|key| self.key(key)).collect();
        with_scratch(self.row_words(), |scratch| {
            self.with_room(patience, now_ms, |writer| {
                let held = writer.held();
                let step = self.try_modify_many(writer, now_ms, &keys, change, scratch);
                writer.unlock_to(held);
                heap::give_back_new(&self.segment, writer.slot(), writer.number());
                step
            })
        })
    }

    fn try_modify_many<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>],
        change: &mut dyn FnMut(usize, RowWords<'_>) -> Verdict,
        scratch: &mut [u64],
    ) -> Result<Step, Refusal> {
        self.check_current()?;
        let spare = self.take_spares(writer, keys.len())?;
        let Some(found) = self.lock_all(writer, keys)? else {
            return Ok(Step::Again);
        };
        let mut claimed = Vec::with_capacity(keys.len());
        let absent = found.iter().filter(|row| row.is_none()).count();
        for _ in 0..absent {
            let Some(free) = claim_free(writer, &self.space, &self.cursor) else {
                // These rows stay free: their hints come back before their locks go.
                claimed.iter().for_each(|free: &rows::FreeRow| self.space.set_hint(&self.segment, free.row));
                return Ok(Step::NoRoom(absent as u64));
            };
            claimed.push(free);
        }
        let mut intent = Intent::new();
        let mut spare = spare.into_iter();
        let mut unused = claimed.iter();
        let mut made = 0;
        let mut listed = false;
        for (i, (key, found)) in keys.iter().zip(&found).enumerate() {
            match found {
                Some(row) => {
                    let present = self.load(*row, *key, now_ms, scratch);
                    if change(i, RowWords { present, words: scratch }) == Verdict::Write {
                        self.list_update(writer, &mut intent, *key, *row, scratch, &mut spare);
                        listed = true;
                    }
                }
                None => {
                    self.fresh(*key, scratch);
                    if change(i, RowWords { present: false, words: scratch }) == Verdict::Write
                        && let Some(free) = unused.next()
                    {
                        self.list_insert(writer, &mut intent, *key, free, scratch, made);
                        made += 1;
                        listed = true;
                    }
                }
            }
        }
        unused.for_each(|free| self.space.set_hint(&self.segment, free.row));
        if listed {
            intent.carry_out(writer, &self.space);
        }
        Ok(Step::Done)
    }

    /// Blocks for all images that the slot's area may not hold.
    fn take_spares(&self, writer: &Writer<'_>, rows: usize) -> Result<Vec<BlockRef>, Refusal> {
        let image = self.row_words() - EXPIRE_WORD;
        if image * rows <= IMAGE_WORDS {
            return Ok(Vec::new());
        }
        let pieces = image.div_ceil(MAX_CONTENTS / 8);
        let bytes = (8 * image).min(MAX_CONTENTS / 8 * 8);
        (0..rows * pieces).map(|_| heap::take(writer, bytes).ok_or(Refusal::OutOfMemory)).collect()
    }

    fn list_update(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        row: u32,
        scratch: &[u64],
        spare: &mut dyn Iterator<Item = BlockRef>,
    ) {
        self.note_expiry(scratch[EXPIRE_WORD]);
        let Some(header) = self.space.header(&self.segment, row) else {
            return;
        };
        let change = RowChange {
            action: action::UPDATE,
            row,
            meta: header.meta.load(Ordering::Relaxed),
            sequence: header.sequence.load(Ordering::Relaxed),
            hash: key.hash,
            cells: RowChange::NO_COUNTS,
        };
        self.list_image(writer, intent, &change, EXPIRE_WORD, &scratch[EXPIRE_WORD..], spare);
    }

    /// Locks the home groups and the rows of all keys, in order; `None` if a row changed hands meanwhile.
    fn lock_all<'a>(&'a self, writer: &mut Writer<'a>, keys: &[Key<'_>]) -> Result<Option<Vec<Option<u32>>>, Refusal> {
        let (segment, space) = (&self.segment, &self.space);
        let mut homes: Vec<u32> = keys.iter().map(|key| space.home(key.hash)).collect();
        homes.sort_unstable();
        homes.dedup();
        for home in homes {
            writer.lock(Held::Group(space.id, home), &space.group(segment, home).lock)?;
        }
        point("group-locked");
        let found: Vec<Option<u32>> = keys.iter().map(|key| space.find(segment, *key).map(|found| found.row)).collect();
        let mut rows: Vec<u32> = found.iter().flatten().copied().collect();
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            let Some(header) = space.header(segment, row) else {
                return Ok(None);
            };
            writer.lock(Held::Row(space.id, row), &header.lock)?;
        }
        point("row-locked");
        let steady = found.iter().zip(keys).all(|(row, key)| {
            row.is_none_or(|row| row::is_live(self.sequence(row)) && space.has_key(segment, row, *key))
        });
        Ok(steady.then_some(found))
    }

    /// Reads several rows as of one instant; `out` is told which key it is at. It may be told again from the start.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn read_many(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        keys: &[&[u8]],
        out: &mut dyn FnMut(usize, RowWords<'_>),
    ) -> Result<(), Refusal> {
        let hashed: Vec<Key<'_>> = keys.iter().map(|key| self.key(key)).collect();
        let done = with_scratch(self.row_words(), |scratch| {
            (0..OPTIMISM).any(|_| self.try_read_many(now_ms, &hashed, out, scratch))
        });
        self.check_current()?;
        if done {
            return Ok(());
        }
        with_scratch(self.row_words(), |scratch| {
            self.with_room(patience, now_ms, |writer| {
                let held = writer.held();
                let step = self.read_many_locked(writer, now_ms, &hashed, out, scratch);
                writer.unlock_to(held);
                step
            })
        })
    }

    fn read_many_locked<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>],
        out: &mut dyn FnMut(usize, RowWords<'_>),
        scratch: &mut [u64],
    ) -> Result<Step, Refusal> {
        self.check_current()?;
        let Some(found) = self.lock_all(writer, keys)? else {
            return Ok(Step::Again);
        };
        for (i, (row, key)) in found.iter().zip(keys).enumerate() {
            let present = row.is_some_and(|row| self.load(row, *key, now_ms, scratch));
            out(i, RowWords { present, words: scratch });
        }
        Ok(Step::Done)
    }

    fn try_read_many(
        &self,
        now_ms: u64,
        keys: &[Key<'_>],
        out: &mut dyn FnMut(usize, RowWords<'_>),
        scratch: &mut [u64],
    ) -> bool {
        let Ok(gate) = gate::sequence(&self.segment, &mut Attempt::default()) else {
            return false;
        };
        let mut seen = Vec::with_capacity(keys.len());
        for (i, key) in keys.iter().enumerate() {
            let Some(witness) = self.read_with_witness(*key, scratch) else {
                return false;
            };
            let present = matches!(witness, Witness::Row(..)) && !is_past(scratch[EXPIRE_WORD], now_ms);
            out(i, RowWords { present, words: scratch });
            seen.push(witness);
        }
        // Acquire: every row was read before any sequence is looked at again.
        fence(Ordering::Acquire);
        seen.into_iter().all(|witness| self.still(witness)) && gate::unchanged(&self.segment, gate)
    }

    fn read_with_witness(&self, key: Key<'_>, scratch: &mut [u64]) -> Option<Witness> {
        let home = self.space.home(key.hash);
        let group = self.space.group(&self.segment, home);
        let insertions = group.counts.load(Ordering::Acquire);
        match self.space.find(&self.segment, key) {
            Some(found) if row::is_live(found.sequence) => {
                self.copy(found.row, scratch);
                Some(Witness::Row(found.row, found.sequence))
            }
            Some(_) => None,
            None => {
                (group.lock.load(Ordering::Acquire) & lock::OWNER == 0).then_some(Witness::Absence(home, insertions))
            }
        }
    }

    fn still(&self, witness: Witness) -> bool {
        match witness {
            Witness::Row(row, sequence) => self.sequence(row) == sequence,
            Witness::Absence(home, insertions) => {
                let group = self.space.group(&self.segment, home);
                group.lock.load(Ordering::Acquire) & lock::OWNER == 0
                    && group.counts.load(Ordering::Acquire) == insertions
            }
        }
    }

    /// Reads rows from number `cursor` on until `out` was told of `count` of them, or a fair share of the table was
    /// looked at. Returns where to go on; 0 at the end. Every row that is present throughout is told of exactly once.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn scan(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        cursor: u64,
        count: usize,
        out: &mut dyn FnMut(&[u8], &[u64]),
    ) -> Result<u64, Refusal> {
        let end = u64::from(self.space.rows);
        let effort = (count as u64).saturating_mul(SCAN_EFFORT).max(1024);
        let last = cursor.saturating_add(effort).min(end);
        let (mut told, mut row) = (0, cursor);
        let mut key = Vec::new();
        while row < last && told < count {
            let present = with_scratch(self.row_words(), |scratch| {
                let present = self.read_row(patience, row as u32, scratch, &mut key)?;
                let told = present && !is_past(scratch[EXPIRE_WORD], now_ms);
                if told {
                    out(&key, scratch);
                }
                Ok(told)
            })?;
            told += usize::from(present);
            row += 1;
        }
        Ok(if row >= end { 0 } else { row })
    }

    /// Reads row number `row`; whether it is live.
    fn read_row(
        &self,
        patience: Option<Duration>,
        row: u32,
        scratch: &mut [u64],
        key: &mut Vec<u8>,
    ) -> Result<bool, Refusal> {
        for _ in 0..OPTIMISM {
            let mut attempt = Attempt::default();
            let gate = gate::sequence(&self.segment, &mut attempt)?;
            self.check_current()?;
            let Some(header) = self.space.header(&self.segment, row) else {
                return Ok(false);
            };
            let sequence = header.sequence.load(Ordering::Acquire);
            let live = row::is_live(sequence);
            let idle = live || header.lock.load(Ordering::Acquire) & lock::OWNER == 0;
            self.copy_with_key(row, header, scratch, key);
            fence(Ordering::Acquire);
            let steady = header.sequence.load(Ordering::Relaxed) == sequence && gate::unchanged(&self.segment, gate);
            if idle && steady {
                self.check_current()?;
                return Ok(live);
            }
            std::hint::spin_loop();
        }
        patiently(patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            self.check_current()?;
            let Some(header) = self.space.header(&self.segment, row) else {
                return Ok(false);
            };
            writer.lock(Held::Row(self.space.id, row), &header.lock)?;
            self.copy_with_key(row, header, scratch, key);
            let live = row::is_live(header.sequence.load(Ordering::Relaxed));
            if !live {
                self.space.set_hint(&self.segment, row);
            }
            Ok(live)
        })
    }

    fn copy_with_key(&self, row: u32, header: &row::Header, scratch: &mut [u64], key: &mut Vec<u8>) {
        self.copy(row, scratch);
        let len = row::key_len(header.meta.load(Ordering::Relaxed)).min(self.listing.spec.key_bytes as usize);
        let bytes: &[u8] = bytemuck::cast_slice(scratch);
        key.clear();
        key.extend_from_slice(&bytes[self.key_at()..self.key_at() + len]);
    }

    /// Deletes every row.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn clear(&self, patience: Option<Duration>) -> Result<(), Refusal> {
        patiently(patience, || {
            let mut gate = Gate::close(&self.segment)?;
            self.check_current()?;
            journal::carry_out_gated(gate.writer(), slot::op::CLEAR, [u64::from(self.space.id), 0]);
            Ok(())
        })
    }

    /// Frees expired rows among the next `rows` of the table's sweep; how many.
    pub(crate) fn sweep(segment: &Segment, index: usize, rows: u64, now_ms: u64) -> usize {
        let entry = segment.entry(index);
        if entry.expires.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let Ok(mut writer) = Writer::enter(segment) else {
            return 0;
        };
        let Some(space) = directory::space(segment, index) else {
            return 0;
        };
        let start = entry.sweep.fetch_add(rows, Ordering::Relaxed);
        (0..rows.min(u64::from(space.rows)))
            .map(|i| (start.wrapping_add(i) % u64::from(space.rows)) as u32)
            .filter(|&row| {
                let past = space.header(segment, row).is_some_and(|header| {
                    row::is_live(header.sequence.load(Ordering::Acquire))
                        && is_past(header.expire_at.load(Ordering::Relaxed), now_ms)
                });
                past && rows::free_expired(&mut writer, &space, row, now_ms)
            })
            .count()
    }
}

/// What shows later that nothing has changed.
#[derive(Clone, Copy)]
enum Witness {
    Row(u32, u64),
    Absence(u32, u32),
}

/// A buffer of the thread's for `words` words.
fn with_scratch<T>(words: usize, body: impl FnOnce(&mut [u64]) -> T) -> T {
    thread_local! {
        static SCRATCH: std::cell::Cell<Vec<u64>> = const { std::cell::Cell::new(Vec::new()) };
    }
    debug_assert!(words > BODY_WORD);
    // Taken out for the time of the call, so that a call within the call gets a buffer of its own.
    let mut scratch = SCRATCH.take();
    if scratch.len() < words {
        scratch.resize(words, 0);
    }
    let result = body(&mut scratch[..words]);
    SCRATCH.set(scratch);
    result
}
