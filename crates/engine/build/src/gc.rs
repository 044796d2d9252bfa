//! Keeping the build cache within bounds, by age and size: after builds, by itself.
//!
//! `/etc/dhow/daemon.json` has the keys that Docker's file has (`builder.gc`); the usual policy is
//! BuildKit's. Only the cache is touched: nothing that an image or a container needs.

use std::time::Duration;

use containers::BuilderGc;
use docker::units;

use crate::builder::Builder;
use crate::usage::Sizes;
use crate::{Error, Filter, PrunedCache, Pruning};

const DAY: Duration = Duration::from_hours(24);
/// It is looked no oftener.
const PAUSE: Duration = Duration::from_mins(10);
const MB: u64 = 1_000_000;
const GB: u64 = 1_000 * MB;
/// What can be had again most easily.
const EASY: &str = "type~=^(source.local|exec.cachemount|source.git.checkout)$";

/// Sizes of a disk, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    pub(crate) total: u64,
}

/// What is asked for, one pruning after the other; nothing where it is turned off.
pub(crate) fn policy(settings: &BuilderGc, disk: Disk) -> Result<Vec<Pruning>, Error> {
    if settings.enabled == Some(false) {
        return Ok(Vec::new());
    }
    let size = |text: &str| bytes(text, disk);
    let or = |text: &str, usual: u64| if text.is_empty() { Ok(usual) } else { size(text) };
    let kept = [&settings.default_reserved_space, &settings.default_keep_storage];
    let kept = kept.into_iter().find(|text| !text.is_empty()).map_or("", String::as_str);
    let reserved = or(kept, (10 * GB).min(disk.total / 10))?;
    let max_used = or(&settings.default_max_used_space, disk.total / 100 * 60)?;
    let min_free = or(&settings.default_min_free_space, disk.total / 100 * 20)?;
    if settings.policy.is_empty() {
        return Ok(vec![
            Pruning {
                filters: vec![Filter::parse(EASY)?],
                unused_for: Some(nanos(2 * DAY)),
                max_used: 512 * MB,
                ..Pruning::default()
            },
            Pruning {
                unused_for: Some(nanos(60 * DAY)),
                max_used,
                min_free,
                reserved,
                ..Pruning::default()
            },
            Pruning { max_used, min_free, reserved, ..Pruning::default() },
            Pruning { all: true, max_used, min_free, reserved, ..Pruning::default() },
        ]);
    }
    let mut policy = Vec::new();
    for rule in &settings.policy {
        let mut unused_for = match rule.keep_duration.as_str() {
            "" => None,
            long => Some(duration(long)?),
        };
        let mut filters = Vec::new();
        for filter in &rule.filter {
            let long = filter.strip_prefix("unused-for=").or(filter.strip_prefix("until="));
            match long {
                Some(long) => unused_for = Some(duration(long.trim_start_matches('='))?),
                None => filters.push(filter.as_str()),
            }
        }
        let filters = filters.into_iter().map(Filter::parse).collect::<Result<_, _>>()?;
        let kept =
            if rule.reserved_space.is_empty() { &rule.keep_storage } else { &rule.reserved_space };
        policy.push(Pruning {
            all: rule.all,
            unused_for,
            filters,
            reserved: or(kept, 0)?,
            max_used: or(&rule.max_used_space, 0)?,
            min_free: or(&rule.min_free_space, 0)?,
        });
    }
    Ok(policy)
}

fn nanos(long: Duration) -> i64 {
    i64::try_from(long.as_nanos()).unwrap_or(i64::MAX)
}

/// A size: `10GB`, or a part of the disk, `20%`.
fn bytes(text: &str, disk: Disk) -> Result<u64, Error> {
    let wrong = || Error::Invalid(format!("builder.gc: `{text}` is no size"));
    if let Some(percent) = text.strip_suffix('%') {
        let percent: u64 = percent.trim().parse().map_err(|_| wrong())?;
        return Ok(disk.total / 100 * percent.min(100));
    }
    units::from_human_size(text).map_err(|_| wrong()).map(|size| size.try_into().unwrap_or(0))
}

/// A duration as Go writes it: `2200h`.
fn duration(text: &str) -> Result<i64, Error> {
    let wrong = |_| Error::Invalid(format!("builder.gc: `{text}` is no duration"));
    units::parse_duration(text).map_err(wrong)
}

impl Builder {
    /// Prunes the build cache, where that was not done for a while by any process.
    pub(crate) fn collect_now_and_then(&self) {
        // What cannot be done now is done after another build.
        if self.store.is_due(PAUSE) {
            let _ = self.collect();
        }
    }

    /// Prunes the build cache as it is set, or usual.
    pub fn collect(&self) -> Result<PrunedCache, Error> {
        let found = rustix::fs::statvfs(self.engine.root());
        let total = found.map_or(u64::MAX, |found| found.f_blocks * found.f_frsize);
        let (mut pruned, mut sizes) = (PrunedCache::default(), Sizes::new());
        for pruning in policy(&self.engine.settings().builder.gc, Disk { total })? {
            let one = self.prune_knowing(&pruning, &mut sizes)?;
            pruned.reclaimed += one.reclaimed;
            pruned.removed.extend(one.removed);
        }
        Ok(pruned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: Disk = Disk { total: 1000 * GB };

    fn read(text: &str) -> Result<Vec<Pruning>, Error> {
        policy(&serde_json::from_str(text).unwrap(), DISK)
    }

    #[test]
    fn the_usual_policy_keeps_what_is_young_and_fits() {
        let policy = read("{}").unwrap();
        assert_eq!(policy.len(), 4);
        assert_eq!(policy[1].unused_for, Some(60 * 24 * 3600 * 1_000_000_000));
        assert_eq!((policy[2].reserved, policy[2].max_used), (10 * GB, 600 * GB));
        assert_eq!(policy[2].min_free, 200 * GB);
        assert!(policy[3].all && !policy[2].all);
        assert_eq!(read(r#"{"enabled":false}"#).unwrap().len(), 0);
    }

    #[test]
    fn settings_have_the_names_of_dockers() {
        let text = r#"{"enabled":true,"policy":[
            {"keepStorage":"10GB","filter":["unused-for=2200h","type==regular"]},
            {"reservedSpace":"5%","maxUsedSpace":"50GB","all":true}]}"#;
        let policy = read(text).unwrap();
        assert_eq!(policy[0].unused_for, Some(2200 * 3600 * 1_000_000_000));
        assert_eq!((policy[0].reserved, policy[0].filters.len()), (10 * GB, 1));
        assert_eq!((policy[1].reserved, policy[1].max_used), (50 * GB, 50 * GB));
        let error = read(r#"{"defaultKeepStorage":"much"}"#).unwrap_err();
        assert_eq!(error.to_string(), "builder.gc: `much` is no size");
    }
}
