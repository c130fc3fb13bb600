//! Every route of the HTTP side and every error code it can answer with.

use std::{thread, time::Duration};

use serde_json::json;

use crate::harness::{Http, Server, percent};

fn server() -> Server {
    Server::start(&["--workers", "2"])
}

/// A table `t` of 4 rows: `name string(8)`, `score int`, `rate float`; keys of up to 64 bytes.
fn with_table(web: &mut Http) {
    let columns = json!([
        {"name": "name", "type": "string", "size": 8},
        {"name": "score", "type": "int"},
        {"name": "rate", "type": "float"},
    ]);
    let made = web.post("/tables", &json!({"name": "t", "rows": 4, "columns": columns}));
    assert_eq!(made.status, 201, "{}", made.json());
}

#[track_caller]
fn refuses(web: &mut Http, method: &str, path: &str, body: serde_json::Value, status: u16, code: &str) {
    let answer = if body.is_null() { web.call(method, path) } else { web.send_json(method, path, &body) };
    assert_eq!(answer.error(), (status, code.to_owned()), "{method} {path} {body}");
}

#[test]
fn tables() {
    let server = server();
    let mut web = server.web();
    let spec = json!({"name": "demo_table", "rows": 128, "columns": [
        {"name": "name", "type": "string", "size": 64}, {"name": "score", "type": "int"}]});
    let made = web.post("/tables", &spec);
    assert_eq!(made.status, 201);
    let info = made.json();
    assert_eq!(info["name"], "demo_table");
    assert_eq!(info["rows"], 128);
    assert_eq!(info["key_bytes"], 64);
    assert_eq!(info["count"], 0);
    assert!(info["bytes"].as_u64().unwrap() > 0);
    assert_eq!(info["columns"], spec["columns"]);
    assert_eq!(web.post("/tables", &spec).status, 200);
    let got = web.get("/tables/demo_table");
    assert_eq!((got.status, got.json()), (200, info));
    assert_eq!(got.header("content-type").map(|value| value.starts_with("application/json")), Some(true));

    let mut other = spec.clone();
    other["rows"] = json!(129);
    refuses(&mut web, "POST", "/tables", other, 409, "table_exists");
    let keyed = json!({"name": "keyed", "rows": 1, "key_bytes": 1024, "columns": [{"name": "n", "type": "int"}]});
    assert_eq!(web.post("/tables", &keyed).json()["key_bytes"], 1024);
    let listed = web.get("/tables").json().to_string();
    assert!(listed.contains("demo_table") && listed.contains("keyed"), "{listed}");

    assert_eq!(web.call("DELETE", "/tables/keyed").status, 204);
    refuses(&mut web, "DELETE", "/tables/keyed", json!(null), 404, "table_not_found");
    refuses(&mut web, "GET", "/tables/keyed", json!(null), 404, "table_not_found");
    refuses(&mut web, "GET", "/tables/keyed/rows/a", json!(null), 404, "table_not_found");
    refuses(&mut web, "PUT", "/tables/keyed/rows/a", json!({"n": 1}), 404, "table_not_found");
}

#[test]
fn bad_tables_are_refused() {
    let server = server();
    let mut web = server.web();
    let column = json!([{"name": "n", "type": "int"}]);
    let many: Vec<_> = (0..257).map(|i| json!({"name": format!("c{i}"), "type": "int"})).collect();
    let bad = [
        json!({}),
        json!([]),
        json!({"name": "x", "rows": 0, "columns": column}),
        json!({"name": "x", "rows": -1, "columns": column}),
        json!({"name": "x", "rows": 1.5, "columns": column}),
        json!({"name": "x", "rows": "1", "columns": column}),
        json!({"name": "x", "rows": 1, "columns": []}),
        json!({"name": "x", "rows": 1}),
        json!({"name": "", "rows": 1, "columns": column}),
        json!({"name": "a/b", "rows": 1, "columns": column}),
        json!({"name": "~clients", "rows": 1, "columns": column}),
        json!({"name": "x".repeat(65), "rows": 1, "columns": column}),
        json!({"name": "x", "rows": 1, "key_bytes": 0, "columns": column}),
        json!({"name": "x", "rows": 1, "key_bytes": 1025, "columns": column}),
        json!({"name": "x", "rows": 1, "columns": [{"name": "n", "type": "blob"}]}),
        json!({"name": "x", "rows": 1, "columns": [{"name": "n", "type": "string"}]}),
        json!({"name": "x", "rows": 1, "columns": [{"name": "n", "type": "string", "size": 0}]}),
        json!({"name": "x", "rows": 1, "columns": [{"name": "n", "type": "string", "size": 70000}]}),
        json!({"name": "x", "rows": 1, "columns": [{"name": "n", "type": "int"}, {"name": "n", "type": "int"}]}),
        json!({"name": "x", "rows": 1, "columns": many}),
    ];
    for spec in bad {
        let answer = web.post("/tables", &spec);
        assert_eq!(answer.error().0, 400, "{spec}");
    }
    let huge = json!({"name": "x", "rows": 4_000_000_000_u64, "columns": column});
    refuses(&mut web, "POST", "/tables", huge, 507, "out_of_memory");
    assert_eq!(web.get("/tables/x").status, 404);
}

#[test]
fn rows() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    refuses(&mut web, "GET", "/tables/t/rows/a", json!(null), 404, "row_not_found");
    assert_eq!(web.call("HEAD", "/tables/t/rows/a").status, 404);
    assert_eq!(web.put("/tables/t/rows/a", &json!({"name": "alice", "score": 100})).status, 204);
    assert_eq!(web.call("HEAD", "/tables/t/rows/a").status, 200);
    assert_eq!(web.get("/tables/t/rows/a").json(), json!({"name": "alice", "score": 100, "rate": 0.0}));
    assert_eq!(web.get("/tables/t/rows/a?field=score").json(), json!({"score": 100}));
    assert_eq!(web.put("/tables/t/rows/a", &json!({"rate": 1.5})).status, 204);
    assert_eq!(web.get("/tables/t/rows/a").json(), json!({"name": "alice", "score": 100, "rate": 1.5}));
    // 1.0 is the integer 1.
    assert_eq!(web.put("/tables/t/rows/a", &json!({"score": 1.0, "rate": 2})).status, 204);
    assert_eq!(web.get("/tables/t/rows/a?field=score").json(), json!({"score": 1}));

    let put = |web: &mut Http, query: &str| web.put(&format!("/tables/t/rows/{query}"), &json!({"score": 5}));
    assert_eq!(put(&mut web, "a?if=absent").error(), (409, "row_exists".to_owned()));
    assert_eq!(put(&mut web, "b?if=absent").status, 204);
    assert_eq!(put(&mut web, "b?if=present").status, 204);
    assert_eq!(put(&mut web, "c?if=present").error(), (404, "row_not_found".to_owned()));
    assert_eq!(put(&mut web, "c?if=maybe").error().0, 400);

    assert_eq!(web.call("DELETE", "/tables/t/rows/b").status, 204);
    refuses(&mut web, "DELETE", "/tables/t/rows/b", json!(null), 404, "row_not_found");
    let getdel = web.post("/tables/t/rows/a/getdel", &json!({}));
    assert_eq!(getdel.json(), json!({"name": "alice", "score": 1, "rate": 2.0}));
    refuses(&mut web, "POST", "/tables/t/rows/a/getdel", json!({}), 404, "row_not_found");
    assert_eq!(web.call("POST", "/tables/t/rows/a/getdel").status, 404);
    assert_eq!(web.get("/tables/t/count").json(), json!({"count": 0}));
}

#[test]
fn what_a_row_refuses() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    let row = "/tables/t/rows/a";
    refuses(&mut web, "PUT", row, json!({"nosuch": 1}), 422, "unknown_column");
    refuses(&mut web, "PUT", row, json!({"score": "abc"}), 422, "wrong_type");
    refuses(&mut web, "PUT", row, json!({"score": 1.5}), 422, "wrong_type");
    refuses(&mut web, "PUT", row, json!({"score": null}), 422, "wrong_type");
    refuses(&mut web, "PUT", row, json!({"score": [1]}), 422, "wrong_type");
    refuses(&mut web, "PUT", row, json!({"score": 9_223_372_036_854_775_808_u64}), 422, "wrong_type");
    refuses(&mut web, "PUT", row, json!({"rate": "x"}), 422, "wrong_type");
    refuses(&mut web, "PUT", row, json!({"name": 5}), 422, "wrong_type");
    refuses(&mut web, "PUT", row, json!({"score": 1, "name": "ninebytes"}), 422, "value_too_long");
    refuses(&mut web, "PUT", &format!("/tables/t/rows/{}", "k".repeat(65)), json!({"score": 1}), 422, "key_too_long");
    refuses(&mut web, "GET", "/tables/t/rows/a?field=nosuch", json!(null), 422, "unknown_column");
    refuses(&mut web, "POST", "/tables/t/rows/a/incr", json!({"column": "name"}), 422, "wrong_type");
    refuses(&mut web, "POST", "/tables/t/rows/a/incr", json!({"column": "nosuch"}), 422, "unknown_column");
    refuses(&mut web, "POST", "/tables/t/rows/a/incr", json!({"column": "score", "by": "x"}), 422, "wrong_type");
    assert_eq!(web.post("/tables/t/rows/a/incr", &json!({})).error().0, 400);
    assert_eq!(web.get("/tables/t/count").json(), json!({"count": 0}), "a refused write left something");
    let duplicate = br#"{"score":1,"score":2}"#;
    let answer = web.request("PUT", row, &[("content-type", "application/json")], Some(duplicate));
    assert!(matches!(answer.status, 204 | 400), "{}", answer.status);
}

#[test]
fn a_full_table() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    (0..4).for_each(|i| assert_eq!(web.put(&format!("/tables/t/rows/r{i}"), &json!({"score": i})).status, 204));
    refuses(&mut web, "PUT", "/tables/t/rows/more", json!({"score": 1}), 507, "table_full");
    refuses(&mut web, "POST", "/tables/t/rows/more/incr", json!({"column": "score"}), 507, "table_full");
    assert_eq!(web.put("/tables/t/rows/r0", &json!({"score": 9})).status, 204, "a full table still takes updates");
    assert_eq!(web.call("DELETE", "/tables/t/rows/r3").status, 204);
    assert_eq!(web.put("/tables/t/rows/more", &json!({"score": 1})).status, 204);
    assert_eq!(web.call("DELETE", "/tables/t/rows").status, 204);
    assert_eq!(web.get("/tables/t/count").json(), json!({"count": 0}));
}

#[test]
fn incr_decr_and_cas() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    let incr = |web: &mut Http, verb: &str, body| web.post(&format!("/tables/t/rows/a/{verb}"), &body);
    assert_eq!(incr(&mut web, "incr", json!({"column": "score", "by": 5})).json(), json!({"value": 5}));
    assert_eq!(incr(&mut web, "incr", json!({"column": "score"})).json(), json!({"value": 6}));
    assert_eq!(incr(&mut web, "decr", json!({"column": "score", "by": 10})).json(), json!({"value": -4}));
    assert_eq!(incr(&mut web, "incr", json!({"column": "rate", "by": 0.5})).json(), json!({"value": 0.5}));
    let overflow = incr(&mut web, "decr", json!({"column": "score", "by": i64::MAX}));
    assert_eq!(overflow.error(), (422, "overflow".to_owned()));
    let overflow = incr(&mut web, "incr", json!({"column": "rate", "by": 1e308}));
    assert_eq!(overflow.status, 200);
    let overflow = incr(&mut web, "incr", json!({"column": "rate", "by": 1e308}));
    assert_eq!(overflow.error(), (422, "overflow".to_owned()));

    let cas = |web: &mut Http, body| web.post("/tables/t/rows/a/cas", &body);
    let wrong = json!({"expect": {"score": 1}, "set": {"score": 2}});
    assert_eq!(cas(&mut web, wrong.clone()).error(), (409, "cas_mismatch".to_owned()));
    let right = json!({"expect": {"score": -4, "name": ""}, "set": {"score": 2, "name": "bob"}});
    assert_eq!(cas(&mut web, right).status, 204);
    assert_eq!(web.get("/tables/t/rows/a?field=name").json(), json!({"name": "bob"}));
    let unknown = json!({"expect": {"nosuch": 1}, "set": {}});
    assert_eq!(cas(&mut web, unknown).error(), (422, "unknown_column".to_owned()));
    assert_eq!(web.post("/tables/t/rows/none/cas", &wrong).error(), (404, "row_not_found".to_owned()));
}

#[test]
fn the_expiry_of_rows() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    let ttl = |web: &mut Http, key: &str| web.get(&format!("/tables/t/rows/{key}/ttl")).json()["ttl"].clone();
    assert_eq!(web.put("/tables/t/rows/a?ttl=60", &json!({"score": 1})).status, 204);
    let left = ttl(&mut web, "a").as_f64().unwrap();
    assert!(left > 50.0 && left <= 60.0, "{left}");
    assert_eq!(web.post("/tables/t/rows/a/persist", &json!({})).status, 204);
    assert_eq!(ttl(&mut web, "a"), json!(null));
    assert_eq!(web.post("/tables/t/rows/a/expire", &json!({"ttl": 100.5})).status, 204);
    assert!(ttl(&mut web, "a").as_f64().unwrap() > 90.0);
    assert_eq!(web.post("/tables/t/rows/none/expire", &json!({"ttl": 1})).error(), (404, "row_not_found".to_owned()));
    refuses(&mut web, "GET", "/tables/t/rows/none/ttl", json!(null), 404, "row_not_found");
    assert_eq!(web.put("/tables/t/rows/a?ttl=abc", &json!({"score": 1})).error().0, 400);
    assert_eq!(web.put("/tables/t/rows/a?ttl=-5", &json!({"score": 1})).error().0, 400);
    assert_eq!(web.post("/tables/t/rows/a/expire", &json!({"ttl": "x"})).error().0, 400);
    assert_eq!(web.put("/tables/t/rows/b?ttl=0.03", &json!({"score": 1})).status, 204);
    thread::sleep(Duration::from_millis(60));
    assert_eq!(web.get("/tables/t/rows/b").status, 404);
}

#[test]
fn several_rows_at_once() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    let rows = json!({"rows": {"a": {"score": 1}, "b": {"score": 2, "name": "bob"}}});
    assert_eq!(web.post("/tables/t/mset", &rows).status, 204);
    let got = web.post("/tables/t/mget", &json!({"keys": ["a", "none", "b"]})).json();
    assert_eq!(got["rows"]["a"]["score"], 1);
    assert_eq!(got["rows"]["b"]["name"], "bob");
    assert!(got["rows"]["none"].is_null() && got["rows"].as_object().unwrap().contains_key("none"), "{got}");
    // One bad row: none is written.
    let bad = json!({"rows": {"a": {"score": 9}, "c": {"nosuch": 2}}});
    assert_eq!(web.post("/tables/t/mset", &bad).error(), (422, "unknown_column".to_owned()));
    let full = json!({"rows": {"a": {"score": 9}, "c": {}, "d": {}, "e": {}}});
    assert_eq!(web.post("/tables/t/mset", &full).error(), (507, "table_full".to_owned()));
    assert_eq!(web.get("/tables/t/rows/a?field=score").json(), json!({"score": 1}));
    let many: serde_json::Map<_, _> = (0..65).map(|i| (format!("k{i}"), json!({"score": i}))).collect();
    assert_eq!(web.post("/tables/t/mset", &json!({"rows": many})).error(), (413, "too_large".to_owned()));
    let keys: Vec<_> = (0..65).map(|i| format!("k{i}")).collect();
    assert_eq!(web.post("/tables/t/mget", &json!({"keys": keys})).error(), (413, "too_large".to_owned()));
    assert_eq!(web.post("/tables/t/mget", &json!({"keys": "a"})).error().0, 400);
    assert_eq!(web.get("/tables/t/count").json(), json!({"count": 2}));
}

#[test]
fn pages_of_rows() {
    let server = server();
    let mut web = server.web();
    let spec = json!({"name": "big", "rows": 300, "columns": [{"name": "n", "type": "int"}]});
    assert_eq!(web.post("/tables", &spec).status, 201);
    for chunk in (0..300).collect::<Vec<_>>().chunks(60) {
        let rows: serde_json::Map<_, _> = chunk.iter().map(|i| (format!("k{i}"), json!({"n": i}))).collect();
        assert_eq!(web.post("/tables/big/mset", &json!({"rows": rows})).status, 204);
    }
    for count in [1, 50, 1000] {
        let (mut cursor, mut seen) = (String::new(), std::collections::BTreeSet::new());
        loop {
            let page = web.get(&format!("/tables/big/rows?cursor={cursor}&count={count}")).json();
            for (key, row) in page["rows"].as_object().unwrap() {
                assert_eq!(format!("k{}", row["n"]), *key);
                assert!(seen.insert(key.clone()), "{key} twice");
            }
            match page["cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen.len(), 300, "count {count}");
    }
    assert_eq!(web.get("/tables/big/rows?cursor=nonsense").error().0, 400);
    assert_eq!(web.get("/tables/big/rows?count=x").error().0, 400);
}

#[test]
fn keys_and_values_of_any_bytes() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    let b64 = "AP/+"; // 00 ff fe
    let url64 = "AP_-";
    let binary = percent([0x00, 0xff, 0xfe]);
    assert_eq!(web.put(&format!("/tables/t/rows/{binary}"), &json!({"name": {"base64": "/wA="}})).status, 204);
    let by_b64 = web.get(&format!("/tables/t/rows/~b64:{url64}"));
    assert_eq!(by_b64.json()["name"], json!({"base64": "/wA="}));
    let page = web.get("/tables/t/rows").json();
    assert_eq!(page["binary"][0]["key"], json!({"base64": b64}));
    assert_eq!(page["binary"][0]["row"]["name"], json!({"base64": "/wA="}));
    let mset = json!({"rows": {}, "binary": [{"key": {"base64": b64}, "row": {"score": 8}}]});
    assert_eq!(web.post("/tables/t/mset", &mset).status, 204);
    assert_eq!(web.get(&format!("/tables/t/rows/{binary}?field=score")).json(), json!({"score": 8}));
    for (path, key) in [("~~tilde", "~tilde"), ("%2E%2E%2Fx", "../x"), ("%C3%A9%20%3F", "é ?"), ("~b64:Li4", "..")] {
        assert_eq!(web.put(&format!("/kv/{path}"), &json!(1)).status, 204, "{path}");
        assert_eq!(server.redis().cmd(&["GET", key]).text(), "1", "{path}");
        assert_eq!(web.call("DELETE", &format!("/kv/{path}")).status, 204);
    }
    assert_eq!(web.get("/tables/t/rows/~b64:***").error().0, 400);
    assert_eq!(web.get("/tables/t/rows/%zz").error().0, 400);
    assert_eq!(web.put("/tables/t/rows/a", &json!({"name": {"base64": "***"}})).error().0 / 100, 4);
}

#[test]
fn big_integers() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    assert_eq!(web.put("/tables/t/rows/a", &json!({"score": i64::MIN})).status, 204);
    assert_eq!(web.get("/tables/t/rows/a?field=score").json(), json!({"score": i64::MIN}));
    assert_eq!(web.get("/tables/t/rows/a?field=score&ints=string").json(), json!({"score": i64::MIN.to_string()}));
    assert_eq!(web.put("/counters/c", &json!({"value": i64::MAX})).status / 100, 2);
    assert_eq!(web.get("/counters/c").json(), json!({"value": i64::MAX}));
    assert_eq!(web.get("/counters/c?ints=string").json(), json!({"value": i64::MAX.to_string()}));
}

#[test]
fn counters() {
    let server = server();
    let mut web = server.web();
    refuses(&mut web, "GET", "/counters/c", json!(null), 404, "counter_not_found");
    assert_eq!(web.call("POST", "/counters/c/incr").json(), json!({"value": 1}));
    assert_eq!(web.post("/counters/c/incr", &json!({"by": 9})).json(), json!({"value": 10}));
    assert_eq!(web.post("/counters/c/decr", &json!({"by": 4})).json(), json!({"value": 6}));
    assert_eq!(web.post("/counters/c/incr", &json!({"by": 4, "max": 10})).json(), json!({"value": 10}));
    refuses(&mut web, "POST", "/counters/c/incr", json!({"by": 1, "max": 10}), 409, "bound_reached");
    refuses(&mut web, "POST", "/counters/c/decr", json!({"by": 11, "min": 0}), 409, "bound_reached");
    assert_eq!(web.get("/counters/c").json(), json!({"value": 10}));
    assert_eq!(
        web.post("/counters/c/cas", &json!({"expect": 10, "set": 5})).json(),
        json!({"swapped": true, "value": 5})
    );
    assert_eq!(
        web.post("/counters/c/cas", &json!({"expect": 10, "set": 7})).json(),
        json!({"swapped": false, "value": 5})
    );
    assert_eq!(web.put("/counters/d", &json!({"value": -3})).status / 100, 2);
    assert_eq!(web.get("/counters").json(), json!({"counters": {"c": 5, "d": -3}}));
    assert_eq!(web.call("POST", "/counters/c/reset").status / 100, 2);
    assert_eq!(web.get("/counters/c").json(), json!({"value": 0}));
    web.put("/counters/c", &json!({"value": i64::MAX}));
    refuses(&mut web, "POST", "/counters/c/incr", json!({"by": 1}), 422, "overflow");
    assert_eq!(web.call("DELETE", "/counters/c").status, 204);
    refuses(&mut web, "DELETE", "/counters/c", json!(null), 404, "counter_not_found");
    refuses(&mut web, "POST", &format!("/counters/{}/incr", "n".repeat(256)), json!({}), 422, "key_too_long");
    assert_eq!(web.post("/counters/d/incr", &json!({"by": "x"})).error().0 / 100, 4);
    assert_eq!(web.put("/counters/d", &json!({})).error().0, 400);
    assert_eq!(web.get("/counters/d").json(), json!({"value": -3}));
}

#[test]
fn a_full_counter_region() {
    let server = Server::start(&["--workers", "2", "--counters", "64"]);
    let mut web = server.web();
    (0..64).for_each(|i| assert_eq!(web.call("POST", &format!("/counters/c{i}/incr")).status, 200));
    refuses(&mut web, "POST", "/counters/more/incr", json!({}), 507, "counters_full");
}

#[test]
fn values() {
    let server = server();
    let mut web = server.web();
    refuses(&mut web, "GET", "/kv/a", json!(null), 404, "key_not_found");
    let bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    assert_eq!(web.request("PUT", "/kv/a", &[], Some(&bytes)).status, 204);
    let got = web.get("/kv/a");
    assert!(got.status == 200 && got.body == bytes);
    assert_eq!(web.request("PUT", "/kv/empty", &[], Some(b"")).status, 204);
    assert_eq!(web.get("/kv/empty").body, b"");
    assert_eq!(web.request("PUT", "/kv/n", &[], Some(b"007")).status, 204);
    assert_eq!(web.get("/kv/n").body, b"007");
    assert_eq!(web.request("PUT", "/kv/n", &[], Some(b"7")).status, 204);
    assert_eq!(web.call("POST", "/kv/n/incr").json(), json!({"value": 8}));
    assert_eq!(web.post("/kv/n/decr", &json!({"by": 10})).json(), json!({"value": -2}));
    assert_eq!(web.call("POST", "/kv/a/incr").error(), (422, "wrong_type".to_owned()));
    assert_eq!(web.request("PUT", "/kv/short?ttl=0.03", &[], Some(b"x")).status, 204);
    thread::sleep(Duration::from_millis(60));
    assert_eq!(web.get("/kv/short").status, 404);
    assert_eq!(web.request("PUT", "/kv/x?ttl=nonsense", &[], Some(b"x")).error().0, 400);
    assert_eq!(web.call("DELETE", "/kv/a").status, 204);
    refuses(&mut web, "DELETE", "/kv/a", json!(null), 404, "key_not_found");
    // Chunked, in pieces.
    web.send(b"PUT /kv/chunked HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").unwrap();
    web.send(b"2\r\nde\r\n0\r\n\r\n").unwrap();
    assert_eq!(web.read(false).unwrap().status, 204);
    assert_eq!(web.get("/kv/chunked").body, b"abcde");
}

#[test]
fn bad_requests() {
    let server = server();
    let mut web = server.web();
    with_table(&mut web);
    let json = [("content-type", "application/json")];
    for body in ["", "{", "{\"score\":}", "[1]", "\"x\"", "{\"score\":1}x", "\u{0}", "{\"score\":1e999}"] {
        let answer = web.request("PUT", "/tables/t/rows/a", &json, Some(body.as_bytes()));
        assert!(matches!(answer.error().0, 400 | 422), "{body:?}");
    }
    assert_eq!(web.request("PUT", "/tables/t/rows/a", &json, Some(b"{\"name\":\"\xff\"}")).error().0, 400);
    let deep = "[".repeat(100_000);
    assert_eq!(web.request("PUT", "/tables/t/rows/a", &json, Some(deep.as_bytes())).error().0, 400);
    assert_eq!(web.request("PUT", "/tables/t/rows/a", &[], Some(b"{\"score\":1}")).error().0, 415);
    let text = [("content-type", "text/plain")];
    assert_eq!(web.request("PUT", "/tables/t/rows/a", &text, Some(b"{\"score\":1}")).error().0, 415);
    let charset = [("content-type", "application/json; charset=utf-8")];
    assert_eq!(web.request("PUT", "/tables/t/rows/a", &charset, Some(b"{\"score\":1}")).status, 204);
    for path in ["/", "/nosuch", "/tables/t/nosuch", "/tables/t/rows/a/nosuch", "/kv", "/counters/c/nosuch"] {
        assert_eq!(web.get(path).error().0, 404, "{path}");
    }
    for (method, path) in
        [("PATCH", "/tables/t"), ("POST", "/healthz"), ("DELETE", "/tables"), ("PUT", "/tables/t/rows/a/incr")]
    {
        let answer = web.call(method, path);
        assert_eq!(answer.error().0, 405, "{method} {path}");
        assert!(answer.header("allow").is_some(), "405 names what is allowed");
    }
}

#[test]
fn health_stats_and_metrics() {
    let server = server();
    let mut web = server.web();
    assert_eq!(web.get("/healthz").status, 200);
    assert_eq!(web.get("/readyz").status, 200);
    let stats = web.get("/stats").json();
    assert_eq!(stats["workers"].as_array().map(Vec::len), Some(2), "{stats}");
    assert!(stats["total"]["http_requests"].as_u64().unwrap() >= 2, "{stats}");
    let metrics = web.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain"), "{:?}", metrics.headers);
    check_metrics(&String::from_utf8(metrics.body).unwrap());
}

/// Prometheus text: every sample is of a metric with HELP and TYPE, and what counts is called `_total`.
fn check_metrics(text: &str) {
    let mut types = std::collections::BTreeMap::new();
    let mut helped = std::collections::BTreeSet::new();
    let mut samples = 0;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["#", "HELP", name, ..] => assert!(helped.insert(name), "{name} has two HELP lines"),
            ["#", "TYPE", name, kind] => assert!(types.insert(name, kind).is_none(), "{name} has two TYPE lines"),
            [sample, value] => {
                let name = sample.split('{').next().unwrap();
                assert!(name.starts_with("store_"), "{line}");
                assert!(helped.contains(name), "no HELP for {name}");
                let counts = types.get(name).unwrap_or_else(|| panic!("no TYPE for {name}")) == &"counter";
                assert_eq!(counts, name.ends_with("_total"), "{line}");
                value.parse::<f64>().unwrap_or_else(|error| panic!("{line}: {error}"));
                samples += 1;
            }
            _ => panic!("not Prometheus text: {line:?}"),
        }
    }
    assert!(samples > 20, "{samples} samples");
    assert!(text.ends_with('\n'));
}

#[test]
fn every_answer_names_a_worker() {
    let server = server();
    let mut web = server.web();
    let workers = server.workers();
    for path in ["/healthz", "/nosuch", "/tables", "/counters/none", "/stats"] {
        let (index, pid) = web.get(path).worker();
        assert!(index < 2 && workers.contains(&pid), "{path}: {index}/{pid} of {workers:?}");
    }
}

#[test]
fn requests_on_one_connection_can_be_pipelined() {
    let server = server();
    let mut web = server.web();
    let request = b"POST /counters/p/incr HTTP/1.1\r\nhost: localhost\r\n\r\n";
    web.send(&request.repeat(100)).unwrap();
    (1..=100).for_each(|n| assert_eq!(web.read(false).unwrap().json(), json!({"value": n})));
}
