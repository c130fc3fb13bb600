//! Mappings and what the kernel is told about them.
#![allow(unsafe_code)]

use std::{
    ffi::c_void,
    io,
    ptr::{self, NonNull},
    sync::atomic::AtomicU64,
};

/// Keeps the `len` bytes at `start` out of core files.
///
/// # Errors
///
/// As `madvise`.
///
/// # Safety
///
/// The range is a mapping of the caller's.
pub unsafe fn dont_dump(start: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: MADV_DONTDUMP changes nothing that the program can see; the range is the caller's.
    let result = unsafe { libc::madvise(start.cast::<c_void>(), len, libc::MADV_DONTDUMP) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel use huge pages for the `len` bytes at `start` where it can: reads at random places then miss the TLB less often.
///
/// # Errors
///
/// As `madvise`; kernels without huge pages refuse.
///
/// # Safety
///
/// The range is a mapping of the caller's.
pub unsafe fn prefer_huge_pages(start: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: MADV_HUGEPAGE changes nothing that the program can see; the range is the caller's.
    let result = unsafe { libc::madvise(start.cast::<c_void>(), len, libc::MADV_HUGEPAGE) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A word on a page of its own that reads 0 in a child after a fork, whatever the parent wrote there.
///
/// # Errors
///
/// As `mmap` and `madvise`.
pub fn wiped_on_fork() -> io::Result<&'static AtomicU64> {
    // Under Miri nobody forks.
    if cfg!(miri) {
        return Ok(Box::leak(Box::default()));
    }
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, prot, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range is the mapping just made.
    let advised = unsafe { libc::madvise(page, 4096, libc::MADV_WIPEONFORK) };
    if advised < 0 {
        return Err(io::Error::last_os_error());
    }
    let word = NonNull::new(page.cast::<AtomicU64>()).ok_or(io::ErrorKind::Other)?;
    // SAFETY: the page is mapped, aligned, zeroed, and never unmapped.
    Ok(unsafe { word.as_ref() })
}
