//! Everything that a supervisor is to find: the network's plan, the bundle, `shim.json`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use network::{Connected, Member};
use oci::runtime::NamespaceKind;
use shim_protocol::{Config, Console, Growth, Join, OnExit, Phase, Rootfs};
use snapshot::Mounts;

use crate::accounts::{check_mapped, look_up_in, root_of};
use crate::engine::{Engine, make_dir};
use crate::error::{At as _, Class};
use crate::etc::{self, Resolv};
use crate::links::Words;
use crate::mounting::{BIND, VOLUME};
use crate::mountpoints;
use crate::put_away::leaves_files;
use crate::record::{Container, StepRecord};
use crate::root::{make_own_dir, overlay, root_ids};
use crate::spec::namespaces::{Mode, Namespaces, Place, SHAREABLE, mode};
use crate::spec::security::Security;
use crate::spec::{self, devices};
use crate::supplies::{self, Supplies, Who};
use crate::{
    Error, attachment, definition, events, labelling, links, log_driver, machine, netns, ports,
    relabelling, runtimes, userns,
};

/// How many containers may have joined one another's network in a row.
const MAX_JOINED: usize = 16;

impl Engine {
    /// Everything before there is a process: the network's plan, the bundle, `shim.json`. `restarts`: how
    /// often it was started again by its policy.
    pub(crate) fn prepare(&self, container: &mut Container, restarts: u32) -> Result<(), Error> {
        let resolv = self.settings().resolv();
        let mounts = self.layers(container)?;
        self.mount_root_ahead(container, mounts.as_ref())?;
        let connected = self.connect(container, &resolv)?;
        for mounting in &mut container.record.mounts {
            let source = Path::new(&mounting.point.source);
            let ours = mounting.point.kind == VOLUME;
            if (ours || mounting.point.kind == BIND && mounting.create_source) && !source.exists() {
                make_dir(source, 0o755)?;
            }
        }
        self.relabel_mounts(container, &container.record.mounts)?;
        let words = self.link_words(container, true)?;
        let files = self.etc_files(container, &connected, &resolv, &words)?;
        relabelling::relabel_files(container, &files)?;
        let (mut spec, supplies) = self.spec_of(container, mounts.as_ref(), &files, &words)?;
        self.add_init(container, &mut spec)?;
        self.write_run(container, connected, mounts, &spec, supplies, restarts)
    }

    /// Reserves addresses and ports, and notes them in the record.
    fn connect(&self, container: &mut Container, resolv: &Resolv) -> Result<Connected, Error> {
        self.connect_with(container, resolv, None)
    }

    /// The same for one that runs, with what it has now: ports and names of links that it has, it keeps.
    pub(crate) fn connect_with(
        &self,
        container: &mut Container,
        resolv: &Resolv,
        now: Option<&endpoint::Plan>,
    ) -> Result<Connected, Error> {
        // As in Docker: who would be on a default network that there is not is on none.
        if self.settings().networks.bridge == "none"
            && container.record.host.network_mode == "bridge"
        {
            container.record.config.network_disabled = true;
        }
        let record = &container.record;
        let (config, host) = (&record.config, &record.host);
        let mut attachments =
            attachment::attachments(config, host, &record.endpoints, record.unplugged)?;
        let (exposed, linked) = (ports::exposed(config, host), links::ids(record));
        for one in &mut attachments {
            one.exposed.clone_from(&exposed);
            one.linked.clone_from(&linked);
        }
        if attachments.is_empty() {
            let plan = endpoint::Plan { shared: true, ..endpoint::Plan::default() };
            return Ok(Connected { plan, ..Connected::default() });
        }
        let member =
            Member { id: &container.id, name: &container.name, hostname: &config.hostname };
        let ports = ports::ports(config, host)?;
        let ports = ports::pinned(ports, now.map_or(&[], |now| &now.ports));
        let upstream = Self::upstream(resolv, host);
        let running = |id: &str| {
            self.shared.status(id).is_ok_and(|status| status.phase.is_alive())
                || self.paths().run(id).exists()
        };
        let db = &self.shared.db;
        let mut connected =
            self.networks.connect(db, &member, &attachments, &ports, &upstream, &running)?;
        let is_elsewhere =
            |one: &network::Endpoint| one.network.is_user_defined() && !one.network.is_internal();
        if connected.endpoints.iter().any(is_elsewhere) {
            // As in Docker, the address of the default bridge means the machine for these as well; who has no
            // need of it is not kept from its start.
            let _made = self.networks.ensure_default(db);
        }
        // Whom a container names itself may be one that only it can reach.
        if !host.dns.is_empty()
            && !self.is_rootless()
            && let Some(dns) = &mut connected.plan.dns
        {
            (dns.inside, dns.upstream) = (true, upstream);
        }
        if let Some(now) = now {
            connected.keep_names(now);
        }
        let mut shown = attachment::all_settings(container, &connected.endpoints);
        if connected.endpoints.is_empty()
            && !record.unplugged
            && let Some(only) = attachments.first()
        {
            let network = self.networks.inspect(db, &only.network)?;
            let (name, settings) = attachment::bare(&network.name, &network.id, &container.id);
            shown.insert(name, settings);
        }
        let shares_link = |one: &network::Endpoint| one.network.driver().shares_link();
        let publishes =
            connected.endpoints.is_empty() || !connected.endpoints.iter().all(shares_link);
        // As in Docker, where these drivers know of no ports.
        container.record.ports = if publishes {
            ports::port_map(config, &connected.listeners, &ports, connected.routed)
        } else {
            docker::PortMap::default()
        };
        container.record.connected = shown;
        Ok(connected)
    }

    /// Whose network a container is in: its own, or that of whom it has joined, who may have joined
    /// another one.
    pub(crate) fn holder_of_network(&self, mut container: Container) -> Result<Container, Error> {
        for _ in 0..MAX_JOINED {
            let Mode::Container(other) = mode(&container.record.host.network_mode) else {
                return Ok(container);
            };
            let holder = self.find(other)?;
            if holder.id == container.id {
                return Err(Error::Conflict("cannot join own network namespace".into()));
            }
            container = holder;
        }
        Err(Error::Conflict(format!(
            "container {} is in the network of one that leads back to it",
            container.name
        )))
    }

    /// The three files for `/etc`; a container in another's network has the other's.
    fn etc_files(
        &self,
        container: &Container,
        connected: &Connected,
        resolv: &Resolv,
        words: &Words,
    ) -> Result<Vec<(PathBuf, &'static str)>, Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        if let Mode::Container(other) = mode(&host.network_mode) {
            let other = self.find(other).map_err(|err| {
                let message = format!("joining network namespace of container: {err}");
                Error::not_started(message, Class::Internal)
            })?;
            let data = self.paths().data(&self.holder_of_network(other)?.id);
            let names = [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];
            let all = names.into_iter().chain([("resolv.conf", "/etc/resolv.conf")]);
            return Ok(all.map(|(name, target)| (data.join(name), target)).collect());
        }
        let addresses = addresses(&connected.plan);
        let mut gateways = self.settings().host_gateways()?;
        if gateways.is_empty() {
            // A gateway of a link that is shared is another machine; the default bridge is this one.
            let is_ours = |one: &&network::Endpoint| !one.network.driver().shares_link();
            let mut all: Vec<IpAddr> = connected
                .endpoints
                .iter()
                .filter(is_ours)
                .flat_map(|one| one.gateways.iter().copied())
                .collect();
            if all.is_empty() && !connected.endpoints.is_empty() {
                let default = self.networks.inspect(&self.shared.db, network::DEFAULT);
                all.extend(
                    default.iter().flat_map(network::Network::pools).filter_map(|one| one.gateway),
                );
            }
            gateways.extend(all.iter().find(|gateway| gateway.is_ipv4()));
            gateways.extend(all.iter().find(|gateway| gateway.is_ipv6()));
        }
        let mut hosts = etc::hosts(
            if host.network_mode == "host" {
                etc::of_host()
            } else {
                attachment::switches_ipv6_off(host).then(|| etc::LOOPBACK.to_owned())
            },
            &host.extra_hosts,
            &gateways,
            &addresses,
            &config.hostname,
            &config.domainname,
        )?;
        hosts.push_str(&etc::lines(&words.hosts));
        let resolv = if connected.plan.dns.is_some() {
            resolv.clone().overridden(host).through_own_dns()
        } else if host.network_mode == "host" {
            resolv.clone().overridden(host)
        } else {
            Self::reachable(resolv).overridden(host)
        };
        let mut contents =
            BTreeMap::from([("/etc/hosts", hosts), ("/etc/resolv.conf", resolv.print())]);
        // What a step writes there is its image's: BuildKit mounts the other two alone.
        if container.record.step.is_none() {
            contents.insert("/etc/hostname", format!("{}\n", config.hostname));
        }
        etc::write(&self.paths().data(&container.id), &contents)
    }

    fn spec_of(
        &self,
        container: &Container,
        mounts: Option<&Mounts>,
        files: &[(PathBuf, &'static str)],
        links: &Words,
    ) -> Result<(oci::runtime::Spec, Supplies), Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        let root = root_of(mounts)?;
        let identity = look_up_in(&root, &config.user, &host.group_add)?;
        check_mapped(&identity)?;
        let inside = container.record.user_namespace.clone().unwrap_or_default();
        let who = Who {
            identity: &identity,
            look_up: &|name| supplies::look_up(&root, name),
            inside: &inside,
        };
        let mut supplies = self.supplies(container, &who)?;
        let namespaces = self.namespaces(container)?;
        let mut security = Security::parse(&host.security_opt)?;
        // As in Docker, steps of builds have the usual profile.
        if container.record.step.is_none() {
            security.or_set(&self.settings(), host.privileged)?;
        }
        let mut mapped = Vec::new();
        for mapping in &host.resources.devices {
            mapped.extend(devices::mapped(mapping)?);
        }
        let all_devices = if host.privileged { devices::every()? } else { Vec::new() };
        let report = if container.record.reports { Self::report(container) } else { Vec::new() };
        let mut spec = spec::generate(&spec::Input {
            container,
            identity: &identity,
            namespaces: &namespaces,
            security: &security,
            apparmor: security.loaded_apparmor(host.privileged)?,
            labels: &labelling::labels(&container.record),
            cgroups_path: self.cgroup_path(container),
            files,
            bound: &supplies.bound,
            devices: &mapped,
            all_devices: &all_devices,
            all_caps: caps::CapSet::available()?,
            possible_cpus: machine::possible_cpus(),
            links: &links.env,
            shm: supplies.shm.as_deref(),
            report: &report,
        })?;
        supplies.list.extend(self.give_secrets(container, &mut spec)?);
        if self.runtime(&host.runtime)?.program.is_some() {
            runtimes::FOREIGN_VERSION.clone_into(&mut spec.oci_version);
        } else if !rootless::is_rootless() && !mount::in_user_namespace() {
            netns::leave_to_supervisor(&mut spec, &self.paths().run(&container.id));
        }
        self.give_devices(&host.resources.device_requests, &mut spec)?;
        if let Some(root) = &mut spec.root {
            root.path = self.paths().rootfs().to_string_lossy().into_owned();
        }
        Ok((spec, supplies))
    }

    /// Whose namespaces a container has; those of other containers, if they run.
    fn namespaces(&self, container: &Container) -> Result<Namespaces, Error> {
        let host = &container.record.host;
        let place = |text: &str, what: &str| match mode(text) {
            Mode::Private | Mode::Other(_) => Ok::<_, Error>(Place::Own),
            Mode::Host => Ok(Place::Host),
            Mode::Container(other) => Ok(Place::Of(self.joined(container, other, what)?.1)),
        };
        Ok(Namespaces {
            pid: place(&host.pid_mode, "PID")?,
            net: place(&host.network_mode, "network namespace")?,
            ipc: place(&host.ipc_mode, "IPC")?,
            uts: place(&host.uts_mode, "UTS")?,
            cgroup: place(&host.cgroupns_mode, "cgroup")?,
            nested: mount::in_user_namespace().then(|| userns::mapped("/proc/self/gid_map")),
            user: if container.record.user_namespace.is_some() { Place::Own } else { Place::Host },
        })
    }

    /// A container whose namespace another one is to join, and its first process.
    pub(crate) fn joined(
        &self,
        container: &Container,
        other: &str,
        what: &str,
    ) -> Result<(Container, i32), Error> {
        let other = self.find(other)?;
        let status = self.status(&other.id)?;
        if status.phase != Phase::Running || other.id == container.id {
            let message = match what {
                "network namespace" => format!(
                    "cannot join network namespace of a non running container: container {} \
                     is {}",
                    other.name,
                    crate::list::state(&status)
                ),
                what => format!(
                    "failed to join {what} namespace: container {} is not running",
                    other.id
                ),
            };
            let class = if what == "PID" { Class::Internal } else { Class::Conflict };
            return Err(Error::not_started(message, class));
        }
        if what == "IPC" && other.record.host.ipc_mode != SHAREABLE {
            let message = format!(
                "failed to join IPC namespace: container {}: non-shareable IPC (hint: use \
                 IpcMode:shareable for the donor container)",
                other.id
            );
            return Err(Error::not_started(message, Class::Invalid));
        }
        Ok((other, status.pid))
    }

    /// The namespaces of other containers, for the supervisor to find again.
    fn joins(&self, container: &Container) -> Result<Vec<Join>, Error> {
        let host = &container.record.host;
        let mut joins = Vec::new();
        for (text, kind) in [
            (&host.pid_mode, NamespaceKind::Pid),
            (&host.network_mode, NamespaceKind::Network),
            (&host.ipc_mode, NamespaceKind::Ipc),
            (&host.uts_mode, NamespaceKind::Uts),
            (&host.cgroupns_mode, NamespaceKind::Cgroup),
        ] {
            if let Mode::Container(other) = mode(text) {
                let data_dir = self.paths().data(&self.find(other)?.id);
                joins.push(Join { kind: kind.to_string(), data_dir });
            }
        }
        Ok(joins)
    }

    /// What the image that reports on itself cannot see from inside.
    fn report(container: &Container) -> Vec<String> {
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
        supplies: Supplies,
        restarts: u32,
    ) -> Result<(), Error> {
        let (config, host) = (&container.record.config, &container.record.host);
        let run = self.paths().run(&container.id);
        let bundle = run.join("bundle");
        failpoint::hit("engine.run").at("mkdir", &run)?;
        let (rootfs, supplies_dir) = (self.paths().rootfs(), self.paths().supplies());
        for dir in [&rootfs, &supplies_dir, &run, &bundle, &run.join("execs")] {
            make_own_dir(dir)?;
        }
        failpoint::hit("engine.run-made").at("mkdir", &run)?;
        let is_step = container.record.step.is_some();
        let lowest = self.lowest_layer(container)?;
        let rootfs = match mounts {
            Some(Mounts::Overlay { lower, upper, work }) => {
                overlay(container, lower, lowest, (upper, work))
            }
            Some(Mounts::Directory { root, .. }) => {
                mountpoints::fill(&root, is_step)?;
                relabelling::relabel_root(container, &root)?;
                Rootfs::Directory { path: root }
            }
            None => Rootfs::Host { hidden: hidden([self.root(), self.state()]) },
        };
        let on_exit = if host.auto_remove && !is_step {
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
        let netns = netns::left_to_supervisor(spec, &run);
        let shim = Config {
            id: container.id.clone(),
            data_dir: self.paths().data(&container.id),
            bundle: bundle.clone(),
            runtime: self.runtime(&host.runtime)?,
            kept_exe: self.kept_exe(),
            rootfs,
            netns,
            root_ids: root_ids(container),
            mount_label: labelling::labels(&container.record).mount,
            supplies: supplies.list,
            supplies_dir,
            console: config.tty.then_some(Console { width: columns, height: rows }),
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            log: log_driver::of(container)?,
            network: connected.plan,
            listeners: listeners(connected.listeners),
            growth: (on_exit != OnExit::End)
                .then(|| Growth { file: self.db().log(), bytes: metadata::TIDY_BYTES }),
            trash: leaves_files(container).then(|| self.images.snapshots().trash()).flatten(),
            cgroup_parent: self.cgroup_parent(),
            on_exit,
            health: self.health_check(container)?,
            restart: definition::restart(&host.restart_policy)?,
            restart_count: restarts,
            joins: self.joins(container)?,
            events: (!is_step).then(|| shim_protocol::Events {
                path: self.paths().events(),
                image: config.image.clone(),
                attributes: events::attributes(container),
                companions: events::companions(container, &connected.endpoints),
            }),
            rootless: rootless::is_rootless().then(|| self.state().to_owned()),
            tied: is_step,
            proxied: container.record.step.as_ref().and_then(proxied),
        };
        write_json(&bundle.join("config.json"), spec)?;
        write_json(&run.join("shim.json"), &shim)
    }
}

fn proxied(step: &StepRecord) -> Option<shim_protocol::Proxied> {
    let authority = step.proxied.clone()?;
    Some(shim_protocol::Proxied { authority })
}

/// What the machine's own root does not show: what is temporary, and the engine's folders. Each
/// once: one in another is hidden with it.
fn hidden(own: [&Path; 2]) -> Vec<PathBuf> {
    let all = ["/run", "/tmp"].map(Path::new).into_iter().chain(own);
    let mut paths: Vec<PathBuf> = all.map(Path::to_path_buf).collect();
    paths.sort();
    // Sorted, a folder comes before what is in it.
    let mut hidden: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !hidden.iter().any(|above| path.starts_with(above)) {
            hidden.push(path);
        }
    }
    hidden
}

/// The addresses by which a container knows itself.
pub(crate) fn addresses(plan: &endpoint::Plan) -> Vec<IpAddr> {
    let mut links: Vec<_> = plan.links.iter().collect();
    links.sort_by_key(|link| (link.container_name.len(), &link.container_name));
    let all = links.into_iter().flat_map(|link| link.addresses.iter().map(|(address, _)| *address));
    all.filter(|address| !attachment::is_link_local(*address)).collect()
}

/// What the supervisor listens on for published ports: not for those of SCTP, which rules alone lead into the
/// container.
pub(crate) fn listeners(ports: Vec<endpoint::PublishedPort>) -> Vec<shim_protocol::Listener> {
    let of = |port: endpoint::PublishedPort| shim_protocol::Listener {
        host: port.host,
        container: port.container,
        protocol: port.protocol,
    };
    ports.into_iter().filter(|port| port.protocol != endpoint::Protocol::Sctp).map(of).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_is_named_once() {
        let show = |own: [&str; 2]| {
            let paths = hidden(own.map(Path::new));
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(show(["/var/lib/dhow", "/run/dhow"]), "/run /tmp /var/lib/dhow");
        assert_eq!(show(["/tmp/a/root", "/tmpx"]), "/run /tmp /tmpx");
    }
}
