//! Becoming the user with the capabilities that the program is to have, and no way back.

use std::os::fd::{AsFd, BorrowedFd};

use plan::{Filter, Ids, Landlock, Process, SeccompWhen};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use sys::{AccessFs, AccessNet, Call, Ruleset};

use crate::error::{Doing, Error};
use crate::sync::InitEnd;

/// The version of Landlock that knows of TCP.
const TCP_SINCE: u32 = 4;

/// The part of the lock-down that ends in the program's own identity. The filter that goes in last
/// is not in it.
pub(crate) fn lock_down(
    process: &Process,
    filter: Option<&Filter>,
    sync: &InitEnd,
) -> Result<(), Error> {
    if process.no_new_privs {
        sys::set_no_new_privs().doing(|| "no_new_privs")?;
    }
    if let Some(rights) = &process.landlock {
        give_up(rights)?;
    }
    if process.seccomp_when == SeccompWhen::BeforeCaps {
        install(filter, sync)?;
    }
    // While CAP_SETPCAP is there, and while the user is still privileged.
    caps::apply_bounding(process.caps.bounding).doing(|| "bounding capabilities")?;
    sys::set_keep_caps(true).doing(|| "user")?;
    become_user(&process.user)?;
    // What the container has chosen is resolved from here on: this directory, then the program.
    sync.until_detached()?;
    enter_directory(process)?;
    sys::set_keep_caps(false).doing(|| "user")?;
    let missing = caps::apply(&process.caps).doing(|| "capabilities")?;
    // Each change of identity leaves it as `fs.suid_dumpable` says, and a process that stays root
    // changes nothing. Until its program is executed, nothing in the container may look into it.
    sys::set_dumpable(false).doing(|| "hide from the container")?;
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|cap| cap.to_string()).collect();
        sync.warn(&format!("capabilities not held: {}: left out", names.join(", ")))?;
    }
    Ok(())
}

/// Gives rights up, for itself and all that comes of it. While `CAP_SYS_ADMIN` is there, and before
/// the filter, which need not allow these calls.
fn give_up(rights: &Landlock) -> Result<(), Error> {
    let abi = sys::landlock_abi().doing(|| "landlock (annotation dhow.landlock)")?;
    let known = AccessFs::of_abi(abi);
    if rights.tcp && abi < TCP_SINCE {
        let why = format!("needs Landlock {TCP_SINCE} (Linux 6.7), and this kernel has {abi}");
        return Err(Error::refused("annotation dhow.landlock: tcp", why));
    }
    let tcp = if rights.tcp { AccessNet::all() } else { AccessNet::empty() };
    let ruleset = Ruleset::new(known, tcp).doing(|| "landlock")?;
    for (path, access) in &rights.paths {
        let shown = || format!("landlock: {}", path.display());
        // The root is the container's here, so its links lead nowhere else.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| sys::Error::new("open", errno))
            .doing(shown)?;
        let stat = rustix::fs::fstat(&file)
            .map_err(|errno| sys::Error::new("fstat", errno))
            .doing(shown)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let possible = if is_directory { known } else { known & AccessFs::OF_FILES };
        ruleset.allow_beneath(file.as_fd(), *access & possible).doing(shown)?;
    }
    for (port, access) in &rights.ports {
        ruleset.allow_port(*port, *access).doing(|| "landlock")?;
    }
    ruleset.restrict_self().doing(|| "landlock")
}

/// Installs the filter and hands its listener over, if it has one.
pub(crate) fn install(filter: Option<&Filter>, sync: &InitEnd) -> Result<(), Error> {
    let Some(filter) = filter else { return Ok(()) };
    let listener = sys::seccomp_set_filter(&filter.program, filter.flags).doing(|| "seccomp")?;
    match listener {
        Some(listener) => sync.listener(listener.as_fd()),
        None => Ok(()),
    }
}

fn become_user(ids: &Ids) -> Result<(), Error> {
    if let Some(umask) = ids.umask {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
    }
    let groups: Vec<Gid> = ids.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_groups(&groups, ids)?;
    unmapped("process.user.gid", ids.gid, sys::setresgid(Gid::from_raw(ids.gid)))?;
    unmapped("process.user.uid", ids.uid, sys::setresuid(Uid::from_raw(ids.uid)))
}

/// To an id that the user namespace does not have the kernel says a bare `EINVAL`.
fn unmapped(field: &str, id: u32, result: Result<(), sys::Error>) -> Result<(), Error> {
    match result {
        Err(err) if err.errno() == Errno::INVAL => Err(Error::refused(
            format!("{field}: `{id}`"),
            "is not mapped in the container's user namespace",
        )),
        other => other.doing(|| format!("{field}: {id}")),
    }
}

/// An unprivileged user's namespace forbids setgroups(2); there the process has no groups to lose,
/// and asking for more than its own is an error.
fn set_groups(groups: &[Gid], ids: &Ids) -> Result<(), Error> {
    let is_own = groups == [Gid::from_raw(ids.gid)];
    match sys::setgroups(groups) {
        Err(err) if err.errno() == Errno::PERM && (groups.is_empty() || is_own) => Ok(()),
        Err(err) if err.errno() == Errno::PERM => Err(Error::refused(
            format!("process.user.additionalGids: {:?}", ids.groups),
            "cannot be had: setgroups(2) is denied in the user namespace of a rootless container \
             with a single group",
        )),
        Err(err) if err.errno() == Errno::INVAL => Err(Error::refused(
            format!("process.user: one of the groups {:?}", ids.groups),
            "is not mapped in the container's user namespace",
        )),
        other => other.doing(|| "process.user.additionalGids"),
    }
}

/// Enters the working directory, as the user; where only root may, with its capabilities (which
/// Docker's containers rely on). Then makes sure that it lies inside the root: a path through
/// `/proc/self/fd` could have led out (CVE-2024-21626).
fn enter_directory(process: &Process) -> Result<(), Error> {
    let cwd = &process.cwd;
    let doing = || format!("process.cwd: {cwd:?}");
    match rustix::process::chdir(cwd) {
        Err(Errno::ACCESS | Errno::PERM) => {
            let have = sys::capget().doing(doing)?;
            sys::capset(have.permitted, have.permitted, have.inheritable).doing(doing)?;
            rustix::process::chdir(cwd).call(|| format!("chdir({cwd:?})")).doing(doing)?;
        }
        other => other.call(|| format!("chdir({cwd:?})")).doing(doing)?,
    }
    verify_directory(process)
}

/// The kernel says `(unreachable)` for a directory that is not below this process's root.
pub(crate) fn verify_directory(process: &Process) -> Result<(), Error> {
    let doing = || format!("process.cwd: {:?}", process.cwd);
    let real = rustix::process::getcwd(Vec::new()).call(|| "getcwd()").doing(doing)?;
    if real.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Error::refused(doing(), "the directory is outside of the container"))
    }
}

/// The label of keys that are made from here on, until the exec.
pub(crate) fn label_keys(process: &Process, proc: BorrowedFd<'_>) -> Result<(), Error> {
    let Some(label) = &process.selinux else { return Ok(()) };
    match fsroot::proc::write_checked(proc, "thread-self/attr/keycreate", label.as_bytes()) {
        // A kernel without keys.
        Err(err) if err.errno() == Errno::NOENT => Ok(()),
        written => written.doing(|| format!("process.selinuxLabel: {label}")),
    }
}

/// The label that the next exec gives the process.
pub(crate) fn label(process: &Process, proc: BorrowedFd<'_>) -> Result<(), Error> {
    if let Some(label) = &process.selinux {
        fsroot::proc::write_checked(proc, "thread-self/attr/exec", label.as_bytes())
            .doing(|| format!("process.selinuxLabel: {label}"))?;
    }
    if let Some(profile) = &process.apparmor {
        let doing = || format!("process.apparmorProfile: {profile}");
        let text = format!("exec {profile}");
        // The file of its own is there where several security modules are stacked.
        match fsroot::proc::write_checked(proc, "thread-self/attr/apparmor/exec", text.as_bytes()) {
            Err(err) if err.errno() == Errno::NOENT => {
                fsroot::proc::write_checked(proc, "thread-self/attr/exec", text.as_bytes())
            }
            other => other,
        }
        .doing(doing)?;
    }
    Ok(())
}
