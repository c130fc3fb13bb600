//! A server on a named segment, what was acknowledged there, and the examination after a death.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use store_master::{Error, Segment, Store, backend::SharedStore, store::SetOptions};

use super::victim::Victim;
use crate::harness::{Reply, Resp, Server, Start, encode, run, segment_name, signal, state, wait_until};

/// Longest answer to a request when nobody who lives is in the way.
pub(super) const PROMPT: Duration = Duration::from_secs(5);
/// Longest wait for anything that is bound to happen.
pub(super) const HANG: Duration = Duration::from_secs(20);
/// The table of the accounts: it has room for them and for a few rows of others.
pub(super) const ACCOUNTS: &str = "accounts:64:n=int,text=string(40)";
/// The size of segments: little, so that they are made and checked quickly.
pub(super) const MEMORY: &str = "16mb";
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
    /// The same store by way of the library, with little patience.
    store: Option<Store>,
    /// A program that runs others where the server is, and its arguments; none: that is here.
    inside: Vec<String>,
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
        let mut args = vec!["--memory", MEMORY, "--segment", &segment, "--lock-wait", "300", "--table", ACCOUNTS];
        if !options.contains(&"--workers") {
            args.extend(["--workers", "2"]);
        }
        let ticket = Ticket::new();
        let start = Start::new(&[&args, options].concat()).under(wrapper).env(Ticket::VARIABLE, ticket.path());
        let server = start.server();
        let redis = server.redis();
        let (mut store, mut inside) = (None, Vec::new());
        if wrapper.is_empty() {
            store = Some(open(&segment));
        } else {
            let master = server.pid().to_string();
            inside.extend(["nsenter", "-t", &master, "-p", "-m", "--"].map(str::to_owned));
        }
        let mut scene = Self { server, segment, redis, ticket, store, inside, acknowledged: 0 };
        scene.reset();
        scene
    }

    /// Brings the state about that victims start from, and has some writes acknowledged.
    pub(super) fn reset(&mut self) {
        assert_eq!(self.redis.run(TRANSFER.undo), Reply::ok());
        assert_eq!(self.redis.run(SET_KEY.undo), Reply::ok());
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

    /// A new connection to a worker of this kind.
    pub(super) fn client_of(&self, is_right: impl Fn(i32) -> bool) -> Resp {
        let mut found = None;
        let tried = wait_until(HANG, || {
            let redis = self.server.redis();
            found = is_right(self.owner_of(&redis)).then_some(redis);
            found.is_some()
        });
        assert!(tried, "no connection goes to the right worker");
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

    /// Has the worker of this connection begin a command, and waits until it stopped at this point.
    pub(super) fn stop_worker(&self, redis: &mut Resp, command: &str, point: &str) -> i32 {
        let worker = self.owner_of(redis);
        self.ticket.put(point, worker);
        let words: Vec<&str> = command.split(' ').collect();
        redis.send(&encode(&words)).unwrap();
        let stopped = wait_until(HANG, || self.ticket.is_taken() && state(worker) == Some('T'));
        assert!(stopped, "`{command}` does not come to {point} in {worker}, which is {:?}", state(worker));
        worker
    }

    /// As [`Scene::stop_worker`], of a worker that is none of these, and in the middle of this write and of nothing else: a
    /// worker also keeps the list of its clients in the store, in writes of its own.
    pub(super) fn stop_in_mid_write(&self, write: &Write, point: &str, not: &[i32]) -> i32 {
        for _ in 0..10 {
            let mut redis = self.client_of(|worker| !not.contains(&worker));
            let worker = self.stop_worker(&mut redis, write.command, point);
            if (write.is_under_way)(self.store.as_ref().expect("a server in this PID namespace")) {
                return worker;
            }
            signal(worker, Signal::SIGCONT);
            redis.read().expect("a worker that was stopped goes on");
            assert_eq!(redis.run(write.undo), Reply::ok());
        }
        panic!("`{}` is never the write that is stopped at {point}", write.command);
    }

    /// Connects anew, after the worker of the last connection has died.
    pub(super) fn reconnect(&mut self) {
        self.redis = self.server.redis();
    }

    /// Ends master and workers, and starts the server anew on the same segment.
    pub(super) fn start_again(self, options: &[&str]) -> Self {
        let Self { server, segment, redis, ticket, store, inside, acknowledged } = self;
        drop((redis, store));
        server.kill_all();
        let args = ["--memory", MEMORY, "--segment", &segment, "--lock-wait", "300", "--table", ACCOUNTS];
        let start = Start::new(&[&args, options].concat()).env(Ticket::VARIABLE, ticket.path());
        let server = start.server();
        let redis = server.redis();
        let store = Some(open(&segment));
        Self { server, segment, redis, ticket, store, inside, acknowledged }
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
        let longer = (SET_KEY.command.len() - "SET key ".len()) as i64;
        assert!([3, longer, LARGE].contains(&len), "{what}: the value has {len} bytes");
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
        let inside: Vec<&str> = self.inside.iter().map(String::as_str).collect();
        is_sound_inside(&inside, &self.segment, what);
    }

    /// The start of a command line that runs where the server is.
    pub(super) fn inside(&self) -> &[String] {
        &self.inside
    }

    /// What the first account has.
    pub(super) fn account(&mut self) -> i64 {
        self.redis.run("TABLE.GET accounts a n").items()[0].int()
    }
}

fn open(segment: &str) -> Store {
    let segment = Segment::attach(segment).expect("a server has the segment");
    Store::on(Arc::new(SharedStore::open(segment, Some(Duration::from_millis(10)))))
}

/// A write that a worker is stopped in.
pub(super) struct Write {
    command: &'static str,
    undo: &'static str,
    /// Whether somebody holds what the command needs.
    is_under_way: fn(&Store) -> bool,
}

/// Moves 1 from one account to the other.
pub(super) const TRANSFER: Write = Write {
    command: "TABLE.MSET accounts 2 a 1 n 99 b 1 n 101",
    undo: "TABLE.MSET accounts 2 a 1 n 100 b 1 n 100",
    is_under_way: |store| store.table("accounts").and_then(|table| table.incr("a", "n", 0)) == Err(Error::Busy),
};

/// Gives the key another value, which no single word could hold.
pub(super) const SET_KEY: Write = Write {
    command: "SET key longer-than-a-word",
    undo: "SET key old",
    is_under_way: |store| {
        store.kv().set(0, b"key", b"try", SetOptions::default()).is_err_and(|error| error == Error::Busy)
    },
};

/// A segment is sound, as the program itself finds.
pub(super) fn is_sound(segment: &str, what: &str) {
    is_sound_inside(&[], segment, what);
}

fn is_sound_inside(inside: &[&str], segment: &str, what: &str) {
    let check = [env!("CARGO_BIN_EXE_store-master"), "check", "--segment", segment, "--json"];
    let words = [inside, &check].concat();
    let output = run(words[0], &words[1..]);
    assert_eq!(output.code, Some(0), "{what}: {output:?}");
}

/// Fails, and says why, where this process may not make namespaces.
pub(super) fn needs_namespaces() {
    let tried = run("unshare", &["-m", "-p", "-f", "--mount-proc", "true"]);
    assert_eq!(tried.code, Some(0), "this test needs root (CAP_SYS_ADMIN), for a namespace of its own: {tried:?}");
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

    /// This process of the server stops when it comes to this point.
    pub(super) fn put(&self, point: &str, pid: i32) {
        // Renamed into place, so that nobody reads half of it.
        let new = self.0.with_extension("new");
        fs::write(&new, format!("{point} {pid}")).unwrap();
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
