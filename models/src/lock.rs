//! Two threads and a lock; a thread that dies with it; a slot that is used again.
//!
//! Threads 1 and 2 own the slots 1 and 2. What the lock protects is a cell that may be used by one thread at a time: the tool
//! fails if an access does not follow every earlier one.

#![allow(unsafe_code)]

use loom::{cell::UnsafeCell, sync::Arc, thread};
use shm_layout::slot::{alive, lock};

use crate::{
    product::{AtomicU32, Ordering, lock as product},
    world::{FEW, Futex, explore, mutants},
};

/// The steps of the product, each of which a mutant may replace.
trait Steps: Send + Sync + 'static {
    fn take(&self, word: &AtomicU32, number: u32) -> bool {
        product::take(word, number)
    }

    fn free(&self, word: &AtomicU32) -> bool {
        product::free(word)
    }

    fn mark(&self, word: &AtomicU32, seen: u32, life: &AtomicU32, was: u32) -> Option<u32> {
        product::mark(word, seen, life, was)
    }

    fn claim_dead(&self, life: &AtomicU32, thread: u32) -> bool {
        product::claim_dead(life, thread)
    }

    /// As `locks::release` and `wake`.
    fn release(&self, word: &AtomicU32, slot: &Slot) {
        if self.free(word) {
            product::unmark(&slot.alive);
            slot.sleepers.wake_all();
        }
    }

    /// As `recovery::recover_with`, of what has to do with locks.
    fn recover(&self, world: &World, number: u32, thread: u32) {
        let slot = world.slot(number);
        if self.claim_dead(&slot.alive, thread) {
            self.free_held(world, number);
            product::vacate(&slot.alive);
            slot.sleepers.wake_all();
        }
    }

    /// As `recovery::free_lock`, for each name in `held`.
    fn free_held(&self, world: &World, number: u32) {
        let slot = world.slot(number);
        if slot.held.load(Ordering::Acquire) == 1 {
            if product::is_held_by(&world.word, number) {
                world.recovered.with_mut(|recovered| {
                    // SAFETY: the tool fails unless this follows every other access to the cell.
                    unsafe { *recovered += 1 };
                });
                product::free(&world.word);
            }
            slot.held.store(0, Ordering::Release);
        }
    }
}

#[derive(Clone, Copy)]
struct Product;
impl Steps for Product {}

struct Slot {
    alive: AtomicU32,
    sleepers: Futex,
    /// Whether `held` names the lock.
    held: AtomicU32,
}

struct World {
    word: AtomicU32,
    slots: [Slot; 2],
    protected: UnsafeCell<u32>,
    /// Recoveries that found the lock held; under the lock as well.
    recovered: UnsafeCell<u32>,
}

// SAFETY: the cells are what the lock protects, and the tool fails if it does not.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

/// The thread id of the thread that owns a slot.
fn thread_of(number: u32) -> u32 {
    100 + number
}

impl World {
    fn new() -> Arc<Self> {
        let slot =
            |number| Slot { alive: AtomicU32::new(thread_of(number)), sleepers: Futex::new(), held: AtomicU32::new(0) };
        let (protected, recovered) = (UnsafeCell::new(0), UnsafeCell::new(0));
        Arc::new(Self { word: AtomicU32::new(0), slots: [slot(1), slot(2)], protected, recovered })
    }

    fn slot(&self, number: u32) -> &Slot {
        &self.slots[number as usize - 1]
    }

    /// As `Writer::lock`, `acquire_slow` and `sleep_on_owner`, without an end of patience.
    fn lock(&self, steps: &impl Steps, number: u32) {
        self.slot(number).held.store(1, Ordering::Release);
        while !steps.take(&self.word, number) {
            let seen = self.word.load(Ordering::Acquire);
            if seen & lock::OWNER == 0 {
                continue;
            }
            let owner = self.slot(seen & lock::OWNER);
            let life = owner.alive.load(Ordering::Acquire);
            if life & alive::OWNER_DIED != 0 {
                steps.recover(self, seen & lock::OWNER, thread_of(number));
            } else if life == 0 {
                thread::yield_now();
            } else if let Some(marked) = steps.mark(&self.word, seen, &owner.alive, life) {
                owner.sleepers.wait(&owner.alive, marked);
            }
        }
    }

    fn unlock(&self, steps: &impl Steps, number: u32) {
        steps.release(&self.word, self.slot(number));
        self.slot(number).held.store(0, Ordering::Release);
    }

    fn use_it(&self) {
        self.protected.with_mut(|protected| {
            // SAFETY: the tool fails unless this follows every other access to the cell.
            unsafe { *protected += 1 };
        });
    }

    /// What was done under the lock; for one who is alone.
    fn uses(&self) -> u32 {
        // SAFETY: as above.
        self.protected.with(|protected| unsafe { *protected })
    }

    /// What the kernel does at the death of a slot's owner.
    fn mark_dead(&self, number: u32) {
        let slot = self.slot(number);
        // It takes the thread id away too, in a loop of compare and swap; that would hide orders from the tool.
        if slot.alive.fetch_or(alive::OWNER_DIED, Ordering::AcqRel) & alive::WAITERS != 0 {
            slot.sleepers.wake_one();
        }
    }
}

/// Both want the lock, once each.
fn contend(steps: impl Steps + Copy) {
    let world = World::new();
    let other = Arc::clone(&world);
    let thread = thread::spawn(move || {
        other.lock(&steps, 1);
        other.use_it();
        other.unlock(&steps, 1);
    });
    world.lock(&steps, 2);
    world.use_it();
    world.unlock(&steps, 2);
    thread.join().unwrap();
    assert_eq!((world.uses(), world.word.load(Ordering::Relaxed)), (2, 0));
}

/// One dies after so many steps: it has named the lock, taken it, used what it protects. The other wants it.
fn die_after(steps: impl Steps + Copy, done: u32) {
    let world = World::new();
    let dying = Arc::clone(&world);
    let thread = thread::spawn(move || {
        match done {
            0 => dying.slot(1).held.store(1, Ordering::Release),
            1 => dying.lock(&steps, 1),
            _ => {
                dying.lock(&steps, 1);
                dying.use_it();
            }
        }
        dying.mark_dead(1);
    });
    world.lock(&steps, 2);
    steps.recover(&world, 1, thread_of(2));
    assert!(product::is_held_by(&world.word, 2));
    world.use_it();
    world.unlock(&steps, 2);
    thread.join().unwrap();
    steps.recover(&world, 1, thread_of(2));
    assert_eq!(world.uses(), 1 + u32::from(done == 2));
    assert_eq!((world.word.load(Ordering::Relaxed), world.slot(1).alive.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(world.slot(1).held.load(Ordering::Relaxed), 0);
}

/// A slot whose owner died with the lock is recovered by one thread, and by another that then takes the slot, and the lock under its name.
fn reuse(steps: impl Steps + Copy) {
    let world = World::new();
    world.lock(&steps, 1);
    world.mark_dead(1);
    let other = Arc::clone(&world);
    let thread = thread::spawn(move || {
        steps.recover(&other, 1, thread_of(1));
        // As `take_slot`.
        let free = other.slot(1).alive.compare_exchange(0, thread_of(1), Ordering::AcqRel, Ordering::Relaxed);
        if free.is_ok() {
            other.lock(&steps, 1);
            other.use_it();
            other.unlock(&steps, 1);
        }
    });
    steps.recover(&world, 1, thread_of(2));
    world.lock(&steps, 2);
    world.use_it();
    world.unlock(&steps, 2);
    thread.join().unwrap();
    // SAFETY: this thread is alone.
    assert_eq!(world.recovered.with(|recovered| unsafe { *recovered }), 1, "recovered once");
}

#[test]
fn one_at_a_time_and_nobody_sleeps_for_ever() {
    explore("lock, two threads", None, || contend(Product));
}

#[test]
fn the_lock_of_the_dead_is_taken_by_who_waits() {
    for done in 0..3 {
        explore(&format!("lock, dead after step {done}"), None, move || die_after(Product, done));
    }
}

#[test]
fn a_slot_is_used_again_only_when_its_locks_are_free() {
    explore("lock, slot used again", FEW, || reuse(Product));
}

mutants! {
    /// The next owner would not see what the last one wrote.
    mutant_frees_without_release(contend) {
        fn free(&self, word: &AtomicU32) -> bool {
            word.swap(0, Ordering::Relaxed) & lock::WAIT != 0
        }
    }
    /// Nor so.
    mutant_takes_without_acquire(contend) {
        fn take(&self, word: &AtomicU32, number: u32) -> bool {
            word.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        }
    }
    mutant_takes_in_two_steps(contend) {
        fn take(&self, word: &AtomicU32, number: u32) -> bool {
            let free = word.load(Ordering::Acquire) == 0;
            if free {
                word.store(number, Ordering::Release);
            }
            free
        }
    }
    /// A waiter that comes in between sleeps on.
    mutant_frees_in_two_steps(contend) {
        fn free(&self, word: &AtomicU32) -> bool {
            let waited = word.load(Ordering::Acquire) & lock::WAIT != 0;
            word.store(0, Ordering::Release);
            waited
        }
    }
    mutant_wakes_before_it_frees(contend) {
        fn release(&self, word: &AtomicU32, slot: &Slot) {
            if word.load(Ordering::Acquire) & lock::WAIT != 0 {
                product::unmark(&slot.alive);
                slot.sleepers.wake_all();
            }
            product::free(word);
        }
    }
    /// The owner has let go between the two marks, and wakes nobody.
    mutant_sleeps_without_a_second_look(contend) {
        fn mark(&self, word: &AtomicU32, seen: u32, life: &AtomicU32, was: u32) -> Option<u32> {
            let waited = seen | lock::WAIT;
            let _ = word.compare_exchange(seen, waited, Ordering::AcqRel, Ordering::Relaxed);
            life.store(was | alive::WAITERS, Ordering::Release);
            Some(was | alive::WAITERS)
        }
    }
    /// The kernel wakes only those whom the dead one's word announces.
    mutant_sleeps_without_a_mark_at_the_owner(|steps| die_after(steps, 1)) {
        fn mark(&self, word: &AtomicU32, seen: u32, _: &AtomicU32, was: u32) -> Option<u32> {
            let waited = seen | lock::WAIT;
            (word.compare_exchange(seen, waited, Ordering::AcqRel, Ordering::Relaxed).is_ok()).then_some(was)
        }
    }
    /// Somebody else holds it.
    mutant_frees_what_the_dead_one_only_named(|steps| die_after(steps, 0)) {
        fn free_held(&self, world: &World, number: u32) {
            if world.slot(number).held.swap(0, Ordering::AcqRel) == 1 {
                product::free(&world.word);
            }
        }
    }
    mutant_recovers_without_being_the_one(reuse) {
        fn claim_dead(&self, life: &AtomicU32, _: u32) -> bool {
            life.load(Ordering::Acquire) & alive::OWNER_DIED != 0
        }
    }
    /// Somebody has the slot by then, and the lock under its number.
    mutant_vacates_before_it_frees(reuse) {
        fn recover(&self, world: &World, number: u32, thread: u32) {
            let slot = world.slot(number);
            if self.claim_dead(&slot.alive, thread) {
                product::vacate(&slot.alive);
                slot.sleepers.wake_all();
                self.free_held(world, number);
            }
        }
    }
}
