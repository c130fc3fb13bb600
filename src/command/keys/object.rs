//! OBJECT: how values are kept, as clients of Redis know it.
//!
//! The names are those that Redis would use for the same value; ours are kept in another way.

use crate::command::{
    Reply,
    call::Call,
    introspect::help,
    keyspec::RO,
    parse_int,
    refusal::{Answer, refuse},
    table::{Command, PLAIN, READ},
};
use crate::store::Error;

/// Bytes of the longest string that Redis keeps within its object.
const MAX_EMBEDDED_BYTES: usize = 44;

pub(crate) const COMMANDS: &[Command] = &[Command::new("object", -2, object_help)
    .docs("2.2.3", "", "Commands about how values are kept.")
    .subcommands(OBJECT)];

const OBJECT: &[Command] = &[
    sub("object|encoding", 3, encoding)
        .keys(2, 2, 1)
        .access(RO.in_silence())
        .flags(READ)
        .tips(&["nondeterministic_output"])
        .docs("2.2.3", "key", "Returns the name of the encoding of a value."),
    sub("object|freq", 3, frequency)
        .keys(2, 2, 1)
        .access(RO.in_silence())
        .flags(READ)
        .tips(&["nondeterministic_output"])
        .docs("4.0.0", "key", "Returns how often a key is used, by the count of an LFU policy."),
    sub("object|help", 2, object_help).flags(PLAIN).docs("6.2.0", "", "Lists the subcommands."),
    sub("object|idletime", 3, idle_time)
        .keys(2, 2, 1)
        .access(RO.in_silence())
        .flags(READ)
        .tips(&["nondeterministic_output"])
        .docs("2.2.3", "key", "Returns the seconds since a key was used."),
    sub("object|refcount", 3, refcount)
        .keys(2, 2, 1)
        .access(RO.in_silence())
        .flags(READ)
        .tips(&["nondeterministic_output"])
        .docs("2.2.3", "key", "Returns how many references a value has: one."),
];

const fn sub(full_name: &'static str, arity: i64, handler: crate::command::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).complexity("O(1)")
}

fn object_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "OBJECT", OBJECT))
}

fn encoding(call: &mut Call<'_, '_>) -> Answer {
    let key = call.key(2)?;
    let buffers = &call.env.state.buffers;
    let mut value = buffers.take();
    // A long value is not read for that.
    let reply = match call.kv().strlen(call.db(), key) {
        Ok(len) if len > MAX_EMBEDDED_BYTES as u64 => Reply::Text("raw"),
        Ok(_) if call.kv().get(call.db(), key, &mut value)? => Reply::Text(string_encoding(&value)),
        Ok(_) => Reply::Null,
        Err(Error::WrongKind) if call.kv().is_packed(call.db(), key)? => Reply::Text("listpack"),
        Err(Error::WrongKind) => Reply::Text("hashtable"),
        Err(error) => return Err(error.into()),
    };
    buffers.recycle(Reply::Bulk(value));
    Ok(reply)
}

/// The encoding of a string that was just set.
fn string_encoding(value: &[u8]) -> &'static str {
    match parse_int(value) {
        Some(_) => "int",
        None if value.len() <= MAX_EMBEDDED_BYTES => "embstr",
        None => "raw",
    }
}

/// Why a policy does not tell what was asked for, as Redis says it.
const NOT_LFU: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
const NOT_LRU: &str = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";

fn frequency(call: &mut Call<'_, '_>) -> Answer {
    let usage = call.kv().usage(call.db(), call.key(2)?)?;
    match usage {
        None => Ok(Reply::Null),
        Some(_) if !call.env.state.settings.limit().policy.is_lfu() => refuse(NOT_LFU),
        Some(usage) => Ok(Reply::Int(i64::from(usage.frequency))),
    }
}

fn idle_time(call: &mut Call<'_, '_>) -> Answer {
    let usage = call.kv().usage(call.db(), call.key(2)?)?;
    match usage {
        None => Ok(Reply::Null),
        Some(_) if call.env.state.settings.limit().policy.is_lfu() => refuse(NOT_LRU),
        Some(usage) => Ok(Reply::Int(i64::try_from(usage.idle_seconds).unwrap_or(i64::MAX))),
    }
}

fn refcount(call: &mut Call<'_, '_>) -> Answer {
    let found = call.kv().exists(call.db(), call.key(2)?)?;
    Ok(if found { Reply::Int(1) } else { Reply::Null })
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Server as Tested, check as check_all};

    #[test]
    fn the_policy_says_what_is_told_of_use() {
        let server = Tested::new();
        server.run("SET key 1");
        assert!(server.run("OBJECT FREQ key").starts_with("-ERR An LFU maxmemory policy is not selected"));
        check_all(
            &server,
            &[
                ("OBJECT IDLETIME key", ":0"),
                ("OBJECT IDLETIME absent", "$-1"),
                ("CONFIG SET maxmemory-policy allkeys-lfu", "+OK"),
                ("TOUCH key absent", ":1"),
                ("OBJECT FREQ key", ":1"),
                ("OBJECT FREQ absent", "$-1"),
            ],
        );
        assert!(server.run("OBJECT IDLETIME key").starts_with("-ERR An LFU maxmemory policy is selected"));
    }

    use crate::command::testing::{Server, check};

    #[test]
    fn encodings_have_the_names_that_clients_know() {
        let server = Server::new();
        server.run(&format!("MSET int 12 text +12 raw {0} long {0}x", "x".repeat(44)));
        check(
            &server,
            &[
                ("OBJECT ENCODING int", "$3 int"),
                ("OBJECT ENCODING text", "$6 embstr"),
                ("OBJECT ENCODING raw", "$6 embstr"),
                ("OBJECT ENCODING long", "$3 raw"),
                ("OBJECT ENCODING none", "$-1"),
                ("OBJECT REFCOUNT int", ":1"),
                ("OBJECT REFCOUNT none", "$-1"),
                ("OBJECT nope", "-ERR unknown subcommand 'nope'. Try OBJECT HELP."),
                ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
            ],
        );
    }
}
