//! What nobody needs goes, and only that.

use serde_json::Value;

use crate::busybox;
use testkit::{Sandbox, needs};

/// One kind's row of `system df`.
fn usage(sandbox: &Sandbox, kind: &str) -> Value {
    let text = sandbox.ok(&["system", "df", "--format", "json"]);
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.into_iter().find(|row| row["Type"] == kind).expect("a row")
}

#[test]
fn images_go_by_the_filters() {
    needs!(Root, Netns);
    let sandbox = Sandbox::new("prune-images");
    let archive = sandbox.work().join("a.tar");
    testkit::archive(&archive, |tar| tar.file("a", 0o644, b"a"));
    let archive = archive.to_str().unwrap();
    for (label, name) in [("keep=yes", "kept"), ("keep=no", "other"), ("team=a", "a")] {
        sandbox.ok(&["import", "-c", &format!("LABEL {label}"), archive, name]);
    }
    // One without a name: its name went to another.
    sandbox.ok(&["import", "-c", "LABEL old=1", archive, "b"]);
    sandbox.ok(&["import", archive, "b"]);
    let prune = |filters: &[&str]| {
        let filters: Vec<_> = filters.iter().flat_map(|one| ["--filter", one]).collect();
        let said = sandbox.ok(&[&["image", "prune", "-f"], &filters[..]].concat());
        said.lines().filter(|line| line.starts_with("deleted: ")).count()
    };
    assert_eq!(prune(&["until=1h"]), 0);
    assert_eq!(prune(&["until=2000-01-01"]), 0);
    assert_eq!(prune(&["label=new"]), 0);
    assert_eq!(prune(&["label!=old"]), 0);
    assert_eq!(prune(&["label=old=1"]), 1, "the layer is others' too");
    let all = |filters: &[&str]| {
        let filters: Vec<_> = filters.iter().flat_map(|one| ["--filter", one]).collect();
        let said = sandbox.ok(&[&["image", "prune", "-af"], &filters[..]].concat());
        said.lines().filter(|line| line.starts_with("deleted: ")).count()
    };
    assert_eq!(all(&["label=keep=no"]), 1);
    assert_eq!(all(&["label!=keep", "until=1h"]), 0);
    assert_eq!(all(&["label!=keep"]), 2);
    let refused = sandbox.dhow(&["image", "prune", "-f", "--filter", "color=red"]);
    assert!(refused.code == 1 && refused.stderr.contains("color"), "{refused:?}");
    assert_eq!(sandbox.ok(&["images", "--format", "{{.Repository}}"]), "kept");
    sandbox.ok(&["system", "check"]);
    sandbox.ok(&["rmi", "kept"]);
    sandbox.discard();
}

#[test]
fn shared_layers_are_counted_once_and_all_goes_together() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("prune-system");
    sandbox.ok(&["create", "--name", "source", "busybox", "true"]);
    let before = usage(&sandbox, "Images");
    sandbox.ok(&["commit", "source", "child"]);
    let after = usage(&sandbox, "Images");
    assert_eq!((&before["Size"], &before["TotalCount"]), (&after["Size"], &"1".into()));
    assert_eq!((&after["TotalCount"], &after["Active"]), (&"2".into(), &"1".into()));
    assert_eq!(after["Reclaimable"], "0B (0%)", "the container needs the layer");
    let verbose = sandbox.ok(&["system", "df", "-v"]);
    let line = verbose.lines().find(|line| line.starts_with("child ")).unwrap();
    assert!(line.ends_with("0B            0"), "nothing of it is its own: {line}");

    sandbox.ok(&["network", "create", "net"]);
    sandbox.ok(&["run", "-d", "--name", "busy", "--network", "net", "busybox", "sleep", "600"]);
    let until = sandbox.dhow(&["system", "prune", "-f", "--volumes", "--filter", "until=1h"]);
    assert!(until.code == 1 && until.stderr.contains("until"), "{until:?}");
    sandbox.ok(&["system", "prune", "-af", "--filter", "until=1h"]);
    assert_eq!(sandbox.ok(&["ps", "-aq"]).lines().count(), 2);
    let said = sandbox.ok(&["system", "prune", "-af", "--volumes"]);
    assert!(said.contains("Deleted Containers:\n") && said.contains("untagged: child:latest\n"));
    assert!(!said.contains("Deleted Networks:"), "one is in use: {said}");
    assert_eq!(sandbox.ok(&["ps", "-a", "--format", "{{.Names}}"]), "busy");
    assert_eq!(sandbox.ok(&["images", "--format", "{{.Repository}}"]), "busybox");
    sandbox.ok(&["rm", "-f", "busy"]);
    assert!(sandbox.ok(&["system", "prune", "-f"]).contains("Deleted Networks:\nnet\n"));
    sandbox.ok(&["system", "check"]);
    sandbox.finish();
}

#[test]
fn networks_go_but_for_configurations() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("prune-networks");
    sandbox.ok(&["network", "create", "--config-only", "--subnet", "10.93.0.0/24", "template"]);
    sandbox.ok(&["network", "create", "--config-from", "template", "made"]);
    sandbox.ok(&["network", "create", "--label", "keep", "kept"]);
    sandbox.ok(&["network", "create", "used"]);
    sandbox.ok(&["run", "-d", "--name", "busy", "--network", "used", "busybox", "sleep", "600"]);
    let prune = |filters: &[&str]| sandbox.ok(&[&["network", "prune", "-f"], filters].concat());
    assert_eq!(prune(&["--filter", "label!=keep"]), "Deleted Networks:\nmade");
    // As in Docker, also where nothing is made with it any more.
    assert_eq!(prune(&[]), "Deleted Networks:\nkept");
    assert_eq!(prune(&[]), "");
    let listed = sandbox.ok(&["network", "ls", "--format", "{{.Name}}"]);
    let mut names: Vec<&str> = listed.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["bridge", "host", "none", "template", "used"]);
    sandbox.ok(&["rm", "-f", "busy"]);
    sandbox.ok(&["network", "rm", "used", "template"]);
    sandbox.finish();
}

#[test]
fn images_are_collected_only_where_it_is_asked_for() {
    needs!(Root, Netns);
    let sandbox = Sandbox::new("image-gc");
    let archive = sandbox.work().join("a.tar");
    testkit::archive(&archive, |tar| tar.file("a", 0o644, &[b'a'; 10_000]));
    let archive = archive.to_str().unwrap();
    for (label, name) in [("keep=yes", "kept"), ("keep=no", "other")] {
        sandbox.ok(&["import", "-c", &format!("LABEL {label}"), archive, name]);
    }
    let refused = sandbox.dhow(&["image", "gc"]);
    assert!(refused.code == 1 && refused.stderr.contains("needs max-age"), "{refused:?}");
    let gc = ["image", "gc", "--max-size", "1kB", "--filter", "label!=keep=yes"];
    let said = sandbox.ok(&gc);
    assert_eq!(said, "Total reclaimed space: 0B", "both were used just now");
    let gc = [&gc[..], &["--min-age", "0", "--format", "{{.Names}}: {{.Reason}}"]].concat();
    let would = sandbox.ok(&[&gc[..], &["--dry-run"]].concat());
    assert!(would.starts_with("other:latest: images hold ") && !would.contains('\n'), "{would}");
    assert_eq!(sandbox.ok(&["image", "gc", "--log", "--format", "{{.Names}}"]), "");
    assert_eq!(sandbox.ok(&gc), would);
    assert_eq!(sandbox.ok(&["images", "--format", "{{.Repository}}"]), "kept");
    assert_eq!(sandbox.ok(&["image", "gc", "--log", "--format", "{{.Names}}"]), "other:latest");

    // By the daemon, with a policy; one without a sound one does not start.
    let wrong = sandbox.dhow(&["daemon", "--image-gc", "max-age=soon"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("--image-gc: `max-age=soon`"), "{wrong:?}");
    for (policy, left) in [(None, "kept"), (Some("max-size=1kB,min-age=0,every=1m"), "")] {
        let mut args = vec!["daemon"];
        args.extend(policy.iter().flat_map(|policy| ["--image-gc", policy]));
        let mut daemon = sandbox.dhow_command(&args).spawn().unwrap();
        let socket = format!("unix://{}/dhow.sock", sandbox.state().display());
        let images = || sandbox.dhow(&["-H", &socket, "images", "--format", "{{.Repository}}"]);
        testkit::wait_until("the daemon has looked", || {
            let images = images();
            images.code == 0 && images.stdout.trim() == left
        });
        sandbox.sh(&format!("kill -TERM {}", daemon.id()));
        daemon.wait().unwrap();
    }
    assert_eq!(
        sandbox.ok(&["image", "gc", "--log", "--format", "{{.Names}}"]),
        "other:latest\nkept:latest"
    );
    sandbox.ok(&["system", "check"]);
    sandbox.discard();
}

#[test]
fn containers_that_ended_are_collected_by_a_policy() {
    needs!(Root, Netns);
    let sandbox = busybox("container-gc");
    let net = ["--network", "none"];
    let run = |args: &[&str], command: &[&str]| {
        sandbox.ok(&[&["run", "-d"][..], &net, args, &["busybox"], command].concat())
    };
    let writes = run(&[], &["sh", "-c", "head -c 100000 /dev/zero > /x"]);
    // It is to have ended before the others.
    sandbox.ok(&["wait", &writes]);
    let restarts = run(&["--restart", "on-failure"], &["true"]);
    let kept = run(&["--label", "keep"], &["true"]);
    run(&["--name", "named", "-v", "/data"], &["true"]);
    run(&["--name", "busy"], &["sleep", "1000"]);
    for id in [&writes, &restarts, &kept, "named"] {
        sandbox.ok(&["wait", id]);
    }
    let refused = sandbox.dhow(&["container", "gc", "--filter", "dangling=true"]);
    assert!(refused.code == 1 && refused.stderr.contains("filters are label"), "{refused:?}");
    let gc = |more: &[&str]| {
        let gc = ["container", "gc", "--min-age", "0", "--format", "{{.ID}} {{.Names}} {{.Size}}"];
        sandbox.ok(&[&gc[..], more].concat())
    };
    assert_eq!(sandbox.ok(&["container", "gc", "--max-age", "0"]), "Total reclaimed space: 0B");
    assert_eq!(gc(&["--max-size", "1GB"]), "");
    let would = gc(&["--max-age", "0", "--filter", "label!=keep", "--dry-run"]);
    assert_eq!(would.lines().count(), 2, "{would}");
    let first = would.lines().next().unwrap();
    assert!(first.starts_with(&writes[..12]) && first.ends_with("kB"), "{would}");
    let went = gc(&["--max-age", "0", "--filter", "label!=keep", "--filter", "named=false"]);
    assert_eq!(went, first, "who ended first goes first, and a name keeps one");
    let left = || sandbox.ok(&["ps", "-a", "--no-trunc", "--format", "{{.ID}}"]);
    assert!(!left().contains(&writes) && left().contains(&kept), "{}", left());

    // By the daemon: those that nobody has named.
    let policy = "max-age=0,min-age=0,filter=named=false";
    let mut daemon = sandbox.dhow_command(&["daemon", "--container-gc", policy]).spawn().unwrap();
    testkit::wait_until("the daemon has looked", || !left().contains(&kept));
    sandbox.sh(&format!("kill -TERM {}", daemon.id()));
    daemon.wait().unwrap();
    assert_eq!(left().lines().count(), 3, "{}", left());
    let log = sandbox.ok(&["container", "gc", "--log", "--format", "{{.ID}}"]);
    assert_eq!(log, format!("{}\n{}", &writes[..12], &kept[..12]));
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]).lines().count(), 1);
    sandbox.ok(&["rm", "-f", "busy", "named", &restarts]);
    sandbox.discard();
}
