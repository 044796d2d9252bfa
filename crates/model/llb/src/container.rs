//! Containers that a front end asks for, made of results (`NewContainerRequest`).

use buildgraph::{Exec, HostEntry, Mount, MountKind, Network};
use buildkit::gateway::NewContainerRequest;
use buildkit::pb::{self, MountType};

use crate::error::{Error, invalid, not_yet};
use crate::exec::{MAX_MOUNTS, ROOT, cache_of, without_input};

/// What a container is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// All of it but the program. The first input is its root.
    pub exec: Exec,
    /// The inputs, by the names of results; empty: an empty directory.
    pub results: Vec<String>,
    /// Which of the mounts each of those that were asked for is; `None`: the root.
    pub places: Vec<Option<usize>>,
}

/// Reads what a container is to be made of.
///
/// # Errors
///
/// There can be none such.
pub fn container(asked: &NewContainerRequest) -> Result<Container, Error> {
    if asked.mounts.len() > MAX_MOUNTS {
        return Err(Error::TooLarge { what: "mounts of a container", max: MAX_MOUNTS });
    }
    let network = match asked.network {
        0 => Network::Default,
        1 => Network::Host,
        2 => Network::None,
        other => return invalid(format!("unknown network mode {other}")),
    };
    let Some(root) = asked.mounts.iter().find(|mount| mount.dest == ROOT) else {
        return invalid("a container without a mount at /");
    };
    if root.mount_type != MountType::Bind as i32 {
        return invalid(format!("invalid mount type {} for /", root.mount_type));
    }
    if !matches!(root.selector.as_str(), "" | ROOT) {
        return not_yet(format!("a part of a result ({}) as the root", root.selector));
    }
    let hosts = asked.extra_hosts.iter();
    let hosts = hosts.map(|one| HostEntry { name: one.host.clone(), address: one.ip.clone() });
    let mut container = Container {
        exec: Exec {
            network,
            hosts: hosts.collect(),
            hostname: asked.hostname.clone(),
            readonly_root: root.readonly,
            ..Exec::default()
        },
        results: vec![root.result_id.clone()],
        places: vec![None; asked.mounts.len()],
    };
    // What is mounted in another mount comes after that.
    let mut others: Vec<(usize, &pb::Mount)> = asked.mounts.iter().enumerate().collect();
    others.retain(|(_, mount)| !std::ptr::eq(*mount, root));
    others.sort_by(|a, b| a.1.dest.cmp(&b.1.dest));
    for (asked_as, mount) in others {
        container.places[asked_as] = Some(container.exec.mounts.len());
        container.mount(mount)?;
    }
    Ok(container)
}

impl Container {
    fn mount(&mut self, mount: &pb::Mount) -> Result<(), Error> {
        if mount.dest.is_empty() || mount.dest == ROOT {
            return invalid(format!("invalid mount at {:?}", mount.dest));
        }
        let target = format!("/{}", mount.dest.trim_start_matches('/'));
        let source = if mount.selector.is_empty() { ROOT } else { &mount.selector };
        let kind = match MountType::try_from(mount.mount_type) {
            Ok(MountType::Bind) => {
                MountKind::Bind { input: self.input(&mount.result_id), source: source.into() }
            }
            Ok(MountType::Cache) => {
                let from = (!mount.result_id.is_empty()).then(|| self.input(&mount.result_id));
                cache_of(mount, source, from)?
            }
            _ => without_input(mount, &target)?,
        };
        self.exec.mounts.push(Mount { target, readonly: mount.readonly, kind });
        Ok(())
    }

    fn input(&mut self, result: &str) -> usize {
        self.results.push(result.to_owned());
        self.results.len() - 1
    }
}
