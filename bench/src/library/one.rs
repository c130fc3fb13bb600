//! One process: rows beside the maps of one process and the tables that processes share.

use std::hint::black_box;

use super::{
    keys::{Key, Order, Spread},
    lmdb::Lmdb,
    maps::{DashMap, Hashbrown, Map, Ours, Papaya, fill},
    mutex::Locked,
    operations::{Operation, cas, compare, get, incr, mixed, remove_and_insert, set},
    parts::{Extent, ROWS},
};
use crate::{report::Section, turns::nanoseconds};

const SPREADS: [Spread; 3] = [Spread::Uniform, Spread::Zipf, Spread::Hot];

/// All operations, beside every rival.
pub(super) fn one_process(extent: Extent) -> Section {
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

/// Tables of other sizes.
pub(super) fn sizes(extent: Extent) -> Section {
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

/// Many rows in one call.
pub(super) fn batches(extent: Extent) -> Section {
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
