//! DUMP and RESTORE: values as bytes that any server of the same family can take.

use crate::command::{
    Class, Reply,
    call::Call,
    keyspec::OW_UPDATE,
    rdb::{self, Limits, Value, Wrong},
    refusal::{Answer, Refusal, SYNTAX, refuse},
    table::{Command, READ, WRITE},
    whole,
};
use crate::store::{Condition, Expiry, SetOptions};

pub(crate) const COMMANDS: &[Command] = &[
    Command::new("dump", 2, dump)
        .flags(READ)
        .keys(1, 1, 1)
        .tips(&["nondeterministic_output"])
        .complexity("O(N) with N being the length of the value")
        .docs("2.6.0", "key", "Returns the value of a key in the format of dump files."),
    Command::new("restore", -4, restore)
        .flags(WRITE)
        .keys(1, 1, 1)
        .access(OW_UPDATE)
        .categories(&["dangerous"])
        .complexity("O(N) with N being the length of the value")
        .docs(
            "2.6.0",
            "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
            "Makes a key from what DUMP returned.",
        ),
];

fn dump(call: &mut Call<'_, '_>) -> Answer {
    let value = whole::read(call, call.db(), call.key(1)?)?;
    call.count_read(value.is_some());
    Ok(match value {
        None => Reply::Null,
        Some(Value::String(value)) => Reply::Bulk(rdb::dump_string(&value)),
        Some(Value::Hash(pairs)) => Reply::Bulk(rdb::dump_hash(&pairs)),
    })
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u32>,
}

fn options(call: &Call<'_, '_>) -> Answer<Options> {
    let mut options = Options::default();
    let mut at = 4;
    while at < call.args.len() {
        let more = at + 1 < call.args.len();
        if call.args.is(at, "REPLACE") {
            options.replace = true;
        } else if call.args.is(at, "ABSTTL") {
            options.absolute = true;
        } else if call.args.is(at, "IDLETIME") && more && options.frequency.is_none() {
            at += 1;
            let Ok(seconds) = u64::try_from(call.int(at)?) else {
                return refuse("ERR Invalid IDLETIME value, must be >= 0");
            };
            options.idle_seconds = Some(seconds);
        } else if call.args.is(at, "FREQ") && more && options.idle_seconds.is_none() {
            at += 1;
            let Ok(frequency) = u8::try_from(call.int(at)?) else {
                return refuse("ERR Invalid FREQ value, must be >= 0 and <= 255");
            };
            options.frequency = Some(frequency.into());
        } else {
            return refuse(SYNTAX);
        }
        at += 1;
    }
    Ok(options)
}

fn restore(call: &mut Call<'_, '_>) -> Answer {
    const TAKEN: &str = "BUSYKEY Target key name already exists.";
    let (options, key) = (options(call)?, call.key(1)?);
    if !options.replace && call.kv().exists(call.db(), key)? {
        return refuse(TAKEN);
    }
    let ttl = u64::try_from(call.int(2)?).map_err(|_| Refusal::from("ERR Invalid TTL value, must be >= 0"))?;
    let value = read(call, 3)?;
    let expiry = match (ttl, options.absolute) {
        (0, _) => Expiry::Never,
        (at_ms, true) => Expiry::At(at_ms),
        (in_ms, false) => Expiry::At(call.env.now_ms.saturating_add(in_ms)),
    };
    if Expiry::has_passed(expiry.after(None), call.env.now_ms) {
        return restore_past(call, key, options.replace);
    }
    let db = call.db();
    let taken = match &value {
        Value::String(value) => restore_string(call, key, value, expiry, options.replace)?,
        Value::Hash(_) => whole::atomically(call, || {
            let taken = !options.replace && call.kv().exists(db, key)?;
            if !taken {
                whole::write(call, db, key, &value, expiry)?;
            }
            Ok(taken)
        })?,
    };
    if taken {
        return refuse(TAKEN);
    }
    if options.idle_seconds.is_some() || options.frequency.is_some() {
        call.kv().set_usage(call.db(), key, options.idle_seconds, options.frequency)?;
    }
    call.count_writes(1);
    call.notify(Class::Generic, "restore", key);
    Ok(Reply::OK)
}

/// Argument `index` as a value that was dumped. What it takes in memory is bounded as a reply is, but may be any string.
fn read(call: &Call<'_, '_>, index: usize) -> Answer<Value> {
    let string = call.env.config.max_value;
    let total = call.env.config.output_limit.max(string.saturating_mul(2));
    rdb::read(call.arg(index), Limits { string, total }).map_err(|wrong| match wrong {
        Wrong::Footer => "ERR DUMP payload version or checksum are wrong".into(),
        Wrong::Contents => "ERR Bad data format".into(),
        Wrong::TooLarge => {
            format!("ERR the value is too large ({string} bytes for each part and {total} for all of it at most)")
                .into()
        }
    })
}

/// Makes nothing of a value whose time has passed; what it was to replace goes.
fn restore_past(call: &Call<'_, '_>, key: &[u8], replace: bool) -> Answer {
    if replace && call.kv().delete(call.db(), key)? {
        call.count_writes(1);
        call.notify(Class::Generic, "del", key);
    }
    Ok(Reply::OK)
}

/// Makes a string in one step, unless there is such a key and it is not to be replaced: whether that is so.
fn restore_string(call: &Call<'_, '_>, key: &[u8], value: &[u8], expiry: Expiry, replace: bool) -> Answer<bool> {
    let condition = if replace { Condition::Always } else { Condition::IfAbsent };
    let set = call.kv().set(call.db(), key, value, SetOptions { condition, expiry, ..SetOptions::default() })?;
    Ok(!set.written)
}

#[cfg(test)]
mod tests {
    use crate::{
        command::testing::{Server, check},
        store::Stat,
    };

    // It told of a key that was not there.
    #[test]
    fn a_value_whose_time_has_passed_is_not_made() {
        let server = Server::new();
        let dump = "\"\\x00\\xc0\\x64\\x0a\\x00\\x87\\x29\\x95\\x31\\x60\\x0e\\x8d\\xb3\"";
        server.run("SET a 1");
        check(&server, &[(&format!("RESTORE b 1 {dump} ABSTTL"), "+OK"), ("EXISTS b", ":0")]);
        assert_eq!(server.store.statistics().sum(Stat::Writes), 1, "nothing was written");
        check(&server, &[(&format!("RESTORE a 1 {dump} ABSTTL"), "-BUSYKEY Target key name already exists.")]);
        check(&server, &[(&format!("RESTORE a 1 {dump} ABSTTL REPLACE"), "+OK"), ("EXISTS a", ":0")]);
        check(&server, &[(&format!("RESTORE a 0 {dump}"), "+OK"), ("GET a", "$3 100")]);
    }

    #[test]
    fn restore_checks_what_it_is_given() {
        check(
            &Server::new(),
            &[
                ("DUMP none", "$-1"),
                ("RESTORE a 0 x", "-ERR DUMP payload version or checksum are wrong"),
                ("RESTORE a -1 x", "-ERR Invalid TTL value, must be >= 0"),
                ("RESTORE a 0 x NOPE", "-ERR syntax error"),
                ("RESTORE a 0 x IDLETIME -1", "-ERR Invalid IDLETIME value, must be >= 0"),
                ("RESTORE a 0 x FREQ 256", "-ERR Invalid FREQ value, must be >= 0 and <= 255"),
                ("RESTORE a 0 x FREQ 1 IDLETIME 1", "-ERR syntax error"),
                ("SET a 1", "+OK"),
                ("RESTORE a 0 x", "-BUSYKEY Target key name already exists."),
                ("EXISTS a", ":1"),
            ],
        );
    }
}
