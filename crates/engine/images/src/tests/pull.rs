//! Images that come from a registry.

use std::thread;

use oci::image::{ImageConfig, Manifest, RootFs};

use super::*;

/// An image as a registry has it: its manifest, its configuration, its layers.
pub(super) struct Remote {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
}

impl Remote {
    pub(super) fn new(layers: &[&[(&str, &str)]]) -> Self {
        Self::of(layers.iter().map(|files| tar(files)).collect())
    }

    pub(super) fn of(layers: Vec<Vec<u8>>) -> Self {
        let diffs = layers.iter().map(|layer| oci::DiffId(Digest::sha256(layer))).collect();
        let config = ImageConfig {
            os: "linux".into(),
            rootfs: RootFs { diff_ids: diffs, ..RootFs::default() },
            ..ImageConfig::default()
        };
        let config = serde_json::to_vec(&config).unwrap();
        let blobs = layers.iter().map(|layer| Descriptor::of(media_type::LAYER, layer)).collect();
        let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), blobs);
        Self { manifest: serde_json::to_vec(&manifest).unwrap(), config, layers }
    }

    /// The whole pull.
    pub(super) fn pull_into(&self, images: &Images, name: &str) -> Result<Image, Error> {
        let pull = images.begin_pull(self.manifest.clone(), self.config.clone())?;
        for (blob, bytes) in pull.layers().iter().zip(&self.layers) {
            let Some(mut incoming) = blob.take() else { continue };
            let failed = |source| Error::Io { call: "write", path: name.into(), source };
            incoming.write_all(&bytes[incoming.size() as usize..]).map_err(failed)?;
            incoming.finish()?;
        }
        images.finish_pull(&pull, &name.parse().unwrap(), &called(), &|_, _| ())
    }

    fn begin(&self, home: &Home) -> Pull {
        home.images.begin_pull(self.manifest.clone(), self.config.clone()).unwrap()
    }

    /// Sends what is missing of the layers. How many bytes.
    fn send(&self, pull: &Pull) -> usize {
        let mut n_sent = 0;
        for (blob, bytes) in pull.layers().iter().zip(&self.layers) {
            let Some(mut incoming) = blob.take() else { continue };
            let rest = &bytes[incoming.size() as usize..];
            n_sent += rest.len();
            incoming.write_all(rest).unwrap();
            incoming.finish().unwrap();
        }
        n_sent
    }

    fn pull(&self, home: &Home, name: &str) -> Image {
        let pull = self.begin(home);
        self.send(&pull);
        finish(home, &pull, name).unwrap()
    }
}

fn finish(home: &Home, pull: &Pull, name: &str) -> Result<Image, Error> {
    home.images.finish_pull(pull, &name.parse().unwrap(), &called(), &|_, _| ())
}

/// The digest of the index that all of this is said to come from.
fn called() -> Digest {
    Digest::sha256(b"index")
}

#[test]
fn layers_are_unpacked_while_they_come() {
    let home = Home::new("pull");
    let remote = Remote::new(&[&[("a", "1")], &[("b", "2")], &[("a", "3")]]);
    let pull = remote.begin(&home);
    assert!(pull.layers().iter().all(|layer| layer.is_missing()));
    let steps = std::sync::Mutex::new(Vec::new());
    let image = thread::scope(|scope| {
        let unpacking = scope.spawn(|| {
            let on_step = |idx: usize, step: Step| {
                if step == Step::Done {
                    steps.lock().unwrap().push(idx);
                }
            };
            let name = "r.test/a/b:1".parse().unwrap();
            home.images.finish_pull(&pull, &name, &called(), &on_step)
        });
        remote.send(&pull);
        unpacking.join().unwrap().unwrap()
    });
    assert_eq!(steps.into_inner().unwrap(), [0, 1, 2]);
    assert_eq!((&image.id, image.chain.len()), (&Digest::sha256(&remote.config), 3));
    home.check();

    let by_digest = format!("r.test/a/b@{}", called());
    for name in ["r.test/a/b:1", &by_digest, &format!("r.test/a/b:other@{}", called())] {
        assert_eq!(home.images.resolve(name).unwrap().id, image.id, "{name}");
    }
    assert!(home.images.resolve(&format!("r.test/c@{}", called())).is_err());
    let details = home.images.details("r.test/a/b:1").unwrap();
    assert_eq!(details.repo_digests, std::slice::from_ref(&by_digest));
    // Another name is not one by which a registry has it.
    home.images.tag("r.test/a/b:1", "r.test/c:1").unwrap();
    let details = home.images.details("r.test/c:1").unwrap();
    assert_eq!(details.repo_digests, std::slice::from_ref(&by_digest));
    home.images.remove("r.test/c:1", false, &|_| false).unwrap();
    let removed = home.images.remove("r.test/a/b:1", false, &|_| false).unwrap();
    assert!(removed.contains(&Removed::Untagged(by_digest)));
    home.check();
    assert!(home.list(&[]).is_empty());
}

#[test]
fn what_is_there_is_not_fetched_again() {
    let home = Home::new("pull-known");
    let base: &[(&str, &str)] = &[("a", "1")];
    let one = Remote::new(&[base, &[("b", "2")]]);
    let image = one.pull(&home, "r.test/one:1");
    let pull = Remote::new(&[base, base]).begin(&home);
    let missing: Vec<_> = pull.layers().iter().map(|layer| layer.is_missing()).collect();
    assert_eq!((missing, pull.is_known()), (vec![false, false], false));
    finish(&home, &pull, "r.test/two:1").unwrap();
    let again = one.begin(&home);
    assert!(again.is_known() && one.send(&again) == 0);
    assert_eq!(finish(&home, &again, "r.test/three:1").unwrap().id, image.id);
    assert_eq!(home.list(&[]), ["r.test/one:1", "r.test/two:1"]);
    home.check();
}

#[test]
fn by_digest_it_has_no_tag() {
    let home = Home::new("pull-digest");
    let name = format!("r.test/a:1@{}", called());
    Remote::new(&[&[("a", "1")]]).pull(&home, &name);
    assert_eq!(home.list(&[]), ["<none>"]);
    assert!(home.list(&[("dangling", "true")]).is_empty());
    home.images.resolve(&name).unwrap();
    home.images.remove(&name, false, &|_| false).unwrap();
    home.check();
}

#[test]
fn a_pull_that_fails_leaves_what_the_next_one_needs() {
    let home = Home::new("pull-resume");
    let remote = Remote::new(&[&[("a", "1")], &[("b", "2")]]);
    let pull = remote.begin(&home);
    let mut first = pull.layers()[0].take().unwrap();
    first.write_all(&remote.layers[0]).unwrap();
    first.finish().unwrap();
    let mut second = pull.layers()[1].take().unwrap();
    second.write_all(&remote.layers[1][..700]).unwrap();
    drop(second);
    finish(&home, &pull, "r.test/a:1").unwrap_err();

    // Its process dies; others come and look for what nobody needs.
    drop(pull);
    home.images.db.write(|tx| tx.hold("pull-0-x", [&called()], i64::MAX)).unwrap();
    let dead = format!("pull-0-{}", Digest::sha256(&remote.manifest).hex());
    home.images.db.write(|tx| tx.hold(&dead, [&called()], i64::MAX)).unwrap();
    home.images.with_note(|| Err::<(), _>(Error::Invalid("killed".into()))).unwrap_err();
    home.images.sweep().unwrap();
    assert!(home.list(&[]).is_empty());
    let pull = remote.begin(&home);
    assert!(!pull.layers()[0].is_missing());
    assert_eq!(remote.send(&pull), remote.layers[1].len() - 700);
    finish(&home, &pull, "r.test/a:1").unwrap();
    assert_eq!(home.images.db.read(metadata::Read::holders).unwrap(), ["pull-0-x"]);
    home.images.db.write(|tx| tx.let_go("pull-0-x")).unwrap();
    home.check();
}

#[test]
fn what_a_pull_counts_on_stays_when_its_image_goes() {
    let home = Home::new("pull-race");
    let base: &[(&str, &str)] = &[("a", "1")];
    Remote::new(&[base]).pull(&home, "r.test/base:1");
    let remote = Remote::new(&[base, &[("b", "2")]]);
    let pull = remote.begin(&home);
    home.images.remove("r.test/base:1", false, &|_| false).unwrap();
    remote.send(&pull);
    finish(&home, &pull, "r.test/top:1").unwrap();
    home.check();
}

#[test]
fn what_was_given_up_is_swept_in_time() {
    let home = Home::new("pull-old");
    let remote = Remote::new(&[&[("a", "1")]]);
    let pull = remote.begin(&home);
    remote.send(&pull);
    drop(pull);
    home.images.sweep().unwrap();
    let blob = Digest::sha256(&remote.layers[0]);
    assert!(home.images.content.size(&blob).unwrap().is_some());
    home.images.db.write(|tx| tx.hold("pull-x", [&blob], 1)).unwrap();
    let holder = home.images.db.write(|tx| {
        let name =
            format!("pull-{}-{}", std::process::id(), Digest::sha256(&remote.manifest).hex());
        tx.let_go(&name).map(|()| name)
    });
    holder.unwrap();
    home.images.sweep().unwrap();
    home.check();
    assert!(home.images.content.list().unwrap().is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_before_it_comes() {
    let home = Home::new("pull-bad");
    let remote = Remote::new(&[&[("a", "1")]]);
    let text = String::from_utf8(remote.manifest.clone()).unwrap();
    let n_bytes = format!("\"size\":{}", remote.layers[0].len());
    for (manifest, config) in [
        (text.replace(media_type::LAYER, "application/x-evil"), &remote.config[..]),
        (text.replace(media_type::CONFIG, "application/vnd.cncf.helm.config.v1+json"), b"{}"),
        (text.replace(&n_bytes, "\"size\":9999999999999999"), &remote.config),
        (text.clone(), br#"{"rootfs":{"type":"layers","diff_ids":[]}}"#),
        (text.replace("layers", "blobs"), &remote.config),
        (text.clone(), b"[]"),
    ] {
        assert!(
            home.images.begin_pull(manifest.clone().into(), config.to_vec()).is_err(),
            "{manifest}"
        );
    }
    home.check();
}

#[test]
fn what_is_pushed_is_what_was_pulled() {
    let home = Home::new("push");
    let remote = Remote::new(&[&[("a", "1")]]);
    let image = remote.pull(&home, "r.test/from:1");
    home.images.tag("r.test/from:1", "r.test/to:2").unwrap();
    home.images.tag("r.test/from:1", "r.test/to:3").unwrap();
    let name: Reference = "r.test/to".parse().unwrap();
    let names = home.images.names_to_push(&name, true).unwrap();
    assert_eq!(
        names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        ["r.test/to:2", "r.test/to:3"]
    );
    let push = home.images.begin_push(&names[0]).unwrap();
    assert_eq!(
        (&push.root.bytes, &push.root.media_type[..]),
        (&remote.manifest, media_type::MANIFEST)
    );
    assert_eq!(push.elsewhere[&push.layers[0].digest], ["from"]);
    home.images.end_push(&push, Some(&names[0])).unwrap();
    let digests = home.images.details(&image.id.to_string()).unwrap().repo_digests;
    assert_eq!(
        digests,
        [format!("r.test/from@{}", called()), format!("r.test/to@{}", push.root.digest)]
    );
    let nothing: Reference = "r.test/nothing:1".parse().unwrap();
    let error = home.images.begin_push(&nothing).unwrap_err().to_string();
    assert_eq!(error, "An image does not exist locally with the tag: r.test/nothing");
    assert!(home.images.names_to_push(&nothing, true).is_err());
    home.check();
}
