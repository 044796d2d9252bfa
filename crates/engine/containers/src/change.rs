//! Changing limits of a container that is there, and clearing away those that have ended.

use cgroup::Cgroup;
use docker::container::{PruneResponse, UpdateRequest, UpdateResponse};
use docker::filters::Filters;
use shim_protocol::{Change, Request};

use crate::engine::Engine;
use crate::error::At as _;
use crate::intent::Intent;
use crate::record::Container;
use crate::spec::resources;
use crate::{Error, RemoveOptions, clock, definition, events, shim};

impl Engine {
    /// Changes the limits of a container: at once if it runs, and for every start.
    pub fn update(&self, wanted: &str, request: &UpdateRequest) -> Result<UpdateResponse, Error> {
        let (mut container, lock) = self.find_locked(wanted)?;
        resources::check(&mut alone(&request.resources), self.machine())?;
        let applied = match &request.changes {
            Some(changes) => self.amend(&mut container, &lock, changes)?,
            None => Vec::new(),
        };
        let policy = &request.restart_policy;
        let changes_policy = !policy.name.is_empty();
        if changes_policy {
            definition::restart(policy)?;
            if container.record.host.auto_remove && !policy.is_none() {
                return Err(Error::Conflict(format!(
                    "Cannot update container {}: Restart policy cannot be updated because AutoRemove is \
                     enabled for the container",
                    container.id
                )));
            }
            container.record.host.restart_policy = policy.clone();
        }
        let mut limits = container.record.host.resources.clone();
        merge(&mut limits, &request.resources)?;
        let warnings = resources::check(&mut limits, self.machine())?;
        let spec = resources::limits(&limits)?;
        container.record.host.resources = limits;
        let phase = self.status_locked(&container.id, &lock)?.phase;
        let path = self.cgroup_path(&container);
        // Without one no limit is left of what was asked for, and of that there are warnings.
        if phase.is_up() && !path.is_empty() {
            let cgroup = Cgroup::open(self.hierarchy()?, &path)?;
            cgroup.apply(&plan::limits(&spec)?)?;
        }
        let config = container.config_json()?;
        failpoint::hit("engine.update").at("record", self.root())?;
        self.shared.db.write(|tx| {
            tx.set_container_config(&container.id, &config)?;
            if changes_policy { Intent::Update.begin(tx, &container.id) } else { Ok(()) }
        })?;
        failpoint::hit("engine.updated").at("record", self.root())?;
        if changes_policy {
            self.tell_policy(&container)?;
        }
        self.emit(&events::container("update", &container));
        let warnings = if warnings.is_empty() { docker::List::NIL } else { warnings.into() };
        Ok(UpdateResponse { warnings, applied: applied.into() })
    }

    /// A process died as it told a supervisor of a change.
    pub(crate) fn settle_update(&self, container: &Container) -> Result<(), Error> {
        self.settle_amendments(container)?;
        self.tell_policy(container)
    }

    /// Tells the supervisor of a container, if it has one, how its restart policy is now.
    fn tell_policy(&self, container: &Container) -> Result<(), Error> {
        let restart = Some(definition::restart(&container.record.host.restart_policy)?);
        let change = Request::Change(Change { restart, ..Change::default() });
        shim::ask(&self.paths().socket(&container.id), &change)?;
        failpoint::hit("engine.told").at("record", self.root())?;
        self.shared.db.write(|tx| Intent::Update.end(tx, &container.id))
    }

    /// Removes every container that does not run and that `filters` want.
    pub fn prune(&self, filters: &Filters) -> Result<PruneResponse, Error> {
        let filters = filters
            .clone()
            .only(&["label", "label!", "until"])
            .map_err(|err| Error::Invalid(err.to_string()))?;
        let until = filters.get("until").map(parse_until).collect::<Result<Vec<_>, _>>()?;
        let until = until.into_iter().min();
        let mut pruned = PruneResponse::default();
        for row in self.shared.db.read(metadata::Read::containers)? {
            let container = Container::from_row(row)?;
            let labels = &container.record.config.labels;
            let wanted = until.is_none_or(|until| container.created < until)
                && filters.labels("label", labels)
                && filters.not_labels(labels);
            if !wanted || self.is_alive(&container)? {
                continue;
            }
            let bytes = self.sizes(&container).map_or(0, |(own, _)| own);
            match self.remove(&container.id, RemoveOptions::default()) {
                // Started, or removed, in this moment.
                Err(Error::Conflict(_) | Error::NoContainer(_)) => continue,
                removed => removed?,
            }
            let bytes = u64::try_from(bytes).unwrap_or_default();
            pruned.space_reclaimed = pruned.space_reclaimed.saturating_add(bytes);
            pruned.containers_deleted.push(container.id);
        }
        Ok(pruned)
    }
}

/// A time, or how long ago (`24h`); nanoseconds since 1970.
fn parse_until(text: &str) -> Result<i64, Error> {
    if let Some(time) = clock::parse(text) {
        return Ok(time);
    }
    let ago = docker::units::parse_duration(text).map_err(|err| Error::Invalid(err.to_string()))?;
    Ok(clock::now().saturating_sub(ago))
}

/// What of the changes can be wrong by itself, whatever there is: that is told first. Some of it is looked at, and
/// changes nothing, as in Docker.
fn alone(changes: &docker::Resources) -> docker::Resources {
    docker::Resources {
        nano_cpus: changes.nano_cpus,
        cpu_period: changes.cpu_period,
        cpu_quota: changes.cpu_quota,
        cpuset_cpus: changes.cpuset_cpus.clone(),
        cpuset_mems: changes.cpuset_mems.clone(),
        memory_swappiness: changes.memory_swappiness,
        ..docker::Resources::default()
    }
}

/// Puts what is not 0 over what there is.
fn merge(limits: &mut docker::Resources, changes: &docker::Resources) -> Result<(), Error> {
    // A number of CPUs and a quota are two words for one limit: who began with one stays with it.
    for (changed, new, set, old) in [
        (changes.nano_cpus, "Nano CPUs", limits.cpu_period, "CPU Period"),
        (changes.nano_cpus, "Nano CPUs", limits.cpu_quota, "CPU Quota"),
        (changes.cpu_period, "CPU Period", limits.nano_cpus, "NanoCPUs"),
        (changes.cpu_quota, "CPU Quota", limits.nano_cpus, "NanoCPUs"),
    ] {
        if changed > 0 && set > 0 {
            return Err(Error::Conflict(format!(
                "Conflicting options: {new} cannot be updated as {old} has already been set"
            )));
        }
    }
    // The total with swap must grow along, or be named.
    if changes.memory > 0
        && changes.memory_swap == 0
        && limits.memory_swap > 0
        && changes.memory > limits.memory_swap
    {
        return Err(Error::Conflict(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time".into(),
            ));
    }
    for (old, new) in [
        (&mut limits.cpu_shares, changes.cpu_shares),
        (&mut limits.nano_cpus, changes.nano_cpus),
        (&mut limits.cpu_period, changes.cpu_period),
        (&mut limits.cpu_quota, changes.cpu_quota),
        (&mut limits.cpu_realtime_period, changes.cpu_realtime_period),
        (&mut limits.cpu_realtime_runtime, changes.cpu_realtime_runtime),
        (&mut limits.memory, changes.memory),
        (&mut limits.memory_swap, changes.memory_swap),
        (&mut limits.memory_reservation, changes.memory_reservation),
    ] {
        if new != 0 {
            *old = new;
        }
    }
    if changes.blkio_weight != 0 {
        limits.blkio_weight = changes.blkio_weight;
    }
    if !changes.cpuset_cpus.is_empty() {
        limits.cpuset_cpus.clone_from(&changes.cpuset_cpus);
    }
    if !changes.cpuset_mems.is_empty() {
        limits.cpuset_mems.clone_from(&changes.cpuset_mems);
    }
    if let Some(limit) = changes.pids_limit {
        // Whatever is not a limit means none.
        limits.pids_limit = Some(limit.max(0));
    }
    if changes.kernel_memory != 0 {
        limits.kernel_memory = changes.kernel_memory;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use docker::Resources;

    use super::*;

    #[test]
    fn only_what_is_named_changes() {
        let mut limits: Resources =
            serde_json::from_str(r#"{"Memory":8388608,"MemorySwap":16777216,"CpuQuota":1}"#)
                .unwrap();
        let changes = r#"{"CpuQuota":50000,"PidsLimit":7}"#;
        merge(&mut limits, &serde_json::from_str(changes).unwrap()).unwrap();
        assert_eq!((limits.memory, limits.cpu_quota), (8_388_608, 50_000));
        assert_eq!(limits.pids_limit, Some(7));
        merge(&mut limits, &serde_json::from_str(r#"{"PidsLimit":-2}"#).unwrap()).unwrap();
        assert_eq!(limits.pids_limit, Some(0));
        let more = serde_json::from_str(r#"{"Memory":33554432}"#).unwrap();
        assert!(merge(&mut limits, &more).is_err());
        let cpus = serde_json::from_str(r#"{"NanoCpus":1}"#).unwrap();
        assert_eq!(
            merge(&mut limits, &cpus).unwrap_err().to_string(),
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"
        );
    }
}
