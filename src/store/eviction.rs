//! What may be evicted, how much memory may be in use, and what is known of the use of keys.

/// What goes when memory runs short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Nothing: writes are refused.
    #[default]
    NoEviction,
    /// What was not used lately.
    AllKeysLru,
    /// What is used seldom.
    AllKeysLfu,
    /// Anything.
    AllKeysRandom,
    /// Of what has an expiry, what was not used lately.
    VolatileLru,
    /// Of what has an expiry, what is used seldom.
    VolatileLfu,
    /// Anything that has an expiry.
    VolatileRandom,
    /// What expires next.
    VolatileTtl,
}

impl Policy {
    /// Every policy, in the order in which Redis lists them.
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

    /// Its name, as Redis has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoEviction => "noeviction",
            Self::AllKeysLru => "allkeys-lru",
            Self::AllKeysLfu => "allkeys-lfu",
            Self::AllKeysRandom => "allkeys-random",
            Self::VolatileLru => "volatile-lru",
            Self::VolatileLfu => "volatile-lfu",
            Self::VolatileRandom => "volatile-random",
            Self::VolatileTtl => "volatile-ttl",
        }
    }

    /// The policy of this name, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(name))
    }

    /// Whether it counts how often keys are used.
    #[must_use]
    pub const fn is_lfu(self) -> bool {
        matches!(self, Self::AllKeysLfu | Self::VolatileLfu)
    }

    /// Whether only keys with an expiry go.
    #[must_use]
    pub const fn is_volatile(self) -> bool {
        matches!(self, Self::VolatileLru | Self::VolatileLfu | Self::VolatileRandom | Self::VolatileTtl)
    }
}

/// How much may be in use, and what goes when it is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes in use above which keys are evicted; 0: all that there is.
    pub bytes: u64,
    /// What goes.
    pub policy: Policy,
    /// How much slower each step of a logarithmic count of uses is than the one before.
    pub lfu_log_factor: u32,
    /// Minutes without use after which such a count goes down by 1; 0: it does not.
    pub lfu_decay_minutes: u32,
}

impl Default for MemoryLimit {
    fn default() -> Self {
        Self { bytes: 0, policy: Policy::NoEviction, lfu_log_factor: 10, lfu_decay_minutes: 1 }
    }
}

/// What memory is used for, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// All that there is.
    pub total: u64,
    /// What is there from the start: the index, counters, the workers' own.
    pub fixed: u64,
    /// Tables.
    pub tables: u64,
    /// Keys and values.
    pub keys: u64,
    /// What is set aside, whether all of it is in use or not.
    pub set_aside: u64,
    /// Keys that were evicted.
    pub evicted: u64,
}

impl MemoryUse {
    /// All that is in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.fixed + self.tables + self.keys
    }
}

/// What is known of the use of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage {
    /// How often it is used, by the policy's count.
    pub frequency: u32,
    /// Seconds since it was used.
    pub idle_seconds: u64,
}
