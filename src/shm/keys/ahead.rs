//! Fetching ahead: of keys that are about to be asked for, what lies far away is brought near, all at once instead of one after the other.
//!
//! A key is three places away from its value: group, record, block. In each step the places of all keys are asked for, so that the
//! processor waits for them together. What is read on the way may be changing; it decides nothing but which lines are fetched.

use std::sync::atomic::Ordering;

use shm_layout::{
    heap::BlockRef,
    keys::{VALUE_WORD, flag},
    row,
};

use super::{super::heap, Keys};

/// Keys whose places are asked for together.
const TOGETHER: usize = 16;

impl Keys {
    /// Brings near what is known of these keys. It changes nothing, and waits for nothing.
    pub fn fetch_ahead(&self, db: u8, keys: &[&[u8]]) {
        for keys in keys.chunks(TOGETHER) {
            self.fetch_together(db, keys);
        }
    }

    fn fetch_together(&self, db: u8, keys: &[&[u8]]) {
        let mut hashes = [0; TOGETHER];
        hashes.iter_mut().zip(keys).for_each(|(hash, key)| *hash = self.key(db, key).hash);
        let rows = self.space.fetch_ahead::<TOGETHER>(&self.segment, &hashes[..keys.len()]);
        rows.into_iter().flatten().for_each(|row| self.fetch_value(row));
    }

    fn fetch_value(&self, row: u32) {
        let Some(found) = self.space.row(&self.segment, row) else { return };
        let meta = found.header.meta.load(Ordering::Relaxed);
        let in_block =
            row::flags(meta) & (flag::ENCODING | flag::TYPE) != 0 && row::flags(meta) & flag::ENCODING != flag::INT;
        if in_block {
            let at = heap::contents_at(BlockRef(found.words[VALUE_WORD].load(Ordering::Relaxed)));
            // Head and contents.
            self.segment.mem().prefetch(at.wrapping_sub(8));
            self.segment.mem().prefetch(at.wrapping_add(56));
        }
    }
}
