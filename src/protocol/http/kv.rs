//! The key-value space: database 0, values as raw bodies.

use super::{
    call::Call,
    error::{Failure, refusal},
    json,
    response::Response,
    route::Direction,
};
use crate::{
    command::Class,
    store::{Error, Expiry, SetOptions, Value, limits::MAX_KV_KEY_BYTES},
};

/// The database that HTTP speaks to.
const DB: u8 = 0;

/// `GET /kv/{k}`
pub(super) fn get(call: &Call<'_>, key: &[u8]) -> Result<Response, Failure> {
    check_key(key)?;
    let mut value = Vec::new();
    let found = call.store().kv().get(DB, key, &mut value)?;
    call.count_read(found);
    if !found {
        return Err(no_key());
    }
    Ok(Response::of(200, "application/octet-stream", value))
}

/// `PUT /kv/{k}`
pub(super) fn put(call: &Call<'_>, key: &[u8]) -> Result<Response, Failure> {
    check_key(key)?;
    call.prepare(DB, key)?;
    let expiry = call.query.ttl_ms.map_or(Expiry::Never, |ms| Expiry::At(call.context.now_ms + ms));
    call.store().kv().set(DB, key, call.body, SetOptions { expiry, ..SetOptions::default() })?;
    call.count_writes(1);
    call.notify(DB, Class::String, "set", key);
    if expiry != Expiry::Never {
        call.notify(DB, Class::Generic, "expire", key);
    }
    Ok(Response::no_content())
}

/// `DELETE /kv/{k}`
pub(super) fn delete(call: &Call<'_>, key: &[u8]) -> Result<Response, Failure> {
    check_key(key)?;
    call.prepare(DB, key)?;
    if !call.store().kv().delete(DB, key)? {
        return Err(no_key());
    }
    call.count_writes(1);
    call.notify(DB, Class::Generic, "del", key);
    Ok(Response::no_content())
}

/// `POST /kv/{k}/incr` and `/decr`
pub(super) fn step(call: &Call<'_>, key: &[u8], direction: Direction) -> Result<Response, Failure> {
    check_key(key)?;
    let mut members = call.optional_members()?;
    let by = members.take("by").map_or(Ok(1), |by| by.whole("by", call.query.ints))?;
    members.finish()?;
    let by = if direction == Direction::Down { by.checked_neg().ok_or(Error::Overflow)? } else { by };
    call.prepare(DB, key)?;
    let value = call.store().kv().incr(DB, key, by)?;
    call.count_writes(1);
    call.notify(DB, Class::String, "incrby", key);
    Ok(Response::json(200, json::value_body(&Value::Int(value), call.query.ints)))
}

fn check_key(key: &[u8]) -> Result<(), Error> {
    if key.len() > MAX_KV_KEY_BYTES {
        return Err(Error::KeyTooLong { len: key.len(), max: MAX_KV_KEY_BYTES });
    }
    Ok(())
}

fn no_key() -> Failure {
    refusal(404, "key_not_found", "no such key").into()
}
