//! An ordinary user with a runtime and a bundle: uid 10001, made up in a mount namespace in which
//! `/etc` is another, so that nothing of the machine's own is touched.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Ran, bundle};

pub(crate) const UID: u32 = 10_001;
/// The first of its subordinate ids, and how many there are.
pub(crate) const SUB: (u32, u32) = (300_000, 65_536);

/// `$1`: the other `/etc`. `$2`: a directory of cgroup v2 to begin in, or nothing. The rest: the
/// command, after which the user has no capability.
const BECOME: &str = "mount -t overlay -o lowerdir=$1:/etc overlay /etc || exit 98
if [ -n \"$2\" ]; then echo $$ > $2/cgroup.procs || exit 97; fi
shift 2
exec setpriv --reuid 10001 --regid 10001 --clear-groups --inh-caps=-all \"$@\"";

pub(crate) struct User {
    pub(crate) b: Bundle,
    /// The v2 directory that its processes begin in, if it has delegated cgroups.
    begin: Option<PathBuf>,
    /// Global options of the runtime.
    pub(crate) options: Vec<String>,
}

/// A user with a bundle whose container maps `maps` (inside, outside, size).
pub(crate) fn user(test: &str, maps: &[(u32, u32, u32)]) -> Option<User> {
    let mut b = bundle(test)?;
    b.namespace("user", None);
    b.config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    for field in ["uidMappings", "gidMappings"] {
        b.config["linux"][field] = maps
            .iter()
            .map(|(inside, outside, size)| {
                json!({ "containerID": inside, "hostID": outside, "size": size })
            })
            .collect();
    }
    let etc = b.dir.join("etc");
    std::fs::create_dir(&etc).unwrap();
    let write = |name: &str, text: &str| std::fs::write(etc.join(name), text).unwrap();
    write("passwd", &format!("root:x:0:0::/root:/bin/sh\ntester:x:{UID}:{UID}::/:/bin/sh\n"));
    write("group", &format!("root:x:0:\ntester:x:{UID}:\n"));
    for name in ["subuid", "subgid"] {
        write(name, &format!("tester:{}:{}\n", SUB.0, SUB.1));
    }
    // Wherever the runtime was built, the user may not be able to look.
    let program = b.dir.join("dhow-runtime");
    std::fs::copy(env!("CARGO_BIN_EXE_dhow-runtime"), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    own(&b.rootfs());
    chown(&b.dir, Some(UID), Some(UID)).unwrap();
    Some(User { b, begin: None, options: Vec::new() })
}

/// With the user's own id as root's, and nothing else.
pub(crate) const SINGLE: [(u32, u32, u32); 1] = [(0, UID, 1)];

/// With subordinate ids besides.
pub(crate) const SEVERAL: [(u32, u32, u32); 2] = [(0, UID, 1), (1, SUB.0, SUB.1)];

/// Gives a tree to the user.
pub(crate) fn own(dir: &Path) {
    std::os::unix::fs::lchown(dir, Some(UID), Some(UID)).unwrap();
    if dir.is_dir() && !dir.is_symlink() {
        for entry in std::fs::read_dir(dir).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}

impl User {
    /// Delegates the bundle's cgroup: in each v1 tree by its owner, on v2 as cgroup-v2.rst says.
    pub(crate) fn delegate(&mut self) {
        let hierarchy = cgroup::Hierarchy::detect().unwrap();
        cgroup::Cgroup::create(&hierarchy, &format!("{}/own", self.b.cgroup)).unwrap();
        let parent = cgroup::Cgroup::open(&hierarchy, &self.b.cgroup).unwrap();
        for (tree, dir) in parent.paths() {
            chown(&dir, Some(UID), Some(UID)).unwrap();
            for file in ["cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"] {
                if dir.join(file).exists() {
                    chown(dir.join(file), Some(UID), Some(UID)).unwrap();
                }
            }
            if tree == "unified" {
                self.begin = Some(dir.join("own"));
            }
        }
        self.b.config["linux"]["cgroupsPath"] = json!(format!("{}/c", self.b.cgroup));
    }

    /// A command of the user's.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", BECOME, "sh"]);
        command.arg(self.b.dir.join("etc"));
        command.arg(self.begin.as_deref().unwrap_or(Path::new("")));
        command.args(["sh", "-c", script, "sh"]).current_dir(&self.b.dir).stdin(Stdio::null());
        command.env("XDG_RUNTIME_DIR", self.b.dir.join("xdg"));
        command
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.shell("exec ./dhow-runtime \"$@\"");
        command.arg("--root").arg(self.b.dir.join("state"));
        command.args(&self.options).args(args);
        command
    }

    pub(crate) fn call(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    pub(crate) fn sh(&self, script: &str) -> Ran {
        Ran::of(&self.shell(script).output().unwrap())
    }

    pub(crate) fn run(&self) -> Ran {
        self.b.write();
        self.call(&["run", "c"])
    }

    /// Creates the container, whose output goes to a file.
    pub(crate) fn create(&self) -> i32 {
        self.b.write();
        let out = std::fs::File::create(self.b.dir.join("out")).unwrap();
        let status = self
            .command(&["create", "--pid-file", "pid", "c"])
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        assert!(status.success(), "create: {}", self.b.output());
        std::fs::read_to_string(self.b.dir.join("pid")).unwrap().parse().unwrap()
    }

    pub(crate) fn start(&self) -> i32 {
        let pid = self.create();
        self.call(&["start", "c"]).ok();
        pid
    }

    /// Fails to be created, for this reason, and leaves nothing.
    #[track_caller]
    pub(crate) fn refused(&self, why: &str) {
        self.b.write();
        self.call(&["create", "c"]).fails(why);
        self.b.assert_nothing_left();
    }
}
