//! Commands about the server: INFO, CONFIG, TIME, STATS.

pub(super) mod absent;
pub(super) mod functions;
pub(super) mod info;
pub(super) mod latency;
pub(super) mod memory;
pub(super) mod monitor;
pub(super) mod parameters;
pub(super) mod settings;
pub(super) mod slowlog;
pub(super) mod waiting;

use super::{
    Reply,
    call::Call,
    introspect::help,
    refusal::{Answer, refuse, wrong_arity},
    settings::Unsettable,
    table::{ADMIN, Command, PLAIN, PLAIN_FAST},
};
use crate::store::Stat;

/// The Redis version whose commands and replies we follow; clients choose their behaviour by it.
pub(crate) const REDIS_VERSION: &str = "7.4.0";
/// What HELLO calls the server; clients choose their behaviour by it.
pub(crate) const SERVER_NAME: &str = "redis";

pub(crate) const COMMANDS: &[Command] = &[
    command("info", -1, information)
        .flags(PLAIN)
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .categories(&["dangerous"])
        .docs("1.0.0", "[section...]", "Describes the server, all workers together and each alone."),
    command("time", 1, time).flags(PLAIN_FAST).tips(&["nondeterministic_output"]).docs(
        "2.6.0",
        "",
        "Returns the Unix time in seconds and microseconds.",
    ),
    command("stats", 1, stats).flags(PLAIN).docs(
        "0.1.0",
        "",
        "Returns what the workers counted, all together and each alone.",
    ),
    command("config", -2, config_help).flags(&[]).docs("2.0.0", "", "Commands about settings.").subcommands(CONFIG),
];

const CONFIG: &[Command] = &[
    sub("config|get", -3, config_get).docs("2.0.0", "parameter...", "Returns the settings whose names match."),
    sub("config|help", 2, config_help).flags(PLAIN).docs("5.0.0", "", "Lists the subcommands."),
    sub("config|resetstat", 2, config_resetstat).docs(
        "2.0.0",
        "",
        "Sets the counts that INFO shows back to 0, for all workers.",
    ),
    sub("config|rewrite", 2, config_rewrite).docs("2.8.0", "", "Is refused: there is no file to rewrite."),
    sub("config|set", -4, config_set).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]).docs(
        "2.0.0",
        "(parameter value)...",
        "Changes settings for all workers.",
    ),
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("server").flags(ADMIN)
}

const fn sub(full_name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("server").flags(ADMIN)
}

fn information(call: &mut Call<'_, '_>) -> Answer {
    call.env.state.meter.flush();
    let sections: Vec<String> = (1..call.args.len()).map(|at| call.text(at).to_ascii_lowercase()).collect();
    Ok(Reply::Verbatim(info::text(call.env, &sections)?))
}

fn time(call: &mut Call<'_, '_>) -> Answer {
    let (seconds, micros) = (call.env.now_us / 1_000_000, call.env.now_us % 1_000_000);
    Ok(Reply::Array(vec![Reply::Bulk(seconds.to_string().into_bytes()), Reply::Bulk(micros.to_string().into_bytes())]))
}

fn stats(call: &mut Call<'_, '_>) -> Answer {
    let statistics = call.env.store.statistics();
    let (bytes, used) = call.env.store.memory();
    let count = |n: u64| Reply::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let summed = Stat::ALL.iter().filter(|stat| stat.adds_up());
    let total = summed.map(|&stat| (Reply::Text(stat.name()), count(statistics.sum(stat)))).collect();
    let worker = |index| {
        let cells = Stat::ALL.iter().map(|&stat| (Reply::Text(stat.name()), count(statistics.worker(index, stat))));
        Reply::Map(std::iter::once((Reply::Text("index"), Reply::Int(index as i64))).chain(cells).collect())
    };
    let workers = (0..statistics.workers()).map(worker).collect();
    Ok(Reply::Map(vec![
        (Reply::Text("worker"), Reply::Int(call.env.worker as i64)),
        (Reply::Text("memory_bytes"), count(bytes)),
        (Reply::Text("memory_used_bytes"), count(used)),
        (Reply::Text("recoveries"), count(statistics.recoveries())),
        (Reply::Text("total"), Reply::Map(total)),
        (Reply::Text("workers"), Reply::Array(workers)),
    ]))
}

fn config_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "CONFIG", CONFIG))
}

fn config_get(call: &mut Call<'_, '_>) -> Answer {
    call.env.state.settings.refresh()?;
    let shown = call.env.state.settings.matching(call.args.from(2));
    Ok(Reply::Map(
        shown.into_iter().map(|(name, value)| (Reply::Text(name), Reply::Bulk(value.into_bytes()))).collect(),
    ))
}

/// Changes several settings, or none.
fn config_set(call: &mut Call<'_, '_>) -> Answer {
    if !call.args.len().is_multiple_of(2) {
        return wrong_arity("config|set");
    }
    let settings = &call.env.state.settings;
    let mut changes: Vec<(&'static str, String)> = Vec::new();
    for at in (2..call.args.len()).step_by(2) {
        let name = call.text(at);
        let Some(parameter) = parameters::find(&name) else {
            return refuse(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"));
        };
        if changes.iter().any(|(other, _)| *other == parameter.name) {
            return refuse(config_error(&name.to_ascii_lowercase(), "duplicate parameter"));
        }
        // What stood there instead would be another password than the one that was sent.
        let Ok(value) = std::str::from_utf8(call.arg(at + 1)) else {
            return refuse(config_error(parameter.name, "argument must be UTF-8"));
        };
        changes.push((parameter.name, value.to_owned()));
    }
    match settings.set(&changes)? {
        Ok(()) => {
            for (_, password) in changes.iter().filter(|(name, _)| *name == "requirepass") {
                call.env.state.acl.set_default_password(password, call.env)?;
            }
            Ok(Reply::OK)
        }
        Err((name, Unsettable::Immutable)) => refuse(config_error(name, "can't set immutable config")),
        Err((name, Unsettable::Value(why))) => refuse(config_error(name, &why)),
    }
}

fn config_error(name: &str, why: &str) -> String {
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
}

/// Sets back what Redis sets back; what tells how this program fares (starts, recoveries, waits) goes on.
fn config_resetstat(call: &mut Call<'_, '_>) -> Answer {
    const COUNTED_FROM_NOW: [Stat; 17] = [
        Stat::Connections,
        Stat::Rejected,
        Stat::Commands,
        Stat::Reads,
        Stat::Hits,
        Stat::Misses,
        Stat::Writes,
        Stat::Expired,
        Stat::Errors,
        Stat::AuthFailures,
        Stat::DeniedCommands,
        Stat::DeniedKeys,
        Stat::DeniedChannels,
        Stat::BytesIn,
        Stat::BytesOut,
        Stat::IdleClosed,
        Stat::OutputClosed,
    ];
    call.env.state.meter.flush();
    let statistics = call.env.store.statistics();
    COUNTED_FROM_NOW.iter().for_each(|&stat| statistics.reset(stat));
    (0..statistics.workers()).for_each(|worker| statistics.tally(worker).reset());
    Ok(Reply::OK)
}

fn config_rewrite(_: &mut Call<'_, '_>) -> Answer {
    refuse("ERR The server is running without a config file")
}

#[cfg(test)]
mod tests;
