//! Requests and answers: connections that are used again, and bodies that are bounded.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT,
};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::connect::connect;
use crate::error::Transport;
use crate::hosts_toml::Own;
use crate::pace::Pace;
use crate::proxy::Proxy;
use crate::retry::Retry;
use crate::settings::Settings;
use crate::tls::Tls;
use crate::url::{Origin, Scheme, Url};

const AGENT: &str = concat!("dhow/", env!("CARGO_PKG_VERSION"), " (linux)");
/// No more connections to one host wait to be used again.
const MAX_IDLE: usize = 8;
/// How long it may take to find out whether an insecure registry speaks TLS.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The body of a request.
pub(crate) enum Body {
    Whole(Bytes),
    /// Pieces from elsewhere, of this many bytes together.
    Pieces {
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        left: u64,
    },
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::Whole(Bytes::new())
    }

    fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pieces { left, .. } => *left,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Pieces { pieces, left } => {
                let piece = std::task::ready!(pieces.poll_recv(cx));
                Poll::Ready(piece.map(|piece| {
                    let piece = piece?;
                    *left = left.saturating_sub(piece.len() as u64);
                    Ok(Frame::data(piece))
                }))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len())
    }
}

/// Speaks HTTP/1.1 to anyone.
pub(crate) struct Http {
    pub(crate) settings: Settings,
    /// What was said of one host,
    pub(crate) own: Own,
    /// and who that is.
    own_for: Vec<Origin>,
    pub(crate) tls: Tls,
    idle: Mutex<HashMap<Origin, Vec<SendRequest<Body>>>>,
}

impl Http {
    /// With what was said of the host of these origins.
    pub(crate) fn new(settings: Settings, own: Own, own_for: Vec<Origin>) -> Arc<Self> {
        let idle = Mutex::new(HashMap::new());
        Arc::new(Self { settings, own, own_for, tls: Tls::new(), idle })
    }

    /// What was said of this host alone.
    pub(crate) fn own_of(&self, origin: &Origin) -> Option<&Own> {
        self.own_for.contains(origin).then_some(&self.own)
    }

    /// The proxy for requests to `origin`: its own, or what the environment says.
    pub(crate) fn proxy_of(&self, origin: &Origin) -> Option<&Proxy> {
        let own = self.own_of(origin).and_then(|own| own.proxy.as_ref());
        own.or_else(|| self.settings.proxies.of(origin))
    }

    /// Whether a TLS server answers there. One that cannot make sense of a handshake may answer it
    /// with silence.
    pub(crate) async fn has_tls(&self, origin: &Origin) -> Result<bool, Transport> {
        match timeout(HANDSHAKE, connect(self, origin)).await {
            // One that is not whom it should be has: nothing is asked of it in the clear.
            Ok(Ok(_) | Err(Transport::Certificate { .. })) => Ok(true),
            Ok(Err(Transport::Tls { .. } | Transport::Plain { .. })) | Err(_) => Ok(false),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Sends one request, and waits for the head of its answer for at most `patience`.
    pub(crate) async fn send(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Body,
        patience: Duration,
    ) -> Result<Response<Incoming>, Transport> {
        let mut request = self.request(method, url, headers, body)?;
        while let Some(mut sender) = self.take_idle(&url.origin) {
            match timeout(patience, sender.try_send_request(request)).await {
                Err(_) => return Err(Transport::TimedOut(patience)),
                Ok(Ok(response)) => {
                    self.keep(&url.origin, sender);
                    return Ok(response);
                }
                // Where nothing of it was sent, the connection had just been closed.
                Ok(Err(mut failed)) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(Transport::Http(failed.into_error())),
                },
            }
        }
        let stream = connect(self, &url.origin).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(Transport::Http)?;
        // It ends with the connection, which ends when nobody can send on it any more.
        tokio::spawn(async move {
            // What went wrong is told to the one who waits for an answer.
            _ = connection.await;
        });
        match timeout(patience, sender.send_request(request)).await {
            Err(_) => Err(Transport::TimedOut(patience)),
            Ok(Err(error)) => Err(Transport::Http(error)),
            Ok(Ok(response)) => {
                self.keep(&url.origin, sender);
                Ok(response)
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Request<Body>, Transport> {
        let proxy = self.proxy_of(&url.origin);
        // A proxy that forwards has to be told to whom (RFC 9112, 3.2.2).
        let proxy = proxy.filter(|_| url.origin.scheme == Scheme::Http);
        let target = match proxy {
            Some(_) => format!("{}{}", url.origin, url.path),
            None => url.path.clone(),
        };
        let length = body.len();
        let mut request =
            Request::builder().method(method).uri(target).body(body).map_err(Transport::Invalid)?;
        let host = HeaderValue::try_from(url.origin.authority());
        let host = host.map_err(|error| Transport::Invalid(error.into()))?;
        let into = request.headers_mut();
        into.extend(headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        into.insert(HOST, host);
        // Who asks for a file may say who it is.
        into.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.clone()) {
            into.insert(PROXY_AUTHORIZATION, authorization);
        }
        if *method != Method::GET && *method != Method::HEAD {
            into.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(request)
    }

    /// A connection that nothing is going on on.
    fn take_idle(&self, origin: &Origin) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(origin)?;
        senders.retain(|sender| !sender.is_closed());
        let ready = senders.iter().position(SendRequest::is_ready)?;
        Some(senders.swap_remove(ready))
    }

    /// Keeps a connection; it becomes ready when its answer has been read.
    fn keep(&self, origin: &Origin, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.entry(origin.clone()).or_default();
        senders.retain(|sender| !sender.is_closed());
        if senders.len() < MAX_IDLE {
            senders.push(sender);
        }
    }
}

/// Why a body was not read to its end.
#[derive(Debug)]
pub(crate) enum BodyError {
    Transport(Transport),
    /// It has more bytes than this.
    TooLarge(usize),
}

/// The whole body of an answer, of at most `max` bytes.
pub(crate) async fn collect(
    mut response: Response<Incoming>,
    max: usize,
    retry: &Retry,
) -> Result<Bytes, BodyError> {
    let mut bytes = Vec::new();
    let mut pace = Pace::new(retry);
    while let Some(piece) = pace.next(response.body_mut()).await {
        let piece = piece.map_err(BodyError::Transport)?;
        if bytes.len() + piece.len() > max {
            return Err(BodyError::TooLarge(max));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

/// The next piece of a body, if it comes within `silence`.
pub(crate) async fn next_piece(
    body: &mut Incoming,
    silence: Duration,
) -> Option<Result<Bytes, Transport>> {
    loop {
        match timeout(silence, body.frame()).await {
            Err(_) => return Some(Err(Transport::TimedOut(silence))),
            Ok(None) => return None,
            Ok(Some(Err(error))) => return Some(Err(Transport::Http(error))),
            Ok(Some(Ok(frame))) => {
                if let Ok(piece) = frame.into_data() {
                    return Some(Ok(piece));
                }
                // Trailers say nothing that we ask for.
            }
        }
    }
}
