//! Images from a registry and to one, which is the distribution project's own.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::classic_build::{archive, post, tidy};
use crate::docker_client::Daemon;
use crate::{busybox, inspect};
use testkit::{Distribution, needs};

/// Where it answers, in the sandbox's own network.
pub(crate) const HOST: &str = "localhost:5000";

#[test]
fn what_was_pushed_runs_elsewhere() {
    needs!(Root, Overlay, Netns, Busybox, Registry);
    let sandbox = busybox("push-pull");
    let _registry = Distribution::start_in(&sandbox, "");
    let name = format!("{HOST}/me/app:1");
    let id = inspect(&sandbox, "busybox")["Id"].clone();
    sandbox.ok(&["tag", "busybox", &name]);
    assert!(sandbox.ok(&["push", &name]).contains("\n1: digest: sha256:"));
    let digest = inspect(&sandbox, &name)["RepoDigests"][0].as_str().unwrap().to_owned();
    assert!(digest.starts_with(&format!("{HOST}/me/app@sha256:")), "{digest}");
    sandbox.ok(&["rmi", &name, "busybox"]);
    sandbox.baseline();

    let ran = sandbox.dhow(&["run", "--rm", &name, "echo", "hi"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "hi\n"));
    let unable = format!("Unable to find image '{name}' locally\n1: Pulling from me/app\n");
    assert!(ran.stderr.starts_with(&unable), "{}", ran.stderr);
    let found = inspect(&sandbox, &name);
    assert_eq!((&found["Id"], found["RepoDigests"][0].as_str()), (&id, Some(digest.as_str())));
    assert!(sandbox.ok(&["pull", &name]).contains("Status: Image is up to date for "));
    assert_eq!(sandbox.ok(&["pull", "-q", &digest]), digest);
    assert_eq!(sandbox.ok(&["run", "--rm", "--pull", "always", "-q", &digest, "echo", "x"]), "x");

    let missing = sandbox.dhow(&["run", "--rm", &format!("{HOST}/me/app:2"), "true"]);
    assert_eq!(missing.code, 125);
    let why =
        format!("manifest for {HOST}/me/app:2 not found: manifest unknown: manifest unknown\n");
    assert!(missing.stderr.ends_with(&why), "{}", missing.stderr);
    sandbox.ok(&["rmi", &name]);
    sandbox.finish();
}

#[test]
fn what_a_classic_build_pulls_is_told_of() {
    needs!(Root, Overlay, Netns, Busybox, Registry, Curl);
    let sandbox = busybox("build-pull");
    let _registry = Distribution::start_in(&sandbox, "");
    let name = format!("{HOST}/me/app:1");
    sandbox.ok(&["tag", "busybox", &name]);
    sandbox.ok(&["push", &name]);
    sandbox.baseline();
    let daemon = Daemon::start(&sandbox);
    let dockerfile = format!("FROM {name}\nLABEL a=b\n");
    let context = archive(&sandbox, "context.tar", &[("Dockerfile", &dockerfile)]);
    // It is here already; whether there is a newer one is asked all the same.
    let built = post(&daemon, "/build?pull=1&t=made", Some(&context));
    built.id();
    let said: Vec<&str> = built.lines.iter().filter_map(|line| line["status"].as_str()).collect();
    assert_eq!(said.first(), Some(&"Pulling from me/app"), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("Digest: sha256:")), "{said:?}");
    assert_eq!(said.last(), Some(&&*format!("Status: Image is up to date for {name}")));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let until = (now.as_secs() + 1).to_string();
    let all = ["events", "--since", "1", "--until", &until, "--filter", "event=pull"];
    let format = ["--format", "{{.Actor.ID}} {{.Actor.Attributes.name}}"];
    let told = sandbox.ok(&[&all[..], &format].concat());
    assert_eq!(told, format!("{name} {HOST}/me/app"));
    std::fs::remove_file(context).unwrap();
    tidy(daemon, &["made"]);
    // The image has been tagged anew.
    sandbox.discard();
}

#[test]
fn a_password_is_kept_and_used() {
    needs!(Root, Overlay, Netns, Busybox, Registry);
    let sandbox = busybox("login");
    let auth = "auth:\n  htpasswd: {realm: test, path: DIR/htpasswd}\n";
    let _registry = Distribution::start_in(&sandbox, auth);
    let name = format!("{HOST}/me/app:1");
    sandbox.ok(&["tag", "busybox", &name]);
    let refused = sandbox.dhow(&["push", &name]);
    assert!(
        refused.code == 1 && refused.stderr.contains("no basic auth credentials: "),
        "{refused:?}"
    );
    let login = |password: &str| {
        let dhow = testkit::dhow_program();
        let script =
            format!("printf {password} | {} login -u user --password-stdin {HOST}", dhow.display());
        sandbox.sh(&script)
    };
    assert_eq!(login("wrong").code, 1);
    assert!(!sandbox.work().join(".docker/config.json").exists());
    assert_eq!(login("secret").stdout, "Login Succeeded\n");
    // Who is known is not asked again; a password may be piped in both ways.
    let again = sandbox.dhow(&["login", HOST]);
    assert_eq!((again.code, again.stdout.as_str()), (0, "Login Succeeded\n"));
    assert!(again.stderr.starts_with("Authenticating with existing credentials...\n"), "{again:?}");
    let dhow = testkit::dhow_program();
    let piped = format!("printf secret | {} login -u user -p - {HOST}", dhow.display());
    assert_eq!(sandbox.sh(&piped).stdout, "Login Succeeded\n");
    sandbox.ok(&["push", "--disable-content-trust", &name]);
    sandbox.ok(&["rmi", "busybox", &name]);
    sandbox.baseline();
    sandbox.ok(&["pull", "--disable-content-trust=true", &name]);
    let trust = sandbox.dhow(&["pull", "--disable-content-trust=false", &name]);
    assert!(trust.code != 0 && trust.stderr.contains("there is no content trust"), "{trust:?}");
    sandbox.ok(&["logout", HOST]);
    assert_eq!(sandbox.dhow(&["pull", &name]).code, 1);
    sandbox.ok(&["rmi", &name]);
    sandbox.finish();
}

#[test]
fn a_pull_that_is_killed_goes_on() {
    needs!(Root, Overlay, Netns, Busybox, Registry, Failpoints);
    let sandbox = busybox("pull-killed");
    let _registry = Distribution::start_in(&sandbox, "");
    let name = format!("{HOST}/me/app:1");
    sandbox.ok(&["tag", "busybox", &name]);
    sandbox.ok(&["push", &name]);
    sandbox.ok(&["rmi", "busybox", &name]);
    sandbox.baseline();
    for point in [
        "content.create",
        "content.sync",
        "content.rename",
        "content.renamed",
        "snapshot.commit",
        "images.record",
        "images.recorded",
    ] {
        sandbox.set_env("DHOW_FAILPOINTS", &format!("{point}=kill"));
        assert_ne!(sandbox.dhow(&["pull", &name]).code, 0, "{point} was not passed");
        sandbox.unset_env("DHOW_FAILPOINTS");
        sandbox.ok(&["ps"]);
        sandbox.ok(&["pull", &name]);
        assert_eq!(sandbox.ok(&["run", "--rm", &name, "echo", point]), point);
        sandbox.ok(&["rmi", &name]);
    }
    sandbox.finish();
}

#[test]
fn all_tags_go_and_come() {
    needs!(Root, Overlay, Netns, Busybox, Registry);
    let sandbox = busybox("all-tags");
    let _registry = Distribution::start_in(&sandbox, "");
    let name = format!("{HOST}/me/app");
    let (one, two) = (format!("{name}:one"), format!("{name}:two"));
    sandbox.ok(&["tag", "busybox", &one]);
    sandbox.ok(&["tag", "busybox", &two]);
    let pushed = sandbox.ok(&["push", "-a", &name]);
    assert!(pushed.contains("\none: digest: sha256:") && pushed.contains("\ntwo: digest: sha256:"));
    assert!(pushed.starts_with(&format!("The push refers to repository [{name}]\n")), "{pushed}");
    assert!(pushed.contains(": Pushed\n") && pushed.contains(": Layer already exists\n"));
    let digest = inspect(&sandbox, &one)["RepoDigests"][0].as_str().unwrap().to_owned();
    sandbox.ok(&["rmi", &one, &two, "busybox"]);
    sandbox.baseline();

    sandbox.ok(&["pull", "-a", "-q", &name]);
    let tags = || {
        let listed = sandbox.ok(&["images", "--format", "{{.Tag}}", &name]);
        let mut tags: Vec<_> = listed.lines().map(str::to_owned).collect();
        tags.sort();
        tags
    };
    assert_eq!(tags(), ["one", "two"]);
    sandbox.ok(&["rmi", &one, &two]);
    // By a digest, whatever tag stands before it.
    let by_both = format!("{one}@{}", digest.split_once('@').unwrap().1);
    let pulled = sandbox.ok(&["pull", &by_both]);
    assert!(pulled.contains(&format!("Digest: {}", digest.split_once('@').unwrap().1)), "{pulled}");
    assert_eq!(sandbox.ok(&["run", "--rm", &digest, "echo", "hi"]), "hi");
    let why = sandbox.dhow(&["pull", "-a", &one]);
    assert!(
        why.code != 0 && why.stderr.contains("tag can't be used with --all-tags/-a"),
        "{why:?}"
    );
    sandbox.ok(&["rmi", &digest]);
    sandbox.finish();
}
