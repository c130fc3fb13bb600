//! The tally of a worker: how often each command was called, how long it took, which errors were answered, and the latest moments of slowness.
//!
//! It lies with the data, one for each worker index, and is written by that worker alone; everybody may read it, or set it
//! back. All changes are atomic additions, so that one who sets it back is not undone. Commands and errors are found by
//! name, since a segment may outlive the build of the program that has numbered them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a tally.
pub const WORDS: usize = EVENTS_AT + EVENTS * EVENT_WORDS;
/// Commands that a tally can hold; the rest are not counted.
pub const COMMANDS: usize = 256;
/// Prefixes of errors that a tally can hold; the rest are not counted.
pub const ERRORS: usize = 64;
/// Bytes of a prefix that are told apart.
pub const PREFIX_BYTES: usize = 32;
/// Buckets of durations: the first is up to 1,024 ns, each of the others up to twice that of the one before.
pub const BUCKETS: usize = 24;
/// Kinds of events that are kept.
pub const EVENTS: usize = 2;
/// Moments of each kind that are kept.
pub const SAMPLES: usize = 160;

const COMMAND_WORDS: usize = 32;
const ERROR_WORDS: usize = 8;
const EVENT_WORDS: usize = 2 + 2 * SAMPLES;
const ERRORS_AT: usize = COMMANDS * COMMAND_WORDS;
const EVENTS_AT: usize = ERRORS_AT + ERRORS * ERROR_WORDS;

/// What is known of one command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// How often it was carried out.
    pub calls: u64,
    /// Nanoseconds that it took in all.
    pub nanos: u64,
    /// How often it was refused before it began.
    pub rejected: u64,
    /// How often it was carried out and answered an error.
    pub failed: u64,
    /// How often it took how long, see [`bucket`].
    pub buckets: [u64; BUCKETS],
}

impl Calls {
    fn fields(&self) -> [u64; 4] {
        [self.calls, self.nanos, self.rejected, self.failed]
    }

    /// Adds what another worker counted.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.nanos += other.nanos;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.buckets.iter_mut().zip(other.buckets).for_each(|(sum, more)| *sum += more);
    }
}

/// The bucket of a duration.
#[must_use]
pub fn bucket(nanos: u64) -> usize {
    let units = nanos.div_ceil(1024).max(1);
    (units.next_power_of_two().trailing_zeros() as usize).min(BUCKETS - 1)
}

/// A moment of slowness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// When it was, in seconds of the Unix clock.
    pub at_secs: u64,
    /// How long it lasted.
    pub ms: u64,
}

/// The tally of one worker.
#[derive(Clone, Copy)]
pub struct Tally<'a>(&'a [AtomicU64]);

impl<'a> Tally<'a> {
    /// The tally in these words, at least [`WORDS`] of them; zeros are an empty one.
    #[must_use]
    pub fn new(words: &'a [AtomicU64]) -> Self {
        assert!(words.len() >= WORDS);
        Self(words)
    }

    fn command(self, row: usize) -> &'a [AtomicU64] {
        &self.0[row * COMMAND_WORDS..][..COMMAND_WORDS]
    }

    fn error(self, row: usize) -> &'a [AtomicU64] {
        &self.0[ERRORS_AT + row * ERROR_WORDS..][..ERROR_WORDS]
    }

    fn event(self, kind: usize) -> &'a [AtomicU64] {
        &self.0[EVENTS_AT + kind * EVENT_WORDS..][..EVENT_WORDS]
    }

    /// The row of a command, made if there is room; for the worker whose tally it is.
    #[must_use]
    pub fn row(self, name: &str) -> Option<usize> {
        let id = id_of(name.as_bytes());
        let row = (0..COMMANDS).find(|&row| [0, id].contains(&load(&self.command(row)[0])))?;
        self.command(row)[0].store(id, Ordering::Relaxed);
        Some(row)
    }

    /// Adds to the row of a command.
    pub fn add(self, row: usize, calls: &Calls) {
        let words = &self.command(row)[1..];
        let added = calls.fields().into_iter().chain(calls.buckets);
        for (word, by) in words.iter().zip(added).filter(|(_, by)| *by > 0) {
            word.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// What is known of a command.
    #[must_use]
    pub fn calls(self, name: &str) -> Option<Calls> {
        let id = id_of(name.as_bytes());
        let row = (0..COMMANDS).map(|row| self.command(row)).find(|row| load(&row[0]) == id)?;
        let [calls, nanos, rejected, failed] = [1, 2, 3, 4].map(|at| load(&row[at]));
        Some(Calls { calls, nanos, rejected, failed, buckets: std::array::from_fn(|at| load(&row[5 + at])) })
    }

    /// Counts an error.
    pub fn count_error(self, prefix: &[u8]) {
        let words = words_of(prefix);
        let is_it = |row: &&[AtomicU64]| (0..4).all(|at| load(&row[at]) == words[at]) || load(&row[0]) == 0;
        let Some(row) = (0..ERRORS).map(|row| self.error(row)).find(is_it) else { return };
        (0..4).for_each(|at| row[at].store(words[at], Ordering::Relaxed));
        row[4].fetch_add(1, Ordering::Relaxed);
    }

    /// Prefixes of errors, and how often each was answered.
    pub fn errors(self) -> impl Iterator<Item = (Vec<u8>, u64)> + 'a {
        let rows = (0..ERRORS).map(move |row| self.error(row)).take_while(|row| load(&row[0]) != 0);
        rows.map(|row| (bytes_of([0, 1, 2, 3].map(|at| load(&row[at]))), load(&row[4])))
    }

    /// Keeps a moment of slowness, in place of the oldest. Of several within a second the longest is kept.
    pub fn note(self, kind: usize, sample: Sample) {
        let words = self.event(kind);
        words[0].fetch_max(sample.ms, Ordering::Relaxed);
        let count = load(&words[1]);
        let place = |number: u64| 2 + 2 * (number as usize % SAMPLES);
        if count > 0 {
            let last = place(count - 1);
            if load(&words[last]) == sample.at_secs {
                words[last + 1].fetch_max(sample.ms, Ordering::Relaxed);
                return;
            }
        }
        words[place(count)].store(sample.at_secs, Ordering::Relaxed);
        words[place(count) + 1].store(sample.ms, Ordering::Relaxed);
        words[1].fetch_add(1, Ordering::Relaxed);
    }

    /// The moments that are kept, and the longest ever.
    #[must_use]
    pub fn samples(self, kind: usize) -> (Vec<Sample>, u64) {
        let words = self.event(kind);
        let count = (load(&words[1]) as usize).min(SAMPLES);
        let sample = |at: usize| Sample { at_secs: load(&words[2 + 2 * at]), ms: load(&words[3 + 2 * at]) };
        ((0..count).map(sample).collect(), load(&words[0]))
    }

    /// Forgets the moments of slowness of one kind.
    pub fn forget(self, kind: usize) {
        self.event(kind).iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Sets back what was counted of commands and errors. The names stay: their worker knows their rows.
    pub fn reset(self) {
        (0..COMMANDS).for_each(|row| self.command(row)[1..].iter().for_each(|word| word.store(0, Ordering::Relaxed)));
        (0..ERRORS).for_each(|row| self.error(row)[4].store(0, Ordering::Relaxed));
    }
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// A number for a name; never 0.
fn id_of(name: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    name.iter().fold(0xcbf2_9ce4_8422_2325, fold).max(1)
}

/// The first bytes of a prefix as words.
fn words_of(prefix: &[u8]) -> [u64; 4] {
    let mut bytes = [0; PREFIX_BYTES];
    let len = prefix.len().min(PREFIX_BYTES);
    bytes[..len].copy_from_slice(&prefix[..len]);
    let mut words = bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
    std::array::from_fn(|_| words.next().unwrap_or_default())
}

fn bytes_of(words: [u64; 4]) -> Vec<u8> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    bytes[..len].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn commands_are_counted_by_name() {
        let words = words();
        let tally = Tally::new(&words);
        let (get, set) = (tally.row("get").unwrap(), tally.row("set").unwrap());
        assert!(get != set && tally.row("get") == Some(get));
        let mut calls = Calls { calls: 2, nanos: 3000, failed: 1, ..Calls::default() };
        calls.buckets[bucket(1500)] = 2;
        tally.add(get, &calls);
        tally.add(get, &calls);
        let counted = tally.calls("get").unwrap();
        assert_eq!((counted.calls, counted.nanos, counted.rejected, counted.failed), (4, 6000, 0, 2));
        assert_eq!(counted.buckets[1], 4);
        assert_eq!(tally.calls("set").unwrap(), Calls::default());
        assert!(tally.calls("none").is_none());
        tally.reset();
        assert_eq!(tally.calls("get").unwrap(), Calls::default());
        assert_eq!(tally.row("get"), Some(get));
    }

    #[test]
    fn a_full_tally_takes_no_more_names() {
        let words = words();
        let tally = Tally::new(&words);
        (0..COMMANDS).for_each(|n| assert!(tally.row(&format!("c{n}")).is_some()));
        assert!(tally.row("one more").is_none());
        (0..2 * ERRORS).for_each(|n| tally.count_error(format!("E{n}").as_bytes()));
        assert_eq!(tally.errors().count(), ERRORS);
    }

    #[test]
    fn errors_are_counted_by_prefix() {
        let words = words();
        let tally = Tally::new(&words);
        [&b"ERR"[..], b"WRONGTYPE", b"ERR", &[b'X'; 50]].iter().for_each(|prefix| tally.count_error(prefix));
        let errors: Vec<_> = tally.errors().collect();
        assert_eq!(errors, [(b"ERR".to_vec(), 2), (b"WRONGTYPE".to_vec(), 1), (vec![b'X'; PREFIX_BYTES], 1)]);
    }

    #[test]
    fn durations_fall_into_buckets_of_powers_of_two() {
        for (nanos, expected) in [(0, 0), (1024, 0), (1025, 1), (2048, 1), (2049, 2), (1 << 20, 10), (u64::MAX / 2, 23)]
        {
            assert_eq!(bucket(nanos), expected, "{nanos}");
        }
    }

    #[test]
    fn the_latest_moments_are_kept() {
        let words = words();
        let tally = Tally::new(&words);
        (0..200).for_each(|n| tally.note(1, Sample { at_secs: n, ms: 1000 - n }));
        tally.note(1, Sample { at_secs: 199, ms: 900 });
        let (mut samples, longest) = tally.samples(1);
        samples.sort_unstable();
        assert_eq!((samples.len(), longest), (SAMPLES, 1000));
        assert_eq!(
            (samples[0], samples[SAMPLES - 1]),
            (Sample { at_secs: 40, ms: 960 }, Sample { at_secs: 199, ms: 900 })
        );
        assert!(tally.samples(0).0.is_empty());
        tally.forget(1);
        assert_eq!(tally.samples(1), (Vec::new(), 0));
    }
}
