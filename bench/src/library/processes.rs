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
    parts::{Extent, ROWS},
};
use crate::{
    companion::shared_memory,
    crew::{Crew, MOST, Work},
    report::Section,
    scaling,
};

/// How many processes work, the first being what the others are compared with.
const PROCESSES: [usize; 5] = [1, 2, 4, 8, MOST];
/// Time of one turn: each of many processes has the processor several times.
const SHARE: Duration = Duration::from_millis(150);

/// Operations a second with several numbers of processes.
pub(super) fn scaling(extent: Extent) -> Section {
    let mut section = Section::new(
        "More processes",
        "million/s",
        "Operations a second of all processes together, which were forked over one segment and bound to the cores in turns, against one process: 100,000 rows of 64 bytes, read, written as a whole by all to rows of their own, or to the same one; one counter; and, as what cannot be beaten there, a bare atomic addition to one word. **More is better**; more than the number of cores cannot be, and what matters is that nothing falls when there are more processes than cores.",
    )
    .more_is_better();
    let mut ours = Ours::new(ROWS);
    fill(&mut ours, ROWS);
    let store = store();
    let bare = shared_memory::<AtomicI64>();
    let all = |_, _| Order::new(Spread::Uniform, ROWS, u64::from(std::process::id()));
    let own = |number, of| Order::part(ROWS, number, of, u64::from(std::process::id()));
    let one = |_, _| Order::new(Spread::Hot, ROWS, 1);
    let counter = |_, _| -> Work<'_> {
        let counter = store.counter("hits").expect("a good name");
        Box::new(move |n| (0..n).for_each(|_| drop(black_box(counter.increment()))))
    };
    let addition = |_, _| -> Work<'_> {
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

/// An operation on rows, by each process in the order that is its own.
fn rows<'a>(
    ours: &'a Ours,
    operation: Operation<Ours>,
    order: impl Fn(u32, u32) -> Order + 'a,
) -> impl Fn(usize, usize) -> Work<'a> {
    move |number, of| {
        let (mut map, mut order) = (ours.clone(), order(number as u32, of as u32));
        Box::new(move |n| operation(&mut map, &mut order, n))
    }
}

fn measure<'a>(
    section: &mut Section,
    extent: Extent,
    what: &str,
    start: &impl Fn(usize, usize) -> Work<'a>,
) -> crate::plot::Line {
    let mut crew = Crew::new(start);
    let rounds = extent.rounds.div_ceil(2);
    let rates = scaling::in_turns(rounds, PROCESSES.len(), |at| crew.rate(PROCESSES[at], SHARE) / 1e6);
    scaling::add(section, what, "processes", &PROCESSES, &rates)
}
