//! Descriptors that the runtime watches for readability.
#![allow(unsafe_code)]

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Has the runtime of the calling thread watch a descriptor until the result is dropped.
///
/// # Errors
///
/// What the kernel says of a descriptor that cannot be watched, such as one of a regular file.
///
/// # Panics
///
/// If the calling thread runs no runtime.
pub fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open description until it is dropped, and the AsyncFd owns it until then.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}
