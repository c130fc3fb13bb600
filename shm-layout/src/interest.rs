//! Interest: words in which the workers tell each other who wants to be told of what.
//!
//! A mask has a bit for every worker that has such a client: bit `index`, and bit 63 for all from the 64th on. The masks make it cheap to see that
//! nobody listens; they are no list of clients, so any contents are valid, and a bit that is set for nothing costs a message.

use core::sync::atomic::AtomicU64;

use crate::check::layout;

/// Buckets, a power of two.
pub const BUCKETS: usize = 4096;

/// The words.
#[repr(C, align(64))]
pub struct Interest {
    /// Goes up whenever a setting was changed.
    pub settings_version: AtomicU64,
    /// Zero.
    pub reserved: [u64; 7],
    /// The classes of key events that are published. What follows up to the buckets is what every write looks at: one line.
    pub event_classes: AtomicU64,
    /// Mask of the workers with clients that cache keys and are told of them one by one.
    pub tracking: AtomicU64,
    /// Mask of the workers with clients that are told of every key with some prefix.
    pub broadcast: AtomicU64,
    /// Mask of the workers with clients that watch commands.
    pub monitors: AtomicU64,
    /// Mask of the workers with clients that watch keys.
    pub watchers: AtomicU64,
    /// Zero.
    pub reserved2: [u64; 3],
    /// For the hash of a key, the mask of the workers with a client that caches a key of the bucket.
    pub buckets: [AtomicU64; BUCKETS],
}

layout!(Interest, size 32_896, align 64, {
    settings_version: u64 = 0, reserved: [u64; 7] = 8, event_classes: u64 = 64, tracking: u64 = 72, broadcast: u64 = 80,
    monitors: u64 = 88, watchers: u64 = 96, reserved2: [u64; 3] = 104, buckets: [u64; BUCKETS] = 128,
});
