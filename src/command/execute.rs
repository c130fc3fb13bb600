//! From a request to its reply: look the command up, check who asks and how, run it, count it.

use std::borrow::Cow;

use super::{
    Args, Env, Reply, Session,
    call::Call,
    events, latency, monitor, pubsub,
    refusal::{Answer, Refusal, refuse},
    settings::Limits,
    table::{self, Command},
};
use crate::store::{Error, Stat};

/// What came of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was carried out or refused; this is the answer.
    Done(Reply),
    /// A stopped process holds what it needs. Execute it again later, with the same session and
    /// before any other request of this client; to give up instead, answer with [`busy`].
    Wait,
    /// CLIENT PAUSE holds it back: execute it again, as with [`Outcome::Wait`], once the pause is over.
    Paused,
}

/// Why a command that may need memory is refused while more is in use than may be.
const OVER_THE_LIMIT: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// Bytes of a request that an error message quotes.
const QUOTED_BYTES: usize = 128;

/// Carries out one request.
///
/// Cost: one lookup of the name, then that of the command; a command never waits longer than the store's patience.
pub fn execute(args: &Args<'_>, session: &mut Session, env: &Env<'_>) -> Outcome {
    if args.is_empty() {
        return Outcome::Done(Reply::Nothing);
    }
    session.touch(env.now_ms);
    let command = env.state.recent.lookup(args.get(0));
    let ran = run(command, args, session, env);
    if ran.is_err() {
        env.state.bus.discard();
    }
    match ran {
        Err(Refusal::Store(Error::Busy)) => Outcome::Wait,
        Err(Refusal::Paused) => Outcome::Paused,
        Ok(reply) => {
            finish(command, session, env);
            Outcome::Done(session.answered(reply))
        }
        Err(refusal) => {
            env.state.meter.add(Stat::Errors, 1);
            finish(command, session, env);
            Outcome::Done(session.answered(Reply::Error(refusal.text())))
        }
    }
}

/// The answer to a request that has waited too long; it will not be executed again.
pub fn busy(args: &Args<'_>, session: &mut Session, env: &Env<'_>) -> Reply {
    let progress = std::mem::take(&mut session.progress);
    let command = table::lookup(args.get(0));
    if command.is_some_and(|command| command.name == "exec") {
        session.transaction.clear();
    }
    env.state.meter.add(Stat::Busy, 1);
    env.state.meter.add(Stat::Errors, 1);
    finish(command, session, env);
    let text = match progress.done {
        0 => format!("BUSY {}", Error::Busy),
        keys => {
            format!("BUSY a stopped process holds what this request needs; its first {keys} keys were done, try again")
        }
    };
    session.answered(Reply::error(text))
}

/// Counts the command and tells the other workers what changed about the client.
fn finish(command: Option<&Command>, session: &mut Session, env: &Env<'_>) {
    session.commands += 1;
    env.state.meter.add(Stat::Commands, 1);
    env.state.slow_log.write();
    if env.interest.is_listened_to() || env.state.has_words() {
        events::tell(env);
    }
    // CLIENT CACHING speaks of the next command, though it be refused, or of all in a transaction.
    let is_over = command.is_none_or(|command| command.name != "client") && session.transaction.queued().is_none();
    if session.tracks && is_over {
        env.state.tracking.set_caching(session.id, false);
    }
    if std::mem::take(&mut session.dirty) {
        env.state.clients.update(session);
    }
}

/// `command` is what the first argument names.
fn run(command: Option<&'static Command>, args: &Args<'_>, session: &mut Session, env: &Env<'_>) -> Answer {
    if env.state.acl.is_behind() {
        return Err(Error::Busy.into());
    }
    let Some(command) = command else {
        session.transaction.spoil();
        let answer = unknown(args, session);
        answer.as_ref().err().inspect(|refusal| env.state.meter.count_error(refusal.prefix()));
        return answer;
    };
    let command = match allowed(command, args, session, env) {
        Ok(command) => command,
        Err((refused, refusal)) => {
            refused.into_iter().for_each(|command| env.state.meter.reject(command));
            if command.name == "exec" {
                session.transaction.clear();
                env.state.meter.count_error("EXECABORT");
                let why = refusal.text();
                return refuse(format!("EXECABORT Transaction discarded because of: {}", without_prefix(&why)));
            }
            env.state.meter.count_error(refusal.prefix());
            session.transaction.spoil();
            return Err(refusal);
        }
    };
    if env.state.settings.pause().holds(command, session, env.now_ms) {
        return Err(Refusal::Paused);
    }
    session.last_command = command.full_name;
    env.store.count_use(!session.no_touch || command.name == "touch");
    make_room(command, session, env)?;
    if session.transaction.takes(command) {
        return session.transaction.queue(command, args, env);
    }
    carry_out(command, &mut Call { args: *args, session, env })
}

/// The sentence of an error.
fn without_prefix(text: &str) -> &str {
    text.split_once(' ').map_or(text, |(_, sentence)| sentence)
}

/// Carries a command out, counts and times it, and notes what those want to know of it who listen.
pub(super) fn carry_out(command: &'static Command, call: &mut Call<'_, '_>) -> Answer {
    let state = &call.env.state;
    let begun = state.meter.begin(command, &call.args, &state.settings.limits());
    let answer = events::prepare(call, command).and_then(|()| (command.handler)(call));
    // The command may have changed them.
    let limits = state.settings.limits();
    if matches!(answer, Err(Refusal::Store(Error::Busy))) {
        state.meter.give_up(begun, &limits);
        return answer;
    }
    let took = state.meter.end(begun, answer.as_ref().ok(), &limits);
    answer.as_ref().err().inspect(|refusal| state.meter.count_error(refusal.prefix()));
    if let Some(nanos) = took {
        note_slowness(command, call, nanos, &limits);
    }
    events::conclude(call, answer.is_ok());
    monitor::show(call, command);
    answer
}

/// Keeps what there is to say about a command that took long.
fn note_slowness(command: &Command, call: &Call<'_, '_>, nanos: u64, limits: &Limits) {
    let micros = nanos / 1000;
    let is_slow = u64::try_from(limits.slow_micros).is_ok_and(|threshold| micros >= threshold);
    if is_slow && limits.slow_len > 0 && command.name != "exec" {
        call.env.state.slow_log.note(&call.args, command, call.session, micros, call.env.now_ms);
    }
    latency::note(call.env, command, nanos);
}

/// The command or the subcommand that is meant, if this client may use it now and as it did; otherwise which one was refused, if it exists.
fn allowed(
    command: &'static Command,
    args: &Args<'_>,
    session: &mut Session,
    env: &Env<'_>,
) -> Result<&'static Command, (Option<&'static Command>, Refusal)> {
    let command = resolve(command, args)?;
    let refused = |text: String| Err((Some(command), text.into()));
    if !session.authenticated && !command.needs_no_auth() {
        return refused("NOAUTH Authentication required.".to_owned());
    }
    env.state.acl.admit(command, args, session, env).map_err(|refusal| (Some(command), refusal))?;
    if pubsub::only_listens(session) && !pubsub::is_subscriber_command(command) {
        return refused(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            command.full_name
        ));
    }
    Ok(command)
}

/// Sees to it that there is memory for what may need some: before a command, and before it is queued; before EXEC for all that is.
fn make_room(command: &'static Command, session: &mut Session, env: &Env<'_>) -> Answer<()> {
    let is_exec = command.name == "exec";
    let needs = || if is_exec { session.transaction.has_flag("denyoom") } else { command.may_need_memory() };
    if env.state.settings.limit().bytes == 0 || !needs() {
        return Ok(());
    }
    let made = env.store.make_room();
    if made == Err(Error::OutOfMemory) {
        env.state.meter.reject(command);
        if is_exec {
            session.transaction.clear();
            env.state.meter.count_error("EXECABORT");
            return refuse(format!("EXECABORT Transaction discarded because of: {}", without_prefix(OVER_THE_LIMIT)));
        }
        env.state.meter.count_error("OOM");
        session.transaction.spoil();
        return refuse(OVER_THE_LIMIT);
    }
    Ok(made?)
}

/// The command itself or the subcommand that is meant, with the right number of arguments.
fn resolve(
    command: &'static Command,
    args: &Args<'_>,
) -> Result<&'static Command, (Option<&'static Command>, Refusal)> {
    let command = match args.len() {
        2.. if !command.subcommands.is_empty() => {
            command.subcommand(args.get(1)).ok_or_else(|| (None, unknown_subcommand(command, args.get(1))))?
        }
        _ => command,
    };
    if command.takes(args.len()) {
        return Ok(command);
    }
    let text = format!("ERR wrong number of arguments for '{}' command", command.full_name);
    Err((Some(command), text.into()))
}

fn unknown_subcommand(command: &Command, name: &[u8]) -> Refusal {
    let shown = quote(name, QUOTED_BYTES);
    format!("ERR unknown subcommand '{shown}'. Try {} HELP.", command.name.to_ascii_uppercase()).into()
}

fn unknown(args: &Args<'_>, session: &mut Session) -> Answer {
    // A web page made a browser send this: whatever stands in the lines that follow must not be executed.
    if args.is(0, "post") || args.is(0, "host:") {
        session.close_after_reply = true;
        return Ok(Reply::Nothing);
    }
    let mut text = format!("ERR unknown command '{}', with args beginning with: ", quote(args.get(0), QUOTED_BYTES));
    let head = text.len();
    for arg in args.from(1) {
        let used = text.len() - head;
        if used >= QUOTED_BYTES {
            break;
        }
        text.push_str(&format!("'{}' ", quote(arg, QUOTED_BYTES - used)));
    }
    Err(text.into())
}

/// The first bytes of an argument, for a message.
fn quote(arg: &[u8], max: usize) -> Cow<'_, str> {
    String::from_utf8_lossy(&arg[..arg.len().min(max)])
}

#[cfg(test)]
mod tests;
