//! One safe function per system call that the rest needs. Nothing here knows what a segment or a worker is.

pub mod clock;
pub mod event;
pub mod file;
pub mod futex;
pub mod membarrier;
pub mod memory;
pub mod memory_limit;
pub mod poll;
pub mod process;
pub mod random;
pub mod robust;
pub mod shared_byte;
pub mod signal;
pub mod watch;
