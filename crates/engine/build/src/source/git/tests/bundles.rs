//! Bundles, in the place of a server and of a checkout.

use buildgraph::Blob;

use super::*;

#[tokio::test]
async fn a_bundle_comes_of_a_repository_and_is_one() {
    testkit::needs!(Root);
    let home = Home::new("git-bundles");
    let server = Server::new("bundles", daemon);
    server.repository("r", REPOSITORY);
    let packed = Git { as_bundle: true, ..git(server.url("git", "r"), "v2") };
    let (path, identity, _) = get(&home, &packed).await;
    assert_eq!(sh(&path, "ls -A; stat -c %a bundle"), "bundle\n644");
    let commit = sh(&server.dir.join("r"), "git rev-parse v2^{commit}");
    assert!(identity.contains(&commit), "{identity}");
    let heads = sh(&path, "git bundle list-heads bundle");
    assert_eq!(heads, format!("{commit} refs/tags/v2"));
    // With all that led to it.
    let again = format!(
        "git init -q again; git -C again fetch -q {}/bundle +refs/*:refs/*
         git -C again rev-list --count refs/tags/v2",
        path.display()
    );
    assert_eq!(sh(&server.dir, &again), "2");

    // Its server is nowhere.
    let (store, bytes) = (server.dir.join("store"), fs::read(path.join("bundle")).unwrap());
    fs::create_dir(&store).unwrap();
    let from = |bytes: &[u8], reference: &str, commit: &str| {
        let digest = Digest::sha256(bytes);
        fs::write(store.join(digest.hex()), bytes).unwrap();
        let bundle = Blob {
            repository: "x/y".into(),
            store: store.display().to_string(),
            digest,
            name: String::new(),
            mode: None,
            uid: 0,
            gid: 0,
        };
        let checksum = Some(Checksum(commit.to_owned()));
        let git = git("git://127.0.0.1:1/r".into(), reference);
        Git { bundle: Some(Box::new(bundle)), checksum, ..git }
    };
    for (nth, reference) in ["", "v2", commit.as_str()].into_iter().enumerate() {
        let (path, _, was_here) = get(&home, &from(&bytes, reference, &commit)).await;
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "two\n", "{reference}");
        assert_eq!((was_here, path.join(".git").exists()), (nth > 0, false), "{reference}");
    }
    let kept = Git { keep_git_dir: true, ..from(&bytes, "refs/tags/v2", &commit) };
    let (path, ..) = get(&home, &kept).await;
    let look = "git -c safe.directory='*' rev-parse HEAD refs/tags/v2";
    assert_eq!(sh(&path, look), format!("{commit}\n{commit}"));

    let (other, junk) = ("0".repeat(40), b"# v2 git bundle\n\nPACK".as_slice());
    for (git, why) in [
        (from(&bytes, "v2", &commit[..8]), "in full"),
        (from(&bytes, &other, &commit), "expected checksum to match"),
        (from(&bytes, "v2", &other), "not found in bundle x/y@sha256:"),
        (from(junk, "v2", &other), "git bundle: "),
    ] {
        let error = refused(&home, &git).await;
        assert!(error.contains(why), "{why}: {error}");
    }
}
