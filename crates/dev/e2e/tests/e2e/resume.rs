//! A pull that is killed goes on from the last byte: across layers, and across processes.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use oci::Digest;
use oci::image::{Descriptor, ImageConfig, Manifest, RootFs, media_type};
use tarstream::{Entry, Kind, Writer};
use testkit::{needs, wait_until};

use crate::busybox;

/// Where the child finds the folder to write what it was asked into.
const WORK: &str = "DHOW_TEST_REGISTRY";
/// Bytes of a layer's file: with what is sent at a time, and the pauses, more than half a second.
const LAYER: usize = 3 << 20;
const PIECE: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(10);

/// What the registry has, by the last part of the path.
fn shelf() -> BTreeMap<String, Vec<u8>> {
    let layers: Vec<_> = (0..4).map(layer).collect();
    let diff_ids = layers.iter().map(|layer| oci::DiffId(Digest::sha256(layer))).collect();
    let config = ImageConfig {
        os: "linux".into(),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = serde_json::to_vec(&config).unwrap();
    let blobs = layers.iter().map(|layer| Descriptor::of(media_type::LAYER, layer)).collect();
    let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), blobs);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let blobs = layers.into_iter().chain([config]);
    let mut shelf: BTreeMap<String, Vec<u8>> =
        blobs.map(|blob| (Digest::sha256(&blob).to_string(), blob)).collect();
    shelf.insert(Digest::sha256(&manifest).to_string(), manifest.clone());
    shelf.insert("1".into(), manifest);
    shelf
}

fn layer(mut state: u32) -> Vec<u8> {
    let name = format!("file-{state}");
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let data: Vec<u8> = (0..LAYER).map(next).collect();
    let mut writer = Writer::new(Vec::new());
    let entry = Entry {
        path: name.into(),
        kind: Kind::File,
        mode: 0o644,
        size: data.len() as u64,
        ..Entry::default()
    };
    writer.append(&entry, &mut &data[..]).unwrap();
    writer.finish().unwrap()
}

/// The child half of the next test: a slow registry.
#[test]
fn child_that_serves() {
    let Some(work) = std::env::var_os(WORK).map(PathBuf::from) else { return };
    let listener = TcpListener::bind("127.0.0.1:5000").unwrap();
    let shelf = Arc::new(shelf());
    for stream in listener.incoming() {
        let (shelf, work) = (Arc::clone(&shelf), work.clone());
        std::thread::spawn(move || {
            // A client that is killed is what this is about.
            _ = serve(stream.unwrap(), &shelf, &work);
        });
    }
}

fn serve(stream: TcpStream, shelf: &BTreeMap<String, Vec<u8>>, work: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut request = Vec::new();
        lines.read_until(b'\n', &mut request)?;
        let request = String::from_utf8(request).unwrap_or_default();
        let Some(path) = request.split(' ').nth(1) else { return Ok(()) };
        let mut from = 0;
        loop {
            let mut line = String::new();
            lines.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            let lower = line.trim().to_ascii_lowercase();
            if let Some(range) = lower.strip_prefix("range: bytes=") {
                from = range.trim_end_matches('-').parse().unwrap();
            }
        }
        let name = path.rsplit('/').next().unwrap();
        let Some(bytes) = shelf.get(name) else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        };
        let kind = if path.contains("/manifests/") { media_type::MANIFEST } else { "x/y" };
        let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nContent-Range: bytes \
             {from}-{}/{}\r\n\r\n",
            bytes.len() - from,
            bytes.len() - 1,
            bytes.len()
        )?;
        if request.starts_with("HEAD") {
            continue;
        }
        if bytes.len() > PIECE {
            let log = OpenOptions::new().create(true).append(true).open(work.join("asked"));
            // In one piece: each connection writes there.
            log?.write_all(format!("{name} {from}\n").as_bytes())?;
        }
        for piece in bytes[from..].chunks(PIECE) {
            stream.write_all(piece)?;
            if bytes.len() > PIECE {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

#[test]
fn a_pull_that_is_killed_goes_on_from_the_last_byte() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("resume");
    let work = sandbox.work();
    let server = sandbox
        .command(std::env::current_exe().unwrap())
        .args(["--exact", "resume::child_that_serves", "--nocapture"])
        .env(WORK, &work)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Running(server);
    let listens = "grep -q ' 0100007F:1388 00000000:0000 0A' /proc/net/tcp";
    wait_until("the registry listens", || sandbox.sh(listens).code == 0);

    let ingest = sandbox.root().join("content/ingest");
    // How much there is of each layer that has not come as a whole, and how much in all.
    let parts = || -> BTreeMap<String, u64> {
        let entries = fs::read_dir(&ingest).unwrap().map(|entry| entry.unwrap());
        let parts = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let digest = name.strip_suffix(".part")?.replacen('-', ":", 1);
            Some((digest, entry.metadata().ok()?.len()))
        });
        parts.collect()
    };
    let whole = |shelf: &BTreeMap<String, Vec<u8>>| -> u64 {
        let blob = |digest: &String| sandbox.root().join("content/blobs/sha256").join(&digest[7..]);
        let sizes = shelf
            .keys()
            .filter(|name| name.starts_with("sha256:"))
            .map(|name| fs::metadata(blob(name)).map_or(0, |found| found.len()));
        sizes.sum::<u64>()
    };
    let asked = || -> Vec<(String, u64)> {
        let text = fs::read_to_string(work.join("asked")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(name, from)| (name.to_owned(), from.parse().unwrap())).collect()
    };

    let shelf = shelf();
    let name = "localhost:5000/a/b:1";
    let (mut n_seen, mut n_resumed) = (0, 0);
    let mut before: BTreeMap<String, u64> = BTreeMap::new();
    for goal in [1, 4, 7, 10].map(|n| n * (LAYER as u64) / 3) {
        let mut pull = sandbox.dhow_command(&["pull", name]);
        let mut pull = Running(pull.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let there = || parts().values().sum::<u64>() + whole(&shelf);
        wait_until("some of it has come", || there() >= goal);
        // SIGKILL.
        pull.0.kill().unwrap();
        pull.0.wait().unwrap();
        let all = asked();
        for (digest, from) in &all[n_seen..] {
            let left = before.get(digest).copied().unwrap_or(0);
            assert_eq!(*from, left, "{digest} was asked for from another byte than the last");
            n_resumed += usize::from(left > 0);
        }
        n_seen = all.len();
        before = parts();
        sandbox.ok(&["system", "check"]);
    }
    assert!(n_resumed >= 3, "{:?}", asked());
    sandbox.ok(&["pull", name]);
    for (digest, from) in &asked()[n_seen..] {
        assert_eq!(*from, before.get(digest).copied().unwrap_or(0));
    }
    // Each layer was asked for as a whole once.
    let from_start = asked().into_iter().filter(|(_, from)| *from == 0).count();
    assert_eq!(from_start, 4, "{:?}", asked());
    assert_eq!(parts(), BTreeMap::new());
    sandbox.ok(&["system", "check"]);
    sandbox.ok(&["rmi", name]);
    drop(server);
    sandbox.finish();
}
