//! The client's side of the Docker Engine API: over a unix socket, TCP (with TLS or without), or a stream
//! inside this process when no daemon is asked for.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use crate::error::{Error, Result};
use crate::ssh::Remote;

/// The newest version of the API that this client speaks.
pub(crate) const API_VERSION: &str = "1.55";

/// Where an engine is.
#[derive(Clone)]
pub enum Endpoint {
    /// In this process: each call opens a new stream to it.
    InProcess(Arc<dyn Fn() -> DuplexStream + Send + Sync>),
    /// Behind a unix socket.
    Unix(PathBuf),
    /// Behind a TCP socket, unencrypted: `HOST:PORT`.
    Tcp(String),
    /// The same, with TLS.
    Tls(String, Box<Secure>),
    /// On another machine, by ssh.
    Ssh(Box<Remote>),
}

/// Who an engine has to be, and who we are.
#[derive(Clone)]
pub struct Secure {
    pub(crate) connector: TlsConnector,
    pub(crate) name: ServerName<'static>,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InProcess(_) => f.write_str("the engine in this process"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) | Self::Tls(address, _) => write!(f, "tcp://{address}"),
            Self::Ssh(remote) => write!(f, "{remote}"),
        }
    }
}

/// A client of one engine. Each request has a connection of its own.
#[derive(Clone)]
pub(crate) struct Client {
    endpoint: Endpoint,
    version: String,
    said: Arc<Said>,
}

/// What the command line and the configuration say of how an engine is spoken to.
#[derive(Debug)]
pub(crate) struct Said {
    /// The context by which the engine was found.
    pub(crate) context: String,
    /// Where the daemon of the engine listens that may be in this process, if there is one.
    pub(crate) socket: PathBuf,
    /// Headers of every request.
    pub(crate) headers: BTreeMap<String, String>,
    /// Each request and its answer is told of on standard error.
    pub(crate) debug: bool,
    /// `DOCKER_API_VERSION`: the version to speak, whatever the engine knows.
    pub(crate) version: Option<String>,
}

/// Any byte stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A request's body.
pub(crate) type RequestBody = BoxBody<Bytes, io::Error>;

impl Client {
    /// A client that speaks the newest version of the API that both sides know.
    pub(crate) async fn new(endpoint: Endpoint, said: Said) -> Result<Self> {
        let version = said.version.clone().unwrap_or_else(|| API_VERSION.to_owned());
        let mut client = Self { endpoint, version, said: Arc::new(said) };
        if client.is_in_process() || client.said.version.is_some() {
            return Ok(client);
        }
        let request = client.request(Method::GET, "/_ping", empty())?;
        let response = client.send(request).await?;
        let theirs = response.headers().get("api-version").and_then(|value| value.to_str().ok());
        if let Some(theirs) = theirs.filter(|theirs| minor(theirs) < minor(API_VERSION)) {
            theirs.clone_into(&mut client.version);
        }
        Ok(client)
    }

    /// Where the engine is.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the engine is in this very process.
    pub(crate) fn is_in_process(&self) -> bool {
        matches!(self.endpoint, Endpoint::InProcess(_))
    }

    /// Where the daemon of the engine in this process listens, if there is one.
    pub(crate) fn own_socket(&self) -> &Path {
        &self.said.socket
    }

    /// The context by which the engine was found.
    pub(crate) fn context(&self) -> &str {
        &self.said.context
    }

    /// The version of the API that is spoken.
    pub(crate) fn api_version(&self) -> &str {
        &self.version
    }

    /// GET, and the answer's JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.call(Method::GET, path, empty()).await?;
        self.parse(response).await
    }

    /// POST of a JSON body, and the answer's JSON.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let response = self.call(Method::POST, path, self.json_body(body)?).await?;
        self.parse(response).await
    }

    /// POST without a body, when only success matters.
    pub(crate) async fn post_empty(&self, path: &str) -> Result<()> {
        self.call(Method::POST, path, empty()).await.map(drop)
    }

    /// POST of a JSON body, when only success matters.
    pub(crate) async fn post_json(&self, path: &str, body: &impl Serialize) -> Result<()> {
        self.call(Method::POST, path, self.json_body(body)?).await.map(drop)
    }

    /// DELETE, and the answer's whole body.
    pub(crate) async fn delete(&self, path: &str) -> Result<Bytes> {
        let response = self.call(Method::DELETE, path, empty()).await?;
        self.collect(response).await
    }

    /// Any request whose answer is read piece by piece. An error status is an error already.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
    ) -> Result<Response<Incoming>> {
        let request = self.request(method, path, body)?;
        let response = self.send(request).await?;
        self.check(response).await
    }

    /// The same with headers; those without a value are left out.
    pub(crate) async fn call_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: RequestBody,
    ) -> Result<Response<Incoming>> {
        let mut request = self.request(method, path, body)?;
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            let value = value.parse().map_err(|e| self.odd(&e))?;
            request.headers_mut().insert(*name, value);
        }
        let response = self.send(request).await?;
        self.check(response).await
    }

    /// POST that turns the connection into a raw stream.
    pub(crate) async fn hijack(&self, path: &str, body: &impl Serialize) -> Result<Upgraded> {
        let mut request = self.request(Method::POST, path, self.json_body(body)?)?;
        request.headers_mut().insert(CONNECTION, "Upgrade".parse().map_err(|e| self.odd(&e))?);
        request.headers_mut().insert(UPGRADE, "tcp".parse().map_err(|e| self.odd(&e))?);
        let response = self.check(self.send(request).await?).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.odd(&format!("no upgrade: {}", response.status())));
        }
        hyper::upgrade::on(response).await.map_err(|err| self.odd(&err))
    }

    /// POST that makes the connection one of HTTP/2 (`Upgrade: h2c`), with headers, of which a name
    /// may come several times.
    pub(crate) async fn upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Result<Upgraded> {
        let mut request = self.request(Method::POST, path, empty())?;
        request.headers_mut().insert(CONNECTION, "Upgrade".parse().map_err(|e| self.odd(&e))?);
        request.headers_mut().insert(UPGRADE, "h2c".parse().map_err(|e| self.odd(&e))?);
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| self.odd(&e))?;
            request.headers_mut().append(name, value.parse().map_err(|e| self.odd(&e))?);
        }
        let response = self.check(self.send(request).await?).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(self.odd(&format!("no upgrade: {}", response.status())));
        }
        hyper::upgrade::on(response).await.map_err(|err| self.odd(&err))
    }

    /// The next pieces of a streamed answer; `None` at its end.
    pub(crate) async fn next_piece(
        &self,
        response: &mut Response<Incoming>,
    ) -> Result<Option<Bytes>> {
        loop {
            match response.frame().await {
                None => return Ok(None),
                Some(Err(err)) => return Err(self.odd(&err)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole of an answer's body.
    pub(crate) async fn collect(&self, response: Response<Incoming>) -> Result<Bytes> {
        let collected = response.into_body().collect().await.map_err(|err| self.odd(&err))?;
        Ok(collected.to_bytes())
    }

    /// The whole of an answer's body, as JSON.
    pub(crate) async fn parse<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
    ) -> Result<T> {
        let body = self.collect(response).await?;
        serde_json::from_slice(&body).map_err(|err| self.odd(&err))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: RequestBody,
    ) -> Result<Request<RequestBody>> {
        let uri = format!("/v{}{path}", self.version);
        let json = method == Method::POST
            && !path.starts_with("/images/create")
            && !path.contains("/push?");
        let mut request = Request::builder().method(method).uri(uri).header(HOST, "dhow");
        for (name, value) in &self.said.headers {
            request = request.header(name, value);
        }
        if json {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        request.body(body).map_err(|err| self.odd(&err))
    }

    fn json_body(&self, body: &impl Serialize) -> Result<RequestBody> {
        let bytes = serde_json::to_vec(body).map_err(|err| self.odd(&err))?;
        Ok(Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed())
    }

    async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>> {
        let what =
            self.said.debug.then(|| format!("{} {}", request.method(), request.uri().path()));
        let answer = self.send_quietly(request).await;
        if let Some(what) = what {
            match &answer {
                Ok(answer) => eprintln!("DEBU: {what}: {}", answer.status()),
                Err(err) => eprintln!("DEBU: {what}: {err}"),
            }
        }
        answer
    }

    async fn send_quietly(&self, request: Request<RequestBody>) -> Result<Response<Incoming>> {
        let io = self.connect().await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(io)).await;
        let (mut sender, connection) = handshake.map_err(|err| self.odd(&err))?;
        tokio::spawn(connection.with_upgrades());
        // What ssh complains of is below what broke.
        let answer = sender.send_request(request).await;
        answer.map_err(|err| self.odd(&docker::error::chain(&err)))
    }

    /// A connection of one's own.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Io>> {
        let failed = |source| Error::Connect { endpoint: self.endpoint.to_string(), source };
        Ok(match &self.endpoint {
            Endpoint::InProcess(open) => Box::new(open()),
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(failed)?),
            Endpoint::Tcp(address) => Box::new(TcpStream::connect(address).await.map_err(failed)?),
            Endpoint::Tls(address, secure) => {
                Box::new(secure.connect(address).await.map_err(failed)?)
            }
            Endpoint::Ssh(remote) => Box::new(remote.connect().map_err(failed)?),
        })
    }

    async fn check(&self, response: Response<Incoming>) -> Result<Response<Incoming>> {
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(response);
        }
        let body = self.collect(response).await?;
        let message = match serde_json::from_slice::<docker::ErrorResponse>(&body) {
            Ok(error) => error.message,
            Err(_) => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        Err(Error::Api { status: status.as_u16(), message })
    }

    /// The answer is none.
    pub(crate) fn odd(&self, reason: &impl ToString) -> Error {
        Error::Protocol { endpoint: self.endpoint.to_string(), reason: reason.to_string() }
    }
}

fn minor(version: &str) -> u32 {
    version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0)
}

/// A request without a body.
pub(crate) fn empty() -> RequestBody {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A body whose pieces come through a channel: a file, or standard input, read on a thread.
pub(crate) struct Pieces(pub(crate) mpsc::Receiver<io::Result<Bytes>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// Percent-encodes a query's value.
pub(crate) fn encode(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_query_value_survives() {
        assert_eq!(super::encode("a b&c=ü/"), "a%20b%26c%3D%C3%BC%2F");
    }
}
