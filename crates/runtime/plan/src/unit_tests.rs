#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use cgroup::{Cpu, Cpuset, DeviceRule, Memory};
use expect_test::{Expect, expect};

use super::*;

const NOW: Systemd = Systemd { version: 252, v2: true, user: false };

fn unit(path: &str, user: bool) -> Result<Unit, Error> {
    Unit::new(path, "box", &BTreeMap::new(), user)
}

/// Properties as `NAME=VALUE`, one a line.
fn lines(properties: &[Property]) -> String {
    properties.iter().map(|one| format!("{}={}\n", one.name, text(&one.value))).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::U64(u64::MAX) => "infinity".to_owned(),
        Value::U64(n) => n.to_string(),
        Value::U32(n) => n.to_string(),
        Value::Byte(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Str(text) => text.clone(),
        Value::Array(_, items) => {
            format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(" "))
        }
        Value::Struct(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_path_names_a_slice_and_a_scope() {
    for (path, user, slice, want) in [
        ("", false, "system.slice", "/system.slice/runc-box.scope"),
        ("", true, "user.slice", "/user.slice/runc-box.scope"),
        ("system.slice:docker:123", false, "system.slice", "/system.slice/docker-123.scope"),
        ("a-b-c.slice:p:n", false, "a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice/p-n.scope"),
        ("-:p:n", false, "-.slice", "/p-n.scope"),
        ("-.slice:p:n", true, "-.slice", "/p-n.scope"),
        ("::n", false, "system.slice", "/system.slice/-n.scope"),
    ] {
        let unit = unit(path, user).unwrap();
        assert_eq!((unit.slice.as_str(), unit.path.as_str()), (slice, want), "{path}");
        assert_eq!(unit.id.user, user);
    }
}

#[test]
fn other_paths_are_refused() {
    let why = |path: &str| unit(path, false).unwrap_err().to_string();
    assert!(why("/a/b").contains(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
         got \"/a/b\" instead"
    ));
    for path in ["a:b", "a:b:c:d"] {
        assert!(why(path).contains("slice:prefix:name"), "{path}");
    }
    for path in ["a:p:n", "a--b.slice:p:n", "-a.slice:p:n", ".slice:p:n", "a/b.slice:p:n"] {
        assert!(why(path).contains("no slice"), "{path}: {}", why(path));
    }
    assert!(why("a.slice:p:n.slice").contains("is a slice"));
    for path in ["a.slice:../../p:n", "a.slice:p:n/m", "a.slice:p:n\nm"] {
        assert!(why(path).contains("name of the unit"), "{path}");
    }
}

#[test]
fn annotations_are_properties() {
    let of = |pairs: &[(&str, &str)]| {
        let pairs =
            pairs.iter().map(|(k, v)| (format!("org.systemd.property.{k}"), (*v).to_owned()));
        properties(&pairs.collect())
    };
    let all = of(&[
        ("TimeoutStopUSec", "uint64 123456789"),
        ("CollectMode", "'inactive-or-failed'"),
        ("TimeoutStopSec", "1.5"),
        ("RuntimeMaxSec", "uint16 2"),
        ("MemSec", "5"),
        ("XSec", "true"),
    ]);
    // `XSec` is a name of its own.
    expect![[r"
        CollectMode=inactive-or-failed
        MemUSec=5000000
        RuntimeMaxUSec=2000000
        TimeoutStopUSec=1500000
        TimeoutStopUSec=123456789
        XSec=true
    "]]
    .assert_eq(&lines(&all.unwrap()));
    for (name, value, why) in [
        ("ab", "1", "no property"),
        ("a.b", "1", "no property"),
        ("a1b", "1", "no property"),
        ("Abc", "nonsense", "is no value"),
        ("AbcSec", "'x'", "is no number"),
        ("AbcSec", "-1", "is no number"),
        ("AbcSec", "uint64 0xffffffffffffffff", "is no number"),
    ] {
        let error = of(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(name), "{error}");
    }
}

fn check(resources: &Resources, systemd: Systemd, want: &Expect) {
    want.assert_eq(&lines(&limits(resources, systemd).unwrap()));
}

fn some() -> Resources {
    Resources {
        memory: Memory {
            max: Some(Limit::At(64 << 20)),
            memsw: Some(Limit::At(96 << 20)),
            low: Some(Limit::At(1 << 20)),
            ..Memory::default()
        },
        cpu: Cpu {
            shares: Some(1024),
            quota: Some(Limit::At(33_333)),
            period: Some(100_000),
            ..Cpu::default()
        },
        cpuset: Cpuset { cpus: Some("0-1,9".into()), mems: Some("0".into()) },
        pids: Some(Limit::At(20)),
        ..Resources::default()
    }
}

#[test]
fn limits_are_properties() {
    check(
        &some(),
        NOW,
        &expect![[r"
        MemoryMax=67108864
        MemoryLow=1048576
        MemorySwapMax=33554432
        CPUWeight=100
        CPUQuotaPeriodUSec=100000
        CPUQuotaPerSecUSec=340000
        TasksMax=20
        AllowedCPUs=[3 2]
        AllowedMemoryNodes=[1]
    "]],
    );
    check(
        &some(),
        Systemd { version: 241, ..NOW },
        &expect![[r"
        MemoryMax=67108864
        MemoryLow=1048576
        MemorySwapMax=33554432
        CPUWeight=100
        CPUQuotaPerSecUSec=340000
        TasksMax=20
    "]],
    );
    check(
        &some(),
        Systemd { v2: false, ..NOW },
        &expect![[r"
        MemoryLimit=67108864
        CPUShares=1024
        CPUQuotaPeriodUSec=100000
        CPUQuotaPerSecUSec=340000
        TasksMax=20
        AllowedCPUs=[3 2]
        AllowedMemoryNodes=[1]
    "]],
    );
}

#[test]
fn unlimited_is_infinity_and_none_is_one_task() {
    let mut all = Resources { pids: Some(Limit::At(0)), ..Resources::default() };
    all.memory.max = Some(Limit::Max);
    all.cpu.quota = Some(Limit::Max);
    check(
        &all,
        NOW,
        &expect![[r"
        MemoryMax=infinity
        MemorySwapMax=infinity
        CPUQuotaPerSecUSec=infinity
        TasksMax=1
    "]],
    );
    check(&Resources::default(), NOW, &expect![[""]]);
}

#[test]
fn files_of_v2_are_properties_too() {
    let files = [
        ("cpu.idle", "1"),
        ("cpu.max", "50000 200000"),
        ("cpu.weight", "7"),
        ("cpuset.cpus", "0"),
        ("io.bfq.weight", "100"),
        ("memory.high", "max"),
        ("memory.min", " 4096 "),
        ("pids.max", "0"),
    ];
    let unified = files.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let all = Resources { unified, ..Resources::default() };
    check(
        &all,
        NOW,
        &expect![[r"
        CPUWeight=0
        CPUQuotaPeriodUSec=200000
        CPUQuotaPerSecUSec=250000
        AllowedCPUs=[1]
        MemoryHigh=infinity
        MemoryMin=4096
        TasksMax=1
    "]],
    );
    for (file, value) in [
        ("memory.max", "x"),
        ("cpu.max", ""),
        ("cpuset.cpus", "3-1"),
        ("cpuset.mems", "4294967295"),
        ("cpuset.cpus", ""),
    ] {
        let unified = [(file.to_owned(), value.to_owned())].into();
        let error = limits(&Resources { unified, ..Resources::default() }, NOW).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
    }
}

fn rule(allow: bool, kind: DeviceKind, major: Option<u32>, minor: Option<u32>) -> DeviceRule {
    DeviceRule { allow, kind, major, minor, access: Access::ALL }
}

#[test]
fn devices_are_a_strict_list_or_left_to_the_program() {
    let deny = rule(false, DeviceKind::All, None, None);
    let mut all = Resources {
        devices: Some(vec![
            deny.clone(),
            rule(true, DeviceKind::Char, Some(1), Some(3)),
            rule(true, DeviceKind::Char, Some(136), None),
            DeviceRule { access: Access::MKNOD, ..rule(true, DeviceKind::Block, None, None) },
        ]),
        ..Resources::default()
    };
    check(
        &all,
        NOW,
        &expect![[r"
        DeviceAllow=[]
        DevicePolicy=strict
        DeviceAllow=[/dev/char/1:3 rwm char-136 rwm block-* m]
    "]],
    );
    let open = expect![[r"
        DeviceAllow=[]
        DevicePolicy=auto
    "]];
    check(&all, Systemd { version: 239, ..NOW }, &open);
    check(&all, Systemd { user: true, ..NOW }, &expect![[""]]);
    all.devices = Some(vec![deny, rule(true, DeviceKind::Char, None, Some(3))]);
    check(&all, NOW, &open);
    all.devices = Some(vec![rule(true, DeviceKind::All, None, None)]);
    check(&all, NOW, &open);
}

#[test]
fn a_scope_is_started_around_a_process() {
    let annotations = [("org.systemd.property.TasksMax".to_owned(), "uint64 7".to_owned())].into();
    let unit = Unit::new("a-b.slice:p:n", "box", &annotations, false).unwrap();
    let mut resources = Resources { pids: Some(Limit::At(5)), ..Resources::default() };
    resources.unified.insert("memory.oom.group".into(), "1".into());
    let all = unit.start(42, &resources, Systemd { version: 253, ..NOW }).unwrap();
    expect![[r"
        Description=container p-n
        Slice=a-b.slice
        Delegate=true
        PIDs=[42]
        MemoryAccounting=true
        CPUAccounting=true
        IOAccounting=true
        TasksAccounting=true
        DefaultDependencies=false
        TasksMax=5
        OOMPolicy=kill
        TasksMax=7
    "]]
    .assert_eq(&lines(&all));
}
