//! The server's side of a connection.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tonic::body::Body;

use super::{CONNECTION_WINDOW, Io, STREAM_WINDOW};

/// Calls of one client at a time: more wait.
const STREAMS: u32 = 250;

/// Serves calls over a stream until the client leaves. What `answer` does not know it refuses itself.
pub(crate) async fn serve<F, A>(io: impl Io, answer: F)
where
    F: Fn(Request<Body>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let answer = Arc::new(answer);
    let service = service_fn(move |request: Request<Incoming>| {
        let answered = answer(request.map(Body::new));
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .serve_connection(TokioIo::new(io), service);
    // A client that leaves or speaks something else: there is nobody to tell.
    _ = connection.await;
}
