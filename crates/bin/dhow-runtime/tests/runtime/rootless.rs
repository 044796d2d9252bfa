//! The runtime of an ordinary user: with one id and with several, with and without cgroups.

use serde_json::{Value, json};

use crate::bundle::wait_until;
use crate::user::{SEVERAL, SINGLE, SUB, UID, User, user};

fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    line.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
pub(crate) fn a_container_of_one_id_lives_and_ends() {
    let Some(mut u) = user("a_container_of_one_id_lives_and_ends", &SINGLE) else { return };
    u.b.script(
        "id; cat /proc/self/setgroups /proc/self/uid_map; stat -c '%t %T' /dev/null; \
         echo x > /dev/null && (echo x > /proc/sys/kernel/hostname); exec sleep 1000",
    );
    let pid = u.create();
    let list = u.call(&["list", "-q"]).ok();
    assert_eq!(list, "c\n");
    u.call(&["start", "c"]).ok();
    assert_eq!(status(pid, "Uid"), format!("{UID} {UID} {UID} {UID}"));
    assert_eq!(status(pid, "CapInh"), "0000000000000000");
    wait_until("it has said all", || u.b.output().contains("Read-only"));
    let out = u.b.output();
    let lines: Vec<String> =
        out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "uid=0(root) gid=0", "{out}");
    assert_eq!(lines[1..4], ["deny", &format!("0 {UID} 1"), "1 3"], "{out}");
    let state: Value = serde_json::from_str(&u.call(&["state", "c"]).ok()).unwrap();
    assert_eq!(
        (state["status"].as_str(), state["pid"].as_i64()),
        (Some("running"), Some(pid.into()))
    );
    assert!(u.call(&["exec", "c", "id"]).ok().starts_with("uid=0(root) gid=0"));
    assert_eq!(u.call(&["exec", "c", "sh", "-c", "exit 7"]).status, 7);
    // What needs a cgroup says that there is none.
    for args in [&["ps", "c"][..], &["pause", "c"], &["update", "--pids-limit", "9", "c"]] {
        u.call(args).fails("it has no cgroup, which this user may not make");
    }
    u.call(&["exec", "-u", "1", "c", "id"])
        .fails("process.user.uid: `1`: is not mapped in the container's user namespace");
    u.call(&["exec", "-g", "5", "c", "id"])
        .fails("process.user.additionalGids: [5]: cannot be had");
    u.call(&["kill", "--all", "c", "KILL"]).ok();
    wait_until("it has ended", || u.call(&["state", "c"]).ok().contains("\"stopped\""));
    u.call(&["delete", "c"]).ok();
    u.b.assert_nothing_left();
}

#[test]
fn more_ids_come_through_the_helpers() {
    testkit::needs!(NewUidMap);
    let Some(mut u) = user("more_ids_come_through_the_helpers", &SEVERAL) else { return };
    u.b.config["process"]["user"] = json!({ "uid": 1000, "gid": 7, "additionalGids": [8] });
    u.b.script("id; cat /proc/self/setgroups; exec sleep 1000");
    let pid = u.start();
    let uid = SUB.0 + 999;
    assert_eq!(status(pid, "Uid"), format!("{uid} {uid} {uid} {uid}"));
    assert_eq!(status(pid, "Groups"), (SUB.0 + 7).to_string());
    wait_until("it has said all", || u.b.output().contains("allow"));
    assert_eq!(u.b.output(), "uid=1000 gid=7 groups=8\nallow\n");
    let out = u.call(&["exec", "-u", "5:6", "-g", "9", "c", "id"]).ok();
    assert!(out.starts_with("uid=5 gid=6 groups=6,"), "{out}");
    u.call(&["exec", "-u", "70000", "c", "id"]).fails("process.user.uid: `70000`: is not mapped");
    u.call(&["delete", "--force", "c"]).ok();
    // Somebody else's ids.
    u.b.config["process"]["user"] = json!({ "uid": 0, "gid": 0 });
    u.b.config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 0, "size": 2 }]);
    u.refused("linux.uidMappings: newuidmap");
    u.b.config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": UID, "size": 1 }]);
    u.b.config["linux"]["gidMappings"] =
        json!([{ "containerID": 0, "hostID": SUB.0 + SUB.1, "size": 1 }]);
    u.refused("are these ids the user's in /etc/subgid?");
}

#[test]
fn a_container_that_waits_can_be_looked_at() {
    testkit::needs!(NewUidMap);
    let maps = [(0, SUB.0, 1000), (1000, UID, 1)];
    let Some(mut u) = user("a_container_that_waits_can_be_looked_at", &maps) else { return };
    u.b.config["process"]["user"] = json!({ "uid": 5, "gid": 5 });
    u.b.config["linux"]["devices"] =
        json!([{ "type": "c", "path": "/dev/ptmx", "major": 5, "minor": 2 }]);
    u.b.args(&["sleep", "1000"]);
    u.create();
    assert_eq!(u.call(&["exec", "c", "readlink", "/dev/ptmx"]).ok(), "pts/ptmx\n");
    u.call(&["start", "c"]).ok();
    assert!(u.call(&["exec", "c", "id"]).ok().starts_with("uid=5 gid=5"));
}

#[test]
fn somebody_elses_cgroup_is_left_alone() {
    let Some(mut u) = user("somebody_elses_cgroup_is_left_alone", &SINGLE) else { return };
    let hierarchy = cgroup::Hierarchy::detect().unwrap();
    cgroup::Cgroup::create(&hierarchy, &format!("{}/c", u.b.cgroup)).unwrap();
    let dirs = u.b.cgroups();
    assert!(!dirs.is_empty());
    u.b.config["linux"]["cgroupsPath"] = json!(format!("{}/c", u.b.cgroup));
    u.b.write();
    u.call(&["create", "c"]).fails("unable to apply cgroup configuration");
    assert_eq!(u.b.cgroups(), dirs);
    cgroup::Cgroup::open(&hierarchy, &format!("{}/c", u.b.cgroup)).unwrap().remove().unwrap();
}

#[test]
fn root_may_be_a_subordinate_id() {
    testkit::needs!(NewUidMap);
    let maps = [(0, SUB.0, 1000), (1000, UID, 1)];
    let Some(mut u) = user("root_may_be_a_subordinate_id", &maps) else { return };
    // The user's own files stay the user's own, and root in there has its way with them.
    for set in ["bounding", "effective", "permitted"] {
        let set = u.b.config["process"]["capabilities"][set].as_array_mut().unwrap();
        set.push(json!("CAP_DAC_OVERRIDE"));
    }
    u.b.config["process"]["oomScoreAdj"] = json!(500);
    u.b.script(
        "stat -c %u /bin; cat /proc/self/oom_score_adj; touch /etc/new && stat -c %u /etc/new",
    );
    assert_eq!(u.run().ok(), "1000\n500\n0\n");
}

#[test]
fn delegated_cgroups_are_used() {
    let Some(mut u) = user("delegated_cgroups_are_used", &SINGLE) else { return };
    testkit::needs!(PidsCgroup);
    u.delegate();
    u.b.config["linux"]["resources"] = json!({ "pids": { "limit": 20 } });
    u.b.args(&["sleep", "1000"]);
    let pid = u.start();
    let read = |file: &str| {
        let dirs = u.b.cgroups();
        dirs.iter().find_map(|dir| std::fs::read_to_string(dir.join(file)).ok()).unwrap_or_default()
    };
    assert_eq!(read("pids.max"), "20\n");
    assert!(!u.b.cgroups().is_empty());
    for dir in u.b.cgroups() {
        let procs = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap();
        assert_eq!(procs, format!("{pid}\n"), "{dir:?}");
    }
    assert!(u.call(&["ps", "c"]).ok().contains("sleep 1000"));
    assert_eq!(u.call(&["ps", "-f", "json", "c"]).ok(), format!("[{pid}]\n"));
    u.call(&["update", "--pids-limit", "30", "c"]).ok();
    assert_eq!(read("pids.max"), "30\n");
    u.call(&["pause", "c"]).ok();
    assert!(u.call(&["state", "c"]).ok().contains("\"paused\""));
    u.call(&["exec", "c", "true"]).fails("cannot exec in a paused container");
    u.call(&["resume", "c"]).ok();
    u.call(&["exec", "c", "true"]).ok();
    let events: Value = serde_json::from_str(&u.call(&["events", "--stats", "c"]).ok()).unwrap();
    assert_eq!(events["data"]["pids"]["limit"], 30);
    u.call(&["kill", "--all", "c", "KILL"]).ok();
    wait_until("it has ended", || u.call(&["state", "c"]).ok().contains("\"stopped\""));
    u.call(&["delete", "c"]).ok();
    u.b.assert_nothing_left();
}

#[test]
fn without_cgroups_what_was_not_asked_for_is_not_missed() {
    let name = "without_cgroups_what_was_not_asked_for_is_not_missed";
    let Some(mut u) = user(name, &SINGLE) else { return };
    u.b.args(&["echo", "fine"]);
    assert_eq!(u.run().ok(), "fine\n");
    // A rule for devices is no limit: nobody may make one in a user namespace.
    u.b.config["linux"]["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    assert_eq!(u.run().ok(), "fine\n");
    u.b.config["linux"]["resources"]["pids"] = json!({ "limit": 20 });
    u.refused("rootless needs no limits + no cgrouppath when no permission is granted for cgroups");
    u.b.config["linux"].as_object_mut().unwrap().remove("resources");
    u.b.config["linux"]["cgroupsPath"] = json!(format!("{}/c", u.b.cgroup));
    u.refused("unable to apply cgroup configuration: mkdir");
    u.b.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    u.options = vec!["--rootless=false".into()];
    u.refused("unable to apply cgroup configuration: mkdir");
    u.options = vec!["--rootless=true".into()];
    assert_eq!(u.run().ok(), "fine\n");
    u.options = vec!["--rootless=maybe".into()];
    u.refused("--rootless: \"maybe\" is not true, false or auto");
}

#[test]
fn what_an_ordinary_user_cannot_have_is_refused_by_name() {
    let name = "what_an_ordinary_user_cannot_have_is_refused_by_name";
    let Some(mut u) = user(name, &SINGLE) else { return };
    let good = u.b.config.clone();
    let refused = |u: &mut User, change: &dyn Fn(&mut Value), why: &str| {
        u.b.config = good.clone();
        change(&mut u.b.config);
        u.refused(why);
    };
    refused(
        &mut u,
        &|c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "user");
            c["linux"].as_object_mut().unwrap().remove("uidMappings");
            c["linux"].as_object_mut().unwrap().remove("gidMappings");
        },
        "a rootless container requires user namespaces",
    );
    refused(
        &mut u,
        &|c| c["mounts"][2]["options"].as_array_mut().unwrap().push(json!("gid=5")),
        "mounts[2].options: `gid=5` names an id that is not mapped",
    );
    refused(
        &mut u,
        &|c| c["process"]["user"] = json!({ "uid": 1, "gid": 0 }),
        "process.user.uid: `1` is not mapped in the container's user namespace",
    );
    refused(
        &mut u,
        &|c| c["process"]["user"]["additionalGids"] = json!([9]),
        "process.user.additionalGids[0]: `9` is not mapped",
    );
    refused(
        &mut u,
        &|c| {
            let maps = c["linux"]["uidMappings"].clone();
            c["mounts"].as_array_mut().unwrap().push(json!({ "destination": "/x", "source": "/",
                "options": ["bind", "idmap"], "uidMappings": maps, "gidMappings": maps }));
        },
        "mounts[4].options ask for an id-mapped mount, which is not supported for rootless",
    );
    // The host's PID and IPC namespaces are not its own.
    for (kind, mount, hint) in [
        ("pid", json!({ "destination": "/proc", "type": "proc" }), "PID"),
        ("ipc", json!({ "destination": "/mq", "type": "mqueue" }), "IPC"),
    ] {
        refused(
            &mut u,
            &|c| {
                c["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != kind);
                c["mounts"].as_array_mut().unwrap().push(mount.clone());
            },
            &format!("the {hint} namespace belongs to another user namespace"),
        );
    }
}

#[test]
fn runcs_template_runs() {
    let Some(u) = user("runcs_template_runs", &SINGLE) else { return };
    u.sh("./dhow-runtime spec --rootless").ok();
    let text = std::fs::read_to_string(u.b.dir.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let linux = config["linux"].as_object().unwrap();
    assert!(!linux.contains_key("resources"), "{linux:?}");
    assert_eq!(linux["uidMappings"], json!([{ "containerID": 0, "hostID": UID, "size": 1 }]));
    assert!(!text.contains("gid=5") && !text.contains("network"), "{text}");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", "id; ls /sys/class/net; echo x > /sys/x"]);
    std::fs::write(u.b.dir.join("config.json"), config.to_string()).unwrap();
    // Its directory is XDG_RUNTIME_DIR, marked so that nobody cleans it up.
    u.sh("mkdir xdg").ok();
    let out = u.sh("./dhow-runtime run c; stat -c %a xdg/dhow-runtime");
    assert!(
        out.out.starts_with("uid=0 gid=0\n") || out.out.starts_with("uid=0(root) gid=0"),
        "{} {}",
        out.out,
        out.err
    );
    assert!(out.out.contains("lo\n") && out.out.ends_with("1700\n"), "{}", out.out);
    assert!(out.err.contains("Read-only file system"), "{}", out.err);
}

#[test]
fn with_the_hosts_network_nothing_of_its_sys_can_be_written() {
    let name = "with_the_hosts_network_nothing_of_its_sys_can_be_written";
    let Some(mut u) = user(name, &SINGLE) else { return };
    u.delegate();
    let dir = u.b.cgroup.clone();
    let namespaces = u.b.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|ns| ns["type"] != "network" && ns["type"] != "cgroup");
    for sys in [
        json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"] }),
        json!({ "destination": "/sys", "type": "none", "source": "/sys",
            "options": ["rbind", "nosuid", "noexec", "nodev", "rro"] }),
    ] {
        u.b.config["mounts"][3] = sys;
        // Its own files are there, since its user owns them; through a read-only mount.
        u.b.script(&format!(
            "n=0; for f in $(find /sys/fs/cgroup -name cgroup.procs); do \
             n=$((n+1)); (echo 0 > $f) 2>/dev/null && echo written $f; done; \
             find /sys/fs/cgroup -path '*{dir}/cgroup.procs' | wc -l; test $n -gt 0"
        ));
        let out = u.run().ok();
        assert!(!out.contains("written"), "{out}");
        assert_ne!(out, "0\n");
    }
}

#[test]
fn locked_mount_flags_stay() {
    let Some(mut u) = user("locked_mount_flags_stay", &SINGLE) else { return };
    let source = u.b.dir.join("flags");
    std::fs::create_dir(&source).unwrap();
    let begin = format!(
        "mount -t tmpfs -o nosuid,nodev,noexec,noatime tmpfs {} && exec \"$@\"",
        source.display()
    );
    let run = |u: &User| {
        u.b.write();
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", &begin, "sh"]);
        let inner = u.command(&["run", "c"]);
        command.arg(inner.get_program()).args(inner.get_args()).current_dir(&u.b.dir);
        crate::bundle::Ran::of(&command.output().unwrap())
    };
    u.b.mount(json!({ "destination": "/f", "source": "flags", "options": ["bind", "ro"] }));
    u.b.script("grep ' /f ' /proc/self/mounts");
    let out = run(&u).ok();
    let options = out.split(' ').nth(3).unwrap_or_default();
    for flag in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
        assert!(options.split(',').any(|option| option == flag), "{flag}: {out}");
    }
    let last = u.b.config["mounts"].as_array().unwrap().len() - 1;
    for option in ["exec", "dev", "suid", "strictatime", "relatime"] {
        u.b.config["mounts"][last]["options"] = json!(["bind", option]);
        run(&u).fails("is locked by the user namespace that mounted");
    }
    u.b.config["mounts"][last]["options"] = json!(["bind", "noatime", "noexec"]);
    run(&u).ok();
}

#[test]
fn the_oom_score_and_the_clocks_are_the_users_to_change() {
    let name = "the_oom_score_and_the_clocks_are_the_users_to_change";
    let Some(mut u) = user(name, &SINGLE) else { return };
    u.b.namespace("time", None);
    u.b.config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 8_640_000 } });
    u.b.config["process"]["oomScoreAdj"] = json!(321);
    u.b.script("cat /proc/self/oom_score_adj /proc/uptime; exec sleep 1000");
    u.start();
    wait_until("it has said all", || u.b.output().lines().count() == 2);
    let out = u.b.output();
    assert!(out.starts_with("321\n8"), "{out}");
    assert_eq!(u.call(&["exec", "c", "cat", "/proc/self/oom_score_adj"]).ok(), "321\n");
    u.call(&["delete", "--force", "c"]).ok();
    u.b.config["process"]["oomScoreAdj"] = json!(-500);
    u.b.args(&["true"]);
    let ran = u.run();
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.err.contains("process.oomScoreAdj: -500 is lower than"), "{}", ran.err);
}

#[test]
fn a_tmpfs_begins_with_what_it_covers_also_of_other_owners() {
    let name = "a_tmpfs_begins_with_what_it_covers_also_of_other_owners";
    let Some(mut u) = user(name, &SINGLE) else { return };
    let dir = u.b.rootfs().join("data");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("f"), "kept\n").unwrap();
    u.b.mount(json!({ "destination": "/data", "type": "tmpfs", "options": ["tmpcopyup"] }));
    u.b.script("cat /data/f; stat -c %u /data/f; echo new > /data/f && cat /data/f");
    assert_eq!(u.run().ok(), "kept\n0\nnew\n");
    assert_eq!(std::fs::read_to_string(dir.join("f")).unwrap(), "kept\n");
}

#[test]
fn root_in_a_user_namespace_makes_containers() {
    let name = "root_in_a_user_namespace_makes_containers";
    let Some(mut u) = user(name, &SINGLE) else { return };
    let run = "exec unshare -U -r -m ./dhow-runtime --root state run c";
    u.b.script("id; cat /proc/self/uid_map; echo x > /dev/null");
    // Its own: the ids are those of the namespace around it.
    for field in ["uidMappings", "gidMappings"] {
        u.b.config["linux"][field] = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    }
    u.b.write();
    let out = u.sh(run).ok();
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words[0], "uid=0(root)", "{out}");
    assert_eq!(words[words.len() - 3..].join(" "), "0 0 1", "{out}");
    // None of its own: devices are bound all the same.
    u.b.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "user");
    for field in ["uidMappings", "gidMappings"] {
        u.b.config["linux"].as_object_mut().unwrap().remove(field);
    }
    u.b.write();
    let out = u.sh(run).ok();
    assert!(out.contains(&format!("{UID}")), "{out}");
    // More than there is.
    u.b.namespace("user", None);
    for field in ["uidMappings", "gidMappings"] {
        u.b.config["linux"][field] = json!([{ "containerID": 0, "hostID": 0, "size": 2 }]);
    }
    u.b.write();
    u.sh(run).fails("linux.uidMappings: these ids are not all mapped in this process's own");
}
