use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oci::Digest;
use oci::image::{Descriptor, media_type};
use registry::{Class, Registry, Retry, Settings};

use crate::server::{Reply, Server, error};
use crate::shelf::Shelf;
use crate::{Memory, download, noise, quick, registry, resolve, told};

#[tokio::test]
async fn an_image_comes_whole() {
    let shelf = Arc::new(Shelf::default());
    let layer = noise(300_000);
    let image = shelf.image("1", "amd64", &[&layer, b"second"]);
    let server = Server::start(move |request| shelf.answer(request)).await;
    let registry = registry(&server);

    let resolved = resolve(&registry, "1").await.unwrap();
    assert_eq!((&resolved.digest, &resolved.document.digest), (&image.digest, &image.digest));
    assert_eq!(resolved.document.media_type, media_type::MANIFEST);
    let repository = registry.repository("a/b");
    let config = repository.small_blob(&resolved.manifest.config).await.unwrap();
    assert!(config.starts_with(b"{\"architecture\":\"amd64\""));
    assert_eq!(download(&registry, &resolved.manifest.layers[0]).await.unwrap(), layer);
    assert_eq!(download(&registry, &resolved.manifest.layers[1]).await.unwrap(), b"second");
    let by_digest = resolve(&registry, &format!("@{}", image.digest)).await.unwrap();
    assert_eq!(by_digest.digest, image.digest);
    let reference = format!("{}/a/b:1", server.host()).parse().unwrap();
    assert_eq!(repository.digest_of(&reference).await.unwrap(), Some(image.digest));

    let first = &server.requests()[0];
    assert_eq!(first.line(), "GET /v2/a/b/manifests/1");
    assert!(first.header("accept").is_some() && first.header("authorization").is_none());
}

#[tokio::test]
async fn an_index_leads_to_the_image_for_this_machine() {
    let shelf = Arc::new(Shelf::default());
    let arm = shelf.image("arm", "arm64", &[b"arm"]);
    let amd = shelf.image("amd", "amd64", &[b"amd"]);
    let inner = shelf.index("inner", &[("linux/amd64", &amd)]);
    let index = shelf.index("all", &[("linux/arm64/v8", &arm), ("linux/amd64", &inner)]);
    shelf.index("arm-only", &[("linux/arm64/v8", &arm)]);
    let server = Server::start(move |request| shelf.answer(request)).await;
    let registry = registry(&server);

    let resolved = resolve(&registry, "all").await.unwrap();
    assert_eq!((&resolved.digest, resolved.document.digest), (&index.digest, amd.digest));
    let repository = registry.repository("a/b");
    for (tag, digest, want) in
        [("all", &index.digest, vec!["arm64", "amd64"]), ("arm", &arm.digest, vec!["arm64"])]
    {
        let reference = format!("{}/a/b:{tag}", server.host()).parse().unwrap();
        let (described, platforms) = repository.describe(&reference).await.unwrap();
        let found: Vec<_> = platforms.iter().map(|one| one.architecture.as_str()).collect();
        assert_eq!((&described.digest, found), (digest, want));
    }
    let error = resolve(&registry, "arm-only").await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    let want = "no matching manifest for linux/amd64 in the manifest list entries of ";
    assert!(error.to_string().starts_with(want), "{error}");
}

#[tokio::test]
async fn a_cut_download_goes_on_from_where_it_was() {
    let shelf = Arc::new(Shelf::default());
    let bytes = noise(200_000);
    let blob = shelf.blob(media_type::LAYER_GZIP, &bytes);
    let server = Server::start(move |request| {
        let reply = shelf.answer(request);
        let n = reply.body.len();
        if n > 60_000 { reply.cut_after(60_000) } else { reply }
    })
    .await;
    assert_eq!(download(&registry(&server), &blob).await.unwrap(), bytes);
    let ranges: Vec<_> =
        server.requests().iter().map(|one| one.header("range").map(str::to_owned)).collect();
    let range = |n: usize| Some(format!("bytes={n}-"));
    assert_eq!(ranges, [None, range(60_000), range(120_000), range(180_000)]);
}

#[tokio::test]
async fn a_registry_without_ranges_sends_again_what_is_there() {
    let shelf = Arc::new(Shelf::default());
    let bytes = noise(100_000);
    let blob = shelf.blob(media_type::LAYER_GZIP, &bytes);
    let n_asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let mut request = request.clone();
        request.headers.remove("range");
        let reply = shelf.answer(&request);
        match n_asked.fetch_add(1, Ordering::Relaxed) {
            0 => reply.cut_after(70_000),
            _ => reply,
        }
    })
    .await;
    assert_eq!(download(&registry(&server), &blob).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_download_goes_on_from_what_an_earlier_one_left() {
    let shelf = Arc::new(Shelf::default());
    let bytes = noise(50_000);
    let blob = shelf.blob(media_type::LAYER_GZIP, &bytes);
    let server = Server::start(move |request| shelf.answer(request)).await;
    let registry = registry(&server);
    let repository = registry.repository("a/b");
    let sink = Memory(bytes[..40_000].to_vec());
    let sink = repository.download(&blob, sink, &|_| ()).await.unwrap();
    assert_eq!(sink.0, bytes);
    assert_eq!(server.requests()[0].header("range"), Some("bytes=40000-"));
    // One that is whole asks for nothing.
    repository.download(&blob, sink, &|_| ()).await.unwrap();
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_connection_that_stalls_is_given_up() {
    let shelf = Arc::new(Shelf::default());
    let bytes = noise(1000);
    let blob = shelf.blob(media_type::LAYER_GZIP, &bytes);
    let n_asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let reply = shelf.answer(request);
        match n_asked.fetch_add(1, Ordering::Relaxed) {
            0 => Reply { stall: true, ..reply.cut_after(400) },
            _ => reply,
        }
    })
    .await;
    assert_eq!(download(&registry(&server), &blob).await.unwrap(), bytes);
    assert_eq!(server.requests()[1].header("range"), Some("bytes=400-"));
}

/// Settings by which whoever sends no more than a byte each millisecond trickles.
fn impatient() -> Settings {
    let mut settings = quick();
    (settings.retry.silence, settings.retry.slowest) = (Duration::from_millis(500), 20_000);
    settings
}

#[tokio::test]
async fn a_connection_that_trickles_is_given_up() {
    let shelf = Arc::new(Shelf::default());
    let bytes = noise(100_000);
    let blob = shelf.blob(media_type::LAYER_GZIP, &bytes);
    let n_asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let trickles = n_asked.fetch_add(1, Ordering::Relaxed) == 0;
        Reply { trickles, ..shelf.answer(request) }
    })
    .await;
    let registry = Registry::new(impatient(), &server.host(), None);
    assert_eq!(download(&registry, &blob).await.unwrap(), bytes);
    // What came is not asked for again.
    let range = server.requests()[1].header("range").map(str::to_owned).unwrap();
    let from = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    assert!((1..2000).contains(&from.unwrap().parse::<u32>().unwrap()), "{range}");
}

#[tokio::test]
async fn a_registry_that_only_trickles_holds_nobody() {
    let shelf = Arc::new(Shelf::default());
    let bytes = noise(100_000);
    let blob = shelf.blob(media_type::LAYER_GZIP, &bytes);
    shelf.image("1", "amd64", &[&bytes]);
    let server =
        Server::start(move |request| Reply { trickles: true, ..shelf.answer(request) }).await;
    let registry = Registry::new(impatient(), &server.host(), None);
    let error = download(&registry, &blob).await.unwrap_err();
    assert_eq!(error.class(), Class::Unavailable);
    let said = told(Err::<(), _>(error));
    assert!(said.contains(": no more than ") && said.contains(" bytes within "), "{said}");
    assert_eq!(server.requests().len(), 3, "as often as one request is tried");
    // A document that trickles is none either.
    let slow = Settings {
        retry: Retry { silence: Duration::from_millis(150), ..impatient().retry },
        ..Settings::default()
    };
    let said = told(resolve(&Registry::new(slow, &server.host(), None), "1").await);
    assert!(said.contains(": no more than "), "{said}");
}

#[tokio::test]
async fn a_registry_may_ask_for_patience() {
    let shelf = Arc::new(Shelf::default());
    shelf.image("1", "amd64", &[]);
    let n_asked = AtomicUsize::new(0);
    let server = Server::start(move |request| match n_asked.fetch_add(1, Ordering::Relaxed) {
        0 => error(429, "TOOMANYREQUESTS", "slow down").with("Retry-After", "1"),
        1 => Reply::new(503, "busy"),
        _ => shelf.answer(request),
    })
    .await;
    let before = std::time::Instant::now();
    resolve(&registry(&server), "1").await.unwrap();
    assert!(before.elapsed().as_millis() >= 1000);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_limit_is_told_and_not_waited_for() {
    let limited = || error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.");
    let hub = limited()
        .with("RateLimit-Limit", "100;w=21600")
        .with("RateLimit-Remaining", "0;w=21600")
        .with("Docker-RateLimit-Source", "192.0.2.1");
    for (reply, more) in [
        (limited(), ""),
        (limited().with("Retry-After", "21600"), " (try again in 6 h)"),
        (hub.clone(), " (limit: 100 in 6 h, left: 0, for 192.0.2.1)"),
        (
            hub.with("Retry-After", "200"),
            " (limit: 100 in 6 h, left: 0, for 192.0.2.1; try again in 4 min)",
        ),
        (limited().with("RateLimit-Limit", "many"), ""),
    ] {
        let server = Server::start(move |_| reply.clone()).await;
        let said = told(resolve(&registry(&server), "1").await);
        assert_eq!(said, format!("toomanyrequests: You have reached your pull rate limit.{more}"));
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_dockers_words() {
    let shelf = Arc::new(Shelf::default());
    let server = Server::start(move |request| shelf.answer(request)).await;
    let registry = registry(&server);
    let host = server.host();
    let error = resolve(&registry, "nope").await.unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    assert_eq!(
        told(Err::<(), _>(error)),
        format!("manifest for {host}/a/b:nope not found: manifest unknown: manifest unknown")
    );
    let blob = Descriptor::of(media_type::LAYER, b"missing");
    let said = told(download(&registry, &blob).await);
    assert_eq!(said, "blob unknown: blob unknown to registry");
}

#[tokio::test]
async fn foreign_layers_come_from_where_the_manifest_says() {
    let bytes = noise(1000);
    let other = Server::start({
        let bytes = bytes.clone();
        move |_| Reply::new(200, bytes.clone())
    })
    .await;
    let shelf = Arc::new(Shelf::default());
    let server = Server::start(move |request| shelf.answer(request)).await;
    let mut blob = Descriptor::of(media_type::LAYER_GZIP, &bytes);
    blob.urls = vec!["ftp://nowhere".into(), format!("http://{}/layer", other.host())];
    assert_eq!(blob.digest, Digest::sha256(&bytes));
    assert_eq!(download(&registry(&server), &blob).await.unwrap(), bytes);
}

/// One that lies about what it sends of a blob is asked for all of it.
#[tokio::test]
async fn a_registry_that_lies_about_ranges_is_asked_for_all() {
    let bytes = noise(50_000);
    let part = |range: &str| {
        let body = bytes[20_000..].to_vec();
        Reply::new(206, body).with("Content-Range", range)
    };
    let lies = [
        part("bytes 0-29999/50000"),
        part("bytes */50000"),
        part("lines 1-2"),
        Reply::new(206, &b"x"[..]),
        Reply::new(416, ""),
    ];
    for lie in lies {
        let shelf = Arc::new(Shelf::default());
        let blob = shelf.blob(media_type::LAYER_GZIP, &bytes);
        let server = Server::start(move |request| match request.header("range") {
            Some(_) => lie.clone(),
            None => shelf.answer(request),
        })
        .await;
        let registry = registry(&server);
        let sink = Memory(bytes[..40_000].to_vec());
        let repository = registry.repository("a/b");
        let sink = repository.download(&blob, sink, &|_| ()).await.unwrap();
        assert_eq!(sink.0, bytes);
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn a_registry_may_have_an_address_of_ipv6() {
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        println!("skipped: Ipv6: no address ::1");
        return;
    };
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let shelf = Arc::new(Shelf::default());
    let image = shelf.image("1", "amd64", &[b"x"]);
    let server = Server::start_at(&address, move |request| shelf.answer(request)).await;
    let reference: reference::Reference = format!("{address}/a/b:1").parse().unwrap();
    let registry = registry::Registry::new(crate::quick(), reference.domain(), None);
    let resolved = registry.repository("a/b").resolve(&reference, &crate::amd64()).await.unwrap();
    assert_eq!(resolved.digest, image.digest);
    assert_eq!(server.requests()[0].header("host"), Some(address.as_str()));
}
