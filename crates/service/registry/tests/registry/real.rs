//! Against the registry that the distribution project makes, where Debian's package is installed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oci::image::{Descriptor, Manifest, media_type};
use registry::{Credentials, Pushed, Registry, Settings, Source};

use crate::{download, noise, quick, resolve, told, user};

/// `user:secret`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

struct Running {
    child: Child,
    dir: PathBuf,
    host: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.child.kill();
        _ = self.child.wait();
        _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Running {
    /// `None` where there is no such program.
    async fn start(name: &str, more: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places = std::env::split_paths(&path).map(|dir| dir.join("docker-registry"));
        let Some(program) = places.find(|place| place.is_file()) else {
            println!("skipped: Registry: no docker-registry for {name}");
            return None;
        };
        let dir = std::env::temp_dir().join(format!("dhow-registry-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // The port is free again when the registry asks for it, unless somebody was very quick.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        drop(listener);
        let shown = dir.display();
        let more = more.replace("DIR", &shown.to_string());
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: \
             {shown}/data}}\nhttp:\n  addr: {host}\n{more}"
        );
        std::fs::write(dir.join("config.yml"), config).unwrap();
        std::fs::write(dir.join("htpasswd"), HTPASSWD).unwrap();
        let child = Command::new(program)
            .arg("serve")
            .arg(dir.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let running = Self { child, dir, host };
        let deadline = Instant::now() + Duration::from_secs(20);
        while tokio::net::TcpStream::connect(&running.host).await.is_err() {
            assert!(Instant::now() < deadline, "the registry does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(running)
    }

    fn registry(&self, credentials: Option<Credentials>) -> Registry {
        Registry::new(settings(), &self.host, credentials)
    }
}

fn settings() -> Settings {
    let mut settings = quick();
    settings.retry.silence = Duration::from_secs(20);
    settings
}

struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn open(&self, offset: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        Ok(Box::new(std::io::Cursor::new(self.0[offset as usize..].to_vec())))
    }
}

/// Pushes an image of three layers to `a/b:1`, one of them in pieces. What the layers are.
async fn push(registry: &Registry) -> Vec<(Descriptor, Vec<u8>)> {
    let repository = registry.repository("a/b");
    let config =
        br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let blobs: Vec<(Descriptor, Vec<u8>)> = [
        (media_type::CONFIG, config.to_vec()),
        (media_type::LAYER_GZIP, noise(3_000_000)),
        (media_type::LAYER_GZIP, noise(10)),
        (media_type::LAYER_GZIP, noise(500_000)),
    ]
    .map(|(kind, bytes)| (Descriptor::of(kind, &bytes), bytes))
    .into();
    for (nth, (blob, bytes)) in blobs.iter().enumerate() {
        let source: Arc<dyn Source> = Arc::new(Bytes(bytes.clone()));
        let chunk = (nth == 3).then_some(200_000);
        let sent = repository.upload(blob, &source, &[], chunk, &|_| ()).await.unwrap();
        assert_eq!(sent, Pushed::Sent);
        let again = repository.upload(blob, &source, &[], None, &|_| ()).await.unwrap();
        assert_eq!(again, Pushed::Existed);
    }
    let layers = blobs[1..].iter().map(|(blob, _)| blob.clone()).collect();
    let manifest = Manifest::new(blobs[0].0.clone(), layers);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    repository.put_manifest("1", media_type::MANIFEST, manifest.into()).await.unwrap();
    blobs[1..].to_vec()
}

#[tokio::test]
async fn what_was_pushed_comes_back() {
    let Some(running) = Running::start("real-plain", "").await else { return };
    let registry = running.registry(None);
    registry.log_in().await.unwrap();
    let layers = push(&registry).await;
    let resolved = resolve(&registry, "1").await.unwrap();
    for ((blob, bytes), found) in layers.iter().zip(&resolved.manifest.layers) {
        assert_eq!(blob, found);
        assert_eq!(download(&registry, found).await.unwrap(), *bytes);
    }
    let by_digest = resolve(&registry, &format!("@{}", resolved.digest)).await.unwrap();
    assert_eq!(by_digest.document.bytes, resolved.document.bytes);
    let said = told(resolve(&registry, "2").await);
    assert!(said.ends_with("not found: manifest unknown: manifest unknown"), "{said}");

    let (blob, bytes) = &layers[0];
    let source: Arc<dyn Source> = Arc::new(Bytes(bytes.clone()));
    let other = registry.repository("c/d");
    let mounted = other.upload(blob, &source, &["a/b".into()], None, &|_| ()).await.unwrap();
    assert_eq!(mounted, Pushed::Mounted("a/b".into()));
}

#[tokio::test]
async fn a_password_is_wanted() {
    let auth = "auth:\n  htpasswd: {realm: test, path: DIR/htpasswd}\n";
    let Some(running) = Running::start("real-auth", auth).await else { return };
    let said = told(running.registry(None).log_in().await);
    assert!(said.contains("asks for a name and a password"), "{said}");
    let wrong = Credentials { password: "wrong".into(), ..user() };
    assert!(running.registry(Some(wrong)).log_in().await.is_err());
    let registry = running.registry(Some(user()));
    registry.log_in().await.unwrap();
    push(&registry).await;
    resolve(&registry, "1").await.unwrap();
}

/// The certificate is as guides for Docker have people make it: its own authority.
#[tokio::test]
async fn tls_is_verified_by_certs_d() {
    let tls = "  tls: {certificate: DIR/cert.pem, key: DIR/key.pem}\n";
    let dir = std::env::temp_dir().join(format!("dhow-registry-{}-certs", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=r"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1"])
        .arg("-keyout")
        .arg(dir.join("key.pem"))
        .arg("-out")
        .arg(dir.join("cert.pem"))
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: Openssl: no openssl to make a certificate");
        return;
    }
    let tls = tls.replace("DIR", &dir.display().to_string());
    let Some(running) = Running::start("real-tls", &tls).await else { return };
    // The machine itself is trusted without a certificate, with TLS where it has it.
    running.registry(None).log_in().await.unwrap();
    // With an authority for it, it has to be the right one.
    let certs = dir.join("certs.d");
    let of_host = certs.join(&running.host);
    std::fs::create_dir_all(&of_host).unwrap();
    let with_certs = || Settings { certs: vec![certs.clone()], ..settings() };
    std::fs::copy(dir.join("cert.pem"), of_host.join("ca.crt")).unwrap();
    Registry::new(with_certs(), &running.host, None).log_in().await.unwrap();
    let system = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    if let Some(end) = system.find("-----END CERTIFICATE-----") {
        let one = format!("{}-----END CERTIFICATE-----\n", &system[..end]);
        std::fs::write(of_host.join("ca.crt"), one).unwrap();
        let said = told(Registry::new(with_certs(), &running.host, None).log_in().await);
        assert!(said.contains("x509: certificate signed by unknown authority"), "{said}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
