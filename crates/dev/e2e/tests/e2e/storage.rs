//! Storage drivers: a container runs on each, what it changed is told and committed, and a root keeps
//! the one that it has.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::inspect;
use testkit::{Disk, Sandbox, needs};

/// An engine with this storage driver, and the image `busybox`.
fn engine(name: &str, driver: &str) -> Sandbox {
    let sandbox = Sandbox::new(name);
    sandbox.set_env("DHOW_STORAGE_DRIVER", driver);
    sandbox.import("busybox");
    // From now on the root knows.
    sandbox.unset_env("DHOW_STORAGE_DRIVER");
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.baseline();
    sandbox
}

/// What a container changes.
const CHANGES: &str = "set -e; echo changed >/etc/group; rm /etc/passwd; mkdir -p /new/dir
    echo x >/new/dir/file; ln /new/dir/file /new/name; ln -s /new /link; chmod 700 /tmp
    rm -r /root; mkdir /root; echo y >/root/fresh; cat /proc/1/comm >/dev/null; cat /etc/hosts >/dev/null";

/// A whole life: changes, restart, diff, cp, export, commit, a container of what was committed.
fn life(sandbox: &Sandbox) {
    sandbox.ok(&["run", "--name", "one", "busybox", "sh", "-c", CHANGES]);
    let changes = sandbox.ok(&["diff", "one"]);
    let mut changes: Vec<&str> = changes.lines().collect();
    changes.sort_unstable();
    let want = [
        "A /link",
        "A /new",
        "A /new/dir",
        "A /new/dir/file",
        "A /new/name",
        "A /root/fresh",
        "C /etc",
        "C /etc/group",
        "C /root",
        "C /tmp",
        "D /etc/passwd",
    ];
    assert_eq!(changes, want);
    // Its size is what it wrote, not the image's.
    let size = inspect_size(sandbox, "one");
    assert!((1..200_000).contains(&size), "{size}");
    let exported = sandbox.sh(&format!(
        "{} export one | tar -tv | awk '{{print $1, $6}}' | grep -E ' (etc/group|etc/passwd|tmp/)$'",
        testkit::dhow_program().display()
    ));
    assert_eq!(exported.stdout, "-rw-r--r-- etc/group\ndrwx------ tmp/\n");

    sandbox.ok(&["commit", "one", "two:1"]);
    let script = "cat /etc/group /root/fresh /link/name; ls /etc/passwd; stat -c %a /tmp
        stat -c %h /new/dir/file; touch /new/again";
    let output = sandbox.dhow(&["run", "--name", "two", "two:1", "sh", "-c", script]);
    assert_eq!(output.stdout, "changed\ny\nx\n700\n2\n", "{output:?}");
    let changes = sandbox.ok(&["diff", "two"]);
    assert_eq!(changes, "C /new\nA /new/again");
    // The first is as it was.
    let output = sandbox.dhow(&["start", "-a", "one"]);
    assert!(output.stderr.contains("can't remove '/etc/passwd'"), "{output:?}");
    sandbox.ok(&["rm", "one", "two"]);
    sandbox.ok(&["rmi", "two:1"]);
}

fn inspect_size(sandbox: &Sandbox, name: &str) -> i64 {
    let text = sandbox.ok(&["inspect", "--size", name]);
    let list: Value = serde_json::from_str(&text).unwrap();
    list[0]["SizeRw"].as_i64().unwrap()
}

#[test]
fn a_life_on_overlays() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = engine("storage-overlay", "overlay2");
    assert_eq!(sandbox.ok(&["info", "--format", "{{.Driver}}"]), "overlay2");
    life(&sandbox);
    sandbox.finish();
}

#[test]
fn a_life_on_copies() {
    needs!(Root, Netns, Busybox);
    let sandbox = engine("storage-copy", "copy");
    let info = sandbox.ok(&["info"]);
    assert!(info.contains("Storage Driver: copy\n Backing Filesystem: "), "{info}");
    life(&sandbox);

    // Files of the image that are only read are no change, and no layer is written to.
    sandbox.ok(&["run", "-d", "--name", "runs", "busybox", "sleep", "600"]);
    sandbox.ok(&["exec", "runs", "sh", "-c", "echo broken >/etc/passwd"]);
    let passwd = sandbox.ok(&["run", "--rm", "busybox", "cat", "/etc/passwd"]);
    assert!(passwd.starts_with("root:"), "{passwd}");
    let a = inspect(&sandbox, "runs");
    assert_eq!(a["GraphDriver"]["Name"], "copy");
    let root = PathBuf::from(a["GraphDriver"]["Data"]["Dir"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(root.join("etc/passwd")).unwrap(), "broken\n");
    sandbox.ok(&["rm", "-f", "runs"]);
    assert!(!root.exists());
    sandbox.finish();
}

#[test]
fn a_life_on_subvolumes() {
    needs!(Root, Netns, Busybox, Btrfs);
    let disk = Disk { kind: "btrfs", mkfs: &[], options: "noatime", size: 512 };
    if disk.again("storage::a_life_on_subvolumes").is_none() {
        return;
    }
    let sandbox = engine("storage-btrfs", "btrfs");
    let info = sandbox.ok(&["info"]);
    assert!(info.contains("Storage Driver: btrfs\n Backing Filesystem: btrfs\n"), "{info}");
    life(&sandbox);

    let limited =
        ["create", "--name", "limited", "--storage-opt", "size=4m", "busybox", "sh", "-c"];
    let script = "dd if=/dev/urandom of=/one bs=1M count=1 && sync && dd if=/dev/urandom of=/two bs=1M count=6";
    let limited: Vec<&str> = limited.into_iter().chain([script]).collect();
    let output = sandbox.dhow(&limited);
    assert!(output.stderr.contains("`btrfs quota enable` turns them on"), "{output:?}");
    let enabled = sandbox.sh(&format!("btrfs quota enable {}", sandbox.root().display()));
    assert_eq!(enabled.code, 0, "{enabled:?}");
    sandbox.ok(&limited);
    let output = sandbox.dhow(&["start", "-a", "limited"]);
    assert!(output.code != 0 && output.stderr.contains("quota exceeded"), "{output:?}");
    sandbox.ok(&["rm", "limited"]);
    sandbox.finish();
}

#[test]
fn a_size_is_refused_where_it_cannot_be_had() {
    needs!(Root, Netns, Busybox);
    let sandbox = engine("storage-size", "copy");
    for (option, image, why) in [
        ("size=1g", "busybox", "cannot be limited here: not with the storage driver copy"),
        ("size=1x", "busybox", "storage option size: "),
        ("dm.basesize=1g", "busybox", "unknown storage option: dm.basesize"),
        ("size=1g", "host", "in memory"),
    ] {
        let output = sandbox.dhow(&["run", "--rm", "--storage-opt", option, image, "true"]);
        assert_eq!(output.code, 125, "{option} {image}: {output:?}");
        assert!(output.stderr.contains(why), "{option} {image}: {output:?}");
    }
    sandbox.finish();
}

#[test]
fn a_root_is_not_opened_with_another_driver() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = engine("storage-keeps", "copy");
    assert_eq!(sandbox.ok(&["info", "--format", "{{.Driver}}"]), "copy");
    let output = sandbox.dhow(&["--storage-driver", "overlay2", "images"]);
    assert_ne!(output.code, 0);
    assert!(output.stderr.contains("storage driver copy, not overlay2"), "{output:?}");
    let output = sandbox.dhow(&["--storage-driver", "aufs", "images"]);
    assert!(output.stderr.contains("no storage driver `aufs`"), "{output:?}");
    sandbox.finish();
}

/// A place where an overlay can lie on none: another overlay, as in a container of another engine.
#[test]
fn what_works_is_chosen() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = Sandbox::new("storage-chosen");
    let place = sandbox.work();
    let script = format!(
        "cd {} && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m",
        place.display()
    );
    let mounted = sandbox.sh(&script);
    assert_eq!(mounted.code, 0, "{mounted:?}");
    let (above, plain) = (place.join("m/root"), sandbox.root());
    let driver = |root: &Path| {
        sandbox.ok(&["--root", root.to_str().unwrap(), "info", "--format", "{{.Driver}}"])
    };
    assert_eq!(driver(&plain), "overlay2");
    assert_eq!(driver(&above), "copy");
    let output = sandbox.dhow(&[
        "--root",
        place.join("m/other").to_str().unwrap(),
        "--storage-driver",
        "overlay2",
        "info",
    ]);
    assert!(output.stderr.contains("the storage driver overlay2 does not work in"), "{output:?}");
    let unmounted = sandbox.sh(&format!("umount {}/m", place.display()));
    assert_eq!(unmounted.code, 0, "{unmounted:?}");
    sandbox.discard();
}

/// What is written goes with the container: nothing has to wait for it to be on the disk.
#[test]
fn what_goes_with_its_container_is_volatile() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = engine("storage-goes", "overlay2");
    let options = |rm: &[&str]| {
        let run = ["run"].iter().chain(rm).chain(&["busybox", "grep", " / ", "/proc/mounts"]);
        sandbox.ok(&run.copied().collect::<Vec<_>>())
    };
    assert!(options(&["--rm"]).contains("volatile"));
    assert!(!options(&["--name", "stays"]).contains("volatile"));
    // The kernel does not mount such a one again by itself.
    sandbox.ok(&["run", "-d", "--rm", "--name", "goes", "busybox", "sleep", "600"]);
    sandbox.ok(&["exec", "goes", "sh", "-c", "echo x >/file; sync"]);
    let before = crate::pid(&sandbox, "goes");
    let restarted = sandbox.dhow(&["restart", "-t", "0", "goes"]);
    if restarted.code == 0 {
        assert_ne!(crate::pid(&sandbox, "goes"), before);
        assert_eq!(sandbox.ok(&["exec", "goes", "cat", "/file"]), "x");
        sandbox.ok(&["rm", "-f", "goes"]);
    }
    sandbox.ok(&["rm", "stays"]);
    sandbox.finish();
}

/// Puts a blob into a layout. Its descriptor, but for the type.
fn put(layout: &Path, bytes: &[u8]) -> Value {
    let digest = oci::Digest::sha256(bytes);
    std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    json!({ "digest": digest.to_string(), "size": bytes.len() })
}

fn blob(layout: &Path, descriptor: &Value) -> Value {
    let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    let bytes = std::fs::read(layout.join("blobs/sha256").join(digest)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_container_of_two_hundred_layers_runs() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = engine("storage-many", "overlay2");
    let (saved, layout) = (sandbox.work().join("saved.tar"), sandbox.work().join("layout"));
    sandbox.ok(&["save", "-o", saved.to_str().unwrap(), "busybox"]);
    std::fs::create_dir(&layout).unwrap();
    let (from, to) = (saved.display(), layout.display());
    let unpacked = sandbox.sh(&format!("tar -xf {from} -C {to} && rm -f {to}/manifest.json"));
    assert_eq!(unpacked.code, 0, "{unpacked:?}");
    // The image of busybox with layers on it, of which each changes one file and adds one.
    let mut index: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let mut manifest = blob(&layout, &index["manifests"][0]);
    let mut config = blob(&layout, &manifest["config"]);
    for n in 0..200 {
        let archive = sandbox.work().join("layer.tar");
        testkit::archive(&archive, |tar| {
            tar.file("last", 0o644, n.to_string().as_bytes());
            tar.file(&format!("file-{n}"), 0o644, b"x");
        });
        let mut layer = put(&layout, &std::fs::read(&archive).unwrap());
        config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(layer["digest"].clone());
        layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    }
    config.as_object_mut().unwrap().remove("history");
    let made = put(&layout, &serde_json::to_vec(&config).unwrap());
    for field in ["digest", "size"] {
        manifest["config"][field] = made[field].clone();
    }
    let mut made = put(&layout, &serde_json::to_vec(&manifest).unwrap());
    made["mediaType"] = "application/vnd.oci.image.manifest.v1+json".into();
    made["annotations"] = json!({ "org.opencontainers.image.ref.name": "many:1" });
    index["manifests"] = json!([made]);
    std::fs::write(layout.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    let packed = sandbox.sh(&format!("tar -cf {from} -C {to} ."));
    assert_eq!(packed.code, 0, "{packed:?}");

    sandbox.ok(&["load", "-i", saved.to_str().unwrap()]);
    let layers = sandbox.ok(&["image", "inspect", "--format", "{{len .RootFS.Layers}}", "many:1"]);
    assert_eq!(layers, "201");
    let output =
        sandbox.ok(&["run", "--rm", "many:1", "sh", "-c", "cat /last; ls / | grep -c file-"]);
    assert_eq!(output, "199200");
    sandbox.ok(&["rmi", "many:1"]);
    sandbox.sh(&format!("rm -r {to} {from} {}/layer.tar", sandbox.work().display()));
    sandbox.finish();
}
