//! A crash-safe store in shared memory: typed tables, counters and a key-value space for pre-forked workers.

pub mod backend;
pub mod command;
pub mod config;
pub mod protocol;
pub mod server;
pub mod store;
pub mod sys;

pub use store::{Column, Counter, Error, Result, Row, Store, Table, Value};
