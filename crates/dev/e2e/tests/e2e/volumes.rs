//! Volumes: what they consist of, who has them, how they come and go.

use crate::{busybox, inspect};
use testkit::{Sandbox, needs};

/// An engine that had a volume.
pub(crate) fn with_volumes(name: &str) -> Sandbox {
    let sandbox = busybox(name);
    sandbox.ok(&["volume", "create", "first"]);
    sandbox.ok(&["volume", "rm", "first"]);
    sandbox.baseline();
    sandbox
}

#[test]
fn a_volume_may_be_a_file_system() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("volumes-options");
    let create = |options: &[&str], name: &str| {
        let line: Vec<&str> = ["volume", "create"]
            .into_iter()
            .chain(options.iter().flat_map(|option| ["-o", *option]))
            .chain([name])
            .collect();
        sandbox.dhow(&line)
    };
    let made = create(&["type=tmpfs", "device=tmpfs", "o=size=1m,uid=33"], "memory");
    assert_eq!(made.stdout, "memory\n", "{}", made.stderr);
    assert_eq!(inspect(&sandbox, "memory")["Options"]["o"], "size=1m,uid=33");
    let script = "stat -c %u /v; df -k /v | tail -n1 | awk '{ print $2 }'; echo a >/v/x; sleep 600";
    sandbox.ok(&["run", "-d", "--name", "one", "-v", "memory:/v", "busybox", "sh", "-c", script]);
    testkit::wait_until("the file is there", || {
        sandbox.dhow(&["exec", "one", "cat", "/v/x"]).stdout == "a\n"
    });
    assert_eq!(sandbox.ok(&["logs", "one"]), "33\n1024");
    // A second container has the same file system, not another one; also a part of it.
    sandbox.ok(&[
        "run",
        "--rm",
        "-v",
        "memory:/v",
        "busybox",
        "sh",
        "-c",
        "cat /v/x; mkdir /v/d; echo b >/v/d/y",
    ]);
    let part = "src=memory,dst=/p,volume-subpath=d";
    let both = sandbox.ok(&[
        "run",
        "--rm",
        "--mount",
        part,
        "--volumes-from",
        "one:ro",
        "busybox",
        "sh",
        "-c",
        "cat /p/y /v/x; touch /v/z || echo no",
    ]);
    assert_eq!(both, "b\na\nno");
    // It is mounted nowhere on the host, and there as long as somebody has it.
    assert!(!sandbox.sh("cat /proc/self/mountinfo").stdout.contains("uid=33"));
    sandbox.ok(&["run", "-d", "--name", "two", "-v", "memory:/v", "busybox", "sleep", "600"]);
    sandbox.ok(&["rm", "-f", "one"]);
    assert_eq!(sandbox.ok(&["exec", "two", "cat", "/v/x"]), "a");
    sandbox.ok(&["rm", "-f", "two"]);
    let empty = sandbox.ok(&["run", "--rm", "-v", "memory:/v", "busybox", "ls", "/v"]);
    assert_eq!(empty, "");

    let here = sandbox.work().join("here");
    std::fs::create_dir_all(&here).unwrap();
    let device = format!("device={}", here.display());
    assert_eq!(create(&["type=none", "o=bind", &device], "bound").code, 0);
    sandbox.ok(&["run", "--rm", "-v", "bound:/etc", "busybox", "touch", "/etc/made"]);
    // What the image has there came first.
    assert!(here.join("made").exists() && here.join("passwd").exists());
    // One that a mount makes.
    let inline = "src=inline,dst=/v,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-label=a=b";
    let kind =
        sandbox.ok(&["run", "--rm", "--mount", inline, "busybox", "sh", "-c", "stat -f -c %T /v"]);
    assert_eq!(kind, "tmpfs");
    assert_eq!(inspect(&sandbox, "inline")["Labels"]["a"], "b");

    for (options, want) in [
        (&["nope=1"][..], "create bad: invalid option: \"nope\""),
        (&["type=tmpfs"], "create bad: missing required option: \"device\""),
        (&["o=bind"], "create bad: missing required option: \"device\""),
    ] {
        let refused = create(options, "bad");
        assert!(refused.stderr.contains(want), "{options:?}: {}", refused.stderr);
    }
    assert_eq!(create(&["type=none", "o=bind", "device=/nowhere"], "lost").code, 0);
    let refused = sandbox.dhow(&["run", "--rm", "-v", "lost:/v:nocopy", "busybox", "true"]);
    let want = "failed to mount local volume: mount /nowhere, type: none, data: bind";
    assert!(refused.stderr.contains(want), "{}", refused.stderr);
    sandbox.ok(&["volume", "rm", "memory", "bound", "inline", "lost"]);
    sandbox.finish();
}

/// A link in a volume leads a part of it nowhere but into the volume.
#[test]
fn a_part_of_a_volume_is_in_the_volume() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("volumes-subpath");
    let script = "mkdir -p /v/real/etc && echo mine >/v/real/etc/hostname && ln -s / /v/up && ln -s /real /v/ok";
    sandbox.ok(&["run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", script]);
    let cat = |part: &str| {
        let mount = format!("src=vol,dst=/p,volume-subpath={part}");
        sandbox.dhow(&[
            "run",
            "--rm",
            "--mount",
            &mount,
            "busybox",
            "sh",
            "-c",
            "cat /p/etc/hostname; ls /p",
        ])
    };
    assert_eq!(cat("real").stdout, "mine\netc\n");
    assert_eq!(cat("ok").stdout, "mine\netc\n");
    let up = cat("up");
    assert_eq!(up.stdout, "ok\nreal\nup\n", "{up:?}");
    assert!(cat("up/etc").stderr.contains("cannot access path up/etc"));
    sandbox.ok(&["volume", "rm", "vol"]);
    sandbox.finish();
}

#[test]
fn anonymous_volumes_go_with_their_container() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("volumes-anonymous");
    let volumes = |sandbox: &Sandbox| sandbox.ok(&["volume", "ls", "-q"]).lines().count();
    sandbox.ok(&[
        "run",
        "--rm",
        "-v",
        "/data",
        "-v",
        "named:/named",
        "busybox",
        "touch",
        "/data/x",
        "/named/y",
    ]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "named");
    sandbox.ok(&["create", "--name", "one", "-v", "/data", "busybox", "true"]);
    // Who only borrows it takes nothing along as it goes.
    sandbox.ok(&["run", "--rm", "--volumes-from", "one", "busybox", "touch", "/data/x"]);
    sandbox.ok(&["create", "--name", "two", "--volumes-from", "one", "busybox", "true"]);
    assert_eq!(volumes(&sandbox), 2);
    // Another container has it, too.
    sandbox.ok(&["rm", "-v", "one"]);
    assert_eq!(volumes(&sandbox), 2);
    let anonymous = sandbox.ok(&["volume", "ls", "-q", "--filter", "dangling=false"]);
    let refused = sandbox.dhow(&["volume", "rm", &anonymous]);
    let want = format!("remove {anonymous}: volume is in use - [");
    assert!(refused.stderr.contains(&want), "{}", refused.stderr);
    sandbox.ok(&["volume", "prune", "-f"]);
    assert_eq!(volumes(&sandbox), 2);
    // Nobody has it after this one.
    sandbox.ok(&["rm", "-v", "two"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "named");
    // Without being asked to, the last one leaves it.
    sandbox.ok(&["create", "--name", "one", "-v", "/data", "busybox", "true"]);
    sandbox.ok(&["create", "--name", "two", "--volumes-from", "one", "busybox", "true"]);
    sandbox.ok(&["rm", "-v", "one"]);
    sandbox.ok(&["rm", "two"]);
    assert_eq!(volumes(&sandbox), 2);
    sandbox.ok(&["volume", "prune", "-f"]);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "named");
    sandbox.ok(&["volume", "prune", "-a", "-f"]);
    assert_eq!(volumes(&sandbox), 0);
    // A container that cannot be made leaves none.
    let refused = sandbox.dhow(&[
        "create",
        "-v",
        "/data",
        "--mount",
        "type=image,src=nope,dst=/i",
        "busybox",
    ]);
    assert_ne!(refused.code, 0);
    assert_eq!(volumes(&sandbox), 0);
    sandbox.finish();
}

/// Volumes come and go in many processes at once, and no container ever lacks the one that it names.
#[test]
fn what_a_container_names_is_never_removed() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("volumes-race");
    let dhow = testkit::dhow_program().display().to_string();
    let script = format!(
        "for i in 1 2 3 4 5 6; do {dhow} volume rm -f vol >/dev/null 2>&1; done & \
         for i in 1 2 3 4 5 6; do {dhow} volume prune -af >/dev/null 2>&1; done & \
         for i in 1 2 3 4 5; do {dhow} run --rm -v vol:/v busybox sh -c 'echo x >/v/x && cat /v/x' || echo failed; done; wait"
    );
    let output = sandbox.sh(&script);
    assert_eq!(output.stdout, "x\n".repeat(5), "{}", output.stderr);
    sandbox.ok(&["volume", "rm", "-f", "vol"]);
    sandbox.ok(&["system", "check", "--quick"]);
    sandbox.finish();
}

const FILL: &str = "set -e; cd /v; mkdir -p d/e; echo x >d/file; ln d/file hard; ln -s /etc/passwd link
    mkfifo pipe; chown 33:34 d/file; chmod 4755 d/file; chmod 1777 /v; chown 5:6 /v; touch -t 200001020304 d/file";
const LOOK: &str = "cd /v; find . | sort; stat -c '%n %u:%g %a %h' . d/file hard; readlink link
    stat -c %Y d/file; cat hard; test -p pipe && echo pipe";

#[test]
fn a_volume_is_renamed_copied_and_kept() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("volumes-copies");
    let look = |volume: &str| {
        let mount = format!("{volume}:/v:nocopy");
        sandbox.ok(&["run", "--rm", "-v", &mount, "busybox", "sh", "-c", LOOK])
    };
    sandbox.ok(&["run", "--rm", "-v", "one:/v", "busybox", "sh", "-c", FILL]);
    let want = look("one");
    assert!(want.contains("d/file 33:34 4755 2"), "{want}");

    // Containers that do not run follow; one that runs is in the way.
    sandbox.ok(&["create", "--name", "user", "-v", "one:/v", "busybox", "sleep", "600"]);
    sandbox.ok(&["volume", "rename", "one", "two"]);
    let user = inspect(&sandbox, "user");
    assert_eq!(
        (&user["Mounts"][0]["Name"], &user["HostConfig"]["Binds"][0]),
        (&"two".into(), &"two:/v".into())
    );
    sandbox.ok(&["start", "user"]);
    assert_eq!(sandbox.ok(&["exec", "user", "cat", "/v/hard"]), "x");
    for (line, want) in [
        (
            &["rename", "two", "three"][..],
            "rename two: volume is in use by the running container user",
        ),
        (&["rename", "nope", "three"], "get nope: no such volume"),
        (&["rename", "two", "../x"], "includes invalid characters"),
        (&["clone", "two", "two"], "volume name \"two\" is already in use"),
        (&["clone", "nope", "new"], "get nope: no such volume"),
        (&["backup", "nope"], "get nope: no such volume"),
    ] {
        let refused = sandbox.dhow(&[&["volume"], line].concat());
        assert!(refused.code == 1 && refused.stderr.contains(want), "{line:?}: {refused:?}");
    }

    assert_eq!(sandbox.ok(&["volume", "clone", "--label", "a=b", "two", "copy"]), "copy");
    assert_eq!(look("copy"), want);
    assert_eq!(inspect(&sandbox, "copy")["Labels"]["a"], "b");
    // The container was frozen meanwhile, and is not any more.
    assert_eq!(inspect(&sandbox, "user")["State"]["Status"], "running");
    let name = sandbox.ok(&["volume", "snapshot", "two"]);
    assert!(name.starts_with("two-20"), "{name}");
    let snapshots = sandbox.ok(&["volume", "ls", "-q", "--filter", "label=dhow.snapshot.of=two"]);
    assert_eq!(snapshots, name);
    assert_eq!(look(&name), want);
    let mount = format!("{name}:/v");
    let script = "touch /v/x || echo no";
    let output = sandbox.ok(&["run", "--rm", "-v", &mount, "busybox", "sh", "-c", script]);
    assert_eq!(output, "no");
    // What is changed in the one is not changed in the others.
    sandbox.ok(&["exec", "user", "sh", "-c", "echo changed >/v/hard"]);
    assert_eq!((look("copy"), look(&name)), (want.clone(), want.clone()));
    sandbox.ok(&["volume", "clone", &name, "back"]);
    sandbox.ok(&["run", "--rm", "-v", "back:/v", "busybox", "touch", "/v/x"]);
    sandbox.ok(&["rm", "-f", "user"]);
    sandbox.ok(&["volume", "rm", "two", "copy", "back", &name]);
    sandbox.finish();
}

#[test]
fn the_labels_of_a_volume_change() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("volumes-labels");
    sandbox.ok(&["volume", "create", "--label", "stage=new", "--label", "a=1", "data"]);
    let update = ["volume", "update", "--label", "keep=yes", "--label-rm", "stage", "data"];
    assert_eq!(sandbox.ok(&update), "data");
    let labels = ["volume", "inspect", "-f", "{{json .Labels}}", "data"];
    assert_eq!(sandbox.ok(&labels), r#"{"a":"1","keep":"yes"}"#);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q", "--filter", "label=keep=yes"]), "data");
    sandbox.ok(&["volume", "snapshot", "data", "kept"]);
    for (args, want) in [
        (&["data"][..], "can only update cluster volumes"),
        (&["--availability", "drain", "data"], "can only update cluster volumes"),
        (&["--label", "x=1", "dta"], "get dta: no such volume (did you mean data?)"),
        (&["--label-rm", "dhow.snapshot.of", "kept"], "of volume kept is the engine's own"),
    ] {
        let refused = sandbox.dhow(&[&["volume", "update"], args].concat());
        assert_eq!(refused.code, 1, "{args:?}: {refused:?}");
        assert!(refused.stderr.contains(want), "{args:?}: {refused:?}");
    }
    sandbox.ok(&["volume", "rm", "data", "kept"]);
    sandbox.finish();
}

#[test]
fn a_volume_is_backed_up_and_restored() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("volumes-backup");
    let look = |volume: &str| {
        let mount = format!("{volume}:/v:nocopy");
        sandbox.ok(&["run", "--rm", "-v", &mount, "busybox", "sh", "-c", LOOK])
    };
    sandbox.ok(&["run", "--rm", "-v", "one:/v", "busybox", "sh", "-c", FILL]);
    let want = look("one");
    let file = sandbox.work().join("one.tar").display().to_string();
    let attribute =
        format!("setfattr -n user.note -v hello {}/volumes/one/_data/d", sandbox.root().display());
    let has_attributes = sandbox.sh(&attribute).code == 0;
    sandbox.ok(&["volume", "backup", "one", "-o", &file]);
    assert_eq!(sandbox.ok(&["volume", "restore", "-i", &file, "--label", "a=b", "two"]), "two");
    assert_eq!(look("two"), want);
    if has_attributes {
        let get = format!(
            "getfattr --only-values -n user.note {}/volumes/two/_data/d",
            sandbox.root().display()
        );
        assert_eq!(sandbox.sh(&get).stdout, "hello");
    }
    let dhow = testkit::dhow_program().display().to_string();
    let piped =
        sandbox.sh(&format!("{dhow} volume backup two | gzip | {dhow} volume restore three"));
    assert_eq!(piped.stdout, "three\n", "{}", piped.stderr);
    assert_eq!(look("three"), want);
    // Half an archive is no volume.
    let cut = sandbox.sh(&format!("head -c 2000 {file} | {dhow} volume restore four"));
    assert_eq!(cut.code, 1, "{}", cut.stderr);
    let again = sandbox.dhow(&["volume", "restore", "-i", &file, "two"]);
    assert!(again.stderr.contains("volume name \"two\" is already in use"), "{}", again.stderr);
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "one\nthree\ntwo");
    sandbox.ok(&["volume", "rm", "one", "two", "three"]);
    sandbox.ok(&["system", "check", "--quick"]);
    sandbox.finish();
}

/// On a file system with quotas of projects a volume has no more room than it was given.
#[test]
fn a_volume_has_its_size() {
    needs!(Root, Overlay, Netns, Busybox, ProjectQuota);
    let mkfs = &["-O", "quota,project", "-E", "quotatype=prjquota"];
    let disk = testkit::Disk { kind: "ext4", mkfs, options: "prjquota", size: 256 };
    if disk.again("volumes::a_volume_has_its_size").is_none() {
        return;
    }
    let sandbox = with_volumes("volumes-size");
    sandbox.ok(&["volume", "create", "-o", "size=2m", "small"]);
    let script = "dd if=/dev/zero of=/v/x bs=1M count=4 2>&1 | grep -o 'Disk quota exceeded\\|No space left'; df -m /v | tail -n1 | awk '{ print $2 }'";
    let output = sandbox.ok(&["run", "--rm", "-v", "small:/v", "busybox", "sh", "-c", script]);
    assert!(output.ends_with("\n2"), "{output}");
    sandbox.ok(&["volume", "rm", "small"]);
    sandbox.finish();
}

/// Where there is no quota, none is promised.
#[test]
fn a_size_that_cannot_be_had_is_refused() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = with_volumes("volumes-no-size");
    let refused = sandbox.dhow(&["volume", "create", "-o", "size=2m", "small"]);
    if refused.code == 0 {
        sandbox.ok(&["volume", "rm", "small"]);
    } else {
        assert!(refused.stderr.contains("quotas of projects"), "{}", refused.stderr);
    }
    assert_eq!(sandbox.ok(&["volume", "ls", "-q"]), "");
    sandbox.finish();
}
