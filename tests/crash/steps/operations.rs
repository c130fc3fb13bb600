//! The operations that are killed, each with the states that it starts from.
//!
//! An operation answers in words, so that the answers of the repeated one can be compared. One of several `parts` is atomic in each part.

use store_master::{
    Column, Counter, row,
    store::{Condition, Error, ExpireRule, Expiry, SetOptions, ValueRef},
};

use super::{
    ground::Context,
    states::{BLOCK, EMPTY, EXPIRED_KEY, EXPIRED_ROW, HOT, LAST_BLOCK, LAST_ROW, NO_PAGE, OVERFLOW, SOME, State},
};

/// A time that does not come during a test, in milliseconds since the epoch.
pub(super) const FAR: u64 = 4_000_000_000_000;

/// An operation.
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) states: &'static [&'static State],
    /// Atomic steps of which it consists.
    pub(super) parts: usize,
    /// Carries out that many parts.
    pub(super) run: fn(&Context, usize) -> String,
    phase: Phase,
}

/// Which part of a process's life is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The operation, in a process that has written before.
    Middle,
    /// The first write of a process, which claims a slot.
    First,
    /// The end of a process, which gives its slot back.
    Last,
}

impl Operation {
    /// What the process does before: it claims its slot.
    pub(super) fn get_ready(&self, context: &Context) {
        if self.phase != Phase::First {
            context.store.kv().delete(0, b"absent").expect("nobody is in the way");
        }
    }

    /// The whole operation.
    pub(super) fn carry_out(&self, context: &Context) -> String {
        let answer = (self.run)(context, self.parts);
        if self.phase == Phase::Last {
            std::process::exit(0);
        }
        answer
    }
}

fn said<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    format!("{result:?}")
}

/// An operation of one part.
macro_rules! operation {
    ($name:literal on [$($state:ident),*] $phase:ident, $run:expr) => {
        Operation {
            name: $name,
            states: &[$(&$state),*],
            parts: 1,
            run: |context, parts| {
                let run: fn(&Context) -> String = $run;
                if parts == 0 { String::new() } else { run(context) }
            },
            phase: Phase::$phase,
        }
    };
    ($name:literal on [$($state:ident),*], $run:expr) => { operation!($name on [$($state),*] Middle, $run) };
}

fn set(context: &Context, key: &[u8], value: &[u8]) -> String {
    said(context.store.kv().set(0, key, value, SetOptions::default()))
}

fn counter(context: &Context, name: &str) -> Counter {
    context.store.counter(name).expect("a good name")
}

fn append(context: &Context, key: &[u8], tail: &[u8]) -> String {
    said(context.store.kv().append(0, key, tail, 1 << 20))
}

/// Rows of one column each, so that they are written in one step.
fn mset(context: &Context, keys: &[&[u8]]) -> String {
    let cells = || vec![(0, ValueRef::Int(9)), (3, ValueRef::Bytes(b"together"))];
    said(context.table().mset(&keys.iter().map(|&key| (key, cells())).collect::<Vec<_>>()))
}

fn many(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix} {i}")).collect()
}

fn set_many(context: &Context, names: &[String], value: &[u8]) -> String {
    let others: [&[u8]; 2] = [b"small", b"block"];
    let pairs: Vec<(&[u8], &[u8])> =
        names.iter().map(|name| name.as_bytes()).chain(others).map(|key| (key, value)).collect();
    said(context.store.kv().mset(0, &pairs, false))
}

/// Deletes the rows of the table that an iteration finds, at most `parts` of them.
fn iterate_and_delete(context: &Context, parts: usize) -> String {
    let mut keys: Vec<Vec<u8>> = match context.table().scan(0, 1000) {
        Ok(page) => page.rows.into_iter().map(|(key, _)| key).collect(),
        Err(error) => return error.to_string(),
    };
    keys.sort_unstable();
    keys.retain(|key| key.len() == 1);
    let results: Vec<String> = keys.iter().take(parts).map(|key| said(context.table().delete(key))).collect();
    results.join(" ")
}

const COLUMNS: fn() -> [Column; 2] = || [Column::int("x"), Column::string("y", 30)];

/// All of them.
pub(super) static OPERATIONS: &[Operation] = &[
    operation!("claim" on [EMPTY, SOME] First, |c| said(c.store.kv().delete(0, b"absent"))),
    operation!("leave" on [EMPTY, SOME] Last, |_| String::new()),
    // Rows.
    operation!("insert" on [EMPTY, SOME, OVERFLOW, LAST_ROW, HOT], |c| said(
        c.table().set("new", &row! { a: 7, b: 8, f: 1.5, s: "inserted" })
    )),
    // The expired row is freed, which is a change of its own, and its place is taken.
    Operation {
        name: "insert-evicting",
        states: &[&EXPIRED_ROW],
        parts: 2,
        run: |c, parts| match parts {
            0 => String::new(),
            1 => c.store.sweep().to_string(),
            _ => said(c.table().set("new", &row! { a: 7, s: "in its place" })),
        },
        phase: Phase::Middle,
    },
    operation!("update-one" on [SOME, OVERFLOW, HOT], |c| said(c.table().set("a", &row! { a: 7 }))),
    operation!("update-string" on [SOME, HOT], |c| said(c.table().set("a", &row! { s: "another string" }))),
    operation!("update-several" on [SOME, OVERFLOW, LAST_ROW, HOT], |c| said(
        c.table().set("a", &row! { a: 7, b: 8, f: 1.5, s: "updated" })
    )),
    operation!("delete" on [SOME, OVERFLOW, LAST_ROW, HOT], |c| said(c.table().delete("a"))),
    operation!("getdel" on [SOME], |c| said(c.table().getdel("a"))),
    operation!("incr" on [SOME, OVERFLOW, HOT], |c| said(c.table().incr("a", "a", 5))),
    operation!("incr-float" on [SOME], |c| said(c.table().add_cell(b"a", 2, ValueRef::Float(0.25)))),
    operation!("incr-new" on [EMPTY, LAST_ROW, OVERFLOW], |c| said(c.table().incr("new", "a", 5))),
    operation!("cas" on [SOME, OVERFLOW, HOT], |c| said(
        c.table().cas(b"a", &[(1, ValueRef::Int(2))], &[(1, ValueRef::Int(3)), (3, ValueRef::Bytes(b"swapped"))])
    )),
    operation!("expire" on [SOME, OVERFLOW, HOT], |c| said(c.table().expire(b"a", Expiry::At(FAR + 1)))),
    operation!("persist" on [SOME], |c| said(c.table().expire(b"d", Expiry::Never))),
    operation!("set-expiring" on [EMPTY, SOME], |c| said(
        c.table().write(b"new", &[(0, ValueRef::Int(1))], Expiry::At(FAR), Condition::Always)
    )),
    operation!("wide-insert" on [SOME], |c| said(c.wide().set("new", &row! { a: 2, s: vec![b'n'; 4800] }))),
    operation!("wide-update" on [SOME], |c| said(c.wide().set("w", &row! { a: 2, s: vec![b'u'; 4900] }))),
    operation!("wide-delete" on [SOME], |c| said(c.wide().delete("w"))),
    operation!("mset" on [SOME, LAST_ROW, OVERFLOW, HOT], |c| mset(c, &[b"b", b"new", b"a"])),
    operation!("mset-64" on [EMPTY], |c| {
        let names = many("row", 64);
        mset(c, &names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>())
    }),
    Operation {
        name: "iterate-and-delete",
        states: &[&SOME, &OVERFLOW, &HOT],
        parts: 4,
        run: iterate_and_delete,
        phase: Phase::Middle,
    },
    operation!("clear" on [SOME, OVERFLOW, LAST_ROW], |c| said(c.table().clear())),
    operation!("sweep" on [EXPIRED_ROW, EXPIRED_KEY], |c| {
        // One sweep looks at a share of the keys.
        (0..8).map(|_| c.store.sweep()).sum::<usize>().to_string()
    }),
    operation!("make" on [EMPTY, SOME], |c| said(c.store.make("made", 20, &COLUMNS()).map(|table| table.schema().table().to_owned()))),
    operation!("make-same" on [SOME], |c| said(c.store.make("wide", 4, &[Column::int("a"), Column::string("s", 5000)]).is_ok().then_some(()).ok_or(Error::Busy))),
    operation!("drop" on [SOME, OVERFLOW], |c| said(c.store.drop_table("t"))),
    // Counters.
    operation!("counter-make" on [EMPTY, SOME, LAST_ROW], |c| said(counter(c, "new").add(3))),
    operation!("counter-add" on [SOME, HOT], |c| said(counter(c, "c").add(3))),
    operation!("counter-bounded" on [SOME], |c| said(counter(c, "c").add_bounded(3, 100))),
    operation!("counter-set" on [SOME, HOT], |c| said(counter(c, "c").set(77))),
    operation!("counter-cas" on [SOME, HOT], |c| said(counter(c, "d").compare_and_set(-1, 6))),
    operation!("counter-widen" on [SOME], |c| said(counter(c, "near").add(100))),
    operation!("counter-delete" on [SOME, LAST_ROW, HOT], |c| said(counter(c, "c").delete())),
    // Keys.
    operation!("key-new" on [EMPTY, SOME, OVERFLOW], |c| set(c, b"new", b"inline")),
    operation!("key-new-number" on [SOME], |c| set(c, b"new", b"12345678")),
    operation!("key-new-block" on [EMPTY, SOME, OVERFLOW, LAST_BLOCK, EXPIRED_KEY, NO_PAGE], |c| set(c, b"new", BLOCK)),
    operation!("key-new-tree" on [SOME], |c| set(c, b"new", &[b'T'; 34_000])),
    operation!("key-new-long" on [SOME], |c| set(c, b"another key that does not fit into its record", &[b'l'; 60])),
    operation!("key-new-expiring" on [EMPTY, SOME], |c| said(
        c.store.kv().set(0, b"new", b"for a time", SetOptions { expiry: Expiry::At(FAR), ..SetOptions::default() })
    )),
    operation!("inline-to-inline" on [SOME, OVERFLOW], |c| set(c, b"small", b"other")),
    operation!("inline-to-block" on [SOME, OVERFLOW, LAST_BLOCK, NO_PAGE], |c| set(c, b"small", BLOCK)),
    operation!("inline-to-number" on [SOME], |c| set(c, b"small", b"17")),
    operation!("number-to-block" on [SOME], |c| set(c, b"number", &[b'n'; 70])),
    operation!("block-to-block" on [SOME, HOT], |c| set(c, b"block", &[b'o'; 100])),
    operation!("block-to-class" on [SOME, OVERFLOW], |c| set(c, b"block", &[b'o'; 300])),
    operation!("last-block-over" on [LAST_BLOCK], |c| set(c, b"filling 3", BLOCK)),
    operation!("block-to-inline" on [SOME, HOT], |c| set(c, b"block", b"short")),
    operation!("block-to-number" on [SOME], |c| set(c, b"block", b"18")),
    operation!("block-to-tree" on [SOME], |c| set(c, b"block", &[b'T'; 34_000])),
    operation!("tree-to-block" on [SOME], |c| set(c, b"tree", &[b's'; 100])),
    operation!("tree-to-inline" on [SOME], |c| set(c, b"tree", b"short")),
    operation!("tree-to-tree" on [SOME], |c| set(c, b"tree", &[b'T'; 34_000])),
    operation!("append-new" on [EMPTY, SOME], |c| append(c, b"new", b"tail")),
    operation!("append-inline" on [SOME], |c| append(c, b"small", b"!")),
    operation!("append-to-block" on [SOME], |c| append(c, b"small", b" that grows beyond its record, by far")),
    operation!("append-block" on [SOME, HOT], |c| append(c, b"block", &[b'+'; 30])),
    operation!("key-incr" on [SOME, HOT], |c| said(c.store.kv().incr(0, b"number", 1))),
    operation!("key-incr-new" on [EMPTY], |c| said(c.store.kv().incr(0, b"new", 1))),
    operation!("key-incr-float" on [SOME], |c| said(c.store.kv().incr_float(0, b"number", 0.5))),
    operation!("key-delete" on [SOME, OVERFLOW], |c| said(c.store.kv().delete(0, b"small"))),
    operation!("key-delete-block" on [SOME, OVERFLOW, HOT], |c| said(c.store.kv().delete(0, b"block"))),
    operation!("key-delete-tree" on [SOME], |c| said(c.store.kv().delete(0, b"tree"))),
    operation!("key-delete-long" on [SOME], |c| said(
        c.store.kv().delete(0, b"a key that does not fit into its record at all")
    )),
    operation!("last-block-delete" on [LAST_BLOCK], |c| said(c.store.kv().delete(0, b"filling 3"))),
    operation!("key-getdel" on [SOME], |c| said(c.store.kv().getdel(0, b"block"))),
    operation!("key-getex" on [SOME], |c| said(c.store.kv().getex(0, b"block", Expiry::At(FAR)))),
    operation!("key-expire" on [SOME, HOT], |c| said(
        c.store.kv().expire(0, b"block", Expiry::At(FAR), ExpireRule::Always)
    )),
    operation!("key-persist" on [SOME], |c| said(
        c.store.kv().expire(0, b"expiring", Expiry::Never, ExpireRule::Always)
    )),
    operation!("rename" on [SOME, OVERFLOW], |c| said(c.store.kv().rename(0, b"small", b"new", false))),
    operation!("rename-over" on [SOME, OVERFLOW, HOT], |c| said(c.store.kv().rename(0, b"small", b"block", false))),
    operation!("rename-block" on [SOME], |c| said(c.store.kv().rename(0, b"block", b"new", false))),
    operation!("rename-tree" on [SOME], |c| said(c.store.kv().rename(0, b"tree", b"block", false))),
    operation!("rename-expiring" on [SOME], |c| said(c.store.kv().rename(0, b"expiring", b"number", false))),
    operation!("keys-mset" on [EMPTY, SOME, OVERFLOW, HOT], |c| set_many(c, &many("new", 2), &[b'm'; 90])),
    operation!("keys-mset-62" on [SOME], |c| set_many(c, &many("new", 60), b"one of many")),
    operation!("keys-mset-72" on [EMPTY, SOME], |c| set_many(c, &many("new", 70), &[b'm'; 40])),
    operation!("keys-msetnx" on [SOME], |c| said(c.store.kv().mset(0, &[(b"new", b"1"), (b"newer", BLOCK)], true))),
    operation!("flush" on [SOME, OVERFLOW], |c| said(c.store.kv().flush(Some(0)))),
    operation!("flush-all" on [SOME], |c| said(c.store.kv().flush(None))),
];
