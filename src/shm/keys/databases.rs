//! Which database of the records each number of a database stands for.
//!
//! Records know their database by the number in their hash and flags, which never changes. What clients call database 3 may be any of
//! them: one word of the header says which, and swapping two is one store, made behind the gate. Whoever looks a key up reads
//! the word after it has read the gate's sequence or raised its flag, so nobody works by the old word once the gate has closed.

use std::{sync::atomic::Ordering, time::Duration};

use shm_layout::limits::DATABASES;

use super::{
    super::{
        crash::point,
        gate,
        segment::{Refusal, Segment},
        transaction, undo,
    },
    Keys,
};

/// Bits of the word that stand for one database: which it is, exclusive-or its number, so that zeros change nothing.
const BITS: u32 = 4;

fn of_word(word: u64, db: u8) -> u8 {
    db ^ (word >> (BITS * u32::from(db)) & 0xf) as u8
}

impl Keys {
    /// The records' number of a database.
    #[inline]
    pub(super) fn records_db(&self, db: u8) -> u8 {
        of_word(self.segment.header().databases.load(Ordering::Acquire), db)
    }

    /// Swaps two databases in one step.
    ///
    /// # Errors
    ///
    /// [`Refusal::Busy`], and [`Refusal::OutOfMemory`] inside a transaction whose log has no room.
    pub fn swap_databases(&self, patience: Option<Duration>, one: u8, other: u8) -> Result<(), Refusal> {
        gate::behind(&self.segment, patience, |gate| {
            if transaction::is_open(gate.writer().slot()) {
                undo::log_databases(gate.writer())?;
            }
            swap(gate.writer().segment(), one, other);
            Ok(())
        })
    }
}

/// The database that clients call this one of the records. The caller's flag is up, or it has the gate: nobody else swaps it meanwhile.
pub(crate) fn client_db(segment: &Segment, records_db: u8) -> u8 {
    let word = segment.header().databases.load(Ordering::Acquire);
    (0..DATABASES as u8).find(|&db| of_word(word, db) == records_db).unwrap_or(records_db)
}

fn swap(segment: &Segment, one: u8, other: u8) {
    let word = segment.header().databases.load(Ordering::Acquire);
    let place = |db: u8, is: u8| u64::from(db ^ is) << (BITS * u32::from(db));
    let kept = word & !(0xf << (BITS * u32::from(one)) | 0xf << (BITS * u32::from(other)));
    let swapped = kept | place(one, of_word(word, other)) | place(other, of_word(word, one));
    point("before-swap");
    // Release: whoever finds the gate open again sees it.
    segment.header().databases.store(swapped, Ordering::Release);
    point("swapped");
}
