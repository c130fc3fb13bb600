//! A second process that does the same work, on another core, while this one is measured.
#![allow(unsafe_code)]

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        mman::{MapFlags, ProtFlags, mmap_anonymous},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid, fork},
};

const REST: u32 = 0;
const WORK: u32 = 1;
const END: u32 = 2;
/// Calls between two looks at the order.
const BATCH: u64 = 256;

/// What the two processes tell each other.
struct Shared {
    order: AtomicU32,
    state: AtomicU32,
}

/// A process that works while it is told to.
pub(crate) struct Companion {
    shared: &'static Shared,
    pid: Pid,
}

/// Memory of zeros that a forked process shares; it is never given back.
pub(crate) fn shared_memory<T>() -> &'static T {
    let length = NonZeroUsize::new(size_of::<T>().next_multiple_of(4096)).expect("not nothing");
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_SHARED) }.expect("a page");
    // SAFETY: the pages are zeros, which callers ask for as atomics, and are never unmapped.
    unsafe { at.cast::<T>().as_ref() }
}

/// Binds the calling thread to one core; does nothing where there are fewer.
pub(crate) fn pin(core: usize) {
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// Cores of this machine, whichever of them the calling thread may use.
pub(crate) fn cores() -> usize {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

impl Companion {
    /// Forks a process on `core` that runs `work(n)` over and over, while it is told to. The caller has one thread.
    pub(crate) fn new(core: usize, mut work: impl FnMut(u64)) -> Self {
        let shared = shared_memory::<Shared>();
        // SAFETY: this program has one thread here.
        match unsafe { fork() }.expect("a process more") {
            ForkResult::Parent { child } => Self { shared, pid: child },
            ForkResult::Child => {
                pin(core);
                loop {
                    match shared.order.load(Ordering::Acquire) {
                        WORK => {
                            shared.state.store(WORK, Ordering::Release);
                            work(BATCH);
                        }
                        REST => {
                            shared.state.store(REST, Ordering::Release);
                            std::thread::sleep(Duration::from_micros(50));
                        }
                        _ => std::process::exit(0),
                    }
                }
            }
        }
    }

    fn tell(&self, order: u32) {
        self.shared.order.store(order, Ordering::Release);
        while self.shared.state.load(Ordering::Acquire) != order {
            std::hint::spin_loop();
        }
    }

    /// Runs `body` while the companion works.
    pub(crate) fn beside<T>(&self, body: impl FnOnce() -> T) -> T {
        self.tell(WORK);
        let result = body();
        self.tell(REST);
        result
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.shared.order.store(END, Ordering::Release);
        let _ = waitpid(self.pid, None);
    }
}
