//! One connection: HTTP/1.1 until the client leaves or a handler takes it over.

use std::{
    convert::Infallible,
    future::Future,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, UPGRADE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream},
    net::{TcpStream, UnixStream},
    sync::Notify,
};
use tokio_rustls::server::TlsStream;

use super::{
    body::ReplyBody,
    gone::gone,
    takeover::{Shared, Stream, Taken},
};

/// A byte stream to a client: a socket, or one end of `tokio::io::duplex`.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// A descriptor of the socket below, by which to tell a client that is gone from one that only
    /// closed its writing side.
    fn socket(&self) -> Option<OwnedFd> {
        None
    }

    /// What it means that nothing more comes on that socket.
    fn end_of_input(&self) -> EndOfInput {
        EndOfInput::Input
    }
}

/// What it means that nothing more comes on a socket. A client may close its writing side and wait for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfInput {
    /// That what comes has ended. A client that is gone has closed both directions, which a unix socket tells.
    Input,
    /// Nobody can tell: a client of TCP that is gone looks the same until something is sent to it. In the middle of
    /// an answer it is taken for gone, as by `dockerd`; one that has the connection for itself may only have ended
    /// its input.
    Answer,
    /// That the client is gone. Who only ends its input says so in TLS, and the socket stays.
    Client,
}

impl Io for DuplexStream {}

impl Io for TcpStream {
    fn socket(&self) -> Option<OwnedFd> {
        self.as_fd().try_clone_to_owned().ok()
    }

    fn end_of_input(&self) -> EndOfInput {
        EndOfInput::Answer
    }
}

impl Io for TlsStream<TcpStream> {
    fn socket(&self) -> Option<OwnedFd> {
        self.get_ref().0.socket()
    }

    fn end_of_input(&self) -> EndOfInput {
        EndOfInput::Client
    }
}

impl Io for UnixStream {
    fn socket(&self) -> Option<OwnedFd> {
        self.as_fd().try_clone_to_owned().ok()
    }
}

/// Who has a connection after it was taken over. Ends when the stream ends.
pub type Relay = Box<dyn FnOnce(Box<dyn Io>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What a handler answers.
pub(crate) enum Answer {
    /// An ordinary answer.
    Reply(Response<ReplyBody>),
    /// The connection becomes a raw stream; of the response only the headers count.
    TakeOver(Response<()>, Relay),
}

/// Answers requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// Answers one request. Errors are answers, too.
    fn call(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// Serves one connection to its end. `patience`: how long a client may take for the head of a request, from the end
/// of the last one on.
///
/// # Errors
///
/// What the client sent was not HTTP, came too slowly, or the stream broke.
pub(crate) async fn serve<S: Service>(
    service: Arc<S>,
    io: impl Io,
    patience: Option<Duration>,
) -> Result<(), hyper::Error> {
    let shared = Shared::default();
    let (socket, by_input) = (io.socket(), io.end_of_input() != EndOfInput::Input);
    let streams = Notify::new();
    let on_request = service_fn(|request: Request<Incoming>| {
        let (service, shared, streams) = (Arc::clone(&service), shared.clone(), &streams);
        async move {
            let upgrade = request.headers().contains_key(UPGRADE);
            Ok::<_, Infallible>(match service.call(request).await {
                Answer::Reply(reply) => {
                    if matches!(reply.body(), ReplyBody::Pieces(_)) {
                        streams.notify_one();
                    }
                    reply
                }
                Answer::TakeOver(head, relay) => {
                    shared.take_over(Taken { upgrade, relay });
                    switch(head, upgrade)
                }
            })
        }
    });

    // A client may close its writing side and still wait for its answer, so the end of what it
    // sends means nothing. Who has gone altogether is noticed when a write fails, or, while a
    // stream may have nothing to write for days, by looking.
    let stream = TokioIo::new(Stream::new(io, shared.clone()));
    let mut http = http1::Builder::new();
    if let Some(patience) = patience {
        http.timer(TokioTimer::new()).header_read_timeout(patience);
    }
    let connection = http
        .title_case_headers(true)
        .half_close(true)
        .serve_connection(stream, on_request)
        .without_shutdown();
    let left = async {
        streams.notified().await;
        gone(socket, by_input).await;
    };
    let parts = tokio::select! {
        parts = connection => parts?,
        () = left => return Ok(()),
    };

    let mut stream = parts.io.into_inner();
    match shared.taken() {
        Some(taken) => {
            stream.rewind(parts.read_buf);
            (taken.relay)(Box::new(stream)).await;
        }
        // The client may be gone; there is nobody to tell.
        None => _ = stream.shutdown().await,
    }
    Ok(())
}

fn switch(head: Response<()>, upgrade: bool) -> Response<ReplyBody> {
    let mut head = head.map(|()| ReplyBody::Whole(bytes::Bytes::new()));
    *head.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    if upgrade {
        let headers = head.headers_mut();
        let to = headers.remove(UPGRADE).unwrap_or(HeaderValue::from_static("tcp"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, to);
    }
    head
}
