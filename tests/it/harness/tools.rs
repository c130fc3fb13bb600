//! The real clients: `redis-cli`, `redis-benchmark`, `curl`, `nc`, Python with redis-py.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A tool that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a tool did.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// What it printed, if it succeeded.
    pub(crate) fn text(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// Runs a program to its end.
pub(crate) fn run(program: &str, args: &[&str]) -> Output {
    input(program, args, b"")
}

/// Runs a program to its end with this on its standard input.
pub(crate) fn input(program: &str, args: &[&str], stdin: &[u8]) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = command.spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{program}: {error}; scripts/test installs what is missing"));
    // A child that stops reading early is its own affair: what it printed tells.
    let mut pipe = child.stdin.take().unwrap();
    let bytes = stdin.to_vec();
    let feeder = thread::spawn(move || pipe.write_all(&bytes).ok());
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{program} {args:?} did not end: {:?} {:?}", stdout.join(), stderr.join());
        }
        thread::sleep(Duration::from_millis(5));
    };
    feeder.join().unwrap();
    Output { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).ok();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// `redis-cli` against this address.
pub(crate) fn redis_cli(addr: SocketAddr, args: &[&str]) -> Output {
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    run("redis-cli", &[&["-h", &host, "-p", &port], args].concat())
}

/// `curl` against this address: `path` follows `http://addr`; `args` stand before it.
pub(crate) fn curl(addr: SocketAddr, args: &[&str], path: &str) -> Output {
    let url = format!("http://{addr}{path}");
    run("curl", &[&["--silent", "--show-error", "--max-time", "30"], args, &[&url]].concat())
}

/// `nc` against this address: sends `text`, returns what came until the server was silent for a second or closed.
pub(crate) fn nc(addr: SocketAddr, text: &str) -> Output {
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    input("nc", &["-w", "1", &host, &port], text.as_bytes())
}

/// Runs a script, named from the top of the project, with a Python that has redis-py.
pub(crate) fn python(script: &str, args: &[&str]) -> Output {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(script);
    run(&interpreter(), &[&[script.to_str().unwrap()], args].concat())
}

/// A Python that has redis-py.
pub(crate) fn interpreter() -> String {
    std::env::var("IT_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}
