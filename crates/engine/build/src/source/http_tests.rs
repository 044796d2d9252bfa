//! A server that says what a test wants.

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use buildgraph::{Checksum, Detached};

use super::*;
use crate::tests::Home;

/// Answers with what `answer` makes of a request (its lines, in lower case but for the first).
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Server {
    fn new(answer: impl Fn(&[String]) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let lines = read(&stream);
                noted.lock().unwrap().push(lines.clone());
                let mut stream = stream;
                let _ = stream.write_all(answer(&lines).as_bytes());
            }
        });
        Self { address, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn n_asked(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

fn read(stream: &TcpStream) -> Vec<String> {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let lines = lines.take_while(|line| !line.is_empty()).enumerate();
    lines.map(|(n, line)| if n == 0 { line } else { line.to_ascii_lowercase() }).collect()
}

fn ok(headers: &str, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n{headers}\r\n{body}")
}

fn http(url: String) -> Http {
    Http { url, ..Http::default() }
}

async fn try_bring(home: &Home, http: &Http) -> Result<(PathBuf, String, bool), String> {
    let (build, _) = home.begin();
    let brought = bring(&build.shared, http, &Listeners::default()).await;
    brought.map_err(|error| error.to_string()).map(|(output, was_here)| {
        let Output::Tree(tree) = &output else { panic!("no tree") };
        (tree.directory.path.clone(), output.identity().unwrap(), was_here)
    })
}

fn only(dir: &Path) -> String {
    let names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    names[0].to_string_lossy().into_owned()
}

/// A client has secrets for servers; who asks may say what it is.
#[tokio::test]
async fn servers_have_secrets_of_their_own() {
    let home = Home::new("http-hosts");
    let server = Server::new(|_| ok("", "ours"));
    let secret = ("HTTP_AUTH_TOKEN_127.0.0.1".to_owned(), b"1234\n".to_vec());
    home.client.secrets.lock().unwrap().extend([secret]);
    let headers = vec![("user-agent".to_owned(), "me".to_owned())];
    try_bring(&home, &Http { headers, ..http(server.url("/file")) }).await.unwrap();
    let seen = server.seen.lock().unwrap().concat();
    assert!(seen.contains(&"authorization: bearer 1234".to_owned()), "{seen:?}");
    assert!(seen.contains(&"user-agent: me".to_owned()), "{seen:?}");
    assert_eq!(
        (ask::host("https://a.b:5/c"), ask::host("http://[::1]/x"), ask::host("http://a?b")),
        ("a.b", "[::1]", "a")
    );
}

/// What the image of a Dockerfile says of its time, and of a variable, with `SOURCE_DATE_EPOCH=context`.
async fn created(home: &Home, context: String) -> (Option<String>, Vec<String>) {
    let (build, _) = home.begin();
    let options = [("context", context.as_str()), ("build-arg:SOURCE_DATE_EPOCH", "context")];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let request = crate::FrontendRequest { options, ..crate::FrontendRequest::default() };
    let solved = build.solve(&request).await.unwrap();
    let config = oci::image::ImageConfig::parse(&solved.metadata["containerimage.config"]).unwrap();
    (config.history[0].created.clone(), config.config.env)
}

/// The time of a build is that of its context: what the server says, or the newest in the archive.
#[tokio::test]
async fn a_context_has_a_time() {
    let mut archive = tarstream::Writer::new(Vec::new());
    let text = "FROM scratch\nARG SOURCE_DATE_EPOCH\nENV at=$SOURCE_DATE_EPOCH\n";
    for (name, data, seconds) in [("Dockerfile", text, 5), ("sub/newer", "", 86_400)] {
        let mtime = tarstream::Time { seconds, nanoseconds: 0 };
        let size = data.len() as u64;
        let entry = tarstream::Entry { path: name.into(), size, mtime, ..Default::default() };
        archive.append(&entry, &mut data.as_bytes()).unwrap();
    }
    let archive = String::from_utf8(archive.finish().unwrap()).unwrap();
    let server = Server::new(move |lines| match lines[0].split(' ').nth(1) {
        Some("/dated") => ok("Last-Modified: Thu, 01 Jan 1970 00:01:00 GMT\r\n", &archive),
        _ => ok("", &archive),
    });
    let home = Home::new("epoch");
    let (created_at, env) = created(&home, server.url("/dated")).await;
    assert_eq!(created_at.as_deref(), Some("1970-01-01T00:01:00Z"));
    assert!(env.contains(&"at=60".to_owned()), "{env:?}");
    let (created_at, env) = created(&home, server.url("/undated")).await;
    assert_eq!(created_at.as_deref(), Some("1970-01-02T00:00:00Z"));
    assert!(env.contains(&"at=86400".to_owned()), "{env:?}");
}

#[tokio::test]
async fn a_file_is_asked_for_again_as_one_that_may_have_changed() {
    let home = Home::new("http-again");
    let body = Arc::new(Mutex::new("one"));
    let now = Arc::clone(&body);
    let server = Server::new(move |lines| {
        let body = *now.lock().unwrap();
        if lines.contains(&format!("if-none-match: \"{body}\"")) {
            return "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".into();
        }
        let date = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT";
        ok(&format!("ETag: \"{body}\"\r\n{date}\r\n"), body)
    });
    let source = http(server.url("/d/file.txt?x=y"));
    let (path, identity, was_here) = try_bring(&home, &source).await.unwrap();
    assert_eq!((only(&path).as_str(), was_here), ("file.txt", false));
    let look = fs::metadata(path.join("file.txt")).unwrap();
    let since = look.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert_eq!((look.permissions().mode() & 0o7777, since.as_secs()), (0o600, 784_111_777));
    assert!(identity.starts_with(&format!("http {} 600 0:0 file.txt", Digest::sha256(b"one"))));

    let (_, again, was_here) = try_bring(&home, &source).await.unwrap();
    assert_eq!((again, was_here, server.n_asked()), (identity.clone(), true, 2));
    *body.lock().unwrap() = "two";
    let (path, other, was_here) = try_bring(&home, &source).await.unwrap();
    assert_ne!((&other, was_here), (&identity, true));
    assert_eq!(fs::read_to_string(path.join("file.txt")).unwrap(), "two");

    // Whoever knows what it is asks nobody.
    let sum = Some(Checksum(Digest::sha256(b"two").to_string()));
    let known = Http { checksum: sum, ..source.clone() };
    let n_asked = server.n_asked();
    assert!(try_bring(&home, &known).await.unwrap().2);
    assert_eq!(server.n_asked(), n_asked);
    let sum = Digest::sha256(b"three");
    let wrong = Http { checksum: Some(Checksum(sum.to_string())), ..source.clone() };
    let error = try_bring(&home, &wrong).await.unwrap_err();
    assert_eq!(error, format!("digest mismatch {}: {sum}", Digest::sha256(b"two")));
    let bad = Http { checksum: Some(Checksum("sha256:zz".into())), ..source.clone() };
    assert!(try_bring(&home, &bad).await.unwrap_err().starts_with("invalid checksum sha256:zz: "));

    let own = Http { mode: Some(0o4755), uid: 3, gid: 4, name: "mine".into(), ..source };
    let (path, identity, _) = try_bring(&home, &own).await.unwrap();
    assert!(identity.ends_with(" 4755 3:4 mine"), "{identity}");
    let look = fs::metadata(path.join("mine")).unwrap();
    assert_eq!(look.permissions().mode() & 0o7777, 0o4755);
}

/// A server that sends what has not changed all the same is asked whether it has; one that does not answer that, for the file.
#[tokio::test]
async fn what_a_server_calls_a_file_is_looked_at_first() {
    let home = Home::new("http-head");
    let server = Server::new(|lines| match lines[0].split(' ').next() {
        Some("HEAD") if lines[0].contains("/refused") => {
            "HTTP/1.1 405 Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into()
        }
        Some("HEAD") => ok("ETag: \"e\"\r\n", ""),
        _ => ok("ETag: W/\"e\"\r\n", "one"),
    });
    for (path, asked) in [("/f", vec!["GET", "HEAD"]), ("/refused", vec!["GET", "HEAD", "GET"])] {
        server.seen.lock().unwrap().clear();
        for nth in 0..2 {
            let (_, _, was_here) = try_bring(&home, &http(server.url(path))).await.unwrap();
            assert_eq!(was_here, nth == 1 && path == "/f", "{path}");
        }
        let seen = server.seen.lock().unwrap();
        let methods: Vec<_> = seen.iter().map(|lines| lines[0].split(' ').next()).collect();
        assert_eq!(methods, asked.into_iter().map(Some).collect::<Vec<_>>());
        for lines in seen.iter() {
            assert!(lines.contains(&"accept-encoding: gzip".to_owned()), "{lines:?}");
            assert!(lines.iter().any(|line| line.starts_with("user-agent: dhow/")), "{lines:?}");
            assert!(lines.iter().any(|line| line.contains(" buildkit/v")), "{lines:?}");
        }
    }
}

/// What is compressed on its way is not so here; what its server only calls so is refused.
#[tokio::test]
async fn what_comes_compressed_is_unpacked() {
    // "content1", as gzip writes it; of the bytes some are no text.
    const GZIPPED: &str = "H4sIAAAAAAAC/0vOzytJzSsxBADLMSgsCAAAAA==";
    let home = Home::new("http-gzip");
    let packed = BASE64.decode(GZIPPED.as_bytes()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = read(&stream);
            let body = match lines[0].split(' ').nth(1) {
                Some("/whole") => packed.as_slice(),
                Some("/part") => &packed[..packed.len() - 9],
                Some("/empty") => b"",
                _ => b"content1",
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\nContent-Encoding: GZip\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    let of = |path: &str| http(format!("http://{address}{path}"));
    let sum = Some(Checksum(Digest::sha256(b"content1").to_string()));
    let (path, identity, _) =
        try_bring(&home, &Http { checksum: sum, ..of("/whole") }).await.unwrap();
    assert_eq!(fs::read_to_string(path.join("whole")).unwrap(), "content1");
    assert!(identity.contains(&Digest::sha256(b"content1").to_string()), "{identity}");
    assert!(!path.parent().unwrap().join(PACKED).exists());
    let (path, ..) = try_bring(&home, &of("/empty")).await.unwrap();
    assert_eq!(fs::read_to_string(path.join("empty")).unwrap(), "");
    for path in ["/part", "/plain"] {
        let error = try_bring(&home, &of(path)).await.unwrap_err();
        assert!(error.starts_with("Content-Encoding: gzip: "), "{path}: {error}");
    }
}

/// Row H05: what a server calls a file is its name in a directory, or nothing.
#[test]
fn names_are_names() {
    let name =
        |url: &str, disposition: Option<&str>| file_name(&http(url.into()), url, disposition);
    for (url, disposition, want) in [
        ("http://h/a/b.tar.gz?q=/x", None, "b.tar.gz"),
        ("http://h/", None, "download"),
        ("http://h", None, "download"),
        ("http://h/a%20b", None, "a b"),
        ("http://h/a%2f..%2fb", None, "download"),
        ("http://h/%2e%2e", None, "download"),
        ("http://h/x", Some("attachment; filename=\"y z.txt\"; size=3"), "y z.txt"),
        ("http://h/x", Some("attachment; filename=plain"), "plain"),
        ("http://h/x", Some("attachment; filename=\"../../etc/passwd\""), "passwd"),
        ("http://h/x", Some("attachment; filename=\"..\""), "download"),
        ("http://h/x", Some("attachment; filename=\"a/\""), "x"),
        ("http://h/x", Some("attachment; filename=\"a\\\"b\""), "a\"b"),
        ("http://h/x", Some("attachment; filename=a; filename*=UTF-8''%c3%a4%2fb"), "b"),
        ("http://h/x", Some("inline"), "x"),
        ("http://h/x", Some("attachment; filename=\"unended"), "unended"),
    ] {
        assert_eq!(name(url, disposition), want, "{url} {disposition:?}");
    }
    assert_eq!(safe(&"x".repeat(256)), "download");
    assert_eq!(safe("a\nb"), "download");
    let named = Http { name: "../x".into(), ..Http::default() };
    assert_eq!(file_name(&named, "http://h/y", None), "download");
}

#[tokio::test]
async fn credentials_go_to_the_one_server_alone() {
    let home = Home::new("http-credentials");
    let other = Server::new(|_| ok("", "theirs"));
    let to = other.url("/other");
    let server = Server::new(move |lines| {
        match lines[0].as_str() {
        "GET /away HTTP/1.1" => format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        "GET /same HTTP/1.1" => "HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        "GET /none?sig=s3cret HTTP/1.1" => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".into(),
        _ => ok("", "ours"),
    }
    });
    home.client.secrets.lock().unwrap().insert("KEY".into(), b"Bearer s3cret\n".to_vec());
    let with = |path: &str| Http { auth_secret: "KEY".into(), ..http(server.url(path)) };
    try_bring(&home, &with("/same")).await.unwrap();
    let is_said = |lines: &Vec<String>| lines.contains(&"authorization: bearer s3cret".to_owned());
    assert_eq!(server.seen.lock().unwrap().iter().filter(|lines| is_said(lines)).count(), 2);
    let (_, identity, _) = try_bring(&home, &with("/away")).await.unwrap();
    assert!(identity.contains(&Digest::sha256(b"theirs").to_string()));
    let all = other.seen.lock().unwrap().concat().join("\n");
    assert!(!all.contains("authorization") && !all.contains("s3cret"), "{all}");

    let in_url = server.url("/file").replace("http://", "http://u:s3cret%40@");
    try_bring(&home, &http(in_url)).await.unwrap();
    let basic =
        format!("authorization: basic {}", BASE64.encode(b"u:s3cret@")).to_ascii_lowercase();
    assert!(server.seen.lock().unwrap().last().unwrap().contains(&basic));
    let none = server.url("/none");
    let error =
        try_bring(&home, &http(none.replace("http://", "http://u:s3cret@") + "?sig=s3cret"))
            .await
            .unwrap_err();
    assert_eq!(error, format!("invalid response status 404 from {none}"));
}

#[tokio::test]
async fn what_breaks_off_is_nothing() {
    let home = Home::new("http-broken");
    let is_whole = Arc::new(Mutex::new(false));
    let whole = Arc::clone(&is_whole);
    let server = Server::new(move |_| {
        if *whole.lock().unwrap() {
            return ok("", "0123456789");
        }
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"x\"\r\nConnection: close\r\n\r\n01234"
            .into()
    });
    let source = http(server.url("/f"));
    assert!(try_bring(&home, &source).await.is_err());
    *is_whole.lock().unwrap() = true;
    let (path, _, was_here) = try_bring(&home, &source).await.unwrap();
    assert_eq!((fs::read_to_string(path.join("f")).unwrap().len(), was_here), (10, false));
}

/// What a build has looked at is there for it, whatever is removed meanwhile.
#[tokio::test]
async fn what_was_looked_at_is_not_pruned() {
    let home = Home::new("http-prune");
    let n_asked = std::sync::atomic::AtomicUsize::new(0);
    let again = move || n_asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
    let server = Server::new(move |_| ok("", &again()));
    let (build, _) = home.begin();
    let file = http(server.url("/file"));
    let listeners = Listeners::default();
    let looked = about(&build.shared, &file, None, &listeners).await.unwrap();
    home.builder.prune(&crate::Pruning { all: true, ..crate::Pruning::default() }).unwrap();
    let (output, _) = bring(&build.shared, &file, &listeners).await.unwrap();
    let Output::Tree(tree) = &output else { panic!("no tree") };
    let text = fs::read_to_string(tree.directory.path.join("file")).unwrap();
    assert_eq!((text.as_str(), looked.digest), ("0", Digest::sha256(b"0").to_string()));
}

/// A signature is looked at whenever its file is used, also of one that is here.
#[tokio::test]
async fn a_file_is_signed() {
    testkit::needs!(Gpg);
    let home = Home::new("http-signed");
    let dir = home.path("keys");
    fs::create_dir(&dir).unwrap();
    let make = "export GNUPGHOME=$PWD; chmod 700 .; trap 'gpgconf --kill all' EXIT
        gpg='gpg --batch --quiet --no-tty --pinentry-mode loopback'; printf %s signed >file
        for who in one two; do
            $gpg --passphrase '' --quick-gen-key $who@example.com ed25519 sign never 2>/dev/null
            $gpg --armor --export $who@example.com >$who.pub
            $gpg --armor -u $who@example.com --detach-sign -o $who.asc file
        done";
    let made = std::process::Command::new("sh").args(["-ec", make]).current_dir(&dir).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{made:?}");
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let server = Server::new(|lines| match lines[0].split(' ').nth(1) {
        Some("/file") => ok("ETag: \"1\"\r\n", "signed"),
        _ => ok("", "something else"),
    });
    let by = |path: &str, keys: &str, signature: String| {
        let signed = Some(Box::new(Detached { keys: read(keys), signature }));
        Http { signed, ..http(server.url(path)) }
    };
    let one = read("one.asc");
    try_bring(&home, &by("/file", "one.pub", format!("\n{one}\n"))).await.unwrap();
    for (signed, why) in [
        (by("/file", "two.pub", one.clone()), "signature made by unknown entity"),
        (by("/other", "one.pub", one.clone()), "invalid signature"),
        (by("/file", "one.pub", one.repeat(2)), "invalid signature format"),
        (by("/file", "one.asc", one), "expected public key block"),
    ] {
        let error = try_bring(&home, &signed).await.unwrap_err();
        let is_it = error.starts_with("failed to verify pgp signature: ") && error.contains(why);
        assert!(is_it, "{why}: {error}");
        let (build, _) = home.begin();
        assert!(about(&build.shared, &signed, None, &Listeners::default()).await.is_err(), "{why}");
    }
}
