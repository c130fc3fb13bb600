//! The calls of a history over RESP.

use std::{io, net::SocketAddr};

use super::{
    calls::{
        Call, CounterOp, KEY_TEXT, Kind, Object, Op, ROW_TEXT, RegisterOp, Ret, RowOp, RowsOp, Way, decimal, number,
        text,
    },
    client::{Caller, Outcome},
};
use crate::harness::{Reply, Resp, encode};

/// A connection that is opened anew when it breaks.
pub(super) struct OverResp {
    addr: SocketAddr,
    link: Option<Resp>,
}

impl OverResp {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self { addr, link: None }
    }
}

impl Caller for OverResp {
    const WAY: Way = Way::Resp;

    fn call(&mut self, call: &Call) -> Outcome {
        let link = self.link.get_or_insert_with(|| Resp::open(self.addr).expect("a connection attempt was refused"));
        let replied = match call.op {
            Op::Rows(RowsOp::Transfer { from, to, by }) => transfer(link, &call.object, [(from, -by), (to, by)]),
            Op::Rows(RowsOp::Swap { part, expected, new }) => swap(link, &call.object.key(part), expected, new),
            _ => link.try_cmd(&words(call)),
        };
        match replied {
            Ok(reply) if reply.error() == Some("BUSY") => Outcome::Refused,
            Ok(reply) => Outcome::Answer(answer(call, &reply)),
            Err(error) if is_timeout(&error) => panic!("no answer to {call:?}"),
            Err(_) => {
                self.link = None;
                Outcome::Lost
            }
        }
    }
}

/// Executes commands as one transaction, sent at once; the reply of EXEC.
fn exec(link: &mut Resp, commands: &[String]) -> io::Result<Reply> {
    let lines = [&["MULTI".to_owned()], commands, &["EXEC".to_owned()]].concat();
    let bytes: Vec<u8> = lines.iter().flat_map(|line| encode(&line.split(' ').collect::<Vec<_>>())).collect();
    link.send(&bytes)?;
    let mut last = Reply::Null;
    for _ in &lines {
        last = link.read()?;
    }
    Ok(last)
}

fn transfer(link: &mut Resp, object: &Object, steps: [(usize, i64); 2]) -> io::Result<Reply> {
    let add = |(part, by)| match object.kind {
        Kind::Accounts => accounts_command(&RowsOp::Add(part, by), object),
        _ => pairs_command(&RowsOp::Add(part, by), object),
    };
    exec(link, &steps.map(add))
}

/// A compare-and-set as clients make it of WATCH. Answers 1 or 0.
fn swap(link: &mut Resp, key: &str, expected: i64, new: i64) -> io::Result<Reply> {
    loop {
        let watching = link.try_cmd(&["WATCH", key])?;
        if watching != Reply::ok() {
            return Ok(watching);
        }
        let current = link.try_cmd(&["GET", key])?;
        if current != Reply::bulk(expected.to_string()) {
            link.try_cmd(&["UNWATCH"])?;
            return Ok(if current.error().is_some() { current } else { Reply::Int(0) });
        }
        match exec(link, &[format!("SET {key} {new}")])? {
            // Somebody was faster.
            Reply::Null => {}
            Reply::Array(_) => return Ok(Reply::Int(1)),
            refused => return Ok(refused),
        }
    }
}

/// Whether the server was given up rather than gone: it hangs.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The command.
fn words(call: &Call) -> Vec<String> {
    let (object, key) = (&call.object, call.object.key(0));
    let line = match (&call.op, object.kind) {
        (Op::Register(op), Kind::Key) => key_command(op, &key),
        (Op::Register(op), Kind::Field) => field_command(op, object),
        (Op::Register(op), _) => cell_command(op, &key),
        (Op::Counter(op), Kind::Tally) => tally_command(op, &key),
        (Op::Counter(op), Kind::FieldNumber) => field_number_command(op, object),
        (Op::Counter(op), _) => number_command(op, &key),
        (Op::Row(op), _) => row_command(op, &key),
        (Op::Rows(op), Kind::Accounts) => accounts_command(op, object),
        (Op::Rows(op), _) => pairs_command(op, object),
    };
    line.split(' ').map(str::to_owned).collect()
}

fn key_command(op: &RegisterOp, key: &str) -> String {
    let set = |value: i64, condition: &str| format!("SET {key} {}{condition}", text(value, KEY_TEXT));
    match *op {
        RegisterOp::Get => format!("GET {key}"),
        RegisterOp::Set(value) => set(value, ""),
        RegisterOp::Delete => format!("DEL {key}"),
        RegisterOp::Take => format!("GETDEL {key}"),
        RegisterOp::Insert(value) => set(value, " NX"),
        RegisterOp::Replace(value) => set(value, " XX"),
        RegisterOp::Exchange(value) => format!("GETSET {key} {}", text(value, KEY_TEXT)),
        RegisterOp::Swap { .. } => unreachable!("a key has no compare-and-set"),
    }
}

fn field_command(op: &RegisterOp, object: &Object) -> String {
    let (hash, field) = (object.hash(), object.key(0));
    match *op {
        RegisterOp::Get => format!("HGET {hash} {field}"),
        RegisterOp::Set(value) => format!("HSET {hash} {field} {}", text(value, KEY_TEXT)),
        RegisterOp::Delete => format!("HDEL {hash} {field}"),
        RegisterOp::Insert(value) => format!("HSETNX {hash} {field} {}", text(value, KEY_TEXT)),
        _ => unreachable!("a field has no {op:?}"),
    }
}

fn field_number_command(op: &CounterOp, object: &Object) -> String {
    let (hash, field) = (object.hash(), object.key(0));
    match *op {
        CounterOp::Get => format!("HGET {hash} {field}"),
        CounterOp::Set(value) => format!("HSET {hash} {field} {value}"),
        CounterOp::Add(by) => format!("HINCRBY {hash} {field} {by}"),
        CounterOp::Delete => format!("HDEL {hash} {field}"),
        CounterOp::Swap { .. } => unreachable!("a field has no compare-and-set"),
    }
}

fn cell_command(op: &RegisterOp, key: &str) -> String {
    match *op {
        RegisterOp::Get => format!("TABLE.GET cells {key} n"),
        RegisterOp::Set(value) => format!("TABLE.SET cells {key} n {value}"),
        RegisterOp::Delete => format!("TABLE.DEL cells {key}"),
        RegisterOp::Take => format!("TABLE.GETDEL cells {key}"),
        RegisterOp::Insert(value) => format!("TABLE.SET cells {key} n {value} NX"),
        RegisterOp::Replace(value) => format!("TABLE.SET cells {key} n {value} XX"),
        RegisterOp::Swap { expected, new } => format!("TABLE.CAS cells {key} EXPECT 1 n {expected} SET 1 n {new}"),
        RegisterOp::Exchange(_) => unreachable!("a row has no exchange"),
    }
}

fn tally_command(op: &CounterOp, key: &str) -> String {
    match *op {
        CounterOp::Get => format!("COUNTER.GET {key}"),
        CounterOp::Set(value) => format!("COUNTER.SET {key} {value}"),
        CounterOp::Add(by) => format!("COUNTER.INCR {key} {by}"),
        CounterOp::Swap { expected, new } => format!("COUNTER.CAS {key} {expected} {new}"),
        CounterOp::Delete => format!("COUNTER.DEL {key}"),
    }
}

fn number_command(op: &CounterOp, key: &str) -> String {
    match *op {
        CounterOp::Get => format!("GET {key}"),
        CounterOp::Set(value) => format!("SET {key} {value}"),
        CounterOp::Add(by) => format!("INCRBY {key} {by}"),
        CounterOp::Delete => format!("DEL {key}"),
        CounterOp::Swap { .. } => unreachable!("a key has no compare-and-set"),
    }
}

fn row_command(op: &RowOp, key: &str) -> String {
    match op {
        RowOp::Get => format!("TABLE.GET rows {key}"),
        RowOp::Set(cells) => format!("TABLE.SET rows {key}{}", cell_words(cells)),
        RowOp::Add { column, by } => format!("TABLE.INCR rows {key} {} {by}", ["a", "b"][*column]),
        RowOp::Delete => format!("TABLE.DEL rows {key}"),
        RowOp::Take => format!("TABLE.GETDEL rows {key}"),
        RowOp::Swap { expected, new } => {
            let given = new.iter().flatten().count();
            format!("TABLE.CAS rows {key} EXPECT 1 a {expected} SET {given}{}", cell_words(new))
        }
    }
}

fn cell_words(cells: &[Option<i64>; 3]) -> String {
    let word = |(column, cell): (&str, &Option<i64>)| {
        cell.map(|value| match column {
            "s" => format!(" s {}", text(value, ROW_TEXT)),
            _ => format!(" {column} {value}"),
        })
    };
    ["a", "b", "s"].into_iter().zip(cells).filter_map(word).collect()
}

fn accounts_command(op: &RowsOp, object: &Object) -> String {
    match *op {
        RowsOp::Get(part) => format!("TABLE.GET accounts {} n", object.key(part)),
        RowsOp::GetAll => format!("TABLE.MGET accounts {}", all_keys(object)),
        RowsOp::Set(part, value) => format!("TABLE.SET accounts {} n {value}", object.key(part)),
        RowsOp::SetTwo(pairs) => {
            let [one, other] = pairs.map(|(part, value)| format!("{} 1 n {value}", object.key(part)));
            format!("TABLE.MSET accounts 2 {one} {other}")
        }
        RowsOp::Add(part, by) => format!("TABLE.INCR accounts {} n {by}", object.key(part)),
        RowsOp::Delete(part) => format!("TABLE.DEL accounts {}", object.key(part)),
        RowsOp::Rename { .. } | RowsOp::Transfer { .. } | RowsOp::Swap { .. } => {
            unreachable!("not one command on rows")
        }
    }
}

fn pairs_command(op: &RowsOp, object: &Object) -> String {
    match *op {
        RowsOp::Get(part) => format!("GET {}", object.key(part)),
        RowsOp::GetAll => format!("MGET {}", all_keys(object)),
        RowsOp::Set(part, value) => format!("SET {} {value}", object.key(part)),
        RowsOp::SetTwo(pairs) => {
            let [one, other] = pairs.map(|(part, value)| format!("{} {value}", object.key(part)));
            format!("MSET {one} {other}")
        }
        RowsOp::Add(part, by) => format!("INCRBY {} {by}", object.key(part)),
        RowsOp::Delete(part) => format!("DEL {}", object.key(part)),
        RowsOp::Rename { from, to } => format!("RENAME {} {}", object.key(from), object.key(to)),
        RowsOp::Transfer { .. } | RowsOp::Swap { .. } => unreachable!("not one command"),
    }
}

fn all_keys(object: &Object) -> String {
    [0, 1, 2, 3].map(|part| object.key(part)).join(" ")
}

/// What a reply means as the answer to this call.
fn answer(call: &Call, reply: &Reply) -> Ret {
    let value: fn(&Reply) -> i64 = match call.object.kind {
        Kind::Key | Kind::Field => |reply| number(reply.text().as_bytes(), KEY_TEXT),
        Kind::Number | Kind::FieldNumber | Kind::Pairs => |reply| match reply {
            Reply::Int(value) => *value,
            other => decimal(other.text().as_bytes()),
        },
        // A row, or a column of one.
        Kind::Cell | Kind::Accounts => |reply| match reply {
            Reply::Int(value) => *value,
            Reply::Array(items) if items.len() == 1 => items[0].int(),
            row => row.field("n").int(),
        },
        Kind::Tally | Kind::Row => Reply::int,
    };
    let found = |reply: &Reply| (*reply != Reply::Null).then(|| value(reply));
    let row = |row: &Reply| {
        let string = number(row.field("s").text().as_bytes(), ROW_TEXT);
        [row.field("a").int(), row.field("b").int(), string]
    };
    match &call.op {
        Op::Register(RegisterOp::Get | RegisterOp::Take | RegisterOp::Exchange(_))
        | Op::Counter(CounterOp::Get | CounterOp::Add(_))
        | Op::Row(RowOp::Add { .. })
        | Op::Rows(RowsOp::Get(_) | RowsOp::Add(..)) => Ret::Value(found(reply)),
        Op::Row(RowOp::Get | RowOp::Take) => Ret::Row((*reply != Reply::Null).then(|| row(reply))),
        Op::Rows(RowsOp::Transfer { from, to, .. }) => {
            let (from, to) = (*from, *to);
            let new = |part| [from, to].iter().position(|&changed| changed == part).map(|i| value(&reply.items()[i]));
            Ret::Rows(std::array::from_fn(new))
        }
        Op::Rows(RowsOp::GetAll) => Ret::Rows(std::array::from_fn(|part| found(&reply.items()[part]))),
        // HSET says whether the field is new.
        Op::Register(RegisterOp::Set(_)) | Op::Counter(CounterOp::Set(_)) if matches!(reply, Reply::Int(0 | 1)) => {
            assert!(matches!(call.object.kind, Kind::Field | Kind::FieldNumber), "{call:?}: {reply:?}");
            Ret::Done
        }
        Op::Register(RegisterOp::Set(_))
        | Op::Counter(CounterOp::Set(_))
        | Op::Row(RowOp::Set(_))
        | Op::Rows(RowsOp::Set(..) | RowsOp::SetTwo(_)) => match *reply == Reply::ok() {
            true => Ret::Done,
            false => panic!("{call:?}: {reply:?}"),
        },
        _ => Ret::Flag(flag(call, reply)),
    }
}

/// Whether it was done: 1 or 0, `OK` or nothing.
fn flag(call: &Call, reply: &Reply) -> bool {
    match reply {
        Reply::Int(n @ (0 | 1)) => *n == 1,
        Reply::Null => false,
        Reply::Status(ok) if ok == "OK" => true,
        Reply::Error(text) if text.ends_with("no such key") => false,
        other => panic!("{call:?}: {other:?}"),
    }
}
