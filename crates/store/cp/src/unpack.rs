//! From a tar archive into a container.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use fsroot::Root;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tarstream::{Entry, Kind, Reader};

use crate::error::At as _;
use crate::{Error, Ids, ids};

/// How an archive is put into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extract {
    /// Refuse to put a directory where something else is, or something else where a directory is.
    pub keep_kinds: bool,
    /// Everything becomes this user's and group's, whatever the archive says.
    pub owner: Option<(u32, u32)>,
    /// What the archive says of the directory itself counts.
    pub whole: bool,
    /// Whose the files are.
    pub ids: Ids,
    /// Nobody's owner is changed: what is made is whose this process is.
    pub as_self: bool,
    /// The first directory of every name is left out: it is what the directory is called elsewhere.
    pub strip: bool,
}

/// Unpacks a tar archive (plain or compressed) into the directory `target` of `root`.
pub fn unpack(
    root: Root,
    target: &Path,
    options: Extract,
    archive: &mut dyn Read,
) -> Result<(), Error> {
    let target = target.to_owned();
    Unpacker { root, target, options, directories: Vec::new() }.all(archive)
}

fn bad_archive(err: &dyn std::error::Error) -> Error {
    Error::Invalid(format!("archive: {}", docker::error::chain(err)))
}

struct Unpacker {
    root: Root,
    target: PathBuf,
    options: Extract,
    /// Those made, and when they were changed last: what comes into them changes that.
    directories: Vec<(PathBuf, Timestamps)>,
}

/// Unpacks an archive of one file (anything but a directory) as `name` into the directory `root`.
pub fn unpack_file(
    root: Root,
    name: &OsStr,
    options: Extract,
    archive: &mut dyn Read,
) -> Result<(), Error> {
    let decoded = diff::decode(archive).map_err(|err| bad_archive(&err))?;
    let mut reader = Reader::new(BufReader::with_capacity(64 << 10, decoded));
    let entry = reader.next_entry().map_err(|err| bad_archive(&err))?;
    let one = |entry: Entry| match entry.kind {
        Kind::Directory | Kind::HardLink => None,
        _ => Some(Entry { path: name.as_bytes().to_vec(), ..entry }),
    };
    let not_one = || Error::Invalid("archive: not one file, as was asked for".into());
    let entry = entry.and_then(one).ok_or_else(not_one)?;
    if name.is_empty()
        || name.as_bytes().contains(&b'/')
        || [".", ".."].iter().any(|bad| name == *bad)
    {
        return Err(Error::Invalid(format!("{name:?} is no name of a file")));
    }
    let target = PathBuf::from("/");
    let mut unpacker = Unpacker { root, target, options, directories: Vec::new() };
    unpacker.entry(&entry, &mut reader)?;
    match reader.next_entry().map_err(|err| bad_archive(&err))? {
        None => Ok(()),
        Some(_) => Err(not_one()),
    }
}

impl Unpacker {
    fn all(mut self, archive: &mut dyn Read) -> Result<(), Error> {
        let decoded = match diff::decode(archive) {
            // As of an archive in which there is nothing.
            Err(diff::Error::Empty) => return self.finish(),
            decoded => decoded.map_err(|err| bad_archive(&err))?,
        };
        let mut reader = Reader::new(BufReader::with_capacity(64 << 10, decoded));
        while let Some(entry) = reader.next_entry().map_err(|err| bad_archive(&err))? {
            self.entry(&entry, &mut reader)?;
        }
        self.finish()
    }

    fn entry<R: Read>(&mut self, entry: &Entry, data: &mut Reader<R>) -> Result<(), Error> {
        let Some(path) = self.place(&entry.path)? else { return self.itself(entry) };
        let (parent, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name());
        let Some(name) = name else { return Ok(()) };
        let directory = self.root.mkdir_all(parent, Mode::from_raw_mode(0o755))?;
        let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW);
        let found = match found {
            Err(Errno::NOENT) => None,
            found => Some(FileType::from_raw_mode(found.at("stat", &path)?.st_mode)),
        };
        let is_directory = entry.kind == Kind::Directory;
        if let Some(found) = found {
            if found.is_dir() != is_directory && self.options.keep_kinds {
                let shown = path.display();
                return Err(Error::Invalid(if is_directory {
                    format!("cannot overwrite non-directory \"{shown}\" with directory")
                } else {
                    format!("cannot overwrite directory \"{shown}\" with non-directory")
                }));
            }
            if !(found.is_dir() && is_directory) {
                self.root.remove_all(&path)?;
            }
        }
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        match entry.kind {
            Kind::Directory => {
                if !found.is_some_and(FileType::is_dir) {
                    rustix::fs::mkdirat(&directory, name, mode).at("mkdir", &path)?;
                }
            }
            Kind::File => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let file = rustix::fs::openat(&directory, name, flags, mode).at("open", &path)?;
                write(File::from(file), entry, data, &path)?;
            }
            Kind::Symlink => {
                let target = OsStr::from_bytes(&entry.link);
                rustix::fs::symlinkat(target, &directory, name).at("symlink", &path)?;
            }
            Kind::HardLink => {
                let Some(first) = self.place(&entry.link)? else { return Ok(()) };
                let (from, first_name) = self.root.parent(&first)?;
                let flags = AtFlags::empty();
                rustix::fs::linkat(&from, &first_name, &directory, name, flags)
                    .at("link", &path)?;
                return Ok(());
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                rustix::fs::mknodat(&directory, name, kind, mode, device).at("mknod", &path)?;
            }
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if let Some((uid, gid)) = self.owner(entry) {
            rustix::fs::chownat(&directory, name, uid, gid, flags).at("chown", &path)?;
        }
        if entry.kind != Kind::Symlink {
            // After the owner, of which a change takes the set-id bits away.
            rustix::fs::chmodat(&directory, name, mode, AtFlags::empty()).at("chmod", &path)?;
        }
        let by_name = fsroot::fd_path(directory.as_fd()).join(name);
        attributes(entry, &by_name, &path)?;
        let times = times(entry);
        if is_directory {
            self.directories.push((path, times));
            return Ok(());
        }
        rustix::fs::utimensat(&directory, name, &times, flags).at("utimensat", &path)
    }

    /// Whose an entry is to be; `None`: whoever makes it.
    fn owner(&self, entry: &Entry) -> Option<(Option<Uid>, Option<Gid>)> {
        if self.options.as_self {
            return None;
        }
        let (uid, gid) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let uid = ids::outside(&self.options.ids.uids, uid);
        let gid = ids::outside(&self.options.ids.gids, gid);
        Some((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))
    }

    /// The entry of the directory into which all goes.
    fn itself(&mut self, entry: &Entry) -> Result<(), Error> {
        if !self.options.whole || entry.kind != Kind::Directory {
            return Ok(());
        }
        let target = self.target.clone();
        let directory =
            self.root.open_with(&target, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        if let Some((uid, gid)) = self.owner(entry) {
            rustix::fs::fchown(&directory, uid, gid).at("chown", &target)?;
        }
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        rustix::fs::fchmod(&directory, mode).at("chmod", &target)?;
        attributes(entry, &fsroot::fd_path(&directory).join("."), &target)?;
        self.directories.push((target, times(entry)));
        Ok(())
    }

    /// Where an entry goes; `None` for the target itself. A name that leads out of it is an error.
    fn place(&self, name: &[u8]) -> Result<Option<PathBuf>, Error> {
        let mut path = self.target.clone();
        let mut n_names = 0;
        for component in Path::new(OsStr::from_bytes(name)).components() {
            match component {
                Component::Normal(name) => {
                    path.push(name);
                    n_names += 1;
                }
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir => {
                    return Err(Error::Invalid(format!(
                        "archive: \"{}\" leads out of the directory",
                        String::from_utf8_lossy(name)
                    )));
                }
            }
        }
        if self.options.strip && n_names > 0 {
            let names = path.strip_prefix(&self.target).unwrap_or(&path);
            let rest: PathBuf = names.components().skip(1).collect();
            return Ok((n_names > 1).then(|| self.target.join(rest)));
        }
        Ok((n_names > 0).then_some(path))
    }

    fn finish(self) -> Result<(), Error> {
        for (path, times) in self.directories.iter().rev() {
            if path.file_name().is_none() {
                rustix::fs::futimens(
                    &self.root.open_with(
                        path,
                        OFlags::RDONLY | OFlags::DIRECTORY,
                        Mode::empty(),
                    )?,
                    times,
                )
                .at("utimensat", path)?;
                continue;
            }
            let (directory, name) = self.root.parent(path)?;
            rustix::fs::utimensat(&directory, &name, times, AtFlags::SYMLINK_NOFOLLOW)
                .at("utimensat", path)?;
        }
        Ok(())
    }
}

/// Sets the extended attributes of an entry at `place`, in which the last name is not followed.
fn attributes(entry: &Entry, place: &Path, path: &Path) -> Result<(), Error> {
    for (key, value) in &entry.xattrs {
        // How overlayfs keeps its own books is no archive's business.
        if [b"trusted.overlay.".as_slice(), b"user.overlay."].iter().any(|own| key.starts_with(own))
        {
            continue;
        }
        match rustix::fs::lsetxattr(place, &key[..], value, XattrFlags::empty()) {
            Err(Errno::NOTSUP) => {}
            set => set.at("setxattr", path)?,
        }
    }
    Ok(())
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: entry.mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn write<R: Read>(
    mut file: File,
    entry: &Entry,
    data: &mut Reader<R>,
    path: &Path,
) -> Result<(), Error> {
    let mut buffer = vec![0; 64 << 10];
    let mut copy = |file: &mut File, len: u64| -> Result<(), Error> {
        let mut left = len;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let n = data.read_data(&mut buffer[..want]).map_err(|err| bad_archive(&err))?;
            if n == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).at("read", path);
            }
            file.write_all(&buffer[..n]).at("write", path)?;
            left -= n as u64;
        }
        Ok(())
    };
    match &entry.sparse {
        None => copy(&mut file, entry.size),
        Some(segments) => {
            for segment in segments {
                file.seek(SeekFrom::Start(segment.offset)).at("lseek", path)?;
                copy(&mut file, segment.len)?;
            }
            file.set_len(entry.size).at("truncate", path)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use tarstream::{Time, Writer};

    use super::*;

    /// A folder with a container's root in it, and a file beside that must not be reached.
    struct Host(PathBuf);

    impl Host {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("dhow-files-{name}-{}", std::process::id()));
            fs::create_dir_all(path.join("root/target")).unwrap();
            fs::write(path.join("canary"), "sings").unwrap();
            Self(path)
        }

        fn extract(&self, entries: &[Entry], options: Extract) -> Result<(), String> {
            let mut writer = Writer::new(Vec::new());
            for entry in entries {
                let data = vec![b'x'; entry.size as usize];
                writer.append(entry, &mut data.as_slice()).unwrap();
            }
            let archive = writer.finish().unwrap();
            let mut unpacker = Unpacker {
                root: Root::open(&self.0.join("root")).unwrap(),
                target: "/target".into(),
                options,
                directories: Vec::new(),
            };
            let mut reader = Reader::new(archive.as_slice());
            let mut unpack = || {
                while let Some(entry) = reader.next_entry().map_err(|err| bad_archive(&err))? {
                    unpacker.entry(&entry, &mut reader)?;
                }
                Ok::<_, Error>(())
            };
            unpack().map_err(|err| err.to_string())?;
            unpacker.finish().map_err(|err| err.to_string())
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    fn entry(kind: Kind, path: &str, link: &str) -> Entry {
        Entry {
            path: path.into(),
            kind,
            link: link.into(),
            mode: 0o4751,
            size: if kind == Kind::File { 5 } else { 0 },
            mtime: Time { seconds: 1000, nanoseconds: 0 },
            ..Entry::default()
        }
    }

    #[test]
    fn entries_become_what_they_say() {
        let host = Host::new("plain");
        let entries = [
            entry(Kind::Directory, "d/", ""),
            entry(Kind::File, "d/f", ""),
            entry(Kind::HardLink, "d/h", "d/f"),
            entry(Kind::Symlink, "l", "d/f"),
            entry(Kind::File, "/deep/er/f", ""),
        ];
        host.extract(&entries, Extract::default()).unwrap();
        let target = host.0.join("root/target");
        let file = fs::metadata(target.join("d/f")).unwrap();
        assert_eq!((file.len(), file.mtime(), file.nlink()), (5, 1000, 2));
        assert_eq!(file.permissions().mode() & 0o7777, 0o4751);
        assert_eq!(fs::metadata(target.join("d")).unwrap().mtime(), 1000);
        assert_eq!(fs::read_link(target.join("l")).unwrap(), Path::new("d/f"));
        assert!(target.join("deep/er/f").exists());
    }

    #[test]
    fn no_entry_reaches_the_host() {
        let host = Host::new("hostile");
        let canary = host.0.join("canary");
        let outside = canary.to_str().unwrap();
        symlink("/", host.0.join("root/target/up")).unwrap();
        for entries in [
            vec![entry(Kind::File, "../../canary", "")],
            vec![entry(Kind::HardLink, "h", "../../canary")],
            vec![entry(Kind::Symlink, "s", outside), entry(Kind::File, "s", "")],
            vec![entry(Kind::Symlink, "s", outside), entry(Kind::HardLink, "h", "s")],
            vec![entry(Kind::Symlink, "s", "../.."), entry(Kind::File, "s/canary", "")],
            vec![entry(Kind::File, "up/../../canary", "")],
            vec![entry(Kind::File, &format!("up{outside}"), "")],
        ] {
            // Some are errors, some stay within: what counts is the canary.
            _ = host.extract(&entries, Extract::default());
            assert_eq!(fs::read_to_string(&canary).unwrap(), "sings", "{entries:?}");
            assert_eq!(fs::metadata(&canary).unwrap().nlink(), 1, "{entries:?}");
        }
    }

    #[test]
    fn a_directory_is_only_replaced_if_that_is_fine() {
        let host = Host::new("kinds");
        fs::create_dir(host.0.join("root/target/d")).unwrap();
        let file = [entry(Kind::File, "d", "")];
        let keep = Extract { keep_kinds: true, ..Extract::default() };
        let err = host.extract(&file, keep).unwrap_err();
        assert_eq!(err, "cannot overwrite directory \"/target/d\" with non-directory");
        host.extract(&file, Extract::default()).unwrap();
        assert!(host.0.join("root/target/d").is_file());
    }
}
