//! What is mounted in a container.

use oci::runtime::Mount;

use super::Input;
use super::namespaces::Place;
use crate::mounting::{Mounting, TMPFS};
use crate::supplies::Bound;

/// Docker's size of `/dev/shm` where none is asked for, bytes.
pub(crate) const SHM_BYTES: i64 = 64 << 20;

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    }
}

/// The kernel's file systems, the engine's files, and what was asked for, in the order in which
/// they are mounted.
pub(super) fn all(input: &Input<'_>) -> Vec<Mount> {
    let wanted = &input.container.record.mounts;
    let mut all = kernels(input);
    // They are as much to be written to as the root in which they lie.
    let access: &[&str] = if input.container.record.host.readonly_rootfs { &["ro"] } else { &[] };
    all.extend(input.files.iter().map(|(source, target)| {
        let options = [&["rbind", "rprivate"], access].concat();
        let file = mount(target, "bind", &source.to_string_lossy(), &options);
        // They are its root's.
        let maps = input.container.record.user_namespace.clone().unwrap_or_default();
        Mount { uid_mappings: maps.uids, gid_mappings: maps.gids, ..file }
    }));
    // A person's mount stands in the place of ours, and below it there is none of ours.
    all.retain(|ours| !wanted.iter().any(|theirs| covers(theirs, &ours.destination)));
    // What of ours lies in a person's `/etc` comes after that.
    let below = |ours: &Mount| {
        wanted.iter().any(|theirs| is_below(&ours.destination, &theirs.point.destination))
    };
    let (later, mut all): (Vec<Mount>, Vec<Mount>) =
        all.into_iter().partition(|ours| ours.destination.starts_with("/etc/") && below(ours));
    let mut wanted: Vec<(&Mounting, &Bound)> = wanted.iter().zip(input.bound).collect();
    // What lies below another is mounted after it.
    wanted.sort_by_key(|(mounting, _)| {
        (mounting.point.destination.matches('/').count(), &mounting.point.destination)
    });
    all.extend(wanted.into_iter().map(|(mounting, bound)| asked(mounting, bound)));
    all.extend(later);
    all
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
}

/// Docker drops its own mount where a person mounts the same place; and what is in `/dev` where
/// that is a person's. `/sys/fs/cgroup` in a person's `/sys` is likewise theirs, and so is an `/etc` in
/// which no place for ours could be made.
fn covers(theirs: &Mounting, ours: &str) -> bool {
    let (path, rw) = (theirs.point.destination.as_str(), theirs.point.rw);
    ours == path
        || is_below(ours, path) && (path == "/dev" || path == "/sys" || path == "/etc" && !rw)
}

fn kernels(input: &Input<'_>) -> Vec<Mount> {
    let host = &input.container.record.host;
    let sys = if host.privileged { "rw" } else { "ro" };
    let cgroup = if host.privileged || input.security.writable_cgroups { "rw" } else { "ro" };
    // A procfs is of the PID namespace's user namespace, which the machine's is not for an ordinary user.
    let proc = if input.namespaces.nested.is_some() && input.namespaces.pid == Place::Host {
        mount("/proc", "bind", "/proc", &["rbind", "nosuid", "noexec", "nodev"])
    } else {
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])
    };
    // The group `tty`, which one who has no other id than the own does not have.
    let gid: &[&str] =
        if input.namespaces.nested.is_some_and(|groups| groups <= 5) { &[] } else { &["gid=5"] };
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    let mut list = vec![
        proc,
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &[&pts[..], gid].concat()),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &[cgroup, "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
    ];
    let ipc = host.ipc_mode.as_str();
    if let Some(shm) = input.shm {
        list.push(mount("/dev/shm", "bind", &shm.to_string_lossy(), &["rbind", "rprivate"]));
    } else if ipc == "host" {
        list.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate"]));
    } else if ipc != "none" {
        let size = format!("size={}", if host.shm_size > 0 { host.shm_size } else { SHM_BYTES });
        let options = ["nosuid", "noexec", "nodev", "mode=1777", &size];
        list.push(mount("/dev/shm", "tmpfs", "shm", &options));
    }
    list
}

/// One that was asked for.
pub(crate) fn asked(mounting: &Mounting, bound: &Bound) -> Mount {
    let point = &mounting.point;
    let (kind, source) = match point.kind.as_str() {
        TMPFS => ("tmpfs", "tmpfs".to_owned()),
        _ => ("bind", bound.source.to_string_lossy().into_owned()),
    };
    let maps = bound.maps.clone().unwrap_or_default();
    Mount {
        destination: point.destination.clone(),
        kind: kind.into(),
        source,
        options: mounting.options.clone(),
        uid_mappings: maps.uids,
        gid_mappings: maps.gids,
    }
}

/// How the root propagates: a mount that is to be shared with the host, or to follow it, needs a
/// root that does; all else is private.
pub(super) fn propagation(wanted: &[Mounting]) -> &'static str {
    let has = |words: [&str; 2]| {
        wanted.iter().any(|mounting| words.contains(&mounting.point.propagation.as_str()))
    };
    if has(["shared", "rshared"]) {
        "shared"
    } else if has(["slave", "rslave"]) {
        "rslave"
    } else {
        ""
    }
}
