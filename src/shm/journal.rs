//! The intent: what makes an operation on several words happen altogether or not at all.
//!
//! An operation writes down every change it is going to make, as absolute values, in its slot's journal, while it
//! holds the locks of all the rows. Then one store turns the journal to COMMITTED: that is the moment at which the operation has
//! happened. Then it applies what is written down, turns the journal back to IDLE, and lets go of the locks.
//!
//! | killed | recovery finds | and does |
//! |---|---|---|
//! | before COMMITTED | IDLE | gives new blocks back, frees the locks: the old state |
//! | anywhere in between | COMMITTED | applies everything (again), frees old blocks and locks: the new state |
//! | after IDLE | IDLE, no blocks listed | frees the locks |
//!
//! Applying, for one row or many:
//!
//! 1. every row's sequence = `begin`, odd: from here on no reader believes what it copied;
//! 2. the images replace the rows' words;
//! 3. the slot's count cells: before any row is free, so that the counts never say "full" of a space that is not;
//! 4. every inserted row is published in the index;
//! 5. every deleted row is taken out of it;
//! 6. the sequences of updated and inserted rows = `begin` + 1, even; deleted rows stay odd, their hints are set;
//! 7. the entries are forgotten, and then the old blocks are freed.
//!
//! A free row is nobody's business, so an insertion fills its row *before* it commits and has no image.
//!
//! A single aligned word needs none of this: it is stored, then the sequence goes up by 2; recovery
//! raises the sequence of every live row that it unlocks, in case the second step is missing.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use shm_layout::{
    KEYS_SPACE,
    heap::{BlockRef, CHUNK_BYTES},
    keys::KEY_BYTES,
    row::EXPIRE_WORD,
    slot::{Entry, Journal, NO_CELL, Slot, action, journal, op},
};

use super::{
    crash::point,
    directory, evict, heap, keys,
    locks::Writer,
    protocol::sequence,
    segment::{Refusal, Segment},
    space::{Found, Space},
    transaction, undo,
};

/// One row of an intent, before it is written down.
pub(crate) struct RowChange {
    pub(crate) action: u32,
    pub(crate) row: u32,
    pub(crate) meta: u32,
    pub(crate) sequence: u64,
    pub(crate) hash: u64,
    pub(crate) cells: [(u32, i64); 2],
}

impl RowChange {
    /// No change of counts.
    pub(crate) const NO_COUNTS: [(u32, i64); 2] = [(NO_CELL, 0), (NO_CELL, 0)];
}

/// Bytes that an entry and its image take in a chunk of a large intent.
const CHUNK_ENTRY: usize = size_of::<Entry>() + 8 * 8;
/// Entries in one chunk of a large intent.
pub(crate) const CHUNK_ENTRIES: usize = CHUNK_BYTES / CHUNK_ENTRY;

/// Whether the slot's operation has happened.
pub(crate) fn is_committed(slot: &Slot) -> bool {
    // Acquire: with the state, everything that was written down is seen.
    slot.journal.state.load(Ordering::Acquire) == journal::COMMITTED
}

/// Writes an intent down, entry by entry.
pub(crate) struct Intent {
    entries: u32,
    image_words: usize,
    /// The directory block of a large intent.
    chunks: Option<BlockRef>,
}

impl Intent {
    /// An intent whose entries lie in the slot.
    pub(crate) fn new() -> Self {
        Self { entries: 0, image_words: 0, chunks: None }
    }

    /// An intent whose entries lie in the chunks of this tree.
    pub(crate) fn in_chunks(tree: BlockRef) -> Self {
        Self { entries: 0, image_words: 0, chunks: Some(tree) }
    }

    /// How many words still fit into the slot's own image area.
    pub(crate) fn room(&self, slot: &Slot) -> usize {
        slot.journal.image.len() - self.image_words
    }

    /// Adds an entry whose image, from word `first` of the row on, goes to the slot's image area, or to the chunk.
    #[inline]
    pub(crate) fn push(
        &mut self,
        segment: &Segment,
        slot: &Slot,
        space: u32,
        change: &RowChange,
        first: usize,
        image: &[u64],
    ) {
        if self.chunks.is_some() {
            let at = self.next_at(segment, slot) + size_of::<Entry>() as u64;
            return self.push_at(segment, slot, space, change, first, image, at);
        }
        let area = &slot.journal.image[self.image_words..][..image.len()];
        store_words(area, image);
        let at = segment.mem().offset_of(&slot.journal.image[0]) + 8 * self.image_words as u64;
        self.image_words += image.len();
        write(&slot.journal.entry[self.entries as usize], space, change, (first, image.len(), at));
        self.entries += 1;
    }

    /// Adds an entry whose image goes to `at`.
    #[expect(clippy::too_many_arguments, reason = "the words of one entry")]
    pub(crate) fn push_at(
        &mut self,
        segment: &Segment,
        slot: &Slot,
        space: u32,
        change: &RowChange,
        first: usize,
        image: &[u64],
        at: u64,
    ) {
        store_words(segment.mem().slice(at, image.len()), image);
        write(segment.mem().at(self.next_at(segment, slot)), space, change, (first, image.len(), at));
        self.entries += 1;
    }

    fn next_at(&self, segment: &Segment, slot: &Slot) -> u64 {
        match self.chunks {
            Some(tree) => chunk_entry_at(segment, tree, self.entries),
            None => segment.mem().offset_of(&slot.journal.entry[self.entries as usize]),
        }
    }

    /// Commits, applies, and clears the journal. The caller holds every lock and goes on to free them.
    ///
    /// # Errors
    ///
    /// [`Refusal::OutOfMemory`] inside a transaction whose log has no room: nothing was changed, the rows that were to be
    /// inserted can be found as free ones, and no blocks are listed any more, so that the next operation under this writer frees none of them.
    #[inline]
    pub(crate) fn carry_out(self, writer: &Writer<'_>, space: &Space) -> Result<(), Refusal> {
        let slot = writer.slot();
        let journal = &slot.journal;
        journal.op.store(op::ROWS, Ordering::Relaxed);
        journal.entries.store(self.entries, Ordering::Relaxed);
        journal.args[0].store(self.chunks.map_or(0, |tree| tree.0), Ordering::Relaxed);
        if transaction::is_open(slot)
            && let Err(refusal) = undo::log_operation(writer, space, self.entries)
        {
            set_hints_back(writer.segment(), slot, space);
            writer.give_back_blocks();
            return Err(refusal);
        }
        commit(journal);
        apply_rows(writer.segment(), slot, space, false);
        finish_rows(writer.segment(), slot);
        Ok(())
    }
}

#[inline(always)]
fn store_words(to: &[AtomicU64], from: &[u64]) {
    for (word, &value) in to.iter().zip(from) {
        word.store(value, Ordering::Relaxed);
    }
}

/// Writes an entry down, whose image goes to the row from a word on, has so many words, and lies at this place.
#[inline(always)]
fn write(entry: &Entry, space: u32, change: &RowChange, (first, words, at): (usize, usize, u64)) {
    entry.space.store(space, Ordering::Relaxed);
    entry.action.store(change.action, Ordering::Relaxed);
    entry.row.store(change.row, Ordering::Relaxed);
    entry.meta.store(change.meta, Ordering::Relaxed);
    entry.image_first.store(first as u32, Ordering::Relaxed);
    entry.image_words.store(words as u32, Ordering::Relaxed);
    entry.image_at.store(at, Ordering::Relaxed);
    entry.hash.store(change.hash, Ordering::Relaxed);
    entry.begin.store(change.sequence | 1, Ordering::Relaxed);
    for (i, &(cell, count)) in change.cells.iter().enumerate() {
        entry.cells[i].store(cell, Ordering::Relaxed);
        entry.counts[i].store(count, Ordering::Relaxed);
    }
}

/// Makes the rows findable again that a refused operation would have inserted.
#[cold]
fn set_hints_back(segment: &Segment, slot: &Slot, space: &Space) {
    let entries = (0..slot.journal.entries.load(Ordering::Relaxed)).filter_map(|index| entry(segment, slot, index));
    entries
        .filter(|entry| entry.action.load(Ordering::Relaxed) == action::INSERT)
        .for_each(|entry| space.set_hint(segment, entry.row.load(Ordering::Relaxed)));
}

/// Frees the old blocks of rows that were changed, and clears the journal. The entries first: images may lie in those
/// blocks, and a block that is free may be somebody else's before a redo would read it. Inside a transaction the blocks stay: its
/// log lists them.
#[inline]
fn finish_rows(segment: &Segment, slot: &Slot) {
    slot.journal.entries.store(0, Ordering::Release);
    point("applied");
    if !transaction::is_open(slot) {
        heap::free_old(segment, slot);
    }
    point("blocks-freed");
    clear(&slot.journal);
}

/// The place of entry `index` of a large intent.
fn chunk_entry_at(segment: &Segment, tree: BlockRef, index: u32) -> u64 {
    let chunk = heap::chunk(segment, tree, index as usize / CHUNK_ENTRIES);
    heap::contents_at(chunk) + (index as usize % CHUNK_ENTRIES * CHUNK_ENTRY) as u64
}

/// Commits an operation of the gate, carries it out and clears the journal.
pub(crate) fn carry_out_gated(writer: &Writer<'_>, op: u32, args: [u64; 2]) {
    let slot = writer.slot();
    slot.journal.op.store(op, Ordering::Relaxed);
    slot.journal.args[0].store(args[0], Ordering::Relaxed);
    slot.journal.args[1].store(args[1], Ordering::Relaxed);
    commit(&slot.journal);
    apply_gated(writer.segment(), slot);
    clear(&slot.journal);
}

#[inline(always)]
fn commit(journal: &Journal) {
    point("before-commit");
    // Release: whoever sees COMMITTED sees all that was written down.
    journal.state.store(journal::COMMITTED, Ordering::Release);
    fence(Ordering::Release);
    point("committed");
}

/// Forgets the operation. The lists first: blocks that are listed in an IDLE journal would be given back.
#[inline(always)]
fn clear(journal: &Journal) {
    journal.new_len.store(0, Ordering::Release);
    journal.old_len.store(0, Ordering::Release);
    journal.state.store(journal::IDLE, Ordering::Release);
}

/// Carries a dead slot's committed operation out.
#[cold]
pub(crate) fn redo(segment: &Segment, slot: &Slot) {
    if slot.journal.op.load(Ordering::Relaxed) == op::ROWS {
        if let Some(space) = first_space(segment, slot) {
            apply_rows(segment, slot, &space, true);
        }
        finish_rows(segment, slot);
    } else {
        apply_gated(segment, slot);
        clear(&slot.journal);
    }
}

fn first_space(segment: &Segment, slot: &Slot) -> Option<Space> {
    let first = entry(segment, slot, 0).filter(|_| slot.journal.entries.load(Ordering::Relaxed) > 0)?;
    segment.space(first.space.load(Ordering::Relaxed))
}

fn apply_gated(segment: &Segment, slot: &Slot) {
    let arg = slot.journal.args[0].load(Ordering::Relaxed);
    match slot.journal.op.load(Ordering::Relaxed) {
        op::CLEAR => {
            if let Some(space) = segment.space(arg as u32) {
                space.clear(segment);
            }
        }
        op::DROP => {
            let generation = slot.journal.args[1].load(Ordering::Relaxed);
            directory::finish_drop(segment, arg as usize, generation as u32);
        }
        op::FLUSH => keys::finish_flush(segment, arg as u8),
        _ => {}
    }
}

/// Entry `index`; `None` if there cannot be one, as only damage explains.
#[inline]
pub(super) fn entry<'a>(segment: &'a Segment, slot: &'a Slot, index: u32) -> Option<&'a Entry> {
    match slot.journal.args[0].load(Ordering::Relaxed) {
        0 => slot.journal.entry.get(index as usize),
        tree => {
            let at = chunk_entry_at(segment, BlockRef(tree), index);
            (at.is_multiple_of(8) && segment.in_arena(at, size_of::<Entry>() as u64)).then(|| segment.mem().at(at))
        }
    }
}

/// A row of an intent.
#[derive(Clone, Copy)]
struct Listed<'a> {
    entry: &'a Entry,
    found: Found<'a>,
}

impl Listed<'_> {
    fn action(&self) -> u32 {
        self.entry.action.load(Ordering::Relaxed)
    }

    fn hash(&self) -> u64 {
        self.entry.hash.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn begin(&self) {
        sequence::begin(&self.found.header.sequence, self.entry.begin.load(Ordering::Relaxed));
    }

    #[inline(always)]
    fn fill(&self, segment: &Segment) {
        self.found.header.meta.store(self.entry.meta.load(Ordering::Relaxed), Ordering::Relaxed);
        copy_image(segment, self.entry, &self.found);
    }

    #[inline(always)]
    fn count(&self, slot: &Slot) {
        for (cell, count) in self.entry.cells.iter().zip(&self.entry.counts) {
            // `NO_CELL` is none.
            if let Some(cell) = slot.counts.get(cell.load(Ordering::Relaxed) as usize) {
                cell.store(count.load(Ordering::Relaxed), Ordering::Release);
            }
        }
    }

    #[inline(always)]
    fn publish(&self, segment: &Segment, slot: &Slot, space: &Space, redo: bool) {
        if self.action() == action::INSERT {
            space.publish(segment, self.hash(), self.found.row, redo);
            count_key(segment, slot, space, 1);
        }
    }

    #[inline(always)]
    fn unpublish(&self, segment: &Segment, space: &Space, redo: bool) {
        if self.action() == action::DELETE {
            space.unpublish(segment, self.hash(), self.found.row, redo);
        }
    }

    #[inline(always)]
    fn end(&self, segment: &Segment, slot: &Slot, space: &Space) {
        if self.action() != action::DELETE {
            return sequence::end(&self.found.header.sequence, self.entry.begin.load(Ordering::Relaxed));
        }
        space.set_hint(segment, self.found.row);
        let freed = slot.freed_rows.load(Ordering::Relaxed);
        // Release: who finds the count unchanged, later, knows that no row was freed in between.
        slot.freed_rows.store(freed.wrapping_add(1), Ordering::Release);
        count_key(segment, slot, space, -1);
    }
}

/// The rows of an intent. The first is looked up once: in most intents it is the only one.
struct Rows<'a> {
    segment: &'a Segment,
    slot: &'a Slot,
    space: &'a Space,
    entries: u32,
    first: Option<Listed<'a>>,
}

impl<'a> Rows<'a> {
    #[inline(always)]
    fn of(segment: &'a Segment, slot: &'a Slot, space: &'a Space) -> Self {
        let entries = slot.journal.entries.load(Ordering::Relaxed);
        let rows = Self { segment, slot, space, entries, first: None };
        let first = if entries > 0 { entry(segment, slot, 0) } else { None };
        Self { first: first.and_then(|entry| rows.listed(entry)), ..rows }
    }

    #[inline(always)]
    fn listed(&self, entry: &'a Entry) -> Option<Listed<'a>> {
        Some(Listed { entry, found: self.space.row(self.segment, entry.row.load(Ordering::Relaxed))? })
    }

    #[inline(always)]
    fn each(&self, mut step: impl FnMut(Listed<'a>)) {
        self.first.into_iter().for_each(&mut step);
        if self.entries > 1 {
            // A damaged count may be larger than any intent is.
            let entries = (1..self.entries).map_while(|index| entry(self.segment, self.slot, index));
            entries.filter_map(|entry| self.listed(entry)).for_each(step);
        }
    }
}

#[inline]
fn apply_rows(segment: &Segment, slot: &Slot, space: &Space, redo: bool) {
    let rows = Rows::of(segment, slot, space);
    rows.each(|row| row.begin());
    sequence::doubted();
    point("row-odd");
    rows.each(|row| row.fill(segment));
    point("row-filled");
    rows.each(|row| row.count(slot));
    point("counted");
    rows.each(|row| row.publish(segment, slot, space, redo));
    point("published");
    rows.each(|row| row.unpublish(segment, space, redo));
    point("unpublished");
    rows.each(|row| row.end(segment, slot, space));
    point("row-even");
}

/// Counts the bytes of a key's record. One that is counted again after a death is put right by a recount.
pub(super) fn count_key(segment: &Segment, slot: &Slot, space: &Space, keys: i64) {
    if space.id == KEYS_SPACE {
        evict::account(segment, slot, keys * KEY_BYTES as i64);
    }
}

fn copy_image(segment: &Segment, entry: &Entry, found: &Found<'_>) {
    let words = entry.image_words.load(Ordering::Relaxed) as usize;
    if words == 0 {
        return;
    }
    let (first, at) = (entry.image_first.load(Ordering::Relaxed) as usize, entry.image_at.load(Ordering::Relaxed));
    let target = found.words.get(first..first.saturating_add(words));
    let sane = first >= EXPIRE_WORD && at.is_multiple_of(8) && segment.mem().contains(at, 8 * words as u64);
    if let Some(target) = target.filter(|_| sane) {
        for (to, from) in target.iter().zip(segment.mem().slice::<AtomicU64>(at, words)) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}
