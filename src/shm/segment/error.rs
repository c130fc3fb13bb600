//! Why a segment could not be had, and why an operation on one did not happen.

use std::{fmt, io};

use super::file::DIRECTORY;

/// Why an operation on the segment did not happen. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// What it needs is held by somebody who does not let go.
    Busy,
    /// No row is free.
    Full,
    /// The arena has no room.
    OutOfMemory,
    /// The table was dropped.
    Gone,
    /// A table of this name has another shape or schema.
    Exists,
    /// The directory of tables is full.
    NoTable,
    /// It cannot be undone, and the thread is in a transaction.
    InTransaction,
}

/// Why a segment could not be made or attached.
#[derive(Debug)]
#[non_exhaustive]
pub enum SegmentError {
    /// The fixed regions and the least arena need more memory.
    TooSmall {
        /// Bytes asked for.
        memory: u64,
        /// Bytes needed at least.
        needed: u64,
    },
    /// More than a segment can address.
    TooLarge {
        /// Bytes asked for.
        memory: u64,
        /// Bytes possible.
        max: u64,
    },
    /// The name is not one of a file in /dev/shm.
    Name(String),
    /// Somebody uses the segment.
    InUse {
        /// The segment.
        name: String,
        /// Process id of the master, if it is known.
        pid: u64,
    },
    /// The file holds a segment of another make.
    Mismatch {
        /// The segment.
        name: String,
        /// What differs.
        field: &'static str,
        /// What the segment says.
        found: u64,
        /// What was asked for.
        wanted: u64,
    },
    /// There is no segment of this name.
    Missing(String),
    /// The file holds no segment.
    Foreign(String),
    /// Processes of another PID namespace are attached.
    Namespace(String),
    /// The system has not that much memory.
    Memory {
        /// Bytes asked for.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel, or what confines this process, lacks something that the store cannot do without.
    Unsupported(&'static str),
    /// A system call failed.
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { memory, needed } => {
                write!(f, "--memory {memory} is too small: these settings need at least {needed} bytes")
            }
            Self::TooLarge { memory, max } => write!(f, "--memory {memory} is too large: at most {max} bytes"),
            Self::Name(name) => {
                write!(f, "segment name '{name}' must be 1..=200 of A-Z a-z 0-9 _ . - and not begin with a dot")
            }
            Self::InUse { name, pid } => {
                write!(f, "segment '{name}' is in use by pid {pid}; stop it, or use another --segment")
            }
            Self::Mismatch { name, field, found, wanted } => write!(
                f,
                "segment '{name}' was made with {field} = {found}, asked for is {wanted}; \
                 use the same value, or --fresh to throw its contents away"
            ),
            Self::Missing(name) => write!(f, "there is no segment '{name}': no file '{DIRECTORY}/{name}'"),
            Self::Foreign(name) => {
                write!(
                    f,
                    "'{DIRECTORY}/{name}' is not a segment of this program; remove it, use another --segment, or --fresh"
                )
            }
            Self::Namespace(name) => write!(
                f,
                "segment '{name}' is used from another PID namespace; share it (docker run --pid=container:NAME) or use another --segment"
            ),
            Self::Memory { bytes, source } => {
                write!(f, "cannot get {bytes} bytes of shared memory: {source}; use a smaller --memory")
            }
            Self::Unsupported(what) => write!(f, "this system {what}; the store cannot keep its promises here"),
            Self::System { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for SegmentError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Memory { source, .. } | Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

pub(super) fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> SegmentError {
    move |source| SegmentError::System { doing, source }
}
