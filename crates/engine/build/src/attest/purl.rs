//! Package URLs of images, as BuildKit's statements have them (`util/purl`).

use oci::image::Platform;
use reference::Reference;

/// `pkg:docker/debian@12?platform=linux%2Famd64`.
pub(crate) fn of_image(kind: &str, name: &Reference, platform: Option<&Platform>) -> String {
    let name = name.clone().with_default_tag();
    let familiar = name.familiar_name();
    let parts: Vec<String> = familiar.split('/').map(escaped).collect();
    let mut url = format!("pkg:{kind}/{}", parts.join("/"));
    if let Some(tag) = name.tag() {
        url += &format!("@{}", escaped(tag));
    }
    let digest = name.digest().map(|digest| ("digest", digest.to_string()));
    let platform = platform.map(|platform| ("platform", platform.to_string()));
    for (nth, (key, value)) in digest.into_iter().chain(platform).enumerate() {
        let before = if nth == 0 { '?' } else { '&' };
        url += &format!("{before}{key}={}", escaped(&value));
    }
    url
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_urls_as_buildkit_writes_them() {
        let digest = oci::Digest::sha256(b"test");
        let platform: Platform = "linux/amd64".parse().unwrap();
        let of = |name: &str| of_image("docker", &name.parse().unwrap(), None);
        assert_eq!(of("alpine"), "pkg:docker/alpine@latest");
        assert_eq!(of("docker.io/library/alpine:3.15"), "pkg:docker/alpine@3.15");
        assert_eq!(of(&format!("alpine@{digest}")), format!("pkg:docker/alpine?digest={digest}"));
        assert_eq!(of("ghcr.io/foo/bar:v2"), "pkg:docker/ghcr.io/foo/bar@v2");
        let name = format!("busybox@{digest}").parse().unwrap();
        assert_eq!(
            of_image("docker", &name, Some(&platform)),
            format!("pkg:docker/busybox?digest={digest}&platform=linux%2Famd64")
        );
    }
}
