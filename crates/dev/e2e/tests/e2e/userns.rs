//! User namespaces: containers whose root is nobody on the host, with layers that nobody touched.

use std::os::unix::fs::MetadataExt as _;

use crate::volumes::with_volumes;
use crate::{inspect, pid};
use testkit::{Sandbox, needs};

/// The ids of a container that runs.
fn map(sandbox: &Sandbox, name: &str) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{}/uid_map", pid(sandbox, name))).unwrap();
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

#[test]
fn containers_have_ids_of_their_own() {
    needs!(Root, Overlay, Netns, Busybox, UserNamespace);
    let sandbox = with_volumes("userns-auto");
    for name in ["one", "two"] {
        sandbox.ok(&[
            "run", "-d", "--name", name, "--userns", "auto", "-v", "vol:/vol", "busybox", "sleep",
            "600",
        ]);
    }
    let (one, two) = (map(&sandbox, "one"), map(&sandbox, "two"));
    assert_eq!((one[0], one[2], two[2]), (0, 65_536, 65_536));
    assert!(one[1] >= 524_288 && one[1].abs_diff(two[1]) >= 65_536, "{one:?} {two:?}");
    // Inside it is root, whose the image's files are; outside it is nobody of the host's.
    let script = "id -u; stat -c %u /bin/busybox /etc /etc/hosts /; echo x >/made && stat -c %u /made; chown 33 /made && stat -c %u /made
        touch /vol/$HOSTNAME && stat -c %u /vol/*; mkdir /d && rmdir /d; rm /etc/passwd && ls /etc/passwd";
    let output = sandbox.dhow(&["exec", "one", "sh", "-c", script]);
    assert_eq!(output.stdout, "0\n0\n0\n0\n0\n0\n33\n0\n", "{}", output.stderr);
    let process = format!("/proc/{}", pid(&sandbox, "one"));
    assert_eq!(std::fs::metadata(process).unwrap().uid(), one[1]);
    // Both see the volume as theirs.
    let output = sandbox.ok(&[
        "exec",
        "two",
        "sh",
        "-c",
        "touch /vol/two && stat -c %u /vol/* && rm /vol/two",
    ]);
    assert_eq!(output, "0\n0");
    // On the disk ids are the container's: so nothing has to be translated for who looks there.
    let volume = sandbox.root().join("volumes/vol/_data");
    assert!(
        std::fs::read_dir(&volume)
            .unwrap()
            .all(|entry| entry.unwrap().metadata().unwrap().uid() == 0)
    );
    let changes = sandbox.ok(&["diff", "one"]);
    assert_eq!(changes, "C /etc\nD /etc/passwd\nA /made\nA /vol");
    // In and out, while it runs and when it does not.
    let file = sandbox.work().join("file");
    std::fs::write(&file, "x").unwrap();
    std::os::unix::fs::chown(&file, Some(7), Some(8)).unwrap();
    let (file, out) = (file.display().to_string(), sandbox.work().join("out"));
    for state in ["running", "stopped"] {
        sandbox.ok(&["cp", &file, &format!("one:/{state}")]);
        _ = std::fs::remove_file(&out);
        sandbox.ok(&["cp", "-a", "one:/made", out.to_str().unwrap()]);
        assert_eq!(std::fs::metadata(&out).unwrap().uid(), 33, "{state}");
        if state == "running" {
            assert_eq!(sandbox.ok(&["exec", "one", "stat", "-c", "%u:%g", "/running"]), "7:8");
            sandbox.ok(&["stop", "-t", "0", "one"]);
        }
    }
    // What was committed is an image like others.
    sandbox.ok(&["commit", "one", "made:1"]);
    let line = ["run", "--rm", "made:1", "stat", "-c", "%u", "/made", "/running", "/stopped"];
    assert_eq!(sandbox.ok(&line), "33\n7\n7");
    let line = ["run", "--rm", "--userns", "auto:size=100", "made:1", "stat", "-c", "%u", "/made"];
    assert_eq!(sandbox.ok(&line), "33");
    sandbox.ok(&["start", "one"]);
    assert_eq!(map(&sandbox, "one"), one);
    assert_eq!(inspect(&sandbox, "one")["HostConfig"]["UsernsMode"], "auto");
    sandbox.ok(&["rm", "-f", "one", "two"]);
    sandbox.ok(&["rmi", "made:1"]);
    sandbox.ok(&["volume", "rm", "vol"]);
    sandbox.finish();
}

#[test]
fn mounts_in_a_user_namespace() {
    needs!(Root, Overlay, Netns, Busybox, UserNamespace);
    let sandbox = with_volumes("userns-mounts");
    let here = sandbox.work().join("here");
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("file"), "x").unwrap();
    for path in [here.clone(), here.join("file")] {
        std::os::unix::fs::chown(path, Some(1234), Some(1234)).unwrap();
    }
    let here = here.display().to_string();
    let run = |more: &[&str], script: &str| {
        let line = [&["run", "--rm", "--userns", "auto"], more, &["busybox", "sh", "-c", script]];
        sandbox.dhow(&line.concat())
    };
    // A bind has the host's ids, unless they are mapped.
    let output = run(&["-v", &format!("{here}:/b")], "stat -c %u /b/file");
    assert_eq!(output.stdout, "65534\n", "{output:?}");
    let script = "stat -c %u /b/file; echo y >/b/made; stat -c %u /b/made";
    let output = run(&["-u", "33", "-v", &format!("{here}:/b:idmap")], script);
    assert_eq!(output.stdout, "33\n33\n", "{output:?}");
    let made = std::fs::metadata(format!("{here}/made")).unwrap();
    assert_eq!(made.uid(), 1234);
    let mount = format!("type=bind,src={here},dst=/b,idmap=userns");
    let output = run(&["--mount", &mount], "stat -c %u /b/file; touch /b/root");
    assert_eq!(output.stdout, "1234\n", "{output:?}");
    assert_eq!(std::fs::metadata(format!("{here}/root")).unwrap().uid(), 0);
    let output = run(
        &["--tmpfs", "/t:uid=33", "--mount", "type=image,src=busybox,dst=/i"],
        "stat -c %u /t; cat /i/etc/passwd >/dev/null && touch /t/x /dev/shm/x && echo fine",
    );
    assert_eq!(output.stdout, "33\nfine\n", "{output:?}");
    let output = sandbox.ok(&[
        "run",
        "--rm",
        "--userns",
        "keep-id",
        "busybox",
        "sh",
        "-c",
        "cat /proc/self/uid_map; stat -c %u /etc",
    ]);
    let words: Vec<&str> = output.split_whitespace().collect();
    assert_eq!(words, ["0", "0", "4294967295", "0"]);
    // With a user namespace of its own root cannot do what is the host's.
    let output = sandbox.dhow(&[
        "run",
        "--rm",
        "--userns",
        "keep-id",
        "--cap-add",
        "ALL",
        "busybox",
        "sh",
        "-c",
        "hostname x; date -s 2000-01-01 2>&1",
    ]);
    assert!(output.stdout.contains("can't set date"), "{output:?}");
    for (line, want) in [
        (&["--privileged"][..], "privileged mode is incompatible with user namespaces"),
        (
            &["--network", "host"],
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            &["--pid", "host"],
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    ] {
        let refused = run(line, "true");
        assert!(refused.code == 125 && refused.stderr.contains(want), "{line:?}: {refused:?}");
    }
    let refused = sandbox.dhow(&["run", "--rm", "--userns", "what", "busybox", "true"]);
    assert!(refused.stderr.contains("invalid USER mode: what"), "{refused:?}");
    sandbox.finish();
}

/// The engine's default, as Docker has it in `daemon.json`.
#[test]
fn a_whole_engine_is_remapped() {
    needs!(Root, Overlay, Netns, Busybox, UserNamespace);
    let sandbox = with_volumes("userns-remap");
    let config = sandbox.work().join("daemon.json");
    std::fs::write(&config, r#"{"userns-remap": "nobody-has-this-name"}"#).unwrap();
    sandbox.set_env("DHOW_CONFIG", config.to_str().unwrap());
    let refused = sandbox.dhow(&["run", "--rm", "busybox", "true"]);
    let want = "userns-remap: no subordinate ids of \"nobody-has-this-name\" are in /etc/subuid";
    assert!(refused.stderr.contains(want), "{refused:?}");
    // The sandbox's own /etc/subuid: its mount namespace is not the machine's.
    std::fs::write(sandbox.work().join("sub"), "dockremap:700000:1000\ndockremap:900000:500\n")
        .unwrap();
    let sub = sandbox.work().join("sub").display().to_string();
    let bind =
        format!("for f in /etc/subuid /etc/subgid; do mount --bind {sub} $f || exit 1; done");
    if sandbox.sh(&bind).code != 0 {
        sandbox.unset_env("DHOW_CONFIG");
        testkit::skip("a_whole_engine_is_remapped", "this machine has no /etc/subuid");
        sandbox.finish();
        return;
    }
    std::fs::write(&config, r#"{"userns-remap": "default"}"#).unwrap();
    let maps = sandbox.ok(&["run", "--rm", "busybox", "cat", "/proc/self/uid_map"]);
    let words: Vec<&str> = maps.split_whitespace().collect();
    assert_eq!(words, ["0", "700000", "1000", "1000", "900000", "500"]);
    let maps = sandbox.ok(&[
        "run",
        "--rm",
        "--userns",
        "host",
        "--privileged",
        "busybox",
        "cat",
        "/proc/self/uid_map",
    ]);
    assert!(maps.contains("4294967295"), "{maps}");
    sandbox.unset_env("DHOW_CONFIG");
    sandbox.sh("umount /etc/subuid /etc/subgid");
    sandbox.finish();
}
