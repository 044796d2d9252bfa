//! The other way: from the writable directory of an overlay to a layer archive.
//!
//! The same tree gives the same bytes: names in order, no names of owners, nothing of the machine.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tarstream::{Entry, Kind, Name, Time, Writer};
use tree::Change;

use crate::node::is_overlays;
use crate::unpack::{OPAQUE, WHITEOUT};
use crate::unpacked::{file_type, is_whiteout};
use crate::{Error, Packed, Unmarked};

/// Attributes by which overlayfs says that a file's content, or a directory's, is elsewhere.
const ELSEWHERE: [&str; 2] = ["redirect", "metacopy"];

/// Of names of extended attributes, in bytes: what nearly all files have room in, and what no file has more of.
const NAMES: usize = 1 << 10;
const ALL_NAMES: usize = 64 << 10;
/// The longest value of one, in bytes.
const VALUE: usize = 64 << 10;

struct Packer<'a, W: Write> {
    root: OwnedFd,
    /// The layers below.
    lower: &'a [PathBuf],
    /// A directory that is marked as opaque was meant to be, whatever is below.
    trusts_marks: bool,
    writer: Writer<&'a mut W>,
    /// Files of several names, by device and number: the first name.
    linked: HashMap<(u64, u64), Vec<u8>>,
    packed: Packed,
}

/// Writes what the directory `upper` changes in the layers `lower` below it.
pub(crate) fn pack<W: Write>(
    upper: &Path,
    lower: &[PathBuf],
    out: &mut W,
) -> Result<Packed, Error> {
    let mut packer = Packer { lower, ..Packer::new(upper, out)? };
    packer.tree()?;
    packer.finish()
}

/// Writes the directory `upper` of a layer that lies on the layers `lower`, and may have lain on others when it
/// was made: what it hides is marked in it (see [`unmark`]).
pub(crate) fn pack_layer<W: Write>(
    upper: &Path,
    lower: &[PathBuf],
    out: &mut W,
) -> Result<Packed, Error> {
    let mut packer = Packer { lower, trusts_marks: true, ..Packer::new(upper, out)? };
    packer.tree()?;
    packer.finish()
}

/// Writes these changes, in their order, as they are in the tree `now`.
pub(crate) fn pack_changes<W: Write>(
    now: &Path,
    changes: &[Change],
    out: &mut W,
) -> Result<Packed, Error> {
    let mut packer = Packer::new(now, out)?;
    for change in changes {
        match change.kind {
            tree::Kind::Deleted => packer.whiteout(&change.path)?,
            tree::Kind::Added | tree::Kind::Modified => {
                packer.entry(&change.path)?;
            }
        }
    }
    packer.finish()
}

/// Takes the marks from the directories of `upper` that hide nothing in the layers `lower` below them:
/// overlayfs marks every directory that it makes. Those that keep it, and what it has copied.
pub(crate) fn unmark(upper: &Path, lower: &[PathBuf]) -> Result<Unmarked, Error> {
    let mut nowhere = io::sink();
    let packer = Packer { lower, ..Packer::new(upper, &mut nowhere)? };
    let [opaque, origin] = ["opaque", "origin"].map(mount::overlay_attribute);
    // Each with whether what is below is hidden there.
    let mut rest = vec![(PathBuf::new(), false)];
    let mut found = Unmarked::default();
    while let Some((path, is_hidden)) = rest.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let Some(dir) = packer.find(&path, flags)? else { continue };
        let is_marked = attribute(&dir, &opaque).as_deref() == Some(b"y");
        let hides = is_marked && !path.as_os_str().is_empty() && packer.is_below(&path);
        if hides {
            found.marked.push(path.clone());
        } else if is_marked {
            rustix::fs::fremovexattr(&dir, &*opaque)
                .map_err(|source| at(&path, "removexattr", source))?;
        }
        let is_hidden = is_hidden || hides;
        let entries = entries(&dir).map_err(|source| at(&path, "readdir", source))?;
        for (name, kind) in entries {
            match kind {
                FileType::Directory | FileType::Unknown => rest.push((path.join(name), is_hidden)),
                FileType::RegularFile | FileType::Symlink
                    if !is_hidden && is_copied(&dir, &name, &origin) =>
                {
                    found.copied.push(path.join(name));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Whether overlayfs has noted of a file that it has copied it from below.
fn is_copied(dir: &OwnedFd, name: &OsStr, origin: &str) -> bool {
    let mut value = [0_u8; 256];
    let place = fsroot::fd_path(dir.as_fd()).join(name);
    rustix::fs::lgetxattr(place, origin, &mut value[..]).is_ok()
}

impl<'a, W: Write> Packer<'a, W> {
    fn new(root: &Path, out: &'a mut W) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(root, flags, Mode::empty());
        Ok(Self {
            root: opened.map_err(|source| Error::Root { path: root.into(), source })?,
            lower: &[],
            trusts_marks: false,
            writer: Writer::new(out),
            linked: HashMap::new(),
            packed: Packed::default(),
        })
    }

    fn finish(self) -> Result<Packed, Error> {
        self.writer.finish().map_err(Error::Write)?;
        Ok(self.packed)
    }

    fn whiteout(&mut self, path: &Path) -> Result<(), Error> {
        let name = [WHITEOUT, path.file_name().unwrap_or_default().as_bytes()].concat();
        self.mark(&path.with_file_name(OsStr::from_bytes(&name)))
    }

    /// Every directory before what is in it, names in order.
    fn tree(&mut self) -> Result<(), Error> {
        let opaque = mount::overlay_attribute("opaque");
        let mut rest: Vec<PathBuf> = vec![PathBuf::new()];
        while let Some(path) = rest.pop() {
            let is_root = path.as_os_str().is_empty();
            if !is_root && !self.entry(&path)? {
                continue;
            }
            let Some(dir) = self.find(&path, OFlags::RDONLY | OFlags::DIRECTORY)? else { continue };
            // Overlayfs marks every directory that is new; of one that hides nothing nothing is said.
            let is_opaque = !is_root && attribute(&dir, &opaque).as_deref() == Some(b"y");
            if is_opaque && (self.trusts_marks || self.is_below(&path)) {
                self.mark(&path.join(OsStr::from_bytes(OPAQUE)))?;
            }
            let mut names = names(&dir).map_err(|source| at(&path, "readdir", source))?;
            names.sort();
            rest.extend(names.into_iter().rev().map(|name| path.join(name)));
        }
        Ok(())
    }

    /// Writes one name. Whether it is a directory, to be entered.
    fn entry(&mut self, path: &Path) -> Result<bool, Error> {
        let Some(node) = self.find(path, OFlags::PATH | OFlags::NOFOLLOW)? else {
            return Ok(false);
        };
        let stat = rustix::fs::fstat(&node).map_err(|source| at(path, "stat", source))?;
        if is_whiteout(&stat) {
            self.whiteout(path)?;
            return Ok(false);
        }
        let mut entry = describe(path, &stat);
        entry.kind = match file_type(&stat) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::CharDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            // A socket, which is left out; but not what it hides.
            _ if self.is_below(path) => return self.whiteout(path).map(|()| false),
            _ => return Ok(false),
        };
        let is_directory = entry.kind == Kind::Directory;
        if !is_directory && stat.st_nlink > 1 {
            let first = self.linked.entry((stat.st_dev, stat.st_ino));
            if let std::collections::hash_map::Entry::Occupied(first) = &first {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first.get());
                self.append(path, &entry, &mut io::empty())?;
                return Ok(false);
            }
            first.or_insert_with(|| entry.path.clone());
        }
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
            entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        }
        if entry.kind == Kind::Symlink {
            let target = rustix::fs::readlinkat(&node, "", Vec::new());
            entry.link = target.map_err(|source| at(path, "readlink", source))?.into_bytes();
        }
        if is_directory {
            entry.path.push(b'/');
        }
        if entry.kind == Kind::File {
            // That very file, whatever has its name by now: it is one, and so nothing is waited for.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = rustix::fs::open(fsroot::fd_path(&node), flags, Mode::empty())
                .map_err(|source| at(path, "open", source))?;
            attributes(path, &Reached::File(file.as_fd()), &mut entry)?;
            entry.size = stat.st_size as u64;
            self.packed.size += entry.size;
            self.append(path, &entry, &mut File::from(file))?;
        } else {
            attributes(path, &Reached::Node(fsroot::fd_path(node.as_fd())), &mut entry)?;
            self.append(path, &entry, &mut io::empty())?;
        }
        Ok(is_directory)
    }

    /// Whether any layer below has something of this name.
    fn is_below(&self, path: &Path) -> bool {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.lower.iter().any(|layer| {
            let flags_of_root = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(layer, flags_of_root, Mode::empty())
                .and_then(|root| rustix::fs::openat2(&root, path, flags, Mode::empty(), how))
                .is_ok()
        })
    }

    /// An empty file whose name says something.
    fn mark(&mut self, path: &Path) -> Result<(), Error> {
        let entry =
            Entry { path: path.as_os_str().as_bytes().to_vec(), mode: 0o600, ..Entry::default() };
        self.append(path, &entry, &mut io::empty())
    }

    fn append(&mut self, path: &Path, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        self.packed.n_entries += 1;
        self.writer.append(entry, data).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Refused {
                entry: shown(path),
                why: "became shorter while it was read; pause the container".into(),
            },
            io::ErrorKind::InvalidInput => {
                Error::Refused { entry: shown(path), why: error.to_string() }
            }
            _ => Error::Write(error),
        })
    }

    /// Opens a path; `None` where there is nothing now.
    fn find(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>, Error> {
        match self.open(path, flags) {
            Err(Error::Call { source: Errno::NOENT | Errno::NOTDIR | Errno::LOOP, .. }) => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Error> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            match rustix::fs::openat2(&self.root, name, flags | OFlags::CLOEXEC, Mode::empty(), how)
            {
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other.map_err(|source| at(path, "open", source)),
            }
        }
    }
}

/// How the attributes of something are reached.
enum Reached<'a> {
    /// A file that is open.
    File(BorrowedFd<'a>),
    /// Through the link in procfs of a descriptor of `O_PATH`. That leads to the very thing, also to a link, whatever
    /// is at its name by now.
    Node(PathBuf),
}

impl Reached<'_> {
    fn list(&self, names: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => rustix::fs::flistxattr(file, names),
            Self::Node(path) => rustix::fs::listxattr(path, names),
        }
    }

    fn get(&self, name: &[u8], value: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::File(file) => rustix::fs::fgetxattr(file, name, value),
            Self::Node(path) => rustix::fs::getxattr(path, name, value),
        }
    }
}

/// Notes the extended attributes that are part of a file.
fn attributes(path: &Path, reached: &Reached<'_>, entry: &mut Entry) -> Result<(), Error> {
    let mut names = vec![0; NAMES];
    let len = loop {
        match reached.list(&mut names) {
            Err(Errno::NOTSUP) => return Ok(()),
            Err(Errno::RANGE) if names.len() < ALL_NAMES => names = vec![0; ALL_NAMES],
            len => break len.map_err(|source| at(path, "listxattr", source))?,
        }
    };
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if ELSEWHERE.iter().any(|one| name == mount::overlay_attribute(one).as_bytes()) {
            let name = String::from_utf8_lossy(name);
            let why = format!("has its content in another layer ({name})");
            return Err(Error::Refused { entry: shown(path), why });
        }
        if is_overlays(name) || selinux::is_label(name) {
            continue;
        }
        let mut value = vec![0; VALUE];
        let len = reached.get(name, &mut value);
        value.truncate(len.map_err(|source| at(path, "getxattr", source))?);
        entry.xattrs.insert(name.to_vec(), value);
    }
    Ok(())
}

fn describe(path: &Path, stat: &Stat) -> Entry {
    Entry {
        path: path.as_os_str().as_bytes().to_vec(),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
        ..Entry::default()
    }
}

pub(crate) fn names(dir: &OwnedFd) -> Result<Vec<OsString>, Errno> {
    Ok(entries(dir)?.into_iter().map(|(name, _)| name).collect())
}

/// Names, and what kind of thing each is; not every file system says so.
fn entries(dir: &OwnedFd) -> Result<Vec<(OsString, FileType)>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            let name = std::os::unix::ffi::OsStringExt::from_vec(name);
            entries.push((name, entry.file_type()));
        }
    }
    Ok(entries)
}

fn attribute(dir: &OwnedFd, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let len = rustix::fs::fgetxattr(dir, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

fn shown(path: &Path) -> Name {
    Name::from(path.as_os_str().as_bytes())
}

fn at(path: &Path, call: &'static str, source: Errno) -> Error {
    Error::Call { entry: shown(path), call, source }
}
