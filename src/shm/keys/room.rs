//! Room for keys and values, where other keys may go for it; and what is known of the use of a key.

use std::{sync::atomic::Ordering, time::Duration};

use shm_layout::heap::CHUNK_BYTES;

use super::{
    super::{
        arena, evict, heap,
        locks::{Writer, patiently},
        rows::is_past,
        segment::Refusal,
        usage::{self, Usage},
    },
    Keys, OPTIMISM,
    record::Seen,
};

/// Keys that go in the first round; twice as many in each of the next.
const FIRST: usize = 8;
/// Rounds in which keys go by the policy alone, before pages are emptied for blocks of another size.
const EASY_ROUNDS: u32 = 4;
/// Rounds after which there is no room: a bound, whatever the others do meanwhile.
const MAX_ROUNDS: u32 = 16;
/// Records among which those that have expired go first.
const SWEPT: u64 = 1024;

impl Keys {
    /// Evicts, so that the next attempt finds room for a record (`records`) or for the blocks of a value.
    pub(super) fn make_room_by_evicting(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        round: u32,
        records: bool,
    ) -> Result<(), Refusal> {
        let segment = &self.segment;
        let wanted = if records { 0 } else { segment.wanted().load(Ordering::Relaxed) as usize };
        if round >= MAX_ROUNDS || (wanted > CHUNK_BYTES && wanted as u64 > arena::heap_bytes(segment)) {
            return Err(Refusal::OutOfMemory);
        }
        if round == 0 && Self::sweep(segment, SWEPT, now_ms) > 0 {
            return Ok(());
        }
        if !records && (wanted > CHUNK_BYTES || (round >= EASY_ROUNDS && round.is_multiple_of(2))) {
            evict::rebalance(segment, patience, now_ms, wanted)?;
            return Ok(());
        }
        let count = FIRST << round.min(5);
        let evicted = patiently(segment, patience, || evict::evict(segment, now_ms, count))?;
        if evicted == 0 && !evict::can_evict(segment, now_ms) {
            return Err(Refusal::OutOfMemory);
        }
        Ok(())
    }

    /// Evicts until the bytes in use are below the limit.
    ///
    /// # Errors
    ///
    /// [`Refusal::OutOfMemory`] if they are above it and nothing may go; [`Refusal::Busy`].
    pub fn make_room_below_limit(&self, patience: Option<Duration>, now_ms: u64) -> Result<(), Refusal> {
        patiently(&self.segment, patience, || evict::make_room_below_limit(&self.segment, now_ms))
    }

    /// What is known of the use of a key; `None` if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn usage(&self, patience: Option<Duration>, now_ms: u64, db: u8, key: &[u8]) -> Result<Option<Usage>, Refusal> {
        let seen = self.read_seen(patience, now_ms, db, key, None)?;
        let word = |seen: Seen| self.space.usage(&self.segment, seen.row).map_or(0, |at| at.load(Ordering::Relaxed));
        Ok(seen.map(|seen| usage::of_word(&self.segment, word(seen), now_ms)))
    }

    /// Notes that a key was used; false if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn touch(&self, patience: Option<Duration>, now_ms: u64, db: u8, key: &[u8]) -> Result<bool, Refusal> {
        let seen = self.read_seen(patience, now_ms, db, key, None)?;
        if let Some(seen) = &seen {
            usage::touch(&self.segment, &self.space, seen.row, now_ms);
        }
        Ok(seen.is_some())
    }

    /// Sets for how long a key has not been used, or how often it is; false if there is no such key.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn set_usage(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        idle_seconds: Option<u64>,
        frequency: Option<u32>,
    ) -> Result<bool, Refusal> {
        let seen = self.read_seen(patience, now_ms, db, key, None)?;
        if let Some(seen) = &seen {
            usage::set(&self.segment, &self.space, seen.row, now_ms, idle_seconds, frequency);
        }
        Ok(seen.is_some())
    }

    /// Bytes that a key takes: its record, its share of the index, and its blocks, of which a tree's are counted whole.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn bytes(&self, patience: Option<Duration>, now_ms: u64, db: u8, key: &[u8]) -> Result<Option<u64>, Refusal> {
        // Blocks of a record that has changed meanwhile may be anything.
        for _ in 0..OPTIMISM {
            let seen = self.read_seen(patience, now_ms, db, key, None)?;
            let bytes = seen.map(|seen| self.bytes_of(&seen));
            if seen.is_none_or(|seen| self.is_as(&seen)) {
                return Ok(bytes);
            }
        }
        patiently(&self.segment, patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            let seen = self.lock_key(&mut writer, self.key(db, key))?;
            Ok(seen.filter(|seen| !is_past(seen.expire_at(), now_ms)).map(|seen| self.bytes_of(&seen)))
        })
    }

    fn bytes_of(&self, seen: &Seen) -> u64 {
        let blocks = seen.value_block().into_iter().chain(seen.key_block());
        let blocks: u64 = blocks.map(|(block, form)| heap::bytes_of(&self.segment, block, form)).sum();
        shm_layout::keys::KEY_BYTES + INDEX_BYTES + blocks
    }
}

/// Bytes of the index for each key.
const INDEX_BYTES: u64 = 8;
