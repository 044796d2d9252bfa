//! An ordinary user in a sandbox: made up in its mount namespace, in which `/etc` is another, so that
//! nothing of the machine's own is touched.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;

use crate::Sandbox;

/// The user's number, and the group's.
pub const UID: u32 = 10_001;
/// The first of the subordinate ids, and how many there are.
pub const SUB: (u32, u32) = (300_000, 65_536);

/// Becomes the user, without a capability.
pub(crate) const BECOME: [&str; 6] =
    ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--inh-caps=-all", "--"];

/// Begins in a cgroup, by its `cgroup.procs`.
pub(crate) const BEGIN: [&str; 3] = ["sh", "-c", "echo 0 >\"$0\"; exec \"$@\""];

/// Another `/etc`; the program where the user can reach it, wherever it was built; and the device that
/// `pasta` and `slirp4netns` need, which some machines keep for root.
const MAKE: &str = "set -e
mount -t overlay -o lowerdir=\"$1/etc:/etc\" overlay /etc
mount --bind \"$2\" \"$1/dhow\"
if [ -e /dev/net/tun ]; then
  mount -t tmpfs -o mode=755 tmpfs \"$1/dev\"
  mknod -m 666 \"$1/dev/tun\" c 10 200
  mount --bind \"$1/dev/tun\" /dev/net/tun
fi";

/// Where the user's copy of the program is.
pub fn program(sandbox: &Sandbox) -> PathBuf {
    sandbox.directory().join("dhow")
}

/// Makes the user, who has all of the sandbox.
pub(crate) fn make(sandbox: &Sandbox) {
    let directory = sandbox.directory();
    let etc = directory.join("etc");
    for path in [&etc, &directory.join("dev"), &directory.join("xdg")] {
        std::fs::create_dir(path).expect("make a directory");
    }
    let write = |name: &str, text: &str| {
        std::fs::write(etc.join(name), text).expect("write a file");
    };
    let home = sandbox.work().display().to_string();
    write("passwd", &format!("root:x:0:0::/root:/bin/sh\ntester:x:{UID}:{UID}::{home}:/bin/sh\n"));
    write("group", &format!("root:x:0:\ntester:x:{UID}:\n"));
    set_ranges(sandbox, &format!("tester:{}:{}\n", SUB.0, SUB.1));
    std::fs::write(program(sandbox), "").expect("write a file");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, mode).expect("chmod");
    for name in ["root", "state", "work", "xdg"] {
        chown(directory.join(name), Some(UID), Some(UID)).expect("chown");
    }
    let mut command = sandbox.command("sh");
    command.args(["-c", MAKE, "sh"]).arg(directory).arg(crate::dhow_program());
    crate::capture(&mut command).success();
    sandbox.set_env("XDG_RUNTIME_DIR", &directory.join("xdg").display().to_string());
}

/// Delegates the cgroup `path`, as cgroup-v2.rst has it and in each v1 tree by its owner. Where processes
/// get into one below it.
pub(crate) fn delegate(path: &str) -> PathBuf {
    let hierarchy = cgroup::Hierarchy::detect().expect("cgroups");
    cgroup::Cgroup::create(&hierarchy, &format!("{path}/own")).expect("make a cgroup");
    let parent = cgroup::Cgroup::open(&hierarchy, path).expect("a cgroup");
    let mut begin = PathBuf::new();
    for (tree, directory) in parent.paths() {
        let files = ["cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"];
        let files = files.iter().map(|name| directory.join(name)).filter(|path| path.exists());
        for path in files.chain([directory.clone()]) {
            chown(path, Some(UID), Some(UID)).expect("chown");
        }
        if tree == "unified" {
            begin = directory.join("own/cgroup.procs");
        }
    }
    begin
}

/// What `/etc/subuid` and `/etc/subgid` say.
pub fn set_ranges(sandbox: &Sandbox, text: &str) {
    for name in ["subuid", "subgid"] {
        std::fs::write(sandbox.directory().join("etc").join(name), text).expect("write a file");
    }
}
