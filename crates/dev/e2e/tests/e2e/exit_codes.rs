//! The exit codes of `dhow run`.

use crate::busybox;
use testkit::needs;

#[test]
fn they_are_the_programs_own_or_dockers() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exit-codes");
    for (args, code, want) in [
        (&["busybox", "true"][..], 0, ""),
        (&["busybox", "sh", "-c", "exit 42"], 42, ""),
        (&["busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, ""),
        (&["busybox", "sh", "-c", "kill -TERM $$; sleep 1"], 0, ""),
        (&["busybox", "no-such-program"], 127, "executable file not found in $PATH"),
        (&["busybox", "/no/such/program"], 127, "no such file or directory"),
        (&["busybox", "/etc"], 126, "is a directory"),
        (&["busybox", "/etc/passwd"], 126, "permission denied"),
        (&["--no-such-flag", "busybox", "true"], 125, "--no-such-flag"),
        (&["--network", "nowhere", "busybox", "true"], 125, "nowhere"),
        (&["no-such-image"], 125, "no-such-image"),
    ] {
        let line = [&["run", "--rm"], args].concat();
        let output = sandbox.dhow(&line);
        assert_eq!(output.code, code, "{line:?}: {output:?}");
        assert!(output.stderr.contains(want), "{line:?}: {output:?}");
    }
    sandbox.finish();
}

#[test]
fn what_fails_before_the_word_to_start_is_told_as_it_was() {
    needs!(Root, Overlay, Netns, Busybox, Failpoints);
    let sandbox = busybox("exit-codes-early");
    // By the time that it is told to start, the supervisor has failed, and ended.
    sandbox.set_env("DHOW_FAILPOINTS", "engine.go=delay:1500");
    let output = sandbox.dhow(&["run", "--rm", "busybox", "no-such-program"]);
    sandbox.unset_env("DHOW_FAILPOINTS");
    assert_eq!(output.code, 127, "{output:?}");
    assert!(output.stderr.contains("executable file not found in $PATH"), "{output:?}");
    sandbox.finish();
}

#[test]
fn wait_and_inspect_tell_them_later() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("exit-codes-later");
    sandbox.ok(&["run", "-d", "--name", "three", "busybox", "sh", "-c", "sleep 0.2; exit 3"]);
    assert_eq!(sandbox.ok(&["wait", "three"]), "3");
    assert_eq!(
        sandbox.ok(&["inspect", "-f", "{{.State.ExitCode}} {{.State.Status}}", "three"]),
        "3 exited"
    );
    let shown = sandbox.ok(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
    assert!(shown.starts_with("three Exited (3) "), "{shown}");
    sandbox.ok(&["rm", "three"]);
    sandbox.finish();
}
