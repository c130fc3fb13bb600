//! Media that carry a store.

pub mod memory;

pub use memory::{Limits, MemoryStore};
