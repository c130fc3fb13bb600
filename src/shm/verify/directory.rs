//! The directory, the pages of the arena, and who they belong to.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use shm_layout::{
    COUNTERS_SPACE,
    directory::{ENTRIES, Entry, NAME_WORDS, state},
    heap::{PAGE_UNITS, block_bytes, kind},
    limits::{MAX_COUNTER_NAME_BYTES, MAX_KV_KEY_BYTES, MAX_TABLES},
    slot,
    table::{Shape, UNIT_BYTES},
};

use super::{
    super::{arena::Units, directory, segment::Segment, space::Space},
    FindingKind, Walk,
    heap::pages as page_count,
    space::{Bits, Subject, count_is},
};

/// What the directory says.
pub(super) struct Map {
    /// The counters and every table.
    pub(super) subjects: Vec<Subject>,
    /// For each page, the units that tables lie in.
    pub(super) units: Vec<u64>,
}

/// Looks at every entry of the directory.
pub(super) fn tables(walk: &mut Walk<'_>) -> Map {
    let segment = walk.segment;
    let mut map = Map { subjects: vec![counters_subject(segment)], units: vec![0; page_count(segment) as usize] };
    let mut names = BTreeMap::new();
    for index in 0..ENTRIES {
        let entry = segment.entry(index);
        match entry.state.load(Ordering::Acquire) {
            state::FREE => count_is(walk, "directory", slot::row_cell(index as u32), 0, "a table that does not exist"),
            state::LIVE => {
                walk.result.tables += u64::from(index < MAX_TABLES);
                if let Some(subject) = table(walk, index, entry, &mut names, &mut map.units) {
                    map.subjects.push(subject);
                }
            }
            other => walk.find(FindingKind::TableDamaged, "directory", index as u64, || {
                format!("entry {index} is in state {other}")
            }),
        }
    }
    map
}

fn counters_subject(segment: &Segment) -> Subject {
    Subject {
        space: segment.counters_space(),
        place: "counters".to_owned(),
        key_bytes: MAX_COUNTER_NAME_BYTES,
        flags: super::super::counters::WIDE,
        expires: true,
        runs: None,
    }
}

/// The key-value space, with the runs whose records can be looked at.
pub(super) fn keys_subject(segment: &Segment, runs: Bits) -> Subject {
    Subject {
        space: segment.keys_space(),
        place: "keys".to_owned(),
        key_bytes: MAX_KV_KEY_BYTES,
        flags: 0,
        expires: segment.header().keys_expire.load(Ordering::Acquire) != 0,
        runs: Some(runs),
    }
}

fn table(
    walk: &mut Walk<'_>,
    index: usize,
    entry: &Entry,
    names: &mut BTreeMap<Vec<u8>, usize>,
    units: &mut [u64],
) -> Option<Subject> {
    let name = name(walk, index, entry);
    let place = format!("table {}", String::from_utf8_lossy(&name));
    if let Some(other) = names.insert(name, index) {
        walk.find(FindingKind::TableNameTwice, &place, index as u64, || {
            format!("entries {other} and {index} of the directory have one name")
        });
    }
    let Some((shape, at)) = directory::place_of(walk.segment, entry).filter(|&(_, at)| is_unit(walk.segment, at))
    else {
        walk.find(FindingKind::TableDamaged, &place, index as u64, || {
            format!("entry {index} has a shape or a region that no table can have")
        });
        return None;
    };
    take_units(walk, &place, shape, at, units);
    Some(Subject {
        space: Space::table(index as u32, at, shape),
        place,
        key_bytes: shape.key_bytes as usize,
        flags: 0,
        expires: entry.expires.load(Ordering::Acquire) != 0,
        runs: None,
    })
}

fn is_unit(segment: &Segment, at: u64) -> bool {
    (at - segment.geometry().arena_at).is_multiple_of(UNIT_BYTES)
}

fn name(walk: &mut Walk<'_>, index: usize, entry: &Entry) -> Vec<u8> {
    let len = entry.name_len.load(Ordering::Relaxed) as usize;
    let mut name = Vec::new();
    let at = walk.segment.mem().offset_of::<AtomicU64>(&entry.name[0]);
    walk.segment.mem().read_bytes(at, len.min(8 * NAME_WORDS), &mut name);
    let hidden = name.first() == Some(&b'~');
    let good =
        (1..=8 * NAME_WORDS).contains(&len) && name.iter().all(u8::is_ascii_graphic) && hidden == (index >= MAX_TABLES);
    if !good {
        let shown = String::from_utf8_lossy(&name).into_owned();
        walk.find(FindingKind::TableNameDamaged, "directory", index as u64, || {
            format!("entry {index} has a name of {len} bytes that no table can have there: {shown:?}")
        });
    }
    name
}

/// Notes the units that a table lies in.
fn take_units(walk: &mut Walk<'_>, place: &str, shape: Shape, at: u64, units: &mut [u64]) {
    let run = Units::of_region(walk.segment, at, Segment::region_bytes(shape));
    let mut overlaps = None;
    for (page, bits) in run.pages() {
        let taken = &mut units[page as usize];
        if *taken & bits != 0 {
            overlaps = Some(page);
        }
        *taken |= bits;
    }
    if let Some(page) = overlaps {
        walk.find(FindingKind::TablesOverlap, place, u64::from(page), || {
            format!("its region overlaps that of another table, in page {page}")
        });
    }
}

/// Looks at what is noted of every page of the arena; returns the runs of records that can be looked at.
pub(super) fn pages(walk: &mut Walk<'_>, units: &[u64]) -> Bits {
    let (runs, placed) = runs(walk);
    for (page, &owned) in units.iter().enumerate() {
        let desc = walk.segment.page(page as u32);
        let (state, taken) = (desc.state.load(Ordering::Acquire), desc.units.load(Ordering::Acquire));
        walk.result.pages += u64::from(state != kind::FREE);
        let (number, upper) = (page as u64, state >> 8);
        let is_table = state == kind::TABLE;
        let sane = match state & kind::MASK {
            kind::FREE | kind::RECORDS => upper == 0 && taken == 0,
            kind::HEAP => block_bytes(upper).is_some() && taken == 0,
            kind::TABLE => upper == 0 && taken != 0,
            kind::CLAIMED => true,
            _ => false,
        };
        if !sane {
            walk.find(FindingKind::PageDamaged, "arena", number, || {
                format!("page {page} is in state {state:#x} and has units {taken:#x}")
            });
        }
        if state & kind::MASK == kind::CLAIMED {
            walk.find(FindingKind::PageClaimed, "arena", number, || {
                format!("page {page} is being claimed by slot {upper}, which is not at it")
            });
        }
        if state == kind::RECORDS && !placed.has(number) {
            walk.find(FindingKind::RecordsLeaked, "arena", number, || {
                format!("page {page} is one of records and belongs to no run of them")
            });
        }
        let taken = if is_table { taken } else { 0 };
        if taken & !owned != 0 {
            let leaked = (taken & !owned).count_ones();
            walk.find(FindingKind::UnitsLeaked, "arena", number, || {
                format!("{leaked} of {PAGE_UNITS} units of page {page} belong to no table")
            });
        }
        if owned & !taken != 0 {
            let missing = (owned & !taken).count_ones();
            walk.find(FindingKind::UnitsMissing, "arena", number, || {
                format!("{missing} units of page {page} belong to a table and are not taken")
            });
        }
    }
    runs
}

/// The runs of records that have a page of their own, and those pages.
fn runs(walk: &mut Walk<'_>) -> (Bits, Bits) {
    let segment = walk.segment;
    let space = segment.keys_space();
    let count = segment.geometry().key_pages;
    let mut runs = Bits::new(count);
    let mut placed = Bits::new(u64::from(page_count(segment)));
    let mut last = 0;
    for run in 0..count {
        let word = space.page_word(segment, run as u32).map_or(0, |word| word.load(Ordering::Acquire));
        let Some(page) = word.checked_sub(1) else {
            continue;
        };
        let own = page < page_count(segment)
            && segment.page(page).state.load(Ordering::Acquire) == kind::RECORDS
            && !placed.set(u64::from(page));
        if own {
            runs.set(run);
            last = run + 1;
        } else {
            walk.find(FindingKind::RecordsMisplaced, "keys", run, || {
                format!("run {run} of the records names page {page}, which is not its own page of records")
            });
        }
    }
    let scanned = segment.header().record_pages.load(Ordering::Acquire);
    if scanned < last || scanned > count {
        walk.find(FindingKind::RecordsUnscanned, "keys", scanned, || {
            format!("scans look at {scanned} runs of records, and there are {last}")
        });
    }
    (runs, placed)
}

const _: () = assert!(COUNTERS_SPACE as usize == ENTRIES);
