//! The library beside what else holds rows: maps of one process, and tables that processes share.

pub(crate) mod keys;
pub(crate) mod lmdb;
pub(crate) mod maps;
pub(crate) mod mutex;

use std::{
    hint::black_box,
    sync::atomic::{AtomicI64, AtomicU64, Ordering, fence},
};

use store_master::{Segment, SegmentOptions, Store};

use self::{
    keys::{Key, Order, Spread, key},
    lmdb::Lmdb,
    maps::{DashMap, Hashbrown, Map, Ours, Papaya, fill, row},
    mutex::Locked,
};
use crate::{
    companion::{Companion, pin, shared_memory},
    report::Section,
    turns::{Pair, nanoseconds},
};

/// Rows of the tables that most figures are about.
const ROWS: u32 = 100_000;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rounds of each pair.
    pub(crate) rounds: usize,
    /// Rows of the largest table.
    pub(crate) largest: u32,
}

/// The name of a section and what makes it.
type Part = (&'static str, fn(Extent) -> Section);

/// Everything about the library, or what is named by one word.
pub(crate) fn all(extent: Extent, only: &str) -> Vec<Section> {
    pin(0);
    let sections: [Part; 5] =
        [("one", one_process), ("sizes", sizes), ("two", two_processes), ("batches", batches), ("bounds", counters)];
    sections.iter().filter(|(name, _)| only.is_empty() || *name == only).map(|(_, run)| run(extent)).collect()
}

/// An operation of the benches: `n` times, on the keys that an order says.
type Operation<M> = fn(&mut M, &mut Order, u64);

fn get<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        black_box(map.get(&order.next_key()));
    }
}

/// Rows that differ from those written before them, so that nobody can save the write.
fn set<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        let key = order.next_key();
        map.set(&key, &row(tick()));
    }
}

fn incr<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        black_box(map.incr(&order.next_key()));
    }
}

/// Every second one fails: what was expected is what the last one wrote, if that was this row.
fn cas<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        let key = order.next_key();
        let seen = map.incr(&key);
        black_box(map.cas(&key, seen, seen + 1));
    }
}

fn remove_and_insert<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for _ in 0..n {
        let key = order.next_key();
        map.remove(&key);
        map.set(&key, &row(tick()));
    }
}

fn mixed<M: Map>(map: &mut M, order: &mut Order, n: u64) {
    for i in 0..n {
        let key = order.next_key();
        if i % 20 == 0 {
            map.set(&key, &row(tick()));
        } else {
            black_box(map.get(&key));
        }
    }
}

/// A number that no call had before.
#[inline(always)]
fn tick() -> u64 {
    static TICKS: AtomicU64 = AtomicU64::new(1);
    let now = TICKS.load(Ordering::Relaxed);
    TICKS.store(now + 1, Ordering::Relaxed);
    now.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn compare<A: Map, B: Map>(
    extent: Extent,
    (ours, theirs): (&mut A, &mut B),
    operations: (Operation<A>, Operation<B>),
    order: impl Fn() -> Order,
) -> Pair {
    let (mut our_order, mut their_order) = (order(), order());
    nanoseconds(extent.rounds, |n| operations.0(ours, &mut our_order, n), |n| operations.1(theirs, &mut their_order, n))
}

const SPREADS: [Spread; 3] = [Spread::Uniform, Spread::Zipf, Spread::Hot];

fn one_process(extent: Extent) -> Section {
    let mut section = Section::new(
        "Rows, one process",
        "ns",
        "100,000 rows of 64 bytes under keys of 16; nanoseconds of one operation. *cas* is an increment and a compare-and-set of the same row; *insert + delete* both.",
    );
    let mut ours = Ours::new(ROWS);
    fill(&mut ours, ROWS);
    beside(&mut section, extent, &mut ours, "papaya", Papaya::default(), &|what, spread| match (what, spread) {
        ("get", Spread::Uniform | Spread::Hot) => Some(0.65),
        _ => None,
    });
    beside(&mut section, extent, &mut ours, "DashMap", DashMap::default(), &|what, spread| match (what, spread) {
        ("set", Spread::Uniform) => Some(0.8),
        ("set", Spread::Hot) => Some(0.9),
        ("incr", Spread::Uniform) => Some(0.95),
        ("incr", Spread::Hot) => Some(0.7),
        ("insert + delete", Spread::Uniform) => Some(0.6),
        _ => None,
    });
    beside(&mut section, extent, &mut ours, "hashbrown in a RwLock", Hashbrown::default(), &|_, _| None);
    beside(&mut section, extent, &mut ours, "LMDB", Lmdb::new(ROWS), &|what, spread| match (what, spread) {
        ("get", Spread::Uniform) => Some(0.25),
        ("set", Spread::Uniform) => Some(0.125),
        _ => None,
    });
    beside(&mut section, extent, &mut ours, "raw_sync mutex", Locked::new(ROWS), &|_, _| None);
    section
}

fn beside<M: Map>(
    section: &mut Section,
    extent: Extent,
    ours: &mut Ours,
    rival: &str,
    mut theirs: M,
    target: &dyn Fn(&str, Spread) -> Option<f64>,
) {
    fill(&mut theirs, ROWS);
    let operations: [(&str, Operation<Ours>, Operation<M>); 6] = [
        ("get", get, get),
        ("set", set, set),
        ("incr", incr, incr),
        ("cas", cas, cas),
        ("insert + delete", remove_and_insert, remove_and_insert),
        ("95 % get, 5 % set", mixed, mixed),
    ];
    for (what, mine, other) in operations {
        for spread in SPREADS {
            let pair = compare(extent, (ours, &mut theirs), (mine, other), || Order::new(spread, ROWS, 1));
            section.add(format!("{what}, {}", spread.name()), rival, pair, target(what, spread));
        }
    }
}

fn sizes(extent: Extent) -> Section {
    let mut section =
        Section::new("Rows, small and large tables", "ns", "As above, uniform keys, other numbers of rows.");
    for rows in [1000, extent.largest] {
        let mut ours = Ours::new(rows);
        fill(&mut ours, rows);
        let order = || Order::new(Spread::Uniform, rows, 1);
        let mut papaya = Papaya::default();
        fill(&mut papaya, rows);
        let pair = compare(extent, (&mut ours, &mut papaya), (get, get), order);
        section.add(format!("get, {rows} rows"), "papaya", pair, None);
        drop(papaya);
        let mut dashmap = DashMap::default();
        fill(&mut dashmap, rows);
        let pair = compare(extent, (&mut ours, &mut dashmap), (set, set), order);
        section.add(format!("set, {rows} rows"), "DashMap", pair, None);
        let pair = compare(extent, (&mut ours, &mut dashmap), (incr, incr), order);
        section.add(format!("incr, {rows} rows"), "DashMap", pair, None);
    }
    section
}

fn two_processes(extent: Extent) -> Section {
    let mut section = Section::new(
        "Rows, two processes",
        "ns",
        "As above, while a second process does the same on the other core: reads of the same rows, or writes of other rows.",
    );
    let mut ours = Ours::new(ROWS);
    let mut theirs = Locked::new(ROWS);
    fill(&mut ours, ROWS);
    fill(&mut theirs, ROWS);

    type Orders = (fn() -> Order, fn() -> Order);
    let same: Orders = (|| Order::new(Spread::Uniform, ROWS, 1), || Order::new(Spread::Uniform, ROWS, 3));
    let hot: Orders = (|| Order::new(Spread::Hot, ROWS, 1), || Order::new(Spread::Hot, ROWS, 1));
    let halves: Orders = (|| Order::half(ROWS, false, 1), || Order::half(ROWS, true, 3));
    type Case = (&'static str, Operation<Ours>, Operation<Locked>, Orders, f64, Option<f64>);
    let cases: [Case; 4] = [
        ("reads", get, get, same, 1.0 / 3.0, Some(1.05)),
        ("writes to different rows", set, set, halves, 1.0 / 3.0, Some(1.2)),
        ("reads of one hot row", get, get, hot, 1.0 / 3.0, None),
        ("increments of one hot row", incr, incr, hot, f64::INFINITY, None),
    ];
    for (what, mine, other, (near, far), target, alone_target) in cases {
        let (mut a, mut b, mut c, mut d) = (near(), near(), far(), far());
        let our_friend = Companion::new(1, |n| mine(&mut ours, &mut c, n));
        let their_friend = Companion::new(1, |n| other(&mut theirs, &mut d, n));
        let pair = nanoseconds(
            extent.rounds,
            |n| our_friend.beside(|| mine(&mut ours, &mut a, n)),
            |n| their_friend.beside(|| other(&mut theirs, &mut b, n)),
        );
        section.add(what, "raw_sync mutex", pair, Some(target).filter(|target| target.is_finite()));
        let mut order = near();
        let mut alone = |n| mine(&mut ours, &mut order, n);
        let mut rounds = Vec::new();
        for _ in 0..extent.rounds {
            rounds.push((our_friend.beside(|| once(&mut alone)), once(&mut alone)));
        }
        section.add(format!("{what}, time of one"), "ours, one process", Pair::of(&rounds), alone_target);
    }
    section
}

/// The names of the operations that [`repeat`] knows.
pub(crate) const OPERATIONS: [&str; 6] = ["get", "set", "incr", "cas", "remove-insert", "counter"];

/// Does one operation over and over.
pub(crate) fn repeat(operation: &str, times: u64, hot: bool) {
    let mut map = Ours::new(ROWS);
    fill(&mut map, ROWS);
    let mut order = Order::new(if hot { Spread::Hot } else { Spread::Uniform }, ROWS, 1);
    let work: Operation<Ours> = match operation {
        "get" => get,
        "set" => set,
        "incr" => incr,
        "cas" => cas,
        "remove-insert" => remove_and_insert,
        _ => {
            let counter = store().counter("hits").expect("a good name");
            return (0..times).for_each(|_| drop(black_box(counter.increment())));
        }
    };
    work(&mut map, &mut order, times);
}

/// A store without tables.
fn store() -> Store {
    let options = SegmentOptions::new().memory(64 << 20);
    Store::open(Segment::create(options).expect("there is memory")).expect("a process that may write")
}

/// Nanoseconds of one call, over enough of them.
fn once(work: &mut impl FnMut(u64)) -> f64 {
    const CALLS: u64 = 100_000;
    let start = std::time::Instant::now();
    work(CALLS);
    start.elapsed().as_nanos() as f64 / CALLS as f64
}

fn batches(extent: Extent) -> Section {
    let mut section =
        Section::new("Batches", "ns", "16 rows read in one call, against 16 calls; nanoseconds of a row.");
    let mut map = Ours::new(ROWS);
    fill(&mut map, ROWS);
    let table = map.table.clone();
    let (mut a, mut b) = (Order::new(Spread::Uniform, ROWS, 1), Order::new(Spread::Uniform, ROWS, 1));
    let pair = nanoseconds(
        extent.rounds,
        |n| {
            for _ in 0..n.div_ceil(16) {
                let keys: [Key; 16] = std::array::from_fn(|_| a.next_key());
                let keys = keys.each_ref().map(|key| &key[..]);
                black_box(table.mget(&keys).expect("the table is there"));
            }
        },
        |n| get(&mut map, &mut b, n),
    );
    section.add("mget of 16 rows", "get of each", pair, Some(0.7));
    section
}

/// Sixty-four bytes that a sequence guards, and nothing else.
struct Bare {
    sequence: AtomicU64,
    words: [AtomicU64; 8],
}

impl Bare {
    #[inline(always)]
    fn copy(&self, out: &mut [u64; 8]) {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            for (to, from) in out.iter_mut().zip(&self.words) {
                *to = from.load(Ordering::Relaxed);
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

fn counters(extent: Extent) -> Section {
    let mut section = Section::new(
        "The bounds",
        "ns",
        "What no store can beat: a bare atomic addition in shared memory, and a bare copy of 64 bytes under a sequence.",
    );
    let counter = store().counter("hits").expect("a good name");
    let bare = shared_memory::<AtomicI64>();
    let pair = nanoseconds(
        extent.rounds,
        |n| (0..n).for_each(|_| drop(black_box(counter.increment()))),
        |n| {
            for _ in 0..n {
                black_box(bare.fetch_add(1, Ordering::AcqRel));
            }
        },
    );
    section.add("increment of a counter", "fetch_add", pair, Some(1.08));

    let mut ours = Ours::new(ROWS);
    fill(&mut ours, ROWS);
    let copied = shared_memory::<Bare>();
    let mut out = [0; 8];
    let hot = key(ROWS / 2);
    let pair = nanoseconds(
        extent.rounds,
        |n| {
            for _ in 0..n {
                black_box(ours.get(&hot));
            }
        },
        |n| {
            for _ in 0..n {
                copied.copy(&mut out);
                black_box(&out);
            }
        },
    );
    section.add("get of one hot row", "copy under a sequence", pair, None);
    section
}
