//! Takes a tree that a builder sends (`-o type=local`), by fsutil's protocol, and writes it below one
//! directory.
//!
//! The builder may be anybody: no path of its leads out of the directory, and none leads through a
//! symbolic link. Who owns a file is not its business either: all is ours.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use buildkit::fsutil::{Packet, Stat, packet::PacketType};
use docker::mode::{Kind, kind, permissions};
use fsroot::{Root, fd_path};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

/// The longest path that is taken, in bytes: the kernel's own bound.
const PATH_BYTES: usize = 4096;

/// Why a tree is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the builder sent the path {0:?}, which is none in a directory")]
    Path(String),
    #[error("the builder sent {path:?}, a device or socket (mode {mode:o})")]
    Kind { path: String, mode: u32 },
    #[error("the builder sent what nobody asked for: {0}")]
    Protocol(String),
    #[error("the builder: {0}")]
    Told(String),
    #[error("the builder left before all of {0:?} was there")]
    Ended(PathBuf),
    #[error("{what}: {source}")]
    Write { what: String, source: Errno },
    #[error(transparent)]
    Root(#[from] sys::Error),
}

/// A file whose content comes.
struct Coming {
    stat: Stat,
    parent: OwnedFd,
    /// Where it is until it is whole, in its directory.
    part: String,
    file: Option<OwnedFd>,
}

/// One transfer. Blocks.
pub(super) struct Receiver {
    root: Root,
    path: PathBuf,
    /// What else is in the directory is removed at the end.
    delete: bool,
    told: BTreeSet<Vec<u8>>,
    n_told: u32,
    coming: HashMap<u32, Coming>,
    directories: Vec<Stat>,
    hard_links: Vec<Stat>,
    all_told: bool,
    done: bool,
}

fn packet(kind: PacketType, id: u32) -> Packet {
    Packet { r#type: kind.into(), id, ..Packet::default() }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn failed<'a>(call: &'a str, path: &'a [u8]) -> impl FnOnce(Errno) -> Error + 'a {
    move |source| Error::Write { what: format!("{call}({:?})", shown(path)), source }
}

impl Receiver {
    /// Begins; the directory is made where it is not there.
    pub(super) fn new(path: &Path, delete: bool) -> Result<Self, Error> {
        std::fs::create_dir_all(path).map_err(|err| Error::Write {
            what: format!("mkdir({path:?})"),
            source: Errno::from_io_error(&err).unwrap_or(Errno::IO),
        })?;
        Ok(Self {
            root: Root::open(path)?,
            path: path.to_owned(),
            delete,
            told: BTreeSet::new(),
            n_told: 0,
            coming: HashMap::new(),
            directories: Vec::new(),
            hard_links: Vec::new(),
            all_told: false,
            done: false,
        })
    }

    /// Takes the next packet. What is to be answered.
    pub(super) fn take(&mut self, packet: Packet) -> Result<Vec<Packet>, Error> {
        let unexpected = || Error::Protocol(format!("a packet of type {}", packet.r#type));
        let kind = PacketType::try_from(packet.r#type).map_err(|_| unexpected())?;
        let mut answers = Vec::new();
        match kind {
            PacketType::PacketStat if self.all_told => return Err(unexpected()),
            PacketType::PacketStat => match packet.stat {
                Some(stat) => answers.extend(self.entry(stat)?),
                None => self.all_told = true,
            },
            PacketType::PacketData => self.data(packet.id, &packet.data)?,
            PacketType::PacketErr => return Err(Error::Told(shown(&packet.data))),
            PacketType::PacketFin if self.done => {}
            PacketType::PacketFin | PacketType::PacketReq => return Err(unexpected()),
        }
        if self.all_told && self.coming.is_empty() && !self.done {
            self.finish()?;
            self.done = true;
            answers.push(self::packet(PacketType::PacketFin, 0));
        }
        Ok(answers)
    }

    /// The builder has left.
    pub(super) fn end(self) -> Result<(), Error> {
        if self.done { Ok(()) } else { Err(Error::Ended(self.path.clone())) }
    }

    fn entry(&mut self, stat: Stat) -> Result<Option<Packet>, Error> {
        let id = self.n_told;
        self.n_told = id.checked_add(1).ok_or_else(|| Error::Protocol("too many files".into()))?;
        let (parent, name) = self.place(&stat.path)?;
        if !self.told.insert(stat.path.clone()) {
            return Err(Error::Protocol(format!("{:?} twice", shown(&stat.path))));
        }
        match kind(stat.mode) {
            Kind::Directory => self.directory(stat, &parent, &name)?,
            Kind::File if !stat.linkname.is_empty() => self.hard_links.push(stat),
            Kind::File => {
                clear(&parent, &name, &stat.path)?;
                let part = format!(".dhow-{}-{id}.part", std::process::id());
                self.coming.insert(id, Coming { stat, parent, part, file: None });
                return Ok(Some(packet(PacketType::PacketReq, id)));
            }
            Kind::Link => {
                clear(&parent, &name, &stat.path)?;
                remove(&parent, &name, &stat.path)?;
                rustix::fs::symlinkat(stat.linkname.as_slice(), &parent, OsStr::from_bytes(&name))
                    .map_err(failed("symlink", &stat.path))?;
                times(&parent, &name, stat.mod_time, &stat.path)?;
            }
            Kind::Fifo => {
                clear(&parent, &name, &stat.path)?;
                remove(&parent, &name, &stat.path)?;
                let mode = Mode::from_raw_mode(permissions(stat.mode));
                rustix::fs::mknodat(&parent, OsStr::from_bytes(&name), FileType::Fifo, mode, 0)
                    .map_err(failed("mkfifo", &stat.path))?;
            }
            Kind::Other => {
                return Err(Error::Kind { path: shown(&stat.path), mode: stat.mode });
            }
        }
        Ok(None)
    }

    /// The directory that a path is in, to which no link leads, and its name there.
    fn place(&self, path: &[u8]) -> Result<(OwnedFd, Vec<u8>), Error> {
        let is_name = |name: &[u8]| {
            !matches!(name, b"" | b"." | b"..") && name.len() <= 255 && !name.contains(&0)
        };
        if path.len() > PATH_BYTES || !path.split(|byte| *byte == b'/').all(is_name) {
            return Err(Error::Path(shown(&path[..path.len().min(PATH_BYTES)])));
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&b"."[..], path),
        };
        let parent = self.root.open_plain_directory(OsStr::from_bytes(parent))?;
        Ok((parent, name.to_vec()))
    }

    fn directory(&mut self, stat: Stat, parent: &OwnedFd, name: &[u8]) -> Result<(), Error> {
        let name = OsStr::from_bytes(name);
        if !is_directory(parent, name) {
            remove(parent, name.as_bytes(), &stat.path)?;
            rustix::fs::mkdirat(parent, name, Mode::RWXU).map_err(failed("mkdir", &stat.path))?;
        }
        self.directories.push(stat);
        Ok(())
    }

    fn data(&mut self, id: u32, data: &[u8]) -> Result<(), Error> {
        let Some(coming) = self.coming.get_mut(&id) else {
            return Err(Error::Protocol(format!("content of file {id}")));
        };
        if coming.file.is_none() {
            coming.file = Some(coming.create()?);
        }
        if data.is_empty() {
            return self.coming.remove(&id).map_or(Ok(()), Coming::put);
        }
        let Some(file) = &coming.file else { return Ok(()) };
        let mut left = data;
        while !left.is_empty() {
            let n = rustix::io::write(file, left).map_err(failed("write", &coming.stat.path))?;
            left = &left[n..];
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        for stat in std::mem::take(&mut self.hard_links) {
            let (parent, name) = self.place(&stat.path)?;
            let (old_parent, old_name) = self.place(&stat.linkname)?;
            if !self.told.contains(&stat.linkname) || stat.linkname == stat.path {
                return Err(Error::Path(shown(&stat.linkname)));
            }
            clear(&parent, &name, &stat.path)?;
            remove(&parent, &name, &stat.path)?;
            let (old, new) = (OsStr::from_bytes(&old_name), OsStr::from_bytes(&name));
            rustix::fs::linkat(&old_parent, old, &parent, new, AtFlags::empty())
                .map_err(failed("link", &stat.path))?;
        }
        if self.delete {
            let told = std::mem::take(&mut self.told);
            sweep(self.root.open_plain_directory(".")?, b"", &told)?;
        }
        // The inner ones first: times of the outer ones stay, and so does the right to write in them.
        for stat in std::mem::take(&mut self.directories).into_iter().rev() {
            let (parent, name) = self.place(&stat.path)?;
            let mode = Mode::from_raw_mode(permissions(stat.mode));
            let name_os = OsStr::from_bytes(&name);
            attributes(&parent, name_os, &stat);
            if is_directory(&parent, name_os) {
                rustix::fs::chmodat(&parent, name_os, mode, AtFlags::empty())
                    .map_err(failed("chmod", &stat.path))?;
            }
            times(&parent, &name, stat.mod_time, &stat.path)?;
        }
        Ok(())
    }
}

impl Coming {
    fn name(&self) -> &[u8] {
        let at = self.stat.path.iter().rposition(|byte| *byte == b'/');
        &self.stat.path[at.map_or(0, |at| at + 1)..]
    }

    fn create(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parent, &self.part, flags, Mode::RUSR | Mode::WUSR)
            .map_err(failed("create", &self.stat.path))
    }

    /// It is whole.
    fn put(self) -> Result<(), Error> {
        let Some(file) = &self.file else { return Ok(()) };
        let mode = Mode::from_raw_mode(permissions(self.stat.mode));
        attributes(&self.parent, OsStr::new(&self.part), &self.stat);
        rustix::fs::fchmod(file, mode).map_err(failed("chmod", &self.stat.path))?;
        let name = OsStr::from_bytes(self.name());
        rustix::fs::renameat(&self.parent, &self.part, &self.parent, name)
            .map_err(failed("rename", &self.stat.path))?;
        times(&self.parent, name.as_bytes(), self.stat.mod_time, &self.stat.path)
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        // What is whole has its own name by now.
        if self.file.is_some() {
            _ = rustix::fs::unlinkat(&self.parent, &self.part, AtFlags::empty());
        }
    }
}

fn is_directory(parent: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// What is a directory gives way to what is none.
fn clear(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), Error> {
    let name = OsStr::from_bytes(name);
    if is_directory(parent, name) {
        let parent = parent
            .try_clone()
            .map_err(|err| failed("dup", path)(Errno::from_io_error(&err).unwrap_or(Errno::IO)))?;
        Root::from_fd(parent).remove_all(name)?;
    }
    Ok(())
}

fn remove(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<(), Error> {
    match rustix::fs::unlinkat(parent, OsStr::from_bytes(name), AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(err) => Err(failed("unlink", path)(err)),
    }
}

fn times(parent: &OwnedFd, name: &[u8], nanos: i64, path: &[u8]) -> Result<(), Error> {
    let time = Timespec {
        tv_sec: nanos.div_euclid(1_000_000_000),
        tv_nsec: nanos.rem_euclid(1_000_000_000),
    };
    let times = Timestamps { last_access: time, last_modification: time };
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(parent, OsStr::from_bytes(name), &times, flags)
        .map_err(failed("utimensat", path))
}

/// As far as we may, and as far as the file system has them.
fn attributes(parent: &OwnedFd, name: &OsStr, stat: &Stat) {
    let path = fd_path(parent.as_fd()).join(name);
    for (key, value) in &stat.xattrs {
        _ = rustix::fs::lsetxattr(&path, key.as_str(), value, XattrFlags::empty());
    }
}

/// Removes what was not told of.
fn sweep(dir: OwnedFd, path: &[u8], told: &BTreeSet<Vec<u8>>) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(&dir, ".", flags, Mode::empty());
    let readable = readable.map_err(failed("open", path))?;
    let root = Root::from_fd(dir);
    for entry in rustix::fs::Dir::read_from(&readable).map_err(failed("readdir", path))? {
        let entry = entry.map_err(failed("readdir", path))?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let inner = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
        let name = OsStr::from_bytes(name);
        if !told.contains(&inner) {
            root.remove_all(name)?;
        } else if is_directory(&readable, name) {
            sweep(root.open_plain_directory(name)?, &inner, told)?;
        }
    }
    Ok(())
}
