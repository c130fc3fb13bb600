//! The index of a space: groups of sixteen places, each a one-byte tag and a row number.
//!
//! A key's home group and tag follow from its hash. A key that finds its home full stands in a later group, and each
//! group that it passed counts it in `overflow`: a search goes on behind a group while that count is not 0. The
//! count is saturating and may be too high, never too low. A place is free when its row word is 0; tags are a filter.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::check::layout;

/// Places of one group.
pub const PLACES: usize = 16;

/// The bits of a group's `counts` word.
pub mod counts {
    /// Keys that passed the group on the way to their place; 255 sticks.
    pub const OVERFLOW: u32 = 0xff;
    /// One insertion whose home the group is; the count wraps.
    pub const INSERTION: u32 = 0x100;
}

/// A group.
#[repr(C)]
pub struct Group {
    /// Sixteen tags; place 0 is the lowest byte of the first word. 0: none.
    pub tags: [AtomicU64; 2],
    /// Row number plus 1 of each place; 0: the place is free.
    pub rows: [AtomicU32; PLACES],
    /// Held by the one who inserts a key whose home this is.
    pub lock: AtomicU32,
    /// See [`counts`].
    pub counts: AtomicU32,
}

/// Bytes of a group.
pub const GROUP_BYTES: u64 = 88;

layout!(Group, size 88, align 8, {
    tags: [u64; 2] = 0, rows: [u32; 16] = 16, lock: u32 = 80, counts: u32 = 84,
});

/// Groups of an index for `rows` rows: a load of at most 0.8.
#[must_use]
pub const fn groups(rows: u64) -> u64 {
    (5 * rows).div_ceil(4 * PLACES as u64)
}

/// The home group of a hash among `groups`.
#[must_use]
pub const fn home(hash: u64, groups: u32) -> u32 {
    ((hash as u128 * groups as u128) >> 64) as u32
}

/// The tag of a hash; never 0.
#[must_use]
pub const fn tag(hash: u64) -> u8 {
    hash as u8 | 0x80
}

/// Bytes of the bitmap of free rows, a hint.
#[must_use]
pub const fn bitmap_bytes(rows: u64) -> u64 {
    rows.div_ceil(64) * 8
}
