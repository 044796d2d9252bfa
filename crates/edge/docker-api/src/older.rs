//! What clients of older API versions ask for: a field that their version did not have is not looked
//! at, and what they say nothing of is as it was then. In the order of the versions, as in the API's
//! own history; what answers had is in `legacy`.

use std::collections::BTreeMap;

use docker::{CreateRequest, EndpointSettings, container::UpdateRequest};

use crate::{error::Error, machine, version::Version};

/// A request for a container, as its version meant it. With what is to be said of it.
pub(crate) fn create(request: &mut CreateRequest, version: Version) -> Result<Vec<String>, Error> {
    let host = &mut request.host_config;
    if version < Version(25) {
        host.auto_remove = false;
    }
    if version < Version(40) {
        for bind in host.mounts.iter_mut().filter_map(|mount| mount.bind_options.as_mut()) {
            bind.non_recursive = false;
        }
        if host.ipc_mode.is_empty() {
            "shareable".clone_into(&mut host.ipc_mode);
        }
    }
    // Of the machine's trees of v1 these clients know where they are.
    if version < Version(41) && host.cgroupns_mode.is_empty() && !machine::has_cgroup_v2() {
        "host".clone_into(&mut host.cgroupns_mode);
    }
    if version < Version(42) {
        for mount in host.mounts.iter_mut() {
            if let Some(bind) = &mut mount.bind_options {
                bind.create_mountpoint = false;
            }
            if mount.kind != "volume" {
                mount.volume_options = None;
            }
            if mount.kind != "tmpfs" {
                mount.tmpfs_options = None;
            }
        }
        host.console_size = [0, 0];
    }
    if version < Version(43) {
        host.annotations = docker::Map::default();
    }
    if version < Version(44) {
        if let Some(check) = &mut request.config.healthcheck {
            check.start_interval = 0;
        }
        let forced = host.mounts.iter().filter_map(|mount| mount.bind_options.as_ref());
        if forced.into_iter().any(|bind| bind.read_only_force_recursive) {
            let why = "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer";
            return Err(Error::invalid(why));
        }
        let endpoints = &request.networking_config.endpoints_config;
        if endpoints.len() > 1 {
            let names: Vec<&str> = endpoints.keys().map(String::as_str).collect();
            return Err(Error::invalid(format!(
                "Container cannot be created with multiple network endpoints: {}",
                names.join(", ")
            )));
        }
    }
    if version < Version(45) {
        let mut volumes = host.mounts.iter().filter_map(|mount| mount.volume_options.as_ref());
        if volumes.any(|volume| !volume.subpath.is_empty()) {
            return Err(Error::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
    }
    if version < Version(48) {
        for endpoint in request.networking_config.endpoints_config.values_mut() {
            endpoint.gw_priority = 0;
        }
        if host.mounts.iter().any(|mount| mount.kind == "image") {
            return Err(Error::invalid("Mount type \"Image\" needs API v1.48 or newer"));
        }
    }
    let mut warnings: Vec<String> = mac_address(request, version)?.into_iter().collect();
    warnings.extend(interface_sysctls(request, version)?);
    Ok(warnings)
}

/// Whether read-only mounts are so alone, without those below them.
pub(crate) fn read_only_is_shallow(version: Version) -> bool {
    version < Version(44)
}

/// A change of a container, as its version meant it.
pub(crate) fn update(request: &mut UpdateRequest, version: Version) {
    if version < Version(40) {
        request.resources.pids_limit = None;
    }
}

/// A process that is to be executed, as its version meant it.
pub(crate) fn exec(console_size: &mut Option<[u32; 2]>, version: Version) {
    if version < Version(42) {
        *console_size = None;
    }
}

/// The address of a container as a whole was given to the one network that there could be.
fn mac_address(request: &mut CreateRequest, version: Version) -> Result<Option<String>, Error> {
    let endpoints = &mut request.networking_config.endpoints_config;
    let mac = request.config.mac_address.clone();
    if mac.is_empty() {
        if version < Version(44) {
            endpoints.values_mut().for_each(|endpoint| endpoint.mac_address.clear());
        }
        return Ok(None);
    }
    let mode = match request.host_config.network_mode.as_str() {
        "" | "default" => "bridge",
        mode => mode,
    };
    let has_networks = !matches!(mode, "host" | "none") && !mode.starts_with("container:");
    if version < Version(44) {
        if !has_networks {
            return Err(Error::invalid("conflicting options: mac-address and the network mode"));
        }
        main_endpoint(endpoints, mode, version)?.mac_address = mac;
        return Ok(None);
    }
    if has_networks {
        let endpoint = main_endpoint(endpoints, mode, version).map_err(|err| {
            let what = "unable to migrate container-wide MAC address to a specific network";
            Error::invalid(format!("{what}: {}", err.message))
        })?;
        if endpoint.mac_address.is_empty() {
            endpoint.mac_address = mac;
        } else if endpoint.mac_address != mac {
            return Err(Error::invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for the \
                 main network, or be left empty",
            ));
        }
    }
    request.config.mac_address.clear();
    Ok(Some(
        "The container-wide MacAddress field is now deprecated. It should be specified in \
         EndpointsConfig instead."
            .into(),
    ))
}

/// The option of a place in a network by which its interface gets parameters of the kernel's.
const ENDPOINT_SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// Parameters of an interface were set with those of the container, before there was one: they become
/// those of its main network's interface, which is called `eth0`.
fn interface_sysctls(
    request: &mut CreateRequest,
    version: Version,
) -> Result<Option<String>, Error> {
    let mode = match request.host_config.network_mode.as_str() {
        "" | "default" => "bridge".to_owned(),
        mode => mode.to_owned(),
    };
    if mode == "host" || mode.starts_with("container:") {
        return Ok(None);
    }
    let (mut keys, mut settings): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for (key, value) in &request.host_config.sysctls {
        let parts: Vec<&str> = key.splitn(5, '.').collect();
        let ["net", family, group, interface, name] = parts[..] else { continue };
        if !interface.starts_with("eth") {
            continue;
        }
        if version >= Version(48) {
            return Err(Error::invalid(format!(
                "interface specific sysctl setting {key:?} must be supplied using driver option \
                 '{ENDPOINT_SYSCTLS}'"
            )));
        }
        if interface != "eth0" {
            return Err(Error::invalid(format!(
                "unable to determine network endpoint for sysctl {key}, use driver option \
                 '{ENDPOINT_SYSCTLS}' to set per-interface sysctls"
            )));
        }
        settings.push(format!("net.{family}.{group}.IFNAME.{name}={value}"));
        keys.push(key.clone());
    }
    let Some(first) = keys.first() else { return Ok(None) };
    let endpoints = &mut request.networking_config.endpoints_config;
    let endpoint = main_endpoint(endpoints, &mode, version).map_err(|err| {
        Error::invalid(format!("unable to find a network for sysctl {first}: {}", err.message))
    })?;
    let mut text = settings.join(",");
    let warning = format!(
        "Migrated sysctl {:?} to DriverOpts{{{ENDPOINT_SYSCTLS:?}:{text:?}}}.",
        keys.join(",")
    );
    // What was said of the place itself comes last, and wins.
    if let Some(own) = endpoint.driver_opts.get(ENDPOINT_SYSCTLS) {
        text = format!("{text},{own}");
    }
    endpoint.driver_opts.insert(ENDPOINT_SYSCTLS.to_owned(), text);
    request.host_config.sysctls.retain(|key, _| !keys.contains(key));
    Ok(Some(warning))
}

/// What is said of the network that the mode names.
fn main_endpoint<'a>(
    endpoints: &'a mut BTreeMap<String, EndpointSettings>,
    mode: &str,
    version: Version,
) -> Result<&'a mut EndpointSettings, Error> {
    let key = if endpoints.is_empty() || endpoints.contains_key(mode) {
        mode.to_owned()
    } else if mode == "bridge" && endpoints.contains_key("default") {
        "default".to_owned()
    } else if version < Version(44) {
        endpoints.keys().next().cloned().unwrap_or_else(|| mode.to_owned())
    } else {
        return Err(Error::invalid(
            "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks",
        ));
    };
    Ok(endpoints.entry(key).or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a request becomes, or why it is refused.
    fn asked(json: &str, version: u32) -> Result<(CreateRequest, Vec<String>), String> {
        let mut request = serde_json::from_str(json).unwrap();
        let warnings = create(&mut request, Version(version)).map_err(|err| err.message)?;
        Ok((request, warnings))
    }

    #[test]
    fn what_a_version_did_not_have_is_not_looked_at() {
        let json = r#"{"HostConfig": {"AutoRemove": true, "Annotations": {"a": "b"},
            "Mounts": [{"Type": "bind", "BindOptions": {"NonRecursive": true, "CreateMountpoint": true}}]}}"#;
        let of = |version| {
            let host = asked(json, version).unwrap().0.host_config;
            let bind = host.mounts[0].bind_options.clone().unwrap();
            (
                host.auto_remove,
                host.ipc_mode,
                bind.non_recursive,
                bind.create_mountpoint,
                host.annotations.len(),
            )
        };
        assert_eq!(of(24), (false, "shareable".into(), false, false, 0));
        assert_eq!(of(39), (true, "shareable".into(), false, false, 0));
        assert_eq!(of(41), (true, String::new(), true, false, 0));
        assert_eq!(of(42), (true, String::new(), true, true, 0));
        assert_eq!(of(43), (true, String::new(), true, true, 1));
    }

    #[test]
    fn what_would_mean_something_else_is_refused() {
        let refused = |json: &str, version| asked(json, version).unwrap_err();
        let two = r#"{"NetworkingConfig": {"EndpointsConfig": {"b": {}, "a": {}}}}"#;
        assert_eq!(
            refused(two, 43),
            "Container cannot be created with multiple network endpoints: a, b"
        );
        assert!(asked(two, 44).is_ok());
        let mount = |inside: &str| format!(r#"{{"HostConfig": {{"Mounts": [{{{inside}}}]}}}}"#);
        assert_eq!(
            refused(&mount(r#""Type": "volume", "VolumeOptions": {"Subpath": "a"}"#), 44),
            "VolumeOptions.Subpath needs API v1.45 or newer"
        );
        assert_eq!(
            refused(&mount(r#""Type": "image""#), 47),
            "Mount type \"Image\" needs API v1.48 or newer"
        );
        assert_eq!(
            refused(
                &mount(r#""Type": "bind", "BindOptions": {"ReadOnlyForceRecursive": true}"#),
                43
            ),
            "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"
        );
    }

    #[test]
    fn parameters_of_an_interface_become_those_of_a_place_in_a_network() {
        let json = |name: &str| {
            format!(
                r#"{{"HostConfig": {{"Sysctls": {{"net.ipv4.conf.{name}.forwarding": "0", "a.b": "c"}}}}}}"#
            )
        };
        let (request, warnings) = asked(&json("eth0"), 47).unwrap();
        let options = &request.networking_config.endpoints_config["bridge"].driver_opts;
        assert_eq!(options[ENDPOINT_SYSCTLS], "net.ipv4.conf.IFNAME.forwarding=0");
        assert_eq!(request.host_config.sysctls.keys().collect::<Vec<_>>(), ["a.b"]);
        assert_eq!(
            warnings,
            [
                r#"Migrated sysctl "net.ipv4.conf.eth0.forwarding" to DriverOpts{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.forwarding=0"}."#
            ]
        );
        let refused = |name, version| asked(&json(name), version).unwrap_err();
        assert!(refused("eth0", 48).starts_with("interface specific sysctl setting \"net.ipv4"));
        assert!(refused("eth1", 47).starts_with("unable to determine network endpoint for sysctl"));
        let (request, warnings) = asked(&json("all"), 48).unwrap();
        assert_eq!((request.host_config.sysctls.len(), warnings.len()), (2, 0));
    }

    #[test]
    fn the_address_of_a_container_becomes_that_of_its_main_network() {
        let mac = "02:42:ac:11:00:02";
        let json = format!(r#"{{"MacAddress": "{mac}", "HostConfig": {{"NetworkMode": "n"}}}}"#);
        let (request, warnings) = asked(&json, 43).unwrap();
        assert_eq!(request.networking_config.endpoints_config["n"].mac_address, mac);
        assert_eq!((request.config.mac_address.as_str(), warnings.len()), (mac, 0));
        let (request, warnings) = asked(&json, 44).unwrap();
        assert_eq!(request.networking_config.endpoints_config["n"].mac_address, mac);
        assert_eq!((request.config.mac_address.as_str(), warnings.len()), ("", 1));
        let with = |more: &str| {
            format!(
                r#"{{"MacAddress": "{mac}", "HostConfig": {{"NetworkMode": "n"}},
                    "NetworkingConfig": {{"EndpointsConfig": {{{more}}}}}}}"#
            )
        };
        assert!(
            asked(&with(r#""other": {}"#), 44)
                .unwrap_err()
                .ends_with("must match the identity of a network in NetworkSettings.Networks")
        );
        assert!(
            asked(&with(r#""n": {"MacAddress": "02:42:ac:11:00:03"}"#), 44)
                .unwrap_err()
                .starts_with("the container-wide MAC address must match")
        );
        let host = format!(r#"{{"MacAddress": "{mac}", "HostConfig": {{"NetworkMode": "host"}}}}"#);
        assert_eq!(
            asked(&host, 43).unwrap_err(),
            "conflicting options: mac-address and the network mode"
        );
    }
}
