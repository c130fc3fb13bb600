//! The clients of this worker that cache keys, and what they cache.
//!
//! Each worker knows its own clients. That some of them cache a key is noted in the words that all workers share ([`Interest`]) *before* the
//! key is read; whoever changes it later sees the note and sends word. So a client may be told of a change that it has seen
//! already, and never misses one. What cannot be told exactly (messages were lost, a process died in between) is told as
//! "everything may have changed".
//!
//! [`Interest`]: crate::store::Interest

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use super::mode::Mode;
use crate::store::{Audience, Stat, Store};

/// What a client is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The client that caches.
    pub client: u64,
    /// The client that is told in its place; 0: none.
    pub redirect: u64,
    /// The keys that have changed; `None`: all may have.
    pub keys: Option<Vec<Vec<u8>>>,
}

/// Pairs of a key and a client below which nobody looks for clients that are gone.
const FEW_ITEMS: usize = 1024;

/// Changed keys, each with the client that changed it.
type Changed = BTreeMap<Vec<u8>, u64>;

#[derive(Default)]
struct Tables {
    clients: HashMap<u64, Mode>,
    /// For each key, the clients that have read it since it was last told of. Some may be gone.
    keys: HashMap<Vec<u8>, BTreeSet<u64>>,
    /// Pairs of a key and a client.
    items: usize,
    /// Those that were left when the clients that are gone were last taken out.
    items_kept: usize,
    /// Keys in each bucket of the shared words.
    in_bucket: Vec<u32>,
    /// The clients that follow a prefix.
    prefixes: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// For each prefix, what its followers are to be told.
    changed: BTreeMap<Vec<u8>, Changed>,
    /// What is to be told besides.
    pushes: Vec<Push>,
}

/// The clients of one worker that cache keys.
pub struct Tracking {
    store: Store,
    worker: usize,
    tables: RefCell<Tables>,
    has_news: Cell<bool>,
}

impl Tracking {
    /// Nobody caches.
    #[must_use]
    pub fn new(store: &Store, worker: usize) -> Self {
        Self { store: store.clone(), worker, tables: RefCell::default(), has_news: Cell::new(false) }
    }

    /// How a client is told, if it is.
    pub(crate) fn mode(&self, client: u64) -> Option<Mode> {
        self.tables.borrow().clients.get(&client).cloned()
    }

    /// Starts to tell a client, or changes how.
    pub(crate) fn turn_on(&self, client: u64, mode: Mode) {
        let mut tables = self.tables.borrow_mut();
        for prefix in &mode.prefixes {
            tables.prefixes.entry(prefix.clone()).or_default().insert(client);
        }
        let audience = if mode.broadcast { Audience::Broadcast } else { Audience::Tracking };
        self.store.interest().join(audience, self.worker);
        tables.clients.insert(client, mode);
        self.show(&tables);
    }

    /// Notes that CLIENT CACHING was given for the next command, or that this is over.
    pub(crate) fn set_caching(&self, client: u64, caching: bool) {
        if let Some(mode) = self.tables.borrow_mut().clients.get_mut(&client) {
            mode.caching = caching;
        }
    }

    /// Stops telling a client. The keys that it has read stay until they change.
    pub fn turn_off(&self, client: u64) {
        let mut tables = self.tables.borrow_mut();
        let Some(mode) = tables.clients.remove(&client) else { return };
        for prefix in &mode.prefixes {
            let left = tables.prefixes.get_mut(prefix).is_some_and(|clients| {
                clients.remove(&client);
                clients.is_empty()
            });
            if left {
                tables.prefixes.remove(prefix);
                tables.changed.remove(prefix);
            }
        }
        let interest = self.store.interest();
        if tables.prefixes.is_empty() {
            interest.leave(Audience::Broadcast, self.worker);
        }
        if tables.clients.values().all(|mode| mode.broadcast) {
            interest.leave(Audience::Tracking, self.worker);
            self.forget_keys(&mut tables);
        }
        self.show(&tables);
    }

    /// Tells a client again in the way in which it was told before, if that has changed since; it is told that any key may have changed, as it may
    /// not have been told of some in between.
    pub(crate) fn restore(&self, client: u64, mode: Option<Mode>) {
        if self.tables.borrow().clients.get(&client) == mode.as_ref() {
            return;
        }
        self.turn_off(client);
        let Some(mode) = mode else { return };
        let redirect = mode.redirect;
        self.turn_on(client, mode);
        self.tables.borrow_mut().pushes.push(Push { client, redirect, keys: None });
        self.has_news.set(true);
    }

    /// Notes that a client is about to read keys, unless it does not want to be told of them. Keys give way so that there are `max` at
    /// most (0: no limit).
    pub(crate) fn remember<'k>(&self, client: u64, keys: impl Iterator<Item = &'k [u8]>, max: usize) {
        let mut tables = self.tables.borrow_mut();
        if !tables.clients.get(&client).is_some_and(Mode::counts_reads) {
            return;
        }
        for key in keys {
            self.remember_key(&mut tables, client, key);
        }
        if tables.items > 2 * tables.items_kept + FEW_ITEMS {
            self.forget_the_gone(&mut tables);
        }
        self.trim_tables(&mut tables, max);
        self.show(&tables);
    }

    /// Takes the clients that are gone out of the sets of readers: those of a key that never changes would grow with each client that reads it and
    /// leaves. Done when there are twice as many pairs as were left the last time, so that the search costs each of them a few steps.
    fn forget_the_gone(&self, tables: &mut Tables) {
        let Tables { clients, keys, items, .. } = tables;
        for readers in keys.values_mut() {
            let before = readers.len();
            readers.retain(|client| clients.contains_key(client));
            *items -= before - readers.len();
        }
        let unread: Vec<Vec<u8>> =
            keys.iter().filter(|(_, readers)| readers.is_empty()).map(|(key, _)| key.clone()).collect();
        unread.iter().for_each(|key| drop(self.forget_key(tables, key)));
        tables.items_kept = tables.items;
    }

    fn remember_key(&self, tables: &mut Tables, client: u64, key: &[u8]) {
        let (interest, hash) = (self.store.interest(), self.store.interest_hash(key));
        let is_new = match tables.keys.get_mut(key) {
            Some(clients) => clients.insert(client),
            None => {
                tables.keys.insert(key.to_vec(), BTreeSet::from([client]));
                let bucket = interest.bucket_of(hash);
                if tables.in_bucket.len() <= bucket {
                    tables.in_bucket.resize(bucket + 1, 0);
                }
                tables.in_bucket[bucket] += 1;
                true
            }
        };
        tables.items += usize::from(is_new);
        interest.cache(hash, self.worker);
    }

    /// Takes a key out; the clients that had read it.
    fn forget_key(&self, tables: &mut Tables, key: &[u8]) -> BTreeSet<u64> {
        let Some(clients) = tables.keys.remove(key) else { return BTreeSet::new() };
        tables.items -= clients.len();
        let (interest, hash) = (self.store.interest(), self.store.interest_hash(key));
        if let Some(keys) = tables.in_bucket.get_mut(interest.bucket_of(hash)) {
            *keys -= 1;
            if *keys == 0 {
                interest.uncache(hash, self.worker);
            }
        }
        clients
    }

    fn forget_keys(&self, tables: &mut Tables) {
        let interest = self.store.interest();
        for (bucket, keys) in tables.in_bucket.iter_mut().enumerate() {
            if std::mem::take(keys) > 0 {
                interest.uncache(bucket as u64, self.worker);
            }
        }
        tables.keys = HashMap::new();
        (tables.items, tables.items_kept) = (0, 0);
    }

    /// Notes that a client, or nobody (0), has changed a key.
    pub fn key_changed(&self, by: u64, key: &[u8]) {
        let mut tables = self.tables.borrow_mut();
        self.note_changed(&mut tables, by, key);
        if !tables.keys.is_empty() {
            self.tell_readers(&mut tables, by, key);
            self.show(&tables);
        }
    }

    /// Takes a key out, and tells those who had read it.
    fn tell_readers(&self, tables: &mut Tables, by: u64, key: &[u8]) {
        for client in self.forget_key(tables, key) {
            let Some(mode) = tables.clients.get(&client).filter(|mode| !mode.broadcast) else { continue };
            if !(mode.no_loop && client == by) {
                tables.pushes.push(Push { client, redirect: mode.redirect, keys: Some(vec![key.to_vec()]) });
                self.has_news.set(true);
            }
        }
    }

    fn note_changed(&self, tables: &mut Tables, by: u64, key: &[u8]) {
        let Tables { prefixes, changed, .. } = tables;
        let mut note = |prefix: &[u8]| {
            let changed = changed.entry(prefix.to_vec()).or_default();
            // Changed by several, it is news to each of them.
            changed.entry(key.to_vec()).and_modify(|first| *first = if *first == by { by } else { 0 }).or_insert(by);
            self.has_news.set(true);
        };
        if prefixes.len() < key.len() {
            prefixes.keys().filter(|prefix| key.starts_with(prefix)).for_each(|prefix| note(prefix));
        } else {
            let heads = (0..=key.len()).map(|len| &key[..len]);
            heads.filter(|head| prefixes.contains_key(*head)).for_each(note);
        }
    }

    /// What clients are to be told since this was last asked: readers one message for each key, followers of a prefix one for all. One load
    /// if it is nothing.
    pub fn take_news(&self) -> Vec<Push> {
        if !self.has_news.replace(false) {
            return Vec::new();
        }
        let mut tables = self.tables.borrow_mut();
        let changed = std::mem::take(&mut tables.changed);
        let mut pushes = std::mem::take(&mut tables.pushes);
        for (prefix, changed) in changed {
            for client in tables.prefixes.get(&prefix).into_iter().flatten() {
                let Some(mode) = tables.clients.get(client) else { continue };
                let news = changed.iter().filter(|(_, by)| !(mode.no_loop && **by == *client));
                let keys: Vec<Vec<u8>> = news.map(|(key, _)| key.clone()).collect();
                if !keys.is_empty() {
                    pushes.push(Push { client: *client, redirect: mode.redirect, keys: Some(keys) });
                }
            }
        }
        pushes
    }

    /// Notes that everything may have changed: a database was flushed, or something was missed.
    pub fn all_changed(&self) {
        let mut tables = self.tables.borrow_mut();
        self.forget_keys(&mut tables);
        tables.changed.clear();
        let Tables { clients, pushes, .. } = &mut *tables;
        let all = clients.iter().map(|(&client, mode)| Push { client, redirect: mode.redirect, keys: None });
        pushes.extend(all);
        self.has_news.set(!pushes.is_empty());
        self.show(&tables);
    }

    /// The clients that are told in the place of others.
    pub fn targets(&self) -> BTreeSet<u64> {
        self.tables.borrow().clients.values().map(|mode| mode.redirect).filter(|target| *target != 0).collect()
    }

    /// Notes that the client that was told in this one's place is gone.
    pub fn redirect_is_broken(&self, client: u64) {
        if let Some(mode) = self.tables.borrow_mut().clients.get_mut(&client) {
            mode.redirect_broken = true;
        }
    }

    /// Makes keys give way if there are more than `max` (0: no limit).
    pub fn trim(&self, max: usize) {
        let mut tables = self.tables.borrow_mut();
        self.trim_tables(&mut tables, max);
        self.show(&tables);
    }

    fn trim_tables(&self, tables: &mut Tables, max: usize) {
        if max == 0 || tables.keys.len() <= max {
            return;
        }
        // A few more than need be, so that the search for them does not come with every key.
        let excess = tables.keys.len() - max + max / 64;
        let keys: Vec<Vec<u8>> = tables.keys.keys().take(excess).cloned().collect();
        keys.iter().for_each(|key| self.tell_readers(tables, 0, key));
    }

    /// Shows other workers how much there is.
    fn show(&self, tables: &Tables) {
        let statistics = self.store.statistics();
        statistics.set(Stat::TrackingClients, tables.clients.len() as u64);
        statistics.set(Stat::TrackingKeys, tables.keys.len() as u64);
        statistics.set(Stat::TrackingItems, tables.items as u64);
        statistics.set(Stat::TrackingPrefixes, tables.prefixes.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::{Limits, MemoryStore};

    fn tracking() -> Tracking {
        let store = Store::on(Arc::new(MemoryStore::new(Limits::default())));
        store.statistics().select(Some(0));
        Tracking::new(&store, 0)
    }

    fn mode(change: impl FnOnce(&mut Mode)) -> Mode {
        let mut mode = Mode::default();
        change(&mut mode);
        mode
    }

    fn told(tracking: &Tracking) -> Vec<(u64, String)> {
        let pushes = tracking.take_news();
        let text = |key: &Vec<u8>| String::from_utf8_lossy(key).into_owned();
        let keys = |push: &Push| push.keys.as_ref().map_or("*".to_owned(), |keys| keys.iter().map(text).collect());
        let mut told: Vec<_> = pushes.iter().map(|push| (push.client, keys(push))).collect();
        told.sort();
        told
    }

    fn told_of(tracking: &Tracking, by: u64, key: &str) -> Vec<(u64, String)> {
        tracking.key_changed(by, key.as_bytes());
        told(tracking)
    }

    fn read(tracking: &Tracking, client: u64, keys: &[&str]) {
        tracking.remember(client, keys.iter().map(|key| key.as_bytes()), 0);
    }

    fn is_noted(tracking: &Tracking, key: &[u8]) -> bool {
        let store = &tracking.store;
        store.interest().listeners(|| store.interest_hash(key)).cached != 0
    }

    #[test]
    fn readers_are_told_once_of_a_change() {
        let tracking = tracking();
        tracking.turn_on(1, Mode::default());
        tracking.turn_on(2, mode(|mode| mode.no_loop = true));
        read(&tracking, 1, &["a", "b"]);
        read(&tracking, 2, &["a"]);
        read(&tracking, 3, &["a"]);
        assert!(is_noted(&tracking, b"a") && is_noted(&tracking, b"b"));
        assert_eq!(told_of(&tracking, 2, "a"), [(1, "a".to_owned())]);
        assert!(told_of(&tracking, 1, "a").is_empty());
        assert!(!is_noted(&tracking, b"a") && is_noted(&tracking, b"b"));
        assert_eq!(told_of(&tracking, 1, "b"), [(1, "b".to_owned())]);
    }

    #[test]
    fn followers_of_a_prefix_are_told_of_all_keys_at_once() {
        let tracking = tracking();
        let follow = |prefix: &str| mode(|mode| mode.broadcast = true).after(None, &[prefix.as_bytes()]).unwrap();
        tracking.turn_on(1, follow("a:"));
        tracking.turn_on(2, Mode { no_loop: true, ..follow("a:") });
        tracking.turn_on(3, follow(""));
        for (by, key) in [(2, "a:1"), (9, "a:2"), (9, "b:1"), (2, "a:1")] {
            tracking.key_changed(by, key.as_bytes());
        }
        let all = [(1, "a:1a:2".to_owned()), (2, "a:2".to_owned()), (3, "a:1a:2b:1".to_owned())];
        assert_eq!(told(&tracking), all);
        assert!(told(&tracking).is_empty());
        tracking.key_changed(2, b"a:1");
        tracking.key_changed(0, b"a:1");
        assert_eq!(told(&tracking).len(), 3);
    }

    #[test]
    fn who_left_is_told_nothing_and_leaves_no_note() {
        let tracking = tracking();
        tracking.turn_on(1, Mode::default());
        tracking.turn_on(2, Mode::default());
        read(&tracking, 1, &["a"]);
        read(&tracking, 2, &["a", "b"]);
        tracking.turn_off(1);
        assert_eq!(told_of(&tracking, 0, "a"), [(2, "a".to_owned())]);
        tracking.turn_off(2);
        assert!(!is_noted(&tracking, b"b") && !tracking.store.interest().is_listened_to());
        assert!(told_of(&tracking, 0, "b").is_empty());
    }

    #[test]
    fn everybody_is_told_when_everything_may_have_changed() {
        let tracking = tracking();
        tracking.turn_on(1, Mode::default());
        tracking.turn_on(2, mode(|mode| mode.broadcast = true));
        read(&tracking, 1, &["a"]);
        tracking.all_changed();
        assert_eq!(told(&tracking), [(1, "*".to_owned()), (2, "*".to_owned())]);
        assert!(told_of(&tracking, 0, "a").is_empty() && !is_noted(&tracking, b"a"));
    }

    #[test]
    fn keys_give_way_when_there_are_too_many() {
        let tracking = tracking();
        tracking.turn_on(1, Mode::default());
        read(&tracking, 1, &["a", "b", "c"]);
        tracking.trim(0);
        assert!(told(&tracking).is_empty());
        tracking.trim(1);
        assert_eq!(told(&tracking).len(), 2);
        tracking.remember(1, [&b"x"[..], b"y"].into_iter(), 1);
        assert_eq!(told(&tracking).len(), 2);
        assert_eq!(tracking.store.statistics().sum(Stat::TrackingKeys), 1);
    }

    /// The readers of a key that does not change grew by one with each client that had come, read it and left.
    #[test]
    fn readers_that_are_gone_are_forgotten() {
        let tracking = tracking();
        tracking.turn_on(1, Mode::default());
        read(&tracking, 1, &["a"]);
        for client in 2..10_000 {
            tracking.turn_on(client, Mode::default());
            read(&tracking, client, &["a", "b"]);
            tracking.turn_off(client);
        }
        assert!(tracking.store.statistics().sum(Stat::TrackingItems) < 4096);
        tracking.forget_the_gone(&mut tracking.tables.borrow_mut());
        assert_eq!((is_noted(&tracking, b"a"), is_noted(&tracking, b"b")), (true, false));
        assert_eq!(told_of(&tracking, 0, "a"), [(1, "a".to_owned())]);
    }

    #[test]
    fn counts_are_shown_to_all_workers() {
        let tracking = tracking();
        tracking.turn_on(1, Mode::default());
        tracking.turn_on(2, Mode::default());
        read(&tracking, 1, &["a", "b"]);
        read(&tracking, 2, &["a"]);
        let sum = |stat| tracking.store.statistics().sum(stat);
        let counts = [Stat::TrackingClients, Stat::TrackingKeys, Stat::TrackingItems, Stat::TrackingPrefixes];
        assert_eq!(counts.map(sum), [2, 2, 3, 0]);
    }
}
