//! `--platform`, and images of several of them.

use docker::image::Summary;
use docker::manifest::ManifestSummary;
use oci::image::Platform;

use crate::client::encode;
use crate::error::{Error, Result};
use crate::format::{human, table};

/// `OS[/ARCHITECTURE[/VARIANT]]`.
pub(crate) fn parse(text: &str) -> Result<Platform> {
    text.parse().map_err(|err: oci::image::platform::ParseError| {
        Error::Usage(format!("invalid platform: {err}"))
    })
}

/// `&KEY=PLATFORM` for each platform that is asked for, as JSON. Several may be in one word, with
/// commas.
pub(crate) fn query<'a>(key: &str, words: impl IntoIterator<Item = &'a String>) -> Result<String> {
    let mut query = String::new();
    for text in words.into_iter().flat_map(|word| word.split(',')) {
        let json = serde_json::to_string(&parse(text)?);
        let json = json.map_err(|err| Error::Usage(format!("platform {text}: {err}")))?;
        query.push_str(&format!("&{key}={}", encode(&json)));
    }
    Ok(query)
}

/// The images that are more than one manifest, or no image at all, with what they consist of; empty
/// where there are none.
pub(crate) fn tree(images: &[Summary], whole: bool) -> String {
    let mut cells =
        vec![["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "USED"].map(str::to_owned).to_vec()];
    let short = |id: &str| {
        let hex = id.rsplit(':').next().unwrap_or(id);
        if whole { hex.to_owned() } else { hex.get(..12).unwrap_or(hex).to_owned() }
    };
    let used = |is_used: bool| if is_used { "✔".to_owned() } else { String::new() };
    for image in images {
        let manifests = image.manifests.as_deref().unwrap_or_default();
        let is_plain = matches!(manifests, [one] if one.kind == "image");
        if is_plain || manifests.is_empty() {
            continue;
        }
        let content = manifests.iter().map(|one| one.size.content).sum();
        let name = match &image.repo_tags[..] {
            [] => image.repo_digests.first().cloned().unwrap_or_else(|| "<untagged>".into()),
            names => names.join(", "),
        };
        cells.push(vec![
            human::printable(&name),
            short(&image.id),
            human::size(image.size),
            human::size(content),
            used(image.containers > 0),
        ]);
        for (idx, manifest) in manifests.iter().enumerate() {
            let branch = if idx + 1 == manifests.len() { "└─" } else { "├─" };
            let containers = manifest.image_data.as_ref().map(|data| !data.containers.is_empty());
            cells.push(vec![
                format!("{branch} {}", human::printable(&what(manifest))),
                short(&manifest.id),
                human::size(manifest.size.total),
                human::size(manifest.size.content),
                used(containers.unwrap_or(false)),
            ]);
        }
    }
    if cells.len() == 1 {
        return String::new();
    }
    let lines = table::render(&cells);
    lines.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// What a manifest is, and whether it is here.
fn what(manifest: &ManifestSummary) -> String {
    let mut text = match (&manifest.image_data, &manifest.attestation_data) {
        (Some(data), _) => shown(&data.platform),
        (None, Some(data)) => {
            let hex = data.about.rsplit(':').next().unwrap_or_default();
            format!("attestation of {}", hex.get(..12).unwrap_or(hex))
        }
        (None, None) => match manifest.descriptor.artifact_type.as_str() {
            "" => match &manifest.descriptor.platform {
                // Its manifest is not here, so nobody knows more.
                Some(platform) => shown(platform),
                None => "unknown".to_owned(),
            },
            kind => kind.to_owned(),
        },
    };
    if !manifest.available {
        text.push_str(" (not here)");
    }
    text
}

fn shown(platform: &docker::container::Platform) -> String {
    let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        os_version: some(&platform.os_version),
        os_features: Vec::new(),
        variant: some(&platform.variant),
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use docker::manifest::{AttestationData, ImageData, Size};

    use super::*;

    #[test]
    fn platforms_go_as_json() {
        let words = ["linux/arm64,linux/arm/v7".to_owned(), "amd64".to_owned()];
        let query = query("platform", &words).unwrap();
        assert_eq!(query.matches("&platform=%7B").count(), 3);
        assert!(super::query("platform", &["a/b/c/d".to_owned()]).is_err());
    }

    #[test]
    fn an_image_of_several_platforms_is_a_tree() {
        let image = |id: &str, platform: &str, available| ManifestSummary {
            id: format!("sha256:{id}"),
            available,
            size: Size { content: 1000, total: if available { 3000 } else { 0 } },
            kind: "image".into(),
            image_data: Some(ImageData {
                platform: docker::container::Platform {
                    os: "linux".into(),
                    architecture: platform.into(),
                    ..Default::default()
                },
                ..ImageData::default()
            }),
            ..ManifestSummary::default()
        };
        let attestation = ManifestSummary {
            id: "sha256:cc".into(),
            available: true,
            kind: "attestation".into(),
            attestation_data: Some(AttestationData { about: "sha256:aa".into() }),
            ..ManifestSummary::default()
        };
        let app = Summary {
            id: "sha256:ee".into(),
            repo_tags: ["app:1"].map(str::to_owned).to_vec().into(),
            size: 3000,
            containers: 1,
            manifests: Some(
                vec![image("aa", "amd64", true), image("bb", "s390x", false), attestation].into(),
            ),
            ..Summary::default()
        };
        let plain = Summary {
            manifests: Some(vec![image("dd", "amd64", true)].into()),
            ..Summary::default()
        };
        assert_eq!(tree(std::slice::from_ref(&plain), false), "");
        expect_test::expect![[r"
            IMAGE                       ID        DISK USAGE   CONTENT SIZE   USED
            app:1                       ee        3kB          2kB            ✔
            ├─ linux/amd64              aa        3kB          1kB
            ├─ linux/s390x (not here)   bb        0B           1kB
            └─ attestation of aa        cc        0B           0B
        "]]
        .assert_eq(&tree(&[app, plain], false));
    }
}
