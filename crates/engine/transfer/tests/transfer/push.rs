//! Pushes to a registry that does not do as it should.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oci::Digest;
use oci::image::{Manifest, media_type};
use transfer::Class::{self, Denied, Invalid, NotFound, Unavailable};
use transfer::{Event, Layer};

use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;
use crate::{Home, image, image_of, noise, tar, told};

type Lie = fn(&Request, Reply) -> Reply;

/// Where the answer to a request of this method is another one.
fn to(request: &Request, method: &str, reply: Reply, lie: Reply) -> Reply {
    if request.method == method { lie } else { reply }
}

const LIES: &[(&str, Lie, Class, &str)] = &[
    (
        "an upload without a place",
        |request, reply| {
            to(request, "POST", reply, Reply::new(202, "").with("Location", "file:///etc/shadow"))
        },
        Invalid,
        "`file:///etc/shadow` is not a valid address",
    ),
    (
        "a refusal",
        |request, reply| {
            let lie = error(403, "DENIED", "requested access to the resource is denied");
            to(request, "POST", reply, lie)
        },
        Denied,
        "denied: requested access to the resource is denied",
    ),
    (
        "a refusal of those who are not known",
        |_, _| Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
        Denied,
        "no basic auth credentials: HOST asks for a name and a password",
    ),
    (
        "no repository",
        |_, _| error(404, "NAME_UNKNOWN", "repository name not known to registry"),
        NotFound,
        "name unknown: repository name not known to registry",
    ),
    (
        "too large",
        |request, reply| to(request, "PUT", reply, Reply::new(413, "<html>")),
        Invalid,
        "received unexpected HTTP status: 413 Payload Too Large",
    ),
    (
        "a bug",
        |request, reply| to(request, "PUT", reply, Reply::new(500, "")),
        Unavailable,
        "received unexpected HTTP status: 500 Internal Server Error",
    ),
    (
        "a digest that is another",
        |request, reply| {
            let lie =
                error(400, "DIGEST_INVALID", "provided digest did not match uploaded content");
            to(request, "PUT", reply, lie)
        },
        Invalid,
        "digest invalid: provided digest did not match uploaded content",
    ),
    (
        "a manifest that is not taken",
        |request, reply| {
            if request.method == "PUT" && request.path().contains("/manifests/") {
                return error(400, "MANIFEST_INVALID", "manifest invalid");
            }
            reply
        },
        Invalid,
        "manifest invalid: manifest invalid",
    ),
    (
        "a connection that breaks",
        |request, reply| to(request, "PUT", reply, Reply::raw(b"")),
        Unavailable,
        ": the connection broke: ",
    ),
];

#[tokio::test]
async fn a_registry_that_lies_changes_nothing() {
    let home = Home::new("push-lies");
    let from = Server::start({
        let shelf = Shelf::default();
        image(&shelf, "1", &[tar("small", b"x"), tar("large", &noise(20_000, 1))]);
        move |request| shelf.answer(request)
    })
    .await;
    let here = format!("{}/a/b:1", from.host());
    home.pull(&here).await.unwrap();
    for (name, lie, class, want) in LIES {
        let shelf = Arc::new(Shelf::default());
        let lies = Arc::new(AtomicBool::new(true));
        let server = Server::start({
            let (shelf, lies) = (Arc::clone(&shelf), Arc::clone(&lies));
            move |request| {
                let nothing = Reply::new(0, "");
                // It does nothing of what it lies about.
                let lied = lie(request, nothing);
                if lies.load(Ordering::Relaxed) && (lied.status != 0 || lied.head.is_some()) {
                    return lied;
                }
                shelf.answer(request)
            }
        })
        .await;
        let host = server.host();
        let there = format!("{host}/c/d:1");
        home.images.tag(&here, &there).unwrap();
        let result = home.push(&there).await;
        let found = result.as_ref().map_err(transfer::Error::class).err();
        let said = told(result);
        assert!(said.contains(&want.replace("HOST", &host)), "{name}: {said}");
        assert_eq!(found, Some(*class), "{name}: {said}");
        home.check(name);
        lies.store(false, Ordering::Relaxed);
        home.push(&there).await.unwrap_or_else(|error| panic!("{name}: then {error}"));
        assert!(shelf.has_manifest("1").is_some(), "{name}");
        home.check(name);
        home.images.remove(&there, false, &|_| false).unwrap();
    }
}

/// The lines that Docker prints, for layers that are sent, that are there, and that are mounted.
#[tokio::test]
async fn what_becomes_of_layers_is_told() {
    let shelf = Arc::new(Shelf::default());
    let (first, second) = (tar("a", b"x"), tar("b", b"y"));
    image(&shelf, "1", &[first.clone(), second]);
    let server = Server::start(move |request: &Request| {
        // Only what was pushed to it is in a repository; the registry has all.
        match (request.method.as_str(), request.path().contains("/new/")) {
            ("HEAD", true) => Reply::new(404, ""),
            _ => shelf.answer(request),
        }
    })
    .await;
    let home = Home::new("push-lines");
    let (old, new) = (format!("{}/a/b:1", server.host()), format!("{}/new/one:2", server.host()));
    home.pull(&old).await.unwrap();
    home.images.tag(&old, &new).unwrap();
    home.told();
    home.push(&new).await.unwrap();
    let told = home.told();
    let layers = |wanted: &Layer| {
        told.iter()
            .filter(|one| matches!(one, Event::Layer { layer, .. } if layer == wanted))
            .count()
    };
    assert_eq!(layers(&Layer::Mounted("a/b".into())), 2, "{told:?}");
    assert!(matches!(told.last(), Some(Event::Pushed { tag, .. }) if tag == "2"), "{told:?}");
    home.push(&old).await.unwrap();
    let told = home.told();
    let there = told.iter().filter(|one| matches!(one, Event::Layer { layer: Layer::There, .. }));
    assert_eq!(there.count(), 2, "{told:?}");
}

/// What not everybody may pass on stays where it is to be had; the manifest says where.
#[tokio::test]
async fn a_layer_that_is_elsewhere_is_not_sent() {
    let (here, there) = (Arc::new(Shelf::default()), Arc::new(Shelf::default()));
    let (own, other) = (tar("a", b"x"), tar("b", b"y"));
    let mut foreign = here.blob(media_type::FOREIGN, &other);
    foreign.urls.push("https://layers.test/b".into());
    let own_layer = here.blob(media_type::LAYER, &own);
    let diffs = [&own, &other].map(|layer| oci::DiffId(Digest::sha256(layer)));
    image_of(&here, "1", vec![own_layer.clone(), foreign.clone()], diffs.into());
    let (from, to) = (here.serve().await, there.serve().await);
    let home = Home::new("push-foreign");
    let (old, new) = (format!("{}/a/b:1", from.host()), format!("{}/c/d:1", to.host()));
    home.pull(&old).await.unwrap();
    home.images.tag(&old, &new).unwrap();
    home.told();
    home.push(&new).await.unwrap();
    let told = home.told();
    let skipped =
        told.iter().filter(|one| matches!(one, Event::Layer { layer: Layer::Foreign, .. }));
    assert_eq!(skipped.count(), 1, "{told:?}");
    assert!(there.has_blob(&own_layer.digest).is_some());
    assert!(there.has_blob(&foreign.digest).is_none());
    let (_, manifest) = there.has_manifest("1").unwrap();
    assert_eq!(Manifest::parse(&manifest).unwrap().layers, [own_layer, foreign]);
    home.check("a layer that is elsewhere");
}

/// A registry may take its time with what it got, but not for ever.
#[tokio::test]
async fn a_registry_that_says_nothing_is_given_up() {
    let shelf = Arc::new(Shelf::default());
    image(&shelf, "1", &[tar("a", b"x")]);
    let server = Server::start(move |request| match request.method.as_str() {
        "PUT" => Reply { stall: true, ..Reply::raw(b"") },
        _ => shelf.answer(request),
    })
    .await;
    let home = Home::new("push-silence");
    let (old, new) = (format!("{}/a/b:1", server.host()), format!("{}/a/b:2", server.host()));
    home.pull(&old).await.unwrap();
    home.images.tag(&old, &new).unwrap();
    let mut request = crate::request(&new);
    request.settings.retry.silence = std::time::Duration::from_millis(150);
    let said = told(transfer::push(&home.images, &request, false, &home.events()).await);
    assert!(said.contains(": no answer within "), "{said}");
    home.check("a registry that says nothing");
}
