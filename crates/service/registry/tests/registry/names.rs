//! Names of hosts, proxies, and registries that are not what they should be.

use std::path::PathBuf;

use registry::{Proxies, Registry, Resolver, Settings};
use tokio::net::UdpSocket;

use crate::server::{Reply, Request, Server};
use crate::shelf::Shelf;
use crate::{quick, resolve, told};

pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("dhow-registry-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A name server that knows `registry.test`, which is the machine itself.
async fn name_server() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
            let query = dnsmsg::parse(&buffer[..n]).unwrap();
            let said = if query.name.is("registry.test") {
                let record = dnsmsg::Record::A([127, 0, 0, 1].into());
                let records = if query.kind == dnsmsg::Kind::A { vec![record] } else { Vec::new() };
                dnsmsg::Reply::Records { ttl: 1, records }
            } else {
                dnsmsg::Reply::Failure(dnsmsg::Code::NoSuchName)
            };
            // First what somebody else might say: another number.
            let answer = dnsmsg::reply(&query, &said, 512);
            let mut forged = answer.clone();
            dnsmsg::set_id(&mut forged, query.id ^ 1);
            socket.send_to(&forged, from).await.unwrap();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    port
}

async fn settings(dir: &Dir) -> Settings {
    let resolver = Resolver {
        hosts: dir.file("hosts", "127.0.0.1 listed.test\n"),
        resolv_conf: dir.file("resolv.conf", "nameserver 127.0.0.1\nsearch test\n"),
        port: name_server().await,
    };
    let insecure = vec!["10.0.0.0/8".into()];
    Settings { resolver, insecure, ..quick() }
}

async fn server() -> Server {
    let shelf = Shelf::default();
    shelf.image("1", "amd64", &[]);
    Server::start(move |request| shelf.answer(request)).await
}

#[tokio::test]
async fn names_are_looked_up_in_files_and_at_servers() {
    let dir = Dir::new("lookup");
    let server = server().await;
    let port = server.address.port();
    for host in ["listed.test", "registry.test", "registry", "localhost"] {
        let host = format!("{host}:{port}");
        let mut settings = settings(&dir).await;
        settings.insecure.push(host.clone());
        let registry = Registry::new(settings, &host, None);
        resolve(&registry, "1").await.unwrap_or_else(|error| panic!("{host}: {error}"));
    }
    let registry = Registry::new(settings(&dir).await, "nowhere.example", None);
    let said = told(resolve(&registry, "1").await);
    let want = r#"Get "https://nowhere.example/v2/a/b/manifests/1": dial tcp: lookup nowhere.example: no such host"#;
    assert_eq!(said, want);
}

#[tokio::test]
async fn f07_without_leave_nothing_goes_in_the_clear() {
    let dir = Dir::new("clear");
    let server = server().await;
    let host = format!("registry.test:{}", server.address.port());
    let registry = Registry::new(settings(&dir).await, &host, Some(crate::user()));
    let said = told(resolve(&registry, "1").await);
    assert!(said.ends_with(": http: server gave HTTP response to HTTPS client"), "{said}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn a_proxy_is_told_where_to_go() {
    let dir = Dir::new("proxy");
    let shelf = Shelf::default();
    shelf.image("1", "amd64", &[]);
    let proxy = Server::start(move |request: &Request| {
        if request.method == "CONNECT" {
            return Reply::new(403, "");
        }
        let mut request = request.clone();
        request.target = request.target.replacen("http://10.0.0.9:5000", "", 1);
        shelf.answer(&request)
    })
    .await;
    let url = format!("http://us:pw@{}", proxy.host());
    let env = move |name: &str| name.ends_with("_PROXY").then(|| url.clone());
    let no_exceptions = |name: &str| if name == "NO_PROXY" { None } else { env(name) };
    let proxies = Proxies::from_env(&no_exceptions).unwrap();
    let settings = Settings { proxies, ..settings(&dir).await };
    // Insecure: TLS is tried through a tunnel, which this proxy does not dig.
    let error = resolve(&Registry::new(settings.clone(), "10.0.0.9:5000", None), "1").await;
    assert!(told(error).contains(": 403 Whatever"));
    let asked = &proxy.requests()[0];
    assert_eq!(asked.line(), "CONNECT 10.0.0.9:5000");
    assert_eq!(asked.header("proxy-authorization"), Some("Basic dXM6cHc="));
}
