//! What dies, dies alone: `kill -9` and SIGSTOP of workers under load, and of everything at once.
//!
//! The load is a set of clients, each on its own connection, each keeping the book of what it sent and what was
//! acknowledged. A connection that breaks takes at most the one request with it that was under way; that one may
//! or may not have been carried out. The books then bound what the store must hold.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Http, Random, Reply, Resp, Server, Start, alive, segment_name, signal, wait_until};

/// No request on a connection that survives may take longer.
const HANG: Duration = Duration::from_secs(5);
const WORKERS: usize = 8;
const TABLES: [&str; 6] = [
    "--table",
    "hot:16:n=int,f=float",
    "--table",
    "agree:64:a=int,s=string(60),b=int,c=float",
    "--table",
    "churn:40:n=int,s=string(20)",
];

/// What one client sent and what was acknowledged.
#[derive(Debug, Default, Clone, Copy)]
struct Book {
    acknowledged: u64,
    /// Requests whose connection broke before the answer.
    unknown: u64,
}

/// A connection of either protocol, opened anew when it breaks.
struct Client {
    http: SocketAddr,
    resp: SocketAddr,
    link: Link,
    book: Book,
    patience: Duration,
}

enum Link {
    Http(Http),
    Resp(Resp),
}

impl Client {
    fn new(target: Target, web: bool, patience: Duration) -> Self {
        let link = open(target.http, target.resp, web, patience).expect("a connection attempt was refused");
        Self { http: target.http, resp: target.resp, link, book: Book::default(), patience }
    }

    /// Sends one command, over HTTP by what `http` makes of it. `None`: the connection broke, nobody knows whether
    /// it was carried out.
    fn ask(&mut self, words: &[String]) -> Option<Reply> {
        let started = Instant::now();
        let answer = match &mut self.link {
            Link::Resp(redis) => redis.try_cmd(words),
            Link::Http(web) => over_http(web, words),
        };
        match answer {
            Ok(reply) => {
                assert!(reply.error().is_none(), "{words:?}: {reply:?}");
                self.book.acknowledged += 1;
                Some(reply)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("no answer to {words:?} within {:?}", started.elapsed())
            }
            Err(_) => {
                self.book.unknown += 1;
                None
            }
        }
    }

    /// Opens the connection anew.
    fn reconnect(&mut self) -> io::Result<()> {
        self.link = open(self.http, self.resp, matches!(self.link, Link::Http(_)), self.patience)?;
        Ok(())
    }
}

fn open(http: SocketAddr, resp: SocketAddr, web: bool, patience: Duration) -> io::Result<Link> {
    Ok(if web {
        let web = Http::open(http)?;
        web.patience(patience);
        Link::Http(web)
    } else {
        let redis = Resp::open(resp)?;
        redis.patience(patience);
        Link::Resp(redis)
    })
}

/// The commands that the load uses, as HTTP requests.
fn over_http(web: &mut Http, words: &[String]) -> io::Result<Reply> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let json_type = [("content-type", "application/json")];
    let row = |table: &str, key: &str| format!("/tables/{table}/rows/{key}");
    let answer = match words[..] {
        ["COUNTER.INCR", name] => web.try_request("POST", &format!("/counters/{name}/incr"), &[], None)?,
        ["TABLE.INCR", table, key, column] => {
            let body = json!({ "column": column }).to_string();
            web.try_request("POST", &format!("{}/incr", row(table, key)), &json_type, Some(body.as_bytes()))?
        }
        ["TABLE.SET", table, key, "a", a, "s", s, "b", b, "c", c] => {
            let int = |text: &str| text.parse::<i64>().unwrap();
            let body = json!({"a": int(a), "s": s, "b": int(b), "c": int(c)}).to_string();
            web.try_request("PUT", &row(table, key), &json_type, Some(body.as_bytes()))?
        }
        ["SET", key, value] => web.try_request("PUT", &format!("/kv/{key}"), &[], Some(value.as_bytes()))?,
        _ => panic!("no HTTP form of {words:?}"),
    };
    if answer.status >= 300 {
        return Ok(Reply::Error(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body))));
    }
    Ok(if answer.body.is_empty() { Reply::ok() } else { Reply::Int(answer.json()["value"].as_i64().unwrap()) })
}

#[derive(Clone, Copy)]
struct Target {
    http: SocketAddr,
    resp: SocketAddr,
}

/// What the clients share.
#[derive(Default)]
struct Run {
    stop: AtomicBool,
    /// Set before the master is killed: from then on a connection may be refused.
    master_dies: AtomicBool,
    /// Answers so far, for seeing progress.
    answers: AtomicU64,
    broken: AtomicU64,
}

/// The clients under way.
struct Load {
    run: Arc<Run>,
    target: Target,
    patience: Duration,
    increments: Vec<JoinHandle<Book>>,
    writers: Vec<JoinHandle<Written>>,
    readers: Vec<JoinHandle<u64>>,
    churners: Vec<JoinHandle<()>>,
}

/// What a writer of its own row and key knows at its end.
struct Written {
    index: usize,
    acknowledged: u64,
    sent: u64,
}

/// What the whole load knows at its end.
struct Books {
    increments: Book,
    written: Vec<Written>,
    reads: u64,
    answers: u64,
    /// Connections that broke.
    broken: u64,
}

impl Load {
    /// Two clients that increment, four that write rows and values whose parts agree, two that check them, and one
    /// that inserts and deletes rows.
    fn start(server: &Server, patience: Duration, from: u64) -> Self {
        let target = Target { http: server.http(), resp: server.resp() };
        let run = Arc::<Run>::default();
        let mut load = Self {
            run,
            target,
            patience,
            increments: Vec::new(),
            writers: Vec::new(),
            readers: Vec::new(),
            churners: Vec::new(),
        };
        for web in [true, false, false] {
            load.increments.push(load.spawn(web, increment));
        }
        for index in 0..4 {
            load.writers.push(load.spawn(index % 2 == 0, move |client, run| write(client, run, index, from)));
        }
        for _ in 0..2 {
            load.readers.push(load.spawn(false, read));
        }
        load.churners.push(load.spawn(false, churn));
        load
    }

    fn spawn<T: Send + 'static>(
        &self,
        web: bool,
        client: impl Fn(Client, &Run) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let (run, target, patience) = (Arc::clone(&self.run), self.target, self.patience);
        thread::spawn(move || client(Client::new(target, web, patience), &run))
    }

    fn answers(&self) -> u64 {
        self.run.answers.load(Ordering::Relaxed)
    }

    /// True while no client has given up.
    fn healthy(&self) -> bool {
        !(self.increments.iter().any(JoinHandle::is_finished)
            || self.writers.iter().any(JoinHandle::is_finished)
            || self.readers.iter().any(JoinHandle::is_finished)
            || self.churners.iter().any(JoinHandle::is_finished))
    }

    fn finish(self) -> Books {
        self.run.stop.store(true, Ordering::Relaxed);
        let mut increments = Book::default();
        for client in self.increments {
            let book = client.join().expect("an increment client failed");
            increments.acknowledged += book.acknowledged;
            increments.unknown += book.unknown;
        }
        let written = self.writers.into_iter().map(|client| client.join().expect("a writer failed")).collect();
        let reads = self.readers.into_iter().map(|client| client.join().expect("a reader failed")).sum();
        self.churners.into_iter().for_each(|client| client.join().expect("a churner failed"));
        let (answers, broken) = (&self.run.answers, &self.run.broken);
        Books {
            increments,
            written,
            reads,
            answers: answers.load(Ordering::Relaxed),
            broken: broken.load(Ordering::Relaxed),
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Calls `step` until the end, opening the connection anew whenever it broke.
fn serve(client: &mut Client, run: &Run, mut step: impl FnMut(&mut Client) -> Option<Reply>) {
    while !run.stop.load(Ordering::Relaxed) {
        if step(client).is_some() {
            run.answers.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        run.broken.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = client.reconnect() {
            assert!(run.master_dies.load(Ordering::Relaxed), "a connection attempt was refused: {error}");
            return;
        }
    }
}

/// Counter and column in turn: book n counts n increments of the two together.
fn increment(mut client: Client, run: &Run) -> Book {
    let both = [words("COUNTER.INCR total"), words("TABLE.INCR hot row n")];
    let mut turn = 0;
    serve(&mut client, run, |client| {
        turn += 1;
        client.ask(&both[turn % 2])
    });
    client.book
}

/// Writes n, n+1, ... into three columns and a string of its own row, into a row that all writers share, and into a value
/// whose length changes with n.
fn write(mut client: Client, run: &Run, index: usize, from: u64) -> Written {
    let (mut sent, mut acknowledged) = (from, from);
    serve(&mut client, run, |client| {
        sent += 1;
        let (n, text) = (sent, pattern(sent, 60));
        let own = words(&format!("TABLE.SET agree row{index} a {n} s {text} b {n} c {n}"));
        let shared = words(&format!("TABLE.SET agree shared a {n} s {text} b {n} c {n}"));
        let value = words(&format!("SET value{index} {}", pattern(n, 20 + (n % 3000) as usize)));
        client.ask(&own)?;
        client.ask(&value)?;
        acknowledged = n;
        client.ask(&shared)
    });
    Written { index, acknowledged, sent }
}

/// n in 20 digits, again and again, cut at `len`.
fn pattern(n: u64, len: usize) -> String {
    format!("{n:020}").chars().cycle().take(len).collect()
}

/// Checks that what must agree agrees, and writes pairs of rows in one step, which must agree as well.
fn read(mut client: Client, run: &Run) -> u64 {
    let mut turn = 0_u64;
    serve(&mut client, run, |client| {
        turn += 1;
        let key = ["row0", "row1", "row2", "row3", "shared"][turn as usize % 5];
        check_row(&client.ask(&words(&format!("TABLE.GET agree {key}")))?);
        check_value(&client.ask(&words(&format!("GET value{}", turn % 4)))?);
        let n = turn;
        client.ask(&words(&format!("TABLE.MSET agree 2 left 2 a {n} b {n} right 2 a {n} b {n}")))?;
        let pair = client.ask(&words("TABLE.MGET agree left right"))?;
        let (left, right) = (&pair.items()[0], &pair.items()[1]);
        assert_eq!(left, right, "two rows written in one step differ");
        assert_eq!(left.field("a"), left.field("b"), "a torn row: {left:?}");
        client.ask(&words(&format!("MSET pair:x {n} pair:y {n}")))?;
        let pair = client.ask(&words("MGET pair:x pair:y"))?;
        assert_eq!(pair.items()[0], pair.items()[1], "two values written in one step differ");
        Some(pair)
    });
    turn
}

fn check_row(row: &Reply) {
    if *row == Reply::Null {
        return;
    }
    let n = row.field("a").int();
    let text = row.field("s").text();
    assert_eq!(row.field("b").int(), n, "a torn row: {row:?}");
    assert_eq!(row.field("c").text().parse::<f64>().unwrap(), n as f64, "a torn row: {row:?}");
    assert_eq!(text, pattern(n as u64, 60), "a torn row: {row:?}");
}

fn check_value(value: &Reply) {
    if *value == Reply::Null {
        return;
    }
    let text = value.text();
    let n: u64 = text[..20].parse().unwrap_or_else(|_| panic!("a torn value: {text}"));
    assert_eq!(text, pattern(n, 20 + (n % 3000) as usize), "a torn value");
}

/// Inserts and deletes rows and keys, so that workers die inside an insert and a delete as well.
fn churn(mut client: Client, run: &Run) {
    let mut turn = 0;
    serve(&mut client, run, |client| {
        turn += 1;
        let key = turn % 30;
        client.ask(&words(&format!("TABLE.SET churn key{key} n {turn} s text{turn}")))?;
        client.ask(&words(&format!("SET churn:{key} {} EX 1000", pattern(turn, 100))))?;
        client.ask(&words(&format!("TABLE.DEL churn key{}", (key + 7) % 30)))?;
        client.ask(&words(&format!("DEL churn:{}", (key + 7) % 30)))
    });
}

/// The store must hold what the books say, for a load that started from these numbers.
fn audit(server: &Server, books: &Books, before: u64) {
    let mut redis = server.redis();
    let total = redis.run("COUNTER.GET total").int() as u64 + redis.run("TABLE.GET hot row n").items()[0].int() as u64;
    let (least, most) =
        (before + books.increments.acknowledged, before + books.increments.acknowledged + books.increments.unknown);
    assert!((least..=most).contains(&total), "{total} increments counted, {least}..={most} were asked for");
    for written in &books.written {
        let row = redis.run(&format!("TABLE.GET agree row{}", written.index));
        check_row(&row);
        let value = redis.run(&format!("GET value{}", written.index));
        check_value(&value);
        let (row, value): (u64, u64) = (row.field("a").int() as u64, value.text()[..20].parse().unwrap());
        let allowed = written.acknowledged..=written.sent;
        assert!(allowed.contains(&row), "row {row}, {allowed:?} were written");
        assert!(allowed.contains(&value), "value {value}, {allowed:?} were written");
    }
    check_row(&redis.run("TABLE.GET agree shared"));
    nothing_is_lost(&mut redis);
}

/// The table that was churned counts what it holds, and still takes exactly its capacity.
fn nothing_is_lost(redis: &mut Resp) {
    let rows = redis.run("TABLE.SCAN churn 0 COUNT 1000");
    let count = redis.run("TABLE.COUNT churn").int();
    assert_eq!(rows.items()[1].items().len() as i64 / 2, count, "the count of a table is off");
    for pair in rows.items()[1].items().chunks(2) {
        assert_eq!(pair[1].field("s").text(), format!("text{}", pair[1].field("n").int()), "a torn row");
        assert_eq!(redis.run(&format!("TABLE.DEL churn {}", pair[0].text())), Reply::Int(1));
    }
    assert_eq!(redis.run("TABLE.COUNT churn"), Reply::Int(0));
    for i in 0..40 {
        assert_eq!(redis.run(&format!("TABLE.SET churn fill{i} n {i}")), Reply::ok(), "a row was lost");
    }
    assert_eq!(redis.run("TABLE.SET churn fill40 n 1").error(), Some("TABLEFULL"));
    redis.run("TABLE.CLEAR churn");
    let keys = redis.run("KEYS *").items().len() as i64;
    assert_eq!(redis.run("DBSIZE"), Reply::Int(keys), "the count of keys is off");
}

fn total(server: &Server) -> u64 {
    let mut redis = server.redis();
    let counter = match redis.run("COUNTER.GET total") {
        Reply::Int(n) => n,
        _ => 0,
    };
    let row = match redis.run("TABLE.GET hot row n") {
        Reply::Array(row) => row[0].int(),
        _ => 0,
    };
    (counter + row) as u64
}

fn server() -> Server {
    let workers = WORKERS.to_string();
    Server::start(&[&["--workers", &workers], &TABLES[..]].concat())
}

fn all_back(server: &Server) -> bool {
    wait_until(Duration::from_secs(20), || server.workers().len() == WORKERS)
}

/// Seconds that the long tests last: `IT_KILL_SECONDS`, else 20.
fn seconds() -> Duration {
    let given = std::env::var("IT_KILL_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(20))
}

#[test]
fn killing_a_worker_every_tenth_of_a_second_loses_nothing() {
    let (server, mut random) = (server(), Random::new());
    let load = Load::start(&server, HANG, 0);
    let (mut kills, mut counted, mut connections) = (0, 0, 0);
    let started = Instant::now();
    let mut next = started;
    while started.elapsed() < seconds() && load.healthy() {
        next += Duration::from_millis(100);
        if let Some(victim) = random.choose(&server.workers()) {
            signal(victim, Signal::SIGKILL);
            kills += 1;
        }
        // A connection is accepted at every moment, and the statistics never go back.
        server.redis();
        connections += 1;
        if let Some(now) = commands(&server) {
            assert!(now >= counted, "statistics went back from {counted} to {now}");
            counted = now;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let books = load.finish();
    eprintln!(
        "{kills} kills, {} answers, {} reads, {connections} probes, {:?}",
        books.answers, books.reads, books.increments
    );
    assert!(all_back(&server), "workers {:?} after the kills", server.workers());
    assert!(kills >= seconds().as_secs(), "only {kills} kills");
    assert!(books.broken > 0, "no connection ever broke: the kills missed the load");
    audit(&server, &books, 0);
    assert!(server.stat("commands") >= counted, "statistics went back");
    assert!(server.stat("worker_starts") as usize >= WORKERS + kills as usize / 2);
    let mut answering = BTreeSet::new();
    let complete = wait_until(HANG, || {
        answering.insert(server.web().get("/healthz").worker().0);
        answering.len() == WORKERS
    });
    assert!(complete, "only workers {answering:?} answer");
}

/// The sum of commands, unless the worker that was asked died before it answered.
fn commands(server: &Server) -> Option<u64> {
    let mut web = Http::open(server.http()).expect("a connection attempt was refused");
    web.patience(HANG);
    match web.try_request("GET", "/stats", &[], None) {
        Ok(answer) => answer.json()["total"]["commands"].as_u64(),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            panic!("GET /stats hangs")
        }
        Err(_) => None,
    }
}

#[test]
fn a_stopped_worker_does_not_stop_the_others() {
    let (server, mut random) = (server(), Random::new());
    let stopped_for = Duration::from_secs(3);
    // A client of the stopped worker waits as long as the stop lasts; no other may wait longer than that plus HANG.
    let load = Load::start(&server, stopped_for + HANG, 0);
    // Made before the stop: the one that is stopped may be in the middle of making something else.
    let mut redis = server.redis();
    own_keys().flatten().for_each(|command| assert!(redis.cmd(&command).error().is_none()));
    for _ in 0..3 {
        let victim = random.choose(&server.workers()).unwrap();
        signal(victim, Signal::SIGSTOP);
        let moving = others_answer(&server, victim, stopped_for);
        signal(victim, Signal::SIGCONT);
        moving.unwrap();
        thread::sleep(Duration::from_millis(300));
        assert!(load.healthy(), "a client gave up");
        let before = load.answers();
        assert!(wait_until(HANG, || load.answers() > before + 100), "the load does not go on");
    }
    let books = load.finish();
    assert_eq!(books.broken, 0, "a connection broke although nobody died");
    assert_eq!(server.workers().len(), WORKERS);
    audit(&server, &books, 0);
}

/// For each of some connections, commands that concern nobody else.
fn own_keys() -> impl Iterator<Item = [Vec<String>; 3]> {
    (0..3 * WORKERS).map(|i| {
        [format!("COUNTER.INCR own{i}"), format!("INCR own:{i}"), "PING".to_owned()].map(|command| words(&command))
    })
}

/// Asks every worker but the stopped one, again and again, for what no stopped worker can hold.
fn others_answer(server: &Server, stopped: i32, until: Duration) -> Result<(), String> {
    let end = Instant::now() + until;
    let mut rounds = 0;
    let mut links: Vec<Resp> = own_keys().map(|_| server.redis()).collect();
    // A connection that the stopped worker was about to accept, or has accepted, is not asked.
    let awake = |redis: &Resp| server.owner(redis.stream()).is_some_and(|owner| owner != stopped);
    if !wait_until(HANG, || links.iter().filter(|redis| awake(redis)).count() >= WORKERS) {
        return Err("the other workers accept no connections".to_owned());
    }
    links.retain(awake);
    while Instant::now() < end {
        for (redis, commands) in links.iter_mut().zip(own_keys()) {
            redis.patience(Duration::from_secs(2));
            for command in commands {
                let answer = redis.try_cmd(&command).map_err(|error| format!("{command:?}: {error}"))?;
                if answer.error().is_some() {
                    return Err(format!("{command:?}: {answer:?}"));
                }
            }
        }
        rounds += 1;
        thread::sleep(Duration::from_millis(20));
    }
    if rounds < 2 { Err(format!("only {rounds} rounds in {until:?}")) } else { Ok(()) }
}

#[test]
fn killing_everything_loses_nothing_that_was_acknowledged() {
    let name = segment_name("all");
    let workers = WORKERS.to_string();
    let args = [&["--workers", &workers, "--segment", &name], &TABLES[..]].concat();
    let mut from = 0;
    for round in 0..5 {
        let server = Server::start(&args);
        assert_eq!(server.field("segment"), name);
        let before = total(&server);
        let load = Load::start(&server, HANG, from);
        thread::sleep(Duration::from_millis(800 + 137 * round));
        assert!(load.healthy(), "a client gave up");
        load.run.master_dies.store(true, Ordering::Relaxed);
        server.kill_all();
        let books = load.finish();
        assert!(books.increments.acknowledged > 0, "no load");
        from = books.written.iter().map(|written| written.sent).max().unwrap();
        let server = Server::start(&args);
        audit(&server, &books, before);
        assert_eq!(server.workers().len(), WORKERS);
        if round < 4 {
            server.kill_all();
        }
    }
}

#[test]
fn only_the_master_killed_takes_the_workers_along() {
    let name = segment_name("master");
    let args = ["--workers", "4", "--segment", &name];
    let server = Server::start(&args);
    assert_eq!(server.redis().run("SET left behind"), Reply::ok());
    let workers = server.workers();
    assert_eq!(workers.len(), 4);
    server.signal(Signal::SIGKILL);
    assert!(wait_until(HANG, || !workers.iter().any(|&pid| alive(pid))), "workers outlive their master");
    server.kill_all();
    let server = Server::start(&args);
    assert_eq!(server.redis().run("GET left"), Reply::bulk("behind"));
}

#[test]
fn a_clean_stop_keeps_a_named_segment() {
    let name = segment_name("clean");
    let args = ["--workers", "2", "--segment", &name, "--table", "t:4:n=int"];
    let mut server = Server::start(&args);
    let mut redis = server.redis();
    redis.run("SET k v");
    redis.run("COUNTER.INCR c 3");
    redis.run("TABLE.INCR t a n 7");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(Duration::from_secs(15)).and_then(|status| status.code()), Some(0));
    drop(server);
    let server = Server::start(&args);
    let mut redis = server.redis();
    assert_eq!(redis.run("GET k"), Reply::bulk("v"));
    assert_eq!(redis.run("COUNTER.GET c"), Reply::Int(3));
    assert_eq!(redis.run("TABLE.GET t a n"), Reply::Array(vec![Reply::Int(7)]));
}

#[test]
fn a_segment_has_one_master() {
    let name = segment_name("owner");
    let server = Server::start(&["--workers", "2", "--segment", &name]);
    server.redis().run("SET k v");
    let second = Start::new(&["--workers", "2", "--segment", &name]).refused();
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(second.stderr.contains(&server.pid().to_string()), "the owner's pid is not named: {second:?}");
    let fresh = Start::new(&["--workers", "2", "--segment", &name, "--fresh"]).refused();
    assert_eq!(fresh.code, Some(2), "{fresh:?}");
    assert_eq!(server.redis().run("GET k"), Reply::bulk("v"));
}

#[test]
fn another_geometry_is_refused_until_fresh() {
    let name = segment_name("shape");
    let start = |more: &[&str]| Start::new(&[&["--segment", &name, "--workers", "2"], more].concat());
    let server = start(&[]).server();
    server.redis().run("SET k v");
    server.kill_all();
    for (option, value, field) in
        [("--memory", "96mb", "memory"), ("--counters", "64", "counters"), ("--max-keys", "5000", "max_keys")]
    {
        let refused = start(&[option, value]).refused();
        assert_eq!(refused.code, Some(2), "{option}: {refused:?}");
        let said = refused.stderr.replace('-', "_");
        assert!(said.contains(field) && refused.stderr.contains("--fresh"), "{field} and --fresh: {refused:?}");
    }
    let server = start(&[]).server();
    assert_eq!(server.redis().run("GET k"), Reply::bulk("v"), "a refused start changed the segment");
    server.kill_all();
    let server = start(&["--memory", "96mb", "--fresh"]).server();
    assert_eq!(server.redis().run("GET k"), Reply::Null);
}

#[test]
fn what_is_no_segment_is_refused() {
    let name = segment_name("alien");
    let file = format!("/dev/shm/{name}");
    for bytes in [vec![], vec![0; 100], vec![0xff; 1 << 20]] {
        std::fs::write(&file, &bytes).unwrap();
        let refused = Start::new(&["--workers", "2", "--segment", &name]).refused();
        assert_eq!(refused.code, Some(2), "{} bytes: {refused:?}", bytes.len());
        assert!(std::fs::read(&file).unwrap() == bytes, "a file that is no segment was written to");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn segment_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| std::fs::metadata(format!("/dev/shm/{name}")).unwrap().permissions().mode() & 0o777;
    let name = segment_name("mode");
    let server = Server::start(&["--workers", "1", "--segment", &name]);
    assert_eq!(mode(&name), 0o600);
    drop(server);
    let server = Server::start(&["--workers", "1", "--segment", &name, "--segment-mode", "0660", "--fresh"]);
    assert_eq!(mode(&name), 0o660);
    drop(server);
}
