//! Processes that do the same work at the same time, as many as are told to: more of them than there are cores.
#![allow(unsafe_code)]

use std::{
    io::{PipeReader, PipeWriter, Read, Write, pipe},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::wait::waitpid,
    unistd::{ForkResult, Pid, fork},
};

use crate::companion::{cores, pin, shared_memory};

/// Processes of a crew.
pub(crate) const MOST: usize = 16;
/// Calls between two looks at the order.
const BATCH: u64 = 64;
/// How long all work before they are counted.
const WARM_UP: Duration = Duration::from_millis(10);
/// Between two looks at whether all have started, or have stopped.
const LOOK: Duration = Duration::from_micros(200);

/// What one process tells; nobody else's lies near it.
#[repr(align(128))]
struct Place {
    done: AtomicU64,
    working: AtomicUsize,
}

/// What all of them see.
#[repr(C)]
struct Board {
    /// How many are to work; none else wakes.
    wanted: AtomicUsize,
    places: [Place; MOST],
}

/// Work: so many calls.
pub(crate) type Work<'a> = Box<dyn FnMut(u64) + 'a>;

/// Processes that rest until some of them are told to work.
pub(crate) struct Crew {
    board: &'static Board,
    /// A byte wakes; the end of the pipe ends.
    bells: Vec<PipeWriter>,
    pids: Vec<Pid>,
}

impl Crew {
    /// Forks [`MOST`] processes, bound to one core after the other. Each time that some work, `start(number)` makes the work of each. The caller has one thread.
    pub(crate) fn new<'a>(start: impl Fn(usize) -> Work<'a>) -> Self {
        let mut crew = Self { board: shared_memory::<Board>(), bells: Vec::new(), pids: Vec::new() };
        for number in 0..MOST {
            let (bell, ring) = pipe().expect("a pipe");
            // SAFETY: this program has one thread here.
            match unsafe { fork() }.expect("a process more") {
                ForkResult::Parent { child } => {
                    crew.bells.push(ring);
                    crew.pids.push(child);
                }
                ForkResult::Child => {
                    drop(ring);
                    work_when_told(crew.board, number, bell, &start);
                    std::process::exit(0);
                }
            }
        }
        crew
    }

    /// Calls a second, of all together, while `count` of them work.
    pub(crate) fn rate(&mut self, count: usize, time: Duration) -> f64 {
        self.board.wanted.store(count, Ordering::Release);
        self.bells[..count].iter_mut().for_each(|bell| bell.write_all(&[1]).expect("the crew lives"));
        self.wait_until_working(count);
        sleep(WARM_UP);
        let (before, start) = (self.done(), Instant::now());
        sleep(time);
        let (done, taken) = (self.done() - before, start.elapsed());
        self.board.wanted.store(0, Ordering::Release);
        self.wait_until_working(0);
        done as f64 / taken.as_secs_f64()
    }

    fn wait_until_working(&self, count: usize) {
        let working = || self.board.places.iter().map(|place| place.working.load(Ordering::Acquire)).sum::<usize>();
        while working() != count {
            sleep(LOOK);
        }
    }

    fn done(&self) -> u64 {
        self.board.places.iter().map(|place| place.done.load(Ordering::Relaxed)).sum()
    }
}

/// What a process of the crew does until its bell is gone.
fn work_when_told<'a>(board: &Board, number: usize, mut bell: PipeReader, start: &impl Fn(usize) -> Work<'a>) {
    // Where the kernel puts processes that have just woken differs from run to run.
    pin(number % cores());
    let place = &board.places[number];
    while bell.read_exact(&mut [0]).is_ok() {
        let of = board.wanted.load(Ordering::Acquire);
        let mut work = start(number);
        place.working.store(1, Ordering::Release);
        while board.wanted.load(Ordering::Relaxed) == of {
            work(BATCH);
            place.done.fetch_add(BATCH, Ordering::Relaxed);
        }
        place.working.store(0, Ordering::Release);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // Later ones hold the bells of earlier ones too, so these hear of the end when those have left.
        self.bells.clear();
        for pid in &self.pids {
            let _ = waitpid(*pid, None);
        }
    }
}
