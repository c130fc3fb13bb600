//! What requests mean: [`execute`] turns arguments, a client's session and the store into a reply.
//!
//! Nothing here knows how a request was written on the wire, or sockets.

mod args;
mod bitfield;
mod bits;
mod bus;
mod call;
mod client;
mod client_filter;
mod clients;
mod compare;
mod connection;
mod counters;
mod dump;
mod env;
mod events;
mod execute;
mod expiry;
mod functions;
mod glob;
mod hashes;
mod info;
mod introspect;
mod keys;
mod keyspec;
mod lcs;
mod monitor;
mod msetex;
mod notify;
mod number;
mod object;
mod parameters;
mod pause;
mod places;
mod pubsub;
mod ranges;
mod rdb;
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
mod tracking;
mod transaction;
mod usage;
mod waiting;

pub use args::Args;
pub use bus::{Bus, Kind, Letter, Message};
pub use clients::Clients;
pub use env::{Env, WorkerState};
pub use events::tell;
pub use execute::{Outcome, busy, execute};
pub use monitor::Monitors;
pub use notify::{Class, EventClasses, Notice, Notices};
pub(crate) use number::{float_text, parse_float, parse_int};
pub use pause::Pause;
pub use pubsub::{Heard, PubSub, Subscriptions, WithHearers, listen_to, publish, unsubscribe_all};
pub use reply::{Proto, Reply};
pub use session::{Session, Traffic};
pub use settings::Settings;
pub use tracking::{Push, Tracking};
