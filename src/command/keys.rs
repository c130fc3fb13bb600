//! Commands on the keys of the key-value space, whatever their values are.

pub(super) mod dump;
pub(super) mod object;
pub(super) mod places;
pub(super) mod rdb;
pub(super) mod whole;

use super::{
    Class, Reply,
    call::Call,
    expiry::{self, Clock},
    glob,
    keyspec::{KeySpec, OW_INSERT, OW_UPDATE, RM_DELETE, RO, RW_ACCESS_DELETE},
    parse_int,
    refusal::{Answer, NOT_AN_INTEGER, Refusal, SYNTAX, refuse},
    table::{Command, DELETE, DELETE_FAST, READ, READ_FAST},
};
use crate::store::{ExpireRule, Expiry, KvType};

/// Keys that one step of KEYS and FLUSH looks at.
const PAGE_KEYS: usize = 1024;
/// Keys that SCAN returns unless it is told otherwise.
pub(crate) const DEFAULT_SCAN_COUNT: usize = 10;
/// The most keys that one SCAN looks at, whatever it is told, so that it never holds its worker up for long.
const MAX_SCAN_COUNT: i64 = 10_000;

const EXPIRE_USAGE: &str = "key seconds [NX | XX | GT | LT]";
const PEXPIRE_USAGE: &str = "key milliseconds [NX | XX | GT | LT]";
const EXPIREAT_USAGE: &str = "key unix-time-seconds [NX | XX | GT | LT]";
const PEXPIREAT_USAGE: &str = "key unix-time-milliseconds [NX | XX | GT | LT]";

pub(crate) const COMMANDS: &[Command] = &[
    Command::new("del", -2, del)
        .flags(DELETE)
        .keys(1, -1, 1)
        .access(RM_DELETE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .complexity("O(N) with N being the number of keys")
        .docs("1.0.0", "key...", "Deletes keys."),
    Command::new("unlink", -2, del)
        .flags(DELETE_FAST)
        .keys(1, -1, 1)
        .access(RM_DELETE)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs("4.0.0", "key...", "Deletes keys."),
    Command::new("exists", -2, exists)
        .flags(READ_FAST)
        .keys(1, -1, 1)
        .access(RO)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs("1.0.0", "key...", "Counts how many of the keys exist."),
    Command::new("touch", -2, touch)
        .flags(READ_FAST)
        .keys(1, -1, 1)
        .access(RO)
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .docs("3.2.1", "key...", "Notes that keys are used; counts how many of them exist."),
    Command::new("type", 2, kind).flags(READ_FAST).keys(1, 1, 1).access(RO).docs(
        "1.0.0",
        "key",
        "Returns the type of the value of a key.",
    ),
    Command::new("ttl", 2, ttl).flags(READ_FAST).keys(1, 1, 1).tips(&["nondeterministic_output"]).docs(
        "1.0.0",
        "key",
        "Returns the seconds until a key expires.",
    ),
    Command::new("pttl", 2, pttl).flags(READ_FAST).keys(1, 1, 1).tips(&["nondeterministic_output"]).docs(
        "2.6.0",
        "key",
        "Returns the milliseconds until a key expires.",
    ),
    Command::new("expiretime", 2, expiretime).flags(READ_FAST).keys(1, 1, 1).docs(
        "7.0.0",
        "key",
        "Returns the Unix time in seconds at which a key expires.",
    ),
    Command::new("pexpiretime", 2, pexpiretime).flags(READ_FAST).keys(1, 1, 1).docs(
        "7.0.0",
        "key",
        "Returns the Unix time in milliseconds at which a key expires.",
    ),
    Command::new("expire", -3, expire).flags(DELETE_FAST).keys(1, 1, 1).docs(
        "1.0.0",
        EXPIRE_USAGE,
        "Lets a key expire after some seconds.",
    ),
    Command::new("pexpire", -3, pexpire).flags(DELETE_FAST).keys(1, 1, 1).docs(
        "2.6.0",
        PEXPIRE_USAGE,
        "Lets a key expire after some milliseconds.",
    ),
    Command::new("expireat", -3, expireat).flags(DELETE_FAST).keys(1, 1, 1).docs(
        "1.2.0",
        EXPIREAT_USAGE,
        "Lets a key expire at a Unix time in seconds.",
    ),
    Command::new("pexpireat", -3, pexpireat).flags(DELETE_FAST).keys(1, 1, 1).docs(
        "2.6.0",
        PEXPIREAT_USAGE,
        "Lets a key expire at a Unix time in milliseconds.",
    ),
    Command::new("persist", 2, persist).flags(DELETE_FAST).keys(1, 1, 1).docs(
        "2.2.0",
        "key",
        "Takes the expiry of a key away.",
    ),
    Command::new("keys", 2, keys)
        .flags(READ)
        .tips(&["request_policy:all_shards", "nondeterministic_output_order"])
        .categories(&["dangerous"])
        .complexity("O(N) with N being the number of keys of the database")
        .docs("1.0.0", "pattern", "Returns the keys that match a pattern."),
    Command::new("scan", -2, scan)
        .flags(READ)
        .tips(&["nondeterministic_output", "request_policy:special"])
        .complexity("O(1) for every call, O(N) for an iteration")
        .docs("2.8.0", "cursor [MATCH pattern] [COUNT count] [TYPE type]", "Returns the next keys of an iteration."),
    Command::new("randomkey", 1, randomkey)
        .flags(READ)
        .tips(&["request_policy:all_shards", "nondeterministic_output"])
        .complexity("O(1)")
        .docs("1.0.0", "", "Returns some key."),
    Command::new("rename", 3, rename)
        .flags(DELETE)
        .keys(1, 2, 1)
        .specs(&[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, OW_UPDATE)])
        .complexity("O(1)")
        .docs("1.0.0", "key newkey", "Renames a key; a key that has the new name is overwritten."),
    Command::new("renamenx", 3, renamenx)
        .flags(DELETE_FAST)
        .keys(1, 2, 1)
        .specs(&[KeySpec::one(1, RW_ACCESS_DELETE), KeySpec::one(2, OW_INSERT)])
        .docs("1.0.0", "key newkey", "Renames a key unless the new name is taken."),
    Command::new("dbsize", 1, dbsize)
        .flags(READ_FAST)
        .group("server")
        .tips(&["request_policy:all_shards", "response_policy:agg_sum"])
        .categories(&["keyspace"])
        .docs("1.0.0", "", "Returns the number of keys of the database."),
    Command::new("flushdb", -1, flushdb)
        .flags(DELETE)
        .group("server")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .categories(&["keyspace", "dangerous"])
        .complexity("O(N) with N being the number of keys")
        .docs("1.0.0", "[ASYNC | SYNC]", "Deletes every key of the database."),
    Command::new("flushall", -1, flushall)
        .flags(DELETE)
        .group("server")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .categories(&["keyspace", "dangerous"])
        .complexity("O(N) with N being the number of keys")
        .docs("1.0.0", "[ASYNC | SYNC]", "Deletes every key of every database; tables and counters stay."),
];

fn del(call: &mut Call<'_, '_>) -> Answer {
    let keys = call.keys(1, 1)?;
    let deleted = call.tally(&keys, |call, key| {
        let deleted = call.kv().delete(call.db(), key)?;
        call.count_writes(usize::from(deleted));
        if deleted {
            call.notify(Class::Generic, "del", key);
        }
        Ok(deleted)
    })?;
    Ok(Reply::Int(deleted))
}

fn exists(call: &mut Call<'_, '_>) -> Answer {
    let keys = call.keys(1, 1)?;
    let found = call.tally(&keys, |call, key| {
        let hit = call.kv().exists(call.db(), key)?;
        call.count_read(hit);
        Ok(hit)
    })?;
    Ok(Reply::Int(found))
}

/// The name of a type, as clients know it.
fn kind_name(kind: KvType) -> &'static str {
    match kind {
        KvType::String => "string",
        KvType::Hash => "hash",
    }
}

fn kind(call: &mut Call<'_, '_>) -> Answer {
    let kind = call.kv().kind(call.db(), call.key(1)?)?;
    Ok(Reply::Status(kind.map_or("none", kind_name)))
}

fn ttl(call: &mut Call<'_, '_>) -> Answer {
    time_left(call, Clock::InSeconds)
}

fn pttl(call: &mut Call<'_, '_>) -> Answer {
    time_left(call, Clock::InMillis)
}

fn expiretime(call: &mut Call<'_, '_>) -> Answer {
    time_left(call, Clock::AtSeconds)
}

fn pexpiretime(call: &mut Call<'_, '_>) -> Answer {
    time_left(call, Clock::AtMillis)
}

fn time_left(call: &mut Call<'_, '_>, clock: Clock) -> Answer {
    let ttl = call.kv().ttl(call.db(), call.key(1)?)?;
    Ok(Reply::Int(expiry::remaining(ttl, clock, call.env.now_ms)))
}

fn expire(call: &mut Call<'_, '_>) -> Answer {
    set_expiry(call, Clock::InSeconds)
}

fn pexpire(call: &mut Call<'_, '_>) -> Answer {
    set_expiry(call, Clock::InMillis)
}

fn expireat(call: &mut Call<'_, '_>) -> Answer {
    set_expiry(call, Clock::AtSeconds)
}

fn pexpireat(call: &mut Call<'_, '_>) -> Answer {
    set_expiry(call, Clock::AtMillis)
}

fn set_expiry(call: &mut Call<'_, '_>, clock: Clock) -> Answer {
    let rule = expire_rule(call, 3)?;
    let expiry = expiry::any(call, 2, clock)?;
    let key = call.key(1)?;
    let changed = call.kv().expire(call.db(), key, expiry, rule)?;
    call.count_writes(usize::from(changed));
    if changed {
        let gone = Expiry::has_passed(expiry.after(None), call.env.now_ms);
        if gone { call.notify_past(key) } else { call.notify(Class::Generic, "expire", key) }
    }
    Ok(Reply::flag(changed))
}

/// The rule that the options from argument `first` on make together.
fn expire_rule(call: &Call<'_, '_>, first: usize) -> Answer<ExpireRule> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for at in first..call.args.len() {
        match call.arg(at).to_ascii_uppercase().as_slice() {
            b"NX" => nx = true,
            b"XX" => xx = true,
            b"GT" => gt = true,
            b"LT" => lt = true,
            _ => return refuse(format!("ERR Unsupported option {}", call.text(at))),
        }
    }
    Ok(match (nx, xx, gt, lt) {
        (true, true, ..) | (true, _, true, _) | (true, _, _, true) => {
            return refuse("ERR NX and XX, GT or LT options at the same time are not compatible");
        }
        (_, _, true, true) => return refuse("ERR GT and LT options at the same time are not compatible"),
        (true, ..) => ExpireRule::IfNone,
        (_, true, true, _) => ExpireRule::IfSomeAndLater,
        (_, true, _, true) => ExpireRule::IfSomeAndEarlier,
        (_, true, ..) => ExpireRule::IfSome,
        (_, _, true, _) => ExpireRule::IfLater,
        (_, _, _, true) => ExpireRule::IfEarlier,
        _ => ExpireRule::Always,
    })
}

fn persist(call: &mut Call<'_, '_>) -> Answer {
    let key = call.key(1)?;
    let changed = call.kv().expire(call.db(), key, Expiry::Never, ExpireRule::Always)?;
    call.count_writes(usize::from(changed));
    if changed {
        call.notify(Class::Generic, "persist", key);
    }
    Ok(Reply::flag(changed))
}

fn keys(call: &mut Call<'_, '_>) -> Answer {
    let pattern = call.arg(1);
    let mut found = Vec::new();
    let mut cursor = 0;
    loop {
        let page = call.kv().scan(call.db(), cursor, PAGE_KEYS)?;
        found.extend(page.keys.into_iter().filter(|key| glob::matches(pattern, key)).map(Reply::Bulk));
        cursor = page.cursor;
        if cursor == 0 {
            return Ok(Reply::Array(found));
        }
    }
}

/// The options behind `SCAN cursor`.
struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    kind: Option<&'a [u8]>,
}

fn scan_options<'a>(call: &Call<'a, '_>) -> Answer<ScanOptions<'a>> {
    let mut options = ScanOptions { pattern: None, count: DEFAULT_SCAN_COUNT, kind: None };
    let mut at = 2;
    while at + 1 < call.args.len() {
        if call.args.is(at, "MATCH") {
            options.pattern = Some(call.arg(at + 1));
        } else if call.args.is(at, "COUNT") {
            options.count = count(call, at + 1)?;
        } else if call.args.is(at, "TYPE") {
            options.kind = Some(call.arg(at + 1));
        } else {
            return refuse(SYNTAX);
        }
        at += 2;
    }
    if at < call.args.len() { refuse(SYNTAX) } else { Ok(options) }
}

/// Argument `index` as the number of items that a page of an iteration should have.
pub(crate) fn count(call: &Call<'_, '_>, index: usize) -> Answer<usize> {
    let count = parse_int(call.arg(index)).ok_or(Refusal::from(NOT_AN_INTEGER))?;
    if count < 1 {
        return Err(SYNTAX.into());
    }
    Ok(count.min(MAX_SCAN_COUNT) as usize)
}

/// Argument `index` as a cursor.
pub(crate) fn cursor(call: &Call<'_, '_>, index: usize) -> Answer<u64> {
    number_of(call.arg(index)).ok_or(Refusal::from("ERR invalid cursor"))
}

/// A cursor as the C library reads it: nothing is 0, and a negative number counts from the other end.
fn number_of(text: &[u8]) -> Option<u64> {
    let (negative, digits) = match text {
        [] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let sound = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits).ok().filter(|_| sound)?.parse().ok()?;
    Some(if negative { number.wrapping_neg() } else { number })
}

fn scan(call: &mut Call<'_, '_>) -> Answer {
    let cursor = cursor(call, 1)?;
    let options = scan_options(call)?;
    let page = call.kv().scan(call.db(), cursor, options.count)?;
    let mut keys = Vec::with_capacity(page.keys.len());
    for key in page.keys {
        if options.pattern.is_some_and(|pattern| !glob::matches(pattern, &key)) {
            continue;
        }
        if let Some(wanted) = options.kind {
            let kind = call.kv().kind(call.db(), &key)?;
            if !kind.is_some_and(|kind| kind_name(kind).as_bytes().eq_ignore_ascii_case(wanted)) {
                continue;
            }
        }
        keys.push(Reply::Bulk(key));
    }
    Ok(Reply::Array(vec![Reply::Bulk(page.cursor.to_string().into_bytes()), Reply::Array(keys)]))
}

fn randomkey(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::bulk_or_null(call.kv().random_key(call.db())?))
}

fn rename(call: &mut Call<'_, '_>) -> Answer {
    rename_if(call, false)?;
    Ok(Reply::OK)
}

fn renamenx(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::flag(rename_if(call, true)?))
}

/// Renames a key, with `if_absent` unless there is one of the new name; whether it did.
fn rename_if(call: &mut Call<'_, '_>, if_absent: bool) -> Answer<bool> {
    let (from, to) = (call.key(1)?, call.key(2)?);
    let renamed = call.kv().rename(call.db(), from, to, if_absent)?;
    // Nothing happens to a key that is given the name that it has.
    if renamed && from != to {
        call.count_writes(1);
        notify_renamed(call, from, to);
    }
    Ok(renamed)
}

fn notify_renamed(call: &Call<'_, '_>, from: &[u8], to: &[u8]) {
    call.notify(Class::Generic, "rename_from", from);
    call.notify(Class::Generic, "rename_to", to);
}

fn dbsize(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(call.kv().len(call.db())? as i64))
}

fn touch(call: &mut Call<'_, '_>) -> Answer {
    let keys = call.keys(1, 1)?;
    let db = call.db();
    let found = call.tally(&keys, |call, key| {
        let found = call.kv().touch(db, key)?;
        call.count_read(found);
        Ok(found)
    })?;
    Ok(Reply::Int(found))
}

fn flushdb(call: &mut Call<'_, '_>) -> Answer {
    let db = call.db();
    flush(call, Some(db))
}

fn flushall(call: &mut Call<'_, '_>) -> Answer {
    flush(call, None)
}

fn flush(call: &mut Call<'_, '_>, db: Option<u8>) -> Answer {
    match call.args.len() {
        1 => {}
        2 if call.args.is(1, "ASYNC") || call.args.is(1, "SYNC") => {}
        _ => return refuse(SYNTAX),
    }
    call.kv().flush(db)?;
    call.notify_flush(db);
    call.count_writes(1);
    Ok(Reply::OK)
}

#[cfg(test)]
mod tests;
