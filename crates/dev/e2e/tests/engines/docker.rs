//! `docker run --runtime dhow`, and `dhow` as the runtime that Docker takes when none is named.

use crate::machine::{Machine, TTY};

const CONFIG: &str = r#"{
  "runtimes": {"dhow": {"path": "/usr/local/bin/dhow-runtime"}},
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "experimental": true
}"#;

/// A machine with Docker and the image `busybox`, and `dhow` as the default or only by name.
fn docker(name: &str, by_default: bool) -> Option<Machine> {
    let machine = Machine::new(&format!("docker-{name}"))?;
    machine.ok(&format!("mkdir -p /etc/docker; echo '{CONFIG}' >/etc/docker/daemon.json"));
    let default = if by_default { "--default-runtime dhow" } else { "" };
    machine.daemon("dockerd", &format!("dockerd {default}"), "docker info");
    machine.ok("docker import /image/busybox.tar busybox");
    Some(machine)
}

#[test]
fn what_docker_runs_ends_as_it_should() {
    let Some(m) = docker("run", false) else { return };
    assert!(
        m.ok("docker info -f '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}'").contains("dhow")
    );
    let run = "docker run --rm --runtime dhow";
    assert_eq!(m.ok(&format!("{run} busybox echo hi")), "hi");
    assert_eq!(m.run(&format!("{run} busybox sh -c 'echo out; echo err >&2; exit 42'")).code, 42);
    let missing = m.run(&format!("{run} busybox no-such-program"));
    assert_eq!(missing.code, 127, "{}", missing.stderr);
    assert!(missing.stderr.contains("executable file not found in $PATH"), "{}", missing.stderr);
    assert_eq!(m.run(&format!("{run} busybox /etc")).code, 126);
    assert_eq!(m.run(&format!("{run} busybox /etc/passwd")).code, 126);
    assert_eq!(m.ok(&format!("echo through | {run} -i busybox cat")), "through");
    m.shows(&format!("{run} -it busybox {TTY}"), "/dev/pts/0");
    assert_eq!(m.ok(&format!("{run} --init busybox cat /proc/1/comm")), "docker-init");
    assert_eq!(m.ok(&format!("{run} -w /made -e A=b busybox sh -c 'pwd; echo $A'")), "/made\nb");
    m.ok("docker create --runtime dhow --name box busybox echo created");
    assert_eq!(m.ok("docker start -a box"), "created");
    m.ok("docker rm box");
    m.finish();
}

#[test]
fn a_container_of_docker_lives_as_long_as_it_should() {
    let Some(m) = docker("life", true) else { return };
    let script = r#"trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done"#;
    let limits = "--memory 64m --cpus 0.5 --pids-limit 50 --cpu-shares 512";
    m.ok(&format!("docker run -d --name box {limits} busybox sh -c '{script}'"));
    m.ok("until docker logs box | grep -q up; do sleep 0.05; done");
    let inside = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us \
                  pids/pids.max cpu/cpu.shares 2>/dev/null || cat memory.max cpu.max pids.max";
    let read = format!("docker exec box sh -c '{inside}'");
    let limits = m.ok(&read);
    assert!(
        limits.contains("67108864") && limits.contains("50000") && limits.contains("\n50"),
        "{limits}"
    );
    m.ok("docker update --memory 128m --memory-swap 256m --cpus 1 --pids-limit 60 box");
    let limits = m.ok(&read);
    assert!(
        limits.contains("134217728") && limits.contains("100000") && limits.contains("\n60"),
        "{limits}"
    );

    let exec = "docker exec -u nobody -e X=1 -w /tmp box sh -c 'id -u; pwd; echo $X'";
    assert_eq!(m.ok(exec), "65534\n/tmp\n1");
    assert_eq!(m.run("docker exec box sh -c 'exit 7'").code, 7);
    m.shows(&format!("docker exec -it box {TTY}"), "/dev/pts/");
    assert_ne!(m.run("docker exec box no-such-program").code, 0);
    m.ok("docker exec -d box sleep 77");
    m.ok("until docker top box | grep -q 'sleep 77'; do sleep 0.05; done");
    assert!(m.ok("docker stats --no-stream box").contains("128MiB"));

    m.ok("docker pause box");
    assert_eq!(m.ok("docker inspect -f '{{.State.Status}}' box"), "paused");
    m.ok("docker unpause box");
    m.ok("docker stop box");
    assert_eq!(m.ok("docker inspect -f '{{.State.ExitCode}}' box"), "3");
    assert!(m.ok("docker logs box").ends_with("bye"));
    // It takes no notice before it has set its trap.
    m.ok("docker start box; until docker inspect -f '{{.State.Status}}' box | grep -q exited; do \
          docker kill -s TERM box; sleep 0.05; done");
    assert_eq!(m.ok("docker wait box"), "3");
    m.ok("docker start box; docker restart -t 0 box; docker rm -f box");
    m.run("docker run --name oom --memory 16m busybox tail /dev/zero");
    assert_eq!(m.ok("docker inspect -f '{{.State.OOMKilled}}' oom"), "true");
    m.ok("docker rm oom");
    // With the host's processes beside it only the cgroup tells which are the container's.
    m.ok("docker run -d --name host --pid host busybox sh -c 'sleep 3211 & sleep 3211'");
    m.ok("docker rm -f host");
    assert_eq!(m.run("pgrep -f '[s]leep 3211'").stdout, "");
    m.finish();
}

#[test]
fn docker_locks_a_container_down() {
    let Some(m) = docker("locked", true) else { return };
    let run = "docker run --rm";
    let caps = "grep CapEff /proc/self/status";
    assert_eq!(m.ok(&format!("{run} busybox {caps}")), "CapEff:\t00000000a80425fb");
    assert_eq!(
        m.ok(&format!("{run} --user 1000:1000 --cap-drop ALL busybox sh -c 'id -u; {caps}'")),
        "1000\nCapEff:\t0000000000000000"
    );
    let mount = "mount -t tmpfs t /tmp && echo mounted";
    assert_eq!(m.ok(&format!("{run} --privileged busybox sh -c '{mount}'")), "mounted");
    assert_ne!(m.run(&format!("{run} busybox sh -c '{mount}'")).code, 0);
    let read_only = format!("{run} --read-only --tmpfs /scratch:size=1m -u nobody busybox");
    assert_eq!(m.run(&format!("{read_only} touch /x")).code, 1);
    m.ok(&format!("{read_only} touch /scratch/x"));
    m.ok(r#"echo '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],
            "action":"SCMP_ACT_ERRNO","errnoRet":99}]}' >/tmp/seccomp.json"#);
    let refused =
        m.run(&format!("{run} --security-opt seccomp=/tmp/seccomp.json busybox mkdir /x"));
    assert!(refused.stderr.contains("Cannot assign requested address"), "{}", refused.stderr);
    let status = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status";
    assert_eq!(
        m.ok(&format!("{run} --security-opt no-new-privileges busybox {status}")),
        "NoNewPrivs:\t1\nSeccomp:\t2"
    );
    assert_eq!(
        m.ok(&format!("{run} --ulimit nofile=100:200 --oom-score-adj 500 --sysctl \
              kernel.msgmax=9999 busybox sh -c 'ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj \
              /proc/sys/kernel/msgmax'")),
        "100\n200\n500\n9999"
    );
    m.finish();
}

#[test]
fn docker_gives_a_container_files_and_links() {
    let Some(m) = docker("files", true) else { return };
    let run = "docker run --rm";
    m.ok("mkdir /tmp/v; echo hello >/tmp/v/f");
    assert_eq!(m.ok(&format!("{run} -v /tmp/v:/v:ro busybox cat /v/f")), "hello");
    assert_eq!(m.run(&format!("{run} -v /tmp/v:/v:ro busybox touch /v/g")).code, 1);
    assert_eq!(m.ok(&format!("{run} -v vol:/v busybox sh -c 'touch /v/g; ls /v'")), "g");
    let mismatch = m.run(&format!("{run} -v /tmp/v/f:/etc busybox true"));
    assert!(
        mismatch.stderr.contains("Are you trying to mount a directory onto a file"),
        "{}",
        mismatch.stderr
    );
    assert!(m.ok(&format!("{run} --device /dev/fuse busybox ls -l /dev/fuse")).starts_with('c'));
    let links = format!("{run} --network none busybox ip -o link");
    assert_eq!(m.ok(&links).lines().count(), 1);
    m.ok("docker run -d --name web -p 8080:80 busybox httpd -f -p 80 -h /etc");
    m.ok("until busybox wget -qO- http://127.0.0.1:8080/group; do sleep 0.05; done");
    let address = m.ok("docker inspect -f '{{.NetworkSettings.IPAddress}}' web");
    assert!(m.ok(&format!("{run} busybox wget -qO- http://{address}/group")).contains("root:x:0:"));
    assert!(
        m.ok(&format!("{run} --network container:web busybox wget -qO- http://127.0.0.1/group"))
            .contains("root:x:0:")
    );
    m.ok("docker rm -f web");
    m.finish();
}

#[test]
fn docker_builds_with_it() {
    let Some(m) = docker("build", true) else { return };
    m.ok(r"mkdir /tmp/b; printf 'FROM busybox\nRUN echo built >/f && id -u\nUSER nobody\nWORKDIR /w\nCMD cat /f\n' >/tmp/b/Dockerfile");
    m.ok("DOCKER_BUILDKIT=0 docker build -t built /tmp/b");
    assert_eq!(m.ok("docker run --rm built"), "built");
    assert_eq!(m.ok("docker run --rm built sh -c 'id -u; pwd'"), "65534\n/w");
    m.finish();
}

#[test]
fn docker_saves_and_restores_a_container() {
    let Some(m) = docker("criu", true) else { return };
    if !m.has_criu() {
        return;
    }
    let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";
    m.ok(&format!("docker run -d --name box --memory 64m busybox sh -c '{count}'"));
    let counted = || m.ok("docker logs box | tail -n 1").parse::<u64>().unwrap_or(0);
    m.ok("until docker logs box | grep -q 3; do sleep 0.05; done");
    m.ok("docker checkpoint create box two");
    let saved = counted();
    // Docker uploads what containerd may have kept, and takes that for an error.
    let restored = m.run(
        "for i in $(seq 20); do docker start --checkpoint two box && exit; sleep 0.5; done; exit 1",
    );
    if restored.stderr.contains("/proc/0/ns/net") {
        testkit::skip("Criu", "this Docker looks for the network before it restores anything");
    } else {
        assert_eq!(restored.code, 0, "{}", restored.stderr);
        testkit::wait_until("it counts on", || counted() > saved);
        assert_eq!(m.ok("docker exec box grep Seccomp: /proc/1/status"), "Seccomp:\t2");
        assert!(m.ok("docker exec box ip -4 -o addr").contains("eth0"));
    }
    m.ok("docker rm -f box");
    m.finish();
}
