//! From an OCI spec to the steps that make a container.
//!
//! The one translator between the specification's words and the kernel's: [`Plan::new`] checks a
//! configuration against the [`Facts`] of the machine and decides everything that can be decided
//! before the first system call. Whoever executes a plan reads no option, parses no string and
//! chooses no order any more. Nothing here touches the machine.
#![forbid(unsafe_code)]

mod affinity;
mod capability;
mod device;
mod error;
mod facts;
mod hook;
mod landlock;
mod limit;
mod mounts;
mod namespace;
mod netdev;
mod policy;
mod process;
mod rdt;
mod resources;
mod root;
mod rootless;
mod schedule;
mod seccomp_filter;
mod sysctl;
mod unit;
mod version;

use std::path::Path;

use oci::runtime::{Linux, NamespaceKind, Spec};

pub use affinity::Affinity;
pub use device::Device;
pub use error::Error;
pub use facts::{Facts, Options};
pub use hook::{Hook, Hooks};
pub use landlock::{Landlock, landlock};
pub use limit::{Limit, resources as limited_resources};
pub use mounts::{IdMap, MapIds, Mount, What};
pub use namespace::{IdMaps, Join, Namespaces, flag};
pub use netdev::NetDevice;
pub use policy::MemoryPolicy;
pub use process::{Ids, Process, SeccompWhen};
pub use rdt::{Closid, Rdt};
pub use resources::{device_rules, ignored, limits, resources};
pub use root::{Enter, Root, Rootfs};
pub use rootless::maps_only;
pub use seccomp_filter::{Filter, Listener};
pub use sysctl::Sysctl;
pub use unit::{Systemd, Unit, UnitId, limits as unit_limits};

/// All that is needed to make a container.
#[derive(Debug)]
pub struct Plan {
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Its cgroup's path in the hierarchy, absolute.
    pub cgroup_path: String,
    /// Its cgroup was not asked for, neither by path nor by a limit: it is done without one where it
    /// cannot be had.
    pub cgroup_optional: bool,
    /// The unit of systemd that has this cgroup; its path is from that of the manager of units.
    pub unit: Option<Unit>,
    /// Its cgroup's limits.
    pub resources: cgroup::Resources,
    /// Network interfaces of the host that become its own.
    pub net_devices: Vec<NetDevice>,
    /// Its share of caches and memory bandwidth.
    pub rdt: Option<Rdt>,
    /// Its hooks.
    pub hooks: Hooks,
    /// What happens inside the new process.
    pub init: InitPlan,
}

/// What the container's first process does before it becomes its program.
#[derive(Debug)]
pub struct InitPlan {
    /// The root file system and what is in it. `None` without a mount namespace: then the process
    /// only changes its root directory.
    pub rootfs: Rootfs,
    /// The host name.
    pub hostname: Option<String>,
    /// The domain name.
    pub domainname: Option<String>,
    /// Kernel parameters.
    pub sysctls: Vec<Sysctl>,
    /// The network namespace is new: its loopback interface is taken up.
    pub loopback: bool,
    /// A cgroup namespace is made once the process is in its cgroup.
    pub cgroup_namespace: bool,
    /// The execution domain.
    pub personality: Option<u32>,
    /// The NUMA policy.
    pub memory_policy: Option<MemoryPolicy>,
    /// The seccomp filter.
    pub filter: Option<Filter>,
    /// The process.
    pub process: Process,
}

impl Plan {
    /// The plan for container `id` with the configuration `spec`. `bundle` is absolute. What is asked
    /// for and will not be done is added to `warnings`, also when there is no plan.
    pub fn new(
        spec: &Spec,
        id: &str,
        bundle: &Path,
        facts: &Facts,
        options: Options,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        version::check(&spec.oci_version)?;
        let none = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        let process = spec.process.as_ref().ok_or_else(|| Error::missing("process"))?;
        let namespaces = Namespaces::new(linux)?;
        if spec.annotations.contains_key("") {
            return Err(Error::conflict("annotations", "have an empty key"));
        }
        if !linux.mount_label.is_empty() && !facts.selinux {
            let why = "cannot be set: SELinux is not enabled on this machine";
            return Err(Error::invalid("linux.mountLabel", &linux.mount_label, why));
        }
        if linux.mount_label.contains(['\0', '\n', '"']) {
            let why = "has a line break, quote or NUL in it";
            let shown = linux.mount_label.escape_debug();
            return Err(Error::invalid("linux.mountLabel", shown, why));
        }
        for (field, name) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
            check_uts(field, name, &namespaces)?;
        }
        let path = &linux.cgroups_path;
        let unit = options
            .systemd_cgroup
            .then(|| Unit::new(path, id, &spec.annotations, facts.user_systemd))
            .transpose()?;
        let own_user_namespace = namespaces.has(NamespaceKind::User);
        rootless::check(process, &namespaces, facts)?;
        let nonempty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Self {
            cgroup_path: match &unit {
                Some(unit) => unit.path.clone(),
                None => cgroup_path(&linux.cgroups_path, id)?,
            },
            cgroup_optional: options.rootless && linux.cgroups_path.is_empty() && unit.is_none(),
            unit,
            resources: {
                warnings.extend(linux.resources.as_ref().map(ignored).unwrap_or_default());
                resources(linux.resources.as_ref(), facts)?
            },
            net_devices: netdev::devices(&linux.net_devices, &namespaces)?,
            rdt: linux.intel_rdt.as_ref().map(|spec| rdt::rdt(spec, id)).transpose()?,
            hooks: spec.hooks.as_ref().map(Hooks::new).transpose()?.unwrap_or_default(),
            init: InitPlan {
                rootfs: root::rootfs(spec, linux, bundle, &namespaces, facts, options)?,
                hostname: nonempty(&spec.hostname),
                domainname: nonempty(&spec.domainname),
                sysctls: sysctl::sysctls(&linux.sysctl, &spec.domainname, &namespaces)?,
                loopback: namespaces.is_new(NamespaceKind::Network),
                cgroup_namespace: namespaces.is_new(NamespaceKind::Cgroup),
                personality: linux.personality.as_ref().map(policy::personality).transpose()?,
                memory_policy: linux.memory_policy.as_ref().map(policy::memory).transpose()?,
                filter: linux.seccomp.as_ref().map(Filter::new).transpose()?,
                process: Process {
                    landlock: landlock(&spec.annotations)?,
                    ..Process::new(process, own_user_namespace, facts, options, warnings)?
                },
            },
            namespaces,
        })
    }
}

fn check_uts(field: &str, name: &str, namespaces: &Namespaces) -> Result<(), Error> {
    const LONGEST: usize = 64;
    if name.is_empty() {
        return Ok(());
    }
    if !namespaces.has(NamespaceKind::Uts) {
        return Err(Error::conflict(field, "needs a uts namespace of the container's own"));
    }
    if name.len() > LONGEST {
        return Err(Error::invalid(field, name, format!("is longer than {LONGEST} bytes")));
    }
    if name.contains('\0') {
        return Err(Error::invalid(field, name.escape_debug(), "contains a NUL"));
    }
    Ok(())
}

/// Where the container's cgroup is. Without a wish it is named after the container.
fn cgroup_path(wish: &str, id: &str) -> Result<String, Error> {
    if wish.split('/').any(|part| part == "..") || wish.contains(['\0', '\n']) {
        let why = "leads out of the hierarchy or is no path";
        return Err(Error::invalid("linux.cgroupsPath", wish.escape_debug(), why));
    }
    let parts = |path: &str| {
        path.split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .fold(String::new(), |all, part| all + "/" + part)
    };
    match parts(wish) {
        path if path.is_empty() && !wish.is_empty() => {
            Err(Error::invalid("linux.cgroupsPath", wish, "is the root of the hierarchy"))
        }
        path if path.is_empty() => Ok(format!("/{id}")),
        path => Ok(path),
    }
}

#[cfg(test)]
mod tests;
