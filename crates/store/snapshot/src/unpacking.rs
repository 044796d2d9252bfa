//! A layer that is being made.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::Error;
use crate::error::At as _;

/// Makes names of one process differ.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A name that no other process alive uses.
pub fn unique_name() -> String {
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Whether the process lives that chose this name. It may be another one by now: then what the first
/// has left is found later.
pub fn maker_lives(name: &str) -> bool {
    let pid = name.split('-').next().unwrap_or_default();
    pid.parse().is_ok_and(|pid| started(pid).is_some())
}

/// When a process was started, in clock ticks since the boot. `None` where there is none, or it has ended and waits
/// for its parent: that one does nothing any more.
pub(crate) fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After its name, in brackets that may be in it as well: its state, and 19 fields later this, proc_pid_stat(5).
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next(), None | Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A directory that is being filled, under a temporary name and locked: what a dead process left
/// is known by that nobody holds its lock. Deleted when dropped.
#[derive(Debug)]
pub struct Unpacking {
    temporary: PathBuf,
    inner: &'static str,
    lock: File,
    done: bool,
}

impl Unpacking {
    /// The name of a layer's directory, inside its folder.
    pub const FS: &'static str = "fs";

    /// Makes a new one in the folder `dir`, to be filled in the directory `inner` of its own folder,
    /// which `make` makes.
    /// For those who implement a snapshotter.
    pub fn create(
        dir: &Path,
        inner: &'static str,
        make: impl Fn(&Path) -> io::Result<()>,
    ) -> Result<Self, Error> {
        loop {
            let temporary = dir.join(unique_name());
            match make(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.at("mkdir", &temporary)?,
            }
            let lock = match File::open(&temporary) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.at("open", &temporary)?,
            };
            // Before the lock is ours a sweeper may take the directory for a dead one's.
            let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
            let ours = lock.metadata().at("stat", &temporary)?.ino();
            let still = fs::symlink_metadata(&temporary).is_ok_and(|there| there.ino() == ours);
            if locked && still {
                return Ok(Self { temporary, inner, lock, done: false });
            }
        }
    }

    /// The directory to fill.
    pub fn path(&self) -> PathBuf {
        self.temporary.join(self.inner)
    }

    /// The folder that is renamed as a whole. For those who implement a snapshotter.
    pub fn folder(&self) -> &Path {
        &self.temporary
    }

    /// From now on the directory is this one. For those who implement a snapshotter.
    pub fn filled_in(mut self, inner: &'static str) -> Self {
        self.inner = inner;
        self
    }

    /// Brings it to the disk, if `sync`, and gives it its name. An error if something has the name
    /// already. For those who implement a snapshotter.
    pub fn rename_to(mut self, path: &Path, sync: bool) -> Result<(), Error> {
        match if sync { few_files(&self.temporary)? } else { Some(Vec::new()) } {
            Some(files) => sync_each(&files)?,
            None => rustix::fs::syncfs(&self.lock).at("syncfs", &self.temporary)?,
        }
        fs::rename(&self.temporary, path).at("rename", path)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be deleted now is swept later.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// Up to so many files are synced one by one. More of them cost less together, by syncing the whole
/// file system, which may have to wait for what others have written.
const FEW: usize = 64;

/// All regular files and directories of a tree, if they are few.
fn few_files(root: &Path) -> Result<Option<Vec<PathBuf>>, Error> {
    let mut found = vec![root.to_path_buf()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if !fs::symlink_metadata(&path).at("stat", &path)?.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&path).at("readdir", &path)? {
            let entry = entry.at("readdir", &path)?;
            let kind = entry.file_type().at("stat", &path)?;
            // What is neither lives in its directory, or is a device that must not be opened.
            if kind.is_file() || kind.is_dir() {
                found.push(entry.path());
            }
            if found.len() > FEW {
                return Ok(None);
            }
        }
    }
    Ok(Some(found))
}

fn sync_each(files: &[PathBuf]) -> Result<(), Error> {
    for path in files {
        File::open(path).and_then(|file| file.sync_all()).at("fsync", path)?;
    }
    Ok(())
}
