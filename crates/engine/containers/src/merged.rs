//! A container's files while nothing is mounted: its layers, looked at as overlayfs would show
//! them.
//!
//! Every step is one component, relative to the directories found so far, and no symbolic link is
//! ever followed by the kernel: links are resolved here, inside the root. So nothing in an image
//! leads out of it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::Error;
use crate::error::At as _;

/// How many symbolic links may be on the way, as in the kernel.
pub(crate) const MAX_LINKS: usize = 40;
/// Overlayfs's attribute of a directory that hides those of the same name below it.
const OPAQUE: &str = "opaque";

/// A directory of the merged view: those that it is made of, topmost first.
#[derive(Debug)]
pub(crate) struct Directory(Vec<OwnedFd>);

/// What a name in a directory is.
#[derive(Debug)]
pub(crate) enum Entry {
    Directory(Directory),
    /// A symbolic link, and where it points to.
    Link(OsString),
    /// Anything else: the directory of the layer that has it.
    File(OwnedFd, Stat),
}

impl Directory {
    /// The root of these layers, topmost first.
    pub(crate) fn root<'a>(layers: impl IntoIterator<Item = &'a Path>) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| rustix::fs::open(path, flags, Mode::empty()).at("open", path);
        Ok(Self(layers.into_iter().map(open).collect::<Result<_, _>>()?))
    }

    /// What `name` is; `None` where nothing is there.
    pub(crate) fn entry(&self, name: &OsStr) -> Result<Option<Entry>, Error> {
        let path = Path::new(name);
        let mut directories = Vec::new();
        for layer in &self.0 {
            let stat = match statat(layer, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                stat => stat.at("stat", path)?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = openat(layer, name, flags, Mode::empty()).at("open", path)?;
                let opaque = is_opaque(&directory);
                directories.push(directory);
                if opaque {
                    break;
                }
                continue;
            }
            // Below something that is no directory, a directory is hidden.
            if !directories.is_empty() {
                break;
            }
            if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
                return Ok(None);
            }
            if kind == FileType::Symlink {
                let target = readlinkat(layer, name, Vec::new()).at("readlink", path)?;
                return Ok(Some(Entry::Link(OsString::from_vec(target.into_bytes()))));
            }
            let layer = layer.try_clone().at("dup", path)?;
            return Ok(Some(Entry::File(layer, stat)));
        }
        Ok((!directories.is_empty()).then_some(Entry::Directory(Self(directories))))
    }

    /// What it is made of, topmost first.
    pub(crate) fn layers(&self) -> &[OwnedFd] {
        &self.0
    }

    pub(crate) fn try_clone(&self) -> Result<Self, Error> {
        let clone = |fd: &OwnedFd| fd.try_clone().at("dup", Path::new("/"));
        Ok(Self(self.0.iter().map(clone).collect::<Result<_, _>>()?))
    }
}

/// Whether that is a whiteout of overlayfs.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether a directory hides those of the same name below it.
pub(crate) fn is_opaque(directory: &OwnedFd) -> bool {
    let mut value = [0; 1];
    rustix::fs::fgetxattr(directory, mount::overlay_attribute(OPAQUE), &mut value)
        .is_ok_and(|len| len == 1)
        && value == *b"y"
}

/// What `path` leads to in the root, links followed also at the end; with its name in its layer's
/// directory. `None` where it leads to nothing.
pub(crate) fn resolve(root: &Directory, path: &Path) -> Result<Option<(OsString, Entry)>, Error> {
    let too_many = || Error::Io { call: "resolve", path: path.into(), source: Errno::LOOP.into() };
    let mut left: VecDeque<OsString> = components(path);
    let mut stack = vec![root.try_clone()?];
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            if stack.len() > 1 {
                stack.pop();
            }
            continue;
        }
        let Some(here) = stack.last() else { return Ok(None) };
        match here.entry(&name)? {
            Some(Entry::Directory(directory)) => stack.push(directory),
            Some(Entry::Link(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(too_many());
                }
                let target = PathBuf::from(target);
                if target.is_absolute() {
                    stack.truncate(1);
                }
                let mut ahead = components(&target);
                ahead.append(&mut left);
                left = ahead;
            }
            Some(file) if left.is_empty() => return Ok(Some((name, file))),
            // Nothing, or something below a file.
            None | Some(Entry::File(..)) => return Ok(None),
        }
    }
    Ok(stack.pop().map(|directory| (OsString::new(), Entry::Directory(directory))))
}

/// The names that a path consists of, `..` among them.
pub(crate) fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// The contents of the file at `path`, of which `max` bytes at most; nothing where there is no
/// regular file.
pub(crate) fn read(root: &Directory, path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let Some((name, Entry::File(layer, stat))) = resolve(root, path)? else {
        return Ok(Vec::new());
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(Vec::new());
    }
    // Not to wait for ever for the other side of a fifo, should it be one by now.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(layer.as_fd(), name.as_os_str(), flags, Mode::empty()).at("open", path)?;
    let mut bytes = Vec::new();
    File::from(file).take(max).read_to_end(&mut bytes).at("read", path)?;
    Ok(bytes)
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
                std::env::temp_dir().join(format!("dhow-merged-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn layer(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
            let layer = self.0.join(name);
            fs::create_dir_all(&layer).unwrap();
            for (file, text) in files {
                let path = layer.join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                match text.strip_prefix("-> ") {
                    Some(target) => symlink(target, path).unwrap(),
                    None => fs::write(path, text).unwrap(),
                }
            }
            layer
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn text(root: &Directory, path: &str) -> String {
        String::from_utf8(read(root, Path::new(path), 1 << 20).unwrap()).unwrap()
    }

    #[test]
    fn the_topmost_counts_and_links_stay_inside() {
        let scratch = Scratch::new("links");
        fs::write(scratch.0.join("secret"), "host").unwrap();
        let lower = scratch.layer(
            "lower",
            &[
                ("etc/passwd", "lower"),
                ("etc/group", "lower"),
                ("real/etc/x", "x"),
                ("abs", "-> /etc/group"),
                ("up", "-> ../../../../../../etc/group"),
                ("loop", "-> loop"),
                ("out", "-> ../../secret"),
            ],
        );
        let upper = scratch.layer("upper", &[("etc/passwd", "upper"), ("dir", "-> /real/etc")]);
        let root = Directory::root([upper.as_path(), lower.as_path()]).unwrap();
        assert_eq!(text(&root, "/etc/passwd"), "upper");
        assert_eq!(text(&root, "etc/group"), "lower");
        assert_eq!(text(&root, "/abs"), "lower");
        assert_eq!(text(&root, "/up"), "lower");
        assert_eq!(text(&root, "/dir/x"), "x");
        assert_eq!(text(&root, "/dir/../passwd"), "");
        assert_eq!(text(&root, "/out"), "");
        assert_eq!(text(&root, "/etc"), "");
        assert!(read(&root, Path::new("/loop"), 10).is_err());
        assert!(root.entry(OsStr::new("loop")).unwrap().is_some());
        assert!(root.entry(OsStr::new("nope")).unwrap().is_none());
    }

    #[test]
    fn whiteouts_hide_what_is_below() {
        let scratch = Scratch::new("whiteouts");
        let lower = scratch.layer("lower", &[("etc/passwd", "lower"), ("gone/file", "x")]);
        let upper = scratch.layer("upper", &[("etc/group", "upper"), ("gone/other", "y")]);
        let made = rustix::fs::mknodat(
            rustix::fs::CWD,
            upper.join("etc/passwd"),
            FileType::CharacterDevice,
            Mode::empty(),
            0,
        );
        let opaque = rustix::fs::setxattr(
            upper.join("gone"),
            mount::overlay_attribute(OPAQUE),
            b"y",
            rustix::fs::XattrFlags::empty(),
        );
        if made.is_err() || opaque.is_err() {
            println!("skipped: whiteouts_hide_what_is_below: no right to make whiteouts");
            return;
        }
        let root = Directory::root([upper.as_path(), lower.as_path()]).unwrap();
        assert_eq!(text(&root, "/etc/passwd"), "");
        assert_eq!(text(&root, "/etc/group"), "upper");
        assert_eq!(text(&root, "/gone/file"), "");
        assert_eq!(text(&root, "/gone/other"), "y");
    }
}
