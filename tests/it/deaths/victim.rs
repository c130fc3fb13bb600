//! A library process of the tests that dies when it is told to; see `tests/it/victim`.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use super::scene::HANG;
use crate::harness::wait_until;

/// The process. Dropping it ends it.
pub(super) struct Victim {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Code(i32),
    Signal(i32),
}

impl Victim {
    pub(super) const PROGRAM: &str = env!("CARGO_BIN_EXE_victim");

    pub(super) fn start(args: &[&str]) -> Self {
        Self::spawn(Command::new(Self::PROGRAM).args(args))
    }

    /// Starts it by a command that says otherwise how.
    pub(super) fn spawn(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).env("RUST_BACKTRACE", "0");
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| drop(send.send(line))));
        Self { stdin: child.stdin.take(), child, lines }
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next line that it prints.
    pub(super) fn line(&self) -> String {
        self.lines.recv_timeout(HANG).expect("the process prints a line")
    }

    /// Waits for its next line, which must be this one.
    pub(super) fn expect(&self, line: &str) {
        assert_eq!(self.line(), line);
    }

    /// Lets it die.
    pub(super) fn go(&mut self) {
        // A process that has just been ended by somebody else does not read it.
        self.stdin.take().map(|mut pipe| pipe.write_all(b"go\n").ok());
    }

    /// Waits for its end.
    pub(super) fn end(&mut self) -> End {
        let mut status = None;
        let ended = wait_until(HANG, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "the process does not end");
        let status = status.unwrap();
        status.code().map_or_else(|| End::Signal(status.signal().unwrap()), End::Code)
    }

    /// Lets it die and waits for its end.
    pub(super) fn dies(&mut self) -> End {
        self.go();
        self.end()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
