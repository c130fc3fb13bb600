//! A control group whose memory is limited: who takes more in it is killed by the kernel.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::harness::{segment_name, signal, wait_until};

/// The group. Dropping it ends whoever is still in it, and removes it.
pub(super) struct ControlGroup {
    path: PathBuf,
    /// The file that counts the kernel's kills.
    events: &'static str,
}

impl ControlGroup {
    /// A group that may have this many bytes; of version 1 or 2, whichever has memory here.
    ///
    /// # Errors
    ///
    /// Where there is neither, or where this process may not make one (it takes root).
    pub(super) fn limited(bytes: u64) -> io::Result<Self> {
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let (root, limit, events) = match version_1.join("memory.limit_in_bytes").exists() {
            true => (version_1, "memory.limit_in_bytes", "memory.oom_control"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max", "memory.events"),
        };
        let path = root.join(segment_name("group"));
        fs::create_dir(&path)?;
        let group = Self { path, events };
        fs::write(group.path.join(limit), bytes.to_string())?;
        Ok(group)
    }

    /// Moves a process into the group; what it takes from now on counts.
    pub(super) fn add(&self, pid: i32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("a process can be moved into its group");
    }

    /// How many processes the kernel has killed because the group's memory was spent.
    pub(super) fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.path.join(self.events)).expect("the group counts its kills");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or_else(|| panic!("no count of kills in {text:?}"))
    }

    fn members(&self) -> Vec<i32> {
        let text = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        self.members().into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
        // It can be removed as soon as the last of them is gone.
        wait_until(Duration::from_secs(5), || fs::remove_dir(&self.path).is_ok());
    }
}
