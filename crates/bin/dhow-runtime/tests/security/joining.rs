//! Hostile processes in a container that another process is executed in.

use std::process::Stdio;

use rustix::process::{Pid, Signal};
use serde_json::json;

use crate::attacker::{attack_with, got, seen};
use crate::bundle::{Bundle, bundle, wait_until};

/// What the runtime's caller has in its environment.
const SECRET: &str = "hunter2-of-the-host";

fn up(b: &Bundle) {
    b.start();
    wait_until("the attacker is up", || b.output().contains("UP"));
}

/// Executes processes until the attacker has met some of them on their way in, at most `most`.
fn execute(b: &Bundle, most: usize) {
    for _ in 0..most {
        let mut child = b
            .command(&["exec", "c", "true"])
            .env("SECRET", SECRET)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // One that was stopped and not let go on again would wait for ever.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while child.try_wait().unwrap().is_none() {
            if std::time::Instant::now() > end {
                let _ended = child.kill();
                let _status = child.wait();
                break;
            }
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
        if seen(&b.output()) >= 10 {
            break;
        }
    }
}

fn capabilities(b: &mut Bundle, caps: &[&str]) {
    b.config["process"]["capabilities"] =
        json!({ "bounding": caps, "permitted": caps, "effective": caps });
}

/// B02, CVE-2016-9962: root in the container looks at each process that enters, through ptrace's
/// access check: descriptors, memory, environment. On a vulnerable runtime, descriptors of the host
/// are open in it.
#[test]
fn b02_who_enters_shows_nothing_to_the_containers_root() {
    let Some(mut b) = bundle("b02_who_enters_shows_nothing_to_the_containers_root") else { return };
    attack_with(&mut b, "join");
    up(&b);
    execute(&b, 300);
    let output = b.output();
    println!("b02: met {}", seen(&output));
    assert_eq!(got(&output), Vec::<&str>::new());
}

/// B02 again, stopped by SIGSTOP the moment it appears, so that there is time to look.
#[test]
fn b02_a_stopped_process_shows_nothing_either() {
    let Some(mut b) = bundle("b02_a_stopped_process_shows_nothing_either") else { return };
    attack_with(&mut b, "stop");
    up(&b);
    execute(&b, 300);
    let output = b.output();
    println!("b02: met {}", seen(&output));
    assert!(seen(&output) > 0, "none was ever met: {output}");
    assert_eq!(got(&output), Vec::<&str>::new());
}

/// B02 for a container that may trace everything in it (`CAP_SYS_PTRACE`): it can look, and finds the
/// streams, the socket to the runtime, and nothing of the host: no directory, no file, no environment
/// of the caller.
#[test]
fn b02_even_a_tracer_finds_nothing_of_the_host() {
    let Some(mut b) = bundle("b02_even_a_tracer_finds_nothing_of_the_host") else { return };
    capabilities(&mut b, &["CAP_SYS_PTRACE", "CAP_KILL"]);
    attack_with(&mut b, "stop");
    up(&b);
    execute(&b, 300);
    let output = b.output();
    println!("b02: met {}", seen(&output));
    assert!(seen(&output) > 0, "none was ever met: {output}");
    assert!(!output.contains(SECRET), "{output}");
    for line in got(&output) {
        let fine = ["environ ", "mem", "cwd /", "root /", "exe /", "pidfd_getfd "]
            .iter()
            .any(|w| line.contains(&format!("GOT {w}")))
            || line.contains("GOT fd")
                && (line.contains(" socket:")
                    || line.contains(" pipe:")
                    || line.ends_with(" /dev/null"));
        assert!(fine, "{line}");
        assert!(!line.contains("cwd /") || line.ends_with("cwd /"), "{line}");
    }
}

/// X07: such a tracer takes the socket over which the process speaks to the runtime, and says that it
/// is another process, one of the host's. A runtime that believes it signals that one, and has its
/// number written into the pid file.
#[test]
fn x07_a_process_cannot_pass_itself_off_as_one_of_the_host() {
    let Some(mut b) = bundle("x07_a_process_cannot_pass_itself_off_as_one_of_the_host") else {
        return;
    };
    let mut victim = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let number = victim.id().to_string();
    capabilities(&mut b, &["CAP_SYS_PTRACE", "CAP_KILL"]);
    attack_with(&mut b, &format!("forge:{number}"));
    up(&b);
    let mut told = Vec::new();
    for _ in 0..200 {
        let mut child = b
            .command(&["exec", "--pid-file", "exec.pid", "c", "sleep", "0.05"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let runtime = Pid::from_raw(child.id() as i32).unwrap();
        let _gone = rustix::process::kill_process(runtime, Signal::TERM);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while child.try_wait().unwrap().is_none() && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ended = child.kill();
        let _status = child.wait();
        told.extend(std::fs::read_to_string(b.dir.join("exec.pid")));
        let _kept = std::fs::remove_file(b.dir.join("exec.pid"));
        if b.output().matches("SEEN socket").count() >= 5 {
            break;
        }
    }
    let alive = victim.try_wait().unwrap().is_none();
    let _ended = victim.kill();
    let _status = victim.wait();
    let met = b.output().matches("SEEN socket").count();
    println!("x07: forged {met}");
    assert!(met > 0, "never had the socket: {}", b.output());
    assert!(alive, "the runtime sent a signal to a process of the host");
    assert!(!told.contains(&number), "the pid file names a process of the host");
}

/// X08: a container forks without end while processes are executed in it, and it is deleted by force.
/// Nothing outruns it. What is executed shares the container's processor time with two hundred others and may
/// get to nothing, for seconds where the machine has other work; who deletes does not.
#[test]
fn x08_a_fork_bomb_is_deleted() {
    let Some(mut b) = bundle("x08_a_fork_bomb_is_deleted") else { return };
    b.config["linux"]["resources"] = json!({ "pids": { "limit": 200 } });
    attack_with(&mut b, "fork");
    up(&b);
    let execs = executed(&b, &["true"]);
    b.call(&["delete", "--force", "c"]).ok();
    b.assert_nothing_left();
    end_with_it(execs);
}

/// X09: what waits or is stopped in the middle of an exec keeps nobody from deleting the container.
#[test]
fn x09_a_stopped_exec_is_deleted_with_its_container() {
    let Some(mut b) = bundle("x09_a_stopped_exec_is_deleted_with_its_container") else { return };
    // Stops whatever it sees, for good.
    b.script("echo UP; while :; do for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = 1 ] || kill -STOP $p; done 2>/dev/null; done");
    up(&b);
    let execs = executed(&b, &["sleep", "1000"]);
    b.call(&["delete", "--force", "c"]).ok();
    b.assert_nothing_left();
    end_with_it(execs);
}

/// Five at once, on their way into the container.
fn executed(b: &Bundle, program: &[&str]) -> Vec<std::process::Child> {
    let exec = || {
        let mut command = b.command(&["exec", "c"]);
        command.args(program).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let execs = (0..5).map(|_| exec()).collect();
    std::thread::sleep(std::time::Duration::from_millis(200));
    execs
}

/// No exec is left when its container is gone.
fn end_with_it(execs: Vec<std::process::Child>) {
    for mut exec in execs {
        let end = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while exec.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < end, "an exec outlives its container");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// X10: the first process changes its own namespaces or root: what is executed gets none of the
/// host's through that.
#[test]
fn x10_the_first_processs_own_tricks_lead_nowhere() {
    let Some(mut b) = bundle("x10_the_first_processs_own_tricks_lead_nowhere") else { return };
    capabilities(&mut b, &["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_KILL"]);
    std::fs::create_dir_all(b.rootfs().join("jail/bin")).unwrap();
    std::fs::copy(b.rootfs().join("bin/busybox"), b.rootfs().join("jail/bin/sh")).unwrap();
    b.script("/bin/busybox mount -t tmpfs x /etc; /bin/busybox mount --bind /tmp /proc/sys 2>/dev/null; echo UP; \
        exec /bin/busybox chroot /jail sh -c 'while :; do :; done'");
    up(&b);
    let out = b.call(&[
        "exec",
        "c",
        "sh",
        "-c",
        "ls -d /jail; readlink /proc/self/ns/mnt; readlink /proc/self/ns/pid",
    ]);
    let host = |kind: &str| {
        std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().to_string_lossy().into_owned()
    };
    assert!(!out.out.contains(&host("mnt")) && !out.out.contains(&host("pid")), "{}", out.out);
}
