//! Records of the key-value space: one cache line each, small keys and values inside.
//!
//! Word 3 holds the value's length, words 4 to 7 the payload. A key of up to 24 bytes stands *inline* at the start of the
//! payload, a longer one *outside* in a heap block that word 4 names; that depends on the key alone, because a key is compared
//! while the value beside it may be changing. A value is inline (directly behind an inline key, or from word 5 on),
//! or an integer in word 7, or in one heap block or a tree of chunks that word 7 names.

/// Bytes of a record.
pub const RECORD_BYTES: u64 = 64;
/// Records of one arena page; behind them stand as many usage words, see [`crate::eviction`].
pub const PAGE_RECORDS: u32 = 960;
/// Bytes from the start of a page of records to its usage words.
pub const USAGE_AT: u64 = PAGE_RECORDS as u64 * RECORD_BYTES;
/// Bytes that a key takes beside its index entry and its blocks: record and usage word.
pub const KEY_BYTES: u64 = RECORD_BYTES + 4;

const _: () = assert!(PAGE_RECORDS as u64 * KEY_BYTES <= crate::heap::PAGE_BYTES);
// The free-row hints of a page are whole words.
const _: () = assert!(PAGE_RECORDS.is_multiple_of(64));
/// The word of the value's length.
pub const LEN_WORD: usize = 3;
/// The first word of the payload; an outer key's block.
pub const KEY_WORD: usize = 4;
/// The value's integer or block.
pub const VALUE_WORD: usize = 7;
/// Words of a record.
pub const WORDS: usize = 8;
/// Bytes of the payload.
pub const PAYLOAD: usize = 32;
/// Bytes of the longest inline key: word 7 stays free for a value's integer or block.
pub const SHORT_KEY: usize = 24;
/// Flags of a record's meta word.
pub mod flag {
    /// The database.
    pub const DB: u16 = 0x000f;
    /// How the value is kept.
    pub const ENCODING: u16 = 0x0030;
    /// In the payload.
    pub const INLINE: u16 = 0x0000;
    /// As an integer whose decimal text it is.
    pub const INT: u16 = 0x0010;
    /// In a heap block.
    pub const BLOCK: u16 = 0x0020;
    /// In chunks that a heap block lists.
    pub const TREE: u16 = 0x0030;
    /// The key is in a heap block.
    pub const OUTER_KEY: u16 = 0x0040;
    /// The type of the value; 0: a string of bytes.
    pub const TYPE: u16 = 0x0f00;
    /// A tree of fields: word 7 names its root, word 3 counts its fields. See [`crate::fields`].
    pub const FIELDS: u16 = 0x0100;
}
