//! A machine of its own for a test: Debian's packages as its root, and namespaces and a cgroup that
//! stand for the host's. All of it ends with the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use cgroup::{Cgroup, Hierarchy};
use testkit::{Need, Output, capture, skip, wait_until};

const SCRIPT: &str = include_str!("machine.sh");
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How often a container says what is to be read.
const TRIES: u32 = 10;

/// Tells which terminal it has, and waits until somebody may have read it: [`Machine::shows`].
pub(crate) const TTY: &str = r#"sh -c "tty; sleep 0.5""#;

/// The machine.
pub(crate) struct Machine {
    work: PathBuf,
    cgroup: String,
    /// The directories of its cgroup, in all trees.
    trees: Vec<PathBuf>,
    /// `unshare`, whose child is process 1 of the machine; both end with its standard input.
    holder: Child,
    first: u32,
}

/// Where `cargo xtask test` has unpacked Debian's packages.
fn debian() -> Option<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from)?;
    let root = here.ancestors().nth(3)?.join("target/unpacked/engines");
    root.join("usr/bin/podman").is_file().then_some(root)
}

/// The runtime: as a file of its own if that was built, else the one file by its name.
fn runtime() -> PathBuf {
    let dhow = testkit::dhow_program();
    let own = dhow.with_file_name("dhow-runtime");
    if own.is_file() { own } else { dhow }
}

impl Machine {
    /// A new one, or `None` when this machine cannot have it, and says so.
    pub(crate) fn new(name: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if ![Need::Root, Need::Overlay, Need::Netns, Need::Busybox].iter().all(|need| need.is_met())
        {
            return None;
        }
        let Some(debian) = debian() else {
            skip("Engines", "target/unpacked/engines is not there: `cargo xtask test` fetches it");
            return None;
        };
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let unique = format!("dhow-engines-{name}-{}-{nth}", std::process::id());
        let work = std::env::temp_dir().join(&unique);
        for directory in ["root", "upper", "overlay", "lib", "image"] {
            std::fs::create_dir_all(work.join(directory)).unwrap();
        }
        testkit::busybox_rootfs(&work.join("image/busybox.tar"));
        let path = format!("/{unique}");
        let group = Cgroup::create(&Hierarchy::detect().unwrap(), &path).unwrap();
        let mut trees: Vec<PathBuf> = group.paths().into_values().collect();
        trees.sort();
        trees.dedup();
        let mut holder = enter(&trees)
            .args(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--cgroup"])
            .args(["--uts", "--ipc", "--propagation", "private", "bash", "-c", SCRIPT, "machine"])
            .args([&debian, &work, &runtime(), &debian.with_file_name("")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let children = std::fs::read_to_string(children).unwrap();
        let first = children.trim().parse().unwrap_or(0);
        let machine = Self { work, cgroup: path, trees, holder, first };
        assert_eq!(line, "ready\n", "the machine did not start");
        Some(machine)
    }

    /// Brings a file into the machine, as `/image/NAME`.
    pub(crate) fn bring(&self, file: &Path, name: &str) {
        std::fs::copy(file, self.work.join("image").join(name)).unwrap();
    }

    /// A path in the machine, as this process reaches it.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        format!("/proc/{}/root/{inside}", self.first).into()
    }

    /// A command in the machine.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = enter(&self.trees);
        command
            .args(["nsenter", "-t", &self.first.to_string(), "--mount", "--net", "--pid"])
            .args(["--cgroup", "--uts", "--ipc", "--root", "--wd", "--"])
            .args(["env", "-i", PATH, "HOME=/root", "TERM=xterm", "LC_ALL=C.UTF-8"])
            .args(["bash", "-c", script])
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script to its end.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Output {
        capture(&mut self.command(script))
    }

    /// The same, and it must succeed. Answers what it wrote, without the line break at the end.
    #[track_caller]
    pub(crate) fn ok(&self, script: &str) -> String {
        let output = self.run(script);
        let Output { code, stdout, stderr } = &output;
        assert!(*code == 0, "{script}\nexit code {code}: {stderr}{stdout}{}", self.logs());
        stdout.trim_end_matches('\n').to_owned()
    }

    /// Has a script write `wanted`. Engines lose what a container says that is gone before they have begun to
    /// read, whatever their runtime: so it may try more than once.
    #[track_caller]
    pub(crate) fn says(&self, script: &str, wanted: &str) {
        let tries = || self.ok(script);
        let said = (1..TRIES).map(|_| tries()).find(|said| said == wanted);
        assert_eq!(said.unwrap_or_else(tries), wanted, "{script}");
    }

    /// The same of a part of what appears in a terminal.
    #[track_caller]
    pub(crate) fn shows(&self, script: &str, wanted: &str) {
        let tries = || self.terminal(script);
        let said = (1..TRIES).map(|_| tries()).find(|said| said.contains(wanted));
        let said = said.unwrap_or_else(tries);
        assert!(said.contains(wanted), "{script}: {said}");
    }

    /// Runs it in a terminal. Answers what appeared there, with plain line breaks.
    #[track_caller]
    fn terminal(&self, script: &str) -> String {
        let quoted = script.replace('\'', r"'\''");
        self.ok(&format!("script -qec '{quoted}' /dev/null")).replace(['\r', '\0'], "")
    }

    /// Starts a daemon, whose output goes to a file, and waits until `ready` succeeds.
    #[track_caller]
    pub(crate) fn daemon(&self, name: &str, start: &str, ready: &str) {
        self.ok(&format!("setsid {start} </dev/null >/var/log/{name}.log 2>&1 &"));
        self.ok(&format!("until {ready} >/dev/null 2>&1; do sleep 0.1; done"));
    }

    /// Makes the command `P`: Podman, as it works in the machine, with these options besides.
    #[track_caller]
    pub(crate) fn podman(&self, options: &str) {
        self.ok(&format!(
            r#"cat >/usr/local/bin/P <<'SH'
#!/bin/sh
exec podman {options} --cgroup-manager cgroupfs --events-backend file --storage-driver overlay \
  --log-level error "$@"
SH
chmod +x /usr/local/bin/P
mkdir -p /etc/containers
echo '{{"default":[{{"type":"insecureAcceptAnything"}}]}}' >/etc/containers/policy.json"#
        ));
    }

    /// Whether there is a criu that works on this kernel; says so when there is none.
    pub(crate) fn has_criu(&self) -> bool {
        let check = self.run("criu check");
        if check.code != 0 {
            skip("Criu", check.stderr.lines().last().unwrap_or("criu check fails"));
        }
        check.code == 0
    }

    fn logs(&self) -> String {
        let log = self.run("tail -n 5 /var/log/dockerd.log /var/log/containerd.log 2>/dev/null");
        format!("\n{}", log.stdout)
    }

    /// The cgroups that bear the names of containers. `None` are left when all are removed.
    fn leftovers(&self) -> String {
        // The cgroup of a pod of Podman's is Podman's to remove, and it forgets some trees.
        let script = "find /sys/fs/cgroup -type d -regextype egrep \
             -regex '.*/(libpod-[0-9a-f]{64}|docker/[0-9a-f]{64}|buildah-[^/]*|engines-[^/]*)'; \
             find /run /var/lib /tmp -name state.json -path '*runtime*' 2>/dev/null; \
             pgrep -a -x dhow-runtime; true";
        self.run(script).stdout
    }

    /// Ends the machine. Fails the test when a container left something.
    #[track_caller]
    pub(crate) fn finish(self) {
        wait_until(&format!("nothing is left of containers: {}", self.leftovers()), || {
            self.leftovers().is_empty()
        });
    }
}

/// A command that goes into the cgroup first.
fn enter(trees: &[PathBuf]) -> Command {
    let mut command = Command::new("sh");
    let script = "n=$1; shift; while [ $n -gt 0 ]; do echo $$ >\"$1/cgroup.procs\"; shift; \
                  n=$((n - 1)); done; exec \"$@\"";
    command.args(["-c", script, "enter", &trees.len().to_string()]).args(trees);
    command
}

impl Drop for Machine {
    fn drop(&mut self) {
        // All processes of the machine end with the first of them.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        let group = Hierarchy::detect().and_then(|tree| Cgroup::open(&tree, &self.cgroup));
        if let Ok(group) = group {
            let _ = group.kill_all();
            let _ = group.remove();
        }
        let _ = std::fs::remove_dir_all(&self.work);
    }
}
