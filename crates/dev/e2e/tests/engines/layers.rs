//! Layers as containerd unpacks them, beside what we make of them: file by file, attribute by
//! attribute. Differences that are meant are in `docs/layers.md`.

use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use diff::{Limits, Options, Origin, Whiteouts};
use oci::Digest;
use testkit::{Catalogue, catalogue, differences};

use crate::generate::{self, Dice, Format, Node};
use crate::machine::Machine;

fn node(kind: u8, path: &str, link: &str) -> Node {
    let mode = if kind == b'5' { 0o755 } else { 0o644 };
    let data = if kind == b'0' { path.as_bytes().to_vec() } else { Vec::new() };
    let mtime = (1_000_000_000 + path.len() as i64, 0);
    Node { path: path.into(), link: link.into(), kind, mode, mtime, data, ..Node::default() }
}

fn file(path: &str) -> Node {
    node(b'0', path, "")
}

fn dir(path: &str) -> Node {
    node(b'5', path, "")
}

/// Layers that hide, replace and link, over one of a generator's.
fn layers(format: Format) -> Vec<Vec<u8>> {
    let mut dice = Dice::new(11);
    let mut base = generate::nodes(&mut dice, format, 120);
    for one in &mut base {
        // Holes are written out by containerd, and it knows no contiguous file, nor GNU's sparse ones.
        if let Some((map, size)) = &mut one.sparse {
            *size = map.last().map_or(0, |(at, len)| at + len) + 10_000;
        }
        if one.kind == b'S' {
            one.sparse = None;
        }
        if matches!(one.kind, b'7' | b'S') {
            one.kind = b'0';
        }
    }
    one_file_one_owner(&mut base);
    base.extend([
        dir("etc/"),
        file("etc/stays"),
        file("etc/gone"),
        file("etc/changes"),
        file("etc/becomes-dir"),
        file("etc/becomes-link"),
        dir("old/"),
        dir("old/deep/"),
        file("old/deep/hidden"),
        dir("removed/"),
        file("removed/file"),
        dir("again/"),
        file("again/before"),
        node(b'2', "link-to-dir", "etc"),
        node(b'2', "link-replaced", "etc"),
        dir("replaced-by-file/"),
        file("replaced-by-file/inner"),
        dir("kept/"),
        file("kept/one"),
        node(b'2', "abs", "/etc"),
    ]);
    let mut open = dir("etc/");
    open.mode = 0o1777;
    open.owner = (7, 8);
    let mut second = vec![
        open,
        file("etc/.wh.gone"),
        file("etc/changes"),
        dir("etc/becomes-dir"),
        file("etc/becomes-dir/inside"),
        node(b'2', "etc/becomes-link", "changes"),
        dir("old/"),
        file("old/.wh..wh..opq"),
        file("old/new"),
        file(".wh.removed"),
        file(".wh.again"),
        dir("link-replaced/"),
        file("link-replaced/inner"),
        file("replaced-by-file"),
        // Parents that are not mentioned.
        file("kept/implied/parents/two"),
        file("new/implied/parents/three"),
        // Twice, and of another kind. containerd would give the file the directory's time.
        Node { mtime: file("twice").mtime, ..dir("twice/") },
        file("twice/inner"),
        file("twice"),
        file("linked"),
        node(b'1', "linked-too", "linked"),
        node(b'2', "a-link", "linked"),
        node(b'1', "linked-link", "a-link"),
        file("linked"),
        file(".wh..wh.aufs"),
        file("etc/.wh..wh.plnk"),
        file(".wh.was-never-there"),
    ];
    one_file_one_owner(&mut second);
    let third = vec![
        dir("again/"),
        file("again/after"),
        file("removed"),
        file("etc/gone"),
        file("kept/.wh.one"),
        file("kept/implied/.wh.parents"),
        dir("old/deep/"),
        file("old/deep/fresh"),
    ];
    let mut all = vec![generate::archive(&mut dice, format, &base)];
    for nodes in [second, third] {
        all.push(generate::archive(&mut dice, Format::Ustar, &nodes));
    }
    all
}

/// containerd gives a file what its other names say of it, the last of them. Writers say the same of all.
fn one_file_one_owner(nodes: &mut [Node]) {
    for nth in 0..nodes.len() {
        if nodes[nth].kind != b'1' {
            continue;
        }
        let link = nodes[nth].link.clone();
        let plain = |path: &[u8]| path.strip_prefix(b"./").unwrap_or(path).to_vec();
        let target = nodes[..nth].iter().rev().find(|node| plain(&node.path) == link).cloned();
        let target = target.expect("what is linked");
        let Node { path, kind, link, .. } = nodes[nth].clone();
        nodes[nth] = Node { path, kind, link, data: Vec::new(), sparse: None, ..target };
    }
}

/// The image as an archive of an OCI layout.
fn image(path: &Path, layers: &[Vec<u8>]) {
    let digests: Vec<String> = layers.iter().map(|one| Digest::sha256(one).to_string()).collect();
    let config = serde_json::json!({
        "architecture": oci::image::Platform::native().architecture, "os": "linux",
        "config": {}, "rootfs": { "type": "layers", "diff_ids": digests },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let descriptor = |kind: &str, bytes: &[u8]| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": Digest::sha256(bytes).to_string(), "size": bytes.len(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config),
        "layers": layers.iter().map(|one| descriptor("layer.v1.tar", one)).collect::<Vec<_>>(),
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut named = descriptor("manifest.v1+json", &manifest);
    named["annotations"] = serde_json::json!({
        "io.containerd.image.name": "docker.io/me/layers:1",
        "org.opencontainers.image.ref.name": "1",
    });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [named] });
    testkit::archive(path, |tar| {
        tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#);
        tar.directory("blobs/", 0o755);
        tar.directory("blobs/sha256/", 0o755);
        for blob in layers.iter().chain([&config, &manifest]) {
            tar.file(&format!("blobs/sha256/{}", Digest::sha256(blob).hex()), 0o644, blob);
        }
        tar.file("index.json", 0o644, &serde_json::to_vec(&index).unwrap());
    });
}

/// What our unpacking makes, as an overlay shows it, and as whole trees.
fn ours(home: &Path, layers: &[Vec<u8>]) -> [Catalogue; 2] {
    let (mut stack, mut whole): (Vec<PathBuf>, Option<PathBuf>) = (Vec::new(), None);
    for (nth, layer) in layers.iter().enumerate() {
        let place = |what: &str| {
            let path = home.join(format!("{what}{nth}"));
            std::fs::create_dir(&path).unwrap();
            path
        };
        let unpack = |root: &Path, below: &[PathBuf], whiteouts| {
            let limits = Limits::default();
            let options = Options { origin: Origin::Layer, below, whiteouts, limits };
            diff::apply(&mut layer.as_slice(), root, &options).unwrap();
        };
        let own = place("own");
        unpack(&own, &stack, Whiteouts::Overlay);
        stack.insert(0, own);
        let (changes, all) = (place("changes"), place("all"));
        unpack(&changes, whole.as_slice(), Whiteouts::Files);
        if let Some(below) = &whole {
            tree::copy(below, &all, tree::Files::Link).unwrap();
        }
        tree::merge(&changes, &all).unwrap();
        whole = Some(all);
    }
    let mounted = mount::overlay(&stack, None, &[]).unwrap();
    let shown = PathBuf::from(format!("/proc/self/fd/{}/.", mounted.as_raw_fd()));
    [catalogue(&shown), catalogue(&whole.unwrap())]
}

/// Without what containerd does not keep, and what is nobody's: times of directories that no layer
/// mentions.
fn comparable(mut all: Catalogue, implied: &[&str]) -> Catalogue {
    all.remove(Path::new(""));
    // It makes the parent of a global header's name.
    all.remove(Path::new("PaxHeaders"));
    for (path, one) in &mut all {
        one.data.clear();
        one.xattrs.retain(|name, _| {
            !name.starts_with("trusted.") && !name.starts_with("system.posix_acl_")
        });
        if one.mtime.0 < 0 {
            one.mtime = (0, 0);
        }
        if implied.iter().any(|name| path == Path::new(name)) {
            one.mtime = (0, 0);
        }
    }
    all
}

#[test]
fn layers_are_what_containerd_makes_of_them() {
    let Some(m) = Machine::new("layers") else { return };
    m.daemon("containerd", "containerd", "ctr version");
    for format in [Format::Ustar, Format::Gnu, Format::Pax] {
        let layers = layers(format);
        let home =
            std::env::temp_dir().join(format!("dhow-ours-{}-{format:?}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        image(&home.join("layers.tar"), &layers);
        m.bring(&home.join("layers.tar"), "layers.tar");
        m.ok("ctr images import /image/layers.tar; mkdir -p /theirs");
        m.ok("ctr images mount docker.io/me/layers:1 /theirs");
        let implied =
            ["etc", "kept", "old", "kept/implied", "new", "new/implied", "new/implied/parents"];
        let theirs = comparable(catalogue(&m.path("theirs")), &implied);
        m.ok("ctr images unmount --rm /theirs; ctr images rm docker.io/me/layers:1");
        for (what, mine) in ["overlay", "whole"].iter().zip(ours(&home, &layers)) {
            let found = differences(&theirs, &comparable(mine, &implied));
            assert!(found.is_empty(), "{format:?}, {what}:\n{}", found.join("\n"));
        }
        std::fs::remove_dir_all(&home).unwrap();
    }
    m.finish();
}
