//! Sequences of operations on the shared store and on the oracle: both must answer the same and hold the same in the end.
//!
//! The property tests in `src/backend/property` draw such sequences by chance; here the fuzzer chooses them, by what they cover.

use std::{cell::RefCell, fmt::Debug, sync::Arc};

use store_master::{
    Column, Segment, SegmentOptions, Store, Table, Value,
    backend::{Limits, MemoryStore, SharedStore},
    store::{Condition, ExpireRule, Expiry, FieldUpdate, SetOptions, TableSpec},
};

use super::bytes::Bytes;

/// Operations of one input at most.
const OPERATIONS: usize = 400;
const COUNTERS: u64 = 6;
const MAX_KEYS: u64 = 2000;
const MEMORY: u64 = 10 << 20;
const TABLES: [&str; 3] = ["a", "b", "c"];

/// Inputs that a segment serves, one after the other: making one takes longer than most inputs.
const USES: usize = 100;

thread_local! {
    static SEGMENT: RefCell<Option<(Segment, usize)>> = const { RefCell::new(None) };
}

/// A segment that is empty.
fn empty_segment() -> Segment {
    SEGMENT.with_borrow_mut(|place| {
        if place.as_ref().is_none_or(|(_, uses)| *uses == USES) {
            let options = SegmentOptions::new().memory(MEMORY).counters(COUNTERS).max_keys(MAX_KEYS);
            *place = Some((Segment::create(options).expect("a small segment can be made"), 0));
        }
        let (segment, uses) = place.as_mut().expect("it was made");
        *uses += 1;
        segment.clone()
    })
}

fn make_empty(store: &Store) {
    for table in store.tables().expect("nobody is in the way") {
        store.drop_table(table.schema.table()).expect("nobody is in the way");
    }
    for (name, _) in store.counters().expect("nobody is in the way") {
        store.counter(name).and_then(|counter| counter.delete()).expect("nobody is in the way");
    }
    store.kv().flush(None).expect("nobody is in the way");
}

/// Carries the operations out on both stores.
pub(crate) fn run(data: &[u8]) {
    let segment = empty_segment();
    let shared = Store::on(Arc::new(SharedStore::open(segment.clone(), None)));
    let limits = Limits { counters: COUNTERS, max_keys: MAX_KEYS, workers: 1, memory: MEMORY };
    let oracle = Store::on(Arc::new(MemoryStore::new(limits)));
    let mut bytes = Bytes::new(data);
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for step in 0..OPERATIONS {
        if bytes.is_empty() {
            break;
        }
        // Each of the two reads the same bytes.
        let mut again = bytes.clone();
        let answer = apply(&mut bytes, &shared, &mut left);
        assert_eq!(answer, apply(&mut again, &oracle, &mut right), "step {step}");
    }
    assert_eq!(everything(&shared), everything(&oracle), "what they hold in the end");
    let found = segment.verify(None, &mut |_, _| {}).expect("nobody is in the way");
    assert!(found.is_sound(), "{found:?}");
    make_empty(&shared);
}

fn apply(bytes: &mut Bytes<'_>, store: &Store, handles: &mut Vec<Table>) -> String {
    match bytes.below(20) {
        0 => of_tables(bytes, store, handles),
        1..6 if handles.is_empty() => String::new(),
        1..6 => {
            let table = &handles[bytes.below(handles.len())];
            of_rows(bytes, table)
        }
        6..8 => of_counters(bytes, store),
        8..15 => of_keys(bytes, store),
        15..19 => of_hashes(bytes, store),
        _ => of_all(bytes, store),
    }
}

fn text(answer: impl Debug) -> String {
    format!("{answer:?}")
}

fn spec(number: usize) -> TableSpec {
    let spec = |rows, key_bytes, columns: &[Column]| TableSpec { rows, key_bytes, columns: columns.to_vec() };
    match number {
        0 => spec(1, 64, &[Column::int("n")]),
        1 => spec(5, 8, &[Column::string("s", 3), Column::float("x"), Column::int("n")]),
        2 => spec(20, 64, &[Column::string("long", 700), Column::int("n"), Column::int("m")]),
        _ => spec(9, 200, &[Column::string("s", 6000)]),
    }
}

fn of_tables(bytes: &mut Bytes<'_>, store: &Store, handles: &mut Vec<Table>) -> String {
    let name = bytes.of(&TABLES);
    match bytes.below(8) {
        0..5 => {
            let made = store.make_spec(name, spec(bytes.below(4)));
            text(made.map(|(table, made)| (handles.push(table), made).1))
        }
        5 => text(store.table(name).map(|table| handles.push(table))),
        6 => text(store.drop_table(name)),
        _ => text(store.tables().map(|tables| {
            tables.into_iter().map(|info| (info.schema.table().to_owned(), info.count)).collect::<Vec<_>>()
        })),
    }
}

/// A number of one byte, seldom one at the ends.
fn number(bytes: &mut Bytes<'_>) -> i64 {
    match bytes.u8() {
        0xff => i64::MAX,
        0xfe => i64::MIN,
        0xfd => bytes.u64() as i64,
        byte => i64::from(byte as i8),
    }
}

/// An expiry that lies far ahead or long ago, so that no answer depends on when it was asked for.
fn expiry(bytes: &mut Bytes<'_>) -> Expiry {
    bytes.of(&[
        Expiry::Never,
        Expiry::Keep,
        Expiry::At(4_000_000_000_000),
        Expiry::At(4_000_000_000_001),
        Expiry::At(1),
    ])
}

fn condition(bytes: &mut Bytes<'_>) -> Condition {
    bytes.of(&[Condition::Always, Condition::Always, Condition::IfAbsent, Condition::IfPresent])
}

fn filler(bytes: &mut Bytes<'_>, lens: &[usize]) -> Vec<u8> {
    let (len, seed) = (bytes.of(lens), bytes.u8());
    (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

fn row_key(bytes: &mut Bytes<'_>) -> Vec<u8> {
    match bytes.below(26) {
        24 => vec![b'k'; 9],
        25 => vec![b'k'; 201],
        number => vec![b'a' + number as u8; 1 + number % 3],
    }
}

fn cells(bytes: &mut Bytes<'_>, table: &Table) -> Vec<(usize, Value)> {
    let columns = table.schema().columns();
    (0..bytes.below(4))
        .map(|_| {
            let column = bytes.below(columns.len());
            let value = match table.row().get(column).to_value() {
                Value::Int(_) => Value::Int(number(bytes)),
                Value::Float(_) => Value::Float(number(bytes) as f64 / 4.0),
                _ => Value::Bytes(filler(bytes, &[0, 1, 3, 4, 300, 700, 6000])),
            };
            (column, value)
        })
        .collect()
}

fn of_rows(bytes: &mut Bytes<'_>, table: &Table) -> String {
    let key = row_key(bytes);
    match bytes.below(16) {
        0 => text(table.get(&key)),
        1..5 => {
            let cells = cells(bytes, table);
            let cells: Vec<_> = cells.iter().map(|(column, value)| (*column, value.as_ref())).collect();
            text(table.write(&key, &cells, expiry(bytes), condition(bytes)))
        }
        5..7 => {
            let column = bytes.below(table.schema().columns().len());
            text(table.add_cell(&key, column, Value::Int(number(bytes)).as_ref()))
        }
        7 => text(table.delete(&key)),
        8 => text(table.getdel(&key)),
        9 => text((table.ttl(&key), table.expire(&key, bytes.of(&[Expiry::Never, Expiry::At(4_000_000_000_002)])))),
        10 => text(table.count()),
        11..13 => {
            let rows: Vec<_> = (0..bytes.below(7)).map(|_| (row_key(bytes), cells(bytes, table))).collect();
            let borrow =
                |cells: &[(usize, Value)]| cells.iter().map(|(i, value)| (*i, value.clone())).collect::<Vec<_>>();
            let owned: Vec<_> = rows.iter().map(|(key, cells)| (key, borrow(cells))).collect();
            let rows: Vec<_> = owned
                .iter()
                .map(|(key, cells)| (key.as_slice(), cells.iter().map(|(i, value)| (*i, value.as_ref())).collect()))
                .collect();
            text(table.mset(&rows))
        }
        13 => {
            let keys: Vec<_> = (0..bytes.below(5)).map(|_| row_key(bytes)).collect();
            text(table.mget(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        }
        14 => {
            let row = table.get(&key).ok().flatten().unwrap_or_else(|| table.row());
            let column = bytes.below(table.schema().columns().len());
            let set = cells(bytes, table);
            let set: Vec<_> = set.iter().map(|(column, value)| (*column, value.as_ref())).collect();
            text(table.cas(&key, &[(column, row.get(column))], &set))
        }
        _ => text(table.clear()),
    }
}

fn of_counters(bytes: &mut Bytes<'_>, store: &Store) -> String {
    let name = [b'c', bytes.below(8) as u8];
    let counter = match store.counter(name) {
        Ok(counter) => counter,
        Err(error) => return text(error),
    };
    match bytes.below(8) {
        0..3 => text(counter.add(number(bytes))),
        3 => text(counter.add_bounded(number(bytes), number(bytes))),
        4 => text(counter.get()),
        5 => text(counter.set(number(bytes))),
        6 => text(counter.compare_and_set(number(bytes), number(bytes))),
        _ => text(counter.delete()),
    }
}

fn key(bytes: &mut Bytes<'_>) -> Vec<u8> {
    match bytes.below(16) {
        0 => vec![],
        1 => vec![b'k'; 24],
        2 => vec![b'k'; 25],
        3 => vec![b'k'; 3000],
        4 => vec![b'k'; 40_000],
        number => format!("key {number}").into_bytes(),
    }
}

fn value(bytes: &mut Bytes<'_>) -> Vec<u8> {
    match bytes.below(4) {
        0 => number(bytes).to_string().into_bytes(),
        1 => bytes.of(&["", "01", "-0", "0.1", "1e3", "9223372036854775808"]).as_bytes().to_vec(),
        _ => filler(bytes, &[0, 5, 23, 24, 25, 32, 33, 100, 4000, 32_712, 32_713, 70_000]),
    }
}

fn of_keys(bytes: &mut Bytes<'_>, store: &Store) -> String {
    let (kv, db) = (store.kv(), bytes.of(&[0, 0, 0, 1, 15]));
    let name = key(bytes);
    match bytes.below(20) {
        0 => {
            let mut out = Vec::new();
            text((kv.get(db, &name, &mut out), out, kv.strlen(db, &name), kv.ttl(db, &name)))
        }
        1..6 => {
            let options = SetOptions { expiry: expiry(bytes), condition: condition(bytes), get: bytes.u8() & 1 == 1 };
            text(kv.set(db, &name, &value(bytes), options))
        }
        6..8 => {
            let pairs: Vec<_> = (0..bytes.below(5)).map(|_| (key(bytes), value(bytes))).collect();
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
            text(kv.mset(db, &pairs, bytes.u8() & 1 == 1))
        }
        8 => {
            // More than can be locked at once: behind the gate.
            let names: Vec<_> = (0..66).map(|i| format!("many {i}")).collect();
            let mut value = value(bytes);
            value.truncate(300);
            text(kv.mset(db, &names.iter().map(|name| (name.as_bytes(), &value[..])).collect::<Vec<_>>(), false))
        }
        9 => text(kv.getdel(db, &name)),
        10 => text(kv.getex(db, &name, expiry(bytes))),
        11 => text(kv.append(db, &name, &value(bytes), 100_000)),
        12..14 => text(kv.incr(db, &name, number(bytes))),
        14 => text(kv.incr_float(db, &name, (number(bytes) as f64 / 4.0).into())),
        15 => text(kv.delete(db, &name)),
        16 => {
            let rules = [ExpireRule::Always, ExpireRule::IfNone, ExpireRule::IfSome, ExpireRule::IfLater];
            let expiry = bytes.of(&[Expiry::Never, Expiry::At(4_000_000_000_003), Expiry::At(2)]);
            text(kv.expire(db, &name, expiry, bytes.of(&rules)))
        }
        17..19 => text(kv.rename(db, &name, &key(bytes), bytes.u8() & 1 == 1)),
        _ => {
            let keys: Vec<_> = (0..bytes.below(5)).map(|_| key(bytes)).collect();
            text(kv.mget(db, &keys.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        }
    }
}

fn field(bytes: &mut Bytes<'_>) -> Vec<u8> {
    match bytes.u8() {
        0 => vec![],
        1 => vec![b'f'; 448],
        2 => vec![b'f'; 40_000],
        number => format!("field {number}").into_bytes(),
    }
}

fn of_hashes(bytes: &mut Bytes<'_>, store: &Store) -> String {
    let (kv, db) = (store.kv(), bytes.of(&[0, 0, 0, 1, 15]));
    let name = key(bytes);
    match bytes.below(8) {
        0 => {
            let field = field(bytes);
            text((kv.field(db, &name, &field), kv.field_len(db, &name, &field), kv.field_count(db, &name)))
        }
        1..5 => {
            let changes: Vec<_> =
                (0..1 + bytes.below(6)).map(|_| (field(bytes), bytes.below(6), value(bytes))).collect();
            let fields: Vec<_> = changes.iter().map(|(field, ..)| field.as_slice()).collect();
            let decide = &mut |number: usize, held: Option<&[u8]>| {
                let (_, what, value) = &changes[number];
                Ok(match what {
                    0 => FieldUpdate::Leave,
                    1 | 2 => FieldUpdate::Remove,
                    3 => FieldUpdate::Set(
                        [held.map_or(&b"none"[..], |held| &held[..held.len().min(9)]), value].concat().into(),
                    ),
                    _ => FieldUpdate::Set(value.as_slice().into()),
                })
            };
            text(kv.change_fields(db, &name, &fields, true, decide))
        }
        5..7 => {
            // So many that nodes are divided, or emptied.
            let (from, count, remove) = (bytes.u8(), bytes.u8(), bytes.u8() & 1 == 1);
            let fields: Vec<_> = (0..count).map(|i| format!("field {}", from.wrapping_add(i)).into_bytes()).collect();
            let fields: Vec<_> = fields.iter().map(Vec::as_slice).collect();
            let decide = &mut |number: usize, _: Option<&[u8]>| {
                Ok(if remove { FieldUpdate::Remove } else { FieldUpdate::Set(fields[number].into()) })
            };
            text(kv.change_fields(db, &name, &fields, false, decide))
        }
        _ => text(pairs(store, db, &name)),
    }
}

/// The fields of a hash, in an order of their own.
fn pairs(store: &Store, db: u8, key: &[u8]) -> impl Debug + use<> {
    store.kv().pairs(db, key, usize::MAX).map(|pairs| {
        let mut pairs = pairs.unwrap_or_default();
        pairs.sort_unstable();
        pairs
    })
}

fn of_all(bytes: &mut Bytes<'_>, store: &Store) -> String {
    match bytes.below(8) {
        0 => text(store.kv().flush(bytes.of(&[None, Some(0), Some(1)]))),
        1..4 => text(store.counters()),
        4..6 => text((store.kv().len(0), store.kv().expiring(0))),
        _ => {
            store.sweep();
            String::new()
        }
    }
}

/// All that the store holds, in an order of its own.
fn everything(store: &Store) -> String {
    let tables = store.tables().expect("nobody is in the way").into_iter().map(|info| {
        let table = store.table(info.schema.table()).expect("it is listed");
        let mut rows = table.scan(0, 1000).expect("nobody is in the way").rows;
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let ttls: Vec<_> = rows.iter().map(|(key, _)| table.ttl(key)).collect();
        text((info.schema.table(), info.count, rows, ttls))
    });
    let databases = [0, 1, 15].map(|db| {
        let mut keys = store.kv().scan(db, 0, 10_000).expect("nobody is in the way").keys;
        keys.sort();
        let value = |key: &Vec<u8>| {
            let mut value = Vec::new();
            (store.kv().get(db, key, &mut value), store.kv().ttl(db, key), value, text(pairs(store, db, key)))
        };
        text((keys.iter().map(value).collect::<Vec<_>>(), &keys, store.kv().len(db), store.kv().expiring(db)))
    });
    text((tables.collect::<Vec<_>>(), databases, store.counters()))
}
