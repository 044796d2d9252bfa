//! A directory for the sockets of one command, which nobody else can enter.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tokio::net::UnixListener;

use crate::error::{Error, Result};

/// What the names of such directories begin with.
const PREFIX: &str = "dhow-plugin-";
/// How many names are tried.
const TRIES: u32 = 1000;

/// The directory, until it is dropped.
#[derive(Debug)]
pub(super) struct Nest {
    path: PathBuf,
    /// Locked as long as somebody lives here.
    _lock: File,
}

impl Nest {
    /// Makes one below `XDG_RUNTIME_DIR`, else where temporary files are, and clears away those of commands
    /// that were killed.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(super) fn new() -> Result<Self> {
        let set = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let parent = set.filter(|path| path.is_absolute() && is_own(path));
        Self::below(&parent.unwrap_or_else(std::env::temp_dir))
    }

    fn below(parent: &Path) -> Result<Self> {
        sweep(parent);
        let name = |nth: u32| parent.join(format!("{PREFIX}{}-{nth}", std::process::id()));
        for nth in 0..TRIES {
            let path = name(nth);
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                // Another's, or left over by one with our number.
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(err) => return Err(Error::io(format!("create {}", path.display()))(err)),
            }
            // Who clears away may have been faster than we are.
            if let Some(lock) = lock(&path) {
                return Ok(Self { path, _lock: lock });
            }
        }
        Err(Error::Usage(format!(
            "{} and all names before it are taken",
            name(TRIES - 1).display()
        )))
    }

    /// The address of the engine's socket.
    pub(super) fn engine(&self) -> PathBuf {
        self.path.join("engine.sock")
    }

    /// That of the one which says when to end, see [`super::run`].
    pub(super) fn notices(&self) -> PathBuf {
        self.path.join("notices.sock")
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        // What is left is found by the next command.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Whether a directory is of who runs this. Whose it is may put something else in the place of what is in it, and
/// `XDG_RUNTIME_DIR` may be another's (`sudo` and `su` can keep it).
fn is_own(directory: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    directory.metadata().is_ok_and(|found| found.is_dir() && found.uid() == own)
}

/// Listens at an address in the nest.
pub(super) fn listen(path: &Path) -> Result<UnixListener> {
    UnixListener::bind(path).map_err(Error::io(format!("listen on {}", path.display())))
}

/// Removes the directories of ours in which nobody lives any more.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    let own = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let is_named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let path = entry.path();
        let is_ours =
            || path.symlink_metadata().is_ok_and(|found| found.is_dir() && found.uid() == own);
        if is_named
            && is_ours()
            && let Some(_lock) = lock(&path)
        {
            // What cannot be removed is tried again by the next command.
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// The lock of a directory that is there, if nobody has it.
fn lock(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let is_there = file.metadata().is_ok_and(|found| found.nlink() > 0);
    is_there.then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_nest_is_where_another_is_at_home() {
        let dir = std::env::temp_dir().join(format!("dhow-nest-own-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert!(is_own(&dir));
        assert!(!is_own(&dir.join("nothing")));
        // Who cannot give it away is not root, whose this is.
        let is_given = std::os::unix::fs::chown(&dir, Some(1), None).is_ok();
        assert!(!is_own(if is_given { dir.as_path() } else { Path::new("/") }));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_a_killed_command_left_is_cleared_away() {
        let parent = std::env::temp_dir().join(format!("dhow-nests-{}", std::process::id()));
        std::fs::create_dir_all(&parent).unwrap();
        let names = || std::fs::read_dir(&parent).unwrap().count();
        let first = Nest::below(&parent).unwrap();
        let mode = std::fs::metadata(&first.path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        std::fs::write(first.engine(), "").unwrap();
        // One beside another that lives.
        let second = Nest::below(&parent).unwrap();
        assert!(first.path != second.path);
        assert_eq!(names(), 2);
        drop(second);
        assert_eq!(names(), 1);
        // Killed: nothing is removed, and nobody has the lock. What is called otherwise is left alone.
        let left = parent.join(format!("{PREFIX}1-0"));
        std::fs::create_dir_all(left.join("engine.sock")).unwrap();
        std::fs::create_dir_all(parent.join("other")).unwrap();
        let third = Nest::below(&parent).unwrap();
        assert!(!left.exists());
        assert_eq!(names(), 3);
        drop((first, third));
        assert_eq!(names(), 1);
        std::fs::remove_dir_all(&parent).unwrap();
    }
}
