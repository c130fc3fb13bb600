//! Signals as something to read, at a moment of the reader's choosing, instead of handlers that interrupt.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::sys::{
    signal::{SigHandler, SigSet, Signal as Number, signal},
    signalfd::{SfdFlags, SignalFd},
};

/// A signal that a process of ours acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A child ended (`SIGCHLD`).
    Child,
    /// The operator or the service manager wants an end (`SIGTERM`).
    Terminate,
    /// Someone at the terminal wants an end (`SIGINT`).
    Interrupt,
    /// The operator wants the settings read again (`SIGHUP`).
    Reload,
}

impl Signal {
    const ALL: [Self; 4] = [Self::Child, Self::Terminate, Self::Interrupt, Self::Reload];

    fn number(self) -> Number {
        match self {
            Self::Child => Number::SIGCHLD,
            Self::Terminate => Number::SIGTERM,
            Self::Interrupt => Number::SIGINT,
            Self::Reload => Number::SIGHUP,
        }
    }
}

fn set(signals: &[Signal]) -> SigSet {
    signals.iter().map(|signal| signal.number()).collect()
}

/// A descriptor from which some signals are read.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Holds these signals back from now on, in this process and its children, and makes them readable here.
    ///
    /// # Errors
    ///
    /// As `sigprocmask` and `signalfd`.
    pub fn listen(signals: &[Signal]) -> io::Result<Self> {
        set(signals).thread_block()?;
        if signals.contains(&Signal::Child) {
            watch_children()?;
        }
        Ok(Self(SignalFd::with_flags(&set(signals), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that has come; `None` if there is none at the moment. Does not wait.
    ///
    /// # Errors
    ///
    /// As `read`.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let Some(info) = self.0.read_signal()? else { return Ok(None) };
        Ok(Signal::ALL.into_iter().find(|signal| signal.number() as u32 == info.ssi_signo))
    }

    /// The descriptor alone: it is readable once one of the signals has come.
    ///
    /// # Errors
    ///
    /// As `dup`.
    pub fn into_descriptor(self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A launcher may have left `SIGCHLD` ignored, which outlives `exec`; the kernel would then reap our children unseen.
fn watch_children() -> io::Result<()> {
    // SAFETY: this sets the default action; there is no handler that could run.
    unsafe { signal(Number::SIGCHLD, SigHandler::SigDfl) }?;
    Ok(())
}
