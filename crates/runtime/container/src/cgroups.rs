//! The container's cgroup: made for it, and gone with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::OnceLock;

use cgroup::{Cgroup, Entry, Hierarchy};
use init::{CgroupTree, CgroupTrees};
use plan::Plan;

use crate::error::Error;

/// The mounted trees of cgroups. Looked at once: they are reached by descriptors, and none is mounted later.
pub fn mounted() -> Result<&'static Hierarchy, cgroup::Error> {
    static HIERARCHY: OnceLock<Hierarchy> = OnceLock::new();
    if let Some(hierarchy) = HIERARCHY.get() {
        return Ok(hierarchy);
    }
    let found = Hierarchy::detect()?;
    Ok(HIERARCHY.get_or_init(|| found))
}

/// Opens the cgroup of a container. `None`: it has none, or not any more.
pub(crate) fn open(path: &str) -> Result<Option<Cgroup>, Error> {
    if path.is_empty() {
        return Ok(None);
    }
    match Cgroup::open(mounted()?, path) {
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

/// The trees of this machine. `None` where there are none and that is fine.
pub(crate) fn hierarchy(optional: bool) -> Result<Option<&'static Hierarchy>, Error> {
    match mounted() {
        Err(cgroup::Error::NotMounted) if optional => Ok(None),
        other => Ok(other.map(Some)?),
    }
}

/// Makes the container's cgroup, with its limits, and opens the way into it. `None` where this user
/// may not have one, and nothing was asked of it. `ours` becomes whether there is something to remove
/// when the rest fails.
pub(crate) fn make(
    hierarchy: &Hierarchy,
    plan: &Plan,
    ours: &mut bool,
) -> Result<Option<(Cgroup, Entry)>, Error> {
    *ours = false;
    let cgroup = match Cgroup::create(hierarchy, &plan.cgroup_path) {
        Err(error) if is_denied(&error) && plan.cgroup_optional => return none(plan, Some(error)),
        Err(error) if is_denied(&error) => return Err(denied(&error)),
        other => other?,
    };
    *ours = true;
    let entry = match cgroup.entry() {
        // It was there already, and is somebody else's.
        Err(error) if is_denied(&error) => {
            *ours = false;
            give_up(&plan.cgroup_path)?;
            return if plan.cgroup_optional {
                none(plan, Some(error))
            } else {
                Err(denied(&error))
            };
        }
        other => other?,
    };
    // The limit on processes comes when there is one: it would count those that help to make it.
    let limits = cgroup::Resources { pids: None, ..plan.resources.clone() };
    cgroup.apply(&limits).map_err(limit_error)?;
    Ok(Some((cgroup, entry)))
}

/// Removes what was made of a cgroup that this user may not be in; not what is somebody else's.
pub(crate) fn give_up(path: &str) -> Result<(), Error> {
    match leave(path) {
        Err(Error::Cgroup(error)) if is_denied(&error) => Ok(()),
        other => other,
    }
}

/// Does without a cgroup, which limits do not allow.
pub(crate) fn none<T>(plan: &Plan, why: Option<cgroup::Error>) -> Result<Option<T>, Error> {
    let limits = cgroup::Resources { devices: None, ..plan.resources.clone() };
    if limits == cgroup::Resources::default() {
        return Ok(None);
    }
    let why = why.map_or_else(|| "no cgroup file system is mounted".to_owned(), |e| line(&e));
    Err(Error::Refused(format!(
        "linux.resources: rootless needs no limits + no cgrouppath when no permission is granted \
         for cgroups: {why}"
    )))
}

/// A cgroup that was asked for and that this user may not have.
pub(crate) fn denied(error: &cgroup::Error) -> Error {
    Error::Refused(format!("unable to apply cgroup configuration: {}", line(error)))
}

/// The chain of an error, with the errno in the words of Go's programs.
fn line(error: &cgroup::Error) -> String {
    let mut line = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        line += ": ";
        line += &error.to_string();
        source = error.source();
    }
    line.replace("Permission denied", "permission denied")
}

fn is_denied(error: &cgroup::Error) -> bool {
    use rustix::io::Errno;
    match error {
        cgroup::Error::Call(call) => {
            matches!(call.errno(), Errno::ACCESS | Errno::PERM | Errno::ROFS)
        }
        _ => false,
    }
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
    Ok(cgroup::remove_if_empty(mounted()?, path).map(drop)?)
}

/// Kills what is in the cgroup, and removes it.
pub(crate) fn destroy(path: &str) -> Result<(), Error> {
    if path.is_empty() {
        return Ok(());
    }
    let hierarchy = mounted()?;
    // Mostly its processes have ended and it has no children: then nothing needs to be listed.
    if cgroup::remove_if_empty(hierarchy, path)? {
        return Ok(());
    }
    match Cgroup::open(hierarchy, path) {
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
    trees_at(cgroup.paths(), &cgroup.path(), namespace)
}

/// The same from where they will be.
pub(crate) fn trees_at(
    places: BTreeMap<String, PathBuf>,
    suffix: &str,
    namespace: bool,
) -> CgroupTrees {
    let mut trees: Vec<CgroupTree> = Vec::new();
    for (controller, own) in places {
        if let Some(tree) = trees.iter_mut().find(|tree| tree.own.as_ref() == Some(&own)) {
            tree.controllers.push(controller);
            continue;
        }
        let point = own.to_string_lossy();
        let point = point.strip_suffix(suffix).unwrap_or(&point);
        let name = point.rsplit('/').next().unwrap_or_default().to_owned();
        let v2 = controller == "unified";
        trees.push(CgroupTree {
            v2,
            controllers: if v2 { Vec::new() } else { vec![controller] },
            name,
            own: Some(own),
        });
    }
    CgroupTrees { trees, namespace }
}

/// The trees for a container that has no cgroup in them.
pub(crate) fn trees_without(hierarchy: Option<&Hierarchy>, namespace: bool) -> CgroupTrees {
    let trees = hierarchy.into_iter().flat_map(Hierarchy::trees);
    let trees = trees.map(|(controllers, path)| CgroupTree {
        v2: controllers.is_none(),
        controllers: controllers.unwrap_or_default().to_vec(),
        name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        own: None,
    });
    CgroupTrees { trees: trees.collect(), namespace }
}
