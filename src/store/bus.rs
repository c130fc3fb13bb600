//! Messages between the workers of one store: what a medium must be able to do to carry them.

use super::limits::MAX_WORKERS;

/// Words of a set of workers.
const WORDS: usize = MAX_WORKERS / 64;

/// A set of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Targets([u64; WORDS]);

impl Targets {
    /// Nobody.
    pub const NONE: Self = Self([0; WORDS]);

    /// Every worker.
    #[must_use]
    pub fn all(workers: usize) -> Self {
        let mut all = Self::NONE;
        (0..workers).for_each(|worker| all.insert(worker));
        all
    }

    /// One worker.
    #[must_use]
    pub fn one(worker: usize) -> Self {
        let mut one = Self::NONE;
        one.insert(worker);
        one
    }

    /// The set that these words stand for, a bit for each worker.
    #[must_use]
    pub fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// The words that stand for the set.
    #[must_use]
    pub fn words(&self) -> [u64; WORDS] {
        self.0
    }

    /// Adds a worker.
    pub fn insert(&mut self, worker: usize) {
        if let Some(word) = self.0.get_mut(worker / 64) {
            *word |= 1 << (worker % 64);
        }
    }

    /// Takes a worker away; whether it was there.
    pub fn remove(&mut self, worker: usize) -> bool {
        let was_there = self.contains(worker);
        if let Some(word) = self.0.get_mut(worker / 64) {
            *word &= !(1 << (worker % 64));
        }
        was_there
    }

    /// Whether a worker is in the set.
    #[must_use]
    pub fn contains(&self, worker: usize) -> bool {
        self.0.get(worker / 64).is_some_and(|word| word & (1 << (worker % 64)) != 0)
    }

    /// Whether nobody is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// Adds every worker of another set.
    pub fn extend(&mut self, others: Self) {
        self.0.iter_mut().zip(others.0).for_each(|(word, other)| *word |= other);
    }

    /// Every worker in the set, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let words = self.0.into_iter().enumerate();
        words.flat_map(|(at, word)| (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| 64 * at + bit))
    }
}

/// What a reader of a ring found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It has read everything.
    Nothing,
    /// A message for these workers.
    Message(Targets),
    /// It was so far behind that messages are lost; it goes on with the next ones.
    Lost,
}

/// The way of messages between workers. Each worker writes a ring of bounded size, and reads those of the others; nobody ever waits
/// for a reader.
pub trait Bus: Send + Sync {
    /// Workers, each with a ring.
    fn workers(&self) -> usize;
    /// Bytes of the longest message.
    fn longest(&self) -> usize;
    /// Publishes a message of at most [`Bus::longest`] bytes in the ring of `from`, which nobody else may write at the time.
    /// Returns a number that grows when readers must be told who have no message in the ring, so that they keep up.
    fn send(&self, from: usize, to: Targets, message: &[u8]) -> u64;
    /// Where a reader of a ring starts that wants only what comes from now on.
    fn end(&self, ring: usize) -> u64;
    /// Copies the message at the cursor of a ring, and moves the cursor behind it.
    fn receive(&self, ring: usize, cursor: &mut u64, message: &mut Vec<u8>) -> Received;
    /// Tells a worker that there is something to read, unless it knows; `wake` wakes it.
    fn tell(&self, worker: usize, wake: &mut dyn FnMut());
    /// Whether a worker was told since it last listened.
    fn is_told(&self, worker: usize) -> bool;
    /// Has a worker told of whatever it does not find when it reads the rings afterwards.
    fn listen(&self, worker: usize);
    /// A number that goes up whenever the patterns change that clients have subscribed to.
    fn patterns_version(&self) -> u64;
    /// Raises that number.
    fn patterns_changed(&self);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in() {
        let mut set = Targets::one(3);
        for worker in [0, 63, 64, 255] {
            set.insert(worker);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 63, 64, 255]);
        assert!(set.remove(64) && !set.remove(64) && !set.contains(64));
        assert_eq!(Targets::from_words(set.words()), set);
        assert_eq!(Targets::all(256).iter().count(), 256);
        set.extend(Targets::all(2));
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 3, 63, 255]);
    }

    #[test]
    fn nobody_is_in_the_empty_set_and_beyond_the_last() {
        assert!(Targets::NONE.is_empty() && !Targets::all(1).is_empty());
        let mut set = Targets::NONE;
        set.insert(MAX_WORKERS);
        assert!(set.is_empty() && !set.contains(MAX_WORKERS));
    }
}
