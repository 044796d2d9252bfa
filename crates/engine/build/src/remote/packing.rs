//! How the layers of what is exported are compressed (`compression`, `compression-level`,
//! `force-compression`).

use std::collections::BTreeMap;
use std::sync::Arc;

use diff::Compression;
use oci::ChainId;
use oci::image::{Descriptor, media_type};

use crate::Error;
use crate::build::Shared;
use crate::caches::CacheArchive;

/// How archives are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    how: Compression,
    level: Option<i32>,
    /// Also those that are compressed in another way.
    force: bool,
}

impl Packing {
    /// As options say it; `None`: they say nothing.
    pub(crate) fn of(options: &BTreeMap<String, String>) -> Result<Option<Self>, Error> {
        let invalid = |key: &str, value: &str| Error::Invalid(format!("{key}={value}"));
        let how = match options.get("compression").map(String::as_str) {
            None | Some("") => None,
            Some("uncompressed") => Some(Compression::None),
            Some("gzip") => Some(Compression::Gzip),
            Some("zstd") => Some(Compression::Zstd),
            Some(other @ "estargz") => {
                return Err(Error::NotYet(format!("compression={other}")));
            }
            Some(other) => return Err(invalid("unsupported compression type: compression", other)),
        };
        let force = match options.get("force-compression").map(String::as_str) {
            None | Some("false" | "0") => false,
            Some("true" | "1" | "") => true,
            Some(other) => return Err(invalid("non-bool value: force-compression", other)),
        };
        let level = options.get("compression-level").map(|text| {
            let parsed = text.parse::<i32>();
            parsed.map_err(|_| invalid("non-integer value: compression-level", text))
        });
        let level = level.transpose()?;
        if how.is_none() && !force && level.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { how: how.unwrap_or(Compression::Gzip), level, force }))
    }

    /// What goes to others, where nobody says more.
    pub(crate) fn usual() -> Self {
        Self { how: Compression::Gzip, level: None, force: false }
    }

    /// Whether an archive may go as it is.
    pub(crate) fn takes(self, archive: &Descriptor) -> bool {
        let kind = match media_type::ordinary(&archive.media_type) {
            media_type::LAYER | media_type::DOCKER_LAYER => Compression::None,
            media_type::LAYER_ZSTD | media_type::DOCKER_LAYER_ZSTD => Compression::Zstd,
            _ => Compression::Gzip,
        };
        if self.force {
            return kind == self.how && self.level.is_none();
        }
        // What is not compressed is how archives lie here, which nobody has asked for.
        kind == self.how || kind != Compression::None
    }
}

/// The archive of the topmost of these layers, as it is to be; held by the build. Waits for the disk.
pub(crate) fn archive(
    build: &Arc<Shared>,
    chain: &[ChainId],
    packing: Packing,
) -> Result<Descriptor, Error> {
    let images = build.builder.images();
    let fetched = chain.last().and_then(|top| build.remote.archives().remove(top));
    let kept = match fetched {
        Some(fetched) => Some(fetched),
        None => images.archive(chain)?,
    };
    let hold = |tx: &metadata::Write, digest: &oci::Digest| build.lease.keep(tx, digest);
    if let Some(kept) = kept.filter(|kept| packing.takes(kept)) {
        build.builder.engine.db().write(|tx| hold(tx, &kept.digest))?;
        if images.content().size(&kept.digest).map_err(images::Error::from)?.is_some() {
            return Ok(kept);
        }
    }
    Ok(images.archive_as(chain, packing.how, packing.level, hold)?)
}

/// The archive of the topmost of these layers as an image here has it that says where else it is to be had
/// (`prefer-nondist-layers`), as BuildKit does it: also where others would be compressed, but not where all must
/// be, since what is compressed anew is not what is there. Held by the build. Waits for the disk.
pub(crate) fn foreign_archive(
    build: &Arc<Shared>,
    chain: &[ChainId],
    packing: Option<Packing>,
) -> Result<Option<Descriptor>, Error> {
    let images = build.builder.images();
    let Some(foreign) = images.foreign_archive(chain)? else { return Ok(None) };
    if packing.is_some_and(|packing| packing.force && !packing.takes(&foreign)) {
        return Ok(None);
    }
    build.builder.engine.db().write(|tx| build.lease.keep(tx, &foreign.digest))?;
    let size = images.content().size(&foreign.digest).map_err(images::Error::from)?;
    Ok(size.is_some().then_some(foreign))
}

/// The archive of what is in a cache mount; held by the build. Waits for the disk.
pub(super) fn pack_mount(
    build: &Arc<Shared>,
    mount: &CacheArchive,
    packing: Packing,
) -> Result<Descriptor, Error> {
    let hold = |tx: &metadata::Write, digest: &oci::Digest| build.lease.keep(tx, digest);
    build.builder.images().write_archive(packing.how, packing.level, hold, |out| mount.write(out))
}

#[cfg(test)]
mod tests {
    use oci::Digest;

    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Option<Packing>, Error> {
        let pairs = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Packing::of(&pairs.collect())
    }

    #[test]
    fn options_say_how() {
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&[("compression", "gzip")]).unwrap(), Some(Packing::usual()));
        assert!(of(&[("compression", "estargz")]).unwrap_err().to_string().contains("estargz"));
        for wrong in
            [("compression", "rar"), ("compression-level", "x"), ("force-compression", "x")]
        {
            assert!(of(&[wrong]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_compressed_stays_unless_it_must_not() {
        let archive = |kind| Descriptor::new(kind, Digest::sha256(b""), 1);
        let [tar, gzip, zstd] =
            [media_type::LAYER, media_type::LAYER_GZIP, media_type::LAYER_ZSTD].map(archive);
        let takes = |options: &[(&str, &str)], archive: &Descriptor| {
            of(options).unwrap().unwrap().takes(archive)
        };
        let zstd_asked = [("compression", "zstd")];
        assert!(
            takes(&zstd_asked, &gzip) && takes(&zstd_asked, &zstd) && !takes(&zstd_asked, &tar)
        );
        let forced = [("compression", "zstd"), ("force-compression", "true")];
        assert!(!takes(&forced, &gzip) && takes(&forced, &zstd));
        let kept = archive(media_type::FOREIGN_ZSTD);
        assert!(takes(&forced, &kept) && !takes(&zstd_asked, &archive(media_type::DOCKER_FOREIGN)));
        let plain = [("compression", "uncompressed")];
        assert!(takes(&plain, &tar) && takes(&plain, &gzip));
    }
}
