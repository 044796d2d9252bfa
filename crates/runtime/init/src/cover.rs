//! Masked and read-only paths: resolved once, and covered where that led.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use fsroot::Root;
use rustix::fs::FileType;
use rustix::io::Errno;
use sys::MountAttr;

use crate::error::{Doing, Error};
use crate::rootfs::file_type;

/// Opens what `path` leads to. `None`: nothing is there, so there is nothing to cover.
fn find(root: &Root, path: &Path, doing: &str) -> Result<Option<OwnedFd>, Error> {
    match root.open_path(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(err) if matches!(err.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(err) => Err(err).doing(|| format!("{doing} {path:?}")),
    }
}

/// Makes `path` and what is mounted below it read-only.
pub(crate) fn make_read_only(root: &Root, path: &Path) -> Result<(), Error> {
    let doing = || format!("make read-only {path:?}");
    let Some(target) = find(root, path, "make read-only")? else { return Ok(()) };
    let tree = mount::bind_fd(target.as_fd(), true).doing(doing)?;
    mount::mount_setattr(tree.as_fd(), true, MountAttr::RDONLY, MountAttr::empty(), None, None)
        .doing(doing)?;
    mount::move_to_fd(tree.as_fd(), target.as_fd()).doing(doing)
}

/// What masked paths are covered with: the null device over files, an empty read-only directory over
/// directories. Each is made once; what follows are clones of the first.
pub(crate) struct Masks<'a> {
    null: Cover,
    empty: Option<Cover>,
    label: &'a str,
}

/// A mount to cover with.
enum Cover {
    /// Not used yet.
    Detached(OwnedFd),
    /// Mounted somewhere: clones of it cover more.
    Attached(OwnedFd),
    /// There is none.
    Missing,
}

impl<'a> Masks<'a> {
    /// `null` is a detached mount of the host's null device, `label` the directory's, if it is to have one.
    pub(crate) fn new(null: Option<OwnedFd>, label: &'a str) -> Self {
        Self { null: null.map_or(Cover::Missing, Cover::Detached), empty: None, label }
    }

    /// Covers `path`.
    pub(crate) fn mask(&mut self, root: &Root, path: &Path) -> Result<(), Error> {
        let Some(target) = find(root, path, "mask")? else { return Ok(()) };
        let cover = match file_type(target.as_fd())? {
            FileType::Directory => match &mut self.empty {
                Some(empty) => empty,
                none => none.insert(Cover::Detached(empty_directory(self.label)?)),
            },
            _ => &mut self.null,
        };
        cover.put(target.as_fd(), path)
    }
}

impl Cover {
    fn put(&mut self, target: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
        let doing = || format!("mask {path:?}");
        match std::mem::replace(self, Self::Missing) {
            Self::Missing => Err(Error::refused(doing(), "the null device was not handed over")),
            Self::Detached(tree) => {
                mount::move_to_fd(tree.as_fd(), target).doing(doing)?;
                *self = Self::Attached(tree);
                Ok(())
            }
            Self::Attached(tree) => {
                let clone = mount::open_tree_fd(tree.as_fd(), true, false).doing(doing)?;
                mount::move_to_fd(clone.as_fd(), target).doing(doing)?;
                *self = Self::Attached(tree);
                Ok(())
            }
        }
    }
}

/// A directory in which nothing is, with the `SELinux` label `label` if that is not empty.
pub(crate) fn empty_directory(label: &str) -> Result<OwnedFd, Error> {
    let attrs = MountAttr::RDONLY | MountAttr::NOSUID | MountAttr::NODEV | MountAttr::NOEXEC;
    // One file more than its root: older kernels (4.18) do not make it with less.
    let mut options = vec![("size", Some("0")), ("nr_inodes", Some("2")), ("mode", Some("0555"))];
    options.extend(context(label));
    mount::fs_mount("tmpfs", Some("tmpfs"), &options, attrs)
        .doing(|| "make a directory to mask with")
}

/// The parameter by which all of a new file system has a label; none for an empty one.
pub(crate) fn context(label: &str) -> Option<mount::FsOption<'_>> {
    (!label.is_empty()).then_some(("context", Some(label)))
}
