//! Names, documents and files that are too long, too many, or not what they should be.

use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Stdio;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::bundle::{Bundle, bundle};
use crate::canary::{Canary, SECRET, plant};

/// D13: an id is joined to a path unchecked. Every command is asked, with ids that lead elsewhere.
#[test]
fn d13_an_id_is_no_path() {
    let Some(mut b) = bundle("d13_an_id_is_no_path") else { return };
    let canary = Canary::new(&b);
    b.args(&["true"]).write();
    std::fs::create_dir_all(b.dir.join("state")).unwrap();
    let long = "x".repeat(300);
    for id in [
        "../canary",
        "../../etc",
        "/etc",
        "a/b",
        "a/../../canary",
        "..",
        ".",
        "",
        long.as_str(),
        "a b",
        "a\nb",
        "\u{1b}[2J",
        "a\\b",
        "é",
    ] {
        for command in [
            "create", "run", "start", "state", "kill", "delete", "exec", "pause", "resume",
            "update", "events", "ps",
        ] {
            let mut args = vec![command];
            args.extend((command == "delete").then_some("--force"));
            args.push(id);
            args.extend((command == "exec").then_some("true"));
            let ran = b.call(&args);
            assert!(ran.status != 0, "{command} {id:?}: {}", ran.out);
            assert!(!ran.err.contains('\x1b'), "{:?}", ran.err);
        }
        canary.assert_untouched();
    }
    b.call(&["delete", "--force", "-x"]);
    assert!(std::fs::read_dir(b.dir.join("state")).unwrap().next().is_none());
}

/// K08, CVE-2025-4437: a file of the image is read as a whole, however large; or it is no file, or a
/// link to what the runtime has open, and through it to the host's.
#[test]
fn k08_the_images_passwd_is_bounded_and_its_own() {
    let Some(mut b) = bundle("k08_the_images_passwd_is_bounded_and_its_own") else { return };
    let canary = Canary::new(&b);
    let passwd = b.rootfs().join("etc/passwd");
    b.script("echo $HOME");
    b.config["linux"]["resources"] = json!({ "memory": { "limit": 64 << 20 } });
    // A terabyte, most of it not there.
    let file = std::fs::File::create(&passwd).unwrap();
    if file.set_len(1 << 40).is_err() {
        file.set_len(1 << 33).unwrap();
    }
    assert_eq!(b.run().ok(), "/\n");
    std::fs::write(&passwd, vec![b':'; 8 << 20]).unwrap();
    assert_eq!(b.run().ok(), "/\n");
    std::fs::write(&passwd, [vec![0xff; 100_000].as_slice(), b"\nroot:x:0:0::/found:\n"].concat())
        .unwrap();
    assert_eq!(b.run().ok(), "/found\n");
    for (kind, device) in [
        (FileType::Fifo, 0),
        (FileType::CharacterDevice, rustix::fs::makedev(1, 5)),
        (FileType::Socket, 0),
    ] {
        std::fs::remove_file(&passwd).unwrap();
        mknodat(CWD, &passwd, kind, Mode::from_raw_mode(0o666), device).unwrap();
        assert_eq!(b.run().ok(), "/\n", "{kind:?}");
    }
    std::fs::remove_file(&passwd).unwrap();
    std::fs::create_dir(&passwd).unwrap();
    assert_eq!(b.run().ok(), "/\n");
    // Links: out of the root, in a circle, and through what is open.
    let mut targets: Vec<String> = vec![
        "passwd".into(),
        "/dev/zero".into(),
        format!("../../canary/passwd"),
        canary.dir.join("passwd").to_str().unwrap().into(),
    ];
    for n in 3..24 {
        targets.push(format!("/proc/self/fd/{n}/canary/passwd"));
        targets.push(format!("/proc/self/fd/{n}/1/root{}", canary.dir.join("passwd").display()));
        targets.push(format!("/proc/self/fd/{n}/../canary/passwd"));
    }
    for target in targets {
        plant(&b, "etc/passwd", &target);
        let ran = b.run();
        assert!(!ran.out.contains(SECRET), "{target}: {}", ran.out);
        assert_eq!(ran.out, "/\n", "{target}: {}", ran.err);
    }
    b.args(&["sleep", "1000"]).start();
    assert_eq!(b.call(&["exec", "c", "sh", "-c", "echo $HOME"]).ok(), "/\n");
}

/// J07, CVE-2021-41103 and CVE-2024-25621: what the runtime keeps can be read by any user of the host.
#[test]
fn j07_the_state_is_for_its_owner_alone() {
    let Some(mut b) = bundle("j07_the_state_is_for_its_owner_alone") else { return };
    b.args(&["sleep", "1000"]).write();
    // Whatever the caller's umask is.
    let line = format!(
        "umask 0; exec {} --root state create --pid-file pid c",
        crate::bundle::program().display()
    );
    let status = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(&b.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    let root = std::fs::metadata(b.dir.join("state")).unwrap();
    assert_eq!(root.mode() & 0o066, 0, "state: {:o}", root.mode());
    let own = std::fs::metadata(b.dir.join("state/c")).unwrap();
    assert_eq!(own.mode() & 0o077, 0, "state/c: {:o}", own.mode());
    for entry in std::fs::read_dir(b.dir.join("state/c")).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o077, 0, "{}", entry.path().display());
    }
}

/// J16, CVE-2025-10657: a security setting that is not known, or that this machine cannot enforce, is
/// silently left out.
#[test]
fn j16_what_cannot_be_enforced_is_refused() {
    let Some(mut b) = bundle("j16_what_cannot_be_enforced_is_refused") else { return };
    let enabled = |file: &str| std::path::Path::new(file).exists();
    let original = b.config.clone();
    let mut check = |name: &str, change: &dyn Fn(&mut Value)| {
        b.config = original.clone();
        change(&mut b.config);
        let ran = b.args(&["true"]).run();
        // A capability that the kernel does not know cannot be given: that is said, and safe.
        let told = name.starts_with("capability") && ran.err.contains("warning");
        assert!(ran.status != 0 || told, "{name}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{name}");
    };
    if !enabled("/sys/kernel/security/apparmor") {
        check("apparmor", &|c| c["process"]["apparmorProfile"] = json!("docker-default"));
    }
    if !enabled("/sys/fs/selinux/enforce") {
        check("selinux", &|c| {
            c["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
        });
        check("mount label", &|c| {
            c["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0");
        });
    }
    check("seccomp action", &|c| {
        c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_SOMETHING" });
    });
    check(
        "seccomp operator",
        &|c| c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_ALMOST" }] }] }),
    );
    check("seccomp architecture", &|c| {
        c["linux"]["seccomp"] =
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"] });
    });
    check("seccomp flag", &|c| {
        c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NONE_SUCH"] });
    });
    check("namespace", &|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "space" }));
    });
    check("rlimit", &|c| {
        c["process"]["rlimits"] = json!([{ "type": "RLIMIT_SOMETHING", "soft": 1, "hard": 1 }]);
    });
    check("propagation", &|c| c["linux"]["rootfsPropagation"] = json!("somehow"));
    check("capability", &|c| c["process"]["capabilities"]["bounding"] = json!(["CAP_EVERYTHING"]));
    check("personality", &|c| c["linux"]["personality"] = json!({ "domain": "VAX" }));
    check("mask of nothing", &|c| c["linux"]["maskedPaths"] = json!([""]));
    check("masks without a mount namespace", &|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "mount");
    });
    check("two of a key", &|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "pid" }));
    });
    // The later of two keys would win, and a person reads the first.
    let text = original.to_string().replacen(
        "\"process\":{",
        "\"process\":{\"noNewPrivileges\":true,\"noNewPrivileges\":false,",
        1,
    );
    b.config = original;
    b.write();
    std::fs::write(b.dir.join("config.json"), text).unwrap();
    assert!(b.call(&["run", "c"]).status != 0);
}

/// C13, CVE-2022-0811: a value of a parameter has others behind it, or its name leads to another.
#[test]
fn c13_a_parameter_is_one_and_the_containers_own() {
    let Some(mut b) = bundle("c13_a_parameter_is_one_and_the_containers_own") else { return };
    let canary = Canary::new(&b);
    for (name, value) in [
        ("kernel.shm_rmid_forced", "1\nkernel.core_pattern=|x"),
        ("kernel.shm_rmid_forced", "1\0"),
        ("kernel.shm_rmid_forced", "1+kernel.core_pattern=|x"),
        ("kernel/../kernel.core_pattern", "|x"),
        ("kernel/../kernel/core_pattern", "|x"),
        ("net/../kernel/core_pattern", "|x"),
        ("net.ipv4.ip_forward", "1\nkernel.core_pattern=|x"),
        ("net...kernel.core_pattern", "|x"),
        ("net//kernel", "x"),
        ("net", "x"),
        ("net.", "x"),
        ("net./kernel/core_pattern", "|x"),
        ("kernel.core_pattern", "|x"),
        ("kernel/core_pattern", "|x"),
        ("kernel.modprobe", "/x"),
        ("kernel.sysrq", "1"),
        ("vm.overcommit_memory", "1"),
        ("fs.file-max", "1"),
        ("fs.suid_dumpable", "1"),
        ("kernel.hostname", "x"),
        ("../../etc/passwd", "x"),
        ("/etc/passwd", "x"),
        ("net.ipv4.conf.\u{661}", "x"),
        ("fs.mqueue.../../kernel/core_pattern", "x"),
        ("", "x"),
        (".", "x"),
        ("net.\nx", "1"),
        ("user.max_user_namespaces", "1"),
    ] {
        b.config["linux"]["sysctl"] = json!({ name: value });
        let ran = b.args(&["true"]).run();
        assert!(ran.status != 0, "{name}={value}: {}", ran.out);
        b.assert_nothing_left();
        canary.assert_untouched();
    }
}

/// C14, GHSA-w2j5-3rcx-vx7x and CVE-2022-0532: parameters and names for a namespace that is the host's, since
/// there is none of the container's, or by the path of the host's.
#[test]
fn c14_nothing_is_set_in_a_namespace_of_the_host() {
    let Some(mut b) = bundle("c14_nothing_is_set_in_a_namespace_of_the_host") else { return };
    let canary = Canary::new(&b);
    let original = b.config.clone();
    let own = |kind: &str| format!("/proc/{}/ns/{kind}", std::process::id());
    for (kind, file, name, value) in [
        ("network", "net", "net.ipv4.ip_forward", "1"),
        ("ipc", "ipc", "kernel.shm_rmid_forced", "1"),
        ("ipc", "ipc", "fs.mqueue.msg_max", "77"),
        ("uts", "uts", "kernel.domainname", "evil"),
    ] {
        let before =
            std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap();
        for path in [
            None,
            Some(own(file)),
            Some(format!("/proc/self/ns/{file}")),
            Some(format!("/proc/1/ns/{file}")),
        ] {
            b.config = original.clone();
            b.config.as_object_mut().unwrap().remove("hostname");
            b.config["linux"]["sysctl"] = json!({ name: value });
            match &path {
                Some(path) => {
                    b.namespace(kind, Some(path));
                }
                None => b.config["linux"]["namespaces"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|ns| ns["type"] != kind),
            }
            let ran = b.args(&["true"]).run();
            assert!(ran.status != 0, "{name} with {path:?}");
            b.assert_nothing_left();
            let after =
                std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap();
            assert_eq!(before, after, "{name} with {path:?}");
        }
    }
    for field in ["hostname", "domainname"] {
        for path in [None, Some(own("uts"))] {
            b.config = original.clone();
            b.config.as_object_mut().unwrap().remove("hostname");
            b.config[field] = json!("evil");
            match &path {
                Some(path) => {
                    b.namespace("uts", Some(path));
                }
                None => b.config["linux"]["namespaces"]
                    .as_array_mut()
                    .unwrap()
                    .retain(|ns| ns["type"] != "uts"),
            }
            assert!(b.args(&["true"]).run().status != 0, "{field} with {path:?}");
        }
    }
    canary.assert_untouched();
}

/// X19: documents that are too large, too deep, or not files.
#[test]
fn x19_a_configuration_has_a_size() {
    let Some(mut b) = bundle("x19_a_configuration_has_a_size") else { return };
    b.args(&["true"]).write();
    let path = b.dir.join("config.json");
    let valid = std::fs::read_to_string(&path).unwrap();
    let limited = |b: &Bundle| {
        let line = format!(
            "ulimit -v 500000; exec {} --root state run c",
            crate::bundle::program().display()
        );
        let out = std::process::Command::new("sh")
            .args(["-c", &line])
            .current_dir(&b.dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(out.status.code().is_some_and(|code| code != 0 && code < 128), "{:?}", out.status);
        assert!(out.stderr.len() < 8192, "{} bytes of error", out.stderr.len());
        assert!(!out.stderr.contains(&0x1b));
    };
    let sparse = std::fs::File::create(&path).unwrap();
    sparse.set_len(1 << 36).unwrap();
    limited(&b);
    std::fs::write(&path, "[".repeat(1_000_000)).unwrap();
    limited(&b);
    std::fs::write(&path, format!("{{\"process\":{}", "{\"a\":".repeat(200_000))).unwrap();
    limited(&b);
    std::fs::write(&path, format!("{{\"{}\":1", "k".repeat(20 << 20))).unwrap();
    limited(&b);
    std::fs::write(&path, format!("{valid}\u{1b}[2J")).unwrap();
    limited(&b);
    for (kind, device) in
        [(FileType::Fifo, 0), (FileType::CharacterDevice, rustix::fs::makedev(1, 5))]
    {
        std::fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, kind, Mode::from_raw_mode(0o666), device).unwrap();
        limited(&b);
    }
    std::fs::remove_file(&path).unwrap();
    symlink("config.json", &path).unwrap();
    limited(&b);
    std::fs::remove_file(&path).unwrap();
}

/// What an image's author writes into a configuration.
type Change<'a> = &'a dyn Fn(&mut Value);

/// X20: a name in the configuration, which an image chooses, moves the cursor, changes the title of the
/// terminal or forges a line of the log where an error tells of it.
#[test]
fn x20_errors_write_nothing_to_the_terminal_but_text() {
    let Some(mut b) = bundle("x20_errors_write_nothing_to_the_terminal_but_text") else { return };
    let evil = "x\u{1b}[2J\u{1b}]0;title\u{7}\r\nlevel=error msg=forged\n\u{202e}\u{9b}31m\u{7f}";
    let original = b.config.clone();
    let changes: [(&str, Change<'_>); 12] = [
        ("args", &|c| c["process"]["args"] = json!([evil])),
        ("args with a path", &|c| c["process"]["args"] = json!([format!("/bin/{evil}")])),
        ("cwd", &|c| c["process"]["cwd"] = json!(format!("/etc/passwd/{evil}"))),
        ("relative cwd", &|c| c["process"]["cwd"] = json!(evil)),
        ("destination", &|c| c["mounts"][0]["destination"] = json!(format!("/etc/passwd/{evil}"))),
        ("type", &|c| c["mounts"][0]["type"] = json!(evil)),
        ("option", &|c| c["mounts"][1]["options"] = json!([evil])),
        ("mask", &|c| c["linux"]["maskedPaths"] = json!([evil])),
        ("sysctl", &|c| c["linux"]["sysctl"] = json!({ evil: evil })),
        ("rlimit", &|c| c["process"]["rlimits"] = json!([{ "type": evil, "soft": 1, "hard": 1 }])),
        ("capability", &|c| c["process"]["capabilities"]["bounding"] = json!([evil])),
        ("version", &|c| c["ociVersion"] = json!(evil)),
    ];
    for (name, change) in changes {
        for format in ["text", "json"] {
            b.config = original.clone();
            b.args(&["true"]);
            change(&mut b.config);
            b.write();
            let log = b.dir.join("log");
            let _old = std::fs::remove_file(&log);
            let ran = b.call(&["--log", log.to_str().unwrap(), "--log-format", format, "run", "c"]);
            let logged = std::fs::read_to_string(&log).unwrap_or_default();
            for (what, text) in [("standard error", &ran.err), ("the log", &logged)] {
                let bad =
                    text.trim_end().chars().find(|c| c.is_control() || matches!(c, '\u{202e}'));
                assert!(
                    bad.is_none()
                        || *what == *"the log" && bad == Some('\n') && name == "capability",
                    "{name}, {what}: {text:?}"
                );
            }
            assert!(ran.err.lines().count() <= 1, "{name}: {:?}", ran.err);
        }
    }
    // What the first process itself says, into the container's log.
    b.config = original;
    b.args(&[&format!("/bin/{evil}")]).write();
    let out = std::fs::File::create(b.dir.join("out")).unwrap();
    let created =
        b.command(&["create", "c"]).stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
    if created.success() {
        b.call(&["start", "c"]);
    }
    assert!(!b.output().contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}']), "{:?}", b.output());
}

/// X21: who reads the runtime's output has stopped to. It still ends, and can be ended.
#[test]
fn x21_a_full_pipe_does_not_keep_a_container() {
    let Some(mut b) = bundle("x21_a_full_pipe_does_not_keep_a_container") else { return };
    b.script(
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done",
    )
    .write();
    let mut child =
        b.command(&["run", "c"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    crate::bundle::wait_until("it runs", || b.call(&["state", "c"]).out.contains("\"running\""));
    std::thread::sleep(std::time::Duration::from_millis(200));
    b.call(&["kill", "c", "KILL"]).ok();
    let end = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < end, "the runtime waits for ever");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    b.assert_nothing_left();
}

/// X21 with a terminal, whose output the runtime itself carries: a signal still reaches the process, and
/// nothing that it wrote is lost once somebody reads. A runtime that waits in write(2) passes nothing on.
#[test]
fn x21_a_full_pipe_keeps_no_signal_from_a_container() {
    let Some(mut b) = bundle("x21_a_full_pipe_keeps_no_signal_from_a_container") else { return };
    b.config["process"]["terminal"] = json!(true);
    b.script("trap 'kill $!; exit 3' TERM; echo ready; busybox yes & while :; do wait; done")
        .write();
    let mut child =
        b.command(&["run", "c"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut out = String::new();
    while !out.contains("ready") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stdout, &mut byte).unwrap();
        out.push(char::from(byte[0]));
    }
    // Until the pipe is full: nothing is added any more. In one that is not, all that there is finds
    // room, and the container is gone before anybody could see it stopped.
    let mut held = 0;
    crate::bundle::wait_until("the pipe is full", || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        let before = std::mem::replace(&mut held, rustix::io::ioctl_fionread(&stdout).unwrap());
        held > 10_000 && held == before
    });
    let runtime = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(runtime, rustix::process::Signal::TERM).unwrap();
    crate::bundle::wait_until("it ends", || b.call(&["state", "c"]).out.contains("\"stopped\""));
    std::io::Read::read_to_string(&mut stdout, &mut out).unwrap();
    assert!(out.contains("ready") && out.matches('y').count() > 10_000, "{} bytes", out.len());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    b.assert_nothing_left();
}

/// X22: the pid file's neighbour, by which it is written, was put there before by somebody else, as a link.
#[test]
fn x22_a_pid_file_is_written_through_no_link() {
    let Some(mut b) = bundle("x22_a_pid_file_is_written_through_no_link") else { return };
    let canary = Canary::new(&b);
    let dir = b.dir.join("pids");
    std::fs::create_dir(&dir).unwrap();
    b.args(&["true"]).write();
    symlink(canary.file(), dir.join("pid")).unwrap();
    // The shell's number is that of the runtime, which it becomes.
    let line = format!(
        "ln -s {} pids/.pid.$$; exec {} --root state create --pid-file pids/pid c",
        canary.file().display(),
        crate::bundle::program().display()
    );
    // Without a pipe: a container that is made would hold it.
    let status = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(&b.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    println!("create: {status}");
    canary.assert_untouched();
}
