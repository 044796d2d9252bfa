//! Against directories of files that look like a cgroup's: what is written where, also on machines
//! that have the other version.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::tree::{Dir, Tree, Version};
use crate::*;

/// Trees with one cgroup, `/c`, whose files are there and empty.
struct Fake {
    root: PathBuf,
    hierarchy: Hierarchy,
}

impl Fake {
    fn new(name: &str, trees: &[(Version, &[&str], &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("dhow-cgroup-{}-{name}", std::process::id()));
        let tree = |(nth, (version, controllers, files)): (usize, &(Version, &[&str], &str))| {
            let point = root.join(nth.to_string());
            std::fs::create_dir_all(point.join("c")).unwrap();
            for file in files.split_whitespace() {
                std::fs::write(point.join("c").join(file), "").unwrap();
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&point, flags, Mode::empty()).unwrap();
            let controllers: Vec<String> = controllers.iter().map(|&c| c.to_owned()).collect();
            if *version == Version::V2 {
                std::fs::write(point.join("c/cgroup.controllers"), controllers.join(" ")).unwrap();
            }
            Arc::new(Tree { version: *version, controllers, root: Dir::new(fd, point) })
        };
        let hierarchy = Hierarchy::new(trees.iter().enumerate().map(tree).collect()).unwrap();
        Self { root, hierarchy }
    }

    fn v1(name: &str) -> Self {
        let trees: [(Version, &[&str], &str); 7] = [
            (
                Version::V1,
                &["cpu", "cpuacct"],
                "cpu.shares cpu.cfs_period_us cpu.cfs_quota_us cpu.cfs_burst_us cpu.idle \
                 cpu.rt_period_us cpu.rt_runtime_us cpuacct.usage cpuacct.usage_all",
            ),
            (Version::V1, &["cpuset"], "cpuset.cpus cpuset.mems"),
            (
                Version::V1,
                &["memory"],
                "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.soft_limit_in_bytes \
                 memory.kmem.tcp.limit_in_bytes memory.swappiness memory.oom_control",
            ),
            (Version::V1, &["pids"], "pids.max"),
            (
                Version::V1,
                &["blkio"],
                "blkio.bfq.weight blkio.bfq.weight_device blkio.throttle.read_bps_device \
                 blkio.throttle.write_iops_device",
            ),
            (
                Version::V1,
                &["hugetlb", "rdma", "net_cls", "net_prio"],
                "hugetlb.2MB.limit_in_bytes hugetlb.2MB.rsvd.limit_in_bytes \
                 hugetlb.1GB.limit_in_bytes rdma.max net_cls.classid net_prio.ifpriomap",
            ),
            (Version::V1, &["name=systemd"], ""),
        ];
        Self::new(name, &trees)
    }

    fn v2(name: &str) -> Self {
        let files = "cpu.weight cpu.max cpu.max.burst cpu.idle cpuset.cpus cpuset.mems memory.max \
                     memory.swap.max memory.low memory.high pids.max io.weight io.max \
                     hugetlb.2MB.max rdma.max cgroup.freeze cgroup.events cgroup.procs";
        let controllers = &["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"];
        Self::new(name, &[(Version::V2, controllers, files)])
    }

    fn cgroup(&self) -> Cgroup {
        Cgroup::open(&self.hierarchy, "/c").unwrap()
    }

    /// The files that hold something, as `FILE=WHAT`.
    fn written(&self) -> String {
        let mut lines = Vec::new();
        for tree in &self.hierarchy.trees {
            for entry in std::fs::read_dir(tree.root.path().join("c")).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(&path).unwrap();
                if !text.is_empty() && name != "cgroup.controllers" {
                    lines.push((name, text));
                }
            }
        }
        lines.sort();
        lines.into_iter().map(|(name, text)| format!("{name}={text}\n")).collect()
    }

    /// Gives a file what a test wants it to hold.
    fn set(&self, file: &str, text: &str) {
        let holds = |dir: &Path| dir.join("c").join(file).exists();
        let tree = self.hierarchy.trees.iter().find(|tree| holds(tree.root.path())).unwrap();
        std::fs::write(tree.root.path().join("c").join(file), text).unwrap();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).unwrap();
    }
}

/// A limit of every kind that both versions have.
fn everything() -> Resources {
    Resources {
        memory: Memory {
            max: Some(Limit::At(512)),
            memsw: Some(Limit::At(768)),
            low: Some(Limit::At(256)),
            ..Memory::default()
        },
        cpu: Cpu {
            quota: Some(Limit::At(5000)),
            period: Some(10_000),
            burst: Some(100),
            shares: Some(2048),
            ..Cpu::default()
        },
        cpuset: Cpuset { cpus: Some("0-1".into()), mems: Some("0".into()) },
        pids: Some(Limit::At(32)),
        io: Io {
            weight: Some(500),
            weight_device: vec![DeviceWeight {
                major: 8,
                minor: 0,
                weight: Some(10),
                leaf_weight: None,
            }],
            throttle: vec![DeviceRate {
                major: 8,
                minor: 0,
                rate: Rate::ReadBytes,
                per_second: 1000,
            }],
            ..Io::default()
        },
        hugetlb: vec![Hugetlb { page_size: "2MB".into(), max: 4 << 20 }],
        rdma: vec![Rdma { device: "mlx5_1".into(), hca_handle: Some(3), hca_object: Some(5) }],
        ..Resources::default()
    }
}

#[test]
fn v1_gets_its_own_words() {
    let fake = Fake::v1("v1");
    assert_eq!(fake.hierarchy.mode(), crate::Mode::V1);
    let mut limits = everything();
    limits.memory.swappiness = Some(10);
    limits.memory.oom_kill_disable = true;
    limits.memory.kmem_tcp = Some(Limit::Max);
    limits.cpu.rt_period = Some(1_000_000);
    limits.cpu.rt_runtime = Some(500);
    limits.network = Network {
        class_id: Some(0x10_0001),
        priorities: vec![InterfacePriority { interface: "eth0".into(), priority: 7 }],
    };
    fake.cgroup().apply(&limits).unwrap();
    expect_test::expect![[r"
        blkio.bfq.weight=500
        blkio.bfq.weight_device=8:0 10
        blkio.throttle.read_bps_device=8:0 1000
        cpu.cfs_burst_us=100
        cpu.cfs_period_us=10000
        cpu.cfs_quota_us=5000
        cpu.rt_period_us=1000000
        cpu.rt_runtime_us=500
        cpu.shares=2048
        cpuset.cpus=0-1
        cpuset.mems=0
        hugetlb.2MB.limit_in_bytes=4194304
        hugetlb.2MB.rsvd.limit_in_bytes=4194304
        memory.kmem.tcp.limit_in_bytes=-1
        memory.limit_in_bytes=512
        memory.memsw.limit_in_bytes=768
        memory.oom_control=1
        memory.soft_limit_in_bytes=256
        memory.swappiness=10
        net_cls.classid=1048577
        net_prio.ifpriomap=eth0 7
        pids.max=32
        rdma.max=mlx5_1 hca_handle=3 hca_object=5
    "]]
    .assert_eq(&fake.written());
}

#[test]
fn v2_gets_what_v1s_words_mean() {
    let fake = Fake::v2("v2");
    assert_eq!(fake.hierarchy.mode(), crate::Mode::V2);
    let mut limits = everything();
    limits.unified = [("memory.high".to_owned(), "400\n".to_owned())].into();
    fake.cgroup().apply(&limits).unwrap();
    expect_test::expect![[r"
        cpu.max=5000 10000
        cpu.max.burst=100
        cpu.weight=174
        cpuset.cpus=0-1
        cpuset.mems=0
        hugetlb.2MB.max=4194304
        io.max=8:0 rbps=1000
        io.weight=8:0 1
        memory.high=400
        memory.low=256
        memory.max=512
        memory.swap.max=256
        pids.max=32
        rdma.max=mlx5_1 hca_handle=3 hca_object=5
    "]]
    .assert_eq(&fake.written());
}

#[test]
fn what_only_v1_has_is_refused_by_name_on_v2() {
    let fake = Fake::v2("only-v1");
    let memory = |memory| Resources { memory, ..Resources::default() };
    let cpu = |cpu| Resources { cpu, ..Resources::default() };
    for (limits, name) in [
        (memory(Memory { swappiness: Some(5), ..Memory::default() }), "memory.swappiness"),
        (memory(Memory { oom_kill_disable: true, ..Memory::default() }), "memory.oom_control"),
        (memory(Memory { kmem_tcp: Some(Limit::At(1)), ..Memory::default() }), "memory.kmem.tcp"),
        (cpu(Cpu { rt_runtime: Some(1), ..Cpu::default() }), "cpu.rt_runtime_us"),
        (
            Resources {
                network: Network { class_id: Some(1), priorities: Vec::new() },
                ..Resources::default()
            },
            "net_cls",
        ),
    ] {
        let error = fake.cgroup().apply(&limits).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert_eq!(fake.written(), "");
}

#[test]
fn what_only_v2_has_is_refused_by_name_on_v1() {
    let fake = Fake::v1("only-v2");
    let unified = [("memory.high".to_owned(), "400".to_owned())].into();
    let limits = Resources { unified, ..Resources::default() };
    assert_eq!(
        fake.cgroup().apply(&limits).unwrap_err().to_string(),
        "unified resource `memory.high`: invalid configuration: cannot use unified on cgroup v1"
    );
}

#[test]
fn a_controller_that_is_missing_is_named() {
    let v1 = Fake::new("none-v1", &[(Version::V1, &["freezer"], "freezer.state")]);
    let v2 = Fake::new("none-v2", &[(Version::V2, &[], "cgroup.freeze")]);
    let of = |resources: Resources, controller| (resources, controller);
    let all = everything();
    let none = Resources::default;
    let cases = [
        of(Resources { memory: all.memory.clone(), ..none() }, "memory"),
        of(Resources { cpu: all.cpu.clone(), ..none() }, "cpu"),
        of(Resources { cpuset: all.cpuset.clone(), ..none() }, "cpuset"),
        of(Resources { pids: all.pids, ..none() }, "pids"),
        of(Resources { io: all.io.clone(), ..none() }, "blkio"),
        of(Resources { hugetlb: all.hugetlb.clone(), ..none() }, "hugetlb"),
        of(Resources { rdma: all.rdma.clone(), ..none() }, "rdma"),
    ];
    for (limits, controller) in cases {
        for fake in [&v1, &v2] {
            let error = fake.cgroup().apply(&limits).unwrap_err();
            assert_eq!(error.missing_controller(), Some(controller));
            assert!(error.to_string().contains(&format!("`{controller}`")), "{error}");
        }
    }
}

#[test]
fn an_update_on_v2_keeps_memory_and_swap_together() {
    let fake = Fake::v2("together");
    let update = |memory| {
        fake.cgroup().update(&Resources { memory, ..Resources::default() }).unwrap();
    };
    let state = || fake.written().replace('\n', " ");
    // 500 and 400 of swap are 900 together: memory grows, swap shrinks.
    fake.set("memory.max", "500");
    fake.set("memory.swap.max", "400");
    update(Memory { max: Some(Limit::At(600)), ..Memory::default() });
    assert_eq!(state(), "memory.max=600 memory.swap.max=300 ");
    // The other way round, memory is what it was.
    update(Memory { memsw: Some(Limit::At(800)), ..Memory::default() });
    assert_eq!(state(), "memory.max=600 memory.swap.max=200 ");
    // Swap without a limit stays so.
    fake.set("memory.swap.max", "max");
    update(Memory { max: Some(Limit::At(700)), ..Memory::default() });
    assert_eq!(state(), "memory.max=700 memory.swap.max=max ");
}

#[test]
fn an_update_on_v2_keeps_the_quota_with_a_new_period() {
    let fake = Fake::v2("quota");
    fake.set("cpu.max", "5000 10000");
    let cpu = Cpu { period: Some(20_000), ..Cpu::default() };
    fake.cgroup().update(&Resources { cpu, ..Resources::default() }).unwrap();
    assert_eq!(fake.written(), "cpu.max=5000 20000\n");
}

#[test]
fn a_failed_update_is_taken_back() {
    let fake = Fake::v1("taken-back");
    fake.set("memory.limit_in_bytes", "111");
    fake.set("cpu.shares", "1111");
    let limits = Resources {
        memory: Memory { max: Some(Limit::At(222)), ..Memory::default() },
        cpu: Cpu { shares: Some(2222), ..Cpu::default() },
        hugetlb: vec![Hugetlb { page_size: "64KB".into(), max: 1 }],
        ..Resources::default()
    };
    let error = fake.cgroup().update(&limits).unwrap_err();
    assert!(
        matches!(&error, Error::Unchanged(source)
        if source.to_string().contains("hugetlb.64KB.limit_in_bytes")),
        "{error:?}"
    );
    assert_eq!(fake.written(), "cpu.shares=1111\nmemory.limit_in_bytes=111\n");
}

#[test]
fn a_limit_below_what_is_in_use_is_rejected_on_request() {
    let fake = Fake::v2("rejected");
    std::fs::write(fake.root.join("0/c/memory.current"), "1000\n").unwrap();
    let of = |max, memsw| Resources {
        memory: Memory { max, memsw, check_before_update: true, ..Memory::default() },
        ..Resources::default()
    };
    let error = |limits| fake.cgroup().apply(&limits).unwrap_err().to_string();
    assert_eq!(error(of(Some(Limit::At(999)), None)), "rejecting memory limit 999 <= usage 1000");
    assert_eq!(
        error(of(Some(Limit::At(900)), Some(Limit::At(1000)))),
        "rejecting memory+swap limit 1000 <= usage 1000"
    );
    fake.cgroup().apply(&of(Some(Limit::At(1001)), None)).unwrap();
}

#[test]
fn where_swap_is_not_counted_none_can_be_asked_for() {
    let fake = Fake::new("no-swap", &[(Version::V2, &["memory"], "memory.max")]);
    let of = |memsw| Resources {
        memory: Memory { max: Some(Limit::At(5)), memsw: Some(memsw), ..Memory::default() },
        ..Resources::default()
    };
    fake.cgroup().apply(&of(Limit::Max)).unwrap();
    fake.cgroup().apply(&of(Limit::At(5))).unwrap();
    let error = fake.cgroup().apply(&of(Limit::At(6))).unwrap_err();
    assert!(error.to_string().contains("memory.swap.max"), "{error}");
}

#[test]
fn garbage_in_the_files_is_no_harm() {
    let fake = Fake::v2("garbage");
    for file in ["memory.max", "memory.swap.max", "cpu.max", "cgroup.procs", "cgroup.events"] {
        fake.set(file, "\u{fffd}\0 -7 99999999999999999999 =\n:::\n");
    }
    std::fs::write(fake.root.join("0/c/memory.stat"), [0xff, 0xfe, b'\n', b' ', b'\n']).unwrap();
    let cgroup = fake.cgroup();
    assert_eq!(cgroup.procs().unwrap(), Vec::<i32>::new());
    let stats = cgroup.stats().unwrap();
    assert_eq!(stats.memory.limit, u64::MAX);
    let memory = Memory { max: Some(Limit::At(5)), ..Memory::default() };
    cgroup.update(&Resources { memory, ..Resources::default() }).unwrap();
}
