//! Terminals, through tmux: a real one, typed into and read.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{SystemTime, UNIX_EPOCH};

use testkit::{Sandbox, needs, wait_until};

use crate::busybox;
use crate::docker_client::Daemon;

/// A tmux server of the test's own, with one window of 80 by 24.
struct Window<'s> {
    sandbox: &'s Sandbox,
    socket: String,
}

impl<'s> Window<'s> {
    fn open(sandbox: &'s Sandbox, command: &str) -> Self {
        let socket = sandbox.work().join("tmux").to_string_lossy().into_owned();
        let window = Self { sandbox, socket };
        let dhow = testkit::dhow_program();
        // The shell stays after the command, so that its exit code can be read.
        let line = format!("PS1= sh -c '{} {command}; echo left=$?; sleep 60'", dhow.display());
        window.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &line]);
        window
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = self.sandbox.command("tmux");
        command.args(["-S", &self.socket]).args(args);
        testkit::capture(&mut command).success()
    }

    fn type_keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn wait_for(&self, text: &str) {
        wait_until(&format!("{text:?} on the screen"), || self.screen().contains(text));
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn close(self) {
        self.tmux(&["kill-server"]);
        let _ = std::fs::remove_file(&self.socket);
    }
}

#[test]
fn a_shell_in_a_terminal() {
    needs!(Root, Overlay, Netns, Busybox, Tmux);
    let sandbox = busybox("terminal");
    let window = Window::open(&sandbox, "run --rm -it busybox sh");
    window.wait_for("/ #");
    window.type_keys(&["tty; stty size; echo TERM=$TERM", "Enter"]);
    window.wait_for("/dev/pts/0");
    window.wait_for("24 80");
    window.wait_for("TERM=xterm");
    // Ctrl-C is a key of the container's terminal, not a signal to the command line.
    window.type_keys(&["echo be''gun; sleep 100", "Enter"]);
    window.wait_for("begun");
    window.type_keys(&["C-c"]);
    window.type_keys(&["echo still $((40 + 2))", "Enter"]);
    window.wait_for("still 42");
    window.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    window.type_keys(&["stty size", "Enter"]);
    wait_until("the new size arrives", || {
        window.type_keys(&["stty size", "Enter"]);
        window.screen().contains("30 100")
    });
    window.type_keys(&["exit 5", "Enter"]);
    window.wait_for("left=5");
    window.close();
    sandbox.finish();
}

#[test]
fn detach_keys_leave_the_container_running() {
    needs!(Root, Overlay, Netns, Busybox, Tmux);
    let sandbox = busybox("terminal-detach");
    let window = Window::open(&sandbox, "run -it --name box busybox sh");
    window.wait_for("/ #");
    window.type_keys(&["C-p", "C-q"]);
    window.wait_for("left=0");
    window.close();
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Running}}", "box"]), "true");
    let window = Window::open(&sandbox, "attach box");
    window.type_keys(&["echo again $((1 + 1))", "Enter"]);
    window.wait_for("again 2");
    window.type_keys(&["exit 3", "Enter"]);
    window.wait_for("left=3");
    window.close();
    sandbox.ok(&["rm", "box"]);
    sandbox.finish();
}

/// The engine knows the keys, too, for clients that pass them on, and tells of who leaves by them.
#[test]
fn keys_that_a_client_passes_on_are_told_of() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("terminal-keys");
    let daemon = Daemon::start(&sandbox);
    sandbox.ok(&["run", "-dit", "--name", "box", "busybox", "cat"]);
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let request = "POST /v1.47/containers/box/attach?stream=1&stdin=1&stdout=1&detachKeys=a HTTP/1.1\r\n\
         Host: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(b"a").unwrap();
    // It ends, and the container does not.
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("HTTP/1.1 101"), "{said}");
    assert_eq!(sandbox.ok(&["inspect", "-f", "{{.State.Running}}", "box"]), "true");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let until = (now.as_secs() + 1).to_string();
    let all = ["events", "--since", "1", "--until", &until, "--filter", "event=detach"];
    let format = ["--format", "{{.Action}} {{.Actor.Attributes.name}}"];
    assert_eq!(sandbox.ok(&[&all[..], &format].concat()), "detach box");
    sandbox.ok(&["rm", "-f", "box"]);
    drop(daemon);
    sandbox.finish();
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    needs!(Root, Overlay, Netns, Busybox, Tmux);
    let sandbox = busybox("terminal-exec");
    sandbox.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "600"]);
    let window = Window::open(&sandbox, "exec -it box sh");
    window.wait_for("/ #");
    window.type_keys(&["tty; stty size", "Enter"]);
    window.wait_for("/dev/pts/");
    window.wait_for("24 80");
    window.type_keys(&["exit 4", "Enter"]);
    window.wait_for("left=4");
    window.close();
    sandbox.ok(&["rm", "-f", "box"]);
    sandbox.finish();
}

#[test]
fn a_terminal_without_input_and_input_without_a_terminal() {
    needs!(Root, Overlay, Netns, Busybox);
    let sandbox = busybox("terminal-half");
    // -t alone: the program has a terminal, its lines end as a terminal's do.
    let output = sandbox.dhow(&["run", "--rm", "-t", "busybox", "sh", "-c", "tty; echo x >&2"]);
    assert_eq!(output.stdout, "/dev/pts/0\r\nx\r\n", "{output:?}");
    // -i -t without a terminal to type into; Docker's client ends with 1, too.
    let output = sandbox.dhow(&["run", "--rm", "-it", "busybox", "true"]);
    assert_eq!(output.code, 1);
    assert!(output.stderr.contains("not a TTY"), "{output:?}");
    sandbox.finish();
}
