//! For the tests of commands: a server without a socket, on the in-memory backend.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use super::{Args, Env, Outcome, Proto, Session, WorkerState, execute};
use crate::{
    backend::MemoryStore,
    config::Config,
    protocol::resp::{Parser, RequestLimits, encode},
    store::Store,
};

/// By how much the clock in microseconds is ahead of that in milliseconds.
const MICROS: u64 = 456;

/// One client of one worker.
pub(crate) struct Server {
    pub(crate) store: Store,
    pub(crate) config: Config,
    pub(crate) state: WorkerState,
    pub(crate) session: RefCell<Session>,
    pub(crate) now_ms: Cell<u64>,
}

impl Server {
    /// A server with the usual settings.
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    /// A server with these settings.
    pub(crate) fn with(config: Config) -> Self {
        let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let store = Store::on(Arc::new(MemoryStore::new(crate::backend::Limits::default())));
        let state = WorkerState::open(&store, &config, 0, now_ms).unwrap();
        let needs_auth = state.acl.needs_auth();
        let session = Session::new(7, "127.0.0.1:5000".to_owned(), "127.0.0.1:6380".to_owned(), needs_auth);
        Self { store, config, state, session: RefCell::new(session), now_ms: Cell::new(now_ms) }
    }

    /// Where its commands are executed.
    pub(crate) fn env(&self) -> Env<'_> {
        Env {
            store: &self.store,
            config: &self.config,
            now_ms: self.now_ms.get(),
            now_us: self.now_ms.get() * 1000 + MICROS,
            worker: 0,
            workers: 1,
            state: &self.state,
            interest: self.store.interest(),
        }
    }

    /// The reply to an inline request, its line ends shown as spaces.
    pub(crate) fn run(&self, line: &str) -> String {
        let mut buf = format!("{line}\r\n").into_bytes();
        let mut ranges = Vec::new();
        let mut parser = Parser::new(RequestLimits::for_values_of(self.config.max_value));
        parser.next(&mut buf, &mut ranges).unwrap().unwrap();
        self.execute(&Args::new(&buf, &ranges))
    }

    /// The same, in RESP3.
    pub(crate) fn run3(&self, line: &str) -> String {
        self.session.borrow_mut().proto = Proto::Resp3;
        let reply = self.run(line);
        self.session.borrow_mut().proto = Proto::Resp2;
        reply
    }

    fn execute(&self, args: &Args<'_>) -> String {
        let mut session = self.session.borrow_mut();
        let outcome = execute(args, &mut session, &self.env());
        self.state.meter.flush_counts();
        let Outcome::Done(reply) = outcome else { return "(wait)".to_owned() };
        let mut out = Vec::new();
        encode(&reply, session.proto, &mut out);
        let text = out.iter().map(|&byte| char::from(byte)).collect::<String>();
        text.strip_suffix("\r\n").unwrap_or(&text).replace("\r\n", " ")
    }
}

/// Checks lines of requests and the replies they must get, in order, on one server.
pub(crate) fn check(server: &Server, dialogue: &[(&str, &str)]) {
    for (request, reply) in dialogue {
        assert_eq!(server.run(request), *reply, "{request}");
    }
}
