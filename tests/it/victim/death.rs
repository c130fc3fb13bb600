//! The ways to die.
#![allow(unsafe_code)]

use std::{
    arch::asm,
    error::Error,
    fs::{self, File},
    hint::black_box,
    io, mem,
    os::unix::process::CommandExt,
    process::{self, Command},
    ptr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use nix::{
    libc,
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        wait::waitpid,
    },
    unistd::{ForkResult, fork},
};
use store_master::{Segment, SegmentError, Store, backend::SharedStore};

use crate::{Outcome, TASK, introduce, own_row, say, stay, transfer};

/// The code of a process that ends by itself.
const CODE: i32 = 7;
/// What an allocation storm takes at once, in bytes, and what it takes at most.
const GULP: usize = 1 << 20;
const MOST_GULPS: usize = 2048;
/// What a process may still get when its address space is limited, in bytes.
const HEADROOM: u64 = 32 << 20;

/// Dies in the way of this name. Returns if that way leaves the process alive.
pub(crate) fn die(death: &str, store: &Store) {
    match death {
        "hold" => stay(),
        "go-on" => {}
        "memory" => storm(),
        "address-space" => {
            limit_address_space();
            storm();
        }
        "segfault" => segfault(),
        "abort" => process::abort(),
        "illegal" => illegal(),
        "exit" => process::exit(CODE),
        // SAFETY: the call does not return and takes an integer.
        "_exit" => unsafe { libc::_exit(CODE) },
        "panic" => panic!("asked to"),
        "exec" => panic!("exec: {}", Command::new("sleep").arg("30").exec()),
        "fork" => report(forked(store)),
        "no-files" => mem::forget(open_all().expect("files can be opened until none is left")),
        unknown => panic!("no death is called {unknown}"),
    }
}

/// What a process does that never wrote: it takes memory, or it attaches when no file can be opened.
pub(crate) fn without_writing(death: &str, segment: &str) -> Outcome {
    match death {
        "attach" => attach_with_no_file_left(segment),
        _ => {
            let mut line = String::new();
            io::stdin().read_line(&mut line)?;
            storm();
            Ok(())
        }
    }
}

fn attach_with_no_file_left(segment: &str) -> Outcome {
    let mut open = open_all()?;
    match Segment::attach(segment) {
        Err(SegmentError::System { doing, source }) => say(&format!("refused: {doing}: {source}")),
        Err(other) => return Err(other.into()),
        Ok(_) => return Err("attached without a file".into()),
    }
    // One is enough.
    open.pop();
    let store = Store::open(Segment::attach(segment)?)?;
    own_row(&store)?;
    say("attached");
    Ok(())
}

fn report(outcome: Outcome) {
    match outcome {
        Ok(()) => say("done"),
        Err(error) => say(&format!("failed: {error}")),
    }
}

/// Takes and touches memory until somebody ends that.
fn storm() {
    let mut taken = Vec::new();
    for _ in 0..MOST_GULPS {
        taken.push(vec![1_u8; GULP]);
        black_box(&taken);
    }
    say("no limit was met");
}

fn limit_address_space() {
    let used = fs::read_to_string("/proc/self/statm").expect("/proc is mounted");
    let pages: u64 = used.split(' ').next().and_then(|pages| pages.parse().ok()).expect("pages");
    let limit = pages * 4096 + HEADROOM;
    setrlimit(Resource::RLIMIT_AS, limit, limit).expect("a limit can be lowered");
}

fn segfault() {
    // SAFETY: it is not safe, and that is what it is for: nothing is mapped there, so the kernel ends the process.
    unsafe { ptr::without_provenance::<u8>(8).read_volatile() };
}

fn illegal() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction touches nothing; the kernel ends the process.
    unsafe {
        asm!("ud2")
    };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("udf #0")
    };
}

/// Forks while another thread is in the middle of a transfer. The child writes in its own name, finds what its parent holds
/// busy, and exits with destructors and handlers.
fn forked(store: &Store) -> Outcome {
    // SAFETY: the child uses the store and the allocator, whose locks the C library keeps in order over a fork, and no lock of
    // another thread's of this program.
    match unsafe { fork() }? {
        ForkResult::Child => process::exit(child(store)),
        ForkResult::Parent { child } => match waitpid(child, None)? {
            nix::sys::wait::WaitStatus::Exited(_, 0) => Ok(()),
            other => Err(format!("the child: {other:?}").into()),
        },
    }
}

fn child(store: &Store) -> i32 {
    // A counter: a new row could need the lock of an index group that the parent holds.
    if introduce(store).is_err() {
        return 11;
    }
    let Some(hasty) = HASTY.get() else { return 12 };
    match transfer(hasty) {
        Err(error) if is_busy(error.as_ref()) => 0,
        Err(_) => 13,
        Ok(()) => 14,
    }
}

fn is_busy(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(store_master::Error::Busy))
}

/// The same store with little patience.
static HASTY: OnceLock<Store> = OnceLock::new();

/// Has `exit` call a function that writes to the store, as a program's own handlers may.
pub(crate) fn register_handler(segment: &Segment) {
    let hasty = SharedStore::open(segment.clone(), Some(Duration::from_millis(200)));
    HASTY.get_or_init(|| Store::on(Arc::new(hasty)));
    // SAFETY: the handler is a plain function that lives as long as the program.
    unsafe { libc::atexit(last_words) };
}

/// Writes, unless the exiting thread is in the middle of a write: nobody may use the store there.
extern "C" fn last_words() {
    let Some(task) = TASK.get().filter(|task| !task.dies_itself) else { return };
    if let Err(error) = task.store.counter("last-words").and_then(|counter| counter.increment()) {
        eprintln!("a function that exit called could not write: {error}");
    }
}

/// Opens files until none can be opened any more.
fn open_all() -> io::Result<Vec<File>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, soft.min(64), hard)?;
    let mut open = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => return Ok(open),
            Err(error) => return Err(error),
        }
    }
}
