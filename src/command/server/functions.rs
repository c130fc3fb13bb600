//! FUNCTION and SCRIPT, as far as a server without scripts has answers: there is nothing to list, delete or stop.

use crate::command::{
    Reply,
    absent::flush_nothing,
    call::Call,
    introspect::help,
    refusal::{Answer, refuse},
    table::{Command, PLAIN},
};

pub(crate) const COMMANDS: &[Command] = &[
    Command::new("function", -2, function_help)
        .group("scripting")
        .docs("7.0.0", "", "Commands about libraries of functions.")
        .subcommands(FUNCTION),
    Command::new("script", -2, script_help)
        .group("scripting")
        .docs("2.6.0", "", "Commands about scripts.")
        .subcommands(SCRIPT),
];

const FUNCTION: &[Command] = &[
    sub("function|delete", 3, function_delete)
        .flags(&["write", "noscript"])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("7.0.0", "library-name", "Is refused: there are no libraries."),
    sub("function|dump", 2, function_dump).flags(&["noscript"]).docs(
        "7.0.0",
        "",
        "Returns the libraries, none, in the format of dump files.",
    ),
    sub("function|flush", -2, function_flush)
        .flags(&["write", "noscript"])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("7.0.0", "[ASYNC | SYNC]", "Deletes all libraries; there are none."),
    sub("function|help", 2, function_help).docs("7.0.0", "", "Lists the subcommands."),
    sub("function|kill", 2, nothing_runs)
        .flags(&["noscript", "allow_busy"])
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .docs("7.0.0", "", "Is refused: no function runs."),
    sub("function|list", -2, function_list).flags(&["noscript"]).tips(&["nondeterministic_output_order"]).docs(
        "7.0.0",
        "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        "Returns the libraries; there are none.",
    ),
    sub("function|stats", 2, function_stats)
        .flags(&["noscript", "allow_busy"])
        .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
        .docs("7.0.0", "", "Says that no function runs."),
];

const SCRIPT: &[Command] = &[
    sub("script|exists", -3, script_exists)
        .flags(&["noscript"])
        .tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
        .docs("2.6.0", "sha1...", "Says of each script that it is not there."),
    sub("script|flush", -2, script_flush)
        .flags(&["noscript"])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .docs("2.6.0", "[ASYNC | SYNC]", "Forgets all scripts; there are none."),
    sub("script|help", 2, script_help).docs("5.0.0", "", "Lists the subcommands."),
    sub("script|kill", 2, nothing_runs)
        .flags(&["noscript", "allow_busy"])
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"])
        .docs("2.6.0", "", "Is refused: no script runs."),
];

/// No libraries, in the format of dump files: its version, and a checksum.
const EMPTY_DUMP: &[u8] = b"\n\0\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda";

const fn sub(full_name: &'static str, arity: i64, handler: crate::command::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("scripting").flags(PLAIN)
}

fn function_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "FUNCTION", FUNCTION))
}

fn function_flush(call: &mut Call<'_, '_>) -> Answer {
    flush_nothing(call, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
}

fn function_list(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Array(Vec::new()))
}

fn function_delete(_: &mut Call<'_, '_>) -> Answer {
    refuse("ERR Library not found")
}

fn function_dump(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Bulk(EMPTY_DUMP.to_vec()))
}

fn function_stats(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Map(vec![(Reply::Text("running_script"), Reply::Null), (Reply::Text("engines"), Reply::Map(Vec::new()))]))
}

fn nothing_runs(_: &mut Call<'_, '_>) -> Answer {
    refuse("NOTBUSY No scripts in execution right now.")
}

fn script_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "SCRIPT", SCRIPT))
}

fn script_exists(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Array(vec![Reply::Int(0); call.args.len() - 2]))
}

fn script_flush(call: &mut Call<'_, '_>) -> Answer {
    flush_nothing(call, "ERR SCRIPT FLUSH only support SYNC|ASYNC option")
}
