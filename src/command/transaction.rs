//! MULTI, EXEC, DISCARD, WATCH and UNWATCH: what a client has queued and watched, and how it is carried out.
//!
//! A queued request is checked as if it were executed now, and kept. EXEC runs all of them, one after the other, through their ordinary
//! handlers and inside one transaction of the store: nobody else reads or writes in between, and a death in the middle leaves
//! nothing of them. A command that is refused there answers so, and the others go on, as in Redis. Should one have to wait, as it never
//! does behind a closed gate, everything is undone and EXEC tried again as a whole.
//!
//! What handlers say to others (messages, events of keys) is gathered outside of the store and goes out when EXEC itself is over. What else they
//! change there, such as the client's database and subscriptions, is put back by a [`Savepoint`] when the store undoes them.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Args, Env, Reply, Session,
    call::Call,
    execute::carry_out,
    keyspec::RO,
    refusal::{Answer, Refusal, refuse},
    table::Command,
};
use crate::store::{Error, Stat, Version};

mod savepoint;

use savepoint::Savepoint;

/// Bytes of queued requests that a client may have, beside one of the longest that it may send.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// What a queued request takes beside its bytes, and each of its arguments.
const REQUEST_BYTES: usize = size_of::<Queued>() + 32;
const ARGUMENT_BYTES: usize = size_of::<Range<usize>>();
/// Keys that a client may watch.
const MAX_WATCHED: usize = 16 * 1024;

/// Flags of the commands that come before, between and after those of a transaction.
const FRAME: &[&str] = &["noscript", "loading", "stale", "fast", "allow_busy"];
const RUN: &[&str] = &["noscript", "loading", "stale", "skip_slowlog"];

pub(crate) const COMMANDS: &[Command] = &[
    command("multi", 1, multi).flags(FRAME).docs("1.2.0", "", "Begins a transaction: what follows is queued."),
    command("exec", 1, exec).flags(RUN).docs("1.2.0", "", "Executes all queued commands as one."),
    command("discard", 1, discard).flags(FRAME).docs("2.0.0", "", "Forgets all queued commands."),
    command("watch", -2, watch).flags(FRAME).keys(1, -1, 1).access(RO).docs(
        "2.2.0",
        "key...",
        "Lets the next EXEC do nothing if one of the keys was changed until then.",
    ),
    command("unwatch", 1, unwatch).flags(FRAME).docs("2.2.0", "", "Forgets all watched keys."),
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("transactions")
}

/// What a client has queued and watched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transaction {
    /// `None`: commands are executed at once.
    queue: Option<Queue>,
    /// By database and key.
    watched: BTreeMap<(u8, Vec<u8>), Version>,
}

#[derive(Debug, Clone, Default)]
struct Queue {
    requests: Vec<Queued>,
    bytes: usize,
    /// A request was refused: EXEC executes none.
    spoiled: bool,
}

/// A request that waits for EXEC.
#[derive(Debug, Clone)]
struct Queued {
    command: &'static Command,
    bytes: Vec<u8>,
    args: Vec<Range<usize>>,
}

impl Queued {
    fn new(command: &'static Command, request: &Args<'_>) -> Self {
        let bytes = request.iter().map(<[u8]>::len).sum();
        let (bytes, args) = (Vec::with_capacity(bytes), Vec::with_capacity(request.len()));
        let mut queued = Self { command, bytes, args };
        for arg in request.iter() {
            let start = queued.bytes.len();
            queued.bytes.extend_from_slice(arg);
            queued.args.push(start..queued.bytes.len());
        }
        queued
    }

    fn size(&self) -> usize {
        REQUEST_BYTES + self.bytes.len() + self.args.len() * ARGUMENT_BYTES
    }
}

impl Transaction {
    /// Whether this command is to be queued.
    #[inline]
    pub(crate) fn takes(&self, command: &Command) -> bool {
        self.queue.is_some() && !matches!(command.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
    }

    /// Queues a request that was found right.
    pub(crate) fn queue(&mut self, command: &'static Command, request: &Args<'_>, env: &Env<'_>) -> Answer {
        let Some(queue) = &mut self.queue else {
            return Ok(Reply::Nothing);
        };
        if command.flags.contains(&"no_multi") {
            queue.spoiled = true;
            return refuse("ERR Command not allowed inside a transaction");
        }
        // What will not be executed need not be kept.
        if queue.spoiled {
            return Ok(Reply::Status("QUEUED"));
        }
        let queued = Queued::new(command, request);
        let max = MAX_QUEUED_BYTES.max(2 * env.config.max_value);
        if queue.bytes + queued.size() > max {
            *queue = Queue { spoiled: true, ..Queue::default() };
            return refuse(format!("ERR a transaction may hold {max} bytes of requests at most; execute it in parts"));
        }
        queue.bytes += queued.size();
        queue.requests.push(queued);
        Ok(Reply::Status("QUEUED"))
    }

    /// A request was refused before it could be queued: EXEC will not execute the others.
    pub(crate) fn spoil(&mut self) {
        if let Some(queue) = &mut self.queue {
            *queue = Queue { spoiled: true, ..Queue::default() };
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Requests that are queued; `None` outside of a transaction.
    pub(crate) fn queued(&self) -> Option<usize> {
        self.queue.as_ref().map(|queue| queue.requests.len())
    }

    /// Keys that are watched.
    pub(crate) fn watched(&self) -> usize {
        self.watched.len()
    }

    /// Whether EXEC would execute a command of this flag.
    pub(crate) fn has_flag(&self, flag: &str) -> bool {
        self.queue.iter().flat_map(|queue| &queue.requests).any(|queued| queued.command.flags.contains(&flag))
    }

    /// Whether no watched key was touched.
    fn is_untouched(&self, env: &Env<'_>) -> Result<bool, Error> {
        for ((db, key), version) in &self.watched {
            if !env.store.kv().is_untouched(*db, key, *version)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn multi(call: &mut Call<'_, '_>) -> Answer {
    if call.session.transaction.queue.is_some() {
        call.session.transaction.spoil();
        return refuse("ERR MULTI calls can not be nested");
    }
    call.session.transaction.queue = Some(Queue::default());
    Ok(Reply::OK)
}

fn discard(call: &mut Call<'_, '_>) -> Answer {
    if call.session.transaction.queue.is_none() {
        return refuse("ERR DISCARD without MULTI");
    }
    call.session.transaction.clear();
    Ok(Reply::OK)
}

fn watch(call: &mut Call<'_, '_>) -> Answer {
    if call.session.transaction.queue.is_some() {
        call.session.transaction.spoil();
        return refuse("ERR WATCH inside MULTI is not allowed");
    }
    let db = call.db();
    for key in call.keys(1, 1)? {
        let name = (db, key.to_vec());
        // A key is watched from the first time on.
        if call.session.transaction.watched.contains_key(&name) {
            continue;
        }
        if call.session.transaction.watched() >= MAX_WATCHED {
            return refuse(format!("ERR a client may watch {MAX_WATCHED} keys at most"));
        }
        let version = call.kv().version(db, key)?;
        call.session.transaction.watched.insert(name, version);
    }
    Ok(Reply::OK)
}

fn unwatch(call: &mut Call<'_, '_>) -> Answer {
    call.session.transaction.watched.clear();
    Ok(Reply::OK)
}

fn exec(call: &mut Call<'_, '_>) -> Answer {
    if call.session.transaction.queue.is_none() {
        return refuse("ERR EXEC without MULTI");
    }
    let transaction = std::mem::take(&mut call.session.transaction);
    let answer = run(&transaction, call);
    if matches!(answer, Err(Refusal::Store(Error::Busy))) {
        // Nothing has happened; the request is repeated as it was.
        call.session.transaction = transaction;
    }
    answer
}

/// Executes what is queued behind the gate, unless a watched key was touched.
fn run(transaction: &Transaction, call: &mut Call<'_, '_>) -> Answer {
    let env = call.env;
    let requests = match &transaction.queue {
        Some(queue) if !queue.spoiled => &queue.requests,
        _ => return refuse("EXECABORT Transaction discarded because of previous errors."),
    };
    // Without the gate first: who lost a race need not hold others up.
    if !transaction.is_untouched(env)? {
        return Ok(Reply::NullArray);
    }
    if requests.is_empty() {
        return Ok(Reply::Array(Vec::new()));
    }
    let only_keys = requests.iter().all(|queued| queued.command.is_about_keys());
    let savepoint = Savepoint::take(call.session, env, only_keys);
    let mut too_long = false;
    let answer = env.store.atomically(|| {
        if !transaction.is_untouched(env)? {
            return Ok(Reply::NullArray);
        }
        match run_all(requests, call.session, env)? {
            Some(replies) => Ok(Reply::Array(replies)),
            None => {
                too_long = true;
                Err(Error::OutOfMemory)
            }
        }
    });
    match &answer {
        Ok(_) => savepoint.release(env),
        Err(_) => savepoint.restore(call.session, env),
    }
    if too_long {
        let max = env.config.output_limit;
        return refuse(format!(
            "ERR the replies are longer than the {max} bytes of --output-limit; nothing was executed"
        ));
    }
    Ok(answer?)
}

/// Executes requests one after the other; `None` if their replies are more than a client may have pending.
fn run_all(requests: &[Queued], session: &mut Session, env: &Env<'_>) -> Result<Option<Vec<Reply>>, Error> {
    let mut replies = Vec::with_capacity(requests.len());
    let mut bytes = 0;
    for queued in requests {
        let args = Args::new(&queued.bytes, &queued.args);
        // What the user may do can have changed since it was queued, not least by the commands before it.
        let admitted = env.state.acl.admit_queued(queued.command, &args, session, env);
        let answer = admitted.and_then(|()| carry_out(queued.command, &mut Call { args, session, env }));
        let reply = match answer {
            Ok(reply) => reply,
            Err(Refusal::Store(Error::Busy)) => return Err(Error::Busy),
            Err(refusal) => {
                env.store.statistics().add(Stat::Errors, 1);
                Reply::Error(refusal.text())
            }
        };
        bytes += reply.size();
        if bytes > env.config.output_limit {
            return Ok(None);
        }
        match reply {
            Reply::Several(several) => replies.extend(several),
            reply => replies.push(reply),
        }
    }
    Ok(Some(replies))
}

#[cfg(test)]
mod tests;
