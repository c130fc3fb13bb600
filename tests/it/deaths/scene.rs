//! A server on a named segment, what was acknowledged there, and the examination after a death.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::victim::Victim;
use crate::harness::{Reply, Resp, Server, Start, run, segment_name, signal, state, wait_until};

/// Longest answer to a request when nobody who lives is in the way.
pub(super) const PROMPT: Duration = Duration::from_secs(2);
/// Longest wait for anything that is bound to happen.
pub(super) const HANG: Duration = Duration::from_secs(10);
/// The table of the accounts: it has room for them and for a few rows of others.
pub(super) const ACCOUNTS: &str = "accounts:64:n=int,text=string(40)";
/// What the two accounts have together.
const SUM: i64 = 200;
/// The length of the value that victims write.
const LARGE: i64 = 100_000;

/// A server on a named segment with two accounts and a key, and the book of what was acknowledged.
pub(super) struct Scene {
    pub(super) server: Server,
    pub(super) segment: String,
    pub(super) redis: Resp,
    pub(super) ticket: Ticket,
    /// Writes of each kind that were acknowledged.
    acknowledged: i64,
}

impl Scene {
    pub(super) fn new(test: &str) -> Self {
        Self::with(test, &[], &[])
    }

    /// The scene with more options, and with a program that starts the server.
    pub(super) fn with(test: &str, options: &[&str], wrapper: &[&str]) -> Self {
        let segment = segment_name(test);
        let mut args = vec!["--segment", &segment, "--lock-wait", "300", "--table", ACCOUNTS];
        if !options.contains(&"--workers") {
            args.extend(["--workers", "2"]);
        }
        let ticket = Ticket::new();
        let start = Start::new(&[&args, options].concat()).under(wrapper).env(Ticket::VARIABLE, ticket.path());
        let server = start.server();
        let redis = server.redis();
        let mut scene = Self { server, segment, redis, ticket, acknowledged: 0 };
        scene.reset();
        scene
    }

    /// Brings the state about that victims start from, and has some writes acknowledged.
    pub(super) fn reset(&mut self) {
        assert_eq!(self.redis.run("TABLE.MSET accounts 2 a 1 n 100 b 1 n 100"), Reply::ok());
        assert_eq!(self.redis.run("SET key old"), Reply::ok());
        for _ in 0..5 {
            self.acknowledged += 1;
            let n = self.acknowledged;
            assert_eq!(self.redis.run("COUNTER.INCR acknowledged"), Reply::Int(n));
            assert_eq!(self.redis.run("TABLE.INCR accounts acknowledged n 1"), Reply::Int(n));
            assert_eq!(self.redis.run(&format!("SET acknowledged:{n} {n}")), Reply::ok());
        }
    }

    /// A victim that has come to the point, and dies there when it is told to.
    pub(super) fn victim(&self, operation: &str, point: &str, death: &str, who: &str) -> Victim {
        let victim = Victim::start(&[&self.segment, operation, point, death, who]);
        victim.expect(&format!("at {point}"));
        victim
    }

    /// A new connection to another worker than this one's.
    pub(super) fn client_of_another_than(&self, worker: i32) -> Resp {
        let mut found = None;
        let tried = wait_until(HANG, || {
            let redis = self.server.redis();
            let owner = self.owner_of(&redis);
            found = (owner != worker).then_some(redis);
            found.is_some()
        });
        assert!(tried, "all connections go to worker {worker}");
        found.unwrap()
    }

    /// The worker that serves this connection.
    pub(super) fn owner_of(&self, redis: &Resp) -> i32 {
        let mut owner = None;
        wait_until(HANG, || {
            owner = self.server.owners([redis.stream()])[0];
            owner.is_some()
        });
        owner.expect("a worker accepts the connection")
    }

    /// Has the worker of this connection begin a command, and waits until it stopped in the middle of it, at this point.
    pub(super) fn stop_worker(&self, redis: &mut Resp, command: &str, point: &str) -> i32 {
        let worker = self.owner_of(redis);
        self.ticket.put(point);
        let words: Vec<&str> = command.split(' ').collect();
        redis.send(&crate::harness::encode(&words)).unwrap();
        let stopped = wait_until(HANG, || state(worker) == Some('T'));
        let states: Vec<_> = self.server.workers().into_iter().map(|pid| (pid, state(pid))).collect();
        let taken = self.ticket.is_taken();
        assert!(stopped, "`{command}` does not come to {point} in {worker}; {states:?}; ticket taken: {taken}");
        assert!(self.ticket.is_taken(), "somebody else stopped the worker");
        worker
    }

    /// Connects anew, after the worker of the last connection has died.
    pub(super) fn reconnect(&mut self) {
        self.redis = self.server.redis();
    }

    /// Ends master and workers, and starts the server anew on the same segment.
    pub(super) fn start_again(self, options: &[&str]) -> Self {
        let Self { server, segment, redis, ticket, acknowledged } = self;
        drop(redis);
        server.kill_all();
        let args = ["--segment", &segment, "--lock-wait", "300", "--table", ACCOUNTS];
        let start = Start::new(&[&args, options].concat()).env(Ticket::VARIABLE, ticket.path());
        let server = start.server();
        let redis = server.redis();
        Self { server, segment, redis, ticket, acknowledged }
    }

    /// Everything that must hold after a death. The accounts can be locked at once, and so can the key.
    pub(super) fn examine(&mut self, what: &str) {
        let start = Instant::now();
        for account in ["a", "b"] {
            let locked = self.redis.run(&format!("TABLE.INCR accounts {account} n 0"));
            assert!(locked.error().is_none(), "{what}: the row {account}: {locked:?}");
        }
        assert_eq!(self.redis.run("EXPIRE key 100000"), Reply::Int(1), "{what}: the key");
        let waited = start.elapsed();
        assert!(waited < PROMPT, "{what}: what the dead held was free after {waited:?}");
        let rows = self.redis.run("TABLE.MGET accounts a b");
        let [a, b] = [0, 1].map(|i| rows.items()[i].field("n").int());
        assert_eq!(a + b, SUM, "{what}: {rows:?}");
        let len = self.redis.run("STRLEN key").int();
        assert!([3, LARGE].contains(&len), "{what}: the value has {len} bytes");
        self.examine_acknowledged(what);
        self.check(what);
    }

    fn examine_acknowledged(&mut self, what: &str) {
        let n = self.acknowledged;
        assert_eq!(self.redis.run("COUNTER.GET acknowledged"), Reply::Int(n), "{what}");
        assert_eq!(self.redis.run("TABLE.INCR accounts acknowledged n 0"), Reply::Int(n), "{what}");
        for i in 1..=n {
            let value = self.redis.run(&format!("GET acknowledged:{i}"));
            assert_eq!(value, Reply::bulk(i.to_string()), "{what}: key {i} of {n}");
        }
        let counted = self.redis.run("TABLE.COUNT accounts").int();
        let rows = self.redis.run("TABLE.SCAN accounts 0 COUNT 1000").items()[1].items().len() as i64 / 2;
        assert_eq!(counted, rows, "{what}: the count of the table");
        let keys = self.redis.run("KEYS *").items().len() as i64;
        assert_eq!(self.redis.run("DBSIZE").int(), keys, "{what}: the count of the keys");
    }

    /// What the user's own check says of the segment.
    pub(super) fn check(&self, what: &str) {
        is_sound(&self.segment, what);
    }

    /// What the first account has.
    pub(super) fn account(&mut self) -> i64 {
        self.redis.run("TABLE.GET accounts a n").items()[0].int()
    }
}

/// A segment is sound, as the program itself finds.
pub(super) fn is_sound(segment: &str, what: &str) {
    let output = run(env!("CARGO_BIN_EXE_store-master"), &["check", "--segment", segment, "--json"]);
    assert_eq!(output.code, Some(0), "{what}: {output:?}");
}

/// The file that makes the process of a server stop at a point.
pub(super) struct Ticket(PathBuf);

impl Ticket {
    pub(super) const VARIABLE: &str = "STORE_MASTER_STOP_TICKET";

    pub(super) fn new() -> Self {
        Self(std::env::temp_dir().join(segment_name("ticket")))
    }

    pub(super) fn path(&self) -> &str {
        self.0.to_str().expect("a plain path")
    }

    /// The next process of the server that comes to this point stops there.
    pub(super) fn put(&self, point: &str) {
        // Renamed into place, so that nobody reads half of it.
        let new = self.0.with_extension("new");
        fs::write(&new, point).unwrap();
        fs::rename(&new, &self.0).unwrap();
    }

    pub(super) fn is_taken(&self) -> bool {
        !self.0.exists()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// Ends these processes in one go: none of them runs between the first death and the last.
pub(super) fn kill_together(pids: &[i32]) {
    pids.iter().for_each(|&pid| signal(pid, Signal::SIGSTOP));
    let stopped = |&pid: &i32| matches!(state(pid), None | Some('T' | 'Z' | 'X'));
    assert!(wait_until(HANG, || pids.iter().all(stopped)), "{pids:?} do not stop");
    pids.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
}
