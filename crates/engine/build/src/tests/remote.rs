//! Caches elsewhere: written by one engine, read by another one.

use super::*;

/// What a build has come to.
struct Built {
    build: Build,
    first: String,
    second: String,
    done: Vec<String>,
    cached: Vec<String>,
}

/// Two stages: what is copied to the first, and of that one file to the second.
async fn build(home: &Home, request: Request) -> (Built, BTreeMap<String, String>) {
    let mut steps = Steps::default();
    let (base, context) = (steps.image("base"), steps.context());
    let first = steps.copy(Some(base), context, "src", "/src");
    let second = steps.copy(Some(base), first, "/src/a", "/a");
    let (build, mut events) = home.begin_with(&home.builder, request);
    let graph = Arc::new(steps.0);
    let [first, second] = [first, second].map(|step| build.reference(Arc::clone(&graph), step));
    let solved = Solved { refs: vec![(String::new(), Some(second.clone()))], ..Solved::default() };
    let response = build.export(&solved).await.unwrap();
    let (done, cached) = ended(&mut events);
    let copies =
        |names: Vec<String>| names.into_iter().filter(|one| one.starts_with("COPY")).collect();
    let built = Built { build, first, second, done: copies(done), cached: copies(cached) };
    (built, response)
}

fn option(kind: &str, options: &[(&str, &str)]) -> CacheOption {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    CacheOption { kind: kind.into(), options: options.collect() }
}

fn home(name: &str) -> Home {
    let home = Home::new(name);
    home.write("src/a", "a");
    home.write("src/b", "b");
    home
}

/// Writes a cache; the directory that it is in, and what reads it.
async fn written(home: &Home, mode: &str) -> (PathBuf, CacheOption) {
    let path = home.path("cache");
    let dest = path.to_str().unwrap();
    let to = option("local", &[("dest", dest), ("mode", mode)]);
    let request = Request { cache_to: vec![to], ..Request::default() };
    let (_, response) = build(home, request).await;
    let manifest: serde_json::Value = serde_json::from_str(&response["cache.manifest"]).unwrap();
    let digest = manifest["digest"].as_str().unwrap();
    let from = option("local", &[("src", dest), ("digest", digest)]);
    (path, from)
}

fn n_layers(home: &Home) -> usize {
    home.builder.images().snapshots().layers().unwrap().len()
}

#[tokio::test]
async fn what_one_engine_has_made_another_one_finds() {
    testkit::needs!(Root, Overlay);
    let here = home("remote-one");
    let (_, from) = written(&here, "max").await;
    let there = home("remote-two");
    let request = || Request { cache_from: vec![from.clone()], ..Request::default() };
    let (built, _) = build(&there, request()).await;
    assert_eq!((built.done.len(), built.cached.len()), (0, 2), "{:?}", built.done);
    assert_eq!(n_layers(&there), 1, "nothing has come yet but the base");
    let read = built.build.read_file(&built.second, Path::new("a"), 0, None).await.unwrap();
    assert_eq!(read, b"a");
    assert_eq!(n_layers(&there), 2, "and no more than what was looked at");
    let read = built.build.read_file(&built.first, Path::new("src/b"), 0, None).await.unwrap();
    assert_eq!(read, b"b");
    drop(built);
    // What has come is in the cache of this engine now.
    let (built, _) = build(&there, Request::default()).await;
    assert_eq!((built.done.len(), built.cached.len()), (0, 2), "{:?}", built.done);
}

#[tokio::test]
async fn of_results_alone_steps_below_are_known_and_made_when_they_are_needed() {
    testkit::needs!(Root, Overlay);
    let here = home("remote-min");
    let (path, from) = written(&here, "min").await;
    let n_blobs = std::fs::read_dir(&path).unwrap().count();
    assert_eq!(n_blobs, 4, "the base, the result's layer, the document, and its manifest");
    let there = home("remote-min-two");
    let (built, _) = build(&there, Request { cache_from: vec![from], ..Request::default() }).await;
    assert_eq!((built.done.len(), built.cached.len()), (0, 2));
    let read = built.build.read_file(&built.first, Path::new("src/b"), 0, None).await.unwrap();
    assert_eq!(read, b"b", "it is in no cache: it was made");
}

#[tokio::test]
async fn what_has_changed_is_made() {
    testkit::needs!(Root, Overlay);
    let here = home("remote-changed");
    let (_, from) = written(&here, "max").await;
    let there = home("remote-changed-two");
    there.write("src/b", "other");
    let (built, _) = build(&there, Request { cache_from: vec![from], ..Request::default() }).await;
    assert_eq!(built.done, ["COPY src /src"]);
    // Its input is another one; what it takes of it is the same.
    assert_eq!(built.cached, ["COPY /src/a /a"]);
}

/// Security row H13: what is not what its digest says is no hit.
#[tokio::test]
async fn a_cache_that_lies_is_given_up() {
    testkit::needs!(Root, Overlay);
    for damage in ["bytes", "missing", "manifest"] {
        let here = home(&format!("remote-hostile-{damage}"));
        let (path, from) = written(&here, "max").await;
        for entry in fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            let is_json = fs::read(&file).unwrap().starts_with(b"{");
            match damage {
                "bytes" if !is_json => fs::write(&file, b"not what it should be").unwrap(),
                "missing" if !is_json => fs::remove_file(&file).unwrap(),
                "manifest" if is_json => fs::write(&file, b"{}").unwrap(),
                _ => {}
            }
        }
        let there = home(&format!("remote-hostile-{damage}-two"));
        let (built, _) =
            build(&there, Request { cache_from: vec![from], ..Request::default() }).await;
        let read = built.build.read_file(&built.second, Path::new("a"), 0, None).await;
        assert_eq!(read.unwrap(), b"a", "{damage}");
        let layers = there.builder.usage().unwrap();
        assert!(layers.iter().any(|one| one.description == "COPY /src/a /a"), "{damage}");
    }
}

#[tokio::test]
async fn an_image_says_of_what_steps_it_is() {
    testkit::needs!(Root, Overlay);
    let here = home("remote-inline");
    let export = Export { kind: "image".into(), options: [("name".into(), "app".into())].into() };
    let request = Request {
        exports: vec![export],
        cache_to: vec![option("inline", &[])],
        ..Request::default()
    };
    let (built, response) = build(&here, request).await;
    let id = response["containerimage.config.digest"].parse().unwrap();
    let config = here.builder.images().content().read(&id, 1 << 20).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert!(config[buildcache::INLINE].is_string(), "{config}");
    drop(built);
}

#[test]
fn what_there_is_not_is_refused_by_name() {
    for kind in ["gha", "s3", "azblob", "ftp"] {
        let refused = option(kind, &[]).check(true).unwrap_err();
        assert!(refused.contains(kind), "{refused}");
    }
    assert!(option("inline", &[]).check(true).is_ok());
    assert!(option("inline", &[]).check(false).is_err());
}
