//! Making a container from what `checkpoint` has saved, with criu.
//!
//! criu makes the processes, their namespaces and the file systems that were the container's own.
//! The runtime makes what is the host's: the cgroup, the root, what is bound from outside, the
//! terminal. Nothing runs before what criu has made was held against the configuration.

use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use cgroup::{Cgroup, Hierarchy};
use criu::{CgroupMode, External, InheritFd, JoinNamespace, Kind, Options, Response, Version};
use oci::runtime::{NamespaceKind, Status};
use plan::{Mount, Plan, What};
use rustix::fs::{Mode, OFlags};
use sys::{Call, CloneFlags, Handle, Propagation, SingleThreaded};

use crate::checkpoint::{
    DESCRIPTORS, NULL, check_possible, external_name, externals, namespace, reachable, started,
};
use crate::create::{CreateOptions, console, json, read_spec, record};
use crate::error::{Doing, Error, failpoint};
use crate::making::Making;
use crate::store::Store;
use crate::swrk::{self, CriuOptions, Directories, Place, Service};
use crate::verify::{self, Host};
use crate::{cgroups, facts, prepare, process};

const LOG: &str = "restore.log";

/// A container that runs again.
#[derive(Debug)]
pub struct Restored {
    /// Its first process, a child of this one.
    pub pid: i32,
    /// A handle of that.
    pub handle: Handle,
    /// It has a terminal.
    pub terminal: bool,
}

/// Restores container `id` from images. On failure nothing of it is left. What was asked for and is not
/// done is added to `warnings`, also on failure.
///
/// This process leaves the mount namespace of its caller, in which no mount of a container is made.
pub fn restore(
    proof: &SingleThreaded,
    store: &Store,
    id: &str,
    options: &CreateOptions,
    criu: &CriuOptions,
    warnings: &mut Vec<String>,
) -> Result<Restored, Error> {
    crate::store::check_id(id)?;
    let spec = read_spec(&options.bundle)?;
    let facts = facts::of_container(&spec)?;
    let plan = Plan::new(&spec, id, &options.bundle, &facts, options.plan, warnings)?;
    if plan.unit.is_some() {
        let why = "restore: not supported with --systemd-cgroup: criu makes the first process, and \
                   systemd makes no scope before there is one";
        return Err(Error::Refused(why.to_owned()));
    }
    check_possible(&plan)?;
    let terminal = plan.init.process.terminal.is_some();
    let console = console(terminal, options.console_socket.as_deref(), options.console.as_deref())?;
    let host = Host::see()?;
    sys::unshare(CloneFlags::NEWNS).doing(|| "make a mount namespace")?;
    mount::set_propagation(Path::new("/"), Propagation::Slave, true)
        .doing(|| "cut the mount namespace off")?;
    // In that namespace: criu mounts something there for itself.
    let mut directories = Directories::open(criu, LOG)?;
    let streams = streams(&directories)?;
    if plan.namespaces.maps.is_some() {
        directories.open_to_all()?;
    }
    let hierarchy = Hierarchy::detect()?;
    let container = store.reserve(id)?;
    let mut making = Making::new(container, record(&spec, &plan, id, options), false);
    let task = Task { proof, plan: &plan, host, criu, directories, streams, console };
    let made = task.make(&mut making, &hierarchy).and_then(|()| match &making.child {
        Some((pid, handle)) => {
            making.container.made().and_then(|()| options.announce.tell(*pid, handle))
        }
        None => Err(Error::Ended("restored")),
    });
    if let Err(error) = made {
        return Err(making.undo(error));
    }
    let Some((pid, handle)) = making.child.take() else {
        return Err(making.undo(Error::Ended("restored")));
    };
    Ok(Restored { pid, handle, terminal })
}

/// What the standard streams were when the container was saved.
fn streams(directories: &Directories) -> Result<Vec<String>, Error> {
    const MOST: u64 = 64 * 1024;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directories.images, DESCRIPTORS, flags, Mode::empty())
        .call(|| format!("open({DESCRIPTORS:?})"))
        .doing(|| "--image-path has no checkpoint of a container")?;
    let mut text = String::new();
    std::fs::File::from(file)
        .take(MOST)
        .read_to_string(&mut text)
        .call(|| format!("read({DESCRIPTORS:?})"))
        .doing(|| "--image-path")?;
    serde_json::from_str(&text).map_err(|source| Error::document(DESCRIPTORS, source))
}

/// All that a restore is made from.
struct Task<'a> {
    proof: &'a SingleThreaded,
    plan: &'a Plan,
    host: Host,
    criu: &'a CriuOptions,
    directories: Directories,
    streams: Vec<String>,
    console: Option<OwnedFd>,
}

impl Task<'_> {
    fn make(&self, making: &mut Making, hierarchy: &Hierarchy) -> Result<(), Error> {
        let found = cgroups::check(hierarchy, &self.plan.cgroup_path)?;
        // criu would take what is in it for the container's.
        if let Some(others) = found {
            return Err(Error::Refused(others));
        }
        making.container.save(&making.record)?;
        if let Some(filter) = &self.plan.init.filter {
            making.container.save_filter(filter)?;
        }
        let join = prepare::namespaces(&self.plan.namespaces.join)?;
        prepare::check_not_the_hosts(&join, &self.plan.init)?;
        drop(join);
        self.place_root()?;
        making.cgroup_is_ours = true;
        let cgroup = Cgroup::create(hierarchy, &self.plan.cgroup_path)?;
        let joined = self.joined()?;
        // criu's own is another.
        let stderr = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)
            .call(|| "dup(stderr)")
            .doing(|| "descriptors")?;
        let namespace = self.plan.namespaces.is_new(NamespaceKind::Cgroup);
        let place = Place {
            cgroup: &cgroup,
            // Else criu makes it, when it has made the cgroups.
            namespace: namespace && self.criu.cgroups == CgroupMode::Ignore,
            inherit: joined.iter().map(|(_, fd)| fd.as_fd()).chain([stderr.as_fd()]).collect(),
        };
        let service = Service::start(self.proof, "restore", Some(&place))?;
        let request = match self.request(making, &cgroup, &joined, &stderr, &service) {
            Ok(request) => request,
            Err(error) => return service.end().and(Err(error)),
        };
        let answer = service.run(Kind::Restore, &request, &self.directories, |answer, fd| {
            self.attend(making, &cgroup, answer, fd)
        })?;
        match (answer.restored, &making.child) {
            (Some(pid), Some((known, _))) if pid == *known => Ok(()),
            _ => Err(Error::Ended("restored")),
        }
    }

    /// criu wants the root to be a mount, and what is mounted in it to have its place.
    fn place_root(&self) -> Result<(), Error> {
        let rootfs = &self.plan.init.rootfs;
        let tree = init::source::root(&rootfs.root)?;
        let root = fsroot::Root::open(&rootfs.root.path).doing(|| "root.path")?;
        mount::move_to_fd(tree.as_fd(), root.as_fd()).doing(|| "mount the root")?;
        let root = fsroot::Root::from_fd(tree);
        for mount in rootfs.mounts.iter().filter(|mount| !self.is_on_tmpfs(&mount.target)) {
            let doing = || format!("mounts[{}] on {:?}", mount.index, mount.target);
            let is_file = matches!(&mount.what, What::Bind { source, .. } if !source.is_dir());
            // What is mounted inside of something bound has its place there.
            let (outer, target) = match self.bound_above(mount) {
                Some((source, below)) => {
                    let tree = mount::bind(source, false).doing(doing)?;
                    (Some(fsroot::Root::from_fd(tree)), below)
                }
                None => (None, mount.target.as_path()),
            };
            let root = outer.as_ref().unwrap_or(&root);
            if is_file {
                root.create_file(target, Mode::from_raw_mode(0o644)).doing(doing)?;
            } else {
                root.mkdir_all(target, Mode::from_raw_mode(0o755)).doing(doing)?;
            }
        }
        Ok(())
    }

    /// What is bound to a directory above a mount's target, and the rest of the way from there.
    fn bound_above<'m>(&'m self, mount: &'m Mount) -> Option<(&'m Path, &'m Path)> {
        let earlier = self.plan.init.rootfs.mounts[..mount.index].iter().rev();
        earlier.filter(|outer| outer.target != mount.target).find_map(|outer| match &outer.what {
            What::Bind { source, .. } if source.is_dir() => {
                let below = mount.target.strip_prefix(&outer.target).ok()?;
                Some((source.as_path(), below))
            }
            _ => None,
        })
    }

    /// criu restores what is in a tmpfs, its directories too.
    fn is_on_tmpfs(&self, target: &Path) -> bool {
        self.plan.init.rootfs.mounts.iter().any(|mount| {
            let is_tmpfs = matches!(&mount.what, What::Fs { kind, .. } if kind == "tmpfs")
                || matches!(mount.what, What::Cgroup);
            is_tmpfs && target.starts_with(&mount.target) && target != mount.target
        })
    }

    /// The namespaces of the host's that criu gets as descriptors, by their names in the images.
    fn joined(&self) -> Result<Vec<(String, OwnedFd)>, Error> {
        let mut all = Vec::new();
        for join in &self.plan.namespaces.join {
            if matches!(join.kind, NamespaceKind::Network | NamespaceKind::Pid) {
                let path = &join.path;
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let fd = rustix::fs::open(path, flags, Mode::empty())
                    .call(|| format!("open({path:?})"))
                    .doing(|| "linux.namespaces")?;
                all.push((external_name(join.kind), fd));
            }
        }
        Ok(all)
    }

    fn request(
        &self,
        making: &Making,
        cgroup: &Cgroup,
        joined: &[(String, OwnedFd)],
        stderr: &OwnedFd,
        service: &Service,
    ) -> Result<Options, Error> {
        let plan = self.plan;
        let mut request = self.criu.request(&self.directories, LOG);
        request.root = plan.init.rootfs.root.path.to_string_lossy().into_owned();
        request.evasive_devices = true;
        request.sibling = true;
        request.cgroup_roots = cgroup_roots(service.pid)?;
        request.config_file =
            swrk::config_file(&making.record.annotations, &reachable(&plan.init.rootfs))?;
        let lsm = [
            ("--lsm-profile", &self.criu.lsm_profile, &mut request.lsm_profile),
            ("--lsm-mount-context", &self.criu.lsm_mount_context, &mut request.lsm_mount_context),
        ];
        for (option, given, field) in lsm {
            if given.is_some() && service.version < (Version { major: 3, minor: 16 }) {
                return Err(Error::Refused(format!("{option} requires at least CRIU 3.16")));
            }
            field.clone_from(given);
        }
        for (key, fd) in joined {
            request.inherit.push(InheritFd { key: key.clone(), fd: fd.as_raw_fd() });
        }
        for (fd, stream) in [0, 1, stderr.as_raw_fd()].into_iter().zip(&self.streams) {
            if stream.starts_with("pipe:[") {
                request.inherit.push(InheritFd { key: stream.clone(), fd });
            }
        }
        for join in &plan.namespaces.join {
            match join.kind {
                NamespaceKind::Network | NamespaceKind::Pid => {}
                NamespaceKind::Cgroup => {
                    let why = "a cgroup namespace cannot be joined by what criu restores";
                    return Err(Error::Refused(format!("linux.namespaces: {why}")));
                }
                kind => {
                    namespace(&join.path)?;
                    let path = join.path.to_string_lossy().into_owned();
                    request.join.push(JoinNamespace { kind: kind.proc_name().to_owned(), path });
                }
            }
        }
        for (target, source) in externals(plan, cgroup) {
            let source = source.to_string_lossy().into_owned();
            request.mounts.push(External { key: swrk::name(&target)?, value: source });
        }
        if !plan.init.rootfs.masked_paths.is_empty() {
            request.mounts.push(External { key: NULL.to_owned(), value: NULL.to_owned() });
        }
        Ok(request)
    }

    /// What is to be done when criu has come to a stage.
    fn attend(
        &self,
        making: &mut Making,
        cgroup: &Cgroup,
        answer: &Response,
        fd: Option<OwnedFd>,
    ) -> Result<(), Error> {
        match answer.stage.as_str() {
            "setup-namespaces" => {
                if self.plan.init.loopback {
                    loopback_up(answer.pid)?;
                }
                if !self.plan.hooks.create_runtime.is_empty() {
                    making.hooks = true;
                    let mut state = making.record.state(Status::Creating);
                    state.pid = answer.pid;
                    init::hook::run(&self.plan.hooks.create_runtime, &json(&state)?)?;
                }
            }
            "post-restore" => adopt(making, answer.pid)?,
            "orphan-pts-master" => self.hand_over(fd)?,
            "pre-resume" => {
                // Not before: criu needs devices and memory that the container may not have.
                let checked = cgroup.apply(&self.plan.resources).map_err(Error::from);
                let checked = checked
                    .and_then(|()| verify::check(self.plan, &self.host, cgroup, making.record.pid));
                if checked.is_err() {
                    // criu would let them go on whatever it is told.
                    cgroup.kill_all()?;
                }
                checked?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The terminal goes to whoever holds the other end of the console socket.
    fn hand_over(&self, fd: Option<OwnedFd>) -> Result<(), Error> {
        match (&self.console, fd) {
            (Some(socket), Some(master)) => {
                sys::send_fd(socket.as_fd(), b"/dev/pts/0", master.as_fd())
                    .doing(|| "send the terminal to the console socket")
            }
            (None, _) => Err(Error::Refused(
                "process.terminal: the checkpoint has a terminal and the configuration none".into(),
            )),
            (_, None) => Err(Error::Ended("given its terminal")),
        }
    }
}

/// Records the first process.
fn adopt(making: &mut Making, pid: i32) -> Result<(), Error> {
    making.child = Some((pid, process::open_child(pid)?));
    making.record.pid = pid;
    making.record.start_time = started(pid)?;
    // criu restores the clocks with a time namespace, where there was none before.
    let time = |who: &str| namespace(Path::new(&format!("/proc/{who}/ns/time")));
    if let (Ok(theirs), Ok(ours)) = (time(&pid.to_string()), time("self"))
        && theirs != ours
    {
        making.record.namespaces |= CloneFlags::NEWTIME.bits();
    }
    making.container.save(&making.record)?;
    failpoint("runtime.restored")
}

/// Takes the loopback interface up in the network namespace of `pid`, which criu leaves empty.
fn loopback_up(pid: i32) -> Result<(), Error> {
    let open = |who: &str| {
        let path = format!("/proc/{who}/ns/net");
        rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({path:?})"))
            .doing(|| "the network namespace")
    };
    let enter = |namespace: &OwnedFd| {
        sys::setns(namespace.as_fd(), CloneFlags::NEWNET).doing(|| "the network namespace")
    };
    let (own, theirs) = (open("self")?, open(&pid.to_string())?);
    enter(&theirs)?;
    let up = init::loopback_up().map_err(|error| Error::Refused(error.line()));
    enter(&own)?;
    up
}

/// The cgroups that criu is in, as the roots of those that it restores.
fn cgroup_roots(pid: i32) -> Result<Vec<(String, String)>, Error> {
    let path = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&path).call(|| format!("read({path:?})"));
    let text = text.doing(|| "criu's cgroup")?;
    let line = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1).map(str::to_owned);
        Some((fields.next()?, fields.next()?))
    };
    Ok(text.lines().filter_map(line).collect())
}
