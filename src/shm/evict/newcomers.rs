//! Newcomers and ghosts: what was made lately, and what of it went again unused.
//!
//! A newcomer that was not used again goes first, so that keys which are read once (a scan, a loop) push nothing else out. One
//! that comes back while its ghost is remembered is no newcomer any more.
//!
//! Both are hints. A number may be lost with a process that dies between the two steps of a push, or name a record that has
//! become another one; the record's usage word decides what is made of it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use shm_layout::eviction::{self, EPOCH, WAYS};

use super::super::{keys, segment::Segment};

/// A ghost is remembered for so many epochs, in which about as many keys are evicted as there are.
const EPOCHS: u32 = 8;

fn places(segment: &Segment) -> u64 {
    eviction::newcomers(segment.geometry().request.max_keys)
}

fn place(segment: &Segment, position: u64) -> &AtomicU32 {
    segment.mem().half(segment.geometry().newcomers_at + 4 * (position % places(segment)))
}

/// How many there are.
pub(super) fn len(segment: &Segment) -> u64 {
    let header = segment.header();
    let out = header.newcomers_out.load(Ordering::Relaxed);
    header.newcomers_in.load(Ordering::Relaxed).saturating_sub(out)
}

/// Puts a record into the ring; false if the ring is full.
pub(super) fn push(segment: &Segment, row: u32) -> bool {
    if len(segment) >= places(segment) {
        return false;
    }
    let position = segment.header().newcomers_in.fetch_add(1, Ordering::Relaxed);
    place(segment, position).store(row + 1, Ordering::Relaxed);
    true
}

/// Takes the oldest out of the ring. Its number may be missing, if whoever pushed it has not come to that.
pub(super) fn pop(segment: &Segment) -> Option<Option<u32>> {
    let out = &segment.header().newcomers_out;
    let mut position = out.load(Ordering::Relaxed);
    loop {
        if position >= segment.header().newcomers_in.load(Ordering::Relaxed) {
            return None;
        }
        match out.compare_exchange_weak(position, position + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(place(segment, position).swap(0, Ordering::Relaxed).checked_sub(1)),
            Err(seen) => position = seen,
        }
    }
}

fn bucket(segment: &Segment, hash: u64) -> &[AtomicU32] {
    let buckets = eviction::ghosts(segment.geometry().request.max_keys) / WAYS;
    let bucket = ((hash as u128 * buckets as u128) >> 64) as u64;
    segment.mem().slice(segment.geometry().ghosts_at + 4 * WAYS * bucket, WAYS as usize)
}

/// The part of the hash that the bucket does not follow from.
fn mark(hash: u64) -> u32 {
    ((hash as u32) << 8).max(EPOCH + 1)
}

fn age(segment: &Segment, ghost: u32) -> u32 {
    let epoch = segment.header().epoch.load(Ordering::Relaxed) as u32;
    epoch.wrapping_sub(ghost) & EPOCH
}

/// Remembers a key that was evicted as a newcomer.
pub(super) fn remember(segment: &Segment, hash: u64) {
    let ghost = mark(hash) | (segment.header().epoch.load(Ordering::Relaxed) as u32 & EPOCH);
    let weight = |place: &&AtomicU32| match place.load(Ordering::Relaxed) {
        0 => u32::MAX,
        seen => age(segment, seen),
    };
    if let Some(place) = bucket(segment, hash).iter().max_by_key(weight) {
        place.store(ghost, Ordering::Relaxed);
    }
}

/// Whether a key was evicted lately as a newcomer; forgets it.
pub(super) fn recall(segment: &Segment, hash: u64) -> bool {
    bucket(segment, hash).iter().any(|place| {
        let seen = place.load(Ordering::Relaxed);
        let found = seen != 0 && seen & !EPOCH == mark(hash) && age(segment, seen) <= EPOCHS;
        if found {
            place.store(0, Ordering::Relaxed);
        }
        found
    })
}

/// Counts an eviction; at the end of an epoch the next one begins, and the keys are counted.
pub(super) fn count_eviction(segment: &Segment) {
    let header = segment.header();
    let evicted = header.evicted.fetch_add(1, Ordering::Relaxed) + 1;
    let end = header.epoch_end.load(Ordering::Relaxed);
    if evicted >= end {
        begin_epoch(&header.epoch_end, end, evicted, segment);
    }
}

#[cold]
fn begin_epoch(epoch_end: &AtomicU64, end: u64, evicted: u64, segment: &Segment) {
    let resident = keys::count(segment);
    let next = evicted + (resident / u64::from(EPOCHS)).max(1);
    if epoch_end.compare_exchange(end, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        segment.header().epoch.fetch_add(1, Ordering::Relaxed);
        segment.header().resident.store(resident, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::SegmentOptions;

    fn segment() -> Segment {
        Segment::create(SegmentOptions::new().memory(16 << 20).max_keys(800)).unwrap()
    }

    #[test]
    fn newcomers_come_out_in_their_order_until_there_are_none() {
        let segment = segment();
        assert_eq!(pop(&segment), None);
        for row in 0..116 {
            assert!(push(&segment, row), "{row}");
        }
        assert!(!push(&segment, 116));
        for row in 0..116 {
            assert_eq!(pop(&segment), Some(Some(row)));
        }
        assert_eq!(pop(&segment), None);
        // Whoever pushed died after it had counted.
        segment.header().newcomers_in.fetch_add(1, Ordering::Relaxed);
        assert!(push(&segment, 7));
        assert_eq!((pop(&segment), pop(&segment)), (Some(None), Some(Some(7))));
    }

    #[test]
    fn a_ghost_is_remembered_once_and_for_a_while() {
        let segment = segment();
        let hash = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (1..50).for_each(|key| remember(&segment, hash(key)));
        let known = (1..50).filter(|&key| recall(&segment, hash(key))).count();
        assert!(known > 40, "{known}");
        assert!(!(1..100).any(|key| recall(&segment, hash(key))), "forgotten once it came back");
        remember(&segment, hash(7));
        segment.header().epoch.fetch_add(u64::from(EPOCHS) + 1, Ordering::Relaxed);
        assert!(!recall(&segment, hash(7)));
    }
}
