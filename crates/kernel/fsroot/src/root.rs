//! Resolving, and making what is missing on the way.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use sys::{Call, Error};

use crate::walk::{self, Links};

/// How often a resolution that raced with a rename is tried again. The kernel gives up at the first
/// rename anywhere on the machine while `..` is resolved, so a few are normal.
const RACE_RETRIES: usize = 1000;

/// How many symbolic links may be followed in one resolution, as in the kernel.
pub(crate) const MAX_LINKS: usize = 40;

/// The path under which this process reaches what `fd` refers to: `/proc/self/fd/N`.
pub fn fd_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// A directory that no path given to it leads out of.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// The directory at `path`, which is resolved as usual: it is the caller's, not the container's.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .call(|| format!("open({path:?}, O_PATH | O_DIRECTORY)"))
            .map(Self::from_fd)
    }

    /// The directory that `fd` refers to (`O_PATH` will do).
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The directory itself.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// What `path` leads to, as an `O_PATH` descriptor: good for mounts, stat and `*at` calls.
    pub fn open_path(&self, path: impl AsRef<Path>) -> Result<OwnedFd, Error> {
        self.open_with(path, OFlags::PATH, Mode::empty())
    }

    /// The same without following a symbolic link at the end: its descriptor is the link's own.
    pub fn open_link(&self, path: impl AsRef<Path>) -> Result<OwnedFd, Error> {
        self.open_with(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Opens `path`. `mode` is for `OFlags::CREATE` and `TMPFILE`. The descriptor closes on exec.
    pub fn open_with(
        &self,
        path: impl AsRef<Path>,
        flags: OFlags,
        mode: Mode,
    ) -> Result<OwnedFd, Error> {
        let path = path.as_ref();
        self.resolve(path, flags, mode).call(|| format!("openat2({path:?}, {})", flag_names(flags)))
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // Unlike open(2), openat2(2) refuses a mode that it has no use for.
        let makes = flags.contains(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
        let mode = if makes { mode } else { Mode::empty() };
        self.resolve_with(path, flags, mode, Links::Follow)
    }

    fn resolve_with(
        &self,
        path: &Path,
        flags: OFlags,
        mode: Mode,
        links: Links,
    ) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::IN_ROOT
            | match links {
                Links::Follow => ResolveFlags::NO_MAGICLINKS,
                Links::Refuse => ResolveFlags::NO_SYMLINKS,
            };
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, how) {
                Err(Errno::AGAIN) if tries < RACE_RETRIES => tries += 1,
                Err(Errno::INTR) => {}
                Err(Errno::NOSYS) => return walk::open(self.as_fd(), path, flags, mode, links),
                other => return other,
            }
        }
    }

    /// The directory `path` (`O_PATH`), to which no symbolic link leads: `ELOOP` where one is on the
    /// way, `ENOTDIR` where one is at the end.
    pub fn open_plain_directory(&self, path: impl AsRef<Path>) -> Result<OwnedFd, Error> {
        let path = path.as_ref();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        self.resolve_with(path, flags, Mode::empty(), Links::Refuse)
            .call(|| format!("openat2({path:?}, NO_SYMLINKS)"))
    }

    /// Whether `path` leads to something. A dangling link does not.
    pub fn exists(&self, path: impl AsRef<Path>) -> Result<bool, Error> {
        match self.open_path(path) {
            Ok(_) => Ok(true),
            Err(err) if matches!(err.errno(), Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// The directory that holds the last component of `path`, and that component. What the
    /// component itself is (missing, a link) does not matter. `EINVAL` for `/`, `.` and `..`.
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(OwnedFd, OsString), Error> {
        let path = path.as_ref();
        let (dir, name) = split(path)?;
        let fd = self.open_with(dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok((fd, name.to_owned()))
    }

    /// The directory `path` (`O_PATH`), made with all that is missing on the way to it. New ones
    /// get `mode` (less the umask), those that are there stay as they are. Links on the way are
    /// followed inside the root also when they dangle: what they name is made.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: Mode) -> Result<OwnedFd, Error> {
        self.mkdir_all_with(path, mode, &mut |_| Ok(()))
    }

    /// The same; each directory that it makes is given to `made` (`O_PATH`), before what comes into it.
    pub fn mkdir_all_with(
        &self,
        path: impl AsRef<Path>,
        mode: Mode,
        made: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<OwnedFd, Error> {
        let path = path.as_ref();
        self.make_directories(path, mode, made).call(|| format!("mkdir({path:?})"))
    }

    fn make_directories(
        &self,
        path: &Path,
        mode: Mode,
        made: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut path = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.resolve(&path, flags, Mode::empty()) {
                Err(Errno::NOENT) => {}
                other => return other,
            }
            let (dir, missing) = self.deepest_existing(&path)?;
            match descend(dir, &missing, mode, made)? {
                Descended::Reached(fd) => return Ok(fd),
                Descended::Link { before, target } => {
                    path = replace_link(&path, missing.len() - before, &target);
                }
            }
        }
        Err(Errno::LOOP)
    }

    /// The longest part of `path` that exists, as a directory, and the components after it.
    fn deepest_existing(&self, path: &Path) -> Result<(OwnedFd, Vec<OsString>), Errno> {
        let mut missing = Vec::new();
        let mut prefix = path;
        while let Some(parent) = prefix.parent() {
            let name = prefix.components().next_back();
            // `..` after something missing has no meaning: the kernel, too, says ENOENT.
            let Some(Component::Normal(name)) = name else { return Err(Errno::NOENT) };
            missing.push(name.to_owned());
            match self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) {
                Ok(dir) => {
                    missing.reverse();
                    return Ok((dir, missing));
                }
                Err(Errno::NOENT) => prefix = parent,
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::NOENT)
    }

    /// What `path` leads to (a directory is `EISDIR`), or a new empty file there, made with the
    /// directories on the way to it (mode 0755). For mount points of files. A link at the end is
    /// followed inside the root also when it dangles. The descriptor of a new file is open for
    /// reading, that of an old one is `O_PATH`.
    pub fn create_file(&self, path: impl AsRef<Path>, mode: Mode) -> Result<OwnedFd, Error> {
        let asked = path.as_ref();
        let mut path = asked.to_owned();
        for _ in 0..MAX_LINKS {
            match self.open_path(&path) {
                Err(err) if err.errno() == Errno::NOENT => {}
                other => return other.and_then(|fd| not_a_directory(fd, asked)),
            }
            let (dir, name) = split(&path)?;
            let parent = self.mkdir_all(dir, Mode::from_raw_mode(0o755))?;
            // Without EXCL, so that a dangling link is followed (in the root) as open(2) does. What
            // another process puts there meanwhile is opened without waiting for a fifo's other end.
            let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
            let error = match self.open_with(&path, flags, mode) {
                Err(err) if err.errno() == Errno::NOENT => err,
                other => return other,
            };
            // Directories are missing on the way that the link names.
            let Ok(target) = rustix::fs::readlinkat(&parent, name, Vec::new()) else {
                return Err(error);
            };
            path = dir.join(OsStr::from_bytes(target.as_bytes()));
        }
        Err(Error::new(format!("open({asked:?}, O_CREAT)"), Errno::LOOP))
    }

    /// Makes a device, fifo or socket; nothing is followed at the end. Its mode is `mode` less the
    /// umask.
    pub fn mknod(
        &self,
        path: impl AsRef<Path>,
        kind: FileType,
        mode: Mode,
        device: Dev,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let (dir, name) = self.parent(path)?;
        rustix::fs::mknodat(dir, name, kind, mode, device).call(|| {
            let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
            format!("mknod({path:?}, {kind:?}, {major}:{minor})")
        })
    }

    /// Makes a symbolic link at `path` with the text `target`; nothing is followed at the end.
    pub fn symlink(&self, target: impl AsRef<Path>, path: impl AsRef<Path>) -> Result<(), Error> {
        let (target, path) = (target.as_ref(), path.as_ref());
        let (dir, name) = self.parent(path)?;
        rustix::fs::symlinkat(target, dir, name).call(|| format!("symlink({target:?}, {path:?})"))
    }

    /// Removes `path` and all below it; a link is removed, not followed. Nothing there is fine.
    /// Never goes into another mount: a mount point below is `EXDEV`, or `EBUSY` where it is `path`
    /// itself.
    pub fn remove_all(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let (dir, name) = match self.parent(path) {
            Err(err) if err.errno() == Errno::NOENT => return Ok(()),
            other => other?,
        };
        crate::remove::remove_all(dir.as_fd(), &name).call(|| format!("remove({path:?})"))
    }
}

fn not_a_directory(fd: OwnedFd, path: &Path) -> Result<OwnedFd, Error> {
    let stat = rustix::fs::fstat(&fd).call(|| format!("fstat({path:?})"))?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Error::new(format!("open({path:?}, O_CREAT)"), Errno::ISDIR));
    }
    Ok(fd)
}

/// The directory part of `path` and its last component.
fn split(path: &Path) -> Result<(&Path, &OsStr), Error> {
    let last = path.components().next_back();
    // "a/." means a directory's inside: Path drops the dot, which would change what is meant.
    let dotted = path.as_os_str().as_bytes().ends_with(b"/.");
    match (last, path.parent()) {
        (Some(Component::Normal(name)), Some(dir)) if !dotted => Ok((dir, name)),
        _ => Err(Error::new(format!("take the last component of {path:?}"), Errno::INVAL)),
    }
}

enum Descended {
    /// The last directory.
    Reached(OwnedFd),
    /// After so many components comes a symbolic link.
    Link { before: usize, target: OsString },
}

/// Makes and enters one component after the other, each relative to the one before.
fn descend(
    start: OwnedFd,
    names: &[OsString],
    mode: Mode,
    made: &mut dyn FnMut(BorrowedFd<'_>) -> Result<(), Errno>,
) -> Result<Descended, Errno> {
    let mut dir = start;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for (before, name) in names.iter().enumerate() {
        let is_new = match rustix::fs::mkdirat(&dir, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        dir = match rustix::fs::openat(&dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            // With NOFOLLOW a link is "not a directory"; is it one?
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let Ok(target) = rustix::fs::readlinkat(&dir, name, Vec::new()) else {
                    return Err(Errno::NOTDIR);
                };
                return Ok(Descended::Link {
                    before,
                    target: OsStr::from_bytes(target.as_bytes()).into(),
                });
            }
            Err(errno) => return Err(errno),
        };
        if is_new {
            made(dir.as_fd())?;
        }
    }
    Ok(Descended::Reached(dir))
}

/// `path` with the link that stands before its last `after` - 1 components replaced by `target`.
fn replace_link(path: &Path, after: usize, target: &OsStr) -> PathBuf {
    let components: Vec<_> = path.components().collect();
    let at = components.len() - after;
    let mut new: PathBuf = components[..at].iter().collect();
    new.push(target); // an absolute target replaces all before it
    new.extend(&components[at + 1..]);
    new
}

/// The flags that matter to who reads an error.
fn flag_names(flags: OFlags) -> String {
    let names = [
        (OFlags::PATH, "O_PATH"),
        (OFlags::DIRECTORY, "O_DIRECTORY"),
        (OFlags::NOFOLLOW, "O_NOFOLLOW"),
        (OFlags::RDWR, "O_RDWR"),
        (OFlags::WRONLY, "O_WRONLY"),
        (OFlags::CREATE, "O_CREAT"),
        (OFlags::EXCL, "O_EXCL"),
        (OFlags::TRUNC, "O_TRUNC"),
        (OFlags::APPEND, "O_APPEND"),
    ];
    let set: Vec<_> =
        names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect();
    if set.is_empty() { "O_RDONLY".to_owned() } else { set.join(" | ") }
}

/// What is at `name` in `dir`, not followed.
pub(crate) fn stat(dir: BorrowedFd<'_>, name: &OsStr) -> Result<rustix::fs::Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// The host's root as the kernel sees it from this process; used by [`crate::proc`].
pub(crate) fn open_host(path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
    rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?})"))
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
