//! The servers that are measured, each a real process on a core of its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// The core on which servers run; the load comes from another.
const CORE: usize = 0;

/// A server that runs until this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it serves RESP.
    pub(crate) resp: SocketAddr,
    /// The processes that serve.
    serving: Vec<u32>,
    _folder: TempDir,
}

impl Server {
    /// Ours, with so many workers.
    pub(crate) fn ours(workers: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        let program = std::env::current_exe().expect("a program").with_file_name("store-master");
        let mut child = pinned(&program.to_string_lossy())
            .args(["--workers", &workers.to_string(), "--http", "off", "--resp", "127.0.0.1:0"])
            .args(["--memory", "512mb", "--log-level", "warn"])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("store-master, built beside this program");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = lines.find_map(|line| line.ok().filter(|line| line.starts_with("ready "))).expect("a ready line");
        let address = ready.split_whitespace().find_map(|field| field.strip_prefix("resp="));
        let serving = children(child.id());
        assert_eq!(serving.len(), workers, "{ready}");
        let resp = address.and_then(|address| address.parse().ok()).expect("an address");
        Self { child, resp, serving, _folder: folder }
    }

    /// Debian's redis-server.
    pub(crate) fn redis() -> Self {
        Self::foreign("redis-server", |folder, port| {
            let settings = [
                "--bind",
                "127.0.0.1",
                "--port",
                port,
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                folder,
                "--loglevel",
                "warning",
            ];
            settings.map(str::to_owned).to_vec()
        })
    }

    /// Debian's memcached, with one thread that serves.
    pub(crate) fn memcached() -> Self {
        Self::foreign("memcached", |_, port| {
            ["-l", "127.0.0.1", "-p", port, "-U", "0", "-t", "1", "-m", "512", "-u", "nobody", "-c", "8192"]
                .map(str::to_owned)
                .to_vec()
        })
    }

    fn foreign(program: &str, arguments: impl Fn(&str, &str) -> Vec<String>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let port = free_port();
        let child = pinned(program)
            .args(arguments(&folder.path().to_string_lossy(), &port.to_string()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let resp = SocketAddr::from(([127, 0, 0, 1], port));
        let start = Instant::now();
        while TcpStream::connect(resp).is_err() {
            assert!(start.elapsed() < Duration::from_secs(10), "{program} does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        let serving = vec![child.id()];
        Self { child, resp, serving, _folder: folder }
    }

    /// CPU time that the serving processes have used so far.
    pub(crate) fn cpu(&self) -> Duration {
        let nanoseconds = self.serving.iter().map(|pid| {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
            let times = threads.map(|thread| {
                let text = fs::read_to_string(thread.expect("a thread").path().join("schedstat")).unwrap_or_default();
                text.split_whitespace().next().and_then(|time| time.parse::<u64>().ok()).unwrap_or(0)
            });
            times.sum::<u64>()
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &CORE.to_string(), program]);
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
