//! What concerns all clients holds for those of every worker, whichever worker is told: CLIENT KILL and PAUSE, CONFIG SET, the log of slow
//! commands, the counts of INFO, SHUTDOWN.

use std::{collections::BTreeMap, time::Duration};

use crate::harness::{Reply, Resp, Server, encode, wait_until};

const WORKERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);

fn server() -> Server {
    Server::start(&["--workers", &WORKERS.to_string()])
}

/// A field of the line by which a client describes itself.
fn own(client: &mut Resp, field: &str) -> String {
    let info = client.run("CLIENT INFO").text();
    let value = info.split_whitespace().find_map(|part| part.strip_prefix(field)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {field} in {info}")).to_owned()
}

/// A client of each worker.
fn one_to_each(server: &Server) -> Vec<Resp> {
    let mut found = BTreeMap::new();
    let complete = wait_until(PATIENCE, || {
        let mut client = server.redis();
        found.entry(own(&mut client, "worker")).or_insert(client);
        found.len() == WORKERS
    });
    assert!(complete, "only workers {:?} ever answered", found.keys());
    found.into_values().collect()
}

/// A line of INFO.
fn info(client: &mut Resp, section: &str, name: &str) -> Option<String> {
    let text = client.run(&format!("INFO {section}")).text();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned()))
}

#[test]
fn a_client_is_closed_from_any_worker() {
    let server = server();
    let mut all = one_to_each(&server);
    for killer in 0..WORKERS {
        for victim in (0..WORKERS).filter(|victim| *victim != killer) {
            let (id, addr) = (own(&mut all[victim], "id"), own(&mut all[victim], "addr"));
            let killed = match victim % 2 {
                0 => all[killer].run(&format!("CLIENT KILL ID {id}")) == Reply::Int(1),
                _ => all[killer].run(&format!("CLIENT KILL {addr}")) == Reply::ok(),
            };
            assert!(killed, "{id} at {addr}");
            assert_eq!(all[killer].run(&format!("CLIENT LIST ID {id}")).text(), "");
            assert!(all[victim].read_to_close().is_empty());
            let worker = (0..).map(|_| server.redis()).find_map(|mut client| {
                let worker = own(&mut client, "worker").parse::<usize>().unwrap();
                (worker == victim).then_some(client)
            });
            all[victim] = worker.unwrap();
        }
    }
}

#[test]
fn all_clients_are_closed_and_who_asked_has_its_reply_first() {
    let server = server();
    let mut all = one_to_each(&server);
    let connected: i64 = info(&mut all[0], "clients", "connected_clients").unwrap().parse().unwrap();
    assert!(connected >= WORKERS as i64);
    let killed = all[0].run("CLIENT KILL SKIPME NO").int();
    assert!((WORKERS as i64..=connected).contains(&killed), "{killed} of {connected}");
    all.iter_mut().for_each(|client| assert!(client.read_to_close().is_empty()));
    assert_eq!(server.redis().run("PING").text(), "PONG");
}

#[test]
fn a_pause_holds_back_the_writes_of_every_worker() {
    let server = server();
    let mut all = one_to_each(&server);
    assert_eq!(all[0].run("CLIENT PAUSE 100000 WRITE"), Reply::ok());
    for (at, client) in all.iter_mut().enumerate() {
        assert_eq!(client.run("GET none"), Reply::Null);
        client.send(&encode(&["SET", &format!("k{at}"), "1"])).unwrap();
        client.send(&encode(&["PING"])).unwrap();
    }
    let mut watcher = server.redis();
    let blocked = |watcher: &mut Resp| info(watcher, "clients", "blocked_clients").unwrap();
    assert!(wait_until(PATIENCE, || blocked(&mut watcher) == WORKERS.to_string()), "{}", blocked(&mut watcher));
    assert_eq!(watcher.run("DBSIZE"), Reply::Int(0));
    assert!(watcher.run("CLIENT LIST FLAGS b").text().lines().count() == WORKERS);
    // One who hangs up has not written.
    let mut fickle = server.redis();
    fickle.send(&encode(&["SET", "fickle", "1"])).unwrap();
    assert!(wait_until(PATIENCE, || blocked(&mut watcher) == (WORKERS + 1).to_string()));
    drop(fickle);
    assert!(wait_until(PATIENCE, || blocked(&mut watcher) == WORKERS.to_string()));
    assert_eq!(watcher.run("CLIENT UNPAUSE"), Reply::ok());
    for client in &mut all {
        assert_eq!(client.read().unwrap(), Reply::ok());
        assert_eq!(client.read().unwrap().text(), "PONG");
    }
    assert_eq!(watcher.run("DBSIZE"), Reply::Int(WORKERS as i64));
    assert_eq!(blocked(&mut watcher), "0");
}

#[test]
fn a_pause_of_everything_ends_by_itself() {
    let server = server();
    let mut all = one_to_each(&server);
    assert_eq!(all[1].run("CLIENT PAUSE 300"), Reply::ok());
    let paused = std::time::Instant::now();
    for client in &mut all {
        assert_eq!(client.run("PING").text(), "PONG");
    }
    assert!(paused.elapsed() >= Duration::from_millis(250));
}

#[test]
fn a_paused_client_can_be_closed() {
    let server = server();
    let mut all = one_to_each(&server);
    let id = own(&mut all[1], "id");
    all[0].run("CLIENT PAUSE 100000 WRITE");
    all[1].send(&encode(&["SET", "a", "1"])).unwrap();
    assert!(wait_until(PATIENCE, || info(&mut all[0], "clients", "blocked_clients").unwrap() == "1"));
    assert_eq!(all[0].run(&format!("CLIENT KILL ID {id}")), Reply::Int(1));
    assert!(all[1].read_to_close().is_empty());
    assert!(wait_until(PATIENCE, || info(&mut all[0], "clients", "blocked_clients").unwrap() == "0"));
    all[0].run("CLIENT UNPAUSE");
    assert_eq!(all[0].run("GET a"), Reply::Null);
}

#[test]
fn the_slow_log_is_one_for_all_workers() {
    let server = server();
    let mut all = one_to_each(&server);
    assert_eq!(all[0].run("CONFIG SET slowlog-log-slower-than 0"), Reply::ok());
    for (at, client) in all.iter_mut().enumerate() {
        client.run(&format!("GET of-worker-{at}"));
    }
    assert_eq!(all[1].run("CONFIG SET slowlog-log-slower-than -1"), Reply::ok());
    let log = all[2].run("SLOWLOG GET -1");
    let logged = |name: &str| {
        let names_it = |entry: &&Reply| entry.items()[3].items().iter().any(|arg| arg.text() == name);
        log.items().iter().filter(names_it).count()
    };
    (0..WORKERS).for_each(|at| assert_eq!(logged(&format!("of-worker-{at}")), 1, "{log:?}"));
    let numbers: Vec<i64> = log.items().iter().map(|entry| entry.items()[0].int()).collect();
    assert!(numbers.is_sorted_by(|one, next| one > next), "{numbers:?}");
    assert_eq!(all[3].run("SLOWLOG LEN").int() as usize, numbers.len());
    assert_eq!(all[3].run("SLOWLOG RESET"), Reply::ok());
    assert_eq!(all[2].run("SLOWLOG LEN"), Reply::Int(0));
}

#[test]
fn counts_are_those_of_all_workers() {
    let server = server();
    let mut all = one_to_each(&server);
    for client in &mut all {
        client.run("SET a x");
        client.run("GET a");
        client.run("INCR a");
        client.run("GET");
    }
    let stat = |client: &mut Resp, name: &str| info(client, "commandstats", &format!("cmdstat_{name}"));
    let workers = WORKERS.to_string();
    let get = stat(&mut all[0], "get").unwrap();
    assert!(get.starts_with(&format!("calls={workers},usec=")), "{get}");
    assert!(get.ends_with(&format!(",rejected_calls={workers},failed_calls=0")), "{get}");
    let incr = stat(&mut all[1], "incr").unwrap();
    assert!(incr.ends_with(&format!(",rejected_calls=0,failed_calls={workers}")), "{incr}");
    let errors = info(&mut all[2], "errorstats", "errorstat_ERR").unwrap();
    assert_eq!(errors, format!("count={}", 2 * WORKERS));
    let histogram = all[3].run("LATENCY HISTOGRAM get").field("get");
    assert_eq!(histogram.field("calls"), Reply::Int(WORKERS as i64));
    assert!(info(&mut all[3], "latencystats", "latency_percentiles_usec_get").unwrap().starts_with("p50="));
    assert_eq!(all[0].run("CONFIG RESETSTAT"), Reply::ok());
    assert_eq!(stat(&mut all[1], "get"), None);
    assert_eq!(info(&mut all[2], "errorstats", "errorstat_ERR"), None);
    all[1].run("GET a");
    assert!(stat(&mut all[3], "get").unwrap().starts_with("calls=1,"));
}

#[test]
fn replies_that_nobody_wants_are_not_sent() {
    let server = server();
    let mut client = server.redis();
    for request in ["CLIENT REPLY OFF", "PING", "NONSENSE"] {
        client.send(&encode(&request.split(' ').collect::<Vec<_>>())).unwrap();
    }
    assert_eq!(client.run("CLIENT REPLY ON"), Reply::ok());
    client.send(&[encode(&["CLIENT", "REPLY", "SKIP"]), encode(&["SET", "a", "1"])].concat()).unwrap();
    assert_eq!(client.run("GET a").text(), "1");
}

#[test]
fn shutdown_ends_the_server() {
    let mut server = server();
    let mut client = server.redis();
    assert_eq!(client.run("SHUTDOWN SAVE").error(), Some("ERR"));
    client.send(&encode(&["SHUTDOWN", "NOSAVE"])).unwrap();
    assert!(client.read_to_close().is_empty());
    let status = server.wait(PATIENCE).expect("the server ended");
    assert!(status.success(), "{status}");
}
