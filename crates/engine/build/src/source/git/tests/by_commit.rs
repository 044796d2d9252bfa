//! Commits that are asked for by their number, whatever their name means now.

use super::*;

#[tokio::test]
async fn a_commit_is_what_the_build_says() {
    let home = Home::new("git-by-commit");
    let server = Server::new("by-commit", daemon);
    server.repository("r", REPOSITORY);
    let repository = server.dir.join("r");
    let first = sh(&repository, "git rev-parse light");
    let of = |reference: &str, sum: &str| {
        let checksum = (!sum.is_empty()).then(|| Checksum(sum.to_owned()));
        let git = git(server.url("git", "r"), reference);
        Git { checksum, by_commit: true, ..git }
    };
    // `main` is further on; without a name it is the same commit.
    for (nth, reference) in ["main", "", "refs/heads/main"].into_iter().enumerate() {
        let (path, identity, was_here) = get(&home, &of(reference, &first)).await;
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "one\n", "{reference}");
        assert!(identity.contains(&first) && was_here == (nth > 0), "{identity}");
    }
    let kept = Git { keep_git_dir: true, ..of("main", &first) };
    let (path, ..) = get(&home, &kept).await;
    let look = "git -c safe.directory='*' rev-parse HEAD refs/remotes/origin/main";
    assert_eq!(sh(&path, look), format!("{first}\n{first}"));

    let needs = "fetch-by-commit requires a ";
    for (git, why) in [
        (of("main", ""), format!("{needs}checksum or a commit SHA ref")),
        (
            of("main", &first[..8]),
            format!("{needs}full commit SHA checksum, got {:?}", &first[..8]),
        ),
        (of(&"0".repeat(40), &first), format!("expected checksum to match {first}, got ")),
    ] {
        let error = refused(&home, &git).await;
        assert!(error.starts_with(&why), "{error}");
    }
    // Nobody is asked about what is here.
    fs::remove_dir_all(&repository).unwrap();
    let (.., was_here) = get(&home, &of("other-name", &first)).await;
    assert!(was_here);
    let error = refused(&home, &of("main", &"0".repeat(40))).await;
    assert!(error.starts_with("failed to fetch remote "), "{error}");
}
