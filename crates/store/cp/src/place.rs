//! Paths, as people give them.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use fsroot::Root;

/// A path, as a client gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As given, from the root.
    pub path: PathBuf,
    /// What it is called in archives.
    pub name: OsString,
    /// Whether a link at its end is followed: it was given with a `/` or `/.` at its end.
    pub follow: bool,
}

impl Place {
    /// Reads a path.
    pub fn new(given: &str) -> Self {
        let path = PathBuf::from(format!("/{}", given.trim_start_matches('/')));
        let follow = given.is_empty()
            || given.ends_with('/')
            || [".", ".."].iter().any(|end| given.rsplit('/').next() == Some(*end));
        let name = if given.trim_end_matches('/').rsplit('/').next() == Some(".") {
            OsString::from(".")
        } else {
            path.file_name().unwrap_or(OsStr::new("/")).to_owned()
        };
        Self { path, name, follow }
    }

    /// What it leads to (`O_PATH`).
    pub fn open(&self, root: &Root) -> Result<OwnedFd, sys::Error> {
        if self.follow { root.open_path(&self.path) } else { root.open_link(&self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_paths_say_whether_links_are_followed() {
        for (given, path, name, follow) in [
            ("/etc/passwd", "/etc/passwd", "passwd", false),
            ("etc", "/etc", "etc", false),
            ("/etc/", "/etc/", "etc", true),
            ("/etc/.", "/etc/.", ".", true),
            ("/etc/./", "/etc/./", ".", true),
            ("./", "/./", ".", true),
            ("/", "/", "/", true),
            ("", "/", "/", true),
            (".", "/.", ".", true),
        ] {
            let place = Place::new(given);
            let want = Place { path: path.into(), name: name.into(), follow };
            assert_eq!(place, want, "{given}");
            // Paths compare by their parts, and what is at the end makes the difference here.
            assert_eq!(place.path.as_os_str(), OsStr::new(path));
        }
    }
}
