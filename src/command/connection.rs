//! Commands about the connection itself: who is there, which protocol, which database.

use super::{
    Proto, Reply, Session,
    call::Call,
    clients::ClientInfo,
    introspect::help,
    parse_int, pubsub,
    refusal::{Answer, Refusal, SYNTAX, refuse},
    server::{REDIS_VERSION, SERVER_NAME},
    table::{Command, OPEN, PLAIN, PLAIN_FAST},
};
use crate::store::{Stat, limits::DATABASES};

pub(crate) const COMMANDS: &[Command] = &[
    command("ping", -1, ping).flags(&["fast"]).docs("1.0.0", "[message]", "Answers PONG, or the message."),
    command("echo", 2, echo).flags(PLAIN_FAST).docs("1.0.0", "message", "Answers the message."),
    command("hello", -1, hello).flags(OPEN).docs(
        "6.0.0",
        "[protover [AUTH username password] [SETNAME clientname]]",
        "Chooses the protocol and says what the server is.",
    ),
    command("auth", -2, auth).flags(OPEN).docs("1.0.0", "[username] password", "Gives the password."),
    command("select", 2, select).flags(PLAIN_FAST).docs("1.0.0", "index", "Chooses the database."),
    command("quit", -1, quit).flags(OPEN).docs("1.0.0", "", "Closes the connection."),
    command("reset", 1, reset).flags(OPEN).docs("6.2.0", "", "Brings the connection to its first state."),
    command("client", -2, client_help).docs("2.4.0", "", "Commands about clients.").subcommands(CLIENT),
];

const CLIENT: &[Command] = &[
    sub("client|getname", 2, client_getname).docs("2.6.9", "", "Returns the name of the connection."),
    sub("client|help", 2, client_help).docs("5.0.0", "", "Lists the subcommands."),
    sub("client|id", 2, client_id).docs("5.0.0", "", "Returns the number of the connection."),
    sub("client|info", 2, client_info).docs("6.2.0", "", "Describes the connection."),
    sub("client|list", -2, client_list).docs(
        "2.4.0",
        "[TYPE normal | master | replica | pubsub] [ID client-id...]",
        "Describes the connections of all workers.",
    ),
    sub("client|no-evict", 3, client_no_evict).docs(
        "7.0.0",
        "ON | OFF",
        "Keeps the connection from being closed for memory.",
    ),
    sub("client|no-touch", 3, client_no_touch).docs("7.2.0", "ON | OFF", "Keeps reads from counting as use of a key."),
    sub("client|setinfo", 4, client_setinfo).docs(
        "7.2.0",
        "LIB-NAME libname | LIB-VER libver",
        "Says which library the client uses.",
    ),
    sub("client|setname", 3, client_setname).docs("2.6.9", "connection-name", "Names the connection."),
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("connection").flags(PLAIN)
}

const fn sub(full_name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::sub(full_name, arity, handler).group("connection").flags(PLAIN)
}

fn ping(call: &mut Call<'_, '_>) -> Answer {
    match call.args.len() {
        1 | 2 if pubsub::only_listens(call.session) => {
            Ok(Reply::Array(vec![Reply::Text("pong"), Reply::Bulk(call.arg(1).to_vec())]))
        }
        1 => Ok(Reply::Status("PONG")),
        2 => Ok(Reply::Bulk(call.arg(1).to_vec())),
        _ => refuse("ERR wrong number of arguments for 'ping' command"),
    }
}

fn echo(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Bulk(call.arg(1).to_vec()))
}

fn quit(call: &mut Call<'_, '_>) -> Answer {
    call.session.close_after_reply = true;
    Ok(Reply::OK)
}

fn reset(call: &mut Call<'_, '_>) -> Answer {
    let needs_auth = call.env.state.settings.needs_auth();
    pubsub::leave(call.env.state, call.session);
    call.session.reset(needs_auth);
    Ok(Reply::Status("RESET"))
}

fn select(call: &mut Call<'_, '_>) -> Answer {
    let index = call.int(1)?;
    if !(0..DATABASES as i64).contains(&index) {
        return refuse("ERR DB index is out of range");
    }
    call.session.dirty |= i64::from(call.session.db) != index;
    call.session.db = index as u8;
    Ok(Reply::OK)
}

/// Says what the server is; on the way, chooses the protocol, takes the password and names the connection.
fn hello(call: &mut Call<'_, '_>) -> Answer {
    let proto = hello_proto(call)?;
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while at < call.args.len() {
        let left = call.args.len() - at - 1;
        if call.args.is(at, "AUTH") && left >= 2 {
            credentials = Some((call.arg(at + 1), call.arg(at + 2)));
            at += 3;
        } else if call.args.is(at, "SETNAME") && left >= 1 {
            name = Some(client_name(call.arg(at + 1))?);
            at += 2;
        } else {
            return refuse(format!("ERR Syntax error in HELLO option '{}'", call.text(at)));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(call, user, password)?;
    }
    if !call.session.authenticated {
        return refuse(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the \
             same time",
        );
    }
    if let Some(name) = name {
        call.session.name = name;
    }
    if let Some(proto) = proto {
        call.session.proto = proto;
    }
    call.session.dirty = true;
    Ok(greeting(call.session))
}

fn hello_proto(call: &Call<'_, '_>) -> Answer<Option<Proto>> {
    if call.args.len() < 2 {
        return Ok(None);
    }
    match parse_int(call.arg(1)) {
        Some(2) => Ok(Some(Proto::Resp2)),
        Some(3) => Ok(Some(Proto::Resp3)),
        Some(_) => refuse("NOPROTO unsupported protocol version"),
        None => refuse("ERR Protocol version is not an integer or out of range"),
    }
}

fn greeting(session: &Session) -> Reply {
    Reply::Map(vec![
        (Reply::Text("server"), Reply::Text(SERVER_NAME)),
        (Reply::Text("version"), Reply::Text(REDIS_VERSION)),
        (Reply::Text("proto"), Reply::Int(session.proto.number())),
        (Reply::Text("id"), Reply::Int(session.id as i64)),
        (Reply::Text("mode"), Reply::Text("standalone")),
        (Reply::Text("role"), Reply::Text("master")),
        (Reply::Text("modules"), Reply::Array(Vec::new())),
    ])
}

fn auth(call: &mut Call<'_, '_>) -> Answer {
    let (user, password) = match call.args.len() {
        2 => (&b"default"[..], call.arg(1)),
        3 => (call.arg(1), call.arg(2)),
        _ => return refuse(SYNTAX),
    };
    if call.args.len() == 2 && !call.env.state.settings.needs_auth() {
        return refuse(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        );
    }
    authenticate(call, user, password)?;
    Ok(Reply::OK)
}

/// Lets the client in if the password is right; there is one user, `default`, who needs none if none is set.
fn authenticate(call: &mut Call<'_, '_>, user: &[u8], password: &[u8]) -> Answer<()> {
    call.env.state.settings.refresh()?;
    let right = match call.env.state.settings.requirepass() {
        Some(expected) => same_secret(password, expected.as_bytes()),
        None => true,
    };
    if !right || user != b"default" {
        call.env.store.statistics().add(Stat::AuthFailures, 1);
        return refuse("WRONGPASS invalid username-password pair or user is disabled.");
    }
    call.session.authenticated = true;
    Ok(())
}

/// Whether two secrets are equal, in a time that depends on the length of the given one alone.
fn same_secret(given: &[u8], expected: &[u8]) -> bool {
    let mut difference = usize::from(given.len() != expected.len());
    for (at, byte) in given.iter().enumerate() {
        let other = expected.get(at % expected.len().max(1)).copied().unwrap_or_default();
        difference |= usize::from(std::hint::black_box(byte ^ other));
    }
    std::hint::black_box(difference) == 0
}

fn client_help(call: &mut Call<'_, '_>) -> Answer {
    Ok(help(call, "CLIENT", CLIENT))
}

fn client_id(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Int(call.session.id as i64))
}

fn client_info(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::Verbatim(own_info(call).line(call.env.now_ms)))
}

fn own_info(call: &Call<'_, '_>) -> ClientInfo {
    ClientInfo::of_session(call.session, call.env.state.clients.worker())
}

/// The connections of all workers. The client's own is described as it is now, the others as they were last written down.
fn client_list(call: &mut Call<'_, '_>) -> Answer {
    let wanted = listed(call)?;
    let mut clients = call.env.state.clients.list()?;
    let own = own_info(call);
    match clients.binary_search_by_key(&own.id, |client| client.id) {
        Ok(at) => clients[at] = own,
        Err(at) => clients.insert(at, own),
    }
    let shown = clients.iter().filter(|client| match &wanted {
        Listed::All => true,
        Listed::None => false,
        Listed::Ids(ids) => ids.contains(&client.id),
    });
    Ok(Reply::Verbatim(shown.map(|client| client.line(call.env.now_ms)).collect()))
}

/// Which clients CLIENT LIST shows.
enum Listed {
    All,
    None,
    Ids(Vec<u64>),
}

fn listed(call: &Call<'_, '_>) -> Answer<Listed> {
    match call.args.len() {
        2 => Ok(Listed::All),
        4 if call.args.is(2, "TYPE") => match call.arg(3).to_ascii_lowercase().as_slice() {
            b"normal" => Ok(Listed::All),
            b"master" | b"replica" | b"slave" | b"pubsub" => Ok(Listed::None),
            _ => refuse(format!("ERR Unknown client type '{}'", call.text(3))),
        },
        4.. if call.args.is(2, "ID") => {
            let id = |arg| parse_int(arg).and_then(|id| u64::try_from(id).ok());
            let ids: Option<Vec<u64>> = call.args.from(3).map(id).collect();
            Ok(Listed::Ids(ids.ok_or(Refusal::from("ERR Invalid client ID"))?))
        }
        _ => refuse(SYNTAX),
    }
}

/// A name that a client gives itself: visible characters, no space.
fn client_name(name: &[u8]) -> Answer<String> {
    visible(name).ok_or(Refusal::from("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn visible(text: &[u8]) -> Option<String> {
    let all_visible = text.iter().all(u8::is_ascii_graphic);
    all_visible.then(|| String::from_utf8_lossy(text).into_owned())
}

fn client_setname(call: &mut Call<'_, '_>) -> Answer {
    call.session.name = client_name(call.arg(2))?;
    call.session.dirty = true;
    Ok(Reply::OK)
}

fn client_getname(call: &mut Call<'_, '_>) -> Answer {
    Ok(if call.session.name.is_empty() { Reply::Null } else { Reply::from(call.session.name.as_str()) })
}

fn client_setinfo(call: &mut Call<'_, '_>) -> Answer {
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

fn client_no_evict(call: &mut Call<'_, '_>) -> Answer {
    call.session.no_evict = on_or_off(call)?;
    call.session.dirty = true;
    Ok(Reply::OK)
}

fn client_no_touch(call: &mut Call<'_, '_>) -> Answer {
    call.session.no_touch = on_or_off(call)?;
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

#[cfg(test)]
mod tests;
