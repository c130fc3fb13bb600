//! One space: its index from its groups, its rows one by one, and what is counted of them.
//!
//! The first pass goes over the groups and asks of each place that is taken: does its row exist, is it live, was it named before, has its key
//! this tag, and does another row between the key's home and here have the same key? The second goes over the rows and asks
//! of each live one whether the first pass met it, and of each free one whether it can be found.
//!
//! How many keys must have passed each group follows from where they stand: a key in group p with its home at h passed those from h to
//! just before p. That is added up as differences, plus one at h and minus one at p, so that a key costs the same however far it stands.

use std::sync::atomic::{AtomicU64, Ordering};

use shm_layout::{
    COUNTERS_SPACE, KEYS_SPACE,
    heap::CHUNK_BYTES,
    index::{Group, PLACES, counts, tag},
    keys::{KEY_WORD, LEN_WORD, PAGE_RECORDS, PAYLOAD, SHORT_KEY, VALUE_WORD, flag},
    limits::{DATABASES, MAX_TABLES, MAX_VALUE_BYTES},
    row,
    slot::{expiring_cell, key_cell, row_cell},
};

use super::{
    super::{
        index::tag_at,
        rows::read_key,
        segment::Segment,
        space::{Key, Space},
    },
    FindingKind, Walk,
    heap::Blocks,
};

/// Groups looked at for the twins of keys, for each group and each place that there is. A sound index takes less than one.
const EFFORT: u64 = 16;
/// No row is written so often.
const MAX_SEQUENCE: u64 = 1 << 62;
/// Flags of a record that mean something.
const RECORD_FLAGS: u16 = flag::DB | flag::ENCODING | flag::OUTER_KEY | flag::FIELDS;

/// A set of numbers below a limit.
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn new(limit: u64) -> Self {
        Self(vec![0; limit.div_ceil(64) as usize])
    }

    /// Adds a number; whether it was there already.
    pub(super) fn set(&mut self, number: u64) -> bool {
        let (word, bit) = (&mut self.0[number as usize / 64], 1 << (number % 64));
        let was = *word & bit != 0;
        *word |= bit;
        was
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.0[number as usize / 64] & (1 << (number % 64)) != 0
    }
}

/// A space that is checked.
pub(super) struct Subject {
    pub(super) space: Space,
    /// What it is called in findings.
    pub(super) place: String,
    /// Longest key.
    pub(super) key_bytes: usize,
    /// Flags that its rows may have; those of records are known here.
    pub(super) flags: u16,
    /// Whether rows that can expire are noted.
    pub(super) expires: bool,
    /// Of records, the runs that have a page of their own.
    pub(super) runs: Option<Bits>,
}

impl Subject {
    /// Work that the check of it takes.
    pub(super) fn work(&self) -> u64 {
        u64::from(self.space.rows) + u64::from(self.space.groups)
    }

    fn is_keys(&self) -> bool {
        self.space.id == KEYS_SPACE
    }

    /// Whether a row of this number can be looked at.
    fn has_row(&self, row: u32) -> bool {
        row < self.space.rows && self.runs.as_ref().is_none_or(|runs| runs.has(u64::from(row / PAGE_RECORDS)))
    }

    fn header<'a>(&self, segment: &'a Segment, row: u32) -> Option<&'a row::Header> {
        self.has_row(row).then(|| self.space.header(segment, row)).flatten()
    }

    fn is_live(&self, segment: &Segment, row: u32) -> bool {
        self.header(segment, row).is_some_and(|header| row::is_live(header.sequence.load(Ordering::Acquire)))
    }

    /// Whether key length and flags are those of a row of this space.
    fn is_sane(&self, meta: u32) -> bool {
        let (len, flags) = (row::key_len(meta), row::flags(meta));
        if self.is_keys() {
            let outer = flags & flag::OUTER_KEY != 0;
            let kind_is_sane = flags & flag::TYPE == 0 || flags & flag::ENCODING == flag::BLOCK;
            return flags & !RECORD_FLAGS == 0 && outer == (len > SHORT_KEY) && kind_is_sane;
        }
        flags & !self.flags == 0 && (1..=self.key_bytes).contains(&len)
    }

    /// The key of a live row: appended to `out`, which is emptied first; its database.
    fn key(&self, segment: &Segment, row: u32, out: &mut Vec<u8>) -> Option<u8> {
        out.clear();
        let meta = self.header(segment, row)?.meta.load(Ordering::Relaxed);
        let words = self.space.words(segment, row)?;
        let readable = self.is_sane(meta) && read_key(segment, &self.space, meta, words, out);
        readable.then(|| if self.is_keys() { (row::flags(meta) & flag::DB) as u8 } else { 0 })
    }
}

/// Checks a space, and marks the blocks that its rows name.
pub(super) fn check(walk: &mut Walk<'_>, subject: &Subject, blocks: &mut Blocks) {
    let named = Index::new(subject).check(walk);
    let tally = rows(walk, subject, &named, blocks);
    tally.compare(walk, subject);
}

/// The first pass.
struct Index<'a> {
    subject: &'a Subject,
    /// Rows that were met.
    named: Bits,
    /// How many more keys passed each group than the one before it.
    passed: Vec<i32>,
    effort: u64,
    key: Vec<u8>,
}

/// A place of an index.
#[derive(Clone, Copy)]
struct Place<'a> {
    group: &'a Group,
    number: u32,
    index: usize,
    row: u32,
}

impl<'a> Index<'a> {
    fn new(subject: &'a Subject) -> Self {
        let space = &subject.space;
        Self {
            subject,
            named: Bits::new(u64::from(space.rows)),
            passed: vec![0; space.groups as usize],
            effort: EFFORT * PLACES as u64 * u64::from(space.groups),
            key: Vec::new(),
        }
    }

    fn check(mut self, walk: &mut Walk<'_>) -> Bits {
        for number in 0..self.subject.space.groups {
            self.group(walk, number);
            walk.did(1);
        }
        if self.effort == 0 {
            walk.find(FindingKind::IndexScattered, &self.subject.place, 0, || {
                "keys stand so far from their groups that not all could be compared".to_owned()
            });
        }
        self.overflows(walk);
        self.named
    }

    fn group(&mut self, walk: &mut Walk<'_>, number: u32) {
        let segment = walk.segment;
        let group = self.subject.space.group(segment, number);
        let lock = group.lock.load(Ordering::Acquire);
        if lock != 0 {
            walk.find(FindingKind::GroupLocked, &self.subject.place, u64::from(number), || {
                format!("the lock word of group {number} is {lock:#x}")
            });
        }
        for index in 0..PLACES {
            let word = group.rows[index].load(Ordering::Acquire);
            match word.checked_sub(1) {
                Some(row) => self.place(walk, Place { group, number, index, row }),
                None if tag_at(group, index) != 0 => {
                    walk.find(FindingKind::TagLeft, &self.subject.place, u64::from(number), || {
                        format!("place {index} of group {number} is free and has a tag")
                    });
                }
                None => {}
            }
        }
    }

    fn place(&mut self, walk: &mut Walk<'_>, place: Place<'_>) {
        let (segment, subject) = (walk.segment, self.subject);
        let Place { number, index, row, .. } = place;
        let mut wrong = |kind, text: &str| {
            walk.find(kind, &subject.place, u64::from(number), || {
                format!("place {index} of group {number} names row {row}, {text}")
            });
        };
        if !subject.has_row(row) {
            return wrong(FindingKind::IndexNamesNothing, "which does not exist");
        }
        if !subject.is_live(segment, row) {
            return wrong(FindingKind::IndexNamesFree, "which is free");
        }
        if self.named.set(u64::from(row)) {
            return wrong(FindingKind::RowNamedTwice, "as another place does");
        }
        let mut bytes = std::mem::take(&mut self.key);
        if let Some(db) = subject.key(segment, row, &mut bytes) {
            let key = Key { bytes: &bytes, db, hash: segment.hash(&bytes, db) };
            if tag_at(place.group, index) == tag(key.hash) {
                self.pass(subject.space.home(key.hash), number);
                self.twin(walk, place, key);
            } else {
                wrong(FindingKind::TagWrong, "whose key has another tag");
            }
        }
        self.key = bytes;
    }

    /// A key passed every group from its home to just before the one in which it stands.
    fn pass(&mut self, home: u32, stands: u32) {
        if home == stands {
            return;
        }
        self.passed[home as usize] += 1;
        self.passed[stands as usize] -= 1;
        if stands < home {
            self.passed[0] += 1;
        }
    }

    /// Looks for another row with the key, from its home to its place.
    fn twin(&mut self, walk: &mut Walk<'_>, place: Place<'_>, key: Key<'_>) {
        let (segment, subject) = (walk.segment, self.subject);
        let mut number = subject.space.home(key.hash);
        while self.effort > 0 {
            self.effort -= 1;
            let group = subject.space.group(segment, number);
            let end = if number == place.number { place.index } else { PLACES };
            let others = (0..end).filter(|&index| tag_at(group, index) == tag(key.hash));
            let rows = others.filter_map(|index| group.rows[index].load(Ordering::Acquire).checked_sub(1));
            let mut twins = rows.filter(|&row| {
                row != place.row && subject.is_live(segment, row) && subject.space.has_key(segment, row, key)
            });
            if let Some(twin) = twins.next() {
                walk.find(FindingKind::KeyTwice, &subject.place, u64::from(place.row), || {
                    format!("rows {twin} and {} have one key", place.row)
                });
                return;
            }
            if number == place.number {
                return;
            }
            number = subject.space.group_after(number);
        }
    }

    /// Compares the overflow counts with what passed each group.
    fn overflows(&self, walk: &mut Walk<'_>) {
        let mut passed = 0;
        for (number, more) in self.passed.iter().enumerate() {
            passed += i64::from(*more);
            let needed = passed.clamp(0, i64::from(counts::OVERFLOW)) as u32;
            let group = self.subject.space.group(walk.segment, number as u32);
            let counted = group.counts.load(Ordering::Acquire) & counts::OVERFLOW;
            walk.result.overflow_high += u64::from(counted > needed);
            if counted < needed {
                walk.find(FindingKind::OverflowLow, &self.subject.place, number as u64, || {
                    format!("{passed} keys passed group {number}, and {counted} are counted")
                });
            }
        }
    }
}

/// The live rows of a space.
#[derive(Default)]
struct Tally {
    rows: u64,
    /// Of records: keys, and those that can expire, of each database.
    keys: [u64; DATABASES],
    expiring: [u64; DATABASES],
}

/// The second pass.
fn rows(walk: &mut Walk<'_>, subject: &Subject, named: &Bits, blocks: &mut Blocks) -> Tally {
    let mut tally = Tally::default();
    for number in 0..subject.space.rows {
        row(walk, subject, number, named, blocks, &mut tally);
        walk.did(1);
    }
    tally
}

fn row(walk: &mut Walk<'_>, subject: &Subject, number: u32, named: &Bits, blocks: &mut Blocks, tally: &mut Tally) {
    let segment = walk.segment;
    let (Some(header), Some(words)) = (subject.header(segment, number), subject.space.words(segment, number)) else {
        return;
    };
    let mut wrong = |kind, text: &dyn Fn() -> String| {
        walk.find(kind, &subject.place, u64::from(number), || format!("row {number} {}", text()));
    };
    let (lock, sequence) = (header.lock.load(Ordering::Acquire), header.sequence.load(Ordering::Acquire));
    if lock != 0 {
        wrong(FindingKind::RowLocked, &|| format!("is locked: its lock word is {lock:#x}"));
    }
    if sequence > MAX_SEQUENCE {
        wrong(FindingKind::RowSequenceWild, &|| format!("has the sequence {sequence:#x}"));
    }
    if !row::is_live(sequence) {
        let hints = subject.space.hint_word(segment, number / 64).load(Ordering::Acquire);
        if hints >> (number % 64) & 1 == 0 {
            wrong(FindingKind::FreeRowLost, &|| "is free, and no hint says so".to_owned());
        }
        return;
    }
    tally.rows += 1;
    if !named.has(u64::from(number)) {
        wrong(FindingKind::RowNotIndexed, &|| "is live and not in the index".to_owned());
    }
    let expire_at = header.expire_at.load(Ordering::Acquire);
    if expire_at != 0 && !subject.expires {
        wrong(FindingKind::ExpiryUnnoted, &|| format!("expires at {expire_at}, and nobody looks for that here"));
    }
    let meta = header.meta.load(Ordering::Acquire);
    if !subject.is_sane(meta) {
        wrong(FindingKind::RowMetaDamaged, &|| format!("has the meta word {meta:#x}"));
    }
    if subject.is_keys() {
        let db = usize::from(row::flags(meta) & flag::DB);
        tally.keys[db] += 1;
        tally.expiring[db] += u64::from(expire_at != 0);
        record(walk, subject, number, meta, words, blocks);
    }
}

/// Looks at the value of a record, and marks its blocks.
fn record(walk: &mut Walk<'_>, subject: &Subject, number: u32, meta: u32, words: &[AtomicU64], blocks: &mut Blocks) {
    let word = |at: usize| words[at].load(Ordering::Acquire);
    let (len, outer) = (word(LEN_WORD), row::flags(meta) & flag::OUTER_KEY != 0);
    if outer {
        let len = row::key_len(meta);
        blocks.reach(walk, number, word(KEY_WORD), len as u64, len > CHUNK_BYTES);
    }
    if row::flags(meta) & flag::TYPE == flag::FIELDS {
        return blocks.reach_fields(walk, number, word(VALUE_WORD), len);
    }
    let before = if outer { 8 } else { row::key_len(meta) };
    let longest = match row::flags(meta) & flag::ENCODING {
        flag::INT => MAX_VALUE_BYTES,
        flag::BLOCK => CHUNK_BYTES,
        flag::TREE => MAX_VALUE_BYTES,
        _ => PAYLOAD.saturating_sub(before),
    };
    if len > longest as u64 {
        walk.find(FindingKind::ValueLengthWrong, &subject.place, u64::from(number), || {
            format!("row {number} has a value of {len} bytes, of {longest} possible")
        });
    }
    match row::flags(meta) & flag::ENCODING {
        flag::BLOCK => blocks.reach(walk, number, word(VALUE_WORD), len, false),
        flag::TREE => blocks.reach(walk, number, word(VALUE_WORD), len, true),
        _ => {}
    }
}

impl Tally {
    fn compare(&self, walk: &mut Walk<'_>, subject: &Subject) {
        let place = &subject.place;
        if !subject.is_keys() {
            match subject.space.id {
                COUNTERS_SPACE => walk.result.counters += self.rows,
                table if (table as usize) < MAX_TABLES => walk.result.rows += self.rows,
                _ => {}
            }
            return count_is(walk, place, row_cell(subject.space.id), self.rows, "rows");
        }
        walk.result.keys += self.rows;
        for db in 0..DATABASES {
            count_is(walk, place, key_cell(db as u8), self.keys[db], &format!("keys of database {db}"));
            let what = format!("expiring keys of database {db}");
            count_is(walk, place, expiring_cell(db as u8), self.expiring[db], &what);
        }
    }
}

/// Compares what all slots count in a cell with what there is.
pub(super) fn count_is(walk: &mut Walk<'_>, place: &str, cell: usize, is: u64, what: &str) {
    let cells = walk.segment.all_slots().map(|slot| slot.counts[cell].load(Ordering::Acquire));
    let counted = cells.fold(0, i64::wrapping_add);
    if counted != is as i64 {
        walk.find(FindingKind::CountWrong, place, cell as u64, || {
            format!("{counted} are counted, and there are {is}: {what}")
        });
    }
}
