//! What of the host stays open to a container: descriptors, directories, keyrings, the runtime's file.

use std::process::Stdio;

use serde_json::json;

use crate::attacker::{attack_with, command, got, install, seen};
use crate::bundle::{bundle, wait_until};
use crate::code::{self, Arg, Way};

/// The runtime's file, whichever is attacked.
fn runtime_file() -> Vec<u8> {
    std::fs::read(crate::bundle::program()).unwrap()
}

/// B05, CVE-2019-5736: a process in the container gets hold of the runtime's file, as the interpreter
/// of what is executed or of a process on its way in, and writes to it when it is executed no more.
/// A vulnerable runtime is then the container's program, on the host, as root.
#[test]
fn b05_the_runtimes_file_cannot_be_written() {
    let Some(mut b) = bundle("b05_the_runtimes_file_cannot_be_written") else { return };
    let before = runtime_file();
    std::fs::write(b.rootfs().join("bin/evil"), "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(
        b.rootfs().join("bin/evil"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::symlink("/proc/self/exe", b.rootfs().join("bin/link")).unwrap();
    attack_with(&mut b, "binary");
    b.start();
    wait_until("the attacker is up", || b.output().contains("UP"));
    for round in 0..400 {
        for program in ["/bin/evil", "/bin/link", "/proc/self/exe"] {
            b.call(&["exec", "c", program, "--version"]);
        }
        if round > 10 && seen(&b.output()) > 3 {
            break;
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(100));
    let output = b.output();
    assert!(seen(&output) > 0, "the attacker never got hold of the file: {output}");
    assert_eq!(got(&output), Vec::<&str>::new());
    assert!(before == runtime_file(), "the runtime's file was changed");
    b.call(&["delete", "--force", "c"]).ok();
    // As the container's own program, in every disguise, with libraries of its own.
    std::fs::create_dir_all(b.rootfs().join("lib")).unwrap();
    std::fs::write(b.rootfs().join("lib/evil.so"), "not even a library").unwrap();
    std::fs::write(b.rootfs().join("etc/ld.so.preload"), "/lib/evil.so\n").unwrap();
    b.config["process"]["env"] = json!([
        "PATH=/bin",
        "LD_PRELOAD=/lib/evil.so",
        "LD_LIBRARY_PATH=/lib",
        "LD_AUDIT=/lib/evil.so",
        "GCONV_PATH=/lib",
        "GLIBC_TUNABLES=glibc.malloc.check=3",
        "DHOW_FAILPOINTS=runtime.init=error"
    ]);
    for program in ["/proc/self/exe", "/bin/evil", "/bin/link"] {
        let ran = b.args(&[program, "--version"]).run();
        assert!(!ran.err.contains("evil.so"), "{program}: {}", ran.err);
    }
    assert!(before == runtime_file(), "the runtime's file was changed");
}

/// B06, CVE-2024-21626: the working directory, or the program, is reached through a descriptor that
/// the runtime has open. A vulnerable one starts the container in the host's file system.
#[test]
fn b06_no_descriptor_leads_to_the_host() {
    let Some(mut b) = bundle("b06_no_descriptor_leads_to_the_host") else { return };
    let host = std::fs::read_dir("/").unwrap().count();
    let script = "echo inside $(ls -d /../../../../* ../../../../../* 2>/dev/null | wc -l); pwd -P";
    for n in 0..40 {
        let mut paths = vec![format!("/proc/self/fd/{n}")];
        if n % 5 == 0 {
            paths.extend(["/proc/1/fd", "/proc/thread-self/fd"].map(|dir| format!("{dir}/{n}")));
            paths.extend(["/../..", "/."].map(|rest| format!("/proc/self/fd/{n}{rest}")));
        }
        for path in paths {
            b.config["process"]["cwd"] = json!(path);
            let ran = b.script(script).run();
            assert!(ran.status != 0, "{path}: {} (the host has {host})", ran.out);
        }
    }
    // By a link of the image.
    for n in (3..40).step_by(3) {
        let _old = std::fs::remove_file(b.rootfs().join("work"));
        std::os::unix::fs::symlink(format!("/proc/self/fd/{n}"), b.rootfs().join("work")).unwrap();
        b.config["process"]["cwd"] = json!("/work");
        assert!(b.script(script).run().status != 0, "/work -> {n}");
    }
    b.config["process"]["cwd"] = json!("/");
    b.args(&["sleep", "1000"]).start();
    for n in 0..16 {
        for cwd in [
            format!("/proc/self/fd/{n}"),
            format!("/proc/1/fd/{n}"),
            format!("/proc/self/fd/{n}/.."),
        ] {
            let ran = b.call(&["exec", "--cwd", &cwd, "c", "sh", "-c", script]);
            assert!(ran.status != 0, "{cwd}: {}", ran.out);
        }
    }
}

/// B06, the other half: a process has its three streams, and nothing besides, when the runtime itself
/// was started with more.
#[test]
fn b06_a_program_has_three_descriptors() {
    let Some(mut b) = bundle("b06_a_program_has_three_descriptors") else { return };
    // The number that remains is the directory that is listed.
    let script = "ls /proc/self/fd; readlink /proc/self/cwd";
    b.script(script).write();
    let shell = |args: &str| {
        let program = crate::bundle::program();
        let program = match args {
            "" => "ls /proc/self/fd".to_owned(),
            _ => format!("{} --root state {args}", program.display()),
        };
        let line = format!("exec 5</ 6</etc/passwd 7</proc 8<>/dev/null; exec {program}");
        let out = std::process::Command::new("sh")
            .args(["-c", &line])
            .current_dir(&b.dir)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    assert_eq!(shell("run c"), ("0\n1\n2\n3\n/\n".into(), String::new()));
    b.config["process"]["args"] = json!(["sleep", "1000"]);
    b.start();
    assert_eq!(
        shell(&format!("exec c sh -c '{script}'")),
        ("0\n1\n2\n3\n/\n".into(), String::new())
    );
    // More descriptors asked for than there are: none of the runtime's own takes their place.
    let (out, err) = shell(&format!("exec --preserve-fds 30 c sh -c '{script}'"));
    let inherited: String = shell("")
        .0
        .lines()
        .filter(|n| n.parse::<u32>().unwrap() < 33)
        .map(|n| format!("{n}\n"))
        .collect();
    assert_eq!(out, format!("{inherited}/\n"), "{err}");
    for n in 3..33 {
        let (out, _) = shell(&format!("exec --preserve-fds 30 --cwd /proc/self/fd/{n} c pwd"));
        assert_eq!(out, "", "{n}");
    }
    let pid = std::fs::read_to_string(b.dir.join("pid")).unwrap();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(open, 3, "of the first process");
}

/// X05: the keys in the session keyring of whoever starts the runtime are not the container's, nor
/// those of a neighbour that has made a keyring beforehand under the name that the container's would
/// get. With a runtime that joins a keyring by its name, the neighbour reads what is put there.
#[test]
fn x05_a_session_keyring_is_the_containers_own() {
    const ENOKEY: i64 = -126;
    const KEYCTL: i64 = 250;
    const ADD_KEY: i64 = 248;
    const SESSION: Arg<'_> = Arg::Number(-3);
    let Some(mut b) = bundle("x05_a_session_keyring_is_the_containers_own") else { return };
    let search: &[Arg<'_>] =
        &[Arg::Number(10), SESSION, Arg::Bytes(b"user"), Arg::Bytes(b"planted"), Arg::Number(0)];
    code::write(&b.rootfs().join("bin/search"), Way::Syscall, &[(KEYCTL, search)]);
    let plan: [(i64, &[Arg<'_>]); 4] = [
        (KEYCTL, &[Arg::Number(1), Arg::Bytes(b"_ses.c")]),
        (KEYCTL, &[Arg::Number(5), SESSION, Arg::Number(0x3f3f_3f3f)]),
        (
            ADD_KEY,
            &[
                Arg::Bytes(b"user"),
                Arg::Bytes(b"planted"),
                Arg::Bytes(b"secret"),
                Arg::Number(6),
                SESSION,
            ],
        ),
        (KEYCTL, search),
    ];
    // A neighbour, which keeps it alive: the shell goes on in the session that its program joined.
    let dir = b.dir.to_string_lossy().into_owned();
    let program = crate::bundle::program().to_string_lossy().into_owned();
    let line = format!("cd {dir}; exec {program} --root state run c");
    let mut calls = plan.to_vec();
    let exec: &[Arg<'_>] = &[
        Arg::Bytes(b"/bin/sh"),
        Arg::List(&[b"sh", b"-c", line.as_bytes()]),
        Arg::List(&[b"PATH=/usr/bin:/bin"]),
    ];
    let write: &[Arg<'_>] = &[Arg::Number(2), Arg::Number(0x40_8000), Arg::Number(32)];
    calls.push((1, write));
    calls.push((59, exec));
    let planter = b.dir.join("planter");
    code::write(&planter, Way::Syscall, &calls);
    b.args(&["/bin/search"]).write();
    let out = std::process::Command::new(&planter).stdin(Stdio::null()).output().unwrap();
    let planted = code::results(Way::Syscall, &out.stderr[..32.min(out.stderr.len())]);
    if planted.first().is_some_and(|id| *id < 0) {
        println!("skipped: x05_a_session_keyring_is_the_containers_own: no keyrings here");
        return;
    }
    assert!(planted.iter().skip(2).all(|id| *id > 0), "not planted: {planted:?}");
    assert_eq!(
        code::results(Way::Syscall, &out.stdout),
        [ENOKEY],
        "{}",
        String::from_utf8_lossy(&out.stderr[32..])
    );
    // And on exec.
    b.args(&["sleep", "1000"]).start();
    let line = format!("cd {dir}; exec {program} --root state exec c /bin/search");
    calls.pop();
    let exec: &[Arg<'_>] = &[
        Arg::Bytes(b"/bin/sh"),
        Arg::List(&[b"sh", b"-c", line.as_bytes()]),
        Arg::List(&[b"PATH=/usr/bin:/bin"]),
    ];
    calls.push((59, exec));
    std::fs::remove_file(&planter).unwrap();
    code::write(&planter, Way::Syscall, &calls);
    let out = std::process::Command::new(&planter).stdin(Stdio::null()).output().unwrap();
    assert_eq!(code::results(Way::Syscall, &out.stdout), [ENOKEY]);
}

/// J04, CVE-2020-15257: a container in the host's network namespace connects to an abstract socket of
/// the runtime's. There is none.
#[test]
fn j04_there_is_no_abstract_socket() {
    let Some(mut b) = bundle("j04_there_is_no_abstract_socket") else { return };
    b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "network");
    let before = std::fs::read_to_string("/proc/net/unix").unwrap();
    b.args(&["sleep", "1000"]).start();
    let out = b.call(&["exec", "c", "cat", "/proc/net/unix"]).ok();
    for line in out.lines().filter(|line| line.contains('@') && !before.contains(line)) {
        assert!(!line.contains("dhow"), "{line}");
    }
}

/// X06: what is executed as a user of the container's reads no memory, environment or descriptor of
/// the first process while that waits to be started, with its fifo and the file for errors.
#[test]
fn x06_a_created_container_shows_its_fifo_to_nobody() {
    let Some(mut b) = bundle("x06_a_created_container_shows_its_fifo_to_nobody") else { return };
    install(&mut b);
    b.args(&["sleep", "1000"]).write();
    let ran = b
        .command(&["create", "--pid-file", "pid", "c"])
        .env("SECRET", "hunter2")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(ran.unwrap().success());
    let script = "for f in /proc/1/fd/*; do readlink $f; done; cat /proc/1/environ; (: >> /proc/1/fd/3); (: >> /proc/1/fd/4); \
        (: >> /proc/1/fd/5); (: >> /proc/1/fd/6); head -c 4 /proc/1/mem; ls /proc/1/root /proc/1/cwd";
    let ran = b.call(&["exec", "c", "sh", "-c", script]);
    assert_eq!(ran.out, "", "{}", ran.err);
    assert_eq!(b.status(), "created");
    let mut args = vec!["exec", "--env", "ATTACK=read:/proc/1/environ", "c"];
    args.extend(command());
    assert_eq!(got(&b.call(&args).out), Vec::<&str>::new());
}
