//! A storm: several threads at all kinds of operations on few rows and keys, each of them dying sooner or later at some named
//! point, and replaced at once. Meanwhile nobody may see anything torn; afterwards nothing may be missing, held or lost.

use std::{
    borrow::Cow,
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use shm_layout::row::BODY_WORD;

use super::{super::*, NOW, deaths, table};
use crate::shm::{crash::hook, tables::RowWords};

const THREADS: usize = 4;
const ACCOUNTS: u64 = 12;
const START: u64 = 1000;
const LENGTH: Duration = Duration::from_secs(3);
/// A thread dies at one point in so many, on average.
const RISK: u64 = 150;

/// What the threads know of each other.
#[derive(Default, Debug)]
struct Books {
    over: AtomicBool,
    deaths: AtomicU64,
    done: AtomicU64,
    /// Increments of the counter that were begun, and that were acknowledged.
    begun: AtomicU64,
    acknowledged: AtomicU64,
}

/// Random numbers by xorshift: good enough to choose by.
struct Random(Cell<u64>);

impl Random {
    fn below(&self, bound: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x % bound
    }
}

fn account(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Moves an amount from one account to another; each account is kept twice in its row.
fn transfer(table: &Tables, random: &Random) {
    let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
    if from == to {
        return;
    }
    let amount = random.below(10);
    let mut change = |i: usize, row: RowWords<'_>| {
        assert!(row.present && row.words[BODY_WORD] == row.words[BODY_WORD + 1], "a torn account");
        let balance = row.words[BODY_WORD];
        row.words[BODY_WORD..BODY_WORD + 2].fill(if i == 0 {
            balance.wrapping_sub(amount)
        } else {
            balance.wrapping_add(amount)
        });
        Verdict::Write
    };
    table.modify_many(None, NOW, &[&account(from), &account(to)], &mut change).expect("all accounts exist");
}

/// The sum over all accounts, as of one instant.
fn audit(table: &Tables) {
    let names: Vec<[u8; 8]> = (0..ACCOUNTS).map(account).collect();
    let keys: Vec<&[u8]> = names.iter().map(<[u8; 8]>::as_slice).collect();
    let mut balances = vec![0; keys.len()];
    table.read_many(None, NOW, &keys, &mut |i, row| balances[i] = row.words[BODY_WORD]).expect("all accounts exist");
    assert_eq!(balances.into_iter().fold(0, u64::wrapping_add), ACCOUNTS * START, "money was made or lost");
}

/// Rows beside the accounts come and go.
fn visit(table: &Tables, random: &Random) {
    let key = [b'v', random.below(6) as u8];
    let verdict = if random.below(2) == 0 { Verdict::Remove } else { Verdict::Write };
    let mut change = |row: RowWords<'_>| {
        let [a, b] = [row.words[BODY_WORD], row.words[BODY_WORD + 1]];
        assert!(!row.present || a == b, "a torn visitor");
        row.words[BODY_WORD..BODY_WORD + 2].fill(random.below(100));
        verdict
    };
    table.modify(None, NOW, &key, &mut change).expect("there is room");
}

/// Values of all sizes, each of one byte repeated.
fn keys(keys: &Keys, random: &Random) {
    const LENS: [usize; 6] = [0, 3, 30, 500, 20_000, 70_000];
    let key = |i: u64| [&b"key"[..], &vec![b'0' + i as u8; 30 * (i as usize % 2)]].concat();
    let (name, other) = (key(random.below(6)), key(random.below(6)));
    match random.below(5) {
        0 => {
            let value = vec![random.below(256) as u8; LENS[random.below(6) as usize]];
            keys.change(None, NOW, 0, &name, false, &mut |_| Change::Set(Cow::Borrowed(&value), 0))
                .expect("there is room");
        }
        1 => keys.change(None, NOW, 0, &name, false, &mut |_| Change::Remove).expect("nobody is in the way"),
        2 => drop(keys.rename(None, NOW, (0, &name), (0, &other), false).expect("there is room")),
        3 => {
            let pairs: [(&[u8], &[u8]); 2] =
                [(b"pair a", &vec![b'p'; LENS[random.below(5) as usize]]), (b"pair b", b"b")];
            keys.set_many(None, NOW, 0, &pairs, &SetRule::ANY).expect("there is room");
        }
        _ => {
            let mut value = Vec::new();
            keys.read(None, NOW, 0, &name, Some(&mut value)).expect("nobody is in the way");
            assert!(value.windows(2).all(|pair| pair[0] == pair[1]), "a torn value");
        }
    }
}

fn run(segment: &Segment, books: &Books, random: &Random) {
    let accounts = Tables::find(segment, None, "t").expect("it was made");
    let (keyspace, counters) = (Keys::new(segment), Counters::new(segment));
    while !books.over.load(Ordering::Relaxed) {
        match random.below(8) {
            0..3 => transfer(&accounts, random),
            3 => audit(&accounts),
            4 => visit(&accounts, random),
            5 => {
                books.begun.fetch_add(1, Ordering::SeqCst);
                counters.add(None, b"counter", 1, None).expect("there is room");
                books.acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            _ => keys(&keyspace, random),
        }
        books.done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_storm_of_deaths_leaves_nothing_torn_and_nothing_lost() {
    let segment = super::segment(512);
    let accounts = table(&segment, 64, 66);
    (0..ACCOUNTS).for_each(|i| super::write(&accounts, &account(i), START));
    let books = Arc::new(Books::default());
    let started = Instant::now();
    let seed = u64::from(std::process::id());
    std::thread::scope(|scope| {
        for place in 0..THREADS as u64 {
            let (segment, books) = (&segment, &books);
            scope.spawn(move || {
                for life in 1_u64.. {
                    let random = Random(Cell::new((seed + 1_000_003 * life * (place + 7)) | 1));
                    let theirs = Arc::clone(books);
                    let survived = deaths::lives(segment, move |segment| {
                        let risk = Random(Cell::new(random.below(u64::MAX) | 1));
                        hook::set(move |_| {
                            if risk.below(RISK) == 0 {
                                deaths::die();
                            }
                        });
                        run(segment, &theirs, &random);
                    });
                    if survived {
                        return;
                    }
                    books.deaths.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut last = 0;
        while started.elapsed() < LENGTH {
            std::thread::sleep(Duration::from_millis(500));
            let done = books.done.load(Ordering::Relaxed);
            assert_ne!(done, last, "nobody gets on");
            last = done;
        }
        books.over.store(true, Ordering::Relaxed);
    });
    segment.recover();
    audit(&accounts);
    deaths::assert_sound(&segment, "after the storm");
    let counted = Counters::new(&segment).get(None, b"counter").unwrap().unwrap_or_default() as u64;
    let (begun, acknowledged) = (books.begun.load(Ordering::SeqCst), books.acknowledged.load(Ordering::SeqCst));
    assert!((acknowledged..=begun).contains(&counted), "{acknowledged} acknowledged, {counted} counted, {begun} begun");
    eprintln!("{books:?}");
    assert!(books.deaths.load(Ordering::Relaxed) > 50, "{} deaths only", books.deaths.load(Ordering::Relaxed));
}
