//! The Redis serialization protocol, versions 2 and 3.

mod encode;
mod parse;

pub use encode::{encode, encode_message};
pub use parse::{Parser, ProtocolError, RequestLimits};
