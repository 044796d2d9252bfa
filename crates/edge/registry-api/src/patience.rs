//! How long a client may take: slow ones are served, those that only hold on to a connection are
//! not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What a client may keep us waiting at one time.
const MOST: Duration = Duration::from_mins(1);
/// The least that it has to take or give, in the long run.
const BYTES_PER_SECOND: u64 = 1024;

/// How much longer a client may keep us waiting. It wins time by moving bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance(Duration);

impl Default for Allowance {
    fn default() -> Self {
        Self(MOST)
    }
}

impl Allowance {
    /// For how long to wait now.
    pub(crate) fn left(self) -> Duration {
        self.0
    }

    /// Takes what was waited for, and gives for the bytes that came of it.
    pub(crate) fn settle(&mut self, waited: Duration, n_bytes: usize) {
        let won = Duration::from_millis(n_bytes as u64 * 1000 / BYTES_PER_SECOND);
        self.0 = self.0.saturating_sub(waited).saturating_add(won).min(MOST);
    }
}

/// A connection whose client has to take what it asked for.
pub(crate) struct Patient<S> {
    inner: S,
    allowance: Allowance,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> Patient<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, allowance: Allowance::default(), waiting: None }
    }

    /// Counts the time in which nothing could be written.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
        n_bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = poll {
            let since = self.waiting.take();
            if let Ok(value) = &result {
                let waited = since.map_or(Duration::ZERO, |(since, _)| since.elapsed());
                self.allowance.settle(waited, n_bytes(value));
            }
            return Poll::Ready(result);
        }
        let left = self.allowance.left();
        let (_, timer) =
            self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever reads knows how long that may take: between requests it may take long.
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, poll, |n| *n)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.watch(cx, poll, |n| *n)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, poll, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, poll, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn bytes_win_time() {
        let mut allowance = Allowance::default();
        allowance.settle(Duration::from_secs(50), 10);
        assert_eq!(allowance.left().as_secs(), 10);
        allowance.settle(Duration::from_secs(5), 20 << 10);
        assert_eq!(allowance.left().as_secs(), 25);
        allowance.settle(Duration::ZERO, 1 << 30);
        assert_eq!(allowance.left(), MOST);
        allowance.settle(Duration::from_secs(500), 0);
        assert_eq!(allowance.left(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_let_go() {
        let (ours, mut theirs) = tokio::io::duplex(10);
        let mut ours = Patient::new(ours);
        let error = ours.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // One that takes a byte a second, too, in the end.
        let (ours, mut slow) = tokio::io::duplex(10);
        let mut ours = Patient::new(ours);
        let taker = tokio::spawn(async move {
            while slow.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert!(ours.write_all(&[0; 1000]).await.is_err());
        drop(ours);
        taker.await.unwrap();
        let mut rest = Vec::new();
        drop(theirs.read_buf(&mut rest).await);
    }
}
