//! What is known about one client between its requests.

use super::{Proto, Subscriptions};

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
    /// `CLIENT NO-EVICT`.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
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
    /// Whether a password was needed when it connected; RESET asks for it again.
    pub(crate) needs_auth: bool,
    pub(crate) progress: Progress,
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
            no_evict: false,
            no_touch: false,
            created_ms: 0,
            active_ms: 0,
            last_command: "NULL",
            commands: 0,
            close_after_reply: false,
            subscriptions: Subscriptions::default(),
            needs_auth,
            progress: Progress::default(),
            dirty: false,
        }
    }

    /// Notes when the client came and was last heard of.
    pub(crate) fn touch(&mut self, now_ms: u64) {
        if self.created_ms == 0 {
            self.created_ms = now_ms;
        }
        self.active_ms = now_ms;
    }

    /// Back to the state of a new connection; only what the library said about itself stays.
    pub(crate) fn reset(&mut self, needs_auth: bool) {
        self.proto = Proto::Resp2;
        self.db = 0;
        self.name.clear();
        self.authenticated = !needs_auth;
        self.needs_auth = needs_auth;
        self.no_evict = false;
        self.no_touch = false;
        self.dirty = true;
    }
}
