use std::os::unix::process::ExitStatusExt;

use rustix::io::Errno;
use seccomp::{Arch, Insn};

use super::{in_child, on_a_thread};
use crate::{SeccompFlags, SockFilter, seccomp_set_filter, set_no_new_privs};

const AF_ALG: u64 = 38;

fn install(program: &[Insn]) {
    let filter: Vec<SockFilter> = program
        .iter()
        .map(|insn| SockFilter { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k })
        .collect();
    set_no_new_privs().unwrap();
    assert!(seccomp_set_filter(&filter, SeccompFlags::empty()).unwrap().is_none());
}

fn docker_default() -> Vec<Insn> {
    let profile = seccomp::Profile::docker_default();
    let resolved = seccomp::resolve(profile, &[], Arch::NATIVE, (6, 1)).unwrap();
    seccomp::compile(&resolved, Arch::NATIVE).unwrap()
}

fn denied(call: libc::c_long, argument: u64) -> Option<Errno> {
    // SAFETY: the calls made with this take numbers, or pointers that are null: the kernel answers
    // an error or a new descriptor, which the thread's end leaves to the process's.
    let ret = unsafe { libc::syscall(call, argument, 0_u64, 0_u64, 0_u64, 0_u64, 0_u64) };
    (ret == -1).then(crate::error::last_errno)
}

#[test]
fn the_default_profile_is_enforced() {
    on_a_thread(|| {
        install(&docker_default());
        let eperm = Some(Errno::PERM);
        assert_eq!(denied(libc::SYS_getpid, 0), None);
        assert_eq!(denied(libc::SYS_keyctl, 0), eperm);
        assert_eq!(denied(libc::SYS_unshare, 0), eperm);
        assert_eq!(denied(libc::SYS_bpf, 0), eperm);
        assert_eq!(denied(libc::SYS_clone3, 0), Some(Errno::NOSYS));
        assert_eq!(denied(libc::SYS_socket, AF_ALG), eperm);
        // The kernel ignores the upper half; so must the filter.
        assert_eq!(denied(libc::SYS_socket, 1 << 32 | AF_ALG), eperm);
        assert_eq!(denied(10_000, 0), Some(Errno::NOSYS));
        // Threads and programs still start.
        assert_eq!(on_a_thread(|| 1), 1);
        assert!(std::process::Command::new("/bin/true").status().unwrap().success());
    });
    // Only that thread had it.
    assert_ne!(denied(libc::SYS_unshare, 0), Some(Errno::PERM));
}

#[test]
fn a_killing_rule_kills() {
    if let Some(status) = in_child("filter::a_killing_rule_kills") {
        assert_eq!(status.signal(), Some(libc::SIGSYS));
        return;
    }
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["getcwd"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#;
    let profile = seccomp::Profile::parse(json).unwrap();
    let resolved = seccomp::resolve(profile, &[], Arch::NATIVE, (6, 1)).unwrap();
    install(&seccomp::compile(&resolved, Arch::NATIVE).unwrap());
    denied(libc::SYS_getcwd, 0);
    unreachable!("getcwd returned");
}

#[test]
fn a_listener_is_returned() {
    on_a_thread(|| {
        let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}"#;
        let profile = seccomp::Profile::parse(json).unwrap();
        let resolved = seccomp::resolve(profile, &[], Arch::NATIVE, (6, 1)).unwrap();
        assert!(seccomp::needs_listener(&resolved));
        let filter: Vec<SockFilter> = seccomp::compile(&resolved, Arch::NATIVE)
            .unwrap()
            .iter()
            .map(|insn| SockFilter { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k })
            .collect();
        set_no_new_privs().unwrap();
        match seccomp_set_filter(&filter, SeccompFlags::NEW_LISTENER) {
            // One filter of a process may have a listener: this one's parents have it.
            Err(err) if err.errno() == Errno::BUSY => {
                println!("skipped: a_listener_is_returned: this process has a listener already");
            }
            other => assert!(other.unwrap().is_some()),
        }
    });
}

#[test]
fn a_program_without_an_end_is_refused() {
    let load = SockFilter { code: 0x20, jt: 0, jf: 0, k: 0 };
    on_a_thread(move || {
        set_no_new_privs().unwrap();
        let err = seccomp_set_filter(&[load], SeccompFlags::empty()).unwrap_err();
        assert_eq!(err.errno(), Errno::INVAL);
    });
}
