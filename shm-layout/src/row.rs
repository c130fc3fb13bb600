//! The head that every row has, whatever its space.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::check::layout;

/// The head of a row. Behind it follow the words of the space's own layout.
#[repr(C)]
pub struct Header {
    /// The row's lock, see [`crate::slot::lock`].
    pub lock: AtomicU32,
    /// Key length in the low 16 bits; flags of the space in the high 16.
    pub meta: AtomicU32,
    /// Even and not 0: the row is live. Odd: it is changing, or free. 0: never used.
    pub sequence: AtomicU64,
    /// When the row expires, in milliseconds since the epoch; 0: never.
    pub expire_at: AtomicU64,
}

/// Bytes of the head.
pub const HEADER_BYTES: u64 = 24;
/// The word of a row that holds `expire_at`: the first that an image may replace.
pub const EXPIRE_WORD: usize = 2;
/// The first word behind the head.
pub const BODY_WORD: usize = 3;

layout!(Header, size 24, align 8, { lock: u32 = 0, meta: u32 = 4, sequence: u64 = 8, expire_at: u64 = 16 });

/// Whether a sequence says that the row is live.
#[must_use]
pub const fn is_live(sequence: u64) -> bool {
    sequence != 0 && sequence.is_multiple_of(2)
}

/// A meta word.
#[must_use]
pub const fn meta(key_len: usize, flags: u16) -> u32 {
    (key_len as u32 & 0xffff) | ((flags as u32) << 16)
}

/// Key length of a meta word.
#[must_use]
pub const fn key_len(meta: u32) -> usize {
    (meta & 0xffff) as usize
}

/// Flags of a meta word.
#[must_use]
pub const fn flags(meta: u32) -> u16 {
    (meta >> 16) as u16
}
