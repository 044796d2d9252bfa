//! Bodies that are no request, at every route of the table: an answer, `400` where JSON is read, and
//! little memory.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use containers::{Engine, EngineConfig};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;

use crate::routes::ROUTES;
use crate::{Api, serve};

/// Routes that read JSON before anything else.
const JSON: &[&str] = &[
    "/auth",
    "/commit",
    "/containers/create",
    "/containers/{}/exec",
    "/containers/{}/update",
    "/networks/create",
    "/networks/{}/connect",
    "/networks/{}/disconnect",
    "/secrets/create",
    "/volumes/create",
];
/// The most that the process may grow by at one request, in KiB.
const MOST_KIB: u64 = 100 << 10;

/// An engine in a folder of its own, which goes with it.
struct Fixture {
    api: Api,
    folder: PathBuf,
}

impl Fixture {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("dhow-{name}-{}", std::process::id()));
        let engine = Engine::open(EngineConfig {
            root: folder.join("root"),
            state: folder.join("state"),
            exe: PathBuf::from("/proc/self/exe"),
            embedded: &[],
            driver: None,
            settings: containers::Settings::default(),
            starts: false,
        });
        let (engine, builds) = (Arc::new(engine.unwrap()), crate::Builds::default());
        Self {
            api: Api { engine, upgrades: None, builds, warnings: Arc::default(), alone: false },
            folder,
        }
    }

    /// The status and the text of an answer. `whole`: with its length, else in chunks.
    async fn ask(&self, method: &Method, path: &str, body: &[u8], whole: bool) -> (u16, String) {
        let (client, server) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve(self.api.clone(), server));
        let (mut sender, connection) = http1::handshake(TokioIo::new(client)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("Host", "dhow");
        let request = request.header("Content-Type", "application/json");
        let body = Bytes::copy_from_slice(body);
        let body = if whole {
            Full::new(body).boxed()
        } else {
            let pieces: Vec<Bytes> = body.chunks(1 << 14).map(Bytes::copy_from_slice).collect();
            Pieces(pieces.into_iter()).boxed()
        };
        let Ok(response) = sender.send_request(request.body(body).unwrap()).await else {
            // It was answered and closed before all of the body was sent.
            return (400, String::new());
        };
        let status = response.status().as_u16();
        let text = response.into_body().collect().await.map(http_body_util::Collected::to_bytes);
        (status, String::from_utf8_lossy(&text.unwrap_or_default()).into_owned())
    }
}

/// A body that comes in pieces, of which nobody is told the sum.
struct Pieces(std::vec::IntoIter<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The most memory that this process has had since it was last asked to forget that.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Bodies by their names.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let numbers = format!("{{\"x\":[{}0]}}", "0,".repeat(900_000));
    // As large as they are when they are read.
    let ports = "{\"HostConfig\":{\"PortBindings\":{\"1/tcp\":[";
    let ports = format!("{ports}{}", "{},".repeat(500_000));
    let mounts = format!("{{\"HostConfig\":{{\"Mounts\":[{}{{}}]}}}}", "{},".repeat(690_000));
    vec![
        ("truncated", b"{\"Image\":\"busy".to_vec()),
        ("truncated list", b"{\"Env\":[".to_vec()),
        ("deep list", b"[".repeat(100_000)),
        ("deep object", b"{\"a\":".repeat(100_000)),
        ("deep in a field", [b"{\"Labels\":".to_vec(), b"[".repeat(100_000)].concat()),
        ("a list", b"[]".to_vec()),
        ("a text", b"\"x\"".to_vec()),
        ("a number", b"5".to_vec()),
        ("no JSON", b"GET / HTTP/1.1".to_vec()),
        ("bytes", (0..=255).collect()),
        ("two", b"{} {}".to_vec()),
        ("zeros", vec![0; 1 << 16]),
        ("too large", vec![b' '; 3 << 20]),
        ("many numbers", numbers.into_bytes()),
        ("many mounts", mounts.into_bytes()),
        ("many ports, cut", ports.into_bytes()),
        (
            "many mounts, cut",
            b"{\"HostConfig\":{\"Mounts\":[".iter().copied().chain(b"{},".repeat(50_000)).collect(),
        ),
    ]
}

/// Routes that read no body, and stream until somebody leaves, or ask a registry.
const LEFT_OUT: &[&str] = &["/events", "/distribution/{}/json"];

#[tokio::test]
async fn no_body_at_no_route_does_harm() {
    let fixture = Fixture::new("hostile");
    for (method, pattern, _) in ROUTES.0 {
        if LEFT_OUT.contains(pattern) {
            continue;
        }
        let path = pattern.replace("{}", "nope");
        let path = if path.ends_with("/update") { format!("{path}?version=1") } else { path };
        for (name, body) in bodies() {
            for whole in [true, false] {
                // Forget the peak: proc_pid_clear_refs(5).
                std::fs::write("/proc/self/clear_refs", "5").unwrap();
                let before = peak_kib();
                let (status, text) = fixture.ask(method, &path, &body, whole).await;
                let grown = peak_kib().saturating_sub(before);
                let what = format!("{method} {path}, {name}, whole {whole}: {status} {text}");
                assert!(grown < MOST_KIB, "{what}: {grown} KiB");
                assert!(status != 500 || !text.contains("panicked"), "{what}");
                if JSON.contains(pattern) && *method == Method::POST {
                    assert_eq!(status, 400, "{what}");
                }
            }
        }
    }
    // It still answers.
    let ping = fixture.ask(&Method::GET, "/_ping", b"", true).await;
    assert_eq!(ping, (200, "OK".to_owned()));
}

#[tokio::test]
async fn a_container_may_have_all_ports() {
    let fixture = Fixture::new("ports");
    let create = "/containers/create";
    let both = |form: fn(u16, &str) -> String| {
        let all = (1..=u16::MAX).flat_map(|port| ["tcp", "udp"].map(|by| form(port, by)));
        all.collect::<Vec<_>>().join(",")
    };
    let exposed = both(|port, by| format!("\"{port}/{by}\":{{}}"));
    let bound =
        both(|port, by| format!("\"{port}/{by}\":[{{\"HostIp\":\"\",\"HostPort\":\"{port}\"}}]"));
    let body = format!(
        "{{\"Image\":\"nosuch\",\"ExposedPorts\":{{{exposed}}},\
         \"HostConfig\":{{\"PortBindings\":{{{bound}}}}}}}"
    );
    // All of it is read: it is the image that is missing.
    let (status, text) = fixture.ask(&Method::POST, create, body.as_bytes(), true).await;
    assert_eq!((status, text.contains("nosuch")), (404, true), "{text}");
    let large = vec![b' '; 17 << 20];
    let (status, text) = fixture.ask(&Method::POST, create, &large, true).await;
    assert!(status == 400 && (text.is_empty() || text.contains("16 MiB")), "{text}");
}

#[tokio::test]
async fn keys_are_taken_in_any_case_and_the_last_of_several() {
    let fixture = Fixture::new("keys");
    let post = Method::POST;
    let body = br#"{"name":"first","NAME":"second","labels":{"Name":"a","name":"b"}}"#;
    let (status, text) = fixture.ask(&post, "/volumes/create", body, true).await;
    assert_eq!(status, 201, "{text}");
    let volume: docker::volume::Volume = serde_json::from_str(&text).unwrap();
    assert_eq!((volume.name.as_str(), volume.labels.len()), ("second", 2));
    let body = br#"{"image":"nosuch","hostConfig":{"memory":1}}"#;
    let (status, text) = fixture.ask(&post, "/containers/create", body, true).await;
    assert_eq!((status, text.contains("nosuch")), (404, true), "{text}");
}
