//! Who listens hears of every change, whichever worker makes it: key events, invalidations of cached keys, MONITOR; and hears
//! that something may have been missed when a worker dies.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::harness::{Reply, Resp, Server, encode, signal, wait_until};

const WORKERS: usize = 4;

fn server() -> Server {
    Server::start(&["--workers", &WORKERS.to_string()])
}

fn bulk(text: &str) -> Reply {
    Reply::bulk(text)
}

fn worker_of(client: &mut Resp) -> usize {
    let info = client.run("CLIENT INFO").text();
    let worker = info.split_whitespace().find_map(|field| field.strip_prefix("worker="));
    worker.expect("CLIENT INFO names the worker").parse().unwrap()
}

fn pid_of(client: &mut Resp) -> i32 {
    let info = client.run("INFO server").text();
    let pid = info.lines().find_map(|line| line.strip_prefix("worker_process_id:"));
    pid.expect("INFO names the process").trim().parse().unwrap()
}

/// A client of each worker.
fn one_to_each(server: &Server) -> Vec<Resp> {
    let mut found = BTreeMap::new();
    let complete = wait_until(Duration::from_secs(10), || {
        let mut client = server.redis();
        found.entry(worker_of(&mut client)).or_insert(client);
        found.len() == WORKERS
    });
    assert!(complete, "only workers {:?} ever answered", found.keys());
    found.into_values().collect()
}

/// A client that caches keys, told by RESP3.
fn caching(mut client: Resp) -> Resp {
    client.run("HELLO 3");
    assert_eq!(client.run("CLIENT TRACKING ON"), Reply::ok());
    client
}

fn invalidation(keys: &[&str]) -> Reply {
    Reply::Push(vec![bulk("invalidate"), Reply::Array(keys.iter().map(|key| bulk(key)).collect())])
}

fn everything() -> Reply {
    Reply::Push(vec![bulk("invalidate"), Reply::Null])
}

#[test]
fn a_setting_takes_effect_on_every_worker_at_once() {
    let server = server();
    let mut all = one_to_each(&server);
    let mut subscriber = server.redis();
    subscriber.run("PSUBSCRIBE __key*");
    for round in 0..20 {
        let (setter, writer) = (round % WORKERS, (round + 1) % WORKERS);
        let classes = if round % 2 == 0 { "KE$" } else { "" };
        assert_eq!(all[setter].cmd(&["CONFIG", "SET", "notify-keyspace-events", classes]), Reply::ok());
        let key = format!("k{round}");
        all[writer].cmd(&["SET", &key, "v"]);
        assert_eq!(all[writer].run("CONFIG GET notify-keyspace-events").field("notify-keyspace-events").text(), {
            if round % 2 == 0 { "$KE" } else { "" }
        });
        if round % 2 == 0 {
            let by_key = ["pmessage", "__key*", &format!("__keyspace@0__:{key}"), "set"].map(bulk);
            let by_event = ["pmessage", "__key*", "__keyevent@0__:set", &key].map(bulk);
            assert_eq!(subscriber.read().unwrap(), Reply::Array(by_key.to_vec()));
            assert_eq!(subscriber.read().unwrap(), Reply::Array(by_event.to_vec()));
        }
    }
}

#[test]
fn every_change_has_its_event() {
    let server = server();
    let mut all = one_to_each(&server);
    all[0].run("CONFIG SET notify-keyspace-events KEAnm");
    let mut subscriber = server.redis();
    subscriber.run("PSUBSCRIBE __keyevent@0__:*");
    let cases: &[(&str, &[&str])] = &[
        ("SET a 1", &["new a", "set a"]),
        ("SET a 2 EX 100", &["set a", "expire a"]),
        ("PERSIST a", &["persist a"]),
        ("INCRBY a 3", &["incrby a"]),
        ("DECR a", &["incrby a"]),
        ("INCRBYFLOAT a 1.5", &["incrbyfloat a"]),
        ("APPEND a x", &["append a"]),
        ("SETRANGE a 1 y", &["setrange a"]),
        ("GETEX a PX 100000", &["expire a"]),
        ("GETEX a PERSIST", &["persist a"]),
        ("GETEX a PERSIST", &[]),
        ("MSET a 1 b 2", &["set a", "new b", "set b"]),
        ("SETNX a 1", &[]),
        ("GETSET b 3", &["set b"]),
        ("RENAME a c", &["rename_from a", "new c", "rename_to c"]),
        ("EXPIRE c 100", &["expire c"]),
        ("GETDEL c", &["del c"]),
        ("GET nothing", &["keymiss nothing"]),
        ("MGET x b x y", &["keymiss x", "keymiss x", "keymiss y"]),
        ("LCS y x", &["keymiss y", "keymiss x"]),
        ("GETEX x", &["keymiss x"]),
        ("GETDEL x", &["keymiss x"]),
        ("COPY x y", &["keymiss x"]),
        ("BITOP OR y x b", &["keymiss x", "new y", "set y"]),
        ("BITFIELD x GET u8 0", &["keymiss x"]),
        ("OBJECT ENCODING x", &[]),
        ("MEMORY USAGE x", &[]),
        ("INCR x", &["new x", "incrby x"]),
        ("RENAME x x", &[]),
        ("SETBIT x 1 1", &["setbit x"]),
        ("SETBIT x 1 1", &[]),
        ("DEL x", &["del x"]),
        ("GETSET x 1", &["keymiss x", "new x", "set x"]),
        ("DEL x y", &["del x", "del y"]),
        ("DEL b nothing", &["del b"]),
        ("SETEX d 100 v", &["new d", "set d", "expire d"]),
        ("PEXPIREAT d 1", &["del d", "expired d"]),
    ];
    for (at, (command, events)) in cases.iter().enumerate() {
        assert_eq!(all[at % WORKERS].run(command).error(), None, "{command}");
        for event in *events {
            let heard = subscriber.read().unwrap_or_else(|error| panic!("{command}, waiting for {event}: {error}"));
            let [_, _, channel, key] = heard.items() else { panic!("{heard:?}") };
            let heard = format!("{} {}", channel.text().trim_start_matches("__keyevent@0__:"), key.text());
            assert_eq!(heard, *event, "{command}");
        }
    }
}

#[test]
fn a_key_that_expires_is_told_of_whether_somebody_looks_or_not() {
    let server = server();
    let mut all = one_to_each(&server);
    all[0].run("CONFIG SET notify-keyspace-events Ex");
    let mut subscriber = server.redis();
    subscriber.run("SUBSCRIBE __keyevent@0__:expired");
    for key in ["swept", "looked-at"] {
        all[1].cmd(&["SET", key, "v", "PX", "20"]);
        if key == "looked-at" {
            let gone = wait_until(Duration::from_secs(5), || all[2].cmd(&["EXISTS", key]) == Reply::Int(0));
            assert!(gone, "{key} does not expire");
        }
        assert_eq!(subscriber.read().unwrap().items()[2], bulk(key));
    }
}

#[test]
fn whoever_changes_a_key_its_readers_are_told() {
    let server = server();
    let mut all = one_to_each(&server);
    let mut readers: Vec<Resp> = one_to_each(&server).into_iter().map(caching).collect();
    for (writer, command) in ["SET k 1", "INCR k", "APPEND k x", "DEL k"].iter().enumerate() {
        for reader in &mut readers {
            reader.run("GET k");
        }
        all[writer].run(command);
        all[writer].run("SET other 1");
        for reader in &mut readers {
            assert_eq!(reader.read().unwrap(), invalidation(&["k"]), "{command}");
        }
    }
    readers.iter_mut().for_each(|reader| drop(reader.run("MGET k other")));
    all[2].run("FLUSHALL");
    readers.iter_mut().for_each(|reader| assert_eq!(reader.read().unwrap(), everything()));
    readers.iter_mut().for_each(|reader| assert_eq!(reader.run("PING"), Reply::Status("PONG".to_owned())));
}

#[test]
fn a_reader_of_its_own_change_is_told_behind_the_reply() {
    let server = server();
    let mut reader = caching(server.redis());
    reader.run("GET k");
    assert_eq!(reader.run("SET k 1"), Reply::ok());
    assert_eq!(reader.read().unwrap(), invalidation(&["k"]));
    assert_eq!(reader.run("CLIENT TRACKING ON NOLOOP"), Reply::ok());
    reader.run("GET k");
    assert_eq!((reader.run("SET k 2"), reader.run("ECHO x")), (Reply::ok(), bulk("x")));
}

#[test]
fn a_client_of_another_worker_is_told_in_place_of_a_reader() {
    let server = server();
    let mut all = one_to_each(&server);
    let mut target = all.remove(3);
    let id = target.run("CLIENT ID").int();
    target.run("SUBSCRIBE __redis__:invalidate");
    let mut reader = all.remove(0);
    assert_eq!(reader.cmd(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id.to_string()]), Reply::ok());
    assert_eq!(reader.run("CLIENT GETREDIR"), Reply::Int(id));
    reader.run("GET k");
    all[0].run("SET k 1");
    let told = vec![bulk("message"), bulk("__redis__:invalidate"), Reply::Array(vec![bulk("k")])];
    assert_eq!(target.read().unwrap(), Reply::Array(told));
    reader.run("HELLO 3");
    reader.run("GET k");
    drop(target);
    let gone = wait_until(Duration::from_secs(10), || !all[0].run("CLIENT LIST").text().contains(&format!("id={id} ")));
    assert!(gone, "the target is listed still");
    all[0].run("SET k 2");
    assert_eq!(reader.read().unwrap(), Reply::Push(vec![bulk("tracking-redir-broken"), Reply::Int(id)]));
    let flags = reader.run("CLIENT TRACKINGINFO").field("flags");
    assert_eq!(flags, Reply::Set(vec![bulk("on"), bulk("broken_redirect")]));
}

#[test]
fn followers_of_a_prefix_are_told_of_keys_that_they_have_not_read() {
    let server = server();
    let mut all = one_to_each(&server);
    let mut follower = server.redis();
    follower.run("HELLO 3");
    follower.run("CLIENT TRACKING ON BCAST PREFIX a: PREFIX b:");
    all[1].run("SET c:1 x");
    all[2].run("SET b:1 x");
    assert_eq!(follower.read().unwrap(), invalidation(&["b:1"]));
    all[3].run("SET a:1 x PX 1");
    assert_eq!(follower.read().unwrap(), invalidation(&["a:1"]));
    assert_eq!(follower.read().unwrap(), invalidation(&["a:1"]), "it has expired");
}

#[test]
fn a_monitor_is_shown_the_commands_of_all_workers() {
    let server = server();
    let mut all = one_to_each(&server);
    let mut monitor = server.redis();
    assert_eq!(monitor.run("MONITOR"), Reply::ok());
    for (worker, client) in all.iter_mut().enumerate() {
        client.run("CONFIG GET maxclients");
        client.cmd(&["SET", &format!("k{worker}"), "a \"b\"\\\r\n\0\u{e9}"]);
        let line = monitor.read().unwrap().text();
        assert!(line.ends_with(&format!(r#""SET" "k{worker}" "a \"b\"\\\r\n\x00\xc3\xa9""#)), "{line}");
        assert!(line.contains(" [0 127.0.0.1:"), "{line}");
    }
    all[0].cmd(&["AUTH", "someone", "secret"]);
    let line = monitor.read().unwrap().text();
    assert!(line.ends_with(r#""AUTH" "(redacted)" "(redacted)""#), "{line}");
    assert_eq!(monitor.run("RESET").text(), "RESET");
    all[1].run("SET k v");
    assert_eq!(monitor.run("ECHO x"), bulk("x"));
}

/// A worker that is overtaken loses what others have said to it. Its clients that are told of keys in the place of others', at other workers,
/// heard nothing of that and kept what was out of date; and one that was killed lived on, and was listed again.
#[test]
fn who_was_overtaken_misses_neither_invalidations_nor_kills() {
    let server = Server::start(&["--workers", &WORKERS.to_string(), "--memory", "16mb"]);
    let mut all = one_to_each(&server);
    let mut target = all.remove(3);
    let stopped = worker_of(&mut target);
    // Those that come to other workers are kept until one comes to this: a new one goes to whoever has the fewest.
    let beside_target = || {
        let mut others: Vec<Resp> = Vec::new();
        loop {
            let mut client = server.redis();
            if worker_of(&mut client) == stopped {
                return client;
            }
            others.push(client);
            assert!(others.len() < 200, "no client comes to worker {stopped}");
        }
    };
    let (mut doomed, mut listener) = (beside_target(), beside_target());
    target.run("HELLO 3");
    listener.run("SUBSCRIBE c");
    let [target_id, doomed_id] = [&mut target, &mut doomed].map(|client| client.run("CLIENT ID").int().to_string());
    all[0].cmd(&["CLIENT", "TRACKING", "ON", "REDIRECT", &target_id]);
    all[0].run("GET k");

    let pid = pid_of(&mut target);
    signal(pid, Signal::SIGSTOP);
    all[0].run("SET k 2");
    assert_eq!(all[1].cmd(&["CLIENT", "KILL", "ID", &doomed_id]), Reply::Int(1));
    let payload = "x".repeat(16 << 10);
    for _ in 0..16 {
        all[0].cmd(&["PUBLISH", "c", &payload]);
        all[1].cmd(&["PUBLISH", "c", &payload]);
    }
    signal(pid, Signal::SIGCONT);
    assert_eq!(target.read().unwrap(), everything());
    assert!(doomed.read_to_close().is_empty());
    let gone = || !all[2].run("CLIENT LIST").text().contains(&format!("id={doomed_id} "));
    assert!(wait_until(Duration::from_secs(10), gone), "it is listed again");
    assert_eq!(target.run("PING").text(), "PONG");
}

/// Reads what a client is told until it is told that everything may have changed; what else it was told.
fn until_everything(client: &mut Resp) -> Vec<Reply> {
    let mut told = Vec::new();
    loop {
        match client.read().unwrap() {
            reply if reply == everything() => return told,
            reply => told.push(reply),
        }
    }
}

#[test]
fn when_a_worker_dies_its_neighbours_clients_forget_everything() {
    let server = server();
    let mut victim = server.redis();
    let doomed = worker_of(&mut victim);
    let mut reader = caching(one_to_each(&server).remove((doomed + 1) % WORKERS));
    reader.run("GET k");
    signal(pid_of(&mut victim), Signal::SIGKILL);
    assert_eq!(until_everything(&mut reader), Vec::new());
}

/// What a client was told until the reply to a command, and the reply.
fn ask(client: &mut Resp, command: &[&str]) -> (Vec<Reply>, Reply) {
    client.send(&encode(command)).unwrap();
    let mut news = Vec::new();
    loop {
        match client.read().unwrap() {
            push @ Reply::Push(_) => news.push(push),
            reply => return (news, reply),
        }
    }
}

/// A worker is killed while it changes a key again and again. A client of another worker that has read the key either has the
/// last value, or was told that it may not have.
#[test]
fn no_change_is_missed_when_the_worker_that_made_it_is_killed() {
    let server = server();
    for round in 0..12 {
        let mut all = one_to_each(&server);
        let mut writer = all.remove(round % WORKERS);
        let mut reader = caching(all.remove(0));
        let pid = pid_of(&mut writer);
        let writing = thread::spawn(move || while writer.try_cmd(&["INCR", "k"]).is_ok() {});
        let start = Instant::now();
        let (mut copy, mut is_old, mut is_dead, mut told_of_death) = (Reply::Null, true, false, false);
        while !told_of_death {
            assert!(start.elapsed() < Duration::from_secs(20), "round {round}: nobody says that the worker died");
            // What is told before the reply is about earlier reads.
            let command: &[&str] = if is_old { &["GET", "k"] } else { &["PING"] };
            let (news, reply) = ask(&mut reader, command);
            if is_old {
                (copy, is_old) = (reply, false);
            } else {
                is_old = !news.is_empty();
            }
            told_of_death = is_dead && news.contains(&everything());
            if !is_dead && start.elapsed() > Duration::from_millis(30 + 7 * round as u64) {
                signal(pid, Signal::SIGKILL);
                is_dead = true;
            }
        }
        writing.join().unwrap();
        let now = all[0].run("GET k");
        is_old |= !ask(&mut reader, &["PING"]).0.is_empty();
        assert!(is_old || copy == now, "round {round}: the copy is {copy:?}, the value {now:?}");
        let back = wait_until(Duration::from_secs(20), || server.workers().len() == WORKERS);
        assert!(back, "the worker is not replaced");
    }
}

/// A response of server-sent events.
struct Events {
    reader: BufReader<TcpStream>,
    /// What has arrived of events that are not whole.
    text: String,
}

impl Events {
    fn open(server: &Server, path: &str) -> Self {
        let stream = TcpStream::connect(server.http()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (&stream).write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut events = Self { reader: BufReader::new(stream), text: String::new() };
        let head: Vec<String> =
            std::iter::from_fn(|| Some(events.line())).take_while(|line| !line.is_empty()).collect();
        assert!(
            head[0].ends_with("200 OK") && head.contains(&"content-type: text/event-stream".to_owned()),
            "{head:?}"
        );
        assert_eq!(events.next(), reset());
        events
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        // A connection that is reset has ended, too.
        let _ = self.reader.read_line(&mut line);
        line.trim_end().to_owned()
    }

    /// The name and the data of the next event.
    fn next(&mut self) -> (String, Value) {
        self.next_or_end().expect("the events go on")
    }

    /// The same; `None` if the connection has ended.
    fn next_or_end(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let Some((name, data)) = event.strip_prefix("event: ").and_then(|event| event.split_once("\ndata: "))
                else {
                    assert!(event.starts_with(':'), "no event: {event:?}");
                    continue;
                };
                return Some((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
            let line = self.line();
            if line.is_empty() {
                return None;
            }
            let len = usize::from_str_radix(&line, 16).expect("a chunk has a length");
            let mut chunk = vec![0; len + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            self.text.push_str(std::str::from_utf8(&chunk[..len]).unwrap());
        }
    }
}

fn reset() -> (String, Value) {
    ("reset".to_owned(), json!({}))
}

fn key_event(event: &str, db: u8, key: Value) -> (String, Value) {
    (event.to_owned(), json!({"event": event, "db": db, "key": key}))
}

#[test]
fn http_clients_are_told_of_the_keys_that_they_watch() {
    let server = server();
    let mut all = one_to_each(&server);
    let mut watchers: Vec<Events> = (0..6).map(|_| Events::open(&server, "/watch?prefix=a%3A&prefix=%FF")).collect();
    let mut everything = Events::open(&server, "/watch");
    all[0].run("SET other 1");
    all[1].run("SET a:1 x EX 100");
    all[2].cmd(&[&b"INCR"[..], b"\xff\n"]);
    let mut web = server.web();
    assert_eq!(web.request("PUT", "/kv/a:2", &[], Some(b"x")).status, 204);
    assert_eq!(web.call("DELETE", "/kv/a:2").status, 204);
    all[3].run("SELECT 5");
    all[3].run("FLUSHDB");
    let seen = [
        key_event("set", 0, json!("a:1")),
        key_event("expire", 0, json!("a:1")),
        key_event("incrby", 0, json!({"base64": "/wo="})),
        key_event("set", 0, json!("a:2")),
        key_event("del", 0, json!("a:2")),
        ("flush".to_owned(), json!({"db": 5})),
    ];
    for watcher in &mut watchers {
        // What different workers say may arrive in any order.
        let mut events: Vec<_> = seen.iter().map(|_| watcher.next()).collect();
        let mut expected = seen.to_vec();
        events.sort_by_key(|event| format!("{event:?}"));
        expected.sort_by_key(|event| format!("{event:?}"));
        assert_eq!(events, expected);
    }
    let first = everything.next();
    assert!(seen.contains(&first) || first == key_event("set", 0, json!("other")), "{first:?}");
}

#[test]
fn a_watcher_is_told_when_it_may_have_missed_something() {
    let server = server();
    let mut watchers: Vec<Events> = (0..8).map(|_| Events::open(&server, "/watch")).collect();
    let mut victim = server.redis();
    signal(pid_of(&mut victim), Signal::SIGKILL);
    let told: Vec<_> = watchers.iter_mut().filter_map(Events::next_or_end).collect();
    assert!(!told.is_empty() && told.iter().all(|event| *event == reset()), "{told:?}");
}

#[test]
fn a_watch_ends_with_its_worker() {
    let mut server = server();
    let mut watcher = Events::open(&server, "/watch");
    server.signal(Signal::SIGTERM);
    assert!(server.wait(Duration::from_secs(4)).is_some(), "the stop waits for a watcher");
    let mut rest = Vec::new();
    watcher.reader.read_to_end(&mut rest).unwrap_or_default();
}
