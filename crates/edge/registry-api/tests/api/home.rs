//! A registry of a test's own, and requests to it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use images::Images;
use oci::Digest;
use oci::image::{Descriptor, ImageConfig, Manifest, RootFs, media_type};
use registry_api::{Config, Registry};
use serde_json::Value;
use tokio::sync::watch;

/// A registry, until it is dropped.
pub(crate) struct Home {
    root: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) images: Arc<Images>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Home {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, Config::default())
    }

    pub(crate) fn with(name: &str, mut config: Config) -> Self {
        let root =
            std::env::temp_dir().join(format!("dhow-registry-api-{}-{name}", std::process::id()));
        _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(&root).unwrap();
        let images = Arc::new(open(&root));
        if config.listen.is_empty() {
            config.listen = "127.0.0.1:0".into();
        }
        config.name.get_or_insert_with(|| "localhost:5000".into());
        let (stop, stopped) = watch::channel(false);
        let (tell, told) = std::sync::mpsc::channel();
        let ours = Arc::clone(&images);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let registry = Registry::bind(ours, &config).unwrap();
                tell.send(registry.address()).unwrap();
                registry.serve(stopped).await.unwrap();
            });
        });
        let address = told.recv().unwrap();
        Self { root, address, images, stop, thread: Some(thread) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Sends a request, and reads its answer to the end.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        call(self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"")
    }

    /// A request without a body that is refused, with this one error.
    #[track_caller]
    pub(crate) fn refused(&self, method: &str, path: &str, status: u16, code: &str) -> Answer {
        let answer = self.call(method, path, &[], b"");
        answer.is_error(status, code);
        answer
    }

    /// Pushes a blob with one request.
    pub(crate) fn push_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.call("POST", &path, &[], bytes);
        assert_eq!(answer.status, 201, "{}", answer.text());
        digest
    }

    /// Pushes a manifest of an OCI image.
    pub(crate) fn put_manifest(&self, repository: &str, name: &str, bytes: &[u8]) -> Answer {
        let path = format!("/v2/{repository}/manifests/{name}");
        let answer = self.call("PUT", &path, &[("Content-Type", media_type::MANIFEST)], bytes);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer
    }

    /// The names of the engine's images.
    pub(crate) fn names(&self) -> Vec<String> {
        let list = self.images.list(&docker::filters::Filters::default()).unwrap();
        list.into_iter().flat_map(|image| image.repo_tags).collect()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
        _ = std::fs::remove_dir_all(&self.root);
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

/// Sends a request to any server, and reads its answer to the end.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = connect(address);
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    let has = |wanted: &str| headers.iter().any(|(name, _)| *name == wanted);
    if !has("Host") {
        head.push_str(&format!("Host: {address}\r\n"));
    }
    if !has("Content-Length") && (!body.is_empty() || method != "GET") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // Where the answer is an error, it may come before all was sent.
    _ = stream.write_all(body);
    Answer::read(&mut stream, method != "HEAD")
}

pub(crate) fn open(root: &Path) -> Images {
    let db = metadata::Db::open(&root.join("dhow.db")).unwrap();
    Images::open(root, Arc::new(db), &[], None).unwrap()
}

/// Pushes the blobs of an image of one layer with one file. Its manifest.
pub(crate) fn image(home: &Home, repository: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = tarstream::Writer::new(Vec::new());
    let entry = tarstream::Entry {
        path: "file".into(),
        kind: tarstream::Kind::File,
        mode: 0o644,
        size: content.len() as u64,
        ..tarstream::Entry::default()
    };
    writer.append(&entry, &mut &*content).unwrap();
    let layer = writer.finish().unwrap();
    let config = ImageConfig {
        os: "linux".into(),
        rootfs: RootFs { diff_ids: vec![oci::DiffId(Digest::sha256(&layer))], ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = serde_json::to_vec(&config).unwrap();
    for blob in [&config, &layer] {
        home.push_blob(repository, blob);
    }
    let layers = vec![Descriptor::of(media_type::LAYER, &layer)];
    let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), layers);
    serde_json::to_vec_pretty(&manifest).unwrap()
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads as much as the head says, or to the end of the connection.
    fn read(stream: &mut TcpStream, has_body: bool) -> Self {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        let mut answer: Option<(Self, usize)> = None;
        loop {
            if let Some((found, start)) = &mut answer {
                let len = found.header("content-length").and_then(|len| len.parse().ok());
                let wanted = if has_body { len.unwrap_or(usize::MAX) } else { 0 };
                if bytes.len() - *start >= wanted {
                    break;
                }
            } else if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                answer = Some((Self::head(&bytes[..end]), end + 4));
                continue;
            }
            match stream.read(&mut buffer) {
                // A body that is broken off ends with an error.
                Ok(0) | Err(_) => break,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            }
        }
        let (mut answer, start) = answer.expect("a head");
        answer.body = bytes.split_off(start);
        answer
    }

    fn head(bytes: &[u8]) -> Self {
        let head = String::from_utf8(bytes.to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        Self { status, headers: headers.collect(), body: Vec::new() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// It is this error, in the specification's form.
    #[track_caller]
    pub(crate) fn is_error(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["errors"][0]["code"], code, "{body}");
        assert!(!body["errors"][0]["message"].as_str().unwrap().is_empty());
    }
}
