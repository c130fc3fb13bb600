//! Many keys: what one takes, how long the start takes, and whether asking for one costs more.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use super::{
    load::Batch,
    parts::Extent,
    process::Server,
    requests::{KEYS, batches_below, get, memcached_get, memcached_set, set},
    side::{Side, cpu_pair},
    start::Ours,
    wire::{self, words},
};
use crate::{
    report::Section,
    turns::{Pair, in_turns},
};

/// Bytes of the values.
const VALUES: [usize; 2] = [16, 100];
/// The name of our segment, which outlives its server.
const SEGMENT: &str = "store-master-bench";
/// Memory that must be there for each key: three servers have it, one of them room to spare.
const NEEDED_BYTES: u64 = 1200;
/// Bytes of our segment, and of memcached's limit, for each key.
const ROOM_BYTES: u64 = 400;
const CONNECTIONS: usize = 50;
const PIPELINE: usize = 16;

/// What outlives our server is removed in the end.
struct Leftover;

impl Drop for Leftover {
    fn drop(&mut self) {
        // It is not there if no server was started.
        let _ = fs::remove_file(format!("/dev/shm/{SEGMENT}"));
    }
}

/// Everything about many keys.
pub(super) fn many_keys(extent: Extent) -> Vec<Section> {
    let (needed, free) = ((u64::from(extent.keys) * NEEDED_BYTES) >> 20, free_megabytes());
    if free < needed {
        let why = format!("Left out: {} keys need {needed} MB of free memory, and there are {free} MB.", extent.keys);
        return vec![Section::new("Many keys", "B", why)];
    }
    let _leftover = Leftover;
    let (memory, [mut ours, mut redis]) = memory_of_keys(extent);
    let costs = cost_of_get(extent, &mut ours, &mut redis);
    vec![memory, costs, starts(extent, ours, redis)]
}

/// Megabytes of memory that programs can still have.
fn free_megabytes() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// Megabytes of room for so many keys; a gigabyte at least.
fn room_megabytes(keys: u32) -> u64 {
    ((u64::from(keys) * ROOM_BYTES) >> 20).max(1024)
}

/// Ours on the segment that outlives it.
fn ours(extent: Extent, options: &[&str]) -> Server {
    let keys = extent.keys.to_string();
    let always = ["--segment", SEGMENT, "--max-keys", &keys];
    let memory = format!("{}mb", room_megabytes(extent.keys));
    Ours { memory: &memory, options: &[&always, options].concat(), ..Ours::default() }.start()
}

/// A server that speaks RESP and has so many keys. Each was read once: redis-server makes its table larger bit by bit, with each access.
fn filled(server: Server, keys: u32, value: usize) -> Side {
    let mut side = Side::new(server, wire::reply, CONNECTIONS);
    side.ask_all(set, keys, &vec![b'v'; value]);
    let read = side.ask_all(get, keys, &[]);
    assert!(read > keys as usize * value, "a key is missing");
    side
}

/// memcached with so many keys.
fn filled_memcached(keys: u32, value: usize) -> Side {
    let server = Server::memcached(room_megabytes(keys) as u32);
    let mut side = Side::new(server, wire::memcached_reply, CONNECTIONS);
    side.ask_all(memcached_set, keys, &vec![b'v'; value]);
    // If any had to go it was the oldest, and to read them all takes long.
    let oldest = keys.min(10_000);
    let read = side.ask_all(memcached_get, oldest, &[]);
    assert!(read > oldest as usize * value, "a key is missing");
    side
}

fn memory_of_keys(extent: Extent) -> (Section, [Side; 2]) {
    let keys = extent.keys;
    let mut section = Section::new(
        format!("Memory, {keys} keys"),
        "B",
        "Bytes of memory for each key of 16 bytes with a value of 16 or of 100. Of redis-server and memcached counted is all memory that the process has for itself (Pss_Anon in smaps_rollup); of ours that of the master and of the worker, and of the segment what is set aside: all fixed regions, and pages that hold anything (used_memory_rss in INFO). The segment is allocated as a whole; what is not set aside is free for more keys.",
    );
    let mut kept: Option<[Side; 2]> = None;
    for value in VALUES {
        drop(kept.take());
        let mut mine = filled(ours(extent, &["--fresh"]), keys, value);
        let own = (set_aside(&mut mine) + mine.server.anonymous_bytes()) as f64 / f64::from(keys);
        let redis = filled(Server::redis(), keys, value);
        let memcached = filled_memcached(keys, value);
        for (rival, side) in [("redis-server", &redis), ("memcached", &memcached)] {
            let theirs = side.server.anonymous_bytes() as f64 / f64::from(keys);
            section.add(format!("values of {value} bytes"), rival, Pair::of(&[(own, theirs)]), None);
        }
        kept = Some([mine, redis]);
    }
    (section, kept.expect("there are values"))
}

/// Bytes of our segment that nothing else can have.
fn set_aside(side: &mut Side) -> u64 {
    let reply = side.load.once(&Batch::one(words("INFO memory")));
    let text = String::from_utf8_lossy(reply);
    let value = text.lines().find_map(|line| line.strip_prefix("used_memory_rss:"));
    value.and_then(|value| value.parse().ok()).expect("INFO says it")
}

fn cost_of_get(extent: Extent, ours: &mut Side, redis: &mut Side) -> Section {
    let keys = extent.keys;
    let mut section = Section::new(
        format!("GET among {keys} keys, CPU time"),
        "µs",
        format!(
            "CPU microseconds of one GET of a value of 100 bytes, 50 connections, pipelines of 16; among {keys} keys and among {KEYS}, beside redis-server and each beside itself."
        ),
    );
    let few = |server| filled(server, KEYS, VALUES[1]);
    let (mut few_ours, mut few_redis) = (few(Server::ours(1)), few(Server::redis()));
    let among_many = batches_below(keys, get, 1, PIPELINE, &[]);
    let among_few = batches_below(KEYS, get, 1, PIPELINE, &[]);
    let pair = cpu_pair(extent.rounds, (ours, &among_many), (redis, &among_many));
    section.add(format!("{keys} keys"), "redis-server", pair, None);
    let pair = cpu_pair(extent.rounds, (ours, &among_many), (&mut few_ours, &among_few));
    section.add(format!("{keys} keys"), format!("ours, {KEYS} keys"), pair, None);
    let pair = cpu_pair(extent.rounds, (redis, &among_many), (&mut few_redis, &among_few));
    section.add(format!("redis-server, {keys} keys"), format!("redis-server, {KEYS} keys"), pair, None);
    section
}

/// How long both take to start, empty and with what the given servers hold, which are ended.
fn starts(extent: Extent, ours_full: Side, mut redis_full: Side) -> Section {
    let megabytes = room_megabytes(extent.keys);
    let mut section = Section::new(
        "Start",
        "ms",
        format!(
            "From the call of the program to its ready line, or to redis-server's first answer. Ours allocates {megabytes} MB at the start, or finds them as a stopped server has left them, full; redis-server starts empty, or reads the same keys from its file."
        ),
    );
    redis_full.load.once(&Batch::one(words("SAVE")));
    let mut folder = Some(redis_full.stop());
    drop(ours_full.stop());
    let rounds = extent.rounds.div_ceil(2);
    let over = || milliseconds(|| ours(extent, &[])).0;
    let pair = in_turns(rounds, over, || {
        let (taken, server) = milliseconds(|| redis_with_keys(folder.take().expect("it comes back each time")));
        folder = Some(server.stop());
        taken
    });
    section.add(format!("{} keys", extent.keys), "redis-server", pair, None);
    let fresh = || milliseconds(|| ours(extent, &["--fresh"])).0;
    let pair = in_turns(rounds, fresh, || milliseconds(Server::redis).0);
    section.add(format!("empty, {megabytes} MB"), "redis-server", pair, None);
    let pair = in_turns(rounds, fresh, || milliseconds(|| Ours { memory: "64mb", ..Ours::default() }.start()).0);
    section.add(format!("empty, {megabytes} MB"), "ours, 64 MB", pair, None);
    section
}

fn milliseconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64() * 1e3, result)
}

/// redis-server with the file of this folder, once it has read it.
fn redis_with_keys(folder: tempfile::TempDir) -> Server {
    let server = Server::redis_in(folder, &[]);
    while !answers(server.address) {
        std::thread::sleep(Duration::from_millis(5));
    }
    server
}

/// Whether a server has read its file: before, it refuses everything.
fn answers(server: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(server).expect("the server accepts");
    stream.write_all(&words("PING")).expect("the server reads");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("the server answers");
    answer == *b"+PONG"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_asked_for_before_it_is_taken() {
        assert!(free_megabytes() > 0);
        let sections = many_keys(Extent { rounds: 1, keys: u32::MAX });
        assert!(sections[0].figures.is_empty() && sections[0].about.starts_with("Left out: "));
    }
}
