//! A server with connections to it, and two of them measured in turns.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{
    load::{Batches, Length, Load},
    process::Server,
    requests::{KEYS, Kind, Request, batches, filling, one_of_each},
    wire,
};
use crate::turns::{Pair, in_turns};

/// Time of one side's turn.
const SHARE: Duration = Duration::from_millis(250);

/// A server with connections to it.
pub(super) struct Side {
    pub(super) load: Load,
    pub(super) server: Server,
}

impl Side {
    /// So many connections to where the server serves.
    pub(super) fn new(server: Server, length: Length, connections: usize) -> Self {
        Self { load: Load::new(server.address, connections, length), server }
    }

    /// So many connections that speak RESP, to a server that has the usual keys.
    pub(super) fn filled(server: Server, connections: usize) -> Self {
        let mut side = Self::new(server, wire::reply, connections);
        let ours = side.server.http.is_some();
        side.load.all(filling(KEYS, ours));
        side
    }

    /// Has one connection ask for every key below `keys` once; returns how many bytes the replies had.
    pub(super) fn ask_all(&mut self, request: Request, keys: u32, value: &[u8]) -> usize {
        self.load.all(one_of_each(keys, request, value))
    }

    /// Closes the connections and ends the server; returns the folder that it had.
    pub(super) fn stop(self) -> TempDir {
        drop(self.load);
        self.server.stop()
    }

    /// CPU microseconds of one request while the load asks for what is in the batches.
    pub(super) fn cpu(&mut self, batches: &Rc<Batches>) -> f64 {
        let before = self.server.cpu();
        let requests = self.load.closed(batches, SHARE);
        (self.server.cpu() - before).as_secs_f64() * 1e6 / requests as f64
    }

    /// Requests answered in a second.
    pub(super) fn rate(&mut self, batches: &Rc<Batches>) -> f64 {
        let start = Instant::now();
        let requests = self.load.closed(batches, SHARE);
        requests as f64 / start.elapsed().as_secs_f64()
    }
}

/// CPU time of a request of each, in turns; one turn before warms both up.
pub(super) fn cpu_pair(rounds: usize, ours: (&mut Side, &Rc<Batches>), theirs: (&mut Side, &Rc<Batches>)) -> Pair {
    let mut mine = || ours.0.cpu(ours.1);
    let mut other = || theirs.0.cpu(theirs.1);
    mine();
    other();
    in_turns(rounds, mine, other)
}

/// Ours and another.
pub(super) struct Two {
    pub(super) ours: Side,
    pub(super) theirs: Side,
}

impl Two {
    /// Both with the usual keys.
    pub(super) fn against_redis(connections: usize) -> Self {
        Self { ours: Side::filled(Server::ours(1), connections), theirs: Side::filled(Server::redis(), connections) }
    }

    /// CPU time of a request of this kind.
    pub(super) fn pair(&mut self, rounds: usize, kind: &Kind, pipeline: usize, value: &[u8]) -> Pair {
        let ours = batches(kind.ours, kind.commands, pipeline, value);
        let theirs = batches(kind.theirs, kind.commands, pipeline, value);
        cpu_pair(rounds, (&mut self.ours, &ours), (&mut self.theirs, &theirs))
    }
}
