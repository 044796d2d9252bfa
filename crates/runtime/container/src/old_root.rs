//! The host's root is detached from the container's mount namespace by the runtime, while init goes on.
//!
//! A mount that goes has the kernel wait for a grace period (`namespace_unlock` in Linux's
//! `fs/namespace.c`: `synchronize_rcu_expedited`). Init would sleep through it, and then have a third of
//! a millisecond of work that needs nothing of this. So the runtime waits, which has nothing else to do.
//!
//! Init sends its mount namespace and the root that it has left ([`Pivoted`]). umount2(2) wants the
//! caller to be in the namespace of the mount (`check_mnt`). setns(2) lets a process in whose root and
//! working directory nobody shares (`fs->users`, so one with one thread), with `CAP_SYS_ADMIN` in the
//! user namespaces of both, and `CAP_SYS_CHROOT` (`mntns_install`). It changes both to what is topmost
//! at the other namespace's root. That is the old root: where the runtime's own root is another, one of
//! chroot(2), init has left that first (`mount::go_to_top`). What is detached is what the descriptor
//! names, all the same.
//!
//! Init does not resolve a path of the container's, and does not say that it is ready, before it has
//! heard that the old root is gone. A runtime that is killed in between says nothing: init sees the
//! socket close, and ends. Nothing but our own code runs in the container until then (`exec` waits
//! until it is made), so what comes over the socket is what init meant, and nobody in the container
//! sees that this process was there.

use std::os::fd::{AsFd, OwnedFd};

use caps::{CapSet, Capability};
use init::Start;
use init::sync::Pivoted;
use oci::runtime::NamespaceKind;
use plan::{Enter, Plan};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sys::{Call, CloneFlags, Propagation, SingleThreaded};

use crate::error::{Doing, Error, failpoint};
use crate::making::Course;

/// Where this process is, to return to.
pub(crate) struct Here {
    namespace: OwnedFd,
    root: OwnedFd,
    cwd: OwnedFd,
}

impl Here {
    /// Where this process is, if it is to detach the old root of the container of `plan`. `None`: init
    /// does that. `proc` is this process's procfs.
    pub(crate) fn if_it_detaches(plan: &Plan, start: &Start, proc: &OwnedFd) -> Option<Self> {
        let detaches = suits(plan) && matches!(start, Start::Fifo(_)) && may_enter();
        // Whoever cannot come back does not go.
        detaches.then(|| Self::open(proc).ok()).flatten()
    }

    fn open(proc: &OwnedFd) -> Result<Self, Errno> {
        let place = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let read = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self {
            namespace: rustix::fs::openat(proc, "self/ns/mnt", read, Mode::empty())?,
            root: rustix::fs::open("/", place, Mode::empty())?,
            cwd: rustix::fs::open(".", place, Mode::empty())?,
        })
    }

    /// Detaches the root that init has left, and is here again afterwards.
    pub(crate) fn detach(&self, _proof: &SingleThreaded, left: &Pivoted) -> Result<(), Error> {
        failpoint("runtime.detach")?;
        sys::setns(left.namespace.as_fd(), CloneFlags::NEWNS)
            .doing(|| "enter the container's mount namespace")?;
        let detached = mount::detach_old_root(left.old_root.as_fd())
            .doing(|| "detach the host's root from the container");
        self.come_back().and(detached)?;
        failpoint("runtime.detached")
    }

    fn come_back(&self) -> Result<(), Error> {
        let doing = || "return from the container's mount namespace";
        sys::setns(self.namespace.as_fd(), CloneFlags::NEWNS).doing(doing)?;
        rustix::process::fchdir(&self.root).call(|| "fchdir(root)").doing(doing)?;
        rustix::process::chroot(".").call(|| "chroot(\".\")").doing(doing)?;
        rustix::process::fchdir(&self.cwd).call(|| "fchdir(working directory)").doing(doing)
    }
}

/// Whether the old root can stay for a while, and that is of use.
fn suits(plan: &Plan) -> bool {
    let (namespaces, rootfs, process) = (&plan.namespaces, &plan.init.rootfs, &plan.init.process);
    let is_simple = Course::of(plan) == Course::Direct
        && namespaces.is_new(NamespaceKind::Mount)
        && namespaces.join.iter().all(|join| join.kind == NamespaceKind::Network)
        && !rootfs.in_user_namespace
        && !rootfs.open_inside
        && rootfs.enter == Enter::PivotRoot
        && matches!(rootfs.root.propagation, Propagation::Slave | Propagation::Private);
    // What resolves a path of the container's, or asks the runtime, before init is the user.
    let listens = plan.init.filter.as_ref().is_some_and(|filter| filter.listener.is_some());
    let asks = listens || process.limits_from_outside;
    let looks = process.find_home || process.landlock.is_some();
    is_simple && !asks && !looks
}

/// Whether this process may enter the mount namespace of its child, and return.
fn may_enter() -> bool {
    let holds = |held: sys::CapSets| {
        let held = CapSet(held.effective);
        held.contains(Capability::SysAdmin) && held.contains(Capability::SysChroot)
    };
    rustix::process::geteuid().is_root() && sys::capget().is_ok_and(holds)
}
