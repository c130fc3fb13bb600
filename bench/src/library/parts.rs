//! The parts of the library's measurements.

use super::{bounds, one, processes, two};
use crate::{
    companion::pin,
    parts::{Part, names, run},
    report::Section,
};

/// Rows of the tables that most figures are about.
pub(super) const ROWS: u32 = 100_000;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rounds of each pair.
    pub(crate) rounds: usize,
    /// Rows of the largest table.
    pub(crate) largest: u32,
}

const PARTS: [Part<Extent>; 6] = [
    Part { name: "one", run: |extent| vec![one::one_process(extent)] },
    Part { name: "sizes", run: |extent| vec![one::sizes(extent)] },
    Part { name: "two", run: |extent| vec![two::two_processes(extent)] },
    Part { name: "processes", run: |extent| vec![processes::scaling(extent)] },
    Part { name: "batches", run: |extent| vec![one::batches(extent)] },
    Part { name: "bounds", run: |extent| vec![bounds::bounds(extent)] },
];

/// The words that [`all`] takes.
pub(crate) fn part_names() -> Vec<&'static str> {
    names(&PARTS)
}

/// Everything about the library, or what is named by one word.
pub(crate) fn all(extent: Extent, only: Option<&str>) -> Vec<Section> {
    pin(0);
    run(&PARTS, extent, only)
}
