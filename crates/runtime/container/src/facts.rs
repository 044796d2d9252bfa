//! What the plan has to know about this machine and this process.

use std::sync::OnceLock;

use oci::runtime::{Process, Spec};
use plan::Facts;

use crate::error::{Doing, Error};

/// The facts that matter to a container.
pub(crate) fn of_container(spec: &Spec) -> Result<Facts, Error> {
    gather(spec.process.as_ref(), spec.linux.as_ref().is_some_and(|l| !l.mount_label.is_empty()))
}

/// The facts that matter to a process that is executed.
pub(crate) fn of_process(process: &Process) -> Result<Facts, Error> {
    gather(Some(process), false)
}

/// What no specification changes, where it was looked at [ahead](crate::ahead).
static PRIMED: OnceLock<Facts> = OnceLock::new();

/// Looks at it, for a process that stays what it is until it makes a container.
pub(crate) fn prime() {
    if let Ok(facts) = look() {
        let _once = PRIMED.set(facts);
    }
}

fn gather(process: Option<&Process>, labels_mounts: bool) -> Result<Facts, Error> {
    let wants = |label: fn(&Process) -> &String| process.is_some_and(|p| !label(p).is_empty());
    let facts = PRIMED.get().cloned().map_or_else(look, Ok)?;
    Ok(Facts {
        apparmor: wants(|process| &process.apparmor_profile) && apparmor::is_enabled(),
        selinux: (wants(|process| &process.selinux_label) || labels_mounts)
            && selinux::is_enabled(),
        ..facts
    })
}

fn look() -> Result<Facts, Error> {
    let held = sys::capget().doing(|| "look at this process's capabilities")?;
    let (known, bounding) =
        caps::known_and_bounding().doing(|| "look at the kernel's capabilities")?;
    let in_user_namespace = in_user_namespace();
    Ok(Facts {
        old_mounts: !sys::has_mount_setattr(),
        user_systemd: crate::unit::is_users(in_user_namespace),
        permitted: held.permitted,
        bounding: bounding.0,
        known: known.0,
        euid: rustix::process::geteuid().as_raw(),
        egid: rustix::process::getegid().as_raw(),
        in_user_namespace,
        hard_limits: plan::limited_resources()
            .map(|resource| (resource, rustix::process::getrlimit(resource).maximum))
            .collect(),
        apparmor: false,
        selinux: false,
    })
}

/// Whether this process is in a user namespace of somebody's: the first one maps all ids to
/// themselves.
pub fn in_user_namespace() -> bool {
    if let Some(facts) = PRIMED.get() {
        return facts.in_user_namespace;
    }
    // A kernel without user namespaces does not have the file.
    sys::read_file("/proc/self/uid_map", 1 << 10)
        .is_ok_and(|map| !map.split_ascii_whitespace().eq(["0", "0", "4294967295"]))
}
