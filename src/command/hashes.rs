//! Commands on hashes: keys whose value is a set of fields.

use std::{borrow::Cow, collections::HashSet};

use super::{
    Proto, Reply,
    call::Call,
    glob,
    keys::{DEFAULT_SCAN_COUNT, count, cursor},
    keyspec::{RO, RW_ACCESS_DELETE, RW_DELETE, RW_INSERT, RW_UPDATE},
    notify::Class,
    parse_int,
    refusal::{Answer, NOT_A_FLOAT, NOT_AN_INTEGER, Refusal, SYNTAX, refuse, wrong_arity},
    table::{Command, DELETE_FAST, READ, READ_FAST, WRITE_FAST},
};
use crate::store::{Error, FieldUpdate, LongDouble, Pair, Store, number};

/// The most fields that one HRANDFIELD returns, so that no request can ask for more than there is memory.
const MAX_RANDOM: u64 = 1 << 20;

pub(crate) const COMMANDS: &[Command] = &[
    command("hset", -4, hset).flags(WRITE_FAST).access(RW_UPDATE).docs(
        "2.0.0",
        "key (field value)...",
        "Sets fields of a hash.",
    ),
    command("hmset", -4, hmset).flags(WRITE_FAST).access(RW_UPDATE).docs(
        "2.0.0",
        "key (field value)...",
        "Sets fields of a hash.",
    ),
    command("hsetnx", 4, hsetnx).flags(WRITE_FAST).access(RW_INSERT).docs(
        "2.0.0",
        "key field value",
        "Sets a field of a hash that does not exist.",
    ),
    command("hget", 3, hget).flags(READ_FAST).docs("2.0.0", "key field", "Returns the value of a field of a hash."),
    command("hmget", -3, hmget).flags(READ_FAST).docs(
        "2.0.0",
        "key field...",
        "Returns the values of fields of a hash, as of one instant.",
    ),
    command("hgetall", 2, hgetall).flags(READ).tips(&["nondeterministic_output_order"]).docs(
        "2.0.0",
        "key",
        "Returns all fields and values of a hash.",
    ),
    command("hkeys", 2, hkeys).flags(READ).tips(&["nondeterministic_output_order"]).docs(
        "2.0.0",
        "key",
        "Returns all fields of a hash.",
    ),
    command("hvals", 2, hvals).flags(READ).tips(&["nondeterministic_output_order"]).docs(
        "2.0.0",
        "key",
        "Returns all values of a hash.",
    ),
    command("hlen", 2, hlen).flags(READ_FAST).access(RO).docs(
        "2.0.0",
        "key",
        "Returns the number of fields of a hash.",
    ),
    command("hexists", 3, hexists).flags(READ_FAST).access(RO).docs(
        "2.0.0",
        "key field",
        "Returns whether a hash has a field.",
    ),
    command("hstrlen", 3, hstrlen).flags(READ_FAST).access(RO).docs(
        "3.2.0",
        "key field",
        "Returns the length of the value of a field.",
    ),
    command("hdel", -3, hdel).flags(DELETE_FAST).access(RW_DELETE).docs(
        "2.0.0",
        "key field...",
        "Deletes fields of a hash.",
    ),
    command("hgetdel", -5, hgetdel).flags(DELETE_FAST).access(RW_ACCESS_DELETE).docs(
        "8.0.0",
        "key FIELDS numfields field...",
        "Returns the values of fields of a hash and deletes them.",
    ),
    command("hincrby", 4, hincrby).flags(WRITE_FAST).docs(
        "2.0.0",
        "key field increment",
        "Adds to the integer of a field.",
    ),
    command("hincrbyfloat", 4, hincrbyfloat).flags(WRITE_FAST).docs(
        "2.6.0",
        "key field increment",
        "Adds to the float of a field.",
    ),
    command("hscan", -3, hscan).flags(READ).tips(&["nondeterministic_output"]).docs(
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        "Returns the next fields of an iteration.",
    ),
    command("hrandfield", -2, hrandfield).flags(READ).tips(&["nondeterministic_output"]).docs(
        "6.2.0",
        "key [count [WITHVALUES]]",
        "Returns some fields of a hash.",
    ),
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("hash").keys(1, 1, 1)
}

/// The arguments from `first` on as fields.
fn fields<'a>(call: &Call<'a, '_>, first: usize) -> Answer<Vec<&'a [u8]>> {
    (first..call.args.len()).map(|at| call.value(at)).collect()
}

/// Sets all pairs of the request; how many of the fields are new.
fn set_pairs(call: &mut Call<'_, '_>) -> Answer<i64> {
    if !call.args.len().is_multiple_of(2) {
        let name = call.text(0).to_ascii_lowercase();
        return wrong_arity(&name);
    }
    let key = call.key(1)?;
    if call.args.len() == 4 {
        return set_pair(call, key).map(i64::from);
    }
    let parts = fields(call, 2)?;
    let names: Vec<&[u8]> = parts.iter().step_by(2).copied().collect();
    let mut new = vec![false; names.len()];
    call.kv().change_fields(call.db(), key, &names, false, &mut |number, value| {
        new[number] = value.is_none();
        Ok(FieldUpdate::Set(Cow::Borrowed(parts[2 * number + 1])))
    })?;
    call.count_writes(1);
    call.notify(Class::Hash, "hset", key);
    Ok(new.iter().filter(|new| **new).count() as i64)
}

/// Sets the one pair of the request; whether the field is new.
fn set_pair(call: &Call<'_, '_>, key: &[u8]) -> Answer<bool> {
    let (field, value) = (call.value(2)?, call.value(3)?);
    let mut new = false;
    call.kv().change_fields(call.db(), key, &[field], false, &mut |_, present| {
        new = present.is_none();
        Ok(FieldUpdate::Set(Cow::Borrowed(value)))
    })?;
    call.count_writes(1);
    call.notify(Class::Hash, "hset", key);
    Ok(new)
}

fn hset(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(set_pairs(call)?))
}

fn hmset(call: &mut Call<'_, '_>) -> Answer {
    set_pairs(call)?;
    Ok(Reply::OK)
}

fn hsetnx(call: &mut Call<'_, '_>) -> Answer {
    let (key, field, value) = (call.key(1)?, call.value(2)?, call.value(3)?);
    let mut set = false;
    call.kv().change_fields(call.db(), key, &[field], false, &mut |_, present| {
        set = present.is_none();
        Ok(if set { FieldUpdate::Set(Cow::Borrowed(value)) } else { FieldUpdate::Leave })
    })?;
    if set {
        call.count_writes(1);
        call.notify(Class::Hash, "hset", key);
    }
    Ok(Reply::flag(set))
}

fn hget(call: &mut Call<'_, '_>) -> Answer {
    let value = call.kv().field(call.db(), call.key(1)?, call.arg(2))?;
    call.count_read(value.is_some());
    Ok(Reply::bulk_or_null(value))
}

fn hmget(call: &mut Call<'_, '_>) -> Answer {
    let names: Vec<&[u8]> = call.args.from(2).collect();
    let values = call.kv().fields(call.db(), call.key(1)?, &names, call.max_reply())?;
    let values = values.ok_or_else(|| call.too_large("values"))?;
    call.count_reads(values.len(), values.iter().flatten().count());
    Ok(Reply::Array(values.into_iter().map(Reply::bulk_or_null).collect()))
}

/// All fields and values, unless they are more than a client may leave unread.
fn all_pairs(call: &Call<'_, '_>) -> Answer<Vec<Pair>> {
    let max = call.max_reply();
    let pairs = call.kv().pairs(call.db(), call.key(1)?, max)?;
    let pairs = pairs.ok_or_else(|| {
        Refusal::from(format!("ERR the hash is too large for one reply ({max} bytes at most), use HSCAN"))
    })?;
    call.count_read(!pairs.is_empty());
    Ok(pairs)
}

fn hgetall(call: &mut Call<'_, '_>) -> Answer {
    let pairs = all_pairs(call)?;
    Ok(Reply::Map(pairs.into_iter().map(|(field, value)| (Reply::Bulk(field), Reply::Bulk(value))).collect()))
}

fn hkeys(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Array(all_pairs(call)?.into_iter().map(|(field, _)| Reply::Bulk(field)).collect()))
}

fn hvals(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Array(all_pairs(call)?.into_iter().map(|(_, value)| Reply::Bulk(value)).collect()))
}

fn hlen(call: &mut Call<'_, '_>) -> Answer {
    let count = call.kv().field_count(call.db(), call.key(1)?)?;
    call.count_read(count > 0);
    Ok(Reply::Int(count as i64))
}

fn hexists(call: &mut Call<'_, '_>) -> Answer {
    let len = call.kv().field_len(call.db(), call.key(1)?, call.arg(2))?;
    call.count_read(len.is_some());
    Ok(Reply::flag(len.is_some()))
}

fn hstrlen(call: &mut Call<'_, '_>) -> Answer {
    let len = call.kv().field_len(call.db(), call.key(1)?, call.arg(2))?;
    call.count_read(len.is_some());
    Ok(Reply::Int(len.unwrap_or(0) as i64))
}

/// Removes fields; the values of those that were there, if they are asked for and a reply may have as many bytes.
fn remove(call: &mut Call<'_, '_>, names: &[&[u8]], with_values: bool) -> Answer<Vec<Option<Vec<u8>>>> {
    let (key, max) = (call.key(1)?, call.max_reply());
    let mut values: Vec<Option<Vec<u8>>> = vec![None; names.len()];
    let mut bytes = 0;
    let removed = call.kv().change_fields(call.db(), key, names, with_values, &mut |number, value| {
        // The field may have been shown before, with another value.
        bytes -= values[number].take().map_or(0, |shown| shown.len());
        let len = bytes + value.map_or(0, <[u8]>::len);
        if len > max {
            return Err(Error::TooLarge { what: "values", len, max });
        }
        bytes = len;
        values[number] = value.map(<[u8]>::to_vec);
        Ok(FieldUpdate::Remove)
    });
    match removed {
        Err(Error::TooLarge { .. }) => return Err(call.too_large("values")),
        removed => removed?,
    }
    if values.iter().any(Option::is_some) {
        call.count_writes(1);
        call.notify(Class::Hash, "hdel", key);
        if call.is_listened_to() && !call.kv().exists(call.db(), key)? {
            call.notify(Class::Generic, "del", key);
        }
    }
    Ok(values)
}

fn hdel(call: &mut Call<'_, '_>) -> Answer {
    let names: Vec<&[u8]> = call.args.from(2).collect();
    Ok(Reply::Int(remove(call, &names, false)?.iter().flatten().count() as i64))
}

fn hgetdel(call: &mut Call<'_, '_>) -> Answer {
    if !call.args.is(2, "FIELDS") {
        return refuse("ERR Mandatory argument FIELDS is missing or not at the right position");
    }
    let named = parse_int(call.arg(3)).filter(|&count| count > 0);
    let Some(named) = named else {
        return refuse("ERR Number of fields must be a positive integer");
    };
    if named as usize != call.args.len() - 4 {
        return refuse("ERR The `numfields` parameter must match the number of arguments");
    }
    let names: Vec<&[u8]> = call.args.from(4).collect();
    let values = remove(call, &names, true)?;
    call.count_reads(values.len(), values.iter().flatten().count());
    Ok(Reply::Array(values.into_iter().map(Reply::bulk_or_null).collect()))
}

fn hincrby(call: &mut Call<'_, '_>) -> Answer {
    let (key, field) = (call.key(1)?, call.value(2)?);
    let by = parse_int(call.arg(3)).ok_or(Refusal::from(NOT_AN_INTEGER))?;
    let mut sum = 0;
    let changed = call.kv().change_fields(call.db(), key, &[field], true, &mut |_, value| {
        sum = number::add_int(value, by)?;
        Ok(FieldUpdate::Set(Cow::Owned(itoa::Buffer::new().format(sum).as_bytes().to_vec())))
    });
    match changed {
        Err(Error::NotAnInteger) => return refuse("ERR hash value is not an integer"),
        Err(Error::Overflow) => return refuse("ERR increment or decrement would overflow"),
        changed => changed?,
    }
    call.count_writes(1);
    call.notify(Class::Hash, "hincrby", key);
    Ok(Reply::Int(sum))
}

fn hincrbyfloat(call: &mut Call<'_, '_>) -> Answer {
    let (key, field) = (call.key(1)?, call.value(2)?);
    let by = LongDouble::parse(call.arg(3)).ok_or(Refusal::from(NOT_A_FLOAT))?;
    if !by.is_finite() {
        return refuse("ERR value is NaN or Infinity");
    }
    let mut sum = Vec::new();
    let changed = call.kv().change_fields(call.db(), key, &[field], true, &mut |_, value| {
        sum = number::add_float(value, by)?;
        Ok(FieldUpdate::Set(Cow::Owned(sum.clone())))
    });
    match changed {
        Err(Error::NotAFloat) => return refuse("ERR hash value is not a float"),
        Err(Error::Overflow) => return refuse("ERR increment would produce NaN or Infinity"),
        changed => changed?,
    }
    call.count_writes(1);
    call.notify(Class::Hash, "hincrbyfloat", key);
    Ok(Reply::Bulk(sum))
}

fn hscan(call: &mut Call<'_, '_>) -> Answer {
    let cursor = cursor(call, 2)?;
    let (mut pattern, mut wanted, mut with_values) = (None, DEFAULT_SCAN_COUNT, true);
    let mut at = 3;
    while at < call.args.len() {
        if call.args.is(at, "NOVALUES") {
            with_values = false;
            at += 1;
            continue;
        }
        if at + 1 >= call.args.len() {
            return refuse(SYNTAX);
        }
        if call.args.is(at, "MATCH") {
            pattern = Some(call.arg(at + 1));
        } else if call.args.is(at, "COUNT") {
            wanted = count(call, at + 1)?;
        } else {
            return refuse(SYNTAX);
        }
        at += 2;
    }
    let page = call.kv().scan_fields(call.db(), call.key(1)?, cursor, wanted)?;
    let mut found = Vec::with_capacity(2 * page.pairs.len());
    for (field, value) in page.pairs {
        if pattern.is_none_or(|pattern| glob::matches(pattern, &field)) {
            found.push(Reply::Bulk(field));
            found.extend(with_values.then_some(Reply::Bulk(value)));
        }
    }
    Ok(Reply::Array(vec![Reply::Bulk(page.cursor.to_string().into_bytes()), Reply::Array(found)]))
}

/// The fields at the places that `choose` names.
fn chosen(call: &Call<'_, '_>, with_values: bool, choose: &mut dyn FnMut(u64) -> Vec<u64>) -> Answer<Vec<Pair>> {
    let chosen = call.kv().choose_fields(call.db(), call.key(1)?, with_values, call.max_reply(), choose)?;
    let chosen = chosen.ok_or_else(|| call.too_large("fields"))?;
    call.count_read(!chosen.is_empty());
    Ok(chosen)
}

/// How many fields HRANDFIELD is asked for: different ones, or with repetitions if the number is negative.
fn wanted(call: &Call<'_, '_>) -> Answer<i64> {
    match call.int(2)? {
        i64::MIN => refuse(format!("ERR value is out of range, value must between {} and {}", -i64::MAX, i64::MAX)),
        wanted => Ok(wanted),
    }
}

fn hrandfield(call: &mut Call<'_, '_>) -> Answer {
    let store = call.env.store;
    if call.args.len() == 2 {
        let mut chosen = chosen(call, false, &mut |len| vec![random_below(store, len)])?;
        return Ok(chosen.pop().map_or(Reply::Null, |(field, _)| Reply::Bulk(field)));
    }
    let wanted = wanted(call)?;
    let most = wanted.unsigned_abs();
    let with_values = match call.args.len() {
        3 => false,
        4 if call.args.is(3, "WITHVALUES") => true,
        _ => return refuse(SYNTAX),
    };
    if with_values && most > i64::MAX as u64 / 2 {
        return refuse("ERR value is out of range");
    }
    if wanted < 0 && most > MAX_RANDOM {
        return refuse(format!("ERR value is out of range, at most {MAX_RANDOM} fields are returned at once"));
    }
    let chosen = chosen(call, with_values, &mut |len| match wanted < 0 {
        true => (0..most).map(|_| random_below(store, len)).collect(),
        false => different(store, len, most.min(len)),
    })?;
    Ok(Reply::Array(if with_values { with_their_values(call, chosen) } else { only_fields(chosen) }))
}

fn only_fields(chosen: Vec<Pair>) -> Vec<Reply> {
    chosen.into_iter().map(|(field, _)| Reply::Bulk(field)).collect()
}

/// Pairs in RESP3, one after the other in RESP2.
fn with_their_values(call: &Call<'_, '_>, chosen: Vec<Pair>) -> Vec<Reply> {
    let pairs = chosen.into_iter().map(|(field, value)| [Reply::Bulk(field), Reply::Bulk(value)]);
    match call.session.proto {
        Proto::Resp3 => pairs.map(|pair| Reply::Array(pair.into())).collect(),
        Proto::Resp2 => pairs.flatten().collect(),
    }
}

fn random_below(store: &Store, len: u64) -> u64 {
    store.random() % len.max(1)
}

/// So many different places below `len`.
fn different(store: &Store, len: u64, count: u64) -> Vec<u64> {
    if count > len / 2 {
        let mut places: Vec<u64> = (0..len).collect();
        for at in 0..count {
            places.swap(at as usize, (at + random_below(store, len - at)) as usize);
        }
        places.truncate(count as usize);
        return places;
    }
    let mut places = HashSet::with_capacity(count as usize);
    while (places.len() as u64) < count {
        let place = random_below(store, len);
        // One that is taken stands for the next that is not.
        let next = (0..len).map(|step| (place + step) % len).find(|place| !places.contains(place));
        places.extend(next);
    }
    places.into_iter().collect()
}

#[cfg(test)]
mod tests;
