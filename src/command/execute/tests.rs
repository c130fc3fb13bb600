//! Requests that nobody would send, and what holds for all of them.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::{
    command::{Proto, testing::Server},
    protocol::resp::encode,
};

/// Arguments that mean something to some command, and some that mean nothing to any.
const WORDS: &[&[u8]] = &[
    b"t",
    b"k",
    b"k2",
    b"n",
    b"f",
    b"s",
    b"",
    b"*",
    b"0",
    b"1",
    b"-1",
    b"2",
    b"1.5",
    b"nan",
    b"64",
    b"65",
    b"x",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"99999999999999999999",
    b"EX",
    b"PX",
    b"EXAT",
    b"PXAT",
    b"NX",
    b"XX",
    b"GT",
    b"LT",
    b"GET",
    b"SET",
    b"KEEPTTL",
    b"PERSIST",
    b"MATCH",
    b"COUNT",
    b"TYPE",
    b"EXPECT",
    b"KEYBYTES",
    b"int",
    b"float",
    b"string",
    b"AUTH",
    b"SETNAME",
    b"ID",
    b"LIST",
    b"INFO",
    b"DOCS",
    b"GETKEYS",
    b"FILTERBY",
    b"PATTERN",
    b"mset",
    b"\xff\xfe",
    b"\r\n",
    b"ON",
    b"lib-name",
    b"timeout",
    b"all",
];

fn lay_out(args: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<usize>>) {
    let mut bytes = Vec::new();
    let ranges = args.iter().map(|arg| {
        let start = bytes.len();
        bytes.extend_from_slice(arg);
        start..bytes.len()
    });
    let ranges = ranges.collect();
    (bytes, ranges)
}

fn any_request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    // SHUTDOWN alone has no reply.
    let names = table::all().map(|command| command.name).filter(|name| *name != "shutdown");
    let names: Vec<&'static str> = names.collect();
    let word = prop_oneof![
        8 => prop::sample::select(WORDS).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ];
    (prop::sample::select(names), prop::collection::vec(word, 0..9)).prop_map(|(name, words)| {
        let mut request = vec![name.as_bytes().to_vec()];
        request.extend(words);
        request
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_request_gets_one_reply(requests in prop::collection::vec(any_request(), 1..40)) {
        let server = Server::new();
        server.run("TABLE.MAKE t 4 n int f float s string 8");
        let mut session = server.session.borrow_mut();
        for request in &requests {
            let (bytes, ranges) = lay_out(request);
            let Outcome::Done(reply) = execute(&Args::new(&bytes, &ranges), &mut session, &server.env()) else {
                panic!("nothing here has to wait");
            };
            let mut out = Vec::new();
            for proto in [Proto::Resp2, Proto::Resp3] {
                out.clear();
                encode(&reply, proto, &mut out);
                prop_assert!(out.ends_with(b"\r\n"));
                let is_error = matches!(reply, Reply::Error(_));
                prop_assert_eq!(out[0] == b'-', is_error);
                prop_assert!(!is_error || out.iter().filter(|&&byte| byte == b'\n').count() == 1);
            }
        }
        server.state.meter.flush_counts();
        prop_assert_eq!(server.store.statistics().sum(Stat::Commands), 1 + requests.len() as u64);
    }
}

#[test]
fn an_empty_request_gets_no_reply() {
    let server = Server::new();
    let outcome = execute(&Args::new(&[], &[]), &mut server.session.borrow_mut(), &server.env());
    assert_eq!(outcome, Outcome::Done(Reply::Nothing));
    assert_eq!(server.store.statistics().sum(Stat::Commands), 0);
}

#[test]
fn every_command_says_how_many_arguments_it_takes() {
    let server = Server::new();
    for command in table::all().filter(|command| command.arity.abs() > 1) {
        assert_eq!(server.run(command.name), format!("-ERR wrong number of arguments for '{}' command", command.name));
    }
}

/// CLIENT CACHING NO held for a second command if the first was refused for its arguments: that one's key was not noted, and the
/// client was not told when it changed.
#[test]
fn client_caching_speaks_of_the_next_command_though_it_be_refused() {
    let server = Server::new();
    let caches = |key: &[u8]| server.store.interest().listeners(|| server.store.interest_hash(key)).cached != 0;
    server.run("client tracking on optout");
    for line in ["client caching no", "client id", "get a"] {
        server.run(line);
    }
    assert!(!caches(b"a"));
    for refused in ["get", "nonsense"] {
        server.run("client caching no");
        assert!(server.run(refused).starts_with('-'));
        server.run(&format!("get {refused}"));
        assert!(caches(refused.as_bytes()), "{refused}");
    }
}

/// EXEC that waited for the users before it was looked at left its transaction open.
#[test]
fn exec_that_waits_too_long_ends_its_transaction() {
    let server = Server::new();
    server.run("multi");
    server.run("set a 1");
    let mut session = server.session.borrow_mut();
    let reply = busy(&Args::new(b"Exec", std::slice::from_ref(&(0..4))), &mut session, &server.env());
    assert!(matches!(reply, Reply::Error(text) if text.starts_with("BUSY ")));
    assert_eq!(session.transaction.queued(), None);
}

/// Keys that are too long to be read were noted for clients that cache, whole, and stayed for good, as they never change.
#[test]
fn what_is_too_long_to_be_a_key_is_not_noted() {
    let server = Server::new();
    server.store.statistics().select(Some(0));
    server.run("client tracking on");
    let long = vec![b'k'; crate::store::limits::MAX_KV_KEY_BYTES + 1];
    let (bytes, ranges) = lay_out(&[b"get".to_vec(), long.clone()]);
    let outcome = execute(&Args::new(&bytes, &ranges), &mut server.session.borrow_mut(), &server.env());
    assert!(matches!(outcome, Outcome::Done(Reply::Error(_))));
    server.run("get k");
    assert_eq!(server.store.statistics().sum(Stat::TrackingKeys), 1);
    server.run("client tracking off");
    let follow = ["client", "tracking", "on", "bcast", "prefix"].map(|word| word.as_bytes().to_vec());
    let (bytes, ranges) = lay_out(&[&follow[..], &[long]].concat());
    let outcome = execute(&Args::new(&bytes, &ranges), &mut server.session.borrow_mut(), &server.env());
    assert!(matches!(outcome, Outcome::Done(Reply::Error(text)) if text.contains("key")));
    server.run("client tracking on bcast prefix k");
    assert_eq!(server.store.statistics().sum(Stat::TrackingPrefixes), 1);
}
