//! The rows of tables: reading them without a lock, changing them under one.
//!
//! A change is a function of the row: it is given the row's words (or zeros, if there is no such row) and says what becomes of
//! them. It runs under the row's lock, may run several times, and must neither fail nor wait: whatever can be refused is
//! checked before, or remembered by the function and answered with [`Verdict::Leave`].
//!
//! An expired row counts as absent. It is overwritten in place, index and count as they were.
//!
//! Here is the handle, and how one row is read. [`change`] and [`batch`] write; [`walk`] goes through all rows.

mod batch;
mod change;
mod walk;

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use shm_layout::{
    row::{self, BODY_WORD, EXPIRE_WORD},
    slot::Held,
};

use super::{
    crash::point,
    directory::{self, RawSpec, TableListing},
    gate,
    locks::{Attempt, Writer, patiently},
    protocol::sequence,
    rows::{self, CLOCK_UNREAD, is_past},
    segment::{Refusal, Segment},
    space::{Found, Key, Space},
};

/// Failed validations after which a reader takes the row's lock.
const OPTIMISM: u32 = 64;

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays as it is.
    Leave,
    /// It becomes what the words say; an absent one is made.
    Write,
    /// It is deleted.
    Remove,
}

/// A row in the hands of a change, or of a reader.
pub struct RowWords<'a> {
    /// Whether there was such a row.
    pub present: bool,
    /// The row: word 2 is its expiry, the body begins at word 3. Words 0 and 1 mean nothing here.
    pub words: &'a mut [u64],
}

/// A table of a segment. All operations take the patience of the caller: the longest wait, `None` for ever.
pub struct Tables {
    segment: Segment,
    listing: TableListing,
    space: Space,
    /// Where there was a free row.
    cursor: AtomicU32,
}

impl Tables {
    /// Makes a table, or finds the one of this name, shape and schema; whether it is new.
    ///
    /// # Errors
    ///
    /// [`Refusal::Exists`], [`Refusal::NoTable`], [`Refusal::OutOfMemory`], [`Refusal::Busy`].
    pub fn make(segment: &Segment, patience: Option<Duration>, spec: &RawSpec) -> Result<(Self, bool), Refusal> {
        loop {
            let (listing, new) = directory::make(segment, patience, spec)?;
            point("table-made");
            // Somebody may have dropped it since: then it is made once more.
            if let Ok(table) = Self::listed(segment, listing) {
                return Ok((table, new));
            }
        }
    }

    /// The table of this name.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`] if there is none, [`Refusal::Busy`].
    pub fn find(segment: &Segment, patience: Option<Duration>, name: &str) -> Result<Self, Refusal> {
        Self::listed(segment, directory::find(segment, patience, name)?)
    }

    /// Every table, hidden ones too.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn list(segment: &Segment, patience: Option<Duration>) -> Result<Vec<Self>, Refusal> {
        let listings = directory::list(segment, patience)?;
        Ok(listings.into_iter().filter_map(|listing| Self::listed(segment, listing).ok()).collect())
    }

    /// Drops the table of this name; false if there is none.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn drop_named(segment: &Segment, patience: Option<Duration>, name: &str) -> Result<bool, Refusal> {
        directory::drop_table(segment, patience, name)
    }

    fn listed(segment: &Segment, listing: TableListing) -> Result<Self, Refusal> {
        let space = directory::space(segment, listing.index as usize).ok_or(Refusal::Gone)?;
        let start = std::process::id().wrapping_mul(0x9e37_79b1) % space.hint_words();
        Ok(Self { segment: segment.clone(), listing, space, cursor: AtomicU32::new(start) })
    }

    /// What the table was asked to be.
    #[must_use]
    pub fn spec(&self) -> &RawSpec {
        &self.listing.spec
    }

    /// Bytes of its region.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        Segment::region_bytes(self.listing.spec.shape())
    }

    /// Words of a row.
    #[must_use]
    pub fn row_words(&self) -> usize {
        self.space.row_words()
    }

    /// Bytes from the start of a row to its key.
    #[must_use]
    pub fn key_at(&self) -> usize {
        self.space.key_at as usize
    }

    /// Whether the table was not dropped.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let entry = self.segment.entry(self.listing.index as usize);
        // Acquire: with the generation, what was done before it changed is seen.
        entry.generation.load(Ordering::Acquire) == self.listing.generation
    }

    fn check_current(&self) -> Result<(), Refusal> {
        if self.is_current() { Ok(()) } else { Err(Refusal::Gone) }
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, db: 0, hash: self.segment.hash(bytes, 0) }
    }

    /// Rows in use.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn count(&self, patience: Option<Duration>) -> Result<u64, Refusal> {
        let count = gate::read_outside(&self.segment, patience, || self.space.count(&self.segment))?;
        self.check_current()?;
        Ok(count)
    }

    /// Copies the row into `out` (words from 2 on); false if there is none.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn read(&self, patience: Option<Duration>, now_ms: u64, key: &[u8], out: &mut [u64]) -> Result<bool, Refusal> {
        self.read_by(patience, now_ms, key, |words| copy(words, out))
    }

    /// Shows the row's words to `copy`, which takes what it wants; false if there is no row. It may be shown several times, of which the
    /// last counts, and what it takes means nothing if there is no row in the end.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    #[inline]
    pub fn read_by(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        key: &[u8],
        mut copy: impl FnMut(&[AtomicU64]),
    ) -> Result<bool, Refusal> {
        let key = self.key(key);
        let mut attempt = Attempt::default();
        for _ in 0..OPTIMISM {
            let Ok(gate) = gate::sequence(&self.segment, &mut attempt) else {
                break;
            };
            let found = self.space.find(&self.segment, key);
            let (mut expire_at, mut steady) = (0, found.is_none());
            if let Some(live) = found.filter(|found| row::is_live(found.sequence)) {
                expire_at = live.header.expire_at.load(Ordering::Relaxed);
                copy(live.words);
                sequence::copied();
                steady = sequence::after_copy(&live.header.sequence) == live.sequence;
            } else {
                sequence::copied();
            }
            if steady && gate::unchanged(&self.segment, gate) {
                self.check_current()?;
                return Ok(found.is_some() && !is_past(expire_at, now_ms));
            }
            std::hint::spin_loop();
        }
        self.read_locked(patience, now_ms, key, &mut copy)
    }

    /// Reads as a writer does, once the row does not hold still.
    #[cold]
    fn read_locked(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        key: Key<'_>,
        copy: &mut dyn FnMut(&[AtomicU64]),
    ) -> Result<bool, Refusal> {
        self.lock_row(patience, key, |_, found| {
            copy(found.words);
            Ok(!is_past(found.header.expire_at.load(Ordering::Relaxed), now_ms))
        })
    }

    /// Locks the row of a key and hands it to `body`; false if there is none.
    #[inline]
    fn lock_row(
        &self,
        patience: Option<Duration>,
        key: Key<'_>,
        mut body: impl FnMut(&Writer<'_>, &Found<'_>) -> Result<bool, Refusal>,
    ) -> Result<bool, Refusal> {
        patiently(&self.segment, patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            loop {
                self.check_current()?;
                let Some(found) = self.space.find(&self.segment, key) else {
                    return Ok(false);
                };
                writer.lock(Held::Row(self.space.id, found.row), &found.header.lock)?;
                point("row-locked");
                if let Some(locked) = found.locked(&self.space, &self.segment, key) {
                    return body(&writer, &locked);
                }
                writer.again()?;
            }
        })
    }

    /// Changes one word of a row in place: `change` is given the word and says what it becomes, or leaves it. False if there is no row, or
    /// one whose time has passed. The change may be asked several times, of which the last counts.
    ///
    /// # Errors
    ///
    /// [`Refusal::OutOfMemory`] (in a transaction), [`Refusal::Gone`], [`Refusal::Busy`].
    #[inline]
    pub fn modify_word(
        &self,
        patience: Option<Duration>,
        key: &[u8],
        word: usize,
        mut change: impl FnMut(u64) -> Option<u64>,
    ) -> Result<bool, Refusal> {
        self.lock_row(patience, self.key(key), |writer, found| {
            if is_past(found.header.expire_at.load(Ordering::Relaxed), CLOCK_UNREAD) {
                return Ok(false);
            }
            if let Some(new) = change(found.words[word].load(Ordering::Relaxed)) {
                rows::store_word(writer, &self.space, found, word, new)?;
            }
            Ok(true)
        })
    }

    fn sequence(&self, row: u32) -> u64 {
        self.space.header(&self.segment, row).map_or(0, |header| sequence::after_copy(&header.sequence))
    }
}

/// Copies the words that an image may replace.
#[inline]
fn copy(words: &[AtomicU64], out: &mut [u64]) {
    for (to, from) in out[EXPIRE_WORD..].iter_mut().zip(&words[EXPIRE_WORD..]) {
        *to = from.load(Ordering::Relaxed);
    }
}

/// A buffer of the thread's for `words` words.
fn with_scratch<T>(words: usize, body: impl FnOnce(&mut [u64]) -> T) -> T {
    thread_local! {
        static SCRATCH: std::cell::Cell<Vec<u64>> = const { std::cell::Cell::new(Vec::new()) };
    }
    debug_assert!(words > BODY_WORD);
    // Taken out for the time of the call, so that a call within the call gets a buffer of its own. So does a destructor that
    // runs when the thread has none any more.
    let mut scratch = SCRATCH.try_with(std::cell::Cell::take).unwrap_or_default();
    if scratch.len() < words {
        scratch.resize(words, 0);
    }
    let result = body(&mut scratch[..words]);
    let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    result
}
