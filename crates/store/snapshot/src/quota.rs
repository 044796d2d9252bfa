//! A limit of what a directory holds: a container's writable layer, or a volume, is a project, where
//! the file system keeps quotas of projects (ext4, XFS: mounted with `prjquota`).

use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;
use sys::ProjectQuota;

use crate::{At as _, Error};

/// Projects of ours have numbers from here on, to stay away from those that people give.
const FIRST: u32 = 0x4000_0000;
/// How many numbers are tried.
const TRIES: u32 = 1000;

/// Makes the directories `inner` of the folder `dir`, which are empty (an empty name: the folder
/// itself), a project that may have so many bytes. [`Error::NoLimit`] where that cannot be had.
pub fn limit(dir: &Path, inner: &[&str], bytes: u64) -> Result<(), Error> {
    let folder = File::open(dir).at("open", dir)?;
    let fd = folder.as_fd();
    let project = free(fd, dir)?;
    failpoint::hit("snapshot.limit").at("quotactl_fd", dir)?;
    sys::limit_project(fd, project, bytes).map_err(|error| why(&error, dir))?;
    // A file is renamed from the one to the other: they have to be of one project.
    for inner in inner {
        let path = dir.join(inner);
        let one = File::open(&path).at("open", &path)?;
        sys::set_project(one.as_fd(), project).map_err(|error| why(&error, dir))?;
    }
    failpoint::hit("snapshot.limited").at("quotactl_fd", dir)
}

/// Takes back the limit of a folder that is about to go, if it has one: its number is free again.
pub fn unlimit(dir: &Path) -> Result<(), Error> {
    let Ok(folder) = File::open(dir) else { return Ok(()) };
    match sys::project_of(folder.as_fd()) {
        Ok(project) if project >= FIRST => sys::limit_project(folder.as_fd(), project, 0)
            .map_err(|error| error.errno())
            .at("quotactl_fd", dir),
        // Mostly: the file system knows no projects, or this is in none.
        _ => Ok(()),
    }
}

/// A number that no project has.
fn free(on: BorrowedFd<'_>, dir: &Path) -> Result<u32, Error> {
    let number = rustix::fs::fstat(on).at("stat", dir)?.st_ino;
    for nth in 0..TRIES {
        let project = FIRST + (number as u32).wrapping_add(nth) % FIRST;
        match sys::project_quota(on, project) {
            Ok(ProjectQuota { limit: 0, inodes: 0, .. }) => return Ok(project),
            Ok(_) => {}
            Err(error) => return Err(why(&error, dir)),
        }
    }
    Err(Error::NoLimit { why: "no project is free".into() })
}

fn why(error: &sys::Error, dir: &Path) -> Error {
    let why = match error.errno() {
        Errno::SRCH | Errno::NOTTY | Errno::NOTSUP | Errno::INVAL => {
            "the file system keeps no quotas of projects: ext4 and XFS do, mounted with `prjquota`"
        }
        Errno::NOSYS => "quotas of projects need Linux 5.14 (quotactl_fd)",
        errno => {
            let path = dir.to_path_buf();
            return Error::Io { call: "set a project's quota", path, source: errno.into() };
        }
    };
    Error::NoLimit { why: why.into() }
}
