//! `cp`, both ways, by our own client and by Docker's.

use std::os::unix::fs::MetadataExt as _;

use crate::{busybox, volumes::with_volumes};
use testkit::needs;

const MAKE: &str =
    "mkdir -p /src/d/e && echo x >/src/d/file && echo y >/src/d/e/deep && ln -s d/file /src/link
    ln -s /src/d /src/dirlink && chown 33:34 /src/d/file && chmod 4750 /src/d/file";

#[test]
fn the_working_directory_is_there_before_the_first_start() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("cp-work-dir");
    sandbox.ok(&["create", "--name", "box", "-w", "/srv/a/b", "busybox", "ls"]);
    let file = sandbox.work().join("file");
    std::fs::write(&file, "x").unwrap();
    sandbox.ok(&["cp", file.to_str().unwrap(), "box:/srv/a/b/"]);
    assert_eq!(sandbox.ok(&["start", "-a", "box"]), "file");
    sandbox.ok(&["rm", "box"]);
    let refused = sandbox.dhow(&["run", "--rm", "-w", "/etc/passwd", "busybox", "true"]);
    assert_eq!(refused.code, 125, "{refused:?}");
    let why = "Cannot mkdir: /etc/passwd is not a directory";
    assert!(refused.stderr.contains(why), "{refused:?}");
    std::fs::remove_file(&file).unwrap();
    sandbox.finish();
}

#[test]
fn files_go_out_as_cp_has_it() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("cp-out");
    sandbox.ok(&["run", "--name", "one", "busybox", "sh", "-c", MAKE]);
    let work = sandbox.work();
    let at = |name: &str| work.join(name).display().to_string();
    let text = |name: &str| std::fs::read_to_string(work.join(name)).unwrap();
    let cp = |flags: &[&str], from: &str, to: &str| {
        sandbox.dhow(&[&["cp"], flags, &[from, to]].concat())
    };
    let fine = |flags: &[&str], from: &str, to: &str| {
        let output = cp(flags, from, to);
        assert_eq!(output.code, 0, "{from} {to}: {}", output.stderr);
    };
    fine(&[], "one:/src/d/file", &at("new"));
    assert_eq!(text("new"), "x\n");
    let meta = std::fs::metadata(work.join("new")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o777), (0, 0o750));
    fine(&["-a"], "one:/src/d/file", &at("owned"));
    assert_eq!(std::fs::metadata(work.join("owned")).unwrap().uid(), 33);
    fine(&[], "one:/src/d", &at("made"));
    assert_eq!((text("made/file"), text("made/e/deep")), ("x\n".into(), "y\n".into()));
    fine(&[], "one:/src/d", &at("made"));
    assert_eq!(text("made/d/file"), "x\n");
    std::fs::create_dir(work.join("into")).unwrap();
    fine(&[], "one:/src/d/.", &at("into"));
    assert_eq!(text("into/e/deep"), "y\n");
    // A link is a link, unless it is followed; then it keeps its name.
    fine(&[], "one:/src/link", &at("into/"));
    assert_eq!(std::fs::read_link(work.join("into/link")).unwrap().to_str(), Some("d/file"));
    std::fs::remove_file(work.join("into/link")).unwrap();
    fine(&["-L"], "one:/src/link", &at("into"));
    assert_eq!(text("into/link"), "x\n");
    fine(&["-L"], "one:/src/dirlink", &at("into"));
    assert_eq!(text("into/dirlink/file"), "x\n");
    for (from, to, want) in [
        ("one:/src/d/file", at("none/"), "no such directory"),
        ("one:/src/d", at("new"), "cannot copy directory"),
        ("one:/src/d/file", at("none/x"), "does not exist"),
        ("one:/none", at("x"), "Could not find the file /none in container one"),
        ("nobody:/x", at("x"), "No such container: nobody"),
    ] {
        let refused = cp(&[], from, &to);
        assert!(refused.code == 1 && refused.stderr.contains(want), "{from} {to}: {refused:?}");
    }
    let refused = cp(&[], &at("new"), &at("x"));
    assert!(refused.stderr.contains("must specify at least one container source"), "{refused:?}");
    let dhow = testkit::dhow_program().display().to_string();
    let listed = sandbox.sh(&format!("{dhow} cp one:/src/d - | tar -t"));
    assert_eq!(listed.stdout, "d/\nd/e/\nd/e/deep\nd/file\n");
    sandbox.ok(&["rm", "one"]);
    sandbox.finish();
}

/// Into one that runs, one that does not, one that never did; with what it has mounted.
#[test]
fn what_docker_puts_into_every_root_is_there_and_is_no_change() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("cp-lowest");
    let names = |text: &str| -> Vec<String> {
        let wanted = [".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"];
        let mut names: Vec<String> = text.lines().map(|line| line.replace("./", "")).collect();
        names.retain(|name| wanted.contains(&name.as_str()));
        names.sort();
        names
    };
    let all = [".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf"];
    let script = "cat /etc/hosts; ls -la /.dockerenv; readlink /etc/mtab";
    sandbox.ok(&[
        "create",
        "--name",
        "box",
        "--add-host",
        "x:192.0.2.9",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let exported = |name: &str| {
        let tar = sandbox.work().join("exported.tar");
        sandbox.ok(&["export", "-o", tar.to_str().unwrap(), name]);
        let listed = sandbox.sh(&format!("tar tf {}", tar.display()));
        names(&listed.stdout)
    };
    let copied = |path: &str| {
        let to = sandbox.work().join("copied");
        sandbox.ok(&["cp", &format!("box:{path}"), to.to_str().unwrap()]);
        std::fs::read_to_string(&to).unwrap()
    };
    // Before the first start they are empty.
    assert_eq!(exported("box"), all);
    assert_eq!(copied("/etc/resolv.conf"), "");
    let said = sandbox.ok(&["start", "-a", "box"]);
    assert!(said.contains("192.0.2.9") && said.contains("/.dockerenv"), "{said}");
    assert!(said.ends_with("/proc/mounts"), "{said}");
    // Afterwards, and while it does not run, as they were.
    assert!(copied("/etc/hosts").contains("192.0.2.9\tx"));
    assert!(copied("/etc/resolv.conf").contains("nameserver"));
    assert_eq!(exported("box"), all);
    assert_eq!(sandbox.ok(&["diff", "box"]), "");
    // What a person mounts there is what is seen.
    let mine = sandbox.work().join("mine");
    std::fs::write(&mine, "mine").unwrap();
    let bind = format!("{}:/etc/hosts", mine.display());
    sandbox.ok(&["rm", "box"]);
    sandbox.ok(&["run", "--name", "box", "-v", &bind, "busybox", "true"]);
    assert_eq!(copied("/etc/hosts"), "mine");
    // They are no part of an image.
    sandbox.ok(&["commit", "box", "made"]);
    sandbox.ok(&["create", "--name", "of-made", "made", "true"]);
    assert_eq!(sandbox.ok(&["diff", "of-made"]), "");
    sandbox.ok(&["rm", "box", "of-made"]);
    sandbox.ok(&["rmi", "made"]);
    sandbox.finish();
}

#[test]
fn files_go_in_where_volumes_are() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("cp-in");
    let work = sandbox.work();
    std::fs::create_dir_all(work.join("tree/sub")).unwrap();
    std::fs::write(work.join("tree/sub/f"), "in\n").unwrap();
    std::os::unix::fs::chown(work.join("tree/sub/f"), Some(7), Some(8)).unwrap();
    let bound = work.join("bound");
    std::fs::create_dir(&bound).unwrap();
    let tree = work.join("tree").display().to_string();
    let bind = format!("{}:/bound", bound.display());
    let create = |name: &str, more: &[&str]| {
        let line = [
            &[
                "create",
                "--name",
                name,
                "-u",
                "33",
                "-v",
                "vol:/vol/deep",
                "-v",
                &bind,
                "-v",
                "vol:/ro:ro",
            ],
            more,
            &["busybox", "sleep", "600"],
        ];
        sandbox.ok(&line.concat());
    };
    create("never", &["--mount", "type=tmpfs,dst=/t"]);
    sandbox.ok(&["cp", &tree, "never:/vol/deep"]);
    sandbox.ok(&["cp", "-a", &tree, "never:/bound/named"]);
    assert_eq!(std::fs::read_to_string(bound.join("named/sub/f")).unwrap(), "in\n");
    // As Docker has it: with -a it is the container's user's.
    assert_eq!(std::fs::metadata(bound.join("named/sub/f")).unwrap().uid(), 33);
    let in_volume = sandbox.root().join("volumes/vol/_data/tree/sub/f");
    assert_eq!(
        (
            std::fs::read_to_string(&in_volume).unwrap(),
            std::fs::metadata(&in_volume).unwrap().uid()
        ),
        ("in\n".into(), 7)
    );
    let out = work.join("out").display().to_string();
    sandbox.ok(&["cp", "never:/vol/deep/tree", &out]);
    assert!(work.join("out/sub/f").exists());
    let refused = sandbox.dhow(&["cp", &tree, "never:/ro"]);
    assert!(refused.stderr.contains("mounted volume is marked read-only"), "{refused:?}");

    create("closed", &["--read-only"]);
    let refused = sandbox.dhow(&["cp", &tree, "closed:/root"]);
    assert!(refused.stderr.contains("container rootfs is marked read-only"), "{refused:?}");
    sandbox.ok(&["cp", &tree, "closed:/vol/deep/again"]);
    sandbox.ok(&["start", "never"]);
    assert_eq!(sandbox.ok(&["exec", "never", "cat", "/vol/deep/again/sub/f"]), "in");
    sandbox.ok(&["cp", &tree, "never:/t"]);
    assert_eq!(sandbox.ok(&["exec", "never", "cat", "/t/tree/sub/f"]), "in");
    // Between containers, with another name, and what is in a directory.
    sandbox.ok(&["cp", "never:/t/tree", "closed:/vol/deep/moved"]);
    sandbox.ok(&["cp", "never:/t/tree/.", "closed:/vol/deep"]);
    assert_eq!(
        sandbox.ok(&["exec", "never", "cat", "/vol/deep/moved/sub/f", "/vol/deep/sub/f"]),
        "in\nin"
    );
    sandbox.ok(&["cp", "never:/t/tree/sub/f", "closed:/vol/deep/alone"]);
    assert_eq!(sandbox.ok(&["exec", "never", "cat", "/vol/deep/alone"]), "in");
    let dhow = testkit::dhow_program().display().to_string();
    let piped = sandbox.sh(&format!("tar -C {tree} -c sub | gzip | {dhow} cp - never:/root"));
    assert_eq!(piped.code, 0, "{}", piped.stderr);
    assert_eq!(sandbox.ok(&["exec", "never", "cat", "/root/sub/f"]), "in");
    // A link in a volume opens nothing, whether the container runs or not.
    std::os::unix::fs::symlink("/", sandbox.root().join("volumes/vol/_data/up")).unwrap();
    for runs in [false, true] {
        if runs {
            sandbox.ok(&["start", "closed"]);
        }
        for (target, what) in [("root", "container rootfs"), ("ro", "mounted volume")] {
            let refused = sandbox.dhow(&["cp", &tree, &format!("closed:/vol/deep/up/{target}")]);
            let want = format!("{what} is marked read-only");
            assert!(refused.stderr.contains(&want), "{target} {runs}: {refused:?}");
        }
        sandbox.ok(&["cp", &tree, "closed:/vol/deep/up/vol/deep/through"]);
        assert_eq!(sandbox.ok(&["exec", "never", "cat", "/vol/deep/through/sub/f"]), "in");
        assert!(!sandbox.dhow(&["cp", "closed:/root/tree", &out]).stderr.is_empty());
    }
    sandbox.ok(&["rm", "-f", "never", "closed"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    sandbox.finish();
}
