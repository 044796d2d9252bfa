//! Images of several platforms, artifacts, and what else images come in: between this engine, a
//! registry that is the distribution project's, skopeo, and Docker's own client.

use std::fs;
use std::path::Path;

use crate::docker_client::Daemon;
use crate::registry::HOST;
use crate::{busybox, inspect};
use serde_json::{Value, json};
use testkit::{Distribution, Sandbox, needs, wait_until};

/// Pushes `NAME:amd64` and `NAME:s390x` (which says that it is for another machine, and runs all the
/// same), and an index of both as `NAME:1`. The index's digest.
#[track_caller]
fn push_index(sandbox: &Sandbox, name: &str) -> String {
    let rootfs = sandbox.work().join("rootfs.tar");
    testkit::busybox_rootfs(&rootfs);
    let rootfs = rootfs.to_str().unwrap().to_owned();
    let (own, other) = (format!("{name}:own"), format!("{name}:s390x"));
    sandbox.ok(&["import", &rootfs, &own]);
    sandbox.ok(&["import", "--platform", "linux/s390x", "-m", "other", &rootfs, &other]);
    for name in [&own, &other] {
        sandbox.ok(&["push", "-q", name]);
    }
    let list = format!("{name}:1");
    let made = sandbox.ok(&["manifest", "create", &list, &own, &other]);
    assert_eq!(made, format!("Created manifest list {list}"));
    let again = sandbox.dhow(&["manifest", "create", &list, &own]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("refusing to amend an existing manifest list"), "{again:?}");
    let annotate = ["manifest", "annotate", "--os-version", "1", "--os-features", "a,b"];
    sandbox.ok(&[&annotate[..], &[&list, &other]].concat());
    let shown: Value = serde_json::from_str(&sandbox.ok(&["manifest", "inspect", &list])).unwrap();
    assert_eq!(shown["manifests"].as_array().unwrap().len(), 2);
    let wrong = sandbox.dhow(&["manifest", "annotate", "--arch", "vax", &list, &own]);
    assert!(wrong.stderr.contains("unsupported os/arch combination: linux/vax"), "{wrong:?}");
    // For who wants it, features are needed: nobody has these.
    sandbox.ok(&["manifest", "create", "--amend", &list, &other]);
    let digest = sandbox.ok(&["manifest", "push", "--purge", &list]);
    assert!(digest.starts_with("sha256:"), "{digest}");
    assert!(sandbox.dhow(&["manifest", "rm", &list]).stderr.contains("No such manifest"));
    sandbox.ok(&["rmi", &own, &other]);
    digest
}

#[test]
fn an_index_is_made_pulled_run_and_pushed_on() {
    needs!(Root, Overlay, Netns, Busybox, Registry);
    let sandbox = busybox("platforms");
    let _registry = Distribution::start_in(&sandbox, "");
    let name = format!("{HOST}/me/app");
    let digest = push_index(&sandbox, &name);
    sandbox.baseline();
    let list = format!("{name}:1");

    // This machine's is meant, under the digest of the index.
    assert_eq!(sandbox.ok(&["run", "--rm", &list, "echo", "own"]), "own");
    let found = inspect(&sandbox, &list);
    assert_eq!(found["RepoDigests"], json!([format!("{name}@{digest}")]));
    assert_eq!(found["Descriptor"]["digest"], digest.as_str());
    assert_eq!(found["Identity"]["Pull"][0]["Repository"], name.as_str());
    assert!(sandbox.ok(&["pull", &list]).contains("Image is up to date"));
    // The other one comes when it is asked for, and both are there then.
    let absent = sandbox.dhow(&["image", "inspect", "--platform", "linux/s390x", &list]);
    assert_eq!(absent.code, 1);
    assert!(absent.stderr.contains("does not provide the specified platform"), "{absent:?}");
    let run = ["run", "--rm", "--platform", "linux/s390x", "-q", &list, "echo", "other"];
    assert_eq!(sandbox.ok(&run), "other");
    let platform = |more: &[&str]| {
        let args = [&["image", "inspect", "-f", "{{.Architecture}}"], more, &[&list]].concat();
        sandbox.ok(&args)
    };
    assert_eq!(platform(&["--platform", "linux/s390x"]), "s390x");
    assert_ne!(platform(&[]), "s390x");
    assert_eq!(sandbox.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}", &name]), list);
    let history =
        sandbox.ok(&["history", "--platform", "linux/s390x", "--format", "{{.Comment}}", &list]);
    assert_eq!(history, "other");
    let tree = sandbox.ok(&["image", "ls", "--tree"]);
    assert!(tree.contains("─ linux/s390x"), "{tree}");

    // Pushed on, and saved and loaded, it stays what it is to the byte.
    let on = format!("{HOST}/other/app:2");
    sandbox.ok(&["tag", &list, &on]);
    assert!(sandbox.ok(&["push", &on]).contains(&format!("2: digest: {digest} ")));
    let saved = sandbox.work().join("saved.tar");
    let saved = saved.to_str().unwrap();
    sandbox.ok(&["save", "-o", saved, &on, &list]);
    sandbox.ok(&["rmi", &on, &list]);
    sandbox.baseline();
    assert_eq!(
        sandbox.ok(&["load", "-i", saved]),
        format!("Loaded image: {on}\nLoaded image: {list}")
    );
    assert_eq!(inspect(&sandbox, &on)["Descriptor"]["digest"], digest.as_str());
    assert!(sandbox.ok(&["push", &list]).contains(&format!("1: digest: {digest} ")));
    assert_eq!(platform(&["--platform", "linux/s390x"]), "s390x");

    // One platform goes, and what is left is pushed in its place where the registry lacks the other.
    sandbox.ok(&["rmi", "--platform", "linux/s390x", &on]);
    assert_eq!(sandbox.dhow(&["image", "inspect", "--platform", "linux/s390x", &on]).code, 1);
    let part = format!("{HOST}/part/app:1");
    sandbox.ok(&["tag", &on, &part]);
    let pushed = sandbox.dhow(&["push", &part]);
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert!(pushed.stderr.contains("only the available single-platform image"), "{pushed:?}");
    assert!(sandbox.ok(&["push", &on]).contains(&digest), "the registry has what is not here");
    sandbox.ok(&["rmi", &on, &list, &part]);
    assert_eq!(sandbox.ok(&["system", "check"]).lines().last().map(|_| ()), Some(()));
    sandbox.finish();
}

/// Writes a layout of one artifact about `subject`, as an archive.
fn artifact(path: &Path, name: &str, subject: &Value) {
    let data = b"what is said";
    let sha = |bytes: &[u8]| oci::Digest::sha256(bytes);
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example.note",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
                   "digest": sha(b"{}")},
        "layers": [{"mediaType": "text/plain", "size": data.len(), "digest": sha(data)}],
        "subject": subject,
        "annotations": {"by": "a test"},
    }))
    .unwrap();
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": sha(&manifest), "size": manifest.len(),
            "annotations": {"io.containerd.image.name": name}}],
    }))
    .unwrap();
    testkit::archive(path, |archive| {
        archive.file("index.json", 0o644, &index);
        for blob in [&manifest[..], b"{}", data] {
            archive.file(&format!("blobs/sha256/{}", sha(blob).hex()), 0o644, blob);
        }
    });
}

#[test]
fn artifacts_are_kept_and_pushed_and_found_by_what_they_are_about() {
    needs!(Root, Overlay, Netns, Busybox, Registry);
    let sandbox = busybox("artifacts");
    let _registry = Distribution::start_in(&sandbox, "");
    sandbox.baseline();
    let (image, note) = (format!("{HOST}/me/app:1"), format!("{HOST}/me/app:note"));
    sandbox.ok(&["tag", "busybox", &image]);
    sandbox.ok(&["push", "-q", &image]);
    let about = inspect(&sandbox, &image)["Descriptor"].clone();
    let archive = sandbox.work().join("note.tar");
    artifact(&archive, &note, &about);
    sandbox.ok(&["load", "-i", archive.to_str().unwrap()]);
    let id = inspect(&sandbox, &note)["Id"].clone();
    for args in [&["run", "--rm", &note, "true"][..], &["create", &note]] {
        let refused = sandbox.dhow(args);
        assert_ne!(refused.code, 0);
        let why = "is an artifact of type `application/vnd.example.note`, not an image";
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
    sandbox.ok(&["push", &note]);
    sandbox.ok(&["rmi", &note]);
    // This registry keeps no list of referrers: the client has kept it, under the fallback's tag.
    let found = ["manifest", "referrers", "--format", "{{.ArtifactType}}", &image];
    assert_eq!(sandbox.ok(&found), "application/vnd.example.note");
    let none = ["manifest", "referrers", "--artifact-type", "x/y", "--format", "json", &image];
    assert_eq!(sandbox.ok(&none), "");
    sandbox.ok(&["pull", &note]);
    assert_eq!(inspect(&sandbox, &note)["Id"], id);
    let tree = sandbox.ok(&["image", "ls", "--tree"]);
    assert!(tree.contains("application/vnd.example.note"), "{tree}");
    sandbox.ok(&["rmi", &note, &image]);
    sandbox.finish();
}

#[test]
fn what_is_found_by_a_search_and_imported_from_the_web() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("search");
    let web = sandbox.work().join("web");
    fs::create_dir_all(web.join("v1")).unwrap();
    let hits = json!({"num_results": 2, "results": [
        {"name": "me/app", "description": "An\napp", "star_count": 3, "is_official": false},
        {"name": "app", "description": null, "star_count": 9, "is_official": true},
    ]});
    fs::write(web.join("v1/search"), hits.to_string()).unwrap();
    testkit::busybox_rootfs(&web.join("rootfs.tar"));
    let serve = format!("exec busybox httpd -f -p 127.0.0.1:5001 -h {}", web.display());
    let mut server = sandbox.command("sh").args(["-c", &serve]).spawn().unwrap();
    let listens = "grep -q ' 0100007F:1389 00000000:0000 0A' /proc/net/tcp";
    wait_until("the server listens", || sandbox.sh(listens).code == 0);

    let search = |more: &[&str]| sandbox.dhow(&[&["search", "localhost:5001/app"], more].concat());
    assert_eq!(
        search(&[]).success(),
        "NAME      DESCRIPTION   STARS     OFFICIAL\n\
         me/app    An app        3         \n\
         app                     9         [OK]\n"
    );
    let names = ["--format", "{{.Name}}"];
    for (more, want) in [
        (&["--filter", "stars=5"][..], "app\n"),
        (&["--filter", "is-official=false"], "me/app\n"),
        (&["--filter", "is-automated=true"], ""),
        (&["--limit", "1"], "me/app\n"),
    ] {
        assert_eq!(search(&[&names, more].concat()).success(), want, "{more:?}");
    }
    for (more, want) in [
        (["--limit", "101"], "outside the range of [1, 100]"),
        (["--filter", "colour=red"], "invalid filter 'colour'"),
        (["--filter", "stars=x"], "invalid filter 'stars=x'"),
    ] {
        let wrong = search(&more);
        assert!(wrong.code == 1 && wrong.stderr.contains(want), "{more:?}: {wrong:?}");
    }
    let nothing = sandbox.dhow(&["search", "localhost:5999/app"]);
    assert!(nothing.code == 1 && nothing.stderr.contains("refused"), "{nothing:?}");

    let from = "http://localhost:5001/rootfs.tar";
    sandbox.ok(&["import", "--change", "CMD [\"echo\",\"web\"]", from, "web:1"]);
    assert_eq!(sandbox.ok(&["run", "--rm", "web:1"]), "web");
    let comment = inspect(&sandbox, "web:1")["Comment"].clone();
    assert_eq!(comment, format!("Imported from {from}"));
    let missing = sandbox.dhow(&["import", "http://localhost:5001/none.tar"]);
    assert!(missing.code == 1 && missing.stderr.contains("404"), "{missing:?}");
    sandbox.ok(&["rmi", "web:1"]);
    server.kill().unwrap();
    server.wait().unwrap();
    sandbox.finish();
}

#[test]
fn dockers_client_sees_the_platforms() {
    needs!(Root, Overlay, Netns, Busybox, Registry, Docker);
    let sandbox = busybox("docker-platforms");
    let _registry = Distribution::start_in(&sandbox, "");
    let name = format!("{HOST}/me/app");
    let digest = push_index(&sandbox, &name);
    sandbox.baseline();
    let list = format!("{name}:1");
    let daemon = Daemon::start(&sandbox);
    daemon.ok(&["pull", "-q", &list]);
    daemon.ok(&["pull", "-q", "--platform", "linux/s390x", &list]);
    let format = "{{.Descriptor.Digest}}";
    assert_eq!(daemon.ok(&["image", "inspect", "-f", format, &list]), digest);
    assert_eq!(daemon.ok(&["run", "--rm", "--platform", "linux/s390x", &list, "echo", "x"]), "x");
    let shown = daemon.ok(&["manifest", "inspect", "--insecure", &list]);
    assert!(shown.contains("s390x"), "{shown}");
    let tree = daemon.docker(&["images", "--tree"]);
    if tree.code == 0 {
        assert!(tree.stdout.contains("linux/s390x"), "{tree:?}");
    }
    // What Docker's client saves, skopeo and we read.
    let saved = sandbox.work().join("saved.tar");
    daemon.ok(&["save", "-o", saved.to_str().unwrap(), &list]);
    daemon.ok(&["rmi", &list]);
    assert!(daemon.ok(&["load", "-i", saved.to_str().unwrap()]).contains("Loaded image: "));
    assert_eq!(daemon.ok(&["image", "inspect", "-f", format, &list]), digest);
    daemon.ok(&["rmi", &list]);
    drop(daemon);
    sandbox.finish();
}
