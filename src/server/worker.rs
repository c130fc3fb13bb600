//! A worker from its first beat to its last: one thread, one runtime, built after the fork.

use std::{
    io,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    task::spawn_local,
};

use super::{
    accept::{self, Door},
    drain,
    hub::Hub,
    post, tick,
};
use crate::{
    command::WorkerState,
    config::Config,
    store::{Error, Stat, Store},
    sys::{self, clock::now_ms, event::Bell},
};

/// How long the start waits for what a stopped process holds, in tries of [`START_PAUSE`].
const START_TRIES: u32 = 500;
/// Between two tries.
const START_PAUSE: Duration = Duration::from_millis(20);

/// What a worker serves, and with what.
pub struct Worker {
    /// Its index, below `workers`.
    pub index: usize,
    /// How many workers there are.
    pub workers: usize,
    /// The store.
    pub store: Store,
    /// The settings.
    pub config: Arc<Config>,
    /// Where HTTP clients connect; shared with the other workers, like the other listeners.
    pub http: Option<TcpListener>,
    /// Where RESP clients connect.
    pub resp: Option<TcpListener>,
    /// Where RESP clients on this machine connect.
    pub resp_unix: Option<UnixListener>,
    /// One bell for each worker, which wakes it for messages.
    pub bells: Vec<Bell>,
    /// Called once the worker accepts clients.
    pub opened: Box<dyn FnOnce() + Send>,
    /// Becomes readable when the worker is to stop.
    pub shutdown: OwnedFd,
}

/// Serves until `shutdown` becomes readable, finishes what runs, and returns.
///
/// # Errors
///
/// What the runtime or a listener cannot do at the start, or that the store has no room for what the worker keeps in it.
pub fn run(worker: Worker) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build_local(LocalOptions::default())?;
    runtime.block_on(serve(worker))
}

async fn serve(worker: Worker) -> io::Result<()> {
    announce(&worker);
    let state = open_state(&worker).await?;
    let bell = worker.bells.get(worker.index).map(Bell::descriptor).transpose()?;
    let bell = bell.map(sys::watch::readable).transpose()?;
    state.bus.wake_by(wake_by(worker.bells));
    let hub = Rc::new(Hub::new(worker.index, worker.workers, worker.store, worker.config, state));
    hub.beat();
    hub.losses.note(&hub);
    let mut doors = Vec::new();
    doors.extend(worker.http.map(Door::http).transpose()?);
    doors.extend(worker.resp.map(Door::resp).transpose()?);
    doors.extend(worker.resp_unix.map(Door::local_resp).transpose()?);
    let doors: Vec<_> = doors.into_iter().map(|door| spawn_local(accept::run(Rc::clone(&hub), door))).collect();
    (worker.opened)();
    let shutdown = sys::watch::readable(worker.shutdown)?;
    let ticking = spawn_local(tick::run(Rc::clone(&hub)));
    let posting = bell.map(|bell| spawn_local(post::run(Rc::clone(&hub), bell)));
    shutdown.readable().await?.retain_ready();
    tracing::debug!(worker = hub.index, clients = hub.roster.len(), "draining");
    doors.iter().for_each(|door| door.abort());
    drain::run(&hub).await;
    ticking.abort();
    posting.iter().for_each(|posting| posting.abort());
    Ok(())
}

/// Rings the bell of a worker. A bell that cannot be rung is made up for by the other's tick.
fn wake_by(bells: Vec<Bell>) -> impl Fn(usize) {
    move |worker| {
        if let Some(Err(error)) = bells.get(worker).map(Bell::ring) {
            tracing::warn!(worker, %error, "cannot ring a bell");
        }
    }
}

/// Makes what every worker needs in the store, before there are workers.
///
/// # Errors
///
/// The store has no room for it.
pub fn reserve(store: &Store) -> crate::store::Result<()> {
    WorkerState::reserve(store)
}

/// Writes down who serves under this index now. Levels describe a process: those of an earlier one went with it.
fn announce(worker: &Worker) {
    let statistics = worker.store.statistics();
    statistics.select(Some(worker.index));
    Stat::ALL.iter().filter(|stat| !stat.is_total()).for_each(|stat| statistics.set(*stat, 0));
    statistics.add(Stat::Starts, 1);
    statistics.set(Stat::Pid, u64::from(std::process::id()));
    statistics.set(Stat::StartedAt, now_ms() / 1000);
}

/// Opens what the commands keep in the store, which a stopped process may hold for a while.
async fn open_state(worker: &Worker) -> io::Result<WorkerState> {
    for _ in 0..START_TRIES {
        match WorkerState::open(&worker.store, &worker.config, worker.index, now_ms()) {
            Err(Error::Busy) => tokio::time::sleep(START_PAUSE).await,
            opened => return opened.map_err(io::Error::other),
        }
    }
    Err(io::Error::other(Error::Busy))
}
