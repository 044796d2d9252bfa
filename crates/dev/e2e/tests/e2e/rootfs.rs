//! Archives: import, and running straight from one.

use std::fs::File;

use crate::busybox;
use testkit::{Sandbox, needs};

#[test]
fn straight_from_an_archive() {
    needs!(Root, Overlay, Netns, Busybox, MemoryCgroup);
    let sandbox = Sandbox::new("rootfs");
    let archive = sandbox.work().join("box.tar");
    testkit::busybox_rootfs(&archive);
    sandbox.sh(&format!("gzip -k {}", archive.display())).success();
    let packed = format!("{}.gz", archive.display());
    let args = [
        "run", "--rm", "--rootfs", &packed, "--memory", "64m", "--cpus", "0.5", "/bin/sh", "-c",
        "echo up",
    ];
    assert_eq!(sandbox.ok(&args), "up");
    sandbox.baseline();
    assert_eq!(sandbox.ok(&args), "up");
    sandbox.finish();
}

#[test]
fn import_takes_tar_gzip_zstd_and_a_pipe() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("rootfs-import");
    let archive = sandbox.work().join("box.tar");
    testkit::busybox_rootfs(&archive);
    let path = archive.display();
    sandbox.sh(&format!("gzip -k {path}; command -v zstd >/dev/null && zstd -q {path}"));
    for (nth, suffix) in ["", ".gz", ".zst"].into_iter().enumerate() {
        let file = format!("{path}{suffix}");
        if std::fs::metadata(&file).is_err() {
            continue;
        }
        let name = format!("imported:v{nth}");
        let id = sandbox.ok(&[
            "import",
            "-c",
            "CMD [\"echo\", \"from cmd\"]",
            "-c",
            "ENV A=1",
            &file,
            &name,
        ]);
        assert!(id.starts_with("sha256:"), "{id}");
        assert_eq!(sandbox.ok(&["run", "--rm", &name]), "from cmd");
        assert_eq!(sandbox.ok(&["run", "--rm", &name, "sh", "-c", "echo $A"]), "1");
    }
    let mut import = sandbox.dhow_command(&["import", "-", "piped"]);
    import.stdin(File::open(&archive).unwrap());
    assert_eq!(testkit::capture(&mut import).code, 0);
    assert_eq!(sandbox.ok(&["run", "--rm", "piped", "echo", "hi"]), "hi");
    let images = sandbox.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(images.contains("piped:latest") && images.contains("imported:v0"), "{images}");
    let names: Vec<&str> = images
        .lines()
        .filter(|name| name.starts_with("imported") || name.starts_with("piped"))
        .collect();
    sandbox.ok(&[&["rmi"], names.as_slice()].concat());
    sandbox.sh(&format!("rm -f {path} {path}.gz {path}.zst"));
    sandbox.finish();
}
