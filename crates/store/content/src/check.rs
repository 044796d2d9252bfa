//! Looking whether the store is as it should be, beside others who use it.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use oci::image::{Index, MAX_MANIFEST};
use oci::{Algorithm, Digest, Hasher};
use rustix::fs::{FlockOperation, flock};

use crate::error::At as _;
use crate::incoming::is_young_part;
use crate::write::Temporary;
use crate::{Error, LAYOUT, Reader, Store};

/// How many bytes are read at once.
const PIECE: usize = 1 << 20;

/// What a blob's bytes turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// What its digest says.
    Whole {
        /// Its size in bytes.
        size: u64,
    },
    /// It is not there, any more.
    Gone,
    /// Something else; or they cannot be read.
    Damaged {
        /// What is wrong, for people.
        why: String,
        /// Which file it is: another one under the same name is not damaged for that.
        inode: u64,
    },
}

impl Store {
    /// Reads a blob and hashes it. `on_bytes` is told how many bytes were read; its error ends it.
    pub fn verify(
        &self,
        digest: &Digest,
        on_bytes: &mut dyn FnMut(u64) -> io::Result<()>,
    ) -> Result<Verdict, Error> {
        let path = self.blob_path(digest);
        let found = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Gone),
            found => found.at("stat", &path)?,
        };
        let damaged = |why: String, inode| Ok(Verdict::Damaged { why, inode });
        let mut reader = match Reader::open(self, digest) {
            Ok(reader) => reader.into_file(),
            Err(Error::NotFound { .. }) => return Ok(Verdict::Gone),
            Err(Error::NotAFile { .. }) => {
                return damaged("is not a regular file".into(), found.ino());
            }
            Err(error) => return Err(error),
        };
        let inode = reader.metadata().at("stat", &path)?.ino();
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; PIECE];
        let mut size = 0;
        loop {
            let n_read = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n_read) => n_read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return damaged(format!("cannot be read: {error}"), inode),
            };
            hasher.update(&buffer[..n_read]);
            size += n_read as u64;
            on_bytes(n_read as u64).at("tell of", &path)?;
        }
        let found = hasher.finish();
        if found == *digest {
            return Ok(Verdict::Whole { size });
        }
        damaged(format!("its {size} bytes have digest {found}"), inode)
    }

    /// Takes a damaged blob away, if the file is still the one that was found damaged. Whether it
    /// was. Only with the lock held alone.
    pub fn drop_damaged(&self, digest: &Digest, inode: u64) -> Result<bool, Error> {
        let path = self.blob_path(digest);
        // A pull, which takes no lock, may put a good one in its place at any moment: what is taken
        // away is looked at once it has another name.
        let mut aside = Temporary::create(&self.root().join("ingest"))?;
        failpoint::hit("content.delete").at("rename", &path)?;
        match fs::rename(&path, &aside.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            renamed => renamed.at("rename", &path)?,
        }
        let taken = fs::symlink_metadata(&aside.path).at("stat", &aside.path)?;
        if taken.ino() != inode {
            fs::rename(&aside.path, &path).at("rename", &path)?;
            aside.renamed = true;
            return Ok(false);
        }
        failpoint::hit("content.deleted").at("rename", &path)?;
        Ok(true)
    }

    /// What is wrong with `oci-layout`; `None`: nothing.
    pub fn layout_fault(&self) -> Result<Option<String>, Error> {
        let path = self.root().join("oci-layout");
        let found = match read_some(&path, LAYOUT.len() as u64 * 100) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some("is missing".into()));
            }
            found => found.at("read", &path)?,
        };
        let parsed = serde_json::from_slice::<serde_json::Value>(&found);
        let version = parsed.ok().and_then(|value| {
            value.get("imageLayoutVersion").and_then(|one| one.as_str().map(str::to_owned))
        });
        Ok(match version.as_deref() {
            Some("1.0.0") => None,
            Some(other) => Some(format!("says version {other}, not 1.0.0")),
            None => Some("says no version".into()),
        })
    }

    /// Writes `oci-layout` anew.
    pub fn write_layout(&self) -> Result<(), Error> {
        self.replace("oci-layout", LAYOUT)
    }

    /// What `index.json` says; the text is what is wrong with it.
    pub fn read_index(&self) -> Result<Result<Index, String>, Error> {
        let path = self.root().join("index.json");
        // As large as it may become with many images.
        let bytes = match read_some(&path, 64 * MAX_MANIFEST as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Err("is missing".into()));
            }
            bytes => bytes.at("read", &path)?,
        };
        Ok(serde_json::from_slice(&bytes).map_err(|error| format!("cannot be read: {error}")))
    }

    /// How many bytes of the disk that the store is on are free for others than root, and how many it
    /// has.
    pub fn disk(&self) -> Result<(u64, u64), Error> {
        let found = rustix::fs::statvfs(self.root()).map_err(io::Error::from);
        let found = found.at("statvfs", self.root())?;
        Ok((found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize))
    }

    /// What lies among the blobs and is none.
    pub fn strays(&self) -> Result<Vec<PathBuf>, Error> {
        let blobs = self.root().join("blobs");
        let mut strays = Vec::new();
        for path in entries(&blobs)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let algorithm = [Algorithm::Sha256, Algorithm::Sha512]
                .into_iter()
                .find(|algorithm| algorithm.name() == name);
            let Some(algorithm) = algorithm else {
                strays.push(path);
                continue;
            };
            for path in entries(&blobs.join(algorithm.name()))? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if format!("{}:{name}", algorithm.name()).parse::<Digest>().is_err() {
                    strays.push(path);
                }
            }
        }
        Ok(strays)
    }

    /// What writers that are gone have left, and what nobody goes on with any more:
    /// [`Store::sweep`] deletes it.
    pub fn left_over(&self) -> Result<Vec<PathBuf>, Error> {
        let mut left = entries(&self.root().join("ingest"))?;
        left.retain(|path| !is_young_part(path) && !maker_lives(path) && !is_locked(path));
        Ok(left)
    }
}

/// Whether the process lives whose number a temporary name starts with. It may be another one by
/// now: then what was left is found later.
fn maker_lives(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let pid = name.split('-').next().unwrap_or_default();
    pid.parse::<u32>().is_ok() && Path::new("/proc").join(pid).exists()
}

fn is_locked(path: &Path) -> bool {
    let Ok(file) = fs::File::open(path) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared).is_err()
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).at("readdir", dir)? {
        paths.push(entry.at("readdir", dir)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// A file of at most `max` bytes, or the start of it.
fn read_some(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
