use std::path::Path;

use oci::runtime::Spec;

use crate::{Facts, Options, Plan};

/// A configuration with `change` merged into it.
pub(crate) fn spec(change: &str) -> Spec {
    let mut base: serde_json::Value = serde_json::from_str(
        r#"{"ociVersion":"1.0.2","process":{"args":["sh"],"cwd":"/","env":["PATH=/bin"]},
            "root":{"path":"rootfs"},
            "linux":{"namespaces":[{"type":"mount"},{"type":"pid"},{"type":"uts"},{"type":"ipc"}]}}"#,
    )
    .unwrap();
    merge(&mut base, serde_json::from_str(change).unwrap());
    serde_json::from_value(base).unwrap()
}

fn merge(base: &mut serde_json::Value, change: serde_json::Value) {
    match (base, change) {
        (serde_json::Value::Object(base), serde_json::Value::Object(change)) => {
            for (key, value) in change {
                merge(base.entry(key).or_insert(serde_json::Value::Null), value);
            }
        }
        (base, change) => *base = change,
    }
}

pub(crate) fn facts() -> Facts {
    Facts { permitted: u64::MAX, bounding: u64::MAX, known: (1 << 41) - 1, ..Facts::default() }
}

pub(crate) fn plan(change: &str) -> Result<Plan, crate::Error> {
    plan_and_warnings(change).0
}

/// And what is told besides, with or without a plan.
fn plan_and_warnings(change: &str) -> (Result<Plan, crate::Error>, String) {
    let (spec, options, mut warnings) = (spec(change), Options::default(), Vec::new());
    let plan = Plan::new(&spec, "c", Path::new("/bundle"), &facts(), options, &mut warnings);
    (plan, warnings.join("\n"))
}

/// The error as one line.
#[track_caller]
fn refused(change: &str, why: &str) {
    let error = plan(change).expect_err(change);
    assert_eq!(error.to_string(), why, "{change}");
}

#[test]
fn what_is_wrong_is_named_with_its_value() {
    for (change, why) in [
        (
            r#"{"ociVersion":"2.0.0"}"#,
            "ociVersion: `2.0.0` is newer than what this runtime knows (1.3)",
        ),
        (r#"{"ociVersion":"x"}"#, "ociVersion: `x` is not a version"),
        (r#"{"process":null}"#, "process is missing"),
        (r#"{"root":null}"#, "root is missing"),
        (r#"{"process":{"args":[]}}"#, "process.args is missing"),
        // Found by fuzzing: it was two lines.
        (
            r#"{"linux":{"resources":{"devices":[{"allow":true,"access":"a\nb"}]}}}"#,
            "linux.resources.devices[0].access: `a\\nb` has letters besides r, w, m",
        ),
        (r#"{"process":{"args":["a\u0000b"]}}"#, "process.args[0]: `a\\0b` contains a NUL"),
        (r#"{"process":{"cwd":"x"}}"#, "process.cwd: `x` is not an absolute path"),
        (
            r#"{"process":{"user":{"uid":4294967295}}}"#,
            "process.user.uid: `4294967295` is not an id",
        ),
        (
            r#"{"process":{"user":{"umask":512}}}"#,
            "process.user.umask: `512` is more than 511 (octal 777)",
        ),
        (
            r#"{"process":{"oomScoreAdj":1001}}"#,
            "process.oomScoreAdj: `1001` is not between -1000 and 1000",
        ),
        (
            r#"{"process":{"apparmorProfile":"p"}}"#,
            "process.apparmorProfile: `p` cannot be set: AppArmor is not enabled on this machine",
        ),
        (
            r#"{"process":{"rlimits":[{"type":"RLIMIT_X","soft":1,"hard":1}]}}"#,
            "process.rlimits[0].type: `RLIMIT_X` is not a resource limit",
        ),
        (
            r#"{"process":{"rlimits":[{"type":"RLIMIT_CORE","soft":2,"hard":1}]}}"#,
            "process.rlimits[0].soft: `2` is more than the hard limit 1",
        ),
        (
            r#"{"process":{"rlimits":[{"type":"RLIMIT_CORE","soft":1,"hard":1},{"type":"RLIMIT_CORE","soft":1,"hard":1}]}}"#,
            "process.rlimits[1].type: `RLIMIT_CORE` is there twice",
        ),
        (
            r#"{"process":{"scheduler":{"policy":"SCHED_ISO"}}}"#,
            "process.scheduler.policy: `SCHED_ISO` is not implemented by Linux",
        ),
        (
            r#"{"process":{"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":8}}}"#,
            "process.ioPriority.priority: `8` is not between 0 and 7",
        ),
        (
            r#"{"hostname":"h","linux":{"namespaces":[{"type":"mount"}]}}"#,
            "hostname needs a uts namespace of the container's own",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}}"#,
            "linux.namespaces[1].type: `pid` is there twice",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"pid","path":"x"}]}}"#,
            "linux.namespaces[0].path: `x` is not an absolute path",
        ),
        (
            r#"{"linux":{"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}}"#,
            "linux.uidMappings are there without a user namespace",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"user"},{"type":"mount"}]}}"#,
            "linux.uidMappings is missing",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"user"},{"type":"mount"}],"uidMappings":[{"containerID":4294967295,"hostID":1,"size":2}]}}"#,
            "linux.uidMappings[0]: `4294967295 1 2` goes beyond the largest id",
        ),
        (
            r#"{"linux":{"timeOffsets":{"monotonic":{"secs":1}}}}"#,
            "linux.timeOffsets are there without a new time namespace",
        ),
        (
            r#"{"linux":{"cgroupsPath":"/a/../b"}}"#,
            "linux.cgroupsPath: `/a/../b` leads out of the hierarchy or is no path",
        ),
        (r#"{"linux":{"cgroupsPath":"/"}}"#, "linux.cgroupsPath: `/` is the root of the hierarchy"),
        (
            r#"{"linux":{"rootfsPropagation":"x"}}"#,
            "linux.rootfsPropagation: `x` is not shared, slave, private or unbindable",
        ),
        (r#"{"linux":{"maskedPaths":[""]}}"#, "linux.maskedPaths[0]: `` is not a path"),
        (
            r#"{"linux":{"maskedPaths":["/x"],"namespaces":[]}}"#,
            "linux.maskedPaths needs a mount namespace of the container's own",
        ),
        (
            r#"{"linux":{"devices":[{"type":"x","path":"/dev/x"}]}}"#,
            "linux.devices[0].type: `x` is not c, b, u or p",
        ),
        (
            r#"{"linux":{"devices":[{"type":"c","path":"/dev/x","minor":1}]}}"#,
            "linux.devices[0].major is missing",
        ),
        (
            r#"{"linux":{"intelRdt":{"closID":"a/b"}}}"#,
            "linux.intelRdt.closID: `a/b` is not a directory's name",
        ),
        (
            r#"{"linux":{"intelRdt":{"closID":".."}}}"#,
            "linux.intelRdt.closID: `..` is not a directory's name",
        ),
        (
            r#"{"linux":{"intelRdt":{"memBwSchema":"L3:0=1"}}}"#,
            "linux.intelRdt.memBwSchema: `L3:0=1` does not begin with `MB:`",
        ),
        (
            r#"{"linux":{"intelRdt":{"l3CacheSchema":"MB:0=1"}}}"#,
            "linux.intelRdt.l3CacheSchema: `MB:0=1` does not begin with `L3`",
        ),
        (
            r#"{"linux":{"intelRdt":{"schemata":["L3:0=1","a\nb"]}}}"#,
            "linux.intelRdt.schemata[1]: `a\\nb` has a line break or NUL in it",
        ),
        (
            r#"{"linux":{"netDevices":{"eth0":{}}}}"#,
            "linux.netDevices need a network namespace of the container's own",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"network"}],"netDevices":{"a/b":{}}}}"#,
            "linux.netDevices: `a/b` is not an interface's name",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"network"}],"netDevices":{"sixteen-letters!":{}}}}"#,
            "linux.netDevices: `sixteen-letters!` is not an interface's name",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"network"}],"netDevices":{"a":{"name":"x"},"b":{"name":"x"}}}}"#,
            "linux.netDevices.b.name: `x` is there twice",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"network"}],"netDevices":{"a":{"name":"%dx"}}}}"#,
            "linux.netDevices.a.name: `%dx` may have a `%` only as `%d` at its end",
        ),
        (
            r#"{"process":{"execCPUAffinity":{"initial":"0-x"}}}"#,
            "process.execCPUAffinity.initial: `0-x` is not a list of numbers and ranges",
        ),
        (
            r#"{"process":{"terminal":true,"consoleSize":{"height":65536,"width":1}}}"#,
            "process.consoleSize.height: `65536` is more than 65535",
        ),
        (
            r#"{"process":{"selinuxLabel":"l"}}"#,
            "process.selinuxLabel: `l` cannot be set: SELinux is not enabled on this machine",
        ),
        (
            r#"{"linux":{"mountLabel":"l"}}"#,
            "linux.mountLabel: `l` cannot be set: SELinux is not enabled on this machine",
        ),
        (r#"{"annotations":{"":"x"}}"#, "annotations have an empty key"),
        (r#"{"hostname":"a\u0000b"}"#, "hostname: `a\\0b` contains a NUL"),
        (
            r#"{"mounts":[{"destination":"/x","type":"tmpfs","options":["a\u0000b"]}]}"#,
            "mounts[0].options: `a\\0b` contains a NUL",
        ),
        (
            r#"{"linux":{"namespaces":[{"type":"ipc","path":"/a\u0000b"}]}}"#,
            "linux.namespaces[0].path: `/a\\0b` contains a NUL",
        ),
        (
            r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}}}"#,
            "linux.seccomp.flags have SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, which needs SCMP_ACT_NOTIFY",
        ),
        (
            r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerMetadata":"m"}}}"#,
            "linux.seccomp.listenerMetadata needs listenerPath",
        ),
        (
            r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}}}"#,
            "linux.seccomp.listenerPath is missing, and SCMP_ACT_NOTIFY needs it",
        ),
        (
            r#"{"linux":{"personality":{"domain":"BSD"}}}"#,
            "linux.personality.domain: `BSD` is not LINUX or LINUX32",
        ),
        (
            r#"{"linux":{"memoryPolicy":{"mode":"MPOL_BIND"}}}"#,
            "linux.memoryPolicy.nodes is missing",
        ),
        (
            r#"{"linux":{"resources":{"memory":{"limit":10,"swap":5}}}}"#,
            "linux.resources.memory.swap: `5` is memory and swap together, and less than the memory limit 10",
        ),
        (
            r#"{"linux":{"resources":{"unified":{"cgroup.procs":"1"}}}}"#,
            "linux.resources.unified.cgroup.procs: `1` is for no limit's file",
        ),
        (
            r#"{"linux":{"resources":{"devices":[{"allow":true,"access":"x"}]}}}"#,
            "linux.resources.devices[0].access: `x` has letters besides r, w, m",
        ),
        (
            r#"{"linux":{"resources":{"devices":[{"allow":true,"access":"a"}]}}}"#,
            "linux.resources.devices[0].access: `a` has letters besides r, w, m",
        ),
        (r#"{"mounts":[{"destination":"/x","type":"bind"}]}"#, "mounts[0].source is missing"),
        (r#"{"mounts":[{"destination":"","type":"tmpfs"}]}"#, "mounts[0].destination is missing"),
        (
            r#"{"mounts":[{"destination":"/proc","type":"tmpfs"}]}"#,
            "mounts[0].destination: `/proc` must not be covered by anything but procfs",
        ),
        (
            r#"{"mounts":[{"destination":"/x","type":"bind","source":"/s","options":["idmap"]}]}"#,
            "mounts[0].options have `idmap` without mappings or a user namespace to take them from",
        ),
        (
            r#"{"domainname":"a","linux":{"sysctl":{"kernel.domainname":"b"},"namespaces":[{"type":"uts"}]}}"#,
            "linux.sysctl.kernel.domainname is `b` and domainname is `a`",
        ),
        (
            r#"{"process":{"capabilities":{"bounding":["CAP_KILL"],"inheritable":["CAP_CHOWN"]}}}"#,
            "process.capabilities.inheritable: `CAP_CHOWN` is not in the bounding set: operation not permitted",
        ),
        (
            r#"{"hooks":{"prestart":[{"path":"x"}]}}"#,
            "hooks.prestart[0].path: `x` is not an absolute path",
        ),
        (
            r#"{"hooks":{"poststop":[{"path":"/x","timeout":0}]}}"#,
            "hooks.poststop[0].timeout: `0` is not above zero",
        ),
    ] {
        refused(change, why);
    }
}

#[test]
fn a_sysctl_must_belong_to_a_namespace_of_the_container() {
    let sysctl = |key: &str, value: &str| {
        let json = serde_json::json!({"linux":{"sysctl":{key: value}}}).to_string();
        plan(&json).map(|plan| plan.init.sysctls[0].path.clone()).map_err(|err| err.to_string())
    };
    assert_eq!(sysctl("kernel.shmmax", "1").unwrap(), "sys/kernel/shmmax");
    assert_eq!(sysctl("fs.mqueue.msg_max", "1").unwrap(), "sys/fs/mqueue/msg_max");
    assert_eq!(sysctl("kernel/shmmax", "1").unwrap(), "sys/kernel/shmmax");
    for (key, value, why) in [
        ("net.ipv4.ip_forward", "1", "needs a network namespace of the container's own"),
        ("kernel.core_pattern", "|x", "is for a parameter of the whole machine"),
        ("kernel/../kernel.core_pattern", "|x", "is for a name that no parameter has"),
        ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=x", "has a line break or NUL in it"),
        ("kernel.hostname", "x", "must be set as the field hostname"),
        ("", "x", "is for a name that no parameter has"),
    ] {
        let error = sysctl(key, value).unwrap_err();
        assert!(error.contains(why), "{key}: {error}");
    }
}

#[test]
fn what_this_process_may_not_raise_stays_with_a_warning() {
    let facts = Facts {
        permitted: 0x3f | 1 << 21,
        bounding: 0xff,
        hard_limits: vec![(rustix::process::Resource::Nofile, Some(100))],
        ..facts()
    };
    let spec = spec(
        r#"{"process":{"rlimits":[{"type":"RLIMIT_NOFILE","soft":150,"hard":200}],
            "capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_ADMIN"],"permitted":["CAP_CHOWN","CAP_KILL","CAP_NONE"],
            "effective":["CAP_CHOWN"],"inheritable":["CAP_CHOWN"],"ambient":["CAP_KILL"]}}}"#,
    );
    let mut warnings = Vec::new();
    let options = Options::default();
    let plan = Plan::new(&spec, "c", Path::new("/b"), &facts, options, &mut warnings).unwrap();
    let limit = plan.init.process.limits[0];
    assert_eq!((limit.soft, limit.hard), (Some(100), Some(100)));
    let caps = plan.init.process.caps;
    assert_eq!((caps.bounding.0, caps.permitted.0, caps.ambient.0), (1, 0x21, 0));
    expect_test::expect![[r"
        RLIMIT_NOFILE: the hard limit stays 100: raising it needs CAP_SYS_RESOURCE
        process.capabilities.bounding: CAP_SYS_ADMIN is not in this process's own: left out
        can't raise ambient capability CAP_KILL: it is not both permitted and inheritable
        ignoring unknown or unavailable capabilities: [CAP_NONE]"]]
    .assert_eq(&warnings.join("\n"));
}

#[test]
fn groups_are_those_asked_for() {
    let groups = |change: &str| plan(change).unwrap().init.process.user.groups;
    assert_eq!(groups(r#"{"process":{"user":{"gid":7}}}"#), [0; 0]);
    assert_eq!(groups(r#"{"process":{"user":{"gid":7,"additionalGids":[5]}}}"#), [5]);
    assert_eq!(groups(r#"{"process":{"user":{"gid":7,"additionalGids":[5,7]}}}"#), [5, 7]);
}

#[test]
fn of_two_variables_with_one_name_the_later_counts() {
    let process = plan(r#"{"process":{"env":["A=1","PATH=/a","A=2","PATH=/b","HOME="]}}"#)
        .unwrap()
        .init
        .process;
    let env: Vec<_> = process.env.iter().map(|one| one.to_str().unwrap()).collect();
    assert_eq!(env, ["A=2", "PATH=/b"]);
    assert_eq!(process.path, "/b");
    assert!(process.find_home);
}

#[test]
fn namespaces_are_joined_in_an_order_that_works() {
    let plan = plan(
        r#"{"linux":{"namespaces":[{"type":"pid","path":"/p"},{"type":"mount","path":"/m"},
            {"type":"network","path":"/n"},{"type":"user","path":"/u"}]}}"#,
    )
    .unwrap();
    let order: Vec<_> = plan.namespaces.join.iter().map(|join| join.kind.as_str()).collect();
    assert_eq!(order, ["user", "network", "mount", "pid"]);
}

#[test]
fn limits_that_make_no_sense_are_named() {
    for (resources, why) in [
        (r#"{"memory":{"swap":5}}"#, "linux.resources.memory.swap needs memory.limit"),
        (
            r#"{"memory":{"reservation":-2}}"#,
            "linux.resources.memory.reservation: `-2` is below -1, which is unlimited",
        ),
        (
            r#"{"memory":{"swappiness":101}}"#,
            "linux.resources.memory.swappiness: `101` is more than 100",
        ),
        (
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1},{"pageSize":"../x","limit":1}]}"#,
            "linux.resources.hugepageLimits[1].pageSize: `../x` is not a size such as 64KB, 2MB or 1GB",
        ),
        (r#"{"rdma":{"a b":{"hcaHandles":1}}}"#, "linux.resources.rdma: `a b` is no name"),
        (
            r#"{"network":{"priorities":[{"name":"a\nb","priority":1}]}}"#,
            "linux.resources.network.priorities[0].name: `a\\nb` is no name",
        ),
        (
            r#"{"unified":{"cgroup.kill":"1"}}"#,
            "linux.resources.unified.cgroup.kill: `1` is for no limit's file",
        ),
    ] {
        let error = plan(&format!(r#"{{"linux":{{"resources":{resources}}}}}"#)).unwrap_err();
        assert_eq!(error.to_string(), why);
    }
}

#[test]
fn numbers_of_limits_mean_what_the_specification_says() {
    use cgroup::Limit;
    let limits =
        |json: &str| plan(&format!(r#"{{"linux":{{"resources":{json}}}}}"#)).unwrap().resources;
    let pids = |limit| limits(&format!(r#"{{"pids":{{"limit":{limit}}}}}"#)).pids;
    assert_eq!(limits(r#"{"pids":{}}"#).pids, None);
    assert_eq!(pids(-1), Some(Limit::Max));
    assert_eq!(pids(0), Some(Limit::At(1)));
    assert_eq!(pids(7), Some(Limit::At(7)));
    let memory = limits(r#"{"memory":{"limit":-1,"swap":0,"swappiness":18446744073709551615}}"#);
    assert_eq!((memory.memory.max, memory.memory.memsw), (Some(Limit::Max), None));
    assert_eq!(memory.memory.swappiness, None);
    // An update may name swap alone: the container has a limit on memory already.
    let spec = serde_json::from_str(r#"{"memory":{"swap":5}}"#).unwrap();
    assert_eq!(crate::limits(&spec).unwrap().memory.memsw, Some(Limit::At(5)));
}

#[test]
fn a_relative_path_to_mask_is_from_the_root() {
    let plan = plan(r#"{"linux":{"maskedPaths":["proc/kcore","a/../b"]}}"#).unwrap();
    assert_eq!(plan.init.rootfs.masked_paths, [Path::new("/proc/kcore"), Path::new("/b")]);
}

#[test]
fn what_is_ignored_is_said() {
    let json = r#"{"linux":{"resources":{"memory":{"kernel":5,"useHierarchy":false}}}}"#;
    let (_, warnings) = plan_and_warnings(json);
    assert!(warnings.contains("linux.resources.memory.kernel: ignored"), "{warnings}");
    assert!(warnings.contains("linux.resources.memory.useHierarchy: ignored"), "{warnings}");
}

#[test]
fn devices_are_denied_unless_allowed() {
    let rules = plan("{}").unwrap().resources.devices.unwrap();
    assert_eq!(rules[0].to_string(), "a *:* rwm");
    assert!(!rules[0].allow);
    assert_eq!(
        rules[1..].iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        "c *:* m, b *:* m, c 1:3 rwm, c 1:8 rwm, c 1:7 rwm, c 5:0 rwm, c 1:5 rwm, c 1:9 rwm, c 136:* rwm, c 5:2 rwm, c 10:200 rwm"
    );
}

#[test]
fn dockers_profile_lets_a_locked_down_process_fork() {
    let filter = |json: &str| plan(json).unwrap().init.filter.unwrap();
    let errno = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}}}"#;
    assert!(!filter(errno).allows_fork());
    let allow = r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}"#;
    assert!(filter(allow).allows_fork());
}

#[test]
fn what_is_made_for_a_container_has_its_label() {
    let change = r#"{"process":{"selinuxLabel":"u:r:p:s0"},"linux":{"mountLabel":"u:r:t:s0:c1,c2"},
        "mounts":[{"destination":"/proc","type":"proc"},
            {"destination":"/dev","type":"tmpfs","options":["mode=755"]},
            {"destination":"/x","type":"tmpfs","options":["context=u:r:own"]},
            {"destination":"/dev/mqueue","type":"mqueue"}]}"#;
    let facts = Facts { selinux: true, ..facts() };
    let made = |change: &str| {
        let (spec, options) = (spec(change), Options::default());
        Plan::new(&spec, "c", Path::new("/bundle"), &facts, options, &mut Vec::new())
    };
    let plan = made(change).unwrap();
    assert_eq!(plan.init.process.selinux.as_deref(), Some("u:r:p:s0"));
    assert_eq!(plan.init.rootfs.mount_label, "u:r:t:s0:c1,c2");
    let data = |at: usize| match &plan.init.rootfs.mounts[at].what {
        crate::What::Fs { data, .. } => data.join(" "),
        other => panic!("{other:?}"),
    };
    assert_eq!(data(0), "");
    assert_eq!(data(1), "mode=755 context=u:r:t:s0:c1,c2");
    assert_eq!(data(2), "context=u:r:own");
    assert_eq!(data(3), "");
    let error = made(r#"{"linux":{"mountLabel":"a\"b"}}"#).unwrap_err();
    let why = r#"linux.mountLabel: `a\"b` has a line break, quote or NUL in it"#;
    assert_eq!(error.to_string(), why);
}
