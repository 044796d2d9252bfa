//! Which trees are mounted, and where.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode as FileMode, OFlags};
use sys::Call;

use crate::error::Error;
use crate::tree::{Dir, Tree, Version};

/// linux/magic.h.
const CGROUP_SUPER_MAGIC: u64 = 0x0027_e0eb;
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

/// Which versions of cgroups there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Trees of v1 only.
    V1,
    /// v1 holds controllers, and a v2 tree stands beside it.
    Hybrid,
    /// One v2 tree. A named v1 tree without controllers may stand beside it.
    V2,
}

/// The mounted trees.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    mode: Mode,
    pub(crate) trees: Vec<Arc<Tree>>,
}

impl Hierarchy {
    /// The trees that this process sees mounted.
    pub fn detect() -> Result<Self, Error> {
        let text = std::fs::read_to_string("/proc/self/mountinfo")
            .call(|| "read(\"/proc/self/mountinfo\")")?;
        let mut trees: Vec<Arc<Tree>> = Vec::new();
        for mounted in mounted_trees(&text) {
            // A tree can be mounted more than once; the first place is as good as any.
            if trees.iter().any(|tree| mounted.is(tree)) {
                continue;
            }
            if let Some(tree) = mounted.open()? {
                trees.push(Arc::new(tree));
            }
        }
        Self::new(trees)
    }

    fn new(trees: Vec<Arc<Tree>>) -> Result<Self, Error> {
        if trees.is_empty() {
            return Err(Error::NotMounted);
        }
        let v2 = trees.iter().any(|tree| tree.version == Version::V2);
        let v1 = trees.iter().any(|tree| {
            tree.version == Version::V1 && tree.controllers.iter().any(|c| !c.starts_with("name="))
        });
        let mode = match (v1, v2) {
            (true, true) => Mode::Hybrid,
            (false, true) => Mode::V2,
            (_, false) => Mode::V1,
        };
        Ok(Self { mode, trees })
    }

    /// Which versions there are.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Every controller, by its name in the version that has it (`blkio` on v1, `io` on v2).
    pub fn controllers(&self) -> Vec<&str> {
        let all = self.trees.iter().flat_map(|tree| &tree.controllers);
        let mut names: Vec<&str> =
            all.map(String::as_str).filter(|name| !name.starts_with("name=")).collect();
        names.sort_unstable();
        names
    }

    /// Whether a controller is there, by either name.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers().contains(&controller)
    }

    /// Whether the memory controller can count swap.
    pub fn has_swap_limit(&self) -> bool {
        let memory = self.trees.iter().find(|tree| tree.has("memory"));
        memory.is_some_and(|tree| match tree.version {
            Version::V1 => tree.root.has("memory.memsw.limit_in_bytes"),
            // The root of v2 has no limits; any cgroup below it shows whether swap is counted.
            Version::V2 => tree.root.children().is_ok_and(|names| {
                names.iter().any(|n| tree.root.has(&format!("{n}/memory.swap.max")))
            }),
        })
    }
}

/// A line of mountinfo that is a cgroup tree.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    version: Version,
    device: (u32, u32),
    point: PathBuf,
    /// v1: from the options of its superblock.
    controllers: Vec<String>,
}

impl Mounted {
    fn is(&self, tree: &Tree) -> bool {
        self.version == tree.version
            && (self.version == Version::V2 || self.controllers == tree.controllers)
    }

    /// `None` when something else is mounted over it.
    fn open(self) -> Result<Option<Tree>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let text = || format!("open({:?}, O_PATH | O_DIRECTORY)", self.point);
        let fd = rustix::fs::open(&self.point, flags, FileMode::empty()).call(text)?;
        let magic = rustix::fs::fstatfs(&fd).call(|| format!("fstatfs({:?})", self.point))?.f_type;
        let wanted = match self.version {
            Version::V1 => CGROUP_SUPER_MAGIC,
            Version::V2 => CGROUP2_SUPER_MAGIC,
        };
        let device = rustix::fs::fstat(&fd).call(|| format!("fstat({:?})", self.point))?.st_dev;
        let device = (rustix::fs::major(device), rustix::fs::minor(device));
        if magic as u64 != wanted || device != self.device {
            return Ok(None);
        }
        let root = Dir::new(fd, self.point);
        let controllers = match self.version {
            Version::V1 => self.controllers,
            Version::V2 => {
                let text = root.read_if_there("cgroup.controllers")?.unwrap_or_default();
                text.split_whitespace().map(str::to_owned).collect()
            }
        };
        Ok(Some(Tree { version: self.version, controllers, root }))
    }
}

/// The cgroup trees in a mountinfo: `proc_pid_mountinfo(5)`.
fn mounted_trees(mountinfo: &str) -> Vec<Mounted> {
    mountinfo.lines().filter_map(mounted_tree).collect()
}

fn mounted_tree(line: &str) -> Option<Mounted> {
    let (mount, superblock) = line.split_once(" - ")?;
    let mut superblock = superblock.split(' ');
    let version = match superblock.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let mut mount = mount.split(' ').skip(2);
    let (major, minor) = mount.next()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let point = unescape(mount.nth(1)?);
    let options = superblock.nth(1)?;
    let controllers = match version {
        Version::V1 => options.split(',').filter(|o| is_controller(o)).map(str::to_owned).collect(),
        Version::V2 => Vec::new(),
    };
    Some(Mounted { version, device, point, controllers })
}

/// Whether an option of a v1 superblock names a controller or a tree, rather than a behaviour.
fn is_controller(option: &str) -> bool {
    let behaviour =
        ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "seclabel"];
    !behaviour.contains(&option)
        && !option.starts_with("release_agent=")
        && !option.starts_with("favordynmods")
        && !option.starts_with("nofavordynmods")
}

/// Undoes `\040` and its like.
fn unescape(field: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = || std::str::from_utf8(tail.get(..3)?).ok();
        let code = (first == b'\\').then(octal).flatten();
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
#[allow(clippy::needless_raw_string_hashes, reason = "expect-test writes them so")]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[track_caller]
    fn check(mountinfo: &str, want: &Expect) {
        let lines: Vec<String> = mounted_trees(mountinfo)
            .iter()
            .map(|m| format!("{:?} {:?} {:?} {:?}\n", m.version, m.device, m.point, m.controllers))
            .collect();
        want.assert_eq(&lines.concat());
    }

    #[test]
    fn v1_trees_are_known_by_their_superblock() {
        check(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
             33 31 0:36 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             34 31 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n",
            &expect![[r#"
                V1 (0, 29) "/sys/fs/cgroup/cpu,cpuacct" ["cpu", "cpuacct"]
                V1 (0, 36) "/sys/fs/cgroup/systemd" ["name=systemd"]
                V2 (0, 37) "/sys/fs/cgroup/unified" []
            "#]],
        );
    }

    #[test]
    fn a_mount_point_is_unescaped() {
        check(
            "34 31 0:37 / /a\\040b rw - cgroup2 cgroup2 rw\n",
            &expect![[r#"
                V2 (0, 37) "/a b" []
            "#]],
        );
    }

    #[test]
    fn a_torn_line_is_none() {
        check("34 31\n35 31 0:3 / /x rw - cgroup\n", &expect![""]);
    }
}
