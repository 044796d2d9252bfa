//! Automatic collection of containers that do not run: those that nobody has started for long, or for
//! which there is no room.
//!
//! One that runs never goes, nor one with a restart policy, nor one that somebody has just started.
//! Volumes stay, also those without a name.

use docker::gc::{Collected, Policy, Report, Room};
use images::CollectionLog;
use shim_protocol::{Phase, RestartPolicy};

use crate::engine::Engine;
use crate::record::Container;
use crate::{Error, RemoveOptions, clock, definition, name};

/// A container that may go.
struct Candidate {
    container: Container,
    /// When it ended, or was made; nanoseconds since 1970.
    used: i64,
    /// What it has written, in bytes.
    size: u64,
}

impl Engine {
    /// Removes the containers that the policy wants gone, those first that ended first; or only says
    /// which those are.
    pub fn collect(&self, policy: &Policy, dry_run: bool) -> Result<Report, Error> {
        let now = clock::now();
        let mut candidates = self.candidates(policy)?;
        candidates.sort_by_key(|one| one.used);
        let (free, disk) = self.images.content().disk().map_err(images::Error::from)?;
        let held = candidates.iter().map(|one| one.size).sum();
        let mut room = Room { what: "containers", held, free, disk };
        let mut report = Report { dry_run, ..Report::default() };
        for one in candidates {
            let Some(reason) = policy.reason(now.saturating_sub(one.used), &room) else {
                break; // Those that follow ended later.
            };
            if !dry_run && !self.collect_one(&one)? {
                continue;
            }
            room.gain(one.size);
            report.space_reclaimed += one.size;
            report.removed.push(Collected {
                time: clock::print(now),
                id: one.container.id,
                names: vec![one.container.name],
                size: one.size,
                last_used: clock::print(one.used),
                reason,
            });
        }
        report.unmet = policy.unmet(&room);
        if !dry_run {
            self.collection_log().append(&report.removed)?;
        }
        Ok(report)
    }

    /// What collections have removed, the oldest first.
    pub fn collected(&self) -> Result<Vec<Collected>, Error> {
        Ok(self.collection_log().read()?)
    }

    fn collection_log(&self) -> CollectionLog {
        CollectionLog::new(self.root().join("container-gc.log"))
    }

    fn candidates(&self, policy: &Policy) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for row in self.shared.db.read(metadata::Read::containers)? {
            let container = Container::from_row(row)?;
            let record = &container.record;
            let labels = &record.config.labels;
            let named = if name::is_generated(&container.name) { "false" } else { "true" };
            let wanted = record.step.is_none()
                && definition::restart(&record.host.restart_policy)? == RestartPolicy::No
                && policy.filters.labels("label", labels)
                && policy.filters.not_labels(labels)
                && policy.filters.exact("named", named);
            if !wanted {
                continue;
            }
            let Some(used) = self.idle_since(&container, None)? else { continue };
            let size = self.sizes(&container).map_or(0, |(own, _)| own);
            candidates.push(Candidate { container, used, size: u64::try_from(size).unwrap_or(0) });
        }
        Ok(candidates)
    }

    /// When a container ended, or was made; `None` while it runs.
    fn idle_since(
        &self,
        container: &Container,
        lock: Option<&crate::lock::Lock>,
    ) -> Result<Option<i64>, Error> {
        let status = match lock {
            Some(lock) => self.status_locked(&container.id, lock)?,
            None => self.status(&container.id)?,
        };
        if !matches!(status.phase, Phase::Created | Phase::Exited) {
            return Ok(None);
        }
        Ok(Some(clock::parse(&status.finished_at).unwrap_or(0).max(container.created)))
    }

    /// Removes one, unless it has run meanwhile, or was given a name, or is gone. Whether it did.
    fn collect_one(&self, one: &Candidate) -> Result<bool, Error> {
        let (container, lock) = match self.find_locked(&one.container.id) {
            Err(Error::NoContainer(_)) => return Ok(false),
            found => found?,
        };
        if container.name != one.container.name
            || self.idle_since(&container, Some(&lock))? != Some(one.used)
        {
            return Ok(false);
        }
        match self.remove_locked(&container, &lock, RemoveOptions::default()) {
            Err(Error::Conflict(_)) => Ok(false),
            removed => removed.map(|()| true),
        }
    }
}
