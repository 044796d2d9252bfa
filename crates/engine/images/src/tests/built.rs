//! Layers and images that builds make.

use std::collections::BTreeMap;

use metadata::BuildRecord;
use oci::image::{ImageConfig, RootFs};
use oci::{ChainId, Digest};

use super::layers::layout_on_foreign;
use super::*;

fn record(sealed: &Sealed) -> BuildRecord {
    BuildRecord {
        id: sealed.chain.hex()[..12].into(),
        kind: "regular".into(),
        chain: Some(sealed.chain.clone()),
        identity: sealed.chain.to_string(),
        description: "a step".into(),
        size: sealed.size,
        created: 1,
        used: 1,
        uses: 1,
        detail: "{}".into(),
    }
}

/// A step that writes a file on what is below.
fn step(home: &Home, below: &[ChainId], name: &str) -> Sealed {
    let key = name.parse().unwrap();
    let mounts = home.images.snapshots.prepare(&key, below).unwrap();
    fs::write(mounts.writable().join(name), name.repeat(1000)).unwrap();
    let write = |tx: &metadata::Write, sealed: Option<&Sealed>| {
        sealed.map_or(Ok(()), |sealed| tx.insert_build_record(&record(sealed)))
    };
    home.images.seal(&key, below, None, IfNothing::Drop, write).unwrap().unwrap()
}

fn install(home: &Home, config: &[u8], chain: &[ChainId], names: &[Reference]) -> Image {
    let image = BuiltImage { config: config.into(), chain: chain.into(), ..BuiltImage::default() };
    let built = Built { images: vec![image], names: names.into(), ..Built::default() };
    home.images.install_built(&built).unwrap().image
}

fn a_build(driver: Driver) {
    let home = Home::on(&format!("built-{driver}"), driver);
    let base = home.import("base:1", &tar(&[("etc/passwd", "root:x:0:0::/:/bin/sh")]));
    let first = step(&home, &base.chain, "first");
    let mut chain = base.chain.clone();
    chain.push(first.chain.clone());
    let second = step(&home, &chain, "second");
    chain.push(second.chain.clone());
    assert_eq!(home.images.chain_below(&second.chain).unwrap(), Some(chain.clone()));
    assert_eq!(second.size, 6000);
    home.check();

    // One that writes nothing makes no layer, or one that is empty.
    let key = "nothing".parse().unwrap();
    home.images.snapshots.prepare(&key, &chain).unwrap();
    let seal = |if_nothing| home.images.seal(&key, &chain, None, if_nothing, |_, _| Ok(()));
    assert_eq!(seal(IfNothing::Drop).unwrap(), None);
    home.images.snapshots.prepare(&key, &chain).unwrap();
    let empty = seal(IfNothing::Layer).unwrap().unwrap();
    assert_eq!((empty.diff.0, empty.size), (Digest::sha256(&[0; 1024]), 0));
    home.images.unseal(&[empty.chain], |_| Ok(())).unwrap();
    home.check();

    let mut diffs = base.config.rootfs.diff_ids.clone();
    diffs.extend([first.diff.clone(), second.diff.clone()]);
    let rootfs = RootFs { diff_ids: diffs, ..RootFs::default() };
    let config = ImageConfig { rootfs, ..base.config.clone() };
    let bytes = serde_json::to_vec(&config).unwrap();
    let names = ["built:1".parse().unwrap(), "built:2".parse().unwrap()];
    let image = install(&home, &bytes, &chain, &names);
    assert_eq!(home.list(&[]), ["base:1", "built:1"]);
    assert_eq!(home.images.resolve("built:2").unwrap().id, image.id);
    home.check();
    let found = home.images.check(Checking::default(), &mut |_| Ok(())).unwrap();
    assert_eq!(found.findings, [], "what is in the layers is what their archives say");

    // Of the same layers again: nothing is written twice.
    let other = ImageConfig { author: Some("me".into()), ..config };
    let bytes = serde_json::to_vec(&other).unwrap();
    install(&home, &bytes, &chain, &[]);
    home.check();

    // The images go, the cache keeps the layers; then it goes, and they do.
    for image in home.images.list(&Filters::default()).unwrap() {
        home.images.remove(&image.row.id.to_string(), true, &|_| false).unwrap();
    }
    assert_eq!(home.images.chain_below(&second.chain).unwrap(), Some(chain.clone()));
    home.check();
    let tops: Vec<ChainId> = [&first, &second].map(|sealed| sealed.chain.clone()).into();
    let forget = |tx: &metadata::Write| {
        for sealed in [&first, &second] {
            tx.delete_build_record(&record(sealed).id)?;
        }
        Ok(())
    };
    let reclaimed = home.images.unseal(&tops, forget).unwrap();
    assert_eq!(reclaimed, 6000 + 5000 + 21);
    assert_eq!(home.images.chain_below(&second.chain).unwrap(), None);
    assert!(home.images.snapshots.layers().unwrap().is_empty());
    home.check();
}

#[test]
fn a_build_on_overlays() {
    testkit::needs!(Root);
    a_build(Driver::Overlay);
}

#[test]
fn a_build_on_copies() {
    a_build(Driver::Copy);
}

#[test]
fn layers_that_are_not_those_of_the_configuration_are_refused() {
    let home = Home::new("built-other");
    let base = home.import("base:1", &tar(&[("a", "a")]));
    let bytes = serde_json::to_vec(&ImageConfig::default()).unwrap();
    let image = BuiltImage { config: bytes, chain: base.chain, ..BuiltImage::default() };
    let built = Built { images: vec![image], ..Built::default() };
    let error = home.images.install_built(&built).unwrap_err();
    let text = chain(&error);
    assert_eq!(text, "the layers of the configuration are not those of the result");
    home.check();
}

#[test]
fn a_layer_of_the_base_stays_elsewhere_where_that_is_asked_for() {
    let home = Home::new("built-foreign");
    let layers = [tar(&[("a", "1")]), tar(&[("b", "2")])];
    let urls = ["https://layers.test/a".to_owned()];
    home.images.load(&mut layout_on_foreign(&layers, &urls).as_slice()).unwrap();
    let base = home.images.resolve("many:1").unwrap();
    let foreign = home.images.foreign_archive(&base.chain[..1]).unwrap().unwrap();
    assert!(foreign.is_foreign() && foreign.urls == urls, "{foreign:?}");
    assert_eq!(home.images.foreign_archive(&base.chain).unwrap(), None);
    assert_eq!(home.images.foreign_archive(&[]).unwrap(), None);

    let lowest = |author: &str, archives: BTreeMap<ChainId, Descriptor>| {
        let config = ImageConfig { author: Some(author.into()), ..base.config.clone() };
        let config = serde_json::to_vec(&config).unwrap();
        let image = BuiltImage { config, chain: base.chain.clone(), ..BuiltImage::default() };
        let built = Built { images: vec![image], archives, ..Built::default() };
        let root = home.images.install_built(&built).unwrap().root;
        let (manifest, _) = home.images.manifest(&root.digest).unwrap().unwrap();
        manifest.layers[0].clone()
    };
    assert_eq!(lowest("one", BTreeMap::new()), foreign.clone().into_ordinary());
    let asked = [(base.chain[0].clone(), foreign.clone())];
    assert_eq!(lowest("other", asked.into()), foreign);
    home.check();
}

#[test]
fn an_image_of_two_platforms_is_an_index_with_what_is_attested() {
    testkit::needs!(Root);
    let home = Home::on("built-index", Driver::Overlay);
    let base = home.import("base:1", &tar(&[("a", "a")]));
    let [first, second] = ["first", "second"].map(|name| step(&home, &base.chain, name));
    let image = |sealed: &Sealed, architecture: &str| {
        let mut diff_ids = base.config.rootfs.diff_ids.clone();
        diff_ids.push(sealed.diff.clone());
        let config = ImageConfig {
            architecture: architecture.into(),
            os: "linux".into(),
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            ..ImageConfig::default()
        };
        let mut chain = base.chain.clone();
        chain.push(sealed.chain.clone());
        BuiltImage {
            config: serde_json::to_vec(&config).unwrap(),
            chain,
            statements: vec![Said {
                predicate_type: "https://slsa.dev/provenance/v1".into(),
                says: br#"{"a":{"b":{}}}"#.to_vec(),
                layers: Some(StepLayers {
                    place: "/a/b".into(),
                    steps: [("step0:0".into(), 1), ("step1:0".into(), 2), ("no".into(), 9)].into(),
                }),
                subjects: Vec::new(),
                names_files: false,
            }],
            ..BuiltImage::default()
        }
    };
    let built = Built {
        images: vec![image(&second, "s390x"), image(&first, &base.config.architecture)],
        names: ["two:1", "two:2"].map(|name| name.parse().unwrap()).into(),
        ..Built::default()
    };
    let made = home.images.install_built(&built).unwrap();
    assert_eq!(made.root.media_type, media_type::INDEX);
    assert_eq!(made.image.config.architecture, base.config.architecture, "this machine's own");
    for name in ["two:1", "two:2"] {
        let kinds = home.images.manifests(name).unwrap();
        let n_images =
            kinds.iter().filter(|one| matches!(one.kind, ManifestKind::Image { .. })).count();
        let n_about =
            kinds.iter().filter(|one| matches!(one.kind, ManifestKind::Attestation { .. })).count();
        assert_eq!((n_images, n_about), (2, 2), "{name}: {kinds:?}");
    }
    let said = home.images.attestations("two:1", None, &[], true).unwrap();
    let says: serde_json::Value =
        serde_json::from_slice(said[0].statement.as_ref().unwrap()).unwrap();
    let layers = &says["predicate"]["a"]["b"]["layers"];
    let n_layers = |step: &str| layers[step][0].as_array().map(Vec::len);
    assert_eq!(
        (n_layers("step0:0"), n_layers("step1:0"), n_layers("no")),
        (Some(1), Some(2), None)
    );
    home.check();
    let found = home.images.check(Checking::default(), &mut |_| Ok(())).unwrap();
    assert_eq!(found.findings, []);
    for name in ["two:1", "two:2", "base:1"] {
        home.images.remove(name, false, &|_| false).unwrap();
    }
    home.check();
    assert!(home.images.content.list().unwrap().is_empty());
}
