//! Results that leave as files.

use oci::image::Platform;
use serde_json::json;

use super::*;

/// Builds one result for each platform, and exports it as `kind`. What the client was sent.
async fn export(
    home: &Home,
    kind: &str,
    options: &[(&str, &str)],
    platforms: &[&str],
) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let top = steps.copy(Some(base), context, "src", "/src");
    let options = options.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    let exports = vec![Export { kind: kind.into(), options }];
    let (build, _events) = home.begin_on(&home.builder, exports);
    let reference = build.reference(Arc::new(steps.0), top);
    let refs = platforms.iter().map(|name| ((*name).to_owned(), Some(reference.clone()))).collect();
    let mut solved = Solved { refs, ..Solved::default() };
    if platforms.len() > 1 {
        let named = |id: &&str| json!({ "ID": id, "Platform": id.parse::<Platform>().unwrap() });
        let all: Vec<_> = platforms.iter().map(named).collect();
        let text = json!({ "Platforms": all }).to_string();
        solved.metadata.insert("refs.platforms".into(), text.into_bytes());
    }
    home.client.sent.lock().unwrap().clear();
    build.export(&solved).await.map_err(|error| error.to_string())?;
    Ok(home.client.sent.lock().unwrap().clone())
}

fn read(archive: &[u8]) -> Vec<(String, i64)> {
    let mut reader = tarstream::Reader::new(archive);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        entries.push((String::from_utf8(entry.path).unwrap(), entry.mtime.seconds));
    }
    entries
}

#[tokio::test]
async fn a_tree_is_whole_and_platforms_are_apart() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("trees");
    home.write("src/f", "f");
    let sent = export(&home, "local", &[], &[""]).await.unwrap();
    let all = b"a etc src".to_vec();
    assert_eq!(sent, [(String::new(), all.clone())]);
    let sent = export(&home, "local", &[], &["linux/amd64", "linux/arm/v7"]).await.unwrap();
    assert_eq!(sent, [("linux_amd64".into(), all.clone()), ("linux_arm_v7".into(), all.clone())]);
    let split = [("platform-split", "true")];
    let sent = export(&home, "local", &split, &["linux/amd64"]).await.unwrap();
    assert_eq!(sent, [("linux_amd64".into(), all)]);
    let error = export(&home, "local", &[("platform-split", "x")], &[""]).await.unwrap_err();
    assert_eq!(error, "non-bool value for platform-split: x");
}

#[tokio::test]
async fn an_archive_is_the_same_each_time() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("archives");
    home.write("src/f", "f");
    let sent = export(&home, "tar", &[], &[""]).await.unwrap();
    let names: Vec<String> = read(&sent[0].1).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "etc/", "etc/passwd", "src/", "src/f"]);
    let epoch = [("source-date-epoch", "5")];
    let both = ["linux/amd64", "linux/arm64"];
    let first = export(&home, "tar", &epoch, &both).await.unwrap();
    let entries = read(&first[0].1);
    assert!(entries.iter().all(|(_, time)| *time == 5), "{entries:?}");
    let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names.len(), names[0], names[6]), (12, "linux_amd64/", "linux_arm64/"));
    home.write("src/f", "f");
    assert_eq!(export(&home, "tar", &epoch, &both).await.unwrap(), first);
}

/// Where a result goes beside that, its client says when it is there; and is told what came of it.
#[tokio::test]
async fn a_client_is_asked_where_results_go() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("asked-exports");
    home.write("src/f", "f");
    let more = Export { kind: "tar".into(), ..Export::default() };
    home.client.more.lock().unwrap().push(more);
    let build = async |asks_for_exports: bool, said: &str| {
        let mut steps = Steps::default();
        let context = steps.context();
        let top = steps.copy(None, context, "src", "/src");
        let request = Request { asks_for_exports, ..Request::default() };
        let (build, _events) = home.begin_with(&home.builder, request);
        let reference = build.reference(Arc::new(steps.0), top);
        let metadata = [(said.to_owned(), Vec::new())].into();
        let refs = vec![(String::new(), Some(reference))];
        let solved = Solved { refs, metadata, ..Solved::default() };
        build.export(&solved).await.map_err(|error| error.to_string())
    };
    build(false, "").await.unwrap();
    assert!(home.client.sent.lock().unwrap().is_empty());
    assert_eq!(*home.client.told.lock().unwrap(), None);
    let response = build(true, "frontend.a").await.unwrap();
    let sent = home.client.sent.lock().unwrap().clone();
    assert!(read(&sent[0].1).iter().any(|(name, _)| name == "src/f"));
    assert!(response.contains_key("frontend.a"));
    assert_eq!(*home.client.told.lock().unwrap(), Some(response));
    assert_eq!(build(true, "frontend.refuse").await.unwrap_err(), "not so");
}

/// A context, and what has the Dockerfile, may be results of the same build.
#[tokio::test]
async fn a_context_that_is_a_result() {
    let home = Home::new("given");
    home.write("Dockerfile", "FROM scratch\nCOPY a /b\n");
    home.write("a", "here");
    let mut steps = Steps::default();
    let context = steps.context();
    let (build, _events) = home.begin();
    let reference = build.reference(Arc::new(steps.0), context);
    let inputs = ["context", "dockerfile"].map(|name| (name.to_owned(), reference.clone())).into();
    let request = FrontendRequest { inputs, ..FrontendRequest::default() };
    let solved = build.solve(&request).await.unwrap();
    let result = solved.refs[0].1.clone().unwrap();
    let bytes = build.read_file(&result, Path::new("b"), 0, None).await.unwrap();
    assert_eq!(bytes, b"here");
}

/// What a front end says itself lies beside the files; what of it makes no sense fails the build.
#[tokio::test]
async fn what_a_front_end_says_goes_with_its_results() {
    testkit::needs!(Root, Overlay);
    let home = Home::new("stated");
    home.write("src/f", "f");
    home.write("said/a.json", "{\"a\": 1}");
    home.write("said/provenance.json", "{}");
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let top = steps.copy(Some(base), context, "src", "/src");
    let said = steps.copy(None, context, "said", "/said");
    let exports = vec![Export { kind: "tar".into(), ..Export::default() }];
    let (build, _events) = home.begin_on(&home.builder, exports);
    let graph = Arc::new(steps.0);
    let reference = build.reference(Arc::clone(&graph), top);
    let stated = |path: &str, kind: &str| Stated {
        reference: build.reference(Arc::clone(&graph), said),
        path: path.into(),
        is_bundle: false,
        predicate_type: kind.into(),
        subjects: Vec::new(),
        inline_only: false,
        core: String::new(),
    };
    let export = async |said: Vec<Stated>| {
        let stated = [("any".to_owned(), said)].into();
        let refs = vec![(String::new(), Some(reference.clone()))];
        home.client.sent.lock().unwrap().clear();
        let solved = Solved { refs, stated, ..Solved::default() };
        build.export(&solved).await.map_err(|error| docker::error::chain(&error))
    };
    let one = stated("/said/a.json", "https://example.com/a");
    export(vec![one.clone()]).await.unwrap();
    let archive = home.client.sent.lock().unwrap()[0].1.clone();
    let names: Vec<String> = read(&archive).into_iter().map(|(name, _)| name).collect();
    assert!(
        names.contains(&"a.json".to_owned()) && names.contains(&"src/f".to_owned()),
        "{names:?}"
    );
    let text = String::from_utf8_lossy(&archive);
    assert!(text.contains(r#""predicateType":"https://example.com/a""#), "{text}");
    assert!(
        text.contains(r#""predicate":{"a":1}"#) && text.contains(r#""name":"src/f""#),
        "{text}"
    );
    // Inline alone: no registry, so nobody has it.
    export(vec![Stated { inline_only: true, ..one.clone() }]).await.unwrap();
    let archive = home.client.sent.lock().unwrap()[0].1.clone();
    assert!(!read(&archive).iter().any(|(name, _)| name == "a.json"));

    let refused = export(vec![one.clone(), one]).await.unwrap_err();
    assert!(refused.contains("are called \"a.json\""), "{refused}");
    let provenance = stated("/said/provenance.json", "https://slsa.dev/provenance/v1");
    let refused = export(vec![provenance]).await.unwrap_err();
    assert!(refused.contains("may not set provenance"), "{refused}");
    assert!(export(vec![stated("/said/none.json", "x")]).await.is_err());
}
