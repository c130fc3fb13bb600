//! One worker: what a process does between its fork and the event loop, and what it leaves behind.
//!
//! A worker follows its master into death at once (`SIGKILL`): every write that was acknowledged lies in the segment, and a
//! worker without a master would be one that nobody replaces, holding sockets that a new master needs.

use std::{
    io::{self, PipeWriter, Write},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use super::{Failure, listeners::Listeners};
use crate::{
    backend::SharedStore,
    config::Config,
    server,
    shm::Segment,
    store::Store,
    sys::{
        event::Bell,
        process::{self, Pid},
        signal::{Signal, Signals},
    },
};

/// How long an operation waits for a lock before the request steps aside for others.
const PATIENCE: Duration = Duration::from_millis(2);

/// The exit code of a worker that cannot run here, and whose replacement could not either.
pub(super) const CANNOT_RUN_HERE: i32 = 2;

/// What a worker sends through its pipe once it serves; anything else is the reason why it cannot.
pub(super) const READY: &[u8] = b"\x06";

/// Longest report, in bytes: what a pipe takes and gives as a whole.
pub(super) const MAX_REPORT_BYTES: usize = 4096;

/// All that a worker needs and takes over from its master.
pub(super) struct Inheritance {
    pub(super) index: usize,
    pub(super) master: Pid,
    pub(super) config: Arc<Config>,
    pub(super) segment: Segment,
    pub(super) listeners: Listeners,
    pub(super) bells: Vec<Bell>,
}

/// Serves until the master asks for an end; then ends the process. `report` tells the master that the worker serves, or
/// why it cannot.
pub(super) fn run(inherited: Inheritance, mut report: PipeWriter) -> ! {
    let span = tracing::error_span!("worker", index = inherited.index, pid = %Pid::own());
    let _inside = span.enter();
    let ended = prepare(&inherited).and_then(|shutdown| {
        let store = Store::on(Arc::new(SharedStore::open(inherited.segment.clone(), Some(PATIENCE))));
        let mut served = report.try_clone().map_err(|error| Failure::Failed(format!("cannot report: {error}")))?;
        serve(inherited, store, shutdown, Box::new(move || say(&mut served, READY)))
    });
    let code = match &ended {
        Ok(()) => 0,
        Err(Failure::Refused(why)) => {
            tracing::error!("cannot run here: {why}");
            say(&mut report, why.as_bytes());
            CANNOT_RUN_HERE
        }
        Err(Failure::Failed(why)) => {
            tracing::error!("failed: {why}");
            1
        }
    };
    std::process::exit(code)
}

/// If nobody reads it, the master has just died, and the kernel is about to end this process.
fn say(report: &mut PipeWriter, what: &[u8]) {
    let _ = report.write_all(&what[..what.len().min(MAX_REPORT_BYTES)]);
}

/// Makes this process a worker; returns what becomes readable when it shall end.
///
/// `SIGINT` and `SIGHUP` stay held back, as the master has them: a terminal sends them to the whole group, and it is the
/// master who acts on them.
fn prepare(inherited: &Inheritance) -> Result<OwnedFd, Failure> {
    let failed = |what: &'static str| move |error: io::Error| Failure::Failed(format!("{what}: {error}"));
    process::end_with_parent().map_err(failed("cannot follow the master"))?;
    if Pid::parent() != inherited.master {
        return Err(Failure::Failed("the master died while this worker was being made".to_owned()));
    }
    process::set_name(&format!("store-worker{}", inherited.index)).map_err(failed("cannot take a name"))?;
    if !inherited.config.core_dumps {
        process::forbid_core_files().map_err(failed("cannot forbid core files"))?;
    }
    Signals::listen(&[Signal::Terminate]).and_then(Signals::into_descriptor).map_err(failed("cannot receive signals"))
}

fn serve(
    inherited: Inheritance,
    store: Store,
    shutdown: OwnedFd,
    opened: Box<dyn FnOnce() + Send>,
) -> Result<(), Failure> {
    let Listeners { http, resp, resp_unix } = inherited.listeners;
    let worker = server::Worker {
        index: inherited.index,
        workers: inherited.config.workers,
        store,
        config: inherited.config,
        http,
        resp,
        resp_unix,
        bells: inherited.bells,
        opened,
        shutdown,
    };
    server::run(worker).map_err(|error| Failure::Failed(format!("the event loop ended: {error}")))
}
