//! Several keys in one atomic step.
//!
//! Up to [`MAX_BATCH_ROWS`] keys are locked, each of them; for more the gate is closed, and nothing needs a lock. What such an
//! operation lists does not fit into its slot: its entries stand in chunks of the heap, its blocks in ledgers.

use std::{collections::HashSet, sync::atomic::Ordering, time::Duration};

use shm_layout::{heap::CHUNK_BYTES, limits::MAX_BATCH_ROWS, row};

use super::{
    super::{
        arena,
        batch::{self, Few},
        gate::{self, Gate},
        heap::{self, Form, Ledger},
        journal::{CHUNK_ENTRIES, Intent},
        locks::{Writer, patiently},
        rows::{FreeRow, is_past},
        segment::Refusal,
        space::Key,
        usage,
    },
    Keys, Kind, OPTIMISM,
    change::Step,
    record::{Seen, Tally, replaced_block},
};

/// How several keys are set at once.
pub struct SetRule<'r> {
    /// Whether a key may be set that is present, or is not.
    pub allows: &'r dyn Fn(bool) -> bool,
    /// The expiry that a key gets which had this one; 0: none.
    pub expire_at: &'r dyn Fn(u64) -> u64,
}

impl SetRule<'_> {
    /// Every key is set, without expiry.
    pub const ANY: SetRule<'static> = SetRule { allows: &|_| true, expire_at: &|_| 0 };

    fn allows(&self, seen: Option<&Seen>, now_ms: u64) -> bool {
        (self.allows)(seen.is_some_and(|seen| !is_past(seen.expire_at(), now_ms)))
    }

    fn expiry(&self, seen: Option<&Seen>, now_ms: u64) -> u64 {
        let before = seen.map_or(0, Seen::expire_at);
        (self.expire_at)(if is_past(before, now_ms) { 0 } else { before })
    }
}

impl Keys {
    /// Sets several keys in one atomic step. The keys differ. None if the rule does not allow one of them; whether it set them.
    ///
    /// # Errors
    ///
    /// As [`Keys::change`].
    pub fn set_many(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        pairs: &[(&[u8], &[u8])],
        rule: &SetRule<'_>,
    ) -> Result<bool, Refusal> {
        let keys = || -> Vec<Key<'_>> { pairs.iter().map(|(key, _)| self.key(db, key)).collect() };
        let mut written = false;
        if pairs.len() > MAX_BATCH_ROWS {
            for round in 0.. {
                let set = |gate: &mut Gate<'_>| self.set_behind_gate(gate, now_ms, db, &keys(), pairs, rule);
                let outcome = gate::behind(&self.segment, patience, set);
                match outcome {
                    Err(Refusal::OutOfMemory) => self.make_room(patience, now_ms, round, true)?,
                    outcome => return outcome,
                }
            }
        }
        self.with_room(patience, now_ms, &mut |writer| {
            let held = writer.held();
            let step = self.try_set_many(writer, now_ms, db, &keys(), pairs, rule, &mut written);
            writer.unlock_to(held);
            step
        })?;
        Ok(written)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    fn try_set_many<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        db: u8,
        keys: &[Key<'_>],
        pairs: &[(&[u8], &[u8])],
        rule: &SetRule<'_>,
        written: &mut bool,
    ) -> Result<Step, Refusal> {
        *written = false;
        let Some(found) = self.lock_keys(writer, keys)? else {
            return Ok(Step::Again);
        };
        if !found.iter().all(|seen| rule.allows(seen.as_ref(), now_ms)) {
            return Ok(Step::Done);
        }
        let mut encoded = Vec::with_capacity(keys.len());
        for ((key, pair), seen) in keys.iter().zip(pairs).zip(&found) {
            encoded.push(self.encode(writer, *key, pair.1, rule.expiry(seen.as_ref(), now_ms), seen.as_ref())?);
        }
        let Some(claimed) = self.claim_many(writer, found.iter().filter(|seen| seen.is_none()).count()) else {
            return Ok(Step::NoRoom);
        };
        let mut intent = Intent::new();
        let mut tally = Tally::of(writer.slot(), self.records_db(db));
        let mut unused = claimed.iter();
        for ((key, encoded), seen) in keys.iter().zip(&encoded).zip(&found) {
            match seen {
                Some(seen) => {
                    self.list_replacement(writer, &mut intent, *key, seen, encoded, &mut tally);
                }
                None => {
                    let free = unused.next().expect("a record was claimed for every absent key");
                    self.list_insert(writer, &mut intent, *key, free, encoded, &mut tally);
                }
            }
        }
        intent.carry_out(writer, &self.space)?;
        *written = true;
        Ok(Step::Done)
    }

    pub(super) fn claim_many<'a>(&'a self, writer: &mut Writer<'a>, count: usize) -> Option<Few<FreeRow>> {
        let mut claimed = Few::with_capacity(count);
        while claimed.len() < count {
            match self.claim(writer) {
                Some(free) => claimed.push(free),
                None => {
                    // These records stay free: their hints come back before their locks go.
                    claimed.iter().for_each(|free| self.space.set_hint(&self.segment, free.row));
                    return None;
                }
            }
        }
        Some(claimed)
    }

    /// Locks the home groups and the records of all keys, in order; `None` if a record changed hands meanwhile.
    pub(super) fn lock_keys<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        keys: &[Key<'_>],
    ) -> Result<Option<Few<Option<Seen>>>, Refusal> {
        let rows = batch::lock_all(writer, &self.space, keys)?;
        Ok(rows.map(|rows| rows.iter().map(|found| found.as_ref().map(Self::snapshot)).collect()))
    }

    /// Sets more keys than an operation can lock.
    fn set_behind_gate(
        &self,
        gate: &mut Gate<'_>,
        now_ms: u64,
        db: u8,
        keys: &[Key<'_>],
        pairs: &[(&[u8], &[u8])],
        rule: &SetRule<'_>,
    ) -> Result<bool, Refusal> {
        let writer = gate.writer();
        let outcome = self.list_behind_gate(writer, now_ms, db, keys, pairs, rule);
        let Some((intent, claimed)) = outcome? else {
            return Ok(false);
        };
        intent.carry_out(writer, &self.space)?;
        // Until now a death would have left these records free, and their hints are how they would be found.
        for row in claimed {
            self.space.take_hint(&self.segment, row);
        }
        Ok(true)
    }

    fn list_behind_gate(
        &self,
        writer: &Writer<'_>,
        now_ms: u64,
        db: u8,
        keys: &[Key<'_>],
        pairs: &[(&[u8], &[u8])],
        rule: &SetRule<'_>,
    ) -> Result<Option<(Intent, HashSet<u32>)>, Refusal> {
        let see = |key: &Key<'_>| {
            let found = self.space.find(&self.segment, *key)?;
            Some(Self::snapshot(&found))
        };
        if !keys.iter().all(|key| rule.allows(see(key).as_ref(), now_ms)) {
            return Ok(None);
        }
        let slot = writer.slot();
        let chunks = keys.len().div_ceil(CHUNK_ENTRIES);
        let tree = heap::take_tree(writer, chunks * CHUNK_BYTES).ok_or(Refusal::OutOfMemory)?;
        heap::list_old(slot, tree, Form::Chunks);
        let mut intent = Intent::in_chunks(tree);
        let mut tally = Tally::of(slot, self.records_db(db));
        let (mut new, mut old) = (None::<Ledger>, None::<Ledger>);
        let mut claimed = HashSet::new();
        for (key, pair) in keys.iter().zip(pairs) {
            let seen = see(key);
            // What a ledger of new blocks lists stays in use after the commit; only the list itself goes.
            let new = ledger_with_room(writer, &mut new, || {
                let ledger = Ledger::of_new(writer)?;
                heap::list_old(slot, ledger.block(), Form::Plain);
                Some(ledger)
            })?;
            let listed = slot.journal.new_len.load(Ordering::Relaxed);
            let encoded = self.encode(writer, *key, pair.1, rule.expiry(seen.as_ref(), now_ms), seen.as_ref());
            while slot.journal.new_len.load(Ordering::Relaxed) > listed {
                new.adopt_last(writer);
            }
            let encoded = encoded?;
            match seen {
                Some(seen) => {
                    self.list_update(writer, &mut intent, *key, &seen, &encoded, &mut tally);
                    let ledger = ledger_with_room(writer, &mut old, || {
                        let ledger = Ledger::of_old(writer)?;
                        heap::list_old(slot, ledger.block(), Form::Ledger);
                        Some(ledger)
                    })?;
                    if let Some((block, form)) = replaced_block(&seen, &encoded) {
                        ledger.list(&self.segment, block, form);
                    }
                }
                None => {
                    let free = self.claim_alone(writer, &mut claimed).ok_or(Refusal::OutOfMemory)?;
                    self.list_insert(writer, &mut intent, *key, &free, &encoded, &mut tally);
                }
            }
        }
        Ok(Some((intent, claimed)))
    }

    /// Claims a free record behind the gate, where a lock is not needed: one that was not claimed before.
    fn claim_alone(&self, writer: &Writer<'_>, claimed: &mut HashSet<u32>) -> Option<FreeRow> {
        let (segment, space) = (&self.segment, &self.space);
        let (words, cursor) = (space.hint_words(), segment.keys_cursor());
        let is_free = |row: u32| self.header(row).is_some() && !row::is_live(self.sequence(row));
        let mut claim = || {
            let start = cursor.load(Ordering::Relaxed) % words;
            (start..words).chain(0..start).find_map(|index| {
                let hints = space.hint_word(segment, index).load(Ordering::Relaxed);
                let hinted = (0..64).filter(|bit| (hints >> bit) & 1 == 1).map(|bit| 64 * index + bit);
                let row = { hinted }.find(|&row| is_free(row) && claimed.insert(row))?;
                cursor.store(index, Ordering::Relaxed);
                Some(FreeRow { row, sequence: self.sequence(row) })
            })
        };
        claim().or_else(|| arena::add_records(writer, space).then(claim).flatten())
    }

    /// Several values as of one instant; there is none of what is not a string.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn read_many(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, Refusal> {
        let count = keys.len();
        let keys = || -> Vec<Key<'_>> { keys.iter().map(|key| self.key(db, key)).collect() };
        for _ in 0..OPTIMISM {
            let gate = gate::sequence_if_open(&self.segment);
            let values = self.try_read_many(now_ms, &keys());
            if let Some(values) = values
                && gate.is_some_and(|gate| gate::unchanged(&self.segment, gate))
            {
                return Ok(values);
            }
            std::hint::spin_loop();
        }
        if count > MAX_BATCH_ROWS {
            return gate::behind(&self.segment, patience, |_| {
                keys().iter().map(|key| self.value_alone(now_ms, *key)).collect()
            });
        }
        patiently(&self.segment, patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            let keys = keys();
            loop {
                if let Some(found) = self.lock_keys(&mut writer, &keys)? {
                    let live = |seen: &Seen| is_string(seen, now_ms);
                    return Ok(found.iter().map(|seen| seen.filter(live).map(|seen| self.value_of(&seen))).collect());
                }
                writer.again()?;
            }
        })
    }

    fn value_of(&self, seen: &Seen) -> Vec<u8> {
        let mut value = Vec::new();
        seen.read_value(&self.segment, &mut value);
        value
    }

    fn value_alone(&self, now_ms: u64, key: Key<'_>) -> Result<Option<Vec<u8>>, Refusal> {
        let found = self.space.find(&self.segment, key);
        let seen = found.as_ref().map(Self::snapshot);
        Ok(seen.filter(|seen| is_string(seen, now_ms)).map(|seen| self.value_of(&seen)))
    }

    fn try_read_many(&self, now_ms: u64, keys: &[Key<'_>]) -> Option<Vec<Option<Vec<u8>>>> {
        let mut values = Vec::with_capacity(keys.len());
        let steady = batch::read_unlocked(&self.segment, &self.space, keys, |_, found| {
            let mut value = Vec::new();
            let seen = match found {
                None => None,
                Some(found) => match self.look_at(found, Some(&mut value)) {
                    None => return false,
                    seen => seen,
                },
            };
            values.push(seen.filter(|seen| is_string(seen, now_ms)).map(|seen| {
                usage::touch(&self.segment, &self.space, seen.row, now_ms);
                value
            }));
            true
        });
        steady.then_some(values)
    }
}

/// The ledger, or the next one once it is full.
fn ledger_with_room<'l>(
    writer: &Writer<'_>,
    ledger: &'l mut Option<Ledger>,
    take: impl FnOnce() -> Option<Ledger>,
) -> Result<&'l Ledger, Refusal> {
    if ledger.as_ref().is_none_or(|ledger| !ledger.has_room(writer.segment())) {
        *ledger = Some(take().ok_or(Refusal::OutOfMemory)?);
    }
    ledger.as_ref().ok_or(Refusal::OutOfMemory)
}

fn is_string(seen: &Seen, now_ms: u64) -> bool {
    seen.kind() == Kind::Bytes && !is_past(seen.expire_at(), now_ms)
}
