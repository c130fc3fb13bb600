//! The gate and the slots: nothing is held, claimed, listed or half done.

use std::{sync::atomic::Ordering, time::Duration};

use shm_layout::slot::{Held, Slot, alive, journal, lock};

use super::{
    super::{gate::Left, recovery, segment::Segment},
    Finding, FindingKind, Walk,
};

/// Looks at a slot before what is wrong with it is believed: its owner may be coming or going.
const LOOKS: u32 = 5;

/// A process that keeps the gate from being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its slot.
    pub slot: u32,
    /// Its process id, in the PID namespace of the segment's processes.
    pub pid: u32,
    /// Whether it has the gate itself; otherwise it is inside an operation.
    pub has_gate: bool,
}

impl Segment {
    /// Who keeps the gate from being closed at this moment: after [`super::Refusal::Busy`], those who are stopped.
    #[must_use]
    pub fn holders(&self) -> Vec<Holder> {
        let gate = self.header().gate_lock.load(Ordering::Acquire) & lock::OWNER;
        let inside = |&number: &u32| {
            let slot = self.slot(number);
            slot.alive.load(Ordering::Acquire) != 0 && (number == gate || slot.flag.load(Ordering::Acquire) != 0)
        };
        let holder =
            |slot: u32| Holder { slot, pid: self.slot(slot).pid.load(Ordering::Relaxed), has_gate: slot == gate };
        (1..=self.slots()).filter(inside).map(holder).collect()
    }
}

/// Whether the gate's lock names nobody who could ever let go of it.
pub(super) fn is_gate_orphaned(segment: &Segment) -> bool {
    let word = segment.header().gate_lock.load(Ordering::Acquire);
    let owned = || segment.slot_checked(word & lock::OWNER).is_some_and(|slot| slot.alive.load(Ordering::Acquire) != 0);
    word != 0 && !owned()
}

/// Reports a gate that nobody can close.
pub(super) fn orphaned_gate(walk: &mut Walk<'_>) {
    let word = walk.segment.header().gate_lock.load(Ordering::Acquire);
    let text = format!("the gate's lock word is {word:#x}, which names no living owner: nothing else could be checked");
    walk.result.add(|| Finding { kind: FindingKind::GateOrphaned, place: "gate".to_owned(), number: None, text });
}

/// What stood in the gate's words before the check closed it, and the directory's lock.
pub(super) fn gate_words(walk: &mut Walk<'_>, left: &Left) {
    if left.closed || left.odd {
        let text = "the gate was marked as closed although nobody held its lock".to_owned();
        walk.result.add(|| Finding { kind: FindingKind::GateLeftClosed, place: "gate".to_owned(), number: None, text });
    }
    let word = walk.segment.header().directory_lock.load(Ordering::Acquire);
    if word != 0 {
        let text = format!("the directory's lock word is {word:#x}");
        let place = "directory".to_owned();
        walk.result.add(|| Finding { kind: FindingKind::DirectoryLocked, place, number: None, text });
    }
}

/// Looks at every slot. `own` is that of the checker, which has the gate.
pub(super) fn slots(walk: &mut Walk<'_>, own: u32) {
    for number in 1..=walk.segment.slots() {
        for (kind, text) in settled_troubles(walk.segment, number, own) {
            walk.find(kind, "slots", u64::from(number), || format!("slot {number} {text}"));
        }
    }
}

/// What is wrong with a slot and stays so.
fn settled_troubles(segment: &Segment, number: u32, own: u32) -> Vec<(FindingKind, String)> {
    for _ in 1..LOOKS {
        if segment.slot(number).alive.load(Ordering::Acquire) & alive::OWNER_DIED != 0 {
            recovery::recover(segment, number);
        }
        if troubles(segment.slot(number), number == own).is_empty() {
            return Vec::new();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    troubles(segment.slot(number), number == own)
}

fn troubles(slot: &Slot, own: bool) -> Vec<(FindingKind, String)> {
    let mut found = Vec::new();
    let owned = own || slot.alive.load(Ordering::Acquire) != 0;
    if !owned && slot.flag.load(Ordering::Acquire) != 0 {
        found.push((FindingKind::SlotFlagUp, "is free and marked as inside an operation".to_owned()));
    }
    let state = slot.journal.state.load(Ordering::Acquire);
    if state != journal::IDLE {
        found.push((FindingKind::SlotIntentLeft, format!("has an intent in state {state}")));
    }
    let listed = [&slot.journal.new_len, &slot.journal.old_len].map(|len| len.load(Ordering::Acquire));
    if listed != [0, 0] {
        let text = format!("lists {} new and {} old blocks of no operation", listed[0], listed[1]);
        found.push((FindingKind::SlotBlocksListed, text));
    }
    let open = (slot.journal.transaction.load(Ordering::Acquire), slot.log.load(Ordering::Acquire));
    if open != (0, 0) {
        let text = format!("has a transaction in state {} and a log at {:#x}", open.0, open.1);
        found.push((FindingKind::SlotTransactionLeft, text));
    }
    // Whoever owns a slot may be waiting for the gate.
    let waits = |word: u64| owned && word == Held::Gate.encode();
    let named = slot.held.iter().map(|name| name.load(Ordering::Acquire)).find(|&word| word != 0 && !waits(word));
    if let Some(word) = named {
        found.push((FindingKind::SlotLockNamed, format!("names a lock ({word:#x}) that it cannot hold")));
    }
    let claims = (slot.claim_page.load(Ordering::Acquire), slot.claim_units[2].load(Ordering::Acquire));
    if claims != (0, 0) {
        found.push((FindingKind::SlotClaimLeft, format!("is noted to claim page or region {claims:?}")));
    }
    found
}
