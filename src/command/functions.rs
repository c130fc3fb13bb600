//! FUNCTION, as far as a server without scripts has answers: there are no libraries of functions to list, delete or run.

use super::{
    Reply,
    call::Call,
    introspect::help,
    refusal::{Answer, SYNTAX},
    table::{Command, PLAIN},
};

pub(crate) const COMMANDS: &[Command] = &[Command::new("function", -2, function_help)
    .group("scripting")
    .docs("7.0.0", "", "Commands about libraries of functions.")
    .subcommands(FUNCTION)];

const FUNCTION: &[Command] = &[
    sub("function|flush", -2, flush)
        .flags(&["write", "noscript"])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("7.0.0", "[ASYNC | SYNC]", "Deletes all libraries; there are none."),
    sub("function|help", 2, function_help).flags(PLAIN).docs("7.0.0", "", "Lists the subcommands."),
    sub("function|list", -2, list).flags(&["noscript"]).tips(&["nondeterministic_output_order"]).docs(
        "7.0.0",
        "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        "Returns the libraries; there are none.",
    ),
];

const fn sub(full_name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("scripting")
}

fn function_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "FUNCTION", FUNCTION))
}

fn flush(call: &mut Call<'_, '_>) -> Answer {
    match call.args.len() {
        2 => Ok(Reply::OK),
        3 if call.args.is(2, "ASYNC") || call.args.is(2, "SYNC") => Ok(Reply::OK),
        _ => Err(SYNTAX.into()),
    }
}

fn list(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Array(Vec::new()))
}
