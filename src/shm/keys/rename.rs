//! Renaming and copying: operations on two keys. Renamed, the value's block goes from one record to the other and is not copied.

use std::time::Duration;

use shm_layout::keys::{LEN_WORD, VALUE_WORD, flag};

use super::{
    super::{heap, journal::Intent, locks::Writer, rows::is_past, segment::Refusal, space::Key},
    Keys, Kind,
    change::{DEFEATS, Step},
    record::{Encoded, Seen, Tally, replaced_block},
    several::Tallies,
};

impl Keys {
    /// Gives a key another name or another database; the target's value goes, unless `if_absent`. `None` if there is no such key, `false` if there was a target.
    ///
    /// # Errors
    ///
    /// As [`Keys::change`].
    pub fn rename(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        from: (u8, &[u8]),
        to: (u8, &[u8]),
        if_absent: bool,
    ) -> Result<Option<bool>, Refusal> {
        let mut outcome = None;
        self.with_room(patience, now_ms, &mut |writer| {
            let held = writer.held();
            let keys = [self.key(from.0, from.1), self.key(to.0, to.1)];
            let step = self.try_rename(writer, now_ms, &keys, if_absent, &mut outcome);
            writer.unlock_to(held);
            step
        })?;
        Ok(outcome)
    }

    fn try_rename<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>; 2],
        if_absent: bool,
        outcome: &mut Option<bool>,
    ) -> Result<Step, Refusal> {
        *outcome = None;
        let Some(found) = self.lock_keys(writer, keys)? else {
            return Ok(Step::Again);
        };
        let live = |seen: Option<Seen>| seen.filter(|seen| !is_past(seen.expire_at(), now_ms));
        let Some(from) = live(found[0]) else {
            return Ok(Step::Done);
        };
        let same = keys[0].db == keys[1].db && keys[0].bytes == keys[1].bytes;
        if same || (if_absent && live(found[1]).is_some()) {
            *outcome = Some(!if_absent);
            return Ok(Step::Done);
        }
        let (to, slot) = (found[1], writer.slot());
        let encoded = self.encode_moved(writer, keys[1], &from, to.as_ref())?;
        let mut intent = Intent::new();
        let mut tallies = Tallies::new();
        let tally = tallies.of(writer, keys[1].db);
        if !self.put(writer, &mut intent, keys[1], to.as_ref(), &encoded, tally) {
            return Ok(Step::NoRoom);
        }
        let moved = encoded.flags & flag::ENCODING == from.flags() & flag::ENCODING;
        let stays = from.value_block().filter(|_| !moved);
        stays.into_iter().chain(from.key_block()).for_each(|(block, form)| heap::list_old(slot, block, form));
        self.list_removal(writer, &mut intent, keys[0], &from, tallies.of(writer, keys[0].db));
        intent.carry_out(writer, &self.space)?;
        *outcome = Some(true);
        Ok(Step::Done)
    }

    /// Copies a string, with its expiry, to another key or database; the target's value goes if it is to be `replaced`. `Some(false)` if
    /// there is no such key, or a target; `None` if it is no string.
    ///
    /// # Errors
    ///
    /// As [`Keys::change`].
    pub fn copy(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        from: (u8, &[u8]),
        to: (u8, &[u8]),
        replaced: bool,
    ) -> Result<Option<bool>, Refusal> {
        let (mut outcome, mut value, mut defeats) = (None, Vec::new(), 0);
        self.with_room(patience, now_ms, &mut |writer| {
            let held = writer.held();
            let keys = [self.key(from.0, from.1), self.key(to.0, to.1)];
            value.clear();
            let lock_first = defeats >= DEFEATS;
            let step = self.try_copy(writer, now_ms, &keys, replaced, lock_first, &mut value, &mut outcome);
            writer.unlock_to(held);
            defeats += u32::from(matches!(step, Ok(Step::Again)));
            step
        })?;
        Ok(outcome)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    fn try_copy<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>; 2],
        replaced: bool,
        lock_first: bool,
        value: &mut Vec<u8>,
        outcome: &mut Option<bool>,
    ) -> Result<Step, Refusal> {
        let seen = if lock_first {
            self.lock_keys(writer, keys)?.map(|found| [found[0], found[1]])
        } else {
            self.look(keys[0], None).zip(self.look(keys[1], None)).map(|(from, to)| [from, to])
        };
        let Some([from, to]) = seen else {
            return Ok(Step::Again);
        };
        let live = |seen: Option<Seen>| seen.filter(|seen| !is_past(seen.expire_at(), now_ms));
        *outcome = Some(false);
        // A target that was there after the source was not, or before it was: it was refused at one of the two moments.
        let Some(source) = live(from).filter(|_| replaced || live(to).is_none()) else {
            return Ok(Step::Done);
        };
        if source.kind() != Kind::Bytes {
            *outcome = None;
            return Ok(Step::Done);
        }
        if !source.read_value(&self.segment, value) || !(lock_first || self.is_as(&source)) {
            // Nobody is at a locked record: what cannot be read there is damaged, and is not there.
            return Ok(if lock_first { Step::Done } else { Step::Again });
        }
        let encoded = self.encode(writer, keys[1], value, source.expire_at(), to.as_ref())?;
        if !lock_first && !self.lock_looked(writer, keys, [from, to].into_iter())? {
            return Ok(Step::Again);
        }
        let mut intent = Intent::new();
        let mut tally = Tally::of(writer.slot(), keys[1].db);
        if !self.put(writer, &mut intent, keys[1], to.as_ref(), &encoded, &mut tally) {
            return Ok(Step::NoRoom);
        }
        intent.carry_out(writer, &self.space)?;
        *outcome = Some(true);
        Ok(Step::Done)
    }

    /// Lists that a key gets a new record, in the place of `before` or in a free one; false if there is none.
    fn put<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        intent: &mut Intent,
        key: Key<'_>,
        before: Option<&Seen>,
        encoded: &Encoded,
        tally: &mut Tally,
    ) -> bool {
        if let Some(before) = before {
            self.list_update(writer, intent, key, before, encoded, tally);
            if let Some((block, form)) = replaced_block(before, encoded) {
                heap::list_old(writer.slot(), block, form);
            }
            return true;
        }
        let free = self.claim(writer);
        if let Some(free) = &free {
            self.list_insert(writer, intent, key, free, encoded, tally);
        }
        free.is_some()
    }

    /// Lays a record out that takes over the value of `from`: its block, if it has one.
    fn encode_moved(
        &self,
        writer: &Writer<'_>,
        key: Key<'_>,
        from: &Seen,
        to: Option<&Seen>,
    ) -> Result<Encoded, Refusal> {
        let Some((block, _)) = from.value_block() else {
            let mut value = Vec::new();
            from.read_value(&self.segment, &mut value);
            return self.encode(writer, key, &value, from.expire_at(), to);
        };
        let (mut encoded, _) = self.encode_key(writer, key, from.expire_at(), to)?;
        encoded.flags |= from.flags() & (flag::ENCODING | flag::TYPE);
        encoded.words[LEN_WORD] = from.words[LEN_WORD];
        encoded.words[VALUE_WORD] = block.0;
        Ok(encoded)
    }
}
