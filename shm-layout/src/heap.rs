//! The arena and its pages: what a page holds, and how a heap page is cut into blocks.
//!
//! A page is free, or belongs to table regions (in units), or holds records of the key-value space, or is a heap page:
//! a bitmap of free blocks (a hint) and blocks of one size. A block starts with a word that says whether
//! it is in use, by which slot it was taken, and its generation, which goes up when it is freed.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::check::layout;

/// Bytes of an arena page.
pub const PAGE_BYTES: u64 = 64 << 10;
/// Units of an arena page, one bit each in [`Page::units`].
pub const PAGE_UNITS: u64 = PAGE_BYTES / crate::table::UNIT_BYTES;
/// Bytes before a heap page's bitmap.
pub const PAGE_HEAD: u64 = 64;
/// Blocks lie at multiples of this.
pub const BLOCK_ALIGN: u64 = 16;
/// Bytes of a block before its contents.
pub const BLOCK_HEAD: u64 = 8;

/// The kinds of a page, in the low byte of its state; the upper bits say more.
pub mod kind {
    /// Nobody's.
    pub const FREE: u32 = 0;
    /// Being claimed by the slot in the upper bits.
    pub const CLAIMED: u32 = 1;
    /// Blocks of the class in the upper bits.
    pub const HEAP: u32 = 2;
    /// Records, for ever.
    pub const RECORDS: u32 = 3;
    /// Units of table regions.
    pub const TABLE: u32 = 4;
    /// The bits of the kind.
    pub const MASK: u32 = 0xff;
}

/// What the arena knows of a page.
#[repr(C)]
pub struct Page {
    /// See [`kind`].
    pub state: AtomicU32,
    /// 1: a block may be free.
    pub hint: AtomicU32,
    /// Units in use by table regions.
    pub units: AtomicU64,
}

layout!(Page, size 16, align 8, { state: u32 = 0, hint: u32 = 4, units: u64 = 8 });

/// Sizes of blocks in bytes, head included; about an eighth apart, the largest ones cut a page without rest.
pub const CLASSES: [u32; 40] = [
    32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 288, 320, 384, 448, 512, 576, 640, 768, 896, 1024, 1152,
    1280, 1536, 1792, 2048, 2304, 2608, 3104, 3632, 4080, 5024, 6528, 8176, 10896, 13088, 16352, 21808, 32720,
];
/// The class of blocks that have a page of their own.
pub const WHOLE_PAGE: u32 = CLASSES.len() as u32;
/// Bytes of a block of that class.
pub const WHOLE_PAGE_BLOCK: u64 = PAGE_BYTES - PAGE_HEAD - 16;
/// Bytes that the largest block holds.
pub const MAX_CONTENTS: usize = (WHOLE_PAGE_BLOCK - BLOCK_HEAD) as usize;

/// Bytes of a tree's chunk: two of them fill a page. Contents beyond that go into a tree, so that little of a page is left over.
pub const CHUNK_BYTES: usize = CLASSES[CLASSES.len() - 1] as usize - BLOCK_HEAD as usize;

const _: () = assert!((MAX_CONTENTS / 8 - 1) * CHUNK_BYTES >= crate::limits::MAX_VALUE_BYTES);

/// Bytes of a block of `class`; `None` if there is no such class.
#[must_use]
pub fn block_bytes(class: u32) -> Option<u64> {
    match CLASSES.get(class as usize) {
        Some(&bytes) => Some(bytes as u64),
        None if class == WHOLE_PAGE => Some(WHOLE_PAGE_BLOCK),
        None => None,
    }
}

/// The smallest class that holds `len` bytes of contents; `None` if none does.
#[must_use]
pub fn class_for(len: usize) -> Option<u32> {
    if len > MAX_CONTENTS {
        return None;
    }
    let need = len as u32 + BLOCK_HEAD as u32;
    Some(CLASSES.partition_point(|&bytes| bytes < need) as u32)
}

/// Where the blocks of a page start, and how many there are.
#[must_use]
pub const fn blocks(block_bytes: u64) -> (u64, u32) {
    let mut count = (PAGE_BYTES - PAGE_HEAD) / block_bytes;
    loop {
        let start = crate::round_up(PAGE_HEAD + count.div_ceil(64) * 8, BLOCK_ALIGN);
        if start + count * block_bytes <= PAGE_BYTES {
            return (start, count as u32);
        }
        count -= 1;
    }
}

/// A block and its generation, in one word; 0: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRef(pub u64);

impl BlockRef {
    /// The block at `at` in the segment.
    #[must_use]
    pub const fn new(at: u64, generation: u32) -> Self {
        Self(((generation as u64) << 32) | (at / BLOCK_ALIGN))
    }

    /// Where the block starts in the segment.
    #[must_use]
    pub const fn at(self) -> u64 {
        (self.0 & 0xffff_ffff) * BLOCK_ALIGN
    }

    /// Its generation.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The word at the start of a block: generation, in use or not, and the slot that took it.
pub mod block {
    /// The block is in use.
    pub const USED: u64 = 0x1_0000;
    /// The slot that took it.
    pub const SLOT: u64 = 0xffff;

    /// The word of a free block.
    #[must_use]
    pub const fn free(generation: u32) -> u64 {
        (generation as u64) << 32
    }

    /// The word of a block that `slot` took.
    #[must_use]
    pub const fn used(generation: u32, slot: u32) -> u64 {
        ((generation as u64) << 32) | USED | slot as u64
    }

    /// The generation of a word.
    #[must_use]
    pub const fn generation(word: u64) -> u32 {
        (word >> 32) as u32
    }

    /// Whether a word says that the block is in use.
    #[must_use]
    pub const fn is_used(word: u64) -> bool {
        word & USED != 0
    }
}

/// Bytes of the largest segment: a block's place is 32 bits wide.
pub const MAX_SEGMENT_BYTES: u64 = (1 << 32) * BLOCK_ALIGN;
