//! Cache mounts as things of their own: which there are, taking one elsewhere and bringing one here.
//!
//! What comes in is unpacked beside, and takes its place in one step while nobody else has the cache: a
//! step sees the old contents or the new ones, and so does whoever comes after a kill.

mod placed;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use cp::{Extract, Pack};
use fsroot::Root;
use metadata::BuildRecord;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::builder::Builder;
use crate::error::At as _;
use crate::store::{Directory, Use, nth_id};

pub(crate) use placed::{Place, Placed, placed};

/// The kind of a cache in the build cache, as BuildKit calls it.
pub(crate) const KIND: &str = "exec.cachemount";
/// What records of before call it: then there is nothing else to know it by.
const DESCRIPTION: &str = "cached mount ";
/// Names of what is being unpacked begin so.
const INCOMING: &str = "incoming-";
/// The longest name of one, bytes.
const ID_BYTES: usize = 4096;

/// What has to be the same for two steps to have the same cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Name {
    /// As the step has it, with the name space before it.
    pub(crate) id: String,
    /// What was in it at first; empty: nothing.
    pub(crate) base: String,
    /// What of that.
    pub(crate) source: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

impl Name {
    /// The whole of it, as a directory of the store is called.
    pub(crate) fn whole(&self) -> String {
        // One of another owner is another one, as in BuildKit.
        let Self { id, base, source, uid, gid, mode } = self;
        format!("{id}\0{base}\0{source}\0{uid}:{gid} {mode:o}")
    }

    /// What people call it.
    pub(crate) fn shown(&self) -> &str {
        shown(&self.id)
    }

    pub(crate) fn description(&self) -> String {
        format!("{DESCRIPTION}{}", self.id)
    }

    /// For the record.
    pub(crate) fn detail(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A cache mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheMount {
    /// Its name in the build cache.
    pub record: String,
    /// Its name in a Dockerfile: what `id=` says, or the target.
    pub id: String,
    /// It began with files of a stage or an image (`from=`).
    pub from: bool,
    /// The owner that steps ask for.
    pub uid: u32,
    /// The group that steps ask for.
    pub gid: u32,
    /// The mode that steps ask for.
    pub mode: u32,
    /// A step has it.
    pub in_use: bool,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Nanoseconds since 1970.
    pub used: i64,
}

/// Which cache mount is meant. What is not said may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheMountName {
    /// The name in a Dockerfile, or that in the build cache.
    pub id: String,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The mode.
    pub mode: Option<u32>,
}

impl CacheMountName {
    fn means(&self, found: &CacheMount) -> bool {
        let same = |asked: Option<u32>, has: u32| asked.is_none_or(|asked| asked == has);
        (self.id == found.record || self.id == found.id)
            && same(self.uid, found.uid)
            && same(self.gid, found.gid)
            && same(self.mode, found.mode)
    }
}

/// A cache mount that is written out as an archive. Nobody has it alone as long as this lives.
#[derive(Debug)]
pub struct CacheArchive {
    directory: Directory,
}

impl CacheArchive {
    /// Writes it: a tar archive.
    pub fn write(&self, out: &mut dyn Write) -> Result<(), Error> {
        let root = Root::open(&self.directory.path)?;
        let how = Pack { attributes: true, ..Pack::default() };
        Ok(cp::pack(&root, &cp::Place::new("/."), how, out)?)
    }
}

/// The id of a cache mount that is a build's own, as `asked` says; `None`: it is what all builds have.
pub(crate) fn own(asked: &BTreeMap<String, String>, id: &str) -> Option<String> {
    let space = asked.get(shown(id))?;
    Some(format!("/{space}/{}", shown(id)))
}

/// Without the slash after a name space that is empty.
fn shown(id: &str) -> &str {
    id.strip_prefix('/').unwrap_or(id)
}

fn name_of(record: &BuildRecord) -> Option<Name> {
    if record.kind != KIND {
        return None;
    }
    let known = serde_json::from_str(&record.detail).ok();
    known.or_else(|| {
        let id = record.description.strip_prefix(DESCRIPTION)?.to_owned();
        let (base, source) = (String::new(), String::new());
        Some(Name { id, base, source, uid: 0, gid: 0, mode: 0o755 })
    })
}

impl Builder {
    /// The cache mounts that there are, by their names.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMount>, Error> {
        let found = self.named()?;
        let describe = |(record, name): (BuildRecord, Name)| {
            Ok(CacheMount {
                in_use: self.store.is_used(&record.id)?,
                size: self.store.size(&record.id),
                ..mount(&record, &name)
            })
        };
        found.into_iter().map(describe).collect()
    }

    /// A cache mount, to be written out.
    ///
    /// # Errors
    ///
    /// There is none, there are several, or a step may be writing to it.
    pub fn export_cache_mount(&self, wanted: &CacheMountName) -> Result<CacheArchive, Error> {
        let (record, _) = self.one(wanted)?.ok_or_else(|| none(wanted))?;
        self.archive_of(&record.id, &wanted.id)
    }

    /// The same of one by its name in the build cache; `shown` is what people call it.
    pub(crate) fn archive_of(&self, id: &str, shown: &str) -> Result<CacheArchive, Error> {
        let directory = self.store.take_known(id)?.ok_or_else(|| in_use(shown))?;
        // Steps may come now; those that want it alone wait.
        directory.share()?;
        Ok(CacheArchive { directory })
    }

    /// Gives a cache mount what is in an archive (a tar, plain or compressed), and nothing else. One that
    /// is not there yet is made. Its name in the build cache.
    ///
    /// # Errors
    ///
    /// The archive is none, or several caches are meant, or a step has it.
    pub fn import_cache_mount(
        &self,
        wanted: &CacheMountName,
        archive: &mut dyn Read,
    ) -> Result<String, Error> {
        if wanted.id.is_empty() || wanted.id.len() > ID_BYTES || wanted.id.contains('\0') {
            return Err(Error::Invalid("a cache mount has no such id".into()));
        }
        let name = match self.one(wanted)? {
            Some((_, name)) => name,
            None => Name {
                id: format!("/{}", wanted.id),
                base: String::new(),
                source: "/".into(),
                uid: wanted.uid.unwrap_or(0),
                gid: wanted.gid.unwrap_or(0),
                mode: wanted.mode.unwrap_or(0o755),
            },
        };
        let incoming = self.unpack_cache_mount(&name, archive)?;
        let (whole, detail) = (name.whole(), name.detail());
        let take =
            self.store.take_noted(KIND, &whole, &name.description(), &detail, Use::Locked)?;
        let directory = take.ok_or_else(|| in_use(&wanted.id))?;
        self.replace_cache_mount(&incoming, &directory)?;
        Ok(directory.id.clone())
    }

    /// Unpacks what is to be in a cache mount, beside it.
    pub(crate) fn unpack_cache_mount(
        &self,
        name: &Name,
        archive: &mut dyn Read,
    ) -> Result<Incoming, Error> {
        let incoming = Incoming::new(self.store.file(&new_name()))?;
        failpoint::hit("build.cache-mount").at("mkdir", &incoming.0)?;
        incoming.fill(name, archive)?;
        failpoint::hit("build.cache-mount-unpacked").at("rename", &incoming.0)?;
        Ok(incoming)
    }

    /// Has what was unpacked take the place of what is in a cache mount that nobody else has.
    pub(crate) fn replace_cache_mount(
        &self,
        incoming: &Incoming,
        directory: &Directory,
    ) -> Result<(), Error> {
        exchange(&incoming.0, &directory.path)?;
        failpoint::hit("build.cache-mount-exchanged").at("rename", &incoming.0)?;
        self.store.set_ready(directory)
    }

    /// Removes cache mounts that no step has: all of a name. Those that are gone.
    ///
    /// # Errors
    ///
    /// There is none, or a step has it.
    pub fn remove_cache_mounts(&self, wanted: &CacheMountName) -> Result<Vec<CacheMount>, Error> {
        let all = self.cache_mounts()?;
        let meant: Vec<CacheMount> = all.into_iter().filter(|found| wanted.means(found)).collect();
        if meant.is_empty() {
            return Err(none(wanted));
        }
        for found in &meant {
            if !self.store.remove(&found.record)? {
                return Err(in_use(&wanted.id));
            }
        }
        Ok(meant)
    }

    fn named(&self) -> Result<Vec<(BuildRecord, Name)>, Error> {
        let records = self.engine.db().read(metadata::Read::build_records)?;
        let mut all: Vec<_> = records
            .into_iter()
            .filter_map(|record| name_of(&record).map(|name| (record, name)))
            .collect();
        all.sort_by_key(|(_, name)| name.whole());
        Ok(all)
    }

    /// The one that is meant; of several directories of one name, which builds at once have had, the
    /// first.
    fn one(&self, wanted: &CacheMountName) -> Result<Option<(BuildRecord, Name)>, Error> {
        let mut meant = self.named()?;
        meant.retain(|(record, name)| wanted.means(&mount(record, name)));
        let Some((_, first)) = meant.first() else { return Ok(None) };
        let first = first.whole();
        if meant.iter().any(|(_, name)| name.whole() != first) {
            let names: Vec<&str> = meant.iter().map(|(record, _)| record.id.as_str()).collect();
            return Err(Error::Invalid(format!(
                "{} is the name of several cache mounts: give one of {}, or its owner and mode",
                wanted.id,
                names.join(", ")
            )));
        }
        let is_first = |record: &BuildRecord| record.id == nth_id(KIND, &first, 0);
        let at = meant.iter().position(|(record, _)| is_first(record)).unwrap_or(0);
        Ok(Some(meant.swap_remove(at)))
    }
}

fn mount(record: &BuildRecord, name: &Name) -> CacheMount {
    CacheMount {
        record: record.id.clone(),
        id: shown(&name.id).to_owned(),
        from: !name.base.is_empty(),
        uid: name.uid,
        gid: name.gid,
        mode: name.mode,
        created: record.created,
        used: record.used,
        ..CacheMount::default()
    }
}

fn none(wanted: &CacheMountName) -> Error {
    Error::NotFound(format!("no such cache mount: {}", wanted.id))
}

fn in_use(id: &str) -> Error {
    Error::InUse(format!("cache mount {id} is in use: wait until the build has ended"))
}

fn new_name() -> String {
    format!("{INCOMING}{}", snapshot::unique_name())
}

/// A directory of ours that nobody else looks at; removed when dropped.
#[derive(Debug)]
pub(crate) struct Incoming(PathBuf);

impl Incoming {
    fn new(path: PathBuf) -> Result<Self, Error> {
        // A process that had our number died here.
        remove(&path)?;
        DirBuilder::new().mode(0o700).create(&path).at("mkdir", &path)?;
        Ok(Self(path))
    }

    fn fill(&self, name: &Name, archive: &mut dyn Read) -> Result<(), Error> {
        let path = &self.0;
        // Of the directory itself the Dockerfile's word counts, not the archive's.
        cp::unpack(Root::open(path)?, Path::new("/"), Extract::default(), archive)?;
        chown(path, Some(name.uid), Some(name.gid)).at("chown", path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(name.mode)).at("chmod", path)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What cannot be removed now is when a builder begins.
        let _ = remove(&self.0);
    }
}

/// Has two directories change places.
fn exchange(new: &Path, old: &Path) -> Result<(), Error> {
    match renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        // The file system cannot: whoever is killed in between has an empty cache.
        Err(Errno::INVAL | Errno::NOSYS) => {
            remove(old)?;
            fs::rename(new, old).at("rename", new)
        }
        done => done.at("rename", new),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    if fs::symlink_metadata(path).is_ok() {
        Root::open(parent)?.remove_all(name)?;
    }
    Ok(())
}

/// Removes what processes that died were unpacking.
pub(crate) fn sweep(root: &Path) -> Result<(), Error> {
    for name in snapshot::folders::names(root)? {
        let Some(maker) = name.strip_prefix(INCOMING) else { continue };
        if !snapshot::maker_lives(maker) {
            remove(&root.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Name {
        let (id, source) = ("/npm".to_owned(), "/".to_owned());
        Name { id, base: String::new(), source, uid: 0, gid: 0, mode: 0o755 }
    }

    fn record(name: &Name, detail: String) -> BuildRecord {
        BuildRecord {
            id: "abc".into(),
            kind: KIND.into(),
            chain: None,
            identity: String::new(),
            description: name.description(),
            size: 0,
            created: 0,
            used: 0,
            uses: 1,
            detail,
        }
    }

    #[test]
    fn a_record_says_which_cache_it_is() {
        let other = Name { uid: 7, mode: 0o700, ..name() };
        assert_eq!(name_of(&record(&other, other.detail())), Some(other.clone()));
        assert_ne!(other.whole(), name().whole());
        // One of an older version, and one of another kind.
        let old = name_of(&record(&name(), String::new())).unwrap();
        assert_eq!((old.id.as_str(), old.mode), ("/npm", 0o755));
        let local = BuildRecord { kind: "source.local".into(), ..record(&name(), String::new()) };
        assert_eq!(name_of(&local), None);
    }

    #[test]
    fn one_of_a_build_is_called_otherwise() {
        let asked = BTreeMap::from([("npm".to_owned(), "s".to_owned())]);
        assert_eq!(own(&asked, "/npm").as_deref(), Some("/s/npm"));
        assert_eq!((own(&asked, "/go"), own(&asked, "other/npm")), (None, None));
        // As who brings what is in it calls it.
        let name = Name { id: "/s/npm".into(), ..name() };
        assert_eq!(name.shown(), "s/npm");
    }

    #[test]
    fn one_is_meant_by_either_name() {
        let found = mount(&record(&name(), String::new()), &name());
        let means = |id: &str| CacheMountName { id: id.into(), ..CacheMountName::default() };
        assert!(means("npm").means(&found) && means("abc").means(&found));
        assert!(!means("/npm").means(&found) && !means("").means(&found));
        let of_seven = CacheMountName { uid: Some(7), ..means("npm") };
        assert!(!of_seven.means(&found));
        // A target is an id, too.
        let target = Name { id: "//root/.npm".into(), ..name() };
        assert!(means("/root/.npm").means(&mount(&record(&target, String::new()), &target)));
    }
}
