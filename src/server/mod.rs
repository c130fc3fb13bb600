//! The event loops of a worker: sockets to protocols and back, with back-pressure, time limits and an orderly end.

mod accept;
mod drain;
mod events;
mod farewell;
mod hold;
mod http;
mod hub;
mod mailbox;
mod news;
mod post;
mod resp;
mod roster;
#[cfg(test)]
mod tests;
mod tick;
mod watchers;
mod wire;
mod worker;

pub use worker::{Worker, reserve, run};
