//! The sweep: every worker's tick looks at the next share of rows and keys for such as have expired.
//!
//! Where the next share starts is one shared number that everybody adds to; a worker that stops keeps nobody from going on.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use shm_layout::directory::{ENTRIES, state};

use super::{evict, gate, keys::Keys, segment::Segment, tables::Tables};

/// Rows of one share.
const SHARE: u64 = 256;
/// Longest time that one call goes on while it finds much to free.
const BUDGET: Duration = Duration::from_millis(1);
/// A share in which this many had expired is followed by another at once.
const MUCH: usize = 16;

/// Frees a share of what has expired; how many rows and keys. Ends early at a gate that is closing: the sweep is nothing to wait for.
pub(crate) fn sweep(segment: &Segment, now_ms: u64) -> usize {
    evict::maintain(segment, now_ms);
    gate::calm_down(segment, now_ms);
    let start = Instant::now();
    let is_open = || segment.header().gate_closed.load(Ordering::Acquire) == 0;
    let live = |&index: &usize| segment.entry(index).state.load(Ordering::Acquire) == state::LIVE;
    let mut freed = 0;
    while is_open() {
        let mut found = Keys::sweep(segment, SHARE, now_ms);
        for index in (0..ENTRIES).filter(live).take_while(|_| is_open()) {
            found += Tables::sweep(segment, index, SHARE, now_ms);
        }
        freed += found;
        if found < MUCH || start.elapsed() > BUDGET {
            break;
        }
    }
    freed
}

impl Segment {
    /// Frees a share of the rows and keys that have expired; how many.
    pub fn sweep(&self, now_ms: u64) -> usize {
        sweep(self, now_ms)
    }
}
