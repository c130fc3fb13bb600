//! Every route against the in-memory store.

use std::sync::Arc;

use serde_json::{Value as Parsed, json};

use super::{Answer, Context, Head, Response, admit};
use crate::{
    backend::{Limits, MemoryStore},
    command::WorkerState,
    config::Config,
    store::{MemoryLimit, Stat, Store},
};

struct Site {
    store: Store,
    state: WorkerState,
    config: Config,
    draining: bool,
}

/// One request, with the headers of an ordinary client.
struct Ask<'a> {
    head: Head<'a>,
    body: &'a [u8],
}

impl Site {
    fn new() -> Self {
        let limits = Limits { counters: 3, max_keys: 100, workers: 2, ..Limits::default() };
        let (store, config) = (Store::on(Arc::new(MemoryStore::new(limits))), Config::default());
        let state = WorkerState::open(&store, &config, 1, now_ms()).expect("the memory store never waits");
        Self { store, state, config, draining: false }
    }

    /// With the table that most tests use.
    fn with_table() -> Self {
        let site = Self::new();
        let body = r#"{"name":"demo_table","rows":3,"key_bytes":16,"columns":[{"name":"name","type":"string","size":64},
            {"name":"score","type":"int"},{"name":"ratio","type":"float"}]}"#;
        assert_eq!(site.post("/tables", body).status, 201);
        site
    }

    fn send(&self, ask: &Ask<'_>) -> Response {
        let context = Context {
            store: &self.store,
            state: &self.state,
            config: &self.config,
            now_ms: now_ms(),
            worker: 1,
            draining: self.draining,
        };
        match admit(&ask.head, &context).map(|plan| plan.run(ask.body, &context)) {
            Ok(Answer::Done(response)) | Err(response) => response,
            Ok(Answer::Wait) => panic!("the memory store never waits"),
        }
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> Response {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let head = Head {
            method,
            path,
            query,
            host: Some(b"localhost"),
            content_type: Some(b"application/json; charset=utf-8"),
            ..Head::default()
        };
        self.send(&Ask { head, body: body.as_bytes() })
    }

    fn get(&self, target: &str) -> Response {
        self.ask("GET", target, "")
    }

    fn put(&self, target: &str, body: &str) -> Response {
        self.ask("PUT", target, body)
    }

    fn post(&self, target: &str, body: &str) -> Response {
        self.ask("POST", target, body)
    }

    fn delete(&self, target: &str) -> Response {
        self.ask("DELETE", target, "")
    }
}

fn now_ms() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// Status and body.
#[track_caller]
fn is(response: &Response, status: u16, body: Parsed) {
    let text = String::from_utf8_lossy(response.bytes());
    assert_eq!(response.status, status, "{text}");
    assert_eq!(serde_json::from_slice::<Parsed>(response.bytes()).expect("a JSON body"), body);
    assert_eq!(response.body.as_ref().map(|body| body.content_type), Some("application/json"));
}

/// 204 without a body.
#[track_caller]
fn is_done(response: &Response) {
    assert_eq!((response.status, String::from_utf8_lossy(response.bytes()).as_ref()), (204, ""));
    assert_eq!(response.body, None);
}

/// Status and code of an error.
#[track_caller]
fn fails(response: &Response, status: u16, code: &str) {
    let body: Parsed = serde_json::from_slice(response.bytes()).expect("an error has a JSON body");
    assert_eq!((response.status, body["error"]["code"].as_str()), (status, Some(code)), "{body}");
    assert!(!body["error"]["message"].as_str().unwrap_or_default().is_empty());
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_ref())
}

#[test]
fn tables_are_made_once_and_listed() {
    let site = Site::new();
    let body =
        r#"{"name":"t","rows":128,"columns":[{"name":"name","type":"string","size":64},{"name":"n","type":"int"}]}"#;
    let made = site.post("/tables", body);
    assert_eq!((made.status, header(&made, "location")), (201, Some("/tables/t")));
    let info: Parsed = serde_json::from_slice(made.bytes()).expect("JSON");
    assert_eq!(info["columns"], json!([{"name":"name","type":"string","size":64},{"name":"n","type":"int"}]));
    assert_eq!(
        (&info["name"], &info["rows"], &info["key_bytes"], &info["count"]),
        (&json!("t"), &json!(128), &json!(64), &json!(0))
    );
    assert!(info["bytes"].is_u64());
    assert_eq!(site.post("/tables", body).status, 200);
    fails(&site.post("/tables", &body.replace("128", "129")), 409, "table_exists");
    assert_eq!(serde_json::from_slice::<Parsed>(site.get("/tables").bytes()).expect("JSON")["tables"][0]["name"], "t");
    assert_eq!(serde_json::from_slice::<Parsed>(site.get("/tables/t").bytes()).expect("JSON"), info);
    is_done(&site.delete("/tables/t"));
    fails(&site.delete("/tables/t"), 404, "table_not_found");
    fails(&site.get("/tables/t"), 404, "table_not_found");
    is(&site.get("/tables"), 200, json!({"tables":[]}));
}

#[test]
fn malformed_schemas_make_no_table() {
    let site = Site::new();
    for body in [
        r#"{"rows":1,"columns":[{"name":"n","type":"int"}]}"#,
        r#"{"name":"t","columns":[{"name":"n","type":"int"}]}"#,
        r#"{"name":"t","rows":1}"#,
        r#"{"name":"t","rows":1,"columns":[]}"#,
        r#"{"name":"t","rows":0,"columns":[{"name":"n","type":"int"}]}"#,
        r#"{"name":"t","rows":-1,"columns":[{"name":"n","type":"int"}]}"#,
        r#"{"name":"t","rows":1.5,"columns":[{"name":"n","type":"int"}]}"#,
        r#"{"name":"t","rows":99999999999,"columns":[{"name":"n","type":"int"}]}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"bool"}]}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"string"}]}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"string","size":0}]}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"string","size":65536}]}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"int","size":8}]}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"int"},{"name":"n","type":"int"}]}"#,
        r#"{"name":"t","rows":1,"columns":["n"]}"#,
        r#"{"name":"t","rows":1,"columns":{}}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"int"}],"key_bytes":0}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"int"}],"key_bytes":70000}"#,
        r#"{"name":"t","rows":1,"columns":[{"name":"n","type":"int"}],"keys":1}"#,
        r#"{"name":"~t","rows":1,"columns":[{"name":"n","type":"int"}]}"#,
        r#"{"name":"a b","rows":1,"columns":[{"name":"n","type":"int"}]}"#,
        r#"{"name":1,"rows":1,"columns":[{"name":"n","type":"int"}]}"#,
        "[]",
        "",
        "{",
    ] {
        fails(&site.post("/tables", body), 400, "bad_request");
    }
    is(&site.get("/tables"), 200, json!({"tables":[]}));
}

#[test]
fn rows_keep_what_is_not_named() {
    let site = Site::with_table();
    let row = "/tables/demo_table/rows/user_1";
    fails(&site.get(row), 404, "row_not_found");
    is_done(&site.put(row, r#"{"name":"alice","score":100}"#));
    is(&site.get(row), 200, json!({"name":"alice","score":100,"ratio":0.0}));
    is_done(&site.put(row, r#"{"score":7.0,"ratio":2}"#));
    is(&site.get(row), 200, json!({"name":"alice","score":7,"ratio":2.0}));
    assert_eq!(site.get(row).bytes(), br#"{"name":"alice","score":7,"ratio":2.0}"#);
    is(&site.get("/tables/demo_table/rows/user_1?field=score"), 200, json!({"score":7}));
    is(&site.get("/tables/demo_table/rows/user_1?ints=string"), 200, json!({"name":"alice","score":"7","ratio":2.0}));
    fails(&site.get("/tables/demo_table/rows/user_1?field=x"), 422, "unknown_column");
    assert_eq!(site.ask("HEAD", row, "").status, 200);
    is_done(&site.delete(row));
    fails(&site.delete(row), 404, "row_not_found");
    assert_eq!(site.ask("HEAD", row, "").status, 404);
    is_done(&site.put(row, "{}"));
    is(&site.get(row), 200, json!({"name":"","score":0,"ratio":0.0}));
}

#[test]
fn a_refused_row_writes_nothing() {
    let site = Site::with_table();
    let row = "/tables/demo_table/rows/k";
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(65));
    for (body, status, code) in [
        (r#"{"score":1.5}"#, 422, "wrong_type"),
        (r#"{"score":"1"}"#, 422, "wrong_type"),
        (r#"{"score":null}"#, 422, "wrong_type"),
        (r#"{"score":9223372036854775808}"#, 422, "wrong_type"),
        (r#"{"name":5}"#, 422, "wrong_type"),
        (r#"{"ratio":"1.5"}"#, 422, "wrong_type"),
        (r#"{"ratio":1e999}"#, 400, "bad_request"),
        (r#"{"score":1,"nope":1}"#, 422, "unknown_column"),
        (long.as_str(), 422, "value_too_long"),
        (r#"{"score":1,"score":2}"#, 400, "bad_request"),
        (r#"{"score":1"#, 400, "bad_request"),
        ("5", 400, "bad_request"),
        ("", 400, "bad_request"),
    ] {
        fails(&site.put(row, body), status, code);
    }
    fails(&site.put("/tables/demo_table/rows/12345678901234567", "{}"), 422, "key_too_long");
    fails(&site.put("/tables/demo_table/rows/", "{}"), 400, "bad_request");
    fails(&site.put("/tables/none/rows/k", "{}"), 404, "table_not_found");
    is(&site.get("/tables/demo_table/count"), 200, json!({"count":0}));
    for key in ["a", "b", "c"] {
        is_done(&site.put(&format!("/tables/demo_table/rows/{key}"), "{}"));
    }
    fails(&site.put("/tables/demo_table/rows/d", "{}"), 507, "table_full");
    is(&site.get("/tables/demo_table/count"), 200, json!({"count":3}));
}

#[test]
fn keys_and_values_of_any_bytes() {
    let site = Site::with_table();
    is_done(&site.put("/tables/demo_table/rows/%ff%00", r#"{"name":{"base64":"//8="}}"#));
    let row = json!({"name":{"base64":"//8="},"score":0,"ratio":0.0});
    is(&site.get("/tables/demo_table/rows/~b64:_wA"), 200, row.clone());
    is_done(&site.put("/tables/demo_table/rows/~~a%2Fb", r#"{"name":"é\u0000"}"#));
    let text = json!({"name":"é\u{0}","score":0,"ratio":0.0});
    is(&site.get("/tables/demo_table/rows/~b64:fmEvYg=="), 200, text.clone());
    let page = json!({"cursor":null,"rows":{"~a/b":text},"binary":[{"key":{"base64":"/wA="},"row":row}]});
    is(&site.get("/tables/demo_table/rows"), 200, page);
    let asked = site.post("/tables/demo_table/mget", r#"{"keys":["~a/b","none",{"base64":"/wA="},{"base64":"/w=="}]}"#);
    is(
        &asked,
        200,
        json!({"rows":{"~a/b":text,"none":null},
            "binary":[{"key":{"base64":"/wA="},"row":row},{"key":{"base64":"/w=="},"row":null}]}),
    );
    fails(&site.get("/tables/demo_table/rows/~a"), 400, "bad_request");
    fails(&site.get("/tables/demo_table/rows/%f"), 400, "bad_request");
}

#[test]
fn conditions() {
    let site = Site::with_table();
    let row = "/tables/demo_table/rows/k";
    fails(&site.put(&format!("{row}?if=present"), r#"{"score":1}"#), 404, "row_not_found");
    is_done(&site.put(&format!("{row}?if=absent"), r#"{"score":1}"#));
    fails(&site.put(&format!("{row}?if=absent"), r#"{"score":2}"#), 409, "row_exists");
    is_done(&site.put(&format!("{row}?if=present"), r#"{"score":3}"#));
    fails(&site.put(&format!("{row}?if=sometimes"), r#"{"score":4}"#), 400, "bad_request");
    is(&site.get(&format!("{row}?field=score")), 200, json!({"score":3}));
}

#[test]
fn steps_make_rows_and_never_wrap() {
    let site = Site::with_table();
    let row = "/tables/demo_table/rows/k";
    is(&site.post(&format!("{row}/incr"), r#"{"column":"score"}"#), 200, json!({"value":1}));
    is(&site.post(&format!("{row}/decr"), r#"{"column":"score","by":3}"#), 200, json!({"value":-2}));
    is(&site.post(&format!("{row}/incr?ints=string"), r#"{"column":"score","by":"2"}"#), 200, json!({"value":"0"}));
    is(&site.post(&format!("{row}/incr"), r#"{"column":"ratio","by":1.5}"#), 200, json!({"value":1.5}));
    is(&site.post(&format!("{row}/decr"), r#"{"column":"ratio","by":1}"#), 200, json!({"value":0.5}));
    is_done(&site.put(row, r#"{"score":9223372036854775807,"ratio":1.7e308}"#));
    fails(&site.post(&format!("{row}/incr"), r#"{"column":"score"}"#), 422, "overflow");
    fails(&site.post(&format!("{row}/incr"), r#"{"column":"ratio","by":1.7e308}"#), 422, "overflow");
    fails(&site.post(&format!("{row}/decr"), r#"{"column":"score","by":-9223372036854775808}"#), 422, "overflow");
    let other = "/tables/demo_table/rows/other";
    fails(&site.post(&format!("{other}/incr"), r#"{"column":"name"}"#), 422, "wrong_type");
    fails(&site.post(&format!("{other}/incr"), r#"{"column":"score","by":1.5}"#), 422, "wrong_type");
    fails(&site.post(&format!("{other}/incr"), r#"{"column":"nope"}"#), 422, "unknown_column");
    fails(&site.post(&format!("{other}/incr"), r#"{"by":1}"#), 400, "bad_request");
    fails(&site.post(&format!("{other}/incr"), r#"{"column":"score","with":1}"#), 400, "bad_request");
    fails(&site.post(&format!("{other}/incr"), ""), 400, "bad_request");
    fails(&site.get(other), 404, "row_not_found");
}

#[test]
fn compare_and_set() {
    let site = Site::with_table();
    let cas = "/tables/demo_table/rows/k/cas";
    let body = r#"{"expect":{"score":0,"name":""},"set":{"score":5}}"#;
    fails(&site.post(cas, body), 404, "row_not_found");
    is_done(&site.put("/tables/demo_table/rows/k", "{}"));
    is_done(&site.post(cas, body));
    fails(&site.post(cas, body), 409, "cas_mismatch");
    fails(&site.post(cas, r#"{"expect":{"score":5}}"#), 400, "bad_request");
    fails(&site.post(cas, r#"{"expect":{"score":5},"set":[]}"#), 400, "bad_request");
    fails(&site.post(cas, r#"{"expect":{"x":5},"set":{}}"#), 422, "unknown_column");
    is(&site.get("/tables/demo_table/rows/k?field=score"), 200, json!({"score":5}));
}

#[test]
fn getdel_gives_the_row_once() {
    let site = Site::with_table();
    let getdel = "/tables/demo_table/rows/k/getdel";
    fails(&site.post(getdel, ""), 404, "row_not_found");
    is_done(&site.put("/tables/demo_table/rows/k", r#"{"score":5}"#));
    is(&site.post(getdel, "{}"), 200, json!({"name":"","score":5,"ratio":0.0}));
    fails(&site.post(getdel, ""), 404, "row_not_found");
    fails(&site.post(getdel, r#"{"x":1}"#), 400, "bad_request");
}

#[test]
fn rows_expire() {
    let site = Site::with_table();
    let row = "/tables/demo_table/rows/k";
    let ttl = |site: &Site| {
        let response = site.get(&format!("{row}/ttl"));
        assert_eq!(response.status, 200);
        serde_json::from_slice::<Parsed>(response.bytes()).expect("JSON")["ttl"].as_f64()
    };
    for (action, body) in [("expire", r#"{"ttl":60}"#), ("persist", "")] {
        fails(&site.post(&format!("{row}/{action}"), body), 404, "row_not_found");
    }
    fails(&site.get(&format!("{row}/ttl")), 404, "row_not_found");
    is_done(&site.put(&format!("{row}?ttl=60"), r#"{"score":1}"#));
    assert!((59.0..=60.0).contains(&ttl(&site).expect("a time")));
    is_done(&site.put(row, r#"{"score":2}"#));
    assert!(ttl(&site).is_some(), "a write keeps the expiry");
    is_done(&site.post(&format!("{row}/persist"), ""));
    assert_eq!(ttl(&site), None);
    is_done(&site.post(&format!("{row}/persist"), ""));
    is_done(&site.post(&format!("{row}/expire"), r#"{"ttl":0.5}"#));
    assert!(ttl(&site).expect("a time") <= 0.5);
    for body in [r#"{"ttl":-1}"#, r#"{"ttl":"1"}"#, r#"{"ttl":1e300}"#, "{}", r#"{"ttl":1,"x":1}"#] {
        fails(&site.post(&format!("{row}/expire"), body), 400, "bad_request");
    }
    fails(&site.put(&format!("{row}?ttl=0"), "{}"), 400, "bad_request");
    is_done(&site.post(&format!("{row}/expire"), r#"{"ttl":0}"#));
    fails(&site.get(row), 404, "row_not_found");
}

#[test]
fn pages_return_every_row_once() {
    let site = Site::with_table();
    for key in ["a", "b", "c"] {
        is_done(&site.put(&format!("/tables/demo_table/rows/{key}"), "{}"));
    }
    let (mut cursor, mut keys) = (String::new(), Vec::new());
    loop {
        let response = site.get(&format!("/tables/demo_table/rows?count=1&cursor={cursor}"));
        let page: Parsed = serde_json::from_slice(response.bytes()).expect("JSON");
        keys.extend(page["rows"].as_object().expect("an object").keys().cloned());
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    keys.sort();
    assert_eq!(keys, ["a", "b", "c"]);
    fails(&site.get("/tables/demo_table/rows?cursor=x"), 400, "bad_request");
    fails(&site.get("/tables/demo_table/rows?count=0"), 400, "bad_request");
    fails(&site.get("/tables/none/rows"), 404, "table_not_found");
    is_done(&site.delete("/tables/demo_table/rows"));
    is(&site.get("/tables/demo_table/rows"), 200, json!({"cursor":null,"rows":{}}));
}

#[test]
fn batches_are_whole_or_nothing() {
    let site = Site::with_table();
    let mset = "/tables/demo_table/mset";
    let body = r#"{"rows":{"a":{"score":1},"b":{}},"binary":[{"key":{"base64":"/w=="},"row":{"score":2}}]}"#;
    is_done(&site.post(mset, body));
    is(&site.get("/tables/demo_table/rows/%FF?field=score"), 200, json!({"score":2}));
    for (body, status, code) in [
        (r#"{"rows":{"a":{"score":9},"b":{"score":"x"}}}"#, 422, "wrong_type"),
        (r#"{"rows":{"a":{"score":9},"new":{"score":1}}}"#, 507, "table_full"),
        (r#"{"rows":{"a":{"score":9},"a":{}}}"#, 400, "bad_request"),
        (r#"{"rows":{"a":5}}"#, 400, "bad_request"),
        (r#"{"rows":[]}"#, 400, "bad_request"),
        (r#"{"binary":[{"row":{}}]}"#, 400, "bad_request"),
        (r#"{"rows":{"a":{"score":9},"":{}}}"#, 400, "bad_request"),
    ] {
        fails(&site.post(mset, body), status, code);
    }
    is(
        &site.post("/tables/demo_table/mget", r#"{"keys":["a","a"]}"#),
        200,
        json!({"rows":{"a":{"name":"","score":1,"ratio":0.0}}}),
    );
    let many: Vec<String> = (0..65).map(|i| format!("k{i}")).collect();
    fails(&site.post("/tables/demo_table/mget", &json!({"keys":many}).to_string()), 413, "too_large");
    let rows: serde_json::Map<_, _> = many.into_iter().map(|key| (key, json!({}))).collect();
    fails(&site.post(mset, &json!({"rows":rows}).to_string()), 413, "too_large");
    fails(&site.post("/tables/demo_table/mget", r#"{"keys":[1]}"#), 400, "bad_request");
    fails(&site.post("/tables/demo_table/mget", r#"{"keys":"a"}"#), 400, "bad_request");
    is(&site.post("/tables/demo_table/mget", r#"{"keys":[]}"#), 200, json!({"rows":{}}));
}

#[test]
fn counters() {
    let site = Site::new();
    fails(&site.get("/counters/c"), 404, "counter_not_found");
    fails(&site.delete("/counters/c"), 404, "counter_not_found");
    is(&site.post("/counters/c/incr", ""), 200, json!({"value":1}));
    is(&site.post("/counters/c/incr", r#"{"by":9}"#), 200, json!({"value":10}));
    is(&site.post("/counters/c/decr", r#"{"by":3}"#), 200, json!({"value":7}));
    is(&site.post("/counters/c/incr", r#"{"by":3,"max":10}"#), 200, json!({"value":10}));
    fails(&site.post("/counters/c/incr", r#"{"max":10}"#), 409, "bound_reached");
    fails(&site.post("/counters/c/decr", r#"{"by":11,"min":0}"#), 409, "bound_reached");
    is(&site.post("/counters/c/decr", r#"{"by":10,"min":0}"#), 200, json!({"value":0}));
    fails(&site.post("/counters/c/incr", r#"{"min":0}"#), 400, "bad_request");
    fails(&site.post("/counters/c/incr", r#"{"by":1.5}"#), 422, "wrong_type");
    fails(&site.post("/counters/c/incr", r#"{"times":1}"#), 400, "bad_request");
    is_done(&site.put("/counters/c", r#"{"value":9223372036854775807}"#));
    is(&site.get("/counters/c"), 200, json!({"value":i64::MAX}));
    is(&site.get("/counters/c?ints=string"), 200, json!({"value":"9223372036854775807"}));
    fails(&site.post("/counters/c/incr", ""), 422, "overflow");
    fails(&site.put("/counters/c", r#"{"value":9223372036854775808}"#), 422, "wrong_type");
    fails(&site.put("/counters/c", "{}"), 400, "bad_request");
    is(&site.post("/counters/c/reset", ""), 200, json!({"value":0}));
    is(&site.post("/counters/c/cas", r#"{"expect":0,"set":5}"#), 200, json!({"swapped":true,"value":5}));
    is(&site.post("/counters/c/cas", r#"{"expect":0,"set":6}"#), 200, json!({"swapped":false,"value":5}));
    is(&site.post("/counters/%ff/incr", ""), 200, json!({"value":1}));
    is(&site.get("/counters"), 200, json!({"counters":{"c":5},"binary":[{"name":{"base64":"/w=="},"value":1}]}));
    is(&site.post("/counters/d/incr", ""), 200, json!({"value":1}));
    fails(&site.post("/counters/e/incr", ""), 507, "counters_full");
    fails(&site.post(&format!("/counters/{}/incr", "x".repeat(256)), ""), 422, "key_too_long");
    fails(&site.post("/counters//incr", ""), 400, "bad_request");
    is_done(&site.delete("/counters/c"));
    fails(&site.get("/counters/c"), 404, "counter_not_found");
}

#[test]
fn values_are_raw_bytes() {
    let site = Site::new();
    fails(&site.get("/kv/k"), 404, "key_not_found");
    fails(&site.delete("/kv/k"), 404, "key_not_found");
    let head = Head { method: "PUT", path: "/kv/k", host: Some(b"127.0.0.1:8080"), ..Head::default() };
    is_done(&site.send(&Ask { head, body: b"\x00\xff" }));
    let value = site.get("/kv/k");
    assert_eq!((value.status, value.bytes()), (200, &b"\x00\xff"[..]));
    assert_eq!(value.body.map(|body| body.content_type), Some("application/octet-stream"));
    fails(&site.post("/kv/k/incr", ""), 422, "wrong_type");
    is(&site.post("/kv/n/incr", ""), 200, json!({"value":1}));
    is(&site.post("/kv/n/decr", r#"{"by":3}"#), 200, json!({"value":-2}));
    fails(&site.post("/kv/n/decr", r#"{"by":-9223372036854775808}"#), 422, "overflow");
    assert_eq!(site.get("/kv/n").bytes(), b"-2");
    is_done(&site.put("/kv/t?ttl=100", "x"));
    assert!(matches!(site.store.kv().ttl(0, b"t"), Ok(crate::store::Ttl::At(_))));
    is_done(&site.put("/kv/t", "y"));
    assert_eq!(site.store.kv().ttl(0, b"t"), Ok(crate::store::Ttl::Never));
    is_done(&site.delete("/kv/t"));
    is_done(&site.put("/kv/a%2Fb", "slash"));
    assert_eq!(site.get("/kv/~b64:YS9i").bytes(), b"slash");
    fails(&site.put(&format!("/kv/{}", "k".repeat(65_536)), "x"), 422, "key_too_long");
    fails(&site.put("/kv/k?tll=5", "x"), 400, "bad_request");
}

#[test]
fn methods_and_paths() {
    let site = Site::with_table();
    for (method, target, allow) in [
        ("PATCH", "/tables", "GET, HEAD, POST"),
        ("DELETE", "/tables", "GET, HEAD, POST"),
        ("PUT", "/tables/demo_table", "GET, HEAD, DELETE"),
        ("POST", "/tables/demo_table/rows/k", "GET, HEAD, PUT, DELETE"),
        ("GET", "/tables/demo_table/rows/k/incr", "POST"),
        ("HEAD", "/counters/c/cas", "POST"),
        ("POST", "/stats", "GET, HEAD"),
    ] {
        let response = site.ask(method, target, "");
        fails(&response, 405, "method_not_allowed");
        assert_eq!(header(&response, "allow"), Some(allow), "{method} {target}");
    }
    fails(&site.get("/nowhere"), 404, "not_found");
    fails(&site.get("/"), 404, "not_found");
    let preflight = site.ask("OPTIONS", "/tables/demo_table/rows/k", "");
    is_done(&preflight);
    assert_eq!(header(&preflight, "access-control-allow-methods"), Some("GET, HEAD, PUT, DELETE"));
}

#[test]
fn a_json_body_needs_its_content_type() {
    let site = Site::with_table();
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
    {
        let head = Head {
            method: "PUT",
            path: "/tables/demo_table/rows/k",
            host: Some(b"localhost"),
            content_type: content_type.map(str::as_bytes),
            ..Head::default()
        };
        fails(&site.send(&Ask { head, body: b"{}" }), 415, "unsupported_media_type");
        let head = Head { method: "POST", path: "/counters/c/incr", ..head };
        fails(&site.send(&Ask { head, body: b"{}" }), 415, "unsupported_media_type");
        is(&site.send(&Ask { head: Head { path: "/counters/free/incr", ..head }, body: b"" }), 200, json!({"value":1}));
        is_done(&site.delete("/counters/free"));
    }
}

#[test]
fn strangers_are_refused_before_anything_else() {
    let mut site = Site::new();
    let foreign = Head { method: "GET", path: "/nowhere", host: Some(b"evil.example"), ..Head::default() };
    fails(&site.send(&Ask { head: foreign, body: b"" }), 403, "forbidden");
    let page = Head { host: Some(b"localhost"), origin: Some(b"http://evil.example"), path: "/healthz", ..foreign };
    fails(&site.send(&Ask { head: page, body: b"" }), 403, "forbidden");
    site.config.requirepass = Some("sesame".into());
    site.state = WorkerState::open(&site.store, &site.config, 1, now_ms()).unwrap();
    let refused = site.get("/nowhere");
    fails(&refused, 401, "unauthorized");
    assert_eq!(header(&refused, "www-authenticate"), Some("Bearer"));
    for target in ["/stats", "/metrics", "/kv/k", "/tables"] {
        fails(&site.get(target), 401, "unauthorized");
    }
    assert_eq!((site.get("/healthz").status, site.get("/readyz").status), (200, 200));
    let head = Head { method: "GET", path: "/stats", host: Some(b"localhost"), ..Head::default() };
    let wrong = Head { authorization: Some(b"Bearer simsalabim"), ..head };
    fails(&site.send(&Ask { head: wrong, body: b"" }), 401, "unauthorized");
    assert_eq!(site.store.statistics().sum(Stat::AuthFailures), 1);
    let right = Head { authorization: Some(b"Bearer sesame"), ..head };
    assert_eq!(site.send(&Ask { head: right, body: b"" }).status, 200);
    site.config.metrics_open = true;
    assert_eq!(site.get("/metrics").status, 200);
}

#[test]
fn health_and_readiness() {
    let mut site = Site::new();
    is(&site.get("/healthz"), 200, json!({"status":"ok"}));
    is(&site.get("/readyz"), 200, json!({"status":"ready"}));
    site.draining = true;
    is(&site.get("/healthz"), 200, json!({"status":"ok"}));
    fails(&site.get("/readyz"), 503, "draining");
}

// Only the routes of the key-value space looked; tables and counters grew on.
#[test]
fn what_may_need_memory_is_refused_over_the_limit() {
    let site = Site::with_table();
    assert_eq!(site.put("/kv/k", "1").status, 204);
    assert_eq!(site.put("/tables/demo_table/rows/k", r#"{"score":1}"#).status, 204);
    assert_eq!(site.put("/counters/c", r#"{"value":1}"#).status, 204);
    site.store.set_memory_limit(MemoryLimit { bytes: 1, ..MemoryLimit::default() });
    for (method, target, body) in [
        ("PUT", "/kv/k", "v"),
        ("POST", "/kv/k/incr", ""),
        ("PUT", "/counters/c", r#"{"value":1}"#),
        ("POST", "/counters/c/incr", ""),
        ("POST", "/counters/c/reset", ""),
        ("POST", "/counters/c/cas", r#"{"expect":1,"set":2}"#),
        ("POST", "/tables", r#"{"name":"other","rows":3,"columns":[{"name":"n","type":"int"}]}"#),
        ("PUT", "/tables/demo_table/rows/k", r#"{"score":1}"#),
        ("POST", "/tables/demo_table/rows/k/incr", r#"{"column":"score"}"#),
        ("POST", "/tables/demo_table/rows/k/cas", r#"{"expect":{"score":1},"set":{"score":2}}"#),
        ("POST", "/tables/demo_table/mset", r#"{"rows":{"l":{"score":1}}}"#),
    ] {
        fails(&site.ask(method, target, body), 507, "out_of_memory");
    }
    assert_eq!(site.get("/tables/demo_table/rows/k").status, 200);
    is_done(&site.post("/tables/demo_table/rows/k/expire", r#"{"ttl":60}"#));
    for target in ["/tables/demo_table/rows/k", "/counters/c", "/kv/k"] {
        assert_eq!(site.delete(target).status, 204, "{target}");
    }
}

#[test]
fn statistics_are_summed_and_told_apart() {
    let site = Site::with_table();
    site.store.statistics().select(Some(1));
    site.put("/tables/demo_table/rows/k", "{}");
    site.get("/tables/demo_table/rows/k");
    site.get("/tables/demo_table/rows/x");
    site.put("/kv/k", "v");
    let stats: Parsed = serde_json::from_slice(site.get("/stats").bytes()).expect("JSON");
    assert_eq!(stats["worker"], 1);
    assert_eq!(stats["tables"], json!({"count":1,"rows":1,"capacity":3}));
    assert_eq!(stats["keys"], json!({"count":1,"expiring":0}));
    assert_eq!(stats["counters"], json!({"count":0}));
    assert_eq!(stats["workers"].as_array().expect("a list").len(), 2);
    assert_eq!((&stats["workers"][0]["reads"], &stats["workers"][1]["reads"]), (&json!(0), &json!(2)));
    assert_eq!((&stats["total"]["keyspace_hits"], &stats["total"]["keyspace_misses"]), (&json!(1), &json!(1)));
    assert_eq!((&stats["workers"][1]["writes"], &stats["total"]["errors"]), (&json!(2), &json!(1)));
}

#[test]
fn metrics_are_well_formed() {
    let site = Site::with_table();
    site.put("/tables/demo_table/rows/k", "{}");
    let response = site.get("/metrics");
    assert_eq!(response.body.as_ref().map(|b| b.content_type), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = std::str::from_utf8(response.bytes()).expect("UTF-8");
    for line in [
        "# TYPE store_reads_total counter",
        "store_reads_total{worker=\"0\"} 0",
        "# TYPE store_connected_clients gauge",
        "store_table_rows{table=\"demo_table\"} 1",
        "store_table_capacity_rows{table=\"demo_table\"} 3",
        "store_counters 0",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    let mut family = "";
    for line in text.lines() {
        match line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")) {
            Some(rest) => family = rest.split(' ').next().expect("a name"),
            None => assert!(line.split([' ', '{']).next() == Some(family), "{line} stands under {family}"),
        }
        assert!(line.starts_with("# ") || line.starts_with("store_"), "{line}");
    }
}
