//! Commands about commands: COMMAND and the HELP of the others, all served from the one table.

pub(super) mod foreign;
pub(super) mod usage;

use super::{
    Reply,
    call::Call,
    glob,
    keyspec::{Access, Find, KeySpec, NOT_KEY},
    refusal::{Answer, SYNTAX, refuse},
    table::{self, CATEGORIES, Command, PLAIN},
};

pub(crate) const COMMANDS: &[Command] = &[Command::new("command", -1, command)
    .group("server")
    .flags(PLAIN)
    .categories(&["connection"])
    .tips(&["nondeterministic_output_order"])
    .docs("2.8.13", "", "Describes every command.")
    .subcommands(COMMAND)];

const COMMAND: &[Command] = &[
    sub("command|count", 2, count).docs("2.8.13", "", "Returns the number of commands."),
    sub("command|docs", -2, docs).tips(&["nondeterministic_output_order"]).docs(
        "7.0.0",
        "[command-name...]",
        "Returns the documentation of commands.",
    ),
    sub("command|getkeys", -3, getkeys).docs("2.8.13", "command [arg...]", "Returns the keys of a command."),
    sub("command|getkeysandflags", -3, getkeysandflags).docs(
        "7.0.0",
        "command [arg...]",
        "Returns the keys of a command and what it does with them.",
    ),
    sub("command|help", 2, command_help).docs("5.0.0", "", "Lists the subcommands."),
    sub("command|info", -2, info).tips(&["nondeterministic_output_order"]).docs(
        "2.8.13",
        "[command-name...]",
        "Describes commands.",
    ),
    sub("command|list", -2, list).tips(&["nondeterministic_output_order"]).docs(
        "7.0.0",
        "[FILTERBY (MODULE module-name | ACLCAT category | PATTERN pattern)]",
        "Returns the names of commands.",
    ),
];

const fn sub(full_name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("server").flags(PLAIN).categories(&["connection"])
}

/// The answer of `CONTAINER HELP`.
pub(crate) fn help(_: &Call<'_, '_>, container: &str, subcommands: &[Command]) -> Reply {
    let mut lines = vec![Reply::Line(format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"))];
    for sub in subcommands.iter().filter(|sub| sub.name != "help") {
        lines.push(Reply::Line(format!("{} {}", sub.name.to_ascii_uppercase(), sub.usage).trim_end().to_owned()));
        lines.push(Reply::Line(format!("    {}", sub.summary)));
    }
    lines.extend([Reply::Status("HELP"), Reply::Status("    Prints this help.")]);
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
    let named = call.args.from(2).map(|name| table::find(name).map_or(Reply::Null, description));
    Ok(Reply::Array(named.collect()))
}

/// The ten fields of COMMAND INFO.
fn description(command: &'static Command) -> Reply {
    let (first, last, step) = command.keys;
    let movable = command.has_movable_keys().then_some("movablekeys");
    let categories = CATEGORIES.iter().filter(|category| command.is_in(category));
    Reply::Array(vec![
        Reply::Text(command.full_name),
        Reply::Int(command.arity),
        Reply::Set(command.flags.iter().copied().chain(movable).map(Reply::Status).collect()),
        Reply::Int(first),
        Reply::Int(last),
        Reply::Int(step),
        Reply::Set(categories.map(|category| Reply::Line(format!("@{category}"))).collect()),
        Reply::Set(command.tips.iter().copied().map(Reply::Text).collect()),
        Reply::Set(command.specs_of_keys().map(key_spec).collect()),
        Reply::Set(command.subcommands.iter().map(description).collect()),
    ])
}

/// Where the keys of a command are, in the words of Redis 7.
fn key_spec(spec: KeySpec) -> Reply {
    let map = |fields: Vec<(&'static str, Reply)>| {
        Reply::Map(fields.into_iter().map(|(name, value)| (Reply::Text(name), value)).collect())
    };
    let typed = |kind, fields| map(vec![("type", Reply::Text(kind)), ("spec", map(fields))]);
    let find = match spec.find {
        Find::Range { last, step } => {
            typed("range", vec![("lastkey", Reply::Int(last)), ("keystep", Reply::Int(step)), ("limit", Reply::Int(0))])
        }
        Find::Counted { step } => typed(
            "keynum",
            vec![("keynumidx", Reply::Int(0)), ("firstkey", Reply::Int(1)), ("keystep", Reply::Int(step))],
        ),
    };
    map(vec![
        ("flags", Reply::Set(spec.access.flags.iter().copied().map(Reply::Status).collect())),
        ("begin_search", typed("index", vec![("index", Reply::Int(spec.begin as i64))])),
        ("find_keys", find),
    ])
}

fn docs(call: &mut Call<'_, '_>) -> Answer {
    let named: Vec<_> = match call.args.len() {
        2 => table::all().collect(),
        _ => call.args.from(2).filter_map(table::find).collect(),
    };
    Ok(Reply::Map(named.into_iter().map(documented).collect()))
}

fn documented(command: &'static Command) -> (Reply, Reply) {
    let mut fields = vec![
        (Reply::Text("summary"), Reply::Text(command.summary)),
        (Reply::Text("since"), Reply::Text(command.since)),
        (Reply::Text("group"), Reply::Text(command.group)),
    ];
    if !command.cost().is_empty() {
        fields.push((Reply::Text("complexity"), Reply::Text(command.cost())));
    }
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
                let category = CATEGORIES.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(&wanted));
                Box::new(move |command| category.is_some_and(|category| command.is_in(category)))
            } else if call.args.is(3, "PATTERN") {
                Box::new(move |command| glob::matches_any_case(&wanted, command.full_name.as_bytes()))
            } else {
                return refuse(SYNTAX);
            }
        }
        _ => return refuse(SYNTAX),
    };
    let kept = table::all_with_subcommands().filter(|command| keep(command));
    Ok(Reply::Array(kept.map(|command| Reply::Text(command.full_name)).collect()))
}

fn getkeys(call: &mut Call<'_, '_>) -> Answer {
    let keys = keys_of_request(call)?;
    Ok(Reply::Array(keys.into_iter().map(|(key, _)| Reply::Bulk(key.to_vec())).collect()))
}

fn getkeysandflags(call: &mut Call<'_, '_>) -> Answer {
    let described = keys_of_request(call)?.into_iter().map(|(key, access)| {
        let flags = access.flags.iter().copied().map(Reply::Status).collect();
        Reply::Array(vec![Reply::Bulk(key.to_vec()), Reply::Set(flags)])
    });
    Ok(Reply::Array(described.collect()))
}

/// The keys of the request that the arguments from the third on are, and what it does with each.
fn keys_of_request<'a>(call: &Call<'a, '_>) -> Answer<Vec<(&'a [u8], Access)>> {
    let request = call.args.tail(2);
    let (command, specs, takes) = match (table::meant(&request), foreign::keys(&request)) {
        (Some(command), _) => (Some(command), command.specs_of_keys().collect(), command.takes(request.len())),
        (None, Some((specs, takes))) => (None, specs.to_vec(), takes),
        (None, None) => return refuse("ERR Invalid command specified"),
    };
    if specs.is_empty() {
        return refuse("ERR The command has no key arguments");
    }
    if !takes {
        return refuse("ERR Invalid number of arguments specified for command");
    }
    let mut keys = Vec::new();
    for spec in specs.iter().filter(|spec| spec.access != NOT_KEY) {
        let Some(places) = spec.places(&request) else {
            keys.clear();
            break;
        };
        let access = command.map_or(spec.access, |command| command.access_in(spec, &request));
        keys.extend(places.map(|at| (request.get(at), access)));
    }
    if keys.is_empty() && !foreign::needs_no_keys(&request) {
        return refuse("ERR Invalid arguments specified for command");
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
