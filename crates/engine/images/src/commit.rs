//! Making an image of what a container changed.

use std::io::Read;
use std::path::Path;

use content::Finished;
use docker::timestamp::Timestamp;
use oci::image::{
    Config, Descriptor, History, ImageConfig, MAX_MANIFEST, Manifest, Platform, media_type,
};
use oci::{DiffId, Digest};
use reference::Reference;
use snapshot::Mounts;

use crate::install::{LayerSource, Names, to_json};
use crate::{Error, Image, Images, change, check_target, now};

/// What to make of a container.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// The image's name; the tag is `latest` where it has none.
    pub reference: Option<Reference>,
    /// How to run it, before the changes.
    pub config: Config,
    /// Instructions of a Dockerfile.
    pub changes: Vec<String>,
    /// Who makes it.
    pub author: Option<String>,
    /// A note for the history.
    pub message: Option<String>,
    /// The container's command, for the history.
    pub created_by: Option<String>,
    /// The container's id.
    pub container: Option<String>,
}

/// The digest of an archive in which nothing is.
const EMPTY: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

impl Images {
    /// Makes an image of what was written in `mounts`, on the layers of the image `base` (none for a
    /// container without an image), to which it adds none where nothing was written. Nothing may write to it
    /// meanwhile. Where it is a directory, empty mount points as in the tree `mountpoints` are not taken for
    /// something new.
    pub fn commit(
        &self,
        mounts: &Mounts,
        mountpoints: Option<&Path>,
        base: Option<&Digest>,
        commit: &Commit,
    ) -> Result<Image, Error> {
        let reference = match &commit.reference {
            Some(reference) if reference.digest().is_some() => {
                return Err(Error::Invalid("cannot commit to digest reference".into()));
            }
            Some(reference) => Some(check_target(reference.clone())?),
            None => None,
        };
        let mut run = commit.config.clone();
        change::apply_all(&mut run, &commit.changes)?;
        let mut top = self.content.writer(diff::Limits::default().stream)?;
        match mounts {
            Mounts::Overlay { upper, lower, .. } => diff::pack(upper, lower, &mut top)?,
            Mounts::Directory { root, before, since } => {
                let changes = tree::compare(&tree::Compare {
                    before: before.as_deref(),
                    now: root,
                    since: Some(*since),
                    ignored: mountpoints,
                })
                .map_err(snapshot::Error::from)?;
                diff::pack_changes(root, &changes, &mut top)?
            }
        };
        let top = top.finish()?;
        let is_empty = top.digest().hex() == EMPTY;

        let created = Timestamp::from_nanos(now()).to_string();
        let (mut config, mut layers) = match base {
            Some(id) => self.base(id)?,
            None => (blank(), Vec::new()),
        };
        config.created = Some(created.clone());
        config.author.clone_from(&commit.author);
        config.comment.clone_from(&commit.message);
        config.container.clone_from(&commit.container);
        config.config = run;
        // An image has one layer at least.
        let top = (!is_empty || layers.is_empty()).then_some(top);
        config.rootfs.diff_ids.extend(top.iter().map(|top| DiffId(top.digest().clone())));
        config.history.push(History {
            created: Some(created),
            created_by: commit.created_by.clone(),
            author: commit.author.clone(),
            comment: commit.message.clone(),
            empty_layer: top.is_none(),
        });

        let config = to_json("the image configuration", &config)?;
        let descriptor = Descriptor::of(media_type::CONFIG, &config);
        let mut sources: Vec<Box<dyn LayerSource + '_>> = Vec::new();
        for layer in &layers {
            sources.push(Box::new(Kept { digest: layer.digest.clone(), content: &self.content }));
        }
        if let Some(top) = top {
            layers.push(Descriptor::new(media_type::LAYER, top.digest().clone(), top.size()));
            sources.push(Box::new(top));
        }
        let manifest = to_json("the image manifest", &Manifest::new(descriptor, layers))?;
        let names = Names { tag: reference.as_ref(), parent: base, ..Names::default() };
        let image = self.install_foreign(&manifest, &config, &sources, names)?;
        if reference.is_some() {
            self.note_tagging(&image.id)?;
        }
        Ok(image)
    }

    /// The configuration and the layers of an image to build on.
    fn base(&self, id: &Digest) -> Result<(ImageConfig, Vec<Descriptor>), Error> {
        let image = self.get(id)?;
        let Some(manifest) = image.manifest else {
            let why = "a container of the machine's own root cannot become an image";
            return Err(Error::Invalid(why.into()));
        };
        let bytes = self.content.read(&manifest, MAX_MANIFEST as u64)?;
        let manifest = Manifest::parse(&bytes)
            .map_err(|source| Error::Format { what: format!("read {manifest}"), source })?;
        Ok((image.config, manifest.layers))
    }
}

fn blank() -> ImageConfig {
    let platform = Platform::native();
    ImageConfig {
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        ..ImageConfig::default()
    }
}

/// A layer whose archive is in the store already.
pub(crate) struct Kept<'a> {
    pub(crate) digest: Digest,
    pub(crate) content: &'a content::Store,
}

impl LayerSource for Kept<'_> {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, Error> {
        Ok(Box::new(self.content.reader(&self.digest)?))
    }

    fn digest(&self) -> &Digest {
        &self.digest
    }

    fn keep(&self, _: &content::Store) -> Result<(), Error> {
        // Under the lock by now: if the base went meanwhile, its layers may have gone with it.
        match self.content.size(&self.digest)? {
            Some(_) => Ok(()),
            None => Err(content::Error::NotFound { digest: self.digest.clone() }.into()),
        }
    }
}

impl LayerSource for Finished {
    fn open(&self) -> Result<Box<dyn Read + Send + '_>, Error> {
        Ok(Box::new(Finished::open(self)?))
    }

    fn digest(&self) -> &Digest {
        Finished::digest(self)
    }

    fn keep(&self, _: &content::Store) -> Result<(), Error> {
        Finished::keep(self, None)?;
        Ok(())
    }
}
