//! The directory that is being filled: finding and making parents.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;
use tarstream::Name;

use crate::late::{Late, Lates};
use crate::{Error, Origin};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Why a path inside the root cannot be had.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A symbolic link on the way leads out.
    Leaves,
    /// Something on the way is no directory, or a link to nothing.
    NotADirectory(PathBuf),
    /// A call failed.
    Call(&'static str, Errno),
}

/// The root of what is unpacked.
pub(crate) struct Tree<'a> {
    root: OwnedFd,
    how: ResolveFlags,
    below: &'a [PathBuf],
    /// Waits until those are whole.
    wait: &'a dyn Fn() -> bool,
    /// The parent that was used last: archives go directory by directory.
    last: Option<(PathBuf, OwnedFd)>,
    /// What directories get when all is in them.
    pub(crate) late: Lates,
}

impl<'a> Tree<'a> {
    pub(crate) fn open(
        path: &Path,
        origin: Origin,
        below: &'a [PathBuf],
        wait: &'a dyn Fn() -> bool,
    ) -> Result<Self, Error> {
        let root = rustix::fs::open(path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|source| Error::Root { path: path.into(), source })?;
        let how = match origin {
            Origin::Layer => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            Origin::Archive => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
        };
        Ok(Self { root, how, below, wait, last: None, late: Lates::default() })
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory `path`, made where it is missing.
    pub(crate) fn parent(&mut self, path: &Path) -> Result<BorrowedFd<'_>, Failure> {
        let keep = |errno| Failure::Call("stat", errno);
        if path.as_os_str().is_empty() {
            self.late.keep(path, self.root.as_fd()).map_err(keep)?;
            return Ok(self.root.as_fd());
        }
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let fd = match self.resolve(path, DIRECTORY) {
                Err(Errno::NOENT) => self.make(path)?,
                other => other.map_err(|errno| failure(path, errno))?,
            };
            self.late.keep(path, fd.as_fd()).map_err(keep)?;
            self.last = Some((path.into(), fd));
        }
        match &self.last {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Ok(self.root.as_fd()),
        }
    }

    /// The directory `path`, if it is there.
    pub(crate) fn existing_parent(&self, path: &Path) -> Result<OwnedFd, Failure> {
        self.resolve(path, DIRECTORY).map_err(|errno| failure(path, errno))
    }

    /// Something was replaced: what was resolved before may no longer be so.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Gives directories what they get when all is in them.
    pub(crate) fn finish_directories(&mut self) -> Result<(), Error> {
        let mut late = std::mem::take(&mut self.late);
        late.set(self.root.as_fd(), |path| self.existing_parent(path).ok())?;
        self.late = late;
        // Who comes back to one has to keep its time.
        self.forget();
        Ok(())
    }

    /// The layers below, topmost first.
    pub(crate) fn below(&self) -> &[PathBuf] {
        self.below
    }

    /// Waits until the layers below are whole.
    pub(crate) fn wait(&self) -> Result<(), Failure> {
        if self.below.is_empty() || (self.wait)() {
            return Ok(());
        }
        Err(Failure::Call("wait for the layers below", Errno::CANCELED))
    }

    /// Whether there may be something for a whiteout to hide.
    pub(crate) fn has_below(&self) -> bool {
        !self.below.is_empty()
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), self.how) {
                // Somebody renamed something, somewhere on the machine.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// Makes what is missing of `path`, each directory as it looks in the layers below.
    fn make(&mut self, path: &Path) -> Result<OwnedFd, Failure> {
        let mut missing: Vec<OsString> = Vec::new();
        let mut known = path;
        let mut dir = loop {
            let (Some(parent), Some(name)) = (known.parent(), known.file_name()) else {
                return Err(Failure::Call("open", Errno::NOENT));
            };
            missing.push(name.into());
            match self.resolve(parent, DIRECTORY) {
                Ok(dir) => break dir,
                Err(Errno::NOENT) => known = parent,
                Err(errno) => return Err(failure(parent, errno)),
            }
        };
        let mut made = known.parent().unwrap_or(Path::new("")).to_path_buf();
        for name in missing.iter().rev() {
            made.push(name);
            rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)).map_err(|errno| {
                match errno {
                    // A link that leads to nothing.
                    Errno::EXIST => Failure::NotADirectory(made.clone()),
                    errno => Failure::Call("mkdirat", errno),
                }
            })?;
            dir = rustix::fs::openat(&dir, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                .map_err(|errno| Failure::Call("openat", errno))?;
            let late = self.look_as_below(dir.as_fd(), &made)?;
            if let Some(late) = late {
                self.late.put(&made, late);
            }
        }
        Ok(dir)
    }

    /// The root of an archive that says nothing of it.
    pub(crate) fn root_as_below(&mut self) -> Result<(), Error> {
        if !self.has_below() {
            return Ok(());
        }
        let root = Path::new("");
        let failed = |failure| {
            let (call, source) = match failure {
                Failure::Call(call, source) => (call, source),
                _ => ("open", Errno::NOTDIR),
            };
            Error::Call { entry: Name::from(&b"/"[..]), call, source }
        };
        if let Some(late) = self.look_as_below(self.root.as_fd(), root).map_err(failed)? {
            self.late.put(root, late);
        }
        Ok(())
    }

    /// Gives a directory that the archive does not mention the attributes that it has in the
    /// topmost layer that has it, or those of a new one.
    /// What is to be set at the end.
    fn look_as_below(&self, dir: BorrowedFd<'_>, path: &Path) -> Result<Option<Late>, Failure> {
        let call = |name| move |errno| Failure::Call(name, errno);
        self.wait()?;
        let found = self.below.iter().find_map(|layer| directory_in(layer, path));
        let Some((from, stat)) = found else {
            // It may have got the group of the directory that it is in.
            if rustix::process::geteuid().is_root() {
                let root = (Some(Uid::ROOT), Some(Gid::ROOT));
                rustix::fs::chownat(dir, "", root.0, root.1, AtFlags::EMPTY_PATH)
                    .map_err(call("chown"))?;
            }
            return set_mode(dir, 0o755).map_err(call("chmod")).map(|()| None);
        };
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::chownat(dir, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .map_err(call("chown"))?;
        set_mode(dir, stat.st_mode & 0o7777).map_err(call("chmod"))?;
        let inherited = copy_attributes(&from, dir).map_err(call("setxattr"))?;
        let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
        Ok(Some(Late { time, inherited }))
    }
}

fn failure(path: &Path, errno: Errno) -> Failure {
    match errno {
        Errno::XDEV => Failure::Leaves,
        Errno::NOTDIR | Errno::LOOP => Failure::NotADirectory(path.into()),
        errno => Failure::Call("open", errno),
    }
}

/// The directory `path` of a layer, if it has it and no link is on the way.
fn directory_in(layer: &Path, path: &Path) -> Option<(OwnedFd, Stat)> {
    let root = rustix::fs::openat(CWD, layer, DIRECTORY, Mode::empty()).ok()?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let dir = rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve).ok()?;
    let stat = rustix::fs::fstat(&dir).ok()?;
    Some((dir, stat))
}

/// Copies the extended attributes that are neither overlayfs's own nor the machine's labels. The list that is to be inherited comes
/// back.
fn copy_attributes(from: &OwnedFd, to: BorrowedFd<'_>) -> Result<Option<Vec<u8>>, Errno> {
    let mut inherited = None;
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::flistxattr(from, &mut names[..]) {
        Err(Errno::NOTSUP) => return Ok(None),
        len => len?,
    };
    let to = fsroot::fd_path(to);
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if crate::node::is_overlays(name) || selinux::is_label(name) {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        if name == crate::node::INHERITED {
            inherited = Some(value[..len].to_vec());
            continue;
        }
        rustix::fs::setxattr(&to, name, &value[..len], rustix::fs::XattrFlags::empty())?;
    }
    Ok(inherited)
}

/// Sets a mode by a descriptor that may be `O_PATH`.
pub(crate) fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    rustix::fs::chmod(fsroot::fd_path(fd), Mode::from_raw_mode(mode))
}

/// Sets the time of the last change by a descriptor that may be `O_PATH`.
pub(crate) fn set_times(fd: BorrowedFd<'_>, mtime: Timespec) -> Result<(), Errno> {
    let times = Timestamps { last_access: mtime, last_modification: mtime };
    rustix::fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH)
}

/// What is at `name` in `dir`, not followed.
pub(crate) fn stat(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// What kind of thing that is.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether that is a whiteout of overlayfs.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}
