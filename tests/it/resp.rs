//! Every command of the RESP side, through a raw client: RESP2, RESP3 and inline.

use std::{thread, time::Duration};

use crate::harness::{Reply, Resp, Server, encode, nc};

fn server() -> Server {
    Server::start(&["--workers", "2"])
}

/// Runs lines of `words -> expected`, where expected is a status (`+OK`), an error's first word (`-ERR`), an
/// integer (`:1`), `nil`, a bulk string (`"text"`) or an array of those (`[:1 "a" nil]`).
fn script(redis: &mut Resp, lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (words, expected) = line.split_once(" -> ").unwrap_or_else(|| panic!("no arrow in {line:?}"));
        let args: Vec<&[u8]> = words.split_whitespace().map(|word| word.trim_matches('\'').as_bytes()).collect();
        assert_eq!(show(&redis.cmd(&args)), expected.trim(), "{words}");
    }
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Status(text) => format!("+{text}"),
        Reply::Error(_) => format!("-{}", reply.error().unwrap()),
        Reply::Int(n) => format!(":{n}"),
        Reply::Null => "nil".to_owned(),
        Reply::Bulk(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        Reply::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Reply::Double(x) => format!(",{x}"),
        Reply::Map(pairs) => {
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| show(key) + " " + &show(value)).collect();
            format!("{{{}}}", pairs.join(" "))
        }
        other => format!("{other:?}"),
    }
}

fn sorted(reply: &Reply) -> Vec<String> {
    let mut items: Vec<String> = reply.items().iter().map(Reply::text).collect();
    items.sort();
    items
}

/// Members of a whole cursor iteration that starts with these words.
fn scan_all(redis: &mut Resp, command: &[&str], options: &[&str]) -> Vec<Reply> {
    let (mut cursor, mut found) = ("0".to_owned(), Vec::new());
    loop {
        let page = redis.cmd(&[command, &[&cursor], options].concat());
        found.extend_from_slice(page.items()[1].items());
        cursor = page.items()[0].text();
        if cursor == "0" {
            return found;
        }
    }
}

#[test]
fn connection_commands() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "PING -> +PONG
         PING hello -> \"hello\"
         ping -> +PONG
         ECHO hello -> \"hello\"
         ECHO -> -ERR
         NOSUCH x -> -ERR
         SELECT 3 -> +OK
         SELECT 16 -> -ERR
         SELECT x -> -ERR
         RESET -> +RESET
         QUIT -> +OK",
    );
    assert!(redis.read_to_close().is_empty());
    let mut redis = server.redis();
    let time = redis.run("TIME");
    assert!(time.items()[0].text().parse::<u64>().unwrap() > 1_700_000_000, "{time:?}");
    assert!(time.items()[1].text().parse::<u64>().unwrap() < 1_000_000, "{time:?}");
    let unknown = redis.run("NOSUCH a b");
    assert!(matches!(&unknown, Reply::Error(text) if text.contains("unknown command")), "{unknown:?}");
    let arity = redis.run("GET");
    assert!(matches!(&arity, Reply::Error(text) if text.contains("wrong number of arguments")), "{arity:?}");
}

#[test]
fn hello_switches_the_protocol() {
    let server = server();
    let mut redis = server.redis();
    let two = redis.run("HELLO");
    assert!(matches!(two, Reply::Array(_)), "{two:?}");
    assert_eq!(two.field("proto"), Reply::Int(2));
    assert_eq!(redis.run("GET none"), Reply::Null);
    let three = redis.run("HELLO 3 SETNAME tester");
    assert!(matches!(three, Reply::Map(_)), "{three:?}");
    assert_eq!(three.field("proto"), Reply::Int(3));
    assert_eq!(three.field("role").text(), "master");
    assert_eq!(redis.run("CLIENT GETNAME").text(), "tester");
    assert_eq!(redis.run("HELLO 4").error(), Some("NOPROTO"));
    assert!(matches!(redis.run("HELLO 2"), Reply::Array(_)));
    assert_eq!(redis.run("HELLO 3 AUTH nobody nonsense").error(), Some("WRONGPASS"));
}

#[test]
fn client_commands() {
    let server = server();
    let (mut one, mut two) = (server.redis(), server.redis());
    let (id, other) = (one.run("CLIENT ID").int(), two.run("CLIENT ID").int());
    assert_ne!(id, other);
    assert_eq!(one.run("CLIENT GETNAME"), Reply::Null);
    script(
        &mut one,
        "CLIENT SETNAME worker-bee -> +OK
         CLIENT GETNAME -> \"worker-bee\"
         CLIENT SETINFO LIB-NAME some-lib -> +OK
         CLIENT SETINFO LIB-VER 1.2.3 -> +OK
         CLIENT SETINFO NOSUCH x -> -ERR
         CLIENT NO-EVICT on -> +OK
         CLIENT NO-EVICT maybe -> -ERR
         CLIENT NOSUCH -> -ERR
         CLIENT -> -ERR",
    );
    assert_eq!(one.cmd(&["CLIENT", "SETNAME", "with space"]).error(), Some("ERR"));
    let info = one.run("CLIENT INFO").text();
    for part in [&format!("id={id} "), "name=worker-bee", "lib-name=some-lib", "lib-ver=1.2.3", "resp=2", "db=0"] {
        assert!(info.contains(part), "{part} in {info}");
    }
    // One list for all workers: each connection sees every other.
    let listed = |redis: &mut Resp| {
        let list = redis.run("CLIENT LIST").text();
        [id, other].iter().all(|id| list.lines().any(|line| line.starts_with(&format!("id={id} "))))
    };
    assert!(crate::harness::wait_until(Duration::from_secs(5), || listed(&mut one) && listed(&mut two)));
    drop(two);
    assert!(crate::harness::wait_until(Duration::from_secs(5), || !listed(&mut one)), "a closed client stays listed");
}

#[test]
fn command_and_config() {
    let server = server();
    let mut redis = server.redis();
    let count = redis.run("COMMAND COUNT").int();
    assert!(count > 80, "{count} commands");
    let infos = redis.run("COMMAND INFO get set nosuch");
    assert_eq!(infos.items().len(), 3);
    assert_eq!(infos.items()[0].items()[0].text(), "get");
    assert_eq!(infos.items()[0].items()[1], Reply::Int(2));
    assert_eq!(infos.items()[2], Reply::Null);
    assert_eq!(redis.run("COMMAND").items().len() as i64, count);
    let docs = redis.run("COMMAND DOCS get");
    assert!(!docs.field("get").field("summary").text().is_empty());
    assert_eq!(redis.run("CONFIG GET maxclients").field("maxclients").text(), "10000");
    assert!(redis.run("CONFIG GET nosuchthing").items().is_empty());
    assert!(redis.run("CONFIG GET *").pairs().len() > 3);
    // A setting that one connection changes holds for every worker.
    assert_eq!(redis.run("CONFIG SET maxclients 500"), Reply::ok());
    let everywhere = || (0..8).all(|_| server.redis().run("CONFIG GET maxclients").field("maxclients").text() == "500");
    assert!(crate::harness::wait_until(Duration::from_secs(5), everywhere));
    assert_eq!(redis.run("CONFIG SET nosuchthing 1").error(), Some("ERR"));
    assert_eq!(redis.run("CONFIG SET maxclients abc").error(), Some("ERR"));
}

#[test]
fn info_has_the_sections_of_redis() {
    let server = server();
    let mut redis = server.redis();
    redis.run("SET key value EX 100");
    let info = redis.run("INFO").text();
    for section in ["# Server", "# Clients", "# Memory", "# Stats", "# Keyspace"] {
        assert!(info.contains(section), "{section} in {info}");
    }
    for field in
        ["redis_version:", "uptime_in_seconds:", "connected_clients:", "used_memory:", "total_commands_processed:"]
    {
        assert!(info.lines().any(|line| line.starts_with(field)), "{field} in {info}");
    }
    assert!(info.lines().any(|line| line.starts_with("db0:keys=1,expires=1")), "{info}");
    let one = redis.run("INFO clients").text();
    assert!(one.contains("# Clients") && !one.contains("# Memory"), "{one}");
    assert!(info.lines().all(|line| line.is_empty() || line.starts_with('#') || line.contains(':')), "{info}");
}

#[test]
fn stats_shows_every_worker() {
    let server = server();
    let stats = server.redis().run("STATS");
    assert_eq!(stats.field("workers").items().len(), 2);
    assert!(stats.field("total").field("connections").int() >= 1);
}

#[test]
fn set_with_all_its_options() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "GET a -> nil
         SET a 007 -> +OK
         GET a -> \"007\"
         SET a x NX -> nil
         SET b x XX -> nil
         SET b x NX -> +OK
         SET b y XX -> +OK
         SET b z GET -> \"y\"
         SET c z GET -> nil
         SET a 1 NX GET -> \"007\"
         GET a -> \"007\"
         SET a 1 EX 100 -> +OK
         TTL a -> :100
         SET a 2 KEEPTTL -> +OK
         TTL a -> :100
         SET a 3 -> +OK
         TTL a -> :-1
         SET a 4 PX 100000 -> +OK
         TTL a -> :100
         SET a 4 EXAT 33177117420 -> +OK
         EXPIRETIME a -> :33177117420
         SET a 4 PXAT 33177117420000 -> +OK
         PEXPIRETIME a -> :33177117420000
         set a 5 ex 100 nx -> nil
         SET a 1 EX 0 -> -ERR
         SET a 1 EX -1 -> -ERR
         SET a 1 EX x -> -ERR
         SET a 1 EX -> -ERR
         SET a 1 NX XX -> -ERR
         SET a 1 EX 1 PX 1 -> -ERR
         SET a 1 EX 1 KEEPTTL -> -ERR
         SET a 1 NONSENSE -> -ERR
         SET a -> -ERR
         SET a 1 EX 9223372036854775807 -> -ERR
         GET a -> \"4\"
         SET a gone PXAT 1 -> +OK
         GET a -> nil",
    );
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(redis.cmd(&[b"SET", &bytes[..300], &bytes[..]]), Reply::ok());
    assert_eq!(redis.cmd(&[b"GET", &bytes[..300]]), Reply::Bulk(bytes));
    assert_eq!(redis.cmd(&["SET", "", ""]), Reply::ok());
    assert_eq!(redis.cmd(&["GET", ""]), Reply::bulk(""));
    redis.run("SET short x PX 30");
    thread::sleep(Duration::from_millis(60));
    assert_eq!(redis.run("GET short"), Reply::Null);
    assert_eq!(redis.run("EXISTS short"), Reply::Int(0));
}

#[test]
fn values_of_every_size_come_back_as_they_went() {
    let server = server();
    let mut redis = server.redis();
    let sizes = (0..70).chain([127, 128, 129, 1000, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20, 5_000_001]);
    for size in sizes {
        let value: Vec<u8> = (0..size).map(|i| (i * 31 + size) as u8).collect();
        let key = format!("size:{size}");
        assert_eq!(redis.cmd(&[b"SET", key.as_bytes(), &value]), Reply::ok(), "{size}");
        assert_eq!(redis.cmd(&["STRLEN", &key]), Reply::Int(size as i64));
        assert!(redis.cmd(&["GET", &key]) == Reply::Bulk(value), "value of {size} bytes came back changed");
    }
    let longest = "k".repeat(65_535);
    assert_eq!(redis.cmd(&["SET", &longest, "v"]), Reply::ok());
    assert_eq!(redis.cmd(&["GET", &longest]), Reply::bulk("v"));
}

#[test]
fn the_other_string_commands() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "SETNX n 1 -> :1
         SETNX n 2 -> :0
         GET n -> \"1\"
         SETEX e 100 v -> +OK
         TTL e -> :100
         PSETEX p 100000 v -> +OK
         TTL p -> :100
         SETEX e 0 v -> -ERR
         PSETEX e -1 v -> -ERR
         GETSET e w -> \"v\"
         TTL e -> :-1
         GETSET fresh w -> nil
         GETDEL fresh -> \"w\"
         GETDEL fresh -> nil
         GETEX e -> \"w\"
         GETEX e EX 50 -> \"w\"
         TTL e -> :50
         GETEX e -> \"w\"
         TTL e -> :50
         GETEX e PERSIST -> \"w\"
         TTL e -> :-1
         GETEX e PXAT 33177117420000 -> \"w\"
         PEXPIRETIME e -> :33177117420000
         GETEX none EX 5 -> nil
         GETEX e EX 1 PERSIST -> -ERR
         STRLEN e -> :1
         STRLEN none -> :0
         APPEND ap hello -> :5
         APPEND ap world -> :10
         GET ap -> \"helloworld\"
         MSET m1 1 m2 2 -> +OK
         MGET m1 none m2 -> [\"1\" nil \"2\"]
         MSET m1 1 m2 -> -ERR
         MSETNX m2 x m3 x -> :0
         EXISTS m3 -> :0
         MSETNX m3 3 m4 4 -> :1
         MGET m3 m4 -> [\"3\" \"4\"]
         MSET dup 1 dup 2 -> +OK
         GET dup -> \"2\"",
    );
}

#[test]
fn numbers_in_values() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "INCR i -> :1
         INCRBY i 41 -> :42
         DECR i -> :41
         DECRBY i 50 -> :-9
         GET i -> \"-9\"
         INCRBY i x -> -ERR
         INCRBY i 1.5 -> -ERR
         SET i abc -> +OK
         INCR i -> -ERR
         SET i 007 -> +OK
         INCR i -> -ERR
         GET i -> \"007\"
         SET i 9223372036854775807 -> +OK
         INCR i -> -ERR
         GET i -> \"9223372036854775807\"
         SET i -9223372036854775808 -> +OK
         DECR i -> -ERR
         DECRBY i -9223372036854775808 -> -ERR
         INCRBYFLOAT f 10.5 -> \"10.5\"
         INCRBYFLOAT f 0.1 -> \"10.6\"
         INCRBYFLOAT f -5 -> \"5.6\"
         SET f 5.0e3 -> +OK
         INCRBYFLOAT f 2.0e2 -> \"5200\"
         INCRBYFLOAT f abc -> -ERR
         INCRBYFLOAT f inf -> -ERR
         SET f 1e308 -> +OK
         SET kept 1 EX 100 -> +OK
         INCR kept -> :2
         TTL kept -> :100
         APPEND kept 0 -> :2
         TTL kept -> :100",
    );
}

#[test]
fn keys_and_their_expiry() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "MSET a 1 b 2 c 3 -> +OK
         EXISTS a b none a -> :3
         TYPE a -> +string
         TYPE none -> +none
         DEL a none -> :1
         UNLINK b -> :1
         DBSIZE -> :1
         TTL none -> :-2
         TTL c -> :-1
         PTTL none -> :-2
         EXPIRE none 10 -> :0
         EXPIRE c 100 -> :1
         TTL c -> :100
         EXPIRE c 200 NX -> :0
         EXPIRE c 50 GT -> :0
         EXPIRE c 200 GT -> :1
         EXPIRE c 300 LT -> :0
         EXPIRE c 100 XX -> :1
         EXPIRE c 100 NX XX -> -ERR
         EXPIRE c 100 GT LT -> -ERR
         PEXPIRE c 50000 -> :1
         TTL c -> :50
         EXPIREAT c 33177117420 -> :1
         EXPIRETIME c -> :33177117420
         PEXPIREAT c 33177117420123 -> :1
         PEXPIRETIME c -> :33177117420123
         EXPIRETIME none -> :-2
         PERSIST c -> :1
         PERSIST c -> :0
         EXPIRETIME c -> :-1
         EXPIRE c x -> -ERR
         EXPIRE c 9223372036854775807 -> -ERR
         EXPIRE c -1 -> :1
         EXISTS c -> :0
         SET r 1 EX 100 -> +OK
         RENAME r s -> +OK
         TTL s -> :100
         RENAME none x -> -ERR
         SET t 2 -> +OK
         RENAME s t -> +OK
         GET t -> \"1\"
         RENAME t t -> +OK
         SELECT 1 -> +OK
         GET t -> nil
         SET t other -> +OK
         FLUSHDB -> +OK
         DBSIZE -> :0
         SELECT 0 -> +OK
         DBSIZE -> :1
         RANDOMKEY -> \"t\"
         FLUSHALL -> +OK
         RANDOMKEY -> nil
         DBSIZE -> :0",
    );
}

#[test]
fn keys_and_scan_find_everything_once() {
    let server = server();
    let mut redis = server.redis();
    let mut expected: Vec<String> = (0..1000).map(|i| format!("key:{i}")).collect();
    expected.iter().for_each(|key| assert_eq!(redis.cmd(&["SET", key, "v"]), Reply::ok()));
    expected.sort();
    assert_eq!(sorted(&redis.run("KEYS *")), expected);
    assert_eq!(sorted(&redis.run("KEYS key:1?")), (10..20).map(|i| format!("key:{i}")).collect::<Vec<_>>());
    assert_eq!(sorted(&redis.run("KEYS key:[57]")), ["key:5", "key:7"]);
    assert_eq!(sorted(&redis.run("KEYS key:99[^0-8]")), ["key:999"]);
    assert_eq!(redis.cmd(&["KEYS", "key:\\*"]), Reply::Array(vec![]));
    for count in ["1", "10", "500", "100000"] {
        let found = scan_all(&mut redis, &["SCAN"], &["COUNT", count]);
        assert_eq!(sorted(&Reply::Array(found)), expected, "COUNT {count}");
    }
    assert_eq!(scan_all(&mut redis, &["SCAN"], &["MATCH", "key:99?"]).len(), 10);
    assert_eq!(scan_all(&mut redis, &["SCAN"], &["TYPE", "string", "COUNT", "100"]).len(), 1000);
    assert_eq!(redis.run("SCAN abc").error(), Some("ERR"));
    assert_eq!(redis.run("SCAN 0 COUNT 0").error(), Some("ERR"));
    assert_eq!(redis.run("SCAN 0 NONSENSE 1").error(), Some("ERR"));
}

#[test]
fn tables_from_make_to_drop() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "TABLE.MAKE t 4 name string 8 score int rate float -> +OK
         TABLE.MAKE t 4 name string 8 score int rate float -> +OK
         TABLE.MAKE t 5 name string 8 score int rate float -> -TABLEEXISTS
         TABLE.MAKE k 4 KEYBYTES 8 n int -> +OK
         TABLE.MAKE bad 0 n int -> -ERR
         TABLE.MAKE bad x n int -> -ERR
         TABLE.MAKE bad 4 n nonsense -> -ERR
         TABLE.MAKE bad 4 n string -> -ERR
         TABLE.MAKE bad 4 n int n int -> -ERR
         TABLE.MAKE bad 4 KEYBYTES 1025 n int -> -ERR
         TABLE.MAKE bad 4 -> -ERR
         TABLE.MAKE b/d 4 n int -> -ERR
         TABLE.LIST -> [\"k\" \"t\"]
         TABLE.GET t none -> nil
         TABLE.SET t a name alice score 100 -> +OK
         TABLE.GET t a -> [\"name\" \"alice\" \"score\" :100 \"rate\" \"0\"]
         TABLE.SET t a rate 1.5 -> +OK
         TABLE.GET t a rate score name -> [\"1.5\" :100 \"alice\"]
         TABLE.GET t none score -> nil
         TABLE.SET t a score 1 NX -> nil
         TABLE.SET t b score 1 XX -> nil
         TABLE.SET t b score 7 NX -> +OK
         TABLE.EXISTS t b -> :1
         TABLE.EXISTS t c -> :0
         TABLE.COUNT t -> :2
         TABLE.MGET t a none b -> [[\"name\" \"alice\" \"score\" :100 \"rate\" \"1.5\"] nil [\"name\" \"\" \"score\" :7 \"rate\" \"0\"]]
         TABLE.MSET t 2 c 1 score 3 d 2 score 4 name dan -> +OK
         TABLE.COUNT t -> :4
         TABLE.SET t e score 1 -> -TABLEFULL
         TABLE.MSET t 2 a 1 score 0 e 1 score 1 -> -TABLEFULL
         TABLE.GET t a score -> [:100]
         TABLE.DEL t c d none -> :2
         TABLE.GETDEL t b -> [\"name\" \"\" \"score\" :7 \"rate\" \"0\"]
         TABLE.GETDEL t b -> nil
         TABLE.INCR t a score -> :101
         TABLE.INCR t a score 9 -> :110
         TABLE.DECR t a score 10 -> :100
         TABLE.INCR t a rate 0.25 -> \"1.75\"
         TABLE.INCR t new score 5 -> :5
         TABLE.INCR t a name -> -WRONGTYPE
         TABLE.INCR t ghost name -> -WRONGTYPE
         TABLE.EXISTS t ghost -> :0
         TABLE.INCR t a score 9223372036854775807 -> -OVERFLOW
         TABLE.INCR t a nosuch -> -NOCOLUMN
         TABLE.CAS t a EXPECT 1 score 99 SET 1 score 1 -> :0
         TABLE.CAS t a EXPECT 2 score 100 name alice SET 1 score 1 -> :1
         TABLE.GET t a score -> [:1]
         TABLE.CLEAR t -> +OK
         TABLE.COUNT t -> :0
         TABLE.DROP t -> +OK
         TABLE.GET t a -> -NOTABLE
         TABLE.SET t a score 1 -> -NOTABLE
         TABLE.COUNT t -> -NOTABLE
         TABLE.INFO t -> -NOTABLE
         TABLE.DROP t -> -NOTABLE
         TABLE.LIST -> [\"k\"]",
    );
}

#[test]
fn what_a_table_refuses() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "TABLE.MAKE t 4 KEYBYTES 8 name string 4 score int rate float -> +OK
         TABLE.SET t a nosuch 1 -> -NOCOLUMN
         TABLE.SET t a score abc -> -WRONGTYPE
         TABLE.SET t a score 1.5 -> -WRONGTYPE
         TABLE.SET t a rate nan -> -WRONGTYPE
         TABLE.SET t a rate inf -> -WRONGTYPE
         TABLE.SET t a name abcde -> -TOOLONG
         TABLE.SET t 123456789 score 1 -> -TOOLONG
         TABLE.SET t a score -> -ERR
         TABLE.SET t a score 1 name toolong -> -TOOLONG
         TABLE.SET t a score 1 EX 0 -> -ERR
         TABLE.SET t a score 1 NX XX -> -ERR
         TABLE.MSET t 2 a 1 score 1 -> -ERR
         TABLE.MSET t 99999999999999999999 a 1 score 1 -> -ERR
         TABLE.MSET t -1 -> -ERR
         TABLE.CAS t a EXPECT 1 score x SET 1 score 1 -> -WRONGTYPE
         TABLE.CAS t a EXPECT 9 score 1 SET 1 score 1 -> -ERR
         TABLE.COUNT t -> :0
         TABLE.SET t a score 1.0 -> +OK
         TABLE.GET t a score -> [:1]
         TABLE.SET t a rate 1 -> +OK
         TABLE.GET t a nosuch -> -NOCOLUMN",
    );
    assert_eq!(redis.cmd(&["TABLE.SET", "t", "", "score", "1"]).error(), Some("ERR"));
    let info = redis.run("TABLE.INFO t");
    assert_eq!(info.field("rows"), Reply::Int(4));
    assert_eq!(info.field("key_bytes"), Reply::Int(8));
    assert_eq!(info.field("count"), Reply::Int(1));
}

#[test]
fn rows_expire() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "TABLE.MAKE t 2 n int -> +OK
         TABLE.TTL t a -> :-2
         TABLE.EXPIRE t a 10 -> :0
         TABLE.SET t a n 1 EX 100 -> +OK
         TABLE.TTL t a -> :100
         TABLE.SET t a n 2 -> +OK
         TABLE.TTL t a -> :100
         TABLE.INCR t a n -> :3
         TABLE.TTL t a -> :100
         TABLE.PERSIST t a -> :1
         TABLE.PERSIST t a -> :0
         TABLE.TTL t a -> :-1
         TABLE.PTTL t a -> :-1
         TABLE.EXPIRE t a 50 -> :1
         TABLE.TTL t a -> :50
         TABLE.PEXPIRE t a 20 -> :1
         TABLE.SET t b n 1 PX 20 -> +OK",
    );
    thread::sleep(Duration::from_millis(50));
    script(
        &mut redis,
        "TABLE.GET t a -> nil
         TABLE.EXISTS t b -> :0
         TABLE.SET t c n 1 -> +OK
         TABLE.SET t d n 1 -> +OK
         TABLE.SET t e n 1 -> -TABLEFULL
         TABLE.INCR t c n -> :2",
    );
}

#[test]
fn a_table_scan_finds_every_row_once() {
    let server = server();
    let mut redis = server.redis();
    redis.run("TABLE.MAKE t 500 n int");
    (0..500).for_each(|i| assert_eq!(redis.run(&format!("TABLE.SET t row{i} n {i}")), Reply::ok()));
    for count in ["1", "7", "1000"] {
        let found = scan_all(&mut redis, &["TABLE.SCAN", "t"], &["COUNT", count]);
        let mut keys: Vec<String> = found.iter().step_by(2).map(Reply::text).collect();
        assert!(found.chunks(2).all(|pair| pair[0].text() == format!("row{}", pair[1].field("n").int())));
        assert_eq!(keys.len(), 500, "COUNT {count}");
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 500, "COUNT {count}");
    }
    // Deleting while iterating: what was not deleted is still found once.
    let (mut cursor, mut seen) = ("0".to_owned(), 0);
    loop {
        let page = redis.cmd(&["TABLE.SCAN", "t", &cursor, "COUNT", "10"]);
        for pair in page.items()[1].items().chunks(2) {
            seen += 1;
            assert_eq!(redis.cmd(&["TABLE.DEL", "t", &pair[0].text()]), Reply::Int(1));
        }
        cursor = page.items()[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, 500);
    assert_eq!(redis.run("TABLE.COUNT t"), Reply::Int(0));
}

#[test]
fn rows_keep_bytes_of_any_kind() {
    let server = server();
    let mut redis = server.redis();
    redis.run("TABLE.MAKE t 10 v string 300");
    let bytes: Vec<u8> = (0..=255).collect();
    let key = &bytes[..64];
    assert_eq!(redis.cmd(&[b"TABLE.SET".as_slice(), b"t", key, b"v", &bytes[..]]), Reply::ok());
    assert_eq!(redis.cmd(&[b"TABLE.GET".as_slice(), b"t", key, b"v"]), Reply::Array(vec![Reply::Bulk(bytes.clone())]));
    assert_eq!(redis.cmd(&[b"TABLE.SET".as_slice(), b"t", &bytes[..65], b"v", b"x"]).error(), Some("TOOLONG"));
    assert_eq!(redis.run("TABLE.COUNT t"), Reply::Int(1));
}

#[test]
fn counters() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "COUNTER.GET c -> nil
         COUNTER.INCR c -> :1
         COUNTER.INCR c 9 -> :10
         COUNTER.DECR c -> :9
         COUNTER.DECR c 10 -> :-1
         COUNTER.GET c -> :-1
         COUNTER.SET c 100 -> +OK
         COUNTER.CAS c 99 1 -> :0
         COUNTER.CAS c 100 1 -> :1
         COUNTER.GET c -> :1
         COUNTER.INCRBOUND c 5 5 -> -BOUND
         COUNTER.INCRBOUND c 4 5 -> :5
         COUNTER.INCRBOUND c 1 5 -> -BOUND
         COUNTER.DECRBOUND c 5 0 -> :0
         COUNTER.DECRBOUND c 1 0 -> -BOUND
         COUNTER.SET c 9223372036854775807 -> +OK
         COUNTER.INCR c -> -OVERFLOW
         COUNTER.GET c -> :9223372036854775807
         COUNTER.RESET c -> +OK
         COUNTER.GET c -> :0
         COUNTER.INCR c x -> -ERR
         COUNTER.SET c 1.5 -> -ERR
         COUNTER.SET d -5 -> +OK
         COUNTER.LIST -> [\"c\" :0 \"d\" :-5]
         COUNTER.DEL c -> :1
         COUNTER.DEL c -> :0
         COUNTER.GET c -> nil",
    );
    let (longest, longer) = ("n".repeat(255), "n".repeat(256));
    assert_eq!(redis.cmd(&["COUNTER.INCR", &longest]), Reply::Int(1));
    assert_eq!(redis.cmd(&["COUNTER.INCR", &longer]).error(), Some("TOOLONG"));
    assert_eq!(redis.cmd(&["COUNTER.INCR", ""]).error(), Some("ERR"));
}

#[test]
fn the_counter_region_is_bounded() {
    let server = Server::start(&["--workers", "2", "--counters", "64"]);
    let mut redis = server.redis();
    (0..64).for_each(|i| assert_eq!(redis.run(&format!("COUNTER.INCR c{i}")), Reply::Int(1)));
    assert!(redis.run("COUNTER.INCR more").error().is_some());
    assert_eq!(redis.run("COUNTER.DEL c7"), Reply::Int(1));
    assert_eq!(redis.run("COUNTER.INCR more"), Reply::Int(1));
}

#[test]
fn flushing_keys_leaves_tables_and_counters() {
    let server = server();
    let mut redis = server.redis();
    script(
        &mut redis,
        "TABLE.MAKE t 2 n int -> +OK
         TABLE.SET t a n 1 -> +OK
         COUNTER.SET c 5 -> +OK
         SET k v -> +OK
         DBSIZE -> :1
         FLUSHALL -> +OK
         DBSIZE -> :0
         TABLE.GET t a n -> [:1]
         COUNTER.GET c -> :5",
    );
}

#[test]
fn resp3_has_its_own_types() {
    let server = server();
    let mut redis = server.redis();
    redis.run("HELLO 3");
    script(
        &mut redis,
        "GET none -> nil
         TABLE.MAKE t 4 name string 8 score int rate float -> +OK
         TABLE.SET t a name bob score 3 rate 0.5 -> +OK
         TABLE.GET t a -> {\"name\" \"bob\" \"score\" :3 \"rate\" ,0.5}
         TABLE.GET t a rate -> [,0.5]
         TABLE.INCR t a rate 0.25 -> ,0.75
         TABLE.GET t none -> nil
         TABLE.MGET t a none -> [{\"name\" \"bob\" \"score\" :3 \"rate\" ,0.75} nil]
         COUNTER.SET c 1 -> +OK
         COUNTER.LIST -> {\"c\" :1}",
    );
    assert!(matches!(redis.run("TABLE.INFO t"), Reply::Map(_)));
    assert!(matches!(redis.run("CONFIG GET maxclients"), Reply::Map(_)));
    assert!(matches!(redis.run("TABLE.SCAN t 0").items()[1].items()[1], Reply::Map(_)));
}

#[test]
fn a_pipeline_is_answered_in_order() {
    let server = server();
    let mut redis = server.redis();
    let commands: Vec<u8> = (0..1000).flat_map(|i| encode(&["SET", &format!("k{i}"), &i.to_string()])).collect();
    redis.send(&commands).unwrap();
    (0..1000).for_each(|_| assert_eq!(redis.read().unwrap(), Reply::ok()));
    // Cut at odd places: a request may arrive in any number of pieces.
    let commands: Vec<u8> = (0..50).flat_map(|i| encode(&["GET", &format!("k{i}")])).collect();
    for piece in commands.chunks(7) {
        redis.send(piece).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    (0..50).for_each(|i| assert_eq!(redis.read().unwrap(), Reply::bulk(i.to_string())));
    // Good commands before a bad one are answered; then the connection closes.
    redis.send(b"*1\r\n$4\r\nPING\r\n*1\r\n$x\r\n").unwrap();
    assert_eq!(redis.read().unwrap(), Reply::Status("PONG".to_owned()));
    assert!(redis.read().unwrap().error().is_some());
    assert!(redis.read_to_close().is_empty());
}

#[test]
fn inline_commands_from_nc() {
    let server = server();
    let text =
        nc(server.resp(), "PING\r\nSET greeting \"hello world\"\r\nGET greeting\nCOUNTER.INCR hits 5\r\n\r\nQUIT\r\n")
            .text();
    assert_eq!(text, "+PONG\r\n+OK\r\n$11\r\nhello world\r\n:5\r\n+OK\r\n");
    let mut redis = server.redis();
    redis.send(b"SET esc \"a\\x00\\n\\\"b\" \r\nGET esc\r\nSET q 'it\\'s'\r\nGET q\r\n").unwrap();
    assert_eq!(redis.read().unwrap(), Reply::ok());
    assert_eq!(redis.read().unwrap(), Reply::bulk(b"a\0\n\"b"));
    assert_eq!(redis.read().unwrap(), Reply::ok());
    assert_eq!(redis.read().unwrap(), Reply::bulk("it's"));
}

#[test]
fn http_spoken_to_resp_is_cut_off() {
    let server = server();
    for line in ["POST / HTTP/1.1\r\n", "Host: example.com\r\n"] {
        let mut redis = server.redis();
        redis.send((line.to_owned() + "SET pwned 1\r\n").as_bytes()).unwrap();
        redis.read_to_close();
    }
    assert_eq!(server.redis().run("EXISTS pwned"), Reply::Int(0));
}

#[test]
fn resp_over_a_unix_socket() {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };
    let path = std::env::temp_dir().join(format!("store-master-it-{}.sock", std::process::id()));
    let server = Server::start(&["--workers", "2", "--resp-unix", path.to_str().unwrap()]);
    let mut socket = UnixStream::connect(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(b"SET unix yes\r\n").unwrap();
    let mut answer = [0; 5];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n");
    assert_eq!(server.redis().run("GET unix"), Reply::bulk("yes"));
    drop(server);
    std::fs::remove_file(path).ok();
}
