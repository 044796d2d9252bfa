//! Nothing is fetched twice: neither by two at once, nor again after a break.

use std::collections::BTreeMap;
use std::sync::Arc;

use transfer::{Event, Layer};

use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;
use crate::{Home, image, noise, tar, told};

/// How often each blob was asked for.
fn asked(server: &Server) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for request in server.requests().iter().filter(|one| one.path().contains("/blobs/")) {
        *asked.entry(request.path().to_owned()).or_default() += 1;
    }
    asked
}

#[tokio::test]
async fn two_pulls_at_once_fetch_each_layer_once() {
    let shelf = Arc::new(Shelf::default());
    let layers: Vec<_> = (0..6).map(|n| tar("f", &noise(300_000, n))).collect();
    image(&shelf, "1", &layers);
    // Another image with the same layers in another order, and one more.
    let mut others: Vec<_> = layers.iter().rev().cloned().collect();
    others.push(tar("more", b"x"));
    image(&shelf, "2", &others);
    let server = Server::start(move |request| shelf.answer(request)).await;
    let home = Home::new("once");
    // As another process would see it.
    let other =
        Home { images: Home::open(&home.path), path: home.path.clone(), events: Arc::default() };
    let name = |tag: &str| format!("{}/a/b:{tag}", server.host());
    let (first, second) = (name("1"), name("2"));
    let (one, two, again, third) = tokio::join!(
        home.pull(&first),
        other.pull(&first),
        other.pull(&second),
        home.pull(&second)
    );
    assert_eq!(one.unwrap().image.id, two.unwrap().image.id);
    assert_eq!(again.unwrap().image.id, third.unwrap().image.id);
    let layers = asked(&server).into_iter().filter(|(path, _)| {
        let digest = path.rsplit('/').next().unwrap();
        let file = home.images.content().blob_path(&digest.parse().unwrap());
        std::fs::metadata(file).unwrap().len() > 1000
    });
    let counts: Vec<_> = layers.map(|(_, n)| n).collect();
    // Six of the first, and those of the second that are not the same: one. Configurations are small.
    assert!(counts.iter().all(|n| *n == 1), "{counts:?}");
    assert!(counts.len() >= 7, "{counts:?}");
    home.check("two pulls at once");
    std::mem::forget(other);
}

#[tokio::test]
async fn a_pull_that_broke_off_goes_on_across_layers() {
    let shelf = Arc::new(Shelf::default());
    let layers: Vec<_> = (0..3).map(|n| tar("f", &noise(200_000, n))).collect();
    let sum: usize = layers.iter().map(Vec::len).sum();
    image(&shelf, "1", &layers);
    let lies = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let refused = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let server = Server::start({
        let (lies, sent, refused) = (Arc::clone(&lies), Arc::clone(&sent), Arc::clone(&refused));
        move |request: &Request| {
            let mut reply = shelf.answer(request);
            if reply.body.len() > 10_000 {
                // The first gives some of each layer, and then no more.
                if lies.load(std::sync::atomic::Ordering::Relaxed) {
                    if request.header("range").is_some() {
                        refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        return error(403, "DENIED", "no more today");
                    }
                    reply = reply.cut_after(70_000);
                }
                sent.fetch_add(reply.body.len(), std::sync::atomic::Ordering::Relaxed);
            }
            reply
        }
    })
    .await;
    let home = Home::new("goes-on");
    let name = format!("{}/a/b:1", server.host());
    told(home.pull(&name).await);
    home.check("a pull that broke off");
    // The first refusal ended the pull; what was asked for the other layers may still be on its way.
    for _ in 0..100 {
        if refused.load(std::sync::atomic::Ordering::Relaxed) >= layers.len() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    lies.store(false, std::sync::atomic::Ordering::Relaxed);
    // As a new process.
    let again =
        Home { images: Home::open(&home.path), path: home.path.clone(), events: Arc::default() };
    again.pull(&name).await.unwrap();
    let n_sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(n_sent, sum, "what was sent is what there is");
    std::mem::forget(again);
}

#[tokio::test]
async fn who_gave_it_is_told() {
    let shelf = Arc::new(Shelf::default());
    image(&shelf, "1", &[tar("f", &noise(50_000, 1))]);
    let (mirror, upstream) = (shelf.serve().await, shelf.serve().await);
    let broken = Server::start(|_| Reply::new(500, "")).await;
    let liar = Server::start({
        let shelf = Arc::clone(&shelf);
        move |request| {
            let mut reply = shelf.answer(request);
            if reply.body.len() > 10_000 {
                reply.body[9_000] ^= 1;
            }
            reply
        }
    })
    .await;
    let home = Home::new("told");
    let certs = home.path.join("certs.d");
    std::fs::create_dir_all(certs.join(upstream.host())).unwrap();
    let text = format!(
        "[host.\"http://{}\"]\n[host.\"http://{}\"]\n[host.\"http://{}\"]\n",
        broken.host(),
        liar.host(),
        mirror.host()
    );
    std::fs::write(certs.join(upstream.host()).join("hosts.toml"), text).unwrap();
    let mut request = crate::request(&format!("{}/a/b:1", upstream.host()));
    request.settings.certs = vec![certs];
    transfer::pull(&home.images, &request, &home.events()).await.unwrap();
    let told = home.told();
    let passed: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::Passed { host, why } => Some((host.clone(), why.clone())),
            _ => None,
        })
        .collect();
    let at = |server: &Server| format!("http://{}", server.host());
    assert_eq!(
        passed[0],
        (at(&broken), "received unexpected HTTP status: 500 Internal Server Error".into())
    );
    assert_eq!(passed[1].0, at(&liar));
    assert!(passed[1].1.starts_with("filesystem layer verification failed"), "{passed:?}");
    assert!(told.contains(&Event::From { host: at(&mirror) }), "{told:?}");
    assert!(upstream.requests().is_empty());
    let is_done = |event: &Event| matches!(event, Event::Layer { layer: Layer::Complete, .. });
    assert!(told.iter().any(is_done));
    home.check("a mirror that lies");
}
