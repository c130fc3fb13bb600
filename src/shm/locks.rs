//! A writer: a thread inside an operation that writes, and the locks that it holds.
//!
//! **The flag.** A writer raises its slot's `flag` and then looks whether the gate is closing; a closer marks the gate and then
//! looks at the flags. Each must see the other's mark. The writer's side is two plain instructions: the closer makes up
//! for the missing barrier with `membarrier`, which puts one into every running writer.
//!
//! **The lock word** is the owner's slot number and a WAIT bit, taken by one CAS from 0. Before the CAS the
//! slot's `held` list names the word. Death after that: recovery frees every named word that carries the slot's number.
//!
//! **Sleeping.** A waiter sets WAIT in the lock word, sets WAITERS in the owner's `alive`, looks at the lock word once more, and sleeps on `alive`.
//! An unlocker takes the lock word to 0 and, if WAIT was set, clears WAITERS in its own `alive` and wakes all. Whichever
//! comes first, either the waiter sees the lock word changed, or `alive` is not what it expects, or it sleeps and is woken. (Should
//! another waiter of the same owner set WAITERS again just then, it sleeps to the end of its attempt, 2 ms at most.) At the
//! owner's death the kernel marks `alive` and wakes one sleeper, who recovers and wakes the rest; should that
//! one be killed as well, its `pending` names the word and the kernel wakes the next.
//!
//! **Patience.** One attempt waits at most [`ATTEMPT`]. Then the writer steps back altogether (it drops all locks and its flag) so that
//! the gate can close over it, and the caller begins again after a pause, or gives up. The pause is a sleep on the same `alive`, so that a
//! death ends it too. No timer ever takes a lock away from its owner.
//!
//! **Suspects.** Whoever was waited for in vain may have been stopped, and with it everything that it holds. For [`SUSPICION`] the same thread
//! does not wait for that owner again: what is free it takes, what is not is [`Refusal::Busy`] at once. So a thread that works for many, of
//! whom a hundred want what one stopped process holds, loses an attempt's wait once in a while and not a hundred times in a row.
//!
//! **Order.** Groups ascending, then rows ascending; a free row only by [`Writer::try_lock`]. The directory's lock and the gate come before any of them.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crossbeam_utils::Backoff;
use shm_layout::slot::{self, Held, Slot, alive, lock};

use super::{
    crash::point,
    gate, heap, journal, protocol, recovery,
    segment::{Refusal, Segment},
    threads, transaction,
};
use crate::sys::futex;

/// Longest wait of one attempt.
pub(crate) const ATTEMPT: Duration = Duration::from_millis(2);
/// Longest sleep: old kernels do not wake a second sleeper when the first one dies as well.
const RE_EXAMINE: Duration = Duration::from_secs(1);
/// Between two attempts.
const PAUSE: Duration = Duration::from_micros(200);
/// Lock words that a writer remembers by address.
const WORDS: usize = 4;

/// How long an owner that was waited for in vain is not waited for again.
const SUSPICION: Duration = Duration::from_millis(20);
/// Owners that a thread suspects at most; one more takes the place of the first.
const SUSPECTS: usize = 4;

thread_local! {
    /// The slot that this thread's last attempt waited for in vain; 0: none.
    static IN_THE_WAY: Cell<u32> = const { Cell::new(0) };
    /// The slots that it waited for in vain lately, and when, oldest first.
    static SUSPECTED: Cell<[Option<(u32, Instant)>; SUSPECTS]> = const { Cell::new([None; SUSPECTS]) };
}

/// Whether the owner of a slot was waited for in vain just now.
fn is_suspected(number: u32) -> bool {
    let suspected = SUSPECTED.get();
    let times = suspected.iter().flatten().filter(|(suspect, _)| *suspect == number);
    times.map(|(_, since)| since.elapsed()).any(|elapsed| elapsed < SUSPICION)
}

/// Notes that the owner of a slot was waited for in vain.
fn suspect(number: u32) {
    let mut suspected = SUSPECTED.get();
    suspected.rotate_left(1);
    suspected[SUSPECTS - 1] = Some((number, Instant::now()));
    SUSPECTED.set(suspected);
}

/// How long one attempt still waits. The clock is read only when there is something to wait for.
#[derive(Default)]
pub(crate) struct Attempt {
    deadline: Option<Instant>,
}

impl Attempt {
    /// What is left, or [`Refusal::Busy`] if nothing is.
    pub(crate) fn left(&mut self) -> Result<Duration, Refusal> {
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert(now + ATTEMPT);
        deadline.checked_duration_since(now).filter(|left| !left.is_zero()).ok_or(Refusal::Busy)
    }

    /// As [`Self::left`], of a wait for the owner of this slot.
    pub(crate) fn left_for(&mut self, owner: u32) -> Result<Duration, Refusal> {
        if is_suspected(owner) {
            return Err(Refusal::Busy);
        }
        self.left().inspect_err(|_| suspect(owner))
    }
}

/// Makes attempts until one is not [`Refusal::Busy`] or `patience` is over (`None`: it never is).
pub(crate) fn patiently<T>(
    segment: &Segment,
    patience: Option<Duration>,
    mut attempt: impl FnMut() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut start = None;
    loop {
        match attempt() {
            Err(Refusal::Busy) => {
                let waited = start.get_or_insert_with(|| Instant::now() - ATTEMPT).elapsed();
                if patience.is_some_and(|patience| waited >= patience) {
                    return Err(Refusal::Busy);
                }
                // Whoever has the time waits for its whole length.
                SUSPECTED.take();
                pause(segment);
            }
            outcome => return outcome,
        }
    }
}

/// The time between two attempts, in which others get what this thread has stepped back from. It ends early when the
/// one who was in the way dies, who is then recovered: the kernel wakes a single sleeper.
fn pause(segment: &Segment) {
    let number = IN_THE_WAY.take();
    let Some(owner) = segment.slot_checked(number) else {
        return doze();
    };
    let life = owner.alive.load(Ordering::Acquire);
    if life == 0 {
        return doze();
    }
    if life & alive::OWNER_DIED == 0
        && let Some(marked) = protocol::lock::mark_life(&owner.alive, life)
    {
        threads::with_pending(|pending| sleep(pending, owner, marked, PAUSE));
    }
    if owner.alive.load(Ordering::Acquire) & alive::OWNER_DIED != 0 {
        recovery::recover(segment, number);
    }
}

fn doze() {
    std::thread::sleep(PAUSE);
    point("slept-out");
}

/// A thread inside an operation that writes.
pub(crate) struct Writer<'a> {
    segment: &'a Segment,
    slot: &'a Slot,
    number: u32,
    held: u16,
    /// Locks that the slot's transaction held before; 0 outside of one.
    base: u16,
    /// The words of the first few names in `held`, so that unlocking need not look them up.
    words: [Option<&'a AtomicU32>; WORDS],
    attempt: Attempt,
}

impl<'a> Writer<'a> {
    /// A writer whose flag stays down: for the gate's closer, who waits for all flags.
    #[inline(always)]
    pub(crate) fn outside(segment: &'a Segment) -> Result<Self, Refusal> {
        let number = threads::slot_of(segment)?;
        let slot = segment.slot(number);
        let outside = slot.flag.load(Ordering::Relaxed) == 0 && slot.held[0].load(Ordering::Relaxed) == 0;
        let base = if outside { 0 } else { transaction::locks_before(slot) };
        Ok(Self { segment, slot, number, held: base, base, words: [None; WORDS], attempt: Attempt::default() })
    }

    /// Raises the flag, once the gate is open.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] if it stays closed for the length of an attempt, or if there is no free slot.
    #[inline]
    pub(crate) fn enter(segment: &'a Segment) -> Result<Self, Refusal> {
        let mut writer = Self::outside(segment)?;
        writer.raise_flag()?;
        point("entered");
        Ok(writer)
    }

    /// Whether it works inside a transaction of its thread's, which has the gate.
    pub(crate) fn is_nested(&self) -> bool {
        self.base > 0
    }

    #[inline(always)]
    fn raise_flag(&mut self) -> Result<(), Refusal> {
        // Nobody asks for a nested writer's, but it tells a writer inside of an operation from one between two.
        if self.try_raise() || self.is_nested() { Ok(()) } else { self.wait_to_raise() }
    }

    #[inline(always)]
    fn try_raise(&self) -> bool {
        let header = self.segment.header();
        protocol::gate::raise(&self.slot.flag, &header.gate_closed, &header.gate_fenced)
    }

    #[cold]
    fn wait_to_raise(&mut self) -> Result<(), Refusal> {
        loop {
            protocol::gate::lower(&self.slot.flag);
            gate::wait(self.segment, &mut self.attempt)?;
            if self.try_raise() {
                return Ok(());
            }
        }
    }

    /// The segment.
    pub(crate) fn segment(&self) -> &'a Segment {
        self.segment
    }

    /// The writer's slot.
    pub(crate) fn slot(&self) -> &'a Slot {
        self.slot
    }

    /// The slot's number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Takes a lock.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] if its owner does not let go in time.
    #[inline]
    pub(crate) fn lock(&mut self, name: Held, word: &'a AtomicU32) -> Result<(), Refusal> {
        self.announce(name);
        if !protocol::lock::take(word, self.number)
            && let Err(refusal) = acquire_slow(self.segment, word, self.number, &mut self.attempt)
        {
            self.slot.held[self.held()].store(0, Ordering::Relaxed);
            return Err(refusal);
        }
        self.keep(word);
        Ok(())
    }

    #[inline(always)]
    fn keep(&mut self, word: &'a AtomicU32) {
        let held = self.held();
        if let Some(place) = self.words.get_mut(held) {
            *place = Some(word);
        }
        self.held += 1;
    }

    /// Takes a lock if it is free.
    #[inline]
    pub(crate) fn try_lock(&mut self, name: Held, word: &'a AtomicU32) -> bool {
        self.announce(name);
        let taken = protocol::lock::take(word, self.number);
        if taken {
            self.keep(word);
        } else {
            self.slot.held[self.held()].store(0, Ordering::Relaxed);
        }
        taken
    }

    #[inline(always)]
    fn announce(&self, name: Held) {
        debug_assert!(self.held() < slot::HELD);
        self.slot.held[self.held()].store(name.encode(), Ordering::Release);
    }

    /// Lets go of the lock that was taken last.
    #[inline]
    pub(crate) fn unlock_last(&mut self) {
        debug_assert!(self.held > 0);
        self.held -= 1;
        let name = &self.slot.held[self.held()];
        let word = match self.words.get(self.held()) {
            Some(&word) => word,
            None => Held::decode(name.load(Ordering::Relaxed)).and_then(|held| word_of(self.segment, held)),
        };
        release(self.slot, word.expect("a held lock has a word"));
        name.store(0, Ordering::Release);
    }

    /// Lets go of every lock taken since there were `held` of them.
    #[inline]
    pub(crate) fn unlock_to(&mut self, held: usize) {
        while self.held() > held {
            self.unlock_last();
        }
    }

    /// Lets go of every lock that this writer took.
    pub(crate) fn unlock_all(&mut self) {
        self.unlock_to(self.base.into());
    }

    /// How many locks the writer holds.
    #[inline(always)]
    pub(crate) fn held(&self) -> usize {
        self.held.into()
    }

    /// Drops everything for a fresh start within the same attempt.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] when the attempt is over: whoever was in the way may need the processor.
    pub(crate) fn again(&mut self) -> Result<(), Refusal> {
        self.give_back_blocks();
        self.unlock_all();
        std::hint::spin_loop();
        self.attempt.left().map(drop)
    }

    /// Gives the blocks back that an operation took and did not come to use. An operation that is committed and not
    /// carried out has panicked in between: it is carried out now, as after a death.
    #[inline]
    pub(crate) fn give_back_blocks(&self) {
        if journal::is_committed(self.slot) {
            journal::redo(self.segment, self.slot);
        }
        let journal = &self.slot.journal;
        if journal.new_len.load(Ordering::Relaxed) | journal.old_len.load(Ordering::Relaxed) != 0 {
            heap::give_back_new(self.segment, self.slot, self.number);
        }
    }

    /// Lowers and raises the flag between two shares of long work, so that a gate can close in between.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] if the gate stays closed.
    pub(crate) fn breathe(&mut self) -> Result<(), Refusal> {
        self.unlock_all();
        protocol::gate::lower(&self.slot.flag);
        self.attempt = Attempt::default();
        point("breathing");
        self.raise_flag()
    }
}

impl Drop for Writer<'_> {
    #[inline]
    fn drop(&mut self) {
        point("before-release");
        self.give_back_blocks();
        self.unlock_all();
        protocol::gate::lower(&self.slot.flag);
    }
}

/// The lock word that a name stands for; `None` for a row whose page does not exist.
pub(crate) fn word_of(segment: &Segment, held: Held) -> Option<&AtomicU32> {
    match held {
        Held::Row(space, row) => Some(&segment.space(space)?.header(segment, row)?.lock),
        Held::Group(space, group) => Some(&segment.space(space)?.group_checked(segment, group)?.lock),
        Held::Directory => Some(&segment.header().directory_lock),
        Held::Gate => Some(&segment.header().gate_lock),
    }
}

/// Frees a lock word of `slot`'s and wakes who waits for it.
#[inline]
pub(crate) fn release(slot: &Slot, word: &AtomicU32) {
    if protocol::lock::free(word) {
        wake(slot);
    }
}

#[cold]
fn wake(slot: &Slot) {
    protocol::lock::unmark(&slot.alive);
    futex::wake_all(&slot.alive);
}

/// Takes a lock that was found held.
#[cold]
pub(crate) fn acquire_slow(
    segment: &Segment,
    word: &AtomicU32,
    number: u32,
    attempt: &mut Attempt,
) -> Result<(), Refusal> {
    let backoff = Backoff::new();
    loop {
        let seen = word.load(Ordering::Acquire);
        if seen == 0 {
            if protocol::lock::take(word, number) {
                return Ok(());
            }
        } else if !backoff.is_completed() && !is_suspected(seen & lock::OWNER) {
            backoff.snooze();
        } else {
            sleep_on_owner(segment, word, seen, attempt)?;
        }
    }
}

/// Waits for whoever holds a lock that the caller does not want itself, or recovers them.
///
/// # Errors
///
/// [`Refusal::Busy`] when the attempt is over.
#[cold]
pub(crate) fn wait_for_owner(segment: &Segment, word: &AtomicU32, attempt: &mut Attempt) -> Result<(), Refusal> {
    match word.load(Ordering::Acquire) {
        seen if seen & lock::OWNER != 0 => sleep_on_owner(segment, word, seen, attempt),
        _ => {
            attempt.left()?;
            std::thread::yield_now();
            Ok(())
        }
    }
}

/// Sleeps until the owner of the lock that was `seen` lets go of it or dies; in the latter case recovers it.
///
/// # Errors
///
/// [`Refusal::Busy`] when the attempt is over.
pub(crate) fn sleep_on_owner(
    segment: &Segment,
    word: &AtomicU32,
    seen: u32,
    attempt: &mut Attempt,
) -> Result<(), Refusal> {
    let Some(owner) = segment.slot_checked(seen & lock::OWNER) else {
        return Err(Refusal::Busy);
    };
    let life = owner.alive.load(Ordering::Acquire);
    if life & alive::OWNER_DIED != 0 {
        recovery::recover(segment, seen & lock::OWNER);
        return Ok(());
    }
    let Ok(left) = attempt.left_for(seen & lock::OWNER) else {
        IN_THE_WAY.set(seen & lock::OWNER);
        return Err(Refusal::Busy);
    };
    if life == 0 {
        // Just recovered or given back: the word has changed or is about to.
        std::thread::yield_now();
        return Ok(());
    }
    if let Some(marked) = protocol::lock::mark(word, seen, &owner.alive, life) {
        threads::with_pending(|pending| sleep(pending, owner, marked, left.min(RE_EXAMINE)));
        let waits_on = word.load(Ordering::Acquire) == seen | lock::WAIT;
        if waits_on && owner.alive.load(Ordering::Acquire) == marked {
            // Waited in vain: the next round recovers an owner that is gone.
            recovery::is_dead(owner);
        }
    }
    Ok(())
}

fn sleep(pending: &AtomicU64, owner: &Slot, marked: u32, timeout: Duration) {
    // If this thread dies after the kernel chose it as the one to wake, the kernel wakes the next.
    pending.store(threads::pending_address(owner), Ordering::Release);
    let woken = futex::wait(&owner.alive, marked, timeout);
    point(if woken { "woken" } else { "slept-out" });
    pending.store(0, Ordering::Release);
}
