//! The connections of a worker: who is there, what each is doing, and how to end it.
//!
//! A connection's task marks in its [`Pulse`] what it waits for. Whoever reads the pulse runs on the same thread, hence
//! only while that task waits; so a connection seen idle is idle, and may be ended on the spot by aborting its
//! task. That is why no read needs a timer of its own, nor a second event to wait for.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use tokio::task::{AbortHandle, spawn_local};

use super::{
    hub::Hub,
    mailbox::{Form, Mailbox},
};
use crate::{
    command::{Session, Shown},
    store::Stat,
};

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client's next request, or the rest of one that has not arrived in full.
    Idle,
    /// The rest of an HTTP head.
    Head,
    /// The rest of an HTTP body.
    Body,
    /// Its turn, or the store, or the client to take replies.
    Busy,
    /// The client to take an HTTP answer that is complete.
    Answer,
    /// Events for an HTTP client that listens.
    Listening,
    /// The end of a CLIENT PAUSE.
    Held,
}

/// What a connection is doing, and since when.
#[derive(Debug)]
pub(super) struct Pulse {
    phase: Cell<Phase>,
    since_ms: Cell<u64>,
}

impl Pulse {
    /// Enters a phase, or makes progress in it; `now_ms` is the worker's uptime.
    pub(super) fn mark(&self, phase: Phase, now_ms: u64) {
        self.phase.set(phase);
        self.since_ms.set(now_ms);
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }
}

struct Seat {
    abort: AbortHandle,
    pulse: Rc<Pulse>,
    session: Option<Rc<RefCell<Session>>>,
    mailbox: Rc<Mailbox>,
    /// What let an HTTP client in that listens.
    shown: Option<Shown>,
}

/// All connections of a worker.
#[derive(Default)]
pub(super) struct Roster {
    seats: RefCell<HashMap<u64, Seat>>,
    /// By the number of the client.
    mailboxes: RefCell<HashMap<u64, Rc<Mailbox>>>,
    next: Cell<u64>,
}

/// A connection's place; when it is dropped, the connection is gone. Its client was counted before.
pub(super) struct Place {
    hub: Rc<Hub>,
    number: u64,
    pub(super) pulse: Rc<Pulse>,
    pub(super) mailbox: Rc<Mailbox>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let seat = self.hub.roster.seats.borrow_mut().remove(&self.number);
        if let Some(session) = seat.and_then(|seat| seat.session) {
            let id = session.borrow().id;
            self.hub.roster.remove_mailbox(id);
            self.hub.state.leave(&mut session.borrow_mut());
            self.hub.state.clients.remove(id);
        }
        // Last, so that nobody finds more clients listed than are counted.
        self.hub.statistics().sub(Stat::Clients, 1);
    }
}

impl Place {
    /// The connection goes on as a listener to events, for as long as what its client has shown lets it in.
    pub(super) fn begin_events(&self, shown: Shown) {
        self.mailbox.set_form(Form::Events);
        if let Some(seat) = self.hub.roster.seats.borrow_mut().get_mut(&self.number) {
            seat.shown = Some(shown);
        }
    }
}

impl Roster {
    /// Runs a connection's task.
    pub(super) fn seat<F>(hub: &Rc<Hub>, session: Option<Rc<RefCell<Session>>>, task: impl FnOnce(Place) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let number = hub.roster.next.replace(hub.roster.next.get() + 1);
        let pulse = Rc::new(Pulse { phase: Cell::new(Phase::Idle), since_ms: Cell::new(hub.uptime_ms()) });
        let mailbox = Rc::new(Mailbox::new(Form::Resp2));
        let place = Place { hub: Rc::clone(hub), number, pulse: Rc::clone(&pulse), mailbox: Rc::clone(&mailbox) };
        let abort = spawn_local(task(place)).abort_handle();
        mailbox.belongs_to(abort.clone());
        if let Some(session) = &session {
            hub.roster.add_mailbox(session.borrow().id, &mailbox);
        }
        hub.roster.seats.borrow_mut().insert(number, Seat { abort, pulse, session, mailbox, shown: None });
    }

    pub(super) fn len(&self) -> usize {
        self.seats.borrow().len()
    }

    /// Has messages for a client that has no seat of its own go to `mailbox`.
    pub(super) fn add_mailbox(&self, client: u64, mailbox: &Rc<Mailbox>) {
        self.mailboxes.borrow_mut().insert(client, Rc::clone(mailbox));
    }

    pub(super) fn remove_mailbox(&self, client: u64) {
        self.mailboxes.borrow_mut().remove(&client);
    }

    /// Where messages for a client go.
    pub(super) fn mailbox(&self, client: u64) -> Option<Rc<Mailbox>> {
        self.mailboxes.borrow().get(&client).cloned()
    }

    /// Ends the clients that do not take their messages; returns how many.
    pub(super) fn end_overfull(&self, now_ms: u64) -> usize {
        let mailboxes = self.mailboxes.borrow();
        let overfull = mailboxes.values().filter(|mailbox| !mailbox.is_ended() && mailbox.is_over(now_ms));
        overfull.map(|mailbox| mailbox.end()).count()
    }

    /// Ends the connections that `overdue` picks by their phase, the milliseconds since it began, and whether they
    /// listen to messages; returns how many.
    pub(super) fn end(&self, now_ms: u64, overdue: impl Fn(Phase, u64, bool) -> bool) -> usize {
        let seats = self.seats.borrow();
        let is_overdue = |seat: &&Seat| {
            let since_ms = now_ms.saturating_sub(seat.pulse.since_ms.get());
            overdue(seat.pulse.phase.get(), since_ms, seat.mailbox.listens())
        };
        seats.values().filter(is_overdue).map(|seat| seat.abort.abort()).count()
    }

    /// Ends the RESP clients that `is_over` picks. The one whose command is being executed cannot be looked at; whether there was none.
    pub(super) fn end_clients(&self, is_over: impl Fn(&Session) -> bool) -> bool {
        let mut saw_all = true;
        for seat in self.seats.borrow().values() {
            match seat.session.as_ref().map(|session| session.try_borrow()) {
                Some(Ok(session)) if is_over(&session) => seat.mailbox.end(),
                Some(Err(_)) => saw_all = false,
                _ => {}
            }
        }
        saw_all
    }

    /// Ends the HTTP clients that listen and that what they have shown does not let in any more.
    pub(super) fn end_events(&self, lets_in: impl Fn(&Shown) -> bool) {
        let seats = self.seats.borrow();
        let is_over = |seat: &&Seat| seat.shown.as_ref().is_some_and(|shown| !lets_in(shown));
        seats.values().filter(is_over).for_each(|seat| seat.mailbox.end());
    }

    /// Calls `with` for every RESP client that was active in the last `window_ms` milliseconds.
    pub(super) fn each_active(&self, now_ms: u64, window_ms: u64, with: impl Fn(&Session)) {
        for seat in self.seats.borrow().values() {
            if now_ms.saturating_sub(seat.pulse.since_ms.get()) <= window_ms
                && let Some(session) = &seat.session
            {
                with(&session.borrow());
            }
        }
    }
}
