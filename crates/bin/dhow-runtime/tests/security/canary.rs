//! A place on the host that must stay as it is, and what must not change of the host's kernel.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};

use crate::bundle::{Bundle, Ran};

/// Files of the kernel that attacks of the past have written to.
const KERNEL: [&str; 5] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/net/ipv4/ip_forward",
];

/// What the secret file holds: where this is seen inside, something leaked.
pub(crate) const SECRET: &str = "the host's secret";

/// A directory of the host outside of the root, and how it looked at the beginning.
pub(crate) struct Canary {
    pub(crate) dir: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// A file, a program, a directory, a fifo, and names that a runtime makes in `/dev`.
    pub(crate) fn new(b: &Bundle) -> Self {
        let dir = b.dir.join("canary");
        std::fs::create_dir(&dir).unwrap();
        std::fs::create_dir(dir.join("directory")).unwrap();
        std::fs::write(dir.join("secret"), SECRET).unwrap();
        std::fs::set_permissions(dir.join("secret"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(dir.join("program"), "#!/bin/sh\n").unwrap();
        std::fs::write(dir.join("ptmx"), "decoy").unwrap();
        std::fs::write(dir.join("passwd"), format!("root:x:0:0::/{SECRET}:/bin/sh\n")).unwrap();
        rustix::fs::mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        let before = look(&dir);
        Self { dir, before }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// Nothing was made, changed or removed in it, nor anything of the kernel's.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(look(&self.dir), self.before);
    }
}

fn look(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    walk(dir, &mut found);
    for file in KERNEL {
        found.insert(file.into(), std::fs::read_to_string(file).unwrap_or_default());
    }
    found
}

fn walk(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let stat = std::fs::symlink_metadata(path).unwrap();
    let content = if stat.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
    let text = format!(
        "{:o} {}:{} inode {} at {}.{} {:?}",
        stat.mode(),
        stat.uid(),
        stat.gid(),
        stat.ino(),
        stat.mtime(),
        stat.mtime_nsec(),
        String::from_utf8_lossy(&content)
    );
    found.insert(path.to_owned(), text);
    if stat.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            walk(&entry.unwrap().path(), found);
        }
    }
}

/// Puts a link in the place of whatever the image has there.
pub(crate) fn plant(b: &Bundle, name: &str, target: impl AsRef<Path>) {
    let path = b.rootfs().join(name);
    let _file = std::fs::remove_file(&path);
    let _dir = std::fs::remove_dir_all(&path);
    symlink(target, path).unwrap();
}

/// A line of a process's mountinfo.
#[derive(Debug)]
pub(crate) struct MountLine {
    /// What of the file system is mounted.
    pub(crate) root: String,
    /// Where.
    pub(crate) target: String,
    /// The file system's type.
    pub(crate) kind: String,
}

/// What is mounted in the mount namespace of a process.
pub(crate) fn mounts_of(pid: i32) -> Vec<MountLine> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    text.lines()
        .map(|line| {
            let (fields, rest) = line.split_once(" - ").unwrap();
            let fields: Vec<&str> = fields.split(' ').collect();
            MountLine {
                root: fields[3].to_owned(),
                target: fields[4].to_owned(),
                kind: rest.split(' ').next().unwrap().to_owned(),
            }
        })
        .collect()
}

/// A command whose container goes on, and would hold on to pipes: what it says goes to a file.
pub(crate) fn detached(b: &Bundle, args: &[&str]) -> Ran {
    let err = b.dir.join("err");
    let file = std::fs::File::create(&err).unwrap();
    let status = b.command(args).stdout(std::process::Stdio::null()).stderr(file).status().unwrap();
    let err = std::fs::read_to_string(err).unwrap();
    Ran { status: status.code().unwrap_or(-1), out: String::new(), err }
}

/// Makes the container; its first process waits to be started.
pub(crate) fn create(b: &Bundle) -> Ran {
    detached(b, &["create", "--pid-file", "pid", "c"])
}

/// The first process of the container that was made.
pub(crate) fn pid(b: &Bundle) -> i32 {
    std::fs::read_to_string(b.dir.join("pid")).unwrap().parse().unwrap()
}
