//! Which slot a thread owns.
//!
//! A thread owns at most one slot in each segment. It claims one at its first write (or its first wait) and keeps it until it ends.
//! What makes the claim safe against death is the thread's *robust list*: at any death, of any cause, the kernel marks the
//! `alive` word of every slot on the list.
//!
//! Claiming, step by step, and what a death after each step leaves:
//!
//! 1. `pending` of the thread's current list head names the candidate's `alive`. The candidate is free: nothing to undo.
//! 2. CAS `alive` 0 -> thread id. The kernel finds the word by `pending` and marks it.
//! 3. The slot's own node joins the list: from now on the kernel finds the word by the list as well.
//! 4. `pending` = 0.
//!
//! A thread without any slot uses a head in its own memory for step 1; once it owns a slot, head and
//! nodes lie in the segment, because the kernel's OOM reaper can take a dying process's private pages before the
//! list is walked, but never shared ones. A thread with slots in several segments has one list: the head in
//! its first slot, the nodes one behind the other.
//!
//! **The end of a thread.** A thread that ends in good order gives its slots back, but for those in which it is in the middle of
//! a write: that is a thread that called `exit` there, and the kernel marks them when it is gone. A destructor, or a function
//! that `exit` calls, may write once more after that; it claims a slot anew, and that one the kernel marks as well.
//!
//! **Other namespaces.** Equal thread ids in two PID namespaces would be two owners of one name, and one who lives would look gone
//! from outside. Who attaches is asked for its namespace; a process that was forked into another one is refused its slot.
//!
//! A fork copies the thread's notes but not its list, and the slots stay the parent's. A word that reads 0 in
//! a child (`wiped_on_fork`) holds the process's *epoch*; notes of another epoch are forgotten, not released.
#![allow(unsafe_code)]

use std::{
    cell::{Cell, RefCell},
    io,
    mem::ManuallyDrop,
    sync::{
        OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use shm_layout::slot::{RobustHead, Slot, alive};

use super::{
    recovery,
    segment::{Refusal, Segment},
};
use crate::sys::{futex, membarrier, memory, robust};

/// From a slot's node to its `alive` word.
const NODE_TO_ALIVE: i64 = (std::mem::offset_of!(Slot, alive) - std::mem::offset_of!(Slot, node)) as i64;

/// The page that reads 0 after a fork.
static FORK_WORD: OnceLock<&'static AtomicU64> = OnceLock::new();
/// The last epoch given out; copied by a fork, so a child's epochs differ from its parent's.
static EPOCHS: AtomicU64 = AtomicU64::new(0);

/// The word that holds this process's epoch.
pub(crate) fn fork_word() -> io::Result<&'static AtomicU64> {
    if let Some(word) = FORK_WORD.get() {
        return Ok(word);
    }
    let word = memory::wiped_on_fork()?;
    Ok(FORK_WORD.get_or_init(|| word))
}

fn epoch(word: &AtomicU64) -> u64 {
    match word.load(Ordering::Relaxed) {
        0 => {
            let fresh = EPOCHS.fetch_add(1, Ordering::Relaxed) + 1;
            match word.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => fresh,
                Err(theirs) => theirs,
            }
        }
        epoch => epoch,
    }
}

/// The slot that this thread used last: the answer in nearly all cases.
#[derive(Clone, Copy)]
struct Last {
    segment: u64,
    epoch: u64,
    slot: u32,
}

/// A slot that this thread owns.
struct Owned {
    segment: Segment,
    epoch: u64,
    slot: u32,
}

impl Owned {
    /// Whether no write is under way in the slot.
    fn is_at_rest(&self) -> bool {
        let slot = self.segment.slot(self.slot);
        slot.flag.load(Ordering::Relaxed) == 0 && slot.held[0].load(Ordering::Relaxed) == 0
    }
}

/// All slots of this thread.
struct Notes(Vec<Owned>);

/// Gives the slots of its thread back when that ends.
struct Leaver;

thread_local! {
    static LAST: Cell<Last> = const { Cell::new(Last { segment: 0, epoch: 0, slot: 0 }) };
    // Without a destructor: what a thread claims after its `Leaver` is gone must be known as long as the thread runs.
    static NOTES: ManuallyDrop<RefCell<Notes>> = const { ManuallyDrop::new(RefCell::new(Notes(Vec::new()))) };
    static LEAVER: Leaver = const { Leaver };
    static PRIVATE_HEAD: RobustHead = const {
        RobustHead { next: AtomicU64::new(0), futex_offset: AtomicI64::new(NODE_TO_ALIVE), pending: AtomicU64::new(0) }
    };
}

/// The number of this thread's slot in `segment`; claims one if it has none.
///
/// # Errors
///
/// [`Refusal::Busy`] if every slot is taken.
#[inline(always)]
pub(crate) fn slot_of(segment: &Segment) -> Result<u32, Refusal> {
    let last = LAST.get();
    if last.segment == segment.id() && last.epoch == segment.fork_word().load(Ordering::Relaxed) {
        return Ok(last.slot);
    }
    slot_of_slow(segment)
}

#[cold]
fn slot_of_slow(segment: &Segment) -> Result<u32, Refusal> {
    let epoch = epoch(segment.fork_word());
    let claim = |notes: &RefCell<Notes>| {
        let mut notes = notes.borrow_mut();
        notes.forget_others(epoch);
        let known = notes.0.iter().find(|owned| owned.segment.id() == segment.id()).map(|owned| owned.slot);
        match known {
            Some(slot) => Ok(slot),
            None => notes.claim(segment, epoch),
        }
    };
    let slot = NOTES.with(|notes| claim(notes))?;
    LAST.set(Last { segment: segment.id(), epoch, slot });
    Ok(slot)
}

/// Runs `body` with the address of the `pending` word of the list that the kernel knows for this thread.
///
/// A thread without a slot gets its private head registered first: recovery needs no slot.
pub(crate) fn with_pending<T>(body: impl FnOnce(&AtomicU64) -> T) -> T {
    let mine = |owned: &Owned| owned.epoch == epoch(owned.segment.fork_word());
    let first = NOTES.with(|notes| {
        let notes = notes.borrow();
        notes.0.first().filter(|owned| mine(owned)).map(|owned| (owned.segment.clone(), owned.slot))
    });
    match first {
        Some((segment, slot)) => body(&segment.slot(slot).head.pending),
        None => PRIVATE_HEAD.with(|head| {
            register_private(head);
            body(&head.pending)
        }),
    }
}

fn register_private(head: &RobustHead) {
    let address = std::ptr::from_ref(head);
    head.next.store(address as u64, Ordering::Relaxed);
    // SAFETY: the head is an empty list in this thread's own memory. The kernel looks at it last when the thread ends, before
    // that memory is given back.
    let set = unsafe { robust::set_list(address.cast(), size_of::<RobustHead>()) };
    assert!(set.is_ok(), "the kernel takes robust lists: it was tried when the segment was opened");
}

impl Notes {
    /// Drops what another process (the parent) owns, and gives back slots of segments that nobody else here uses.
    fn forget_others(&mut self, epoch: u64) {
        self.0.retain(|owned| owned.epoch == epoch);
        while let Some(index) = self.0.iter().position(|owned| owned.segment.is_last_handle()) {
            self.give_back(index);
        }
    }

    /// Gives a slot back. At every moment its word is found on the registered list or as its `pending`, until it is free.
    fn give_back(&mut self, index: usize) {
        let owned = self.0.remove(index);
        let slot = owned.segment.slot(owned.slot);
        debug_assert_eq!(slot.flag.load(Ordering::Relaxed), 0);
        let name_it = |head: &RobustHead| head.pending.store(pending_address(slot), Ordering::Release);
        let free_it = |head: &RobustHead| {
            slot.alive.swap(0, Ordering::AcqRel);
            futex::wake_all(&slot.alive);
            head.pending.store(0, Ordering::Release);
        };
        match self.0.first() {
            Some(first) => {
                let head = &first.segment.slot(first.slot).head;
                name_it(head);
                self.link();
                free_it(head);
            }
            None => PRIVATE_HEAD.with(|head| {
                name_it(head);
                register_private(head);
                free_it(head);
            }),
        }
    }

    fn claim(&mut self, segment: &Segment, epoch: u64) -> Result<u32, Refusal> {
        if !segment.is_of_own_namespace() {
            return Err(Refusal::Busy);
        }
        // Has it do its work at the end of the thread, unless that has come.
        let _ = LEAVER.try_with(|_| ());
        // A process that is not registered is passed over by the barrier of a gate's closer.
        membarrier::register().map_err(|_| Refusal::Busy)?;
        let taken = |pending: &AtomicU64| {
            let slot = take_slot(segment, pending);
            if slot.is_none() {
                pending.store(0, Ordering::Release);
            }
            slot.ok_or(Refusal::Busy)
        };
        let slot = match self.0.first() {
            Some(first) => taken(&first.segment.slot(first.slot).head.pending)?,
            None => PRIVATE_HEAD.with(|head| {
                register_private(head);
                taken(&head.pending)
            })?,
        };
        self.0.push(Owned { segment: segment.clone(), epoch, slot });
        self.link();
        let clear = |head: &RobustHead| head.pending.store(0, Ordering::Release);
        PRIVATE_HEAD.with(clear);
        self.0.iter().for_each(|owned| clear(&owned.segment.slot(owned.slot).head));
        Ok(slot)
    }

    /// Makes one list of all nodes, last to first so that each step leaves a list that ends, and registers its head.
    fn link(&self) {
        let Some(first) = self.0.first() else {
            return;
        };
        let head_slot = first.segment.slot(first.slot);
        let head_address = std::ptr::from_ref(&head_slot.head) as u64;
        let mut next = head_address;
        for owned in self.0.iter().rev() {
            let slot = owned.segment.slot(owned.slot);
            slot.node.store(next, Ordering::Release);
            next = std::ptr::from_ref(&slot.node) as u64;
        }
        head_slot.head.futex_offset.store(NODE_TO_ALIVE, Ordering::Release);
        head_slot.head.next.store(next, Ordering::Release);
        // SAFETY: head and nodes lie in mappings that these notes keep alive; before a note is dropped, its slot is given
        // back and a list without it is registered.
        let set = unsafe { robust::set_list(head_address as *const _, size_of::<RobustHead>()) };
        assert!(set.is_ok(), "the kernel takes robust lists: it was tried when the segment was opened");
    }
}

impl Notes {
    /// Gives back every slot that is at rest.
    fn leave(&mut self) {
        self.0.retain(|owned| owned.epoch == epoch(owned.segment.fork_word()));
        while let Some(index) = self.0.iter().rposition(Owned::is_at_rest) {
            self.give_back(index);
        }
    }

    /// Whether the thread is claiming, giving back or recovering a slot just now.
    fn is_busy(&self) -> bool {
        let pending = |head: &RobustHead| head.pending.load(Ordering::Relaxed) != 0;
        PRIVATE_HEAD.with(pending) || self.0.iter().any(|owned| pending(&owned.segment.slot(owned.slot).head))
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        LAST.set(Last { segment: 0, epoch: 0, slot: 0 });
        NOTES.with(|notes| {
            // One that called `exit` in the middle of this very file leaves everything to the kernel.
            if let Some(mut notes) = notes.try_borrow_mut().ok().filter(|notes| !notes.is_busy()) {
                notes.leave();
            }
        });
    }
}

/// Takes a free slot of `segment` for this thread, recovering dead ones on the way. Leaves `pending` set.
fn take_slot(segment: &Segment, pending: &AtomicU64) -> Option<u32> {
    let marked = |slot: &Slot| slot.alive.load(Ordering::Acquire) & alive::OWNER_DIED != 0;
    // To look at every owner takes a system call for each: only if there is no other way to a slot.
    take_slot_of_dead(segment, pending, marked).or_else(|| take_slot_of_dead(segment, pending, recovery::is_dead))
}

fn take_slot_of_dead(segment: &Segment, pending: &AtomicU64, is_dead: impl Fn(&Slot) -> bool) -> Option<u32> {
    let thread = robust::thread_id();
    (1..=segment.slots()).find(|&number| {
        let slot = segment.slot(number);
        if is_dead(slot) {
            recovery::recover_with(segment, number, pending);
        }
        // A free slot that is not clean has been damaged, and is nobody's until a master is alone with it.
        if slot.alive.load(Ordering::Acquire) != 0 || !recovery::is_clean(slot) {
            return false;
        }
        pending.store(std::ptr::from_ref(&slot.node) as u64, Ordering::Release);
        // SeqCst: a closer of the gate that does not count this slot yet has marked the gate before the slot's flag goes up.
        segment.header().slots_claimed.fetch_max(number, Ordering::SeqCst);
        // AcqRel: what the last owner or its recoverer wrote to the slot is seen, and `pending` before the word.
        slot.alive.compare_exchange(0, thread, Ordering::AcqRel, Ordering::Relaxed).is_ok_and(|_| {
            slot.pid.store(std::process::id(), Ordering::Relaxed);
            true
        })
    })
}

/// The address that `pending` must hold for the kernel to look at the `alive` word of `slot`.
pub(crate) fn pending_address(slot: &Slot) -> u64 {
    std::ptr::from_ref(&slot.node) as u64
}

/// Whether the kernel of this machine marks the slot of a thread that ends with it.
pub(crate) fn kernel_marks(segment: &Segment) -> Result<bool, Refusal> {
    let number = std::thread::scope(|scope| {
        let claim = scope.spawn(|| {
            PRIVATE_HEAD.with(|head| {
                register_private(head);
                // `pending` stays set: the thread ends as if it had been killed in the middle of a claim.
                take_slot(segment, &head.pending)
            })
        });
        claim.join().ok().flatten()
    });
    let slot = segment.slot(number.ok_or(Refusal::Busy)?);
    Ok(slot.alive.load(Ordering::Acquire) & alive::OWNER_DIED != 0)
}
