//! The container's cgroup: made for it, and gone with it.

use cgroup::{Cgroup, Hierarchy};
use init::{CgroupTree, CgroupTrees};

use crate::error::Error;

/// Opens the cgroup of a container. `None`: it has none (any more).
pub(crate) fn open(path: &str) -> Result<Option<Cgroup>, Error> {
    match Cgroup::open(&Hierarchy::detect()?, path) {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(cgroup::Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Says which field of the configuration asked for what is missing.
pub(crate) fn limit_error(error: cgroup::Error) -> Error {
    let field = match error.missing_controller() {
        Some("memory") => "linux.resources.memory",
        Some("cpu") => "linux.resources.cpu",
        Some("cpuset") => "linux.resources.cpu: cpus and mems",
        Some("pids") => "linux.resources.pids",
        Some("blkio") => "linux.resources.blockIO",
        Some("hugetlb") => "linux.resources.hugepageLimits",
        Some("rdma") => "linux.resources.rdma",
        Some("net_cls") => "linux.resources.network.classID",
        Some("net_prio") => "linux.resources.network.priorities",
        Some("devices") => "linux.resources.devices",
        _ => return error.into(),
    };
    Error::Limit { field, source: error }
}

/// Looks at a cgroup before it becomes the container's. `Some`: others are in it, as the warning
/// says. In one that is frozen nothing would ever start.
pub(crate) fn check(hierarchy: &Hierarchy, path: &str) -> Result<Option<String>, Error> {
    let cgroup = match Cgroup::open(hierarchy, path) {
        Err(cgroup::Error::NotFound(_)) => return Ok(None),
        other => other?,
    };
    if cgroup.is_frozen()? {
        return Err(Error::Refused(format!(
            "container's cgroup unexpectedly frozen: linux.cgroupsPath: `{path}`"
        )));
    }
    let count = cgroup.procs()?.len();
    Ok((count > 0).then(|| {
        format!(
            "container's cgroup is not empty: {count} process(es) found in `{path}`: they share its \
             limits, and are frozen and measured with it"
        )
    }))
}

/// Removes a cgroup that others were in already: theirs it stays.
pub(crate) fn leave(path: &str) -> Result<(), Error> {
    Ok(cgroup::remove_if_empty(&Hierarchy::detect()?, path)?)
}

/// Kills what is in the cgroup, and removes it.
pub(crate) fn destroy(path: &str) -> Result<(), Error> {
    let hierarchy = Hierarchy::detect()?;
    // Mostly its processes have ended and it has no children: then nothing needs to be listed.
    cgroup::remove_if_empty(&hierarchy, path)?;
    match Cgroup::open(&hierarchy, path) {
        Err(cgroup::Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(cgroup) => {
            cgroup.kill_all()?;
            Ok(cgroup.remove()?)
        }
    }
}

/// The trees as the container may see them, from the directories of its cgroup.
pub(crate) fn trees(cgroup: &Cgroup, namespace: bool) -> CgroupTrees {
    let mut trees: Vec<CgroupTree> = Vec::new();
    let suffix = cgroup.path();
    for (controller, own) in cgroup.paths() {
        if let Some(tree) = trees.iter_mut().find(|tree| tree.own == own) {
            tree.controllers.push(controller);
            continue;
        }
        let point = own.to_string_lossy();
        let point = point.strip_suffix(suffix.as_str()).unwrap_or(&point);
        let name = point.rsplit('/').next().unwrap_or_default().to_owned();
        let v2 = controller == "unified";
        trees.push(CgroupTree {
            v2,
            controllers: if v2 { Vec::new() } else { vec![controller] },
            name,
            own,
        });
    }
    CgroupTrees { trees, namespace }
}
