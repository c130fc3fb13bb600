//! HTTP beside servers that only ever say the same: what is left is what the framing costs.

use std::rc::Rc;

use super::{
    load::{Batch, Batches, Load},
    parts::Extent,
    process::Server,
    requests::{KEYS, Numbers, filling, key},
    side::{Side, cpu_pair},
    wire::{self, http, words},
};
use crate::report::Section;

const CONNECTIONS: usize = 50;
/// Counters that are read and counted up.
const COUNTERS: u32 = 1000;
/// Requests made before a measurement.
const MADE: usize = 1 << 16;

/// A kind of request.
struct Kind {
    name: &'static str,
    request: fn(u32) -> Vec<u8>,
    /// What the others answer: as long as ours.
    answer: String,
    /// What the ratio to a bare hyper is to be at most.
    promised: Option<f64>,
}

fn kinds() -> [Kind; 3] {
    let row = format!("{{\"n\":{},\"text\":\"{}\"}}", KEYS / 2, "x".repeat(54));
    let counter = "{\"value\":5000}".to_owned();
    [
        Kind {
            name: "GET of a row",
            request: |n| http("GET", &format!("/tables/users/rows/{}", key(n))),
            answer: row,
            promised: Some(1.2),
        },
        Kind {
            name: "GET of a counter",
            request: |n| http("GET", &format!("/counters/c{}", n % COUNTERS)),
            answer: counter.clone(),
            promised: None,
        },
        Kind {
            name: "POST that increments a counter",
            request: |n| http("POST", &format!("/counters/c{}/incr", n % COUNTERS)),
            answer: counter,
            promised: None,
        },
    ]
}

/// A server of ours with rows and counters, and connections that speak HTTP.
fn ours() -> Side {
    let server = Server::ours(1);
    let mut load = Load::new(server.address, 1, wire::reply);
    load.all(filling(KEYS, true));
    load.all((0..COUNTERS).map(|n| Batch::one(words(&format!("COUNTER.SET c{n} 5000")))));
    let address = server.http.expect("it serves HTTP");
    Side { load: Load::new(address, CONNECTIONS, wire::http_response), server }
}

fn batches(kind: &Kind) -> Rc<Batches> {
    let mut numbers = Numbers::below(KEYS);
    Batches::new((0..MADE).map(|_| Batch::one((kind.request)(numbers.draw()))).collect())
}

/// CPU time of requests over HTTP.
pub(super) fn requests(extent: Extent) -> Section {
    let mut section = Section::new(
        "HTTP, CPU time",
        "µs",
        "One worker, and servers that answer everything with a constant as long as our answer: hyper, the library that ours stands on, as it comes and in one thread; and nginx with one worker. Each on one core; 50 connections that stay open and send one request after the other, whose one header is Host. CPU microseconds, user and system, of one request.",
    );
    let mut ours = ours();
    for kind in kinds() {
        let batches = batches(&kind);
        for (rival, server, promised) in [
            ("bare hyper, constant", Server::constant(&kind.answer), kind.promised),
            ("nginx, constant", Server::nginx(&kind.answer), None),
        ] {
            let mut theirs = Side::new(server, wire::http_response, CONNECTIONS);
            let pair = cpu_pair(extent.rounds, (&mut ours, &batches), (&mut theirs, &batches));
            section.add(kind.name, rival, pair, promised);
        }
    }
    section
}
