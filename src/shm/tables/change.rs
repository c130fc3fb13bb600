//! Changes of one row, the room for them, and the images in which an intent keeps what a row becomes.
//!
//! A change of a single word is stored as it is; any other goes through an intent. The image of a large row does not fit into the
//! slot's area: it stands in spare blocks of the heap, which are taken before anything is locked.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use shm_layout::{
    heap::{BlockRef, MAX_CONTENTS},
    row::{self, EXPIRE_WORD},
    slot::{self, Held, IMAGE_WORDS, action},
};

use super::{
    super::{
        arena,
        crash::point,
        gate::{self, Gate},
        heap,
        journal::{Intent, RowChange},
        locks::{Writer, patiently},
        rows::{self, Room, claim_free, is_past},
        segment::Refusal,
        space::{Found, Key},
    },
    RowWords, Tables, Verdict, copy, with_scratch,
};

/// How an attempt ended.
pub(super) enum Step {
    Done,
    Again,
    /// So many free rows were needed.
    NoRoom(u64),
}

impl Tables {
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
    pub(super) fn with_room<'a>(
        &'a self,
        patience: Option<Duration>,
        now_ms: u64,
        mut attempt: impl FnMut(&mut Writer<'a>) -> Result<Step, Refusal>,
    ) -> Result<(), Refusal> {
        let mut undecided = 0;
        let mut reclaimed = false;
        loop {
            let outcome = patiently(&self.segment, patience, || {
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
                    gate::behind(&self.segment, patience, |_| Ok(arena::reclaim(&self.segment)))?;
                    reclaimed = true;
                    continue;
                }
                outcome => return outcome.map(|_| ()),
            };
            if undecided == 3 {
                let alone = |gate: &mut Gate<'a>| self.modify_alone(gate, now_ms, needed, &mut attempt);
                return gate::behind(&self.segment, patience, alone);
            }
            match patiently(&self.segment, patience, || {
                rows::make_room(&mut Writer::enter(&self.segment)?, &self.space, needed, now_ms, &|| {
                    self.check_current()
                })
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
        gate: &mut Gate<'a>,
        now_ms: u64,
        needed: u64,
        attempt: &mut dyn FnMut(&mut Writer<'a>) -> Result<Step, Refusal>,
    ) -> Result<(), Refusal> {
        self.check_current()?;
        if rows::is_surely_full(&self.segment, &self.space, needed) {
            return Err(Refusal::Full);
        }
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
        let spare = self.take_spares(writer, 1)?;
        let Some(found) = self.space.find(&self.segment, key) else {
            let step = self.try_insert(writer, key, change, scratch);
            writer.unlock_to(held);
            return step;
        };
        writer.lock(Held::Row(self.space.id, found.row), &found.header.lock)?;
        point("row-locked");
        let Some(found) = found.locked(&self.space, &self.segment, key) else {
            writer.unlock_to(held);
            return Ok(Step::Again);
        };
        let changed = self.change_row(writer, now_ms, key, &found, change, scratch, spare);
        writer.unlock_to(held);
        changed.map(|()| Step::Done)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    fn change_row(
        &self,
        writer: &Writer<'_>,
        now_ms: u64,
        key: Key<'_>,
        found: &Found<'_>,
        change: &mut dyn FnMut(RowWords<'_>) -> Verdict,
        scratch: &mut [u64],
        spare: Vec<BlockRef>,
    ) -> Result<(), Refusal> {
        let present = self.load(found.words, key, now_ms, scratch);
        match change(RowWords { present, words: scratch }) {
            Verdict::Leave => Ok(()),
            Verdict::Remove if !present => Ok(()),
            Verdict::Remove => {
                let mut intent = Intent::new();
                rows::list_deletion(writer, &self.space, found, (0, key.hash), &mut intent, 0);
                intent.carry_out(writer, &self.space)
            }
            Verdict::Write => self.store(writer, key, found, scratch, spare),
        }
    }

    /// Loads a locked row, or zeros and its key if it has expired; whether it is there.
    pub(super) fn load(&self, words: &[AtomicU64], key: Key<'_>, now_ms: u64, scratch: &mut [u64]) -> bool {
        copy(words, scratch);
        let present = !is_past(scratch[EXPIRE_WORD], now_ms);
        if !present {
            self.fresh(key, scratch);
        }
        present
    }

    /// A new row: zeros and the key.
    pub(super) fn fresh(&self, key: Key<'_>, scratch: &mut [u64]) {
        scratch.fill(0);
        let at = self.key_at();
        bytemuck::cast_slice_mut::<u64, u8>(scratch)[at..at + key.bytes.len()].copy_from_slice(key.bytes);
    }

    fn store(
        &self,
        writer: &Writer<'_>,
        key: Key<'_>,
        found: &Found<'_>,
        scratch: &[u64],
        spare: Vec<BlockRef>,
    ) -> Result<(), Refusal> {
        let words = found.words;
        rows::note_expiry(&self.segment, &self.space, scratch[EXPIRE_WORD]);
        let differs = |&i: &usize| words[i].load(Ordering::Relaxed) != scratch[i];
        let Some(first) = (EXPIRE_WORD..scratch.len()).find(differs) else {
            return Ok(());
        };
        let last = (first..scratch.len()).rev().find(differs).unwrap_or(first);
        if first == last {
            return rows::store_word(writer, &self.space, found, first, scratch[first]);
        }
        let mut intent = Intent::new();
        self.list_image(
            writer,
            &mut intent,
            &update_of(found, key),
            first,
            &scratch[first..=last],
            &mut spare.into_iter(),
        );
        intent.carry_out(writer, &self.space)
    }

    /// Blocks for all images that the slot's area may not hold. They go with the operation, used or not.
    pub(super) fn take_spares(&self, writer: &Writer<'_>, rows: usize) -> Result<Vec<BlockRef>, Refusal> {
        let image = self.row_words() - EXPIRE_WORD;
        if image * rows <= IMAGE_WORDS {
            return Ok(Vec::new());
        }
        let pieces = image.div_ceil(MAX_CONTENTS / 8);
        let bytes = (8 * image).min(MAX_CONTENTS / 8 * 8);
        let take = |_| {
            let block = heap::take(writer, bytes).ok_or(Refusal::OutOfMemory)?;
            heap::list_old(writer.slot(), block, heap::Form::Plain);
            Ok(block)
        };
        (0..rows * pieces).map(take).collect()
    }

    pub(super) fn list_update(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        found: &Found<'_>,
        scratch: &[u64],
        spare: &mut dyn Iterator<Item = BlockRef>,
    ) {
        rows::note_expiry(&self.segment, &self.space, scratch[EXPIRE_WORD]);
        let change = update_of(found, key);
        self.list_image(writer, intent, &change, EXPIRE_WORD, &scratch[EXPIRE_WORD..], spare);
    }

    /// Adds an image to an intent: into the slot if there is room for all of it, else into spare blocks, in two pieces if it
    /// is larger than a block.
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
        if image.len() <= intent.room(slot) {
            return intent.push(segment, slot, self.space.id, change, first, image);
        }
        while !image.is_empty() {
            let block = spare.next().expect("there are as many spare blocks as the largest images need");
            let here = image.len().min(MAX_CONTENTS / 8);
            intent.push_at(segment, slot, self.space.id, change, first, &image[..here], heap::contents_at(block));
            (first, image) = (first + here, &image[here..]);
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
        intent.carry_out(writer, &self.space)?;
        Ok(Step::Done)
    }

    /// Fills a free row and adds its publication to an intent that makes `earlier` rows already.
    pub(super) fn list_insert(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        free: &rows::FreeRow,
        scratch: &[u64],
        earlier: i64,
    ) {
        rows::note_expiry(&self.segment, &self.space, scratch[EXPIRE_WORD]);
        rows::fill(&self.segment, &self.space, free, scratch);
        let slot = writer.slot();
        let cell = slot::row_cell(self.space.id);
        let counted = slot.counts[cell].load(Ordering::Relaxed);
        let change = RowChange {
            action: action::INSERT,
            row: free.row,
            meta: row::meta(key.bytes.len(), 0),
            sequence: free.sequence,
            hash: key.hash,
            cells: [(cell as u32, counted.wrapping_add(1 + earlier)), RowChange::NO_COUNTS[1]],
        };
        intent.push(&self.segment, slot, self.space.id, &change, 0, &[]);
    }
}

/// The change of words of a locked row.
#[inline(always)]
fn update_of(found: &Found<'_>, key: Key<'_>) -> RowChange {
    RowChange {
        action: action::UPDATE,
        row: found.row,
        meta: found.header.meta.load(Ordering::Relaxed),
        sequence: found.sequence,
        hash: key.hash,
        cells: RowChange::NO_COUNTS,
    }
}
