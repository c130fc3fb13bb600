//! Thousands of damaged segments: whatever the words say, a check comes back, and so does the recovery that it begins with.
//!
//! The same segment is damaged again and again; in between its bytes are put back. Nobody owns a slot while that is done: each check
//! runs on a thread of its own, which claims its slot in the damaged segment, as the user's tool does.
#![allow(unsafe_code)]

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::channel,
    },
    time::Duration,
};

use shm_layout::{row, slot};

use super::{
    super::*,
    NOW,
    damage::populate,
    deaths::{die, lives},
    set,
};
use crate::shm::{FieldChange, crash::hook};

/// How often a segment is damaged, for each state that it is damaged in.
const ROUNDS: u64 = 400;
/// How long a check may take before it is taken for hanging.
const HANG: Duration = Duration::from_secs(60);

/// Numbers by chance, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

fn words(segment: &Segment) -> &[AtomicU64] {
    let len = segment.geometry().request.memory / 8;
    segment.mem().slice(0, len as usize)
}

fn image(segment: &Segment) -> Vec<u64> {
    words(segment).iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

/// Puts the bytes of a segment back.
fn restore(segment: &Segment, image: &[u64]) {
    let target = words(segment);
    assert_eq!(target.len(), image.len());
    // SAFETY: source and target are as long as each other, apart, and nobody else is at the segment meanwhile.
    unsafe { std::ptr::copy_nonoverlapping(image.as_ptr(), target.as_ptr().cast_mut().cast(), image.len()) };
}

/// Where things are, so that each is damaged as often as any other, whatever its size.
fn regions(segment: &Segment) -> Vec<(u64, u64)> {
    let geometry = segment.geometry();
    let slot = geometry.slots_at;
    let journal = slot + std::mem::offset_of!(slot::Slot, journal) as u64;
    let held = slot + std::mem::offset_of!(slot::Slot, held) as u64;
    let entry = journal + std::mem::offset_of!(slot::Journal, entry) as u64;
    let old = journal + std::mem::offset_of!(slot::Journal, old) as u64;
    let mut regions = vec![
        // The first slot, which the dead one had, and above all what recovery reads there.
        (slot, slot + size_of::<slot::Slot>() as u64),
        (slot + 32, slot + 136),
        (held, held + 32),
        (journal, journal + 88),
        (old, old + 32),
        (entry, entry + 144),
        (slot, slot + 4 * size_of::<slot::Slot>() as u64),
        (geometry.directory_at, geometry.directory_at + 256),
        (geometry.counters_at, geometry.key_groups_at),
        (geometry.key_groups_at, geometry.key_bitmap_at),
        (geometry.key_bitmap_at, geometry.pages_at),
        (geometry.pages_at, geometry.arena_at),
        // The gate's and the directory's words.
        (120, 136),
        (248, 272),
    ];
    // Pages in use.
    for page in 0..geometry.arena_pages as u32 {
        if segment.page(page).state.load(Ordering::Relaxed) != 0 {
            let at = segment.page_at(page);
            regions.push((at, at + 4096));
            regions.push((at, at + shm_layout::heap::PAGE_BYTES));
        }
    }
    regions
}

/// A word to put in the place of `old`: one bit off, another word of the segment, or what makes trouble.
fn damaged(random: &mut Random, old: u64, image: &[u64]) -> u64 {
    match random.below(8) {
        0 => 0,
        1 => u64::MAX,
        2 => old ^ (1 << random.below(64)),
        3 => old.wrapping_add(random.below(9)).wrapping_sub(4),
        4 => image[random.below(image.len() as u64) as usize],
        5 => random.below(5000),
        6 => (random.below(1 << 20) << 32) | random.below(300),
        _ => random.next(),
    }
}

/// Damages up to eight words; says which, for the message of a failure.
fn damage(segment: &Segment, random: &mut Random, image: &[u64], regions: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let count = 1 + random.below(8) * random.below(2);
    let mut one = || {
        let (from, to) = regions[random.below(regions.len() as u64) as usize];
        let at = (from + random.below(to - from)) / 8;
        let word = damaged(random, image[at as usize], image);
        words(segment)[at as usize].store(word, Ordering::Relaxed);
        (at * 8, word)
    };
    (0..count).map(|_| one()).collect()
}

/// Checks a segment on a thread of its own; `None` if it panicked.
fn check(segment: &Segment) -> Option<Result<Verification, Refusal>> {
    let (done, is_done) = channel();
    let shared = segment.clone();
    let thread = std::thread::spawn(move || {
        let seen = shared.verify(Some(Duration::from_millis(20)), &mut |_, _| {});
        drop(shared);
        seen
    });
    std::thread::spawn(move || done.send(thread.join().ok()));
    is_done.recv_timeout(HANG).expect("a check that does not hang")
}

/// What the rounds came to.
#[derive(Default, Debug)]
struct Tallies {
    sound: u64,
    found: u64,
    busy: u64,
}

fn damage_again_and_again(segment: &Segment, seed: u64) -> Tallies {
    let pristine = image(segment);
    let regions = regions(segment);
    let mut random = Random(seed);
    let mut tallies = Tallies::default();
    for round in 0..ROUNDS {
        let done = damage(segment, &mut random, &pristine, &regions);
        match check(segment) {
            None => panic!("round {round} of seed {seed:#x}: a panic over {done:x?}"),
            Some(Err(_)) => tallies.busy += 1,
            Some(Ok(seen)) if seen.is_sound() => tallies.sound += 1,
            Some(Ok(_)) => tallies.found += 1,
        }
        restore(segment, &pristine);
    }
    eprintln!("{tallies:?}");
    tallies
}

fn small() -> Segment {
    let options = SegmentOptions::new().memory(6 << 20).workers(1).counters(16).max_keys(2000);
    let segment = Segment::create(options).expect("a small segment can be made");
    let shared = segment.clone();
    std::thread::spawn(move || populate(&shared)).join().expect("there is room");
    segment
}

#[test]
fn checks_of_damaged_segments_come_back() {
    let segment = small();
    let tallies = damage_again_and_again(&segment, 0x5eed_0001);
    assert!(tallies.found > ROUNDS / 5, "{tallies:?}");
    assert!(check(&segment).unwrap().unwrap().is_sound());
}

fn make_table(segment: &Segment) {
    let spec =
        RawSpec { name: "new".to_owned(), rows: 16, key_bytes: 8, fixed_bytes: 8, string_bytes: 0, schema: vec![0, 0] };
    Tables::make(segment, None, &spec).unwrap();
}

fn change_row(segment: &Segment) {
    let two = |row: RowWords<'_>| {
        row.words[row::BODY_WORD..row::BODY_WORD + 2].fill(9);
        Verdict::Write
    };
    Tables::find(segment, None, "t").unwrap().modify(None, NOW, &5_u64.to_le_bytes(), &mut { two }).unwrap();
}

/// An operation, and the point at which somebody dies in it.
type Death = (&'static str, fn(&Segment));

const DEATHS: [Death; 14] = [
    ("block-taken", |segment| set(&Keys::new(segment), b"a new key", &vec![b'n'; 70_000])),
    ("committed", |segment| set(&Keys::new(segment), b"a new key", &vec![b'n'; 70_000])),
    ("published", |segment| set(&Keys::new(segment), b"a new key", &[b'n'; 400])),
    ("committed", |segment| {
        Keys::new(segment).change(None, NOW, 0, b"tree", false, &mut |_| Change::Remove).unwrap();
    }),
    ("applied", |segment| set(&Keys::new(segment), b"block", &[b'n'; 400])),
    ("committed", |segment| {
        let all = &mut |_: usize, _: Option<&[u8]>| FieldChange::Set(vec![b'n'; 500].into());
        let fields: [&[u8]; 3] = [b"field 07", b"field 31", b"new"];
        Keys::new(segment).change_fields(None, NOW, 0, b"hash", &fields, false, all).unwrap();
    }),
    ("committed", |segment| {
        Keys::new(segment).change(None, NOW, 0, b"hash", false, &mut |_| Change::Remove).unwrap();
    }),
    ("committed", change_row),
    ("row-even", change_row),
    ("units-taken", make_table),
    ("table-live", make_table),
    ("committed", |segment| Keys::new(segment).flush(None, Some(0)).unwrap()),
    ("committed", |segment| Tables::find(segment, None, "t").unwrap().clear(None).unwrap()),
    ("committed", |segment| assert_eq!(Tables::drop_named(segment, None, "t"), Ok(true))),
];

/// Somebody has died in the middle of an operation, and what is damaged may be what recovery is about to read.
#[test]
fn recoveries_of_damaged_segments_come_back() {
    for (number, (point, operation)) in DEATHS.into_iter().enumerate() {
        let segment = small();
        let survived = lives(&segment, |segment| {
            hook::set(move |name| {
                if name == point {
                    die()
                }
            });
            operation(segment);
        });
        assert!(!survived, "{number}: {point}");
        let tallies = damage_again_and_again(&segment, 0x5eed_0100 + number as u64);
        assert!(tallies.found > ROUNDS / 8, "{number}: {point}: {tallies:?}");
        let seen = check(&segment).unwrap().unwrap();
        assert!(seen.is_sound() && seen.recovered == 1, "{number}: {point}: {seen:#?}");
    }
}

/// What recovery once could not get over: an index without a place for the row that it was to publish, units that no arena has,
/// more pages of records than can be counted.
#[test]
fn recovery_gets_over_what_it_cannot_carry_out() {
    let after = |point: &'static str, operation: fn(&Segment), damage: fn(&Segment)| {
        let segment = small();
        assert!(!lives(&segment, |segment| {
            hook::set(move |name| {
                if name == point {
                    die()
                }
            });
            operation(segment);
        }));
        damage(&segment);
        check(&segment).expect("recovery does not panic").expect("nobody is in the way")
    };
    let insert = |segment: &Segment| set(&Keys::new(segment), b"a new key", b"v");
    let full = |segment: &Segment| {
        let space = segment.keys_space();
        let places = (0..space.groups).flat_map(|group| &space.group(segment, group).rows);
        places.filter(|place| place.load(Ordering::Relaxed) == 0).for_each(|place| place.store(7, Ordering::Relaxed));
    };
    assert!(!after("counted", insert, full).is_sound());
    for (first, count) in [(1, 0), (0, u64::MAX), (u64::MAX, 2), (1 << 40, 1), (0, 1 << 30)] {
        let segment = small();
        let slot = segment.slot(1);
        slot.claim_units[0].store(first, Ordering::Relaxed);
        slot.claim_units[1].store(count, Ordering::Relaxed);
        slot.claim_units[2].store(1, Ordering::Relaxed);
        slot.alive.store(slot::alive::OWNER_DIED, Ordering::Relaxed);
        let seen = check(&segment).expect("recovery does not panic").expect("nobody is in the way");
        assert!(seen.is_sound() && seen.recovered == 1, "{seen:#?}");
    }
    let flush = |segment: &Segment| Keys::new(segment).flush(None, None).unwrap();
    let pages = |segment: &Segment| segment.header().record_pages.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(after("committed", flush, pages).found, 1);
}
