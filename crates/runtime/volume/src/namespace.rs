//! Looking into another mount namespace.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use sys::{Call as _, CloneFlags, Error};

/// Where a process that mounts is, and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Namespaces<'a> {
    /// The host's mount namespace.
    pub host: BorrowedFd<'a>,
    /// This process's own.
    pub own: BorrowedFd<'a>,
    /// Its working directory: entering a namespace leads to the root of it.
    pub directory: &'a Path,
}

impl Namespaces<'_> {
    /// What `work` finds in the host's.
    pub(crate) fn on_host<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        self.visit(self.host, work)
    }

    /// What `work` finds in another one. This process has one thread.
    pub(crate) fn visit<T>(
        &self,
        other: BorrowedFd<'_>,
        work: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        sys::setns(other, CloneFlags::NEWNS)?;
        let found = work();
        sys::setns(self.own, CloneFlags::NEWNS)?;
        rustix::process::chdir(self.directory).call(|| format!("chdir({:?})", self.directory))?;
        Ok(found)
    }
}

/// Opens the mount namespace of a process, or `thread-self`.
pub(crate) fn open(process: &str) -> Result<OwnedFd, Error> {
    let path = format!("/proc/{process}/ns/mnt");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?})"))
}
