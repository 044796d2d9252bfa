//! Looking at results: what front ends elsewhere ask of a build.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use buildgraph::{Image, Resolve, Source};
use fsroot::Root;
use oci::Digest;
use oci::image::{MAX_CONFIG, Platform};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, readlinkat, statat};
use rustix::io::Errno;

use crate::build::Shared;
use crate::error::At as _;
use crate::source::chain::Chain;
use crate::source::http::sum::Sum;
use crate::tell::{Listeners, phase_told};
use crate::{Build, Error, op, source, view};

/// No more of a file is given at once.
const MAX_READ: u64 = 64 << 20;
/// No more names of a directory are given.
const MAX_NAMES: usize = 100_000;

/// What a file is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileStat {
    /// Its name.
    pub path: PathBuf,
    /// Kind and permissions, as `stat(2)` has them.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// When it was written, nanoseconds since 1970.
    pub modified: i64,
    /// Where a link leads.
    pub link: PathBuf,
}

/// What of a source is to be known beyond what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Of a repository: the commit and the tag as objects.
    pub objects: bool,
    /// Of an image: what is said of it, with the statements of these types.
    pub statements: Option<Vec<String>>,
    /// Of a file: another digest.
    pub sum: Option<Sum>,
}

/// What a source is, before any of it is built on.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceMeta {
    /// Of a directory of the client's there is nothing to say before.
    Nothing,
    /// An image: the digest of its manifest, its configuration, and what is said of it, where that was asked for.
    Image(Digest, Vec<u8>, Option<Box<Chain>>),
    /// A repository.
    Git {
        /// What its commit is called there, in full.
        name: String,
        /// The commit, or the tag that is an object of its own.
        checksum: String,
        /// The commit, where that is another; else empty.
        commit: String,
        /// The objects themselves, commit and tag, where they were asked for, and there is one.
        objects: (Vec<u8>, Vec<u8>),
    },
    /// A file behind a URL.
    Http {
        /// Its digest.
        checksum: String,
        /// Its name.
        name: String,
        /// When it was written last, as its server says; seconds since 1970.
        modified: Option<u64>,
        /// The digest that was asked for besides, and what is behind the file for it.
        sum: Option<(String, Vec<u8>)>,
    },
}

impl Shared {
    /// What a source is, whatever the client's policy says of it.
    pub(crate) async fn described(
        self: &Arc<Self>,
        of: &Source,
        shown: &str,
        platform: Option<&Platform>,
        extras: &Extras,
    ) -> Result<SourceMeta, Error> {
        let build = self;
        phase_told(build, shown, async |listeners| match of {
            Source::Image(image) => {
                let name = &image.reference;
                let found = build.config_of(name, platform, image.resolve).await?;
                let chain = match &extras.statements {
                    Some(types) => source::chain::chain(build, name, platform, types).await?,
                    None => None,
                };
                let digest = chain.as_ref().map_or(found.0, |chain| chain.root.clone());
                Ok(SourceMeta::Image(digest, found.1, chain.map(Box::new)))
            }
            Source::Layout(layout) => {
                let (store, digest) = (&layout.store, &layout.digest);
                let found = Box::pin(source::layout::resolve(build, store, digest, platform));
                let found = found.await?;
                Ok(SourceMeta::Image(found.digest, found.document, None))
            }
            Source::Git(git) => {
                let found = source::git::about(build, git, extras.objects, &listeners).await?;
                let source::git::About { name, checksum, commit, objects } = found;
                Ok(SourceMeta::Git { name, checksum, commit, objects })
            }
            Source::Http(http) => {
                let wanted = extras.sum.as_ref();
                let found = source::http::about(build, http, wanted, &listeners).await?;
                let source::http::About { digest, name, modified, sum } = found;
                let sum = sum.zip(wanted.map(|wanted| wanted.suffix.clone()));
                Ok(SourceMeta::Http { checksum: digest, name, modified, sum })
            }
            // What it is, is known once it has come.
            Source::Local(_) => Ok(SourceMeta::Nothing),
            Source::Result(_) | Source::Blob(_) => {
                Err(Error::NotYet(format!("to look at {shown} before it is built")))
            }
        })
        .await
    }

    async fn config_of(
        self: &Arc<Self>,
        name: &str,
        platform: Option<&Platform>,
        how: Resolve,
    ) -> Result<(Digest, Vec<u8>), Error> {
        let listeners = Listeners::default();
        let (image, _) = source::resolve(self, name, platform, how, &listeners).await?;
        let id = image.id.clone();
        let bytes = self.blocking(move |build| {
            let content = build.builder.images().content();
            Ok(content.read(&id, MAX_CONFIG as u64).map_err(images::Error::from)?)
        });
        let digest = image.manifest.unwrap_or(image.id);
        let bytes = bytes.await?;
        let plain = name.split('@').next().unwrap_or(name).to_owned();
        let mut resolved = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.insert((plain, digest.clone()));
        Ok((digest, bytes))
    }
}

impl Build {
    /// What is used in the place of a source (mostly itself), and what that is. Of a repository nothing is fetched, but
    /// where its objects are asked for; a file is, since its digest is asked for.
    pub async fn source_meta(
        &self,
        of: &Source,
        shown: &str,
        platform: Option<&Platform>,
        extras: &Extras,
    ) -> Result<(Source, SourceMeta), Error> {
        let used = self.shared.decided(of, platform).await?;
        let meta = self.shared.described(&used, shown, platform, extras).await?;
        Ok((used, meta))
    }

    /// The configuration of an image: its digest, and the document. It is pulled where it is not here.
    pub async fn image_config(
        &self,
        name: &str,
        platform: Option<&Platform>,
        how: Resolve,
    ) -> Result<(Digest, Vec<u8>), Error> {
        let asked = Source::Image(Image::named(name.to_owned(), how));
        match self.shared.decided(&asked, platform).await? {
            Source::Image(image) => {
                self.shared.config_of(&image.reference, platform, image.resolve).await
            }
            other => match Box::pin(self.source_meta(&other, name, platform, &Extras::default()))
                .await?
                .1
            {
                SourceMeta::Image(digest, config, _) => Ok((digest, config)),
                _ => Err(Error::Invalid(format!("what is in the place of {name} is no image"))),
            },
        }
    }

    /// What is in a file of a result, from `offset`, `len` bytes at most.
    pub async fn read_file(
        &self,
        reference: &str,
        path: &Path,
        offset: u64,
        len: Option<u64>,
    ) -> Result<Vec<u8>, Error> {
        let path = path.to_path_buf();
        self.look(reference, move |root| read_file(root, &path, offset, len)).await
    }

    /// What a file of a result is; of a link what it leads to.
    pub async fn stat(&self, reference: &str, path: &Path) -> Result<FileStat, Error> {
        let path = path.to_path_buf();
        self.look(reference, move |root| stat(root, &path)).await
    }

    /// What is in a directory of a result, by name.
    pub async fn read_dir(&self, reference: &str, path: &Path) -> Result<Vec<FileStat>, Error> {
        let path = path.to_path_buf();
        self.look(reference, move |root| read_dir(root, &path)).await
    }

    /// When the newest file was written that is in an archive of a result, seconds since 1970; `None`: it is no archive.
    pub(crate) async fn newest(&self, reference: &str, path: &Path) -> Result<Option<i64>, Error> {
        let path = path.to_path_buf();
        self.look(reference, move |root| {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            let file = File::from(root.open_with(&path, flags, Mode::empty())?);
            Ok(edit::newest(&file))
        })
        .await
    }

    /// Looks at the files of a result.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        reference: &str,
        act: impl FnOnce(&Root) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let output = self.shared.whole(reference).await?;
        let looked =
            self.shared.blocking(move |build| view::in_a_room(|| act(&op::root(build, &output)?)));
        looked.await
    }
}

/// What is in a file, from `offset`, `len` bytes at most.
pub(crate) fn read_file(
    root: &Root,
    path: &Path,
    offset: u64,
    len: Option<u64>,
) -> Result<Vec<u8>, Error> {
    // Nothing is waited for, and no device read.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = root.open_with(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = fstat(&opened).at("stat", path)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Error::Invalid(format!("{}: not a regular file", path.display())));
    }
    let mut file = File::from(root.open_with(path, flags, Mode::empty())?);
    file.seek(SeekFrom::Start(offset)).at("seek", path)?;
    let mut bytes = Vec::new();
    let len = len.unwrap_or(MAX_READ).min(MAX_READ);
    file.take(len).read_to_end(&mut bytes).at("read", path)?;
    Ok(bytes)
}

/// What a file is; of a link what it leads to.
pub(crate) fn stat(root: &Root, path: &Path) -> Result<FileStat, Error> {
    let opened = root.open_path(path)?;
    let found = fstat(&opened).at("stat", path)?;
    Ok(describe(path, &found))
}

/// What is in a directory, by name.
pub(crate) fn read_dir(root: &Root, path: &Path) -> Result<Vec<FileStat>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = root.open_with(path, flags, Mode::empty())?;
    let mut files = Vec::new();
    for entry in Dir::read_from(&directory).at("readdir", path)?.take(MAX_NAMES) {
        let entry = entry.at("readdir", path)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let found = match statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            // overlayfs lists a whiteout that hides nothing.
            Err(Errno::NOENT) => continue,
            found => found.at("stat", path)?,
        };
        let name = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let mut file = describe(name, &found);
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            let target = readlinkat(&directory, entry.file_name(), Vec::new());
            let target = target.at("readlink", path)?;
            file.link = target.to_string_lossy().into_owned().into();
        }
        files.push(file);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn describe(path: &Path, found: &Stat) -> FileStat {
    FileStat {
        path: path.file_name().map(PathBuf::from).unwrap_or_default(),
        mode: found.st_mode,
        uid: found.st_uid,
        gid: found.st_gid,
        size: u64::try_from(found.st_size).unwrap_or_default(),
        modified: found
            .st_mtime
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::try_from(found.st_mtime_nsec).unwrap_or_default()),
        link: PathBuf::new(),
    }
}
