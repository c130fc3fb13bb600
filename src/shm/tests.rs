//! Defects that were found in the segment, each with its story, so that they do not come back.

mod arbitrary;
mod damage;
pub(crate) mod deaths;
mod fields;
mod storm;

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use shm_layout::{
    COUNTERS_SPACE,
    header::fenced,
    heap::{block, block_bytes, blocks, kind},
    row,
    slot::{self, Held, alive, op},
};

use super::{
    Change, KeyValue, Keys, RawSpec, Refusal, RowWords, Segment, SegmentOptions, SetRule, Tables, Verdict,
    crash::hook,
    directory, gate,
    locks::{self, Writer},
    rows,
    space::{Key, Space},
};
use crate::sys::clock;

/// Any time will do where nothing expires.
const NOW: u64 = 1;

fn segment(max_keys: u64) -> Segment {
    let options = SegmentOptions::new().memory(32 << 20).workers(4).counters(64).max_keys(max_keys);
    Segment::create(options).expect("a small segment can be made")
}

fn table(segment: &Segment, rows: u64, string_bytes: u32) -> Tables {
    let spec = RawSpec { name: "t".to_owned(), rows, key_bytes: 64, fixed_bytes: 16, string_bytes, schema: vec![0, 0] };
    Tables::make(segment, None, &spec).expect("there is room").0
}

/// Changes two words of a row, or makes it.
fn write(table: &Tables, key: &[u8], value: u64) {
    let two = |row: RowWords<'_>| {
        row.words[row::BODY_WORD..row::BODY_WORD + 2].fill(value);
        Verdict::Write
    };
    table.modify(None, NOW, key, &mut { two }).expect("there is room");
}

fn set(keys: &Keys, key: &[u8], value: &[u8]) {
    keys.change(None, NOW, 0, key, false, &mut |_| Change::Set(Cow::Borrowed(value), 0)).expect("there is room");
}

fn live_rows(segment: &Segment, space: &Space) -> Vec<u32> {
    let live = |&row: &u32| {
        space.header(segment, row).is_some_and(|header| row::is_live(header.sequence.load(Ordering::Relaxed)))
    };
    (0..space.rows).filter(live).collect()
}

/// Blocks of the heap that are in use.
fn used_blocks(segment: &Segment) -> usize {
    let pages = 0..segment.geometry().arena_pages as u32;
    pages
        .filter_map(|page| {
            let state = segment.page(page).state.load(Ordering::Relaxed);
            let bytes = block_bytes(state >> 8).filter(|_| state & kind::MASK == kind::HEAP)?;
            let (start, count) = blocks(bytes);
            let at = |number: u64| segment.page_at(page) + start + number * bytes;
            let used = |number: &u64| block::is_used(segment.mem().word(at(*number)).load(Ordering::Relaxed));
            Some((0..u64::from(count)).filter(used).count())
        })
        .sum()
}

/// Holds the lock of a row, as a process does that is stopped inside a write, while `body` runs.
fn while_locked(segment: &Segment, space: &Space, row: u32, body: impl FnOnce()) {
    let (ready, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::enter(segment).expect("the gate is open");
            let header = space.header(segment, row).expect("the row exists");
            writer.lock(Held::Row(space.id, row), &header.lock).expect("nobody holds it");
            ready.store(true, Ordering::SeqCst);
            while !done.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        while !ready.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        body();
        done.store(true, Ordering::SeqCst);
    });
}

/// Rows of more than 4 KiB take a block for their image before they are locked. It was given back only if the image
/// came to lie in it: an insertion, a deletion and a small change each lost one.
#[test]
fn blocks_for_large_images_come_back() {
    let segment = segment(512);
    let table = table(&segment, 16, 5000);
    for i in 0..50 {
        write(&table, b"k", 2 * i + 1);
        write(&table, b"k", 2 * i + 2);
        table.modify(None, NOW, b"k", &mut |_| Verdict::Remove).unwrap();
    }
    assert_eq!(used_blocks(&segment), 0);
}

/// So did an attempt that ran into a row whose holder did not let go.
#[test]
fn blocks_come_back_from_an_attempt_in_vain() {
    let segment = segment(512);
    let table = table(&segment, 16, 5000);
    write(&table, b"k", 1);
    let space = directory::space(&segment, 0).unwrap();
    while_locked(&segment, &space, live_rows(&segment, &space)[0], || {
        let patience = Some(Duration::from_millis(2));
        assert_eq!(table.modify(patience, NOW, b"k", &mut |_| Verdict::Remove), Err(Refusal::Busy));
    });
    write(&table, b"k", 2);
    assert_eq!(used_blocks(&segment), 0);
}

/// Every attempt waited for its 2 ms, so a worker with a hundred requests for one row that a stopped process held did little else.
#[test]
fn a_stopped_holder_is_not_waited_for_again_and_again() {
    const TRIES: u32 = 2000;
    let segment = segment(512);
    let table = table(&segment, 16, 50);
    write(&table, b"k", 1);
    let space = directory::space(&segment, 0).unwrap();
    let mut took = Duration::ZERO;
    while_locked(&segment, &space, live_rows(&segment, &space)[0], || {
        let remove = |table: &Tables| table.modify(Some(locks::ATTEMPT), NOW, b"k", &mut |_| Verdict::Remove);
        let close = |segment| gate::behind(segment, Some(locks::ATTEMPT), |_| Ok(()));
        let start = Instant::now();
        for _ in 0..TRIES {
            assert_eq!(remove(&table), Err(Refusal::Busy));
            assert_eq!(close(&segment), Err(Refusal::Busy));
        }
        took = start.elapsed();
    });
    assert!(took < TRIES * locks::ATTEMPT, "{took:?}");
    table.modify(Some(locks::ATTEMPT), NOW, b"k", &mut |_| Verdict::Remove).expect("what is free is taken at once");
}

/// An image that did not fit into what was left of the slot's area was split, and 64 rows came to 65 entries, one more
/// than there was room for. Now an image is in one piece unless it is larger than a block.
#[test]
fn the_largest_batch_fits_whatever_the_size_of_its_rows() {
    for string_bytes in [2, 66, 500, 5_000, 65_000, 65_456] {
        let segment = segment(512);
        let options = SegmentOptions::new().memory(64 << 20).max_keys(512);
        let segment = if string_bytes > 5_000 { Segment::create(options).unwrap() } else { segment };
        let table = table(&segment, 64, string_bytes);
        let names: Vec<String> = (0..64).map(|i| format!("key {i}")).collect();
        let keys: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
        for value in 1..4 {
            let mut all = |_: usize, row: RowWords<'_>| {
                let key_words = row::BODY_WORD + 2..row::BODY_WORD + 10;
                (row::BODY_WORD..row.words.len()).filter(|i| !key_words.contains(i)).for_each(|i| row.words[i] = value);
                Verdict::Write
            };
            table.modify_many(None, NOW, &keys, &mut all).unwrap();
            let mut seen = 0;
            let mut check = |_: usize, row: RowWords<'_>| {
                seen += usize::from(row.present);
                assert_eq!((row.words[row::BODY_WORD], row.words[row.words.len() - 1]), (value, value));
            };
            table.read_many(None, NOW, &keys, &mut check).unwrap();
            assert!(seen >= 64 && seen.is_multiple_of(64));
        }
        assert_eq!(used_blocks(&segment), 0);
    }
}

/// A key of 25 to 32 bytes stood inside its record or outside, depending on its value. A change from the one to the other took two
/// stores; between them the key was found by nobody, and an insertion made a second record of it.
#[test]
fn a_key_is_found_while_its_value_grows_and_shrinks() {
    let segment = segment(4096);
    let key = b"a key of twenty-six bytes!";
    let values: [&[u8]; 2] = [b"abc", b"a value that does not fit beside the key"];
    set(&Keys::new(&segment), key, values[0]);
    let stop = AtomicBool::new(false);
    let missed = AtomicU64::new(0);
    let until_stopped = |body: &dyn Fn(&Keys)| {
        let keys = Keys::new(&segment);
        while !stop.load(Ordering::Relaxed) {
            body(&keys);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| until_stopped(&|keys| values.iter().for_each(|value| set(keys, key, value))));
        scope.spawn(|| {
            until_stopped(&|keys| {
                let read = keys.read(None, NOW, 0, key, Some(&mut Vec::new())).unwrap();
                missed.fetch_add(u64::from(read.is_none()), Ordering::Relaxed);
            });
        });
        scope.spawn(|| {
            until_stopped(&|keys| {
                let mut if_absent = |record: Option<super::Record<'_>>| {
                    missed.fetch_add(u64::from(record.is_none()), Ordering::Relaxed);
                    if record.is_none() { Change::Set(Cow::Borrowed(b"new"), 0) } else { Change::Leave }
                };
                keys.change(None, NOW, 0, key, false, &mut if_absent).unwrap();
            });
        });
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!((missed.into_inner(), Keys::new(&segment).len(None, 0).unwrap()), (0, 1));
}

/// A row that has expired is as good as free, but while somebody holds it nobody can tell what becomes of it.
#[test]
fn a_table_with_an_expired_row_is_not_full_while_that_row_is_locked() {
    let segment = segment(512);
    let table = table(&segment, 4, 2);
    for i in 0..4 {
        write(&table, &[b'a' + i], 1);
    }
    let mut expiring = |row: RowWords<'_>| {
        row.words[row::EXPIRE_WORD] = 1000;
        Verdict::Write
    };
    table.modify(None, NOW, b"a", &mut expiring).unwrap();
    let space = directory::space(&segment, 0).unwrap();
    let expires = |row: &u32| space.header(&segment, *row).unwrap().expire_at.load(Ordering::Relaxed) != 0;
    let row = live_rows(&segment, &space).into_iter().find(expires).unwrap();
    while_locked(&segment, &space, row, || {
        let patience = Some(Duration::from_millis(50));
        assert_eq!(table.modify(patience, 2000, b"new", &mut |_| Verdict::Write), Err(Refusal::Busy));
    });
    assert_eq!(table.modify(None, 2000, b"new", &mut |_| Verdict::Write), Ok(()));
}

/// An integer whose bits were those of the block that the value had before kept that block from being freed.
#[test]
fn an_integer_that_looks_like_a_block_is_none() {
    let segment = segment(512);
    let keys = Keys::new(&segment);
    set(&keys, b"k", &[b'v'; 100]);
    let space = segment.keys_space();
    let row = live_rows(&segment, &space)[0];
    let block = space.words(&segment, row).unwrap()[shm_layout::keys::VALUE_WORD].load(Ordering::Relaxed);
    set(&keys, b"k", (block as i64).to_string().as_bytes());
    assert_eq!(used_blocks(&segment), 0);
}

/// What stands in a segment that somebody else wrote is an allegation. Directory and journals of a damaged one are passed over.
#[test]
fn a_damaged_segment_is_survived() {
    let segment = segment(512);
    let table = table(&segment, 16, 100);
    segment.entry(0).rows.store(0, Ordering::Relaxed);
    assert_eq!(Tables::list(&segment, None).map(|tables| tables.len()), Ok(0));
    segment.entry(0).rows.store(u64::MAX / 2, Ordering::Relaxed);
    assert_eq!(Tables::list(&segment, None).map(|tables| tables.len()), Ok(0));
    assert_eq!(table.count(None), Ok(0));

    let dead = segment.slot(5);
    dead.journal.op.store(op::ROWS, Ordering::Relaxed);
    dead.journal.entries.store(u32::MAX, Ordering::Relaxed);
    let entry = &dead.journal.entry[0];
    entry.space.store(COUNTERS_SPACE, Ordering::Relaxed);
    entry.cells[0].store(5_000_000, Ordering::Relaxed);
    entry.image_words.store(u32::MAX, Ordering::Relaxed);
    entry.image_at.store(u64::MAX - 7, Ordering::Relaxed);
    dead.journal.state.store(slot::journal::COMMITTED, Ordering::Relaxed);
    dead.held[0].store(Held::Row(COUNTERS_SPACE, u32::MAX).encode(), Ordering::Relaxed);
    dead.alive.store(alive::OWNER_DIED, Ordering::Relaxed);
    assert_eq!(segment.recover(), 1);
}

/// A slot without an owner in which something was left, as only damage explains, was claimed as it was: the next operation of its
/// owner panicked, and again in the process that came after it. Nobody takes such a slot now, and a master that is alone cleans it.
#[test]
fn a_slot_that_is_not_clean_is_not_claimed() {
    let damages: [fn(&slot::Slot); 6] = [
        |slot| slot.flag.store(1, Ordering::Relaxed),
        |slot| slot.held[3].store(Held::Directory.encode(), Ordering::Relaxed),
        |slot| slot.held[7].store(u64::MAX, Ordering::Relaxed),
        |slot| slot.journal.state.store(slot::journal::COMMITTED, Ordering::Relaxed),
        |slot| slot.claim_page.store(u32::MAX, Ordering::Relaxed),
        |slot| slot.log.store(8, Ordering::Relaxed),
    ];
    for (i, damage) in damages.into_iter().enumerate() {
        let segment = segment(512);
        damage(segment.slot(1));
        std::thread::scope(|scope| {
            scope.spawn(|| set(&Keys::new(&segment), b"k", b"v")).join().unwrap();
        });
        assert!(!super::recovery::is_clean(segment.slot(1)), "damage {i}");
        assert_eq!(super::recovery::recover_alone(&segment), 1);
        assert!(super::recovery::is_clean(segment.slot(1)), "damage {i}");
        set(&Keys::new(&segment), b"k", b"w");
    }
}

/// A record that names no block of the arena panicked who read it under its lock. It is as good as absent.
#[test]
fn a_record_that_cannot_be_read_is_absent() {
    let segment = segment(512);
    let keys = Keys::new(&segment);
    set(&keys, b"k", &[b'v'; 1000]);
    let space = segment.keys_space();
    let words = space.words(&segment, live_rows(&segment, &space)[0]).unwrap();
    words[shm_layout::keys::VALUE_WORD].store(u64::MAX, Ordering::Relaxed);
    let mut value = b"before".to_vec();
    assert_eq!(keys.read(None, NOW, 0, b"k", Some(&mut value)), Ok(None));
    assert_eq!(value, b"before");
    let mut seen = Vec::new();
    let mut append = |record: Option<super::Record<'_>>| {
        seen.push(record.is_some());
        Change::Set(Cow::Borrowed(b"new"), 0)
    };
    keys.change(None, NOW, 0, b"k", true, &mut append).unwrap();
    assert_eq!(seen, [false]);
    keys.read(None, NOW, 0, b"k", Some(&mut value)).unwrap();
    assert_eq!((&value[..], keys.len(None, 0).unwrap()), (&b"beforenew"[..], 1));
}

/// An index of which every place names some row, as only damage explains, has none for a new one: the insertion panicked
/// with its intent committed, and so did everybody who then recovered it.
#[test]
fn an_index_without_a_place_is_survived() {
    let segment = segment(100);
    let space = segment.keys_space();
    let all = || (0..space.groups).flat_map(|group| &space.group(&segment, group).rows);
    all().for_each(|place| place.store(space.rows, Ordering::Relaxed));
    set(&Keys::new(&segment), b"k", b"v");
    all().for_each(|place| place.store(0, Ordering::Relaxed));
    set(&Keys::new(&segment), b"l", b"v");
    assert_eq!(Keys::new(&segment).read(None, NOW, 0, b"l", None).map(|read| read.is_some()), Ok(true));
}

/// The index names a row that stays odd and that nobody holds, as only damage explains: whoever looks for the key gives up in time.
#[test]
fn a_row_that_never_comes_to_rest_is_given_up() {
    let segment = segment(512);
    let keys = Keys::new(&segment);
    set(&keys, b"k", b"v");
    let space = segment.keys_space();
    let header = space.header(&segment, live_rows(&segment, &space)[0]).unwrap();
    header.sequence.store(5, Ordering::Relaxed);
    let start = Instant::now();
    let patience = Some(Duration::from_millis(20));
    let read: Result<Option<KeyValue>, Refusal> = keys.read(patience, NOW, 0, b"k", None);
    assert_eq!(read, Err(Refusal::Busy));
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// A batch behind the gate lists the blocks that it replaces in a ledger, and the ledger stood among its new blocks with all that
/// it listed: when the batch was not committed, for want of memory or by a death, the values that it was to replace were freed.
#[test]
fn a_large_batch_in_vain_frees_nothing_that_was_there() {
    let segment = segment(4096);
    let keys = Keys::new(&segment);
    set(&keys, b"victim", &[b'v'; 200]);
    let names: Vec<String> = (0..66).map(|i| format!("new {i}")).collect();
    let mut pairs: Vec<(&[u8], &[u8])> = vec![(b"victim", &[b'w'; 200])];
    pairs.extend(names.iter().map(|name| (name.as_bytes(), &[b'n'; 20][..])));
    let huge = vec![b'h'; 40 << 20];
    pairs.push((b"huge", &huge));
    assert_eq!(keys.set_many(None, NOW, 0, &pairs, &SetRule::ANY), Err(Refusal::OutOfMemory));
    assert_eq!(used_blocks(&segment), 1);
    (0..40_u8).for_each(|i| set(&keys, &[b'o', i], &[b'o'; 200]));
    let mut value = Vec::new();
    keys.read(None, NOW, 0, b"victim", Some(&mut value)).unwrap();
    assert_eq!(value, [b'v'; 200]);
}

/// A flush made a record free and set its hint after that. Killed in between, it was carried out once more, and that passed over the
/// record, which was free already: it lay idle until somebody looked at every record in search of room.
#[test]
fn a_flush_that_is_killed_loses_no_record() {
    let segment = segment(512);
    let keys = Keys::new(&segment);
    (0..3_u8).for_each(|i| set(&keys, &[b'a' + i], b"v"));
    let survived = deaths::lives(&segment, |segment| {
        hook::set(|point| {
            if point == "record-hinted" {
                deaths::die();
            }
        });
        Keys::new(segment).flush(None, Some(0)).expect("nobody is in the way");
    });
    assert!(!survived);
    assert_eq!((segment.recover(), keys.len(None, 0).unwrap()), (1, 0));
    let space = segment.keys_space();
    let is_hinted = |row: u32| space.hint_word(&segment, row / 64).load(Ordering::Relaxed) >> (row % 64) & 1 == 1;
    let is_there = |row: &u32| space.header(&segment, *row).is_some();
    assert!((0..space.rows).filter(is_there).all(is_hinted));
}

/// While the gate was closed, a read of several keys waited for it once for each of its many tries, and the sweep once for each
/// table: a worker stood still for as long. Each waits for the length of one attempt now, and a few are allowed for here.
#[test]
fn a_closed_gate_holds_a_worker_up_for_a_moment_only() {
    let segment = segment(512);
    let (keys, rows) = (Keys::new(&segment), table(&segment, 16, 2));
    set(&keys, b"a", b"1");
    write(&rows, b"a", 1);
    let patience = Some(Duration::from_millis(2));
    let gate = super::gate::Gate::close(&segment).unwrap();
    let longest = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let timed = |body: &dyn Fn()| {
                let start = Instant::now();
                body();
                start.elapsed()
            };
            let several: [&[u8]; 2] = [b"a", b"b"];
            let waits: [&dyn Fn(); 4] = [
                &|| assert_eq!(keys.read_many(patience, NOW, 0, &several), Err(Refusal::Busy)),
                &|| assert_eq!(rows.read_many(patience, NOW, &several, &mut |_, _| {}), Err(Refusal::Busy)),
                &|| assert_eq!(rows.scan(patience, NOW, 0, 10, &mut |_, _| {}), Err(Refusal::Busy)),
                &|| assert_eq!(segment.sweep(NOW), 0),
            ];
            waits.into_iter().map(timed).max()
        });
        others.join().unwrap()
    });
    drop(gate);
    assert!(longest.unwrap() < Duration::from_secs(1));
}

/// Where the gate is closed often, the writers fence and no barrier is made; writers and transactions still keep out of each
/// other's way, and when nobody has closed it for a while, it is as before.
#[test]
fn a_crowd_at_the_gate_has_the_writers_fence() {
    let segment = segment(512);
    let rows = table(&segment, 16, 2);
    write(&rows, b"a", 0);
    let who_fences = || segment.header().gate_fenced.load(Ordering::Acquire);
    assert_eq!(who_fences(), fenced::CLOSER);
    const TURNS: u64 = 2000;
    let add = |by: u64| rows.modify_word(None, b"a", row::BODY_WORD, |word| Some(word + by)).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..TURNS).for_each(|_| assert!(add(1))));
        for _ in 0..TURNS {
            // What is read behind the gate is what is there when it opens.
            gate::behind(&segment, None, |_| {
                let key = Key { bytes: b"a", db: 0, hash: segment.hash(b"a", 0) };
                let word = &segment.space(0).unwrap().find(&segment, key).unwrap().words[row::BODY_WORD];
                let seen = word.load(Ordering::Relaxed);
                (0..50).for_each(|_| std::hint::spin_loop());
                assert_eq!(word.load(Ordering::Relaxed), seen);
                word.store(seen + 1, Ordering::Relaxed);
                Ok(())
            })
            .unwrap();
        }
        writer.join().unwrap();
    });
    let mut out = vec![0; rows.row_words()];
    assert!(rows.read(None, NOW, b"a", &mut out).unwrap());
    assert_eq!(out[row::BODY_WORD], 2 * TURNS);
    assert_eq!(who_fences(), fenced::WRITER);
    gate::calm_down(&segment, clock::now_ms());
    assert_eq!(who_fences(), fenced::WRITER, "not yet");
    gate::calm_down(&segment, clock::now_ms() + 60_000);
    assert_eq!(who_fences(), fenced::CLOSER);
}

/// A thread that is not its process's first and calls `exec` goes on under the first one's id, by which the kernel looks for what
/// it owns. Its slot was never marked, and the locks in it were held for good.
#[test]
fn an_owner_that_no_thread_has_the_id_of_is_dead() {
    let segment = segment(64);
    let table = table(&segment, 16, 8);
    write(&table, b"row", 1);
    let space = segment.space(0).unwrap();
    let row = live_rows(&segment, &space)[0];
    let other = 7;
    let slot = segment.slot(other);
    slot.held[0].store(Held::Row(space.id, row).encode(), Ordering::Relaxed);
    slot.flag.store(1, Ordering::Relaxed);
    segment.header().slots_claimed.fetch_max(other, Ordering::Relaxed);
    // One more than the greatest id that the kernel gives out.
    slot.alive.store(1 << 22, Ordering::Release);
    space.header(&segment, row).unwrap().lock.store(other, Ordering::Release);
    write(&table, b"row", 2);
    assert_eq!((slot.alive.load(Ordering::Acquire), slot.flag.load(Ordering::Acquire)), (0, 0));
    slot.flag.store(1, Ordering::Relaxed);
    slot.alive.store(1 << 22, Ordering::Release);
    // The gate's closer does not wait for it either.
    table.clear(None).expect("nobody who lives is inside");
    assert_eq!(slot.alive.load(Ordering::Acquire), 0);
}

/// A thread that ended gave its slot back even if it was in the middle of a write, as one that calls `exit` there is; nobody
/// could free the locks of that slot any more.
#[test]
fn a_slot_in_the_middle_of_a_write_is_not_given_back() {
    let segment = segment(64);
    let table = table(&segment, 16, 8);
    write(&table, b"row", 1);
    let space = segment.space(0).unwrap();
    let row = live_rows(&segment, &space)[0];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::enter(&segment).unwrap();
            writer.lock(Held::Row(space.id, row), &space.header(&segment, row).unwrap().lock).unwrap();
            // Its destructor never runs, those of the thread do.
            std::mem::forget(writer);
        });
    });
    write(&table, b"row", 2);
}

/// A function that runs at the end of a thread could get no slot, so a write without a limit to its patience never returned.
#[test]
fn a_destructor_of_a_thread_can_write() {
    struct Last(Arc<Tables>);
    impl Drop for Last {
        fn drop(&mut self) {
            write(&self.0, b"last", 3);
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) };
    }
    let segment = segment(64);
    let last = Last(Arc::new(table(&segment, 16, 8)));
    std::thread::spawn(move || {
        // Known to the thread before its slot is, and destroyed after it.
        LAST.set(Some(last));
        LAST.with_borrow(|last| write(&last.as_ref().unwrap().0, b"first", 1));
    })
    .join()
    .unwrap();
    assert_eq!(live_rows(&segment, &segment.space(0).unwrap()).len(), 2);
    assert_eq!(segment.recover(), 1, "the slot of the last write is the kernel's to mark");
}

/// A table that another process dropped right after it was made, or found, was refused as if a stopped process were in the way,
/// and even to a caller that waits for as long as it takes.
#[test]
fn making_a_table_that_others_drop_makes_it() {
    let segment = segment(512);
    let spec =
        RawSpec { name: "t".to_owned(), rows: 4, key_bytes: 8, fixed_bytes: 8, string_bytes: 0, schema: vec![0] };
    let (theirs, drops) = (segment.clone(), AtomicU64::new(0));
    super::crash::hook::set(move |name| {
        if name == "table-made" && drops.fetch_add(1, Ordering::Relaxed) < 2 {
            assert_eq!(Tables::drop_named(&theirs, None, "t"), Ok(true));
        }
    });
    let made = Tables::make(&segment, None, &spec).map(|(table, new)| (table.is_current(), new));
    super::crash::hook::set(|_| {});
    assert_eq!(made, Ok((true, true)));
}

/// A deletion inside a transaction that was refused, because the log had no room, left its blocks listed as replaced. Whoever looked for
/// room went on with the next: its commit would have freed what the first still held, and behind the last place of the list was a panic.
#[test]
fn a_refused_deletion_frees_nothing() {
    let segment = segment(4096);
    let keys = Keys::new(&segment);
    let name = |number: u32| format!("key {number}").into_bytes();
    let set_until = |number: u32, len: usize, expire_at: u64| {
        let value = vec![number as u8; len];
        keys.change(None, NOW, 0, &name(number), false, &mut |_| Change::Set(Cow::Borrowed(&value), expire_at))
    };
    // Until there is room for no block of the sizes that a log has.
    let expiring = (0..1000).take_while(|&number| set_until(number, 100, NOW + 1).is_ok()).count();
    let large = (1000..4000).take_while(|&number| set_until(number, 60_000, 0).is_ok()).count();
    (5000..8000).take_while(|&number| set_until(number, 4000, 0).is_ok()).for_each(drop);
    assert!(expiring == 1000 && large > 300, "{expiring} {large}");
    let transaction = super::Transaction::begin(&segment, None).unwrap();
    let changed = keys.change(None, NOW + 2, 0, b"big", false, &mut |_| Change::Set(Cow::Owned(vec![1; 60_000]), 0));
    assert_eq!(changed, Err(Refusal::OutOfMemory));
    let mut writer = Writer::enter(&segment).unwrap();
    let row = live_rows(&segment, &segment.keys_space())[0];
    assert!(!rows::free_expired(&mut writer, &segment.keys_space(), row, NOW + 2), "there is no log");
    assert_eq!(writer.slot().journal.old_len.load(Ordering::Relaxed), 0);
    drop(writer);
    transaction.commit();
    for number in (0..expiring as u32).chain(1000..1000 + large as u32) {
        let mut value = Vec::new();
        assert!(keys.read(None, NOW, 0, &name(number), Some(&mut value)).unwrap().is_some());
        assert!(value.iter().all(|&byte| byte == number as u8));
    }
    let verification = segment.verify(None, &mut |_, _| {}).unwrap();
    assert!(verification.findings.is_empty(), "{:?}", verification.findings);
}

/// A thread remembers one segment in which it has a transaction open. One in another took its place, and the first was no longer
/// its own: its readers waited for their own gate, and what its writers did then was not undone.
#[test]
fn a_thread_is_in_transactions_of_one_segment_only() {
    let (one, other) = (segment(512), segment(512));
    let (keys, patience) = (Keys::new(&one), Some(Duration::from_millis(10)));
    let transaction = super::Transaction::begin(&one, patience).unwrap();
    assert_eq!(super::Transaction::begin(&other, patience).err(), Some(Refusal::InTransaction));
    // What needs no transaction goes on.
    set(&Keys::new(&other), b"k", b"other");
    set(&keys, b"k", b"one");
    assert!(keys.read(patience, NOW, 0, b"k", None).unwrap().is_some());
    drop(transaction);
    assert_eq!((keys.len(None, 0).unwrap(), Keys::new(&other).len(None, 0).unwrap()), (0, 1));
    super::Transaction::begin(&other, patience).unwrap().commit();
}

/// A transaction deletes a key and makes it anew. Reads of its use and its size found it absent in between, and counts one key less:
/// they did not look at the gate.
#[test]
fn nobody_looks_past_a_closed_gate() {
    let segment = segment(512);
    let (keys, table) = (Keys::new(&segment), table(&segment, 16, 66));
    set(&keys, b"k", &[b'v'; 300]);
    write(&table, b"row", 1);
    let patience = Some(Duration::from_millis(10));
    let transaction = super::Transaction::begin(&segment, None).unwrap();
    keys.flush(None, None).unwrap();
    table.clear(None).unwrap();
    let busy = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            [
                keys.len(patience, 0).map(drop),
                keys.expiring(patience, 0).map(drop),
                table.count(patience).map(drop),
                keys.touch(patience, NOW, 0, b"k").map(drop),
                keys.usage(patience, NOW, 0, b"k").map(drop),
                keys.set_usage(patience, NOW, 0, b"k", None, None).map(drop),
                keys.bytes(patience, NOW, 0, b"k").map(drop),
            ]
        });
        others.join().unwrap()
    });
    assert_eq!(busy, [Err(Refusal::Busy); 7]);
    assert_eq!((keys.len(patience, 0), table.count(patience)), (Ok(0), Ok(0)), "for itself");
    drop(transaction);
    assert_eq!((keys.len(patience, 0), table.count(patience)), (Ok(1), Ok(1)));
    assert!(keys.bytes(patience, NOW, 0, b"k").unwrap().is_some_and(|bytes| bytes > 300));
}

/// A change of a row that uses the store itself is a mistake that panics. Inside a transaction it went on, and the inner operation
/// forgot the blocks that the outer one had listed.
#[test]
fn a_change_that_writes_panics_inside_a_transaction_too() {
    let segment = segment(512);
    let keys = Keys::new(&segment);
    for inside in [false, true] {
        let transaction = inside.then(|| super::Transaction::begin(&segment, None).unwrap());
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut fields = |_: usize, _: Option<&[u8]>| {
                set(&keys, b"other", b"value");
                super::FieldChange::Set(Cow::Borrowed(&[b'v'; 600]))
            };
            keys.change_fields(None, NOW, 0, b"hash", &[b"f", b"g"], false, &mut fields)
        }));
        assert!(changed.is_err(), "inside: {inside}");
        drop(transaction);
        set(&keys, b"k", b"v");
    }
    assert_eq!((keys.len(None, 0), used_blocks(&segment)), (Ok(1), 0));
}
