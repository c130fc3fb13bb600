//! One key whose time has passed, freed when somebody asks for it and not when the sweep comes to it.

use std::{sync::atomic::Ordering, time::Duration};

use shm_layout::row;

use super::{
    super::{
        locks::{Writer, patiently},
        rows::{self, is_past},
        segment::Refusal,
    },
    Keys,
};

impl Keys {
    /// Frees a key whose time has passed; false if there is none, if it lives, or if somebody else is at it. Writes nothing then.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`] while the gate is closed.
    pub fn free_expired(&self, patience: Option<Duration>, now_ms: u64, db: u8, key: &[u8]) -> Result<bool, Refusal> {
        let expired = |row: &u32| {
            self.header(*row).is_some_and(|header| {
                row::is_live(header.sequence.load(Ordering::Acquire))
                    && is_past(header.expire_at.load(Ordering::Relaxed), now_ms)
            })
        };
        patiently(&self.segment, patience, || {
            let found = self.space.find(&self.segment, self.key(db, key)).map(|found| found.row);
            let Some(row) = found.filter(expired) else {
                return Ok(false);
            };
            // Should another expired key have come into the record meanwhile, then that one goes.
            Ok(rows::free_expired(&mut Writer::enter(&self.segment)?, &self.space, row, now_ms))
        })
    }
}
