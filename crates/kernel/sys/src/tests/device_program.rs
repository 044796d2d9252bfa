use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::{
    BpfInsn, bpf_attach_cgroup_device, bpf_detach_cgroup_device, bpf_load_cgroup_device,
    bpf_prog_by_id, bpf_query_cgroup_device,
};

/// `r0 = value; exit`.
fn answer(value: i32) -> [BpfInsn; 2] {
    [
        BpfInsn { code: 0xb7, imm: value, ..BpfInsn::default() },
        BpfInsn { code: 0x95, ..BpfInsn::default() },
    ]
}

/// A cgroup of this test's own, in whichever v2 hierarchy there is.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        let path = PathBuf::from(line.split(' ').nth(4)?)
            .join(format!("dhow-sys-test-{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        std::fs::remove_dir(&self.0).unwrap();
    }
}

#[test]
fn a_program_is_attached_replaced_and_detached() {
    let load = |value| match bpf_load_cgroup_device(&answer(value)) {
        Err(err) if err.errno() == Errno::PERM => None,
        other => Some(other.unwrap()),
    };
    let Some(cgroup) = Cgroup::new() else {
        println!("skipped: a_program_is_attached_replaced_and_detached: cgroup v2: not mounted");
        return;
    };
    let (Some(no), Some(yes)) = (load(0), load(1)) else {
        println!("skipped: a_program_is_attached_replaced_and_detached: no CAP_BPF");
        return;
    };
    let dir = std::fs::File::open(&cgroup.0).unwrap();
    let dir = dir.as_fd();
    assert!(bpf_query_cgroup_device(dir).unwrap().is_empty());
    bpf_attach_cgroup_device(dir, no.as_fd(), None).unwrap();
    let first = bpf_query_cgroup_device(dir).unwrap();
    assert_eq!(first.len(), 1);
    let found = bpf_prog_by_id(first[0]).unwrap();
    bpf_attach_cgroup_device(dir, yes.as_fd(), Some(found.as_fd())).unwrap();
    let second = bpf_query_cgroup_device(dir).unwrap();
    assert!(second.len() == 1 && second != first);
    bpf_detach_cgroup_device(dir, yes.as_fd()).unwrap();
    assert!(bpf_query_cgroup_device(dir).unwrap().is_empty());
}

#[test]
fn what_the_verifier_says_is_told() {
    let without_exit = &answer(1)[..1];
    let err = bpf_load_cgroup_device(without_exit).unwrap_err();
    if err.errno() == Errno::PERM {
        println!("skipped: what_the_verifier_says_is_told: no CAP_BPF");
        return;
    }
    assert_eq!(err.errno(), Errno::INVAL);
    assert!(err.to_string().contains('('), "{err}");
}
