//! The states that operations start from, each with a proof that it is what its name says.

use std::{borrow::Cow, time::Duration};

use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use shm_layout::{
    directory,
    fields::{ENTRY_HEAD, NODE_WORDS},
    heap::{self, kind},
    index::{self, GROUP_BYTES, Group, counts},
    table,
};
use store_master::{
    Column, Store, Table, row,
    store::{Error, Expiry, FieldUpdate, MemoryLimit, Policy, SetOptions},
    sys::clock,
};

use super::{
    ground::{Ground, MAX_KEYS, SEED, word},
    operations::FAR,
};

/// Where operations start.
pub(super) struct State {
    pub(super) name: &'static str,
    pub(super) prepare: fn(&Store),
    /// Panics unless the segment is what the name says.
    pub(super) check: fn(&Ground),
}

/// A table without rows, and no keys.
pub(super) static EMPTY: State = State { name: "empty", prepare: |store| drop(table(store, 128)), check: |_| {} };
/// A few of everything.
pub(super) static SOME: State = State { name: "some", prepare: some, check: |_| {} };
/// Hashes: one in a leaf that is nearly full, a large one, one field with a block of its own, a single field.
pub(super) static HASHES: State = State { name: "hashes", prepare: hashes, check: check_hashes };
/// The rows that operations name were written hundreds of times, by several threads.
pub(super) static HOT: State = State { name: "hot", prepare: hot, check: |_| {} };
/// The home groups of the keys that operations name are full, and some of these keys stand in later groups.
pub(super) static OVERFLOW: State = State { name: "overflow", prepare: overflow, check: check_overflow };
/// One row, and one counter, short of full.
pub(super) static LAST_ROW: State = State { name: "last-row", prepare: last_row, check: |_| {} };
/// One heap block short of a full page.
pub(super) static LAST_BLOCK: State = State { name: "last-block", prepare: last_block, check: check_last_block };
/// A full table in which one row has expired.
pub(super) static EXPIRED_ROW: State = State { name: "expired-row", prepare: expired_row, check: |_| {} };
/// A key that has expired.
pub(super) static EXPIRED_KEY: State = State { name: "expired-key", prepare: expired_key, check: |_| {} };
/// No page of the arena is free, but some hold nothing.
pub(super) static NO_PAGE: State = State { name: "no-page", prepare: no_page, check: check_no_page };

/// More is in use than may be, and every key of [`prey`] may go, in its order.
pub(super) static LIMIT_ALL: State =
    State { name: "limit-all", prepare: |store| limited(store, Policy::AllKeysLru), check: |_| {} };
/// The same by another policy.
pub(super) static LIMIT_LFU: State =
    State { name: "limit-lfu", prepare: |store| limited(store, Policy::AllKeysLfu), check: |_| {} };
/// The same, beside keys that stay.
pub(super) static LIMIT_LRU: State =
    State { name: "limit-lru", prepare: |store| limited(store, Policy::VolatileLru), check: |_| {} };
/// The same.
pub(super) static LIMIT_TTL: State =
    State { name: "limit-ttl", prepare: |store| limited(store, Policy::VolatileTtl), check: |_| {} };

/// Contents of a value that takes a block of [`LAST_BLOCK`]'s page.
pub(super) const BLOCK: &[u8] = &[b'b'; 1000];

/// The table, and a counter that only rivals use.
fn table(store: &Store, rows: u64) -> Table {
    let columns = [Column::int("a"), Column::int("b"), Column::float("f"), Column::string("s", 20)];
    store.counter("spare").and_then(|counter| counter.set(1)).expect("there is room");
    store.make("t", rows, &columns).expect("there is room")
}

fn fill(table: &Table, key: impl AsRef<[u8]>) {
    table.set(key, &row! { a: 1, b: 2, f: 0.5, s: "before" }).expect("there is room");
}

fn set(store: &Store, key: &[u8], value: &[u8]) {
    store.kv().set(0, key, value, SetOptions::default()).expect("there is room");
}

/// Columns of rows whose images do not fit into a slot.
pub(super) fn wide_columns() -> [Column; 2] {
    [Column::int("a"), Column::string("s", 5000)]
}

fn some(store: &Store) {
    let rows = table(store, 16);
    ["a", "b", "c", "d"].iter().for_each(|key| fill(&rows, key));
    rows.expire(b"d", Expiry::At(FAR)).expect("the row is there");
    let wide = store.make("wide", 4, &wide_columns()).expect("there is room");
    wide.set("w", &row! { a: 1, s: vec![b'w'; 4990] }).expect("there is room");
    set(store, b"small", b"value");
    set(store, b"block", &[b'v'; 100]);
    set(store, b"tree", &[b't'; 40_000]);
    set(store, b"number", b"41");
    set(store, b"a key that does not fit into its record at all", &[b'k'; 100]);
    let expiring = SetOptions { expiry: Expiry::At(FAR), ..SetOptions::default() };
    store.kv().set(0, b"expiring", b"soon", expiring).expect("there is room");
    store.kv().set(1, b"elsewhere", &[b'e'; 50], SetOptions::default()).expect("there is room");
    for (name, value) in [("c", 5), ("d", -1), ("near", (1 << 62) - 10)] {
        store.counter(name).and_then(|counter| counter.set(value)).expect("there is room");
    }
}

/// Sets fields of a key of database 0, in one step.
pub(super) fn set_fields(store: &Store, key: &[u8], fields: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
    let names: Vec<&[u8]> = fields.iter().map(|(name, _)| &name[..]).collect();
    store.kv().change_fields(0, key, &names, false, &mut |at, _| Ok(FieldUpdate::Set(Cow::Borrowed(&fields[at].1))))
}

/// Fields of [`fields`] that stand in one leaf.
const FULL_LEAF: usize = 25;

/// So many fields with values of 20 bytes.
pub(super) fn fields(name: &str, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..count).map(|at| (format!("{name} {at}").into_bytes(), format!("{at:020}").into_bytes())).collect()
}

fn hashes(store: &Store) {
    table(store, 16);
    set(store, b"small", b"value");
    let wide = vec![(b"wide".to_vec(), vec![b'w'; 600]), (b"wider".to_vec(), vec![b'W'; 40_000])];
    for (key, fields) in
        [("hash", fields("f", FULL_LEAF)), ("large", fields("f", 200)), ("one", fields("f", 1)), ("wide", wide)]
    {
        set_fields(store, key.as_bytes(), &fields).expect("there is room");
    }
}

/// Entries of `fields` are as long as one thinks, so that one more divides a leaf.
fn check_hashes(_: &Ground) {
    let fields = fields("f", FULL_LEAF + 1);
    let words = fields.iter().map(|(name, value)| ENTRY_HEAD + (name.len() + value.len()).div_ceil(8));
    let words: Vec<usize> = words.collect();
    assert!(words[..FULL_LEAF].iter().sum::<usize>() <= NODE_WORDS && words.iter().sum::<usize>() > NODE_WORDS);
}

fn hot(store: &Store) {
    some(store);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (rows, counter) = (table(store, 16), store.counter("c").expect("a good name"));
                for i in 0..100 {
                    rows.incr("a", "a", 1).expect("the row is there");
                    rows.set("a", &row! { b: i, s: "hot" }).expect("the row is there");
                    set(store, b"block", &[b'v'; 100]);
                    counter.increment().expect("the counter is there");
                }
                rows.set("a", &row! { b: 2 }).expect("the row is there");
            });
        }
    });
}

/// The home group of a key, as the store computes it.
fn home(key: &str, groups: u64) -> u32 {
    index::home(rapidhash_v3_seeded(key.as_bytes(), &RapidSecrets::seed(SEED)), groups as u32)
}

/// Keys whose home is the one of `key`.
fn neighbours(key: &str, groups: u64, count: usize) -> Vec<String> {
    let wanted = home(key, groups);
    (0..).map(|i| format!("{key}-{i}")).filter(|name| home(name, groups) == wanted).take(count).collect()
}

const OVERFLOW_ROWS: u64 = 96;

fn overflow(store: &Store) {
    let rows = table(store, OVERFLOW_ROWS);
    let groups = index::groups(OVERFLOW_ROWS);
    for key in ["new", "a"] {
        neighbours(key, groups, 18).iter().for_each(|name| fill(&rows, name));
    }
    ["a", "b", "c", "d"].iter().for_each(|key| fill(&rows, key));
    for key in ["new", "small", "block"] {
        neighbours(key, index::groups(MAX_KEYS), 18).iter().for_each(|name| set(store, name.as_bytes(), b"in the way"));
    }
    set(store, b"small", b"value");
    set(store, b"block", &[b'v'; 100]);
}

fn check_overflow(ground: &Ground) {
    let entry = ground.geometry.directory_at as usize;
    let field = |at: usize| word(ground.bytes(), entry + at);
    let rows = field(std::mem::offset_of!(directory::Entry, rows));
    let sizes =
        [std::mem::offset_of!(directory::Entry, key_bytes), std::mem::offset_of!(directory::Entry, string_bytes)];
    let [key_fixed, string_schema] = sizes.map(field);
    let shape = directory::shape(
        rows,
        key_fixed as u32,
        (key_fixed >> 32) as u32,
        string_schema as u32,
        (string_schema >> 32) as u32,
    );
    let geometry = table::Geometry::new(shape);
    let table_groups = field(std::mem::offset_of!(directory::Entry, region_at)) + geometry.groups_at;
    assert!(overflowing(ground, table_groups, geometry.groups) >= 1, "no group of the table overflows");
    let keys = overflowing(ground, ground.geometry.key_groups_at, ground.geometry.key_groups);
    assert!(keys >= 3, "{keys} groups of the keys overflow");
}

fn overflowing(ground: &Ground, at: u64, groups: u64) -> usize {
    let counts_of = |group: u64| {
        let at = at + group * GROUP_BYTES + std::mem::offset_of!(Group, lock) as u64;
        (word(ground.bytes(), at as usize) >> 32) as u32
    };
    (0..groups).filter(|&group| counts_of(group) & counts::OVERFLOW != 0).count()
}

fn last_row(store: &Store) {
    let rows = table(store, 8);
    ["a", "b", "c", "d", "e", "f", "g"].iter().for_each(|key| fill(&rows, key));
    let names = ["c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    names.iter().for_each(|name| store.counter(name).and_then(|counter| counter.set(5)).expect("there is room"));
}

/// Bytes of the blocks that [`BLOCK`] takes, and how many fit into a page.
fn blocks_of_page() -> (u64, u32) {
    let class = heap::class_for(BLOCK.len()).expect("there is a class");
    let bytes = heap::block_bytes(class).expect("there is a class");
    (bytes, heap::blocks(bytes).1)
}

fn last_block(store: &Store) {
    table(store, 8);
    (1..blocks_of_page().1).for_each(|i| set(store, format!("filling {i}").as_bytes(), BLOCK));
}

fn check_last_block(ground: &Ground) {
    let (bytes, count) = blocks_of_page();
    let class = heap::class_for(BLOCK.len()).expect("there is a class");
    let pages: Vec<u64> =
        (0..ground.geometry.arena_pages).filter(|&page| page_state(ground, page) == kind::HEAP | class << 8).collect();
    assert_eq!(pages.len(), 1, "the blocks do not share one page");
    let start = ground.geometry.arena_at + pages[0] * heap::PAGE_BYTES + heap::blocks(bytes).0;
    let is_used = |block: &u64| heap::block::is_used(word(ground.bytes(), (start + block * bytes) as usize));
    assert_eq!((0..u64::from(count)).filter(is_used).count(), count as usize - 1, "not one block short of full");
}

fn page_state(ground: &Ground, page: u64) -> u32 {
    word(ground.bytes(), (ground.geometry.pages_at + page * size_of::<heap::Page>() as u64) as usize) as u32
}

/// An expiry that has passed after [`let_pass`].
fn soon() -> Expiry {
    Expiry::At(clock::now_ms() + 20)
}

fn let_pass() {
    std::thread::sleep(Duration::from_millis(50));
}

fn expired_row(store: &Store) {
    let rows = table(store, 8);
    ["a", "b", "c", "d", "e", "f", "g", "gone"].iter().for_each(|key| fill(&rows, key));
    rows.expire(b"gone", soon()).expect("the row is there");
    let_pass();
}

fn expired_key(store: &Store) {
    table(store, 8);
    set(store, b"small", b"value");
    let expiring = SetOptions { expiry: soon(), ..SetOptions::default() };
    store.kv().set(0, b"new", BLOCK, expiring).expect("there is room");
    let_pass();
}

/// Bytes of a value that takes a page of its own.
const WHOLE_PAGE: usize = 32_712;

fn no_page(store: &Store) {
    table(store, 8);
    set(store, b"small", b"value");
    let value = vec![b'p'; WHOLE_PAGE];
    let keys: Vec<String> = (0..200).map(|i| format!("page {i}")).collect();
    let fits = |key: &&String| store.kv().set(0, key.as_bytes(), &value, SetOptions::default()).is_ok();
    let taken: Vec<&String> = keys.iter().take_while(fits).collect();
    taken.iter().take(4).for_each(|key| assert_eq!(store.kv().delete(0, key.as_bytes()), Ok(true)));
}

fn check_no_page(ground: &Ground) {
    let free = (0..ground.geometry.arena_pages).filter(|&page| page_state(ground, page) == kind::FREE).count();
    assert_eq!(free, 0, "a page is free");
}

/// Keys that go at once when more is in use than may be: all that one round of eviction takes.
pub(super) const PREY: usize = 16;

/// The key that goes after so many others.
pub(super) fn prey(number: usize) -> Vec<u8> {
    format!("prey {number}").into_bytes()
}

fn limited(store: &Store, policy: Policy) {
    table(store, 8);
    // Nothing can be below the limit, so that what is counted as in use after a death decides nothing.
    store.set_memory_limit(MemoryLimit { bytes: 1, policy, lfu_decay_minutes: 0, ..MemoryLimit::default() });
    let stay = policy.is_volatile();
    ["small", "block"].iter().filter(|_| stay).for_each(|key| set(store, key.as_bytes(), &[b's'; 100]));
    for number in 0..PREY {
        let value = vec![b'p'; if number % 2 == 0 { 5 } else { 100 }];
        let expiry = if stay { Expiry::At(FAR + number as u64) } else { Expiry::Never };
        let options = SetOptions { expiry, ..SetOptions::default() };
        store.kv().set(0, &prey(number), &value, options).expect("there is room");
        let frequency = Some(20 + 10 * number as u32).filter(|_| policy == Policy::AllKeysLfu);
        frequency.map(|frequency| store.kv().set_usage(0, &prey(number), None, Some(frequency)));
    }
}
