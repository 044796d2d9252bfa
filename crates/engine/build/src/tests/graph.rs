//! Graphs are carried out.

use oci::Digest;

use super::*;

async fn read(build: &Build, steps: Steps, top: VertexIdx, path: &str) -> String {
    let reference = build.reference(Arc::new(steps.0), top);
    let bytes = build.read_file(&reference, Path::new(path), 0, None).await.unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn files_are_copied_from_the_context_and_from_other_results() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("copy");
    home.write("dir/x", "from the context");
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let first = steps.copy(Some(base), context, "dir", "/one");
    let second = steps.copy(Some(base), first, "/one/x", "/two/");
    let (build, mut events) = home.begin();
    assert_eq!(read(&build, steps, second, "two/x").await, "from the context");
    let (done, cached) = ended(&mut events);
    assert_eq!(done.len(), 3, "{done:?}");
    assert_eq!(cached, ["FROM"]);
}

#[tokio::test]
async fn the_first_failure_ends_all_and_says_where() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("failure");
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let broken = steps.copy(Some(base), context, "/missing", "/x");
    let top = steps.copy(Some(broken), context, "/", "/y");
    let (build, mut events) = home.begin();
    let reference = build.reference(Arc::new(steps.0), top);
    let error = build.evaluate(&reference).await.unwrap_err();
    let Error::Vertex { name, .. } = &error else { panic!("{error:?}") };
    assert_eq!(name, "COPY /missing /x");
    let text = docker::error::chain(&error);
    assert!(text.contains("missing") && text.contains("not found"), "{text}");
    let mut failed = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Vertex(vertex) = event
            && !vertex.error.is_empty()
        {
            failed.push(vertex.name);
        }
    }
    assert_eq!(failed, ["COPY /missing /x"]);
    drop(build);
    let keys = home.builder.images().snapshots().keys().unwrap();
    assert!(keys.is_empty(), "nothing is left: {keys:?}");
}

#[tokio::test]
async fn a_result_becomes_an_image_with_a_history() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("image");
    home.write("x", "x");
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let first = steps.copy(Some(base), context, "x", "/x");
    // One that changes nothing has an empty layer, as in BuildKit.
    let top = steps.add(Op::File(File::default()), vec![first], "nothing");
    let options = BTreeMap::from([("name".to_owned(), "made:1,made:2".to_owned())]);
    let export = Export { kind: "moby".into(), options };
    let (build, _events) = home.begin_on(&home.builder, vec![export]);
    let reference = build.reference(Arc::new(steps.0), top);
    let solved = Solved { refs: vec![(String::new(), Some(reference))], ..Solved::default() };
    let response = build.export(&solved).await.unwrap();
    let image = home.builder.images().resolve("made:2").unwrap();
    assert_eq!(response["containerimage.config.digest"], image.id.to_string());
    assert_eq!(response["image.name"], "docker.io/library/made:1,docker.io/library/made:2");
    assert_eq!(image.chain.len(), 3);
    assert_eq!(image.config.rootfs.diff_ids[2].0, Digest::sha256(&[0; 1024]));
    let lines: Vec<_> = image.config.history.iter().map(|one| one.created_by.clone()).collect();
    assert_eq!(lines[1..], [Some("COPY x /x".to_owned()), Some("nothing".to_owned())]);
}

#[tokio::test]
async fn results_are_laid_on_each_other() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("merge");
    home.write("etc/new", "new");
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let alone = steps.copy(None, context, "etc", "/etc/");
    let top = steps.add(Op::Merge, vec![base, alone], "merge");
    let (build, _events) = home.begin();
    let reference = build.reference(Arc::new(steps.0), top);
    for (path, wanted) in [("etc/new", "new"), ("a", "base")] {
        let bytes = build.read_file(&reference, Path::new(path), 0, None).await.unwrap();
        assert_eq!(bytes, wanted.as_bytes(), "{path}");
    }
    let names = build.read_dir(&reference, Path::new("etc")).await.unwrap();
    let names: Vec<_> = names.iter().map(|one| one.path.display().to_string()).collect();
    assert_eq!(names, ["new", "passwd"], "what was there shows through");
}
