//! The folders of a store, which all implementations have.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use oci::ChainId;
use rustix::fs::{FlockOperation, Mode, flock};

use crate::error::At as _;
use crate::unpacking::{maker_lives, started, unique_name};
use crate::{Error, Key, Unpacking};

/// Deletes a tree of ours, never following a link or entering a mount.
pub type Delete = fn(&Path) -> Result<(), Error>;

/// ```text
/// layers/CHAIN/fs   a layer; never changes
/// active/KEY        a snapshot
/// new/NAME          what is being made, locked by whoever makes it
/// trash/NAME        what is being deleted; a later command goes on with it
/// trash/PID-START-  the same, left to a process, as long as the one that was started then lives
/// ```
///
/// All changes of names are single renames, so a process may die anywhere.
#[derive(Clone, Debug)]
pub struct Folders {
    root: PathBuf,
    delete: Delete,
}

impl Folders {
    /// Opens the folders in `root`, and makes them where there are none.
    pub fn open(root: &Path, delete: Delete) -> Result<Self, Error> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        // The last that is made: where it is, all are.
        if !root.join("trash").is_dir() {
            for dir in ["layers", "active", "new", "trash"] {
                let path = root.join(dir);
                builder.create(&path).at("mkdir", &path)?;
            }
        }
        Ok(Self { root: root.into(), delete })
    }

    /// Where they are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What a person may want to know of any store.
    pub fn status(&self) -> Vec<(&'static str, String)> {
        let unknown = || "unknown".to_owned();
        vec![("Backing Filesystem", file_system(&self.root).unwrap_or_else(|_| unknown()))]
    }

    /// The folder of what is being made.
    pub fn new_dir(&self) -> PathBuf {
        self.root.join("new")
    }

    /// The folder of a layer.
    pub fn layer_dir(&self, chain: &ChainId) -> PathBuf {
        self.root.join("layers").join(chain.hex())
    }

    /// The directory of a layer's files.
    pub fn layer(&self, chain: &ChainId) -> PathBuf {
        self.layer_dir(chain).join(Unpacking::FS)
    }

    /// The folder of a snapshot.
    pub fn snapshot_dir(&self, key: &Key) -> PathBuf {
        self.root.join("active").join(key.as_str())
    }

    /// Begins a layer, to be filled in a directory of its folder.
    pub fn begin(&self) -> Result<Unpacking, Error> {
        let unpacking = self
            .begin_with(Unpacking::FS, |folder| fs::DirBuilder::new().mode(0o700).create(folder))?;
        let inner = unpacking.path();
        fs::DirBuilder::new().mode(0o755).create(&inner).at("mkdir", &inner)?;
        Ok(unpacking)
    }

    /// Begins a layer, or a snapshot, to be filled in the directory `inner` of its folder, which
    /// `make` makes.
    pub fn begin_with(
        &self,
        inner: &'static str,
        make: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<Unpacking, Error> {
        let new = self.new_dir();
        failpoint::hit("snapshot.begin").at("mkdir", &new)?;
        let unpacking = Unpacking::create(&new, inner, make)?;
        failpoint::hit("snapshot.begun").at("mkdir", &new)?;
        Ok(unpacking)
    }

    /// Gives a layer its name, if none of that name is there.
    pub fn commit(&self, unpacking: Unpacking, chain: &ChainId) -> Result<(), Error> {
        let path = self.layer_dir(chain);
        failpoint::hit("snapshot.commit").at("rename", &path)?;
        match unpacking.rename_to(&path, true) {
            // Another process was first, with the same content.
            Err(_) if path.exists() => return Ok(()),
            renamed => renamed?,
        }
        failpoint::hit("snapshot.committed").at("rename", &path)?;
        let layers = self.root.join("layers");
        File::open(&layers).and_then(|dir| dir.sync_all()).at("fsync", &layers)
    }

    /// Gives the folder of a snapshot the name of a layer, if none of that name is there.
    pub(crate) fn adopt(&self, folder: &Path, chain: &ChainId) -> Result<(), Error> {
        let path = self.layer_dir(chain);
        let dir = File::open(folder).at("open", folder)?;
        rustix::fs::syncfs(&dir).at("syncfs", folder)?;
        failpoint::hit("snapshot.commit").at("rename", &path)?;
        match fs::rename(folder, &path) {
            Err(_) if path.exists() => {
                self.discard(folder)?;
                return Ok(());
            }
            renamed => renamed.at("rename", &path)?,
        }
        failpoint::hit("snapshot.committed").at("rename", &path)?;
        let layers = self.root.join("layers");
        File::open(&layers).and_then(|dir| dir.sync_all()).at("fsync", &layers)
    }

    /// Whether a layer is there.
    pub fn has_layer(&self, chain: &ChainId) -> Result<bool, Error> {
        let path = self.layer_dir(chain);
        path.try_exists().at("stat", &path)
    }

    /// Names the first of these layers that is missing.
    pub fn check(&self, chain: &[ChainId]) -> Result<(), Error> {
        match chain.iter().find(|layer| !self.layer_dir(layer).exists()) {
            Some(missing) => Err(Error::NoLayer { chain: missing.clone() }),
            None => Ok(()),
        }
    }

    /// Every layer.
    pub fn layers(&self) -> Result<Vec<ChainId>, Error> {
        let names = names(&self.root.join("layers"))?;
        Ok(names.iter().filter_map(|name| format!("sha256:{name}").parse().ok()).collect())
    }

    /// Every snapshot's key.
    pub fn keys(&self) -> Result<Vec<Key>, Error> {
        let names = names(&self.root.join("active"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Moves a tree out of sight at once, then deletes it. Whether it was there.
    pub fn discard(&self, path: &Path) -> Result<bool, Error> {
        let trash = self.trash_dir().join(unique_name());
        failpoint::hit("snapshot.remove").at("rename", path)?;
        match fs::rename(path, &trash) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            // A process that had our number died here: its trash goes first.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                (self.delete)(&trash)?;
                fs::rename(path, &trash).at("rename", path)?;
            }
            renamed => renamed.at("rename", path)?,
        }
        failpoint::hit("snapshot.removed").at("rename", path)?;
        (self.delete)(&trash)?;
        Ok(true)
    }

    /// The folder of what is being deleted.
    pub fn trash_dir(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// Moves a tree of ours, from the same file system, out of sight, for the process `heir` to delete. Whether
    /// it was there.
    pub fn put_away(&self, path: &Path, heir: u32) -> Result<bool, Error> {
        let start = started(heir).unwrap_or_default();
        let place = self.trash_dir().join(format!("{heir}-{start}-{}", unique_name()));
        failpoint::hit("snapshot.put-away").at("rename", path)?;
        match fs::rename(path, &place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            renamed => renamed.at("rename", path)?,
        }
        failpoint::hit("snapshot.away").at("rename", path)?;
        Ok(true)
    }

    /// What processes that died have left half-made or half-removed.
    pub fn left_over(&self) -> Result<Vec<PathBuf>, Error> {
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

    /// Deletes what processes that died have left half-made or half-removed. How many trees.
    pub fn sweep(&self) -> Result<usize, Error> {
        let mut n_swept = 0;
        let trash = self.trash_dir();
        for name in names(&trash)? {
            if is_of_another(&name) {
                continue;
            }
            (self.delete)(&trash.join(name))?;
            n_swept += 1;
        }
        let new = self.new_dir();
        for name in names(&new)? {
            let path = new.join(name);
            let Ok(dir) = File::open(&path) else { continue };
            // Nobody holds it: whoever made it is dead.
            if flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok() {
                (self.delete)(&path)?;
                n_swept += 1;
            }
        }
        Ok(n_swept)
    }
}

/// Whether what has this name was left to a living process that is not this one.
fn is_of_another(name: &str) -> bool {
    let mut parts = name.split('-');
    let (Some(heir), Some(start), Some(_unique)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let heir = heir.parse().ok().filter(|heir| *heir != std::process::id());
    heir.and_then(started).is_some_and(|started| start.parse() == Ok(started))
}

fn is_locked(path: &Path) -> bool {
    let Ok(dir) = File::open(path) else { return false };
    flock(&dir, FlockOperation::NonBlockingLockShared).is_err()
}

/// Gives the directory `to` the mode and owner of `from`.
pub fn copy_root(from: &Path, to: &Path) -> Result<(), Error> {
    let found = fs::metadata(from).at("stat", from)?;
    // Ours already is almost always root's.
    let ours = fs::metadata(to).at("stat", to)?;
    if (ours.uid(), ours.gid()) != (found.uid(), found.gid()) {
        std::os::unix::fs::chown(to, Some(found.uid()), Some(found.gid())).at("chown", to)?;
    }
    set_mode(to, found.mode() & 0o7777)
}

/// Sets a mode whatever the umask was.
pub fn set_mode(path: &Path, mode: u32) -> Result<(), Error> {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).at("chmod", path)
}

/// Deletes a tree of plain files and directories.
pub fn delete(path: &Path) -> Result<(), Error> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let root = fsroot::Root::open(dir).map_err(|error| error.errno()).at("open", dir)?;
    root.remove_all(name).map_err(|error| error.errno()).at("remove", path)
}

/// File systems by the number that statfs(2) tells, with Docker's words for them.
const FILE_SYSTEMS: &[(u64, &str)] = &[
    (0xef53, "extfs"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
    (0x2fc1_2fc1, "zfs"),
    (0x6969, "nfs"),
    (0xf2f5_2010, "f2fs"),
    (0x6573_5546, "fuse"),
    (0xca45_1a4e, "bcachefs"),
];

/// The name of the file system that `path` is on, or its number.
pub fn file_system(path: &Path) -> Result<String, Error> {
    let number = rustix::fs::statfs(path).at("statfs", path)?.f_type as u64 & 0xffff_ffff;
    let known = FILE_SYSTEMS.iter().find(|(known, _)| *known == number);
    Ok(known.map_or_else(|| format!("{number:#x}"), |(_, name)| (*name).to_owned()))
}

/// What is in a folder, as far as its names are text.
pub fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at("readdir", dir)? {
        names.extend(entry.at("readdir", dir)?.file_name().into_string());
    }
    Ok(names)
}
