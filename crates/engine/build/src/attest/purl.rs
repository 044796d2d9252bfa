//! Package URLs of images, as BuildKit's statements have them (`util/purl`).

use oci::image::Platform;
use reference::Reference;

/// `pkg:docker/debian@12?platform=linux%2Famd64`.
pub(crate) fn of_image(kind: &str, name: &Reference, platform: Option<&Platform>) -> String {
    let name = name.clone().with_default_tag();
    let familiar = name.familiar_name();
    let path: Vec<&str> = familiar.split('/').collect();
    let digest = name.digest().map(|digest| ("digest", digest.to_string()));
    let platform = platform.map(|platform| ("platform", platform.to_string()));
    let qualifiers: Vec<_> = digest.into_iter().chain(platform).collect();
    let qualifiers = qualifiers.iter().map(|(key, value)| (*key, value.as_str()));
    bom::package_url(kind, &path, name.tag(), qualifiers)
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
        assert_eq!(of("localhost:5000/bar:v2"), "pkg:docker/localhost%3A5000/bar@v2");
        let name = format!("busybox@{digest}").parse().unwrap();
        assert_eq!(
            of_image("docker", &name, Some(&platform)),
            format!("pkg:docker/busybox?digest={digest}&platform=linux%2Famd64")
        );
    }
}
