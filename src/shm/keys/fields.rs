//! Keys whose values are trees of fields: looking into one, and changing some fields in one atomic step.
//!
//! As with bytes, a change looks first and prepares the new tree while nobody can see it, locks the record, and goes through only if
//! it has not changed meanwhile; after [`DEFEATS`] lost races it locks first.

use std::{
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use shm_layout::{
    heap::BlockRef,
    keys::{LEN_WORD, VALUE_WORD, flag},
};

use super::{
    super::{
        fields::{
            self, Fields, Torn,
            edit::{Decide, Edited, FieldChange, Item, Stop, edit},
        },
        gate, heap,
        journal::Intent,
        locks::{Attempt, Writer, patiently},
        protocol::sequence,
        rows::is_past,
        segment::Refusal,
        space::Key,
        usage,
    },
    Keys, Kind, OPTIMISM,
    change::{DEFEATS, Step},
    record::{Encoded, Seen, Tally},
};

/// What a look at a key's fields came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// There is no such key.
    Absent,
    /// Its value is of another kind.
    WrongKind,
    /// The fields were there.
    Fields,
}

impl Keys {
    fn fields_of(&self, seen: &Seen) -> Fields<'_> {
        Fields::new(&self.segment, BlockRef(seen.words[VALUE_WORD]), seen.words[LEN_WORD])
    }

    /// Shows the fields of a key as of one instant. `read` may be asked several times, and what it was shown before counts only
    /// if it was the last time.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn read_fields(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        read: &mut dyn FnMut(Fields<'_>) -> Result<(), Torn>,
    ) -> Result<Looked, Refusal> {
        let mut attempt = Attempt::default();
        for _ in 0..OPTIMISM {
            let Ok(gate) = gate::sequence(&self.segment, &mut attempt) else {
                break;
            };
            let looked = self.look(self.key(db, key), None).map(|seen| (seen, self.show(seen, now_ms, read)));
            fence(Ordering::Acquire);
            if let Some((seen, Ok(looked))) = looked
                && seen.is_none_or(|seen| self.sequence(seen.row) == seen.sequence)
                && gate::unchanged(&self.segment, gate)
            {
                if let Some(seen) = seen.filter(|_| matches!(looked, Looked::Fields)) {
                    usage::touch(&self.segment, &self.space, seen.row, now_ms);
                }
                return Ok(looked);
            }
            std::hint::spin_loop();
        }
        patiently(&self.segment, patience, || {
            let mut writer = Writer::enter(&self.segment)?;
            let seen = self.lock_key(&mut writer, self.key(db, key))?;
            // Nobody is at it, so what makes no sense is damaged: it is not there.
            Ok(self.show(seen, now_ms, read).unwrap_or(Looked::Absent))
        })
    }

    fn show(
        &self,
        seen: Option<Seen>,
        now_ms: u64,
        read: &mut dyn FnMut(Fields<'_>) -> Result<(), Torn>,
    ) -> Result<Looked, Torn> {
        match seen.filter(|seen| !is_past(seen.expire_at(), now_ms)) {
            None => Ok(Looked::Absent),
            Some(seen) if seen.kind() != Kind::Fields => Ok(Looked::WrongKind),
            Some(seen) => read(self.fields_of(&seen)).map(|()| Looked::Fields),
        }
    }

    /// Changes fields of a key, which differ, in one atomic step; the key is made with the first of them and goes with the last. `decide` may be asked
    /// several times; it is shown the values `with_values`, and otherwise empty ones.
    ///
    /// # Errors
    ///
    /// As [`Keys::change`].
    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    pub(crate) fn change_fields<'v>(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        fields: &[&[u8]],
        with_values: bool,
        decide: Decide<'_, 'v>,
    ) -> Result<Looked, Refusal> {
        let item = |(number, &field)| Item { hash: fields::hash_of(&self.segment, field), field, number };
        let (single, mut several);
        let items = if let [field] = fields {
            single = [item((0, field))];
            &single[..]
        } else {
            several = fields.iter().enumerate().map(item).collect::<Vec<_>>();
            several.sort_by_key(|item| item.hash);
            &several[..]
        };
        let (mut looked, mut defeats) = (Looked::Absent, 0);
        self.with_room(patience, now_ms, &mut |writer| {
            let held = writer.held();
            let lock_first = defeats >= DEFEATS;
            // Inside: a swap of databases would come in between.
            let key = self.key(db, key);
            let step = self.try_change_fields(writer, now_ms, key, items, with_values, lock_first, decide, &mut looked);
            writer.unlock_to(held);
            defeats += u32::from(matches!(step, Ok(Step::Again)));
            step
        })?;
        Ok(looked)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    fn try_change_fields<'a, 'v>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        key: Key<'_>,
        items: &[Item<'_>],
        with_values: bool,
        lock_first: bool,
        decide: Decide<'_, 'v>,
        looked: &mut Looked,
    ) -> Result<Step, Refusal> {
        let seen = if lock_first { Some(self.lock_key(writer, key)?) } else { self.look(key, None) };
        let Some(seen) = seen else {
            return Ok(Step::Again);
        };
        let live = seen.filter(|seen| !is_past(seen.expire_at(), now_ms));
        *looked = match live.map(|seen| seen.kind()) {
            None => Looked::Absent,
            Some(Kind::Fields) => Looked::Fields,
            Some(_) => Looked::WrongKind,
        };
        if *looked == Looked::WrongKind {
            return Ok(Step::Done);
        }
        let root = live.map(|seen| BlockRef(seen.words[VALUE_WORD]));
        // What is decided about must have been there: what was read of a record that has changed since may be anything.
        let decide = &mut |number: usize, value: Option<&[u8]>| match seen {
            Some(seen) if !lock_first && !self.is_as(&seen) => FieldChange::Refuse,
            _ => decide(number, value),
        };
        let (mut edited, mut kept) = (edit(writer, root, items, with_values, decide), live.is_some());
        if lock_first && matches!(edited, Err(Stop::Torn)) {
            // Nobody is at it, so it is damaged: what cannot be read is not there, and can be replaced.
            writer.give_back_blocks();
            *looked = Looked::Absent;
            (edited, kept) = (edit(writer, None, items, with_values, decide), false);
        }
        let edited = match edited {
            Ok(edited) => edited,
            Err(Stop::Decided) => Edited::Same,
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Err(Stop::Torn) => return Ok(Step::Again),
        };
        match (edited, seen) {
            (Edited::Same, None) | (Edited::Empty, None) => Ok(Step::Done),
            (Edited::Same, Some(seen)) => self.settle(&seen),
            (Edited::Root(root, len), None) => {
                let encoded = self.encode_fields(writer, key, root, len, 0, None)?;
                self.insert_encoded(writer, key, &encoded)
            }
            (edited, Some(seen)) => self.swing(writer, key, &seen, kept, &edited, !lock_first),
        }
    }

    /// Nothing is to be done if a record is still what it was.
    fn settle(&self, seen: &Seen) -> Result<Step, Refusal> {
        Ok(if self.is_as(seen) { Step::Done } else { Step::Again })
    }

    /// Whether a record is still what it was, so that what was read of it was all there at one instant.
    pub(super) fn is_as(&self, seen: &Seen) -> bool {
        sequence::copied();
        self.sequence(seen.row) == seen.sequence
    }

    /// Gives a record its new tree, or deletes it. `kept`: the new tree was made of the old one, whose replaced nodes are listed already.
    fn swing<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        key: Key<'_>,
        seen: &Seen,
        kept: bool,
        edited: &Edited,
        lock: bool,
    ) -> Result<Step, Refusal> {
        let encoded = match *edited {
            Edited::Root(root, len) => {
                let expire_at = if kept { seen.expire_at() } else { 0 };
                Some(self.encode_fields(writer, key, root, len, expire_at, Some(seen))?)
            }
            _ => None,
        };
        if lock && !self.lock_seen(writer, seen)? {
            return Ok(Step::Again);
        }
        let (mut intent, slot) = (Intent::new(), writer.slot());
        let mut tally = Tally::of(slot, key.db);
        // A value that has expired, or makes no sense, goes as a whole.
        let replaced = seen.value_block().filter(|_| !kept);
        match encoded {
            Some(encoded) => {
                self.list_update(writer, &mut intent, key, seen, &encoded, &mut tally);
                replaced.into_iter().for_each(|(block, form)| heap::list_old(slot, block, form));
            }
            None => {
                let blocks = replaced.into_iter().chain(seen.key_block());
                blocks.for_each(|(block, form)| heap::list_old(slot, block, form));
                self.list_removal(writer, &mut intent, key, seen, &mut tally);
            }
        }
        intent.carry_out(writer, &self.space)?;
        Ok(Step::Done)
    }

    fn encode_fields(
        &self,
        writer: &Writer<'_>,
        key: Key<'_>,
        root: BlockRef,
        len: u64,
        expire_at: u64,
        seen: Option<&Seen>,
    ) -> Result<Encoded, Refusal> {
        let (mut encoded, _) = self.encode_key(writer, key, expire_at, seen)?;
        encoded.flags |= flag::BLOCK | flag::FIELDS;
        encoded.words[LEN_WORD] = len;
        encoded.words[VALUE_WORD] = root.0;
        Ok(encoded)
    }
}
