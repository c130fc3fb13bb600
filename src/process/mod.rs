//! The life of the processes: create, bind, fork, watch, recover, stop.

mod failure;
mod listeners;
mod log;
mod master;
mod memory;
mod start;
mod supervisor;
mod worker;

pub use failure::Failure;
pub use start::{Reload, serve};
