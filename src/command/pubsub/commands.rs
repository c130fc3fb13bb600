//! The commands: (P|S)SUBSCRIBE, (P|S)UNSUBSCRIBE, PUBLISH, SPUBLISH, PUBSUB.

use std::collections::BTreeSet;

use super::{super::introspect, board::Topic, subscriptions::Subscriptions};
use crate::{
    command::{
        Proto, Reply, Session, WorkerState,
        bus::{Kind, Message},
        call::Call,
        glob,
        refusal::{Answer, refuse},
        table::{Command, Handler, PLAIN},
    },
    store::{Error, Result},
};

const PUBSUB_FLAGS: &[&str] = &["pubsub", "noscript", "loading", "stale"];
const PUBLISH_FLAGS: &[&str] = &["pubsub", "loading", "stale", "fast"];
const LISTING_FLAGS: &[&str] = &["pubsub", "loading", "stale"];

const CHANNEL: Topic = Topic::Channel(Kind::Channel);
const SHARD: Topic = Topic::Channel(Kind::Shard);

pub(crate) const COMMANDS: &[Command] = &[
    command("subscribe", -2, subscribe).subscribes(false).docs(
        "2.0.0",
        "channel [channel ...]",
        "Listens to channels.",
    ),
    command("unsubscribe", -1, unsubscribe).docs("2.0.0", "[channel [channel ...]]", "Listens to channels no more."),
    command("psubscribe", -2, psubscribe).subscribes(true).docs(
        "2.0.0",
        "pattern [pattern ...]",
        "Listens to every channel that matches a pattern.",
    ),
    command("punsubscribe", -1, punsubscribe).docs(
        "2.0.0",
        "[pattern [pattern ...]]",
        "Listens to what matches patterns no more.",
    ),
    command("ssubscribe", -2, ssubscribe).subscribes(false).keys(1, -1, 1).docs(
        "7.0.0",
        "shardchannel [shardchannel ...]",
        "Listens to channels of sharded pub/sub.",
    ),
    command("sunsubscribe", -1, sunsubscribe).keys(1, -1, 1).docs(
        "7.0.0",
        "[shardchannel [shardchannel ...]]",
        "Listens to channels of sharded pub/sub no more.",
    ),
    command("publish", 3, publish_channel).publishes().flags(PUBLISH_FLAGS).docs(
        "2.0.0",
        "channel message",
        "Sends a message to all who listen, at every worker.",
    ),
    command("spublish", 3, publish_shard).publishes().flags(PUBLISH_FLAGS).keys(1, 1, 1).docs(
        "7.0.0",
        "shardchannel message",
        "Sends a message to all who listen to a channel of sharded pub/sub.",
    ),
    command("pubsub", -2, help).flags(&[]).docs("2.8.0", "", "Commands about pub/sub.").subcommands(PUBSUB),
];

const PUBSUB: &[Command] = &[
    sub("pubsub|channels", -2, channels).docs("2.8.0", "[pattern]", "Returns the channels that somebody listens to."),
    sub("pubsub|help", 2, help).group("server").flags(PLAIN).docs("6.2.0", "", "Lists the subcommands."),
    sub("pubsub|numpat", 2, numpat).docs("2.8.0", "", "Returns how many patterns somebody listens to."),
    sub("pubsub|numsub", -2, numsub).docs("2.8.0", "[channel [channel ...]]", "Returns how many listen to channels."),
    sub("pubsub|shardchannels", -2, shardchannels).docs(
        "7.0.0",
        "[pattern]",
        "Returns the channels of sharded pub/sub that somebody listens to.",
    ),
    sub("pubsub|shardnumsub", -2, shardnumsub).docs(
        "7.0.0",
        "[shardchannel [shardchannel ...]]",
        "Returns how many listen to channels of sharded pub/sub.",
    ),
];

const fn command(name: &'static str, arity: i64, handler: Handler) -> Command {
    Command::new(name, arity, handler).group("pubsub").flags(PUBSUB_FLAGS)
}

const fn sub(full_name: &'static str, arity: i64, handler: Handler) -> Command {
    Command::sub(full_name, arity, handler).group("pubsub").flags(LISTING_FLAGS)
}

/// Whether a command may be used by a client that listens and speaks RESP2, in which any other answer could be taken for a message.
pub(crate) fn is_subscriber_command(command: &Command) -> bool {
    let open = ["ping", "quit", "reset", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"];
    open.contains(&command.name) || ["ssubscribe", "sunsubscribe"].contains(&command.name)
}

/// Whether nothing but messages and the answers of [`is_subscriber_command`] may be sent to this client.
pub(crate) fn only_listens(session: &Session) -> bool {
    session.proto == Proto::Resp2 && !session.subscriptions.is_empty()
}

/// Sends a message to all who listen, once the request at hand has succeeded; returns how many that are.
///
/// # Errors
///
/// [`Error::TooLarge`] if it is longer than what workers can tell each other.
pub fn publish(state: &WorkerState, kind: Kind, channel: &[u8], payload: &[u8]) -> Result<i64> {
    let message = Message::Publish { kind, channel, payload };
    let (len, max) = (message.encoded_len(), state.bus.longest());
    if len > max {
        let rest = len - payload.len();
        return Err(Error::TooLarge { what: "bytes of a message", len: payload.len(), max: max.saturating_sub(rest) });
    }
    let reach = state.pubsub.reach(kind, channel);
    state.bus.post(reach.workers, &message);
    Ok(reach.count)
}

/// Subscribes a client that is no session to a channel or a pattern.
///
/// # Errors
///
/// [`Error::KeyTooLong`], [`Error::TableFull`], [`Error::Busy`].
pub fn listen_to(
    state: &WorkerState,
    own: &mut Subscriptions,
    client: u64,
    name: &[u8],
    is_pattern: bool,
) -> Result<()> {
    let topic = if is_pattern { Topic::Pattern } else { CHANNEL };
    state.pubsub.subscribe(&state.bus, own, client, topic, &[name])
}

/// Unsubscribes a client from everything.
pub fn unsubscribe_all(state: &WorkerState, own: &mut Subscriptions, client: u64) {
    state.pubsub.leave(own, client);
}

fn publish_channel(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(publish(call.env.state, Kind::Channel, call.arg(1), call.arg(2))?))
}

fn publish_shard(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(publish(call.env.state, Kind::Shard, call.arg(1), call.arg(2))?))
}

fn subscribe(call: &mut Call<'_, '_>) -> Answer {
    listen(call, CHANNEL, "subscribe")
}

fn psubscribe(call: &mut Call<'_, '_>) -> Answer {
    listen(call, Topic::Pattern, "psubscribe")
}

fn ssubscribe(call: &mut Call<'_, '_>) -> Answer {
    listen(call, SHARD, "ssubscribe")
}

/// Subscribes to all names, then confirms each of them with the count that it would have brought about alone.
fn listen(call: &mut Call<'_, '_>, topic: Topic, what: &'static str) -> Answer {
    let names: Vec<&[u8]> = call.args.from(1).collect();
    let state = call.env.state;
    let session = &mut *call.session;
    let before = Before::of(&session.subscriptions, topic, &names);
    state.pubsub.subscribe(&state.bus, &mut session.subscriptions, session.id, topic, &names)?;
    session.dirty = true;
    let mut count = session.subscriptions.shown(topic) - before.new;
    let mut seen = before.had;
    let confirm = |name: &&[u8]| {
        count += i64::from(seen.insert(name.to_vec()));
        confirmation(what, Some(name), count)
    };
    Ok(Reply::Several(names.iter().map(confirm).collect()))
}

fn unsubscribe(call: &mut Call<'_, '_>) -> Answer {
    forget(call, CHANNEL, "unsubscribe")
}

fn punsubscribe(call: &mut Call<'_, '_>) -> Answer {
    forget(call, Topic::Pattern, "punsubscribe")
}

fn sunsubscribe(call: &mut Call<'_, '_>) -> Answer {
    forget(call, SHARD, "sunsubscribe")
}

/// Unsubscribes from the names, or from all there are.
fn forget(call: &mut Call<'_, '_>, topic: Topic, what: &'static str) -> Answer {
    let named: Vec<Vec<u8>> = match call.args.len() {
        1 => call.session.subscriptions.of(topic).iter().cloned().collect(),
        _ => call.args.from(1).map(<[u8]>::to_vec).collect(),
    };
    let (state, session) = (call.env.state, &mut *call.session);
    session.dirty = true;
    if named.is_empty() {
        return Ok(confirmation(what, None, session.subscriptions.shown(topic)));
    }
    let confirm = |name: &Vec<u8>| {
        state.pubsub.unsubscribe(&mut session.subscriptions, session.id, topic, name);
        confirmation(what, Some(name), session.subscriptions.shown(topic))
    };
    Ok(Reply::Several(named.iter().map(confirm).collect()))
}

fn confirmation(what: &'static str, name: Option<&[u8]>, count: i64) -> Reply {
    let name = name.map_or(Reply::Null, |name| Reply::Bulk(name.to_vec()));
    Reply::Push(vec![Reply::Text(what), name, Reply::Int(count)])
}

fn help(call: &mut Call<'_, '_>) -> Answer {
    Ok(introspect::help(call, "PUBSUB", PUBSUB))
}

fn channels(call: &mut Call<'_, '_>) -> Answer {
    listed(call, Kind::Channel)
}

fn shardchannels(call: &mut Call<'_, '_>) -> Answer {
    listed(call, Kind::Shard)
}

fn listed(call: &mut Call<'_, '_>, kind: Kind) -> Answer {
    if call.args.len() > 3 {
        let name = call.text(1);
        return refuse(format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try PUBSUB HELP."));
    }
    let mut names = call.env.state.pubsub.channels(kind)?;
    names.retain(|name| call.args.len() == 2 || glob::matches(call.arg(2), name));
    Ok(Reply::Array(names.into_iter().map(Reply::Bulk).collect()))
}

fn numpat(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(call.env.state.pubsub.pattern_count() as i64))
}

fn numsub(call: &mut Call<'_, '_>) -> Answer {
    counted(call, Kind::Channel)
}

fn shardnumsub(call: &mut Call<'_, '_>) -> Answer {
    counted(call, Kind::Shard)
}

fn counted(call: &mut Call<'_, '_>, kind: Kind) -> Answer {
    let count = |name: &[u8]| [Reply::Bulk(name.to_vec()), Reply::Int(call.env.state.pubsub.count(kind, name))];
    Ok(Reply::Array(call.args.from(2).flat_map(count).collect()))
}

/// Which of some names a client had already.
struct Before {
    had: BTreeSet<Vec<u8>>,
    /// How many it did not have.
    new: i64,
}

impl Before {
    fn of(subscriptions: &Subscriptions, topic: Topic, names: &[&[u8]]) -> Self {
        let mut distinct: Vec<&[u8]> = names.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let own = subscriptions.of(topic);
        let had: BTreeSet<Vec<u8>> =
            distinct.iter().filter(|name| own.contains(**name)).map(|name| name.to_vec()).collect();
        Self { new: (distinct.len() - had.len()) as i64, had }
    }
}

#[cfg(test)]
mod tests;
