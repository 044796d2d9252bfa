//! `spec`: a configuration to start from.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::args::{Opt, Parsed, flag, value};
use crate::{Context, Failure};

pub(crate) const SPEC: &[Opt] = &[
    value(&["bundle", "b"], "the directory to write config.json in (default: this one)"),
    flag(&["rootless"], "for an unprivileged user"),
];

pub(crate) fn spec(_: &mut Context, parsed: &Parsed) -> Result<i32, Failure> {
    if let Some(word) = parsed.words.first() {
        return Err(Failure::from(format!("too many arguments: {word}")));
    }
    let path = Path::new(parsed.get("bundle").unwrap_or(".")).join("config.json");
    let mut config = template();
    if parsed.is_set("rootless") {
        make_rootless(&mut config);
    }
    let file = std::fs::File::options().write(true).create_new(true).mode(0o666).open(&path);
    let mut file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::from(format!("File {path:?} exists. Remove it first")));
        }
        other => other.map_err(|error| format!("{path:?}: {error}"))?,
    };
    file.write_all(format!("{config:#}\n").as_bytes())
        .map_err(|error| format!("{path:?}: {error}"))?;
    Ok(0)
}

/// runc's template, field by field.
fn template() -> Value {
    let caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    let mut namespaces: Vec<Value> = ["pid", "network", "ipc", "uts", "mount"]
        .iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    // Where the container's own cgroup is read-only anyway, as on v1, it is left as it is.
    if cgroup::Hierarchy::detect().is_ok_and(|hierarchy| hierarchy.mode() == cgroup::Mode::V2) {
        namespaces.push(json!({ "type": "cgroup" }));
    }
    json!({
        "ociVersion": oci::runtime::VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "dhow",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": namespaces,
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    })
}

/// What an unprivileged user needs: a user namespace with its own id as root's, the host's network
/// and `/sys`, no cgroup limits, and no group that is not mapped.
fn make_rootless(config: &mut Value) {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
    config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": gid, "size": 1 }]);
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("resources");
    }
    if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut() {
        namespaces.retain(|ns| ns["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    if let Some(mounts) = config["mounts"].as_array_mut() {
        for mount in mounts {
            if mount["destination"] == "/sys" {
                *mount = json!({
                    "destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
                });
            }
            if let Some(options) = mount["options"].as_array_mut() {
                let owner = |option: &Value| {
                    option.as_str().is_some_and(|o| o.starts_with("uid=") || o.starts_with("gid="))
                };
                options.retain(|option| !owner(option));
            }
        }
    }
}
