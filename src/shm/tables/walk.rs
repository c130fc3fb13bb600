//! Ways through all rows: pages of a scan, the sweep of what has expired, the clearing of a table.
//!
//! A walk goes by the numbers of the rows and not by the index, so a row that is present throughout is met exactly once, however
//! many others come and go meanwhile.

use std::{
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use shm_layout::{
    row::{self, EXPIRE_WORD},
    slot::{self, Held, lock},
};

use super::{
    super::{
        directory, gate, journal,
        locks::{Writer, patiently},
        rows::{self, is_past},
        segment::{Refusal, Segment},
        transaction,
    },
    OPTIMISM, Tables, copy, with_scratch,
};

/// Rows that one page of a scan looks at, per row asked for, before it returns what it has.
const SCAN_EFFORT: u64 = 64;

impl Tables {
    /// Reads rows from number `cursor` on until `out` was told of `count` of them, or a fair share of the table was
    /// looked at. Returns where to go on; 0 at the end. Every row that is present throughout is told of exactly once.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn scan(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        cursor: u64,
        count: usize,
        out: &mut dyn FnMut(&[u8], &[u64]),
    ) -> Result<u64, Refusal> {
        let end = u64::from(self.space.rows);
        let effort = (count as u64).saturating_mul(SCAN_EFFORT).max(1024);
        let last = cursor.saturating_add(effort).min(end);
        let (mut told, mut row) = (0, cursor);
        let mut key = Vec::new();
        while row < last && told < count {
            let present = with_scratch(self.row_words(), |scratch| {
                let present = self.read_row(patience, row as u32, scratch, &mut key)?;
                let told = present && !is_past(scratch[EXPIRE_WORD], now_ms);
                if told {
                    out(&key, scratch);
                }
                Ok(told)
            })?;
            told += usize::from(present);
            row += 1;
        }
        Ok(if row >= end { 0 } else { row })
    }

    /// Reads row number `row`; whether it is live.
    fn read_row(
        &self,
        patience: Option<Duration>,
        row: u32,
        scratch: &mut [u64],
        key: &mut Vec<u8>,
    ) -> Result<bool, Refusal> {
        for _ in 0..OPTIMISM {
            let Some(gate) = gate::sequence_if_open(&self.segment) else {
                break;
            };
            self.check_current()?;
            let Some(header) = self.space.header(&self.segment, row) else {
                return Ok(false);
            };
            let sequence = header.sequence.load(Ordering::Acquire);
            let live = row::is_live(sequence);
            let idle = live || header.lock.load(Ordering::Acquire) & lock::OWNER == 0;
            self.copy_with_key(row, header, scratch, key);
            fence(Ordering::Acquire);
            let steady = header.sequence.load(Ordering::Relaxed) == sequence && gate::unchanged(&self.segment, gate);
            if idle && steady {
                self.check_current()?;
                return Ok(live);
            }
            std::hint::spin_loop();
        }
        patiently(&self.segment, patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            self.check_current()?;
            let Some(header) = self.space.header(&self.segment, row) else {
                return Ok(false);
            };
            writer.lock(Held::Row(self.space.id, row), &header.lock)?;
            self.copy_with_key(row, header, scratch, key);
            let live = row::is_live(header.sequence.load(Ordering::Relaxed));
            if !live {
                self.space.set_hint(&self.segment, row);
            }
            Ok(live)
        })
    }

    fn copy_with_key(&self, row: u32, header: &row::Header, scratch: &mut [u64], key: &mut Vec<u8>) {
        if let Some(words) = self.space.words(&self.segment, row) {
            copy(words, scratch);
        }
        let len = row::key_len(header.meta.load(Ordering::Relaxed)).min(self.listing.spec.key_bytes as usize);
        let bytes: &[u8] = bytemuck::cast_slice(scratch);
        key.clear();
        key.extend_from_slice(&bytes[self.key_at()..self.key_at() + len]);
    }

    /// Deletes every row.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn clear(&self, patience: Option<Duration>) -> Result<(), Refusal> {
        gate::behind(&self.segment, patience, |gate| {
            self.check_current()?;
            let writer = gate.writer();
            if transaction::is_open(writer.slot()) {
                return rows::delete_logged(writer, &self.space, self.space.rows, &|_| true);
            }
            journal::carry_out_gated(writer, slot::op::CLEAR, [u64::from(self.space.id), 0]);
            Ok(())
        })
    }

    /// Frees expired rows among the next `rows` of the table's sweep; how many.
    pub(crate) fn sweep(segment: &Segment, index: usize, rows: u64, now_ms: u64) -> usize {
        let entry = segment.entry(index);
        if entry.expires.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let Ok(mut writer) = Writer::enter(segment) else {
            return 0;
        };
        let Some(space) = directory::space(segment, index) else {
            return 0;
        };
        let start = entry.sweep.fetch_add(rows, Ordering::Relaxed);
        rows::free_expired_from(&mut writer, &space, u64::from(space.rows), start, rows, now_ms)
    }
}
