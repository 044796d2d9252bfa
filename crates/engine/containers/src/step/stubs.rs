//! Mount points that are made for a step, and go afterwards: what its builder has mounted is no part of
//! what it writes.
//!
//! Where they will be made is computed before, from the layers. Afterwards those that are still empty
//! are removed, by descriptors of directories to which no symbolic link leads: a step may have put
//! links anywhere. A directory in which one was made, and in which nothing else has happened since, is
//! afterwards as old as before.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use fsroot::Root;
use rustix::fs::{AtFlags, FileType, Stat, Timespec, Timestamps, statat, unlinkat};
use rustix::io::Errno;
use snapshot::Mounts;

use crate::Error;
use crate::engine::Engine;
use crate::error::At as _;
use crate::merged::{Directory, Entry, MAX_LINKS, components};
use crate::mountpoints;
use crate::record::Container;

/// What the runtime mounts in every step.
const OURS: [&str; 5] = ["/proc", "/dev", "/sys", "/etc/hosts", "/etc/resolv.conf"];

/// The mount points of a step that were not there.
#[derive(Debug, Default)]
pub(super) struct Stubs {
    /// What takes what is written.
    writable: PathBuf,
    /// It holds nothing of what is below.
    is_overlay: bool,
    /// Relative to the root.
    missing: Vec<PathBuf>,
    /// The directories that were there, in which they are.
    parents: BTreeMap<PathBuf, Parent>,
}

/// A directory in which a mount point is made, directly or further below.
#[derive(Debug)]
struct Parent {
    /// Its times before.
    before: Timestamps,
    /// When it was last changed before the step began; none: it was not written to.
    noted: Option<(i64, i64)>,
}

impl Engine {
    /// Looks for the mount points that a step lacks.
    pub(super) fn stubs(&self, container: &Container) -> Result<Stubs, Error> {
        let Some(mounts) = self.layers(container)? else { return Ok(Stubs::default()) };
        let common = mountpoints::ensure(self.root())?;
        let root = Directory::root(mounts.stack().into_iter().chain([common.as_path()]))?;
        let mut stubs = Stubs {
            writable: mounts.writable().to_owned(),
            is_overlay: matches!(mounts, Mounts::Overlay { .. }),
            ..Stubs::default()
        };
        let asked = container.record.mounts.iter().map(|one| one.point.destination.as_str());
        for place in OURS.into_iter().chain(asked) {
            stubs.look(&root, Path::new(place))?;
        }
        // The innermost first.
        stubs.missing.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        stubs.missing.dedup();
        Ok(stubs)
    }
}

impl Stubs {
    /// Notes what is missing on the way to `place`, links followed as the runtime will.
    fn look(&mut self, root: &Directory, place: &Path) -> Result<(), Error> {
        let mut left = components(place);
        let mut stack = vec![(PathBuf::new(), root.try_clone()?)];
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == ".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                continue;
            }
            let Some((path, here)) = stack.last() else { return Ok(()) };
            match here.entry(&name)? {
                Some(Entry::Directory(directory)) => {
                    let path = path.join(name);
                    stack.push((path, directory));
                }
                Some(Entry::Link(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Ok(());
                    }
                    if Path::new(&target).is_absolute() {
                        stack.truncate(1);
                    }
                    let mut ahead = components(Path::new(&target));
                    ahead.append(&mut left);
                    left = ahead;
                }
                // The mount's place, or no place for one.
                Some(Entry::File(..)) => return Ok(()),
                None => {
                    let mut missing = path.join(name);
                    self.missing.push(missing.clone());
                    for name in left.into_iter().take_while(|name| name != "..") {
                        missing.push(name);
                        self.missing.push(missing.clone());
                    }
                    return self.keep_parents(&stack);
                }
            }
        }
        Ok(())
    }

    fn keep_parents(&mut self, stack: &[(PathBuf, Directory)]) -> Result<(), Error> {
        for (path, directory) in stack {
            let Some(top) = directory.layers().first() else { continue };
            let found = rustix::fs::fstat(top).at("stat", path)?;
            let before = times(&found);
            self.parents.entry(path.clone()).or_insert(Parent { before, noted: None });
        }
        Ok(())
    }

    /// Looks at what has been made, before the step begins.
    pub(super) fn note(&mut self) -> Result<(), Error> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let root = Root::open(&self.writable)?;
        for (path, parent) in &mut self.parents {
            parent.noted = open(&root, path)?.map(|(_, found)| changed(&found));
        }
        Ok(())
    }

    /// Removes those in which nothing is.
    pub(super) fn remove(self) -> Result<(), Error> {
        if self.missing.is_empty() {
            return Ok(());
        }
        failpoint::hit("engine.step-stubs").at("rmdir", &self.writable)?;
        let root = Root::open(&self.writable)?;
        let mut parents = Vec::new();
        for (path, parent) in self.parents {
            let Some((_, found)) = open(&root, &path)? else { continue };
            // One that the step has changed keeps the time that it has from that.
            let is_same = parent.noted == Some(changed(&found));
            let times = if is_same { parent.before } else { times(&found) };
            parents.push((path, times, is_same));
        }
        for path in &self.missing {
            remove_empty(&root, path)?;
        }
        parents.sort_by_key(|(path, ..)| std::cmp::Reverse(path.components().count()));
        for (path, times, is_same) in parents {
            // One that was only copied up is below all the same.
            let gone = is_same && self.is_overlay && remove_empty(&root, &path)?;
            if !gone && let Some((directory, _)) = open(&root, &path)? {
                rustix::fs::utimensat(&directory, "", &times, AtFlags::EMPTY_PATH)
                    .at("utimensat", &path)?;
            }
        }
        failpoint::hit("engine.step-stubs-gone").at("rmdir", &self.writable)
    }
}

fn time(tv_sec: i64, nanoseconds: i64) -> Timespec {
    Timespec { tv_sec, tv_nsec: nanoseconds as _ }
}

fn times(found: &Stat) -> Timestamps {
    Timestamps {
        last_access: time(found.st_atime, found.st_atime_nsec as i64),
        last_modification: time(found.st_mtime, found.st_mtime_nsec as i64),
    }
}

fn changed(found: &Stat) -> (i64, i64) {
    (found.st_ctime, found.st_ctime_nsec as i64)
}

/// A directory to which no link leads; `None` where there is none.
fn open(root: &Root, path: &Path) -> Result<Option<(OwnedFd, Stat)>, Error> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    match root.open_plain_directory(path) {
        Err(err) if matches!(err.errno(), Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        opened => {
            let directory = opened?;
            let found = rustix::fs::fstat(&directory).at("stat", path)?;
            Ok(Some((directory, found)))
        }
    }
}

/// Removes an empty directory, or an empty file. Whether it is gone.
fn remove_empty(root: &Root, path: &Path) -> Result<bool, Error> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
    let Some((above, _)) = open(root, above)? else { return Ok(false) };
    let found = match statat(&above, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(false),
        found => found.at("stat", path)?,
    };
    let flags = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => AtFlags::REMOVEDIR,
        FileType::RegularFile if found.st_size == 0 => AtFlags::empty(),
        _ => return Ok(false),
    };
    match unlinkat(&above, name, flags) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        Err(err) => Err(err).at("unlink", path),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("dhow-stubs-{}-{name}", std::process::id()));
            for inner in ["lower/etc", "upper", "outside/empty"] {
                fs::create_dir_all(path.join(inner)).unwrap();
            }
            Self(path)
        }

        fn stubs(&self, places: &[&str]) -> Stubs {
            let (upper, lower) = (self.0.join("upper"), self.0.join("lower"));
            let root = Directory::root([upper.as_path(), lower.as_path()]).unwrap();
            let mut stubs = Stubs { writable: upper, is_overlay: true, ..Stubs::default() };
            for place in places {
                stubs.look(&root, Path::new(place)).unwrap();
            }
            stubs.missing.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
            stubs
        }

        fn upper(&self, path: &str) -> PathBuf {
            self.0.join("upper").join(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_made_for_mounts_goes_and_what_was_used_stays() {
        let scratch = Scratch::new("go");
        symlink("/var/cache", scratch.0.join("lower/cache")).unwrap();
        let mut stubs = scratch.stubs(&["/a/b/c", "/etc/secret", "/cache/x", "/etc", "/used/y"]);
        let missing = [
            "a/b/c",
            "var/cache/x",
            "a/b",
            "etc/secret",
            "var/cache",
            "used/y",
            "a",
            "var",
            "used",
        ];
        assert_eq!(stubs.missing, missing.map(PathBuf::from));
        // As the runtime makes them, in an overlay.
        for dir in ["a/b/c", "var/cache/x", "etc", "used/y"] {
            fs::create_dir_all(scratch.upper(dir)).unwrap();
        }
        fs::write(scratch.upper("etc/secret"), "").unwrap();
        stubs.note().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(12));
        fs::write(scratch.upper("used/file"), "mine").unwrap();
        stubs.remove().unwrap();
        let left: Vec<_> = fs::read_dir(scratch.upper("")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert!(scratch.upper("used/file").exists() && !scratch.upper("used/y").exists());
    }

    #[test]
    fn a_directory_that_the_step_has_changed_stays() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::new("changed");
        let mut stubs = scratch.stubs(&["/etc/secret"]);
        fs::create_dir(scratch.upper("etc")).unwrap();
        fs::write(scratch.upper("etc/secret"), "").unwrap();
        stubs.note().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(12));
        fs::set_permissions(scratch.upper("etc"), fs::Permissions::from_mode(0o700)).unwrap();
        stubs.remove().unwrap();
        assert!(scratch.upper("etc").is_dir() && !scratch.upper("etc/secret").exists());
    }

    /// CVE-2024-23652.
    #[test]
    fn no_link_is_followed() {
        let scratch = Scratch::new("links");
        let mut stubs = scratch.stubs(&["/a/empty", "/b"]);
        fs::create_dir_all(scratch.upper("a/empty")).unwrap();
        fs::create_dir_all(scratch.upper("b")).unwrap();
        stubs.note().unwrap();
        fs::remove_dir_all(scratch.upper("a")).unwrap();
        fs::remove_dir(scratch.upper("b")).unwrap();
        symlink(scratch.0.join("outside"), scratch.upper("a")).unwrap();
        symlink(scratch.0.join("outside/empty"), scratch.upper("b")).unwrap();
        stubs.remove().unwrap();
        assert!(scratch.0.join("outside/empty").is_dir());
        assert!(fs::symlink_metadata(scratch.upper("a")).is_ok());
        assert!(fs::symlink_metadata(scratch.upper("b")).is_ok());
    }
}
