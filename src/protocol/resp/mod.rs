//! The Redis serialization protocol, versions 2 and 3.

mod ahead;
mod encode;
mod parse;

pub use ahead::Ahead;
pub use encode::{encode, encode_message};
pub use parse::{Parser, ProtocolError, RequestLimits};
