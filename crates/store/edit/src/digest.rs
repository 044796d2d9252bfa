//! What a copy takes, as a digest.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use buildgraph::Copy;
use dockerfile::ignore::{self, Filter};
use fsroot::Root;
use oci::{Algorithm, Digest, Hasher};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::attributes::Handle;
use crate::copy::Taken;
use crate::error::At as _;
use crate::names::{End, Named};
use crate::owner::open_known;
use crate::source::{Taker, Way, take};
use crate::{Error, Listing, Memo, attributes, memo, place};

/// What every digest begins with: another one where what is hashed, or how, becomes another.
const VERSION: &[u8] = b"dhow edit 1";

/// The identity of what `copy` takes out of `root`: the names that it brings, and of each file its kind, mode,
/// owner, bytes, link, device and the extended attributes that are copied; which names are of one file. Never
/// times, nor where the source is. So of two copies that differ in [`Copy::source`] alone, equal digests mean
/// equal results. A source that is not there is [`Error::NotFound`], a pattern without a match has a digest of
/// its own.
///
/// It is that of what is there now: who uses it as the key of a result sees to it that the tree stays as it is
/// until that is made.
pub fn digest(root: &Root, copy: &Copy, memo: &mut Memo) -> Result<Digest, Error> {
    listed(root, copy, memo).map(|(digest, _)| digest)
}

/// The same, with the files that it is of.
pub fn listed(root: &Root, copy: &Copy, memo: &mut Memo) -> Result<(Digest, Listing), Error> {
    let taken = Taken::new(copy)?;
    for path in std::iter::once(&taken.source.path).chain(&taken.required) {
        let is_pattern = copy.wildcards && ignore::has_wildcards(&path.to_string_lossy());
        if !is_pattern && place::find(root, path, copy.follow_links)?.is_err() {
            return Err(Error::NotFound(path.clone()));
        }
    }
    let mut hash = Hash::new(memo, root)?;
    for path in taken.sources(root, copy)? {
        let end = if path == taken.source.path { taken.source.end } else { End::Name };
        let source = Named { path, end };
        hash.source(root, &source, copy.follow_links, copy.contents_only, &taken.filter)?;
    }
    Ok((hash.hasher.finish(), hash.listing))
}

/// The identity of what is at `path` in `root`, links followed: with all that is below, and without what it is
/// called. For what is mounted, say.
pub fn digest_path(root: &Root, path: &Path, memo: &mut Memo) -> Result<Digest, Error> {
    let mut hash = Hash::new(memo, root)?;
    let source = Named { path: Named::new(path).path, end: End::Dot };
    hash.source(root, &source, true, false, &Filter::default())?;
    Ok(hash.hasher.finish())
}

struct Hash<'a> {
    hasher: Hasher,
    memo: &'a mut Memo,
    /// The file system that the memo is of.
    device: u64,
    /// The top directory is not itself taken.
    contents_only: bool,
    is_top: Vec<bool>,
    /// Files of several names: which of them it was, counted.
    links: HashMap<(u64, u64), u64>,
    /// What is looked at, for errors.
    shown: PathBuf,
    buffer: Vec<u8>,
    listing: Listing,
}

impl<'a> Hash<'a> {
    fn new(memo: &'a mut Memo, root: &Root) -> Result<Self, Error> {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(VERSION);
        let device = rustix::fs::fstat(root).at("stat", "/")?.st_dev;
        Ok(Self {
            hasher,
            memo,
            device,
            contents_only: false,
            is_top: Vec::new(),
            links: HashMap::new(),
            shown: PathBuf::new(),
            buffer: Vec::new(),
            listing: Listing::default(),
        })
    }

    fn source(
        &mut self,
        root: &Root,
        source: &Named,
        follow: bool,
        contents_only: bool,
        filter: &Filter,
    ) -> Result<(), Error> {
        let found = place::find(root, &source.path, follow)?;
        let found = found.map_err(|_| Error::NotFound(source.path.clone()))?;
        self.contents_only = contents_only && found.kind() == FileType::Directory;
        let name = if self.contents_only { OsStr::new(place::ITSELF) } else { source.base() };
        self.field(b's', name.as_bytes());
        self.shown.clone_from(&source.path);
        self.links.clear();
        take(&found, &source.path, filter, self)
    }

    /// A field: what it is, how long, and its bytes. So no two sequences of fields have the same bytes.
    fn field(&mut self, what: u8, bytes: &[u8]) {
        self.hasher.update(&[what]);
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    /// What all have: kind, mode, owner.
    fn header(&mut self, stat: &Stat) {
        let kind = FileType::from_raw_mode(stat.st_mode);
        // Where no mode counts, some file systems have one of their own.
        let mode = if kind == FileType::Symlink { 0o120_777 } else { stat.st_mode };
        let device = match kind {
            FileType::CharacterDevice | FileType::BlockDevice => stat.st_rdev,
            _ => 0,
        };
        let mut header = [0; 20];
        header[..4].copy_from_slice(&mode.to_le_bytes());
        header[4..8].copy_from_slice(&stat.st_uid.to_le_bytes());
        header[8..12].copy_from_slice(&stat.st_gid.to_le_bytes());
        header[12..].copy_from_slice(&device.to_le_bytes());
        self.field(b'h', &header);
    }

    /// The bytes and extended attributes of what is no directory.
    fn body(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<[u8; 32], Error> {
        let shown = if self.is_top.is_empty() { self.shown.clone() } else { self.shown.join(name) };
        let start = memo::now();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = rustix::fs::openat(directory, name, flags, Mode::empty()).at("open", &shown)?;
        let before = rustix::fs::fstat(&node).at("stat", &shown)?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut file = None;
        match FileType::from_raw_mode(before.st_mode) {
            FileType::RegularFile => {
                let opened = File::from(open_known(&node, OFlags::RDONLY, &shown)?);
                self.bytes(&opened, &mut hasher, &shown)?;
                file = Some(opened);
            }
            FileType::Symlink => {
                let text = rustix::fs::readlinkat(&node, "", Vec::new()).at("readlink", &shown)?;
                hasher.update(text.to_bytes());
            }
            _ => {}
        }
        let content = memo::raw(hasher);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&content);
        let reached = match &file {
            Some(file) => Handle::Open(file.as_fd()),
            None => Handle::Path(node.as_fd()),
        };
        hash_xattrs(&mut hasher, reached, &shown)?;
        let body = memo::raw(hasher);
        if before.st_dev == self.device {
            let after = rustix::fs::fstat(&node).at("stat", &shown)?;
            self.memo.put(start, &before, &after, body);
        }
        Ok(body)
    }

    fn bytes(&mut self, mut file: &File, hasher: &mut Hasher, shown: &Path) -> Result<(), Error> {
        self.buffer.resize(128 << 10, 0);
        loop {
            match file.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => hasher.update(&self.buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    return Err(errno).at("read", shown);
                }
            }
        }
    }
}

/// Hashes the extended attributes that are copied.
fn hash_xattrs(hasher: &mut Hasher, of: Handle<'_>, shown: &Path) -> Result<(), Error> {
    for (name, value) in attributes::list(of).at("", shown)? {
        for part in [name, value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(&part);
        }
    }
    Ok(())
}

impl Taker for Hash<'_> {
    fn enter(&mut self, name: &OsStr, stat: &Stat, way: Way) -> Result<(), Error> {
        let is_top = way == Way::Top;
        if !is_top {
            self.field(b'd', name.as_bytes());
            self.shown.push(name);
        }
        if !(is_top && self.contents_only) {
            self.header(stat);
            self.listing.push(&self.shown, stat, b"");
        }
        self.is_top.push(is_top);
        Ok(())
    }

    fn leave(&mut self, directory: BorrowedFd<'_>, _: &Stat) -> Result<(), Error> {
        let is_top = self.is_top.pop().unwrap_or(true);
        let mut xattrs = Hasher::new(Algorithm::Sha256);
        if !(is_top && self.contents_only) {
            hash_xattrs(&mut xattrs, Handle::Open(directory), &self.shown)?;
        }
        self.field(b'u', &memo::raw(xattrs));
        if !is_top {
            self.shown.pop();
        }
        Ok(())
    }

    fn node(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Error> {
        let is_top = self.is_top.is_empty();
        let shown = if is_top { self.shown.clone() } else { self.shown.join(name) };
        let stat = &match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // It has gone since it was listed.
            Err(Errno::NOENT) if !is_top => return Ok(()),
            stat => stat.at("lstat", &shown)?,
        };
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(Errno::STALE).at("lstat", &shown);
        }
        if !is_top {
            self.field(b'n', name.as_bytes());
            if stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let n_known = self.links.len() as u64;
                let first = *self.links.entry((stat.st_dev, stat.st_ino)).or_insert(n_known);
                if first != n_known {
                    self.field(b'l', &first.to_le_bytes());
                    self.listing.push(&shown, stat, &first.to_le_bytes());
                    return Ok(());
                }
            }
        }
        self.header(stat);
        let known = if stat.st_dev == self.device { self.memo.get(stat) } else { None };
        let body = match known {
            Some(body) => body,
            None => self.body(directory, name)?,
        };
        self.field(b'b', &body);
        self.listing.push(&shown, stat, &body);
        Ok(())
    }
}
