//! From OCI to Docker's schema 2, and back.

use oci::image::Manifest;

use super::layers::{layout, layout_on_foreign};
use super::platforms::Made;
use super::*;

fn manifest(home: &Home, name: &str) -> (Digest, Manifest) {
    let digest = home.images.details(name).unwrap().descriptor.unwrap().digest;
    let bytes = home.images.content.read(&digest, 1 << 20).unwrap();
    (digest, Manifest::parse(&bytes).unwrap())
}

fn convert(home: &Home, from: &str, to: &str, schema: Schema) -> Result<Image, Error> {
    home.images.convert(from, &to.parse().unwrap(), None, schema)
}

#[test]
fn there_and_back_is_the_same_to_the_byte() {
    let home = Home::new("convert");
    let layers = [tar(&[("a", "1")]), tar(&[("b", "2")])];
    home.images.load(&mut layout(&layers).as_slice()).unwrap();
    let (oci, before) = manifest(&home, "many:1");
    let made = convert(&home, "many:1", "many:docker", Schema::Docker).unwrap();
    assert_eq!(made.id, home.images.resolve("many:1").unwrap().id, "the id stays");
    let (docker, between) = manifest(&home, "many:docker");
    assert_ne!(docker, oci);
    assert_eq!(between.media_type.as_deref(), Some(media_type::DOCKER_MANIFEST));
    assert_eq!(between.config.media_type, media_type::DOCKER_CONFIG);
    for (one, other) in before.layers.iter().zip(&between.layers) {
        assert_eq!((&one.digest, one.size), (&other.digest, other.size));
        assert_eq!(other.media_type, media_type::DOCKER_LAYER);
    }
    convert(&home, "many:docker", "many:oci", Schema::Oci).unwrap();
    assert_eq!(manifest(&home, "many:oci").0, oci);
    // The names are apart: each means its own manifest, and one can go without the other.
    for name in ["many:1", "many:oci"] {
        home.images.remove(name, false, &|_| false).unwrap();
    }
    assert_eq!(manifest(&home, "many:docker").0, docker);
    assert_eq!(home.images.resolve("many:docker").unwrap().id, made.id);
    convert(&home, "many:docker", "many:again", Schema::Oci).unwrap();
    assert_eq!(manifest(&home, "many:again").0, oci);
    home.check();
}

#[test]
fn a_layer_through_zstd_has_a_name_in_both() {
    let home = Home::new("convert-zstd");
    let layer = zstd::encode_all(tar(&[("a", "1")]).as_slice(), 1).unwrap();
    let image = home.import("app:1", &layer);
    // Docker's schema has none either, but those who write and read it have agreed on one.
    assert_eq!(convert(&home, "app:1", "app:docker", Schema::Docker).unwrap().id, image.id);
    let layers = manifest(&home, "app:docker").1.layers;
    assert_eq!(layers[0].media_type, media_type::DOCKER_LAYER_ZSTD);
    assert_eq!(convert(&home, "app:1", "app:oci", Schema::Oci).unwrap().id, image.id);
    assert!(matches!(convert(&home, "none:1", "x:1", Schema::Oci), Err(Error::NoImage(_))));
}

#[test]
fn a_layer_that_is_elsewhere_is_so_in_both() {
    let home = Home::new("convert-foreign");
    let layers = [tar(&[("a", "1")]), tar(&[("b", "2")])];
    let urls = ["https://layers.test/a".to_owned()];
    home.images.load(&mut layout_on_foreign(&layers, &urls).as_slice()).unwrap();
    convert(&home, "many:1", "many:docker", Schema::Docker).unwrap();
    let (_, docker) = manifest(&home, "many:docker");
    assert_eq!(docker.layers[0].media_type, media_type::DOCKER_FOREIGN);
    assert_eq!(docker.layers[0].urls, urls);
    assert_eq!(docker.layers[1], Descriptor::of(media_type::DOCKER_LAYER, &layers[1]));
    convert(&home, "many:docker", "many:oci", Schema::Oci).unwrap();
    assert_eq!(manifest(&home, "many:oci").0, manifest(&home, "many:1").0);
    home.check();
}

#[test]
fn of_an_index_the_platform_that_is_asked_for() {
    let home = Home::new("convert-index");
    let made = Made::index(&["linux/amd64", "linux/arm64"]);
    home.images.load(&mut made.archive("docker.io/library/app:1", &[]).as_slice()).unwrap();
    for text in ["linux/amd64", "linux/arm64"] {
        let (platform, name) = (text.parse().unwrap(), "app:docker".parse().unwrap());
        let converted = home.images.convert("app:1", &name, Some(&platform), Schema::Docker);
        let image = converted.unwrap();
        assert_eq!(image.config.architecture, platform.architecture);
        assert_eq!(home.images.resolve("app:docker").unwrap().id, image.id);
        let (_, manifest) = manifest(&home, "app:docker");
        assert_eq!(manifest.media_type.as_deref(), Some(media_type::DOCKER_MANIFEST));
    }
    // One that would run on it is not the one.
    let (other, name) = ("linux/arm/v7".parse().unwrap(), "app:other".parse().unwrap());
    let error = home.images.convert("app:1", &name, Some(&other), Schema::Oci).unwrap_err();
    assert!(matches!(error, Error::NotProvided { .. }), "{error}");
    home.check();
}
