//! A ring of messages that one writes and others read, for none of whom it waits; and the bell that says to look at it.
//!
//! A message is two words, each of them its number, so that a torn one shows. Where it starts says which number it must have, so that
//! one of another round shows as well. Positions count words, and a ring has room for one message or two.

use loom::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

use crate::{
    product::{AtomicU32, AtomicU64, Ordering, fence, ring as product},
    world::{FEW, explore, mutants},
};

/// Words of a message.
const MESSAGE: u64 = 2;
/// The bell of a reader that listens, and of one that was told.
const LISTENS: u32 = 0;
const TOLD: u32 = 1;
/// What one writes who dies before it publishes: no message's number.
const UNPUBLISHED: u64 = 99;

/// The steps of the product, each of which a mutant may replace.
trait Steps: Send + Sync + 'static {
    fn claim(&self, ring: &Ring, end: u64) {
        product::claim(&ring.claimed, end);
    }

    fn publish(&self, ring: &Ring, end: u64) {
        product::publish(&ring.head, end);
    }

    fn published(&self, ring: &Ring) -> u64 {
        product::published(&ring.head)
    }

    fn is_overtaken(&self, ring: &Ring, from: u64) -> bool {
        product::is_overtaken(&ring.claimed, from, ring.words.len() as u64)
    }

    /// As `Bus::send`, which finds the start in the head. Here it is told: after a load by one thread the tool does not see that the
    /// same thread's next store to the word races with what others have loaded.
    fn send(&self, ring: &Ring, start: u64) {
        self.claim(ring, start + MESSAGE);
        ring.store(start, [number_at(start); MESSAGE as usize]);
        self.publish(ring, start + MESSAGE);
    }

    /// As `Bus::take`.
    fn take(&self, ring: &Ring, cursor: &mut u64) -> Taken {
        let end = self.published(ring);
        if end == *cursor {
            return Taken::Nothing;
        }
        let words = ring.copy(*cursor);
        if self.is_overtaken(ring, *cursor) {
            *cursor = end;
            return Taken::Lost;
        }
        assert_eq!(words, [number_at(*cursor); MESSAGE as usize], "the message at {cursor}");
        *cursor += MESSAGE;
        Taken::Message
    }

    fn tell(&self, bell: &Bell) {
        product::tell(&bell.word, || bell.ring());
    }

    /// The first step of `ring::tell`, behind which one dies.
    fn begin_to_tell(&self, bell: &Bell) {
        bell.ring();
    }

    fn is_told(&self, bell: &Bell) -> bool {
        product::is_told(&bell.word)
    }

    fn listen(&self, bell: &Bell) {
        product::listen(&bell.word);
    }
}

#[derive(Clone, Copy)]
struct Product;
impl Steps for Product {}

/// What a reader found; a message has been looked at then.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    Nothing,
    Message,
    Lost,
}

fn number_at(position: u64) -> u64 {
    position / MESSAGE + 1
}

struct Ring {
    head: AtomicU64,
    claimed: AtomicU64,
    words: Vec<AtomicU64>,
}

impl Ring {
    fn of(messages: u64) -> Arc<Self> {
        let words = (0..messages * MESSAGE).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { head: AtomicU64::new(0), claimed: AtomicU64::new(0), words })
    }

    fn word(&self, position: u64) -> &AtomicU64 {
        &self.words[position as usize % self.words.len()]
    }

    fn store(&self, from: u64, words: impl IntoIterator<Item = u64>) {
        (from..).zip(words).for_each(|(at, word)| self.word(at).store(word, Ordering::Relaxed));
    }

    fn copy(&self, from: u64) -> [u64; MESSAGE as usize] {
        std::array::from_fn(|at| self.word(from + at as u64).load(Ordering::Relaxed))
    }

    fn read_twice(&self, steps: &impl Steps, cursor: &mut u64) {
        for _ in 0..2 {
            steps.take(self, cursor);
        }
    }

    /// A reader goes on until there is nothing more: then it stands behind the last message, and hears the next.
    fn read_to_the_end(&self, steps: &impl Steps, cursor: &mut u64) {
        while steps.take(self, cursor) != Taken::Nothing {}
        assert_eq!(*cursor, self.head.load(Ordering::Relaxed));
        steps.send(self, *cursor);
        assert_eq!(steps.take(self, cursor), Taken::Message);
    }
}

/// A reader is overtaken by a writer that goes round the ring.
fn overtaken(steps: impl Steps + Copy) {
    let ring = Ring::of(1);
    let written = Arc::clone(&ring);
    let writer = thread::spawn(move || [0, MESSAGE].into_iter().for_each(|start| steps.send(&written, start)));
    let mut cursor = 0;
    ring.read_twice(&steps, &mut cursor);
    writer.join().unwrap();
    ring.read_to_the_end(&steps, &mut cursor);
}

/// A reader that wants only what comes from now on starts somewhere in the middle; as `Bus::end`.
fn from_the_middle(steps: impl Steps + Copy) {
    let ring = Ring::of(2);
    let written = Arc::clone(&ring);
    let writer =
        thread::spawn(move || [0, MESSAGE, 2 * MESSAGE].into_iter().for_each(|start| steps.send(&written, start)));
    let mut cursor = steps.published(&ring);
    ring.read_twice(&steps, &mut cursor);
    writer.join().unwrap();
    ring.read_to_the_end(&steps, &mut cursor);
}

/// A writer claims room for a message of a whole ring, writes so many words of it and dies; its successor sends a short one.
fn dead_writer(steps: impl Steps + Copy, words: usize) {
    let ring = Ring::of(2);
    steps.send(&ring, 0);
    let written = Arc::clone(&ring);
    let writer = thread::spawn(move || {
        steps.claim(&written, MESSAGE + written.words.len() as u64);
        written.store(MESSAGE, std::iter::repeat_n(UNPUBLISHED, words));
        // The death of the process and the start of its successor come between.
        thread::spawn(move || steps.send(&written, MESSAGE)).join().unwrap();
    });
    let mut cursor = 0;
    ring.read_twice(&steps, &mut cursor);
    writer.join().unwrap();
    ring.read_to_the_end(&steps, &mut cursor);
}

/// A reader's bell, and what wakes it: each ring of it counts, as at an `eventfd` that is never read.
struct Bell {
    word: AtomicU32,
    rung: Mutex<bool>,
    condition: Condvar,
}

impl Bell {
    fn new(word: u32) -> Self {
        Self { word: AtomicU32::new(word), rung: Mutex::new(false), condition: Condvar::new() }
    }

    fn ring(&self) {
        let mut rung = self.rung.lock().expect("nobody panics");
        *rung = true;
        self.condition.notify_all();
    }

    /// Sleeps until it is rung. It never wakes by itself: a wake-up that is lost is a deadlock.
    fn wait(&self) {
        let mut rung = self.rung.lock().expect("nobody panics");
        while !*rung {
            rung = self.condition.wait(rung).expect("nobody panics");
        }
        *rung = false;
    }
}

/// Rings, and the reader of all, who sleeps when it finds nothing.
struct Post {
    heads: [AtomicU64; 2],
    bell: Bell,
}

impl Post {
    fn new(bell: u32) -> Arc<Self> {
        Arc::new(Self { heads: [AtomicU64::new(0), AtomicU64::new(0)], bell: Bell::new(bell) })
    }

    fn publish(&self, ring: usize) {
        product::publish(&self.heads[ring], MESSAGE);
    }

    /// As `post::run`, until it has heard of a message in each of so many rings.
    fn read(&self, steps: &impl Steps, rings: usize) {
        loop {
            steps.listen(&self.bell);
            if self.heads[..rings].iter().all(|head| product::published(head) == MESSAGE) {
                return;
            }
            self.bell.wait();
        }
    }
}

/// A writer publishes and tells; the reader, who was told of something before, is not left asleep.
///
/// There is one who tells to the end, once: the tool lets the store of one who listens come between the two halves of an exchange by
/// one who tells, as no machine does.
fn told(steps: impl Steps + Copy) {
    let post = Post::new(TOLD);
    let written = Arc::clone(&post);
    let writer = thread::spawn(move || {
        written.publish(0);
        steps.tell(&written.bell);
    });
    post.read(&steps, 1);
    writer.join().unwrap();
}

/// A writer publishes and tells; a reader who is busy looks only if it was told.
fn busy_reader(steps: impl Steps + Copy) {
    let post = Post::new(LISTENS);
    let read = Arc::clone(&post);
    let reader = thread::spawn(move || {
        if steps.is_told(&read.bell) {
            assert_eq!(product::published(&read.heads[0]), MESSAGE, "told of nothing");
        }
    });
    post.publish(0);
    steps.tell(&post.bell);
    reader.join().unwrap();
}

/// A writer dies in the middle of telling; its successor publishes and tells.
fn dead_teller(steps: impl Steps + Copy) {
    let post = Post::new(LISTENS);
    let written = Arc::clone(&post);
    let writer = thread::spawn(move || {
        written.publish(0);
        steps.begin_to_tell(&written.bell);
        let successor = thread::spawn(move || {
            written.publish(1);
            steps.tell(&written.bell);
        });
        successor.join().unwrap();
    });
    post.read(&steps, 2);
    writer.join().unwrap();
}

#[test]
fn a_reader_that_is_overtaken_believes_nothing_that_was_overwritten() {
    explore("ring, overtaken", None, || overtaken(Product));
}

#[test]
fn a_reader_may_start_in_the_middle() {
    explore("ring, from the middle", FEW, || from_the_middle(Product));
}

#[test]
fn the_successor_of_a_dead_writer_goes_on() {
    for words in 0..=4 {
        explore("ring, dead writer", FEW, move || dead_writer(Product, words));
    }
}

#[test]
fn a_reader_that_sleeps_is_woken() {
    explore("ring, told", None, || told(Product));
}

#[test]
fn who_is_told_finds_what_it_was_told_of() {
    explore("ring, busy reader", None, || busy_reader(Product));
}

#[test]
fn a_death_while_telling_leaves_nobody_asleep() {
    explore("ring, dead teller", FEW, || dead_teller(Product));
}

mutants! {
    mutant_claims_what_it_has_written_already(overtaken) {
        fn send(&self, ring: &Ring, start: u64) {
            ring.store(start, [number_at(start); MESSAGE as usize]);
            self.claim(ring, start + MESSAGE);
            self.publish(ring, start + MESSAGE);
        }
    }
    mutant_claims_without_a_fence(overtaken) {
        fn claim(&self, ring: &Ring, end: u64) {
            ring.claimed.store(end, Ordering::Release);
        }
    }
    mutant_publishes_before_it_has_written(overtaken) {
        fn send(&self, ring: &Ring, start: u64) {
            self.claim(ring, start + MESSAGE);
            self.publish(ring, start + MESSAGE);
            ring.store(start, [number_at(start); MESSAGE as usize]);
        }
    }
    mutant_publishes_without_release(overtaken) {
        fn publish(&self, ring: &Ring, end: u64) {
            ring.head.store(end, Ordering::Relaxed);
        }
    }
    mutant_starts_at_a_head_that_it_does_not_acquire(from_the_middle) {
        fn published(&self, ring: &Ring) -> u64 {
            ring.head.load(Ordering::Relaxed)
        }
    }
    mutant_looks_at_the_claim_without_a_fence(overtaken) {
        fn is_overtaken(&self, ring: &Ring, from: u64) -> bool {
            ring.claimed.load(Ordering::Acquire).saturating_sub(from) > ring.words.len() as u64
        }
    }
    mutant_goes_by_the_head_instead_of_the_claim(overtaken) {
        fn is_overtaken(&self, ring: &Ring, from: u64) -> bool {
            fence(Ordering::Acquire);
            ring.head.load(Ordering::Relaxed).saturating_sub(from) > ring.words.len() as u64
        }
    }
    /// What a dead writer had overwritten would count as whole again.
    mutant_claims_less_than_a_dead_writer_did(|steps| dead_writer(steps, 4)) {
        fn claim(&self, ring: &Ring, end: u64) {
            ring.claimed.store(end, Ordering::Relaxed);
            fence(Ordering::Release);
        }
    }
    mutant_tells_without_a_fence(told) {
        fn tell(&self, bell: &Bell) {
            let seen = bell.word.load(Ordering::Relaxed);
            if seen.is_multiple_of(2) {
                bell.ring();
                let _ = bell.word.compare_exchange(seen, seen + 1, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }
    mutant_listens_without_a_fence(told) {
        fn listen(&self, bell: &Bell) {
            let seen = bell.word.load(Ordering::Relaxed);
            bell.word.store((seen | 1).wrapping_add(1), Ordering::Relaxed);
        }
    }
    mutant_does_not_acquire_what_it_was_told(busy_reader) {
        fn is_told(&self, bell: &Bell) -> bool {
            bell.word.load(Ordering::Relaxed) % 2 == 1
        }
    }
    mutant_says_that_it_has_told_before_it_has(dead_teller) {
        fn begin_to_tell(&self, bell: &Bell) {
            bell.word.fetch_or(1, Ordering::Relaxed);
        }
    }
}
