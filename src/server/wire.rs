//! A TCP stream as `hyper` wants it, which counts bytes and keeps the connection's pulse.
//!
//! What `hyper` cannot parse never reaches the protocol: it writes a bare refusal of its own and hangs up. Such a
//! write is recognised by the pulse, since no request is being answered, and what goes out in its place is an
//! error like all others.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{
    http,
    hub::Hub,
    roster::{Phase, Pulse},
};
use crate::store::Stat;

/// Where the status code stands in a response.
const STATUS: std::ops::Range<usize> = 9..12;

pub(super) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) hub: Rc<Hub>,
    pub(super) pulse: Rc<Pulse>,
    /// The rest of the refusal that goes out in place of `hyper`'s.
    refusal: Option<Vec<u8>>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, hub: Rc<Hub>, pulse: Rc<Pulse>) -> Self {
        Self { stream, hub, pulse, refusal: None }
    }

    fn is_between_requests(&self) -> bool {
        matches!(self.pulse.phase(), Phase::Idle | Phase::Head)
    }

    /// Writes our refusal; when it is out, `bytes` of `hyper`'s count as written.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut rest = self.refusal.take().unwrap_or_else(|| {
            let status = bytes.get(STATUS).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            http::unreadable(&self.hub, status.unwrap_or(400))
        });
        while !rest.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &rest);
            match self.mark_written(written)? {
                Poll::Ready(len) => drop(rest.drain(..len)),
                Poll::Pending => {
                    self.refusal = Some(rest);
                    return Poll::Pending;
                }
            }
        }
        self.refusal = Some(rest);
        Poll::Ready(Ok(bytes.len()))
    }

    /// The client has sent something.
    fn mark_read(&self) {
        let now_ms = self.hub.uptime_ms();
        match self.pulse.phase() {
            Phase::Idle => self.pulse.mark(Phase::Head, now_ms),
            Phase::Body => self.pulse.mark(Phase::Body, now_ms),
            // The time of a head runs from its first byte, that of a reply does not end because more is asked.
            Phase::Head | Phase::Busy | Phase::Answer | Phase::Held | Phase::Listening => {}
        }
    }

    /// The client has taken something.
    fn mark_written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = written {
            self.hub.statistics().add(Stat::BytesOut, bytes as u64);
            self.pulse.mark(self.pulse.phase(), self.hub.uptime_ms());
        }
        written
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut to: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let hub = Rc::clone(&self.hub);
        let mut scratch = hub.scratch.borrow_mut();
        let bytes = to.remaining().min(scratch.len());
        let mut buf = ReadBuf::new(&mut scratch[..bytes]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        if !buf.filled().is_empty() {
            hub.statistics().add(Stat::BytesIn, buf.filled().len() as u64);
            self.mark_read();
        }
        to.put_slice(buf.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_between_requests() {
            return self.poll_refuse(cx, bytes);
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.mark_written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_between_requests() {
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_refuse(cx, first);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.mark_written(written)
    }

    /// Called when nothing is left to write: an answer that was complete has been taken.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pulse.phase() == Phase::Answer {
            self.pulse.mark(Phase::Idle, self.hub.uptime_ms());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
