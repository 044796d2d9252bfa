//! What graphs of a client's own are of, beside those of Dockerfiles: differences, directories as layers, names that
//! are looked up elsewhere, and what is called otherwise.

use buildgraph::{Action, Blob, Identity, MakeDirectory, MakeFile, Owner, Remove};
use oci::Digest;

use super::*;

fn file(path: &str, data: &str) -> Action {
    let (path, data) = (path.into(), data.into());
    Action::MakeFile(MakeFile { path, data, mode: 0o644, ..MakeFile::default() })
}

fn remove(path: &str) -> Action {
    Action::Remove(Remove { path: path.into(), ..Remove::default() })
}

impl Steps {
    fn change(&mut self, base: VertexIdx, actions: Vec<Action>, name: &str) -> VertexIdx {
        self.add(Op::File(File { actions }), vec![base], name)
    }

    fn scratch(&mut self) -> VertexIdx {
        self.add(Op::File(File::default()), vec![], "scratch")
    }
}

async fn names(build: &Build, reference: &str, path: &str) -> String {
    let found = build.read_dir(reference, Path::new(path)).await.unwrap();
    let names: Vec<_> = found.iter().map(|one| one.path.display().to_string()).collect();
    names.join(" ")
}

#[tokio::test]
async fn a_difference_is_what_was_added_and_what_is_gone() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("diff");
    // Once the upper lies on the lower, once both are beside each other.
    for is_above in [true, false] {
        let mut steps = Steps::default();
        let base = steps.image("base");
        let lower = steps.change(base, vec![file("/old", "old"), file("/both", "1")], "lower");
        let upper = if is_above {
            steps.change(lower, vec![remove("/old"), file("/new", "new"), remove("/a")], "upper")
        } else {
            steps.change(base, vec![file("/both", "1"), file("/new", "new"), remove("/a")], "other")
        };
        let difference = steps.add(Op::Diff, vec![lower, upper], "diff");
        let beside = steps.scratch();
        let beside = steps.change(beside, vec![file("/old", "mine"), file("/a", "mine")], "beside");
        let merged = steps.add(Op::Merge, vec![beside, difference], "merge");
        let graph = Arc::new(steps.0);
        let (build, _events) = home.begin();
        let alone = build.reference(Arc::clone(&graph), difference);
        let shown = names(&build, &alone, "/").await;
        assert!(shown.contains("new") && !shown.contains("old"), "{is_above}: {shown}");
        // What it took away it takes away from whatever it is laid on.
        let merged = build.reference(graph, merged);
        let shown = names(&build, &merged, "/").await;
        assert!(shown.contains("new"), "{is_above}: {shown}");
        assert!(!shown.contains("old"), "{is_above}: {shown}");
        assert!(!shown.split(' ').any(|name| name == "a"), "{is_above}: {shown}");
    }
}

/// overlayfs lists the mark of a file that is gone where nothing of that name is below.
#[tokio::test]
async fn what_a_difference_took_away_is_no_file_of_it() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("diff-gone");
    let mut steps = Steps::default();
    let base = steps.image("base");
    let directory = MakeDirectory { path: "/d".into(), mode: 0o755, ..MakeDirectory::default() };
    let made = vec![Action::MakeDirectory(directory), file("/d/gone", ""), file("/d/kept", "")];
    let lower = steps.change(base, made, "lower");
    let upper = steps.change(lower, vec![remove("/d/gone"), file("/d/new", "")], "upper");
    let difference = steps.add(Op::Diff, vec![lower, upper], "diff");
    let scratch = steps.scratch();
    let copies = ["/d", "/d/*"].map(|source| {
        let destination = format!("/to{}/", source.len());
        let (create_destination, wildcards) = (true, true);
        let source = source.into();
        Action::Copy(Copy {
            input: 1,
            source,
            destination,
            create_destination,
            wildcards,
            ..Copy::default()
        })
    });
    let actions = copies.into_iter().collect();
    let copy = steps.add(Op::File(File { actions }), vec![scratch, difference], "copy");
    let graph = Arc::new(steps.0);
    let (build, _events) = home.begin();
    let difference = build.reference(Arc::clone(&graph), difference);
    assert_eq!(names(&build, &difference, "/d").await, "new");
    let copy = build.reference(graph, copy);
    assert_eq!(names(&build, &copy, "/to2/d").await, "new");
    assert_eq!(names(&build, &copy, "/to4").await, "new");
}

#[tokio::test]
async fn a_difference_is_found_again_and_can_be_exported() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("diff-image");
    let graph = || {
        let mut steps = Steps::default();
        let base = steps.image("base");
        let upper = steps.change(base, vec![remove("/a"), file("/new", "new")], "upper");
        let difference = steps.add(Op::Diff, vec![base, upper], "diff");
        (steps, difference)
    };
    let options = BTreeMap::from([("name".to_owned(), "diff:1".to_owned())]);
    let export = Export { kind: "moby".into(), options };
    let (steps, top) = graph();
    let (build, _events) = home.begin_on(&home.builder, vec![export]);
    let reference = build.reference(Arc::new(steps.0), top);
    let solved = Solved { refs: vec![(String::new(), Some(reference))], ..Solved::default() };
    build.export(&solved).await.unwrap();
    let image = home.builder.images().resolve("diff:1").unwrap();
    assert_eq!(image.chain.len(), 1, "only the layer of the difference");
    let (steps, top) = graph();
    let (build, mut events) = home.begin();
    let reference = build.reference(Arc::new(steps.0), top);
    build.evaluate(&reference).await.unwrap();
    let (done, cached) = ended(&mut events);
    assert_eq!((done.len(), cached.len()), (0, 3), "{done:?}");
}

#[tokio::test]
async fn a_directory_of_the_client_is_a_root_and_a_result() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("layers");
    home.write("dir/x", "x");
    let options = BTreeMap::from([("name".to_owned(), "local:1".to_owned())]);
    let export = Export { kind: "moby".into(), options };
    let mut steps = Steps::default();
    let context = steps.context();
    let layers = steps.add(Op::Layers, vec![context], "load build context");
    let top = steps.change(layers, vec![file("/y", "y")], "mkfile");
    let graph = Arc::new(steps.0);
    let (build, mut events) = home.begin_on(&home.builder, vec![export]);
    let changed = build.reference(Arc::clone(&graph), top);
    assert_eq!(names(&build, &changed, "/").await, "dir y");
    let (done, _) = ended(&mut events);
    assert_eq!(done, ["load build context", "mkfile"], "nobody is told of what is between");
    // The directory itself, as it is, and as an image.
    let own = build.reference(graph, context);
    assert_eq!(names(&build, &own, "dir").await, "x");
    let solved = Solved { refs: vec![(String::new(), Some(own))], ..Solved::default() };
    build.export(&solved).await.unwrap();
    let image = home.builder.images().resolve("local:1").unwrap();
    assert_eq!(image.chain.len(), 1);
    let path = home.builder.images().snapshots().layer_paths(&image.chain).remove(0);
    assert_eq!(fs::read_to_string(path.join("dir/x")).unwrap(), "x");
}

#[tokio::test]
async fn the_same_directory_is_the_same_layer() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("layers-again");
    let build = async || {
        let mut steps = Steps::default();
        let context = steps.context();
        let layers = steps.add(Op::Layers, vec![context], "context");
        let top = steps.change(layers, vec![file("/y", "y")], "mkfile");
        let (build, mut events) = home.begin();
        let reference = build.reference(Arc::new(steps.0), top);
        build.evaluate(&reference).await.unwrap();
        ended(&mut events).1
    };
    home.write("x", "1");
    assert!(build().await.is_empty());
    assert_eq!(build().await, ["mkfile"]);
    home.write("x", "2");
    assert!(build().await.is_empty(), "another directory");
}

#[tokio::test]
async fn names_are_looked_up_in_another_result() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("names");
    let mut steps = Steps::default();
    let base = steps.image("base");
    let scratch = steps.scratch();
    let user = Some(Identity::NameIn { input: 1, name: "me".into() });
    let make = MakeDirectory {
        path: "/home".into(),
        mode: 0o700,
        owner: Some(Owner { user, group: None }),
        ..MakeDirectory::default()
    };
    let op = Op::File(File { actions: vec![Action::MakeDirectory(make)] });
    let top = steps.add(op, vec![scratch, base], "mkdir");
    let (build, _events) = home.begin();
    let reference = build.reference(Arc::new(steps.0), top);
    let found = build.stat(&reference, Path::new("home")).await.unwrap();
    assert_eq!((found.uid, found.gid, found.mode & 0o777), (7, 8, 0o700));
}

#[tokio::test]
async fn events_and_errors_call_a_step_what_its_client_does() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("called");
    let mut graph = Graph::default();
    let own = |name: &str| Digest::sha256(name.as_bytes());
    let shown =
        |name: &str| Shown { name: name.into(), digest: Some(own(name)), ..Shown::default() };
    let local = Op::Source(Source::Local(Local { name: "context".into(), ..Local::default() }));
    let context = graph.add(local, vec![], None, false, shown("context")).unwrap();
    let layers = graph.add(Op::Layers, vec![context], None, false, shown("context")).unwrap();
    let op = Op::File(File { actions: vec![remove("/missing")] });
    let top = graph.add(op, vec![layers], None, false, shown("rm")).unwrap();
    let (build, mut events) = home.begin();
    let reference = build.reference(Arc::new(graph), top);
    let error = build.evaluate(&reference).await.unwrap_err();
    let Error::Vertex { digest, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*digest, own("rm"));
    let mut called = std::collections::BTreeSet::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Vertex(vertex) = event {
            if vertex.name == "rm" {
                assert_eq!(vertex.inputs, [own("context")]);
            }
            called.extend(vertex.digest);
        }
    }
    assert_eq!(called, [own("context"), own("rm")].into());
}

/// What is not there is missed by who takes something from it alone.
#[tokio::test]
async fn a_front_end_that_takes_nothing_from_its_context_needs_none() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("no-context");
    fs::remove_dir_all(home.path("context")).unwrap();
    for (text, is_fine) in [("FROM base", true), ("FROM base\nCOPY a /", false)] {
        let (build, _events) = home.begin();
        let inputs = [("dockerfile".to_owned(), dockerfile(&build, text))].into();
        let request = crate::FrontendRequest { inputs, ..Default::default() };
        assert_eq!(build.solve(&request).await.is_ok(), is_fine, "{text}");
    }
}

/// A Dockerfile as a result of a build.
fn dockerfile(build: &Build, text: &str) -> String {
    let mut steps = Steps::default();
    let nothing = steps.scratch();
    let made = steps.change(nothing, vec![file("/Dockerfile", text)], "dockerfile");
    build.reference(Arc::new(steps.0), made)
}

#[tokio::test]
async fn provenance_tells_what_made_an_input_and_what_was_asked_around_it() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("requests");
    let (build, _events) = home.begin();
    build.set_root([("a".to_owned(), "b".to_owned())].into(), BTreeMap::new());
    let solve = async |text: &str, option: (&str, &str), given: Option<String>| {
        let mut inputs = BTreeMap::from([("dockerfile".to_owned(), dockerfile(&build, text))]);
        inputs.extend(given.map(|given| ("made".to_owned(), given)));
        let options = [(option.0.to_owned(), option.1.to_owned())].into();
        let request = crate::FrontendRequest { options, inputs, ..Default::default() };
        build.solve(&request).await.unwrap()
    };
    let first = solve("FROM base", ("build-arg:X", "1"), None).await;
    let made = first.refs[0].1.clone();
    let second = solve("FROM linked", ("context:linked", "input:made"), made).await;
    let said = build.recorded(&second).remove(0).says;
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    let request = &said["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["root"]["request"]["args"]["a"], "b");
    let inputs = request["inputs"].as_object().unwrap();
    assert_eq!(inputs.keys().collect::<Vec<_>>(), ["made"]);
    assert_eq!(inputs["made"]["request"]["args"]["build-arg:X"], "1");
    assert!(inputs["made"]["request"].get("root").is_none());
    let info = &said["runDetails"]["metadata"]["buildkit_metadata"]["source"]["infos"][0];
    assert_eq!(info["llbDefinition"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_blob_of_a_layout_is_a_file() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("blob");
    let store = home.path("store");
    fs::create_dir_all(&store).unwrap();
    let digest = Digest::sha256(b"data");
    for (content, is_fine) in [("other", false), ("data", true), ("gone since", true)] {
        fs::write(store.join(digest.hex()), content).unwrap();
        let blob = Blob {
            repository: "layout".into(),
            store: store.display().to_string(),
            digest: digest.clone(),
            name: "f".into(),
            mode: Some(0o640),
            uid: 7,
            gid: 8,
        };
        let mut steps = Steps::default();
        let blob = steps.add(Op::Source(Source::Blob(blob)), vec![], "blob");
        let (build, _events) = home.begin();
        let blob = build.reference(Arc::new(steps.0), blob);
        let read = build.read_file(&blob, Path::new("/f"), 0, None).await;
        assert_eq!(read.is_ok(), is_fine, "{content}");
        if let Ok(read) = read {
            assert_eq!(read, b"data");
            let found = build.stat(&blob, Path::new("/f")).await.unwrap();
            assert_eq!((found.mode & 0o7777, found.uid, found.gid), (0o640, 7, 8));
        }
    }
}

/// What a client that is the front end has looked into is what its results are made of, too. What it has only named is
/// not, and what is a result itself speaks for itself.
#[tokio::test]
async fn what_was_looked_into_is_a_material() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("looked-into");
    home.write("Dockerfile", "FROM base");
    fs::create_dir_all(home.path("other")).unwrap();
    let mut steps = Steps::default();
    let base = steps.image("base");
    let first = steps.change(base, vec![file("/first", "")], "first");
    let looked = steps.context();
    let [other, named] = ["other", "named"].map(|name| {
        let local = Local { name: name.into(), ..Local::default() };
        steps.add(Op::Source(Source::Local(local)), vec![], name)
    });
    let graph = Arc::new(steps.0);
    let (build, _events) = home.begin();
    let [first, looked, other, _named] =
        [first, looked, other, named].map(|step| build.reference(Arc::clone(&graph), step));
    build.read_file(&looked, Path::new("Dockerfile"), 0, None).await.unwrap();
    let platforms = r#"{"Platforms":[{"ID":"a","Platform":{"os":"linux","architecture":"amd64"}},
        {"ID":"b","Platform":{"os":"linux","architecture":"arm64"}}]}"#;
    let solved = Solved {
        refs: vec![("a".into(), Some(first)), ("b".into(), Some(other))],
        metadata: [("refs.platforms".to_owned(), platforms.as_bytes().to_vec())].into(),
        ..Solved::default()
    };
    build.export(&solved).await.unwrap();
    let locals = |says: &[u8]| {
        let says: serde_json::Value = serde_json::from_slice(says).unwrap();
        says["buildDefinition"]["externalParameters"]["request"]["locals"].to_string()
    };
    let said: Vec<String> = build.recorded(&solved).iter().map(|one| locals(&one.says)).collect();
    assert_eq!(said, [r#"[{"name":"context"}]"#, r#"[{"name":"context"},{"name":"other"}]"#]);
}
