//! How a directory that a layer was unpacked into says what is not to be seen below it.

use std::ffi::{OsStr, OsString};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

/// Bytes of a name.
const LONGEST: usize = 255;

/// Said by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whiteouts {
    /// What overlayfs knows: a character device with the number 0:0, an attribute of a directory.
    Overlay,
    /// Files whose names an archive says it with ([`tree::WHITEOUT`], [`tree::OPAQUE`]; where such a
    /// name is too long, [`tree::LONG_WHITEOUT`]), for [`tree::merge`]. No layer can hold another file
    /// of such a name.
    Files,
}

impl Whiteouts {
    /// Hides `name`, where there is nothing.
    pub(crate) fn hide(self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        match self {
            Self::Overlay => {
                let mode = Mode::empty();
                rustix::fs::mknodat(dir, name, FileType::CharacterDevice, mode, 0)
            }
            Self::Files => {
                let marked = marked(name);
                let content = if is_long(name) { name.as_bytes() } else { b"" };
                mark(dir, &marked, content)
            }
        }
    }

    /// Takes back that `name` is hidden, where that is said by a file of another name. Whether it was.
    pub(crate) fn unhide(self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
        if self == Self::Overlay {
            return Ok(false);
        }
        match rustix::fs::unlinkat(dir, marked(name), AtFlags::empty()) {
            Ok(()) => Ok(true),
            // A directory of that name is none.
            Err(Errno::NOENT | Errno::ISDIR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether `name`, of which there is nothing, is hidden by a file of another name.
    pub(crate) fn is_hidden(self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
        if self == Self::Overlay {
            return Ok(false);
        }
        is_file(dir, &marked(name))
    }

    /// Whether what the layers below have in the directory `dir` (`O_PATH`) is hidden.
    pub(crate) fn is_opaque(self, dir: BorrowedFd<'_>) -> Result<bool, Errno> {
        match self {
            Self::Overlay => {
                let (path, name) = (fsroot::fd_path(dir), mount::overlay_attribute("opaque"));
                let mut value = [0; 2];
                match rustix::fs::getxattr(path, name, &mut value[..]) {
                    Err(Errno::NODATA | Errno::NOTSUP | Errno::RANGE) => Ok(false),
                    len => Ok(value[..len?] == *b"y"),
                }
            }
            Self::Files => is_file(dir, OsStr::from_bytes(tree::OPAQUE)),
        }
    }

    /// Hides what the layers below have in this directory.
    pub(crate) fn make_opaque(self, dir: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        match self {
            Self::Overlay => {
                let name = mount::overlay_attribute("opaque");
                rustix::fs::fsetxattr(dir, name, b"y", XattrFlags::empty())
            }
            Self::Files => {
                mark(std::os::fd::AsFd::as_fd(&dir), OsStr::from_bytes(tree::OPAQUE), b"")
            }
        }
    }
}

/// Whether the name of a whiteout would be longer than a file's can be.
fn is_long(name: &OsStr) -> bool {
    tree::WHITEOUT.len() + name.len() > LONGEST
}

fn is_file(dir: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        found => Ok(FileType::from_raw_mode(found?.st_mode).is_file()),
    }
}

fn marked(name: &OsStr) -> OsString {
    if is_long(name) {
        let digest = oci::Digest::sha256(name.as_bytes());
        return OsString::from_vec([tree::LONG_WHITEOUT, digest.hex().as_bytes()].concat());
    }
    OsString::from_vec([tree::WHITEOUT, name.as_bytes()].concat())
}

fn mark(dir: BorrowedFd<'_>, name: &OsStr, content: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o600)) {
        // Said already. A directory of that name, which only a layer that is odd has, is none.
        Err(Errno::EXIST) => match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode).is_file() => Ok(()),
            _ => Err(Errno::EXIST),
        },
        made => {
            let file = made?;
            // At most 255 bytes: written at once, or not at all.
            if !content.is_empty() && rustix::io::write(&file, content)? != content.len() {
                return Err(Errno::IO);
            }
            Ok(())
        }
    }
}
