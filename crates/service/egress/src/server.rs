//! The side of the program: requests by whole URLs, and tunnels that are not what they seem.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, RANGE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::address::{Origin, Target};
use crate::body::{Note, Noted};
use crate::capture;
use crate::client::{Client, Trust};
use crate::{Authority, Capture, Outside};

/// So many connections at a time: more wait.
const MAX_CONNECTIONS: usize = 256;
/// How long a head of a request, or a handshake, may take.
const HEAD: Duration = Duration::from_secs(30);
/// How long connections of a program that has ended may take to end.
const LAST: Duration = Duration::from_secs(2);
/// How long nobody is let in after that failed.
const REST: Duration = Duration::from_millis(100);
/// What is about a connection, and not about what is asked for (RFC 9110, 7.6.1), beside what `Connection` names.
const OF_CONNECTION: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

type Answer = Response<Either<Full<Bytes>, Noted>>;

/// A proxy for one program.
pub struct Proxy {
    outside: Arc<dyn Outside>,
    authority: Arc<Authority>,
    capture: Arc<Capture>,
    client: Client,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}

impl Proxy {
    /// One that answers for this authority, and notes what is asked for.
    pub fn new(
        outside: Arc<dyn Outside>,
        authority: Arc<Authority>,
        trust: Arc<Trust>,
        capture: Arc<Capture>,
    ) -> Self {
        Self { outside, authority, capture, client: Client::new(trust) }
    }
}

/// Serves whoever connects, until `ended` says so or is dropped: the program has ended. What it has asked for is
/// noted then.
pub async fn serve(proxy: Arc<Proxy>, listener: TcpListener, mut ended: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        let has_room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            _ = &mut ended => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(Arc::clone(&proxy), stream));
                }
                // There may be no descriptor for it: some come back.
                Err(_) => sleep(REST).await,
            },
        }
    }
    drop(listener);
    let last = async { while connections.join_next().await.is_some() {} };
    // What is still under way then ends with the set, and is noted as what did not come whole.
    _ = timeout(LAST, last).await;
    connections.shutdown().await;
}

/// A way through that was asked for: what becomes of the connection, and where it leads.
type Tunnel = Arc<Mutex<Option<(OnUpgrade, Origin)>>>;

async fn connection(proxy: Arc<Proxy>, stream: TcpStream) {
    stream.set_nodelay(true).ok();
    let tunnel = Tunnel::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (proxy, tunnel) = (Arc::clone(&proxy), Arc::clone(&tunnel));
        async move {
            if request.method() == Method::CONNECT {
                return Ok::<_, Infallible>(open(request, &tunnel));
            }
            Ok(proxy.answer(request, None).await)
        }
    });
    let connection = builder().serve_connection(TokioIo::new(stream), service).with_upgrades();
    // A program that leaves or speaks something else: there is nobody to tell.
    _ = connection.await;
    let asked = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((upgraded, origin)) = asked
        && let Ok(stream) = upgraded.await
    {
        proxy.inside(TokioIo::new(stream), &origin).await;
    }
}

fn builder() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    // A program may have said all that it has to say, and wait: so does `wget` of busybox, where the URL is of HTTPS.
    builder.half_close(true);
    builder
}

/// Opens a way through: it is answered by us, as whom it leads to.
fn open(request: Request<Incoming>, tunnel: &Tunnel) -> Answer {
    let authority = request.uri().authority();
    let origin = authority.and_then(|authority| Origin::parse(true, authority.as_str()));
    let Some(origin) = origin else {
        return text(StatusCode::BAD_REQUEST, "no address to connect to");
    };
    let upgraded = hyper::upgrade::on(request);
    *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some((upgraded, origin));
    Response::new(Either::Left(Full::default()))
}

impl Proxy {
    /// Serves what comes through a tunnel.
    async fn inside(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin, to: &Origin) {
        let handshake = async {
            let config = self.authority.server(&to.host).map_err(io::Error::other)?;
            TlsAcceptor::from(config).accept(stream).await
        };
        let Ok(Ok(stream)) = timeout(HEAD, handshake).await else {
            // It does not speak TLS, or does not know the authority: then nobody is asked for anything.
            let (method, url) = (Method::CONNECT.to_string(), format!("{to}/"));
            self.capture.request(capture::Request { method, url, ..capture::Request::default() });
            return;
        };
        let this = &*self;
        let service = service_fn(move |request: Request<Incoming>| async move {
            Ok::<_, Infallible>(this.answer(request, Some(to)).await)
        });
        // As without a tunnel.
        _ = builder().serve_connection(TokioIo::new(stream), service).await;
    }

    /// What is answered to a request, which came through a tunnel to `within`, or by itself.
    async fn answer(&self, request: Request<Incoming>, within: Option<&Origin>) -> Answer {
        let (parts, body) = request.into_parts();
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let asked = Target::of(&parts.uri, host, within);
        let Some(asked) = asked.filter(|_| parts.method != Method::CONNECT) else {
            return text(StatusCode::BAD_REQUEST, "no address of HTTP");
        };
        let method = parts.method.clone();
        let noted = |target: &Target, status: StatusCode, location| {
            self.capture.request(capture::Request {
                method: method.to_string(),
                url: target.to_string(),
                location,
                status: status.as_u16(),
            });
        };
        let target = match self.judge(&asked, &method).await {
            Ok(target) => target,
            Err(why) => {
                noted(&asked, StatusCode::FORBIDDEN, None);
                return text(StatusCode::FORBIDDEN, &why);
            }
        };
        let is_partial = parts.headers.contains_key(RANGE);
        let sent = match outgoing(&target, parts) {
            Some(parts) => {
                let request = Request::from_parts(parts, body);
                let sent = self.client.send(&*self.outside, &target.origin, request).await;
                sent.map_err(|error| error.to_string())
            }
            None => Err(format!("{target} cannot be asked for")),
        };
        let response = match sent {
            Ok(response) => response,
            Err(why) => {
                noted(&target, StatusCode::BAD_GATEWAY, None);
                self.capture.incomplete(method.as_str(), &target.to_string(), "upstream_error");
                return text(StatusCode::BAD_GATEWAY, &why);
            }
        };
        let status = response.status();
        let location = response.headers().get(LOCATION).and_then(|text| text.to_str().ok());
        let location = location.and_then(|text| target.join(text)).map(|to| to.to_string());
        noted(&target, status, location);
        let note = Note {
            capture: Arc::clone(&self.capture),
            method: method.clone(),
            url: target.to_string(),
            status: status.as_u16(),
            is_partial,
        };
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers);
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        Response::from_parts(parts, Either::Right(Noted::new(body, note)))
    }

    /// Where a request goes that may be made.
    async fn judge(&self, asked: &Target, method: &Method) -> Result<Target, String> {
        let url = asked.to_string();
        let other = match self.outside.judge(&url).await {
            Ok(None) => return Ok(asked.clone()),
            Ok(Some(other)) => other,
            Err(why) => {
                self.capture.ruled(&url, None);
                return Err(why);
            }
        };
        self.capture.ruled(&url, Some(other.as_str()));
        if *method != Method::GET {
            return Err(format!(
                "something else is in the place of {url}, which only GET can have"
            ));
        }
        let other = Target::parse(&other);
        other.ok_or_else(|| format!("what is in the place of {url} is no address of HTTP"))
    }
}

/// What is sent on of a request; `None`: it cannot be said.
fn outgoing(target: &Target, mut parts: Parts) -> Option<Parts> {
    strip(&mut parts.headers);
    // What comes is to be what is noted, and not one of its forms.
    for name in [ACCEPT_ENCODING, EXPECT] {
        parts.headers.remove(name);
    }
    let host = HeaderValue::try_from(target.origin.authority()).ok()?;
    parts.headers.insert(HOST, host);
    parts.uri = target.path.parse::<Uri>().ok()?;
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Some(parts)
}

/// Takes away what is about a connection.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_CONNECTION) {
        headers.remove(name);
    }
}

fn text(status: StatusCode, why: &str) -> Answer {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Either::Left(Full::from(format!("{reason}: {why}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
