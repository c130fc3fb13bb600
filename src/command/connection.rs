//! Commands about the connection itself: who is there, which protocol, which database.

use super::{
    Proto, Reply, Session,
    call::Call,
    client::client_name,
    parse_int, places, pubsub,
    refusal::{Answer, SYNTAX, refuse, wrong_arity},
    server::{REDIS_VERSION, SERVER_NAME},
    table::{Command, OPEN, PLAIN, PLAIN_FAST},
};
pub(crate) const COMMANDS: &[Command] = &[
    command("ping", -1, ping)
        .flags(&["fast"])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .docs("1.0.0", "[message]", "Answers PONG, or the message."),
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
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("connection").flags(PLAIN)
}

fn ping(call: &mut Call<'_, '_>) -> Answer {
    match call.args.len() {
        1 | 2 if pubsub::only_listens(call.session) => {
            Ok(Reply::Array(vec![Reply::Text("pong"), Reply::Bulk(call.arg(1).to_vec())]))
        }
        1 => Ok(Reply::Status("PONG")),
        2 => Ok(Reply::Bulk(call.arg(1).to_vec())),
        _ => wrong_arity("ping"),
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
    let needs_auth = call.env.state.acl.needs_auth();
    call.env.state.leave(call.session);
    call.session.reset(needs_auth);
    Ok(Reply::Status("RESET"))
}

fn select(call: &mut Call<'_, '_>) -> Answer {
    let db = places::database(call, 1)?;
    call.session.dirty |= call.session.db != db;
    call.session.db = db;
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
    if call.args.len() == 2 && !call.env.state.acl.needs_auth() {
        return refuse(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        );
    }
    authenticate(call, user, password)?;
    Ok(Reply::OK)
}

/// Lets the client in as this user if the password is right.
fn authenticate(call: &mut Call<'_, '_>, user: &[u8], password: &[u8]) -> Answer<()> {
    let acl = &call.env.state.acl;
    call.env.state.settings.refresh()?;
    acl.log_in(user, password, call.args.get(0), call.session, call.env)
}

#[cfg(test)]
mod tests;
