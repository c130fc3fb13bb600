//! What is known about one client between its requests.

use std::rc::Rc;

use super::{
    Proto, Reply, Subscriptions,
    acl::{self, Account},
    table::Command,
    transaction::Transaction,
};

/// How far a command over several keys came before it had to wait.
///
/// A command that meets a stopped process's lock is executed again from its start. One atomic operation has changed
/// nothing by then, but `DEL a b c` is three, so it notes here how many keys are done and what they added up to,
/// and goes on behind them. Requests of one client are executed one after the other; the note
/// belongs to the request that waits and ends with it, by [`super::execute`] or by [`super::busy`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Keys that are done.
    pub(crate) done: usize,
    /// What they added up to.
    pub(crate) sum: i64,
}

/// Whether a client wants to be answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Replies {
    #[default]
    Wanted,
    /// Not to any command.
    Unwanted,
    /// The command at hand asked for no reply to the next one.
    SkipNext,
    /// Not to the command at hand.
    Skip,
}

/// Bytes that went to and fro, as the server notes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub input: u64,
    /// Bytes sent.
    pub output: u64,
    /// Bytes of requests that are not executed yet.
    pub waiting: u64,
    /// Bytes of replies that the client has not taken yet.
    pub pending: u64,
}

/// What a client has subscribed to, queued and watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) channels: usize,
    pub(crate) patterns: usize,
    pub(crate) shard_channels: usize,
    /// Commands in its transaction; -1: it has none.
    pub(crate) queued: i64,
    pub(crate) watched: usize,
    /// The client that is told in its stead when keys change; -1: none.
    pub(crate) redirect: i64,
}

/// One client.
#[derive(Debug, Clone)]
pub struct Session {
    /// Number of the client, unique over all workers and growing.
    pub id: u64,
    /// Its address.
    pub addr: String,
    /// The address it connected to.
    pub laddr: String,
    /// The protocol it speaks.
    pub proto: Proto,
    /// Its database.
    pub db: u8,
    /// The name it gave itself.
    pub name: String,
    /// The name of its library.
    pub lib_name: String,
    /// The version of its library.
    pub lib_version: String,
    /// False until it has given the password, if there is one.
    pub authenticated: bool,
    /// The user that it is logged in as; `None`: the default one.
    pub(crate) account: Option<Rc<Account>>,
    /// `CLIENT NO-EVICT`.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// It follows redirections, `CLIENT CAPA`.
    pub(crate) can_redirect: bool,
    /// `CLIENT IMPORT-SOURCE`.
    pub(crate) import_source: bool,
    /// `CLIENT REPLY`.
    pub(crate) replies: Replies,
    /// It is held back by CLIENT PAUSE.
    pub is_paused: bool,
    /// What went to and fro.
    pub traffic: Traffic,
    /// When it connected, in milliseconds of the Unix clock; stamped when it is registered, or by its first command.
    pub created_ms: u64,
    /// When it last sent a command.
    pub active_ms: u64,
    /// The last command, as CLIENT LIST shows it.
    pub last_command: &'static str,
    /// Commands executed.
    pub commands: u64,
    /// Close the connection once everything up to here was answered.
    pub close_after_reply: bool,
    /// What it has subscribed to.
    pub subscriptions: Subscriptions,
    /// It is told of keys that change: `t`, of a prefix: `B`.
    pub tracks: bool,
    pub(crate) tracks_prefixes: bool,
    /// The client that is told of keys in its place, 0: itself; -1: it is not told.
    pub(crate) redirect: i64,
    /// It is shown every command.
    pub monitors: bool,
    /// Whether a password was needed when it connected; RESET asks for it again.
    pub(crate) needs_auth: bool,
    pub(crate) progress: Progress,
    /// What it has queued and watched.
    pub(crate) transaction: Transaction,
    /// Something that other workers can see has changed.
    pub(crate) dirty: bool,
}

impl Session {
    /// A client that has just connected.
    #[must_use]
    pub fn new(id: u64, addr: String, laddr: String, needs_auth: bool) -> Self {
        Self {
            id,
            addr,
            laddr,
            proto: Proto::Resp2,
            db: 0,
            name: String::new(),
            lib_name: String::new(),
            lib_version: String::new(),
            authenticated: !needs_auth,
            account: None,
            no_evict: false,
            no_touch: false,
            can_redirect: false,
            import_source: false,
            replies: Replies::default(),
            is_paused: false,
            traffic: Traffic::default(),
            created_ms: 0,
            active_ms: 0,
            last_command: "NULL",
            commands: 0,
            close_after_reply: false,
            subscriptions: Subscriptions::default(),
            tracks: false,
            tracks_prefixes: false,
            redirect: -1,
            monitors: false,
            needs_auth,
            progress: Progress::default(),
            transaction: Transaction::default(),
            dirty: false,
        }
    }

    /// A copy of everything but the subscriptions, of which there may be many.
    pub(crate) fn without_subscriptions(&mut self) -> Self {
        let subscriptions = std::mem::take(&mut self.subscriptions);
        let copy = self.clone();
        self.subscriptions = subscriptions;
        copy
    }

    /// Notes when the client came and was last heard of.
    pub(crate) fn touch(&mut self, now_ms: u64) {
        if self.created_ms == 0 {
            self.created_ms = now_ms;
        }
        self.active_ms = now_ms;
    }

    /// Ends a command: the reply that the client gets, if it wants one.
    pub(crate) fn answered(&mut self, reply: Reply) -> Reply {
        let (reply, next) = match self.replies {
            Replies::Wanted => (reply, Replies::Wanted),
            Replies::Unwanted => (reply.if_push(), Replies::Unwanted),
            Replies::SkipNext => (reply, Replies::Skip),
            Replies::Skip => (reply.if_push(), Replies::Wanted),
        };
        self.replies = next;
        reply
    }

    /// What it has subscribed to, queued and watched.
    pub(crate) fn standing(&self) -> Standing {
        let [channels, patterns, shard_channels] = self.subscriptions.counts();
        let queued = self.transaction.queued().map_or(-1, |queued| queued as i64);
        let watched = self.transaction.watched();
        Standing { channels, patterns, shard_channels, queued, watched, redirect: self.redirect }
    }

    /// It is told of keys no more.
    pub(crate) fn forget_tracking(&mut self) {
        (self.tracks, self.tracks_prefixes, self.redirect) = (false, false, -1);
    }

    /// Letters for what it is doing, `N` if there is nothing to say.
    pub(crate) fn flags(&self) -> String {
        let listens = !self.subscriptions.is_empty();
        let letters = [
            ('P', listens),
            ('O', self.monitors),
            ('t', self.tracks),
            ('B', self.tracks_prefixes),
            ('x', self.transaction.queued().is_some()),
            ('b', self.is_paused),
            ('e', self.no_evict),
            ('T', self.no_touch),
            ('I', self.import_source),
        ];
        let flags: String = letters.iter().filter(|(_, on)| *on).map(|(letter, _)| letter).collect();
        if flags.is_empty() { "N".to_owned() } else { flags }
    }

    /// Whether this command would carry out writes that it has queued.
    pub(crate) fn would_write(&self, command: &Command) -> bool {
        command.name == "exec" && self.transaction.has_flag("write")
    }

    /// The user that it is logged in as.
    pub(crate) fn user_name(&self) -> &str {
        self.account.as_ref().map_or(acl::DEFAULT, |account| account.name())
    }

    /// Back to the state of a new connection; only what the library said about itself stays.
    pub(crate) fn reset(&mut self, needs_auth: bool) {
        self.transaction.clear();
        self.proto = Proto::Resp2;
        self.db = 0;
        self.name.clear();
        self.authenticated = !needs_auth;
        self.account = None;
        self.needs_auth = needs_auth;
        self.no_evict = false;
        self.no_touch = false;
        self.import_source = false;
        self.replies = Replies::default();
        self.dirty = true;
    }
}
