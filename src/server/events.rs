//! The body of an HTTP answer that has no end: events, as they come, until the client hangs up.
//!
//! The events come by the mailbox of the connection. So a client that does not take them is disconnected as any other is: its task is aborted,
//! since `hyper` asks for no more events, nor learns that there are none, while the socket takes nothing.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    hub::Hub,
    mailbox::Mailbox,
    roster::Place,
    watchers::{Watchers, Watching},
};
use crate::{
    command::{Shown, Subscriptions, unsubscribe_all},
    protocol::http::KEEP_ALIVE,
};

/// Between two signs of life: one who has hung up is noticed when it does not take them.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// Bytes of events that are handed on at once.
const FRAME_BYTES: usize = 64 * 1024;

/// The events of one client. When it is dropped, the client is gone.
pub(super) struct Events {
    hub: Rc<Hub>,
    client: u64,
    mailbox: Rc<Mailbox>,
    subscriptions: Subscriptions,
    watching: Option<Watching>,
    signs: Interval,
}

impl Events {
    /// Events for a new client, which has subscribed to nothing yet; `shown` is what let it in.
    pub(super) fn new(hub: &Rc<Hub>, place: &Place, shown: Shown) -> Self {
        let client = hub.state.clients.next_id();
        place.begin_events(shown);
        let mailbox = Rc::clone(&place.mailbox);
        hub.roster.add_mailbox(client, &mailbox);
        let mut signs = interval(SIGN_OF_LIFE);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { hub: Rc::clone(hub), client, mailbox, subscriptions: Subscriptions::default(), watching: None, signs }
    }

    /// Has the client told of the keys with these prefixes.
    pub(super) fn watch(&mut self, prefixes: &[Vec<u8>]) {
        self.watching = Some(Watchers::watch(&self.hub, prefixes.to_vec(), &self.mailbox));
    }

    /// The client's number and what it has subscribed to.
    pub(super) fn listener(&mut self) -> (u64, &mut Subscriptions) {
        (self.client, &mut self.subscriptions)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.hub.roster.remove_mailbox(self.client);
        unsubscribe_all(&self.hub.state, &mut self.subscriptions, self.client);
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.hub.is_draining() {
            return Poll::Ready(None);
        }
        self.mailbox.register(cx);
        let mut events = Vec::new();
        self.mailbox.take_into(&mut events, FRAME_BYTES);
        // It asks for more when it has room: what it holds is little.
        self.mailbox.note_pending(0);
        while self.signs.poll_tick(cx).is_ready() {
            events.extend_from_slice(KEEP_ALIVE);
        }
        if events.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(events.into()))))
    }
}
