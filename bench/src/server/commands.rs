//! CPU time of requests over RESP, beside redis-server and memcached.

use super::{
    parts::Extent,
    process::Server,
    requests::{KEYS, Kind, Request, get, hget, incr, key, memcached_get, memcached_set, same, set},
    side::{Side, Two},
    wire::{self, command, words},
};
use crate::report::Section;

const PIPELINES: [usize; 3] = [1, 16, 64];

/// The commands that most are about.
pub(super) fn main_commands(extent: Extent) -> Section {
    let mut section = Section::new(
        "Requests, CPU time",
        "µs",
        "One worker and redis-server, each on one core; 50 connections, 100,000 keys, values of 64 bytes. CPU microseconds, user and system, of one request. TABLE.GET reads one column and stands against HGET, COUNTER.INCR against INCR.",
    );
    let mut two = Two::against_redis(50);
    let kinds = [
        same("GET", get, 1),
        same("SET", set, 1),
        same("INCR", incr, 1),
        same("HGET", hget, 1),
        Kind {
            name: "COUNTER.INCR",
            ours: |n, _| words(&format!("COUNTER.INCR c:{}", n % 100)),
            theirs: |n, _| words(&format!("INCR c:{}", n % 100)),
            commands: 1,
        },
        Kind {
            name: "TABLE.GET",
            ours: |n, _| words(&format!("TABLE.GET users {} text", key(n))),
            theirs: hget,
            commands: 1,
        },
    ];
    for kind in &kinds {
        for (pipeline, promised) in PIPELINES.into_iter().zip([1.0, 0.65, 0.5]) {
            let pair = two.pair(extent.rounds, kind, pipeline, &[b'v'; 64]);
            section.add(format!("{}, pipeline {pipeline}", kind.name), "redis-server", pair, Some(promised));
        }
    }
    section
}

/// GET and SET beside memcached.
pub(super) fn beside_memcached(extent: Extent) -> Section {
    let mut section =
        Section::new("Requests beside memcached, CPU time", "µs", "As above, against memcached with one thread.");
    let side = |server, length, set| {
        let mut side = Side::new(server, length, 50);
        side.ask_all(set, KEYS, &[b'v'; 64]);
        side
    };
    let mut two = Two {
        ours: side(Server::ours(1), wire::reply, set as Request),
        theirs: side(Server::memcached(512), wire::memcached_reply, memcached_set),
    };
    let kinds = [
        Kind { name: "SET", ours: set, theirs: memcached_set, commands: 1 },
        Kind { name: "GET", ours: get, theirs: memcached_get, commands: 1 },
    ];
    for kind in &kinds {
        for pipeline in PIPELINES {
            let pair = two.pair(extent.rounds, kind, pipeline, &[b'v'; 64]);
            section.add(format!("{}, pipeline {pipeline}", kind.name), "memcached", pair, None);
        }
    }
    section
}

/// GET and SET of other values, over other numbers of connections.
pub(super) fn values_and_connections(extent: Extent) -> Section {
    let mut section =
        Section::new("Other sizes", "µs", "As above: values of other sizes, and other numbers of connections.");
    let mut two = Two::against_redis(50);
    for bytes in [8, 1024, 65536] {
        let value = vec![b'v'; bytes];
        for pipeline in if bytes > 1024 { &PIPELINES[..1] } else { &PIPELINES[..2] } {
            for kind in [same("SET", set, 1), same("GET", get, 1)] {
                let pair = two.pair(extent.rounds, &kind, *pipeline, &value);
                section.add(format!("{} of {bytes} bytes, pipeline {pipeline}", kind.name), "redis-server", pair, None);
            }
        }
    }
    drop(two);
    for connections in [1, 500, 5000] {
        let mut two = Two::against_redis(connections);
        for kind in [same("GET", get, 1), same("SET", set, 1)] {
            let pair = two.pair(extent.rounds, &kind, 1, &[b'v'; 64]);
            section.add(format!("{}, {connections} connections", kind.name), "redis-server", pair, None);
        }
    }
    section
}

/// All other commands.
pub(super) fn other_commands(extent: Extent) -> Section {
    let mut section = Section::new(
        "Other commands, CPU time",
        "µs",
        "As above, pipelines of 16. A transaction is MULTI, SET, INCR and EXEC, counted as one request.",
    );
    let mut two = Two::against_redis(50);
    let kinds = [
        same("HSET", |n, v| command(&[b"HSET", format!("hash:{n}").as_bytes(), b"text", &v[..54]]), 1),
        same(
            "HSET of a new field, HDEL",
            |n, _| [words(&format!("HSET hash:{n} new 1")), words(&format!("HDEL hash:{n} new"))].concat(),
            2,
        ),
        same("HINCRBY", |n, _| words(&format!("HINCRBY hash:{n} n 1")), 1),
        same("HMGET", |n, _| words(&format!("HMGET hash:{n} n text")), 1),
        same("HGETALL", |n, _| words(&format!("HGETALL hash:{n}")), 1),
        same("HSETNX", |n, _| words(&format!("HSETNX hash:{n} n 1")), 1),
        same("HSTRLEN", |n, _| words(&format!("HSTRLEN hash:{n} text")), 1),
        same("HSCAN", |n, _| words(&format!("HSCAN hash:{n} 0")), 1),
        same("HRANDFIELD", |n, _| words(&format!("HRANDFIELD hash:{n}")), 1),
        same("transaction", |n, v| [words("MULTI"), set(n, v), incr(n, v), words("EXEC")].concat(), 4),
        same(
            "WATCH, transaction",
            |n, v| [words(&format!("WATCH {}", key(n))), words("MULTI"), set(n, v), words("EXEC")].concat(),
            4,
        ),
        same("PUBLISH to nobody", |n, v| command(&[b"PUBLISH", format!("channel:{}", n % 100).as_bytes(), v]), 1),
        same("SETRANGE", |n, _| words(&format!("SETRANGE {} 10 0123456789", key(n))), 1),
        same("GETRANGE", |n, _| words(&format!("GETRANGE {} 10 20", key(n))), 1),
        same("APPEND, SET", |n, v| [words(&format!("APPEND {} 0123456789", key(n))), set(n, v)].concat(), 2),
        same("SETBIT", |n, _| words(&format!("SETBIT {} 100 {}", key(n), n % 2)), 1),
        same("GETBIT", |n, _| words(&format!("GETBIT {} 100", key(n))), 1),
        same("BITCOUNT", |n, _| words(&format!("BITCOUNT {}", key(n))), 1),
        same("BITPOS", |n, _| words(&format!("BITPOS {} 1", key(n))), 1),
        same("BITFIELD", |n, _| words(&format!("BITFIELD {} INCRBY u8 0 1", key(n))), 1),
        same("BITOP", |n, _| words(&format!("BITOP AND bits {} {}", key(n), key((n + 1) % KEYS))), 1),
        same(
            "MGET of 10",
            |n, _| words(&(0..10).fold("MGET".to_owned(), |line, i| line + " " + &key((n + i * 977) % KEYS))),
            1,
        ),
        same(
            "MSET of 10",
            |n, _| {
                words(&(0..10).fold("MSET".to_owned(), |line, i| line + " " + &key((n + i * 977) % KEYS) + " value"))
            },
            1,
        ),
        same(
            "COPY, DEL",
            |n, _| [words(&format!("COPY {} copy:{n}", key(n))), words(&format!("DEL copy:{n}"))].concat(),
            2,
        ),
        same(
            "EXPIRE, PERSIST",
            |n, _| [words(&format!("EXPIRE {} 1000", key(n))), words(&format!("PERSIST {}", key(n)))].concat(),
            2,
        ),
        same("TTL", |n, _| words(&format!("TTL {}", key(n))), 1),
        same("EXISTS", |n, _| words(&format!("EXISTS {}", key(n))), 1),
        same("TOUCH", |n, _| words(&format!("TOUCH {}", key(n))), 1),
        same("OBJECT ENCODING", |n, _| words(&format!("OBJECT ENCODING {}", key(n))), 1),
        same("DUMP", |n, _| words(&format!("DUMP {}", key(n))), 1),
        same("LCS", |n, _| words(&format!("LCS {} {} LEN", key(n), key((n + 1) % KEYS))), 1),
        same("TYPE", |n, _| words(&format!("TYPE {}", key(n))), 1),
        same("PING", |_, _| words("PING"), 1),
    ];
    for kind in &kinds {
        let pair = two.pair(extent.rounds, kind, 16, &[b'v'; 64]);
        section.add(kind.name, "redis-server", pair, Some(1.0));
    }
    section
}
