//! TLS to an engine on TCP, by the names that Docker's client has: who it is, and who we are.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Global;
use crate::client::{Endpoint, Secure};
use crate::error::{Error, Result};

/// A connection whose end of input is said in TLS alone. Who closes the socket's writing side as well is taken for
/// gone, and gets no more output.
pub(crate) struct Stream {
    inner: TlsStream<TcpStream>,
    has_ended: bool,
}

impl Secure {
    /// Connects to the engine.
    pub(crate) async fn connect(&self, address: &str) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        let inner = self.connector.connect(self.name.clone(), stream).await?;
        Ok(Stream { inner, has_ended: false })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.has_ended {
            self.has_ended = true;
            self.inner.get_mut().1.send_close_notify();
        }
        // The socket is closed when it is dropped.
        Pin::new(&mut self.inner).poll_flush(context)
    }
}

/// An engine at `HOST[:PORT]`: with TLS where `--tls`, `--tlsverify` or `DOCKER_TLS_VERIFY` says so. Only
/// `--tlsverify=false` takes back what the environment says, and nothing takes back `--tls`.
pub(crate) fn endpoint(global: &Global, address: &str) -> Result<Endpoint> {
    let has_tls = is_asked_for(global);
    let address = with_port(address, if has_tls { 2376 } else { 2375 });
    if !has_tls {
        return Ok(Endpoint::Tcp(address));
    }
    let wrong = |why: String| Error::Usage(format!("tcp://{address}: {why}"));
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|err| wrong(err.to_string()))?;
    let connector = TlsConnector::from(Arc::new(config(global)?));
    Ok(Endpoint::Tls(address, Box::new(Secure { connector, name })))
}

fn is_asked_for(global: &Global) -> bool {
    let is_set = || std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty());
    global.tls == Some(true) || global.tlsverify.unwrap_or_else(is_set)
}

/// The files of TLS, where that is asked for: by their usual names, whatever they are called.
pub(crate) fn files(global: &Global) -> Vec<(&'static str, PathBuf)> {
    if !is_asked_for(global) {
        return Vec::new();
    }
    let named =
        [("ca.pem", &global.tlscacert), ("cert.pem", &global.tlscert), ("key.pem", &global.tlskey)];
    let path = |(name, given): (&'static str, &Option<PathBuf>)| {
        (name, given.clone().unwrap_or_else(|| usual_certificates().join(name)))
    };
    named.into_iter().map(path).collect()
}

/// An address that says no port has Docker's.
fn with_port(address: &str, usual: u16) -> String {
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
    if has_port { address.to_owned() } else { format!("{address}:{usual}") }
}

fn config(global: &Global) -> Result<ClientConfig> {
    let path = |flag: Option<&PathBuf>, name: &str| {
        flag.cloned().unwrap_or_else(|| usual_certificates().join(name))
    };
    let ca = path(global.tlscacert.as_ref(), "ca.pem");
    let cert = path(global.tlscert.as_ref(), "cert.pem");
    let key = path(global.tlskey.as_ref(), "key.pem");
    let wrong = |what: &Path, why: String| Error::Usage(format!("\"{}\": {why}", what.display()));
    let mut roots = RootCertStore::empty();
    for authority in certs::certificates(&ca).map_err(|err| unusable(&err))? {
        roots.add(authority).map_err(|err| wrong(&ca, err.to_string()))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|err| wrong(&ca, err.to_string()))?
        .with_root_certificates(roots);
    // As in Docker: where nothing is said and nothing is there, we are nobody in particular.
    let is_said = global.tlscert.is_some() || global.tlskey.is_some();
    let is_there = cert.exists() && key.exists();
    if !is_said && !is_there {
        return Ok(builder.with_no_client_auth());
    }
    let secret = certs::key(&key).map_err(|err| unusable(&err))?;
    let chain = certs::certificates(&cert).map_err(|err| unusable(&err))?;
    let config = builder.with_client_auth_cert(chain, secret);
    config.map_err(|err| wrong(&cert, err.to_string()))
}

fn unusable(error: &certs::Error) -> Error {
    Error::Usage(error.to_string())
}

/// Where certificates are of which nothing is said, a client's and a daemon's, as in Docker.
pub fn usual_certificates() -> PathBuf {
    let set = std::env::var_os("DOCKER_CERT_PATH").filter(|value| !value.is_empty());
    set.map_or_else(crate::config::directory, PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_added_where_there_is_none() {
        for (address, want) in [
            ("example.com", "example.com:2376"),
            ("example.com:1", "example.com:1"),
            ("[::1]", "[::1]:2376"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(with_port(address, 2376), want);
        }
    }

    #[test]
    fn an_authority_has_to_be_known() {
        // What is not to be verified is no reason to speak without TLS, where that is asked for.
        for (tls, tlsverify) in [(None, true), (Some(true), false)] {
            let global = Global {
                tls,
                tlsverify: Some(tlsverify),
                tlscacert: Some("/nowhere/ca.pem".into()),
                ..Global::default()
            };
            let said = endpoint(&global, "127.0.0.1").err().unwrap().to_string();
            assert!(said.contains("/nowhere/ca.pem"), "{said}");
        }
    }
}
