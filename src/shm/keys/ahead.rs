//! Fetching ahead: of keys that are about to be asked for, what lies far away is brought near, all at once instead of one after the other.
//!
//! A key is three places away from its value: group, record, block. In each step the places of all keys are asked for, so that the
//! processor waits for them together. What is read on the way may be changing; it decides nothing but which lines are fetched.

use std::sync::atomic::Ordering;

use shm_layout::keys::VALUE_WORD;

use super::{super::heap, Keys, record::value_block};

impl Keys {
    /// Brings near what is known of these keys. It changes nothing, and waits for nothing.
    pub fn fetch_ahead(&self, db: u8, keys: &[&[u8]]) {
        self.fetch_hashed(keys.iter().map(|key| self.key(db, key).hash));
    }

    /// As [`Keys::fetch_ahead`], of keys whose hashes are known.
    pub(super) fn fetch_hashed(&self, hashes: impl IntoIterator<Item = u64>) {
        self.space.fetch_ahead(&self.segment, hashes, |row| self.fetch_value(row));
    }

    fn fetch_value(&self, row: u32) {
        let Some(found) = self.space.row(&self.segment, row) else { return };
        let word = found.words[VALUE_WORD].load(Ordering::Relaxed);
        if let Some((block, _)) = value_block(found.header.meta.load(Ordering::Relaxed), word) {
            let at = heap::contents_at(block);
            // Head and contents.
            self.segment.mem().prefetch(at.wrapping_sub(8));
            self.segment.mem().prefetch(at.wrapping_add(56));
        }
    }
}
