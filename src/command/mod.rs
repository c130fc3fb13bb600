//! What requests mean: [`execute`] turns arguments, a client's session and the store into a reply.
//!
//! Nothing here knows how a request was written on the wire, or sockets.

mod args;
mod call;
mod clients;
mod connection;
mod counters;
mod env;
mod execute;
mod expiry;
mod functions;
mod glob;
mod info;
mod introspect;
mod keys;
mod notify;
mod number;
mod refusal;
mod reply;
mod server;
mod session;
mod settings;
mod strings;
mod table;
mod tables;
#[cfg(test)]
mod testing;
mod usage;

pub use args::Args;
pub use clients::Clients;
pub use env::{Env, WorkerState};
pub use execute::{Outcome, busy, execute};
pub use notify::{Class, EventClasses, Notice, Notices};
pub(crate) use number::{float_text, parse_float, parse_int};
pub use reply::{Proto, Reply};
pub use session::Session;
pub use settings::Settings;
