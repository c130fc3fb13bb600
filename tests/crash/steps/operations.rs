//! The operations that are killed, each with the states that it starts from.
//!
//! An operation answers in words, so that the answers of the repeated one can be compared. One of several `parts` is atomic in
//! each part.

use std::borrow::Cow;

use store_master::{
    Column, Counter, Table, row,
    store::{Condition, Error, ExpireRule, Expiry, FieldUpdate, SetOptions, Targets, Update, ValueRef},
};

use super::{
    ground::Context,
    states::{
        self, BLOCK, EMPTY, EXPIRED_KEY, EXPIRED_ROW, HASHES, HOT, LAST_BLOCK, LAST_ROW, LIMIT_ALL, LIMIT_LFU,
        LIMIT_LRU, LIMIT_TTL, NO_PAGE, OVERFLOW, PREY, SOME, State, fields, wide_columns,
    },
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
    pub(super) subject: Subject,
}

/// What an operation is about: its rivals are about the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    Rows,
    Counters,
    Keys,
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

    /// The same, where somebody may be in the way: then the operation claims the slot.
    pub(super) fn try_to_get_ready(&self, context: &Context) {
        if self.phase != Phase::First {
            // `Busy` is an answer.
            let _ = context.store.kv().delete(0, b"absent");
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

fn copy(context: &Context, from: &[u8], to: &[u8]) -> Result<(), Error> {
    context.store.kv().derive(&[(0, from)], (0, to), &mut |sources, _| {
        Ok(sources[0].map_or(Update::Leave, |source| Update::Set(source.value.into(), Expiry::Never)))
    })
}

pub(super) fn said<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    format!("{result:?}")
}

/// An operation of one part.
macro_rules! operation {
    ($subject:ident $name:literal on [$($state:ident),*] $phase:ident, $run:expr) => {
        Operation {
            name: $name,
            states: &[$(&$state),*],
            parts: 1,
            run: |context, parts| {
                let run: fn(&Context) -> String = $run;
                if parts == 0 { String::new() } else { run(context) }
            },
            phase: Phase::$phase,
            subject: Subject::$subject,
        }
    };
    ($subject:ident $name:literal on [$($state:ident),*], $run:expr) => {
        operation!($subject $name on [$($state),*] Middle, $run)
    };
}

fn set(context: &Context, key: &[u8], value: &[u8]) -> String {
    said(context.store.kv().set(0, key, value, SetOptions::default()))
}

fn set_pairs(context: &Context, key: &[u8], pairs: &[(Vec<u8>, Vec<u8>)]) -> String {
    said(states::set_fields(&context.store, key, pairs))
}

fn delete_fields(context: &Context, key: &[u8], fields: &[&[u8]]) -> String {
    said(context.store.kv().change_fields(0, key, fields, false, &mut |_, _| Ok(FieldUpdate::Remove)))
}

fn made(table: Result<Table, Error>) -> String {
    said(table.map(|table| table.schema().table().to_owned()))
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

/// Changes of several keys, blocks and records that change hands in between.
fn several(context: &Context) -> Result<bool, Error> {
    let kv = context.store.kv();
    let set = |key: &[u8], value: &[u8]| kv.set(0, key, value, SetOptions::default());
    set(b"small", BLOCK)?;
    kv.delete(0, b"block")?;
    set(b"new", b"inline")?;
    kv.delete(0, b"new")?;
    kv.mset(0, &[(b"new 0", BLOCK), (b"small", b"again")], false)?;
    kv.rename(0, b"new 0", b"block", false)
}

/// Deletes the rows of the table that an iteration finds, at most `parts` of them. That a row is gone meanwhile is no news: what
/// the iteration found may have been deleted by one who has died, which shows when the row is locked.
fn iterate_and_delete(context: &Context, parts: usize) -> String {
    let mut keys: Vec<Vec<u8>> = match context.table().scan(0, 1000) {
        Ok(page) => page.rows.into_iter().map(|(key, _)| key).collect(),
        Err(error) => return error.to_string(),
    };
    keys.sort_unstable();
    keys.retain(|key| key.len() == 1);
    let done: Result<(), Error> = keys.iter().take(parts).try_for_each(|key| context.table().delete(key).map(drop));
    said(done)
}

/// Sets a key where something has to go first. That nothing is below the limit afterwards is no news.
fn set_evicting(context: &Context, parts: usize) -> String {
    if parts <= PREY {
        let gone = |number| context.store.kv().delete(0, &states::prey(number));
        return said((0..parts).try_for_each(|number| gone(number).map(drop)));
    }
    match context.store.make_room() {
        Err(Error::Busy) => said(Err::<(), _>(Error::Busy)),
        Ok(()) | Err(_) => set(context, b"new", BLOCK),
    }
}

/// All of them.
pub(super) static OPERATIONS: &[Operation] = &[
    operation!(Rows "claim" on [EMPTY, SOME] First, |c| said(c.store.kv().delete(0, b"absent"))),
    operation!(Rows "leave" on [EMPTY, SOME] Last, |_| String::new()),
    // Rows.
    operation!(Rows "insert" on [EMPTY, SOME, OVERFLOW, LAST_ROW, HOT], |c| said(
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
        subject: Subject::Rows,
    },
    operation!(Rows "update-one" on [SOME, OVERFLOW, HOT], |c| said(c.table().set("a", &row! { a: 7 }))),
    operation!(Rows "update-string" on [SOME, HOT], |c| said(c.table().set("a", &row! { s: "another string" }))),
    operation!(Rows "update-several" on [SOME, OVERFLOW, LAST_ROW, HOT], |c| said(
        c.table().set("a", &row! { a: 7, b: 8, f: 1.5, s: "updated" })
    )),
    operation!(Rows "delete" on [SOME, OVERFLOW, LAST_ROW, HOT], |c| said(c.table().delete("a"))),
    operation!(Rows "getdel" on [SOME], |c| said(c.table().getdel("a"))),
    operation!(Rows "incr" on [SOME, OVERFLOW, HOT], |c| said(c.table().incr("a", "a", 5))),
    operation!(Rows "incr-float" on [SOME], |c| said(c.table().add_cell(b"a", 2, ValueRef::Float(0.25)))),
    operation!(Rows "incr-new" on [EMPTY, LAST_ROW, OVERFLOW], |c| said(c.table().incr("new", "a", 5))),
    operation!(Rows "cas" on [SOME, OVERFLOW, HOT], |c| said(
        c.table().cas(b"a", &[(1, ValueRef::Int(2))], &[(1, ValueRef::Int(3)), (3, ValueRef::Bytes(b"swapped"))])
    )),
    operation!(Rows "expire" on [SOME, OVERFLOW, HOT], |c| said(c.table().expire(b"a", Expiry::At(FAR + 1)))),
    operation!(Rows "persist" on [SOME], |c| said(c.table().expire(b"d", Expiry::Never))),
    operation!(Rows "set-expiring" on [EMPTY, SOME], |c| said(
        c.table().write(b"new", &[(0, ValueRef::Int(1))], Expiry::At(FAR), Condition::Always)
    )),
    operation!(Rows "wide-insert" on [SOME], |c| said(c.wide().set("new", &row! { a: 2, s: vec![b'n'; 4800] }))),
    operation!(Rows "wide-update" on [SOME], |c| said(c.wide().set("w", &row! { a: 2, s: vec![b'u'; 4900] }))),
    operation!(Rows "wide-delete" on [SOME], |c| said(c.wide().delete("w"))),
    operation!(Rows "mset" on [SOME, LAST_ROW, OVERFLOW, HOT], |c| mset(c, &[b"b", b"new", b"a"])),
    operation!(Rows "mset-64" on [EMPTY], |c| {
        let names = many("row", 64);
        mset(c, &names.iter().map(|name| name.as_bytes()).collect::<Vec<_>>())
    }),
    Operation {
        name: "iterate-and-delete",
        states: &[&SOME, &OVERFLOW, &HOT],
        parts: 4,
        run: iterate_and_delete,
        phase: Phase::Middle,
        subject: Subject::Rows,
    },
    operation!(Rows "clear" on [SOME, OVERFLOW, LAST_ROW], |c| said(c.table().clear())),
    operation!(Rows "sweep" on [EXPIRED_ROW, EXPIRED_KEY], |c| {
        // One sweep looks at a share of the keys. It waits for nobody, and does not tell why it found nothing.
        match (0..8).map(|_| c.store.sweep()).sum::<usize>() {
            0 => "nothing, or Busy".to_owned(),
            freed => freed.to_string(),
        }
    }),
    operation!(Rows "make" on [EMPTY, SOME], |c| made(c.store.make("made", 20, &[Column::int("x"), Column::string("y", 30)]))),
    operation!(Rows "make-same" on [SOME], |c| made(c.store.make("wide", 4, &wide_columns()))),
    operation!(Rows "drop" on [SOME, OVERFLOW], |c| said(c.store.drop_table("t"))),
    // Counters.
    operation!(Counters "counter-make" on [EMPTY, SOME, LAST_ROW], |c| said(counter(c, "new").add(3))),
    operation!(Counters "counter-add" on [SOME, HOT], |c| said(counter(c, "c").add(3))),
    operation!(Counters "counter-bounded" on [SOME], |c| said(counter(c, "c").add_bounded(3, 100))),
    operation!(Counters "counter-set" on [SOME, HOT], |c| said(counter(c, "c").set(77))),
    operation!(Counters "counter-cas" on [SOME, HOT], |c| said(counter(c, "d").compare_and_set(-1, 6))),
    operation!(Counters "counter-widen" on [SOME], |c| said(counter(c, "near").add(100))),
    operation!(Counters "counter-delete" on [SOME, LAST_ROW, HOT], |c| said(counter(c, "c").delete())),
    // Messages.
    operation!(Keys "publish" on [EMPTY, SOME], |c| {
        c.store.bus().send(0, Targets::one(1), b"a message of some words, which a reader has whole or not at all");
        String::new()
    }),
    operation!(Rows "count-in" on [EMPTY, SOME], |c| said(c.table().add_cell(b"a", 0, ValueRef::Int(1)))),
    operation!(Rows "count-out" on [SOME, HOT], |c| said(c.table().release(b"a", 0, 1))),
    // Keys.
    operation!(Keys "key-new" on [EMPTY, SOME, OVERFLOW], |c| set(c, b"new", b"inline")),
    operation!(Keys "key-new-number" on [SOME], |c| set(c, b"new", b"12345678")),
    operation!(Keys "key-new-block" on [EMPTY, SOME, OVERFLOW, LAST_BLOCK, EXPIRED_KEY, NO_PAGE], |c| set(c, b"new", BLOCK)),
    operation!(Keys "key-new-tree" on [SOME], |c| set(c, b"new", &[b'T'; 34_000])),
    operation!(Keys "key-new-long" on [SOME], |c| set(c, b"another key that does not fit into its record", &[b'l'; 60])),
    operation!(Keys "key-new-expiring" on [EMPTY, SOME], |c| said(
        c.store.kv().set(0, b"new", b"for a time", SetOptions { expiry: Expiry::At(FAR), ..SetOptions::default() })
    )),
    operation!(Keys "inline-to-inline" on [SOME, OVERFLOW], |c| set(c, b"small", b"other")),
    operation!(Keys "inline-to-block" on [SOME, OVERFLOW, LAST_BLOCK, NO_PAGE], |c| set(c, b"small", BLOCK)),
    operation!(Keys "inline-to-number" on [SOME], |c| set(c, b"small", b"17")),
    operation!(Keys "number-to-block" on [SOME], |c| set(c, b"number", &[b'n'; 70])),
    operation!(Keys "block-to-block" on [SOME, HOT], |c| set(c, b"block", &[b'o'; 100])),
    operation!(Keys "block-to-class" on [SOME, OVERFLOW], |c| set(c, b"block", &[b'o'; 300])),
    operation!(Keys "last-block-over" on [LAST_BLOCK], |c| set(c, b"filling 3", BLOCK)),
    operation!(Keys "block-to-inline" on [SOME, HOT], |c| set(c, b"block", b"short")),
    operation!(Keys "block-to-number" on [SOME], |c| set(c, b"block", b"18")),
    operation!(Keys "block-to-tree" on [SOME], |c| set(c, b"block", &[b'T'; 34_000])),
    operation!(Keys "tree-to-block" on [SOME], |c| set(c, b"tree", &[b's'; 100])),
    operation!(Keys "tree-to-inline" on [SOME], |c| set(c, b"tree", b"short")),
    operation!(Keys "tree-to-tree" on [SOME], |c| set(c, b"tree", &[b'T'; 34_000])),
    operation!(Keys "append-new" on [EMPTY, SOME], |c| append(c, b"new", b"tail")),
    operation!(Keys "append-inline" on [SOME], |c| append(c, b"small", b"!")),
    operation!(Keys "append-to-block" on [SOME], |c| append(c, b"small", b" that grows beyond its record, by far")),
    operation!(Keys "append-block" on [SOME, HOT], |c| append(c, b"block", &[b'+'; 30])),
    operation!(Keys "key-incr" on [SOME, HOT], |c| said(c.store.kv().incr(0, b"number", 1))),
    operation!(Keys "key-incr-new" on [EMPTY], |c| said(c.store.kv().incr(0, b"new", 1))),
    operation!(Keys "key-incr-float" on [SOME], |c| said(c.store.kv().incr_float(0, b"number", 0.5.into()))),
    operation!(Keys "key-delete" on [SOME, OVERFLOW], |c| said(c.store.kv().delete(0, b"small"))),
    operation!(Keys "key-delete-block" on [SOME, OVERFLOW, HOT], |c| said(c.store.kv().delete(0, b"block"))),
    operation!(Keys "key-delete-tree" on [SOME], |c| said(c.store.kv().delete(0, b"tree"))),
    operation!(Keys "key-delete-long" on [SOME], |c| said(
        c.store.kv().delete(0, b"a key that does not fit into its record at all")
    )),
    operation!(Keys "last-block-delete" on [LAST_BLOCK], |c| said(c.store.kv().delete(0, b"filling 3"))),
    operation!(Keys "key-getdel" on [SOME], |c| said(c.store.kv().getdel(0, b"block"))),
    operation!(Keys "key-getex" on [SOME], |c| said(c.store.kv().getex(0, b"block", Expiry::At(FAR)))),
    operation!(Keys "key-expire" on [SOME, HOT], |c| said(
        c.store.kv().expire(0, b"block", Expiry::At(FAR), ExpireRule::Always)
    )),
    operation!(Keys "key-persist" on [SOME], |c| said(
        c.store.kv().expire(0, b"expiring", Expiry::Never, ExpireRule::Always)
    )),
    operation!(Keys "copy" on [SOME, OVERFLOW], |c| said(copy(c, b"small", b"new"))),
    operation!(Keys "copy-over" on [SOME, HOT], |c| said(copy(c, b"block", b"small"))),
    operation!(Keys "rename" on [SOME, OVERFLOW], |c| said(c.store.kv().rename(0, b"small", b"new", false))),
    operation!(Keys "rename-over" on [SOME, OVERFLOW, HOT], |c| said(c.store.kv().rename(0, b"small", b"block", false))),
    operation!(Keys "rename-block" on [SOME], |c| said(c.store.kv().rename(0, b"block", b"new", false))),
    operation!(Keys "rename-tree" on [SOME], |c| said(c.store.kv().rename(0, b"tree", b"block", false))),
    operation!(Keys "rename-expiring" on [SOME], |c| said(c.store.kv().rename(0, b"expiring", b"number", false))),
    operation!(Keys "keys-mset" on [EMPTY, SOME, OVERFLOW, HOT], |c| set_many(c, &many("new", 2), &[b'm'; 90])),
    operation!(Keys "keys-mset-62" on [SOME], |c| set_many(c, &many("new", 60), b"one of many")),
    operation!(Keys "keys-mset-72" on [EMPTY, SOME], |c| set_many(c, &many("new", 70), &[b'm'; 40])),
    operation!(Keys "keys-msetnx" on [SOME], |c| said(c.store.kv().mset(0, &[(b"new", b"1"), (b"newer", BLOCK)], true))),
    // Transactions.
    operation!(Keys "exec-transfer" on [EMPTY, SOME, OVERFLOW, HOT], |c| said(c.store.atomically(|| {
        c.store.kv().incr(0, b"number", -1)?;
        c.store.kv().incr(0, b"new", 1)
    }))),
    operation!(Keys "exec-several" on [SOME, OVERFLOW, LAST_BLOCK, NO_PAGE, HOT], |c| said(c.store.atomically(|| several(c)))),
    operation!(Rows "exec-rows" on [SOME, LAST_ROW, OVERFLOW, HOT], |c| said(c.store.atomically(|| {
        c.table().set("a", &row! { a: 7, s: "in a transaction" })?;
        c.table().delete("b")?;
        c.table().incr("new", "a", 5)?;
        counter(c, "c").add(3)
    }))),
    operation!(Keys "exec-undone" on [SOME, OVERFLOW], |c| said(c.store.atomically(|| several(c).and(Err::<(), _>(Error::Overflow))))),
    operation!(Keys "exec-part-undone" on [SOME, OVERFLOW], |c| said(c.store.atomically(|| {
        c.store.kv().incr(0, b"number", 1)?;
        let part = c.store.atomically(|| several(c).and(Err::<(), _>(Error::Overflow)));
        c.store.kv().set(0, b"newer", BLOCK, SetOptions::default())?;
        part.or(Ok(()))
    }))),
    operation!(Keys "exec-flush" on [SOME], |c| said(c.store.atomically(|| {
        c.store.kv().flush(Some(0))?;
        c.store.kv().incr(0, b"new", 1)
    }))),
    // Eviction: each key that goes is a change of its own.
    Operation {
        name: "set-evicting",
        states: &[&LIMIT_LRU],
        parts: PREY + 1,
        run: set_evicting,
        phase: Phase::Middle,
        subject: Subject::Keys,
    },
    // The same where the hand looks at every record before it chooses, or goes on looking for more than there is.
    Operation {
        name: "set-evicting-any",
        states: &[&LIMIT_ALL, &LIMIT_LFU, &LIMIT_TTL],
        parts: PREY + 1,
        run: set_evicting,
        phase: Phase::Middle,
        subject: Subject::Keys,
    },
    operation!(Keys "key-read" on [SOME, LIMIT_ALL, LIMIT_LFU], |c| said(c.store.kv().mget(0, &[b"block", &states::prey(3)]))),
    operation!(Keys "key-touch" on [LIMIT_ALL, LIMIT_LFU], |c| said(c.store.kv().touch(0, &states::prey(3)))),
    operation!(Keys "key-usage" on [SOME, LIMIT_LFU], |c| said(c.store.kv().set_usage(0, b"block", Some(70), Some(200)))),
    operation!(Keys "flush" on [SOME, OVERFLOW], |c| said(c.store.kv().flush(Some(0)))),
    operation!(Keys "flush-all" on [SOME], |c| said(c.store.kv().flush(None))),
    // Hashes.
    operation!(Keys "hash-new" on [EMPTY, SOME], |c| set_pairs(c, b"new", &fields("f", 3))),
    operation!(Keys "hash-field-new" on [HASHES], |c| set_pairs(c, b"one", &fields("another", 1))),
    operation!(Keys "hash-field-over" on [HASHES], |c| set_pairs(c, b"hash", &[(b"f 3".to_vec(), b"over".to_vec())])),
    operation!(Keys "hash-divide" on [HASHES], |c| set_pairs(c, b"hash", &fields("one more", 1))),
    operation!(Keys "hash-wide-over" on [HASHES], |c| set_pairs(c, b"wide", &[(b"wide".to_vec(), vec![b'x'; 700])])),
    operation!(Keys "hash-widest-delete" on [HASHES], |c| delete_fields(c, b"wide", &[b"wider"])),
    operation!(Keys "hash-large-set" on [HASHES], |c| set_pairs(c, b"large", &fields("new", 2))),
    operation!(Keys "hash-large-delete" on [HASHES], |c| delete_fields(c, b"large", &[b"f 7", b"f 150"])),
    operation!(Keys "hash-incr" on [HASHES], |c| said(c.store.kv().change_fields(0, b"one", &[b"f 0"], true, &mut |_, _| {
        Ok(FieldUpdate::Set(Cow::Borrowed(b"1")))
    }))),
    operation!(Keys "hash-last-field" on [HASHES], |c| delete_fields(c, b"one", &[b"f 0"])),
    operation!(Keys "hash-delete" on [HASHES], |c| said(c.store.kv().delete(0, b"hash"))),
    operation!(Keys "hash-expire" on [HASHES], |c| said(
        c.store.kv().expire(0, b"hash", Expiry::At(FAR), ExpireRule::Always)
    )),
    operation!(Keys "hash-rename-over" on [HASHES], |c| said(c.store.kv().rename(0, b"one", b"hash", false))),
    operation!(Keys "hash-to-string" on [HASHES], |c| set(c, b"hash", b"text")),
    operation!(Keys "hash-many-new" on [SOME], |c| set_pairs(c, b"new", &fields("f", 300))),
    operation!(Keys "hash-large-gone" on [HASHES], |c| said(c.store.kv().delete(0, b"large"))),
];
