//! Concurrent, crash-safe operations on mapped bytes.
//!
//! Nothing here allocates from the process's own heap under a lock, logs, or knows what a command is.

mod arena;
mod batch;
mod bus;
mod counters;
mod crash;
mod departures;
mod directory;
mod evict;
mod fields;
mod gate;
mod heap;
mod index;
mod journal;
mod keys;
mod locks;
mod mem;
mod protocol;
mod recovery;
mod rows;
mod segment;
mod space;
mod stats;
mod sweep;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod threads;
mod transaction;
mod undo;
mod usage;
mod verify;

pub use bus::{Bus, Taken, TargetWords};
pub use counters::{Counted, Counters};
pub use crash::POINTS as CRASH_POINTS;
#[cfg(feature = "crash-points")]
pub use crash::on_crash_point;
pub use departures::{Departed, Gone};
pub use directory::{RawSpec, TableListing};
pub use evict::MemoryUse;
pub use fields::{Fields, Torn, edit::FieldChange};
pub use keys::{Change, Derive, Keys, Kind, Looked, Record, SetRule, Value as KeyValue, Version as KeyVersion};
pub use rows::CLOCK_UNREAD;
pub use segment::{Refusal, Segment, SegmentError, SegmentOptions};
pub use stats::StatCells;
pub use tables::{RowWords, Tables, Verdict};
pub use transaction::Transaction;
pub use usage::Usage;
pub use verify::{Finding, FindingKind, Holder, Verification};
