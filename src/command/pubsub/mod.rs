//! Publish and subscribe: who has subscribed to what, counted for all workers and known by name in its own worker, and the commands.

mod board;
mod commands;
mod local;
mod subscriptions;

pub(crate) use commands::COMMANDS;
pub(crate) use commands::{is_subscriber_command, only_listens};
pub use commands::{listen_to, publish, unsubscribe_all};
pub use local::{Heard, WithHearers};
pub use subscriptions::{PubSub, Subscriptions};
