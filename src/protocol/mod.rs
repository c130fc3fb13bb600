//! Bytes to requests and replies to bytes: pure functions, incremental and bounded, without I/O.

pub mod http;
pub mod resp;
