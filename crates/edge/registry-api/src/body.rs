//! Bodies of answers and of requests, and the bridges from them to the disk.

use std::io::{self, Read, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use content::Writer;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::error::{Code, Error};
use crate::patience::Allowance;

/// Read from the disk at once.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces between the disk and the network.
const PIECES: usize = 2;
/// How much of a body that nobody wants is still taken.
const UNWANTED_BYTES: usize = 16 << 20;

/// A stream that broke off: the client sees the connection end in the middle of the body.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the stream broke off")]
pub(crate) struct Broken;

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum ReplyBody {
    /// All at once.
    Whole(Bytes),
    /// Pieces from the disk, of this many bytes together.
    Pieces { pieces: mpsc::Receiver<Result<Bytes, Broken>>, left: u64 },
}

impl ReplyBody {
    pub(crate) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }
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
            Self::Pieces { left: 0, .. } => None,
            Self::Pieces { pieces, left } => match std::task::ready!(pieces.poll_recv(cx)) {
                Some(Ok(piece)) => {
                    *left = left.saturating_sub(piece.len() as u64);
                    Some(Ok(piece))
                }
                Some(Err(Broken)) | None => Some(Err(Broken)),
            },
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Pieces { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pieces { left, .. } => *left,
        })
    }
}

/// Sends `size` bytes of what is read. The last of them is held back until the reader says that it
/// was the last: one that checks what it reads has then found it right.
pub(crate) fn stream(mut reader: impl Read + Send + 'static, size: u64) -> ReplyBody {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut held: Option<Bytes> = None;
        let mut left = size;
        loop {
            let mut piece = vec![0; PIECE_BYTES.min(left.saturating_add(1) as usize)];
            let next = match reader.read(&mut piece) {
                Ok(0) if left == 0 => None,
                Ok(n) if n > 0 && n as u64 <= left => {
                    left -= n as u64;
                    piece.truncate(n);
                    Some(Ok(Bytes::from(piece)))
                }
                Ok(_) => Some(Err("its size has changed".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Some(Err(error.to_string())),
            };
            let (ready, is_last) = match next {
                Some(Ok(piece)) => (held.replace(piece).map(Ok), false),
                Some(Err(why)) => {
                    eprintln!("dhow: registry: read a blob: {why}");
                    (Some(Err(Broken)), true)
                }
                None => (held.take().map(Ok), true),
            };
            // Where nobody takes it, the client has gone.
            let gone = ready.is_some_and(|ready| sender.blocking_send(ready).is_err());
            if gone || is_last {
                return;
            }
        }
    });
    ReplyBody::Pieces { pieces, left: size }
}

/// The next piece of a request's body; `None` at its end. A client that breaks off, or that is too
/// slow, is an error.
pub(crate) async fn next(
    body: &mut Incoming,
    allowance: &mut Allowance,
) -> Option<Result<Bytes, Error>> {
    loop {
        let since = Instant::now();
        let Ok(frame) = timeout(allowance.left(), body.frame()).await else {
            let slow = Error::new(Code::BlobUploadInvalid, "the body came too slowly");
            return Some(Err(slow.with_status(hyper::StatusCode::REQUEST_TIMEOUT)));
        };
        match frame?.map(Frame::into_data) {
            Ok(Ok(piece)) => {
                allowance.settle(since.elapsed(), piece.len());
                return Some(Ok(piece));
            }
            Ok(Err(_trailers)) => {}
            Err(error) => {
                let why = format!("the body broke off: {error}");
                return Some(Err(Error::new(Code::BlobUploadInvalid, why)));
            }
        }
    }
}

/// A whole body of at most `max` bytes.
pub(crate) async fn whole(body: &mut Incoming, max: usize) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut allowance = Allowance::default();
    while let Some(piece) = next(body, &mut allowance).await {
        let piece = piece?;
        if bytes.len() + piece.len() > max {
            let why = format!("more than the {max} bytes that are taken");
            let error = Error::new(Code::SizeInvalid, why);
            return Err(error.with_status(hyper::StatusCode::PAYLOAD_TOO_LARGE));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Takes the rest of a body that nobody wants, within limits: a client that is cut off while it
/// sends does not read the answer that says why.
pub(crate) async fn drain(mut body: Incoming) {
    let mut n_taken = 0;
    let mut allowance = Allowance::default();
    while n_taken < UNWANTED_BYTES
        && let Some(Ok(piece)) = next(&mut body, &mut allowance).await
    {
        n_taken += piece.len();
    }
}

/// Writes a body to a blob that is being written: at most `max` bytes, if so many are expected. The
/// writer comes back with all that came, however the body ended.
pub(crate) async fn receive(
    mut body: Incoming,
    writer: Writer,
    max: Option<u64>,
) -> (Option<Writer>, Result<(), Error>) {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(PIECES * 2);
    let writing = tokio::task::spawn_blocking(move || {
        let mut writer = writer;
        while let Some(piece) = pieces.blocking_recv() {
            if let Err(error) = writer.write_all(&piece) {
                return (writer, Err(error));
            }
        }
        (writer, Ok(()))
    });
    let mut allowance = Allowance::default();
    let mut left = max.unwrap_or(u64::MAX);
    let mut received = Ok(());
    while let Some(piece) = next(&mut body, &mut allowance).await {
        let mut piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                received = Err(error);
                break;
            }
        };
        let is_over = piece.len() as u64 > left;
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
        // Nobody takes it: the writing has failed, and says why.
        if sender.send(piece).await.is_err() {
            break;
        }
        if is_over {
            received = Err(Error::new(Code::SizeInvalid, "more bytes than the range says"));
            break;
        }
    }
    drop(sender);
    tokio::spawn(drain(body));
    match writing.await {
        Ok((writer, Ok(()))) => (Some(writer), received),
        Ok((writer, Err(error))) => (Some(writer), Err(unwritten(&error))),
        Err(lost) => (None, Err(Error::internal(&lost))),
    }
}

fn unwritten(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Error::new(Code::SizeInvalid, error.to_string())
            .with_status(hyper::StatusCode::PAYLOAD_TOO_LARGE),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            eprintln!("dhow: registry: write a blob: {error}");
            Error::new(Code::Unknown, "the registry's disk is full")
                .with_status(hyper::StatusCode::INSUFFICIENT_STORAGE)
        }
        _ => Error::internal(error),
    }
}
