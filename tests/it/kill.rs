//! What dies, dies alone: `kill -9` and SIGSTOP of workers under load, and `kill -9` of everything at once.

use std::{
    collections::BTreeSet,
    io, thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    harness::{Http, Random, Reply, Resp, Server, alive, segment_name, signal, wait_until},
    load::{HANG, Load, TABLES, audit, total},
};

const WORKERS: usize = 8;

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
    own_commands().flatten().for_each(|command| assert!(redis.run(&command).error().is_none()));
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
fn own_commands() -> impl Iterator<Item = [String; 3]> {
    (0..3 * WORKERS).map(|i| [format!("COUNTER.INCR own{i}"), format!("INCR own:{i}"), "PING".to_owned()])
}

/// Asks every worker but the stopped one, again and again, for what no stopped worker can hold.
fn others_answer(server: &Server, stopped: i32, until: Duration) -> Result<(), String> {
    let end = Instant::now() + until;
    let mut rounds = 0;
    let mut links: Vec<Resp> = own_commands().map(|_| server.redis()).collect();
    // The stopped worker may have been about to accept one of them.
    let mut owners = Vec::new();
    let accepted = wait_until(until / 2, || {
        owners = server.owners(links.iter().map(Resp::stream));
        owners.iter().flatten().filter(|&&owner| owner != stopped).count() >= links.len() - 1
    });
    if !accepted {
        return Err(format!("the other workers do not accept connections: {stopped} is stopped, {owners:?} serve"));
    }
    let mut owners = owners.into_iter();
    links.retain(|_| owners.next().flatten().is_some_and(|owner| owner != stopped));
    while Instant::now() < end {
        for (redis, commands) in links.iter_mut().zip(own_commands()) {
            redis.patience(Duration::from_secs(2));
            for command in commands {
                let words: Vec<&str> = command.split(' ').collect();
                let answer = redis.try_cmd(&words).map_err(|error| format!("{command}: {error}"))?;
                if answer.error().is_some() {
                    return Err(format!("{command}: {answer:?}"));
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
        load.expect_the_end();
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
