//! Snapshots on overlayfs.
//!
//! `active/KEY/{upper,work}` is a container's writable layer; layers hold their own files, with
//! whiteouts in overlayfs's form. The rest is as in [`Folders`].
#![forbid(unsafe_code)]

mod probe;
mod usage;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use oci::ChainId;
use snapshot::folders::{copy_root, delete, set_mode};
use snapshot::{At as _, Error, Folders, Form, Key, Mounts, Snapshotter, Unpacking, Usage};

pub use probe::works;

/// The most lower directories of one overlay (`OVL_MAX_STACK` in the kernel).
const MAX_LAYERS: usize = 500;

/// The snapshots of one root.
#[derive(Clone, Debug)]
pub struct Overlay {
    folders: Folders,
}

impl Overlay {
    /// Opens the store in the folder `root`, and makes it where there is none.
    pub fn open(root: &Path) -> Result<Self, Error> {
        Ok(Self { folders: Folders::open(root, delete)? })
    }

    fn mounts_of(&self, dir: &Path, chain: &[ChainId]) -> Mounts {
        let lower = chain.iter().rev().map(|layer| self.folders.layer(layer)).collect();
        Mounts::Overlay { lower, upper: dir.join("upper"), work: dir.join("work") }
    }

    /// The directory whose mode and owner the root of something on `chain` has: overlayfs shows those
    /// of the topmost.
    fn root_below(&self, chain: &[ChainId]) -> Option<PathBuf> {
        chain.last().map(|top| self.folders.layer(top))
    }
}

impl Snapshotter for Overlay {
    fn name(&self) -> &'static str {
        "overlay2"
    }

    fn form(&self) -> Form {
        Form::Own
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let mut status = self.folders.status();
        status.push(("Native Overlay Diff", true.to_string()));
        status
    }

    fn begin(&self, below: &[ChainId]) -> Result<Unpacking, Error> {
        let unpacking = self.folders.begin()?;
        match self.root_below(below) {
            Some(root) => copy_root(&root, &unpacking.path())?,
            None => set_mode(&unpacking.path(), 0o755)?,
        }
        Ok(unpacking)
    }

    fn finish(&self, unpacking: Unpacking) -> Result<Unpacking, Error> {
        Ok(unpacking)
    }

    fn commit(&self, unpacking: Unpacking, chain: &ChainId) -> Result<(), Error> {
        if self.has_layer(chain)? {
            return Ok(());
        }
        self.folders.commit(unpacking, chain)
    }

    fn has_layer(&self, chain: &ChainId) -> Result<bool, Error> {
        self.folders.has_layer(chain)
    }

    fn layer_paths(&self, chain: &[ChainId]) -> Vec<PathBuf> {
        chain.iter().map(|layer| self.folders.layer(layer)).collect()
    }

    fn layers(&self) -> Result<Vec<ChainId>, Error> {
        self.folders.layers()
    }

    fn remove_layer(&self, chain: &ChainId) -> Result<bool, Error> {
        self.folders.discard(&self.folders.layer_dir(chain))
    }

    fn prepare(&self, key: &Key, chain: &[ChainId]) -> Result<Mounts, Error> {
        if chain.len() > MAX_LAYERS {
            return Err(Error::TooManyLayers { found: chain.len(), max: MAX_LAYERS });
        }
        self.folders.check(chain)?;
        let dir = self.folders.snapshot_dir(key);
        failpoint::hit("snapshot.prepare").at("mkdir", &dir)?;
        let mut builder = fs::DirBuilder::new();
        match builder.mode(0o700).create(&dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::Exists { key: key.clone() });
            }
            made => made.at("mkdir", &dir)?,
        }
        failpoint::hit("snapshot.prepared").at("mkdir", &dir)?;
        let (work, upper) = (dir.join("work"), dir.join("upper"));
        let filled = builder.create(&work).at("mkdir", &work).and_then(|()| {
            builder.create(&upper).at("mkdir", &upper)?;
            match self.root_below(chain) {
                Some(root) => copy_root(&root, &upper),
                None => set_mode(&upper, 0o755),
            }
        });
        match filled {
            Ok(()) => Ok(self.mounts_of(&dir, chain)),
            Err(error) => {
                self.folders.discard(&dir)?;
                Err(error)
            }
        }
    }

    fn limit(&self, key: &Key, bytes: u64) -> Result<(), Error> {
        snapshot::quota::limit(&self.folders.snapshot_dir(key), &["", "upper", "work"], bytes)
    }

    fn mounts(&self, key: &Key, chain: &[ChainId]) -> Result<Mounts, Error> {
        let dir = self.folders.snapshot_dir(key);
        let mounts = self.mounts_of(&dir, chain);
        if !mounts.writable().exists() {
            return Err(Error::NoSnapshot { key: key.clone() });
        }
        Ok(mounts)
    }

    fn seal(&self, key: &Key, chain: &ChainId) -> Result<(), Error> {
        let upper = self.folders.snapshot_dir(key).join("upper");
        if !upper.exists() {
            return Err(Error::NoSnapshot { key: key.clone() });
        }
        if !self.has_layer(chain)? {
            failpoint::hit("snapshot.seal").at("rename", &upper)?;
            let sealing = self.folders.begin_with(Unpacking::FS, |folder| {
                fs::DirBuilder::new().mode(0o700).create(folder)
            })?;
            fs::rename(&upper, sealing.path()).at("rename", &upper)?;
            failpoint::hit("snapshot.sealed").at("rename", &upper)?;
            self.folders.commit(sealing, chain)?;
        }
        self.remove(key)?;
        Ok(())
    }

    fn remove(&self, key: &Key) -> Result<bool, Error> {
        let dir = self.folders.snapshot_dir(key);
        snapshot::quota::unlimit(&dir)?;
        self.folders.discard(&dir)
    }

    fn trash(&self) -> Option<PathBuf> {
        Some(self.folders.trash_dir())
    }

    fn put_away(&self, key: &Key, heir: u32) -> Result<bool, Error> {
        let dir = self.folders.snapshot_dir(key);
        snapshot::quota::unlimit(&dir)?;
        self.folders.put_away(&dir, heir)
    }

    fn put_away_tree(&self, path: &Path, heir: u32) -> Result<bool, Error> {
        self.folders.put_away(path, heir)
    }

    fn keys(&self) -> Result<Vec<Key>, Error> {
        self.folders.keys()
    }

    fn usage(&self, key: &Key) -> Result<Usage, Error> {
        let upper = self.folders.snapshot_dir(key).join("upper");
        if !upper.exists() {
            return Err(Error::NoSnapshot { key: key.clone() });
        }
        usage::of(&upper)
    }

    fn left_over(&self) -> Result<Vec<PathBuf>, Error> {
        self.folders.left_over()
    }

    fn sweep(&self) -> Result<usize, Error> {
        self.folders.sweep()
    }
}

#[cfg(test)]
mod tests;
