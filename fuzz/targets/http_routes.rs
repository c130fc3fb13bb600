//! The HTTP routes: any request is answered, an answer is well-formed, and one that refuses has written nothing.
//!
//! The bytes are requests, each ended by a zero byte: a line `METHOD target`, lines `name: value`, an empty line, a body. `Host`
//! and `Content-Type` are those of an ordinary client unless they are given.

use std::sync::Arc;

use store_master::{
    Column, Store, Value,
    backend::{Limits, MemoryStore},
    command::WorkerState,
    config::Config,
    protocol::http::{Answer, Context, Head, Response, admit},
};

/// Requests of one input at most.
const REQUESTS: usize = 24;

/// Answers all requests.
pub(crate) fn run(data: &[u8]) {
    let store = store();
    let config = Config::default();
    let (open, locked) = (state(None), state(Some("secret")));
    for request in data.split(|&byte| byte == 0).take(REQUESTS) {
        if let Some((head, body)) = parse(request) {
            let before = everything(&store);
            let state = if head.authorization.is_some() { &locked } else { &open };
            let response = answer(&store, state, &config, &head, body);
            check(&head, &response);
            if response.status >= 400 {
                assert_eq!(everything(&store), before, "a request that was refused has written: {head:?} {response:?}");
            }
        }
    }
}

/// What a worker keeps, in a store of its own: it is not to take the room of what is tested.
fn state(password: Option<&str>) -> WorkerState {
    let config = Config { requirepass: password.map(str::to_owned), ..Config::default() };
    let store = Store::on(Arc::new(MemoryStore::new(Limits::default())));
    WorkerState::open(&store, &config, 0, 1_700_000_000_000).expect("the memory store never waits")
}

fn store() -> Store {
    let limits = Limits { counters: 3, max_keys: 6, workers: 2, memory: 1 << 20 };
    let store = Store::on(Arc::new(MemoryStore::new(limits)));
    let columns = [Column::string("name", 8), Column::int("score"), Column::float("ratio")];
    let table = store.make("t", 3, &columns).expect("the store is empty");
    table.set("a", &[("score", Value::from(1))]).expect("there is room");
    store
}

/// Head and body; `None` for what no HTTP library would let through.
fn parse(request: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let (lines, body) = match request.windows(2).position(|pair| pair == b"\n\n") {
        Some(end) => (&request[..end], &request[end + 2..]),
        None => (request, &[][..]),
    };
    let mut lines = lines.split(|&byte| byte == b'\n');
    let (method, target) = std::str::from_utf8(lines.next()?).ok()?.split_once(' ')?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let host = Some(&b"localhost"[..]);
    let mut head =
        Head { method, path, query, host, content_type: Some(b"application/json"), origin: None, authorization: None };
    for line in lines {
        let colon = line.windows(2).position(|pair| pair == b": ")?;
        let value = Some(&line[colon + 2..]);
        match &line[..colon] {
            b"host" => head.host = value,
            b"origin" => head.origin = value,
            b"authorization" => head.authorization = value,
            b"content-type" => head.content_type = value,
            _ => {}
        }
    }
    Some((head, body))
}

fn answer(store: &Store, state: &WorkerState, config: &Config, head: &Head<'_>, body: &[u8]) -> Response {
    let context = Context { store, state, config, now_ms: 1_700_000_000_000, worker: 1, draining: false };
    let plan = match admit(head, &context) {
        Ok(plan) => plan,
        Err(response) => return response,
    };
    assert!(plan.body_limit(config) <= 1 << 30);
    let body = if plan.takes_body() { body } else { &[] };
    match plan.run(body, &context) {
        Answer::Done(response) => response,
        Answer::Wait => panic!("the memory store never waits"),
    }
}

/// A known status, a body that is what it says, headers that are one line each.
fn check(head: &Head<'_>, response: &Response) {
    assert!((200..600).contains(&response.status) && response.status < 500 + 8, "{head:?}: {response:?}");
    assert_eq!(response.status == 204, response.body.is_none(), "{head:?}: {response:?}");
    if response.body.as_ref().is_some_and(|body| body.content_type == "application/json") {
        let parsed = serde_json::from_slice::<serde_json::Value>(response.bytes());
        let parsed = parsed.unwrap_or_else(|error| panic!("{head:?}: {error} in {response:?}"));
        assert_eq!(
            response.status >= 400 && response.status != 503,
            parsed["error"]["code"].is_string(),
            "{response:?}"
        );
    }
    let one_line = |text: &str| text.bytes().all(|byte| (b' '..0x7f).contains(&byte));
    assert!(response.headers.iter().all(|(name, value)| one_line(name) && one_line(value)), "{response:?}");
}

/// All that the store holds, as text. (What has expired is gone for every reader.)
fn everything(store: &Store) -> String {
    let tables: Vec<_> = store.tables().expect("nobody is in the way").into_iter().map(|info| info.schema).collect();
    let rows = tables.iter().map(|schema| {
        let table = store.table(schema.table()).expect("it is listed");
        let mut rows = table.scan(0, 1000).expect("nobody is in the way").rows;
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let ttl = |(key, row)| (table.ttl(key), key, row);
        format!("{schema:?} {:?}", rows.iter().map(|(key, row)| ttl((key, row))).collect::<Vec<_>>())
    });
    let mut keys = store.kv().scan(0, 0, 1000).expect("nobody is in the way").keys;
    keys.sort();
    let value = |key: &Vec<u8>| {
        let mut value = Vec::new();
        (store.kv().get(0, key, &mut value), store.kv().ttl(0, key), value)
    };
    let values: Vec<_> = keys.iter().map(value).collect();
    format!("{:?} {keys:?} {values:?} {:?}", rows.collect::<Vec<_>>(), store.counters())
}
