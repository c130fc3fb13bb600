//! Subscribing and unsubscribing: a client's own list, its worker's, and the counts that all workers share, kept in step.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    board::{Audience, Board, Topic},
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
        Ok(Self { board: Board::open(store, worker)?, local: RefCell::default() })
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
        let mut local = self.local.borrow_mut();
        new.into_iter().for_each(|name| local.add(topic, name, client, bus.next_number()));
        Ok(())
    }

    /// Unsubscribes a client from a name; whether it had subscribed to it.
    pub(super) fn unsubscribe(&self, own: &mut Subscriptions, client: u64, topic: Topic, name: &[u8]) -> bool {
        let had = own.of_mut(topic).remove(name);
        if had {
            self.local.borrow_mut().remove(topic, name, client);
            self.board.count_out(topic, name);
        }
        had
    }

    /// Unsubscribes a client from everything.
    pub(super) fn leave(&self, own: &mut Subscriptions, client: u64) {
        for topic in TOPICS {
            for name in std::mem::take(own.of_mut(topic)) {
                self.local.borrow_mut().remove(topic, &name, client);
                self.board.count_out(topic, &name);
            }
        }
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
    pub(crate) fn audience(&self, kind: Kind, channel: &[u8]) -> Audience {
        self.board.audience(kind, channel)
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
