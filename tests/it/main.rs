//! Black-box tests: they start the real program on free ports and talk to it as its users do.
//!
//! Nothing in here looks inside the program. A test that needs `redis-cli`, `redis-benchmark`, `curl`, `nc` or
//! redis-py fails, and says so, where the tool is missing; `scripts/test` installs them.

mod harness;

mod architecture;
mod bad_input;
mod check;
mod clients;
mod control;
#[cfg(feature = "crash-points")]
mod deaths;
mod differential;
mod evict;
mod examples;
mod http;
mod kill;
mod life;
#[cfg(feature = "crash-points")]
mod linear;
mod load;
mod memory;
mod pubsub;
mod readme;
mod resp;
mod segment;
#[cfg(feature = "test-programs")]
mod soak;
#[cfg(feature = "crash-points")]
mod stopped;
mod transactions;
mod users;
mod watching;
mod workers;
