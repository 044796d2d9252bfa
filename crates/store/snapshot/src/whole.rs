//! Snapshots that are whole trees: what those of all file systems but overlayfs have in common.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use oci::ChainId;

use crate::error::At as _;
use crate::folders::{Delete, copy_root, set_mode};
use crate::{Error, Folders, Form, Key, Mounts, Snapshotter, Unpacking, Usage};

/// The directory in which a layer is unpacked.
const CHANGES: &str = "changes";
/// The file of a snapshot that says on which layer it is, and by its own time since when.
const MADE: &str = "made";

/// How one tree comes from another.
pub trait Trees: Send + Sync + fmt::Debug {
    /// The name of the storage driver.
    const NAME: &'static str;
    /// Whether what a snapshot begins with has to be brought to the disk.
    const SYNC: bool;
    /// Deletes a folder of a layer or snapshot.
    const DELETE: Delete;

    /// Makes the folder `to`, and what takes no time. `below` is that of the layer below.
    fn create(&self, below: Option<&Path>, to: &Path) -> io::Result<()>;

    /// Fills the directory `to`, if [`Trees::create`] has not: as `below`, the directory of the layer
    /// below. It will be written to, or never.
    fn fill(&self, below: &Path, to: &Path, is_written: bool) -> Result<(), Error>;

    /// Limits how many bytes may be written to what is in the folder of a snapshot.
    fn limit(&self, folder: &Path, bytes: u64) -> Result<(), Error>;

    /// What a person may want to know of the store in the folder `root`.
    fn status(&self, root: &Path) -> Vec<(&'static str, String)>;
}

/// The snapshots of one root.
#[derive(Debug)]
pub struct Whole<T> {
    folders: Folders,
    trees: T,
}

impl<T: Trees> Whole<T> {
    /// Opens the store in the folder `root`, and makes it where there is none.
    pub fn open(root: &Path, trees: T) -> Result<Self, Error> {
        Ok(Self { folders: Folders::open(root, T::DELETE)?, trees })
    }

    /// A new folder with the tree of `below`, to be filled in its directory `inner`.
    fn make(
        &self,
        below: Option<&ChainId>,
        inner: &'static str,
        is_written: bool,
    ) -> Result<Unpacking, Error> {
        let folder = below.map(|layer| self.folders.layer_dir(layer));
        let making =
            self.folders.begin_with(inner, |to| self.trees.create(folder.as_deref(), to))?;
        let tree = making.folder().join(Unpacking::FS);
        match below {
            Some(layer) => self.trees.fill(&self.folders.layer(layer), &tree, is_written)?,
            None => make_directory(&tree)?,
        }
        if inner == CHANGES {
            let changes = making.path();
            make_directory(&changes)?;
            copy_root(&tree, &changes)?;
        }
        Ok(making)
    }

    fn mounts_of(&self, dir: &Path, top: Option<&ChainId>) -> Result<Mounts, Error> {
        let made = dir.join(MADE);
        let found = fs::metadata(&made).at("stat", &made)?;
        Ok(Mounts::Directory {
            root: dir.join(Unpacking::FS),
            before: top.map(|layer| self.folders.layer(layer)),
            since: (found.ctime(), found.ctime_nsec()),
        })
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.at("mkdir", path)?,
    }
    set_mode(path, 0o755)
}

impl<T: Trees> Snapshotter for Whole<T> {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn form(&self) -> Form {
        Form::Whole
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let mut status = self.folders.status();
        status.extend(self.trees.status(self.folders.root()));
        status
    }

    fn begin(&self, below: &[ChainId]) -> Result<Unpacking, Error> {
        self.folders.check(&below[below.len().saturating_sub(1)..])?;
        self.make(below.last(), CHANGES, false)
    }

    fn finish(&self, unpacking: Unpacking) -> Result<Unpacking, Error> {
        let (changes, whole) = (unpacking.path(), unpacking.folder().join(Unpacking::FS));
        if changes == whole {
            return Ok(unpacking);
        }
        tree::merge(&changes, &whole)?;
        fs::remove_dir_all(&changes).at("remove", &changes)?;
        Ok(unpacking.filled_in(Unpacking::FS))
    }

    fn commit(&self, unpacking: Unpacking, chain: &ChainId) -> Result<(), Error> {
        if self.has_layer(chain)? {
            return Ok(());
        }
        self.folders.commit(self.finish(unpacking)?, chain)
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
        self.folders.check(chain)?;
        let dir = self.folders.snapshot_dir(key);
        let exists = || Error::Exists { key: key.clone() };
        if dir.exists() {
            return Err(exists());
        }
        let top = chain.last();
        let making = self.make(top, Unpacking::FS, true)?;
        let made = making.folder().join(MADE);
        let text = top.map(ToString::to_string).unwrap_or_default();
        fs::write(&made, text).at("write", &made)?;
        failpoint::hit("snapshot.prepare").at("rename", &dir)?;
        match making.rename_to(&dir, T::SYNC) {
            Err(_) if dir.exists() => return Err(exists()),
            renamed => renamed?,
        }
        failpoint::hit("snapshot.prepared").at("rename", &dir)?;
        self.mounts_of(&dir, top)
    }

    fn limit(&self, key: &Key, bytes: u64) -> Result<(), Error> {
        self.trees.limit(&self.folders.snapshot_dir(key), bytes)
    }

    fn mounts(&self, key: &Key, chain: &[ChainId]) -> Result<Mounts, Error> {
        let dir = self.folders.snapshot_dir(key);
        if !dir.exists() {
            return Err(Error::NoSnapshot { key: key.clone() });
        }
        self.mounts_of(&dir, chain.last())
    }

    fn seal(&self, key: &Key, chain: &ChainId) -> Result<(), Error> {
        let dir = self.folders.snapshot_dir(key);
        if !dir.exists() {
            return Err(Error::NoSnapshot { key: key.clone() });
        }
        if self.has_layer(chain)? {
            self.remove(key)?;
            return Ok(());
        }
        failpoint::hit("snapshot.seal").at("rename", &dir)?;
        let made = dir.join(MADE);
        fs::remove_file(&made).at("unlink", &made)?;
        failpoint::hit("snapshot.sealed").at("rename", &dir)?;
        self.folders.adopt(&dir, chain)
    }

    fn remove(&self, key: &Key) -> Result<bool, Error> {
        self.folders.discard(&self.folders.snapshot_dir(key))
    }

    fn keys(&self) -> Result<Vec<Key>, Error> {
        self.folders.keys()
    }

    fn usage(&self, key: &Key) -> Result<Usage, Error> {
        let dir = self.folders.snapshot_dir(key);
        if !dir.exists() {
            return Err(Error::NoSnapshot { key: key.clone() });
        }
        let made = dir.join(MADE);
        let top = fs::read_to_string(&made).at("read", &made)?.parse().ok();
        match self.mounts_of(&dir, top.as_ref())? {
            Mounts::Directory { root, before, since } => changed(&root, before.as_deref(), since),
            Mounts::Overlay { .. } => Ok(Usage::default()),
        }
    }

    fn left_over(&self) -> Result<Vec<PathBuf>, Error> {
        self.folders.left_over()
    }

    fn sweep(&self) -> Result<usize, Error> {
        self.folders.sweep()
    }
}

/// How much of a tree is another than before. The root itself always counts.
fn changed(root: &Path, before: Option<&Path>, since: tree::Time) -> Result<Usage, Error> {
    let what = tree::Compare { before, now: root, since: Some(since), ignored: None };
    let mut usage = Usage { bytes: 0, inodes: 1 };
    let mut linked = HashSet::new();
    for change in tree::compare(&what)? {
        // It may be gone by now.
        let Ok(found) = fs::symlink_metadata(root.join(&change.path)) else { continue };
        let is_other_name = !found.is_dir() && found.nlink() > 1;
        if change.kind == tree::Kind::Deleted
            || is_other_name && !linked.insert((found.dev(), found.ino()))
        {
            continue;
        }
        usage.inodes += 1;
        usage.bytes += found.blocks() * 512;
    }
    Ok(usage)
}
