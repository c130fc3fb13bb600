//! What a child does from its first instruction to its last: which instructions change the segment, and which are system calls.
//!
//! The first run finds the pages that are written to at all: they are write-protected until the child writes to them. The second is
//! stepped, and after each step these pages are compared, so that no change goes unseen, not even one that the next
//! instruction takes back.
//!
//! Later runs do the same again, because all children are forked from one process in one state. So a place in the run is an
//! instruction's address and the number of times that the child has come there, which a debug register finds at full speed. That
//! the child really is there is seen by the segment's bytes; if it is not (a clock moved on), it is stepped there all the way.

use std::{collections::BTreeMap, fs};

use nix::unistd::Pid;

use super::{
    ground::{Ground, PAGE, word},
    tracer::{SYSCALL, Stop, Traced},
};

/// Longest run that is stepped.
const LONGEST: usize = 3_000_000;
/// Steps that a place may lie behind an instruction that is easier to find.
const DETOUR: usize = 200;
/// An operation of fewer instructions than this, from its first change to its last, is killed at every one.
const SHORT: usize = 500;

/// Where the child is before a step.
struct Place {
    rip: u64,
    /// How many times it has come to this address, this time included.
    arrival: u32,
    /// Steps since then at the same address: a string instruction.
    repeats: u32,
}

/// A word that a step changed.
#[derive(Clone, Copy)]
pub(super) struct Change {
    /// Steps done before the change.
    pub(super) step: u32,
    pub(super) at: u32,
    pub(super) was: u64,
    pub(super) is: u64,
}

/// The run of a child.
pub(super) struct Trace {
    places: Vec<Place>,
    pub(super) changes: Vec<Change>,
    calls: Vec<u32>,
    /// The pages that it changes.
    pages: Vec<usize>,
    /// The segment just before the first step.
    start: Vec<u8>,
    pub(super) end: Stop,
}

/// The bytes of the segment at a place that moves forward.
pub(super) struct Expected<'a> {
    trace: &'a Trace,
    bytes: Vec<u8>,
    next: usize,
}

impl Trace {
    /// Steps through a run. `begin` brings the segment and a child to the start of it.
    pub(super) fn record<R>(ground: &mut Ground, mut begin: impl FnMut(&mut Ground) -> (R, Traced)) -> Self {
        let mut pages = pages_written(ground, &mut begin);
        loop {
            let (others, child) = begin(ground);
            let trace = Self::step_through(ground, child, &pages);
            drop(others);
            match trace {
                Ok(trace) => return trace,
                Err(mut missed) => pages.append(&mut missed),
            }
        }
    }

    /// The run, or the pages outside of `pages` that it changed.
    fn step_through(ground: &Ground, mut child: Traced, pages: &[usize]) -> Result<Self, Vec<usize>> {
        let start = ground.bytes().to_vec();
        let mut now = start.clone();
        let mut trace = Self {
            places: Vec::new(),
            changes: Vec::new(),
            calls: Vec::new(),
            pages: Vec::new(),
            start,
            end: Stop::Trap,
        };
        let mut arrivals: BTreeMap<u64, (u32, bool)> = BTreeMap::new();
        let mut repeats = 0;
        while trace.end == Stop::Trap && trace.places.len() < LONGEST {
            let rip = child.rip();
            let again = trace.places.last().is_some_and(|last| last.rip == rip);
            repeats = if again { repeats + 1 } else { 0 };
            let (arrival, call) =
                arrivals.entry(rip).or_insert_with(|| (0, child.instruction(rip) & 0xffff == SYSCALL));
            *arrival += u32::from(!again);
            let step = trace.places.len() as u32;
            if *call {
                trace.calls.push(step);
            }
            trace.places.push(Place { rip, arrival: *arrival, repeats });
            trace.end = child.step();
            for &page in pages {
                note_changes(ground, page, &mut now, step, &mut trace.changes);
            }
        }
        let missed: Vec<usize> = (0..ground.pages()).filter(|&page| !is_same(ground, page, &now)).collect();
        trace.pages = trace.changes.iter().map(|change| change.at as usize / PAGE).collect();
        trace.pages.sort_unstable();
        trace.pages.dedup();
        if missed.is_empty() { Ok(trace) } else { Err(missed) }
    }

    /// Steps of the whole run.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Steps after which a kill is worth while: behind each change, on both sides of each system call, and everywhere
    /// in between if that is not far.
    pub(super) fn points(&self) -> Vec<usize> {
        let changes = self.changes.iter().map(|change| change.step as usize + 1);
        let calls = self.calls.iter().flat_map(|&step| [step as usize, step as usize + 1]);
        let mut points: Vec<usize> = changes.chain(calls).collect();
        if let (Some(first), Some(last)) = (self.changes.first(), self.changes.last()) {
            // Before the first change and behind the last one nothing is under way.
            let inside = first.step as usize + 1..last.step as usize + 1;
            points.extend(inside.clone().take_while(|_| inside.len() < SHORT));
        }
        points.sort_unstable();
        points.dedup();
        points.retain(|&point| point < self.len());
        points
    }

    /// The bytes at a place, from the start on.
    pub(super) fn expected(&self) -> Expected<'_> {
        Expected { trace: self, bytes: self.start.clone(), next: 0 }
    }

    /// The address of the instruction that step `step` does.
    pub(super) fn rip(&self, step: usize) -> u64 {
        self.places.get(step).map_or(0, |place| place.rip)
    }

    /// The place at or shortly before `point` to which the fewest stops lead.
    fn nearest(&self, point: usize) -> usize {
        let cost =
            |&step: &usize| self.places[step].arrival as usize + (point - step) + self.places[step].repeats as usize;
        (point.saturating_sub(DETOUR)..=point)
            .filter(|&step| self.places[step].repeats == 0)
            .min_by_key(cost)
            .unwrap_or(0)
    }

    /// Brings a fresh child to where `point` steps have been done; false if it stopped or died before.
    pub(super) fn run_to(&self, child: &mut Traced, point: usize) -> bool {
        let near = self.nearest(point);
        let there = near == 0 || child.run_to(self.places[near].rip, self.places[near].arrival) == Stop::Trap;
        there && (near..point).all(|_| child.step() == Stop::Trap)
    }
}

impl Expected<'_> {
    /// Brings a child to `point`, which does not lie before that of the last call. The child, and whether all is as recorded.
    pub(super) fn reach<R>(
        &mut self,
        ground: &mut Ground,
        point: usize,
        begin: &mut impl FnMut(&mut Ground) -> (R, Traced),
    ) -> (R, Traced, bool) {
        self.advance(point);
        let (others, mut child) = begin(ground);
        if self.trace.run_to(&mut child, point) && self.is_here(ground) {
            return (others, child, true);
        }
        drop((others, child));
        let (others, mut child) = begin(ground);
        let there = (0..point).all(|_| child.step() == Stop::Trap);
        let exact = there && self.is_here(ground);
        (others, child, exact)
    }

    fn advance(&mut self, point: usize) {
        while let Some(change) = self.trace.changes.get(self.next).filter(|change| (change.step as usize) < point) {
            self.bytes[change.at as usize..][..8].copy_from_slice(&change.is.to_ne_bytes());
            self.next += 1;
        }
    }

    fn is_here(&self, ground: &Ground) -> bool {
        self.trace.pages.iter().all(|&page| {
            let range = page * PAGE..(page + 1) * PAGE;
            ground.same_page(page, &ground.bytes()[range.clone()], &self.bytes[range])
        })
    }
}

fn is_same(ground: &Ground, page: usize, now: &[u8]) -> bool {
    let range = page * PAGE..(page + 1) * PAGE;
    ground.bytes()[range.clone()] == now[range]
}

fn note_changes(ground: &Ground, page: usize, now: &mut [u8], step: u32, changes: &mut Vec<Change>) {
    if is_same(ground, page, now) {
        return;
    }
    for at in (page * PAGE..(page + 1) * PAGE).step_by(8) {
        let (was, is) = (word(now, at), word(ground.bytes(), at));
        if was != is {
            changes.push(Change { step, at: at as u32, was, is });
            now[at..at + 8].copy_from_slice(&is.to_ne_bytes());
        }
    }
}

/// The pages of the segment that a run writes to.
fn pages_written<R>(ground: &mut Ground, begin: &mut impl FnMut(&mut Ground) -> (R, Traced)) -> Vec<usize> {
    let (others, mut child) = begin(ground);
    let len = (ground.pages() * PAGE) as u64;
    let starts = mappings(child.pid());
    starts.iter().for_each(|&start| child.protect(start, len, false));
    let mut pages = Vec::new();
    while let Stop::Fault(address) = child.run() {
        let start = starts.iter().find(|&&start| (start..start + len).contains(&address));
        let start = *start.expect("only the segment is protected");
        let page = (address - start) / PAGE as u64;
        child.protect(start + page * PAGE as u64, PAGE as u64, true);
        pages.push(page as usize);
    }
    drop(others);
    pages.sort_unstable();
    pages
}

/// Where the segment is mapped in a process, by the store and by the harness.
fn mappings(pid: Pid) -> Vec<u64> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("a child's mappings can be read");
    let of_segment = maps.lines().filter(|line| line.contains("/crash-steps-"));
    of_segment.filter_map(|line| u64::from_str_radix(line.split_once('-')?.0, 16).ok()).collect()
}
