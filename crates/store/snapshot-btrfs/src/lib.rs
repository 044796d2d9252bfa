//! Snapshots as subvolumes of btrfs.
//!
//! The folder of a layer or of a container is a subvolume, and so a snapshot of the one below it:
//! made at once, however large it is, and sharing all that is not changed.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::io::Errno;
use snapshot::folders::{self, Delete, set_mode};
use snapshot::{At as _, Error, Trees, Whole, unique_name};

/// The number of a subvolume's root.
const SUBVOLUME_ROOT: u64 = 256;

/// The snapshots of one root.
pub type Subvolumes = Whole<Btrfs>;

/// Trees are subvolumes.
#[derive(Clone, Copy, Debug)]
pub struct Btrfs;

/// Opens the store in the folder `root`, and makes it where there is none.
pub fn open(root: &Path) -> Result<Subvolumes, Error> {
    Whole::open(root, Btrfs)
}

/// Whether the folder `dir` can have subvolumes. Why not. Leaves nothing.
pub fn works(dir: &Path) -> Result<(), String> {
    let name = folders::file_system(dir).map_err(|error| error.to_string())?;
    if name != "btrfs" {
        return Err(format!("the file system is {name}"));
    }
    let place = dir.join(unique_name());
    Btrfs.create(None, &place).map_err(|error| format!("make a subvolume: {error}"))?;
    delete(&place).map_err(|error| error.to_string())
}

impl Trees for Btrfs {
    const NAME: &'static str = "btrfs";
    const SYNC: bool = false;
    const DELETE: Delete = delete;

    fn create(&self, below: Option<&Path>, to: &Path) -> io::Result<()> {
        let (parent, name) = split(to)?;
        match below {
            Some(below) => {
                let below = File::open(below)?;
                sys::btrfs_create_snapshot(below.as_fd(), parent.as_fd(), name)
            }
            None => sys::btrfs_create_subvolume(parent.as_fd(), name),
        }
        .map_err(|error| io::Error::from(error.errno()))?;
        set_mode(to, 0o700).map_err(io::Error::other)
    }

    fn fill(&self, below: &Path, to: &Path, _is_written: bool) -> Result<(), Error> {
        // It came with the snapshot: unless the layer below is none of ours.
        if to.is_dir() {
            return Ok(());
        }
        Err(Errno::NOENT).at("find what is below in a snapshot of", below)
    }

    fn limit(&self, folder: &Path, bytes: u64) -> Result<(), Error> {
        let dir = File::open(folder).at("open", folder)?;
        sys::btrfs_limit_exclusive(dir.as_fd(), bytes).map_err(|error| match error.errno() {
            Errno::NOTCONN | Errno::INVAL => Error::NoLimit {
                why: "the btrfs has no quotas; `btrfs quota enable` turns them on".into(),
            },
            errno => Error::Io {
                call: "ioctl(BTRFS_IOC_QGROUP_LIMIT)",
                path: folder.into(),
                source: errno.into(),
            },
        })
    }

    fn status(&self, _root: &Path) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// The directory that something is in, and its name there.
fn split(path: &Path) -> io::Result<(File, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((File::open(parent)?, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Deletes a folder: a subvolume, or whatever it is.
fn delete(path: &Path) -> Result<(), Error> {
    let is_subvolume = match subvolume(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        is => is.at("stat", path)?,
    };
    if !is_subvolume {
        return folders::delete(path);
    }
    let (parent, name) = split(path).at("open", path)?;
    let destroy = || sys::btrfs_delete_subvolume(parent.as_fd(), name);
    match destroy() {
        Err(error) if error.errno() == Errno::NOTEMPTY => {
            // Whoever may write may make more of them, a container as well.
            inner(path)?;
            destroy().map_err(|error| error.errno()).at("delete the subvolume", path)
        }
        destroyed => destroyed.map_err(|error| error.errno()).at("delete the subvolume", path),
    }
}

/// Deletes the subvolumes that are somewhere in a directory.
fn inner(root: &Path) -> Result<(), Error> {
    let dir = File::open(root).at("open", root)?;
    sys::btrfs_make_writable(dir.as_fd())
        .map_err(|error| error.errno())
        .at("make writable", root)?;
    let mut rest = vec![root.to_path_buf()];
    while let Some(path) = rest.pop() {
        for entry in fs::read_dir(&path).at("readdir", &path)? {
            let entry = entry.at("readdir", &path)?;
            let place = entry.path();
            if !entry.file_type().at("stat", &place)?.is_dir() {
                continue;
            }
            if subvolume(&place).at("stat", &place)? {
                delete(&place)?;
            } else {
                rest.push(place);
            }
        }
    }
    Ok(())
}

/// Whether this is the root of a subvolume.
fn subvolume(path: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() || found.ino() != SUBVOLUME_ROOT {
        return Ok(false);
    }
    Ok(sys::is_btrfs_subvolume(File::open(path)?)?)
}

#[cfg(test)]
mod tests;
