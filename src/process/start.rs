//! The order in which a run begins: what can refuse does so before anything is made, and the reason is on standard error
//! before there is a worker. Whoever waits for the ready line on standard output waits for a store that serves.

use std::{io, sync::Arc};

use super::{Failure, listeners::Listeners, log, master::Master, memory};
use crate::{
    backend::SharedStore,
    config::{Config, ConfigError},
    server,
    shm::{Segment, SegmentOptions},
    store::Store,
    sys::{
        event::Bell,
        process,
        signal::{Signal, Signals},
    },
};

/// Collects the settings anew, from the sources that they came from at start.
pub type Reload = Box<dyn Fn() -> Result<Config, ConfigError>>;

/// Descriptors that a worker has open beside its clients: listeners, event loop, signals, standard streams, segment.
/// The bells of the workers come on top.
const OWN_FILES: u64 = 64;

/// Runs the master until it is asked to end. Returns in the master only: a worker ends within.
///
/// # Errors
///
/// [`Failure::Refused`] if it could not start, [`Failure::Failed`] if it failed later.
pub fn serve(mut config: Config, reload: Reload) -> Result<(), Failure> {
    let level = log::start(&config).map_err(|error| Failure::Refused(format!("cannot set logging up: {error}")))?;
    abort_on_panic();
    memory::check(&config)?;
    let (listeners, socket_file) = Listeners::bind(&config)?;
    // From here on port 0 is the port that it came to be: INFO names it.
    let bound = listeners.addresses(&config);
    (config.http, config.resp) = (bound.http, bound.resp);
    let segment = create_segment(&config)?;
    make_tables(&config, &segment)?;
    allow_clients(&config);
    // Held back before the first fork, so that no signal is lost in between.
    let signals = Signals::listen(&[Signal::Child, Signal::Terminate, Signal::Interrupt, Signal::Reload])
        .map_err(|error| Failure::Refused(format!("cannot receive signals: {error}")))?;
    let bells: io::Result<Vec<Bell>> = (0..config.workers).map(|_| Bell::new()).collect();
    let bells = bells.map_err(|error| Failure::Refused(format!("cannot make the bells of the workers: {error}")))?;
    let ended = Master::new(Arc::new(config), segment, listeners, bells, signals, level, reload).run();
    drop(socket_file);
    ended
}

/// A broken invariant ends the process on the spot, with its reason in the log. Unwinding would run destructors over a
/// state that nobody vouches for; a dead worker's locks are recovered instead.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("{panic}");
        std::process::abort();
    }));
}

fn create_segment(config: &Config) -> Result<Segment, Failure> {
    let options = SegmentOptions::new()
        .memory(config.memory)
        .counters(config.counters)
        .max_keys(config.max_keys)
        .workers(config.workers)
        .name(config.segment.clone())
        .mode(config.segment_mode)
        .fresh(config.fresh);
    Segment::create(options).map_err(|error| Failure::Refused(format!("cannot make the segment: {error}")))
}

/// Nobody is served yet, so this may wait for what another process of a named segment holds.
fn make_tables(config: &Config, segment: &Segment) -> Result<(), Failure> {
    let shared = SharedStore::open(segment.clone(), Some(config.lock_wait));
    let store = Store::on(Arc::new(shared));
    server::reserve(&store)
        .map_err(|error| Failure::Refused(format!("cannot make the tables that the workers need: {error}")))?;
    for (name, spec) in &config.tables {
        store
            .make_spec(name, spec.clone())
            .map_err(|error| Failure::Refused(format!("cannot make the table of --table {name}: {error}")))?;
    }
    Ok(())
}

/// Any one worker may get all the clients.
fn allow_clients(config: &Config) {
    let wanted = config.max_clients as u64 + config.workers as u64 + OWN_FILES;
    match process::allow_open_files(wanted) {
        Ok(allowed) if allowed < wanted => tracing::warn!(
            "a worker may open {allowed} files, too few for --max-clients {}; raise the limit (`ulimit -Hn {wanted}`, \
             LimitNOFILE={wanted}) or lower --max-clients",
            config.max_clients
        ),
        Ok(_) => {}
        Err(error) => {
            tracing::warn!("cannot set the limit of open files for --max-clients {}: {error}", config.max_clients)
        }
    }
}
