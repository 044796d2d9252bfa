//! The system calls that rustix lacks: the only `unsafe` code.
//!
//! Each function is one call, typed: descriptors are borrowed or owned, flags are types, and a
//! failure is an [`Error`] that reads as the call did. What rustix already wraps safely is used
//! from rustix, and [`Call::call`] gives its errors the same form.
//!
//! What is not here: any policy. Which namespaces, which capabilities, which order is decided by
//! those who call.
//!
//! The oldest kernel is 4.18. What a call needs beyond that it says, and where the runtime has to do
//! without it, what is done instead is here too.

mod beneath;
mod bpf;
mod btrfs;
mod cred;
mod error;
mod exe;
mod exec;
mod fd;
mod file;
mod handle;
mod keyring;
mod landlock;
mod lock;
mod memory;
mod mount;
mod netdevice;
mod netlink;
mod packet;
mod placement;
mod process;
mod quota;
mod sched;
mod seccomp;
mod signal;
mod spawn;
mod tty;

pub use beneath::{mount_id, open_beneath};
pub use bpf::{
    BpfInsn, bpf_attach_cgroup_device, bpf_detach_cgroup_device, bpf_load_cgroup_device,
    bpf_prog_by_id, bpf_query_cgroup_device,
};
pub use btrfs::{
    BTRFS_MAGIC, btrfs_create_snapshot, btrfs_create_subvolume, btrfs_delete_subvolume,
    btrfs_limit_exclusive, btrfs_make_writable, is_btrfs_subvolume,
};
pub use cred::{
    CapSets, as_effective, capget, capset, clear_ambient_caps, drop_bounding, set_ambient_cap,
    set_keep_caps, set_no_new_privs, setgroups, setresgid, setresuid,
};
pub use error::{Call, Error, FdName};
pub use exe::{OverlaidExe, is_protected, kept_exe, overlaid_exe, protected_exe};
pub use exec::{execve, execveat, exit_now};
pub use fd::{
    close_all_but, close_range, dup2, keep_on_exec, open_on_exec, recv_fd, recv_fds, send_fd,
    send_fds, take_fd,
};
pub use file::read_file;
pub use handle::Handle;
pub use keyring::keyctl_join_session;
pub use landlock::{AccessFs, AccessNet, Ruleset, landlock_abi};
pub use lock::{ByteLock, byte_holder, lock_byte, lock_byte_of_open_file};
pub use memory::{drop_program_pages, peak_memory_of_children, share_one_heap};
pub use mount::{MountAttr, Propagation, has_mount_setattr, mount_setattr};
pub use netdevice::{bind_to_device, bound_device, device_flags};
pub use netlink::netlink_ext_ack;
pub use packet::send_frame;
pub use placement::{run_anywhere, wake_elsewhere};
pub use process::{
    CloneArgs, CloneFlags, Cloned, SingleThreaded, clone3, namespace_kind, personality,
    set_child_subreaper, set_dumpable, set_pdeathsig, setns, unshare,
};
pub use quota::{ProjectQuota, limit_project, project_of, project_quota, set_project};
pub use sched::{
    IoPriorityClass, SchedAttr, ioprio_set, prlimit_set, sched_getaffinity, sched_setaffinity,
    sched_setattr, set_mempolicy,
};
pub use seccomp::{SeccompFlags, SockFilter, seccomp_set_filter};
pub use signal::{
    SignalInfo, end_on_request, ignore_signals, read_signal, reset_signals, signal_block_all,
    signal_unblock_all, signalfd, signalfd_all,
};
pub use spawn::{Spawn, Spawned, in_own_session};
pub use tty::{set_controlling_tty, unread_by_peer};

#[cfg(test)]
mod tests;
