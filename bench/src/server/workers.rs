//! The server with more workers, under one load.

use super::{
    parts::Extent,
    requests::{Request, batches, get, incr, set},
    side::Side,
    start::{CORE, Ours},
};
use crate::{companion::cores, report::Section, scaling};

/// How many workers serve, the first being what the others are compared with.
const WORKERS: [usize; 4] = [1, 2, 4, 8];
/// What is asked for, and in pipelines of how many.
const KINDS: [(&str, Request, usize); 4] = [("GET", get, 1), ("GET", get, 16), ("SET", set, 16), ("INCR", incr, 16)];

/// Requests a second with several numbers of workers.
pub(super) fn scaling(extent: Extent) -> Section {
    let mut section = Section::new(
        "Requests, more workers",
        "1000/s",
        "Requests a second from the same 50 connections, which have one core, with several numbers of workers, which have all the others together. Where a machine has two cores, all workers share one: what shows is then what a worker too many costs. Against one worker; **more is better**.",
    )
    .more_is_better();
    let cores = cores_of_workers();
    let start = |&workers: &usize| Side::filled(Ours { workers, cores: &cores, ..Ours::default() }.start(), 50);
    let mut sides: Vec<Side> = WORKERS.iter().map(start).collect();
    let mut lines = Vec::new();
    for (name, request, pipeline) in KINDS {
        let batches = batches(request, 1, pipeline, &[b'v'; 64]);
        let rates = scaling::in_turns(extent.rounds, WORKERS.len(), |at| sides[at].rate(&batches) / 1000.0);
        let name = format!("{name}, pipeline {pipeline}");
        lines.push(scaling::add(&mut section, &name, "workers", &WORKERS, &rates));
    }
    section.plots.push(scaling::plot("workers.svg", "Requests a second against workers", "workers", lines));
    section
}

/// All cores but the one of the load.
fn cores_of_workers() -> String {
    match cores() {
        ..=2 => CORE.to_owned(),
        cores => format!("{CORE},2-{}", cores - 1),
    }
}
