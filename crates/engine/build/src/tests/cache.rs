//! What is found again, and what is not.

use super::*;

/// Builds two stages: what is copied to the first, and of that one file to the second.
async fn build(home: &Home, builder: &Arc<Builder>) -> (Vec<String>, Vec<String>) {
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let first = steps.copy(Some(base), context, "src", "/src");
    let second = steps.copy(Some(base), first, "/src/a", "/a");
    let (build, mut events) = home.begin_on(builder, vec![]);
    let reference = build.reference(Arc::new(steps.0), second);
    build.evaluate(&reference).await.unwrap();
    let (done, mut cached) = ended(&mut events);
    cached.retain(|name| name != "FROM");
    (done.into_iter().filter(|name| name.starts_with("COPY")).collect(), cached)
}

#[tokio::test]
async fn only_what_has_changed_is_done_again() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("changed");
    let both = ["COPY src /src", "COPY /src/a /a"];
    home.write("src/a", "a");
    home.write("src/b", "b");
    assert_eq!(build(&home, &home.builder).await, (both.map(Into::into).into(), vec![]));
    assert_eq!(build(&home, &home.builder).await, (vec![], both.map(Into::into).into()));
    // The times of files make no difference.
    home.write("src/a", "a");
    assert_eq!(build(&home, &home.builder).await.0, Vec::<String>::new());
    // What is next to what the second stage takes is of no interest to it.
    home.write("src/b", "other");
    assert_eq!(build(&home, &home.builder).await, (vec![both[0].into()], vec![both[1].into()]));
    home.write("src/a", "other");
    assert_eq!(build(&home, &home.builder).await, (both.map(Into::into).into(), vec![]));
    // And back: what was made before is still there.
    home.write("src/a", "a");
    home.write("src/b", "b");
    assert_eq!(build(&home, &home.builder).await, (vec![], both.map(Into::into).into()));
    // Another process finds it, too.
    let other = home.reopen();
    assert_eq!(build(&home, &other).await, (vec![], both.map(Into::into).into()));
}

#[tokio::test]
async fn two_builds_at_once_make_a_step_once() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("at-once");
    for n in 0..200 {
        home.write(&format!("src/{n}"), "x");
    }
    home.write("src/a", "a");
    let other = home.reopen();
    let (one, two) = tokio::join!(build(&home, &home.builder), build(&home, &home.builder));
    let three = build(&home, &other).await;
    assert_eq!(three.0, Vec::<String>::new());
    let records = home.builder.usage().unwrap();
    let layers: Vec<_> = records.iter().filter(|record| record.kind == "regular").collect();
    assert_eq!(layers.len(), 2, "{one:?} {two:?}");
    let copies: Vec<_> = records.iter().filter(|one| one.kind == "source.local").collect();
    assert_eq!(copies.len(), 2, "each has a copy of the context of its own");
}

#[tokio::test]
async fn what_is_pruned_is_made_again() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("prune");
    home.write("src/a", "a");
    build(&home, &home.builder).await;
    let records = home.builder.usage().unwrap();
    let mut kinds: Vec<_> = records.iter().map(|record| record.kind.as_str()).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["regular", "regular", "source.local"]);
    assert!(records.iter().all(|record| !record.in_use && record.uses > 0));
    let pruned = home.builder.prune(&Pruning { all: true, ..Pruning::default() }).unwrap();
    assert_eq!(pruned.removed.len(), 3);
    assert!(pruned.reclaimed >= 2, "{pruned:?}");
    assert_eq!(home.builder.usage().unwrap(), []);
    let layers = home.builder.images().snapshots().layers().unwrap();
    assert_eq!(layers.len(), 1, "the base's own stays");
    assert_eq!(build(&home, &home.builder).await.0.len(), 2);
}

#[tokio::test]
async fn what_a_build_uses_is_not_pruned() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("in-use");
    home.write("src/a", "a");
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let first = steps.copy(Some(base), context, "src", "/src");
    let (running, _events) = home.begin();
    let reference = running.reference(Arc::new(steps.0), first);
    running.evaluate(&reference).await.unwrap();
    let all = Pruning { all: true, ..Pruning::default() };
    assert_eq!(home.builder.prune(&all).unwrap(), PrunedCache::default());
    let bytes = running.read_file(&reference, Path::new("src/a"), 0, None).await.unwrap();
    assert_eq!(bytes, b"a");
    drop(running);
    assert_eq!(home.builder.prune(&all).unwrap().removed.len(), 2);
}
