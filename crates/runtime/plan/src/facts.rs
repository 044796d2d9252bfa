//! What the plan has to know about the machine and the process that makes the container.

use rustix::process::Resource;

/// What is true here and now. Gathered once, by whoever executes the plan.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The capabilities that this process may use, one bit for each number.
    pub permitted: u64,
    /// The capabilities that an exec may still grant.
    pub bounding: u64,
    /// The capabilities that the kernel knows.
    pub known: u64,
    /// The effective user id.
    pub euid: u32,
    /// The effective group id.
    pub egid: u32,
    /// This process is in a user namespace that is not the machine's first.
    pub in_user_namespace: bool,
    /// The kernel has no mounts without a place: before Linux 5.12.
    pub old_mounts: bool,
    /// Units are the calling user's own systemd's to make.
    pub user_systemd: bool,
    /// The hard limits of this process; `None` is unlimited.
    pub hard_limits: Vec<(Resource, Option<u64>)>,
    /// `AppArmor` is enabled; may be left out where no profile is asked for.
    pub apparmor: bool,
    /// `SELinux` is enabled; may be left out where no label is asked for.
    pub selinux: bool,
}

/// `CAP_SYS_ADMIN`, as a bit.
const CAP_SYS_ADMIN: u64 = 1 << 21;

/// `CAP_SYS_RESOURCE`, as a bit.
const CAP_SYS_RESOURCE: u64 = 1 << 24;

impl Facts {
    /// Whether this process may mount by itself. Else only the new process may, in a user namespace.
    pub fn may_mount(&self) -> bool {
        self.permitted & CAP_SYS_ADMIN != 0
    }

    pub(crate) fn may_raise_limits(&self) -> bool {
        self.permitted & CAP_SYS_RESOURCE != 0 && !self.in_user_namespace
    }

    pub(crate) fn hard_limit(&self, resource: Resource) -> Option<u64> {
        self.hard_limits.iter().find(|(r, _)| *r == resource).and_then(|(_, limit)| *limit)
    }
}

/// What the caller asks for besides the configuration: options of the command line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Have systemd make the cgroup.
    pub systemd_cgroup: bool,
    /// Change the root by moving the mount instead of `pivot_root` (for a root in the initramfs).
    pub no_pivot: bool,
    /// Keep the session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors after standard error the program gets.
    pub preserve_fds: u32,
    /// How many more there are before those: sockets on which it is to listen, see `sd_listen_fds(3)`.
    pub listen_fds: u32,
    /// A cgroup that cannot be had is done without, where neither a path nor a limit was asked for.
    pub rootless: bool,
}
