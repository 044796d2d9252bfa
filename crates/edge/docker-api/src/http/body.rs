//! Bodies of answers, and the bridges between them and blocking readers and writers.

use std::{
    io::{self, Read, Write},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};

/// Pieces in flight: enough to overlap reading and sending, little enough to cost no memory.
const PIECES: usize = 4;
/// The largest piece that a blocking writer hands on.
const PIECE_BYTES: usize = 64 << 10;

/// A stream that broke off: the client sees the connection end in the middle of the body.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the stream broke off")]
pub(crate) struct Broken;

/// A piece of a body, or its sudden end.
pub(crate) type Piece = Result<Bytes, Broken>;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// All at once.
    Whole(Bytes),
    /// Piece by piece.
    Pieces(mpsc::Receiver<Piece>),
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let piece = match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => None,
            Self::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Self::Pieces(pieces) => std::task::ready!(pieces.poll_recv(cx)),
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

/// A body and where its pieces go in. Sending fails once the client has gone.
pub(crate) fn pieces() -> (mpsc::Sender<Piece>, ReplyBody) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (sender, ReplyBody::Pieces(receiver))
}

/// Writes into a body from a blocking thread. Fails with `BrokenPipe` once the client has gone.
#[derive(Debug)]
pub(crate) struct BodyWriter {
    sender: mpsc::Sender<Piece>,
}

impl BodyWriter {
    pub(crate) fn new(sender: mpsc::Sender<Piece>) -> Self {
        Self { sender }
    }
}

impl BodyWriter {
    /// Breaks the body off, so that the client does not take what it has for all.
    pub(crate) fn break_off(self) {
        // Where the client has gone, there is nobody to tell.
        _ = self.sender.blocking_send(Err(Broken));
    }
}

impl Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(PIECE_BYTES);
        if n > 0 {
            self.sender
                .blocking_send(Ok(Bytes::copy_from_slice(&bytes[..n])))
                .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much of a body that nobody wants is still taken.
const UNWANTED_BYTES: usize = 64 << 20;

/// Takes the rest of a body that nobody wants, within limits: a client that is cut off while it
/// sends does not read the answer that says why.
pub(crate) async fn drain(mut body: Incoming) {
    let mut taken = 0;
    while taken < UNWANTED_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        taken += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// Reads the body of a request from a blocking thread.
#[derive(Debug)]
pub(crate) struct BodyReader {
    receiver: mpsc::Receiver<Result<Bytes, hyper::Error>>,
    piece: Bytes,
}

impl BodyReader {
    /// Starts to hand the body over. A body that breaks off reads as `UnexpectedEof`.
    pub(crate) fn new(body: Option<Incoming>) -> Self {
        let (sender, receiver) = mpsc::channel(PIECES);
        let Some(mut body) = body else { return Self { receiver, piece: Bytes::new() } };
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame.map(Frame::into_data) {
                    Ok(Ok(piece)) => Ok(piece),
                    Ok(Err(_trailers)) => continue,
                    Err(err) => Err(err),
                };
                if sender.send(piece).await.is_err() {
                    return drain(body).await;
                }
            }
        });
        Self { receiver, piece: Bytes::new() }
    }
}

impl AsyncRead for BodyReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            match std::task::ready!(this.receiver.poll_recv(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(piece)) => this.piece = piece,
                Some(Err(err)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, err)));
                }
            }
        }
        let n = this.piece.len().min(buf.remaining());
        buf.put_slice(&this.piece.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl Read for BodyReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(err)) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, err)),
            }
        }
        let n = self.piece.len().min(buf.len());
        self.piece.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}
