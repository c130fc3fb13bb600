//! MEMORY: what memory is used for, and by which key.
//!
//! The segment is allocated as a whole at the start, so nothing here says how much the program takes from the system.

use crate::command::{
    Reply,
    call::Call,
    info::human,
    introspect::help,
    keyspec::RO,
    refusal::{Answer, NOT_AN_INTEGER, SYNTAX, refuse},
    table::{Command, READ},
};
use crate::store::limits::DATABASES;

pub(crate) const COMMANDS: &[Command] = &[Command::new("memory", -2, memory_help)
    .group("server")
    .docs("4.0.0", "", "Commands about memory.")
    .subcommands(MEMORY)];

/// Hints of what each server of a cluster answers for itself.
const SPECIAL: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];

const MEMORY: &[Command] = &[
    sub("memory|doctor", 2, doctor).tips(SPECIAL).docs("4.0.0", "", "Says in words how the memory is used."),
    sub("memory|help", 2, memory_help).flags(&["loading", "stale"]).docs("4.0.0", "", "Lists the subcommands."),
    sub("memory|malloc-stats", 2, malloc_stats).tips(SPECIAL).docs(
        "4.0.0",
        "",
        "Says how much of the segment's pages is in use.",
    ),
    sub("memory|purge", 2, purge).tips(&["request_policy:all_shards", "response_policy:all_succeeded"]).docs(
        "4.0.0",
        "",
        "Is accepted: pages without a block in use go back when they are needed.",
    ),
    sub("memory|stats", 2, stats).tips(SPECIAL).docs("4.0.0", "", "Returns what memory is used for."),
    sub("memory|usage", -3, usage).access(RO.in_silence()).flags(READ).keys(2, 2, 1).docs(
        "4.0.0",
        "key [SAMPLES count]",
        "Returns the bytes of memory that a key and its value take.",
    ),
];

const fn sub(full_name: &'static str, arity: i64, handler: crate::command::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("server")
}

fn memory_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "MEMORY", MEMORY))
}

fn usage(call: &mut Call<'_, '_>) -> Answer {
    let key = call.key(2)?;
    match call.args.len() {
        3 => {}
        5 if call.args.is(3, "SAMPLES") => match crate::command::parse_int(call.arg(4)) {
            // A value is counted as a whole, whatever number of its parts was asked for.
            Some(0..) => {}
            Some(_) => return refuse(SYNTAX),
            None => return refuse(NOT_AN_INTEGER),
        },
        _ => return refuse(SYNTAX),
    }
    Ok(call.kv().bytes(call.db(), key)?.map_or(Reply::Null, count))
}

fn count(n: u64) -> Reply {
    Reply::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

fn purge(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::OK)
}

fn doctor(call: &mut Call<'_, '_>) -> Answer {
    let seen = call.env.store.memory_use();
    let limit = call.env.state.settings.limit();
    let bound = if limit.bytes > 0 { limit.bytes } else { seen.total };
    let (used, idle) = (seen.used(), seen.set_aside.saturating_sub(seen.used()));
    let mut text = format!(
        "{} of {} are in use: {} from the start, {} by tables, {} by keys and values.",
        human(used),
        human(bound),
        human(seen.fixed),
        human(seen.tables),
        human(seen.keys)
    );
    if idle > bound / 4 {
        text += &format!(
            " Pages with room for values of their size hold another {}: it serves new values of about the same sizes.",
            human(idle)
        );
    }
    if used > bound / 10 * 9 {
        text += &format!(" That is nearly all; what happens then is {}.", limit.policy.name());
    }
    Ok(Reply::Verbatim(text + "\n"))
}

fn malloc_stats(call: &mut Call<'_, '_>) -> Answer {
    let seen = call.env.store.memory_use();
    Ok(Reply::Verbatim(format!(
        "segment: {} bytes\nset aside: {} bytes\nin use: {} bytes\n",
        seen.total,
        seen.set_aside,
        seen.used()
    )))
}

fn stats(call: &mut Call<'_, '_>) -> Answer {
    let seen = call.env.store.memory_use();
    let (used, overhead) = (seen.used(), seen.fixed + seen.tables);
    let mut keys = 0;
    for db in 0..DATABASES as u8 {
        keys += call.kv().len(db)?;
    }
    let percent = |part: u64, of: u64| Reply::Double(100.0 * part as f64 / of.max(1) as f64);
    let text = Reply::Text;
    Ok(Reply::Map(vec![
        (text("peak.allocated"), count(used)),
        (text("total.allocated"), count(used)),
        (text("startup.allocated"), count(seen.fixed)),
        (text("replication.backlog"), count(0)),
        (text("clients.slaves"), count(0)),
        (text("clients.normal"), count(0)),
        (text("cluster.links"), count(0)),
        (text("aof.buffer"), count(0)),
        (text("lua.caches"), count(0)),
        (text("functions.caches"), count(0)),
        (text("tables.bytes"), count(seen.tables)),
        (text("overhead.total"), count(overhead)),
        (text("keys.count"), count(keys)),
        (text("keys.bytes-per-key"), count(seen.keys.checked_div(keys).unwrap_or(0))),
        (text("dataset.bytes"), count(seen.keys)),
        (text("dataset.percentage"), percent(seen.keys, used)),
        (text("peak.percentage"), percent(used, used)),
        (text("allocator.allocated"), count(used)),
        (text("allocator.active"), count(seen.set_aside)),
        (text("allocator.resident"), count(seen.total)),
        (text("fragmentation"), Reply::Double(seen.set_aside as f64 / used.max(1) as f64)),
        (text("fragmentation.bytes"), count(seen.set_aside.saturating_sub(used))),
    ]))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Server, check};

    #[test]
    fn memory_says_what_a_key_takes() {
        let server = Server::new();
        check(
            &server,
            &[
                ("MEMORY USAGE absent", "$-1"),
                ("SET key value", "+OK"),
                ("MEMORY USAGE key", ":8"),
                ("MEMORY USAGE key SAMPLES 5", ":8"),
                ("MEMORY USAGE key SAMPLES x", "-ERR value is not an integer or out of range"),
                ("MEMORY USAGE key SAMPLES", "-ERR syntax error"),
                ("MEMORY PURGE", "+OK"),
            ],
        );
        assert!(server.run("MEMORY DOCTOR").contains("by keys and values"));
        assert!(server.run("MEMORY STATS").contains("keys.bytes-per-key"));
        assert!(server.run("MEMORY MALLOC-STATS").contains("in use"));
        assert!(server.run("MEMORY HELP").contains("USAGE"));
    }
}
