//! Receives a tree into a directory that may hold what came the last time.
//!
//! The sender is not trusted: paths are taken apart before they are used, every directory on the way to a
//! file is one that was told of in this transfer and is opened without following links, entries come in
//! order and once, and only files are written to for which we have asked. What a transfer does not tell
//! of is removed. A file gets its time when it is whole, so that one that was broken off is never taken
//! for what came the last time.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use buildkit::fsutil::{Packet, Stat, packet::PacketType};
use docker::mode::{Kind, kind, permissions};
use fsroot::Root;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use sys::Call;

use super::path::{is_before, open_directory, shown, split};
use super::{Error, packet};

/// More entries than this have no use. Some 100 bytes each are held of those that are not there yet.
pub(super) const ENTRIES: u32 = 2_000_000;
/// How deep directories may be: one descriptor is held for each.
const DEPTH: usize = 200;
/// Files that are written at the same time. fsutil sends four.
const OPEN_FILES: usize = 32;

const PLAIN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What came of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Files that are there now.
    pub n_files: u64,
    /// Bytes of all of them, as they were told of.
    pub n_bytes: u64,
    /// Bytes that were sent.
    pub n_bytes_sent: u64,
}

/// One transfer. Blocks.
#[derive(Debug)]
pub struct Receiver {
    root: Root,
    /// The directories that the walk is in, from the root on.
    levels: Vec<Level>,
    next_id: u32,
    /// Files that were asked for.
    wanted: HashMap<u32, Wanted>,
    /// Those of them that have begun to come.
    open: HashMap<u32, Open>,
    /// The directory that was written to last: files come by directories.
    last_parent: Option<(Arc<[u8]>, OwnedFd)>,
    directories: Vec<(Vec<u8>, u32, i64)>,
    /// Links to files, made when those are whole: where, and to what.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    received: Received,
    told_all: bool,
    done: bool,
}

#[derive(Debug)]
struct Level {
    dir: OwnedFd,
    path: Arc<[u8]>,
    /// What was here before and was not told of yet, in order.
    old: VecDeque<OsString>,
    last: Vec<u8>,
}

#[derive(Debug)]
struct Wanted {
    parent: Arc<[u8]>,
    name: OsString,
    mode: u32,
    modified: i64,
    size: u64,
    xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Debug)]
struct Open {
    file: OwnedFd,
    written: u64,
}

impl Receiver {
    /// Receives into the directory `into`, which is there and which nobody else changes meanwhile.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn new(into: &Path) -> Result<Self, Error> {
        let root = Root::open(into)?;
        let dir = rustix::fs::openat(&root, ".", PLAIN_DIRECTORY, Mode::empty())
            .call(|| format!("open({into:?})"))?;
        let level = Level::new(dir, Arc::from(b"".as_slice()))?;
        Ok(Self {
            root,
            levels: vec![level],
            next_id: 0,
            wanted: HashMap::new(),
            open: HashMap::new(),
            last_parent: None,
            directories: Vec::new(),
            links: Vec::new(),
            received: Received::default(),
            told_all: false,
            done: false,
        })
    }

    /// Takes the sender's next packet; answers what is to be sent to it.
    ///
    /// # Errors
    ///
    /// What the sender says cannot be, or cannot be done here. The directory then holds a part of what
    /// came, and the transfer has to begin anew.
    pub fn take(&mut self, packet: Packet) -> Result<Option<Packet>, Error> {
        match PacketType::try_from(packet.r#type) {
            Ok(PacketType::PacketStat) if !self.told_all => match packet.stat {
                Some(stat) => self.entry(stat),
                None => self.told_all(),
            },
            Ok(PacketType::PacketData) => self.data(packet.id, &packet.data),
            Ok(PacketType::PacketErr) => {
                Err(Error::Told(format!("error from sender: {}", shown(&packet.data))))
            }
            _ => Err(Error::Packet(packet.r#type)),
        }
    }

    /// What came, once `FIN` was answered.
    pub fn received(&self) -> Option<Received> {
        self.done.then_some(self.received)
    }

    /// Bytes that have come so far.
    pub fn n_bytes_sent(&self) -> u64 {
        self.received.n_bytes_sent
    }

    fn entry(&mut self, stat: Stat) -> Result<Option<Packet>, Error> {
        let id = self.next_id;
        self.next_id += 1;
        if id >= ENTRIES {
            return Err(Error::TooMany(ENTRIES));
        }
        let (parent, name) = split(&stat.path)?;
        self.leave_until(parent, &stat.path)?;
        let Some(level) = self.levels.last_mut() else { return Err(Error::Ended) };
        if name <= level.last.as_slice() {
            let why = "told of twice, or out of order";
            return Err(Error::Path { path: shown(&stat.path), why });
        }
        name.clone_into(&mut level.last);
        let name = OsStr::from_bytes(name);
        level.forget(&self.root, Some(name))?;
        let is_there = level.old.front().is_some_and(|old| old == name);
        if is_there {
            level.old.pop_front();
        }
        let there = if is_there { level.stat(name)? } else { None };
        match kind(stat.mode) {
            Kind::Directory => self.directory(stat, there.as_ref())?,
            Kind::File if stat.linkname.is_empty() => return self.file(id, stat, there.as_ref()),
            Kind::File => self.hard_link(stat)?,
            Kind::Link => self.symbolic_link(&stat)?,
            Kind::Fifo => self.fifo(&stat)?,
            Kind::Other => {
                let path = shown(&stat.path);
                return Err(Error::Kind { path, what: "a device" });
            }
        }
        Ok(None)
    }

    /// Goes up to the directory `parent`, which has to be one that the walk is in.
    fn leave_until(&mut self, parent: &[u8], path: &[u8]) -> Result<(), Error> {
        while let Some(level) = self.levels.last_mut() {
            if &*level.path == parent {
                return Ok(());
            }
            if level.path.is_empty() {
                break;
            }
            level.forget(&self.root, None)?;
            self.levels.pop();
        }
        let why = "its directory was not told of before it";
        Err(Error::Path { path: shown(path), why })
    }

    fn directory(&mut self, stat: Stat, there: Option<&rustix::fs::Stat>) -> Result<(), Error> {
        if self.levels.len() >= DEPTH {
            return Err(Error::Path { path: shown(&stat.path), why: "too deep" });
        }
        if there.is_none_or(|there| !FileType::from_raw_mode(there.st_mode).is_dir()) {
            let (level, name) = self.make_room(&stat.path)?;
            rustix::fs::mkdirat(&level.dir, name, Mode::RWXU)
                .call(|| format!("mkdir({name:?})"))?;
        }
        let (level, name) = self.here(&stat.path)?;
        let dir = rustix::fs::openat(&level.dir, name, PLAIN_DIRECTORY, Mode::empty())
            .call(|| format!("open({name:?})"))?;
        self.levels.push(Level::new(dir, Arc::from(stat.path.as_slice()))?);
        self.directories.push((stat.path, permissions(stat.mode), stat.mod_time));
        Ok(())
    }

    fn file(
        &mut self,
        id: u32,
        stat: Stat,
        there: Option<&rustix::fs::Stat>,
    ) -> Result<Option<Packet>, Error> {
        let Ok(size) = u64::try_from(stat.size) else {
            return Err(Error::Size { path: shown(&stat.path), size: stat.size });
        };
        self.received.n_files += 1;
        self.received.n_bytes = self.received.n_bytes.saturating_add(size);
        if there.is_some_and(|there| is_the_same(there, &stat)) {
            return Ok(None);
        }
        let (level, name) = self.make_room(&stat.path)?;
        let wanted = Wanted {
            parent: Arc::clone(&level.path),
            name: name.to_owned(),
            mode: permissions(stat.mode),
            modified: stat.mod_time,
            size,
            xattrs: stat.xattrs.into_iter().filter(|(key, _)| is_kept(key)).collect(),
        };
        self.wanted.insert(id, wanted);
        if size == 0 {
            // There is nothing to ask for.
            self.data(id, b"")?;
            return Ok(None);
        }
        Ok(Some(packet(PacketType::PacketReq, id)))
    }

    /// Another name of a file that came before it.
    fn hard_link(&mut self, stat: Stat) -> Result<(), Error> {
        split(&stat.linkname)?;
        if !is_before(&stat.linkname, &stat.path) {
            let why = "a link to what was not told of before it";
            return Err(Error::Path { path: shown(&stat.path), why });
        }
        self.received.n_files += 1;
        self.make_room(&stat.path)?;
        self.links.push((stat.path, stat.linkname));
        Ok(())
    }

    fn symbolic_link(&mut self, stat: &Stat) -> Result<(), Error> {
        let wrong = |why| Err(Error::Path { path: shown(&stat.path), why });
        match stat.linkname.as_slice() {
            b"" => return wrong("a link to nothing"),
            target if target.contains(&0) || target.len() > 4095 => {
                return wrong("a link to what is no path");
            }
            _ => {}
        }
        let (level, name) = self.make_room(&stat.path)?;
        rustix::fs::symlinkat(stat.linkname.as_slice(), &level.dir, name)
            .call(|| format!("symlink({name:?})"))?;
        set_time(level.dir.as_fd(), name, stat.mod_time)
    }

    fn fifo(&mut self, stat: &Stat) -> Result<(), Error> {
        let (level, name) = self.make_room(&stat.path)?;
        let mode = Mode::from_raw_mode(permissions(stat.mode));
        rustix::fs::mknodat(&level.dir, name, FileType::Fifo, mode, 0)
            .call(|| format!("mknod({name:?})"))?;
        set_time(level.dir.as_fd(), name, stat.mod_time)
    }

    /// The directory that the walk is in, and the name in it of what it has just told of.
    fn here<'a>(&self, path: &'a [u8]) -> Result<(&Level, &'a OsStr), Error> {
        let name = split(path)?.1;
        let level = self.levels.last().ok_or(Error::Ended)?;
        Ok((level, OsStr::from_bytes(name)))
    }

    /// The same, and nothing is called so any more.
    fn make_room<'a>(&self, path: &'a [u8]) -> Result<(&Level, &'a OsStr), Error> {
        let (level, name) = self.here(path)?;
        level.clear(&self.root, name)?;
        Ok((level, name))
    }

    fn told_all(&mut self) -> Result<Option<Packet>, Error> {
        self.told_all = true;
        while let Some(mut level) = self.levels.pop() {
            level.forget(&self.root, None)?;
        }
        self.finish()
    }

    fn data(&mut self, id: u32, bytes: &[u8]) -> Result<Option<Packet>, Error> {
        let Some(wanted) = self.wanted.get(&id) else { return Err(Error::NotAsked(id)) };
        if !self.open.contains_key(&id) {
            if self.open.len() >= OPEN_FILES {
                return Err(Error::TooManyAtOnce(OPEN_FILES));
            }
            let parent = parent(&self.root, &mut self.last_parent, &wanted.parent)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
            let name = &wanted.name;
            let file = rustix::fs::openat(parent, name, flags | OFlags::CLOEXEC, Mode::RUSR)
                .call(|| format!("open({name:?})"))?;
            self.open.insert(id, Open { file, written: 0 });
        }
        let Some(open) = self.open.get_mut(&id) else { return Err(Error::NotAsked(id)) };
        if bytes.is_empty() {
            complete(&open.file, wanted)?;
            self.open.remove(&id);
            self.wanted.remove(&id);
            return self.finish();
        }
        self.received.n_bytes_sent += bytes.len() as u64;
        // What has grown since it was told of stays what was told of, as in an archive.
        let room = usize::try_from(wanted.size - open.written).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        write_all(open.file.as_fd(), bytes).call(|| format!("write({:?})", wanted.name))?;
        open.written += bytes.len() as u64;
        Ok(None)
    }

    /// Ends the transfer where all is there.
    fn finish(&mut self) -> Result<Option<Packet>, Error> {
        if !self.told_all || !self.wanted.is_empty() || self.done {
            return Ok(None);
        }
        for (path, target) in std::mem::take(&mut self.links) {
            let (old_dir, old_name) = self.place(&target)?;
            let (new_dir, new_name) = self.place(&path)?;
            let found = rustix::fs::statat(&old_dir, old_name, AtFlags::SYMLINK_NOFOLLOW)
                .call(|| format!("lstat({:?})", shown(&target)))?;
            if !FileType::from_raw_mode(found.st_mode).is_file() {
                return Err(Error::Path { path: shown(&path), why: "a link to what is no file" });
            }
            rustix::fs::linkat(&old_dir, old_name, &new_dir, new_name, AtFlags::empty())
                .call(|| format!("link({:?}, {:?})", shown(&target), shown(&path)))?;
        }
        for (path, mode, modified) in std::mem::take(&mut self.directories).into_iter().rev() {
            let (dir, name) = self.place(&path)?;
            let dir = rustix::fs::openat(&dir, name, PLAIN_DIRECTORY, Mode::empty())
                .call(|| format!("open({:?})", shown(&path)))?;
            set_mode_and_time(dir.as_fd(), mode, modified)?;
        }
        self.done = true;
        Ok(Some(packet(PacketType::PacketFin, 0)))
    }

    /// The directory that holds `path`, to which no link leads, and its name there.
    fn place<'a>(&self, path: &'a [u8]) -> Result<(OwnedFd, &'a OsStr), Error> {
        let (parent, name) = split(path)?;
        let dir = open_directory(&self.root, parent)?;
        Ok((dir, OsStr::from_bytes(name)))
    }
}

impl Level {
    fn new(dir: OwnedFd, path: Arc<[u8]>) -> Result<Self, Error> {
        let read = || -> Result<Vec<OsString>, Errno> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&dir)? {
                let name = entry?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(OsString::from_vec(name));
                }
            }
            Ok(names)
        };
        let mut names = read().call(|| format!("readdir({:?})", shown(&path)))?;
        names.sort_unstable();
        Ok(Self { dir, path, old: names.into(), last: Vec::new() })
    }

    fn stat(&self, name: &OsStr) -> Result<Option<rustix::fs::Stat>, Error> {
        match rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => Ok(Some(found.call(|| format!("lstat({name:?})"))?)),
        }
    }

    /// Removes what was here before, comes before `name` (all, where there is none), and was not told of.
    fn forget(&mut self, root: &Root, name: Option<&OsStr>) -> Result<(), Error> {
        while let Some(old) = self.old.front()
            && name.is_none_or(|name| old.as_os_str() < name)
        {
            let old = old.clone();
            self.clear(root, &old)?;
            self.old.pop_front();
        }
        Ok(())
    }

    /// Removes what is called so, if anything is.
    fn clear(&self, root: &Root, name: &OsStr) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {
                let path = Path::new(OsStr::from_bytes(&self.path)).join(name);
                Ok(root.remove_all(path)?)
            }
            Err(errno) => Err(sys::Error::new(format!("unlink({name:?})"), errno).into()),
        }
    }
}

/// Whether a file is what it was: fsutil compares times and sizes, too. One of several names could have
/// been changed by another one of them.
fn is_the_same(there: &rustix::fs::Stat, stat: &Stat) -> bool {
    FileType::from_raw_mode(there.st_mode).is_file()
        && there.st_nlink == 1
        && there.st_size == stat.size
        && there.st_mode & 0o7777 == permissions(stat.mode)
        && nanoseconds(there) == i128::from(stat.mod_time)
}

fn nanoseconds(stat: &rustix::fs::Stat) -> i128 {
    i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec)
}

/// Which attributes are taken: none that mean anything to the file systems that the copy lies on.
fn is_kept(key: &str) -> bool {
    key == "security.capability" || key.starts_with("user.") && !key.starts_with("user.overlay.")
}

/// The directory `path`, as a descriptor that is kept until another one is asked for.
fn parent<'a>(
    root: &Root,
    last: &'a mut Option<(Arc<[u8]>, OwnedFd)>,
    path: &Arc<[u8]>,
) -> Result<BorrowedFd<'a>, Error> {
    let is_last = matches!(last, Some((kept, _)) if kept == path);
    if !is_last {
        let dir = open_directory(root, path)?;
        *last = Some((Arc::clone(path), dir));
    }
    last.as_ref().map(|(_, dir)| dir.as_fd()).ok_or(Error::Ended)
}

fn complete(file: &OwnedFd, wanted: &Wanted) -> Result<(), Error> {
    for (key, value) in &wanted.xattrs {
        match rustix::fs::fsetxattr(file, key.as_str(), value, rustix::fs::XattrFlags::empty()) {
            // Where there are no attributes, or this one may not be set, they are lost, as by fsutil.
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL | Errno::RANGE) => {}
            Err(errno) => return Err(sys::Error::new(format!("fsetxattr({key:?})"), errno).into()),
        }
    }
    set_mode_and_time(file.as_fd(), wanted.mode, wanted.modified)
}

fn set_mode_and_time(fd: BorrowedFd<'_>, mode: u32, modified: i64) -> Result<(), Error> {
    let stat = rustix::fs::fstat(fd).call(|| "fstat()")?;
    if stat.st_mode & 0o7777 != mode {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)).call(|| format!("fchmod({mode:o})"))?;
    }
    if nanoseconds(&stat) != i128::from(modified) {
        rustix::fs::futimens(fd, &times(modified)).call(|| "futimens()")?;
    }
    Ok(())
}

fn set_time(dir: BorrowedFd<'_>, name: &OsStr, modified: i64) -> Result<(), Error> {
    rustix::fs::utimensat(dir, name, &times(modified), AtFlags::SYMLINK_NOFOLLOW)
        .call(|| format!("utimensat({name:?})"))?;
    Ok(())
}

fn times(modified: i64) -> Timestamps {
    let at = Timespec {
        tv_sec: modified.div_euclid(1_000_000_000),
        tv_nsec: modified.rem_euclid(1_000_000_000),
    };
    Timestamps { last_access: at, last_modification: at }
}

pub(super) fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
