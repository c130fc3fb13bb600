//! One round: a process holds a row, another wants it, and a third polls the first one's pidfd.
//!
//! Each writes down when it came how far, by the clock that all share. The holder parks at a named point inside its write, spinning, until
//! its end; it does not know when that comes. The waiter notes when a timer ended a sleep of it.
#![allow(unsafe_code)]

use std::{
    fs,
    hint::spin_loop,
    os::fd::AsFd,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::Duration,
};

use nix::{
    libc,
    sys::{
        resource::{Resource, setrlimit},
        signal::Signal,
        wait::WaitStatus,
    },
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use store_master::{Column, Segment, SegmentOptions, Store, Table, row, shm, store::ValueRef, sys};

use crate::{clock, family, random::Random, shared::Shared};

/// Longest wait for anything in a round, in nanoseconds. An oversubscribed machine takes its time to map a gigabyte.
const HANG: u64 = 60_000_000_000;
/// Longest life of a holder after its write.
const LINGER: u64 = 5_000_000_000;
/// What the row holds before a round, and what the holder writes to both of its numbers.
const BEFORE: i64 = 10;
const WRITTEN: i64 = 20;
const ROW: &str = "row";

/// What becomes of the holder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// SIGKILL while it spins.
    Killed,
    /// SIGKILL while it is stopped.
    KilledStopped,
    /// A write to where nothing is mapped; with core files allowed or, as the server has it, not.
    Segfault { core_files: bool },
    /// SIGSTOP, and SIGCONT after so many milliseconds.
    Stopped(u64),
    /// It gives its processor away once and then goes on.
    Descheduled,
}

/// Who waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    Writer,
    Reader,
}

/// A kind of round.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) fate: Fate,
    pub(super) point: &'static str,
    pub(super) waiter: Waiter,
}

/// What a round showed, in nanoseconds since the holder's end (or its SIGCONT, or for a descheduled one since the waiter began).
pub(super) struct Round {
    pub(super) waited: u64,
    /// Until the poll on the holder's pidfd returned; 0 if the holder lived on.
    pub(super) exit_event: u64,
    /// Whether a sleep of the waiter's ended because its time was up although the holder had ended.
    pub(super) by_timer: bool,
    /// Tasks that could run just before the end.
    pub(super) running: u64,
}

// What the processes tell each other.
const HELD: usize = 0;
const ENDED_AT: usize = 1;
const BEGUN_AT: usize = 2;
const DONE_AT: usize = 3;
const WATCHING: usize = 4;
const EVENT_AT: usize = 5;
const SLEPT_OUT_AT: usize = 6;
const GO: usize = 7;
const SEEN: usize = 8;
const WORDS: usize = 16;

/// A timer that ends so soon after the holder's end was asked for cannot be told from one that ended before it came.
const SOON: u64 = 50_000;

/// What the hook of a process needs; set once in each child.
static PART: OnceLock<(Kind, &'static Shared)> = OnceLock::new();

fn part() -> Option<(Kind, &'static Shared)> {
    PART.get().copied()
}

/// A segment with one row, and the words that the processes of a round share.
pub(super) struct Scene {
    table: Table,
    /// Whether the holder has every page of the segment mapped.
    touch: bool,
    words: &'static Shared,
    random: Random,
}

impl Scene {
    /// A scene on a segment of so many bytes, every page of which the holder has mapped or only those that it needs.
    pub(super) fn new(bytes: u64, touch: bool) -> Self {
        let segment =
            Segment::create(SegmentOptions::new().memory(bytes).workers(4).max_keys(1000)).expect("there is room");
        let store = Store::open(segment).expect("this process may write");
        let table = store.make("t", 64, &[Column::int("a"), Column::int("b")]).expect("there is room");
        // Kept for good: the hooks of the children refer to it.
        let words = Box::leak(Box::new(Shared::new(WORDS)));
        Self { table, touch, words, random: Random::seeded(clock::now()) }
    }

    /// Plays one round.
    ///
    /// # Errors
    ///
    /// What went wrong: somebody hangs, the row holds what nobody wrote, or a stopped holder's lock was taken.
    pub(super) fn play(&self, kind: Kind) -> Result<Round, String> {
        self.words.iter().for_each(|word| word.store(0, Ordering::SeqCst));
        self.table.set(ROW, &row! { a: BEFORE, b: BEFORE }).expect("nobody stops");
        let holder = family::child(|| self.hold(kind));
        let held = self.until(HELD, "the holder does not come to its point");
        let held = held.map_err(|why| format!("{why}: {}", family::whereabouts(holder)));
        let waited = held.and_then(|()| {
            let watcher = family::child(|| self.watch(holder));
            let waiter = family::child(|| self.wait(kind));
            let outcome = self.end(kind, holder, waiter);
            [watcher, waiter].into_iter().for_each(end);
            outcome
        });
        end(holder);
        waited
    }

    /// Waits until a word is set.
    fn until(&self, word: usize, what: &str) -> Result<(), String> {
        let start = clock::now();
        while self.get(word) == 0 {
            if clock::now() - start > HANG {
                return Err(what.to_owned());
            }
            sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    fn get(&self, word: usize) -> u64 {
        self.words[word].load(Ordering::SeqCst)
    }

    fn now(&self, word: usize) {
        self.words[word].store(clock::now(), Ordering::SeqCst);
    }

    /// The holder: goes into a write and parks there.
    fn hold(&self, kind: Kind) {
        if let Fate::Segfault { core_files } = kind.fate {
            prepare_for_a_fault(core_files);
        }
        if self.touch {
            touch_everything();
        }
        let _ = PART.set((kind, self.words));
        shm::on_crash_point(park_at_the_point);
        self.table.set(ROW, &row! { a: WRITTEN, b: WRITTEN }).expect("it is the only writer");
        // Its end would wake the waiter; so it lives on until its unlocking has, or should have.
        let start = clock::now();
        while self.get(SEEN) == 0 && clock::now() - start < LINGER {
            sleep(Duration::from_millis(1));
        }
    }

    /// The watcher: sees the holder's end as any other process would.
    fn watch(&self, holder: i32) {
        let holder = Pid::from_raw(holder).expect("it is a pid");
        let file = pidfd_open(holder, PidfdFlags::empty()).expect("it lives");
        self.now(WATCHING);
        let ready = sys::poll::wait_readable(&[file.as_fd()], Duration::from_nanos(HANG)).expect("it can be polled");
        self.now(EVENT_AT);
        assert!(ready[0], "no event");
    }

    /// The waiter.
    fn wait(&self, kind: Kind) {
        // What every process does once is not to be measured.
        self.table.incr("another", "a", 1).expect("nobody holds it");
        self.table.get("another").expect("nobody holds it");
        let _ = PART.set((kind, self.words));
        shm::on_crash_point(note_the_end_of_a_timer);
        self.now(BEGUN_AT);
        let seen = match kind.waiter {
            Waiter::Writer => self.table.incr(ROW, "a", 1).expect("it waits for as long as it takes"),
            Waiter::Reader => match self.table.get(ROW).expect("it waits").expect("the row is there").get(0) {
                ValueRef::Int(n) => n,
                _ => 0,
            },
        };
        self.now(DONE_AT);
        self.words[SEEN].store(seen as u64, Ordering::SeqCst);
    }

    /// Brings the holder's end about, at a moment that the waiter cannot foresee, and waits for what comes of it.
    fn end(&self, kind: Kind, holder: i32, waiter: i32) -> Result<Round, String> {
        if kind.fate == Fate::KilledStopped {
            family::signal(holder, Signal::SIGSTOP);
        }
        self.until(WATCHING, "the watcher does not start")?;
        self.until(BEGUN_AT, "the waiter does not start")?;
        sleep(Duration::from_micros(500 + self.random.below(5_000)));
        let running = running();
        if kind.fate != Fate::Descheduled && self.get(DONE_AT) != 0 {
            return Err("the waiter did not wait".to_owned());
        }
        match kind.fate {
            Fate::Killed | Fate::KilledStopped => {
                self.now(ENDED_AT);
                family::signal(holder, Signal::SIGKILL);
            }
            Fate::Segfault { .. } => self.words[GO].store(1, Ordering::SeqCst),
            Fate::Stopped(ms) => self.stop(holder, ms)?,
            Fate::Descheduled => self.now(ENDED_AT),
        }
        if self.until(DONE_AT, "").is_err() {
            return Err(format!("the waiter hangs: {}", family::whereabouts(waiter)));
        }
        self.until(SEEN, "the waiter saw nothing")?;
        self.settle(kind)?;
        let from = if kind.fate == Fate::Descheduled { self.get(BEGUN_AT) } else { self.get(ENDED_AT) };
        let dies = !matches!(kind.fate, Fate::Stopped(_) | Fate::Descheduled);
        if dies {
            self.until(EVENT_AT, "no event tells of the holder's end")?;
        }
        Ok(Round {
            waited: self.get(DONE_AT).saturating_sub(from),
            exit_event: if dies { self.get(EVENT_AT).saturating_sub(from) } else { 0 },
            by_timer: self.get(SLEPT_OUT_AT) > self.get(ENDED_AT) + SOON,
            running,
        })
    }

    /// Stops the holder for a while: meanwhile nobody may get what it holds.
    fn stop(&self, holder: i32, ms: u64) -> Result<(), String> {
        family::signal(holder, Signal::SIGSTOP);
        if !family::wait_stopped(holder) {
            return Err("the holder does not stop".to_owned());
        }
        // It would have gone on by now.
        self.words[GO].store(1, Ordering::SeqCst);
        sleep(Duration::from_millis(ms));
        if self.get(DONE_AT) != 0 {
            return Err("a stopped holder lost its lock".to_owned());
        }
        self.now(ENDED_AT);
        family::signal(holder, Signal::SIGCONT);
        match family::outcome(holder) {
            WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(format!("the stopped holder did not finish: {other:?}")),
        }
    }

    /// The row holds what the holder wrote, or what was there before, and the waiter's own on top.
    fn settle(&self, kind: Kind) -> Result<(), String> {
        let row = self.table.get(ROW).expect("nobody stops").expect("it is there");
        let (ValueRef::Int(a), ValueRef::Int(b)) = (row.get(0), row.get(1)) else { return Err(format!("{row:?}")) };
        let dies = !matches!(kind.fate, Fate::Stopped(_) | Fate::Descheduled);
        // At this point nothing is committed yet; at the others all is.
        let base = if dies && kind.point == "row-locked" { BEFORE } else { WRITTEN };
        let expected = base + i64::from(kind.waiter == Waiter::Writer);
        if (a, b) == (expected, base) && self.get(SEEN) as i64 == expected {
            return Ok(());
        }
        Err(format!(
            "the row holds {a} and {b}, the waiter saw {}; expected {expected} and {base}",
            self.get(SEEN) as i64
        ))
    }
}

/// Ends a child if it has not ended, and reaps it.
fn end(pid: i32) {
    family::signal(pid, Signal::SIGKILL);
    family::wait(pid);
}

fn park_at_the_point(name: &'static str) {
    let Some((kind, words)) =
        part().filter(|(kind, words)| kind.point == name && words[HELD].load(Ordering::SeqCst) == 0)
    else {
        return;
    };
    words[HELD].store(1, Ordering::SeqCst);
    let go = || words[GO].load(Ordering::SeqCst) != 0;
    match kind.fate {
        Fate::Descheduled => {
            // The waiter must have come first.
            while words[BEGUN_AT].load(Ordering::SeqCst) == 0 {
                spin_loop();
            }
            std::thread::yield_now();
        }
        Fate::Segfault { .. } => {
            while !go() {
                spin_loop();
            }
            words[ENDED_AT].store(clock::now(), Ordering::SeqCst);
            fault();
        }
        _ => {
            while !go() {
                spin_loop();
            }
        }
    }
}

fn note_the_end_of_a_timer(name: &'static str) {
    if let Some((_, words)) = part().filter(|_| name == "slept-out") {
        words[SLEPT_OUT_AT].store(clock::now(), Ordering::SeqCst);
    }
}

/// As the server prepares its workers; or so that a core file is written, into a folder where it is removed.
fn prepare_for_a_fault(core_files: bool) {
    if core_files {
        let folder = std::env::temp_dir().join(format!("crash-{}", sys::process::Pid::parent()));
        fs::create_dir_all(&folder).expect("there is room");
        std::env::set_current_dir(&folder).expect("it was made");
        setrlimit(Resource::RLIMIT_CORE, u64::MAX, u64::MAX).expect("the hard limit allows it");
    } else {
        sys::process::forbid_core_files().expect("a limit can be lowered");
    }
}

/// Maps every page of the segment, as a server that has run for long has.
fn touch_everything() {
    let maps = fs::read_to_string("/proc/self/maps").expect("/proc is mounted");
    for line in maps.lines().filter(|line| line.contains("memfd:store-master")) {
        let hex = |text: &str| usize::from_str_radix(text, 16).expect("addresses are hexadecimal");
        let (start, end) = line.split(' ').next().and_then(|range| range.split_once('-')).expect("a range");
        let (start, len) = (hex(start), hex(end) - hex(start));
        // SAFETY: the range is a mapping of this process; populating changes nothing that the program can see.
        let done = unsafe { libc::madvise(start as *mut libc::c_void, len, libc::MADV_POPULATE_READ) };
        assert_eq!(done, 0, "the segment cannot be mapped");
    }
}

/// Dies by a segmentation fault.
fn fault() {
    let (prot, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0) };
    // SAFETY: the address is valid and aligned, and the page must not be written to: the kernel ends this process here.
    unsafe { page.cast::<u64>().write_volatile(1) };
}

/// Tasks that can run now, this one included.
fn running() -> u64 {
    let stat = fs::read_to_string("/proc/stat").expect("/proc is mounted");
    let line = stat.lines().find_map(|line| line.strip_prefix("procs_running "));
    line.and_then(|number| number.parse().ok()).expect("the kernel counts them")
}

/// Puts this process, and the children that it makes, before or among all others of the machine; false if it may not.
pub(super) fn go_first(first: bool) -> bool {
    let (policy, priority) = if first { (libc::SCHED_FIFO, 1) } else { (libc::SCHED_OTHER, 0) };
    let param = libc::sched_param { sched_priority: priority };
    // SAFETY: the struct is valid for the call, and 0 stands for this process.
    unsafe { libc::sched_setscheduler(0, policy, &param) == 0 }
}

/// Keeps every processor busy, twice over, until dropped.
pub(super) struct Burners(Vec<i32>);

impl Burners {
    pub(super) fn start(count: usize) -> Self {
        Self((0..count).map(|_| family::child(burn)).collect())
    }
}

fn burn() {
    static SINK: AtomicU64 = AtomicU64::new(0);
    loop {
        SINK.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.0.iter().for_each(|&pid| end(pid));
    }
}
