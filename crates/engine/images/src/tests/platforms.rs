//! Images of several platforms, attestations, and artifacts.

use oci::image::{ImageConfig, Manifest, RootFs};

use super::*;
use crate::archive::blob_path;
use crate::target::ManifestKind;

/// An image, an artifact or an index, as documents and blobs.
#[derive(Default)]
pub(super) struct Made {
    blobs: Vec<Vec<u8>>,
    pub(super) root: Option<Descriptor>,
}

impl Made {
    fn keep(&mut self, kind: &str, bytes: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(kind, &bytes);
        self.blobs.push(bytes);
        descriptor
    }

    pub(super) fn json(&mut self, kind: &str, value: &impl serde::Serialize) -> Descriptor {
        self.keep(kind, serde_json::to_vec(value).unwrap())
    }

    /// An image of one file that says what it is for. Its manifest, with its platform.
    fn image(&mut self, platform: &str) -> Descriptor {
        self.image_on(&[], platform)
    }

    /// The same, on these layers.
    pub(super) fn image_on(&mut self, below: &[Vec<u8>], platform: &str) -> Descriptor {
        let platform: oci::image::Platform = platform.parse().unwrap();
        let layers = [below, &[tar(&[("platform", &platform.to_string())])]].concat();
        let diff_ids = layers.iter().map(|layer| oci::DiffId(Digest::sha256(layer))).collect();
        let config = ImageConfig {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            ..ImageConfig::default()
        };
        let layers = layers.into_iter().map(|layer| self.keep(media_type::LAYER, layer)).collect();
        let config = self.json(media_type::CONFIG, &config);
        let mut manifest = self.json(media_type::MANIFEST, &Manifest::new(config, layers));
        manifest.platform = Some(platform);
        manifest
    }

    /// What BuildKit says about a manifest.
    fn attestation(&mut self, about: &Descriptor) -> Descriptor {
        let statement = self.keep("application/vnd.in-toto+json", b"{\"says\":1}".to_vec());
        let config = self.keep(media_type::CONFIG, b"{\"os\":\"unknown\"}".to_vec());
        let mut manifest = self.json(media_type::MANIFEST, &Manifest::new(config, vec![statement]));
        let unknown = oci::image::Platform {
            os: "unknown".into(),
            architecture: "unknown".into(),
            ..Default::default()
        };
        manifest.platform = Some(unknown);
        let kind = ("vnd.docker.reference.type".into(), "attestation-manifest".into());
        let about = ("vnd.docker.reference.digest".into(), about.digest.to_string());
        manifest.annotations.extend([kind, about]);
        manifest
    }

    fn artifact(&mut self, kind: &str) -> Descriptor {
        let data = self.keep("text/plain", format!("an artifact of {kind}").into_bytes());
        let empty = self.keep("application/vnd.oci.empty.v1+json", b"{}".to_vec());
        let mut manifest = Manifest::new(empty, vec![data]);
        manifest.artifact_type = Some(kind.into());
        self.json(media_type::MANIFEST, &manifest)
    }

    /// An index of one image for each platform.
    pub(super) fn index(platforms: &[&str]) -> Self {
        let mut made = Self::default();
        let images: Vec<_> = platforms.iter().map(|platform| made.image(platform)).collect();
        made.root = Some(made.clone_index(images));
        made
    }

    pub(super) fn clone_index(&mut self, manifests: Vec<Descriptor>) -> Descriptor {
        self.json(media_type::INDEX, &Index::new(manifests))
    }

    pub(super) fn bytes(&self, digest: &Digest) -> &[u8] {
        self.blobs.iter().find(|bytes| Digest::sha256(bytes) == *digest).unwrap()
    }

    fn root(&self) -> &Digest {
        &self.root.as_ref().unwrap().digest
    }

    /// The manifests of the root index.
    fn manifests(&self) -> Vec<Descriptor> {
        Index::parse(self.bytes(self.root())).unwrap().manifests
    }

    /// As a layout of this name, without some blobs.
    pub(super) fn archive(&self, name: &str, without: &[&Digest]) -> Vec<u8> {
        let root = self.root.clone().unwrap();
        let root = if name.is_empty() { root } else { named_descriptor(root, name) };
        let index = serde_json::to_vec(&Index::new(vec![root])).unwrap();
        let mut writer = Writer::new(Vec::new());
        let mut append = |name: &str, bytes: &[u8]| {
            let entry = Entry {
                path: name.into(),
                kind: Kind::File,
                mode: 0o644,
                size: bytes.len() as u64,
                ..Entry::default()
            };
            writer.append(&entry, &mut &*bytes).unwrap();
        };
        append("index.json", &index);
        for bytes in &self.blobs {
            let digest = Digest::sha256(bytes);
            if !without.contains(&&digest) {
                append(&blob_path(&digest), bytes);
            }
        }
        writer.finish().unwrap()
    }

    /// Pulls one of the index's images.
    fn pull(&self, home: &Home, name: &str, nth: usize) -> Image {
        let manifest = self.bytes(&self.manifests()[nth].digest).to_vec();
        let read = Manifest::parse(&manifest).unwrap();
        let config = self.bytes(&read.config.digest).to_vec();
        let index = IndexDocument {
            media_type: media_type::INDEX.into(),
            bytes: self.bytes(self.root()).to_vec(),
        };
        let pull = home.images.begin_pull(manifest, config).unwrap().within(vec![index]);
        for blob in pull.layers() {
            let Some(mut incoming) = blob.take() else { continue };
            incoming.write_all(self.bytes(&blob.descriptor().digest)).unwrap();
            incoming.finish().unwrap();
        }
        home.images.finish_pull(&pull, &name.parse().unwrap(), self.root(), &|_, _| ()).unwrap()
    }
}

const THREE: &[&str] = &["linux/arm64", "linux/amd64", "linux/s390x"];

fn platform(text: &str) -> oci::image::Platform {
    text.parse().unwrap()
}

fn file(home: &Home, image: &Image) -> String {
    let root = &home.images.snapshots.layer_paths(&image.chain)[0];
    fs::read_to_string(root.join("platform")).unwrap()
}

fn own() -> String {
    host::platform().architecture.clone()
}

#[test]
fn what_platforms_have_in_common_counts_once() {
    let home = Home::new("platforms-common");
    let mut made = Made::default();
    let base = [tar(&[("base", &"b".repeat(1000))]), tar(&[("more", &"m".repeat(200))])];
    let images = THREE.iter().map(|platform| made.image_on(&base, platform)).collect();
    made.root = Some(made.clone_index(images));
    for nth in 0..THREE.len() {
        made.pull(&home, "app:1", nth);
    }
    let own: usize = THREE.iter().map(|platform| platform.len()).sum();
    let all = home.images.list(&Filters::default()).unwrap();
    assert_eq!((all.len(), all[0].images.len(), all[0].size), (1, 3, 1200 + own as u64));
    let tree = home.images.layer_tree().unwrap();
    assert_eq!(tree.iter().map(|layer| layer.size).sum::<u64>(), all[0].size);
    let ends = tree.iter().filter(|layer| layer.images == ["app:1"]);
    assert_eq!((tree.len(), ends.count()), (5, 3), "{tree:?}");
}

#[test]
fn an_index_is_kept_whole_and_each_platform_found() {
    let home = Home::new("platforms");
    let own = format!("linux/{}", own());
    let made = Made::index(&["linux/s390x", &own, "linux/arm/v6", "linux/arm/v7"]);
    home.images.load(&mut made.archive("app:1", &[]).as_slice()).unwrap();
    home.check();
    let image = home.images.resolve("app:1").unwrap();
    assert_eq!(file(&home, &image), own);
    assert_eq!(home.list(&[]), ["app:1"]);
    let all = home.images.list(&Filters::default()).unwrap();
    assert_eq!(&all[0].descriptor.digest, made.root());
    assert_eq!(all[0].descriptor.media_type, media_type::INDEX);
    assert!(all[0].repo_digests.is_empty(), "no registry has it");
    // The index's own digest finds it too, and so does each name with it.
    for name in [made.root().to_string(), format!("app@{}", made.root())] {
        assert_eq!(home.images.resolve(&name).unwrap().id, image.id, "{name}");
    }
    // Of the others there are the blobs, until one is run.
    let summaries = home.images.manifests("app:1").unwrap();
    assert!(summaries.iter().all(|one| one.is_available && one.content > 0));
    let unpacked = |summaries: &[ManifestSummary]| {
        let sizes = summaries.iter().map(|one| one.total() - one.content);
        sizes.filter(|size| *size > 0).count()
    };
    assert_eq!(unpacked(&summaries), 1);
    let details = home.images.details_for("app:1", Some(&platform("linux/arm/v7"))).unwrap();
    assert_eq!(details.image.config.variant.as_deref(), Some("v7"));
    // What is told of is its own manifest, with its platform.
    let descriptor = details.descriptor.unwrap();
    assert_eq!(descriptor.digest, made.manifests()[3].digest);
    assert_eq!(descriptor.platform, Some(platform("linux/arm/v7")));
    home.check();
    let arm = home.images.resolve_for("app:1", Some(&platform("linux/arm/v8"))).unwrap();
    assert_eq!(file(&home, &arm), "linux/arm/v7");
    let arm = home.images.resolve_for("app:1", Some(&platform("linux/arm/v6"))).unwrap();
    assert_eq!(file(&home, &arm), "linux/arm/v6");
    assert_eq!(unpacked(&home.images.manifests("app:1").unwrap()), 3);
    assert_eq!(home.list(&[]), ["app:1"]);
    home.check();
    let error = home.images.resolve_for("app:1", Some(&platform("linux/ppc64le"))).unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    assert_eq!(
        error.to_string(),
        "image with reference app:1 was found but does not provide the specified platform \
         (linux/ppc64le)"
    );
    let strict = home.images.details_for("app:1", Some(&platform("linux/arm/v8"))).unwrap_err();
    assert_eq!(strict.class(), Class::NotFound);
    home.images.remove("app:1", false, &|_| false).unwrap();
    home.check();
    assert!(home.images.content.list().unwrap().is_empty());
}

#[test]
fn a_platform_that_nobody_knows_is_found_and_goes() {
    let home = Home::new("platforms-odd");
    let (native, odd) = (format!("linux/{}", own()), "linux/riscv64/rva22u64");
    let made = Made::index(&[native.as_str(), odd, "other/some"]);
    home.images.load(&mut made.archive("app:1", &[]).as_slice()).unwrap();
    for wanted in [odd, "other/some"] {
        let details = home.images.details_for("app:1", Some(&platform(wanted))).unwrap();
        assert_eq!(details.descriptor.unwrap().platform, Some(platform(wanted)));
    }
    assert!(home.images.details_for("app:1", Some(&platform("linux/riscv64"))).is_err());
    let image = home.images.resolve_for("app:1", Some(&platform(odd))).unwrap();
    assert_eq!(file(&home, &image), odd);
    let removed = home.images.remove_platforms("app:1", &[platform(odd)], false, &|_| false);
    assert_eq!(removed.unwrap()[0], Removed::Deleted(made.manifests()[1].digest.clone()));
    assert!(home.images.details_for("app:1", Some(&platform(odd))).is_err());
    home.check();
}

#[test]
fn one_platform_after_the_other_is_pulled() {
    let home = Home::new("platforms-pull");
    let made = Made::index(&["linux/s390x", &format!("linux/{}", own())]);
    let other = made.pull(&home, "r.test/app:1", 0);
    assert_eq!(home.images.resolve("r.test/app:1").unwrap().id, other.id);
    home.check();
    let native = made.pull(&home, "r.test/app:1", 1);
    // This machine's own is meant from now on, and the other one still there.
    assert_eq!(home.images.resolve("r.test/app:1").unwrap().id, native.id);
    let wanted = platform("linux/s390x");
    let found = home.images.resolve_for("r.test/app:1", Some(&wanted)).unwrap();
    assert_eq!(found.id, other.id);
    assert_eq!(home.list(&[]), ["r.test/app:1"]);
    let details = home.images.details("r.test/app:1").unwrap();
    assert_eq!(details.repo_digests, [format!("r.test/app@{}", made.root())]);
    assert_eq!(details.origins, ["r.test/app"]);
    home.check();

    // A container of either keeps both, as far as the name goes.
    home.container("c1", &other);
    let kept = home.images.remove("r.test/app:1", false, &|_| false).unwrap_err();
    assert_eq!(kept.class(), Class::Conflict);
    let error = home
        .images
        .remove_platforms("r.test/app:1", std::slice::from_ref(&wanted), false, &|_| false)
        .unwrap_err();
    assert_eq!(error.class(), Class::Conflict);
    home.images.db.write(|tx| tx.delete_container("c1", 0)).unwrap();
    let removed = home
        .images
        .remove_platforms("r.test/app:1", std::slice::from_ref(&wanted), false, &|_| false)
        .unwrap();
    assert_eq!(removed[0], Removed::Deleted(made.manifests()[0].digest.clone()));
    home.check();
    let summaries = home.images.manifests("r.test/app:1").unwrap();
    let available: Vec<_> = summaries.iter().map(|one| one.is_available).collect();
    assert_eq!(available, [false, true]);
    let gone = home.images.resolve_for("r.test/app:1", Some(&wanted)).unwrap_err();
    assert_eq!(gone.class(), Class::NotFound);
    // The last platform takes the name with it.
    let native = [platform(&format!("linux/{}", own()))];
    home.images.remove_platforms("r.test/app:1", &native, false, &|_| false).unwrap();
    home.check();
    assert!(home.list(&[]).is_empty() && home.images.content.list().unwrap().is_empty());
}

#[test]
fn the_platform_that_is_meant_goes_and_the_next_is_unpacked() {
    let home = Home::new("platforms-next");
    let made = Made::index(&["linux/s390x", &format!("linux/{}", own())]);
    home.images.load(&mut made.archive("app:1", &[]).as_slice()).unwrap();
    let native = [platform(&format!("linux/{}", own()))];
    home.images.remove_platforms("app:1", &native, false, &|_| false).unwrap();
    let image = home.images.resolve("app:1").unwrap();
    assert_eq!(file(&home, &image), "linux/s390x");
    home.check();
}

#[test]
fn what_was_saved_is_loaded_to_the_byte() {
    let home = Home::new("platforms-save");
    let mut made = Made::index(THREE);
    let mut manifests = made.manifests();
    let about = made.attestation(&manifests[1]);
    manifests.push(about);
    made.root = Some(made.clone_index(manifests));
    home.images.load(&mut made.archive("app:1", &[]).as_slice()).unwrap();
    home.check();
    let kinds: Vec<_> =
        home.images.manifests("app:1").unwrap().into_iter().map(|one| one.kind).collect();
    assert!(matches!(kinds[0], ManifestKind::Image { .. }));
    assert_eq!(kinds[3], ManifestKind::Attestation { about: made.manifests()[1].digest.clone() });

    let mut saved = Vec::new();
    home.images.save(&["app:1"], &mut saved).unwrap();
    let other = Home::new("platforms-load");
    other.images.load(&mut saved.as_slice()).unwrap();
    other.check();
    let mut again = Vec::new();
    other.images.save(&["app"], &mut again).unwrap();
    assert!(saved == again, "the same images make the same archive");
    assert_eq!(other.images.manifests("app:1").unwrap().len(), 4);
    // A load of what is there changes nothing.
    other.images.load(&mut saved.as_slice()).unwrap();
    other.check();

    // One platform alone is its manifest; of several the index stays.
    let one = [platform("linux/s390x")];
    let mut saved = Vec::new();
    home.images.save_for(&["app:1"], &one, &mut saved).unwrap();
    let third = Home::new("platforms-one");
    third.images.load(&mut saved.as_slice()).unwrap();
    let found = third.images.details("app:1").unwrap();
    assert_eq!(found.image.config.architecture, "s390x");
    assert_eq!(found.descriptor.unwrap().digest, made.manifests()[2].digest);
    third.check();
    let two = [platform("linux/s390x"), platform("linux/arm64")];
    let mut saved = Vec::new();
    home.images.save_for(&["app:1"], &two, &mut saved).unwrap();
    let fourth = Home::new("platforms-two");
    fourth.images.load(&mut saved.as_slice()).unwrap();
    let here: Vec<_> =
        fourth.images.manifests("app:1").unwrap().iter().map(|one| one.is_available).collect();
    assert_eq!(here, [true, false, true, false]);
    fourth.check();
    let none = home.images.save_for(&["app:1"], &[platform("linux/mips")], &mut Vec::new());
    assert_eq!(none.unwrap_err().class(), Class::NotFound);

    // Only what is wanted of an archive.
    let fifth = Home::new("platforms-wanted");
    let mut whole = Vec::new();
    home.images.save(&["app:1"], &mut whole).unwrap();
    fifth.images.load_for(&mut whole.as_slice(), &one).unwrap();
    let here: Vec<_> =
        fifth.images.manifests("app:1").unwrap().iter().map(|one| one.is_available).collect();
    assert_eq!(here, [false, false, true, false]);
    fifth.check();
    let none = fifth.images.load_for(&mut whole.as_slice(), &[platform("linux/mips")]);
    let why = none.unwrap_err().to_string();
    assert_eq!(why, "the archive has no image for linux/mips");
}

#[test]
fn an_index_is_pushed_whole_or_its_only_image() {
    let home = Home::new("platforms-push");
    let made = Made::index(THREE);
    home.images.load(&mut made.archive("r.test/app:1", &[]).as_slice()).unwrap();
    let name: Reference = "r.test/app:1".parse().unwrap();
    let push = home.images.begin_push(&name).unwrap();
    assert_eq!((&push.root.digest, push.documents.len()), (made.root(), 3));
    assert_eq!((push.layers.len(), push.configs.len(), push.missing.len()), (3, 3, 0));
    home.images.end_push(&push, Some(&name)).unwrap();
    let details = home.images.details("r.test/app:1").unwrap();
    assert_eq!(details.repo_digests, [format!("r.test/app@{}", made.root())]);
    let one = home.images.begin_push_for(&name, Some(&platform("linux/s390x"))).unwrap();
    assert_eq!((&one.root.digest, one.layers.len()), (&made.manifests()[2].digest, 1));
    home.images.end_push(&one, None).unwrap();
    let none = home.images.begin_push_for(&name, Some(&platform("linux/mips"))).unwrap_err();
    assert_eq!(none.class(), Class::NotFound);
    home.check();

    let part = Home::new("platforms-push-part");
    made.pull(&part, "r.test/app:1", 2);
    let push = part.images.begin_push(&name).unwrap();
    assert_eq!((push.missing.len(), push.documents.len()), (2, 1));
    assert_eq!(push.instead.as_ref().unwrap().root.digest, made.manifests()[2].digest);
    part.images.end_push(&push, None).unwrap();
    part.check();
}

#[test]
fn another_manifest_of_an_image_is_another_target() {
    let home = Home::new("platforms-twice");
    let mut plain = Made::default();
    let image = plain.image(&format!("linux/{}", own()));
    plain.root = Some(Descriptor { platform: None, ..image });
    home.images.load(&mut plain.archive("app:plain", &[]).as_slice()).unwrap();
    // The same image with its layer compressed.
    let manifest = Manifest::parse(plain.bytes(plain.root())).unwrap();
    let mut packed = Made::default();
    let layer = gzip(plain.bytes(&manifest.layers[0].digest));
    let layer = packed.keep(media_type::LAYER_GZIP, layer);
    packed.keep(media_type::CONFIG, plain.bytes(&manifest.config.digest).to_vec());
    let other = Manifest::new(manifest.config, vec![layer]);
    packed.root = Some(packed.json(media_type::MANIFEST, &other));
    home.images.load(&mut packed.archive("app:packed", &[]).as_slice()).unwrap();
    home.check();
    let ids = ["app:plain", "app:packed"].map(|name| home.images.resolve(name).unwrap().id);
    assert_eq!(ids[0], ids[1]);
    for (name, made) in [("app:plain", &plain), ("app:packed", &packed)] {
        let push = home.images.begin_push(&format!("docker.io/library/{name}").parse().unwrap());
        let push = push.unwrap();
        assert_eq!(&push.root.digest, made.root(), "{name}");
        home.images.end_push(&push, None).unwrap();
    }
    home.images.remove("app:packed", false, &|_| false).unwrap();
    home.check();
    home.images.remove("app:plain", false, &|_| false).unwrap();
    home.check();
}

#[test]
fn artifacts_come_and_go_like_images_but_do_not_run() {
    let home = Home::new("artifacts");
    let mut made = Made::default();
    made.root = Some(made.artifact("application/vnd.example.thing"));
    let loaded = home.images.load(&mut made.archive("r.test/thing:1", &[]).as_slice()).unwrap();
    assert_eq!(loaded[0].artifact.as_deref(), Some("application/vnd.example.thing"));
    home.check();
    assert_eq!(home.list(&[]), ["r.test/thing:1"]);
    let error = home.images.resolve("r.test/thing:1").unwrap_err();
    assert_eq!(error.class(), Class::Invalid);
    assert_eq!(
        error.to_string(),
        "r.test/thing:1 is an artifact of type `application/vnd.example.thing`, not an image: \
         there is nothing in it to run"
    );
    assert_eq!(home.images.manifests("r.test/thing:1").unwrap()[0].kind, ManifestKind::Unknown);
    let push = home.images.begin_push(&"r.test/thing:1".parse().unwrap()).unwrap();
    assert_eq!(&push.root.digest, made.root());
    home.images.end_push(&push, None).unwrap();
    home.images.tag("r.test/thing:1", "other:2").unwrap();
    let mut saved = Vec::new();
    home.images.save(&["other:2"], &mut saved).unwrap();
    home.images.remove("r.test/thing:1", false, &|_| false).unwrap();
    home.check();
    home.images.remove("other:2", false, &|_| false).unwrap();
    home.check();
    assert!(home.images.content.list().unwrap().is_empty());
    home.images.load(&mut saved.as_slice()).unwrap();
    assert_eq!(&home.images.details("other:2").unwrap().image.id, made.root());

    // Pulled: its blobs come, then it is recorded.
    let other = Home::new("artifacts-pull");
    let pull = other.images.begin_artifact(made.bytes(made.root()).to_vec()).unwrap();
    assert_eq!(pull.blobs().len(), 2);
    for blob in pull.blobs() {
        let mut incoming = blob.take().unwrap();
        incoming.write_all(made.bytes(&blob.descriptor().digest)).unwrap();
        incoming.finish().unwrap();
    }
    let name = "r.test/thing:1".parse().unwrap();
    other.images.finish_artifact(&pull, &name, made.root()).unwrap();
    other.check();
    assert_eq!(other.list(&[]), ["r.test/thing:1"]);
    let mut all = Filters::default();
    all.add("dangling", "false");
    other.images.prune(&all, &[]).unwrap();
    other.check();
    assert!(other.images.content.list().unwrap().is_empty());
}

#[test]
fn indexes_without_end_end() {
    let home = Home::new("platforms-hostile");
    let mut made = Made::default();
    let image = made.image(&format!("linux/{}", own()));
    let mut inner = made.clone_index(vec![image]);
    for _ in 0..20 {
        inner = made.clone_index(vec![inner]);
    }
    made.root = Some(inner);
    let error = home.images.load(&mut made.archive("app:1", &[]).as_slice()).unwrap_err();
    assert!(error.to_string().contains("too many indexes"), "{error}");
    // Nothing for this machine, and nothing at all.
    let none = Made::index(&[]);
    let error = home.images.load(&mut none.archive("app:1", &[]).as_slice()).unwrap_err();
    assert!(error.to_string().starts_with("the archive has no image for "), "{error}");
    home.check();
}
