//! The real program, running on free ports.

#[cfg(feature = "crash-points")]
mod starting;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

#[cfg(feature = "crash-points")]
pub(crate) use starting::state;

use super::{Http, Resp, tools::Output};

/// A start that takes longer hangs.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How to start the program: arguments, and what this harness adds if the test does not say otherwise.
pub(crate) struct Start {
    /// A program that runs it, and that program's arguments; none: it is run as it is.
    wrapper: Vec<String>,
    args: Vec<String>,
    envs: Vec<(String, String)>,
}

impl Start {
    pub(crate) fn new(args: &[&str]) -> Self {
        let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let defaults = [("--http", "127.0.0.1:0"), ("--resp", "127.0.0.1:0"), ("--memory", "64mb")];
        for (option, value) in defaults {
            if !args.iter().any(|arg| arg == option) {
                args.extend([option.to_owned(), value.to_owned()]);
            }
        }
        Self { wrapper: Vec::new(), args, envs: Vec::new() }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits for the ready line.
    pub(crate) fn server(self) -> Server {
        Server::ready(self.spawn())
    }

    /// Runs it to its end, which must come soon: for starts that are refused.
    pub(crate) fn refused(self) -> Output {
        let mut child = self.spawn();
        let mut stdout = child.stdout.take().unwrap();
        let (stderr, collector) = collect(child.stderr.take().unwrap());
        let Some(status) = wait(&mut child, START_PATIENCE) else {
            end_tree(child.id() as i32);
            panic!("the program started although it should have refused: {}", stderr.lock().unwrap());
        };
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        collector.join().unwrap();
        let stderr = stderr.lock().unwrap().clone();
        Output { code: status.code(), stdout: text, stderr }
    }

    fn spawn(&self) -> Child {
        let program = env!("CARGO_BIN_EXE_store-master").to_owned();
        let mut words = self.wrapper.iter().chain([&program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        let inherited = std::env::vars().filter(|(name, _)| name.starts_with("STORE_MASTER_"));
        for (name, _) in inherited {
            command.env_remove(name);
        }
        command.args(&self.args).envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program can be executed")
    }
}

/// A running master with its workers. Dropping it ends them all and removes a named segment.
pub(crate) struct Server {
    child: Child,
    stderr: Arc<Mutex<String>>,
    /// Every line of standard output up to and with the ready line.
    pub(crate) greeting: Vec<String>,
    fields: BTreeMap<String, String>,
    ended: bool,
}

impl Server {
    /// Starts the program with these arguments, on free ports and 64 MB unless they say otherwise.
    pub(crate) fn start(args: &[&str]) -> Self {
        Start::new(args).server()
    }

    fn ready(mut child: Child) -> Self {
        let (stderr, _) = collect(child.stderr.take().unwrap());
        let (send, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        // Reads on after the ready line, so that the program never writes into a closed pipe.
        thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| drop(send.send(line))));
        let mut server = Self { child, stderr, greeting: Vec::new(), fields: BTreeMap::new(), ended: false };
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = lines.recv_timeout(left) else {
                wait(&mut server.child, Duration::from_secs(1));
                panic!("no ready line; stdout {:?}; stderr:\n{}", server.greeting, server.stderr());
            };
            server.greeting.push(line.clone());
            if let Some(fields) = line.strip_prefix("ready ") {
                let pairs = fields.split(' ').filter_map(|field| field.split_once('='));
                server.fields = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                return server;
            }
        }
    }

    /// A field of the ready line.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no {name} in the ready line {:?}", self.greeting.last()))
    }

    /// The master's process id. In a PID namespace of its own it is the only child of what made that.
    pub(crate) fn pid(&self) -> i32 {
        let started = self.child.id() as i32;
        match children(started)[..] {
            [master] if self.fields.get("pid").is_some_and(|pid| pid == "1") => master,
            _ => started,
        }
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.field("http").parse().unwrap()
    }

    pub(crate) fn resp(&self) -> SocketAddr {
        self.field("resp").parse().unwrap()
    }

    /// A new RESP connection.
    pub(crate) fn redis(&self) -> Resp {
        Resp::open(self.resp()).unwrap_or_else(|error| panic!("connect: {error}; stderr:\n{}", self.stderr()))
    }

    /// A new HTTP connection.
    pub(crate) fn web(&self) -> Http {
        Http::open(self.http()).unwrap_or_else(|error| panic!("connect: {error}; stderr:\n{}", self.stderr()))
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Process ids of the workers that live now.
    pub(crate) fn workers(&self) -> Vec<i32> {
        children(self.pid())
    }

    /// The process that serves each of these connections, once one has accepted it.
    pub(crate) fn owners<'a>(&self, streams: impl IntoIterator<Item = &'a TcpStream>) -> Vec<Option<i32>> {
        let (ends, holders) = (server_ends(), socket_holders(&self.workers()));
        let owner = |stream: &TcpStream| {
            let ports = (stream.peer_addr().ok()?.port(), stream.local_addr().ok()?.port());
            holders.get(ends.get(&ports)?).copied()
        };
        streams.into_iter().map(owner).collect()
    }

    /// `GET /stats`.
    pub(crate) fn stats(&self) -> Value {
        self.web().get("/stats").json()
    }

    /// A statistic, summed over the workers.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = self.stats();
        stats["total"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {stats}"))
    }

    /// Bytes of the segment that are in use.
    pub(crate) fn memory_used(&self) -> u64 {
        let stats = self.stats();
        stats["memory"]["used"].as_u64().unwrap_or_else(|| panic!("no memory.used in {stats}"))
    }

    /// Sends a signal to the master.
    pub(crate) fn signal(&self, what: Signal) {
        signal(self.pid(), what);
    }

    /// Waits for the master's end; `None` if it has not come within the time.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let status = wait(&mut self.child, patience);
        self.ended |= status.is_some();
        status
    }

    /// `kill -9` of the master and all workers, master first, and waits until they are gone. A named segment stays.
    pub(crate) fn kill_all(mut self) {
        self.end_all();
        self.ended = true;
    }

    fn end_all(&mut self) {
        let workers = self.workers();
        self.signal(Signal::SIGKILL);
        workers.iter().for_each(|&pid| signal(pid, Signal::SIGKILL));
        self.child.wait().unwrap();
        assert!(
            wait_until(Duration::from_secs(10), || !workers.iter().any(|&pid| alive(pid))),
            "workers outlive kill -9"
        );
    }

    fn segment_file(&self) -> Option<String> {
        let name = self.fields.get("segment")?;
        (name != "anonymous").then(|| format!("/dev/shm/{name}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let killed_by_test = self.ended;
        if !killed_by_test && wait(&mut self.child, Duration::ZERO).is_none() {
            self.end_all();
        }
        if thread::panicking() {
            eprintln!("--- stderr of the server ---\n{}", self.stderr());
        } else {
            assert!(!self.stderr().contains("panicked at"), "a panic in the server:\n{}", self.stderr());
        }
        // A test that kills everything keeps the segment for the next start; that start's end removes it.
        if let Some(file) = self.segment_file().filter(|_| !killed_by_test || thread::panicking()) {
            fs::remove_file(file).ok();
        }
    }
}

/// A segment name that no other test uses.
pub(crate) fn segment_name(test: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("it-{test}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until this is true; false if it has not become so within the time.
pub(crate) fn wait_until(patience: Duration, mut what: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if what() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal; to a process that has ended is no error.
pub(crate) fn signal(pid: i32, what: Signal) {
    kill(Pid::from_raw(pid), what).ok();
}

/// Ends a process and all that it has started, those first.
fn end_tree(pid: i32) {
    children(pid).into_iter().for_each(end_tree);
    signal(pid, Signal::SIGKILL);
}

/// Whether the process runs (a zombie does not).
pub(crate) fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z' && state != 'X')
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let mut status = None;
    wait_until(patience, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status
}

/// Reads a pipe to its end in a thread of its own; what has come so far can be seen at any time.
fn collect(pipe: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&text);
    let collector = thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.for_each(|line| *sink.lock().unwrap() += &(line + "\n"));
    });
    (text, collector)
}

/// Living children of a process.
pub(crate) fn children(parent: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |&pid: &i32| stat(pid).is_some_and(|(state, of)| of == parent && state != 'Z' && state != 'X');
    let mut found: Vec<i32> = pids.filter(is_child).collect();
    found.sort_unstable();
    found
}

/// State and parent of a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// The kernel's name of every accepted connection, by the ports of its own end and of the other.
fn server_ends() -> BTreeMap<(u16, u16), String> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let port = |address: &str| u16::from_str_radix(address.split_once(':')?.1, 16).ok();
    let end = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some(((port(fields.get(1)?)?, port(fields.get(2)?)?), format!("socket:[{}]", fields.get(9)?)))
    };
    table.lines().skip(1).filter_map(end).collect()
}

/// Which of these processes holds each socket.
fn socket_holders(pids: &[i32]) -> BTreeMap<String, i32> {
    let files = |pid: i32| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let names = |pid| files(pid).filter_map(move |file| Some((fs::read_link(file.path()).ok()?, pid)));
    pids.iter().flat_map(|&pid| names(pid)).map(|(name, pid)| (name.to_string_lossy().into_owned(), pid)).collect()
}
