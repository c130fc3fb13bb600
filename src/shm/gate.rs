//! The gate: the one exclusive lock over all writers, for what no set of row locks can do.
//!
//! A closer takes the gate's lock, marks the gate as closing, gives every running writer a memory barrier, and waits
//! until every flag is down. Only then the gate's sequence turns odd and the closer may change anything. Readers look at the sequence before and after;
//! while it is odd they wait. Opening: sequence even, mark away, lock away.
//!
//! **Who fences.** The barrier costs microseconds, and as many processors as run writers are interrupted for it. Where the gate is closed
//! many times a second, as by transactions, the writers fence instead, each time they raise their flag, which costs them nanoseconds. The word that
//! says so goes from CLOSER to BOTH before the barrier of one closing, which is the last one, and to WRITER after it: then every writer has
//! heard of it, or had its flag seen by that barrier. A death in between leaves BOTH, and the next closer makes the barrier. The way back
//! needs no barrier, only the gate's lock: a writer that still fences does no harm.
//!
//! A dead writer's flag stays up until its recovery, so a closer recovers it first: behind a closed gate there is
//! no half-done operation but the closer's own. That is why only the gate's owner may give a page of the arena back.
//!
//! A closer waits 2 ms at most (an attempt), and not at all for a writer that it has waited for in vain just now, then opens again: a
//! stopped writer costs the others nothing but that. A closer that dies is recovered like any writer: its committed operation is carried out, then the gate opens. A
//! closer that is *stopped* keeps the gate: everybody answers `Busy` until it goes on or dies.
//!
//! Inside a transaction (see [`super::transaction`]) the thread has the gate already. It reads as if the gate were open, and closing
//! it once more costs nothing and opens nothing.

use std::{
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use shm_layout::{
    header::fenced,
    slot::{Held, alive, lock},
};

use super::{
    locks::{self, Attempt, Writer},
    protocol::gate,
    recovery,
    segment::{Refusal, Segment},
    transaction,
};
use crate::sys::{clock, membarrier};

/// Pauses between two attempts to close the gate.
const SHORTEST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Closings within [`COUNTED_MS`] from which on the writers fence.
const CROWD: u32 = 20;
/// In milliseconds.
const COUNTED_MS: u64 = 100;
/// So long after the last of many closings the closers make the barrier again, in milliseconds.
const CALM_MS: u64 = 2000;

/// What stood in the gate's words although nobody held its lock: whoever lets go of it has opened the gate before.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// It was marked as closed.
    pub(crate) closed: bool,
    /// Its sequence was odd.
    pub(crate) odd: bool,
}

impl Left {
    fn note(&mut self, segment: &Segment) {
        self.closed |= segment.header().gate_closed.load(Ordering::Acquire) != 0;
        self.odd |= segment.header().gate_sequence.load(Ordering::Acquire) % 2 == 1;
    }
}

/// The closed gate. Opens when dropped, unless the transaction that the thread is in closed it before.
pub(crate) struct Gate<'a> {
    writer: Writer<'a>,
}

impl<'a> Gate<'a> {
    /// Closes the gate.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] if somebody else has it, or if a writer does not come out in time.
    pub(crate) fn close(segment: &'a Segment) -> Result<Self, Refusal> {
        Self::close_noting(segment, &mut Left::default())
    }

    /// As [`Gate::close`], and says what stood in the gate's words when its lock was got.
    ///
    /// # Errors
    ///
    /// As [`Gate::close`].
    pub(crate) fn close_noting(segment: &'a Segment, left: &mut Left) -> Result<Self, Refusal> {
        let mut writer = Writer::outside(segment)?;
        if writer.is_nested() {
            return Ok(Self { writer });
        }
        writer.lock(Held::Gate, &segment.header().gate_lock)?;
        left.note(segment);
        let everybody_out = mark(segment) && all_out(segment, writer.number());
        if !everybody_out {
            gate::unmark(&segment.header().gate_closed);
            return Err(Refusal::Busy);
        }
        gate::shut(&segment.header().gate_sequence);
        Ok(Self { writer })
    }

    /// The closer as a writer: its slot and journal. It needs no further locks.
    pub(crate) fn writer(&mut self) -> &mut Writer<'a> {
        &mut self.writer
    }
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        // Blocks go back while the gate is closed: afterwards another closer could give their pages away.
        self.writer.give_back_blocks();
        if !self.writer.is_nested() {
            open(self.writer.segment());
        }
    }
}

/// Runs `body` behind the gate, which it keeps trying to close until `patience` is over (`None`: for ever). The pauses
/// grow: while somebody does not come out, the others go on.
///
/// # Errors
///
/// [`Refusal::Busy`] when the patience is over, and those of `body`.
pub(crate) fn behind<'a, T>(
    segment: &'a Segment,
    patience: Option<Duration>,
    mut body: impl FnMut(&mut Gate<'a>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut pause = SHORTEST_PAUSE;
    locks::patiently(segment, patience, || body(&mut close_or_pause(segment, patience, &mut pause)?))
}

/// Closes the gate, as [`behind`] does, and keeps it closed.
///
/// # Errors
///
/// [`Refusal::Busy`] when the patience is over.
pub(crate) fn close_patiently(segment: &Segment, patience: Option<Duration>) -> Result<Gate<'_>, Refusal> {
    let mut pause = SHORTEST_PAUSE;
    locks::patiently(segment, patience, || close_or_pause(segment, patience, &mut pause))
}

fn close_or_pause<'a>(
    segment: &'a Segment,
    patience: Option<Duration>,
    pause: &mut Duration,
) -> Result<Gate<'a>, Refusal> {
    Gate::close(segment).inspect_err(|_| {
        if patience.is_none_or(|patience| patience > locks::ATTEMPT) {
            std::thread::sleep(*pause);
            *pause = (2 * *pause).min(LONGEST_PAUSE);
        }
    })
}

/// Opens the gate. The lock is freed by its owner, or by the owner's recoverer.
fn open(segment: &Segment) {
    gate::open(&segment.header().gate_sequence, &segment.header().gate_closed);
}

/// Opens the gate for a dead closer.
pub(crate) fn open_for(segment: &Segment, dead: u32) {
    if segment.header().gate_lock.load(Ordering::Acquire) & lock::OWNER == dead {
        open(segment);
    }
}

/// Marks the gate and sees to it that every writer finds the mark, or has its flag seen; false if that cannot be.
fn mark(segment: &Segment) -> bool {
    let header = segment.header();
    if is_crowded(segment) && header.gate_fenced.load(Ordering::Relaxed) == fenced::CLOSER {
        gate::ask_writers(&header.gate_fenced);
    }
    if !gate::mark(&header.gate_closed, &header.gate_fenced) {
        return true;
    }
    let done = membarrier::global().is_ok();
    if done && header.gate_fenced.load(Ordering::Relaxed) == fenced::BOTH {
        gate::fenced_by_writers(&header.gate_fenced);
    }
    done
}

/// Counts a closing, and says whether there are so many of late that the writers had better fence. The caller has the gate's lock.
fn is_crowded(segment: &Segment) -> bool {
    let (header, now_ms) = (segment.header(), clock::now_ms());
    let mut closings = header.gate_closings.load(Ordering::Relaxed);
    // A clock that was set back begins anew as well.
    if now_ms.wrapping_sub(header.gate_counted.load(Ordering::Relaxed)) > COUNTED_MS {
        header.gate_counted.store(now_ms, Ordering::Relaxed);
        closings = 0;
    }
    header.gate_closings.store(closings.saturating_add(1), Ordering::Relaxed);
    closings >= CROWD
}

/// Has the closers make the barrier again if the gate was left alone for a while. For a tick.
pub(crate) fn calm_down(segment: &Segment, now_ms: u64) {
    let header = segment.header();
    let is_calm = || now_ms.wrapping_sub(header.gate_counted.load(Ordering::Relaxed)) > CALM_MS;
    if header.gate_fenced.load(Ordering::Relaxed) == fenced::CLOSER || !is_calm() {
        return;
    }
    if let Ok(mut writer) = Writer::outside(segment)
        && !writer.is_nested()
        && writer.try_lock(Held::Gate, &header.gate_lock)
        && is_calm()
    {
        gate::fenced_by_closers(&header.gate_fenced);
    }
}

fn all_out(segment: &Segment, closer: u32) -> bool {
    let mut attempt = Attempt::default();
    // Nobody looks at all slots, which are many and far apart, for the few that there are.
    let claimed = segment.header().slots_claimed.load(Ordering::SeqCst).min(segment.slots());
    for number in (1..=claimed).filter(|&number| number != closer) {
        let slot = segment.slot(number);
        while gate::is_up(&slot.flag) {
            let life = slot.alive.load(Ordering::Acquire);
            if life & alive::OWNER_DIED != 0 {
                recovery::recover(segment, number);
            } else if life == 0 {
                // A slot without an owner has nobody inside, whatever stands in its flag.
                break;
            } else if attempt.left_for(number).is_err() {
                // If it is gone, the next attempt finds it marked.
                recovery::is_dead(slot);
                return false;
            } else {
                std::thread::yield_now();
            }
        }
    }
    true
}

/// Waits for a gate that was found closed.
///
/// # Errors
///
/// [`Refusal::Busy`] when the attempt is over.
pub(crate) fn wait(segment: &Segment, attempt: &mut Attempt) -> Result<(), Refusal> {
    locks::wait_for_owner(segment, &segment.header().gate_lock, attempt)
}

/// The gate's sequence, once it is even.
///
/// # Errors
///
/// [`Refusal::Busy`] when the attempt is over.
#[inline]
pub(crate) fn sequence(segment: &Segment, attempt: &mut Attempt) -> Result<u64, Refusal> {
    loop {
        if let Some(sequence) = sequence_if_open(segment) {
            return Ok(sequence);
        }
        wait(segment, attempt)?;
    }
}

/// The gate's sequence if it is even, or if it was this thread's transaction that closed the gate.
#[inline]
pub(crate) fn sequence_if_open(segment: &Segment) -> Option<u64> {
    let sequence = &segment.header().gate_sequence;
    gate::open_sequence(sequence).or_else(|| transaction::is_own(segment).then(|| sequence.load(Ordering::Relaxed)))
}

/// Whether the gate has stayed open since its sequence was read. The caller has an acquire fence before it.
#[inline]
pub(crate) fn unchanged(segment: &Segment, sequence: u64) -> bool {
    gate::unchanged(&segment.header().gate_sequence, sequence)
}

/// What `read` finds while the gate stays open; it may be asked several times. For sums and other reads that no row's sequence vouches for.
///
/// # Errors
///
/// [`Refusal::Busy`] if the gate stays closed until `patience` is over.
pub(crate) fn read_outside<T>(
    segment: &Segment,
    patience: Option<Duration>,
    read: impl Fn() -> T,
) -> Result<T, Refusal> {
    locks::patiently(segment, patience, || {
        let mut attempt = Attempt::default();
        loop {
            let seen = sequence(segment, &mut attempt)?;
            let found = read();
            fence(Ordering::Acquire);
            if unchanged(segment, seen) {
                return Ok(found);
            }
        }
    })
}
