//! Sends a tree: results that leave the builder.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use build::SentTree;
use buildkit::fsutil::{Packet, Stat, packet::PacketType};
use bytes::Bytes;
use docker::mode::from_unix;
use fsroot::Root;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use sys::Call;

use super::path::shown;
use super::{Error, packet};

/// Bytes of a file in one packet: as fsutil sends them.
const PIECE: usize = 32 << 10;
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One transfer. Blocks.
#[derive(Debug)]
pub struct Sender {
    /// The trees, and the directory that each is sent in.
    trees: Vec<(Root, Vec<u8>)>,
    /// When everything was written last, whatever its files say: nanoseconds since 1970.
    time: Option<i64>,
    next_id: u32,
    /// What may be asked for: the tree that it is in, and its path there.
    files: HashMap<u32, (usize, Vec<u8>)>,
    /// The first name of a file that has several, by its device and number.
    seen: HashMap<(u64, u64), Vec<u8>>,
}

/// A directory of a tree, by its number.
type Inside = (usize, OwnedFd);

impl Sender {
    /// Sends what is in these trees, each in its directory (empty: as it is). Where several have a directory, what
    /// is in each is sent; where one of them has something else there, the first counts.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn new(trees: &[SentTree]) -> Result<Self, Error> {
        let open = |tree: &SentTree| Ok((Root::open(&tree.root)?, tree.subdir.clone().into()));
        let trees = trees.iter().map(open).collect::<Result<_, Error>>()?;
        let (files, seen) = (HashMap::new(), HashMap::new());
        Ok(Self { trees, time: None, next_id: 0, files, seen })
    }

    /// Says of everything that it was written last at this time, seconds since 1970.
    #[must_use]
    pub fn dated(self, time: Option<i64>) -> Self {
        Self { time: time.map(|seconds| seconds.saturating_mul(1_000_000_000)), ..self }
    }

    /// Tells of all of it, an entry at a time, and of its end. `tell` answers whether there is somebody
    /// to tell.
    ///
    /// # Errors
    ///
    /// It cannot be read, or `tell` says that nobody listens.
    pub fn walk(&mut self, tell: &mut dyn FnMut(Packet) -> bool) -> Result<(), Error> {
        let mut tops: BTreeMap<Vec<u8>, Vec<Inside>> = BTreeMap::new();
        for (at, (root, prefix)) in self.trees.iter().enumerate() {
            let dir = rustix::fs::openat(root, ".", DIRECTORY, Mode::empty()).call(|| "open(.)")?;
            tops.entry(prefix.clone()).or_default().push((at, dir));
        }
        for (prefix, dirs) in tops {
            if let (false, Some((_, dir))) = (prefix.is_empty(), dirs.first()) {
                let stat = rustix::fs::fstat(dir).call(|| "fstat(.)")?;
                self.tell(Stat { path: prefix.clone(), ..entry(&stat) }, tell)?;
            }
            self.directory(&dirs, &prefix, b"", tell)?;
        }
        if tell(packet(PacketType::PacketStat, 0)) { Ok(()) } else { Err(Error::Ended) }
    }

    fn tell(&mut self, mut stat: Stat, tell: &mut dyn FnMut(Packet) -> bool) -> Result<u32, Error> {
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(Error::TooMany(u32::MAX))?;
        stat.mod_time = self.time.unwrap_or(stat.mod_time);
        let told = tell(Packet { stat: Some(stat), ..packet(PacketType::PacketStat, 0) });
        if told { Ok(id) } else { Err(Error::Ended) }
    }

    /// Tells of what is in a directory, in all trees that have it.
    fn directory(
        &mut self,
        dirs: &[Inside],
        prefix: &[u8],
        path: &[u8],
        tell: &mut dyn FnMut(Packet) -> bool,
    ) -> Result<(), Error> {
        let mut all: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (at, (_, dir)) in dirs.iter().enumerate() {
            for name in names(dir).call(|| format!("readdir({:?})", shown(path)))? {
                all.entry(name).or_default().push(at);
            }
        }
        for (name, mut in_dirs) in all {
            let inner = join(path, &name);
            let os_name = OsStr::from_bytes(&name);
            let mut found = None;
            while let Some(at) = in_dirs.first().copied() {
                match rustix::fs::statat(&dirs[at].1, os_name, AtFlags::SYMLINK_NOFOLLOW) {
                    // overlayfs lists a whiteout that hides nothing.
                    Err(Errno::NOENT) => _ = in_dirs.remove(0),
                    stat => {
                        let stat = stat.call(|| format!("lstat({:?})", shown(&inner)))?;
                        found = Some((at, stat));
                        break;
                    }
                }
            }
            let Some((at, stat)) = found else { continue };
            let (at, dir) = &dirs[at];
            let outer = join(prefix, &inner);
            let mut told = Stat { path: outer.clone(), ..entry(&stat) };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    self.tell(told, tell)?;
                    let inside = inside(dirs, &in_dirs, os_name)
                        .call(|| format!("open({:?})", shown(&inner)))?;
                    self.directory(&inside, prefix, &inner, tell)?;
                }
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(dir, os_name, Vec::new())
                        .call(|| format!("readlink({:?})", shown(&inner)))?;
                    told.linkname = target.into_bytes();
                    self.tell(told, tell)?;
                }
                FileType::RegularFile => self.file(told, &stat, outer, (*at, inner), tell)?,
                FileType::Fifo => {
                    self.tell(told, tell)?;
                }
                // As in BuildKit's `local` export: sockets are not sent, and devices cannot be made there.
                _ => {}
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        mut told: Stat,
        stat: &rustix::fs::Stat,
        outer: Vec<u8>,
        inner: (usize, Vec<u8>),
        tell: &mut dyn FnMut(Packet) -> bool,
    ) -> Result<(), Error> {
        if stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.seen.get(&identity) {
                told.linkname.clone_from(first);
                told.size = 0;
                self.tell(told, tell)?;
                return Ok(());
            }
            self.seen.insert(identity, outer);
        }
        let id = self.tell(told, tell)?;
        self.files.insert(id, inner);
        Ok(())
    }

    /// Sends the file that is asked for.
    ///
    /// # Errors
    ///
    /// It was not told of, cannot be read, or nobody listens.
    pub fn send(&mut self, id: u32, tell: &mut dyn FnMut(Packet) -> bool) -> Result<(), Error> {
        let (at, path) = self.files.remove(&id).ok_or(Error::NotAsked(id))?;
        let (parent, name) = super::path::split(&path)?;
        let dir = super::path::open_directory(&self.trees[at].0, parent)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let name = OsStr::from_bytes(name);
        let file = rustix::fs::openat(&dir, name, flags, Mode::empty())
            .call(|| format!("open({:?})", shown(&path)))?;
        let mut buffer = vec![0; PIECE];
        loop {
            let n = rustix::io::read(file.as_fd(), &mut buffer[..])
                .call(|| format!("read({:?})", shown(&path)))?;
            let data = Bytes::copy_from_slice(&buffer[..n]);
            if !tell(Packet { data, ..packet(PacketType::PacketData, id) }) {
                return Err(Error::Ended);
            }
            if n == 0 {
                return Ok(());
            }
        }
    }
}

/// The directories of this name.
fn inside(dirs: &[Inside], among: &[usize], name: &OsStr) -> Result<Vec<Inside>, Errno> {
    let mut inside = Vec::new();
    for (tree, dir) in among.iter().map(|at| &dirs[*at]) {
        match rustix::fs::openat(dir, name, DIRECTORY, Mode::empty()) {
            // The first is a directory, and this is none.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::NOENT) if !inside.is_empty() => {}
            opened => inside.push((*tree, opened?)),
        }
    }
    Ok(inside)
}

fn entry(stat: &rustix::fs::Stat) -> Stat {
    let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
    Stat {
        mode: from_unix(stat.st_mode),
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: if is_directory { 0 } else { stat.st_size },
        mod_time: stat
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(stat.st_mtime_nsec.cast_signed()),
        ..Stat::default()
    }
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn names(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, rustix::io::Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned().into_bytes();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
