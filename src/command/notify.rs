//! Events of keys: what a command says about the keys that it changed, and who may want to know.
//!
//! A handler calls [`Call::notify`] once its change has succeeded. While nobody listens that is a fence and a load. Otherwise the event
//! is noted, and goes out when the command is over: to subscribers of `__keyspace@<db>__:<key>` and
//! `__keyevent@<db>__:<event>`, to clients that cache the key, and to HTTP clients that watch keys.

use std::{cell::RefCell, collections::HashSet};

use super::call::Call;
use crate::store::{Departed, Listeners, Store};

/// The kind of an event, by which `notify-keyspace-events` chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    /// `g`: commands on keys of any type.
    Generic = 1 << 2,
    /// `$`: commands on strings.
    String = 1 << 3,
    /// `h`: commands on hashes.
    Hash = 1 << 6,
    /// `x`: a key's time has passed.
    Expired = 1 << 8,
    /// `e`: a key had to go to make room.
    Evicted = 1 << 9,
    /// `m`: a key that was read is not there. Part of no `A`.
    Miss = 1 << 11,
    /// `n`: a key is new. Part of no `A`.
    New = 1 << 13,
}

impl Class {
    /// Whether an event of this class changes the key.
    #[must_use]
    pub fn is_change(self) -> bool {
        !matches!(self, Self::Miss | Self::New)
    }
}

/// Publish on the channel of the key.
const KEYSPACE: u32 = 1 << 0;
/// Publish on the channel of the event.
const KEYEVENT: u32 = 1 << 1;
/// The classes that `A` stands for, in the order in which they are shown.
const LETTERS: [(char, u32); 10] = [
    ('g', Class::Generic as u32),
    ('$', Class::String as u32),
    ('l', 1 << 4),
    ('s', 1 << 5),
    ('h', Class::Hash as u32),
    ('z', 1 << 7),
    ('x', Class::Expired as u32),
    ('e', Class::Evicted as u32),
    ('t', 1 << 10),
    ('d', 1 << 12),
];
/// The letters that stand for themselves alone.
const OTHERS: [(char, u32); 4] =
    [('K', KEYSPACE), ('E', KEYEVENT), ('m', Class::Miss as u32), ('n', Class::New as u32)];
const ALL: u32 = {
    let (mut all, mut at) = (0, 0);
    while at < LETTERS.len() {
        all |= LETTERS[at].1;
        at += 1;
    }
    all
};

/// The value of `notify-keyspace-events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventClasses(u32);

impl EventClasses {
    /// The classes that these letters name; `None` if there is a letter that names none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bits = |letter| match letter {
            'A' => Some(ALL),
            _ => LETTERS.iter().chain(&OTHERS).find(|known| known.0 == letter).map(|known| known.1),
        };
        text.chars().try_fold(0, |all, letter| Some(all | bits(letter)?)).map(Self)
    }

    /// From the bits that [`EventClasses::bits`] gave.
    #[must_use]
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// As bits. 0 if nothing is published.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// The letters, in the usual order.
    #[must_use]
    pub fn text(self) -> String {
        let chosen = |&&(_, bit): &&(char, u32)| self.0 & bit != 0;
        let letters = |of: &[(char, u32)]| of.iter().filter(chosen).map(|known| known.0).collect::<String>();
        let classes = if self.0 & ALL == ALL { "A".to_owned() } else { letters(&LETTERS) };
        classes + &letters(&OTHERS)
    }

    /// Whether events are published on the channels of keys, and on those of events.
    #[must_use]
    pub fn channels(self) -> (bool, bool) {
        (self.0 & KEYSPACE != 0, self.0 & KEYEVENT != 0)
    }

    /// Whether an event of this class is published at all.
    #[must_use]
    pub fn publishes(self, class: Class) -> bool {
        self.0 & class as u32 != 0 && self.0 & (KEYSPACE | KEYEVENT) != 0
    }
}

/// Something that somebody wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An event of a key.
    Key {
        /// The key's database.
        db: u8,
        /// The kind of event.
        class: Class,
        /// Its name.
        event: &'static str,
        /// The key.
        key: Vec<u8>,
        /// Number of the client that did it; 0: nobody's.
        by: u64,
        /// Who wants to be told.
        listeners: Listeners,
    },
    /// A database, or all of them, was flushed.
    Flushed(Option<u8>),
    /// Keys went of which nobody could be told.
    Missed,
}

impl Notice {
    /// Whether no client did it.
    fn is_nobodys(&self) -> bool {
        matches!(self, Self::Key { by: 0, .. } | Self::Missed)
    }
}

/// What there is to tell of the request at hand, and of those that wait for a stopped process and have done some of their work.
#[derive(Debug, Default)]
pub struct Notices {
    notices: RefCell<Vec<Notice>>,
    /// Keys that were not there before the request.
    absent: RefCell<HashSet<(u8, Vec<u8>)>>,
    /// Those of them that are to be told of, in the order in which they were looked for, each as often as it was.
    missed: RefCell<Vec<(u8, Vec<u8>)>>,
}

impl Notices {
    /// Notes an event, if anybody wants to be told of it. After the change that it tells of.
    #[inline]
    pub fn add(&self, store: &Store, by: u64, db: u8, class: Class, event: &'static str, key: &[u8]) {
        let listeners = store.interest().listeners(|| store.interest_hash(key));
        if listeners.is_any() {
            self.tell_departures(store);
            self.tell_missed(store, by);
            self.add_for(listeners, by, db, class, event, key);
        }
    }

    #[cold]
    fn add_for(&self, mut listeners: Listeners, by: u64, db: u8, class: Class, event: &'static str, key: &[u8]) {
        let is_new = class.is_change() && event != "del" && self.absent.borrow_mut().remove(&(db, key.to_vec()));
        if is_new {
            self.add_for(listeners, by, db, Class::New, "new", key);
        }
        if !class.is_change() {
            listeners = Listeners { classes: listeners.classes, ..Listeners::default() };
        }
        if !EventClasses(listeners.classes).publishes(class) {
            listeners.classes = 0;
        }
        if listeners.is_any() {
            self.notices.borrow_mut().push(Notice::Key { db, class, event, key: key.to_vec(), by, listeners });
        }
    }

    /// Notes that a database, or all of them, was flushed.
    pub fn add_flush(&self, store: &Store, db: Option<u8>) {
        if store.interest().is_listened_to() {
            self.notices.borrow_mut().push(Notice::Flushed(db));
        }
    }

    /// Notes the keys that went without being asked to until now.
    pub fn tell_departures(&self, store: &Store) {
        let Some(gone) = store.take_departures() else { return };
        for Departed { db, key, evicted } in gone.keys {
            let (class, event) = if evicted { (Class::Evicted, "evicted") } else { (Class::Expired, "expired") };
            let listeners = store.interest().listeners(|| store.interest_hash(&key));
            self.add_for(listeners, 0, db, class, event, &key);
        }
        if gone.lost {
            self.notices.borrow_mut().push(Notice::Missed);
        }
    }

    /// Begins with a request, or gives it up: nothing is known to be absent.
    pub(crate) fn forget_absent(&self) {
        self.absent.borrow_mut().clear();
        self.missed.borrow_mut().clear();
    }

    /// Notes that a key is not there before the request, and whether that is to be told.
    pub(crate) fn note_absent(&self, db: u8, key: &[u8], is_told: bool) {
        self.absent.borrow_mut().insert((db, key.to_vec()));
        if is_told {
            self.missed.borrow_mut().push((db, key.to_vec()));
        }
    }

    /// Whether a key was not there before the request that somebody is to be told of.
    #[inline]
    pub(crate) fn has_missed(&self) -> bool {
        !self.missed.borrow().is_empty()
    }

    /// Notes that keys were looked for which were not there: before anything else that the request has to tell.
    pub(crate) fn tell_missed(&self, store: &Store, by: u64) {
        for (db, key) in self.missed.take() {
            let listeners = store.interest().listeners(|| store.interest_hash(&key));
            self.add_for(listeners, by, db, Class::Miss, "keymiss", &key);
        }
    }

    /// How much was noted so far, by the request at hand and by those that wait.
    pub(crate) fn len(&self) -> usize {
        self.notices.borrow().len()
    }

    /// Forgets what was noted since there were `len`, as it was undone. A key that nobody asked to go is told of all the same: its time has
    /// passed in any case, and who hears once too often that it went has missed nothing.
    pub(crate) fn take_back(&self, len: usize) {
        let mut notices = self.notices.borrow_mut();
        let undone = notices.split_off(len);
        notices.extend(undone.into_iter().filter(Notice::is_nobodys));
    }

    /// What was noted so far, which is forgotten here.
    #[must_use]
    pub fn take(&self) -> Vec<Notice> {
        if self.notices.borrow().is_empty() { Vec::new() } else { self.notices.take() }
    }
}

impl Call<'_, '_> {
    /// Tells who listens that this happened to a key of the client's database. To be called after the change.
    #[inline]
    pub(crate) fn notify(&self, class: Class, event: &'static str, key: &[u8]) {
        self.notify_in(self.db(), class, event, key);
    }

    /// Tells who listens that a key was given a time that has passed: it was deleted, and it has expired.
    pub(crate) fn notify_past(&self, key: &[u8]) {
        self.notify(Class::Generic, "del", key);
        self.notify(Class::Expired, "expired", key);
    }

    /// As [`Call::notify`], for a key of another database.
    #[inline]
    pub(crate) fn notify_in(&self, db: u8, class: Class, event: &'static str, key: &[u8]) {
        self.env.state.notices.add(self.env.store, self.session.id, db, class, event, key);
    }

    /// Tells who listens that a database, or all of them, was flushed, or that the keys of two changed places.
    pub(crate) fn notify_flush(&self, db: Option<u8>) {
        self.env.state.notices.add_flush(self.env.store, db);
    }

    /// Whether anybody may want to be told of events of keys: a reason to find out more than the reply needs.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.env.interest.is_listened_to()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::{Server, check};

    #[test]
    fn classes_are_shown_in_the_usual_order() {
        for (given, shown) in [
            ("gKE", "gKE"),
            ("KEg", "gKE"),
            ("$lshzxeKE", "$lshzxeKE"),
            ("KA", "AK"),
            ("EA", "AE"),
            ("KEA", "AKE"),
            ("g$lshzxetdK", "AK"),
            ("AmnE", "AEmn"),
            ("", ""),
        ] {
            assert_eq!(EventClasses::parse(given).unwrap().text(), shown, "{given}");
        }
        assert_eq!(EventClasses::parse("KEq"), None);
    }

    #[test]
    fn a_class_is_published_on_some_channel_or_not_at_all() {
        let publishes = |text, class| EventClasses::parse(text).unwrap().publishes(class);
        assert!(publishes("Kg", Class::Generic) && publishes("E$", Class::String));
        assert!(!publishes("g", Class::Generic) && !publishes("Kg", Class::String));
        assert!(!publishes("KEA", Class::Miss) && !publishes("KEA", Class::New));
    }

    #[test]
    fn the_setting_is_read_and_written_by_config() {
        check(
            &Server::new(),
            &[
                ("CONFIG GET notify-keyspace-events", "*2 $22 notify-keyspace-events $0 "),
                ("CONFIG SET notify-keyspace-events KEA", "+OK"),
                ("CONFIG GET notify-keyspace-events", "*2 $22 notify-keyspace-events $3 AKE"),
                (
                    "CONFIG SET notify-keyspace-events KEq",
                    "-ERR CONFIG SET failed (possibly related to argument 'notify-keyspace-events') - Invalid event \
                     class character. Use 'Ag$lshzxeKEtmdn'.",
                ),
                ("CONFIG SET notify-keyspace-events ''", "+OK"),
                ("CONFIG GET notify-keyspace-events", "*2 $22 notify-keyspace-events $0 "),
            ],
        );
    }

    #[test]
    fn only_what_somebody_listens_to_is_noted() {
        let server = Server::new();
        let (notices, store) = (&server.state.notices, &server.store);
        notices.add(store, 1, 0, Class::String, "set", b"k");
        assert!(notices.take().is_empty());
        server.run("CONFIG SET notify-keyspace-events K$");
        notices.add(store, 1, 0, Class::Generic, "del", b"k");
        notices.add(store, 1, 3, Class::String, "set", b"k");
        let taken = notices.take();
        assert!(matches!(taken.as_slice(), [Notice::Key { db: 3, event: "set", by: 1, .. }]), "{taken:?}");
        store.interest().join(crate::store::Audience::Watchers, 0);
        notices.add(store, 1, 0, Class::Generic, "del", b"k");
        notices.add(store, 1, 0, Class::Miss, "keymiss", b"k");
        assert_eq!(notices.take().len(), 1);
    }
}
