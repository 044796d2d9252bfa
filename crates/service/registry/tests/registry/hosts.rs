//! Mirrors and what `hosts.toml` says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use oci::image::{Descriptor, media_type};
use reference::Reference;
use registry::{Class, Error, Found, Hosts, Registry, Resolver, Settings};

use crate::names::Dir;
use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;
use crate::{Memory, amd64, noise, quick, told, user};

/// An image of one layer.
fn shelf(layer: &[u8]) -> (Arc<Shelf>, Descriptor) {
    let shelf = Arc::new(Shelf::default());
    let image = shelf.image("1", "amd64", &[layer]);
    (shelf, image)
}

/// A registry, what is said of it, and who was passed by.
struct World {
    dir: Dir,
    domain: String,
    passed: Mutex<Vec<String>>,
}

impl World {
    fn new(name: &str, upstream: &Server) -> Self {
        Self { dir: Dir::new(name), domain: upstream.host(), passed: Mutex::default() }
    }

    fn write(&self, folder: &str, text: &str) {
        self.dir.file(&format!("{folder}/hosts.toml"), text);
    }

    fn hosts(&self) -> Hosts {
        let settings = Settings { certs: vec![self.dir.0.clone()], ..quick() };
        Hosts::of(&settings, &self.domain, Some(&user())).unwrap()
    }

    /// By what a `hosts.toml` of this text says.
    fn say(&self, text: &str) -> Hosts {
        self.write(&self.domain, text);
        self.hosts()
    }

    fn reference(&self, name: &str) -> Reference {
        format!("{}/a/b{name}", self.domain).parse().unwrap()
    }

    async fn resolve(&self, hosts: &Hosts, name: &str) -> Result<Found, Error> {
        let passed =
            |host: &Registry, _: &Error| self.passed.lock().unwrap().push(host.to_string());
        hosts.resolve(&self.reference(name), &amd64(), 0, &passed).await
    }

    async fn download(&self, hosts: &Hosts, found: &Found) -> Result<Vec<u8>, Error> {
        let passed =
            |host: &Registry, _: &Error| self.passed.lock().unwrap().push(host.to_string());
        let blob = &found.resolved.manifest.layers[0];
        let sink = Memory::default();
        let sink = hosts.download("a/b", blob, found.host, sink, &|_| (), &passed).await;
        sink.map(|sink| sink.0)
    }

    fn passed(&self) -> Vec<String> {
        std::mem::take(&mut self.passed.lock().unwrap())
    }
}

#[tokio::test]
async fn a_mirror_comes_first_and_is_told_whose_image_it_is() {
    let (shelf, image) = shelf(b"layer");
    let (mirror, upstream) = (shelf.serve().await, shelf.serve().await);
    let world = World::new("mirror", &upstream);
    let hosts = world.say(&format!(
        "[host.\"http://{0}\"]\ncapabilities = [\"pull\", \"resolve\"]\n\
         [host.\"http://{0}\".header]\nx-one = [\"a\", \"b\"]\nauthorization = \"Basic eDp5\"\n",
        mirror.host()
    ));
    let found = world.resolve(&hosts, ":1").await.unwrap();
    assert_eq!((found.host, &found.resolved.digest), (0, &image.digest));
    assert_eq!(world.download(&hosts, &found).await.unwrap(), b"layer");
    assert!(upstream.requests().is_empty() && world.passed().is_empty());
    let ns = world.domain.replace(':', "%3A");
    assert_eq!(mirror.lines()[0], format!("GET /v2/a/b/manifests/1?ns={ns}"));
    for request in mirror.requests() {
        assert!(request.target.ends_with(&format!("?ns={ns}")), "{}", request.line());
        // The last of a header's values; and what was given for it, nothing of the registry's own.
        assert_eq!(request.header("x-one"), Some("b"));
        assert_eq!(request.header("authorization"), Some("Basic eDp5"));
    }
    assert_eq!(hosts.host(0).to_string(), format!("http://{}", mirror.host()));
    assert!(!hosts.host(0).is_itself() && hosts.last().is_itself());
}

#[tokio::test]
async fn documents_and_what_is_about_them_go_the_same_way() {
    let (shelf, image) = shelf(b"layer");
    let (mirror, upstream) = (shelf.serve().await, shelf.serve().await);
    let broken = Server::start(|_| Reply::new(500, "")).await;
    let world = World::new("documents", &upstream);
    let hosts = world.say(&format!(
        "[host.\"http://{}\"]\n[host.\"http://{}\"]\n",
        broken.host(),
        mirror.host()
    ));
    let passed = |host: &Registry, _: &Error| world.passed.lock().unwrap().push(host.to_string());
    let name = world.reference(":1");
    let document = hosts.manifest(&name, &passed).await.unwrap();
    assert_eq!(document.digest, image.digest);
    let by_digest = name.with_digest(image.digest.clone());
    assert_eq!(hosts.manifest(&by_digest, &passed).await.unwrap().bytes, document.bytes);
    assert_eq!(hosts.referrers("a/b", &image.digest, None, &passed).await.unwrap(), []);
    assert_eq!(world.passed(), vec![format!("http://{}", broken.host()); 3]);
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_search_goes_to_those_who_may_say_what_there_is() {
    let hits = r#"{"results":[{"name":"me/app","description":null,"star_count":3}]}"#;
    let registry = |answer: &'static str| {
        Server::start(move |request| match request.path() {
            "/v1/search" if !answer.is_empty() => Reply::new(200, answer),
            _ => error(404, "", ""),
        })
    };
    let (deaf, content, mirror, upstream) = (
        registry("").await,
        registry(hits).await,
        registry(hits).await,
        registry(r#"{"results":[]}"#).await,
    );
    let world = World::new("search", &upstream);
    let text = format!(
        "[host.\"http://{}\"]\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n\
         [host.\"http://{}\"]\ncapabilities = [\"resolve\"]\n\
         [host.\"http://{2}\".header]\nx-one = \"a\"\n",
        deaf.host(),
        content.host(),
        mirror.host()
    );
    world.write(&world.domain, &text);
    let settings = Settings { certs: vec![world.dir.0.clone()], ..quick() };
    let passed = |host: &Registry, _: &Error| world.passed.lock().unwrap().push(host.to_string());
    let hosts = Hosts::for_search(&settings, &world.domain, Some(&user())).unwrap();
    let found = hosts.search("app", 5, &passed).await.unwrap();
    assert_eq!(found.iter().map(|hit| hit.name.as_str()).collect::<Vec<_>>(), ["me/app"]);
    assert_eq!(world.passed(), [format!("http://{}", deaf.host())]);
    assert_eq!(mirror.lines(), ["GET /v1/search?q=app&n=5"]);
    assert_eq!(mirror.requests()[0].header("x-one"), Some("a"));
    assert_eq!(mirror.requests()[0].header("authorization"), None);
    assert!(content.requests().is_empty() && upstream.requests().is_empty());

    // Docker's own is searched elsewhere than it is pulled from, by what is said of `docker.io`.
    world.write("docker.io", &text);
    let hosts = Hosts::for_search(&settings, registry::SEARCH_DOMAIN, None).unwrap();
    assert_eq!(hosts.search("app", 5, &passed).await.unwrap().len(), 1);
    assert_eq!(hosts.last().to_string(), registry::SEARCH_DOMAIN);
}

#[tokio::test]
async fn a_mirror_that_fails_is_passed_by() {
    let (shelf, image) = shelf(b"layer");
    let upstream = shelf.serve().await;
    // Bound, so that it is nobody else's, and not listened on.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = closed.local_addr().unwrap();
    let empty = Arc::<Shelf>::default().serve().await;
    let broken = Server::start(|_| Reply::new(500, "")).await;
    let limited = Server::start(|_| error(429, "TOOMANYREQUESTS", "no more")).await;
    let liar = Server::start(|_| Reply::new(200, "<html>").with("Content-Type", "text/html")).await;
    let world = World::new("passed", &upstream);
    let servers = [empty.host(), broken.host(), limited.host(), liar.host(), nobody.to_string()];
    let text = servers.iter().map(|host| format!("[host.\"http://{host}\"]\n")).collect::<String>();
    let hosts = world.say(&text);
    let found = world.resolve(&hosts, ":1").await.unwrap();
    assert_eq!((found.host, &found.resolved.digest), (5, &image.digest));
    assert_eq!(world.passed(), servers.map(|host| format!("http://{host}")));
    assert_eq!(world.download(&hosts, &found).await.unwrap(), b"layer");
    // Those who have failed are not asked again, and one that is down is not asked often.
    assert_eq!(empty.requests().len(), 1);
    assert_eq!(broken.requests().len(), 2);
    let missing = world.resolve(&hosts, ":2").await.unwrap_err();
    assert_eq!(missing.class(), Class::NotFound);
    assert!(missing.to_string().starts_with("manifest for "), "{missing}");
}

#[tokio::test]
async fn where_a_mirror_breaks_off_the_next_goes_on() {
    let layer = noise(100_000);
    let (shelf, _) = shelf(&layer);
    let upstream = shelf.serve().await;
    let mirror = Server::start({
        let shelf = Arc::clone(&shelf);
        move |request| match request.header("range") {
            None => {
                let reply = shelf.answer(request);
                if request.path().contains("/blobs/") { reply.cut_after(30_000) } else { reply }
            }
            Some(_) => error(404, "BLOB_UNKNOWN", "gone"),
        }
    })
    .await;
    let world = World::new("goes-on", &upstream);
    let hosts = world.say(&format!("[host.\"http://{}\"]\n", mirror.host()));
    let found = world.resolve(&hosts, ":1").await.unwrap();
    assert_eq!(world.download(&hosts, &found).await.unwrap(), layer);
    assert_eq!(world.passed(), [format!("http://{}", mirror.host())]);
    let asked = upstream.requests();
    assert_eq!((asked.len(), asked[0].header("range")), (1, Some("bytes=30000-")));
}

#[tokio::test]
async fn a_mirror_that_may_not_resolve_is_not_asked_what_a_tag_means() {
    let (shelf, image) = shelf(b"layer");
    let (mirror, upstream) = (shelf.serve().await, shelf.serve().await);
    let world = World::new("pull-only", &upstream);
    let text = format!("[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n", mirror.host());
    let hosts = world.say(&text);
    let found = world.resolve(&hosts, ":1").await.unwrap();
    assert_eq!((found.host, &found.resolved.digest), (0, &image.digest));
    world.download(&hosts, &found).await.unwrap();
    assert_eq!(upstream.lines(), ["HEAD /v2/a/b/manifests/1"]);
    assert!(mirror.lines().iter().all(|line| line.contains("sha256:")), "{:?}", mirror.lines());

    // What it gives is what was asked for, or it is passed by.
    let other = Arc::new(Shelf::default());
    other.image("1", "amd64", &[b"other"]);
    let bytes = other.has_manifest("1").unwrap().1;
    let liar = Server::start(move |_| {
        Reply::new(200, bytes.clone()).with("Content-Type", media_type::MANIFEST)
    })
    .await;
    let text = format!("[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n", liar.host());
    let found = world.resolve(&world.say(&text), ":1").await.unwrap();
    assert_eq!((found.host, &found.resolved.digest), (1, &image.digest));
    assert_eq!(world.passed(), [format!("http://{}", liar.host())]);
    // By digest nobody has to be asked what it means.
    let n_before = upstream.requests().len();
    let hosts =
        world.say(&format!("[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n", mirror.host()));
    world.resolve(&hosts, &format!("@{}", image.digest)).await.unwrap();
    assert_eq!(upstream.requests().len(), n_before);
    // A file by which nobody may is no file that can be used.
    let hosts = world.say("server = \"http://x.test\"\ncapabilities = [\"push\"]\n");
    let said = told(world.resolve(&hosts, ":1").await);
    assert_eq!(said, format!("hosts.toml: no host may give content of {}", world.domain));
}

#[tokio::test]
async fn only_one_that_may_takes_images() {
    let (shelf, _) = shelf(b"layer");
    let (mirror, upstream) = (shelf.serve().await, shelf.serve().await);
    let world = World::new("push", &upstream);
    let pull = format!("[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n", mirror.host());
    assert_eq!(world.say(&pull).for_push().unwrap().to_string(), world.domain);
    let push = pull.replace("pull", "push");
    let hosts = world.say(&push);
    let taker = hosts.for_push().unwrap();
    let manifest = bytes::Bytes::from_static(b"{}");
    taker.repository("a/b").put_manifest("9", media_type::MANIFEST, manifest).await.unwrap();
    assert!(mirror.lines()[0].starts_with("PUT /v2/a/b/manifests/9?ns="));
    let none = world.say("server = \"http://x.test\"\ncapabilities = [\"pull\"]\n");
    let said = none.for_push().unwrap_err().to_string();
    assert_eq!(said, format!("hosts.toml: no host may take images of {}", world.domain));
}

#[tokio::test]
async fn folders_are_looked_for_in_containerds_order() {
    let (shelf, _) = shelf(b"layer");
    let upstream = shelf.serve().await;
    let world = World::new("folders", &upstream);
    let first = || world.hosts().host(0).to_string();
    assert_eq!(first(), world.domain);
    world.write("_default", "[host.\"http://default.test\"]\n");
    assert_eq!(first(), "http://default.test");
    world.write(&world.domain, "[host.\"http://named.test\"]\n");
    assert_eq!(first(), "http://named.test");
    let (host, port) = world.domain.split_once(':').unwrap();
    world.write(&format!("{host}_{port}_"), "[host.\"http://first.test/x\"]\n");
    assert_eq!(first(), "http://first.test/x");
    // With certificates alone a folder counts as well.
    let folder = world.dir.0.join(format!("{host}_{port}_"));
    std::fs::remove_file(folder.join("hosts.toml")).unwrap();
    assert_eq!(first(), world.domain);

    world.write(&format!("{host}_{port}_"), "server = 1\n");
    let settings = Settings { certs: vec![world.dir.0.clone()], ..quick() };
    let said = told(Hosts::of(&settings, &world.domain, None));
    let path = folder.join("hosts.toml");
    assert_eq!(said, format!("\"{}\", line 1: `server` is no text", path.display()));
}

/// As a cache has it that keeps several registries apart by paths.
#[tokio::test]
async fn an_api_may_be_below_a_path() {
    let (shelf, _) = shelf(b"layer");
    let upstream = Arc::<Shelf>::default().serve().await;
    let tokens = Server::start(|_| Reply::new(200, r#"{"token":"T"}"#)).await;
    let realm = format!("http://{}/token", tokens.host());
    let cache = Server::start({
        let shelf = Arc::clone(&shelf);
        move |request: &Request| {
            let Some(rest) = request.target.strip_prefix("/v2/proxy/x/") else {
                return Reply::new(400, "");
            };
            if request.header("authorization") != Some("Bearer T") {
                let value = format!(r#"Bearer realm="{realm}""#);
                return Reply::new(401, "").with("WWW-Authenticate", value);
            }
            let target = format!("/v2/{rest}");
            shelf.answer(&Request { target, ..request.clone() })
        }
    })
    .await;
    let world = World::new("path", &upstream);
    let address = format!("http://{}/v2/proxy/x", cache.host());
    let hosts = world.say(&format!("[host.\"{address}\"]\noverride_path = true\n"));
    let found = world.resolve(&hosts, ":1").await.unwrap();
    assert_eq!(world.download(&hosts, &found).await.unwrap(), b"layer");
    assert_eq!(tokens.lines(), ["GET /token?scope=repository%3Aproxy%2Fx%2Fa%2Fb%3Apull"]);
    assert_eq!(hosts.host(0).to_string(), address);
    let hosts = world.say(&format!("[host.\"http://{}/us\"]\n", cache.host()));
    world.resolve(&hosts, ":1").await.unwrap_err();
    assert!(cache.lines().last().unwrap().starts_with("GET /us/v2/a/b/manifests/1?ns="));
}

#[tokio::test]
async fn a_host_may_have_a_proxy_and_a_time_of_its_own() {
    let (shelf, _) = shelf(b"layer");
    let upstream = shelf.serve().await;
    let proxy = Server::start({
        let shelf = Arc::clone(&shelf);
        move |request: &Request| {
            let target = request.target.replacen("http://mirror.test", "", 1);
            shelf.answer(&Request { target, ..request.clone() })
        }
    })
    .await;
    let world = World::new("own", &upstream);
    let mirror = "[host.\"http://mirror.test\"]\n";
    let hosts = world.say(&format!("{mirror}proxy = \"http://u:p@{}\"\n", proxy.host()));
    assert_eq!(world.resolve(&hosts, ":1").await.unwrap().host, 0);
    assert!(proxy.lines()[0].starts_with("GET http://mirror.test/v2/a/b/manifests/1?ns="));
    assert_eq!(proxy.requests()[0].header("proxy-authorization"), Some("Basic dTpw"));

    // Nobody answers for the name: without the time it would take ten seconds.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = Resolver {
        hosts: world.dir.file("hosts", ""),
        resolv_conf: world.dir.file("resolv.conf", "nameserver 127.0.0.1\n"),
        port: silent.local_addr().unwrap().port(),
    };
    world.write(&world.domain, &format!("{mirror}dial_timeout = \"50ms\"\n"));
    let settings = Settings { certs: vec![world.dir.0.clone()], resolver, ..quick() };
    let hosts = Hosts::of(&settings, &world.domain, None).unwrap();
    let whys = Mutex::new(Vec::new());
    let passed = |_: &Registry, error: &Error| {
        whys.lock().unwrap().push(std::error::Error::source(error).unwrap().to_string());
    };
    let (reference, platform) = (world.reference(":1"), amd64());
    let resolved = hosts.resolve(&reference, &platform, 0, &passed);
    let found = tokio::time::timeout(Duration::from_secs(4), resolved).await.unwrap().unwrap();
    assert_eq!(found.host, 1);
    assert_eq!(*whys.lock().unwrap(), ["dial tcp mirror.test:80: no connection within 50 ms"]);
}

#[tokio::test]
async fn a_mirror_of_daemon_json_is_for_dockers_registry_alone() {
    let (shelf, _) = shelf(b"layer");
    let mirror = shelf.serve().await;
    let settings = Settings { mirrors: vec![format!("http://{}", mirror.host())], ..quick() };
    let hosts = Hosts::of(&settings, "docker.io", Some(&user())).unwrap();
    let reference: Reference = "debian:1".parse().unwrap();
    hosts.resolve(&reference, &amd64(), 0, &|_, _| ()).await.unwrap();
    assert_eq!(mirror.lines(), ["GET /v2/library/debian/manifests/1"]);
    assert_eq!(mirror.requests()[0].header("authorization"), None);
    assert_eq!(hosts.last().to_string(), "registry-1.docker.io");
    assert_eq!(hosts.for_push().unwrap().to_string(), "registry-1.docker.io");
    let hosts = Hosts::of(&settings, "r.test", None).unwrap();
    assert_eq!(hosts.host(0).to_string(), "r.test");
}
