//! A row of two words, one who changes it under its lock, and a reader who takes none.
//!
//! What a reader believes must be of one instant: both words of the same change, and of the key that it looked for.

use loom::{sync::Arc, thread};

use crate::{
    product::{AtomicU32, AtomicU64, Ordering, fence, sequence as product},
    world::{explore, mutants},
};

/// The steps of the product, each of which a mutant may replace.
trait Steps: Send + Sync + 'static {
    fn before_copy(&self, row: &Row) -> u64 {
        product::before_copy(&row.sequence)
    }

    fn copied(&self) {
        product::copied();
    }

    fn begin(&self, row: &Row, begin: u64) {
        product::begin(&row.sequence, begin);
        product::doubted();
    }

    fn end(&self, row: &Row, begin: u64) {
        product::end(&row.sequence, begin);
    }

    /// As `rows::fill`.
    fn fill(&self, row: &Row, words: [u64; 2]) {
        product::doubted();
        row.store(words);
    }

    /// As `journal::apply_rows` of one update, of which a death leaves the first `steps` done.
    fn apply(&self, row: &Row, begin: u64, words: [u64; 2], steps: usize) {
        if steps > 0 {
            self.begin(row, begin);
        }
        for (word, value) in row.words.iter().zip(words).take(steps.saturating_sub(1)) {
            word.store(value, Ordering::Relaxed);
        }
        if steps > 3 {
            self.end(row, begin);
        }
    }

    /// As `journal::redo`, which does all of it again.
    fn redo(&self, row: &Row, begin: u64, words: [u64; 2]) {
        self.apply(row, begin, words, ALL);
    }

    /// As `recovery::settle_row`: of a row whose single word may have been stored.
    fn settle(&self, row: &Row) {
        let seen = row.sequence.load(Ordering::Acquire);
        product::raise(&row.sequence, seen);
    }

    /// As `rows::rests_at`.
    fn rests_at(&self, row: &Row, seen: u64) -> bool {
        row.lock.load(Ordering::Acquire) == 0 && product::after_copy(&row.sequence) == seen
    }
}

#[derive(Clone, Copy)]
struct Product;
impl Steps for Product {}

/// All steps of a change: begin, two words, end.
const ALL: usize = 4;

struct Row {
    lock: AtomicU32,
    sequence: AtomicU64,
    words: [AtomicU64; 2],
}

impl Row {
    fn new() -> Arc<Self> {
        let word = || AtomicU64::new(0);
        Arc::new(Self { lock: AtomicU32::new(0), sequence: AtomicU64::new(2), words: [word(), word()] })
    }

    fn store(&self, words: [u64; 2]) {
        self.words.iter().zip(words).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }

    fn copy(&self) -> [u64; 2] {
        self.words.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// As `Tables::read`, once; `None` if the row did not hold still.
    fn read(&self, steps: &impl Steps) -> Option<[u64; 2]> {
        let seen = steps.before_copy(self);
        if seen % 2 == 1 {
            return None;
        }
        let words = self.copy();
        steps.copied();
        (product::after_copy(&self.sequence) == seen).then_some(words)
    }
}

/// Two changes of both words, and a reader.
fn update(steps: impl Steps + Copy) {
    let row = Row::new();
    let written = Arc::clone(&row);
    let writer = thread::spawn(move || {
        steps.apply(&written, 3, [1, 1], ALL);
        steps.apply(&written, 5, [2, 2], ALL);
    });
    if let Some([a, b]) = row.read(&steps) {
        assert_eq!(a, b, "a torn row");
    }
    writer.join().unwrap();
    assert_eq!(row.read(&steps), Some([2, 2]));
}

/// A writer dies after so many steps of a committed change, and another carries it out.
fn die_after(steps: impl Steps + Copy, done: usize) {
    let row = Row::new();
    let written = Arc::clone(&row);
    let writer = thread::spawn(move || {
        steps.apply(&written, 3, [1, 1], done);
        // The claim of the dead slot comes between, as in the model of the lock.
        thread::spawn(move || steps.redo(&written, 3, [1, 1])).join().unwrap();
    });
    if let Some([a, b]) = row.read(&steps) {
        assert_eq!(a, b, "a torn row");
    }
    writer.join().unwrap();
    assert_eq!(row.read(&steps), Some([1, 1]));
}

/// A row is deleted; another thread takes it and fills it for another key. The first word stands for the key.
fn next_tenant(steps: impl Steps + Copy) {
    let row = Row::new();
    let shared = Arc::clone(&row);
    let writer = thread::spawn(move || {
        steps.begin(&shared, 3);
        shared.lock.store(0, Ordering::Release);
        let next = Arc::clone(&shared);
        let filler = thread::spawn(move || {
            // Acquire, as the lock is taken: the sequence is odd, so the row is free.
            if next.lock.load(Ordering::Acquire) == 0 && next.sequence.load(Ordering::Acquire) == 3 {
                steps.fill(&next, [7, 7]);
                steps.apply(&next, 3, [7, 7], ALL);
            }
        });
        filler.join().unwrap();
    });
    if let Some([a, b]) = row.read(&steps) {
        assert_eq!(a, b, "words of two keys");
    }
    writer.join().unwrap();
}

/// Two rows, as of one instant. Somebody stores the single word of the first; somebody else sees it and answers in the second.
fn two_rows(steps: impl Steps + Copy) {
    let rows = [Row::new(), Row::new()];
    let [first, second] = rows.clone();
    let writer = thread::spawn(move || {
        first.lock.store(1, Ordering::Release);
        product::store_word(&first.words[0], 1);
        let answered = Arc::clone(&first);
        let answer = thread::spawn(move || {
            if answered.words[0].load(Ordering::Acquire) == 1 {
                second.lock.store(2, Ordering::Release);
                product::store_word(&second.words[0], 1);
                product::raise(&second.sequence, 2);
                second.lock.store(0, Ordering::Release);
            }
        });
        product::raise(&first.sequence, 2);
        first.lock.store(0, Ordering::Release);
        answer.join().unwrap();
    });
    let seen = rows.each_ref().map(|row| {
        let seen = steps.before_copy(row);
        (seen, row.words[0].load(Ordering::Relaxed))
    });
    steps.copied();
    if rows.iter().zip(seen).all(|(row, (sequence, _))| steps.rests_at(row, sequence)) {
        assert_ne!([seen[0].1, seen[1].1], [0, 1], "an answer without its question");
    }
    writer.join().unwrap();
}

/// One dies between the store of a single word and the raise of the sequence. Who looks twice must not take two states for one.
fn word_of_the_dead(steps: impl Steps + Copy) {
    let row = Row::new();
    row.lock.store(1, Ordering::Release);
    let dying = Arc::clone(&row);
    let writer = thread::spawn(move || {
        product::store_word(&dying.words[0], 1);
        thread::spawn(move || {
            steps.settle(&dying);
            dying.lock.store(0, Ordering::Release);
        })
        .join()
        .unwrap();
    });
    let seen = steps.before_copy(&row);
    let once = row.words[0].load(Ordering::Relaxed);
    let twice = row.words[0].load(Ordering::Relaxed);
    steps.copied();
    if steps.rests_at(&row, seen) {
        assert_eq!(once, twice, "two states for one");
    }
    writer.join().unwrap();
}

#[test]
fn a_row_is_never_torn() {
    explore("sequence, update", None, || update(Product));
}

#[test]
fn a_row_is_never_torn_by_a_death() {
    for done in 0..=ALL {
        explore(&format!("sequence, dead after step {done}"), None, move || die_after(Product, done));
    }
}

#[test]
fn a_row_is_of_one_key() {
    explore("sequence, next tenant", None, || next_tenant(Product));
}

#[test]
fn two_rows_are_of_one_instant() {
    explore("sequence, two rows", None, || two_rows(Product));
}

#[test]
fn the_word_of_a_dead_one_shows_in_the_sequence() {
    explore("sequence, word of the dead", None, || word_of_the_dead(Product));
}

mutants! {
    mutant_changes_words_before_readers_doubt(update) {
        fn begin(&self, row: &Row, begin: u64) {
            product::begin(&row.sequence, begin);
        }
    }
    /// A release store orders what comes before it, not what comes after.
    mutant_begins_with_a_release_store(update) {
        fn begin(&self, row: &Row, begin: u64) {
            row.sequence.store(begin, Ordering::Release);
        }
    }
    mutant_never_begins(update) {
        fn begin(&self, _: &Row, _: u64) {}
    }
    mutant_ends_without_release(update) {
        fn end(&self, row: &Row, begin: u64) {
            row.sequence.store(begin + 1, Ordering::Relaxed);
        }
    }
    mutant_copies_before_it_looks(update) {
        fn before_copy(&self, row: &Row) -> u64 {
            row.sequence.load(Ordering::Relaxed)
        }
    }
    mutant_looks_again_before_it_has_copied(update) {
        fn copied(&self) {}
    }
    mutant_looks_again_with_an_acquire_load_only(update) {
        fn copied(&self) {
            fence(Ordering::Release);
        }
    }
    /// If the dead one had ended, readers believe what they copy.
    mutant_carries_out_again_without_a_beginning(|steps| die_after(steps, 0)) {
        fn redo(&self, row: &Row, begin: u64, words: [u64; 2]) {
            row.store(words);
            self.end(row, begin);
        }
    }
    mutant_fills_before_the_last_tenants_end_is_seen(next_tenant) {
        fn fill(&self, row: &Row, words: [u64; 2]) {
            row.store(words);
        }
    }
    /// This was a defect of the store.
    mutant_looks_at_the_sequence_and_not_at_the_lock(two_rows) {
        fn rests_at(&self, row: &Row, seen: u64) -> bool {
            product::after_copy(&row.sequence) == seen
        }
    }
    mutant_frees_the_row_of_the_dead_as_it_was(word_of_the_dead) {
        fn settle(&self, _: &Row) {}
    }
}
