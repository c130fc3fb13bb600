//! `maxmemory`: how much of the segment is in use, and that it does not become more.
//!
//! Each slot counts the bytes of keys and blocks that it takes and gives back. The sum costs one look at every slot, so a process adds it up
//! again only when it has used up the *allowance* that it gave itself the last time, its share of what was left. So the limit may be passed by
//! what every process writes in between, which is little and becomes less the nearer the limit comes. A death may leave
//! a slot's count wrong by one operation; after a recovery the sum is therefore made right by what the heap's bitmaps say.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use shm_layout::{heap::PAGE_BYTES, keys::KEY_BYTES, slot::Slot};

use super::{
    super::{
        arena, heap, keys,
        locks::Writer,
        segment::{Refusal, Segment},
        transaction, usage,
    },
    Policy, evict,
};

/// Keys that are evicted between two sums.
const BATCH: usize = 16;
/// The longest that one write evicts to come below the limit; what is then still above it is left to the next.
const BUDGET: Duration = Duration::from_millis(2);
/// What is evicted below the limit, as a share of it, so that not every write has to evict.
const SLACK_SHARE: u64 = 1024;
/// At most so much.
const MAX_SLACK: u64 = 128 << 10;
/// The largest allowance.
const MAX_ALLOWANCE: u64 = 1 << 20;

/// Bytes that this process may take before it looks at the sum again.
#[derive(Default)]
pub(crate) struct Allowance(AtomicI64);

/// What the memory of a segment is used for, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    /// The whole segment.
    pub total: u64,
    /// Slots, index, counters, and all that is there from the start.
    pub fixed: u64,
    /// Tables.
    pub tables: u64,
    /// Keys and values: records, and the blocks in use.
    pub keys: u64,
    /// Pages that belong to somebody, whether all of them is in use or not, and `fixed`.
    pub pages: u64,
    /// Keys that were evicted over the life of the segment.
    pub evicted: u64,
}

impl MemoryUse {
    /// All that is in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.fixed + self.tables + self.keys
    }
}

/// Counts bytes that an operation took (or, below 0, gave back).
#[inline]
pub(crate) fn account(segment: &Segment, slot: &Slot, bytes: i64) {
    slot.bytes.fetch_add(bytes, Ordering::Relaxed);
    if bytes > 0 {
        segment.allowance().0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn key_bytes(segment: &Segment) -> u64 {
    let sum = segment.all_slots().map(|slot| slot.bytes.load(Ordering::Relaxed)).fold(0, i64::wrapping_add);
    sum.max(0) as u64
}

fn used(segment: &Segment) -> u64 {
    segment.geometry().arena_at + segment.header().table_bytes.load(Ordering::Relaxed) + key_bytes(segment)
}

impl Segment {
    /// What the memory is used for. O(pages of the arena).
    #[must_use]
    pub fn memory_use(&self) -> MemoryUse {
        let (total, pages) = self.memory();
        MemoryUse {
            total,
            fixed: self.geometry().arena_at,
            tables: arena::table_bytes(self),
            keys: key_bytes(self),
            pages,
            evicted: self.header().evicted.load(Ordering::Relaxed),
        }
    }

    /// Says how many bytes may be in use (0: all), what goes when they are more, and how uses are counted.
    pub fn set_memory_limit(&self, bytes: u64, policy: Policy, log_factor: u32, decay_minutes: u32) {
        let header = self.header();
        let halves = [
            (&header.policy, policy as u32),
            (&header.lfu_log_factor, log_factor),
            (&header.lfu_decay_minutes, decay_minutes),
        ];
        // Everybody reads them all the time: they are stored only if they change.
        halves.into_iter().filter(|(word, value)| word.load(Ordering::Relaxed) != *value).for_each(|(word, value)| {
            word.store(value, Ordering::Relaxed);
        });
        if header.max_memory.load(Ordering::Relaxed) != bytes {
            header.table_bytes.store(arena::table_bytes(self), Ordering::Relaxed);
            header.max_memory.store(bytes, Ordering::Relaxed);
        }
        self.allowance().0.store(0, Ordering::Relaxed);
    }
}

/// Evicts until the bytes in use are below the limit. Costs next to nothing while there is none, or much is left. Inside a transaction
/// nothing is evicted: what goes gives its memory back with the commit.
///
/// # Errors
///
/// [`Refusal::OutOfMemory`] if they are above it and nothing may go; [`Refusal::Busy`].
pub(crate) fn make_room_below_limit(segment: &Segment, now_ms: u64) -> Result<(), Refusal> {
    let limit = segment.header().max_memory.load(Ordering::Relaxed);
    if limit == 0 || segment.allowance().0.load(Ordering::Relaxed) > 0 || transaction::is_own(segment) {
        return Ok(());
    }
    come_below(segment, now_ms, limit, BUDGET)
}

#[cold]
fn come_below(segment: &Segment, now_ms: u64, limit: u64, budget: Duration) -> Result<(), Refusal> {
    let mut seen = used(segment);
    if seen > limit {
        let start = Instant::now();
        let aim = limit.saturating_sub((limit / SLACK_SHARE).min(MAX_SLACK));
        let mut evicted = 0;
        while seen > aim {
            let now = evict(segment, now_ms, BATCH)?;
            evicted += now;
            if now == 0 || start.elapsed() > budget {
                break;
            }
            seen = used(segment);
        }
        if seen > limit && evicted == 0 {
            return Err(Refusal::OutOfMemory);
        }
    }
    let share = limit.saturating_sub(seen) / (2 * (segment.workers() as u64 + 1));
    segment.allowance().0.store(share.min(MAX_ALLOWANCE) as i64, Ordering::Relaxed);
    Ok(())
}

/// What a worker's tick does: looks at the tables anew, makes the sum right after a recovery, evicts ahead.
pub(crate) fn maintain(segment: &Segment, now_ms: u64) {
    let header = segment.header();
    let limit = header.max_memory.load(Ordering::Relaxed);
    if limit == 0 {
        return;
    }
    header.table_bytes.store(arena::table_bytes(segment), Ordering::Relaxed);
    let counted = header.recounted_at.load(Ordering::Relaxed);
    if header.recoveries.load(Ordering::Relaxed) != counted {
        recount(segment, counted);
    }
    if usage::policy(segment) != Policy::NoEviction {
        // What is not possible now is tried by the next write.
        let _ = come_below(segment, now_ms, limit, BUDGET / 2);
    }
}

/// Makes the sum what the heap and the counts of keys say, once for all recoveries since `counted`. Others may be at it: what they do meanwhile is
/// counted or not. While the gate is closed nobody claims to have done it.
fn recount(segment: &Segment, counted: u64) {
    let Ok(writer) = Writer::enter(segment) else {
        return;
    };
    let header = segment.header();
    let recovered = header.recoveries.load(Ordering::Relaxed);
    if header.recounted_at.compare_exchange(counted, recovered, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        return;
    }
    let pages = 0..segment.geometry().arena_pages as u32;
    let blocks: u64 = pages.filter_map(|page| heap::used_bytes(segment, page)).sum();
    let counted = blocks + keys::count(segment) * KEY_BYTES;
    let wrong = counted.min(segment.geometry().arena_pages * PAGE_BYTES) as i64 - key_bytes(segment) as i64;
    writer.slot().bytes.fetch_add(wrong, Ordering::Relaxed);
}
