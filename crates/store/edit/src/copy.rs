//! Copying.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use buildgraph::Copy;
use dockerfile::ignore::{self, Filter};
use fsroot::Root;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::attributes::{Handle, Look};
use crate::cursor::Cursor;
use crate::error::At as _;
use crate::names::{End, Named, absolute};
use crate::owner::open_known;
use crate::place::{self, ITSELF, Maker, Place, kind_at};
use crate::source::{Taker, Way, take};
use crate::{Error, mode, unpack, wildcard};

/// What a copy takes, in one form for `--parents` and without.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) source: Named,
    pub(crate) filter: Filter,
    /// What must be there, beside the source.
    pub(crate) required: Vec<PathBuf>,
}

impl Taken {
    /// `--parents` is copying the inside of a directory, `/` or what stands before a part `./`, of which a
    /// pattern takes what is named.
    pub(crate) fn new(copy: &Copy) -> Result<Self, Error> {
        if !copy.parents {
            let filter = Filter::new(&copy.include, &copy.exclude)?;
            let required = copy.required.iter().map(|path| absolute(Path::new(path))).collect();
            return Ok(Self { source: Named::new(&copy.source), filter, required });
        }
        let (base, rest) = copy.source.split_once("/./").unwrap_or(("/", &copy.source));
        let inside = Named::new(rest).path;
        let is_plain = ![base, rest].iter().any(|part| ignore::has_wildcards(part));
        let below = inside.strip_prefix("/").unwrap_or(&inside);
        let source = Named::new(base);
        let required = is_plain.then(|| source.path.join(below)).into_iter().collect();
        let mut include = copy.include.clone();
        include.push(below.to_string_lossy().into_owned());
        Ok(Self { source, filter: Filter::new(&include, &copy.exclude)?, required })
    }

    /// The paths that are taken.
    pub(crate) fn sources(&self, root: &Root, copy: &Copy) -> Result<Vec<PathBuf>, Error> {
        if !copy.wildcards {
            return Ok(vec![self.source.path.clone()]);
        }
        wildcard::resolve(root, &self.source, copy.follow_links)
    }
}

/// Copies out of `source`; `None`: out of nothing.
pub(crate) fn copy(
    source: Option<&Root>,
    target: &Root,
    copy: &Copy,
    owner: Option<(u32, u32)>,
    now: i64,
) -> Result<(), Error> {
    let taken = Taken::new(copy)?;
    let Some(root) = source else { return Err(Error::NotFound(taken.source.path)) };
    for required in &taken.required {
        if place::find(root, required, copy.follow_links)?.is_err() {
            return Err(Error::NotFound(required.clone()));
        }
    }
    let look = Look { owner, mode: mode::Change::new(&copy.mode)?, time: copy.time };
    let destination = Named::new(&copy.destination);
    if !copy.create_destination {
        let parent = destination.path.parent().unwrap_or(&destination.path);
        target.open_path(parent).at("failed to stat", &copy.destination)?;
    }
    let sources = taken.sources(root, copy)?;
    if sources.is_empty() && !copy.may_be_empty {
        return Err(Error::NoMatch(taken.source.path.display().to_string()));
    }
    for path in sources {
        let is_plain = path == taken.source.path;
        let end = if is_plain { taken.source.end } else { End::Name };
        let one = One { root, target, copy, look: &look, destination: &destination, now };
        let source = Named { path, end };
        if !(copy.unpack && one.unpack(&source)?) {
            one.copy(&source, &taken.filter)?;
        }
    }
    Ok(())
}

/// One of the things that are copied.
struct One<'a> {
    root: &'a Root,
    target: &'a Root,
    copy: &'a Copy,
    look: &'a Look,
    destination: &'a Named,
    now: i64,
}

impl<'a> One<'a> {
    fn maker(&self, mode: u32) -> Maker<'a> {
        Maker::new(self.target, mode, self.look.owner, self.copy.time.unwrap_or(self.now))
    }

    /// Unpacks `source` if it is an archive; whether it is.
    fn unpack(&self, source: &Named) -> Result<bool, Error> {
        let has_to_be = self.copy.has_to_unpack;
        let Some(archive) = unpack::archive(self.root, &source.path, has_to_be)? else {
            return Ok(false);
        };
        let mut maker = self.maker(0o755);
        let directory = maker.directory(&self.destination.path)?;
        unpack::unpack(&archive, directory, self.look.owner, &source.path)?;
        maker.finish().map(|()| true)
    }

    fn copy(&self, source: &Named, filter: &Filter) -> Result<(), Error> {
        let mut maker = self.maker(self.look.mode.for_parents());
        maker.directory(self.destination.directory())?;
        let found = place::find(self.root, &source.path, self.copy.follow_links)?;
        let found = found.at("lstat", &source.path)?;
        let is_directory = found.kind() == FileType::Directory;
        let path = &self.destination.path;
        let (place, shown) = self.place(source, is_directory, &mut maker)?;
        if is_directory && self.copy.contents_only && place.kind.is_none() {
            maker.directory(path)?;
        }
        let mut copier = Copier {
            look: self.look,
            replace: self.copy.replace,
            place,
            top: None,
            cursor: None,
            levels: Vec::new(),
            links: HashMap::new(),
            ways: tree::Ways::default(),
            inside: PathBuf::new(),
            shown,
        };
        take(&found, &source.path, filter, &mut copier)?;
        maker.finish()?;
        // The top may be one of those that were made.
        match &copier.top {
            Some(top) => self.look.give_times(Handle::Path(top.as_fd()), &found.stat).at("", path),
            None => Ok(()),
        }
    }

    /// Where it goes: to the destination itself, or into the directory that is there.
    fn place(
        &self,
        source: &Named,
        is_directory: bool,
        maker: &mut Maker<'_>,
    ) -> Result<(Place, PathBuf), Error> {
        let path = &self.destination.path;
        let place = maker.place(path)?;
        let goes_into = match place.kind {
            None => false,
            Some(_) if is_directory => !self.copy.contents_only,
            Some(kind) => kind == FileType::Directory,
        };
        if !goes_into || source.base() == ITSELF {
            return Ok((place, path.clone()));
        }
        if place.kind != Some(FileType::Directory) {
            return Err(Errno::NOTDIR).at("mkdir", path);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(&place.dir, &place.name, flags, Mode::empty());
        let dir = dir.at("open", path)?;
        let kind = kind_at(dir.as_fd(), source.base()).at("lstat", path)?;
        let shown = path.join(source.base());
        Ok((Place { dir, name: source.base().into(), kind }, shown))
    }
}

/// Puts into a tree what it is told is taken.
struct Copier<'a> {
    look: &'a Look,
    replace: bool,
    /// Where the top goes.
    place: Place,
    /// The top, where it is a directory.
    top: Option<OwnedFd>,
    cursor: Option<Cursor>,
    levels: Vec<Level>,
    /// Files of several names, by device and number: the first name in the copy, from the top.
    links: HashMap<(u64, u64), PathBuf>,
    /// How bytes come from there to here.
    ways: tree::Ways,
    /// Where we are, from the top.
    inside: PathBuf,
    /// What the top is called.
    shown: PathBuf,
}

/// A directory that was entered.
struct Level {
    way: Way,
    is_new: bool,
}

impl Copier<'_> {
    fn shown(&self, name: &OsStr) -> PathBuf {
        if self.cursor.is_some() {
            self.shown.join(&self.inside).join(name)
        } else {
            self.shown.clone()
        }
    }

    /// The directory where the next thing goes, and its name there.
    fn next<'n>(&'n self, name: &'n OsStr) -> (BorrowedFd<'n>, &'n OsStr) {
        match &self.cursor {
            Some(cursor) => (cursor.here(), name),
            None => (self.place.dir.as_fd(), &self.place.name),
        }
    }

    /// Has `name` be free for something that is no directory.
    fn make_way(&self, name: &OsStr) -> Result<(), Error> {
        let shown = self.shown(name);
        let (dir, name) = self.next(name);
        match kind_at(dir, name).at("lstat", &shown)? {
            None => Ok(()),
            Some(FileType::Directory) if !self.replace => Err(Error::IsADirectory(shown)),
            Some(_) => place::remove(dir, name, &shown),
        }
    }

    /// Has `make` make `name`, of which mostly there is nothing yet: what is in its way is only looked at, and goes,
    /// where there is something.
    fn make<T>(
        &self,
        name: &OsStr,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<Result<T, Errno>, Error> {
        let (dir, own) = self.next(name);
        match make(dir, own) {
            // The latter of the directory itself, where that is meant.
            Err(Errno::EXIST | Errno::ISDIR) => {
                self.make_way(name)?;
                Ok(make(dir, own))
            }
            made => Ok(made),
        }
    }

    /// Makes `name` another name of the file that was copied from the same one; whether there is one.
    fn link(&mut self, name: &OsStr, stat: &Stat) -> Result<bool, Error> {
        let Some(top) = self.top.as_ref().filter(|_| stat.st_nlink > 1) else { return Ok(false) };
        let key = (stat.st_dev, stat.st_ino);
        let shown = self.shown(name);
        let Some(first) = self.links.get(&key) else {
            self.links.insert(key, self.inside.join(name));
            return Ok(false);
        };
        let file = sys::open_beneath(top.as_fd(), first, OFlags::PATH | OFlags::NOFOLLOW);
        let file = match file {
            // Too deep for one path: a file of its own.
            Err(Errno::NAMETOOLONG) => return Ok(false),
            file => file.at("open", &shown)?,
        };
        let by_path = fsroot::fd_path(&file);
        let linked = self.make(name, |dir, name| {
            rustix::fs::linkat(rustix::fs::CWD, &by_path, dir, name, AtFlags::SYMLINK_FOLLOW)
        })?;
        match linked {
            Err(Errno::MLINK) => Ok(false),
            linked => linked.at("link", &shown).map(|()| true),
        }
    }

    /// Copies the regular file that `source` (`O_PATH`) is.
    fn file(&mut self, source: &OwnedFd, name: &OsStr, stat: &Stat) -> Result<(), Error> {
        let shown = self.shown(name);
        let from = open_known(source, OFlags::RDONLY, &shown)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let made = self.make(name, |dir, name| rustix::fs::openat(dir, name, flags, mode))?;
        let made = made.at("create", &shown)?;
        tree::copy_bytes(&from, &made, stat, &mut self.ways).at("copy", &shown)?;
        let (made, from) = (Handle::Open(made.as_fd()), Handle::Open(from.as_fd()));
        self.look.give(made, from, stat).at("", &shown)
    }

    /// Makes what is neither a directory nor a file.
    fn special(&self, source: &OwnedFd, name: &OsStr, stat: &Stat) -> Result<(), Error> {
        let shown = self.shown(name);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return Err(Error::Whiteout(shown));
        }
        let made = if kind == FileType::Symlink {
            let text = rustix::fs::readlinkat(source, "", Vec::new()).at("readlink", &shown)?;
            self.make(name, |dir, name| rustix::fs::symlinkat(&*text, dir, name))?
        } else {
            // A socket is nothing without who listens on it: what comes of it is an empty file.
            let (kind, device) = match kind {
                FileType::Socket => (FileType::RegularFile, 0),
                kind => (kind, stat.st_rdev),
            };
            let mode = Mode::from_raw_mode(0o600);
            self.make(name, |dir, name| rustix::fs::mknodat(dir, name, kind, mode, device))?
        };
        made.at(if kind == FileType::Symlink { "symlink" } else { "mknod" }, &shown)?;
        let (dir, own) = self.next(name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(dir, own, flags, Mode::empty()).at("open", &shown)?;
        let (made, source) = (Handle::Path(made.as_fd()), Handle::Path(source.as_fd()));
        self.look.give(made, source, stat).at("", &shown)
    }
}

impl Taker for Copier<'_> {
    fn enter(&mut self, name: &OsStr, _: &Stat, way: Way) -> Result<(), Error> {
        let shown = self.shown(name);
        let replace = self.replace;
        let (dir, own) = self.next(name);
        let is_new = match kind_at(dir, own).at("lstat", &shown)? {
            Some(FileType::Directory) => false,
            Some(_) if !replace => return Err(Error::NotADirectory(shown)),
            other => {
                if other.is_some() {
                    place::remove(dir, own, &shown)?;
                }
                rustix::fs::mkdirat(dir, own, Mode::from_raw_mode(0o700)).at("mkdir", &shown)?;
                true
            }
        };
        if self.cursor.is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let top = rustix::fs::openat(dir, own, flags, Mode::empty()).at("open", &shown)?;
            self.cursor = Some(Cursor::new(&top).at("open", &shown)?);
            self.top = Some(top);
        } else if let Some(cursor) = &mut self.cursor {
            cursor.enter(name).at("open", &shown)?;
            self.inside.push(name);
        }
        self.levels.push(Level { way, is_new });
        Ok(())
    }

    fn leave(&mut self, directory: BorrowedFd<'_>, stat: &Stat) -> Result<(), Error> {
        let (Some(level), Some(cursor)) = (self.levels.pop(), &mut self.cursor) else {
            return Ok(());
        };
        let shown = self.shown.join(&self.inside);
        let here = cursor.here();
        match (level.way, level.is_new) {
            (Way::Whole, _) | (_, true) => {
                self.look.give(Handle::Open(here), Handle::Open(directory), stat)
            }
            (Way::Top, false) => self.look.give_times(Handle::Open(here), stat),
            (Way::Through, false) => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::fchmod(here, mode).map_err(|errno| ("chmod", errno))
            }
        }
        .at("", &shown)?;
        cursor.leave().at("open", &shown)?;
        self.inside.pop();
        Ok(())
    }

    fn node(&mut self, directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Error> {
        let shown = self.shown(name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            // It has gone since it was listed.
            Err(Errno::NOENT) if self.cursor.is_some() => return Ok(()),
            opened => opened.at("open", &shown)?,
        };
        // What it is now counts: the same descriptor is looked at and copied.
        let stat = &rustix::fs::fstat(&source).at("stat", &shown)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Err(Errno::STALE).at("open", &shown),
            FileType::RegularFile if self.link(name, stat)? => Ok(()),
            FileType::RegularFile => self.file(&source, name, stat),
            _ => self.special(&source, name, stat),
        }
    }
}
