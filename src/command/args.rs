//! The arguments of a request, as ranges of the bytes they arrived in.

use std::ops::Range;

/// A view of a request's arguments; the first is the command's name.
#[derive(Debug, Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Args<'a> {
    /// The arguments that lie at `ranges` of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8], ranges: &'a [Range<usize>]) -> Self {
        Self { bytes, ranges }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// True for a request that is to be skipped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Argument `index`; empty past the end, which a command's arity rules out.
    #[must_use]
    pub fn get(&self, index: usize) -> &'a [u8] {
        self.ranges.get(index).and_then(|range| self.bytes.get(range.clone())).unwrap_or_default()
    }

    /// Every argument, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let view = *self;
        (0..view.len()).map(move |index| view.get(index))
    }

    /// Every argument from `index` on.
    pub fn from(&self, index: usize) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        self.iter().skip(index)
    }

    /// The arguments from `index` on, as a request of their own.
    #[must_use]
    pub fn tail(&self, index: usize) -> Self {
        Self { bytes: self.bytes, ranges: self.ranges.get(index..).unwrap_or_default() }
    }

    /// Whether argument `index` is `word`, in any case.
    #[must_use]
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).eq_ignore_ascii_case(word.as_bytes())
    }
}
