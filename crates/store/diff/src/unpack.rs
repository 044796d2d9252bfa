//! Entry by entry.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;
use tarstream::{EndMark, Entry, Kind, Name, Reader};

use crate::late::Late;
use crate::path::{ADVICE, Inside};
use crate::unpacked::{Failure, Tree, file_type, is_whiteout, stat};
use crate::{Error, Options, Origin, Whiteouts, node};

pub(crate) use tree::{OPAQUE, WHITEOUT};

/// Others of this kind are aufs's bookkeeping.
const RESERVED: &[u8] = b".wh..wh.";

struct Unpacker<'a, R> {
    reader: Reader<R>,
    tree: Tree<'a>,
    options: &'a Options<'a>,
    /// Whether something was hidden by a file of another name.
    has_marks: bool,
    /// Whether the archive says what the root looks like.
    has_root: bool,
    buffer: Vec<u8>,
    size: u64,
}

/// Unpacks everything. How many bytes of files, and how many entries.
pub(crate) fn unpack(
    archive: &mut impl Read,
    root: &Path,
    options: &Options<'_>,
    wait: &dyn Fn() -> bool,
) -> Result<(u64, u64), Error> {
    let end_mark = match options.origin {
        Origin::Archive => EndMark::Required,
        Origin::Layer => EndMark::Optional,
    };
    let limits = tarstream::Limits { end_mark, ..tarstream::Limits::default() };
    let mut unpacker = Unpacker {
        reader: Reader::with_limits(archive, limits),
        tree: Tree::open(root, options.origin, options.below, wait)?,
        options,
        has_marks: false,
        has_root: false,
        buffer: vec![0; 128 << 10],
        size: 0,
    };
    let mut n_entries = 0;
    while let Some(entry) = unpacker.reader.next_entry()? {
        unpacker.entry(&entry)?;
        n_entries += 1;
    }
    if !unpacker.has_root {
        unpacker.tree.root_as_below()?;
    }
    unpacker.tree.finish_directories()?;
    Ok((unpacker.size, n_entries))
}

impl<R: Read> Unpacker<'_, R> {
    fn entry(&mut self, entry: &Entry) -> Result<(), Error> {
        self.grow(entry.size)?;
        let path =
            Inside::new(&entry.path, self.options.origin).map_err(|why| refused(entry, why))?;
        let Some((parent, name)) = path.split() else { return self.root(entry) };
        if name.as_bytes().starts_with(WHITEOUT) {
            return self.whiteout(entry, parent, name);
        }
        if entry.kind == Kind::CharDevice && entry.device == (0, 0) {
            // It would hide a file instead of being one.
            return Err(refused(entry, "is a device with the number 0:0"));
        }
        if entry.kind == Kind::HardLink {
            return self.hard_link(entry, parent, name);
        }
        self.make_way(entry, parent, name)?;
        let dir = self.tree.parent(parent).map_err(|failure| failed(entry, failure))?;
        match entry.kind {
            Kind::File => node::file(dir, name, entry, &mut self.reader, &mut self.buffer),
            Kind::Directory => {
                node::directory(dir, name, entry)?;
                self.tree.late.put(path.as_path(), Late::of(entry));
                if self.tree.late.are_many() { self.tree.finish_directories() } else { Ok(()) }
            }
            _ => node::special(dir, name, entry),
        }
    }

    /// The root itself, which is there: as anything else the rest would go to wherever it leads.
    fn root(&mut self, entry: &Entry) -> Result<(), Error> {
        if entry.kind != Kind::Directory {
            return Err(refused(entry, "is the root, and not a directory"));
        }
        self.has_root = true;
        node::attributes(self.tree.root(), entry)?;
        self.tree.late.put(Path::new(""), Late::of(entry));
        Ok(())
    }

    /// Removes what has the name already: a later entry replaces an earlier one. Only a directory
    /// stays for a directory.
    fn make_way(&mut self, entry: &Entry, parent: &Path, name: &OsStr) -> Result<(), Error> {
        let (has_below, whiteouts) = (self.tree.has_below(), self.options.whiteouts);
        let dir = self.tree.parent(parent).map_err(|failure| failed(entry, failure))?;
        let call = |name| move |source| Error::Call { entry: shown(entry), call: name, source };
        let hidden = |dir: BorrowedFd<'_>| {
            // The whiteout goes, but what it hid must stay hidden.
            rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o700)).map_err(call("mkdirat"))?;
            whiteouts.make_opaque(dir, name).map_err(call("setxattr"))
        };
        let Some(old) = stat(dir, name).map_err(call("stat"))? else {
            let was_hidden =
                self.has_marks && whiteouts.unhide(dir, name).map_err(call("unlink"))?;
            return if was_hidden && entry.kind == Kind::Directory { hidden(dir) } else { Ok(()) };
        };
        let is_directory = file_type(&old) == FileType::Directory;
        if is_directory && entry.kind == Kind::Directory {
            return Ok(());
        }
        if is_directory {
            let root = dir.try_clone_to_owned().map_err(|source| Error::Call {
                entry: shown(entry),
                call: "dup",
                source: Errno::from_io_error(&source).unwrap_or(Errno::IO),
            })?;
            let removed = fsroot::Root::from_fd(root).remove_all(name);
            removed.map_err(|error| call("remove")(error.errno()))?;
        } else {
            rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(call("unlink"))?;
        }
        if has_below && entry.kind == Kind::Directory && is_whiteout(&old) {
            hidden(dir)?;
        }
        self.tree.forget();
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, parent: &Path, name: &OsStr) -> Result<(), Error> {
        let target = tarstream::Name::from(entry.link.as_slice());
        let outside =
            || refused(entry, format!("is a hard link to {target}, outside the root; {ADVICE}"));
        let inside = Inside::new(&entry.link, self.options.origin).map_err(|_| outside())?;
        let Some((from, from_name)) = inside.split() else {
            return Err(refused(entry, format!("is a hard link to {target}, a directory")));
        };
        // A whiteout, or nothing: no layer has a file of such a name.
        if from_name.as_bytes().starts_with(WHITEOUT) {
            return Err(self.missing(entry));
        }
        let call = |name| move |source| Error::Call { entry: shown(entry), call: name, source };
        let here = match self.tree.existing_parent(from) {
            Err(Failure::Leaves) => return Err(outside()),
            Err(Failure::Call(_, Errno::NOENT) | Failure::NotADirectory(_)) => None,
            other => {
                let dir = other.map_err(|failure| failed(entry, failure))?;
                let found = stat(dir.as_fd(), from_name).map_err(call("stat"))?;
                found.map(|found| (dir, from_name.to_owned(), found))
            }
        };
        let (from, from_name, found) = match here {
            Some((.., found)) if is_whiteout(&found) => return Err(self.missing(entry)),
            Some(here) => here,
            None => self.bring_up(entry, inside.as_path())?,
        };
        if file_type(&found) == FileType::Directory {
            return Err(refused(entry, format!("is a hard link to {target}, a directory")));
        }
        let dir = self.tree.parent(parent).map_err(|failure| failed(entry, failure))?;
        let old = stat(dir, name).map_err(call("stat"))?;
        if old.is_some_and(|old| (old.st_dev, old.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(()); // A link to itself, or said twice.
        }
        self.make_way(entry, parent, name)?;
        let dir = self.tree.parent(parent).map_err(|failure| failed(entry, failure))?;
        rustix::fs::linkat(&from, &from_name, dir, name, AtFlags::empty()).map_err(call("linkat"))
    }

    fn missing(&self, entry: &Entry) -> Error {
        let target = tarstream::Name::from(entry.link.as_slice());
        let or_below = if self.tree.has_below() { " nor in the layers below" } else { "" };
        let not = if self.tree.has_below() { "neither" } else { "not" };
        refused(
            entry,
            format!("is a hard link to {target}, which is {not} in the archive{or_below}"),
        )
    }

    /// What a hard link names of the layers below, brought into this one: its directory, its name
    /// there, and what it is.
    fn bring_up(
        &mut self,
        entry: &Entry,
        target: &Path,
    ) -> Result<(OwnedFd, OsString, Stat), Error> {
        let on = |failure| failed(entry, failure);
        if !self.tree.has_below() {
            return Err(self.missing(entry));
        }
        self.tree.wait().map_err(on)?;
        let found = match self.tree.shown(target, self.options.whiteouts) {
            Ok(Some(found)) => found,
            Ok(None) | Err(Failure::NotADirectory(_)) => return Err(self.missing(entry)),
            Err(failure) => return Err(on(failure)),
        };
        if found.is_directory() {
            let target = tarstream::Name::from(entry.link.as_slice());
            return Err(refused(entry, format!("is a hard link to {target}, a directory")));
        }
        self.grow(found.size())?;
        let (dir, name) = found.bring(&mut self.tree).map_err(on)?;
        let call = |name| move |source| Error::Call { entry: shown(entry), call: name, source };
        let found = stat(dir.as_fd(), &name).map_err(call("stat"))?;
        Ok((dir, name, found.ok_or_else(|| call("stat")(Errno::NOENT))?))
    }

    /// Counts bytes of files.
    fn grow(&mut self, n_bytes: u64) -> Result<(), Error> {
        self.size = self.size.saturating_add(n_bytes);
        if self.size > self.options.limits.files {
            return Err(Error::TooLarge { max: self.options.limits.files });
        }
        Ok(())
    }

    /// `.wh.NAME`: NAME, of the layers below, is not to be seen.
    fn whiteout(&mut self, entry: &Entry, parent: &Path, name: &OsStr) -> Result<(), Error> {
        let name = name.as_bytes();
        if name != OPAQUE && name.starts_with(RESERVED) {
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(refused(entry, "is a whiteout of nothing that has a name"));
        }
        if !self.tree.has_below() {
            return Ok(());
        }
        let dir = self.tree.parent(parent).map_err(|failure| failed(entry, failure))?;
        let call = |name| move |source| Error::Call { entry: shown(entry), call: name, source };
        let whiteouts = self.options.whiteouts;
        if name == OPAQUE {
            return whiteouts.make_opaque(dir, OsStr::new(".")).map_err(call("setxattr"));
        }
        let hidden = OsStr::from_bytes(hidden);
        match stat(dir, hidden).map_err(call("stat"))? {
            // Whiteouts are about the layers below only: this layer's own directory stays, alone.
            Some(old) if file_type(&old) == FileType::Directory => {
                whiteouts.make_opaque(dir, hidden).map_err(call("setxattr"))
            }
            Some(_) => Ok(()),
            None => {
                self.has_marks |= whiteouts == Whiteouts::Files;
                whiteouts.hide(dir, hidden).map_err(call("mknodat"))
            }
        }
    }
}

fn shown(entry: &Entry) -> Name {
    Name::from(entry.path.as_slice())
}

fn refused(entry: &Entry, why: impl Into<String>) -> Error {
    Error::Refused { entry: shown(entry), why: why.into() }
}

fn failed(entry: &Entry, failure: Failure) -> Error {
    match failure {
        Failure::Leaves => {
            refused(entry, format!("leads out of the root through a symbolic link; {ADVICE}"))
        }
        Failure::NotADirectory(path) => {
            let path = Name::from(path.as_os_str().as_bytes());
            refused(entry, format!("is below {path}, which is no directory"))
        }
        Failure::Call(call, source) => Error::Call { entry: shown(entry), call, source },
    }
}
