//! The worker's post: what comes over the bus, from other workers or from this one, is delivered to the clients that it concerns.

use std::{os::fd::OwnedFd, rc::Rc};

use tokio::io::unix::AsyncFd;

use super::{
    hub::Hub,
    mailbox::{Form, Mailbox},
    news,
};
use crate::{
    command::{Heard, Kind, Message, Proto},
    protocol::{http::event, resp::encode_message},
    store::Stat,
};

/// Delivers for ever, whenever another worker rings the bell.
pub(super) async fn run(hub: Rc<Hub>, bell: AsyncFd<OwnedFd>) {
    loop {
        hub.state.bus.listen();
        collect(&hub);
        let Ok(mut rung) = bell.readable().await else { return };
        // The bell is never read: each time it is rung counts.
        rung.clear_ready();
    }
}

/// Delivers everything that others have published until now.
pub(super) fn collect(hub: &Hub) {
    hub.state.bus.pump();
    deliver(hub);
    end_all(hub, hub.state.clients.take_unheard());
}

/// As [`collect`], if there is anything. One load if there is not.
pub(super) fn collect_if_told(hub: &Hub) {
    hub.state.bus.pump_if_told();
    deliver(hub);
}

/// Delivers the letters that are there.
pub(super) fn deliver(hub: &Hub) {
    if hub.state.bus.has_letters() {
        deliver_letters(hub);
    }
    news::deliver(hub);
}

fn deliver_letters(hub: &Hub) {
    if hub.state.bus.take_lost() {
        make_up_for_losses(hub);
    }
    while let Some(letter) = hub.state.bus.next() {
        match Message::decode(&letter.bytes) {
            Some(Message::Publish { kind, channel, payload }) => {
                hub.state.pubsub.each_hearer(kind, channel, letter.number, &mut |heard, clients| {
                    let mut publication = Publication::new(hub, heard, channel, payload);
                    clients.for_each(|client| publication.send(client));
                });
            }
            Some(Message::Kill { clients }) => end_all(hub, ids_of(clients)),
            Some(Message::Users) => expel(hub),
            Some(Message::KeyEvent { by, db, event, key }) => {
                hub.state.tracking.key_changed(by, key);
                hub.watchers.tell(hub, event, db, key);
            }
            Some(Message::Flushed { db }) => {
                hub.state.tracking.all_changed();
                hub.watchers.tell_flush(hub, db);
            }
            Some(Message::Missed) => news::missed(hub),
            Some(Message::Overtaken { worker }) => news::tell_targets(hub, worker),
            Some(Message::AllChanged { clients }) => ids_of(clients).for_each(|id| news::invalidate(hub, id, &[])),
            Some(Message::Invalidate { client, keys }) => news::invalidate(hub, client, keys),
            Some(Message::Monitor { line }) => news::show(hub, line),
            None => tracing::error!("a message of another worker cannot be read"),
        }
    }
}

/// The clients whose numbers these bytes are.
fn ids_of(clients: &[u8]) -> impl Iterator<Item = u64> {
    clients.as_chunks().0.iter().map(|id| u64::from_le_bytes(*id))
}

/// Closes the connections of clients.
fn end_all(hub: &Hub, clients: impl IntoIterator<Item = u64>) {
    clients.into_iter().filter_map(|id| hub.roster.mailbox(id)).for_each(|mailbox| mailbox.end());
}

/// Messages are lost. For each kind that may have been among them: who could have heard it gets to know that, or what it said is read where it is
/// written down.
fn make_up_for_losses(hub: &Hub) {
    end_listeners(hub);
    hub.state.bus.send(hub.state.bus.others(), &Message::Overtaken { worker: hub.index });
    news::missed(hub);
    expel(hub);
    // With the next tick.
    hub.state.clients.note_lost();
}

/// Closes the connections of users that are gone, and of those that listen to what they may not hear any more. Whoever has a command executed
/// just now is looked at when its batch ends.
pub(super) fn expel(hub: &Hub) {
    let acl = &hub.state.acl;
    // What a stopped process holds is looked at again with the next batch, and by the tick.
    let _ = acl.refresh(&hub.state.settings);
    if acl.take_changed() {
        hub.roster.end_events(|shown| acl.default_user().is_open_to(shown));
        if !hub.roster.end_clients(|session| acl.is_unwelcome(session)) {
            acl.put_changed_back();
        }
    }
}

/// Messages are lost: whoever could have missed one gets to know it by the end of its connection.
fn end_listeners(hub: &Hub) {
    let listeners = hub.state.pubsub.everybody();
    tracing::warn!(
        listeners = listeners.len(),
        "messages of other workers were lost; their listeners are disconnected"
    );
    listeners.into_iter().filter_map(|client| hub.roster.mailbox(client)).for_each(|mailbox| end(hub, &mailbox));
}

fn end(hub: &Hub, mailbox: &Mailbox) {
    mailbox.end();
    hub.count(Stat::OutputClosed);
}

/// One published message for those who hear it in one way, encoded once for each form.
struct Publication<'a> {
    hub: &'a Hub,
    heard: Heard<'a>,
    channel: &'a [u8],
    payload: &'a [u8],
    forms: [Option<Rc<[u8]>>; Form::COUNT],
}

impl<'a> Publication<'a> {
    fn new(hub: &'a Hub, heard: Heard<'a>, channel: &'a [u8], payload: &'a [u8]) -> Self {
        Self { hub, heard, channel, payload, forms: Default::default() }
    }

    fn send(&mut self, client: u64) {
        let Some(mailbox) = self.hub.roster.mailbox(client) else { return };
        let form = mailbox.form();
        if self.forms[form as usize].is_none() {
            self.forms[form as usize] = Some(self.encode(form));
        }
        if let Some(bytes) = &self.forms[form as usize] {
            self.hub.deliver_to(&mailbox, bytes);
        }
    }

    fn encode(&self, form: Form) -> Rc<[u8]> {
        let mut out = Vec::new();
        let proto = match form {
            Form::Resp2 => Proto::Resp2,
            Form::Resp3 => Proto::Resp3,
            Form::Events => return event(self.heard, self.channel, self.payload).into(),
        };
        match self.heard {
            Heard::Channel(Kind::Channel) => encode_message(&[b"message", self.channel, self.payload], proto, &mut out),
            Heard::Channel(Kind::Shard) => encode_message(&[b"smessage", self.channel, self.payload], proto, &mut out),
            Heard::Pattern(pattern) => {
                encode_message(&[b"pmessage", pattern, self.channel, self.payload], proto, &mut out);
            }
        }
        out.into()
    }
}
