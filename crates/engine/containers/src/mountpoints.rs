//! The lowest layer of every container: the files and directories that something of the engine's is
//! mounted on, empty. An image that has its own covers these; one that has none gets no new entries
//! in the container's writable layer, where `diff` and `commit` would take them for the container's.
//! A root that is no overlay gets what it lacks of them as its own, which `diff` and `commit` leave
//! out.
//!
//! A container's, but not that of a build's step, also has what programs look for in one of Docker's:
//! `/.dockerenv`, by which they know where they are, and a link to the table of what is mounted.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fsroot::Root;
use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;

/// Parents first.
const DIRECTORIES: [&str; 5] = ["", "dev", "etc", "proc", "sys"];
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

const MARK: &str = ".dockerenv";
const MTAB: (&str, &str) = ("etc/mtab", "/proc/mounts");

/// Makes the layer of a build's step below `root`, the engine's, where it is not whole; where it is.
pub(crate) fn ensure(root: &Path) -> Result<PathBuf, Error> {
    let layer = root.join("mountpoints");
    // Made last: what was begun and not finished lacks it.
    if !layer.join(FILES[FILES.len() - 1]).exists() {
        make(&layer)?;
    }
    Ok(layer)
}

/// The same for a container. Who makes one makes both, so that an engine's files do not depend on what
/// came first.
pub(crate) fn ensure_of_container(root: &Path) -> Result<PathBuf, Error> {
    ensure(root)?;
    let layer = root.join("lowest");
    let (mark, mtab) = (layer.join(MARK), layer.join(MTAB.0));
    if mark.exists() {
        return Ok(layer);
    }
    make(&layer)?;
    match std::os::unix::fs::symlink(MTAB.1, &mtab) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
        made => made.at("symlink", &mtab)?,
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o755);
    options.open(&mark).at("open", &mark)?;
    Ok(layer)
}

fn make(layer: &Path) -> Result<(), Error> {
    for directory in DIRECTORIES {
        let path = layer.join(directory);
        match DirBuilder::new().mode(0o755).create(&path) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.at("mkdir", &path)?,
        }
    }
    for file in FILES {
        let path = layer.join(file);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o644);
        options.open(&path).at("open", &path)?;
    }
    Ok(())
}

/// Makes what is missing in the directory `root` of a container, or of a step, whose directories stay as old
/// as they are.
pub(crate) fn fill(root: &Path, is_step: bool) -> Result<(), Error> {
    let inside = Root::open(root)?;
    let directories = DIRECTORIES[1..].iter().map(|name| (*name, Kind::Directory));
    let files = FILES.iter().map(|name| (*name, Kind::File(0o644)));
    let docker = [(MARK, Kind::File(0o755)), (MTAB.0, Kind::Link(MTAB.1))];
    let docker = docker.into_iter().filter(|_| !is_step);
    for (name, kind) in directories.chain(files).chain(docker) {
        let path = root.join(name);
        // As it will be found: a link of the image's leads somewhere inside, or nowhere.
        let (parent, name) = match inside.parent(name) {
            Err(err) if matches!(err.errno(), Errno::NOENT | Errno::NOTDIR) => continue,
            parent => parent?,
        };
        let before = rustix::fs::fstat(&parent).at("stat", &path)?;
        let mode = |mode| Mode::from_raw_mode(mode);
        let made = match kind {
            Kind::Directory => rustix::fs::mkdirat(&parent, &name, mode(0o755)),
            Kind::File(bits) => {
                rustix::fs::mknodat(&parent, &name, FileType::RegularFile, mode(bits), 0)
            }
            Kind::Link(target) => rustix::fs::symlinkat(target, &parent, &name),
        };
        match made {
            Err(Errno::EXIST) => continue,
            made => made.at("make", &path)?,
        }
        let time = Timespec { tv_sec: before.st_mtime, tv_nsec: before.st_mtime_nsec as _ };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(&parent, "", &times, AtFlags::EMPTY_PATH).at("utimensat", &path)?;
    }
    Ok(())
}

/// What is to be there.
enum Kind {
    Directory,
    /// Empty, with this mode.
    File(u32),
    /// A link to this.
    Link(&'static str),
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_a_root_lacks_is_made_and_its_directories_stay_as_old() {
        let root = std::env::temp_dir().join(format!("dhow-fill-{}", std::process::id()));
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::os::unix::fs::symlink("/elsewhere", root.join("sys")).unwrap();
        std::fs::write(root.join("etc/hosts"), "mine").unwrap();
        let time = |name: &str| {
            let found = std::fs::metadata(root.join(name)).unwrap();
            (found.mtime(), found.mtime_nsec())
        };
        let before = (time(""), time("etc"));
        std::thread::sleep(std::time::Duration::from_millis(12));
        for _ in 0..2 {
            fill(&root, true).unwrap();
            assert_eq!((time(""), time("etc")), before);
        }
        assert!(root.join("proc").is_dir() && root.join("etc/hostname").is_file());
        assert_eq!(std::fs::read_to_string(root.join("etc/hosts")).unwrap(), "mine");
        assert!(std::fs::read_link(root.join("sys")).is_ok());
        assert!(!root.join(".dockerenv").exists());
        fill(&root, false).unwrap();
        assert_eq!((time(""), time("etc")), before);
        assert!(root.join(".dockerenv").is_file());
        assert_eq!(std::fs::read_link(root.join("etc/mtab")).unwrap(), Path::new("/proc/mounts"));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn it_is_made_once_and_completed_when_that_was_cut_short() {
        let root = std::env::temp_dir().join(format!("dhow-mountpoints-{}", std::process::id()));
        std::fs::create_dir_all(root.join("mountpoints/etc")).unwrap();
        let layer = ensure(&root).unwrap();
        assert!(layer.join("etc/resolv.conf").is_file() && layer.join("proc").is_dir());
        assert_eq!(ensure(&root).unwrap(), layer);
        std::fs::create_dir_all(root.join("lowest/etc")).unwrap();
        std::os::unix::fs::symlink("/proc/mounts", root.join("lowest/etc/mtab")).unwrap();
        let layer = ensure_of_container(&root).unwrap();
        assert!(layer.join(".dockerenv").is_file() && layer.join("etc/mtab").is_symlink());
        assert!(layer.join("etc/resolv.conf").is_file());
        assert_eq!(ensure_of_container(&root).unwrap(), layer);
        std::fs::remove_dir_all(root).unwrap();
    }
}
