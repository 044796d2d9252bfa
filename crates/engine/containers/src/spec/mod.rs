//! The OCI specification of a container.
//!
//! Docker's defaults, changed by what was asked for. [`generate`] is pure: all that it needs to
//! know of the machine and of other containers is in [`Input`].

pub(crate) mod caps;
pub(crate) mod devices;
mod env;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod resources;
pub(crate) mod security;
pub(crate) mod time;
mod unlimited;
pub(crate) mod user;

use std::path::{Path, PathBuf};

use ::caps::CapSet;
use oci::runtime::{
    Capabilities, Device, DeviceRule, Linux, Process, Root, Spec, VERSION as OCI_VERSION,
};

use crate::Error;
use crate::record::Container;
use crate::supplies::Bound;
use namespaces::Namespaces;
use security::Security;
use user::Identity;

/// Where a container's root is mounted, in its bundle.
pub(crate) const ROOTFS: &str = "rootfs";
/// All that a specification depends on.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) container: &'a Container,
    pub(crate) identity: &'a Identity,
    pub(crate) namespaces: &'a Namespaces,
    pub(crate) security: &'a Security,
    /// The `AppArmor` profile; empty for none.
    pub(crate) apparmor: &'a str,
    /// The labels of `SELinux`.
    pub(crate) labels: &'a selinux::Labels,
    /// For the runtime: `/dhow/ID`.
    pub(crate) cgroups_path: String,
    /// Files of the host that are mounted on `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.
    pub(crate) files: &'a [(PathBuf, &'static str)],
    /// What each mount of the record is bound from.
    pub(crate) bound: &'a [Bound],
    /// Device files that are asked for, with the rules that open them.
    pub(crate) devices: &'a [(Device, DeviceRule)],
    /// Every device of the machine, for a privileged container.
    pub(crate) all_devices: &'a [Device],
    /// The capabilities that the kernel has.
    pub(crate) all_caps: CapSet,
    /// How many CPUs the machine may have, online or not.
    pub(crate) possible_cpus: u32,
    /// What `/dev/shm` is bound from, where it is another container's.
    pub(crate) shm: Option<&'a Path>,
    /// Variables that tell of linked containers.
    pub(crate) links: &'a [String],
    /// More variables, for the image that reports on itself.
    pub(crate) report: &'a [String],
}

/// The specification of `input`.
pub(crate) fn generate(input: &Input<'_>) -> Result<Spec, Error> {
    let record = &input.container.record;
    let (config, host) = (&record.config, &record.host);
    let privileged = host.privileged;
    let caps = caps::tweak(privileged, &host.cap_add, &host.cap_drop, input.all_caps)?;

    let mut resources = resources::limits(&host.resources)?;
    let devices = if privileged {
        resources.devices = devices::every_rule();
        input
            .all_devices
            .iter()
            .chain(input.devices.iter().map(|(device, _)| device))
            .cloned()
            .collect()
    } else {
        resources.devices = devices::default_rules();
        resources.devices.extend(input.devices.iter().map(|(_, rule)| rule.clone()));
        for rule in &host.resources.device_cgroup_rules {
            resources.devices.push(devices::parse_rule(rule)?);
        }
        input.devices.iter().map(|(device, _)| device.clone()).collect()
    };

    let own_uts = input.namespaces.uts.is_own();
    let maps = record.user_namespace.clone().unwrap_or_default();
    let mut spec = Spec {
        oci_version: OCI_VERSION.into(),
        process: Some(process(input, caps)?),
        root: Some(Root { path: ROOTFS.into(), readonly: host.readonly_rootfs }),
        hostname: if own_uts { config.hostname.clone() } else { String::new() },
        domainname: if own_uts { config.domainname.clone() } else { String::new() },
        mounts: mounts::all(input),
        hooks: None,
        annotations: host.annotations.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        linux: Some(Linux {
            devices,
            namespaces: input.namespaces.list(),
            resources: Some(resources),
            cgroups_path: input.cgroups_path.clone(),
            uid_mappings: maps.uids,
            gid_mappings: maps.gids,
            rootfs_propagation: mounts::propagation(&record.mounts).into(),
            seccomp: input.security.seccomp(privileged, &caps::names(caps))?,
            sysctl: input.namespaces.sysctls(&host.sysctls)?,
            masked_paths: security::masked(host, input.possible_cpus),
            readonly_paths: security::readonly(host),
            mount_label: input.labels.mount.clone(),
            ..Linux::default()
        }),
    };
    if let Some(linux) = &mut spec.linux {
        time::apply(host, linux)?;
    }
    Ok(spec)
}

fn process(input: &Input<'_>, caps: CapSet) -> Result<Process, Error> {
    let record = &input.container.record;
    let (config, host) = (&record.config, &record.host);
    let names = caps::names(caps);
    let mut env = match record.step {
        Some(_) => env::step(config, &input.identity.home),
        None => env::of(config, &input.identity.home, input.links),
    };
    env.extend(input.report.iter().cloned());
    Ok(Process {
        terminal: config.tty,
        user: input.identity.user.clone(),
        args: input.container.command(),
        env,
        cwd: if config.working_dir.is_empty() { "/".into() } else { config.working_dir.clone() },
        capabilities: Some(capabilities(names)),
        rlimits: host.resources.ulimits.iter().map(resources::rlimit).collect::<Result<_, _>>()?,
        no_new_privileges: input.security.no_new_privileges,
        apparmor_profile: input.apparmor.to_owned(),
        selinux_label: input.labels.process.clone(),
        oom_score_adj: i32::try_from(host.oom_score_adj).ok().filter(|&score| score != 0),
        ..Process::default()
    })
}

/// The sets of a process that has `names`. Nothing is ever inheritable or ambient: a file with
/// inheritable capabilities, or a program run by another user, would gain them (CVE-2022-24769).
pub(crate) fn capabilities(names: Vec<String>) -> Capabilities {
    Capabilities {
        bounding: names.clone(),
        effective: names.clone(),
        permitted: names,
        ..Capabilities::default()
    }
}

pub(crate) use env::{exec as exec_env, merge as merge_env, of as process_env};

#[cfg(test)]
mod tests;
