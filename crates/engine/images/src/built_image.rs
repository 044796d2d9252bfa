//! Images of what builds have made: of one platform or several, with what is attested of them.

use std::collections::BTreeMap;

use oci::image::{Descriptor, ImageConfig, Index, Manifest, Platform, RootFs, media_type};
use oci::{ChainId, DiffId, Digest};
use reference::Reference;

use crate::built::{Archive, KeptLayers};
use crate::convert::{Schema, in_schema};
use crate::install::{Names, parse_config, to_json};
use crate::resolve::Found;
use crate::statement::{self, Said};
use crate::target::{IndexDocument, REFERENCE_DIGEST, REFERENCE_TYPE, Within};
use crate::{Error, Image, Images};

/// What a statement's document is, as BuildKit stores it (`docs/attestations/attestation-storage.md`).
const STATEMENT: &str = "application/vnd.in-toto+json";
/// Of a statement, what it says something of.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// What a manifest of statements says that it is.
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The configuration of what has none.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// The same in base64: nobody need ask for it.
const EMPTY_DATA: &str = "e30=";

/// An image to be made of layers that are all here.
#[derive(Clone, Debug, Default)]
pub struct BuiltImage {
    /// Its configuration, as it is to be: its `diff_ids` are those of `chain`.
    pub config: Vec<u8>,
    /// Its layers, lowest first.
    pub chain: Vec<ChainId>,
    /// Notes for its manifest.
    pub annotations: BTreeMap<String, String>,
    /// Notes for its layers, by their places; those of others have none.
    pub layer_annotations: BTreeMap<usize, BTreeMap<String, String>>,
    /// Notes for what an index says of it.
    pub entry_annotations: BTreeMap<String, String>,
    /// What is attested of it.
    pub statements: Vec<Said>,
    /// What statements call it: package URLs.
    pub subjects: Vec<String>,
}

/// What an image, or several, are to be.
#[derive(Clone, Debug, Default)]
pub struct Built {
    /// One for each platform.
    pub images: Vec<BuiltImage>,
    /// Their names; none: they have none.
    pub names: Vec<Reference>,
    /// An index, also of one image of which nothing is attested.
    pub index: bool,
    /// Notes for the index.
    pub annotations: BTreeMap<String, String>,
    /// The archives that layers are to have, which are here; of others it is one that is here, or a new one.
    pub archives: BTreeMap<ChainId, Descriptor>,
    /// The documents are of Docker's types, not OCI's.
    pub docker_types: bool,
    /// What is attested is an image, as it was before there were artifacts.
    pub attested_by_image: bool,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct InstalledBuilt {
    /// The image; of several that which is meant on this machine.
    pub image: Image,
    /// Its manifest, or the index.
    pub root: Descriptor,
}

/// An image whose layers are in their places, but not recorded.
struct Ready {
    config: Vec<u8>,
    manifest: Vec<u8>,
    layers: KeptLayers,
    entry: Descriptor,
}

impl Images {
    /// Makes images of layers that are all here.
    pub fn install_built(&self, built: &Built) -> Result<InstalledBuilt, Error> {
        let names = built.names.iter().map(|name| crate::check_target(name.clone()));
        let names: Vec<Reference> = names.collect::<Result<_, _>>()?;
        let mut packed: Vec<(ImageConfig, Vec<Archive>)> = Vec::new();
        for image in &built.images {
            let config = parse_config(&image.config)?;
            if ChainId::chain(&config.rootfs.diff_ids) != image.chain {
                let why = "the layers of the configuration are not those of the result";
                return Err(Error::Invalid(why.into()));
            }
            packed.push((config, self.pack_missing(&image.chain, &built.archives)?));
        }
        let _lock = self.content.lock_shared()?;
        self.with_note(|| {
            let mut ready = Vec::new();
            for (image, (config, archives)) in built.images.iter().zip(packed) {
                ready.push(self.ready(image, &config, archives, built.docker_types)?);
            }
            let is_plain = built.images.iter().all(|image| image.statements.is_empty());
            let installed = match &ready[..] {
                [] => return Err(Error::Invalid("no image to make".into())),
                [one] if is_plain && !built.index => self.record_plain(one, &names)?,
                all => self.record_index(built, all, &names)?,
            };
            if !names.is_empty() {
                self.note_tagging(&installed.image.id)?;
            }
            Ok(installed)
        })
    }

    fn ready(
        &self,
        image: &BuiltImage,
        config: &ImageConfig,
        archives: Vec<Archive>,
        docker_types: bool,
    ) -> Result<Ready, Error> {
        let layers = self.keep_archives(&image.chain, &config.rootfs.diff_ids, archives)?;
        let descriptor = Descriptor::of(media_type::CONFIG, &image.config);
        let mut descriptors = layers.descriptors.clone();
        for (at, notes) in &image.layer_annotations {
            if let Some(layer) = descriptors.get_mut(*at) {
                layer.annotations.extend(notes.clone());
            }
        }
        let mut manifest = Manifest::new(descriptor, descriptors);
        manifest.annotations.clone_from(&image.annotations);
        if docker_types {
            manifest = in_schema(&manifest, Schema::Docker)?;
        }
        let kind = manifest.media_type.clone().unwrap_or_default();
        let manifest = to_json("the image manifest", &manifest)?;
        let mut entry = Descriptor::of(&kind, &manifest);
        entry.platform = crate::target::platform_of(config);
        entry.annotations.clone_from(&image.entry_annotations);
        Ok(Ready { config: image.config.clone(), manifest, layers, entry })
    }

    fn record_plain(&self, one: &Ready, names: &[Reference]) -> Result<InstalledBuilt, Error> {
        let size = one.layers.size;
        let (config, manifest, rows) = (&one.config, &one.manifest, &one.layers.rows);
        let image = self.record(config, manifest, rows, names.first(), |_| Ok(size))?;
        self.name_too(&image.id, None, names)?;
        Ok(InstalledBuilt { image, root: one.entry.clone() })
    }

    fn record_index(
        &self,
        built: &Built,
        all: &[Ready],
        names: &[Reference],
    ) -> Result<InstalledBuilt, Error> {
        let mut entries: Vec<Descriptor> = all.iter().map(|one| one.entry.clone()).collect();
        let mut others = Vec::new();
        for (image, one) in built.images.iter().zip(all) {
            if !image.statements.is_empty() {
                let as_artifact = !built.attested_by_image;
                entries.push(self.attest(image, one, as_artifact, &mut others)?);
            }
        }
        let mut index = Index::new(entries);
        index.annotations.clone_from(&built.annotations);
        let kind = if built.docker_types { media_type::DOCKER_INDEX } else { media_type::INDEX };
        index.media_type = Some(kind.into());
        let bytes = to_json("the index", &index)?;
        let root = Descriptor::of(kind, &bytes);
        let documents = [IndexDocument { media_type: kind.into(), bytes }];
        let within = Within::Indexes(&documents, &others);
        let mut image = None;
        for one in all {
            let size = one.layers.size;
            let named = Names { tag: names.first(), within, ..Names::default() };
            let (config, manifest, rows) = (&one.config, &one.manifest, &one.layers.rows);
            image = Some(self.record(config, manifest, rows, named, |_| Ok(size))?);
        }
        let last = image.ok_or_else(|| Error::Invalid("no image to make".into()))?;
        let meant = self.db.read(|tx| tx.target(&root.digest))?.map(|target| target.image);
        let image = match meant {
            Some(id) if id != last.id => self.get(&id)?,
            _ => last,
        };
        self.name_too(&image.id, Some(&root.digest), names)?;
        Ok(InstalledBuilt { image, root })
    }

    /// Gives what was made its names but the first.
    fn name_too(
        &self,
        id: &Digest,
        target: Option<&Digest>,
        names: &[Reference],
    ) -> Result<(), Error> {
        for name in names.iter().skip(1) {
            let found = Found { id: id.clone(), reference: None, target: target.cloned() };
            self.set_tag(name, &found)?;
        }
        if names.len() > 1 {
            self.write_index()?;
        }
        Ok(())
    }

    /// Keeps what is attested of a manifest, as a manifest of its own for the same index.
    fn attest(
        &self,
        image: &BuiltImage,
        made: &Ready,
        as_artifact: bool,
        kept: &mut Vec<Digest>,
    ) -> Result<Descriptor, Error> {
        let about = &made.entry;
        let named = |name: &String| (name.clone(), about.digest.clone());
        let subjects: Vec<_> = image.subjects.iter().map(named).collect();
        let mut layers = Vec::new();
        for said in &image.statements {
            let mut says = said.with_layers(&made.layers.descriptors)?;
            if said.names_files {
                self.name_layers(&mut says, &image.chain, &made.layers.descriptors);
            }
            let bytes = statement::of(&said.predicate_type, says, &said.subjects, &subjects)?;
            let mut layer = self.keep(STATEMENT, &bytes, kept)?;
            layer.annotations.insert(PREDICATE_TYPE.into(), said.predicate_type.clone());
            layers.push(layer);
        }
        let unknown = Platform {
            architecture: "unknown".into(),
            os: "unknown".into(),
            ..Platform::default()
        };
        let config = if as_artifact {
            let config = self.keep(EMPTY.0, EMPTY.1, kept)?;
            Descriptor { data: Some(EMPTY_DATA.to_owned()), ..config }
        } else {
            let config = to_json("the image configuration", &config(&unknown, &layers))?;
            self.keep(media_type::CONFIG, &config, kept)?
        };
        let mut manifest = Manifest::new(config, layers);
        if as_artifact {
            manifest.artifact_type = Some(ARTIFACT.into());
            let subject = Descriptor::new(&about.media_type, about.digest.clone(), about.size);
            manifest.subject = Some(Box::new(subject));
        }
        let manifest = to_json("the image manifest", &manifest)?;
        let mut entry = self.keep(media_type::MANIFEST, &manifest, kept)?;
        entry.platform = Some(unknown);
        entry.annotations.insert(REFERENCE_TYPE.into(), "attestation-manifest".into());
        entry.annotations.insert(REFERENCE_DIGEST.into(), about.digest.to_string());
        Ok(entry)
    }

    fn keep(&self, kind: &str, bytes: &[u8], kept: &mut Vec<Digest>) -> Result<Descriptor, Error> {
        self.content.put(kind, bytes)?;
        let descriptor = Descriptor::of(kind, bytes);
        kept.push(descriptor.digest.clone());
        Ok(descriptor)
    }
}

/// The configuration of an image of statements.
fn config(platform: &Platform, layers: &[Descriptor]) -> ImageConfig {
    let diff_ids = layers.iter().map(|layer| DiffId(layer.digest.clone())).collect();
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        rootfs: RootFs { diff_ids, ..RootFs::default() },
        ..ImageConfig::default()
    }
}
