//! Cache mounts that go with a cache (`cache-mounts=true`), and come with one.
//!
//! Each is an archive beside the layers in the cache's manifest, with a note of which cache mount it is; who does
//! not know of them passes them over. What comes is for a cache mount that is not here yet: what a machine has
//! itself is the newer one.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use oci::image::{Descriptor, media_type};
use tokio::time::{Instant, sleep};

use super::packing::pack_mount;
use super::{Packing, Place, lock};
use crate::Error;
use crate::build::Shared;
use crate::caches::{KIND, Name};
use crate::store::{Directory, nth_id};
use crate::tell::phase;

/// The note of an archive that says which cache mount it is.
const NOTE: &str = "dhow.cache-mount";
/// No cache has more of them.
const MAX: usize = 1000;
/// The longest note, in bytes.
const NOTE_BYTES: usize = 16 << 10;
/// How long somebody else's step is waited for that has one.
const WAIT: Duration = Duration::from_secs(30);
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(100);

/// The archives of cache mounts in a manifest, by all that makes each the one that it is.
pub(super) fn archives(layers: &[Descriptor]) -> Result<BTreeMap<String, Descriptor>, Error> {
    let noted = layers.iter().filter_map(|one| Some((one.annotations.get(NOTE)?, one)));
    let mut found = BTreeMap::new();
    for (note, archive) in noted {
        let wrong =
            |why: &str| Error::Invalid(format!("{} as a cache mount: {why}", archive.digest));
        if note.len() > NOTE_BYTES {
            return Err(wrong("the note of which it is has too many bytes"));
        }
        let name: Name = serde_json::from_str(note).map_err(|error| wrong(&error.to_string()))?;
        if !media_type::is_layer(&archive.media_type) || archive.size > buildcache::MAX_BLOB {
            return Err(wrong("it is no archive"));
        }
        found.insert(name.whole(), archive.clone());
    }
    if found.len() > MAX {
        return Err(Error::Invalid(format!("a cache with more than {MAX} cache mounts")));
    }
    Ok(found)
}

/// The archives of the cache mounts of this build's steps, each with its note. Of those that are not here the
/// archives that they were imported as.
pub(super) async fn pack(
    build: &Arc<Shared>,
    place: &Place,
    packing: Packing,
) -> Result<Vec<Descriptor>, Error> {
    let wanted = lock(&build.remote.mounts).clone();
    let mut packed = Vec::new();
    for (whole, name) in wanted {
        let archive = match pack_one(build, &whole, &name, packing).await? {
            Some(archive) => Some(archive),
            None => Box::pin(carry_on(build, place, &whole)).await?,
        };
        if let Some(mut archive) = archive {
            archive.annotations = [(NOTE.to_owned(), name.detail())].into();
            packed.push(archive);
        }
    }
    Ok(packed)
}

/// `None`: it is not here.
async fn pack_one(
    build: &Arc<Shared>,
    whole: &str,
    name: &Name,
    packing: Packing,
) -> Result<Option<Descriptor>, Error> {
    let id = nth_id(KIND, whole, 0);
    let until = Instant::now() + WAIT;
    loop {
        let (id, shown) = (id.clone(), name.clone());
        let packed = build.blocking(move |build| {
            let store = &build.builder.store;
            if !store.has(&id) || !store.is_ready(&id) {
                return Ok(None);
            }
            let mount = build.builder.archive_of(&id, shown.shown())?;
            pack_mount(build, &mount, packing).map(Some)
        });
        match packed.await {
            Err(Error::InUse(_)) if Instant::now() < until => sleep(LOOK).await,
            packed => return packed,
        }
    }
}

/// One that was imported, and that no step has needed: it stays in the cache.
async fn carry_on(
    build: &Arc<Shared>,
    place: &Place,
    whole: &str,
) -> Result<Option<Descriptor>, Error> {
    for import in build.imported() {
        let Some(archive) = import.mounts.get(whole) else { continue };
        if !place.has(archive).await? {
            Box::pin(build.fetch_blob(&import.place, archive)).await?;
        }
        return Ok(Some(archive.clone()));
    }
    Ok(None)
}

/// A cache mount that is being brought here: a type with a name, as the compiler wants it.
pub(crate) type Brought = Pin<Box<dyn Future<Output = Result<Directory, Error>> + Send>>;

impl Shared {
    /// Notes that a step of this build has a cache mount.
    pub(crate) fn note_mount(&self, name: Name) {
        lock(&self.remote.mounts).insert(name.whole(), name);
    }

    /// Gives a cache mount that nobody else has, and in which nothing is yet, what was imported for it.
    pub(crate) fn bring_mount(self: &Arc<Self>, name: Name, directory: Directory) -> Brought {
        let build = Arc::clone(self);
        Box::pin(async move { build.bring_one(name, directory).await })
    }

    async fn bring_one(
        self: &Arc<Self>,
        name: Name,
        directory: Directory,
    ) -> Result<Directory, Error> {
        let whole = name.whole();
        let found = self
            .imported()
            .into_iter()
            .find_map(|import| import.mounts.get(&whole).cloned().map(|archive| (import, archive)));
        let Some((import, archive)) = found else { return Ok(directory) };
        let shown = name.description();
        let bring = async {
            Box::pin(self.fetch_blob(&import.place, &archive)).await?;
            let unpack = move |build: &Arc<Self>| {
                let content = build.builder.images().content();
                let mut archive = content.reader(&archive.digest).map_err(images::Error::from)?;
                build.builder.unpack_cache_mount(&name, &mut archive)
            };
            self.blocking(unpack).await
        };
        // What cannot be had is told with the phase; a step can do without.
        let incoming = match Box::pin(phase(self, &format!("importing {shown}"), bring)).await {
            Ok(incoming) => incoming,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(_) => return Ok(directory),
        };
        let place = move |build: &Arc<Self>| {
            build.builder.replace_cache_mount(&incoming, &directory).map(|()| directory)
        };
        self.blocking(place).await
    }

    /// Brings a blob of a cache here; it is held by the build.
    async fn fetch_blob(
        self: &Arc<Self>,
        place: &Arc<Place>,
        archive: &Descriptor,
    ) -> Result<(), Error> {
        let archive = archive.clone();
        let blob = self.blocking(move |build| {
            let db = build.builder.engine.db();
            db.write(|tx| build.lease.keep(tx, &archive.digest))?;
            Ok(build.builder.images().blob(&archive)?)
        });
        let events: Arc<transfer::Events> = Arc::new(|_| ());
        place.fetch(&blob.await?, &events).await
    }
}

#[cfg(test)]
mod tests {
    use oci::Digest;

    use super::*;

    fn archive(note: &str) -> Descriptor {
        let mut one = Descriptor::new(media_type::LAYER_GZIP, Digest::sha256(note.as_bytes()), 7);
        one.annotations.insert(NOTE.into(), note.to_owned());
        one
    }

    #[test]
    fn archives_say_which_cache_mount_they_are() {
        let (base, source) = (String::new(), "/".to_owned());
        let name = Name { id: "/npm".into(), base, source, uid: 7, gid: 0, mode: 0o700 };
        let noted = archive(&name.detail());
        let mut layer = archive("");
        layer.annotations.clear();
        let found = archives(&[layer, noted.clone()]).unwrap();
        assert_eq!(found, [(name.whole(), noted.clone())].into());

        assert!(archives(&[archive("{}")]).is_err());
        assert!(archives(&[archive(&"x".repeat(NOTE_BYTES + 1))]).is_err());
        let text = Descriptor { media_type: "text/plain".into(), ..noted.clone() };
        assert!(archives(&[text]).is_err());
        let huge = Descriptor { size: buildcache::MAX_BLOB + 1, ..noted };
        assert!(archives(&[huge]).is_err());
    }
}
