//! What is said of an image that is to be exported (BuildKit's `image`, `oci` and `docker` exporters).

use std::collections::BTreeMap;

use oci::image::{Descriptor, media_type};
use reference::Reference;

use crate::Error;
use crate::remote::Packing;
use crate::request::Export;

/// How an image is to be.
#[derive(Clone, Debug)]
pub(super) struct ImageOptions {
    pub(super) names: Vec<Reference>,
    pub(super) push: bool,
    /// It gets no name, here or there.
    pub(super) by_digest: bool,
    pub(super) oci_types: bool,
    /// What is attested is an artifact, and no image.
    pub(super) as_artifact: bool,
    /// It has also what is attested for registries alone.
    pub(super) is_inline: bool,
    /// Nothing in its new layers is later than the build's time.
    pub(super) rewrite_times: bool,
    /// One layer above the base.
    pub(super) squash: bool,
    /// Layers that are to be had elsewhere stay there: they have their `urls`, and are not pushed.
    pub(super) prefers_foreign: bool,
    /// The client gets one file, and not a directory with blobs.
    pub(super) as_archive: bool,
    /// `None`: as it comes.
    pub(super) packing: Option<Packing>,
    options: BTreeMap<String, String>,
}

impl ImageOptions {
    pub(super) fn of(export: &Export) -> Result<Self, Error> {
        let flag = |key: &str, usual: bool| match export.options.get(key).map(String::as_str) {
            None => Ok(usual),
            Some("" | "true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => {
                Err(Error::Invalid(format!("non-bool value specified for {key}: {other}")))
            }
        };
        let (push, by_digest) = (flag("push", false)?, flag("push-by-digest", false)?);
        let as_archive = flag("tar", true)?;
        let oci_types = flag("oci-mediatypes", true)?;
        if flag("oci-artifact", false)? && !oci_types {
            let why =
                "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"";
            return Err(Error::Invalid(why.into()));
        }
        let names = names(export)?;
        if push && names.is_empty() {
            return Err(Error::Invalid("tag is needed when pushing to registry".into()));
        }
        let mut packing = Packing::of(&export.options)?;
        if packing.is_none() && (push || export.kind == "oci" || !as_archive) {
            packing = Some(Packing::usual());
        }
        Ok(Self {
            names,
            push,
            by_digest,
            oci_types,
            is_inline: flag("attestation-inline", false)? || export.is_inline(),
            as_artifact: flag("oci-artifact", oci_types)?,
            rewrite_times: flag("rewrite-timestamp", false)?,
            squash: flag("squash", false)?,
            prefers_foreign: flag("prefer-nondist-layers", false)?,
            as_archive,
            packing,
            options: export.options.clone(),
        })
    }

    /// The names that it gets here.
    pub(super) fn stored_names(&self) -> &[Reference] {
        if self.by_digest { &[] } else { &self.names }
    }

    /// Whether a layer that is to be had elsewhere is left there. Docker's types have no word for one through zstd,
    /// which then is one like any other.
    pub(super) fn leaves(&self, foreign: &Descriptor) -> bool {
        self.prefers_foreign && (self.oci_types || foreign.media_type != media_type::FOREIGN_ZSTD)
    }

    /// Notes for a place, and a platform: `annotation-KIND[PLATFORM].NAME=VALUE`; without a kind they are
    /// for manifests (BuildKit's `docs/annotations.md`).
    pub(super) fn annotations(&self, kind: &str, platform: &str) -> BTreeMap<String, String> {
        let noted = self.options.iter().filter_map(|(option, value)| {
            let (at, of, name) = annotation(option)?;
            (at == kind && (of.is_empty() || of == platform))
                .then(|| (name.to_owned(), value.clone()))
        });
        noted.collect()
    }

    /// Whether there is a place for all notes.
    pub(super) fn check_annotations(&self, is_index: bool) -> Result<(), Error> {
        for option in self.options.keys() {
            match annotation(option) {
                // That of an image alone is what names it elsewhere.
                Some(("manifest" | "manifest-descriptor", ..)) | None => {}
                Some(("index" | "index-descriptor", ..)) if is_index => {}
                Some((kind @ ("index" | "index-descriptor"), ..)) => {
                    let what = kind.replace('-', " ");
                    let why = format!(
                        "{what} annotations not supported for single platform export: there is no index"
                    );
                    return Err(Error::Invalid(why));
                }
                Some((kind, ..)) => return Err(Error::NotYet(format!("{kind} annotations"))),
            }
        }
        Ok(())
    }
}

/// The place, the platform and the name of a note; `None`: it is another option.
fn annotation(option: &str) -> Option<(&str, &str, &str)> {
    let rest = option.strip_prefix("annotation")?;
    let end = rest.find(['.', '['])?;
    let kind = match &rest[..end] {
        "" => "manifest",
        kind => kind.strip_prefix('-')?,
    };
    let rest = &rest[end..];
    match rest.strip_prefix('[') {
        None => Some((kind, "", rest.strip_prefix('.')?)),
        Some(rest) => {
            let (platform, name) = rest.split_once("].")?;
            Some((kind, platform, name))
        }
    }
}

/// The names that an image is to have: `name=A,B`.
fn names(export: &Export) -> Result<Vec<Reference>, Error> {
    let text = export.options.get("name").map(String::as_str).unwrap_or_default();
    let names = text.split(',').filter(|name| !name.is_empty());
    let parse = |name: &str| {
        let parsed: Result<Reference, _> = name.parse();
        let parsed =
            parsed.map_err(|error| Error::Invalid(format!("invalid tag \"{name}\": {error}")))?;
        Ok(parsed.with_default_tag())
    };
    names.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<ImageOptions, Error> {
        let options = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ImageOptions::of(&Export { kind: "image".into(), options: options.collect() })
    }

    #[test]
    fn notes_have_a_place_and_a_platform() {
        let how = options(&[
            ("annotation.a", "1"),
            ("annotation[linux/arm64].b", "2"),
            ("annotation-manifest.c.d", "3"),
            ("annotation-index.e", "4"),
            ("name", "x"),
        ])
        .unwrap();
        let keys = |kind, platform| how.annotations(kind, platform).into_keys().collect::<Vec<_>>();
        assert_eq!(keys("manifest", "linux/amd64"), ["a", "c.d"]);
        assert_eq!(keys("manifest", "linux/arm64"), ["a", "b", "c.d"]);
        assert_eq!(keys("index", ""), ["e"]);
        assert!(how.check_annotations(true).is_ok() && how.check_annotations(false).is_err());
        let how = options(&[("annotation-index-descriptor.a", "1")]).unwrap();
        assert!(how.check_annotations(true).is_ok() && how.check_annotations(false).is_err());
        let how = options(&[("annotation-manifest-descriptor.a", "1")]).unwrap();
        assert!(how.check_annotations(false).is_ok());
        let how = options(&[("annotation-nowhere.a", "1")]).unwrap();
        assert!(how.check_annotations(true).is_err());
    }

    #[test]
    fn what_is_pushed_has_a_name_and_is_compressed() {
        assert!(options(&[("push", "true")]).is_err());
        let how =
            options(&[("push", "true"), ("push-by-digest", "true"), ("name", "r/a")]).unwrap();
        assert_eq!(how.packing, Some(Packing::usual()));
        assert!(how.stored_names().is_empty() && how.names.len() == 1);
        assert!(options(&[("push", "perhaps")]).is_err());
        assert_eq!(options(&[]).unwrap().packing, None);
    }

    #[test]
    fn layers_stay_elsewhere_where_that_is_asked_for() {
        let prefers =
            |text| options(&[("prefer-nondist-layers", text)]).map(|how| how.prefers_foreign);
        assert!(!options(&[]).unwrap().prefers_foreign);
        assert!(prefers("true").unwrap() && !prefers("false").unwrap());
        assert!(prefers("perhaps").unwrap_err().to_string().contains("prefer-nondist-layers"));

        let leaves = |oci: &str, kind: &str| {
            let pairs = [("prefer-nondist-layers", "true"), ("oci-mediatypes", oci)];
            options(&pairs).unwrap().leaves(&Descriptor::of(kind, b"x"))
        };
        assert!(leaves("true", media_type::FOREIGN_ZSTD));
        assert!(leaves("false", media_type::FOREIGN_GZIP));
        assert!(!leaves("false", media_type::FOREIGN_ZSTD), "Docker has no word for it");
        assert!(!options(&[]).unwrap().leaves(&Descriptor::of(media_type::FOREIGN, b"x")));
    }
}
