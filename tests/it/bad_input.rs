//! Hostile and broken input: each piece gets a typed error or a closed connection, changes nothing, kills no worker
//! and keeps nobody else waiting.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{Http, Random, Reply, Resp, Server, encode};

/// A server with a little of everything in it, and what it looked like before the attack.
struct Guarded {
    server: Server,
    workers: Vec<i32>,
    content: String,
}

impl Guarded {
    fn start(args: &[&str]) -> Self {
        let table = ["--table", "t:8:key=8,name=string(8),score=int,rate=float"];
        let server = Server::start(&[&["--workers", "2"], &table, args].concat());
        let mut redis = server.redis();
        for command in ["TABLE.SET t a name alice score 1 rate 0.5", "COUNTER.SET c 7", "SET k v", "SET n 5"] {
            assert_eq!(redis.run(command), Reply::ok());
        }
        let (workers, content) = (server.workers(), content(&server));
        Self { server, workers, content }
    }

    /// The same workers live, none was started again, nothing was written.
    fn unharmed(&self) {
        assert_eq!(self.server.workers(), self.workers, "a worker died");
        assert_eq!(self.server.stat("worker_starts"), 2, "a worker was started again");
        assert_eq!(content(&self.server), self.content, "something was written");
        assert!(!self.server.stderr().contains("panicked"), "{}", self.server.stderr());
    }

    /// Both workers still answer, at once.
    fn serves_others(&self) {
        for _ in 0..8 {
            let mut redis = self.server.redis();
            redis.patience(Duration::from_secs(5));
            assert_eq!(redis.run("GET k"), Reply::bulk("v"));
        }
        let mut web = self.server.web();
        web.patience(Duration::from_secs(5));
        assert_eq!(web.get("/counters/c").json(), json!({"value": 7}));
    }
}

/// Everything that the server holds, as text.
fn content(server: &Server) -> String {
    let (mut redis, mut web) = (server.redis(), server.web());
    let mut text = format!("{:?}\n", web.get("/counters").json());
    for table in redis.run("TABLE.LIST").items() {
        let name = table.text();
        text += &format!("{:?}\n", redis.cmd(&["TABLE.SCAN", &name, "0", "COUNT", "1000"]));
        text += &format!("{:?} {:?}\n", redis.cmd(&["TABLE.INFO", &name]), redis.cmd(&["TABLE.COUNT", &name]));
    }
    for db in 0..16 {
        redis.run(&format!("SELECT {db}"));
        let mut keys: Vec<Vec<u8>> = redis.run("KEYS *").items().iter().map(|key| key.text().into_bytes()).collect();
        keys.sort();
        for key in keys {
            let value = redis.cmd(&[b"GET".as_slice(), &key]);
            text += &format!("{db} {:?} {value:?}\n", String::from_utf8_lossy(&key));
        }
    }
    text
}

#[test]
fn refused_commands_write_nothing() {
    let guarded = Guarded::start(&[]);
    let mut redis = guarded.server.redis();
    let (long_key, long_value) = ("k".repeat(65_536), "v".repeat(9));
    let refused: [&[&str]; 24] = [
        &["TABLE.SET", "nosuch", "a", "score", "1"],
        &["TABLE.SET", "t", "b", "nosuch", "1"],
        &["TABLE.SET", "t", "b", "score", "x"],
        &["TABLE.SET", "t", "b", "score", "9223372036854775808"],
        &["TABLE.SET", "t", "b", "rate", "1e999"],
        &["TABLE.SET", "t", "b", "name", &long_value],
        &["TABLE.SET", "t", "b", "score", "2", "name", &long_value],
        &["TABLE.SET", "t", "123456789", "score", "1"],
        &["TABLE.SET", "t", "", "score", "1"],
        &["TABLE.SET", "t", "b", "score"],
        &["TABLE.SET", "t"],
        &["TABLE.MSET", "t", "2", "b", "1", "score", "1", "c", "1", "score", "x"],
        &["TABLE.MSET", "t", "18446744073709551616", "b", "1", "score", "1"],
        &["TABLE.MSET", "t", "1", "b", "-1", "score", "1"],
        &["TABLE.INCR", "t", "b", "name"],
        &["TABLE.CAS", "t", "a", "EXPECT", "9999999999", "score", "1", "SET", "1", "score", "2"],
        &["SET", &long_key, "v"],
        &["SET", "b", "v", "EX", "0"],
        &["INCR", "k"],
        &["INCRBY", "n", "9223372036854775807"],
        &["COUNTER.INCR", "c", "9223372036854775807"],
        &["COUNTER.SET", "c", "1e3"],
        &["MSET", "b", "1", "c"],
        &["NOSUCH", "b", "1"],
    ];
    for command in refused {
        let answer = redis.cmd(command);
        assert!(answer.error().is_some(), "{} was answered with {answer:?}", command[0]);
    }
    let mut web = guarded.server.web();
    for (method, path, body) in [
        ("PUT", "/tables/nosuch/rows/a", json!({"score": 1})),
        ("PUT", "/tables/t/rows/b", json!({"nosuch": 1})),
        ("PUT", "/tables/t/rows/b", json!({"score": "1"})),
        ("PUT", "/tables/t/rows/b", json!({"score": 2, "name": long_value})),
        ("PUT", "/tables/t/rows/123456789", json!({"score": 1})),
        ("POST", "/tables/t/mset", json!({"rows": {"b": {"score": 1}, "c": {"score": "x"}}})),
        ("POST", "/tables/t/rows/b/incr", json!({"column": "name"})),
        ("POST", "/counters/c/incr", json!({"by": i64::MAX})),
        ("POST", "/tables", json!({"name": "t", "rows": 9, "columns": [{"name": "n", "type": "int"}]})),
    ] {
        assert!(web.send_json(method, path, &body).error().0 >= 400, "{method} {path}");
    }
    guarded.unharmed();
}

#[test]
fn a_full_table_takes_nothing_in_part() {
    let guarded = Guarded::start(&["--table", "small:2:n=int"]);
    let mut redis = guarded.server.redis();
    redis.run("TABLE.SET small a n 1");
    let before = content(&guarded.server);
    assert_eq!(redis.run("TABLE.MSET small 3 a 1 n 9 b 1 n 9 c 1 n 9").error(), Some("TABLEFULL"));
    assert_eq!(content(&guarded.server), before);
    redis.run("TABLE.SET small b n 2");
    for _ in 0..100 {
        assert_eq!(redis.run("TABLE.SET small c n 3").error(), Some("TABLEFULL"));
        assert_eq!(redis.run("TABLE.INCR small c n").error(), Some("TABLEFULL"));
    }
    assert_eq!(redis.run("TABLE.COUNT small"), Reply::Int(2));
}

#[test]
fn broken_resp_is_answered_and_closed() {
    let guarded = Guarded::start(&[]);
    let broken: [&[u8]; 18] = [
        b"*1\r\n$-1\r\n",
        b"*1\r\n$-2\r\nPING\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"*1\r\n$9223372036854775807\r\n",
        b"*1\r\n$4294967296\r\n",
        b"*2\r\n$3\r\nGET\r\n$1073741824\r\n",
        b"*99999999999999999999\r\n",
        b"*9223372036854775807\r\n",
        b"*2147483647\r\n",
        b"*1048577\r\n",
        b"*x\r\n",
        b"*1\r\nPING\r\n",
        b"*1\r\n:4\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n$4x\r\n",
        b"SET k \"unbalanced\r\n",
        b"SET k 'unbalanced\r\n",
        b"SET k \"quoted\"tail\r\n",
    ];
    for bytes in broken {
        let mut redis = guarded.server.redis();
        redis.send(bytes).unwrap();
        let answer = redis.read().unwrap_or_else(|error| panic!("{:?}: {error}", String::from_utf8_lossy(bytes)));
        assert_eq!(answer.error(), Some("ERR"), "{:?}", String::from_utf8_lossy(bytes));
        redis.read_to_close();
        guarded.serves_others();
    }
    // Redis takes these for an empty request.
    let mut redis = guarded.server.redis();
    redis.send(b"*0\r\n\r\n*-1\r\n\r\nPING\r\n").unwrap();
    assert_eq!(redis.read().unwrap(), Reply::Status("PONG".to_owned()));
    guarded.unharmed();
    assert!(guarded.server.stat("protocol_errors") >= broken.len() as u64);
}

#[test]
fn garbage_harms_nobody() {
    let guarded = Guarded::start(&[]);
    let mut random = Random::new();
    for round in 0..60 {
        let mut bytes: Vec<u8> = (0..1 + random.below(5000)).map(|_| random.next() as u8).collect();
        if round % 3 == 0 {
            bytes.splice(0..0, *b"*3\r\n$3\r\n");
        }
        let addr = if round % 2 == 0 { guarded.server.resp() } else { guarded.server.http() };
        let mut socket = TcpStream::connect(addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // The server may close before it has read everything.
        socket.write_all(&bytes).ok();
        socket.shutdown(std::net::Shutdown::Write).ok();
        let mut answer = Vec::new();
        if let Err(error) = socket.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "garbage is not answered by silence");
        }
    }
    guarded.serves_others();
    guarded.unharmed();
}

#[test]
fn an_endless_inline_command_is_cut_off() {
    let guarded = Guarded::start(&[]);
    let mut redis = guarded.server.redis();
    let chunk = vec![b'a'; 1 << 16];
    let mut cut = false;
    for _ in 0..64 {
        if redis.send(&chunk).is_err() {
            cut = true;
            break;
        }
    }
    assert!(cut || redis.read().is_ok_and(|answer| answer.error().is_some()), "4 MB of one line are still being read");
    guarded.serves_others();
    guarded.unharmed();
}

#[test]
fn half_a_request_keeps_nobody_waiting() {
    let guarded = Guarded::start(&[]);
    let halves: [(&[u8], bool); 9] = [
        (b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1000\r\nabc", false),
        (b"*3\r\n$3\r\nSET\r\n$4\r\nha", false),
        (b"*", false),
        (b"SET half inl", false),
        (b"PUT /kv/half HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nabc", true),
        (b"PUT /kv/half HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", true),
        (b"PUT /kv/half HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffff\r\nab", true),
        (b"PUT /tables/t/rows/half HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{\"score\"", true),
        (b"GET /kv/k HT", true),
    ];
    let mut silent = Vec::new();
    for (bytes, web) in halves.iter().cycle().take(64) {
        let mut socket = TcpStream::connect(if *web { guarded.server.http() } else { guarded.server.resp() }).unwrap();
        socket.write_all(bytes).unwrap();
        silent.push(socket);
    }
    guarded.serves_others();
    guarded.unharmed();
    drop(silent);
    guarded.serves_others();
    guarded.unharmed();
}

#[test]
fn slow_but_whole_requests_are_served() {
    let guarded = Guarded::start(&[]);
    let mut redis = guarded.server.redis();
    for byte in b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" {
        redis.send(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(redis.read().unwrap(), Reply::bulk("v"));
    let mut web = guarded.server.web();
    for byte in b"GET /kv/k HTTP/1.1\r\nhost: localhost\r\n\r\n" {
        web.send(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(web.read(false).unwrap().body, b"v");
}

#[test]
fn a_hundred_megabytes_where_sixteen_are_allowed() {
    let guarded = Guarded::start(&["--memory", "128mb"]);
    let mut redis = guarded.server.redis();
    redis.send(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$104857600\r\n").unwrap();
    pour(redis.stream(), 100 << 20);
    let answer = redis.read().expect("an answer before the connection closes");
    assert!(answer.error().is_some(), "{answer:?}");
    guarded.serves_others();
    guarded.unharmed();

    // Announced, chunked, and with nothing announced at all.
    for head in [
        "PUT /kv/big HTTP/1.1\r\nhost: localhost\r\ncontent-length: 104857600\r\n\r\n",
        "PUT /kv/big HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n6400000\r\n",
        "PUT /tables/t/rows/a HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 104857600\r\n\r\n",
    ] {
        let mut web = guarded.server.web();
        web.send(head.as_bytes()).unwrap();
        pour(web.stream(), 100 << 20);
        let answer = web.read(false).expect("an answer before the connection closes");
        assert_eq!(answer.error(), (413, "too_large".to_owned()), "{head}");
        guarded.serves_others();
    }
    guarded.unharmed();
    // Exactly what is allowed goes in.
    let largest = vec![b'x'; 16 << 20];
    assert_eq!(guarded.server.redis().cmd(&[b"SET".as_slice(), b"largest", &largest]), Reply::ok());
    assert!(guarded.server.web().get("/kv/largest").body == largest);
    let mut larger = largest;
    larger.push(b'x');
    assert!(guarded.server.redis().cmd(&[b"APPEND".as_slice(), b"largest", b"x"]).error().is_some());
    assert_eq!(guarded.server.web().request("PUT", "/kv/l2", &[], Some(&larger)).error().0, 413);
}

/// Sends zeros until the server has enough of it, at most `bytes`; says nothing of how far it came.
fn pour(mut socket: &TcpStream, bytes: usize) {
    socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let chunk = vec![0; 1 << 20];
    let mut sent = 0;
    while sent < bytes && socket.write_all(&chunk).is_ok() {
        sent += chunk.len();
    }
}

#[test]
fn a_pipeline_of_ten_thousand_commands() {
    let guarded = Guarded::start(&[]);
    let mut redis = guarded.server.redis();
    let writer = redis.stream().try_clone().unwrap();
    let feeder = std::thread::spawn(move || {
        let commands: Vec<u8> = (0..10_000).flat_map(|i| encode(&["ECHO", &format!("{i}")])).collect();
        (&writer).write_all(&commands).unwrap();
    });
    (0..10_000).for_each(|i| assert_eq!(redis.read().unwrap(), Reply::bulk(i.to_string())));
    feeder.join().unwrap();
    guarded.unharmed();
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let guarded = Guarded::start(&["--memory", "128mb"]);
    let value = vec![b'x'; 1 << 20];
    let mut redis = guarded.server.redis();
    assert_eq!(redis.cmd(&[b"SET".as_slice(), b"megabyte", &value]), Reply::ok());
    let content = content(&guarded.server);
    let deaf = guarded.server.redis();
    deaf.stream().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let request = encode(&["GET", "megabyte"]);
    let deadline = Instant::now() + Duration::from_secs(30);
    // 64 MiB of replies may wait for one client; the socket buffers hold a few more.
    let (mut asked, mut deaf) = (0, deaf);
    while asked < 500 && Instant::now() < deadline && deaf.send(&request).is_ok() {
        asked += 1;
    }
    guarded.serves_others();
    let memory: u64 = guarded.server.workers().iter().map(|&pid| private_memory(pid)).sum();
    assert!(memory < 400 << 20, "the workers hold {memory} bytes for a client that does not read");
    drop(deaf);
    guarded.serves_others();
    assert_eq!(guarded.server.workers(), guarded.workers);
    assert_eq!(self::content(&guarded.server), content);
}

/// Resident bytes of a process that it shares with no other.
fn private_memory(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) << 10
}

#[test]
fn a_slow_loris_keeps_nobody_waiting() {
    let guarded = Guarded::start(&[]);
    let mut slow: Vec<Http> = (0..100).map(|_| guarded.server.web()).collect();
    let mut slow_redis: Vec<Resp> = (0..100).map(|_| guarded.server.redis()).collect();
    for byte in b"GET /kv/k HTTP/1.1\r\nx-slow: 1" {
        slow.iter_mut().for_each(|web| web.send(&[*byte]).unwrap());
        slow_redis.iter_mut().for_each(|redis| redis.send(b"x").unwrap());
        guarded.serves_others();
    }
    guarded.unharmed();
}

#[test]
fn broken_http_is_answered_and_closed() {
    let guarded = Guarded::start(&[]);
    let huge_header = format!("GET /kv/k HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_headers = format!("GET /kv/k HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    let long_path = format!("GET /kv/{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "k".repeat(1 << 20));
    let broken = [
        "GET\r\n\r\n",
        "GET /kv/k HTTP/9.9\r\n\r\n",
        "GET /kv/k\x01 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "PUT /kv/b HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        "PUT /kv/b HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        "PUT /kv/b HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "PUT /kv/b HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "PUT /kv/b HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc",
        &huge_header,
        &many_headers,
        &long_path,
    ];
    for bytes in broken {
        let mut web = guarded.server.web();
        // The server may close before it has read everything.
        web.send(bytes.as_bytes()).ok();
        let shown = &bytes[..bytes.len().min(80)];
        match web.read(false) {
            Ok(answer) => assert!((400..=599).contains(&answer.status), "{shown:?}: {}", answer.status),
            Err(error) => assert!(
                !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
                "{shown:?} is not answered"
            ),
        }
        guarded.serves_others();
    }
    guarded.unharmed();
}
