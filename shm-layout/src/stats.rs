//! Statistics: a set of cells for each worker index, and set 0 for all library processes.

/// Cells of one set.
pub const CELLS: usize = 64;
/// Bytes of one set.
pub const SET_BYTES: u64 = 8 * CELLS as u64;
