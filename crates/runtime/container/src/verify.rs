//! What criu has restored, held against the configuration, before any of it runs.
//!
//! Images say of every process what it may do and of every mount where it comes from, and criu does
//! as they say. They may be older than the configuration, or somebody else's: what goes beyond the
//! configuration is refused (CVE-2026-95837, CVE-2024-8676).

mod mounts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use caps::CapSet;
use cgroup::Cgroup;
use mount::mountinfo;
use oci::runtime::NamespaceKind;
use plan::Plan;
use sys::Call;

use crate::checkpoint::namespace;
use crate::error::{Doing, Error};

/// The machine as it was before.
pub(crate) struct Host {
    devices: Vec<(u32, u32)>,
    namespaces: BTreeMap<&'static str, (u64, u64)>,
}

impl Host {
    pub(crate) fn see() -> Result<Self, Error> {
        let mut namespaces = BTreeMap::new();
        for kind in KINDS {
            let word = kind.proc_name();
            if let Ok(one) = namespace(Path::new(&format!("/proc/self/ns/{word}"))) {
                namespaces.insert(word, one);
            }
        }
        let text = mountinfo::read("self").doing(|| "mounts")?;
        let devices = mountinfo::mounts(&text).map(|line| line.device).collect();
        Ok(Self { devices, namespaces })
    }
}

const KINDS: [NamespaceKind; 8] = [
    NamespaceKind::Pid,
    NamespaceKind::Network,
    NamespaceKind::Mount,
    NamespaceKind::Ipc,
    NamespaceKind::Uts,
    NamespaceKind::User,
    NamespaceKind::Cgroup,
    NamespaceKind::Time,
];

/// Looks at all processes from `first` on down, which criu holds.
pub(crate) fn check(plan: &Plan, host: &Host, cgroup: &Cgroup, first: i32) -> Result<(), Error> {
    let mut processes = vec![first];
    let mut next = 0;
    while let Some(pid) = processes.get(next).copied() {
        next += 1;
        processes.extend(children(pid)?);
        privileges(plan, pid)?;
        namespaces(plan, host, pid, first)?;
        place(cgroup, pid)?;
    }
    mounts::check(plan, &host.devices, cgroup, first)
}

fn refuse(why: impl std::fmt::Display) -> Error {
    Error::Refused(format!("the checkpoint is not of a container with this configuration: {why}"))
}

/// The threads of a process: its directories in `/proc`.
fn threads(pid: i32) -> Result<Vec<PathBuf>, Error> {
    let tasks = format!("/proc/{pid}/task");
    let entries = std::fs::read_dir(&tasks).call(|| format!("readdir({tasks:?})"));
    Ok(entries.doing(|| "restored processes")?.flatten().map(|entry| entry.path()).collect())
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).call(|| format!("read({path:?})")).doing(|| "restored processes")
}

fn children(pid: i32) -> Result<Vec<i32>, Error> {
    let mut all = Vec::new();
    for thread in threads(pid)? {
        let text = read(&thread.join("children"))?;
        all.extend(text.split_ascii_whitespace().filter_map(|word| word.parse::<i32>().ok()));
    }
    Ok(all)
}

/// Of every thread: each has privileges of its own.
fn privileges(plan: &Plan, pid: i32) -> Result<(), Error> {
    threads(pid)?.iter().try_for_each(|thread| privileges_of(plan, thread))
}

fn privileges_of(plan: &Plan, thread: &Path) -> Result<(), Error> {
    let path = thread.join("status");
    let status = Status::of(&read(&path)?)
        .ok_or_else(|| refuse(format!("{} cannot be read", path.display())))?;
    let process = &plan.init.process;
    let most = process.caps.bounding | process.caps.permitted;
    for (set, has, may) in [
        ("bounding", status.bounding, most),
        ("permitted", status.permitted, most),
        ("inheritable", status.inheritable, process.caps.inheritable),
        ("ambient", status.ambient, process.caps.ambient),
    ] {
        let more = has - may;
        if more != CapSet::EMPTY {
            return Err(refuse(format!("a process has {more:?} in its {set} set")));
        }
    }
    if process.no_new_privs && !status.no_new_privileges {
        return Err(refuse("a process may gain privileges (no_new_privs is not set)"));
    }
    if plan.init.filter.is_some() && !status.filtered {
        return Err(refuse("a process has no seccomp filter"));
    }
    Ok(())
}

/// What `proc_pid_status(5)` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Status {
    bounding: CapSet,
    permitted: CapSet,
    inheritable: CapSet,
    ambient: CapSet,
    no_new_privileges: bool,
    filtered: bool,
}

impl Status {
    fn of(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        let set = |name| u64::from_str_radix(field(name)?, 16).ok().map(CapSet);
        Some(Self {
            bounding: set("CapBnd")?,
            permitted: set("CapPrm")? | set("CapEff")?,
            inheritable: set("CapInh")?,
            ambient: set("CapAmb")?,
            no_new_privileges: field("NoNewPrivs")? == "1",
            // Kernels without seccomp lack the field.
            filtered: field("Seccomp") == Some("2"),
        })
    }
}

fn namespaces(plan: &Plan, host: &Host, pid: i32, first: i32) -> Result<(), Error> {
    for kind in KINDS {
        let word = kind.proc_name();
        let has = |who: &str| namespace(Path::new(&format!("/proc/{who}/ns/{word}")));
        let Some(before) = host.namespaces.get(word) else { continue };
        let its = has(&pid.to_string())?;
        // Where criu is makes the mount namespace of this process another than before.
        if plan.namespaces.is_new(kind) && (*before == its || has("self")? == its) {
            return Err(refuse(format!("a process is in the {word} namespace of the host")));
        }
        let joined = plan.namespaces.join.iter().find(|join| join.kind == kind);
        // What is mounted is looked at in one of them.
        if kind == NamespaceKind::Mount && its != has(&first.to_string())? {
            return Err(refuse("a process has a mount namespace of its own"));
        }
        if let Some(join) = joined.filter(|_| pid == first)
            && namespace(&join.path)? != its
        {
            let path = &join.path;
            return Err(refuse(format!("its {word} namespace is not that of {path:?}")));
        }
    }
    Ok(())
}

/// In every tree a process is in the container's cgroup or below it.
fn place(cgroup: &Cgroup, pid: i32) -> Result<(), Error> {
    let text = read(Path::new(&format!("/proc/{pid}/cgroup")))?;
    let trees = cgroup.paths();
    let own = cgroup.path();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let is_ours = match controllers {
            "" => trees.contains_key("unified"),
            names => names.split(',').any(|name| {
                trees.contains_key(name) || trees.contains_key(name.trim_start_matches("name="))
            }),
        };
        let inside =
            path.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_ours && !inside {
            return Err(refuse(format!("a process is in the cgroup {path:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read() {
        let text = "Name:\tx\nCapInh:\t0000000000000001\nCapPrm:\t0000000000000002\n\
                    CapEff:\t0000000000000004\nCapBnd:\t0000000000000008\n\
                    CapAmb:\t0000000000000010\nNoNewPrivs:\t1\nSeccomp:\t2\n";
        let status = Status::of(text).unwrap();
        assert_eq!((status.inheritable.0, status.permitted.0), (1, 6));
        assert_eq!((status.bounding.0, status.ambient.0), (8, 16));
        assert!(status.no_new_privileges && status.filtered);
        assert_eq!(Status::of("Name:\tx\n"), None);
    }
}
