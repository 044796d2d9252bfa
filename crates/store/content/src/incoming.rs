//! A blob that comes from far away: it can be read while it comes, and what has come survives a
//! crash, so that it can be gone on with.
//!
//! It lies in `ingest/ALGORITHM-HEX.part`, locked by whoever fetches it. That name is good for one
//! blob only, and its bytes are hashed again before they are gone on with: a file that is wrong
//! costs a download, never a wrong blob.
//!
//! Two who want the same blob fetch it once: the second waits ([`Incoming::look_again`]), and goes on
//! with what the first has left if that one gives up. Only if the first makes no headway should the
//! second fetch it beside, into a file of another name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek as _, Write};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use oci::{Digest, Hasher};
use rustix::fs::{FlockOperation, flock};

use crate::error::At as _;
use crate::write::{Temporary, sync_folder_of};
use crate::{Error, Store};

/// The end of the name of what can be gone on with.
const PART: &str = ".part";
/// What nobody has gone on with for this long is swept.
pub(crate) const LIFE: Duration = Duration::from_hours(24);

/// A blob that is being fetched. Dropped before [`Incoming::finish`], it leaves what has come.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    path: PathBuf,
    /// Deletes the file where nobody could go on with it.
    unique: Option<Temporary>,
    digest: Digest,
    promised: u64,
    hasher: Hasher,
    size: u64,
    /// The blob is in its place: somebody else has put it there.
    is_there: bool,
    shared: Arc<Shared>,
    store: Store,
}

/// How it stands with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is to be fetched, as far as it has not come.
    Ours,
    /// It is whole, and in its place.
    There,
    /// Somebody else fetches it, and has so many bytes.
    Elsewhere(u64),
}

/// Reads a blob while it is being fetched: waits for what has not come yet, and ends when it is
/// whole and right.
/// A clone begins at the start.
#[derive(Debug)]
pub struct Follower {
    at: u64,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Where they are. It is another one only before there are any.
    file: Arc<File>,
    n_bytes: u64,
    end: Option<End>,
    /// Nobody is to wait for more.
    is_stopped: bool,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Whole,
    GivenUp,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl Incoming {
    /// Begins, or goes on with what an earlier one left.
    pub(crate) fn begin(store: &Store, digest: &Digest, size: u64) -> Result<Self, Error> {
        let dir = store.root().join("ingest");
        let path = part(store, digest);
        let (file, path, unique) = if let Some(file) = open(&path)? {
            (file, path, None)
        } else {
            // Somebody else fetches it: whoever does not wait for that fetches it under another name.
            let unique = Temporary::create(&dir)?;
            let file = OpenOptions::new().read(true).write(true).open(&unique.path);
            (file.at("open", &unique.path)?, unique.path.clone(), Some(unique))
        };
        // A duplicate of our descriptor would hold our lock.
        let readable = Arc::new(File::open(&path).at("open", &path)?);
        let mut incoming = Self {
            file,
            path,
            unique,
            digest: digest.clone(),
            promised: size,
            hasher: Hasher::new(digest.algorithm()),
            size: 0,
            is_there: false,
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    file: readable,
                    n_bytes: 0,
                    end: None,
                    is_stopped: false,
                }),
                changed: Condvar::new(),
            }),
            store: store.clone(),
        };
        if incoming.unique.is_none() {
            incoming.settle()?;
        }
        Ok(incoming)
    }

    /// With the file that is good for this blob in our hands: it may have become one meanwhile.
    fn settle(&mut self) -> Result<(), Error> {
        if self.size == 0 && self.store.size(&self.digest)? == Some(self.promised) {
            fs::remove_file(&self.path).at("unlink", &self.path)?;
            return self.take_the_blob();
        }
        self.take_stock()
    }

    /// Somebody else has put it in its place.
    fn take_the_blob(&mut self) -> Result<(), Error> {
        let place = self.store.blob_path(&self.digest);
        let file = Arc::new(File::open(&place).at("open", &place)?);
        let size = self.promised;
        self.size = size;
        self.is_there = true;
        self.shared.change(|state| {
            state.file = file;
            state.n_bytes = size;
        });
        Ok(())
    }

    /// How it stands with the blob now. Where somebody else was fetching it, and has given up, it is
    /// ours to go on with. To be asked before anything is written.
    pub fn look_again(&mut self) -> Result<Standing, Error> {
        if self.is_there {
            return Ok(Standing::There);
        }
        if self.unique.is_none() || self.size > 0 {
            return Ok(Standing::Ours);
        }
        if self.store.size(&self.digest)? == Some(self.promised) {
            self.take_the_blob()?;
            return Ok(Standing::There);
        }
        let path = part(&self.store, &self.digest);
        let Some(file) = open(&path)? else {
            // It may be gone by now; then it shows the next time.
            let n_bytes = fs::metadata(&path).map_or(0, |found| found.len());
            return Ok(Standing::Elsewhere(n_bytes));
        };
        let readable = Arc::new(File::open(&path).at("open", &path)?);
        self.shared.change(|state| state.file = readable);
        self.file = file;
        self.path = path;
        // Deletes what there would have been beside.
        self.unique = None;
        self.settle()?;
        Ok(if self.is_there { Standing::There } else { Standing::Ours })
    }

    /// Hashes what is there.
    fn take_stock(&mut self) -> Result<(), Error> {
        let found = self.file.metadata().at("stat", &self.path)?.len();
        if found > self.promised {
            self.file.set_len(0).at("truncate", &self.path)?;
        }
        let mut buffer = vec![0; 1 << 20];
        loop {
            match self.file.read(&mut buffer).at("read", &self.path)? {
                0 => break,
                n => {
                    self.hasher.update(&buffer[..n]);
                    self.size += n as u64;
                }
            }
        }
        if self.size == self.promised && self.digest() != self.digest {
            // To go on with it would be to fail again for ever.
            self.file.set_len(0).at("truncate", &self.path)?;
            self.file.rewind().at("seek", &self.path)?;
            self.hasher = Hasher::new(self.digest.algorithm());
            self.size = 0;
        }
        let n_bytes = self.size;
        self.shared.change(|state| state.n_bytes = n_bytes);
        Ok(())
    }

    /// How many bytes have come.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What they hash to.
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Reads it from its start, while it comes.
    pub fn follow(&self) -> Follower {
        Follower { at: 0, shared: Arc::clone(&self.shared) }
    }

    /// Puts the blob in its place, if it is what was promised; if not, nothing of it is kept.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.is_there {
            self.shared.change(|state| state.end = Some(End::Whole));
            return Ok(());
        }
        let checked = self.check();
        if checked.is_err() && self.unique.is_none() {
            fs::remove_file(&self.path).at("unlink", &self.path)?;
        }
        checked?;
        failpoint::hit("content.sync").at("fsync", &self.path)?;
        self.file.sync_all().at("fsync", &self.path)?;
        let place = self.store.blob_path(&self.digest);
        failpoint::hit("content.rename").at("rename", &self.path)?;
        fs::rename(&self.path, &place).at("rename", &self.path)?;
        if let Some(unique) = &mut self.unique {
            unique.renamed = true;
        }
        failpoint::hit("content.renamed").at("rename", &place)?;
        sync_folder_of(&place)?;
        self.shared.change(|state| state.end = Some(End::Whole));
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.size != self.promised {
            let (digest, expected, found) = (self.digest.clone(), self.promised, self.size);
            return Err(Error::WrongSize { digest, expected, found });
        }
        let found = self.digest();
        if found != self.digest {
            return Err(Error::WrongDigest { expected: self.digest.clone(), found });
        }
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.shared.change(|state| state.end = state.end.or(Some(End::GivenUp)));
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.size + bytes.len() as u64 > self.promised {
            let why = format!("more than the {} bytes that were promised", self.promised);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        let n_bytes = self.size;
        self.shared.change(|state| state.n_bytes = n_bytes);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Clone for Follower {
    fn clone(&self) -> Self {
        Self { at: 0, shared: Arc::clone(&self.shared) }
    }
}

impl Follower {
    /// Waits until the blob is whole, right, and in its place.
    pub fn wait(&self) -> io::Result<()> {
        self.wait_for(u64::MAX).map(drop)
    }

    /// From now on, whoever reads it and would have to wait gets an error instead. It goes on being
    /// fetched.
    pub fn stop(&self) {
        self.shared.change(|state| state.is_stopped = true);
    }

    /// Waits until there is more than `at` bytes. How many there are; `at` or fewer: that is all.
    fn wait_for(&self, at: u64) -> io::Result<(u64, Arc<File>)> {
        let mut state = self.shared.lock();
        while state.n_bytes <= at {
            match state.end {
                Some(End::Whole) => break,
                Some(End::GivenUp) => {
                    let why = "the rest of the blob did not come";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                None if state.is_stopped => {
                    let why = "nobody needs the rest of the blob";
                    return Err(io::Error::other(why));
                }
                None => {}
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((state.n_bytes, Arc::clone(&state.file)))
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (n_there, file) = self.wait_for(self.at)?;
        let n_there = n_there.saturating_sub(self.at);
        let n = buffer.len().min(usize::try_from(n_there).unwrap_or(usize::MAX));
        let n_read = file.read_at(&mut buffer[..n], self.at)?;
        self.at += n_read as u64;
        Ok(n_read)
    }
}

/// Where what has come of a blob lies.
fn part(store: &Store, digest: &Digest) -> PathBuf {
    store.root().join("ingest").join(format!(
        "{}-{}{PART}",
        digest.algorithm().name(),
        digest.hex()
    ))
}

/// The file of this name, locked; `None` where somebody else has it.
fn open(path: &Path) -> Result<Option<File>, Error> {
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let file = options.custom_flags(flags).open(path).at("open", path)?;
        failpoint::hit("content.create").at("open", path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        // Before the lock was ours, the file may have become a blob.
        let ours = file.metadata().at("stat", path)?;
        match fs::symlink_metadata(path) {
            Ok(there) if there.ino() == ours.ino() => return Ok(Some(file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::Io { call: "stat", path: path.into(), source }),
        }
    }
}

/// Deletes what has come of blobs that nobody fetches now, though it could be gone on with. Bytes.
pub(crate) fn drop_parts(dir: &Path) -> Result<u64, Error> {
    let mut n_bytes = 0;
    for entry in fs::read_dir(dir).at("readdir", dir)? {
        let path = entry.at("readdir", dir)?.path();
        if !path.to_str().is_some_and(|name| name.ends_with(PART)) {
            continue;
        }
        // Whoever fetches it holds it; and looks, once it is his, whether it still has its name.
        let Ok(file) = File::open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            n_bytes += file.metadata().at("stat", &path)?.len();
            match fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.at("unlink", &path)?,
            }
        }
    }
    Ok(n_bytes)
}

/// Whether a file of `ingest/` may still be gone on with.
pub(crate) fn is_young_part(path: &Path) -> bool {
    let is_part = path.to_str().is_some_and(|name| name.ends_with(PART));
    let age = || SystemTime::now().duration_since(fs::metadata(path).ok()?.modified().ok()?).ok();
    is_part && age().is_none_or(|age| age < LIFE)
}
