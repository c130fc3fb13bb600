//! What the black-box tests share: a running server, two small clients, and the real tools.

mod http;
mod random;
mod resp;
mod server;
mod tools;

#[cfg(feature = "crash-points")]
pub(crate) use http::Response;
pub(crate) use http::{Http, percent};
pub(crate) use random::Random;
pub(crate) use resp::{Reply, Resp, encode};
pub(crate) use server::{Server, Start, alive, segment_name, signal, wait_until};
#[cfg(feature = "crash-points")]
pub(crate) use server::{children, state};
pub(crate) use tools::{Output, curl, input, interpreter, nc, python, redis_cli, run};
