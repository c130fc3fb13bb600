//! The places of an index group: taking one, tagging it, giving it back.
//!
//! The essay is at the head of `src/shm/index.rs`.

use shm_layout::index::{PLACES, counts};

use super::{AtomicU64, Group, Ordering};

/// The sixteen tags, to be searched.
#[inline(always)]
pub(crate) fn tags(group: &Group) -> (u64, u64) {
    // Acquire: the row that a tag names was filled before the tag was set.
    (group.tags[0].load(Ordering::Acquire), group.tags[1].load(Ordering::Acquire))
}

/// What stands in a place: the number of a row plus 1, or 0.
#[inline(always)]
pub(crate) fn row_word(group: &Group, place: usize) -> u32 {
    group.rows[place].load(Ordering::Acquire)
}

/// Where a row stands.
pub(crate) fn position(group: &Group, row: u32) -> Option<usize> {
    (0..PLACES).find(|&place| row_word(group, place) == row + 1)
}

/// Takes a free place for a row.
pub(crate) fn take(group: &Group, row: u32) -> Option<usize> {
    group.rows.iter().position(|word| {
        word.load(Ordering::Relaxed) == 0
            && word.compare_exchange(0, row + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    })
}

/// Gives a place back.
pub(crate) fn give_back(group: &Group, place: usize) {
    set_tag(group, place, 0);
    // Release: the tag is away before the place is free.
    group.rows[place].store(0, Ordering::Release);
}

/// Sets the tag of a place that was taken.
pub(crate) fn set_tag(group: &Group, place: usize, tag: u8) {
    const { assert!(PLACES == 16) };
    let word: &AtomicU64 = &group.tags[place / 8];
    let shift = place % 8 * 8;
    let set = |tags: u64| Some((tags & !(0xff << shift)) | (u64::from(tag) << shift));
    // Release: the row was filled before its tag can be seen.
    let _ = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, set);
}

/// Whether a search ends with this group.
#[inline(always)]
pub(crate) fn is_last(group: &Group) -> bool {
    group.counts.load(Ordering::Acquire) & counts::OVERFLOW == 0
}

/// One key more, or one less, passes the group. At 255 the count sticks: it may be too high, never too low.
pub(crate) fn count_overflow(group: &Group, up: bool) {
    let _ = group.counts.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| match word & counts::OVERFLOW {
        counts::OVERFLOW => None,
        0 if !up => None,
        _ => Some(if up { word + 1 } else { word - 1 }),
    });
}
