//! The HTTP interface: request parts and body in, status, headers and body out; no sockets, no waiting.

mod base64;
mod call;
mod channels;
mod counters;
mod error;
mod events;
mod guard;
mod json;
mod kv;
mod metrics;
mod ops;
mod query;
mod response;
mod route;
mod rows;
mod tables;
#[cfg(test)]
mod tests;

pub use call::{Answer, Context, Head, Plan, admit};
pub use error::{bad_request, busy, crowded, malformed, refused, too_large};
pub use events::{KEEP_ALIVE, Listening, event, flush_event, key_event, reset_event};
pub use guard::{cors_origin, shown};
pub use response::{Body, Response};
