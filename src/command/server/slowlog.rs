//! SLOWLOG: the commands that took longer than `slowlog-log-slower-than`, of all workers.
//!
//! Entries are rows of a hidden table, each in the place of the one that came as many entries before it as there are rows. Their numbers
//! are drawn from a row of the same table, which also says where the log begins since it was last emptied. An entry that
//! cannot be written is left out: nobody waits for the log.

use std::cell::RefCell;

use crate::command::{
    Args, Reply, Session,
    call::Call,
    introspect::help,
    monitor, parse_int,
    refusal::{Answer, Refusal, wrong_arity},
    table::{Command, PLAIN},
};
use crate::store::{Column, Condition, Expiry, Result, Row, Store, Table, TableSpec, ValueRef};

pub(crate) const COMMANDS: &[Command] = &[Command::new("slowlog", -2, slowlog_help)
    .group("server")
    .docs("2.2.12", "", "Commands about the log of slow commands.")
    .subcommands(SLOWLOG)];

const SLOWLOG: &[Command] = &[
    sub("slowlog|get", -2, get).tips(&["request_policy:all_nodes", "nondeterministic_output"]).docs(
        "2.2.12",
        "[count]",
        "Returns the latest entries; -1: all of them.",
    ),
    sub("slowlog|help", 2, slowlog_help).flags(PLAIN).docs("6.2.0", "", "Lists the subcommands."),
    sub("slowlog|len", 2, len)
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"])
        .docs("2.2.12", "", "Returns the number of entries."),
    sub("slowlog|reset", 2, reset).tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]).docs(
        "2.2.12",
        "",
        "Empties the log.",
    ),
];

const fn sub(full_name: &'static str, arity: i64, handler: crate::command::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("server").flags(&["admin", "loading", "stale"])
}

/// Bytes of the segment for each entry that the log has room for.
const SEGMENT_BYTES_PER_ENTRY: u64 = 1 << 20;
/// Entries that the log has room for, at least and at most.
const MIN_ENTRIES: u64 = 32;
const MAX_ENTRIES: u64 = 1024;
/// Arguments of a command that are kept, the last of which then says how many more there are.
const KEPT_ARGS: usize = 32;
/// Bytes of an argument that are kept.
const KEPT_BYTES: usize = 128;
/// Bytes of all kept arguments of a command.
const ARGS_BYTES: u16 = (KEPT_ARGS * (2 + KEPT_BYTES + 40)) as u16;
/// Bytes of a client's address and name that are kept.
const ADDR_BYTES: usize = 110;
const NAME_BYTES: usize = 128;
/// Entries of one request; a transaction may have more slow commands.
const MAX_PENDING: usize = 128;
/// Entries that SLOWLOG GET returns unless it is told how many.
const USUAL_COUNT: i64 = 10;
/// The row that counts entries, and says with which one the log begins.
const HEAD: &[u8] = b"head";

mod column {
    pub(in crate::command) const NUMBER: usize = 0;
    pub(in crate::command) const TIME: usize = 1;
    pub(in crate::command) const MICROS: usize = 2;
    pub(in crate::command) const ARGS: usize = 3;
    pub(in crate::command) const ADDR: usize = 4;
    pub(in crate::command) const NAME: usize = 5;
    /// In the head: the first entry of the log.
    pub(in crate::command) const FIRST: usize = TIME;
}

/// The log, as one worker holds it.
pub struct SlowLog {
    table: Table,
    /// Entries that there is room for.
    places: i64,
    /// Entries that are written when the request at hand is over: a transaction's must not become part of it.
    pending: RefCell<Vec<Entry>>,
}

/// One entry.
struct Entry {
    number: i64,
    time: i64,
    micros: i64,
    args: Vec<u8>,
    addr: Vec<u8>,
    name: Vec<u8>,
}

impl SlowLog {
    /// Makes the log's table, or finds it. Its size follows from that of the segment.
    pub(in crate::command) fn open(store: &Store) -> Result<Self> {
        let columns = vec![
            Column::int("number"),
            Column::int("time"),
            Column::int("micros"),
            Column::string("args", ARGS_BYTES),
            Column::string("addr", ADDR_BYTES as u16),
            Column::string("name", NAME_BYTES as u16),
        ];
        let places = (store.memory().0 / SEGMENT_BYTES_PER_ENTRY).clamp(MIN_ENTRIES, MAX_ENTRIES);
        let table = store.hidden("~slowlog", TableSpec { rows: places + 1, key_bytes: 8, columns })?;
        Ok(Self { table, places: places as i64, pending: RefCell::default() })
    }

    fn key(&self, number: i64) -> [u8; 8] {
        (number % self.places).to_be_bytes()
    }

    /// Notes a command; `now_ms` is the time at which it ended.
    pub(in crate::command) fn note(
        &self,
        args: &Args<'_>,
        command: &Command,
        session: &Session,
        micros: u64,
        now_ms: u64,
    ) {
        let mut pending = self.pending.borrow_mut();
        if pending.len() < MAX_PENDING {
            pending.push(Entry {
                number: 0,
                time: (now_ms / 1000) as i64,
                micros: i64::try_from(micros).unwrap_or(i64::MAX),
                args: kept_args(args, command),
                addr: start(session.addr.as_bytes(), ADDR_BYTES).to_vec(),
                name: start(session.name.as_bytes(), NAME_BYTES).to_vec(),
            });
        }
    }

    /// Writes what was noted.
    pub(in crate::command) fn write(&self) {
        if !self.pending.borrow().is_empty() {
            self.pending.take().iter().for_each(|entry| self.enter(entry));
        }
    }

    fn enter(&self, entry: &Entry) {
        let Ok(count) = self.table.incr(HEAD, "number", 1) else { return };
        let cells = [
            (column::NUMBER, ValueRef::Int(count - 1)),
            (column::TIME, ValueRef::Int(entry.time)),
            (column::MICROS, ValueRef::Int(entry.micros)),
            (column::ARGS, ValueRef::Bytes(&entry.args)),
            (column::ADDR, ValueRef::Bytes(&entry.addr)),
            (column::NAME, ValueRef::Bytes(&entry.name)),
        ];
        // An entry less is all that comes of a failure here.
        let _ = self.table.write(&self.key(count - 1), &cells, Expiry::Keep, Condition::Always);
    }

    /// The first entry, and the one that will be next.
    fn bounds(&self, max_len: u64) -> Result<(i64, i64)> {
        let Some(head) = self.table.get(HEAD)? else { return Ok((0, 0)) };
        let (next, first) = (int(&head, column::NUMBER), int(&head, column::FIRST));
        let len = i64::try_from(max_len).unwrap_or(i64::MAX).min(self.places);
        Ok((first.max(next - len), next))
    }

    /// Up to `count` entries, the latest first.
    fn entries(&self, max_len: u64, count: usize) -> Result<Vec<Entry>> {
        let (first, next) = self.bounds(max_len)?;
        let mut entries = Vec::new();
        for number in (first..next).rev().take(count) {
            match self.table.get(self.key(number))? {
                Some(row) if int(&row, column::NUMBER) == number => entries.push(Entry::of_row(&row)),
                // It could not be written, or another is being written in its place.
                _ => {}
            }
        }
        Ok(entries)
    }

    fn reset(&self) -> Result<()> {
        let (_, next) = self.bounds(0)?;
        self.table.write(HEAD, &[(column::FIRST, ValueRef::Int(next))], Expiry::Keep, Condition::Always).map(drop)
    }
}

impl Entry {
    fn of_row(row: &Row) -> Self {
        let text = |index| match row.get(index) {
            ValueRef::Bytes(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        };
        Self {
            number: int(row, column::NUMBER),
            time: int(row, column::TIME),
            micros: int(row, column::MICROS),
            args: text(column::ARGS),
            addr: text(column::ADDR),
            name: text(column::NAME),
        }
    }

    fn reply(self) -> Reply {
        Reply::Array(vec![
            Reply::Int(self.number),
            Reply::Int(self.time),
            Reply::Int(self.micros),
            Reply::Array(split_args(&self.args).into_iter().map(Reply::Bulk).collect()),
            Reply::Bulk(self.addr),
            Reply::Bulk(self.name),
        ])
    }
}

fn int(row: &Row, index: usize) -> i64 {
    match row.get(index) {
        ValueRef::Int(n) => n,
        _ => 0,
    }
}

fn start(bytes: &[u8], max: usize) -> &[u8] {
    &bytes[..bytes.len().min(max)]
}

/// The arguments as they are kept: each behind its length, shortened, and secrets hidden.
fn kept_args(args: &Args<'_>, command: &Command) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut keep = |bytes: &[u8]| {
        kept.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
        kept.extend_from_slice(bytes);
    };
    for (at, arg) in args.iter().take(KEPT_ARGS).enumerate() {
        if at == KEPT_ARGS - 1 && args.len() > KEPT_ARGS {
            keep(format!("... ({} more arguments)", args.len() - KEPT_ARGS + 1).as_bytes());
        } else if monitor::is_secret(args, command, at) {
            keep(monitor::REDACTED);
        } else if arg.len() > KEPT_BYTES {
            let more = format!("... ({} more bytes)", arg.len() - KEPT_BYTES);
            keep(&[&arg[..KEPT_BYTES], more.as_bytes()].concat());
        } else {
            keep(arg);
        }
    }
    kept
}

fn split_args(mut kept: &[u8]) -> Vec<Vec<u8>> {
    let mut args = Vec::new();
    while let Some((len, rest)) = kept.split_first_chunk() {
        let Some((arg, rest)) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len))) else { break };
        args.push(arg.to_vec());
        kept = rest;
    }
    args
}

fn slowlog_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "SLOWLOG", SLOWLOG))
}

fn max_len(call: &Call<'_, '_>) -> u64 {
    call.env.state.settings.limits().slow_len
}

fn get(call: &mut Call<'_, '_>) -> Answer {
    let count = match call.args.len() {
        2 => USUAL_COUNT,
        3 => parse_int(call.arg(2))
            .filter(|&count| count >= -1)
            .ok_or(Refusal::from("ERR count should be greater than or equal to -1"))?,
        _ => return wrong_arity("slowlog|get"),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let entries = call.env.state.slow_log.entries(max_len(call), count)?;
    Ok(Reply::Array(entries.into_iter().map(Entry::reply).collect()))
}

fn len(call: &mut Call<'_, '_>) -> Answer {
    let (first, next) = call.env.state.slow_log.bounds(max_len(call))?;
    Ok(Reply::Int(next - first))
}

fn reset(call: &mut Call<'_, '_>) -> Answer {
    call.env.state.slow_log.reset()?;
    Ok(Reply::OK)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Server, check};

    #[test]
    fn slow_commands_are_logged_as_far_as_the_settings_say() {
        let server = Server::new();
        check(
            &server,
            &[
                ("SLOWLOG LEN", ":0"),
                ("SLOWLOG GET", "*0"),
                ("CONFIG SET slowlog-log-slower-than 0", "+OK"),
                ("PING", "+PONG"),
                ("SLOWLOG LEN", ":2"),
                ("CONFIG SET slowlog-max-len 2", "+OK"),
                ("SLOWLOG LEN", ":2"),
                ("SLOWLOG RESET", "+OK"),
                ("SLOWLOG LEN", ":1"),
                ("CONFIG SET slowlog-log-slower-than -1", "+OK"),
                ("SLOWLOG GET x", "-ERR count should be greater than or equal to -1"),
                ("SLOWLOG GET -2", "-ERR count should be greater than or equal to -1"),
                ("SLOWLOG NONE", "-ERR unknown subcommand 'NONE'. Try SLOWLOG HELP."),
            ],
        );
        let log = server.run("SLOWLOG GET 1");
        assert!(log.starts_with("*1 *6 :") && log.contains(" *2 $7 SLOWLOG $3 LEN $14 127.0.0.1:5000 $0 "), "{log}");
        check(&server, &[("CONFIG SET slowlog-max-len 0 slowlog-log-slower-than 0", "+OK"), ("SLOWLOG LEN", ":0")]);
    }

    #[test]
    fn long_commands_are_shortened_and_secrets_hidden() {
        let server = Server::new();
        server.run("CONFIG SET slowlog-log-slower-than 0");
        server.run(&format!("ECHO {}", "x".repeat(129)));
        let log = server.run("SLOWLOG GET 1");
        assert!(log.contains(&format!("$146 {}... (1 more bytes)", "x".repeat(128))), "{log}");
        server.run(&format!("MGET {}", vec!["k"; 40].join(" ")));
        let log = server.run("SLOWLOG GET 1");
        assert!(log.contains(" *32 $4 MGET $1 k ") && log.contains("$23 ... (10 more arguments)"), "{log}");
        server.run("AUTH user hush");
        server.run("CONFIG SET requirepass hush");
        assert!(!server.run("SLOWLOG GET 3").contains("hush"));
    }

    #[test]
    fn the_log_forgets_the_oldest_when_it_is_full() {
        let server = Server::new();
        server.run("CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 100000");
        let places = server.state.slow_log.places;
        (0..places + 10).for_each(|_| drop(server.run("PING")));
        assert_eq!(server.run("SLOWLOG LEN"), format!(":{places}"));
        assert!(server.run("SLOWLOG GET -1").starts_with(&format!("*{places} ")));
    }
}
