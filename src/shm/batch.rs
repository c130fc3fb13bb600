//! Several keys of a space at once: locked together, or read as of one instant without a lock.
//!
//! *Locked*: first the home groups of all keys in ascending order, then their rows in ascending order; every operation on several
//! keys goes this way, or takes the groups of those keys alone that are absent, so no two of them wait for each other in a circle. Under its home group's lock an absent key stays absent.
//!
//! *Read*: each key leaves a [`Witness`] behind, and the answers are believed if every witness still stands at the end. A row
//! testifies by its sequence; an absence by the counts of the key's home group, in which every insertion shows.
//!
//! Nothing here knows what a row means, and nothing here writes to one.

use std::sync::atomic::{Ordering, fence};

use shm_layout::{
    row,
    slot::{Held, lock},
};
use smallvec::SmallVec;

use super::{
    crash::point,
    gate,
    locks::Writer,
    rows::rests_at,
    segment::{Refusal, Segment},
    space::{Found, Key, Space},
};

/// One thing for each key of an operation: without an allocation for the few that most have.
pub(super) type Few<T> = SmallVec<[T; 4]>;

/// Locks the home groups and the rows of all keys, in order; `None` if a row changed hands meanwhile.
///
/// # Errors
///
/// [`Refusal::Busy`].
pub(super) fn lock_all<'a>(
    writer: &mut Writer<'a>,
    space: &Space,
    keys: &[Key<'_>],
) -> Result<Option<Few<Option<Found<'a>>>>, Refusal> {
    let segment = writer.segment();
    lock_homes(writer, space, keys.iter().copied())?;
    let mut found: Few<Option<Found<'a>>> = keys.iter().map(|key| space.find(segment, *key)).collect();
    let mut rows: Few<Found<'a>> = found.iter().flatten().copied().collect();
    rows.sort_unstable_by_key(|found| found.row);
    rows.dedup_by_key(|found| found.row);
    for Found { row, header, .. } in rows {
        writer.lock(Held::Row(space.id, row), &header.lock)?;
    }
    point("row-locked");
    for (found, key) in found.iter_mut().zip(keys) {
        if let Some(seen) = found.take() {
            let Some(locked) = seen.locked(space, segment, *key) else {
                return Ok(None);
            };
            *found = Some(locked);
        }
    }
    Ok(Some(found))
}

/// Locks the home groups of keys, in order.
///
/// # Errors
///
/// [`Refusal::Busy`].
pub(super) fn lock_homes<'k>(
    writer: &mut Writer<'_>,
    space: &Space,
    keys: impl Iterator<Item = Key<'k>>,
) -> Result<(), Refusal> {
    let segment = writer.segment();
    let mut homes: Few<u32> = keys.map(|key| space.home(key.hash)).collect();
    homes.sort_unstable();
    homes.dedup();
    for home in homes {
        writer.lock(Held::Group(space.id, home), &space.group(segment, home).lock)?;
    }
    point("group-locked");
    Ok(())
}

/// Reads all keys without a lock: `read` is told of each, which one it is and where it was found, and says whether what it read
/// may be sound. True if all of it was so at one instant; otherwise what was read is nothing to go by. Waits for nothing.
pub(super) fn read_unlocked(
    segment: &Segment,
    space: &Space,
    keys: &[Key<'_>],
    mut read: impl FnMut(usize, Option<Found<'_>>) -> bool,
) -> bool {
    let Some(gate) = gate::sequence_if_open(segment) else {
        return false;
    };
    let mut witnesses = Few::with_capacity(keys.len());
    for (i, key) in keys.iter().enumerate() {
        let Some(witness) = Witness::take(segment, space, *key) else {
            return false;
        };
        if !read(i, witness.found()) {
            return false;
        }
        witnesses.push(witness);
    }
    // Acquire: every row was read before any sequence is looked at again.
    fence(Ordering::Acquire);
    witnesses.into_iter().all(|witness| witness.still(segment, space)) && gate::unchanged(segment, gate)
}

/// What shows later that nothing has changed.
#[derive(Clone, Copy)]
enum Witness<'a> {
    /// There was a live row.
    Row(Found<'a>),
    /// There was none while the home group had these counts.
    Absence { home: u32, counts: u32 },
}

impl<'a> Witness<'a> {
    /// Looks for a key; `None` if it is changing.
    fn take(segment: &'a Segment, space: &Space, key: Key<'_>) -> Option<Self> {
        let home = space.home(key.hash);
        let group = space.group(segment, home);
        let counts = group.counts.load(Ordering::Acquire);
        match space.find(segment, key) {
            Some(found) => row::is_live(found.sequence).then_some(Self::Row(found)),
            None => (group.lock.load(Ordering::Acquire) & lock::OWNER == 0).then_some(Self::Absence { home, counts }),
        }
    }

    /// Where the key was found.
    fn found(self) -> Option<Found<'a>> {
        match self {
            Self::Row(found) => Some(found),
            Self::Absence { .. } => None,
        }
    }

    /// Whether it is as it was, and nobody is at it.
    fn still(self, segment: &Segment, space: &Space) -> bool {
        match self {
            Self::Row(found) => rests_at(found.header, found.sequence),
            Self::Absence { home, counts } => {
                let group = space.group(segment, home);
                group.lock.load(Ordering::Acquire) & lock::OWNER == 0 && group.counts.load(Ordering::Acquire) == counts
            }
        }
    }
}
