//! Writers with flags, a closer, readers.
//!
//! What may be done behind the gate alone, and by writers only while it is open, is a cell: the tool fails if two use it at once.
//! `membarrier` is a `SeqCst` fence on both sides, see the head of the crate.
#![allow(unsafe_code)]

use loom::{cell::UnsafeCell, sync::Arc, thread};
use shm_layout::{header::fenced, slot::alive};

use crate::{
    product::{AtomicU32, AtomicU64, Ordering, fence, gate as product, lock},
    world::{FEW, explore, mutants},
};

/// Looks at a flag before the closer gives up, as it does when an attempt is over.
const LOOKS: usize = 2;

/// The steps of the product, each of which a mutant may replace.
trait Steps: Send + Sync + 'static {
    fn raise(&self, world: &World, writer: usize) -> bool {
        product::raise(&world.flags[writer], &world.closed, &world.fenced)
    }

    fn lower(&self, flag: &AtomicU32) {
        product::lower(flag);
    }

    /// As `Gate::close`, whose lock is another model's.
    fn close(&self, world: &World) -> bool {
        if product::mark(&world.closed, &world.fenced) {
            self.barrier();
        }
        let out = self.all_out(world);
        if out {
            self.shut(world);
        } else {
            product::unmark(&world.closed);
        }
        out
    }

    fn barrier(&self) {
        fence(Ordering::SeqCst);
    }

    /// As `gate::all_out`.
    fn all_out(&self, world: &World) -> bool {
        world.flags.iter().all(|flag| {
            (0..LOOKS).any(|look| {
                if look > 0 {
                    thread::yield_now();
                }
                !product::is_up(flag)
            })
        })
    }

    fn shut(&self, world: &World) {
        product::shut(&world.sequence);
    }

    fn copied(&self) {
        fence(Ordering::Acquire);
    }

    fn open(&self, world: &World) {
        product::open(&world.sequence, &world.closed);
    }

    fn claim_dead(&self, life: &AtomicU32) -> bool {
        lock::claim_dead(life, 102)
    }

    /// As `recovery::recover_with` for a closer that has committed its change.
    fn recover(&self, world: &World) {
        if self.claim_dead(&world.closers_alive) {
            world.change_all(1);
            self.open(world);
        }
    }
}

#[derive(Clone, Copy)]
struct Product;
impl Steps for Product {}

struct World {
    flags: [AtomicU32; 1],
    closed: AtomicU32,
    /// Who fences.
    fenced: AtomicU32,
    closers_alive: AtomicU32,
    sequence: AtomicU64,
    /// Rows, which a reader copies.
    words: [AtomicU64; 2],
    protected: UnsafeCell<u32>,
}

// SAFETY: the cell is what flags and gate protect, and the tool fails if they do not.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flags: [AtomicU32::new(0)],
            closed: AtomicU32::new(0),
            fenced: AtomicU32::new(fenced::CLOSER),
            closers_alive: AtomicU32::new(101),
            sequence: AtomicU64::new(0),
            words: [AtomicU64::new(0), AtomicU64::new(0)],
            protected: UnsafeCell::new(0),
        })
    }

    fn use_it(&self) {
        self.protected.with_mut(|protected| {
            // SAFETY: the tool fails unless this follows every other access to the cell.
            unsafe { *protected += 1 };
        });
    }

    fn change_all(&self, value: u64) {
        self.words.iter().for_each(|word| word.store(value, Ordering::Relaxed));
    }

    /// As a reader does between `gate::sequence_if_open` and `gate::unchanged`.
    fn read(&self, steps: &impl Steps) -> Option<[u64; 2]> {
        let seen = product::open_sequence(&self.sequence)?;
        let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
        steps.copied();
        product::unchanged(&self.sequence, seen).then_some(words)
    }
}

/// A writer goes in and out, twice; a closer tries once.
fn writer_and_closer(steps: impl Steps + Copy) {
    enter_and_close(World::new(), steps);
}

fn enter_and_close(world: Arc<World>, steps: impl Steps + Copy) {
    let inside = Arc::clone(&world);
    let writer = thread::spawn(move || {
        for _ in 0..2 {
            // As `Writer::enter`, which waits if the gate is closed.
            let entered = steps.raise(&inside, 0);
            if entered {
                inside.use_it();
            }
            steps.lower(&inside.flags[0]);
        }
    });
    if steps.close(&world) {
        world.use_it();
        steps.open(&world);
    }
    writer.join().unwrap();
    assert_eq!((world.sequence.load(Ordering::Relaxed) % 2, world.closed.load(Ordering::Relaxed)), (0, 0));
}

/// The same, where the writers fence and the closer makes no barrier.
fn fencing_writer_and_closer(steps: impl Steps + Copy) {
    let world = World::new();
    world.fenced.store(fenced::WRITER, Ordering::Relaxed);
    enter_and_close(world, steps);
}

/// A closer changes two rows, a reader copies them.
fn closer_and_reader(steps: impl Steps + Copy) {
    let world = World::new();
    let behind = Arc::clone(&world);
    let closer = thread::spawn(move || {
        assert!(steps.close(&behind), "there is no writer");
        behind.change_all(1);
        steps.open(&behind);
    });
    if let Some([a, b]) = world.read(&steps) {
        assert_eq!(a, b, "rows before and after");
    }
    closer.join().unwrap();
    assert_eq!(world.read(&steps), Some([1, 1]));
}

/// A closer dies in the middle of a change that it has committed; a recoverer ends it and opens; a reader copies.
fn dead_closer(steps: impl Steps + Copy) {
    let world = World::new();
    let behind = Arc::clone(&world);
    let closer = thread::spawn(move || {
        assert!(steps.close(&behind), "there is no writer");
        behind.words[0].store(1, Ordering::Relaxed);
        behind.closers_alive.store(alive::OWNER_DIED, Ordering::Release);
        thread::spawn(move || steps.recover(&behind)).join().unwrap();
    });
    if let Some([a, b]) = world.read(&steps) {
        assert_eq!(a, b, "rows before and after");
    }
    closer.join().unwrap();
    assert_eq!(world.read(&steps), Some([1, 1]));
}

#[test]
fn behind_the_gate_there_is_no_writer() {
    explore("gate, writer and closer", None, || writer_and_closer(Product));
}

/// The same, where the closer takes the barrier upon itself again before it closes.
fn calm_writer_and_closer(steps: impl Steps + Copy) {
    let world = World::new();
    world.fenced.store(fenced::WRITER, Ordering::Relaxed);
    product::fenced_by_closers(&world.fenced);
    enter_and_close(world, steps);
}

#[test]
fn the_way_back_needs_no_barrier() {
    explore("gate, calm writer and closer", None, || calm_writer_and_closer(Product));
}

#[test]
fn behind_a_gate_without_a_barrier_there_is_no_writer_either() {
    explore("gate, fencing writer and closer", None, || fencing_writer_and_closer(Product));
}

#[test]
fn readers_see_all_that_was_done_behind_the_gate_or_nothing() {
    explore("gate, closer and reader", None, || closer_and_reader(Product));
}

#[test]
fn a_dead_closers_gate_opens_when_its_work_is_done() {
    explore("gate, dead closer", FEW, || dead_closer(Product));
}

mutants! {
    mutant_looks_at_the_gate_before_its_flag_is_up(writer_and_closer) {
        fn raise(&self, world: &World, writer: usize) -> bool {
            let open = world.closed.load(Ordering::Acquire) == 0;
            world.flags[writer].store(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            open
        }
    }
    /// The closer relies on the writer's fence.
    mutant_raises_without_its_fence(fencing_writer_and_closer) {
        fn raise(&self, world: &World, writer: usize) -> bool {
            world.flags[writer].store(1, Ordering::Release);
            world.closed.load(Ordering::Acquire) == 0
        }
    }
    /// Not every writer has heard of it yet.
    mutant_relies_on_writers_too_early(writer_and_closer) {
        fn close(&self, world: &World) -> bool {
            product::ask_writers(&world.fenced);
            product::fenced_by_writers(&world.fenced);
            product::mark(&world.closed, &world.fenced);
            let out = self.all_out(world);
            if out {
                self.shut(world);
            } else {
                product::unmark(&world.closed);
            }
            out
        }
        fn raise(&self, world: &World, writer: usize) -> bool {
            // As `compiler_fence` is: no fence of the processor.
            world.flags[writer].store(1, Ordering::Relaxed);
            if world.fenced.load(Ordering::Relaxed) != fenced::CLOSER {
                fence(Ordering::SeqCst);
            }
            world.closed.load(Ordering::Acquire) == 0
        }
    }
    mutant_raises_without_a_barrier(writer_and_closer) {
        fn raise(&self, world: &World, writer: usize) -> bool {
            world.flags[writer].store(1, Ordering::Release);
            world.closed.load(Ordering::Acquire) == 0
        }
    }
    /// A process that is not registered is passed over.
    mutant_closes_without_a_barrier(writer_and_closer) {
        fn barrier(&self) {}
    }
    mutant_lowers_without_release(writer_and_closer) {
        fn lower(&self, flag: &AtomicU32) {
            flag.store(0, Ordering::Relaxed);
        }
    }
    mutant_looks_at_the_flags_before_it_marks_the_gate(writer_and_closer) {
        fn close(&self, world: &World) -> bool {
            self.barrier();
            let out = self.all_out(world);
            product::mark(&world.closed, &world.fenced);
            if out {
                self.shut(world);
            } else {
                product::unmark(&world.closed);
            }
            out
        }
    }
    mutant_opens_without_release(writer_and_closer) {
        fn open(&self, world: &World) {
            world.sequence.store(world.sequence.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            world.closed.store(0, Ordering::Relaxed);
        }
    }
    mutant_never_turns_the_sequence(closer_and_reader) {
        fn shut(&self, _: &World) {}
        fn open(&self, world: &World) {
            product::unmark(&world.closed);
        }
    }
    mutant_shuts_without_a_fence(closer_and_reader) {
        fn shut(&self, world: &World) {
            world.sequence.fetch_add(1, Ordering::Relaxed);
        }
    }
    mutant_looks_again_before_it_has_copied(closer_and_reader) {
        fn copied(&self) {}
    }
    /// This was a defect of the store: the fence of the dead one orders nothing that another thread stores.
    mutant_changes_what_a_dead_one_shut_without_a_fence_of_its_own(dead_closer) {
        fn claim_dead(&self, life: &AtomicU32) -> bool {
            life.compare_exchange(alive::OWNER_DIED, 102, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        }
    }
    mutant_opens_a_dead_ones_gate_first(dead_closer) {
        fn recover(&self, world: &World) {
            self.open(world);
            world.change_all(1);
        }
    }
}
