//! The lock word and its owner's `alive`: taking, waiting, letting go, and taking from the dead.
//!
//! The essay is at the head of `src/shm/locks.rs`.

use shm_layout::slot::{alive, lock};

use super::{AtomicU32, Ordering, fence};

/// Takes a free lock for slot `number`; whether it did.
#[inline(always)]
pub(crate) fn take(word: &AtomicU32, number: u32) -> bool {
    // AcqRel: the announcement is visible before the lock, and what the last owner wrote is seen.
    word.compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// Lets go of a lock; whether somebody waits for it.
#[inline(always)]
pub(crate) fn free(word: &AtomicU32) -> bool {
    // AcqRel: Release for the next owner; Acquire so that a waiter's WAITERS is seen when its WAIT is.
    word.swap(0, Ordering::AcqRel) & lock::WAIT != 0
}

/// Takes the waiters' mark from the own `alive`, before they are woken.
pub(crate) fn unmark(life: &AtomicU32) {
    life.fetch_and(!alive::WAITERS, Ordering::AcqRel);
}

/// Makes a waiter known, at the lock word that was `seen` and then at its owner's `alive`, which was `was`. What `alive` is while the waiter may
/// sleep on it; `None` if something has changed meanwhile.
pub(crate) fn mark(word: &AtomicU32, seen: u32, life: &AtomicU32, was: u32) -> Option<u32> {
    let waited = seen | lock::WAIT;
    if seen != waited && word.compare_exchange(seen, waited, Ordering::AcqRel, Ordering::Relaxed).is_err() {
        return None;
    }
    mark_life(life, was).filter(|_| word.load(Ordering::Acquire) == waited)
}

/// Sets WAITERS in an `alive` that was `was`. What it is now; `None` if it has changed.
pub(crate) fn mark_life(life: &AtomicU32, was: u32) -> Option<u32> {
    let marked = was | alive::WAITERS;
    let stands = was == marked || life.compare_exchange(was, marked, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    stands.then_some(marked)
}

/// Makes `thread` the one who recovers a dead slot; whether it is.
pub(crate) fn claim_dead(life: &AtomicU32, thread: u32) -> bool {
    let seen = life.load(Ordering::Acquire);
    let mine = thread | alive::WAITERS;
    // AcqRel: what the dead one wrote is seen.
    let won =
        seen & alive::OWNER_DIED != 0 && life.compare_exchange(seen, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    // Release: a reader that sees a word stored from here on also sees the odd sequences that the dead one left.
    fence(Ordering::Release);
    won
}

/// Whether slot `number` holds the lock.
pub(crate) fn is_held_by(word: &AtomicU32, number: u32) -> bool {
    word.load(Ordering::Acquire) & lock::OWNER == number
}

/// Makes a slot free again, after all else. Whoever sleeps on it is to be woken.
pub(crate) fn vacate(life: &AtomicU32) {
    // AcqRel: whoever claims the slot next sees it clean.
    life.swap(0, Ordering::AcqRel);
}
