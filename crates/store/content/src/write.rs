//! Writing a blob: to a name of its own, locked, until it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use oci::{Algorithm, Digest, Hasher};
use rustix::fs::{FlockOperation, flock};

use crate::error::At as _;
use crate::incoming::is_young_part;
use crate::{Error, Store};

/// Makes names of one process differ.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A blob that is being written. Dropped before [`Finished::commit`], it leaves nothing.
#[derive(Debug)]
pub struct Writer {
    temporary: Temporary,
    hasher: Hasher,
    size: u64,
    limit: u64,
    store: Store,
}

/// A blob that is written and hashed, but not in its place yet.
#[derive(Debug)]
pub struct Finished {
    temporary: Temporary,
    digest: Digest,
    size: u64,
    store: Store,
}

/// A file in `ingest/`, deleted when dropped.
#[derive(Debug)]
pub(crate) struct Temporary {
    file: File,
    pub(crate) path: PathBuf,
    pub(crate) renamed: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // What cannot be deleted now is swept later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Writer {
    pub(crate) fn create(store: &Store, algorithm: Algorithm, limit: u64) -> Result<Self, Error> {
        let temporary = Temporary::create(&store.root().join("ingest"))?;
        let hasher = Hasher::new(algorithm);
        Ok(Self { temporary, hasher, size: 0, limit, store: store.clone() })
    }

    /// Where it is being written.
    pub fn path(&self) -> &Path {
        &self.temporary.path
    }

    /// How many bytes were written.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Brings all bytes to the disk, and says what they are.
    pub fn finish(self) -> Result<Finished, Error> {
        let path = &self.temporary.path;
        failpoint::hit("content.sync").at("fsync", path)?;
        self.temporary.file.sync_all().at("fsync", path)?;
        let Self { temporary, hasher, size, store, .. } = self;
        Ok(Finished { temporary, digest: hasher.finish(), size, store })
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size + bytes.len() as u64 > self.limit {
            let why = format!("more than the {} bytes that are taken", self.limit);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let written = self.temporary.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Finished {
    /// The digest of what was written.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The same with its digest of another algorithm: reads all of it once more.
    pub fn rehash(mut self, algorithm: Algorithm) -> Result<Self, Error> {
        let mut file = self.open()?;
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => hasher.update(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).at("read", &self.temporary.path),
            }
        }
        self.digest = hasher.finish();
        Ok(self)
    }

    /// Reads what was written.
    pub fn open(&self) -> Result<File, Error> {
        let path = &self.temporary.path;
        File::open(path).at("open", path)
    }

    /// Puts the blob in its place, if it is what was promised. A blob that is there already stays.
    pub fn commit(self, expected: Option<(&Digest, u64)>) -> Result<(Digest, u64), Error> {
        self.check(expected)?;
        let (digest, size) = (self.digest.clone(), self.size);
        if self.store.size(&digest)? != Some(size) {
            let path = self.store.blob_path(&digest);
            self.rename_to(&path)?;
        }
        Ok((digest, size))
    }

    /// As [`Self::commit`], and what was written can still be read.
    pub fn keep(&self, expected: Option<(&Digest, u64)>) -> Result<(Digest, u64), Error> {
        self.check(expected)?;
        let path = self.store.blob_path(&self.digest);
        failpoint::hit("content.link").at("link", &path)?;
        match fs::hard_link(&self.temporary.path, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked.at("link", &path)?,
        }
        failpoint::hit("content.linked").at("link", &path)?;
        sync_folder_of(&path)?;
        Ok((self.digest.clone(), self.size))
    }

    fn check(&self, expected: Option<(&Digest, u64)>) -> Result<(), Error> {
        if let Some((digest, size)) = expected {
            if self.size != size {
                let (digest, found) = (digest.clone(), self.size);
                return Err(Error::WrongSize { digest, expected: size, found });
            }
            if self.digest != *digest {
                let (expected, found) = (digest.clone(), self.digest.clone());
                return Err(Error::WrongDigest { expected, found });
            }
        }
        Ok(())
    }

    pub(crate) fn rename_to(mut self, path: &Path) -> Result<(), Error> {
        failpoint::hit("content.rename").at("rename", path)?;
        fs::rename(&self.temporary.path, path).at("rename", path)?;
        self.temporary.renamed = true;
        failpoint::hit("content.renamed").at("rename", path)?;
        sync_folder_of(path)
    }
}

/// Makes a name last.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), Error> {
    let Some(dir) = path.parent() else { return Ok(()) };
    File::open(dir).and_then(|dir| dir.sync_all()).at("fsync", dir)
}

impl Temporary {
    pub(crate) fn create(dir: &Path) -> Result<Self, Error> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = dir.join(format!("{}-{number}", std::process::id()));
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o600);
            let file = match options.open(&path) {
                // A process that had our number died here.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                opened => opened.at("open", &path)?,
            };
            failpoint::hit("content.create").at("open", &path)?;
            // Before the lock is ours a sweeper may take the file for a dead one's.
            let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && file.metadata().at("stat", &path)?.nlink() == 1 {
                return Ok(Self { file, path, renamed: false });
            }
        }
    }
}

/// Deletes the files that no writer holds locked, but for what may still be gone on with.
pub(crate) fn sweep(dir: &Path) -> Result<usize, Error> {
    let mut n_swept = 0;
    for entry in fs::read_dir(dir).at("readdir", dir)? {
        let path = entry.at("readdir", dir)?.path();
        if is_young_part(&path) {
            continue;
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::Io { call: "open", path, source }),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            match fs::remove_file(&path) {
                Ok(()) => n_swept += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Io { call: "unlink", path, source }),
            }
        }
    }
    Ok(n_swept)
}
