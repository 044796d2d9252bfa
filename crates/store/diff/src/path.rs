//! Names in an archive, judged.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::Origin;

/// What to do about a name that is refused.
pub(crate) const ADVICE: &str = "make the archive with tar -C ROOT -c .";

/// A name inside the root: no part of it is `..`, and it starts at the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inside(PathBuf);

impl Inside {
    /// Takes a name as the archive has it. The error says what is wrong, after "entry X".
    pub(crate) fn new(name: &[u8], origin: Origin) -> Result<Self, String> {
        if name.is_empty() {
            return Err("has no name".into());
        }
        let mut path = PathBuf::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(format!("leads out of the root by \"..\"; {ADVICE}")),
                part => path.push(OsStr::from_bytes(part)),
            }
        }
        let is_absolute = name.starts_with(b"/") && !path.as_os_str().is_empty();
        if is_absolute && origin == Origin::Archive {
            return Err(format!("has an absolute name; {ADVICE}"));
        }
        Ok(Self(path))
    }

    /// The directory it is in, and its own name there. The root has none.
    pub(crate) fn split(&self) -> Option<(&Path, &OsStr)> {
        Some((self.0.parent()?, self.0.file_name()?))
    }

    pub(crate) fn as_path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_or_refused() {
        let new = |name: &str, origin| Inside::new(name.as_bytes(), origin);
        for (name, want) in
            [("a", "a"), ("./a//b/./c/", "a/b/c"), (".", ""), ("./", ""), ("/", ""), ("//.", "")]
        {
            assert_eq!(new(name, Origin::Archive).unwrap().as_path(), Path::new(want), "{name}");
        }
        assert_eq!(new("/a", Origin::Layer).unwrap().as_path(), Path::new("a"));
        for bad in ["", "..", "../a", "a/..", "a/../b", "/.."] {
            assert!(new(bad, Origin::Layer).is_err(), "{bad}");
        }
        assert!(new("/a", Origin::Archive).is_err());
        assert!(new("...", Origin::Archive).is_ok());
    }
}
