//! The way of a message: from a command into the outbox, out of it when the command has succeeded, through the rings of the segment,
//! into the letters that the server delivers.
//!
//! **Out.** What a command has to say is gathered with [`Bus::post`]. When the command has succeeded, [`Bus::flush`] sends it: into this worker's
//! ring if others are to hear it, and among the letters of this worker if it is to hear it too. When the command was
//! refused or has to wait, [`Bus::discard`] forgets it. So the messages of a transaction go out after its end, or not at all.
//!
//! **In.** [`Bus::pump`] turns what the others have published into letters, in the order of each of them. Letters are numbered; who
//! subscribes remembers [`Bus::next_number`], and hears nothing that was said before.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
};

use super::Message;
use crate::store::{Received, Stat, Store, Targets};

/// A message that has arrived and is to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Number of the letter: it is for those alone who were there before it.
    pub number: u64,
    /// See [`Message::decode`].
    pub bytes: Vec<u8>,
}

/// Wakes the worker of an index.
type Wake = Box<dyn Fn(usize)>;

/// One worker's end of the bus.
pub struct Bus {
    store: Store,
    worker: usize,
    wake: OnceCell<Wake>,
    outbox: RefCell<Vec<(Targets, Vec<u8>)>>,
    /// Where this worker is in each ring.
    cursors: RefCell<Vec<u64>>,
    /// What [`crate::store::Bus::send`] returned last.
    lap: Cell<u64>,
    letters: RefCell<VecDeque<Letter>>,
    next_number: Cell<u64>,
    lost: Cell<bool>,
}

impl Bus {
    /// The end of `worker`, which hears what is said from now on.
    #[must_use]
    pub fn open(store: &Store, worker: usize) -> Self {
        let bus = store.bus();
        let cursors = (0..bus.workers()).map(|ring| bus.end(ring)).collect();
        Self {
            store: store.clone(),
            worker,
            wake: OnceCell::new(),
            outbox: RefCell::default(),
            cursors: RefCell::new(cursors),
            lap: Cell::new(0),
            letters: RefCell::default(),
            next_number: Cell::new(0),
            lost: Cell::new(false),
        }
    }

    /// Says how workers are woken; before that, they notice messages when they look by themselves.
    pub fn wake_by(&self, wake: impl Fn(usize) + 'static) {
        let _ = self.wake.set(Box::new(wake));
    }

    /// This worker.
    #[must_use]
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// Every worker, this one included.
    #[must_use]
    pub fn everybody(&self) -> Targets {
        Targets::all(self.store.bus().workers())
    }

    /// Bytes of the longest message, encoded.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.store.bus().longest()
    }

    /// Has a message sent to these workers when the command at hand has succeeded; false if it is too long, and nothing is said.
    pub fn post(&self, to: Targets, message: &Message<'_>) -> bool {
        let fits = message.encoded_len() <= self.longest();
        if fits && !to.is_empty() {
            self.outbox.borrow_mut().push((to, message.encode()));
        }
        fits
    }

    /// Sends a message at once; false if it is too long, and nothing is said.
    pub fn send(&self, to: Targets, message: &Message<'_>) -> bool {
        let fits = message.encoded_len() <= self.longest();
        if fits {
            self.put(to, message.encode());
        }
        fits
    }

    /// Whether something was posted and not yet sent.
    pub(crate) fn has_posted(&self) -> bool {
        !self.outbox.borrow().is_empty()
    }

    /// Sends what was posted.
    pub fn flush(&self) {
        if self.outbox.borrow().is_empty() {
            return;
        }
        let posted = std::mem::take(&mut *self.outbox.borrow_mut());
        posted.into_iter().for_each(|(to, bytes)| self.put(to, bytes));
    }

    /// Forgets what was posted.
    pub fn discard(&self) {
        self.outbox.borrow_mut().clear();
    }

    fn put(&self, mut to: Targets, bytes: Vec<u8>) {
        let to_self = to.remove(self.worker);
        if !to.is_empty() {
            let lap = self.store.bus().send(self.worker, to, &bytes);
            let told = if self.lap.replace(lap) == lap { to } else { self.others() };
            told.iter().for_each(|worker| self.tell(worker));
        }
        if to_self {
            self.arrive(bytes);
        }
    }

    /// Every worker but this one.
    #[must_use]
    pub fn others(&self) -> Targets {
        let mut others = self.everybody();
        others.remove(self.worker);
        others
    }

    fn tell(&self, worker: usize) {
        self.store.bus().tell(worker, &mut || {
            if let Some(wake) = self.wake.get() {
                wake(worker);
            }
        });
    }

    fn arrive(&self, bytes: Vec<u8>) {
        let number = self.next_number();
        self.next_number.set(number + 1);
        self.letters.borrow_mut().push_back(Letter { number, bytes });
    }

    /// The number that the next letter gets.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next_number.get()
    }

    /// Turns everything that others have published for this worker into letters.
    pub fn pump(&self) {
        let mut message = Vec::new();
        let mut cursors = self.cursors.borrow_mut();
        for (ring, cursor) in cursors.iter_mut().enumerate().filter(|(ring, _)| *ring != self.worker) {
            // What is published meanwhile can wait: one who publishes without end must not keep this worker here.
            let end = self.store.bus().end(ring);
            while *cursor != end {
                match self.store.bus().receive(ring, cursor, &mut message) {
                    Received::Nothing => break,
                    Received::Message(targets) if targets.contains(self.worker) => self.arrive(message.clone()),
                    Received::Message(_) => {}
                    Received::Lost => {
                        self.lost.set(true);
                        self.store.statistics().add(Stat::BusLost, 1);
                        break;
                    }
                }
            }
        }
    }

    /// As [`Bus::pump`], if this worker was told that there is something. One load if it was not.
    pub fn pump_if_told(&self) {
        if self.store.bus().is_told(self.worker) {
            self.pump();
        }
    }

    /// Has this worker told, and woken, for everything that the pump that must follow does not find.
    pub fn listen(&self) {
        self.store.bus().listen(self.worker);
    }

    /// The next letter to deliver.
    pub fn next(&self) -> Option<Letter> {
        self.letters.borrow_mut().pop_front()
    }

    /// Whether there are letters to deliver, or some were lost.
    #[must_use]
    pub fn has_letters(&self) -> bool {
        self.lost.get() || !self.letters.borrow().is_empty()
    }

    /// Whether letters were lost since this was last asked.
    pub fn take_lost(&self) -> bool {
        self.lost.take()
    }
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, sync::Arc};

    use super::*;
    use crate::{
        backend::{Limits, MemoryStore},
        command::bus::Kind,
    };

    fn ends(workers: usize) -> Vec<Bus> {
        let store = Store::on(Arc::new(MemoryStore::new(Limits { workers, ..Limits::default() })));
        (0..workers).map(|worker| Bus::open(&store, worker)).collect()
    }

    fn message(payload: &[u8]) -> Message<'_> {
        Message::Publish { kind: Kind::Channel, channel: b"c", payload }
    }

    fn read(bus: &Bus) -> Vec<Vec<u8>> {
        bus.pump();
        std::iter::from_fn(|| bus.next())
            .map(|letter| match Message::decode(&letter.bytes) {
                Some(Message::Publish { payload, .. }) => payload.to_vec(),
                _ => panic!("another message: {letter:?}"),
            })
            .collect()
    }

    #[test]
    fn a_message_reaches_those_it_is_for_in_order() {
        let ends = ends(3);
        let mut to = Targets::one(0);
        to.insert(2);
        for payload in [b"1", b"2", b"3"] {
            assert!(ends[0].send(to, &message(payload)));
        }
        assert!(ends[2].send(Targets::one(0), &message(b"4")));
        assert_eq!(read(&ends[0]), [b"1", b"2", b"3", b"4"]);
        assert_eq!(read(&ends[2]), [b"1", b"2", b"3"]);
        assert!(read(&ends[1]).is_empty() && read(&ends[0]).is_empty());
    }

    #[test]
    fn what_is_posted_goes_out_with_the_flush_or_never() {
        let ends = ends(2);
        assert!(ends[0].post(Targets::all(2), &message(b"kept")));
        ends[0].discard();
        ends[0].flush();
        assert!(ends[0].post(Targets::all(2), &message(b"sent")));
        assert!(!ends[0].has_letters() && read(&ends[1]).is_empty());
        ends[0].flush();
        assert_eq!((read(&ends[0]), read(&ends[1])), (vec![b"sent".to_vec()], vec![b"sent".to_vec()]));
    }

    #[test]
    fn a_message_that_is_too_long_is_not_said() {
        let ends = ends(2);
        let payload = vec![b'x'; ends[0].longest()];
        assert!(
            !ends[0].post(Targets::all(2), &message(&payload)) && !ends[0].send(Targets::all(2), &message(&payload))
        );
        ends[0].flush();
        assert!(read(&ends[0]).is_empty() && read(&ends[1]).is_empty());
    }

    #[test]
    fn a_worker_is_woken_once_until_it_listens() {
        let ends = ends(2);
        let woken = Rc::new(Cell::new(0));
        let count = Rc::clone(&woken);
        ends[0].wake_by(move |worker| count.set(count.get() + worker));
        for _ in 0..3 {
            ends[0].send(Targets::one(1), &message(b"x"));
        }
        assert_eq!(woken.get(), 1);
        ends[1].pump_if_told();
        assert!(ends[1].has_letters());
        ends[1].listen();
        ends[0].send(Targets::one(1), &message(b"x"));
        assert_eq!(woken.get(), 2);
    }

    #[test]
    fn who_is_overtaken_is_told_so_and_goes_on() {
        let ends = ends(2);
        for _ in 0..1100 {
            ends[0].send(Targets::one(1), &message(b"x"));
        }
        ends[1].pump();
        assert!(ends[1].take_lost() && !ends[1].take_lost());
        ends[0].send(Targets::one(1), &message(b"y"));
        assert_eq!(read(&ends[1]), [b"y"]);
    }
}
