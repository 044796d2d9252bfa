//! Which trees are mounted, and where.

use std::sync::Arc;

use rustix::fs::{Mode as FileMode, OFlags};
use sys::Call;

use crate::error::Error;
use crate::parse::{self, Mounted};
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
        let text = mount::mountinfo::read("self")?;
        let mut trees: Vec<Arc<Tree>> = Vec::new();
        for mounted in parse::mountinfo(&text) {
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

    pub(crate) fn new(trees: Vec<Arc<Tree>>) -> Result<Self, Error> {
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

    /// Every tree: its controllers (of a named one `name=NAME`; of v2 [`None`]) and where it is.
    pub fn trees(&self) -> impl Iterator<Item = (Option<&[String]>, &std::path::Path)> {
        self.trees.iter().map(|tree| {
            let controllers = match tree.version {
                Version::V1 => Some(tree.controllers.as_slice()),
                Version::V2 => None,
            };
            (controllers, tree.root.path())
        })
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

impl Mounted {
    fn is(&self, tree: &Tree) -> bool {
        self.version() == tree.version && (self.v2 || self.controllers == tree.controllers)
    }

    /// `None` when something else is mounted over it.
    fn open(self) -> Result<Option<Tree>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let text = || format!("open({:?}, O_PATH | O_DIRECTORY)", self.point);
        let fd = rustix::fs::open(&self.point, flags, FileMode::empty()).call(text)?;
        let magic = rustix::fs::fstatfs(&fd).call(|| format!("fstatfs({:?})", self.point))?.f_type;
        let wanted = if self.v2 { CGROUP2_SUPER_MAGIC } else { CGROUP_SUPER_MAGIC };
        let device = rustix::fs::fstat(&fd).call(|| format!("fstat({:?})", self.point))?.st_dev;
        let device = (rustix::fs::major(device), rustix::fs::minor(device));
        if magic as u64 != wanted || device != self.device {
            return Ok(None);
        }
        let version = self.version();
        let root = Dir::new(fd, self.point);
        let controllers = match version {
            Version::V1 => self.controllers,
            Version::V2 => {
                let text = root.read_if_there("cgroup.controllers")?.unwrap_or_default();
                parse::words(&text).into_iter().map(str::to_owned).collect()
            }
        };
        Ok(Some(Tree { version, controllers, root }))
    }
}
