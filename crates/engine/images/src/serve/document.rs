//! What a manifest says that is pushed to the registry of our own.

use oci::Digest;
use oci::image::{Descriptor, Index, Manifest, media_type};

use super::Refused;

/// A manifest of any kind, read.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    /// The type by which referrers are filtered.
    pub(crate) artifact: Option<String>,
    pub(crate) subject: Option<Digest>,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Image(Box<Manifest>),
    Index(Index),
}

impl Document {
    /// Reads what came as `announced`, the header's media type, if it had one that says something.
    pub(crate) fn read(announced: Option<&str>, bytes: &[u8]) -> Result<Self, Refused> {
        let announced = announced.filter(|name| !matches!(*name, "" | "application/json"));
        if let Some(name) = announced
            && !media_type::is_manifest(name)
            && !media_type::is_index(name)
        {
            return Err(Refused::Invalid(format!("a manifest of type `{name}` is not taken")));
        }
        let is_index = match announced {
            Some(name) => media_type::is_index(name),
            None => Index::parse(bytes).is_ok(),
        };
        let (stated, body, artifact, subject) = if is_index {
            let index = Index::parse(bytes).map_err(|error| invalid(&error))?;
            let (artifact, subject) = (index.artifact_type.clone(), index.subject.clone());
            (index.media_type.clone(), Body::Index(index), artifact, subject)
        } else {
            let manifest = Manifest::parse(bytes).map_err(|error| invalid(&error))?;
            let stated = manifest.artifact_type.clone().filter(|name| !name.is_empty());
            let artifact = stated.or_else(|| Some(manifest.config.media_type.clone()));
            let subject = manifest.subject.clone();
            (manifest.media_type.clone(), Body::Image(Box::new(manifest)), artifact, subject)
        };
        if let (Some(stated), Some(announced)) = (&stated, announced)
            && stated != announced
        {
            let why = format!("the manifest's type is `{stated}`, the header says `{announced}`");
            return Err(Refused::Invalid(why));
        }
        let default = if is_index { media_type::INDEX } else { media_type::MANIFEST };
        let media_type = announced.map(str::to_owned).or(stated);
        Ok(Self {
            media_type: media_type.unwrap_or_else(|| default.into()),
            artifact: artifact.filter(|name| !name.is_empty()),
            subject: subject.map(|subject| subject.digest),
            body,
        })
    }

    /// Everything that it consists of.
    pub(crate) fn parts(&self) -> Vec<&Descriptor> {
        match &self.body {
            Body::Image(manifest) => {
                [&manifest.config].into_iter().chain(&manifest.layers).collect()
            }
            Body::Index(index) => index.manifests.iter().collect(),
        }
    }

    /// Notes of whoever made it.
    pub(crate) fn annotations(self) -> std::collections::BTreeMap<String, String> {
        match self.body {
            Body::Image(manifest) => manifest.annotations,
            Body::Index(index) => index.annotations,
        }
    }
}

fn invalid(error: &oci::image::Error) -> Refused {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Refused::Invalid(format!("{error}{cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
        "config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,
        "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
        "layers":[]}"#;

    #[test]
    fn the_kind_is_announced_or_found_out() {
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        let plain = r#"{"schemaVersion":2,"config":{"mediaType":"x/y","size":2,
            "digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
            "layers":[],"artifactType":""}"#;
        let kind = |announced, text: &str| {
            let read = Document::read(announced, text.as_bytes());
            read.map(|one| (one.media_type, one.artifact)).map_err(|error| error.to_string())
        };
        let ok =
            |kind: &str, artifact: Option<&str>| Ok((kind.to_owned(), artifact.map(str::to_owned)));
        assert_eq!(kind(None, index), ok(media_type::INDEX, None));
        assert_eq!(kind(Some("application/json"), index), ok(media_type::INDEX, None));
        let docker = Some(media_type::DOCKER_INDEX);
        assert_eq!(kind(docker, index), ok(media_type::DOCKER_INDEX, None));
        assert_eq!(kind(None, plain), ok(media_type::MANIFEST, Some("x/y")));
        let empty = Some("application/vnd.oci.empty.v1+json");
        assert_eq!(kind(None, IMAGE), ok(media_type::MANIFEST, empty));
        assert!(
            kind(Some(media_type::DOCKER_MANIFEST), IMAGE).unwrap_err().contains("header says")
        );
        assert!(kind(Some(media_type::INDEX), IMAGE).is_err());
        for wrong in ["text/plain", "application/vnd.docker.distribution.manifest.v1+prettyjws"] {
            assert!(kind(Some(wrong), IMAGE).unwrap_err().contains("is not taken"));
        }
        for wrong in ["", "{}", "[]", "{\"schemaVersion\":1}", "null", "\u{0}"] {
            assert!(kind(None, wrong).is_err(), "{wrong}");
        }
    }
}
