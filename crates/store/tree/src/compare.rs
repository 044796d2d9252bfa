//! What differs between two trees.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::attributes::{Place, xattrs};
use crate::error::At as _;
use crate::{Error, Tree, kind, names, stat};

/// Seconds and nanoseconds since 1970.
pub type Time = (i64, i64);

/// Which trees to compare.
#[derive(Clone, Copy, Debug)]
pub struct Compare<'a> {
    /// What was before; `None` is nothing.
    pub before: Option<&'a Path>,
    /// What is now: a copy of it that was changed.
    pub now: &'a Path,
    /// When it was one: a file that nobody touched since is not read. By the file system's own clock,
    /// which goes on.
    pub since: Option<Time>,
    /// Files and directories that are in `now` as empty as here are nobody's change (mount points), nor are
    /// links that lead to the same.
    pub ignored: Option<&'a Path>,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is there now, and may have been before.
    Modified,
    /// It is there now, and was not before.
    Added,
    /// It was there before, and is not now.
    Deleted,
}

/// One path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// From the root of the tree, without a `/` before it.
    pub path: PathBuf,
    /// What became of it.
    pub kind: Kind,
}

/// All paths that differ, but for the root itself: a directory before what is in it, names in order.
/// Below what was deleted, or was no directory before, nothing is said to be deleted. A directory in
/// which something differs does so too; a file that has several names differs by all of them. What
/// counts is kind, owner, mode, time of the last change, content, extended attributes, and which
/// names are one file. Sockets are left out.
pub fn compare(what: &Compare<'_>) -> Result<Vec<Change>, Error> {
    let before = what.before.map(Tree::open).transpose()?;
    let ignored = what.ignored.map(Tree::open).transpose()?;
    let mut comparer = Comparer {
        now: Tree::open(what.now)?,
        before,
        ignored,
        since: what.since,
        changes: BTreeMap::new(),
        names: HashMap::new(),
        same: Vec::new(),
    };
    comparer.walk()?;
    comparer.links();
    comparer.parents();
    let changes = comparer.changes.into_iter();
    Ok(changes.map(|(path, kind)| Change { path, kind }).collect())
}

type FileId = (u64, u64);

struct Comparer<'a> {
    now: Tree<'a>,
    before: Option<Tree<'a>>,
    ignored: Option<Tree<'a>>,
    since: Option<Time>,
    /// In the order of an archive: paths are compared by component.
    changes: BTreeMap<PathBuf, Kind>,
    /// Files that have several names now.
    names: HashMap<FileId, Vec<PathBuf>>,
    /// Names of files that look the same, of which one has or had several: which they are and were.
    same: Vec<(PathBuf, FileId, FileId)>,
}

/// A directory that is still to be looked at.
struct Visit {
    path: PathBuf,
    /// Whether it was there before.
    both: bool,
    /// Whether it may have been moved here: then times say nothing about what is in it.
    moved: bool,
}

impl Comparer<'_> {
    fn walk(&mut self) -> Result<(), Error> {
        let both = self.before.is_some();
        let mut rest = vec![Visit { path: PathBuf::new(), both, moved: false }];
        while let Some(visit) = rest.pop() {
            let place = self.now.path.join(&visit.path);
            let now = match self.now.directory(&visit.path) {
                // A container that runs goes on changing.
                Err(Error { source: Errno::NOENT | Errno::NOTDIR | Errno::LOOP, .. }) => continue,
                opened => opened?,
            };
            let before = match &self.before {
                Some(before) if visit.both => Some(before.directory(&visit.path)?),
                _ => None,
            };
            let mut names_now = Vec::new();
            for name in names(&now).at("readdir", &place)? {
                let one = Visit { path: visit.path.join(&name), both: false, moved: visit.moved };
                let found = stat(&now, &name).at("stat", &self.now.path.join(&one.path))?;
                // Where a socket is now, what was there before is deleted.
                if let Some(found) = found.filter(|found| kind(found) != FileType::Socket) {
                    rest.extend(self.one(one, &name, &found, &now, before.as_ref())?);
                    names_now.push(name);
                }
            }
            let Some(before) = before else { continue };
            for name in names(&before).at("readdir", &place)? {
                if names_now.binary_search(&name).is_err() {
                    self.changes.insert(visit.path.join(&name), Kind::Deleted);
                }
            }
        }
        Ok(())
    }

    /// Looks at one name. A directory is to be visited.
    fn one(
        &mut self,
        mut one: Visit,
        name: &OsStr,
        found: &Stat,
        now: &OwnedFd,
        before: Option<&OwnedFd>,
    ) -> Result<Option<Visit>, Error> {
        let place = self.now.path.join(&one.path);
        let is_directory = kind(found) == FileType::Directory;
        let id = (found.st_dev, found.st_ino);
        if !is_directory && found.st_nlink > 1 {
            self.names.entry(id).or_default().push(one.path.clone());
        }
        let old = match before {
            Some(before) => stat(before, name).at("stat", &place)?,
            None => None,
        };
        let Some((old, before)) = old.zip(before) else {
            if !self.is_ignored(&one.path, found)? {
                self.changes.insert(one.path.clone(), Kind::Added);
            }
            return Ok(is_directory.then_some(one));
        };
        let touched = one.moved || self.since.is_none_or(|since| changed_at(found) >= since);
        let here = Place { dir: now.as_fd(), name };
        let there = Place { dir: before.as_fd(), name };
        let differs = looks_different(&old, found)
            || touched
                && inside_differs(here, found, there).map_err(|(call, source)| Error {
                    call,
                    path: place,
                    source,
                })?;
        if differs {
            self.changes.insert(one.path.clone(), Kind::Modified);
        } else if !is_directory && (found.st_nlink > 1 || old.st_nlink > 1) {
            self.same.push((one.path.clone(), id, (old.st_dev, old.st_ino)));
        }
        one.both = kind(&old) == FileType::Directory;
        one.moved = touched;
        Ok(is_directory.then_some(one))
    }

    /// Whether something new is an empty mount point, or a link that leads where it does there. What is in
    /// such a directory is not ignored.
    fn is_ignored(&self, path: &Path, found: &Stat) -> Result<bool, Error> {
        let Some(ignored) = &self.ignored else { return Ok(false) };
        let Some((parent, name)) = path.parent().zip(path.file_name()) else { return Ok(false) };
        let Ok(there) = ignored.directory(parent) else { return Ok(false) };
        let Some(known) = stat(&there, name).at("stat", path)? else { return Ok(false) };
        if kind(&known) != kind(found) {
            return Ok(false);
        }
        if kind(found) == FileType::Symlink {
            let here = self.now.directory(parent)?;
            let target = |of| rustix::fs::readlinkat(of, name, Vec::new()).at("readlink", path);
            return Ok(target(&here)? == target(&there)?);
        }
        Ok(kind(found) == FileType::Directory || found.st_size == 0)
    }

    /// Adds names of what was one file and is several, or the other way, and the other names of what
    /// changed.
    fn links(&mut self) {
        let (mut now_of, mut before_of) = (HashMap::new(), HashMap::new());
        let (mut split, mut joined) = (HashSet::new(), HashSet::new());
        for (_, now, before) in &self.same {
            if *now_of.entry(*before).or_insert(*now) != *now {
                split.insert(*before);
            }
            if *before_of.entry(*now).or_insert(*before) != *before {
                joined.insert(*now);
            }
        }
        for (path, now, before) in std::mem::take(&mut self.same) {
            if split.contains(&before) || joined.contains(&now) {
                self.changes.insert(path, Kind::Modified);
            }
        }
        for names in self.names.values().filter(|names| names.len() > 1) {
            if names.iter().any(|name| self.changes.contains_key(name)) {
                for name in names {
                    self.changes.entry(name.clone()).or_insert(Kind::Modified);
                }
            }
        }
    }

    /// Adds the directories in which something changed.
    fn parents(&mut self) {
        let mut parents = Vec::new();
        for path in self.changes.keys() {
            for parent in path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
                if self.changes.contains_key(parent) {
                    break;
                }
                parents.push(parent.to_path_buf());
            }
        }
        self.changes.extend(parents.into_iter().map(|parent| (parent, Kind::Modified)));
    }
}

fn changed_at(stat: &Stat) -> Time {
    (stat.st_ctime, stat.st_ctime_nsec as i64)
}

/// Whether two nodes differ in what stat(2) says.
fn looks_different(old: &Stat, new: &Stat) -> bool {
    let of = |stat: &Stat| {
        let (mode, owner) = (stat.st_mode, (stat.st_uid, stat.st_gid));
        (mode, owner, stat.st_mtime, stat.st_mtime_nsec)
    };
    let content = |stat: &Stat| match kind(stat) {
        FileType::RegularFile | FileType::Symlink => stat.st_size as u64,
        FileType::CharacterDevice | FileType::BlockDevice => stat.st_rdev,
        _ => 0,
    };
    of(old) != of(new) || content(old) != content(new)
}

/// Whether two nodes that look the same have other attributes or another content.
fn inside_differs(
    here: Place<'_>,
    found: &Stat,
    there: Place<'_>,
) -> Result<bool, (&'static str, Errno)> {
    if xattrs(here)? != xattrs(there)? {
        return Ok(true);
    }
    match kind(found) {
        FileType::RegularFile if found.st_size > 0 => contents_differ(here, there),
        FileType::Symlink => {
            let read = |place: Place<'_>| {
                rustix::fs::readlinkat(place.dir, place.name, Vec::new())
                    .map_err(|errno| ("readlink", errno))
            };
            Ok(read(here)? != read(there)?)
        }
        _ => Ok(false),
    }
}

fn contents_differ(here: Place<'_>, there: Place<'_>) -> Result<bool, (&'static str, Errno)> {
    let open = |place: Place<'_>| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(place.dir, place.name, flags, Mode::empty()).map(File::from)
    };
    let (mut here, mut there) = match (open(here), open(there)) {
        // It is another file by now: different enough.
        (Err(Errno::NOENT | Errno::LOOP), _) => return Ok(true),
        (here, there) => {
            (here.map_err(|errno| ("open", errno))?, there.map_err(|errno| ("open", errno))?)
        }
    };
    let (mut one, mut other) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let n_one = fill(&mut here, &mut one)?;
        let n_other = fill(&mut there, &mut other)?;
        if one[..n_one] != other[..n_other] {
            return Ok(true);
        }
        if n_one == 0 {
            return Ok(false);
        }
    }
}

fn fill(file: &mut File, buffer: &mut [u8]) -> Result<usize, (&'static str, Errno)> {
    let mut n_read = 0;
    while n_read < buffer.len() {
        match file.read(&mut buffer[n_read..]) {
            Ok(0) => break,
            Ok(n) => n_read += n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(("read", Errno::from_io_error(&error).unwrap_or(Errno::IO)));
            }
        }
    }
    Ok(n_read)
}
