//! How the servers are started, each on a core of its own.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::process::{Server, wait_for};

/// The core on which servers run.
pub(crate) const CORE: &str = "0";

/// How our server is started.
#[derive(Clone)]
pub(crate) struct Ours<'a> {
    pub(crate) workers: usize,
    pub(crate) memory: &'a str,
    /// More options.
    pub(crate) options: &'a [&'a str],
    /// The cores on which it runs, as `taskset` wants them.
    pub(crate) cores: &'a str,
    /// A program that runs it, with its options.
    pub(crate) under: &'a [&'a str],
}

impl Default for Ours<'_> {
    fn default() -> Self {
        Self { workers: 1, memory: "512mb", options: &[], cores: CORE, under: &[] }
    }
}

impl Ours<'_> {
    /// Starts it and waits for its ready line.
    pub(crate) fn start(&self) -> Server {
        let folder = TempDir::new().expect("a folder");
        let program = beside("store-master");
        let mut child = pinned(self.cores, self.under, &program.to_string_lossy())
            .args(["--workers", &self.workers.to_string(), "--resp", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(["--memory", self.memory, "--log-level", "warn"])
            .args(self.options)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("store-master, built beside this program");
        let ready = ready_line(&mut child);
        let mut server = Server::new(child, address(&ready, "resp="), folder).served_by_children();
        server.http = Some(address(&ready, "http="));
        assert_eq!(server.serving().len(), self.workers, "{ready}");
        server
    }
}

impl Server {
    /// Ours, with so many workers.
    pub(crate) fn ours(workers: usize) -> Self {
        Ours { workers, ..Ours::default() }.start()
    }

    /// Debian's redis-server.
    pub(crate) fn redis() -> Self {
        Self::redis_in(TempDir::new().expect("a folder"), &[])
    }

    /// The same, with its files in this folder, perhaps run by another program.
    pub(crate) fn redis_in(folder: TempDir, under: &[&str]) -> Self {
        let dir = folder.path().to_string_lossy().into_owned();
        let port = free_port().to_string();
        let settings = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel", "warning"];
        let more = ["--port", &port, "--dir", &dir];
        Self::foreign(under, "redis-server", &[&settings[..], &more].concat(), &port, folder)
    }

    /// Debian's memcached, with one thread that serves and so many megabytes.
    pub(crate) fn memcached(megabytes: u32) -> Self {
        let (port, megabytes) = (free_port().to_string(), megabytes.to_string());
        let settings = ["-l", "127.0.0.1", "-U", "0", "-t", "1", "-u", "nobody", "-c", "8192"];
        let more = ["-p", &port, "-m", &megabytes];
        Self::foreign(&[], "memcached", &[&settings[..], &more].concat(), &port, TempDir::new().expect("a folder"))
    }

    /// This program, as a server that answers every request with the same body.
    pub(crate) fn constant(body: &str) -> Self {
        let port = free_port().to_string();
        let program = std::env::current_exe().expect("a program");
        let arguments = ["constant", &port, body];
        Self::foreign(&[], &program.to_string_lossy(), &arguments, &port, TempDir::new().expect("a folder"))
    }

    /// Debian's nginx, whose one worker answers every request with the same body.
    pub(crate) fn nginx(body: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let port = free_port();
        let settings = folder.path().join("nginx.conf");
        std::fs::write(&settings, nginx_settings(&folder.path().to_string_lossy(), port, body)).expect("a file");
        let arguments = ["-e", "stderr", "-c", &settings.to_string_lossy()];
        Self::foreign(&[], "nginx", &arguments, &port.to_string(), folder).served_by_children()
    }

    fn foreign(under: &[&str], program: &str, arguments: &[&str], port: &str, folder: TempDir) -> Self {
        let child = pinned(CORE, under, program)
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
        wait_for(address, program);
        Self::new(child, address, folder)
    }
}

/// Settings under which nginx answers one body to everything, on connections that it never closes.
fn nginx_settings(folder: &str, port: u16, body: &str) -> String {
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;
worker_processes 1;
pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
{folders}    access_log off;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            default_type application/json;
            return 200 '{body}';
        }}
    }}
}}
"
    )
}

fn ready_line(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    lines.find_map(|line| line.ok().filter(|line| line.starts_with("ready "))).expect("a ready line")
}

fn address(ready: &str, name: &str) -> SocketAddr {
    let address = ready.split_whitespace().find_map(|field| field.strip_prefix(name));
    address.and_then(|address| address.parse().ok()).expect("an address")
}

/// A program that was built together with this one.
fn beside(name: &str) -> PathBuf {
    std::env::current_exe().expect("a program").with_file_name(name)
}

/// A program on some cores, perhaps run by another, which ends when this one does.
fn pinned(cores: &str, under: &[&str], program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "taskset", "-c", cores]).args(under).arg(program);
    command
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_ready_line() {
        let ready = "ready pid=1 workers=2 http=127.0.0.1:80 resp=127.0.0.1:6380 segment=anonymous memory=1";
        assert_eq!(address(ready, "resp=").port(), 6380);
        assert_eq!(address(ready, "http=").port(), 80);
    }

    #[test]
    fn nginx_gets_balanced_settings() {
        let settings = nginx_settings("/tmp/x", 8080, "{\"n\":1}");
        let count = |c| settings.matches(c).count();
        assert_eq!(count('{'), count('}'));
        assert!(settings.contains("return 200 '{\"n\":1}';") && settings.contains("listen 127.0.0.1:8080;"));
    }
}
