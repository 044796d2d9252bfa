//! Whether two directories hold the same: an unpacked layer, and what its archive unpacks to now.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tarstream::Name;

use crate::Error;
use crate::unpacked::{file_type, is_whiteout};

/// How many bytes of a file are read at once.
const PIECE: usize = 128 << 10;

/// One way in which two directories differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where, relative to the root; empty for the root itself.
    pub path: PathBuf,
    /// What: "is missing", "has another content", ...
    pub what: &'static str,
}

/// Compares the directory `found` with `wanted`: names, kinds, content, modes, owners, links,
/// devices, extended attributes, and the times of all that is no directory (a directory that an
/// archive does not mention has the time at which it was unpacked). At most `limit` differences.
pub fn compare(wanted: &Path, found: &Path, limit: usize) -> Result<Vec<Difference>, Error> {
    let (wanted, found) = (Side::open(wanted)?, Side::open(found)?);
    let mut differences = Vec::new();
    let mut rest = vec![PathBuf::new()];
    while let Some(path) = rest.pop() {
        let mut differ =
            |path: &Path, what| differences.push(Difference { path: path.into(), what });
        if let Some(what) = compare_one(&wanted, &found, &path)? {
            differ(&path, what);
        } else if wanted.is_directory(&path)? {
            let (ours, theirs) = (wanted.names(&path)?, found.names(&path)?);
            for missing in ours.difference(&theirs) {
                differ(&path.join(missing), "is missing");
            }
            for new in theirs.difference(&ours) {
                differ(&path.join(new), "is not in the archive");
            }
            rest.extend(ours.intersection(&theirs).map(|name| path.join(name)));
        }
        if differences.len() >= limit {
            break;
        }
    }
    differences.truncate(limit);
    Ok(differences)
}

/// How what is at `path` differs, whatever is below it.
pub(crate) fn compare_one(
    wanted: &Side,
    found: &Side,
    path: &Path,
) -> Result<Option<&'static str>, Error> {
    let (ours, theirs) = (wanted.stat(path)?, found.stat(path)?);
    let kind = file_type(&ours);
    if kind != FileType::Directory && (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino) {
        return Ok(None);
    }
    let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    if kind != file_type(&theirs) {
        return Ok(Some("is of another kind"));
    }
    if is_whiteout(&ours) && is_whiteout(&theirs) {
        // Nothing else of them counts: an archive says nothing of it.
        return Ok(None);
    }
    if kind != FileType::Symlink && ours.st_mode != theirs.st_mode {
        return Ok(Some("has another mode"));
    }
    if (ours.st_uid, ours.st_gid) != (theirs.st_uid, theirs.st_gid) {
        return Ok(Some("has another owner"));
    }
    if kind != FileType::Directory && time(&ours) != time(&theirs) {
        return Ok(Some("has another time"));
    }
    let is_same = match kind {
        FileType::RegularFile => {
            ours.st_size == theirs.st_size && same_content(wanted, found, path)?
        }
        FileType::Symlink => wanted.target(path)? == found.target(path)?,
        FileType::CharacterDevice | FileType::BlockDevice => ours.st_rdev == theirs.st_rdev,
        _ => true,
    };
    if !is_same {
        return Ok(Some("has another content"));
    }
    if wanted.attributes(path, kind)? != found.attributes(path, kind)? {
        return Ok(Some("has other extended attributes"));
    }
    Ok(None)
}

fn same_content(wanted: &Side, found: &Side, path: &Path) -> Result<bool, Error> {
    let open = |side: &Side| side.at(path, OFlags::RDONLY | OFlags::NOFOLLOW);
    let (ours, theirs) = (open(wanted)?, open(found)?);
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut offset = 0;
    loop {
        let n_left = read_at(&ours, &mut left, offset).map_err(|e| at(path, "read", e))?;
        let n_right = read_at(&theirs, &mut right, offset).map_err(|e| at(path, "read", e))?;
        if left[..n_left] != right[..n_right] {
            return Ok(false);
        }
        if n_left == 0 {
            return Ok(true);
        }
        offset += n_left as u64;
    }
}

/// Fills the buffer, but for the end of the file.
fn read_at(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut n_read = 0;
    while n_read < buffer.len() {
        match rustix::io::pread(file, &mut buffer[n_read..], offset + n_read as u64) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(n_read)
}

/// What overlayfs notes for itself, of a directory that it has written to.
fn is_bookkeeping(name: &[u8]) -> bool {
    let names = ["impure", "origin", "uuid"];
    names.iter().any(|own| name == mount::overlay_attribute(own).as_bytes())
}

/// One of the two directories.
pub(crate) struct Side(OwnedFd);

impl Side {
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(root, flags, Mode::empty())
            .map(Self)
            .map_err(|source| Error::Root { path: root.into(), source })
    }

    fn at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            match rustix::fs::openat2(&self.0, name, flags | OFlags::CLOEXEC, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other.map_err(|source| at(path, "open", source)),
            }
        }
    }

    fn node(&self, path: &Path) -> Result<OwnedFd, Error> {
        self.at(path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    pub(crate) fn stat(&self, path: &Path) -> Result<Stat, Error> {
        rustix::fs::fstat(self.node(path)?).map_err(|source| at(path, "stat", source))
    }

    fn is_directory(&self, path: &Path) -> Result<bool, Error> {
        Ok(file_type(&self.stat(path)?) == FileType::Directory)
    }

    fn names(&self, path: &Path) -> Result<BTreeSet<OsString>, Error> {
        let dir = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = BTreeSet::new();
        for entry in Dir::read_from(dir).map_err(|source| at(path, "readdir", source))? {
            let entry = entry.map_err(|source| at(path, "readdir", source))?;
            let name = entry.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.insert(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    fn target(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let target = rustix::fs::readlinkat(self.node(path)?, "", Vec::new());
        Ok(target.map_err(|source| at(path, "readlink", source))?.into_bytes())
    }

    /// All attributes, overlayfs's own among them: they say what a layer hides.
    fn attributes(&self, path: &Path, kind: FileType) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Error> {
        // A link's own attributes are reached by its name only.
        let node = self.node(path)?;
        let is_link = kind == FileType::Symlink;
        let place = if is_link {
            fsroot::fd_path(self.0.as_fd()).join(path)
        } else {
            fsroot::fd_path(node.as_fd())
        };
        let mut names = vec![0; 64 << 10];
        let len = if is_link {
            rustix::fs::llistxattr(&place, &mut names[..])
        } else {
            rustix::fs::listxattr(&place, &mut names[..])
        };
        let len = match len {
            Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
            len => len.map_err(|source| at(path, "listxattr", source))?,
        };
        let mut all = BTreeMap::new();
        for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
            let (mut value, key) = (vec![0; 64 << 10], OsStr::from_bytes(name));
            let len = if is_link {
                rustix::fs::lgetxattr(&place, key, &mut value[..])
            } else {
                rustix::fs::getxattr(&place, key, &mut value[..])
            };
            value.truncate(len.map_err(|source| at(path, "getxattr", source))?);
            if !is_bookkeeping(name) && !selinux::is_label(name) {
                all.insert(name.to_vec(), value);
            }
        }
        Ok(all)
    }
}

fn at(path: &Path, call: &'static str, source: Errno) -> Error {
    Error::Call { entry: Name::from(path.as_os_str().as_bytes()), call, source }
}
