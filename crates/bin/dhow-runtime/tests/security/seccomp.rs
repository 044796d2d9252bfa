//! A filter holds on every way into the kernel: group C.

use serde_json::json;

use crate::bundle::{Bundle, bundle};
use crate::code::{self, Arg, Way};

const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const SEQPACKET: u32 = 5;

/// A filter that forbids sockets of some families, as Docker's does, and some calls altogether.
fn filter(b: &mut Bundle, architectures: &serde_json::Value) {
    let forbid = |family: u32| {
        json!({ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
            "args": [{ "index": 0, "value": family, "op": "SCMP_CMP_EQ" }] })
    };
    b.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": architectures,
        "syscalls": [
            forbid(AF_ALG), forbid(AF_VSOCK),
            { "names": ["bpf", "keyctl", "add_key", "io_uring_setup", "userfaultfd", "unshare", "socketcall"],
              "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
        ],
    });
}

fn calls() -> Vec<(&'static str, Way, i64, Vec<Arg<'static>>)> {
    const X32: i64 = 0x4000_0000;
    let mut calls = Vec::new();
    for family in [AF_ALG, AF_VSOCK] {
        let socket =
            || vec![Arg::Number(family.into()), Arg::Number(SEQPACKET.into()), Arg::Number(0)];
        calls.push(("socket", Way::Syscall, 41, socket()));
        // The kernel looks at the lower half of the register only.
        let high = vec![
            Arg::Number(i64::from(family) | 1 << 40),
            Arg::Number(SEQPACKET.into()),
            Arg::Number(0),
        ];
        calls.push(("socket, upper half", Way::Syscall, 41, high));
        calls.push(("socket, x32", Way::Syscall, X32 + 41, socket()));
        calls.push(("socket, i386", Way::Int80, 359, socket()));
        let socketcall = vec![Arg::Number(1), Arg::Words([family, SEQPACKET, 0])];
        calls.push(("socketcall, i386", Way::Int80, 102, socketcall));
    }
    for (name, number, other) in [
        ("bpf", 321, 357),
        ("keyctl", 250, 288),
        ("io_uring_setup", 425, 425),
        ("userfaultfd", 323, 374),
    ] {
        calls.push((name, Way::Syscall, number, vec![Arg::Number(0); 5]));
        calls.push((name, Way::Syscall, X32 + number, vec![Arg::Number(0); 5]));
        calls.push((name, Way::Int80, other, vec![Arg::Number(0); 5]));
    }
    let user: i64 = 0x1000_0000;
    calls.push(("unshare", Way::Syscall, 272, vec![Arg::Number(user)]));
    calls.push(("unshare, upper half", Way::Syscall, 272, vec![Arg::Number(user | 1 << 40)]));
    calls.push(("unshare, i386", Way::Int80, 310, vec![Arg::Number(user)]));
    calls
}

/// C09, C10 and C11, CVE-2026-31431, CVE-2026-123876, CVE-2022-0185 and others: what a filter forbids is
/// tried by each way into the kernel: 64 bit, x32's numbers, i386's calls and its `socketcall`, with
/// architectures that the filter lists and without. Where a way is forgotten, the call is made.
#[test]
fn c10_a_forbidden_call_is_forbidden_by_every_way() {
    let Some(mut b) = bundle("c10_a_forbidden_call_is_forbidden_by_every_way") else { return };
    for architectures in [
        json!([]),
        json!(["SCMP_ARCH_X86_64"]),
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
    ] {
        filter(&mut b, &architectures);
        for no_new_privs in [false, true] {
            b.config["process"]["noNewPrivileges"] = json!(no_new_privs);
            for (i, (name, way, number, args)) in calls().into_iter().enumerate() {
                if (i % 2 == 0) != no_new_privs {
                    continue;
                }
                code::write(&b.rootfs().join("bin/call"), way, &[(number, &args)]);
                b.args(&["/bin/call"]).write();
                let out = b.command(&["run", "c"]).output().unwrap();
                // Killed, or told EPERM (1) or ENOSYS (38, the kernel has no such call).
                let results = code::results(way, &out.stdout);
                let denied = match results.as_slice() {
                    [] => !out.status.success(),
                    [result] => matches!(result, -1 | -38),
                    _ => false,
                };
                assert!(
                    denied,
                    "{name} with {architectures}: {results:?} {}",
                    String::from_utf8_lossy(&out.stderr)
                );
            }
        }
    }
    // The control: without the filter, the same programs do make their calls.
    b.config["linux"].as_object_mut().unwrap().remove("seccomp");
    code::write(
        &b.rootfs().join("bin/call"),
        Way::Syscall,
        &[(41, &[Arg::Number(1), Arg::Number(1), Arg::Number(0)])],
    );
    b.args(&["/bin/call"]).write();
    let out = b.command(&["run", "c"]).output().unwrap();
    assert!(code::results(Way::Syscall, &out.stdout)[0] > 2);
}

/// X16: what is executed later is under the same filter, and has no more of a way round it: asked for
/// by `exec` with other capabilities, as another user, and without `noNewPrivileges`.
#[test]
fn x16_what_is_executed_is_under_the_filter() {
    let Some(mut b) = bundle("x16_what_is_executed_is_under_the_filter") else { return };
    filter(&mut b, &json!([]));
    let call: (i64, &[Arg<'_>]) = (41, &[Arg::Number(38), Arg::Number(5), Arg::Number(0)]);
    code::write(&b.rootfs().join("bin/call"), Way::Syscall, &[call]);
    b.args(&["sleep", "1000"]).start();
    for args in [
        &["exec"][..],
        &["exec", "-u", "1000"],
        &["exec", "--cap", "CAP_SYS_ADMIN"],
        &["exec", "--no-new-privs"],
    ] {
        let out = b.command(&[args, &["c", "/bin/call"]].concat()).output().unwrap();
        assert_eq!(code::results(Way::Syscall, &out.stdout), [-1], "{args:?}");
    }
}
