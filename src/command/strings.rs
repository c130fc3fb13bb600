//! Commands on the values of the key-value space.

pub(super) mod compare;
pub(super) mod lcs;
pub(super) mod msetex;
pub(super) mod ranges;

use self::compare::Comparison;
use super::{
    Class, Reply,
    call::Call,
    expiry::{self, Clock},
    keyspec::{OW_INSERT, OW_UPDATE, RO, RW_ACCESS_DELETE, RW_ACCESS_UPDATE, RW_INSERT, access_of_set},
    refusal::{Answer, NOT_A_FLOAT, Refusal, SYNTAX, refuse, wrong_arity},
    table::{Command, DELETE_FAST, READ, READ_FAST, WRITE, WRITE_FAST},
};
use crate::store::{Condition, Error, Expiry, KvType, LongDouble, SetOptions, SetOutcome, Ttl};

pub(crate) const COMMANDS: &[Command] = &[
    command("get", 2, get).flags(READ_FAST).keys(1, 1, 1).docs("1.0.0", "key", "Returns the value of a key."),
    command("set", -3, set).flags(WRITE).keys(1, 1, 1).access_by(access_of_set).complexity("O(1)").docs(
        "1.0.0",
        "key value [NX | XX | IFEQ value | IFNE value] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        "Sets the value of a key, and its expiry.",
    ),
    command("setnx", 3, setnx).flags(WRITE_FAST).keys(1, 1, 1).access(OW_INSERT).docs(
        "1.0.0",
        "key value",
        "Sets the value of a key that does not exist.",
    ),
    command("setex", 4, setex).flags(WRITE).keys(1, 1, 1).access(OW_UPDATE).complexity("O(1)").docs(
        "2.0.0",
        "key seconds value",
        "Sets the value of a key and its expiry in seconds.",
    ),
    command("psetex", 4, psetex).flags(WRITE).keys(1, 1, 1).access(OW_UPDATE).complexity("O(1)").docs(
        "2.6.0",
        "key milliseconds value",
        "Sets the value of a key and its expiry in milliseconds.",
    ),
    command("getset", 3, getset).flags(WRITE_FAST).keys(1, 1, 1).access(RW_ACCESS_UPDATE.telling_misses()).docs(
        "1.0.0",
        "key value",
        "Sets the value of a key and returns the one before.",
    ),
    command("getdel", 2, getdel).flags(DELETE_FAST).keys(1, 1, 1).access(RW_ACCESS_DELETE.telling_misses()).docs(
        "6.2.0",
        "key",
        "Returns the value of a key and deletes it.",
    ),
    command("getex", -2, getex).flags(DELETE_FAST).keys(1, 1, 1).access(RW_ACCESS_UPDATE.telling_misses()).docs(
        "6.2.0",
        "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        "Returns the value of a key and changes its expiry.",
    ),
    command("getrange", 4, getrange).flags(READ).keys(1, 1, 1).complexity("O(N) with N being the length of the value").docs(
        "2.4.0",
        "key start end",
        "Returns a part of the value of a key.",
    ),
    command("substr", 4, getrange).flags(READ).keys(1, 1, 1).complexity("O(N) with N being the length of the value").docs(
        "1.0.0",
        "key start end",
        "Returns a part of the value of a key.",
    ),
    command("strlen", 2, strlen).flags(READ_FAST).keys(1, 1, 1).access(RO).docs(
        "2.2.0",
        "key",
        "Returns the length of the value of a key.",
    ),
    command("append", 3, append).flags(WRITE_FAST).keys(1, 1, 1).access(RW_INSERT).complexity("O(N) with N being the length of the value").docs(
        "2.0.0",
        "key value",
        "Appends to the value of a key.",
    ),
    command("incr", 2, incr).flags(WRITE_FAST).keys(1, 1, 1).docs("1.0.0", "key", "Adds one to the integer of a key."),
    command("decr", 2, decr).flags(WRITE_FAST).keys(1, 1, 1).docs(
        "1.0.0",
        "key",
        "Takes one from the integer of a key.",
    ),
    command("incrby", 3, incrby).flags(WRITE_FAST).keys(1, 1, 1).docs(
        "1.0.0",
        "key increment",
        "Adds to the integer of a key.",
    ),
    command("decrby", 3, decrby).flags(WRITE_FAST).keys(1, 1, 1).docs(
        "1.0.0",
        "key decrement",
        "Takes from the integer of a key.",
    ),
    command("incrbyfloat", 3, incrbyfloat).flags(WRITE_FAST).keys(1, 1, 1).docs(
        "2.6.0",
        "key increment",
        "Adds to the float of a key.",
    ),
    command("mget", -2, mget).flags(READ_FAST).keys(1, -1, 1).tips(&["request_policy:multi_shard"]).docs(
        "1.0.0",
        "key...",
        "Returns the values of several keys, as of one instant.",
    ),
    command("mset", -3, mset).flags(WRITE).keys(1, -1, 2).access(OW_UPDATE).tips(&["request_policy:multi_shard", "response_policy:all_succeeded"]).complexity("O(N) with N being the number of keys").docs(
        "1.0.1",
        "(key value)...",
        "Sets the values of several keys in one step.",
    ),
    command("msetnx", -3, msetnx).flags(WRITE).keys(1, -1, 2).access(OW_INSERT).tips(&["request_policy:multi_shard", "response_policy:agg_min"]).complexity("O(N) with N being the number of keys").docs(
        "1.0.1",
        "(key value)...",
        "Sets the values of several keys in one step, if none of them exists.",
    ),
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("string")
}

fn get(call: &mut Call<'_, '_>) -> Answer {
    let key = call.key(1)?;
    let mut value = call.env.state.buffers.take();
    let hit = call.kv().get(call.db(), key, &mut value)?;
    call.count_read(hit);
    if hit {
        return Ok(Reply::Bulk(value));
    }
    call.env.state.buffers.recycle(Reply::Bulk(value));
    Ok(Reply::Null)
}

fn mget(call: &mut Call<'_, '_>) -> Answer {
    let keys = call.keys(1, 1)?;
    check_reply_size(call, &keys)?;
    let values = call.kv().mget(call.db(), &keys)?;
    call.count_reads(values.len(), values.iter().flatten().count());
    Ok(Reply::Array(values.into_iter().map(Reply::bulk_or_null).collect()))
}

/// Refuses to gather more than a client may leave unread. So few keys that their values cannot be as long are not
/// worth the look.
fn check_reply_size(call: &Call<'_, '_>, keys: &[&[u8]]) -> Answer<()> {
    let (mut bytes, max) = (0, call.max_reply() as u64);
    if (keys.len() as u64).saturating_mul(call.env.config.max_value as u64) <= max {
        return Ok(());
    }
    for key in keys {
        bytes += call.kv().strlen(call.db(), key)?;
        if bytes > max {
            return Err(call.too_large("values"));
        }
    }
    Ok(())
}

fn strlen(call: &mut Call<'_, '_>) -> Answer {
    let len = call.kv().strlen(call.db(), call.key(1)?)?;
    call.count_read(len > 0);
    Ok(Reply::Int(len as i64))
}

/// Bytes `start..=end` of a value; negative ones count from its end.
fn getrange(call: &mut Call<'_, '_>) -> Answer {
    let (start, end) = (call.int(2)?, call.int(3)?);
    let key = call.key(1)?;
    let mut value = Vec::new();
    let hit = call.kv().get(call.db(), key, &mut value)?;
    call.count_read(hit);
    let len = value.len() as i64;
    if start < 0 && end < 0 && start > end {
        return Ok(Reply::Text(""));
    }
    let from_end = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end {
        return Ok(Reply::Text(""));
    }
    value.truncate(end as usize + 1);
    value.drain(..start as usize);
    Ok(Reply::Bulk(value))
}

/// The options behind `SET key value`. An option may be repeated, of the times the last one holds.
fn set_options<'a>(call: &Call<'a, '_>) -> Answer<(SetOptions, Option<Comparison<'a>>)> {
    let mut options = SetOptions::default();
    let mut comparison = None;
    let mut time: Option<(Clock, usize)> = None;
    let mut at = 3;
    while at < call.args.len() {
        let clock = Clock::option(call.arg(at));
        if call.args.is(at, "GET") {
            options.get = true;
        } else if let Some(wanted) = Comparison::at(call, at)
            && comparison.is_none()
            && options.condition == Condition::Always
        {
            at += 1;
            comparison = Some(wanted);
        } else if comparison.is_some() && (call.args.is(at, "NX") || call.args.is(at, "XX")) {
            return refuse(SYNTAX);
        } else if call.args.is(at, "NX") && options.condition != Condition::IfPresent {
            options.condition = Condition::IfAbsent;
        } else if call.args.is(at, "XX") && options.condition != Condition::IfAbsent {
            options.condition = Condition::IfPresent;
        } else if call.args.is(at, "KEEPTTL") && time.is_none() {
            options.expiry = Expiry::Keep;
        } else if let Some(clock) = clock
            && time.is_none_or(|(other, _)| other == clock)
            && options.expiry != Expiry::Keep
            && at + 1 < call.args.len()
        {
            // The time itself is judged once the syntax of the whole command is known to be right.
            at += 1;
            time = Some((clock, at));
        } else {
            return refuse(SYNTAX);
        }
        at += 1;
    }
    if let Some((clock, at)) = time {
        options.expiry = expiry::positive(call, at, clock)?;
    }
    Ok((options, comparison))
}

fn set(call: &mut Call<'_, '_>) -> Answer {
    let (options, comparison) = if call.args.len() > 3 { set_options(call)? } else { Default::default() };
    let (key, value) = (call.key(1)?, call.value(2)?);
    let SetOutcome { written, previous } = match comparison {
        None => call.kv().set(call.db(), key, value, options)?,
        Some(comparison) => compare::set_if(call, key, value, comparison, options)?,
    };
    call.count_writes(usize::from(written));
    if written {
        notify_set(call, key, options.expiry);
    }
    if options.get {
        call.count_read(previous.is_some());
        return Ok(Reply::bulk_or_null(previous));
    }
    Ok(if written { Reply::OK } else { Reply::Null })
}

fn setnx(call: &mut Call<'_, '_>) -> Answer {
    let (key, value) = (call.key(1)?, call.value(2)?);
    let options = SetOptions { condition: Condition::IfAbsent, ..SetOptions::default() };
    let written = call.kv().set(call.db(), key, value, options)?.written;
    call.count_writes(usize::from(written));
    if written {
        notify_set(call, key, options.expiry);
    }
    Ok(Reply::flag(written))
}

fn setex(call: &mut Call<'_, '_>) -> Answer {
    set_with_time(call, Clock::InSeconds)
}

fn psetex(call: &mut Call<'_, '_>) -> Answer {
    set_with_time(call, Clock::InMillis)
}

fn set_with_time(call: &mut Call<'_, '_>, clock: Clock) -> Answer {
    let (key, value) = (call.key(1)?, call.value(3)?);
    let options = SetOptions { expiry: expiry::positive(call, 2, clock)?, ..SetOptions::default() };
    call.kv().set(call.db(), key, value, options)?;
    call.count_writes(1);
    notify_set(call, key, options.expiry);
    Ok(Reply::OK)
}

/// Tells of a value that was written with this expiry; one whose time has passed was written and is gone.
pub(crate) fn notify_set(call: &Call<'_, '_>, key: &[u8], expiry: Expiry) {
    call.notify(Class::String, "set", key);
    if let Expiry::At(at_ms) = expiry {
        call.notify(Class::Generic, "expire", key);
        if Expiry::has_passed(Some(at_ms), call.env.now_ms) {
            call.notify(Class::Expired, "expired", key);
        }
    }
}

fn getset(call: &mut Call<'_, '_>) -> Answer {
    let (key, value) = (call.key(1)?, call.value(2)?);
    let options = SetOptions { get: true, ..SetOptions::default() };
    let previous = call.kv().set(call.db(), key, value, options)?.previous;
    call.count_read(previous.is_some());
    call.count_writes(1);
    notify_set(call, key, options.expiry);
    Ok(Reply::bulk_or_null(previous))
}

fn getdel(call: &mut Call<'_, '_>) -> Answer {
    let key = call.key(1)?;
    let value = call.kv().getdel(call.db(), key)?;
    call.count_read(value.is_some());
    call.count_writes(usize::from(value.is_some()));
    if value.is_some() {
        call.notify(Class::Generic, "del", key);
    }
    Ok(Reply::bulk_or_null(value))
}

fn getex(call: &mut Call<'_, '_>) -> Answer {
    let expiry = match call.args.len() {
        2 => Expiry::Keep,
        3 if call.args.is(2, "PERSIST") => Expiry::Never,
        4 if Clock::option(call.arg(2)).is_some() => match expiry::option(call, 2) {
            // The time is not looked at if there is nothing that it could be given to.
            Err(_) if call.kv().kind(call.db(), call.key(1)?)?.is_none() => return Ok(Reply::Null),
            Err(_) if call.kv().kind(call.db(), call.key(1)?)? != Some(KvType::String) => {
                return Err(Error::WrongKind.into());
            }
            expiry => expiry?.ok_or(Refusal::from(SYNTAX))?,
        },
        _ => return refuse(SYNTAX),
    };
    let key = call.key(1)?;
    // What has no expiry loses none, which only those who listen would notice.
    let persists = expiry == Expiry::Never && call.is_listened_to();
    let had_expiry = persists && matches!(call.kv().ttl(call.db(), key)?, Ttl::At(_));
    let value = call.kv().getex(call.db(), key, expiry)?;
    call.count_read(value.is_some());
    if expiry != Expiry::Keep {
        call.count_writes(usize::from(value.is_some()));
    }
    match expiry {
        _ if value.is_none() => {}
        Expiry::At(at_ms) if Expiry::has_passed(Some(at_ms), call.env.now_ms) => {
            call.notify_past(key);
        }
        Expiry::At(_) => call.notify(Class::Generic, "expire", key),
        Expiry::Never if had_expiry => call.notify(Class::Generic, "persist", key),
        Expiry::Never | Expiry::Keep => {}
    }
    Ok(Reply::bulk_or_null(value))
}

fn append(call: &mut Call<'_, '_>) -> Answer {
    let (key, tail) = (call.key(1)?, call.value(2)?);
    let len = call.kv().append(call.db(), key, tail, call.env.config.max_value)?;
    call.count_writes(1);
    call.notify(Class::String, "append", key);
    Ok(Reply::Int(len as i64))
}

fn incr(call: &mut Call<'_, '_>) -> Answer {
    add(call, 1)
}

fn decr(call: &mut Call<'_, '_>) -> Answer {
    add(call, -1)
}

fn incrby(call: &mut Call<'_, '_>) -> Answer {
    let by = call.int(2)?;
    add(call, by)
}

fn decrby(call: &mut Call<'_, '_>) -> Answer {
    let by = call.int(2)?.checked_neg().ok_or(Refusal::from("ERR decrement would overflow"))?;
    add(call, by)
}

fn add(call: &mut Call<'_, '_>, by: i64) -> Answer {
    let key = call.key(1)?;
    let sum = call.kv().incr(call.db(), key, by).map_err(Refusal::from);
    let sum = sum.map_err(|refusal| refusal.overflow("ERR increment or decrement would overflow"))?;
    call.count_writes(1);
    call.notify(Class::String, "incrby", key);
    Ok(Reply::Int(sum))
}

fn incrbyfloat(call: &mut Call<'_, '_>) -> Answer {
    const NOT_FINITE: &str = "ERR increment would produce NaN or Infinity";
    let key = call.key(1)?;
    let Some(by) = LongDouble::parse(call.arg(2)) else {
        // What the key holds is judged first.
        call.kv().strlen(call.db(), key)?;
        return refuse(NOT_A_FLOAT);
    };
    let sum = call.kv().incr_float(call.db(), key, by).map_err(Refusal::from);
    let sum = sum.map_err(|refusal| refusal.overflow(NOT_FINITE))?;
    call.count_writes(1);
    call.notify(Class::String, "incrbyfloat", key);
    Ok(Reply::Bulk(sum))
}

fn mset(call: &mut Call<'_, '_>) -> Answer {
    set_pairs(call, false)?;
    Ok(Reply::OK)
}

fn msetnx(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::flag(set_pairs(call, true)?))
}

fn set_pairs(call: &mut Call<'_, '_>, if_absent: bool) -> Answer<bool> {
    if call.args.len().is_multiple_of(2) {
        let name = call.text(0).to_ascii_lowercase();
        return wrong_arity(&name);
    }
    let mut pairs = Vec::with_capacity(call.args.len() / 2);
    for at in (1..call.args.len()).step_by(2) {
        pairs.push((call.key(at)?, call.value(at + 1)?));
    }
    let written = call.kv().mset(call.db(), &pairs, if_absent)?;
    call.count_writes(if written { pairs.len() } else { 0 });
    if written {
        pairs.iter().for_each(|(key, _)| call.notify(Class::String, "set", key));
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
