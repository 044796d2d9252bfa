//! Who may do what: read-only, passwords, TLS, web pages; and clients that are none.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::home::{Home, image};
use oci::Digest;
use registry::{Credentials, Settings};
use registry_api::Config;

/// `user:secret`, as `htpasswd -B` writes it.
const HTPASSWD: &str = "user:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

#[test]
fn it_may_be_read_only() {
    let config = Config { writable: Some(false), ..Config::default() };
    let home = Home::with("read-only", config);
    let digest = Digest::sha256(b"x");
    for (method, path) in [
        ("POST", "/v2/me/app/blobs/uploads/".to_owned()),
        ("PATCH", "/v2/me/app/blobs/uploads/1".into()),
        ("PUT", format!("/v2/me/app/blobs/uploads/1?digest={digest}")),
        ("PUT", "/v2/me/app/manifests/1".into()),
        ("DELETE", "/v2/me/app/manifests/1".into()),
        ("DELETE", format!("/v2/me/app/blobs/{digest}")),
    ] {
        home.refused(method, &path, 405, "UNSUPPORTED");
    }
    assert_eq!(home.get("/v2/_catalog").status, 200);
}

#[test]
fn web_pages_are_kept_out() {
    let home = Home::new("pages");
    let uploads = "/v2/me/app/blobs/uploads/";
    let page = home.call("POST", uploads, &[("Origin", "http://evil.test")], b"");
    page.is_error(403, "DENIED");
    for host in ["evil.test", "evil.test:5000", "localhost.evil.test", ""] {
        home.call("GET", "/v2/", &[("Host", host)], b"").is_error(403, "DENIED");
    }
    for host in ["localhost", "LOCALHOST:5000", "127.0.0.1:1", "[::1]:5000", "x.localhost"] {
        assert_eq!(home.call("GET", "/v2/", &[("Host", host)], b"").status, 200, "{host}");
    }
}

#[test]
fn a_password_is_wanted() {
    let file = std::env::temp_dir().join(format!("dhow-registry-api-{}", std::process::id()));
    std::fs::write(&file, HTPASSWD).unwrap();
    let config = Config { htpasswd: Some(file.clone()), ..Config::default() };
    let home = Home::with("password", config);
    let refused = home.refused("GET", "/v2/", 401, "UNAUTHORIZED");
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic realm="));
    home.refused("POST", "/v2/me/app/blobs/uploads/", 401, "UNAUTHORIZED");
    home.refused("GET", "/nowhere", 401, "UNAUTHORIZED");
    for (credentials, status) in [("dXNlcjpzZWNyZXQ=", 200), ("dXNlcjp3cm9uZw==", 401)] {
        let header = format!("Basic {credentials}");
        let answer = home.call("GET", "/v2/", &[("Authorization", &header)], b"");
        assert_eq!(answer.status, status);
    }
    let log_in = |password: &str| {
        let credentials = Credentials { password: password.into(), ..crate::client::user() };
        crate::client::run(async {
            let settings = Settings::default();
            registry::Registry::new(settings, &home.address.to_string(), Some(credentials))
                .log_in()
                .await
                .map_err(|error| error.to_string())
        })
    };
    log_in("secret").unwrap();
    assert!(log_in("wrong").is_err());
    std::fs::remove_file(file).unwrap();
}

#[test]
fn tls() {
    let dir = std::env::temp_dir().join(format!("dhow-registry-api-{}-certs", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=r"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: Openssl: no openssl to make a certificate");
        return;
    }
    let config = Config { tls: Some((cert.clone(), key)), ..Config::default() };
    let home = Home::with("tls", config);
    let host = home.address.to_string();
    std::fs::create_dir_all(dir.join("certs.d").join(&host)).unwrap();
    std::fs::copy(&cert, dir.join("certs.d").join(&host).join("ca.crt")).unwrap();
    let settings = Settings { certs: vec![dir.join("certs.d")], ..Settings::default() };
    crate::client::run(async {
        registry::Registry::new(settings, &host, None).log_in().await.unwrap();
    });
    // Who does not speak TLS gets nothing.
    let mut stream = home.connect();
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_cannot_be_used_is_named() {
    let home = Home::new("bad-config");
    let bind = |config: Config| {
        let images = std::sync::Arc::clone(&home.images);
        crate::client::run(async move {
            let bound = registry_api::Registry::bind(images, &config);
            bound.err().map(|error| error.to_string()).unwrap_or_default()
        })
    };
    let listen = |listen: &str| Config { listen: listen.into(), ..Config::default() };
    assert!(bind(listen("nonsense")).contains("invalid address `nonsense`"));
    assert!(bind(listen(&home.address.to_string())).contains("listen on 127.0.0.1:"));
    let local = || listen("localhost:0");
    assert!(bind(Config { name: Some("a b".into()), ..local() }).contains("invalid name `a b`"));
    let missing = home.root().join("missing");
    let said = bind(Config { htpasswd: Some(missing.clone()), ..local() });
    assert!(said.contains("/missing\""), "{said}");
    let wrong = home.root().join("wrong");
    std::fs::write(&wrong, "user:secret\n").unwrap();
    let said = bind(Config { htpasswd: Some(wrong.clone()), ..local() });
    assert!(said.contains("line 1: not a bcrypt hash"), "{said}");
    let said = bind(Config { tls: Some((missing, wrong.clone())), ..local() });
    assert!(said.contains("/missing\""), "{said}");
    let said = bind(Config { tls: Some((wrong.clone(), wrong)), ..local() });
    assert!(said.contains("holds no certificate"), "{said}");
}

/// What is no request of a registry's client does no harm.
#[test]
fn junk_does_no_harm() {
    let home = Home::new("junk");
    let manifest = image(&home, "me/app", b"1");
    home.put_manifest("me/app", "1", &manifest);
    std::fs::write(home.root().join("secret"), "secret").unwrap();
    let long = format!("GET /v2/{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000));
    for request in [
        "\0\0\0\0",
        "GET\r\n\r\n",
        "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "PUT /v2/me/app/manifests/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n{",
        "GET /v2/me/app/blobs/sha256:../../secret HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v2/../../secret HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v2/me/app/manifests/%2e%2e%2f%2e%2e%2fsecret HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v2/..%2f..%2fsecret/tags/list HTTP/1.1\r\nHost: localhost\r\n\r\n",
        &long,
    ] {
        let mut stream = home.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 2"), "{request}: {answer}");
        assert!(!answer.ends_with("secret"), "{request}: {answer}");
    }
    assert_eq!(home.get("/v2/me/app/manifests/1").body, manifest);
}
