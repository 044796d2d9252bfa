//! Starting a container: everything that its supervisor needs, then the supervisor.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use network::{Connected, Member};
use oci::runtime::NamespaceKind;
use rustix::io::Errno;
use shim_protocol::{Config, Console, OnExit, Phase, Reply, Request, Rootfs, Runtime, WireError};
use snapshot::{Key, Mounts};

use crate::engine::{Engine, make_dir};
use crate::error::{At as _, chain};
use crate::etc::{self, Resolv};
use crate::intent::Intent;
use crate::lock::{Lock, shim_lives};
use crate::merged::{self, Directory};
use crate::mounting::{BIND, VOLUME};
use crate::record::Container;
use crate::spec::namespaces::{Mode, Namespaces, Place, mode};
use crate::spec::security::Security;
use crate::spec::user::{self, Accounts, Identity};
use crate::spec::{self, devices};
use crate::{Error, attachment, definition, events, machine};

/// How long a supervisor may take to make a container, and to start it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long the supervisor before may take to end.
const GOODBYE: Duration = Duration::from_secs(20);
/// The most that is read of `/etc/passwd` and `/etc/group`, bytes.
const MAX_ACCOUNTS: u64 = 4 << 20;

impl Engine {
    /// Starts a container that does not run.
    pub fn start(&self, wanted: &str) -> Result<(), Error> {
        self.reap();
        let (container, lock) = self.find_locked(wanted)?;
        let outcome = self.start_locked(container, &lock);
        drop(lock);
        match outcome {
            Ok(()) => Ok(()),
            Err((container, err)) => {
                // As in Docker: a container that was to go when it ends goes when it cannot start.
                if matches!(err, Error::Start { .. }) && container.record.host.auto_remove {
                    self.internal_remove(&container.id)?;
                }
                Err(err)
            }
        }
    }

    /// With the lock held. A failure brings the container along.
    pub(crate) fn start_locked(
        &self,
        mut container: Container,
        lock: &Lock,
    ) -> Result<(), (Box<Container>, Error)> {
        match self.may_start(&container, lock).and_then(|()| self.try_start(&mut container)) {
            Ok(()) => Ok(()),
            Err(err) => Err((Box::new(container), err)),
        }
    }

    fn may_start(&self, container: &Container, lock: &Lock) -> Result<(), Error> {
        match self.status_locked(&container.id, lock)?.phase {
            Phase::Running => {
                return Err(Error::NotModified(format!(
                    "container {} is already running",
                    container.name
                )));
            }
            Phase::Paused => {
                return Err(Error::Conflict(
                    "cannot start a paused container, try unpause instead".into(),
                ));
            }
            Phase::Created | Phase::Exited => {}
        }
        self.await_end(container)
    }

    /// Waits until the supervisor of the run before has taken down the last of it.
    pub(crate) fn await_end(&self, container: &Container) -> Result<(), Error> {
        let id = &container.id;
        let run = self.paths().run(id);
        let until = Instant::now() + GOODBYE;
        while run.exists() && shim_lives(&run)? {
            if Instant::now() > until {
                return Err(Error::Conflict(format!(
                    "the supervisor of container {id} does not end: see {}",
                    run.join("shim.log").display()
                )));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if run.exists() {
            self.clean_up_after_shim(id, &self.cgroup_path(container))?;
        }
        Ok(())
    }

    fn try_start(&self, container: &mut Container) -> Result<(), Error> {
        let id = container.id.clone();
        failpoint::hit("engine.start").at("record", self.root())?;
        self.shared.db.write(|tx| Intent::Start.begin(tx, &id))?;
        failpoint::hit("engine.starting").at("record", self.root())?;
        let started = self.prepare(container).and_then(|()| self.launch(container));
        match started {
            Ok(()) => {
                let config = container.config_json()?;
                self.shared.db.write(|tx| {
                    tx.set_container_config(&id, &config)?;
                    Intent::Start.end(tx, &id)
                })?;
                failpoint::hit("engine.started").at("record", self.root())?;
                self.emit(events::container("start", container));
                Ok(())
            }
            Err(err) => {
                // Those who wait for output will get none.
                drop(self.shared.pending.take(&id));
                let err = self.failed(container, err)?;
                self.clean_up_after_shim(&id, &self.cgroup_path(container))?;
                self.shared.db.write(|tx| {
                    tx.release_ports(&id)?;
                    Intent::Start.end(tx, &id)
                })?;
                Err(err)
            }
        }
    }

    /// Notes a failed start in the status, and puts the error into the words that clients know.
    fn failed(&self, container: &Container, err: Error) -> Result<Error, Error> {
        let err = match err {
            err @ Error::Start { .. } => err,
            Error::Network(err) => Error::Start {
                message: format!("failed to set up container networking: {}", chain(&err)),
                exit_code: 128,
            },
            err => {
                let exit_code = 128;
                Error::Start { message: chain(&err), exit_code }
            }
        };
        let data = self.paths().data(&container.id);
        let mut status = self.shared.status(&container.id)?;
        if let Error::Start { message, exit_code } = &err {
            message.clone_into(&mut status.error);
            status.exit_code = *exit_code;
            status.pid = 0;
            status.shim_pid = 0;
        }
        status.save(&data).at("write", &data.join("status.json"))?;
        Ok(err)
    }

    /// Everything before there is a process: the network's plan, the bundle, `shim.json`.
    fn prepare(&self, container: &mut Container) -> Result<(), Error> {
        let resolv = Resolv::of_host();
        let connected = self.connect(container, &resolv)?;
        for mounting in &mut container.record.mounts {
            if mounting.point.kind == BIND && mounting.create_source {
                make_dir(Path::new(&mounting.point.source), 0o755)?;
            } else if mounting.point.kind == VOLUME {
                make_dir(Path::new(&mounting.point.source), 0o755)?;
            }
        }
        let files = self.etc_files(container, &connected, &resolv)?;
        let mounts = self.layers(container)?;
        let spec = self.spec_of(container, mounts.as_ref(), &files)?;
        self.write_run(container, connected, mounts, &spec)
    }

    /// Reserves addresses and ports, and notes them in the record.
    fn connect(&self, container: &mut Container, resolv: &Resolv) -> Result<Connected, Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        let attachments = attachment::attachments(config, host, &container.record.endpoints)?;
        if attachments.is_empty() {
            let plan = endpoint::Plan { shared: true, ..endpoint::Plan::default() };
            return Ok(Connected { plan, ..Connected::default() });
        }
        let member =
            Member { id: &container.id, name: &container.name, hostname: &config.hostname };
        let ports = attachment::ports(config, host)?;
        let upstream = resolv.clone().reachable().overridden(host).upstream();
        let running = |id: &str| {
            self.shared
                .status(id)
                .is_ok_and(|status| matches!(status.phase, Phase::Running | Phase::Paused))
                || self.paths().run(id).exists()
        };
        let db = &self.shared.db;
        let connected =
            self.networks.connect(db, &member, &attachments, &ports, &upstream, &running)?;
        let mut shown = attachment::all_settings(container, &connected.endpoints);
        if connected.endpoints.is_empty()
            && let Some(only) = attachments.first()
        {
            let network = self.networks.inspect(db, &only.network)?;
            let (name, settings) = attachment::bare(&network.name, &network.id, &container.id);
            shown.insert(name, settings);
        }
        container.record.ports = attachment::port_map(config, &connected.listeners);
        container.record.connected = shown;
        Ok(connected)
    }

    /// The three files for `/etc`; a container in another's network has the other's.
    fn etc_files(
        &self,
        container: &Container,
        connected: &Connected,
        resolv: &Resolv,
    ) -> Result<Vec<(PathBuf, &'static str)>, Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        if let Mode::Container(other) = mode(&host.network_mode) {
            let data = self.paths().data(&self.find(other)?.id);
            let names = [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];
            let all = names.into_iter().chain([("resolv.conf", "/etc/resolv.conf")]);
            return Ok(all.map(|(name, target)| (data.join(name), target)).collect());
        }
        let links = connected.endpoints.iter().map(|endpoint| &endpoint.link);
        let addresses: Vec<IpAddr> =
            links.flat_map(|link| link.addresses.iter().map(|(address, _)| *address)).collect();
        let gateway = connected
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.gateways.iter())
            .find(|address| address.is_ipv4())
            .copied();
        let hosts = etc::hosts(
            &host.extra_hosts,
            gateway,
            &addresses,
            &config.hostname,
            &config.domainname,
        )?;
        let resolv = if connected.plan.dns.is_some() {
            resolv.clone().overridden(host).through_own_dns()
        } else if host.network_mode == "host" {
            resolv.clone().overridden(host)
        } else {
            resolv.clone().reachable().overridden(host)
        };
        let contents = BTreeMap::from([
            ("/etc/hostname", format!("{}\n", config.hostname)),
            ("/etc/hosts", hosts),
            ("/etc/resolv.conf", resolv.print()),
        ]);
        etc::write(&self.paths().data(&container.id), &contents)
    }

    /// The directories that make the root; none for the machine's own.
    pub(crate) fn layers(&self, container: &Container) -> Result<Option<Mounts>, Error> {
        if container.record.host_root {
            return Ok(None);
        }
        let key: Key = container.id.parse()?;
        Ok(Some(self.images.snapshots().mounts(&key, &container.record.chain)?))
    }

    fn spec_of(
        &self,
        container: &Container,
        mounts: Option<&Mounts>,
        files: &[(PathBuf, &'static str)],
    ) -> Result<oci::runtime::Spec, Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        let identity = look_up_user(&config.user, &host.group_add, mounts)?;
        let namespaces = self.namespaces(container)?;
        let security = Security::parse(&host.security_opt)?;
        let mut mapped = Vec::new();
        for mapping in &host.resources.devices {
            mapped.extend(devices::mapped(mapping)?);
        }
        let all_devices = if host.privileged { devices::every()? } else { Vec::new() };
        let report = if container.record.reports { self.report(container) } else { Vec::new() };
        let mut spec = spec::generate(&spec::Input {
            container,
            identity: &identity,
            namespaces: &namespaces,
            security: &security,
            cgroups_path: self.cgroup_path(container),
            files,
            devices: &mapped,
            all_devices: &all_devices,
            all_caps: caps::CapSet::all_supported()?,
            possible_cpus: machine::possible_cpus(),
            report: &report,
        })?;
        if let Some(root) = &mut spec.root {
            root.path = self.paths().rootfs().to_string_lossy().into_owned();
        }
        Ok(spec)
    }

    /// `/dhow/ID`, or below the parent that was asked for.
    pub(crate) fn cgroup_path(&self, container: &Container) -> String {
        let parent = container.record.host.resources.cgroup_parent.trim_matches('/');
        match parent {
            "" => format!("/{}/{}", self.paths().prefix(), container.id),
            parent => format!("/{parent}/{}", container.id),
        }
    }

    /// Whose namespaces a container has; those of other containers, if they run.
    fn namespaces(&self, container: &Container) -> Result<Namespaces, Error> {
        let host = &container.record.host;
        let place = |text: &str, what: &str| match mode(text) {
            Mode::Private | Mode::Other(_) => Ok(Place::Own),
            Mode::Host => Ok(Place::Host),
            Mode::Container(other) => {
                let other = self.find(other)?;
                let status = self.status(&other.id)?;
                if status.phase != Phase::Running || other.id == container.id {
                    return Err(Error::Conflict(format!(
                        "cannot join {what} of a non running container: {}",
                        other.id
                    )));
                }
                Ok(Place::Of(status.pid))
            }
        };
        Ok(Namespaces {
            pid: place(&host.pid_mode, "PID")?,
            net: place(&host.network_mode, "network namespace")?,
            ipc: place(&host.ipc_mode, "IPC")?,
            uts: place(&host.uts_mode, "UTS namespace")?,
            cgroup: place(&host.cgroupns_mode, "cgroup namespace")?,
        })
    }

    /// What the image that reports on itself cannot see from inside.
    fn report(&self, container: &Container) -> Vec<String> {
        let namespace = |kind: &NamespaceKind| {
            let name = kind.proc_name();
            let link = fs::read_link(format!("/proc/self/ns/{name}")).ok()?;
            let text = link.to_str()?;
            let inode = text.strip_suffix(']')?.rsplit_once('[')?.1;
            Some(format!("{name}={inode}"))
        };
        let all: Vec<_> = NamespaceKind::ALL.iter().filter_map(namespace).collect();
        vec![
            format!("DHOW_HOST_NAMESPACES={}", all.join(",")),
            format!("DHOW_LAYERS={}", container.record.chain.len()),
        ]
    }

    /// Writes the bundle and `shim.json` into a new `RUN`.
    fn write_run(
        &self,
        container: &Container,
        connected: Connected,
        mounts: Option<Mounts>,
        spec: &oci::runtime::Spec,
    ) -> Result<(), Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        let run = self.paths().run(&container.id);
        let bundle = run.join("bundle");
        failpoint::hit("engine.run").at("mkdir", &run)?;
        for dir in [&self.paths().rootfs(), &run, &bundle, &run.join("execs")] {
            match DirBuilder::new().mode(0o700).create(dir) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
                made => made.at("mkdir", dir)?,
            }
        }
        failpoint::hit("engine.run-made").at("mkdir", &run)?;
        let rootfs = match mounts {
            Some(Mounts { lower, upper, work }) => Rootfs::Overlay { lower, upper, work },
            None => {
                Rootfs::Host { hidden: vec![self.root().to_path_buf(), self.state().to_path_buf()] }
            }
        };
        let on_exit = if host.auto_remove {
            let text = |path: &Path| path.to_string_lossy().into_owned();
            OnExit::Exec(vec![
                text(&self.exe),
                "internal-remove".into(),
                container.id.clone(),
                text(self.root()),
                text(self.state()),
            ])
        } else {
            OnExit::End
        };
        let [rows, columns] = host.console_size.map(|n| u16::try_from(n).unwrap_or(u16::MAX));
        let shim = Config {
            id: container.id.clone(),
            data_dir: self.paths().data(&container.id),
            bundle: bundle.clone(),
            runtime: Runtime { program: None, root: self.paths().runtime(), args: Vec::new() },
            rootfs,
            console: config.tty.then_some(Console { width: columns, height: rows }),
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            log: definition::log(&host.log_config)?,
            network: connected.plan,
            listeners: connected.listeners.into_iter().map(listener).collect(),
            on_exit,
        };
        write_json(&bundle.join("config.json"), spec)?;
        write_json(&run.join("shim.json"), &shim)
    }

    /// Starts the supervisor, and goes with it from creation to the start.
    fn launch(&self, container: &Container) -> Result<(), Error> {
        let run = self.paths().run(&container.id);
        let (control, theirs) = UnixStream::pair().at("socketpair", &run)?;
        failpoint::hit("engine.spawn").at("spawn", &self.exe)?;
        let mut child = self.spawn(&run, theirs)?;
        let outcome = failpoint::hit("engine.spawned")
            .at("spawn", &self.exe)
            .and_then(|()| self.converse(container, &control));
        drop(control);
        if outcome.is_err() {
            // It takes down what it made, and ends; then nothing of it can get in the way.
            child.wait().at("wait", &self.exe)?;
        } else {
            self.children.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        }
        outcome
    }

    fn spawn(&self, run: &Path, control: UnixStream) -> Result<Child, Error> {
        let log = run.join("shim.log");
        let log =
            OpenOptions::new().create(true).append(true).mode(0o600).open(&log).at("open", &log)?;
        let mut command = Command::new(&self.exe);
        command
            .arg0("dhow-shim")
            .arg(run)
            .current_dir("/")
            .env_clear()
            .stdin(OwnedFd::from(control))
            .stdout(Stdio::null())
            .stderr(log);
        // Nothing of who started it reaches the container: not even what the engine was told.
        if let Some(failpoints) = std::env::var_os("DHOW_FAILPOINTS") {
            command.env("DHOW_FAILPOINTS", failpoints);
        }
        command.spawn().at("spawn", &self.exe)
    }

    fn converse(&self, container: &Container, control: &UnixStream) -> Result<(), Error> {
        control.set_read_timeout(Some(PATIENCE)).at("setsockopt", &self.exe)?;
        let hear = || match shim_protocol::receive(control) {
            Ok(Some(Reply::Error(err))) => Err(start_error(container, err)),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(self.silent(container)),
            Err(err) if err.raw_os_error() == Some(Errno::AGAIN.raw_os_error()) => {
                Err(Error::Shim(format!(
                    "the supervisor of container {} does not answer: see {}",
                    container.id,
                    self.paths().run(&container.id).join("shim.log").display()
                )))
            }
            Err(err) if err.kind() == io::ErrorKind::ConnectionReset => Err(self.silent(container)),
            Err(err) => Err(err).at("read", &self.exe),
        };
        match hear()? {
            Reply::Created { .. } => {}
            other => return Err(Error::Shim(format!("unexpected answer: {other:?}"))),
        }
        // Whoever is to see the first byte of output is there before it is written.
        let socket = self.paths().socket(&container.id);
        for entry in self.shared.pending.take(&container.id) {
            entry.connect(&socket)?;
        }
        failpoint::hit("engine.go").at("write", &socket)?;
        shim_protocol::send(control, &Request::Start).at("write", &socket)?;
        match hear()? {
            Reply::Started { .. } => Ok(()),
            other => Err(Error::Shim(format!("unexpected answer: {other:?}"))),
        }
    }

    /// A supervisor that ended without a word: what its log says last.
    fn silent(&self, container: &Container) -> Error {
        let log = self.paths().run(&container.id).join("shim.log");
        let text = fs::read_to_string(log).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        Error::Shim(match last {
            Some(line) => format!("the supervisor ended: {line}"),
            None => "the supervisor ended without a word".into(),
        })
    }
}

/// Whom a container runs as. The machine's own root has the machine's own accounts.
pub(crate) fn look_up_user(
    wanted: &str,
    groups: &[String],
    mounts: Option<&Mounts>,
) -> Result<Identity, Error> {
    let root = match mounts {
        Some(mounts) => {
            let lower = mounts.lower.iter().map(PathBuf::as_path);
            Directory::root(std::iter::once(mounts.upper.as_path()).chain(lower))?
        }
        None => Directory::root([Path::new("/")])?,
    };
    let passwd = merged::read(&root, Path::new("/etc/passwd"), MAX_ACCOUNTS)?;
    let group = merged::read(&root, Path::new("/etc/group"), MAX_ACCOUNTS)?;
    user::look_up(wanted, groups, Accounts { passwd: &passwd, group: &group })
}

fn listener(port: endpoint::PublishedPort) -> shim_protocol::Listener {
    shim_protocol::Listener { host: port.host, container: port.container, protocol: port.protocol }
}

/// A supervisor's refusal, in the words by which clients tell what happened.
fn start_error(container: &Container, err: WireError) -> Error {
    if err.port_taken {
        return Error::Start {
            message: format!(
                "failed to set up container networking: driver failed programming external connectivity on endpoint {} ({}): {}",
                container.name, container.id, err.message
            ),
            exit_code: 128,
        };
    }
    Error::Start {
        message: format!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: dhow-runtime create failed: {}",
            err.message
        ),
        exit_code: err.exit_code.unwrap_or(128),
    }
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::from).at("serialize", path)?;
    failpoint::hit("engine.write").at("write", path)?;
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, &bytes))
        .at("write", path)?;
    failpoint::hit("engine.written").at("write", path)?;
    Ok(())
}
