//! Instructions of a request, counted by callgrind: the same on any day, whatever else the machine does.
//!
//! A server is run twice on the same keys, once with requests and once without; the difference of its counts is theirs. One
//! connection sends them, so that every run reads and writes as often as the others.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{
    parts::Extent,
    process::Server,
    requests::{Kind, batches_below, filling, get, hget, incr, same, set},
    side::Side,
    start::Ours,
    wire,
};
use crate::{report::Section, turns::Pair};

const KEYS: u32 = 1000;
const PIPELINE: usize = 16;
/// Pipelines that are counted.
const PIPELINES: usize = 1000;

/// Starts a server that another program runs.
type Start = fn(under: &[&str]) -> Server;

/// Instructions of requests, beside redis-server's.
pub(super) fn of_requests(_: Extent) -> Section {
    let mut section = Section::new(
        "Instructions",
        "instructions",
        "Instructions that the worker, or redis-server, executes outside the kernel for one request in a pipeline of 16, as callgrind counts them.",
    );
    let ours: Start = |under| Ours { memory: "64mb", under, ..Ours::default() }.start();
    let theirs: Start = |under| Server::redis_in(TempDir::new().expect("a folder"), under);
    let without = (executed(ours, None), executed(theirs, None));
    for kind in [same("GET", get, 1), same("SET", set, 1), same("INCR", incr, 1), same("HGET", hget, 1)] {
        let each = |start, without| (executed(start, Some(&kind)) - without) / (PIPELINE * PIPELINES) as f64;
        let pair = (each(ours, without.0), each(theirs, without.1));
        section.add(kind.name, "redis-server", Pair::of(&[pair]), None);
    }
    section
}

/// Instructions of a whole run with so many requests of a kind, or with none.
fn executed(start: Start, kind: Option<&Kind>) -> f64 {
    let counts = TempDir::new().expect("a folder");
    let file = |name: &str| counts.path().join(name).to_string_lossy().into_owned();
    let out = format!("--callgrind-out-file={}", file("%p"));
    let log = format!("--log-file={}", file("log-%p"));
    let mut side = Side::new(start(&["valgrind", "--tool=callgrind", &out, &log]), wire::reply, 1);
    side.load.all(filling(KEYS, false));
    if let Some(kind) = kind {
        side.load.times(&batches_below(KEYS, kind.ours, kind.commands, PIPELINE, &[b'v'; 64]), PIPELINES);
    }
    let pid = side.server.serving()[0];
    drop(side.stop());
    total(&counts.path().join(pid.to_string()))
}

/// The total of a file of callgrind's.
fn total(file: &Path) -> f64 {
    let text = fs::read_to_string(file).expect("callgrind writes when the server ends");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    total.and_then(|total| total.trim().parse().ok()).expect("a file of callgrind's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_the_end() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("1");
        fs::write(&file, "version: 1\nevents: Ir\nfn=(1) main\n3 7\ntotals: 1234\n").unwrap();
        assert_eq!(total(&file), 1234.0);
    }
}
