//! One connection: HTTP/1.1 until the client leaves or a handler takes it over.

use std::{
    convert::Infallible,
    future::Future,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::Arc,
};

use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, UPGRADE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream},
    net::UnixStream,
    sync::Notify,
};

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
}

impl Io for DuplexStream {}

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

/// Serves one connection to its end.
///
/// # Errors
///
/// What the client sent was not HTTP, or the stream broke.
pub(crate) async fn serve<S: Service>(service: Arc<S>, io: impl Io) -> Result<(), hyper::Error> {
    let shared = Shared::default();
    let socket = io.socket();
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
    let connection = http1::Builder::new()
        .title_case_headers(true)
        .half_close(true)
        .serve_connection(stream, on_request)
        .without_shutdown();
    let left = async {
        streams.notified().await;
        gone(socket).await;
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
