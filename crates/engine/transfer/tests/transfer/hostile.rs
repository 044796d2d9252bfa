//! Pulls from a registry that lies, cuts and stalls. Each time: the message, the class (which the API
//! makes a status of), nothing wrong in the store, and afterwards the same pull succeeds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oci::Digest;
use oci::image::media_type;
use transfer::Class::{self, Denied, Invalid, NotFound, Unavailable};

use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;
use crate::{Home, image, noise, tar, told};

/// What a registry answers to a request, given what it should answer.
type Lie = fn(&Request, Reply) -> Reply;

fn is_manifest(request: &Request) -> bool {
    request.path().contains("/manifests/")
}

/// A layer's blob is large, a configuration is not.
fn is_layer(reply: &Reply) -> bool {
    reply.body.len() > 10_000
}

fn is_config(request: &Request, reply: &Reply) -> bool {
    request.path().contains("/blobs/") && !is_layer(reply)
}

fn manifest_as(kind: &'static str, body: &[u8]) -> Reply {
    Reply::new(200, body).with("Content-Type", kind)
}

/// A name, the lie, the class, and what the message is; `HOST` in it is the registry.
const LIES: &[(&str, Lie, Class, &str)] = &[
    // Silence, and connections that break.
    (
        "a manifest that does not come",
        |request, reply| {
            if is_manifest(request) { Reply { stall: true, ..reply.cut_after(0) } } else { reply }
        },
        Unavailable,
        "Get \"http://HOST/v2/a/b/manifests/1\": no answer within 2 s",
    ),
    (
        "a layer that stalls",
        |_, reply| {
            if is_layer(&reply) { Reply { stall: true, ..reply.cut_after(0) } } else { reply }
        },
        Unavailable,
        ": no answer within 2 s",
    ),
    (
        "a layer that is always cut at the same place",
        |_, reply| if is_layer(&reply) { reply.cut_after(0) } else { reply },
        Unavailable,
        ": the connection broke: ",
    ),
    ("no answer", |_, _| Reply::raw(b""), Unavailable, ": the connection broke: "),
    ("no HTTP", |_, _| Reply::raw(b"SSH-2.0-x\r\n\r\n"), Unavailable, ": the connection broke: "),
    (
        "a head without an end",
        |_, reply| reply.with("X", "x".repeat(1 << 20)),
        Unavailable,
        ": the connection broke: ",
    ),
    // Lies about lengths and digests.
    (
        "a layer that is said to be longer",
        |_, reply| {
            let length = Some(reply.body.len() + 1);
            if is_layer(&reply) { Reply { length, cut: true, ..reply } } else { reply }
        },
        Invalid,
        " bytes, expected ",
    ),
    (
        "a layer that is said to be shorter",
        |_, reply| {
            let length = Some(reply.body.len() - 1);
            if is_layer(&reply) { Reply { length, cut: true, ..reply } } else { reply }
        },
        Invalid,
        " bytes, expected ",
    ),
    (
        "a layer without an end",
        |_, reply| if is_layer(&reply) { reply.endless() } else { reply },
        Invalid,
        " bytes, expected ",
    ),
    (
        "a layer of other bytes",
        |_, mut reply| {
            if is_layer(&reply) {
                reply.body[600] ^= 1;
            }
            reply
        },
        Invalid,
        "filesystem layer verification failed for digest sha256:",
    ),
    (
        "a configuration of other bytes",
        |request, mut reply| {
            if is_config(request, &reply) {
                reply.body[3] ^= 1;
            }
            reply
        },
        Invalid,
        "filesystem layer verification failed for digest sha256:",
    ),
    (
        "a configuration without an end",
        |request, reply| if is_config(request, &reply) { reply.endless() } else { reply },
        Invalid,
        "bytes that are taken",
    ),
    (
        "a manifest that is not what its header says",
        |request, mut reply| {
            if is_manifest(request) {
                reply.headers.retain(|(name, _)| name != "Docker-Content-Digest");
                let other = Digest::sha256(b"other").to_string();
                return reply.with("Docker-Content-Digest", other);
            }
            reply
        },
        Invalid,
        "manifest verification failed for digest sha256:",
    ),
    (
        "a manifest without an end",
        |_, reply| reply.endless(),
        Invalid,
        "\"http://HOST/v2/a/b/manifests/1\": more than the 4194304 bytes that are taken",
    ),
    // What is not what it is said to be.
    (
        "an index that is none",
        |_, reply| manifest_as(media_type::INDEX, &reply.body),
        Invalid,
        "the document is `application/vnd.oci.image.manifest.v1+json`, the registry says \
         `application/vnd.oci.image.index.v1+json`",
    ),
    (
        "a page of HTML",
        |_, _| manifest_as("text/html", b"<html><body>Log in!</body></html>"),
        Invalid,
        "\"http://HOST/v2/a/b/manifests/1\": the registry sent no manifest: expected value at line 1",
    ),
    (
        "no JSON",
        |_, _| manifest_as(media_type::MANIFEST, b"{\"schemaVersion\":2,"),
        Invalid,
        "the registry sent no manifest: EOF while parsing",
    ),
    (
        "JSON of another shape",
        |_, _| manifest_as(media_type::MANIFEST, b"[1]"),
        Invalid,
        "the registry sent no manifest: ",
    ),
    (
        "a manifest of nothing",
        |_, _| manifest_as(media_type::MANIFEST, b"{\"schemaVersion\":2}"),
        Invalid,
        "missing field",
    ),
    (
        "a manifest of before 2016",
        |_, _| manifest_as("application/json", b"{\"schemaVersion\":1,\"name\":\"a/b\"}"),
        Invalid,
        "schema 1, which is no longer supported",
    ),
    (
        "an index without an image for us",
        |_, _| manifest_as(media_type::INDEX, b"{\"schemaVersion\":2,\"manifests\":[]}"),
        NotFound,
        "no matching manifest for linux/",
    ),
    // Places that lead nowhere.
    (
        "a circle",
        |request, _| Reply::new(307, "").with("Location", &request.target),
        Invalid,
        "Get \"http://HOST/v2/a/b/manifests/1\": stopped after 10 redirects",
    ),
    (
        "a file of this machine",
        |_, _| Reply::new(302, "").with("Location", "file:///etc/passwd"),
        Invalid,
        "`file:///etc/passwd` is not a valid address",
    ),
    (
        "a layer at a file of this machine",
        |_, reply| {
            if is_layer(&reply) {
                return Reply::new(307, "").with("Location", "file:///etc/passwd");
            }
            reply
        },
        Invalid,
        "`file:///etc/passwd` is not a valid address",
    ),
    (
        "another protocol",
        |_, _| Reply::new(302, "").with("Location", "gopher://x/"),
        Invalid,
        "`gopher://x/` is not a valid address",
    ),
    (
        "nowhere",
        |_, _| Reply::new(302, "").with("Location", "http://127.0.0.1:1/x"),
        Unavailable,
        "Get \"http://127.0.0.1:1/x\": dial tcp 127.0.0.1:1: Connection refused",
    ),
    // Refusals.
    (
        "a password",
        |_, _| Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
        Denied,
        "no basic auth credentials: HOST asks for a name and a password: use 'docker login HOST'",
    ),
    (
        "a refusal of those who are not known",
        |_, _| Reply::new(401, "<html>"),
        Denied,
        "unauthorized: authentication required",
    ),
    (
        "a refusal",
        |_, _| error(403, "DENIED", "requested access to the resource is denied"),
        NotFound,
        "pull access denied for HOST/a/b, repository does not exist or may require 'docker login': \
         denied: requested access to the resource is denied",
    ),
    (
        "a refusal of another kind",
        |_, _| Reply::new(403, "<html>no</html>"),
        NotFound,
        "pull access denied for HOST/a/b, repository does not exist or may require 'docker login': \
         received unexpected HTTP status: 403 Forbidden",
    ),
    (
        "no such tag",
        |_, _| error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        NotFound,
        "manifest for HOST/a/b:1 not found: manifest unknown: manifest unknown",
    ),
    (
        "no such repository",
        |_, _| error(404, "NAME_UNKNOWN", "repository name not known to registry"),
        NotFound,
        "repository HOST/a/b not found: name unknown: repository name not known to registry",
    ),
    (
        "no such layer",
        |_, reply| {
            if is_layer(&reply) { error(404, "BLOB_UNKNOWN", "blob unknown") } else { reply }
        },
        NotFound,
        "blob unknown: blob unknown",
    ),
    (
        "a limit",
        |_, _| {
            error(429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.")
                .with("RateLimit-Limit", "100;w=21600")
                .with("RateLimit-Remaining", "0;w=21600")
                .with("Retry-After", "3600")
        },
        Unavailable,
        "toomanyrequests: You have reached your unauthenticated pull rate limit. (limit: 100 in 6 h, \
         left: 0; try again in 60 min)",
    ),
    (
        "no time",
        |_, _| Reply::new(503, "busy"),
        Unavailable,
        "received unexpected HTTP status: 503 Service Unavailable",
    ),
    (
        "a bug",
        |_, _| Reply::new(500, "<html>oops</html>"),
        Unavailable,
        "received unexpected HTTP status: 500 Internal Server Error",
    ),
    (
        "an error without an end",
        |_, _| Reply::new(404, "{\"errors\":[").endless(),
        NotFound,
        "manifest for HOST/a/b:1 not found: received unexpected HTTP status: 404 Not Found",
    ),
    (
        "an error that plays with the terminal",
        |_, _| error(400, "BAD", "\\u001b[2J\\r\\nroot: all is well"),
        Invalid,
        "bad: [2Jroot: all is well",
    ),
    (
        "a strange status",
        |_, _| Reply::new(299, "").with("Content-Type", "application/json"),
        Invalid,
        "the registry sent no manifest: EOF while parsing",
    ),
];

/// A registry that lies until it is told to stop.
async fn liar(
    shelf: Shelf,
    lie: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static,
) -> (Server, Arc<AtomicBool>) {
    let lies = Arc::new(AtomicBool::new(true));
    let server = Server::start({
        let lies = Arc::clone(&lies);
        move |request| {
            let reply = shelf.answer(request);
            if lies.load(Ordering::Relaxed) { lie(request, reply) } else { reply }
        }
    })
    .await;
    (server, lies)
}

/// A registry with an image of two layers, at `a/b:1`; each has another one.
fn shelf(nth: u32) -> Shelf {
    let shelf = Shelf::default();
    image(&shelf, "1", &[tar("small", &noise(9, nth)), tar("large", &noise(20_000, nth))]);
    shelf
}

#[tokio::test]
async fn a_registry_that_lies_changes_nothing() {
    let mut wrong = Vec::new();
    let home = Home::new("lies");
    for (nth, (name, lie, class, want)) in LIES.iter().enumerate() {
        let (server, lies) = liar(shelf(nth as u32), lie).await;
        let host = server.host();
        let image = format!("{host}/a/b:1");
        match home.pull(&image).await {
            Ok(_) => wrong.push(format!("{name}: no error")),
            Err(error) => {
                let (found, said) = (error.class(), told(Err::<(), _>(error)));
                let is_one_line = !said.contains(['\n', '\r', '\u{1b}']);
                if !said.contains(&want.replace("HOST", &host)) || found != *class || !is_one_line {
                    wrong.push(format!("{name}: {found:?} {said:?}"));
                }
                home.check(name);
                assert_eq!(home.names(), [""; 0], "{name}");
            }
        }
        lies.store(false, Ordering::Relaxed);
        home.pull(&image).await.unwrap_or_else(|error| panic!("{name}: then {error}"));
        home.check(name);
        assert_eq!(home.names(), std::slice::from_ref(&image), "{name}");
        home.images.remove(&image, false, &|_| false).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn an_image_that_is_there_stays_as_it_was() {
    let home = Home::new("stays");
    // What comes later is another image, by the same name.
    let shelf = shelf(1);
    let (server, lies) = liar(shelf, |request, mut reply| {
        if is_manifest(request) {
            reply = error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        }
        reply
    })
    .await;
    lies.store(false, Ordering::Relaxed);
    let name = format!("{}/a/b:1", server.host());
    let before = home.pull(&name).await.unwrap().image;
    lies.store(true, Ordering::Relaxed);
    told(home.pull(&name).await);
    assert_eq!(home.images.resolve(&name).unwrap().id, before.id);
    home.check("a pull that failed");
}

/// Layers that are what their digests say, and unpack to more than any disk holds.
#[tokio::test]
async fn a_bomb_is_defused() {
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    // Of zeros after the end nothing is written: what counts is what comes out.
    let zeros = zstd(&vec![0; 64 << 20]);
    let many = [zstd(&tar("a", b"x")), zeros.repeat(17)].concat();
    let large = {
        let mut bytes = Vec::new();
        let mut writer = tarstream::Writer::new(&mut bytes);
        let entry = tarstream::Entry {
            path: "large".into(),
            kind: tarstream::Kind::File,
            mode: 0o644,
            size: 1 << 47,
            ..tarstream::Entry::default()
        };
        // Its data is never there; its head is.
        writer.append(&entry, &mut &b""[..]).unwrap_err();
        bytes
    };
    let home = Home::new("bomb");
    for (kind, layer, want) in [
        (media_type::LAYER_ZSTD, many, "unpacks to more than 5000 times its size"),
        (media_type::LAYER, large, "more than 70368744177664 bytes"),
    ] {
        let shelf = Arc::new(Shelf::default());
        let diff = oci::DiffId(Digest::sha256(&layer));
        crate::image_of(&shelf, "1", vec![shelf.blob(kind, &layer)], vec![diff]);
        image(&shelf, "2", &[tar("small", b"x")]);
        let server = shelf.serve().await;
        let said = told(home.pull(&format!("{}/a/b:1", server.host())).await);
        assert!(said.contains(want), "{said}");
        home.check(want);
        assert_eq!(home.names(), [""; 0]);
        let good = format!("{}/a/b:2", server.host());
        home.pull(&good).await.unwrap();
        home.images.remove(&good, false, &|_| false).unwrap();
    }
}

#[tokio::test]
async fn names_that_lead_nowhere() {
    let home = Home::new("nowhere");
    let resolver = registry::Resolver {
        hosts: home.path.join("hosts"),
        resolv_conf: home.path.join("resolv.conf"),
        port: 1,
    };
    std::fs::write(home.path.join("resolv.conf"), "nameserver 127.0.0.1\noptions attempts:1\n")
        .unwrap();
    let mut request = crate::request("nowhere.invalid/a:1");
    request.settings.resolver = resolver;
    let result = transfer::pull(&home.images, &request, &home.events()).await;
    assert_eq!(result.as_ref().map_err(transfer::Error::class).err(), Some(Unavailable));
    let said = told(result);
    let want = "Get \"https://nowhere.invalid/v2/a/manifests/1\": dial tcp: lookup nowhere.invalid: 127.0.0.1:1: ";
    assert!(said.starts_with(want), "{said}");
    // Bound, so that it is nobody else's, and not listened on.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = closed.local_addr().unwrap();
    let said = told(home.pull(&format!("{nobody}/a:1")).await);
    assert_eq!(
        said,
        format!(
            "Get \"https://{nobody}/v2/\": dial tcp {nobody}: Connection refused (os error 111)"
        )
    );
    home.check("names that lead nowhere");
}
