//! Where each byte of a store-master segment is, and what it means.
//!
//! This crate owns sizes, offsets and constants. It does no I/O, waits for nothing and owns no mapping.
#![no_std]

pub mod limits;
