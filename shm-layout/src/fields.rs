//! Nodes of a tree of fields: the value of a key that is a hash.
//!
//! A node is the contents of one heap block: a head word, then its entries. In a **leaf** an entry is
//!
//! ```text
//! word 0   hash of the field: the entries of a tree are in its order
//! word 1   bytes of the field, with EXTERNAL; bytes of the value in the upper half
//! word 2   the field's bytes and the value's behind them, padded with zeros; or, if EXTERNAL, the block that holds both
//! ```
//!
//! and in an **inner node** the least hash below a child, the number of fields below it, and its block.

use crate::heap::BLOCK_HEAD;

/// The kind of a leaf, in the low byte of its head.
pub const LEAF: u64 = 1;
/// The kind of an inner node.
pub const INNER: u64 = 2;

/// The lengths of an entry whose bytes stand in a block of their own.
pub const EXTERNAL: u64 = 1 << 31;
/// The bits of a field's length.
pub const LEN: u64 = EXTERNAL - 1;

/// Words of entries that a node has at most, unless one hash has more: its block is of 1,024 bytes then.
pub const NODE_WORDS: usize = (1024 - BLOCK_HEAD as usize) / 8 - 1;
/// Words of a child in an inner node.
pub const CHILD_WORDS: usize = 3;
/// Children of an inner node.
pub const FANOUT: usize = NODE_WORDS / CHILD_WORDS;
/// Words of an entry before its bytes.
pub const ENTRY_HEAD: usize = 2;
/// Bytes of field and value that stand in the leaf itself; few enough that an overfull leaf can always be halved.
pub const SHORT: usize = 448;

/// The head of a node.
#[must_use]
pub const fn head(kind: u64, count: usize, words: usize) -> u64 {
    kind | ((count as u64) << 8) | ((words as u64) << 32)
}

/// The kind in a head.
#[must_use]
pub const fn kind(head: u64) -> u64 {
    head & 0xff
}

/// The number of entries in a head.
#[must_use]
pub const fn count(head: u64) -> usize {
    ((head >> 8) & 0xff_ffff) as usize
}

/// The words of entries in a head.
#[must_use]
pub const fn words(head: u64) -> usize {
    (head >> 32) as usize
}

/// The lengths word of an entry.
#[must_use]
pub const fn lens(field: usize, value: usize, external: bool) -> u64 {
    field as u64 | ((value as u64) << 32) | if external { EXTERNAL } else { 0 }
}
