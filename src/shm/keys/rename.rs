//! Renaming: one operation on two keys, in which the value's block goes from one record to the other and is not copied.

use std::time::Duration;

use shm_layout::keys::{LEN_WORD, VALUE_WORD, flag};

use super::{
    super::{batch::Few, heap, journal::Intent, locks::Writer, rows::is_past, segment::Refusal, space::Key},
    Keys,
    change::Step,
    record::{Encoded, Seen, Tally},
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

/// The counts of the databases that an operation is about.
struct Tallies(Few<(u8, Tally)>);

impl Tallies {
    /// None yet.
    fn new() -> Self {
        Self(Few::new())
    }

    /// That of a database.
    fn of(&mut self, writer: &Writer<'_>, db: u8) -> &mut Tally {
        let at = self.0.iter().position(|(other, _)| *other == db).unwrap_or_else(|| {
            self.0.push((db, Tally::of(writer.slot(), db)));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}
