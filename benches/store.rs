//! The library, in one process: rows of 64 bytes, 100,000 of them, read and written through handles; beside them the
//! `raw_sync` mutex in a `shared_memory` segment that others build such stores on.
//!
//! `cargo bench --bench store` measures; `cargo test --benches` runs each once.
#![allow(unsafe_code)]

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use raw_sync::locks::{LockInit, Mutex};
use shared_memory::ShmemConf;
use store_master::{
    Column, Segment, SegmentOptions, Store, Table,
    store::{Condition, Expiry, SetOptions, TableSpec, ValueRef},
};

const ROWS: u64 = 100_000;

fn store() -> Store {
    let options = SegmentOptions::new().memory(256 << 20).max_keys(2 * ROWS);
    Store::open(Segment::create(options).expect("256 MiB of memory")).expect("a process that may write")
}

/// A key of 16 bytes, made without the cost of formatting a number.
fn key(i: u64) -> [u8; 16] {
    let mut key = *b"key:\0\0\0\0........";
    key[8..].copy_from_slice(&i.to_be_bytes());
    key
}

/// 64 bytes of columns behind keys of 16 bytes.
fn filled(store: &Store) -> Table {
    let columns = vec![Column::int("n"), Column::float("x"), Column::string("text", 46)];
    let spec = TableSpec { rows: ROWS, key_bytes: 16, columns };
    let table = store.make_spec("bench", spec).expect("the table fits").0;
    for i in 0..ROWS {
        write(&table, i);
    }
    table
}

fn write(table: &Table, i: u64) {
    let cells = [(0, ValueRef::Int(i as i64)), (1, ValueRef::Float(0.5)), (2, ValueRef::Bytes(&[b'x'; 40]))];
    table.write(&key(i), &cells, Expiry::Keep, Condition::Always).expect("there is room");
}

/// Row numbers in an order that no prefetcher knows.
struct Order(u64);

impl Order {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % ROWS
    }
}

fn tables(c: &mut Criterion) {
    let store = store();
    let table = filled(&store);
    let mut order = Order(1);
    let mut group = c.benchmark_group("table");
    group.measurement_time(Duration::from_secs(2));
    let mut row = table.row();
    group.bench_function("get", |b| {
        b.iter(|| {
            table.read(&key(order.next()), &mut row).expect("nobody holds it");
            black_box(&row);
        });
    });
    group.bench_function("get one hot key", |b| b.iter(|| table.read(&key(7), &mut row)));
    group.bench_function("set", |b| b.iter(|| write(&table, order.next())));
    let mut n = 0;
    group.bench_function("set two columns", |b| {
        b.iter(|| {
            n += 1;
            let cells = [(0, ValueRef::Int(n)), (1, ValueRef::Float(n as f64))];
            table.write(&key(order.next()), &cells, Expiry::Keep, Condition::Always)
        });
    });
    group.bench_function("incr", |b| b.iter(|| table.add_cell(&key(order.next()), 0, ValueRef::Int(1))));
    group.bench_function("incr one hot key", |b| b.iter(|| table.add_cell(&key(7), 0, ValueRef::Int(1))));
    group.bench_function("delete and insert", |b| {
        b.iter(|| {
            let i = order.next();
            table.delete(key(i)).expect("nobody holds it");
            write(&table, i);
        });
    });
    group.finish();
}

fn counters_and_keys(c: &mut Criterion) {
    let store = store();
    let counter = store.counter("hits").expect("a good name");
    let mut order = Order(1);
    let mut group = c.benchmark_group("counter");
    group.measurement_time(Duration::from_secs(2));
    group.bench_function("increment", |b| b.iter(|| counter.increment()));
    group.finish();
    for i in 0..ROWS {
        store.kv().set(0, &key(i), b"a value", SetOptions::default()).expect("there is room");
    }
    let mut group = c.benchmark_group("keys");
    group.measurement_time(Duration::from_secs(2));
    let mut value = Vec::new();
    group.bench_function("get", |b| {
        b.iter(|| {
            value.clear();
            store.kv().get(0, &key(order.next()), &mut value)
        });
    });
    let set = |i: u64, value: &[u8]| store.kv().set(0, &key(i), value, SetOptions::default());
    group.bench_function("set", |b| {
        b.iter_batched(|| order.next(), |i| set(i, &i.to_le_bytes()), BatchSize::SmallInput)
    });
    let mut order = Order(2);
    group.bench_function("set 100 bytes", |b| b.iter(|| set(order.next(), &[b'v'; 100])));
    group.finish();
}

/// What a store on these two crates pays for its lock alone, around a copy of 64 bytes.
fn rival(c: &mut Criterion) {
    let memory = ShmemConf::new().size(4096).create().expect("a page of shared memory");
    let base = memory.as_ptr();
    // SAFETY: a lock is much smaller than the page.
    let data = unsafe { base.add(Mutex::size_of(Some(base))) };
    // SAFETY: the page holds lock and data, and nobody else knows it.
    let (lock, _) = unsafe { Mutex::new(base, data) }.expect("a fresh lock");
    c.bench_function("raw_sync mutex and a copy of 64 bytes", |b| {
        let mut copy = [0_u8; 64];
        b.iter(|| {
            let guard = lock.lock().expect("its owner lives");
            // SAFETY: the lock is held, and 64 bytes behind it lie in the page.
            unsafe { std::ptr::copy_nonoverlapping((*guard).cast_const(), copy.as_mut_ptr(), copy.len()) };
            black_box(&copy);
        });
    });
}

criterion_group!(benches, tables, counters_and_keys, rival);
criterion_main!(benches);
