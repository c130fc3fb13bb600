//! Words that a process and all its descendants see alike: what a child wrote there outlives it.
#![allow(unsafe_code)]

use std::{ops::Deref, sync::atomic::AtomicU64};

use memmap2::{MmapOptions, MmapRaw};
use store_master::sys::file;

/// A shared array of words, all 0 at first.
pub(crate) struct Shared {
    map: MmapRaw,
    words: usize,
}

impl Shared {
    pub(crate) fn new(words: usize) -> Self {
        let memory = file::anonymous("crash-books").expect("a memfd can be made");
        memory.set_len(8 * words as u64).expect("it can have a size");
        let map = MmapOptions::new().len(8 * words).map_raw(&memory).expect("it can be mapped");
        Self { map, words }
    }
}

impl Deref for Shared {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is page-aligned, has this length, lives as long as `self`, and is used as these atomics only.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.words) }
    }
}
