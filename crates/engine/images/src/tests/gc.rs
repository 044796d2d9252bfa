//! Automatic collection: what goes, in which order, and what never does.

use docker::gc::{Policy, Report};

use super::*;

const DAY: i64 = 24 * 3600 * 1_000_000_000;

/// An image of so many bytes that was last used so many days ago.
fn image(home: &Home, name: &str, n_bytes: usize, days: i64) -> Image {
    let image = home.import(name, &tar(&[(name, &"x".repeat(n_bytes))]));
    used(home, &image, days);
    image
}

pub(super) fn used(home: &Home, image: &Image, days: i64) {
    let then = now() - days * DAY;
    let path = home.path.join("dhow.db");
    let sql = format!(
        "UPDATE images SET added = {then} WHERE id = '{id}';
         UPDATE tags SET updated = {then} WHERE image = '{id}';
         DELETE FROM image_uses WHERE image = '{id}'",
        id = image.id
    );
    rusqlite::Connection::open(path).unwrap().execute_batch(&sql).unwrap();
}

fn gc(home: &Home, policy: &str, dry_run: bool) -> Report {
    home.images.gc(&Policy::parse(policy, docker::gc::Subject::Images).unwrap(), dry_run).unwrap()
}

fn names(report: &Report) -> Vec<&str> {
    report.removed.iter().map(|one| one.names[0].as_str()).collect()
}

#[test]
fn what_was_not_used_for_long_goes() {
    let home = Home::new("gc-age");
    image(&home, "old:1", 10, 40);
    image(&home, "older:1", 10, 50);
    let kept = image(&home, "kept:1", 10, 60);
    home.container("aa", &kept);
    image(&home, "new:1", 10, 2);
    let would = gc(&home, "max-age=30d", true);
    assert_eq!((names(&would), would.dry_run), (vec!["older:1", "old:1"], true));
    assert_eq!(home.list(&[]).len(), 4);
    assert!(home.images.gc_log().unwrap().is_empty());
    let report = gc(&home, "max-age=30d", false);
    assert_eq!((names(&report), report.dry_run), (names(&would), false));
    assert_eq!(report.space_reclaimed, would.space_reclaimed);
    assert!(report.removed[0].reason.contains("not used for more than 4 weeks"));
    assert_eq!(home.list(&[]), ["kept:1", "new:1"]);
    assert_eq!(home.images.gc_log().unwrap(), report.removed);
    home.check();

    // Its container goes: that is a use.
    home.images.db.write(|tx| tx.delete_container("aa", now())).unwrap();
    assert_eq!(gc(&home, "max-age=30d", false).removed, []);
    used(&home, &kept, 60);
    assert_eq!(names(&gc(&home, "max-age=30d,filter=reference=other", false)), [""; 0]);
    home.images.tag("kept:1", "more:1").unwrap();
    used(&home, &kept, 60);
    assert_eq!(names(&gc(&home, "max-age=30d,filter=reference=kept", false)), [""; 0]);
    assert_eq!(names(&gc(&home, "max-age=30d", false)), ["kept:1"]);
    assert_eq!(home.images.gc_log().unwrap().len(), 3);
    home.check();
}

#[test]
fn for_room_the_least_used_go() {
    let home = Home::new("gc-size");
    let held = image(&home, "held:1", 50_000, 9);
    image(&home, "a:1", 100_000, 8);
    image(&home, "b:1", 100_000, 7);
    image(&home, "c:1", 100_000, 6);
    home.images.db.write(|tx| tx.hold("pull-1-x", [&held.id], i64::MAX)).unwrap();
    // Each is there twice, as an archive and unpacked.
    let report = gc(&home, "max-size=500kB", false);
    assert_eq!(names(&report), ["a:1", "b:1"]);
    assert!((400_000..420_000).contains(&report.space_reclaimed), "{report:?}");
    assert!(report.removed[0].reason.starts_with("images hold 7"), "{report:?}");
    assert_eq!((home.list(&[]), report.unmet.len()), (vec!["c:1".into(), "held:1".into()], 0));
    // What was used just now stays, and it is said that there is no room.
    image(&home, "d:1", 10_000, 0);
    let report = gc(&home, "max-size=1kB", false);
    assert_eq!((names(&report), report.unmet.len()), (vec!["c:1"], 1));
    assert_eq!(names(&gc(&home, "max-size=1kB,min-age=0", false)), ["d:1"]);
    home.images.db.write(|tx| tx.let_go("pull-1-x")).unwrap();
    assert_eq!(names(&gc(&home, "min-free=1000PB", true)), ["held:1"]);
    assert_eq!(names(&gc(&home, "min-free=1B", true)), [""; 0]);
    home.check();
}

#[test]
fn shared_layers_count_when_the_last_goes() {
    let home = Home::new("gc-shared");
    let base = image(&home, "base:1", 100_000, 9);
    let upper = home.path.join("upper");
    fs::create_dir(&upper).unwrap();
    let commit = Commit { reference: "top:1".parse().ok(), ..Commit::default() };
    let mounts =
        snapshot::Mounts::Overlay { lower: Vec::new(), work: upper.clone(), upper: upper.clone() };
    let top = home.images.commit(&mounts, None, Some(&base.id), &commit).unwrap();
    used(&home, &top, 8);
    let report = gc(&home, "max-age=1d", false);
    assert_eq!(names(&report), ["base:1", "top:1"]);
    assert!(report.removed[0].size < 10_000 && report.removed[1].size > 200_000, "{report:?}");
    fs::remove_dir(&upper).unwrap();
    home.check();
}

#[test]
fn what_a_broken_pull_left_goes_with_all_that_is_unused() {
    let home = Home::new("prune-parts");
    let kept = home.import("kept:1", &tar(&[("a", "1")]));
    home.container("aa", &kept);
    let part = home.path.join(format!("content/ingest/sha256-{}.part", "0".repeat(64)));
    fs::write(&part, "part").unwrap();
    let came = home.images.content.put("x", b"came").unwrap().digest;
    let chain = ChainId(came.clone());
    let unpacking = home.images.snapshots.begin(&[]).unwrap();
    home.images.snapshots.commit(unpacking, &chain).unwrap();
    let held = [&came];
    home.images.db.write(|tx| tx.hold("pull-4194305-x", held, i64::MAX)).unwrap();
    let live = format!("pull-{}-x", std::process::id());
    let coming = home.images.content.put("x", b"coming").unwrap().digest;
    home.images.db.write(|tx| tx.hold(&live, [&coming], i64::MAX)).unwrap();
    let prune = |dangling: &str| {
        let mut filters = Filters::default();
        filters.add("dangling", dangling);
        home.images.prune(&filters, &[]).unwrap()
    };
    prune("true");
    assert!(part.exists() && home.images.content.size(&came).unwrap().is_some());
    assert_eq!(prune("false").reclaimed, 4);
    assert!(!part.exists() && home.images.content.size(&came).unwrap().is_none());
    assert!(home.images.content.size(&coming).unwrap().is_some());
    home.images.db.write(|tx| tx.let_go(&live)).unwrap();
    home.images.content.delete(&coming).unwrap();
    home.check();
}
