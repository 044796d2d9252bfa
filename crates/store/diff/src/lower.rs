//! Files of the layers below that a hard link names. They come into this layer, as overlayfs does it
//! when a file of a lower layer gets another name (copy-up): there the two names are one file.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::Whiteouts;
use crate::unpacked::{Failure, Tree, file_type, is_whiteout, stat};

/// As the kernel has it.
const MAX_LINKS: u32 = 40;
const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A file that the layers together show.
#[derive(Debug)]
pub(crate) struct Lower {
    /// Its path, with no link on the way.
    pub(crate) path: PathBuf,
    dir: OwnedFd,
    name: OsString,
    found: Stat,
    is_here: bool,
}

/// What one layer says of a path.
enum Look {
    Found(OwnedFd, Stat),
    /// It has nothing there, and hides what those below it have.
    Hidden,
    Absent,
}

impl Lower {
    /// Bytes of data that come with it.
    pub(crate) fn size(&self) -> u64 {
        let is_file = file_type(&self.found) == FileType::RegularFile && !self.is_here;
        if is_file { self.found.st_size as u64 } else { 0 }
    }

    pub(crate) fn is_directory(&self) -> bool {
        file_type(&self.found) == FileType::Directory
    }

    /// Brings it into this layer. The directory that it is in there, and its name.
    pub(crate) fn bring(self, into: &mut Tree<'_>) -> Result<(OwnedFd, OsString), Failure> {
        if self.is_here {
            return Ok((self.dir, self.name));
        }
        let parent = self.path.parent().unwrap_or(Path::new(""));
        let dir = into.parent(parent)?;
        let dir = rustix::io::fcntl_dupfd_cloexec(dir, 0)
            .map_err(|errno| Failure::Call("fcntl", errno))?;
        tree::copy_file(self.dir.as_fd(), &self.name, dir.as_fd())
            .map_err(|(call, errno)| Failure::Call(call, errno))?;
        Ok((dir, self.name))
    }
}

impl Tree<'_> {
    /// What all layers together show at `path`; links on the way are followed inside the root. The
    /// layers below have to be whole.
    pub(crate) fn shown(
        &self,
        path: &Path,
        whiteouts: Whiteouts,
    ) -> Result<Option<Lower>, Failure> {
        let mut rest: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let mut at = PathBuf::new();
        let mut n_links = 0;
        while let Some(name) = rest.pop_front() {
            match Path::new(&name).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::ParentDir) => {
                    at.pop();
                    continue;
                }
                Some(Component::RootDir) => {
                    at = PathBuf::new();
                    continue;
                }
                _ => continue,
            }
            let here = at.join(&name);
            let Some((dir, found, is_here)) = self.topmost(&here, whiteouts)? else {
                return Ok(None);
            };
            if rest.is_empty() {
                return Ok(Some(Lower { path: here, dir, name, found, is_here }));
            }
            match file_type(&found) {
                FileType::Directory => at = here,
                FileType::Symlink => {
                    n_links += 1;
                    if n_links > MAX_LINKS {
                        return Err(Failure::NotADirectory(here));
                    }
                    let text = rustix::fs::readlinkat(&dir, &name, Vec::new())
                        .map_err(|errno| Failure::Call("readlink", errno))?;
                    let text = PathBuf::from(OsString::from_vec(text.into_bytes()));
                    for part in text.iter().rev() {
                        rest.push_front(part.to_owned());
                    }
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// What the topmost layer that has something at `path` has there; whether it is this one. What
    /// leads there are directories, in all layers together.
    fn topmost(
        &self,
        path: &Path,
        whiteouts: Whiteouts,
    ) -> Result<Option<(OwnedFd, Stat, bool)>, Failure> {
        let call = |errno| Failure::Call("look at a layer", errno);
        let mut is_here = true;
        let own = rustix::io::fcntl_dupfd_cloexec(self.root(), 0).map_err(call)?;
        let below = self
            .below()
            .iter()
            .map(|layer| rustix::fs::openat(CWD, layer, DIRECTORY, Mode::empty()));
        for layer in std::iter::once(Ok(own)).chain(below) {
            match look(layer.map_err(call)?, path, whiteouts).map_err(call)? {
                Look::Found(_, found) if is_whiteout(&found) => return Ok(None),
                Look::Found(dir, found) => return Ok(Some((dir, found, is_here))),
                Look::Hidden => return Ok(None),
                Look::Absent => is_here = false,
            }
        }
        Ok(None)
    }
}

/// Follows nothing.
fn look(root: OwnedFd, path: &Path, whiteouts: Whiteouts) -> Result<Look, Errno> {
    let Some(name) = path.file_name() else { return Ok(Look::Absent) };
    let mut dir = root;
    let mut hides = whiteouts.is_opaque(dir.as_fd())?;
    for part in path.parent().into_iter().flat_map(Path::iter) {
        match stat(dir.as_fd(), part)? {
            None => return absent(dir.as_fd(), part, hides, whiteouts),
            Some(found) if file_type(&found) != FileType::Directory => return Ok(Look::Hidden),
            Some(_) => {}
        }
        dir = rustix::fs::openat(&dir, part, DIRECTORY, Mode::empty())?;
        hides |= whiteouts.is_opaque(dir.as_fd())?;
    }
    match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => absent(dir.as_fd(), name, hides, whiteouts),
        found => Ok(Look::Found(dir, found?)),
    }
}

fn absent(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    hides: bool,
    whiteouts: Whiteouts,
) -> Result<Look, Errno> {
    let is_hidden = hides || whiteouts.is_hidden(dir, name)?;
    Ok(if is_hidden { Look::Hidden } else { Look::Absent })
}
