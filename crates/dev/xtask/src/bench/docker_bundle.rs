//! A bundle as Docker makes them: its namespaces, capabilities, mounts, masks and seccomp profile,
//! and a memory limit.

use seccomp::{Arch, Profile};
use serde_json::{Value, json};

const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

/// The bundle's `config.json`, with `args` as its program.
pub(crate) fn config(args: &[&str]) -> Result<Value, String> {
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"];
    let devices = json!([{ "allow": false, "access": "rwm" }]);
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "hostname": "bench",
        "mounts": mounts(),
        "linux": {
            "resources": { "devices": devices, "memory": { "limit": 536_870_912 } },
            "namespaces": namespaces.map(|kind| json!({ "type": kind })),
            "seccomp": serde_json::to_value(profile()?).map_err(|error| error.to_string())?,
            "maskedPaths": MASKED,
            "readonlyPaths":
                ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }))
}

/// Docker's profile for this machine.
fn profile() -> Result<oci::runtime::Seccomp, String> {
    let caps = CAPABILITIES.map(str::to_owned);
    seccomp::resolve(Profile::docker_default(), &caps, Arch::NATIVE, (5, 10))
        .map_err(|error| error.to_string())
}

/// The compiled profile, as bytes of `struct sock_filter`.
pub(crate) fn filter() -> Result<Vec<u8>, String> {
    let program = seccomp::compile(&profile()?, Arch::NATIVE).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    for insn in &program {
        bytes.extend_from_slice(&insn.code.to_ne_bytes());
        bytes.extend_from_slice(&[insn.jt, insn.jf]);
        bytes.extend_from_slice(&insn.k.to_ne_bytes());
    }
    Ok(bytes)
}

fn mounts() -> Value {
    let mount = |at: &str, kind: &str, options: &[&str]| {
        let options = [&["nosuid", "noexec", "nodev"], options].concat();
        json!({ "destination": at, "type": kind, "source": kind, "options": options })
    };
    json!([
        mount("/proc", "proc", &[]),
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        mount("/sys", "sysfs", &["ro"]),
        mount("/dev/mqueue", "mqueue", &[]),
        mount("/dev/shm", "tmpfs", &["mode=1777", "size=65536k"]),
    ])
}
