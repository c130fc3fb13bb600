//! Processes: how they begin, end and are waited for, and what they may use.
#![allow(unsafe_code)]

use std::{ffi::CString, fmt, fs, io};

use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal as Number, kill},
    },
    unistd::{self, ForkResult},
};
use rustix::{
    io::Errno,
    process::{WaitOptions, waitpid},
};

/// A process, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pid(unistd::Pid);

impl Pid {
    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self(unistd::getpid())
    }

    /// The parent of this process; another one than before once that has died.
    #[must_use]
    pub fn parent() -> Self {
        Self(unistd::getppid())
    }

    /// The id as a number.
    #[must_use]
    pub fn as_raw(self) -> i32 {
        self.0.as_raw()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which of the two processes returned from [`fork`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    /// The new one.
    Child,
    /// The old one; with the id of the new one.
    Parent(Pid),
}

/// Makes a copy of this process.
///
/// # Errors
///
/// As `fork`; and if the process has other threads, because the copy would inherit their locks but not them.
pub fn fork() -> io::Result<Forked> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("a process with {threads} threads must not fork")));
    }
    // SAFETY: only this thread exists, so no lock is held by a thread that the child lacks.
    match unsafe { unistd::fork() }? {
        ForkResult::Child => Ok(Forked::Child),
        ForkResult::Parent { child } => Ok(Forked::Parent(Pid(child))),
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It said so, with this code.
    Code(i32),
    /// The signal of this number ended it.
    Signal(i32),
}

impl Exit {
    /// The end that [`end`] brings about.
    pub const KILLED: Self = Self::Signal(Number::SIGKILL as i32);
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match Number::try_from(*number) {
                Ok(signal) => f.write_str(signal.as_str()),
                Err(_) => write!(f, "signal {number}"),
            },
        }
    }
}

/// The next child that has ended; `None` if there is none at the moment. Does not wait.
///
/// # Errors
///
/// As `waitpid`; having no children is no error.
pub fn reap() -> io::Result<Option<(Pid, Exit)>> {
    loop {
        // Not by way of `nix`, which answers with an error, and the child gone, if a real-time signal ended it.
        let (pid, status) = match waitpid(None, WaitOptions::NOHANG) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(Errno::CHILD) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let exit = status.exit_status().map(Exit::Code).or(status.terminating_signal().map(Exit::Signal));
        if let Some(exit) = exit {
            return Ok(Some((Pid(unistd::Pid::from_raw(pid.as_raw_nonzero().get())), exit)));
        }
    }
}

/// Asks a process to end (`SIGTERM`).
///
/// # Errors
///
/// As `kill`.
pub fn terminate(pid: Pid) -> io::Result<()> {
    Ok(kill(pid.0, Number::SIGTERM)?)
}

/// Ends a process, whatever it does and even if it is stopped (`SIGKILL`).
///
/// # Errors
///
/// As `kill`.
pub fn end(pid: Pid) -> io::Result<()> {
    Ok(kill(pid.0, Number::SIGKILL)?)
}

/// Lets the kernel end this process (`SIGKILL`) as soon as the thread that forked it ends. A parent that died before
/// this call is not noticed: compare [`Pid::parent`] afterwards.
///
/// # Errors
///
/// As `prctl`.
pub fn end_with_parent() -> io::Result<()> {
    Ok(prctl::set_pdeathsig(Number::SIGKILL)?)
}

/// Names this process as `ps` and `top` show it; the kernel keeps 15 bytes.
///
/// # Errors
///
/// If the name has a zero byte.
pub fn set_name(name: &str) -> io::Result<()> {
    Ok(prctl::set_name(&CString::new(name)?)?)
}

/// Forbids this process, for good, to leave a core file.
///
/// # Errors
///
/// As `setrlimit`.
pub fn forbid_core_files() -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_CORE, 0, 0)?)
}

/// Allows this process `wanted` open files, or as many as it may allow itself; returns how many those are.
///
/// # Errors
///
/// As `getrlimit` and `setrlimit`.
pub fn allow_open_files(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(soft);
    }
    // Only the privileged may go beyond the hard limit.
    if wanted > hard && setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok() {
        return Ok(wanted);
    }
    let allowed = wanted.min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, allowed, hard)?;
    Ok(allowed)
}
