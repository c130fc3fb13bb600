//! The places of index groups: rows that are published, taken out and looked up at the same time.
//!
//! Rows are numbers; the key of a row is a word of it, filled before the row is published. There are two groups; the second is where
//! keys go for whom the first is full.

use loom::{sync::Arc, thread};
use shm_layout::index::{PLACES, counts};

use crate::{
    product::{AtomicU32, AtomicU64, Group, Ordering, place as product},
    world::{FEW, explore, mutants},
};

/// The steps of the product, each of which a mutant may replace.
trait Steps: Send + Sync + 'static {
    fn take(&self, group: &Group, row: u32) -> Option<usize> {
        product::take(group, row)
    }

    fn set_tag(&self, group: &Group, place: usize, tag: u8) {
        product::set_tag(group, place, tag);
    }

    fn give_back(&self, group: &Group, place: usize) {
        product::give_back(group, place);
    }

    fn count_overflow(&self, group: &Group, up: bool) {
        product::count_overflow(group, up);
    }

    fn row_word(&self, group: &Group, place: usize) -> u32 {
        product::row_word(group, place)
    }

    /// As `Space::publish` and `take_place`.
    fn publish(&self, index: &Index, row: u32, again: bool) {
        let known = if again { index.position(row) } else { None };
        let (group, place) = known.unwrap_or_else(|| self.take_place(index, row));
        self.set_tag(&index.groups[group], place, tag(row));
        index.groups[0].counts.fetch_add(counts::INSERTION, Ordering::AcqRel);
    }

    fn take_place(&self, index: &Index, row: u32) -> (usize, usize) {
        for (number, group) in index.groups.iter().enumerate() {
            if let Some(place) = self.take(group, row) {
                return (number, place);
            }
            self.count_overflow(group, true);
        }
        panic!("there is a place");
    }

    /// As `Space::unpublish`.
    fn unpublish(&self, index: &Index, row: u32, again: bool) {
        let Some((group, place)) = index.position(row) else { return };
        self.give_back(&index.groups[group], place);
        if group > 0 && !again {
            self.count_overflow(&index.groups[0], false);
        }
    }

    /// As `recovery` does with a committed insertion.
    fn redo(&self, index: &Index, row: u32) {
        self.publish(index, row, true);
    }
}

#[derive(Clone, Copy)]
struct Product;
impl Steps for Product {}

struct Index {
    groups: [Group; 2],
    /// The key of each row.
    keys: [AtomicU64; 3],
}

fn tag(row: u32) -> u8 {
    0x81 + row as u8
}

fn key(row: u32) -> u64 {
    100 + u64::from(row)
}

fn group(full: bool) -> Group {
    // Rows of nobody's here, without a tag.
    let row = |_| AtomicU32::new(if full { 1000 } else { 0 });
    Group {
        tags: [AtomicU64::new(0), AtomicU64::new(0)],
        rows: std::array::from_fn::<_, PLACES, _>(row),
        counts: AtomicU32::new(0),
    }
}

impl Index {
    /// An index whose first group has no place left, or all.
    fn new(full: bool) -> Arc<Self> {
        let keys = [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
        Arc::new(Self { groups: [group(full), group(false)], keys })
    }

    /// As `find_place`.
    fn position(&self, row: u32) -> Option<(usize, usize)> {
        for (number, group) in self.groups.iter().enumerate() {
            if let Some(place) = product::position(group, row) {
                return Some((number, place));
            }
            if product::is_last(group) {
                return None;
            }
        }
        None
    }

    /// As `rows::fill` and what publishes it; the sequence, which would also say so, is another model's.
    fn insert(&self, steps: &impl Steps, row: u32) {
        self.keys[row as usize].store(key(row), Ordering::Relaxed);
        steps.publish(self, row, false);
    }

    /// As `index::search`: the rows of this tag.
    fn search(&self, steps: &impl Steps, wanted: u8) -> Vec<u32> {
        let mut found = Vec::new();
        for group in &self.groups {
            let (low, high) = product::tags(group);
            let tags = low.to_le_bytes().into_iter().chain(high.to_le_bytes());
            let hits =
                tags.enumerate().filter(|&(_, tag)| tag == wanted).map(|(place, _)| steps.row_word(group, place));
            found.extend(hits.filter(|&word| word != 0).map(|word| word - 1));
            if product::is_last(group) {
                break;
            }
        }
        found
    }

    /// How many places name a row, whatever their tags.
    fn places_of(&self, row: u32) -> usize {
        let words = self.groups.iter().flat_map(|group| &group.rows);
        words.filter(|word| word.load(Ordering::Acquire) == row + 1).count()
    }
}

/// Two insert. (Keys of one home are kept apart by its lock; these have different homes and meet in a group.)
fn two_inserters(steps: impl Steps + Copy) {
    let index = Index::new(false);
    let other = Arc::clone(&index);
    let thread = thread::spawn(move || other.insert(&steps, 0));
    index.insert(&steps, 1);
    thread.join().unwrap();
    for row in [0, 1] {
        assert_eq!(index.search(&steps, tag(row)), [row]);
    }
}

/// One inserts, one looks the key up: a row that is found is filled.
fn inserter_and_reader(steps: impl Steps + Copy) {
    let index = Index::new(false);
    let other = Arc::clone(&index);
    let thread = thread::spawn(move || other.insert(&steps, 0));
    for row in index.search(&steps, tag(0)) {
        assert_eq!(index.keys[row as usize].load(Ordering::Relaxed), key(row), "a row that is not filled");
    }
    thread.join().unwrap();
    assert_eq!(index.search(&steps, tag(0)), [0]);
}

/// A row is taken out while another is put in, perhaps in the place that is given back.
fn deleter_and_inserter(steps: impl Steps + Copy) {
    let index = Index::new(false);
    // But for the place of row 0, the group is full: both fight for it.
    index.groups[0].rows[2..].iter().for_each(|word| word.store(1000, Ordering::Relaxed));
    index.insert(&steps, 0);
    index.groups[0].rows[1].store(1000, Ordering::Relaxed);
    let other = Arc::clone(&index);
    let thread = thread::spawn(move || other.insert(&steps, 1));
    steps.unpublish(&index, 0, false);
    thread.join().unwrap();
    assert_eq!(index.search(&steps, tag(1)), [1], "a row was lost");
    assert!(index.search(&steps, tag(0)).is_empty() && index.places_of(0) == 0);
}

/// The first group is full. One key leaves the second while another comes there: the count must still lead to it.
fn overflow(steps: impl Steps + Copy) {
    let index = Index::new(true);
    index.insert(&steps, 0);
    let other = Arc::clone(&index);
    let thread = thread::spawn(move || other.insert(&steps, 1));
    steps.unpublish(&index, 0, false);
    thread.join().unwrap();
    assert_eq!(index.search(&steps, tag(1)), [1], "the search ended too early");
}

/// Somebody published a row and told another, who must find it, in whatever group it stands.
fn told(steps: impl Steps + Copy) {
    let index = Index::new(true);
    let done = Arc::new(AtomicU32::new(0));
    let (other, tell) = (Arc::clone(&index), Arc::clone(&done));
    let thread = thread::spawn(move || {
        other.insert(&steps, 0);
        tell.store(1, Ordering::Release);
    });
    let told = done.load(Ordering::Acquire) == 1;
    let found = index.search(&steps, tag(0));
    assert!(!told || found == [0], "what was acknowledged is not found");
    // A row that can be found by its tag is found by its number too, as recovery looks for it.
    assert!(found.is_empty() || index.position(0).is_some(), "the count does not lead to a published row");
    thread.join().unwrap();
}

/// An inserter dies with a place taken, or before; another carries the insertion out while a third inserts.
fn die_after(steps: impl Steps + Copy, taken: bool) {
    let index = Index::new(false);
    index.keys[0].store(key(0), Ordering::Relaxed);
    if taken {
        steps.take_place(&index, 0);
    }
    let other = Arc::clone(&index);
    let thread = thread::spawn(move || other.insert(&steps, 1));
    steps.redo(&index, 0);
    // Its recoverer died as well, and here is the next one.
    steps.redo(&index, 0);
    thread.join().unwrap();
    for row in [0, 1] {
        assert_eq!((index.search(&steps, tag(row)), index.places_of(row)), (vec![row], 1));
    }
}

/// One dies while it takes a row out; the place is somebody else's by the time of the second recovery.
fn deletion_again(steps: impl Steps + Copy) {
    let index = Index::new(true);
    index.insert(&steps, 0);
    let other = Arc::clone(&index);
    let thread = thread::spawn(move || other.insert(&steps, 1));
    steps.unpublish(&index, 0, true);
    steps.unpublish(&index, 0, true);
    thread.join().unwrap();
    assert_eq!(index.search(&steps, tag(1)), [1], "the search ended too early");
}

#[test]
fn two_rows_have_two_places() {
    explore("publish, two inserters", None, || two_inserters(Product));
}

#[test]
fn a_row_that_is_found_is_filled() {
    explore("publish, inserter and reader", None, || inserter_and_reader(Product));
}

#[test]
fn a_place_is_given_back_before_it_is_taken() {
    explore("publish, deleter and inserter", FEW, || deleter_and_inserter(Product));
}

#[test]
fn overflow_counts_are_never_too_low() {
    explore("publish, overflow", FEW, || overflow(Product));
    explore("publish, told", FEW, || told(Product));
}

#[test]
fn the_insertion_of_the_dead_is_carried_out_once() {
    for taken in [false, true] {
        explore(&format!("publish, dead, place taken: {taken}"), FEW, move || die_after(Product, taken));
    }
}

#[test]
fn the_deletion_of_the_dead_does_no_harm_twice() {
    explore("publish, deletion again", FEW, || deletion_again(Product));
}

mutants! {
    mutant_takes_a_place_in_two_steps(two_inserters) {
        fn take(&self, group: &Group, row: u32) -> Option<usize> {
            let place = group.rows.iter().position(|word| word.load(Ordering::Acquire) == 0)?;
            group.rows[place].store(row + 1, Ordering::Release);
            Some(place)
        }
    }
    mutant_sets_a_tag_in_two_steps(two_inserters) {
        fn set_tag(&self, group: &Group, place: usize, tag: u8) {
            let (word, shift) = (&group.tags[place / 8], place % 8 * 8);
            let tags = word.load(Ordering::Acquire);
            word.store((tags & !(0xff << shift)) | (u64::from(tag) << shift), Ordering::Release);
        }
    }
    mutant_publishes_without_release(inserter_and_reader) {
        fn take(&self, group: &Group, row: u32) -> Option<usize> {
            group.rows.iter().position(|word| word.compare_exchange(0, row + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok())
        }
        fn set_tag(&self, group: &Group, place: usize, tag: u8) {
            let shift = place % 8 * 8;
            group.tags[place / 8].fetch_or(u64::from(tag) << shift, Ordering::Relaxed);
        }
    }
    /// Whoever takes the place in between loses its tag.
    mutant_frees_the_place_before_the_tag_is_away(deleter_and_inserter) {
        fn give_back(&self, group: &Group, place: usize) {
            group.rows[place].store(0, Ordering::Release);
            product::set_tag(group, place, 0);
        }
    }
    mutant_counts_in_two_steps(overflow) {
        fn count_overflow(&self, group: &Group, up: bool) {
            let word = group.counts.load(Ordering::Acquire);
            group.counts.store(if up { word + 1 } else { word - 1 }, Ordering::Release);
        }
    }
    mutant_counts_after_it_has_published(told) {
        fn publish(&self, index: &Index, row: u32, _: bool) {
            let [first, second] = &index.groups;
            match self.take(first, row) {
                Some(place) => self.set_tag(first, place, tag(row)),
                None => {
                    let place = self.take(second, row).expect("there is a place");
                    self.set_tag(second, place, tag(row));
                    first.counts.fetch_add(counts::INSERTION, Ordering::AcqRel);
                }
            }
        }
    }
    mutant_carries_an_insertion_out_as_if_it_were_new(|steps| die_after(steps, true)) {
        fn redo(&self, index: &Index, row: u32) {
            self.publish(index, row, false);
        }
    }
    /// The count was lowered already, by the one who died or by an earlier recoverer.
    mutant_lowers_the_count_in_every_recovery(deletion_again) {
        fn unpublish(&self, index: &Index, row: u32, _: bool) {
            if let Some((group, place)) = index.position(row) {
                self.give_back(&index.groups[group], place);
            }
            self.count_overflow(&index.groups[0], false);
        }
    }
}
