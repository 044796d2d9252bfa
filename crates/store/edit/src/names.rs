//! Paths as operations name them: `/` separates, and what is at the end says what is meant.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// The path from the root, without `.` and `..` (Go's `path.Join("/", …)`).
pub(crate) fn absolute(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            _ => {}
        }
    }
    clean
}

/// A path and what its end says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// From the root, clean.
    pub(crate) path: PathBuf,
    /// How it ends.
    pub(crate) end: End,
}

/// How a path ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In a name.
    Name,
    /// In `/`: a directory.
    Slash,
    /// In `/.`: the inside of a directory.
    Dot,
}

impl Named {
    pub(crate) fn new(path: impl AsRef<Path>) -> Self {
        let bytes = path.as_ref().as_os_str().as_bytes();
        let clean = absolute(path.as_ref());
        let end = match bytes {
            _ if clean.as_os_str() == "/" && !bytes.ends_with(b"/.") => End::Name,
            _ if bytes.ends_with(b"/.") => End::Dot,
            _ if bytes.ends_with(b"/") => End::Slash,
            _ => End::Name,
        };
        Self { path: clean, end }
    }

    /// What it is called where it is put into a directory; `.` where it is the directory's inside.
    pub(crate) fn base(&self) -> &OsStr {
        let name = self.path.file_name().filter(|_| self.end != End::Dot);
        name.unwrap_or(OsStr::new("."))
    }

    /// The directory that has to be there before something comes to this path.
    pub(crate) fn directory(&self) -> &Path {
        match self.end {
            End::Name => self.path.parent().unwrap_or(&self.path),
            End::Slash | End::Dot => &self.path,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_kept() {
        for (given, path, end, base, directory) in [
            ("a", "/a", End::Name, "a", "/"),
            ("/a/b/", "/a/b", End::Slash, "b", "/a/b"),
            ("/a/.", "/a", End::Dot, ".", "/a"),
            ("/", "/", End::Name, ".", "/"),
            ("", "/", End::Name, ".", "/"),
            ("/.", "/", End::Dot, ".", "/"),
            ("/..", "/", End::Name, ".", "/"),
            ("../../etc", "/etc", End::Name, "etc", "/"),
            ("/a/../b//c/./", "/b/c", End::Slash, "c", "/b/c"),
        ] {
            let named = Named::new(given);
            assert_eq!((named.path.to_str().unwrap(), named.end), (path, end), "{given}");
            assert_eq!(named.base(), base, "{given}");
            assert_eq!(named.directory(), Path::new(directory), "{given}");
        }
    }
}
