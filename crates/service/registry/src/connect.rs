//! A connection to whoever is to be spoken to: addresses, proxy, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::Transport;
use crate::http::Http;
use crate::proxy::Proxy;
use crate::settings::Settings;
use crate::url::{Origin, Scheme};

/// A connection may take this long, its handshakes included.
const CONNECT: Duration = Duration::from_secs(30);
/// An address gets this long before the next one is tried beside it (RFC 8305, 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// A proxy's answer is not longer.
const MAX_ANSWER: usize = 16 << 10;

/// A stream of bytes, both ways.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Connects to `origin`, directly or through a proxy.
pub(crate) async fn connect(http: &Http, origin: &Origin) -> Result<Box<dyn Io>, Transport> {
    let connected = timeout(CONNECT, connect_patiently(http, origin));
    connected.await.unwrap_or(Err(Transport::TimedOut(CONNECT)))
}

async fn connect_patiently(http: &Http, origin: &Origin) -> Result<Box<dyn Io>, Transport> {
    let stream: Box<dyn Io> = match http.proxy_of(origin) {
        None => Box::new(dial_for(http, origin, origin).await?),
        Some(proxy) => {
            let stream = dial_for(http, origin, &proxy.origin).await?;
            let mut stream: Box<dyn Io> = match proxy.origin.scheme {
                Scheme::Http => Box::new(stream),
                Scheme::Https => Box::new(http.tls.connect(http, &proxy.origin, stream).await?),
            };
            if origin.scheme == Scheme::Https {
                tunnel(&mut stream, proxy, origin).await?;
            }
            stream
        }
    };
    match origin.scheme {
        Scheme::Http => Ok(stream),
        Scheme::Https => Ok(Box::new(http.tls.connect(http, origin, stream).await?)),
    }
}

/// Dials `whom` on the way to `origin`, for which a time may be set.
async fn dial_for(http: &Http, origin: &Origin, whom: &Origin) -> Result<TcpStream, Transport> {
    let dialled = dial(&http.settings, whom);
    let Some(patience) = http.own_of(origin).and_then(|own| own.dial_timeout) else {
        return dialled.await;
    };
    let late = || Transport::DialTimeout { host: whom.with_port(), patience };
    timeout(patience, dialled).await.unwrap_or_else(|_| Err(late()))
}

/// The first address that answers; each gets a head start over the next.
async fn dial(settings: &Settings, origin: &Origin) -> Result<TcpStream, Transport> {
    let lookup = |source| Transport::Lookup { host: origin.host.clone(), source };
    let addresses = settings.resolver.lookup(&origin.host).await.map_err(lookup)?;
    let mut attempts = JoinSet::new();
    for (turn, address) in alternate(&addresses).into_iter().enumerate() {
        let address = SocketAddr::new(address, origin.port);
        attempts.spawn(async move {
            sleep(HEAD_START * turn as u32).await;
            (address, TcpStream::connect(address).await)
        });
    }
    let mut failure = lookup(io::Error::new(io::ErrorKind::NotFound, "no such host"));
    let mut is_first = true;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok((_, Ok(stream))) => {
                // What is sent is sent whole; a delay would only delay.
                stream.set_nodelay(true).ok();
                return Ok(stream);
            }
            // The first address says the most: others may be of a family that has no route.
            Ok((address, Err(source))) if is_first => {
                failure = Transport::Dial { address, source };
                is_first = false;
            }
            Ok(_) | Err(_) => {}
        }
    }
    Err(failure)
}

/// One of each family in turn, IPv4 first: where both work it hardly matters, where only one does
/// it is mostly that.
fn alternate(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|ip| ip.is_ipv4());
    let n_pairs = v4.len().max(v6.len());
    let turns = (0..n_pairs).flat_map(|turn| [v4.get(turn), v6.get(turn)]);
    turns.flatten().copied().collect()
}

/// Has a proxy open a way through to `origin`.
async fn tunnel(stream: &mut dyn Io, proxy: &Proxy, origin: &Origin) -> Result<(), Transport> {
    let failed = |why: String| Transport::Proxy { proxy: proxy.origin.to_string(), why };
    let target = origin.with_port();
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(|error| failed(error.to_string()))?;
    let mut answer = Vec::new();
    // Byte by byte, since what follows the head is the tunnel's.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == MAX_ANSWER {
            return Err(failed("its answer has no end".into()));
        }
        answer.push(stream.read_u8().await.map_err(|error| failed(error.to_string()))?);
    }
    let head = String::from_utf8_lossy(&answer);
    let line = head.lines().next().unwrap_or_default();
    let status = line.split(' ').nth(1).unwrap_or_default();
    if line.starts_with("HTTP/1.") && status.len() == 3 && status.starts_with('2') {
        return Ok(());
    }
    Err(failed(line.split_once(' ').map_or(line, |(_, rest)| rest).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ips: Vec<IpAddr> =
            ["::1", "::2", "::3", "10.0.0.1"].map(|ip| ip.parse().unwrap()).to_vec();
        let turns: Vec<_> = alternate(&ips).iter().map(ToString::to_string).collect();
        assert_eq!(turns, ["10.0.0.1", "::1", "::2", "::3"]);
    }
}
