//! A server to compare with, and a connection that sends commands and gives their replies back as bytes.

use std::{
    io::{self, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::raw;
use crate::harness::encode;

const PATIENCE: Duration = Duration::from_secs(20);

/// A `redis-server` of this test's own, with nothing on disk. It ends when this is dropped.
pub(super) struct Redis {
    child: Child,
    pub(super) addr: SocketAddr,
}

impl Redis {
    pub(super) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let port_text = port.to_string();
        let args = ["--bind", "127.0.0.1", "--port", &port_text, "--save", "", "--appendonly", "no", "--dir", "/tmp"];
        let spawned = Command::new("redis-server")
            .args(args)
            .args(["--proto-max-bulk-len", "1mb", "--databases", "16"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = spawned.unwrap_or_else(|error| panic!("redis-server: {error}; scripts/test installs it"));
        let redis = Self { child, addr: SocketAddr::from(([127, 0, 0, 1], port)) };
        let start = Instant::now();
        while TcpStream::connect(redis.addr).is_err() {
            assert!(start.elapsed() < PATIENCE, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// One connection.
pub(super) struct Peer {
    reader: BufReader<TcpStream>,
}

impl Peer {
    pub(super) fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::with_capacity(1 << 16, stream) }
    }

    /// Sends commands without waiting for their replies.
    pub(super) fn send<A: AsRef<[u8]>>(&mut self, commands: &[&Vec<A>]) -> io::Result<()> {
        let bytes: Vec<u8> = commands.iter().flat_map(|command| encode(command)).collect();
        self.reader.get_mut().write_all(&bytes)
    }

    /// Reads the reply of the next command.
    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        raw::read(&mut self.reader)
    }

    /// Sends one command and reads its reply.
    pub(super) fn run<A: AsRef<[u8]>>(&mut self, command: &[A]) -> Vec<u8> {
        self.reader.get_mut().write_all(&encode(command)).unwrap();
        self.read().unwrap()
    }
}
