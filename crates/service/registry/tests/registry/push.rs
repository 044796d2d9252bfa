use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oci::image::{Descriptor, media_type};
use registry::{Error, Pushed, Registry, Source};

use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;
use crate::{noise, quick, registry, told, user};

pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Source for Bytes {
    fn open(&self, offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(self.0[offset as usize..].to_vec())))
    }
}

struct Broken;

impl Source for Broken {
    fn open(&self, _offset: u64) -> io::Result<Box<dyn Read + Send>> {
        Err(io::Error::other("the disk is gone"))
    }
}

async fn upload(
    registry: &Registry,
    bytes: &[u8],
    from: &[&str],
    chunk: Option<u64>,
) -> Result<Pushed, Error> {
    let blob = Descriptor::of(media_type::LAYER_GZIP, bytes);
    let source: Arc<dyn Source> = Arc::new(Bytes(bytes.to_vec()));
    let from: Vec<String> = from.iter().map(|&one| one.into()).collect();
    registry.repository("a/b").upload(&blob, &source, &from, chunk, &|_| ()).await
}

fn methods(server: &Server) -> String {
    let methods: Vec<_> = server.requests().into_iter().map(|one| one.method).collect();
    methods.join(" ")
}

#[tokio::test]
async fn a_blob_is_sent_once() {
    let shelf = Arc::new(Shelf::default());
    let server = shelf.serve().await;
    let registry = registry(&server);
    let bytes = noise(700_000);
    assert_eq!(upload(&registry, &bytes, &[], None).await.unwrap(), Pushed::Sent);
    assert_eq!(methods(&server), "HEAD POST PUT");
    let digest = Descriptor::of("", &bytes).digest;
    assert_eq!(shelf.has_blob(&digest).unwrap(), bytes);
    assert_eq!(upload(&registry, &bytes, &[], None).await.unwrap(), Pushed::Existed);
    assert_eq!(upload(&registry, b"", &[], None).await.unwrap(), Pushed::Sent);

    let repository = registry.repository("a/b");
    let document = bytes::Bytes::from_static(b"{}");
    repository.put_manifest("1", media_type::DOCKER_MANIFEST, document).await.unwrap();
    let want = (media_type::DOCKER_MANIFEST.to_owned(), b"{}".to_vec());
    assert_eq!(shelf.has_manifest("1"), Some(want));
}

#[tokio::test]
async fn a_blob_may_go_in_pieces() {
    let shelf = Arc::new(Shelf::default());
    let server = shelf.serve().await;
    let bytes = noise(100_000);
    let sent = upload(&registry(&server), &bytes, &[], Some(40_000)).await.unwrap();
    assert_eq!(sent, Pushed::Sent);
    assert_eq!(methods(&server), "HEAD POST PATCH PATCH PATCH PUT");
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(|one| one.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["0-39999", "40000-79999", "80000-99999"]);
    assert_eq!(shelf.has_blob(&Descriptor::of("", &bytes).digest).unwrap(), bytes);
}

#[tokio::test]
async fn a_blob_that_is_elsewhere_is_mounted() {
    let shelf = Arc::new(Shelf::default());
    let bytes = noise(1000);
    shelf.blob(media_type::LAYER_GZIP, &bytes);
    // The repository does not have it, the registry has.
    let server = Server::start(move |request: &Request| match request.method.as_str() {
        "HEAD" => Reply::new(404, ""),
        _ => shelf.answer(request),
    })
    .await;
    let registry = registry(&server);
    let mounted = upload(&registry, &bytes, &["a/b", "other/one"], None).await.unwrap();
    assert_eq!(mounted, Pushed::Mounted("other/one".into()));
    let digest = Descriptor::of("", &bytes).digest.to_string().replace(':', "%3A");
    assert_eq!(
        server.lines()[1],
        format!("POST /v2/a/b/blobs/uploads/?mount={digest}&from=other%2Fone")
    );
}

#[tokio::test]
async fn where_it_cannot_be_mounted_it_is_sent() {
    let shelf = Arc::new(Shelf::default());
    let server = Server::start(move |request| shelf.answer(request)).await;
    let sent = upload(&registry(&server), &noise(1000), &["other"], None).await.unwrap();
    assert_eq!(sent, Pushed::Sent);
    assert_eq!(methods(&server), "HEAD POST PUT");
}

#[tokio::test]
async fn a_broken_upload_starts_again() {
    let shelf = Arc::new(Shelf::default());
    let n_puts = AtomicUsize::new(0);
    let server = Server::start({
        let shelf = Arc::clone(&shelf);
        move |request: &Request| match request.method.as_str() {
            "PUT" if n_puts.fetch_add(1, Ordering::Relaxed) == 0 => {
                Reply { cut: true, ..Reply::new(500, "") }
            }
            _ => shelf.answer(request),
        }
    })
    .await;
    let bytes = noise(300_000);
    assert_eq!(upload(&registry(&server), &bytes, &[], None).await.unwrap(), Pushed::Sent);
    assert_eq!(methods(&server), "HEAD POST PUT HEAD GET POST PUT");
    assert!(shelf.has_blob(&Descriptor::of("", &bytes).digest).is_some());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_called_so() {
    let shelf = Arc::new(Shelf::default());
    let server = Server::start(move |request| shelf.answer(request)).await;
    let registry = registry(&server);
    let blob = Descriptor::of(media_type::LAYER_GZIP, b"abc");
    let source: Arc<dyn Source> = Arc::new(Broken);
    let result = registry.repository("a/b").upload(&blob, &source, &[], None, &|_| ()).await;
    assert_eq!(told(result), format!("read {}: the disk is gone", blob.digest));
}

#[tokio::test]
async fn f05_an_upload_elsewhere_takes_no_credentials_along() {
    let other = Server::start_at("127.0.0.2:0", |_| Reply::new(201, "")).await;
    let to = format!("http://{}/put", other.host());
    let server = Server::start(move |request: &Request| {
        match (request.header("authorization"), request.method.as_str()) {
            (None, _) => Reply::new(401, "").with("WWW-Authenticate", r#"Basic realm="r""#),
            (_, "POST") => Reply::new(202, "").with("Location", &to),
            _ => Reply::new(404, ""),
        }
    })
    .await;
    let registry = Registry::new(quick(), &server.host(), Some(user()));
    assert_eq!(upload(&registry, b"abc", &[], None).await.unwrap(), Pushed::Sent);
    let put = &other.requests()[0];
    assert_eq!((put.header("authorization"), &put.body[..]), (None, &b"abc"[..]));
}

/// The blob goes on from what the registry has of it.
#[tokio::test]
async fn an_upload_that_is_cut_goes_on() {
    let shelf = Arc::new(Shelf::default());
    let server = shelf.serve().await;
    let bytes = noise(5_000_000);
    server.cut_next("PATCH", 3_000_000);
    assert_eq!(upload(&registry(&server), &bytes, &[], None).await.unwrap(), Pushed::Sent);
    assert_eq!(methods(&server), "HEAD POST PATCH HEAD GET PATCH PUT");
    let requests = server.requests();
    let ranges: Vec<_> = requests.iter().filter_map(|one| one.header("content-range")).collect();
    assert_eq!(ranges, ["0-4999999", "3000000-4999999"]);
    let n_sent: usize = requests.iter().map(|one| one.body.len()).sum();
    assert_eq!(n_sent, bytes.len());
    assert_eq!(shelf.has_blob(&Descriptor::of("", &bytes).digest).unwrap(), bytes);
}

#[tokio::test]
async fn an_upload_in_pieces_goes_on_too() {
    let shelf = Arc::new(Shelf::default());
    let server = shelf.serve().await;
    let bytes = noise(100_000);
    server.cut_next("PATCH", 15_000);
    let sent = upload(&registry(&server), &bytes, &[], Some(40_000)).await.unwrap();
    assert_eq!(sent, Pushed::Sent);
    assert_eq!(methods(&server), "HEAD POST PATCH HEAD GET PATCH PATCH PATCH PUT");
    assert_eq!(shelf.has_blob(&Descriptor::of("", &bytes).digest).unwrap(), bytes);
}

/// A registry that has forgotten the upload, or says what makes no sense of it.
#[tokio::test]
async fn an_upload_that_is_not_known_begins_anew() {
    let lost = [
        error(404, "BLOB_UPLOAD_UNKNOWN", ""),
        error(400, "BLOB_UPLOAD_INVALID", ""),
        Reply::new(204, ""),
        Reply::new(204, "").with("Range", "0-99999999"),
        Reply::new(204, "").with("Range", "5-7"),
        Reply::new(200, "<html>").with("Range", "bytes"),
    ];
    for lost in lost {
        let shelf = Arc::new(Shelf::default());
        let server = Server::start({
            let shelf = Arc::clone(&shelf);
            move |request| match request.method.as_str() {
                "GET" => lost.clone(),
                _ => shelf.answer(request),
            }
        })
        .await;
        let bytes = noise(50_000);
        server.cut_next("PATCH", 10_000);
        let sent = upload(&registry(&server), &bytes, &[], Some(30_000)).await.unwrap();
        assert_eq!(sent, Pushed::Sent);
        assert_eq!(methods(&server), "HEAD POST PATCH HEAD GET POST PATCH PATCH PUT");
        assert!(shelf.has_blob(&Descriptor::of("", &bytes).digest).is_some());
    }
}

#[tokio::test]
async fn a_registry_that_takes_less_gets_the_rest() {
    let shelf = Arc::new(Shelf::default());
    let server = Server::start({
        let shelf = Arc::clone(&shelf);
        move |request| match request.method.as_str() {
            "PATCH" => {
                let body = request.body[..request.body.len().min(4000)].to_vec();
                shelf.answer(&Request { body, ..request.clone() })
            }
            _ => shelf.answer(request),
        }
    })
    .await;
    let bytes = noise(10_000);
    upload(&registry(&server), &bytes, &[], Some(9_000)).await.unwrap();
    assert_eq!(methods(&server), "HEAD POST PATCH PATCH PATCH PUT");
    assert_eq!(shelf.has_blob(&Descriptor::of("", &bytes).digest).unwrap(), bytes);
}

#[tokio::test]
async fn a_manifest_is_taken_for_what_it_is() {
    let server = Server::start(|_| {
        Reply::new(201, "").with("Docker-Content-Digest", oci::Digest::sha256(b"x").to_string())
    })
    .await;
    let registry = registry(&server);
    let document = bytes::Bytes::from_static(b"{}");
    let put = registry.repository("a/b").put_manifest("1", media_type::MANIFEST, document).await;
    assert!(told(put).contains("which it is not"));
}
