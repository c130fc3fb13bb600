//! The life of the processes: create, bind, fork, watch, recover, stop.

mod check;
mod failure;
mod listeners;
mod log;
mod master;
mod memory;
mod start;
mod supervisor;
mod worker;

pub use check::check;
pub use failure::Failure;
pub use start::{Reload, serve};
