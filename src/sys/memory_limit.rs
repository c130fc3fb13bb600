//! How much memory this process and its children may have: what the machine has left, and the limits of the control
//! groups they are in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// An upper bound on memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryBound {
    /// `MemAvailable`: what can be had without swapping, in bytes.
    Available(u64),
    /// The limit of a control group, in bytes, and the file that states it.
    ControlGroup(u64, PathBuf),
}

impl MemoryBound {
    /// The bound in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Available(bytes) | Self::ControlGroup(bytes, _) => *bytes,
        }
    }
}

/// Limits of control groups above this mean "none": version 1 writes the largest page-aligned number.
const NO_LIMIT: u64 = 1 << 60;

/// Memory that is available on this machine; `None` where the kernel does not say.
#[must_use]
pub fn available() -> Option<MemoryBound> {
    Some(MemoryBound::Available(parse_available(&fs::read_to_string("/proc/meminfo").ok()?)?))
}

/// The tightest limit of the control groups that this process is in; `None` without a limit.
#[must_use]
pub fn control_group() -> Option<MemoryBound> {
    tightest(Path::new("/sys/fs/cgroup"), &fs::read_to_string("/proc/self/cgroup").ok()?)
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `groups` is the text of `/proc/self/cgroup`: lines `id:controllers:path`, with id 0 and no controllers for version 2.
fn tightest(root: &Path, groups: &str) -> Option<MemoryBound> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if id == "0" && controllers.is_empty() {
            files.extend(up(root, path, "memory.max"));
        } else if controllers.split(',').any(|controller| controller == "memory") {
            files.extend(up(&root.join("memory"), path, "memory.limit_in_bytes"));
        }
    }
    files
        .into_iter()
        .filter_map(|file| Some(MemoryBound::ControlGroup(read_limit(&file).ok()??, file)))
        .min_by_key(MemoryBound::bytes)
}

/// The file `name` of the group at `path` and of every group above it. A path that is not mounted here (a container
/// that sees its host's names) simply has no files; its limit then stands at the root.
fn up(root: &Path, path: &str, name: &str) -> Vec<PathBuf> {
    Path::new(path.trim_start_matches('/')).ancestors().map(|group| root.join(group).join(name)).collect()
}

fn read_limit(file: &Path) -> io::Result<Option<u64>> {
    Ok(fs::read_to_string(file)?.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of control groups that is gone at the end of the test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(test: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("store-master-cgroup-{}-{test}", std::process::id()));
            for (file, text) in files {
                let path = root.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn bytes(&self, groups: &str) -> Option<u64> {
            tightest(&self.0, groups).map(|bound| bound.bytes())
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn version_2_takes_the_tightest_group_on_the_way_up() {
        let tree = Tree::new(
            "v2",
            &[
                ("a/b/memory.max", "max\n"),
                ("a/memory.max", "1000000\n"),
                ("memory.max", "2000000\n"),
                ("c/memory.max", "5\n"),
            ],
        );
        assert_eq!(tree.bytes("0::/a/b\n"), Some(1_000_000));
        assert_eq!(tree.bytes("0::/\n"), Some(2_000_000));
        assert_eq!(tree.bytes("0::/not/mounted\n"), Some(2_000_000));
        assert_eq!(tree.bytes(""), None);
    }

    #[test]
    fn version_1_reads_the_memory_controller() {
        let none = "9223372036854771712\n";
        let tree =
            Tree::new("v1", &[("memory/memory.limit_in_bytes", none), ("memory/a/memory.limit_in_bytes", "4096\n")]);
        assert_eq!(tree.bytes("3:cpu,cpuacct:/a\n2:memory:/a\n"), Some(4096));
        assert_eq!(tree.bytes("2:memory:/\n"), None);
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(parse_available("MemTotal:  10 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(parse_available("MemTotal:  10 kB\n"), None);
        assert!(available().is_some());
    }
}
