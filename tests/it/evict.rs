//! What goes when memory runs short: over several workers, while some of them are killed, and without a wrong value ever.

use std::{thread, time::Duration};

use nix::sys::signal::Signal;

use crate::harness::{Random, Reply, Resp, Server, signal, wait_until};

const POLICIES: [&str; 7] =
    ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"];
/// Keys that each client writes.
const KEYS: u32 = 4000;

/// What a key holds: its name over and over, in a length of its own.
fn value(key: &str, number: u32) -> Vec<u8> {
    key.bytes().cycle().take(100 + (number as usize * 131) % 4000).collect()
}

/// Writes keys and reads them back, through deaths of the worker it speaks to.
fn fill(server: &Server, client: u32) {
    let mut connection = server.redis();
    for number in 0..KEYS {
        let key = format!("{client}:{number}");
        let value = value(&key, number);
        let answer = connection.try_cmd(&[b"SET", key.as_bytes(), &value, b"EX", b"1000"]);
        match answer {
            Ok(answer) => assert_eq!(answer, Reply::ok(), "{key}"),
            Err(_) => connection = reconnected(server),
        }
        let read = format!("{client}:{}", number.saturating_sub(number % 97));
        if let Ok(found @ Reply::Bulk(_)) = connection.try_cmd(&["GET", &read]) {
            let number = read.split_once(':').unwrap().1.parse().unwrap();
            assert_eq!(found, Reply::bulk(self::value(&read, number)), "{read}");
        }
    }
}

fn reconnected(server: &Server) -> Resp {
    let mut made = None;
    assert!(wait_until(Duration::from_secs(20), || {
        made = Resp::open(server.resp()).ok();
        made.is_some()
    }));
    made.expect("there is one")
}

#[test]
fn every_policy_makes_room_while_workers_are_killed() {
    let mut random = Random::new();
    for policy in POLICIES {
        let server = Server::start(&["--workers", "3", "--memory", "16mb", "--maxmemory-policy", policy]);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..3)
                .map(|client| {
                    scope.spawn({
                        let server = &server;
                        move || fill(server, client)
                    })
                })
                .collect();
            while clients.iter().any(|client| !client.is_finished()) {
                if let Some(victim) = random.choose(&server.workers()) {
                    signal(victim, Signal::SIGKILL);
                }
                thread::sleep(Duration::from_millis(150));
            }
        });
        let mut connection = reconnected(&server);
        assert!(connection.run("DBSIZE").int() > 500, "{policy}");
        let stats = connection.run("INFO stats").text();
        assert!(!stats.contains("evicted_keys:0\r\n"), "{policy}: {stats}");
        assert!(connection.run("INFO memory").text().contains(&format!("maxmemory_policy:{policy}")));
    }
}

#[test]
fn maxmemory_is_set_for_all_workers() {
    let server = Server::start(&["--workers", "2", "--maxmemory", "1kb"]);
    let mut connection = server.redis();
    let refused = connection.run("SET key value");
    assert_eq!(refused.error(), Some("OOM"), "{refused:?}");
    assert_eq!(connection.run("DEL key").int(), 0);
    assert_eq!(connection.run("CONFIG SET maxmemory 0"), Reply::ok());
    // Another worker may be told a moment later.
    for _ in 0..8 {
        let mut other = server.redis();
        assert!(wait_until(Duration::from_secs(5), || other.run("SET key value") == Reply::ok()));
    }
    let used: u64 = connection
        .run("INFO memory")
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:")?.parse().ok())
        .unwrap();
    let limit = (used + (2 << 20)).to_string();
    assert_eq!(connection.cmd(&["CONFIG", "SET", "maxmemory", &limit, "maxmemory-policy", "allkeys-lru"]), Reply::ok());
    for number in 0..6000 {
        let key = format!("key:{number}");
        assert_eq!(connection.cmd(&[b"SET", key.as_bytes(), &value(&key, number)]), Reply::ok());
    }
    let kept = connection.run("DBSIZE").int();
    assert!((100..3000).contains(&kept), "{kept}");
}
