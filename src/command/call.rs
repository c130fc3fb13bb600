//! One request in execution, with the small steps that many commands share.

use super::{
    Args, Env, Session, parse_int,
    refusal::{Answer, NOT_AN_INTEGER, Refusal, VALUE_TOO_LONG},
};
use crate::store::{Error, Keyspace, Stat, limits::MAX_KV_KEY_BYTES};

/// One request: its arguments, who sent it, and where it is executed.
pub(crate) struct Call<'a, 'e> {
    pub(crate) args: Args<'a>,
    pub(crate) session: &'a mut Session,
    pub(crate) env: &'a Env<'e>,
}

impl<'a> Call<'a, '_> {
    /// Argument `index`.
    pub(crate) fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index)
    }

    /// Argument `index` as a key of the key-value space.
    pub(crate) fn key(&self, index: usize) -> Answer<&'a [u8]> {
        check_key(self.arg(index))
    }

    /// The arguments from `first` on, every `step`-th, as keys of the key-value space.
    pub(crate) fn keys(&self, first: usize, step: usize) -> Answer<Vec<&'a [u8]>> {
        // A fallible iterator does not say how many there will be.
        let mut keys = Vec::with_capacity(self.args.len().saturating_sub(first).div_ceil(step));
        for key in self.args.from(first).step_by(step) {
            keys.push(check_key(key)?);
        }
        Ok(keys)
    }

    /// Argument `index` as a value, or a part of one.
    pub(crate) fn value(&self, index: usize) -> Answer<&'a [u8]> {
        let value = self.arg(index);
        if value.len() > self.env.config.max_value { Err(VALUE_TOO_LONG.into()) } else { Ok(value) }
    }

    /// Argument `index` as an integer.
    pub(crate) fn int(&self, index: usize) -> Answer<i64> {
        parse_int(self.arg(index)).ok_or(Refusal::from(NOT_AN_INTEGER))
    }

    /// Argument `index` as text for a message; what is not UTF-8 is replaced.
    pub(crate) fn text(&self, index: usize) -> String {
        String::from_utf8_lossy(self.arg(index)).into_owned()
    }

    /// The key-value space.
    pub(crate) fn kv(&self) -> Keyspace<'_> {
        self.env.store.kv()
    }

    /// The client's database.
    pub(crate) fn db(&self) -> u8 {
        self.session.db
    }

    /// Whether there is a user of this name.
    pub(crate) fn knows_user(&self, name: &str) -> bool {
        self.env.state.acl.account(name.as_bytes()).is_some()
    }

    /// Bytes that a reply may have: those that a client may leave unread.
    pub(crate) fn max_reply(&self) -> usize {
        self.env.config.output_limit
    }

    /// Why a reply that would be longer than [`Self::max_reply`] is not given.
    pub(crate) fn too_large(&self, what: &str) -> Refusal {
        format!("ERR the {what} are too large for one reply ({} bytes at most)", self.max_reply()).into()
    }

    /// Whether the client may be told, by this command, of a table or a counter of this name.
    pub(crate) fn may_read(&self, command: &'static str, name: &[u8]) -> bool {
        self.env.state.acl.may_read(self.session, command, name)
    }

    /// Counts a read.
    pub(crate) fn count_read(&self, hit: bool) {
        self.count_reads(1, usize::from(hit));
    }

    /// Counts several reads, `hits` of which found something.
    pub(crate) fn count_reads(&self, reads: usize, hits: usize) {
        let meter = &self.env.state.meter;
        meter.add(Stat::Reads, reads as u64);
        if hits > 0 {
            meter.add(Stat::Hits, hits as u64);
        }
        if reads > hits {
            meter.add(Stat::Misses, (reads - hits) as u64);
        }
    }

    /// Counts `written` rows, counters or values written or deleted.
    pub(crate) fn count_writes(&self, written: usize) {
        if written > 0 {
            self.env.state.meter.add(Stat::Writes, written as u64);
        }
    }

    /// Runs `step` on every key in turn and adds up what it returns.
    ///
    /// When a key has to wait, the ones before it are noted, and the repeated request goes on with it.
    pub(crate) fn tally(&mut self, keys: &[&[u8]], mut step: impl FnMut(&Self, &[u8]) -> Answer<bool>) -> Answer<i64> {
        let mut progress = std::mem::take(&mut self.session.progress);
        while let Some(key) = keys.get(progress.done) {
            match step(self, key) {
                Ok(counts) => progress.sum += i64::from(counts),
                Err(refusal) => {
                    if matches!(refusal, Refusal::Store(Error::Busy)) {
                        self.session.progress = progress;
                    }
                    return Err(refusal);
                }
            }
            progress.done += 1;
        }
        Ok(progress.sum)
    }
}

fn check_key(key: &[u8]) -> Answer<&[u8]> {
    if key.len() > MAX_KV_KEY_BYTES {
        return Err(Error::KeyTooLong { len: key.len(), max: MAX_KV_KEY_BYTES }.into());
    }
    Ok(key)
}
