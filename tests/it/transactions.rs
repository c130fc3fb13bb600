//! Transactions over several workers: nobody sees half of one, whoever serves whom and whoever is killed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::harness::{Random, Reply, Resp, Server, encode, signal, wait_until};

const ACCOUNTS: usize = 8;
const EACH: i64 = 1000;

fn server() -> Server {
    Server::start(&["--workers", "4", "--table", "accounts:16:n=int"])
}

/// Sends commands at once; the last reply.
fn pipeline(link: &mut Resp, lines: &[String]) -> std::io::Result<Reply> {
    let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(&line.split(' ').collect::<Vec<_>>())).collect();
    link.send(&bytes)?;
    let replies: Vec<Reply> = lines.iter().map(|_| link.read()).collect::<Result<_, _>>()?;
    Ok(replies.last().cloned().unwrap_or(Reply::Null))
}

fn fill(redis: &mut Resp) {
    for i in 0..ACCOUNTS {
        assert_eq!(redis.run(&format!("SET account:{i} {EACH}")), Reply::ok());
        assert!(redis.run(&format!("TABLE.SET accounts {i} n {EACH}")).error().is_none());
    }
}

/// The sums of all accounts, of keys and of rows, each at one instant.
fn sums(link: &mut Resp) -> std::io::Result<(i64, i64)> {
    let keys: Vec<String> = (0..ACCOUNTS).map(|i| format!("account:{i}")).collect();
    let rows: Vec<String> = (0..ACCOUNTS).map(|i| i.to_string()).collect();
    let exec = pipeline(
        link,
        &[
            "MULTI".into(),
            format!("MGET {}", keys.join(" ")),
            format!("TABLE.MGET accounts {}", rows.join(" ")),
            "EXEC".into(),
        ],
    )?;
    let keys = exec.items()[0].items().iter().map(|value| value.text().parse::<i64>().unwrap()).sum();
    let rows = exec.items()[1].items().iter().map(|row| row.field("n").int()).sum();
    Ok((keys, rows))
}

/// Moves between keys and between rows in one transaction.
fn transfer(link: &mut Resp, random: &mut Random) -> std::io::Result<Reply> {
    let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
    let by = 1 + random.below(9);
    pipeline(
        link,
        &[
            "MULTI".into(),
            format!("DECRBY account:{from} {by}"),
            format!("TABLE.DECR accounts {from} n {by}"),
            format!("INCRBY account:{to} {by}"),
            format!("TABLE.INCR accounts {to} n {by}"),
            "EXEC".into(),
        ],
    )
}

#[test]
fn sums_stay_while_workers_are_killed() {
    let (server, mut random) = (server(), Random::new());
    fill(&mut server.redis());
    let (over, resp) = (Arc::new(AtomicBool::new(false)), server.resp());
    let clients: Vec<_> = (0..4)
        .map(|i| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let (mut random, mut done, mut broken) = (Random::new(), 0, 0);
                let mut link = None;
                while !over.load(Ordering::Relaxed) {
                    let open = link.get_or_insert_with(|| Resp::open(resp).expect("a connection attempt was refused"));
                    // One of the clients looks, the others move.
                    let went = if i == 0 {
                        sums(open).map(|sums| assert_eq!(sums, (ACCOUNTS as i64 * EACH, ACCOUNTS as i64 * EACH)))
                    } else {
                        transfer(open, &mut random).map(|reply| assert_eq!(reply.items().len(), 4))
                    };
                    match went {
                        Ok(()) => done += 1,
                        Err(_) => {
                            link = None;
                            broken += 1;
                        }
                    }
                }
                (done, broken)
            })
        })
        .collect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        thread::sleep(Duration::from_millis(40));
        if let Some(victim) = random.choose(&server.workers()) {
            signal(victim, Signal::SIGKILL);
        }
    }
    over.store(true, Ordering::Relaxed);
    let ended: Vec<(u64, u64)> = clients.into_iter().map(|client| client.join().expect("a client failed")).collect();
    let (done, broken) = ended.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    eprintln!("{done} transactions, {broken} connections broken");
    assert!(done > 100 && broken > 0, "the kills missed the clients");
    assert_eq!(sums(&mut server.redis()).unwrap(), (ACCOUNTS as i64 * EACH, ACCOUNTS as i64 * EACH));
}

/// Connections to so many different workers.
fn to_different_workers(server: &Server, count: usize) -> Vec<Resp> {
    let mut found: Vec<(i32, Resp)> = Vec::new();
    let complete = wait_until(Duration::from_secs(10), || {
        let mut link = server.redis();
        assert_eq!(link.run("PING"), Reply::Status("PONG".to_owned()));
        if let Some(owner) = server.owners([link.stream()]).first().copied().flatten()
            && found.iter().all(|(other, _)| *other != owner)
        {
            found.push((owner, link));
        }
        found.len() == count
    });
    assert!(complete, "only {} workers ever answered", found.len());
    found.into_iter().map(|(_, link)| link).collect()
}

#[test]
fn a_watched_key_is_watched_over_all_workers() {
    let server = server();
    let mut links = to_different_workers(&server, 2);
    let [one, other] = &mut links[..] else { unreachable!("two were asked for") };
    for (before, between, touched) in [
        ("SET k 1", "SET k 2", true),
        ("SET k 1", "SET k 1", true),
        ("SET k 1", "GET k", false),
        ("SET k 1", "SET other 1", false),
        ("SET k 1", "EXPIRE k 100", true),
        ("SET k 1", "FLUSHALL", true),
        ("DEL k", "FLUSHALL", false),
        ("DEL k", "SET k 1", true),
        ("SET k 1", "RENAME k other", true),
    ] {
        one.run(before);
        assert_eq!(one.run("WATCH k"), Reply::ok());
        other.run(between);
        let exec = pipeline(one, &["MULTI".into(), "SET done 1".into(), "EXEC".into()]).unwrap();
        assert_eq!(exec == Reply::Null, touched, "{before}, then {between}: {exec:?}");
    }
}

#[test]
fn nobody_loses_a_race_unnoticed() {
    const CLIENTS: usize = 4;
    const ROUNDS: i64 = 50;
    let server = server();
    let resp = server.resp();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            thread::spawn(move || {
                let mut link = Resp::open(resp).unwrap();
                let mut won = 0;
                while won < ROUNDS {
                    assert_eq!(link.run("WATCH n"), Reply::ok());
                    let n = match link.run("GET n") {
                        Reply::Null => 0,
                        value => value.text().parse::<i64>().unwrap(),
                    };
                    let exec =
                        pipeline(&mut link, &["MULTI".into(), format!("SET n {}", n + 1), "EXEC".into()]).unwrap();
                    won += i64::from(exec != Reply::Null);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(server.redis().run("GET n"), Reply::bulk((CLIENTS as i64 * ROUNDS).to_string()));
}

#[test]
fn replies_are_bounded_and_nothing_happens_then() {
    let server = Server::start(&["--workers", "1", "--output-limit", "1mb"]);
    let mut redis = server.redis();
    redis.cmd(&["SET", "large", &"x".repeat(300_000)]);
    let mut lines = vec!["MULTI".to_owned(), "SET k 1".to_owned()];
    lines.extend((0..8).map(|_| "GET large".to_owned()));
    lines.push("EXEC".to_owned());
    let exec = pipeline(&mut redis, &lines).unwrap();
    assert_eq!(exec.error(), Some("ERR"), "{exec:?}");
    assert_eq!(redis.run("GET k"), Reply::Null);
}

/// RESTORE with REPLACE deletes the key first; refused inside EXEC for want of memory, it kept the deletion.
#[test]
fn a_command_of_several_steps_that_is_refused_has_changed_nothing() {
    let server = Server::start(&["--workers", "1", "--memory", "32mb"]);
    let mut redis = server.redis();
    for field in 0..200 {
        assert_eq!(redis.cmd(&["HSET", "hash", &field.to_string(), &"v".repeat(10_000)]).int(), 1);
    }
    let Reply::Bulk(dump) = redis.run("DUMP hash") else { panic!("no dump") };
    let mut filling = 0;
    while redis.cmd(&["SET", &format!("filling {filling}"), &"f".repeat(10_000)]) == Reply::ok() {
        filling += 1;
    }
    // Room for a log, and for a part of the hash.
    (0..50).for_each(|number| assert_eq!(redis.cmd(&["DEL", &format!("filling {number}")]).int(), 1));
    redis.run("MULTI");
    redis.run("SET before 1");
    redis.cmd(&[b"RESTORE", &b"hash"[..], b"0", &dump, b"REPLACE"]);
    redis.run("COPY hash copy");
    redis.run("SET after 1");
    let exec = redis.run("EXEC");
    let errors: Vec<Option<&str>> = exec.items().iter().map(Reply::error).collect();
    assert_eq!(errors, [None, Some("OOM"), Some("OOM"), None]);
    assert_eq!((redis.run("HLEN hash").int(), redis.run("EXISTS copy before after").int()), (200, 2));
    assert_eq!(redis.run("HGET hash 199"), Reply::bulk("v".repeat(10_000)));
}
