//! CLIENT: what connections are called and how they behave, who is there, and how to be rid of them.

pub(super) mod client_filter;
pub(super) mod clients;
pub(super) mod pause;

use std::collections::BTreeMap;

use super::{
    Message, NAMED_AT_ONCE, Reply,
    call::Call,
    client_filter::Filter,
    clients::ClientInfo,
    introspect::help,
    refusal::{Answer, Refusal, SYNTAX, refuse},
    session::Replies,
    table::{ADMIN, Command, PLAIN, PLAIN_NOSCRIPT},
    tracking,
};
use crate::store::Targets;

pub(crate) const COMMANDS: &[Command] = &[Command::new("client", -2, client_help)
    .group("connection")
    .flags(&[])
    .docs("2.4.0", "", "Commands about clients.")
    .subcommands(CLIENT)];

const CLIENT: &[Command] = &[
    sub("client|caching", 3, tracking::caching).docs(
        "6.0.0",
        "YES | NO",
        "Says whether the keys that the next command reads are cached.",
    ),
    sub("client|capa", -3, capa).docs("8.0.0", "capability...", "Says what the client is capable of."),
    sub("client|getname", 2, getname).docs("2.6.9", "", "Returns the name of the connection."),
    sub("client|getredir", 2, tracking::getredir).docs(
        "6.0.0",
        "",
        "Returns the client that is told in place of this one.",
    ),
    sub("client|help", 2, client_help).flags(PLAIN).docs("5.0.0", "", "Lists the subcommands."),
    sub("client|id", 2, id).docs("5.0.0", "", "Returns the number of the connection."),
    sub("client|import-source", 3, import_source).docs(
        "8.1.0",
        "ON | OFF",
        "Says whether the connection brings in data; it is remembered and changes nothing.",
    ),
    sub("client|info", 2, info).tips(&["nondeterministic_output"]).docs("6.2.0", "", "Describes the connection."),
    sub("client|kill", -3, kill).flags(ADMIN).docs(
        "2.4.0",
        "ip:port | (filter value)...",
        "Closes connections of any worker: of an address, or all that match every filter.",
    ),
    sub("client|list", -2, list).flags(ADMIN).tips(&["nondeterministic_output"]).docs(
        "2.4.0",
        "[filter value]...",
        "Describes the connections of all workers, or those that match every filter.",
    ),
    sub("client|no-evict", 3, no_evict).flags(ADMIN).docs(
        "7.0.0",
        "ON | OFF",
        "Keeps the connection from being closed for memory.",
    ),
    sub("client|no-touch", 3, no_touch).docs("7.2.0", "ON | OFF", "Keeps reads from counting as use of a key."),
    sub("client|pause", -3, pause::pause).flags(ADMIN).docs(
        "3.0.0",
        "timeout [WRITE | ALL]",
        "Holds back the commands of all clients for some milliseconds.",
    ),
    sub("client|reply", 3, reply).flags(&["noscript", "loading", "stale", "no_multi"]).docs(
        "3.2.0",
        "ON | OFF | SKIP",
        "Says whether the connection wants replies.",
    ),
    sub("client|setinfo", 4, setinfo).docs(
        "7.2.0",
        "LIB-NAME libname | LIB-VER libver",
        "Says which library the client uses.",
    ),
    sub("client|setname", 3, setname).docs("2.6.9", "connection-name", "Names the connection."),
    sub("client|tracking", -3, tracking::tracking).docs(
        "6.0.0",
        "ON | OFF [REDIRECT client-id] [PREFIX prefix...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
        "Tells the client when keys change that it has read.",
    ),
    sub("client|trackinginfo", 2, tracking::trackinginfo).docs(
        "6.2.0",
        "",
        "Describes how the client is told of keys that change.",
    ),
    sub("client|unblock", -3, unblock).flags(ADMIN).docs(
        "5.0.0",
        "client-id [TIMEOUT | ERROR]",
        "Wakes a client that waits in a blocking command; there are none.",
    ),
    sub("client|unpause", 2, pause::unpause).flags(ADMIN).docs("6.2.0", "", "Ends a pause of all clients."),
];

const fn sub(full_name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("connection").flags(PLAIN_NOSCRIPT)
}

fn client_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "CLIENT", CLIENT))
}

fn id(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(call.session.id as i64))
}

fn info(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Verbatim(own_info(call).line(call.env.now_ms)))
}

fn own_info(call: &Call<'_, '_>) -> ClientInfo {
    ClientInfo::of_session(call.session, call.env.state.clients.worker())
}

/// The connections of all workers. The client's own is described as it is now, the others as they were last written down.
fn everybody(call: &Call<'_, '_>) -> Answer<Vec<ClientInfo>> {
    let mut clients = call.env.state.clients.list()?;
    let own = own_info(call);
    match clients.binary_search_by_key(&own.id, |client| client.id) {
        Ok(at) => clients[at] = own,
        Err(at) => clients.insert(at, own),
    }
    Ok(clients)
}

fn list(call: &mut Call<'_, '_>) -> Answer {
    let filter = Filter::of_list(call)?;
    let (own, now_ms) = (call.session.id, call.env.now_ms);
    let clients = everybody(call)?;
    let shown = clients.iter().filter(|client| filter.matches(client, own, now_ms));
    Ok(Reply::Verbatim(shown.map(|client| client.line(now_ms)).collect()))
}

/// Closes connections. One's own is closed once it has its reply.
fn kill(call: &mut Call<'_, '_>) -> Answer {
    let by_address = call.args.len() == 3;
    let filter = if by_address { Filter::of_address(call) } else { Filter::of_kill(call)? };
    let (own, now_ms) = (call.session.id, call.env.now_ms);
    let mut killed = everybody(call)?;
    killed.retain(|client| filter.matches(client, own, now_ms));
    call.session.close_after_reply |= killed.iter().any(|client| client.id == own);
    killed.iter().filter(|client| client.id != own).for_each(|client| call.env.state.clients.kill(client.id));
    tell_to_close(call, &killed);
    match (by_address, killed.len()) {
        (true, 0) => refuse("ERR No such client"),
        (true, _) => Ok(Reply::OK),
        (false, killed) => Ok(Reply::Int(killed as i64)),
    }
}

/// Tells each worker which of its clients are to be closed.
fn tell_to_close(call: &Call<'_, '_>, clients: &[ClientInfo]) {
    let mut of_worker: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for client in clients.iter().filter(|client| client.id != call.session.id) {
        of_worker.entry(client.worker).or_default().extend(client.id.to_le_bytes());
    }
    for (worker, ids) in of_worker {
        for clients in ids.chunks(8 * NAMED_AT_ONCE) {
            call.env.state.bus.post(Targets::one(worker), &Message::Kill { clients });
        }
    }
}

/// A name that a client gives itself: visible characters, no space.
pub(super) fn client_name(name: &[u8]) -> Answer<String> {
    visible(name).ok_or(Refusal::from("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn visible(text: &[u8]) -> Option<String> {
    let all_visible = text.iter().all(u8::is_ascii_graphic);
    all_visible.then(|| String::from_utf8_lossy(text).into_owned())
}

fn setname(call: &mut Call<'_, '_>) -> Answer {
    call.session.name = client_name(call.arg(2))?;
    call.session.dirty = true;
    Ok(Reply::OK)
}

fn getname(call: &mut Call<'_, '_>) -> Answer {
    Ok(if call.session.name.is_empty() { Reply::Null } else { Reply::from(call.session.name.as_str()) })
}

fn setinfo(call: &mut Call<'_, '_>) -> Answer {
    let option = call.text(2).to_ascii_lowercase();
    if option != "lib-name" && option != "lib-ver" {
        return refuse(format!("ERR Unrecognized option '{}'", call.text(2)));
    }
    let Some(value) = visible(call.arg(3)) else {
        return refuse(format!("ERR {option} cannot contain spaces, newlines or special characters."));
    };
    if option == "lib-name" {
        call.session.lib_name = value;
    } else {
        call.session.lib_version = value;
    }
    call.session.dirty = true;
    Ok(Reply::OK)
}

/// Capabilities that are not known here are passed over.
fn capa(call: &mut Call<'_, '_>) -> Answer {
    for at in 2..call.args.len() {
        call.session.can_redirect |= call.args.is(at, "REDIRECT");
    }
    call.session.dirty = true;
    Ok(Reply::OK)
}

fn no_evict(call: &mut Call<'_, '_>) -> Answer {
    call.session.no_evict = on_or_off(call)?;
    call.session.dirty = true;
    Ok(Reply::OK)
}

fn no_touch(call: &mut Call<'_, '_>) -> Answer {
    call.session.no_touch = on_or_off(call)?;
    call.session.dirty = true;
    Ok(Reply::OK)
}

fn import_source(call: &mut Call<'_, '_>) -> Answer {
    call.session.import_source = on_or_off(call)?;
    call.session.dirty = true;
    Ok(Reply::OK)
}

fn on_or_off(call: &Call<'_, '_>) -> Answer<bool> {
    match (call.args.is(2, "ON"), call.args.is(2, "OFF")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => refuse(SYNTAX),
    }
}

/// OFF and SKIP have no reply themselves.
fn reply(call: &mut Call<'_, '_>) -> Answer {
    if call.args.is(2, "ON") {
        call.session.replies = Replies::Wanted;
        return Ok(Reply::OK);
    }
    if call.args.is(2, "OFF") {
        call.session.replies = Replies::Unwanted;
    } else if !call.args.is(2, "SKIP") {
        return refuse(SYNTAX);
    } else if call.session.replies != Replies::Unwanted {
        call.session.replies = Replies::SkipNext;
    }
    Ok(Reply::Nothing)
}

fn unblock(call: &mut Call<'_, '_>) -> Answer {
    match call.args.len() {
        3 => {}
        4 if call.args.is(3, "TIMEOUT") || call.args.is(3, "ERROR") => {}
        4 => return refuse("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        _ => return refuse(SYNTAX),
    }
    call.int(2)?;
    Ok(Reply::Int(0))
}

#[cfg(test)]
mod tests;
