//! The mapped bytes, seen as atomics and as the structs of `shm-layout`.
//!
//! Every access names an offset and is checked against the length of the mapping, in release builds too: an
//! offset that was read from the segment is an allegation. No reference to plain bytes is ever formed.
#![allow(unsafe_code)]

use std::{
    ptr::NonNull,
    sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
};

use shm_layout::{bus, directory, header::Header, heap, index::Group, interest::Interest, row, slot::Slot};

/// A type that may be laid over the bytes of a segment.
///
/// # Safety
///
/// It is `#[repr(C)]`, consists of atomics and of integers that nobody writes, has no padding, and any bytes are valid for it.
pub(crate) unsafe trait Shared {}

macro_rules! shared {
    ($($type:ty),* $(,)?) => {$(
        // SAFETY: `shm-layout` proves size, offsets and the absence of padding at compile time; all fields that change are atomics.
        unsafe impl Shared for $type {}
    )*};
}

shared!(
    Header,
    bus::Board,
    bus::Ring,
    Slot,
    Group,
    Interest,
    directory::Entry,
    heap::Page,
    row::Header,
    shm_layout::slot::Entry,
    shm_layout::slot::BlockEntry
);
shared!(AtomicU32, AtomicU64, AtomicI64);

/// The bytes of a mapping. A copy of the pair of address and length: it owns nothing, and whoever holds one also
/// holds, directly or through the segment's handle, the mapping itself.
#[derive(Clone, Copy)]
pub(crate) struct Mem {
    base: NonNull<u8>,
    len: u64,
}

// SAFETY: all access goes through atomics.
unsafe impl Send for Mem {}
// SAFETY: as above.
unsafe impl Sync for Mem {}

impl Mem {
    /// The `len` bytes at `base`.
    ///
    /// # Safety
    ///
    /// * The range is mapped for reading and writing for as long as any copy of the result is used.
    /// * `base` is aligned to a page.
    pub(crate) unsafe fn new(base: NonNull<u8>, len: u64) -> Self {
        Self { base, len }
    }

    /// Whether `len` bytes at `at` lie inside.
    pub(crate) fn contains(&self, at: u64, len: u64) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.len)
    }

    /// The struct at `at`.
    ///
    /// # Panics
    ///
    /// If it is not inside or not aligned: the caller computed a wrong place.
    #[inline(always)]
    pub(crate) fn at<T: Shared>(&self, at: u64) -> &T {
        assert!(self.contains(at, size_of::<T>() as u64) && at.is_multiple_of(align_of::<T>() as u64));
        // SAFETY: the offset is inside the mapping, as checked above.
        let place = unsafe { self.base.add(at as usize) };
        // SAFETY: the place is inside and aligned, and any bytes are a valid `T` of atomics.
        unsafe { place.cast::<T>().as_ref() }
    }

    /// `count` structs that follow each other at `at`.
    ///
    /// # Panics
    ///
    /// As [`Mem::at`].
    #[inline(always)]
    pub(crate) fn slice<T: Shared>(&self, at: u64, count: usize) -> &[T] {
        let bytes = (count as u64).checked_mul(size_of::<T>() as u64);
        assert!(bytes.is_some_and(|len| self.contains(at, len)) && at.is_multiple_of(align_of::<T>() as u64));
        // SAFETY: the offset is inside the mapping, as checked above.
        let place = unsafe { self.base.add(at as usize) };
        // SAFETY: the whole range is inside and aligned, and any bytes are valid for `T`s of atomics.
        unsafe { std::slice::from_raw_parts(place.cast::<T>().as_ptr(), count) }
    }

    /// Has the processor fetch the line at `at`, which need not be inside: it does nothing then.
    #[inline(always)]
    pub(crate) fn prefetch(&self, at: u64) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if at < self.len {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let place = self.base.as_ptr().wrapping_add(at as usize).cast_const();
            // SAFETY: every x86_64 processor has SSE; a prefetch reads nothing that the program can see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
        }
    }

    /// The word at `at`.
    #[inline(always)]
    pub(crate) fn word(&self, at: u64) -> &AtomicU64 {
        self.at(at)
    }

    /// The half word at `at`.
    #[inline(always)]
    pub(crate) fn half(&self, at: u64) -> &AtomicU32 {
        self.at(at)
    }

    /// Where in the segment something of the segment lies.
    pub(crate) fn offset_of<T: Shared>(&self, place: &T) -> u64 {
        std::ptr::from_ref(place) as u64 - self.base.as_ptr() as u64
    }

    /// Sets the words of a range to 0. `at` and `bytes` are multiples of 8.
    pub(crate) fn zero(&self, at: u64, bytes: u64) {
        for word in self.slice::<AtomicU64>(at, (bytes / 8) as usize) {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Copies `len` bytes of contents from the words at `at`, a multiple of 8, to the end of `out`.
    pub(crate) fn read_bytes(&self, at: u64, len: usize, out: &mut Vec<u8>) {
        append(self.slice::<AtomicU64>(at, len.div_ceil(8)), len, out);
    }

    /// Copies `bytes` into the words at `at`, a multiple of 8; the rest of the last word becomes 0.
    pub(crate) fn write_bytes(&self, at: u64, bytes: &[u8]) {
        let words = self.slice::<AtomicU64>(at, bytes.len().div_ceil(8));
        let (whole, rest) = bytes.as_chunks::<8>();
        for (word, bytes) in words.iter().zip(whole) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        if let Some(word) = words.get(whole.len()) {
            word.store(word_of(rest), Ordering::Relaxed);
        }
    }
}

/// Copies the first `len` bytes of words to the end of `out`.
pub(crate) fn append(words: &[AtomicU64], len: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + words.len() * 8, 0);
    for (bytes, word) in out[start..].as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    out.truncate(start + len);
}

/// Up to eight bytes as a word, zeros behind.
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}
