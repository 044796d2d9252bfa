//! Where the cgroups of containers are; for an ordinary user, whether there can be any.
//!
//! Root makes them below the root of each tree. An ordinary user may where a cgroup was delegated
//! (cgroup-v2.rst, "Delegation"): one of those above this process's own belongs to the user, as that
//! of `user@UID.service` does. It is looked for anew by each command, so the place that a container
//! has got is read back from its bundle for as long as it runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use cgroup::{Cgroup, Hierarchy, Mode};
use rustix::fs::{Access, access};
use serde::Deserialize;
use shim_protocol::Config;

use crate::Error;
use crate::engine::Engine;
use crate::error::At as _;
use crate::record::Container;

/// The files that whoever a cgroup is delegated to may write to.
const DELEGATED: [&str; 3] = [".", "cgroup.procs", "cgroup.subtree_control"];

/// Below which cgroup those of all containers are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// This one, `""` the root of each tree.
    Below(String),
    /// This user may make none.
    Nowhere,
}

/// Looks where this process may make cgroups.
pub(crate) fn look() -> Home {
    if !mount::in_user_namespace() {
        return Home::Below(String::new());
    }
    let Ok(hierarchy) = Hierarchy::detect() else { return Home::Nowhere };
    let unified = hierarchy.trees().find(|(controllers, _)| controllers.is_none());
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let (Some((_, root)), Some(own)) = (unified, own) else { return Home::Nowhere };
    let may = |path: &str| {
        let directory = root.join(path.trim_start_matches('/'));
        let writable = |name: &&str| access(directory.join(name), Access::WRITE_OK).is_ok();
        // On v2 one with processes in it hands down no controllers.
        let is_free = path == "/"
            || path != own
            || hierarchy.mode() != Mode::V2
            || fs::read_to_string(directory.join("cgroup.procs")).is_ok_and(|all| all.is_empty());
        DELEGATED.iter().all(writable) && is_free
    };
    topmost(own, may).map_or(Home::Nowhere, Home::Below)
}

/// The first of the cgroups from the root to `own` that will do, without a slash at its end.
fn topmost(own: &str, may: impl Fn(&str) -> bool) -> Option<String> {
    let ends = own.match_indices('/').map(|(at, _)| at).skip(1).chain([own.len()]);
    std::iter::once(1)
        .chain(ends)
        .map(|end| &own[..end])
        .find(|path| may(path))
        .map(|path| path.trim_end_matches('/').to_owned())
}

#[derive(Deserialize)]
struct Spec {
    linux: Linux,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(default)]
    cgroups_path: String,
}

impl Engine {
    /// `/dhow/ID`, or below the parent that was asked for. Empty: it has none.
    pub(crate) fn cgroup_path(&self, container: &Container) -> String {
        self.cgroup_below(&container.record.host.resources.cgroup_parent, &container.id)
    }

    /// The same for a container of which no more is known.
    pub(crate) fn cgroup_below(&self, parent: &str, id: &str) -> String {
        let home = match self.home() {
            Home::Below(home) => home,
            Home::Nowhere => "",
        };
        if rootless::is_rootless()
            && let Some(path) = written(&self.paths().run(id))
        {
            return path;
        }
        if *self.home() == Home::Nowhere {
            return String::new();
        }
        match parent.trim_matches('/') {
            "" => format!("{home}/{}/{id}", self.paths().prefix()),
            parent => format!("{home}/{parent}/{id}"),
        }
    }

    /// The cgroup of a run whose container has no record any more: what its bundle says, if that is there.
    pub(crate) fn cgroup_of_run(&self, id: &str) -> String {
        let written = written(&self.paths().run(id)).filter(|_| self.has_cgroups());
        written.unwrap_or_else(|| self.cgroup_below("", id))
    }

    /// Whether containers can have cgroups, and so limits.
    pub fn has_cgroups(&self) -> bool {
        *self.home() != Home::Nowhere
    }

    /// The cgroup above those of all containers that asked for no other.
    pub(crate) fn cgroup_parent(&self) -> Option<String> {
        match self.home() {
            Home::Below(home) => Some(format!("{home}/{}", self.paths().prefix())),
            Home::Nowhere => None,
        }
    }

    /// The machine's trees of cgroups, looked for once: what is mounted later, the next process sees.
    pub(crate) fn hierarchy(&self) -> Result<&Hierarchy, Error> {
        if let Some(found) = self.trees.get() {
            return Ok(found);
        }
        let found = Hierarchy::detect()?;
        Ok(self.trees.get_or_init(|| found))
    }

    fn home(&self) -> &Home {
        self.home.get_or_init(look)
    }

    /// Kills what still runs in a container whose supervisor has ended.
    pub(crate) fn kill_all(&self, id: &str, cgroup: &str) -> Result<(), Error> {
        if cgroup.is_empty() {
            return self.delete_by_runtime(id);
        }
        match Cgroup::open(self.hierarchy()?, cgroup) {
            Err(cgroup::Error::NotFound(_)) => Ok(()),
            opened => Ok(opened?.kill_all()?),
        }
    }

    /// Has the runtime end a container that has no cgroup: it knows its first process, and with that
    /// all others of its PID namespace end.
    fn delete_by_runtime(&self, id: &str) -> Result<(), Error> {
        let path = self.paths().run(id).join("shim.json");
        let Ok(bytes) = fs::read(&path) else { return Ok(()) };
        // Half of a file: the engine died as it wrote it, before anything was made.
        let Ok(config) = serde_json::from_slice::<Config>(&bytes) else { return Ok(()) };
        if !config.runtime.root.join(id).exists() {
            return Ok(());
        }
        let own = config.runtime.program.is_none();
        let program = config.runtime.program.unwrap_or_else(|| self.exe.clone());
        let mut command = Command::new(&program);
        if own {
            std::os::unix::process::CommandExt::arg0(&mut command, "dhow-runtime");
        }
        command.args(&config.runtime.args).arg("--root").arg(&config.runtime.root);
        command.args(["delete", "--force", id]).current_dir("/");
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().at("spawn", &program)?;
        Ok(())
    }
}

/// The cgroup that the bundle of a run names; `None` where there is no bundle.
fn written(run: &Path) -> Option<String> {
    let path = run.join("bundle/config.json");
    let spec: Spec = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(spec.linux.cgroups_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_delegated_cgroup_is_found() {
        let own = "/user.slice/user-7.slice/user@7.service/app.slice/x.scope";
        let of = |owned: &'static str| topmost(own, |path| path.starts_with(owned));
        assert_eq!(
            of("/user.slice/user-7.slice/user@7.service").as_deref(),
            Some("/user.slice/user-7.slice/user@7.service")
        );
        assert_eq!(of("/").as_deref(), Some(""));
        assert_eq!(of("/elsewhere"), None);
        assert_eq!(topmost("/", |_| true).as_deref(), Some(""));
    }
}
