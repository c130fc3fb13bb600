//! The region of a table: schema, groups, bitmap of free rows, rows.
//!
//! A row is its head, then its numbers (eight bytes each), then `key_bytes` for the key, then its strings (two bytes
//! of length and the column's size each), rounded up to 8. The numbers stand first so that each is an aligned word.

use crate::{index, round_up, row};

/// Table regions are counted in units of this many bytes.
pub const UNIT_BYTES: u64 = 1024;

/// What a table's geometry follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Capacity.
    pub rows: u64,
    /// Bytes kept for a key.
    pub key_bytes: u32,
    /// Bytes of the number columns.
    pub fixed_bytes: u32,
    /// Bytes of the string columns, lengths included.
    pub string_bytes: u32,
    /// Bytes of the encoded schema.
    pub schema_bytes: u32,
    /// Rows start at multiples of this.
    pub row_align: u32,
}

/// Where everything lies, from the start of the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// The groups of the index.
    pub groups_at: u64,
    /// How many.
    pub groups: u64,
    /// The bitmap of free rows.
    pub bitmap_at: u64,
    /// The rows.
    pub rows_at: u64,
    /// From one row to the next.
    pub stride: u64,
    /// From the start of a row to its key.
    pub key_at: u64,
    /// Bytes of the region, in whole units.
    pub bytes: u64,
}

impl Geometry {
    /// The geometry of a shape.
    #[must_use]
    pub const fn new(shape: Shape) -> Self {
        let align = shape.row_align as u64;
        let groups = index::groups(shape.rows);
        let groups_at = round_up(shape.schema_bytes as u64, 8);
        let bitmap_at = groups_at + groups * index::GROUP_BYTES;
        let rows_at = round_up(bitmap_at + index::bitmap_bytes(shape.rows), align);
        let body = shape.fixed_bytes as u64 + shape.key_bytes as u64 + shape.string_bytes as u64;
        let stride = round_up(row::HEADER_BYTES + round_up(body, 8), align);
        let bytes = round_up(rows_at + shape.rows * stride, UNIT_BYTES);
        let key_at = row::HEADER_BYTES + shape.fixed_bytes as u64;
        Self { groups_at, groups, bitmap_at, rows_at, stride, key_at, bytes }
    }
}
