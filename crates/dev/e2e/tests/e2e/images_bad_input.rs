//! What goes wrong with images: through the API the status and the words, on the command line the exit
//! code and one line; and the images as they were.

use std::process::Child;
use std::sync::mpsc;
use std::thread::JoinHandle;

use oci::image::{Descriptor, ImageConfig, Manifest, RootFs, media_type};
use oci::{DiffId, Digest};
use testkit::{Sandbox, needs};

use crate::busybox;
use crate::docker_client::Daemon;
use crate::server::{Reply, Request, Server, error};
use crate::shelf::Shelf;

/// What the registry answers for each repository.
fn answer(shelf: &Shelf, request: &Request) -> Reply {
    let reply = shelf.answer(request);
    let is_manifest = request.path().contains("/manifests/");
    let repository = request.path().split('/').nth(2).unwrap_or_default();
    match repository {
        "rotten" if reply.body.starts_with(b"layer") => Reply::new(200, "other"),
        "denied" => error(403, "DENIED", "requested access to the resource is denied"),
        "closed" => Reply::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
        "odd" if is_manifest => {
            Reply::new(200, "{\"schemaVersion\":2,\"mediaType\":\"text/x-odd\"}")
                .with("Content-Type", "text/x-odd")
        }
        _ => reply,
    }
}

/// A registry in the network of a sandbox, until it is dropped.
struct Registry {
    host: String,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    fn start(sandbox: &Sandbox, shelf: Shelf) -> Self {
        let network = std::fs::File::open(format!("/proc/{}/ns/net", sandbox.host_pid())).unwrap();
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            use std::os::fd::AsFd as _;
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(network.as_fd(), kind).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let server = Server::start(move |request| answer(&shelf, request)).await;
                tell.send(server.host()).unwrap();
                // Told to stop, or left alone.
                let _ = stopped.await;
            });
        });
        let host = told.recv().unwrap();
        Self { host, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

/// Images of one layer each, that is no archive: none of them is to be unpacked.
fn shelf() -> Shelf {
    let shelf = Shelf::default();
    let layer = b"layer".as_slice();
    let config = ImageConfig {
        os: "linux".into(),
        rootfs: RootFs { diff_ids: vec![DiffId(Digest::sha256(layer))], ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = shelf.blob(media_type::CONFIG, &serde_json::to_vec(&config).unwrap());
    let image = |kind: &str, tag: &str| {
        let manifest = Manifest::new(config.clone(), vec![shelf.blob(kind, layer)]);
        let manifest = serde_json::to_vec(&manifest).unwrap();
        shelf.manifest(tag, media_type::MANIFEST, &manifest)
    };
    let plain: Descriptor = image(media_type::LAYER, "1");
    image("application/x-odd", "odd-layer");
    shelf.index("elsewhere", &[("plan9/mips", &plain)]);
    shelf
}

/// A server that has a certificate of yesterday, at an address that is not the machine's own.
struct Expired(Child);

impl Expired {
    const HOST: &str = "192.0.2.1:5443";

    /// `None` where there is no openssl.
    fn start(sandbox: &Sandbox) -> Option<Self> {
        let script = "exec 2>&1; set -e
            req() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \"$@\"; }
            req -x509 -days 9 -subj /CN=ca -keyout ca.key -out ca.crt
            req -subj /CN=server -keyout server.key -out server.csr
            echo subjectAltName=IP:192.0.2.1 >server.ext
            openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days -1 \
                -extfile server.ext -out server.crt";
        let work = sandbox.work();
        let made = sandbox.sh(&format!("cd {}; {script}", work.display()));
        if made.code != 0 {
            testkit::skip("Openssl", &made.stdout);
            return None;
        }
        sandbox.set_env("SSL_CERT_FILE", work.join("ca.crt").to_str().unwrap());
        let mut command = sandbox.command("openssl");
        command.args(["s_server", "-quiet", "-accept", Self::HOST, "-cert"]);
        command.arg(work.join("server.crt")).arg("-key").arg(work.join("server.key"));
        let null = std::process::Stdio::null;
        let server = command.stdout(null()).stderr(null()).spawn().unwrap();
        // 192.0.2.1:5443 in a state of `LISTEN`: proc_net_tcp.rst.
        let listens = "grep -q ' 010200C0:1543 00000000:0000 0A' /proc/net/tcp";
        testkit::wait_until("the server listens", || sandbox.sh(listens).code == 0);
        Some(Self(server))
    }
}

impl Drop for Expired {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One thing that goes wrong. Where an answer has begun already, its status stays 200 and the error is
/// its last line, as with `dockerd`.
struct Row<'a> {
    /// `METHOD PATH`, and a file that is sent.
    request: (String, &'a str),
    status: u16,
    args: Vec<&'a str>,
    code: i32,
    /// What both say.
    want: &'a str,
}

#[test]
fn what_is_wrong_with_images_is_said_and_changes_nothing() {
    needs!(Root, Overlay, Netns, Busybox, Curl);
    let sandbox = busybox("bad-images");
    sandbox.sh("ip route add unreachable 198.51.100.0/24").success();
    sandbox.sh("ip addr add 192.0.2.1/32 dev lo").success();
    sandbox.ok(&["create", "--name", "user", "busybox", "true"]);
    sandbox.baseline();
    let expired = Expired::start(&sandbox);
    let registry = Registry::start(&sandbox, shelf());
    let host = registry.host.as_str();
    let archive = sandbox.work().join("half.tar");
    let saved = sandbox.work().join("saved.tar");
    sandbox.ok(&["save", "-o", saved.to_str().unwrap(), "busybox"]);
    let bytes = std::fs::read(&saved).unwrap();
    std::fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::remove_file(&saved).unwrap();
    let archive = archive.to_str().unwrap();
    let daemon = Daemon::start(&sandbox);

    let no_route = "198.51.100.7:5000/a:1".to_owned();
    let of_yesterday = format!("{}/a:1", Expired::HOST);
    let of = |name: &String| {
        let (name, tag) = name.rsplit_once(':').unwrap();
        (format!("POST /images/create?fromImage={name}&tag={tag}"), "")
    };
    let pulls = [
        ("rotten/a:1", 200, "filesystem layer verification failed for digest sha256:"),
        ("odd/a:1", 400, "text/x-odd"),
        (
            "good/a:odd-layer",
            200,
            "unsupported media type `application/x-odd` of the layer sha256:",
        ),
        ("good/a:elsewhere", 404, "no matching manifest for linux/"),
        ("good/a:none", 404, "good/a:none not found: manifest unknown: manifest unknown"),
        ("denied/a:1", 404, "denied/a, repository does not exist or may require 'docker login'"),
        ("closed/a:1", 401, "asks for a name and a password: use 'docker login"),
    ]
    .map(|(name, status, want)| (format!("{host}/{name}"), status, want));
    let mut all: Vec<Row<'_>> = pulls
        .iter()
        .map(|(name, status, want)| Row {
            request: of(name),
            status: *status,
            args: vec!["pull", name],
            code: 1,
            want,
        })
        .collect();
    all.push(Row {
        request: of(&no_route),
        status: 500,
        args: vec!["run", "--rm", &no_route, "true"],
        code: 125,
        want: "dial tcp 198.51.100.7:5000: No route to host",
    });
    if expired.is_some() {
        all.push(Row {
            request: of(&of_yesterday),
            status: 500,
            args: vec!["pull", &of_yesterday],
            code: 1,
            want: "tls: failed to verify certificate: x509: certificate has expired or is not yet valid",
        });
    }
    all.push(Row {
        request: ("POST /images/load".into(), archive),
        status: 200,
        args: vec!["load", "-i", archive],
        code: 1,
        want: "the archive is truncated: it ends in the data of ",
    });
    all.push(Row {
        request: ("DELETE /images/busybox".into(), ""),
        status: 409,
        args: vec!["rmi", "busybox"],
        code: 1,
        want: "container",
    });

    let mut wrong = Vec::new();
    let listed = || {
        sandbox.ok(&["images", "-a", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"])
    };
    let before = listed();
    for Row { request: (request, file), status, args, code, want } in all {
        let (method, path) = request.split_once(' ').unwrap();
        let mut curl = sandbox.command("curl");
        curl.args(["-s", "-w", "\n%{http_code}", "--unix-socket"]);
        curl.arg(daemon.socket()).args(["-X", method]).arg(format!("http://d/v1.51{path}"));
        if !file.is_empty() {
            curl.args(["-H", "Content-Type: application/x-tar", "-T", file]);
        }
        let said = testkit::capture(&mut curl).success();
        let (body, found) = said.rsplit_once('\n').unwrap();
        if found != status.to_string() || !body.contains(want) {
            wrong.push(format!("{request}: {found} {body}"));
        }
        let output = sandbox.dhow(&args);
        let last = output.stderr.lines().last().unwrap_or_default();
        if output.code != code || !last.contains(want) || last.contains("panicked") {
            wrong.push(format!("{args:?}: {output:?}"));
        }
        assert_eq!(listed(), before, "{request}");
        let check = sandbox.dhow(&["system", "check"]);
        if check.code != 0 {
            wrong.push(format!("after {request}: {check:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    drop((daemon, registry, expired));
    // What came of the pulls stays for a day, for the next to go on from.
    sandbox.ok(&["image", "prune", "-af"]);
    sandbox.finish();
}
