//! Which keys go when memory runs short, and what a segment remembers about the use of its keys.
//!
//! *Usage words*: one for each record, behind the records of its page. A word says how often and when a key was used; whoever uses the
//! key stores it, without a lock and only if it changes. What it says is a hint.
//!
//! *Newcomers*: a ring of the numbers of records that were made lately; a number plus 1, 0 for none.
//!
//! *Ghosts*: four-way buckets of words that remember which newcomers were evicted lately, by 24 bits of the key's hash and 8 of an epoch.

/// What goes when memory runs short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Policy {
    /// Nothing: writes are refused.
    #[default]
    NoEviction = 0,
    /// What was not used lately.
    AllKeysLru = 1,
    /// What is used seldom.
    AllKeysLfu = 2,
    /// Anything.
    AllKeysRandom = 3,
    /// Of what has an expiry, what was not used lately.
    VolatileLru = 4,
    /// Of what has an expiry, what is used seldom.
    VolatileLfu = 5,
    /// Anything that has an expiry.
    VolatileRandom = 6,
    /// What expires next.
    VolatileTtl = 7,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 8] = [
        Self::VolatileLru,
        Self::VolatileLfu,
        Self::VolatileRandom,
        Self::VolatileTtl,
        Self::AllKeysLru,
        Self::AllKeysLfu,
        Self::AllKeysRandom,
        Self::NoEviction,
    ];

    /// The policy that a word of the header names; what names none evicts nothing.
    #[must_use]
    pub fn of_word(word: u32) -> Self {
        Self::ALL.into_iter().find(|&policy| policy as u32 == word).unwrap_or(Self::NoEviction)
    }

    /// Whether it counts how often keys are used.
    #[must_use]
    pub const fn is_lfu(self) -> bool {
        matches!(self, Self::AllKeysLfu | Self::VolatileLfu)
    }

    /// Whether it looks at when keys were used.
    #[must_use]
    pub const fn is_lru(self) -> bool {
        matches!(self, Self::AllKeysLru | Self::VolatileLru)
    }

    /// Whether only keys with an expiry go.
    #[must_use]
    pub const fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }
}

/// The bits of a usage word.
pub mod usage {
    /// How often the key was used: up to 3, or by a logarithmic count where the policy counts.
    pub const COUNT: u32 = 0x0000_00ff;
    /// The record stands in the ring of newcomers.
    pub const NEW: u32 = 0x0000_0100;
    /// The hand has met the newcomer once.
    pub const MET: u32 = 0x0000_0200;
    /// From here on: seconds of the Unix clock at which the key was used, the low 22 bits of them.
    pub const SECONDS_SHIFT: u32 = 10;
    /// The largest number of seconds.
    pub const SECONDS: u32 = u32::MAX >> SECONDS_SHIFT;
}

/// Places of a bucket of ghosts.
pub const WAYS: u64 = 4;
/// The bits of a ghost that are its epoch.
pub const EPOCH: u32 = 0xff;

/// Newcomers that the ring can hold.
#[must_use]
pub const fn newcomers(max_keys: u64) -> u64 {
    max_keys / 8 + 16
}

/// Ghosts, a multiple of [`WAYS`].
#[must_use]
pub const fn ghosts(max_keys: u64) -> u64 {
    (max_keys / 4).div_ceil(WAYS) * WAYS + WAYS
}
