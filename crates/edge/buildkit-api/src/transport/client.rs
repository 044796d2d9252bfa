//! The client's side of a connection.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;
use tonic::codegen::Service;

use super::{CONNECTION_WINDOW, Io, STREAM_WINDOW};

/// How often a silent client is asked whether it is there, and how long it may take to say so.
const ASK: Duration = Duration::from_secs(20);
const ANSWER: Duration = Duration::from_secs(30);

/// Sends requests over one connection. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Channel(SendRequest<Body>);

/// What a connection is driven by, until it ends.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Channel {
    /// Speaks HTTP/2 over a stream, at whose other end is a server. A silent one is asked whether it is there; it may be
    /// silent for `patience`, where that is given, and take as long to answer.
    ///
    /// # Errors
    ///
    /// The other end speaks something else.
    pub(crate) async fn over(
        io: impl Io,
        patience: Option<Duration>,
    ) -> Result<(Self, Driver), hyper::Error> {
        let most = |usual: Duration| patience.map_or(usual, |given| given.min(usual));
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(most(ASK))
            .keep_alive_timeout(most(ANSWER))
            .handshake(TokioIo::new(io))
            .await?;
        // How it ended is told to whoever waits for an answer over it.
        Ok((Self(sender), Box::pin(async { _ = connection.await })))
    }

    /// What requests go to by name: nobody looks at it, but HTTP/2 wants one.
    pub(crate) fn origin() -> Uri {
        Uri::from_static("http://localhost")
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
