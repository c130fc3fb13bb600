//! Start and stop: options, refusals, the ready line, draining, passwords, hosts, limits on clients.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Http, Reply, Resp, Server, Start, alive, run, segment_name, wait_until};

#[track_caller]
fn refused(args: &[&str], said: &[&str]) {
    let out = Start::new(args).refused();
    assert_eq!(out.code, Some(2), "{args:?}: {out:?}");
    assert!(out.stdout.is_empty(), "a refusal belongs on standard error: {out:?}");
    for part in said {
        assert!(out.stderr.contains(part), "{args:?} does not say {part:?}: {}", out.stderr);
    }
}

#[test]
fn the_ready_line() {
    let server = Server::start(&["--workers", "3"]);
    let line = server.greeting.last().unwrap();
    let names: Vec<&str> = line.split(' ').skip(1).map(|field| field.split('=').next().unwrap()).collect();
    assert_eq!(names, ["pid", "workers", "http", "resp", "segment", "memory"], "{line}");
    assert_eq!(server.field("pid"), server.pid().to_string());
    assert_eq!(server.field("workers"), "3");
    assert_eq!(server.field("segment"), "anonymous");
    assert_eq!(server.field("memory"), (64_u64 << 20).to_string());
    assert_ne!(server.http().port(), 0);
    assert_ne!(server.resp().port(), 0);
    assert!(server.greeting.len() >= 3, "one line per listener and the ready line: {:?}", server.greeting);
    assert_eq!(server.workers().len(), 3);
}

#[test]
fn a_listener_can_be_off() {
    let server = Server::start(&["--workers", "1", "--http", "off"]);
    assert_eq!(server.field("http"), "off");
    assert_eq!(server.redis().run("PING"), Reply::Status("PONG".to_owned()));
    let server = Server::start(&["--workers", "1", "--resp", "off"]);
    assert_eq!(server.field("resp"), "off");
    assert_eq!(server.web().get("/healthz").status, 200);
    refused(&["--workers", "1", "--resp", "off", "--http", "off"], &["--http"]);
}

#[test]
fn help_and_version() {
    let program = env!("CARGO_BIN_EXE_store-master");
    let help = run(program, &["--help"]).text();
    for option in ["--workers", "--http", "--resp", "--memory", "--segment", "--table", "--requirepass", "--config"] {
        assert!(help.contains(option), "{option} in {help}");
    }
    assert!(help.contains("STORE_MASTER_WORKERS") || help.contains("STORE_MASTER_"), "{help}");
    assert!(run(program, &["--version"]).text().contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_options_are_refused() {
    refused(&["--workers", "0"], &["workers"]);
    refused(&["--workers", "100000"], &["workers"]);
    refused(&["--workers", "many"], &["workers"]);
    refused(&["--nosuch"], &["--nosuch"]);
    refused(&["--memory", "lots"], &["memory"]);
    refused(&["--http", "nonsense"], &["http"]);
    refused(&["--resp", "127.0.0.1"], &["resp"]);
    refused(&["--segment", "a/b"], &["segment"]);
    refused(&["--segment", ""], &["segment"]);
    refused(&["--segment-mode", "999"], &["segment-mode"]);
    refused(&["--max-value", "999gb"], &["max-value"]);
    refused(&["--config", "/nonexistent/file.toml"], &["/nonexistent/file.toml"]);
    refused(&["--log-level", "shouting"], &["log-level"]);
    refused(&["--log-format", "xml"], &["log-format"]);
    for spec in
        ["t", "t:0:n=int", "t:x:n=int", "t:4:", "t:4:n", "t:4:n=blob", "t:4:n=string", "t:4:n=int,n=int", "a b:4:n=int"]
    {
        refused(&["--table", spec], &[]);
    }
    refused(&["--table", "t:4:n=int", "--table", "t:5:n=int"], &["t"]);
}

#[test]
fn ports_in_use_are_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    refused(&["--workers", "1", "--http", &addr], &[&addr]);
    refused(&["--workers", "1", "--resp", &addr], &[&addr]);
}

#[test]
fn memory_that_does_not_do_is_refused_with_the_figure() {
    let out = Start::new(&["--workers", "2", "--memory", "64kb"]).refused();
    assert_eq!(out.code, Some(2), "{out:?}");
    assert!(out.stderr.contains("--memory"), "{out:?}");
    assert!(out.stderr.chars().any(|c| c.is_ascii_digit()), "no figure: {out:?}");
    refused(&["--workers", "2", "--memory", "900tb"], &["memory"]);
    refused(&["--workers", "2", "--memory", "8mb", "--table", "t:1000000:s=string(1000)"], &[]);
}

#[test]
fn the_figure_needed_is_enough() {
    let out = Start::new(&["--workers", "2", "--memory", "64kb"]).refused();
    let figures = out
        .stderr
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    // The largest size named is the one needed.
    let size = |word: &str| {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = match word[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1 << 10,
            "mb" => 1 << 20,
            _ => return None,
        };
        digits.parse::<u64>().ok().map(|n| n * unit)
    };
    let needed = figures.filter_map(size).max().unwrap();
    assert!(needed < 64 << 20, "{needed} bytes for an empty store of 2 workers");
    Server::start(&["--workers", "2", "--memory", &needed.to_string()]);
}

#[test]
fn settings_from_environment_and_file() {
    let file = std::env::temp_dir().join(format!("store-master-it-{}.toml", std::process::id()));
    std::fs::write(&file, "workers = 1\ncounters = 64\nmax-clients = 77\ntable = [\"filed:4:n=int\"]\n").unwrap();
    let server = Start::new(&["--config", file.to_str().unwrap(), "--max-clients", "55"])
        .env("STORE_MASTER_WORKERS", "2")
        .env("STORE_MASTER_MAX_CLIENTS", "66")
        .server();
    assert_eq!(server.field("workers"), "2", "environment beats file");
    let mut redis = server.redis();
    assert_eq!(redis.run("CONFIG GET maxclients").field("maxclients").text(), "55", "command line beats environment");
    assert_eq!(redis.run("TABLE.LIST").items()[0].text(), "filed");
    std::fs::write(&file, "nonsense = 1\n").unwrap();
    refused(&["--config", file.to_str().unwrap()], &["nonsense"]);
    std::fs::write(&file, "workers = \n").unwrap();
    refused(&["--config", file.to_str().unwrap()], &[]);
    std::fs::remove_file(&file).unwrap();
    let tables =
        Start::new(&["--workers", "1"]).env("STORE_MASTER_TABLE", "one:4:n=int;two:4:key=32,s=string(4)").server();
    assert_eq!(tables.redis().run("TABLE.LIST").items().len(), 2);
}

#[test]
fn sigterm_drains() {
    for what in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start(&["--workers", "4"]);
        let workers = server.workers();
        let mut redis = server.redis();
        assert_eq!(redis.run("SET k v"), Reply::ok());
        let http = server.http();
        server.signal(what);
        let status = server.wait(Duration::from_secs(10)).expect("the master ends");
        assert_eq!(status.code(), Some(0), "{}", server.stderr());
        assert!(wait_until(Duration::from_secs(2), || !workers.iter().any(|&pid| alive(pid))));
        redis.read_to_close();
        assert!(Http::open(http).is_err(), "the port is free again");
    }
}

#[test]
fn a_running_request_is_finished_before_the_end() {
    let mut server = Server::start(&["--workers", "2"]);
    let mut web = server.web();
    assert_eq!(web.get("/healthz").status, 200);
    web.send(b"PUT /kv/last HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\n\r\nabc").unwrap();
    thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    thread::sleep(Duration::from_millis(300));
    web.send(b"def").unwrap();
    let answer = web.read(false).unwrap();
    assert!(matches!(answer.status, 204 | 503), "{}", answer.status);
    assert_eq!(server.wait(Duration::from_secs(10)).and_then(|status| status.code()), Some(0));
}

#[test]
fn the_drain_has_an_end() {
    let mut server = Server::start(&["--workers", "2", "--drain-timeout", "1"]);
    let mut web = server.web();
    assert_eq!(web.get("/healthz").status, 200);
    web.send(b"PUT /kv/never HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\n\r\nabc").unwrap();
    thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(Duration::from_secs(10)).and_then(|status| status.code()), Some(0), "{}", server.stderr());
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut server = Server::start(&["--workers", "2", "--drain-timeout", "60"]);
    let mut web = server.web();
    assert_eq!(web.get("/healthz").status, 200);
    web.send(b"PUT /kv/never HTTP/1.1\r\nhost: localhost\r\ncontent-length: 6\r\n\r\nabc").unwrap();
    thread::sleep(Duration::from_millis(200));
    server.signal(Signal::SIGTERM);
    assert!(server.wait(Duration::from_millis(500)).is_none(), "a drain waits for the running request");
    server.signal(Signal::SIGTERM);
    assert!(server.wait(Duration::from_secs(5)).is_some(), "the second signal does not end it");
}

#[test]
fn a_password_is_asked_for() {
    let server = Server::start(&["--workers", "2", "--requirepass", "s3cret"]);
    let mut redis = server.redis();
    for command in ["GET k", "SET k v", "PING", "INFO", "COUNTER.INCR c", "TABLE.LIST", "CLIENT LIST"] {
        assert_eq!(redis.run(command).error(), Some("NOAUTH"), "{command}");
    }
    assert_eq!(redis.run("AUTH wrong").error(), Some("WRONGPASS"));
    assert_eq!(redis.run("AUTH nobody s3cret").error(), Some("WRONGPASS"));
    assert_eq!(redis.run("HELLO 3").error(), Some("NOAUTH"));
    assert_eq!(redis.run("AUTH s3cret"), Reply::ok());
    assert_eq!(redis.run("SET k v"), Reply::ok());
    assert_eq!(server.redis().run("AUTH default s3cret"), Reply::ok());
    let mut redis = server.redis();
    assert!(matches!(redis.run("HELLO 3 AUTH default s3cret"), Reply::Map(_)));
    assert_eq!(redis.run("GET k"), Reply::bulk("v"));
    assert_eq!(redis.run("RESET"), Reply::Status("RESET".to_owned()));
    assert_eq!(redis.run("GET k").error(), Some("NOAUTH"));

    let mut web = server.web();
    for path in ["/kv/k", "/stats", "/tables", "/metrics"] {
        let answer = web.get(path);
        assert_eq!(answer.status, 401, "{path}");
    }
    let ask = |web: &mut Http, password: &str| {
        web.request("GET", "/kv/k", &[("authorization", &format!("Bearer {password}"))], None)
    };
    assert_eq!(ask(&mut web, "wrong").status, 401);
    assert_eq!(ask(&mut web, "s3cretx").status, 401);
    assert_eq!(ask(&mut web, "").status, 401);
    assert_eq!(ask(&mut web, "s3cret").body, b"v");
    assert_eq!(web.get("/healthz").status, 200);
    assert_eq!(web.get("/readyz").status, 200);
    let open = Server::start(&["--workers", "1", "--requirepass", "s3cret", "--metrics-open"]);
    assert_eq!(open.web().get("/metrics").status, 200);
}

#[test]
fn without_a_password_auth_says_so() {
    let server = Server::start(&["--workers", "1"]);
    let answer = server.redis().run("AUTH anything");
    assert!(
        matches!(&answer, Reply::Error(text) if text.starts_with("ERR") && text.contains("without any password")),
        "{answer:?}"
    );
}

#[test]
fn the_world_is_not_served_without_a_password() {
    refused(&["--workers", "1", "--http", "0.0.0.0:0"], &["--requirepass"]);
    refused(&["--workers", "1", "--resp", "0.0.0.0:0"], &["--requirepass"]);
    Server::start(&["--workers", "1", "--resp", "0.0.0.0:0", "--requirepass", "x"]);
    Server::start(&["--workers", "1", "--resp", "0.0.0.0:0", "--insecure-bind"]);
}

#[test]
fn foreign_hosts_and_origins_are_forbidden() {
    let server = Server::start(&["--workers", "1", "--host", "store.example", "--allow-origin", "https://app.example"]);
    let mut web = server.web();
    let mut put = |headers: &[(&str, &str)]| web.request("PUT", "/kv/k", headers, Some(b"v")).status;
    assert_eq!(put(&[("host", "evil.example")]), 403);
    assert_eq!(put(&[("host", "evil.example:8080")]), 403);
    assert_eq!(put(&[("host", "localhost.evil.example")]), 403);
    assert_eq!(put(&[("origin", "https://evil.example")]), 403);
    assert_eq!(put(&[("origin", "null")]), 403);
    assert_eq!(server.redis().run("EXISTS k"), Reply::Int(0));
    for host in [
        "localhost",
        "localhost:1234",
        "127.0.0.1:8080",
        "[::1]:8080",
        "192.168.1.7",
        "store.example",
        "STORE.example:80",
    ] {
        assert_eq!(put(&[("host", host)]), 204, "{host}");
    }
    assert_eq!(put(&[("origin", "https://app.example")]), 204);
    let forbidden = web.request("GET", "/kv/k", &[("host", "evil.example")], None);
    assert_eq!(forbidden.error(), (403, "forbidden".to_owned()));
}

#[test]
fn idle_connections_are_closed() {
    let server = Server::start(&["--workers", "2", "--idle-timeout", "1"]);
    let (mut redis, mut web) = (server.redis(), server.web());
    redis.run("PING");
    web.get("/healthz");
    let started = Instant::now();
    redis.read_to_close();
    assert!(started.elapsed() > Duration::from_millis(500), "closed at once");
    assert!(web.read(false).is_err());
    assert!(server.stat("idle_closed") >= 1);
    // One that is busy stays.
    let mut redis = server.redis();
    for _ in 0..8 {
        assert_eq!(redis.run("PING"), Reply::Status("PONG".to_owned()));
        thread::sleep(Duration::from_millis(250));
    }
}

#[test]
fn more_clients_than_allowed_are_told_so() {
    let server = Server::start(&["--workers", "2", "--max-clients", "10"]);
    let mut inside: Vec<Resp> = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let mut redis = server.redis();
        match redis.try_cmd(&["PING"]) {
            Ok(Reply::Status(_)) => inside.push(redis),
            Ok(answer) => {
                assert!(matches!(&answer, Reply::Error(text) if text.contains("max number of clients")), "{answer:?}");
                refused += 1;
            }
            // The refusal may be lost when the connection is reset under it.
            Err(_) => refused += 1,
        }
    }
    assert_eq!((inside.len(), refused), (10, 10));
    assert!(inside.iter_mut().all(|redis| redis.run("PING") == Reply::Status("PONG".to_owned())));
    inside.truncate(5);
    let again = wait_until(Duration::from_secs(5), || {
        server.redis().try_cmd(&["PING"]).is_ok_and(|answer| answer == Reply::Status("PONG".to_owned()))
    });
    assert!(again, "places are not given back");
}

#[test]
fn a_worker_that_ends_is_replaced() {
    let server = Server::start(&["--workers", "2"]);
    for signal in [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGILL] {
        let victim = server.workers()[0];
        crate::harness::signal(victim, signal);
        let replaced = || server.workers().len() == 2 && !server.workers().contains(&victim);
        assert!(wait_until(Duration::from_secs(10), replaced), "{signal} of {victim}: {:?}", server.workers());
    }
    assert_eq!(server.web().get("/healthz").status, 200);
    let logged = || server.stderr().contains("worker");
    assert!(wait_until(Duration::from_secs(10), logged), "a death is not logged: {}", server.stderr());
}

#[test]
fn logs_can_be_json() {
    let name = segment_name("log");
    let server = Server::start(&["--workers", "1", "--log-format", "json", "--log-level", "debug", "--segment", &name]);
    // The log comes by another way than the ready line, and may come later.
    let whole_lines = || server.stderr().ends_with('\n');
    assert!(wait_until(Duration::from_secs(10), whole_lines), "nothing is logged at level debug");
    let lines = server.stderr();
    for line in lines.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    assert_eq!(server.web().put("/counters/c", &json!({"value": 1})).status / 100, 2);
}

#[test]
fn info_names_the_port_that_was_bound() {
    let server = Server::start(&["--workers", "1"]);
    let info = server.redis().run("INFO server").text();
    assert!(info.contains(&format!("tcp_port:{}\r\n", server.resp().port())), "{info}");
}
