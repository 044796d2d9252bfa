//! What was moved away and back, or was changed and changed back: overlayfs has a copy of it in the writable directory, and
//! it is no change. As in BuildKit's layers, it is left out.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tarstream::Name;

use crate::Error;
use crate::compare::{Side, compare_one};
use crate::pack::names;
use crate::spell::{descend, set_times};
use crate::unpacked::{is_whiteout, stat};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Names in a directory that are to go, and how each is removed.
type Gone = BTreeMap<PathBuf, Vec<(OsString, AtFlags)>>;

/// Removes from `upper` those of the files `copied` that the layers `lower` (the topmost first) show as they are, and the
/// directories in which there was no other change.
pub(crate) fn drop_same(upper: &Path, lower: &[PathBuf], copied: &[PathBuf]) -> Result<(), Error> {
    if copied.is_empty() {
        return Ok(());
    }
    let ours = Side::open(upper)?;
    let mut gone = Gone::new();
    for path in copied {
        // Of a file of several names in this layer the others would be another file.
        if ours.stat(path)?.st_nlink == 1 && is_same(&ours, lower, path)? {
            add(&mut gone, path, AtFlags::empty());
        }
    }
    // What is in a directory comes after it, and so is taken first.
    while let Some((path, all)) = gone.pop_last() {
        let dir = open(upper, &path)?;
        let before = rustix::fs::fstat(&dir).map_err(at(&path, "stat"))?;
        for (name, how) in all {
            rustix::fs::unlinkat(&dir, &name, how).map_err(at(&path, "unlinkat"))?;
        }
        let is_empty = names(&dir).map_err(at(&path, "readdir"))?.is_empty();
        if is_empty && !path.as_os_str().is_empty() && is_same(&ours, lower, &path)? {
            add(&mut gone, &path, AtFlags::REMOVEDIR);
        } else {
            set_times(&dir, &before).map_err(at(&path, "utimensat"))?;
        }
    }
    Ok(())
}

fn add(gone: &mut Gone, path: &Path, how: AtFlags) {
    let Some(name) = path.file_name() else { return };
    let parent = path.parent().unwrap_or(Path::new(""));
    gone.entry(parent.to_owned()).or_default().push((name.to_owned(), how));
}

/// Whether what is at `path` is what the layers below show there. Of directories what is in them does not count, nor does their
/// time.
fn is_same(ours: &Side, lower: &[PathBuf], path: &Path) -> Result<bool, Error> {
    let layer = shown_by(lower, path).map_err(at(path, "look at a layer"))?;
    let Some(layer) = layer else { return Ok(false) };
    Ok(compare_one(ours, &Side::open(layer)?, path)?.is_none())
}

/// The layer that has what all of them show at a path.
fn shown_by<'l>(layers: &'l [PathBuf], path: &Path) -> Result<Option<&'l Path>, Errno> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    for layer in layers {
        let root = rustix::fs::open(layer, DIRECTORY, Mode::empty())?;
        let (dir, hides) = descend(root, parent)?;
        if let Some(dir) = dir
            && let Some(found) = stat(dir.as_fd(), name)?
        {
            return Ok((!is_whiteout(&found)).then_some(layer.as_path()));
        }
        if hides {
            return Ok(None);
        }
    }
    Ok(None)
}

/// A directory of the layer itself, to which nobody writes any more.
fn open(upper: &Path, path: &Path) -> Result<OwnedFd, Error> {
    let root = rustix::fs::open(upper, DIRECTORY, Mode::empty());
    let root = root.map_err(|source| Error::Root { path: upper.into(), source })?;
    if path.as_os_str().is_empty() {
        return Ok(root);
    }
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(&root, path, DIRECTORY, Mode::empty(), how).map_err(at(path, "open"))
}

fn at(path: &Path, call: &'static str) -> impl Fn(Errno) -> Error {
    let entry = Name::from(path.as_os_str().as_bytes());
    move |source| Error::Call { entry: entry.clone(), call, source }
}
