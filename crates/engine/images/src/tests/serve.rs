//! What a registry of our own serves.

use oci::image::{ImageConfig, Manifest, Platform, RootFs};

use super::*;
use crate::serve::{Key, NewManifest, Referrers, Refused, Taken};

pub(super) const HERE: &str = "localhost:5000/me/app";

/// An image as a client pushes it: its manifest, then its configuration and its layer.
pub(super) struct Pushed {
    pub(super) manifest: Vec<u8>,
    blobs: [Vec<u8>; 2],
}

impl Pushed {
    pub(super) fn new(layer: &[u8]) -> Self {
        let config = ImageConfig {
            os: "linux".into(),
            rootfs: RootFs {
                diff_ids: vec![oci::DiffId(Digest::sha256(layer))],
                ..RootFs::default()
            },
            ..ImageConfig::default()
        };
        let config = serde_json::to_vec(&config).unwrap();
        let layers = vec![Descriptor::of(media_type::LAYER, layer)];
        let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), layers);
        let manifest = serde_json::to_vec_pretty(&manifest).unwrap();
        Self { manifest, blobs: [config, layer.to_vec()] }
    }

    fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    fn id(&self) -> Digest {
        Digest::sha256(&self.blobs[0])
    }

    fn layer(&self) -> Digest {
        Digest::sha256(&self.blobs[1])
    }

    pub(super) fn push(&self, images: &Images, repository: &str, tag: &str) -> Taken {
        for blob in &self.blobs {
            push_blob(images, repository, blob);
        }
        images.take_manifest(repository, &named(&self.manifest, &[tag])).unwrap()
    }
}

fn push_blob(images: &Images, repository: &str, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256(bytes);
    let mut writer = images.content.writer(1 << 20).unwrap();
    writer.write_all(bytes).unwrap();
    images.take_blob(repository, writer.finish().unwrap(), &digest).unwrap();
    digest
}

fn named(bytes: &[u8], tags: &[&str]) -> NewManifest {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    NewManifest { digest: None, tags, media_type: None, bytes: bytes.into() }
}

/// The digest and the type of a manifest, by its tag.
fn look(home: &Home, tag: &str) -> Option<(Digest, String)> {
    let found = home.images.manifest_of(HERE, &Key::Tag(tag.into())).unwrap();
    found.map(|one| (one.digest, one.media_type))
}

fn has(home: &Home, digest: &Digest) -> bool {
    home.images.manifest_of(HERE, &Key::Digest(digest.clone())).unwrap().is_some()
}

/// Lets go of what clients were told is there, as a day does.
pub(super) fn a_day_later(home: &Home) {
    home.images.db.write(|tx| tx.let_go_of_old(i64::MAX)).unwrap();
    drop(home.images.db.write(|tx| {
        tx.begin_operation(&metadata::Operation {
            subject: "x".into(),
            kind: "image-files".into(),
            owner: String::new(),
            detail: String::new(),
            started: 1,
        })
    }));
    home.images.sweep().unwrap();
}

#[test]
fn what_is_pushed_is_an_image() {
    let home = Home::new("serve-image");
    let pushed = Pushed::new(&tar(&[("a", "1")]));
    let taken = pushed.push(&home.images, HERE, "1");
    let digest = pushed.digest();
    assert_eq!(taken, Taken { digest: digest.clone(), subject: None, no_image: None });
    assert_eq!(home.list(&[]), ["localhost:5000/me/app:1"]);
    let image = home.images.resolve("localhost:5000/me/app:1").unwrap();
    assert_eq!((&image.id, image.manifest.as_ref()), (&pushed.id(), Some(&digest)));
    assert_eq!(home.images.resolve(&format!("{HERE}@{digest}")).unwrap().id, image.id);
    assert_eq!(look(&home, "1"), Some((digest.clone(), media_type::MANIFEST.into())));
    assert_eq!(home.images.content.read(&digest, 1 << 20).unwrap(), pushed.manifest);
    assert!(home.images.blob_of(HERE, &pushed.layer(), false).unwrap().is_some());
    assert_eq!(home.images.blob_of("localhost:5000/x", &pushed.layer(), false).unwrap(), None);
    home.check();
    home.images.remove("localhost:5000/me/app:1", false, &|_| false).unwrap();
    assert!(look(&home, "1").is_none() && !has(&home, &digest));
    home.check();
    assert!(home.images.content.list().unwrap().is_empty());
}

#[test]
fn images_are_served_under_their_names() {
    let home = Home::new("serve-own");
    let image = home.import("debian:12", &tar(&[("a", "1")]));
    home.images.tag("debian:12", "localhost:5000/me/app:2").unwrap();
    let manifest = image.manifest.unwrap();
    for repository in [HERE, "docker.io/library/debian"] {
        assert!(home.images.blob_of(repository, &image.id, false).unwrap().is_some());
        let found = home.images.manifest_of(repository, &Key::Digest(manifest.clone())).unwrap();
        assert_eq!(found.unwrap().media_type, media_type::MANIFEST);
    }
    assert_eq!(look(&home, "2").unwrap().0, manifest);
    assert_eq!(home.images.repositories().unwrap(), ["docker.io/library/debian", HERE]);
    assert_eq!(home.images.tags_of_repository(HERE).unwrap(), Some(vec!["2".into()]));
    assert_eq!(home.images.tags_of_repository("localhost:5000/no").unwrap(), None);
    // Not what only other names have.
    home.images.tag("debian:12", "localhost:5000/other:1").unwrap();
    home.images.remove("localhost:5000/me/app:2", false, &|_| false).unwrap();
    assert_eq!(home.images.blob_of(HERE, &image.id, false).unwrap(), None);
    home.check();
}

#[test]
fn the_same_image_under_another_manifest_keeps_both() {
    let home = Home::new("serve-both");
    let pushed = Pushed::new(&tar(&[("a", "1")]));
    pushed.push(&home.images, HERE, "1");
    let compact: Manifest = serde_json::from_slice(&pushed.manifest).unwrap();
    let compact = serde_json::to_vec(&compact).unwrap();
    let other = home.images.take_manifest(HERE, &named(&compact, &["2", "3"])).unwrap();
    assert_ne!(other.digest, pushed.digest());
    assert_eq!(look(&home, "1").unwrap().0, pushed.digest());
    assert_eq!(look(&home, "3").unwrap().0, other.digest);
    for tag in ["1", "2", "3"] {
        assert_eq!(home.images.resolve(&format!("{HERE}:{tag}")).unwrap().id, pushed.id());
    }
    // A tag of the engine's own means what the engine says.
    let image = home.import("debian:12", &tar(&[("b", "1")]));
    home.images.tag("debian:12", &format!("{HERE}:2")).unwrap();
    assert_eq!(look(&home, "2").unwrap().0, image.manifest.unwrap());
    assert!(has(&home, &other.digest));
    home.check();
}

#[test]
fn an_index_is_the_image_of_this_machine() {
    let home = Home::new("serve-index");
    let (ours, theirs) = (Pushed::new(&tar(&[("a", "1")])), Pushed::new(&tar(&[("b", "1")])));
    let mut entries = Vec::new();
    for (image, architecture) in [(&theirs, "vax".into()), (&ours, Platform::native().architecture)]
    {
        for blob in &image.blobs {
            push_blob(&home.images, HERE, blob);
        }
        let mut entry = Descriptor::of(media_type::MANIFEST, &image.manifest);
        entry.platform = Some(Platform { os: "linux".into(), architecture, ..Platform::default() });
        entries.push(entry);
    }
    let index = serde_json::to_vec(&Index::new(entries)).unwrap();
    let refused = home.images.take_manifest(HERE, &named(&index, &["1"])).unwrap_err();
    assert!(matches!(refused, Refused::Unknown(digest) if digest == theirs.digest()));
    for image in [&ours, &theirs] {
        let new = NewManifest { digest: Some(image.digest()), ..named(&image.manifest, &[]) };
        home.images.take_manifest(HERE, &new).unwrap();
    }
    assert!(home.list(&[]).is_empty());
    let taken = home.images.take_manifest(HERE, &named(&index, &["1"])).unwrap();
    assert_eq!(taken.no_image, None);
    assert_eq!(look(&home, "1"), Some((taken.digest.clone(), media_type::INDEX.into())));
    assert_eq!(home.images.resolve(&format!("{HERE}:1")).unwrap().id, ours.id());
    assert_eq!(home.list(&[]), ["localhost:5000/me/app:1"]);
    home.check();
    home.images.remove(&format!("{HERE}:1"), false, &|_| false).unwrap();
    assert!(![&ours, &theirs].iter().any(|image| has(&home, &image.digest())));
    a_day_later(&home);
    home.check();
    assert!(home.images.content.list().unwrap().is_empty());
}

#[test]
fn artifacts_and_what_they_are_about() {
    let home = Home::new("serve-artifact");
    let pushed = Pushed::new(&tar(&[("a", "1")]));
    let empty = push_blob(&home.images, HERE, b"{}");
    let about = |artifact: Option<&str>| {
        let config = Descriptor::new("application/vnd.oci.empty.v1+json", empty.clone(), 2);
        let mut manifest = Manifest::new(config, Vec::new());
        manifest.artifact_type = artifact.map(str::to_owned);
        manifest.subject = Some(Box::new(Descriptor::of(media_type::MANIFEST, &pushed.manifest)));
        manifest.annotations.insert("key".into(), "value".into());
        serde_json::to_vec(&manifest).unwrap()
    };
    // Before what it is about, and under a tag.
    let first = home.images.take_manifest(HERE, &named(&about(Some("x/sbom")), &["sbom"])).unwrap();
    assert_eq!((first.subject.as_ref(), first.no_image), (Some(&pushed.digest()), None));
    pushed.push(&home.images, HERE, "1");
    let second = home.images.take_manifest(HERE, &named(&about(None), &[])).unwrap();
    let all = Referrers { limit: 9, ..Referrers::default() };
    let (found, more) = home.images.referrers_of(HERE, &pushed.digest(), &all).unwrap();
    assert!(!more);
    let digests: Vec<_> = found.iter().map(|one| one.digest.clone()).collect();
    assert_eq!(digests, [first.digest.clone(), second.digest]);
    let kinds: Vec<_> = found.iter().map(|one| one.artifact_type.as_deref().unwrap()).collect();
    assert_eq!(kinds, ["x/sbom", "application/vnd.oci.empty.v1+json"]);
    assert_eq!(found[0].annotations["key"], "value");
    let elsewhere = home.images.referrers_of("localhost:5000/x", &pushed.digest(), &all).unwrap();
    assert!(elsewhere.0.is_empty());
    let look = |wanted: &Referrers| {
        let (found, more) = home.images.referrers_of(HERE, &pushed.digest(), wanted).unwrap();
        (found.into_iter().map(|one| one.digest).collect::<Vec<_>>(), more)
    };
    let one = Referrers { limit: 1, ..Referrers::default() };
    assert_eq!(look(&one), (vec![digests[0].clone()], true));
    let next = Referrers { after: Some(digests[0].clone()), ..one.clone() };
    assert_eq!(look(&next), (vec![digests[1].clone()], false));
    let sboms = Referrers { artifact: Some("x/sbom".into()), ..all };
    assert_eq!(look(&sboms), (vec![digests[0].clone()], false));
    assert_eq!(home.list(&[]), ["localhost:5000/me/app:1"]);
    // An artifact under an image's tag: the name means no image any more.
    home.images.take_manifest(HERE, &named(&about(Some("x/y")), &["1"])).unwrap();
    assert_eq!(home.list(&[]), ["<none>"]);
    assert!(has(&home, &pushed.digest()) && home.images.resolve(&format!("{HERE}:1")).is_err());
    home.check();
}

#[test]
fn what_cannot_be_unpacked_is_served_all_the_same() {
    let home = Home::new("serve-junk");
    let mut junk = Pushed::new(&tar(&[("a", "1")]));
    junk.blobs[1] = b"no archive".to_vec();
    let mut manifest: Manifest = serde_json::from_slice(&junk.manifest).unwrap();
    manifest.layers = vec![Descriptor::of(media_type::LAYER, &junk.blobs[1])];
    junk.manifest = serde_json::to_vec(&manifest).unwrap();
    let taken = junk.push(&home.images, HERE, "1");
    assert!(taken.no_image.is_some());
    assert_eq!(look(&home, "1").unwrap().0, junk.digest());
    assert!(home.list(&[]).is_empty());
    a_day_later(&home);
    home.check();
    assert!(home.images.drop_manifest(HERE, &junk.digest()).unwrap());
    assert!(home.images.content.list().unwrap().is_empty());
}

#[test]
fn what_is_not_as_announced_is_refused() {
    let home = Home::new("serve-refused");
    let pushed = Pushed::new(&tar(&[("a", "1")]));
    let refuse = |new: &NewManifest| home.images.take_manifest(HERE, new).unwrap_err();
    assert!(matches!(refuse(&named(&pushed.manifest, &["1"])), Refused::Unknown(_)));
    let wrong = NewManifest { digest: Some(pushed.id()), ..named(&pushed.manifest, &[]) };
    assert!(matches!(refuse(&wrong), Refused::Digest { .. }));
    assert!(matches!(refuse(&named(b"{}", &["1"])), Refused::Invalid(_)));
    assert!(matches!(refuse(&named(&pushed.manifest, &["-"])), Refused::Invalid(_)));
    for blob in &pushed.blobs {
        push_blob(&home.images, HERE, blob);
    }
    let mut larger: Manifest = serde_json::from_slice(&pushed.manifest).unwrap();
    larger.layers[0].size += 1;
    let larger = serde_json::to_vec(&larger).unwrap();
    assert!(matches!(refuse(&named(&larger, &["1"])), Refused::Size { .. }));
    let mut writer = home.images.content.writer(10).unwrap();
    writer.write_all(b"other").unwrap();
    let refused = home.images.take_blob(HERE, writer.finish().unwrap(), &pushed.id()).unwrap_err();
    assert!(matches!(refused, Refused::Digest { .. }));
    // Of another repository it is not this one's to name.
    home.import("debian:12", &tar(&[("secret", "1")]));
    let secret = Pushed::new(&tar(&[("secret", "1")]));
    push_blob(&home.images, HERE, &secret.blobs[0]);
    assert!(matches!(refuse(&named(&secret.manifest, &["1"])), Refused::Unknown(digest)
        if digest == secret.layer()));
    assert!(home.images.mount_blob(HERE, "docker.io/library/debian", &secret.layer()).unwrap());
    assert!(!home.images.mount_blob(HERE, "docker.io/library/x", &secret.layer()).unwrap());
    home.images.take_manifest(HERE, &named(&secret.manifest, &["1"])).unwrap();
    home.check();
}

#[test]
fn what_is_deleted_is_gone() {
    let home = Home::new("serve-delete");
    let pushed = Pushed::new(&tar(&[("a", "1")]));
    pushed.push(&home.images, HERE, "1");
    home.images.take_manifest(HERE, &named(&pushed.manifest, &["2"])).unwrap();
    let images = &home.images;
    assert!(matches!(images.drop_blob(HERE, &pushed.layer()), Err(Refused::InUse(_))));
    assert!(images.drop_tag(HERE, "1").unwrap() && !images.drop_tag(HERE, "1").unwrap());
    assert!(look(&home, "1").is_none() && has(&home, &pushed.digest()));
    home.check();
    assert!(images.drop_manifest(HERE, &pushed.digest()).unwrap());
    assert!(!images.drop_manifest(HERE, &pushed.digest()).unwrap());
    assert!(look(&home, "2").is_none() && home.list(&[]).is_empty());
    assert!(images.content.list().unwrap().is_empty());
    assert!(images.repositories().unwrap().is_empty());
    home.check();

    let blob = push_blob(images, HERE, b"alone");
    assert_eq!(images.blob_of(HERE, &blob, true).unwrap(), Some(5));
    assert!(images.drop_blob(HERE, &blob).unwrap() && !images.drop_blob(HERE, &blob).unwrap());
    home.check();

    // One that a container is made of stays, without a name.
    pushed.push(images, HERE, "1");
    let image = images.resolve(&format!("{HERE}:1")).unwrap();
    home.container("aa", &image);
    assert!(images.drop_manifest(HERE, &pushed.digest()).unwrap());
    assert!(look(&home, "1").is_none() && !has(&home, &pushed.digest()));
    assert_eq!(home.list(&[]), ["<none>"]);
    home.check();
}

#[test]
fn a_blob_waits_for_its_manifest_and_then_goes() {
    let home = Home::new("serve-wait");
    let blob = push_blob(&home.images, HERE, b"alone");
    home.images.sweep().unwrap();
    assert_eq!(home.images.content.size(&blob).unwrap(), Some(5));
    home.images
        .db
        .write(|tx| {
            tx.let_go_of(HERE, &blob)?;
            tx.hold_for(HERE, &blob, now() - 1)
        })
        .unwrap();
    home.images.sweep().unwrap();
    assert_eq!(home.images.content.size(&blob).unwrap(), None);
    home.check();
}
