//! The sockets that clients connect to. The master binds them once, before the first fork; workers inherit them, so that
//! a worker's death refuses no connection.
//!
//! Nothing here is bound with `SO_REUSEPORT`: each worker would have a queue of its own, and what waits in the queue of a
//! worker that dies would be reset.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener},
    os::{
        fd::AsFd,
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::Failure;
use crate::{config::Config, sys::process::Pid};

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long an address may stay in use: workers of a master that was killed a moment ago are still on their way out.
const ORPHANS_LEAVE: Duration = Duration::from_millis(500);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(20);

/// The bound sockets; what is turned off is absent. None of them blocks.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) http: Option<TcpListener>,
    pub(super) resp: Option<TcpListener>,
    pub(super) resp_unix: Option<UnixListener>,
}

/// Where the sockets are bound in fact: a port that was given as 0 has its number here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) http: Option<SocketAddr>,
    pub(super) resp: Option<SocketAddr>,
    pub(super) resp_unix: Option<PathBuf>,
}

/// One line for each listener, for whoever reads standard output.
impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.http {
            writeln!(f, "listening http {address}")?;
        }
        if let Some(address) = self.resp {
            writeln!(f, "listening resp {address}")?;
        }
        if let Some(path) = &self.resp_unix {
            writeln!(f, "listening resp-unix {}", path.display())?;
        }
        Ok(())
    }
}

impl Listeners {
    /// Binds everything that the settings ask for; and the socket file, if one was made, to be removed at the end.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`], naming the address and the remedy.
    pub(super) fn bind(config: &Config) -> Result<(Self, Option<SocketFile>), Failure> {
        let http = config.http.map(|address| bind_tcp("http", address)).transpose()?;
        let resp = config.resp.map(|address| bind_tcp("resp", address)).transpose()?;
        let unix = config.resp_unix.as_deref().map(bind_unix).transpose()?;
        let (resp_unix, file) = unix.unzip();
        Ok((Self { http, resp, resp_unix }, file))
    }

    /// Where the sockets are bound in fact.
    pub(super) fn addresses(&self, config: &Config) -> Addresses {
        let bound = |listener: &Option<TcpListener>| listener.as_ref().and_then(|listener| listener.local_addr().ok());
        Addresses { http: bound(&self.http), resp: bound(&self.resp), resp_unix: config.resp_unix.clone() }
    }
}

fn bind_tcp(option: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    let deadline = Instant::now() + ORPHANS_LEAVE;
    loop {
        match open_tcp(address) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < deadline => thread::sleep(RETRY),
            Err(error) => return Err(refused_tcp(option, address, &error)),
        }
    }
}

fn open_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    // The standard library sets SO_REUSEADDR: addresses of connections that have just ended do not stand in the way.
    let listener = TcpListener::bind(address)?;
    prepare(&listener, |listener| listener.set_nonblocking(true))?;
    Ok(listener)
}

/// A second `listen` changes the backlog of the first.
fn prepare<L: AsFd>(listener: &L, nonblocking: impl FnOnce(&L) -> io::Result<()>) -> io::Result<()> {
    rustix::net::listen(listener, BACKLOG)?;
    nonblocking(listener)
}

fn refused_tcp(option: &str, address: SocketAddr, error: &io::Error) -> Failure {
    let port = address.port();
    let remedy = match error.kind() {
        ErrorKind::AddrInUse => format!(
            "another program listens there (`ss -ltnp 'sport = :{port}'` shows which); end it or choose another port with --{option}"
        ),
        ErrorKind::PermissionDenied => {
            format!("ports below 1024 need the capability CAP_NET_BIND_SERVICE; choose a higher one with --{option}")
        }
        ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address (`ip address` lists them); choose another with --{option}")
        }
        _ => format!("choose another address with --{option}"),
    };
    Failure::Refused(format!("cannot listen on {address} for {option}: {error}; {remedy}"))
}

fn bind_unix(path: &Path) -> Result<(UnixListener, SocketFile), Failure> {
    let refuse = |why: String| Failure::Refused(format!("cannot listen on {} for resp-unix: {why}", path.display()));
    clear_stale(path).map_err(refuse)?;
    open_unix(path).map_err(|error| {
        refuse(format!("{error}; its directory must exist and be writable, or choose another path with --resp-unix"))
    })
}

fn open_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(path)?;
    let file = SocketFile::of(path)?;
    prepare(&listener, |listener| listener.set_nonblocking(true))?;
    Ok((listener, file))
}

/// Removes a socket file that an earlier run left behind: one at which nobody answers.
fn clear_stale(path: &Path) -> Result<(), String> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(
            "a file that is not a socket is there; remove it or choose another path with --resp-unix".to_owned()
        );
    }
    let deadline = Instant::now() + ORPHANS_LEAVE;
    while answers(path) {
        if Instant::now() >= deadline {
            return Err("another program answers there; end it or choose another path with --resp-unix".to_owned());
        }
        thread::sleep(RETRY);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("the socket that an earlier run left there cannot be removed: {error}"))
        }
        _ => Ok(()),
    }
}

/// Only a refused connection proves that nobody listens; a full queue or a missing permission proves nothing.
fn answers(path: &Path) -> bool {
    match UnixStream::connect(path) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
    }
}

/// The file of a unix socket. Dropped by the process that made it, it removes the file, unless another program has put
/// its own in its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    owner: Pid,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)?, owner: Pid::own() })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.owner == Pid::own() && identity(&self.path).is_ok_and(|found| found == self.identity) {
            // What is left behind is found stale at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(test: &str) -> PathBuf {
        std::env::temp_dir().join(format!("store-master-{}-{test}.sock", std::process::id()))
    }

    fn settings(change: impl FnOnce(&mut Config)) -> Config {
        let mut config = Config { http: None, resp: None, ..Config::default() };
        change(&mut config);
        config
    }

    #[test]
    fn port_zero_becomes_a_real_port_and_off_stays_off() {
        let config = settings(|config| config.http = Some(SocketAddr::from(([127, 0, 0, 1], 0))));
        let (listeners, file) = Listeners::bind(&config).unwrap();
        let addresses = listeners.addresses(&config);
        assert_ne!(addresses.http.unwrap().port(), 0);
        assert_eq!((addresses.resp, addresses.resp_unix.clone(), file.is_none()), (None, None, true));
        assert_eq!(addresses.to_string(), format!("listening http {}\n", addresses.http.unwrap()));
    }

    #[test]
    fn a_port_in_use_is_refused_by_name_and_with_a_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let Err(failure) = Listeners::bind(&settings(|config| config.resp = Some(address))) else {
            panic!("was bound")
        };
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.to_string().contains(&address.to_string()), "{failure}");
        assert!(failure.to_string().contains("another port with --resp"), "{failure}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_removed_at_the_end() {
        let path = path("stale");
        drop(UnixListener::bind(&path).unwrap());
        let config = settings(|config| config.resp_unix = Some(path.clone()));
        let (listeners, file) = Listeners::bind(&config).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        drop((listeners, file));
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_answers_is_left_alone() {
        let path = path("busy");
        let other = UnixListener::bind(&path).unwrap();
        let Err(failure) = Listeners::bind(&settings(|config| config.resp_unix = Some(path.clone()))) else {
            panic!("was bound")
        };
        assert!(failure.to_string().contains("another program answers"), "{failure}");
        assert!(path.exists());
        drop(other);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let path = path("file");
        fs::write(&path, "precious").unwrap();
        let Err(failure) = Listeners::bind(&settings(|config| config.resp_unix = Some(path.clone()))) else {
            panic!("was bound")
        };
        assert!(failure.to_string().contains("not a socket"), "{failure}");
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_socket_of_a_successor_is_not_removed() {
        let path = path("successor");
        let config = settings(|config| config.resp_unix = Some(path.clone()));
        let (listeners, file) = Listeners::bind(&config).unwrap();
        fs::rename(&path, path.with_extension("old")).unwrap();
        let successor = UnixListener::bind(&path).unwrap();
        drop((listeners, file));
        assert!(path.exists());
        drop(successor);
        fs::remove_file(path.with_extension("old")).unwrap();
        fs::remove_file(path).unwrap();
    }
}
