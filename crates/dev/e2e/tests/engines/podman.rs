//! `podman --runtime`, with conmon between the two; pods, and what Kubernetes would play.

use crate::machine::{Machine, TTY};

/// A machine with Podman and the image `busybox`. `P` is Podman with the runtime.
fn podman(name: &str) -> Option<Machine> {
    let machine = Machine::new(&format!("podman-{name}"))?;
    machine.podman("--runtime /usr/local/bin/dhow-runtime");
    machine.ok("P import -q /image/busybox.tar busybox 2>/dev/null");
    Some(machine)
}

#[test]
fn what_podman_runs_ends_as_it_should() {
    let Some(m) = podman("run") else { return };
    assert!(m.ok("P info --format '{{.Host.OCIRuntime.Version}}'").starts_with("dhow-runtime "));
    assert_eq!(m.ok("P run --rm busybox echo hi"), "hi");
    assert_eq!(m.run("P run --rm busybox sh -c 'exit 42'").code, 42);
    let missing = m.run("P run --rm busybox no-such-program");
    assert_eq!(missing.code, 127, "{}", missing.stderr);
    assert_eq!(m.run("P run --rm busybox /etc").code, 126);
    assert_eq!(m.run("P run --rm busybox /etc/passwd").code, 126);
    assert_eq!(m.ok("echo through | P run --rm -i busybox cat"), "through");
    m.shows(&format!("P run --rm -it busybox {TTY}"), "/dev/pts/0");
    m.ok("P create --name c busybox echo created");
    assert_eq!(m.ok("P start -a c"), "created");
    m.ok("P rm c");
    m.finish();
}

#[test]
fn a_container_of_podman_lives_as_long_as_it_should() {
    let Some(m) = podman("life") else { return };
    let script = r#"trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.05; done"#;
    let limits = "--memory 64m --cpus 0.5 --pids-limit 50";
    m.ok(&format!("P run -d --name c {limits} busybox sh -c '{script}'"));
    m.ok("until P logs c | grep -q up; do sleep 0.05; done");
    let inside = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us \
                  pids/pids.max 2>/dev/null || cat memory.max cpu.max pids.max";
    let limits = m.ok(&format!("P exec c sh -c '{inside}'"));
    assert!(
        limits.contains("67108864") && limits.contains("50000") && limits.contains("\n50"),
        "{limits}"
    );
    assert_eq!(
        m.ok("P exec -u nobody -e X=1 -w /tmp c sh -c 'id -u; pwd; echo $X'"),
        "65534\n/tmp\n1"
    );
    assert_eq!(m.run("P exec c sh -c 'exit 7'").code, 7);
    assert_eq!(m.run("P exec c no-such-program").code, 127);
    m.shows(&format!("P exec -it c {TTY}"), "/dev/pts/");
    m.ok("P exec -d c sleep 77");
    m.ok("until P top c | grep -q 'sleep 77'; do sleep 0.05; done");
    m.ok("P pause c");
    assert_eq!(m.ok("P inspect -f '{{.State.Status}}' c"), "paused");
    m.ok("P unpause c");
    assert!(m.ok("P stats --no-stream c").contains("67.11MB"));
    m.ok("P update --cpus 1 c");
    m.ok("P stop -t 5 c");
    assert_eq!(m.ok("P inspect -f '{{.State.ExitCode}}' c"), "3");
    // It takes no notice before it has set its trap.
    m.ok("P start c; until P inspect -f '{{.State.Status}}' c | grep -q exited; do \
          P kill -s TERM c; sleep 0.05; done");
    assert_eq!(m.ok("P wait c"), "3");
    m.ok("P start c");
    m.ok("P rm -f -t 0 c");
    m.finish();
}

#[test]
fn podman_locks_a_container_down_and_maps_its_users() {
    let Some(m) = podman("locked") else { return };
    assert_eq!(
        m.ok("P run --rm --user 1000:1000 --cap-drop ALL busybox sh -c 'id -u; grep CapEff /proc/self/status'"),
        "1000\nCapEff:\t0000000000000000"
    );
    let mount = "mount -t tmpfs t /tmp && echo mounted";
    assert_eq!(m.ok(&format!("P run --rm --privileged busybox sh -c '{mount}'")), "mounted");
    assert_eq!(m.run("P run --rm --read-only busybox touch /x").code, 1);
    m.ok("P run --rm --read-only -u nobody busybox touch /tmp/x /run/x");
    m.ok("P run --rm --tmpfs /new -u nobody busybox touch /new/x");
    assert_eq!(
        m.ok("P run --rm --security-opt no-new-privileges busybox grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status"),
        "NoNewPrivs:\t1\nSeccomp:\t2"
    );
    let maps = "--uidmap 0:100000:65536 --gidmap 0:100000:65536";
    assert_eq!(
        m.ok(&format!(
            "P run --rm {maps} busybox sh -c 'touch /x && stat -c %u /x; cat /proc/self/uid_map'"
        ))
        .split_whitespace()
        .collect::<Vec<_>>(),
        ["0", "0", "100000", "65536"]
    );
    assert_eq!(m.ok("P run --rm --init busybox cat /proc/1/comm"), "podman-init");
    m.ok("mkdir /tmp/v; echo hello >/tmp/v/f");
    assert_eq!(m.ok("P run --rm -v /tmp/v:/v:ro busybox cat /v/f"), "hello");
    assert_eq!(m.ok("P run --rm --network none busybox ip -o link").lines().count(), 1);
    m.finish();
}

#[test]
fn podman_makes_pods_and_plays_kubernetes() {
    let Some(m) = podman("pods") else { return };
    m.ok("P pod create --name pod --infra-image busybox --infra-command '/bin/sleep 1000'");
    m.ok("P run -d --pod pod --name web busybox httpd -f -p 80 -h /etc");
    m.ok(
        "until P run --rm --pod pod busybox wget -qO- http://127.0.0.1/group; do sleep 0.05; done",
    );
    m.ok("P pod pause pod; P pod unpause pod");
    m.ok("P pod stop -t 0 pod");
    m.ok("P pod rm -f pod");
    m.ok(r#"cat >/etc/containers/containers.conf <<'TOML'
[engine]
infra_image = "localhost/infra:latest"
TOML
cat >/tmp/kube.yaml <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: played}
spec:
  containers:
  - name: c
    image: localhost/busybox:latest
    command: ["/bin/sleep", "100"]
    resources: {limits: {memory: 32Mi}}
    securityContext: {runAsUser: 1000, capabilities: {drop: [ALL]}}
YAML
set -e
P import -q -c 'CMD ["/bin/sleep","1000"]' /image/busybox.tar infra
P play kube /tmp/kube.yaml"#);
    assert_eq!(
        m.ok("P exec played-c sh -c 'id -u; grep CapEff /proc/self/status'"),
        "1000\nCapEff:\t0000000000000000"
    );
    m.ok("P play kube --down /tmp/kube.yaml");
    m.finish();
}

#[test]
fn podman_saves_and_restores_a_container() {
    let Some(m) = podman("criu") else { return };
    if !m.has_criu() {
        return;
    }
    let count = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";
    m.ok(&format!(
        "P run -d --name c --memory 64m -v /image:/v:ro -p 8080:80 busybox sh -c '{count}'"
    ));
    let counted = || m.ok("P logs c | tail -n 1").parse::<u64>().unwrap_or(0);
    m.ok("until P logs c | grep -q 3; do sleep 0.05; done");
    m.ok("P container checkpoint c");
    assert_eq!(m.ok("P inspect -f '{{.State.Running}} {{.State.Checkpointed}}' c"), "false true");
    let saved = counted();
    m.ok("P container restore c");
    testkit::wait_until("it counts on", || counted() > saved);
    assert_eq!(m.ok("P exec c ls /v"), "busybox.tar");
    m.ok("P container checkpoint -e /tmp/c.tar.gz c");
    m.ok("P rm -f -t 0 c");
    // Under another name, and so in another cgroup.
    m.ok("P container restore -i /tmp/c.tar.gz -n other");
    assert_eq!(m.ok("P exec other ls /v"), "busybox.tar");
    m.ok("P rm -f -t 0 other");
    m.finish();
}
