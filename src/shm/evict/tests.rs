//! Eviction as a whole: what goes, what stays, and that the segment is sound afterwards.

use std::{borrow::Cow, cell::Cell, rc::Rc, sync::Barrier, thread, time::Duration};

use super::*;
use crate::shm::{Change, Keys, SegmentOptions, crash, gate};

const NOW: u64 = 1_000_000_000;

fn segment(memory_mb: u64, policy: Policy) -> Segment {
    let segment = Segment::create(SegmentOptions::new().memory(memory_mb << 20).counters(64).max_keys(40_000)).unwrap();
    segment.set_memory_limit(0, policy, 10, 1);
    segment
}

fn set(keys: &Keys, key: u32, value: &[u8], expire_at: u64) -> Result<(), Refusal> {
    let mut change = |_: Option<crate::shm::Record<'_>>| Change::Set(Cow::Borrowed(value), expire_at);
    keys.change(None, NOW, 0, format!("key:{key}").as_bytes(), false, &mut change)
}

fn get(keys: &Keys, key: u32) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    keys.read(None, NOW, 0, format!("key:{key}").as_bytes(), Some(&mut out)).unwrap().map(|_| out)
}

/// The value of a key: its number over and over.
fn value(key: u32, len: usize) -> Vec<u8> {
    key.to_le_bytes().into_iter().cycle().take(len).collect()
}

fn assert_sound(segment: &Segment) {
    let verification = segment.verify(None, &mut |_, _| {}).unwrap();
    assert!(verification.findings.is_empty(), "{:?}", verification.findings);
}

fn assert_values_right(keys: &Keys, upto: u32, len: impl Fn(u32) -> usize) -> usize {
    let there = (0..upto).filter_map(|key| get(keys, key).map(|found| (key, found)));
    there.inspect(|(key, found)| assert_eq!(*found, value(*key, len(*key)), "{key}")).count()
}

#[test]
fn every_policy_makes_room_for_what_is_written() {
    for policy in Policy::ALL {
        let segment = segment(16, policy);
        let keys = Keys::new(&segment);
        let len = |key: u32| 1000 + (key % 1500) as usize;
        let mut refused = 0;
        for key in 0..12_000 {
            let expire_at = if policy.is_volatile() { NOW + 1000 + u64::from(key) } else { 0 };
            let outcome = set(&keys, key, &value(key, len(key)), expire_at);
            refused += u32::from(outcome.is_err());
            assert!(outcome.is_ok() || policy == Policy::NoEviction, "{policy:?} {key}");
        }
        assert_eq!(refused > 0, policy == Policy::NoEviction, "{policy:?}");
        let there = assert_values_right(&keys, 12_000, len);
        assert!(there > 3000, "{policy:?}: {there}");
        assert_eq!(there as u64, keys.len(None, 0).unwrap(), "{policy:?}");
        assert_eq!(segment.memory_use().evicted > 0, policy != Policy::NoEviction);
        assert_sound(&segment);
    }
}

#[test]
fn what_never_expires_stays_under_a_volatile_policy() {
    let segment = segment(16, Policy::VolatileLru);
    let keys = Keys::new(&segment);
    (0..4000).for_each(|key| set(&keys, key, &value(key, 1000), 0).unwrap());
    for key in 4000..20_000 {
        set(&keys, key, &value(key, 1000), NOW + 100_000).unwrap();
    }
    assert_eq!((0..4000).filter(|&key| get(&keys, key).is_some()).count(), 4000);
    // With nothing left that may go, writes are refused.
    let refused = (20_000..40_000).find(|&key| set(&keys, key, &value(key, 1000), 0).is_err());
    assert!(refused.is_some());
    assert_eq!(keys.expiring(None, 0).unwrap(), 0);
    assert_sound(&segment);
}

#[test]
fn memory_goes_from_one_size_of_values_to_another() {
    let segment = segment(16, Policy::AllKeysLru);
    let keys = Keys::new(&segment);
    let sizes = [100, 5000, 40, 300_000, 900, 40_000, 64, 2_000_000];
    let mut key = 0;
    for size in sizes {
        for _ in 0..(24 << 20) / size.max(400) {
            set(&keys, key, &value(key, size), 0).unwrap_or_else(|why| panic!("{size}: {why:?}"));
            assert_eq!(get(&keys, key), Some(value(key, size)));
            key += 1;
        }
    }
    // What can never fit costs the others nothing.
    let before = keys.len(None, 0).unwrap();
    assert!(set(&keys, key, &vec![0; 20 << 20], 0).is_err());
    assert_eq!(keys.len(None, 0).unwrap(), before);
    assert_sound(&segment);
}

#[test]
fn a_limit_below_the_segment_is_kept() {
    let segment = segment(32, Policy::AllKeysLru);
    let keys = Keys::new(&segment);
    let limit = segment.memory_use().used() + (4 << 20);
    segment.set_memory_limit(limit, Policy::AllKeysLru, 10, 1);
    for key in 0..20_000 {
        keys.make_room_below_limit(None, NOW).unwrap();
        set(&keys, key, &value(key, 500), 0).unwrap();
        assert!(segment.memory_use().used() < limit + (1 << 20));
    }
    assert!(keys.len(None, 0).unwrap() > 5000, "{}", keys.len(None, 0).unwrap());
    segment.set_memory_limit(limit - (2 << 20), Policy::NoEviction, 10, 1);
    assert_eq!(keys.make_room_below_limit(None, NOW), Err(Refusal::OutOfMemory));
    segment.set_memory_limit(limit - (2 << 20), Policy::AllKeysRandom, 10, 1);
    (0..200).for_each(|_| keys.make_room_below_limit(None, NOW).unwrap());
    assert!(segment.memory_use().used() <= limit - (2 << 20));
    assert_sound(&segment);
}

/// A store that waits for as long as it takes was refused when somebody else was behind the gate.
#[test]
fn who_makes_room_waits_for_the_gate() {
    let segment = segment(16, Policy::AllKeysLru);
    let keys = Keys::new(&segment);
    (0..100).for_each(|key| set(&keys, key, &value(key, 500), 0).unwrap());
    segment.set_memory_limit(1, Policy::AllKeysLru, 10, 1);
    let (closed, done) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            gate::behind(&segment, None, |_| {
                closed.wait();
                done.wait();
                // The other is asleep by then, or it comes later; either way it is to get on.
                thread::sleep(Duration::from_millis(20));
                Ok(())
            })
            .unwrap();
        });
        closed.wait();
        let impatient = keys.make_room_below_limit(Some(Duration::from_millis(1)), NOW);
        done.wait();
        assert_eq!((impatient, keys.make_room_below_limit(None, NOW)), (Err(Refusal::Busy), Ok(())));
    });
    assert!(keys.len(None, 0).unwrap() < 100);
}

#[test]
fn bytes_in_use_return_to_what_they_were() {
    let segment = segment(16, Policy::NoEviction);
    let keys = Keys::new(&segment);
    let before = segment.memory_use();
    assert_eq!(before.keys, 0);
    (0..2000).for_each(|key| set(&keys, key, &value(key, (key * 37 % 5000) as usize), 0).unwrap());
    set(&keys, 5000, &value(7, 500_000), 0).unwrap();
    (0..2000).for_each(|key| set(&keys, key, &value(key, (key * 91 % 3000) as usize), 0).unwrap());
    assert!(segment.memory_use().keys > 2000 * 1500);
    let remove = &mut |_: Option<crate::shm::Record<'_>>| Change::Remove;
    (0..1000).for_each(|key| keys.change(None, NOW, 0, format!("key:{key}").as_bytes(), false, remove).unwrap());
    keys.flush(None, None).unwrap();
    assert_eq!(segment.memory_use().keys, 0);
}

#[test]
fn what_is_used_stays_and_what_is_read_once_goes() {
    for policy in [Policy::AllKeysLru, Policy::AllKeysLfu] {
        let segment = segment(16, policy);
        let keys = Keys::new(&segment);
        (0..2000).for_each(|key| set(&keys, key, &value(key, 500), 0).unwrap());
        for round in 0..30 {
            (0..2000).for_each(|key| drop(get(&keys, key)));
            (0..1500).for_each(|key| set(&keys, 10_000 + 1500 * round + key, &value(key, 500), 0).unwrap());
        }
        let kept = (0..2000).filter(|&key| get(&keys, key).is_some()).count();
        assert!(kept > 1900, "{policy:?}: {kept}");
    }
}

#[test]
fn who_listens_is_told_what_went() {
    let segment = segment(16, Policy::AllKeysLru);
    let keys = Keys::new(&segment);
    segment.gather_departures();
    segment.interest().event_classes.store(1, Ordering::Relaxed);
    let mut gone = 0;
    for key in 0..20_000 {
        set(&keys, key, &value(key, 1000), 0).unwrap();
        for departed in segment.take_departures().map(|gone| gone.keys).unwrap_or_default() {
            let number: u32 = String::from_utf8(departed.key).unwrap()[4..].parse().unwrap();
            assert_eq!((departed.db, departed.evicted, get(&keys, number)), (0, true, None));
            gone += 1;
        }
    }
    assert_eq!(gone, segment.memory_use().evicted);
}

#[test]
fn a_key_tells_of_its_use() {
    let segment = segment(16, Policy::AllKeysLru);
    let keys = Keys::new(&segment);
    assert_eq!(keys.usage(None, NOW, 0, b"key:1").unwrap(), None);
    set(&keys, 1, b"x", 0).unwrap();
    keys.set_usage(None, NOW, 0, b"key:1", Some(1000), None).unwrap();
    let idle = |now| keys.usage(None, now, 0, b"key:1").unwrap().unwrap().idle_seconds;
    assert_eq!((idle(NOW), idle(NOW + 5000)), (1000, 1005));
    segment.note_use(false);
    get(&keys, 1);
    assert_eq!(idle(NOW), 1000);
    segment.note_use(true);
    keys.read(None, NOW, 0, b"key:1", None).unwrap();
    assert_eq!(idle(NOW), 1000, "to ask whether it is there is no use");
    get(&keys, 1);
    assert_eq!(idle(NOW), 0);
    assert!(keys.bytes(None, NOW, 0, b"key:1").unwrap().unwrap() < 100);
    set(&keys, 1, &value(1, 1000), 0).unwrap();
    assert!(keys.bytes(None, NOW, 0, b"key:1").unwrap().unwrap() > 1000);
}

#[test]
fn a_victim_that_somebody_is_at_is_passed_over() {
    let segment = segment(16, Policy::AllKeysRandom);
    let keys = Keys::new(&segment);
    (0..2000).for_each(|key| set(&keys, key, &value(key, 1000), 0).unwrap());
    let met = Rc::new(Cell::new(0));
    let seen = Rc::clone(&met);
    crash::hook::set(move |name| seen.set(seen.get() + u32::from(name == "victim-locked")));
    let rows: Vec<_> = (0..500).collect();
    let lock =
        |row: &u32| segment.keys_space().header(&segment, *row).map(|header| header.lock.store(77, Ordering::Relaxed));
    rows.iter().for_each(|row| lock(row).unwrap());
    assert_eq!(evict(&segment, NOW, 1000).unwrap(), 1000);
    crash::hook::set(|_| {});
    assert_eq!(met.get(), 1000);
    let still = (0..2000).filter(|&key| get(&keys, key).is_some()).count();
    assert_eq!(still, 1000);
}

#[test]
fn nothing_goes_inside_a_transaction() {
    let segment = segment(16, Policy::AllKeysLru);
    let keys = Keys::new(&segment);
    (0..1000).for_each(|key| set(&keys, key, &value(key, 1000), 0).unwrap());
    segment.set_memory_limit(segment.memory_use().used() - 100_000, Policy::AllKeysLru, 10, 1);
    let transaction = crate::shm::Transaction::begin(&segment, None).unwrap();
    assert_eq!(keys.make_room_below_limit(None, NOW), Ok(()));
    transaction.commit();
    assert_eq!(segment.memory_use().evicted, 0);
    assert_eq!(keys.make_room_below_limit(None, NOW), Ok(()));
    assert!(segment.memory_use().evicted > 0);
}

/// A recount that found the gate closed counted as done, and the sum stayed wrong until the next death.
#[test]
fn a_recount_that_was_not_made_is_made_later() {
    let segment = segment(16, Policy::NoEviction);
    segment.set_memory_limit(8 << 20, Policy::NoEviction, 10, 1);
    let wrong = segment.memory_use().keys + 5000;
    segment.slot(1).bytes.fetch_add(5000, Ordering::Relaxed);
    segment.header().recoveries.fetch_add(1, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let transaction = crate::shm::Transaction::begin(&segment, None).unwrap();
        scope.spawn(|| maintain(&segment, NOW)).join().unwrap();
        drop(transaction);
    });
    assert_eq!(segment.memory_use().keys, wrong);
    maintain(&segment, NOW);
    assert_eq!(segment.memory_use().keys, wrong - 5000);
}
