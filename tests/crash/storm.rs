//! A storm of SIGKILLs over processes at all kinds of operations.
//!
//! Eight places are each held by a process that works until it is killed, at a moment nobody chose; another takes the place at once,
//! looks what its predecessor left, and goes on. A ninth process only reads, and is never killed. What the store
//! must hold afterwards stands in the [books](book): of what belongs to one place exactly, of what all share as sums and bounds.
//!
//! **Hangs.** A process that does not get on is not killed, so that the storm cannot hide it, and after [`HANG`] the run fails and says where
//! the process is. Every second or so the storm pauses: every process touches everything that is shared and comes to rest, and the
//! store is audited while nothing moves: contents, every word of the segment, and the memory that is in use.
//!
//! All the while memory is short, and what may go for it is evicted.

mod book;
mod common;
mod own;

use std::{collections::BTreeMap, sync::atomic::Ordering, thread::sleep, time::Duration};

use nix::sys::{signal::Signal, wait::WaitStatus};
use store_master::{Segment, SegmentOptions, Store};

use crate::{clock, family, random::Random, shared::Shared};
use book::{Book, Word};
use common::Common;
use own::Own;

const PLACES: usize = 8;
/// The book of the one who only reads.
const READER: usize = PLACES;
/// Longest time without an operation that comes to its end.
const HANG: u64 = 5_000_000_000;
/// The same while somebody of the storm could run but has to wait for a processor: whoever waits for that one waits as long.
const STARVED: u64 = 60_000_000_000;
/// Whoever has not got on for so long is spared: it may hang.
const SPARED: u64 = 200_000_000;
/// Longest pause between two blows, in microseconds; they are random.
const LONGEST_PAUSE: u64 = 3_000;
/// Blows between two audits.
const AUDIT_EVERY: u64 = 500;
/// Sweeps that look at every key.
const SHARES: usize = 32;
/// One in so many blows stops the process first, for a moment.
const STOPS: u64 = 50;

/// A process at a place, as its parent sees it.
struct Life {
    pid: i32,
    done: u64,
    since: u64,
    /// When it goes on, if it is stopped.
    stopped_until: Option<u64>,
    struck: bool,
}

struct Storm {
    segment: Segment,
    store: Store,
    books: Shared,
    /// The number of the pause that all are asked to rest in, or 0; behind it, whether all is over.
    wishes: Shared,
    random: Random,
    lives: Vec<Life>,
    places: BTreeMap<i32, usize>,
    kills: u64,
    audits: u64,
    born: u64,
}

/// Kills so many processes; whether everything held.
pub(crate) fn run(kills: u64) -> bool {
    let started = clock::now();
    let mut storm = Storm::new();
    let outcome = storm.rage(kills).and_then(|()| storm.audit()).and_then(|()| storm.finish());
    storm.report((clock::now() - started) as f64 / 1e9);
    match outcome {
        Ok(()) => true,
        Err(why) => {
            eprintln!("storm: FAILED: {why}");
            storm.lives.iter().for_each(|life| family::signal(life.pid, Signal::SIGKILL));
            false
        }
    }
}

impl Storm {
    fn new() -> Self {
        let options = SegmentOptions::new().memory(64 << 20).workers(4).counters(64).max_keys(2048);
        let segment = Segment::create(options).expect("a small segment can be made");
        let store = Store::open(segment.clone()).expect("this process may write");
        let seed = std::env::var("IT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock::now);
        eprintln!("IT_SEED={seed}");
        let mut storm = Self {
            segment,
            store,
            books: Shared::new((PLACES + 1) * book::WORDS),
            wishes: Shared::new(2),
            random: Random::seeded(seed),
            lives: Vec::new(),
            places: BTreeMap::new(),
            kills: 0,
            audits: 0,
            born: 0,
        };
        common::found(&storm.store);
        eprintln!("evicting by {}", common::limit(&storm.store, &storm.random).name());
        (0..PLACES)
            .for_each(|place| Own::new(&storm.segment, &storm.store, Book::of(&storm.books, place), place).found());
        (0..=READER).for_each(|place| {
            let life = storm.bear(place);
            storm.lives.push(life);
        });
        storm
    }

    fn book(&self, place: usize) -> Book<'_> {
        Book::of(&self.books, place)
    }

    /// Fills a place with a new process.
    fn bear(&mut self, place: usize) -> Life {
        self.born += 1;
        let random = Random::seeded(self.random.next() ^ self.born);
        let pid = family::child(|| self.live(place, &random));
        self.places.insert(pid, place);
        Life { pid, done: self.book(place).get(Word::Done), since: clock::now(), stopped_until: None, struck: false }
    }

    /// What a child does until it is killed.
    fn live(&self, place: usize, random: &Random) {
        let book = self.book(place);
        let common = Common::new(&self.segment, &self.store, book, PLACES);
        let own = (place != READER).then(|| Own::new(&self.segment, &self.store, book, place));
        own.iter().for_each(Own::settle);
        while self.wishes[1].load(Ordering::SeqCst) == 0 {
            let pause = self.wishes[0].load(Ordering::SeqCst);
            if pause > book.get(Word::Rested) {
                common.touch_all();
                common.audit(random);
                own.iter().for_each(Own::settle);
                book[Word::Rested].store(pause, Ordering::SeqCst);
            } else if pause != 0 {
                sleep(Duration::from_micros(100));
            } else {
                timed(book, || match &own {
                    None => common.audit(random),
                    Some(_) if random.one_in(2) => common.step(random),
                    Some(own) => own.step(random),
                });
            }
        }
    }

    /// Kills until there were so many.
    fn rage(&mut self, kills: u64) -> Result<(), String> {
        let mut next_audit = AUDIT_EVERY;
        while self.kills < kills {
            sleep(Duration::from_micros(self.random.below(LONGEST_PAUSE)));
            self.strike();
            self.tend()?;
            if self.kills >= next_audit {
                self.audit()?;
                next_audit = self.kills + AUDIT_EVERY;
            }
        }
        Ok(())
    }

    /// Kills one process, several, or all; or stops one.
    fn strike(&mut self) {
        let first = self.random.below(PLACES as u64) as usize;
        if self.random.one_in(STOPS) && self.lives[first].stopped_until.is_none() {
            family::signal(self.lives[first].pid, Signal::SIGSTOP);
            self.lives[first].stopped_until = Some(clock::now() + self.random.below(10_000_000));
            return;
        }
        let victims = match self.random.below(200) {
            0 => PLACES,
            1..10 => 2,
            _ => 1,
        };
        let now = clock::now();
        for i in 0..victims {
            let life = &mut self.lives[(first + i) % PLACES];
            if !life.struck && now - life.since < SPARED {
                family::signal(life.pid, Signal::SIGKILL);
                life.struck = true;
            }
        }
    }

    /// Replaces the dead, lets the stopped go on, and looks whether everybody gets on.
    fn tend(&mut self) -> Result<(), String> {
        while let Some(status) = family::ended() {
            let WaitStatus::Signaled(pid, Signal::SIGKILL, _) = status else {
                return Err(format!("a process ended by itself: {status:?}"));
            };
            self.kills += 1;
            let place = self.places.remove(&pid.as_raw()).ok_or("a stranger died")?;
            self.lives[place] = self.bear(place);
        }
        let now = clock::now();
        for place in 0..=READER {
            let done = self.book(place).get(Word::Done);
            let life = &mut self.lives[place];
            if life.stopped_until.is_some_and(|until| now > until) {
                family::signal(life.pid, Signal::SIGCONT);
                life.stopped_until = None;
            }
            if done != life.done {
                (life.done, life.since) = (done, now);
                continue;
            }
            let idle = now - life.since;
            if idle > HANG && self.hangs(idle) {
                return Err(format!("place {place} does not get on: {}", self.everybody()));
            }
        }
        Ok(())
    }

    /// Whether it is a hang that somebody has not got on for so long, and not for want of a processor.
    fn hangs(&self, nanos: u64) -> bool {
        nanos > STARVED || !self.lives.iter().any(|life| family::can_run(life.pid))
    }

    fn everybody(&self) -> String {
        let all: Vec<String> = self.lives.iter().map(|life| family::whereabouts(life.pid)).collect();
        all.join("\n")
    }

    /// Brings all to rest, and compares the store with the books while nothing moves.
    fn audit(&mut self) -> Result<(), String> {
        self.audits += 1;
        self.wishes[0].store(self.audits, Ordering::SeqCst);
        let asked = clock::now();
        while (0..=READER).any(|place| self.book(place).get(Word::Rested) < self.audits) {
            if clock::now() - asked > HANG && self.hangs(clock::now() - asked) {
                return Err(format!("not everybody comes to rest: {}", self.everybody()));
            }
            sleep(Duration::from_micros(200));
            self.tend()?;
        }
        let common = Common::new(&self.segment, &self.store, self.book(READER), PLACES);
        common.audit(&self.random);
        let (begun, acknowledged) = (self.total(Word::Begun), self.total(Word::Acknowledged));
        let counted = common.counted();
        if !(acknowledged..=begun).contains(&counted) || begun - acknowledged > self.kills + PLACES as u64 {
            return Err(format!("{acknowledged} acknowledged, {counted} counted, {begun} begun"));
        }
        (0..PLACES).for_each(|place| Own::new(&self.segment, &self.store, self.book(place), place).settle());
        self.verify()?;
        self.weigh(&common)?;
        self.wishes[0].store(0, Ordering::SeqCst);
        // Nobody is to blame for the time that the audit took.
        let now = clock::now();
        self.lives.iter_mut().for_each(|life| life.since = now);
        Ok(())
    }

    /// Looks at every word of the segment.
    fn verify(&self) -> Result<(), String> {
        let checked = self.segment.verify(Some(Duration::from_nanos(HANG)), &mut |_, _| {});
        let checked = checked.map_err(|_| format!("the gate does not close: {}", self.everybody()))?;
        let findings: Vec<String> = checked.findings.iter().map(ToString::to_string).collect();
        if findings.is_empty() { Ok(()) } else { Err(format!("the segment is damaged:\n{}", findings.join("\n"))) }
    }

    /// A death may leave the sum of the bytes in use wrong; the next look after it makes it right.
    fn weigh(&self, common: &Common<'_>) -> Result<(), String> {
        let pid = family::child(|| {
            self.store.kv().delete(0, b"absent").expect("nobody stops");
            family::signal(std::process::id() as i32, Signal::SIGKILL);
        });
        family::wait(pid);
        self.segment.recover();
        sleep(Duration::from_millis(common::SHORT_LIFE_MS));
        for _ in 0..SHARES {
            self.store.sweep();
        }
        let (counted, exact) = (self.store.memory_use().keys, common.bytes_of_keys());
        if counted == exact { Ok(()) } else { Err(format!("{counted} bytes are counted as in use, {exact} are")) }
    }

    fn total(&self, word: Word) -> u64 {
        (0..=READER).map(|place| self.book(place).get(word)).sum()
    }

    /// Lets everybody end in peace.
    fn finish(&mut self) -> Result<(), String> {
        self.wishes[1].store(1, Ordering::SeqCst);
        for life in std::mem::take(&mut self.lives) {
            family::signal(life.pid, Signal::SIGCONT);
            let status = family::wait(life.pid);
            if !matches!(status, WaitStatus::Exited(_, 0) | WaitStatus::Signaled(_, Signal::SIGKILL, _)) {
                return Err(format!("a process ended by itself: {status:?}"));
            }
        }
        Ok(())
    }

    fn report(&self, seconds: f64) {
        let (old, new) = (self.total(Word::Old), self.total(Word::New));
        let longest = (0..=READER).map(|place| self.book(place).get(Word::Longest)).max().unwrap_or_default();
        println!(
            "storm: {} kills in {seconds:.1} s over {} operations of {PLACES} processes; {} sums of one instant, {} pauses; \
             {} killed inside an operation of their own: {old} old, {new} new, 0 otherwise; {} slots recovered; \
             longest operation {:.1} ms; {} keys evicted",
            self.kills,
            self.total(Word::Done),
            self.total(Word::Audits),
            self.audits,
            old + new,
            self.segment.recoveries(),
            longest as f64 / 1e6,
            self.store.memory_use().evicted,
        );
    }
}

/// Does something, and enters that it was done and whether it took long.
fn timed(book: Book<'_>, body: impl FnOnce()) {
    let start = clock::now();
    body();
    book[Word::Longest].fetch_max(clock::now() - start, Ordering::SeqCst);
    book.raise(Word::Done);
}
