//! Children: made by a fork, ended at the latest with their parent, and asked where they hang.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
};

#[cfg(feature = "crash-points")]
use nix::sys::wait::{Id, waitid};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use store_master::sys::process::{self, Forked};

/// The exit code of a child that has found something wrong.
const FAILED: i32 = 101;

/// Makes a child that runs `body` and ends.
pub(crate) fn child(body: impl FnOnce()) -> i32 {
    let parent = process::Pid::own();
    match process::fork().expect("a child can be made") {
        Forked::Parent(pid) => pid.as_raw(),
        Forked::Child => {
            process::end_with_parent().expect("a child may ask for its end");
            if process::Pid::parent() != parent {
                std::process::exit(FAILED);
            }
            // A panic must not unwind into the parent's code, of which this is a copy.
            let outcome = catch_unwind(AssertUnwindSafe(body));
            std::process::exit(if outcome.is_ok() { 0 } else { FAILED })
        }
    }
}

/// Sends a signal; to a child that has ended is no error.
pub(crate) fn signal(pid: i32, what: Signal) {
    // It is not reaped yet, so the number is still its own.
    let _ = kill(Pid::from_raw(pid), what);
}

/// The next child that has ended, and how; does not wait.
pub(crate) fn ended() -> Option<WaitStatus> {
    match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => None,
        Ok(status) => Some(status),
        Err(error) => panic!("waitpid: {error}"),
    }
}

/// Waits for this child's end.
pub(crate) fn wait(pid: i32) -> WaitStatus {
    waitpid(Pid::from_raw(pid), None).expect("it is a child")
}

/// Waits for this child's end and leaves it a zombie, so that its number stays its own.
#[cfg(feature = "crash-points")]
pub(crate) fn outcome(pid: i32) -> WaitStatus {
    waitid(Id::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("it is a child")
}

/// Waits until this child has stopped; false if it has ended instead.
#[cfg(feature = "crash-points")]
pub(crate) fn wait_stopped(pid: i32) -> bool {
    matches!(waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(..)))
}

/// Whether a process runs or waits for nothing but a processor.
pub(crate) fn can_run(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
}

/// Where a process is, as the kernel tells.
pub(crate) fn whereabouts(pid: i32) -> String {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| error.to_string());
    let parts = ["stat", "wchan", "syscall", "stack"].map(|file| format!("  {file}: {}", read(file).trim_end()));
    format!("process {pid}\n{}", parts.join("\n"))
}
