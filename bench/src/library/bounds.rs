//! What no store can beat: the bare instructions that must be there.

use std::{
    hint::black_box,
    sync::atomic::{AtomicI64, AtomicU64, Ordering, fence},
};

use super::{
    keys::key,
    maps::{Map, Ours, fill},
    operations::store,
    parts::{Extent, ROWS},
};
use crate::{companion::shared_memory, report::Section, turns::nanoseconds};

/// Sixty-four bytes that a sequence guards, and nothing else.
struct Bare {
    sequence: AtomicU64,
    words: [AtomicU64; 8],
}

impl Bare {
    #[inline(always)]
    fn copy(&self, out: &mut [u64; 8]) {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            for (to, from) in out.iter_mut().zip(&self.words) {
                *to = from.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// A counter and a read, beside the bare instructions.
pub(super) fn bounds(extent: Extent) -> Section {
    let mut section = Section::new(
        "The bounds",
        "ns",
        "What no store can beat: a bare atomic addition in shared memory, and a bare copy of 64 bytes under a sequence.",
    );
    let counter = store().counter("hits").expect("a good name");
    let bare = shared_memory::<AtomicI64>();
    let pair = nanoseconds(
        extent.rounds,
        |n| (0..n).for_each(|_| drop(black_box(counter.increment()))),
        |n| {
            for _ in 0..n {
                black_box(bare.fetch_add(1, Ordering::AcqRel));
            }
        },
    );
    section.add("increment of a counter", "fetch_add", pair, Some(1.08));

    let mut ours = Ours::new(ROWS);
    fill(&mut ours, ROWS);
    let copied = shared_memory::<Bare>();
    let mut out = [0; 8];
    let hot = key(ROWS / 2);
    let pair = nanoseconds(
        extent.rounds,
        |n| {
            for _ in 0..n {
                black_box(ours.get(&hot));
            }
        },
        |n| {
            for _ in 0..n {
                copied.copy(&mut out);
                black_box(&out);
            }
        },
    );
    section.add("get of one hot row", "copy under a sequence", pair, None);
    section
}
