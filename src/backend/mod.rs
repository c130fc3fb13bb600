//! Media that carry a store.

pub mod memory;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;

pub use memory::{Limits, MemoryStore};
