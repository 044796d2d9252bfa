//! The OCI object as a structure: the compiled program says for every call what the profile says.
#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use oci::runtime::{Seccomp, SyscallArg, SyscallRule};
use seccomp::reference::{Call, evaluate, run};
use seccomp::{Arch, compile};

const NAMES: &[&str] = &[
    "read",
    "write",
    "open",
    "socket",
    "socketpair",
    "connect",
    "send",
    "socketcall",
    "ipc",
    "semop",
    "lseek",
    "ioctl",
    "clone",
    "clone3",
    "personality",
    "prctl",
    "mseal",
    "execve",
    "set_tls",
    "no-such-call",
];
const ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];
const OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_GT",
    "SCMP_CMP_GE",
    "SCMP_CMP_MASKED_EQ",
];
const ARCHITECTURES: &[&str] = &[
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_S390X",
];

/// A number of which the interesting ones are likely.
fn value(u: &mut Unstructured<'_>) -> Result<u64> {
    Ok(match u.int_in_range(0..=4)? {
        0 => u.int_in_range(0..=64)?,
        1 => 1 << u.int_in_range(0..=63)?,
        2 => u64::from(u32::arbitrary(u)?),
        3 => u64::from(u32::arbitrary(u)?) << 32,
        _ => u64::arbitrary(u)?,
    })
}

fn choose(u: &mut Unstructured<'_>, from: &[&str]) -> Result<String> {
    Ok((*u.choose(from)?).to_owned())
}

fn rule(u: &mut Unstructured<'_>) -> Result<SyscallRule> {
    let names = (0..u.int_in_range(1..=3)?).map(|_| choose(u, NAMES)).collect::<Result<_>>()?;
    let args = (0..u.int_in_range(0..=3)?)
        .map(|_| {
            Ok(SyscallArg {
                index: u.int_in_range(0..=5)?,
                value: value(u)?,
                value_two: if u.arbitrary()? { Some(value(u)?) } else { None },
                op: choose(u, OPERATORS)?,
            })
        })
        .collect::<Result<_>>()?;
    let action = choose(u, ACTIONS)?;
    let takes_errno = matches!(action.as_str(), "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
    let errno_ret = if takes_errno { u.arbitrary::<Option<u8>>()?.map(u32::from) } else { None };
    Ok(SyscallRule { names, action, errno_ret, args })
}

/// A profile and calls to ask it about.
#[derive(Debug)]
struct Input {
    native: Arch,
    seccomp: Seccomp,
    calls: Vec<Call>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let native = *u.choose(&[Arch::X86_64, Arch::Aarch64])?;
        let seccomp = Seccomp {
            default_action: choose(u, ACTIONS)?,
            architectures: (0..u.int_in_range(0..=3)?)
                .map(|_| choose(u, ARCHITECTURES))
                .collect::<Result<_>>()?,
            syscalls: (0..u.int_in_range(0..=12)?).map(|_| rule(u)).collect::<Result<_>>()?,
            ..Seccomp::default()
        };
        let calls = (0..32)
            .map(|_| {
                let arch = *u.choose(match native {
                    Arch::Aarch64 => &[Arch::Aarch64, Arch::Arm],
                    _ => &[Arch::X86_64, Arch::X86],
                })?;
                let x32 = if u.ratio(1, 4)? { 0x4000_0000 } else { 0 };
                let number = u.int_in_range(0..=600_u32)? | x32;
                let mut args = [0; 6];
                for arg in &mut args {
                    *arg = value(u)?;
                }
                Ok(Call { arch, number, args })
            })
            .collect::<Result<_>>()?;
        Ok(Self { native, seccomp, calls })
    }
}

fuzz_target!(|input: Input| {
    let Input { native, seccomp, calls } = input;
    // Some combinations are refused (a listener for `write`, too long); none may panic.
    let Ok(program) = compile(&seccomp, native) else { return };
    for call in calls {
        assert_eq!(run(&program, &call), Some(evaluate(&seccomp, native, &call)), "{call:x?}");
    }
});
