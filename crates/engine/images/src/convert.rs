//! An image as Docker's schema 2, or as OCI: the same configuration and the same layers, byte for
//! byte, under a manifest that calls them by other types. So its id stays.
//!
//! Sources: image-spec media-types.md, "Compatibility Matrix"; Docker's `manifest-v2-2`.

use oci::image::{Descriptor, Manifest, Platform, media_type};
use reference::Reference;

use crate::commit::Kept;
use crate::install::{LayerSource, to_json};
use crate::target::Match;
use crate::{Error, Image, Images, check_target};

/// What a manifest is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// Docker's image manifest, version 2, schema 2.
    Docker,
    /// The Open Container Initiative's.
    Oci,
}

/// The types of the one and of the other that mean the same.
const SAME: [(&str, &str); 7] = [
    (media_type::DOCKER_MANIFEST, media_type::MANIFEST),
    (media_type::DOCKER_CONFIG, media_type::CONFIG),
    (media_type::DOCKER_LAYER, media_type::LAYER),
    (media_type::DOCKER_LAYER_GZIP, media_type::LAYER_GZIP),
    (media_type::DOCKER_LAYER_ZSTD, media_type::LAYER_ZSTD),
    (media_type::DOCKER_FOREIGN, media_type::FOREIGN),
    (media_type::DOCKER_FOREIGN_GZIP, media_type::FOREIGN_GZIP),
];

impl Schema {
    /// What this schema calls something; `None` where it has no word for it.
    fn name(self, media_type: &str) -> Option<&'static str> {
        let (docker, oci) =
            SAME.into_iter().find(|(docker, oci)| [*docker, *oci].contains(&media_type))?;
        Some(if self == Self::Docker { docker } else { oci })
    }
}

impl Images {
    /// Gives the image `source`, of an index the one for `platform` (this machine's where none is
    /// given), the name `target`, under a manifest of this schema. Docker's has no annotations and no
    /// subject: they are left out.
    pub fn convert(
        &self,
        source: &str,
        target: &Reference,
        platform: Option<&Platform>,
        schema: Schema,
    ) -> Result<Image, Error> {
        let target = check_target(target.clone())?;
        let found = self.find(source)?;
        let (wanted, how) = match platform {
            Some(platform) => (platform, Match::Same),
            None => (crate::host::platform(), Match::Runs),
        };
        let digest = match (platform, self.entries(&found)?.as_slice()) {
            // One manifest alone is what is meant, whatever it runs on.
            (None, [only]) => only.digest.clone(),
            _ => match self.choose_manifest(&found, wanted, how)? {
                Some(digest) => digest,
                None => return Err(self.not_for(source, &found, wanted)?),
            },
        };
        let (manifest, _) =
            self.manifest(&digest)?.ok_or_else(|| Error::NoImage(digest.to_string()))?;
        let config = self.content.read(&manifest.config.digest, oci::image::MAX_CONFIG as u64)?;
        let layers: Vec<Box<dyn LayerSource + '_>> = manifest
            .layers
            .iter()
            .map(|layer| -> Box<dyn LayerSource + '_> {
                Box::new(Kept { digest: layer.digest.clone(), content: &self.content })
            })
            .collect();
        let converted = to_json("the image manifest", &in_schema(&manifest, schema)?)?;
        let image = self.install_foreign(&converted, &config, &layers, Some(&target))?;
        self.note_tagging(&image.id)?;
        Ok(image)
    }
}

pub(crate) fn in_schema(manifest: &Manifest, schema: Schema) -> Result<Manifest, Error> {
    let named = |descriptor: &Descriptor| {
        let (kind, digest) = (&descriptor.media_type, &descriptor.digest);
        let media_type = match (schema.name(kind), schema) {
            (Some(name), _) => name,
            (None, Schema::Oci) => kind,
            (None, Schema::Docker) => {
                let why =
                    format!("{digest} is of type `{kind}`, which Docker's schema 2 does not have");
                return Err(Error::Invalid(why));
            }
        };
        Ok(match schema {
            Schema::Docker => Descriptor {
                urls: descriptor.urls.clone(),
                ..Descriptor::new(media_type, digest.clone(), descriptor.size)
            },
            Schema::Oci => Descriptor { media_type: media_type.into(), ..descriptor.clone() },
        })
    };
    let layers: Result<Vec<_>, Error> = manifest.layers.iter().map(named).collect();
    let converted = Manifest::new(named(&manifest.config)?, layers?);
    let media_type = schema.name(media_type::MANIFEST).map(str::to_owned);
    Ok(match schema {
        Schema::Docker => Manifest { media_type, ..converted },
        Schema::Oci => Manifest {
            media_type,
            config: converted.config,
            layers: converted.layers,
            ..manifest.clone()
        },
    })
}
