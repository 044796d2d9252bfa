//! Ports that are listened on.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::net::sockopt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::ListenError;
use crate::{Api, Bounds, pages::Pages, scope::Scope, serve_within, tls::Tls};

/// No more connections at a time; the next one waits.
const CONNECTIONS: usize = 512;
/// No more clients at a time that have not said who they are.
const STRANGERS: usize = 256;
/// What a client may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What it may take for the head of a request, from the end of the last one on; `dockerd` has the same.
const HEAD: Duration = Duration::from_mins(5);
/// When a connection on which nothing comes is asked whether there is anybody.
const QUIET: Duration = Duration::from_secs(30);
/// How often that is asked before it is given up.
const QUESTIONS: u32 = 3;

/// How ports are protected.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    /// By TLS.
    pub tls: Option<Tls>,
    /// Somebody has said that whoever reaches a port may have it.
    pub is_waived: bool,
}

impl Protection {
    /// Whether clients have to have a certificate.
    fn verifies(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::verifies)
    }
}

/// A port that is listened on.
#[derive(Debug)]
pub(super) struct Port {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Tls>,
    room: Arc<Semaphore>,
    strangers: Arc<Strangers>,
}

impl Port {
    /// Listens on `ADDRESS:PORT`; `whole` is how people gave it.
    pub(super) fn bind(
        whole: &str,
        text: &str,
        protection: &Protection,
    ) -> Result<Self, ListenError> {
        let address = Self::address(whole, text, protection)?;
        let failed = |source| ListenError::Port { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        Self::of(listener, protection).map_err(failed)
    }

    /// What `ADDRESS:PORT` means, where it may be listened on.
    pub(super) fn address(
        whole: &str,
        text: &str,
        protection: &Protection,
    ) -> Result<SocketAddr, ListenError> {
        let address = parse(text, protection.tls.is_some());
        let address = address.ok_or_else(|| ListenError::TcpAddress(whole.to_owned()))?;
        check(address, protection)?;
        Ok(address)
    }

    /// One that listens already.
    pub(super) fn adopt(fd: OwnedFd, protection: &Protection) -> Result<Self, ListenError> {
        let listener = std::net::TcpListener::from(fd);
        let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let failed = |source| ListenError::Port { address: unspecified, source };
        check(listener.local_addr().map_err(failed)?, protection)?;
        Self::of(listener, protection).map_err(failed)
    }

    fn of(listener: std::net::TcpListener, protection: &Protection) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let strangers = Arc::default();
        Ok(Self { listener, address, tls: protection.tls.clone(), room, strangers })
    }

    /// What a person should know, in Docker's words: that not everybody who comes has to have a certificate.
    pub(super) fn warning(&self) -> Option<String> {
        let (scheme, lacking) = match &self.tls {
            Some(tls) if tls.verifies() => return None,
            Some(_) => ("https", "TLS client verification"),
            None => ("http", "encryption"),
        };
        let address = self.address;
        Some(format!(
            "API is accessible on {scheme}://{address} without {lacking}. Access to the remote API is equivalent to \
             root access on the host."
        ))
    }

    /// The next client, when there is room for one.
    pub(super) async fn accept(&self) -> io::Result<Client> {
        let place = place(&self.room).await;
        let (stream, _) = self.listener.accept().await?;
        let entry = match &self.tls {
            None => Entry::Open(place),
            // Whoever says nothing would keep out those who are known.
            Some(tls) => Entry::Tls {
                tls: tls.clone(),
                stranger: self.strangers.enter(),
                room: Arc::clone(&self.room),
            },
        };
        let kept_out = match &self.tls {
            Some(tls) if tls.verifies() => Pages::None,
            None if is_local(self.address.ip()) => Pages::OfOthersOrByName,
            _ => Pages::OfOthers,
        };
        Ok(Client { stream, kept_out, entry })
    }
}

/// A place among the connections of a port. Nobody closes what they come from.
async fn place(room: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(room).acquire_owned().await.ok()
}

/// Clients that have not said yet who they are. There is room for one more at any time: the one that has been
/// at it for longest makes it.
#[derive(Debug, Default)]
struct Strangers {
    /// The number of the next one.
    next: AtomicU64,
    all: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
}

impl Strangers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>) -> Stranger {
        let (keep, sent_away) = oneshot::channel();
        let mut all = self.lock();
        if all.len() >= STRANGERS {
            all.pop_first();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        all.insert(number, keep);
        Stranger { number, among: Arc::clone(self), sent_away }
    }
}

/// One of them.
#[derive(Debug)]
struct Stranger {
    number: u64,
    among: Arc<Strangers>,
    /// Ends when it has to make room.
    sent_away: oneshot::Receiver<()>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.among.lock().remove(&self.number);
    }
}

/// How a client comes in.
#[derive(Debug)]
enum Entry {
    /// It has its place.
    Open(Option<OwnedSemaphorePermit>),
    /// It gets one once it has done its part of the handshake.
    Tls { tls: Tls, stranger: Stranger, room: Arc<Semaphore> },
}

/// A client that has come.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    kept_out: Pages,
    entry: Entry,
}

impl Client {
    /// Serves it until it leaves.
    pub(super) async fn serve(self, api: Api, scope: Option<Arc<Scope>>) {
        let Self { stream, kept_out, entry } = self;
        // Without these it would only be slower, and one that is gone without a word be noticed later.
        _ = stream.set_nodelay(true);
        _ = keep_alive(&stream);
        let bounds = Bounds { scope, kept_out, patience: Some(HEAD) };
        match entry {
            Entry::Open(_place) => serve_within(api, bounds, stream).await,
            Entry::Tls { tls, mut stranger, room } => {
                let handshake = timeout(HANDSHAKE, tls.acceptor().accept(stream));
                // One that does not speak TLS, or has no certificate: there is nobody to tell.
                let known = tokio::select! {
                    done = handshake => done.ok().and_then(Result::ok),
                    _ = &mut stranger.sent_away => None,
                };
                drop(stranger);
                if let Some(stream) = known {
                    let _place = place(&room).await;
                    serve_within(api, bounds, stream).await;
                }
            }
        }
    }
}

fn keep_alive(stream: &TcpStream) -> rustix::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, QUIET)?;
    sockopt::set_tcp_keepintvl(stream, QUIET)?;
    sockopt::set_tcp_keepcnt(stream, QUESTIONS)
}

/// Whoever reaches a port has the machine: it is this machine's alone, or clients have a certificate, or somebody
/// has said that it is meant.
fn check(address: SocketAddr, protection: &Protection) -> Result<(), ListenError> {
    if protection.verifies() || protection.is_waived || is_local(address.ip()) {
        return Ok(());
    }
    Err(ListenError::Open(address))
}

/// Whether only this machine reaches an address.
fn is_local(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// An address as Docker has it: `ADDRESS:PORT`, `localhost:PORT`, `:PORT` for loopback, and without a port Docker's
/// own. Other names are not looked up: what they mean may change.
fn parse(text: &str, has_tls: bool) -> Option<SocketAddr> {
    let usual: u16 = if has_tls { 2376 } else { 2375 };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().ok().filter(|_| !port.starts_with('+'))?)
        }
        _ => (text, usual),
    };
    let host: IpAddr = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inner) => IpAddr::V6(inner.parse().ok()?),
        None if host.is_empty() || host == "localhost" => Ipv4Addr::LOCALHOST.into(),
        None => IpAddr::V4(host.parse().ok()?),
    };
    Some((host, port).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_one_more_stranger() {
        let strangers = Arc::<Strangers>::default();
        let mut first = strangers.enter();
        let mut all: Vec<Stranger> = (1..STRANGERS).map(|_| strangers.enter()).collect();
        let is_sent_away = |one: &mut Stranger| {
            one.sent_away.try_recv() == Err(oneshot::error::TryRecvError::Closed)
        };
        assert!(!is_sent_away(&mut first));
        // Who is known, or gone, makes room as well.
        drop(all.pop());
        all.push(strangers.enter());
        assert!(!is_sent_away(&mut first));
        all.push(strangers.enter());
        assert!(is_sent_away(&mut first));
        drop(first);
        assert!(!all.iter_mut().any(is_sent_away));
        assert_eq!(strangers.lock().len(), STRANGERS);
    }

    #[test]
    fn addresses() {
        for (text, want) in [
            ("127.0.0.1:5000", Some("127.0.0.1:5000")),
            ("localhost:0", Some("127.0.0.1:0")),
            ("localhost", Some("127.0.0.1:2375")),
            (":5000", Some("127.0.0.1:5000")),
            ("", Some("127.0.0.1:2375")),
            ("0.0.0.0:5000", Some("0.0.0.0:5000")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("[::]", Some("[::]:2375")),
            ("example.com:5000", None),
            ("127.0.0.1:70000", None),
            ("127.0.0.1:+5", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:5000/path", None),
            ("::1:5000", None),
        ] {
            let found = parse(text, false).map(|address| address.to_string());
            assert_eq!(found.as_deref(), want, "{text}");
        }
        assert_eq!(parse("0.0.0.0", true), Some((Ipv4Addr::UNSPECIFIED, 2376).into()));
    }

    #[test]
    fn what_others_reach_is_protected_or_meant() {
        let waived = Protection { tls: None, is_waived: true };
        for (address, is_open) in [
            ("127.0.0.1:1", false),
            ("127.3.2.1:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("192.0.2.1:1", true),
        ] {
            let at: SocketAddr = address.parse().unwrap();
            assert_eq!(check(at, &Protection::default()).is_err(), is_open, "{address}");
            assert!(check(at, &waived).is_ok());
        }
    }
}
