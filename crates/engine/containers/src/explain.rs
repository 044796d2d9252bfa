//! What a container is to the kernel, on one page: read from the host's `/proc`, its cgroup, and what its
//! supervisor was told. Nothing in the container has a hand in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use caps::CapSet;
use cgroup::Cgroup;
use docker::explained::{
    ExplainedCgroup, ExplainedContainer, ExplainedLink, ExplainedMount, ExplainedNamespace,
    ExplainedNetwork, ExplainedProcess, ExplainedRoot,
};
use shim_protocol::{Config, Phase};
use snapshot::Mounts;

use crate::Error;
use crate::attachment::print_mac;
use crate::engine::Engine;
use crate::record::Container;
use crate::top::command;

/// As `/proc/PID/ns` has them.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
/// Above this the kernel means that there is no limit (v1 rounds it to pages).
const UNLIMITED: u64 = 1 << 62;

impl Engine {
    /// What a container is to the kernel. Of one that does not run, what needs no process.
    pub fn explain(&self, wanted: &str) -> Result<ExplainedContainer, Error> {
        let container = self.find(wanted)?;
        let status = self.status(&container.id)?;
        let is_up = status.phase.is_up();
        let pid = if is_up { status.pid } else { 0 };
        let host = &container.record.host;
        let mut explained = ExplainedContainer {
            id: container.id.clone(),
            name: container.name.clone(),
            image: container.record.config.image.clone(),
            state: crate::list::state(&status).to_owned(),
            pid,
            supervisor: if is_up { status.shim_pid } else { 0 },
            cgroup: ExplainedCgroup { path: self.cgroup_path(&container), ..Default::default() },
            root: self.explained_root(&container)?,
            network: self.explained_network(&container),
            ..ExplainedContainer::default()
        };
        explained.security.privileged = host.privileged;
        explained.security.user.clone_from(&container.record.config.user);
        if pid == 0 {
            return Ok(explained);
        }
        explained.processes = tree(self.pids(&container).unwrap_or_default());
        explained.namespaces = self.explained_namespaces(&container, pid)?;
        explained.cgroup = self.limits(explained.cgroup.path, &container)?;
        explained.mounts = mounts(pid);
        let status = Proc::status(pid);
        let security = &mut explained.security;
        security.capabilities = status.caps("CapEff");
        security.bounding = status.caps("CapBnd");
        security.no_new_privileges = status.number("NoNewPrivs") == 1;
        security.seccomp = match status.number("Seccomp") {
            0 => "disabled",
            1 => "strict",
            _ => "filter",
        }
        .into();
        security.seccomp_filters = u32::try_from(status.number("Seccomp_filters")).unwrap_or(0);
        let label = read(pid, "attr/current");
        label.trim_end_matches(['\0', '\n']).clone_into(&mut security.label);
        security.uid_map = read(pid, "uid_map").lines().map(joined).collect();
        security.oom_score_adj = read(pid, "oom_score_adj").trim().parse().unwrap_or(0);
        Ok(explained)
    }

    fn explained_root(&self, container: &Container) -> Result<ExplainedRoot, Error> {
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let (layers, writable) = match self.layers(container)? {
            None => (vec!["/".to_owned()], "memory".to_owned()),
            Some(Mounts::Overlay { lower, upper, .. }) => {
                (lower.iter().map(|layer| text(layer)).collect(), text(&upper))
            }
            Some(Mounts::Directory { root, before, .. }) => {
                (before.iter().map(|layer| text(layer)).collect(), text(&root))
            }
        };
        Ok(ExplainedRoot {
            driver: self.images().snapshots().name().into(),
            layers,
            writable,
            read_only: container.record.host.readonly_rootfs,
        })
    }

    /// By what its supervisor was told.
    fn explained_network(&self, container: &Container) -> ExplainedNetwork {
        let mode = container.record.host.network_mode.clone();
        let path = self.paths().run(&container.id).join("shim.json");
        let told: Option<Config> =
            fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(plan) = told.map(|told| told.network) else {
            return ExplainedNetwork { mode, ..ExplainedNetwork::default() };
        };
        let links = plan.links.iter().map(|link| ExplainedLink {
            name: link.container_name.clone(),
            host_name: match link.kind {
                endpoint::Kind::Veth => link.host_name.clone(),
                _ => String::new(),
            },
            bridge: link.bridge.clone(),
            mac: link.hardware_address().map(print_mac).unwrap_or_default(),
            addresses: link.addresses.iter().map(|(ip, len)| format!("{ip}/{len}")).collect(),
            gateway: link.gateway.or(link.gateway6).map(|ip| ip.to_string()).unwrap_or_default(),
        });
        let ports = plan.ports.iter().map(|port| {
            let protocol = format!("{:?}", port.protocol).to_lowercase();
            format!("{} -> {}/{protocol}", port.host, port.container)
        });
        ExplainedNetwork {
            mode,
            links: links.collect(),
            table: if plan.ports.is_empty() { String::new() } else { plan.table.clone() },
            names: plan.dns.is_some(),
            ports: ports.collect(),
        }
    }

    fn explained_namespaces(
        &self,
        container: &Container,
        pid: i32,
    ) -> Result<Vec<ExplainedNamespace>, Error> {
        let mut others = vec![("host".to_owned(), namespaces("self"))];
        for row in self.shared.db.read(metadata::Read::containers)? {
            if row.id == container.id || !self.paths().run(&row.id).exists() {
                continue;
            }
            let other = self.status(&row.id)?;
            if other.phase.is_up() && other.phase != Phase::Restarting {
                let theirs = namespaces(&other.pid.to_string());
                others.push((format!("container {}", row.name), theirs));
            }
        }
        let own = namespaces(&pid.to_string());
        let shared = |kind: &str, inode: u64| {
            let with = others.iter().filter(|(_, theirs)| theirs.get(kind) == Some(&inode));
            with.map(|(name, _)| name.clone()).collect()
        };
        let all = own.into_iter().map(|(kind, inode)| ExplainedNamespace {
            shared_with: shared(kind, inode),
            kind: kind.to_owned(),
            inode,
        });
        Ok(all.collect())
    }
}

fn namespaces(process: &str) -> BTreeMap<&'static str, u64> {
    let inode = |kind| Some(fs::metadata(format!("/proc/{process}/ns/{kind}")).ok()?.ino());
    NAMESPACES.into_iter().filter_map(|kind| Some((kind, inode(kind)?))).collect()
}

impl Engine {
    /// What a container may use, and uses.
    fn limits(&self, path: String, container: &Container) -> Result<ExplainedCgroup, Error> {
        let mut explained = ExplainedCgroup { path, ..ExplainedCgroup::default() };
        if explained.path.is_empty() {
            return Ok(explained);
        }
        let cgroup = match Cgroup::open(self.hierarchy()?, &explained.path) {
            // It ended in this moment.
            Err(cgroup::Error::NotFound(_)) => return Ok(explained),
            cgroup => cgroup?,
        };
        let used = cgroup.used()?;
        let directories = cgroup.paths().into_iter();
        explained.directories =
            directories.map(|(name, path)| (name, path.to_string_lossy().into_owned())).collect();
        explained.memory = used.memory.usage;
        explained.memory_limit =
            Some(used.memory.limit).filter(|limit| *limit < UNLIMITED && *limit > 0);
        explained.memory_failures = used.memory.failcnt;
        explained.cpu = used.cpu.total;
        explained.cpu_throttled = used.cpu.throttled_periods;
        let resources = &container.record.host.resources;
        explained.cpu_limit = match (resources.nano_cpus, resources.cpu_quota, resources.cpu_period)
        {
            (nano, ..) if nano > 0 => u64::try_from(nano).ok(),
            (_, quota, period) if quota > 0 => {
                let period = if period > 0 { period } else { 100_000 };
                u64::try_from(i128::from(quota) * 1_000_000_000 / i128::from(period)).ok()
            }
            _ => None,
        };
        explained.pids = used.pids.current;
        explained.pids_limit = used.pids.limit;
        Ok(explained)
    }
}

/// `/proc/PID/status`.
struct Proc(BTreeMap<String, String>);

impl Proc {
    fn status(pid: i32) -> Self {
        let text = read(pid, "status");
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
    }

    fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// The first word.
    fn number(&self, key: &str) -> u64 {
        let word = self.text(key).split_ascii_whitespace().next();
        word.and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    fn caps(&self, key: &str) -> Vec<String> {
        let set = CapSet(u64::from_str_radix(self.text(key), 16).unwrap_or(0));
        set.iter().map(|cap| cap.name().to_owned()).collect()
    }
}

fn read(pid: i32, file: &str) -> String {
    fs::read(format!("/proc/{pid}/{file}"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn joined(line: &str) -> String {
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The processes, each below its parent.
fn tree(pids: Vec<i32>) -> Vec<ExplainedProcess> {
    let mut all: BTreeMap<i32, ExplainedProcess> =
        pids.into_iter().filter_map(|pid| Some((pid, process(pid)?))).collect();
    let mut below: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for one in all.values() {
        let parent = if all.contains_key(&one.parent) { one.parent } else { 0 };
        below.entry(parent).or_default().push(one.pid);
    }
    let mut ordered = Vec::new();
    let mut stack: Vec<(i32, u32)> =
        below.remove(&0).unwrap_or_default().into_iter().rev().map(|pid| (pid, 0)).collect();
    while let Some((pid, depth)) = stack.pop() {
        let children = below.remove(&pid).unwrap_or_default().into_iter().rev();
        stack.extend(children.map(|child| (child, depth + 1)));
        ordered.extend(all.remove(&pid).map(|one| ExplainedProcess { depth, ..one }));
    }
    ordered
}

/// `None` if it has ended.
fn process(pid: i32) -> Option<ExplainedProcess> {
    let status = Proc::status(pid);
    let inside = status.text("NSpid").split_ascii_whitespace().last()?.parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(ExplainedProcess {
        pid,
        parent: i32::try_from(status.number("PPid")).ok()?,
        inside,
        depth: 0,
        uid: u32::try_from(status.number("Uid")).ok()?,
        threads: u32::try_from(status.number("Threads")).ok()?,
        resident: status.number("VmRSS") << 10,
        state: status.text("State").chars().take(1).collect(),
        command: command(&line, status.text("Name")),
    })
}

/// By proc(5), "mountinfo".
fn mounts(pid: i32) -> Vec<ExplainedMount> {
    let text = read(pid, "mountinfo");
    text.lines()
        .filter_map(|line| {
            let (own, of) = line.split_once(" - ")?;
            let own: Vec<&str> = own.split(' ').collect();
            let mut of = of.split(' ');
            let (kind, device) = (of.next()?, of.next()?);
            let (within, target, options) = (*own.get(3)?, *own.get(4)?, *own.get(5)?);
            let source =
                if within == "/" { device.to_owned() } else { format!("{device}[{within}]") };
            Some(ExplainedMount {
                target: target.to_owned(),
                kind: kind.to_owned(),
                source,
                options: options.to_owned(),
            })
        })
        .collect()
}
