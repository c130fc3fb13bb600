//! Starts that are wrapped or cut short, and states of processes: for the tests of hard deaths and of stopped processes.

use std::{process::Child, thread, time::Duration};

use super::{Start, alive, children, collect, stat, wait_until};

impl Start {
    /// Has this program run it, which gets the command line after its own arguments.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it and does not wait: for starts that are to be cut short.
    pub(crate) fn begin(self) -> Starting {
        let mut child = self.spawn();
        collect(child.stdout.take().unwrap());
        collect(child.stderr.take().unwrap());
        Starting { child }
    }
}

/// A master that may not have come to its ready line. Dropping it ends it, and with it its workers.
pub(crate) struct Starting {
    child: Child,
}

impl Starting {
    /// The master's process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// `kill -9` of the master alone, and waits until it and its workers, who follow it, are gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let workers = children(self.pid());
        self.child.kill().ok();
        self.child.wait().ok();
        let gone = || !workers.iter().any(|&pid| alive(pid));
        assert!(wait_until(Duration::from_secs(10), gone) || thread::panicking(), "workers outlive their master");
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.end();
    }
}

/// The letter that /proc has for the state of a process; `None` if there is none of this id.
pub(crate) fn state(pid: i32) -> Option<char> {
    Some(stat(pid)?.0)
}
