//! The sequence of a row, between one who changes the row and readers who take no lock.

use super::{AtomicU64, Ordering, fence};

/// The sequence before a row is copied.
#[inline(always)]
pub(crate) fn before_copy(sequence: &AtomicU64) -> u64 {
    // Acquire: the key and what follows are read after the sequence.
    sequence.load(Ordering::Acquire)
}

/// Comes between the copies of rows and the second look at their sequences.
#[inline(always)]
pub(crate) fn copied() {
    // Acquire: everything copied was read before the sequences are looked at again.
    fence(Ordering::Acquire);
}

/// The sequence after a row was copied: the copy is of one instant if it is the same as before.
#[inline(always)]
pub(crate) fn after_copy(sequence: &AtomicU64) -> u64 {
    sequence.load(Ordering::Relaxed)
}

/// Makes the readers of a row doubt what they copy. Counts once [`doubted`] was called.
#[inline(always)]
pub(crate) fn begin(sequence: &AtomicU64, begin: u64) {
    sequence.store(begin, Ordering::Relaxed);
}

/// Comes between the beginnings of rows and the first change of a word.
#[inline(always)]
pub(crate) fn doubted() {
    // Release: a reader that sees any word stored from here on sees the odd sequence too.
    fence(Ordering::Release);
}

/// Makes a changed row live.
#[inline(always)]
pub(crate) fn end(sequence: &AtomicU64, begin: u64) {
    // Release: the row is live again, with all that was stored.
    sequence.store(begin.wrapping_add(1), Ordering::Release);
}

/// Says that one word of a live row has changed, which was stored by [`store_word`].
#[inline(always)]
pub(crate) fn raise(sequence: &AtomicU64, seen: u64) {
    sequence.store(seen.wrapping_add(2), Ordering::Release);
}

/// Changes the one word of a row that an operation is about.
#[inline(always)]
pub(crate) fn store_word(word: &AtomicU64, value: u64) {
    // Release: a reader that sees the word also sees every earlier change of the sequence.
    word.store(value, Ordering::Release);
}
