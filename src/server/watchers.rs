//! The HTTP clients of this worker that watch keys.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use super::{hub::Hub, mailbox::Mailbox};
use crate::{
    protocol::http::{flush_event, key_event, reset_event},
    store::Audience,
};

struct Watcher {
    /// None: every key.
    prefixes: Vec<Vec<u8>>,
    mailbox: Rc<Mailbox>,
}

impl Watcher {
    fn watches(&self, key: &[u8]) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| key.starts_with(prefix))
    }
}

/// All watchers of a worker.
#[derive(Default)]
pub(super) struct Watchers {
    next: Cell<u64>,
    watchers: RefCell<BTreeMap<u64, Watcher>>,
}

/// A watcher, for as long as this lives.
pub(super) struct Watching {
    hub: Rc<Hub>,
    number: u64,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watchers = self.hub.watchers.watchers.borrow_mut();
        watchers.remove(&self.number);
        if watchers.is_empty() {
            self.hub.store.interest().leave(Audience::Watchers, self.hub.index);
        }
    }
}

impl Watchers {
    /// Begins to tell a client of the keys with one of these prefixes. It has missed everything so far, and is told so first.
    pub(super) fn watch(hub: &Rc<Hub>, prefixes: Vec<Vec<u8>>, mailbox: &Rc<Mailbox>) -> Watching {
        let all = &hub.watchers;
        let number = all.next.replace(all.next.get() + 1);
        all.watchers.borrow_mut().insert(number, Watcher { prefixes, mailbox: Rc::clone(mailbox) });
        hub.store.interest().join(Audience::Watchers, hub.index);
        hub.deliver_to(mailbox, &reset_event().into());
        Watching { hub: Rc::clone(hub), number }
    }

    /// Tells of an event of a key.
    pub(super) fn tell(&self, hub: &Hub, event: &[u8], db: u8, key: &[u8]) {
        if self.watchers.borrow().is_empty() {
            return;
        }
        let event = key_event(&String::from_utf8_lossy(event), db, key);
        self.send(hub, &event.into(), |watcher| watcher.watches(key));
    }

    /// Tells of a database, or all of them, that was flushed.
    pub(super) fn tell_flush(&self, hub: &Hub, db: Option<u8>) {
        self.send(hub, &flush_event(db).into(), |_| true);
    }

    /// Tells everybody that something may have been missed.
    pub(super) fn reset(&self, hub: &Hub) {
        self.send(hub, &reset_event().into(), |_| true);
    }

    fn send(&self, hub: &Hub, event: &Rc<[u8]>, is_for: impl Fn(&Watcher) -> bool) {
        for watcher in self.watchers.borrow().values().filter(|watcher| is_for(watcher)) {
            hub.deliver_to(&watcher.mailbox, event);
        }
    }
}
