//! A descriptor by which one process wakes another.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::event::{EventfdFlags, eventfd};

/// Becomes readable when it is rung, in every process that inherited it.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    ///
    /// As `eventfd`.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes it readable. One system call.
    ///
    /// # Errors
    ///
    /// As `write`; one that was rung 2^64 times and never read is readable already.
    pub fn ring(&self) -> io::Result<()> {
        match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The descriptor, for one who watches it.
    ///
    /// # Errors
    ///
    /// As `dup`.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.0.try_clone()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::poll::wait_readable;

    #[test]
    fn a_bell_is_readable_once_it_was_rung() {
        let bell = Bell::new().unwrap();
        assert_eq!(wait_readable(&[bell.as_fd()], Duration::ZERO).unwrap(), [false]);
        bell.ring().unwrap();
        bell.ring().unwrap();
        assert_eq!(wait_readable(&[bell.as_fd()], Duration::ZERO).unwrap(), [true]);
    }
}
