#![allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]

use expect_test::{Expect, expect};

use super::*;

fn lines(steps: &[Step]) -> String {
    let line = |write: &Write| format!("{}={}", write.file, write.value);
    let each = |step: &Step| match step {
        Step::All(writes) => writes.iter().map(line).collect::<Vec<_>>().join(" & ") + "\n",
        Step::FirstOf(writes) => writes.iter().map(line).collect::<Vec<_>>().join(" or ") + "\n",
        Step::IfThere(write) => format!("if there: {}\n", line(write)),
        Step::Exactly(write) => format!("exactly: {}\n", line(write)),
    };
    steps.iter().map(each).collect()
}

#[track_caller]
fn check(steps: Result<Vec<Step>, Error>, want: &Expect) {
    match steps {
        Ok(steps) => want.assert_eq(&lines(&steps)),
        Err(error) => want.assert_eq(&format!("{error}\n")),
    }
}

#[test]
fn memory_and_swap_go_together_on_v1() {
    let limits = Memory {
        max: Some(Limit::At(512)),
        memsw: Some(Limit::At(1024)),
        low: Some(Limit::At(100)),
        swappiness: Some(10),
        oom_kill_disable: true,
        ..Memory::default()
    };
    check(
        memory(&limits, Version::V1),
        &expect![[r#"
            memory.limit_in_bytes=512 & memory.memsw.limit_in_bytes=1024
            memory.soft_limit_in_bytes=100
            memory.swappiness=10
            memory.oom_control=1
        "#]],
    );
    check(
        memory(&Memory { max: Some(Limit::Max), ..Memory::default() }, Version::V1),
        &expect![[r#"
            if there: memory.memsw.limit_in_bytes=-1
            memory.limit_in_bytes=-1
        "#]],
    );
}

#[test]
fn swap_is_its_own_limit_on_v2() {
    let of = |max, memsw| Memory { max, memsw, ..Memory::default() };
    check(
        memory(&of(Some(Limit::At(512)), Some(Limit::At(1024))), Version::V2),
        &expect![[r#"
            memory.swap.max=512
            memory.max=512
        "#]],
    );
    check(
        memory(&of(Some(Limit::Max), None), Version::V2),
        &expect![[r#"
            if there: memory.swap.max=max
            memory.max=max
        "#]],
    );
    check(
        memory(&of(Some(Limit::At(512)), Some(Limit::At(512))), Version::V2),
        &expect![[r#"
            if there: memory.swap.max=0
            memory.max=512
        "#]],
    );
    check(
        memory(&of(Some(Limit::Max), Some(Limit::At(512))), Version::V2),
        &expect![[r#"
            memory.swap.max=512
            memory.max=max
        "#]],
    );
    check(
        memory(&of(None, Some(Limit::At(5))), Version::V2),
        &expect![[r#"
            a limit on memory and swap: cannot be set without a limit on memory
        "#]],
    );
    check(
        memory(&of(Some(Limit::At(6)), Some(Limit::At(5))), Version::V2),
        &expect![[r#"
            a limit on memory and swap: is below the limit on memory
        "#]],
    );
    check(
        memory(&Memory { oom_kill_disable: true, ..Memory::default() }, Version::V2),
        &expect![[r#"
            this kernel has no `memory.oom_control`, and disabling the OOM killer needs it
        "#]],
    );
}

#[test]
fn processor_time_is_one_file_on_v2() {
    let limits = Cpu {
        shares: Some(1024),
        quota: Some(Limit::At(200_000)),
        period: Some(100_000),
        burst: Some(5_000),
        ..Cpu::default()
    };
    check(
        cpu(&limits, Version::V1),
        &expect![[r#"
            exactly: cpu.shares=1024
            cpu.cfs_period_us=100000 & cpu.cfs_quota_us=200000 & cpu.cfs_burst_us=5000
        "#]],
    );
    check(
        cpu(&limits, Version::V2),
        &expect![[r#"
            cpu.weight=100
            cpu.max=200000 100000 & cpu.max.burst=5000
        "#]],
    );
    let unlimited = Cpu { quota: Some(Limit::Max), ..Cpu::default() };
    check(cpu(&unlimited, Version::V2), &expect!["cpu.max=max\n"]);
    let idle = Cpu { idle: Some(true), shares: Some(2), ..Cpu::default() };
    check(cpu(&idle, Version::V2), &expect!["cpu.idle=1\n"]);
}

#[test]
fn shares_become_weights_along_a_curve() {
    let weights = [0, 1, 2, 3, 512, 1024, 2048, 262_143, 262_144, u64::MAX].map(weight_of_shares);
    // runc's own table has 2 -> 1, 1024 -> 100, 262144 -> 10000.
    assert_eq!(weights, [1, 1, 1, 2, 59, 100, 174, 10_000, 10_000, 10_000]);
    assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
}

#[test]
fn weights_of_leaves_are_v1_cfqs() {
    let limits = Io {
        leaf_weight: Some(100),
        weight_device: vec![DeviceWeight {
            major: 8,
            minor: 0,
            weight: None,
            leaf_weight: Some(200),
        }],
        ..Io::default()
    };
    check(
        io(&limits, Version::V1),
        &expect![[r#"
            blkio.leaf_weight=100
            blkio.leaf_weight_device=8:0 200
        "#]],
    );
    check(
        io(&limits, Version::V2),
        &expect![[r#"
            this kernel has no `blkio.leaf_weight`, and a leaf weight needs it
        "#]],
    );
}

#[test]
fn disk_limits_have_a_line_for_each_device() {
    let limits = Io {
        weight: Some(300),
        weight_device: vec![DeviceWeight {
            major: 8,
            minor: 0,
            weight: Some(100),
            leaf_weight: None,
        }],
        throttle: vec![
            DeviceRate { major: 8, minor: 16, rate: Rate::ReadBytes, per_second: 1 << 20 },
            DeviceRate { major: 8, minor: 16, rate: Rate::Writes, per_second: 0 },
        ],
        ..Io::default()
    };
    check(
        io(&limits, Version::V1),
        &expect![[r#"
            blkio.weight=300 or blkio.bfq.weight=300
            blkio.weight_device=8:0 100 or blkio.bfq.weight_device=8:0 100
            blkio.throttle.read_bps_device=8:16 1048576
            blkio.throttle.write_iops_device=8:16 0
        "#]],
    );
    check(
        io(&limits, Version::V2),
        &expect![[r#"
            io.bfq.weight=300 or io.weight=2930
            io.bfq.weight=8:0 100 or io.weight=8:0 910
            io.max=8:16 rbps=1048576
            io.max=8:16 wiops=max
        "#]],
    );
}

#[test]
fn the_rest_is_written_as_it_is() {
    let pages = [Hugetlb { page_size: "2MB".into(), max: 4096 }];
    check(
        Ok(hugetlb(&pages, Version::V2)),
        &expect![[r#"
            hugetlb.2MB.max=4096
            if there: hugetlb.2MB.rsvd.max=4096
        "#]],
    );
    check(Ok(pids(Limit::Max)), &expect!["pids.max=max\n"]);
    let devices = [Rdma { device: "mlx4_0".into(), hca_handle: Some(2), hca_object: None }];
    check(Ok(rdma(&devices)), &expect!["rdma.max=mlx4_0 hca_handle=2\n"]);
    let sets = Cpuset { cpus: Some("0-1".into()), mems: Some("0".into()) };
    check(
        Ok(cpuset(&sets)),
        &expect![[r#"
            cpuset.cpus=0-1
            cpuset.mems=0
        "#]],
    );
}
