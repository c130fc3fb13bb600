//! A space: rows under an index. Tables, counters and keys are spaces; they differ in where rows lie and what they hold.
//!
//! A `Space` is a few resolved numbers, cheap to copy. It says where things are; it owns nothing.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use shm_layout::{
    COUNTERS_SPACE, KEYS_SPACE, heap,
    index::{self, GROUP_BYTES, Group},
    keys::{self, flag},
    row, slot, table,
};

use super::{
    index::{first_hit, search},
    mem::word_of,
    protocol::sequence,
    segment::Segment,
};

/// Rows that are fetched together.
const TOGETHER: usize = 16;
/// Lines of a row that are fetched ahead at most.
const PREFETCHED_LINES: usize = 4;

/// Where the rows of a space lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rows {
    /// One behind the other, from here on.
    Dense { at: u64, stride: u64 },
    /// Records, in pages of the arena.
    Records,
}

/// A space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Space {
    pub(crate) id: u32,
    pub(crate) rows: u32,
    pub(crate) groups: u32,
    groups_at: u64,
    bitmap_at: u64,
    pub(crate) layout: Rows,
    /// Bytes from the start of a dense row to its key.
    pub(crate) key_at: u64,
}

/// A key to look for.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) db: u8,
    pub(crate) hash: u64,
}

/// A row, as it was found.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) row: u32,
    /// Read before the key was compared.
    pub(crate) sequence: u64,
    pub(crate) header: &'a row::Header,
    pub(crate) words: &'a [AtomicU64],
}

impl Found<'_> {
    /// The row as it is now that it is locked; `None` if it is not that key's any more.
    #[inline(always)]
    pub(crate) fn locked(self, space: &Space, segment: &Segment, key: Key<'_>) -> Option<Self> {
        // Acquire: what the last owner wrote is seen.
        let sequence = self.header.sequence.load(Ordering::Acquire);
        // A sequence that has not moved vouches for the key that was compared.
        let same = sequence == self.sequence || space.is_of_key(segment, self.header, self.words, key);
        (row::is_live(sequence) && same).then_some(Self { sequence, ..self })
    }
}

impl Space {
    /// The space of a table whose region starts at `at`.
    pub(crate) fn table(id: u32, at: u64, shape: table::Shape) -> Self {
        let geometry = table::Geometry::new(shape);
        Self {
            id,
            rows: shape.rows as u32,
            groups: geometry.groups as u32,
            groups_at: at + geometry.groups_at,
            bitmap_at: at + geometry.bitmap_at,
            layout: Rows::Dense { at: at + geometry.rows_at, stride: geometry.stride },
            key_at: geometry.key_at,
        }
    }

    /// The key-value space.
    pub(crate) fn keys(geometry: &shm_layout::header::Geometry) -> Self {
        Self {
            id: KEYS_SPACE,
            rows: geometry.request.max_keys as u32,
            groups: geometry.key_groups as u32,
            groups_at: geometry.key_groups_at,
            bitmap_at: geometry.key_bitmap_at,
            layout: Rows::Records,
            key_at: 8 * keys::KEY_WORD as u64,
        }
    }

    /// Words of a row.
    pub(crate) fn row_words(&self) -> usize {
        match self.layout {
            Rows::Dense { stride, .. } => stride as usize / 8,
            Rows::Records => keys::WORDS,
        }
    }

    #[inline(always)]
    fn row_at(&self, segment: &Segment, row: u32) -> Option<u64> {
        match self.layout {
            Rows::Dense { at, stride } => (row < self.rows).then(|| at + u64::from(row) * stride),
            Rows::Records => {
                let page = self.page_word(segment, row / keys::PAGE_RECORDS)?.load(Ordering::Acquire).checked_sub(1)?;
                (u64::from(page) < segment.geometry().arena_pages)
                    .then(|| segment.page_at(page) + u64::from(row % keys::PAGE_RECORDS) * keys::RECORD_BYTES)
            }
        }
    }

    /// The word that says which page holds run `run` of the records, plus 1.
    pub(crate) fn page_word<'a>(&self, segment: &'a Segment, run: u32) -> Option<&'a AtomicU32> {
        let geometry = segment.geometry();
        (u64::from(run) < geometry.key_pages).then(|| segment.mem().half(geometry.key_pages_at + 4 * u64::from(run)))
    }

    /// The head of a row; `None` if there is no such row, or no page for it yet.
    #[inline(always)]
    pub(crate) fn header<'a>(&self, segment: &'a Segment, row: u32) -> Option<&'a row::Header> {
        Some(segment.mem().at(self.row_at(segment, row)?))
    }

    /// The words of a row, its head included. Words 0 (lock and meta) and 1 (sequence) are not for this view: they are
    /// accessed in other sizes, through [`Space::header`].
    #[inline(always)]
    pub(crate) fn words<'a>(&self, segment: &'a Segment, row: u32) -> Option<&'a [AtomicU64]> {
        Some(segment.mem().slice(self.row_at(segment, row)?, self.row_words()))
    }

    /// The usage word of a record; see [`super::usage`].
    #[inline(always)]
    pub(crate) fn usage<'a>(&self, segment: &'a Segment, row: u32) -> Option<&'a AtomicU32> {
        if self.layout != Rows::Records {
            return None;
        }
        let page = self.page_word(segment, row / keys::PAGE_RECORDS)?.load(Ordering::Acquire).checked_sub(1)?;
        let at = keys::USAGE_AT + 4 * u64::from(row % keys::PAGE_RECORDS);
        (u64::from(page) < segment.geometry().arena_pages).then(|| segment.mem().half(segment.page_at(page) + at))
    }

    /// Brings near the rows that stand for these hashes: first some groups, then their rows, so that the processor waits for each kind
    /// together. Then `with` is told which rows they are, right or wrong.
    #[inline]
    pub(crate) fn fetch_ahead(
        &self,
        segment: &Segment,
        hashes: impl IntoIterator<Item = u64>,
        mut with: impl FnMut(u32),
    ) {
        let mut hashes = hashes.into_iter().peekable();
        while hashes.peek().is_some() {
            let mut together = [0; TOGETHER];
            let mut count = 0;
            for (place, hash) in together.iter_mut().zip(&mut hashes) {
                let at = self.groups_at + u64::from(self.home(hash)) * GROUP_BYTES;
                segment.mem().prefetch(at);
                // A group lies in two lines, as a rule.
                segment.mem().prefetch(at + GROUP_BYTES - 1);
                *place = hash;
                count += 1;
            }
            let mut rows = [None; TOGETHER];
            for (row, &hash) in rows.iter_mut().zip(&together[..count]) {
                *row = self.fetch_row(segment, hash);
            }
            rows.into_iter().flatten().for_each(&mut with);
        }
    }

    /// The row that its home group suggests for a hash, if any, which the processor is to fetch.
    #[inline]
    fn fetch_row(&self, segment: &Segment, hash: u64) -> Option<u32> {
        let row = first_hit(segment, self, hash)?;
        let at = self.row_at(segment, row)?;
        let end = at + 8 * self.row_words() as u64;
        (at & !63..end).step_by(64).take(PREFETCHED_LINES).for_each(|line| segment.mem().prefetch(line));
        Some(row)
    }

    /// A group of the index.
    #[inline(always)]
    pub(crate) fn group<'a>(&self, segment: &'a Segment, group: u32) -> &'a Group {
        segment.mem().at(self.groups_at + u64::from(group) * GROUP_BYTES)
    }

    /// A group whose number is an allegation.
    pub(crate) fn group_checked<'a>(&self, segment: &'a Segment, group: u32) -> Option<&'a Group> {
        (group < self.groups).then(|| self.group(segment, group))
    }

    /// The group in which a search goes on.
    #[inline(always)]
    pub(crate) fn group_after(&self, group: u32) -> u32 {
        if group + 1 == self.groups { 0 } else { group + 1 }
    }

    /// The home group of a hash.
    pub(crate) fn home(&self, hash: u64) -> u32 {
        index::home(hash, self.groups)
    }

    /// The row that stands for a key. It may be changing, or just freed: the sequence tells.
    #[inline]
    pub(crate) fn find<'a>(&self, segment: &'a Segment, key: Key<'_>) -> Option<Found<'a>> {
        search(segment, self, key.hash, |row| {
            self.row(segment, row).filter(|found| self.is_of_key(segment, found.header, found.words, key))
        })
    }

    /// A row, whatever its key; `None` if there is no such row, or no page for it yet.
    #[inline(always)]
    pub(crate) fn row<'a>(&self, segment: &'a Segment, row: u32) -> Option<Found<'a>> {
        let at = self.row_at(segment, row)?;
        let header: &row::Header = segment.mem().at(at);
        let sequence = sequence::before_copy(&header.sequence);
        Some(Found { row, sequence, header, words: segment.mem().slice(at, self.row_words()) })
    }

    /// Whether a row holds this key. Certain for a live row whose sequence does not change meanwhile.
    #[inline]
    pub(crate) fn has_key(&self, segment: &Segment, row: u32, key: Key<'_>) -> bool {
        let (Some(header), Some(words)) = (self.header(segment, row), self.words(segment, row)) else {
            return false;
        };
        self.is_of_key(segment, header, words, key)
    }

    #[inline(always)]
    fn is_of_key(&self, segment: &Segment, header: &row::Header, words: &[AtomicU64], key: Key<'_>) -> bool {
        let meta = header.meta.load(Ordering::Relaxed);
        if row::key_len(meta) != key.bytes.len() {
            return false;
        }
        match self.layout {
            Rows::Dense { .. } => equal(&words[self.key_at as usize / 8..], key.bytes),
            Rows::Records => {
                row::flags(meta) & flag::DB == u16::from(key.db)
                    && if row::flags(meta) & flag::OUTER_KEY == 0 {
                        equal(&words[keys::KEY_WORD..], key.bytes)
                    } else {
                        let block = heap::BlockRef(words[keys::KEY_WORD].load(Ordering::Relaxed));
                        super::heap::holds(segment, block, key.bytes)
                    }
            }
        }
    }

    /// Says that a row may be free.
    pub(crate) fn set_hint(&self, segment: &Segment, row: u32) {
        self.hint_word(segment, row / 64).fetch_or(1 << (row % 64), Ordering::AcqRel);
    }

    /// Takes the hint of a row away; whether it was there.
    pub(crate) fn take_hint(&self, segment: &Segment, row: u32) -> bool {
        let bit = 1 << (row % 64);
        self.hint_word(segment, row / 64).fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Hints of 64 rows.
    pub(crate) fn hint_word<'a>(&self, segment: &'a Segment, index: u32) -> &'a AtomicU64 {
        segment.mem().word(self.bitmap_at + 8 * u64::from(index))
    }

    /// Words of hints.
    pub(crate) fn hint_words(&self) -> u32 {
        self.rows.div_ceil(64)
    }

    /// Says of every dense row that it may be free.
    pub(crate) fn set_all_hints(&self, segment: &Segment) {
        for index in 0..self.hint_words() {
            let rows = (self.rows - index * 64).min(64);
            self.hint_word(segment, index).store(u64::MAX >> (64 - rows), Ordering::Relaxed);
        }
    }

    /// Forgets what the index says, but for the counts of insertions: whoever remembers one of them would take a later count for
    /// it. Behind the gate.
    pub(crate) fn clear_index(&self, segment: &Segment) {
        for group in (0..self.groups).map(|number| self.group(segment, number)) {
            group.tags.iter().for_each(|tags| tags.store(0, Ordering::Relaxed));
            group.rows.iter().for_each(|row| row.store(0, Ordering::Relaxed));
            group.lock.store(0, Ordering::Relaxed);
            group.counts.fetch_and(!index::counts::OVERFLOW, Ordering::AcqRel);
        }
    }

    /// Frees every row of a dense space. Behind the gate; doing it twice is doing it once.
    pub(crate) fn clear(&self, segment: &Segment) {
        self.clear_index(segment);
        for row in 0..self.rows {
            if let Some(header) = self.header(segment, row) {
                let sequence = header.sequence.load(Ordering::Relaxed);
                header.sequence.store(free_sequence(sequence), Ordering::Release);
            }
        }
        self.set_all_hints(segment);
        segment.zero_cell(slot::row_cell(self.id));
        for slot in segment.all_slots() {
            slot.freed_rows.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Rows in use: the sum of every slot's share.
    pub(crate) fn count(&self, segment: &Segment) -> u64 {
        segment.sum_cell(slot::row_cell(self.id))
    }

    /// Whether this is a table.
    pub(crate) fn is_table(&self) -> bool {
        self.id != COUNTERS_SPACE && self.id != KEYS_SPACE
    }
}

/// The sequence of a row that is freed now: odd, and 0 if it was never used.
pub(crate) fn free_sequence(sequence: u64) -> u64 {
    if sequence == 0 { 0 } else { sequence | 1 }
}

/// Whether the words begin with these bytes.
#[inline(always)]
pub(crate) fn equal(words: &[AtomicU64], bytes: &[u8]) -> bool {
    if bytes.len() > 8 * words.len() {
        return false;
    }
    let (whole, rest) = bytes.as_chunks::<8>();
    let same = whole.iter().zip(words).all(|(bytes, word)| word.load(Ordering::Relaxed) == u64::from_ne_bytes(*bytes));
    if rest.is_empty() || !same {
        return same;
    }
    let mask = u64::MAX >> (8 * (8 - rest.len()));
    // Little-endian: the first bytes of a word are its low ones.
    words[whole.len()].load(Ordering::Relaxed) & mask == word_of(rest)
}
