//! Changing what a container was made with, while it runs and for its next start.

use crate::{busybox, inspect};
use testkit::{Sandbox, needs, wait_until};

/// An engine that has had a volume.
fn engine(name: &str) -> Sandbox {
    let sandbox = busybox(name);
    sandbox.ok(&["volume", "create", "first"]);
    sandbox.ok(&["volume", "rm", "first"]);
    sandbox.baseline();
    sandbox
}

fn inside(sandbox: &Sandbox, script: &str) -> String {
    sandbox.dhow(&["exec", "it", "sh", "-c", script]).stdout
}

/// What is told of an update: each change, and when it takes effect.
#[track_caller]
fn update(sandbox: &Sandbox, args: &[&str]) -> String {
    let said = sandbox.dhow(&[&["update"], args, &["it"]].concat());
    assert_eq!((said.code, said.stdout.as_str()), (0, "it\n"), "{args:?}: {said:?}");
    said.stderr
}

/// Waits until the container answers at its published port, which takes a connection also in the moments in
/// which nobody listens behind it.
#[track_caller]
fn wait_for_answer(sandbox: &Sandbox) {
    let ask = "busybox nc -w 1 127.0.0.1 8080 </dev/null";
    wait_until("the port answers", || sandbox.sh(ask).stdout == "it\n");
}

#[test]
fn a_container_that_runs_is_changed() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = engine("update-live");
    let server = "while :; do hostname | nc -l -p 80; done";
    let run = ["run", "-d", "--name", "it", "--hostname", "it", "--restart", "always"];
    sandbox.ok(&[&run[..], &["-v", "old:/old", "busybox", "sh", "-c", server]].concat());

    assert_eq!(update(&sandbox, &["--publish", "8080:80"]), "it: port 80/tcp: now\n");
    wait_for_answer(&sandbox);
    let folder = sandbox.work().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("file"), "hello").unwrap();
    let bind = format!("type=bind,src={},dst=/new/place,ro", folder.display());
    let said = update(
        &sandbox,
        &[
            "--mount",
            &bind,
            "--mount",
            "type=tmpfs,dst=/scratch",
            "--mount",
            "src=data,dst=/data",
            "--mount-rm",
            "/old",
        ],
    );
    let want = "it: no mount /old: now\nit: mount /new/place: now\nit: mount /scratch: now\n\
                it: mount /data: now\n";
    assert_eq!(said, want);
    let look = "cat /new/place/file; touch /new/place/x 2>/dev/null || echo ' read-only'; \
                touch /data/kept /scratch/gone && grep -c ' /old ' /proc/mounts";
    assert_eq!(inside(&sandbox, look), "hello read-only\n0\n");
    let said = update(
        &sandbox,
        &["--device", "/dev/full:/dev/mine:rw", "--label", "a=b", "--env", "WORD=yes"],
    );
    assert_eq!(
        said,
        "it: device /dev/mine: now\nit: variable WORD: with the next start\nit: label a: now\n"
    );
    assert_eq!(inside(&sandbox, "head -c 3 /dev/mine | wc -c"), "3\n");
    assert_eq!(sandbox.ok(&["ps", "-q", "--filter", "label=a=b"]).lines().count(), 1);
    sandbox.ok(&["volume", "rm", "old"]);
    let refused = sandbox.dhow(&["volume", "rm", "data"]);
    assert!(refused.stderr.contains("in use"), "{refused:?}");

    // Its supervisor starts it again, with nobody else around; then the engine does.
    let pid = inspect(&sandbox, "it")["State"]["Pid"].to_string();
    sandbox.sh(&format!("kill -9 {pid}")).success();
    let again = "ls /data /new/place /scratch /dev/mine && cat /proc/1/environ | tr '\\0' '\\n' | grep WORD";
    let want = "/dev/mine\n\n/data:\nkept\n\n/new/place:\nfile\n\n/scratch:\nWORD=yes\n";
    wait_until("it runs again", || inside(&sandbox, again) == want);
    wait_for_answer(&sandbox);
    sandbox.ok(&["restart", "-t", "0", "it"]);
    assert_eq!(inside(&sandbox, again), want);

    let said = update(
        &sandbox,
        &[
            "--publish-rm",
            "8080:80",
            "--mount-rm",
            "/new/place",
            "--device-rm",
            "/dev/mine",
            "--label-rm",
            "a",
            "--env-rm",
            "WORD",
        ],
    );
    let want = "it: no port 8080:80: now\nit: no mount /new/place: now\nit: no device /dev/mine: now\n\
                it: no variable WORD: with the next start\nit: no label a: now\n";
    assert_eq!(said, want);
    assert_eq!(sandbox.sh("busybox nc -w 1 127.0.0.1 8080 </dev/null").code, 1);
    assert_eq!(inside(&sandbox, "ls /new/place; test -e /dev/mine || echo gone"), "gone\n");
    // The device's number is closed to it as well.
    let make = "mknod /tmp/f c 1 7 && head -c 1 /tmp/f | wc -c";
    assert_eq!(inside(&sandbox, make), "1\n", "every container has /dev/full");
    sandbox.ok(&["rm", "-f", "it"]);
    sandbox.ok(&["volume", "rm", "data"]);
    sandbox.finish();
}

#[test]
fn what_cannot_be_changed_changes_nothing() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = engine("update-refused");
    sandbox.ok(&["run", "-d", "--name", "other", "-p", "8080:80", "busybox", "sleep", "600"]);
    sandbox.ok(&["run", "-d", "--name", "it", "-v", "vol:/vol", "busybox", "sleep", "600"]);
    let before = inspect(&sandbox, "it");
    for (args, want) in [
        (&["--publish", "8080:80"][..], "port is already allocated"),
        (&["--publish-rm", "80"], "port 80 is not published"),
        (&["--mount", "type=tmpfs,dst=/vol"], "Duplicate mount point: /vol"),
        (&["--mount", "type=tmpfs,dst=/proc/x"], "cannot be mounted because it is inside /proc"),
        (&["--mount", "type=bind,src=/no/such,dst=/x"], "bind source path does not exist"),
        (&["--mount-rm", "/nothing"], "nothing is mounted at /nothing"),
        (&["--device", "/dev/nosuch"], "no such file or directory"),
        (&["--device", "vendor.com/class=name"], "given when a container is made"),
        (&["--device-rm", "/dev/nosuch"], "there is no device /dev/nosuch"),
        (&["--env", "=x"], "invalid environment variable"),
        (&["--label", "x=y", "--mount-rm", "/nothing"], "nothing is mounted"),
    ] {
        let refused = sandbox.dhow(&[&["update"], args, &["it"]].concat());
        assert!(refused.code != 0 && refused.stderr.contains(want), "{args:?}: {refused:?}");
    }
    assert_eq!(inspect(&sandbox, "it"), before);
    // A link in the image leads nowhere but into the image, and not over procfs.
    sandbox.ok(&["exec", "it", "ln", "-s", "/proc", "/link"]);
    let refused = sandbox.dhow(&["update", "--mount", "type=tmpfs,dst=/link/sys", "it"]);
    assert!(refused.stderr.contains("is inside /proc"), "{refused:?}");
    assert_eq!(inspect(&sandbox, "it")["Mounts"], before["Mounts"]);
    // One that does not run has it all with its next start.
    sandbox.ok(&["stop", "-t", "0", "it"]);
    let said = update(&sandbox, &["--mount", "type=tmpfs,dst=/new", "--publish", "8081:81"]);
    assert_eq!(said, "it: port 81/tcp: with the next start\nit: mount /new: with the next start\n");
    sandbox.ok(&["start", "it"]);
    assert_eq!(inside(&sandbox, "grep -c ' /new tmpfs' /proc/mounts"), "1\n");
    sandbox.ok(&["rm", "-f", "it", "other"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    sandbox.finish();
}
