//! New connections, spread evenly over the workers.
//!
//! All workers listen on the same sockets, so a new connection wakes all of them. Who has no more clients than any other
//! worker that turns takes it at once. The others step back for a moment and take it only if it is still there:
//! a worker that was stopped cannot leave a connection waiting.

use std::{
    cell::RefCell,
    io,
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::net::{SocketFlags, accept_with, sockopt};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, unix::AsyncFd},
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{farewell, http, hub::Hub, resp, roster::Roster};
use crate::{
    command::Session,
    store::Stat,
    sys::{self, clock::now_ms},
};

/// How long a worker leaves a new client to others for each client that it has more than another has, up to so many: where processors are
/// few, it takes the other a while to get one.
const STEP_BACK: Duration = Duration::from_millis(1);
const MAX_STEPS: u64 = 8;
/// The pause after an error that more tries at once would only repeat, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// After how many seconds of silence the kernel asks whether the other machine is still there, how often, and how many times.
const KEEPALIVE_SECS: (u64, u64, u32) = (300, 100, 3);
/// Between two lines in the log about connections that cannot be accepted.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);
/// How long a client that is turned away may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A listening socket that the runtime watches, and what is spoken there.
pub(super) struct Door {
    socket: AsyncFd<OwnedFd>,
    speaks: Speaks,
}

#[derive(Debug, Clone, Copy)]
enum Speaks {
    Http,
    Resp,
    /// RESP over a unix socket.
    LocalResp,
}

impl Door {
    pub(super) fn http(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { socket: sys::watch::readable(listener.into())?, speaks: Speaks::Http })
    }

    pub(super) fn resp(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { socket: sys::watch::readable(listener.into())?, speaks: Speaks::Resp })
    }

    pub(super) fn local_resp(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { socket: sys::watch::readable(listener.into())?, speaks: Speaks::LocalResp })
    }
}

/// Accepts for ever.
pub(super) async fn run(hub: Rc<Hub>, door: Door) {
    let mut complained: Option<Instant> = None;
    loop {
        let Ok(mut ready) = door.socket.readable().await else { return };
        let excess = hub.clients_above_the_least().min(MAX_STEPS);
        if excess > 0 {
            sleep(STEP_BACK * excess as u32).await;
        }
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match ready.try_io(|socket| Ok(accept_with(socket, flags)?)) {
            // Another worker took it.
            Err(_) => {}
            Ok(Ok(stream)) => {
                if let Err(error) = admit(&hub, door.speaks, stream) {
                    tracing::debug!(%error, "a connection was lost before it was served");
                }
            }
            Ok(Err(error)) if is_of_one_connection(&error) => {}
            Ok(Err(error)) => {
                if complained.is_none_or(|when| when.elapsed() >= COMPLAINT_PAUSE) {
                    tracing::warn!(%error, "cannot accept connections");
                    complained = Some(Instant::now());
                }
                sleep(ERROR_PAUSE).await;
            }
        }
    }
}

/// The client hung up before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Counts the client, then looks whether it is one too many: two workers that admit the last two at once both see both.
fn admit(hub: &Rc<Hub>, speaks: Speaks, stream: OwnedFd) -> io::Result<()> {
    let statistics = hub.statistics();
    statistics.add(Stat::Clients, 1);
    if statistics.sum(Stat::Clients) > hub.state.settings.max_clients() as u64 {
        statistics.sub(Stat::Clients, 1);
        statistics.add(Stat::Rejected, 1);
        return turn_away(hub, speaks, stream);
    }
    statistics.add(Stat::Connections, 1);
    serve(hub, speaks, stream).inspect_err(|_| statistics.sub(Stat::Clients, 1))
}

fn serve(hub: &Rc<Hub>, speaks: Speaks, stream: OwnedFd) -> io::Result<()> {
    match speaks {
        Speaks::Http => {
            let stream = tuned(stream.into())?;
            Roster::seat(hub, None, |place| http::serve(Rc::clone(hub), place, stream));
        }
        Speaks::Resp => {
            let stream = tuned(stream.into())?;
            let (addr, laddr) = (stream.peer_addr()?, stream.local_addr()?);
            serve_resp(hub, stream, addr.to_string(), laddr.to_string());
        }
        Speaks::LocalResp => {
            let stream = tokio::net::UnixStream::from_std(UnixStream::from(stream))?;
            let path = hub.config.resp_unix.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
            let addr = format!("{path}:0");
            serve_resp(hub, stream, addr.clone(), addr);
        }
    }
    Ok(())
}

fn serve_resp<S>(hub: &Rc<Hub>, stream: S, addr: String, laddr: String)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let clients = &hub.state.clients;
    // Whether a password is needed may have been decided by another worker just now.
    hub.follow();
    let mut session = Session::new(clients.next_id(), addr, laddr, hub.state.acl.needs_auth());
    clients.register(&mut session, now_ms());
    let session = Rc::new(RefCell::new(session));
    Roster::seat(hub, Some(Rc::clone(&session)), |place| resp::serve(Rc::clone(hub), place, session, stream));
}

fn turn_away(hub: &Hub, speaks: Speaks, stream: OwnedFd) -> io::Result<()> {
    match speaks {
        Speaks::Http => dismiss(hub, tuned(stream.into())?, http::turned_away(hub)),
        Speaks::Resp => dismiss(hub, tuned(stream.into())?, resp::TURNED_AWAY.to_vec()),
        Speaks::LocalResp => {
            let stream = tokio::net::UnixStream::from_std(UnixStream::from(stream))?;
            dismiss(hub, stream, resp::TURNED_AWAY.to_vec());
        }
    }
    Ok(())
}

/// A stream that the runtime watches, without delay and with keep-alive.
fn tuned(stream: TcpStream) -> io::Result<tokio::net::TcpStream> {
    let (idle_secs, interval_secs, probes) = KEEPALIVE_SECS;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(idle_secs))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(interval_secs))?;
    sockopt::set_tcp_keepcnt(&stream, probes)?;
    tokio::net::TcpStream::from_std(stream)
}

/// Says the last words and sees the client off.
fn dismiss<S>(hub: &Hub, mut stream: S, words: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let Some(waiting) = hub.start_farewell() else { return };
    spawn_local(async move {
        if let Ok(Ok(())) = timeout(LAST_WORDS, stream.write_all(&words)).await {
            farewell::see_off(&mut stream).await;
        }
        drop(waiting);
    });
}
