//! What things take: the bound for tables, exact capacity, and that nothing leaks.

use serde_json::json;

use crate::harness::{Http, Random, Reply, Resp, Server, encode};

/// A table's shape: rows, key size, columns.
struct Shape {
    rows: u64,
    key_bytes: u64,
    columns: Vec<(&'static str, u64)>,
}

impl Shape {
    fn new(rows: u64, key_bytes: u64, columns: &[(&'static str, u64)], times: usize) -> Self {
        Self { rows, key_bytes, columns: columns.repeat(times) }
    }

    /// Bytes of key and columns of a row, rounded up to 8.
    fn row(&self) -> u64 {
        let columns: u64 = self.columns.iter().map(|&(kind, size)| if kind == "string" { size + 2 } else { 8 }).sum();
        (self.key_bytes + columns).next_multiple_of(8)
    }

    /// The most bytes that a table of this shape may take: 4096 + N x (row + 24 + 7.5).
    fn bound(&self) -> u64 {
        4096 + self.rows * (self.row() + 24) + self.rows * 15 / 2
    }

    fn spec(&self, name: &str) -> serde_json::Value {
        let columns = self.columns.iter().enumerate().map(|(i, &(kind, size))| {
            let mut column = json!({"name": format!("c{i}"), "type": kind});
            if kind == "string" {
                column["size"] = json!(size);
            }
            column
        });
        json!({"name": name, "rows": self.rows, "key_bytes": self.key_bytes, "columns": columns.collect::<Vec<_>>()})
    }
}

fn used(web: &mut Http) -> u64 {
    web.get("/stats").json()["memory"]["used"].as_u64().expect("memory.used in /stats")
}

#[test]
fn a_table_takes_no_more_than_its_bound() {
    let server = Server::start(&["--workers", "1", "--memory", "128mb"]);
    let mut web = server.web();
    let mut shapes = Vec::new();
    for rows in [1, 2, 3, 7, 13, 16, 64, 100, 1000, 1001, 10_000, 100_000] {
        shapes.push(Shape::new(rows, 64, &[("int", 0)], 1));
        shapes.push(Shape::new(rows, 1, &[("string", 1)], 1));
        shapes.push(Shape::new(rows, 32, &[("string", 64), ("int", 0), ("float", 0)], 1));
    }
    for rows in [1, 10, 1000] {
        shapes.push(Shape::new(rows, 1024, &[("string", 1000)], 1));
        shapes.push(Shape::new(rows, 7, &[("int", 0)], 256));
        shapes.push(Shape::new(rows, 8, &[("string", 13)], 255));
        shapes.push(Shape::new(rows, 536, &[("string", 64_998)], 1));
    }
    for (i, shape) in shapes.iter().enumerate() {
        let before = used(&mut web);
        let made = web.post("/tables", &shape.spec(&format!("t{i}")));
        let what = format!("{} rows of {} bytes", shape.rows, shape.row());
        assert_eq!(made.status, 201, "{what}: {}", made.json());
        let bytes = web.get(&format!("/tables/t{i}")).json()["bytes"].as_u64().unwrap();
        assert!(bytes <= shape.bound(), "{what}: reports {bytes} bytes, {} are promised", shape.bound());
        assert!(bytes >= shape.rows * shape.row(), "{what}: reports {bytes} bytes, less than its rows");
        let lost = used(&mut web) - before;
        assert!(lost <= shape.bound(), "{what}: took {lost} bytes of the arena, {} are promised", shape.bound());
        assert_eq!(web.call("DELETE", &format!("/tables/t{i}")).status, 204);
        assert_eq!(used(&mut web), before, "{what}: dropping it did not give everything back");
    }
}

#[test]
fn making_and_dropping_a_thousand_times_leaks_nothing() {
    let server = Server::start(&["--workers", "2", "--memory", "32mb"]);
    let mut random = Random::new();
    let mut redis = server.redis();
    redis.run("TABLE.MAKE stays 100 n int");
    let before = server.memory_used();
    for i in 0..1000 {
        // Together far more than the segment has.
        let (rows, size) = (1 + random.below(2000), 1 + random.below(500));
        assert_eq!(redis.run(&format!("TABLE.MAKE temp{} {rows} s string {size} n int", i % 7)), Reply::ok());
        (0..rows.min(5))
            .for_each(|k| assert_eq!(redis.run(&format!("TABLE.SET temp{} k{k} n {k}", i % 7)), Reply::ok()));
        assert_eq!(redis.run(&format!("TABLE.DROP temp{}", i % 7)), Reply::ok());
    }
    assert_eq!(server.memory_used(), before);
    // Several at once, dropped in another order, leave room that joins again.
    for _ in 0..20 {
        (0..20)
            .for_each(|k| assert_eq!(redis.run(&format!("TABLE.MAKE many{k} {} n int", 100 * (k + 1))), Reply::ok()));
        let mut order: Vec<usize> = (0..20).collect();
        (0..20).for_each(|k| order.swap(k, random.below(20)));
        order.iter().for_each(|k| assert_eq!(redis.run(&format!("TABLE.DROP many{k}")), Reply::ok()));
    }
    assert_eq!(server.memory_used(), before);
    assert_eq!(redis.run("TABLE.LIST").items().len(), 1);
}

#[test]
fn exactly_as_many_rows_as_asked_for() {
    let server = Server::start(&["--workers", "2"]);
    let mut random = Random::new();
    let mut redis = server.redis();
    for rows in [1_usize, 2, 15, 16, 17, 100, 1000, 5000] {
        let table = format!("t{rows}");
        assert_eq!(redis.run(&format!("TABLE.MAKE {table} {rows} n int")), Reply::ok());
        for kind in 0..3 {
            let key = |i: usize| match kind {
                0 => i.to_string(),
                1 => format!("{i:064}"),
                _ => format!("user:{:x}:{i}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            };
            fill(&mut redis, &table, rows, &key);
            // One out, one in, many times, at random places.
            for i in 0..200 {
                let (out, back) = (key(random.below(rows)), format!("other{kind}.{i}"));
                assert_eq!(redis.cmd(&["TABLE.DEL", &table, &out]), Reply::Int(1));
                assert_eq!(redis.cmd(&["TABLE.SET", &table, &back, "n", "1"]), Reply::ok(), "{rows} rows, key {back}");
                assert_eq!(redis.cmd(&["TABLE.SET", &table, &out, "n", "1"]).error(), Some("TABLEFULL"));
                assert_eq!(redis.cmd(&["TABLE.DEL", &table, &back]), Reply::Int(1));
                assert_eq!(redis.cmd(&["TABLE.SET", &table, &out, "n", "1"]), Reply::ok());
            }
            assert_eq!(redis.run(&format!("TABLE.COUNT {table}")), Reply::Int(rows as i64));
            assert_eq!(redis.run(&format!("TABLE.CLEAR {table}")), Reply::ok());
        }
    }
}

fn fill(redis: &mut Resp, table: &str, rows: usize, key: &dyn Fn(usize) -> String) {
    for i in 0..rows {
        assert_eq!(redis.cmd(&["TABLE.SET", table, &key(i), "n", &i.to_string()]), Reply::ok(), "row {i} of {rows}");
    }
    let full = redis.cmd(&["TABLE.SET", table, "one more", "n", "1"]);
    assert_eq!(full.error(), Some("TABLEFULL"), "{table} takes more than {rows} rows");
    for i in 0..rows {
        assert_eq!(redis.cmd(&["TABLE.GET", table, &key(i), "n"]), Reply::Array(vec![Reply::Int(i as i64)]));
    }
}

#[test]
fn several_connections_fill_a_table_exactly() {
    let server = Server::start(&["--workers", "4", "--table", "t:3000:n=int"]);
    let addr = server.resp();
    let clients: Vec<_> = (0..8)
        .map(|client| {
            std::thread::spawn(move || {
                let mut redis = Resp::open(addr).unwrap();
                (0..600).filter(|i| redis.run(&format!("TABLE.SET t key{client}.{i} n 1")) == Reply::ok()).count()
            })
        })
        .collect();
    let written: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(written, 3000);
    assert_eq!(server.redis().run("TABLE.COUNT t"), Reply::Int(3000));
}

#[test]
fn a_full_heap_refuses_and_recovers() {
    for size in [3, 100, 1000, 50_000, 1_000_000] {
        let server = Server::start(&["--workers", "2", "--memory", "16mb"]);
        let mut redis = server.redis();
        let value = "v".repeat(size);
        let written = fill_with_values(&mut redis, &value);
        assert!(written >= 5, "only {written} values of {size} bytes fit");
        assert_eq!(redis.run("DBSIZE"), Reply::Int(written), "the refused key left a trace");
        assert!(redis.run("GET key:0") == Reply::bulk(&value));
        // Reads, counters and deletes still work; what was freed can be used again.
        assert_eq!(redis.run("COUNTER.INCR c").error(), None);
        for i in 0..written.min(20) {
            assert_eq!(redis.run(&format!("DEL key:{i}")), Reply::Int(1));
            assert_eq!(redis.cmd(&["SET", &format!("key:{i}"), &value]), Reply::ok(), "{size} bytes, key {i}");
        }
        let over_http = server.web().request("PUT", "/kv/one-more", &[], Some(&vec![b'v'; size.max(1_000_000)]));
        assert_eq!(over_http.error(), (507, "out_of_memory".to_owned()));
        assert_eq!(redis.run("FLUSHALL"), Reply::ok());
        assert_eq!(redis.run("DBSIZE"), Reply::Int(0));
        let again = fill_with_values(&mut redis, &value);
        assert!(again >= written * 9 / 10, "{written} values of {size} bytes fit, {again} after FLUSHALL");
    }
}

/// Sets `key:0`, `key:1` and so on until the first refusal, which must be for want of memory; returns how many there are.
fn fill_with_values(redis: &mut Resp, value: &str) -> i64 {
    let batch = (200_000 / value.len() as i64).clamp(1, 50);
    let mut written = 0;
    loop {
        let keys = written..written + batch;
        let commands: Vec<u8> = keys.flat_map(|i| encode(&["SET", &format!("key:{i}"), value])).collect();
        redis.send(&commands).unwrap();
        let answers: Vec<Reply> = (0..batch).map(|_| redis.read().unwrap()).collect();
        written += answers.iter().filter(|answer| **answer == Reply::ok()).count() as i64;
        if let Some(refused) = answers.iter().find(|answer| **answer != Reply::ok()) {
            assert_eq!(refused.error(), Some("OOM"), "{refused:?}");
            return written;
        }
    }
}

#[test]
fn overwriting_and_deleting_values_leaks_nothing() {
    let server = Server::start(&["--workers", "1", "--memory", "32mb"]);
    let mut random = Random::new();
    let mut redis = server.redis();
    // 2000 rounds of up to 200 KB each: some 200 MB through 32.
    for _ in 0..2000 {
        let most = 1 << random.below(18);
        let size = random.below(most);
        let key = format!("key:{}", random.below(50));
        let answer = match random.below(4) {
            0 => redis.cmd(&["DEL", &key]),
            1 => redis.cmd(&["APPEND", &key, &"a".repeat(size / 8)]),
            _ => redis.cmd(&["SET", &key, &"v".repeat(size)]),
        };
        assert!(answer.error().is_none(), "{answer:?}");
    }
    redis.run("FLUSHALL");
    assert_eq!(redis.cmd(&["SET", "large", &"v".repeat(10 << 20)]), Reply::ok(), "room is lost");
}

#[test]
fn a_small_value_takes_tens_of_bytes() {
    let server = Server::start(&["--workers", "1", "--memory", "64mb"]);
    let mut redis = server.redis();
    redis.run("SET warm up");
    let before = server.memory_used();
    let count = 20_000;
    (0..count).for_each(|i| assert_eq!(redis.run(&format!("SET k{i} abc")), Reply::ok()));
    let each = (server.memory_used() - before) / count;
    assert!(each < 200, "a key of 6 and a value of 3 bytes take {each} bytes");
}
