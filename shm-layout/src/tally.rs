//! Tallies: for each worker index, words in which that worker counts commands, errors and moments of slowness. What each word counts
//! is said where they are used; all contents are valid.

/// Words of a worker's tally.
pub const WORDS: usize = 9360;
/// Bytes of a worker's tally.
pub const SET_BYTES: u64 = 8 * WORDS as u64;
