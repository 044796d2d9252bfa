//! Images of many layers.

use oci::image::{Config, ImageConfig, Manifest, RootFs};
use snapshot::Mounts;

use super::platforms::Made;
use super::*;

/// A layout of one image with these layers, as an archive.
pub(super) fn layout(layers: &[Vec<u8>]) -> Vec<u8> {
    layout_of(layers, |layer| Descriptor::of(media_type::LAYER, layer))
}

/// The same of which the lowest layer is to be had elsewhere, and not everybody may pass it on.
pub(super) fn layout_on_foreign(layers: &[Vec<u8>], urls: &[String]) -> Vec<u8> {
    layout_of(layers, |layer| {
        if *layer != *layers[0] {
            return Descriptor::of(media_type::LAYER, layer);
        }
        Descriptor { urls: urls.to_vec(), ..Descriptor::of(media_type::FOREIGN, layer) }
    })
}

fn layout_of(layers: &[Vec<u8>], described: impl Fn(&[u8]) -> Descriptor) -> Vec<u8> {
    let diffs = layers.iter().map(|layer| oci::DiffId(Digest::sha256(layer))).collect();
    let config = ImageConfig {
        architecture: oci::image::Platform::native().architecture,
        os: "linux".into(),
        config: Config { cmd: Some(vec!["sh".into()]), ..Config::default() },
        rootfs: RootFs { diff_ids: diffs, ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = serde_json::to_vec(&config).unwrap();
    let descriptors = layers.iter().map(|layer| described(layer)).collect();
    let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), descriptors);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut named = Descriptor::of(media_type::MANIFEST, &manifest);
    named.annotations.insert("org.opencontainers.image.ref.name".into(), "many:1".into());
    let index = serde_json::to_vec(&Index::new(vec![named])).unwrap();
    let mut writer = Writer::new(Vec::new());
    let mut add = |path: String, data: &[u8]| {
        let size = data.len() as u64;
        let entry = Entry { path: path.into_bytes(), size, ..Entry::default() };
        writer.append(&entry, &mut { data }).unwrap();
    };
    // The index last: an archive may come in any order.
    for blob in layers.iter().chain([&config, &manifest]) {
        add(format!("./blobs/sha256/{}", Digest::sha256(blob).hex()), blob);
    }
    add("./oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    add("./index.json".into(), &index);
    writer.finish().unwrap()
}

/// A layer stays elsewhere only where all images of an index say so: a registry wants it for the others.
#[test]
fn a_layer_that_is_elsewhere_for_some_is_pushed_for_others() {
    let home = Home::new("half-foreign");
    let shared = [tar(&[("shared", "1")])];
    let mut made = Made::default();
    let [one, other] = ["linux/arm64", "linux/amd64"].map(|name| made.image_on(&shared, name));
    let mut manifest = Manifest::parse(made.bytes(&one.digest)).unwrap();
    manifest.layers[0].media_type = media_type::FOREIGN.into();
    manifest.layers[0].urls.push("https://layers.test/shared".into());
    let foreign = made.json(media_type::MANIFEST, &manifest);
    let foreign = Descriptor { platform: one.platform, ..foreign };
    let blob = Digest::sha256(&shared[0]);
    for (name, images) in [
        ("r.test/app:1", vec![foreign.clone(), other.clone()]),
        ("r.test/app:2", vec![other, foreign]),
    ] {
        made.root = Some(made.clone_index(images));
        home.images.load(&mut made.archive(name, &[]).as_slice()).unwrap();
        let push = home.images.begin_push(&name.parse().unwrap()).unwrap();
        let shared = push.layers.iter().filter(|layer| layer.digest == blob);
        assert!(shared.map(Descriptor::is_foreign).eq([false]), "{name}");
        home.images.end_push(&push, None).unwrap();
    }
    home.check();
}

#[test]
fn two_hundred_layers_are_one_root() {
    let home = Home::new("many");
    let layers: Vec<_> = (0..200)
        .map(|n| {
            let own = format!("files/{n}");
            let hidden = format!("files/.wh.{}", n - 100);
            let number = n.to_string();
            let mut files = vec![(own.as_str(), number.as_str()), ("last", number.as_str())];
            if n >= 100 {
                files.push((hidden.as_str(), ""));
            }
            tar(&files)
        })
        .collect();
    let loaded = home.images.load(&mut layout(&layers).as_slice()).unwrap();
    assert_eq!(loaded[0].reference.as_ref().unwrap().familiar(), "many:1");
    home.check();
    let image = home.images.resolve("many:1").unwrap();
    assert_eq!(image.chain.len(), 200);

    let one = home.images.snapshots.prepare(&"one".parse().unwrap(), &image.chain).unwrap();
    let two = home.images.snapshots.prepare(&"two".parse().unwrap(), &image.chain).unwrap();
    let Mounts::Overlay { lower, upper, work } = &one else { panic!("{one:?}") };
    assert_eq!(one.stack()[1..], two.stack()[1..], "containers share their layers");
    let mounted = match mount::overlay(lower, Some((upper, work)), &[]) {
        Ok(mounted) => mounted,
        Err(error) => {
            println!("skipped: two_hundred_layers_are_one_root: {}", chain(&error));
            return;
        }
    };
    let number = std::os::fd::AsRawFd::as_raw_fd(&mounted);
    let root = PathBuf::from(format!("/proc/self/fd/{number}"));
    assert_eq!(fs::read_to_string(root.join("last")).unwrap(), "199");
    assert_eq!(fs::read_dir(root.join("files")).unwrap().count(), 100);
    fs::write(root.join("written"), "x").unwrap();
    assert!(upper.join("written").exists());
    drop(mounted);
    for key in ["one", "two"] {
        home.images.snapshots.remove(&key.parse().unwrap()).unwrap();
    }
    home.images.remove("many:1", false, &|_| false).unwrap();
    home.check();
}

#[test]
fn images_that_share_layers_share_them() {
    let home = Home::new("share");
    let layers: Vec<_> = ["1", "2", "3"].iter().map(|n| tar(&[(n, n)])).collect();
    home.images.load(&mut layout(&layers[..2]).as_slice()).unwrap();
    home.images.tag("many:1", "two").unwrap();
    home.images.load(&mut layout(&layers).as_slice()).unwrap();
    home.check();
    assert_eq!(home.images.snapshots.layers().unwrap().len(), 3);
    home.images.remove("many:1", false, &|_| false).unwrap();
    home.check();
    assert_eq!(home.images.snapshots.layers().unwrap().len(), 2);
    home.images.remove("two", false, &|_| false).unwrap();
    home.check();
}

#[test]
fn what_a_container_changed_becomes_an_image() {
    becomes_an_image(&Home::on("commit", Driver::Overlay));
}

#[test]
fn what_was_changed_in_a_copy_becomes_an_image() {
    becomes_an_image(&Home::on("commit-copy", Driver::Copy));
}

fn becomes_an_image(home: &Home) {
    let base = home.import("base", &tar(&[("etc/", ""), ("etc/a", "a"), ("etc/b", "b")]));
    let mounts = home.images.snapshots.prepare(&"one".parse().unwrap(), &base.chain).unwrap();
    fs::create_dir_all(mounts.writable().join("etc")).unwrap();
    fs::write(mounts.writable().join("etc/a"), "changed").unwrap();
    let commit = Commit {
        reference: "next:1".parse().ok(),
        config: Config { env: vec!["A=b".into()], ..Config::default() },
        changes: vec!["CMD [\"run\"]".into()],
        message: Some("mine".into()),
        author: Some("me".into()),
        created_by: Some("sh".into()),
        container: Some("c0ffee".into()),
    };
    let image = home.images.commit(&mounts, None, Some(&base.id), &commit).unwrap();
    home.check();
    assert_eq!(image.chain.len(), 2);
    assert_eq!(image.chain[0], base.chain[0], "the base's layer is shared");
    let top = &home.images.snapshots.layer_paths(&image.chain)[1];
    assert_eq!(fs::read_to_string(top.join("etc/a")).unwrap(), "changed");
    let found = home.images.resolve("next:1").unwrap();
    assert_eq!(found.config.config.cmd, Some(vec!["run".into()]));
    assert_eq!(found.config.config.env, ["A=b"]);
    assert_eq!((found.config.author.as_deref(), found.size), (Some("me"), 9));
    let history = home.images.history("next:1").unwrap();
    assert_eq!((history.len(), history[0].size, history[0].created_by.as_str()), (2, 7, "sh"));

    let again = home.images.commit(&mounts, None, Some(&base.id), &commit).unwrap();
    assert_eq!(again.chain, image.chain, "the same changes are the same layer");
    home.check();

    // Nothing is no layer.
    let nothing = home.images.snapshots.prepare(&"two".parse().unwrap(), &base.chain).unwrap();
    let same = Commit { reference: "same:1".parse().ok(), ..commit.clone() };
    let same = home.images.commit(&nothing, None, Some(&base.id), &same).unwrap();
    assert_eq!(same.chain, base.chain);
    assert_ne!(same.id, base.id);
    let history = home.images.history("same:1").unwrap();
    assert_eq!((history.len(), history[0].size, history[0].created_by.as_str()), (2, 0, "sh"));
    assert!(home.images.resolve("same:1").unwrap().config.history[1].empty_layer);
    home.images.snapshots.remove(&"two".parse().unwrap()).unwrap();
    home.images.remove("same:1", false, &|_| false).unwrap();
    home.check();

    let wrong = Commit { changes: vec!["RUN x".into()], ..commit.clone() };
    assert!(home.images.commit(&mounts, None, Some(&base.id), &wrong).is_err());
    let host = home.images.resolve("host").unwrap();
    assert!(home.images.commit(&mounts, None, Some(&host.id), &commit).is_err());
    home.check();
    home.images.snapshots.remove(&"one".parse().unwrap()).unwrap();
    home.images.remove("base", false, &|_| false).unwrap();
    home.check();
    assert!(home.images.resolve("next:1").is_ok());
}

#[test]
fn layers_that_are_trees_are_what_they_would_be_on_each_other() {
    let home = Home::on("trees", Driver::Copy);
    let layers = [
        tar(&[("a/", ""), ("a/x", "1"), ("a/y", "1"), ("b/x", "1"), ("c", "1")]),
        tar(&[("a/.wh.x", ""), ("a/z", "2"), ("b/.wh..wh..opq", ""), ("b/y", "2"), ("c", "2")]),
        tar(&[(".wh.c", ""), ("a/x", "3")]),
    ];
    home.images.load(&mut layout(&layers).as_slice()).unwrap();
    home.check();
    let image = home.images.resolve("many:1").unwrap();
    let mounts = home.images.snapshots.prepare(&"one".parse().unwrap(), &image.chain).unwrap();
    let read = |name: &str| fs::read_to_string(mounts.writable().join(name)).ok();
    for (name, want) in [
        ("a/x", Some("3")),
        ("a/y", Some("1")),
        ("a/z", Some("2")),
        ("b/x", None),
        ("b/y", Some("2")),
        ("c", None),
    ] {
        assert_eq!(read(name).as_deref(), want, "{name}");
    }
    home.images.snapshots.remove(&"one".parse().unwrap()).unwrap();
    home.images.remove("many:1", false, &|_| false).unwrap();
    home.check();
}
