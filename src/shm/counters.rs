//! Counters: 64-bit integers by name, each on a cache line of its own, changed without a lock.
//!
//! They are the rows of a table with one `int` column. A counter is made like any row. A change raises the writer's flag, finds the
//! row, and changes its word by one atomic instruction; rows of counters are freed only behind the gate, which waits for all
//! flags, so the row that was found stays that counter's.
//!
//! **Overflow.** A plain `fetch_add` would wrap. While a counter is not *wide*, its value keeps within [`NEAR_END`] of 0: a change that would
//! lead beyond makes it wide first, behind the gate, where no stale `fetch_add` can be under way. A wide counter is
//! changed by compare-and-swap, which checks every sum. 1000 writers that each add up to [`BIG_STEP`] at once cannot get
//! from there to the end of the range.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering, fence},
    },
    time::Duration,
};

use shm_layout::{
    COUNTERS_SPACE,
    row::{self, BODY_WORD, EXPIRE_WORD},
    slot::{self, Held, action},
};

use super::{
    gate,
    journal::{Intent, RowChange},
    locks::{self, Attempt, Writer, patiently},
    protocol::sequence,
    rows::{self, Room, claim_free},
    segment::{Refusal, Segment},
    space::{Key, Space},
    transaction, undo,
};

/// The flag of a wide counter.
pub(crate) const WIDE: u16 = 1;
/// Values of a counter that is not wide stay below this, give or take the steps under way.
const NEAR_END: u64 = 1 << 62;
/// Steps of this size and more are added by compare-and-swap.
const BIG_STEP: u64 = 1 << 31;

/// The counters of a segment. All operations take the patience of the caller: the longest wait, `None` for ever.
#[derive(Clone)]
pub struct Counters {
    segment: Segment,
    space: Space,
    /// Where there was a free row.
    cursor: Arc<AtomicU32>,
}

/// What a change of a counter came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// The new value.
    Value(i64),
    /// The value stays: the new one was not wanted. This is it.
    Kept(i64),
    /// The new value would overflow.
    Overflow,
}

enum Step {
    Done(Counted),
    Again,
    NoRoom,
    Widen,
}

impl Counters {
    /// The counters of `segment`.
    #[must_use]
    pub fn new(segment: &Segment) -> Self {
        Self { segment: segment.clone(), space: segment.counters_space(), cursor: Arc::default() }
    }

    fn key<'a>(&self, name: &'a [u8]) -> Key<'a> {
        Key { bytes: name, db: 0, hash: self.segment.hash(name, 0) }
    }

    fn value_word(&self, row: u32) -> Option<&AtomicU64> {
        self.space.words(&self.segment, row).map(|words| &words[BODY_WORD])
    }

    /// The value; `None` if there is no such counter.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn get(&self, patience: Option<Duration>, name: &[u8]) -> Result<Option<i64>, Refusal> {
        let key = self.key(name);
        patiently(&self.segment, patience, || {
            let mut attempt = Attempt::default();
            loop {
                let gate = gate::sequence(&self.segment, &mut attempt)?;
                let found = self.space.find(&self.segment, key);
                let value = found.and_then(|found| self.value_word(found.row)).map(|word| word.load(Ordering::Acquire));
                fence(Ordering::Acquire);
                let live = found.is_none_or(|found| row::is_live(found.sequence));
                if live && gate::unchanged(&self.segment, gate) {
                    return Ok(value.map(|value| value as i64));
                }
                // It is being made at this moment: its maker holds the row.
                if let Some(header) = found.and_then(|found| self.space.header(&self.segment, found.row)) {
                    locks::wait_for_owner(&self.segment, &header.lock, &mut attempt)?;
                }
            }
        })
    }

    /// Adds to a counter, which is made if it is missing. With a bound, the value is kept if the sum would lie beyond it:
    /// above it if `by` is not negative, below it otherwise.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`], [`Refusal::Busy`].
    #[inline]
    pub fn add(
        &self,
        patience: Option<Duration>,
        name: &[u8],
        by: i64,
        bound: Option<i64>,
    ) -> Result<Counted, Refusal> {
        let beyond = |sum: i64| bound.is_some_and(|bound| if by >= 0 { sum > bound } else { sum < bound });
        let plain = bound.is_none() && by.unsigned_abs() < BIG_STEP;
        self.change(patience, name, plain.then_some(by), &|value| match value.checked_add(by) {
            Some(sum) if beyond(sum) => Err(Counted::Kept(value)),
            Some(sum) => Ok(sum),
            // A bound lies within the range, so a sum beyond the range lies beyond the bound.
            None if bound.is_some() => Err(Counted::Kept(value)),
            None => Err(Counted::Overflow),
        })
    }

    /// Sets a counter, which is made if it is missing.
    ///
    /// # Errors
    ///
    /// As [`Counters::add`].
    pub fn set(&self, patience: Option<Duration>, name: &[u8], value: i64) -> Result<(), Refusal> {
        self.change(patience, name, None, &|_| Ok(value)).map(drop)
    }

    /// Sets a counter to `new` if it is `expected`; a missing one counts as 0 and is made only then.
    ///
    /// # Errors
    ///
    /// As [`Counters::add`].
    pub fn swap(&self, patience: Option<Duration>, name: &[u8], expected: i64, new: i64) -> Result<Counted, Refusal> {
        let swapped = |value: i64| if value == expected { Ok(new) } else { Err(Counted::Kept(value)) };
        self.change(patience, name, None, &swapped)
    }

    /// Changes a counter by a function of its value. `plain` is set if the function adds that, and adds no more than a small step.
    #[inline]
    fn change(
        &self,
        patience: Option<Duration>,
        name: &[u8],
        plain: Option<i64>,
        function: &dyn Fn(i64) -> Result<i64, Counted>,
    ) -> Result<Counted, Refusal> {
        let key = self.key(name);
        let mut undecided = 0;
        loop {
            let step = patiently(&self.segment, patience, || {
                let mut writer = Writer::enter(&self.segment)?;
                loop {
                    match self.try_change(&mut writer, key, plain, function)? {
                        Step::Again => writer.again()?,
                        step => return Ok(step),
                    }
                }
            })?;
            match step {
                Step::Done(counted) => return Ok(counted),
                Step::Widen => gate::behind(&self.segment, patience, |_| self.widen(key))?,
                Step::Again | Step::NoRoom => {
                    let room = patiently(&self.segment, patience, || {
                        rows::make_room(&mut Writer::enter(&self.segment)?, &self.space, 1, 0, &|| Ok(()))
                    })?;
                    undecided += u32::from(room == Room::Undecided);
                    let full = room == Room::None
                        || undecided > 3 && gate::behind(&self.segment, patience, |_| Ok(self.is_full_alone()))?;
                    if full {
                        return Err(Refusal::Full);
                    }
                }
            }
        }
    }

    fn try_change<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        key: Key<'_>,
        plain: Option<i64>,
        function: &dyn Fn(i64) -> Result<i64, Counted>,
    ) -> Result<Step, Refusal> {
        match self.space.find(&self.segment, key) {
            Some(found) if row::is_live(found.sequence) => {
                let (Some(header), Some(word)) =
                    (self.space.header(&self.segment, found.row), self.value_word(found.row))
                else {
                    return Ok(Step::Again);
                };
                let wide = row::flags(header.meta.load(Ordering::Relaxed)) & WIDE != 0;
                if transaction::is_open(writer.slot()) {
                    undo::log_word(writer, &self.space, found.row, BODY_WORD)?;
                }
                Ok(apply(word, wide, plain, function))
            }
            Some(found) => {
                // It is being made at this moment: its maker holds the row.
                if let Some(header) = self.space.header(&self.segment, found.row) {
                    writer.lock(Held::Row(COUNTERS_SPACE, found.row), &header.lock)?;
                }
                Ok(Step::Again)
            }
            None => self.try_make(writer, key, function),
        }
    }

    fn try_make<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        key: Key<'_>,
        function: &dyn Fn(i64) -> Result<i64, Counted>,
    ) -> Result<Step, Refusal> {
        let value = match function(0) {
            Ok(value) => value,
            Err(counted) => return Ok(Step::Done(counted)),
        };
        let (segment, space) = (&self.segment, &self.space);
        let home = space.home(key.hash);
        writer.lock(Held::Group(COUNTERS_SPACE, home), &space.group(segment, home).lock)?;
        if space.find(segment, key).is_some() {
            return Ok(Step::Again);
        }
        let Some(free) = claim_free(writer, space, &self.cursor) else {
            writer.unlock_all();
            return Ok(Step::NoRoom);
        };
        self.fill(free.row, key.bytes, value);
        let slot = writer.slot();
        let cell = slot::row_cell(COUNTERS_SPACE);
        let wide = if value.unsigned_abs() < NEAR_END { 0 } else { WIDE };
        let change = RowChange {
            action: action::INSERT,
            row: free.row,
            meta: row::meta(key.bytes.len(), wide),
            sequence: free.sequence,
            hash: key.hash,
            cells: [(cell as u32, slot.counts[cell].load(Ordering::Relaxed).wrapping_add(1)), RowChange::NO_COUNTS[1]],
        };
        let mut intent = Intent::new();
        intent.push(segment, slot, COUNTERS_SPACE, &change, 0, &[]);
        intent.carry_out(writer, space)?;
        Ok(Step::Done(Counted::Value(value)))
    }

    /// Fills a free, locked row.
    fn fill(&self, row: u32, name: &[u8], value: i64) {
        let Some(words) = self.space.words(&self.segment, row) else {
            return;
        };
        sequence::doubted();
        words[EXPIRE_WORD].store(0, Ordering::Relaxed);
        words[BODY_WORD].store(value as u64, Ordering::Relaxed);
        for (word, bytes) in words[self.space.key_at as usize / 8..].iter().zip(name.chunks(8)) {
            word.store(super::mem::word_of(bytes), Ordering::Relaxed);
        }
    }

    /// Whether every row is in use; if not, the free ones can be found afterwards. Behind the gate.
    fn is_full_alone(&self) -> bool {
        let free = |row: &u32| !row::is_live(self.sequence(*row));
        let found = (0..self.space.rows).filter(free).map(|row| self.space.set_hint(&self.segment, row)).count();
        found == 0
    }

    fn sequence(&self, row: u32) -> u64 {
        self.space.header(&self.segment, row).map_or(0, |header| header.sequence.load(Ordering::Relaxed))
    }

    /// Makes a counter wide.
    fn widen(&self, key: Key<'_>) -> Result<(), Refusal> {
        let found = self.space.find(&self.segment, key);
        if let Some(header) = found.and_then(|found| self.space.header(&self.segment, found.row)) {
            let meta = header.meta.load(Ordering::Relaxed);
            header.meta.store(row::meta(row::key_len(meta), row::flags(meta) | WIDE), Ordering::Release);
        }
        Ok(())
    }

    /// Deletes a counter; false if there is none.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn delete(&self, patience: Option<Duration>, name: &[u8]) -> Result<bool, Refusal> {
        let key = self.key(name);
        if self.get(patience, name)?.is_none() {
            return Ok(false);
        }
        gate::behind(&self.segment, patience, |gate| {
            let Some(found) = self.space.find(&self.segment, key) else {
                return Ok(false);
            };
            let mut intent = Intent::new();
            rows::list_delete(gate.writer(), &self.space, found.row, &mut intent, 0);
            intent.carry_out(gate.writer(), &self.space)?;
            Ok(true)
        })
    }

    /// Every counter and its value.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn list(&self, patience: Option<Duration>) -> Result<Vec<(Vec<u8>, i64)>, Refusal> {
        patiently(&self.segment, patience, || {
            let mut attempt = Attempt::default();
            loop {
                let gate = gate::sequence(&self.segment, &mut attempt)?;
                let counters = (0..self.space.rows).filter_map(|row| self.at(row)).collect();
                fence(Ordering::Acquire);
                if gate::unchanged(&self.segment, gate) {
                    return Ok(counters);
                }
                attempt.left()?;
            }
        })
    }

    fn at(&self, row: u32) -> Option<(Vec<u8>, i64)> {
        let header = self.space.header(&self.segment, row)?;
        // Acquire: name and value were there before the row was live; behind an open gate they stay.
        let live = row::is_live(header.sequence.load(Ordering::Acquire));
        let words = self.space.words(&self.segment, row).filter(|_| live)?;
        let mut name = Vec::new();
        rows::read_key(&self.segment, &self.space, header.meta.load(Ordering::Relaxed), words, &mut name);
        Some((name, words[BODY_WORD].load(Ordering::Acquire) as i64))
    }
}

#[inline]
fn apply(word: &AtomicU64, wide: bool, plain: Option<i64>, function: &dyn Fn(i64) -> Result<i64, Counted>) -> Step {
    let mut value = word.load(Ordering::Acquire) as i64;
    if let Some(by) = plain
        && !wide
        && value.unsigned_abs() < NEAR_END
    {
        let before = word.fetch_add(by as u64, Ordering::AcqRel) as i64;
        return Step::Done(Counted::Value(before + by));
    }
    loop {
        let new = match function(value) {
            Ok(new) => new,
            Err(counted) => return Step::Done(counted),
        };
        if !wide && new.unsigned_abs() >= NEAR_END {
            return Step::Widen;
        }
        match word.compare_exchange_weak(value as u64, new as u64, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Step::Done(Counted::Value(new)),
            Err(now) => value = now as i64,
        }
    }
}
