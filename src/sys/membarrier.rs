//! A memory barrier in every running thread of every registered process, so that the frequent side of a
//! two-sided handshake can do without one.
#![allow(unsafe_code)]

use std::io;

const GLOBAL_EXPEDITED: libc::c_int = 2;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 4;

fn membarrier(command: libc::c_int) -> io::Result<()> {
    // Miri has one processor, so to say, and not this call.
    if cfg!(miri) {
        return Ok(());
    }
    // SAFETY: the call takes three integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Registers this process: without it, [`global`] passes it over in silence.
///
/// # Errors
///
/// Where the kernel or a sandbox refuses it.
pub fn register() -> io::Result<()> {
    membarrier(REGISTER_GLOBAL_EXPEDITED)
}

/// A full barrier in every running thread of every registered process. 5 to 9 us.
///
/// # Errors
///
/// Where the kernel or a sandbox refuses it.
pub fn global() -> io::Result<()> {
    membarrier(GLOBAL_EXPEDITED)
}
