//! File systems of a test's own: on a loop device, in a mount namespace that ends with the test.

use std::path::PathBuf;
use std::process::Command;

/// Says to the second run of a test where its file system is.
const DISK: &str = "DHOW_TEST_DISK";

/// What to mount.
#[derive(Clone, Copy, Debug)]
pub struct Disk<'a> {
    /// The type, as mount(8) and mkfs(8) call it.
    pub kind: &'a str,
    /// More arguments of mkfs.
    pub mkfs: &'a [&'a str],
    /// Options of the mount.
    pub options: &'a str,
    /// How large, in MiB.
    pub size: u64,
}

impl Disk<'_> {
    /// Runs the test of this full name once more, in a mount namespace in which there is a new file
    /// system, and is done: `None`. In that run, where it is; temporary files of the test are there as
    /// well.
    ///
    /// # Panics
    ///
    /// When the test fails there, or the file system cannot be made.
    pub fn again(&self, test: &str) -> Option<PathBuf> {
        if let Some(place) = std::env::var_os(DISK) {
            return Some(place.into());
        }
        let place = std::env::temp_dir().join(format!("dhow-disk-{}", std::process::id()));
        std::fs::create_dir_all(place.join("mounted")).expect("make a temporary directory");
        let script = "set -e; cd \"$1\"; truncate -s \"$2\" image; shift 2
            kind=$1 options=$2 exe=$3 name=$4; shift 4
            \"mkfs.$kind\" -q \"$@\" image >&2
            mount -t \"$kind\" -o \"loop,$options\" image mounted
            export DHOW_TEST_DISK=\"$PWD/mounted\" TMPDIR=\"$PWD/mounted\"
            cd /; \"$exe\" --exact \"$name\" --nocapture";
        let status = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(&place)
            .arg(format!("{}M", self.size))
            .args([self.kind, self.options])
            .arg(std::env::current_exe().expect("the test's own program"))
            .arg(test)
            .args(self.mkfs)
            .status()
            .expect("unshare (util-linux)");
        std::fs::remove_dir_all(&place).expect("remove the temporary directory");
        assert!(status.success(), "{test} on {}", self.kind);
        None
    }
}
