//! Blobs by digest, in an OCI image layout.
//!
//! The folder is at all times a layout that other tools read (image-layout.md):
//!
//! ```text
//! oci-layout            {"imageLayoutVersion":"1.0.0"}
//! index.json            the manifests that have names, replaced as a whole
//! blobs/sha256/HEX      never seen half-written: made in ingest/, synced, renamed
//! ingest/               what is being written now, each file locked by its writer; and what came
//!                       of blobs from far away, as DIGEST.part, to be gone on with
//! lock                  held shared while blobs are put in place and recorded, alone while
//!                       blobs that no record names are deleted
//! index.lock            held while index.json is replaced
//! reserve               room to remove something when the disk is full
//! ```
//!
//! What it does not do: it knows no images. Which blobs are still needed is for the caller to say,
//! who holds [`Store::lock_alone`] from the question to the deletion.
#![forbid(unsafe_code)]

mod check;
mod error;
mod incoming;
mod read;
mod reserve;
mod write;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use oci::image::{Descriptor, Index};
use oci::{Algorithm, Digest};
use rustix::fs::{FlockOperation, flock};

pub use check::Verdict;
pub use error::Error;
pub use incoming::{Follower, Incoming, Standing};
pub use read::Reader;
pub use write::{Finished, Writer};

use error::At as _;

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The content store of one root.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// Holds the store's lock until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// Opens the store in the folder `root`, and makes it where there is none.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let store = Self { root: root.into() };
        // The last file that is made: where it is, all is.
        if !root.join("oci-layout").exists() {
            store.create()?;
        }
        Ok(store)
    }

    fn create(&self) -> Result<(), Error> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        for dir in ["blobs/sha256", "blobs/sha512", "ingest"] {
            let path = self.root.join(dir);
            builder.create(&path).at("mkdir", &path)?;
        }
        if !self.root.join("index.json").exists() {
            self.write_index(&Index::new(Vec::new()))?;
        }
        self.replace("oci-layout", LAYOUT)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where this blob lies, if it is there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().name()).join(digest.hex())
    }

    /// A new blob, of at most `limit` bytes.
    pub fn writer(&self, limit: u64) -> Result<Writer, Error> {
        self.writer_of(Algorithm::Sha256, limit)
    }

    /// A new blob whose digest is of this algorithm.
    pub fn writer_of(&self, algorithm: Algorithm, limit: u64) -> Result<Writer, Error> {
        Writer::create(self, algorithm, limit)
    }

    /// A blob that comes from far away, piece by piece: begun, or gone on with where an earlier
    /// fetch of it has ended. Whether somebody else fetches it says [`Incoming::look_again`].
    pub fn incoming(&self, digest: &Digest, size: u64) -> Result<Incoming, Error> {
        Incoming::begin(self, digest, size)
    }

    /// Keeps these bytes.
    pub fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, Error> {
        let descriptor = Descriptor::of(media_type, bytes);
        if self.size(&descriptor.digest)? == Some(descriptor.size) {
            return Ok(descriptor);
        }
        let mut writer = self.writer(descriptor.size)?;
        writer.write_all(bytes).at("write", writer.path())?;
        writer.finish()?.commit(Some((&descriptor.digest, descriptor.size)))?;
        Ok(descriptor)
    }

    /// Whether the blob is there, and its size in bytes.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        let path = self.blob_path(digest);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(_) => Err(Error::NotAFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { call: "stat", path, source }),
        }
    }

    /// Reads a blob, and checks it while it is read: the last read fails if the bytes are not
    /// those that the digest names.
    pub fn reader(&self, digest: &Digest) -> Result<Reader, Error> {
        Reader::open(self, digest)
    }

    /// A part of a blob, from byte `from` on; with its whole size in bytes. What is read is not
    /// checked.
    pub fn part(&self, digest: &Digest, from: u64) -> Result<(File, u64), Error> {
        read::part(self, digest, from)
    }

    /// A whole blob of at most `max` bytes, checked.
    pub fn read(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, Error> {
        self.reader(digest)?.read_all(max)
    }

    /// Deletes a blob, if it is there. Whether it was.
    pub fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        let path = self.blob_path(digest);
        failpoint::hit("content.delete").at("unlink", &path)?;
        match fs::remove_file(&path) {
            Ok(()) => {
                failpoint::hit("content.deleted").at("unlink", &path)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Io { call: "unlink", path, source }),
        }
    }

    /// Every blob with its size in bytes, in no order.
    pub fn list(&self) -> Result<Vec<(Digest, u64)>, Error> {
        let mut blobs = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.root.join("blobs").join(algorithm.name());
            for entry in fs::read_dir(&dir).at("readdir", &dir)? {
                let entry = entry.at("readdir", &dir)?;
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
                let Ok(digest) = Digest::from_str(&format!("{}:{name}", algorithm.name())) else {
                    continue;
                };
                let size = entry.metadata().at("stat", &entry.path())?.len();
                blobs.push((digest, size));
            }
        }
        Ok(blobs)
    }

    /// Waits until nobody deletes. Hold it from before a blob is looked for or put in place until
    /// the record that names it is written.
    pub fn lock_shared(&self) -> Result<Lock, Error> {
        self.lock("lock", FlockOperation::LockShared)
    }

    /// Waits until nobody else holds the lock. Hold it while the records are asked which blobs are
    /// needed, and the others are deleted.
    pub fn lock_alone(&self) -> Result<Lock, Error> {
        self.lock("lock", FlockOperation::LockExclusive)
    }

    /// The same without waiting: `None` while somebody else holds it.
    pub fn try_lock_alone(&self) -> Result<Option<Lock>, Error> {
        match self.lock("lock", FlockOperation::NonBlockingLockExclusive) {
            Ok(lock) => Ok(Some(lock)),
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until nobody else replaces the index. Hold it from the look at the records to
    /// [`Self::write_index`], so that an older view never overwrites a newer one. Taken after the
    /// other lock, never before it.
    pub fn lock_index(&self) -> Result<Lock, Error> {
        self.lock("index.lock", FlockOperation::LockExclusive)
    }

    fn lock(&self, name: &str, operation: FlockOperation) -> Result<Lock, Error> {
        let path = self.root.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .at("open", &path)?;
        rustix::io::retry_on_intr(|| flock(&file, operation))
            .map_err(io::Error::from)
            .at("flock", &path)?;
        Ok(Lock { _file: file })
    }

    /// Replaces `index.json`.
    pub fn write_index(&self, index: &Index) -> Result<(), Error> {
        let bytes = serde_json::to_vec(index).map_err(|source| Error::Index { source })?;
        self.replace("index.json", &bytes)
    }

    /// Deletes what writers that died have left. Returns how many files.
    pub fn sweep(&self) -> Result<usize, Error> {
        write::sweep(&self.root.join("ingest"))
    }

    /// Deletes what has come of blobs that nobody fetches now: the next fetch of them begins anew.
    /// Returns how many bytes.
    pub fn drop_parts(&self) -> Result<u64, Error> {
        incoming::drop_parts(&self.root.join("ingest"))
    }

    /// Puts a file with this content in the place of whatever had the name.
    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut writer = self.writer(bytes.len() as u64)?;
        writer.write_all(bytes).at("write", writer.path())?;
        writer.finish()?.rename_to(&self.root.join(name))
    }
}

#[cfg(test)]
mod tests;
