//! Servers that lie, cut, and fish for credentials. The letters are the rows of published defects
//! that a test holds the line for.

use std::sync::Arc;

use oci::Digest;
use oci::image::{Descriptor, Index, media_type};
use registry::{Credentials, Error, Registry};

use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;
use crate::{download, noise, quick, registry, resolve, told, user};

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

/// A server of another host that wants to be told secrets, and tells what it got.
async fn fisher(then: Reply) -> Server {
    Server::start_at("127.0.0.2:0", move |request: &Request| {
        match request.header("authorization") {
            None if request.target.starts_with("/ask") => {
                Reply::new(401, "").with("WWW-Authenticate", r#"Basic realm="x""#)
            }
            _ => then.clone(),
        }
    })
    .await
}

fn nothing_secret(server: &Server) {
    for request in server.requests() {
        assert_eq!(request.header("authorization"), None, "{}", request.line());
        assert_eq!(request.header("cookie"), None);
    }
}

/// A registry with a password whose blobs and manifests are elsewhere.
async fn redirecting(shelf: Arc<Shelf>, to: String) -> Server {
    Server::start(move |request: &Request| match request.header("authorization") {
        Some(BASIC) if request.path().contains("/blobs/") => {
            Reply::new(307, "").with("Location", &to)
        }
        Some(BASIC) => shelf.answer(request),
        _ => Reply::new(401, "").with("WWW-Authenticate", r#"Basic realm="r""#),
    })
    .await
}

#[tokio::test]
async fn f05_a_redirection_takes_no_credentials_along() {
    let bytes = noise(5000);
    let other = fisher(Reply::new(200, bytes.clone())).await;
    let server = redirecting(Arc::default(), format!("http://{}/x?sig=1", other.host())).await;
    let blob = Descriptor::of(media_type::LAYER_GZIP, &bytes);
    let registry = Registry::new(quick(), &server.host(), Some(user()));
    assert_eq!(download(&registry, &blob).await.unwrap(), bytes);
    assert_eq!(other.lines(), ["GET /x?sig=1"]);
    nothing_secret(&other);
}

#[tokio::test]
async fn f02_a_foreign_host_that_asks_is_told_nothing() {
    let bytes = noise(100);
    let other = fisher(Reply::new(200, bytes.clone())).await;
    let mut blob = Descriptor::of(media_type::LAYER_GZIP, &bytes);
    let server = redirecting(Arc::default(), format!("http://{}/ask", other.host())).await;
    let registry = Registry::new(quick(), &server.host(), Some(user()));
    assert!(download(&registry, &blob).await.is_err());
    blob.urls = vec![format!("http://{}/ask/2", other.host())];
    let plain = Server::start(|_| error(404, "BLOB_UNKNOWN", "")).await;
    let registry = Registry::new(quick(), &plain.host(), Some(user()));
    assert!(download(&registry, &blob).await.is_err());
    assert_eq!(other.lines(), ["GET /ask", "GET /ask/2"]);
    nothing_secret(&other);
}

#[tokio::test]
async fn f04_a_strange_token_server_is_told_nothing() {
    let other = fisher(Reply::new(200, r#"{"token":"T"}"#)).await;
    let realms = [
        format!("http://{}/token", other.host()),
        format!("http://user@{}/token", other.host()),
        "http://169.254.169.254/latest".into(),
        "ftp://x".into(),
        "http://tokens.evil.test/".into(),
    ];
    for realm in realms {
        let server = Server::start({
            let realm = realm.clone();
            move |_| {
                let value = format!(r#"Bearer realm="{realm}",service="s""#);
                Reply::new(401, "").with("WWW-Authenticate", value)
            }
        })
        .await;
        let registry = Registry::new(quick(), &server.host(), Some(user()));
        let error = resolve(&registry, "1").await.unwrap_err();
        let is_refused = matches!(
            error,
            Error::ForeignTokenServer { .. }
                | Error::UnsafeTokenServer { .. }
                | Error::Location { .. }
        );
        assert!(is_refused, "{realm}: {error}");
        assert!(server.requests().iter().all(|one| one.header("authorization").is_none()));
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn f04_a_token_is_not_given_to_another_host() {
    let other = fisher(Reply::new(200, "x")).await;
    let to = format!("http://{}/x", other.host());
    let server = Server::start(move |_| Reply::new(302, "").with("Location", &to)).await;
    let token = Credentials { registry_token: Some("T".into()), ..Credentials::default() };
    let registry = Registry::new(quick(), &server.host(), Some(token));
    let blob = Descriptor::of(media_type::LAYER, b"x");
    assert_eq!(download(&registry, &blob).await.unwrap(), b"x");
    assert!(resolve(&registry, "1").await.is_err());
    nothing_secret(&other);
}

#[tokio::test]
async fn redirections_end() {
    let server = Server::start(|request: &Request| {
        Reply::new(302, "").with("Location", format!("{}x", request.target))
    })
    .await;
    let blob = Descriptor::of(media_type::LAYER, b"x");
    let said = told(download(&registry(&server), &blob).await);
    assert!(said.ends_with(": stopped after 10 redirects"), "{said}");
    assert_eq!(server.requests().len(), 11);
}

#[tokio::test]
async fn f09_bytes_are_what_the_digest_says() {
    let bytes = noise(1000);
    let blob = Descriptor::of(media_type::LAYER_GZIP, &bytes);
    let mut others = bytes.clone();
    others[999] ^= 1;
    for (body, what) in [
        (others, "filesystem layer verification failed for digest "),
        (noise(1001), "has 1001 bytes, expected 1000"),
        (noise(999), "has 999 bytes, expected 1000"),
        (Vec::new(), "has 0 bytes, expected 1000"),
    ] {
        let server = Server::start(move |_| Reply::new(200, body.clone())).await;
        let said = told(download(&registry(&server), &blob).await);
        assert!(said.contains(what), "{said}");
    }
}

#[tokio::test]
async fn a_range_that_is_not_the_one_asked_for_is_refused() {
    let bytes = noise(1000);
    let blob = Descriptor::of(media_type::LAYER_GZIP, &bytes);
    for range in ["bytes 0-999/1000", "bytes 500-999/2000", "bytes x-y/z", ""] {
        let bytes = bytes.clone();
        let server = Server::start(move |request: &Request| match request.header("range") {
            None => Reply::new(200, bytes.clone()).cut_after(500),
            Some(_) => Reply::new(206, &bytes[500..]).with("Content-Range", range),
        })
        .await;
        assert!(download(&registry(&server), &blob).await.is_err(), "{range}");
    }
}

#[tokio::test]
async fn a_download_that_never_moves_ends() {
    let blob = Descriptor::of(media_type::LAYER_GZIP, &noise(1000));
    let server = Server::start(|_| Reply::new(200, noise(1000)).cut_after(0)).await;
    assert!(told(download(&registry(&server), &blob).await).contains("the connection broke"));
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn f01_one_document_is_one_thing() {
    let both = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[],"manifests":[]}"#;
    let plain = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}"#;
    for (bytes, kind, is_taken) in [
        (&both[..], media_type::MANIFEST, false),
        (both, media_type::INDEX, false),
        (both, "application/json", false),
        (plain, media_type::MANIFEST, true),
        (plain, "text/plain", true),
        (plain, media_type::INDEX, false),
        (plain, media_type::DOCKER_MANIFEST, false),
        (plain, "application/vnd.docker.distribution.manifest.v1+prettyjws", false),
        (b"[]", media_type::MANIFEST, false),
        (b"\xef\xbb\xbf{}", media_type::MANIFEST, false),
        (br#"{"schemaVersion":2,"schemaVersion":2,"manifests":[]}"#, media_type::INDEX, false),
    ] {
        let server =
            Server::start(move |_| Reply::new(200, bytes).with("Content-Type", kind)).await;
        let resolved = resolve(&registry(&server), "1").await;
        assert_eq!(resolved.is_ok(), is_taken, "{kind} {}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test]
async fn a_pinned_digest_is_held() {
    let shelf = Shelf::default();
    let image = shelf.image("1", "amd64", &[b"x"]);
    let other = shelf.image("2", "amd64", &[b"y"]);
    let other = shelf.has_manifest(&other.digest.to_string()).unwrap().1;
    let wanted = image.digest.to_string();
    let server = Server::start(move |_| {
        Reply::new(200, other.clone())
            .with("Content-Type", media_type::MANIFEST)
            .with("Docker-Content-Digest", &wanted)
    })
    .await;
    let registry = registry(&server);
    for name in [format!("@{}", image.digest), "1".into()] {
        let error = resolve(&registry, &name).await.unwrap_err();
        assert!(matches!(error, Error::WrongManifest { .. }), "{error}");
    }
}

#[tokio::test]
async fn schema_1_is_called_by_its_name() {
    let bytes = br#"{"schemaVersion":1,"name":"a/b","tag":"1","fsLayers":[]}"#;
    for kind in ["application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json"] {
        let server =
            Server::start(move |_| Reply::new(200, &bytes[..]).with("Content-Type", kind)).await;
        let said = told(resolve(&registry(&server), "1").await);
        assert!(said.contains("version 2, schema 1, which is no longer supported"), "{said}");
    }
}

#[tokio::test]
async fn e21_indexes_end() {
    // A tree of depth 6, and a wide one: each level names the one below many times.
    let shelf = Arc::new(Shelf::default());
    let arm = shelf.image("arm", "arm64", &[]);
    let mut level = shelf.index("0", &[("linux/arm64", &arm)]);
    for depth in 1..7 {
        let entries = vec![("linux/amd64", &level); 20];
        level = shelf.index(&depth.to_string(), &entries);
    }
    let many: Vec<Descriptor> = (0..200)
        .map(|n| {
            let entries = vec![("linux/arm64", &arm); n + 1];
            shelf.index(&format!("wide-{n}"), &entries)
        })
        .collect();
    let entries: Vec<_> = many.iter().map(|one| ("linux/amd64", one)).collect();
    shelf.index("wide", &entries);
    let server = Server::start(move |request| shelf.answer(request)).await;
    let registry = registry(&server);
    for name in ["6", "wide"] {
        let said = told(resolve(&registry, name).await);
        assert!(said.ends_with("indexes are nested too deeply"), "{said}");
    }
    assert!(server.requests().len() < 50);
    let said = told(resolve(&registry, "3").await);
    assert!(said.starts_with("no matching manifest"), "{said}");
}

#[tokio::test]
async fn documents_are_bounded() {
    let server = Server::start(|request: &Request| {
        let n = if request.path().contains("/manifests/") { (4 << 20) + 1 } else { 11 };
        Reply::new(200, vec![b' '; n]).with("Content-Type", media_type::MANIFEST)
    })
    .await;
    let registry = registry(&server);
    assert!(told(resolve(&registry, "1").await).contains("more than the 4194304 bytes"));
    let repository = registry.repository("a/b");
    let config = Descriptor::of(media_type::CONFIG, &[b' '; 10]);
    assert!(repository.small_blob(&config).await.is_err());
    let large = Descriptor::new(media_type::CONFIG, Digest::sha256(b""), 1 << 40);
    assert!(repository.small_blob(&large).await.is_err());
}

#[tokio::test]
async fn f08_no_digest_is_a_path() {
    let server = Server::start(|_| {
        let digest = "sha256:a/../../../v2/private/manifests/x";
        let entry = format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":1,"platform":{{"os":"linux","architecture":"amd64"}}}}"#,
            media_type::MANIFEST
        );
        Reply::new(200, format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#))
            .with("Docker-Content-Digest", digest)
    })
    .await;
    assert!(resolve(&registry(&server), "1").await.is_err());
    assert_eq!(server.lines(), ["GET /v2/a/b/manifests/1"]);
    assert!(Index::parse(b"{}").is_err());
}

#[tokio::test]
async fn what_is_no_http_is_an_error() {
    for body in ["", "{}", "[[[[", r#"{"errors":[]}"#, r#"{"errors":[{"code":1}]}"#] {
        let server = Server::start(move |_| Reply::new(404, body)).await;
        let said = told(resolve(&registry(&server), "1").await);
        assert!(said.contains("not found"), "{said}");
    }
    let server = Server::start(|_| Reply::new(500, "<html>").with("Connection", "close")).await;
    let said = told(resolve(&registry(&server), "1").await);
    assert_eq!(said, "received unexpected HTTP status: 500 Internal Server Error");
    assert_eq!(server.requests().len(), 3);
}
