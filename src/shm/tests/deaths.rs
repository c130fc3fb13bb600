//! Deaths at every named point of every operation, and at every named point of the recovery that follows.
//!
//! A thread that ends by the bare system call dies as a killed process does: no destructor runs, its slot is marked by the kernel.
//! So each operation is run again and again, the thread dying at the first point that it passes, at the second, and so on. From
//! what each death leaves, recovery is run by threads that die at its first point, at its second, and so on, until
//! one of them survives. Then the state must be the old or the new one, and the whole segment sound.
#![allow(unsafe_code)]

use std::{cell::Cell, collections::BTreeMap, sync::mpsc::channel, time::Duration};

use shm_layout::{row, slot::Held};

use super::{super::*, NOW, set, table};
use crate::shm::{FieldChange, Looked, crash::hook, directory, gate, tables::RowWords};

/// Ends the calling thread as SIGKILL does.
pub(super) fn die() -> ! {
    // SAFETY: the thread is one that the test started for this; nothing waits for its destructors.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("a thread does not outlive its exit")
}

/// Runs `body` on a thread that dies at the point number `at` of those that it passes. Returns whether it survived.
pub(crate) fn dies_at(segment: &Segment, at: usize, body: impl FnOnce(&Segment) + Send) -> bool {
    let handles = segment.handles();
    let survived = lives(segment, |segment| {
        let passed = Cell::new(0);
        hook::set(move |_| {
            if passed.replace(passed.get() + 1) == at {
                die();
            }
        });
        body(segment);
    });
    // The dead thread's notes hold the segment for ever; thousands of segments would be left.
    if !survived {
        segment.forget_handles(segment.handles() - handles);
    }
    survived
}

/// What a thread is to do, and whether it came to its end.
struct Job<'a> {
    segment: &'a Segment,
    body: Option<&'a mut dyn FnMut(&Segment)>,
    survived: bool,
}

/// Bytes of a thread's stack.
const STACK: usize = 1 << 20;

/// Runs `body` on a thread of its own, and tells whether that came to its end or died.
///
/// The thread is started by the C library on a stack of ours: of a thread that dies without its destructors, one
/// of the standard library would leave stack and signal stack behind.
pub(super) fn lives(segment: &Segment, body: impl FnOnce(&Segment) + Send) -> bool {
    extern "C" fn run(job: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the job outlives the thread, which is joined, and nobody else looks at it meanwhile.
        let job = unsafe { &mut *job.cast::<Job<'_>>() };
        if let Some(body) = job.body.take() {
            body(job.segment);
        }
        hook::set(|_| {});
        job.survived = true;
        std::ptr::null_mut()
    }
    let mut once = Some(body);
    let mut body = |segment: &Segment| {
        if let Some(body) = once.take() {
            body(segment);
        }
    };
    let mut job = Job { segment, body: Some(&mut body), survived: false };
    let mut stack = vec![0_u128; STACK / 16];
    // SAFETY: all zeros are storage for the attributes, which the next call fills.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: the attributes are this function's.
    let initialised = unsafe { libc::pthread_attr_init(&raw mut attributes) };
    // SAFETY: the stack is this function's, aligned, and stays until the thread is joined.
    let given = unsafe { libc::pthread_attr_setstack(&raw mut attributes, stack.as_mut_ptr().cast(), STACK) };
    let mut thread = 0;
    // SAFETY: attributes, function and job are good, and the job outlives the thread, which is joined below.
    let started = unsafe { libc::pthread_create(&raw mut thread, &raw const attributes, run, (&raw mut job).cast()) };
    assert_eq!((initialised, given, started), (0, 0, 0), "a thread can be started");
    // SAFETY: the thread was started above and is joined once. The kernel tells the end of a thread that exits by itself too.
    let joined = unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
    assert_eq!(joined, 0, "a thread can be joined");
    job.survived
}

/// Everything that can be read: rows, keys with their values, counters, tables.
type State = (BTreeMap<Vec<u8>, Vec<u64>>, BTreeMap<Vec<u8>, Vec<u8>>, Vec<(Vec<u8>, i64)>, Vec<String>);

/// The values of all sources, one behind the other.
fn both_values<'s>(shown: &[Option<Record<'s>>], _: Option<Record<'s>>) -> Change<'s> {
    Change::Set(shown.iter().flatten().flat_map(|source| source.value).copied().collect(), u64::MAX)
}

fn read_state(segment: &Segment) -> State {
    let mut rows = BTreeMap::new();
    if let Ok(table) = Tables::find(segment, None, "t") {
        let mut take = |key: &[u8], words: &[u64]| drop(rows.insert(key.to_vec(), words[row::BODY_WORD..].to_vec()));
        table.scan(None, NOW, 0, 1000, &mut take).expect("the table is there");
    }
    let keyspace = Keys::new(segment);
    let mut names = Vec::new();
    keyspace.scan(None, NOW, 0, 0, 1000, &mut |key| names.push(key.to_vec())).expect("nobody is in the way");
    let value = |key: &Vec<u8>| {
        let mut value = Vec::new();
        let looked = keyspace.read_fields(None, NOW, 0, key, &mut |fields| {
            // Their own order depends on the segment's seed.
            let mut all = BTreeMap::new();
            let seen = fields.each_from(0, &mut |_, field, found| all.insert(field.to_vec(), found.to_vec()).is_none());
            value = format!("{all:?}").into_bytes();
            seen
        });
        if looked == Ok(Looked::Fields) {
            return (key.clone(), value);
        }
        value.clear();
        keyspace.read(None, NOW, 0, key, Some(&mut value)).expect("nobody is in the way");
        (key.clone(), value)
    };
    let counters = Counters::new(segment).list(None).expect("nobody is in the way");
    let tables = Tables::list(segment, None).expect("nobody is in the way");
    (rows, names.iter().map(value).collect(), counters, tables.iter().map(|table| table.spec().name.clone()).collect())
}

/// Nothing is held, half done or lost, wherever one looks, and nobody dead was left to recover.
pub(crate) fn assert_sound(segment: &Segment, at: &str) {
    let seen = segment.verify(Some(Duration::from_secs(5)), &mut |_, _| {}).expect("nobody is in the way");
    assert!(seen.is_sound(), "{at}: {:#?}", seen.findings);
    assert_eq!((seen.recovered, seen.hidden_pages), (0, 0), "{at}");
}

fn small_segment() -> Segment {
    let options = SegmentOptions::new().memory(8 << 20).counters(16).max_keys(2000);
    Segment::create(options).expect("a small segment can be made")
}

/// Counts of what a run came to.
#[derive(Default, Debug)]
struct Tallies {
    old: usize,
    new: usize,
    in_recovery: usize,
}

/// Lets `operation` die at each of its points, and recovery at each of its own.
fn dies_everywhere(name: &str, before: fn(&Segment), operation: fn(&Segment)) {
    let expected = |operate: bool| {
        let segment = small_segment();
        before(&segment);
        if operate {
            operation(&segment);
        }
        read_state(&segment)
    };
    let (old, new) = (expected(false), expected(true));
    let mut tallies = Tallies::default();
    for point in 0.. {
        let segment = small_segment();
        before(&segment);
        if dies_at(&segment, point, operation) {
            assert_eq!(read_state(&segment), new);
            break;
        }
        // Recovery after recovery, each dying one point later, until one lives.
        for step in 0.. {
            let at = format!("{name}, dead at point {point}, recoverer at {step}");
            if dies_at(&segment, step, |segment| {
                segment.recover();
            }) {
                let seen = read_state(&segment);
                assert!(seen == old || seen == new, "{at}: neither the old state nor the new one");
                tallies.old += usize::from(seen == old);
                tallies.new += usize::from(seen == new);
                assert_sound(&segment, &at);
                break;
            }
            tallies.in_recovery += 1;
        }
        operation(&segment);
        assert_sound(&segment, &format!("{name}, once more after a death at point {point}"));
    }
    eprintln!("{name}: {tallies:?}");
    assert!(tallies.old > 0 && tallies.new > 0, "{name}: {tallies:?}");
}

const WIDE: u32 = 5_000;

fn change_row(segment: &Segment, key: &[u8], value: u64) {
    let table = Tables::find(segment, None, "t").expect("it was made");
    let mut all = |row: RowWords<'_>| {
        let last = row.words.len() - 1;
        [row::BODY_WORD, row::BODY_WORD + 1, last].iter().for_each(|&i| row.words[i] = value);
        Verdict::Write
    };
    table.modify(None, NOW, key, &mut all).expect("there is room");
}

fn narrow(segment: &Segment) {
    table(segment, 8, 66);
    (0..4).for_each(|i| change_row(segment, &[b'a' + i], 1));
}

fn wide(segment: &Segment) {
    table(segment, 8, WIDE);
    (0..4).for_each(|i| change_row(segment, &[b'a' + i], 1));
}

fn some_keys(segment: &Segment) {
    let keys = Keys::new(segment);
    set(&keys, b"small", b"value");
    set(&keys, b"number", b"41");
    set(&keys, b"block", &[b'b'; 300]);
    set(&keys, b"tree", &[b't'; 70_000]);
    set(&keys, b"a key that is too long to stand in its record", b"value");
}

/// A table with rows, keys of every kind, a counter.
fn everything(segment: &Segment) {
    narrow(segment);
    some_keys(segment);
    Counters::new(segment).add(None, b"c", 5, None).expect("there is room");
}

fn transact(segment: &Segment, body: fn(&Segment)) {
    let transaction = Transaction::begin(segment, None).expect("nobody is in the way");
    body(segment);
    transaction.commit();
}

fn remove(keys: &Keys, key: &[u8]) {
    keys.change(None, NOW, 0, key, false, &mut |_| Change::Remove).expect("nobody is in the way");
}

fn all_kinds(segment: &Segment) {
    let (keys, counters) = (Keys::new(segment), Counters::new(segment));
    set(&keys, b"small", b"other");
    keys.add_int(None, NOW, 0, b"number", 1).expect("there is such a number");
    set(&keys, b"block", &[b'n'; 40_000]);
    remove(&keys, b"tree");
    set(&keys, b"new", &[b'n'; 300]);
    counters.add(None, b"c", 1, None).expect("there is room");
    counters.set(None, b"made", 7).expect("there is room");
    change_row(segment, b"a", 2);
    change_row(segment, b"new", 2);
    let rows = Tables::find(segment, None, "t").expect("it was made");
    rows.modify(None, NOW, b"b", &mut |_| Verdict::Remove).expect("nobody is in the way");
}

fn set_fields(segment: &Segment, key: &[u8], fields: std::ops::Range<u64>, value: Option<&[u8]>) {
    let names: Vec<Vec<u8>> = fields.map(|i| format!("field {i}").into_bytes()).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let mut change = |_: usize, _: Option<&[u8]>| match value {
        Some(value) => FieldChange::Set(value.into()),
        None => FieldChange::Remove,
    };
    Keys::new(segment).change_fields(None, NOW, 0, key, &names, false, &mut change).expect("there is room");
}

fn some_hashes(segment: &Segment) {
    set_fields(segment, b"hash", 0..60, Some(&[b'v'; 30]));
    set_fields(segment, b"other", 0..3, Some(&[b'v'; 3000]));
}

fn strings_and_hashes(segment: &Segment) {
    some_keys(segment);
    some_hashes(segment);
}

/// A hash whose time has passed, and that nobody has looked at since.
fn expired_hash(segment: &Segment) {
    some_hashes(segment);
    let expire = &mut |_: Option<Record<'_>>| Change::Expire(NOW);
    Keys::new(segment).change(None, NOW - 1, 0, b"hash", false, expire).expect("nobody is in the way");
}

/// Every second field goes, the others change, in one step.
fn set_and_remove(segment: &Segment, key: &[u8]) {
    let names: Vec<Vec<u8>> = (0..70).map(|i| format!("field {i}").into_bytes()).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let mut change = |number: usize, _: Option<&[u8]>| match number % 2 {
        0 => FieldChange::Set(b"new"[..].into()),
        _ => FieldChange::Remove,
    };
    Keys::new(segment).change_fields(None, NOW, 0, key, &names, false, &mut change).expect("there is room");
}

/// Trees of nodes, some of which stay and are shared with the tree that is to come back.
fn change_hashes(segment: &Segment) {
    let keys = Keys::new(segment);
    set_fields(segment, b"hash", 5..7, Some(b"changed"));
    set_fields(segment, b"hash", 6..9, Some(&[b'w'; 2000]));
    set_fields(segment, b"other", 0..2, None);
    keys.rename(None, NOW, (0, b"hash"), (0, b"other"), false).expect("there is room");
    set_fields(segment, b"hash", 0..5, Some(b"new"));
    set_fields(segment, b"other", 50..70, Some(b"last"));
    remove(&keys, b"hash");
}

/// Records and blocks change hands inside.
fn over_and_over(segment: &Segment) {
    let keys = Keys::new(segment);
    for round in 0..3_u8 {
        set(&keys, b"block", &[b'1' + round; 300]);
        remove(&keys, b"block");
        set(&keys, &[b'k', round], &[b'n'; 300]);
        keys.rename(None, NOW, (0, &[b'k', round]), (0, b"tree"), false).expect("there is room");
        remove(&keys, b"small");
        set(&keys, b"small", b"again");
    }
}

fn flush_and_fill(segment: &Segment) {
    let (keys, rows) = (Keys::new(segment), Tables::find(segment, None, "t").expect("it was made"));
    keys.swap_databases(None, 0, 3).expect("there is room for the log");
    set(&keys, b"block", b"of another database");
    keys.swap_databases(None, 3, 0).expect("there is room for the log");
    keys.flush(None, None).expect("there is room for the log");
    rows.clear(None).expect("there is room for the log");
    Counters::new(segment).delete(None, b"c").expect("nobody is in the way");
    set(&keys, b"block", b"small");
    change_row(segment, b"a", 9);
}

fn batches(segment: &Segment) {
    let keys = Keys::new(segment);
    let names: Vec<String> = (0..66).map(|i| format!("new {i}")).collect();
    let mut pairs: Vec<(&[u8], &[u8])> = names.iter().map(|name| (name.as_bytes(), &[b'n'; 200][..])).collect();
    pairs.push((b"tree", b"n"));
    keys.set_many(None, NOW, 0, &pairs, &SetRule::ANY).expect("there is room");
    keys.set_many(None, NOW, 0, &[(b"block", b"n"), (b"new 7", b"n")], &SetRule::ANY).expect("there is room");
}

macro_rules! deaths {
    ($($name:ident: $before:expr, $operation:expr;)*) => {$(
        #[test]
        fn $name() {
            dies_everywhere(stringify!($name), $before, $operation);
        }
    )*};
}

deaths! {
    row_insert: narrow, |segment| change_row(segment, b"new", 2);
    row_update: narrow, |segment| change_row(segment, b"a", 2);
    row_update_wide: wide, |segment| change_row(segment, b"a", 2);
    row_insert_wide: wide, |segment| change_row(segment, b"new", 2);
    row_word: narrow, |segment| {
        let one = &mut |row: RowWords<'_>| { row.words[row::BODY_WORD] = 9; Verdict::Write };
        Tables::find(segment, None, "t").unwrap().modify(None, NOW, b"a", one).unwrap();
    };
    row_delete: narrow, |segment| {
        Tables::find(segment, None, "t").unwrap().modify(None, NOW, b"a", &mut |_| Verdict::Remove).unwrap();
    };
    row_batch: narrow, |segment| {
        let all = &mut |_: usize, row: RowWords<'_>| { row.words[row::BODY_WORD..row::BODY_WORD + 2].fill(3); Verdict::Write };
        Tables::find(segment, None, "t").unwrap().modify_many(None, NOW, &[b"a", b"x", b"b", b"y"], all).unwrap();
    };
    row_batch_wide: wide, |segment| {
        let all = &mut |_: usize, row: RowWords<'_>| { row.words[row::BODY_WORD..row::BODY_WORD + 2].fill(3); Verdict::Write };
        Tables::find(segment, None, "t").unwrap().modify_many(None, NOW, &[b"a", b"x", b"b"], all).unwrap();
    };
    table_clear: narrow, |segment| Tables::find(segment, None, "t").unwrap().clear(None).unwrap();
    table_make: narrow, |segment| {
        let spec = RawSpec { name: "u".to_owned(), rows: 10, key_bytes: 8, fixed_bytes: 8, string_bytes: 0, schema: vec![1] };
        Tables::make(segment, None, &spec).unwrap();
    };
    table_drop: narrow, |segment| { Tables::drop_named(segment, None, "t").unwrap(); };
    key_insert_small: some_keys, |segment| set(&Keys::new(segment), b"new", b"value");
    key_insert_block: some_keys, |segment| set(&Keys::new(segment), b"new", &[b'n'; 500]);
    key_insert_tree: some_keys, |segment| set(&Keys::new(segment), b"new", &[b'n'; 70_000]);
    key_insert_long: some_keys, |segment| set(&Keys::new(segment), &[b'k'; 40_000], &[b'n'; 500]);
    key_block_to_tree: some_keys, |segment| set(&Keys::new(segment), b"block", &[b'n'; 70_000]);
    key_tree_to_small: some_keys, |segment| set(&Keys::new(segment), b"tree", b"n");
    key_delete_tree: some_keys, |segment| {
        Keys::new(segment).change(None, NOW, 0, b"tree", false, &mut |_| Change::Remove).unwrap();
    };
    key_add: some_keys, |segment| { Keys::new(segment).add_int(None, NOW, 0, b"number", 1).unwrap(); };
    key_rename: some_keys, |segment| { Keys::new(segment).rename(None, NOW, (0, b"tree"), (0, b"block"), false).unwrap(); };
    key_rename_new: some_keys, |segment| { Keys::new(segment).rename(None, NOW, (0, b"block"), (0, b"new"), false).unwrap(); };
    key_batch: some_keys, |segment| {
        let pairs: [(&[u8], &[u8]); 3] = [(b"small", &[b'n'; 200]), (b"new", b"n"), (b"tree", b"n")];
        Keys::new(segment).set_many(None, NOW, 0, &pairs, &SetRule::ANY).unwrap();
    };
    key_batch_behind_the_gate: some_keys, |segment| {
        let names: Vec<String> = (0..66).map(|i| format!("new {i}")).collect();
        let mut pairs: Vec<(&[u8], &[u8])> = names.iter().map(|name| (name.as_bytes(), &[b'n'; 200][..])).collect();
        pairs.push((b"tree", b"n"));
        Keys::new(segment).set_many(None, NOW, 0, &pairs, &SetRule::ANY).unwrap();
    };
    key_batch_of_own_values: some_keys, |segment| {
        // The values that it replaces were written by the same slot.
        set(&Keys::new(segment), b"block", &[b'b'; 300]);
        let names: Vec<String> = (0..65).map(|i| format!("new {i}")).collect();
        let mut pairs: Vec<(&[u8], &[u8])> = vec![(b"block", &[b'c'; 300])];
        pairs.extend(names.iter().map(|name| (name.as_bytes(), &b"value"[..])));
        Keys::new(segment).set_many(None, NOW, 0, &pairs, &SetRule::ANY).unwrap();
    };
    key_derive: some_keys, |segment| {
        let both = &mut both_values;
        Keys::new(segment).derive(None, NOW, &[(0, b"tree"), (0, b"block"), (0, b"none")], (0, b"small"), both).unwrap();
    };
    key_derive_new: some_keys, |segment| {
        Keys::new(segment).derive(None, NOW, &[(0, b"small"), (0, b"block")], (7, b"new"), &mut both_values).unwrap();
    };
    key_derive_away: some_keys, |segment| {
        Keys::new(segment).derive(None, NOW, &[(0, b"small")], (0, b"tree"), &mut |_, _| Change::Remove).unwrap();
    };
    key_move: some_keys, |segment| { Keys::new(segment).rename(None, NOW, (0, b"tree"), (7, b"tree"), true).unwrap(); };
    key_swap: some_keys, |segment| Keys::new(segment).swap_databases(None, 0, 9).unwrap();
    key_flush: some_keys, |segment| Keys::new(segment).flush(None, None).unwrap();
    hash_new: some_hashes, |segment| set_fields(segment, b"new", 0..3, Some(b"value"));
    hash_overwrite: some_hashes, |segment| set_fields(segment, b"hash", 4..6, Some(b"new"));
    hash_overwrite_long: some_hashes, |segment| set_fields(segment, b"other", 0..2, Some(&[b'n'; 40_000]));
    hash_divide: some_hashes, |segment| set_fields(segment, b"hash", 60..80, Some(&[b'n'; 60]));
    hash_of_300_at_once: some_hashes, |segment| set_fields(segment, b"new", 0..300, Some(&[b'n'; 30]));
    hash_grows_by_300: some_hashes, |segment| set_fields(segment, b"hash", 0..300, Some(&[b'n'; 500]));
    hash_set_and_remove: some_hashes, |segment| set_and_remove(segment, b"hash");
    hash_field_delete: some_hashes, |segment| set_fields(segment, b"hash", 7..8, None);
    hash_shrinks_to_a_leaf: some_hashes, |segment| set_fields(segment, b"hash", 2..60, None);
    hash_last_field: some_hashes, |segment| set_fields(segment, b"other", 0..3, None);
    hash_delete: some_hashes, |segment| remove(&Keys::new(segment), b"hash");
    hash_over_string: strings_and_hashes, |segment| {
        let keys = Keys::new(segment);
        keys.rename(None, NOW, (0, b"hash"), (0, b"tree"), false).unwrap();
    };
    string_over_hash: strings_and_hashes, |segment| set(&Keys::new(segment), b"hash", &[b'n'; 300]);
    hash_expire: some_hashes, |segment| {
        // So that the state shows it, it has passed.
        Keys::new(segment).change(None, NOW, 0, b"hash", false, &mut |_| Change::Expire(NOW)).unwrap();
    };
    hash_anew_over_an_expired_one: expired_hash, |segment| set_fields(segment, b"hash", 0..2, Some(b"new"));
    hash_move: some_hashes, |segment| { Keys::new(segment).rename(None, NOW, (0, b"hash"), (7, b"hash"), true).unwrap(); };
    transaction_of_all_kinds: everything, |segment| transact(segment, all_kinds);
    transaction_of_one_row_over_and_over: some_keys, |segment| transact(segment, over_and_over);
    transaction_with_a_flush: everything, |segment| transact(segment, flush_and_fill);
    transaction_of_hashes: some_hashes, |segment| transact(segment, change_hashes);
    transaction_with_batches: some_keys, |segment| transact(segment, batches);
    counter_make: |_| {}, |segment| { Counters::new(segment).add(None, b"c", 1, None).unwrap(); };
    counter_delete: |segment| { Counters::new(segment).add(None, b"c", 1, None).unwrap(); },
        |segment| { Counters::new(segment).delete(None, b"c").unwrap(); };
}

/// Runs `body` on a thread that stops at `point` until the returned function is called, which waits for its end.
fn stops_at(point: &'static str, body: impl FnOnce() + Send + 'static) -> impl FnOnce() {
    let (at, is_at) = channel();
    let (go, goes) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let stopped = Cell::new(false);
        hook::set(move |name| {
            if name == point && !stopped.replace(true) {
                at.send(()).expect("the test waits for it");
                goes.recv().expect("the test lets it go");
            }
        });
        body();
        hook::set(|_| {});
    });
    is_at.recv().expect("the thread comes to the point");
    move || {
        go.send(()).expect("the thread waits");
        thread.join().expect("the thread does not panic");
    }
}

/// A pass for room went on over the bytes of a table that was dropped while its flag was down, and another table lay there by then.
#[test]
fn a_pass_for_room_stops_at_a_dropped_table() {
    let segment = super::segment(512);
    let full = table(&segment, 8192, 2);
    for i in 0..8192_u64 {
        let mut expiring = |row: RowWords<'_>| {
            row.words[row::EXPIRE_WORD] = u64::MAX;
            Verdict::Write
        };
        full.modify(None, NOW, &i.to_le_bytes(), &mut expiring).unwrap();
    }
    let go_on = stops_at("breathing", move || {
        assert_eq!(full.modify(None, NOW, b"one more", &mut |_| Verdict::Write), Err(Refusal::Gone));
    });
    assert_eq!(Tables::drop_named(&segment, None, "t"), Ok(true));
    let other = table(&segment, 300, 2400);
    (0..300_u64).for_each(|i| super::write(&other, &i.to_le_bytes(), 7));
    go_on();
    let mut out = vec![0; other.row_words()];
    for i in 0..300_u64 {
        assert_eq!(other.read(None, NOW, &i.to_le_bytes(), &mut out), Ok(true));
        assert_eq!((out[row::BODY_WORD], *out.last().unwrap()), (7, 0));
    }
}

/// A reader of two rows took the old value of the first, whose writer had stored the new one but not raised the sequence, and
/// the new value of the second, which was written by somebody who had seen the new value of the first.
#[test]
fn several_rows_are_read_as_of_one_instant() {
    let segment = super::segment(512);
    let rows = table(&segment, 16, 2);
    let put = |key: &[u8], value: u64| {
        let mut one = |row: RowWords<'_>| {
            row.words[row::BODY_WORD] = value;
            Verdict::Write
        };
        Tables::find(&segment, None, "t").unwrap().modify(None, NOW, key, &mut one).unwrap();
    };
    put(b"a", 1);
    put(b"b", 1);
    let mut seen = [0; 2];
    let mut go_on = None;
    let mut take = |i: usize, row: RowWords<'_>| {
        seen[i] = row.words[row::BODY_WORD];
        if i == 0 && go_on.is_none() {
            let shared = segment.clone();
            go_on = Some(stops_at("word-stored", move || {
                let mut two = |row: RowWords<'_>| {
                    row.words[row::BODY_WORD] = 2;
                    Verdict::Write
                };
                Tables::find(&shared, None, "t").unwrap().modify(None, NOW, b"a", &mut two).unwrap();
            }));
            put(b"b", 2);
        }
    };
    let patience = Some(Duration::from_millis(20));
    let read = rows.read_many(patience, NOW, &[b"a", b"b"], &mut take);
    assert!(read == Err(Refusal::Busy) || seen != [1, 2], "never was a = 1 while b = 2");
    go_on.expect("the first row was read")();
}

/// One died between the moment at which its row was free for readers and the moment at which the count said so. An insertion
/// answered "full", for ever where nobody else looked after the dead.
#[test]
fn a_death_does_not_make_a_table_full() {
    for point in 0.. {
        let segment = super::segment(512);
        let rows = table(&segment, 2, 2);
        super::write(&rows, b"a", 1);
        super::write(&rows, b"b", 1);
        let remove = |segment: &Segment| {
            Tables::find(segment, None, "t").unwrap().modify(None, NOW, b"a", &mut |_| Verdict::Remove).unwrap();
        };
        if dies_at(&segment, point, remove) {
            break;
        }
        let gone = rows.read(Some(Duration::ZERO), NOW, b"a", &mut vec![0; rows.row_words()]) == Ok(false);
        let patience = Some(Duration::from_secs(5));
        let inserted = rows.modify(patience, NOW, b"c", &mut |_| Verdict::Write);
        assert!(inserted == Ok(()) || (inserted == Err(Refusal::Full) && !gone), "{inserted:?} at point {point}");
    }
}

/// A panic in the middle of an operation gave the slot back with its intent committed, and freed what the operation had written.
#[test]
fn a_panic_inside_an_operation_is_settled_like_a_death() {
    let segment = super::segment(512);
    set(&Keys::new(&segment), b"k", &[b'o'; 1000]);
    for point in ["committed", "row-even", "blocks-freed"] {
        let shared = segment.clone();
        let panicked = std::thread::spawn(move || {
            hook::set(move |name| assert_ne!(name, point, "the panic that the test is about"));
            set(&Keys::new(&shared), b"k", &[b'n'; 1000]);
        });
        assert!(panicked.join().is_err());
        set(&Keys::new(&segment), b"other", &[b'x'; 1000]);
        let mut value = Vec::new();
        Keys::new(&segment).read(None, NOW, 0, b"k", Some(&mut value)).unwrap();
        assert_eq!(value, [b'n'; 1000]);
        assert_sound(&segment, point);
    }
}

/// A dead closer's gate was opened before the locks were freed that it held behind it.
#[test]
fn a_dead_closer_is_recovered_before_the_gate_opens() {
    let segment = super::segment(512);
    let rows = table(&segment, 16, 2);
    super::write(&rows, b"a", 1);
    let space = directory::space(&segment, 0).unwrap();
    let number = super::live_rows(&segment, &space)[0];
    let died = dies_at(&segment, 0, move |segment| {
        let mut gate = gate::Gate::close(segment).unwrap();
        let word = &space.header(segment, number).unwrap().lock;
        gate.writer().lock(Held::Row(space.id, number), word).unwrap();
        die();
    });
    assert!(!died);
    let shared = segment.clone();
    let go_on = stops_at("settling", move || {
        shared.recover();
    });
    assert_eq!(rows.clear(Some(Duration::from_millis(50))), Err(Refusal::Busy));
    go_on();
    rows.clear(None).unwrap();
    assert_sound(&segment, "after the recovery of a closer");
}

/// One died after it had given back the block in which the new words of its row lay, and before its intent was forgotten. Somebody
/// else took that block and filled it, and recovery copied what it found there into the row.
#[test]
fn recovery_does_not_read_blocks_that_were_given_back() {
    for point in 0.. {
        let segment = small_segment();
        wide(&segment);
        if dies_at(&segment, point, |segment| change_row(segment, b"a", 2)) {
            break;
        }
        // Whole rows of another size of number, through whatever blocks are free by now; row b is held by nobody.
        let other = Tables::find(&segment, None, "t").unwrap();
        let mut all = |row: RowWords<'_>| {
            row.words[row::BODY_WORD..row::BODY_WORD + 2].fill(u64::MAX);
            row.words[row::BODY_WORD + 10..].fill(u64::MAX);
            Verdict::Write
        };
        other.modify(None, NOW, b"b", &mut all).unwrap();
        segment.recover();
        let mut out = vec![0; other.row_words()];
        assert_eq!(other.read(None, NOW, b"a", &mut out), Ok(true));
        assert!(out[row::BODY_WORD..].iter().all(|&word| word != u64::MAX), "row b's words in row a, point {point}");
    }
}

/// Whoever stores a single word raises the sequence afterwards; who dies in between leaves that to recovery. Else a reader
/// that looks at the row again later takes two states of it for one.
#[test]
fn recovery_raises_the_sequence_of_a_row_that_it_unlocks() {
    let segment = small_segment();
    narrow(&segment);
    let rows = Tables::find(&segment, None, "t").unwrap();
    let mut seen = [0; 2];
    let mut first = true;
    let mut take = |i: usize, row: RowWords<'_>| {
        seen[i] = row.words[row::BODY_WORD];
        if i == 0 && std::mem::take(&mut first) {
            let died = lives(&segment, |segment| {
                hook::set(|name| {
                    if name == "word-stored" {
                        die()
                    }
                });
                let mut one = |row: RowWords<'_>| {
                    row.words[row::BODY_WORD] = 9;
                    Verdict::Write
                };
                Tables::find(segment, None, "t").unwrap().modify(None, NOW, b"a", &mut one).unwrap();
            });
            assert!(!died);
            assert_eq!(segment.recover(), 1);
        }
    };
    rows.read_many(None, NOW, &[b"a", b"a"], &mut take).unwrap();
    assert_eq!(seen, [9, 9]);
}
