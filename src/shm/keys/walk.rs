//! Ways through all records: pages of a scan, some key by chance, the sweep of what has expired, the flush.
//!
//! A walk goes by the numbers of the records and not by the index, so a key that is present throughout is met, however many others come
//! and go meanwhile.

use std::{
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use shm_layout::{
    keys::{KEY_WORD, VALUE_WORD, flag},
    limits::DATABASES,
    row,
    slot::{self, lock, op},
};

use super::{
    super::{
        crash::point,
        evict, gate, heap, journal,
        locks::{self, Attempt, Writer, patiently},
        rows::{self, is_past},
        segment::{Refusal, Segment},
        transaction,
    },
    Keys,
    record::{blocks_of, read_key},
};

/// Records that one page of a scan looks at, per key asked for.
const SCAN_EFFORT: u64 = 16;

impl Keys {
    /// Records that exist so far, in use or not.
    fn records(&self) -> u64 {
        let pages = self.segment.header().record_pages.load(Ordering::Acquire).min(self.segment.geometry().key_pages);
        (pages * u64::from(shm_layout::keys::PAGE_RECORDS)).min(u64::from(self.space.rows))
    }

    /// Reads the key of a record if it is live, in `db` and not expired. What cannot be read although nobody is at it is damaged, and not there.
    fn key_at(&self, now_ms: u64, db: u8, row: u32, key: &mut Vec<u8>) -> Result<bool, Refusal> {
        let mut attempt = Attempt::default();
        loop {
            let gate = gate::sequence(&self.segment, &mut attempt)?;
            let db = self.records_db(db);
            key.clear();
            let (Some(header), Some(words)) = (self.header(row), self.space.words(&self.segment, row)) else {
                return Ok(false);
            };
            let sequence = header.sequence.load(Ordering::Acquire);
            let live = row::is_live(sequence);
            let owner = header.lock.load(Ordering::Acquire) & lock::OWNER;
            let meta = header.meta.load(Ordering::Relaxed);
            let past = is_past(header.expire_at.load(Ordering::Relaxed), now_ms);
            let sound = live && read_key(&self.segment, meta, words, key);
            fence(Ordering::Acquire);
            let steady = header.sequence.load(Ordering::Relaxed) == sequence && gate::unchanged(&self.segment, gate);
            if steady && (sound || owner == 0) {
                return Ok(sound && !past && row::flags(meta) & flag::DB == u16::from(db));
            }
            locks::wait_for_owner(&self.segment, &header.lock, &mut attempt)?;
        }
    }

    /// The next keys of `db`, about `count` of them, from `cursor` on; where to go on, 0 at the end. A key that is
    /// present throughout is told of.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn scan(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        cursor: u64,
        count: usize,
        out: &mut dyn FnMut(&[u8]),
    ) -> Result<u64, Refusal> {
        let end = self.records();
        let effort = (count as u64).saturating_mul(SCAN_EFFORT).max(1024);
        let last = cursor.saturating_add(effort).min(end);
        let (mut told, mut row) = (0, cursor);
        let mut key = Vec::new();
        while row < last && told < count {
            if patiently(&self.segment, patience, || self.key_at(now_ms, db, row as u32, &mut key))? {
                out(&key);
                told += 1;
            }
            row += 1;
        }
        Ok(if row >= end { 0 } else { row })
    }

    /// Some key of `db`: `random` gives numbers to choose by.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn random(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        random: &mut dyn FnMut() -> u64,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let records = self.records();
        let mut key = Vec::new();
        // Records of other databases need not be looked at for that.
        if records == 0 || self.len(patience, db)? == 0 {
            return Ok(None);
        }
        for _ in 0..128 {
            let row = (random() % records) as u32;
            if patiently(&self.segment, patience, || self.key_at(now_ms, db, row, &mut key))? {
                return Ok(Some(key));
            }
        }
        // So few keys that chance does not hit one: the next from some place on.
        let start = random() % records;
        for row in (start..records).chain(0..start) {
            if patiently(&self.segment, patience, || self.key_at(now_ms, db, row as u32, &mut key))? {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Deletes every key of one database, or of all.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn flush(&self, patience: Option<Duration>, db: Option<u8>) -> Result<(), Refusal> {
        gate::behind(&self.segment, patience, |gate| {
            if transaction::is_open(gate.writer().slot()) {
                let wanted = |header: &row::Header| {
                    let flags = row::flags(header.meta.load(Ordering::Relaxed));
                    db.is_none_or(|db| flags & flag::DB == u16::from(self.records_db(db)))
                };
                return rows::delete_logged(gate.writer(), &self.space, self.records() as u32, &wanted);
            }
            let db = db.map_or(DATABASES as u64, |db| u64::from(self.records_db(db)));
            journal::carry_out_gated(gate.writer(), op::FLUSH, [db, 0]);
            Ok(())
        })
    }

    /// Frees expired keys among the next `records` of the sweep; how many.
    pub(crate) fn sweep(segment: &Segment, records: u64, now_ms: u64) -> usize {
        let keys = Self::new(segment);
        let all = keys.records();
        if segment.header().keys_expire.load(Ordering::Relaxed) == 0 || all == 0 {
            return 0;
        }
        let Ok(mut writer) = Writer::enter(segment) else {
            return 0;
        };
        let start = segment.header().keys_sweep.fetch_add(records, Ordering::Relaxed);
        rows::free_expired_from(&mut writer, &keys.space, all, start, records, now_ms)
    }

    fn flush_record(&self, row: u32, db: u8, all: bool) {
        let (Some(header), Some(words)) = (self.header(row), self.space.words(&self.segment, row)) else {
            return;
        };
        let (sequence, meta) = (header.sequence.load(Ordering::Relaxed), header.meta.load(Ordering::Relaxed));
        if !row::is_live(sequence) || !(all || row::flags(meta) & flag::DB == u16::from(db)) {
            return;
        }
        if !all {
            let mut key = Vec::new();
            read_key(&self.segment, meta, words, &mut key);
            let hash = self.segment.hash(&key, (row::flags(meta) & flag::DB) as u8);
            self.space.unpublish(&self.segment, hash, row, false);
        }
        let word = |at: usize| words[at].load(Ordering::Relaxed);
        // The statistics of freed blocks are kept by some slot or other.
        let slot = self.segment.slot(1);
        for (block, form) in blocks_of(meta, word(KEY_WORD), word(VALUE_WORD)) {
            heap::free(&self.segment, slot, block, form, None);
        }
        // The hint first: whoever carries the flush out once more passes over a record that is free already.
        self.space.set_hint(&self.segment, row);
        point("record-hinted");
        header.sequence.store(sequence | 1, Ordering::Release);
        evict::account(&self.segment, slot, -(shm_layout::keys::KEY_BYTES as i64));
    }
}

/// Carries a flush out. Behind the gate; doing it twice is doing it once.
pub(crate) fn finish_flush(segment: &Segment, db: u8) {
    let keys = Keys::new(segment);
    let all = usize::from(db) >= DATABASES;
    if all {
        keys.space.clear_index(segment);
    }
    for row in 0..keys.records() as u32 {
        keys.flush_record(row, db, all);
    }
    for db in (0..DATABASES as u8).filter(|&other| all || other == db) {
        segment.zero_cell(slot::key_cell(db));
        segment.zero_cell(slot::expiring_cell(db));
    }
    segment.all_slots().for_each(|slot| {
        slot.freed_rows.fetch_add(1, Ordering::AcqRel);
    });
}
