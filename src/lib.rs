//! A crash-safe store in shared memory: typed tables, counters and a key-value space for pre-forked workers.

#[cfg(not(target_endian = "little"))]
compile_error!("segments are little-endian");

pub mod backend;
pub mod shm;
pub mod store;
pub mod sys;

pub use store::{Column, Counter, Error, Result, Row, Store, Table, Value};
