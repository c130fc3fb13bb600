//! The blocks of the heap: each in use belongs to one record, each free one can be found and taken.

use std::sync::atomic::Ordering;

use shm_layout::heap::{
    BLOCK_HEAD, BlockRef, CHUNK_BYTES, MAX_CONTENTS, PAGE_BYTES, PAGE_HEAD, block, block_bytes, blocks, kind,
};

use super::{
    super::{
        fields::{self, MAX_DEPTH, Part},
        heap::{self, Form},
        segment::Segment,
    },
    FindingKind, Walk,
    space::Bits,
};

/// Pages of the arena.
pub(super) fn pages(segment: &Segment) -> u32 {
    segment.geometry().arena_pages as u32
}

/// Bytes of the blocks of a heap page; `None` if it is none.
fn bytes_of(segment: &Segment, page: u32) -> Option<u64> {
    let state = segment.page(page).state.load(Ordering::Acquire);
    block_bytes(state >> 8).filter(|_| state & kind::MASK == kind::HEAP)
}

/// Every block of the heap, and which of them were met.
pub(super) struct Blocks {
    /// The number of the first block of each page, counted over all heap pages.
    first: Vec<u64>,
    met: Bits,
}

/// A block that exists.
struct Place {
    number: u64,
    word: u64,
    holds: u64,
}

impl Blocks {
    pub(super) fn new(segment: &Segment) -> Self {
        let mut total = 0;
        let first = |page| {
            let first = total;
            total += bytes_of(segment, page).map_or(0, |bytes| u64::from(blocks(bytes).1));
            first
        };
        let first = (0..pages(segment)).map(first).collect();
        Self { first, met: Bits::new(total) }
    }

    fn place(&self, segment: &Segment, at: u64) -> Option<Place> {
        let page = u32::try_from(at.checked_sub(segment.geometry().arena_at)? / PAGE_BYTES).ok()?;
        let bytes = (page < pages(segment)).then(|| bytes_of(segment, page)).flatten()?;
        let (start, count) = blocks(bytes);
        let offset = (at - segment.page_at(page)).checked_sub(start)?;
        let exists = offset.is_multiple_of(bytes) && offset / bytes < u64::from(count);
        exists.then(|| Place {
            number: self.first[page as usize] + offset / bytes,
            word: segment.mem().word(at).load(Ordering::Acquire),
            holds: bytes - BLOCK_HEAD,
        })
    }

    /// Marks what a record names: a block for `len` bytes, or a tree.
    pub(super) fn reach(&mut self, walk: &mut Walk<'_>, row: u32, word: u64, len: u64, tree: bool) {
        let block = BlockRef(word);
        if !tree {
            self.mark(walk, row, block, len);
            return;
        }
        let chunks = len.div_ceil(CHUNK_BYTES as u64);
        let Some(holds) = self.mark(walk, row, block, 8 * (chunks.min(MAX_CONTENTS as u64) + 1)) else {
            return;
        };
        let listed = heap::contents(walk.segment, block, 8).map_or(0, |words| words[0].load(Ordering::Acquire));
        if listed != chunks {
            walk.find(FindingKind::ChunksWrong, "keys", u64::from(row), || {
                format!("row {row} has a value of {chunks} chunks, and its directory lists {listed}")
            });
        }
        for index in 0..listed.min(holds / 8 - 1) {
            let rest = len.saturating_sub(index * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64);
            let chunk = heap::chunk(walk.segment, block, index as usize);
            self.mark(walk, row, chunk, rest);
        }
    }

    /// Marks a tree of fields, and looks at it.
    pub(super) fn reach_fields(&mut self, walk: &mut Walk<'_>, row: u32, word: u64, fields: u64) {
        let root = Part { block: BlockRef(word), form: Form::Fields, len: 0, fields, hashes: (0, u64::MAX) };
        self.reach_node(walk, row, &root, MAX_DEPTH);
    }

    fn reach_node(&mut self, walk: &mut Walk<'_>, row: u32, node: &Part, depth: usize) {
        let checked = fields::check_node(walk.segment, node.block, node.hashes);
        // Each block is met once, so that a tree that runs in a circle comes to an end.
        if self.mark(walk, row, node.block, checked.as_ref().map_or(8, |checked| checked.bytes)).is_none() {
            return;
        }
        let at = node.block.at();
        let Some(checked) = checked.filter(|checked| checked.in_order && depth > 0) else {
            return walk.find(FindingKind::FieldsDamaged, "keys", u64::from(row), || {
                format!("row {row} has a node of fields at {at:#x} that makes no sense")
            });
        };
        if checked.fields != node.fields {
            walk.find(FindingKind::FieldCountWrong, "keys", u64::from(row), || {
                format!("row {row} has {} fields below {at:#x}, and {} are counted", checked.fields, node.fields)
            });
        }
        for part in &checked.parts {
            match part.form {
                Form::Fields => self.reach_node(walk, row, part, depth - 1),
                form => self.reach(walk, row, part.block.0, part.len, form == Form::Chunks),
            }
        }
    }

    /// Marks one block; returns how many bytes it holds if it is the record's.
    fn mark(&mut self, walk: &mut Walk<'_>, row: u32, block: BlockRef, len: u64) -> Option<u64> {
        let at = block.at();
        let place = self.place(walk.segment, at);
        let mut wrong = |kind, text: String| {
            walk.find(kind, "keys", u64::from(row), || format!("row {row} names the block at {at:#x}, {text}"));
        };
        let Some(place) = place else {
            wrong(FindingKind::BlockNowhere, "and there is none".to_owned());
            return None;
        };
        if !block::is_used(place.word) || block::generation(place.word) != block.generation() {
            let text = format!("generation {}, whose word is {:#x}", block.generation(), place.word);
            wrong(FindingKind::BlockNotInUse, text);
            return None;
        }
        if self.met.set(place.number) {
            wrong(FindingKind::BlockShared, "as another record does".to_owned());
            return None;
        }
        if place.holds < len {
            wrong(FindingKind::ValueLengthWrong, format!("which holds {} bytes, for {len}", place.holds));
        }
        Some(place.holds)
    }

    /// Looks at every block.
    pub(super) fn check(&self, walk: &mut Walk<'_>) {
        for page in 0..pages(walk.segment) {
            if let Some(bytes) = bytes_of(walk.segment, page) {
                self.page(walk, page, bytes);
            }
            walk.did(1);
        }
    }

    fn page(&self, walk: &mut Walk<'_>, page: u32, bytes: u64) {
        let segment = walk.segment;
        let (start, count) = blocks(bytes);
        let mut free = 0;
        for number in 0..u64::from(count) {
            let at = segment.page_at(page) + start + number * bytes;
            let word = segment.mem().word(at).load(Ordering::Acquire);
            if block::is_used(word) {
                walk.result.blocks += 1;
                if !self.met.has(self.first[page as usize] + number) {
                    walk.find(FindingKind::BlockLeaked, "arena", u64::from(page), || {
                        format!("the block at {at:#x} in page {page} is in use, and no record names it")
                    });
                }
                continue;
            }
            free += 1;
            let hints = segment.mem().word(segment.page_at(page) + PAGE_HEAD + number / 64 * 8).load(Ordering::Acquire);
            if hints >> (number % 64) & 1 == 0 || word != block::free(block::generation(word)) {
                walk.find(FindingKind::FreeBlockLost, "arena", u64::from(page), || {
                    format!("the block at {at:#x} in page {page} is free, and nobody would find or take it")
                });
            }
        }
        let hidden = free > 0 && segment.page(page).hint.load(Ordering::Acquire) == 0;
        walk.result.hidden_pages += u64::from(hidden);
    }
}
