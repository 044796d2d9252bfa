//! What older API versions had that the newest has not, and the other way round.

use docker::{
    ContainerInspect, event, image,
    system::{DiskUsage, Info},
};
use serde_json::{Map, Value, json};

use crate::{call::to_value, error::Error, version::Version};

/// `GET /containers/ID/json`, with what v1.52 took away: the default bridge's endpoint beside those
/// in `Networks`. A client that takes the newest version without knowing it (docker-py) looks there.
pub(crate) fn container(inspect: &ContainerInspect, version: Version) -> Result<Value, Error> {
    let mut value = to_value(inspect)?;
    if version < Version(45) {
        add_names(&mut value, inspect);
    }
    if version < Version(48)
        && let Some(fields) = value.as_object_mut()
    {
        fields.remove("ImageManifestDescriptor");
    }
    let bridge = inspect.network_settings.networks.get("bridge").cloned().unwrap_or_default();
    if let Some(settings) = value.get_mut("NetworkSettings").and_then(Value::as_object_mut) {
        let more = json!({
            "Bridge": "",
            "HairpinMode": false,
            "LinkLocalIPv6Address": "",
            "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": null,
            "SecondaryIPv6Addresses": null,
            "EndpointID": bridge.endpoint_id,
            "Gateway": bridge.gateway,
            "GlobalIPv6Address": bridge.global_ipv6_address,
            "GlobalIPv6PrefixLen": bridge.global_ipv6_prefix_len,
            "IPAddress": bridge.ip_address,
            "IPPrefixLen": bridge.ip_prefix_len,
            "IPv6Gateway": bridge.ipv6_gateway,
            "MacAddress": bridge.mac_address,
        });
        extend(settings, more);
    }
    if let Some(config) = value.get_mut("Config").and_then(Value::as_object_mut) {
        config.entry("OnBuild").or_insert(Value::Null);
    }
    Ok(value)
}

/// Up to v1.44 what a container is called in a network that people made was among its aliases.
fn add_names(value: &mut Value, inspect: &ContainerInspect) {
    let networks = value.pointer_mut("/NetworkSettings/Networks").and_then(Value::as_object_mut);
    for (name, endpoint) in networks.into_iter().flatten() {
        let is_user_defined =
            !matches!(name.as_str(), "default" | "bridge" | "host" | "none") && !name.contains(':');
        let Some(settings) =
            inspect.network_settings.networks.get(name).filter(|_| is_user_defined)
        else {
            continue;
        };
        let mut aliases = settings.aliases.to_vec();
        for own in [inspect.id.get(..12).unwrap_or_default(), &inspect.config.hostname] {
            if !own.is_empty() && !aliases.iter().any(|alias| alias == own) {
                aliases.push(own.to_owned());
            }
        }
        endpoint["Aliases"] = json!(aliases);
    }
}

/// `GET /containers/json` for a version.
pub(crate) fn summaries(
    mut list: Vec<docker::ContainerSummary>,
    version: Version,
) -> Vec<docker::ContainerSummary> {
    for summary in &mut list {
        if version < Version(46) {
            summary.host_config.annotations = docker::Map::default();
        }
        if version < Version(48) {
            summary.image_manifest_descriptor = None;
        }
        if version < Version(52) {
            summary.health = None;
        }
    }
    list
}

/// An event for a version.
pub(crate) fn event(mut event: event::Message, version: Version) -> event::Message {
    if version >= Version(52) {
        event.status.clear();
        event.id.clear();
        event.from.clear();
    } else if event.kind == "image" || event.kind == "container" {
        event.status.clone_from(&event.action);
        event.id.clone_from(&event.actor.id);
    }
    event
}

/// `GET /info` for a version: what it had that went, and without what came after it.
pub(crate) fn info(info: &Info, version: Version) -> Result<Value, Error> {
    let mut value = to_value(info)?;
    let Some(fields) = value.as_object_mut() else { return Ok(value) };
    if version < Version(25)
        && let Some(options) = fields.get_mut("SecurityOptions").and_then(Value::as_array_mut)
    {
        // Their names alone.
        for option in options {
            let name = option.as_str().and_then(|text| text.strip_prefix("name="));
            if let Some(name) = name.and_then(|text| text.split(',').next()) {
                *option = json!(name);
            }
        }
    }
    if version < Version(47)
        && let Some(registries) = fields.get_mut("RegistryConfig").and_then(Value::as_object_mut)
    {
        let more = json!({
            "AllowNondistributableArtifactsCIDRs": null,
            "AllowNondistributableArtifactsHostnames": null,
        });
        extend(registries, more);
    }
    if version < Version(49) {
        fields.remove("FirewallBackend");
        for name in ["ContainerdCommit", "RuncCommit", "InitCommit"] {
            // Absent where it is empty.
            if let Some(commit) = fields.get_mut(name)
                && commit["ID"] != ""
            {
                commit["Expected"] = commit["ID"].clone();
            }
        }
    }
    if version < Version(50) {
        fields.remove("DiscoveredDevices");
        extend(fields, json!({ "BridgeNfIptables": false, "BridgeNfIp6tables": false }));
    }
    Ok(value)
}

/// `GET /system/df` for a version: up to v1.51 whole lists, from v1.52 on sums of each kind, with
/// the lists in them on request. v1.52 itself has both, and so have we from then on: there are
/// clients that take the newest version without knowing it.
pub(crate) fn disk_usage(
    usage: &DiskUsage,
    active_layers: u64,
    version: Version,
    verbose: bool,
) -> Result<Value, Error> {
    let mut old = to_value(usage)?;
    if version < Version(44) {
        let images = old.get_mut("Images").and_then(Value::as_array_mut);
        for one in images.into_iter().flatten().filter_map(Value::as_object_mut) {
            one.insert("VirtualSize".to_owned(), one["Size"].clone());
        }
    }
    if version < Version(52) {
        return Ok(old);
    }
    let mut value = if verbose { json!({}) } else { old.clone() };
    let used = |image: &image::Summary| image.containers > 0;
    let images: Vec<(bool, i64)> = usage.images.iter().map(|one| (used(one), one.size)).collect();
    let containers: Vec<(bool, i64)> = usage
        .containers
        .iter()
        .map(|one| (one.state == "running" || one.state == "paused", one.size_rw.unwrap_or(0)))
        .collect();
    let volumes: Vec<(bool, i64)> = usage
        .volumes
        .iter()
        .map(|one| one.usage_data.clone().unwrap_or_default())
        .map(|data| (data.ref_count > 0, data.size))
        .collect();
    // What images have as well is theirs.
    let cache = usage.build_cache.iter();
    let cache = cache.map(|one| (one.in_use || one.shared, one.size)).collect();
    let kinds = [
        ("ImageUsage", "Images", images),
        ("ContainerUsage", "Containers", containers),
        ("VolumeUsage", "Volumes", volumes),
        ("BuildCacheUsage", "BuildCache", cache),
    ];
    for (name, list, sizes) in kinds {
        if old[list].is_null() {
            continue;
        }
        // What containers and volumes say of themselves: files with holes are as large as they like.
        let sum = |all: i64, (_, size): &(bool, i64)| all.saturating_add(*size);
        let mut total = sizes.iter().fold(0, sum);
        let mut active = sizes.iter().filter(|(used, _)| *used).fold(0, sum);
        if list == "Images" {
            // Layers that several have count once.
            (total, active) = (usage.layers_size, active_layers as i64);
        }
        let mut kind = json!({
            "ActiveCount": sizes.iter().filter(|(used, _)| *used).count(),
            "TotalCount": sizes.len(),
            "Reclaimable": total - active,
            "TotalSize": total,
        });
        if verbose {
            kind["Items"] = old[list].clone();
        }
        value[name] = kind;
    }
    Ok(value)
}

/// `GET /images/json` for a version.
pub(crate) fn images(list: &[image::Summary], version: Version) -> Result<Value, Error> {
    let mut value = to_value(&list)?;
    for one in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        if version < Version(44) {
            one.insert("VirtualSize".to_owned(), one["Size"].clone());
        }
        if version < Version(51) {
            one.insert("Containers".to_owned(), json!(-1));
        }
    }
    Ok(value)
}

/// `GET /images/NAME/json` for a version. `config` is the image's own, without what is empty.
pub(crate) fn image(
    inspect: &image::Inspect,
    config: Value,
    version: Version,
) -> Result<Value, Error> {
    let mut value = to_value(inspect)?;
    let Some(image) = value.as_object_mut() else { return Ok(value) };
    let mut full = json!({});
    if let Some(full) = full.as_object_mut() {
        if version < Version(50) {
            extend(
                full,
                json!({
                    "Hostname": "", "Domainname": "", "Image": "", "AttachStdin": false,
                    "AttachStdout": false, "AttachStderr": false, "Tty": false, "OpenStdin": false,
                    "StdinOnce": false,
                }),
            );
        }
        if version < Version(52) {
            extend(
                full,
                json!({
                    "Cmd": null, "Entrypoint": null, "Env": null, "Labels": null, "OnBuild": null,
                    "User": "", "Volumes": null, "WorkingDir": "",
                }),
            );
        }
        extend(full, config);
        // Of what v1.52 took away, a client that takes the newest version without knowing it (docker-py) looks
        // for this.
        full.entry("OnBuild").or_insert(Value::Null);
    }
    image.insert("Config".to_owned(), full);
    if version < Version(45) {
        let mut config = json!(docker::ContainerConfig::default());
        config["OnBuild"] = Value::Null;
        image.insert("ContainerConfig".to_owned(), config);
    }
    if version < Version(44) {
        image.insert("VirtualSize".to_owned(), image["Size"].clone());
    }
    if version >= Version(52) {
        for key in ["Parent", "Comment", "DockerVersion", "Author"] {
            if image.get(key).is_some_and(|value| value == "") {
                image.remove(key);
            }
        }
    }
    Ok(value)
}

fn extend(object: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        object.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use docker::system::{Commit, FirewallInfo};

    use super::*;

    #[test]
    fn events_of_images_said_it_twice() {
        let actor = event::Actor { id: "sha256:0".into(), ..event::Actor::default() };
        let told = event::Message {
            kind: "image".into(),
            action: "tag".into(),
            actor,
            ..event::Message::default()
        };
        let of = |version| {
            let shown = event(told.clone(), Version(version));
            (shown.status, shown.id)
        };
        assert_eq!(of(51), ("tag".into(), "sha256:0".into()));
        assert_eq!(of(52), (String::new(), String::new()));
        let network = event::Message { kind: "network".into(), ..told.clone() };
        assert_eq!(event(network, Version(51)).status, "");
    }

    #[test]
    fn images_had_two_sizes() {
        let image = image::Summary { size: 7, ..image::Summary::default() };
        let usage = DiskUsage { images: vec![image].into(), ..DiskUsage::default() };
        let of = |version| {
            let shown = disk_usage(&usage, 0, Version(version), false).unwrap();
            shown["Images"][0].get("VirtualSize").cloned()
        };
        assert_eq!((of(43), of(44)), (Some(json!(7)), None));
    }

    #[test]
    fn what_is_said_of_an_engine_is_what_a_version_knows() {
        let said = Info {
            runc_commit: Commit { id: "0.1".into() },
            firewall_backend: Some(FirewallInfo::default()),
            security_options: vec!["name=seccomp,profile=builtin".to_owned()].into(),
            registry_config: Some(docker::system::RegistryConfig::default()),
            ..Info::default()
        };
        let of = |version| {
            let value = info(&said, Version(version)).unwrap();
            let hosts = value["RegistryConfig"].get("AllowNondistributableArtifactsHostnames");
            (
                hosts.is_some(),
                value["RuncCommit"].get("Expected").cloned(),
                value.get("FirewallBackend").is_some(),
                value.get("BridgeNfIptables").cloned(),
            )
        };
        assert_eq!(of(46), (true, Some(json!("0.1")), false, Some(json!(false))));
        assert_eq!(of(48), (false, Some(json!("0.1")), false, Some(json!(false))));
        assert_eq!(of(49), (false, None, true, Some(json!(false))));
        assert_eq!(of(50), (false, None, true, None));
        let options = |version| info(&said, Version(version)).unwrap()["SecurityOptions"].clone();
        assert_eq!(options(24), json!(["seccomp"]));
        assert_eq!(options(25), json!(["name=seccomp,profile=builtin"]));
        let none = Info::default();
        assert_eq!(info(&none, Version(48)).unwrap()["RuncCommit"].get("Expected"), None);
    }
}
