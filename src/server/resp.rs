//! RESP connections: bytes in, all requests that they hold executed, all replies out with one write.
//!
//! An idle connection owns no buffer, but for a little room for arguments. A read lands in the worker's scratch space, is parsed and executed there, and its
//! replies are written from the worker's reply buffer, all within one turn of the task. Only what is left over is kept:
//! the bytes of an unfinished request, and replies that the client's socket did not take.
//!
//! **Back-pressure.** Above [`PENDING_SOFT_BYTES`] of replies that were not taken, nothing more is executed until
//! the client reads. Some clients write a long pipeline to its end before they read a single reply; such a client
//! would wait for us as we wait for it. So when nothing was taken for [`STANDSTILL`], its requests are executed all
//! the same, up to `output_limit` bytes of replies; there the connection is closed.
//!
//! **Turns.** A batch ends after [`TURN_TIME`] or [`TURN_REQUESTS`], behind the command that passed it; the rest goes on when the
//! worker's other tasks have had their turn. So no pipeline keeps others waiting for longer than its slowest command does.
//!
//! **Waiting.** A request that meets a stopped process's lock steps aside: what came before it is answered, and it is
//! executed again every few milliseconds, before anything behind it, until `--lock-wait` is over. One that CLIENT PAUSE holds
//! back waits for the end of the pause in the same place, without a limit.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    ops::Range,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    task::yield_now,
    time::timeout,
};

use super::{
    farewell, hold,
    hub::{Hub, Patience, READ_BYTES},
    mailbox::Form,
    post,
    roster::{Phase, Place},
};
use crate::{
    command::{Args, Env, Outcome, Proto, Session, busy, execute},
    protocol::resp::{Ahead, Parser, ProtocolError, RequestLimits, encode},
    store::Stat,
    sys::clock,
};

/// What a client is told that is one too many.
pub(super) const TURNED_AWAY: &[u8] = b"-ERR max number of clients reached\r\n";

/// Bytes of replies above which the client is waited for.
const PENDING_SOFT_BYTES: usize = 1 << 20;
/// How long a client may take nothing before its requests are executed without waiting for it.
const STANDSTILL: Duration = Duration::from_millis(100);
/// How long a client whose connection is to be closed may take for the last replies.
const LAST_WRITE: Duration = Duration::from_secs(10);
/// Bytes of an unfinished request up to which it is moved to the scratch space for the next read.
const MOVED_BYTES: usize = READ_BYTES / 2;
/// Bytes that a read of a large request takes at least and at most.
const LARGE_READ_BYTES: Range<usize> = READ_BYTES..1 << 20;
/// Bytes after which a connection that always has more lets others have a turn.
const TURN_BYTES: usize = READ_BYTES;
/// How long it may execute requests before others have a turn: the heartbeat, other clients, and whoever wants it ended wait for that long.
const TURN_TIME: Duration = Duration::from_millis(5);
/// Requests that it may execute before that: so many quick ones take no longer, and for those the clock is not read.
const TURN_REQUESTS: usize = 4096;
/// Replies count for less than requests: this many bytes of them as one.
const REPLY_SHARE: usize = 4;
/// Bytes of messages that are taken over at once.
const MAIL_BYTES: usize = 64 * 1024;
/// Bytes of capacity that the worker's reply buffer keeps when it is empty.
const KEPT_BYTES: usize = 1 << 20;
/// Arguments for which an idle connection keeps room.
const KEPT_ARGS: usize = 64;

/// Why a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// No whole request is left.
    Starved,
    /// Its first request waits for a stopped process.
    Parked,
    /// Its first request waits for the end of a CLIENT PAUSE.
    Held,
    /// Too many replies are waiting to be taken.
    Full,
    /// There is more, but it is the turn of others.
    Turn,
    /// Nothing more is to be executed.
    Closing,
}

/// A request that is to be executed again.
struct Parked {
    /// Bytes that the request occupies.
    len: usize,
    waits_for: WaitsFor,
}

/// What a request waits for.
enum WaitsFor {
    /// A stopped process.
    Stopped(Patience),
    /// The end of a pause.
    Pause,
}

impl WaitsFor {
    fn patience(self) -> Option<Patience> {
        match self {
            Self::Stopped(patience) => Some(patience),
            Self::Pause => None,
        }
    }
}

struct Connection<S> {
    hub: Rc<Hub>,
    place: Place,
    session: Rc<RefCell<Session>>,
    stream: S,
    parser: Parser,
    /// The arguments of the request at hand, as ranges of its bytes.
    args: Vec<Range<usize>>,
    /// What was read and not executed yet.
    input: Vec<u8>,
    /// Replies, of which the first `taken` bytes were taken by the socket.
    output: Vec<u8>,
    taken: usize,
    parked: Option<Parked>,
    /// The client does not read while it writes: its requests are executed without waiting for it.
    writes_first: bool,
    /// Bytes handled since the task last waited.
    turn_bytes: usize,
}

/// Serves one connection to its end.
pub(super) async fn serve<S>(hub: Rc<Hub>, place: Place, session: Rc<RefCell<Session>>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let parser = Parser::new(RequestLimits::for_values_of(hub.config.max_value));
    let connection = Connection {
        hub,
        place,
        session,
        stream,
        parser,
        args: Vec::new(),
        input: Vec::new(),
        output: Vec::new(),
        taken: 0,
        parked: None,
        writes_first: false,
        turn_bytes: 0,
    };
    // A client that hangs up in the middle is an everyday event.
    let _ = connection.run().await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run(mut self) -> io::Result<()> {
        let authenticated = self.session.borrow().authenticated;
        self.parser.set_authenticated(authenticated);
        let mut stop = Stop::Starved;
        loop {
            stop = match stop {
                Stop::Starved if self.hub.is_draining() => return self.finish().await,
                Stop::Starved => match self.receive().await? {
                    Some(stop) => stop,
                    None => return self.finish().await,
                },
                Stop::Closing => return self.dismiss().await,
                Stop::Parked => self.retry().await?,
                Stop::Held => match self.hold().await? {
                    Some(stop) => stop,
                    None => return Ok(()),
                },
                Stop::Full => self.resume().await?,
                Stop::Turn => self.go_on().await?,
            };
            if self.is_over_output_limit() {
                self.hub.count(Stat::OutputClosed);
                return Ok(());
            }
            if stop == Stop::Turn || self.turn_bytes >= TURN_BYTES {
                self.place.pulse.mark(Phase::Busy, self.hub.uptime_ms());
                yield_now().await;
                self.turn_bytes = 0;
            }
        }
    }

    /// Waits for bytes, writing what is left meanwhile, and handles what they complete. `None`: the client has hung up.
    async fn receive(&mut self) -> io::Result<Option<Stop>> {
        self.make_room().await?;
        let mut waited = false;
        let received = poll_fn(|cx| {
            let polled = self.poll_receive(cx);
            waited |= polled.is_pending();
            polled
        })
        .await;
        if waited {
            self.turn_bytes = 0;
        }
        received
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Stop>>> {
        self.place.mailbox.register(cx);
        self.poll_send(cx)?;
        self.poll_mail(cx)?;
        let phase = if self.pending_bytes() > 0 { Phase::Busy } else { Phase::Idle };
        if phase == Phase::Idle {
            self.let_go();
        }
        if self.input.len() > MOVED_BYTES {
            return self.poll_receive_large(cx, phase);
        }
        let hub = Rc::clone(&self.hub);
        let mut scratch = hub.scratch.borrow_mut();
        let kept = self.input.len();
        scratch[..kept].copy_from_slice(&self.input);
        let mut buf = ReadBuf::new(&mut scratch[kept..]);
        self.set_phase(phase);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        let len = buf.filled().len();
        if len == 0 {
            return Poll::Ready(Ok(None));
        }
        self.note_read(len);
        self.input.clear();
        let batch = &mut scratch[..kept + len];
        let (used, stop) = self.handle(batch, cx)?;
        self.keep(&batch[used..]);
        Poll::Ready(Ok(Some(stop)))
    }

    /// As [`Self::poll_receive`] for a request that outgrows the scratch space: it is gathered where it stands.
    fn poll_receive_large(&mut self, cx: &mut Context<'_>, phase: Phase) -> Poll<io::Result<Option<Stop>>> {
        let room = self.input.len().clamp(LARGE_READ_BYTES.start, LARGE_READ_BYTES.end);
        if self.input.capacity() - self.input.len() < LARGE_READ_BYTES.start {
            self.input.reserve(room);
        }
        self.set_phase(phase);
        let len = ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?;
        if len == 0 {
            return Poll::Ready(Ok(None));
        }
        self.note_read(len);
        self.handle_input(cx).map(|stopped| stopped.map(Some))
    }

    /// Gives back what an idle connection does not need.
    fn let_go(&mut self) {
        if self.output.capacity() > 0 {
            self.output = Vec::new();
        }
        if self.args.capacity() > KEPT_ARGS {
            self.args = Vec::new();
        }
    }

    fn set_phase(&self, phase: Phase) {
        if self.place.pulse.phase() != phase {
            self.place.pulse.mark(phase, self.hub.uptime_ms());
        }
    }

    fn note_read(&mut self, bytes: usize) {
        self.count_input(bytes);
        self.place.pulse.mark(Phase::Busy, self.hub.uptime_ms());
    }

    fn count_input(&mut self, bytes: usize) {
        self.turn_bytes += bytes;
        self.hub.statistics().add(Stat::BytesIn, bytes as u64);
        self.session.borrow_mut().traffic.input += bytes as u64;
    }

    /// Keeps what a batch left over.
    fn keep(&mut self, rest: &[u8]) {
        self.input.extend_from_slice(rest);
        if self.input.is_empty() && self.input.capacity() > 0 {
            self.input = Vec::new();
        }
    }

    /// Handles what was kept.
    fn handle_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stop>> {
        let mut batch = std::mem::take(&mut self.input);
        let (used, stop) = self.handle(&mut batch, cx)?;
        if used < batch.len() {
            batch.drain(..used);
            self.input = batch;
        }
        Poll::Ready(Ok(stop))
    }

    /// Executes the requests in `batch` and writes their replies; returns how many bytes are done with.
    fn handle(&mut self, batch: &mut [u8], cx: &mut Context<'_>) -> io::Result<(usize, Stop)> {
        let hub = Rc::clone(&self.hub);
        let _held = clock::Held::new();
        let mut replies = hub.replies.borrow_mut();
        replies.clear();
        // What was said before these requests were sent comes before their replies.
        post::collect_if_told(&hub);
        self.place.mailbox.take_into(&mut replies, usize::MAX);
        let handled = self.execute(batch, &hub.env(), &mut replies);
        hub.state.end_batch();
        if !replies.is_empty() {
            self.send(&mut replies, cx)?;
        }
        hub.ask_for_end();
        // This client could not be looked at before, whoever changed what it may do.
        if hub.state.acl.has_changed() {
            post::expel(&hub);
        }
        let mut session = self.session.borrow_mut();
        session.traffic.waiting = (batch.len() - handled.0) as u64;
        session.traffic.pending = self.pending_bytes() as u64;
        drop(session);
        Ok(handled)
    }

    fn execute(&mut self, batch: &mut [u8], env: &Env<'_>, replies: &mut Vec<u8>) -> (usize, Stop) {
        let session = Rc::clone(&self.session);
        let mut session = session.borrow_mut();
        let hub = Rc::clone(&self.hub);
        let mut ahead = hub.ahead.borrow_mut();
        ahead.clear();
        let (mut at, mut executed, total) = (0, 0, batch.len());
        while at < batch.len() {
            let request = &mut batch[at..];
            let (len, patience) = match self.parked.take() {
                Some(parked) => (parked.len, parked.waits_for.patience()),
                None => match self.next(request, &mut ahead, &session, env) {
                    Ok(Some(len)) => (len, None),
                    Ok(None) => return (at, Stop::Starved),
                    Err(error) => {
                        self.hub.count(Stat::ProtocolErrors);
                        encode(&error.reply(), session.proto, replies);
                        return (batch.len(), Stop::Closing);
                    }
                },
            };
            env.state.meter.announce(at + len >= total);
            match execute(&Args::new(request, &self.args), &mut session, env) {
                Outcome::Done(reply) => {
                    encode(&reply, session.proto, replies);
                    env.state.buffers.recycle(reply);
                }
                Outcome::Paused => {
                    self.parked = Some(Parked { len, waits_for: WaitsFor::Pause });
                    return (at, Stop::Held);
                }
                Outcome::Wait => {
                    let limit = env.state.settings.lock_wait();
                    match patience {
                        Some(patience) if patience.is_over(limit) => {
                            encode(&busy(&Args::new(request, &self.args), &mut session, env), session.proto, replies);
                        }
                        patience => {
                            self.park(len, patience);
                            return (at, Stop::Parked);
                        }
                    }
                }
            }
            at += len;
            self.exchange_mail(&session, replies);
            if session.close_after_reply {
                return (batch.len(), Stop::Closing);
            }
            self.parser.set_authenticated(session.authenticated);
            let pending = replies.len() + self.pending_bytes();
            if pending > PENDING_SOFT_BYTES && (!self.writes_first || pending > self.hub.config.output_limit) {
                return (at, Stop::Full);
            }
            executed += 1;
            if at < total && (executed >= TURN_REQUESTS || env.state.meter.is_past(TURN_TIME)) {
                return (at, Stop::Turn);
            }
        }
        (at, Stop::Starved)
    }

    /// Takes the next request, and looks ahead if there is nothing left of the last look.
    fn next(
        &mut self,
        batch: &mut [u8],
        ahead: &mut Ahead,
        session: &Session,
        env: &Env<'_>,
    ) -> Result<Option<usize>, ProtocolError> {
        if ahead.is_empty() && session.authenticated && self.parser.is_at_start() {
            ahead.look(batch, env.config.max_value);
            let place = |name: &[u8]| env.state.recent.key_place(name);
            ahead.with_keys(batch, place, |keys| env.store.kv().fetch_ahead(session.db, keys));
        }
        match ahead.take() {
            Some(len) => {
                self.args.clear();
                self.args.extend_from_slice(ahead.args());
                Ok(Some(len))
            }
            None => self.parser.next(batch, &mut self.args),
        }
    }

    /// Delivers what the last command had to say, and takes over what came for this client: behind the reply, before the next one.
    fn exchange_mail(&self, session: &Session, replies: &mut Vec<u8>) {
        let mailbox = &self.place.mailbox;
        mailbox.set_form(if session.proto == Proto::Resp3 { Form::Resp3 } else { Form::Resp2 });
        mailbox.set_listens(session.monitors || !session.subscriptions.is_empty());
        post::deliver(&self.hub);
        if !mailbox.is_empty() {
            mailbox.take_into(replies, usize::MAX);
        }
    }

    fn park(&mut self, len: usize, patience: Option<Patience>) {
        let patience = patience.unwrap_or_else(|| {
            self.hub.count(Stat::Parked);
            Patience::new()
        });
        self.parked = Some(Parked { len, waits_for: WaitsFor::Stopped(patience) });
    }

    /// Lets others have their turn, then executes the parked request and what follows it.
    async fn retry(&mut self) -> io::Result<Stop> {
        // It is not the client who is slow.
        self.place.pulse.mark(Phase::Busy, self.hub.uptime_ms());
        if let Some(Parked { waits_for: WaitsFor::Stopped(patience), .. }) = &mut self.parked {
            patience.pause().await;
        }
        self.go_on().await
    }

    /// Waits for the end of the pause, then executes the request that is held back and what follows it. `None`: the client has
    /// hung up, and its request is not executed.
    async fn hold(&mut self) -> io::Result<Option<Stop>> {
        self.set_phase(Phase::Held);
        let held = hold::Held::new(&self.hub, Some(&self.session));
        let mut over = pin!(hold::over(Rc::clone(&self.hub)));
        let is_over = poll_fn(|cx| match over.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(io::Result::Ok(true)),
            Poll::Pending => self.poll_ahead(cx).map_ok(|()| false),
        })
        .await?;
        drop(held);
        if !is_over {
            return Ok(None);
        }
        self.place.pulse.mark(Phase::Busy, self.hub.uptime_ms());
        self.go_on().await.map(Some)
    }

    /// Writes what is left and reads a little ahead, to see whether the client is still there; ready when it has hung up.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)?;
        while self.input.len() < MOVED_BYTES {
            let mut bytes = [0; 4096];
            let mut buf = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.count_input(buf.filled().len());
            self.input.extend_from_slice(buf.filled());
        }
        Poll::Pending
    }

    /// Executes what is left of a batch once there is room for its replies.
    async fn resume(&mut self) -> io::Result<Stop> {
        self.make_room().await?;
        self.go_on().await
    }

    /// Executes what is left of a batch.
    async fn go_on(&mut self) -> io::Result<Stop> {
        poll_fn(|cx| self.handle_input(cx)).await
    }

    /// Waits until the client has taken enough of its replies, or has shown that it will not.
    async fn make_room(&mut self) -> io::Result<()> {
        if self.pending_bytes() <= PENDING_SOFT_BYTES {
            self.writes_first = false;
        }
        while self.pending_bytes() > PENDING_SOFT_BYTES && !self.writes_first {
            self.set_phase(Phase::Busy);
            let before = self.pending_bytes();
            let room = poll_fn(|cx| {
                self.poll_send(cx)?;
                if self.pending_bytes() <= PENDING_SOFT_BYTES { Poll::Ready(io::Result::Ok(())) } else { Poll::Pending }
            });
            match timeout(STANDSTILL, room).await {
                Ok(room) => room?,
                Err(_) => self.writes_first = self.pending_bytes() == before,
            }
        }
        Ok(())
    }

    fn is_over_output_limit(&self) -> bool {
        self.writes_first && self.pending_bytes() > self.hub.config.output_limit
    }

    /// Bytes of replies that were not taken yet.
    fn pending_bytes(&self) -> usize {
        self.output.len() - self.taken
    }

    /// Writes the replies of a batch; what the socket does not take is kept.
    fn send(&mut self, replies: &mut Vec<u8>, cx: &mut Context<'_>) -> io::Result<()> {
        if self.pending_bytes() > 0 {
            self.output.extend_from_slice(replies);
            self.poll_send(cx)?;
        } else {
            std::mem::swap(&mut self.output, replies);
            self.taken = 0;
            self.poll_send(cx)?;
            if self.pending_bytes() == 0 {
                std::mem::swap(&mut self.output, replies);
            }
        }
        if replies.capacity() > KEPT_BYTES {
            *replies = Vec::new();
        }
        Ok(())
    }

    /// Takes messages over and writes them, as long as the socket takes them.
    fn poll_mail(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.place.mailbox.is_empty() && self.pending_bytes() < MAIL_BYTES {
            let hub = Rc::clone(&self.hub);
            let mut messages = hub.replies.borrow_mut();
            messages.clear();
            self.place.mailbox.take_into(&mut messages, MAIL_BYTES);
            self.send(&mut messages, cx)?;
        }
        Ok(())
    }

    /// Writes as much as the socket takes; if it does not take all, the task is woken when it can take more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.poll_write(cx)?;
        self.place.mailbox.note_pending(self.pending_bytes());
        Ok(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.pending_bytes() > 0 {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output[self.taken..])? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(len) => {
                    self.taken += len;
                    self.turn_bytes += len / REPLY_SHARE;
                    self.hub.statistics().add(Stat::BytesOut, len as u64);
                    self.session.borrow_mut().traffic.output += len as u64;
                    self.place.pulse.mark(self.place.pulse.phase(), self.hub.uptime_ms());
                }
                Poll::Pending => {
                    self.forget_taken();
                    return Ok(());
                }
            }
        }
        self.output.clear();
        self.taken = 0;
        Ok(())
    }

    /// Drops what was taken once it is most of the buffer.
    fn forget_taken(&mut self) {
        if self.taken > self.output.len() / 2 {
            self.output.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Writes the last replies and hangs up.
    async fn finish(mut self) -> io::Result<()> {
        self.write_rest().await?;
        self.stream.shutdown().await
    }

    /// As [`Self::finish`], of a client that may still be sending: it is to read why nothing of that counts. It is a client no more meanwhile.
    async fn dismiss(mut self) -> io::Result<()> {
        self.write_rest().await?;
        let Self { hub, place, mut stream, .. } = self;
        drop(place);
        match hub.start_farewell() {
            Some(_waiting) => farewell::see_off(&mut stream).await,
            None => stream.shutdown().await?,
        }
        Ok(())
    }

    async fn write_rest(&mut self) -> io::Result<()> {
        self.set_phase(Phase::Busy);
        if self.pending_bytes() > 0 {
            let rest = &self.output[self.taken..];
            timeout(LAST_WRITE, self.stream.write_all(rest)).await??;
            self.hub.statistics().add(Stat::BytesOut, rest.len() as u64);
        }
        Ok(())
    }
}
