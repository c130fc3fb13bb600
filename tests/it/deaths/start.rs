//! Death in the middle of the start: while the segment is made, while its tables are made; and of a worker that makes a table.

use std::{fs, thread, time::Duration};

use nix::sys::signal::Signal;

use super::scene::{ACCOUNTS, HANG, MEMORY, Scene, Ticket, is_sound};
use crate::harness::{Random, Reply, Server, Start, segment_name, signal, state, wait_until};

/// Points of making a table, in order.
const POINTS: [&str; 4] = ["units-noted", "units-taken", "region-ready", "table-live"];
/// A table whose absence, or whose second copy, shows in the memory in use.
const LARGE: &str = "large:20000:n=int,text=string(100)";

fn args<'a>(segment: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let own = ["--workers", "2", "--memory", MEMORY, "--segment", segment, "--table", ACCOUNTS, "--table", LARGE];
    [&own, more].concat()
}

/// The server serves, and has as much memory in use as one whose start nobody disturbed.
fn is_like_new(server: &Server, used: u64, what: &str) {
    let mut redis = server.redis();
    assert_eq!(redis.run("TABLE.SET large row n 1 text x"), Reply::ok(), "{what}");
    assert_eq!(redis.run("TABLE.INCR accounts a n 1"), Reply::Int(1), "{what}");
    assert_eq!(server.memory_used(), used, "{what}: memory is lost");
}

/// What a server has in use after the same writes.
fn used_undisturbed() -> u64 {
    let segment = Segment::new("undisturbed");
    let server = Server::start(&args(&segment.0, &[]));
    let mut redis = server.redis();
    redis.run("TABLE.SET large row n 1 text x");
    redis.run("TABLE.INCR accounts a n 1");
    server.memory_used()
}

#[test]
fn a_start_cut_short_at_any_moment_can_be_repeated() {
    let (mut random, used) = (Random::new(), used_undisturbed());
    let segment = Segment::new("cut");
    let file = segment.file();
    let mut half_made = 0;
    for round in 0..24 {
        let starting = Start::new(&args(&segment.0, &[])).begin();
        // Most of them while the segment is made: from its file's appearance on.
        let appeared = wait_until(HANG, || fs::exists(&file).unwrap());
        assert!(appeared || round > 0, "the file does not appear");
        thread::sleep(Duration::from_micros(random.below(40_000) as u64));
        starting.kill();
        half_made += usize::from(!segment.is_ready());
        let more: &[&str] = if round % 3 == 2 { &["--fresh"] } else { &[] };
        let server = Server::start(&args(&segment.0, more));
        is_like_new(&server, used, &format!("round {round}, {more:?}"));
        is_sound(&segment.0, &format!("round {round}"));
        server.kill_all();
        fs::remove_file(&file).unwrap();
    }
    eprintln!("{half_made} of 24 starts were cut short before the segment was ready");
}

/// The two moments at which a file has its size and is no segment yet.
#[test]
fn a_master_killed_while_it_makes_the_segment() {
    let used = used_undisturbed();
    for point in ["segment-allocated", "segment-filled"] {
        for more in [&[][..], &["--fresh"]] {
            let what = format!("killed at {point}, then started with {more:?}");
            let segment = Segment::new("making");
            let starting = Start::new(&args(&segment.0, &[])).env("STORE_MASTER_STOP_AT", point).begin();
            let stops = wait_until(HANG, || state(starting.pid()) == Some('T'));
            assert!(stops, "{what}: it does not come there");
            assert!(!segment.is_ready(), "{what}: half a segment can be attached");
            starting.kill();
            let server = Server::start(&args(&segment.0, more));
            is_like_new(&server, used, &what);
            is_sound(&segment.0, &what);
        }
    }
}

/// The name of a segment; its file goes with it, whatever the test comes to.
struct Segment(String);

impl Segment {
    fn new(test: &str) -> Self {
        Self(segment_name(test))
    }

    fn file(&self) -> String {
        format!("/dev/shm/{}", self.0)
    }

    /// Whether others can attach.
    fn is_ready(&self) -> bool {
        store_master::Segment::attach(&self.0).is_ok()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        fs::remove_file(self.file()).ok();
    }
}

/// The first table is the segment's own, which the workers need; the others are those of `--table`.
#[test]
fn a_master_killed_while_it_makes_tables() {
    let used = used_undisturbed();
    for point in POINTS {
        for table in 0..3 {
            let what = format!("killed at {point} of table {table}");
            let (segment, ticket) = (Segment::new("tables"), Ticket::new());
            // The id of the process is not known before it runs: by name for the first table, by ticket from there on.
            let start = Start::new(&args(&segment.0, &[])).env("STORE_MASTER_STOP_AT", point);
            let starting = start.env(Ticket::VARIABLE, ticket.path()).begin();
            let stops = || wait_until(HANG, || state(starting.pid()) == Some('T'));
            assert!(stops(), "{what}: it does not come there");
            for _ in 0..table {
                ticket.put(point, starting.pid());
                signal(starting.pid(), Signal::SIGCONT);
                assert!(wait_until(HANG, || ticket.is_taken()) && stops(), "{what}: it does not come there");
            }
            starting.kill();
            let server = Server::start(&args(&segment.0, &[]));
            is_like_new(&server, used, &what);
            is_sound(&segment.0, &what);
        }
    }
}

/// The table is there or it is not; made again, it is there, and dropped, it leaves nothing behind.
#[test]
fn a_worker_killed_while_it_makes_a_table() {
    let mut scene = Scene::new("create");
    let make = "TABLE.MAKE made 20000 n int text string 100";
    // The first use takes what stays.
    assert_eq!(scene.redis.run(make), Reply::ok());
    scene.redis.run("TABLE.DROP made");
    let used = scene.server.memory_used();
    for point in POINTS {
        let what = format!("a worker killed at {point}");
        scene.reconnect();
        let mut client = scene.server.redis();
        let worker = scene.stop_worker(&mut client, make, point);
        signal(worker, Signal::SIGKILL);
        scene.redis = scene.client_of(|other| other != worker);
        let tables = scene.redis.run("TABLE.LIST");
        let there = tables.items().iter().any(|name| *name == Reply::bulk("made"));
        assert_eq!(there, point == "table-live", "{what}: {tables:?}");
        assert_eq!(scene.redis.run(make), Reply::ok(), "{what}");
        assert_eq!(scene.redis.run("TABLE.SET made row n 1"), Reply::ok(), "{what}");
        scene.examine(&what);
        assert_eq!(scene.redis.run("TABLE.DROP made"), Reply::ok(), "{what}");
        assert_eq!(scene.server.memory_used(), used, "{what}: memory is lost");
        assert!(wait_until(HANG, || scene.server.workers().len() == 2), "{what}: no replacement");
    }
}
