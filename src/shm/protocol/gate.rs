//! The writers' flags against the gate, and the gate's sequence against readers.
//!
//! The essays are at the heads of `src/shm/gate.rs` and `src/shm/locks.rs`.

use shm_layout::header::fenced;

use super::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};

/// Raises a writer's flag; whether the gate was open then. If not, the flag is to be lowered again.
#[inline(always)]
pub(crate) fn raise(flag: &AtomicU32, closed: &AtomicU32, who_fences: &AtomicU32) -> bool {
    flag.store(1, Ordering::Relaxed);
    // Pairs with the `membarrier` of the gate's closer: the flag is up before the gate is looked at.
    compiler_fence(Ordering::SeqCst);
    if who_fences.load(Ordering::Relaxed) != fenced::CLOSER {
        // Pairs with the fence in `mark`.
        fence(Ordering::SeqCst);
    }
    // Acquire: what was done under the gate is seen by whoever finds it open.
    closed.load(Ordering::Acquire) == 0
}

/// Lowers a writer's flag.
#[inline(always)]
pub(crate) fn lower(flag: &AtomicU32) {
    // Release: everything that was written under the flag is seen by a closer who finds it down.
    flag.store(0, Ordering::Release);
}

/// Whether a flag is up.
pub(crate) fn is_up(flag: &AtomicU32) -> bool {
    // Acquire: what the writer did is seen.
    flag.load(Ordering::Acquire) != 0
}

/// Marks the gate as closing. Next comes the barrier of all processes, unless this is false, and then the look at all flags.
pub(crate) fn mark(closed: &AtomicU32, who_fences: &AtomicU32) -> bool {
    closed.store(1, Ordering::SeqCst);
    let by_writers = who_fences.load(Ordering::Relaxed) == fenced::WRITER;
    if by_writers {
        // Pairs with the fence in `raise`.
        fence(Ordering::SeqCst);
    }
    !by_writers
}

/// Asks the writers to fence. They are known to do so once a barrier of all processes came behind this, and
/// [`fenced_by_writers`] says so.
pub(crate) fn ask_writers(who_fences: &AtomicU32) {
    who_fences.store(fenced::BOTH, Ordering::SeqCst);
}

/// All writers fence from here on.
pub(crate) fn fenced_by_writers(who_fences: &AtomicU32) {
    who_fences.store(fenced::WRITER, Ordering::Release);
}

/// The closers make the barrier again. The caller has the gate's lock.
pub(crate) fn fenced_by_closers(who_fences: &AtomicU32) {
    who_fences.store(fenced::CLOSER, Ordering::Release);
}

/// Takes the mark away.
pub(crate) fn unmark(closed: &AtomicU32) {
    closed.store(0, Ordering::Release);
}

/// Makes readers doubt what they read, once everybody is out.
pub(crate) fn shut(sequence: &AtomicU64) {
    // An odd one was left by damage: it goes to the next odd number.
    let odd = sequence.load(Ordering::Relaxed) % 2;
    // Release: a reader that sees a change made from here on also sees the odd sequence when it looks again.
    sequence.fetch_add(1 + odd, Ordering::AcqRel);
    fence(Ordering::SeqCst);
}

/// Opens the gate. Doing it twice is doing it once.
pub(crate) fn open(sequence: &AtomicU64, closed: &AtomicU32) {
    if sequence.load(Ordering::Relaxed) % 2 == 1 {
        // Release: whoever sees the even sequence sees what was done behind the gate.
        sequence.fetch_add(1, Ordering::AcqRel);
    }
    unmark(closed);
}

/// The gate's sequence if it is even.
#[inline(always)]
pub(crate) fn open_sequence(sequence: &AtomicU64) -> Option<u64> {
    // Acquire: what was done behind the gate before it opened is seen.
    let sequence = sequence.load(Ordering::Acquire);
    sequence.is_multiple_of(2).then_some(sequence)
}

/// Whether the gate has stayed open since its sequence was read. An acquire fence comes before.
#[inline(always)]
pub(crate) fn unchanged(sequence: &AtomicU64, seen: u64) -> bool {
    sequence.load(Ordering::Relaxed) == seen
}
