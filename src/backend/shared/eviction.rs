//! Eviction in the segment, and what is known of the use of keys and memory.

use shm_layout::eviction;

use super::{SharedStore, refused};
use crate::{
    store::{KeyUsage, MemoryLimit, MemoryUse, Policy, Result, kv::check},
    sys::clock,
};

/// The policy as the segment knows it.
fn policy(policy: Policy) -> eviction::Policy {
    match policy {
        Policy::NoEviction => eviction::Policy::NoEviction,
        Policy::AllKeysLru => eviction::Policy::AllKeysLru,
        Policy::AllKeysLfu => eviction::Policy::AllKeysLfu,
        Policy::AllKeysRandom => eviction::Policy::AllKeysRandom,
        Policy::VolatileLru => eviction::Policy::VolatileLru,
        Policy::VolatileLfu => eviction::Policy::VolatileLfu,
        Policy::VolatileRandom => eviction::Policy::VolatileRandom,
        Policy::VolatileTtl => eviction::Policy::VolatileTtl,
    }
}

impl SharedStore {
    pub(super) fn set_limit(&self, limit: MemoryLimit) {
        self.segment.set_memory_limit(limit.bytes, policy(limit.policy), limit.lfu_log_factor, limit.lfu_decay_minutes);
    }

    pub(super) fn come_below_limit(&self) -> Result<()> {
        self.keys.make_room_below_limit(self.patience, clock::now_ms()).map_err(refused)
    }

    pub(super) fn uses_of_memory(&self) -> MemoryUse {
        let seen = self.segment.memory_use();
        MemoryUse {
            total: seen.total,
            fixed: seen.fixed,
            tables: seen.tables,
            keys: seen.keys,
            set_aside: seen.pages,
            evicted: seen.evicted,
        }
    }

    pub(super) fn usage_of(&self, db: u8, key: &[u8]) -> Result<Option<KeyUsage>> {
        check(db, key)?;
        let usage = self.keys.usage(self.patience, clock::now_ms(), db, key).map_err(refused)?;
        Ok(usage.map(|usage| KeyUsage { frequency: usage.frequency, idle_seconds: usage.idle_seconds }))
    }

    pub(super) fn touch_key(&self, db: u8, key: &[u8]) -> Result<bool> {
        check(db, key)?;
        self.keys.touch(self.patience, clock::now_ms(), db, key).map_err(refused)
    }

    pub(super) fn set_usage_of(&self, db: u8, key: &[u8], idle: Option<u64>, frequency: Option<u32>) -> Result<bool> {
        check(db, key)?;
        self.keys.set_usage(self.patience, clock::now_ms(), db, key, idle, frequency).map_err(refused)
    }

    pub(super) fn bytes_of(&self, db: u8, key: &[u8]) -> Result<Option<u64>> {
        check(db, key)?;
        self.keys.bytes(self.patience, clock::now_ms(), db, key).map_err(refused)
    }
}
