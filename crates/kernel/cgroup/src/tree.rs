//! One mounted tree, and directories in it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sys::Call;

/// v1 or v2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// One mounted tree.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) version: Version,
    /// Its controllers; of a named v1 tree `name=NAME`.
    pub(crate) controllers: Vec<String>,
    pub(crate) root: Dir,
}

impl Tree {
    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// A directory of a tree: one cgroup.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    pub(crate) fn new(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    /// Where it is, for people.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn resolve(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        sys::open_beneath(self.fd.as_fd(), name, flags)
    }

    /// The cgroup `name` (components divided by `/`) below this one.
    pub(crate) fn open(&self, name: &str) -> Result<Self, sys::Error> {
        let path = self.path.join(name);
        let fd = self
            .resolve(name, OFlags::PATH | OFlags::DIRECTORY)
            .call(|| format!("open({path:?}, O_PATH | O_DIRECTORY)"))?;
        Ok(Self { fd, path })
    }

    /// The same; `None` where it does not exist.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Self>, sys::Error> {
        present(self.open(name))
    }

    /// The same; this cgroup itself for the empty name.
    pub(crate) fn open_or_self(&self, name: &str) -> Result<Self, sys::Error> {
        self.open(if name.is_empty() { "." } else { name })
    }

    /// The directory open for reading, as bpf(2) and `CLONE_INTO_CGROUP` want it.
    pub(crate) fn for_reading(&self) -> Result<OwnedFd, sys::Error> {
        self.resolve(".", OFlags::RDONLY | OFlags::DIRECTORY)
            .call(|| format!("open({:?}, O_RDONLY | O_DIRECTORY)", self.path))
    }

    /// A file of it, open for writing.
    pub(crate) fn for_writing(&self, file: &str) -> Result<OwnedFd, sys::Error> {
        let text = || format!("open({:?}, O_WRONLY)", self.path.join(file));
        self.resolve(file, OFlags::WRONLY).call(text)
    }

    /// Makes the child `name`. Answers whether it is new.
    pub(crate) fn mkdir(&self, name: &str) -> Result<bool, sys::Error> {
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(sys::Error::new(format!("mkdir({:?})", self.path.join(name)), errno)),
        }
    }

    /// Removes the child `name`, which has no children. Answers whether it was there.
    pub(crate) fn rmdir(&self, name: &str) -> Result<bool, sys::Error> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(sys::Error::new(format!("rmdir({:?})", self.path.join(name)), errno)),
        }
    }

    /// The names of its children.
    pub(crate) fn children(&self) -> Result<Vec<String>, sys::Error> {
        let text = || format!("readdir({:?})", self.path);
        let fd = self.resolve(".", OFlags::RDONLY | OFlags::DIRECTORY).call(text)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(fd).call(text)? {
            let entry = match entry {
                // It was removed meanwhile.
                Err(Errno::NOENT) => break,
                other => other.call(text)?,
            };
            let name = entry.file_name().to_string_lossy();
            let is_dir = entry.file_type() == rustix::fs::FileType::Directory;
            if is_dir && name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    /// Whether it has the file.
    pub(crate) fn has(&self, file: &str) -> bool {
        self.resolve(file, OFlags::PATH).is_ok()
    }

    /// The whole of a file.
    pub(crate) fn read(&self, file: &str) -> Result<String, sys::Error> {
        let text = || format!("read({:?})", self.path.join(file));
        let fd = self.resolve(file, OFlags::RDONLY).call(text)?;
        let mut bytes = Vec::new();
        let mut chunk = [0_u8; 4096];
        loop {
            match rustix::io::read(&fd, &mut chunk) {
                Ok(0) => break,
                Ok(n) => bytes.extend_from_slice(&chunk[..n]),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(sys::Error::new(text(), errno)),
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The same; `None` where there is no such file, or where the cgroup was removed meanwhile.
    pub(crate) fn read_if_there(&self, file: &str) -> Result<Option<String>, sys::Error> {
        present(self.read(file))
    }

    /// A file of it, open for reading.
    pub(crate) fn for_reading_of(&self, file: &str) -> Result<OwnedFd, sys::Error> {
        let text = || format!("open({:?}, O_RDONLY)", self.path.join(file));
        self.resolve(file, OFlags::RDONLY).call(text)
    }

    /// Writes `value`, in one call, as every cgroup file wants it.
    pub(crate) fn write(&self, file: &str, value: &str) -> Result<(), sys::Error> {
        self.write_to(&self.for_writing_with(file, value)?, file, value)
    }

    /// Writes each value to its file, opening one anew only where it is not that of the value before.
    pub(crate) fn write_each(&self, writes: &[(&str, String)]) -> Result<(), sys::Error> {
        let mut open: Option<(&str, OwnedFd)> = None;
        for (file, value) in writes {
            let fd = match open.take() {
                Some((name, fd)) if name == *file => fd,
                _ => self.for_writing_with(file, value)?,
            };
            self.write_to(&fd, file, value)?;
            open = Some((file, fd));
        }
        Ok(())
    }

    fn for_writing_with(&self, file: &str, value: &str) -> Result<OwnedFd, sys::Error> {
        self.resolve(file, OFlags::WRONLY)
            .call(|| format!("write({:?}, {value:?})", self.path.join(file)))
    }

    fn write_to(&self, fd: &OwnedFd, file: &str, value: &str) -> Result<(), sys::Error> {
        let text = || format!("write({:?}, {value:?})", self.path.join(file));
        loop {
            match rustix::io::write(fd, value.as_bytes()) {
                Err(Errno::INTR) => {}
                Ok(n) if n < value.len() => return Err(sys::Error::new(text(), Errno::IO)),
                other => return other.map(drop).call(text),
            }
        }
    }

    /// Calls `visit` for this cgroup and all below it, the deepest first. What vanishes meanwhile
    /// is passed over.
    pub(crate) fn walk<E: From<sys::Error>>(
        &self,
        visit: &mut impl FnMut(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.walk_below(&mut |_, _, dir| visit(dir))?;
        visit(self)
    }

    /// Calls `visit` with each cgroup below this one, its parent and its name; the deepest first.
    ///
    /// A container may have nested cgroups deeper than a process can have descriptors, or a path
    /// can be long: so only the way down is remembered, by names, and the way up is `..`, which a
    /// directory of a cgroup tree keeps (none can be moved to another parent).
    pub(crate) fn walk_below<E: From<sys::Error>>(
        &self,
        visit: &mut impl FnMut(&Self, &str, &Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let listed = |dir: &Self| present(dir.children()).map(Option::unwrap_or_default);
        // The names on the way from here to `at`, and at each place those still to be visited.
        let mut way: Vec<String> = Vec::new();
        let mut left = vec![listed(self)?];
        let mut at: Option<Self> = None;
        while let Some(names) = left.last_mut() {
            let here = at.as_ref().unwrap_or(self);
            if let Some(name) = names.pop() {
                if let Some(child) = here.find(&name)? {
                    left.push(listed(&child)?);
                    way.push(name);
                    at = Some(child);
                }
                continue;
            }
            left.pop();
            let (Some(child), Some(name)) = (at.take(), way.pop()) else { break };
            let parent = (!way.is_empty()).then(|| child.parent()).transpose()?;
            visit(parent.as_ref().unwrap_or(self), &name, &child)?;
            at = parent;
        }
        Ok(())
    }

    /// The parent of a cgroup below another one that is held open.
    fn parent(&self) -> Result<Self, sys::Error> {
        let path = self.path.parent().unwrap_or(&self.path).to_owned();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, "..", flags, Mode::empty())
            .call(|| format!("open({path:?}, O_PATH | O_DIRECTORY)"))?;
        Ok(Self { fd, path })
    }
}

/// `None` for what is not there: no such file or directory, or a cgroup that was removed while it
/// was open.
pub(crate) fn present<T>(result: Result<T, sys::Error>) -> Result<Option<T>, sys::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(err) if matches!(err.errno(), Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(err) => Err(err),
    }
}
