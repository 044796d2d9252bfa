//! What directories get when all is in them.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, Timespec, XattrFlags};
use rustix::io::Errno;
use tarstream::{Entry, Name};

use crate::unpacked::{file_type, set_times};
use crate::{Error, node};

/// So many bytes of names are kept, whatever an archive holds.
const MOST: usize = if cfg!(test) { 16 << 10 } else { 32 << 20 };

/// A directory's time, which changes with what is put there, and the access list that all that is
/// made there would inherit.
#[derive(Clone, Debug)]
pub(crate) struct Late {
    pub(crate) time: Timespec,
    pub(crate) inherited: Option<Vec<u8>>,
}

impl Late {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self { time: node::mtime(entry), inherited: entry.xattrs.get(node::INHERITED).cloned() }
    }

    fn set(&self, path: &Path, dir: BorrowedFd<'_>) -> Result<(), Error> {
        let name = || Name::from(path.as_os_str().as_encoded_bytes());
        let call = |call| move |source| Error::Call { entry: name(), call, source };
        if let Some(value) = &self.inherited {
            let place = fsroot::fd_path(dir);
            match rustix::fs::setxattr(place, node::INHERITED, value, XattrFlags::empty()) {
                Err(Errno::NOTSUP) => {} // As with all attributes.
                set => set.map_err(call("setxattr"))?,
            }
        }
        set_times(dir, self.time).map_err(call("utimensat"))
    }
}

/// All of them: the last that was said about a directory counts.
#[derive(Debug, Default)]
pub(crate) struct Lates {
    all: HashMap<PathBuf, Late>,
    /// Bytes of what is in there.
    size: usize,
    /// Whether some directories have got theirs already.
    were_set: bool,
}

impl Lates {
    pub(crate) fn put(&mut self, path: &Path, late: Late) {
        let size = |late: &Late| late.inherited.as_ref().map_or(0, Vec::len);
        self.size += size(&late);
        if let Some(old) = self.all.get_mut(path) {
            self.size -= size(old);
            *old = late;
        } else {
            self.size += path.as_os_str().len() + size_of::<(PathBuf, Late)>();
            self.all.insert(path.into(), late);
        }
    }

    /// Whether they should be set now, lest they become too many.
    pub(crate) fn are_many(&self) -> bool {
        self.size > MOST
    }

    /// Something will be put into this directory, which may have got its time and its list already: it
    /// gets them again.
    pub(crate) fn keep(&mut self, path: &Path, dir: BorrowedFd<'_>) -> Result<(), Errno> {
        if !self.were_set || self.all.contains_key(path) {
            return Ok(());
        }
        let found = rustix::fs::fstat(dir)?;
        let time = Timespec { tv_sec: found.st_mtime, tv_nsec: found.st_mtime_nsec as _ };
        let inherited = take_list(dir)?;
        self.put(path, Late { time, inherited });
        Ok(())
    }

    /// Sets them. `parent` finds a directory.
    pub(crate) fn set(
        &mut self,
        root: BorrowedFd<'_>,
        parent: impl Fn(&Path) -> Option<OwnedFd>,
    ) -> Result<(), Error> {
        self.were_set = true;
        self.size = 0;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for (path, late) in self.all.drain() {
            let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
                late.set(&path, root)?;
                continue;
            };
            // It may have been replaced by something else.
            let Some(dir) = parent(above) else { continue };
            let Ok(found) = rustix::fs::openat(&dir, name, flags, Mode::empty()) else { continue };
            if rustix::fs::fstat(&found).is_ok_and(|found| file_type(&found).is_dir()) {
                late.set(&path, found.as_fd())?;
            }
        }
        Ok(())
    }
}

/// Takes a directory's list away, if it has one: nothing is to inherit it.
fn take_list(dir: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let place = fsroot::fd_path(dir);
    let mut value = vec![0; 64 << 10];
    match rustix::fs::getxattr(&place, node::INHERITED, &mut value[..]) {
        Ok(len) => {
            value.truncate(len);
            rustix::fs::removexattr(&place, node::INHERITED)?;
            Ok(Some(value))
        }
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(None),
        Err(errno) => Err(errno),
    }
}
