//! Where the builder keeps what is no layer: copies of contexts, caches of steps.
//!
//! ```text
//! ROOT/build/NAME/lock   held by who uses it: alone, or with others
//! ROOT/build/NAME/data   the directory
//! ROOT/build/NAME/ready  of a cache: it has what it is to begin with
//! ```
//!
//! A directory has a record in the build cache of the same name, so that it is counted, shown and
//! pruned. Who wants one that somebody else has alone waits, or takes another one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metadata::{BuildRecord, Db};
use oci::Digest;
use rustix::fs::{FlockOperation, flock};

use crate::Error;
use crate::cache::now;
use crate::error::At as _;
use crate::made::Made;
use crate::usage::bytes_of;

/// How many directories of one name there may be, for builds that run at once.
const MAX_COPIES: usize = 256;

/// A file beside a directory that has what it is to begin with.
const READY: &str = "ready";

/// How a directory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// With others.
    Shared,
    /// Alone; where somebody else uses it, another one.
    Private,
    /// Alone; nothing where somebody else uses it.
    Locked,
}

/// A directory that is in use until this is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    /// What is in it is of no use to anybody else, and goes with this.
    pub(crate) is_passing: bool,
    held: File,
}

/// What a directory is called, of those of one name.
pub(crate) fn nth_id(kind: &str, name: &str, copy: usize) -> String {
    short(&Digest::sha256(format!("{kind}\0{name}\0{copy}").as_bytes()))
}

impl Drop for Directory {
    fn drop(&mut self) {
        // While it is locked. What cannot be removed now is, when the directory is used or pruned next.
        if self.is_passing {
            let _ = self.clear();
        }
    }
}

impl Directory {
    /// Lets others have it, too, that do not want it alone.
    pub(crate) fn share(&self) -> Result<(), Error> {
        flock(&self.held, FlockOperation::LockShared).at("flock", &self.path)
    }

    /// Whether nobody else has it any more, and gets it until it is shared again. Whoever is told no has lost it.
    pub(crate) fn is_alone(&self) -> bool {
        flock(&self.held, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Removes all that is in it.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        let root = fsroot::Root::open(&self.path)?;
        for name in snapshot::folders::names(&self.path)? {
            root.remove_all(&name)?;
        }
        Ok(())
    }
}

/// Nobody else carries out the step as long as this lives.
#[derive(Debug)]
pub(crate) struct StepLock {
    path: PathBuf,
    _file: File,
}

impl Drop for StepLock {
    fn drop(&mut self) {
        // While it is locked: who opened it meanwhile sees that it is gone. One that a dead process
        // left is taken by the next.
        let _ = fs::remove_file(&self.path);
    }
}

/// The builder's directories.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: PathBuf,
    db: Arc<Db>,
}

impl Store {
    pub(crate) fn open(root: &Path, db: Arc<Db>) -> Result<Self, Error> {
        let root = root.join("build");
        DirBuilder::new().recursive(true).mode(0o700).create(&root).at("mkdir", &root)?;
        Ok(Self { root, db })
    }

    /// Takes the directory that is called so among those of a kind (`source.local`,
    /// `exec.cachemount`). `None`: somebody else has it, and it was to be [`Use::Locked`].
    pub(crate) fn take(
        &self,
        kind: &str,
        name: &str,
        description: &str,
        how: Use,
    ) -> Result<Option<Directory>, Error> {
        self.take_noted(kind, name, description, "", how)
    }

    /// The same, with what its record is to say of it where there is none yet.
    pub(crate) fn take_noted(
        &self,
        kind: &str,
        name: &str,
        description: &str,
        detail: &str,
        how: Use,
    ) -> Result<Option<Directory>, Error> {
        for copy in 0..MAX_COPIES {
            let id = nth_id(kind, name, copy);
            let folder = self.root.join(&id);
            let Some(lock) = lock(&folder, how == Use::Shared)? else {
                match how {
                    Use::Locked => return Ok(None),
                    Use::Private | Use::Shared => continue,
                }
            };
            let path = folder.join("data");
            if !path.exists() {
                DirBuilder::new().mode(0o755).create(&path).or_else(existing).at("mkdir", &path)?;
            }
            self.record(&id, kind, description, detail)?;
            return Ok(Some(Directory { id, path, is_passing: false, held: lock }));
        }
        Err(Error::Invalid(format!("{description}: {MAX_COPIES} builds use it at once")))
    }

    /// Takes a directory that there is, alone. `None`: somebody else has it, or it is gone.
    pub(crate) fn take_known(&self, id: &str) -> Result<Option<Directory>, Error> {
        let folder = self.root.join(id);
        let path = folder.join("data");
        if !path.exists() {
            return Ok(None);
        }
        let Some(lock) = lock(&folder, false)? else { return Ok(None) };
        if !path.exists() {
            return Ok(None);
        }
        let id = id.to_owned();
        Ok(Some(Directory { id, path, is_passing: false, held: lock }))
    }

    fn record(&self, id: &str, kind: &str, description: &str, detail: &str) -> Result<(), Error> {
        let now = now();
        self.db.write(|tx| {
            if tx.build_record(id)?.is_some() {
                return tx.note_build_use(id, now);
            }
            tx.insert_build_record(&BuildRecord {
                id: id.into(),
                kind: kind.into(),
                chain: None,
                identity: String::new(),
                description: description.into(),
                size: 0,
                created: now,
                used: now,
                uses: 1,
                detail: detail.into(),
            })
        })?;
        Ok(())
    }

    /// Removes a directory with its record, unless somebody uses it. Whether it was removed.
    pub(crate) fn remove(&self, id: &str) -> Result<bool, Error> {
        let folder = self.root.join(id);
        if folder.exists() {
            let Some(_lock) = lock(&folder, false)? else { return Ok(false) };
            // The lock goes last: until then nobody takes the folder for a new one.
            let root = fsroot::Root::open(&folder)?;
            let mut names = snapshot::folders::names(&folder)?;
            names.sort_by_key(|name| name == "lock");
            for name in names {
                root.remove_all(&name)?;
            }
            fs::remove_dir(&folder).at("rmdir", &folder)?;
        }
        Ok(self.db.write(|tx| tx.delete_build_record(id))?)
    }

    /// A directory in which nothing is.
    pub(crate) fn empty(&self) -> Result<PathBuf, Error> {
        let path = self.root.join("empty");
        DirBuilder::new().mode(0o755).create(&path).or_else(existing).at("mkdir", &path)?;
        Ok(path)
    }

    /// The lock of a step, by its key: of those in other processes that want the same one has it.
    /// `None`: somebody else has.
    pub(crate) fn lock_step(&self, key: &Digest) -> Result<Option<StepLock>, Error> {
        let steps = self.root.join("steps");
        DirBuilder::new().mode(0o700).create(&steps).or_else(existing).at("mkdir", &steps)?;
        let path = steps.join(short(key));
        loop {
            let mut options = OpenOptions::new();
            let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = opened.open(&path).at("open", &path)?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Ok(None);
            }
            let ours = file.metadata().at("stat", &path)?.ino();
            if fs::symlink_metadata(&path).is_ok_and(|found| found.ino() == ours) {
                return Ok(Some(StepLock { path, _file: file }));
            }
        }
    }

    /// Whether there is a directory of this name.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.root.join(id).join("data").exists()
    }

    /// Whether a directory of this name has all that it is to begin with: whoever was killed while putting it there
    /// has left a part of it.
    pub(crate) fn is_ready(&self, id: &str) -> bool {
        self.root.join(id).join(READY).exists()
    }

    /// Notes that a directory has what it is to begin with. Whoever does has it alone.
    pub(crate) fn set_ready(&self, directory: &Directory) -> Result<(), Error> {
        let path = self.beside(directory, READY);
        File::create(&path).map(drop).at("create", &path)
    }

    /// Removes all that is in a directory, of which whoever has it alone says when it is ready again.
    pub(crate) fn begin_anew(&self, directory: &Directory) -> Result<(), Error> {
        let path = self.beside(directory, READY);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.at("unlink", &path)?,
        }
        directory.clear()
    }

    /// Whether somebody uses a directory.
    pub(crate) fn is_used(&self, id: &str) -> Result<bool, Error> {
        let folder = self.root.join(id);
        Ok(folder.exists() && lock(&folder, false)?.is_none())
    }

    /// Whether something was not done for so long; it is, from now on.
    pub(crate) fn is_due(&self, pause: Duration) -> bool {
        let path = self.root.join("collected");
        let last = fs::metadata(&path).and_then(|found| found.modified());
        let is_young = last.is_ok_and(|last| last.elapsed().is_ok_and(|since| since < pause));
        !is_young && File::create(&path).is_ok()
    }

    /// Bytes of a directory.
    pub(crate) fn size(&self, id: &str) -> u64 {
        bytes_of(&self.root.join(id).join("data"))
    }

    /// A file of the builder's own beside a directory.
    pub(crate) fn beside(&self, directory: &Directory, name: &str) -> PathBuf {
        self.root.join(&directory.id).join(name)
    }

    /// What steps were made of.
    pub(crate) fn made(&self) -> Made {
        Made::open(&self.root)
    }

    /// A file of the builder's own that belongs to no directory.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Notes how large a directory has become.
    pub(crate) fn measured(&self, id: &str, size: u64) -> Result<(), Error> {
        self.db.write(|tx| tx.set_build_detail(id, size, ""))?;
        Ok(())
    }
}

/// Locks a folder, which is made where there is none.
fn lock(folder: &Path, is_shared: bool) -> Result<Option<File>, Error> {
    let how = if is_shared {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    loop {
        DirBuilder::new().mode(0o700).create(folder).or_else(existing).at("mkdir", folder)?;
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = match opened.open(&path) {
            // Pruned in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.at("open", &path)?,
        };
        if flock(&file, how).is_err() {
            return Ok(None);
        }
        let ours = file.metadata().at("stat", &path)?.ino();
        if fs::symlink_metadata(&path).is_ok_and(|found| found.ino() == ours) {
            return Ok(Some(file));
        }
    }
}

fn existing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

/// The start of a digest, as a name.
pub(crate) fn short(digest: &Digest) -> String {
    digest.hex().chars().take(25).collect()
}
