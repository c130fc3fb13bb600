//! A crash-safe store in shared memory: typed tables, counters and a key-value space for pre-forked workers.

pub mod cli;
pub mod config;
pub mod process;
pub mod store;
pub mod sys;

pub use store::{Column, Counter, Error, Result, Row, Store, Table, Value};
