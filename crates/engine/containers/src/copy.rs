//! Copying a directory of the merged view: what an image has where a volume is mounted.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod,
    fchown, futimens, mkdirat, mknodat, openat, symlinkat,
};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;
use crate::merged::{Directory, Entry};

/// How deep trees may be.
const MAX_DEPTH: usize = 256;

/// Copies all that `from` shows into the directory `to`, which is empty, with owners, modes, times
/// and extended attributes. Sockets are left out.
pub(crate) fn tree(from: &Directory, to: &Path) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let target = rustix::fs::open(to, flags, Mode::empty()).at("open", to)?;
    directory(from, &target, to, 0)
}

fn directory(from: &Directory, to: &OwnedFd, path: &Path, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG).at("copy", path);
    }
    for name in from.names()? {
        let below = path.join(&name);
        match from.entry(&name)? {
            None => {}
            Some(Entry::Link(target)) => {
                symlinkat(target.as_os_str(), to, name.as_os_str()).at("symlink", &below)?;
            }
            Some(Entry::Directory(child)) => {
                let name = name.as_os_str();
                mkdirat(to, name, Mode::from_raw_mode(0o700)).at("mkdir", &below)?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let target = openat(to, name, flags, Mode::empty()).at("open", &below)?;
                directory(&child, &target, &below, depth + 1)?;
            }
            Some(Entry::File(layer, stat)) => file(&layer, &name, &stat, to, &below)?,
        }
    }
    if let Some(stat) = from.stat()? {
        take_over(to, &stat).at("chown", path)?;
    }
    Ok(())
}

fn file(
    layer: &OwnedFd,
    name: &OsStr,
    stat: &Stat,
    to: &OwnedFd,
    path: &Path,
) -> Result<(), Error> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let source = openat(layer, name, flags, Mode::empty()).at("open", path)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let target = openat(to, name, flags, Mode::from_raw_mode(0o600)).at("create", path)?;
            let mut source = File::from(source);
            let mut target = File::from(target);
            io::copy(&mut source, &mut target).at("copy", path)?;
            attributes(&source, &target).at("setxattr", path)?;
            take_over(target.as_fd(), stat).at("chown", path)
        }
        kind @ (FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice) => {
            mknodat(to, name, kind, mode, stat.st_rdev).at("mknod", path)?;
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).at("chown", path)
        }
        _ => Ok(()),
    }
}

/// Owner, then mode (changing the owner takes the set-user-ID bit away), then times.
fn take_over(to: impl std::os::fd::AsFd, stat: &Stat) -> rustix::io::Result<()> {
    fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |tv_sec: i64, nanos: u64| Timespec {
        tv_sec,
        tv_nsec: i64::try_from(nanos).unwrap_or_default(),
    };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    futimens(&to, &times)
}

/// Extended attributes, overlayfs's own and the machine's labels left out.
fn attributes(from: &File, to: &File) -> rustix::io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        length => length?,
    };
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let is_overlays =
            name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
        if is_overlays || selinux::is_label(name) {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::fgetxattr(from, name, &mut value)?;
        rustix::fs::fsetxattr(to, name, &value[..length], rustix::fs::XattrFlags::empty())?;
    }
    Ok(())
}

impl Directory {
    /// Every name that some layer has here, whiteouts too.
    pub(crate) fn names(&self) -> Result<BTreeSet<std::ffi::OsString>, Error> {
        let here = Path::new(".");
        let mut names = BTreeSet::new();
        for layer in self.layers() {
            for entry in Dir::read_from(layer).at("readdir", here)? {
                let entry = entry.at("readdir", here)?;
                let name = OsStr::from_bytes(entry.file_name().to_bytes());
                if name != "." && name != ".." {
                    names.insert(name.to_owned());
                }
            }
        }
        Ok(names)
    }

    /// Of the topmost.
    fn stat(&self) -> Result<Option<Stat>, Error> {
        let top = self.layers().first();
        top.map(|layer| rustix::fs::fstat(layer).at("stat", Path::new("."))).transpose()
    }
}

/// How many bytes are in the files below a directory, as Docker counts: directories are none, and a file with
/// several names is one. What cannot be read counts as nothing.
///
/// Containers make trees as deep, and files with holes as large, as they like: one directory is open at a time.
pub(crate) fn size(path: &Path) -> u64 {
    let (mut bytes, mut seen) = (0_u64, HashSet::new());
    let mut rest = vec![path.to_owned()];
    while let Some(path) = rest.pop() {
        let Ok(entries) = fs::read_dir(&path) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => rest.push(entry.path()),
                Ok(meta) if meta.nlink() > 1 && !seen.insert((meta.dev(), meta.ino())) => {}
                Ok(meta) => bytes = bytes.saturating_add(meta.len()),
                Err(_) => {}
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_tree_is_counted_with_few_open_files() {
        let root = std::env::temp_dir().join(format!("dhow-size-{}", std::process::id()));
        let mut paths = vec![root.clone()];
        fs::create_dir(&root).unwrap();
        // As deep as a path can be.
        while paths.last().unwrap().as_os_str().len() < 4000 {
            let below = paths.last().unwrap().join("d");
            fs::create_dir(&below).unwrap();
            paths.push(below);
        }
        let file = paths.last().unwrap().join("f");
        fs::write(&file, "12345").unwrap();
        fs::hard_link(&file, root.join("name")).unwrap();
        assert_eq!(size(&root), 5);
        fs::remove_file(&file).unwrap();
        fs::remove_file(root.join("name")).unwrap();
        for path in paths.iter().rev() {
            fs::remove_dir(path).unwrap();
        }
    }
}
