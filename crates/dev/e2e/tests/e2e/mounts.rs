//! What can be mounted in a container, with every option.

use std::os::unix::fs::MetadataExt as _;

use crate::{busybox, inspect};
use testkit::needs;

/// What a container says of how something is mounted.
fn options_of(sandbox: &testkit::Sandbox, args: &[&str], at: &str) -> String {
    let script = format!(
        "awk '$5 == \"{at}\" || index($5, \"{at}/\") == 1 {{ print $5, $6 }}' /proc/self/mountinfo"
    );
    let line: Vec<&str> = ["run", "--rm"]
        .iter()
        .chain(args)
        .copied()
        .chain(["busybox", "sh", "-c", &script])
        .collect();
    sandbox.ok(&line)
}

#[test]
fn binds_take_every_option() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("mounts-bind");
    let work = sandbox.work();
    let here = work.join("here");
    std::fs::create_dir_all(here.join("below")).unwrap();
    let below = here.join("below");
    assert_eq!(sandbox.sh(&format!("mount -t tmpfs below {}", below.display())).code, 0);
    let src = format!("type=bind,src={},dst=/b", here.display());
    let first = |options: &str| {
        let all = options_of(&sandbox, &["--mount", &format!("{src}{options}")], "/b");
        all.lines().map(|line| line.replace(",relatime", "")).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(first(""), "/b rw; /b/below rw");
    assert_eq!(first(",ro"), "/b ro; /b/below ro");
    assert_eq!(first(",ro,bind-recursive=writable"), "/b ro; /b/below rw");
    assert_eq!(first(",ro,bind-recursive=disabled"), "/b ro");
    assert_eq!(first(",bind-nonrecursive"), "/b rw");
    let forced = ",ro,bind-recursive=readonly,bind-propagation=rprivate";
    assert_eq!(first(forced), "/b ro; /b/below ro");
    // A source that is missing is made for `-v` and where it is asked for.
    let missing = format!("type=bind,src={}/new,dst=/b", work.display());
    let refused = sandbox.dhow(&["run", "--rm", "--mount", &missing, "busybox", "true"]);
    let want = format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}/new",
        work.display()
    );
    assert!(refused.stderr.contains(&want), "{}", refused.stderr);
    let made = format!("{missing},bind-create-src");
    sandbox.ok(&["run", "--rm", "--mount", &made, "busybox", "touch", "/b/x"]);
    assert!(work.join("new/x").exists());
    // Words of `-v`.
    let bind = |words: &str| format!("{}:/b:{words}", here.display());
    assert_eq!(options_of(&sandbox, &["-v", &bind("ro,z")], "/b").lines().count(), 2);
    for bad in ["ro,rw", "z,Z", "nocopy", "private,slave", "what"] {
        let refused = sandbox.dhow(&["run", "--rm", "-v", &bind(bad), "busybox", "true"]);
        assert!(
            refused.stderr.contains(&format!("invalid mode: {bad}")),
            "{bad}: {}",
            refused.stderr
        );
    }
    sandbox.sh(&format!("umount {}", below.display()));
    sandbox.finish();
}

/// A mount that is made on the host, or in the container, arrives on the other side, or does not.
#[test]
fn mounts_travel_as_they_are_told() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("mounts-propagation");
    let here = sandbox.work().join("here");
    std::fs::create_dir_all(&here).unwrap();
    let here = here.display().to_string();
    let run = |mode: &str| {
        let bind = format!("{here}:/b:{mode}");
        sandbox.dhow(&[
            "run",
            "-d",
            "--name",
            "one",
            "--privileged",
            "-v",
            &bind,
            "busybox",
            "sleep",
            "600",
        ])
    };
    let refused = run("rshared");
    assert!(
        refused.stderr.contains(&format!("path {here} is mounted on "))
            && refused.stderr.contains("but it is not a shared mount"),
        "{}",
        refused.stderr
    );
    sandbox.ok(&["rm", "one"]);
    let refused = run("rslave");
    assert!(refused.stderr.contains("but it is not a shared or slave mount"), "{}", refused.stderr);
    sandbox.ok(&["rm", "one"]);

    assert_eq!(sandbox.sh(&format!("mount --bind {here} {here} && mount --make-shared {here} && mkdir {here}/out {here}/in")).code, 0);
    for (mode, arrives, leaves) in
        [("rprivate", false, false), ("rslave", true, false), ("rshared", true, true)]
    {
        let started = run(mode);
        assert_eq!(started.code, 0, "{mode}: {}", started.stderr);
        assert_eq!(sandbox.sh(&format!("mount -t tmpfs host {here}/in")).code, 0);
        let inside = sandbox.ok(&["exec", "one", "mount"]);
        assert_eq!(inside.contains("host on /b/in type tmpfs"), arrives, "{mode}: {inside}");
        sandbox.ok(&["exec", "one", "mount", "-t", "tmpfs", "guest", "/b/out"]);
        let outside = sandbox.sh("cat /proc/self/mountinfo").stdout;
        assert_eq!(outside.contains("/here/out "), leaves, "{mode}");
        sandbox.sh(&format!("umount {here}/in"));
        if leaves {
            assert_eq!(sandbox.sh(&format!("umount {here}/out")).code, 0);
        }
        sandbox.ok(&["rm", "-f", "one"]);
        let after = sandbox.sh("cat /proc/self/mountinfo").stdout;
        assert!(!after.contains("/here/out ") && after.contains(&format!(" {here} ")), "{mode}");
    }
    sandbox.sh(&format!("umount {here}"));
    sandbox.finish();
}

#[test]
fn an_image_is_mounted_and_held() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("mounts-image");
    let archive = sandbox.work().join("data.tar");
    testkit::archive(&archive, |tar| {
        tar.directory("etc/", 0o755);
        tar.file("etc/motd", 0o644, b"from the image\n");
        tar.symlink("out", "/etc");
    });
    sandbox.ok(&["import", archive.to_str().unwrap(), "data:1"]);
    let mount = "type=image,src=data:1,dst=/data";
    let script =
        "cat /data/etc/motd; touch /data/x; mount -o remount,rw /data && touch /data/x; ls /data";
    let output = sandbox.dhow(&[
        "run",
        "--rm",
        "--privileged",
        "--mount",
        mount,
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    // Not even who may mount can write to what is every container's.
    assert_eq!(output.stdout, "from the image\netc\nout\n", "{output:?}");
    let part = format!("{mount},image-subpath=etc/motd");
    let output = sandbox.ok(&["run", "--rm", "--mount", &part, "busybox", "cat", "/data"]);
    assert_eq!(output, "from the image");
    // Links lead nowhere but inside.
    let part = format!("{mount},image-subpath=out/motd");
    let output = sandbox.ok(&["run", "--rm", "--mount", &part, "busybox", "cat", "/data"]);
    assert_eq!(output, "from the image");
    let part = format!("{mount},image-subpath=nope");
    let refused = sandbox.dhow(&["run", "--rm", "--mount", &part, "busybox", "true"]);
    assert!(refused.stderr.contains("cannot access path nope"), "{}", refused.stderr);
    assert!(refused.stderr.contains(": no such file or directory"), "{}", refused.stderr);
    assert_eq!(refused.code, 127);
    for (bad, want) in [
        ("type=image,src=nope:1,dst=/d", "No such image"),
        ("type=image,dst=/d", "field Source must not be empty"),
        ("type=image,src=data:1,dst=/d,image-subpath=../x", "subpath must be a relative path"),
    ] {
        let refused = sandbox.dhow(&["create", "--mount", bad, "busybox", "true"]);
        assert!(refused.stderr.contains(want), "{bad}: {}", refused.stderr);
    }

    sandbox.ok(&["create", "--name", "one", "--mount", mount, "busybox", "cat", "/data/etc/motd"]);
    let point = inspect(&sandbox, "one")["Mounts"][0].clone();
    assert_eq!((point["Type"].as_str(), point["RW"].as_bool()), (Some("image"), Some(false)));
    let refused = sandbox.dhow(&["rmi", "data:1"]);
    assert!(refused.stderr.contains("is using its referenced image"), "{}", refused.stderr);
    sandbox.ok(&["image", "prune", "-a", "-f"]);
    // With force the name goes, the files stay.
    sandbox.ok(&["rmi", "-f", "data:1"]);
    sandbox.ok(&["image", "prune", "-f"]);
    assert_eq!(sandbox.ok(&["start", "-a", "one"]), "from the image");
    sandbox.ok(&["rm", "one"]);
    sandbox.ok(&["image", "prune", "-f"]);
    sandbox.finish();
}

#[test]
fn a_tmpfs_is_as_it_was_asked_for() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("mounts-tmpfs");
    let script = "stat -c '%a %u' /t; df -k /t | tail -n1 | awk '{ print $2 }'";
    let run = |flag: &str, value: &str| {
        sandbox.ok(&["run", "--rm", flag, value, "busybox", "sh", "-c", script])
    };
    let long = "type=tmpfs,dst=/t,tmpfs-size=64k,tmpfs-mode=1770";
    assert_eq!(run("--mount", long), "1770 0\n64");
    assert_eq!(run("--tmpfs", "/t:size=128k,mode=711,uid=33"), "711 33\n128");
    let options = options_of(&sandbox, &["--tmpfs", "/t:exec,ro"], "/t");
    assert!(options.contains("ro") && !options.contains("noexec"), "{options}");
    sandbox.finish();
}

/// The ids of a directory of the host's are exchanged with those of the container's user.
#[test]
fn files_appear_as_the_users_own() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = crate::volumes::with_volumes("mounts-idmap");
    let here = sandbox.work().join("here");
    std::fs::create_dir_all(&here).unwrap();
    std::fs::write(here.join("file"), "x").unwrap();
    std::os::unix::fs::chown(&here, Some(1234), Some(1235)).unwrap();
    std::os::unix::fs::chown(here.join("file"), Some(1234), Some(1235)).unwrap();
    let script =
        "stat -c '%u:%g' /b/file && rm /b/file && echo y >/b/made && stat -c '%u:%g' /b/made";
    let here = here.display().to_string();
    for flags in [
        vec!["-u", "33:34", "-v", &format!("{here}:/b:idmap")],
        vec!["-u", "33:34", "--mount", &format!("type=bind,src={here},dst=/b,idmap")],
        vec![
            "-u",
            "33:34",
            "--mount",
            &format!("type=bind,src={here},dst=/b,bind-idmap=match-user:33:34"),
        ],
        vec![
            "-u",
            "33:34",
            "--mount",
            &format!("type=bind,src={here},dst=/b,idmap=uids=1234-33-1;gids=1235-34-1"),
        ],
    ] {
        std::fs::write(format!("{here}/file"), "x").unwrap();
        std::os::unix::fs::chown(format!("{here}/file"), Some(1234), Some(1235)).unwrap();
        let line: Vec<&str> = ["run", "--rm"]
            .into_iter()
            .chain(flags)
            .chain(["busybox", "sh", "-c", script])
            .collect();
        let output = sandbox.dhow(&line);
        assert_eq!(output.stdout, "33:34\n33:34\n", "{line:?}: {}", output.stderr);
        let made = std::fs::metadata(format!("{here}/made")).unwrap();
        assert_eq!((made.uid(), made.gid()), (1234, 1235), "{line:?}");
        std::fs::remove_file(format!("{here}/made")).unwrap();
    }
    // A volume: what the image has there is the image's user's.
    let output = sandbox.ok(&[
        "run",
        "--rm",
        "-u",
        "33",
        "-v",
        "vol:/b:idmap",
        "busybox",
        "sh",
        "-c",
        "touch /b/x && stat -c %u /b/x",
    ]);
    assert_eq!(output, "33");
    let owner = sandbox.sh(&format!("stat -c %u {}/volumes/vol/_data/x", sandbox.root().display()));
    assert_eq!(owner.stdout, "0\n");
    sandbox.ok(&["volume", "rm", "vol"]);
    for (bad, want) in [
        ("idmap=what", "invalid id mapping: what"),
        ("idmap=userns:x", "id mapping: a user cannot be given"),
    ] {
        let bind = format!("type=bind,src={here},dst=/b,{bad}");
        let refused = sandbox.dhow(&["create", "--mount", &bind, "busybox", "true"]);
        assert!(refused.stderr.contains(want), "{bad}: {}", refused.stderr);
    }
    sandbox.finish();
}

#[test]
fn a_volume_on_etc_does_not_hide_what_is_put_there() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("mounts-etc");
    // The first volume makes the place where they are.
    sandbox.ok(&["volume", "create", "first"]);
    sandbox.ok(&["volume", "rm", "first"]);
    sandbox.baseline();
    let look =
        "cat /etc/resolv.conf /etc/hosts /etc/hostname >/dev/null && ls /etc/mine 2>/dev/null";
    let run = |mount: &str, script: &str| {
        sandbox.dhow(&["run", "--rm", "-v", mount, "busybox", "sh", "-c", script])
    };
    assert_eq!(run("/etc", &format!("{look}; cat /etc/resolv.conf")).code, 0);
    let own = sandbox.work().join("etc");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("mine"), "").unwrap();
    let own = own.display().to_string();
    assert_eq!(run(&format!("{own}:/etc"), look).success(), "/etc/mine\n");
    // Where nothing can be made it is as it is; and who mounts one of the files has that one.
    std::fs::remove_file(format!("{own}/hosts")).unwrap();
    assert_eq!(
        run(&format!("{own}:/etc:ro"), "cat /etc/hosts; ls /etc/mine").success(),
        "/etc/mine\n"
    );
    std::fs::write(format!("{own}/hosts"), "1.2.3.4 x\n").unwrap();
    assert_eq!(run(&format!("{own}/hosts:/etc/hosts"), "cat /etc/hosts").success(), "1.2.3.4 x\n");
    sandbox.finish();
}
