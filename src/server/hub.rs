//! What all tasks of a worker share.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::header::HeaderValue;

use super::{hold::Holding, mailbox::Mailbox, news::Losses, roster::Roster, watchers::Watchers};
use crate::{
    command::{Env, WorkerState},
    config::Config,
    protocol::resp::Ahead,
    store::{Stat, Statistics, Store},
    sys::{
        clock::{now_ms, now_us},
        process,
    },
};

/// Bytes that one read takes at most, unless it continues a large request.
pub(super) const READ_BYTES: usize = 64 * 1024;

/// A worker whose heartbeat is older than this, in milliseconds, is taken for stopped or dead.
const STALE_MS: u64 = 1000;

/// Clients whose last words are waited for at the same time; more are hung up on at once.
const MAX_FAREWELLS: usize = 64;

/// The state of one worker. Single-threaded: no borrow of a buffer lives across an `await`.
pub(super) struct Hub {
    pub(super) index: usize,
    pub(super) workers: usize,
    pub(super) store: Store,
    pub(super) config: Arc<Config>,
    /// What commands keep between requests.
    pub(super) state: WorkerState,
    /// The connections of this worker.
    pub(super) roster: Rc<Roster>,
    /// Where every read lands first, so that an idle connection owns no buffer.
    pub(super) scratch: RefCell<Box<[u8]>>,
    /// The requests of the batch at hand.
    pub(super) ahead: RefCell<Ahead>,
    /// Where the replies of a batch are gathered.
    pub(super) replies: RefCell<Vec<u8>>,
    /// The value of `x-store-worker`.
    pub(super) tag: HeaderValue,
    /// Who waits for the end of a pause.
    pub(super) holding: Holding,
    /// Held by those whose last words are waited for.
    farewells: Rc<()>,
    /// Who died.
    pub(super) losses: Losses,
    /// Who watches keys.
    pub(super) watchers: Watchers,
    draining: Cell<bool>,
    started: Instant,
    /// Milliseconds since `started`, as of the last tick.
    uptime_ms: Cell<u64>,
}

impl Hub {
    pub(super) fn new(index: usize, workers: usize, store: Store, config: Arc<Config>, state: WorkerState) -> Self {
        let tag = format!("{index}/{}", std::process::id());
        Self {
            index,
            workers,
            store,
            config,
            state,
            roster: Rc::default(),
            scratch: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            ahead: RefCell::default(),
            replies: RefCell::default(),
            tag: HeaderValue::from_str(&tag).expect("digits and a slash"),
            holding: Holding::default(),
            farewells: Rc::default(),
            losses: Losses::default(),
            watchers: Watchers::default(),
            draining: Cell::new(false),
            started: Instant::now(),
            uptime_ms: Cell::new(0),
        }
    }

    pub(super) fn statistics(&self) -> &dyn Statistics {
        self.store.statistics()
    }

    /// Counts one event.
    pub(super) fn count(&self, stat: Stat) {
        self.statistics().add(stat, 1);
    }

    /// Gives a client a message, and counts one that had too many already.
    pub(super) fn deliver_to(&self, mailbox: &Mailbox, message: &Rc<[u8]>) {
        if !mailbox.is_ended() {
            mailbox.push(message, self.uptime_ms());
            if mailbox.is_ended() {
                self.count(Stat::OutputClosed);
            }
        }
    }

    /// Takes over what other workers have just changed, settings and users.
    pub(super) fn follow(&self) {
        self.state.settings.follow();
        self.state.acl.follow(&self.state.settings);
    }

    /// What a batch of commands is executed in.
    pub(super) fn env(&self) -> Env<'_> {
        self.follow();
        Env {
            store: &self.store,
            config: &self.config,
            now_ms: now_ms(),
            now_us: now_us(),
            worker: self.index,
            workers: self.workers,
            state: &self.state,
            interest: self.store.interest(),
        }
    }

    /// Tells the master that a client wants the server to end.
    pub(super) fn ask_for_end(&self) {
        if self.state.end_is_wanted.take()
            && let Err(error) = process::terminate(process::Pid::parent())
        {
            tracing::error!(%error, "the master cannot be told to end");
        }
    }

    /// Whether a pause of all clients lasts.
    pub(super) fn is_paused(&self) -> bool {
        self.state.settings.pause().lasts(now_ms())
    }

    /// Shows the other workers that this one turns, and sets the coarse clock.
    pub(super) fn beat(&self) {
        self.statistics().set(Stat::Heartbeat, now_ms());
        self.uptime_ms.set(self.started.elapsed().as_millis() as u64);
    }

    /// Milliseconds since the worker started, as of the last tick: enough for time limits of seconds, and free.
    pub(super) fn uptime_ms(&self) -> u64 {
        self.uptime_ms.get()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    pub(super) fn start_draining(&self) {
        self.draining.set(true);
    }

    /// A place among those whose last words are waited for, held until it is dropped.
    pub(super) fn start_farewell(&self) -> Option<Rc<()>> {
        (Rc::strong_count(&self.farewells) <= MAX_FAREWELLS).then(|| Rc::clone(&self.farewells))
    }

    /// How many more clients this worker has than that one, of those that turn, which has the fewest.
    pub(super) fn clients_above_the_least(&self) -> u64 {
        let statistics = self.statistics();
        let (own, now_ms) = (statistics.worker(self.index, Stat::Clients), now_ms());
        let turns = |&other: &usize| now_ms.saturating_sub(statistics.worker(other, Stat::Heartbeat)) < STALE_MS;
        let others = (0..self.workers).filter(|&other| other != self.index).filter(turns);
        others.map(|other| statistics.worker(other, Stat::Clients)).min().map_or(0, |least| own.saturating_sub(least))
    }
}

/// The pauses of a request that waits for a stopped process: 1 ms, growing to 10 ms, until the time is up.
pub(super) struct Patience {
    since: Instant,
    pause: Duration,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(10);

    /// Starts to wait.
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), pause: Self::FIRST }
    }

    /// Whether the wait took longer than it may.
    pub(super) fn is_over(&self, limit: Duration) -> bool {
        self.since.elapsed() >= limit
    }

    /// Sleeps while other connections are served.
    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Self::LONGEST);
    }
}
