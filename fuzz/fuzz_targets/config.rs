//! `config.json` to a plan: any document is refused or planned, and a plan names no path of the host
//! that the document does not, and none inside that leads out of the root.
#![no_main]

#[path = "common/json.rs"]
mod json;

use std::path::{Component, Path};

use json::{Random, Words};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use oci::runtime::{Hooks, Spec};
use plan::{Facts, Options, Plan, What};

const BUNDLE: &str = "/bundle";

const WORDS: Words = Words { keys: KEYS, values: VALUES };

#[rustfmt::skip]
const KEYS: &[&str] = &[
    "ociVersion", "process", "root", "hostname", "domainname", "mounts", "hooks", "annotations", "linux",
    "terminal", "consoleSize", "height", "width", "user", "uid", "gid", "umask", "additionalGids", "args",
    "env", "cwd", "capabilities", "bounding", "effective", "inheritable", "permitted", "ambient", "rlimits",
    "type", "hard", "soft", "noNewPrivileges", "apparmorProfile", "oomScoreAdj", "scheduler", "policy",
    "nice", "priority", "flags", "runtime", "deadline", "period", "selinuxLabel", "ioPriority", "class",
    "execCPUAffinity", "initial", "final", "path", "readonly", "destination", "source", "options",
    "uidMappings", "gidMappings", "containerID", "hostID", "size", "prestart", "createRuntime",
    "createContainer", "startContainer", "poststart", "poststop", "timeout", "namespaces", "devices",
    "cgroupsPath", "resources", "memory", "limit", "reservation", "swap", "kernel", "kernelTCP",
    "swappiness", "disableOOMKiller", "useHierarchy", "checkBeforeUpdate", "cpu", "shares", "quota", "burst",
    "realtimePeriod", "realtimeRuntime", "cpus", "mems", "idle", "blockIO", "weight", "leafWeight",
    "weightDevice", "throttleReadBpsDevice", "throttleWriteIOPSDevice", "rate", "major", "minor",
    "hugepageLimits", "pageSize", "network", "classID", "priorities", "name", "pids", "rdma", "hcaHandles",
    "hcaObjects", "unified", "allow", "access", "fileMode", "seccomp", "defaultAction", "defaultErrnoRet",
    "architectures", "listenerPath", "listenerMetadata", "syscalls", "names", "action", "errnoRet", "index",
    "value", "valueTwo", "op", "rootfsPropagation", "maskedPaths", "readonlyPaths", "mountLabel", "intelRdt",
    "closID", "l3CacheSchema", "memBwSchema", "personality", "domain", "sysctl", "timeOffsets", "monotonic",
    "boottime", "secs", "nanosecs", "netDevices", "memoryPolicy", "mode", "nodes", "net.ipv4.ip_forward",
    "kernel.msgmax", "memory.high", "cgroup.procs", "eth0", "mlx5_0", "extra",
];

#[rustfmt::skip]
const VALUES: &[&str] = &[
    "", "/", "..", "../..", "/../..", "/./x//", "/proc", "/proc/self/fd/7", "/sys", "/dev", "/dev/pts",
    "/etc/passwd", "/proc/cpuinfo", "/sys/fs/cgroup", "rootfs", "/rootfs", "a\u{0}b", "a\nb", "\u{fc}", "1.0.2",
    "1.3.0", "2.0.0", "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time", "/proc/1/ns/net",
    "proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup2", "bind", "rbind", "none", "ro", "rro", "rw",
    "nosuid", "nodev", "noexec", "relatime", "noatime", "rnoatime", "strictatime", "private", "rslave",
    "shared", "unbindable", "remount", "tmpcopyup", "idmap", "ridmap", "newinstance", "size=65536k",
    "mode=755", "gid=5", "CAP_SYS_ADMIN", "CAP_CHOWN", "CAP_NOSUCH", "ALL", "RLIMIT_NOFILE", "RLIMIT_CORE",
    "SCHED_FIFO", "SCHED_DEADLINE", "SCHED_OTHER", "SCHED_FLAG_RESET_ON_FORK", "IOPRIO_CLASS_RT",
    "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE", "0-3,7", "0-", "99999999999", "c", "b", "u", "p", "a", "rwm",
    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY", "SCMP_ACT_KILL", "SCMP_CMP_EQ",
    "SCMP_CMP_MASKED_EQ", "SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SECCOMP_FILTER_FLAG_LOG", "read", "socket",
    "write", "LINUX", "LINUX32", "ADDR_NO_RANDOMIZE", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_F_STATIC_NODES",
    "2MB", "64KB", "1GB", "max", "system.slice:dhow:1", "/dhow/c", "PATH=/bin", "HOME=", "TERM=xterm",
    "sh", "/bin/sh", "unconfined", "label", "_ses", "/run/listener.sock",
];

fn absolute_and_plain(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !text.contains(&0)
}

fn one_file_below(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|p| !p.is_empty() && p != "." && p != "..")
}

/// Which files of the host a plan names: no more than the document does.
fn check_host(spec: &Spec, plan: &Plan) {
    let bundle = Path::new(BUNDLE);
    let root = spec.root.as_ref().map(|root| bundle.join(&root.path));
    assert_eq!(Some(&plan.init.rootfs.root.path), root.as_ref());
    for mount in &plan.init.rootfs.mounts {
        let asked = &spec.mounts[mount.index];
        match &mount.what {
            What::Bind { source, .. } => assert_eq!(*source, bundle.join(&asked.source)),
            What::Fs { kind, source, data, .. } => {
                assert!(*kind == asked.kind && (*source == asked.source || source == kind));
                assert!(
                    data.iter()
                        .all(|one| asked.options.contains(one) || one.starts_with("context="))
                );
            }
            _ => {}
        }
    }
    let linux = spec.linux.as_ref().expect("a plan needs linux");
    for join in &plan.namespaces.join {
        let asked = |ns: &oci::runtime::Namespace| Path::new(&ns.path) == join.path;
        assert!(linux.namespaces.iter().any(asked));
    }
    if let Some(listener) = plan.init.filter.as_ref().and_then(|filter| filter.listener.as_ref()) {
        assert_eq!(Some(&listener.path), linux.seccomp.as_ref().map(|s| &s.listener_path));
    }
    check_hooks(spec.hooks.as_ref(), plan);
}

fn check_hooks(asked: Option<&Hooks>, plan: &Plan) {
    let none = Hooks::default();
    let asked = asked.unwrap_or(&none);
    let all: Vec<&[u8]> = [
        &asked.prestart,
        &asked.create_runtime,
        &asked.create_container,
        &asked.start_container,
        &asked.poststart,
        &asked.poststop,
    ]
    .into_iter()
    .flatten()
    .map(|hook| hook.path.as_bytes())
    .collect();
    let hooks = &plan.hooks;
    let planned: Vec<&[u8]> = [
        &hooks.create_runtime,
        &hooks.create_container,
        &hooks.start_container,
        &hooks.poststart,
        &hooks.poststop,
    ]
    .into_iter()
    .flatten()
    .map(|hook| hook.path.as_bytes())
    .collect();
    assert_eq!(all, planned);
    assert!(planned.iter().all(|path| path.starts_with(b"/")));
}

/// Which files inside: each is below the root, by its name alone.
fn check_inside(plan: &Plan) {
    let rootfs = &plan.init.rootfs;
    let targets = rootfs.mounts.iter().map(|mount| &mount.target);
    let devices = rootfs.devices.iter().map(|device| &device.path);
    let covered = rootfs.masked_paths.iter().chain(&rootfs.readonly_paths);
    for path in targets.chain(devices).chain(covered) {
        assert!(absolute_and_plain(path), "{path:?}");
    }
    for sysctl in &plan.init.sysctls {
        let below = sysctl.path.strip_prefix("sys/").expect("below /proc/sys");
        assert!(one_file_below(below), "{below:?}");
        assert!(!sysctl.value.contains(['\0', '\n']));
    }
    let cgroup = plan.cgroup_path.strip_prefix('/').expect("absolute");
    assert!(one_file_below(cgroup) && !cgroup.contains(['\0', '\n']), "{cgroup:?}");
    for file in plan.resources.unified.keys() {
        assert!(one_file_below(file) && !file.contains('/') && !file.starts_with("cgroup."));
    }
    let process = &plan.init.process;
    assert!(process.cwd.is_absolute() && !process.argv.is_empty());
    assert!(plan.init.filter.as_ref().is_none_or(|filter| filter.program.len() <= 4096));
}

fn facts() -> [Facts; 2] {
    let all =
        Facts { permitted: u64::MAX, bounding: u64::MAX, known: (1 << 41) - 1, ..Facts::default() };
    let few = Facts {
        permitted: 0x00a8_0425_fb,
        bounding: 0x00a8_0425_fb,
        known: (1 << 41) - 1,
        euid: 1000,
        in_user_namespace: true,
        hard_limits: plan::limited_resources().map(|resource| (resource, Some(1024))).collect(),
        apparmor: true,
        selinux: true,
        ..Facts::default()
    };
    [all, few]
}

fuzz_target!(|text: &str| {
    let Ok(spec) = serde_json::from_str::<Spec>(text) else { return };
    // What is read and written again is the same.
    let written = serde_json::to_string(&spec).expect("a spec is JSON");
    assert_eq!(serde_json::from_str::<Spec>(&written).ok().as_ref(), Some(&spec));
    for facts in facts() {
        for options in [
            Options::default(),
            Options { no_pivot: true, no_new_keyring: true, preserve_fds: 3, ..Options::default() },
        ] {
            let mut warnings = Vec::new();
            match Plan::new(&spec, "c", Path::new(BUNDLE), &facts, options, &mut warnings) {
                Ok(plan) => {
                    check_host(&spec, &plan);
                    check_inside(&plan);
                }
                // One line for a person.
                Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let parsed = serde_json::from_slice(&data[..size]);
    let (true, Ok(mut value)) = (seed % 16 != 0, parsed) else {
        return fuzzer_mutate(data, size, max_size);
    };
    let mut random = Random::new(seed);
    for _ in 0..=random.below(3) {
        json::mutate(&mut value, &WORDS, &mut random);
    }
    let text = value.to_string();
    if text.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..text.len()].copy_from_slice(text.as_bytes());
    text.len()
});
