//! One byte that a process and all its children see alike.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicU8, Ordering},
};

use memmap2::{MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A byte in shared memory. Children forked after it was made share it with their parent.
#[derive(Debug)]
pub struct SharedByte(MmapRaw);

impl SharedByte {
    /// A byte of this value.
    ///
    /// # Errors
    ///
    /// As `memfd_create`, `ftruncate` and `mmap`.
    pub fn new(value: u8) -> io::Result<Self> {
        let file = File::from(memfd_create("shared-byte", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(1)?;
        let byte = Self(MmapOptions::new().len(1).map_raw(&file)?);
        byte.store(value);
        Ok(byte)
    }

    fn cell(&self) -> &AtomicU8 {
        // SAFETY: the mapping is one byte long, lives as long as `self`, and is only ever used as this atomic.
        unsafe { AtomicU8::from_ptr(self.0.as_mut_ptr()) }
    }

    /// The value.
    #[must_use]
    pub fn load(&self) -> u8 {
        self.cell().load(Ordering::Relaxed)
    }

    /// Sets the value, for all.
    pub fn store(&self, value: u8) {
        self.cell().store(value, Ordering::Relaxed);
    }
}
