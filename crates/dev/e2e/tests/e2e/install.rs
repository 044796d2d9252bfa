//! `system install`, and a daemon whose socket is systemd's.

use crate::busybox;
use testkit::{needs, wait_until};

#[test]
fn units_are_written_and_taken_back() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("install");
    let printed = sandbox.ok(&["system", "install", "--dry-run"]);
    for wanted in [
        "# /etc/systemd/system/dhow.socket",
        "ListenStream=",
        "KillMode=process",
        "systemctl daemon-reload",
    ] {
        assert!(printed.contains(wanted), "{wanted} in {printed}");
    }
    // A machine that systemd runs, as far as can be told: in this sandbox's own mounts.
    let work = sandbox.work();
    let prepare = format!(
        "mount -t tmpfs none /run && mkdir -p /etc/systemd && mount -t tmpfs none /etc/systemd && \
         mkdir /etc/systemd/system && printf '#!/bin/sh\\necho $* >>{0}/calls\\n' >{0}/systemctl && chmod +x {0}/systemctl",
        work.display()
    );
    if !std::path::Path::new("/etc/systemd").is_dir() {
        return testkit::skip("install", "needs /etc/systemd");
    }
    sandbox.sh(&prepare).success();
    let refused = sandbox.dhow(&["system", "install"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("systemd does not run this machine"),
        "{refused:?}"
    );
    sandbox.sh("mkdir -p /run/systemd/system").success();
    let dhow = testkit::dhow_program();
    let run = |what: &str| {
        sandbox.sh(&format!("PATH={}:$PATH {} system {what}", work.display(), dhow.display()))
    };
    run("install").success();
    let unit = sandbox.sh("cat /etc/systemd/system/dhow.service").success();
    assert!(unit.contains(&format!("ExecStart={} --root ", dhow.display())), "{unit}");
    run("uninstall").success();
    assert_eq!(sandbox.sh("ls /etc/systemd/system").stdout, "");
    assert_eq!(run("uninstall").code, 1);
    let calls = std::fs::read_to_string(work.join("calls")).unwrap();
    assert_eq!(
        calls.lines().collect::<Vec<_>>(),
        [
            "daemon-reload",
            "enable --now dhow.socket dhow.service",
            "disable --now dhow.socket dhow.service",
            "daemon-reload",
        ]
    );
    sandbox.sh("umount /etc/systemd /run").success();
    sandbox.finish();
}

#[test]
fn a_daemon_serves_on_the_socket_that_it_was_given() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("install-socket");
    let none = sandbox.dhow(&["daemon", "--listen", "fd://"]);
    assert!(none.code == 1 && none.stderr.contains("systemd has passed no socket"), "{none:?}");
    let path = sandbox.work().join("given.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let (read, dhow) = (std::os::fd::OwnedFd::from(listener), testkit::dhow_program());
    // As systemd does: descriptor 3, and the number of the process that it is for.
    let script = format!(
        "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec {} daemon --listen fd://",
        dhow.display()
    );
    let mut daemon = sandbox.command("sh").args(["-c", &script]).stdin(read).spawn().unwrap();
    let ask = format!("curl -sf --unix-socket {} http://d/_ping", path.display());
    wait_until("it answers", || sandbox.sh(&ask).stdout == "OK");
    sandbox.sh(&format!("kill -TERM {}", daemon.id())).success();
    daemon.wait().unwrap();
    assert!(path.exists(), "the socket is systemd's");
    sandbox.finish();
}
