//! Images: import, load, commit, resolve, list, remove, save, serve.
//!
//! An image is known by the digest of its configuration. Its pieces lie in two stores, blobs in
//! `content` and unpacked layers in `snapshot`; what there is says the database. The order that
//! keeps them together:
//!
//! ```text
//! add     (shared lock) note that something is done ─▶ files  ─▶ record ─▶ index ─▶ forget the note
//! remove  (lock alone)  note that something is done ─▶ record ─▶ files  ─▶ index ─▶ forget the note
//! ```
//!
//! So a record never names a file that is not there, and a process that died leaves a note, after
//! which [`Images::sweep`] deletes every file that no record names, and writes the index anew.
//!
//! Two names are not in any store: `host`, the machine's own root, and those of the images that
//! this program carries ([`EmbeddedImage`]), which unpack themselves when they are first asked for.
//!
//! What it does not do: it knows no registry, and what containers do is told to it.
#![forbid(unsafe_code)]

mod archive;
mod artifact;
mod attestation;
mod bill;
mod built;
mod built_image;
mod built_layers;
mod change;
mod check;
mod commit;
mod convert;
mod decoding;
mod dissolve;
mod driver;
mod embedded;
mod error;
mod explain;
mod gc;
mod gc_log;
mod host;
mod import;
mod install;
mod list;
mod load;
mod load_v1;
mod pull;
mod push;
mod remove;
mod repair;
mod resolve;
mod save;
mod serve;
mod statement;
mod target;
mod unpack;
mod usage;
mod words;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use docker::timestamp::Timestamp;
use metadata::{Db, Read};
use oci::image::{Descriptor, ImageConfig, Index, media_type};
use oci::{ChainId, Digest};
use reference::Reference;
use snapshot::{Form, Snapshotter};

use resolve::Found;

pub use artifact::ArtifactPull;
pub use attestation::Attestation;
pub use built::{IfNothing, Sealed};
pub use built_image::{Built, BuiltImage, InstalledBuilt};
pub use built_layers::ElsewhereLayer;
pub use check::{Checked, Checking, Tell};
pub use commit::Commit;
pub use convert::Schema;
pub use driver::Driver;
pub use embedded::EmbeddedImage;
pub use error::{Class, Error};
pub use explain::{Act, Change, Explained, ExplainedLayer, TreeLayer};
pub use gc_log::CollectionLog;
pub use host::platform as host_platform;
pub use import::Import;
pub use list::{Details, HistoryEntry, Summary};
pub use load::Loaded;
pub use pull::{Pull, PullBlob, Step};
pub use push::{Push, PushDocument};
pub use remove::{Pruned, Removed};
pub use serve::{Key, NewManifest, Referrers, Refused, Taken};
pub use statement::{Said, SaidOf, StepLayers, statement};
pub use target::{IndexDocument, ManifestKind, ManifestSummary};
pub use usage::LayerUsage;

/// The name of the machine's own root as an image.
pub const HOST: &str = "host";

/// All images of one root. Threads and processes share it.
#[derive(Debug)]
pub struct Images {
    db: Arc<Db>,
    content: content::Store,
    snapshots: Box<dyn Snapshotter>,
    embedded: &'static [EmbeddedImage],
}

/// An image, ready to be run.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// The digest of its manifest; the machine's own root has none.
    pub manifest: Option<Digest>,
    /// The name that it was asked for by, if it was a name.
    pub reference: Option<Reference>,
    /// How to run it.
    pub config: ImageConfig,
    /// It cannot be run: an artifact of this type, whose id is the digest of its manifest.
    pub artifact: Option<String>,
    /// Its layers, lowest first, all unpacked.
    pub chain: Vec<ChainId>,
    /// Where its files are.
    pub root: RootKind,
    /// Of all its files, in bytes.
    pub size: u64,
    /// When it was made, as it says itself; nanoseconds since 1970.
    pub created: i64,
}

/// Where an image's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// In layers.
    Layers,
    /// It is the machine's own root; there are no layers.
    Host,
}

impl Images {
    /// Opens the images of `root`. Cheap: a few folders are looked for. A new root gets the storage
    /// driver that is asked for, or that works best; one that has another than was asked for is not
    /// opened.
    pub fn open(
        root: &Path,
        db: Arc<Db>,
        embedded: &'static [EmbeddedImage],
        driver: Option<Driver>,
    ) -> Result<Self, Error> {
        let content = content::Store::open(&root.join("content"))?;
        let snapshots = driver::open(&root.join("snapshots"), driver)?;
        // Without one all goes on as well, but for removing something on a full disk.
        let _ = content.keep_reserve();
        Ok(Self { db, content, snapshots, embedded })
    }

    /// Gives away the room that is kept for a full disk, if another has not done that in this moment.
    pub fn make_room(&self) -> Result<(), Error> {
        Ok(self.content.release_reserve().map(drop)?)
    }

    /// Does what makes room; once more with the room that is kept, where the disk is full.
    fn with_room<T>(&self, act: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        match act() {
            Err(error) if error.is_out_of_space() => {
                self.make_room()?;
                act()
            }
            done => done,
        }
    }

    /// Where layers and writable layers are.
    pub fn snapshots(&self) -> &dyn Snapshotter {
        &*self.snapshots
    }

    /// How whiteouts of a layer are to be unpacked.
    fn whiteouts(&self) -> diff::Whiteouts {
        match self.snapshots.form() {
            Form::Own => diff::Whiteouts::Overlay,
            Form::Whole => diff::Whiteouts::Files,
        }
    }

    /// Where blobs are.
    pub fn content(&self) -> &content::Store {
        &self.content
    }

    /// Gives the image that `source` means the name `target` too.
    pub fn tag(&self, source: &str, target: &str) -> Result<(), Error> {
        let target = tag_reference(target)?;
        let found = self.find(source)?;
        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            self.set_tag(&target, &found)?;
            self.note_tagging(&found.id)?;
            self.write_index()
        })
    }

    /// Notes that somebody has just given an image a name: not that it came with one.
    pub(crate) fn note_tagging(&self, id: &Digest) -> Result<(), Error> {
        Ok(self.db.write(|tx| tx.note_tagging(id, now()))?)
    }

    /// Gives what was found a name.
    pub(crate) fn set_tag(&self, name: &Reference, found: &Found) -> Result<(), Error> {
        let (reference, image) = (name.to_string(), found.id.clone());
        let tag = metadata::Tag { reference, image, target: found.target.clone(), updated: now() };
        // It may have gone since it was looked for.
        self.db.write_durable(|tx| {
            let target = tag.target.as_ref().map(|target| tx.target(target)).transpose()?;
            match (tx.image(&tag.image)?, target) {
                (None, _) | (_, Some(None)) => Err(Error::NoImage(tag.image.to_string())),
                _ => Ok(tx.set_tag(&tag)?),
            }
        })
    }

    /// Brings `index.json` in line with the database.
    fn write_index(&self) -> Result<(), Error> {
        let _lock = self.content.lock_index()?;
        Ok(self.content.write_index(&self.index()?)?)
    }

    /// What `index.json` has to say.
    fn index(&self) -> Result<Index, Error> {
        let (images, targets, within, tags) = self.db.read(|tx: &Read| {
            Ok::<_, Error>((tx.images()?, tx.targets()?, tx.images_of_targets()?, tx.tags()?))
        })?;
        let mut manifests = Vec::new();
        let mut add = |plain: Descriptor, names: Vec<&metadata::Tag>, is_alone: bool| {
            if names.is_empty() && is_alone {
                manifests.push(plain.clone());
            }
            for tag in names {
                manifests.push(named_descriptor(plain.clone(), &tag.reference));
            }
        };
        for image in &images {
            let Some(size) = self.content.size(&image.manifest)? else { continue };
            let plain = Descriptor::new(media_type::MANIFEST, image.manifest.clone(), size);
            let names = tags.iter().filter(|tag| tag.image == image.id && tag.target.is_none());
            let is_in_a_target = within.iter().any(|one| one.manifest == image.manifest);
            add(plain, names.collect(), !is_in_a_target);
        }
        for target in &targets {
            let Some(size) = self.content.size(&target.digest)? else { continue };
            let plain = Descriptor::new(&target.media_type, target.digest.clone(), size);
            let names = tags.iter().filter(|tag| tag.target.as_ref() == Some(&target.digest));
            add(plain, names.collect(), true);
        }
        Ok(Index::new(manifests))
    }
}

/// Adds an image's name to its descriptor, as other tools read it.
fn named_descriptor(mut descriptor: Descriptor, reference: &str) -> Descriptor {
    let annotations = &mut descriptor.annotations;
    // In a store with many images a tag alone would mean several: with the whole name all find the right one.
    annotations.insert(oci::image::ANNOTATION_REF_NAME.into(), reference.into());
    annotations.insert(oci::image::ANNOTATION_IMAGE_NAME.into(), reference.into());
    descriptor
}

/// A name to give to an image: with a tag, without a digest.
fn tag_reference(text: &str) -> Result<Reference, Error> {
    let reference: Reference = text.parse()?;
    if reference.digest().is_some() {
        return Err(Error::Invalid("refusing to create a tag with a digest reference".into()));
    }
    if reference.familiar().split(':').next() == Some("sha256") {
        let why = "refusing to create an ambiguous tag using digest algorithm as name";
        return Err(Error::Invalid(why.into()));
    }
    check_target(reference)
}

fn check_target(reference: Reference) -> Result<Reference, Error> {
    let reference = reference.with_default_tag();
    if reference.familiar() == format!("{HOST}:latest") {
        let why = format!("`{HOST}` is the machine's own root file system: choose another name");
        return Err(Error::Invalid(why));
    }
    Ok(reference)
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The time that a configuration states, nanoseconds since 1970; 0 where it states none.
fn created(config: &ImageConfig) -> i64 {
    let stated = config.created.as_deref().unwrap_or_default();
    Timestamp::parse(stated).map_or(0, Timestamp::as_nanos)
}

#[cfg(test)]
mod tests;
