//! Commands about what this server does not have: files, replicas, a cluster, modules. They answer as a Redis would that has
//! none of these, so that consoles and client libraries find what they expect; what would pretend that data is safe on disk is refused.

use crate::command::{
    Reply,
    call::Call,
    introspect::help,
    refusal::{Answer, SYNTAX, refuse},
    table::{ADMIN, Command, PLAIN, PLAIN_FAST},
};

const SAVES: &[&str] = &["admin", "noscript", "no_async_loading"];
const REPLICATES: &[&str] = &["admin", "noscript", "stale", "no_async_loading"];

pub(crate) const COMMANDS: &[Command] = &[
    command("asking", 1, no_cluster).flags(&["fast"]).categories(&["connection"]).docs(
        "3.0.0",
        "",
        "Is refused: there is no cluster.",
    ),
    command("bgrewriteaof", 1, nothing_on_disk).flags(SAVES).docs(
        "1.0.0",
        "",
        "Is refused: nothing is written to disk.",
    ),
    command("bgsave", -1, nothing_on_disk).flags(SAVES).docs(
        "1.0.0",
        "[SCHEDULE]",
        "Is refused: nothing is written to disk.",
    ),
    command("cluster", -2, no_cluster).flags(&[]).docs("3.0.0", "", "Is refused: there is no cluster."),
    command("debug", -2, no_debug).docs("1.0.0", "", "Is refused."),
    command("failover", -1, no_replicas).flags(&["admin", "noscript", "stale"]).docs(
        "6.2.0",
        "",
        "Is refused: there are no replicas.",
    ),
    command("lastsave", 1, lastsave)
        .flags(PLAIN_FAST)
        .categories(&["admin", "dangerous"])
        .tips(&["nondeterministic_output"])
        .docs("1.0.0", "", "Returns when the server was started."),
    command("module", -2, module_help).flags(&[]).docs("4.0.0", "", "Commands about modules.").subcommands(MODULE),
    command("readonly", 1, no_cluster).flags(PLAIN_FAST).categories(&["connection"]).docs(
        "3.0.0",
        "",
        "Is refused: there is no cluster.",
    ),
    command("readwrite", 1, no_cluster).flags(PLAIN_FAST).categories(&["connection"]).docs(
        "3.0.0",
        "",
        "Is refused: there is no cluster.",
    ),
    command("replicaof", 3, replicaof).flags(REPLICATES).docs(
        "5.0.0",
        "NO ONE",
        "Is accepted for NO ONE: there are no replicas.",
    ),
    command("role", 1, role).flags(&["noscript", "loading", "stale", "fast"]).categories(&["admin", "dangerous"]).docs(
        "2.8.12",
        "",
        "Returns the role, master, and no replicas.",
    ),
    command("save", 1, nothing_on_disk).flags(&["admin", "noscript", "no_async_loading", "no_multi"]).docs(
        "1.0.0",
        "",
        "Is refused: nothing is written to disk.",
    ),
    command("shutdown", -1, shutdown).flags(&["admin", "noscript", "loading", "stale", "no_multi", "allow_busy"]).docs(
        "1.0.0",
        "[NOSAVE] [NOW] [FORCE]",
        "Ends the server and all its workers, as a signal to the master does.",
    ),
    command("slaveof", 3, replicaof).flags(REPLICATES).docs(
        "1.0.0",
        "NO ONE",
        "Is accepted for NO ONE: there are no replicas.",
    ),
];

const MODULE: &[Command] = &[
    sub("module|help", 2, module_help).docs("5.0.0", "", "Lists the subcommands."),
    sub("module|list", 2, module_list).flags(&["admin", "noscript"]).tips(&["nondeterministic_output_order"]).docs(
        "4.0.0",
        "",
        "Returns the modules; there are none.",
    ),
];

const fn command(name: &'static str, arity: i64, handler: crate::command::table::Handler) -> Command {
    Command::new(name, arity, handler).group("server").flags(ADMIN)
}

const fn sub(full_name: &'static str, arity: i64, handler: crate::command::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("server").flags(PLAIN)
}

fn no_cluster(_: &mut Call<'_, '_>) -> Answer {
    refuse("ERR This instance has cluster support disabled")
}

fn nothing_on_disk(_: &mut Call<'_, '_>) -> Answer {
    refuse("ERR nothing is kept on a disk; a named segment outlives the server, see --segment")
}

fn no_debug(_: &mut Call<'_, '_>) -> Answer {
    refuse("ERR DEBUG command not allowed")
}

fn no_replicas(_: &mut Call<'_, '_>) -> Answer {
    refuse("ERR FAILOVER requires connected replicas.")
}

fn lastsave(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(crate::command::info::started_at(call.env) as i64))
}

fn replicaof(call: &mut Call<'_, '_>) -> Answer {
    if call.args.is(1, "NO") && call.args.is(2, "ONE") {
        return Ok(Reply::OK);
    }
    refuse("ERR replication is not supported")
}

/// Asks for the end of the server; who asked sees its connection close, as everybody else does.
fn shutdown(call: &mut Call<'_, '_>) -> Answer {
    for at in 1..call.args.len() {
        match call.args.get(at).to_ascii_uppercase().as_slice() {
            b"NOSAVE" | b"NOW" | b"FORCE" => {}
            b"SAVE" => return nothing_on_disk(call),
            b"ABORT" => return refuse("ERR No shutdown in progress."),
            _ => return refuse(SYNTAX),
        }
    }
    call.env.state.end_is_wanted.set(true);
    Ok(Reply::Nothing)
}

fn role(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Array(vec![Reply::Text("master"), Reply::Int(0), Reply::Array(Vec::new())]))
}

fn module_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "MODULE", MODULE))
}

fn module_list(_: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Array(Vec::new()))
}

/// FLUSH of something that is not there: with the mode that is given, or none.
pub(in crate::command) fn flush_nothing(call: &Call<'_, '_>, wrong_mode: &'static str) -> Answer {
    match call.args.len() {
        2 => Ok(Reply::OK),
        3 if call.args.is(2, "ASYNC") || call.args.is(2, "SYNC") => Ok(Reply::OK),
        3 => refuse(wrong_mode),
        _ => refuse(SYNTAX),
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Server, check};

    #[test]
    fn what_is_not_there_is_answered_as_a_server_without_it_does() {
        check(
            &Server::new(),
            &[
                ("READONLY", "-ERR This instance has cluster support disabled"),
                ("CLUSTER INFO", "-ERR This instance has cluster support disabled"),
                ("ROLE", "*3 $6 master :0 *0"),
                ("REPLICAOF NO ONE", "+OK"),
                ("REPLICAOF localhost 1", "-ERR replication is not supported"),
                ("MODULE LIST", "*0"),
                ("BGSAVE", "-ERR nothing is kept on a disk; a named segment outlives the server, see --segment"),
                ("DEBUG SLEEP 0", "-ERR DEBUG command not allowed"),
                ("FUNCTION STATS", "*4 $14 running_script $-1 $7 engines *0"),
                ("FUNCTION KILL", "-NOTBUSY No scripts in execution right now."),
                ("FUNCTION FLUSH WHEN", "-ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
                ("FUNCTION DELETE x", "-ERR Library not found"),
                ("SCRIPT EXISTS a b", "*2 :0 :0"),
                ("SCRIPT FLUSH", "+OK"),
                ("SCRIPT FLUSH WHEN", "-ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
                ("SCRIPT KILL", "-NOTBUSY No scripts in execution right now."),
            ],
        );
    }
}
