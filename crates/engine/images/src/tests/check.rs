//! What a check finds, and what of it is repaired.

use docker::check::{Finding, Kind};
use oci::DiffId;

use snapshot::Mounts;

use super::*;

fn check(home: &Home, repair: bool) -> Vec<Finding> {
    let checking = Checking { repair, ..Checking::default() };
    home.images.check(checking, &mut |_| Ok(())).unwrap().findings
}

fn kinds(findings: &[Finding]) -> Vec<Kind> {
    findings.iter().map(|finding| finding.kind).collect()
}

/// An image of two layers, saved as an archive too.
fn two_layers(home: &Home) -> (Image, Vec<u8>) {
    let base = home.import("base:1", &gzip(&tar(&[("etc/", ""), ("etc/a", "1"), ("b", "2")])));
    let upper = home.path.join("upper");
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/new"), "3").unwrap();
    let commit = Commit { reference: "two:1".parse().ok(), ..Commit::default() };
    let mounts = Mounts::Overlay { lower: Vec::new(), upper: upper.clone(), work: upper.clone() };
    let image = home.images.commit(&mounts, None, Some(&base.id), &commit).unwrap();
    fs::remove_dir_all(&upper).unwrap();
    let mut saved = Vec::new();
    home.images.save(&["two:1"], &mut saved).unwrap();
    (image, saved)
}

fn layer_path(home: &Home, image: &Image, layer_idx: usize) -> PathBuf {
    home.images.snapshots.layer_paths(&image.chain)[layer_idx].clone()
}

#[test]
fn where_all_is_right_nothing_is_found() {
    let home = Home::new("check-right");
    assert_eq!(check(&home, false), []);
    let (_, saved) = two_layers(&home);
    home.images.load(&mut saved.as_slice()).unwrap();
    let mut seen = Vec::new();
    let tell = &mut |progress: docker::check::Progress| {
        seen.push(progress);
        Ok(())
    };
    let checked = home.images.check(Checking::default(), tell).unwrap();
    assert_eq!(checked.findings, []);
    assert_eq!((checked.summary.images, checked.summary.layers), (2, 2));
    assert_eq!(checked.summary.blobs, home.images.content.list().unwrap().len() as u64);
    let last = |what: &str| seen.iter().rfind(|one| one.what == what).unwrap();
    assert_eq!(last("blobs").current, last("blobs").total);
    assert_eq!((last("layers").current, last("layers").total), (2, 2));
    home.check();
}

#[test]
fn a_damaged_blob_is_dropped_and_comes_again() {
    let home = Home::new("check-damaged");
    let (image, saved) = two_layers(&home);
    let layers = home.images.db.read(|tx| tx.image_layers(&image.id)).unwrap();
    let path = home.images.content.blob_path(&layers[0].blob);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let found = check(&home, false);
    assert_eq!(kinds(&found), [Kind::DamagedBlob]);
    assert_eq!(found[0].images, ["base:1", "two:1"]);
    assert!(path.exists() && !found[0].fixed && found[0].repair.is_empty());

    let found = check(&home, true);
    assert!(found[0].repair.contains("again") && !found[0].fixed && !path.exists());
    let found = check(&home, true);
    assert_eq!((kinds(&found), found[0].fixed), (vec![Kind::MissingBlob], false));
    home.images.load(&mut saved.as_slice()).unwrap();
    assert_eq!(check(&home, false), []);
    home.check();
}

#[test]
fn an_image_without_its_configuration_comes_again() {
    let home = Home::new("check-config");
    let (image, saved) = two_layers(&home);
    for blob in [&image.id, image.manifest.as_ref().unwrap()] {
        fs::write(home.images.content.blob_path(blob), "{}").unwrap();
        // One bad image does not hide the others, nor itself.
        assert_eq!(home.list(&[]), ["base:1", "two:1"]);
        assert_eq!(home.list(&[("label!", "keep")]), home.list(&[("label!", "keep")]));
        assert_eq!(kinds(&check(&home, true)), [Kind::DamagedBlob]);
        assert_eq!(home.list(&[]), ["base:1", "two:1"]);
        home.images.load(&mut saved.as_slice()).unwrap();
        assert_eq!(check(&home, false), []);
    }
    home.check();
}

#[test]
fn a_changed_layer_is_unpacked_again_unless_a_container_has_it() {
    let home = Home::new("check-changed");
    let (image, _) = two_layers(&home);
    let file = layer_path(&home, &image, 0).join("etc/a");
    fs::write(&file, "other").unwrap();
    home.container("aa", &image);
    let found = check(&home, true);
    assert_eq!(kinds(&found), [Kind::ChangedLayer]);
    assert!(found[0].message.starts_with("\"/etc/a\" has another"), "{}", found[0].message);
    assert_eq!(found[0].containers, ["name-aa"]);
    assert!(!found[0].fixed && fs::read_to_string(&file).unwrap() == "other");

    home.images.db.write(|tx| tx.delete_container("aa", 1)).unwrap();
    let found = check(&home, true);
    assert_eq!((kinds(&found), found[0].fixed), (vec![Kind::ChangedLayer], true));
    assert_eq!(fs::read_to_string(&file).unwrap(), "1");
    assert_eq!(check(&home, false), []);
    home.check();
}

#[test]
fn layers_that_share_files_are_changed_and_unpacked_again_together() {
    let home = Home::on("check-copies", Driver::Copy);
    let (image, _) = two_layers(&home);
    assert_eq!(check(&home, false), []);
    let files = [0, 1].map(|layer_idx| layer_path(&home, &image, layer_idx).join("etc/a"));
    let is_shared = fs::read(&files[0]).unwrap() == fs::read(&files[1]).unwrap();
    fs::write(&files[0], "other").unwrap();
    let found = check(&home, true);
    let n_changed = if is_shared { 2 } else { 1 };
    assert_eq!(kinds(&found), vec![Kind::ChangedLayer; n_changed], "{found:?}");
    assert!(found.iter().all(|finding| finding.fixed), "{found:?}");
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), "1");
    assert_eq!(check(&home, false), []);
    home.check();
}

#[test]
fn a_layer_that_is_gone_is_unpacked_again() {
    let home = Home::new("check-gone");
    let (image, _) = two_layers(&home);
    let dir = layer_path(&home, &image, 0);
    fs::remove_dir_all(dir.parent().unwrap()).unwrap();
    let found = check(&home, false);
    assert_eq!(kinds(&found), [Kind::MissingLayer]);
    assert_eq!(found[0].images, ["base:1", "two:1"]);
    assert!(check(&home, true)[0].fixed && dir.join("etc/a").exists());
    assert_eq!(check(&home, false), []);
    home.check();
}

#[test]
fn what_nothing_needs_is_removed() {
    let home = Home::new("check-orphans");
    two_layers(&home);
    let images = &home.images;
    let blob = images.content.put("x", b"orphan").unwrap().digest;
    let chain = ChainId(Digest::sha256(b"layer"));
    let unpacking = images.snapshots.begin(&[]).unwrap();
    images.snapshots.commit(unpacking, &chain).unwrap();
    let row = ChainId(Digest::sha256(b"row"));
    let new = metadata::Layer {
        chain: row.clone(),
        diff: DiffId(row.0.clone()),
        parent: None,
        size: 1,
        created: 1,
    };
    images.db.write(|tx| tx.insert_layer(&new)).unwrap();
    let held = images.content.put("x", b"held").unwrap().digest;
    images.db.write(|tx| tx.hold("pull-1-x", [&held], i64::MAX)).unwrap();
    for left in
        ["content/ingest/4194305-0", "snapshots/new/4194305-1/fs", "snapshots/trash/4194305-2"]
    {
        fs::create_dir_all(home.path.join(left).parent().unwrap()).unwrap();
        if left.starts_with("content") {
            fs::write(home.path.join(left), "x").unwrap();
        } else {
            fs::create_dir_all(home.path.join(left)).unwrap();
        }
    }
    fs::write(home.path.join("content/index.json"), "{}").unwrap();
    fs::write(home.path.join("content/oci-layout"), "{}").unwrap();
    fs::write(home.path.join("content/blobs/sha256/README"), "mine").unwrap();

    let found = check(&home, false);
    let mut want = vec![Kind::Layout, Kind::Index, Kind::OrphanBlob, Kind::StrayFile];
    want.extend([Kind::OrphanLayer; 2]);
    want.extend([Kind::LeftOver; 3]);
    assert_eq!(kinds(&found), want);
    let subjects: Vec<_> = found.iter().map(|one| one.subject.as_str()).collect();
    for subject in [blob.to_string(), chain.to_string(), row.to_string()] {
        assert!(subjects.contains(&subject.as_str()), "{subject}: {subjects:?}");
    }
    let found = check(&home, true);
    let left: Vec<_> = found.iter().filter(|one| !one.fixed).map(|one| one.kind).collect();
    assert_eq!(left, [Kind::StrayFile]);
    assert_eq!(kinds(&check(&home, false)), [Kind::StrayFile]);
    assert_eq!(images.content.size(&held).unwrap(), Some(4), "a pull counts on it");
    fs::remove_file(home.path.join("content/blobs/sha256/README")).unwrap();
    images.db.write(|tx| tx.let_go("pull-1-x")).unwrap();
    check(&home, true);
    home.check();
}

#[test]
fn what_others_are_doing_is_not_wrong() {
    let home = Home::new("check-beside");
    let (_, saved) = two_layers(&home);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|worker| {
                let (home, saved) = (&home, &saved);
                scope.spawn(move || {
                    let images = open(&home.path, &[]);
                    for n in 0..12 {
                        let name = format!("w{worker}:{n}");
                        let import = Import { reference: name.parse().ok(), ..Import::default() };
                        let archive = tar(&[("f", &name)]);
                        images.import(&mut archive.as_slice(), &import, &mut |_| ()).unwrap();
                        images.load(&mut saved.as_slice()).unwrap();
                        images.remove(&name, false, &|_| false).unwrap();
                    }
                })
            })
            .collect();
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            for repair in [false, true] {
                let found = check(&home, repair);
                assert!(found.is_empty(), "{found:?}");
            }
        }
    });
    assert_eq!(check(&home, false), []);
    home.check();
}

#[test]
fn shared_layers_count_once() {
    let home = Home::new("usage");
    let (two, _) = two_layers(&home);
    let usage = home.images.layer_usage().unwrap();
    let base = home.images.resolve("base:1").unwrap();
    assert_eq!((usage.total, usage.active), (3, 0));
    assert_eq!((usage.shared[&base.id], usage.shared[&two.id]), (2, 2));
    home.container("aa", &base);
    assert_eq!(home.images.layer_usage().unwrap().active, 2);
    home.images.remove("two:1", false, &|_| false).unwrap();
    let usage = home.images.layer_usage().unwrap();
    assert_eq!((usage.total, usage.shared[&base.id]), (2, 0));
}
