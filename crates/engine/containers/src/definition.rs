//! From a request and an image to a container's definition: defaults filled in, nonsense refused
//! in Docker's words, what dhow does not do yet refused by its name.

use std::path::Path;

use docker::{ContainerConfig, HostConfig, nat};
use images::Image;
use oci::image::Config as ImageDefaults;
use shim_protocol::RestartPolicy;

use crate::mounting::{self, Mounting};
use crate::spec::resources::{self, Machine};
use crate::spec::{caps, devices, merge_env, namespaces, security, time};
use crate::{Error, etc, health, log_driver};

/// Fills what a request leaves open with what the image says.
pub(crate) fn merge(config: &mut ContainerConfig, image: &ImageDefaults) {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    for port in &image.exposed_ports {
        config.exposed_ports.entry(port.clone()).or_default();
    }
    let env = merge_env(&config.env, &image.env);
    // What nobody says anything of is `null`.
    if !env.is_empty() || !config.env.is_nil() {
        config.env = env.into();
    }
    for (name, value) in &image.labels {
        config.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if config.entrypoint.is_empty() {
        // What is not said anywhere stays unsaid, as `inspect` shows it.
        if config.cmd.is_empty()
            && let Some(cmd) = &image.cmd
        {
            config.cmd = cmd.clone().into();
        }
        if config.entrypoint.is_nil()
            && let Some(entrypoint) = &image.entrypoint
        {
            config.entrypoint = entrypoint.clone().into();
        }
    }
    // One empty word takes the image's away.
    if config.entrypoint.len() == 1 && config.entrypoint[0].is_empty() {
        config.entrypoint = docker::StrSlice::default();
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    for path in &image.volumes {
        config.volumes.entry(path.clone()).or_default();
    }
    if config.stop_signal.is_empty() {
        config.stop_signal = image.stop_signal.clone().unwrap_or_default();
    }
    if let Some(check) = &image.healthcheck {
        health::merge(config.healthcheck.get_or_insert_default(), check);
    }
    if config.shell.is_empty() {
        config.shell = image.shell.clone().unwrap_or_default().into();
    }
}

/// Fills in the engine's own defaults, as `inspect` shows them.
pub(crate) fn fill(config: &mut ContainerConfig, host: &mut HostConfig, id: &str) {
    if host.network_mode.is_empty() || host.network_mode == "default" {
        host.network_mode = "bridge".into();
    }
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".into();
    }
    if host.shm_size == 0 {
        host.shm_size = 64 << 20;
    }
    if host.cgroupns_mode.is_empty() {
        host.cgroupns_mode = "private".into();
    }
    if host.ipc_mode.is_empty() {
        host.ipc_mode = "private".into();
    }
    if host.masked_paths.is_nil() && !host.privileged {
        host.masked_paths = security::default_masked().into();
    }
    if host.readonly_paths.is_nil() && !host.privileged {
        host.readonly_paths = security::default_readonly().into();
    }
    if config.hostname.is_empty() {
        config.hostname = if host.network_mode == "host" || host.uts_mode == "host" {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        } else if host.network_mode.starts_with("container:") {
            String::new()
        } else {
            id[..12].to_owned()
        };
    }
    if !config.working_dir.is_empty() {
        config.working_dir = mounting::clean(&config.working_dir);
    }
}

/// Refuses what makes no sense; what is only not as asked comes back as warnings.
pub(crate) fn check(
    config: &ContainerConfig,
    host: &mut HostConfig,
    machine: &Machine,
) -> Result<Vec<String>, Error> {
    // None, however it was said.
    let pids = &mut host.resources.pids_limit;
    *pids = pids.filter(|limit| *limit > 0);
    let mut warnings = resources::check(&mut host.resources, machine)?;
    modes(config, host, &mut warnings)?;
    program(config)?;
    not_yet(host)?;
    if restart(&host.restart_policy)? != RestartPolicy::No && host.auto_remove {
        return Err(Error::Invalid(
            "can't create 'AutoRemove' container with restart policy".into(),
        ));
    }
    // It is for what is mounted by `-v` and by the image alone.
    let plugin = !matches!(host.volume_driver.as_str(), "" | "local");
    if plugin && (!config.volumes.is_empty() || !host.binds.is_empty()) {
        return Err(no_volume_driver(&host.volume_driver));
    }
    log_driver::check(config, &host.log_config)?;
    health::check(config, host)?;
    time::offsets(host)?;
    security::check_landlock(host)?;
    namespaces::check(host)?;
    namespaces::check_sysctls(host)?;
    caps::check(&host.cap_add, &host.cap_drop, ::caps::CapSet::available()?)?;
    warnings.extend(security::Security::parse(&host.security_opt)?.warning());
    for device in &host.resources.devices {
        devices::check(device)?;
    }
    etc::check(config, host)?;
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::Invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.shm_size < 0 {
        return Err(Error::Invalid("SHM size can not be less than 0".into()));
    }
    Ok(warnings)
}

/// What cannot be together, by the network.
fn modes(
    config: &ContainerConfig,
    host: &HostConfig,
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let refuse = |what: &str| Err(Error::Invalid(format!("conflicting options: {what}")));
    let joins = host.network_mode.strip_prefix("container:");
    if joins == Some("") {
        return Err(Error::Invalid("invalid container format container:<name|id>".into()));
    }
    if host.network_mode == "host" && !config.mac_address.is_empty() {
        return refuse("mac-address and the network mode");
    }
    if joins.is_some() {
        if !config.hostname.is_empty() {
            return refuse("hostname and the network mode");
        }
        if !host.dns.is_empty() {
            return refuse("dns and the network mode");
        }
        if !host.extra_hosts.is_empty() {
            return refuse("custom host-to-IP mapping and the network mode");
        }
        if !config.mac_address.is_empty() {
            return refuse("mac-address and the network mode");
        }
        if !host.port_bindings.is_empty() || host.publish_all_ports {
            return refuse("port publishing and the container type network mode");
        }
    }
    if host.network_mode == "host" && !host.port_bindings.is_empty() {
        warnings.push("Published ports are discarded when using host network mode".into());
    }
    if host.uts_mode == "host" && !config.hostname.is_empty() {
        return refuse("hostname and the UTS mode");
    }
    if host.uts_mode == "host" && !config.domainname.is_empty() {
        return refuse("domainname and the UTS mode");
    }
    Ok(())
}

/// Refuses a request that exposes ports itself in the network of another container. That an image does counts
/// for nothing there.
pub(crate) fn check_exposed(host: &HostConfig) -> Result<(), Error> {
    if host.network_mode.starts_with("container:") {
        let what = "port exposing and the container type network mode";
        return Err(Error::Invalid(format!("conflicting options: {what}")));
    }
    Ok(())
}

/// What is to be executed, and how.
pub(crate) fn program(config: &ContainerConfig) -> Result<(), Error> {
    if config.entrypoint.is_empty() && config.cmd.is_empty() {
        return Err(Error::Invalid("no command specified".into()));
    }
    let words = config.entrypoint.iter().chain(config.cmd.iter()).chain(config.env.iter());
    if words.clone().any(|word| word.contains('\0')) {
        return Err(Error::Invalid("an argument or variable holds a NUL byte".into()));
    }
    if let Some(entry) = config.env.iter().find(|entry| entry.starts_with('=') || entry.is_empty())
    {
        return Err(Error::Invalid(format!("invalid environment variable: {entry}")));
    }
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::Invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if !config.stop_signal.is_empty() {
        oci::signal::parse(&config.stop_signal).map_err(|err| Error::Invalid(err.to_string()))?;
    }
    for port in config.exposed_ports.keys() {
        port.parse::<nat::Port>().map_err(|err| Error::Invalid(err.to_string()))?;
    }
    Ok(())
}

/// How many bytes a container may write to its root (`--storage-opt size=`); `None`: any number.
pub(crate) fn size(host: &HostConfig) -> Result<Option<u64>, Error> {
    let mut size = None;
    for (name, value) in &host.storage_opt {
        if name != "size" {
            return Err(Error::Invalid(format!("unknown storage option: {name} (there is size)")));
        }
        let bytes = docker::units::ram_in_bytes(value)
            .map_err(|err| Error::Invalid(format!("storage option size: {err}")))?;
        // 0 is Docker's for no limit.
        size = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    }
    Ok(size)
}

/// The annotations of ours that a request may have: what Docker's API has no field for.
const OURS: [&str; 3] = [health::RESTART_ON, time::ANNOTATION, security::LANDLOCK];

/// What dhow has not got, by the name under which it is asked for.
fn not_yet(host: &HostConfig) -> Result<(), Error> {
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Error::Invalid(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        )));
    }
    if host.resources.cgroup_parent.split('/').any(|part| part == "..") {
        return Err(Error::Invalid(format!(
            "invalid cgroup parent: {}",
            host.resources.cgroup_parent
        )));
    }
    // Some runtimes act on these: they would reach past what was asked for (CVE-2024-3154).
    let reserved = ["org.systemd.property.", "run.oci.", "dhow."];
    let is_reserved = |name: &&String| {
        !OURS.contains(&name.as_str()) && reserved.iter().any(|prefix| name.starts_with(prefix))
    };
    if host.annotations.contains_key("") {
        return Err(Error::Invalid(
            "invalid Annotations: the empty string is not permitted as an annotation key".into(),
        ));
    }
    if let Some(name) = host.annotations.keys().find(is_reserved) {
        return Err(Error::Invalid(format!("annotation {name} is reserved")));
    }
    Ok(())
}

/// There are no plugins: in Docker's words.
pub(crate) fn no_volume_driver(name: &str) -> Error {
    Error::NotFound(format!("error looking up volume plugin {name}: plugin \"{name}\" not found"))
}

/// Reads a restart policy.
pub(crate) fn restart(policy: &docker::RestartPolicy) -> Result<RestartPolicy, Error> {
    let invalid = |why: &str| Err(Error::Invalid(format!("invalid restart policy: {why}")));
    let count = policy.maximum_retry_count;
    if count != 0 && policy.name != "on-failure" {
        return invalid(if count < 0 {
            "maximum retry count can only be used with 'on-failure' and cannot be negative"
        } else {
            "maximum retry count can only be used with 'on-failure'"
        });
    }
    match policy.name.as_str() {
        "" | "no" => Ok(RestartPolicy::No),
        "always" => Ok(RestartPolicy::Always),
        "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
        "on-failure" => match u32::try_from(count) {
            Ok(max) => Ok(RestartPolicy::OnFailure { max }),
            Err(_) if count < 0 => invalid("maximum retry count cannot be negative"),
            Err(_) => invalid("maximum retry count is too large"),
        },
        other => invalid(&format!(
            "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

/// All that is to be mounted: binds, mounts, tmpfs, what other containers have, and an anonymous
/// volume for each path that still needs one.
pub(crate) fn mounts(
    config: &ContainerConfig,
    host: &HostConfig,
    others: Vec<Mounting>,
) -> Result<Vec<Mounting>, Error> {
    let mut own = Vec::new();
    for bind in &host.binds {
        own.push(mounting::from_bind(bind)?);
    }
    for mount in &host.mounts {
        own.push(mounting::from_mount(mount, |path| Path::new(path).exists())?);
    }
    for (target, options) in &host.tmpfs {
        own.push(mounting::from_tmpfs(target, options)?);
    }
    for (at, mounting) in own.iter().enumerate() {
        let same = |other: &Mounting| other.point.destination == mounting.point.destination;
        if own[..at].iter().any(same) {
            return Err(Error::Invalid(format!(
                "Duplicate mount point: {}",
                mounting.point.destination
            )));
        }
    }
    // Docker asks SELinux to share its own volumes, and shows it.
    for mounting in &mut own {
        if mounting.point.kind == mounting::VOLUME && mounting.point.mode.is_empty() {
            "z".clone_into(&mut mounting.point.mode);
        }
    }
    // A request's own win over another container's, and those over the image's.
    add_missing(&mut own, others);
    let image = config.volumes.keys().map(|path| {
        mounting::destination(path)?;
        mounting::from_bind(path)
    });
    let image = image.collect::<Result<Vec<_>, _>>()?;
    add_missing(&mut own, image);
    Ok(own)
}

fn add_missing(mounts: &mut Vec<Mounting>, more: Vec<Mounting>) {
    for mounting in more {
        let taken = |one: &Mounting| one.point.destination == mounting.point.destination;
        if !mounts.iter().any(taken) {
            mounts.push(mounting);
        }
    }
}

/// Whether an image, as it was asked for, is one of those that report on themselves.
pub(crate) fn reports(asked: &str, embedded: &[images::EmbeddedImage]) -> bool {
    let bare = |name: &'_ str| name.strip_suffix(":latest").unwrap_or(name).to_owned();
    embedded.iter().any(|image| bare(asked) == bare(image.reference))
}

/// The image's defaults.
pub(crate) fn defaults(image: &Image) -> &ImageDefaults {
    &image.config.config
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
