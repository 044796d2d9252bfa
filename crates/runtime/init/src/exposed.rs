//! The host's procfs and sysfs in a mount namespace whose root was moved and not pivoted.
//!
//! The kernel lets a user namespace mount a new procfs only if one is there already of which nothing
//! is covered. In a container that is its own, with masks; but after `--no-pivot` the host's, without
//! any, is still in the mount namespace, out of sight: a process could make a user namespace in the
//! container and have a procfs without masks.

use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use mount::mountinfo::{Mounted, mounts};
use mount::{MountAttr, fs_mount};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use sys::Call;

use crate::error::{Doing, Error};

/// Unmounts, or covers where that is not allowed, each whole procfs and sysfs that is not below
/// `root`.
pub(crate) fn cover(root: &Path, proc: BorrowedFd<'_>) -> Result<(), Error> {
    let doing = || "hide the host's procfs and sysfs";
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::openat(proc, "self/mountinfo", flags, Mode::empty())
        .call(|| "open(mountinfo)")
        .doing(doing)?;
    let mut text = Vec::new();
    std::fs::File::from(file).read_to_end(&mut text).call(|| "read(mountinfo)").doing(doing)?;
    // The last mount of a place is the one that its path leads to.
    let mut covered = Vec::new();
    for point in mounts(&text).rev().filter(whole).map(|mounted| mounted.point()) {
        if point.starts_with(root) || covered.contains(&point) {
            continue;
        }
        match mount::umount_detach(&point) {
            Err(err) if matches!(err.errno(), Errno::INVAL | Errno::PERM) => {
                let empty =
                    fs_mount("tmpfs", Some("tmpfs"), &[], MountAttr::RDONLY).doing(doing)?;
                let empty = std::os::fd::AsFd::as_fd(&empty);
                mount::move_to_path(empty, &point).doing(doing)?;
                covered.push(point);
            }
            other => other.doing(doing)?,
        }
    }
    Ok(())
}

/// Whether a mount is a procfs or sysfs from its root on.
fn whole(mounted: &Mounted<'_>) -> bool {
    matches!(mounted.kind, b"proc" | b"sysfs") && mounted.root() == Path::new("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_one_counts() {
        for (line, counts) in [
            ("25 1 0:22 / /proc rw,relatime shared:5 - proc proc rw", true),
            ("26 1 0:23 / /a\\040b rw - sysfs sysfs rw", true),
            ("27 25 0:22 /sys /proc/sys ro - proc proc rw", false),
            ("28 1 8:1 / / rw - ext4 /dev/sda rw", false),
        ] {
            assert_eq!(
                mounts(line.as_bytes()).filter(whole).count(),
                usize::from(counts),
                "{line}"
            );
        }
    }
}
