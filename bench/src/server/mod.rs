//! The server beside others: CPU time of a request, latency under a given load, messages to many subscribers, many keys.
//!
//! A server has one core, the load another. With a closed loop the load may be what limits, so what is compared is the CPU time
//! that the serving processes use for a request, and not how many requests there are.

mod commands;
mod constant;
mod http;
mod instructions;
mod large;
mod latency;
mod load;
mod parts;
mod process;
mod pubsub;
mod requests;
mod side;
mod start;
mod wire;
mod workers;

pub(crate) use self::{
    constant::serve as serve_constant,
    parts::{Extent, all, part_names},
};
