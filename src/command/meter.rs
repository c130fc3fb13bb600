//! How often commands are called and how long they take, with as few readings of the clock as will do.
//!
//! A command that can take long, or works on much data, or is the last of what a client has sent, is timed by itself: the end of one is the
//! beginning of the next, so that a client that sends one request at a time costs two readings, and one that sends many, one for each that
//! is timed. Quick commands in the middle of a pipeline are timed as a run, and its time is shared out evenly among them.
//! While `slowlog-log-slower-than` is below [`EXACT_MICROS`], every command is timed by itself.
//!
//! Counts are gathered here and added to the worker's tally at the end of each batch of requests.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use super::{Args, Reply, settings::Limits, table::Command};
use crate::store::{
    Stat, Store,
    tally::{Calls, Tally, bucket},
};

/// A log of slow commands with a threshold below this many microseconds has every command timed by itself.
const EXACT_MICROS: i64 = 1000;
/// Arguments of a command up to which a quick one is taken at its word.
const FEW_ARGS: usize = 8;
/// Bytes of an argument or a reply from which on a command may take a while.
const MANY_BYTES: usize = 4096;
/// What a quick command in a run is taken to need at most when one of them turns out to have worked on much data.
const QUICK_NANOS: u64 = 1000;
/// Places in which commands are looked up: a power of two, several times the number of commands.
const PLACES: usize = 1024;

/// What is counted of one command and not yet added to the tally.
struct Row {
    /// Its row in the tally, if it got one.
    shared: Option<usize>,
    calls: Calls,
    /// How often it was called in the run that is being timed.
    in_run: u64,
    /// It is done at once, whatever it works on.
    quick: bool,
}

/// A command that has begun.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    row: usize,
    at: Instant,
    alone: bool,
}

/// One worker's meter.
pub struct Meter {
    store: Store,
    worker: usize,
    /// Address of a command, and its row plus 1; collisions go to the next place.
    places: Box<[Cell<(usize, usize)>]>,
    rows: RefCell<Vec<Row>>,
    /// Rows with something to add to the tally.
    touched: RefCell<Vec<usize>>,
    /// Rows that were called in the run, and how many calls it has.
    run: RefCell<Vec<usize>>,
    run_calls: Cell<u64>,
    /// The first and the last reading of the clock in this batch.
    first: Cell<Option<Instant>>,
    last: Cell<Option<Instant>>,
    is_last_request: Cell<bool>,
    /// What was counted of each statistic, and which of them were.
    counted: [Cell<u64>; Stat::ALL.len()],
    counts: Cell<u64>,
}

const _: () = assert!(Stat::ALL.len() <= 64);

impl Meter {
    /// The meter of `worker`.
    #[must_use]
    pub fn new(store: &Store, worker: usize) -> Self {
        Self {
            store: store.clone(),
            worker,
            places: vec![Cell::new((0, 0)); PLACES].into_boxed_slice(),
            rows: RefCell::default(),
            touched: RefCell::default(),
            run: RefCell::default(),
            run_calls: Cell::new(0),
            first: Cell::new(None),
            last: Cell::new(None),
            is_last_request: Cell::new(true),
            counted: [const { Cell::new(0) }; Stat::ALL.len()],
            counts: Cell::new(0),
        }
    }

    /// Counts: all that a batch counts is added up at its end.
    #[inline]
    pub(super) fn add(&self, stat: Stat, by: u64) {
        let counted = &self.counted[stat as usize];
        counted.set(counted.get() + by);
        self.counts.set(self.counts.get() | 1 << stat as usize);
    }

    /// Says whether the next request is the last that has arrived: its reply goes out now.
    pub fn announce(&self, is_last_request: bool) {
        self.is_last_request.set(is_last_request);
    }

    fn tally(&self) -> Tally<'_> {
        self.store.statistics().tally(self.worker)
    }

    /// The row of a command.
    fn row(&self, command: &'static Command) -> usize {
        let address = std::ptr::from_ref(command).addr();
        let mut place = (address >> 4) % PLACES;
        loop {
            match self.places[place].get() {
                (known, row) if known == address => return row - 1,
                (0, _) => break,
                _ => place = (place + 1) % PLACES,
            }
        }
        let mut rows = self.rows.borrow_mut();
        let grows = command.cost().contains("length");
        let quick = !grows && (command.flags.contains(&"fast") || command.cost() == "O(1)");
        rows.push(Row { shared: self.tally().row(command.full_name), calls: Calls::default(), in_run: 0, quick });
        self.places[place].set((address, rows.len()));
        rows.len() - 1
    }

    /// Begins a command.
    pub(super) fn begin(&self, command: &'static Command, args: &Args<'_>, limits: &Limits) -> Begun {
        let row = self.row(command);
        let alone = self.is_last_request.get()
            || (0..EXACT_MICROS).contains(&limits.slow_micros)
            || args.len() > FEW_ARGS
            || !self.rows.borrow()[row].quick
            || args.iter().any(|arg| arg.len() >= MANY_BYTES);
        if self.last.get().is_none() {
            let now = Instant::now();
            self.last.set(Some(now));
            self.first.set(self.first.get().or(Some(now)));
        }
        if alone && self.run_calls.get() > 0 {
            self.end_run(Instant::now(), limits);
        }
        Begun { row, at: self.last.get().unwrap_or_else(Instant::now), alone }
    }

    /// Ends a command that was carried out; returns the nanoseconds that it took if it was timed by itself.
    pub(super) fn end(&self, begun: Begun, reply: Option<&Reply>, limits: &Limits) -> Option<u64> {
        if reply.is_none() {
            self.touch(begun.row, |calls| calls.failed += 1);
        }
        if begun.alone {
            let now = Instant::now();
            let nanos = nanos_between(begun.at, now);
            self.last.set(Some(now));
            self.count(begun.row, 1, nanos, limits);
            return Some(nanos);
        }
        if reply.is_some_and(is_much) {
            let others = self.run_calls.get();
            let now = Instant::now();
            let nanos = nanos_between(begun.at, now);
            let of_others = (others * QUICK_NANOS).min(nanos * others / (others + 1));
            self.share_out(of_others, limits);
            self.last.set(Some(now));
            self.count(begun.row, 1, nanos - of_others, limits);
            return Some(nanos - of_others);
        }
        let mut rows = self.rows.borrow_mut();
        let row = &mut rows[begun.row];
        if row.in_run == 0 {
            self.run.borrow_mut().push(begun.row);
        }
        row.in_run += 1;
        self.run_calls.set(self.run_calls.get() + 1);
        None
    }

    /// Forgets that a command had begun: it waits, and is repeated.
    pub(super) fn give_up(&self, begun: Begun, limits: &Limits) {
        if !begun.alone {
            self.end_run(begun.at, limits);
        }
        self.last.set(None);
    }

    /// Whether the commands of this batch that can take long have taken longer than this together. The clock is not read for it.
    #[must_use]
    pub fn is_past(&self, limit: Duration) -> bool {
        let (first, last) = (self.first.get(), self.last.get());
        first != last && first.zip(last).is_some_and(|(first, last)| last.saturating_duration_since(first) > limit)
    }

    /// Counts a command that was refused before it began.
    pub(super) fn reject(&self, command: &'static Command) {
        let row = self.row(command);
        self.touch(row, |calls| calls.rejected += 1);
    }

    /// Ends a batch of requests: everything that was counted is added to the tally.
    pub(super) fn end_batch(&self, limits: &Limits) {
        if self.run_calls.get() > 0 {
            self.end_run(Instant::now(), limits);
        }
        self.first.set(None);
        self.last.set(None);
        self.is_last_request.set(true);
        self.flush();
    }

    /// Adds to the tally what was counted.
    pub(super) fn flush(&self) {
        self.flush_counts();
        let mut rows = self.rows.borrow_mut();
        for at in self.touched.borrow_mut().drain(..) {
            let calls = std::mem::take(&mut rows[at].calls);
            if let Some(shared) = rows[at].shared {
                self.tally().add(shared, &calls);
            }
        }
    }

    /// Adds to the statistics what was counted of them.
    pub(super) fn flush_counts(&self) {
        let mut counts = self.counts.take();
        while counts != 0 {
            let stat = Stat::ALL[counts.trailing_zeros() as usize];
            self.store.statistics().add(stat, self.counted[stat as usize].take());
            counts &= counts - 1;
        }
    }

    /// Counts an error by its prefix.
    pub(super) fn count_error(&self, text: &str) {
        let prefix = text.split(' ').next().unwrap_or_default();
        self.tally().count_error(if prefix.is_empty() { b"ERR" } else { prefix.as_bytes() });
    }

    fn end_run(&self, now: Instant, limits: &Limits) {
        let began = self.last.replace(Some(now)).unwrap_or(now);
        self.share_out(nanos_between(began, now), limits);
    }

    /// Shares the time of a run out among its calls, and ends it.
    fn share_out(&self, nanos: u64, limits: &Limits) {
        let each = nanos / self.run_calls.replace(0).max(1);
        for at in self.run.borrow_mut().drain(..) {
            let calls = std::mem::take(&mut self.rows.borrow_mut()[at].in_run);
            self.count(at, calls, each, limits);
        }
    }

    fn count(&self, row: usize, calls: u64, nanos_each: u64, limits: &Limits) {
        self.touch(row, |counted| {
            counted.calls += calls;
            counted.nanos += calls * nanos_each;
            if limits.tracks_latency {
                counted.buckets[bucket(nanos_each)] += calls;
            }
        });
    }

    fn touch(&self, row: usize, change: impl FnOnce(&mut Calls)) {
        let calls = &mut self.rows.borrow_mut()[row].calls;
        if calls.calls + calls.rejected + calls.failed == 0 {
            self.touched.borrow_mut().push(row);
        }
        change(calls);
    }
}

fn nanos_between(began: Instant, ended: Instant) -> u64 {
    u64::try_from(ended.saturating_duration_since(began).as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a reply is of a size that took a while to gather.
fn is_much(reply: &Reply) -> bool {
    match reply {
        Reply::Bulk(bytes) => bytes.len() >= MANY_BYTES,
        Reply::Array(items) => items.len() > FEW_ARGS,
        Reply::Map(pairs) => pairs.len() > FEW_ARGS,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Server;

    #[test]
    fn commands_are_counted_whatever_came_of_them() {
        let server = Server::new();
        for request in ["SET a x", "GET a", "GET a", "GET", "INCR a", "CLIENT ID", "NONSENSE", "CLIENT NONSENSE"] {
            server.run(request);
        }
        server.state.meter.end_batch(&server.state.settings.limits());
        let tally = server.store.statistics().tally(0);
        let counted = |name: &str| tally.calls(name).map(|calls| (calls.calls, calls.rejected, calls.failed));
        assert_eq!(counted("get"), Some((2, 1, 0)));
        assert_eq!(counted("set"), Some((1, 0, 0)));
        assert_eq!(counted("incr"), Some((1, 0, 1)));
        assert_eq!(counted("client|id"), Some((1, 0, 0)));
        assert_eq!(counted("ping"), None);
        let calls = tally.calls("get").unwrap();
        assert!(calls.nanos > 0 && calls.buckets.iter().sum::<u64>() == 2, "{calls:?}");
        assert_eq!(tally.errors().collect::<Vec<_>>(), [(b"ERR".to_vec(), 4)]);
    }

    // A pipeline of commands that copy a long value each, and were taken for quick, kept a worker for seconds.
    #[test]
    fn what_a_command_does_with_a_long_value_is_timed_alone() {
        let server = Server::new();
        let meter = &server.state.meter;
        meter.announce(false);
        for (request, in_run) in
            [("GET a", 1), ("APPEND a x", 0), ("GET a", 1), ("GETBIT a 1", 0), ("OBJECT ENCODING a", 1)]
        {
            server.run(request);
            assert_eq!(meter.run_calls.get(), in_run, "{request}");
        }
    }

    #[test]
    fn quick_commands_in_a_pipeline_share_the_time_of_their_run() {
        let server = Server::new();
        let meter = &server.state.meter;
        meter.announce(false);
        for request in ["GET a", "EXISTS a", "GET a", "KEYS *", "GET a"] {
            server.run(request);
        }
        assert_eq!(server.store.statistics().tally(0).calls("get").unwrap().calls, 0, "not added yet");
        meter.end_batch(&server.state.settings.limits());
        let calls = |name: &str| server.store.statistics().tally(0).calls(name).unwrap();
        assert_eq!((calls("get").calls, calls("exists").calls, calls("keys").calls), (3, 1, 1));
        assert_eq!(calls("get").buckets.iter().sum::<u64>(), 3);
    }
}
