//! One safe function per system call that the rest needs. Nothing here knows what a segment or a worker is.

pub mod clock;
pub mod file;
pub mod futex;
pub mod membarrier;
pub mod memory;
pub mod robust;
