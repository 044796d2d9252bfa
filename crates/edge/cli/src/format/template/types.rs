//! What JSON does not tell of the types that Docker's client reads it into. Its templates walk those
//! types, so a field that an engine left out is there and empty, one that the type does not have is an
//! error, and a key that a map does not have is neither.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// The fields that are maps: any key may be asked for.
const MAPS: &[&str] = &[
    "Annotations",
    "Attributes",
    "AuxiliaryAddresses",
    "Containers",
    "Data",
    "Details",
    "DriverOpts",
    "ExposedPorts",
    "IndexConfigs",
    "Labels",
    "LogConfig.Config",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "StorageOpt",
    "Subnets",
    "Sysctls",
    "Tmpfs",
    "Volumes",
    "annotations",
];

/// The fields that are lists, and may be null.
const LISTS: &[&str] = &[
    "Aliases",
    "Args",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DNSNames",
    "DefaultAddressPools",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "DiscoveredDevices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "DriverStatus",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GenericResources",
    "GroupAdd",
    "Layers",
    "LinkLocalIPs",
    "Links",
    "Log",
    "Manifests",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
    "Secrets",
    "SecurityOpt",
    "SecurityOptions",
    "Shell",
    "Test",
    "Ulimits",
    "VolumesFrom",
    "Warnings",
];

/// What is left out where it is null: a list, a map or a pointer.
const NIL: &[&str] = &[
    "Annotations",
    "AuxiliaryAddresses",
    "BindOptions",
    "ClusterVolume",
    "Cmd",
    "DefaultAddressPools",
    "Descriptor",
    "Details",
    "DiscoveredDevices",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "FirewallBackend",
    "GraphDriver",
    "Health",
    "Healthcheck",
    "Identity",
    "ImageManifestDescriptor",
    "ImageOptions",
    "Init",
    "Labels",
    "Layers",
    "LinkLocalIPs",
    "Manifests",
    "Mounts",
    "OnBuild",
    "Options",
    "Secrets",
    "Shell",
    "SizeRootFs",
    "SizeRw",
    "StopTimeout",
    "Storage",
    "StorageOpt",
    "Sysctls",
    "Test",
    "Tmpfs",
    "TmpfsOptions",
    "UsageData",
    "VolumeOptions",
    "Volumes",
];

/// What is left out where it is an empty text.
const TEXTS: &[&str] = &[
    "Author",
    "BuildTime",
    "CgroupVersion",
    "Comment",
    "Created",
    "CreatedAt",
    "DockerVersion",
    "Driver",
    "Gateway",
    "Host",
    "IPRange",
    "IPv4Address",
    "IPv6Address",
    "LastTagTime",
    "MacAddress",
    "Name",
    "OsVersion",
    "Parent",
    "ProductLicense",
    "Runtime",
    "StopSignal",
    "Subnet",
    "Type",
    "User",
    "Variant",
    "WorkingDir",
];

/// What is left out where it is 0.
const NUMBERS: &[&str] = &[
    "Interval",
    "KernelMemory",
    "KernelMemoryTCP",
    "Retries",
    "StartInterval",
    "StartPeriod",
    "Timeout",
];

/// What is left out where it is false.
const BOOLS: &[&str] = &["ArgsEscaped", "Experimental", "NetworkDisabled"];

/// Structs that are printed whole now and then: a field that only they have, and all in Go's order.
const STRUCTS: &[(&str, &[&str])] = &[
    ("HostPort", &["HostIp", "HostPort"]),
    ("MaximumRetryCount", &["Name", "MaximumRetryCount"]),
    ("Config", &["Type", "Config"]),
    ("Layers", &["Type", "Layers"]),
    (
        "Propagation",
        &["Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"],
    ),
    (
        "OOMKilled",
        &[
            "Status",
            "Running",
            "Paused",
            "Restarting",
            "OOMKilled",
            "Dead",
            "Pid",
            "ExitCode",
            "Error",
            "StartedAt",
            "FinishedAt",
            "Health",
        ],
    ),
    ("EndpointID", &["Name", "EndpointID", "MacAddress", "IPv4Address", "IPv6Address"]),
];

/// The fields of an object in Go's order, if it is a struct that is known.
pub(super) fn order(map: &Map<String, Value>) -> Option<&'static [&'static str]> {
    let is = |fields: &[&str]| map.keys().all(|key| fields.contains(&key.as_str()));
    let found = STRUCTS.iter().find(|(own, fields)| map.contains_key(*own) && is(fields));
    found.map(|(_, fields)| *fields)
}

/// Whether a field is a map.
pub(super) fn is_map(name: &str) -> bool {
    MAPS.contains(&name)
}

/// How Go prints a field that is null.
pub(super) fn nil(name: &str) -> &'static str {
    if is_map(name) {
        "map[]"
    } else if LISTS.contains(&name) {
        "[]"
    } else {
        "<nil>"
    }
}

/// A field of a struct, by its name in Go. That differs from the name in JSON in the case of its
/// letters only: `ID` is `Id`, `HostIP` is `HostIp`, `TimeNano` is `timeNano`.
pub(super) fn field<'a>(map: &'a Map<String, Value>, name: &str) -> Option<Cow<'a, Value>> {
    if let Some(value) = map.get(name) {
        return Some(Cow::Borrowed(value));
    }
    if name.starts_with(|c: char| c.is_ascii_uppercase())
        && let Some((_, value)) = map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))
    {
        return Some(Cow::Borrowed(value));
    }
    let empty = if NIL.contains(&name) {
        Value::Null
    } else if TEXTS.contains(&name) {
        "".into()
    } else if NUMBERS.contains(&name) {
        0.into()
    } else if BOOLS.contains(&name) {
        false.into()
    } else {
        return None;
    };
    Some(Cow::Owned(empty))
}
