//! Limits that hold.

use std::fs;

use crate::{busybox, inspect, pid};
use testkit::needs;

/// The first of these files of the init's cgroup that is there, for a controller.
fn limit(sandbox: &testkit::Sandbox, name: &str, controller: &str, files: &[&str]) -> String {
    let pid = pid(sandbox, name);
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |wanted: &str| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            controllers.split(',').any(|one| one == wanted).then(|| path.to_owned())
        })
    };
    let engine = sandbox.engine_name();
    let own = path(controller).or_else(|| path("")).unwrap();
    assert!(own.starts_with(&format!("/{engine}/")), "{groups}");
    let places = [
        format!("/sys/fs/cgroup/{controller}{}", path(controller).unwrap_or_default()),
        format!("/sys/fs/cgroup{}", path("").unwrap_or_default()),
    ];
    let found =
        places.iter().flat_map(|place| files.iter().map(move |file| format!("{place}/{file}")));
    let text = found.into_iter().find_map(|file| fs::read_to_string(file).ok());
    text.expect("a file of the cgroup").trim().to_owned()
}

#[test]
fn they_are_in_the_containers_cgroup() {
    needs!(Root, Overlay, Netns, Busybox, MemoryCgroup, CpuCgroup, PidsCgroup);
    let sandbox = busybox("limits");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--memory=512m",
        "--cpus=2",
        "--pids-limit",
        "100",
        "busybox",
        "sleep",
        "600",
    ]);
    assert_eq!(
        limit(&sandbox, "box", "memory", &["memory.max", "memory.limit_in_bytes"]),
        "536870912"
    );
    let cpu = limit(&sandbox, "box", "cpu", &["cpu.max", "cpu.cfs_quota_us"]);
    assert!(cpu == "200000 100000" || cpu == "200000", "{cpu}");
    assert_eq!(limit(&sandbox, "box", "pids", &["pids.max"]), "100");
    sandbox.ok(&["rm", "-f", "box"]);
    sandbox.finish();
}

#[test]
fn who_exceeds_the_memory_is_killed() {
    needs!(Root, Overlay, Netns, Busybox, MemoryCgroup);
    let sandbox = busybox("limits-oom");
    // A shell variable that doubles until the kernel has had enough.
    let script = "x=0123456789abcdef; while :; do x=$x$x; done";
    let output = sandbox
        .dhow(&["run", "--name", "greedy", "--memory", "32m", "busybox", "sh", "-c", script]);
    assert_eq!(output.code, 137, "{output:?}");
    let state = inspect(&sandbox, "greedy");
    assert_eq!(state["State"]["OOMKilled"], true);
    assert_eq!(state["State"]["ExitCode"], 137);
    sandbox.ok(&["rm", "greedy"]);
    sandbox.finish();
}

#[test]
fn a_fork_bomb_stops_at_its_limit() {
    needs!(Root, Overlay, Netns, Busybox, PidsCgroup);
    let sandbox = busybox("limits-bomb");
    // Its init makes one process and becomes a program: one that had to make more would end when
    // the bomb leaves it no room.
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "bomb",
        "--pids-limit",
        "20",
        "busybox",
        "sh",
        "-c",
        "(f() { f | f & }; f) & exec sleep 600",
    ]);
    let mut most = 0;
    for _ in 0..20 {
        let now = limit(&sandbox, "bomb", "pids", &["pids.current"]).parse::<u32>().unwrap();
        most = most.max(now);
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(most <= 20, "{most}");
    sandbox.ok(&["rm", "-f", "bomb"]);
    sandbox.finish();
}

#[test]
fn what_is_used_is_shown() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("stats");
    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "busy",
        "-m",
        "64m",
        "busybox",
        "sh",
        "-c",
        "while :; do :; done",
    ]);
    sandbox.ok(&["create", "--name", "never", "busybox", "true"]);
    let row = "{{.Name}} {{.MemUsage}} {{.PIDs}} {{.CPUPerc}}";
    let busy = sandbox.ok(&["stats", "--no-stream", "--format", row]);
    let cells: Vec<&str> = busy.split(' ').collect();
    let [name, _used, "/", limit, pids, cpu] = cells[..] else { panic!("{busy}") };
    assert_eq!((name, limit, pids), ("busy", "64MiB", "1"));
    let cpu: f64 = cpu.trim_end_matches('%').parse().unwrap();
    assert!(cpu > 0.0, "{busy}");
    let all = sandbox.ok(&["stats", "--no-stream", "--all"]);
    assert!(all.starts_with("CONTAINER ID   NAME "), "{all}");
    assert_eq!(all.lines().count(), 3, "{all}");
    let missing = sandbox.dhow(&["stats", "--no-stream", "nobody"]);
    assert_eq!((missing.code, missing.stderr.contains("No such container: nobody")), (1, true));
    sandbox.ok(&["rm", "-f", "busy", "never"]);
    sandbox.finish();
}
