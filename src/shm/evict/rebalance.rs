//! Pages from one size of blocks to another.
//!
//! A page of the heap goes back to the arena only when none of its blocks is in use, which chance does not bring about: keys that go by
//! the policy lie anywhere. So when the blocks of the right size do not come free, the pages with the least in use are chosen, as many as a share of all at once, and
//! the keys whose blocks lie there go, in one walk over all records. One closing of the gate then gives the pages back.

use std::{sync::atomic::Ordering, time::Duration};

use shm_layout::{
    heap::{BlockRef, PAGE_BYTES},
    keys::{KEY_WORD, VALUE_WORD},
};

use super::{
    super::{
        arena, gate, heap,
        keys::blocks_of,
        segment::{Refusal, Segment},
        space::Space,
    },
    evict_where,
};

/// One page in so many is emptied at once, at least.
const SHARE: usize = 64;

/// Pages for blocks of sizes of their own: the key, a directory, a rest.
const BESIDE: usize = 3;

/// Empties pages, enough for a value of `wanted` bytes and many more; how many there are now.
///
/// # Errors
///
/// [`Refusal::Busy`].
pub(crate) fn rebalance(
    segment: &Segment,
    patience: Option<Duration>,
    now_ms: u64,
    wanted: usize,
) -> Result<usize, Refusal> {
    let pages = 0..segment.geometry().arena_pages as u32;
    let mut used: Vec<(u64, u32)> =
        pages.filter_map(|page| heap::used_bytes(segment, page).map(|used| (used, page))).collect();
    used.sort_unstable();
    // What is empty already may be what the last attempt took and gave back: it was not enough, so it does not count.
    let empty = used.partition_point(|&(used, _)| used == 0);
    let wanted_pages = BESIDE + (wanted * 5 / 4).div_ceil(PAGE_BYTES as usize);
    let count = (empty + wanted_pages.max(used.len() / SHARE)).min(used.len());
    let mut chosen = vec![false; segment.geometry().arena_pages as usize];
    used[..count].iter().for_each(|&(_, page)| chosen[page as usize] = true);
    evict_where(segment, now_ms, &|space, row| lies_in(segment, space, row, &chosen))?;
    gate::behind(segment, patience, |_| Ok(arena::reclaim(segment)))
}

/// Whether a block of a record lies in one of the pages. The record may be changing, and what is read of it
/// anything: it goes only if under its lock its sequence is what it was before.
fn lies_in(segment: &Segment, space: &Space, row: u32, chosen: &[bool]) -> bool {
    let (Some(header), Some(words)) = (space.header(segment, row), space.words(segment, row)) else {
        return false;
    };
    let word = |at: usize| words[at].load(Ordering::Relaxed);
    let meta = header.meta.load(Ordering::Relaxed);
    let is_chosen = |block: BlockRef| {
        let page = block.at().checked_sub(segment.geometry().arena_at).map(|offset| offset / PAGE_BYTES);
        page.is_some_and(|page| chosen.get(page as usize).copied().unwrap_or(false))
    };
    let mut found = false;
    for (block, form) in blocks_of(meta, word(KEY_WORD), word(VALUE_WORD)) {
        heap::each_block(segment, block, form, &mut |block| found |= is_chosen(block));
    }
    found
}
