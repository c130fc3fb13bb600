//! What clients of this worker are told about keys and commands: invalidations for those that cache keys, lines for those that watch commands.

use std::{cell::Cell, rc::Rc};

use super::{hub::Hub, mailbox::Form};
use crate::{
    command::{Message, NAMED_AT_ONCE, Proto, Push, Reply},
    protocol::resp::encode,
    store::{Stat, Targets},
};

/// How an invalidation begins. A RESP2 client is told, in the place of another, as of a message on a channel.
const RESP3_HEAD: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";
const RESP2_HEAD: &[u8] = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";

/// How many processes were lost or made so far: when the number changes, one may have died between a change and the word about it.
#[derive(Default)]
pub(super) struct Losses(Cell<u64>);

impl Losses {
    /// As of now.
    pub(super) fn note(&self, hub: &Hub) {
        self.0.set(Self::count(hub));
    }

    fn count(hub: &Hub) -> u64 {
        hub.statistics().recoveries() + hub.statistics().sum(Stat::Starts)
    }

    /// Tells everybody that something may have been missed, if somebody has died since this was last asked.
    pub(super) fn look(&self, hub: &Hub) {
        let count = Self::count(hub);
        if self.0.replace(count) != count {
            missed(hub);
        }
    }
}

/// Everybody who is told of keys is told that any may have changed.
pub(super) fn missed(hub: &Hub) {
    hub.state.tracking.all_changed();
    hub.watchers.reset(hub);
    deliver(hub);
}

/// Sends what clients that cache keys are to be told. One load if that is nothing.
pub(super) fn deliver(hub: &Hub) {
    for push in hub.state.tracking.take_news() {
        send(hub, &push);
    }
}

fn send(hub: &Hub, push: &Push) {
    let keys = push.keys.as_ref().map(|keys| list_of(keys)).unwrap_or_default();
    if push.redirect == 0 {
        if let Some(mailbox) = hub.roster.mailbox(push.client).filter(|mailbox| mailbox.form() == Form::Resp3) {
            hub.deliver_to(&mailbox, &invalidation(Form::Resp3, &keys));
        }
    } else if hub.roster.mailbox(push.redirect).is_some() {
        invalidate(hub, push.redirect, &keys);
    } else {
        send_on(hub, push, &keys);
    }
}

/// Sends an invalidation to the worker of the client that is told in another's place.
fn send_on(hub: &Hub, push: &Push, keys: &[u8]) {
    let targets = match hub.state.clients.worker_of(push.redirect) {
        Ok(Some(worker)) if worker != hub.index => Targets::one(worker),
        Ok(_) => return tell_broken(hub, push),
        // A stopped process hides where the client is: whoever has it knows it.
        Err(_) => hub.state.bus.everybody(),
    };
    let client = push.redirect;
    if !hub.state.bus.send(targets, &Message::Invalidate { client, keys }) {
        // So many keys: all of them.
        hub.state.bus.send(targets, &Message::Invalidate { client, keys: &[] });
    }
}

/// Another worker has lost messages, perhaps some for clients that are told in the place of this one's: they are told that any key may have
/// changed. All of them are named to that worker, in as few messages as can be, lest it be overtaken by these.
pub(super) fn tell_targets(hub: &Hub, worker: usize) {
    let elsewhere = hub.state.tracking.targets().into_iter().filter(|target| hub.roster.mailbox(*target).is_none());
    let ids: Vec<u8> = elsewhere.flat_map(u64::to_le_bytes).collect();
    for clients in ids.chunks(8 * NAMED_AT_ONCE) {
        hub.state.bus.send(Targets::one(worker), &Message::AllChanged { clients });
    }
}

/// Tells a client that the one which was told in its place is gone.
fn tell_broken(hub: &Hub, push: &Push) {
    hub.state.tracking.redirect_is_broken(push.client);
    if let Some(mailbox) = hub.roster.mailbox(push.client).filter(|mailbox| mailbox.form() == Form::Resp3) {
        let broken = [Reply::Text("tracking-redir-broken"), Reply::Int(push.redirect as i64)];
        hub.deliver_to(&mailbox, &encoded(&Reply::Push(broken.to_vec()), Proto::Resp3));
    }
}

/// Tells a client of this worker, in another's place, that keys have changed.
pub(super) fn invalidate(hub: &Hub, client: u64, keys: &[u8]) {
    let Some(mailbox) = hub.roster.mailbox(client) else { return };
    if mailbox.form() == Form::Resp3 || mailbox.listens() {
        hub.deliver_to(&mailbox, &invalidation(mailbox.form(), keys));
    }
}

/// Shows a command to the clients that watch commands.
pub(super) fn show(hub: &Hub, line: &[u8]) {
    let line: Rc<[u8]> = line.into();
    for mailbox in hub.state.monitors.clients().into_iter().filter_map(|client| hub.roster.mailbox(client)) {
        hub.deliver_to(&mailbox, &line);
    }
}

/// Keys as a list, which is the same in both protocols.
fn list_of(keys: &[Vec<u8>]) -> Vec<u8> {
    let list = Reply::Array(keys.iter().map(|key| Reply::Bulk(key.clone())).collect());
    encoded(&list, Proto::Resp3).to_vec()
}

/// The message that these keys have changed; none: all.
fn invalidation(form: Form, keys: &[u8]) -> Rc<[u8]> {
    let (head, proto) = match form {
        Form::Resp3 => (RESP3_HEAD, Proto::Resp3),
        Form::Resp2 | Form::Events => (RESP2_HEAD, Proto::Resp2),
    };
    let mut out = head.to_vec();
    if keys.is_empty() {
        encode(&Reply::Null, proto, &mut out);
    } else {
        out.extend_from_slice(keys);
    }
    out.into()
}

fn encoded(reply: &Reply, proto: Proto) -> Rc<[u8]> {
    let mut out = Vec::new();
    encode(reply, proto, &mut out);
    out.into()
}
