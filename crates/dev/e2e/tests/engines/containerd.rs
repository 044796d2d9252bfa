//! `ctr run` through containerd's own shim, which executes the runtime that it is told to.

use crate::machine::{Machine, TTY};

/// A machine with containerd and a root file system for its containers at `/r`.
fn containerd(name: &str) -> Option<Machine> {
    let machine = Machine::new(&format!("containerd-{name}"))?;
    machine.daemon("containerd", "containerd", "ctr version");
    machine.ok("mkdir /r; tar -C /r -xf /image/busybox.tar");
    Some(machine)
}

/// containerd's client gives up on output that it has not begun to read when the task has ended:
/// [`Machine::says`].
const READ: &str = "/bin/sleep 0.3";

const RUN: &str = "ctr run --runc-binary /usr/local/bin/dhow-runtime --rootfs";

#[test]
fn what_containerd_runs_ends_as_it_should() {
    let Some(m) = containerd("run") else { return };
    m.says(&format!("{RUN} --rm /r engines-a /bin/sh -c 'echo hi; {READ}'"), "hi");
    assert_eq!(m.run(&format!("{RUN} --rm /r engines-a /bin/sh -c 'exit 9'")).code, 9);
    m.shows(&format!("{RUN} --rm -t /r engines-a /bin/{TTY}"), "/dev/pts/0");
    let missing = m.run(&format!("{RUN} --rm /r engines-a /no/program"));
    assert!(missing.stderr.contains("no such file or directory"), "{}", missing.stderr);
    let limits =
        "--memory-limit 33554432 --cpus 0.5 --mount type=cgroup,dst=/sys/fs/cgroup,options=ro";
    let inside = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max";
    m.says(&format!("{RUN} --rm {limits} /r engines-a /bin/sh -c '{inside}; {READ}'"), "33554432");
    m.finish();
}

#[test]
fn a_task_of_containerd_lives_as_long_as_it_should() {
    let Some(m) = containerd("life") else { return };
    let script = r#"trap "exit 5" TERM; while :; do sleep 0.05; done"#;
    m.ok(&format!("{RUN} -d /r engines-b /bin/sh -c '{script}'"));
    let exec = "ctr task exec --exec-id e";
    let ends = format!("{exec} engines-b /bin/sh -c 'echo in; {READ}; exit 4'; echo $?");
    m.says(&ends, "in\n4");
    let user = "--user 1000 --cwd /tmp";
    m.says(&format!("{exec} {user} engines-b /bin/sh -c 'id -u; pwd; {READ}'"), "1000\n/tmp");
    m.shows(&format!("{exec} -t engines-b /bin/{TTY}"), "/dev/pts/");
    let status = "ctr task ls | awk '$1 == \"engines-b\" {print $3}'";
    m.ok("ctr task pause engines-b");
    assert_eq!(m.ok(status), "PAUSED");
    m.ok("ctr task resume engines-b");
    assert_eq!(m.ok(status), "RUNNING");
    assert!(m.ok("ctr task ps engines-b").lines().count() >= 2);
    assert!(m.ok("ctr task metrics engines-b").contains("memory"));
    m.ok("ctr task kill -s TERM engines-b");
    m.ok(&format!("until [ \"$({status})\" = STOPPED ]; do sleep 0.05; done"));
    let removed = m.run("ctr task rm engines-b; ctr c rm engines-b");
    assert!(removed.stderr.contains("exit code 5"), "{}", removed.stderr);
    m.ok(&format!("{RUN} -d /r engines-c /bin/sleep 1000"));
    m.ok("ctr task kill -a -s KILL engines-c; ctr task rm -f engines-c; ctr c rm engines-c");
    m.finish();
}

#[test]
fn containerd_locks_a_container_down() {
    let Some(m) = containerd("locked") else { return };
    let run = format!("{RUN} --rm");
    let status =
        format!("/bin/sh -c 'grep -E \"^(Seccomp|NoNewPrivs):\" /proc/self/status; {READ}'");
    m.says(&format!("{run} --seccomp /r engines-d {status}"), "NoNewPrivs:\t1\nSeccomp:\t2");
    assert_eq!(m.run(&format!("{run} --read-only /r engines-d /bin/touch /x")).code, 1);
    let mounts = format!("/bin/sh -c 'mount -t tmpfs t /tmp && echo mounted; {READ}'");
    m.says(&format!("{run} --privileged /r engines-d {mounts}"), "mounted");
    let mount = "--mount type=bind,src=/image,dst=/v,options=rbind:ro";
    m.says(&format!("{run} {mount} /r engines-d /bin/sh -c 'ls /v; {READ}'"), "busybox.tar");
    let place = format!("/bin/sh -c 'grep -c /own/place /proc/self/cgroup; {READ}'");
    assert_ne!(m.ok(&format!("{run} --cgroup /own/place /r engines-d {place}")), "0");
    m.finish();
}
