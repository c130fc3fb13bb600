//! A ring that one process writes and any number read, none of whom the writer waits for; and the bell that says to look at rings.
//!
//! The writer claims what it is about to overwrite, stores the words, then moves the head. A reader copies what lies between its
//! cursor and the head, then looks whether the claim has reached what it copied. A writer that dies before it moves the
//! head has published nothing; the next one goes on from the head, and the claim stays where it was.

use super::{AtomicU32, AtomicU64, Ordering, fence};

/// Says that bytes up to position `end` are about to be written.
#[inline(always)]
pub(crate) fn claim(claimed: &AtomicU64, end: u64) {
    // Never back: what a dead writer overwrote beyond `end` stays overwritten.
    if claimed.load(Ordering::Relaxed) < end {
        claimed.store(end, Ordering::Relaxed);
    }
    // Release: a reader that sees any word stored from here on sees the claim too.
    fence(Ordering::Release);
}

/// Publishes what was written up to position `end`.
#[inline(always)]
pub(crate) fn publish(head: &AtomicU64, end: u64) {
    // Release: whoever sees the head sees the words before it.
    head.store(end, Ordering::Release);
}

/// The position behind the last message.
#[inline(always)]
pub(crate) fn published(head: &AtomicU64) -> u64 {
    // Acquire: the words before the head are read after it.
    head.load(Ordering::Acquire)
}

/// Whether what was copied from position `from` on may have been overwritten meanwhile.
#[inline(always)]
pub(crate) fn is_overtaken(claimed: &AtomicU64, from: u64, ring_bytes: u64) -> bool {
    // Acquire: everything copied was read before the claim is looked at.
    fence(Ordering::Acquire);
    claimed.load(Ordering::Relaxed).saturating_sub(from) > ring_bytes
}

/// Tells a worker that there is something for it, unless it knows; `wake` wakes it.
///
/// It is woken before the bell says so: one who dies in between has woken it for nothing, and nobody relies on a wake-up that never came.
#[inline(always)]
pub(crate) fn tell(bell: &AtomicU32, wake: impl FnOnce()) {
    // SeqCst: either the head that was published before is seen by a worker that has just called `listen`, or its bell is seen here.
    fence(Ordering::SeqCst);
    let seen = bell.load(Ordering::Relaxed);
    if seen % 2 == 1 {
        return;
    }
    wake();
    // If it fails, another has told it, or it looks just now.
    let _ = bell.compare_exchange(seen, seen.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
}

/// Whether the worker was told since it last listened.
#[inline(always)]
pub(crate) fn is_told(bell: &AtomicU32) -> bool {
    // Acquire: the heads are read after the bell.
    bell.load(Ordering::Acquire) % 2 == 1
}

/// Has the worker told of everything that it does not see when it looks at the rings afterwards.
#[inline(always)]
pub(crate) fn listen(bell: &AtomicU32) {
    let seen = bell.load(Ordering::Relaxed);
    bell.store((seen | 1).wrapping_add(1), Ordering::Relaxed);
    // SeqCst: see `tell`.
    fence(Ordering::SeqCst);
}
