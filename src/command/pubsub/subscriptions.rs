//! Subscribing and unsubscribing: a client's own list, its worker's, and the counts that all workers share, kept in step, also when a
//! transaction that has changed them is undone.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    board::{Board, Mark as BoardMark, Reach, Topic},
    local::{Local, WithHearers},
};
use crate::{
    command::bus::{Bus, Kind},
    store::{Error, Result, Store, limits::MAX_CHANNEL_BYTES},
};

/// What one client has subscribed to.
#[derive(Debug, Clone, Default)]
pub struct Subscriptions {
    channels: BTreeSet<Vec<u8>>,
    shards: BTreeSet<Vec<u8>>,
    patterns: BTreeSet<Vec<u8>>,
}

impl Subscriptions {
    pub(super) fn of(&self, topic: Topic) -> &BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel(Kind::Channel) => &self.channels,
            Topic::Channel(Kind::Shard) => &self.shards,
            Topic::Pattern => &self.patterns,
        }
    }

    fn of_mut(&mut self, topic: Topic) -> &mut BTreeSet<Vec<u8>> {
        match topic {
            Topic::Channel(Kind::Channel) => &mut self.channels,
            Topic::Channel(Kind::Shard) => &mut self.shards,
            Topic::Pattern => &mut self.patterns,
        }
    }

    /// How many channels, patterns and channels of sharded pub/sub there are.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        [self.channels.len(), self.patterns.len(), self.shards.len()]
    }

    /// Whether there is one, a pattern or not, that `is_it` picks.
    pub(crate) fn any(&self, is_it: impl Fn(&[u8], bool) -> bool) -> bool {
        self.channels.iter().chain(&self.shards).any(|channel| is_it(channel, false))
            || self.patterns.iter().any(|pattern| is_it(pattern, true))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts() == [0; 3]
    }

    /// The count in the confirmation of a change: channels and patterns together, channels of sharded pub/sub by themselves.
    pub(super) fn shown(&self, topic: Topic) -> i64 {
        let [channels, patterns, shards] = self.counts();
        (if topic == Topic::Channel(Kind::Shard) { shards } else { channels + patterns }) as i64
    }
}

/// The subscriptions of all clients, as one worker holds them.
pub struct PubSub {
    board: Board,
    local: RefCell<Local>,
    /// What the transaction at hand has changed so far, if there is one.
    pending: RefCell<Option<Pending>>,
}

/// What a transaction has changed. Its counts are rows of the store, which keeps them or undoes them; that clients hear what they have
/// subscribed to begins when it is over.
struct Pending {
    changes: Vec<Change>,
    /// What the board owed before, and the version of the patterns then.
    board: BoardMark,
}

/// A client has subscribed to a name, and hears letters from number `since` on, or has unsubscribed from it (`None`).
struct Change {
    topic: Topic,
    name: Vec<u8>,
    client: u64,
    since: Option<u64>,
}

/// Everything that can be subscribed to.
const TOPICS: [Topic; 3] = [Topic::Channel(Kind::Channel), Topic::Pattern, Topic::Channel(Kind::Shard)];

impl PubSub {
    /// Makes the tables of counts, or finds them.
    pub(crate) fn reserve(store: &Store) -> Result<()> {
        Board::tables(store).map(drop)
    }

    /// Opens the counts, and takes away what an earlier process of this worker had counted.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`], [`Error::Busy`].
    pub(crate) fn open(store: &Store, worker: usize) -> Result<Self> {
        Ok(Self { board: Board::open(store, worker)?, local: RefCell::default(), pending: RefCell::default() })
    }

    /// Subscribes a client to all of these names, or to none. Those that it has already stay.
    pub(super) fn subscribe(
        &self,
        bus: &Bus,
        own: &mut Subscriptions,
        client: u64,
        topic: Topic,
        names: &[&[u8]],
    ) -> Result<()> {
        let mut new: Vec<&[u8]> = Vec::new();
        let counted = names.iter().try_for_each(|name| {
            if name.len() > MAX_CHANNEL_BYTES {
                return Err(Error::KeyTooLong { len: name.len(), max: MAX_CHANNEL_BYTES });
            }
            if own.of_mut(topic).insert(name.to_vec()) {
                new.push(name);
                self.board.count_in(topic, name).inspect_err(|_| {
                    new.pop();
                    own.of_mut(topic).remove(*name);
                })?;
            }
            Ok(())
        });
        if counted.is_err() {
            for name in new {
                own.of_mut(topic).remove(name);
                self.board.count_out(topic, name);
            }
            return counted;
        }
        // What was said until now is not for this client, whether it was delivered already or not.
        bus.pump();
        let since = Some(bus.next_number());
        new.into_iter().for_each(|name| self.change(Change { topic, name: name.to_vec(), client, since }));
        Ok(())
    }

    /// Unsubscribes a client from a name, if it has subscribed to it.
    pub(super) fn unsubscribe(&self, own: &mut Subscriptions, client: u64, topic: Topic, name: &[u8]) {
        if own.of_mut(topic).remove(name) {
            self.board.count_out(topic, name);
            self.change(Change { topic, name: name.to_vec(), client, since: None });
        }
    }

    /// Unsubscribes a client from everything.
    pub(super) fn leave(&self, own: &mut Subscriptions, client: u64) {
        for topic in TOPICS {
            for name in std::mem::take(own.of_mut(topic)) {
                self.board.count_out(topic, &name);
                self.change(Change { topic, name, client, since: None });
            }
        }
    }

    /// Has a change take place: now, or with the transaction at hand.
    fn change(&self, change: Change) {
        match &mut *self.pending.borrow_mut() {
            Some(pending) => pending.changes.push(change),
            None => self.take_place(&change),
        }
    }

    fn take_place(&self, Change { topic, name, client, since }: &Change) {
        let mut local = self.local.borrow_mut();
        match since {
            Some(since) => local.add(*topic, name, *client, *since),
            None => local.remove(*topic, name, *client),
        }
    }

    /// From here to [`Self::commit`] or [`Self::revert`], what one client changes belongs to its transaction.
    pub(crate) fn begin(&self) {
        self.pending.replace(Some(Pending { changes: Vec::new(), board: self.board.mark() }));
    }

    /// The transaction holds: what it has changed takes place.
    pub(crate) fn commit(&self) {
        let pending = self.pending.take();
        pending.iter().flat_map(|pending| &pending.changes).for_each(|change| self.take_place(change));
    }

    /// The transaction was undone, and its counts with it: `own` are the subscriptions of its client, which become what they were.
    pub(crate) fn revert(&self, own: &mut Subscriptions) {
        let Some(Pending { changes, board }) = self.pending.take() else { return };
        for Change { topic, name, since, .. } in changes.into_iter().rev() {
            match since {
                Some(_) => own.of_mut(topic).remove(&name),
                None => own.of_mut(topic).insert(name),
            };
        }
        self.board.revert(board);
    }

    /// Catches up on what could not be counted before; called by the worker's tick.
    pub fn tick(&self) {
        self.board.tick();
    }

    /// Calls `with` for every way in which clients of this worker hear letter `number` on a channel, with those clients.
    pub fn each_hearer(&self, kind: Kind, channel: &[u8], number: u64, with: &mut WithHearers<'_>) {
        self.local.borrow().each_hearer(kind, channel, number, with);
    }

    /// Every client of this worker that has subscribed to something.
    #[must_use]
    pub fn everybody(&self) -> Vec<u64> {
        self.local.borrow().everybody()
    }

    /// Who hears what is published on a channel.
    pub(crate) fn reach(&self, kind: Kind, channel: &[u8]) -> Reach {
        self.board.reach(kind, channel)
    }

    /// How many have subscribed to a channel by its name.
    pub(super) fn count(&self, kind: Kind, channel: &[u8]) -> i64 {
        self.board.direct(kind, channel).count
    }

    /// The channels that somebody has subscribed to.
    pub(crate) fn channels(&self, kind: Kind) -> Result<Vec<Vec<u8>>> {
        self.board.channels(kind)
    }

    /// How many patterns somebody has subscribed to.
    pub(crate) fn pattern_count(&self) -> usize {
        self.board.pattern_count()
    }
}
