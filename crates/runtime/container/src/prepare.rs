//! What is opened before the clone, in the runtime's own namespaces: sources of mounts as detached
//! mounts, namespaces, the console socket. The new process only puts them into their places.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use init::source::Sources;
use oci::runtime::NamespaceKind;
use plan::{Join, Rootfs};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sys::{Call, SingleThreaded};

use crate::error::{Doing, Error};

/// Opens everything that is mounted from the host; nothing where only the new process may.
pub(crate) fn sources(
    proof: &SingleThreaded,
    plan: &Rootfs,
    proc: &OwnedFd,
) -> Result<Sources, Error> {
    if plan.open_inside {
        return Ok(Sources::default());
    }
    let mut failed = None;
    let opened = init::source::open(plan, &mut |mount| {
        crate::maps::of_mount(proof, mount, proc).map_err(|error| {
            let line = error.line();
            failed = Some(error);
            init::Error::refused("", line)
        })
    });
    opened.map_err(|error| failed.unwrap_or_else(|| Error::from(error)))
}

/// Namespaces that are open: kind, file, descriptor.
pub(crate) type Namespaces = Vec<(NamespaceKind, std::path::PathBuf, OwnedFd)>;

/// Those of `kind`, once more.
pub(crate) fn clone_namespaces(
    namespaces: &Namespaces,
    kind: NamespaceKind,
) -> Result<Namespaces, Error> {
    namespaces
        .iter()
        .filter(|(other, ..)| *other == kind)
        .map(|(kind, path, fd)| {
            let fd = fd.try_clone().call(|| format!("dup({path:?})")).doing(|| "namespaces")?;
            Ok((*kind, path.clone(), fd))
        })
        .collect()
}

/// Opens the namespaces that are joined, each checked to be of its kind.
pub(crate) fn namespaces(join: &[Join]) -> Result<Namespaces, Error> {
    join.iter()
        .map(|join| {
            let doing = || format!("the {} namespace {}", join.kind, join.path.display());
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            let fd = rustix::fs::open(&join.path, flags, Mode::empty())
                .call(|| format!("open({:?})", join.path))
                .doing(doing)?;
            check_kind(&fd, join)?;
            Ok((join.kind, join.path.clone(), fd))
        })
        .collect()
}

/// A namespace of the host's that is joined is not the container's own to change, though the
/// configuration names one: its parameters and names stay as they are (GHSA-w2j5-3rcx-vx7x).
pub(crate) fn check_not_the_hosts(
    join: &[(NamespaceKind, std::path::PathBuf, OwnedFd)],
    plan: &plan::InitPlan,
) -> Result<(), Error> {
    for (kind, path, fd) in join {
        let changes = plan
            .sysctls
            .iter()
            .find(|sysctl| sysctl.namespace == *kind)
            .map(|sysctl| format!("linux.sysctl: {}", sysctl.path))
            .or_else(|| {
                (*kind == NamespaceKind::Uts && plan.hostname.is_some()).then(|| "hostname".into())
            })
            .or_else(|| {
                (*kind == NamespaceKind::Uts && plan.domainname.is_some())
                    .then(|| "domainname".into())
            });
        let Some(field) = changes else { continue };
        let doing = || format!("the {kind} namespace {}", path.display());
        let joined = rustix::fs::fstat(fd).call(|| "fstat()").doing(doing)?;
        // Ours, and that of the machine's first process, where we may see it.
        let is_host = ["self", "1"].iter().any(|who| {
            rustix::fs::stat(format!("/proc/{who}/ns/{}", kind.proc_name()))
                .is_ok_and(|own| (own.st_dev, own.st_ino) == (joined.st_dev, joined.st_ino))
        });
        if is_host {
            return Err(Error::Refused(format!(
                "{field} would change the host: {} is the host's {kind} namespace",
                path.display()
            )));
        }
    }
    Ok(())
}

/// A path that is no namespace, or one of another kind, is refused by name.
fn check_kind(fd: &OwnedFd, join: &Join) -> Result<(), Error> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let doing = || format!("the {} namespace {}", join.kind, join.path.display());
    let magic = rustix::fs::fstatfs(fd).call(|| "fstatfs()").doing(doing)?.f_type as u64;
    let is = |flag| sys::namespace_kind(fd.as_fd()).is_ok_and(|kind| kind == flag);
    if magic != NSFS_MAGIC || !is(plan::flag(join.kind)) {
        return Err(Error::Refused(format!(
            "linux.namespaces: `{}` is not a {} namespace",
            join.path.display(),
            join.kind
        )));
    }
    Ok(())
}

/// Connects to a unix socket. A path that is too long for an address goes through its directory's
/// descriptor.
pub(crate) fn connect(path: &Path, field: &str) -> Result<OwnedFd, Error> {
    let doing = || format!("{field}: {path:?}");
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .call(|| "socket(AF_UNIX)")
    .doing(doing)?;
    let connect = |path: &Path| {
        let address = SocketAddrUnix::new(path)?;
        rustix::io::retry_on_intr(|| rustix::net::connect(&socket, &address))
    };
    let connected = match connect(path) {
        Err(Errno::NAMETOOLONG) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let (dir, name) = (path.parent(), path.file_name());
            let (Some(dir), Some(name)) = (dir, name) else {
                return Err(Errno::NAMETOOLONG).call(|| format!("connect({path:?})")).doing(doing);
            };
            let dir = rustix::fs::open(dir, flags, Mode::empty())
                .call(|| format!("open({dir:?})"))
                .doing(doing)?;
            connect(&fsroot::fd_path(&dir).join(name))
        }
        other => other,
    };
    connected.call(|| format!("connect({path:?})")).doing(doing)?;
    Ok(socket)
}
