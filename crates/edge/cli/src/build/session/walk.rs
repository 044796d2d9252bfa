//! A walk through a directory that tells of what a build wants of it, in fsutil's order: by name,
//! byte by byte, a directory before what is in it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, PoisonError};

use buildkit::fsutil::Stat;
use docker::mode::from_unix;
use dockerfile::ignore::{Filter, FilterDir};
use fsroot::{Root, fd_path};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The kernel's own bounds of a list of names and of a value (`xattr(7)`).
const XATTR_BYTES: usize = 64 << 10;

/// Why a walk ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{what}: {source}")]
    Read { what: String, source: Errno },
    #[error(transparent)]
    Root(#[from] sys::Error),
    #[error("more than {} files", u32::MAX)]
    TooMany,
    #[error("nobody listens")]
    Gone,
}

/// The files that were told of, by their numbers; `None` for all else.
pub(super) type Files = Mutex<Vec<Option<Box<[u8]>>>>;

/// One walk. `tell` answers whether there is somebody to tell.
pub(super) struct Walk<'a> {
    tell: &'a mut dyn FnMut(Stat) -> bool,
    files: &'a Files,
    /// Directories on the way down that nobody asked for, and that are told of when something in
    /// them is wanted.
    above: Vec<Stat>,
    /// The first name of a file that has several, by its device and number.
    seen: HashMap<(u64, u64), Vec<u8>>,
}

impl<'a> Walk<'a> {
    /// A walk that has not begun.
    pub(super) fn new(files: &'a Files, tell: &'a mut dyn FnMut(Stat) -> bool) -> Self {
        Self { tell, files, above: Vec::new(), seen: HashMap::new() }
    }

    /// Tells of what the filter wants of all that is in `root`.
    pub(super) fn all(&mut self, root: &Root, filter: &Filter) -> Result<(), Error> {
        let dir = open(root, OsStr::new("."), b".")?;
        self.directory(&dir, b"", &filter.root())
    }

    fn directory(
        &mut self,
        dir: &OwnedFd,
        path: &[u8],
        filter: &FilterDir<'_>,
    ) -> Result<(), Error> {
        for (name, told_kind) in names(dir).map_err(failed("readdir", path))? {
            let inner = join(path, &name);
            let name_os = OsStr::from_bytes(&name);
            // Where the directory says what something is, what is not wanted need not be looked at.
            let known = match told_kind {
                FileType::Unknown => None,
                kind => Some(kind.is_dir()),
            };
            let look = || {
                rustix::fs::statat(dir, name_os, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(failed("lstat", &inner))
            };
            let mut stat = None;
            let is_dir = if let Some(is_dir) = known {
                is_dir
            } else {
                let found = look()?;
                stat = Some(found);
                FileType::from_raw_mode(found.st_mode).is_dir()
            };
            let found = filter.child(&name, is_dir);
            if !found.wanted && found.enter.is_none() {
                continue;
            }
            let stat = match stat {
                Some(stat) => stat,
                None => look()?,
            };
            let told = entry(dir, name_os, inner.clone(), &stat);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let depth = self.above.len();
                    if found.wanted {
                        self.tell(told, None)?;
                    } else {
                        self.above.push(told);
                    }
                    if let Some(below) = found.enter {
                        let inside = open(dir, name_os, &inner)?;
                        self.directory(&inside, &inner, &below)?;
                    }
                    self.above.truncate(depth);
                }
                _ if !found.wanted => {}
                FileType::Symlink => self.link(dir, name_os, told)?,
                FileType::RegularFile => self.file(told, &stat)?,
                // Nothing can be copied of a socket.
                FileType::Socket => {}
                _ => self.tell(told, None)?,
            }
        }
        Ok(())
    }

    fn link(&mut self, dir: &OwnedFd, name: &OsStr, mut told: Stat) -> Result<(), Error> {
        let target = rustix::fs::readlinkat(dir, name, Vec::new())
            .map_err(failed("readlink", &told.path))?;
        told.linkname = target.into_bytes();
        self.tell(told, None)
    }

    fn file(&mut self, mut told: Stat, stat: &rustix::fs::Stat) -> Result<(), Error> {
        if stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.seen.get(&identity) {
                told.linkname.clone_from(first);
                told.size = 0;
            } else {
                self.seen.insert(identity, told.path.clone());
            }
        }
        let path = told.path.clone().into_boxed_slice();
        self.tell(told, Some(path))
    }

    fn tell(&mut self, stat: Stat, file: Option<Box<[u8]>>) -> Result<(), Error> {
        for above in std::mem::take(&mut self.above) {
            self.tell_one(above, None)?;
        }
        self.tell_one(stat, file)
    }

    fn tell_one(&mut self, stat: Stat, file: Option<Box<[u8]>>) -> Result<(), Error> {
        // It has its number before anybody can ask for it.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if files.len() >= u32::MAX as usize {
            return Err(Error::TooMany);
        }
        files.push(file);
        drop(files);
        if (self.tell)(stat) { Ok(()) } else { Err(Error::Gone) }
    }
}

fn open(at: impl std::os::fd::AsFd, name: &OsStr, path: &[u8]) -> Result<OwnedFd, Error> {
    rustix::fs::openat(at, name, DIRECTORY, Mode::empty()).map_err(failed("open", path))
}

/// What is told of something. It belongs to root in the build, whoever has it here.
fn entry(dir: &OwnedFd, name: &OsStr, path: Vec<u8>, stat: &rustix::fs::Stat) -> Stat {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    let device =
        |number: fn(u64) -> u32| if is_device { i64::from(number(stat.st_rdev)) } else { 0 };
    Stat {
        path,
        mode: from_unix(stat.st_mode),
        size: if kind.is_dir() { 0 } else { stat.st_size },
        mod_time: stat
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(stat.st_mtime_nsec.cast_signed()),
        devmajor: device(rustix::fs::major),
        devminor: device(rustix::fs::minor),
        xattrs: attributes(dir, name),
        ..Stat::default()
    }
}

/// The extended attributes; none where they cannot be read, as fsutil has it.
fn attributes(dir: &OwnedFd, name: &OsStr) -> std::collections::BTreeMap<String, Vec<u8>> {
    let path = fd_path(dir.as_fd()).join(name);
    let mut found = std::collections::BTreeMap::new();
    match rustix::fs::llistxattr(&path, &mut [0_u8; 0][..]) {
        Ok(0) | Err(_) => return found,
        Ok(_) => {}
    }
    let mut names = vec![0_u8; XATTR_BYTES];
    let Ok(len) = rustix::fs::llistxattr(&path, &mut names[..]) else { return found };
    let mut value = vec![0_u8; XATTR_BYTES];
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if let Ok(len) = rustix::fs::lgetxattr(&path, name, &mut value[..]) {
            found.insert(name.to_owned(), value[..len].to_vec());
        }
    }
    found
}

fn names(dir: &OwnedFd) -> Result<Vec<(Vec<u8>, FileType)>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn failed(call: &str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
    let what = format!("{call}({:?})", String::from_utf8_lossy(path));
    move |source| Error::Read { what, source }
}
