//! The check of a whole segment: every word that two places agree on is looked at from both.
//!
//! The check runs behind the gate. There no operation is under way, so what holds between operations must hold now, for every word:
//! a difference is damage, or a defect of ours. The dead are recovered first, and those who die meanwhile as
//! they are met: what they left is no damage. Apart from recovery nothing is changed.
//!
//! A live process may still do four things while the gate is closed, and none of them is taken for damage: raise its flag, see
//! the gate and lower it again; name the gate among its locks while it waits for it; claim a slot or give one back; die. So of a
//! slot with an owner neither flag nor the gate's name count, and what is wrong with a slot is believed once it stays so.
//!
//! What is walked, in this order:
//!
//! 1. [`slots`]: gate and slots: nothing is held, claimed, listed or half done;
//! 2. [`directory`]: the tables' entries and their regions; the pages of the arena and the units of the tables;
//! 3. [`space`]: each space from its index and from its rows, counting what it has;
//! 4. [`heap`]: blocks are marked as records name them; then each block in use must be marked, and each free one findable.
//!
//! **Every byte is an allegation.** No number from the segment bounds a loop or names a place before it was compared with the geometry.
//! Time is linear in the size of the segment: the one search that could be longer, for a key's twin, has a budget. Memory is a bit
//! for each row and each block, four bytes for each group, and eight for each page of the arena.
//!
//! A death may leave two things that cost a look and nothing else, and which are therefore told of as figures, not as findings: an overflow
//! count that is too high, and a page of blocks whose page-wide hint is missing.

mod directory;
mod finding;
mod heap;
mod slots;
mod space;

use std::time::Duration;

pub use finding::{Finding, FindingKind, Verification};
pub use slots::Holder;

use super::{
    gate::{Gate, Left},
    locks,
    segment::{Refusal, Segment},
};

/// Work between two calls of `progress`: rows, groups and blocks.
const SHARE: u64 = 1 << 14;
/// Attempts in vain at a gate whose lock names nobody, before it is taken for damaged.
const ORPHAN_LOOKS: u32 = 25;
/// The pause between two attempts to close the gate.
const PAUSE: Duration = Duration::from_millis(2);

/// A check under way.
struct Walk<'a> {
    segment: &'a Segment,
    result: Verification,
    done: u64,
    of: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl Walk<'_> {
    /// Reports a finding. `number` is that of the row, group, page, slot or entry that the text speaks of.
    fn find(&mut self, kind: FindingKind, place: &str, number: u64, text: impl FnOnce() -> String) {
        self.result.add(|| Finding { kind, place: place.to_owned(), number: Some(number), text: text() });
    }

    /// So much work was done.
    fn did(&mut self, work: u64) {
        let before = self.done;
        self.done += work;
        if before / SHARE != self.done / SHARE {
            (self.progress)(self.done.min(self.of), self.of);
        }
    }

    fn all(&mut self, left: &Left, own: u32) {
        slots::gate_words(self, left);
        slots::slots(self, own);
        let directory::Map { subjects, units } = directory::tables(self);
        let runs = directory::pages(self, &units);
        let keys = directory::keys_subject(self.segment, runs);
        let spaces = || subjects.iter().chain([&keys]);
        self.of = spaces().map(space::Subject::work).sum::<u64>() + u64::from(heap::pages(self.segment));
        (self.progress)(0, self.of);
        let mut blocks = heap::Blocks::new(self.segment);
        for subject in spaces() {
            space::check(self, subject, &mut blocks);
        }
        blocks.check(self);
        (self.progress)(self.of, self.of);
    }
}

impl Segment {
    /// Recovers the dead, closes the gate, and checks the whole segment: index and rows, counts, blocks, tables, pages, slots and locks.
    /// Nothing is changed but what recovery does. `progress` is told of the work done and of all the work.
    ///
    /// O(size of the segment), during which every other process waits for the gate. Never panics and never loops on a damaged segment.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] if the gate cannot be closed within `patience` (`None`: it is tried for ever), because somebody was
    /// stopped inside an operation: see [`Segment::holders`].
    pub fn verify(
        &self,
        patience: Option<Duration>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Verification, Refusal> {
        let before = self.recoveries();
        self.recover();
        let mut left = Left::default();
        let gate = self.close_gate(patience, &mut left)?;
        let mut walk = Walk { segment: self, result: Verification::default(), done: 0, of: 0, progress };
        match gate {
            Some(mut gate) => {
                let own = gate.writer().number();
                walk.all(&left, own);
            }
            None => slots::orphaned_gate(&mut walk),
        }
        walk.result.recovered = self.recoveries().saturating_sub(before);
        Ok(walk.result)
    }

    /// Closes the gate; `None` if its lock stays in the hands of nobody.
    fn close_gate(&self, patience: Option<Duration>, left: &mut Left) -> Result<Option<Gate<'_>>, Refusal> {
        let mut orphaned = 0;
        locks::patiently(self, patience, || match Gate::close_noting(self, left) {
            Ok(gate) => Ok(Some(gate)),
            Err(_) if slots::is_gate_orphaned(self) && orphaned >= ORPHAN_LOOKS => Ok(None),
            Err(refusal) => {
                orphaned = if slots::is_gate_orphaned(self) { orphaned + 1 } else { 0 };
                std::thread::sleep(PAUSE);
                Err(refusal)
            }
        })
    }
}
