//! The rings of messages between workers.
//!
//! Each worker index has a ring that the worker of that index writes and all others read, each through a cursor of its own that nobody
//! else knows of. So a reader that is slow, stopped or dead is nobody's business but its own: when it has been overtaken by a whole ring, it
//! is told so, and has lost messages. A writer that is killed has published a message whole or not at all, and its replacement
//! goes on where it stopped.

use std::sync::atomic::{AtomicU64, Ordering};

use shm_layout::bus::{self, HEAD_WORDS, Ring, TARGET_WORDS};

use super::{crash::point, mem::word_of, protocol::ring, segment::Segment};

/// The workers that a message is for, a bit for each.
pub type TargetWords = [u64; TARGET_WORDS];

/// What a reader found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It has read everything.
    Nothing,
    /// A message for these workers.
    Message(TargetWords),
    /// It has been overtaken: messages are lost, and it goes on with the next ones.
    Lost,
}

/// The rings of a segment.
pub struct Bus {
    segment: Segment,
}

impl Bus {
    /// The rings of `segment`.
    #[must_use]
    pub fn new(segment: &Segment) -> Self {
        Self { segment: segment.clone() }
    }

    /// Workers, each with a ring.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.segment.workers()
    }

    /// Bytes of the longest message.
    #[must_use]
    pub fn longest(&self) -> usize {
        bus::longest(self.ring_bytes())
    }

    fn ring_bytes(&self) -> u64 {
        self.segment.geometry().ring_bytes
    }

    fn ring(&self, worker: usize) -> &Ring {
        assert!(worker < self.workers());
        let heads_at = self.segment.geometry().bus_at + size_of::<bus::Board>() as u64;
        self.segment.mem().at(heads_at + (worker * size_of::<Ring>()) as u64)
    }

    fn words(&self, worker: usize) -> &[AtomicU64] {
        let at = self.segment.geometry().rings_at + worker as u64 * self.ring_bytes();
        self.segment.mem().slice(at, (self.ring_bytes() / 8) as usize)
    }

    fn board(&self) -> &bus::Board {
        self.segment.mem().at(self.segment.geometry().bus_at)
    }

    /// Publishes a message in the ring of worker `from`, of which the caller is the only writer. Returns how many quarters of the
    /// ring are full from its first message on: when that number grows, readers who were not told of messages for others
    /// must be, or they are overtaken without need.
    ///
    /// # Panics
    ///
    /// If the message is longer than [`Bus::longest`].
    pub fn send(&self, from: usize, to: &TargetWords, message: &[u8]) -> u64 {
        assert!(message.len() <= self.longest());
        let (ring, words) = (self.ring(from), self.words(from));
        let start = ring.head.load(Ordering::Relaxed);
        let end = start + 8 * bus::message_words(message.len());
        ring::claim(&ring.claimed, end);
        point("ring-claimed");
        let head = [message.len() as u64].into_iter().chain(*to);
        let body = message.chunks(8).map(word_of);
        let mut place = (start / 8 % words.len() as u64) as usize;
        for word in head.chain(body) {
            words[place].store(word, Ordering::Relaxed);
            place = if place + 1 == words.len() { 0 } else { place + 1 };
        }
        point("ring-written");
        ring::publish(&ring.head, end);
        point("ring-published");
        end / (self.ring_bytes() / 4)
    }

    /// Where a reader starts that wants only what comes from now on.
    #[must_use]
    pub fn end(&self, ring: usize) -> u64 {
        ring::published(&self.ring(ring).head)
    }

    /// Copies the message at `cursor` of a ring to `message`, and moves the cursor behind it.
    pub fn take(&self, ring: usize, cursor: &mut u64, message: &mut Vec<u8>) -> Taken {
        let (head, words) = (self.ring(ring), self.words(ring));
        let end = ring::published(&head.head);
        if end == *cursor {
            return Taken::Nothing;
        }
        let copied = copy(words, *cursor, end, self.longest(), message);
        match copied {
            Some((targets, next)) if !ring::is_overtaken(&head.claimed, *cursor, self.ring_bytes()) => {
                *cursor = next;
                Taken::Message(targets)
            }
            _ => {
                *cursor = end;
                Taken::Lost
            }
        }
    }

    /// Tells a worker that there is a message for it, unless it was told already; `wake` wakes it.
    pub fn tell(&self, worker: usize, wake: impl FnOnce()) {
        ring::tell(&self.ring(worker).bell, wake);
    }

    /// Whether a worker was told since it last listened. One load.
    #[must_use]
    pub fn is_told(&self, worker: usize) -> bool {
        ring::is_told(&self.ring(worker).bell)
    }

    /// Has a worker told of whatever it does not find when it looks at the rings now.
    pub fn listen(&self, worker: usize) {
        ring::listen(&self.ring(worker).bell);
    }

    /// Goes up whenever the patterns that clients have subscribed to change. One load.
    #[must_use]
    pub fn patterns_version(&self) -> u64 {
        // Acquire: the patterns are read after it.
        self.board().patterns_version.load(Ordering::Acquire)
    }

    /// Notes that they have changed.
    pub fn patterns_changed(&self) {
        // Release: whoever sees the number sees the change.
        self.board().patterns_version.fetch_add(1, Ordering::Release);
    }
}

/// Copies the message at position `from` of a ring whose last message ends at `end`; its targets, and where the next one starts.
/// `None` if there is no message of a possible length, as when the ring was overwritten.
fn copy(words: &[AtomicU64], from: u64, end: u64, longest: usize, message: &mut Vec<u8>) -> Option<(TargetWords, u64)> {
    let mut place = (from / 8 % words.len() as u64) as usize;
    let mut next_word = || {
        let word = words[place].load(Ordering::Relaxed);
        place = if place + 1 == words.len() { 0 } else { place + 1 };
        word
    };
    let len = usize::try_from(next_word()).ok().filter(|&len| len <= longest)?;
    let next = from.checked_add(8 * bus::message_words(len)).filter(|&next| next <= end)?;
    let targets = std::array::from_fn(|_| next_word());
    message.clear();
    message.reserve(len.next_multiple_of(8));
    (0..bus::message_words(len) - HEAD_WORDS).for_each(|_| message.extend_from_slice(&next_word().to_ne_bytes()));
    message.truncate(len);
    Some((targets, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::SegmentOptions;

    fn bus() -> Bus {
        let options = SegmentOptions::new().memory(8 << 20).workers(3).counters(8).max_keys(100);
        Bus::new(&Segment::create(options).unwrap())
    }

    const TO_ONE: TargetWords = [2, 0, 0, 0];

    fn read(bus: &Bus, cursor: &mut u64) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        match bus.take(0, cursor, &mut message) {
            Taken::Message(targets) => {
                assert_eq!(targets, TO_ONE);
                Some(message)
            }
            Taken::Nothing => None,
            Taken::Lost => panic!("nobody overtook"),
        }
    }

    #[test]
    fn messages_of_every_length_come_through_many_times_round_the_ring() {
        let bus = bus();
        let mut cursor = bus.end(0);
        for round in 0..60_usize {
            let lengths = [0, 1, 7, 8, 9, 1000 + round * 37, bus.longest() - round];
            for len in lengths {
                let message: Vec<u8> = (0..len).map(|i| (i * 31 + round) as u8).collect();
                bus.send(0, &TO_ONE, &message);
                assert_eq!(read(&bus, &mut cursor), Some(message));
            }
            assert_eq!(read(&bus, &mut cursor), None);
        }
    }

    #[test]
    fn every_reader_reads_every_ring_by_itself() {
        let bus = bus();
        let mut cursors = [bus.end(0), bus.end(0)];
        bus.send(0, &TO_ONE, b"a");
        assert_eq!(read(&bus, &mut cursors[0]), Some(b"a".to_vec()));
        bus.send(1, &TO_ONE, b"of another");
        bus.send(0, &TO_ONE, b"b");
        assert_eq!(read(&bus, &mut cursors[1]), Some(b"a".to_vec()));
        for cursor in &mut cursors {
            assert_eq!(read(&bus, cursor), Some(b"b".to_vec()));
            assert_eq!(read(&bus, cursor), None);
        }
    }

    #[test]
    fn who_is_a_ring_behind_is_told_so_and_goes_on() {
        let bus = bus();
        let mut cursor = bus.end(0);
        let quarter = vec![b'x'; bus.longest() / 2];
        for _ in 0..4 {
            bus.send(0, &TO_ONE, &quarter);
        }
        assert_eq!(bus.take(0, &mut cursor, &mut Vec::new()), Taken::Lost);
        assert_eq!(read(&bus, &mut cursor), None);
        bus.send(0, &TO_ONE, b"next");
        assert_eq!(read(&bus, &mut cursor), Some(b"next".to_vec()));
    }

    /// What a writer leaves that dies after it has claimed, or written, but not published.
    #[test]
    fn a_message_that_was_not_published_was_never_there() {
        let bus = bus();
        let mut cursor = bus.end(0);
        bus.send(0, &TO_ONE, b"before");
        let claimed = bus.end(0) + 3 * bus.ring_bytes() / 4;
        ring::claim(&bus.ring(0).claimed, claimed);
        bus.words(0)[7].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(read(&bus, &mut cursor), Some(b"before".to_vec()));
        assert_eq!(read(&bus, &mut cursor), None);
        bus.send(0, &TO_ONE, b"after");
        assert_eq!(bus.ring(0).claimed.load(Ordering::Relaxed), claimed, "what was claimed stays so");
        assert_eq!(read(&bus, &mut cursor), Some(b"after".to_vec()));
    }

    #[test]
    fn bytes_that_are_no_message_are_lost_messages() {
        let bus = bus();
        for len in [u64::MAX, bus.longest() as u64 + 1, 4096] {
            let mut cursor = bus.end(0);
            bus.send(0, &TO_ONE, b"x");
            bus.words(0)[(cursor / 8) as usize % bus.words(0).len()].store(len, Ordering::Relaxed);
            assert_eq!(bus.take(0, &mut cursor, &mut Vec::new()), Taken::Lost);
            assert_eq!(bus.take(0, &mut cursor, &mut Vec::new()), Taken::Nothing);
        }
    }

    #[test]
    fn a_worker_is_woken_once_until_it_listens() {
        let bus = bus();
        let mut woken = 0;
        bus.tell(1, || woken += 1);
        bus.tell(1, || woken += 1);
        assert!(bus.is_told(1) && !bus.is_told(2));
        bus.listen(1);
        assert!(!bus.is_told(1));
        bus.tell(1, || woken += 1);
        assert_eq!(woken, 2);
        // One that looks just now is told all the same.
        bus.listen(1);
        bus.tell(1, || bus.listen(1));
        assert!(!bus.is_told(1));
    }

    /// One writes as fast as it can, others read: whole messages in order, or the word that some are lost.
    #[test]
    fn readers_see_whole_messages_in_order_or_that_they_were_lost() {
        let bus = bus();
        let last = if cfg!(miri) { 200 } else { 60_000_u64 };
        std::thread::scope(|scope| {
            let reader = |bus: &Bus, mut cursor: u64| {
                let (mut seen, mut next, mut message) = (0_u64, 0, Vec::new());
                while next <= last {
                    match bus.take(0, &mut cursor, &mut message) {
                        Taken::Nothing if seen == last => break,
                        Taken::Nothing => std::thread::yield_now(),
                        Taken::Lost => seen = u64::MAX,
                        Taken::Message(_) => {
                            next = u64::from_ne_bytes(message[..8].try_into().unwrap());
                            assert!(seen == u64::MAX || next == seen + 1, "{next} after {seen}");
                            assert!(message[8..].iter().all(|&byte| byte == next as u8), "message {next} is torn");
                            seen = next;
                        }
                    }
                    if bus.end(0) == cursor && seen == u64::MAX && bus.is_told(2) {
                        break;
                    }
                }
            };
            for _ in 0..2 {
                let (bus, cursor) = (&bus, bus.end(0));
                scope.spawn(move || reader(bus, cursor));
            }
            for number in 1..=last {
                let body = vec![number as u8; (number % 700) as usize];
                bus.send(0, &TO_ONE, &[&number.to_ne_bytes()[..], &body].concat());
            }
            // The end, for one who lost the last.
            bus.tell(2, || {});
        });
    }
}
