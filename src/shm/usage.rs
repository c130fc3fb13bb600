//! The use of keys: how often and when each was used, in a word beside its record.
//!
//! Whoever uses a key stores its word without a lock, and only if it changes: a key that is read all the time is stored to once a second.
//! A rival's word may win; nothing but the choice of what to evict depends on it, and what OBJECT tells.

use std::sync::atomic::{AtomicU32, Ordering};

use shm_layout::eviction::{
    Policy,
    usage::{COUNT, MET, NEW, SECONDS, SECONDS_SHIFT},
};

use super::{segment::Segment, space::Space};
use crate::sys::random;

/// Uses that are told apart where the policy does not count.
const MOST: u32 = 3;
/// What the LFU parameters are unless somebody says otherwise, as in Redis.
pub(crate) const LOG_FACTOR: u32 = 10;
/// In minutes.
pub(crate) const DECAY_MINUTES: u32 = 1;
/// The count of a key that is new, where the policy counts: else it would go before it can be used again.
const LFU_START: u32 = 5;

/// What a usage word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// How often the key is used, by the policy's count.
    pub frequency: u32,
    /// Seconds since it was used; beyond 48 days they begin anew.
    pub idle_seconds: u64,
}

fn second(now_ms: u64) -> u32 {
    (now_ms / 1000) as u32 & SECONDS
}

fn word(count: u32, second: u32, flags: u32) -> u32 {
    (count & COUNT) | flags | (second << SECONDS_SHIFT)
}

/// What a word says at some time.
pub(crate) fn of_word(segment: &Segment, seen: u32, now_ms: u64) -> Usage {
    Usage { frequency: count_at(segment, seen, now_ms), idle_seconds: u64::from(idle(seen, now_ms)) }
}

fn idle(seen: u32, now_ms: u64) -> u32 {
    let idle = second(now_ms).wrapping_sub(seen >> SECONDS_SHIFT) & SECONDS;
    // A clock that was set back a little says that the key was used in the future.
    if idle > SECONDS - 3600 { 0 } else { idle }
}

/// The count of a word, less what it has lost since the key was used.
pub(crate) fn count_at(segment: &Segment, seen: u32, now_ms: u64) -> u32 {
    let count = seen & COUNT;
    let header = segment.header();
    let decay = header.lfu_decay_minutes.load(Ordering::Relaxed);
    if decay == 0 || !policy(segment).is_lfu() {
        return count;
    }
    // Minutes begin on the clock, not with the use: a key that is used every few seconds loses something as well.
    let then = seen >> SECONDS_SHIFT;
    let minutes = (then + idle(seen, now_ms)) / 60 - then / 60;
    count.saturating_sub(minutes / decay)
}

/// The policy in force.
#[inline]
pub(crate) fn policy(segment: &Segment) -> Policy {
    Policy::of_word(segment.header().policy.load(Ordering::Relaxed))
}

/// Notes that the key of a record was used.
#[inline]
pub(crate) fn touch(segment: &Segment, space: &Space, row: u32, now_ms: u64) {
    if !segment.notes_use() {
        return;
    }
    let Some(at) = space.usage(segment, row) else {
        return;
    };
    let seen = at.load(Ordering::Relaxed);
    let count = if policy(segment).is_lfu() {
        raised(segment, count_at(segment, seen, now_ms))
    } else {
        ((seen & COUNT) + 1).min(MOST)
    };
    replace(at, seen, word(count, second(now_ms), seen & (NEW | MET)));
}

/// Stores a word if it changes anything, and nobody else has stored one.
fn replace(at: &AtomicU32, seen: u32, wanted: u32) {
    if seen != wanted {
        let _ = at.compare_exchange(seen, wanted, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A logarithmic count after one more use: the higher it is, the less likely it goes up.
fn raised(segment: &Segment, count: u32) -> u32 {
    if count == COUNT {
        return count;
    }
    let factor = segment.header().lfu_log_factor.load(Ordering::Relaxed);
    let chance = u64::from(count.saturating_sub(LFU_START)) * u64::from(factor) + 1;
    if random::quick().is_multiple_of(chance) { count + 1 } else { count }
}

/// Begins the word of a record that is being made.
pub(crate) fn begin(segment: &Segment, space: &Space, row: u32, now_ms: u64, is_newcomer: bool) {
    if let Some(at) = space.usage(segment, row) {
        let count = if policy(segment).is_lfu() { LFU_START } else { 0 };
        at.store(word(count, second(now_ms), if is_newcomer { NEW } else { 0 }), Ordering::Relaxed);
    }
}

/// Sets what is known of the use of a record's key.
pub(crate) fn set(
    segment: &Segment,
    space: &Space,
    row: u32,
    now_ms: u64,
    idle_seconds: Option<u64>,
    frequency: Option<u32>,
) {
    let Some(at) = space.usage(segment, row) else {
        return;
    };
    let seen = at.load(Ordering::Relaxed);
    let count = frequency.unwrap_or(seen & COUNT).min(COUNT);
    let then = match idle_seconds {
        Some(idle) => second(now_ms).wrapping_sub(idle.min(u64::from(SECONDS / 2)) as u32) & SECONDS,
        None => second(now_ms),
    };
    replace(at, seen, word(count, then, seen & (NEW | MET)));
}

/// What the hand makes of a word that it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The key can go.
    Victim,
    /// It stays for this time.
    Spared,
}

/// The hand passes: a newcomer is not its business, unless it is met a second time (then its place in the ring is lost); what was
/// used loses one use; what was not used goes.
pub(super) fn pass(at: &AtomicU32) -> Judgement {
    let seen = at.load(Ordering::Relaxed);
    if seen & NEW != 0 {
        let wanted = if seen & MET != 0 { seen & !(NEW | MET) } else { seen | MET };
        replace(at, seen, wanted);
        return Judgement::Spared;
    }
    match (seen & COUNT).min(MOST) {
        0 => Judgement::Victim,
        count => {
            replace(at, seen, (seen & !COUNT) | (count - 1));
            Judgement::Spared
        }
    }
}

/// The end of a newcomer's time: it goes unless it was used `uses` times. `None` if it is no newcomer (any more).
pub(super) fn graduate(at: &AtomicU32, uses: u32) -> Option<Judgement> {
    let seen = at.load(Ordering::Relaxed);
    if seen & NEW == 0 {
        return None;
    }
    if seen & COUNT < uses {
        return Some(Judgement::Victim);
    }
    replace(at, seen, seen & !(COUNT | NEW | MET));
    Some(Judgement::Spared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::SegmentOptions;

    #[test]
    fn the_hand_takes_what_was_not_used_and_one_use_of_what_was() {
        let at = AtomicU32::new(word(2, 7, 0));
        assert_eq!(pass(&at), Judgement::Spared);
        assert_eq!(pass(&at), Judgement::Spared);
        assert_eq!(pass(&at), Judgement::Victim);
        assert_eq!(at.load(Ordering::Relaxed) >> SECONDS_SHIFT, 7, "when it was used is not the hand's to say");
    }

    #[test]
    fn a_newcomer_that_is_met_twice_is_one_no_more() {
        let at = AtomicU32::new(word(0, 7, NEW));
        assert_eq!(pass(&at), Judgement::Spared);
        assert_eq!(pass(&at), Judgement::Spared);
        assert_eq!(pass(&at), Judgement::Victim);
    }

    #[test]
    fn a_newcomer_stays_if_it_was_used() {
        let at = AtomicU32::new(word(1, 7, NEW));
        assert_eq!(graduate(&at, 1), Some(Judgement::Spared));
        assert_eq!(graduate(&at, 1), None);
        let at = AtomicU32::new(word(0, 7, NEW));
        assert_eq!(graduate(&at, 1), Some(Judgement::Victim));
    }

    #[test]
    fn idle_time_goes_round_and_forgives_a_clock_that_was_set_back() {
        assert_eq!(idle(word(0, 10, 0), 25_000), 15);
        assert_eq!(idle(word(0, SECONDS, 0), 1000), 2);
        assert_eq!(idle(word(0, 10, 0), 9000), 0);
    }

    #[test]
    fn a_count_is_logarithmic_and_decays_by_minutes() {
        let segment = Segment::create(SegmentOptions::new().memory(16 << 20)).unwrap();
        segment.header().policy.store(Policy::AllKeysLfu as u32, Ordering::Relaxed);
        segment.header().lfu_log_factor.store(10, Ordering::Relaxed);
        segment.header().lfu_decay_minutes.store(1, Ordering::Relaxed);
        let mut count = LFU_START;
        (0..1000).for_each(|_| count = raised(&segment, count));
        assert!((10..60).contains(&count), "{count}");
        assert_eq!(raised(&segment, COUNT), COUNT);
        let seen = word(20, 30, 0);
        assert_eq!(count_at(&segment, seen, 59_000), 20);
        assert_eq!(count_at(&segment, seen, 60_000), 19);
        assert_eq!(count_at(&segment, seen, 3_600_000), 0);
    }
}
