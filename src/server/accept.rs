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
        fd::{AsFd, AsRawFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    rc::Rc,
    time::Duration,
};

use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, unix::AsyncFd},
    task::spawn_local,
    time::{sleep, timeout},
};

use super::{http, hub::Hub, resp, roster::Roster};
use crate::{command::Session, store::Stat};

/// How long a worker with more clients than another leaves a new one to that other.
const STEP_BACK: Duration = Duration::from_millis(1);
/// The pause after an error that more tries at once would only repeat, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// After how many seconds of silence the kernel asks whether the other machine is still there, how often, and how many times.
const KEEPALIVE_SECS: (u64, u64, u32) = (300, 100, 3);
/// How long a client that is turned away may take to hang up.
const FAREWELL: Duration = Duration::from_secs(1);

/// A listening socket and what is spoken there.
pub(super) trait Port: AsFd {
    type Stream;
    /// Takes a connection.
    fn accept(&self) -> io::Result<Self::Stream>;
    /// Serves it; its client has been counted.
    fn serve(hub: &Rc<Hub>, stream: Self::Stream) -> io::Result<()>;
    /// Tells the client that there are too many.
    fn turn_away(hub: &Rc<Hub>, stream: Self::Stream) -> io::Result<()>;
    /// Makes accepting return at once.
    fn set_nonblocking(&self) -> io::Result<()>;
}

pub(super) struct HttpPort(pub(super) TcpListener);
pub(super) struct RespPort(pub(super) TcpListener);
pub(super) struct RespPath(pub(super) UnixListener);

/// A port that the runtime watches.
pub(super) struct Door<P: Port>(AsyncFd<Socket<P>>);

/// `AsyncFd` asks for a raw descriptor.
struct Socket<P>(P);

impl<P: Port> AsRawFd for Socket<P> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Has the runtime watch a port.
pub(super) fn door<P: Port>(port: P) -> io::Result<Door<P>> {
    port.set_nonblocking()?;
    Ok(Door(AsyncFd::with_interest(Socket(port), Interest::READABLE)?))
}

/// Accepts for ever.
pub(super) async fn run<P: Port>(hub: Rc<Hub>, door: Door<P>) {
    loop {
        let Ok(mut ready) = door.0.readable().await else { return };
        if hub.has_more_clients_than_another() {
            sleep(STEP_BACK).await;
        }
        match ready.try_io(|socket| socket.get_ref().0.accept()) {
            // Another worker took it.
            Err(_) => {}
            Ok(Ok(stream)) => {
                if let Err(error) = admit::<P>(&hub, stream) {
                    tracing::debug!(%error, "a connection was lost before it was served");
                }
            }
            Ok(Err(error)) if is_of_one_connection(&error) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot accept connections");
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
fn admit<P: Port>(hub: &Rc<Hub>, stream: P::Stream) -> io::Result<()> {
    let statistics = hub.statistics();
    statistics.add(Stat::Clients, 1);
    if statistics.sum(Stat::Clients) > hub.state.settings.max_clients() as u64 {
        statistics.sub(Stat::Clients, 1);
        statistics.add(Stat::Rejected, 1);
        return P::turn_away(hub, stream);
    }
    statistics.add(Stat::Connections, 1);
    P::serve(hub, stream).inspect_err(|_| statistics.sub(Stat::Clients, 1))
}

impl AsFd for HttpPort {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Port for HttpPort {
    type Stream = TcpStream;

    fn accept(&self) -> io::Result<TcpStream> {
        Ok(self.0.accept()?.0)
    }

    fn serve(hub: &Rc<Hub>, stream: TcpStream) -> io::Result<()> {
        let stream = tuned(stream)?;
        Roster::seat(hub, None, |place| http::serve(Rc::clone(hub), place, stream));
        Ok(())
    }

    fn turn_away(hub: &Rc<Hub>, stream: TcpStream) -> io::Result<()> {
        dismiss(hub, tuned(stream)?, http::turned_away(hub));
        Ok(())
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        self.0.set_nonblocking(true)
    }
}

impl AsFd for RespPort {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Port for RespPort {
    type Stream = TcpStream;

    fn accept(&self) -> io::Result<TcpStream> {
        Ok(self.0.accept()?.0)
    }

    fn serve(hub: &Rc<Hub>, stream: TcpStream) -> io::Result<()> {
        let (addr, laddr) = (stream.peer_addr()?.to_string(), stream.local_addr()?.to_string());
        serve_resp(hub, tuned(stream)?, addr, laddr);
        Ok(())
    }

    fn turn_away(hub: &Rc<Hub>, stream: TcpStream) -> io::Result<()> {
        dismiss(hub, tuned(stream)?, resp::TURNED_AWAY.to_vec());
        Ok(())
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        self.0.set_nonblocking(true)
    }
}

impl AsFd for RespPath {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Port for RespPath {
    type Stream = UnixStream;

    fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.0.accept()?.0)
    }

    fn serve(hub: &Rc<Hub>, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        let path = hub.config.resp_unix.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
        let addr = format!("{path}:0");
        serve_resp(hub, tokio::net::UnixStream::from_std(stream)?, addr.clone(), addr);
        Ok(())
    }

    fn turn_away(hub: &Rc<Hub>, stream: UnixStream) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        dismiss(hub, tokio::net::UnixStream::from_std(stream)?, resp::TURNED_AWAY.to_vec());
        Ok(())
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        self.0.set_nonblocking(true)
    }
}

/// A stream as the runtime needs it, without delay and with keep-alive.
fn tuned(stream: TcpStream) -> io::Result<tokio::net::TcpStream> {
    let (idle_secs, interval_secs, probes) = KEEPALIVE_SECS;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, Duration::from_secs(idle_secs))?;
    sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(interval_secs))?;
    sockopt::set_tcp_keepcnt(&stream, probes)?;
    tokio::net::TcpStream::from_std(stream)
}

fn serve_resp<S>(hub: &Rc<Hub>, stream: S, addr: String, laddr: String)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let clients = &hub.state.clients;
    let mut session = Session::new(clients.next_id(), addr, laddr, hub.state.settings.needs_auth());
    clients.register(&mut session, super::hub::now_ms());
    let session = Rc::new(RefCell::new(session));
    Roster::seat(hub, Some(Rc::clone(&session)), |place| resp::serve(Rc::clone(hub), place, session, stream));
}

/// Says the last words and waits a little for the client to read them: hanging up at once could
/// make its kernel throw them away.
fn dismiss<S>(hub: &Rc<Hub>, mut stream: S, words: Vec<u8>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let hub = Rc::clone(hub);
    let Some(waiting) = hub.start_farewell() else { return };
    spawn_local(async move {
        let farewell = async {
            stream.write_all(&words).await?;
            stream.shutdown().await?;
            let mut ignored = [0; 1024];
            while stream.read(&mut ignored).await? > 0 {}
            io::Result::Ok(())
        };
        // Whether it hung up, broke off or took too long, it is gone.
        let _ = timeout(FAREWELL, farewell).await;
        drop(waiting);
    });
}
