//! Certificates, made by openssl, and registries that have them.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use registry::{Error, Hosts, Registry, Settings};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use crate::names::Dir;
use crate::server::Server;
use crate::shelf::Shelf;
use crate::{quick, resolve, told};

/// An authority, and what it vouches for.
pub(crate) struct Authority<'d> {
    dir: &'d Dir,
    name: &'static str,
}

fn openssl(dir: &Dir, args: &[&str]) -> bool {
    let mut command = Command::new("openssl");
    command.args(args).current_dir(&dir.0).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl<'d> Authority<'d> {
    /// `None` where there is no openssl.
    pub(crate) fn new(dir: &'d Dir, name: &'static str) -> Option<Self> {
        let subject = format!("/CN={name}");
        let (key, out) = (format!("{name}.key"), format!("{name}.crt"));
        let args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let args = [&args[..], &["-nodes", "-days", "9", "-subj", &subject]].concat();
        let args = [&args[..], &["-keyout", &key, "-out", &out]].concat();
        if !openssl(dir, &args) {
            println!("skipped: Openssl: no openssl to make a certificate");
            return None;
        }
        Some(Self { dir, name })
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.0.join(format!("{}.crt", self.name))
    }

    /// A certificate with its key, for so many days from now.
    pub(crate) fn certify(&self, name: &str, more: &str, days: &str) -> (PathBuf, PathBuf) {
        let subject = format!("/CN={name}");
        let file = |end: &str| format!("{name}.{end}");
        self.dir.file(&file("ext"), &format!("{more}\n"));
        let (key, request, out) = (file("key"), file("csr"), file("cert"));
        let made = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let made = [&made[..], &["-subj", &subject, "-keyout", &key, "-out", &request]].concat();
        assert!(openssl(self.dir, &made));
        let (ca, ca_key) = (format!("{}.crt", self.name), format!("{}.key", self.name));
        let signed = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
        let ext = file("ext");
        let signed = [&signed[..], &["-CAcreateserial", "-days", days, "-out", &out]].concat();
        assert!(openssl(self.dir, &[&signed[..], &["-extfile", &ext]].concat()));
        (self.dir.0.join(out), self.dir.0.join(key))
    }

    /// A server with a certificate of ours; one that wants to see one of `clients`' too.
    pub(crate) fn acceptor(
        (cert, key): &(PathBuf, PathBuf),
        clients: Option<&Authority<'_>>,
    ) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key).unwrap()))
    }
}

const HERE: &str = "subjectAltName=IP:127.0.0.1";

async fn serve(tls: TlsAcceptor) -> Server {
    let shelf = Shelf::default();
    shelf.image("1", "amd64", &[]);
    let tls = Some(tls);
    Server::start_with("127.0.0.1:0", tls, move |request| shelf.answer(request)).await
}

/// Asks by what a `hosts.toml` of this text says of the server.
async fn ask(dir: &Dir, server: &Server, text: &str) -> Result<(), Error> {
    let certs = dir.0.join("certs.d");
    dir.file(&format!("certs.d/{}/hosts.toml", server.host()), text);
    let settings = Settings { certs: vec![certs], ..quick() };
    let hosts = Hosts::of(&settings, &server.host(), None).unwrap();
    resolve(hosts.last(), "1").await.map(drop)
}

#[tokio::test]
async fn a_private_authority_and_certificates_of_ours() {
    let dir = Dir::new("hosts-tls");
    let Some(theirs) = Authority::new(&dir, "theirs") else { return };
    let ours = Authority::new(&dir, "ours").unwrap();
    let server = theirs.certify("server", HERE, "2");
    let client = ours.certify("client", "extendedKeyUsage=clientAuth", "2");
    // One that the server takes none of comes first.
    theirs.certify("stranger", "extendedKeyUsage=clientAuth", "2");
    let server = serve(Authority::acceptor(&server, Some(&ours))).await;

    let at = |file: &str| dir.0.join(file).display().to_string();
    let ca = format!("ca = \"{}\"\n", theirs.file().display());
    let pair = |name: &str| {
        format!("[\"{}\", \"{}\"]", at(&format!("{name}.cert")), at(&format!("{name}.key")))
    };
    let clients = format!("client = [{}, {}]\n", pair("stranger"), pair("client"));
    ask(&dir, &server, &format!("{ca}{clients}")).await.unwrap();
    let whole = dir.file(
        "both.pem",
        &[&client.0, &client.1].map(|file| std::fs::read_to_string(file).unwrap()).concat(),
    );
    ask(&dir, &server, &format!("{ca}client = \"{}\"\n", whole.display())).await.unwrap();
    // The machine itself is not verified, unless that was asked for.
    ask(&dir, &server, &clients).await.unwrap();
    for (text, why) in [
        (format!("{clients}skip_verify = false\n"), "certificate signed by unknown authority"),
        (
            format!("ca = \"{}\"\n{clients}", ours.file().display()),
            "certificate signed by unknown authority",
        ),
        (ca.clone(), "CertificateRequired"),
        (format!("{ca}client = [{}]\n", pair("stranger")), "the connection broke"),
    ] {
        let said = told(ask(&dir, &server, &text).await);
        assert!(said.contains(why) || said.contains("the connection broke"), "{text}: {said}");
    }
    let said = told(ask(&dir, &server, "ca = \"nowhere.crt\"\n").await);
    assert!(said.contains("/nowhere.crt\": No such file"), "{said}");
    // As in Docker's folders, without a hosts.toml.
    let folder = dir.0.join("certs.d").join(server.host());
    std::fs::remove_file(folder.join("hosts.toml")).unwrap();
    for (from, to) in [
        ("theirs.crt", "ca.crt"),
        ("stranger.cert", "a.cert"),
        ("stranger.key", "a.key"),
        ("client.cert", "b.cert"),
        ("client.key", "b.key"),
    ] {
        std::fs::copy(dir.0.join(from), folder.join(to)).unwrap();
    }
    let settings = Settings { certs: vec![dir.0.join("certs.d")], ..quick() };
    resolve(&Registry::new(settings, &server.host(), None), "1").await.unwrap();
}

#[tokio::test]
async fn certificates_that_are_not_what_they_should_be() {
    let dir = Dir::new("bad-certificates");
    let Some(authority) = Authority::new(&dir, "authority") else { return };
    let ca = format!("ca = \"{}\"\n", authority.file().display());
    for (name, names, days, why) in [
        ("expired", HERE, "-1", "certificate has expired or is not yet valid"),
        (
            "other",
            "subjectAltName=DNS:other.test",
            "2",
            "certificate is valid for other.test, not 127.0.0.1",
        ),
    ] {
        let certificate = authority.certify(name, names, days);
        let server = serve(Authority::acceptor(&certificate, None)).await;
        let said = told(ask(&dir, &server, &ca).await);
        let host = server.host();
        let want = format!(
            "Get \"https://{host}/v2/a/b/manifests/1\": tls: failed to verify certificate: x509: {why}"
        );
        assert_eq!(said, want);
        assert!(server.requests().is_empty());
        // Whoever asks for it gets it.
        ask(&dir, &server, &format!("{ca}skip_verify = true\n")).await.unwrap();
    }
}

/// TLS where there should be none, and the other way round.
#[tokio::test]
async fn the_wrong_protocol_is_called_so() {
    let dir = Dir::new("wrong-protocol");
    let Some(authority) = Authority::new(&dir, "authority") else { return };
    let certificate = authority.certify("server", HERE, "2");
    let server = serve(Authority::acceptor(&certificate, None)).await;
    let host = server.host();
    let said = told(ask(&dir, &server, &format!("server = \"http://{host}\"\n")).await);
    assert!(said.starts_with(&format!("Get \"http://{host}/v2/a/b/manifests/1\": ")), "{said}");
    // One of which something is said about TLS is tried with it.
    ask(&dir, &server, &format!("server = \"http://{host}\"\nskip_verify = true\n")).await.unwrap();

    let shelf = Shelf::default();
    shelf.image("1", "amd64", &[]);
    let plain = Server::start(move |request| shelf.answer(request)).await;
    let host = plain.host();
    let said = told(ask(&dir, &plain, &format!("server = \"https://{host}\"\n")).await);
    let want = "http: server gave HTTP response to HTTPS client";
    assert_eq!(said, format!("Get \"https://{host}/v2/a/b/manifests/1\": {want}"));
    assert!(plain.requests().is_empty());
    ask(&dir, &plain, &format!("server = \"http://{host}\"\nskip_verify = true\n")).await.unwrap();
}
