//! Connections whose request CLIENT PAUSE holds back: they wait for one watcher of their worker, which looks whether the pause is over.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::{sync::Notify, task::spawn_local};

use super::hub::Hub;
use crate::{command::Session, store::Stat};

/// Between two looks of the watcher, which runs only while somebody waits.
const LOOK: Duration = Duration::from_millis(5);

/// Who waits in this worker.
#[derive(Default)]
pub(super) struct Holding {
    over: Rc<Notify>,
    is_watched: Cell<bool>,
}

/// Waits until no pause lasts.
pub(super) async fn over(hub: Rc<Hub>) {
    let over = Rc::clone(&hub.holding.over);
    let notified = over.notified();
    if !hub.holding.is_watched.replace(true) {
        spawn_local(watch(hub));
    }
    notified.await;
}

async fn watch(hub: Rc<Hub>) {
    while hub.is_paused() && !hub.is_draining() {
        tokio::time::sleep(LOOK).await;
        hub.state.settings.follow();
    }
    hub.holding.is_watched.set(false);
    hub.holding.over.notify_waiters();
}

/// A client that is shown as held back for as long as this lives.
pub(super) struct Held {
    hub: Rc<Hub>,
    /// HTTP clients have none, and are not listed.
    session: Option<Rc<RefCell<Session>>>,
}

impl Held {
    pub(super) fn new(hub: &Rc<Hub>, session: Option<&Rc<RefCell<Session>>>) -> Self {
        let held = Self { hub: Rc::clone(hub), session: session.cloned() };
        held.show(true);
        hub.statistics().add(Stat::Held, 1);
        held
    }

    fn show(&self, is_paused: bool) {
        let Some(session) = &self.session else { return };
        let mut session = session.borrow_mut();
        session.is_paused = is_paused;
        self.hub.state.clients.update(&session);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hub.statistics().sub(Stat::Held, 1);
        self.show(false);
    }
}
