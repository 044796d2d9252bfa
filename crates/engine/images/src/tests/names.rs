//! Names, lists and removal, in Docker's words.

use super::*;

fn none(_: &str) -> bool {
    false
}

#[test]
fn images_are_found_as_people_name_them() {
    let home = Home::new("find");
    let image = home.import("me/app:1", &tar(&[("a", "x")]));
    let hex = image.id.hex().to_owned();
    let manifest = image.manifest.clone().unwrap();
    for name in [
        "me/app:1",
        "docker.io/me/app:1",
        &hex,
        &hex[..12],
        &hex[..1],
        &image.id.to_string(),
        &format!("sha256:{}", &hex[..8]),
        &format!("me/app@{manifest}"),
    ] {
        assert_eq!(home.images.resolve(name).unwrap().id, image.id, "{name}");
    }
    for (name, want) in [
        ("me/app", "No such image: me/app:latest"),
        ("nope", "No such image: nope:latest"),
        ("me/App", "invalid reference format: repository name (me/App) must be lowercase"),
        ("a b", "invalid reference format"),
        ("", "invalid reference format"),
        ("sha256:zz", "No such image: sha256:zz:latest"),
    ] {
        let error = home.images.resolve(name).unwrap_err();
        assert!(error.to_string().contains(want.trim_end_matches(":latest")), "{name}: {error}");
    }
    let unknown = "0".repeat(64);
    assert_eq!(home.images.resolve(&unknown).unwrap_err().class(), Class::NotFound);
}

#[test]
fn lists_and_their_filters() {
    let home = Home::new("list");
    let import = |name: &str, change: &str, created| {
        let import = Import {
            reference: name.parse().ok(),
            changes: vec![change.into()],
            created: Some(created),
            ..Import::default()
        };
        home.import_with(&tar(&[("a", name)]), &import).unwrap()
    };
    import("one:1", "LABEL a=1", 1_000_000_000);
    import("me/two:1", "LABEL a=2 b=", 2_000_000_000);
    let three = import("three:1", "ENV x=y", 3_000_000_000);
    import("three:1", "ENV x=z", 4_000_000_000);
    home.images.tag("one:1", "one:2").unwrap();
    home.container("c1", &three);

    for (filters, want) in [
        (&[][..], &["<none>", "me/two:1", "one:1", "three:1"][..]),
        (&[("dangling", "true")], &["<none>"]),
        (&[("dangling", "false")], &["me/two:1", "one:1", "three:1"]),
        (&[("label", "a")], &["me/two:1", "one:1"]),
        (&[("label", "a=2"), ("label", "b")], &["me/two:1"]),
        (&[("label!", "a"), ("dangling", "false")], &["three:1"]),
        (&[("reference", "one")], &["one:1"]),
        (&[("reference", "one:2")], &["one:2"]),
        (&[("reference", "*/two*")], &["me/two:1"]),
        (&[("reference", "none"), ("reference", "three:?")], &["three:1"]),
        (&[("before", "me/two:1")], &["one:1"]),
        (&[("since", "me/two:1")], &["<none>", "three:1"]),
        (&[("until", "2")], &["one:1"]),
    ] {
        assert_eq!(home.list(filters), want, "{filters:?}");
    }
    let mut wrong = Filters::default();
    wrong.add("colour", "red");
    assert_eq!(home.images.list(&wrong).unwrap_err().to_string(), "invalid filter 'colour'");

    let all = home.images.list(&Filters::default()).unwrap();
    let one = all.iter().find(|one| one.repo_tags.first().is_some_and(|t| t == "one:1")).unwrap();
    assert_eq!(one.repo_tags, ["one:1", "one:2"]);
    assert!(one.repo_digests.is_empty(), "no registry has it");
    assert_eq!(all.iter().map(|one| one.containers).sum::<u64>(), 1);

    let details = home.images.details("one:2").unwrap();
    assert_eq!(details.repo_tags, ["one:1", "one:2"]);
    assert!(details.descriptor.unwrap().size > 100 && details.last_tag_time.is_some());
    // That it comes once more, under its names, is no tagging.
    let mut saved = Vec::new();
    home.images.save(&["one:1", "one:2"], &mut saved).unwrap();
    home.images.load(&mut saved.as_slice()).unwrap();
    let loaded = home.images.details("one:2").unwrap();
    assert_eq!(loaded.last_tag_time, details.last_tag_time);
    home.images.tag("one:1", "one:2").unwrap();
    let tagged = home.images.details("one:2").unwrap();
    assert!(tagged.last_tag_time > details.last_tag_time);
    let elsewhere = Home::new("names-elsewhere");
    elsewhere.images.load(&mut saved.as_slice()).unwrap();
    assert_eq!(elsewhere.images.details("one:1").unwrap().last_tag_time, None);
    let history = home.images.history("one:1").unwrap();
    assert_eq!((history.len(), history[0].size, history[0].created), (1, 5, 1_000_000_000));
    assert_eq!(history[0].tags, ["one:1", "one:2"]);
}

#[test]
fn what_loses_its_name_to_an_archive_is_told() {
    let home = Home::new("replaced");
    let old = home.import("one:1", &tar(&[("a", "x")]));
    let mut saved = Vec::new();
    home.images.save(&["one:1"], &mut saved).unwrap();
    let replaced = || {
        let loaded = home.images.load_for(&mut saved.as_slice(), &[]).unwrap();
        assert_eq!((loaded.len(), &loaded[0].image.id), (1, &old.id));
        loaded[0].replaced.clone()
    };
    assert_eq!(replaced(), None);
    let new = home.import("one:1", &tar(&[("a", "y")]));
    assert_eq!(replaced(), Some(new.id));
    assert_eq!(replaced(), None);
    home.images.remove("one:1", false, &none).unwrap();
    assert_eq!(replaced(), None);
    home.check();
}

#[test]
fn a_name_goes_and_with_the_last_one_the_image() {
    let home = Home::new("untag");
    let image = home.import("one:1", &tar(&[("a", "x")]));
    home.images.tag("one:1", "one:2").unwrap();
    let removed = home.images.remove("one:1", false, &none).unwrap();
    assert_eq!(removed, [Removed::Untagged("one:1".into())]);
    home.check();
    let removed = home.images.remove("one:2", false, &none).unwrap();
    let layer = image.chain[0].0.clone();
    assert_eq!(
        removed,
        [
            Removed::Untagged("one:2".into()),
            Removed::Deleted(image.id.clone()),
            Removed::Deleted(layer)
        ]
    );
    home.check();
    let error = home.images.remove("one:2", false, &none).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.class()),
        ("No such image: one:2", Class::NotFound)
    );
}

#[test]
fn by_a_digest_goes_what_its_repository_means_by_it() {
    let home = Home::new("untag-digest");
    let image = home.import("one:1", &tar(&[("a", "x")]));
    for name in ["me/two:1", "me/two:2"] {
        home.images.tag("one:1", name).unwrap();
    }
    let by_digest = |name: &str| format!("{name}@{}", image.manifest.clone().unwrap());
    let remove = |name: &str| home.images.remove(&by_digest(name), false, &none);
    let untagged = |name: &str| Removed::Untagged(name.into());
    assert_eq!(remove("other").unwrap_err().class(), Class::NotFound);
    let found = |name: &str| home.images.resolve(&by_digest(name)).map(|image| image.id);
    assert_eq!(found("me/two").unwrap(), image.id);
    assert_eq!(found("other").unwrap_err().class(), Class::NotFound, "it has no such image");
    assert_eq!(home.images.meant_by(&by_digest("other")).unwrap(), None);
    // The other repository has it as before, and nobody needs force.
    assert_eq!(remove("me/two").unwrap(), [untagged("me/two:1"), untagged("me/two:2")]);
    assert_eq!(home.list(&[]), ["one:1"]);
    assert_eq!(remove("me/two").unwrap_err().class(), Class::NotFound);
    assert_eq!(found("me/two").unwrap_err().class(), Class::NotFound);
    home.check();
    home.container("c1", &image);
    assert_eq!(remove("one").unwrap_err().class(), Class::Conflict);
    home.images.db.write(|tx| tx.delete_container("c1", 0)).unwrap();
    let removed = remove("one").unwrap();
    assert_eq!(removed[..2], [untagged("one:1"), Removed::Deleted(image.id.clone())]);
    home.check();
}

#[test]
fn an_image_in_use_stays() {
    let home = Home::new("use");
    let image = home.import("x", &tar(&[("a", "x")]));
    let short = image.id.short().to_owned();
    home.container("abcdefabcdef99", &image);
    let remove = |name: &str, force, running: bool| {
        home.images.remove(name, force, &|_| running).map_err(|error| {
            assert_eq!(error.class(), Class::Conflict);
            error.to_string()
        })
    };
    let refused = |why: String| Err::<Vec<Removed>, _>(format!("conflict: {why}"));
    assert_eq!(
        remove("x", false, false),
        refused(format!(
            "unable to remove repository reference \"x:latest\" (must force) - container \
             abcdefabcdef is using its referenced image {short}"
        ))
    );
    assert_eq!(
        remove(&short, false, false),
        refused(format!(
            "unable to delete {short} (must be forced) - image is being used by stopped container \
             abcdefabcdef"
        ))
    );
    assert_eq!(
        remove(&short, true, true),
        refused(format!(
            "unable to delete {short} (cannot be forced) - image is being used by running \
             container abcdefabcdef"
        ))
    );
    home.images.tag("x", "y").unwrap();
    assert_eq!(
        remove(&short, false, false),
        refused(format!(
            "unable to delete {short} (must be forced) - image is referenced in multiple \
             repositories"
        ))
    );
    // A name that is not the last one may go; force takes the names, not the files.
    assert_eq!(remove("y", false, true), Ok(vec![Removed::Untagged("y:latest".into())]));
    assert_eq!(remove("x", true, true), Ok(vec![Removed::Untagged("x:latest".into())]));
    home.check();
    home.images.resolve(&short).unwrap();
    home.images.db.write(|tx| tx.delete_container("abcdefabcdef99", 0)).unwrap();
    let pruned = home.images.prune(&Filters::default(), &[]).unwrap();
    assert_eq!((pruned.removed.len(), pruned.reclaimed), (2, 1));
    home.check();
}

#[test]
fn pruning_takes_what_nobody_names_or_uses() {
    let home = Home::new("prune");
    let import = |name: &str, data: &str| home.import(name, &tar(&[("a", data)]));
    let used = import("used", "1");
    import("other", "22");
    import("other", "333");
    home.container("c1", &used);
    let dangling = home.images.prune(&Filters::default(), &[]).unwrap();
    assert_eq!(dangling.reclaimed, 2);
    assert_eq!(home.list(&[]), ["other:latest", "used:latest"]);
    home.check();
    let mut all = Filters::default();
    all.add("dangling", "false");
    let pruned = home.images.prune(&all, &[]).unwrap();
    assert_eq!(pruned.removed[0], Removed::Untagged("other:latest".into()));
    assert_eq!(home.list(&[]), ["used:latest"]);
    home.check();
}

#[test]
fn pruning_leaves_what_is_used_the_names_that_were_asked_for() {
    let home = Home::new("prune-names");
    let used = home.import("used", &tar(&[("a", "1")]));
    for name in ["z", "b", "a"] {
        home.images.tag("used", name).unwrap();
    }
    home.container("c1", &used);
    let mut all = Filters::default();
    all.add("dangling", "false");
    let asked = ["docker.io/library/b:latest".to_owned()];
    let pruned = home.images.prune(&all, &asked).unwrap();
    let untagged = |name: &str| Removed::Untagged(format!("{name}:latest"));
    assert_eq!(pruned.removed, [untagged("a"), untagged("used"), untagged("z")]);
    // Of those that nobody has asked for the last stays.
    home.images.tag("b", "a").unwrap();
    assert_eq!(home.images.prune(&all, &[]).unwrap().removed, [untagged("a")]);
    assert_eq!(home.list(&[]), ["b:latest"]);
    home.check();
}

#[test]
fn archives_of_long_ago_are_loaded() {
    let home = Home::new("load-v1");
    let base = r#"{"id":"b","created":"2013-06-13T14:03:50Z","container_config":{"Cmd":null}}"#;
    let top = r##"{"id":"t","parent":"b","created":"2015-03-04T21:38:56Z","author":"me",
        "container_config":{"Hostname":"h","Cmd":["/bin/sh","-c","#(nop) ADD x in /"]},
        "config":{"Env":["A=b"],"Cmd":null,"Volumes":null,"OnBuild":[]},"architecture":"amd64"}"##;
    let layer = String::from_utf8(tar(&[("a", "x")])).unwrap();
    let archive = tar(&[
        ("b/json", base),
        // Nothing at all was a layer then.
        ("b/layer.tar", ""),
        ("t/json", top),
        ("t/layer.tar", &layer),
        ("repositories", r#"{"old/image":{"1":"t"}}"#),
    ]);
    assert_eq!(home.images.load(&mut archive.as_slice()).unwrap().len(), 1);
    let history = home.images.history("old/image:1").unwrap();
    assert_eq!(history.len(), 2);
    let config = home.images.details("old/image:1").unwrap().image.config;
    assert_eq!(config.config.env, ["A=b"]);
    assert_eq!((config.os.as_str(), config.rootfs.diff_ids.len()), ("linux", 1));
    home.check();
}

#[test]
fn an_image_without_history_has_none() {
    let home = Home::new("history");
    // A configuration as sparse as a stranger can make it.
    let layer = tar(&[("a", "x")]);
    let diff = Digest::sha256(&layer);
    for (text, want) in [
        (format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{diff}"]}}}}"#), 0),
        (
            format!(
                r#"{{"history":[{{}},{{"empty_layer":true}},{{}},{{"created":"x"}}],
                    "rootfs":{{"type":"layers","diff_ids":["{diff}"]}},"config":null}}"#
            ),
            4,
        ),
    ] {
        let manifest = r#"[{"Config":"c.json","RepoTags":["x:y"],"Layers":["l/layer.tar"]}]"#;
        let layer = String::from_utf8_lossy(&layer).into_owned();
        let archive =
            tar(&[("c.json", &text), ("l/layer.tar", &layer), ("manifest.json", manifest)]);
        home.images.load(&mut archive.as_slice()).unwrap();
        assert_eq!(home.images.history("x:y").unwrap().len(), want);
        home.images.details("x:y").unwrap();
    }
    home.check();
}
