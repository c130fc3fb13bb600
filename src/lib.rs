//! A crash-safe store in shared memory: typed tables, counters and a key-value space for pre-forked workers.

#[cfg(not(target_endian = "little"))]
compile_error!("segments are little-endian");

pub mod backend;
pub mod cli;
pub mod command;
pub mod config;
pub mod process;
pub mod protocol;
pub mod server;
pub mod shm;
pub mod store;
pub mod sys;

pub use store::{Column, Counter, Error, Result, Row, Store, Table, Value};
