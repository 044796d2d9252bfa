//! Users, groups, capabilities, privileges, environment: group B.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rustix::fs::XattrFlags;
use serde_json::{Value, json};

use crate::attacker::{command, got};
use crate::bundle::{Bundle, bundle};

/// `CAP_DAC_READ_SEARCH` in a set: capabilities(7).
const DAC_READ_SEARCH: u32 = 1 << 2;

/// Docker's capabilities.
const DOCKER: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

fn capabilities(b: &mut Bundle, caps: &[&str]) {
    b.config["process"]["capabilities"] =
        json!({ "bounding": caps, "permitted": caps, "effective": caps });
}

fn user(b: &mut Bundle, uid: u32, gid: u32) {
    b.config["process"]["user"] = json!({ "uid": uid, "gid": gid });
}

/// A copy of the attacker's program, with a mode and an owner of its own.
fn program(b: &Bundle, name: &str, mode: u32, uid: u32, gid: u32) {
    let path = b.rootfs().join("bin").join(name);
    std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    chown(&path, Some(uid), Some(gid)).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
}

/// What the container's attacker says about a file. It is executed by a shell: the container's first
/// program has what the configuration gives it, the next one only what its file adds.
fn read(b: &mut Bundle, program: &str, file: &str) -> crate::bundle::Ran {
    let mut args = command().to_vec();
    args[0] = program;
    b.script(&format!("{}; true", args.join(" ")));
    b.config["process"]["env"] = json!(["PATH=/bin", format!("ATTACK=read:{file}")]);
    b.run()
}

/// B01, CVE-2016-3697: a user of the image's is called like a number. A vulnerable runtime looks the
/// number up as a name, and finds root.
#[test]
fn b01_a_number_is_never_a_name() {
    let Some(mut b) = bundle("b01_a_number_is_never_a_name") else { return };
    std::fs::write(
        b.rootfs().join("etc/passwd"),
        "1000:x:0:0::/root:/bin/sh\n1:x:0:0::/root:/bin/sh\n-1:x:0:0:::\n",
    )
    .unwrap();
    std::fs::write(b.rootfs().join("etc/group"), "1000:x:0:1000\n").unwrap();
    user(&mut b, 1000, 1000);
    assert_eq!(b.script("id -u; id -g; id -G; echo $HOME").run().ok(), "1000\n1000\n1000\n/\n");
    user(&mut b, 0, 0);
    b.args(&["sleep", "1000"]).start();
    for (text, want) in
        [("1000", "1000 0 0\n"), ("1", "1 0 0\n"), ("1000:1000", "1000 1000 1000\n")]
    {
        let out =
            b.call(&["exec", "-u", text, "c", "sh", "-c", "echo $(id -u) $(id -g) $(id -G)"]).ok();
        assert_eq!(out, want, "{text}");
    }
}

/// B03, B04 and B15, CVE-2016-8867, CVE-2018-10856 and CVE-2021-20188: an ordinary user has no
/// capability, in `run` and in `exec`, with Docker's capabilities and with all of them. On a
/// vulnerable runtime it keeps them, and reads what is root's.
#[test]
fn b03_an_ordinary_user_has_no_capability() {
    let Some(mut b) = bundle("b03_an_ordinary_user_has_no_capability") else { return };
    let privileged =
        [&DOCKER[..], &["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_NET_ADMIN", "CAP_DAC_READ_SEARCH"]]
            .concat();
    std::fs::write(b.rootfs().join("roots"), "root's").unwrap();
    std::fs::set_permissions(b.rootfs().join("roots"), PermissionsExt::from_mode(0o600)).unwrap();
    let script = "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status | grep -v 0000000000000000; cat /roots 2>/dev/null; \
        chown 0 /tmp 2>/dev/null && echo chown; mknod /tmp/x c 1 3 2>/dev/null && echo mknod; true";
    for caps in [&DOCKER[..], &privileged] {
        capabilities(&mut b, caps);
        user(&mut b, 1000, 1000);
        assert_eq!(b.script(script).run().ok(), "");
        user(&mut b, 0, 0);
        b.args(&["sleep", "1000"]).start();
        for args in
            [vec!["exec", "-u", "1000"], vec!["exec", "-u", "1000:1000", "--cap", "CAP_SYS_ADMIN"]]
        {
            let out = b.call(&[&args[..], &["c", "sh", "-c", script]].concat()).ok();
            assert_eq!(out, "", "{args:?}");
        }
        b.call(&["delete", "--force", "c"]).ok();
    }
}

/// The attribute of a file that gives `CAP_DAC_READ_SEARCH` (number 2) to who executes it:
/// capabilities(7), `vfs_cap_data`.
fn file_capability(path: &Path, permitted: u32, inheritable: u32) {
    const REVISION_2: u32 = 0x0200_0000;
    const EFFECTIVE: u32 = 1;
    let words = [REVISION_2 | EFFECTIVE, permitted, inheritable, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    rustix::fs::setxattr(path, "security.capability", &value, XattrFlags::empty()).unwrap();
}

/// B07, CVE-2022-29162, CVE-2022-24769, CVE-2025-27612 and others: a program with inheritable
/// capabilities in its file, executed by an ordinary user. On a vulnerable runtime the process has
/// inheritable ones too, and so gains them.
#[test]
fn b07_nothing_is_inheritable_unless_asked_for() {
    let Some(mut b) = bundle("b07_nothing_is_inheritable_unless_asked_for") else { return };
    std::fs::write(b.rootfs().join("roots"), "root's").unwrap();
    std::fs::set_permissions(b.rootfs().join("roots"), PermissionsExt::from_mode(0o600)).unwrap();
    program(&b, "inherit", 0o755, 0, 0);
    file_capability(&b.rootfs().join("bin/inherit"), 0, DAC_READ_SEARCH);
    let caps = [&DOCKER[..], &["CAP_DAC_READ_SEARCH"]].concat();
    capabilities(&mut b, &caps);
    user(&mut b, 1000, 1000);
    let ran = read(&mut b, "/bin/inherit", "/roots");
    assert!(ran.out.contains("SEEN") && got(&ran.out).is_empty(), "{}{}", ran.out, ran.err);
    let script = "grep CapInh /proc/self/status";
    assert_eq!(b.script(script).run().ok(), "CapInh:\t0000000000000000\n");
    b.args(&["sleep", "1000"]).start();
    for cap in [None, Some("CAP_DAC_READ_SEARCH"), Some("CAP_SYS_ADMIN")] {
        let mut args = vec!["exec"];
        args.extend(cap.iter().flat_map(|cap| ["--cap", cap]));
        args.extend(["c", "sh", "-c", script]);
        assert_eq!(b.call(&args).ok(), "CapInh:\t0000000000000000\n", "{cap:?}");
    }
    b.call(&["delete", "--force", "c"]).ok();
    // The control: where it is asked for, it is there.
    b.config["process"]["capabilities"]["inheritable"] = json!(["CAP_DAC_READ_SEARCH"]);
    assert_eq!(got(&read(&mut b, "/bin/inherit", "/roots").out), ["GOT root's"]);
}

/// B08, CVE-2022-36109 and others: a file is forbidden to a group, and a set-group-id program takes a
/// process out of that group. On a vulnerable runtime the group is not among the supplementary ones,
/// and the file can be read.
#[test]
fn b08_the_group_is_not_lost_through_a_set_group_id_program() {
    let Some(mut b) = bundle("b08_the_group_is_not_lost_through_a_set_group_id_program") else {
        return;
    };
    let file = b.rootfs().join("forbidden");
    std::fs::write(&file, "forbidden").unwrap();
    chown(&file, Some(0), Some(500)).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o604)).unwrap();
    program(&b, "setgid", 0o2755, 0, 600);
    user(&mut b, 1000, 500);
    // Who writes a configuration names them all: dhow does, see `spec::user` of the engine.
    b.config["process"]["user"]["additionalGids"] = json!([500]);
    let ran = read(&mut b, "/bin/setgid", "/forbidden");
    assert!(ran.out.contains("SEEN") && got(&ran.out).is_empty(), "{}{}", ran.out, ran.err);
    assert_eq!(b.script("id -G").run().ok(), "500\n");
    b.config["process"]["user"]["additionalGids"] = json!([500, 7]);
    assert_eq!(b.script("id -G").run().ok(), "500 7\n");
    user(&mut b, 0, 0);
    b.args(&["sleep", "1000"]).start();
    assert_eq!(b.call(&["exec", "-u", "1000:500", "c", "id", "-G"]).ok(), "500\n");
    assert_eq!(b.call(&["exec", "-u", "1000:500", "-g", "7", "c", "id", "-G"]).ok(), "500 7\n");
    // No group of the runtime's own stays.
    let with =
        b.call(&["exec", "-u", "1000:1000", "c", "grep", "Groups", "/proc/self/status"]).ok();
    assert_eq!(with.split_whitespace().collect::<Vec<_>>(), ["Groups:", "1000"]);
}

/// B09, CVE-2026-30892: `exec -u 1` is taken for root. Whatever is written there is that number, or an
/// error.
#[test]
fn b09_a_user_on_the_command_line_is_its_number() {
    let Some(mut b) = bundle("b09_a_user_on_the_command_line_is_its_number") else { return };
    b.args(&["sleep", "1000"]).start();
    for (text, want) in [
        ("1", Some("1\n")),
        ("7", Some("7\n")),
        ("65534", Some("65534\n")),
        ("00", Some("0\n")),
        ("0001", Some("1\n")),
        ("1:2", Some("1\n")),
        ("4294967294", Some("4294967294\n")),
        ("2147483648", Some("2147483648\n")),
        ("+1", None),
        ("-1", None),
        ("0x1", None),
        ("", None),
        (":5", None),
        ("1:", None),
        ("1:x", None),
        (" 1", None),
        ("1 ", None),
        ("1e3", None),
        ("4294967295", None),
        ("4294967296", None),
        ("4294967297", None),
        ("1:4294967295", None),
        ("1:4294967296", None),
        ("18446744073709551616", None),
        ("root", None),
        ("1:2:3", None),
        ("\u{661}", None),
    ] {
        let ran = b.call(&["exec", "--user", text, "c", "id", "-u"]);
        match want {
            Some(want) => assert_eq!(ran.ok(), want, "{text:?}"),
            None => assert!(ran.status != 0, "{text:?}: {}", ran.out),
        }
    }
    for text in ["-1", "4294967296", "x", ""] {
        assert!(b.call(&["exec", "-g", text, "c", "id"]).status != 0, "-g {text:?}");
    }
}

/// B10, CVE-2024-40635 and CVE-2026-46680: a user's number in the configuration that is too large
/// wraps to root.
#[test]
fn b10_a_user_in_the_configuration_is_its_number() {
    let Some(mut b) = bundle("b10_a_user_in_the_configuration_is_its_number") else { return };
    let numbers: [(Value, Option<&str>); 13] = [
        (json!(65536), Some("65536\n")),
        (json!(2_147_483_647u32), Some("2147483647\n")),
        (json!(2_147_483_648u32), Some("2147483648\n")),
        (json!(4_294_967_294u32), Some("4294967294\n")),
        (json!(4_294_967_295u64), None),
        (json!(4_294_967_296u64), None),
        (json!(4_294_967_297u64), None),
        (json!(-1), None),
        (json!(1.5), None),
        (json!("0"), None),
        (json!("1000"), None),
        (json!(18_446_744_073_709_551_615u64), None),
        (json!(1e3), None),
    ];
    for field in ["uid", "gid"] {
        for (number, want) in &numbers {
            b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
            b.config["process"]["user"][field] = number.clone();
            let ran = b.args(&["id", if field == "uid" { "-u" } else { "-g" }]).run();
            match want {
                Some(want) => assert_eq!(ran.ok(), *want, "{field} {number}"),
                None => assert!(ran.status != 0, "{field} {number}: {}", ran.out),
            }
        }
    }
    for groups in [json!([-1]), json!([4_294_967_296u64]), json!([4_294_967_295u64]), json!(["0"])]
    {
        b.config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": groups });
        assert!(b.run().status != 0, "{groups}");
    }
}

/// B11, CVE-2020-14370 and CVE-2021-21334: containers that are made at the same time have each their
/// own environment.
#[test]
fn b11_environments_do_not_mix() {
    let Some(mut b) = bundle("b11_environments_do_not_mix") else { return };
    let mut children = Vec::new();
    for i in 0..12 {
        b.config["linux"]["cgroupsPath"] = json!(format!("{}/e{i}", b.cgroup));
        b.config["process"]["env"] =
            json!(["PATH=/bin", format!("OWN{i}={i}"), format!("VALUE={i}")]);
        b.args(&["env"]).write();
        let bundle = b.dir.join(format!("b{i}"));
        std::fs::create_dir(&bundle).unwrap();
        let mut config = b.config.clone();
        config["root"]["path"] = json!(b.rootfs());
        config["root"]["readonly"] = json!(true);
        std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        let id = format!("e{i}");
        let child = b
            .command(&["run", "-b", bundle.to_str().unwrap(), &id])
            .stdout(std::process::Stdio::piped())
            .spawn();
        children.push(child.unwrap());
    }
    for (i, child) in children.into_iter().enumerate() {
        let out = child.wait_with_output().unwrap();
        let mut lines: Vec<_> =
            String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "HOME=/root".to_owned(),
                format!("OWN{i}={i}"),
                "PATH=/bin".into(),
                format!("VALUE={i}")
            ]
        );
    }
}

/// B12 and B13, CVE-2021-3602 and CVE-2026-57231: entries of the environment without `=`, with `*` or
/// empty bring nothing of the caller's in, for `run`, `exec` and hooks.
#[test]
fn b13_nothing_of_the_callers_environment_gets_in() {
    let Some(mut b) = bundle("b13_nothing_of_the_callers_environment_gets_in") else { return };
    let secret = "hunter2";
    b.config["process"]["env"] = json!([
        "PATH",
        "PATH=/bin",
        "*",
        "SECRET",
        "SEC*",
        "=x",
        "",
        "$SECRET",
        "X=$SECRET",
        "HOME="
    ]);
    let dump = "tr '\\0' '\\n' < /proc/self/environ > ";
    let hook = |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("{dump}{}/{name}", b.dir.display())] }]);
    b.config["hooks"] = json!({ "createRuntime": hook("h1"), "createContainer": hook("h2"), "poststart": hook("h3"), "poststop": hook("h4") });
    let script = "tr() { busybox tr \"$@\"; }; cat /proc/self/environ; cat /proc/1/environ; env";
    b.script(script).write();
    let ran = b.command(&["run", "c"]).env("SECRET", secret).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(!String::from_utf8_lossy(&ran.stdout).contains(secret));
    for name in ["h1", "h2", "h3", "h4"] {
        let text = std::fs::read_to_string(b.dir.join(name)).unwrap();
        assert!(!text.contains(secret), "{name}: {text}");
    }
    b.args(&["sleep", "1000"]).start();
    for env in ["SECRET", "*", "", "X=$SECRET"] {
        let ran = b
            .command(&["exec", "--env", env, "c", "sh", "-c", script])
            .env("SECRET", secret)
            .output()
            .unwrap();
        assert!(!String::from_utf8_lossy(&ran.stdout).contains(secret), "{env}");
    }
}

/// B14, CVE-2022-1227: commands that look at a container execute a program of the image's, with the
/// host's privileges.
#[test]
fn b14_no_program_of_the_image_is_executed_on_the_host() {
    let Some(mut b) = bundle("b14_no_program_of_the_image_is_executed_on_the_host") else { return };
    let marker = b.dir.join("marker");
    let trojan = format!(
        "#!/bin/busybox sh\n/bin/busybox readlink /proc/self/ns/mnt >> {}\n",
        marker.display()
    );
    for name in [
        "ps",
        "nsenter",
        "runc",
        "criu",
        "newuidmap",
        "newgidmap",
        "systemctl",
        "nft",
        "iptables",
        "modprobe",
        "dhow-runtime",
    ] {
        let path = b.rootfs().join("bin").join(name);
        let _link = std::fs::remove_file(&path);
        std::fs::write(&path, &trojan).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    b.config["process"]["cwd"] = json!("/bin");
    b.args(&["sleep", "1000"]).start();
    let root = b.rootfs();
    for args in [
        &["ps", "c"][..],
        &["state", "c"],
        &["list"],
        &["exec", "c", "true"],
        &["events", "--stats", "c"],
        &["pause", "c"],
        &["resume", "c"],
        &["update", "--pids-limit", "100", "c"],
        &["kill", "c", "0"],
        &["kill", "c", "KILL"],
    ] {
        // From inside the image's directory of programs, too.
        let ran = b.command(args).current_dir(root.join("bin")).output().unwrap();
        assert!(
            ran.status.success() || args[0] == "kill" || args[0] == "update",
            "{args:?}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
    assert!(!marker.exists(), "{}", std::fs::read_to_string(&marker).unwrap_or_default());
}

/// X11: set-user-id programs and file capabilities give nothing with `noNewPrivileges`, and on a mount
/// with `nosuid`.
#[test]
fn x11_no_new_privileges_holds_for_programs_with_more() {
    let Some(mut b) = bundle("x11_no_new_privileges_holds_for_programs_with_more") else { return };
    std::fs::write(b.rootfs().join("roots"), "root's").unwrap();
    std::fs::set_permissions(b.rootfs().join("roots"), PermissionsExt::from_mode(0o600)).unwrap();
    program(&b, "setuid", 0o4755, 0, 0);
    program(&b, "filecap", 0o755, 0, 0);
    file_capability(&b.rootfs().join("bin/filecap"), 1 << 2, 0);
    let caps = [&DOCKER[..], &["CAP_DAC_READ_SEARCH"]].concat();
    capabilities(&mut b, &caps);
    user(&mut b, 1000, 1000);
    for name in ["/bin/setuid", "/bin/filecap"] {
        b.config["process"]["noNewPrivileges"] = json!(false);
        assert_eq!(got(&read(&mut b, name, "/roots").out), ["GOT root's"], "the control: {name}");
        b.config["process"]["noNewPrivileges"] = json!(true);
        let ran = read(&mut b, name, "/roots");
        assert!(ran.out.contains("SEEN") && got(&ran.out).is_empty(), "{name}: {}", ran.out);
    }
    // What is executed gets it as well, asked for or as the container has it.
    user(&mut b, 0, 0);
    b.args(&["sleep", "1000"]).start();
    let out = b.call(&["exec", "-u", "1000", "c", "grep", "NoNewPrivs", "/proc/self/status"]).ok();
    assert_eq!(out, "NoNewPrivs:\t1\n");
    b.call(&["delete", "--force", "c"]).ok();
    b.config["process"]["noNewPrivileges"] = json!(false);
    b.mount(json!({ "destination": "/nosuid", "source": b.rootfs().join("bin"), "options": ["bind", "nosuid"] }));
    user(&mut b, 1000, 1000);
    for name in ["/nosuid/setuid", "/nosuid/filecap"] {
        let ran = read(&mut b, name, "/roots");
        assert!(ran.out.contains("SEEN") && got(&ran.out).is_empty(), "{name}: {}", ran.out);
    }
}

/// X12: user ids beyond a user namespace's map: refused, not taken for another's; and a map gives the
/// container no more of the host's ids than it says.
#[test]
fn x12_ids_beyond_the_map_are_refused() {
    let Some(mut b) = bundle("x12_ids_beyond_the_map_are_refused") else { return };
    b.namespace("user", None);
    let map = |container: i64, host: i64, size: i64| json!([{ "containerID": container, "hostID": host, "size": size }]);
    for (map, why) in [
        (map(0, 4_294_967_290, 100), "beyond"),
        (map(4_294_967_290, 0, 100), "beyond"),
        (map(0, 100_000, 0), "nothing"),
        (map(0, -1, 10), ""),
        (map(0, 100_000, 4_294_967_296), ""),
        (
            json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }, { "containerID": 5, "hostID": 200_000, "size": 10 }]),
            "overlaps",
        ),
        (
            json!([{ "containerID": 0, "hostID": 100_000, "size": 10 }, { "containerID": 50, "hostID": 100_005, "size": 10 }]),
            "overlaps",
        ),
    ] {
        b.config["linux"]["uidMappings"] = map.clone();
        b.config["linux"]["gidMappings"] = map.clone();
        b.args(&["true"]).run().fails(why);
        b.assert_nothing_left();
    }
    b.config["linux"]["uidMappings"] = map(0, 100_000, 1000);
    b.config["linux"]["gidMappings"] = map(0, 100_000, 1000);
    for path in [b.dir.clone(), b.rootfs()] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    user(&mut b, 0, 0);
    assert_eq!(b.script("id -u; cat /proc/self/uid_map | wc -l").run().ok(), "0\n1\n");
    for (uid, gid) in [(1000, 0), (0, 1000), (65534, 0), (100_000, 0), (4_294_967_294, 0)] {
        user(&mut b, uid, gid);
        assert!(b.run().status != 0, "{uid}:{gid}");
        b.assert_nothing_left();
    }
    user(&mut b, 0, 0);
    b.args(&["sleep", "1000"]).start();
    assert!(b.call(&["exec", "-u", "1000", "c", "id"]).status != 0);
    assert!(b.call(&["exec", "-u", "100000", "c", "id"]).status != 0);
}
