//! What a record says: its value and its key, inside it or in blocks of the heap, and what it counts for.
//!
//! Words are laid out and read here and nowhere else. Nothing here locks a record or stores into one: a record is read into a
//! [`Seen`], and written from an [`Encoded`], whose blocks are filled while nobody can see them.

use std::sync::atomic::{AtomicU64, Ordering};

use shm_layout::{
    heap::BlockRef,
    keys::{KEY_WORD, LEN_WORD, PAYLOAD, SHORT_KEY, VALUE_WORD, WORDS, flag},
    row::{self, EXPIRE_WORD},
    slot::{self, NO_CELL, Slot},
};

use super::{
    super::{
        heap::{self, Form},
        locks::Writer,
        mem::append,
        segment::{Refusal, Segment},
        space::Key,
    },
    Keys,
};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string of bytes.
    Bytes,
    /// A tree of fields.
    Fields,
}

impl Kind {
    pub(super) fn of(meta: u32) -> Self {
        if row::flags(meta) & flag::TYPE == flag::FIELDS { Self::Fields } else { Self::Bytes }
    }
}

/// A record as it was at one instant.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) row: u32,
    pub(super) sequence: u64,
    pub(super) meta: u32,
    pub(super) words: [u64; WORDS],
}

impl Seen {
    pub(super) fn flags(&self) -> u16 {
        row::flags(self.meta)
    }

    pub(super) fn expire_at(&self) -> u64 {
        self.words[EXPIRE_WORD]
    }

    /// What the value is.
    pub(super) fn kind(&self) -> Kind {
        Kind::of(self.meta)
    }

    /// Bytes of the value, or its fields.
    pub(super) fn len(&self) -> usize {
        match self.flags() & flag::ENCODING {
            flag::INT => itoa::Buffer::new().format(self.words[VALUE_WORD] as i64).len(),
            _ => self.words[LEN_WORD] as usize,
        }
    }

    /// Appends a value of bytes to `out`, and nothing if it is of another kind; false if the record is nonsense, as a racing reader may find.
    pub(super) fn read_value(&self, segment: &Segment, out: &mut Vec<u8>) -> bool {
        let len = self.words[LEN_WORD] as usize;
        let block = BlockRef(self.words[VALUE_WORD]);
        if self.kind() == Kind::Fields {
            return true;
        }
        match self.flags() & flag::ENCODING {
            flag::INT => {
                out.extend_from_slice(itoa::Buffer::new().format(self.words[VALUE_WORD] as i64).as_bytes());
                true
            }
            flag::BLOCK => heap::read(segment, block, len, out),
            flag::TREE => heap::read_tree(segment, block, len, out),
            _ => {
                let payload: &[u8] = bytemuck::cast_slice(&self.words[KEY_WORD..]);
                let start = if self.flags() & flag::OUTER_KEY == 0 { row::key_len(self.meta) } else { 8 };
                let value = payload.get(start..start.saturating_add(len));
                value.map(|value| out.extend_from_slice(value)).is_some()
            }
        }
    }

    /// The value's block, and what goes with it.
    pub(super) fn value_block(&self) -> Option<(BlockRef, Form)> {
        value_block(self.meta, self.words[VALUE_WORD])
    }

    /// The key's block, and what goes with it.
    pub(super) fn key_block(&self) -> Option<(BlockRef, Form)> {
        key_block(self.meta, self.words[KEY_WORD])
    }
}

pub(super) fn value_block(meta: u32, word: u64) -> Option<(BlockRef, Form)> {
    let form = match (Kind::of(meta), row::flags(meta) & flag::ENCODING) {
        (Kind::Fields, _) => Form::Fields,
        (Kind::Bytes, flag::BLOCK) => Form::Plain,
        (Kind::Bytes, flag::TREE) => Form::Chunks,
        (Kind::Bytes, _) => return None,
    };
    Some((BlockRef(word), form))
}

fn key_block(meta: u32, word: u64) -> Option<(BlockRef, Form)> {
    let outer = row::flags(meta) & flag::OUTER_KEY != 0;
    outer.then(|| (BlockRef(word), Form::of_len(row::key_len(meta))))
}

/// The blocks of a record with this meta word, word 4 and word 7, and what goes with each.
pub(crate) fn blocks_of(meta: u32, key_word: u64, value_word: u64) -> impl Iterator<Item = (BlockRef, Form)> {
    value_block(meta, value_word).into_iter().chain(key_block(meta, key_word))
}

/// Lists every block of a record as one that goes with it.
pub(crate) fn list_old_blocks(slot: &Slot, meta: u32, words: &[AtomicU64]) {
    let word = |at: usize| words[at].load(Ordering::Relaxed);
    blocks_of(meta, word(KEY_WORD), word(VALUE_WORD)).for_each(|(block, form)| heap::list_old(slot, block, form));
}

/// Appends a record's key to `out`; false if the record is nonsense, as a racing reader may find.
pub(crate) fn read_key(segment: &Segment, meta: u32, words: &[AtomicU64], out: &mut Vec<u8>) -> bool {
    let len = row::key_len(meta);
    match key_block(meta, words[KEY_WORD].load(Ordering::Relaxed)) {
        Some((block, form)) => heap::read_formed(segment, block, form, len, out),
        None if len <= SHORT_KEY => {
            append(&words[KEY_WORD..][..len.div_ceil(8)], len, out);
            true
        }
        None => false,
    }
}

/// The slot's counts of a database, as they will be after each of the rows of an operation.
pub(super) struct Tally {
    cells: [u32; 2],
    counts: [i64; 2],
}

impl Tally {
    pub(super) fn of(slot: &Slot, db: u8) -> Self {
        let cells = [slot::key_cell(db), slot::expiring_cell(db)];
        Self {
            cells: cells.map(|cell| cell as u32),
            counts: cells.map(|cell| slot.counts[cell].load(Ordering::Relaxed)),
        }
    }

    /// After `keys` more keys and `expiring` more that expire.
    pub(super) fn after(&mut self, keys: i64, expiring: i64) -> [(u32, i64); 2] {
        self.counts[0] = self.counts[0].wrapping_add(keys);
        self.counts[1] = self.counts[1].wrapping_add(expiring);
        let cell = |i: usize, changed: i64| (if changed == 0 { NO_CELL } else { self.cells[i] }, self.counts[i]);
        [cell(0, keys), cell(1, expiring)]
    }
}

/// The count cells once a key is gone.
pub(crate) fn cells_without(slot: &Slot, db: u8, expiring: bool) -> [(u32, i64); 2] {
    Tally::of(slot, db).after(-1, -i64::from(expiring))
}

/// A record that is to be written: its words from 2 on, and its flags.
pub(super) struct Encoded {
    pub(super) flags: u16,
    pub(super) words: [u64; WORDS],
}

/// The block of a record's value, if a new layout of the record does not keep it. The key's block stays with the record.
pub(super) fn replaced_block(seen: &Seen, encoded: &Encoded) -> Option<(BlockRef, Form)> {
    // An integer may have the very bits of a block's name.
    let names_block =
        encoded.flags & flag::TYPE != 0 || matches!(encoded.flags & flag::ENCODING, flag::BLOCK | flag::TREE);
    seen.value_block().filter(|block| !names_block || encoded.words[VALUE_WORD] != block.0.0)
}

/// The integer whose decimal text this is, to the letter.
fn canonical_int(value: &[u8]) -> Option<i64> {
    let plausible = (1..=20).contains(&value.len()) && value.iter().skip(1).all(u8::is_ascii_digit);
    let number: i64 = plausible.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten()?;
    (itoa::Buffer::new().format(number).as_bytes() == value).then_some(number)
}

impl Keys {
    /// Lays a record out, and takes and fills the blocks that it needs. What `seen` has already is kept: an outer key.
    pub(super) fn encode(
        &self,
        writer: &Writer<'_>,
        key: Key<'_>,
        value: &[u8],
        expire_at: u64,
        seen: Option<&Seen>,
    ) -> Result<Encoded, Refusal> {
        let (mut encoded, value_at) = self.encode_key(writer, key, expire_at, seen)?;
        if let Some(int) = canonical_int(value) {
            encoded.flags |= flag::INT;
            encoded.words[VALUE_WORD] = int as u64;
        } else if value_at + value.len() <= PAYLOAD {
            encoded.words[LEN_WORD] = value.len() as u64;
            put(&mut encoded.words, value_at, value);
        } else {
            let (block, form) = self.take_filled(writer, value)?;
            encoded.flags |= if form == Form::Chunks { flag::TREE } else { flag::BLOCK };
            encoded.words[LEN_WORD] = value.len() as u64;
            encoded.words[VALUE_WORD] = block.0;
        }
        Ok(encoded)
    }

    /// As [`Keys::encode`], a record whose value is still to come; and where that may lie in the record.
    pub(super) fn encode_key(
        &self,
        writer: &Writer<'_>,
        key: Key<'_>,
        expire_at: u64,
        seen: Option<&Seen>,
    ) -> Result<(Encoded, usize), Refusal> {
        let mut encoded = Encoded { flags: u16::from(key.db), words: [0; WORDS] };
        encoded.words[EXPIRE_WORD] = expire_at;
        // This depends on the key alone: whoever looks a key up compares it while its value may be changing.
        if key.bytes.len() <= SHORT_KEY {
            put(&mut encoded.words, 0, key.bytes);
            return Ok((encoded, key.bytes.len()));
        }
        encoded.flags |= flag::OUTER_KEY;
        let known = seen.and_then(Seen::key_block);
        encoded.words[KEY_WORD] = match known {
            Some((block, _)) => block.0,
            None => self.take_filled(writer, key.bytes)?.0.0,
        };
        Ok((encoded, 8))
    }

    fn take_filled(&self, writer: &Writer<'_>, bytes: &[u8]) -> Result<(BlockRef, Form), Refusal> {
        let block = heap::take_formed(writer, bytes.len()).ok_or(Refusal::OutOfMemory)?;
        heap::write_formed(&self.segment, block, bytes);
        Ok((block, Form::of_len(bytes.len())))
    }
}

/// Puts bytes into the payload of a record's words.
fn put(words: &mut [u64; WORDS], at: usize, bytes: &[u8]) {
    bytemuck::cast_slice_mut::<u64, u8>(&mut words[KEY_WORD..])[at..at + bytes.len()].copy_from_slice(bytes);
}
