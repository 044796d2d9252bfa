//! Files in memory.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use sys::{Call as _, MountAttr};

use crate::Error;
use crate::source::Secret;

/// What a file takes beside its content, in bytes: a page that is not full, and one of its own.
const OVERHEAD: u64 = 8192;

/// A tmpfs with copies of `files`, read-only, as a detached mount, with the label of `SELinux` `label` if that
/// is not empty. It is never swapped out where the kernel can promise that (Linux 6.4).
pub(crate) fn open(files: &[Secret], label: &str) -> Result<OwnedFd, Error> {
    let mut contents = Vec::new();
    let mut size = OVERHEAD;
    for file in files {
        let bytes = fs::read(&file.path).map_err(Error::file("read", &file.path))?;
        size += bytes.len() as u64 + OVERHEAD;
        contents.push(bytes);
    }
    let size = size.to_string();
    let tree = tmpfs(&size, label)?;
    for (file, bytes) in files.iter().zip(&contents) {
        let doing = || format!("write the secret {:?}", file.name);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let made =
            rustix::fs::openat(&tree, &file.name, flags, Mode::from_raw_mode(0o600)).call(doing)?;
        File::from(made.try_clone().map_err(Error::file("dup", &file.path))?)
            .write_all(bytes)
            .map_err(Error::file("copy", &file.path))?;
        let owner = (Some(Uid::from_raw(file.uid)), Some(Gid::from_raw(file.gid)));
        rustix::fs::fchown(&made, owner.0, owner.1).call(doing)?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(file.mode)).call(doing)?;
    }
    let set = MountAttr::RDONLY | MountAttr::NOSUID | MountAttr::NODEV | MountAttr::NOEXEC;
    mount::mount_setattr(tree.as_fd(), false, set, MountAttr::empty(), None, None)
        .map_err(Error::mount("mount secrets"))?;
    Ok(tree)
}

fn tmpfs(size: &str, label: &str) -> Result<OwnedFd, Error> {
    let mut options = vec![("mode", Some("0700")), ("size", Some(size))];
    options.extend((!label.is_empty()).then_some(("context", Some(label))));
    let n_known = options.len();
    options.push(("noswap", None));
    let none = MountAttr::empty();
    mount::fs_mount("tmpfs", Some("dhow"), &options, none)
        .or_else(|_| mount::fs_mount("tmpfs", Some("dhow"), &options[..n_known], none))
        .map_err(Error::mount("mount secrets"))
}
