//! `dhow system check`: what is wrong with the store, and what is done about it.

use std::fs;
use std::path::PathBuf;

use crate::busybox;
use serde_json::Value;
use testkit::{Sandbox, needs};

/// The largest blob: the layer of busybox.
fn layer_blob(sandbox: &Sandbox) -> PathBuf {
    let blobs = fs::read_dir(sandbox.root().join("content/blobs/sha256")).unwrap();
    blobs
        .map(|blob| blob.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap()
}

/// The findings of a check, as it prints them for programs.
fn findings(sandbox: &Sandbox, args: &[&str]) -> (i32, Vec<Value>) {
    let all = [&["system", "check", "--format", "json"], args].concat();
    let output = sandbox.dhow(&all);
    let lines = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    (output.code, lines.collect())
}

#[test]
fn a_store_is_checked_and_repaired_beside_containers() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("check");
    let right = sandbox.ok(&["system", "check"]);
    assert!(right.ends_with("1 layer, 0 containers: all is right"), "{right}");
    sandbox.ok(&["run", "-d", "--name", "web", "busybox", "sleep", "600"]);
    assert_eq!(findings(&sandbox, &[]), (0, vec![]));

    // A blob is damaged, a layer changed; a writable layer and a volume have lost their records.
    let blob = layer_blob(&sandbox);
    let before = fs::read(&blob).unwrap();
    fs::write(&blob, &before[1..]).unwrap();
    let lost = sandbox.root().join("snapshots/active/lost/upper");
    fs::create_dir_all(lost.join("data")).unwrap();
    fs::create_dir_all(sandbox.root().join("volumes/lost")).unwrap();
    let (code, found) = findings(&sandbox, &["--quick"]);
    let kinds: Vec<_> = found.iter().map(|one| one["Kind"].as_str().unwrap()).collect();
    let orphans = ["orphan-container", "orphan-volume"];
    assert_eq!((code, kinds), (1, [&["damaged-blob"][..], &orphans].concat()), "the size is wrong");
    let text = sandbox.dhow(&["system", "check"]);
    let line = text.stdout.lines().find(|line| line.starts_with("damaged blob sha256:")).unwrap();
    assert!(line.contains("; image busybox:latest; container web"), "{line}");
    assert!(text.stdout.ends_with(": 3 wrong\n"), "{}", text.stdout);

    let (code, found) = findings(&sandbox, &["--repair"]);
    assert_eq!((code, found.len()), (1, 3));
    assert!(!blob.exists() && lost.exists(), "only what nobody can want goes");
    // The container goes on, and so do new ones: the layer is unpacked.
    assert_eq!(sandbox.ok(&["exec", "web", "echo", "alive"]), "alive");
    assert_eq!(sandbox.ok(&["run", "--rm", "busybox", "echo", "new"]), "new");
    sandbox.ok(&["import", sandbox.work().join("busybox.tar").to_str().unwrap(), "busybox"]);
    fs::remove_dir_all(lost.parent().unwrap()).unwrap();
    fs::remove_dir_all(sandbox.root().join("volumes")).unwrap();

    // A layer that a container has is not replaced; when it has gone, it is.
    let layers = sandbox.root().join("snapshots/layers");
    let layer = fs::read_dir(layers).unwrap().next().unwrap().unwrap().path();
    fs::write(layer.join("fs/new"), "x").unwrap();
    let (code, found) = findings(&sandbox, &["--repair"]);
    let changed: Vec<_> = found.iter().filter(|one| one["Kind"] == "changed-layer").collect();
    assert_eq!((code, changed.len()), (1, 1), "{found:?}");
    assert_eq!(changed[0]["Containers"][0], "web");
    sandbox.ok(&["rm", "-f", "web"]);
    let (code, found) = findings(&sandbox, &["--repair"]);
    assert_eq!((code, &found[0]["Fixed"], found.len()), (0, &Value::Bool(true), 1));
    assert!(!layer.join("fs/new").exists());
    assert_eq!(findings(&sandbox, &[]), (0, vec![]));
    sandbox.discard();
}
