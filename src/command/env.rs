//! What a command is executed in: the store, the settings, the clock, and what a worker keeps between requests.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
};

use super::{
    Acl, Buffers, Bus, Clients, Meter, Monitors, Notices, PubSub, Recent, Session, Settings, SlowLog, Tracking, pubsub,
    refusal::{Answer, Refusal},
};
use crate::{
    config::Config,
    store::{Error, Interest, Result, Store, Table},
};

/// The surroundings of one batch of requests; cheap to build.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The store.
    pub store: &'a Store,
    /// The settings the server was started with.
    pub config: &'a Config,
    /// The time, in milliseconds of the Unix clock.
    pub now_ms: u64,
    /// The same in microseconds.
    pub now_us: u64,
    /// Index of this worker.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// What this worker keeps between requests.
    pub state: &'a WorkerState,
    /// Who wants to be told of what, at hand for every request.
    pub interest: Interest<'a>,
}

/// What a worker keeps between requests: the client registry, the settings of CONFIG SET, its end of the bus and what its clients
/// have subscribed to, and handles of tables.
pub struct WorkerState {
    /// The registry of clients.
    pub clients: Clients,
    /// The settings that can change while the server runs.
    pub settings: Settings,
    /// Users and what they may do.
    pub acl: Acl,
    /// The events of the request at hand.
    pub notices: Notices,
    /// The way to the other workers.
    pub bus: Bus,
    /// What clients have subscribed to.
    pub pubsub: PubSub,
    /// The clients that cache keys.
    pub tracking: Tracking,
    /// The clients that are shown commands.
    pub monitors: Monitors,
    /// What counts and times commands.
    pub meter: Meter,
    /// The commands that took long.
    pub slow_log: SlowLog,
    /// Names of commands that were read of late.
    pub recent: Recent,
    /// Buffers for replies.
    pub buffers: Buffers,
    /// A client has asked for the end of the server.
    pub end_is_wanted: Cell<bool>,
    /// Identifies this run of the server, 40 hexadecimal digits.
    pub run_id: String,
    /// When the worker started, in milliseconds of the Unix clock.
    pub started_ms: u64,
    tables: RefCell<HashMap<String, Table>>,
}

/// Handles that are kept; a client that names more tables than that makes the worker start anew.
const MAX_HANDLES: usize = 4096;

impl WorkerState {
    /// Makes the tables that workers keep for themselves. A master does it once, before anything else takes their room: a
    /// worker that cannot have them cannot serve.
    ///
    /// # Errors
    ///
    /// The segment has no room for them.
    pub fn reserve(store: &Store) -> Result<()> {
        store.interest().clear();
        Clients::table(store)?;
        PubSub::reserve(store)?;
        SlowLog::open(store)?;
        Acl::reserve(store)?;
        Settings::table(store).map(drop)
    }

    /// Opens what is shared, and removes the clients that an earlier process of this worker left in the registry.
    ///
    /// # Errors
    ///
    /// Those of the store: the segment has no room for the hidden tables, or a stopped process holds what is needed.
    pub fn open(store: &Store, config: &Config, worker: usize, now_ms: u64) -> Result<Self> {
        store.interest().forget(worker);
        store.gather_departures();
        let clients = Clients::open(store, worker)?;
        clients.purge()?;
        let settings = Settings::open(store, config)?;
        let acl = Acl::open(store, &settings)?;
        let bus = Bus::open(store, worker);
        let pubsub = PubSub::open(store, worker)?;
        let run_id = settings.run_id()?;
        Ok(Self {
            clients,
            settings,
            acl,
            bus,
            pubsub,
            notices: Notices::default(),
            tracking: Tracking::new(store, worker),
            monitors: Monitors::new(store, worker),
            meter: Meter::new(store, worker),
            slow_log: SlowLog::open(store)?,
            recent: Recent::default(),
            buffers: Buffers::default(),
            end_is_wanted: Cell::new(false),
            run_id,
            started_ms: now_ms,
            tables: RefCell::default(),
        })
    }

    /// Takes a client that is gone, or begins anew, off every list.
    pub fn leave(&self, session: &mut Session) {
        pubsub::unsubscribe_all(self, &mut session.subscriptions, session.id);
        self.tracking.turn_off(session.id);
        self.monitors.remove(session.id);
        session.forget_tracking();
        session.monitors = false;
    }

    /// Whether there is something to tell the others of the request at hand.
    pub(crate) fn has_words(&self) -> bool {
        self.notices.len() > 0 || self.monitors.has_lines() || self.bus.has_posted()
    }

    /// Ends a batch of requests: what was counted of them becomes visible to all.
    pub fn end_batch(&self) {
        self.meter.end_batch(&self.settings.limits());
    }

    /// Runs `with` on the table called `name`, through a handle from an earlier request if there is one.
    ///
    /// A kept handle may be of a table that was dropped since, by any worker, and perhaps made again with other columns. So
    /// a refusal that comes by way of a kept handle is not believed: `with` runs once more on the table that
    /// has the name now. Nothing was written by a request that was refused.
    pub(crate) fn table<T>(&self, store: &Store, name: &[u8], mut with: impl FnMut(&Table) -> Answer<T>) -> Answer<T> {
        let name = std::str::from_utf8(name).map_err(|_| unknown(name))?;
        let kept = self.tables.borrow().get(name).cloned();
        if let Some(table) = kept {
            match with(&table) {
                Ok(done) => return Ok(done),
                Err(Refusal::Store(Error::Busy)) => return Err(Error::Busy.into()),
                Err(_) => self.forget(name),
            }
        }
        let table = store.table(name)?;
        let mut tables = self.tables.borrow_mut();
        if tables.len() >= MAX_HANDLES {
            tables.clear();
        }
        tables.insert(name.to_owned(), table.clone());
        drop(tables);
        with(&table)
    }

    /// Forgets the handle of a table.
    pub(crate) fn forget(&self, name: &str) {
        self.tables.borrow_mut().remove(name);
    }
}

/// The error for a name that no table can have.
fn unknown(name: &[u8]) -> Error {
    Error::TableNotFound(String::from_utf8_lossy(name).into_owned())
}
