//! Commands on counters.

use super::{
    Reply,
    call::Call,
    refusal::{Answer, Refusal, refuse, wrong_arity},
    table::{Command, DELETE_FAST, READ, READ_FAST, WRITE_FAST},
};
use crate::store::{Counter, Error};

pub(crate) const COMMANDS: &[Command] = &[
    command("counter.incr", -2, incr).flags(WRITE_FAST).docs("0.1.0", "counter [increment]", "Adds to a counter."),
    command("counter.decr", -2, decr).flags(WRITE_FAST).docs("0.1.0", "counter [decrement]", "Takes from a counter."),
    command("counter.get", 2, get).flags(READ_FAST).docs("0.1.0", "counter", "Returns the value of a counter."),
    command("counter.set", 3, set).flags(WRITE_FAST).docs("0.1.0", "counter value", "Sets a counter."),
    command("counter.reset", 2, reset).flags(WRITE_FAST).docs("0.1.0", "counter", "Sets a counter to 0."),
    command("counter.cas", 4, cas).flags(WRITE_FAST).docs(
        "0.1.0",
        "counter expected value",
        "Sets a counter that has the expected value; a missing one has 0.",
    ),
    command("counter.del", 2, del).flags(DELETE_FAST).docs("0.1.0", "counter", "Deletes a counter."),
    command("counter.incrbound", 4, incrbound).flags(WRITE_FAST).docs(
        "0.1.0",
        "counter increment maximum",
        "Adds to a counter unless it would pass the maximum.",
    ),
    command("counter.decrbound", 4, decrbound).flags(WRITE_FAST).docs(
        "0.1.0",
        "counter decrement minimum",
        "Takes from a counter unless it would pass the minimum.",
    ),
    command("counter.list", 1, list).flags(READ).docs(
        "0.1.0",
        "",
        "Returns all counters that may be read, and their values.",
    ),
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("counter")
}

fn counter(call: &Call<'_, '_>) -> Answer<Counter> {
    Ok(call.env.store.counter(call.arg(1))?)
}

/// The step of INCR and DECR: 1 unless it is given.
fn step(call: &Call<'_, '_>) -> Answer<i64> {
    match call.args.len() {
        2 => Ok(1),
        3 => call.int(2),
        _ => {
            let name = call.text(0).to_ascii_lowercase();
            wrong_arity(&name)
        }
    }
}

/// The step of INCRBOUND and DECRBOUND, which has a direction and so is not 0.
fn bounded_step(call: &Call<'_, '_>) -> Answer<i64> {
    match call.int(2)? {
        by if by > 0 => Ok(by),
        _ => refuse("ERR the step must be at least 1"),
    }
}

fn incr(call: &mut Call<'_, '_>) -> Answer {
    let by = step(call)?;
    add(call, by)
}

fn decr(call: &mut Call<'_, '_>) -> Answer {
    let by = step(call)?.checked_neg().ok_or(Error::Overflow)?;
    add(call, by)
}

fn add(call: &mut Call<'_, '_>, by: i64) -> Answer {
    let sum = counter(call)?.add(by)?;
    call.count_writes(1);
    Ok(Reply::Int(sum))
}

fn incrbound(call: &mut Call<'_, '_>) -> Answer {
    let by = bounded_step(call)?;
    add_bounded(call, by)
}

fn decrbound(call: &mut Call<'_, '_>) -> Answer {
    let by = -bounded_step(call)?;
    add_bounded(call, by)
}

fn add_bounded(call: &mut Call<'_, '_>, by: i64) -> Answer {
    let bound = call.int(3)?;
    let sum = counter(call)?.add_bounded(by, bound)?;
    let sum =
        sum.ok_or_else(|| Refusal::from(format!("BOUND the counter would pass {bound}; it was left as it is")))?;
    call.count_writes(1);
    Ok(Reply::Int(sum))
}

fn get(call: &mut Call<'_, '_>) -> Answer {
    let value = counter(call)?.get()?;
    call.count_read(value.is_some());
    Ok(value.map_or(Reply::Null, Reply::Int))
}

fn set(call: &mut Call<'_, '_>) -> Answer {
    let value = call.int(2)?;
    counter(call)?.set(value)?;
    call.count_writes(1);
    Ok(Reply::OK)
}

fn reset(call: &mut Call<'_, '_>) -> Answer {
    counter(call)?.reset()?;
    call.count_writes(1);
    Ok(Reply::OK)
}

fn cas(call: &mut Call<'_, '_>) -> Answer {
    let (expected, new) = (call.int(2)?, call.int(3)?);
    let (swapped, _) = counter(call)?.compare_and_set(expected, new)?;
    call.count_writes(usize::from(swapped));
    Ok(Reply::flag(swapped))
}

fn del(call: &mut Call<'_, '_>) -> Answer {
    let deleted = counter(call)?.delete()?;
    call.count_writes(usize::from(deleted));
    Ok(Reply::flag(deleted))
}

fn list(call: &mut Call<'_, '_>) -> Answer {
    let mut counters = call.env.store.counters()?;
    counters.retain(|(name, _)| call.may_read("counter.list", name));
    Ok(Reply::Map(counters.into_iter().map(|(name, value)| (Reply::Bulk(name), Reply::Int(value))).collect()))
}

#[cfg(test)]
mod tests;
