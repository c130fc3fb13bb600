//! The arena: pages of 64 KiB for heap blocks and records, and units of 1 KiB for table regions.
//!
//! A page is claimed by CAS of its state from FREE, so no stopped process can keep others from claiming. Before the CAS the slot
//! writes down which page it is about to take; recovery completes a page of records that stands in the
//! page directory already, and gives back every other.
//!
//! Table regions are runs of units. They are taken under the directory's lock and given back under that lock or behind the
//! gate; the bits of a page's `units` word change in no other place. Heap and records take pages from the top, tables from the bottom.
//!
//! Pages go back to FREE only behind the gate: nobody can then be in the middle of taking a block, and no
//! journal of a dead slot names one. (Pages owned by slots would need neither, but would have to be adopted at each
//! death, and would lie idle while their owner does; see docs/segment.md.)

use std::sync::atomic::Ordering;

use shm_layout::{
    heap::{PAGE_BYTES, PAGE_UNITS, Page, kind},
    keys,
    slot::Slot,
    table::UNIT_BYTES,
};

use super::{heap, locks::Writer, segment::Segment, space::Space};

/// Claims a free page for `writer`. `place` says which run of records it is for; `None`: a heap page. The page stays
/// marked as claimed until [`keep_page`].
pub(crate) fn claim_page(segment: &Segment, slot: &Slot, number: u32, place: Option<u32>) -> Option<u32> {
    let pages = segment.geometry().arena_pages as u32;
    let start = segment.page_cursor().load(Ordering::Relaxed).min(pages - 1);
    // From the cursor downwards, then from the top.
    let page = (0..=start).rev().chain((start + 1..pages).rev()).find(|&page| {
        let state = &segment.page(page).state;
        if state.load(Ordering::Relaxed) != kind::FREE {
            return false;
        }
        slot.claim_place.store(place.map_or(0, |place| place + 1), Ordering::Relaxed);
        slot.claim_page.store(page + 1, Ordering::Release);
        state.compare_exchange(kind::FREE, claimed(number), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    });
    match page {
        Some(page) => segment.page_cursor().store(page, Ordering::Relaxed),
        None => slot.claim_page.store(0, Ordering::Release),
    }
    page
}

fn claimed(number: u32) -> u32 {
    kind::CLAIMED | (number << 8)
}

/// Ends a claim: the page is what `state` says.
pub(crate) fn keep_page(segment: &Segment, slot: &Slot, page: u32, state: u32) {
    // Release: the page was prepared before anybody can find it.
    segment.page(page).state.store(state, Ordering::Release);
    slot.claim_page.store(0, Ordering::Release);
}

/// Adds a page of records to the key-value space; false if there is no free page, or no place left for one.
pub(crate) fn add_records(writer: &Writer<'_>, space: &Space) -> bool {
    let (segment, slot) = (writer.segment(), writer.slot());
    let runs = segment.geometry().key_pages as u32;
    let free = |run: &u32| space.page_word(segment, *run).is_some_and(|word| word.load(Ordering::Acquire) == 0);
    let Some(run) = (0..runs).find(free) else {
        return false;
    };
    let Some(page) = claim_page(segment, slot, writer.number(), Some(run)) else {
        return false;
    };
    segment.mem().zero(segment.page_at(page), PAGE_BYTES);
    let word = space.page_word(segment, run);
    let placed =
        word.is_some_and(|word| word.compare_exchange(0, page + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok());
    if placed {
        segment.page(page).state.store(kind::RECORDS, Ordering::Release);
        open_records(segment, space, run);
        slot.claim_page.store(0, Ordering::Release);
    } else {
        // Somebody else added this run meanwhile, which serves as well.
        keep_page(segment, slot, page, kind::FREE);
    }
    true
}

/// Says of every record of a run that it may be free. Doing it twice does no harm: the record decides.
fn open_records(segment: &Segment, space: &Space, run: u32) {
    // Scans look at records up to here: first, so that none is used before it is looked at.
    segment.header().record_pages.fetch_max(u64::from(run) + 1, Ordering::AcqRel);
    let first = run * keys::PAGE_RECORDS;
    let last = (first + keys::PAGE_RECORDS).min(space.rows);
    (first..last).for_each(|row| space.set_hint(segment, row));
}

/// Settles what a dead slot was claiming.
pub(crate) fn settle_claim(segment: &Segment, slot: &Slot, number: u32) {
    let Some(page) = slot.claim_page.load(Ordering::Acquire).checked_sub(1) else {
        return;
    };
    if u64::from(page) < segment.geometry().arena_pages {
        let run = slot.claim_place.load(Ordering::Acquire).checked_sub(1);
        let space = segment.keys_space();
        let placed = run
            .filter(|&run| space.page_word(segment, run).is_some_and(|word| word.load(Ordering::Acquire) == page + 1));
        let state = &segment.page(page).state;
        let mine = state.load(Ordering::Acquire) == claimed(number);
        match placed {
            Some(run) => {
                state.store(kind::RECORDS, Ordering::Release);
                open_records(segment, &space, run);
            }
            None if mine => state.store(kind::FREE, Ordering::Release),
            None => {}
        }
    }
    slot.claim_page.store(0, Ordering::Release);
}

/// A run of units.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Units {
    /// The units of a region.
    pub(crate) fn of_region(segment: &Segment, at: u64, bytes: u64) -> Self {
        Self { first: (at - segment.geometry().arena_at) / UNIT_BYTES, count: bytes / UNIT_BYTES }
    }

    /// Whether these are units of the arena; they may be an allegation.
    pub(crate) fn is_in_arena(self, segment: &Segment) -> bool {
        let end = self.first.checked_add(self.count);
        self.count > 0 && end.is_some_and(|end| end <= segment.geometry().arena_pages * PAGE_UNITS)
    }

    /// Where the run starts in the segment.
    pub(crate) fn at(self, segment: &Segment) -> u64 {
        segment.geometry().arena_at + self.first * UNIT_BYTES
    }

    /// The pages that the run touches, with the bits of each that belong to it.
    pub(crate) fn pages(self) -> impl Iterator<Item = (u32, u64)> {
        let end = self.first + self.count;
        let pages = self.first / PAGE_UNITS..end.div_ceil(PAGE_UNITS);
        pages.map(move |page| {
            let from = self.first.max(page * PAGE_UNITS) - page * PAGE_UNITS;
            let to = end.min((page + 1) * PAGE_UNITS) - page * PAGE_UNITS;
            (page as u32, (u64::MAX >> (64 - (to - from))) << from)
        })
    }
}

/// Finds a run of free units. Under the directory's lock.
pub(crate) fn find_units(segment: &Segment, count: u64) -> Option<Units> {
    let mut run = Units { first: 0, count: 0 };
    for page in 0..segment.geometry().arena_pages as u32 {
        let desc = segment.page(page);
        let used = match desc.state.load(Ordering::Acquire) {
            kind::FREE => 0,
            kind::TABLE => desc.units.load(Ordering::Acquire),
            _ => u64::MAX,
        };
        if used == u64::MAX {
            run.count = 0;
            continue;
        }
        for unit in 0..PAGE_UNITS {
            if (used >> unit) & 1 == 1 {
                run.count = 0;
            } else {
                if run.count == 0 {
                    run.first = u64::from(page) * PAGE_UNITS + unit;
                }
                run.count += 1;
                if run.count == count {
                    return Some(run);
                }
            }
        }
    }
    None
}

/// Takes a run that was found free; false, and nothing taken, if somebody claimed one of its pages meanwhile.
pub(crate) fn take_units(segment: &Segment, run: Units) -> bool {
    for (page, bits) in run.pages() {
        let desc = segment.page(page);
        let claimed = desc.state.compare_exchange(kind::FREE, kind::TABLE, Ordering::AcqRel, Ordering::Acquire);
        if claimed.is_err_and(|state| state != kind::TABLE) {
            free_units(segment, run);
            return false;
        }
        desc.units.fetch_or(bits, Ordering::AcqRel);
    }
    true
}

/// Gives a run back, whatever part of it was taken. Under the directory's lock or behind the gate.
pub(crate) fn free_units(segment: &Segment, run: Units) {
    for (page, bits) in run.pages() {
        if u64::from(page) >= segment.geometry().arena_pages {
            return;
        }
        let desc = segment.page(page);
        if desc.state.load(Ordering::Acquire) == kind::TABLE
            && desc.units.fetch_and(!bits, Ordering::AcqRel) & !bits == 0
        {
            desc.state.store(kind::FREE, Ordering::Release);
        }
    }
}

/// Gives every heap page back that has no block in use. Behind the gate. Returns how many.
pub(crate) fn reclaim(segment: &Segment) -> usize {
    let all = 0..segment.geometry().arena_pages as u32;
    all.clone().for_each(|page| heap::mend_hint(segment, page));
    let pages = all.filter(|&page| heap::is_empty_page(segment, page));
    pages.map(|page| segment.page(page).state.store(kind::FREE, Ordering::Release)).count()
}

/// What the arena knows of its pages.
pub(crate) fn pages(segment: &Segment) -> impl Iterator<Item = &Page> {
    (0..segment.geometry().arena_pages as u32).map(|page| segment.page(page))
}

/// Bytes of the arena that belong to nobody.
pub(crate) fn free_bytes(segment: &Segment) -> u64 {
    let free = |page: &Page| match page.state.load(Ordering::Relaxed) {
        kind::FREE => PAGE_BYTES,
        kind::TABLE => u64::from(page.units.load(Ordering::Relaxed).count_zeros()) * UNIT_BYTES,
        _ => 0,
    };
    pages(segment).map(free).sum()
}

/// Bytes of the arena that belong to tables.
pub(crate) fn table_bytes(segment: &Segment) -> u64 {
    let tables = pages(segment).filter(|page| page.state.load(Ordering::Relaxed) == kind::TABLE);
    tables.map(|page| u64::from(page.units.load(Ordering::Relaxed).count_ones()) * UNIT_BYTES).sum()
}

/// Bytes of all pages that hold blocks of the heap, or may come to.
pub(crate) fn heap_bytes(segment: &Segment) -> u64 {
    let states = pages(segment).map(|page| page.state.load(Ordering::Relaxed));
    states.filter(|state| *state == kind::FREE || state & kind::MASK == kind::HEAP).count() as u64 * PAGE_BYTES
}
