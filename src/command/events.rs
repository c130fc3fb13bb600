//! What happens around a command while somebody listens. Before it, keys whose time has passed are freed, so that this is told of first,
//! and the keys that a caching client is about to read are noted. After it, everybody is told of what it did.

use super::{
    Class, Env, EventClasses, Kind, Message, Notice, WorkerState,
    call::Call,
    keyspec::{Access, NOT_KEY, OW_UPDATE},
    publish,
    refusal::Answer,
    table::Command,
};
use crate::store::{Audience, Result, Store, Targets, limits::MAX_KV_KEY_BYTES, workers_of};

/// Before a command is carried out. A few loads if nobody listens.
///
/// # Errors
///
/// [`crate::Error::Busy`]: a stopped process is in the way.
#[inline]
pub(crate) fn prepare(call: &Call<'_, '_>, command: &Command) -> Answer<()> {
    let looks =
        call.session.tracks || call.is_listened_to() || call.env.state.settings.pause().is_just_over(call.env.now_ms);
    if looks { look_ahead(call, command) } else { Ok(()) }
}

#[cold]
fn look_ahead(call: &Call<'_, '_>, command: &Command) -> Answer<()> {
    let reads = command.has("readonly");
    let Env { state, store, now_ms, .. } = call.env;
    state.notices.forget_absent();
    for (key, access) in keys_of(call, command) {
        look_at(state, store, *now_ms, (call.db(), key), access)?;
    }
    state.notices.tell_departures(store);
    if reads && call.session.tracks {
        let max = call.env.state.settings.tracking_max_keys();
        call.env.state.tracking.remember(call.session.id, keys_of(call, command).map(|(key, _)| key), max);
    }
    Ok(())
}

/// Before a request that is no command changes a key. A few loads if nobody listens.
///
/// # Errors
///
/// [`crate::Error::Busy`]: a stopped process is in the way.
#[inline]
pub fn prepare_change(state: &WorkerState, store: &Store, now_ms: u64, db: u8, key: &[u8]) -> Result<()> {
    if !store.interest().is_listened_to() {
        return Ok(());
    }
    state.notices.forget_absent();
    look_at(state, store, now_ms, (db, key), OW_UPDATE)?;
    state.notices.tell_departures(store);
    Ok(())
}

/// Frees a key whose time has passed, unless a pause keeps it, and notes one that is not there if anybody wants to hear of that.
fn look_at(state: &WorkerState, store: &Store, now_ms: u64, (db, key): (u8, &[u8]), access: Access) -> Result<()> {
    if !state.settings.pause().lasts(now_ms) {
        store.kv().free_expired(db, key)?;
    }
    let published = EventClasses::from_bits(store.interest().event_classes());
    let of_miss = access.tells_misses && published.publishes(Class::Miss);
    let of_new = access.writes && published.publishes(Class::New);
    if (of_miss || of_new) && !store.kv().exists(db, key)? {
        state.notices.note_absent(db, key, of_miss);
    }
    Ok(())
}

/// The keys that a request names, and what it does with each; what is too long to be one cannot be read, nor change.
fn keys_of<'a>(call: &Call<'a, '_>, command: &Command) -> impl Iterator<Item = (&'a [u8], Access)> {
    let args = call.args;
    let specs = command.specs_of_keys().filter(|spec| spec.access != NOT_KEY);
    let places = specs.flat_map(move |spec| {
        let access = command.access_in(&spec, &args);
        spec.places(&args).into_iter().flatten().map(move |at| (args.get(at), access))
    });
    places.filter(|(key, _)| key.len() <= MAX_KV_KEY_BYTES)
}

/// After a command was carried out, or refused: it tells of what it looked for and did not find, if it did look.
#[inline]
pub(crate) fn conclude(call: &Call<'_, '_>, is_done: bool) {
    let notices = &call.env.state.notices;
    if notices.has_missed() {
        if is_done { notices.tell_missed(call.env.store, call.session.id) } else { notices.forget_absent() }
    }
}

/// Sends what was noted, and what was posted before: of a request that is over, or of what happened between requests.
pub fn tell(env: &Env<'_>) {
    env.state.notices.tell_departures(env.store);
    env.state.notices.take().into_iter().for_each(|notice| tell_of(env, notice));
    env.state.monitors.tell(env);
    env.state.bus.flush();
}

fn tell_of(env: &Env<'_>, notice: Notice) {
    match notice {
        Notice::Key { db, class, event, key, by, listeners } => {
            let targets = workers_of(listeners.cached | listeners.broadcast | listeners.watched, env.workers);
            let message = Message::KeyEvent { by, db, event: event.as_bytes(), key: &key };
            if !env.state.bus.post(targets, &message) {
                // The key is longer than a message can be.
                env.state.bus.post(targets, &Message::Missed);
            }
            if EventClasses::from_bits(listeners.classes).publishes(class) {
                publish_event(env, EventClasses::from_bits(listeners.classes), db, event, &key);
            }
        }
        Notice::Flushed(db) => {
            env.state.bus.post(those_who_listen(env), &Message::Flushed { db });
        }
        Notice::Missed => {
            env.state.bus.post(those_who_listen(env), &Message::Missed);
        }
    }
}

/// The workers with clients that cache or watch keys.
fn those_who_listen(env: &Env<'_>) -> Targets {
    let audiences = [Audience::Tracking, Audience::Broadcast, Audience::Watchers];
    let masks = audiences.into_iter().map(|audience| env.store.interest().audience(audience));
    workers_of(masks.fold(0, |all, mask| all | mask), env.workers)
}

/// Publishes an event on the channels of its key and of its kind. What is too long to be published is not.
fn publish_event(env: &Env<'_>, classes: EventClasses, db: u8, event: &str, key: &[u8]) {
    let (by_key, by_event) = classes.channels();
    if by_key {
        let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
        let _ = publish(env.state, Kind::Channel, &channel, event.as_bytes());
    }
    if by_event {
        let channel = format!("__keyevent@{db}__:{event}");
        let _ = publish(env.state, Kind::Channel, channel.as_bytes(), key);
    }
}
