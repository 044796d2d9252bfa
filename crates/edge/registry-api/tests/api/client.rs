//! With this project's own client.

use std::io;
use std::sync::Arc;

use crate::home::{Home, image};
use oci::image::{Descriptor, Manifest, Platform, media_type};
use oci::{Algorithm, Digest, Hasher};
use registry::{Credentials, Pushed, Registry, Settings, Sink, Source};

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(future)
}

pub(crate) fn user() -> Credentials {
    let (username, password) = ("user".into(), "secret".into());
    Credentials { username, password, ..Credentials::default() }
}

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn open(&self, offset: u64) -> io::Result<Box<dyn io::Read + Send>> {
        Ok(Box::new(io::Cursor::new(self.0[offset as usize..].to_vec())))
    }
}

/// Where downloads go.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Sink for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&self.0);
        hasher.finish()
    }
}

#[test]
fn what_was_pushed_comes_back() {
    let home = Home::new("client");
    let host = home.address.to_string();
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let blobs: Vec<(Descriptor, Vec<u8>)> = [
        (media_type::CONFIG, config.to_vec()),
        (media_type::LAYER_GZIP, vec![1; 3_000_000]),
        (media_type::LAYER_GZIP, vec![2; 10]),
        (media_type::LAYER_GZIP, vec![3; 500_000]),
    ]
    .map(|(kind, bytes)| (Descriptor::of(kind, &bytes), bytes))
    .into();
    run(async {
        let registry = Registry::new(Settings::default(), &host, None);
        registry.log_in().await.unwrap();
        let repository = registry.repository("a/b");
        for (nth, (blob, bytes)) in blobs.iter().enumerate() {
            let source: Arc<dyn Source> = Arc::new(Bytes(bytes.clone()));
            let chunk = (nth == 3).then_some(200_000);
            let sent = repository.upload(blob, &source, &[], chunk, &|_| ()).await.unwrap();
            assert_eq!(sent, Pushed::Sent);
            let again = repository.upload(blob, &source, &[], None, &|_| ()).await.unwrap();
            assert_eq!(again, Pushed::Existed);
        }
        let layers: Vec<_> = blobs[1..].iter().map(|(blob, _)| blob.clone()).collect();
        let manifest = Manifest::new(blobs[0].0.clone(), layers);
        let manifest = serde_json::to_vec(&manifest).unwrap();
        repository.put_manifest("1", media_type::MANIFEST, manifest.into()).await.unwrap();

        let amd64 =
            Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        let name = format!("{host}/a/b:1").parse().unwrap();
        let resolved = repository.resolve(&name, &amd64).await.unwrap();
        for ((blob, bytes), found) in blobs[1..].iter().zip(&resolved.manifest.layers) {
            assert_eq!(blob, found);
            let sink = repository.download(found, Memory::default(), &|_| ()).await.unwrap();
            assert!(sink.0 == *bytes);
        }
        let missing = format!("{host}/a/b:2").parse().unwrap();
        let error = repository.resolve(&missing, &amd64).await.unwrap_err();
        assert!(error.to_string().contains("not found"), "{error}");

        let (blob, bytes) = &blobs[1];
        let source: Arc<dyn Source> = Arc::new(Bytes(bytes.clone()));
        let other = registry.repository("c/d");
        let mounted = other.upload(blob, &source, &["a/b".into()], None, &|_| ()).await.unwrap();
        assert_eq!(mounted, Pushed::Mounted("a/b".into()));
    });
}

/// An image goes from one root to another: what `dhow push` and `dhow pull` do, without them.
#[test]
fn what_is_served_is_what_was_there() {
    let home = Home::new("roots");
    let manifest = image(&home, "me/app", b"1");
    home.put_manifest("me/app", "1", &manifest);
    let id = home.images.resolve("localhost:5000/me/app:1").unwrap().id;
    let other = home.root().join("other");
    std::fs::create_dir_all(&other).unwrap();
    let images = crate::home::open(&other);
    let host = home.address.to_string();
    run(async {
        let registry = Registry::new(Settings::default(), &host, None);
        let repository = registry.repository("me/app");
        let name = format!("{host}/me/app:1").parse().unwrap();
        let resolved = repository.resolve(&name, &Platform::native()).await;
        let resolved = resolved.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(resolved.document.bytes, manifest);
        let config = &resolved.manifest.config;
        let config = repository.download(config, Memory::default(), &|_| ()).await.unwrap().0;
        let pull = images.begin_pull(resolved.document.bytes.to_vec(), config).unwrap();
        for layer in pull.layers() {
            let mut incoming = layer.take().unwrap();
            let sink = repository.download(layer.descriptor(), Memory::default(), &|_| ());
            io::Write::write_all(&mut incoming, &sink.await.unwrap().0).unwrap();
            incoming.finish().unwrap();
        }
        let pulled = images.finish_pull(&pull, &name, &resolved.digest, &|_, _| ()).unwrap();
        assert_eq!(pulled.id, id);
    });
}
