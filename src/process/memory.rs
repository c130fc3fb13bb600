//! Whether the memory that was asked for can be had without driving this machine, or this container, out of memory.
//!
//! The segment is allocated as a whole at start. Asked for too much, the kernel would not refuse but kill processes, these
//! or others, some time later; so the program refuses first, while there is somebody to read the reason.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use super::Failure;
use crate::{
    config::Config,
    sys::memory_limit::{self, MemoryBound},
};

/// The share of what there is that a segment may take, in percent: connections and other programs live from the rest.
const SHARE_PERCENT: u64 = 80;

/// Refuses a segment that the machine or the control group has no room for.
///
/// # Errors
///
/// [`Failure::Refused`] with the figures.
pub(super) fn check(config: &Config) -> Result<(), Failure> {
    // A segment that survived an earlier run is not available any more, and need not be.
    let held = config.segment.as_deref().map_or(0, held_bytes);
    refuse_beyond(memory_limit::control_group(), config.memory)?;
    refuse_beyond(memory_limit::available(), config.memory.saturating_sub(held))
}

fn held_bytes(segment: &str) -> u64 {
    fs::metadata(Path::new("/dev/shm").join(segment)).map_or(0, |file| file.blocks() * 512)
}

fn refuse_beyond(bound: Option<MemoryBound>, needed: u64) -> Result<(), Failure> {
    let Some(bound) = bound else { return Ok(()) };
    let most = bound.bytes() / 100 * SHARE_PERCENT;
    if needed <= most {
        return Ok(());
    }
    let (whose, remedy) = match &bound {
        MemoryBound::Available(_) => ("available on this machine".to_owned(), "end other programs"),
        MemoryBound::ControlGroup(_, file) => (format!("the limit in {}", file.display()), "raise that limit"),
    };
    Err(Failure::Refused(format!(
        "--memory asks for {needed} bytes, which is more than {SHARE_PERCENT} % of the {} bytes that are {whose}; \
         start with --memory {most} or less, or {remedy}",
        bound.bytes()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighty_percent_is_the_most() {
        let bound = Some(MemoryBound::Available(1000));
        assert_eq!(refuse_beyond(bound.clone(), 800), Ok(()));
        assert_eq!(refuse_beyond(None, u64::MAX), Ok(()));
        let Err(Failure::Refused(why)) = refuse_beyond(bound, 801) else { panic!("not refused") };
        assert!(why.contains("801 bytes") && why.contains("1000 bytes") && why.contains("--memory 800"), "{why}");
    }

    #[test]
    fn the_control_group_is_named() {
        let bound = MemoryBound::ControlGroup(1 << 20, "/sys/fs/cgroup/memory.max".into());
        let why = refuse_beyond(Some(bound), 1 << 20).unwrap_err().to_string();
        assert!(why.contains("the limit in /sys/fs/cgroup/memory.max") && why.contains("raise that limit"), "{why}");
    }
}
