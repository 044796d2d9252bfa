//! Why a step was, or was not, in the cache.

use std::sync::atomic::Ordering;

use super::*;

/// Builds two stages, and gives what was told of each step.
async fn told(home: &Home, base: &str, ignore: bool) -> Vec<(String, String)> {
    let mut steps = Steps::default();
    let (from, context) = (steps.image(base), steps.context());
    let first = steps.copy(Some(from), context, "src", "/src");
    let shown = Shown { name: "COPY /src/a /a".into(), ..Shown::default() };
    let copy = Copy {
        input: 1,
        source: "/src/a".into(),
        destination: "/a".into(),
        create_destination: true,
        ..Copy::default()
    };
    let op = Op::File(File { actions: vec![Action::Copy(copy)] });
    let second = steps.0.add(op, vec![from, first], None, ignore, shown).unwrap();
    let (build, mut events) = home.begin();
    build.shared.explains.store(true, Ordering::Relaxed);
    let reference = build.reference(Arc::new(steps.0), second);
    build.evaluate(&reference).await.unwrap();
    let (mut names, mut told) = (BTreeMap::new(), Vec::new());
    while let Ok(event) = events.try_recv() {
        match event {
            Event::Vertex(vertex) => _ = names.insert(vertex.digest, vertex.name),
            Event::Status(status) => {
                if let Some(text) = status.id.strip_prefix("cache: ") {
                    let json: serde_json::Value = serde_json::from_str(&status.name).unwrap();
                    assert!(json["reasons"][0]["kind"].is_string(), "{json}");
                    told.push((names[&status.vertex].clone(), text.to_owned()));
                }
            }
            _ => {}
        }
    }
    told
}

/// What was told of both.
async fn texts(home: &Home, base: &str, ignore: bool) -> [String; 2] {
    let mut told = told(home, base, ignore).await;
    told.sort_by_key(|(name, _)| name.starts_with("COPY /src/a"));
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["COPY src /src", "COPY /src/a /a"]);
    [told[0].1.clone(), told[1].1.clone()]
}

#[tokio::test]
async fn what_has_changed_is_named() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("explain");
    home.write("src/a", "a");
    home.write("src/b", "b");
    let never = "it was never made here".to_owned();
    assert_eq!(texts(&home, "base", false).await, [never.clone(), never]);
    let [first, second] = texts(&home, "base", false).await;
    for text in [&first, &second] {
        assert!(text.starts_with("made before, at 2"), "{first} {second}");
    }

    // One file, which the second stage does not take.
    home.write("src/b", "other");
    let [first, second] = texts(&home, "base", false).await;
    assert_eq!(first, "src/b changed");
    assert!(second.starts_with("made before"), "{second}");
    // One that it takes: the stage before it came out different there.
    home.write("src/a", "other");
    home.write("src/c", "new");
    let want = ["src/a changed, src/c is new", "of COPY src /src: src/a changed"];
    assert_eq!(texts(&home, "base", false).await, want);

    // Another branch, and back with one file changed: it is compared with what is nearest.
    for name in ["a", "b", "c"] {
        home.write(&format!("src/{name}"), "of another branch");
    }
    texts(&home, "base", false).await;
    home.write("src/a", "a");
    home.write("src/b", "b");
    std::fs::remove_file(home.path.join("context/src/c")).unwrap();
    home.write("src/d", "d");
    let [first, second] = texts(&home, "base", false).await;
    assert!(first.contains("src/d is new"), "{first}");
    assert!(second.starts_with("made before"), "{second}");
}

#[tokio::test]
async fn what_is_pruned_what_is_not_asked_for_and_another_base_are_told() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("explain-more");
    home.write("src/a", "a");
    texts(&home, "base", false).await;
    let second = "the build was asked not to use the cache";
    assert_eq!(texts(&home, "base", true).await[1], second);

    home.builder.prune(&Pruning { all: true, ..Pruning::default() }).unwrap();
    for text in texts(&home, "base", false).await {
        assert!(text.contains("has been removed from the cache since"), "{text}");
    }

    let import = Import { reference: "other".parse().ok(), ..Import::default() };
    let mut archive = Writer::new(Vec::new());
    let entry = Entry { path: "etc/x".into(), size: 1, mode: 0o644, ..Entry::default() };
    archive.append(&entry, &mut b"x".as_slice()).unwrap();
    let archive = archive.finish().unwrap();
    home.builder.images().import(&mut archive.as_slice(), &import, &mut |_| ()).unwrap();
    for text in texts(&home, "other", false).await {
        assert_eq!(text, "its base is other, was base");
    }
}
