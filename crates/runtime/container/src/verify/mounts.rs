//! What is mounted is what the configuration says: from where it says, no more writable, and with
//! everything covered that it wants covered.

use std::path::{Path, PathBuf};

use cgroup::Cgroup;
use mount::mountinfo::{self, Mounted};
use plan::{Mount, Plan, What};
use rustix::fs::{FileType, Mode, OFlags};
use sys::{Call, MountAttr};

use super::refuse;
use crate::checkpoint::{externals, hidden, mount_of};
use crate::error::{Doing, Error};

/// File systems that a namespace has one of, whoever mounts it.
const OF_A_NAMESPACE: [&[u8]; 4] = [b"mqueue", b"proc", b"sysfs", b"devpts"];

/// The mounts of the first process. `host`: the file systems that were mounted before.
pub(super) fn check(
    plan: &Plan,
    host: &[(u32, u32)],
    cgroup: &Cgroup,
    first: i32,
) -> Result<(), Error> {
    let root = format!("/proc/{first}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&root, flags, Mode::empty())
        .call(|| format!("open({root:?})"))
        .doing(|| "restored mounts")?;
    let text = mountinfo::read(&first.to_string()).doing(|| "restored mounts")?;
    let inside = Inside { root: fsroot::Root::from_fd(root), text };
    let known = inside.bound(plan, cgroup)?;
    let mounts = &plan.init.rootfs.mounts;
    for mount in mounts.iter().filter(|mount| !hidden(mounts, mount)) {
        inside.mount(mount)?;
    }
    inside.root(plan)?;
    inside.covered(plan)?;
    inside.nothing_else(plan, host, &known)
}

struct Inside {
    root: fsroot::Root,
    /// Its mountinfo.
    text: Vec<u8>,
}

impl Inside {
    /// The mount that a path of the container is on.
    fn at(&self, path: &Path) -> Result<Option<Mounted<'_>>, Error> {
        mount_of(&self.root, path, &self.text)
    }

    /// What comes from outside is what the configuration names. Returns where it is.
    fn bound(&self, plan: &Plan, cgroup: &Cgroup) -> Result<Vec<PathBuf>, Error> {
        let mut known = Vec::new();
        for (target, source) in externals(plan, cgroup) {
            let point = self.at(&target)?.map(|line| line.point());
            if point.is_none() || !self.same_file(&target, &source)? {
                return Err(refuse(format!("what is mounted on {target:?} is not {source:?}")));
            }
            known.extend(point);
        }
        Ok(known)
    }

    /// A mount is there, and has the attributes that it should have.
    fn mount(&self, mount: &Mount) -> Result<(), Error> {
        let target = &mount.target;
        let Some(line) = self.at(target)? else {
            return Err(refuse(format!("nothing is mounted on {target:?}")));
        };
        if let What::Fs { kind, .. } = &mount.what
            && (kind.as_bytes() != line.kind || line.is_at(Path::new("/")))
        {
            return Err(refuse(format!("there is no {kind} on {target:?}")));
        }
        for (attribute, word) in [
            (MountAttr::RDONLY, "ro"),
            (MountAttr::NOSUID, "nosuid"),
            (MountAttr::NODEV, "nodev"),
            (MountAttr::NOEXEC, "noexec"),
        ] {
            if (mount.set | mount.rec_set).contains(attribute) && !line.has(word) {
                return Err(refuse(format!("the mount on {target:?} is not `{word}`")));
            }
        }
        Ok(())
    }

    fn root(&self, plan: &Plan) -> Result<(), Error> {
        let root = &plan.init.rootfs.root;
        let mut lines = mountinfo::mounts(&self.text).filter(|line| line.is_at(Path::new("/")));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(refuse("something is mounted on its root"));
        };
        if !self.same_file(Path::new("/"), &root.path)? {
            return Err(refuse(format!("its root is not {:?}", root.path)));
        }
        if root.readonly && !line.has("ro") {
            return Err(refuse("its root is not read-only"));
        }
        Ok(())
    }

    /// What the configuration masks is masked, and what it makes read-only is that.
    fn covered(&self, plan: &Plan) -> Result<(), Error> {
        let rootfs = &plan.init.rootfs;
        for path in &rootfs.masked_paths {
            let Ok(file) = self.root.open_path(path) else { continue };
            let stat = rustix::fs::fstat(&file).call(|| "fstat()").doing(|| "restored mounts")?;
            let covers = self.at(path)?.is_some_and(|line| {
                line.kind == b"tmpfs" && !line.is_at(Path::new("/")) && line.has("ro")
            });
            let masked = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => covers,
                _ => is_null(&stat),
            };
            if !masked {
                return Err(refuse(format!("{path:?} is not masked")));
            }
        }
        for path in &rootfs.readonly_paths {
            if self.root.open_path(path).is_ok()
                && !self.at(path)?.is_some_and(|line| line.has("ro"))
            {
                return Err(refuse(format!("{path:?} is not read-only")));
            }
        }
        Ok(())
    }

    /// No file system of the host's is mounted that the configuration does not name.
    fn nothing_else(
        &self,
        plan: &Plan,
        host: &[(u32, u32)],
        known: &[PathBuf],
    ) -> Result<(), Error> {
        let masks = |point: &PathBuf| {
            let stat = self.root.open_path(point).ok();
            let stat = stat.and_then(|file| rustix::fs::fstat(&file).ok());
            plan.init.rootfs.masked_paths.contains(point) && stat.is_some_and(|s| is_null(&s))
        };
        let is_known = |line: &Mounted<'_>| {
            let point = line.point();
            !host.contains(&line.device)
                || OF_A_NAMESPACE.contains(&line.kind)
                || point == Path::new("/")
                || known.contains(&point)
                || masks(&point)
        };
        match mountinfo::mounts(&self.text).find(|line| !is_known(line)) {
            None => Ok(()),
            Some(line) => {
                Err(refuse(format!("a file system of the host is mounted on {:?}", line.point())))
            }
        }
    }

    /// Whether `target` inside the root is the very file `source` of the host.
    fn same_file(&self, target: &Path, source: &Path) -> Result<bool, Error> {
        let Ok(inside) = self.root.open_path(target) else { return Ok(false) };
        let inside = rustix::fs::fstat(&inside).call(|| "fstat()").doing(|| "restored mounts")?;
        let outside = rustix::fs::stat(source)
            .call(|| format!("stat({source:?})"))
            .doing(|| "restored mounts")?;
        Ok((inside.st_dev, inside.st_ino) == (outside.st_dev, outside.st_ino))
    }
}

/// Whether this is the null device.
fn is_null(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3)
}
