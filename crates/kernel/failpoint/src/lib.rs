//! Named places where a test can kill, fail or delay a process.
//!
//! A failpoint stands before and after every step that makes or unmakes something outside the
//! process: a mount, a link, a rule, a cgroup, a directory, a record. Without the feature
//! `failpoints` it compiles to nothing.
//!
//! `DHOW_FAILPOINTS` holds the actions, `NAME=ACTION[,NAME=ACTION...]`, where an action is
//! - `kill`: the process sends itself SIGKILL,
//! - `error`: the step fails with EIO,
//! - `delay:MS`: the process sleeps for that many milliseconds.
//!
//! `@FILE` after an action has the name appended to that file when the action is taken, if the file
//! is there: a test learns from it which steps were passed.
//!
//! Every name is listed in [`ALL`], sorted by the process that passes it, so that a test can walk
//! over them; a test of the workspace holds that the sources and the list agree.
#![forbid(unsafe_code)]

use std::io;

/// Every failpoint's name.
pub const ALL: &[&str] = &[
    // kernel/apparmor
    "apparmor.load",
    "apparmor.loaded",
    // kernel/selinux
    "selinux.relabel",
    // kernel/cgroup
    "cgroup.create",
    "cgroup.creating",
    "cgroup.created",
    "cgroup.enter",
    "cgroup.entered",
    "cgroup.attach",
    "cgroup.attached",
    "cgroup.limit",
    "cgroup.limited",
    "cgroup.freeze",
    "cgroup.frozen",
    "cgroup.thaw",
    "cgroup.thawed",
    "cgroup.kill",
    "cgroup.killed",
    "cgroup.remove",
    "cgroup.removing",
    "cgroup.removed",
    // kernel/systemd
    "systemd.start",
    "systemd.started",
    "systemd.set",
    "systemd.was-set",
    "systemd.stop",
    "systemd.stopped",
    // kernel/resctrl
    "resctrl.create",
    "resctrl.created",
    "resctrl.remove",
    "resctrl.removed",
    // runtime/rootless
    "rootless.make",
    "rootless.made",
    "rootless.hold",
    "rootless.held",
    // runtime/container, runtime/init
    "runtime.state-dir",
    "runtime.state-dir.made",
    "runtime.record",
    "runtime.record.written",
    "runtime.fifo",
    "runtime.clone",
    "runtime.cloned",
    "runtime.init",
    "runtime.mount",
    "runtime.pivot",
    "runtime.detach",
    "runtime.detached",
    "runtime.lock-down",
    "runtime.net-device",
    "runtime.net-device.moved",
    "runtime.start",
    "runtime.started",
    "runtime.exec",
    "runtime.join",
    "runtime.kill",
    "runtime.destroy",
    "runtime.forget",
    "runtime.forgotten",
    "runtime.criu",
    "runtime.restored",
    // runtime/shim
    "shim.lock",
    "shim.locked",
    "shim.unshare",
    "shim.unshared",
    "shim.ahead",
    "shim.ahead-started",
    "shim.mount",
    "shim.mounted",
    "shim.create",
    "shim.created",
    "shim.connect",
    "shim.connected",
    "shim.start",
    "shim.started",
    "shim.check",
    "shim.health",
    "shim.health-noted",
    "shim.restart",
    "shim.restarted",
    "shim.rewire",
    "shim.rewired",
    "shim.graft",
    "shim.grafted",
    "shim.save",
    "shim.saved",
    "shim.delete",
    "shim.deleted",
    "shim.disconnect",
    "shim.disconnected",
    "shim.clean",
    "shim.cleaned",
    "shim.delete-rest",
    "shim.deleted-rest",
    "shim.become",
    "shim.spawn",
    "shim.spawned",
    "shim.record",
    "shim.recorded",
    "shim.freeze",
    "shim.frozen",
    "shim.rotate",
    "shim.rotated",
    "shim.compress",
    "shim.compressed",
    // runtime/volume
    "volume.supply",
    "volume.supplied",
    // runtime/endpoint
    "endpoint.link",
    "endpoint.linked",
    "endpoint.address",
    "endpoint.addressed",
    "endpoint.name",
    "endpoint.named",
    "endpoint.publish",
    "endpoint.published",
    "endpoint.unpublish",
    "endpoint.unpublished",
    "endpoint.unname",
    "endpoint.unnamed",
    "endpoint.unlink",
    "endpoint.unlinked",
    // service/network
    "network.create",
    "network.created",
    "network.lease",
    "network.leased",
    "network.rules",
    "network.ruled",
    "network.bridge",
    "network.bridged",
    "network.remove",
    "network.removed",
    "network.unbridge",
    "network.unrule",
    "network.unruled",
    "network.sweep",
    "network.swept",
    // store/content
    "content.create",
    "content.sync",
    "content.rename",
    "content.renamed",
    "content.link",
    "content.linked",
    "content.delete",
    "content.deleted",
    // store/snapshot
    "snapshot.begin",
    "snapshot.begun",
    "snapshot.commit",
    "snapshot.committed",
    "snapshot.prepare",
    "snapshot.prepared",
    "snapshot.seal",
    "snapshot.sealed",
    "snapshot.limit",
    "snapshot.limited",
    "snapshot.remove",
    "snapshot.removed",
    "snapshot.put-away",
    "snapshot.away",
    // engine/images
    "images.driver",
    "images.driver-chosen",
    "images.record",
    "images.recorded",
    "images.push-held",
    "images.push-end",
    "images.push-ended",
    "images.forget",
    "images.forgotten",
    "images.serve",
    "images.served",
    "images.unserve",
    "images.unserved",
    // engine/containers
    "engine.exec",
    "engine.exec-made",
    "engine.update",
    "engine.updated",
    "engine.told",
    "engine.amend",
    "engine.amended",
    "engine.recover",
    "engine.remove",
    "engine.removing",
    "engine.rmdir",
    "engine.gone",
    "engine.removed",
    "engine.cgroup",
    "engine.cgroup-gone",
    "engine.run-remove",
    "engine.run-removed",
    "engine.create",
    "engine.recorded",
    "engine.mkdir",
    "engine.made",
    "engine.create-end",
    "engine.created",
    "engine.run",
    "engine.run-made",
    "engine.write",
    "engine.written",
    "engine.etc",
    "engine.etc-written",
    "engine.start",
    "engine.starting",
    "engine.started",
    "engine.rename",
    "engine.renamed",
    "build.cache-mount",
    "build.cache-mount-unpacked",
    "build.cache-mount-exchanged",
    "build.cache-filling",
    "build.cache-filled",
    "engine.volume",
    "engine.volume-fill",
    "engine.volume-filled",
    "engine.volume-named",
    "engine.volume-made",
    "engine.volume-remove",
    "engine.volume-removing",
    "engine.volume-removed",
    "engine.volume-rename",
    "engine.volume-renaming",
    "engine.volume-renamed",
    "engine.secret",
    "engine.secret-filled",
    "engine.secret-made",
    "engine.secret-change",
    "engine.secret-changed",
    "engine.secret-remove",
    "engine.secret-removing",
    "engine.secret-removed",
    "engine.step",
    "engine.step-recorded",
    "engine.step-made",
    "engine.step-furnished",
    "engine.step-start",
    "engine.step-started",
    "engine.step-stubs",
    "engine.step-stubs-gone",
    "engine.connect",
    "engine.connected",
    "engine.rewired",
    "engine.rewire-noted",
    "engine.unlink",
    "engine.unlinked",
    "engine.extract",
    "engine.extracted",
    "engine.freeze",
    "engine.frozen",
    "engine.lost",
    "engine.lost-noted",
    "engine.init",
    "engine.init-made",
    "engine.mend",
    "engine.mended",
    "engine.spawn",
    "engine.spawned",
    "engine.go",
    "engine.unheard",
];

/// Passes the failpoint `name`. Fails only when a test asked for it.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_name: &str) -> io::Result<()> {
    Ok(())
}

/// Passes the failpoint `name`. Fails only when a test asked for it.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) -> io::Result<()> {
    debug_assert!(ALL.contains(&name), "failpoint {name} is not listed in failpoint::ALL");
    let Ok(wanted) = std::env::var("DHOW_FAILPOINTS") else { return Ok(()) };
    let found = wanted.split(',').filter_map(|one| one.split_once('=')).find(|(n, _)| *n == name);
    let Some((_, action)) = found else { return Ok(()) };
    let (action, log) = action.split_once('@').unwrap_or((action, ""));
    if !log.is_empty() {
        use std::io::Write as _;
        // A container's init sees another root; there the line is lost, and only there.
        if let Ok(mut log) = std::fs::OpenOptions::new().append(true).open(log) {
            let _ = writeln!(log, "{name}");
        }
    }
    match action {
        "kill" => die(),
        "error" => Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error())),
        other => {
            if let Some(ms) = other.strip_prefix("delay:").and_then(|ms| ms.parse().ok()) {
                std::thread::sleep(std::time::Duration::from_millis(ms));
            }
            Ok(())
        }
    }
}

#[cfg(feature = "failpoints")]
fn die() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    // SIGKILL takes effect before the call returns, but the init of a PID namespace is immune to
    // its own; a trap, which is what an abort comes to in the end, nobody is immune to.
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}
