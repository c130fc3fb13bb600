//! Files that hold shared memory, and the locks on them.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::Path,
};

use nix::{
    fcntl::{self, FallocateFlags, FcntlArg, SealFlag},
    libc,
    sys::memfd::{self, MFdFlags},
};

/// A file without a name that lives in memory and can be sealed.
///
/// # Errors
///
/// As `memfd_create`.
pub fn anonymous(name: &str) -> io::Result<File> {
    Ok(memfd::memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?.into())
}

/// Forbids any later change of the file's size.
///
/// # Errors
///
/// As `fcntl(F_ADD_SEALS)`.
pub fn seal_size(file: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    fcntl::fcntl(file.as_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// Gives the file `bytes` of memory now, so that none is missing later.
///
/// # Errors
///
/// `ENOSPC` or `ENOMEM` when there is not that much.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    Ok(fcntl::fallocate(file.as_fd(), FallocateFlags::empty(), 0, bytes as libc::off_t)?)
}

/// Opens a file for reading and writing; makes it with `mode` if it is missing and `create` is set.
///
/// # Errors
///
/// As `open`.
pub fn open(path: &Path, create: bool, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(mode)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    if create && file.metadata()?.len() == 0 {
        // The umask must not take away what the user asked for.
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    Ok(file)
}

/// Takes the exclusive lock of the open file description, which children inherit; false: somebody else has it.
///
/// # Errors
///
/// As `flock`.
pub fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The kinds of an attachment lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// Held by every process that is attached.
    Shared,
    /// Got only by one who is alone.
    Alone,
}

/// Takes the open-file-description lock on byte 1 of the file; false: others hold it in a way that forbids it.
///
/// # Errors
///
/// As `fcntl(F_OFD_SETLK)`.
pub fn try_attach(file: &File, kind: Attachment) -> io::Result<bool> {
    let l_type = match kind {
        Attachment::Shared => libc::F_RDLCK,
        Attachment::Alone => libc::F_WRLCK,
    };
    let lock = libc::flock {
        l_type: l_type as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 1,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl::fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The inode of the PID namespace of this process.
///
/// # Errors
///
/// Where /proc is not mounted.
pub fn pid_namespace() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/pid")?.ino())
}
