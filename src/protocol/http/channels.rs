//! Pub/sub: a message is a raw body; whoever listens gets events.

use super::{
    call::Call,
    error::Failure,
    json::{self, Members},
    response::Response,
};
use crate::command::{Kind, publish};

/// `POST /channels/{c}`
pub(super) fn post(call: &Call<'_>, channel: &[u8]) -> Result<Response, Failure> {
    let receivers = publish(call.context.state, Kind::Channel, channel, call.body)?;
    let mut out = Vec::with_capacity(32);
    let mut members = Members::open(&mut out);
    json::push_count(members.name("receivers"), receivers.unsigned_abs());
    members.close();
    Ok(Response::json(200, out))
}
