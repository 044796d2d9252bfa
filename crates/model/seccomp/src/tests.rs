use oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use proptest::prelude::*;

use super::*;
use crate::reference::{Call, evaluate, run};
use crate::table::SYSCALLS;

/// What a container of Docker has by default.
const DEFAULT_CAPS: &[&str] = &[
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

const X86_FAMILY: &[Arch] = &[Arch::X86_64, Arch::X32, Arch::X86];
const ARM_FAMILY: &[Arch] = &[Arch::Aarch64, Arch::Arm];

fn default_profile(caps: &[&str], arch: Arch) -> Seccomp {
    let caps: Vec<String> = caps.iter().map(ToString::to_string).collect();
    resolve(Profile::docker_default(), &caps, arch, (6, 1)).unwrap()
}

fn rule(names: &[&str], action: &str, args: &[(u32, &str, u64)]) -> SyscallRule {
    SyscallRule {
        names: names.iter().map(ToString::to_string).collect(),
        action: action.to_owned(),
        errno_ret: None,
        args: args
            .iter()
            .map(|(index, op, value)| SyscallArg {
                index: *index,
                value: *value,
                value_two: None,
                op: (*op).to_owned(),
            })
            .collect(),
    }
}

fn profile(default: &str, syscalls: Vec<SyscallRule>) -> Seccomp {
    Seccomp { default_action: default.to_owned(), syscalls, ..Seccomp::default() }
}

/// The numbers at which anything can change, with those around them.
fn numbers() -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..700).chain([0x3fff_ffff, u32::MAX - 1, u32::MAX]).collect();
    numbers.extend((0..700).map(|n| n | Arch::X32_BIT));
    numbers.extend(0xf_0000..0xf_0010);
    numbers
}

/// The values at which a condition of `seccomp` can change, with those around them.
fn values(seccomp: &Seccomp) -> Vec<u64> {
    let mut values = vec![0, 1, 11, u64::MAX, 1 << 32];
    for arg in seccomp.syscalls.iter().flat_map(|rule| &rule.args) {
        for value in [arg.value, arg.value_two.unwrap_or(0)] {
            values.extend([value, value.wrapping_add(1), value.wrapping_sub(1), value ^ (1 << 32)]);
            values.push(value | 0x10);
        }
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// The numbers that look at arguments.
fn conditional(seccomp: &Seccomp, family: &[Arch]) -> Vec<u32> {
    let rules = seccomp.syscalls.iter().filter(|rule| !rule.args.is_empty());
    let names = rules.flat_map(|rule| rule.names.iter().map(String::as_str));
    let names = names.chain(["ipc", "socketcall"]);
    names.flat_map(|name| family.iter().filter_map(|arch| arch.number(name))).collect()
}

/// Holds the compiled program against the profile for every number and, where a rule looks at them,
/// every value of the first arguments.
#[track_caller]
fn check(seccomp: &Seccomp, native: Arch) -> usize {
    let family = if X86_FAMILY.contains(&native) { X86_FAMILY } else { ARM_FAMILY };
    let program = compile(seccomp, native).unwrap();
    let (conditional, values) = (conditional(seccomp, family), values(seccomp));
    for number in numbers() {
        let values = if conditional.contains(&number) { &values[..] } else { &[1] };
        for &arch in family {
            for value in values {
                for args in [[*value, 0, 0, 0, 0, 0], [7, *value, *value, 0, 0, *value]] {
                    let call = Call { arch, number, args };
                    let got = run(&program, &call);
                    assert_eq!(got, Some(evaluate(seccomp, native, &call)), "{call:x?}");
                }
            }
        }
    }
    program.len()
}

#[test]
fn the_tables_are_sorted() {
    assert!(SYSCALLS.is_sorted_by(|a, b| a.0 < b.0));
    for (name, numbers) in [
        ("read", [0, 0, 3, 63, 3]),
        ("socket", [41, 41, 359, 198, 281]),
        ("execve", [59, 520, 11, 221, 11]),
        ("clone3", [435, 435, 435, 435, 435]),
        ("set_tls", [-1, -1, -1, -1, 0xf_0005]),
    ] {
        let row = SYSCALLS.binary_search_by_key(&name, |row| row.0).unwrap();
        assert_eq!(SYSCALLS[row].1, numbers, "{name}");
    }
    assert_eq!(Arch::X32.number("execve"), Some(0x4000_0208));
}

#[test]
fn the_table_says_what_the_text_says() {
    assert_eq!(Profile::docker_default(), Profile::parse(DOCKER_DEFAULT).unwrap());
}

#[test]
fn the_default_profile_compiles_to_what_it_says() {
    let all_caps = ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_BPF", "CAP_SYSLOG"];
    for native in [Arch::X86_64, Arch::Aarch64] {
        for caps in [&[], DEFAULT_CAPS, &all_caps] {
            let len = check(&default_profile(caps, native), native);
            // As a list it would be some 1,600.
            assert!(len < 500, "{len} instructions");
        }
    }
}

/// One call under Docker's default profile and default capabilities.
fn under_default(arch: Arch, name: &str, args: [u64; 6]) -> Action {
    let native = if X86_FAMILY.contains(&arch) { Arch::X86_64 } else { Arch::Aarch64 };
    let program = compile(&default_profile(DEFAULT_CAPS, native), native).unwrap();
    let number = arch.number(name).unwrap();
    run(&program, &Call { arch, number, args }).unwrap()
}

#[test]
fn the_default_profile_keeps_what_it_is_known_for() {
    let arg = |value| [value, 0, 0, 0, 0, 0];
    let eperm = Action::errno(1);
    for arch in [Arch::X86_64, Arch::X32, Arch::X86, Arch::Aarch64, Arch::Arm] {
        for name in ["read", "execve", "chroot", "setuid", "clone", "futex", "io_pgetevents"] {
            assert_eq!(under_default(arch, name, arg(0)), Action::ALLOW, "{arch:?} {name}");
        }
        for name in [
            "bpf",
            "mount",
            "unshare",
            "setns",
            "keyctl",
            "add_key",
            "request_key",
            "io_uring_setup",
            "io_uring_enter",
            "io_uring_register",
            "userfaultfd",
            "perf_event_open",
            "fsopen",
            "fsconfig",
            "move_mount",
            "open_by_handle_at",
            "kexec_load",
            "init_module",
            "finit_module",
            "reboot",
            "pivot_root",
        ] {
            assert_eq!(under_default(arch, name, arg(0)), eperm, "{arch:?} {name}");
        }
        assert_eq!(under_default(arch, "clone3", arg(0)), Action::errno(38));
        assert_eq!(under_default(arch, "clone", arg(0x1000_0000)), eperm, "CLONE_NEWUSER");
        assert_eq!(under_default(arch, "personality", arg(0xffff_ffff)), Action::ALLOW);
        assert_eq!(under_default(arch, "personality", arg(0x0040_0000)), eperm);
    }
}

/// The families that the default profile keeps out (`AF_ALG`, `AF_VSOCK`) stay out also when the upper
/// half of the register, which the kernel ignores, is not 0.
#[test]
fn a_denied_socket_family_cannot_hide_behind_the_upper_half() {
    for arch in [Arch::X86_64, Arch::X32, Arch::X86, Arch::Aarch64, Arch::Arm] {
        for family in [38, 40] {
            for upper in [0, 1, 0x8000_0000, 0xffff_ffff_u64] {
                let args = [upper << 32 | family, 0, 0, 0, 0, 0];
                assert_eq!(
                    under_default(arch, "socket", args),
                    Action::errno(1),
                    "{arch:?} {args:x?}"
                );
            }
        }
        assert_eq!(under_default(arch, "socket", [2, 0, 0, 0, 0, 0]), Action::ALLOW);
    }
}

#[test]
fn calls_of_another_architecture_end_the_process() {
    let seccomp = profile("SCMP_ACT_ALLOW", Vec::new());
    let program = compile(&seccomp, Arch::X86_64).unwrap();
    let of = |arch, number| run(&program, &Call { arch, number, args: [0; 6] }).unwrap();
    assert_eq!(of(Arch::X86_64, 0), Action::ALLOW);
    assert_eq!(of(Arch::X86, 3), Action::KILL_PROCESS);
    assert_eq!(of(Arch::X86_64, Arch::X32_BIT), Action::KILL_PROCESS);
    assert_eq!(of(Arch::X86_64, u32::MAX), Action::ALLOW);
    assert_eq!(of(Arch::Aarch64, 0), Action::KILL_PROCESS);
}

#[test]
fn multiplexed_calls_cannot_be_told_apart_by_their_arguments() {
    let socketcall = Arch::X86.number("socketcall").unwrap();
    let with = |syscalls| {
        let mut seccomp = profile("SCMP_ACT_ALLOW", syscalls);
        seccomp.architectures = vec!["SCMP_ARCH_X86".to_owned()];
        let program = compile(&seccomp, Arch::X86_64).unwrap();
        let call = |id| Call { arch: Arch::X86, number: socketcall, args: [id, 0, 0, 0, 0, 0] };
        [run(&program, &call(1)).unwrap(), run(&program, &call(3)).unwrap()]
    };
    let deny = rule(&["socket"], "SCMP_ACT_ERRNO", &[(0, "SCMP_CMP_EQ", 38)]);
    assert_eq!(with(vec![deny.clone()]), [Action::errno(1), Action::ALLOW]);
    let allow = rule(&["socketcall"], "SCMP_ACT_ALLOW", &[]);
    assert_eq!(with(vec![allow, deny]), [Action::errno(1), Action::ALLOW]);
}

#[test]
fn the_more_special_rule_decides() {
    let seccomp = profile(
        "SCMP_ACT_ALLOW",
        vec![
            rule(&["socket"], "SCMP_ACT_ALLOW", &[]),
            rule(&["socket"], "SCMP_ACT_ERRNO", &[(0, "SCMP_CMP_EQ", 16)]),
            rule(&["lseek"], "SCMP_ACT_KILL", &[(1, "SCMP_CMP_GT", u64::MAX / 2)]),
            rule(&["lseek"], "SCMP_ACT_LOG", &[(1, "SCMP_CMP_GE", 1 << 32), (2, "SCMP_CMP_NE", 0)]),
        ],
    );
    check(&seccomp, Arch::X86_64);
    check(&seccomp, Arch::Aarch64);
}

type Change<'a> = &'a dyn Fn(&mut Seccomp);

#[test]
fn faults_are_named() {
    let with = |change: Change<'_>| {
        let mut seccomp = profile("SCMP_ACT_ERRNO", vec![rule(&["read"], "SCMP_ACT_ALLOW", &[])]);
        change(&mut seccomp);
        compile(&seccomp, Arch::X86_64).unwrap_err().to_string()
    };
    let checks: &[(Change<'_>, &str)] = &[
        (&|s| s.default_action = "ALLOW".into(), "unknown seccomp action `ALLOW`"),
        (
            &|s| s.default_action = "SCMP_ACT_NOTIFY".into(),
            "SCMP_ACT_NOTIFY cannot be used for the default action",
        ),
        (&|s| s.architectures = vec!["PDP11".into()], "unknown seccomp architecture `PDP11`"),
        (&|s| s.syscalls[0].names.clear(), "seccomp rule number 0 names no system call"),
        (&|s| s.syscalls[0].errno_ret = Some(1), "seccomp action `SCMP_ACT_ALLOW` takes no errno"),
        (&|s| s.default_errno_ret = Some(4096), "errno 4096 of a seccomp rule is above 4095"),
        (
            &|s| s.syscalls[0] = rule(&["read"], "SCMP_ACT_ALLOW", &[(6, "SCMP_CMP_EQ", 0)]),
            "seccomp rule for `read` looks at argument 6, but the last is 5",
        ),
        (
            &|s| s.syscalls[0] = rule(&["read"], "SCMP_ACT_ALLOW", &[(0, "==", 0)]),
            "unknown seccomp operator `==`",
        ),
        (
            &|s| s.syscalls[0] = rule(&["write"], "SCMP_ACT_NOTIFY", &[]),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
    ];
    for (change, message) in checks {
        assert_eq!(with(change), *message);
    }
    let mut seccomp = profile("SCMP_ACT_ALLOW", Vec::new());
    seccomp.flags = vec!["SECCOMP_FILTER_FLAG_LOG".into(), "SECCOMP_FILTER_FLAG_TSYNC".into()];
    assert_eq!(flags(&seccomp).unwrap(), 3);
    seccomp.flags.push("SECCOMP_FILTER_FLAG_NEW_LISTENER".into());
    assert!(flags(&seccomp).is_err());
}

#[test]
fn conditions_of_docker_rules_are_resolved() {
    let json = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "archMap": null, "syscalls": [
        {"name": "open", "action": "SCMP_ACT_ALLOW", "args": null},
        {"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_X", "CAP_Y"]}},
        {"names": ["b"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_X", "CAP_Z"]}},
        {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
        {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.12"}},
        {"names": ["e"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "5.12"}}
        ]}"#;
    let profile = Profile::parse(json).unwrap();
    let names = |caps: &[&str], arch, kernel| {
        let caps: Vec<_> = caps.iter().map(ToString::to_string).collect();
        let resolved = resolve(profile.clone(), &caps, arch, kernel).unwrap();
        resolved.syscalls.iter().map(|rule| rule.names.join(",")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&[], Arch::X86_64, (5, 10)), "open b e");
    assert_eq!(names(&["CAP_X"], Arch::X86_64, (5, 12)), "open d");
    assert_eq!(names(&["CAP_X", "CAP_Y"], Arch::Aarch64, (6, 1)), "open a c d");
    let default = default_profile(&[], Arch::X86_64);
    let wanted = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    assert_eq!(default.architectures, wanted);
}

fn any_rule() -> impl Strategy<Value = SyscallRule> {
    let names = prop::collection::vec(
        prop::sample::select(vec![
            "read", "socket", "connect", "ipc", "semop", "lseek", "ioctl", "clone",
        ]),
        1..3,
    );
    let action = prop::sample::select(vec![
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_LOG",
        "SCMP_ACT_TRACE",
    ]);
    let op = prop::sample::select(vec![
        "SCMP_CMP_EQ",
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_GT",
        "SCMP_CMP_GE",
        "SCMP_CMP_MASKED_EQ",
    ]);
    let value = prop_oneof![0..40_u64, any::<u64>(), (0..64_u32).prop_map(|bit| 1 << bit)];
    let arg = (0..3_u32, value.clone(), prop::option::of(value), op).prop_map(
        |(index, value, value_two, op)| SyscallArg { index, value, value_two, op: op.to_owned() },
    );
    (names, action, prop::collection::vec(arg, 0..3)).prop_map(|(names, action, args)| {
        SyscallRule {
            names: names.into_iter().map(str::to_owned).collect(),
            action: action.to_owned(),
            errno_ret: None,
            args,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_profile_compiles_to_what_it_says(
        syscalls in prop::collection::vec(any_rule(), 0..8),
        default in prop::sample::select(vec!["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_TRAP"]),
        architectures in prop::collection::vec(
            prop::sample::select(vec!["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"]), 0..3),
    ) {
        let mut seccomp = profile(default, syscalls);
        seccomp.architectures = architectures.into_iter().map(str::to_owned).collect();
        check(&seccomp, Arch::X86_64);
        check(&seccomp, Arch::Aarch64);
    }
}
