//! Many at once, and machines that are in a bad way: nothing is lost, nothing is there twice, and
//! nothing is left.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::{Sandbox, needs};

use crate::docker_client::Daemon;
use crate::{busybox, inspect};

/// How many containers run while their daemon dies.
const RUNNING: usize = 200;

/// Starts a command that is one of many.
fn spawn(sandbox: &Sandbox, args: &[&str]) -> Child {
    let mut command = sandbox.dhow_command(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The pid and the time of the start of everyone, by name.
fn lives(sandbox: &Sandbox) -> BTreeMap<String, (String, String)> {
    let ids = sandbox.ok(&["ps", "-q"]);
    let format = "{{.Name}} {{.State.Pid}} {{.State.StartedAt}}";
    let args: Vec<&str> = ["inspect", "-f", format].into_iter().chain(ids.lines()).collect();
    let lines = sandbox.ok(&args);
    let life = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        (words.next().unwrap(), (words.next().unwrap(), words.next().unwrap()))
    };
    lines.lines().map(life).collect()
}

#[test]
fn two_hundred_do_not_notice_that_their_daemon_is_killed_and_replaced() {
    needs!(Root, Overlay, Netns, Busybox, Docker);
    let sandbox = busybox("storm-daemon");
    let mut daemon = Daemon::start(&sandbox);
    let script =
        "n=0; trap 'echo ended; exit 9' TERM; while :; do echo $((n = n + 1)); sleep 0.2; done";
    let names: Vec<String> = (0..RUNNING).map(|index| format!("c{index}")).collect();
    for names in names.chunks(8) {
        let started: Vec<Child> = names
            .iter()
            .map(|name| {
                let run = [
                    "run",
                    "-d",
                    "--name",
                    name,
                    "--network",
                    "none",
                    "busybox",
                    "sh",
                    "-c",
                    script,
                ];
                spawn(&sandbox, &run)
            })
            .collect();
        for child in started {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    let before = lives(&sandbox);
    assert_eq!(before.len(), RUNNING);
    let mut follower = daemon.docker_command(&["logs", "-f", "c0"]);
    let follower = follower.stdout(Stdio::piped()).spawn().unwrap();
    daemon.kill();
    drop(daemon);
    // The client sees its connection end; the container does not.
    follower.wait_with_output().unwrap();
    assert_eq!(lives(&sandbox), before);
    let daemon = Daemon::start(&sandbox);
    assert_eq!(daemon.ok(&["ps", "-q"]).lines().count(), RUNNING);
    for name in ["c0", "c99", "c199"] {
        assert_eq!(daemon.ok(&["exec", name, "echo", "alive"]), "alive");
        let lines = |text: String| text.lines().count();
        let logged = lines(daemon.ok(&["logs", name]));
        testkit::wait_until("it goes on writing", || lines(daemon.ok(&["logs", name])) > logged);
        daemon.ok(&["stop", name]);
        assert_eq!(inspect(&sandbox, name)["State"]["ExitCode"], 9);
        // Every line is there, in order: none was lost while nobody served the API.
        let log = daemon.ok(&["logs", name]);
        let (last, numbers) =
            log.lines().collect::<Vec<_>>().split_last().map(|(l, n)| (*l, n.to_vec())).unwrap();
        assert_eq!(last, "ended");
        let in_order = numbers.iter().enumerate().all(|(at, line)| *line == (at + 1).to_string());
        assert!(in_order, "{name}: {log}");
    }
    assert_eq!(lives(&sandbox).len(), RUNNING - 3);
    drop(daemon);
    let args: Vec<&str> =
        ["rm", "-f"].into_iter().chain(names.iter().map(String::as_str)).collect();
    sandbox.ok(&args);
    sandbox.finish();
}

#[test]
fn a_hundred_that_are_removed_at_their_end_at_once() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("storm-hundred");
    let runs: Vec<Child> = (0..100)
        .map(|index| {
            let script = format!("echo {index}; exit {}", index % 7);
            spawn(&sandbox, &["run", "--rm", "busybox", "sh", "-c", &script])
        })
        .collect();
    for (index, run) in runs.into_iter().enumerate() {
        let output = run.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(index as i32 % 7), "{index}: {said}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{index}\n"), "{said}");
    }
    testkit::wait_until("all are removed", || sandbox.ok(&["ps", "-aq"]).is_empty());
    sandbox.finish();
}

#[test]
fn who_ends_well_while_it_is_looked_at_is_not_taken_for_dead() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("storm-look");
    let with = |points: &str, args: &[&str]| {
        let mut command = sandbox.dhow_command(args);
        command.env("DHOW_FAILPOINTS", points).stdin(Stdio::null()).stdout(Stdio::null());
        command.spawn().unwrap()
    };
    let at_the_end = "engine.create-end=delay:1500";
    let mut making = with(at_the_end, &["create", "--name", "kept", "busybox", "true"]);
    while sandbox.ok(&["ps", "-aq"]).is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    // It sees that the container is being made, and comes to its maker when that one has gone.
    let mut looking = with("engine.recover=delay:3000", &["ps"]);
    assert!(making.wait().unwrap().success());
    assert!(looking.wait().unwrap().success());
    sandbox.ok(&["rm", "kept"]);
    sandbox.finish();
}

#[test]
fn a_name_belongs_to_one_of_many_who_want_it() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("storm-name");
    sandbox.ok(&["volume", "create", "data"]);
    sandbox.ok(&["volume", "rm", "data"]);
    sandbox.baseline();
    for round in 0..5 {
        let wanting: Vec<Child> = (0..8)
            .map(|_| {
                spawn(&sandbox, &["create", "--name", "one", "-v", "data:/data", "busybox", "true"])
            })
            .collect();
        let mut got = Vec::new();
        for child in wanting {
            let output = child.wait_with_output().unwrap();
            if output.status.success() {
                got.push(String::from_utf8(output.stdout).unwrap());
            } else {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(said.contains("is already in use by container"), "{round}: {said}");
            }
        }
        let [id] = &got[..] else { panic!("{round}: {got:?}") };
        assert_eq!(sandbox.ok(&["ps", "-aq", "--no-trunc"]), id.trim());
        // Of those who remove it, one does, and the others say that it has gone, or is going.
        let removing: Vec<Child> = (0..4).map(|_| spawn(&sandbox, &["rm", "-f", "one"])).collect();
        let ended = removing.into_iter().map(|child| child.wait_with_output().unwrap());
        assert!(ended.filter(|output| output.status.success()).count() >= 1, "{round}");
        assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    }
    sandbox.ok(&["volume", "rm", "data"]);
    sandbox.finish();
}

/// Mounts a small file system where the engine keeps what lasts.
fn small_root(sandbox: &Sandbox) {
    let mount = format!("mount -t tmpfs -o size=24m tmpfs {}", sandbox.root().display());
    assert_eq!(sandbox.sh(&mount).code, 0);
    sandbox.import("busybox");
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.baseline();
}

#[test]
fn on_a_full_disk_a_container_ends_as_it_ends_and_can_be_removed() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = Sandbox::new("storm-full");
    small_root(&sandbox);
    let go = sandbox.work().join("go");
    let wait = format!("while ! [ -e {} ]; do sleep 0.05; done; echo bye; exit 7", "/go/go");
    std::fs::create_dir(&go).unwrap();
    let volume = format!("{}:/go", go.display());
    sandbox.ok(&["run", "-d", "--name", "ends", "-v", &volume, "busybox", "sh", "-c", &wait]);
    sandbox.ok(&["run", "-d", "--name", "stays", "busybox", "sleep", "600"]);
    let fill = format!("head -c 100000000 /dev/zero >{}/fill", sandbox.root().display());
    sandbox.sh(&fill);
    let failed = sandbox.dhow(&["run", "--name", "new", "busybox", "true"]);
    assert!(failed.code == 125 && failed.stderr.contains("is full"), "{failed:?}");
    std::fs::write(go.join("go"), "").unwrap();
    assert_eq!(sandbox.ok(&["wait", "ends"]), "7");
    let state = &inspect(&sandbox, "ends")["State"];
    assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &7.into()), "{state}");
    sandbox.sh(&fill);
    assert_eq!(sandbox.ok(&["exec", "stays", "echo", "works"]), "works");
    sandbox.ok(&["stop", "-t", "0", "stays"]);
    assert_eq!(inspect(&sandbox, "stays")["State"]["ExitCode"], 137);
    sandbox.ok(&["rm", "ends", "stays"]);
    sandbox.sh(&format!("rm {}/fill", sandbox.root().display()));
    sandbox.ok(&["system", "check"]);
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.finish();
}

#[test]
fn with_a_state_directory_that_cannot_be_written_it_is_said_and_nothing_is_lost() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("storm-read-only");
    sandbox.ok(&["run", "-d", "--name", "lives", "busybox", "sh", "-c", "sleep 600"]);
    let state = sandbox.state().display().to_string();
    let remount = |how: &str| {
        let script = format!("mount -o remount,bind,{how} {state}");
        assert_eq!(sandbox.sh(&script).code, 0);
    };
    assert_eq!(sandbox.sh(&format!("mount --bind {state} {state}")).code, 0);
    remount("ro");
    let failed = sandbox.dhow(&["run", "--rm", "busybox", "true"]);
    assert!(failed.code == 125 && failed.stderr.contains("Read-only file system"), "{failed:?}");
    assert!(failed.stderr.contains(&state), "it names the path: {}", failed.stderr);
    assert_eq!(sandbox.ok(&["ps", "--format", "{{.Names}}"]), "lives");
    remount("rw");
    assert_eq!(sandbox.ok(&["exec", "lives", "echo", "works"]), "works");
    sandbox.ok(&["run", "--rm", "busybox", "true"]);
    sandbox.ok(&["rm", "-f", "lives"]);
    assert_eq!(sandbox.ok(&["ps", "-aq"]), "");
    assert_eq!(sandbox.sh(&format!("umount {state}")).code, 0);
    sandbox.finish();
}
