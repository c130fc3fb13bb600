//! OBJECT: how values are kept, as clients of Redis know it.
//!
//! The names are those that Redis would use for the same value; ours are kept in another way.

use super::{
    Reply,
    call::Call,
    introspect::help,
    keyspec::RO,
    parse_int,
    refusal::Answer,
    table::{Command, PLAIN, READ},
};
use crate::store::KvType;

/// Bytes of the longest string that Redis keeps within its object.
const MAX_EMBEDDED_BYTES: usize = 44;

pub(crate) const COMMANDS: &[Command] = &[Command::new("object", -2, object_help)
    .docs("2.2.3", "", "Commands about how values are kept.")
    .subcommands(OBJECT)];

const OBJECT: &[Command] = &[
    sub("object|encoding", 3, encoding).keys(2, 2, 1).access(RO).flags(READ).tips(&["nondeterministic_output"]).docs(
        "2.2.3",
        "key",
        "Returns the name of the encoding of a value.",
    ),
    sub("object|help", 2, object_help).flags(PLAIN).docs("6.2.0", "", "Lists the subcommands."),
    sub("object|refcount", 3, refcount).keys(2, 2, 1).access(RO).flags(READ).tips(&["nondeterministic_output"]).docs(
        "2.2.3",
        "key",
        "Returns how many references a value has: one.",
    ),
];

const fn sub(full_name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::sub(full_name, arity, handler)
}

fn object_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "OBJECT", OBJECT))
}

fn encoding(call: &mut Call<'_, '_>) -> Answer {
    let key = call.key(2)?;
    match call.kv().kind(call.db(), key)? {
        None => Ok(Reply::Null),
        Some(KvType::Hash) => {
            let packed = call.kv().is_packed(call.db(), key)?;
            Ok(Reply::Text(if packed { "listpack" } else { "hashtable" }))
        }
        Some(KvType::String) => {
            let mut value = Vec::new();
            let found = call.kv().get(call.db(), key, &mut value)?;
            Ok(if found { Reply::from(string_encoding(&value)) } else { Reply::Null })
        }
    }
}

/// The encoding of a string that was just set.
fn string_encoding(value: &[u8]) -> &'static str {
    match parse_int(value) {
        Some(_) => "int",
        None if value.len() <= MAX_EMBEDDED_BYTES => "embstr",
        None => "raw",
    }
}

fn refcount(call: &mut Call<'_, '_>) -> Answer {
    let found = call.kv().exists(call.db(), call.key(2)?)?;
    Ok(if found { Reply::Int(1) } else { Reply::Null })
}

#[cfg(test)]
mod tests {
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
