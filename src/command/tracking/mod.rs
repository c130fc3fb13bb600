//! Client-side caching: clients that are told when a key they have read changes.

mod commands;
mod mode;
mod table;

pub(crate) use commands::{caching, getredir, tracking, trackinginfo};
pub(crate) use mode::Mode;
pub use table::{Push, Tracking};
