//! Load: connections that keep asking, as fast as they are answered or at a rate of their own.
//!
//! What is asked was made before: the load should cost next to nothing beside the server that it is for.

use std::{
    cell::Cell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::{JoinHandle, LocalSet},
};

use super::wire::is_refusal;

/// The longest time that can be noted, in nanoseconds: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// Times in nanoseconds, of which none is noted yet.
fn no_times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("three digits")
}

/// How long the reply at the head of some bytes is.
pub(crate) type Length = fn(&[u8]) -> Option<usize>;

/// What a connection sends in one go, and how many replies it brings.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) requests: usize,
    pub(crate) replies: usize,
}

impl Batch {
    /// One request with one reply.
    pub(crate) fn one(bytes: Vec<u8>) -> Self {
        Self { bytes, requests: 1, replies: 1 }
    }
}

/// Batches that all connections take in turns, so that none is asked again before all the others were.
pub(crate) struct Batches {
    list: Vec<Batch>,
    next: Cell<usize>,
}

impl Batches {
    /// These batches, of which there is one at least.
    pub(crate) fn new(list: Vec<Batch>) -> Rc<Self> {
        Rc::new(Self { list, next: Cell::new(0) })
    }

    fn take(&self) -> &Batch {
        let at = self.next.get();
        self.next.set(if at + 1 == self.list.len() { 0 } else { at + 1 });
        &self.list[at]
    }
}

/// Connections to one server.
pub(crate) struct Load {
    runtime: Runtime,
    connections: Vec<Connection>,
    length: Length,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    /// Sends a batch and waits for its replies; returns how many bytes of the input they take.
    async fn exchange(&mut self, batch: &Batch, length: Length) -> usize {
        self.input.clear();
        self.stream.write_all(&batch.bytes).await.expect("the server takes requests");
        let (mut left, mut at) = (batch.replies, 0);
        while left > 0 {
            match length(&self.input[at..]) {
                Some(len) => {
                    let reply = &self.input[at..at + len];
                    assert!(!is_refusal(reply), "{}", String::from_utf8_lossy(reply));
                    (left, at) = (left - 1, at + len);
                }
                None => {
                    let read = self.stream.read_buf(&mut self.input).await.expect("the server answers");
                    assert!(read > 0, "the server has closed the connection");
                }
            }
        }
        at
    }
}

impl Load {
    /// So many connections.
    pub(crate) fn new(server: SocketAddr, connections: usize, length: Length) -> Self {
        let runtime = Builder::new_current_thread().enable_io().event_interval(8).build().expect("a runtime");
        let connections = runtime.block_on(async {
            let mut open = Vec::with_capacity(connections);
            for _ in 0..connections {
                let stream = TcpStream::connect(server).await.expect("the server accepts");
                stream.set_nodelay(true).expect("an option");
                open.push(Connection { stream, input: Vec::with_capacity(1 << 14) });
            }
            open
        });
        Self { runtime, connections, length }
    }

    /// Has one connection send this and waits for its replies, which it returns.
    pub(crate) fn once(&mut self, batch: &Batch) -> &[u8] {
        let (connection, length) = (&mut self.connections[0], self.length);
        let end = self.runtime.block_on(connection.exchange(batch, length));
        &connection.input[..end]
    }

    /// Has one connection send these, one after the other; returns how many bytes the replies had.
    pub(crate) fn all(&mut self, batches: impl Iterator<Item = Batch>) -> usize {
        batches.map(|batch| self.once(&batch).len()).sum()
    }

    /// Has one connection send so many batches, one after the other.
    pub(crate) fn times(&mut self, batches: &Batches, times: usize) {
        for _ in 0..times {
            self.once(batches.take());
        }
    }

    /// Every connection sends batch after batch until the time is over; returns how many requests were answered.
    pub(crate) fn closed(&mut self, batches: &Rc<Batches>, time: Duration) -> usize {
        let (length, end) = (self.length, Instant::now() + time);
        let local = LocalSet::new();
        let tasks: Vec<_> = self
            .connections
            .drain(..)
            .map(|mut connection| {
                let batches = Rc::clone(batches);
                local.spawn_local(async move {
                    let mut requests = 0;
                    while Instant::now() < end {
                        let batch = batches.take();
                        connection.exchange(batch, length).await;
                        requests += batch.requests;
                    }
                    (connection, requests)
                })
            })
            .collect();
        let mut sum = 0;
        for (connection, requests) in self.finish(local, tasks) {
            self.connections.push(connection);
            sum += requests;
        }
        sum
    }

    fn finish<T: 'static>(&self, local: LocalSet, tasks: Vec<JoinHandle<T>>) -> Vec<T> {
        self.runtime.block_on(local.run_until(async {
            let mut done = Vec::with_capacity(tasks.len());
            for task in tasks {
                done.push(task.await.expect("no panic"));
            }
            done
        }))
    }

    /// Sends `rate` batches a second, whatever the answers do, and returns how long each took from the moment at which it was due.
    pub(crate) fn open(&mut self, batches: &Rc<Batches>, rate: f64, time: Duration) -> Histogram<u64> {
        let (length, start) = (self.length, Instant::now() + Duration::from_millis(1));
        let each = Duration::from_secs_f64(self.connections.len() as f64 / rate);
        let local = LocalSet::new();
        let count = self.connections.len() as f64;
        let tasks: Vec<_> = self
            .connections
            .drain(..)
            .enumerate()
            .map(|(number, mut connection)| {
                let batches = Rc::clone(batches);
                local.spawn_local(async move {
                    let mut took = no_times();
                    let mut due = start + each.mul_f64(number as f64 / count);
                    while due < start + time {
                        // The runtime's timer is too coarse, and this core has nothing else to do.
                        while Instant::now() < due {
                            tokio::task::yield_now().await;
                        }
                        connection.exchange(batches.take(), length).await;
                        took.saturating_record(due.elapsed().as_nanos() as u64);
                        due += each;
                    }
                    (connection, took)
                })
            })
            .collect();
        let mut all = no_times();
        for (connection, took) in self.finish(local, tasks) {
            self.connections.push(connection);
            all.add(took).expect("equal digits");
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was out of range was once noted as the shortest time of all, so that all latencies were 0.
    #[test]
    fn every_time_can_be_noted() {
        let mut took = no_times();
        [5, 70_000, u64::MAX].into_iter().for_each(|time| took.saturating_record(time));
        assert_eq!((took.len(), took.value_at_quantile(0.5)), (3, 70_015));
        assert!(took.max() >= LONGEST_NS);
    }

    #[test]
    fn batches_come_one_after_the_other() {
        let batches = Batches::new((0..3).map(|n| Batch::one(vec![n])).collect());
        let taken: Vec<u8> = (0..7).map(|_| batches.take().bytes[0]).collect();
        assert_eq!(taken, [0, 1, 2, 0, 1, 2, 0]);
    }
}
