//! Messages between workers: a ring for each worker index, which that worker alone writes and all others read.
//!
//! A ring is a head and a run of bytes that is used over and over. Positions count the bytes ever written: position `p` stands at
//! `p % size`. A message is a word with its length, the words that say for whom it is, and its bytes, rounded up to 8; it may
//! run over the end of the ring.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::{check::layout, limits::MAX_WORKERS};

/// Words of a set of workers.
pub const TARGET_WORDS: usize = MAX_WORKERS / 64;
/// Bytes of a ring, at least.
pub const MIN_RING_BYTES: u64 = 64 << 10;
/// Bytes of a ring, at most.
pub const MAX_RING_BYTES: u64 = 4 << 20;
/// A ring takes this share of the memory, within its bounds.
pub const RING_SHARE: u64 = 256;
/// Words before the bytes of a message: length and targets.
pub const HEAD_WORDS: u64 = 1 + TARGET_WORDS as u64;

/// What all workers share beside the rings.
#[repr(C, align(64))]
pub struct Board {
    /// Goes up whenever the patterns that clients have subscribed to change.
    pub patterns_version: AtomicU64,
    /// Zero.
    pub reserved: [u64; 7],
}

layout!(Board, size 64, align 64, { patterns_version: u64 = 0, reserved: [u64; 7] = 8 });

/// The head of a worker's ring.
#[repr(C, align(64))]
pub struct Ring {
    /// Position behind the last whole message.
    pub head: AtomicU64,
    /// Position up to which bytes may have been overwritten; never goes back.
    pub claimed: AtomicU64,
    /// Zero.
    pub reserved: [u64; 6],
    /// Whether the worker was told that there are messages for it: odd since it was told, the next even number once it looks.
    pub bell: AtomicU32,
    /// Zero.
    pub reserved2: u32,
    /// Zero.
    pub reserved3: [u64; 7],
}

layout!(Ring, size 128, align 64, {
    head: u64 = 0, claimed: u64 = 8, reserved: [u64; 6] = 16, bell: u32 = 64, reserved2: u32 = 68,
    reserved3: [u64; 7] = 72,
});

/// Bytes of a ring in a segment of so many.
#[must_use]
pub const fn ring_bytes(memory: u64) -> u64 {
    let share = memory / RING_SHARE;
    let bounded = if share < MIN_RING_BYTES {
        MIN_RING_BYTES
    } else if share > MAX_RING_BYTES {
        MAX_RING_BYTES
    } else {
        share
    };
    bounded & !7
}

/// Bytes of the longest message that a ring of this size carries: half of it, so that a reader who is a message behind is not
/// overtaken by the next one.
#[must_use]
pub const fn longest(ring_bytes: u64) -> usize {
    (ring_bytes / 2 - 8 * HEAD_WORDS) as usize
}

/// Words that a message of so many bytes takes.
#[must_use]
pub const fn message_words(len: usize) -> u64 {
    HEAD_WORDS + (len as u64).div_ceil(8)
}
