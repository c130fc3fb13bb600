//! Counters.

use super::{
    call::Call,
    error::{Failure, Refusal, bad, refusal},
    json::{self, Json, Members},
    response::Response,
    route::Direction,
};
use crate::store::{Error, Value};

/// `GET /counters`
pub(super) fn list(call: &Call<'_>) -> Result<Response, Failure> {
    let counters = call.store().counters()?;
    let ints = call.query.ints;
    let mut out = Vec::with_capacity(32 + counters.len() * 32);
    let mut members = Members::open(&mut out);
    let mut binary = Vec::new();
    let mut object = Members::open(members.name("counters"));
    for (name, value) in &counters {
        match std::str::from_utf8(name) {
            Ok(name) => json::push_int(object.name(name), *value, ints),
            Err(_) => binary.push((name, *value)),
        }
    }
    object.close();
    if !binary.is_empty() {
        let out = members.name("binary");
        for (i, (name, value)) in binary.into_iter().enumerate() {
            out.push(if i == 0 { b'[' } else { b',' });
            let mut entry = Members::open(out);
            json::push_bytes(entry.name("name"), name);
            json::push_int(entry.name("value"), value, ints);
            entry.close();
        }
        out.push(b']');
    }
    members.close();
    Ok(Response::json(200, out))
}

/// `GET /counters/{c}`
pub(super) fn get(call: &Call<'_>, name: &[u8]) -> Result<Response, Failure> {
    let value = call.store().counter(name)?.get()?;
    call.count_read(value.is_some());
    Ok(value_response(call, value.ok_or_else(no_counter)?))
}

/// `PUT /counters/{c}`
pub(super) fn put(call: &Call<'_>, name: &[u8]) -> Result<Response, Failure> {
    let mut members = call.members()?;
    let value = members.need("value")?.whole("value", call.query.ints)?;
    members.finish()?;
    call.store().counter(name)?.set(value)?;
    call.count_writes(1);
    Ok(Response::no_content())
}

/// `DELETE /counters/{c}`
pub(super) fn delete(call: &Call<'_>, name: &[u8]) -> Result<Response, Failure> {
    if !call.store().counter(name)?.delete()? {
        return Err(no_counter().into());
    }
    call.count_writes(1);
    Ok(Response::no_content())
}

/// `POST /counters/{c}/incr` and `/decr`
pub(super) fn step(call: &Call<'_>, name: &[u8], direction: Direction) -> Result<Response, Failure> {
    let mut members = call.optional_members()?;
    let mut whole = |name: &str| members.take(name).map(|json: Json<'_>| json.whole(name, call.query.ints)).transpose();
    let (by, max, min) = (whole("by")?.unwrap_or(1), whole("max")?, whole("min")?);
    members.finish()?;
    let by = if direction == Direction::Down { by.checked_neg().ok_or(Error::Overflow)? } else { by };
    let counter = call.store().counter(name)?;
    let value = match bound(by, max, min)? {
        None => Some(counter.add(by)?),
        Some(bound) => counter.add_bounded(by, bound)?,
    };
    let value = value.ok_or_else(|| refusal(409, "bound_reached", "the step would lead beyond the bound"))?;
    call.count_writes(1);
    Ok(value_response(call, value))
}

/// The bound that lies in the direction of the step; one in the other direction would mean nothing.
fn bound(by: i64, max: Option<i64>, min: Option<i64>) -> Result<Option<i64>, Refusal> {
    match (by >= 0, max, min) {
        (true, max, None) => Ok(max),
        (false, None, min) => Ok(min),
        _ => Err(bad("'max' bounds a step up, 'min' a step down")),
    }
}

/// `POST /counters/{c}/reset`
pub(super) fn reset(call: &Call<'_>, name: &[u8]) -> Result<Response, Failure> {
    call.no_members()?;
    call.store().counter(name)?.reset()?;
    call.count_writes(1);
    Ok(value_response(call, 0))
}

/// `POST /counters/{c}/cas`
pub(super) fn cas(call: &Call<'_>, name: &[u8]) -> Result<Response, Failure> {
    let mut members = call.members()?;
    let expect = members.need("expect")?.whole("expect", call.query.ints)?;
    let set = members.need("set")?.whole("set", call.query.ints)?;
    members.finish()?;
    let (swapped, value) = call.store().counter(name)?.compare_and_set(expect, set)?;
    if swapped {
        call.count_writes(1);
    }
    let mut out = Vec::with_capacity(48);
    let mut members = Members::open(&mut out);
    members.name("swapped").extend_from_slice(if swapped { b"true" } else { b"false" });
    json::push_int(members.name("value"), value, call.query.ints);
    members.close();
    Ok(Response::json(200, out))
}

fn value_response(call: &Call<'_>, value: i64) -> Response {
    Response::json(200, json::value_body(&Value::Int(value), call.query.ints))
}

fn no_counter() -> Refusal {
    refusal(404, "counter_not_found", "no counter of this name was ever written")
}
