//! Front ends that are images (`#syntax=`): what they can do, and what they cannot. `dhow-frontend` is one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::{Sandbox, needs, wait_until};

use super::{Docker, built, context, dhow, tidy, write};
use crate::busybox;

/// A front end, as an image; `label` is one of its.
fn front_end(sandbox: &Sandbox, name: &str, label: &str) {
    let text = format!("FROM busybox\nCOPY frontend /\n{label}\nENTRYPOINT [\"/frontend\"]\n");
    let dir = context(sandbox, "front", &[("Dockerfile", &text)]);
    let program = dir.join("frontend");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_dhow-frontend"), program).unwrap();
    }
    built(sandbox, &dir, &["-t", name]);
}

/// Builds with it: what its result's file `said` has.
#[track_caller]
fn said(sandbox: &Sandbox, dir: &Path, args: &[&str]) -> String {
    let out = sandbox.work().join("out");
    let _ = fs::remove_dir_all(&out);
    let output = format!("type=local,dest={}", out.display());
    built(sandbox, dir, &[args, &["-o", &output]].concat());
    fs::read_to_string(out.join("said")).unwrap()
}

fn syntax(sandbox: &Sandbox, what: &str) -> PathBuf {
    context(sandbox, "context", &[("Dockerfile", &format!("#syntax=front {what}\n"))])
}

#[test]
fn a_language_of_its_own() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end");
    front_end(&sandbox, "front", "");
    let text =
        "#syntax=front\nRUN echo one > /said\nSECRET token wc -c < /run/secrets/token >> /said\n";
    let dir = context(&sandbox, "context", &[("Dockerfile", text)]);
    fs::write(sandbox.work().join("token"), "hush-hush").unwrap();
    let secret = format!("id=token,src={}", sandbox.work().join("token").display());
    let told = built(&sandbox, &dir, &["-t", "made", "--secret", &secret]);
    assert!(told.contains("resolve image config for docker-image://front"), "{told}");
    assert_eq!(sandbox.ok(&["run", "--rm", "made", "cat", "/said"]), "one\n9");
    // What it asks for is in the cache, as anybody's is.
    let told = built(&sandbox, &dir, &["--secret", &secret]);
    assert!(told.matches("CACHED").count() >= 2, "{told}");
    // A step has the secrets that are there, and says which is not.
    write(&dir, &[("Dockerfile", "#syntax=front\nSECRET other true\n")]);
    let failed = dhow(&sandbox, &dir, &["--secret", &secret]);
    assert!(failed.code != 0 && failed.stderr.contains("secret other: not found"), "{failed:?}");
    // Who asks for the build may name it, too.
    write(&dir, &[("Dockerfile", "RUN echo two > /said\n")]);
    let argument = ["--build-arg", "BUILDKIT_SYNTAX=front"];
    assert_eq!(said(&sandbox, &dir, &argument), "two\n");
    tidy(&sandbox);
    sandbox.discard();
}

/// `--build-context IMAGE=…`, also in place of what is built in; and what a result that is one is configured as.
#[test]
fn something_else_in_its_place() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-replaced");
    front_end(&sandbox, "other", "");
    for name in ["no/such/front", "docker/dockerfile:1"] {
        let text = format!("#syntax={name}\nRUN echo other > /said\n");
        let dir = context(&sandbox, "context", &[("Dockerfile", &text)]);
        let with = |value: &str| format!("{name}={value}");
        let text = said(&sandbox, &dir, &["--build-context", &with("docker-image://other")]);
        assert_eq!(text, "other\n");
        let failed = dhow(&sandbox, &dir, &["--build-context", &with("https://127.0.0.1:1/x")]);
        assert!(failed.code != 0 && failed.stderr.contains("is not supported yet"), "{failed:?}");
        assert!(failed.stderr.contains(name), "{failed:?}");
    }
    tidy(&sandbox);
    sandbox.discard();
}

#[test]
fn what_it_cannot_do() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-probe");
    front_end(&sandbox, "front", "LABEL moby.buildkit.frontend.network.none=true");
    let dir = syntax(&sandbox, "probe");
    let canary = sandbox.work().join("canary");
    fs::write(&canary, "not for builds").unwrap();
    let canary = format!("CANARY={}", canary.display());
    let args = ["--build-arg", &canary, "--build-arg", "OTHER=another/0123456789"];
    let said = said(&sandbox, &dir, &args);
    let of = |what: &str| {
        let start = format!("{what}: ");
        said.lines().filter_map(|line| line.strip_prefix(start.as_str())).collect::<Vec<_>>()
    };
    assert!(of("unknown ref")[0].starts_with("NotFound"), "{said}");
    assert!(of("other ref")[0].starts_with("NotFound"), "{said}");
    assert!(of("other definition")[0].contains("no such ref"), "{said}");
    assert!(of("other operation")[0].contains("no such ref"), "{said}");
    assert!(of("large")[0].starts_with("OutOfRange"), "{said}");
    let links = of("link");
    assert_eq!(links.len(), 6, "{said}");
    let (fifo, links) = links.split_last().unwrap();
    assert!(links.iter().all(|one| one.contains("No such file")), "{said}");
    assert!(fifo.contains("not a regular file"), "{said}");
    assert!(!said.contains("not for builds"), "{said}");
    assert!(of("host network")[0].starts_with("PermissionDenied"), "{said}");
    assert_eq!(of("meta of an image"), ["true true"], "{said}");
    assert_eq!(of("meta of a directory"), ["true [false, false, false]"], "{said}");
    for name in ["BUILDKIT_SESSION_ID", "BUILDKIT_WORKERS", "BUILDKIT_EXPORTEDPRODUCT"] {
        assert_eq!(of(name), ["true"], "{said}");
    }
    let itself = of("itself");
    let itself: Vec<_> = itself[0].split(' ').collect();
    assert!(
        itself[0].starts_with("docker-image://docker.io/library/front:latest@sha256:"),
        "{said}"
    );
    assert_eq!(itself[1..], ["true", "false"], "it can be built on, and not be changed: {said}");
    assert_eq!(of("network"), ["1"], "nothing but a loopback: {said}");
    assert_eq!((of("secrets"), of("inputs")), (vec!["false"], vec!["0"]), "{said}");
    // So it is behind a proxy.
    front_end(&sandbox, "front", "");
    let proxied = self::said(&sandbox, &dir, &[&args[..], &["--proxy-network"]].concat());
    assert!(proxied.contains("network: 1\n"), "{proxied}");
    tidy(&sandbox);
    sandbox.discard();
}

#[test]
fn containers_of_its_own_and_front_ends_for_the_next() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-more");
    front_end(&sandbox, "front", "");
    fs::write(sandbox.work().join("token"), "hush-hush").unwrap();
    let secret = format!("id=token,src={}", sandbox.work().join("token").display());
    let dir = syntax(&sandbox, "container");
    // Output and errors are two streams, in no order.
    let ordered = |text: String| text.replace("2=woe 1=hush-hush", "1=hush-hush 2=woe");
    let text = ordered(said(&sandbox, &dir, &["--secret", &secret]));
    let wanted = "first: started 1=end exit=0 0 done\nleft: got word\n\
                  second: started 1=hush-hush 2=woe exit=7 2 done\n\
                  third: started exit=255 7 done\n";
    assert_eq!(text, wanted, "the third may not have all rights (7: permission denied)");
    let text = ordered(said(&sandbox, &dir, &["--secret", &secret, "--proxy-network"]));
    assert_eq!(text, wanted, "behind a proxy they are the same");
    let dir = syntax(&sandbox, "nested");
    write(&dir, &[("Inner", "FROM scratch\nCOPY Inner said\n")]);
    assert!(said(&sandbox, &dir, &[]).starts_with("FROM scratch"));
    // One that asks for itself comes to an end.
    let looped = dhow(&sandbox, &syntax(&sandbox, "loop"), &[]);
    assert!(looped.code != 0 && looped.stderr.contains("ask each for the next"), "{looped:?}");
    tidy(&sandbox);
    sandbox.discard();
}

/// As `buildx dap` does it.
#[test]
fn a_dockerfile_can_be_run_up_to_each_of_its_steps() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-steps");
    front_end(&sandbox, "front", "");
    let dir = syntax(&sandbox, "steps");
    let text = "FROM busybox\nRUN echo one > /left\n\nRUN echo two >> /left\n";
    write(&dir, &[("Inner", text)]);
    let wanted = "1: \"\"\n2: \"one\\n\"\n4: \"one\\ntwo\\n\"\n\"one\\non\\n\"\n";
    assert_eq!(said(&sandbox, &dir, &[]), wanted);
    tidy(&sandbox);
    sandbox.discard();
}

/// `errdefs.Solve`, as `buildx build --debug` takes it.
#[test]
fn what_a_step_that_failed_has_left_can_be_looked_into() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-failed");
    front_end(&sandbox, "front", "");
    let said = said(&sandbox, &syntax(&sandbox, "failed"), &[]);
    let wanted = "1 1\nafter: wrote\nbefore: nothing\nNotFound\n\
                  Some(File(FileAction { index: 1 }))\nhalf\n";
    assert_eq!(said, wanted);
    // Nothing of it is in the cache for anybody.
    let text = "FROM busybox\nRUN echo wrote > /left; exit 3\n";
    let dir = context(&sandbox, "again", &[("Dockerfile", text)]);
    let failed = dhow(&sandbox, &dir, &[]);
    assert!(failed.code != 0 && failed.stderr.contains("exit code: 3"), "{failed:?}");
    tidy(&sandbox);
    sandbox.discard();
}

#[test]
fn a_single_request_may_have_rules_for_its_sources() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-rules");
    front_end(&sandbox, "front", "");
    let said = said(&sandbox, &syntax(&sandbox, "rules"), &[]);
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].contains("denied by policy") && lines[0].ends_with("InvalidArgument"),
        "{said}"
    );
    assert_eq!(lines[1], "other: true docker-image://docker.io/library/front:latest");
    assert_eq!(lines[2], "other: false docker-image://docker.io/library/busybox:latest");
    assert_eq!(lines[3], "Some(Unimplemented)");
    tidy(&sandbox);
    sandbox.discard();
}

#[test]
fn those_that_fail_are_named() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-fails");
    front_end(&sandbox, "front", "");
    let fails = |what: &str, words: &[&str]| {
        let failed = dhow(&sandbox, &syntax(&sandbox, what), &[]);
        assert!(failed.code != 0, "{what}: {failed:?}");
        for word in words {
            assert!(failed.stderr.contains(word), "{what}: {word}: {}", failed.stderr);
        }
    };
    fails(
        "die",
        &["the front end front", "exit code: 3", "a front end's last words", "Dockerfile:1"],
    );
    fails("junk", &["the front end front", "does not speak"]);
    fails("refuse", &["not in this language"]);
    fails("unknown", &["the front end front", "do unknown?"]);
    let dir = context(
        &sandbox,
        "none",
        &[("Dockerfile", "#syntax=localhost:1/no/such:1\nFROM busybox\n")],
    );
    let failed = dhow(&sandbox, &dir, &[]);
    assert!(failed.stderr.contains("the front end localhost:1/no/such:1"), "{failed:?}");
    // An image that has no program.
    let dir = context(&sandbox, "plain", &[("Dockerfile", "#syntax=busybox\nFROM busybox\n")]);
    let failed = dhow(&sandbox, &dir, &[]);
    assert!(failed.stderr.contains("the front end busybox"), "{failed:?}");
    // What BuildKit's own is called is answered here.
    let dir = context(
        &sandbox,
        "own",
        &[("Dockerfile", "#syntax=docker/dockerfile:1-labs\nFROM busybox\n")],
    );
    built(&sandbox, &dir, &[]);
    // Who lingers after it has its result is not waited for.
    let begun = Instant::now();
    assert_eq!(said(&sandbox, &syntax(&sandbox, "linger"), &[]), "made\n");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    tidy(&sandbox);
    sandbox.discard();
}

/// Begins a build whose front end does not end, and waits until it waits.
fn begin(sandbox: &Sandbox, what: &str) -> std::process::Child {
    let dir = syntax(sandbox, what);
    let log = sandbox.work().join("log");
    let mut command = sandbox.dhow_command(&["build", "--progress", "plain"]);
    let child = command.arg(dir).stderr(fs::File::create(&log).unwrap()).stdout(Stdio::null());
    let child = child.spawn().unwrap();
    let waits = || fs::read_to_string(&log).is_ok_and(|text| text.contains("waiting"));
    wait_until("the front end waits", waits);
    child
}

/// No program of a front end, or of its containers, runs any more.
fn all_ended(sandbox: &Sandbox) -> bool {
    // A supervisor ends with its container. In brackets, so that the look does not find itself.
    let state = sandbox.state().display().to_string().replacen('/', "[/]", 1);
    sandbox.sh(&format!("grep -lsa '{state}/containers/' /proc/[0-9]*/cmdline")).stdout.is_empty()
}

#[test]
fn a_container_that_is_cut_short_is_told() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-cuts");
    front_end(&sandbox, "front", "");
    let dir = syntax(&sandbox, "cut");
    let said = said(&sandbox, &dir, &[]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "Cancelled: context canceled", "{said}");
    // It has ended all the same, and is no container any more.
    assert!(lines[1].starts_with("NotFound: "), "{said}");
    wait_until("nothing of it runs", || all_ended(&sandbox));
    tidy(&sandbox);
    sandbox.discard();
}

#[test]
fn one_that_hangs_ends_with_its_build() {
    needs!(Root, Overlay, Netns, Nft, Busybox);
    let sandbox = busybox("front-end-hangs");
    front_end(&sandbox, "front", "");
    for what in ["hang", "sleep"] {
        let mut child = begin(&sandbox, what);
        let begun = Instant::now();
        sandbox.sh(&format!("kill -INT {}", child.id()));
        let code = child.wait().unwrap();
        assert!(!code.success());
        let took = begun.elapsed();
        // Less than a second, on a machine that has nothing else to do.
        assert!(took < Duration::from_secs(8), "{what}: {took:?}");
        wait_until("nothing of it runs", || all_ended(&sandbox));
        assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    }
    // And where the builder is killed outright.
    for what in ["hang", "sleep"] {
        let mut child = begin(&sandbox, what);
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until("nothing of it runs", || all_ended(&sandbox));
        let dir = syntax(&sandbox, "container");
        assert!(said(&sandbox, &dir, &[]).contains("left: got word"));
    }
    tidy(&sandbox);
    sandbox.discard();
}

#[test]
fn clients_of_docker_have_it_too() {
    needs!(Root, Overlay, Netns, Nft, Busybox, Buildx);
    let sandbox = busybox("front-end-buildx");
    front_end(&sandbox, "front", "");
    let docker = Docker::start(&sandbox);
    let dir =
        context(&sandbox, "context", &[("Dockerfile", "#syntax=front\nRUN echo one > /said\n")]);
    docker.ok(&dir, &["buildx", "build", "-t", "made", "."]);
    assert_eq!(docker.ok(&dir, &["run", "--rm", "made", "cat", "/said"]), "one");
    let failed = docker.run(&syntax(&sandbox, "die"), &["buildx", "build", "."]);
    assert!(failed.code != 0 && failed.stderr.contains("last words"), "{failed:?}");
    drop(docker);
    tidy(&sandbox);
    sandbox.discard();
}
