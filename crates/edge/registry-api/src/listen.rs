//! The registry's socket, and its connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::error::chain;
use crate::patience::Patient;
use crate::server::Server;

/// No more connections at a time; the next one waits.
const CONNECTIONS: usize = 256;
/// For the handshake of TLS, and for the head of a request from the end of the last one on.
const HEAD: Duration = Duration::from_secs(30);
/// The head of a request, in bytes.
const HEAD_BYTES: usize = 64 << 10;
/// How long what is under way may take when the registry ends.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often uploads are looked at that nothing comes for.
const TIDY: Duration = Duration::from_mins(5);

/// An address as people give it: `ADDRESS:PORT`, `localhost:PORT`, or `:PORT` for all of them.
pub(crate) fn parse(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|_| !port.starts_with('+'))?;
    match host {
        "" => Some((IpAddr::from(Ipv4Addr::UNSPECIFIED), port).into()),
        "localhost" => Some((IpAddr::from(Ipv4Addr::LOCALHOST), port).into()),
        _ => text.parse().ok(),
    }
}

/// Serves every connection until `shutdown` turns true.
pub(crate) async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut tidy = interval(TIDY);
    loop {
        // The other side may be gone without a word: that, too, is the end.
        let stop = async { _ = shutdown.wait_for(|stop| *stop).await.is_ok() };
        let accept = async {
            // Nobody closes it.
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = stop => break,
            _ = tidy.tick() => tidy_up(&server),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (place, accepted) = accept => match accepted {
                Ok((stream, _)) => {
                    let (server, tls) = (Arc::clone(&server), tls.clone());
                    let shutdown = shutdown.clone();
                    connections.spawn(async move {
                        let _place = place;
                        connection(server, stream, tls, shutdown).await;
                    });
                }
                Err(error) if passes(&error) => sleep(Duration::from_millis(50)).await,
                Err(error) => return Err(error),
            },
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    // Whoever is not done by then is cut.
    _ = timeout(LAST_WORDS, ended).await;
    Ok(())
}

/// Gives up uploads that nothing comes for, and deletes blobs whose manifest did not come.
fn tidy_up(server: &Server) {
    // Whether there is room for another one is of no interest here.
    drop(server.uploads.make_room());
    let images = Arc::clone(&server.images);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = images.sweep() {
            eprintln!("dhow: registry: sweep: {}", chain(&error));
        }
    });
}

/// Whether accepting may succeed again later: the client left, or descriptors ran out.
fn passes(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::CONNABORTED | Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
    )
}

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    shutdown: watch::Receiver<bool>,
) {
    // It would only be slower.
    _ = stream.set_nodelay(true);
    let stream = Patient::new(stream);
    match tls {
        None => speak(server, stream, shutdown).await,
        Some(tls) => {
            // A client that does not speak TLS: there is nobody to tell.
            if let Ok(Ok(stream)) = timeout(HEAD, tls.accept(stream)).await {
                speak(server, stream, shutdown).await;
            }
        }
    }
}

async fn speak<S>(server: Arc<Server>, stream: S, mut shutdown: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let on_request = service_fn(move |request: hyper::Request<Incoming>| {
        let server = Arc::clone(&server);
        async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), on_request);
    tokio::pin!(connection);
    let stop = async { _ = shutdown.wait_for(|stop| *stop).await.is_ok() };
    // A client that breaks off or does not speak HTTP: there is nobody to tell.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop => {
            connection.as_mut().graceful_shutdown();
            _ = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("127.0.0.1:5000", Some("127.0.0.1:5000")),
            ("localhost:0", Some("127.0.0.1:0")),
            (":5000", Some("0.0.0.0:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("5000", None),
            ("example.com:5000", None),
            ("127.0.0.1:70000", None),
            ("127.0.0.1:+5", None),
            ("::1:5000", None),
            ("unix:///x", None),
        ] {
            let found = parse(text).map(|address| address.to_string());
            assert_eq!(found.as_deref(), want, "{text}");
        }
    }
}
