//! The key-value space: records of one cache line, small keys and values inside, larger ones in the heap.
//!
//! Here is what others see of it, and how one key is looked up. [`record`] says what the words of a record mean; [`change`], [`batch`]
//! and [`rename`] write; [`walk`] goes through all records.
//!
//! A record's old blocks are freed after the commit, and a reader believes what it copied from a block only if the record's
//! sequence has not changed since: a block that was freed and used again in between is never believed.

mod ahead;
mod batch;
mod change;
mod databases;
mod derive;
mod expired;
mod fields;
mod record;
mod rename;
mod room;
mod version;
mod walk;

use std::{
    borrow::Cow,
    sync::atomic::{Ordering, fence},
    time::Duration,
};

use shm_layout::{
    KEYS_SPACE,
    keys::WORDS,
    limits::DATABASES,
    row::{self, EXPIRE_WORD},
    slot::{self, Held},
};

use super::{
    crash::point,
    gate,
    locks::{Attempt, Writer, patiently},
    protocol::sequence,
    rows::is_past,
    segment::{Refusal, Segment},
    space::{Found, Key, Space},
    usage,
};
pub use batch::SetRule;
pub(crate) use databases::client_db;
pub use derive::Derive;
pub use fields::Looked;
pub use record::Kind;
use record::Seen;
pub(crate) use record::{blocks_of, cells_without, list_old_blocks, read_key};
pub use version::Version;
pub(crate) use walk::finish_flush;

/// Failed validations after which a reader takes the record's lock.
const OPTIMISM: u32 = 64;

/// The key-value space of a segment. All operations take the patience of the caller: the longest wait, `None` for ever.
#[derive(Clone)]
pub struct Keys {
    segment: Segment,
    space: Space,
}

/// A key's value and expiry at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What the value is.
    pub kind: Kind,
    /// The value; empty if it is not bytes, or if the change did not ask for it.
    pub value: &'a [u8],
    /// When it expires, in milliseconds since the epoch; 0: never.
    pub expire_at: u64,
}

/// What a reader learns of a key besides its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// What the value is.
    pub kind: Kind,
    /// Bytes of the value, or how many fields it has.
    pub len: usize,
    /// When it expires, in milliseconds since the epoch; 0: never.
    pub expire_at: u64,
}

/// What becomes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// It stays as it is.
    Leave,
    /// It gets this value and expiry (0: never).
    Set(Cow<'a, [u8]>, u64),
    /// It keeps its value and gets this expiry (0: never).
    Expire(u64),
    /// It is deleted.
    Remove,
}

impl Keys {
    /// The key-value space of `segment`.
    #[must_use]
    pub fn new(segment: &Segment) -> Self {
        Self { segment: segment.clone(), space: segment.keys_space() }
    }

    /// A key, by what its database is at the moment: to be called behind a raised flag, or after the gate's sequence was read.
    fn key<'a>(&self, db: u8, bytes: &'a [u8]) -> Key<'a> {
        let db = self.records_db(db);
        Key { bytes, db, hash: self.segment.hash(bytes, db) }
    }

    fn header(&self, row: u32) -> Option<&row::Header> {
        self.space.header(&self.segment, row)
    }

    fn sequence(&self, row: u32) -> u64 {
        self.header(row).map_or(0, |header| sequence::after_copy(&header.sequence))
    }

    /// Copies a record's words, as it was found. They are of one instant if its sequence is the same before and after.
    #[inline]
    fn snapshot(found: &Found<'_>) -> Seen {
        let meta = found.header.meta.load(Ordering::Relaxed);
        let mut seen = Seen { row: found.row, sequence: found.sequence, meta, words: [0; WORDS] };
        for (to, from) in seen.words[EXPIRE_WORD..].iter_mut().zip(&found.words[EXPIRE_WORD..]) {
            *to = from.load(Ordering::Relaxed);
        }
        seen
    }

    /// Looks at a key once, with its value if `out` is given; `None` if it did not hold still.
    #[inline]
    fn look(&self, key: Key<'_>, out: Option<&mut Vec<u8>>) -> Option<Option<Seen>> {
        match self.space.find(&self.segment, key) {
            None => Some(None),
            Some(found) if !row::is_live(found.sequence) => None,
            Some(found) => self.look_at(found, out).map(Some),
        }
    }

    /// Looks at a live record that was found; `None` if it did not hold still.
    #[inline]
    fn look_at(&self, found: Found<'_>, out: Option<&mut Vec<u8>>) -> Option<Seen> {
        let seen = Self::snapshot(&found);
        let sound = out.is_none_or(|out| seen.read_value(&self.segment, out));
        sequence::copied();
        (sound && sequence::after_copy(&found.header.sequence) == found.sequence).then_some(seen)
    }

    /// Reads a key; its value is appended to `out`, if that is given.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    #[inline]
    pub fn read(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        mut out: Option<&mut Vec<u8>>,
    ) -> Result<Option<Value>, Refusal> {
        let seen = self.read_seen(patience, now_ms, db, key, out.as_deref_mut())?;
        if let (Some(seen), true) = (&seen, out.is_some()) {
            usage::touch(&self.segment, &self.space, seen.row, now_ms);
        }
        Ok(seen.map(|seen| Value { kind: seen.kind(), len: seen.len(), expire_at: seen.expire_at() }))
    }

    /// As [`Keys::read`], and says what the record was; that is not counted as a use.
    #[inline(always)]
    fn read_seen(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        mut out: Option<&mut Vec<u8>>,
    ) -> Result<Option<Seen>, Refusal> {
        let start = out.as_ref().map_or(0, |out| out.len());
        let mut attempt = Attempt::default();
        for _ in 0..OPTIMISM {
            let Ok(gate) = gate::sequence(&self.segment, &mut attempt) else {
                break;
            };
            let looked = self.look(self.key(db, key), out.as_deref_mut());
            fence(Ordering::Acquire);
            if let Some(seen) = looked
                && gate::unchanged(&self.segment, gate)
            {
                let live = seen.filter(|seen| !is_past(seen.expire_at(), now_ms));
                if live.is_none() {
                    cut(&mut out, start);
                }
                return Ok(live);
            }
            cut(&mut out, start);
            std::hint::spin_loop();
        }
        self.read_locked(patience, now_ms, (db, key), out, start)
    }

    #[cold]
    fn read_locked(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        (db, key): (u8, &[u8]),
        mut out: Option<&mut Vec<u8>>,
        start: usize,
    ) -> Result<Option<Seen>, Refusal> {
        patiently(&self.segment, patience, || {
            cut(&mut out, start);
            let mut writer = Writer::enter(&self.segment)?;
            let seen = self.lock_key(&mut writer, self.key(db, key))?;
            let Some(seen) = seen.filter(|seen| !is_past(seen.expire_at(), now_ms)) else {
                return Ok(None);
            };
            let sound = out.as_deref_mut().is_none_or(|out| seen.read_value(&self.segment, out));
            if !sound {
                // Nobody is at it, so it is damaged: what cannot be read is not there.
                cut(&mut out, start);
            }
            Ok(sound.then_some(seen))
        })
    }

    /// Finds a key and locks its record; `None` if there is none.
    fn lock_key<'a>(&'a self, writer: &mut Writer<'a>, key: Key<'_>) -> Result<Option<Seen>, Refusal> {
        loop {
            let Some(found) = self.space.find(&self.segment, key) else {
                return Ok(None);
            };
            writer.lock(Held::Row(KEYS_SPACE, found.row), &found.header.lock)?;
            point("row-locked");
            if let Some(locked) = found.locked(&self.space, &self.segment, key) {
                return Ok(Some(Self::snapshot(&locked)));
            }
            writer.again()?;
        }
    }

    /// Keys of a database, as of one instant with regard to transactions and whatever else needs the gate.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn len(&self, patience: Option<Duration>, db: u8) -> Result<u64, Refusal> {
        self.sum(patience, db, slot::key_cell)
    }

    /// Keys of a database that have an expiry, as [`Keys::len`] counts them.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn expiring(&self, patience: Option<Duration>, db: u8) -> Result<u64, Refusal> {
        self.sum(patience, db, slot::expiring_cell)
    }

    fn sum(&self, patience: Option<Duration>, db: u8, cell: fn(u8) -> usize) -> Result<u64, Refusal> {
        gate::read_outside(&self.segment, patience, || self.segment.sum_cell(cell(self.records_db(db))))
    }
}

/// Keys of all databases.
pub(crate) fn count(segment: &Segment) -> u64 {
    let keys = (0..DATABASES as u8).map(|db| segment.sum_cell(slot::key_cell(db)));
    keys.fold(0, u64::saturating_add)
}

fn cut(out: &mut Option<&mut Vec<u8>>, len: usize) {
    if let Some(out) = out {
        out.truncate(len);
    }
}
