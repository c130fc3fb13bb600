//! A load that keeps books, and the audit of what the store must hold afterwards.
//!
//! The load is a set of clients, each on its own connection, each keeping the book of what it sent and what was
//! acknowledged. A connection that breaks takes at most the one request with it that was under way; that one may
//! or may not have been carried out. The books then bound what the store must hold.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Http, Reply, Resp, Server};

/// No request on a connection that survives may take longer.
pub(crate) const HANG: Duration = Duration::from_secs(5);

/// The options of a server that this load can work on.
pub(crate) const TABLES: [&str; 6] = [
    "--table",
    "hot:16:n=int,f=float",
    "--table",
    "agree:64:a=int,s=string(60),b=int,c=float",
    "--table",
    "churn:40:n=int,s=string(20)",
];

/// What one client sent and what was acknowledged.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Book {
    pub(crate) acknowledged: u64,
    /// Requests whose connection broke before the answer.
    unknown: u64,
}

/// A connection of either protocol, opened anew when it breaks.
struct Client {
    target: Target,
    link: Link,
    book: Book,
}

/// Where clients go, and how long they wait for an answer.
#[derive(Clone, Copy)]
struct Target {
    http: SocketAddr,
    resp: SocketAddr,
    patience: Duration,
}

enum Link {
    Http(Http),
    Resp(Resp),
}

impl Client {
    fn new(target: Target, web: bool) -> Self {
        let link = target.open(web).expect("a connection attempt was refused");
        Self { target, link, book: Book::default() }
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
        self.link = self.target.open(matches!(self.link, Link::Http(_)))?;
        Ok(())
    }
}

impl Target {
    fn open(self, web: bool) -> io::Result<Link> {
        if web {
            let web = Http::open(self.http)?;
            web.patience(self.patience);
            return Ok(Link::Http(web));
        }
        let redis = Resp::open(self.resp)?;
        redis.patience(self.patience);
        Ok(Link::Resp(redis))
    }
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
pub(crate) struct Load {
    run: Arc<Run>,
    target: Target,
    increments: Vec<JoinHandle<Book>>,
    writers: Vec<JoinHandle<Written>>,
    readers: Vec<JoinHandle<u64>>,
    churners: Vec<JoinHandle<()>>,
}

/// What a writer of its own row and key knows at its end.
pub(crate) struct Written {
    index: usize,
    acknowledged: u64,
    pub(crate) sent: u64,
}

/// What the whole load knows at its end.
pub(crate) struct Books {
    /// Of the clients that increment, together.
    pub(crate) increments: Book,
    pub(crate) written: Vec<Written>,
    pub(crate) reads: u64,
    pub(crate) answers: u64,
    /// Connections that broke.
    pub(crate) broken: u64,
}

impl Load {
    /// Starts the clients; writers go on from number `from`. Three clients that increment, four that write rows and values whose parts agree, two that check them, and one
    /// that inserts and deletes rows.
    pub(crate) fn start(server: &Server, patience: Duration, from: u64) -> Self {
        let mut load = Self {
            run: Arc::default(),
            target: Target { http: server.http(), resp: server.resp(), patience },
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
        let (run, target) = (Arc::clone(&self.run), self.target);
        thread::spawn(move || client(Client::new(target, web), &run))
    }

    /// Says that the master is about to be killed: from now on a connection may be refused.
    pub(crate) fn expect_the_end(&self) {
        self.run.master_dies.store(true, Ordering::Relaxed);
    }

    /// Answers so far.
    pub(crate) fn answers(&self) -> u64 {
        self.run.answers.load(Ordering::Relaxed)
    }

    /// True while no client has given up.
    pub(crate) fn healthy(&self) -> bool {
        !(self.increments.iter().any(JoinHandle::is_finished)
            || self.writers.iter().any(JoinHandle::is_finished)
            || self.readers.iter().any(JoinHandle::is_finished)
            || self.churners.iter().any(JoinHandle::is_finished))
    }

    /// Ends the clients and collects their books; fails if one of them has found something wrong.
    pub(crate) fn finish(self) -> Books {
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
pub(crate) fn audit(server: &Server, books: &Books, before: u64) {
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

/// Increments that the store counts.
pub(crate) fn total(server: &Server) -> u64 {
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
