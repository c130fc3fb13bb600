//! Who of this worker's clients has subscribed to what.

use std::collections::{BTreeMap, HashMap};

use super::{super::glob, board::Topic};
use crate::command::bus::Kind;

/// Clients, and the number of the first letter that each of them hears.
type Hearers = BTreeMap<u64, u64>;

/// What a client hears, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A channel to which it has subscribed.
    Channel(Kind),
    /// One that matches this pattern.
    Pattern(&'a [u8]),
}

/// What is done about those who hear a message in one way.
pub type WithHearers<'f> = dyn FnMut(Heard<'_>, &mut dyn Iterator<Item = u64>) + 'f;

/// The subscribers of this worker.
#[derive(Default)]
pub(super) struct Local {
    channels: HashMap<Vec<u8>, Hearers>,
    shards: HashMap<Vec<u8>, Hearers>,
    patterns: BTreeMap<Vec<u8>, Hearers>,
}

impl Local {
    /// Adds a client, which hears letters from number `since` on.
    pub(super) fn add(&mut self, topic: Topic, name: &[u8], client: u64, since: u64) {
        let hearers = match topic {
            Topic::Channel(Kind::Channel) => self.channels.entry(name.to_vec()).or_default(),
            Topic::Channel(Kind::Shard) => self.shards.entry(name.to_vec()).or_default(),
            Topic::Pattern => self.patterns.entry(name.to_vec()).or_default(),
        };
        hearers.insert(client, since);
    }

    pub(super) fn remove(&mut self, topic: Topic, name: &[u8], client: u64) {
        match topic {
            Topic::Channel(Kind::Channel) => {
                remove(self.channels.get_mut(name), client).then(|| self.channels.remove(name))
            }
            Topic::Channel(Kind::Shard) => remove(self.shards.get_mut(name), client).then(|| self.shards.remove(name)),
            Topic::Pattern => remove(self.patterns.get_mut(name), client).then(|| self.patterns.remove(name)),
        };
    }

    /// Calls `with` for every way in which clients hear letter `number` on this channel, with those clients.
    pub(super) fn each_hearer(&self, kind: Kind, channel: &[u8], number: u64, with: &mut WithHearers<'_>) {
        let of_kind = if kind == Kind::Channel { &self.channels } else { &self.shards };
        if let Some(hearers) = of_kind.get(channel) {
            with(Heard::Channel(kind), &mut since(hearers, number));
        }
        if kind == Kind::Shard {
            return;
        }
        for (pattern, hearers) in &self.patterns {
            if glob::matches(pattern, channel) {
                with(Heard::Pattern(pattern), &mut since(hearers, number));
            }
        }
    }

    /// Every client that has subscribed to something.
    pub(super) fn everybody(&self) -> Vec<u64> {
        let all = self.channels.values().chain(self.shards.values()).chain(self.patterns.values());
        let mut clients: Vec<u64> = all.flat_map(|hearers| hearers.keys().copied()).collect();
        clients.sort_unstable();
        clients.dedup();
        clients
    }
}

/// Takes a client out; whether nobody is left.
fn remove(hearers: Option<&mut Hearers>, client: u64) -> bool {
    hearers.is_some_and(|hearers| {
        hearers.remove(&client);
        hearers.is_empty()
    })
}

fn since(hearers: &Hearers, number: u64) -> impl Iterator<Item = u64> {
    hearers.iter().filter(move |(_, since)| **since <= number).map(|(client, _)| *client)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: Topic = Topic::Channel(Kind::Channel);

    fn heard(local: &Local, kind: Kind, channel: &[u8], number: u64) -> Vec<(u64, String)> {
        let mut heard = Vec::new();
        local.each_hearer(kind, channel, number, &mut |how, clients| {
            heard.extend(clients.map(|client| (client, format!("{how:?}"))));
        });
        heard.into_iter().map(|(client, how)| (client, how.split('(').next().unwrap_or_default().to_owned())).collect()
    }

    #[test]
    fn a_client_hears_what_it_subscribed_to_in_every_way_it_did() {
        let mut local = Local::default();
        local.add(CHANNEL, b"news", 1, 0);
        local.add(Topic::Pattern, b"n*", 1, 0);
        local.add(Topic::Pattern, b"x*", 2, 0);
        local.add(Topic::Channel(Kind::Shard), b"news", 3, 0);
        let both = [(1, "Channel".to_owned()), (1, "Pattern".to_owned())];
        assert_eq!(heard(&local, Kind::Channel, b"news", 0), both);
        assert_eq!(heard(&local, Kind::Shard, b"news", 0), [(3, "Channel".to_owned())]);
        assert_eq!(local.everybody(), [1, 2, 3]);
        local.remove(CHANNEL, b"news", 1);
        local.remove(Topic::Pattern, b"n*", 1);
        assert!(heard(&local, Kind::Channel, b"news", 0).is_empty());
        assert_eq!(local.everybody(), [2, 3]);
    }

    #[test]
    fn who_subscribes_hears_nothing_that_was_said_before() {
        let mut local = Local::default();
        local.add(CHANNEL, b"c", 1, 5);
        assert!(heard(&local, Kind::Channel, b"c", 4).is_empty());
        assert_eq!(heard(&local, Kind::Channel, b"c", 5).len(), 1);
    }
}
