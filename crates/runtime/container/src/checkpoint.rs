//! Saving a running container, with criu.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use criu::{External, Kind, Options, Request, Response};
use mount::mountinfo::{self, Mounted};
use oci::runtime::{NamespaceKind, Status};
use plan::{Enter, Mount, Plan, Rootfs, What};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use sys::{Call, SingleThreaded};

use crate::create::read_spec;
use crate::error::{Doing, Error};
use crate::record::Record;
use crate::store::Store;
use crate::swrk::{self, CriuOptions, Directories, Service};
use crate::{cgroups, facts, lifecycle, process};

/// The file in the images that says what the first process's standard streams were.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";
/// What covers a masked file, by the name that criu keeps.
pub(crate) const NULL: &str = "/dev/null";

const LOG: &str = "dump.log";

/// Saves container `id`. Unless it is to go on it is gone afterwards. Returns what did not work and
/// does not matter.
pub fn checkpoint(
    proof: &SingleThreaded,
    store: &Store,
    id: &str,
    options: &CriuOptions,
) -> Result<Vec<String>, Error> {
    let container = store.lock(id)?;
    let record = container.expect_record()?;
    let status = container.status(&record)?;
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(Error::Refused(format!(
            "Container cannot be checkpointed in {status} state: {id}"
        )));
    }
    let spec = read_spec(&record.bundle)?;
    let facts = facts::of_container(&spec)?;
    // They were told when it was made.
    let mut warnings = Vec::new();
    let plain = plan::Options::default();
    let plan = Plan::new(&spec, id, &record.bundle, &facts, plain, &mut warnings)?;
    check_possible(&plan)?;
    let cgroup = cgroups::open(&record.cgroup_path)?
        .ok_or_else(|| Error::Refused(format!("the cgroup of container {id} is gone")))?;
    let service = Service::start(proof, "checkpoint", None)?;
    check_parent(options)?;
    swrk::made(&options.image_path)?;
    let directories = Directories::open(options, LOG)?;
    let ready = request(&plan, &record, &cgroup, options, &directories, &service)
        .and_then(|request| Ok((request, status_file(options)?)));
    let (request, mut status_file) = match ready {
        Ok(ready) => ready,
        Err(error) => return service.end().and(Err(error)),
    };
    let kind = if options.pre_dump { Kind::PreDump } else { Kind::Dump };
    let service = with_features(proof, service, options)?;
    service.run(kind, &request, &directories, |answer, _| {
        attend(answer, &mut status_file);
        Ok(())
    })?;
    if options.leave_running || options.pre_dump {
        return Ok(Vec::new());
    }
    // criu has killed it; its parent may not have noticed yet.
    lifecycle::end(&record)?;
    lifecycle::destroy(&container, &record)
}

/// Refuses what could be saved and not be restored.
pub(crate) fn check_possible(plan: &Plan) -> Result<(), Error> {
    let rootfs = &plan.init.rootfs;
    if rootfs.enter == Enter::Chroot {
        let why = "criu needs a mount namespace of the container's own";
        return Err(Error::Refused(format!("linux.namespaces: {why}")));
    }
    match rootfs.mounts.iter().find(|mount| mount.idmap.is_some()) {
        None => Ok(()),
        Some(mount) => Err(Error::Refused(format!(
            "mounts[{}] on {:?}: criu cannot restore a mount with other ids",
            mount.index, mount.target
        ))),
    }
}

/// `--parent-path` is relative to the images: criu makes a link of it there.
fn check_parent(options: &CriuOptions) -> Result<(), Error> {
    let Some(parent) = &options.parent_path else { return Ok(()) };
    let refuse = |why: &str| Err(Error::Refused(format!("--parent-path {parent:?} {why}")));
    if parent.starts_with('/') {
        return refuse("must be relative to --image-path");
    }
    if !options.image_path.join(parent).is_dir() {
        return refuse("is not a directory");
    }
    Ok(())
}

/// What `--pre-dump` and `--lazy-pages` ask of criu and the kernel. A child answers that question
/// and no other.
fn with_features(
    proof: &SingleThreaded,
    service: Service,
    options: &CriuOptions,
) -> Result<Service, Error> {
    if !options.pre_dump && !options.lazy_pages {
        return Ok(service);
    }
    let (answer, _) = service.ask(Request::Features)?;
    service.end()?;
    let features = answer.features.unwrap_or_default();
    for (option, wanted, there) in [
        ("--pre-dump", options.pre_dump, features.track_memory),
        ("--lazy-pages", options.lazy_pages, features.lazy_pages),
    ] {
        if wanted && !there {
            let why = "is not possible with this criu on this kernel";
            return Err(Error::Refused(format!("{option} {why}")));
        }
    }
    Service::start(proof, "checkpoint", None)
}

fn request(
    plan: &Plan,
    record: &Record,
    cgroup: &Cgroup,
    options: &CriuOptions,
    directories: &Directories,
    service: &Service,
) -> Result<Options, Error> {
    let mut request = options.request(directories, LOG);
    request.pid = Some(record.pid);
    request.root = record.rootfs.to_string_lossy().into_owned();
    request.leave_running = options.leave_running;
    request.tcp_skip_in_flight = options.tcp_skip_in_flight;
    request.link_remap = options.link_remap;
    request.page_server =
        options.page_server.as_ref().map(|(host, port)| (host.clone(), i32::from(*port)));
    // Nothing that is established is saved unless it was asked for: there is nothing to hold back.
    request.no_network_lock =
        !options.tcp_established && service.version >= criu::Version { major: 3, minor: 19 };
    let paths = cgroup.paths();
    let freezer = paths.get("freezer").or_else(|| paths.get("unified"));
    request.freezer = freezer.map(|path| path.to_string_lossy().into_owned());
    request.config_file = swrk::config_file(&record.annotations, &reachable(&plan.init.rootfs))?;
    if let Some(parent) = &options.parent_path {
        request.parent = Some(parent.clone());
        request.track_memory = true;
    }
    request.track_memory |= options.pre_dump;
    for kind in [NamespaceKind::Network, NamespaceKind::Pid] {
        let Some(join) = plan.namespaces.join.iter().find(|join| join.kind == kind) else {
            continue;
        };
        let inode = namespace(&join.path)?.1;
        request.external.push(format!("{}[{inode}]:{}", kind.proc_name(), external_name(kind)));
    }
    if !options.pre_dump {
        request.mounts = mounts(plan, record, cgroup)?;
        save_descriptors(record, directories)?;
    }
    Ok(request)
}

/// The directories that the container has its files from.
pub(crate) fn reachable(rootfs: &Rootfs) -> Vec<&Path> {
    let binds = rootfs.mounts.iter().filter_map(|mount| match &mount.what {
        What::Bind { source, .. } => Some(source.as_path()),
        _ => None,
    });
    std::iter::once(rootfs.root.path.as_path()).chain(binds).collect()
}

/// The name of a namespace of the host's in the images, as runc has it.
pub(crate) fn external_name(kind: NamespaceKind) -> String {
    let word = kind.proc_name();
    let (first, rest) = word.split_at(1);
    format!("extRoot{}{rest}NS", first.to_uppercase())
}

/// Device and inode of a namespace.
pub(crate) fn namespace(path: &Path) -> Result<(u64, u64), Error> {
    let stat = rustix::fs::stat(path).call(|| format!("stat({path:?})")).doing(|| "namespace")?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The mounts that are made by the runtime when it restores, by where they really are: what a link
/// in the image makes of a target must not decide which of them is meant (CVE-2026-119101).
fn mounts(plan: &Plan, record: &Record, cgroup: &Cgroup) -> Result<Vec<External>, Error> {
    let root = format!("/proc/{}/root", record.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&root, flags, Mode::empty())
        .call(|| format!("open({root:?})"))
        .doing(|| "the container's root")?;
    let root = fsroot::Root::from_fd(root);
    let text = mountinfo::read(&record.pid.to_string()).doing(|| "mounts")?;
    let mut mounts = Vec::new();
    let mut add = |target: &Path, name: &Path| -> Result<(), Error> {
        // Nothing is mounted there any more when it is on the root's.
        let line = mount_of(&root, target, &text)?.filter(|line| !line.is_at(Path::new("/")));
        let Some(line) = line else { return Ok(()) };
        let (key, value) = (swrk::name(&line.point())?, swrk::name(name)?);
        if !mounts.iter().any(|one: &External| one.key == key) {
            mounts.push(External { key, value });
        }
        Ok(())
    };
    for (target, _) in externals(plan, cgroup) {
        add(&target, &target)?;
    }
    for path in &plan.init.rootfs.masked_paths {
        if !is_directory(&root, path) {
            add(path, Path::new(NULL))?;
        }
    }
    Ok(mounts)
}

/// The mounts that come from the host: their targets, and what is bound there.
pub(crate) fn externals(plan: &Plan, cgroup: &Cgroup) -> Vec<(PathBuf, PathBuf)> {
    let mut all = Vec::new();
    let mounts = &plan.init.rootfs.mounts;
    for mount in mounts.iter().filter(|mount| !hidden(mounts, mount)) {
        match &mount.what {
            What::Bind { source, .. } => all.push((mount.target.clone(), source.clone())),
            What::Cgroup => {
                let namespace = plan.namespaces.has(NamespaceKind::Cgroup);
                let trees = cgroups::trees(cgroup, namespace).trees;
                match trees.as_slice() {
                    [only] if only.v2 && namespace => {}
                    [only] if only.v2 => {
                        all.extend(only.own.clone().map(|own| (mount.target.clone(), own)));
                    }
                    several => all.extend(several.iter().filter_map(|tree| {
                        Some((mount.target.join(&tree.name), tree.own.clone()?))
                    })),
                }
            }
            What::Fs { .. } | What::Remount { .. } => {}
        }
    }
    if plan.init.rootfs.in_user_namespace {
        let devices = plan.init.rootfs.devices.iter().map(|device| device.path.clone());
        all.extend(devices.map(|path| (path.clone(), path)));
    }
    all
}

/// Whether a later mount covers this one.
pub(crate) fn hidden(mounts: &[Mount], mount: &Mount) -> bool {
    mounts[mount.index + 1..].iter().any(|later| {
        !matches!(later.what, What::Remount { .. }) && mount.target.starts_with(&later.target)
    })
}

fn is_directory(root: &fsroot::Root, path: &Path) -> bool {
    root.open_path(path).is_ok_and(|fd| file_type(&fd) == Some(FileType::Directory))
}

fn file_type(fd: &OwnedFd) -> Option<FileType> {
    rustix::fs::fstat(fd).ok().map(|stat| FileType::from_raw_mode(stat.st_mode))
}

/// The mount that `target` is on, of those in a mountinfo. `None`: there is no such file.
pub(crate) fn mount_of<'t>(
    root: &fsroot::Root,
    target: &Path,
    mounts: &'t [u8],
) -> Result<Option<Mounted<'t>>, Error> {
    let Ok(fd) = root.open_path(target) else { return Ok(None) };
    let id = sys::mount_id(fd.as_fd()).doing(|| "mounts")?;
    Ok(mountinfo::mounts(mounts).find(|line| Some(line.id) == id))
}

/// Writes down what the standard streams are, so that whoever restores can give the container its
/// own in their place.
fn save_descriptors(record: &Record, directories: &Directories) -> Result<(), Error> {
    let link = |fd: i32| {
        let link = std::fs::read_link(format!("/proc/{}/fd/{fd}", record.pid)).unwrap_or_default();
        link.to_string_lossy().into_owned()
    };
    let json = serde_json::json!([link(0), link(1), link(2)]).to_string();
    let text = || format!("write({DESCRIPTORS:?})");
    // Not through a link that somebody has put there.
    let _absent = rustix::fs::unlinkat(&directories.images, DESCRIPTORS, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let file = rustix::fs::openat(&directories.images, DESCRIPTORS, flags, mode)
        .call(text)
        .doing(|| "checkpoint")?;
    rustix::io::write(file.as_fd(), json.as_bytes()).call(text).doing(|| "checkpoint").map(drop)
}

/// The file that gets a byte when the server for lazy pages is up.
fn status_file(options: &CriuOptions) -> Result<Option<OwnedFd>, Error> {
    let Some(number) = options.status_fd.filter(|_| options.lazy_pages) else { return Ok(None) };
    let path = format!("/proc/self/fd/{number}");
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty())
        .map(Some)
        .call(|| format!("open({path:?})"))
        .doing(|| format!("--status-fd {number}"))
}

fn attend(answer: &Response, status: &mut Option<OwnedFd>) {
    if answer.stage == "status-ready"
        && let Some(fd) = status.take()
    {
        // Nobody listens any more: that is no reason to give the container up.
        let _closed = rustix::io::write(&fd, &[0]);
    }
}

/// When a process with this number started: it is not the one that was saved.
pub(crate) fn started(pid: i32) -> Result<u64, Error> {
    process::start_time(pid).ok_or(Error::Ended("restored"))
}
