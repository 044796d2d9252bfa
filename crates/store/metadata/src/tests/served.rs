//! What the registry of our own was given.

use super::*;

const HERE: &str = "localhost:5000/me/app";

fn digest(of: &str) -> Digest {
    Digest::sha256(of.as_bytes())
}

fn served(name: &str) -> Served {
    Served {
        repository: HERE.into(),
        digest: digest(name),
        media_type: "application/json".into(),
        artifact: None,
        subject: None,
        image: None,
        added: 1,
    }
}

fn served_tag(tag: &str, name: &str, image: Option<&str>) -> ServedTag {
    ServedTag {
        repository: HERE.into(),
        tag: tag.into(),
        manifest: digest(name),
        image: image.map(digest),
        updated: 1,
    }
}

fn image(name: &str, manifest: &str) -> Image {
    Image { id: digest(name), manifest: digest(manifest), size: 1, created: 1, added: 1 }
}

fn tag(reference: &str, image: &str) -> Tag {
    Tag { reference: reference.into(), image: digest(image), target: None, updated: 1 }
}

fn there(db: &Db, name: &str) -> bool {
    db.read(|tx| tx.served(HERE, &digest(name))).unwrap().is_some()
}

#[test]
fn what_a_manifest_names_is_used_and_held_no_more() {
    let dir = Dir::new("served-parts");
    let db = dir.db();
    let blob = digest("blob");
    write(&db, |tx| tx.hold_for(HERE, &blob, 10));
    let look = |repository: &str| {
        db.read(|tx| {
            Ok::<_, Error>((
                tx.has_blob(repository, &blob)?,
                tx.blob_is_part(repository, &blob)?,
                tx.blob_is_used(&blob)?,
            ))
        })
        .unwrap()
    };
    assert_eq!(look(HERE), (true, false, true));
    assert_eq!(look("localhost:5000/me/ap"), (false, false, true));
    write(&db, |tx| tx.insert_served(&served("m"), std::slice::from_ref(&blob)));
    assert!(!write(&db, |tx| tx.let_go_of(HERE, &blob)));
    assert_eq!(look(HERE), (true, true, true));
    let used = db.read(Read::used_blobs).unwrap();
    assert!(used.contains(&blob) && used.contains(&digest("m")));
    assert!(write(&db, |tx| tx.delete_served(HERE, &digest("m"))));
    assert_eq!(look(HERE), (false, false, false));
}

#[test]
fn holds_end_and_are_prolonged() {
    let dir = Dir::new("served-holds");
    let db = dir.db();
    let blob = digest("blob");
    write(&db, |tx| tx.hold_for(HERE, &blob, 10));
    write(&db, |tx| tx.hold_for(HERE, &blob, 5));
    write(&db, |tx| tx.let_go_of_old(9));
    assert!(db.read(|tx| tx.has_blob(HERE, &blob)).unwrap());
    write(&db, |tx| tx.let_go_of_old(10));
    assert!(!db.read(|tx| tx.has_blob(HERE, &blob)).unwrap());
}

#[test]
fn images_are_in_the_repositories_that_they_are_named_after() {
    let dir = Dir::new("served-named");
    let db = dir.db();
    let layer = ImageLayer {
        chain: ChainId(digest("chain")),
        diff: DiffId(digest("diff")),
        blob: digest("layer"),
    };
    write(&db, |tx| {
        tx.insert_image(&image("i", "m"), &[layer])?;
        tx.set_tag(&tag(&format!("{HERE}:1"), "i"))?;
        tx.set_tag(&tag(&format!("{HERE}x:2"), "i"))?;
        tx.set_repo_digest(&format!("quay.io/a@{}", digest("index")), &digest("i"))
    });
    for (repository, is_there) in
        [(HERE, true), ("quay.io/a", true), ("quay.io", false), ("localhost:5000/me", false)]
    {
        db.read(|tx| {
            for blob in ["i", "m", "layer"] {
                assert_eq!(tx.has_blob(repository, &digest(blob))?, is_there, "{repository}");
            }
            assert_eq!(tx.image_in(repository, &digest("m"))?.is_some(), is_there);
            assert_eq!(tx.has_repository(repository)?, is_there);
            Ok::<_, Error>(())
        })
        .unwrap();
    }
    let tags = db.read(|tx| tx.tags_in(HERE)).unwrap();
    assert_eq!(tags, [("1".to_owned(), image("i", "m"))]);
}

#[test]
fn a_name_that_goes_takes_what_was_pushed_under_it() {
    let dir = Dir::new("served-untag");
    let db = dir.db();
    let about = Served { subject: Some(digest("index")), ..served("signature") };
    write(&db, |tx| {
        tx.insert_image(&image("i", "child"), &[])?;
        tx.set_tag(&tag(&format!("{HERE}:1"), "i"))?;
        tx.insert_served(&served("child"), &[digest("i")])?;
        tx.insert_served(&served("shared"), &[])?;
        tx.insert_served(&served("index"), &[digest("child"), digest("shared")])?;
        tx.insert_served(&about, &[])?;
        tx.set_served_tag(&served_tag("1", "index", Some("i")))?;
        tx.set_served_tag(&served_tag("2", "shared", None))
    });
    assert!(write(&db, |tx| tx.delete_tag(&format!("{HERE}:1"))));
    let left = ["index", "child", "shared", "signature"].map(|name| there(&db, name));
    assert_eq!(left, [false, false, true, false]);
}

#[test]
fn a_name_that_is_given_to_another_image_is_not_what_was_pushed() {
    let dir = Dir::new("served-retag");
    let db = dir.db();
    let name = format!("{HERE}:1");
    let pushed = || db.read(|tx| tx.served_tag(HERE, "1")).unwrap().is_some();
    write(&db, |tx| {
        tx.insert_image(&image("i", "m"), &[])?;
        tx.insert_image(&image("j", "n"), &[])?;
        tx.insert_served(&Served { image: Some(digest("i")), ..served("m2") }, &[])?;
        tx.set_tag(&tag(&name, "i"))?;
        tx.set_served_tag(&served_tag("1", "m2", Some("i")))
    });
    write(&db, |tx| tx.set_tag(&tag(&name, "i")));
    assert!(pushed());
    write(&db, |tx| tx.set_tag(&tag(&name, "j")));
    assert!(!pushed() && there(&db, "m2"));
    // With the image goes what it was pushed as.
    write(&db, |tx| tx.delete_image(&digest("i")));
    assert!(!there(&db, "m2"));
}
