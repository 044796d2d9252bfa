//! Statements beside files: where a result is a directory or an archive, they lie at its top.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use fsroot::Root;
use oci::{Algorithm, Digest, Hasher};
use rustix::fs::{Dir, FileType, Mode, OFlags};

use super::Attested;
use crate::Error;
use crate::error::At as _;

/// Directories in directories at most: deeper ones are not looked into by their names.
const DEPTH: usize = 512;

/// A directory that holds the statements about all files of `tree`. Only in a room.
pub(crate) fn beside(tree: &Root, all: &[Attested], prefix: &str) -> Result<Root, Error> {
    let subjects = subjects(tree)?;
    let options = [("mode", Some("0755"))];
    let dir = mount::fs_mount("tmpfs", Some("dhow"), &options, sys::MountAttr::empty())?;
    let dir = Root::from_fd(dir);
    for one in all {
        let name = format!("{prefix}{}", one.filename);
        let bytes = images::statement(one.predicate_type, &one.says, &subjects)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = dir.open_with(&name, flags, Mode::from_raw_mode(0o600))?;
        std::fs::File::from(file).write_all(&bytes).at("write", Path::new(&name))?;
    }
    Ok(dir)
}

/// All files by their paths, with their digests.
fn subjects(tree: &Root) -> Result<Vec<(String, Digest)>, Error> {
    let mut found = Vec::new();
    let mut rest = vec![(OsString::new(), 0)];
    while let Some((path, depth)) = rest.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let dir = tree.open_with(&path, flags, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&dir).at("readdir", Path::new(&path))? {
            let entry = entry.at("readdir", Path::new(&path))?;
            let name = entry.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        names.sort();
        let mut inner = Vec::new();
        for name in names {
            let whole = if path.is_empty() { name.clone() } else { join(&path, &name) };
            let at = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statat(&dir, &name, at).at("stat", Path::new(&whole))?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if depth < DEPTH => inner.push((whole, depth + 1)),
                FileType::RegularFile => {
                    let digest = digest(&dir, &name).at("read", Path::new(&whole))?;
                    found.push((whole.to_string_lossy().into_owned(), digest));
                }
                _ => {}
            }
        }
        rest.extend(inner.into_iter().rev());
    }
    Ok(found)
}

fn join(path: &OsString, name: &OsString) -> OsString {
    Path::new(path).join(name).into_os_string()
}

fn digest(dir: &OwnedFd, name: &OsString) -> std::io::Result<Digest> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(dir.as_fd(), name, flags, Mode::empty())?;
    let (mut file, mut hasher) = (std::fs::File::from(file), Hasher::new(Algorithm::Sha256));
    let mut piece = vec![0; 1 << 16];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&piece[..n]),
        }
    }
}
