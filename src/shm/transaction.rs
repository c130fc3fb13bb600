//! Transactions: several operations of one thread that happen altogether or not at all, and between which nobody looks.
//!
//! A transaction closes the gate and keeps it closed, so it is alone: nobody reads, nobody writes, nobody waits in a circle. The operations
//! inside are the ordinary ones. They find the gate closed and ask whether it is their own thread that closed it
//! ([`is_own`] for readers, [`locks_before`] for writers); so whoever is in no transaction asks nothing.
//!
//! *Nothing happens at once.* Before an operation changes a word that others can see, it writes into the slot's log what stood there (see
//! [`super::undo`]), and the blocks that it replaces are not freed but listed. The commit of the transaction is one store:
//!
//! | killed | recovery finds | and does |
//! |---|---|---|
//! | before OPEN | a gate and no log | opens the gate: the old state |
//! | inside an operation | its journal, and OPEN | finishes or drops that operation, then undoes the log from its end to its start: the old state |
//! | between two operations | OPEN | undoes the log: the old state |
//! | after COMMITTED | COMMITTED | frees what was listed, then the log: the new state |
//! | while the log is freed | OPEN or COMMITTED | the same again: old values are absolute, a block is freed once, and what stands in a freed block stays as long as the gate is closed |
//! | after the log is forgotten | NONE, and the gate | opens the gate |
//!
//! Everything is done before the gate opens, by the thread itself, or by the one who recovers its slot. A panic inside, and whoever
//! drops a transaction without committing it, undoes it in the same way.
//!
//! A transaction that begins inside of another is a *part* of that. If it is not committed, what was logged since its beginning is
//! undone and the log is taken back to there; a death in the middle of that undoes the whole, the part once more included. Its commit is nothing at all: what
//! becomes of it is decided with the whole.
//!
//! What is sticky is not undone, because it says nothing about contents: pages that were given to the heap or to records, the note that
//! something may expire, a counter that was made wide (unless it was changed before, when its row is put back with its flags), counts of passed groups that
//! are too high. Tables are not made or dropped inside.

use std::{cell::Cell, sync::atomic::Ordering, time::Duration};

use shm_layout::slot::{Slot, transaction};

use super::{
    crash::point,
    gate::{self, Gate},
    segment::{Refusal, Segment},
    undo::{self, Mark},
};

thread_local! {
    /// The segment in which this thread has a transaction open; 0: none. There is one at a time, so whoever begins one in another segment
    /// is refused.
    static OPEN: Cell<u64> = const { Cell::new(0) };
}

/// A transaction of this thread's, or a part of one. Dropped without a [`commit`](Transaction::commit), it has not happened.
pub struct Transaction<'a> {
    gate: Gate<'a>,
    extent: Extent,
}

/// What ends with a transaction.
#[derive(Clone, Copy)]
enum Extent {
    /// All that was done behind the gate, for good.
    Whole,
    /// What was logged behind this place of the log of another transaction.
    Part(Mark),
    /// Nothing: the other one decides about it.
    Kept,
}

impl<'a> Transaction<'a> {
    /// Closes the gate, for which it tries until `patience` is over (`None`: for ever), and opens a transaction; inside of one, begins
    /// a part of that.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`], and [`Refusal::InTransaction`] if the thread is in one of another segment.
    pub fn begin(segment: &'a Segment, patience: Option<Duration>) -> Result<Self, Refusal> {
        match OPEN.get() {
            0 => {}
            id if id == segment.id() => return Self::begin_part(segment),
            _ => return Err(Refusal::InTransaction),
        }
        let mut gate = gate::close_patiently(segment, patience)?;
        // Release: the gate is closed before.
        gate.writer().slot().journal.transaction.store(transaction::OPEN, Ordering::Release);
        OPEN.set(segment.id());
        point("transaction-open");
        Ok(Self { gate, extent: Extent::Whole })
    }

    fn begin_part(segment: &'a Segment) -> Result<Self, Refusal> {
        let mut gate = Gate::close(segment)?;
        let extent = Extent::Part(undo::mark(segment, gate.writer().slot()));
        Ok(Self { gate, extent })
    }

    /// Makes everything happen that was done since the beginning, at once or with the transaction that this is a part of. Cannot fail.
    pub fn commit(mut self) {
        if let Extent::Part(_) = self.extent {
            self.extent = Extent::Kept;
            return;
        }
        point("before-transaction");
        // Release: whoever sees COMMITTED sees everything that was done.
        self.gate.writer().slot().journal.transaction.store(transaction::COMMITTED, Ordering::Release);
        point("transaction-committed");
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        let writer = self.gate.writer();
        let (segment, slot, number) = (writer.segment(), writer.slot(), writer.number());
        // What a panic left in the middle of an operation comes first, as after a death.
        writer.give_back_blocks();
        match self.extent {
            Extent::Whole => {
                settle(segment, slot, number);
                OPEN.set(0);
            }
            Extent::Part(mark) => undo::undo_to(segment, slot, number, mark),
            Extent::Kept => {}
        }
    }
}

/// Undoes the open transaction of a slot, or finishes the committed one. Behind the gate, which the slot has; once the journal's own
/// operation is settled.
pub(super) fn settle(segment: &Segment, slot: &Slot, number: u32) {
    match slot.journal.transaction.load(Ordering::Acquire) {
        // A log without a transaction is damage.
        transaction::NONE => return slot.log.store(0, Ordering::Release),
        transaction::OPEN => undo::undo_all(segment, slot, number),
        _ => undo::free_replaced(segment, slot),
    }
    undo::forget(segment, slot);
    point("log-freed");
    slot.journal.transaction.store(transaction::NONE, Ordering::Release);
}

/// Whether this thread has a transaction open in `segment`.
#[cold]
pub(super) fn is_own(segment: &Segment) -> bool {
    OPEN.get() == segment.id()
}

/// Refuses what cannot be undone.
///
/// # Errors
///
/// [`Refusal::InTransaction`] if this thread has a transaction open.
pub(super) fn check_outside(segment: &Segment) -> Result<(), Refusal> {
    if is_own(segment) { Err(Refusal::InTransaction) } else { Ok(()) }
}

/// Whether the operations of a slot are to be logged. The caller owns the slot or recovers it.
#[inline(always)]
pub(super) fn is_open(slot: &Slot) -> bool {
    slot.journal.transaction.load(Ordering::Relaxed) == transaction::OPEN
}

/// Locks that a slot holds for its transaction, the gate's. The caller owns the slot, and found it in the middle of something.
///
/// # Panics
///
/// If that is something else than a transaction: a change of a row uses the store.
#[cold]
pub(super) fn locks_before(slot: &Slot) -> u16 {
    let held = |at: usize| slot.held[at].load(Ordering::Relaxed) != 0;
    let between = is_open(slot) && slot.flag.load(Ordering::Relaxed) == 0 && held(0) && !held(1);
    assert!(between, "a change of a row must not use the store");
    1
}
