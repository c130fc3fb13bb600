//! Whether descriptors are ready.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// Whether a write would not have to wait. An error counts as ready: the write will tell.
#[must_use]
pub fn is_writable(descriptor: &impl AsFd) -> bool {
    let mut polled = [PollFd::new(descriptor.as_fd(), PollFlags::POLLOUT)];
    poll(&mut polled, PollTimeout::ZERO) != Ok(0)
}

/// Waits until one of the descriptors can be read or has no writer any more, at most for `timeout`; says of each whether it has.
///
/// # Errors
///
/// As `poll`. An interruption is no error.
pub fn wait_readable(descriptors: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<Vec<bool>> {
    let mut polled: Vec<_> = descriptors.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    // Rounded up, so that one who waits for a moment does not come back just before it.
    let ms = timeout.as_micros().div_ceil(1000);
    match poll(&mut polled, PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)) {
        Ok(_) | Err(Errno::EINTR) => Ok(polled.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
        Err(error) => Err(error.into()),
    }
}
