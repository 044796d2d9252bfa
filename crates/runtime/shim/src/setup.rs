//! From a control connection and a `shim.json` to a container that waits for its start.
//!
//! The order is what makes recovery simple. The lock comes first: who finds it free knows that
//! nobody is at work. Mounts come after the mount namespace: however the shim ends, they end with
//! it. What outlives the shim (the runtime's state, the cgroup, names and rules of the network) is
//! made last, and can be unmade from what is in `RUN` alone.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use shim_protocol::{Backoff, Config, Reply, Root, Status};
use sys::{Call, CloneFlags, Handle};

use crate::ahead::Ahead;
use crate::bundle::Bundle;
use crate::error::Error;
use crate::exec::read_pid;
use crate::health::Checks;
use crate::log::Log;
use crate::outlet::Way;
use crate::poll::{Poller, Token, Watched};
use crate::proxy::Proxy;
use crate::runtime::{Caller, failure, written_to};
use crate::stdio::{self, ConsoleSocket};
use crate::streams::Streams;
use crate::supervisor::{CONTAINER, Supervisor};
use crate::trust::Trusted;
use crate::{dns, rootfs};

/// The name of the socket in `RUN`.
pub(crate) const SOCKET: &str = "shim.sock";
/// The name of the engine's instructions in `RUN`.
pub(crate) const CONFIG: &str = "shim.json";
/// The name of the lock in `RUN`.
pub(crate) const LOCK: &str = "shim.lock";
/// Where the runtime writes the number of the container's init, in `RUN`.
const PID_FILE: &str = "init.pid";

/// What is held for as long as the shim lives.
#[derive(Debug)]
pub(crate) struct Hold {
    /// The lock: free as soon as this is closed.
    lock: Option<OwnedFd>,
    /// The mount namespace that the shim came from.
    pub(crate) host_mounts: OwnedFd,
    /// Its own: it ends, and with it all its mounts, when this is closed.
    pub(crate) own_mounts: Option<OwnedFd>,
    /// Our own program as the runtime is to be run from. `None` where that cannot be had: the runtime then
    /// takes care of itself, with a copy.
    pub(crate) program: Option<OwnedFd>,
    /// The overlay of it, where we have made that. It is closed when nobody waits for us any more.
    pub(crate) overlay: Option<OwnedFd>,
    /// A network namespace that was made ahead.
    network: Option<OwnedFd>,
    /// A runtime that was started ahead.
    runtime: Option<Ahead>,
    /// The root that was mounted ahead.
    root: Option<Root>,
}

/// What a supervisor has once it has left the namespaces of whoever started it.
#[derive(Debug)]
pub(crate) struct Left {
    host_mounts: OwnedFd,
    own_mounts: OwnedFd,
    program: Option<OwnedFd>,
    overlay: Option<OwnedFd>,
    network: Option<OwnedFd>,
    runtime: Option<Ahead>,
    root: Option<Root>,
}

impl Left {
    /// Takes the program as who started us keeps it, where its path did not lead to it any more.
    pub(crate) fn take_kept(&mut self, kept: Option<&Path>) {
        if self.program.is_none() {
            self.program = kept.and_then(|path| sys::kept_exe(path).ok());
        }
    }

    /// Mounts a root before it is known for what. Not one with ids of its own, which takes more than one mount.
    pub(crate) fn mount(&mut self, root: Root) {
        // What fails is tried again when it is needed, and told then.
        if rootfs::mount(&root.rootfs, None, &root.mount_label, &root.target).is_ok() {
            self.root = Some(root);
        }
    }
}

impl Hold {
    pub(crate) fn new(lock: OwnedFd, left: Left) -> Self {
        let Left { host_mounts, own_mounts, program, overlay, network, runtime, root } = left;
        let (lock, own_mounts) = (Some(lock), Some(own_mounts));
        Self { lock, host_mounts, own_mounts, program, overlay, network, runtime, root }
    }

    /// Frees the lock: who finds it free may take down what is left.
    pub(crate) fn unlock(&mut self) {
        self.lock = None;
    }
}

/// Reads `RUN/shim.json`; `RUN` is the working directory.
pub(crate) fn load_config(run: &Path) -> Result<Config, Error> {
    let path = run.join(CONFIG);
    let file = File::open(CONFIG).map_err(Error::file("open", &path))?;
    serde_json::from_reader(std::io::BufReader::new(file))
        .map_err(|err| Error::file("parse", &path)(err.into()))
}

/// Takes the lock of `RUN`, which is the working directory.
pub(crate) fn lock() -> Result<OwnedFd, Error> {
    failpoint::hit("shim.lock")?;
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let lock = rustix::fs::open(LOCK, flags, Mode::from_raw_mode(0o600))
        .call(|| format!("open({LOCK:?})"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::AGAIN) => return Err(Error::Locked),
        other => other.call(|| format!("flock({LOCK:?})"))?,
    }
    failpoint::hit("shim.locked")?;
    Ok(lock)
}

/// Leaves the session, the mount namespace and the signals of whoever started this process.
pub(crate) fn leave() -> Result<Left, Error> {
    // EPERM: whoever spawned us did that already.
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno).call(|| "setsid()").map_err(Error::from),
    }
    // What we make is to have the modes that we say, whoever started us.
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    sys::set_child_subreaper()?;
    sys::signal_block_all()?;

    // Before the namespace changes: after that the program is in another one.
    let exe = sys::overlaid_exe().ok();
    let (program, overlay) = exe.map(|exe| (exe.file, exe.mount)).unzip();
    let host_mounts = open_namespace("/proc/self/ns/mnt")?;
    failpoint::hit("shim.unshare")?;
    sys::unshare(CloneFlags::NEWNS)?;
    // What the host mounts later still arrives here; what we mount never leaves.
    mount::set_propagation(Path::new("/"), mount::Propagation::Slave, true)?;
    failpoint::hit("shim.unshared")?;
    let own_mounts = open_namespace("/proc/self/ns/mnt")?;
    let (network, runtime, root) = (None, None, None);
    Ok(Left { host_mounts, own_mounts, program, overlay, network, runtime, root })
}

/// The same before it is known for what, with the network namespace that most containers want, and the
/// runtime that creates them. `run` is the directory that the container will have.
pub(crate) fn leave_ahead(run: &Path) -> Result<Left, Error> {
    let mut left = leave()?;
    left.network = Some(new_network_namespace()?);
    // That they cannot be seen is told when one is needed. Who will join namespaces first sees others there.
    if rustix::process::geteuid().is_root() && !mount::in_user_namespace() {
        let _told_later = container::mounted_cgroups();
    }
    // In the mount namespace where it will find what we mount. That it cannot be started is told when one
    // is needed.
    left.runtime = left.program.as_ref().and_then(|program| Ahead::start(program, run).ok());
    Ok(left)
}

impl Supervisor {
    /// Opens all that does not need the container yet.
    pub(crate) fn prepare(
        run: &Path,
        config: Config,
        control: OwnedFd,
        hold: &mut Hold,
    ) -> Result<Self, Error> {
        // It is our own runtime, and where this process was: an ordinary user's supervisor goes elsewhere
        // before it needs one.
        let can_create = config.runtime.program.is_none() && config.rootless.is_none();
        let runtime_ahead = hold.runtime.take().filter(|_| can_create);
        let bundle = Bundle::load(&config.bundle)?;
        let own_mounts = hold.own_mounts.as_ref().ok_or(Error::NotRunning)?;
        let namespaces = volume::Namespaces {
            host: hold.host_mounts.as_fd(),
            own: own_mounts.as_fd(),
            directory: run,
        };
        volume::supply(&config.supplies_dir, &config.supplies, &config.id, &namespaces)?;
        let status = Status::load(&config.data_dir)
            .map_err(Error::file("read", config.data_dir.join("status.json")))?;
        rustix::fs::fcntl_getfl(&control)
            .and_then(|flags| rustix::fs::fcntl_setfl(&control, flags & !OFlags::NONBLOCK))
            .call(|| "fcntl(F_SETFL)")?;
        let checks = config.health.clone().map(Checks::new);
        let again =
            |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0).call(|| "fcntl(F_DUPFD_CLOEXEC)");
        let mounts = (again(&hold.host_mounts)?, again(own_mounts)?);
        Ok(Self {
            caller: Caller::new(&config.runtime, &config.id, hold.program.as_ref())?,
            poller: Poller::new()?,
            signals: Watched::new(sys::signalfd(&[Signal::CHILD])?, Token::Signals),
            control: Some(Watched::new(control, Token::Control)),
            accept: Watched::new(stdio::listen_on(SOCKET)?, Token::Accept),
            run: run.to_path_buf(),
            config,
            bundle,
            mounts,
            network_ahead: hold.network.take(),
            runtime_ahead,
            root_ahead: hold.root.take(),
            before: status.clone(),
            status,
            log: None,
            init: None,
            inside: None,
            streams: std::collections::BTreeMap::new(),
            execs: std::collections::BTreeMap::new(),
            clients: std::collections::BTreeMap::new(),
            proxy: Proxy::default(),
            dns: None,
            way: None,
            trusted: None,
            announcing: None,
            shrink_at: None,
            undone: None,
            next_key: CONTAINER,
            early: Vec::new(),
            backoff: Backoff::default(),
            started: Instant::now(),
            restart_at: None,
            stopped: false,
            keep: false,
            remover: None,
            memory: None,
            checks,
            unhealthy: false,
        })
    }

    /// Mounts the root, makes the container and its network, and tells the engine.
    pub(crate) fn make(&mut self) -> Result<(), Error> {
        self.mount_root()?;
        if let Some(proxied) = &self.config.proxied {
            self.trusted = Trusted::add(&self.bundle.root, &proxied.authority)?;
        }
        self.leave_host_network()?;
        let pid = self.create(Self::begin)?;
        self.reply_control(&Reply::Created { pid: pid.as_raw_nonzero().get() });
        self.connect()
    }

    /// Mounts the root, unless that was done ahead.
    fn mount_root(&mut self) -> Result<(), Error> {
        let Config { rootfs, root_ids, mount_label, .. } = &self.config;
        match self.root_ahead.take() {
            Some(Root { rootfs: mounted, mount_label: label, target })
                if mounted == *rootfs
                    && label == *mount_label
                    && target == self.bundle.root
                    && root_ids.is_none() =>
            {
                Ok(())
            }
            Some(_) => Err(Error::Request("another root was mounted ahead".into())),
            None => rootfs::mount(rootfs, root_ids.as_ref(), mount_label, &self.bundle.root),
        }
    }

    /// What can be done while the first container is created: by then the engine says what it wants.
    fn begin(&mut self) -> Result<(), Error> {
        self.reply_control(&Reply::Listening);
        let Config { log, data_dir, id, .. } = &self.config;
        self.log =
            Log::open(log, data_dir, id).map_err(Error::file("open the log in", data_dir))?;
        Status::keep_room(data_dir).map_err(Error::file("write", data_dir.join("status.room")))
    }

    /// Has the runtime create the container; meanwhile does what is said, takes the published ports, and makes
    /// its network where the namespace is ours.
    pub(crate) fn create(
        &mut self,
        meanwhile: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<Pid, Error> {
        let terminal = self.config.console.is_some();
        let stdin = self.config.open_stdin && !terminal;
        let (pipes, ends) = stdio::pipes(stdin, !terminal, self.bundle.owner())?;
        let socket =
            terminal.then(|| ConsoleSocket::bind(&self.run, "console.sock".into())).transpose()?;
        let bundle = self.config.bundle.clone();
        // A runtime may change its working directory.
        let pid_file = self.run.join(PID_FILE);
        let mut args: Vec<&OsStr> = vec!["--bundle".as_ref(), bundle.as_os_str()];
        args.extend(["--pid-file".as_ref(), pid_file.as_os_str()]);
        if let Some(socket) = &socket {
            args.extend(["--console-socket".as_ref(), socket.path().as_os_str()]);
        }
        let network = self.make_network_namespace()?;
        failpoint::hit("shim.create")?;
        let ahead = self.runtime_ahead.take();
        let creating = self.caller.create(ahead, &args, ends.in_order(self.caller.null()))?;
        drop(ends);
        let begun = meanwhile(self);
        let listening = self.proxy.listen(&self.poller, &self.config.listeners);
        // Open until the runtime has joined it.
        let connected = network.as_ref().map_or(Ok(()), |inside| self.connect_to(inside));
        self.watch_memory_early();
        let code = creating.wait()?;
        drop(network);
        if code != 0 {
            return Err(Error::Runtime(failure("create", code, &written_to(&pipes.stderr))));
        }
        begun?;
        listening?;
        connected?;
        failpoint::hit("shim.created")?;
        let streams = match socket {
            Some(socket) => Streams::with_console(CONTAINER, socket.receive(self.config.console)?),
            None => Streams::with_pipes(CONTAINER, pipes),
        };
        self.streams.insert(CONTAINER, streams);
        let pid = read_pid(&pid_file)?;
        let handle = Handle::open(pid)?;
        self.init = Some((pid, handle));
        self.inside = open_namespace(&format!("/proc/{}/ns/mnt", pid.as_raw_nonzero())).ok();
        self.watch_memory();
        self.status.pid = pid.as_raw_nonzero().get();
        self.status.shim_pid = rustix::process::getpid().as_raw_nonzero().get();
        Ok(pid)
    }

    /// Makes the network namespace that the runtime is to find, where it does not make one itself.
    fn make_network_namespace(&mut self) -> Result<Option<OwnedFd>, Error> {
        let ahead = self.network_ahead.take();
        let Some(path) = &self.config.netns else { return Ok(None) };
        let inside = ahead.map_or_else(new_network_namespace, Ok)?;
        let (pid, fd) = (rustix::process::getpid().as_raw_nonzero(), inside.as_raw_fd());
        // No mount: to remove one is to wait for the kernel.
        match std::fs::remove_file(path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.map_err(Error::file("remove", path))?,
        }
        std::os::unix::fs::symlink(format!("/proc/{pid}/fd/{fd}"), path)
            .map_err(Error::file("link", path))?;
        Ok(Some(inside))
    }

    /// Makes the container's network, and opens its name server, if that has not been done yet.
    pub(crate) fn connect(&mut self) -> Result<(), Error> {
        if self.config.netns.is_some() {
            return Ok(());
        }
        let Some((pid, _)) = &self.init else { return Err(Error::NotRunning) };
        let inside = network_of(*pid)?;
        self.connect_to(&inside)
    }

    fn connect_to(&mut self, inside: &OwnedFd) -> Result<(), Error> {
        failpoint::hit("shim.connect")?;
        if self.config.proxied.is_some() {
            self.way = Some(Way::make(&self.config.network, inside.as_fd())?);
            failpoint::hit("shim.connected")?;
            // Names are looked up by the proxy.
            return Ok(());
        }
        endpoint::apply(&self.config.network, inside.as_fd()).map_err(Error::Network)?;
        failpoint::hit("shim.connected")?;
        match self.config.network.dns.clone() {
            Some(config) => self.open_name_server(inside, config),
            None => Ok(()),
        }
    }

    /// Opens the name server in the container's network namespace.
    pub(crate) fn open_name_server(
        &mut self,
        inside: &OwnedFd,
        config: endpoint::Dns,
    ) -> Result<(), Error> {
        let host = open_namespace("/proc/self/ns/net")?;
        sys::setns(inside.as_fd(), CloneFlags::NEWNET)?;
        let sockets = dns::Sockets::open(DNS_ADDRESS);
        sys::setns(host.as_fd(), CloneFlags::NEWNET)?;
        self.dns = Some(dns::Server::new(&self.poller, sockets?, config, inside)?);
        Ok(())
    }
}

/// Where the container's `resolv.conf` says that the name server is: Docker's address.
const DNS_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 11)), 53);

/// A network namespace in which nothing is.
pub(crate) fn new_network_namespace() -> Result<OwnedFd, sys::Error> {
    let host = open_namespace("/proc/self/ns/net")?;
    sys::unshare(CloneFlags::NEWNET)?;
    let inside = open_namespace("/proc/self/ns/net");
    sys::setns(host.as_fd(), CloneFlags::NEWNET)?;
    inside
}

/// The network namespace of a process.
pub(crate) fn network_of(pid: Pid) -> Result<OwnedFd, sys::Error> {
    open_namespace(&format!("/proc/{}/ns/net", pid.as_raw_nonzero()))
}

pub(crate) fn open_namespace(path: &str) -> Result<OwnedFd, sys::Error> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?})"))
}
