//! The book of one place in the storm. A place is held by one process after another, all of which are killed; the book outlives them.
//!
//! What belongs to the place alone it models exactly. An operation is entered in three steps: the model after it is written beside the
//! one before it; `Mark` becomes odd; the operation is carried out and acknowledged, and `Mark` becomes even again, which
//! makes the other model the current one. Killed at any moment, the book says whether one operation was under way, and
//! what the store may hold: the one model, or in that case also the other.

use std::{
    ops::Index,
    sync::atomic::{AtomicU64, Ordering},
};

/// Words of one book.
pub(super) const WORDS: usize = 64;
/// Words of a model.
pub(super) const MODEL: usize = 11;

/// A model of what belongs to the place: see `own.rs`.
pub(super) type Model = [u64; MODEL];

/// The words of a book beside the two models.
#[derive(Clone, Copy)]
pub(super) enum Word {
    /// Twice the number of acknowledged operations, plus 1 during one.
    Mark,
    /// Operations of any kind that came to their end: whoever does not raise it hangs.
    Done,
    /// Longest operation, in nanoseconds.
    Longest,
    /// The checkpoint that the place has come to rest for.
    Rested,
    /// Increments of the counter of all that were begun, and that were acknowledged.
    Begun,
    Acknowledged,
    /// Reads of several rows that were of one instant, as all must be.
    Audits,
    /// Deaths in the middle of an operation that had not happened, and of one that had.
    Old,
    New,
}

/// A view of one book.
#[derive(Clone, Copy)]
pub(super) struct Book<'a>(&'a [AtomicU64]);

impl Index<Word> for Book<'_> {
    type Output = AtomicU64;

    fn index(&self, word: Word) -> &AtomicU64 {
        &self.0[word as usize]
    }
}

impl<'a> Book<'a> {
    /// Book `index` of many.
    pub(super) fn of(books: &'a [AtomicU64], index: usize) -> Self {
        Self(&books[index * WORDS..(index + 1) * WORDS])
    }

    pub(super) fn get(&self, word: Word) -> u64 {
        self[word].load(Ordering::SeqCst)
    }

    pub(super) fn raise(&self, word: Word) {
        self[word].fetch_add(1, Ordering::SeqCst);
    }

    /// The model after `generation` operations; only this one and its neighbours are kept.
    fn model(&self, generation: u64) -> &[AtomicU64] {
        let at = 16 + (generation % 2) as usize * 16;
        &self.0[at..at + MODEL]
    }

    fn load(&self, generation: u64) -> Model {
        std::array::from_fn(|i| self.model(generation)[i].load(Ordering::SeqCst))
    }

    /// The model as of the last acknowledgement.
    pub(super) fn current(&self) -> Model {
        self.load(self.get(Word::Mark) / 2)
    }

    /// The model after the operation under way, if there is one.
    pub(super) fn planned(&self) -> Option<Model> {
        let mark = self.get(Word::Mark);
        (mark % 2 == 1).then(|| self.load(mark / 2 + 1))
    }

    /// Sets the first model.
    pub(super) fn begin(&self, model: &Model) {
        self.write(0, model);
    }

    fn write(&self, generation: u64, model: &Model) {
        self.model(generation).iter().zip(model).for_each(|(word, &value)| word.store(value, Ordering::SeqCst));
    }

    /// Enters an operation that makes `next` of the current model.
    pub(super) fn plan(&self, next: &Model) {
        self.write(self.get(Word::Mark) / 2 + 1, next);
        self.raise(Word::Mark);
    }

    /// The operation was acknowledged, or is known to have happened.
    pub(super) fn acknowledge(&self) {
        self.raise(Word::Mark);
    }

    /// The operation is known not to have happened.
    pub(super) fn forget(&self) {
        self[Word::Mark].fetch_sub(1, Ordering::SeqCst);
    }
}
