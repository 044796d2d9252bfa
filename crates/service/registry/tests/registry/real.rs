//! Against the registry that the distribution project makes, where Debian's package is installed.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use oci::image::{Descriptor, Manifest, media_type};
use registry::{Credentials, Pushed, Registry, Settings, Source};
use testkit::{Distribution, needs};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{download, noise, quick, resolve, shelf, told, user};

fn client(of: &Distribution, credentials: Option<Credentials>) -> Registry {
    Registry::new(settings(), of.host(), credentials)
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
    needs!(Registry);
    let running = Distribution::start("real-plain", "");
    let registry = client(&running, None);
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
    needs!(Registry);
    let running = Distribution::start("real-auth", auth);
    let said = told(client(&running, None).log_in().await);
    assert!(said.contains("asks for a name and a password"), "{said}");
    let wrong = Credentials { password: "wrong".into(), ..user() };
    assert!(client(&running, Some(wrong)).log_in().await.is_err());
    let registry = client(&running, Some(user()));
    registry.log_in().await.unwrap();
    push(&registry).await;
    resolve(&registry, "1").await.unwrap();
}

/// The certificate is as guides for Docker have people make it: its own authority.
#[tokio::test]
async fn tls_is_verified_by_certs_d() {
    needs!(Registry);
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
    let running = Distribution::start("real-tls", &tls);
    // The machine itself is trusted without a certificate, with TLS where it has it.
    client(&running, None).log_in().await.unwrap();
    // With an authority for it, it has to be the right one.
    let certs = dir.join("certs.d");
    let of_host = certs.join(running.host());
    std::fs::create_dir_all(&of_host).unwrap();
    let with_certs = || Settings { certs: vec![certs.clone()], ..settings() };
    std::fs::copy(dir.join("cert.pem"), of_host.join("ca.crt")).unwrap();
    Registry::new(with_certs(), running.host(), None).log_in().await.unwrap();
    let system = std::fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    if let Some(end) = system.find("-----END CERTIFICATE-----") {
        let one = format!("{}-----END CERTIFICATE-----\n", &system[..end]);
        std::fs::write(of_host.join("ca.crt"), one).unwrap();
        let said = told(Registry::new(with_certs(), running.host(), None).log_in().await);
        assert!(said.contains("x509: certificate signed by unknown authority"), "{said}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

/// When a connection is cut: what is sent next, and how much was sent on it before.
type When = fn(&[u8], usize) -> bool;

/// Stands before a registry, and cuts one connection. Counts all bytes that clients send.
async fn cutting(to: String, when: When) -> (String, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let n_sent = Arc::new(AtomicUsize::new(0));
    let (counted, has_cut) = (Arc::clone(&n_sent), Arc::new(AtomicBool::new(false)));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&to).await.unwrap();
            let (n_sent, has_cut) = (Arc::clone(&counted), Arc::clone(&has_cut));
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let answers = tokio::io::copy(&mut from_server, &mut to_client);
                let requests = async {
                    let (mut piece, mut n_here) = (vec![0; 64 << 10], 0);
                    loop {
                        let n_read = from_client.read(&mut piece).await?;
                        let is_now = when(&piece[..n_read], n_here);
                        if n_read == 0 || is_now && !has_cut.swap(true, Ordering::Relaxed) {
                            return Ok::<_, std::io::Error>(());
                        }
                        to_server.write_all(&piece[..n_read]).await?;
                        n_sent.fetch_add(n_read, Ordering::Relaxed);
                        n_here += n_read;
                    }
                };
                tokio::select! {
                    _ = answers => {}
                    _ = requests => {}
                }
            });
        }
    });
    (address, n_sent)
}

/// Its uploads are gone on with where a request ended (`_state` in their address says how far they
/// are), and forgotten where one was cut: then all is sent again.
#[tokio::test]
async fn an_upload_that_is_cut_arrives() {
    const SIZE: usize = 20 << 20;
    const HALF: usize = SIZE / 2;
    needs!(Registry);
    let running = Distribution::start("real-cut", "");
    let in_the_midst: When = |_, n_here| n_here > HALF;
    let before_the_last: When = |piece, _| piece.starts_with(b"PUT ");
    for (nth, (when, n_most)) in
        [(in_the_midst, SIZE + HALF), (before_the_last, SIZE)].into_iter().enumerate()
    {
        let (proxy, n_sent) = cutting(running.host().into(), when).await;
        let bytes = shelf::noise(SIZE, nth as u32 + 7);
        let blob = Descriptor::of(media_type::LAYER_GZIP, &bytes);
        let source: Arc<dyn Source> = Arc::new(Bytes(bytes.clone()));
        let registry = Registry::new(settings(), &proxy, None);
        let pushed = registry.repository("a/b").upload(&blob, &source, &[], None, &|_| ()).await;
        assert_eq!(pushed.unwrap(), Pushed::Sent, "{nth}");
        let n_sent = n_sent.load(Ordering::Relaxed);
        // Heads, and what was under way.
        let most = n_most..n_most + (1 << 20);
        assert!(most.contains(&n_sent), "{nth}: {n_sent} bytes were sent of {SIZE}");
        assert_eq!(download(&client(&running, None), &blob).await.unwrap(), bytes);
    }
}
