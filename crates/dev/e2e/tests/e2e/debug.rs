//! `debug`: beside a container that has no shell.

use testkit::{Sandbox, needs};

use crate::busybox;

/// An image of one program and one file.
fn bare(sandbox: &Sandbox) {
    let busybox =
        ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| std::fs::read(path).ok());
    let path = sandbox.work().join("bare.tar");
    testkit::archive(&path, |tar| {
        // Called so it is only that.
        tar.file("sleep", 0o755, &busybox.expect("needs!(Busybox)"));
        tar.file("secret", 0o600, b"of the image\n");
        for directory in ["proc/", "sys/", "dev/", "data/"] {
            tar.directory(directory, 0o755);
        }
    });
    sandbox.ok(&["import", path.to_str().unwrap(), "bare"]);
}

#[test]
fn a_container_that_runs_is_looked_at_from_beside() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("debug");
    bare(&sandbox);
    sandbox.baseline();
    sandbox.ok(&["run", "-d", "--name", "app", "--memory", "64m", "bare", "/sleep", "600"]);
    assert_ne!(sandbox.dhow(&["exec", "app", "sh"]).code, 0, "there is a shell after all");
    let look = "cat /proc/1/root/secret; tr '\\0' ' ' </proc/1/cmdline; echo; ls /proc/1/root; \
                for n in net pid; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] && \
                echo same $n; done; [ -e /secret ] || echo own files";
    let seen = sandbox.ok(&["debug", "app", "sh", "-c", look]);
    let want = "of the image\n/sleep 600 \ndata\ndev\netc\nproc\nsecret\nsleep\nsys\nsame net\nsame pid\nown files";
    assert_eq!(seen, want);
    // Its files can be changed, and its processes told.
    sandbox.ok(&["debug", "app", "sh", "-c", "echo new >/proc/1/root/data/made"]);
    assert_eq!(sandbox.ok(&["diff", "app"]), "C /data\nA /data/made");
    sandbox.ok(&["debug", "app", "rm", "/proc/1/root/data/made"]);
    assert_eq!(sandbox.dhow(&["debug", "app", "sh", "-c", "exit 7"]).code, 7);
    // From what is typed, as from a terminal.
    let dhow = testkit::dhow_program();
    let piped = format!("echo 'echo it is $0' | {} debug app", dhow.display());
    assert_eq!(sandbox.sh(&piped).success(), "it is sh\n");
    sandbox.ok(&["rm", "-f", "app"]);
    let missing = sandbox.dhow(&["debug", "app"]);
    assert_eq!((missing.code, missing.stderr.as_str()), (1, "dhow: No such container: app\n"));
    sandbox.finish();
}

#[test]
fn one_that_does_not_run_is_looked_at_in_a_copy() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("debug-stopped");
    bare(&sandbox);
    sandbox.ok(&["volume", "create", "vol"]);
    sandbox.ok(&["run", "--rm", "-v", "vol:/data", "busybox", "sh", "-c", "echo kept >/data/x"]);
    sandbox.baseline();
    sandbox.ok(&["create", "--name", "app", "-v", "vol:/data", "bare", "/sleep", "600"]);
    let look = "cat /secret /proc/1/root/data/x; echo changed >/secret; touch /data/y; ls /data";
    let seen = sandbox.dhow(&["debug", "app", "sh", "-c", look]);
    assert_eq!((seen.code, seen.stdout.as_str()), (0, "of the image\nkept\nx\n"), "{seen:?}");
    assert!(seen.stderr.contains("Read-only file system"), "{seen:?}");
    assert_eq!(sandbox.ok(&["diff", "app"]), "");
    assert_eq!(sandbox.dhow(&["debug", "app", "false"]).code, 1);
    assert_eq!(sandbox.ok(&["debug", "app", "sh", "-c", "cat /secret"]), "of the image");
    let without = sandbox.dhow(&["debug", "--image", "bare", "app"]);
    assert!(without.code == 1 && without.stderr.contains("of the image bare: there is none"));
    sandbox.ok(&["rm", "app"]);
    sandbox.finish();
}

#[test]
fn without_an_image_of_tools_the_machines_own_are_there() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = Sandbox::new("debug-host");
    bare(&sandbox);
    sandbox.ok(&["run", "-d", "--name", "app", "bare", "/sleep", "600"]);
    assert_eq!(sandbox.ok(&["debug", "app", "cat", "/proc/1/root/secret"]), "of the image");
    // Among the files of one that does not run, the machine's own would miss their libraries.
    sandbox.ok(&["kill", "app"]);
    sandbox.ok(&["wait", "app"]);
    let told = sandbox.dhow(&["debug", "app"]);
    assert!(told.code == 1 && told.stderr.contains("image busybox is not here"), "{told:?}");
    assert!(told.stderr.contains("--image"), "{told:?}");
    sandbox.ok(&["rm", "-f", "app"]);
    sandbox.discard();
}
