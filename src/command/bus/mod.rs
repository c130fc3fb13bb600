//! Messages between workers: what is said, and the way from a command that says it to the workers that hear it.

mod message;
mod post;

pub use message::{Kind, Message, NAMED_AT_ONCE};
pub use post::{Bus, Letter};
