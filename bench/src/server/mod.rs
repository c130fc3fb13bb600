//! The server beside others: CPU time of a request, latency under a given load, and messages to many subscribers.
//!
//! A server has one core, the load another. With a closed loop the load may be what limits, so what is compared is the CPU time
//! that the serving processes use for a request, and not how many requests there are.

mod load;
mod process;
mod pubsub;
mod wire;

use std::{rc::Rc, time::Duration};

use self::{
    load::{Batch, Length, Load},
    process::Server,
    wire::{command, words},
};
use crate::{companion::pin, report::Section, turns::Pair};

/// Keys that are asked for.
const KEYS: u32 = 100_000;
/// Batches made before a measurement, of which each connection sends one after the other.
const MADE: usize = 256;
/// Time of one side's turn.
const SHARE: Duration = Duration::from_millis(250);

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rounds of each pair.
    pub(crate) rounds: usize,
}

/// The name of a section and what makes it.
type Part = (&'static str, fn(Extent) -> Section);

/// Everything about the server, or what is named by one word.
pub(crate) fn all(extent: Extent, only: &str) -> Vec<Section> {
    pin(1);
    let sections: [Part; 7] = [
        ("commands", main_commands),
        ("sizes", values_and_connections),
        ("memcached", beside_memcached),
        ("others", other_commands),
        ("latency", latency),
        ("fan-out", pubsub::fan_out),
        ("delivery", pubsub::delivery),
    ];
    sections.iter().filter(|(name, _)| only.is_empty() || *name == only).map(|(_, run)| run(extent)).collect()
}

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 33) * u64::from(KEYS)) >> 31) as u32
    }
}

fn key(n: u32) -> String {
    format!("key:{n:012}")
}

/// One request, which may be of several commands, about key number `n`.
type Request = fn(n: u32, value: &[u8]) -> Vec<u8>;

/// A kind of request.
struct Kind {
    name: &'static str,
    ours: Request,
    theirs: Request,
    /// Commands in one request.
    commands: usize,
}

const fn same(name: &'static str, request: Request, commands: usize) -> Kind {
    Kind { name, ours: request, theirs: request, commands }
}

fn get(n: u32, _: &[u8]) -> Vec<u8> {
    command(&[b"GET", key(n).as_bytes()])
}

fn set(n: u32, value: &[u8]) -> Vec<u8> {
    command(&[b"SET", key(n).as_bytes(), value])
}

fn incr(n: u32, _: &[u8]) -> Vec<u8> {
    command(&[b"INCR", format!("n:{n}").as_bytes()])
}

fn hget(n: u32, _: &[u8]) -> Vec<u8> {
    command(&[b"HGET", format!("hash:{n}").as_bytes(), b"text"])
}

fn batches(request: Request, commands: usize, pipeline: usize, value: &[u8]) -> Rc<Vec<Batch>> {
    let mut numbers = Numbers(1);
    let batch = |_| {
        let bytes = (0..pipeline).flat_map(|_| request(numbers.next(), value)).collect();
        Batch { bytes, requests: pipeline, replies: pipeline * commands }
    };
    Rc::new((0..MADE).map(batch).collect())
}

/// CPU microseconds of one request while `load` asks for what is in the batches.
fn cpu_of(server: &Server, load: &mut Load, batches: &Rc<Vec<Batch>>) -> f64 {
    let before = server.cpu();
    let requests = load.closed(batches, SHARE);
    (server.cpu() - before).as_secs_f64() * 1e6 / requests as f64
}

/// Two servers with connections to each.
struct Two {
    ours: (Server, Load),
    theirs: (Server, Load),
}

impl Two {
    fn new(theirs: Server, length: Length, connections: usize) -> Self {
        let with = |server: Server, length| {
            let load = Load::new(server.resp, connections, length);
            (server, load)
        };
        Self { ours: with(Server::ours(1), wire::reply), theirs: with(theirs, length) }
    }

    fn against_redis(connections: usize) -> Self {
        let mut two = Self::new(Server::redis(), wire::reply, connections);
        two.fill();
        two
    }

    fn fill(&mut self) {
        let sides = [(&mut self.ours.1, true), (&mut self.theirs.1, false)];
        for (load, ours) in sides {
            if ours {
                load.once(&Batch {
                    bytes: words("TABLE.MAKE users 100000 KEYBYTES 16 n int text string 54"),
                    requests: 1,
                    replies: 1,
                });
            }
            for start in (0..KEYS).step_by(1000) {
                let mut bytes = Vec::new();
                let mut replies = 0;
                for n in start..start + 1000 {
                    let text = "x".repeat(54);
                    let value = [b'v'; 64];
                    bytes.extend(set(n, &value));
                    bytes.extend(words(&format!("SET n:{n} {n}")));
                    bytes.extend(words(&format!("HSET hash:{n} n {n} text {text}")));
                    replies += 3;
                    if ours {
                        bytes.extend(words(&format!("TABLE.SET users {} n {n} text {text}", key(n))));
                        replies += 1;
                    }
                }
                load.once(&Batch { bytes, requests: 1, replies });
            }
        }
    }

    fn pair(&mut self, extent: Extent, kind: &Kind, pipeline: usize, value: &[u8]) -> Pair {
        let ours = batches(kind.ours, kind.commands, pipeline, value);
        let theirs = batches(kind.theirs, kind.commands, pipeline, value);
        let mut rounds = Vec::new();
        for round in 0..=extent.rounds {
            let mine = |two: &mut Self| cpu_of(&two.ours.0, &mut two.ours.1, &ours);
            let other = |two: &mut Self| cpu_of(&two.theirs.0, &mut two.theirs.1, &theirs);
            let found = if round % 2 == 0 {
                let mine = mine(self);
                (mine, other(self))
            } else {
                let other = other(self);
                (mine(self), other)
            };
            // The first round warms both up.
            if round > 0 {
                rounds.push(found);
            }
        }
        Pair::of(&rounds)
    }
}

const PIPELINES: [usize; 3] = [1, 16, 64];

fn main_commands(extent: Extent) -> Section {
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
            let pair = two.pair(extent, kind, pipeline, &[b'v'; 64]);
            section.add(format!("{}, pipeline {pipeline}", kind.name), "redis-server", pair, Some(promised));
        }
    }
    section
}

fn beside_memcached(extent: Extent) -> Section {
    let mut section = Section::new(
        "Requests beside memcached, CPU time",
        "µs",
        "As above, against memcached with one thread; keys that are not there are asked for as well until each was set.",
    );
    let mut two = Two::new(Server::memcached(), wire::memcached_reply, 50);
    let kinds = [
        Kind {
            name: "SET",
            ours: set,
            theirs: |n, value| [format!("set {} 0 0 {}\r\n", key(n), value.len()).as_bytes(), value, b"\r\n"].concat(),
            commands: 1,
        },
        Kind { name: "GET", ours: get, theirs: |n, _| format!("get {}\r\n", key(n)).into_bytes(), commands: 1 },
    ];
    for kind in &kinds {
        for pipeline in PIPELINES {
            let pair = two.pair(extent, kind, pipeline, &[b'v'; 64]);
            section.add(format!("{}, pipeline {pipeline}", kind.name), "memcached", pair, None);
        }
    }
    section
}

fn values_and_connections(extent: Extent) -> Section {
    let mut section =
        Section::new("Other sizes", "µs", "As above: values of other sizes, and other numbers of connections.");
    let mut two = Two::against_redis(50);
    for bytes in [8, 1024, 65536] {
        let value = vec![b'v'; bytes];
        for pipeline in if bytes > 1024 { &PIPELINES[..1] } else { &PIPELINES[..2] } {
            for kind in [same("SET", set, 1), same("GET", get, 1)] {
                let pair = two.pair(extent, &kind, *pipeline, &value);
                section.add(format!("{} of {bytes} bytes, pipeline {pipeline}", kind.name), "redis-server", pair, None);
            }
        }
    }
    drop(two);
    for connections in [1, 500, 5000] {
        let mut two = Two::against_redis(connections);
        for kind in [same("GET", get, 1), same("SET", set, 1)] {
            let pair = two.pair(extent, &kind, 1, &[b'v'; 64]);
            section.add(format!("{}, {connections} connections", kind.name), "redis-server", pair, None);
        }
    }
    section
}

fn other_commands(extent: Extent) -> Section {
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
        let pair = two.pair(extent, kind, 16, &[b'v'; 64]);
        section.add(kind.name, "redis-server", pair, Some(1.0));
    }
    section
}

/// Latencies are compared at one rate for both: half of what redis-server takes from this load at most.
fn latency(extent: Extent) -> Section {
    let mut section = Section::new(
        "Latency",
        "µs",
        "50 connections that send GET at a fixed rate, half of what redis-server can answer; from the moment at which a request is due to its answer.",
    );
    let mut two = Two::against_redis(50);
    let gets = batches(get, 1, 1, &[]);
    let requests = two.theirs.1.closed(&gets, Duration::from_secs(1));
    let rate = requests as f64 / 2.0;
    let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    let mut rounds = vec![Vec::new(); quantiles.len()];
    for _ in 0..extent.rounds.div_ceil(2) {
        let ours = two.ours.1.open(&gets, rate, Duration::from_secs(1));
        let theirs = two.theirs.1.open(&gets, rate, Duration::from_secs(1));
        for (rounds, (_, q)) in rounds.iter_mut().zip(quantiles) {
            let at = |took: &hdrhistogram::Histogram<u64>| took.value_at_quantile(q) as f64 / 1000.0;
            rounds.push((at(&ours), at(&theirs)));
        }
    }
    for (rounds, (name, _)) in rounds.iter().zip(quantiles) {
        let promised = (name == "p99.9").then_some(1.0);
        section.add(format!("GET at {rate:.0}/s, {name}"), "redis-server", Pair::of(rounds), promised);
    }
    section
}
