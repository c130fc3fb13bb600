//! A library process that is stopped, or killed, at each named point inside a write, while the server works on the same segment.
//!
//! Stopped: the others go on; a request for what it holds is answered with the old or the new state, or `BUSY` after `--lock-wait`;
//! continued, it finishes its write. Killed: the state is the old or the new one, and what it held is free.

use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use store_master::shm::CRASH_POINTS;

use crate::harness::{Reply, Resp, Server, segment_name, signal};

/// Longest answer to a request that has to wait for nobody.
const PROMPT: Duration = Duration::from_secs(2);
/// Longest answer to a request for what a stopped process holds: `--lock-wait` and a margin.
const BUSY: Duration = Duration::from_secs(8);
/// The length of the values that the process writes.
const LARGE: usize = 100_000;

/// An operation of the process: how things stand before it, and what is read to see what became of them.
struct Operation {
    name: &'static str,
    before: &'static [&'static str],
    read: &'static [&'static str],
    /// A request that changes nothing that is read and needs the lock that the operation takes.
    wait: &'static str,
}

const ROW: &str = "TABLE.GET t row a b text";
const OPERATIONS: &[Operation] = &[
    Operation { name: "row-insert", before: &["TABLE.DEL t row"], read: &[ROW], wait: "TABLE.EXPIRE t row 100000" },
    Operation {
        name: "row-update",
        before: &["TABLE.SET t row a 1 b 1 text old"],
        read: &[ROW],
        wait: "TABLE.INCR t row a 0",
    },
    Operation {
        name: "row-incr",
        before: &["TABLE.SET t row a 1 b 1 text old"],
        read: &[ROW],
        wait: "TABLE.INCR t row a 0",
    },
    Operation {
        name: "row-delete",
        before: &["TABLE.SET t row a 1 b 1 text old"],
        read: &[ROW],
        wait: "TABLE.EXPIRE t row 100000",
    },
    Operation {
        name: "row-mset",
        before: &["TABLE.SET t row a 1 b 1 text old", "TABLE.DEL t row2"],
        read: &["TABLE.MGET t row row2"],
        wait: "TABLE.INCR t row a 0",
    },
    Operation { name: "key-insert", before: &["DEL key"], read: &["STRLEN key"], wait: "EXPIRE key 100000" },
    Operation { name: "key-update", before: &["SET key old"], read: &["STRLEN key"], wait: "EXPIRE key 100000" },
    Operation { name: "key-small", before: &["SET key old"], read: &["GET key"], wait: "EXPIRE key 100000" },
    Operation { name: "key-delete", before: &["SET key old"], read: &["EXISTS key"], wait: "EXPIRE key 100000" },
    Operation {
        name: "key-rename",
        before: &["SET key old", "DEL other"],
        read: &["MGET key other"],
        wait: "EXPIRE key 100000",
    },
    Operation {
        name: "key-mset",
        before: &["SET key old", "DEL other"],
        read: &["MGET key other"],
        wait: "EXPIRE key 100000",
    },
    Operation { name: "counter-make", before: &["COUNTER.DEL c"], read: &["COUNTER.GET c"], wait: "COUNTER.GET c" },
    Operation { name: "table-make", before: &["TABLE.DROP made"], read: &["TABLE.LIST"], wait: "TABLE.LIST" },
];

struct Scene {
    server: Server,
    segment: String,
    redis: Resp,
}

impl Scene {
    fn new(test: &str) -> Self {
        let segment = segment_name(test);
        let table = "t:64:a=int,b=int,text=string(40)";
        let server = Server::start(&["--workers", "2", "--segment", &segment, "--lock-wait", "300", "--table", table]);
        let mut redis = server.redis();
        redis.patience(BUSY);
        redis.run("TABLE.SET t bystander a 1");
        redis.run("SET bystander 1");
        redis.run("COUNTER.SET bystander 1");
        Self { server, segment, redis }
    }

    /// Starts the process with a stop at `point`; `None` if the operation does not come there.
    fn stop_at(&self, operation: &str, point: &str) -> Option<Child> {
        let child = Command::new(env!("CARGO_BIN_EXE_stopper"))
            .args([&self.segment, operation])
            .env("STORE_MASTER_STOP_AT", point)
            .spawn()
            .expect("the process starts");
        match wait(&child) {
            WaitStatus::Stopped(..) => Some(child),
            WaitStatus::Exited(_, 0) => None,
            other => panic!("{operation} with a stop at {point}: {other:?}"),
        }
    }

    fn state(&mut self, operation: &Operation) -> Vec<Reply> {
        operation.read.iter().map(|words| self.redis.run(words)).collect()
    }

    /// Brings the state before the operation about, and returns it.
    fn reset(&mut self, operation: &Operation) -> Vec<Reply> {
        for words in operation.before {
            self.redis.run(words);
        }
        self.state(operation)
    }

    /// What the operation makes of the state before it.
    fn new_state(&mut self, operation: &Operation) -> Vec<Reply> {
        self.reset(operation);
        assert!(self.stop_at(operation.name, "nowhere").is_none());
        self.state(operation)
    }

    fn others_go_on(&mut self) {
        let start = Instant::now();
        assert!(self.redis.run("TABLE.INCR t bystander a 1").int() > 1);
        assert!(self.redis.run("INCR bystander").int() > 1);
        assert!(self.redis.run("COUNTER.INCR bystander").int() > 1);
        assert!(start.elapsed() < PROMPT, "others waited {:?}", start.elapsed());
    }
}

/// Waits until a child stops or ends.
fn wait(child: &Child) -> WaitStatus {
    let start = Instant::now();
    loop {
        let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG;
        match waitpid(Pid::from_raw(child.id() as i32), Some(flags)).expect("it is a child") {
            WaitStatus::StillAlive => {
                assert!(start.elapsed() < Duration::from_secs(20), "the process neither stops nor ends");
                std::thread::sleep(Duration::from_millis(1));
            }
            status => return status,
        }
    }
}

fn is_busy(reply: &Reply) -> bool {
    reply.error().is_some_and(|text| text.starts_with("BUSY"))
}

#[test]
fn a_stopped_writer_keeps_its_lock_and_stalls_nobody_else() {
    let mut scene = Scene::new("stopped");
    for operation in OPERATIONS {
        let new = scene.new_state(operation);
        let mut stops = 0;
        for point in CRASH_POINTS {
            let old = scene.reset(operation);
            let Some(child) = scene.stop_at(operation.name, point) else {
                continue;
            };
            stops += 1;
            let at = format!("{} stopped at {point}", operation.name);
            scene.others_go_on();
            let start = Instant::now();
            let seen = scene.state(operation);
            let known = seen == old || seen == new || seen.iter().any(is_busy);
            assert!(known, "{at}: {seen:?} is neither {old:?} nor {new:?}");
            let waited = scene.redis.run(operation.wait);
            assert!(waited.error().is_none() || is_busy(&waited), "{at}: {waited:?}");
            assert!(start.elapsed() < BUSY, "{at}: {:?}", start.elapsed());
            signal(child.id() as i32, Signal::SIGCONT);
            assert!(matches!(wait(&child), WaitStatus::Exited(_, 0)), "{at}: it does not finish");
            assert_eq!(scene.state(operation), new, "{at}, then continued");
        }
        assert!(stops >= 4, "{} came to {stops} points only", operation.name);
    }
}

#[test]
fn a_killed_writer_leaves_the_old_state_or_the_new_one() {
    let mut scene = Scene::new("killed");
    for operation in OPERATIONS {
        let new = scene.new_state(operation);
        let (mut olds, mut news) = (0, 0);
        for point in CRASH_POINTS {
            let old = scene.reset(operation);
            let Some(child) = scene.stop_at(operation.name, point) else {
                continue;
            };
            signal(child.id() as i32, Signal::SIGKILL);
            assert!(matches!(wait(&child), WaitStatus::Signaled(..)));
            let at = format!("{} killed at {point}", operation.name);
            let start = Instant::now();
            let waited = scene.redis.run(operation.wait);
            assert!(waited.error().is_none(), "{at}: {waited:?}");
            let seen = scene.state(operation);
            assert!(start.elapsed() < PROMPT, "{at}: {:?}", start.elapsed());
            olds += usize::from(seen == old);
            news += usize::from(seen == new);
            assert!(seen == old || seen == new, "{at}: {seen:?} is neither {old:?} nor {new:?}");
            scene.others_go_on();
        }
        assert!(olds > 0 && news > 0, "{}: {olds} times old, {news} times new", operation.name);
    }
    assert!(scene.redis.run("TABLE.COUNT t").int() <= 64);
    assert_eq!(scene.redis.run("STRLEN key").int(), LARGE as i64);
    scene.server.signal(Signal::SIGTERM);
}
