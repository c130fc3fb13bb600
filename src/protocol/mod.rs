//! What clients speak: bytes to requests and replies to bytes, without any I/O.

pub mod http;
