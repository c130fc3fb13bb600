//! COMMAND INFO of every command that both servers know says the same: arity, flags, categories, hints, and where the keys are.

use std::collections::BTreeMap;

use super::peer::Redis;
use crate::harness::{Reply, Resp, Server};

/// Fields of commands that differ on purpose: `name`, number of the field, and why.
const EXCEPTIONS: &[(&str, usize, &str)] = &[
    ("command|getkeys", 1, "a command without arguments can be asked about, as in Valkey"),
    ("command|getkeysandflags", 1, "as getkeys"),
    ("client|reply", 2, "refused in transactions: the replies of EXEC are one"),
    ("client|reply", 2, "a transaction's replies are one reply, so none of them can be left out"),
];

/// The fields of each command and subcommand, by its full name.
fn described(addr: std::net::SocketAddr) -> BTreeMap<String, Vec<Reply>> {
    let mut client = Resp::open(addr).unwrap();
    client.run("HELLO 3");
    let mut commands = BTreeMap::new();
    gather(client.run("COMMAND").items(), &mut commands);
    commands
}

fn gather(descriptions: &[Reply], commands: &mut BTreeMap<String, Vec<Reply>>) {
    for description in descriptions {
        let fields = description.items();
        gather(fields[9].items(), commands);
        commands.insert(fields[0].text(), fields[..9].iter().map(plain).collect());
    }
}

/// A reply in which the order of sets says nothing, nor what a key specification says for people.
fn plain(reply: &Reply) -> Reply {
    match reply {
        Reply::Set(items) => {
            let mut items: Vec<_> = items.iter().map(plain).collect();
            items.sort_by_key(|item| format!("{item:?}"));
            Reply::Set(items)
        }
        Reply::Array(items) => Reply::Array(items.iter().map(plain).collect()),
        Reply::Map(pairs) => {
            let pairs = pairs.iter().filter(|(name, _)| name.text() != "notes");
            Reply::Map(pairs.map(|(name, value)| (name.clone(), plain(value))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn commands_that_both_know_are_described_alike() {
    let (server, redis) = (Server::start(&["--workers", "1"]), Redis::start());
    let (ours, theirs) = (described(server.resp()), described(redis.addr));
    let mut differences = Vec::new();
    let mut common = 0;
    for (name, ours) in &ours {
        let Some(theirs) = theirs.get(name) else { continue };
        common += 1;
        for (field, (our, their)) in ours.iter().zip(theirs).enumerate() {
            let is_known = EXCEPTIONS.iter().any(|(command, at, _)| command == name && *at == field);
            if our != their && !is_known {
                differences.push(format!("{name}, field {field}:\n  ours   {our:?}\n  theirs {their:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(common > 100, "{common} commands in common");
}
