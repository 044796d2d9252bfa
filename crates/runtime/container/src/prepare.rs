//! What is opened before the clone, in the runtime's own namespaces: sources of mounts as detached
//! mounts, namespaces, the console socket. The new process only puts them into their places.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use oci::runtime::NamespaceKind;
use plan::{Device, Enter, IdMaps, Join, Mount, Root, Rootfs, What};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sys::{Call, CloneArgs, CloneFlags, Cloned, MountAttr, Propagation, SingleThreaded};

use crate::error::{Doing, Error};

/// The detached mounts of a container.
pub(crate) struct Mounts {
    pub(crate) root: Option<OwnedFd>,
    pub(crate) binds: Vec<Option<OwnedFd>>,
    pub(crate) devices: Vec<Option<OwnedFd>>,
    pub(crate) null: Option<OwnedFd>,
}

/// Opens everything that is mounted from the host.
pub(crate) fn mounts(
    proof: &SingleThreaded,
    plan: &Rootfs,
    proc: &OwnedFd,
) -> Result<Mounts, Error> {
    if plan.enter == Enter::Chroot {
        check_root(&plan.root)?;
        return Ok(Mounts { root: None, binds: Vec::new(), devices: Vec::new(), null: None });
    }
    let binds = plan
        .mounts
        .iter()
        .map(|mount| match &mount.what {
            What::Bind { source, recursive } => {
                bind(proof, mount, source, *recursive, proc).map(Some)
            }
            _ => Ok(None),
        })
        .collect::<Result<_, _>>()?;
    let devices = if plan.bind_devices && plan.fill_dev {
        plan.devices.iter().map(device).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    let null = if plan.masked_paths.is_empty() { None } else { Some(null()?) };
    Ok(Mounts { root: Some(root(&plan.root)?), binds, devices, null })
}

fn check_root(root: &Root) -> Result<OwnedFd, Error> {
    let path = &root.path;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Error::Refused(format!(
            "root.path: {path:?} is not a directory (symbolic links are not followed)"
        ))),
        other => other.call(|| format!("open({path:?})")).doing(|| "root.path"),
    }
}

/// The root directory as a detached mount.
pub(crate) fn root(root: &Root) -> Result<OwnedFd, Error> {
    let directory = check_root(root)?;
    let tree = mount::bind_fd(directory.as_fd(), true).doing(|| "root.path")?;
    // A later `shared` or `unbindable` comes when all is mounted; until then nothing may travel.
    let propagation = match root.propagation {
        Propagation::Private => Propagation::Private,
        _ => Propagation::Slave,
    };
    mount::set_propagation_fd(tree.as_fd(), propagation, true).doing(|| "root.path")?;
    Ok(tree)
}

fn bind(
    proof: &SingleThreaded,
    mount: &Mount,
    source: &Path,
    recursive: bool,
    proc: &OwnedFd,
) -> Result<OwnedFd, Error> {
    let doing = || format!("mounts[{}].source: {source:?}", mount.index);
    let none = MountAttr::empty();
    let tree = mount::bind(source, recursive).doing(doing)?;
    if let Some((maps, below)) = &mount.idmap {
        let userns = user_namespace(proof, maps, proc)?;
        let id_map = MountAttr::IDMAP;
        sys::mount_setattr(tree.as_fd(), *below, id_map, none, None, Some(userns.as_fd()))
            .doing(doing)?;
    }
    // The clone is a peer of the host's mount: what is mounted in the container would appear there.
    // What is asked for explicitly comes after.
    if mount.propagation.is_empty() {
        mount::set_propagation_fd(tree.as_fd(), Propagation::Slave, true).doing(doing)?;
    }
    if !(mount.set | mount.clear).is_empty() {
        sys::mount_setattr(tree.as_fd(), false, mount.set, mount.clear, None, None).doing(doing)?;
    }
    if !(mount.rec_set | mount.rec_clear).is_empty() {
        sys::mount_setattr(tree.as_fd(), true, mount.rec_set, mount.rec_clear, None, None)
            .doing(doing)?;
    }
    for (propagation, below) in &mount.propagation {
        mount::set_propagation_fd(tree.as_fd(), *propagation, *below).doing(doing)?;
    }
    Ok(tree)
}

/// The host's file of a device, if it really is that device. Fifos are made, not bound.
fn device(device: &Device) -> Result<Option<OwnedFd>, Error> {
    if device.kind == FileType::Fifo {
        return Ok(None);
    }
    bind_device(&device.path, device.kind, (device.major, device.minor)).map(Some)
}

fn null() -> Result<OwnedFd, Error> {
    bind_device(Path::new("/dev/null"), FileType::CharacterDevice, (1, 3))
}

fn bind_device(path: &Path, kind: FileType, numbers: (u32, u32)) -> Result<OwnedFd, Error> {
    let doing = || format!("device {path:?}");
    let tree = mount::bind(path, false).doing(doing)?;
    let stat = rustix::fs::fstat(&tree).call(|| format!("fstat({path:?})")).doing(doing)?;
    let found = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != kind || found != numbers {
        return Err(Error::Refused(format!("{}: the host has something else there", doing())));
    }
    mount::set_propagation_fd(tree.as_fd(), Propagation::Private, false).doing(doing)?;
    Ok(tree)
}

/// A user namespace that holds `maps`, for an id-mapped mount: that of a process which lives only
/// until it was opened.
fn user_namespace(proof: &SingleThreaded, maps: &IdMaps, proc: &OwnedFd) -> Result<OwnedFd, Error> {
    let doing = || "the user namespace of an id-mapped mount";
    let (ours, theirs) = init::sync::pair().doing(doing)?;
    let args = CloneArgs {
        flags: CloneFlags::NEWUSER,
        cgroup: None,
        exit_signal: Some(init::EXIT_SIGNAL),
    };
    match sys::clone3(proof, &args).doing(doing)? {
        Cloned::Child => {
            drop(ours);
            theirs.wait_closed();
            sys::exit_now(0)
        }
        Cloned::Parent { pid, pidfd } => {
            drop(theirs);
            let pid = pid.as_raw_nonzero().get();
            let opened = write_maps(proc, pid, maps).and_then(|()| {
                let path = format!("{pid}/ns/user");
                rustix::fs::openat(proc, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .call(|| format!("open(\"/proc/{path}\")"))
                    .doing(doing)
            });
            drop(ours);
            crate::create::reap(&pidfd)?;
            opened
        }
    }
}

/// Writes the ids of a process's user namespace.
pub(crate) fn write_maps(proc: &OwnedFd, pid: i32, maps: &IdMaps) -> Result<(), Error> {
    for (file, tool, field, list) in [
        ("uid_map", "newuidmap", "linux.uidMappings", &maps.uid),
        ("gid_map", "newgidmap", "linux.gidMappings", &maps.gid),
    ] {
        let path = format!("{pid}/{file}");
        let lines = IdMaps::lines(list);
        match fsroot::proc::write_checked(proc.as_fd(), &path, lines.as_bytes()) {
            Ok(()) => {}
            // An unprivileged user: the system's helpers know which ids are theirs.
            Err(err) if err.errno() == Errno::PERM && !rustix::process::geteuid().is_root() => {
                map_with_helper(tool, pid, list, field)
                    .or_else(|error| own_id_only(proc, pid, file, &lines).map_err(|_| error))?;
            }
            Err(err) => return Err(err).doing(|| field),
        }
    }
    Ok(())
}

/// Without the helpers an unprivileged user may map its own id, for groups only after giving up
/// setgroups(2).
fn own_id_only(proc: &OwnedFd, pid: i32, file: &str, lines: &str) -> Result<(), Error> {
    if file == "gid_map" {
        let path = format!("{pid}/setgroups");
        fsroot::proc::write_checked(proc.as_fd(), &path, b"deny").doing(|| "setgroups")?;
    }
    fsroot::proc::write_checked(proc.as_fd(), format!("{pid}/{file}"), lines.as_bytes())
        .doing(|| file)
}

fn map_with_helper(
    tool: &str,
    pid: i32,
    maps: &[oci::runtime::IdMapping],
    field: &str,
) -> Result<(), Error> {
    let c_string = |text: String| std::ffi::CString::new(text).unwrap_or_default();
    let mut argv = vec![c_string(tool.to_owned()), c_string(pid.to_string())];
    for map in maps {
        for number in [map.container_id, map.host_id, map.size] {
            argv.push(c_string(number.to_string()));
        }
    }
    let path = ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .map(|dir| format!("{dir}/{tool}"))
        .find(|path| Path::new(path).exists())
        .ok_or_else(|| Error::Refused(format!("{field}: `{tool}` is not installed")))?;
    let (name, path) = (tool.to_owned(), c_string(path));
    let hook = plan::Hook { name, path, argv, env: Vec::new(), timeout: None };
    init::hook::run(&[hook], b"").map_err(Error::from)
}

/// Opens the namespaces that are joined, each checked to be of its kind.
pub(crate) fn namespaces(
    join: &[Join],
) -> Result<Vec<(NamespaceKind, std::path::PathBuf, OwnedFd)>, Error> {
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

/// A namespace file's own name is `kind:[inode]`.
fn check_kind(fd: &OwnedFd, join: &Join) -> Result<(), Error> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let doing = || format!("the {} namespace {}", join.kind, join.path.display());
    let magic = rustix::fs::fstatfs(fd).call(|| "fstatfs()").doing(doing)?.f_type as u64;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default();
    let name = name.to_string_lossy();
    let named = |prefix: &str| name.split(':').next() == Some(prefix);
    // Where it is mounted on a file, the link shows that file's path instead of the kind.
    if magic != NSFS_MAGIC || name.contains(":[") && !named(join.kind.proc_name()) {
        return Err(Error::Refused(format!(
            "{} is not a {} namespace",
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
