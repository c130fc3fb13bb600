//! The same random commands to our server and to a real `redis-server`: every reply must be the same, byte for byte.
//!
//! [`shapes`] is the table of commands that are sent, one row each; [`values`] makes their arguments, few keys and many edges;
//! [`exceptions`] lists where we answer otherwise on purpose, with the reason that users read in docs/redis-compatibility.md.
//! A round starts with empty servers, speaks RESP2 or RESP3, and ends at the first difference.
//!
//! `DIFFERENTIAL_COMMANDS` says how many commands are sent (`scripts/differential` sends a million), `IT_SEED` where the
//! rounds begin. A difference is shown with the fewest commands that lead to it.

mod commands;
mod compare;
mod dumps;
mod exceptions;
mod peer;
mod pubsub;
mod raw;
mod rounds;
mod shapes;
mod users;
mod values;
