//! More and more processes over one segment, up to many more than there are cores.

use std::{
    hint::black_box,
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use super::{
    keys::{Order, Spread},
    maps::{Ours, fill},
    operations::{Operation, get, set, store},
    parts::Extent,
};
use crate::{
    companion::shared_memory,
    crew::{Crew, MOST, Work},
    report::Section,
    scaling,
};

/// How many processes work, the first being what the others are compared with.
const PROCESSES: [usize; 5] = [1, 2, 4, 8, MOST];
/// Rows. They fit into the caches, so that what shows is not how often processes fill these for each other.
const ROWS: u32 = 10_000;
/// Time of one turn: each of many processes has the processor several times.
const SHARE: Duration = Duration::from_millis(150);

/// Operations a second with several numbers of processes.
pub(super) fn scaling(extent: Extent) -> Section {
    let mut section = Section::new(
        "More processes",
        "million/s",
        "Operations a second of all processes together, which were forked over one segment and bound to the cores in turns, against one process: 10,000 rows of 64 bytes, read; written as a whole, by each process a sixteenth of them that is its own, or by all the same one; one counter; and, as what cannot be beaten there, a bare atomic addition to one word. **More is better**; more than the number of cores cannot be, and what matters is that nothing falls when there are more processes than cores.",
    )
    .more_is_better();
    let mut ours = Ours::new(ROWS);
    fill(&mut ours, ROWS);
    let store = store();
    let bare = shared_memory::<AtomicI64>();
    let all = |number| Order::new(Spread::Uniform, ROWS, seed(number));
    let own = |number| Order::part(ROWS, number, MOST as u32, seed(number));
    let one = |_| Order::new(Spread::Hot, ROWS, 1);
    let counter = |_| -> Work<'_> {
        let counter = store.counter("hits").expect("a good name");
        Box::new(move |n| (0..n).for_each(|_| drop(black_box(counter.increment()))))
    };
    let addition = |_| -> Work<'_> {
        Box::new(|n| {
            for _ in 0..n {
                black_box(bare.fetch_add(1, Ordering::AcqRel));
            }
        })
    };
    let lines = vec![
        measure(&mut section, extent, "reads", &rows(&ours, get, all)),
        measure(&mut section, extent, "writes to different rows", &rows(&ours, set, own)),
        measure(&mut section, extent, "writes to one row", &rows(&ours, set, one)),
        measure(&mut section, extent, "one counter", &counter),
        measure(&mut section, extent, "bare fetch_add", &addition),
    ];
    section.plots.push(scaling::plot("processes.svg", "Operations a second against processes", "processes", lines));
    section
}

/// Where a process begins in the sequence of numbers that look random: far from all the others.
fn seed(number: u32) -> u64 {
    u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// An operation on rows, by each process in the order that is its own.
fn rows<'a>(
    ours: &'a Ours,
    operation: Operation<Ours>,
    order: impl Fn(u32) -> Order + 'a,
) -> impl Fn(usize) -> Work<'a> {
    move |number| {
        let (mut map, mut order) = (ours.clone(), order(number as u32));
        Box::new(move |n| operation(&mut map, &mut order, n))
    }
}

fn measure<'a>(
    section: &mut Section,
    extent: Extent,
    what: &str,
    start: &impl Fn(usize) -> Work<'a>,
) -> crate::plot::Line {
    let mut crew = Crew::new(start);
    let rounds = extent.rounds.div_ceil(2);
    let rates = scaling::in_turns(rounds, PROCESSES.len(), |at| crew.rate(PROCESSES[at], SHARE) / 1e6);
    scaling::add(section, what, "processes", &PROCESSES, &rates)
}
