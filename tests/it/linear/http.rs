//! The calls of a history over HTTP.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::{
    calls::{
        Call, CounterOp, KEY_TEXT, Kind, Object, Op, ROW_TEXT, RegisterOp, Ret, RowOp, RowsOp, TORN, Way, decimal,
        number, text,
    },
    client::{Caller, Outcome},
    resp::is_timeout,
};
use crate::harness::{Http, Response};

/// A connection that is opened anew when it breaks.
pub(super) struct OverHttp {
    addr: SocketAddr,
    link: Option<Http>,
}

impl OverHttp {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self { addr, link: None }
    }
}

impl Caller for OverHttp {
    const WAY: Way = Way::Http;

    fn call(&mut self, call: &Call) -> Outcome {
        let Request { method, path, body } = request(call);
        let json_type = [("content-type", "application/json")];
        let headers = if matches!(body, Some(Body::Json(_))) { &json_type[..] } else { &[] };
        let bytes = body.as_ref().map(|body| match body {
            Body::Json(json) => json.to_string(),
            Body::Raw(text) => text.clone(),
        });
        let link = self.link.get_or_insert_with(|| Http::open(self.addr).expect("a connection attempt was refused"));
        match link.try_request(method, &path, headers, bytes.as_ref().map(String::as_bytes)) {
            Ok(response) if response.status == 503 => Outcome::Refused,
            Ok(response) => Outcome::Answer(answer(call, &response)),
            Err(error) if is_timeout(&error) => panic!("no answer to {method} {path}"),
            Err(_) => {
                self.link = None;
                Outcome::Lost
            }
        }
    }
}

enum Body {
    Json(Value),
    Raw(String),
}

struct Request {
    method: &'static str,
    path: String,
    body: Option<Body>,
}

impl Request {
    fn plain(method: &'static str, path: String) -> Self {
        Self { method, path, body: None }
    }

    fn json(method: &'static str, path: String, json: Value) -> Self {
        Self { method, path, body: Some(Body::Json(json)) }
    }

    fn raw(path: String, text: String) -> Self {
        Self { method: "PUT", path, body: Some(Body::Raw(text)) }
    }
}

fn request(call: &Call) -> Request {
    let (object, key) = (&call.object, call.object.key(0));
    match (&call.op, object.kind) {
        (Op::Register(op), Kind::Key) => key_request(op, format!("/kv/{key}")),
        (Op::Register(op), _) => cell_request(op, format!("/tables/cells/rows/{key}")),
        (Op::Counter(op), Kind::Tally) => tally_request(op, format!("/counters/{key}")),
        (Op::Counter(op), _) => number_request(op, format!("/kv/{key}")),
        (Op::Row(op), _) => row_request(op, format!("/tables/rows/rows/{key}")),
        (Op::Rows(op), Kind::Accounts) => accounts_request(op, object),
        (Op::Rows(op), _) => pairs_request(op, object),
    }
}

fn key_request(op: &RegisterOp, path: String) -> Request {
    match *op {
        RegisterOp::Get => Request::plain("GET", path),
        RegisterOp::Set(value) => Request::raw(path, text(value, KEY_TEXT)),
        RegisterOp::Delete => Request::plain("DELETE", path),
        _ => unreachable!("HTTP has no {op:?} for keys"),
    }
}

fn cell_request(op: &RegisterOp, path: String) -> Request {
    let put = |value: i64, query: &str| Request::json("PUT", format!("{path}{query}"), json!({ "n": value }));
    match *op {
        RegisterOp::Get => Request::plain("GET", path),
        RegisterOp::Set(value) => put(value, ""),
        RegisterOp::Delete => Request::plain("DELETE", path),
        RegisterOp::Take => Request::plain("POST", path + "/getdel"),
        RegisterOp::Insert(value) => put(value, "?if=absent"),
        RegisterOp::Replace(value) => put(value, "?if=present"),
        RegisterOp::Swap { expected, new } => {
            Request::json("POST", path + "/cas", json!({"expect": {"n": expected}, "set": {"n": new}}))
        }
        RegisterOp::Exchange(_) => unreachable!("a row has no exchange"),
    }
}

fn tally_request(op: &CounterOp, path: String) -> Request {
    match *op {
        CounterOp::Get => Request::plain("GET", path),
        CounterOp::Set(value) => Request::json("PUT", path, json!({ "value": value })),
        CounterOp::Add(by) => Request::json("POST", path + "/incr", json!({ "by": by })),
        CounterOp::Swap { expected, new } => {
            Request::json("POST", path + "/cas", json!({"expect": expected, "set": new}))
        }
        CounterOp::Delete => Request::plain("DELETE", path),
    }
}

fn number_request(op: &CounterOp, path: String) -> Request {
    match *op {
        CounterOp::Get => Request::plain("GET", path),
        CounterOp::Set(value) => Request::raw(path, value.to_string()),
        CounterOp::Add(by) => Request::json("POST", path + "/incr", json!({ "by": by })),
        CounterOp::Delete => Request::plain("DELETE", path),
        CounterOp::Swap { .. } => unreachable!("a key has no compare-and-set"),
    }
}

fn row_request(op: &RowOp, path: String) -> Request {
    match op {
        RowOp::Get => Request::plain("GET", path),
        RowOp::Set(cells) => Request::json("PUT", path, members(cells)),
        RowOp::Add { column, by } => {
            let column = ["a", "b"][*column];
            Request::json("POST", path + "/incr", json!({ "column": column, "by": by }))
        }
        RowOp::Delete => Request::plain("DELETE", path),
        RowOp::Take => Request::plain("POST", path + "/getdel"),
        RowOp::Swap { expected, new } => {
            Request::json("POST", path + "/cas", json!({"expect": {"a": expected}, "set": members(new)}))
        }
    }
}

fn members(cells: &[Option<i64>; 3]) -> Value {
    let value = |column: &str, value| if column == "s" { json!(text(value, ROW_TEXT)) } else { json!(value) };
    let given = ["a", "b", "s"].into_iter().zip(cells);
    let given = given.filter_map(|(column, cell)| Some((column.to_owned(), value(column, (*cell)?))));
    Value::Object(given.collect::<Map<_, _>>())
}

fn accounts_request(op: &RowsOp, object: &Object) -> Request {
    let path = |part: usize| format!("/tables/accounts/rows/{}", object.key(part));
    match *op {
        RowsOp::Get(part) => Request::plain("GET", path(part)),
        RowsOp::GetAll => {
            let keys = [0, 1, 2, 3].map(|part| object.key(part));
            Request::json("POST", "/tables/accounts/mget".to_owned(), json!({ "keys": keys }))
        }
        RowsOp::Set(part, value) => Request::json("PUT", path(part), json!({ "n": value })),
        RowsOp::SetTwo(pairs) => {
            let rows: Map<_, _> = pairs.iter().map(|&(part, n)| (object.key(part), json!({ "n": n }))).collect();
            Request::json("POST", "/tables/accounts/mset".to_owned(), json!({ "rows": rows }))
        }
        RowsOp::Add(part, by) => Request::json("POST", path(part) + "/incr", json!({"column": "n", "by": by})),
        RowsOp::Delete(part) => Request::plain("DELETE", path(part)),
        RowsOp::Rename { .. } | RowsOp::Swap { .. } => unreachable!("rows have neither"),
        RowsOp::Transfer { .. } => unreachable!("HTTP has no transactions"),
    }
}

fn pairs_request(op: &RowsOp, object: &Object) -> Request {
    let (part, op) = match *op {
        RowsOp::Get(part) => (part, CounterOp::Get),
        RowsOp::Set(part, value) => (part, CounterOp::Set(value)),
        RowsOp::Add(part, by) => (part, CounterOp::Add(by)),
        RowsOp::Delete(part) => (part, CounterOp::Delete),
        _ => unreachable!("HTTP has no {op:?} for keys"),
    };
    number_request(&op, format!("/kv/{}", object.key(part)))
}

/// What a response means as the answer to this call. Of absence and mismatch the status tells.
fn answer(call: &Call, response: &Response) -> Ret {
    let done = match response.status {
        200 | 204 => true,
        404 | 409 => false,
        _ => panic!("{call:?}: {} {}", response.status, String::from_utf8_lossy(&response.body)),
    };
    let member = |name: &str| response.json()[name].as_i64().unwrap_or(TORN);
    let read = || match call.object.kind {
        Kind::Key | Kind::Field => number(&response.body, KEY_TEXT),
        Kind::Number | Kind::FieldNumber | Kind::Pairs => decimal(&response.body),
        Kind::Tally => member("value"),
        Kind::Cell | Kind::Accounts | Kind::Row => member("n"),
    };
    match &call.op {
        Op::Register(RegisterOp::Get | RegisterOp::Take) | Op::Counter(CounterOp::Get) | Op::Rows(RowsOp::Get(_)) => {
            Ret::Value(done.then(read))
        }
        Op::Counter(CounterOp::Add(_)) | Op::Row(RowOp::Add { .. }) | Op::Rows(RowsOp::Add(..)) => {
            Ret::Value(done.then(|| member("value")))
        }
        Op::Counter(CounterOp::Swap { .. }) => Ret::Flag(response.json()["swapped"] == json!(true)),
        Op::Row(RowOp::Get | RowOp::Take) => Ret::Row(done.then(|| {
            let string = response.json()["s"].as_str().map_or(TORN, |read| number(read.as_bytes(), ROW_TEXT));
            [member("a"), member("b"), string]
        })),
        Op::Rows(RowsOp::GetAll) => {
            let rows = &response.json()["rows"];
            Ret::Rows(std::array::from_fn(|part| match &rows[call.object.key(part)] {
                Value::Null => None,
                row => Some(row["n"].as_i64().unwrap_or(TORN)),
            }))
        }
        Op::Register(RegisterOp::Set(_))
        | Op::Counter(CounterOp::Set(_))
        | Op::Row(RowOp::Set(_))
        | Op::Rows(RowsOp::Set(..) | RowsOp::SetTwo(_)) => match done {
            true => Ret::Done,
            false => panic!("{call:?}: {}", response.status),
        },
        _ => Ret::Flag(done),
    }
}
