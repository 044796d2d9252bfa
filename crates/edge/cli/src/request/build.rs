//! The request itself.

use docker::container::HealthConfig;
use docker::nat;
use docker::{
    ContainerConfig, CreateRequest, EndpointIpamConfig, EndpointSettings, HostConfig, LogConfig,
    NetworkingConfig, Resources, RestartPolicy,
};

use super::{Attach, Create, devices, mounts, secrets, values};
use crate::args::UpdateArgs;
use crate::error::{Error, Result};
use crate::run_args::ContainerArgs;
use crate::terminal;

/// Builds the request that the flags ask for.
pub(crate) fn build(mut args: ContainerArgs, attach: Attach) -> Result<Create> {
    let rootfs = args.rootfs.take();
    let mut words = std::mem::take(&mut args.image_and_command).into_iter();
    let image = if rootfs.is_some() { String::new() } else { words.next().unwrap_or_default() };
    let networking_config = networking(&args)?;
    let host_config = host_config(&args)?;
    let mut config = config(&args, attach)?;
    config.cmd = words.collect::<Vec<_>>().into();
    if config.cmd.is_empty() {
        config.cmd = docker::StrSlice::default();
    }
    config.image = image;
    Ok(Create { body: CreateRequest { config, host_config, networking_config }, rootfs })
}

fn config(args: &ContainerArgs, attach: Attach) -> Result<ContainerConfig> {
    let interactive = args.interactive.unwrap_or(false);
    let mut labels = Vec::new();
    for file in &args.label_file {
        labels.extend(values::lines(file)?);
    }
    labels.extend(args.label.iter().cloned());
    values::check_labels(&args.label)?;
    let (mut exposed, _) = ports(args)?;
    for port in &args.expose {
        let ports = nat::parse_exposed(port).map_err(|err| Error::Usage(err.to_string()))?;
        exposed.extend(ports.into_iter().map(|port| (port.to_string(), docker::Empty {})));
    }
    let env = values::environment(&args.env, &args.env_file)?;
    Ok(ContainerConfig {
        hostname: args.hostname.clone(),
        domainname: args.domainname.clone(),
        user: args.user.clone(),
        attach_stdin: attach.stdin,
        attach_stdout: attach.stdout,
        attach_stderr: attach.stderr,
        exposed_ports: exposed,
        tty: args.tty.unwrap_or(false),
        open_stdin: interactive,
        stdin_once: interactive && attach.stdin,
        // As Docker's client says that nobody said any.
        env: if env.is_empty() { docker::Words::NIL } else { env.into() },
        healthcheck: health(args)?,
        // `-v /data` without a source is an anonymous volume.
        volumes: args
            .volume
            .iter()
            .filter(|volume| !volume.contains(':'))
            .map(|volume| (volume.clone(), docker::Empty {}))
            .collect(),
        working_dir: args.workdir.clone(),
        entrypoint: match &args.entrypoint {
            None => docker::StrSlice::default(),
            Some(program) => vec![program.clone()].into(),
        },
        labels: values::key_values(&labels).into(),
        stop_signal: args.stop_signal.clone(),
        stop_timeout: args.stop_timeout,
        ..ContainerConfig::default()
    })
}

/// The published ports, as ports that are exposed and as bindings.
fn ports(args: &ContainerArgs) -> Result<(docker::Map<docker::Empty>, docker::PortMap)> {
    nat::port_maps(args.publish.iter().map(String::as_str)).map_err(|err| {
        Error::Usage(format!(
            "invalid value for --publish: {err} (give [[IP:]HOSTPORT:]PORT[/PROTOCOL], such as 8080:80)"
        ))
    })
}

fn health(args: &ContainerArgs) -> Result<Option<HealthConfig>> {
    if args.no_healthcheck {
        if args.health_cmd.is_some() {
            return Err(Error::Usage(
                "--no-healthcheck conflicts with --health-* options".to_owned(),
            ));
        }
        return Ok(Some(HealthConfig {
            test: vec!["NONE".to_owned()].into(),
            ..HealthConfig::default()
        }));
    }
    let health = HealthConfig {
        test: match &args.health_cmd {
            Some(command) => vec!["CMD-SHELL".to_owned(), command.clone()].into(),
            None => docker::Words::NIL,
        },
        interval: values::duration("health-interval", args.health_interval.as_deref())?,
        timeout: values::duration("health-timeout", args.health_timeout.as_deref())?,
        start_period: values::duration("health-start-period", args.health_start_period.as_deref())?,
        start_interval: values::duration(
            "health-start-interval",
            args.health_start_interval.as_deref(),
        )?,
        retries: args.health_retries.unwrap_or(0),
    };
    Ok((health != HealthConfig::default()).then_some(health))
}

/// With those of ours, for which Docker's API has no fields.
fn annotations(args: &ContainerArgs) -> docker::Map<String> {
    let mut all = values::key_values(&args.annotation);
    for (name, words) in
        [("dhow.landlock", &args.landlock), ("dhow.time-offsets", &args.time_offset)]
    {
        if !words.is_empty() {
            all.insert(name.to_owned(), words.join(","));
        }
    }
    all.extend(args.restart_on.iter().map(|on| ("dhow.restart-on".to_owned(), on.clone())));
    all.into()
}

fn host_config(args: &ContainerArgs) -> Result<HostConfig> {
    let network_mode =
        args.network.first().map(|network| network_name(network)).unwrap_or_default();
    let mut binds = Vec::new();
    for volume in &args.volume {
        let volume = mounts::volume(volume)?;
        if volume.contains(':') {
            binds.push(volume);
        }
    }
    let restart_policy = restart(&args.restart)?;
    let auto_remove = args.rm.unwrap_or(false);
    if auto_remove && !restart_policy.is_none() {
        return Err(Error::Usage(
            "conflicting options: cannot specify both --restart and --rm".to_owned(),
        ));
    }
    let (_, port_bindings) = ports(args)?;
    let mut security_opt = Vec::new();
    let (mut masked, mut readonly) = (docker::Words::NIL, docker::Words::NIL);
    for option in &args.security_opt {
        match option.as_str() {
            "systempaths=unconfined" => {
                (masked, readonly) = (docker::Words::empty(), docker::Words::empty());
            }
            _ => security_opt.push(security_option(option)?),
        }
    }
    let console_size = terminal::size().filter(|_| args.tty.unwrap_or(false));
    Ok(HostConfig {
        binds: binds.into(),
        container_id_file: args
            .cidfile
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        log_config: LogConfig {
            driver: args.log_driver.clone(),
            config: values::key_values(&args.log_opt).into(),
        },
        network_mode: if network_mode.is_empty() { "default".to_owned() } else { network_mode },
        port_bindings,
        restart_policy,
        auto_remove,
        volume_driver: args.volume_driver.clone(),
        volumes_from: args.volumes_from.clone().into(),
        console_size: console_size
            .map(|(rows, columns)| [rows.into(), columns.into()])
            .unwrap_or_default(),
        annotations: annotations(args),
        cap_add: args.cap_add.clone().into(),
        cap_drop: args.cap_drop.clone().into(),
        cgroupns_mode: args.cgroupns.clone(),
        dns: args.dns.clone().into(),
        dns_options: args.dns_option.clone().into(),
        dns_search: args.dns_search.clone().into(),
        extra_hosts: args.add_host.iter().map(|entry| extra_host(entry)).collect::<Result<_>>()?,
        group_add: args.group_add.clone().into(),
        ipc_mode: args.ipc.clone(),
        links: args.link.clone().into(),
        oom_score_adj: args.oom_score_adj,
        pid_mode: args.pid.clone(),
        privileged: args.privileged.unwrap_or(false),
        publish_all_ports: args.publish_all,
        readonly_rootfs: args.read_only.unwrap_or(false),
        security_opt: security_opt.into(),
        storage_opt: values::key_values(&args.storage_opt).into(),
        tmpfs: args
            .tmpfs
            .iter()
            .map(|tmpfs| {
                let (target, options) = tmpfs.split_once(':').unwrap_or((tmpfs, ""));
                (target.to_owned(), options.to_owned())
            })
            .collect(),
        uts_mode: args.uts.clone(),
        userns_mode: args.userns.clone(),
        shm_size: args.shm_size.as_deref().map_or(Ok(0), |size| values::bytes("shm-size", size))?,
        sysctls: values::key_values(&args.sysctl).into(),
        runtime: args.runtime.clone(),
        isolation: args.isolation.clone(),
        mounts: args.mount.iter().map(|mount| mounts::mount(mount)).collect::<Result<_>>()?,
        secrets: args.secret.iter().map(|one| secrets::secret(one)).collect::<Result<_>>()?,
        masked_paths: masked,
        readonly_paths: readonly,
        init: args.init,
        resources: resources(args)?,
        ..HostConfig::default()
    })
}

fn resources(args: &ContainerArgs) -> Result<Resources> {
    if args.kernel_memory.is_some() {
        return Err(Error::Usage(
            "--kernel-memory: the kernel has no such limit any more; use --memory".to_owned(),
        ));
    }
    let size =
        |flag: &str, text: Option<&String>| text.map_or(Ok(0), |text| values::bytes(flag, text));
    let paths = args.device.iter().filter(|device| !devices::is_cdi(device));
    let throttles = |flag: &str, list: &[String], sizes: bool| {
        list.iter()
            .map(|one| values::throttle(flag, one, sizes))
            .collect::<Result<docker::List<_>>>()
    };
    Ok(Resources {
        cpu_shares: args.cpu_shares,
        memory: size("memory", args.memory.as_ref())?,
        nano_cpus: args.cpus.as_deref().map_or(Ok(0), values::nano_cpus)?,
        cgroup_parent: args.cgroup_parent.clone(),
        blkio_weight: args.blkio_weight,
        blkio_weight_device: args
            .blkio_weight_device
            .iter()
            .map(|one| values::weight(one))
            .collect::<Result<_>>()?,
        blkio_device_read_bps: throttles("device-read-bps", &args.device_read_bps, true)?,
        blkio_device_write_bps: throttles("device-write-bps", &args.device_write_bps, true)?,
        blkio_device_read_iops: throttles("device-read-iops", &args.device_read_iops, false)?,
        blkio_device_write_iops: throttles("device-write-iops", &args.device_write_iops, false)?,
        cpu_period: args.cpu_period,
        cpu_quota: args.cpu_quota,
        cpu_realtime_period: args.cpu_rt_period,
        cpu_realtime_runtime: args.cpu_rt_runtime,
        cpuset_cpus: args.cpuset_cpus.clone(),
        cpuset_mems: args.cpuset_mems.clone(),
        devices: paths.map(|device| values::device(device)).collect::<Result<_>>()?,
        device_cgroup_rules: args.device_cgroup_rule.clone().into(),
        device_requests: devices::requests(args)?,
        memory_reservation: size("memory-reservation", args.memory_reservation.as_ref())?,
        memory_swap: swap(args.memory_swap.as_deref())?,
        memory_swappiness: args.memory_swappiness.filter(|value| *value != -1),
        oom_kill_disable: args.oom_kill_disable.then_some(true),
        pids_limit: args.pids_limit,
        ulimits: args.ulimit.iter().map(|ulimit| values::ulimit(ulimit)).collect::<Result<_>>()?,
        ..Resources::default()
    })
}

/// What `update` changes. What is not given stays as it is.
pub(crate) fn update(args: &UpdateArgs) -> Result<Resources> {
    let size =
        |flag: &str, text: Option<&String>| text.map_or(Ok(0), |text| values::bytes(flag, text));
    Ok(Resources {
        blkio_weight: args.blkio_weight.unwrap_or(0),
        cpu_shares: args.cpu_shares.unwrap_or(0),
        cpu_period: args.cpu_period.unwrap_or(0),
        cpu_quota: args.cpu_quota.unwrap_or(0),
        cpu_realtime_period: args.cpu_rt_period.unwrap_or(0),
        cpu_realtime_runtime: args.cpu_rt_runtime.unwrap_or(0),
        nano_cpus: args.cpus.as_deref().map_or(Ok(0), values::nano_cpus)?,
        cpuset_cpus: args.cpuset_cpus.clone().unwrap_or_default(),
        cpuset_mems: args.cpuset_mems.clone().unwrap_or_default(),
        memory: size("memory", args.memory.as_ref())?,
        memory_reservation: size("memory-reservation", args.memory_reservation.as_ref())?,
        memory_swap: swap(args.memory_swap.as_deref())?,
        pids_limit: args.pids_limit,
        ..Resources::default()
    })
}

/// `--memory-swap`: -1 is no limit.
fn swap(text: Option<&str>) -> Result<i64> {
    match text {
        Some("-1") => Ok(-1),
        Some(text) => values::bytes("memory-swap", text),
        None => Ok(0),
    }
}

fn networking(args: &ContainerArgs) -> Result<NetworkingConfig> {
    let mut networking = NetworkingConfig::default();
    for (at, network) in args.network.iter().enumerate() {
        let mut endpoint = EndpointSettings::default();
        let mut ipam = EndpointIpamConfig::default();
        if at == 0 {
            endpoint.aliases = args.network_alias.clone().into();
            endpoint.mac_address = args.mac_address.clone().unwrap_or_default();
            ipam.ipv4_address = args.ip.clone().unwrap_or_default();
            ipam.ipv6_address = args.ip6.clone().unwrap_or_default();
            ipam.link_local_ips = args.link_local_ip.clone().into();
            endpoint.links = args.link.clone().into();
        }
        for option in network.split(',').filter_map(|option| option.split_once('=')) {
            match option {
                ("name", _) => {}
                ("alias", alias) => endpoint.aliases.push(alias.to_owned()),
                ("ip", ip) => ip.clone_into(&mut ipam.ipv4_address),
                ("ip6", ip) => ip.clone_into(&mut ipam.ipv6_address),
                ("mac-address", mac) => mac.clone_into(&mut endpoint.mac_address),
                ("driver-opt", pair) => {
                    endpoint.driver_opts.extend(values::key_values(&[pair.to_owned()]));
                }
                (key, _) => {
                    return Err(Error::Usage(format!(
                        "invalid field key {key:?} in --network {network:?}"
                    )));
                }
            }
        }
        endpoint.ipam_config = (ipam != EndpointIpamConfig::default()).then_some(ipam);
        networking.endpoints_config.insert(network_name(network), endpoint);
    }
    let stray = args.network.is_empty()
        && (args.ip.is_some() || !args.network_alias.is_empty() || args.mac_address.is_some());
    if stray {
        let endpoint = EndpointSettings {
            aliases: args.network_alias.clone().into(),
            mac_address: args.mac_address.clone().unwrap_or_default(),
            ipam_config: args.ip.as_ref().map(|ip| EndpointIpamConfig {
                ipv4_address: ip.clone(),
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        };
        networking.endpoints_config.insert("default".to_owned(), endpoint);
    }
    Ok(networking)
}

/// The network's name in the long form `name=NET,alias=...` or the short one.
fn network_name(text: &str) -> String {
    let long = text.split(',').find_map(|option| option.strip_prefix("name="));
    long.unwrap_or(text).to_owned()
}

/// Reads `--restart`.
pub(crate) fn restart(text: &str) -> Result<RestartPolicy> {
    let (name, count) = match text.split_once(':') {
        Some((name, count)) => {
            let count = count.parse().map_err(|_| {
                Error::Usage(
                    "invalid restart policy format: maximum retry count must be an integer"
                        .to_owned(),
                )
            })?;
            (name, count)
        }
        None => (text, 0),
    };
    let name = if name.is_empty() { "no" } else { name };
    if !matches!(name, "no" | "always" | "unless-stopped" | "on-failure") {
        return Err(Error::Usage(format!(
            "invalid restart policy {name:?}: use one of no, always, on-failure or unless-stopped"
        )));
    }
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count: count })
}

/// A seccomp profile goes to the engine as its content.
fn security_option(option: &str) -> Result<String> {
    let Some(path) = option.strip_prefix("seccomp=").or(option.strip_prefix("seccomp:")) else {
        return Ok(option.to_owned());
    };
    if matches!(path, "unconfined" | "builtin") {
        return Ok(format!("seccomp={path}"));
    }
    let text = std::fs::read_to_string(path)
        .map_err(Error::io(format!("open the seccomp profile {path}")))?;
    let profile: serde_json::Value = serde_json::from_str(&text)
        .map_err(|err| Error::Usage(format!("the seccomp profile {path} is no JSON: {err}")))?;
    Ok(format!("seccomp={profile}"))
}

fn extra_host(text: &str) -> Result<String> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    match split {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => {
            Ok(format!("{name}:{}", address.trim_start_matches('[').trim_end_matches(']')))
        }
        _ => Err(Error::Usage(format!("bad format for add-host: {text:?}: give HOST:IP"))),
    }
}
