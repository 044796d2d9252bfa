//! `dhow run hello`: the first thing that a person does.

use testkit::{Sandbox, needs};

#[test]
fn the_first_run_needs_nothing_but_the_program() {
    needs!(Root, Overlay, Netns);
    let sandbox = Sandbox::new("hello");
    let report = sandbox.ok(&["run", "--rm", "hello"]);
    for want in [
        "PID 1, the only one here",
        "its own: mnt pid net ipc uts cgroup",
        "the host's: user time",
        "overlay: one read-only layer under a writable one",
        "14 capabilities, system calls filtered",
        " ms, from the command's entry to this program's",
    ] {
        assert!(report.contains(want), "{want:?} is not in\n{report}");
    }
    sandbox.baseline();
    let report = sandbox.ok(&[
        "run",
        "--rm",
        "--memory",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "9",
        "hello",
    ]);
    assert!(report.contains("memory 64 MiB, CPUs 0.5, processes 9"), "{report}");
    sandbox.finish();
}
