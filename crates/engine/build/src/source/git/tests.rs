//! Repositories on servers of the tests' own.

mod bundles;
mod by_commit;
mod server;
mod signed;

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Mutex;

use buildgraph::{Checksum, Git};
use data_encoding::BASE64;

use super::*;
use crate::event::{Event, Progress};
use crate::tests::Home;

use server::{Server, daemon, files, http, sh};

/// What a source gives, where it is, what it is known by; all that was said.
async fn try_bring(home: &Home, git: &Git) -> (Result<(PathBuf, String, bool), String>, String) {
    let (build, _) = home.begin();
    let listeners = Listeners::default();
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    listeners.add(&oci::Digest::sha256(b""), &Progress::new(sender));
    let brought = bring(&build.shared, git, &listeners).await;
    let brought = brought.map_err(|error| error.to_string()).map(|(output, was_here)| {
        let Output::Tree(tree) = &output else { panic!("no tree") };
        // Whoever is first next time gets the same directory.
        (tree.directory.path.join(&tree.part), output.identity().unwrap(), was_here)
    });
    let mut said = String::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Log(log) = event {
            said.push_str(&String::from_utf8_lossy(&log.data));
        }
    }
    (brought, said)
}

async fn get(home: &Home, git: &Git) -> (PathBuf, String, bool) {
    try_bring(home, git).await.0.unwrap()
}

async fn refused(home: &Home, git: &Git) -> String {
    try_bring(home, git).await.0.unwrap_err()
}

fn git(remote: String, reference: &str) -> Git {
    Git { remote, reference: reference.into(), ..Git::default() }
}

const REPOSITORY: &str = "
    mkdir -p d/e; echo one >f; echo deep >d/e/g; ln -s d link; chmod 755 f; git add .; git commit -qm one
    git tag light; echo two >f; git commit -qam two; git tag -am annotated v2; git branch other light
    git update-ref refs/pull/7/head light; echo three >f; git commit -qam three
";

#[tokio::test]
async fn names_and_commits() {
    let home = Home::new("git-names");
    let server = Server::new("names", daemon);
    server.repository("r", REPOSITORY);
    let url = server.url("git", "r");
    let commit =
        |name: &str| sh(&server.dir.join("r"), &format!("git rev-parse {name}^{{commit}}"));
    for (reference, content) in [
        ("", "three"),
        ("main", "three"),
        ("refs/heads/main", "three"),
        ("v2", "two"),
        ("light", "one"),
        ("other", "one"),
        ("pull/7/head", "one"),
        (&commit("v2"), "two"),
    ] {
        let (path, identity, was_here) = get(&home, &git(url.clone(), reference)).await;
        assert_eq!(
            fs::read_to_string(path.join("f")).unwrap(),
            format!("{content}\n"),
            "{reference}"
        );
        assert!(!path.join(".git").exists());
        assert_eq!(sh(&path, "stat -c '%a %n' f d d/e/g"), "755 f\n755 d\n644 d/e/g");
        let name = if reference.is_empty() { "HEAD" } else { reference };
        let name = if reference.starts_with("pull") { "light" } else { name };
        assert!(identity.contains(&commit(name)), "{identity}");
        // The same commit under another name was here.
        assert_eq!(was_here, !["", "v2", "light"].contains(&reference), "{reference}");
    }
    sh(&server.dir.join("r"), "echo four >f; git commit -qam four");
    let (path, _, was_here) = get(&home, &git(url.clone(), "main")).await;
    assert_eq!((fs::read_to_string(path.join("f")).unwrap().as_str(), was_here), ("four\n", false));

    let error = refused(&home, &git(url.clone(), "none")).await;
    assert_eq!(error, format!("repository does not contain ref none: {url}"));
    let error = refused(&home, &git(url.clone(), &"0".repeat(40))).await;
    assert!(error.starts_with(&format!("failed to fetch remote {url}: git fetch: ")), "{error}");
    let error = refused(&home, &git(server.url("git", "missing"), "")).await;
    assert!(error.contains("git ls-remote: fatal: "), "{error}");

    let (build, _) = home.begin();
    let time = commit_time(&build.shared, &git(url.clone(), "v2"), &Listeners::default()).await;
    let shown = sh(&server.dir.join("r"), "git show -s --format=%ct v2^{commit}");
    assert_eq!(time.unwrap().to_string(), shown);

    let tag = sh(&server.dir.join("r"), "git rev-parse v2");
    for sum in [commit("v2"), tag, commit("v2")[..8].to_owned()] {
        let git = Git { checksum: Some(Checksum(sum)), ..git(url.clone(), "v2") };
        get(&home, &git).await;
    }
    let wrong = Git { checksum: Some(Checksum("0123456".into())), ..git(url.clone(), "v2") };
    let error = refused(&home, &wrong).await;
    assert_eq!(error, format!("expected checksum to match 0123456, got {}", commit("v2")));
}

#[tokio::test]
async fn files_as_old_as_their_commit() {
    let home = Home::new("git-times");
    let server = Server::new("times", daemon);
    let script = "mkdir d; echo x >d/f; ln -s d/f link; git add .
        GIT_COMMITTER_DATE='1700000101 +0000' git commit -qm one; git tag -am annotated v1";
    server.repository("r", script);
    let plain = git(server.url("git", "r"), "v1");
    let with = Git { commit_times: true, ..plain.clone() };
    let (path, identity, _) = get(&home, &with).await;
    let old = "1700000101";
    assert_eq!(sh(&path, "stat -c %Y . d d/f link"), [old; 4].join("\n"));
    let (path, other, was_here) = get(&home, &plain).await;
    assert!(other != identity && !was_here, "{other}");
    assert_ne!(sh(&path, "stat -c %Y d/f"), old);
    let (path, ..) = get(&home, &Git { keep_git_dir: true, ..with.clone() }).await;
    assert_eq!(sh(&path, "stat -c %Y .git .git/HEAD d"), [old; 3].join("\n"));
    // What is here already is as old.
    let (build, _) = home.begin();
    let (output, was_here) = bring(&build.shared, &with, &Listeners::default()).await.unwrap();
    let Output::Tree(tree) = output else { panic!("no tree") };
    assert_eq!((tree.time, was_here), (Some(1_700_000_101_000_000_000), true));
}

#[tokio::test]
async fn a_directory_of_it_or_its_git_directory() {
    let home = Home::new("git-parts");
    let server = Server::new("parts", daemon);
    server.repository("r", REPOSITORY);
    let url = server.url("git", "r");
    let part = |subdir: &str| Git { subdir: subdir.into(), ..git(url.clone(), "main") };
    let (path, identity, _) = get(&home, &part("d/e")).await;
    assert_eq!(sh(&path, "ls -A"), "g");
    assert!(identity.ends_with(" d/e"), "{identity}");
    get(&home, &part("/d/./")).await;
    for bad in ["../..", "d/../../..", "/../x", ".git", "d/.git/hooks"] {
        let error = refused(&home, &part(bad)).await;
        assert_eq!(error, format!("invalid git subdirectory {bad:?}: it leads out"));
    }
    for bad in ["link", "link/e", "f", "none"] {
        let error = refused(&home, &part(bad)).await;
        assert_eq!(error, format!("git subdirectory {bad:?} is no directory of the repository"));
    }
    let keep = Git { keep_git_dir: true, ..git(url.clone(), "v2") };
    let (path, _, _) = get(&home, &keep).await;
    let look =
        "git -c safe.directory='*' describe --tags; git -c safe.directory='*' remote get-url origin
                git -c safe.directory='*' status --porcelain; ls .git/hooks 2>/dev/null || :";
    assert_eq!(sh(&path, look), format!("v2\n{url}"));
}

/// Rows H01 to H03: nothing is run, and nothing of this machine is in a checkout.
#[tokio::test]
async fn hostile_repositories() {
    let home = Home::new("git-hostile");
    let server = Server::new("hostile", daemon);
    fs::write(server.dir.join("canary"), "sings").unwrap();
    let ran = server.dir.join("ran");
    let run = format!("touch {}", ran.display());
    let mut remotes: Vec<String> = vec![
        format!("--upload-pack={run}"),
        format!("ext::sh -c {run}"),
        format!("file://{}/r", server.dir.display()),
        server.dir.join("r").display().to_string(),
        format!("ssh://-oProxyCommand={run}/x"),
    ];
    server.repository("r", REPOSITORY);
    for remote in remotes.drain(..) {
        refused(&home, &git(remote, "")).await;
    }
    for reference in
        [&format!("--upload-pack={run}"), "-u", "--output=x", "main:refs/x", "+main", "a..b"]
    {
        let error = refused(&home, &git(server.url("git", "r"), reference)).await;
        assert!(error.contains("is no name of a git branch"), "{error}");
    }
    // Refs with the names of options, and a branch that is the default one.
    let script = format!(
        "h=$(git rev-parse HEAD); mkdir -p '.git/refs/heads/--upload-pack=touch ran'
         echo $h >'.git/refs/heads/--output=x'; echo 'ref: refs/heads/--output=x' >.git/HEAD; : {run}"
    );
    sh(&server.dir.join("r"), &script);
    get(&home, &git(server.url("git", "r"), "main")).await;
    let _ = try_bring(&home, &git(server.url("git", "r"), "")).await;

    // A submodule that is a directory of this machine, or a program, or leads out.
    for url in [
        format!("file://{}/r", server.dir.display()),
        server.dir.join("r").display().to_string(),
        format!("ext::sh -c {run}"),
        format!("--upload-pack={run}"),
    ] {
        let make = format!(
            "rm -rf s; git init -q -b main s; cd s
             h=$(git -C ../r rev-parse main); git update-index --add --cacheinfo 160000,$h,sub
             git config -f .gitmodules submodule.sub.path sub; git config -f .gitmodules submodule.sub.url '{url}'
             git config -f .gitmodules submodule.sub.update '!{run}'
             git add .gitmodules; git commit -qm x"
        );
        sh(&server.dir, &make);
        let with = git(server.url("git", "s"), "");
        refused(&home, &with).await;
        let without = Git { skip_submodules: true, ..with };
        let (path, _, _) = get(&home, &without).await;
        assert_eq!(sh(&path, "ls -A sub"), "");
    }
    // Filters and links of a repository are text.
    server.repository(
        "t",
        &format!(
            "echo '* filter=x' >.gitattributes; ln -s ../../../../../../../canary out; ln -s {}/canary abs
             echo x >f; git add .; git commit -qm x",
            server.dir.display()
        ),
    );
    let (path, _, _) = get(&home, &git(server.url("git", "t"), "")).await;
    assert_eq!(sh(&path, "readlink out; cat f"), "../../../../../../../canary\nx");
    assert!(!ran.exists());
}

#[tokio::test]
async fn submodules() {
    let home = Home::new("git-submodules");
    let server = Server::new("submodules", daemon);
    server.repository("inner", "echo inner >i; git add .; git commit -qm i");
    server.repository(
        "sub",
        "git -c protocol.file.allow=always submodule --quiet add ../inner in; git commit -qm s",
    );
    let script =
        "git -c protocol.file.allow=always submodule --quiet add ../sub at; git commit -qm o";
    server.repository("outer", script);
    let outer = git(server.url("git", "outer"), "");
    let (path, _, _) = get(&home, &outer).await;
    assert_eq!(fs::read_to_string(path.join("at/in/i")).unwrap(), "inner\n");
    assert_eq!(sh(&path, "find . -name .git"), "");
    let (path, _, was_here) = get(&home, &Git { keep_git_dir: true, ..outer.clone() }).await;
    assert_eq!(
        (sh(&path, "find . -name .git | sort"), was_here),
        ("./.git\n./at/.git\n./at/in/.git".into(), false)
    );
    let (path, _, _) = get(&home, &Git { skip_submodules: true, ..outer }).await;
    assert_eq!(sh(&path, "ls -A at"), "");
}

/// Such a server gives no part of a history.
#[tokio::test]
async fn a_web_server_that_has_files_alone() {
    let home = Home::new("git-files");
    let server = Server::new("files", files);
    let bare = "git clone -q --bare . ../$(basename $PWD).git; cd ../$(basename $PWD).git; git update-server-info";
    server.repository("inner", &format!("echo inner >i; git add .; git commit -qm i; {bare}"));
    let script = format!(
        "git -c protocol.file.allow=always submodule --quiet add ../inner in
         git config -f .gitmodules submodule.in.url {}; git add .; git commit -qm o
         git tag -am annotated v1; {bare}",
        server.url("http", "inner.git")
    );
    server.repository("outer", &script);
    let outer = git(server.url("http", "outer.git"), "v1");
    let (path, _, _) = get(&home, &outer).await;
    assert_eq!(fs::read_to_string(path.join("in/i")).unwrap(), "inner\n");
    let (build, _) = home.begin();
    let found = about(&build.shared, &outer, true, &Listeners::default()).await.unwrap();
    let object = |kind: &str| {
        let show = format!("git cat-file {kind} v1");
        sh(&server.dir.join("outer"), &show)
    };
    let (commit, tag) = &found.objects;
    assert_eq!(String::from_utf8_lossy(commit).trim(), object("commit"));
    assert_eq!(String::from_utf8_lossy(tag).trim(), object("tag"));
}

/// Row F12: whoever gives credentials finds them nowhere again.
#[tokio::test]
async fn credentials_are_sent_and_shown_to_nobody() {
    let home = Home::new("git-credentials");
    let server = Server::new("credentials", http);
    server.repository("r.git", REPOSITORY);
    let url = server.url("http", "r.git");
    let (result, said) = try_bring(&home, &git(url.clone(), "main")).await;
    let error = result.unwrap_err();
    assert!(error.contains("could not read Username"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
    assert!(!said.contains("s3cret") || said.contains("realm"), "{said}");

    home.client.secrets.lock().unwrap().insert("TOKEN".into(), b"s3cret-word\n".to_vec());
    home.client.secrets.lock().unwrap().insert("WRONG".into(), b"wrong-word".to_vec());
    let with = |token: &str| Git { token_secret: token.into(), ..git(url.clone(), "main") };
    let in_url = git(url.replace("http://", "http://user:s3cret-word@"), "v2");
    let keep = Git { keep_git_dir: true, ..in_url.clone() };
    for git in [with("TOKEN"), in_url, keep] {
        let (result, said) = try_bring(&home, &git).await;
        let (path, identity, _) = result.unwrap();
        assert!(path.join("f").is_file());
        let kept = sh(&path, "cat .git/config .git/FETCH_HEAD 2>/dev/null || :");
        for text in [said, identity, kept] {
            assert!(!text.contains("s3cret") && !text.contains("czNjcmV0"), "{text}");
        }
    }
    // What is for this host comes before what is for all; what is for another one is not for this.
    let host = url.split('/').nth(2).unwrap();
    for (name, is_had) in [(format!("WRONG.{host}"), true), ("OTHER.example.com".into(), false)] {
        home.client.secrets.lock().unwrap().insert(name.clone(), b"s3cret-word".to_vec());
        let git = with(name.split('.').next().unwrap());
        assert_eq!(try_bring(&home, &git).await.0.is_ok(), is_had, "{name}");
        home.client.secrets.lock().unwrap().remove(&name);
    }
    let (result, said) = try_bring(&home, &with("WRONG")).await;
    for text in [result.unwrap_err(), said] {
        assert!(
            !text.contains("wrong-word")
                && !text.contains(&BASE64.encode(b"x-access-token:wrong-word"))
        );
    }
    assert!(server.seen.lock().unwrap().iter().any(String::is_empty));
}

#[tokio::test]
async fn nothing_of_this_machine_is_configured() {
    let home = Home::new("git-configuration");
    let listeners = Listeners::default();
    let program = Program::new(&listeners);
    let dir = home.builder.store.empty().unwrap();
    let listed = program.run(&dir, &["config", "--list", "--show-scope"]).await.unwrap();
    assert!(listed.lines().count() >= 10, "{listed}");
    assert!(listed.lines().all(|line| line.starts_with("command\t")), "{listed}");
}

/// Nobody waits for a server that says nothing when nobody wants its answer any more.
#[tokio::test]
async fn who_is_not_wanted_any_more_ends() {
    fn silent(_: &Path, mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
        seen.lock().unwrap().push("connected".into());
        // Until the other side is gone.
        let _ = stream.read_to_end(&mut Vec::new());
        seen.lock().unwrap().push("gone".into());
    }
    let home = Home::new("git-silent");
    let server = Server::new("silent", silent);
    let source = git(server.url("git", "r"), "");
    let seen = Arc::clone(&server.seen);
    let came = async move {
        while seen.lock().unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        (result, _) = try_bring(&home, &source) => panic!("{result:?}"),
        () = came => {}
    }
    while server.seen.lock().unwrap().len() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
