//! Platforms and descriptors, as the API writes them.

use docker::image::Descriptor;
use docker::manifest::{
    AttestationData, Identity, ImageData, ManifestSummary, PullIdentity, Size, UnpackedSize,
};
use images::ManifestKind;
use oci::image::Platform;

use crate::{error::Error, http::syntax::complaint};

/// A platform as JSON, `{"os":"linux","architecture":"arm64"}`; nothing where the text is empty.
pub(crate) fn from_json(text: &str) -> Result<Option<Platform>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = |why: String| Error::invalid(format!("failed to parse platform: {why}"));
    let mut text = text.as_bytes().to_vec();
    docker::fold_keys(&mut text);
    let given: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|err| refuse(complaint(&text).unwrap_or_else(|| err.to_string())))?;
    let is_there = |key| given.get(key).is_some_and(|value| value != "" && !value.is_null());
    if (given.is_object() || given.is_null()) && !(is_there("os") && is_there("architecture")) {
        return Err(Error::invalid("both OS and Architecture must be provided"));
    }
    serde_json::from_value(given).map(Some).map_err(|err| refuse(err.to_string()))
}

/// Several of them.
pub(crate) fn all_from_json<'a>(
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<Platform>, Error> {
    let mut platforms = Vec::new();
    for text in texts {
        platforms.extend(from_json(text)?);
    }
    Ok(platforms)
}

/// `OS[/ARCHITECTURE[/VARIANT]]`; nothing where the text is empty.
pub(crate) fn from_text(text: &str) -> Result<Option<Platform>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed: Result<Platform, _> = text.parse();
    parsed.map(Some).map_err(|err| Error::invalid(err.to_string()))
}

/// A platform in an answer.
pub(crate) fn view(platform: &Platform) -> docker::container::Platform {
    docker::container::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: platform.os_version.clone().unwrap_or_default(),
        os_features: platform.os_features.clone().into(),
        variant: platform.variant.clone().unwrap_or_default(),
    }
}

/// A descriptor in an answer.
pub(crate) fn descriptor(descriptor: &oci::image::Descriptor) -> Descriptor {
    Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: descriptor.size as i64,
        urls: descriptor.urls.clone().into(),
        annotations: descriptor.annotations.clone().into(),
        platform: descriptor.platform.as_ref().map(view),
        artifact_type: descriptor.artifact_type.clone().unwrap_or_default(),
        ..Descriptor::default()
    }
}

/// Where an image comes from; nothing where that is not known.
pub(crate) fn identity(origins: &[String]) -> Option<Identity> {
    let pull = origins.iter().map(|name| PullIdentity { repository: name.clone() });
    let identity = Identity { pull: pull.collect(), ..Identity::default() };
    (!origins.is_empty()).then_some(identity)
}

/// One manifest of an image.
pub(crate) fn manifest(
    summary: &images::ManifestSummary,
    identity: Option<&Identity>,
) -> ManifestSummary {
    let mut view = ManifestSummary {
        id: summary.descriptor.digest.to_string(),
        descriptor: descriptor(&summary.descriptor),
        available: summary.is_available,
        size: Size { content: summary.content as i64, total: summary.total() as i64 },
        ..ManifestSummary::default()
    };
    match &summary.kind {
        ManifestKind::Image { platform, containers, unpacked } => {
            view.kind = "image".into();
            view.image_data = Some(ImageData {
                platform: self::view(platform),
                identity: identity.cloned(),
                containers: if containers.is_empty() {
                    docker::List::NIL
                } else {
                    containers.clone().into()
                },
                size: UnpackedSize { unpacked: *unpacked as i64 },
            });
        }
        ManifestKind::Attestation { about } => {
            view.kind = "attestation".into();
            view.attestation_data = Some(AttestationData { about: about.to_string() });
        }
        ManifestKind::Unknown => view.kind = "unknown".into(),
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_as_clients_send_them() {
        let read = from_json(r#"{"os":"linux","architecture":"arm","variant":"v5"}"#).unwrap();
        assert_eq!(read.unwrap().to_string(), "linux/arm/v5");
        assert_eq!(from_json("").unwrap(), None);
        for bad in ["{", "linux/arm", "[]", r#"{"os":"linux","architecture":1}"#] {
            assert!(from_json(bad).unwrap_err().message.starts_with("failed to parse platform: "));
        }
        for bad in ["{}", "null", r#"{"os":"linux","architecture":""}"#] {
            let why = from_json(bad).unwrap_err().message;
            assert_eq!(why, "both OS and Architecture must be provided", "{bad}");
        }
        assert_eq!(from_text("arm64").unwrap().unwrap().architecture, "arm64");
        assert!(from_text("a/b/c/d").is_err());
    }
}
