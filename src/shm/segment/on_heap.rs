//! A segment in the process's own heap, in one allocation of exactly its size: for tests under tools that watch over the heap, which
//! know nothing of what lies around a mapping. `scripts/sanitize` runs the unit tests on such segments, by `SEGMENTS_ON_HEAP`.
#![allow(unsafe_code)]

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

use shm_layout::header::{Geometry, Header};

use super::{Backing, Segment, SegmentError, SegmentOptions};
use crate::shm::mem::Mem;

/// A page, aligned like one of a mapping.
#[repr(C, align(4096))]
struct Page([AtomicU64; 512]);

/// The bytes. A vector, because a box that is moved claims that nobody else points into it.
pub(super) struct Pages(Vec<Page>);

impl Pages {
    fn of_bytes(bytes: u64) -> Self {
        let zero = || Page([const { AtomicU64::new(0) }; 512]);
        Self(std::iter::repeat_with(zero).take(bytes as usize / size_of::<Page>()).collect())
    }

    fn mem(&mut self) -> Mem {
        let bytes = size_of_val(self.0.as_slice()) as u64;
        let base = NonNull::new(self.0.as_mut_ptr().cast()).expect("a vector points somewhere");
        // SAFETY: the pages are aligned and stay beside the result in `Inner`; they never move, for the vector never grows.
        unsafe { Mem::new(base, bytes) }
    }
}

/// Whether an unnamed segment is to lie in the heap.
pub(super) fn is_wanted(options: &SegmentOptions) -> bool {
    options.name.is_none() && std::env::var_os("SEGMENTS_ON_HEAP").is_some()
}

impl Segment {
    pub(super) fn on_heap(geometry: Geometry) -> Result<Self, SegmentError> {
        let mut pages = Pages::of_bytes(geometry.request.memory);
        let mem = pages.mem();
        mem.at::<Header>(0).seed.store(0x5eed, Ordering::Relaxed);
        let segment = Self::over(mem, Backing::Heap(pages), geometry, None)?;
        segment.format()?;
        segment.admit_process()?;
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Column, Store, Value, backend::SharedStore};

    /// A row, a key and a counter: small enough for the slowest of tools.
    #[test]
    fn a_segment_on_the_heap_is_as_good_as_any() {
        let options = SegmentOptions::new().memory(4 << 20).counters(8).max_keys(100);
        let segment = Segment::on_heap(options.geometry().unwrap()).unwrap();
        let store = Store::on(Arc::new(SharedStore::open(segment.clone(), None)));
        let table = store.make("t", 8, &[Column::int("n"), Column::string("s", 20)]).unwrap();
        table.set("a", &[("n", Value::Int(1)), ("s", Value::from("text"))]).unwrap();
        assert_eq!(table.incr("a", "n", 2), Ok(3));
        assert_eq!(table.delete("b"), Ok(false));
        for value in [&b"1"[..], &[b'v'; 300], &[b'v'; 40_000]] {
            store.kv().set(0, b"k", value, Default::default()).unwrap();
            let mut out = Vec::new();
            assert_eq!(store.kv().get(0, b"k", &mut out), Ok(true));
            assert_eq!(out, value);
        }
        store.kv().rename(0, b"k", b"l", false).unwrap();
        assert_eq!(store.counter("c").and_then(|counter| counter.add(5)), Ok(5));
        assert!(segment.verify(None, &mut |_, _| {}).unwrap().is_sound());
    }
}
