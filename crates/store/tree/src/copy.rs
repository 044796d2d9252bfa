//! Copying a tree.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::attributes::{Failed, Place, transfer, transfer_mark};
use crate::error::At as _;
use crate::{Error, Tree, kind, names, stat};

/// How files come into a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// As further names of the same files: for trees of which neither is ever written to. Where
    /// there can be no further name, as a copy.
    Link,
    /// As copies, which share their blocks where the file system can (reflinks).
    Copy,
}

/// How bytes come from one file system to another, as far as is known: what fails once is not tried for each file.
#[derive(Clone, Copy, Debug)]
pub struct Ways {
    /// Blocks may be shared.
    pub(crate) reflinks: bool,
    /// The kernel copies by itself.
    pub(crate) in_kernel: bool,
}

impl Default for Ways {
    /// Both may be.
    fn default() -> Self {
        Self { reflinks: true, in_kernel: true }
    }
}

/// What a block is that `stat(2)` counts, in bytes.
const BLOCK: u64 = 512;

struct Copier {
    files: Files,
    ways: Ways,
    /// Files of several names, by device and number: the first name in the copy.
    linked: HashMap<(u64, u64), PathBuf>,
}

/// Copies all that is in the directory `from` into the directory `to`, which is empty, and what
/// `from` itself is. Sockets are left out. Whether blocks were shared, as far as that was tried.
pub fn copy(from: &Path, to: &Path, files: Files) -> Result<bool, Error> {
    let copier = Copier { files, ways: Ways::default(), linked: HashMap::new() };
    copy_with(copier, from, to, false)
}

/// The same of a layer, whose directories may have marks that they hide what is below, by further names of its files.
pub fn copy_layer(from: &Path, to: &Path) -> Result<(), Error> {
    let ways = Ways::default();
    let copier = Copier { files: Files::Link, ways, linked: HashMap::new() };
    copy_with(copier, from, to, true).map(drop)
}

fn copy_with(mut copier: Copier, from: &Path, to: &Path, has_marks: bool) -> Result<bool, Error> {
    let (from, to) = (Tree::open(from)?, Tree::open(to)?);
    let mut rest = vec![PathBuf::new()];
    let mut done = Vec::new();
    while let Some(path) = rest.pop() {
        let (source, target) = (from.directory(&path)?, to.directory(&path)?);
        for name in names(&source).at("readdir", &from.path.join(&path))? {
            let inside = path.join(&name);
            let copied = copier.one(&source, &name, &to, &target, &inside);
            if copied.map_err(|(call, errno)| failed(call, errno, &to, &inside))? {
                rest.push(inside);
            }
        }
        done.push(path);
    }
    // What is in it first: a directory's time changes with it.
    for path in done.iter().rev() {
        let (source, target) = (from.directory(path)?, to.directory(path)?);
        let here = OsStr::new(".");
        let found = rustix::fs::fstat(&source).at("stat", &from.path.join(path))?;
        let source = Place { dir: source.as_fd(), name: here };
        let target = Place { dir: target.as_fd(), name: here };
        if has_marks {
            transfer_mark(source, target)
                .map_err(|(call, errno)| failed(call, errno, &to, path))?;
        }
        transfer(source, &found, target).map_err(|(call, errno)| failed(call, errno, &to, path))?;
    }
    Ok(copier.ways.reflinks)
}

/// Copies what `name` in the directory `from` is, which is no directory, to the same name in the
/// directory `to`, where there is none. Which call failed, and how.
pub fn copy_file(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
) -> Result<(), (&'static str, Errno)> {
    let ways = Ways::default();
    let mut copier = Copier { files: Files::Copy, ways, linked: HashMap::new() };
    let found = stat(from, name).map_err(|errno| ("stat", errno))?.ok_or(("stat", Errno::NOENT))?;
    if kind(&found) == FileType::Directory {
        return Err(("copy", Errno::ISDIR));
    }
    copier.node(from, name, &found, to)?;
    transfer(Place { dir: from, name }, &found, Place { dir: to, name })
}

fn failed(call: &'static str, source: Errno, tree: &Tree<'_>, path: &Path) -> Error {
    Error { call, path: tree.path.join(path), source }
}

impl Copier {
    /// Copies one name. Whether it is a directory, whose inside and attributes are still to come.
    fn one(
        &mut self,
        from: &OwnedFd,
        name: &OsStr,
        to: &Tree<'_>,
        target: &OwnedFd,
        path: &Path,
    ) -> Result<bool, Failed> {
        let Some(found) = stat(from, name).map_err(|errno| ("stat", errno))? else {
            return Ok(false);
        };
        match kind(&found) {
            FileType::Directory => {
                rustix::fs::mkdirat(target, name, Mode::from_raw_mode(0o700))
                    .map_err(|errno| ("mkdir", errno))?;
                return Ok(true);
            }
            FileType::Socket => return Ok(false),
            _ => {}
        }
        if self.files == Files::Link {
            match rustix::fs::linkat(from, name, target, name, AtFlags::empty()) {
                Err(Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::NOTSUP) => {}
                linked => return linked.map(|()| false).map_err(|errno| ("link", errno)),
            }
        } else if found.st_nlink > 1 {
            let file = (found.st_dev, found.st_ino);
            if let Some(first) = self.linked.get(&file) {
                match rustix::fs::linkat(&to.root, first, target, name, AtFlags::empty()) {
                    Err(Errno::MLINK) => {}
                    linked => return linked.map(|()| false).map_err(|errno| ("link", errno)),
                }
            }
            self.linked.insert(file, path.into());
        }
        self.node(from.as_fd(), name, &found, target.as_fd())?;
        let to = Place { dir: target.as_fd(), name };
        transfer(Place { dir: from.as_fd(), name }, &found, to)?;
        Ok(false)
    }

    fn node(
        &mut self,
        from: BorrowedFd<'_>,
        name: &OsStr,
        found: &Stat,
        target: BorrowedFd<'_>,
    ) -> Result<(), Failed> {
        let mode = Mode::from_raw_mode(0o600);
        match kind(found) {
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, name, flags, Mode::empty())
                    .map_err(|errno| ("open", errno))?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let made = rustix::fs::openat(target, name, flags, mode)
                    .map_err(|errno| ("create", errno))?;
                copy_bytes(&source, &made, found, &mut self.ways)
            }
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(from, name, Vec::new())
                    .map_err(|errno| ("readlink", errno))?;
                rustix::fs::symlinkat(&*text, target, name).map_err(|errno| ("symlink", errno))
            }
            other => rustix::fs::mknodat(target, name, other, mode, found.st_rdev)
                .map_err(|errno| ("mknod", errno)),
        }
    }
}

/// Copies the bytes of one file, as many as `found` says that it has, to another, which is empty: as shared blocks
/// where the file system can, else within the kernel, else by hand, as `ways` says that it may be tried; what is
/// found out is written there. Holes stay holes. Which call failed, and how.
pub fn copy_bytes(
    from: &OwnedFd,
    to: &OwnedFd,
    found: &Stat,
    ways: &mut Ways,
) -> Result<(), (&'static str, Errno)> {
    let size = found.st_size as u64;
    if size == 0 {
        return Ok(());
    }
    if ways.reflinks {
        match rustix::fs::ioctl_ficlone(to, from) {
            Ok(()) => return Ok(()),
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => {
                return Err(("ioctl(FICLONE)", errno));
            }
            // One file that cannot (EINVAL), or a file system that cannot.
            Err(errno) => ways.reflinks = errno == Errno::INVAL,
        }
    }
    // As many blocks as it is long: it has no holes to be looked for.
    if (found.st_blocks as u64).saturating_mul(BLOCK) >= size {
        return copy_range(from.as_fd(), to.as_fd(), 0, size, ways);
    }
    rustix::fs::ftruncate(to, size).map_err(|errno| ("ftruncate", errno))?;
    let mut at = 0;
    // Holes stay holes.
    while at < size {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP) => at,
            start => start.map_err(|errno| ("lseek", errno))?,
        };
        let end = match rustix::fs::seek(from, SeekFrom::Hole(start)) {
            Err(Errno::INVAL | Errno::NOTSUP) => size,
            end => end.map_err(|errno| ("lseek", errno))?.min(size),
        };
        copy_range(from.as_fd(), to.as_fd(), start, end, ways)?;
        at = end;
    }
    Ok(())
}

/// Whether files in the directory `dir` can share blocks.
pub fn shares_blocks(dir: &Path) -> bool {
    let make = || {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        rustix::fs::open(dir, flags, Mode::from_raw_mode(0o600))
    };
    let (Ok(from), Ok(to)) = (make(), make()) else { return false };
    // Some say yes to nothing at all.
    rustix::io::write(&from, &[1; 4096]).is_ok() && rustix::fs::ioctl_ficlone(&to, &from).is_ok()
}

/// Copies bytes `start` to `end`, inside the kernel where it can.
fn copy_range(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    start: u64,
    end: u64,
    ways: &mut Ways,
) -> Result<(), Failed> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end && ways.in_kernel {
        let len = usize::try_from(end - read_at).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), len) {
            // Shorter than it was.
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            // Of this one.
            Err(Errno::INVAL) => break,
            // From that file system to this one.
            Err(Errno::XDEV | Errno::NOSYS | Errno::NOTSUP) => ways.in_kernel = false,
            Err(errno) => return Err(("copy_file_range", errno)),
        }
    }
    by_hand(from, to, read_at, end)
}

fn by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, mut at: u64, end: u64) -> Result<(), Failed> {
    let rest = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut buffer = vec![0; rest.min(128 << 10)];
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let n_read = match rustix::io::pread(from, &mut buffer[..len], at) {
            Ok(0) => return Ok(()),
            Err(Errno::INTR) => continue,
            n_read => n_read.map_err(|errno| ("read", errno))?,
        };
        let mut n_written = 0;
        while n_written < n_read {
            match rustix::io::pwrite(to, &buffer[n_written..n_read], at + n_written as u64) {
                Ok(0) => return Err(("write", Errno::IO)),
                Ok(n) => n_written += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(("write", errno)),
            }
        }
        at += n_read as u64;
    }
    Ok(())
}
