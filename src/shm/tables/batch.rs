//! Several rows in one atomic step, or as of one instant.

use std::time::Duration;

use shm_layout::row::EXPIRE_WORD;

use super::{
    super::{
        batch,
        journal::Intent,
        locks::Writer,
        rows::{self, claim_free, is_past},
        segment::Refusal,
        space::Key,
    },
    OPTIMISM, RowWords, Tables, Verdict,
    change::Step,
    copy, with_scratch,
};

impl Tables {
    /// Changes several rows in one atomic step. The keys differ, and there are at most 64 of them. The change is told
    /// which key it is at; every row is left or written, none removed.
    ///
    /// # Errors
    ///
    /// As [`Tables::modify`].
    pub fn modify_many(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        keys: &[&[u8]],
        change: &mut dyn FnMut(usize, RowWords<'_>) -> Verdict,
    ) -> Result<(), Refusal> {
        let keys: Vec<Key<'_>> = keys.iter().map(|key| self.key(key)).collect();
        self.fetch_ahead(&keys);
        with_scratch(self.row_words(), |scratch| {
            self.with_room(patience, now_ms, |writer| {
                let held = writer.held();
                let step = self.try_modify_many(writer, now_ms, &keys, change, scratch);
                writer.unlock_to(held);
                step
            })
        })
    }

    fn try_modify_many<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>],
        change: &mut dyn FnMut(usize, RowWords<'_>) -> Verdict,
        scratch: &mut [u64],
    ) -> Result<Step, Refusal> {
        self.check_current()?;
        let spare = self.take_spares(writer, keys.len())?;
        let Some(found) = batch::lock_all(writer, &self.space, keys)? else {
            return Ok(Step::Again);
        };
        let mut claimed = Vec::with_capacity(keys.len());
        let absent = found.iter().filter(|row| row.is_none()).count();
        for _ in 0..absent {
            let Some(free) = claim_free(writer, &self.space, &self.cursor) else {
                // These rows stay free: their hints come back before their locks go.
                claimed.iter().for_each(|free: &rows::FreeRow| self.space.set_hint(&self.segment, free.row));
                return Ok(Step::NoRoom(absent as u64));
            };
            claimed.push(free);
        }
        let mut intent = Intent::new();
        let mut spare = spare.into_iter();
        let mut unused = claimed.iter();
        let mut made = 0;
        let mut listed = false;
        for (i, (key, found)) in keys.iter().zip(&found).enumerate() {
            match found {
                Some(found) => {
                    let present = self.load(found.words, *key, now_ms, scratch);
                    if change(i, RowWords { present, words: scratch }) == Verdict::Write {
                        self.list_update(writer, &mut intent, *key, found, scratch, &mut spare);
                        listed = true;
                    }
                }
                None => {
                    self.fresh(*key, scratch);
                    if change(i, RowWords { present: false, words: scratch }) == Verdict::Write
                        && let Some(free) = unused.next()
                    {
                        self.list_insert(writer, &mut intent, *key, free, scratch, made);
                        made += 1;
                        listed = true;
                    }
                }
            }
        }
        unused.for_each(|free| self.space.set_hint(&self.segment, free.row));
        if listed {
            intent.carry_out(writer, &self.space)?;
        }
        Ok(Step::Done)
    }

    /// Reads several rows as of one instant; `out` is told which key it is at. It may be told again from the start.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gone`], [`Refusal::Busy`].
    pub fn read_many(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        keys: &[&[u8]],
        out: &mut dyn FnMut(usize, RowWords<'_>),
    ) -> Result<(), Refusal> {
        let hashed: Vec<Key<'_>> = keys.iter().map(|key| self.key(key)).collect();
        self.fetch_ahead(&hashed);
        let done = with_scratch(self.row_words(), |scratch| {
            (0..OPTIMISM).any(|_| self.try_read_many(now_ms, &hashed, out, scratch))
        });
        self.check_current()?;
        if done {
            return Ok(());
        }
        with_scratch(self.row_words(), |scratch| {
            self.with_room(patience, now_ms, |writer| {
                let held = writer.held();
                let step = self.read_many_locked(writer, now_ms, &hashed, out, scratch);
                writer.unlock_to(held);
                step
            })
        })
    }

    fn read_many_locked<'a>(
        &'a self,
        writer: &mut Writer<'a>,
        now_ms: u64,
        keys: &[Key<'_>],
        out: &mut dyn FnMut(usize, RowWords<'_>),
        scratch: &mut [u64],
    ) -> Result<Step, Refusal> {
        self.check_current()?;
        let Some(found) = batch::lock_all(writer, &self.space, keys)? else {
            return Ok(Step::Again);
        };
        for (i, (row, key)) in found.iter().zip(keys).enumerate() {
            let present = row.is_some_and(|found| self.load(found.words, *key, now_ms, scratch));
            out(i, RowWords { present, words: scratch });
        }
        Ok(Step::Done)
    }

    /// Brings rows near that are about to be looked at.
    fn fetch_ahead(&self, keys: &[Key<'_>]) {
        self.space.fetch_ahead(&self.segment, keys.iter().map(|key| key.hash), |_| {});
    }

    fn try_read_many(
        &self,
        now_ms: u64,
        keys: &[Key<'_>],
        out: &mut dyn FnMut(usize, RowWords<'_>),
        scratch: &mut [u64],
    ) -> bool {
        batch::read_unlocked(&self.segment, &self.space, keys, |i, found| {
            if let Some(found) = found {
                copy(found.words, scratch);
            }
            let present = found.is_some() && !is_past(scratch[EXPIRE_WORD], now_ms);
            out(i, RowWords { present, words: scratch });
            true
        })
    }
}
