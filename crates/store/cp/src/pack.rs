//! From files to a tar archive.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fsroot::Root;
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tarstream::{Entry, Kind, Time, Writer};

use crate::error::At as _;
use crate::{Error, Ids, Place, ids};

struct Packer<'a> {
    /// The directory that is packed; of a single file, the one that it is in.
    base: OwnedFd,
    /// What names in the archive begin with.
    prefix: PathBuf,
    /// The file system to stay on, if only one is wanted.
    device: Option<u64>,
    /// With all extended attributes that others may have.
    attributes: bool,
    /// When everything was written last, whatever its files say: seconds since 1970.
    time: Option<i64>,
    /// Times have no fractions.
    whole_seconds: bool,
    ids: Ids,
    writer: Writer<&'a mut dyn Write>,
    /// Files of several names, by device and number: the first name.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// Directories that the archive has, where several trees go to it: each is there once.
    known: Option<HashSet<Vec<u8>>>,
}

/// How an archive is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pack {
    /// Other file systems below stay out.
    pub one_file_system: bool,
    /// With all extended attributes that others may have.
    pub attributes: bool,
    /// When everything was written last, whatever its files say: seconds since 1970.
    pub time: Option<i64>,
    /// Times have no fractions: they would need a header of their own, which simple readers take for a file.
    pub whole_seconds: bool,
    /// Whose the files are.
    pub ids: Ids,
}

/// Writes trees into one archive, each below its name there; an empty name: at the top.
pub fn pack_trees(trees: &[(&Root, &str)], how: &Pack, out: &mut dyn Write) -> Result<(), Error> {
    let mut writer = Writer::new(out);
    let mut known = (trees.len() > 1).then(HashSet::new);
    for (root, name) in trees {
        let base = Place::new("/").open(root)?;
        let device = rustix::fs::fstat(&base).at("stat", Path::new("/"))?.st_dev;
        let mut packer = Packer {
            base,
            prefix: PathBuf::from(name),
            device: how.one_file_system.then_some(device),
            attributes: how.attributes,
            time: how.time,
            whole_seconds: how.whole_seconds,
            ids: how.ids.clone(),
            writer,
            linked: HashMap::new(),
            known: known.take(),
        };
        packer.tree()?;
        writer = packer.writer;
        known = packer.known;
    }
    writer.finish().map(drop).at("write", Path::new("/"))
}

/// Writes what is at `place` in `root`. What goes away meanwhile is left out, sockets as well.
pub fn pack(root: &Root, place: &Place, how: Pack, out: &mut dyn Write) -> Result<(), Error> {
    let node = place.open(root)?;
    let stat = rustix::fs::fstat(&node).at("stat", &place.path)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
    let (base, first) = if is_directory {
        (node, PathBuf::new())
    } else {
        let (directory, name) = root.parent(&place.path)?;
        (directory, name.into())
    };
    let mut packer = Packer {
        base,
        prefix: PathBuf::from(&place.name),
        device: how.one_file_system.then_some(stat.st_dev),
        attributes: how.attributes,
        time: how.time,
        whole_seconds: how.whole_seconds,
        ids: how.ids,
        writer: Writer::new(out),
        linked: HashMap::new(),
        known: None,
    };
    if is_directory {
        packer.tree()?;
    } else {
        let name = packer.prefix.as_os_str().as_bytes().to_vec();
        packer.entry(&first, name)?;
    }
    packer.writer.finish().map(drop).at("write", &place.path)
}

impl Packer<'_> {
    /// Every directory before what is in it, names in order.
    fn tree(&mut self) -> Result<(), Error> {
        let mut rest = vec![PathBuf::new()];
        while let Some(path) = rest.pop() {
            let here = path.as_os_str().is_empty();
            let name = if here { self.prefix.clone() } else { self.prefix.join(&path) };
            let name = name.into_os_string();
            // The root of an export has no entry.
            if !name.is_empty() && !self.entry(&path, name.as_bytes().to_vec())? {
                continue;
            }
            let Some(directory) = self.open(&path, OFlags::RDONLY | OFlags::DIRECTORY)? else {
                continue;
            };
            let mut names = Vec::new();
            for entry in Dir::read_from(&directory).at("readdir", &path)? {
                let entry = entry.at("readdir", &path)?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name != "." && name != ".." {
                    names.push(OsString::from(name));
                }
            }
            names.sort();
            rest.extend(names.into_iter().rev().map(|name| path.join(name)));
        }
        Ok(())
    }

    /// Writes one name. Whether it is a directory, to be entered.
    fn entry(&mut self, path: &Path, name: Vec<u8>) -> Result<bool, Error> {
        let Some(node) = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)? else {
            return Ok(false);
        };
        let stat = rustix::fs::fstat(&node).at("stat", path)?;
        let Some(kind) = kind(&stat) else { return Ok(false) };
        if kind == Kind::Directory
            && let Some(known) = &mut self.known
            && !known.insert(name.clone())
        {
            return Ok(true);
        }
        let mut entry = Entry {
            path: name,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: ids::inside(&self.ids.uids, stat.st_uid),
            gid: ids::inside(&self.ids.gids, stat.st_gid),
            mtime: match self.time {
                Some(seconds) => Time { seconds, nanoseconds: 0 },
                None if self.whole_seconds => Time { seconds: stat.st_mtime, nanoseconds: 0 },
                None => Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            },
            ..Entry::default()
        };
        if self.attributes && matches!(kind, Kind::Directory | Kind::File) {
            entry.xattrs.extend(attributes(&node).at("getxattr", path)?);
        }
        if kind == Kind::Directory {
            // The root's own name is one already.
            if !entry.path.ends_with(b"/") {
                entry.path.push(b'/');
            }
            self.append(path, &entry, &mut io::empty())?;
            return Ok(self.device.is_none_or(|device| device == stat.st_dev));
        }
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&key) {
                entry.kind = Kind::HardLink;
                entry.link.clone_from(first);
                self.append(path, &entry, &mut io::empty())?;
                return Ok(false);
            }
            self.linked.insert(key, entry.path.clone());
        }
        match kind {
            Kind::Symlink => {
                match rustix::fs::readlinkat(&node, "", Vec::new()) {
                    // In proc: it would lead to a process that is not in that proc.
                    Err(Errno::NOENT) => return Ok(false),
                    target => entry.link = target.at("readlink", path)?.into_bytes(),
                }
            }
            Kind::CharDevice | Kind::BlockDevice => {
                entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            }
            Kind::File => return self.file(path, entry).map(|()| false),
            _ => {}
        }
        self.append(path, &entry, &mut io::empty())?;
        Ok(false)
    }

    fn file(&mut self, path: &Path, mut entry: Entry) -> Result<(), Error> {
        // It was a file a moment ago; a pipe in its place must not keep us waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Some(file) = self.open(path, flags)? else { return Ok(()) };
        let stat = rustix::fs::fstat(&file).at("stat", path)?;
        if kind(&stat) != Some(Kind::File) {
            return Ok(());
        }
        entry.size = stat.st_size as u64;
        if let Some(value) = capabilities(&file) {
            entry.xattrs.insert(CAPABILITY.as_bytes().to_vec(), value);
        }
        // One that shrinks while it is read is filled up: the archive has its size by then.
        let mut data = File::from(file).chain(io::repeat(0)).take(entry.size);
        self.append(path, &entry, &mut data)
    }

    fn append(&mut self, path: &Path, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        self.writer.append(entry, data).at("write", path)
    }

    /// Opens a path below the base, without following any link; `None` where it is gone.
    fn open(&self, path: &Path, flags: OFlags) -> Result<Option<OwnedFd>, Error> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let name = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // A link itself is opened with NOFOLLOW, which NO_SYMLINKS allows for the last name.
        loop {
            let flags = flags | OFlags::CLOEXEC;
            match rustix::fs::openat2(&self.base, name, flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
                opened => return opened.map(Some).at("open", path),
            }
        }
    }
}

/// The extended attributes of a file or directory that its owner or an administrator set; neither those
/// of overlayfs, nor labels, which belong to a machine.
fn attributes(node: &OwnedFd) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    const KEPT: [&[u8]; 3] = [b"user.", b"security.capability", b"system.posix_acl_"];
    let path = fsroot::fd_path(node);
    let mut names = vec![0; 64 << 10];
    let len = match rustix::fs::listxattr(&path, &mut names) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        len => len?,
    };
    let mut found = Vec::new();
    for name in names[..len].split(|byte| *byte == 0) {
        let kept = KEPT.iter().any(|kept| name.starts_with(kept));
        if !kept || name.starts_with(b"user.overlay.") {
            continue;
        }
        let mut value = vec![0; 64 << 10];
        match rustix::fs::getxattr(&path, name, &mut value[..]) {
            Ok(len) => found.push((name.to_vec(), value[..len].to_vec())),
            // It went in this moment.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}

const CAPABILITY: &str = "security.capability";

/// The capabilities of a program: the one attribute without which it does not work.
fn capabilities(file: &OwnedFd) -> Option<Vec<u8>> {
    let mut value = vec![0; 64];
    let len = rustix::fs::fgetxattr(file, CAPABILITY, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

fn kind(stat: &Stat) -> Option<Kind> {
    Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        _ => return None,
    })
}
