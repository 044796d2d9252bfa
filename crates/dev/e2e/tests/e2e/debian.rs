//! A real image, made from Debian's packages: nginx, Python, Node.

use std::path::PathBuf;
use std::process::Command;

use crate::{inspect, pid};
use testkit::{Sandbox, needs, wait_until};

/// The archive, made once for all runs: `DHOW_DEBIAN_TAR`, else in the target directory.
pub(crate) fn archive() -> PathBuf {
    if let Some(path) = std::env::var_os("DHOW_DEBIAN_TAR") {
        return PathBuf::from(path);
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("debian-base.tar");
    // Several tests want it at once, each in a process of its own; one makes it.
    let lock = std::fs::File::create(path.with_extension("lock")).expect("a file to lock");
    lock.lock().expect("wait for who makes it");
    if !path.exists() {
        let made = path.with_extension("new.tar");
        let mirror =
            std::fs::read_to_string("/etc/apt/sources.list.d/debian.sources").unwrap_or_default();
        let mirror = mirror.lines().find_map(|line| line.strip_prefix("URIs:")).map(str::trim);
        let status = Command::new("mmdebstrap")
            .args(["--quiet", "--aptopt=Acquire::Check-Valid-Until \"false\"", "--variant=minbase"])
            .args(["--include=nginx-light,python3,python3-psutil,nodejs,procps", "bookworm"])
            .arg(&made)
            .args(mirror)
            .status()
            .expect("mmdebstrap");
        assert!(status.success(), "mmdebstrap: {status}");
        std::fs::rename(made, &path).expect("keep the archive");
    }
    path
}

#[test]
fn nginx_python_node() {
    needs!(Root, Overlay, Netns, Mmdebstrap, Curl, MemoryCgroup, CpuCgroup, PidsCgroup);
    let archive = archive();
    let sandbox = Sandbox::new("debian");
    sandbox.ok(&["import", archive.to_str().unwrap(), "debian:base"]);
    sandbox.ok(&["run", "--rm", "debian:base", "true"]);
    sandbox.baseline();

    sandbox.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-p",
        "8080:80",
        "--memory=512m",
        "--cpus=2",
        "--pids-limit",
        "100",
        "debian:base",
        "nginx",
        "-g",
        "daemon off;",
    ]);
    let info = inspect(&sandbox, "web");
    let address =
        info["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap().to_owned();
    for url in [format!("http://{address}/"), "http://localhost:8080/".to_owned()] {
        wait_until(&format!("{url} answers"), || {
            sandbox.sh(&format!("curl -s -m 2 {url}")).stdout.contains("Welcome to nginx")
        });
    }
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", pid(&sandbox, "web"))).unwrap();
    assert!(
        groups.contains(&format!("/{}/{}", sandbox.engine_name(), info["Id"].as_str().unwrap())),
        "{groups}"
    );
    let top = sandbox.ok(&["top", "web"]);
    assert!(
        top.contains("nginx: master process") && top.contains("nginx: worker process"),
        "{top}"
    );
    let inside = sandbox.ok(&["exec", "web", "ps", "-eo", "pid,comm", "--no-headers"]);
    let lines: Vec<Vec<&str>> =
        inside.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["1", "nginx"], "{inside}");
    assert!(lines.iter().all(|line| matches!(line[1], "nginx" | "ps")), "{inside}");
    sandbox.ok(&["stop", "web"]);
    assert_eq!(sandbox.ok(&["wait", "web"]), "0");
    sandbox.ok(&["rm", "web"]);

    let script = "import os, psutil; print(sorted(os.listdir('.'))[:2], psutil.pids(), psutil.Process(1).name())";
    let seen = sandbox.ok(&["run", "--rm", "debian:base", "python3", "-c", script]);
    assert_eq!(seen, "['.dockerenv', 'bin'] [1] python3");
    let script = "console.log(process.pid, require('os').hostname().length)";
    assert_eq!(sandbox.ok(&["run", "--rm", "debian:base", "node", "-e", script]), "1 12");

    let script = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    let greedy = sandbox.dhow(&[
        "run",
        "--name",
        "greedy",
        "--memory",
        "64m",
        "debian:base",
        "python3",
        "-c",
        script,
    ]);
    assert_eq!(greedy.code, 137, "{greedy:?}");
    assert_eq!(inspect(&sandbox, "greedy")["State"]["OOMKilled"], true);
    sandbox.ok(&["rm", "greedy"]);
    sandbox.finish();
}
