//! The master: it watches signals and workers, replaces those that die, and has what they left behind recovered.
//!
//! It has one thread, serves no client and waits for no lock, so nothing that happens in a worker or in the segment can
//! keep it from noticing the next death. It sleeps in one place, [`Master::wait`].
//!
//! When a worker dies: reap, fork the replacement, then try to recover. In this order, because the replacement takes
//! another slot of the segment and so need not wait, and because whoever meets the dead one's locks recovers it anyway.

use std::{
    fmt,
    io::{self, PipeReader, Read, Write},
    mem,
    net::SocketAddr,
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Failure, Reload,
    listeners::Listeners,
    log::LogLevel,
    supervisor::{Ending, Supervisor},
    worker::{self, Inheritance},
};
use crate::{
    config::Config,
    shm::Segment,
    sys::{
        event::Bell,
        poll::wait_readable,
        process::{self, Exit, Forked, Pid},
        signal::{Signal, Signals},
    },
};

/// How often the master tries to recover dead slots: those of library processes too, whose deaths it does not see.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(1);
/// What workers get beyond the drain time to end by themselves.
const DRAIN_MARGIN: Duration = Duration::from_secs(2);
/// Quick deaths in a row after which a start that never succeeded is given up.
const HOPELESS: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not all workers have served yet; the ready line is not out.
    Starting,
    Serving,
    /// Workers drain, until this moment.
    Stopping(Instant),
    /// Workers were killed.
    Killing,
}

/// A worker process as its master sees it.
struct Child {
    pid: Pid,
    since: Instant,
    /// Until the worker has reported.
    report: Option<PipeReader>,
    ready: bool,
    /// Why it cannot run here.
    reason: Option<String>,
}

impl Child {
    /// Reads what the worker reports; only called when there is something, or when it has ended.
    fn hear(&mut self) {
        let Some(mut report) = self.report.take() else { return };
        let mut text = [0; worker::MAX_REPORT_BYTES];
        match report.read(&mut text) {
            Ok(len) if &text[..len] == worker::READY => self.ready = true,
            Ok(0) | Err(_) => {}
            Ok(len) => self.reason = Some(String::from_utf8_lossy(&text[..len]).into_owned()),
        }
    }
}

/// The master process.
pub(super) struct Master {
    config: Arc<Config>,
    segment: Segment,
    listeners: Listeners,
    /// One for each worker index, made before the first fork: whoever serves under an index is woken by its bell.
    bells: Vec<Bell>,
    signals: Signals,
    level: LogLevel,
    reload: Reload,
    supervisor: Supervisor,
    /// The process of each worker index; none while its replacement is not due yet.
    children: Vec<Option<Child>>,
    stage: Stage,
    next_recovery: Instant,
}

impl Master {
    pub(super) fn new(
        config: Arc<Config>,
        segment: Segment,
        listeners: Listeners,
        bells: Vec<Bell>,
        signals: Signals,
        level: LogLevel,
        reload: Reload,
    ) -> Self {
        let now = Instant::now();
        Self {
            supervisor: Supervisor::new(config.workers, now),
            children: (0..config.workers).map(|_| None).collect(),
            config,
            segment,
            listeners,
            bells,
            signals,
            level,
            reload,
            stage: Stage::Starting,
            next_recovery: now + RECOVERY_INTERVAL,
        }
    }

    /// Forks the workers and watches them until the end that was asked for. Workers end within and do not return.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] if workers cannot run here, [`Failure::Failed`] if they keep dying before the first was ever
    /// ready, or if the master itself can go on no longer. No worker is left behind.
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let ended = self.watch();
        if ended.is_err() {
            self.kill();
        }
        self.recover();
        ended
    }

    fn watch(&mut self) -> Result<(), Failure> {
        loop {
            self.obey().map_err(cannot("read signals"))?;
            self.reap()?;
            self.start_due()?;
            self.recover_in_time();
            self.hear();
            match self.stage {
                Stage::Stopping(_) | Stage::Killing if self.is_alone() => return Ok(()),
                Stage::Stopping(deadline) if Instant::now() >= deadline => self.lose_patience(),
                Stage::Starting if self.all_ready() => self.announce(),
                _ => {}
            }
            self.wait().map_err(cannot("wait"))?;
        }
    }

    /// Sleeps until a signal comes, a worker reports, or something is due.
    fn wait(&self) -> io::Result<()> {
        let mut until = self.next_recovery;
        match self.stage {
            Stage::Stopping(deadline) => until = until.min(deadline),
            Stage::Killing => {}
            Stage::Starting | Stage::Serving => until = self.supervisor.next_due().map_or(until, |due| until.min(due)),
        }
        let reports = self.children.iter().flatten().filter_map(|child| child.report.as_ref());
        let descriptors: Vec<_> =
            [self.signals.as_fd()].into_iter().chain(reports.map(|report| report.as_fd())).collect();
        wait_readable(&descriptors, until.saturating_duration_since(Instant::now())).map(drop)
    }

    fn obey(&mut self) -> io::Result<()> {
        while let Some(signal) = self.signals.next()? {
            match (signal, self.stage) {
                // Deaths are looked for after every sleep: signals of one kind that come together count once.
                (Signal::Child, _) => {}
                (Signal::Reload, _) => self.reload(),
                (Signal::Terminate | Signal::Interrupt, Stage::Starting | Stage::Serving) => self.stop(signal),
                (Signal::Terminate | Signal::Interrupt, _) => {
                    tracing::warn!("asked to stop a second time; ending the workers at once");
                    self.kill_all();
                }
            }
        }
        Ok(())
    }

    fn reload(&self) {
        match (self.reload)() {
            Ok(config) => {
                self.level.set(&config.log_level);
                tracing::info!(
                    "settings read again: the log level is {}; all others wait for a restart",
                    config.log_level
                );
            }
            Err(error) => tracing::error!("settings not read again, nothing was changed: {error}"),
        }
    }

    fn stop(&mut self, signal: Signal) {
        tracing::info!(?signal, "stopping; running requests have {:?} to end", self.config.drain_timeout);
        self.listeners = Listeners::default();
        self.stage = Stage::Stopping(Instant::now() + self.config.drain_timeout + DRAIN_MARGIN);
        for child in self.children.iter().flatten() {
            log_failure("terminate", child.pid, process::terminate(child.pid));
        }
    }

    fn lose_patience(&mut self) {
        tracing::warn!("{} worker(s) did not end in time; ending them", self.children.iter().flatten().count());
        self.kill_all();
    }

    fn kill_all(&mut self) {
        self.stage = Stage::Killing;
        for child in self.children.iter().flatten() {
            log_failure("kill", child.pid, process::end(child.pid));
        }
    }

    /// The end after a failure.
    fn kill(&mut self) {
        self.kill_all();
        while !self.is_alone() && self.wait().is_ok() && self.obey().is_ok() && self.reap().is_ok() {
            self.recover_in_time();
        }
    }

    fn is_alone(&self) -> bool {
        self.children.iter().all(Option::is_none)
    }

    fn all_ready(&self) -> bool {
        self.children.iter().all(|child| child.as_ref().is_some_and(|child| child.ready))
    }

    fn hear(&mut self) {
        let reported = |child: &&mut Child| {
            child.report.as_ref().is_some_and(|report| {
                wait_readable(&[report.as_fd()], Duration::ZERO).is_ok_and(|readable| readable == [true])
            })
        };
        self.children.iter_mut().flatten().filter(reported).for_each(Child::hear);
    }

    fn reap(&mut self) -> Result<(), Failure> {
        while let Some((pid, exit)) = process::reap().map_err(cannot("wait for workers"))? {
            // As the first process of a container the master also gets orphans that it never forked.
            let index = self.children.iter().position(|child| child.as_ref().is_some_and(|child| child.pid == pid));
            if let Some((index, child)) = index.and_then(|index| Some((index, self.children[index].take()?))) {
                self.bury(index, child, exit)?;
            }
        }
        Ok(())
    }

    fn bury(&mut self, index: usize, mut child: Child, exit: Exit) -> Result<(), Failure> {
        child.hear();
        let pid = child.pid;
        self.next_recovery = Instant::now();
        if matches!(self.stage, Stage::Stopping(_) | Stage::Killing) {
            tracing::debug!(index, %pid, "worker ended: {exit}");
            return Ok(());
        }
        if let (Stage::Starting, Exit::Code(worker::CANNOT_RUN_HERE), Some(reason)) = (self.stage, exit, child.reason) {
            return Err(Failure::Refused(reason));
        }
        let ending = if child.ready && exit == Exit::KILLED { Ending::Killed } else { Ending::Own };
        let pause = self.supervisor.ended(index, Instant::now(), ending);
        let lived = child.since.elapsed();
        tracing::warn!(index, %pid, ?lived, "worker ended: {exit}; its replacement starts {}", After(pause));
        self.give_up_if_hopeless()
    }

    /// A worker that has never served is likely never to do so.
    fn give_up_if_hopeless(&self) -> Result<(), Failure> {
        if self.stage == Stage::Starting && self.supervisor.quick_deaths() >= HOPELESS {
            return Err(Failure::Failed("workers keep dying before they serve; the lines above say why".to_owned()));
        }
        Ok(())
    }

    fn start_due(&mut self) -> Result<(), Failure> {
        while let (Stage::Starting | Stage::Serving, Some(index)) = (self.stage, self.supervisor.due(Instant::now())) {
            if let Err(error) = self.start(index) {
                let pause = self.supervisor.ended(index, Instant::now(), Ending::Own);
                tracing::error!(index, "cannot fork a worker: {error}; next try {}", After(pause));
                self.give_up_if_hopeless()?;
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> io::Result<()> {
        let (report, report_to) = io::pipe()?;
        let master = Pid::own();
        match process::fork()? {
            Forked::Child => {
                drop(report);
                self.become_worker(index, master, report_to)
            }
            Forked::Parent(pid) => {
                let now = Instant::now();
                self.supervisor.started(index, now);
                self.children[index] =
                    Some(Child { pid, since: now, report: Some(report), ready: false, reason: None });
                tracing::debug!(index, %pid, "worker started");
                Ok(())
            }
        }
    }

    /// In the child: takes what a worker needs and closes the pipes of its siblings. The master's signal descriptor stays
    /// open; read here it would tell of this process's signals, and nobody reads it.
    fn become_worker(&mut self, index: usize, master: Pid, report_to: io::PipeWriter) -> ! {
        self.children.clear();
        let inherited = Inheritance {
            index,
            master,
            config: Arc::clone(&self.config),
            segment: self.segment.clone(),
            listeners: mem::take(&mut self.listeners),
            bells: mem::take(&mut self.bells),
        };
        worker::run(inherited, report_to)
    }

    fn recover_in_time(&mut self) {
        if Instant::now() >= self.next_recovery {
            self.recover();
            self.next_recovery = Instant::now() + RECOVERY_INTERVAL;
        }
    }

    fn recover(&self) {
        let slots = self.segment.recover();
        if slots > 0 {
            tracing::info!(slots, "recovered what dead processes held");
        }
    }

    /// Tells whoever reads standard output that the store serves. If nobody does, that is no reason to stop.
    fn announce(&mut self) {
        self.stage = Stage::Serving;
        let addresses = self.listeners.addresses(&self.config);
        let text = format!(
            "{addresses}ready pid={} workers={} http={} resp={} segment={} memory={}\n",
            Pid::own(),
            self.config.workers,
            Where(addresses.http),
            Where(addresses.resp),
            self.config.segment.as_deref().unwrap_or("anonymous"),
            self.config.memory,
        );
        let mut stdout = io::stdout();
        // Flushed here, or a worker that is forked later would inherit what is buffered.
        if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            tracing::warn!("cannot write the ready line to standard output: {error}");
        }
    }
}

fn cannot(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::Failed(format!("the master cannot {what}: {error}"))
}

fn log_failure(what: &str, pid: Pid, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!("cannot {what} worker {pid}: {error}");
    }
}

/// A pause as a person would say it.
struct After(Duration);

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() { f.write_str("now") } else { write!(f, "in {:?}", self.0) }
    }
}

/// An address, or `off`.
struct Where(Option<SocketAddr>);

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("off"),
        }
    }
}
