//! What is done for the dead: their decided operation is carried out, their undecided one forgotten, their locks freed.
//!
//! Whoever meets a slot that the kernel has marked recovers it; nobody waits for a recoverer but by sleeping on the
//! slot as on any owner. Recovery holds no lock and needs no slot:
//!
//! 1. `pending` of the recoverer names the slot's `alive`: if the recoverer dies, the kernel marks the slot again.
//! 2. CAS `alive` from OWNER_DIED to the recoverer's thread id. One wins; the others sleep or go on. A release fence follows: whoever sees what the
//!    recoverer stores also sees what the dead one stored before, above all odd sequences.
//! 3. A committed journal is carried out again (every value in it is absolute); of an uncommitted one the new blocks are given back.
//!    Then an open transaction of which that was a part is undone, or a committed one finished.
//! 4. A page or region that was being claimed is completed or given back.
//! 5. The gate is opened if the dead one had it.
//! 6. Every lock word named in `held` that carries the slot's number is freed; a live row's sequence goes up by 2
//!    first, because the dead one may have stored a single word without raising it, and a free row gets its hint back.
//! 7. The flag goes down; `alive` = 0, and only now may the slot be claimed by somebody else; all sleepers are woken.
//!
//! Killed after any step, the next recoverer starts over: steps 3 to 6 find done what was done.
//!
//! **Owners that vanish.** One end goes past the kernel's marks: a thread that is not its process's first calls `exec`. It goes on
//! under the id of the first one, and by that id the kernel looks for what it owns. So whoever has waited for an owner in vain, and
//! the master once a second, asks the kernel whether there is a thread of that id ([`is_dead`]). If there is none, the owner is gone, and
//! its slot is marked in the kernel's stead. If somebody else has got the id meanwhile, that waits until he ends; nobody who
//! lives is taken for dead. (That would take an id that is free when the question is asked, and that goes, in the
//! instant before the mark is made, to a thread that claims the very slot, which a third one has just recovered.)

use std::sync::atomic::{AtomicU64, Ordering};

use shm_layout::{
    row,
    slot::{Held, Journal, Slot, alive},
};

use super::{
    arena, crash::point, directory, gate, heap, journal, locks, protocol, segment::Segment, threads, transaction,
};
use crate::sys::{futex, robust};

/// Recovers slot `number` if the kernel has marked it and nobody else is at it; whether it did.
pub(crate) fn recover(segment: &Segment, number: u32) -> bool {
    threads::with_pending(|pending| recover_with(segment, number, pending))
}

/// As [`recover`], with the `pending` word of the calling thread's list.
pub(crate) fn recover_with(segment: &Segment, number: u32, pending: &AtomicU64) -> bool {
    let slot = segment.slot(number);
    pending.store(threads::pending_address(slot), Ordering::Release);
    let won = protocol::lock::claim_dead(&slot.alive, robust::thread_id());
    if won {
        settle(segment, number);
        segment.header().recoveries.fetch_add(1, Ordering::Relaxed);
        protocol::lock::vacate(&slot.alive);
        futex::wake_all(&slot.alive);
    }
    pending.store(0, Ordering::Release);
    won
}

/// Whether the owner of a slot is dead: the kernel has marked the slot, or it knows no thread of the owner's id, and the
/// slot is marked here. One system call for an owner that is not marked.
pub(crate) fn is_dead(slot: &Slot) -> bool {
    let seen = slot.alive.load(Ordering::Acquire);
    if seen & alive::OWNER_DIED != 0 || seen == 0 {
        return seen != 0;
    }
    if robust::exists(seen & alive::TID) {
        return false;
    }
    let mark = (seen & alive::WAITERS) | alive::OWNER_DIED;
    let marked = slot.alive.compare_exchange(seen, mark, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    futex::wake_all(&slot.alive);
    marked
}

/// Steps 3 to 6, and the flag: afterwards the slot is clean.
fn settle(segment: &Segment, number: u32) {
    let slot = segment.slot(number);
    if journal::is_committed(slot) {
        journal::redo(segment, slot);
    } else {
        heap::give_back_new(segment, slot, number);
    }
    transaction::settle(segment, slot, number);
    arena::settle_claim(segment, slot, number);
    directory::settle_claim(segment, slot);
    gate::open_for(segment, number);
    // The gate's lock, which comes first, goes last: until then no other closer believes that everybody is out.
    slot.held.iter().rev().for_each(|name| free_lock(segment, number, name));
    protocol::gate::lower(&slot.flag);
}

/// Whether a slot's owner is, or was, outside of all operations and holds nothing. So is every slot without an owner, as its last
/// one or a recoverer left it, unless the segment was damaged.
pub(crate) fn is_clean(slot: &Slot) -> bool {
    let Journal { state, new_len, old_len, transaction, .. } = &slot.journal;
    let counts = [state, new_len, old_len, transaction, &slot.flag, &slot.claim_page];
    counts.iter().all(|count| count.load(Ordering::Acquire) == 0)
        && [&slot.claim_units[2], &slot.log].iter().all(|word| word.load(Ordering::Acquire) == 0)
        && slot.held.iter().all(|name| name.load(Ordering::Acquire) == 0)
}

fn free_lock(segment: &Segment, number: u32, name: &AtomicU64) {
    let encoded = name.load(Ordering::Acquire);
    if encoded == 0 {
        return;
    }
    let word = Held::decode(encoded).and_then(|held| Some((held, locks::word_of(segment, held)?)));
    if let Some((held, word)) = word.filter(|(_, word)| protocol::lock::is_held_by(word, number)) {
        if let Held::Row(space, row) = held {
            settle_row(segment, space, row);
        }
        // Who waits for it sleeps on the slot, and is woken when that is vacant.
        protocol::lock::free(word);
    }
    name.store(0, Ordering::Release);
}

fn settle_row(segment: &Segment, space: u32, number: u32) {
    let Some(space) = segment.space(space) else {
        return;
    };
    let Some(header) = space.header(segment, number) else {
        return;
    };
    point("settling");
    let sequence = header.sequence.load(Ordering::Acquire);
    if row::is_live(sequence) {
        protocol::sequence::raise(&header.sequence, sequence);
    } else {
        space.set_hint(segment, number);
    }
}

/// Recovers every slot whose owner is dead; returns how many. One system call for each owner that lives.
pub(crate) fn recover_all(segment: &Segment) -> usize {
    let dead = |&number: &u32| is_dead(segment.slot(number));
    (1..=segment.slots()).filter(dead).filter(|&number| recover(segment, number)).count()
}

/// Recovers every slot that somebody ever owned, marked or not, and every one that is not clean. Only for one who is alone with the segment: after the
/// death of everybody some slots may carry a number that no kernel marked, for instance in another PID namespace.
pub(crate) fn recover_alone(segment: &Segment) -> usize {
    // Whatever a damaged word says: nobody is passed over.
    segment.header().slots_claimed.store(segment.slots(), Ordering::Relaxed);
    for slot in segment.all_slots() {
        if slot.alive.load(Ordering::Acquire) != 0 || !is_clean(slot) {
            slot.alive.store(alive::OWNER_DIED, Ordering::Release);
        }
    }
    recover_all(segment)
}
