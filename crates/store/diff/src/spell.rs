//! Directories that hide all that is below them: what they hide is named instead, as in BuildKit's layers. On the layers that
//! it was made on a layer means the same then; laid on others, it takes away no more than what was there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use tarstream::Name;

use crate::pack::names;
use crate::unpacked::{file_type, is_whiteout, stat};
use crate::{Error, Whiteouts};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Names in the directories `marked` of `upper`, which hide all that the layers `lower` have there, what they hide. One in which
/// nothing can be named (an ordinary user's, on an older kernel) stays as it is.
pub(crate) fn spell_out(upper: &Path, lower: &[PathBuf], marked: &[PathBuf]) -> Result<(), Error> {
    if marked.is_empty() {
        return Ok(());
    }
    let root = rustix::fs::open(upper, DIRECTORY, Mode::empty());
    let root = root.map_err(|source| Error::Root { path: upper.into(), source })?;
    let opaque = mount::overlay_attribute("opaque");
    for path in marked {
        if hide(&root, lower, path)? {
            let dir = open(&root, path)?;
            rustix::fs::fremovexattr(&dir, &*opaque).map_err(at(path, "removexattr"))?;
        }
    }
    Ok(())
}

/// Hides by name what the layers below show in a directory and this one has not. Whether that can be.
fn hide(root: &OwnedFd, lower: &[PathBuf], path: &Path) -> Result<bool, Error> {
    let dir = open(root, path)?;
    let before = rustix::fs::fstat(&dir).map_err(at(path, "stat"))?;
    let (mut is_possible, mut is_changed) = (true, false);
    for (name, is_directory) in shown(lower, path).map_err(at(path, "look at a layer"))? {
        match stat(dir.as_fd(), &name).map_err(at(path, "stat"))? {
            // Without the mark of the one above them the two become one.
            Some(own) if is_directory && file_type(&own) == FileType::Directory => {
                is_possible = hide(root, lower, &path.join(name))?;
            }
            Some(_) => {}
            None => match Whiteouts::Overlay.hide(dir.as_fd(), &name) {
                Err(Errno::PERM) => is_possible = false,
                made => {
                    made.map_err(at(path, "mknod"))?;
                    is_changed = true;
                }
            },
        }
        if !is_possible {
            break;
        }
    }
    if is_changed {
        set_times(&dir, &before).map_err(at(path, "utimensat"))?;
    }
    Ok(is_possible)
}

/// Gives a directory the times back that it had.
pub(crate) fn set_times(dir: &OwnedFd, before: &Stat) -> Result<(), Errno> {
    let time = |seconds, nanos: u64| Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    let times = Timestamps {
        last_access: time(before.st_atime, before.st_atime_nsec),
        last_modification: time(before.st_mtime, before.st_mtime_nsec),
    };
    rustix::fs::futimens(dir, &times)
}

/// What the layers, the topmost first, show in a directory, by names: whether each is a directory.
fn shown(layers: &[PathBuf], path: &Path) -> Result<Vec<(OsString, bool)>, Errno> {
    let mut all: BTreeMap<OsString, Option<bool>> = BTreeMap::new();
    for layer in layers {
        let root = rustix::fs::open(layer, DIRECTORY, Mode::empty())?;
        let (dir, hides) = descend(root, path)?;
        if let Some(dir) = dir {
            for name in names(&dir)? {
                let Some(found) = stat(dir.as_fd(), &name)? else { continue };
                let what = (!is_whiteout(&found)).then(|| file_type(&found) == FileType::Directory);
                all.entry(name).or_insert(what);
            }
        }
        if hides {
            break;
        }
    }
    Ok(all.into_iter().filter_map(|(name, what)| Some((name, what?))).collect())
}

/// A directory of a layer, and whether that hides what the layers below it have there. Nothing is followed.
pub(crate) fn descend(root: OwnedFd, path: &Path) -> Result<(Option<OwnedFd>, bool), Errno> {
    let mut dir = root;
    let mut hides = Whiteouts::Overlay.is_opaque(dir.as_fd())?;
    for part in path {
        match stat(dir.as_fd(), part)? {
            None => return Ok((None, hides)),
            Some(found) if file_type(&found) != FileType::Directory => return Ok((None, true)),
            Some(_) => {}
        }
        dir = rustix::fs::openat(&dir, part, DIRECTORY, Mode::empty())?;
        hides |= Whiteouts::Overlay.is_opaque(dir.as_fd())?;
    }
    Ok((Some(dir), hides))
}

/// A directory of the layer itself, to which nobody writes any more.
fn open(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Error> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, path, DIRECTORY, Mode::empty(), how).map_err(at(path, "open"))
}

fn at(path: &Path, call: &'static str) -> impl Fn(Errno) -> Error {
    let entry = Name::from(path.as_os_str().as_bytes());
    move |source| Error::Call { entry: entry.clone(), call, source }
}
