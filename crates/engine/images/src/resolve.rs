//! From what a person writes to an image that can be run.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use metadata::{Archive, ImageLayer};
use oci::image::{Config, ImageConfig, MAX_CONFIG, Platform, RootFs};
use oci::{ChainId, Digest};
use reference::Reference;

use crate::install::{parse_config, to_json};
use crate::target::{Match, platform_of};
use crate::unpack::Source;
use crate::{Error, HOST, Image, Images, Import, RootKind};

/// Where programs are, in an image that does not say.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What was found, and by which name.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: Digest,
    pub(crate) reference: Option<Reference>,
    /// What is meant, where that is not the image's own manifest.
    pub(crate) target: Option<Digest>,
}

impl Images {
    /// The image that `name` means (a name, an id or the start of one, or [`HOST`]), with all its
    /// layers unpacked. [`Error::NoImage`] where there is none.
    pub fn resolve(&self, name: &str) -> Result<Image, Error> {
        self.resolve_for(name, None)
    }

    /// The same for a platform: of an index the image for it, which is unpacked where only its
    /// blobs are here.
    pub fn resolve_for(&self, name: &str, wanted: Option<&Platform>) -> Result<Image, Error> {
        if name == HOST {
            return host();
        }
        self.ensure_embedded(name)?;
        let found = self.find(name)?;
        let mut image = match wanted {
            None => self.get(&found.id)?,
            Some(wanted) => {
                let chosen = self.choose_manifest(&found, wanted, Match::Runs)?;
                let manifest = chosen
                    .ok_or_else(|| self.not_for(name, &found, wanted).unwrap_or_else(|e| e))?;
                match (self.image_of_manifest(&manifest)?, &found.target) {
                    (Some(id), _) => self.get(&id)?,
                    (None, Some(target)) => self.unpack_manifest(target, &manifest)?,
                    (None, None) => return Err(Error::NoImage(name.into())),
                }
            }
        };
        if let Some(kind) = &image.artifact {
            return Err(Error::Artifact { name: name.into(), kind: kind.clone() });
        }
        image.reference = found.reference;
        self.ensure_unpacked(&image)?;
        Ok(image)
    }

    /// That what was found is not for a platform.
    pub(crate) fn not_for(
        &self,
        name: &str,
        found: &Found,
        wanted: &Platform,
    ) -> Result<Error, Error> {
        let is_index = self.entries(found)?.len() > 1;
        let name = found.reference.as_ref().map_or_else(|| name.into(), Reference::familiar);
        let wanted = wanted.to_string();
        if is_index {
            return Ok(Error::NotProvided { name, wanted });
        }
        let has = platform_of(&self.get(&found.id)?.config).unwrap_or_default().to_string();
        Ok(Error::OtherPlatform { name, has, wanted })
    }

    /// The image of what was found for a platform, whether it is unpacked or not.
    pub(crate) fn image_for(
        &self,
        name: &str,
        found: &Found,
        wanted: Option<&Platform>,
    ) -> Result<Image, Error> {
        let Some(wanted) = wanted else { return self.get(&found.id) };
        let Some(manifest) = self.choose_manifest(found, wanted, Match::Same)? else {
            return Err(self.not_for(name, found, wanted)?);
        };
        if let Some(id) = self.image_of_manifest(&manifest)? {
            return self.get(&id);
        }
        let Some((read, _)) = self.manifest(&manifest)? else {
            return Err(Error::NoImage(name.into()));
        };
        let config = parse_config(&self.content.read(&read.config.digest, MAX_CONFIG as u64)?)?;
        Ok(Image {
            id: read.config.digest,
            manifest: Some(manifest),
            reference: None,
            created: crate::created(&config),
            chain: ChainId::chain(&config.rootfs.diff_ids),
            config,
            artifact: None,
            root: RootKind::Layers,
            size: 0,
        })
    }

    /// The image with exactly this id.
    pub fn get(&self, id: &Digest) -> Result<Image, Error> {
        if let Some(host) = host().ok().filter(|host| host.id == *id) {
            return Ok(host);
        }
        let found = self.db.read(|tx| match tx.image(id)? {
            Some(row) => Ok::<_, Error>(Some((row, tx.image_layers(id)?))),
            None => Ok(None),
        })?;
        let Some((row, layers)) = found else { return Err(Error::NoImage(id.to_string())) };
        let (config, artifact) = if row.id == row.manifest {
            (ImageConfig::default(), Some(self.artifact_type(id)?))
        } else {
            (parse_config(&self.content.read(id, MAX_CONFIG as u64)?)?, None)
        };
        Ok(Image {
            id: row.id,
            manifest: Some(row.manifest),
            reference: None,
            config,
            artifact,
            chain: layers.into_iter().map(|layer| layer.chain).collect(),
            root: RootKind::Layers,
            size: row.size,
            created: row.created,
        })
    }

    /// The image made of the root file system archive `path` (tar, tar.gz or tar.zst). It has no
    /// name; as long as the file does not change it is unpacked once. A pipe is read each time.
    pub fn rootfs_archive(&self, path: &Path) -> Result<Image, Error> {
        let at = |call| move |source| Error::Io { call, path: path.into(), source };
        let mut file = File::open(path).map_err(at("open"))?;
        let found = file.metadata().map_err(at("stat"))?;
        if found.is_dir() {
            return Err(Error::Invalid(format!(
                "\"{path}\" is a directory: give an archive of it (tar -C {path} -c . > rootfs.tar)",
                path = path.display()
            )));
        }
        let kind = found.file_type();
        if !found.is_file() && !kind.is_fifo() && !kind.is_char_device() {
            return Err(Error::Invalid(format!("\"{}\" is not a file", path.display())));
        }
        let before = found.is_file().then(|| archive(&found));
        if let Some(id) = match &before {
            Some(archive) => self.db.read(|tx| tx.archive_image(archive))?,
            None => None,
        } {
            let image = self.get(&id)?;
            self.ensure_unpacked(&image)?;
            return Ok(image);
        }
        // As old as the file, so that the same file makes the same image.
        let import = Import { created: before.map(|archive| archive.mtime), ..Import::default() };
        let image = self
            .import(&mut file, &import, &mut |_| ())
            .map_err(|source| Error::Rootfs { path: path.into(), source: Box::new(source) })?;
        let after = archive(&file.metadata().map_err(at("stat"))?);
        if before == Some(after) {
            self.db.write(|tx| tx.set_archive(&after, &image.id))?;
        }
        Ok(image)
    }

    /// The id that `name` means.
    pub(crate) fn find(&self, name: &str) -> Result<Found, Error> {
        let by_id = |tx: &metadata::Read, id: Digest| {
            let target = tx.target_of_image(&id)?;
            Ok::<_, Error>(Found { id, reference: None, target })
        };
        // A whole digest is an id, or of a target; a name that looks like one would be refused as a
        // name.
        if let Ok(digest) = name.parse::<Digest>() {
            return self.db.read(|tx| match (tx.image(&digest)?, tx.target(&digest)?) {
                (_, Some(target)) => {
                    Ok(Found { id: target.image, reference: None, target: Some(digest) })
                }
                (Some(row), None) => by_id(tx, row.id),
                // Of an image without a name it is all that may have been told.
                (None, None) => match tx.image_by_manifest(&digest)? {
                    Some(row) => Ok(Found { id: row.id, reference: None, target: None }),
                    None => Err(Error::NoImage(name.into())),
                },
            });
        }
        let reference = match name.parse::<Reference>() {
            Ok(reference) => Some(reference.with_default_tag()),
            Err(reference::Error::LooksLikeId(_)) => None,
            Err(_) if name.starts_with("sha256:") => None,
            Err(error) => return Err(error.into()),
        };
        self.db.read(|tx| {
            if let Some(reference) = &reference {
                let found = if let Some(digest) = reference.digest() {
                    // As Docker: who names a repository means what that one has.
                    if !is_meant_there(tx, &reference.name(), digest)? {
                        return Err(Error::NoImage(reference.familiar()));
                    }
                    let called = format!("{}@{digest}", reference.name());
                    let row =
                        match (tx.image_by_repo_digest(&called)?, tx.image_by_manifest(digest)?) {
                            (None, None) => tx.image(digest)?,
                            (called, made) => called.or(made),
                        };
                    match (tx.target(digest)?, row) {
                        (Some(target), _) => Some((target.image, Some(target.digest))),
                        (None, row) => row.map(|row| (row.id, None)),
                    }
                } else {
                    let tagged = tx.tagged(&reference.to_string())?;
                    tagged.map(|(row, target)| (row.id, target))
                };
                if let Some((id, target)) = found {
                    return Ok(Found { id, reference: Some(reference.clone()), target });
                }
            }
            match tx.image_by_prefix(name) {
                Ok(Some(row)) => by_id(tx, row.id),
                Err(metadata::Error::Ambiguous { .. }) => Err(Error::Ambiguous(name.into())),
                Err(error) => Err(error.into()),
                Ok(None) => Err(Error::NoImage(
                    reference.map_or_else(|| name.into(), |reference| reference.familiar()),
                )),
            }
        })
    }

    /// The image that a name, or an id, means; `None`: there is none.
    pub fn meant_by(&self, name: &str) -> Result<Option<Digest>, Error> {
        if name == crate::HOST {
            return Ok(Some(self.resolve(name)?.id));
        }
        match self.find(name) {
            Ok(found) => Ok(Some(found.id)),
            // What was a reference once, and is none by today's rules, names nothing either.
            Err(error) if error.class() == crate::Class::NotFound => Ok(None),
            Err(Error::Reference(_) | Error::Ambiguous(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a name that is here means at registries: the digest of an index, or of a manifest.
    pub fn digest_of(&self, name: &str) -> Result<Option<Digest>, Error> {
        let found = match self.find(name) {
            Err(Error::NoImage(_)) => return Ok(None),
            found => found?,
        };
        if found.target.is_some() {
            return Ok(found.target);
        }
        Ok(self.db.read(|tx| tx.image(&found.id))?.map(|row| row.manifest))
    }

    /// Whether the repository of a name is known to have what the digest in it says: it came from there or
    /// went there, or one of its tags means that. A name without a digest says nothing that could be wrong.
    pub fn is_known_there(&self, reference: &Reference) -> Result<bool, Error> {
        let Some(digest) = reference.digest() else { return Ok(true) };
        self.db.read(|tx| Ok(is_meant_there(tx, &reference.name(), digest)?))
    }

    /// Unpacks again what somebody has deleted.
    fn ensure_unpacked(&self, image: &Image) -> Result<(), Error> {
        let mut missing = false;
        for layer in &image.chain {
            missing |= !self.snapshots.has_layer(layer)?;
        }
        if !missing {
            return Ok(());
        }
        let _lock = self.content.lock_shared()?;
        let layers = self.db.read(|tx| tx.image_layers(&image.id))?;
        let diffs: Vec<_> = layers.iter().map(|layer| layer.diff.clone()).collect();
        let chain = ChainId::chain(&diffs);
        self.unpack_chain(&chain, &diffs, &Kept { layers: &layers, content: &self.content })?;
        Ok(())
    }
}

/// Whether a repository is known to have what a digest says: it came from there or went there, or one of its
/// tags means it. Also an image's id will do.
fn is_meant_there(
    tx: &metadata::Read,
    repository: &str,
    digest: &Digest,
) -> Result<bool, metadata::Error> {
    if tx.image_by_repo_digest(&format!("{repository}@{digest}"))?.is_some() {
        return Ok(true);
    }
    for (tag, image) in tx.tags_in(repository)? {
        if image.manifest == *digest || image.id == *digest {
            return Ok(true);
        }
        let tagged = tx.tagged(&format!("{repository}:{tag}"))?;
        if tagged.is_some_and(|(_, target)| target.as_ref() == Some(digest)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Layers whose archives are in the content store.
struct Kept<'a> {
    layers: &'a [ImageLayer],
    content: &'a content::Store,
}

impl Source for Kept<'_> {
    fn open(&self, layer_idx: usize) -> Result<Box<dyn Read + Send + '_>, Error> {
        let reader = self.content.reader(&self.layers[layer_idx].blob)?;
        Ok(Box::new(BufReader::with_capacity(128 << 10, reader)))
    }

    fn placed(&self, _layer_idx: usize) -> Result<(), Error> {
        Ok(())
    }
}

/// The machine's own root as an image.
fn host() -> Result<Image, Error> {
    let platform = Platform::native();
    let config = ImageConfig {
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        config: Config {
            env: vec![PATH.into()],
            cmd: Some(vec!["sh".into()]),
            ..Config::default()
        },
        rootfs: RootFs::default(),
        ..ImageConfig::default()
    };
    let bytes = to_json("the image configuration", &config)?;
    Ok(Image {
        id: Digest::sha256(&bytes),
        manifest: None,
        reference: HOST.parse().ok(),
        config,
        artifact: None,
        chain: Vec::new(),
        root: RootKind::Host,
        size: 0,
        created: 0,
    })
}

fn archive(found: &std::fs::Metadata) -> Archive {
    let nanoseconds =
        |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Archive {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        mtime: nanoseconds(found.mtime(), found.mtime_nsec()),
        ctime: nanoseconds(found.ctime(), found.ctime_nsec()),
    }
}
