//! What a container has changed in its image: its writable layer, read as overlayfs writes it, or
//! what differs where it is a copy.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use docker::container::FilesystemChange;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;
use snapshot::Mounts;

use crate::Error;
use crate::engine::Engine;
use crate::error::At as _;
use crate::merged::{self, Directory, Entry};
use crate::mountpoints;

const MODIFIED: u8 = 0;
const ADDED: u8 = 1;
const DELETED: u8 = 2;
/// How deep trees may be.
const MAX_DEPTH: usize = 256;

impl Engine {
    /// The paths in a container that differ from its image.
    pub fn changes(&self, wanted: &str) -> Result<Vec<FilesystemChange>, Error> {
        let container = self.find(wanted)?;
        let Some(mounts) = self.layers(&container)? else { return Ok(Vec::new()) };
        let (lower, upper) = match &mounts {
            Mounts::Overlay { lower, upper, .. } => (lower, upper),
            Mounts::Directory { root, before, since } => {
                return self.differences(root, before.as_deref(), *since);
            }
        };
        let below = Directory::root(lower.iter().map(PathBuf::as_path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let upper = rustix::fs::open(upper, flags, Mode::empty()).at("open", upper)?;
        let mut changes = Vec::new();
        walk(&upper, Path::new("/"), Some(&below), &mut changes, 0)?;
        changes.sort_by(|a: &FilesystemChange, b| a.path.cmp(&b.path));
        Ok(changes)
    }

    fn differences(
        &self,
        now: &Path,
        before: Option<&Path>,
        since: tree::Time,
    ) -> Result<Vec<FilesystemChange>, Error> {
        let mountpoints = mountpoints::ensure_of_container(self.root())?;
        let ignored = Some(mountpoints.as_path());
        let what = tree::Compare { before, now, since: Some(since), ignored };
        let one = |change: tree::Change| FilesystemChange {
            kind: match change.kind {
                tree::Kind::Modified => MODIFIED,
                tree::Kind::Added => ADDED,
                tree::Kind::Deleted => DELETED,
            },
            path: Path::new("/").join(change.path).to_string_lossy().into_owned(),
        };
        let found = tree::compare(&what).map_err(snapshot::Error::from)?;
        Ok(found.into_iter().map(one).collect())
    }
}

fn change(kind: u8, path: &Path) -> FilesystemChange {
    FilesystemChange { kind, path: path.to_string_lossy().into_owned() }
}

/// `below` is what the image has in place of `directory`, if that is a directory.
fn walk(
    directory: &OwnedFd,
    path: &Path,
    below: Option<&Directory>,
    changes: &mut Vec<FilesystemChange>,
    depth: usize,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG).at("readdir", path);
    }
    for entry in Dir::read_from(directory).at("readdir", path)? {
        let entry = entry.at("readdir", path)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let place = path.join(name);
        let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // A container that runs goes on changing.
            Err(Errno::NOENT) => continue,
            stat => stat.at("stat", &place)?,
        };
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let was = below.map(|below| below.entry(name)).transpose()?.flatten();
        let kind = if merged::is_whiteout(&stat) {
            if was.is_none() {
                continue;
            }
            DELETED
        } else if was.is_some() {
            MODIFIED
        } else {
            ADDED
        };
        changes.push(change(kind, &place));
        if file_type == FileType::Directory {
            let below = match &was {
                Some(Entry::Directory(below)) => Some(below),
                _ => None,
            };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(directory, name, flags, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                opened => walk(&opened.at("open", &place)?, &place, below, changes, depth + 1)?,
            }
        }
    }
    // One that was removed and made again hides all that the image has in it.
    if let Some(below) = below.filter(|_| merged::is_opaque(directory)) {
        for name in below.names()? {
            if below.entry(&name)?.is_none() {
                continue;
            }
            match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => changes.push(change(DELETED, &path.join(&name))),
                found => drop(found.at("stat", &path.join(&name))?),
            }
        }
    }
    Ok(())
}
