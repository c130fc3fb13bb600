//! A key whose value follows from other keys, as in COPY and BITOP. One is written, the others are read, in one atomic step.
//!
//! As for one key, it looks first, without a lock, and decides and prepares then. Then it locks all of them, those that are only read too, and
//! goes through only if each is still what it looked at: so there is an instant at which all was as it was read and the result is
//! there. After [`DEFEATS`] lost races it locks first.

use std::time::Duration;

use super::{
    super::{
        batch::{self, Few},
        journal::Intent,
        locks::Writer,
        rows::is_past,
        segment::Refusal,
        space::Key,
    },
    Change, Keys, Record,
    change::{DEFEATS, Step},
    record::{Seen, Tally},
};

/// Says what becomes of a key, by what the others hold and what it is itself; its own value is not shown. The answer is no [`Change::Expire`].
pub type Derive<'d> = dyn for<'s> FnMut(&[Option<Record<'s>>], Option<Record<'s>>) -> Change<'s> + 'd;

impl Keys {
    /// Makes of the key `to` what follows from `sources`: databases and keys, of which `to` may be one. The change may be asked several times.
    ///
    /// # Errors
    ///
    /// As [`Keys::change`].
    pub fn derive(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        sources: &[(u8, &[u8])],
        to: (u8, &[u8]),
        change: &mut Derive<'_>,
    ) -> Result<(), Refusal> {
        let (mut values, mut defeats) = (Vec::new(), 0);
        self.with_room(patience, now_ms, &mut |writer| {
            let held = writer.held();
            // Inside: a swap of databases would come in between.
            let keys: Few<Key<'_>> = sources.iter().chain([&to]).map(|&(db, key)| self.key(db, key)).collect();
            values.clear();
            let step = self.try_derive(writer, now_ms, &keys, defeats >= DEFEATS, &mut values, change);
            writer.unlock_to(held);
            defeats += u32::from(matches!(step, Ok(Step::Again)));
            step
        })
    }

    /// `keys` are the sources and the one that is written. The sources' values go into `values`, one behind the other.
    fn try_derive<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>],
        lock_first: bool,
        values: &mut Vec<u8>,
        change: &mut Derive<'_>,
    ) -> Result<Step, Refusal> {
        let mut ends = Few::new();
        let seen = if lock_first {
            let seen = self.lock_keys(writer, keys)?;
            seen.map(|seen| self.read_locked_values(seen, values, &mut ends))
        } else {
            self.fetch_hashed(keys.iter().map(|key| key.hash));
            self.look_at_sources(keys, values, &mut ends)
        };
        let Some(seen) = seen else {
            return Ok(Step::Again);
        };
        let (key, before) = (keys[keys.len() - 1], seen[keys.len() - 1]);
        let live = |seen: &Option<Seen>| seen.filter(|seen| !is_past(seen.expire_at(), now_ms));
        let mut start = 0;
        let shown: Few<Option<Record<'_>>> = seen
            .iter()
            .zip(&ends)
            .map(|(seen, &end)| {
                let value = &values[start..end];
                start = end;
                live(seen).map(|seen| Record { kind: seen.kind(), value, expire_at: seen.expire_at() })
            })
            .collect();
        let target = live(&before).map(|seen| Record { kind: seen.kind(), value: &[], expire_at: seen.expire_at() });
        let wanted = change(&shown, target);
        let encoded = match &wanted {
            Change::Set(value, expire_at) => Some(self.encode(writer, key, value, *expire_at, before.as_ref())?),
            _ => None,
        };
        // Whatever was decided: it must have been so at one instant.
        if !lock_first && !self.lock_looked(writer, keys, &seen)? {
            return Ok(Step::Again);
        }
        let (mut intent, mut tally) = (Intent::new(), Tally::of(writer.slot(), key.db));
        match (encoded, live(&before)) {
            (Some(encoded), _) => {
                if !self.put(writer, &mut intent, key, before.as_ref(), &encoded, &mut tally) {
                    return Ok(Step::NoRoom);
                }
            }
            (None, Some(before)) if wanted == Change::Remove => {
                self.list_gone(writer, &mut intent, key, &before, &mut tally)
            }
            (None, _) => return Ok(Step::Done),
        }
        intent.carry_out(writer, &self.space)?;
        Ok(Step::Done)
    }

    /// Looks at all keys, one after the other, and reads the values of all but the last; where each value ends. `None` if one did not hold still.
    fn look_at_sources(
        &self,
        keys: &[Key<'_>],
        values: &mut Vec<u8>,
        ends: &mut Few<usize>,
    ) -> Option<Few<Option<Seen>>> {
        let mut seen = Few::with_capacity(keys.len());
        for (index, &key) in keys.iter().enumerate() {
            let is_source = index + 1 < keys.len();
            seen.push(self.look(key, is_source.then_some(&mut *values))?);
            if is_source {
                ends.push(values.len());
            }
        }
        Some(seen)
    }

    /// Reads the values of all locked records but the last. One that cannot be read is damaged: it counts as absent, and can be replaced.
    fn read_locked_values(
        &self,
        mut seen: Few<Option<Seen>>,
        values: &mut Vec<u8>,
        ends: &mut Few<usize>,
    ) -> Few<Option<Seen>> {
        let sources = seen.len() - 1;
        for source in &mut seen[..sources] {
            let start = values.len();
            if source.is_some_and(|source| !source.read_value(&self.segment, values)) {
                values.truncate(start);
                *source = None;
            }
            ends.push(values.len());
        }
        seen
    }

    /// Locks what was looked at: the home groups of keys that are absent and then the records of the others, in order; false if one
    /// has changed since.
    fn lock_looked<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        keys: &[Key<'_>],
        looked: &[Option<Seen>],
    ) -> Result<bool, Refusal> {
        let absent = || keys.iter().zip(looked).filter(|(_, seen)| seen.is_none()).map(|(key, _)| *key);
        batch::lock_homes(writer, &self.space, absent())?;
        if absent().any(|key| self.space.find(&self.segment, key).is_some()) {
            return Ok(false);
        }
        let mut records: Few<Seen> = looked.iter().flatten().copied().collect();
        records.sort_unstable_by_key(|seen| seen.row);
        // Of a key that is named twice, both looks must have been at the same.
        records.dedup_by_key(|seen| (seen.row, seen.sequence));
        if records.windows(2).any(|pair| pair[0].row == pair[1].row) {
            return Ok(false);
        }
        for seen in &records {
            if !self.lock_seen(writer, seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
