//! The host's procfs and sysfs in a mount namespace whose root was moved and not pivoted.
//!
//! The kernel lets a user namespace mount a new procfs only if one is there already of which nothing
//! is covered. In a container that is its own, with masks; but after `--no-pivot` the host's, without
//! any, is still in the mount namespace, out of sight: a process could make a user namespace in the
//! container and have a procfs without masks.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

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
    let text = std::io::read_to_string(std::fs::File::from(file))
        .call(|| "read(mountinfo)")
        .doing(doing)?;
    // The last mount of a place is the one that its path leads to.
    let mut covered = Vec::new();
    for point in text.lines().rev().filter_map(whole).filter(|point| !point.starts_with(root)) {
        if covered.contains(&point) {
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

/// The mount point of a line of mountinfo, if it is that of a procfs or sysfs from its root on.
fn whole(line: &str) -> Option<PathBuf> {
    let (mount, fs) = line.split_once(" - ")?;
    let kind = fs.split(' ').next()?;
    let mut fields = mount.split(' ').skip(3);
    let (from, point) = (fields.next()?, fields.next()?);
    (from == "/" && matches!(kind, "proc" | "sysfs")).then(|| unescape(point))
}

/// A path as mountinfo has it: `\\040` is a space.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut byte;
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten();
        let number = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        (byte, rest) = number.map_or((*first, after), |byte| (byte, &after[3..]));
        bytes.push(byte);
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_one_counts() {
        for (line, point) in [
            ("25 1 0:22 / /proc rw,relatime shared:5 - proc proc rw", Some("/proc")),
            ("26 1 0:23 / /a\\040b rw - sysfs sysfs rw", Some("/a b")),
            ("27 25 0:22 /sys /proc/sys ro - proc proc rw", None),
            ("28 1 8:1 / / rw - ext4 /dev/sda rw", None),
            ("nonsense", None),
        ] {
            assert_eq!(whole(line), point.map(PathBuf::from), "{line}");
        }
    }
}
