//! The directory of tables.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::{
    check::layout,
    limits::{MAX_SYSTEM_TABLES, MAX_TABLES},
    table,
};

/// Entries of the directory: tables of users, then those of the program.
pub const ENTRIES: usize = MAX_TABLES + MAX_SYSTEM_TABLES;
/// Words for a name (64 bytes, and the `~` of a hidden one).
pub const NAME_WORDS: usize = 9;

/// The states of an entry.
pub mod state {
    /// No table.
    pub const FREE: u32 = 0;
    /// A table.
    pub const LIVE: u32 = 1;
}

/// An entry of the directory.
#[repr(C, align(64))]
pub struct Entry {
    /// One of [`state`].
    pub state: AtomicU32,
    /// Goes up when the table is dropped: a handle of an earlier table finds another number.
    pub generation: AtomicU32,
    /// Capacity.
    pub rows: AtomicU64,
    /// Bytes kept for a key.
    pub key_bytes: AtomicU32,
    /// Bytes of the number columns.
    pub fixed_bytes: AtomicU32,
    /// Bytes of the string columns.
    pub string_bytes: AtomicU32,
    /// Bytes of the encoded schema.
    pub schema_bytes: AtomicU32,
    /// Where the region starts in the segment.
    pub region_at: AtomicU64,
    /// Bytes of the name.
    pub name_len: AtomicU32,
    /// 1 once a row with an expiry was written.
    pub expires: AtomicU32,
    /// The name.
    pub name: [AtomicU64; NAME_WORDS],
    /// Where the next share of the sweep for expired rows starts.
    pub sweep: AtomicU64,
}

layout!(Entry, size 128, align 64, {
    state: u32 = 0, generation: u32 = 4, rows: u64 = 8, key_bytes: u32 = 16, fixed_bytes: u32 = 20,
    string_bytes: u32 = 24, schema_bytes: u32 = 28, region_at: u64 = 32, name_len: u32 = 40, expires: u32 = 44,
    name: [u64; NAME_WORDS] = 48, sweep: u64 = 120,
});

/// The shape of a table with these figures.
#[must_use]
pub const fn shape(rows: u64, key: u32, fixed: u32, strings: u32, schema: u32) -> table::Shape {
    table::Shape { rows, key_bytes: key, fixed_bytes: fixed, string_bytes: strings, schema_bytes: schema, row_align: 8 }
}
