//! Commands about commands: COMMAND and the HELP of the others, all served from the one table.

use super::{
    Reply,
    call::Call,
    glob,
    refusal::{Answer, Refusal, SYNTAX, refuse},
    table::{self, Command, PLAIN},
    usage,
};

pub(crate) const COMMANDS: &[Command] = &[Command::new("command", -1, command)
    .group("server")
    .flags(PLAIN)
    .docs("2.8.13", "", "Describes every command.")
    .subcommands(COMMAND)];

const COMMAND: &[Command] = &[
    sub("command|count", 2, count).docs("2.8.13", "", "Returns the number of commands."),
    sub("command|docs", -2, docs).docs("7.0.0", "[command-name...]", "Returns the documentation of commands."),
    sub("command|getkeys", -4, getkeys).docs("2.8.13", "command [arg...]", "Returns the keys of a command."),
    sub("command|help", 2, command_help).docs("5.0.0", "", "Lists the subcommands."),
    sub("command|info", -2, info).docs("2.8.13", "[command-name...]", "Describes commands."),
    sub("command|list", -2, list).docs(
        "7.0.0",
        "[FILTERBY (MODULE module-name | ACLCAT category | PATTERN pattern)]",
        "Returns the names of commands.",
    ),
];

const fn sub(full_name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("server").flags(PLAIN)
}

/// The answer of `CONTAINER HELP`.
pub(crate) fn help(_: &Call<'_, '_>, container: &str, subcommands: &[Command]) -> Reply {
    let mut lines = vec![Reply::Bulk(format!("{container} <subcommand> [<arg> ...]. Subcommands are:").into_bytes())];
    for sub in subcommands {
        lines.push(Reply::Bulk(format!("{} {}", sub.name.to_ascii_uppercase(), sub.usage).trim_end().into()));
        lines.push(Reply::Bulk(format!("    {}", sub.summary).into_bytes()));
    }
    Reply::Array(lines)
}

fn command_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "COMMAND", COMMAND))
}

fn command(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Array(table::all().map(description).collect()))
}

fn count(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(table::count() as i64))
}

fn info(call: &mut Call<'_, '_>) -> Answer {
    if call.args.len() == 2 {
        return command(call);
    }
    let named = call.args.from(2).map(|name| find(name).map_or(Reply::Null, description));
    Ok(Reply::Array(named.collect()))
}

/// The command, or with `container|name` the subcommand, of this name.
fn find(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|&byte| byte == b'|') {
        Some(at) => table::lookup(&name[..at])?.subcommand(&name[at + 1..]),
        None => table::lookup(name),
    }
}

/// The ten fields of COMMAND INFO.
fn description(command: &'static Command) -> Reply {
    let (first, last, step) = command.keys;
    Reply::Array(vec![
        Reply::Text(command.full_name),
        Reply::Int(command.arity),
        Reply::Set(command.flags.iter().map(|flag| Reply::Status(flag)).collect()),
        Reply::Int(first),
        Reply::Int(last),
        Reply::Int(step),
        Reply::Set(categories(command).into_iter().map(Reply::Status).collect()),
        Reply::Array(Vec::new()),
        Reply::Array(key_specs(command)),
        Reply::Array(command.subcommands.iter().map(description).collect()),
    ])
}

/// The access categories of a command follow from its flags and its group.
fn categories(command: &Command) -> Vec<&'static str> {
    let has = |flag| command.flags.contains(&flag);
    let group = match command.group {
        "string" => "@string",
        "generic" => "@keyspace",
        "connection" => "@connection",
        "pubsub" => "@pubsub",
        "table" => "@table",
        "counter" => "@counter",
        _ => "",
    };
    let dangerous = has("admin") || matches!(command.name, "keys" | "flushdb" | "flushall" | "info");
    let held = [
        (!group.is_empty(), group),
        (has("write"), "@write"),
        (has("readonly"), "@read"),
        (has("admin"), "@admin"),
        (dangerous, "@dangerous"),
        (has("fast"), "@fast"),
        (!has("fast"), "@slow"),
    ];
    held.into_iter().filter_map(|(holds, name)| holds.then_some(name)).collect()
}

/// Where the keys of a command are, in the words of Redis 7.
fn key_specs(command: &Command) -> Vec<Reply> {
    let (first, last, step) = command.keys;
    if first == 0 {
        return Vec::new();
    }
    let pair = |name, value| (Reply::Text(name), value);
    let access = if command.flags.contains(&"readonly") { ["RO", "access"] } else { ["RW", "update"] };
    let behind_first = if last < 0 { last } else { last - first };
    let begin = Reply::Map(vec![
        pair("type", Reply::Text("index")),
        pair("spec", Reply::Map(vec![pair("index", Reply::Int(first))])),
    ]);
    let range = vec![
        pair("lastkey", Reply::Int(behind_first)),
        pair("keystep", Reply::Int(step)),
        pair("limit", Reply::Int(0)),
    ];
    let find = Reply::Map(vec![pair("type", Reply::Text("range")), pair("spec", Reply::Map(range))]);
    vec![Reply::Map(vec![
        pair("flags", Reply::Set(access.into_iter().map(Reply::Status).collect())),
        pair("begin_search", begin),
        pair("find_keys", find),
    ])]
}

fn docs(call: &mut Call<'_, '_>) -> Answer {
    let named: Vec<_> = match call.args.len() {
        2 => table::all().collect(),
        _ => call.args.from(2).filter_map(find).collect(),
    };
    Ok(Reply::Map(named.into_iter().map(documented).collect()))
}

fn documented(command: &'static Command) -> (Reply, Reply) {
    let mut fields = vec![
        (Reply::Text("summary"), Reply::Text(command.summary)),
        (Reply::Text("since"), Reply::Text(command.since)),
        (Reply::Text("group"), Reply::Text(command.group)),
    ];
    let arguments = usage::arguments(command.usage);
    if !arguments.is_empty() {
        fields.push((Reply::Text("arguments"), Reply::Array(arguments)));
    }
    if !command.subcommands.is_empty() {
        let subcommands = command.subcommands.iter().map(documented).collect();
        fields.push((Reply::Text("subcommands"), Reply::Map(subcommands)));
    }
    (Reply::Text(command.full_name), Reply::Map(fields))
}

/// Which commands COMMAND LIST returns.
fn list(call: &mut Call<'_, '_>) -> Answer {
    let keep: Box<dyn Fn(&Command) -> bool> = match call.args.len() {
        2 => Box::new(|_| true),
        5 if call.args.is(2, "FILTERBY") => {
            let wanted = call.arg(4).to_vec();
            if call.args.is(3, "MODULE") {
                Box::new(|_| false)
            } else if call.args.is(3, "ACLCAT") {
                let category = [b"@", wanted.as_slice()].concat();
                Box::new(move |command| {
                    categories(command).iter().any(|name| name.as_bytes().eq_ignore_ascii_case(&category))
                })
            } else if call.args.is(3, "PATTERN") {
                Box::new(move |command| glob::matches_any_case(&wanted, command.name.as_bytes()))
            } else {
                return refuse(SYNTAX);
            }
        }
        _ => return refuse(SYNTAX),
    };
    Ok(Reply::Array(table::all().filter(|command| keep(command)).map(|command| Reply::Text(command.name)).collect()))
}

fn getkeys(call: &mut Call<'_, '_>) -> Answer {
    let command = table::lookup(call.arg(2)).ok_or(Refusal::from("ERR Invalid command specified"))?;
    let args = call.args.len() - 2;
    if !command.takes(args) {
        return refuse("ERR Invalid number of arguments specified for command");
    }
    let (first, last, step) = command.keys;
    if first == 0 {
        return refuse("ERR The command has no key arguments");
    }
    let last = if last < 0 { args as i64 + last } else { last };
    let keys = (first..=last).step_by(step.max(1) as usize).map(|at| Reply::Bulk(call.arg(2 + at as usize).to_vec()));
    Ok(Reply::Array(keys.collect()))
}

#[cfg(test)]
mod tests;
