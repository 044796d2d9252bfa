//! Paths that are sent, and their order.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use fsroot::Root;

use super::Error;

/// The longest path, in bytes: `PATH_MAX` less its end.
const PATH_BYTES: usize = 4095;
/// The longest name, in bytes: `NAME_MAX`.
const NAME_BYTES: usize = 255;

/// Takes a path apart: the directory that it is in (empty: the root) and its name. It is relative, and
/// has no part that is empty, `.` or `..`.
///
/// # Errors
///
/// It is no such path.
pub(crate) fn split(path: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let wrong = |why| Error::Path { path: shown(path), why };
    if path.is_empty() {
        return Err(wrong("an empty path"));
    }
    if path.len() > PATH_BYTES {
        return Err(wrong("longer than a path can be"));
    }
    if path.starts_with(b"/") {
        return Err(wrong("an absolute path"));
    }
    if path.contains(&0) {
        return Err(wrong("a path with a zero byte"));
    }
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => return Err(wrong("a path that is not clean")),
            b".." => return Err(wrong("a path that leads out")),
            part if part.len() > NAME_BYTES => return Err(wrong("longer than a name can be")),
            _ => {}
        }
    }
    Ok(match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"".as_slice(), path),
    })
}

/// The directory `path` (empty: the root), to which no link leads.
///
/// # Errors
///
/// It is not there, or a link is on the way.
pub(crate) fn open_directory(root: &Root, path: &[u8]) -> Result<OwnedFd, Error> {
    let path = if path.is_empty() { b".".as_slice() } else { path };
    Ok(root.open_plain_directory(OsStr::from_bytes(path))?)
}

/// Whether `first` comes before `second` in a walk: part by part, bytes as they are.
pub(crate) fn is_before(first: &[u8], second: &[u8]) -> bool {
    let parts =
        |path: &[u8]| path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    parts(first) < parts(second)
}

/// A path for people.
pub(crate) fn shown(path: &[u8]) -> String {
    const SHOWN: usize = 200;
    let (start, rest) = path.split_at(path.len().min(SHOWN));
    let end = if rest.is_empty() { "" } else { "…" };
    format!("{}{end}", String::from_utf8_lossy(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_path() {
        assert_eq!(split(b"a").unwrap(), (b"".as_slice(), b"a".as_slice()));
        assert_eq!(split(b"a/b/c").unwrap(), (b"a/b".as_slice(), b"c".as_slice()));
        assert_eq!(split(b"a/..b").unwrap().1, b"..b");
        let long = vec![b'a'; 256];
        let deep = b"a/".repeat(3000);
        for path in [
            b"".as_slice(),
            b"/",
            b"/a",
            b"..",
            "../a".as_bytes(),
            b"a/..",
            b"a/../b",
            b".",
            b"a/.",
            b"./a",
            b"a//b",
            b"a/",
            b"a\0",
            &long,
            &deep,
        ] {
            assert!(split(path).is_err(), "{}", shown(path));
        }
    }

    #[test]
    fn order_is_of_names_not_of_bytes() {
        assert!(is_before(b"a/z", b"a.b"));
        assert!(is_before(b"a", b"a/b"));
        assert!(!is_before(b"a", b"a"));
        assert!(!is_before(b"b", b"a/c"));
    }
}
