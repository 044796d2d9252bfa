//! The byte stream below a connection, of which a handler may take over.
//!
//! `dockerd` takes a connection out of its HTTP server's hands for `attach` and `exec`, with
//! `101 UPGRADED` when the client asked for an upgrade and with `200 OK` when it did not. hyper
//! only lets go of a connection after `101`; so it is told `101` in both cases, and the status line
//! is put right here, on its way out.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{EndOfInput, Io, Relay};

/// What hyper writes, whatever the reason phrase.
const HYPER_101: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n";
const UPGRADED: &[u8] = b"HTTP/1.1 101 UPGRADED\r\n";
const RAW: &[u8] = b"HTTP/1.1 200 OK\r\n";

/// What the service of a connection says to the stream below it: who takes it over.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Option<Taken>>>);

/// A connection that has been taken over.
pub(super) struct Taken {
    /// Whether the client asked for an upgrade.
    pub(super) upgrade: bool,
    /// Who has it from now on.
    pub(super) relay: Relay,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection over as soon as the head of the answer is out.
    pub(super) fn take_over(&self, taken: Taken) {
        *self.lock() = Some(taken);
    }

    /// Who takes the connection over, if anyone.
    pub(super) fn taken(&self) -> Option<Taken> {
        self.lock().take()
    }
}

/// A stream whose status line of a take-over is put right.
pub(super) struct Stream<I> {
    inner: I,
    shared: Shared,
    /// Bytes that hyper, or whoever read ahead, has read and not used.
    unread: Bytes,
    /// Bytes that count as written.
    unsent: Bytes,
    rewritten: bool,
}

impl<I: Io> Stream<I> {
    pub(super) fn new(inner: I, shared: Shared) -> Self {
        Self { inner, shared, unread: Bytes::new(), unsent: Bytes::new(), rewritten: false }
    }

    /// Gives back what was read ahead.
    pub(super) fn rewind(&mut self, unread: Bytes) {
        self.unread = unread;
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.unsent))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: Io> Io for Stream<I> {
    fn socket(&self) -> Option<OwnedFd> {
        self.inner.socket()
    }

    fn end_of_input(&self) -> EndOfInput {
        self.inner.end_of_input()
    }
}

impl<I: Io> AsyncRead for Stream<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let n = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread.split_to(n));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<I: Io> AsyncWrite for Stream<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.drain(cx))?;
        if !self.rewritten
            && let Some(rest) = buf.strip_prefix(HYPER_101)
        {
            let upgrade = self.shared.lock().as_ref().map(|taken| taken.upgrade);
            if let Some(upgrade) = upgrade {
                self.rewritten = true;
                self.unsent = [if upgrade { UPGRADED } else { RAW }, rest].concat().into();
                // All of it counts as written: whoever takes over drains it first.
                if let Poll::Ready(Err(err)) = self.drain(cx) {
                    return Poll::Ready(Err(err));
                }
                return Poll::Ready(Ok(buf.len()));
            }
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
