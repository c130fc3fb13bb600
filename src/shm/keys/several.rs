//! A change of several keys by a function of all of them, in one atomic step.
//!
//! As for one key, it looks first, without a lock, and decides and prepares then; it locks all records, and goes through only if each
//! is still what it looked at. After [`DEFEATS`] lost races it locks first.

use std::time::Duration;

use super::{
    super::{
        batch::{self, Few},
        heap,
        journal::{Intent, RowChange},
        locks::Writer,
        rows::is_past,
        segment::Refusal,
        space::Key,
    },
    Change, Keys, Record,
    change::{DEFEATS, Step},
    record::{Encoded, Seen, Tally, replaced_block},
};
use shm_layout::{KEYS_SPACE, row::EXPIRE_WORD, slot::action};

/// What was seen of a key, and its value if that was asked for. What cannot be read counts as absent.
struct Look {
    seen: Option<Seen>,
    value: Vec<u8>,
    sound: bool,
}

impl Look {
    fn record(&self, now_ms: u64) -> Option<Record<'_>> {
        let live = self.seen.filter(|seen| self.sound && !is_past(seen.expire_at(), now_ms))?;
        Some(Record { kind: live.kind(), value: &self.value, expire_at: live.expire_at() })
    }
}

impl Keys {
    /// Changes several keys, which differ: database, key, and whether the change is to be shown its value. The change answers for
    /// each of them, or with nothing, which leaves them all as they are.
    ///
    /// # Errors
    ///
    /// As [`Keys::change`].
    pub fn change_many<'v>(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        targets: &[(u8, &[u8], bool)],
        change: &mut dyn FnMut(&[Option<Record<'_>>]) -> Vec<Change<'v>>,
    ) -> Result<(), Refusal> {
        let mut defeats = 0;
        self.with_room(patience, now_ms, &mut |writer| {
            let held = writer.held();
            let keys: Few<Key<'_>> = targets.iter().map(|&(db, key, _)| self.key(db, key)).collect();
            self.fetch_hashed(keys.iter().map(|key| key.hash));
            let step = self.try_change_many(writer, now_ms, &keys, targets, defeats >= DEFEATS, change);
            writer.unlock_to(held);
            defeats += u32::from(matches!(step, Ok(Step::Again)));
            step
        })
    }

    fn try_change_many<'a, 'v>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>],
        targets: &[(u8, &[u8], bool)],
        lock_first: bool,
        change: &mut dyn FnMut(&[Option<Record<'_>>]) -> Vec<Change<'v>>,
    ) -> Result<Step, Refusal> {
        let looks = if lock_first { self.look_locked(writer, keys, targets)? } else { self.look_many(keys, targets) };
        let Some(looks) = looks else {
            return Ok(Step::Again);
        };
        let records: Few<_> = looks.iter().map(|look| look.record(now_ms)).collect();
        let mut wanted = change(&records);
        for (wanted, record) in wanted.iter_mut().zip(&records) {
            // There is nothing to remove, and what has expired is left to the sweep.
            if record.is_none() && !matches!(wanted, Change::Set(..)) {
                *wanted = Change::Leave;
            }
        }
        if wanted.iter().all(|wanted| *wanted == Change::Leave) {
            return Ok(Step::Done);
        }
        let mut encoded = Few::with_capacity(keys.len());
        for ((key, look), wanted) in keys.iter().zip(&looks).zip(&wanted) {
            encoded.push(self.encode_change(writer, *key, look.seen.as_ref(), wanted)?);
        }
        if !lock_first && !self.lock_looked(writer, keys, looks.iter().map(|look| look.seen))? {
            return Ok(Step::Again);
        }
        self.carry_out_many(writer, keys, &looks, &wanted, &encoded)
    }

    /// Looks at all keys as of one instant; `None` if they did not hold still.
    fn look_many(&self, keys: &[Key<'_>], targets: &[(u8, &[u8], bool)]) -> Option<Few<Look>> {
        let mut looks = Few::with_capacity(keys.len());
        let steady = batch::read_unlocked(&self.segment, &self.space, keys, |i, found| {
            let mut value = Vec::new();
            let seen = match found {
                None => None,
                Some(found) => match self.look_at(found, targets[i].2.then_some(&mut value)) {
                    None => return false,
                    seen => seen,
                },
            };
            looks.push(Look { seen, value, sound: true });
            true
        });
        steady.then_some(looks)
    }

    fn look_locked<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        keys: &[Key<'_>],
        targets: &[(u8, &[u8], bool)],
    ) -> Result<Option<Few<Look>>, Refusal> {
        let found = self.lock_keys(writer, keys)?;
        let look = |(seen, target): (Option<Seen>, &(u8, &[u8], bool))| {
            let mut value = Vec::new();
            let sound = !target.2 || seen.is_none_or(|seen| seen.read_value(&self.segment, &mut value));
            Look { seen, value, sound }
        };
        Ok(found.map(|found| found.into_iter().zip(targets).map(look).collect()))
    }

    /// Locks what was looked at: the home groups of keys that are absent and then the records of the others, in order; false if one
    /// has changed since.
    pub(super) fn lock_looked<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        keys: &[Key<'_>],
        looked: impl Iterator<Item = Option<Seen>> + Clone,
    ) -> Result<bool, Refusal> {
        let absent = || keys.iter().zip(looked.clone()).filter(|(_, seen)| seen.is_none()).map(|(key, _)| *key);
        batch::lock_homes(writer, &self.space, absent())?;
        if absent().any(|key| self.space.find(&self.segment, key).is_some()) {
            return Ok(false);
        }
        let mut records: Few<Seen> = looked.clone().flatten().collect();
        records.sort_unstable_by_key(|seen| seen.row);
        records.dedup_by_key(|seen| seen.row);
        for seen in &records {
            if !self.lock_seen(writer, seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn encode_change(
        &self,
        writer: &Writer<'_>,
        key: Key<'_>,
        seen: Option<&Seen>,
        wanted: &Change<'_>,
    ) -> Result<Option<Encoded>, Refusal> {
        match (wanted, seen) {
            (Change::Set(value, expire_at), _) => self.encode(writer, key, value, *expire_at, seen).map(Some),
            (Change::Expire(expire_at), Some(seen)) => {
                let mut words = seen.words;
                words[EXPIRE_WORD] = *expire_at;
                Ok(Some(Encoded { flags: seen.flags(), words }))
            }
            _ => Ok(None),
        }
    }

    /// Claims the records that are missing, lists all changes in one intent, and carries it out. Everything is locked.
    fn carry_out_many<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        keys: &[Key<'_>],
        looks: &[Look],
        wanted: &[Change<'_>],
        encoded: &[Option<Encoded>],
    ) -> Result<Step, Refusal> {
        let absent =
            looks.iter().zip(encoded).filter(|(look, encoded)| look.seen.is_none() && encoded.is_some()).count();
        let Some(claimed) = self.claim_many(writer, absent) else {
            return Ok(Step::NoRoom);
        };
        let mut intent = Intent::new();
        let mut tallies = Tallies::new();
        let mut unused = claimed.iter();
        for (((key, look), wanted), encoded) in keys.iter().zip(looks).zip(wanted).zip(encoded) {
            let tally = tallies.of(writer, key.db);
            match (encoded, look.seen) {
                (Some(encoded), Some(seen)) => {
                    self.list_update(writer, &mut intent, *key, &seen, encoded, tally);
                    if let Some((block, form)) = replaced_block(&seen, encoded) {
                        heap::list_old(writer.slot(), block, form);
                    }
                }
                (Some(encoded), None) => {
                    let free = unused.next().expect("a record was claimed for every absent key");
                    self.list_insert(writer, &mut intent, *key, free, encoded, tally);
                }
                (None, Some(seen)) if *wanted == Change::Remove => {
                    let blocks = seen.value_block().into_iter().chain(seen.key_block());
                    blocks.for_each(|(block, form)| heap::list_old(writer.slot(), block, form));
                    self.list_removal(writer, &mut intent, *key, &seen, tally);
                }
                _ => {}
            }
        }
        intent.carry_out(writer, &self.space)?;
        Ok(Step::Done)
    }

    /// Lists that a record goes; its blocks are the caller's affair.
    pub(super) fn list_removal(
        &self,
        writer: &Writer<'_>,
        intent: &mut Intent,
        key: Key<'_>,
        seen: &Seen,
        tally: &mut Tally,
    ) {
        let change = RowChange {
            action: action::DELETE,
            row: seen.row,
            meta: seen.meta,
            sequence: seen.sequence,
            hash: key.hash,
            cells: tally.after(-1, -i64::from(seen.expire_at() != 0)),
        };
        intent.push(&self.segment, writer.slot(), KEYS_SPACE, &change, 0, &[]);
    }
}

/// The counts of the databases that an operation is about.
pub(super) struct Tallies(Few<(u8, Tally)>);

impl Tallies {
    /// None yet.
    pub(super) fn new() -> Self {
        Self(Few::new())
    }

    /// That of a database.
    pub(super) fn of(&mut self, writer: &Writer<'_>, db: u8) -> &mut Tally {
        let at = self.0.iter().position(|(other, _)| *other == db).unwrap_or_else(|| {
            self.0.push((db, Tally::of(writer.slot(), db)));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}
