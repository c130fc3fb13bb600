//! The value heap: blocks of forty-one sizes in pages of the arena.
//!
//! A block's first word is the truth: its generation, whether it is in use, and which slot took it. A page's bitmap is a hint.
//!
//! *Taking* a block: write (block, generation) into the journal; CAS the word from (g, FREE) to (g, USED by me); take the
//! hint away, which a death in between leaves for the next one to find wrong. A rival who takes the same block wins or loses that CAS; the word says who has it, so the recovery of a
//! slot that only wrote it down cannot free the rival's block.
//!
//! *Freeing*: CAS from (g, USED) to (g + 1, FREE), then the hint is set. A repeat finds another generation and does
//! nothing but set the hint again, which may have been missing.
//!
//! A value beyond one block is a *tree*: a directory block that counts and names its chunks. The directory is written
//! into the journal; the chunks are written into the directory, each before it is taken. Chunks are freed before their directory.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use shm_layout::{
    heap::{
        BLOCK_ALIGN, BLOCK_HEAD, BlockRef, CHUNK_BYTES, MAX_CONTENTS, PAGE_BYTES, PAGE_HEAD, WHOLE_PAGE, block,
        block_bytes, blocks, class_for, kind,
    },
    slot::{BLOCKS, BlockEntry, Slot},
};

use super::{
    arena,
    crash::point,
    evict,
    fields::{self, MAX_DEPTH},
    locks::Writer,
    segment::Segment,
    space::equal,
};

/// Heap classes, the one of whole pages included.
pub(crate) const CLASS_COUNT: usize = WHOLE_PAGE as usize + 1;
/// What a block is, and so which others go with it. The numbers stand in journals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A block by itself.
    Plain = 0,
    /// A directory of the chunks of a long value.
    Chunks = 1,
    /// A list of blocks.
    Ledger = 2,
    /// A node of a tree of fields, and all that hangs on it.
    Fields = 3,
    /// A list of ledgers.
    Shelf = 4,
}

impl Form {
    /// The form of contents of `len` bytes.
    pub(crate) fn of_len(len: usize) -> Self {
        if len > CHUNK_BYTES { Self::Chunks } else { Self::Plain }
    }

    fn of_word(word: u64) -> Self {
        match word {
            1 => Self::Chunks,
            2 => Self::Ledger,
            3 => Self::Fields,
            4 => Self::Shelf,
            _ => Self::Plain,
        }
    }
}

/// The longest contents of a tree.
pub(crate) const MAX_TREE: usize = (MAX_CONTENTS / 8 - 1) * CHUNK_BYTES;

/// Where the contents of a block start.
pub(crate) fn contents_at(block: BlockRef) -> u64 {
    block.at() + BLOCK_HEAD
}

/// The words of a block's contents; `None` if what claims to be a block lies outside of the arena.
#[inline]
pub(crate) fn contents(segment: &Segment, block: BlockRef, len: usize) -> Option<&[AtomicU64]> {
    let at = contents_at(block);
    let inside = at > segment.geometry().arena_at && segment.mem().contains(at, len.next_multiple_of(8) as u64);
    inside.then(|| segment.mem().slice(at, len.div_ceil(8)))
}

/// Chunk `index` of a tree.
pub(crate) fn chunk(segment: &Segment, tree: BlockRef, index: usize) -> BlockRef {
    let words = contents(segment, tree, MAX_CONTENTS.min(8 * (index + 2)));
    BlockRef(words.and_then(|words| words.get(index + 1)).map_or(0, |word| word.load(Ordering::Acquire)))
}

/// Takes a block for `len` bytes and lists it as new; `None` if there is no room.
pub(crate) fn take(writer: &Writer<'_>, len: usize) -> Option<BlockRef> {
    let slot = writer.slot();
    let listed = slot.journal.new_len.load(Ordering::Relaxed) as usize;
    let entry = slot.journal.new.get(listed)?;
    let block = take_noted(writer, class_for(len)?, &mut |block| {
        entry.tree.store(Form::Plain as u64, Ordering::Relaxed);
        entry.block.store(block.0, Ordering::Relaxed);
        // Release: the entry is complete before it counts.
        slot.journal.new_len.store(listed as u32 + 1, Ordering::Release);
        point("block-listed");
    });
    if block.is_none() {
        writer.segment().wanted().store(len as u64, Ordering::Relaxed);
        slot.journal.new_len.store(listed as u32, Ordering::Release);
    }
    point("block-taken");
    block
}

/// A list of blocks in a block, for operations with more of them than a journal has room for; as a shelf, a list of such lists.
pub(crate) struct Ledger {
    block: BlockRef,
}

/// Blocks that a ledger lists.
const LEDGER_ENTRIES: usize = (MAX_CONTENTS - 8) / size_of::<BlockEntry>();

impl Ledger {
    /// Takes a block for a ledger of new blocks, which go with it if the operation is not committed; `None` if there is
    /// no room.
    pub(crate) fn of_new(writer: &Writer<'_>) -> Option<Self> {
        Self::of_new_as(writer, Form::Ledger)
    }

    /// As [`Ledger::of_new`], for a shelf of ledgers of new blocks.
    pub(crate) fn shelf_of_new(writer: &Writer<'_>) -> Option<Self> {
        Self::of_new_as(writer, Form::Shelf)
    }

    fn of_new_as(writer: &Writer<'_>, form: Form) -> Option<Self> {
        let ledger = Self::of_old(writer)?;
        let listed = writer.slot().journal.new_len.load(Ordering::Relaxed) as usize - 1;
        // Release: the ledger is empty before recovery would look into it.
        writer.slot().journal.new[listed].tree.store(form as u64, Ordering::Release);
        Some(ledger)
    }

    /// Takes a block for a ledger of old blocks. It is itself new, and goes if the operation is not committed; what it
    /// lists is in use then, and stays.
    pub(crate) fn of_old(writer: &Writer<'_>) -> Option<Self> {
        take(writer, MAX_CONTENTS).map(|block| Self::in_block(writer.segment(), block))
    }

    /// An empty ledger in a block of [`MAX_CONTENTS`] that was taken for it.
    pub(crate) fn in_block(segment: &Segment, block: BlockRef) -> Self {
        segment.mem().word(contents_at(block)).store(0, Ordering::Relaxed);
        Self { block }
    }

    /// The block itself.
    pub(crate) fn block(&self) -> BlockRef {
        self.block
    }

    fn len<'a>(&self, segment: &'a Segment) -> &'a AtomicU64 {
        segment.mem().word(contents_at(self.block))
    }

    /// Whether there is room for another two blocks.
    pub(crate) fn has_room(&self, segment: &Segment) -> bool {
        (self.len(segment).load(Ordering::Relaxed) as usize) + 2 <= LEDGER_ENTRIES
    }

    /// Lists a block.
    pub(crate) fn list(&self, segment: &Segment, block: BlockRef, form: Form) {
        let len = self.len(segment);
        let listed = len.load(Ordering::Relaxed);
        let entry = ledger_entry(segment, self.block, listed as usize);
        entry.block.store(block.0, Ordering::Relaxed);
        entry.tree.store(form as u64, Ordering::Relaxed);
        len.store(listed + 1, Ordering::Release);
    }

    /// Moves the block that the journal listed last into the ledger.
    pub(crate) fn adopt_last(&self, writer: &Writer<'_>) {
        let journal = &writer.slot().journal;
        let last = journal.new_len.load(Ordering::Relaxed) - 1;
        let entry = &journal.new[last as usize];
        let block = BlockRef(entry.block.load(Ordering::Relaxed));
        // Listed in both for a moment: freeing twice is freeing once.
        self.list(writer.segment(), block, Form::of_word(entry.tree.load(Ordering::Relaxed)));
        journal.new_len.store(last, Ordering::Release);
    }
}

fn ledger_entry(segment: &Segment, ledger: BlockRef, index: usize) -> &BlockEntry {
    segment.mem().at(contents_at(ledger) + 8 + (index * size_of::<BlockEntry>()) as u64)
}

/// Takes a tree for `len` bytes and lists it as new; `None` if there is no room, and what was taken stays listed.
pub(crate) fn take_tree(writer: &Writer<'_>, len: usize) -> Option<BlockRef> {
    let segment = writer.segment();
    let chunks = len.div_ceil(CHUNK_BYTES);
    let bytes = 8 * (chunks + 1);
    let tree = take(writer, bytes)?;
    let words = contents(segment, tree, bytes)?;
    words[1..].iter().for_each(|word| word.store(0, Ordering::Relaxed));
    words[0].store(chunks as u64, Ordering::Relaxed);
    let listed = writer.slot().journal.new_len.load(Ordering::Relaxed) as usize - 1;
    // Release: the directory is empty before recovery would look into it.
    writer.slot().journal.new[listed].tree.store(Form::Chunks as u64, Ordering::Release);
    for (index, word) in words[1..].iter().enumerate() {
        let rest = len - index * CHUNK_BYTES;
        let class = class_for(rest.min(CHUNK_BYTES))?;
        let taken = take_noted(writer, class, &mut |block| word.store(block.0, Ordering::Release));
        if taken.is_none() {
            writer.segment().wanted().store(len as u64, Ordering::Relaxed);
            word.store(0, Ordering::Release);
            return None;
        }
    }
    Some(tree)
}

/// Takes what `len` bytes need, a block or a tree, and lists it as new; `None` if there is no room.
pub(crate) fn take_formed(writer: &Writer<'_>, len: usize) -> Option<BlockRef> {
    match Form::of_len(len) {
        Form::Chunks => take_tree(writer, len),
        _ => take(writer, len),
    }
}

fn take_noted(writer: &Writer<'_>, class: u32, note: &mut dyn FnMut(BlockRef)) -> Option<BlockRef> {
    let block = find_and_take(writer, class, note)?;
    evict::account(writer.segment(), writer.slot(), block_bytes(class)? as i64);
    Some(block)
}

fn find_and_take(writer: &Writer<'_>, class: u32, note: &mut dyn FnMut(BlockRef)) -> Option<BlockRef> {
    let segment = writer.segment();
    let cursor = segment.heap_cursor(class);
    let pages = segment.geometry().arena_pages as u32;
    let start = match cursor.load(Ordering::Relaxed).checked_sub(1) {
        Some(page) => match take_from(writer, page, class, note) {
            Some(block) => return Some(block),
            // Freed blocks lie anywhere: on from here, so that every page has its turn.
            None => page,
        },
        // Each slot starts elsewhere, so that workers tend to have pages of their own.
        None => (writer.number().wrapping_mul(0x9e37_79b1) >> 8) % pages,
    };
    let hinted = (start..pages).chain(0..start).filter(|&page| {
        let desc = segment.page(page);
        desc.state.load(Ordering::Relaxed) == heap_state(class) && desc.hint.load(Ordering::Relaxed) != 0
    });
    for page in hinted {
        if let Some(block) = take_from(writer, page, class, note) {
            cursor.store(page + 1, Ordering::Relaxed);
            return Some(block);
        }
    }
    loop {
        let page = add_page(writer, class)?;
        cursor.store(page + 1, Ordering::Relaxed);
        // A rival may take all that a new page has, above all where that is one block.
        if let Some(block) = take_from(writer, page, class, note) {
            return Some(block);
        }
    }
}

fn heap_state(class: u32) -> u32 {
    kind::HEAP | (class << 8)
}

fn add_page(writer: &Writer<'_>, class: u32) -> Option<u32> {
    let (segment, slot) = (writer.segment(), writer.slot());
    let page = arena::claim_page(segment, slot, writer.number(), None)?;
    let base = segment.page_at(page);
    let bytes = block_bytes(class)?;
    let (start, count) = blocks(bytes);
    for index in 0..u64::from(count) {
        segment.mem().word(base + start + index * bytes).store(block::free(1), Ordering::Relaxed);
    }
    for (index, word) in hints(segment, page, count).iter().enumerate() {
        let here = (count - 64 * index as u32).min(64);
        word.store(u64::MAX >> (64 - here), Ordering::Relaxed);
    }
    segment.page(page).hint.store(1, Ordering::Relaxed);
    arena::keep_page(segment, slot, page, heap_state(class));
    Some(page)
}

fn hints(segment: &Segment, page: u32, count: u32) -> &[AtomicU64] {
    segment.mem().slice(segment.page_at(page) + PAGE_HEAD, count.div_ceil(64) as usize)
}

fn take_from(writer: &Writer<'_>, page: u32, class: u32, note: &mut dyn FnMut(BlockRef)) -> Option<BlockRef> {
    let segment = writer.segment();
    let desc = segment.page(page);
    if desc.state.load(Ordering::Acquire) != heap_state(class) {
        return None;
    }
    if let Some(block) = take_hinted(writer, page, class, note) {
        return Some(block);
    }
    // The page-wide hint goes away, and the blocks are looked at once more: a block is freed before the hint is set.
    desc.hint.store(0, Ordering::SeqCst);
    // SeqCst: either the blocks are looked at after one was freed, or who frees it finds the hint missing.
    fence(Ordering::SeqCst);
    let block = take_hinted(writer, page, class, note);
    if block.is_some() {
        desc.hint.store(1, Ordering::Release);
    }
    block
}

fn take_hinted(writer: &Writer<'_>, page: u32, class: u32, note: &mut dyn FnMut(BlockRef)) -> Option<BlockRef> {
    let segment = writer.segment();
    let bytes = block_bytes(class)?;
    let (start, count) = blocks(bytes);
    for (index, hint) in hints(segment, page, count).iter().enumerate() {
        let mut bits = hint.load(Ordering::Acquire);
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            let number = 64 * index as u64 + u64::from(bit);
            let at = segment.page_at(page) + start + number * bytes;
            let word = segment.mem().word(at);
            let seen = word.load(Ordering::Acquire);
            if block::is_used(seen) {
                // A stale hint. The journal must not name a block in use, which may be this slot's own, and alive; it names what
                // the block will be once it is free, so that its hint comes back should this process die here.
                note(BlockRef::new(at, block::generation(seen).wrapping_add(1)));
                drop_hint(hint, bit, word);
                continue;
            }
            let block = BlockRef::new(at, block::generation(seen));
            note(block);
            let free = block::free(block.generation());
            let used = block::used(block.generation(), writer.number());
            // AcqRel: the note and the hint come before, what the last user wrote has been seen.
            if word.compare_exchange(free, used, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                drop_hint(hint, bit, word);
                return Some(block);
            }
        }
    }
    None
}

/// Takes the hint of a block away, unless the block was freed meanwhile, perhaps before its hint was taken away.
fn drop_hint(hint: &AtomicU64, bit: u32, word: &AtomicU64) {
    hint.fetch_and(!(1 << bit), Ordering::AcqRel);
    if !block::is_used(word.load(Ordering::Acquire)) {
        hint.fetch_or(1 << bit, Ordering::AcqRel);
    }
}

/// Takes the block that was listed last off the list of new ones: something else names it by now.
pub(crate) fn adopt_last(slot: &Slot) {
    let listed = slot.journal.new_len.load(Ordering::Relaxed);
    slot.journal.new_len.store(listed.saturating_sub(1), Ordering::Release);
}

/// Lists a block as one that goes once the operation is committed.
pub(crate) fn list_old(slot: &Slot, block: BlockRef, form: Form) {
    let listed = slot.journal.old_len.load(Ordering::Relaxed) as usize;
    debug_assert!(listed < BLOCKS);
    let entry = &slot.journal.old[listed];
    entry.block.store(block.0, Ordering::Relaxed);
    entry.tree.store(form as u64, Ordering::Relaxed);
    slot.journal.old_len.store(listed as u32 + 1, Ordering::Release);
}

/// Frees the blocks of a committed operation that were listed as old.
#[inline]
pub(crate) fn free_old(segment: &Segment, slot: &Slot) {
    let listed = (slot.journal.old_len.load(Ordering::Acquire) as usize).min(BLOCKS);
    for entry in &slot.journal.old[..listed] {
        free_entry(segment, slot, entry, None);
    }
}

/// Gives the new blocks of an operation back that was not committed, and forgets its old ones.
pub(crate) fn give_back_new(segment: &Segment, slot: &Slot, number: u32) {
    let listed = (slot.journal.new_len.load(Ordering::Acquire) as usize).min(BLOCKS);
    for entry in &slot.journal.new[..listed] {
        free_entry(segment, slot, entry, Some(number));
    }
    slot.journal.new_len.store(0, Ordering::Release);
    slot.journal.old_len.store(0, Ordering::Release);
}

fn free_entry(segment: &Segment, slot: &Slot, entry: &BlockEntry, owner: Option<u32>) {
    let block = BlockRef(entry.block.load(Ordering::Relaxed));
    free_listed(segment, slot, block, entry.tree.load(Ordering::Acquire), owner);
}

/// Frees a block as a list names it, by the number of its form there. With `owner`, only if that slot took it.
pub(crate) fn free_listed(segment: &Segment, slot: &Slot, block: BlockRef, form: u64, owner: Option<u32>) {
    free(segment, slot, block, Form::of_word(form), owner);
}

/// As many blocks as there can be, and more.
pub(crate) fn most_blocks(segment: &Segment) -> u64 {
    segment.geometry().arena_pages * (PAGE_BYTES / BLOCK_ALIGN)
}

/// Frees a block and all that goes with it, what it names before itself: a repeat finds its way as long as there is something left.
/// With `owner`, only what that slot took.
pub(crate) fn free(segment: &Segment, slot: &Slot, block: BlockRef, form: Form, owner: Option<u32>) {
    each_within(segment, block, form, &mut |block| free_block(segment, slot, block, owner), &mut Limits::new(segment));
}

/// What a walk over blocks may still meet: so deep, and so many; beyond that there is only damage.
struct Limits {
    depth: usize,
    blocks: u64,
}

impl Limits {
    /// A shelf, a ledger, the nodes of a tree, a value of its own and its chunks; and no more blocks than there can be.
    fn new(segment: &Segment) -> Self {
        Self { depth: MAX_DEPTH + 4, blocks: most_blocks(segment) }
    }
}

/// Calls `with` for all that goes with a block, and then for the block itself.
fn each_within(segment: &Segment, block: BlockRef, form: Form, with: &mut dyn FnMut(BlockRef), limits: &mut Limits) {
    if form != Form::Plain && is_used(segment, block) {
        let mut each_part = |block: BlockRef, form: Form| {
            if limits.depth > 0 && limits.blocks > 0 {
                *limits = Limits { depth: limits.depth - 1, blocks: limits.blocks - 1 };
                each_within(segment, block, form, with, limits);
                limits.depth += 1;
            }
        };
        match form {
            Form::Plain => {}
            Form::Chunks => each_chunk(segment, block, &mut each_part),
            Form::Ledger | Form::Shelf => each_listed(segment, block, form, &mut each_part),
            Form::Fields => fields::each_part(segment, block, &mut each_part),
        }
    }
    with(block);
}

fn each_chunk(segment: &Segment, tree: BlockRef, with: &mut dyn FnMut(BlockRef, Form)) {
    let chunks = contents(segment, tree, 8).map_or(0, |words| words[0].load(Ordering::Acquire));
    for index in 0..(chunks as usize).min(MAX_CONTENTS / 8 - 1) {
        with(chunk(segment, tree, index), Form::Plain);
    }
}

fn each_listed(segment: &Segment, ledger: BlockRef, form: Form, with: &mut dyn FnMut(BlockRef, Form)) {
    if contents(segment, ledger, MAX_CONTENTS).is_none() {
        return;
    }
    let listed = segment.mem().word(contents_at(ledger)).load(Ordering::Acquire) as usize;
    for index in 0..listed.min(LEDGER_ENTRIES) {
        let entry = ledger_entry(segment, ledger, index);
        let block = BlockRef(entry.block.load(Ordering::Relaxed));
        let listed = Form::of_word(entry.tree.load(Ordering::Relaxed));
        // Ledgers stand on shelves, and nothing else does: the rest is damage.
        if (form == Form::Shelf) == (listed == Form::Ledger) && listed != Form::Shelf {
            with(block, listed);
        }
    }
}

fn is_used(segment: &Segment, block: BlockRef) -> bool {
    contents(segment, block, 8).is_some() && {
        let word = segment.mem().word(block.at()).load(Ordering::Acquire);
        block::is_used(word) && block::generation(word) == block.generation()
    }
}

fn free_block(segment: &Segment, slot: &Slot, block: BlockRef, owner: Option<u32>) {
    if contents(segment, block, 8).is_none() {
        return;
    }
    let word = segment.mem().word(block.at());
    let seen = word.load(Ordering::Acquire);
    let mine = owner.is_none_or(|number| seen & block::SLOT == u64::from(number));
    let generation = block.generation();
    if block::is_used(seen) && block::generation(seen) == generation && mine {
        let freed = block::free(generation.wrapping_add(1));
        // Release: the last look at the contents comes before the next user.
        if word.compare_exchange(seen, freed, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            slot.freed_blocks.fetch_add(1, Ordering::Relaxed);
            if let Some(bytes) = set_hint(segment, block.at()) {
                evict::account(segment, slot, -(bytes as i64));
            }
        }
    } else if !block::is_used(seen) {
        // Never taken, or freed by an earlier run that may have died before it set the hint.
        set_hint(segment, block.at());
    }
}

/// Says that a block may be free; how large it is, if it lies in a page of the heap.
fn set_hint(segment: &Segment, at: u64) -> Option<u64> {
    let page = ((at - segment.geometry().arena_at) / PAGE_BYTES) as u32;
    if u64::from(page) >= segment.geometry().arena_pages {
        return None;
    }
    let desc = segment.page(page);
    let state = desc.state.load(Ordering::Acquire);
    let bytes = block_bytes(state >> 8).filter(|_| state & kind::MASK == kind::HEAP)?;
    let (start, count) = blocks(bytes);
    let number = (at - segment.page_at(page)).checked_sub(start).map(|offset| offset / bytes)?;
    if number < u64::from(count) {
        hints(segment, page, count)[number as usize / 64].fetch_or(1 << (number % 64), Ordering::AcqRel);
        if desc.hint.load(Ordering::SeqCst) == 0 {
            desc.hint.store(1, Ordering::SeqCst);
        }
    }
    Some(bytes)
}

/// Bytes of a heap page's blocks that are in use, by their hints; `None` if it is no heap page.
pub(crate) fn used_bytes(segment: &Segment, page: u32) -> Option<u64> {
    let state = segment.page(page).state.load(Ordering::Acquire);
    let bytes = block_bytes(state >> 8).filter(|_| state & kind::MASK == kind::HEAP)?;
    let (_, count) = blocks(bytes);
    let free: u32 = hints(segment, page, count).iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
    Some(u64::from(count.saturating_sub(free)) * bytes)
}

/// Whether a page is a heap page without a block in use. Behind the gate.
pub(crate) fn is_empty_page(segment: &Segment, page: u32) -> bool {
    let state = segment.page(page).state.load(Ordering::Acquire);
    let Some(bytes) = block_bytes(state >> 8).filter(|_| state & kind::MASK == kind::HEAP) else {
        return false;
    };
    let (start, count) = blocks(bytes);
    let hinted: u32 = hints(segment, page, count).iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
    let at = |number: u64| segment.page_at(page) + start + number * bytes;
    hinted == count
        && (0..u64::from(count)).all(|number| !block::is_used(segment.mem().word(at(number)).load(Ordering::Acquire)))
}

/// Sets the hint of a heap page that has a block with a hint: a death may have taken it away. Behind the gate.
pub(crate) fn mend_hint(segment: &Segment, page: u32) {
    let desc = segment.page(page);
    let state = desc.state.load(Ordering::Acquire);
    if let Some(bytes) = block_bytes(state >> 8).filter(|_| state & kind::MASK == kind::HEAP)
        && hints(segment, page, blocks(bytes).1).iter().any(|word| word.load(Ordering::Relaxed) != 0)
    {
        desc.hint.store(1, Ordering::Relaxed);
    }
}

/// Copies bytes into what was taken for them.
pub(crate) fn write_formed(segment: &Segment, block: BlockRef, bytes: &[u8]) {
    match Form::of_len(bytes.len()) {
        Form::Chunks => write_tree(segment, block, bytes),
        _ => write(segment, block, bytes),
    }
}

/// Appends the `len` bytes of a block or a tree to `out`; false if a reference is nonsense, as a racing reader may find.
pub(crate) fn read_formed(segment: &Segment, block: BlockRef, form: Form, len: usize, out: &mut Vec<u8>) -> bool {
    match form {
        Form::Chunks => read_tree(segment, block, len, out),
        _ => read(segment, block, len, out),
    }
}

/// Whether the contents of a tree begin with these bytes.
pub(crate) fn chunks_begin_with(segment: &Segment, tree: BlockRef, bytes: &[u8]) -> bool {
    bytes.chunks(CHUNK_BYTES).enumerate().all(|(index, part)| {
        let words = contents(segment, chunk(segment, tree, index), part.len());
        words.is_some_and(|words| equal(words, part))
    })
}

/// Calls `with` for a block and for every one that goes with it, so many at most as there can be. What is not in use, as a racing
/// reader may find, is passed over.
pub(crate) fn each_block(segment: &Segment, block: BlockRef, form: Form, with: &mut dyn FnMut(BlockRef)) {
    let mut in_use = |block| {
        if is_used(segment, block) {
            with(block);
        }
    };
    each_within(segment, block, form, &mut in_use, &mut Limits::new(segment));
}

/// Bytes that a block takes, with all that goes with it.
pub(crate) fn bytes_of(segment: &Segment, block: BlockRef, form: Form) -> u64 {
    let mut bytes = 0;
    each_block(segment, block, form, &mut |block| {
        let page = block.at().saturating_sub(segment.geometry().arena_at) / PAGE_BYTES;
        if page < segment.geometry().arena_pages {
            bytes += block_bytes(segment.page(page as u32).state.load(Ordering::Relaxed) >> 8).unwrap_or(0);
        }
    });
    bytes
}

/// Copies bytes into a block.
fn write(segment: &Segment, block: BlockRef, bytes: &[u8]) {
    segment.mem().write_bytes(contents_at(block), bytes);
}

/// Copies bytes into a tree.
fn write_tree(segment: &Segment, tree: BlockRef, bytes: &[u8]) {
    for (index, part) in bytes.chunks(CHUNK_BYTES).enumerate() {
        write(segment, chunk(segment, tree, index), part);
    }
}

/// Whether a block, or a tree if they are more than one holds, contains these bytes.
pub(crate) fn holds(segment: &Segment, block: BlockRef, bytes: &[u8]) -> bool {
    match Form::of_len(bytes.len()) {
        Form::Chunks => chunks_begin_with(segment, block, bytes),
        _ => contents(segment, block, bytes.len()).is_some_and(|words| equal(words, bytes)),
    }
}

/// Appends the `len` bytes of a block to `out`; false if the reference is nonsense, as a racing reader may find.
pub(crate) fn read(segment: &Segment, block: BlockRef, len: usize, out: &mut Vec<u8>) -> bool {
    let readable = len <= MAX_CONTENTS && contents(segment, block, len).is_some();
    if readable {
        segment.mem().read_bytes(contents_at(block), len, out);
    }
    readable
}

/// Appends the `len` bytes of a tree to `out`; false if a reference is nonsense, as a racing reader may find.
pub(crate) fn read_tree(segment: &Segment, tree: BlockRef, len: usize, out: &mut Vec<u8>) -> bool {
    let chunks = len.div_ceil(CHUNK_BYTES);
    len <= MAX_TREE
        && (0..chunks).all(|index| {
            let part = (len - index * CHUNK_BYTES).min(CHUNK_BYTES);
            read(segment, chunk(segment, tree, index), part, out)
        })
}
