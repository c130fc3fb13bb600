//! The index of a space: finding a key's row, publishing a row, taking it out.
//!
//! A place is taken by CAS of its row word from 0, and only then its tag is set; it is given back tag first, row word last. So
//! whoever finds a tag finds a row word that belongs to it or to a later tenant, never to an earlier one. Two
//! inserters of different homes may overflow into one group: the CAS decides between them.
//!
//! A key that passes a full group on the way to its place raises that group's overflow count *before* it is published, and lowers it
//! *after* it was taken out. A death in between leaves the count too high, which costs a look into the next group and nothing else.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;

use shm_layout::index::{Group, counts, home, tag};

use super::{crash::point, protocol::place, segment::Segment, space::Space};

/// Bit i is set where byte i of the sixteen tags is `tag`.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn matches(low: u64, high: u64, tag: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};

    #[target_feature(enable = "sse2")]
    fn vector(low: u64, high: u64, tag: u8) -> u32 {
        let tags = _mm_set_epi64x(high as i64, low as i64);
        _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag as i8))) as u32
    }

    // SAFETY: every x86_64 processor has SSE2.
    unsafe { vector(low, high, tag) }
}

/// Bit i is set where byte i of the sixteen tags is `tag`.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline(always)]
fn matches(low: u64, high: u64, tag: u8) -> u32 {
    let bytes = low.to_le_bytes().into_iter().chain(high.to_le_bytes());
    bytes.enumerate().filter(|&(_, byte)| byte == tag).fold(0, |bits, (i, _)| bits | (1 << i))
}

/// Goes through the rows that a hash may stand for, in the order of the search; ends at the first for which `accept` is true.
#[inline]
pub(crate) fn search<T>(
    segment: &Segment,
    space: &Space,
    hash: u64,
    mut accept: impl FnMut(u32) -> Option<T>,
) -> Option<T> {
    let tag = tag(hash);
    let mut number = home(hash, space.groups);
    for _ in 0..space.groups {
        let group = space.group(segment, number);
        let (low, high) = place::tags(group);
        let mut hits = matches(low, high, tag);
        while hits != 0 {
            let row = place::row_word(group, hits.trailing_zeros() as usize);
            hits &= hits - 1;
            if row != 0
                && row <= space.rows
                && let Some(found) = accept(row - 1)
            {
                return Some(found);
            }
        }
        if place::is_last(group) {
            return None;
        }
        number = space.group_after(number);
    }
    None
}

/// The first row that the home group of a hash names for it, right or wrong.
#[inline]
pub(crate) fn first_hit(segment: &Segment, space: &Space, hash: u64) -> Option<u32> {
    let group = space.group(segment, home(hash, space.groups));
    let (low, high) = place::tags(group);
    let hits = matches(low, high, tag(hash));
    (hits != 0).then(|| place::row_word(group, hits.trailing_zeros() as usize)).filter(|&row| row != 0)?.checked_sub(1)
}

/// Where a row stands in the index.
struct Place<'a> {
    group: &'a Group,
    number: u32,
    index: usize,
}

fn find_place<'a>(segment: &'a Segment, space: &Space, hash: u64, row: u32) -> Option<Place<'a>> {
    let mut number = home(hash, space.groups);
    for _ in 0..space.groups {
        let group = space.group(segment, number);
        if let Some(index) = place::position(group, row) {
            return Some(Place { group, number, index });
        }
        if place::is_last(group) {
            return None;
        }
        number = space.group_after(number);
    }
    None
}

impl Space {
    /// Puts a filled row into the index. With `again`, it may stand there already.
    pub(crate) fn publish(&self, segment: &Segment, hash: u64, row: u32, again: bool) {
        let known = if again { find_place(segment, self, hash, row) } else { None };
        let Some(place) = known.or_else(|| self.take_place(segment, hash, row)) else {
            // The row stays out of the index; a check reports it.
            return;
        };
        point("place-taken");
        place::set_tag(place.group, place.index, tag(hash));
        // Release: a reader that validates a miss by this count and finds it unchanged has seen every insertion before.
        self.group(segment, home(hash, self.groups)).counts.fetch_add(counts::INSERTION, Ordering::AcqRel);
    }

    /// Takes a place for a row; `None` if there is none, as only damage explains.
    fn take_place<'a>(&self, segment: &'a Segment, hash: u64, row: u32) -> Option<Place<'a>> {
        let mut number = home(hash, self.groups);
        // There are five places for four rows and a row takes one at most; a second round is for places given back meanwhile.
        for _ in 0..2 * u64::from(self.groups) {
            let group = self.group(segment, number);
            if let Some(index) = place::take(group, row) {
                return Some(Place { group, number, index });
            }
            place::count_overflow(group, true);
            number = self.group_after(number);
        }
        None
    }

    /// Takes a row out of the index. With `again`, it may be out already, and overflow counts stay as they are.
    pub(crate) fn unpublish(&self, segment: &Segment, hash: u64, row: u32, again: bool) {
        let Some(place) = find_place(segment, self, hash, row) else {
            return;
        };
        place::give_back(place.group, place.index);
        if again {
            return;
        }
        let mut number = home(hash, self.groups);
        while number != place.number {
            place::count_overflow(self.group(segment, number), false);
            number = self.group_after(number);
        }
    }
}

/// The tag of a place; 0: none.
pub(crate) fn tag_at(group: &Group, place: usize) -> u8 {
    (group.tags[place / 8].load(Ordering::Acquire) >> (place % 8 * 8)) as u8
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_tag_is_found_in_every_place() {
        for place in 0..16 {
            let mut tags = [0x81_u8; 16];
            tags[place] = 0xc3;
            let (low, high) = tags.split_at(8);
            let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
            assert_eq!(matches(word(low), word(high), 0xc3), 1 << place);
        }
    }
}
