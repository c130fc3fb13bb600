//! The robust list of a thread: what the kernel looks at when the thread dies.
#![allow(unsafe_code)]

use std::{ffi::c_void, io};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// Makes the `len` bytes at `head` the calling thread's list.
///
/// # Errors
///
/// `EINVAL` where the kernel's struct has another size.
///
/// # Safety
///
/// * `head` points to a valid `struct robust_list_head` for as long as it is registered.
/// * Every node that its list reaches stays mapped for as long.
pub unsafe fn set_list(head: *const c_void, len: usize) -> io::Result<()> {
    // Under Miri nobody is killed.
    if cfg!(miri) {
        return Ok(());
    }
    // SAFETY: the caller vouches for the list; the kernel only follows it when the thread dies.
    let result = unsafe { libc::syscall(libc::SYS_set_robust_list, head, len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The calling thread's id.
#[must_use]
pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32
}

/// Whether there is a thread of this id, of whatever process, in the PID namespace of the caller.
#[must_use]
pub fn exists(thread: u32) -> bool {
    // Without a signal the kernel only looks; that it may not be sent one is an answer as well.
    kill(Pid::from_raw(thread as i32), None) != Err(Errno::ESRCH)
}
