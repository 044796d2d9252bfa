//! Snapshots on overlayfs.
//!
//! ```text
//! layers/CHAIN/fs          an unpacked layer, whiteouts in overlayfs's own form; never changes
//! active/KEY/{upper,work}  a container's writable layer
//! new/NAME/fs              a layer that is being unpacked, locked by whoever unpacks it
//! trash/NAME               what is being deleted; a later command goes on with it
//! ```
//!
//! All changes of names are single renames, so a process may die anywhere.
#![forbid(unsafe_code)]

mod usage;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use oci::ChainId;
use rustix::fs::{FlockOperation, Mode, flock};
use snapshot::{
    At as _, Error, Key, Mounts, Snapshotter, Unpacking, Usage, maker_lives, unique_name,
};

/// The most lower directories of one overlay (`OVL_MAX_STACK` in the kernel).
const MAX_LAYERS: usize = 500;

/// The snapshots of one root.
#[derive(Clone, Debug)]
pub struct Overlay {
    root: PathBuf,
}

impl Overlay {
    /// Opens the store in the folder `root`, and makes it where there is none.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        // The last that is made: where it is, all are.
        if !root.join("trash").is_dir() {
            for dir in ["layers", "active", "new", "trash"] {
                let path = root.join(dir);
                builder.create(&path).at("mkdir", &path)?;
            }
        }
        Ok(Self { root: root.into() })
    }

    fn layer_dir(&self, chain: &ChainId) -> PathBuf {
        self.root.join("layers").join(chain.hex())
    }

    fn snapshot_dir(&self, key: &Key) -> PathBuf {
        self.root.join("active").join(key.as_str())
    }

    fn lower(&self, chain: &[ChainId]) -> Vec<PathBuf> {
        chain.iter().rev().map(|layer| self.layer_dir(layer).join(Unpacking::FS)).collect()
    }

    fn mounts_of(&self, dir: &Path, chain: &[ChainId]) -> Mounts {
        Mounts { lower: self.lower(chain), upper: dir.join("upper"), work: dir.join("work") }
    }

    /// Moves a tree out of sight at once, then deletes it. Whether it was there.
    fn discard(&self, path: &Path) -> Result<bool, Error> {
        let trash = self.root.join("trash").join(unique_name());
        failpoint::hit("snapshot.remove").at("rename", path)?;
        match fs::rename(path, &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // A process that had our number died here: its trash goes first.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                delete(&trash)?;
                fs::rename(path, &trash).at("rename", path)?;
            }
            renamed => renamed.at("rename", path)?,
        }
        failpoint::hit("snapshot.removed").at("rename", path)?;
        delete(&trash)?;
        Ok(true)
    }

    /// The directory whose mode and owner the root of something on `chain` has.
    fn root_below(&self, chain: &[ChainId]) -> Option<PathBuf> {
        chain.last().map(|top| self.layer_dir(top).join(Unpacking::FS))
    }
}

impl Snapshotter for Overlay {
    fn begin(&self, below: &[ChainId]) -> Result<Unpacking, Error> {
        let new = self.root.join("new");
        failpoint::hit("snapshot.begin").at("mkdir", &new)?;
        let unpacking = Unpacking::create(&new)?;
        failpoint::hit("snapshot.begun").at("mkdir", &new)?;
        match self.root_below(below) {
            Some(root) => copy_root(&root, &unpacking.path())?,
            None => set_mode(&unpacking.path(), 0o755)?,
        }
        Ok(unpacking)
    }

    fn commit(&self, unpacking: Unpacking, chain: &ChainId) -> Result<(), Error> {
        let path = self.layer_dir(chain);
        if path.exists() {
            return Ok(());
        }
        failpoint::hit("snapshot.commit").at("rename", &path)?;
        match unpacking.rename_to(&path) {
            // Another process was first, with the same content.
            Err(_) if path.exists() => return Ok(()),
            renamed => renamed?,
        }
        failpoint::hit("snapshot.committed").at("rename", &path)?;
        let layers = self.root.join("layers");
        File::open(&layers).and_then(|dir| dir.sync_all()).at("fsync", &layers)
    }

    fn has_layer(&self, chain: &ChainId) -> Result<bool, Error> {
        let path = self.layer_dir(chain);
        path.try_exists().at("stat", &path)
    }

    fn layer_paths(&self, chain: &[ChainId]) -> Vec<PathBuf> {
        chain.iter().map(|layer| self.layer_dir(layer).join(Unpacking::FS)).collect()
    }

    fn layers(&self) -> Result<Vec<ChainId>, Error> {
        let names = names(&self.root.join("layers"))?;
        Ok(names.iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect())
    }

    fn remove_layer(&self, chain: &ChainId) -> Result<bool, Error> {
        self.discard(&self.layer_dir(chain))
    }

    fn prepare(&self, key: &Key, chain: &[ChainId]) -> Result<Mounts, Error> {
        if chain.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers { found: chain.len(), max: MAX_LAYERS });
        }
        if let Some(missing) = chain.iter().find(|layer| !self.layer_dir(layer).exists()) {
            return Err(Error::NoLayer { chain: missing.clone() });
        }
        let dir = self.snapshot_dir(key);
        let mounts = self.mounts_of(&dir, chain);
        failpoint::hit("snapshot.prepare").at("mkdir", &dir)?;
        let mut builder = fs::DirBuilder::new();
        match builder.mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { key: key.clone() });
            }
            made => made.at("mkdir", &dir)?,
        }
        failpoint::hit("snapshot.prepared").at("mkdir", &dir)?;
        let filled = builder.create(&mounts.work).at("mkdir", &mounts.work).and_then(|()| {
            builder.create(&mounts.upper).at("mkdir", &mounts.upper)?;
            match self.root_below(chain) {
                Some(root) => copy_root(&root, &mounts.upper),
                None => set_mode(&mounts.upper, 0o755),
            }
        });
        match filled {
            Ok(()) => Ok(mounts),
            Err(error) => {
                self.discard(&dir)?;
                Err(error)
            }
        }
    }

    fn mounts(&self, key: &Key, chain: &[ChainId]) -> Result<Mounts, Error> {
        let dir = self.snapshot_dir(key);
        let mounts = self.mounts_of(&dir, chain);
        if !mounts.upper.exists() {
            return Err(Error::NoSnapshot { key: key.clone() });
        }
        Ok(mounts)
    }

    fn remove(&self, key: &Key) -> Result<bool, Error> {
        self.discard(&self.snapshot_dir(key))
    }

    fn keys(&self) -> Result<Vec<Key>, Error> {
        let names = names(&self.root.join("active"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    fn usage(&self, key: &Key) -> Result<Usage, Error> {
        let upper = self.snapshot_dir(key).join("upper");
        if !upper.exists() {
            return Err(Error::NoSnapshot { key: key.clone() });
        }
        usage::of(&upper)
    }

    fn left_over(&self) -> Result<Vec<PathBuf>, Error> {
        let mut left = Vec::new();
        for folder in ["trash", "new"] {
            let dir = self.root.join(folder);
            for name in names(&dir)? {
                // Who deletes takes no lock; who unpacks has one.
                if !maker_lives(&name) && !is_locked(&dir.join(&name)) {
                    left.push(dir.join(name));
                }
            }
        }
        left.sort();
        Ok(left)
    }

    fn sweep(&self) -> Result<usize, Error> {
        let mut n_swept = 0;
        let trash = self.root.join("trash");
        for name in names(&trash)? {
            delete(&trash.join(name))?;
            n_swept += 1;
        }
        let new = self.root.join("new");
        for name in names(&new)? {
            let path = new.join(name);
            let Ok(dir) = File::open(&path) else { continue };
            // Nobody holds it: whoever made it is dead.
            if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
                delete(&path)?;
                n_swept += 1;
            }
        }
        Ok(n_swept)
    }
}

fn is_locked(path: &Path) -> bool {
    let Ok(dir) = File::open(path) else { return false };
    flock(&dir, FlockOperation::NonBlockingLockShared).is_err()
}

/// Gives the directory `to` the mode and owner of `from`: overlayfs shows those of the topmost.
fn copy_root(from: &Path, to: &Path) -> Result<(), Error> {
    let found = fs::metadata(from).at("stat", from)?;
    // Ours already is almost always root's.
    let ours = fs::metadata(to).at("stat", to)?;
    if (ours.uid(), ours.gid()) != (found.uid(), found.gid()) {
        std::os::unix::fs::chown(to, Some(found.uid()), Some(found.gid())).at("chown", to)?;
    }
    set_mode(to, found.mode() & 0o7777)
}

/// Sets a mode whatever the umask was.
fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).at("chmod", path)
}

/// Deletes a tree of ours, never following a link or entering a mount.
fn delete(path: &Path) -> Result<(), Error> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let root = fsroot::Root::open(dir).map_err(|error| error.errno()).at("open", dir)?;
    root.remove_all(name).map_err(|error| error.errno()).at("remove", path)
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at("readdir", dir)? {
        names.extend(entry.at("readdir", dir)?.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
