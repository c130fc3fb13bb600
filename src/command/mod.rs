//! What requests mean: [`execute`] turns arguments, a client's session and the store into a reply.
//!
//! Nothing here knows how a request was written on the wire, or sockets.

mod acl;
mod args;
mod bits;
mod buffers;
mod bus;
mod call;
mod client;
mod connection;
mod counters;
mod env;
mod events;
mod execute;
mod expiry;
mod glob;
mod hashes;
mod introspect;
mod keys;
mod keyspec;
mod meter;
mod notify;
mod number;
mod pubsub;
mod recent;
mod refusal;
mod reply;
mod server;
mod session;
mod strings;
mod table;
mod tables;
#[cfg(test)]
mod testing;
mod tracking;
mod transaction;

use bits::bitfield;
use client::{client_filter, clients, pause};
use keys::{dump, object, places, rdb, whole};
use server::{absent, functions, info, latency, memory, monitor, parameters, settings, slowlog, waiting};
use strings::{compare, lcs, msetex, ranges};

pub use acl::{Acl, Shown, User};
pub use args::Args;
pub use buffers::Buffers;
pub use bus::{Bus, Kind, Letter, Message, NAMED_AT_ONCE};
pub use clients::Clients;
pub use env::{Env, WorkerState};
pub use events::{prepare_change, tell};
pub use execute::{Outcome, busy, execute};
pub use meter::Meter;
pub use monitor::Monitors;
pub use notify::{Class, EventClasses, Notice, Notices};
pub(crate) use number::{float_text, parse_float, parse_int};
pub use pause::Pause;
pub use pubsub::{Heard, PubSub, Subscriptions, WithHearers, listen_to, publish, unsubscribe_all};
pub use recent::Recent;
pub use reply::{Proto, Reply};
pub use session::{Session, Traffic};
pub use settings::Settings;
pub use slowlog::SlowLog;
pub use tracking::{Push, Tracking};
