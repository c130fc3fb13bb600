//! What shows later whether a key was touched meanwhile, without a lock and without anything kept in the segment.
//!
//! A live key testifies by its record and that record's sequence: every change raises it, and no record ever comes to one sequence
//! twice. An absent key testifies by the count of insertions of its home group, in which every insertion shows; so does that of another
//! key of the same home, and the absent key is then taken for touched. A key whose time had passed is absent too, but its record may still
//! be there, and be overwritten in place: its sequence must not go further than to the end of that record.
//!
//! Time alone touches a key only if it was live before.

use std::{sync::atomic::Ordering, time::Duration};

use shm_layout::{index::counts, row};

use super::{
    super::{
        gate,
        locks::{Attempt, patiently, wait_for_owner},
        protocol::sequence,
        rows::is_past,
        segment::Refusal,
        space::Key,
    },
    Keys,
};

/// What a key was at one instant, as far as its being touched shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// It was live.
    Live {
        /// Its record.
        row: u32,
        /// The record's sequence.
        sequence: u64,
    },
    /// It was not.
    Absent {
        /// Its home group.
        home: u32,
        /// Insertions that the group has counted.
        insertions: u32,
        /// A record of the key whose time had passed, with its sequence; 0: none.
        stale: (u32, u64),
    },
}

impl Keys {
    /// What a key is now.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn version(&self, patience: Option<Duration>, now_ms: u64, db: u8, key: &[u8]) -> Result<Version, Refusal> {
        patiently(&self.segment, patience, || {
            let mut attempt = Attempt::default();
            loop {
                let gate = gate::sequence(&self.segment, &mut attempt)?;
                if let Some(version) = self.try_version(now_ms, self.key(db, key), &mut attempt)?
                    && gate::unchanged(&self.segment, gate)
                {
                    return Ok(version);
                }
            }
        })
    }

    fn try_version(&self, now_ms: u64, key: Key<'_>, attempt: &mut Attempt) -> Result<Option<Version>, Refusal> {
        let home = self.space.home(key.hash);
        // Acquire: the count comes first, so an insertion that is not found shows in a later one.
        let insertions = self.space.group(&self.segment, home).counts.load(Ordering::Acquire) / counts::INSERTION;
        let absent = |stale| Version::Absent { home, insertions, stale };
        let Some(found) = self.space.find(&self.segment, key) else {
            sequence::copied();
            return Ok(Some(absent((0, 0))));
        };
        let Some(header) = self.header(found.row) else {
            return Ok(None);
        };
        let past = is_past(header.expire_at.load(Ordering::Relaxed), now_ms);
        sequence::copied();
        if !row::is_live(found.sequence) || sequence::after_copy(&header.sequence) != found.sequence {
            wait_for_owner(&self.segment, &header.lock, attempt)?;
            return Ok(None);
        }
        let seen = (found.row, found.sequence);
        Ok(Some(if past { absent(seen) } else { Version::Live { row: seen.0, sequence: seen.1 } }))
    }

    /// Whether a key was not touched since it had this version.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`].
    pub fn is_untouched(
        &self,
        patience: Option<Duration>,
        now_ms: u64,
        db: u8,
        key: &[u8],
        since: Version,
    ) -> Result<bool, Refusal> {
        let now = self.version(patience, now_ms, db, key)?;
        Ok(match (since, now) {
            (Version::Absent { home, insertions, stale }, Version::Absent { .. }) => {
                let (row, sequence) = stale;
                // Freed at most: whoever overwrote it went on to the next even number.
                let ended = sequence == 0 || self.sequence(row) | 1 == sequence | 1;
                // The home of then, whichever database has this number now: the key may have come before they were swapped.
                let group = self.space.group_checked(&self.segment, home);
                let now = group.map(|group| group.counts.load(Ordering::Acquire) / counts::INSERTION);
                ended && now == Some(insertions)
            }
            (since, now) => since == now,
        })
    }
}
