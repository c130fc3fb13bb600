//! Load: connections that keep asking, as fast as they are answered or at a rate of their own.
//!
//! What is asked was made before: the load should cost next to nothing beside the server that it is for.

use std::{
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

/// How long the reply at the head of some bytes is.
pub(crate) type Length = fn(&[u8]) -> Option<usize>;

/// What a connection sends in one go, and how many replies it brings.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) requests: usize,
    pub(crate) replies: usize,
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
    next: usize,
}

impl Connection {
    async fn exchange(&mut self, batch: &Batch, length: Length) {
        self.stream.write_all(&batch.bytes).await.expect("the server takes requests");
        let (mut left, mut at) = (batch.replies, 0);
        while left > 0 {
            match length(&self.input[at..]) {
                Some(len) => {
                    assert!(self.input[at] != b'-', "{}", String::from_utf8_lossy(&self.input[at..]));
                    (left, at) = (left - 1, at + len);
                }
                None => {
                    self.input.drain(..at);
                    at = 0;
                    let read = self.stream.read_buf(&mut self.input).await.expect("the server answers");
                    assert!(read > 0, "the server has closed the connection");
                }
            }
        }
        self.input.drain(..at);
    }
}

impl Load {
    /// So many connections.
    pub(crate) fn new(server: SocketAddr, connections: usize, length: Length) -> Self {
        let runtime = Builder::new_current_thread().enable_io().event_interval(8).build().expect("a runtime");
        let connections = runtime.block_on(async {
            let mut open = Vec::with_capacity(connections);
            for number in 0..connections {
                let stream = TcpStream::connect(server).await.expect("the server accepts");
                stream.set_nodelay(true).expect("an option");
                open.push(Connection { stream, input: Vec::with_capacity(1 << 14), next: number * 7 });
            }
            open
        });
        Self { runtime, connections, length }
    }

    /// Has one connection send this and waits for its replies.
    pub(crate) fn once(&mut self, batch: &Batch) {
        let (connection, length) = (&mut self.connections[0], self.length);
        self.runtime.block_on(connection.exchange(batch, length));
    }

    /// Every connection sends batch after batch until the time is over; returns how many requests were answered.
    pub(crate) fn closed(&mut self, batches: &Rc<Vec<Batch>>, time: Duration) -> usize {
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
                        connection.next = (connection.next + 1) % batches.len();
                        let batch = &batches[connection.next];
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
    pub(crate) fn open(&mut self, batches: &Rc<Vec<Batch>>, rate: f64, time: Duration) -> Histogram<u64> {
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
                    let mut took = Histogram::<u64>::new(3).expect("three digits");
                    let mut due = start + each.mul_f64(number as f64 / count);
                    while due < start + time {
                        // The runtime's timer is too coarse, and this core has nothing else to do.
                        while Instant::now() < due {
                            tokio::task::yield_now().await;
                        }
                        connection.next = (connection.next + 1) % batches.len();
                        connection.exchange(&batches[connection.next], length).await;
                        took.saturating_record(due.elapsed().as_nanos() as u64);
                        due += each;
                    }
                    (connection, took)
                })
            })
            .collect();
        let mut all = Histogram::<u64>::new(3).expect("three digits");
        for (connection, took) in self.finish(local, tasks) {
            self.connections.push(connection);
            all.add(took).expect("equal digits");
        }
        all
    }
}
