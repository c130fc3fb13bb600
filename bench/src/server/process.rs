//! The servers that are measured: real processes, what they use, and their end.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Child,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it serves, RESP if it is ours.
    pub(crate) address: SocketAddr,
    /// Where it serves HTTP, if it is ours and does.
    pub(crate) http: Option<SocketAddr>,
    /// The processes that serve.
    serving: Vec<u32>,
    /// Where it keeps its files.
    folder: Option<TempDir>,
}

impl Server {
    /// A process that serves here.
    pub(super) fn new(child: Child, address: SocketAddr, folder: TempDir) -> Self {
        let serving = vec![child.id()];
        Self { child, address, http: None, serving, folder: Some(folder) }
    }

    /// Counts its children, which may be about to start, as those that serve.
    pub(super) fn served_by_children(mut self) -> Self {
        let start = Instant::now();
        self.serving = children(self.child.id());
        while self.serving.is_empty() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
            self.serving = children(self.child.id());
        }
        self
    }

    /// The processes that serve.
    pub(crate) fn serving(&self) -> &[u32] {
        &self.serving
    }

    /// CPU time that the serving processes have used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let nanoseconds = self.serving.iter().map(|pid| {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
            let times = threads.map(|thread| {
                let text = fs::read_to_string(thread.expect("a thread").path().join("schedstat")).unwrap_or_default();
                text.split_whitespace().next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0)
            });
            times.sum::<u64>()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// Bytes of memory that all its processes have for themselves; what they share through a mapped segment is not among them.
    pub(crate) fn anonymous_bytes(&self) -> u64 {
        let own = self.child.id();
        let others = self.serving.iter().copied().filter(|&pid| pid != own);
        let each = std::iter::once(own).chain(others).map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it lives");
            anonymous_kib(&text).expect("a kernel that counts") << 10
        });
        each.sum()
    }

    /// Ends it in good order, and returns the folder that it had.
    pub(crate) fn stop(mut self) -> TempDir {
        self.end();
        self.folder.take().expect("it is stopped once")
    }

    fn end(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.folder.is_some() {
            self.end();
        }
    }
}

/// The memory that belongs to nobody else, as the kernel's summary of a process has it.
fn anonymous_kib(summary: &str) -> Option<u64> {
    let line = summary.lines().find_map(|line| line.strip_prefix("Pss_Anon:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Waits until somebody accepts connections here.
pub(super) fn wait_for(address: SocketAddr, name: &str) {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < PATIENCE, "{name} does not answer");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_its_own_is_read_from_the_summary() {
        assert_eq!(anonymous_kib("Rss:  9 kB\nPss_Anon:            1234 kB\nPss_File: 7 kB\n"), Some(1234));
        let own = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        assert!(anonymous_kib(&own) > Some(0));
    }
}
