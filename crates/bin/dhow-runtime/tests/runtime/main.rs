//! Real containers of busybox, made by the runtime as it is shipped.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ahead;
mod as_runc;
mod bad_input;
mod bundle;
mod cgroups;
mod checkpoint;
mod chroot;
mod exec;
mod failpoints;
mod fields;
mod hooks;
mod hostile;
mod idmap;
mod lifecycle;
mod lockdown;
mod mounts;
mod namespaces;
mod netdevices;
mod old_root;
mod older;
mod rdt;
mod rootfs;
mod rootless;
mod seccomp;
mod selinux;
mod systemd;
mod terminal;
mod user;
mod userns;
