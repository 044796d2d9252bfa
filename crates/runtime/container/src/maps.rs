//! The ids of user namespaces: written by the runtime itself, or by the system's helpers; and read.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci::runtime::{IdMapping, NamespaceKind};
use plan::{IdMaps, MapIds, Mount};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sys::{Call, CloneArgs, CloneFlags, Cloned, SingleThreaded};

use crate::error::{Doing, Error};

/// Where the helpers are when `PATH` does not say it.
const USUAL_PATH: &str = "/usr/bin:/bin:/usr/local/bin";

/// One of the two maps.
struct Kind {
    file: &'static str,
    tool: &'static str,
    subordinate: &'static str,
    field: &'static str,
}

const USERS: Kind = Kind {
    file: "uid_map",
    tool: "newuidmap",
    subordinate: "/etc/subuid",
    field: "linux.uidMappings",
};

const GROUPS: Kind = Kind {
    file: "gid_map",
    tool: "newgidmap",
    subordinate: "/etc/subgid",
    field: "linux.gidMappings",
};

/// Writes the ids of a process's user namespace.
pub(crate) fn write(proc: &OwnedFd, pid: i32, maps: &IdMaps) -> Result<(), Error> {
    let uid = rustix::process::geteuid();
    let gid = rustix::process::getegid().as_raw();
    if uid.is_root() {
        write_one(proc, pid, &USERS, &maps.uid)?;
        return write_one(proc, pid, &GROUPS, &maps.gid);
    }
    if plan::maps_only(&maps.uid, uid.as_raw()) {
        write_one(proc, pid, &USERS, &maps.uid)?;
    } else {
        call_helper(pid, &USERS, &maps.uid)?;
    }
    if plan::maps_only(&maps.gid, gid) {
        // Who could give up a group by setgroups(2) would get at what that group is denied: so
        // without help the kernel allows the map only after this.
        fsroot::proc::write_checked(proc.as_fd(), format!("{pid}/setgroups"), b"deny")
            .doing(|| GROUPS.field)?;
        write_one(proc, pid, &GROUPS, &maps.gid)
    } else {
        call_helper(pid, &GROUPS, &maps.gid)
    }
}

fn write_one(proc: &OwnedFd, pid: i32, kind: &Kind, maps: &[IdMapping]) -> Result<(), Error> {
    let path = format!("{pid}/{}", kind.file);
    let lines = IdMaps::lines(maps);
    fsroot::proc::write_checked(proc.as_fd(), &path, lines.as_bytes()).doing(|| {
        if crate::facts::in_user_namespace() {
            let field = kind.field;
            format!("{field}: these ids are not all mapped in this process's own user namespace")
        } else {
            kind.field.to_owned()
        }
    })
}

/// The system's helper is set-user-id, and knows which ids are this user's.
fn call_helper(pid: i32, kind: &Kind, maps: &[IdMapping]) -> Result<(), Error> {
    let Kind { tool, field, subordinate, .. } = kind;
    let program = id_helper(tool).ok_or_else(|| {
        Error::Refused(format!(
            "{field}: more than the own id is mapped, which needs `{tool}`: it is not installed \
             (Debian: uidmap)"
        ))
    })?;
    let numbers = maps.iter().flat_map(|map| [map.container_id, map.host_id, map.size]);
    let output = std::process::Command::new(&program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(std::process::Stdio::null())
        .output()
        .call(|| format!("execve({program:?})"))
        .doing(|| *field)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Refused(format!(
        "{field}: {tool}: {}: {} (are these ids the user's in {subordinate}?)",
        output.status,
        said.trim().replace('\n', "; ")
    )))
}

/// Where one of the system's helpers is, `newuidmap` or `newgidmap`.
pub fn id_helper(tool: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let is_absolute = |dir: &&str| dir.starts_with('/');
    path.split(':')
        .filter(is_absolute)
        .chain(USUAL_PATH.split(':'))
        .map(|dir| Path::new(dir).join(tool))
        .find(|path| path.is_file())
}

/// A user namespace of these ids, in which nobody is: for mounts whose ids are mapped. This process has
/// one thread.
pub fn user_namespace(maps: &IdMaps) -> Result<OwnedFd, Error> {
    let proof = SingleThreaded::check().doing(|| "a user namespace")?;
    let proc = fsroot::proc::open_host().doing(|| "/proc")?;
    with_process(&proof, &proc, None, |pid| write(&proc, pid, maps))
        .map(|(namespace, ())| namespace)
}

/// A user namespace for an id-mapped mount.
pub(crate) fn of_mount(
    proof: &SingleThreaded,
    mount: &Mount,
    proc: &OwnedFd,
) -> Result<OwnedFd, Error> {
    let doing = || format!("mounts[{}]: its ids", mount.index);
    match mount.idmap.as_ref().map(|idmap| &idmap.ids) {
        Some(MapIds::Maps(maps)) => {
            let made = with_process(proof, proc, None, |pid| write(proc, pid, maps));
            made.map(|(namespace, ())| namespace)
        }
        Some(MapIds::Namespace(path)) => {
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .call(|| format!("open({path:?})"))
                .doing(doing)
        }
        None => Err(Error::Refused(doing())),
    }
}

/// Checks that a user namespace which is joined has the ids that the configuration names.
pub(crate) fn check_joined(
    proof: &SingleThreaded,
    join: &[(NamespaceKind, PathBuf, OwnedFd)],
    proc: &OwnedFd,
    wanted: &IdMaps,
) -> Result<(), Error> {
    let Some((_, path, namespace)) = join.iter().find(|(kind, ..)| *kind == NamespaceKind::User)
    else {
        return Ok(());
    };
    let (_, has) = with_process(proof, proc, Some(namespace), |pid| {
        Ok(IdMaps { uid: read(proc, pid, &USERS)?, gid: read(proc, pid, &GROUPS)? })
    })?;
    for (kind, has, wanted) in [(USERS, has.uid, &wanted.uid), (GROUPS, has.gid, &wanted.gid)] {
        let sorted = |maps: &[IdMapping]| {
            let mut maps: Vec<_> =
                maps.iter().map(|map| (map.container_id, map.host_id, map.size)).collect();
            maps.sort_unstable();
            maps
        };
        if sorted(&has) != sorted(wanted) {
            return Err(Error::Refused(format!(
                "{}: user namespaces enabled, but both namespace path and non-matching mapping \
                 specified: {} has {:?}",
                kind.field,
                path.display(),
                IdMaps::lines(&has).trim().replace('\n', ", ")
            )));
        }
    }
    Ok(())
}

fn read(proc: &OwnedFd, pid: i32, kind: &Kind) -> Result<Vec<IdMapping>, Error> {
    let path = format!("{pid}/{}", kind.file);
    let file = fsroot::proc::open(proc.as_fd(), &path, OFlags::RDONLY).doing(|| kind.field)?;
    let text = std::io::read_to_string(std::fs::File::from(file))
        .call(|| format!("read({path:?})"))
        .doing(|| kind.field)?;
    let number = |line: &str, at| line.split_ascii_whitespace().nth(at)?.parse::<u32>().ok();
    let parse = |line: &str| {
        Some(IdMapping {
            container_id: number(line, 0)?,
            host_id: number(line, 1)?,
            size: number(line, 2)?,
        })
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// Does something with a process that is in a user namespace, a new one or one that it enters, and
/// that lives only as long as that takes. Answers with the namespace as well.
fn with_process<T>(
    proof: &SingleThreaded,
    proc: &OwnedFd,
    enter: Option<&OwnedFd>,
    body: impl FnOnce(i32) -> Result<T, Error>,
) -> Result<(OwnedFd, T), Error> {
    let doing = || "a process in the user namespace";
    let (ours, theirs) = init::sync::pair().doing(doing)?;
    let (entered, ready) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .call(|| "pipe2()")
        .doing(doing)?;
    let flags = if enter.is_some() { CloneFlags::empty() } else { CloneFlags::NEWUSER };
    let args = CloneArgs { flags, cgroup: None, exit_signal: Some(init::EXIT_SIGNAL) };
    match sys::clone3(proof, &args).doing(doing)? {
        Cloned::Child => {
            drop(ours);
            if enter.is_some_and(|ns| sys::setns(ns.as_fd(), CloneFlags::NEWUSER).is_err()) {
                sys::exit_now(1)
            }
            drop(ready);
            theirs.wait_closed();
            sys::exit_now(0)
        }
        Cloned::Parent { pid, handle } => {
            drop((theirs, ready));
            // Until it has entered, or ended.
            let _eof = rustix::io::retry_on_intr(|| rustix::io::read(&entered, &mut [0_u8; 1]));
            let pid = pid.as_raw_nonzero().get();
            let done = body(pid).and_then(|value| {
                let path = format!("{pid}/ns/user");
                rustix::fs::openat(proc, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .call(|| format!("open(\"/proc/{path}\")"))
                    .doing(doing)
                    .map(|namespace| (namespace, value))
            });
            drop(ours);
            crate::create::reap(&handle)?;
            match done {
                Err(Error::Call { source, .. }) if source.errno() == Errno::NOENT => {
                    Err(Error::Refused("the user namespace cannot be entered".into()))
                }
                other => other,
            }
        }
    }
}
