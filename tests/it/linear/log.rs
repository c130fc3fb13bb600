//! The logs of the clients, and the counter from which they draw tickets: words of files that everybody has mapped.
//!
//! What a client has stored in its log is there when the client is killed the next moment: the page belongs to the file. A log
//! has one writer. Behind a word for the way that the client goes, it is a row of records:
//!
//! | word | | written |
//! |---|---|---|
//! | 0 | when the operation was invoked; 0: there is no such record | before it, after words 2 and 3 |
//! | 1 | when it was answered; 0: it was not | after it, after the words from 4 on |
//! | 2 | ticket | |
//! | 3 | what the client had seen | |
//! | 4..9 | answer, or [`REFUSED`] | |
//!
//! So a record that is there is whole, whenever its writer dies. The times are of `CLOCK_MONOTONIC`, which all processes of a machine share.
//! A full fence stands between each time and the operation: what the client did is seen by the others before its answer
//! has a time, and nothing of the operation happens before its invocation has one.
#![allow(unsafe_code)]

use std::{
    fs::OpenOptions,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use memmap2::MmapRaw;
use nix::time::{ClockId, clock_gettime};

use super::calls::{Ret, Way};

/// Words of a record.
pub(crate) const RECORD: usize = 9;
/// In place of an answer: the operation was refused and has changed nothing.
pub(crate) const REFUSED: u64 = 0xff;
/// Records of one log.
const RECORDS: usize = 30_000;

/// Nanoseconds of the clock that all processes share.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// A file of words that others may have mapped too.
struct Words(MmapRaw);

impl Words {
    fn make(path: &Path, words: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(8 * words as u64)?;
        Ok(Self(MmapRaw::map_raw(&file)?))
    }

    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(MmapRaw::map_raw(&OpenOptions::new().read(true).write(true).open(path)?)?))
    }

    fn all(&self) -> &[AtomicU64] {
        let (start, words) = (self.0.as_mut_ptr().cast::<AtomicU64>(), self.0.len() / 8);
        // SAFETY: the mapping starts at a page, has this many words, lives as long as `self`, and all who have the file
        // mapped read and write it as atomic words; nobody shortens the file.
        unsafe { std::slice::from_raw_parts(start, words) }
    }
}

/// The counter of tickets, and what all clients have to know.
pub(crate) struct Board(Words);

const SEED: usize = 0;
const LIMIT: usize = 1;
const DRAWN: usize = 2;
const STOP: usize = 3;
const BOARD_WORDS: usize = 4;

impl Board {
    /// A board of `limit` tickets.
    pub(crate) fn make(path: &Path, seed: u64, limit: u64) -> io::Result<Self> {
        let board = Self(Words::make(path, BOARD_WORDS)?);
        board.word(SEED).store(seed, Ordering::Relaxed);
        board.word(LIMIT).store(limit, Ordering::Release);
        Ok(board)
    }

    /// The board that somebody else has made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(Words::open(path)?))
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.0.all()[index]
    }

    pub(crate) fn seed(&self) -> u64 {
        self.word(SEED).load(Ordering::Relaxed)
    }

    /// The next ticket, from 1 on; `None` when all are drawn or [`Board::stop`] was called.
    pub(crate) fn draw(&self) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        Some(self.word(DRAWN).fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(crate) fn is_over(&self) -> bool {
        let over = self.word(DRAWN).load(Ordering::Relaxed) >= self.word(LIMIT).load(Ordering::Relaxed);
        over || self.word(STOP).load(Ordering::Relaxed) != 0
    }

    /// No more tickets.
    pub(crate) fn stop(&self) {
        self.word(STOP).store(1, Ordering::Relaxed);
    }
}

/// The log of one client.
pub(crate) struct Log {
    words: Words,
    /// The next record.
    at: usize,
}

impl Log {
    /// An empty log.
    pub(crate) fn make(path: &Path, way: Way) -> io::Result<Self> {
        let words = Words::make(path, 1 + RECORDS * RECORD)?;
        words.all()[0].store(way as u64, Ordering::Relaxed);
        Ok(Self { words, at: 0 })
    }

    /// The log that somebody has made: for the one client, or for reading once that has ended.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { words: Words::open(path)?, at: 0 })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.at == RECORDS
    }

    fn record(&self, at: usize) -> &[AtomicU64] {
        &self.words.all()[1 + at * RECORD..][..RECORD]
    }

    /// Notes that an operation is about to begin. There must be room for its record.
    pub(crate) fn invoke(&self, ticket: u64, seen: i64) {
        let record = self.record(self.at);
        record[2].store(ticket, Ordering::Relaxed);
        record[3].store(seen as u64, Ordering::Relaxed);
        // Release: a record that is seen is whole.
        record[0].store(now_ns(), Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Notes that the operation is over; `None`: it was refused.
    pub(crate) fn answer(&mut self, answer: Option<&Ret>) {
        fence(Ordering::SeqCst);
        let now = now_ns();
        let words = answer.map_or([REFUSED, 0, 0, 0, 0], Ret::words);
        let record = self.record(self.at);
        record[4..].iter().zip(words).for_each(|(to, word)| to.store(word, Ordering::Relaxed));
        // Release: an answer that is seen is whole.
        record[1].store(now, Ordering::Release);
        self.at += 1;
    }

    /// Leaves the operation without an answer.
    pub(crate) fn give_up(&mut self) {
        self.at += 1;
    }

    /// The way of its client, and all records.
    pub(crate) fn read(&self) -> (Way, Vec<[u64; RECORD]>) {
        let way = Way::of(self.words.all()[0].load(Ordering::Acquire)).expect("a log names a way");
        // Acquire: what was stored before the time is seen with it.
        let whole = |at: &usize| self.record(*at)[0].load(Ordering::Acquire) != 0;
        let words = |at: usize| std::array::from_fn(|i| self.record(at)[i].load(Ordering::Acquire));
        (way, (0..RECORDS).take_while(whole).map(words).collect())
    }
}
