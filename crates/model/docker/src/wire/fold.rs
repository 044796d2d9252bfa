//! Keys as Go's decoder takes them: in any case, and the last of several.
//!
//! `encoding/json` finds a struct's field whatever the case of its letters, and of two values for one
//! field takes the later; clients have come to count on both. Keys that are a person's own (labels, say)
//! stay as they are.

/// The names of all fields in requests, sorted as if they were lower case.
const NAMES: &[&str] = &[
    "Aliases",
    "Annotations",
    "architecture",
    "ArgsEscaped",
    "Attachable",
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "Attrs",
    "auth",
    "AutoRemove",
    "AuxiliaryAddresses",
    "BindOptions",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeight",
    "BlkioWeightDevice",
    "Capabilities",
    "CapAdd",
    "CapDrop",
    "Cgroup",
    "CgroupnsMode",
    "CgroupParent",
    "CgroupPermissions",
    "Changes",
    "Cmd",
    "Config",
    "ConfigFrom",
    "ConfigOnly",
    "Consistency",
    "ConsoleSize",
    "Container",
    "ContainerIDFile",
    "Count",
    "CpuCount",
    "CpuPercent",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetCpus",
    "CpusetMems",
    "CpuShares",
    "CreateMountpoint",
    "Data",
    "Detach",
    "DetachKeys",
    "DeviceCgroupRules",
    "DeviceIDs",
    "DeviceRequests",
    "Devices",
    "DevicesRemove",
    "Dns",
    "DNSNames",
    "DnsOptions",
    "DnsSearch",
    "Domainname",
    "Driver",
    "DriverConfig",
    "DriverOpts",
    "email",
    "EnableIPv4",
    "EnableIPv6",
    "EndpointConfig",
    "EndpointID",
    "EndpointsConfig",
    "Entrypoint",
    "Env",
    "EnvRemove",
    "ExposedPorts",
    "ExtraHosts",
    "Force",
    "Gateway",
    "GID",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "GroupAdd",
    "GwPriority",
    "Hard",
    "Healthcheck",
    "HostConfig",
    "HostIp",
    "Hostname",
    "HostPort",
    "identitytoken",
    "IDMapping",
    "Image",
    "ImageOptions",
    "Ingress",
    "Init",
    "Internal",
    "Interval",
    "IOMaximumBandwidth",
    "IOMaximumIOps",
    "IPAddress",
    "IPAM",
    "IPAMConfig",
    "IpcMode",
    "IPPrefixLen",
    "IPRange",
    "IPv4Address",
    "IPv6Address",
    "IPv6Gateway",
    "Isolation",
    "KernelMemory",
    "Labels",
    "LabelsRemove",
    "LinkLocalIPs",
    "Links",
    "LogConfig",
    "MacAddress",
    "MaskedPaths",
    "MaximumRetryCount",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "Mode",
    "Mounts",
    "MountsRemove",
    "Name",
    "NanoCpus",
    "Network",
    "NetworkDisabled",
    "NetworkID",
    "NetworkingConfig",
    "NetworkMode",
    "NoCopy",
    "NonRecursive",
    "OnBuild",
    "OomKillDisable",
    "OomScoreAdj",
    "OpenStdin",
    "Options",
    "os",
    "os.features",
    "os.version",
    "password",
    "Path",
    "PathInContainer",
    "PathOnHost",
    "PidMode",
    "PidsLimit",
    "PortBindings",
    "Privileged",
    "Propagation",
    "Publish",
    "PublishAllPorts",
    "PublishRemove",
    "Rate",
    "ReadOnly",
    "ReadOnlyForceRecursive",
    "ReadOnlyNonRecursive",
    "ReadonlyPaths",
    "ReadonlyRootfs",
    "registrytoken",
    "RestartPolicy",
    "Retries",
    "Runtime",
    "Scope",
    "Secrets",
    "SecurityOpt",
    "serveraddress",
    "Shell",
    "ShmSize",
    "SizeBytes",
    "Soft",
    "Source",
    "StartInterval",
    "StartPeriod",
    "StdinOnce",
    "StopSignal",
    "StopTimeout",
    "StorageOpt",
    "Subnet",
    "Subpath",
    "Sysctls",
    "Target",
    "Templating",
    "Test",
    "Timeout",
    "Tmpfs",
    "TmpfsOptions",
    "Tty",
    "Type",
    "UID",
    "Ulimits",
    "User",
    "username",
    "UsernsMode",
    "UTSMode",
    "variant",
    "VolumeDriver",
    "VolumeOptions",
    "Volumes",
    "VolumesFrom",
    "Weight",
    "WorkingDir",
];

/// Fields whose objects have keys of people's own.
const MAPS: &[&str] = &[
    "Annotations",
    "Attrs",
    "AuxiliaryAddresses",
    "Config",
    "DriverOpts",
    "EndpointsConfig",
    "ExposedPorts",
    "Labels",
    "Options",
    "PortBindings",
    "Publish",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Deeper than this nothing is read anyway: `serde_json`'s limit.
const MAX_DEPTH: usize = 128;

/// What the scan is in.
#[derive(Debug)]
enum Frame {
    Array,
    Object {
        /// The keys are a person's own.
        own: bool,
        at_key: bool,
        /// The fields so far: which name, and where its key is.
        seen: Vec<(usize, usize)>,
    },
}

/// Gives the keys of a JSON document, as a client has written it, the case in which they are known, and
/// makes all but the last of several for one field keys of no field. What is no JSON stays none.
pub fn fold_keys(json: &mut [u8]) {
    let mut frames: Vec<Frame> = Vec::new();
    let mut own_next = false;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => {
                let start = at + 1;
                let Some(length) = string(&json[start..]) else { return };
                at = start + length;
                if let Some(Frame::Object { own, at_key, seen }) = frames.last_mut()
                    && std::mem::take(at_key)
                {
                    own_next = !*own && field(json, start, length, seen);
                }
            }
            b'{' | b'[' => {
                if frames.len() == MAX_DEPTH {
                    return;
                }
                let own = std::mem::take(&mut own_next) && byte == b'{';
                frames.push(if byte == b'{' {
                    Frame::Object { own, at_key: true, seen: Vec::new() }
                } else {
                    Frame::Array
                });
            }
            b'}' | b']' => drop(frames.pop()),
            b',' => {
                own_next = false;
                if let Some(Frame::Object { at_key, .. }) = frames.last_mut() {
                    *at_key = true;
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// How long a string is that has begun, without its end.
fn string(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match rest.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Puts a key right. Whether what follows has keys of a person's own.
fn field(json: &mut [u8], start: usize, length: usize, seen: &mut Vec<(usize, usize)>) -> bool {
    let key = &json[start..start + length];
    if key.len() > 64 {
        return false;
    }
    let compared = |name: &&str| lower(name.as_bytes()).cmp(lower(key));
    let Ok(which) = NAMES.binary_search_by(compared) else { return false };
    let name = NAMES[which];
    json[start..start + length].copy_from_slice(name.as_bytes());
    match seen.iter_mut().find(|(other, _)| *other == which) {
        Some((_, before)) => json[std::mem::replace(before, start)] = b'-',
        None => seen.push((which, start)),
    }
    MAPS.contains(&name)
}

/// A text in lower case. A document has a hundred keys, each of which is compared with eight names: no
/// text is made for that.
fn lower(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        fold_keys(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn names_are_sorted_and_once_there() {
        let lower: Vec<String> = NAMES.iter().map(|name| name.to_ascii_lowercase()).collect();
        assert!(lower.is_sorted_by(|a, b| a < b));
        assert!(MAPS.iter().all(|name| NAMES.contains(name)));
    }

    #[test]
    fn each_name_is_found_in_each_case() {
        let object = |key: &str| format!(r#"{{"{key}":0}}"#);
        for name in NAMES {
            for key in [name.to_ascii_lowercase(), name.to_ascii_uppercase(), (*name).to_owned()] {
                assert_eq!(folded(&object(&key)), object(name), "{key}");
            }
            for other in [format!("{name}x"), format!("x{name}"), format!("{name}_")] {
                assert_eq!(folded(&object(&other)), object(&other));
            }
        }
    }

    #[test]
    fn keys_are_found_in_any_case_and_peoples_own_stay() {
        for (text, want) in [
            (
                r#"{"image":"IMAGE","hostconfig":{"BINDS":[]}}"#,
                r#"{"Image":"IMAGE","HostConfig":{"Binds":[]}}"#,
            ),
            (
                r#"{"labels":{"image":"x","Image":"y"},"user":"u"}"#,
                r#"{"Labels":{"image":"x","Image":"y"},"User":"u"}"#,
            ),
            (
                r#"{"portbindings":{"80/tcp":[{"hostport":"1"}]}}"#,
                r#"{"PortBindings":{"80/tcp":[{"HostPort":"1"}]}}"#,
            ),
            (r#"{"ipam":{"config":[{"subnet":"x"}]}}"#, r#"{"IPAM":{"Config":[{"Subnet":"x"}]}}"#),
            (r#"{"logconfig":{"config":{"tag":"x"}}}"#, r#"{"LogConfig":{"Config":{"tag":"x"}}}"#),
            (
                r#"[{"type":"local","attrs":{"Dest":"x","name":"y"}}]"#,
                r#"[{"Type":"local","Attrs":{"Dest":"x","name":"y"}}]"#,
            ),
            (
                r#"{"OS":"linux","Architecture":"arm64"}"#,
                r#"{"os":"linux","architecture":"arm64"}"#,
            ),
            (
                r#"{"Image":"a","Image":"b","IMAGE":"c"}"#,
                r#"{"-mage":"a","-mage":"b","Image":"c"}"#,
            ),
            (r#"{"a\"image":"image", "x":["image"]}"#, r#"{"a\"image":"image", "x":["image"]}"#),
            (r#"{"image"#, r#"{"image"#),
            (r#"}}]{"image":1}"#, r#"}}]{"Image":1}"#),
            ("nothing", "nothing"),
        ] {
            assert_eq!(folded(text), want);
        }
        let deep = "[".repeat(100_000);
        assert_eq!(folded(&deep), deep);
    }
}
