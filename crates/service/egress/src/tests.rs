//! Programs, and servers that they ask, around a proxy.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use oci::Digest;
use rustls::RootCertStore;
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Asked, Authority, Capture, Captured, Outside, Proxy, Trust, serve};

/// What servers were asked.
type Heads = Arc<Mutex<Vec<String>>>;

/// Every name is one of these servers; what begins with a key of `instead` is something else.
#[derive(Default)]
struct World {
    servers: HashMap<(String, u16), SocketAddr>,
    instead: HashMap<String, Result<String, String>>,
    judged: Mutex<Vec<String>>,
}

impl Outside for World {
    fn judge<'a>(&'a self, url: &'a str) -> Asked<'a, Option<String>, String> {
        self.judged.lock().unwrap().push(url.to_owned());
        let said = self.instead.get(url).cloned();
        Box::pin(async move { said.transpose() })
    }

    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Asked<'a, TcpStream, io::Error> {
        let server = self.servers.get(&(host.to_owned(), port)).copied();
        Box::pin(async move {
            let server = server.ok_or_else(|| io::Error::other("no such host"))?;
            TcpStream::connect(server).await
        })
    }
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Answers one request, by its path.
async fn reply(mut stream: impl AsyncRead + AsyncWrite + Unpin, heads: &Heads) {
    let asked = head(&mut stream).await;
    let path = asked.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().unwrap().push(asked);
    let answer = match path.as_str() {
        "/whole" => "200 OK\r\nContent-Length: 5\r\nKeep-Alive: x\r\n\r\nwhole",
        "/moved" => "302 Found\r\nLocation: /whole\r\nContent-Length: 0\r\n\r\n",
        "/cut" => "200 OK\r\nContent-Length: 50\r\n\r\nwhole",
        "/until-end" => "200 OK\r\n\r\nall of it",
        _ => "404 Not Found\r\nContent-Length: 0\r\n\r\n",
    };
    let answer = format!("HTTP/1.1 {}", answer.replacen("\r\n", "\r\nConnection: close\r\n", 1));
    // Who asks may be gone.
    _ = stream.write_all(answer.as_bytes()).await;
    _ = stream.shutdown().await;
}

/// A server, private as `tls` says.
async fn server(tls: Option<TlsAcceptor>) -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Heads::default());
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            match &tls {
                None => reply(stream, &seen).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        reply(stream, &seen).await;
                    }
                }
            }
        }
    });
    (address, heads)
}

fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    roots
}

/// A proxy, and all around it.
struct Home {
    world: Arc<World>,
    authority: Arc<Authority>,
    capture: Arc<Capture>,
    address: SocketAddr,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Home {
    async fn new(world: World, trust: RootCertStore) -> Self {
        let (world, capture) = (Arc::new(world), Arc::new(Capture::default()));
        let authority = Arc::new(Authority::new().unwrap());
        let outside = Arc::clone(&world) as Arc<dyn Outside>;
        let trust = Arc::new(Trust::only(trust));
        let proxy = Proxy::new(outside, Arc::clone(&authority), trust, Arc::clone(&capture));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel();
        let serving = tokio::spawn(serve(Arc::new(proxy), listener, ended));
        Self { world, authority, capture, address, end, serving }
    }

    /// What is answered to a request, to its end.
    async fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // One that does not come whole may end in any way.
        _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    /// The same through a tunnel to `to`, as whom `name` has to answer.
    async fn ask_within(&self, to: &str, name: &str, head_of: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await?;
        let opened = head(&mut stream).await;
        assert!(opened.starts_with("HTTP/1.1 200"), "{opened}");
        let provider = Arc::new(provider::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots(&self.authority))
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut stream = connector.connect(name, stream).await?;
        stream.write_all(format!("{head_of}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        // A stream may end without a word.
        _ = stream.read_to_end(&mut answer).await;
        Ok(String::from_utf8(answer).unwrap())
    }

    async fn end(self) -> Captured {
        self.end.send(()).unwrap();
        self.serving.await.unwrap();
        self.capture.captured()
    }
}

fn world(servers: &[(&str, u16, SocketAddr)]) -> World {
    let servers = servers.iter();
    let servers = servers.map(|(host, port, at)| (((*host).to_owned(), *port), *at)).collect();
    World { servers, ..World::default() }
}

#[tokio::test]
async fn what_comes_is_noted() {
    let (address, heads) = server(None).await;
    let home = Home::new(world(&[("a.test", 80, address)]), RootCertStore::empty()).await;
    let get = |path: &str| format!("GET http://A.test:80{path} HTTP/1.1\r\nHost: b.test");
    let whole =
        home.ask(&format!("{}\r\nAccept-Encoding: gzip\r\nProxy-X: 1", get("/whole"))).await;
    assert!(whole.starts_with("HTTP/1.1 200 OK") && whole.ends_with("\r\n\r\nwhole"), "{whole}");
    assert!(!whole.contains("eep-"), "{whole}");
    let asked = heads.lock().unwrap()[0].to_ascii_lowercase();
    // It goes to whom it was judged by, and asks for the thing itself.
    assert!(
        asked.starts_with("get /whole http/1.1\r\n") && asked.contains("host: a.test\r\n"),
        "{asked}"
    );
    assert!(!asked.contains("gzip") && asked.contains("proxy-x"), "{asked}");
    home.ask(&get("/moved")).await;
    assert!(home.ask(&get("/until-end")).await.contains("all of it"));
    assert!(home.ask(&get("/missing")).await.starts_with("HTTP/1.1 404"));
    assert!(home.ask(&get("/cut")).await.starts_with("HTTP/1.1 200"));
    home.ask(&format!("{}\r\nRange: bytes=1-", get("/whole"))).await;
    home.ask(&get("/whole").replacen("GET", "HEAD", 1)).await;
    let gone = home.ask("GET http://gone.test/ HTTP/1.1\r\nHost: gone.test").await;
    assert!(gone.starts_with("HTTP/1.1 502") && gone.contains("no such host"), "{gone}");

    let found = home.end().await;
    let told = found.told();
    assert!(told.contains("- GET http://a.test/moved -> 302\n"), "{told}");
    assert!(told.contains("- GET http://gone.test/ -> 502\n"), "{told}");
    let mut materials: Vec<_> =
        found.materials.iter().map(|one| (one.url.as_str(), one.digest.clone())).collect();
    materials.sort();
    let [whole, all] = [&b"whole"[..], b"all of it"].map(Digest::sha256);
    assert_eq!(
        materials,
        [
            ("http://a.test/moved", whole.clone()),
            ("http://a.test/until-end", all),
            ("http://a.test/whole", whole)
        ]
    );
    let mut reasons: Vec<_> = found.incomplete.iter().map(|one| one.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(
        reasons,
        [
            "body_read_failed",
            "method_not_materializable",
            "partial_response",
            "unsuccessful_response",
            "upstream_error"
        ]
    );
}

/// Who sends no more still waits for what it has asked for, as `wget` of busybox does.
#[tokio::test]
async fn who_has_said_all_is_answered() {
    let (address, _heads) = server(None).await;
    let home = Home::new(world(&[("a.test", 80, address)]), RootCertStore::empty()).await;
    let mut stream = TcpStream::connect(home.address).await.unwrap();
    let request = b"GET http://a.test/whole HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("whole"), "{answer}");
    let found = home.end().await;
    assert_eq!(found.materials[0].digest, Digest::sha256(b"whole"));
}

#[tokio::test]
async fn what_may_not_be_asked_for_is_not() {
    let (address, heads) = server(None).await;
    let mut world = world(&[("a.test", 80, address), ("b.test", 80, address)]);
    let said = [
        ("http://a.test/no", Err("not from there".to_owned())),
        ("http://a.test/other", Ok("http://b.test/whole".to_owned())),
        ("http://a.test/wrong", Ok("docker-image://x".to_owned())),
    ];
    world.instead = said.map(|(url, said)| (url.to_owned(), said)).into();
    let home = Home::new(world, RootCertStore::empty()).await;
    let ask =
        |method: &str, path: &str| format!("{method} http://a.test{path} HTTP/1.1\r\nHost: a.test");
    let denied = home.ask(&ask("GET", "/no")).await;
    assert!(
        denied.starts_with("HTTP/1.1 403 Forbidden") && denied.contains("not from there"),
        "{denied}"
    );
    assert!(home.ask(&ask("GET", "/wrong")).await.starts_with("HTTP/1.1 403"));
    // Only what is read can be read elsewhere.
    assert!(home.ask(&ask("POST", "/other")).await.starts_with("HTTP/1.1 403"));
    assert!(heads.lock().unwrap().is_empty());
    assert!(home.ask(&ask("GET", "/other")).await.ends_with("whole"));
    assert!(heads.lock().unwrap()[0].to_ascii_lowercase().contains("host: b.test\r\n"));
    // A request without a place goes nowhere.
    assert!(home.ask("GET / HTTP/1.0").await.starts_with("HTTP/1.0 400"));
    assert!(home.ask("CONNECT / HTTP/1.1\r\nHost: x").await.contains(" 400 "));
    let found = home.end().await;
    let urls: Vec<_> = found.materials.iter().map(|one| one.url.as_str()).collect();
    assert_eq!(urls, ["http://b.test/whole"], "what was asked in the place of the other");
    let ruled: Vec<_> =
        found.ruled.iter().map(|one| (one.url.as_str(), one.instead.as_deref())).collect();
    let other = ("http://a.test/other", Some("http://b.test/whole"));
    let wrong = ("http://a.test/wrong", Some("docker-image://x"));
    assert_eq!(ruled, [("http://a.test/no", None), wrong, other, other]);
}

#[tokio::test]
async fn what_is_private_is_seen() {
    let far = Authority::new().unwrap();
    let (address, heads) = server(Some(TlsAcceptor::from(far.server("a.test").unwrap()))).await;
    let (v6, _) = server(Some(TlsAcceptor::from(far.server("::1").unwrap()))).await;
    let servers = [("a.test", 443, address), ("c.test", 443, address), ("::1", 8443, v6)];
    let home = Home::new(world(&servers), roots(&far)).await;
    let get = "GET /whole HTTP/1.1\r\nHost: other.test";
    let whole = home.ask_within("A.test:443", "a.test", get).await.unwrap();
    assert!(whole.ends_with("whole"), "{whole}");
    // Whoever is named inside: the tunnel's end was judged, and is asked.
    assert!(heads.lock().unwrap()[0].to_ascii_lowercase().contains("host: a.test\r\n"));
    let whole = home.ask_within("[::1]:8443", "::1", get).await.unwrap();
    assert!(whole.ends_with("whole"), "{whole}");
    // By its whole URL, too, as some programs ask a proxy.
    let whole = home.ask("GET https://a.test/whole HTTP/1.1\r\nHost: a.test").await;
    assert!(whole.ends_with("whole"), "{whole}");
    // Who is not whom the URL says is not believed.
    let wrong = home.ask_within("c.test:443", "c.test", get).await.unwrap();
    assert!(wrong.starts_with("HTTP/1.1 502") && wrong.contains("c.test"), "{wrong}");
    // Nor is a certificate good for anybody else.
    assert!(home.ask_within("a.test:443", "b.test", get).await.is_err());
    let judged = home.world.judged.lock().unwrap().clone();
    assert_eq!(
        judged,
        [
            "https://a.test/whole",
            "https://[::1]:8443/whole",
            "https://a.test/whole",
            "https://c.test/whole"
        ]
    );
    let found = home.end().await;
    assert_eq!(found.materials[0].url, "https://a.test/whole");
    assert!(found.told().contains("- CONNECT https://a.test/\n"), "{}", found.told());
}

/// Of what a server may have done it is not asked again, over a new connection.
#[tokio::test]
async fn what_may_be_done_once_is_asked_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Heads::default());
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let first = head(&mut stream).await;
                seen.lock().unwrap().push(first);
                let done = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(done).await.unwrap();
                // Another one it takes, and says nothing of it.
                let second = head(&mut stream).await;
                if !second.is_empty() {
                    seen.lock().unwrap().push(second);
                }
            });
        }
    });
    let home = Home::new(world(&[("a.test", 80, address)]), RootCertStore::empty()).await;
    let post = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0";
    // Until one went over a connection that had waited.
    let mut n_asked = 0;
    while n_asked < 50 {
        n_asked += 1;
        if !home.ask(post).await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
    assert_eq!(heads.lock().unwrap().len(), n_asked);
}
