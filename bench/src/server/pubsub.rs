//! Messages: to a hundred subscribers, and from one worker to another.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{
    parts::Extent,
    process::Server,
    wire::{command, reply, words},
};
use crate::{report::Section, turns::Pair};

/// Workers of ours.
const WORKERS: usize = 4;
/// Connections that have subscribed.
const SUBSCRIBERS: usize = 100;
/// Messages in one turn.
const MESSAGES: usize = 1000;
/// Messages that a publisher sends in one go.
const PIPELINE: usize = 10;

/// A publisher and its subscribers.
struct Channel {
    server: Server,
    publisher: TcpStream,
    subscribers: Vec<TcpStream>,
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("the server accepts");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Reads whole replies until there were `count` of them.
fn read_replies(stream: &mut TcpStream, count: usize) {
    let (mut input, mut left, mut at) = (Vec::new(), count, 0);
    let mut buffer = [0; 1 << 16];
    while left > 0 {
        match reply(&input[at..]) {
            Some(len) => (left, at) = (left - 1, at + len),
            None => {
                let read = stream.read(&mut buffer).expect("the server answers");
                assert!(read > 0, "the server has closed the connection");
                input.extend_from_slice(&buffer[..read]);
            }
        }
    }
}

impl Channel {
    fn new(server: Server, subscribers: usize) -> Self {
        let subscribers = (0..subscribers)
            .map(|_| {
                let mut stream = connect(server.address);
                stream.write_all(&words("SUBSCRIBE news")).expect("the server reads");
                read_replies(&mut stream, 1);
                stream
            })
            .collect();
        Self { publisher: connect(server.address), server, subscribers }
    }

    /// Publishes [`MESSAGES`] and waits until everybody has got all of them; returns CPU microseconds of one delivery, and
    /// the time of one delivery as it took.
    fn turn(&mut self) -> (f64, f64) {
        let publish = command(&[b"PUBLISH", b"news", &[b'm'; 64]]);
        let message = command(&[b"message", b"news", &[b'm'; 64]]).len();
        let (before, start) = (self.server.cpu(), Instant::now());
        let mut left = vec![MESSAGES * message; self.subscribers.len()];
        let mut buffer = vec![0; 1 << 18];
        for _ in 0..MESSAGES / PIPELINE {
            self.publisher.write_all(&publish.repeat(PIPELINE)).expect("the server reads");
            read_replies(&mut self.publisher, PIPELINE);
            self.take(&mut left, &mut buffer, false);
        }
        self.take(&mut left, &mut buffer, true);
        let deliveries = (MESSAGES * self.subscribers.len()) as f64;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / deliveries;
        (each(self.server.cpu() - before), each(start.elapsed()))
    }

    /// Takes what subscribers have got; with `all`, until they have got everything.
    fn take(&mut self, left: &mut [usize], buffer: &mut [u8], all: bool) {
        loop {
            let waiting: Vec<usize> = (0..left.len()).filter(|&i| left[i] > 0).collect();
            if waiting.is_empty() {
                return;
            }
            let mut polled: Vec<_> =
                waiting.iter().map(|&i| PollFd::new(self.subscribers[i].as_fd(), PollFlags::POLLIN)).collect();
            let patience = if all { PollTimeout::from(10_000_u16) } else { PollTimeout::ZERO };
            let ready = poll(&mut polled, patience).expect("poll");
            assert!(ready > 0 || !all, "a message is missing");
            let ready: Vec<usize> = waiting
                .iter()
                .zip(&polled)
                .filter(|(_, polled)| polled.any().unwrap_or(false))
                .map(|(&i, _)| i)
                .collect();
            if ready.is_empty() {
                return;
            }
            for i in ready {
                let read = self.subscribers[i].read(buffer).expect("the server sends");
                assert!(read > 0, "a subscriber was disconnected");
                left[i] -= read;
            }
        }
    }

    /// Microseconds from the writing of a message to its arrival, in the median of many, one by one.
    fn delivery(&mut self) -> f64 {
        let publish = command(&[b"PUBLISH", b"news", b"message"]);
        let subscriber = &mut self.subscribers[0];
        let mut took: Vec<f64> = (0..500)
            .map(|_| {
                let start = Instant::now();
                self.publisher.write_all(&publish).expect("the server reads");
                read_replies(subscriber, 1);
                let took = start.elapsed();
                read_replies(&mut self.publisher, 1);
                took.as_secs_f64() * 1e6
            })
            .collect();
        took.sort_by(f64::total_cmp);
        took[took.len() / 2]
    }
}

/// CPU time and time of messages to a hundred subscribers.
pub(super) fn fan_out(extent: Extent) -> Section {
    let mut section = Section::new(
        "Messages to 100 subscribers",
        "µs",
        "64 bytes, published in tens by one connection; ours with 4 workers, all servers on one core. Microseconds of one delivery.",
    );
    let mut ours = Channel::new(Server::ours(WORKERS), SUBSCRIBERS);
    let mut theirs = Channel::new(Server::redis(), SUBSCRIBERS);
    let (mut cpu, mut time) = (Vec::new(), Vec::new());
    for _ in 0..extent.rounds {
        let (mine, other) = (ours.turn(), theirs.turn());
        cpu.push((mine.0, other.0));
        time.push((mine.1, other.1));
    }
    section.add("CPU time", "redis-server", Pair::of(&cpu), Some(1.0));
    section.add("time", "redis-server", Pair::of(&time), Some(1.0));
    section
}

/// Time from publishing to arrival on another worker.
pub(super) fn delivery(extent: Extent) -> Section {
    let mut section = Section::new(
        "A message to another worker",
        "µs",
        "From the writing of PUBLISH to the arrival at a subscriber, which with 4 workers of ours sits on another worker more often than not; redis-server has but one process.",
    );
    // Several publishers and subscribers, because the kernel decides which worker gets a connection.
    let mut rounds = Vec::new();
    for _ in 0..extent.rounds {
        let mut ours = Channel::new(Server::ours(WORKERS), 1);
        let mut theirs = Channel::new(Server::redis(), 1);
        rounds.push((ours.delivery(), theirs.delivery()));
    }
    section.add("median", "redis-server", Pair::of(&rounds), None);
    section
}
