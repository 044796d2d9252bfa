//! Images for processes of another user namespace.
//!
//! criu's images lie in a directory that only root may enter, and processes that are restored into a
//! user namespace read some of them when they are root no more. They get a directory of their own,
//! in the mount namespace of the restore: nobody else sees it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags};
use sys::{Call, MountAttr};

use crate::error::{Doing, Error};

/// Covers the directory with one that everyone may enter, and in which the same files are. Returns
/// that one.
pub(crate) fn open_to_all(images: &OwnedFd) -> Result<OwnedFd, Error> {
    let doing = || "--image-path";
    let tree =
        mount::fs_mount("tmpfs", Some("tmpfs"), &[("mode", Some("0755"))], MountAttr::empty())
            .doing(doing)?;
    mount::move_to_fd(tree.as_fd(), images.as_fd()).doing(doing)?;
    let entries = rustix::fs::Dir::read_from(images).call(|| "readdir(images)").doing(doing)?;
    for entry in entries {
        let entry = entry.call(|| "readdir(images)").doing(doing)?;
        let name = entry.file_name();
        let text = || format!("open({name:?})");
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(images, name, flags, Mode::empty()).call(text).doing(doing)?;
        let stat = rustix::fs::fstat(&file).call(text).doing(doing)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mode = Mode::from_raw_mode(0o600);
                let place = rustix::fs::openat(&tree, name, flags, mode).call(text).doing(doing)?;
                let bound = mount::bind_fd(file.as_fd(), false).doing(doing)?;
                mount::move_to_fd(bound.as_fd(), place.as_fd()).doing(doing)?;
            }
            // The images of an earlier pre-dump.
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(images, name, Vec::new())
                    .call(|| format!("readlink({name:?})"))
                    .doing(doing)?;
                rustix::fs::symlinkat(&target, &tree, name)
                    .call(|| format!("symlink({name:?})"))
                    .doing(doing)?;
            }
            _ => {}
        }
    }
    // As a directory that can be read: what mounts make is only a place.
    rustix::fs::openat(
        &tree,
        ".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .call(|| "open(images)")
    .doing(doing)
}
