//! The directory: which tables there are. Making one needs the directory's lock, dropping one the gate.
//!
//! Making, step by step, and what a death after each step leaves:
//!
//! 1. the slot writes down which units it is about to take, and for which entry: nothing taken;
//! 2. the units are taken: recovery gives them back;
//! 3. the region is prepared, the entry filled, still FREE: as before;
//! 4. the entry turns LIVE: the table exists, recovery leaves it;
//! 5. the note of step 1 goes away.
//!
//! The schema stands at the start of the region, encoded by the caller; here it is bytes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use shm_layout::{
    directory::{self, ENTRIES, Entry, NAME_WORDS, state},
    limits::{MAX_KEY_BYTES, MAX_ROW_BYTES, MAX_ROWS, MAX_TABLES},
    slot::{self, Held, Slot, op},
    table::{self, Geometry, Shape},
};

use super::{
    arena::{self, Units},
    crash::point,
    gate, journal,
    locks::{Attempt, Writer, patiently},
    segment::{Refusal, Segment},
    space::Space,
    transaction,
};

/// What a table is asked to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSpec {
    /// Up to 64 bytes, and a `~` before them for a hidden table.
    pub name: String,
    /// Capacity.
    pub rows: u64,
    /// Bytes kept for a key.
    pub key_bytes: u32,
    /// Bytes of the number columns.
    pub fixed_bytes: u32,
    /// Bytes of the string columns, lengths included.
    pub string_bytes: u32,
    /// The encoded schema.
    pub schema: Vec<u8>,
}

/// A table as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableListing {
    /// Its place in the directory.
    pub index: u32,
    /// Tells it from earlier tables at that place.
    pub generation: u32,
    /// What it was asked to be.
    pub spec: RawSpec,
}

impl RawSpec {
    pub(crate) fn shape(&self) -> Shape {
        directory::shape(self.rows, self.key_bytes, self.fixed_bytes, self.string_bytes, self.schema.len() as u32)
    }
}

/// The space of table `index`; `None` if there is none, or if its entry is nonsense.
pub(crate) fn space(segment: &Segment, index: usize) -> Option<Space> {
    let entry = (index < ENTRIES).then(|| segment.entry(index))?;
    if entry.state.load(Ordering::Acquire) != state::LIVE {
        return None;
    }
    let (shape, at) = place_of(segment, entry)?;
    Some(Space::table(index as u32, at, shape))
}

/// Shape and place of a table; `None` if they are not those of a table in the arena.
pub(crate) fn place_of(segment: &Segment, entry: &Entry) -> Option<(Shape, u64)> {
    let shape = shape_of(entry);
    let at = entry.region_at.load(Ordering::Relaxed);
    let body = [shape.key_bytes, shape.fixed_bytes, shape.string_bytes].map(u64::from).iter().sum::<u64>();
    let sane = (1..=MAX_ROWS).contains(&shape.rows)
        && (1..=MAX_KEY_BYTES as u32).contains(&shape.key_bytes)
        && body <= MAX_ROW_BYTES as u64
        && shape.fixed_bytes.is_multiple_of(8)
        && at.is_multiple_of(8);
    (sane && segment.in_arena(at, Segment::region_bytes(shape))).then_some((shape, at))
}

fn shape_of(entry: &Entry) -> Shape {
    directory::shape(
        entry.rows.load(Ordering::Relaxed),
        entry.key_bytes.load(Ordering::Relaxed),
        entry.fixed_bytes.load(Ordering::Relaxed),
        entry.string_bytes.load(Ordering::Relaxed),
        entry.schema_bytes.load(Ordering::Relaxed),
    )
}

/// Makes a table, or finds the one of this name, shape and schema; whether it is new.
///
/// # Errors
///
/// [`Refusal::Exists`], [`Refusal::NoTable`], [`Refusal::OutOfMemory`], [`Refusal::Busy`], [`Refusal::InTransaction`].
pub(crate) fn make(
    segment: &Segment,
    patience: Option<Duration>,
    spec: &RawSpec,
) -> Result<(TableListing, bool), Refusal> {
    transaction::check_outside(segment)?;
    let mut reclaimed = false;
    loop {
        match patiently(segment, patience, || try_make(segment, spec)) {
            Err(Refusal::OutOfMemory) if !reclaimed => {
                gate::behind(segment, patience, |_| Ok(arena::reclaim(segment)))?;
                reclaimed = true;
            }
            outcome => return outcome,
        }
    }
}

fn try_make(segment: &Segment, spec: &RawSpec) -> Result<(TableListing, bool), Refusal> {
    let mut writer = Writer::enter(segment)?;
    writer.lock(Held::Directory, &segment.header().directory_lock)?;
    if let Some(listing) = find_index(segment, &spec.name).and_then(|index| listing(segment, index)) {
        return if listing.spec == *spec { Ok((listing, false)) } else { Err(Refusal::Exists) };
    }
    let places = if spec.name.starts_with('~') { MAX_TABLES..ENTRIES } else { 0..MAX_TABLES };
    let free = |&index: &usize| segment.entry(index).state.load(Ordering::Acquire) == state::FREE;
    let index = places.into_iter().find(free).ok_or(Refusal::NoTable)?;
    let geometry = Geometry::new(spec.shape());
    let run = take_region(segment, writer.slot(), index, geometry.bytes / table::UNIT_BYTES)?;
    prepare(segment, index, run.at(segment), geometry, spec);
    let entry = segment.entry(index);
    point("region-ready");
    // Release: whoever finds the table finds all of it.
    entry.state.store(state::LIVE, Ordering::Release);
    point("table-live");
    segment.header().directory_version.fetch_add(1, Ordering::AcqRel);
    writer.slot().claim_units[2].store(0, Ordering::Release);
    let generation = entry.generation.load(Ordering::Relaxed);
    Ok((TableListing { index: index as u32, generation, spec: spec.clone() }, true))
}

fn take_region(segment: &Segment, slot: &Slot, index: usize, units: u64) -> Result<Units, Refusal> {
    loop {
        let run = arena::find_units(segment, units).ok_or(Refusal::OutOfMemory)?;
        slot.claim_units[0].store(run.first, Ordering::Relaxed);
        slot.claim_units[1].store(run.count, Ordering::Relaxed);
        // Release: the note is complete before the first unit is taken.
        slot.claim_units[2].store(index as u64 + 1, Ordering::Release);
        point("units-noted");
        if arena::take_units(segment, run) {
            point("units-taken");
            return Ok(run);
        }
        slot.claim_units[2].store(0, Ordering::Release);
    }
}

fn prepare(segment: &Segment, index: usize, at: u64, geometry: Geometry, spec: &RawSpec) {
    segment.mem().zero(at, geometry.bytes);
    segment.mem().write_bytes(at, &spec.schema);
    Space::table(index as u32, at, spec.shape()).set_all_hints(segment);
    let entry = segment.entry(index);
    entry.rows.store(spec.rows, Ordering::Relaxed);
    entry.key_bytes.store(spec.key_bytes, Ordering::Relaxed);
    entry.fixed_bytes.store(spec.fixed_bytes, Ordering::Relaxed);
    entry.string_bytes.store(spec.string_bytes, Ordering::Relaxed);
    entry.schema_bytes.store(spec.schema.len() as u32, Ordering::Relaxed);
    entry.region_at.store(at, Ordering::Relaxed);
    entry.expires.store(0, Ordering::Relaxed);
    entry.sweep.store(0, Ordering::Relaxed);
    entry.name_len.store(spec.name.len() as u32, Ordering::Relaxed);
    let name_at = segment.mem().offset_of::<AtomicU64>(&entry.name[0]);
    segment.mem().write_bytes(name_at, spec.name.as_bytes());
}

/// Settles what a dead slot was making. Its lock on the directory still stands.
pub(crate) fn settle_claim(segment: &Segment, slot: &Slot) {
    let Some(index) = slot.claim_units[2].load(Ordering::Acquire).checked_sub(1) else {
        return;
    };
    let [first, count] = [0, 1].map(|i| slot.claim_units[i].load(Ordering::Relaxed));
    let run = Units { first, count };
    if !run.is_in_arena(segment) {
        // Damage: nothing can have been taken.
        return slot.claim_units[2].store(0, Ordering::Release);
    }
    let made = (index as usize) < ENTRIES && {
        let entry = segment.entry(index as usize);
        entry.state.load(Ordering::Acquire) == state::LIVE && entry.region_at.load(Ordering::Relaxed) == run.at(segment)
    };
    if made {
        segment.header().directory_version.fetch_add(1, Ordering::AcqRel);
    } else {
        arena::free_units(segment, run);
    }
    slot.claim_units[2].store(0, Ordering::Release);
}

fn has_name(segment: &Segment, entry: &Entry, name: &str) -> bool {
    entry.name_len.load(Ordering::Relaxed) as usize == name.len() && read_name(segment, entry) == name.as_bytes()
}

fn read_name(segment: &Segment, entry: &Entry) -> Vec<u8> {
    let len = (entry.name_len.load(Ordering::Relaxed) as usize).min(8 * NAME_WORDS);
    let mut name = Vec::with_capacity(8 * NAME_WORDS);
    segment.mem().read_bytes(segment.mem().offset_of::<AtomicU64>(&entry.name[0]), len, &mut name);
    name
}

fn find_index(segment: &Segment, name: &str) -> Option<usize> {
    (0..ENTRIES).find(|&index| {
        let entry = segment.entry(index);
        entry.state.load(Ordering::Acquire) == state::LIVE && has_name(segment, entry, name)
    })
}

/// Reads an entry and its schema. What it says is of one instant only if the gate stayed open meanwhile.
fn listing(segment: &Segment, index: usize) -> Option<TableListing> {
    let entry = segment.entry(index);
    let generation = entry.generation.load(Ordering::Acquire);
    if entry.state.load(Ordering::Acquire) != state::LIVE {
        return None;
    }
    let (shape, at) = place_of(segment, entry)?;
    let mut schema = Vec::new();
    segment.mem().read_bytes(at, shape.schema_bytes as usize, &mut schema);
    let spec = RawSpec {
        name: String::from_utf8(read_name(segment, entry)).ok()?,
        rows: shape.rows,
        key_bytes: shape.key_bytes,
        fixed_bytes: shape.fixed_bytes,
        string_bytes: shape.string_bytes,
        schema,
    };
    Some(TableListing { index: index as u32, generation, spec })
}

/// Reads the directory while the gate is open.
fn while_open<T>(segment: &Segment, patience: Option<Duration>, mut read: impl FnMut() -> T) -> Result<T, Refusal> {
    patiently(segment, patience, || {
        let mut attempt = Attempt::default();
        loop {
            let sequence = gate::sequence(segment, &mut attempt)?;
            let result = read();
            std::sync::atomic::fence(Ordering::Acquire);
            if gate::unchanged(segment, sequence) {
                return Ok(result);
            }
        }
    })
}

/// The table of this name.
///
/// # Errors
///
/// [`Refusal::Gone`] if there is none, [`Refusal::Busy`].
pub(crate) fn find(segment: &Segment, patience: Option<Duration>, name: &str) -> Result<TableListing, Refusal> {
    let read = || find_index(segment, name).and_then(|index| listing(segment, index));
    while_open(segment, patience, read)?.ok_or(Refusal::Gone)
}

/// Every table, in the order of the directory.
///
/// # Errors
///
/// [`Refusal::Busy`].
pub(crate) fn list(segment: &Segment, patience: Option<Duration>) -> Result<Vec<TableListing>, Refusal> {
    while_open(segment, patience, || (0..ENTRIES).filter_map(|index| listing(segment, index)).collect())
}

/// Drops the table of this name; false if there is none.
///
/// # Errors
///
/// [`Refusal::Busy`].
pub(crate) fn drop_table(segment: &Segment, patience: Option<Duration>, name: &str) -> Result<bool, Refusal> {
    transaction::check_outside(segment)?;
    if find(segment, patience, name) == Err(Refusal::Gone) {
        return Ok(false);
    }
    gate::behind(segment, patience, |gate| {
        let Some(index) = find_index(segment, name) else {
            return Ok(false);
        };
        let generation = segment.entry(index).generation.load(Ordering::Relaxed).wrapping_add(1);
        journal::carry_out_gated(gate.writer(), op::DROP, [index as u64, u64::from(generation)]);
        Ok(true)
    })
}

/// Carries a drop out. Behind the gate; doing it twice is doing it once.
pub(crate) fn finish_drop(segment: &Segment, index: usize, generation: u32) {
    if index >= ENTRIES {
        return;
    }
    let entry = segment.entry(index);
    entry.generation.store(generation, Ordering::Release);
    entry.state.store(state::FREE, Ordering::Release);
    segment.zero_cell(slot::row_cell(index as u32));
    if let Some((shape, at)) = place_of(segment, entry) {
        arena::free_units(segment, Units::of_region(segment, at, Segment::region_bytes(shape)));
    }
    segment.header().directory_version.fetch_add(1, Ordering::AcqRel);
}
